"""Workflows that contend for limits, and deliberate bugs in permits and lines; see ``deliberate_bugs``."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hephaestus import DONE, Concurrency, Pending, Retry, StepContext, Workflow, step
from hephaestus.engine.effects import Leave
from hephaestus.engine.events import PermitsTaken
from hephaestus.engine.records import Grant
from hephaestus.runtime import executor, gate, lines, waking
from hephaestus.runtime.gate import Gate
from hephaestus.simulation import Faults
from hephaestus.steps import WaitForEvent
from hephaestus.store import permits
from hephaestus.store.permits import PERMITS, Permits, limit_key
from hephaestus.store.reader import Read
from hephaestus.store.sharded_permits import ShardedPermits
from hephaestus.store.table import ALWAYS, PRESENT, Change, Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

    from hephaestus.engine.effects import OfLimits
    from hephaestus.engine.state import State
    from hephaestus.store.permits import Holder
    from hephaestus.store.store import Store
    from hephaestus.store.table import Item

    Patch = pytest.MonkeyPatch

ONE, TWO = Concurrency("one", 1), Concurrency("two", 2, priority=1)
QUICK: Final = Retry(max_attempts=4, delay=timedelta(milliseconds=700), jitter="none", backoff="constant")


class Work(Workflow, key="work"):
    """A limit, then two."""

    retry = QUICK
    a, b = step(key="a", limits=[ONE])(lambda ctx: "done"), step(key="b", limits=[ONE, TWO])(lambda ctx: "done")
    start_at = a
    transitions = {a: {"done": b}, b: {"done": DONE}}


class Hold(Workflow, key="hold"):
    """A permit that is held over a wait."""

    @step(limits=[Concurrency("one", 1, held="step")], events=("go", "timeout"))
    @staticmethod
    def wait(_ctx: StepContext) -> Pending:
        """Wait."""
        return Pending(timeout=30)

    retry = QUICK
    start_at = wait
    transitions = {wait: {"go": DONE, "timeout": DONE}}


class Many(Workflow, key="many"):
    """Limits side by side, beside a wait."""

    retry = QUICK
    begin, end = (step(key=name)(lambda ctx: "done") for name in ("begin", "end"))
    x, y = step(key="x", limits=[TWO], timeout=2)(lambda ctx: "done"), step(key="y", limits=[TWO])(lambda ctx: "done")
    z, asked = step(key="z", limits=[ONE])(lambda ctx: "done"), WaitForEvent("ok", name="asked", timeout=60)
    start_at = begin
    transitions = {
        begin: {"done": [x, y, z, asked]},
        x: {"done": end, "timeout": end},
        y: {"done": end},
        z: {"done": end},
        asked: {"ok": end, "timeout": end},
        end: {"done": DONE},
    }


FLOWS: Final = (Work, Hold, Many)


def counted_instead_of_identified(patch: Patch) -> None:
    """Who gives back frees a permit, whoever has it now."""

    def give_back(self: Permits, _: Holder, grants: Sequence[Grant], *_others: Any, **_more: Any) -> list[str]:
        for grant in grants:
            gone = {f"s{grant.slot}": None, f"g{grant.slot}": None}
            self.table.change_all([Change(limit_key(grant.limit), PERMITS, gone, PRESENT)])
        return []

    patch.setattr(Permits, "give_back", give_back)


def freed_by_the_head_alone(patch: Patch) -> None:
    """The sweep reads of a holder what its head shows."""

    def newest(store: Store, instance_id: str) -> State | None:
        found = store.reader.newest(instance_id)
        return None if found is None else store.reader.state(Read(found.head, found.life))

    patch.setattr(lines, "newest", newest)
    patch.setattr(permits, "GRACE_MS", 1_000)


def taken_after_the_claim(patch: Patch) -> None:
    """A commit names the attempt, and its permits are taken after that, if there are some."""

    def admits(self: Gate, run: Any) -> bool:
        needs = self.needs.pop(run.activation, ())
        grants = tuple(Grant(need.limit, 0, self.clock.now()) for need in needs)
        if grants:
            self.journal.decide(PermitsTaken(run.activation, run.attempt, grants))
        return True

    patch.setattr(Gate, "admits", admits)


def kept_by_the_cancelled(patch: Patch) -> None:
    """Who is paused or cancelled stays in the line."""
    right = lines.perform

    def perform(effect: OfLimits, *others: Any) -> None:
        if not isinstance(effect, Leave):
            right(effect, *others)

    patch.setattr(lines, "perform", perform)


def joined_by_read_and_write(patch: Patch) -> None:
    """The place in the line is written after the limit was seen to be full, whatever it is by then."""
    right = Permits._joining  # noqa: SLF001 - made wrong on purpose

    def joining(self: Permits, *given: Any) -> list[Change] | None:
        found = right(self, *given)
        return found and [Change(one.pk, one.sk, one.changes, ALWAYS) for one in found]

    patch.setattr(Permits, "_joining", joining)


def never_taken_up(patch: Patch) -> None:
    """Who is woken, and has its permit, goes on waiting."""
    for module in (executor, waking):
        patch.setattr(module, "is_called", lambda state, store: False)


def no_alarm_for_the_last_in_line(patch: Patch) -> None:
    """Who empties the line removes the alarm as well, and a message that is lost is not made up for."""
    gone = dict.fromkeys(("line", "joined", "left", "wake_shard", "wake_at"))
    patch.setattr(permits, "_NO_LINE", gone)


def one_name_for_two_owners(patch: Patch) -> None:
    """Two that claim an instance at once take the same permit, and one of them gives it back."""
    patch.setattr(gate, "Holder", lambda *given, **_: permits.Holder(*given))


def lost_permits_not_noticed(patch: Patch) -> None:
    """Who took long to name its permits does not look whether they were freed meanwhile."""
    patch.setattr(Gate, "are_held", lambda self, runs: True)


def handed_to_the_last_in_line(patch: Patch) -> None:
    """Giving back calls who came last."""
    right = Permits._line  # noqa: SLF001 - made wrong on purpose
    patch.setattr(Permits, "_line", lambda self, limit, most: right(self, limit, None)[::-1][:most])


def taken_past_the_line(patch: Patch) -> None:
    """Who finds a free permit takes it, whoever stands in line."""
    right = Permits._taking  # noqa: SLF001 - made wrong on purpose

    def taking(self: Permits, *given: Any) -> Change:
        found = right(self, *given)
        missing = tuple(name for name in found.condition.missing if name != "line" and not name.startswith("s"))
        return replace(found, condition=Condition(equal=found.condition.equal, missing=missing))

    patch.setattr(Permits, "_taking", taking)


def shards_left_alone(patch: Patch) -> None:
    """Who gives a permit of a shard back looks at no other shard's line, and neither does the sweep."""
    patch.setattr(ShardedPermits, "_hand_over", lambda *given, **named: [])


