"""The state of an instance, and how each event changes it.

``fold`` is the only way a state comes to be. It needs no graph: an event carries what was decided, so an old log
reads the same after the workflow's code has changed. The two tables below are the whole life cycle; the diagrams in
the documentation are drawn from them. An event that a table does not allow means a corrupt log, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from hephaestus.engine.events import (
    NOTHING,
    CancelRequested,
    Claimed,
    Entry,
    Event,
    EventReceived,
    Failure,
    HandedOver,
    InstanceFinished,
    InstanceStarted,
    Parked,
    StepCompleted,
    StepFailed,
    StepsSkipped,
    StepWaiting,
    Suspended,
    TimerSet,
)
from hephaestus.errors import CorruptLog
from hephaestus.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Status: TypeAlias = Literal["pending", "running", "waiting", "completed", "failed", "cancelled", "compensating"]
StepStatus: TypeAlias = Literal["pending", "waiting", "retrying", "completed", "failed", "skipped"]

STATUSES: Final[tuple[Status, ...]] = (
    "pending",
    "running",
    "waiting",
    "completed",
    "failed",
    "cancelled",
    "compensating",
)
CLOSED: Final[frozenset[str]] = frozenset({"completed", "failed", "cancelled"})

# (status, event) → status; "=" stays, "closed" is the status that the event names.
INSTANCE_TRANSITIONS: Final[Mapping[str, Mapping[type[Event], str]]] = {
    "pending": {
        Claimed: "running",
        EventReceived: "=",
        TimerSet: "=",
        CancelRequested: "=",
        Parked: "=",
        InstanceFinished: "closed",
    },
    "running": {
        Claimed: "running",
        EventReceived: "=",
        TimerSet: "=",
        CancelRequested: "=",
        StepCompleted: "=",
        StepWaiting: "=",
        StepFailed: "=",
        StepsSkipped: "=",
        Parked: "=",
        HandedOver: "=",
        Suspended: "waiting",
        InstanceFinished: "closed",
    },
    "waiting": {
        Claimed: "running",
        EventReceived: "=",
        TimerSet: "=",
        CancelRequested: "=",
        Parked: "=",
        InstanceFinished: "closed",
    },
}

# (status, event) → status; "retrying or failed" is retrying when the event names the time of another attempt.
STEP_TRANSITIONS: Final[Mapping[StepStatus, Mapping[type[Event], StepStatus | Literal["retrying or failed"]]]] = {
    "pending": {
        StepCompleted: "completed",
        StepWaiting: "waiting",
        StepFailed: "retrying or failed",
        StepsSkipped: "skipped",
    },
    "retrying": {StepCompleted: "completed", StepWaiting: "waiting", StepFailed: "retrying or failed"},
    "waiting": {StepCompleted: "completed", StepFailed: "retrying or failed"},
}


@dataclass(frozen=True, slots=True)
class StepState:
    """What is known of one step; a step that nothing has happened to is not in the state at all."""

    status: StepStatus
    attempt: int = 0
    event: str | None = None
    taken: tuple[str, ...] = ()
    updates: Mapping[str, Any] = NOTHING
    started_at: int = 0
    ended_at: int = 0
    retry_at: int | None = None
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class Timer:
    """At ``due_at`` (ms) ``step`` is given the event ``emits``; ``scheduled``: a one-shot schedule was made for it."""

    token: str
    step: str
    due_at: int
    emits: str = "timeout"
    scheduled: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """An accepted event that its step has not consumed yet."""

    event: str
    event_id: str
    payload: Any = None


@dataclass(frozen=True)
class State:
    """One generation of an instance after the log entry numbered ``sequence``; times in milliseconds."""

    instance_id: str
    generation: int
    workflow: str
    version: int
    status: Status = "pending"
    sequence: int = 0
    created_at: int = 0
    updated_at: int = 0
    start_id: str = ""
    initial: Mapping[str, Any] = NOTHING
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = NOTHING
    owner: str | None = None
    lease_until: int = 0
    wake_at: int | None = None
    steps: Mapping[str, StepState] = NOTHING
    timers: tuple[Timer, ...] = ()
    timers_set: int = 0
    inbox: Mapping[str, Received] = NOTHING
    event_ids: tuple[str, ...] = ()
    cancel: CancelRequested | None = None
    error: Failure | None = None
    parked: str | None = None

    @property
    def closed(self) -> bool:
        """Whether the generation has ended; a closed one never changes."""
        return self.status in CLOSED

    def owned(self, now: int) -> bool:
        """Whether an owner's lease is alive at ``now`` (ms)."""
        return self.owner is not None and self.lease_until > now

    def step_status(self, step: str) -> StepStatus:
        """The status of ``step``; ``pending`` when nothing has happened to it."""
        known = self.steps.get(step)
        return known.status if known else "pending"

    def waits_for_nothing(self, step: str) -> bool:
        """Whether ``step`` has completed or is skipped: its outgoing edges are decided."""
        return self.step_status(step) in ("completed", "skipped")


