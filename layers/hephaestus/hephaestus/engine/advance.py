"""What to do next: ``advance(graph, state, now) → commands``.

Joins follow dead-path elimination (as in BPEL, and in Leymann and Roller's "Production Workflow", 2000). An incoming
edge is *taken* when its step completed with an event that led here, *dead* when its step was skipped or completed
otherwise, else *undecided*. A step runs when no incoming edge is undecided and at least one is taken; it is skipped
when all are dead.

An instance that fails, or is cancelled so, undoes what it did: the completed steps that have a compensation, one after
the other in reverse order of completion (Garcia-Molina and Salem, "Sagas", 1987).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from hephaestus.engine.activation import INSTANCE, parse, step_of, text_of
from hephaestus.engine.agenda import OPEN, Agenda, ask
from hephaestus.engine.events import Failure
from hephaestus.engine.events.children import LOST
from hephaestus.engine.events.steps import UNDOABLE, stale_events
from hephaestus.engine.map_items import (
    due_items,
    due_part_undos,
    due_parts,
    due_undos,
    given_items,
    has_ended,
    is_item_waiting,
    is_stopped,
    is_undone,
    items_not_undone,
    mapped_of,
    next_undo,
    open_parts,
    summary,
)
from hephaestus.engine.pacing import may_begin, next_start
from hephaestus.engine.records import NOTHING
from hephaestus.engine.state import above_of, is_fatal, is_part, is_stuck, not_undone, undoes_at_cancel, undone_from
from hephaestus.errors import InvariantBroken
from hephaestus.values import FrozenDict
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from hephaestus.engine.graph import Bounds, Graph
    from hephaestus.engine.state import Compensation, State, StepState, Timer


LATEST: Final = 1 << 62  # ms
MAY_WAIT: Final = OPEN | {"pending"}


@dataclass(frozen=True, slots=True)
class Skip:
    """Record that no path leads to these steps any more."""

    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """Record that no wait will take these ``events``, which are kept for a step under ``activation``."""

    activation: str
    events: tuple[str, ...]


class _OfActivation:
    """A command about one activation."""

    __slots__ = ()

    activation: str

    @property
    def step(self) -> str:
        """The key of its step."""
        return step_of(self.activation)


@dataclass(frozen=True, slots=True)
class Exhaust(_OfActivation):
    """Record that the round ``activation`` does not begin: the step has had its ``rounds``, or its time."""

    activation: str
    rounds: int
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Deliver(_OfActivation):
    """Give the waiting ``activation`` its ``event``, which came from outside or from a timer that is due."""

    activation: str
    event: str
    payload: Any = None
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Settle(_OfActivation):
    """Have the step of ``activation`` end as its child has."""

    activation: str


@dataclass(frozen=True, slots=True)
class StopChildren:
    """Have the children of these activations cancelled, at their deadline or as the instance ends."""

    activations: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Leave the child of ``activation``, which has not ended although it was cancelled long ago."""

    activation: str


@dataclass(frozen=True, slots=True)
class UndoChild:
    """Have the child of ``activation`` undo what it did; those of later rounds have."""

    activation: str


@dataclass(frozen=True, slots=True)
class StartPart(_OfActivation):
    """Have the part ``activation`` of a map run as an instance of its own, at most ``share`` of its items at a time.

    ``keeps``: where it goes on, whether what its items had come to stays.
    """

    activation: str
    share: int
    keeps: bool = False


class Run(NamedTuple):
    """Run ``activation``: a step, or its compensation. This is attempt number ``attempt``, the first being 1."""

    activation: str
    attempt: int

    @property
    def step(self) -> str:
        """The key of its step."""
        return step_of(self.activation)

    @property
    def undo(self) -> bool:
        """Whether it undoes what the step did."""
        return parse(self.activation).undo


@dataclass(frozen=True, slots=True)
class Join(_OfActivation):
    """Record that the items of the map ``activation`` have ended, or that the completed ones are undone.

    Attributes:
        activation: the map's, or that of its compensation.
        results: its summary; for its compensation nothing.
        error: why it has failed, if it has.
    """

    activation: str
    results: Mapping[str, Any] = NOTHING
    error: Failure | None = None


