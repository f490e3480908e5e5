"""How each event changes the state.

``fold`` needs no graph: an event carries what was decided, so an old log reads the same after the workflow's code has
changed. An event that the tables do not allow means a corrupt log, never a guess.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hephaestus.engine.events import (
    LONGEST_MESSAGE_MS,
    NOTHING,
    CancelRequested,
    ChoiceStarted,
    Claimed,
    CompensationFailed,
    CompensationStarted,
    Continued,
    Entry,
    EventReceived,
    Forked,
    HandedOver,
    HeartbeatReceived,
    InstanceFinished,
    InstanceStarted,
    Parked,
    Paused,
    Redriven,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepsSkipped,
    StepsStarted,
    StepWaiting,
    Suspended,
    TimerSet,
)
from hephaestus.engine.requests import NAME, remember, short
from hephaestus.engine.state import Compensation, Received, State, StepState, StepStatus, Timer, Trail, evolve
from hephaestus.engine.transitions import INSTANCE_TRANSITIONS, STEP_TRANSITIONS
from hephaestus.errors import CorruptLog
from hephaestus.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hephaestus.engine.events import Event

SHORTEST_GRAIN_MS: Final = 1_000
T = TypeVar("T")


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
        following = INSTANCE_TRANSITIONS.get(state.status, {}).get(type(event))
        if following is None:
            message = f"instance {state.instance_id} is {state.status}: {type(event).__name__} cannot happen to it"
            raise CorruptLog(message)
        if "|" in following:
            named = event.status  # type: ignore[union-attr]  # such an event has one
            if named not in following.split("|"):
                message = (
                    f"instance {state.instance_id} is {state.status}: {type(event).__name__} cannot lead to {named!r}"
                )
                raise CorruptLog(message)
            following = named
        status = state.status if following == "=" else following
        state = evolve(_CHANGES[type(event)](state, event, at), status=status, updated_at=at)
    return state


def _move(state: State, step: str, event: Event) -> StepStatus:
    current = state.step_status(step)
    following = STEP_TRANSITIONS.get(current, {}).get(type(event))
    if following is None:
        message = f"instance {state.instance_id}: step {step} is {current}: {type(event).__name__} cannot happen to it"
        raise CorruptLog(message)
    again, _, for_good = following.partition(" or ")
    return for_good if for_good and event.retry_at is None else again  # type: ignore[union-attr, return-value]  # see the table


def _forked(state: State, event: Forked, at: int) -> State:
    steps: dict[str, StepState] = {step: StepState("skipped", ended_at=at) for step in event.skipped}
    for done in event.completed:
        # Not after the fork, by whatever clock the source was: what the fork completes comes later.
        steps[done.step] = _outcome("completed", done, min(done.ended_at or at, at))
    source = f"{event.instance_id}#{event.generation}#{event.sequence}"
    return evolve(
        state,
        steps=steps,
        forked_from=source,
        forked_by=event.by,
        forked_by_source=event.by_source,
        initial_replaced=event.initial_replaced,
    )


def _claimed(state: State, event: Claimed, _at: int) -> State:
    alarm = event.lease_until
    return evolve(state, owner=event.owner, lease_until=alarm, wake_at=alarm, parked=None, parks=0)


def _steps_started(state: State, event: StepsStarted, _at: int) -> State:
    return evolve(state, running=tuple(dict.fromkeys((*state.running, *event.steps))))


def _choice_started(state: State, event: ChoiceStarted, _at: int) -> State:
    begun = state.choosing.get(event.step, 0) + 1
    return evolve(state, choosing={**state.choosing, event.step: begun})


def _event_received(state: State, event: EventReceived, at: int) -> State:
    received = Received(event.event, event.event_id, event.payload)
    linked = event.by_source == "link"
    return evolve(
        state,
        inbox=_with(state.inbox, event.step, received),
        requests=state.requests if linked else remember(state.requests, "event", event.event_id, event.digest),
        links=(*state.links, short(event.event_id, NAME)) if linked else state.links,
        wake_at=_sooner(state, at) if _wakes(state, event.step) else state.wake_at,
        trail=Trail(state.trail, event.step),
    )


def _timer_set(state: State, event: TimerSet, _at: int) -> State:
    timer = Timer(event.token, event.step, event.due_at, event.emits, scheduled=True)
    request = ("schedule_resume", event.request_id, event.digest)
    wakes = _wakes(state, event.step)
    return evolve(
        state,
        timers=_with(state.timers, event.step, (*state.timers.get(event.step, ()), timer)),
        timers_set=state.timers_set + 1,
        requests=remember(state.requests, *request),
        wake_at=_sooner(state, event.due_at) if wakes else state.wake_at,
        trail=Trail(state.trail, event.step),
    )


def _heartbeat_received(state: State, event: HeartbeatReceived, _at: int) -> State:
    known = state.timers.get(event.step, ())
    beating = next((timer for timer in known if timer.heartbeat_ms), None)
    if beating is None:
        message = f"instance {state.instance_id}: step {event.step} has a heartbeat, but does not wait for one"
        raise CorruptLog(message)
    moved = replace(beating, token=event.token, due_at=event.due_at, beaten=True)
    timers = _with(state.timers, event.step, tuple(moved if timer is beating else timer for timer in known))
    # Nothing is due before the first deadline or retry: an alarm that was this heartbeat's moves with it.
    alarmed = state.owner is None and state.paused is None and state.wake_at == beating.due_at
    after = evolve(state, timers=timers, trail=Trail(state.trail, event.step))
    return evolve(after, wake_at=_first_time(after)) if alarmed and not _unheard(state) else after


def _unheard(state: State) -> bool:
    return any(state.step_status(step) == "waiting" for step in state.inbox)


def _first_time(state: State) -> int:
    waiting = [timer.due_at for timer in state.deadlines if state.step_status(timer.step) == "waiting"]
    return min([*waiting, *(step.retry_at for step in state.steps.values() if step.retry_at is not None)])


def _wakes(state: State, step: str) -> bool:
    """Whether something for ``step`` is to be looked at before the step asks for it."""
    return state.step_status(step) == "waiting" and state.paused is None


def _sooner(state: State, at: int) -> int | None:
    """The alarm with ``at`` in mind. While somebody owns the instance, the lease's end is the alarm."""
    if state.owner is not None:
        return state.wake_at
    return at if state.wake_at is None else min(state.wake_at, at)