def evolve(state: State, **changes: Any) -> State:
    """``state`` with some fields changed: ``dataclasses.replace`` at a tenth of its cost, for the inner loop."""
    changed = object.__new__(State)
    changed.__dict__.update(state.__dict__)
    changed.__dict__.update(changes)
    return changed


def begin(instance_id: str, generation: int, entry: Entry) -> State:
    """The state after the first entry of a generation.

    Raises:
        CorruptLog: the entry does not start an instance, or is not numbered 1.
    """
    first = entry.events[0] if entry.events else None
    if not isinstance(first, InstanceStarted) or entry.sequence != 1:
        message = f"instance {instance_id}: generation {generation} does not begin with a start"
        raise CorruptLog(message)
    state = State(
        instance_id=instance_id,
        generation=generation,
        workflow=first.workflow,
        version=first.version,
        sequence=1,
        created_at=entry.at,
        updated_at=entry.at,
        start_id=first.start_id,
        initial=first.initial,
        tags=first.tags,
        metadata=first.metadata,
        wake_at=entry.at,
    )
    return apply(state, entry.events[1:], entry.at)


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


def apply(state: State, events: Iterable[Event], at: int) -> State:
    """``state`` after ``events``, all of them at ``at`` (ms); the sequence number is left as it is.

    Raises:
        CorruptLog: an event is not allowed in the state.
    """
    for event in events:
        allowed = INSTANCE_TRANSITIONS.get(state.status, {})
        following = allowed.get(type(event))
        if following is None:
            message = f"instance {state.instance_id} is {state.status}: {type(event).__name__} cannot happen to it"
            raise CorruptLog(message)
        if following == "closed":
            following = event.status  # type: ignore[union-attr]  # only InstanceFinished closes
            if following not in CLOSED:
                message = f"instance {state.instance_id} cannot end as {following!r}"
                raise CorruptLog(message)
        status = state.status if following == "=" else following
        state = evolve(_CHANGES[type(event)](state, event, at), status=status, updated_at=at)
    return state


def _move(state: State, step: str, event: Event) -> StepStatus:
    current = state.step_status(step)
    following = STEP_TRANSITIONS.get(current, {}).get(type(event))
    if following is None:
        message = f"instance {state.instance_id}: step {step} is {current}: {type(event).__name__} cannot happen to it"
        raise CorruptLog(message)
    if following == "retrying or failed":
        return "failed" if event.retry_at is None else "retrying"  # type: ignore[union-attr]  # only StepFailed may go either way
    return following


def _claimed(state: State, event: Claimed, _at: int) -> State:
    return evolve(state, owner=event.owner, lease_until=event.lease_until, wake_at=event.lease_until, parked=None)


def _event_received(state: State, event: EventReceived, at: int) -> State:
    received = Received(event.event, event.event_id, event.payload)
    return evolve(
        state,
        inbox={**state.inbox, event.step: received},
        event_ids=(*state.event_ids, event.event_id),
        wake_at=_sooner(state, at) if state.step_status(event.step) == "waiting" else state.wake_at,
    )