@dataclass(frozen=True, slots=True)
class TimeOut:
    """Record that the workflow's timeout has passed before the instance came to its end."""

    error: Failure


@dataclass(frozen=True, slots=True)
class Compensate:
    """Before the instance ends as ``status``, undo these ``steps``, in this order; then run ``then``, if it is one."""

    status: str
    steps: tuple[str, ...]
    error: Failure | None = None
    then: str = ""


@dataclass(frozen=True, slots=True)
class Close:
    """Nothing can happen any more: end the instance. If it completes, its output is the results of ``output_of``."""

    status: str
    error: Failure | None = None
    output_of: str = ""


@dataclass(frozen=True, slots=True)
class Enter:
    """Nothing runs before the instance has a permit of each limit of its workflow: take them, or stand in line."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Nothing can happen before an event arrives or ``wake_at`` (ms) comes."""

    wake_at: int | None


OfChildren: TypeAlias = Settle | StopChildren | GiveUp | UndoChild | StartPart
Ends: TypeAlias = TimeOut | Compensate | Close
Command: TypeAlias = Skip | Drop | Exhaust | Join | Deliver | Run | Ends | Enter | Sleep | OfChildren


def advance(graph: Graph, state: State, now: int, in_flight: Collection[str] = ()) -> tuple[Command, ...]:
    """The commands that follow from ``state`` at ``now`` (ms), while the activations ``in_flight`` run.

    Skips, ``Drop``, ``Exhaust``, ``Join``, deliveries, ``TimeOut``, ``Compensate`` and what is about children come
    alone: they change the state, so ask again after recording them. No command at all means that what comes next
    depends on a step in flight.
    """
    if state.closed:
        return ()
    if state.paused is not None:
        return () if in_flight else (Sleep(state.paused.look_at or None),)
    if state.compensation is not None:
        if any(step in graph.maps for step in state.compensation.left[:1]):
            return _undo_items(graph, state, state.compensation.left[0], now, in_flight)
        return () if in_flight else (_undo(graph, state, state.compensation, now),)
    return ask(graph, state, lambda agenda: _follows(agenda, state, now, in_flight))


def _follows(agenda: Agenda, state: State, now: int, in_flight: Collection[str]) -> tuple[Command, ...]:
    """What ``advance`` answers for an instance that goes on."""
    if dead := agenda.dead():
        return (Skip(dead),)
    ending = _ending(agenda, state)
    found = () if ending is not None else _before_entering(agenda.graph, state, now)
    if not found and state.children:
        found = _children(agenda.graph, state, now, ending=ending is not None)
    if found:
        return found if not in_flight or not isinstance(found[0], Sleep) else ()
    if ending is not None:
        return () if in_flight else (_compensate(agenda.graph, state, ending) or ending,)
    if state.deadline is not None and state.deadline <= now and not agenda.is_through():
        return (TimeOut(_timed_out(state)),)
    alone: tuple[Command, ...] = _drops(agenda, state) if agenda.stale else _deliveries(agenda, state, now, in_flight)
    if not alone and agenda.timed:
        alone = _exhausted(agenda, state, now, in_flight)
    if not alone and agenda.mapped:
        alone = tuple(_joins(agenda, state, in_flight)) or tuple(_parts(agenda, state))
    if alone:
        return alone
    runs = _runs(agenda, state, now, in_flight)
    return runs if runs or in_flight else (_rest(agenda, state, now),)


def own_limits(graph: Graph, state: State) -> tuple[str, ...]:
    """The names of the limits of which an instance has permits of its own: what descends from a holder has its."""
    if not graph.limits or state.part is not None:
        return ()
    above = () if state.alone else above_of(state)
    return tuple([name for name in graph.limits if name not in above])


def _before_entering(graph: Graph, state: State, now: int) -> tuple[Command, ...]:
    """What is done as long as an instance has no permit of its workflow's limits."""
    queued = INSTANCE in state.queued
    if not queued and (INSTANCE in state.permits or not (state.resuming or own_limits(graph, state))):
        return ()
    if state.deadline is not None and state.deadline <= now:
        return (TimeOut(_timed_out(state)),)
    return (Sleep(state.deadline) if queued else Enter(),)


