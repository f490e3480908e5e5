"""What an attempt's outcome means for the instance: which event it becomes.

Nothing here writes, runs a step or looks at other steps; of a user's code only the functions of ``Choice`` and of retry
policies are called.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.containment import contain
from hephaestus.definition.durations import read_duration
from hephaestus.engine.activation import derived, parse, step_of, token_of
from hephaestus.engine.events import (
    LONGEST_MESSAGE_MS,
    NOTHING,
    ChildStarted,
    CompensationFailed,
    Event,
    Failure,
    ItemCompleted,
    ItemFailed,
    ItemUndoFailed,
    ItemUndone,
    ItemWaiting,
    MapBegun,
    MapSpread,
    OnFailureCompleted,
    OnFailureFailed,
    PartEnded,
    RoundEnded,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepWaiting,
)
from hephaestus.engine.events.steps import MOST_QUICK, QUICK_MS, quick_rounds
from hephaestus.engine.inbox import as_results
from hephaestus.engine.map_items import size_of_part
from hephaestus.engine.records import Counts
from hephaestus.engine.state import depth_of, is_part, place_of
from hephaestus.errors import NonRetryable
from hephaestus.runtime.attempt import Ended, Interrupted, InvalidResult, Outcome, RoundsExhausted, StepTimedOut
from hephaestus.runtime.error_text import both, failure
from hephaestus.runtime.routing import Taken, route
from hephaestus.values import FrozenDict
from hephaestus.values.lazy_dataclass import dataclass
from hephaestus.writes import label

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.definition.context import StepContext
    from hephaestus.definition.definition import Definition
    from hephaestus.definition.retries import Retry
    from hephaestus.engine.advance import Deliver, Exhaust, Join, Settle
    from hephaestus.engine.mail import Mail
    from hephaestus.engine.records import Child
    from hephaestus.engine.state import State
    from hephaestus.runtime.attempt import Spawned

DEEPEST: Final = 10
ONE: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Judge:
    """Turns outcomes into events.

    Attributes:
        definition: the workflow version.
        now: the time, in milliseconds.
        draft: the state as far as it is decided.
        random: draws a number from 0 up to 1.
        context: what a ``Choice`` is given, for an activation and the number of its attempt.
        may_choose: asked before the ``Choice`` of an activation is called: it commits that the call is about to
            begin, and says no where so many before it took their Lambda with them that no attempt is left.
    """

    definition: Definition
    now: Callable[[], int]
    draft: Callable[[], State]
    random: Callable[[], float]
    context: Callable[[str, int], StepContext]
    may_choose: Callable[[str], bool]

    def ended(self, outcome: Outcome) -> Event:  # noqa: PLR0911 - one for each thing that an attempt can come to
        """An attempt of a step came to its end."""
        if outcome.error is not None:
            return self.failed(outcome, outcome.error)
        if outcome.pending is not None:
            return self._waiting(outcome)
        if (begun := outcome.spreads) is not None:
            begins = outcome.started_at, outcome.attempt
            if begun.plan is not None:
                graph = self.definition.of_part(outcome.step).graph.fingerprint
                return MapSpread(outcome.activation, replace(begun.plan, graph=graph), *begins)
            event = MapBegun(outcome.activation, begun.items, begun.keys, begun.initial, *begins)
            event = replace(event, config=begun.config, child=begun.child, version=begun.version)
            event = replace(event, malformed=begun.malformed) if begun.malformed else event
            return replace(event, received=begun.received) if begun.received else event
        if outcome.ended is not None:
            return self._round_ended(outcome, outcome.ended)
        if outcome.spawned is not None:
            return self._child_started(outcome, outcome.spawned)
        done = outcome.completed
        assert done is not None  # noqa: S101 - what is neither an error nor a wait is a result
        if "[" in outcome.activation:
            at, attempt, labels = outcome.started_at, outcome.attempt, tuple(map(label, done.writes))
            results = self._collected(outcome.step, done.results)
            return ItemCompleted(outcome.activation, done.event, results, at, attempt, labels)
        return StepCompleted(
            outcome.activation,
            done.event,
            outcome.taken.steps,
            done.results,
            done.metadata or NOTHING,
            self._began_at(outcome),
            outcome.attempt,
            writes=tuple(map(label, done.writes)),
            configs=outcome.taken.configs,
            fail=outcome.taken.fail,
            rounds=(rounds := self._rounds(outcome)),
            took=not rounds,
        )

    def overtaken(self, event: Event, state: State) -> Event:
        """The event, or the end of a mere round where what ends the step has been accepted before this was committed.

        Args:
            event: what an attempt came to.
            state: the newest state.
        """
        if not isinstance(event, (StepCompleted, StepFailed)) or event.step not in self.definition.graph.ends_on:
            return event
        goes_on = isinstance(event, StepFailed) and event.retry_at is not None
        if goes_on or event.activation not in state.running or state.line(event.step) not in state.inbox:
            return event
        loop = state.loop(event.step)
        carry = NOTHING if loop is None else loop.carry
        return RoundEnded(event.activation, self.now(), carry, event.started_at, event.attempt)

    def _rounds(self, outcome: Outcome) -> int:
        """How many rounds a step with rounds has had; 0 for another. With no attempt, the last has not begun."""
        rounds = self.definition.graph.rounds
        if not rounds or outcome.step not in rounds:
            return 0
        return parse(outcome.activation).round - (not outcome.attempt)

    def _round_ended(self, outcome: Outcome, ended: Ended) -> RoundEnded:
        """The next round begins when it is asked for, but too many quick ones in a row are slowed to one a second."""
        next_at = self.now() + milliseconds(ended.after)
        loop = self.draft().loop(outcome.step)
        if quick_rounds(loop, next_at - outcome.started_at) > MOST_QUICK:
            next_at = max(next_at, outcome.started_at + QUICK_MS)
        labels = tuple(map(label, ended.writes))
        own = (outcome.activation, next_at, ended.carry, self._began_at(outcome), outcome.attempt, labels)
        return RoundEnded(*own, starts=ended.starts)

    def _began_at(self, outcome: Outcome) -> int:
        """When the attempt began (ms), or the one that started the child whose end it is asked about."""
        state = self.draft()
        return state.steps[outcome.step].started_at if outcome.activation in state.children else outcome.started_at

    def undone(self, outcome: Outcome) -> Event:
        """An attempt to undo a step came to its end."""
        activation, done, is_item = outcome.activation, outcome.completed, "[" in outcome.activation
        if outcome.error is None and done is not None:
            labels = tuple(label(write) for write in done.writes)
            ends = ItemUndone if is_item else StepCompensated
            return ends(activation, outcome.attempt, done.results, outcome.started_at, labels)
        assert outcome.error is not None  # noqa: S101 - see above
        retry_at = self._retry_at(self.definition.undo_policy(activation), outcome.error, outcome.attempt)
        story = outcome.story or failure(outcome.error)
        fails = ItemUndoFailed if is_item else CompensationFailed
        return fails(activation, outcome.attempt, story, outcome.started_at, retry_at)

    def handled(self, outcome: Outcome) -> OnFailureCompleted | OnFailureFailed:
        """An attempt of the workflow's ``on_failure`` came to its end."""
        step, done, error = outcome.step, outcome.completed, outcome.error
        if error is None and done is not None:
            return OnFailureCompleted(
                outcome.activation,
                done.event,
                done.results,
                done.metadata or NOTHING,
                outcome.started_at,
                outcome.attempt,
                tuple(map(label, done.writes)),
            )
        if error is None:
            error = InvalidResult(f"step {step} is on_failure and returned Pending(): it cannot wait")
        once = self.definition.declared[step].semantics == "at_most_once"
        retry_at = None if once else self._retry_at(self.definition.policy(outcome.activation), error, outcome.attempt)
        story = outcome.story or failure(error)
        return OnFailureFailed(outcome.activation, outcome.attempt, story, outcome.started_at, retry_at)

    def judged(self, outcome: Outcome) -> Event:
        """What an attempt's end means, whatever the attempt was of."""
        if parse(outcome.activation).undo:
            return self.undone(outcome)
        return self.handled(outcome) if outcome.step == self.definition.graph.on_failure else self.ended(outcome)

    def interrupted(self, state: State, activation: str, *, alone: bool) -> Event:
        """An attempt was under way when the Lambda that ran it ended, ``alone`` or with others: it is spent."""
        step, undo = step_of(activation), parse(activation).undo
        attempt, item = state.attempt_of(activation), parse(activation).item
        what = "the compensation of " if undo else ""
        what += "step" if item is None else f"item {item} of step"
        error = Interrupted(
            f"instance {state.public_id}: the Lambda running {what} {step} ended before attempt {attempt} did, "
            f"by its timeout, its memory or a crash; it ran {'alone' if alone else 'beside others'}, "
            "see the function's log"
        )
        return self.judged(Outcome(activation, attempt, 0, error=error))

    def delivered(self, command: Deliver, state: State) -> Event:
        """A waiting step gets its event: its round ends, or it completes, or fails where nothing routes the event."""
        if "[" in command.activation:
            return self._item_delivered(command, state)
        step, event, known = command.step, command.event, state.steps[command.step]
        waited = Outcome(command.activation, known.attempt, known.started_at)
        if event in self.definition.graph.again_on(step):
            carry = NOTHING if known.loop is None else known.loop.carry
            return replace(self._round_ended(waited, Ended(carry, timedelta(0))), event=event)
        if event not in self.definition.routes[step]:
            error = StepTimedOut(f"step {step} waited too long, and its transitions do not route {event!r}")
            return self.failed(waited, error, final=True)
        return self._given(waited, event, as_results(command.payload))

    def settled(self, command: Settle, state: State) -> Event:
        """A step's child has ended, or is on its own: the step completes, or fails where nothing routes that (D.8).

        It has ended when its child did. An event that was accepted for it, as under another deployment, is not taken.
        """
        event, ended_at = self._settled(command, state), state.children[command.activation].ended_at
        return replace(event, ended_at=ended_at, took=False) if isinstance(event, StepCompleted) else event

    def _settled(self, command: Settle, state: State) -> Event:
        step, child, known = command.step, state.children[command.activation], state.steps[command.step]
        waited, routes = Outcome(command.activation, known.attempt, known.started_at), self.definition.routes[step]
        if child.detached or child.status == "completed":
            return self._given(waited, "done", FrozenDict(child.output) if child.output else FrozenDict())
        if child.stopping == "timeout":
            error: Exception = StepTimedOut(f"the child {child.instance_id} of step {step} took too long")
            return self.failed(waited, error, final=True)
        if child.status == "cancelled" and "cancelled" in routes:
            return self._given(waited, "cancelled", FrozenDict())
        story = child.error or Failure("ChildCancelled", child.status)
        story = replace(story, message=f"the child {child.instance_id} {told(child)}")
        return self.failed(waited._replace(story=story), NonRetryable(story.message), final=True)

    def undone_by_child(self, activation: str, state: State) -> StepCompensated | CompensationFailed:
        """A step's child has undone what it did, or could not."""
        child, step = state.children[activation], step_of(activation)
        undo, attempt = state.activation(step, undo=True), 1
        if child.status == "undone":
            return StepCompensated(undo, attempt)
        story = child.error or Failure("ChildNotUndone", child.status)
        story = replace(story, message=f"the child {child.instance_id} {told(child)}")
        return CompensationFailed(undo, attempt, story)

    def _child_started(self, outcome: Outcome, spawned: Spawned) -> Event:
        """The child's id follows from where it is in its tree."""
        state = self.draft()
        root_life, path = place_of(state, outcome.activation)
        known = state.steps.get(outcome.step)
        child, before = spawned.value(derived(root_life, path)), known.child if known is not None else None
        if before is not None and before.instance_id.partition("::")[0] != child.partition("::")[0]:
            problem = f"step {outcome.step} has begun with another workflow, whose instance was {before.instance_id}"
            return self.failed(outcome, InvalidResult(problem), final=True)
        if depth_of(state) >= DEEPEST:
            problem = f"step {outcome.step} starts a child that has {DEEPEST + 1} parents above it, at most {DEEPEST}"
            return self.failed(outcome, InvalidResult(problem), final=True)
        within = 0 if spawned.within is None else milliseconds(spawned.within)
        return ChildStarted(
            outcome.activation,
            child,
            spawned.workflow,
            spawned.version,
            spawned.initial,
            spawned.tags,
            spawned.metadata,
            spawned.graph,
            spawned.timeout_ms,
            outcome.started_at,
            outcome.attempt,
            within,
            spawned.detached,
            outcome.step in self.definition.graph.rounds,
        )

    def part_ended(self, mail: Mail, said: Mapping[str, Any], state: State) -> PartEnded:
        """A part of a map has ended: what it ``said`` of its items is counted; of one that could not, all failed.

        One that was cancelled although its map goes on, once it had been left, is one that could not.
        """
        if mail.status == "cancelled" and not state.children[mail.activation].stopping:
            why = Failure("ChildCancelled", f"instance {mail.child} was cancelled by itself")
            mail = replace(mail, status="failed", error=mail.error or why)
        if not is_part(state, mail.activation):
            return self._item_of_child_ended(mail, state)
        became = (said.get("completed", 0), said.get("failed", 0), said.get("cancelled", 0))
        counts = Counts(*became, stuck=said.get("stuck", 0), kept=said.get("kept", 0))
        reason = said.get("reason")
        error = mail.error if not reason else Failure("ItemsFailed", str(reason))
        if mail.status not in ("completed", "cancelled", "undone"):
            size = size_of_part(state, mail.activation)
            counts = replace(counts, failed=size - counts.completed - counts.cancelled)
            error = mail.error or Failure("InstanceLost", f"an instance that ran {size} of the items is {mail.status}")
        return PartEnded(mail.activation, mail.status, mail.number, counts, said.get("events", NOTHING), error)

    def _item_of_child_ended(self, mail: Mail, state: State) -> PartEnded:
        """An item that is a workflow has ended; of what it left nothing is kept here."""
        child = state.children[mail.activation]
        if mail.status in ("completed", "undone"):
            return PartEnded(mail.activation, mail.status, mail.number, emitted=FrozenDict(done=1), of_item=True)
        why = told(replace(child, status=mail.status, error=mail.error))
        if child.stopping == "timeout":
            why = "took too long"
        item = parse(mail.activation).item
        error = Failure(mail.error.type if mail.error else "ChildCancelled", f"item {item}: its workflow {why}")
        return PartEnded(mail.activation, mail.status, mail.number, error=error, stuck=mail.stuck, of_item=True)

    def _item_delivered(self, command: Deliver, state: State) -> Event:
        """A waiting item gets its event, with which it completes, or fails where its step does not declare it."""
        activation, event, one = command.activation, command.event, state.open_item(command.activation)
        assert one is not None  # noqa: S101 - it waits
        waited = Outcome(activation, one.attempt, one.started_at)
        if event not in self.definition.events_of(activation):
            named = f"item {parse(activation).item} of step {command.step}"
            error = StepTimedOut(f"{named} waited too long, and its step does not declare {event!r}")
            return self.failed(waited, error, final=True)
        results = self._collected(command.step, as_results(command.payload))
        return ItemCompleted(activation, event, results, one.started_at, one.attempt)

    def _collected(self, step: str, results: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is written of an item's results: if the map does not collect them, only what a compensation reads."""
        made = self.definition.steps.get(step)
        return results if made is None or made.compensates or getattr(made, "collect", True) else NOTHING

    def joined(self, command: Join, state: State) -> Event:
        """The items of a map have ended, or the completed ones are undone."""
        activation, error = command.activation, command.error
        if parse(activation).undo:
            return StepCompensated(activation) if error is None else CompensationFailed(activation, 1, error)
        known = state.steps[command.step]
        joined = Outcome(activation, known.attempt, known.started_at, story=error)
        if error is None:
            return self._given(joined, "done", FrozenDict(command.results), took=False)
        if "error" in self.definition.routes[command.step]:
            return self._routed(joined, "error", error, command.results)
        return StepFailed(activation, known.attempt, error, known.started_at)

    def exhausted(self, command: Exhaust, state: State) -> Event:
        """A step with rounds has had all of them, or its time: it completes so, or fails where nothing routes that."""
        step, rounds, loop = command.step, command.rounds, state.steps[command.step].loop
        over = Outcome(command.activation, 0, 0)
        if "exhausted" not in self.definition.routes[step]:
            most = f"of {command.bounds.at_most}" if rounds >= command.bounds.at_most else "and its time is up"
            story = (
                f"it has had {rounds} round{'s' * (rounds != 1)} {most}, and its transitions do not route 'exhausted'"
            )
            return self.failed(over, RoundsExhausted(story), final=True)
        carry = FrozenDict() if loop is None else loop.carry
        results = FrozenDict(rounds=rounds, carry=carry or FrozenDict())
        if loop is not None and (left := loop.received) is not None:  # it was for the round that does not begin
            results = FrozenDict({**results, "event": left.event, "payload": as_results(left.payload)})
        return self._given(over, "exhausted", results, took=False)

    def _given(self, waited: Outcome, event: str, results: FrozenDict, *, took: bool = True) -> Event:
        """A step that does not run gets an event, with which it completes."""
        step = waited.step
        if not self._may_route(waited, event):
            return self.failed(waited, self._fatal(waited, event), final=True)

        def routed() -> Event:
            taken = self._route(waited, event, results)
            return StepCompleted(
                waited.activation,
                event,
                taken.steps,
                results,
                started_at=waited.started_at,
                attempt=waited.attempt,
                configs=taken.configs,
                fail=taken.fail,
                rounds=self._rounds(waited),
                took=took,
            )

        def failed(error: BaseException) -> Event:
            return self.failed(waited._replace(story=failure(error, step)), error, final=True)

        return contain(routed, failed)

    def failed(
        self, outcome: Outcome, error: BaseException, *, final: bool = False
    ) -> StepFailed | StepCompleted | ItemFailed:
        """A failed attempt: tried again, routed as ``timeout`` or ``error``, or the end of the step or item."""
        activation, kind = outcome.activation, type(error)  # not isinstance: an error may lie about its class, or raise
        routes, story = self.definition.routes[outcome.step], outcome.story or failure(error)
        is_item = "[" in activation
        if not is_item and issubclass(kind, StepTimedOut) and "timeout" in routes:
            return self._routed(outcome, "timeout", story)
        once = self.definition.declared_of(activation).semantics == "at_most_once"
        retry_at = None if final or once else self._retry_at(self.definition.policy(activation), error, outcome.attempt)
        if is_item:
            return ItemFailed(activation, outcome.attempt, story, outcome.started_at, retry_at)
        if retry_at is None and "error" in routes:
            return self._routed(outcome, "error", story)
        return StepFailed(activation, outcome.attempt, story, outcome.started_at, retry_at)

    def _routed(
        self, outcome: Outcome, event: str, story: Failure, left: Mapping[str, Any] = NOTHING
    ) -> StepFailed | StepCompleted:
        """A failure that the transitions route: the next step finds it in this step's results, beside what it left."""
        activation, attempt, started_at = outcome.activation, outcome.attempt, outcome.started_at
        rounds = self._rounds(outcome)
        took = not rounds or self.draft().step_status(outcome.step) == "waiting"
        results = FrozenDict({**left, "error": FrozenDict(type=story.type, message=story.message)})
        if not self._may_route(outcome, event):
            fatal = failure(self._fatal(outcome, event))
            return StepFailed(activation, attempt, both(fatal, event, story), started_at)

        def routed() -> StepCompleted | StepFailed:
            taken = self._route(outcome, event, results)
            return StepCompleted(
                activation,
                event,
                taken.steps,
                results,
                started_at=started_at,
                attempt=attempt,
                failed=story,
                configs=taken.configs,
                fail=taken.fail,
                rounds=rounds,
                took=took,
            )

        def failed(problem: BaseException) -> StepFailed:
            return StepFailed(activation, attempt, both(failure(problem, outcome.step), event, story), started_at)

        return contain(routed, failed)

    def _may_route(self, outcome: Outcome, event: str) -> bool:
        """Whether the way may be taken. What goes wrong with the commit that this makes is not the step's failure."""
        return self.definition.routes[outcome.step][event].choice is None or self.may_choose(outcome.activation)

    def _fatal(self, outcome: Outcome, event: str) -> Interrupted:
        instance_id = self.context(outcome.activation, outcome.attempt).instance_id
        return Interrupted(
            f"instance {instance_id}: step {outcome.step}: the Lambda calling the Choice of "
            f"{event!r} ended before it did, in each of the step's attempts, by its timeout, its memory or a crash; "
            "see the function's log"
        )

    def _route(self, outcome: Outcome, event: str, results: Mapping[str, Any]) -> Taken:
        context = self.context(outcome.activation, outcome.attempt)
        return route(self.definition, outcome.step, event, results, context)

    def _waiting(self, outcome: Outcome) -> StepWaiting | ItemWaiting:
        """A step or item that waits: a step's deadline gets a schedule, unless the wait is short and the engine's."""
        pending = outcome.pending
        assert pending is not None  # noqa: S101 - its caller has looked
        now, due_at, name, scheduled = self.now(), None, "", False
        if pending.timeout is not None:
            if isinstance(pending.timeout, datetime):
                due_at = int(pending.timeout.timestamp() * 1000)
            else:
                due_at = now + milliseconds(read_duration(pending.timeout, "timeout"))
            scheduled = pending.emits == "timeout" or due_at - now > LONGEST_MESSAGE_MS
            name = token_of(outcome.activation, str(outcome.attempt))
        beat = milliseconds(read_duration(pending.heartbeat, "heartbeat")) if pending.heartbeat is not None else 0
        if "[" in outcome.activation:
            began, attempt = outcome.started_at, outcome.attempt
            missed_at = now + beat if beat else 0
            return ItemWaiting(outcome.activation, began, attempt, name, due_at, pending.emits, beat, missed_at)
        return StepWaiting(
            outcome.activation,
            outcome.started_at,
            outcome.attempt,
            name,
            due_at,
            pending.emits,
            scheduled,
            heartbeat_ms=beat,
            heartbeat_at=now + beat if beat else 0,
        )

    def _retry_at(self, policy: Retry, error: BaseException, attempt: int) -> int | None:
        """When to try again (ms), or ``None``; an attempt that was interrupted did not choose its error."""
        draw = self.random()
        if issubclass(type(error), Interrupted):
            delay = policy.delay_ms(attempt, draw) if attempt < policy.max_attempts else None
        else:
            delay = contain(partial(policy.again, error, attempt, draw), lambda _: None)
        return None if delay is None else self.now() + delay


def told(child: Child) -> str:
    """How a child has ended, for people."""
    match child.status:
        case "lost" if child.stopping in ("timeout", "end"):
            return "was cancelled and has not ended within an hour: it is left to itself"
        case "lost":
            return "is not there any more"
        case "rejected":
            return "cannot be started: another instance has its id"
        case "failed" if child.error is not None:
            return f"failed: {child.error.message}"
        case _:
            return f"is {child.status}"


def milliseconds(duration: timedelta) -> int:
    """A duration in whole milliseconds, at least 1 unless it is nothing."""
    return max(round(duration / ONE), 1 if duration else 0)
