"""Maps whose items are under rates, and bugs in the times that items have (rules F.7 and F.9)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hephaestus import RateLimit
from hephaestus.engine import holding, map_items
from hephaestus.runtime import gate, turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    import pytest

    from hephaestus import StepContext
    from hephaestus.engine.records import Turn
    from hephaestus.engine.state import State

    Patch = pytest.MonkeyPatch

SECOND: Final = timedelta(seconds=1)


def _half(ctx: StepContext) -> str:
    """One of two, by the item."""
    return "odd" if ctx.index % 2 else "even"


def rates(draw: Random) -> Sequence[RateLimit]:
    """A slow one with a line, a quick one with waits in place, one by the item, or two at once."""
    slow, quick = RateLimit("slow", 1, 20 * SECOND), RateLimit("quick", 1, 1.3 * SECOND, burst=2)
    each = RateLimit("each", 1, 5 * SECOND, per=_half, priority=1)
    return draw.choice([[slow], [quick], [quick], [each], [quick, each]])


def no_item_waits_for_its_time(patch: Patch) -> None:
    """An item begins as soon as it has reserved."""
    patch.setattr(map_items, "may_begin", lambda state, activation, now: True)


def the_time_is_the_maps(patch: Patch) -> None:
    """All items of an instance start in one time."""
    right = turns.is_in_time
    known: list[Turn] = []

    def is_in_time(turn: Turn | None, attempt: int, now: int) -> bool:
        known.extend([turn] if turn is not None and right(turn, attempt, now) else [])
        return bool(known) and right(known[-1], known[-1].attempt, now)

    patch.setattr(gate, "is_in_time", is_in_time)


def an_items_time_is_dropped(patch: Patch) -> None:
    """What an item has reserved is gone with the next event."""
    right = holding._has_turn  # noqa: SLF001 - made wrong on purpose

    def has_turn(before: State, after: State, activation: str, turn: Turn) -> bool:
        is_new = before.turns.get(activation) != turn
        return right(before, after, activation, turn) and ("[" not in activation or is_new)

    patch.setattr(holding, "_has_turn", has_turn)


def stays_in_line_when_the_map_ends(patch: Patch) -> None:
    """Items that stand in line when a map ends, or is cancelled, stay there."""
    right = holding.holding

    def kept(before: State, after: State) -> dict[str, Any]:
        found = right(before, after)
        lined = {one: turn for one, turn in after.turns.items() if "[" in one and not turn.at}
        if "turns" in found and lined:
            found["turns"] = {**found["turns"], **lined}
        return found

    patch.setattr("hephaestus.engine.fold.holding", kept)


BUGS: Final[dict[Callable[[Patch], None], set[str]]] = {
    no_item_waits_for_its_time: {"rates"},
    the_time_is_the_maps: {"rates"},
    an_items_time_is_dropped: {"rates", "invariant 3"},
    stays_in_line_when_the_map_ends: {"rates", "invariant 3"},
}
