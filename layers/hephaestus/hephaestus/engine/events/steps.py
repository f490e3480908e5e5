"""Events of steps: what an owner starts, what comes of it, and what is undone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hephaestus.engine.events.event import LONGEST_MESSAGE_MS, Event, event, stays, step_after
from hephaestus.engine.records import NOTHING
from hephaestus.engine.requests import named
from hephaestus.engine.state import (
    Compensation,
    StepState,
    Timer,
    Trail,
    added,
    asked_for,
    heartbeat_token,
    without,
)
from hephaestus.errors import CorruptLog
from hephaestus.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.engine.records import Failure, Replacement
    from hephaestus.engine.state import State, StepStatus


@event(stays("running", "compensating"))
class StepsStarted(Event):
    """The owner starts an attempt of each of these steps right after this commit, or their compensation.

    A step that is named here and has no outcome when another owner comes may have run: its attempt is spent.
    """

    steps: tuple[str, ...]

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """They run."""
        return {"running": tuple(dict.fromkeys((*state.running, *self.steps)))}


@event(stays("running"))
class ChoiceStarted(Event):
    """The owner calls the ``Choice`` that routes an event of ``step`` right after this commit.

    It does so for what a step waited for and for a failure that is routed, both outside of any attempt. One that takes
    its Lambda with it is counted by this: an owner that finds too many fails the step instead of calling it again.
    """

    step: str

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """One more was begun."""
        return {"choosing": added(state.choosing, self.step, state.choosing.get(self.step, 0) + 1)}


@event(stays("running"), {"pending": "completed", "retrying": "completed", "waiting": "completed"})
class StepCompleted(Event):
    """``step`` emitted ``event``; the steps in ``taken`` are its live targets, every other edge is dead.

    ``writes`` tells the writes to the user's own tables that were committed with this entry, as ``Put orders``.
    ``failed`` is the error of its last attempt where the transitions route that failure; without it the step succeeded,
    whatever the event is called. ``replaced`` is set where the results were given to a fork.
    ``configs`` are the configurations that a ``Choice`` returned, by target. ``ended_at`` is set where a fork takes the
    step over: when it ended there.
    """

    step: str
    event: str
    taken: tuple[str, ...]
    updates: Mapping[str, Any] = NOTHING
    metadata: Mapping[str, Any] = NOTHING
    started_at: int = 0
    attempt: int = 1
    writes: tuple[str, ...] = ()
    failed: Failure | None = None
    replaced: Replacement | None = None
    configs: Mapping[str, Mapping[str, Any]] = NOTHING
    ended_at: int = 0

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """The state's steps are in the order of their completion."""
        step = self.step
        steps = without(state.steps, step)
        steps[step] = self.outcome(step_after(state, step, self), at, _consumed(state, step))
        changed = {**_settled(state, step), **_stopped(state, step), "steps": steps, "trail": Trail(state.trail, step)}
        if self.metadata:
            changed["metadata"] = FrozenDict({**state.metadata, **self.metadata})
        return changed

    def outcome(self, status: StepStatus, at: int, requests: tuple[str, ...] = ()) -> StepState:
        """What the state keeps of it."""
        return StepState(
            status,
            self.attempt,
            self.event,
            self.taken,
            self.updates,
            self.started_at,
            ended_at=at,
            failed=replace(self.failed, trace="") if self.failed else None,
            replaced=self.replaced,
            configs=self.configs,
            requests=requests,
        )


@event(stays("running"), {"pending": "waiting", "retrying": "waiting"})
class StepWaiting(Event):
    """``step`` ran and waits; at ``due_at`` (if any) it is given the event ``emits``.

    ``scheduled`` says that a one-shot schedule is made for the deadline, to be removed when the wait ends early. With
    ``heartbeat_ms`` it is given ``timeout`` as soon as no heartbeat has come for that long, first at ``heartbeat_at``.
    """

    step: str
    started_at: int = 0
    attempt: int = 1
    token: str = ""
    due_at: int | None = None
    emits: str = "timeout"
    scheduled: bool = False
    heartbeat_ms: int = 0
    heartbeat_at: int = 0

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """A deadline and a heartbeat are timers."""
        step = self.step
        waiting = StepState(step_after(state, step, self), self.attempt, started_at=self.started_at)
        timers = state.timers.get(step, ())
        if self.due_at is not None:
            timers = (*timers, Timer(self.token, step, self.due_at, self.emits, self.scheduled))
        if self.heartbeat_ms:
            token = heartbeat_token(step, self.attempt, self.heartbeat_at)
            scheduled = self.heartbeat_ms > LONGEST_MESSAGE_MS
            timers = (*timers, Timer(token, step, self.heartbeat_at, "timeout", scheduled, self.heartbeat_ms))
        return {
            "steps": added(state.steps, step, waiting),
            "timers": added(state.timers, step, timers) if timers else state.timers,
            "trail": Trail(state.trail, step),
            "running": _left(state.running, step),
        }


