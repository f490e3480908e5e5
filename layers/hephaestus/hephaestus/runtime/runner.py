"""The contract of the Hephaestus family: ``start_instance``, ``resume``, ``schedule_resume``, and what goes with them.

Every call commits first. What follows from the commit runs in this invocation or is left to the queue, as the call's
dispatch says; if neither happens because the process dies, the alarm in the head has the sweeper do it.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final

from hephaestus.caller import read_caller
from hephaestus.definition.business_key import check_id
from hephaestus.definition.durations import shown
from hephaestus.definition.references import step_key
from hephaestus.engine.advance import Sleep, advance, is_reachable
from hephaestus.engine.events import (
    EventReceived,
    HeartbeatReceived,
    InstanceStarted,
    Parked,
    TimerSet,
    heartbeat_grain,
)
from hephaestus.engine.inbox import accept, accepted_events, as_results
from hephaestus.engine.requests import named, repeats
from hephaestus.engine.state import heartbeat_token
from hephaestus.errors import (
    AmbiguousEvent,
    BadRequest,
    CallerError,
    CorruptLog,
    InstanceClosed,
    InstanceNotFound,
    InvalidDelay,
    InvariantBroken,
    UnexpectedEvent,
    UnknownStep,
    UnknownVersion,
    UnknownWorkflow,
)
from hephaestus.given import own
from hephaestus.raised import called_for_a_start
from hephaestus.runtime.answers import Answers
from hephaestus.runtime.control import Control
from hephaestus.runtime.intake import (
    check_input,
    check_text,
    digest,
    read_context,
    read_metadata,
    read_payload,
    read_tags,
    read_value,
    request_digest,
)
from hephaestus.runtime.ports import Timeout
from hephaestus.runtime.quarantine import quarantine, tell_parked
from hephaestus.runtime.queries import Queries
from hephaestus.runtime.sizes import check_room, check_size
from hephaestus.runtime.telemetry import emit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.caller import Caller
    from hephaestus.definition.definition import Definition
    from hephaestus.definition.references import StepRef
    from hephaestus.definition.workflow import Workflow
    from hephaestus.engine.graph import Graph
    from hephaestus.engine.state import State
    from hephaestus.foreign import Model
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
        context: Mapping[str, Any] | Model,
        *,
        id: str,  # noqa: A002 - the family's contract
        version: int | None = None,
        tags: Sequence[str] = (),
        telemetry_metadata: Mapping[str, Any] | Model | None = None,
        start_id: str | None = None,
        by: Caller | str | None = None,
        dispatch: Dispatch | None = None,
    ) -> str:
        """Persist a new instance and begin its execution.

        Args:
            workflow: the deployed class, or its name.
            context: the start data, which must fit the workflow's ``Input`` if it has one: a mapping, or a model, which
                is stored as its JSON by the aliases that it takes; rejected where its class reads another one.
            id: the business key's value (or the whole id).
            version: which version to start; by default as the workflow says.
            tags: added to the workflow's own.
            telemetry_metadata: added to the workflow's own metadata.
            start_id: a name for this very start; the same start made twice is one, and both calls answer alike, also
                where another version was deployed in between. With ``scope="version"`` the version is a part of the id,
                so give it, too.
            by: who starts it; a text of up to 256 characters is a claim. Kept in its history.
            dispatch: run in place or leave it to the queue.

        Returns:
            The instance's id.

        Raises:
            AlreadyRunning: an instance with this business key is active.
            RequestIdReused: another start of this instance had the same ``start_id``.
            InvalidInput: the context does not fit ``Input`` or cannot be stored.
            UnknownWorkflow, UnknownVersion: it is not deployed.
            BadRequest: the id, a tag, the metadata or the start's name is malformed.
            PayloadTooLarge: the context or the metadata is larger than the store takes.
        """
        flow = self.registry.deployed(workflow)
        who = read_caller(by)
        initial, own_tags, own_metadata = read_context(context), read_tags(tags), read_metadata(telemetry_metadata)
        if version is not None and type(version) is not int:
            version = flow.definition(version).version
        # What the caller gave, and nothing of what follows from what is deployed: that may change before a repeat.
        asked = ""
        if start_id is not None:
            start_id = check_text("start_id", start_id)
            asked = request_digest(flow.name, initial, version, own_tags, own_metadata)
        suffix = digest(start_id)[:20] if start_id else self.clock.unique()
        opts = {"context": own(initial), "id": id, "tags": read_tags(flow.tags, own_tags)}
        chosen = version if version is not None else _version_for(flow, opts)
        instance_id = flow.business_key.instance_id(id, chosen, suffix)
        try:
            definition = flow.definition(chosen)
            all_tags = read_tags(flow.versions[chosen].tags, flow.tags, own_tags)
            metadata = read_value({**flow.versions[chosen].metadata, **flow.metadata, **own_metadata}, "metadata")
            check_input(context, definition, initial)
            check_size(initial, self.store.max_value_bytes, "the context")
            check_size(metadata, self.store.max_value_bytes, "the metadata")
        except CallerError:
            if self._is_repeat(instance_id, InstanceStarted, start_id, asked):
                return instance_id
            raise
        name = start_id or self.clock.unique()
        started = InstanceStarted(
            flow.name, definition.version, initial, all_tags, metadata, name, who.name, who.source
        )
        self._create(instance_id, definition, (started,), asked, dispatch or self.dispatch)
        return instance_id

    def resume(  # noqa: PLR0913 - the family's contract
        self,
        instance_id: str,
        event: str,
        payload: Any = None,
        *,
        step: StepRef | None = None,
        event_id: str | None = None,
        by: Caller | str | None = None,
        dispatch: Dispatch | None = None,
    ) -> None:
        """Deliver an event to the step that waits for it, or keep it until that step does.

        Args:
            instance_id: the instance.
            event: the event's name.
            payload: JSON-safe data; it becomes the waiting step's results.
            step: the step that is meant, where several could take the event: its key, the step or its class.
            event_id: the same id twice is one event; the second call answers as the first did. The newest 256 ids of
                requests to an instance are remembered.
            by: who sends it; a text of up to 256 characters is a claim. Kept in its history.
            dispatch: run in place or leave it to the queue.

        Raises:
            InstanceNotFound: there is no such instance.
            InstanceClosed: it has ended, or is being cancelled.
            UnexpectedEvent: no step that waits or can still be reached declares the event.
            AmbiguousEvent: several could take it, and ``step`` does not say which.
            UnknownStep: the workflow has no step of that name.
            RequestIdReused: another event, or the same with another payload or step, had the ``event_id``.
            UnknownVersion: the instance's version is not deployed; nothing is lost, deploy it again.
            InvalidInput: the payload cannot be stored.
            PayloadTooLarge: the payload is larger than the store takes.
        """
        instance_id, event = check_id(instance_id), check_text("event", event)
        if event_id is not None:
            event_id = check_text("event_id", event_id)
        who = read_caller(by)
        kept = read_payload(payload, "payload")
        check_size(as_results(kept), self.store.max_value_bytes, f"instance {instance_id}: the payload")
        going = dispatch or self.dispatch
        wanted = None if step is None else step_key(step)
        asked = request_digest(event, kept, wanted) if event_id is not None else ""

        def deliver(state: State, now: int) -> State | None:
            if repeats(state, "event", event_id, asked):
                return state
            target = accept(self.registry.definition(state).graph, state, event, wanted)
            check_room(state, kept)
            received = EventReceived(target, event, event_id or "", kept, who.name, who.source, asked)
            if state.step_status(target) == "waiting" and state.paused is None:
                return self._go_on(state, going, now, received)
            return self._append(state, now, received)

        self._change(instance_id, deliver)

    def heartbeat(self, instance_id: str, step_ref: StepRef | None = None, *, by: Caller | str | None = None) -> None:
        """Say that whoever works for a waiting step is alive: its heartbeat is missed that much later.

        The first one of a wait is recorded. Another that comes within a tenth of the interval after the last recorded
        one (within a second, where that is longer) is acknowledged and not recorded: the deadline stays. So send one at
        least every nine tenths of the interval; a third of it is usual.

        Args:
            instance_id: the instance.
            step_ref: the step, its class or its key; not needed where one step alone waits for a heartbeat.
            by: who sends it; a text of up to 256 characters is a claim. Kept in its history.

        Raises:
            InstanceNotFound: there is no such instance.
            InstanceClosed: it has ended.
            UnknownStep: the workflow has no such step.
            UnexpectedEvent: no step, or not this one, waits for a heartbeat now.
            AmbiguousEvent: several do, and ``step_ref`` does not say which.
        """
        instance_id, who = check_id(instance_id), read_caller(by)
        wanted = step_key(step_ref) if step_ref is not None else None

        def beat(state: State, now: int) -> State | None:
            graph = self.registry.definition(state).graph
            _check_open(state, graph, wanted, "takes no heartbeat")
            found = [timer for timer in state.deadlines if timer.heartbeat_ms and wanted in {None, timer.step}]
            if not found:
                which = f"no step {wanted}" if wanted else "no step"
                message = f"instance {instance_id}: {which} waits for a heartbeat now"
                if wanted and state.step_status(wanted) == "waiting":
                    message = f"instance {instance_id}: step {wanted} waits, and its wait asks for no heartbeat"
                raise UnexpectedEvent(message, accepted_events(graph, state))
            if len(found) > 1:
                steps = [timer.step for timer in found]
                message = f"instance {instance_id}: {', '.join(steps)} wait for heartbeats; name the step that is meant"
                raise AmbiguousEvent(message, steps)
            beating, due_at = found[0], now + found[0].heartbeat_ms
            token = heartbeat_token(beating.step, state.attempt(beating.step), due_at)
            if token == beating.token or (
                beating.beaten and due_at - beating.due_at < heartbeat_grain(beating.heartbeat_ms)
            ):
                return state
            return self._append(state, now, HeartbeatReceived(beating.step, token, due_at, who.name, who.source))

        self._change(instance_id, beat)

    def schedule_resume(
        self,
        instance_id: str,
        step_ref: StepRef,
        delay_ms: int,
        *,
        request_id: str | None = None,
        by: Caller | str | None = None,
    ) -> str:
        """Give a step the event ``"timeout"`` after a delay; a one-shot schedule does it.

        A step that does not wait by then is given it as soon as it does. The deadline is over when the step has ended.

        Args:
            instance_id: the instance.
            step_ref: the step, its class or its key.
            delay_ms: the delay in milliseconds, 1 or more, at most 366 days.
            request_id: the same request twice sets one deadline, and both calls return the same name.
            by: who asks for it; a text of up to 256 characters is a claim. Kept in its history.

        Returns:
            The schedule's name.

        Raises:
            InstanceNotFound: there is no such instance.
            UnknownStep: the workflow has no such step.
            InvalidDelay: (a ``BadRequest`` and a ``ValueError``) the delay is not a whole number in its bounds.
            BadRequest: the instance has 100 deadlines already, or the request id is malformed.
            RequestIdReused: another request of this kind had the id.
            InstanceClosed: the instance has ended, or is being cancelled.
            UnexpectedEvent: the step routes no ``timeout``, or it has ended already.
        """
        if isinstance(delay_ms, bool) or not isinstance(delay_ms, int) or not 0 < delay_ms <= LONGEST_SCHEDULE_MS:
            bounds = f"a whole number of milliseconds from 1 to {LONGEST_SCHEDULE_MS}"
            message = f"delay_ms is {shown(delay_ms)}: it must be {bounds}"
            raise InvalidDelay(message)
        instance_id, delay_ms = check_id(instance_id), int.__int__(delay_ms)
        if request_id is not None:
            request_id = check_text("request_id", request_id)
        who, step = read_caller(by), step_key(step_ref)
        asked = request_digest(step, delay_ms) if request_id is not None else ""
        token = f"{step}.r{named('schedule_resume', request_id)}" if request_id is not None else ""

        def set_timer(state: State, now: int) -> State | None:
            if repeats(state, "schedule_resume", request_id, asked):
                return state
            graph = self.registry.definition(state).graph
            _check_open(state, graph, step, "nothing can be scheduled for it")
            _check_times_out(graph, state, step)
            if (already := sum(1 for _ in state.deadlines)) >= MAX_TIMERS:
                has = f"instance {instance_id} has {already} deadlines"
                message = f"{has}, the most there are: wait until some have passed"
                raise BadRequest(message)
            own = token or f"{step}.s{state.timers_set + 1}"
            asking = (request_id or "", who.name, who.source, asked)
            return self._append(state, now, TimerSet(own, step, now + delay_ms, "timeout", *asking))

        after = self._change(instance_id, set_timer)
        timer = next((one for one in reversed(after.timers.get(step, ())) if one.token == token or not token), None)
        if timer is None or after.closed:  # a repeat that comes when its deadline is over
            return self.timers.name(Timeout(instance_id, after.generation, step, token, 0))
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
                definition = self.registry.runnable(state)
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


def _version_for(flow: type[Workflow], opts: Mapping[str, Any]) -> int:
    """The version that a workflow starts with for ``opts``.

    Raises:
        UnknownVersion: what its ``version_for`` gave is no number.
    """
    versions = dict(flow.versions)  # its own: it could change them for all
    chosen = called_for_a_start(lambda: flow.version_for(versions, opts), f"workflow {flow.name}: its version_for")
    if chosen is None:
        return flow.current
    return chosen if type(chosen) is int else flow.definition(chosen).version


def _check_open(state: State, graph: Graph, step: str | None, what: str) -> None:
    """Refuse a step that is not there, and an instance that has ended."""
    if step is not None and step not in graph.predecessors:
        steps = ", ".join(graph.order)
        message = f"instance {state.instance_id}: workflow {state.workflow} has no step {step!r}; it has {steps}"
        raise UnknownStep(message)
    if state.closed or state.compensation is not None or state.cancel is not None:
        status = "being cancelled" if state.cancel and not state.closed else state.status
        message = f"instance {state.instance_id} is {status}: {what}"
        raise InstanceClosed(message)


def _check_times_out(graph: Graph, state: State, step: str) -> None:
    """Reject a deadline for a step that could do nothing with it.

    Raises:
        UnexpectedEvent: the step routes no ``timeout``, or will not wait any more.
    """
    where = f"instance {state.instance_id}: step {step}"
    if not is_reachable(graph, state, step):
        message = f"{where} is {state.step_status(step)}, it will not wait any more"
    elif "timeout" not in graph.events(step):
        message = f"{where} routes no 'timeout', which is what a deadline gives it; add it to the step's transitions"
    else:
        return
    raise UnexpectedEvent(message, accepted_events(graph, state))


def _has_work(definition: Definition, state: State, now: int) -> bool:
    """Whether an execution would find anything to do at ``now`` (ms): a dead owner, a passed alarm, a decision."""
    if state.owner is not None or (state.wake_at is not None and state.wake_at <= now):
        return True
    commands = advance(definition.graph, state, now)
    return not (len(commands) == 1 and isinstance(commands[0], Sleep))