def _children(graph: Graph, state: State, now: int, *, ending: bool) -> tuple[Command, ...]:
    """What is to be done about the children that steps wait for: an instance that ends ends after them (D.7).

    One that is only cancelled may have steps that its graph lacks, see ``missing``: how their children ended is no
    matter.
    """
    stopped = ("cancelled", LOST) if ending else ()  # as was asked for: their steps have failed no more than a wait
    children = [
        (activation, child)
        for activation, child in state.children.items()
        if child.status not in stopped and not child.asked and activation not in state.resuming
        if not child.status or step_of(activation) in graph.place
    ]
    if ended := tuple(Settle(activation) for activation, child in children if child.status or child.detached):
        return ended
    given_up = {timer.activation: timer.due_at for timer in state.deadlines if timer.emits == LOST}
    stopping = [activation for activation, child in children if child.stopping]
    if lost := tuple(GiveUp(activation) for activation in stopping if given_up.get(activation, now + 1) <= now):
        return lost
    left = [activation for activation, child in children if not child.stopping]
    if ending and left:
        return (StopChildren(tuple(left), "end"),)
    due = {timer.activation for timer in state.deadlines if timer.due_at <= now}
    if stops := _stopping(graph, state, left, due):
        return (stops,)
    if not ending or not children:
        return ()
    times = [given_up[activation] for activation, _ in children if activation in given_up]
    return (Sleep(min(times, default=None)),)


def _stopping(graph: Graph, state: State, open_: list[str], due: Collection[str]) -> StopChildren | None:
    """The children that are cancelled in an instance that goes on: their time is up, or too many items have failed."""
    if late := tuple(activation for activation in open_ if activation in due):
        return StopChildren(late, "timeout")
    parts = (one for one in open_ if is_part(state, one))
    over = tuple(one for one in parts if is_stopped(graph, state, step_of(one)))
    return StopChildren(over, "failures") if over else None


def next_wake(graph: Graph, state: State, after: int = 0) -> int | None:
    """The earliest time (ms) later than ``after`` at which a waiting or retrying step has something to do, if any."""
    own = state.deadline if state.deadline is not None and state.deadline > after and state.verdict is None else None
    own = earlier(own, next_start(state, after)) if state.turns else own
    return earlier(ask(graph, state, lambda agenda: agenda.next_time(after)), own)


def earlier(one: int | None, other: int | None) -> int | None:
    """The earlier of two times, of which either may be none."""
    return min((time for time in (one, other) if time is not None), default=None)


def _timed_out(state: State) -> Failure:
    seconds = f"{state.timeout_ms / 1000:.12g}"
    return Failure("WorkflowTimedOut", f"the workflow had not ended within its timeout of {seconds} s")


def compensable(graph: Graph, state: State) -> tuple[str, ...]:
    """The steps that can be undone, the last completed first: of those with rounds also what has not completed."""
    begun = [
        step
        for step, known in state.steps.items()
        if known.status in UNDOABLE
        and (known.loop is not None or known.mapped is not None or _has_completed_child(state, step))
    ]
    undone = [step for step in last_first(graph, state, {*_completed(state), *begun}) if step in graph.compensates]
    undone = [step for step in undone if step not in graph.maps or not _is_undone(graph, state, step)]
    return tuple(step for step in undone if not _undid_itself(graph, state, step) and not is_stuck(state, step))


def _is_undone(graph: Graph, state: State, step: str) -> bool:
    """Whether a map has nothing left to undo: no item has completed, or not even ``over`` has.

    Of workflows that undo themselves, a fork has none: they are its source's.
    """
    mapped = state.steps[step].mapped
    return mapped is None or (step in graph.undoes and not mapped.by_others) or is_undone(state, step)


def _undid_itself(graph: Graph, state: State, step: str) -> bool:
    """Whether there is nothing to undo of a child: it failed and so undid itself, or it is another instance's.

    A compensation of the step's own is for children that have completed, were detached or were left.
    """
    if step not in graph.children or undone_from(state, step):
        return False
    known = state.steps[step]
    child = state.children.get(state.activation(step)) or known.child
    if step in graph.undoes or child is None:
        return step in graph.undoes or known.failed is not None or known.event == "cancelled"
    return not child.detached and child.status != LOST


