"""Events of steps: what an owner starts, what comes of it, and what is undone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.activation import is_item, step_of
from hephaestus.engine.events.event import LONGEST_MESSAGE_MS, Event, OfActivation, event, stays, step_after, step_now
from hephaestus.engine.records import NOTHING, Loop
from hephaestus.engine.requests import NAME, WINDOW, named, short
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
    from collections.abc import Iterator, Mapping, Sequence

    from hephaestus.engine.records import Child, Failure, Mapped, Occurrence, Received, Replacement
    from hephaestus.engine.state import State, StepStatus

TRIED: Final = ("pending", "retrying", "looping")  # what may be running
UNDOABLE: Final = ("completed", "failed", "waiting", "retrying", "looping", "mapping")  # but for the first: in part
QUICK_MS: Final = 1_000  # rounds that are followed by the next within this are counted
MOST_QUICK: Final = 1_000  # so many in a row, then they are slowed


@event(stays("running", "compensating"))
class StepsStarted(Event):
    """The owner starts an attempt of each of these steps right after this commit, or their compensation.

    A step that is named here and has no outcome when another owner comes may have run: its attempt is spent.
    """

    activations: tuple[str, ...]

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """They run."""
        return {"running": tuple(dict.fromkeys((*state.running, *self.activations)))}


@event(stays("running", "compensating"))
class StepsIsolated(Event):
    """An owner died while these were under way; each runs alone until it has completed, waits or has failed for good.

    Of several, one may have killed the owner's process: none has spent an attempt, nor a call of its ``Choice``.
    """

    activations: tuple[str, ...]

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """They are under way no more."""
        counts = {one: count - (one in self.activations) for one, count in state.choosing.items()}
        return {
            "running": tuple([one for one in state.running if one not in self.activations]),
            "isolated": tuple(dict.fromkeys((*state.isolated, *self.activations))),
            "choosing": {one: count for one, count in counts.items() if count},
        }


@event(stays("running"))
class ChoiceStarted(OfActivation):
    """The owner calls the ``Choice`` that routes an event of ``step`` right after this commit.

    It does so for what a step waited for and for a failure that is routed, both outside of any attempt. One that takes
    its Lambda with it is counted by this: an owner that finds too many fails the step instead of calling it again.
    """

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """One more was begun."""
        return {"choosing": added(state.choosing, self.activation, state.choosing.get(self.activation, 0) + 1)}


@event(stays("running"), dict.fromkeys((*TRIED, "waiting", "mapping"), "completed"))
class StepCompleted(OfActivation):
    """``step`` emitted ``event``; the steps in ``taken`` are its live targets, every other edge is dead.

    ``writes`` tells the writes to the user's own tables that were committed with this entry, as ``Put orders``.
    ``failed`` is the error of its last attempt where the transitions route that failure; without it the step succeeded,
    whatever the event is called. ``replaced`` is set where the results were given to a fork.
    ``configs`` are the configurations that a ``Choice`` returned, by target. ``fail`` is set where the event led to
    ``FAIL``: the reason, or ``""``. ``ended_at`` is set where it ended before this commit: where a fork takes the step
    over, or its result was left to a later commit.
    Of a step with rounds, ``rounds`` is how many it had, and unless ``took`` it has left the event that was kept for
    it; where a fork takes it over, ``loop`` and ``mapped`` are how far it had come.
    """

    event: str
    taken: tuple[str, ...]
    results: Mapping[str, Any] = NOTHING
    metadata: Mapping[str, Any] = NOTHING
    started_at: int = 0
    attempt: int = 1
    writes: tuple[str, ...] = ()
    failed: Failure | None = None
    replaced: Replacement | None = None
    configs: Mapping[str, Mapping[str, Any]] = NOTHING
    ended_at: int = 0
    fail: str | None = None
    rounds: int = 0
    took: bool = True
    loop: Loop | None = None
    mapped: Mapped | None = None

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """The state's steps are in the order of their completion; the step's timers and its event are consumed."""
        step, activation = step_now(state, self.activation), self.activation
        known, steps = state.steps.get(step), without(state.steps, step)
        took = self.took and state.inbox is not NOTHING
        timers, received = state.timers.get(activation), state.inbox.get(state.line(step)) if took else None
        ended_at = min(self.ended_at or at, at)
        done = self.outcome(step_after(state, step, self), ended_at, requests_of(timers or (), received))
        done = replace(done, child=_child(state, activation))
        if known is not None and known.loop is not None:
            done = replace(done, loop=replace(known.loop, received=None))
        steps[step] = done
        if known is not None and known.mapped is not None:
            used = (*known.requests, *(_used_by_items(state, step) if state.part is None else ()))
            steps[step] = replace(done, mapped=known.mapped.over(), requests=used)
            timers, received = None, None
        changed = _stopped(state, activation)
        changed["steps"], changed["trail"] = steps, Trail(state.trail, step)
        if timers is not None:
            changed["timers"] = without(state.timers, activation)
        if received is not None:
            changed |= _kept(state, state.line(step), state.waiting_for(step)[1:])
        if known is not None and known.mapped is not None:
            changed |= _without_items(state, step)
            changed |= _none_under_way(changed, step)
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
            self.results,
            self.started_at,
            ended_at=at,
            failed=replace(self.failed, trace="") if self.failed else None,
            replaced=self.replaced,
            configs=self.configs,
            requests=requests,
            fail=self.fail,
            loop=self.loop,
            mapped=self.mapped,
        )


@event(stays("running"), dict.fromkeys((*TRIED, "waiting"), "looping"))
class RoundEnded(OfActivation):
    """A round of ``step`` is over and leaves ``carry`` for the next, which begins at ``next_at``.

    If it waited, ``event`` is what ended the wait: the first in its line, which the next round is given. ``writes``
    names the writes to the user's own tables that were committed with this entry, as ``Put orders``. ``starts`` are the
    occurrences of a schedule that start as an effect of this commit.
    """

    next_at: int
    carry: Mapping[str, Any] = NOTHING
    started_at: int = 0
    attempt: int = 1
    writes: tuple[str, ...] = ()
    event: str = ""
    starts: tuple[Occurrence, ...] = ()

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """Attempts begin anew; what had a time for the old round has none any more. The other events stay in line."""
        step, activation = step_now(state, self.activation), self.activation
        before = state.loop(step) or Loop(0, began_at=self.started_at)
        quick = quick_rounds(before, self.next_at - self.started_at)
        received = self._taken(state, step)
        consumed = requests_of(state.timers.get(activation, ()), received)
        requests = (*before.requests, *consumed)[-WINDOW:]
        loop = Loop(before.rounds + 1, self.carry, before.began_at or at, quick, received, requests)
        changed = _stopped(state, activation)
        if received is not None:
            changed |= _kept(state, state.line(step), state.waiting_for(step)[1:])
            changed |= _unlinked(state, (received,))
        status, child = step_after(state, step, self), _child(state, activation)
        changed["steps"] = added(state.steps, step, StepState(status, retry_at=self.next_at, loop=loop, child=child))
        changed["trail"] = Trail(state.trail, step)
        if activation in state.timers:
            changed["timers"] = without(state.timers, activation)
        return changed

    def _taken(self, state: State, step: str) -> Received | None:
        """The event that ended the wait; ``None`` where its time did.

        Raises:
            CorruptLog: the step does not wait, or another event is the first in its line.
        """
        waits = state.step_status(step) == "waiting" and self.activation not in state.children
        first = state.inbox.get(state.line(step))
        if not waits and not self.event:
            return None
        if waits and any(timer.emits == self.event for timer in state.timers.get(self.activation, ())):
            return first if first is not None and first.event == self.event else None
        if not waits or first is None or first.event != self.event:
            message = f"instance {state.instance_id}: {self.activation} is not given {self.event!r}"
            raise CorruptLog(message)
        return first


@event(stays("running"))
class EventsDropped(OfActivation):
    """No wait will take these ``events`` that were accepted for ``step``: its rounds are over, or the one meant is."""

    events: tuple[str, ...]

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """The step has consumed them, so that after a redrive the same requests ask for its new rounds."""
        step = step_now(state, line := self.activation, any_round=True)
        stale, known = stale_events(state, step), state.steps.get(step)
        dropped = set(map(id, stale))
        left = tuple([one for one in state.waiting_for(step) if id(one) not in dropped])
        changed: dict[str, Any] = {"trail": Trail(state.trail, step), **_kept(state, line, left)}
        changed |= _unlinked(state, stale)
        if known is not None and known.event is not None:
            requests = (*known.requests, *(named("event", one.event_id) for one in stale if one.event_id))
            changed["steps"] = added(state.steps, step, replace(known, requests=requests))
        return changed


@event(stays("running"), dict.fromkeys(TRIED, "waiting"))
class StepWaiting(OfActivation):
    """``step`` ran and waits; at ``due_at`` (if any) it is given the event ``emits``.

    ``scheduled`` says that a one-shot schedule is made for the deadline, to be removed when the wait ends early. With
    ``heartbeat_ms`` it is given ``timeout`` as soon as no heartbeat has come for that long, first at ``heartbeat_at``.
    """

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
        step, activation = step_now(state, self.activation), self.activation
        loop = state.loop(step)
        waiting = StepState(step_after(state, step, self), self.attempt, started_at=self.started_at, loop=loop)
        timers = state.timers.get(activation, ())
        if self.due_at is not None:
            timers = (*timers, Timer(self.token, activation, self.due_at, self.emits, self.scheduled))
        if self.heartbeat_ms:
            name = heartbeat_token(activation, self.attempt, self.heartbeat_at)
            scheduled = self.heartbeat_ms > LONGEST_MESSAGE_MS
            timers = (*timers, Timer(name, activation, self.heartbeat_at, "timeout", scheduled, self.heartbeat_ms))
        return {
            "steps": added(state.steps, step, waiting),
            "timers": added(state.timers, activation, timers) if timers else state.timers,
            "trail": Trail(state.trail, step),
            "running": _left(state.running, activation),
            "isolated": _left(state.isolated, activation),
        }


@event(stays("running"), dict.fromkeys((*TRIED, "waiting", "mapping"), "retrying or failed"))
class StepFailed(OfActivation):
    """An attempt of ``step`` failed; it is tried again at ``retry_at``, or never if there is none."""

    attempt: int
    error: Failure
    started_at: int = 0
    retry_at: int | None = None

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """The deadlines of a wait that failed end with it; what was accepted from outside stays for a redrive."""
        step, activation = step_now(state, self.activation), self.activation
        status, asks = step_after(state, step, self), activation in state.children
        failed = StepState(
            status,
            self.attempt,
            started_at=state.steps[step].started_at if asks else self.started_at,
            ended_at=at,
            retry_at=self.retry_at,
            error=self.error,
            loop=state.loop(step),
            child=_child(state, activation),
        )
        before = state.steps.get(step)
        changed = _stopped(state, activation)
        if before is not None and before.mapped is not None:
            failed = replace(failed, mapped=before.mapped.over(), requests=before.requests)
            changed |= _none_under_way(changed, step)
        if status == "retrying":
            changed["isolated"] = state.isolated
            changed["children"] = state.children
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
    """The instance will end as ``status``; before that, what these ``steps`` did is undone, in this order.

    After them the step ``then`` runs, the workflow's ``on_failure``.
    """

    status: str
    steps: tuple[str, ...]
    error: Failure | None = None
    then: str = ""

    def changes(self, _state: State, _at: int) -> dict[str, Any]:
        """All of it is still to be done; a step that was named and did not start will not."""
        return {
            "compensation": Compensation(self.status, self.steps, self.error, then=self.then),
            "running": (),
            "isolated": (),
        }


@event(stays("compensating"), dict.fromkeys(UNDOABLE, "compensated"))
class StepCompensated(OfActivation):
    """What ``step`` did is undone."""

    attempt: int = 1
    results: Mapping[str, Any] = NOTHING
    started_at: int = 0
    writes: tuple[str, ...] = ()

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """The next one's turn."""
        step = step_now(state, self.activation)
        known = replace(state.steps[step], status=step_after(state, step, self), retry_at=None)
        return _undone(state, self.activation, known)


