"""Workflows that contend for rates, and deliberate bugs in times and lines; see ``deliberate_bugs``.

What needs a request of another between two that follow each other, the model finds (``protocol/rates.py``).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hephaestus import DONE, Concurrency, RateLimit, Retry, Workflow, step
from hephaestus.engine.effects import LeaveLine
from hephaestus.runtime import executor, gate, turns, waking
from hephaestus.simulation import Faults
from hephaestus.steps import WaitForEvent
from hephaestus.store import reservations, speeds
from hephaestus.store.reservations import Reservations
from hephaestus.store.table import ALWAYS, Change, Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from hephaestus.engine.effects import OfRates
    from hephaestus.engine.records import Turn
    from hephaestus.store.table import Item

    Patch = pytest.MonkeyPatch

SECOND: Final = timedelta(seconds=1)
SLOW = RateLimit("slow", 1, 25 * SECOND)
FAST = RateLimit("fast", 1, 4 * SECOND, burst=2, priority=1)
HEAVY = RateLimit("fast", 1, 4 * SECOND, burst=2, cost=2)
ONE = Concurrency("slots", 1)
QUICK: Final = Retry(max_attempts=4, delay=timedelta(milliseconds=700), jitter="none", backoff="constant")


class Paced(Workflow, key="paced"):
    """A slow rate, then another with a permit."""

    retry = QUICK
    a, b = step(key="a", limits=[SLOW])(lambda ctx: "done"), step(key="b", limits=[ONE, FAST])(lambda ctx: "done")
    start_at = a
    transitions = {a: {"done": b}, b: {"done": DONE}}


class Both(Workflow, key="both"):
    """Two rates at once."""

    retry = QUICK
    a, b = step(key="a", limits=[FAST, SLOW])(lambda ctx: "done"), step(key="b", limits=[HEAVY])(lambda ctx: "done")
    start_at = a
    transitions = {a: {"done": b}, b: {"done": DONE}}


class Spread(Workflow, key="spread"):
    """Rates side by side, beside a wait."""

    retry = QUICK
    begin, end = (step(key=name)(lambda ctx: "done") for name in ("begin", "end"))
    x, y = step(key="x", limits=[SLOW], timeout=2)(lambda ctx: "done"), step(key="y", limits=[FAST])(lambda ctx: "done")
    z, asked = step(key="z", limits=[SLOW])(lambda ctx: "done"), WaitForEvent("ok", name="asked", timeout=60)
    start_at = begin
    transitions = {
        begin: {"done": [x, y, z, asked]},
        x: {"done": end, "timeout": end},
        y: {"done": end},
        z: {"done": end},
        asked: {"ok": end, "timeout": end},
        end: {"done": DONE},
    }


FLOWS: Final = (Paced, Both, Spread)


def forgets_its_burst(patch: Patch) -> None:
    """As many places as the burst has are given away again and again."""
    patch.setattr(speeds.Speed, "at_once", lambda speed, cost: speed.every * max(speed.burst, cost) * 2)


def taken_without_condition(patch: Patch) -> None:
    """A place is reserved by a read and a write, whoever has reserved it meanwhile."""

    def together(self: Reservations, paces: Any, now: int, _place: str = "") -> int | str:
        items = {pace.limit: self._read(pace.limit) for pace in paces}
        known = {pace.limit: speeds.standing(items[pace.limit]).met_by(pace, now) for pace in paces}
        at, _ = reservations._earliest(paces, known, now)  # noqa: SLF001 - as above
        changes = [self._takes(pace, items[pace.limit], at, now) for pace in paces]
        self.table.change_all([replace(change, condition=ALWAYS) for change in changes])
        return -(-at // 1000)

    patch.setattr(Reservations, "reserve", together)


def late_starts_at_once(patch: Patch) -> None:
    """Who has missed its time starts when it comes, so that an unused place is used beside another."""
    patch.setattr(reservations, "LATE_MS", 1 << 40)

    def is_in_time(turn: Turn | None, attempt: int, _now: int) -> bool:
        return turn is not None and turn.attempt == attempt and turn.at > 0

    for module in (turns, gate):
        patch.setattr(module, "is_in_time", is_in_time)


def the_place_of_another_attempt(patch: Patch) -> None:
    """A retry starts in the time of the attempt before."""
    patch.setattr(gate, "is_in_time", lambda turn, attempt, now: turn is not None and turn.at > 0)


def the_dead_stop_the_line(patch: Patch) -> None:
    """Who was called and does not come is waited for."""
    patch.setattr(reservations, "GRACE_MS", 1 << 40)


def a_called_place_is_never_called_again(patch: Patch) -> None:
    """Its time has passed, and it is over with it."""
    right = reservations._Round.go  # noqa: SLF001 - made wrong on purpose

    def go(self: Any, stands: Any) -> Any:
        places = self.rates._places  # noqa: SLF001 - as above

        def fresh(limit: str) -> Iterator[Item]:
            return (place for place in places(limit) if "at" not in place)

        self.rates._places = fresh  # noqa: SLF001 - as above
        try:
            return right(self, stands)
        finally:
            del self.rates._places  # noqa: SLF001 - as above

    patch.setattr(reservations._Round, "go", go)  # noqa: SLF001 - as above


def no_alarm_of_the_line(patch: Patch) -> None:
    """A message that is lost is not made up for."""
    patch.setattr(reservations._Round, "_alarm", lambda self, needed: {})  # noqa: SLF001 - made wrong on purpose
    right = Reservations._mark  # noqa: SLF001 - as above

    def mark(self: Reservations, pace: Any, now: int) -> int | None:
        due = right(self, pace, now)
        key = reservations.rate_key(pace.limit)
        gone: dict[str, Any] = {"wake_shard": None, "wake_at": None}
        self.table.change_all([Change(key, reservations.RATE, gone, Condition(present=True))])
        return due

    patch.setattr(Reservations, "_mark", mark)


def never_taken_up(patch: Patch) -> None:
    """Who is woken, and has its time, goes on waiting."""
    for module in (executor, waking):
        patch.setattr(module, "is_called", lambda state, store: False)


def kept_by_the_cancelled(patch: Patch) -> None:
    """Who is paused or cancelled stays in the line."""
    right = turns.perform

    def perform(effect: OfRates, *others: Any) -> None:
        if not isinstance(effect, LeaveLine):
            right(effect, *others)

    patch.setattr(turns, "perform", perform)


def called_from_the_end(patch: Patch) -> None:
    """The line is called from its end."""
    right = Reservations._places  # noqa: SLF001 - made wrong on purpose
    patch.setattr(Reservations, "_places", lambda self, limit: iter(list(right(self, limit))[::-1]))


BUGS: Final[dict[Callable[[Patch], None], set[str]]] = {
    forgets_its_burst: {"rates"},
    taken_without_condition: {"rates"},
    late_starts_at_once: {"rates"},
    the_place_of_another_attempt: {"rates"},
    the_dead_stop_the_line: {"invariant 3", "rates"},
    a_called_place_is_never_called_again: {"invariant 3", "rates"},
    no_alarm_of_the_line: {"invariant 3", "rates"},
    never_taken_up: {"invariant 3", "rates"},
    kept_by_the_cancelled: {"invariant 3", "rates"},
    called_from_the_end: {"rates"},
}

SHOWN_BY: Final[dict[str, Faults]] = {
    "no_alarm_of_the_line": Faults(kinds=["message lost"], rates=(0.3, 0.6)),
    "the_dead_stop_the_line": Faults(kinds=["message lost"], rates=(0.3, 0.6)),
    "a_called_place_is_never_called_again": Faults(kinds=["message lost"], rates=(0.3, 0.6)),
    "late_starts_at_once": Faults(kinds=["message late"], rates=(0.3, 0.6)),
}
"""The faults that show a bug soonest."""