def _has_completed_child(state: State, step: str) -> bool:
    """Whether a step has come to an end of its child, and not to its own, or has failed after it."""
    child = state.children.get(state.activation(step)) or state.steps[step].child
    return child is not None and child.status == "completed"


def _completed(state: State) -> list[str]:
    return [step for step, known in state.steps.items() if known.status == "completed"]


def last_first(graph: Graph, state: State, steps: Iterable[str]) -> list[str]:
    """The steps in the order of undoing: what has begun and has not ended, then what ended last.

    Times in a log never go back; of steps that ended together, the later in the graph comes first.
    """
    ended = {step: state.steps[step].ended_at or LATEST for step in steps}
    return sorted(ended, key=lambda step: (ended[step], graph.place.get(step, -1)), reverse=True)


def output_of(graph: Graph, state: State) -> str:
    """The step whose results are the output; ``""`` for none."""
    done = last_first(graph, state, _completed(state))
    return next((step for step in done if step == (graph.output or step)), "")


def is_idle_but_for(graph: Graph, state: State, step: str) -> bool:
    """Whether no step but ``step`` waits or is to be tried again."""
    return ask(graph, state, lambda agenda: agenda.idle_but_for(step))


def is_any_waiting(graph: Graph, state: State) -> bool:
    """Whether some step or item waits, or is between two attempts and ends when an event comes."""

    def waits(agenda: Agenda) -> bool:
        steps = bool(agenda.waiting or (agenda.timed and graph.ends_on))
        return steps or any(is_item_waiting(state, step) or open_parts(state, step) for step in agenda.mapped)

    return ask(graph, state, waits)


def missing(graph: Graph, state: State) -> tuple[str, ...]:
    """The steps that an instance is at or goes to next and that ``graph`` lacks, as after a step was renamed.

    Going on without them would end the instance as if they had been skipped. A step that is still to be undone is
    missing, too, where it has no compensation any more. An instance that is only cancelled needs none.
    """
    if state.cancel is not None and not undoes_at_cancel(state) and state.compensation is None:
        return ()
    found: dict[str, None] = {}
    for key, step in state.steps.items():
        needed = step.status in OPEN or is_fatal(step)
        if needed and key not in graph.place and key != graph.on_failure:
            found[key] = None
        if step.status == "completed":
            found.update(dict.fromkeys(target for target in step.taken if target not in graph.place))
    if state.compensation is not None:
        found.update(
            dict.fromkeys(step for step in state.compensation.left if _is_undone_otherwise(graph, state, step))
        )
        if state.compensation.then not in ("", graph.on_failure):
            found[state.compensation.then] = None
    return tuple(found)


def _is_undone_otherwise(graph: Graph, state: State, step: str) -> bool:
    """Whether a step that is still to be undone has no compensation any more, or was a map and is none, or is one."""
    known = state.steps.get(step)
    was_map = known is not None and known.mapped is not None
    return step not in graph.compensates or was_map != (step in graph.maps)


def changed(graph: Graph, state: State) -> tuple[str, ...]:
    """The steps at which an instance would go on otherwise than in the graph that it was started with.

    They wait, may still run, or failed, and wait or lead elsewhere now; or what led to them does not any more; or they
    have completed and are undone otherwise. Else what is over may have changed: an instance that ends without running
    anything else needs no step, and one that is undoing what it did has decided what.
    """
    if not state.graph or state.graph == graph.fingerprint or state.compensation is not None:
        return ()
    done = [step for step, known in state.steps.items() if known.status == "completed" and step in graph.place]
    if state.cancel is not None:
        return tuple(graph.changed(state.graph, (), done if undoes_at_cancel(state) else ()))
    left = reachable(graph, state, graph.order)
    left += [step for step, known in state.steps.items() if known.status == "failed" and step in graph.place]
    found = dict.fromkeys(graph.changed(state.graph, left, done, ending=True))
    for key, step in state.steps.items():
        now = graph.edges.get(key, {}).get(step.event or "", ())
        found.update(dict.fromkeys(to for to in step.taken if to not in now and state.step_status(to) == "pending"))
    return tuple(found)