@event(stays("compensating"), {status: f"{status} or compensation_failed" for status in UNDOABLE})
class CompensationFailed(OfActivation):
    """An attempt to undo ``step`` failed; it is tried again at ``retry_at``, or never if there is none."""

    attempt: int
    error: Failure
    started_at: int = 0
    retry_at: int | None = None

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """It is tried again, or the next one's turn."""
        step = step_now(state, self.activation)
        status = step_after(state, step, self)
        if status == "compensation_failed":
            failed = replace(state.steps[step], status=status, error=self.error, retry_at=None)
            return _undone(state, self.activation, failed)
        undoing = replace(_undoing(state, self.activation), attempt=self.attempt, retry_at=self.retry_at)
        return {"compensation": undoing, "running": _left(state.running, self.activation)}


@event(stays("compensating"), {"pending": "completed", "retrying": "completed"})
class OnFailureCompleted(OfActivation):
    """The workflow's ``on_failure`` is through, with one of its events, which leads nowhere."""

    event: str
    results: Mapping[str, Any] = NOTHING
    metadata: Mapping[str, Any] = NOTHING
    started_at: int = 0
    attempt: int = 1
    writes: tuple[str, ...] = ()

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """The instance can end."""
        done = StepState("completed", self.attempt, self.event, (), self.results, self.started_at, ended_at=at)
        changed = _handled(state, self, done)
        return {**changed, "metadata": FrozenDict({**state.metadata, **self.metadata})} if self.metadata else changed