def _step_completed(state: State, event: StepCompleted, at: int) -> State:
    status = _move(state, event.step, event)
    return evolve(
        _settled(state, event.step),
        steps=_with(_but(state.steps, event.step), event.step, _outcome(status, event, at)),  # by order of completion
        trail=Trail(state.trail, event.step),
        running=_without(state.running, event.step),
        choosing=_chosen(state, event.step),
        metadata=FrozenDict({**state.metadata, **event.metadata}) if event.metadata else state.metadata,
    )


def _outcome(status: StepStatus, event: StepCompleted, at: int) -> StepState:
    failed = replace(event.failed, trace="") if event.failed else None
    return StepState(
        status,
        event.attempt,
        event.event,
        event.taken,
        event.updates,
        event.started_at,
        ended_at=at,
        failed=failed,
        replaced=event.replaced,
        configs=event.configs,
    )


def _with(mapping: Mapping[str, T], step: str, value: T) -> dict[str, T]:
    """``mapping`` with one more value: a copy, but the only thing whose cost grows with its size."""
    changed = dict(mapping)
    changed[step] = value
    return changed


def _chosen(state: State, step: str) -> Mapping[str, int]:
    """The ``Choice`` of ``step``, if one was begun, has ended."""
    if step not in state.choosing:
        return state.choosing
    return {key: begun for key, begun in state.choosing.items() if key != step}


def _without(steps: tuple[str, ...], step: str) -> tuple[str, ...]:
    return tuple(one for one in steps if one != step) if step in steps else steps


