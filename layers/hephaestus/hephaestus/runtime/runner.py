"""The contract of the Hephaestus family: ``start_instance``, ``resume``, ``schedule_resume``, and what goes with them.

Every call commits first. What follows from the commit runs in this invocation or is left to the queue, as the call's
dispatch says; if neither happens because the process dies, the alarm in the head has the sweeper do it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from hephaestus.errors import no_signer
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.commands import (
    Answer,
    Cancel,
    Delete,
    Deliver,
    Fork,
    Heartbeat,
    Pause,
    PauseWorkflow,
    Redrive,
    ScheduleResume,
    Start,
    Unpause,
    UnpauseWorkflow,
)
from hephaestus.runtime.commands.answer import check_link
from hephaestus.runtime.commands.command import check_addressed
from hephaestus.runtime.commits import Commits
from hephaestus.runtime.dispatch import Enqueue
from hephaestus.runtime.executor import Executor
from hephaestus.runtime.family import Family
from hephaestus.runtime.instances import Instances
from hephaestus.runtime.limits import Limits
from hephaestus.runtime.objects import no_sources
from hephaestus.runtime.perform import Performer
from hephaestus.runtime.queries import Queries, read_filter
from hephaestus.runtime.telemetry import emit
from hephaestus.runtime.waking import Waker
from hephaestus.runtime.workers import ThreadWorkers
from hephaestus.runtime.workflow_pauses import KnownPauses, NoPauses

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from hephaestus.callbacks.link import Link
    from hephaestus.callbacks.signer import Signer
    from hephaestus.definition.item_views import ItemView
    from hephaestus.definition.limit_views import LimitView
    from hephaestus.definition.reasons import Reasons
    from hephaestus.definition.references import StepRef, WorkflowRef
    from hephaestus.definition.schedule_views import ScheduleView
    from hephaestus.definition.views import HistoryEntry, InstanceView, Page
    from hephaestus.definition.workflow import Workflow
    from hephaestus.runtime.caller import Caller
    from hephaestus.runtime.commands import Command
    from hephaestus.runtime.dispatch import Budget, Dispatch
    from hephaestus.runtime.ports import Clock, EventBus, Timeout, Timers, WorkQueue
    from hephaestus.runtime.registry import Registry
    from hephaestus.runtime.sources import Sources
    from hephaestus.runtime.workers import Workers
    from hephaestus.runtime.workflow_pauses import Pauses
    from hephaestus.store.filters import ListFilter
    from hephaestus.store.store import Store
    from hephaestus.values.foreign import Model


class Runner:
    """Starts, resumes, schedules, steers and shows instances.

    Every change is a command (see ``hephaestus.runtime.commands``); the methods named after them make it and do it.

    Args:
        store, timers, queue: the adapters.
        registry: the deployed workflows.
        clock: time and randomness.
        dispatch: where work goes when a call does not say.
        limits: what executions keep to.
        workers: where steps run.
        signer: gives what signs and reads links; asked when a step or a caller needs it.

    Attributes:
        sources: gives what reads the items of maps from users' objects; asked when a map needs it.
        pauses: says which workflows are paused; by default none is. See ``heed_pauses``.
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
        signer: Callable[[], Signer] = no_signer,
    ) -> None:
        self.store = store
        store.permits.deployment = registry.deployment
        self.timers = timers
        self.queue = queue
        self.clock: Clock = clock or SystemClock()
        self.dispatch: Dispatch = dispatch or Enqueue()
        bounds = limits or Limits()
        self.signer = signer
        self.sources: Callable[[], Sources] = no_sources
        self._performer = Performer(store, timers, queue)
        commits = Commits(store, self._performer)
        self.pauses: Pauses = NoPauses()
        own = (self._deployed, self._sources, lambda: self.pauses)
        self.executor = Executor(commits, self.clock, bounds, workers, signer, *own)
        self.instances = Instances(commits, timers, queue, registry, self.clock, bounds, self.executor)
        self._performer.family = Family(self.instances)
        self._queries = Queries(self.instances)
        self._waker = Waker(self.instances)
        name, storage = type(self).__name__, type(store).__name__
        known = {"name": name, "runner": name, "storage": storage, "pid": os.getpid()}
        emit("hephaestus.runner.init", {"system_time": self.clock.now()}, known)

    def heed_pauses(self) -> None:
        """Have instances of paused workflows wait: a read of the table in ten seconds, of a process that is at work."""
        self.pauses = KnownPauses(self.store.paused, self.clock.now)

    def _sources(self) -> Sources:
        """What reads users' objects, as it was set last."""
        return self.sources()

    def _deployed(self, workflow: str | type[Workflow]) -> type[Workflow]:
        return self.registry.deployed(workflow)

    @property
    def bus(self) -> EventBus | None:
        """What takes status events; without one there are none."""
        return self._performer.bus

    @bus.setter
    def bus(self, bus: EventBus | None) -> None:
        self._performer.bus = bus

    @property
    def registry(self) -> Registry:
        """The deployed workflows; others may take their place."""
        return self.instances.registry

    @registry.setter
    def registry(self, registry: Registry) -> None:
        self.instances.registry = registry
        self.store.permits.deployment = registry.deployment

    def schedules(self) -> Sequence[ScheduleView]:
        """All schedules, by workflow and name, with their next times; ``do`` takes what changes them."""
        return self._queries.schedules()

    def limits(self, name: str | None = None, *, limit: int = 50, cursor: str | None = None) -> Page[LimitView]:
        """Show a page of limits, by name: usage, holders and lines; ``do`` takes what sets and unsets their number.

        Args:
            name: this one and, where it has a ``per``, each value's; by default all that were used or set.
            limit: at most this many, 1 to 200.
            cursor: where the page before ended.

        Raises:
            BadRequest: an argument is malformed.
        """
        return self._queries.limits(name, limit=limit, cursor=cursor)

    def declare_schedules(self) -> None:
        """Have the schedules that the deployed workflows declare come true; see ``hephaestus.runtime.declarations``.

        Raises:
            StoreUnavailable: the store did not answer; do it again.
        """
        from hephaestus.runtime.declarations import declare  # noqa: PLC0415 - few processes do it

        declare(self.instances, self.dispatch)

    def do(self, command: Command, *, dispatch: Dispatch | None = None) -> str:
        """Do what a caller asks for.

        Args:
            command: what, with members that were checked when it was made.
            dispatch: run in place what follows, or leave it to the queue; by default as the runner was made.

        Returns:
            The id of the instance that it is about, or that was made; of ``ScheduleResume`` the schedule's name.

        Raises:
            CallerError: as the runner's method of the same name.
        """
        check_addressed(command, self.store)
        return command.perform(self.instances, dispatch or self.dispatch)

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
        command = Start(
            workflow=workflow,
            id=id,
            context=context,
            version=version,
            tags=tags,
            metadata=telemetry_metadata,
            start_id=start_id,
            by=by,
        )
        return self.do(command, dispatch=dispatch)

    def resume(  # noqa: PLR0913 - the family's contract
        self,
        instance_id: str,
        event: str,
        payload: Any = None,
        *,
        step: StepRef | None = None,
        item: str | None = None,
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
            item: the key of the item that is meant, where the step is a map.
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
        self.do(
            Deliver(
                instance_id=instance_id, event=event, payload=payload, step=step, item=item, event_id=event_id, by=by
            ),
            dispatch=dispatch,
        )

    def heartbeat(
        self,
        instance_id: str,
        step_ref: StepRef | None = None,
        *,
        item: str | None = None,
        by: Caller | str | None = None,
    ) -> None:
        """Say that whoever works for a waiting step is alive: its heartbeat is missed that much later.

        The first one of a wait is recorded. Another that comes within a tenth of the interval after the last recorded
        one (within a second, where that is longer) is acknowledged and not recorded: the deadline stays. So send one at
        least every nine tenths of the interval; a third of it is usual.

        Args:
            instance_id: the instance.
            step_ref: the step, its class or its key; not needed where one step alone waits for a heartbeat.
            item: the key of the item that is meant, where the step is a map.
            by: who sends it; a text of up to 256 characters is a claim. Kept in its history.

        Raises:
            InstanceNotFound: there is no such instance.
            InstanceClosed: it has ended.
            UnknownStep: the workflow has no such step.
            UnexpectedEvent: no step, or not this one, waits for a heartbeat now.
            AmbiguousEvent: several do, and ``step_ref`` does not say which.
        """
        self.do(Heartbeat(instance_id=instance_id, step=step_ref, item=item, by=by))

    def schedule_resume(  # noqa: PLR0913 - a request, and who makes it
        self,
        instance_id: str,
        step_ref: StepRef,
        delay_ms: int,
        *,
        item: str | None = None,
        request_id: str | None = None,
        by: Caller | str | None = None,
    ) -> str:
        """Give a step the event ``"timeout"`` after a delay; a one-shot schedule does it.

        A step that does not wait by then is given it as soon as it does. The deadline is over when the step has ended.

        Args:
            instance_id: the instance.
            step_ref: the step, its class or its key.
            delay_ms: the delay in milliseconds, 1 or more, at most 366 days.
            item: the key of the item that is meant, where the step is a map.
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
        return self.do(
            ScheduleResume(
                instance_id=instance_id, step=step_ref, item=item, delay_ms=delay_ms, request_id=request_id, by=by
            )
        )

    def cancel(  # noqa: PLR0913 - a request, and who makes it
        self,
        instance_id: str,
        reason: str = "",
        *,
        compensate: bool = False,
        request_id: str | None = None,
        by: Caller | str | None = None,
        dispatch: Dispatch | None = None,
    ) -> None:
        """Start nothing more; the instance ends as ``cancelled`` at once, or when the steps that run now have ended.

        Args:
            instance_id: the instance.
            reason: kept in its history, up to 1,000 characters.
            compensate: undo what its completed steps did before it ends.
            request_id: the same request twice is one; the second call answers as the first did.
            by: who asks for it; a text of up to 256 characters is a claim. Kept in its history.
            dispatch: where compensations run: in place or by the queue.

        Raises:
            InstanceNotFound: there is no such instance.
            InstanceClosed: it has ended already, or is compensating.
            UnknownVersion: its version is not deployed, so nothing of it can be undone.
            BadRequest: the reason or the request id is malformed, or ``compensate`` is no ``bool``.
            RequestIdReused: another request of this kind had the id.
        """
        self.do(
            Cancel(instance_id=instance_id, reason=reason, compensate=compensate, request_id=request_id, by=by),
            dispatch=dispatch,
        )

    def pause(
        self, instance_id: str, reason: str = "", *, request_id: str | None = None, by: Caller | str | None = None
    ) -> None:
        """Start nothing more for now. Running steps end, events are kept, deadlines that pass wait for its continuing.

        Args:
            instance_id: the instance.
            reason: kept in its history, up to 1,000 characters.
            request_id: the same request twice is one.
            by: who asks for it; a text of up to 256 characters is a claim. Kept in its history.

        Raises:
            InstanceNotFound: there is no such instance.
            InstanceClosed: it has ended, or is being cancelled without compensation.
            BadRequest: the reason or the request id is malformed.
            RequestIdReused: another request of this kind had the id.
        """
        self.do(Pause(instance_id=instance_id, reason=reason, request_id=request_id, by=by))

    def unpause(
        self,
        instance_id: str,
        *,
        request_id: str | None = None,
        by: Caller | str | None = None,
        dispatch: Dispatch | None = None,
    ) -> None:
        """Unpause an instance; one that is not paused is left as it is.

        Args:
            instance_id: the instance.
            request_id: the same request twice is one.
            by: who asks for it; a text of up to 256 characters is a claim. Kept in its history.
            dispatch: run in place or leave it to the queue.

        Raises:
            InstanceNotFound: there is no such instance.
            InstanceClosed: it has ended.
            BadRequest: the request id is malformed.
        """
        self.do(Unpause(instance_id=instance_id, request_id=request_id, by=by), dispatch=dispatch)

    def pause_workflow(self, workflow: WorkflowRef, reason: str = "", *, by: Caller | str | None = None) -> None:
        """Start nothing more of a workflow: within ten seconds, what runs stops at its next commit.

        Starts and events are accepted and wait, deadlines that pass are met when it goes on.

        Args:
            workflow: its name or its class.
            reason: shown with all that waits, up to 1,000 characters.
            by: who asks for it; a text of up to 256 characters is a claim. Shown, too.

        Raises:
            UnknownWorkflow: it is not deployed.
            BadRequest: the reason is malformed.
        """
        self.do(PauseWorkflow(workflow=workflow, reason=reason, by=by))

    def unpause_workflow(self, workflow: WorkflowRef, *, by: Caller | str | None = None) -> None:
        """Have a paused workflow go on: what waited is woken, some twenty instances a second.

        Args:
            workflow: its name or its class.
            by: who asks for it.

        Raises:
            UnknownWorkflow: it is neither deployed nor paused.
        """
        self.do(UnpauseWorkflow(workflow=workflow, by=by))

    def redrive(
        self,
        instance_id: str,
        *,
        request_id: str | None = None,
        by: Caller | str | None = None,
        dispatch: Dispatch | None = None,
    ) -> None:
        """Have a failed, cancelled or parked instance go on from where it stopped.

        A step that failed starts again with its first attempt; a step that waited goes on waiting for as long as it had
        left. What was compensated runs again, and what followed from it, as new activations with idempotency keys of
        their own. Where a compensation failed, it is the compensation that goes on.

        Args:
            instance_id: the instance.
            request_id: the same request twice is one.
            by: who asks for it; a text of up to 256 characters is a claim. Kept in its history.
            dispatch: run in place or leave it to the queue.

        Raises:
            InstanceNotFound: there is no such instance.
            NotRedrivable: it is neither failed nor cancelled nor parked.
            UnknownWorkflow, UnknownVersion: its version is not deployed.
            BadRequest: the request id is malformed.
        """
        self.do(Redrive(instance_id=instance_id, request_id=request_id, by=by), dispatch=dispatch)

    def fork(  # noqa: PLR0913 - a start, and where it begins
        self,
        instance_id: str,
        at: int | None = None,
        *,
        new_id: str,
        generation: int | None = None,
        context: Mapping[str, Any] | Model | None = None,
        results: Mapping[Any, Mapping[str, Any] | Model] | None = None,
        version: int | None = None,
        start_id: str | None = None,
        by: Caller | str | None = None,
        dispatch: Dispatch | None = None,
    ) -> str:
        """Start a new instance from a point in another one's history.

        It takes over every step that had completed or was skipped by then. What waited, ran, failed or was compensated
        runs anew, and events that were kept for later steps are not taken over: send them again.

        Args:
            instance_id: the instance to fork; it is left as it is.
            at: the number of the log entry after which the fork begins; by default the newest.
            new_id: the business key's value of the new instance.
            generation: which of the old instance's generations; by default the newest.
            context: other start data than the old instance's.
            results: other results of steps that had completed by then, by step: its key, the step or its class.
            version: another version than the old instance's.
            start_id: a name for this very fork; made twice, it is one.
            by: who asks for it; a text of up to 256 characters is a claim. Kept in the new instance's history.
            dispatch: run in place or leave it to the queue.

        Returns:
            The new instance's id.

        Raises:
            InstanceNotFound: there is no such instance or generation.
            BadRequest: its history has no such entry, a step in ``results`` had not completed, or the other version
                lacks a step that is taken over, or leads from one of them to other steps.
            UnknownStep: ``results`` names a step that the workflow has not.
            ForkNotAllowed: the workflow's ``forks=`` allows no fork, or none that replaces start data or results.
            AlreadyRunning: an instance with the new id is active.
            RequestIdReused: another fork to the new id had this ``start_id``.
            InvalidInput, UnknownVersion, PayloadTooLarge: as for a start.
        """
        command = Fork(
            instance_id=instance_id,
            new_id=new_id,
            at=at,
            generation=generation,
            context=context,
            results=results,
            version=version,
            start_id=start_id,
            by=by,
        )
        return self.do(command, dispatch=dispatch)

    def answer(self, link: Link, payload: Any = None, *, dispatch: Dispatch | None = None) -> None:
        """Give the link's step its event, once.

        Args:
            link: what the link says; it must have been verified.
            payload: JSON-safe data that becomes the step's results; the link's own where it has any.
            dispatch: run in place or leave it to the queue.

        Raises:
            InstanceNotFound, InstanceClosed, LinkOutdated, LinkUsed, StepMovedOn, UnexpectedEvent: it cannot be used.
            UnknownWorkflow, UnknownVersion: the instance's workflow is not deployed; nothing is lost, deploy it again.
            InvalidInput, PayloadTooLarge: the payload cannot be stored.
        """
        self.do(Answer(link=link, payload=payload), dispatch=dispatch)

    def look(self, link: Link) -> str:
        """The name of the workflow that the link is for, if it could be used now.

        Raises:
            InstanceNotFound, InstanceClosed, LinkOutdated, LinkUsed, StepMovedOn, UnexpectedEvent: it could not.
            UnknownWorkflow, UnknownVersion: the instance's workflow is not deployed.
        """
        state = self.instances.load(link.instance_id)
        check_link(self.instances, state, link)
        return state.workflow

    def delete(self, instance_id: str, *, by: Caller | str | None = None) -> None:
        """Remove everything of an instance that has ended: its data, its history, and that of its earlier generations.

        Links to it stop working, and its id may be started again, as if it had never been used. There is no way back.

        Args:
            instance_id: the instance.
            by: who asks; checked, and not kept, as nothing is.

        Raises:
            InstanceNotFound: there is no such instance.
            AlreadyRunning: it has not ended: cancel it first.
        """
        self.do(Delete(instance_id=instance_id, by=by))

    def get(self, instance_id: str, *, tree: bool = False) -> InstanceView:
        """Show an instance as it is now.

        Args:
            instance_id: the instance.
            tree: whether its ``children`` are shown, and theirs: up to 1,000 of them.

        Raises:
            InstanceNotFound: there is no such instance.
        """
        return self._queries.get(instance_id, tree=tree)

    def why(self, instance_id: str) -> Reasons:
        """Say why an instance does not go on, and why the children that it waits for do not.

        Args:
            instance_id: the instance.

        Raises:
            InstanceNotFound: there is no such instance.
        """
        return self._queries.why(instance_id)

    def history(
        self,
        instance_id: str,
        *,
        generation: int | None = None,
        limit: int = 100,
        cursor: str | None = None,
        traces: bool = False,
    ) -> Page[HistoryEntry]:
        """Show a page of an instance's log, oldest first.

        Args:
            instance_id: the instance.
            generation: which of its runs; by default the newest.
            limit: at most this many entries, 1 to 200.
            cursor: where the page before ended.
            traces: whether errors tell where in the code they were raised.

        Raises:
            InstanceNotFound: there is no such instance or generation.
            BadRequest: the generation, the limit, the cursor or ``traces`` is malformed.
        """
        return self._queries.history(instance_id, generation=generation, limit=limit, cursor=cursor, traces=traces)

    def items(
        self,
        instance_id: str,
        step: StepRef,
        *,
        status: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[ItemView]:
        """Show a page of the items of a map, in their order; none before they are recorded.

        Of a map that many instances run, a page may be short, or empty, and still have a cursor.

        Args:
            instance_id: the instance.
            step: the map, its key or itself.
            status: in this status only, as ``failed``; see ``ItemView``.
            limit: at most this many, 1 to 200.
            cursor: where the page before ended.

        Raises:
            InstanceNotFound: there is no such instance.
            UnknownStep: it has no such map.
            BadRequest: the status, the limit or the cursor is malformed.
        """
        return self._queries.items(instance_id, step, status=status, limit=limit, cursor=cursor)

    def list(  # noqa: PLR0913 - a listing's filters
        self,
        *,
        workflow: WorkflowRef | None = None,
        status: str | Collection[str] | None = None,
        version: int | None = None,
        tag: str | None = None,
        since: datetime | None = None,
        children: bool = False,
        parent: str | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[InstanceView]:
        """List instances, newest start first; what was just changed may show a moment later.

        Args:
            workflow: of this workflow only, by its name or its class; one that is not deployed any more may be named as
                long as it has instances.
            status: in this status, or in one of these, only.
            version: of this version of their workflow only, 1 or more.
            tag: with this tag only.
            since: started at or after this time only (an aware ``datetime``).
            children: whether children that are not detached are listed, too, and the instances that schedules are.
            parent: the children of this instance only, detached ones included.
            until: started before this time only (an aware ``datetime``).
            limit: at most this many, 1 to 200.
            cursor: where the page before ended, which had the same filters (``since``, ``until`` and ``limit`` may
                change).

        Returns:
            A page. It may be short, or empty, and still have a cursor, where few instances pass the filters.

        Raises:
            UnknownWorkflow: no such workflow is deployed, and it has no instances.
            BadRequest: a filter is malformed, or the cursor is one of a listing with other filters.
        """
        name = (
            workflow
            if workflow is None or isinstance(workflow, str)
            else self._queries.name_of(workflow, children=children)
        )
        wanted = read_filter(
            workflow=name,
            status=status,
            version=version,
            tag=tag,
            since=since,
            children=children,
            parent=parent,
            until=until,
        )
        return self.find(wanted, limit=limit, cursor=cursor)

    def find(self, wanted: ListFilter, *, limit: int = 50, cursor: str | None = None) -> Page[InstanceView]:
        """As ``list``, which makes ``wanted``."""
        return self._queries.list(wanted, limit=limit, cursor=cursor)

    def counts(self, *, workflow: WorkflowRef | None = None, most: int = 1_000) -> Mapping[str, Mapping[str, int]]:
        """How many instances each workflow has in each status; what was just changed may count a moment later.

        Args:
            workflow: of this workflow only: its name or its class.
            most: where counting ends, 1 to 1,000: that number means that many or more.

        Returns:
            Workflow to status to number. A deployed workflow without instances has zeros; one that is not deployed any
            more is there while it has instances (in a large table, it may take several calls to find it).

        Raises:
            UnknownWorkflow: no such workflow is deployed, and it has no instances.
            BadRequest: ``most`` is out of range.
        """
        return self._queries.counts(workflow=workflow, most=most)

    def wake(self, instance_id: str, *, budget: Budget, alarms: Sequence[str] = (), gone: Collection[str] = ()) -> None:
        """Go on with an instance if there is something to do and nobody does it; a message or the sweep says so.

        One that cannot be read is left as it is and looked at again in about an hour.

        Args:
            instance_id: the instance.
            budget: how long it may take.
            alarms: the keys of log entries that showed an alarm.
            gone: owners that are known to be dead, however long their leases last.

        Raises:
            StoreUnavailable: the store did not answer; send the message again.
        """
        self._waker.wake(instance_id, budget=budget, alarms=alarms, gone=gone)

    def timeout(self, timeout: Timeout, *, budget: Budget) -> None:
        """A one-shot schedule fired: give its step the timeout, unless it has moved on."""
        self._waker.timeout(timeout, budget=budget)