def place_kept_by_the_one_called(patch: Patch) -> None:
    """Who is granted a permit of another shard stays in its own shard's line."""
    right = ShardedPermits._handing_over  # noqa: SLF001 - made wrong on purpose

    def handing_over(self: ShardedPermits, *given: Any) -> tuple[list[Change], bool]:
        changes, goes = right(self, *given)
        return [change for change in changes if change.sk == PERMITS], goes

    patch.setattr(ShardedPermits, "_handing_over", handing_over)


def line_lost_by_who_frees(patch: Patch) -> None:
    """Who frees a permit of what it found without a line does not look whether there is one by then."""

    def seen(item: Item, condition: Condition, *, last: bool) -> Condition:
        names = ("left", "joined") if last else ("left",)
        return replace(condition, equal={**condition.equal, **{name: item[name] for name in names if name in item}})

    patch.setattr(permits, "_seen", seen)


OF_SHARDS: Final[dict[Callable[[Patch], None], set[str]]] = {
    shards_left_alone: {"invariant 3", "invariant 10"},
    place_kept_by_the_one_called: {"invariant 10"},
    line_lost_by_who_frees: {"invariant 10"},
}
"""Bugs that show where each permit is a shard of its own."""

BUGS: Final[dict[Callable[[Patch], None], set[str]]] = {
    counted_instead_of_identified: {"invariant 10"},
    freed_by_the_head_alone: {"invariant 10"},
    taken_after_the_claim: {"invariant 10"},
    kept_by_the_cancelled: {"invariant 10"},
    joined_by_read_and_write: {"invariant 10"},
    never_taken_up: {"invariant 3", "invariant 10"},
    no_alarm_for_the_last_in_line: {"invariant 3", "invariant 10"},
    one_name_for_two_owners: {"invariant 10"},
    lost_permits_not_noticed: {"invariant 10"},
    handed_to_the_last_in_line: {"invariant 10"},
    taken_past_the_line: {"invariant 10"},
}

SHOWN_BY: Final[dict[str, Faults]] = {
    "no_alarm_for_the_last_in_line": Faults(kinds=["message lost"], rates=(0.3, 0.6)),
    "lost_permits_not_noticed": Faults(kinds=["zombie"], rates=(0.1, 0.3)),
}
"""The faults that show a bug soonest."""
