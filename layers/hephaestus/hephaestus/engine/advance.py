"""What to do next: ``advance(graph, state, now) → commands``.

Joins follow dead-path elimination (as in BPEL, and in Leymann and Roller's "Production Workflow", 2000). An incoming
edge is *taken* when its step completed with an event that led here, *dead* when its step was skipped or completed
otherwise, else *undecided*. A step runs when no incoming edge is undecided and at least one is taken; it is skipped
when all are dead.

An instance that fails, or is cancelled so, undoes what it did: the completed steps that have a compensation, one after
the other in reverse order of completion (Garcia-Molina and Salem, "Sagas", 1987).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from hephaestus.engine.events import Failure
from hephaestus.errors import InvariantBroken
from hephaestus.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Collection

    from hephaestus.engine.graph import Graph
    from hephaestus.engine.state import Compensation, State, Timer


@dataclass(frozen=True, slots=True)
class Skip:
    """Record that no path leads to these steps any more."""

    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deliver:
    """Give the waiting ``step`` its ``event``, which came from outside or from a timer that is due."""

    step: str
    event: str
    payload: Any = None
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """Run ``step``; this is attempt number ``attempt``, the first being 1."""

    step: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Compensate:
    """Before the instance ends as ``status``, undo these ``steps``, in this order."""

    status: str
    steps: tuple[str, ...]
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class Undo:
    """Undo what ``step`` did; this is attempt number ``attempt``, the first being 1."""

    step: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Close:
    """Nothing can happen any more: end the instance."""

    status: str
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class Sleep:
    """Nothing can happen before an event arrives or ``wake_at`` (ms) comes."""

    wake_at: int | None


Command: TypeAlias = Skip | Deliver | Run | Compensate | Undo | Close | Sleep


def advance(  # noqa: PLR0911 - a list of what comes before what
    graph: Graph, state: State, now: int, in_flight: Collection[str] = ()
) -> tuple[Command, ...]:
    """The commands that follow from ``state`` at ``now`` (ms), while the steps ``in_flight`` run.

    Skips, deliveries and ``Compensate`` come alone: they change the state, so ask again after recording them. No
    command at all means that what comes next depends on a step in flight.
    """
    if state.closed:
        return ()
    if state.paused is not None:
        return () if in_flight else (Sleep(None),)
    if state.compensation is not None:
        return () if in_flight else (_undo(state, state.compensation, now),)
    if dead := _dead(graph, state):
        return (Skip(dead),)
    if (ending := _ending(state)) is not None:
        return () if in_flight else (_compensate(graph, state, ending) or ending,)
    deliveries = _deliveries(graph, state, now)
    if deliveries:
        return deliveries
    runs = tuple(
        Run(step, attempt)
        for step in graph.order
        if step not in in_flight and (attempt := _due(graph, state, step, now))
    )
    if runs or in_flight:
        return runs
    return (_rest(graph, state),)


def next_wake(graph: Graph, state: State, after: int = 0) -> int | None:
    """The earliest time (ms) later than ``after`` at which a waiting or retrying step has something to do, if any."""
    times = [timer.due_at for timer in state.timers if state.step_status(timer.step) == "waiting"]
    times += [
        step.retry_at
        for key, step in state.steps.items()
        if step.status == "retrying" and step.retry_at is not None and key in graph.predecessors
    ]
    return min((time for time in times if time > after), default=None)


def compensable(graph: Graph, state: State) -> tuple[str, ...]:
    """The completed steps that can be undone, the last completed first.

    Times in a log never go back; of steps that completed together, the later in the graph comes first.
    """
    place = {step: number for number, step in enumerate(graph.order)}
    done = [step for step in graph.order if step in graph.compensates and state.step_status(step) == "completed"]
    return tuple(sorted(done, key=lambda step: (state.steps[step].ended_at, place[step]), reverse=True))


def is_reachable(graph: Graph, state: State, step: str) -> bool:
    """Whether ``step`` may still wait for an event: it waits, or it has neither ended nor been ruled out."""
    if step not in graph.predecessors or state.step_status(step) not in ("pending", "retrying", "waiting"):
        return False
    return step not in _dead(graph, state)


def _incoming(graph: Graph, state: State, step: str) -> tuple[bool, bool]:
    """Whether an incoming edge of ``step`` is undecided, and whether one is taken."""
    taken = step == graph.start
    for source in graph.predecessors[step]:
        known = state.steps.get(source)
        if known is None or known.status not in ("completed", "skipped"):
            return True, taken
        taken = taken or step in known.taken
    return False, taken


def _dead(graph: Graph, state: State) -> tuple[str, ...]:
    """Every pending step whose incoming edges are all dead, counting those that this very answer skips."""
    dead: dict[str, None] = {}
    for step in graph.order:
        if step in state.steps or step == graph.start:
            continue
        sources = graph.predecessors[step]
        if all(source in dead or _ruled_out(state, source, step) for source in sources):
            dead[step] = None
    return tuple(dead)


def _ruled_out(state: State, source: str, step: str) -> bool:
    known = state.steps.get(source)
    return known is not None and known.status in ("completed", "skipped") and step not in known.taken


def _due(graph: Graph, state: State, step: str, now: int) -> int:
    """The number of the attempt that ``step`` is due for at ``now``, or 0."""
    known = state.steps.get(step)
    if known is None:
        undecided, taken = _incoming(graph, state, step)
        return 1 if taken and not undecided else 0
    if known.status == "retrying" and known.retry_at is not None and known.retry_at <= now:
        return known.attempt + 1
    return 0


def _deliveries(graph: Graph, state: State, now: int) -> tuple[Deliver, ...]:
    found: dict[str, Deliver] = {}
    for step, received in state.inbox.items():
        if step in graph.predecessors and state.step_status(step) == "waiting":
            found[step] = Deliver(step, received.event, received.payload)
    for timer in sorted(state.timers, key=by_time):
        if timer.due_at <= now and timer.step not in found and state.step_status(timer.step) == "waiting":
            payload = FrozenDict(missed="heartbeat") if timer.heartbeat_ms else None
            found[timer.step] = Deliver(timer.step, timer.emits, payload, timed_out=True)
    return tuple(found.values())


def by_time(timer: Timer) -> tuple[int, str]:
    """The order in which timers are due: of several that are, a waiting step is given the first."""
    return timer.due_at, timer.token


def _ending(state: State) -> Close | None:
    """How the instance ends once nothing runs: a step failed for good, or it was cancelled."""
    for key, step in state.steps.items():
        if step.status == "failed":
            error = step.error or Failure("Unknown", "")
            story = f"step {key} failed after {step.attempt} attempt(s): {error.message}"
            return Close("failed", Failure(error.type, story, error.trace))
    return Close("cancelled") if state.cancel else None


def _compensate(graph: Graph, state: State, ending: Close) -> Compensate | None:
    """What is undone before ``ending``: everything when a step failed, and when a cancellation asks for it."""
    if ending.status == "cancelled" and not (state.cancel and state.cancel.compensate):
        return None
    steps = compensable(graph, state)
    return Compensate(ending.status, steps, ending.error) if steps else None


def _undo(state: State, undoing: Compensation, now: int) -> Command:
    if not undoing.left:
        return _undone(state, undoing)
    if undoing.retry_at is not None and undoing.retry_at > now:
        return Sleep(undoing.retry_at)
    return Undo(undoing.left[0], undoing.attempt + 1)


def _undone(state: State, undoing: Compensation) -> Close:
    """How the instance ends after its compensations: as it would have, unless one of them failed for good."""
    failed = {key: step.error for key, step in state.steps.items() if step.status == "compensation_failed"}
    if not failed:
        return Close(undoing.status, undoing.error)
    reason = undoing.error.message if undoing.error else undoing.status
    stories = [f"compensation of step {key} failed: {error.message}" for key, error in failed.items() if error]
    undone = [key for key, step in state.steps.items() if step.status == "compensated"]
    story = "; ".join([reason, *stories, f"compensated: {', '.join(undone) or 'none'}"])
    return Close("failed", Failure("CompensationFailed", story))


def _rest(graph: Graph, state: State) -> Close | Sleep:
    statuses = {state.step_status(step) for step in graph.order}
    if statuses & {"waiting", "retrying"}:
        return Sleep(next_wake(graph, state))
    if "pending" in statuses:
        stuck = [step for step in graph.order if state.step_status(step) == "pending"]
        message = f"instance {state.instance_id}: nothing can run, yet {', '.join(stuck)} are undecided"
        raise InvariantBroken(message)
    return Close("completed")