def _step_waiting(state: State, event: StepWaiting, _at: int) -> State:
    status = _move(state, event.step, event)
    waiting = StepState(status, event.attempt, started_at=event.started_at)
    timers = list(state.timers.get(event.step, ()))
    if event.due_at is not None:
        timers.append(Timer(event.token, event.step, event.due_at, event.emits, event.scheduled))
    if event.heartbeat_ms:
        token = heartbeat_token(event.step, event.attempt, event.heartbeat_at)
        scheduled = event.heartbeat_ms > LONGEST_MESSAGE_MS
        timers.append(Timer(token, event.step, event.heartbeat_at, "timeout", scheduled, event.heartbeat_ms))
    return evolve(
        state,
        steps=_with(state.steps, event.step, waiting),
        timers=_with(state.timers, event.step, tuple(timers)) if timers else state.timers,
        trail=Trail(state.trail, event.step),
        running=_without(state.running, event.step),
    )


def heartbeat_token(step: str, attempt: int, due_at: int) -> str:
    """What the deadline of a heartbeat is called: each has a name of its own."""
    return f"{step}.{attempt}.h{due_at}"


def heartbeat_grain(heartbeat_ms: int) -> int:
    """How much later (ms) a heartbeat must move its deadline to be recorded: a tenth of it, at least a second.

    Of an interval that is shorter than two seconds it is half: a step that beats in time must not be missed.
    """
    return max(heartbeat_ms // 10, min(SHORTEST_GRAIN_MS, heartbeat_ms // 2), 1)


def _step_failed(state: State, event: StepFailed, at: int) -> State:
    status = _move(state, event.step, event)
    step = StepState(
        status, event.attempt, started_at=event.started_at, ended_at=at, retry_at=event.retry_at, error=event.error
    )
    state = evolve(state, running=_without(state.running, event.step), choosing=_chosen(state, event.step))
    if status == "failed":
        state = _settled(state, event.step)
    elif state.step_status(event.step) == "waiting":  # the deadlines were those of a wait that is over
        state = evolve(state, timers=_but(state.timers, event.step), trail=state.trail)
    return evolve(state, steps=_with(state.steps, event.step, step), trail=Trail(state.trail, event.step))


def _steps_skipped(state: State, event: StepsSkipped, at: int) -> State:
    steps, trail = dict(state.steps), state.trail
    state = evolve(state, steps=steps, trail=trail)
    for step in event.steps:
        steps[step] = StepState(_move(state, step, event), ended_at=at)
        state, trail = _settled(state, step), Trail(trail, step)
    return evolve(state, trail=trail)


def _settled(state: State, step: str) -> State:
    """``step`` is decided: its timers and its unconsumed event are of no more use."""
    if step in state.timers:
        state = evolve(state, timers=_but(state.timers, step), trail=state.trail)
    if step in state.inbox:
        state = evolve(state, inbox=_but(state.inbox, step), trail=state.trail)
    return state


def _but(mapping: Mapping[str, T], step: str) -> dict[str, T]:
    """``mapping`` without what it has for ``step``."""
    changed = dict(mapping)
    changed.pop(step, None)
    return changed


def _compensation_started(state: State, event: CompensationStarted, _at: int) -> State:
    return evolve(state, compensation=Compensation(event.status, event.steps, event.error))


def _step_compensated(state: State, event: StepCompensated, _at: int) -> State:
    return _undone(state, event, replace(state.steps[event.step], status=_move(state, event.step, event)))


def _compensation_failed(state: State, event: CompensationFailed, _at: int) -> State:
    status = _move(state, event.step, event)
    undoing = _undoing(state, event.step)
    if status == "compensation_failed":
        return _undone(state, event, replace(state.steps[event.step], status=status, error=event.error))
    undoing = replace(undoing, attempt=event.attempt, retry_at=event.retry_at)
    return evolve(state, compensation=undoing, running=_without(state.running, event.step))


def _undone(state: State, event: StepCompensated | CompensationFailed, step: StepState) -> State:
    """``event.step`` is undone or cannot be: the next one's turn."""
    undoing = _undoing(state, event.step)
    return evolve(
        state,
        steps=_with(state.steps, event.step, step),
        trail=Trail(state.trail, event.step),
        compensation=replace(undoing, left=undoing.left[1:], attempt=0, retry_at=None),
        running=_without(state.running, event.step),
    )


def _undoing(state: State, step: str) -> Compensation:
    if state.compensation is None or state.compensation.left[:1] != (step,):
        message = f"instance {state.instance_id}: step {step} is not the one to be compensated"
        raise CorruptLog(message)
    return state.compensation


def _suspended(state: State, event: Suspended, _at: int) -> State:
    return evolve(state, owner=None, lease_until=0, running=(), wake_at=event.wake_at)


def _handed_over(state: State, _event: HandedOver, at: int) -> State:
    return evolve(state, owner=None, lease_until=0, running=(), wake_at=at)


def _parked(state: State, event: Parked, _at: int) -> State:
    """Steps that a dead owner was running stay named: whoever takes over finds their attempts spent."""
    return evolve(
        state,
        owner=None,
        lease_until=0,
        wake_at=event.wake_at,
        parked=event.reason,
        parks=state.parks + 1,
    )


def _cancel_requested(state: State, event: CancelRequested, at: int) -> State:
    requests = remember(state.requests, "cancel", event.request_id, event.digest)
    if state.cancel is not None:  # the first one counts
        return evolve(state, requests=requests)
    return evolve(state, cancel=event, paused=None, requests=requests, wake_at=_sooner(state, at))


def _paused(state: State, event: Paused, _at: int) -> State:
    requests = remember(state.requests, "pause", event.request_id, event.digest)
    wake_at = None if state.owner is None else state.wake_at
    return evolve(state, paused=state.paused or event, requests=requests, wake_at=wake_at)


def _continued(state: State, event: Continued, at: int) -> State:
    requests = remember(state.requests, "continue", event.request_id, event.digest)
    if state.paused is None:
        return evolve(state, requests=requests)
    return evolve(state, paused=None, requests=requests, wake_at=_sooner(state, at))


def _redriven(state: State, event: Redriven, at: int) -> State:
    """Time stood still while the generation was closed: its waits last as long as they would have."""
    pause = at - state.updated_at if state.closed else 0
    steps = {key: step for key, step in state.steps.items() if key not in event.reset}
    for key in event.undo:
        steps[key] = replace(steps[key], status="completed", error=None)
    undoing = None
    if state.compensation is not None and (event.status == "compensating" or not state.closed):
        undoing = replace(state.compensation, left=event.undo or state.compensation.left, attempt=0, retry_at=None)
    return evolve(
        state,
        steps=steps,
        again={**state.again, **{key: state.again.get(key, 0) + 1 for key in event.again}},
        running=tuple(key for key in state.running if key not in event.reset),
        choosing={},  # whoever redrives wants it tried again
        timers={
            step: tuple(replace(timer, due_at=timer.due_at + pause) for timer in timers)
            for step, timers in state.timers.items()
            if step not in event.reset
        },
        compensation=undoing,
        cancel=None if state.closed and undoing is None else state.cancel,
        paused=None,
        error=None,
        parked=None,
        requests=remember(state.requests, "redrive", event.request_id, event.digest),
        wake_at=at,
    )


def _finished(state: State, event: InstanceFinished, _at: int) -> State:
    over = event.status == "completed"  # the other ends may be followed by a redrive, which needs what was still open
    return evolve(
        state,
        owner=None,
        lease_until=0,
        running=() if over else state.running,
        wake_at=None,
        paused=None,
        parked=None,
        timers=NOTHING if over else state.timers,
        inbox=NOTHING if over else state.inbox,
        error=event.error,
    )


_CHANGES: Final[dict[type[Event], Callable[[State, Any, int], State]]] = {
    Forked: _forked,
    Claimed: _claimed,
    StepsStarted: _steps_started,
    ChoiceStarted: _choice_started,
    EventReceived: _event_received,
    TimerSet: _timer_set,
    HeartbeatReceived: _heartbeat_received,
    StepCompleted: _step_completed,
    StepWaiting: _step_waiting,
    StepFailed: _step_failed,
    StepsSkipped: _steps_skipped,
    CompensationStarted: _compensation_started,
    StepCompensated: _step_compensated,
    CompensationFailed: _compensation_failed,
    Suspended: _suspended,
    HandedOver: _handed_over,
    Parked: _parked,
    CancelRequested: _cancel_requested,
    Paused: _paused,
    Continued: _continued,
    Redriven: _redriven,
    InstanceFinished: _finished,
}
