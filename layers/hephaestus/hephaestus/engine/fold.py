"""A log folded into a state: every event's own ``changes`` and the alarm that follows, in order.

``fold`` needs no graph: an event carries what was decided, so an old log reads the same after the workflow's code has
changed. An event that its declaration does not allow means a corrupt log, never a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus.engine.alarms import wake_at
from hephaestus.engine.events import Entry, InstanceStarted
from hephaestus.engine.events.event import status_after
from hephaestus.engine.holding import holding
from hephaestus.engine.records import NOTHING
from hephaestus.engine.state import evolve
from hephaestus.errors import CorruptLog

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hephaestus.engine.events import Event
    from hephaestus.engine.state import State


def begin(instance_id: str, generation: int, entry: Entry, life: str = "") -> State:
    """The state after the first entry of a life.

    Raises:
        CorruptLog: the entry does not start an instance, or is not numbered 1.
    """
    return apply(InstanceStarted.begins(instance_id, generation, entry, life), entry.events[1:], entry.at)


def fold(state: State, entries: Iterable[Entry]) -> State:
    """``state`` after ``entries``.

    Raises:
        CorruptLog: a number is missing, or an event does not follow from the state before it.
    """
    for entry in entries:
        if entry.sequence != state.sequence + 1:
            message = f"instance {state.instance_id}: log entry {entry.sequence} follows entry {state.sequence}"
            raise CorruptLog(message)
        state = evolve(apply(state, entry.events, entry.at), sequence=entry.sequence)
    return state


def following(state: State, commit_id: str, at: int, events: tuple[Event, ...]) -> tuple[State, Entry]:
    """The next entry, which holds ``events``, and the state after it.

    Raises:
        CorruptLog: an event is not allowed in the state.
    """
    after = evolve(apply(state, events, at), sequence=state.sequence + 1)
    return after, Entry(after.sequence, commit_id, at, events)


def apply(state: State, events: Iterable[Event], at: int) -> State:
    """``state`` after ``events``, all of them at ``at`` (ms); the sequence number is left as it is.

    Raises:
        CorruptLog: an event is not allowed in the state.
    """
    for event in events:
        status = status_after(state, event)
        changes = event.changes(state, at)
        changes["status"], changes["updated_at"] = status, at
        after = evolve(state, changes)
        if after.permits is not NOTHING or after.queued is not NOTHING or after.turns is not NOTHING:
            after = evolve(after, holding(state, after))
        alarm = wake_at(state, event, at, after)
        state = after if alarm == after.wake_at else evolve(after, wake_at=alarm)
    return state