def _timer_set(state: State, event: TimerSet, _at: int) -> State:
    timer = Timer(event.token, event.step, event.due_at, event.emits, scheduled=True)
    wakes = state.step_status(event.step) == "waiting"
    return evolve(
        state,
        timers=(*state.timers, timer),
        timers_set=state.timers_set + 1,
        wake_at=_sooner(state, event.due_at) if wakes else state.wake_at,
    )


def _sooner(state: State, at: int) -> int | None:
    """The alarm with ``at`` in mind. While somebody owns the instance, the lease's end is the alarm."""
    if state.owner is not None:
        return state.wake_at
    return at if state.wake_at is None else min(state.wake_at, at)


def _step_completed(state: State, event: StepCompleted, at: int) -> State:
    status = _move(state, event.step, event)
    step = StepState(status, event.attempt, event.event, event.taken, event.updates, event.started_at, ended_at=at)
    return evolve(
        _settled(state, event.step),
        steps={**state.steps, event.step: step},
        metadata=FrozenDict({**state.metadata, **event.metadata}) if event.metadata else state.metadata,
    )


def _step_waiting(state: State, event: StepWaiting, _at: int) -> State:
    status = _move(state, event.step, event)
    steps = {**state.steps, event.step: StepState(status, event.attempt, started_at=event.started_at)}
    if event.due_at is None:
        return evolve(state, steps=steps)
    timer = Timer(event.token, event.step, event.due_at, event.emits, event.scheduled)
    return evolve(state, steps=steps, timers=(*state.timers, timer))


def _step_failed(state: State, event: StepFailed, at: int) -> State:
    status = _move(state, event.step, event)
    step = StepState(
        status, event.attempt, started_at=event.started_at, ended_at=at, retry_at=event.retry_at, error=event.error
    )
    if status == "failed":
        state = _settled(state, event.step)
    elif state.step_status(event.step) == "waiting":  # the deadlines were those of a wait that is over
        state = evolve(state, timers=tuple(timer for timer in state.timers if timer.step != event.step))
    return evolve(state, steps={**state.steps, event.step: step})


def _steps_skipped(state: State, event: StepsSkipped, at: int) -> State:
    for step in event.steps:
        skipped = StepState(_move(state, step, event), ended_at=at)
        state = evolve(_settled(state, step), steps={**state.steps, step: skipped})
    return state


def _settled(state: State, step: str) -> State:
    """``step`` is decided: its timers and its unconsumed event are of no more use."""
    if not state.timers and step not in state.inbox:
        return state
    return evolve(
        state,
        timers=tuple(timer for timer in state.timers if timer.step != step),
        inbox={key: received for key, received in state.inbox.items() if key != step},
    )


def _suspended(state: State, event: Suspended, _at: int) -> State:
    return evolve(state, owner=None, lease_until=0, wake_at=event.wake_at)


def _handed_over(state: State, _event: HandedOver, at: int) -> State:
    return evolve(state, owner=None, lease_until=0, wake_at=at)


def _parked(state: State, event: Parked, _at: int) -> State:
    return evolve(state, owner=None, lease_until=0, wake_at=event.wake_at, parked=event.reason)


def _cancel_requested(state: State, event: CancelRequested, at: int) -> State:
    return evolve(state, cancel=event, wake_at=_sooner(state, at))


def _finished(state: State, event: InstanceFinished, _at: int) -> State:
    return evolve(state, owner=None, lease_until=0, wake_at=None, timers=(), inbox={}, error=event.error)


_CHANGES: Final[dict[type[Event], Callable[[State, Any, int], State]]] = {
    Claimed: _claimed,
    EventReceived: _event_received,
    TimerSet: _timer_set,
    StepCompleted: _step_completed,
    StepWaiting: _step_waiting,
    StepFailed: _step_failed,
    StepsSkipped: _steps_skipped,
    Suspended: _suspended,
    HandedOver: _handed_over,
    Parked: _parked,
    CancelRequested: _cancel_requested,
    InstanceFinished: _finished,
}
