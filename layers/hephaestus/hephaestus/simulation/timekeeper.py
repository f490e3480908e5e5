"""What must hold of rates: no window has too many starts, by the times reserved or by the clock; lines move (F.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus.definition.rates import RateLimit
from hephaestus.simulation.turnstiles import DISTURBING, SOON_MS
from hephaestus.simulation.violation import require
from hephaestus.simulation.world import MAX_SKEW_MS
from hephaestus.store.keys import end_of
from hephaestus.store.permits import LINE, holder_of
from hephaestus.store.reservations import LATE_MS, RATE, RATES, is_rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus.definition.context import StepContext
    from hephaestus.definition.step import Step
    from hephaestus.simulation.checks import Generation
    from hephaestus.simulation.ledger import Ledger
    from hephaestus.simulation.world import Invocation
    from hephaestus.store.table import Item

RULE: Final = "rates"
JOINED_MS: Final = 5_000  # who has stood in line for so long was seen by who calls it


class Book:
    """The starts under one rate: when each was to begin, and when it began (ms), by the places that it took."""

    def __init__(self, limit: RateLimit) -> None:
        self.limit = limit
        self.reserved: list[tuple[int, int]] = []
        self.begun: list[tuple[int, int]] = []

    def excess(self, starts: Sequence[tuple[int, int]], slack: int) -> int:
        """By how many places the worst window has more than it may, where each start may be off by ``slack`` ms."""
        every, burst, worst = self.limit.every, self.limit.burst, 0
        known = sorted(starts)
        for first in range(len(known)):
            taken = 0
            for at, cost in known[first:]:
                taken += cost
                allowed = burst + ((at - known[first][0] + slack) * 1000) // every
                worst = max(worst, taken - allowed)
        return worst


class Timekeeper:
    """The books of all rates of a run.

    Attributes:
        books: of each rate.
        alarms: of each rate, when the sweep looks at it (ms).
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.books: dict[str, Book] = {}
        self.alarms: dict[str, int] = {}
        self._joined: dict[tuple[str, str], int] = {}
        self._called: dict[str, set[str]] = {}

    def begins(self, known: Generation, step: Step, context: StepContext, invocation: Invocation, of: str) -> None:
        """A step's own code is about to run: its log names its time, and that has come; so with an item of ``of``."""
        named = known.state.item(of, context.item_key) if of else known.state.activation(step.key)
        world, turn = self.ledger.world, known.state.turns.get(named)
        for limit in step.limits:
            if not isinstance(limit, RateLimit):
                continue
            name, now = limit.key(context), world.now + invocation.skew
            at = 0 if turn is None or turn.attempt != context.attempt else turn.at
            require(at > 0, RULE, f"attempt {context.attempt} of {named} runs, and its log names no time for {name}")
            is_time = at <= max(now, known.state.updated_at) and now <= at + LATE_MS
            require(is_time, RULE, f"{named} runs at {now}, and its time for {name} is {at}")
            book = self.books.setdefault(name, Book(limit))
            book.reserved.append((at, limit.cost))
            book.begun.append((world.now, limit.cost))
            for starts, slack in ((book.reserved, 1), (book.begun, 1 + LATE_MS + 2 * MAX_SKEW_MS)):
                over = book.excess(starts, slack)
                require(over <= 0, RULE, f"{name} has a window with {over} starts too many: {sorted(starts)}")

    def look(self, key: str) -> None:
        """Something of a rate may have changed: who was called was the first in line, as far as is known."""
        world, item = self.ledger.world, self._item(key)
        at = item.get("wake_at")
        if isinstance(at, int):
            self.alarms[key] = at
        else:
            self.alarms.pop(key, None)
        places = self._line(key)
        for place in places:
            self._joined.setdefault((key, str(place["sk"])), world.now)
        before = self._called.get(key, set())
        self._called[key] = called = {str(place["sk"]) for place in places if "at" in place}
        if not world.weather.kinds.isdisjoint(DISTURBING):
            return
        for name in called - before:
            passed = [one for one in (str(place["sk"]) for place in places if "at" not in place) if one < name]
            passed = [one for one in passed if self._joined[key, one] < world.now - JOINED_MS]
            require(not passed, RULE, f"of the line of {key}, {name} is called before {passed[:1]}")

    def swept(self) -> None:
        """A sweep begins: where no one dies and every answer comes, no line waits for it."""
        world = self.ledger.world
        if not world.weather.kinds.isdisjoint(DISTURBING):
            return
        for known in self.ledger.newest.values():
            if known.state.owner is not None or world.now - known.state.updated_at < SOON_MS:
                return
        for key in self.alarms:
            self._is_exact(key)
            due = self._item(key).get("next")
            late = isinstance(due, int) and due + 2 * MAX_SKEW_MS + JOINED_MS < world.now
            is_late = late and "message late" not in world.weather.kinds
            require(not is_late, RULE, f"the line of {key} was to be called at {due!r}, and only a sweep will do it")

    def _is_exact(self, key: str) -> None:
        """Who stands in a line is named by its log, and who waits there is known to be there."""
        places = self._line(key)
        for who in (holder_of(str(place["name"])) for place in places):
            found = self.ledger.newest.get(who.instance_id)
            turn = None if found is None or found.state.life != who.life else found.state.turns.get(who.activation)
            named = turn is not None and not turn.at
            require(named, RULE, f"{who} stands in the line of {key}, and no log says so")
        waits = [str(place["sk"]) for place in places if "at" not in place]
        marked = not waits or "line" in self._item(key)
        require(marked, RULE, f"{waits[:1]} stands in the line of {key}, and only a sweep will find it")

    def due(self) -> list[int]:
        """When the sweep finds something to do at rates (ms)."""
        return list(self.alarms.values())

    def finish(self) -> None:
        """All is over: no one stands in line, and no alarm is left."""
        for key in {*self.alarms, *self._called}:
            line = [str(place["name"]) for place in self._line(key)]
            require(not line, RULE, f"all is over, and {line} stand in the line of {key.removeprefix(RATES)}")

    def _item(self, key: str) -> Item:
        assert is_rate(key)  # noqa: S101 - its callers have looked
        return self.ledger.store.table.get(key, RATE) or {}

    def _line(self, key: str) -> Sequence[Item]:
        return self.ledger.store.table.query(key, low=LINE, high=end_of(LINE))
