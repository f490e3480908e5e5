"""When an instance must be looked at: the alarm of its head, and that of a log entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus.engine.activation import step_of
from hephaestus.engine.events import (
    CancelRequested,
    Claimed,
    EventReceived,
    HandedOver,
    HeartbeatReceived,
    Parked,
    PartResumed,
    Paused,
    Redriven,
    Suspended,
    TimerSet,
    UndoRequested,
    Unpaused,
)
from hephaestus.engine.state import TIMED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.engine.events import Entry, Event
    from hephaestus.engine.records import OpenItem
    from hephaestus.engine.state import State, StepState

_GOES_ON: Final = (Redriven, UndoRequested, PartResumed)
_FROM_OUTSIDE: Final = frozenset(
    {EventReceived, TimerSet, HeartbeatReceived, CancelRequested, Paused, Unpaused, *_GOES_ON, Parked}
)


def alarm(before: State, entry: Entry, after: State) -> int | None:
    """When (ms) somebody must look at the instance for the sake of ``entry``, until a head covers it.

    * A claim: at its lease's end. The head's alarm never counts as cover: a head that is late may move it.
    * What another than the owner adds: at once, unless there is a live owner, who sees it at its next commit.
    * An owner's giving up: at the next wake-up, if that is before the alarm of its own claim.
    * An owner's commits in between, and its closing: never; its claim's alarm covers them.
    """
    kinds = {type(event) for event in entry.events}
    claims = Claimed in kinds
    if claims and after.owner is not None:
        return after.lease_until
    if claims or not (kinds.isdisjoint(_FROM_OUTSIDE) or before.owned(entry.at)):
        return entry.at
    if after.owner is None and after.wake_at is not None and after.wake_at < before.lease_until:
        return after.wake_at
    return None


def wake_at(before: State, event: Event, at: int, after: State) -> int | None:
    """When (ms) the instance is looked at at the latest, if nothing happens before; the head's alarm.

    While somebody owns it, that is the lease's end. Then the owner says when, and what comes from outside for a step
    that waits brings it forward.

    Args:
        before: the state before the event.
        event: what happened.
        at: when (ms).
        after: the state after it, but for its ``wake_at``.
    """
    if after.owner is not None:
        return after.lease_until
    if after.closed:
        return None
    if isinstance(event, (Suspended, Parked, Paused)):
        return event.look_at or None if isinstance(event, Paused) else event.wake_at
    if isinstance(event, (HandedOver, *_GOES_ON)):
        return at
    if isinstance(event, HeartbeatReceived):
        return _after_heartbeat(before, event, after)
    known = (before.wake_at, _due(before, event, at))
    return min((time for time in known if time is not None), default=None)


def _tried_again(state: State) -> Iterator[StepState | OpenItem]:
    """What may be between two attempts: steps, and the items of maps."""
    for step in state.steps.values():
        yield step
        yield from () if step.mapped is None else step.mapped.open.values()


def _due(before: State, event: Event, at: int) -> int | None:
    """When what came from outside is to be looked at, if no one would look of their own accord."""
    match event:
        case EventReceived() if _waits(before, event.activation, *(TIMED if event.ends else ())):
            return at
        case TimerSet() if _waits(before, event.activation):
            return event.due_at
        case CancelRequested() if before.cancel is None:
            return at
        case Unpaused() if before.paused is not None:
            return at
    return None


def _waits(state: State, line: str, *others: str) -> bool:
    """Whether something for a step or item is to be looked at before it asks: it waits, or is one of others."""
    if state.paused is not None:
        return False
    return state.waits(line) or ("[" not in line and state.step_status(step_of(line)) in others)


def _after_heartbeat(before: State, event: HeartbeatReceived, after: State) -> int | None:
    """Nothing is due before the first deadline or retry: an alarm that was this heartbeat's moves with it."""
    missed = (timer.due_at for timer in before.timers.get(event.activation, ()) if timer.heartbeat_ms)
    alarmed = before.paused is None and before.wake_at == next(missed, None)
    if not alarmed or any(_waits(before, one, *TIMED) for one in before.inbox):
        return before.wake_at
    waiting = [timer.due_at for timer in after.deadlines if after.waits(timer.activation)]
    retrying = [one.retry_at for one in _tried_again(after) if one.retry_at is not None]
    return min([*waiting, *retrying, *([] if after.deadline is None else [after.deadline])])
