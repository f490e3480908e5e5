"""The contract of the Hephaestus family: ``start_instance``, ``resume``, ``schedule_resume``, and what goes with them.

Every call commits first. What follows from the commit runs in this invocation or is left to the queue, as the call's
dispatch says; if neither happens because the process dies, the alarm in the head has the sweeper do it.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.business_key import check_id
from hephaestus.definition.steps import Step
from hephaestus.engine.advance import Sleep, advance, is_reachable
from hephaestus.engine.events import (
    CancelRequested,
    Claimed,
    Entry,
    Event,
    EventReceived,
    InstanceFinished,
    InstanceStarted,
    Parked,
    TimerSet,
)
from hephaestus.engine.inbox import accept, accepted_events
from hephaestus.engine.state import STATUSES, apply, begin, evolve, fold
from hephaestus.errors import (
    AlreadyRunning,
    BadRequest,
    InstanceClosed,
    InstanceNotFound,
    TooBusy,
    UnexpectedEvent,
    UnknownStep,
    UnknownVersion,
    UnknownWorkflow,
)
from hephaestus.runtime.attempt import check_size
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.dispatch import Budget, Dispatch, Enqueue, InPlace
from hephaestus.runtime.effects import Effects
from hephaestus.runtime.executor import Executor, Limits
from hephaestus.runtime.intake import (
    check_limit,
    check_text,
    digest,
    read_context,
    read_metadata,
    read_sequence,
    read_tags,
    read_value,
)
from hephaestus.runtime.ports import Timeout
from hephaestus.runtime.telemetry import emit
from hephaestus.runtime.views import HistoryEntry, InstanceView, Page, view, view_entry, view_listed
from hephaestus.runtime.workers import ThreadWorkers
from hephaestus.values import freeze

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hephaestus.definition.definition import Definition
    from hephaestus.definition.workflow import Workflow
    from hephaestus.engine.state import State
    from hephaestus.runtime.ports import Clock, Store, Timers, WorkQueue
    from hephaestus.runtime.registry import Registry
    from hephaestus.runtime.workers import Workers

LONGEST_SCHEDULE_MS: Final = 366 * 24 * 3600 * 1000
PARK_MS: Final = 10 * 60 * 1000
EARLY_MS: Final = 5_000
TRIES: Final = 20
MAX_REASON: Final = 1_000

_logger = logging.getLogger("hephaestus.runner")


class Runner:
    """Starts, resumes, schedules, cancels and shows instances.

    Args:
        store, timers, queue: the adapters.
        registry: the deployed workflows.
        clock: time and randomness.
        dispatch: where work goes when a call does not say.
        limits: what executions keep to.
        workers: where steps run.
    """

    def __init__(  # noqa: PLR0913 - the place where everything is put together
        self,
        store: Store,
        timers: Timers,
        queue: WorkQueue,
        registry: Registry,
        *,
        clock: Clock | None = None,
        dispatch: Dispatch | None = None,
        limits: Limits | None = None,
        workers: Callable[[], Workers] = ThreadWorkers,
    ) -> None:
        self.store = store
        self.timers = timers
        self.queue = queue
        self.registry = registry
        self.clock: Clock = clock or SystemClock()
        self.dispatch: Dispatch = dispatch or Enqueue()
        self.limits = limits or Limits()
        self.effects = Effects(timers, queue)
        self.executor = Executor(store, self.effects, self.clock, self.limits, workers)
        emit("hephaestus.runner.init", {}, {"runner": type(self).__name__})

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
            BadRequest: the id, a tag or the metadata is malformed.
            PayloadTooLarge: the context is larger than the store takes.
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
        metadata = {**flow.versions[definition.version].metadata, **flow.metadata, **read_metadata(telemetry_metadata)}
        name = start_id or self.clock.unique()
        started = InstanceStarted(flow.name, definition.version, initial, all_tags, freeze(metadata), name)
        now = self.clock.now()
        going = dispatch or self.dispatch
        claim = self._claim(going.budget) if isinstance(going, InPlace) else None
        first = Entry(1, digest(f"{instance_id} {name}"), now, (started, claim) if claim else (started,))
        state = self.store.create(begin(instance_id, 1, first), first)
        if state is None:
            key = flow.business_key.name
            message = f"instance {instance_id} is active: wait for it to end, cancel it, or use another {key}"
            raise AlreadyRunning(message)
        if state.sequence != 1:
            return instance_id
        emit("hephaestus.workflow.start", {}, _about(state))
        if claim is None:
            self._enqueue(state)
        elif isinstance(going, InPlace) and state.owner == claim.owner:
            self.executor.run(state, definition, going.budget)
        return instance_id

    def resume(  # noqa: PLR0913 - the family's contract
        self,
        instance_id: str,
        event: str,
        payload: Any = None,
        *,
        step: str | None = None,
        event_id: str | None = None,
        dispatch: Dispatch | None = None,
    ) -> None:
        """Deliver an event to the step that waits for it, or keep it until that step does.

        Args:
            instance_id: the instance.
            event: the event's name.
            payload: JSON-safe data; it becomes the waiting step's results.
            step: the step that is meant, where several could take the event.
            event_id: the same id twice is one event; the second call answers as the first did.
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
        kept = read_value(payload, "payload")
        check_size(kept, self.store.max_value_bytes, f"instance {instance_id}: the payload")
        going = dispatch or self.dispatch
        name = event_id or self.clock.unique()
        state = self._load(instance_id)
        for _ in range(TRIES):
            if name in state.event_ids:
                return
            definition = self.registry.definition(state)
            target = accept(definition.graph, state, event, step)
            received = EventReceived(target, event, name, kept)
            now = self.clock.now()
            wakes = state.step_status(target) == "waiting" and not state.owned(now)
            claim = self._claim(going.budget) if wakes and isinstance(going, InPlace) else None
            after = self._append(state, now, received, *((claim,) if claim else ()))
            if after is None:
                state = self._reload(state)
                continue
            if claim and isinstance(going, InPlace):
                self.executor.run(after, definition, going.budget)
            elif wakes:
                self._enqueue(after)
            return
        raise TooBusy(_busy(instance_id))

    def schedule_resume(self, instance_id: str, step_ref: str | Step, delay_ms: int) -> str:
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
            InstanceClosed: the instance has ended.
            UnexpectedEvent: the step has ended already.
        """
        if isinstance(delay_ms, bool) or not isinstance(delay_ms, int) or not 0 < delay_ms <= LONGEST_SCHEDULE_MS:
            bounds = f"a whole number of milliseconds from 1 to {LONGEST_SCHEDULE_MS}"
            message = f"delay_ms is {delay_ms!r}: it must be {bounds}"
            raise ValueError(message)
        step = step_ref.key if isinstance(step_ref, Step) else step_ref
        state = self._load(instance_id)
        for _ in range(TRIES):
            graph = self.registry.definition(state).graph
            if step not in graph.predecessors:
                steps = ", ".join(graph.order)
                message = f"instance {instance_id}: workflow {state.workflow} has no step {step!r}; it has {steps}"
                raise UnknownStep(message)
            if state.closed:
                message = f"instance {instance_id} is {state.status}: nothing can be scheduled for it"
                raise InstanceClosed(message)
            if not is_reachable(graph, state, step):
                message = f"instance {instance_id}: step {step} is {state.step_status(step)}, it will not wait any more"
                raise UnexpectedEvent(message, accepted_events(graph, state))
            now = self.clock.now()
            token = f"{step}.s{state.timers_set + 1}"
            if self._append(state, now, TimerSet(token, step, now + delay_ms)) is not None:
                return self.timers.schedule(Timeout(instance_id, state.generation, step, token, now + delay_ms))
            state = self._reload(state)
        raise TooBusy(_busy(instance_id))

    def cancel(self, instance_id: str, reason: str = "", *, request_id: str | None = None) -> None:
        """Start nothing more; the instance ends as ``cancelled`` at once, or when the steps that run now have ended.

        Args:
            instance_id: the instance.
            reason: kept in its history, up to 1,000 characters.
            request_id: the same request twice is one; the second call answers as the first did.

        Raises:
            InstanceNotFound: there is no such instance.
            InstanceClosed: it has ended already.
            BadRequest: the reason or the request id is malformed.
        """
        if not isinstance(reason, str) or len(reason) > MAX_REASON:
            message = f"reason must be a string of at most {MAX_REASON} characters"
            raise BadRequest(message)
        if request_id is not None:
            check_text("request_id", request_id)
        state = self._load(instance_id)
        for _ in range(TRIES):
            if state.cancel and (not state.closed or (request_id and state.cancel.request_id == request_id)):
                return
            if state.closed:
                message = f"instance {instance_id} is {state.status}: there is nothing to cancel"
                raise InstanceClosed(message)
            now = self.clock.now()
            request = CancelRequested(reason, request_id or "")
            owned = state.owned(now)
            after = self._append(state, now, request, *(() if owned else (InstanceFinished("cancelled"),)))
            if after is not None:
                if after.closed:
                    emit("hephaestus.workflow.stop", {}, {**_about(after), "status": "cancelled"})
                return
            state = self._reload(state)
        raise TooBusy(_busy(instance_id))

    def get(self, instance_id: str) -> InstanceView:
        """Show an instance as it is now.

        Raises:
            InstanceNotFound: there is no such instance.
        """
        state = self._load(instance_id)
        try:
            return view(state, self.registry.definition(state).graph)
        except (UnknownWorkflow, UnknownVersion):
            return view(state, None)

    def history(
        self, instance_id: str, *, generation: int | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page[HistoryEntry]:
        """Show a page of an instance's log, oldest first.

        Args:
            instance_id: the instance.
            generation: which of its runs; by default the newest.
            limit: at most this many entries, 1 to 200.
            cursor: where the page before ended.

        Raises:
            InstanceNotFound: there is no such instance or generation.
            BadRequest: the limit or the cursor is malformed.
        """
        check_id(instance_id)
        check_limit(limit)
        after = read_sequence(cursor)
        found = self.store.history(instance_id, generation, after, limit + 1)
        if found is None:
            which = "" if generation is None else f" with a generation {generation}"
            message = f"there is no instance {instance_id}{which}"
            raise InstanceNotFound(message)
        _, entries = found
        page = entries[:limit]
        return Page([view_entry(entry) for entry in page], str(page[-1].sequence) if len(entries) > limit else None)

    def list(  # noqa: PLR0913 - a listing's filters
        self,
        *,
        workflow: str | None = None,
        status: str | None = None,
        tag: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[InstanceView]:
        """List instances, newest start first; what was just changed may show a moment later.

        Args:
            workflow: of this workflow only.
            status: in this status only.
            tag: with this tag only.
            since: started at or after this time only (an aware ``datetime``).
            limit: at most this many, 1 to 200.
            cursor: where the page before ended.

        Raises:
            UnknownWorkflow: no such workflow is deployed.
            BadRequest: a filter is malformed.
        """
        check_limit(limit)
        if status is not None and status not in STATUSES:
            message = f"there is no status {status!r}: there are {', '.join(STATUSES)}"
            raise BadRequest(message)
        if since is not None and (not isinstance(since, datetime) or since.tzinfo is None):
            message = "since must be a time with a time zone, as in 2026-01-31T12:00:00Z"
            raise BadRequest(message)
        names = [self.registry.get(workflow).name] if workflow is not None else self.registry.names()
        listing = self.store.list(
            names,
            [status] if status else STATUSES,
            tag=tag,
            since=int(since.timestamp() * 1000) if since else None,
            limit=limit,
            cursor=cursor,
        )
        return Page([view_listed(item) for item in listing.items], listing.cursor)

    def wake(self, instance_id: str, *, budget: Budget) -> None:
        """Go on with an instance if there is something to do and nobody does it; a message or the sweep says so.

        Raises:
            StoreUnavailable: the store did not answer; send the message again.
        """
        state = self.store.load(instance_id)
        if state is None:
            _logger.warning("instance %s: woken, but there is no such instance", instance_id)
            return
        for _ in range(TRIES):
            now = self.clock.now()
            if state.closed or state.owned(now):
                return
            try:
                definition = self.registry.definition(state)
            except (UnknownWorkflow, UnknownVersion) as error:
                self._park(state, now, str(error))
                return
            if not _has_work(definition, state, now):
                return
            after = self._append(state, now, self._claim(budget))
            if after is not None:
                self.executor.run(after, definition, budget)
                return
            state = self._reload(state)
        raise TooBusy(_busy(instance_id))

    def timeout(self, timeout: Timeout, *, budget: Budget) -> None:
        """A one-shot schedule fired: give its step the timeout, unless it has moved on."""
        early = timeout.due_at - self.clock.now()
        if 0 < early <= EARLY_MS:
            self.clock.sleep(early)
        self.wake(timeout.instance_id, budget=budget)

    def _load(self, instance_id: str) -> State:
        state = self.store.load(check_id(instance_id))
        if state is None:
            message = f"there is no instance {instance_id}"
            raise InstanceNotFound(message)
        return state

    def _reload(self, state: State) -> State:
        """The state after what others wrote meanwhile."""
        tail = self.store.tail(state)
        return fold(state, tail) if tail else self._load(state.instance_id)

    def _append(self, state: State, now: int, *events: Event) -> State | None:
        """The state after one more commit, its effects done; ``None`` if another writer was faster.

        While somebody owns the instance, only the log grows; otherwise the head follows in the same transaction.
        """
        after = evolve(apply(state, events, now), sequence=state.sequence + 1)
        entry = Entry(after.sequence, self.clock.unique(), now, events)
        boundary = state.owner is None or after.owner != state.owner or after.closed
        if not self.store.append(after, entry, boundary=boundary):
            return None
        self.effects.perform(state, entry, after)
        return after

    def _claim(self, budget: Budget) -> Claimed:
        return Claimed(self.clock.unique(), budget.deadline + self.limits.lease_margin_ms)

    def _enqueue(self, state: State) -> None:
        """Ask for an execution; if that fails, the alarm set by the commit has the sweeper ask again."""
        try:
            self.queue.wake(state.instance_id)
        except Exception:
            _logger.exception("instance %s: could not be queued; the sweeper will", state.instance_id)

    def _park(self, state: State, now: int, reason: str) -> None:
        """Leave an instance whose version is not deployed; it is looked at again later, and nothing is lost."""
        _logger.error("instance %s is parked: %s", state.instance_id, reason)
        self._append(state, now, Parked(f"{reason}; deploy that version again", now + PARK_MS))


def _has_work(definition: Definition, state: State, now: int) -> bool:
    """Whether an execution would find anything to do at ``now`` (ms)."""
    if state.status != "waiting" or (state.wake_at is not None and state.wake_at <= now):
        return True
    commands = advance(definition.graph, state, now)
    return not (len(commands) == 1 and isinstance(commands[0], Sleep))


def _busy(instance_id: str) -> str:
    return f"instance {instance_id} is being changed by many callers at once; this call changed nothing, try again"


def _about(state: State) -> dict[str, object]:
    return {
        "instance_id": state.instance_id,
        "workflow": state.workflow,
        "version": state.version,
        "generation": state.generation,
    }
