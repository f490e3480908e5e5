"""What an attempt has of limits after an event, or stands in line for: whatever ends an attempt ends its hold.

It is decided in this one place for all events, so that none of them can forget a permit (F.1 in the docs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.activation import INSTANCE, is_item, parse, step_of
from hephaestus.engine.map_items import is_open_item
from hephaestus.engine.records import NOTHING

if TYPE_CHECKING:
    from hephaestus.engine.records import Held, Turn
    from hephaestus.engine.state import State

OVER: Final = frozenset({"completed", "failed", "skipped", "compensated", "compensation_failed"})


def holding(before: State, after: State) -> dict[str, Any]:
    """The permits and times that are still held after an event, and who still stands in line, where that changed."""
    permits = {one: held for one, held in after.permits.items() if _is_held(before, after, one, held)}
    queued = {one: place for one, place in after.queued.items() if _is_open(after, one) and may_start(after)}
    turns = {one: turn for one, turn in after.turns.items() if _has_turn(before, after, one, turn)}
    found: dict[str, Any] = {}
    if len(permits) != len(after.permits):
        found["permits"] = permits or NOTHING
    if len(queued) != len(after.queued):
        found["queued"] = queued or NOTHING
    if len(turns) != len(after.turns):
        found["turns"] = turns or NOTHING
    return found


def may_start(state: State) -> bool:
    """Whether the instance starts anything that is not under way: not while it is held, or comes to its end."""
    return not _ends(state) and state.paused is None


def _ends(state: State) -> bool:
    """Whether the instance comes to its end: nothing starts any more but what undoes, and on_failure."""
    return state.closed or state.cancel is not None or state.verdict is not None or state.compensation is not None


def _is_held(before: State, after: State, activation: str, held: Held) -> bool:
    if activation == INSTANCE:
        return not after.closed
    if after.closed or not _is_open(after, activation):
        return False
    if activation in after.running:
        return True
    if held.whole:
        return after.compensation is None
    if after.step_status(step_of(activation)) == "mapping":
        return _may_run_items(after, step_of(activation))
    is_put_off = after.turns.get(activation) != before.turns.get(activation)  # it keeps its permits until it starts
    return may_start(after) and (is_put_off or activation not in before.running)  # taken, and about to start


def _may_run_items(state: State, step: str) -> bool:
    """Whether items of a map run, or may do so before the instance rests: with that, its permits are given back (F.9).

    What an owner has taken stays until it leaves, so that no owner takes permits twice under one name.
    """
    if state.compensation is None and any(is_item(one, step) for one in state.running):
        return True
    rests = state.status == "waiting" or state.paused is not None or state.parked is not None
    return not _ends(state) and (state.owner is not None or not rests)


def _has_turn(before: State, after: State, activation: str, turn: Turn) -> bool:
    """Whether an attempt still has its time, or its place in line."""
    if after.closed or not _is_open(after, activation):
        return False
    if "[" in activation and not is_open_item(after, activation):
        return False
    if activation in after.running:
        return True
    is_new = before.turns.get(activation) != turn
    return may_start(after) and (is_new or turn.at == 0 or activation not in before.running)


def _is_open(state: State, activation: str) -> bool:
    """Whether an activation is its step's newest, and the step has not come to its end."""
    found = parse(activation)
    step = state.steps.get(found.step)
    if found.epoch != state.epochs.get(found.step, 0) or found.round != (1 if step is None else step.round):
        return False
    return state.step_status(step_of(activation)) not in OVER