def is_reachable(graph: Graph, state: State, step: str) -> bool:
    """Whether ``step`` may still wait for an event: it waits, or it has neither ended nor been ruled out."""
    return step in reachable(graph, state, (step,))


def reachable(graph: Graph, state: State, steps: Iterable[str]) -> list[str]:
    """Those of ``steps`` that may still wait for an event; see ``is_reachable``."""
    open_ = [step for step in steps if step in graph.place and state.step_status(step) in MAY_WAIT]
    if all(step in state.steps for step in open_):
        return open_  # only what nothing has happened to can be ruled out
    dead = frozenset(ask(graph, state, Agenda.dead))
    return [step for step in open_ if step not in dead]


def _runs(agenda: Agenda, state: State, now: int, in_flight: Collection[str]) -> tuple[Run, ...]:
    """Steps that are due for an attempt, in the graph's order."""
    due = list(agenda.ready())
    if agenda.timed:
        due += [step for token, step in agenda.due(now) if not token]
        due.sort(key=agenda.graph.place.__getitem__)
    if state.children and (asked := {step_of(one) for one, child in state.children.items() if child.asked}):
        due += [step for step in agenda.graph.order if step in asked and step in agenda.waiting]
    due_now = [(activation, step) for step in due if (activation := state.activation(step)) not in in_flight]
    if state.queued or state.turns:
        due_now = [(activation, step) for activation, step in due_now if may_begin(state, activation, now)]
    runs = [Run(activation, state.attempt(step)) for activation, step in due_now]
    for step in sorted(agenda.mapped, key=agenda.graph.place.__getitem__):
        runs += [Run(*one) for one in due_items(agenda.graph, state, step, now, in_flight)]
    return _alone(state, tuple(runs), in_flight) if state.isolated else tuple(runs)


def _alone(state: State, runs: tuple[Run, ...], in_flight: Collection[str]) -> tuple[Run, ...]:
    """What is isolated runs with nothing beside it: where any of it is due, that is waited for, and then one of it."""
    isolated = tuple([run for run in runs if run.activation in state.isolated])
    if not isolated:
        return () if _runs_alone(state, in_flight) else runs
    named = [run for run in isolated if run.activation in state.running]  # in the commit before a pause
    return () if in_flight else (*named, *isolated)[:1]


def _runs_alone(state: State, in_flight: Collection[str]) -> bool:
    """Whether something isolated is under way, beside which no one's code is called."""
    return any(one in state.isolated for one in in_flight)


def _joins(agenda: Agenda, state: State, in_flight: Collection[str]) -> Iterator[Join]:
    """The maps of which all items have ended."""
    for step in sorted(agenda.mapped):
        if has_ended(agenda.graph, state, step, in_flight):
            results = summary(agenda.graph, state, step)
            failed = results["reason"] and state.part is None
            error = Failure("ItemsFailed", results["reason"]) if failed else None
            yield Join(state.activation(step), results, error)


def _parts(agenda: Agenda, state: State) -> Iterator[StartPart]:
    """The parts of maps that are to be started."""
    for step in sorted(agenda.mapped):
        for part in due_parts(agenda.graph, state, step):
            yield StartPart(*part)


def _undo_items(graph: Graph, state: State, step: str, now: int, in_flight: Collection[str]) -> tuple[Command, ...]:
    """What a map that is being undone goes on with."""
    mapped = mapped_of(state, step)
    if mapped.in_parts or (mapped.child and step in graph.undoes):
        return _undo_parts(graph, state, step)
    if mapped.child and (asked := tuple(map(UndoChild, due_part_undos(graph, state, step, stuck=True)))):
        return asked
    if mapped.child and open_parts(state, step):
        return (Sleep(None),)  # the compensations of its own have the places after that
    runs = tuple(Run(*one) for one in due_undos(graph, state, step, now, in_flight))
    if runs or in_flight:
        return _alone(state, runs, in_flight) if state.isolated else runs
    if not is_undone(state, step):
        return (Sleep(next_undo(state, step)),)
    failed = ", ".join(items_not_undone(state, step))
    error = Failure("ItemsNotUndone", f"these items could not be undone: {failed}") if failed else None
    return (Join(state.activation(step, undo=True), NOTHING, error),)