@event(stays("compensating"), dict.fromkeys(("pending", "retrying"), "retrying or failed"))
class OnFailureFailed(OfActivation):
    """An attempt of the workflow's ``on_failure`` failed; it is tried again at ``retry_at``, or never."""

    attempt: int
    error: Failure
    started_at: int = 0
    retry_at: int | None = None

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """It is tried again, or the instance can end."""
        status = step_after(state, self.step, self)
        failed = StepState(
            status, self.attempt, started_at=self.started_at, ended_at=at, retry_at=self.retry_at, error=self.error
        )
        return _handled(state, self, failed)


def _handled(state: State, event: OfActivation, known: StepState) -> dict[str, Any]:
    """What an attempt of the workflow's ``on_failure`` changes."""
    step, undoing = step_now(state, event.activation), state.compensation
    if undoing is None or undoing.left or undoing.then != step:
        message = f"instance {state.instance_id}: {event.activation} is not what is to run next"
        raise CorruptLog(message)
    step_after(state, step, event)
    return {
        "steps": added(state.steps, step, known),
        "trail": Trail(state.trail, step),
        "running": _left(state.running, event.activation),
    }


def _used_by_items(state: State, step: str) -> Iterator[str]:
    """The requests that were for items of a map and that no item has consumed, as they are remembered."""
    for line in dict.fromkeys((*state.timers, *state.inbox)):
        if is_item(line, step):
            yield from requests_of(state.timers.get(line, ()), state.inbox.get(line))


