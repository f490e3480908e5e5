"""When what has reserved a time to start at may start (rule F.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hephaestus.engine.state import State

EARLY_MS: Final = 1_200  # before its time an instance is woken: messages and clocks are not exact
MOST_PACED: Final = 16  # of a map's items that run in an instance or have a time ahead: so many run at once
IN_PLACE_MS: Final = 2_000  # a time that is no further ahead is waited for


def may_begin(state: State, activation: str, now: int) -> bool:
    """Whether an attempt stands in no line, and no rate has it wait any longer."""
    if activation in state.queued:
        return False
    turn = state.turns.get(activation)
    return turn is None or 0 < turn.at <= now


def next_start(state: State, now: int) -> int | None:
    """When the instance has to be awake for the first attempt whose time is after ``now`` (ms), if there is one."""
    first = first_start(state, now)
    return None if first is None else first if first <= now + IN_PLACE_MS else first - EARLY_MS


def first_start(state: State, now: int) -> int | None:
    """The first time after ``now`` (ms) that an attempt is to start at, if there is one."""
    return min((turn.at for turn in state.turns.values() if turn.at > now), default=None)


def is_in_line(state: State) -> bool:
    """Whether anything stands in line for permits, or for a time."""
    return bool(state.queued) or any(turn.at == 0 for turn in state.turns.values())