def _undo_parts(graph: Graph, state: State, step: str) -> tuple[Command, ...]:
    """What a map in parts that is being undone goes on with."""
    if asked := tuple(map(UndoChild, due_part_undos(graph, state, step))):
        return asked
    if open_parts(state, step):
        return (Sleep(None),)
    failed = len(items_not_undone(state, step))
    who = "1 instance could not undo what its" if failed == 1 else f"{failed} instances could not undo what their"
    story = f"{who} items did: {mapped_of(state, step).reason}"
    return (Join(state.activation(step, undo=True), NOTHING, Failure("ItemsNotUndone", story) if failed else None),)


def _drops(agenda: Agenda, state: State) -> tuple[Drop, ...]:
    """Of each line, the events that no wait will take."""
    found = {step: stale_events(state, step) for step in sorted(agenda.stale)}
    return tuple(Drop(state.line(step), tuple(one.event for one in events)) for step, events in found.items())


def _exhausted(agenda: Agenda, state: State, now: int, in_flight: Collection[str]) -> tuple[Exhaust, ...]:
    """Where no other round may begin: of so many none is left, or its time has come, and that of the last is over."""
    rounds = agenda.graph.rounds
    found = []
    for step in sorted(agenda.timed.intersection(rounds)):
        activation, loop = state.activation(step), state.steps[step].loop
        if loop is not None and activation not in in_flight and is_exhausted(agenda.graph, state, step, now):
            found.append(Exhaust(activation, loop.rounds, rounds[step]))
    return tuple(found)


def is_exhausted(graph: Graph, state: State, step: str, now: int) -> bool:
    """Whether ``step`` is between two rounds, and may not begin the next at ``now`` (ms)."""
    bounds, known = graph.rounds.get(step), state.steps[step]
    if bounds is None or known.loop is None or known.status != "looping":
        return False
    begins = known.retry_at is None or known.retry_at <= now
    late = bounds.within_ms is not None and begins and now - known.loop.began_at > bounds.within_ms
    return late or known.loop.rounds >= bounds.at_most


def _deliveries(agenda: Agenda, state: State, now: int, in_flight: Collection[str]) -> tuple[Deliver, ...]:
    if state.isolated and _runs_alone(state, in_flight):
        return ()
    items: list[Deliver] = []
    for step in sorted(agenda.mapped):
        items += [Deliver(*one) for one in given_items(agenda.graph, state, step, now, in_flight)]
    if not agenda.waiting and not (agenda.timed and agenda.graph.ends_on):
        return tuple(items)
    found: dict[str, Deliver] = {}
    for step in agenda.held(state):
        received, activation = state.inbox[state.line(step)], state.activation(step)
        if activation in state.children:
            continue  # it was accepted under another deployment; the child alone ends the step
        if activation not in in_flight and not (in_flight and activation in state.isolated):
            found[step] = Deliver(activation, received.event, received.payload)
    for token, step in agenda.due(now):
        if token and step not in found and state.activation(step) not in state.children:
            timer = next(timer for timer in state.timers[state.activation(step)] if timer.token == token)
            payload = FrozenDict(missed="heartbeat") if timer.heartbeat_ms else None
            found[step] = Deliver(timer.activation, timer.emits, payload, timed_out=True)
    return (*found.values(), *items)


def by_time(timer: Timer) -> tuple[int, str]:
    """The order in which timers are due: of several that are, a waiting step is given the first."""
    return timer.due_at, timer.token


def _ending(agenda: Agenda, state: State) -> Close | None:
    """How the instance ends once nothing runs: a step failed for good or led to ``FAIL``, or it was cancelled."""
    if state.verdict is not None:
        return Close("failed", state.verdict)
    if agenda.failed:
        key = next(key for key in state.steps if key in agenda.failed)
        return Close("failed", _why(key, state.steps[key]))
    return Close("cancelled") if state.cancel else None


def _why(key: str, step: StepState) -> Failure:
    """The story of a step that ends the instance."""
    if step.fail is not None:
        return Failure("FAIL", f"step {key} emitted {step.event!r}, which leads to FAIL{step.fail and ': '}{step.fail}")
    error = step.error or Failure("Unknown", "")
    if not step.attempt:
        return Failure(error.type, f"step {key} failed: {error.message}", error.trace)
    return Failure(error.type, f"step {key} failed after {step.attempt} attempt(s): {error.message}", error.trace)