def _none_under_way(changed: Mapping[str, Any], step: str) -> dict[str, Any]:
    """What runs, and what runs alone, without the items of a map that has ended."""
    names = ("running", "isolated")
    return {name: tuple([one for one in changed[name] if "[" not in one or step_of(one) != step]) for name in names}


def _without_items(state: State, step: str) -> dict[str, Any]:
    """Nothing is kept any more for the items of a map that has completed; a part of one may go on with its events."""
    items = {one for one in (*state.timers, *state.inbox) if is_item(one, step)}
    if not items:
        return {}
    inbox = {one: received for one, received in state.inbox.items() if one not in items}
    timers = {one: timers for one, timers in state.timers.items() if one not in items}
    return {"timers": timers, "inbox": inbox if state.part is None else state.inbox}


def _stopped(state: State, activation: str) -> dict[str, Any]:
    """An attempt has ended, and with it the ``Choice`` that was begun for it; what its child came to is known."""
    changed: dict[str, Any] = {
        "running": _left(state.running, activation),
        "isolated": _left(state.isolated, activation),
    }
    if activation in state.choosing:
        changed["choosing"] = without(state.choosing, activation)
    if activation in state.children:
        changed["children"] = without(state.children, activation)
    return changed


def _child(state: State, activation: str) -> Child | None:
    """What a step keeps of its newest child."""
    if activation in state.children:
        return state.children[activation].known
    known = state.steps.get(step_of(activation))
    return None if known is None else known.child