@event(stays("running"), dict.fromkeys(("pending", "retrying", "waiting"), "retrying or failed"))
class StepFailed(Event):
    """An attempt of ``step`` failed; it is tried again at ``retry_at``, or never if there is none."""

    step: str
    attempt: int
    error: Failure
    started_at: int = 0
    retry_at: int | None = None

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """The deadlines of a wait that failed end with it; what was accepted from outside stays for a redrive."""
        step, status = self.step, step_after(state, self.step, self)
        failed = StepState(
            status, self.attempt, started_at=self.started_at, ended_at=at, retry_at=self.retry_at, error=self.error
        )
        changed = _stopped(state, step)
        if status == "failed" or state.step_status(step) == "waiting":
            changed["timers"] = asked_for(state.timers, (step,))
        return {**changed, "steps": added(state.steps, step, failed), "trail": Trail(state.trail, step)}


@event(stays("running"), {"pending": "skipped"})
class StepsSkipped(Event):
    """Every incoming edge of these steps is dead: they will not run."""

    steps: tuple[str, ...]

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """They are decided, all at once; what was accepted for them stays: after a redrive they may wait for it."""
        steps, trail = dict(state.steps), state.trail
        for step in self.steps:
            steps[step] = StepState(step_after(state, step, self), ended_at=at)
            trail = Trail(trail, step)
        return {"steps": steps, "timers": asked_for(state.timers, self.steps), "trail": trail}


@event({"running": "compensating"})
class CompensationStarted(Event):
    """The instance will end as ``status``; before that, what these ``steps`` did is undone, in this order."""

    status: str
    steps: tuple[str, ...]
    error: Failure | None = None

    def changes(self, _state: State, _at: int) -> dict[str, Any]:
        """All of it is still to be done."""
        return {"compensation": Compensation(self.status, self.steps, self.error)}


@event(stays("compensating"), {"completed": "compensated"})
class StepCompensated(Event):
    """What ``step`` did is undone."""

    step: str
    attempt: int = 1
    updates: Mapping[str, Any] = NOTHING
    started_at: int = 0
    writes: tuple[str, ...] = ()

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """The next one's turn."""
        return _undone(state, self.step, replace(state.steps[self.step], status=step_after(state, self.step, self)))


@event(stays("compensating"), {"completed": "completed or compensation_failed"})
class CompensationFailed(Event):
    """An attempt to undo ``step`` failed; it is tried again at ``retry_at``, or never if there is none."""

    step: str
    attempt: int
    error: Failure
    started_at: int = 0
    retry_at: int | None = None

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """It is tried again, or the next one's turn."""
        status = step_after(state, self.step, self)
        if status == "compensation_failed":
            return _undone(state, self.step, replace(state.steps[self.step], status=status, error=self.error))
        undoing = replace(_undoing(state, self.step), attempt=self.attempt, retry_at=self.retry_at)
        return {"compensation": undoing, "running": _left(state.running, self.step)}


def _stopped(state: State, step: str) -> dict[str, Any]:
    """An attempt of ``step`` has ended, and with it the ``Choice`` that was begun for it."""
    changed: dict[str, Any] = {"running": _left(state.running, step)}
    if step in state.choosing:
        changed["choosing"] = without(state.choosing, step)
    return changed


def _consumed(state: State, step: str) -> tuple[str, ...]:
    """The requests from outside that a completion of ``step`` consumes, as they are remembered."""
    asked = tuple(timer.request for timer in state.timers.get(step, ()) if timer.request)
    received = state.inbox.get(step)
    return asked if received is None or not received.event_id else (*asked, named("event", received.event_id))


def _settled(state: State, step: str) -> dict[str, Any]:
    """``step`` has completed: its timers and its event are consumed."""
    changed: dict[str, Any] = {}
    if step in state.timers:
        changed["timers"] = without(state.timers, step)
    if step in state.inbox:
        changed["inbox"] = without(state.inbox, step)
    return changed


def _left(steps: tuple[str, ...], step: str) -> tuple[str, ...]:
    """``steps`` without ``step``."""
    return tuple(one for one in steps if one != step) if step in steps else steps


def _undone(state: State, step: str, known: StepState) -> dict[str, Any]:
    """``step`` is undone or cannot be: the next one's turn."""
    undoing = _undoing(state, step)
    return {
        "steps": added(state.steps, step, known),
        "trail": Trail(state.trail, step),
        "compensation": replace(undoing, left=undoing.left[1:], attempt=0, retry_at=None),
        "running": _left(state.running, step),
    }


def _undoing(state: State, step: str) -> Compensation:
    if state.compensation is None or state.compensation.left[:1] != (step,):
        message = f"instance {state.instance_id}: step {step} is not the one to be compensated"
        raise CorruptLog(message)
    return state.compensation
