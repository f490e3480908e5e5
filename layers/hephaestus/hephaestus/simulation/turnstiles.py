"""What must hold of limits: who runs has its permits, who has them is left them, and lines are kept (invariant 10).

Every change of a limit is seen as it is stored, before and after.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hephaestus.definition.concurrency import Concurrency
from hephaestus.engine.activation import is_item, parse, step_of
from hephaestus.engine.shards import MOST, limit_of, place_of_shard, shard_of, shards_of, share_of, stored_as
from hephaestus.simulation.faults import FAULTS
from hephaestus.simulation.violation import require
from hephaestus.store.keys import end_of
from hephaestus.store.permits import LINE, PERMITS, holder_of, is_limit, limit_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.definition.context import StepContext
    from hephaestus.definition.step import Step
    from hephaestus.engine.state import State
    from hephaestus.simulation.checks import Generation
    from hephaestus.simulation.ledger import Ledger
    from hephaestus.simulation.world import Invocation
    from hephaestus.store.table import Change, Item

OVER: Final = ("completed", "failed", "skipped", "compensated", "compensation_failed")
RULE: Final = "invariant 10"
SOON_MS: Final = 1_000
MILD: Final = frozenset({"step too long", "clocks differ", "message late", "message twice", "schedule late"})
DISTURBING: Final = frozenset(FAULTS) - MILD


def counted(step: Step) -> list[Concurrency]:
    """Those limits of a step that have permits."""
    return [limit for limit in step.limits if isinstance(limit, Concurrency)]


@dataclass
class AtWork:
    """What runs on a permit: an attempt of a step, or items of a map that one instance runs.

    Attributes:
        by: the invocation.
        holder: whose permit it is.
        work: the key of the step, or of the map.
        number: how many attempts run.
    """

    by: Invocation
    holder: str
    work: str
    number: int = 0


class Turnstiles:
    """The books of all limits of a run.

    Attributes:
        numbers: how many permits each limit has, as those have said that ran or stand in line.
        alarms: of each limit, when the sweep looks at it (ms).
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.numbers: dict[str, int] = {}
        self.alarms: dict[str, int] = {}
        self._running: dict[tuple[str, int], AtWork] = {}
        self._idle: set[str] = set()

    def begins(self, known: Generation, step: Step, context: StepContext, invocation: Invocation, of: str = "") -> None:
        """A step's own code is about to run: it has a permit of each limit, and so has no one else.

        For an item of the map ``of``, that is the map's, for all items that its instance runs (F.9).
        """
        state, work = known.state, of or step.key
        held = state.permits.get(state.activation(work))
        for limit in counted(step):
            name = limit.key(context)
            self.numbers[name] = limit.n
            mine = [grant for grant in held.grants if limit_of(grant.limit) == name] if held is not None else []
            require(bool(mine), RULE, f"step {step.key} runs, and its log names no permit of {name}")
            (grant,) = mine
            name = stored_as(grant.limit)
            item = self._item(name)
            owner = item.get(f"s{grant.slot}")
            own = state.instance_id, state.life, state.activation(work)
            is_its = isinstance(owner, str) and holder_of(owner)[:3] == own
            require(is_its, RULE, f"step {step.key} runs, and permit {grant.slot} of {name} is {owner!r}")
            most = self.ledger.numberings.bound(limit_of(name), limit.n)
            within = grant.slot < share_of(most, place_of_shard(name)[0])
            require(within, RULE, f"{name} has {most} permits, and number {grant.slot} is held")
            runs = self._running.get((name, grant.slot))
            if runs is None or (runs.by, runs.holder) != (invocation, owner):
                runs = self._running[name, grant.slot] = AtWork(invocation, str(owner), work)
            runs.number += 1

    def ends(self, invocation: Invocation, work: str) -> None:
        """A step's own code, or that for an item, has come to its end."""
        for place, runs in tuple(self._running.items()):
            if runs.by is invocation and runs.work == work:
                runs.number -= 1
                if not runs.number:
                    del self._running[place]

    def names(self, state: State) -> None:
        """A log says what an instance holds, and where it stands in line: nothing of that is over (F.1, F.2)."""
        for activation, held in state.permits.items():
            known = state.steps.get(step_of(activation))
            over = state.closed or (known is not None and known.status in OVER)
            require(not over, RULE, f"{activation} of {state.instance_id} is over, and its log names a permit of it")
            items = known is not None and known.status == "mapping"
            rests = state.owner is None and state.status == "waiting" and items and not held.whole
            require(not rests, RULE, f"no item of {activation} of {state.instance_id} runs, and its log names a permit")
        stops = state.closed or state.cancel is not None or state.paused is not None
        left = tuple(state.queued) if stops else ()
        require(not left, RULE, f"{left} of {state.instance_id} stand in line, and it does not go on")

    def change(self, changes: Sequence[Change], do: Callable[[], bool]) -> tuple[bool, Callable[[], None]]:
        """Change limits, and give what checks that."""
        limits = sorted({change.pk for change in changes if is_limit(change.pk)})
        before = {limit: (self._item(limit), self._line(limit)) for limit in limits}
        written = do()

        def check() -> None:
            for limit, (item, line) in before.items():
                self._check(limit, item, line)

        return written, check if written else lambda: None

    def _check(self, limit: str, before: Item, line: Sequence[Item]) -> None:
        """No one who runs has lost its permit, and who was called was the first in line."""
        after, left = self._item(limit), [item["sk"] for item in self._line(limit)]
        self.look(limit)
        self.ledger.numberings.changes(limit.removeprefix("limit#"), before, after)
        for slot in range(MOST):
            old, new = before.get(f"s{slot}"), after.get(f"s{slot}")
            if old != new and old is not None:
                self._is_over(limit, slot, str(old))
            if new not in {old, None} and line and (place := holder_of(str(new)).place) not in left:
                called = next((item["sk"] for item in line), "")
                require(place == called, RULE, f"of the line of {limit}, {place} is called, and {called!r} is first")
        if bool(left) != ("line" in after):
            require(not left, RULE, f"{left[:1]!r} stands in the line of {limit}, and its item says that there is none")

    def _is_over(self, limit: str, slot: int, old: str) -> None:
        place = limit.removeprefix("limit#"), slot
        self.ledger.entrances.is_over(place[0], holder_of(old))
        runs = self._running.get(place)
        if runs is None or runs.holder != old:
            return
        del self._running[place]
        invocation, holder = runs.by, holder_of(old)
        known = self.ledger.newest.get(holder.instance_id)
        alive = invocation.alive and self.ledger.world.now < invocation.ends_at
        named = known is not None and known.state.life == holder.life and _runs(known.state, holder.activation)
        attempt = known is not None and known.state.attempt(parse(holder.activation).step) == holder.attempt
        lost = alive and named and attempt
        require(not lost, RULE, f"{holder.activation} of {holder.instance_id} runs, and has lost its permit")

    def look(self, limit: str) -> None:
        """Note when the sweep looks at a limit."""
        at = self._item(limit).get("wake_at")
        if isinstance(at, int):
            self.alarms[limit] = at
        else:
            self.alarms.pop(limit, None)

    def due(self) -> list[int]:
        """When the sweep finds something to do at limits (ms): what holds a permit rightly may do so for ever."""
        return [at for limit, at in self.alarms.items() if not self._is_in_order(limit)]

    def _is_in_order(self, limit: str) -> bool:
        """Whether all who have a permit, or stand in line, are named by their logs, and no permit is free."""
        item, name = self._item(limit), limit.removeprefix("limit#")
        slots = [slot for slot in range(MOST) if f"s{slot}" in item]
        places = [holder_of(str(place["name"])) for place in self._line(limit)]
        if places and self._free(name):
            return False
        for slot in slots:
            who = holder_of(str(item[f"s{slot}"]))
            known = self.ledger.newest.get(who.instance_id)
            held = None if known is None or known.state.life != who.life else known.state.permits.get(who.activation)
            if held is None or all((stored_as(grant.limit), grant.slot) != (name, slot) for grant in held.grants):
                return False
        return all(
            (known := self.ledger.newest.get(who.instance_id)) is not None and who.activation in known.state.queued
            for who in places
        )

    def swept(self, *, calm: bool) -> None:
        """A sweep begins: no permit that was free at the one before is free while someone stands in line."""
        before, self._idle = self._idle, set()
        if self.ledger.world.weather.kinds.isdisjoint(DISTURBING):
            self._is_exact()
        for limit in self.alarms if calm else ():
            if self._line(limit) and self._free(limit.removeprefix("limit#")):
                require(limit not in before, RULE, f"{limit} has a free permit and a line, and two sweeps left it so")
                self._idle.add(limit)

    def _is_exact(self) -> None:
        """Where no one dies and every answer comes, no permit and no line waits for a sweep (F.4)."""
        if self.ledger.world.now - self.ledger.numberings.changed_at < SOON_MS:
            return
        for known in self.ledger.newest.values():
            if known.state.owner is not None or self.ledger.world.now - known.state.updated_at < SOON_MS:
                return
        for limit in self.alarms:
            name, item, line = limit.removeprefix("limit#"), self._item(limit), self._line(limit)
            closed = not self._number(
                name
            )  # who was moved there since an operator's number closed it is found by a sweep
            idle = line and not closed and self._free(name)
            require(not idle, RULE, f"{limit} has a free permit and a line, which only a sweep will find")
            slots = [str(item[f"s{slot}"]) for slot in range(MOST) if f"s{slot}" in item]
            for who in map(holder_of, [*slots, *(str(place["name"]) for place in line)]):
                found = self.ledger.newest.get(who.instance_id)
                its = found is not None and who.life == found.state.life
                named = {*found.state.permits, *found.state.queued} if its and found is not None else set()
                require(who.activation in named, RULE, f"{who} is in {limit}, and no log says so")

    def finish(self) -> None:
        """All is over: no one stands in line."""
        for limit in self.alarms:
            line = [str(item["name"]) for item in self._line(limit)]  # what is over keeps an alarm until a sweep
            require(not line, RULE, f"all is over, and {line} stand in the line of {limit}")

    def _free(self, stored: str) -> list[tuple[str, int]]:
        """The free permits of a limit, of all its shards; those above a number count, too."""
        limit, number = limit_of(stored), self._in_force(stored)
        shards = [shard_of(limit, number, shard) for shard in range(shards_of(number))]
        places = [
            (name, slot, self._item(name)) for name in map(stored_as, shards) for slot in range(self._number(name))
        ]
        held = {name: sum(f"s{slot}" in item for slot in range(MOST)) for name, _, item in places}
        return [
            (name, slot) for name, slot, item in places if f"s{slot}" not in item and held[name] < self._number(name)
        ]

    def _number(self, stored: str) -> int:
        """How many permits a limit, or a shard of one, has; 0 where that is not known yet."""
        return share_of(self._in_force(stored), place_of_shard(stored)[0])

    def _in_force(self, stored: str) -> int:
        """How many permits a limit has in all."""
        return self.ledger.numberings.number(limit_of(stored), self.numbers.get(limit_of(stored), 0))

    def _item(self, limit: str) -> Item:
        key = limit if is_limit(limit) else limit_key(limit)
        return self.ledger.store.table.get(key, PERMITS) or {}

    def _line(self, limit: str) -> Sequence[Item]:
        return self.ledger.store.table.query(limit, low=LINE, high=end_of(LINE))


def _runs(state: State, activation: str) -> bool:
    """Whether an attempt is under way, or one of an item of a map."""
    return any(one == activation or is_item(one, step_of(activation)) for one in state.running)
