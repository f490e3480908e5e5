"""The contract of the Hephaestus family: ``start_instance``, ``resume``, ``schedule_resume``, and what goes with them.

Every call commits first. What follows from the commit runs in this invocation or is left to the queue, as the call's
dispatch says; if neither happens because the process dies, the alarm in the head has the sweeper do it.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.advance import Sleep, advance, is_reachable
from hephaestus.engine.events import EventReceived, HeartbeatReceived, InstanceStarted, Parked, TimerSet
from hephaestus.engine.fold import heartbeat_token
from hephaestus.engine.inbox import accept, accepted_events
from hephaestus.errors import (
    AmbiguousEvent,
    BadRequest,
    CorruptLog,
    InstanceClosed,
    InstanceNotFound,
    InvariantBroken,
    UnexpectedEvent,
    UnknownStep,
    UnknownVersion,
    UnknownWorkflow,
)
from hephaestus.runtime.answers import Answers
from hephaestus.runtime.attempt import check_size
from hephaestus.runtime.control import Control
from hephaestus.runtime.intake import check_by, check_text, digest, read_context, read_metadata, read_tags, read_value
from hephaestus.runtime.ports import Timeout
from hephaestus.runtime.quarantine import quarantine, tell_parked
from hephaestus.runtime.queries import Queries
from hephaestus.runtime.telemetry import emit
from hephaestus.values import freeze

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.definition.definition import Definition
    from hephaestus.definition.steps import StepLike
    from hephaestus.definition.workflow import Workflow
    from hephaestus.engine.graph import Graph
    from hephaestus.engine.state import State
    from hephaestus.runtime.dispatch import Budget, Dispatch

LONGEST_SCHEDULE_MS: Final = 366 * 24 * 3600 * 1000
MAX_TIMERS: Final = 100
PARK_MS: Final = 60 * 1000
LONGEST_PARK_MS: Final = 60 * 60 * 1000
EARLY_MS: Final = 5_000

_logger = logging.getLogger("hephaestus.runner")


class Runner(Control, Queries, Answers):
    """Starts, resumes, schedules, steers and shows instances; see ``Instances`` for what it is made of."""

    def __init__(self, *adapters: Any, **settings: Any) -> None:
        super().__init__(*adapters, **settings)
        name, storage = type(self).__name__, type(self.store).__name__
        known = {"name": name, "runner": name, "storage": storage, "pid": os.getpid()}
        emit("hephaestus.runner.init", {"system_time": self.clock.now()}, known)

    def start_instance(  # noqa: PLR0913 - the family's contract
        self,
        workflow: str | type[Workflow],
        context: Mapping[str, Any],
        *,
        id: str,  # noqa: A002 - the family's contract
        version: int | None = None,
        tags: Sequence[str] = (),
        telemetry_metadata: Mapping[str, Any] | None = None,
        start_id: str | None = None,
        dispatch: Dispatch | None = None,
    ) -> str:
        """Persist a new instance and begin its execution.

        Args:
            workflow: the class, or its name.
            context: the start data, which must fit the workflow's ``Input`` if it has one.
            id: the business key's value (or the whole id).
            version: which version to start; by default as the workflow says.
            tags: added to the workflow's own.
            telemetry_metadata: added to the workflow's own metadata.
            start_id: a name for this very start; the same start made twice is one, and both calls answer alike.
            dispatch: run in place or leave it to the queue.

        Returns:
            The instance's id.

        Raises:
            AlreadyRunning: an instance with this business key is active.
            InvalidInput: the context does not fit ``Input`` or cannot be stored.
            UnknownWorkflow, UnknownVersion: it is not deployed.
            BadRequest: the id, a tag, the metadata or the start's name is malformed.
            PayloadTooLarge: the context or the metadata is larger than the store takes.
        """
        flow = workflow if isinstance(workflow, type) else self.registry.get(workflow)
        initial = read_context(context)
        all_tags = read_tags(flow, tags)
        opts = {"context": initial, "id": id, "tags": all_tags}
        definition = flow.definition(version if version is not None else flow.version_for(flow.versions, opts))
        definition.read_input(initial)
        check_size(initial, self.store.max_value_bytes, "the context")
        suffix = digest(start_id)[:20] if start_id else self.clock.unique()
        instance_id = flow.business_key.instance_id(id, definition.version, suffix)
        if start_id is not None:
            check_text("start_id", start_id)
        metadata = {**flow.versions[definition.version].metadata, **flow.metadata, **read_metadata(telemetry_metadata)}
        check_size(metadata, self.store.max_value_bytes, "the metadata")
        name = start_id or self.clock.unique()
        started = InstanceStarted(flow.name, definition.version, initial, all_tags, freeze(metadata), name)
        self._create(instance_id, definition, (started,), flow.business_key.name, dispatch or self.dispatch)
        return instance_id

    def resume(  # noqa: PLR0913 - the family's contract
        self,
        instance_id: str,
        event: str,
        payload: Any = None,
        *,
        step: str | None = None,
        event_id: str | None = None,
        by: str | None = None,
        dispatch: Dispatch | None = None,
    ) -> None:
        """Deliver an event to the step that waits for it, or keep it until that step does.

        Args:
            instance_id: the instance.
            event: the event's name.
            payload: JSON-safe data; it becomes the waiting step's results.
            step: the step that is meant, where several could take the event.
            event_id: the same id twice is one event; the second call answers as the first did.
            by: who sends it, up to 256 characters; kept in history.
            dispatch: run in place or leave it to the queue.

        Raises:
            InstanceNotFound: there is no such instance.
            InstanceClosed: it has ended, or is being cancelled.
            UnexpectedEvent: no step that waits or can still be reached declares the event.
            AmbiguousEvent: several could take it, and ``step`` does not say which.
            UnknownStep: the workflow has no step of that name.
            UnknownVersion: the instance's version is not deployed; nothing is lost, deploy it again.
            InvalidInput: the payload cannot be stored.
            PayloadTooLarge: the payload is larger than the store takes.
        """
        check_text("event", event)
        if event_id is not None:
            check_text("event_id", event_id)
        check_by(by)
        kept = read_value(payload, "payload")
        check_size(kept, self.store.max_value_bytes, f"instance {instance_id}: the payload")
        going = dispatch or self.dispatch
        name = event_id or self.clock.unique()

        def deliver(state: State, now: int) -> State | None:
            if name in state.event_ids:
                return state
            target = accept(self.registry.definition(state).graph, state, event, step)
            received = EventReceived(target, event, name, kept, by or "")
            if state.step_status(target) == "waiting" and state.paused is None:
                return self._go_on(state, going, now, received)
            return self._append(state, now, received)

        self._change(instance_id, deliver)

    def heartbeat(self, instance_id: str, step_ref: StepLike | str | None = None) -> None:
        """Say that whoever works for a waiting step is alive: its heartbeat is missed that much later.

        Args:
            instance_id: the instance.
            step_ref: the step, or its key; not needed where one step alone waits for a heartbeat.

        Raises:
            InstanceNotFound: there is no such instance.
            InstanceClosed: it has ended.
            UnknownStep: the workflow has no such step.
            UnexpectedEvent: no step, or not this one, waits for a heartbeat now.
            AmbiguousEvent: several do, and ``step_ref`` does not say which.
        """
        wanted = _step_key(step_ref) if step_ref is not None else None

        def beat(state: State, now: int) -> State | None:
            graph = self.registry.definition(state).graph
            _check_open(state, graph, wanted, "takes no heartbeat")
            found = [timer for timer in state.timers if timer.heartbeat_ms and wanted in {None, timer.step}]
            if not found:
                which = f"no step {wanted}" if wanted else "no step"
                message = f"instance {instance_id}: {which} waits for a heartbeat now"
                raise UnexpectedEvent(message, accepted_events(graph, state))
            if len(found) > 1:
                steps = [timer.step for timer in found]
                message = f"instance {instance_id}: {', '.join(steps)} wait for heartbeats; name the step that is meant"
                raise AmbiguousEvent(message, steps)
            due_at = now + found[0].heartbeat_ms
            token = heartbeat_token(found[0].step, state.attempt(found[0].step), due_at)
            if token == found[0].token:
                return state
            return self._append(state, now, HeartbeatReceived(found[0].step, token, due_at))

        self._change(instance_id, beat)

    def schedule_resume(self, instance_id: str, step_ref: StepLike | str, delay_ms: int) -> str:
        """Give a step the event ``"timeout"`` after a delay, if it waits then; a one-shot schedule does it.

        Args:
            instance_id: the instance.
            step_ref: the step, or its key.
            delay_ms: the delay in milliseconds, 1 or more, at most 366 days.

        Returns:
            The schedule's name.

        Raises:
            InstanceNotFound: there is no such instance.
            UnknownStep: the workflow has no such step.
            ValueError: the delay is not a whole number in its bounds.
            BadRequest: the instance has 100 deadlines already.
            InstanceClosed: the instance has ended.
            UnexpectedEvent: the step has ended already.
        """
        if isinstance(delay_ms, bool) or not isinstance(delay_ms, int) or not 0 < delay_ms <= LONGEST_SCHEDULE_MS:
            bounds = f"a whole number of milliseconds from 1 to {LONGEST_SCHEDULE_MS}"
            message = f"delay_ms is {repr(delay_ms)[:80]}: it must be {bounds}"
            raise ValueError(message)
        step = _step_key(step_ref)

        def set_timer(state: State, now: int) -> State | None:
            graph = self.registry.definition(state).graph
            _check_open(state, graph, step, "nothing can be scheduled for it")
            if not is_reachable(graph, state, step):
                message = f"instance {instance_id}: step {step} is {state.step_status(step)}, it will not wait any more"
                raise UnexpectedEvent(message, accepted_events(graph, state))
            if len(state.timers) >= MAX_TIMERS:
                has = f"instance {instance_id} has {len(state.timers)} deadlines"
                message = f"{has}, the most there are: wait until some have passed"
                raise BadRequest(message)
            return self._append(state, now, TimerSet(f"{step}.s{state.timers_set + 1}", step, now + delay_ms))

        after = self._change(instance_id, set_timer)
        timer = after.timers[-1]
        return self.timers.schedule(Timeout(instance_id, after.generation, step, timer.token, timer.due_at))

    def wake(self, instance_id: str, *, budget: Budget) -> None:
        """Go on with an instance if there is something to do and nobody does it; a message or the sweep says so.

        One that cannot be read is left as it is and looked at again in about an hour.

        Raises:
            StoreUnavailable: the store did not answer; send the message again.
        """
        try:
            self._wake(instance_id, budget)
        except CorruptLog as error:
            quarantine(self.store, self.clock, instance_id, error)

    def _wake(self, instance_id: str, budget: Budget) -> None:
        def go_on(state: State, now: int) -> State | None:
            if state.closed or state.owned(now):
                return state
            try:
                definition = self.registry.definition(state)
                if not _has_work(definition, state, now):
                    return state
                return self.executor.run(state, (self._claim(budget),), definition, budget)
            except (UnknownWorkflow, UnknownVersion) as error:
                return self._park(state, now, f"{error}; deploy that version again")

        try:
            self._change(instance_id, go_on)
        except InstanceNotFound:
            _logger.warning("instance %s: woken, but there is no such instance", instance_id)
        except InvariantBroken as error:
            _logger.exception("instance %s: the engine met a state that its rules exclude", instance_id)
            reason = f"a defect of the engine ({error}); report it, then redrive the instance"
            self._change(instance_id, lambda state, now: self._park(state, now, reason))

    def timeout(self, timeout: Timeout, *, budget: Budget) -> None:
        """A one-shot schedule fired: give its step the timeout, unless it has moved on."""
        early = timeout.due_at - self.clock.now()
        if 0 < early <= EARLY_MS:
            self.clock.sleep(early)
        self.wake(timeout.instance_id, budget=budget)

    def _park(self, state: State, now: int, reason: str) -> State | None:
        """Leave an instance that cannot go on for now; it is looked at again later and later, and nothing is lost."""
        if state.closed or (state.parked == reason and (state.wake_at or 0) > now):
            return state
        pause = min(PARK_MS * 2 ** min(state.parks, 10), LONGEST_PARK_MS)
        after = self._append(state, now, Parked(reason, now + pause))
        if after is not None:
            tell_parked(state.instance_id, reason, after)
        return after


def _step_key(step: StepLike | str) -> str:
    if isinstance(step, str):
        return step
    return step().key if isinstance(step, type) else step.key


def _check_open(state: State, graph: Graph, step: str | None, what: str) -> None:
    """Refuse a step that is not there, and an instance that has ended."""
    if step is not None and step not in graph.predecessors:
        steps = ", ".join(graph.order)
        message = f"instance {state.instance_id}: workflow {state.workflow} has no step {step!r}; it has {steps}"
        raise UnknownStep(message)
    if state.closed or state.compensation is not None:
        message = f"instance {state.instance_id} is {state.status}: {what}"
        raise InstanceClosed(message)


def _has_work(definition: Definition, state: State, now: int) -> bool:
    """Whether an execution would find anything to do at ``now`` (ms): a dead owner, a passed alarm, a decision."""
    if state.owner is not None or (state.wake_at is not None and state.wake_at <= now):
        return True
    commands = advance(definition.graph, state, now)
    return not (len(commands) == 1 and isinstance(commands[0], Sleep))