def _compensate(graph: Graph, state: State, ending: Close) -> Compensate | None:
    """What happens before ``ending``: a failure undoes all and runs ``on_failure``, a cancellation does as it asks."""
    failed = ending.status == "failed"
    undoes = failed or undoes_at_cancel(state)
    steps = compensable(graph, state) if undoes else ()
    then = graph.on_failure if failed else ""
    stuck = undoes and not_undone(state)
    return Compensate(ending.status, steps, ending.error, then) if steps or then or stuck else None


def _undo(graph: Graph, state: State, undoing: Compensation, now: int) -> Command:
    if not undoing.left:
        return _handle(state, undoing, now) if undoing.then else _undone(state, undoing)
    if command := _undo_child(graph, state, undoing.left[0]):
        return command
    if undoing.retry_at is not None and undoing.retry_at > now:
        return Sleep(undoing.retry_at)
    return Run(state.activation(undoing.left[0], undo=True), undoing.attempt + 1)


def _undo_child(graph: Graph, state: State, step: str) -> Command | None:
    """The children of a step are undone, that of the newest round first; ``None`` where it is another that undoes it.

    With a compensation of its own a step undoes those that have completed, not one that has failed at undoing itself.
    """
    epoch, own = state.epochs.get(step, 0), step not in graph.undoes
    asked = [one for one, child in state.children.items() if child.stopping == "undo" and step_of(one) == step]
    if not asked:
        left = is_stuck(state, step) or not own
        return UndoChild(text_of(step, epoch, undone_from(state, step))) if left else None
    child = state.children[asked[0]]
    if child.status == "undone" and child.round > 1:
        return None if own else UndoChild(text_of(step, epoch, child.round - 1))
    return Settle(asked[0]) if child.status else Sleep(None)


def _handle(state: State, undoing: Compensation, now: int) -> Command:
    """All is undone: run ``on_failure``, then end. Its own failure is told, and changes nothing."""
    step = state.steps.get(undoing.then)
    if step is not None and step.retry_at is not None and step.retry_at > now:
        return Sleep(step.retry_at)
    if step is None or step.status == "retrying":
        return Run(state.activation(undoing.then), state.attempt(undoing.then))
    end = _undone(state, undoing)
    if step.error is None or end.error is None:
        return end
    story = f"{end.error.message}; on_failure, step {undoing.then}, failed too: {step.error.message}"
    return Close(end.status, Failure(end.error.type, story, end.error.trace))


def failure_of(state: State) -> Failure | None:
    """Why an instance that is undoing what it did fails, as far as is known; what its ``on_failure`` is told."""
    return _undone(state, state.compensation).error if state.compensation is not None else None


def _undone(state: State, undoing: Compensation) -> Close:
    """How the instance ends after its compensations: as it would have, unless one of them failed for good."""
    failed = {key: state.steps[key].error or state.steps[key].failed for key in not_undone(state)}
    if not failed:
        return Close(undoing.status, undoing.error)
    reason = undoing.error.message if undoing.error else undoing.status
    stories = [f"compensation of step {key} failed: {error.message}" for key, error in failed.items() if error]
    undone = [key for key, step in state.steps.items() if step.status == "compensated"]
    story = "; ".join([reason, *stories, f"compensated: {', '.join(undone) or 'none'}"])
    return Close("failed", Failure("CompensationFailed", story))


def _rest(agenda: Agenda, state: State, now: int) -> Close | Sleep:
    if state.queued or state.turns:  # the times of what stands in line have passed
        return Sleep(earlier(earlier(agenda.next_time(now), next_start(state, now)), state.deadline))
    if agenda.waiting or agenda.timed or agenda.mapped:
        return Sleep(earlier(agenda.next_time(0), state.deadline))
    if agenda.pending:
        stuck = [step for step in agenda.graph.order if state.step_status(step) == "pending"]
        message = f"instance {state.instance_id}: nothing can run, yet {', '.join(stuck)} are undecided"
        raise InvariantBroken(message)
    return Close("completed", output_of=output_of(agenda.graph, state))