def quick_rounds(loop: Loop | None, took_ms: int) -> int:
    """How many rounds in a row were quick, one included that the next follows after ``took_ms``; see ``Loop``."""
    before = 0 if loop is None else loop.quick
    return min(before + 1, MOST_QUICK + 1) if took_ms <= QUICK_MS else 0


def stale_events(state: State, step: str) -> list[Received]:
    """The events for ``step`` that no wait will take: it has completed, or the round is over that they are for."""
    known = state.steps.get(step)
    if known is not None and known.status == "completed":
        return list(state.waiting_for(step))
    return [one for one in state.waiting_for(step) if one.only and one.only != state.activation(step)]


def _kept(state: State, line: str, left: tuple[Received, ...]) -> dict[str, Any]:
    """What keeps the events ``left`` in a line, and no others."""
    changed: dict[str, Any] = {}
    changed["inbox"] = added(state.inbox, line, left[0]) if left else without(state.inbox, line)
    if line in state.lines:
        changed["lines"] = added(state.lines, line, left[1:]) if left[1:] else without(state.lines, line)
    return changed


def _unlinked(state: State, over: Sequence[Received]) -> dict[str, Any]:
    """What forgets the links of rounds that are over: they are for no other round, so none works once more."""
    used = {short(one.event_id, NAME) for one in over if one.only}
    return {"links": tuple([one for one in state.links if one not in used])} if used else {}


def requests_of(timers: tuple[Timer, ...], received: Received | None) -> tuple[str, ...]:
    """The requests from outside that a completion consumes, as they are remembered."""
    asked = tuple([timer.request for timer in timers if timer.request])
    return asked if received is None or not received.event_id else (*asked, named("event", received.event_id))


def _left(running: tuple[str, ...], activation: str) -> tuple[str, ...]:
    """What runs without one of it."""
    return tuple([one for one in running if one != activation]) if activation in running else running


def _undone(state: State, activation: str, known: StepState) -> dict[str, Any]:
    """A step is undone or cannot be: the next one's turn."""
    undoing, step = _undoing(state, activation), step_of(activation)
    changed: dict[str, Any] = {}
    if of_step := {one: child for one, child in state.children.items() if step_of(one) == step}:
        undone = (child for child in of_step.values() if child.stopping == "undo")  # it was the child that undid it
        known = replace(known, child=next(undone, of_step.get(state.activation(step), known.child)))
        known = replace(known, child=known.child and known.child.known)
        changed["children"] = {one: child for one, child in state.children.items() if one not in of_step}
    return {
        **changed,
        "steps": added(state.steps, step, known),
        "trail": Trail(state.trail, step),
        "compensation": replace(undoing, left=undoing.left[1:], attempt=0, retry_at=None),
        "running": _left(state.running, activation),
        "isolated": (),
    }


def _undoing(state: State, activation: str) -> Compensation:
    undoing = state.compensation
    if undoing is None or not undoing.left or state.activation(undoing.left[0], undo=True) != activation:
        message = f"instance {state.instance_id}: {activation} is not what is to be compensated next"
        raise CorruptLog(message)
    return undoing
