"""Events of rates: an attempt has reserved the time that it starts at, or stands in line for one (rule F.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.engine.events.event import OfActivation, event, stays
from hephaestus.engine.events.of_limits import asked
from hephaestus.engine.records import Turn
from hephaestus.engine.state import added, without

if TYPE_CHECKING:
    from hephaestus.engine.records import Pace
    from hephaestus.engine.state import State


@event(stays("running"))
class StartReserved(OfActivation):
    """An attempt starts at ``start_at`` (ms), or within a moment; else its place is lost, and it reserves anew."""

    attempt: int
    start_at: int
    paces: tuple[Pace, ...]
    order: int = 0

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """It stands in no line, and is not under way before that."""
        turn = Turn(self.attempt, self.start_at, self.order, self.paces)
        return {
            "turns": added(state.turns, self.activation, turn),
            "running": _others(state, self.activation),
            **asked(state, self.activation),
        }


@event(stays("running"))
class StartQueued(OfActivation):
    """An attempt stands in the line of the first of ``paces`` until it has a time to start at; it does not run."""

    attempt: int
    paces: tuple[Pace, ...]
    order: int

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """It holds no permits meanwhile but those that it has until its step's outcome."""
        held = state.permits.get(self.activation)
        lets_go = held is not None and not held.whole
        return {
            "turns": added(state.turns, self.activation, Turn(self.attempt, 0, self.order, self.paces)),
            "permits": without(state.permits, self.activation) if lets_go else state.permits,
            "running": _others(state, self.activation),
            **asked(state, self.activation),
        }


def _others(state: State, activation: str) -> tuple[str, ...]:
    return tuple([one for one in state.running if one != activation])
