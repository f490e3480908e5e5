"""Run workflows in a test: everything in memory, time moved by hand, no AWS.

>>> from hephaestus import DONE, Workflow, step
>>> @step
... def greet(ctx):
...     return {"text": f"hello {ctx.initial['name']}"}
>>> class Greeting(Workflow, key="name"):
...     start_at = greet
...     transitions = {greet: {"done": DONE}}
>>> local = LocalRuntime(Greeting)
>>> instance = local.start(Greeting, "ann", {"name": "Ann"})
>>> instance.status, instance.steps["greet"].results["text"]
('completed', 'hello Ann')
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from hephaestus.adapters.memory import MemoryBus, MemoryQueue, MemoryStore, MemoryTimers
from hephaestus.adapters.memory.objects import MemoryObjects
from hephaestus.definition.context import Instance
from hephaestus.definition.durations import read_duration, read_moment, shown
from hephaestus.definition.references import step_key
from hephaestus.runtime.commands.command import Used
from hephaestus.runtime.dispatch import Budget, Enqueue
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.runtime.sources import Sources
from hephaestus.runtime.sweeper import Sweeper, SweepReport
from hephaestus.runtime.workers import ThreadWorkers
from hephaestus.writes.memory_tables import MemoryTables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hephaestus.callbacks.issuer import Issuer
    from hephaestus.callbacks.signer import Signer
    from hephaestus.definition.durations import Duration
    from hephaestus.definition.references import StepRef, WorkflowRef
    from hephaestus.definition.views import InstanceView
    from hephaestus.definition.workflow import Workflow
    from hephaestus.runtime.attempt import Outcome
    from hephaestus.runtime.ingest import Ingested
    from hephaestus.runtime.limits import Limits
    from hephaestus.runtime.ports import Timeout
    from hephaestus.store.store import Store
    from hephaestus.values.foreign import Model

MANY: Final = 1_000
INVOCATION: Final = timedelta(minutes=15)
TEST_KEY: Final = b"every test signs its links with this"


def signer() -> Signer:
    """What signs links in tests: with a key that everybody knows."""
    from hephaestus.callbacks.signer import Signer, audience_of  # noqa: PLC0415 - as above
    from hephaestus.callbacks.signing_keys import FixedKeys  # noqa: PLC0415 - only tests with links need it

    return Signer(FixedKeys((TEST_KEY,)), audience_of("local"), lambda: "https://local.test")


def links(workflow: type[Workflow], step: StepRef, instance: Instance | None = None) -> Callable[[], Issuer]:
    """The ``links`` of a ``StepContext`` made by hand, for one step of a workflow; made on 2026-01-01.

    Args:
        workflow: the workflow, whose current version is meant.
        step: the step that is tested, its class or its key.
        instance: whose links they are.
    """
    from hephaestus.callbacks.issuer import Issuer  # noqa: PLC0415 - only tests with links need it

    whose = instance or Instance("test::1", workflow.name, 1)
    graph = workflow.definition(max(workflow.versions)).graph
    key = step_key(step)
    return lambda: Issuer(signer(), graph, whose, key, "test", VirtualClock().now)


class VirtualClock:
    """Time that stands still until it is moved; randomness and names that repeat.

    Args:
        start: the time that it begins at, with a time zone; by default 2026-01-01.

    Raises:
        ValueError: it is no time with a time zone.
    """

    def __init__(self, start: datetime | None = None) -> None:
        start = datetime(2026, 1, 1, tzinfo=UTC) if start is None else read_moment(start, "start")
        self._now = int(start.timestamp() * 1000)
        self._names = 0

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self._now

    def sleep(self, milliseconds: int) -> None:
        """Move on at once."""
        self._now += milliseconds

    def random(self) -> float:
        """Always one half."""
        return 0.5

    def unique(self) -> str:
        """The next of a sequence of names."""
        self._names += 1
        return f"{self._names:020x}"

    def move_to(self, now: int) -> None:
        """Set the time (ms); it never goes back."""
        self._now = max(self._now, now)


class _Workers(ThreadWorkers):
    """Attempts in threads: virtual time passes, too, while one is waited for in vain."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout_ms: int | None) -> list[Outcome]:
        """As ``ThreadWorkers.wait``: a step that outlasts its timeout is late by this clock as well."""
        outcomes = super().wait(timeout_ms)
        if not outcomes and timeout_ms is not None:
            self._clock.sleep(timeout_ms)
        return outcomes


def _check_workflows(workflows: Sequence[object]) -> None:
    """Reject what is no workflow class.

    Raises:
        TypeError: naming it, or saying that there is none.
    """
    from hephaestus.definition.workflow import Workflow  # noqa: PLC0415 - above, it is for annotations

    usage = "give workflow classes, each as an argument of its own: LocalRuntime(OrderFlow, Invoice)"
    if not workflows:
        message = f"LocalRuntime has no workflow: {usage}"
        raise TypeError(message)
    for each in workflows:
        if not isinstance(each, type) or not issubclass(each, Workflow) or each is Workflow:
            message = f"LocalRuntime got {shown(each)}, which is no workflow: {usage}"
            raise TypeError(message)


def _check_children(flows: Sequence[type[Workflow]]) -> None:
    """Reject workflows that start one which is not among them.

    Raises:
        TypeError: it names those that are missing.
    """
    from hephaestus.definition.child import lacking_children  # noqa: PLC0415 - as above

    if lacking := [f"{child.name} (step {key} of {flow.name})" for flow, key, child in lacking_children(flows)]:
        message = f"LocalRuntime has no {', '.join(lacking)}: give each workflow that a step or a map starts, too"
        raise TypeError(message)


class LocalRuntime:
    """A whole runtime in memory: a runner, and the queue, timers and sweeps that call it.

    Schedules that the workflows declare begin with it; ``advance`` has their occurrences start, each at its time.

    ``local.objects.put("bucket", "key", "...")`` puts an object there that ``Items.s3`` reads.

    Args:
        workflows: the workflows it knows.
        store: another store than memory's.
        limits: what executions keep to.
        tables: tables that steps write to, with the names of their keys' attributes, as in ``{"orders": ("pk",)}``;
            ``local.tables["orders"]`` then shows what is in them. They know a part of DynamoDB's expressions
            (``hephaestus.writes.expressions``). Not together with a ``store``, which brings its own.

    Raises:
        TypeError: no workflow was given, or something that is none; or one of them starts a workflow that is missing,
            and no ``store`` is given, which may hold instances of it.
    """

    starts_schedules: ClassVar[bool] = True

    def __init__(
        self,
        *workflows: type[Workflow],
        store: Store | None = None,
        limits: Limits | None = None,
        tables: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        if store is not None and tables is not None:
            message = "pass either a store or tables: MemoryStore(tables=MemoryTables(...)) is a store with tables"
            raise ValueError(message)
        _check_workflows(workflows)
        if store is None:  # one that is given may be of a deployment with more
            _check_children(workflows)
        self.clock = VirtualClock()
        self.tables = MemoryTables(tables)
        self.store = store or MemoryStore(tables=self.tables)
        self.timers = MemoryTimers()
        self.queue = MemoryQueue(self.clock)
        self.bus = MemoryBus()
        self.runner = Runner(
            self.store,
            self.timers,
            self.queue,
            Registry(workflows, deployment=self.clock.now()),
            clock=self.clock,
            dispatch=Enqueue(),
            limits=limits,
            signer=signer,
            workers=lambda: _Workers(self.clock),
        )
        self.runner.bus = self.bus
        self.runner.heed_pauses()
        self.objects = MemoryObjects()
        self.runner.sources = lambda: Sources(self.objects)
        self.sweeper = Sweeper(self.store, self.queue, self.clock)
        if self.starts_schedules and any(flow.schedules for flow in workflows):
            self.runner.declare_schedules()
            self.settle()

    def start(  # noqa: PLR0913 - as `start_instance` has them
        self,
        workflow: WorkflowRef,
        value: str,
        context: Mapping[str, Any] | Model | None = None,
        *,
        version: int | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | Model | None = None,
        start_id: str | None = None,
    ) -> InstanceView:
        """Start an instance and run what can run now; arguments and errors are those of ``Runner.start_instance``."""
        context = {} if context is None else context
        instance_id = self.runner.start_instance(
            workflow, context, id=value, version=version, tags=tags, telemetry_metadata=metadata, start_id=start_id
        )
        self.settle()
        return replace(self.runner.get(instance_id), used=isinstance(instance_id, Used))

    def resume(  # noqa: PLR0913 - as the runner has it
        self,
        instance_id: str,
        event: str,
        payload: Any = None,
        *,
        step: StepRef | None = None,
        item: str | None = None,
        event_id: str | None = None,
    ) -> InstanceView:
        """Deliver an event and run what can run now."""
        self.runner.resume(instance_id, event, payload, step=step, item=item, event_id=event_id)
        self.settle()
        return self.runner.get(instance_id)

    def follow(self, link: str, payload: Any = None) -> InstanceView:
        """Use a link that a step handed out, as its page's button or a program does, and run what can run now.

        Args:
            link: what ``ctx.callback_url`` or ``ctx.callback_token`` returned.
            payload: the results that a program sends.

        Raises:
            CallerError: it is expired, used, or otherwise of no use, as its page would say.
        """
        known = self.runner.signer().read(link.rsplit("/", 1)[-1], self.clock.now())
        self.runner.answer(known, payload)
        self.settle()
        return self.runner.get(known.instance_id)

    def ingest(self, event: Mapping[str, Any] | str, attributes: Mapping[str, str] | None = None) -> Ingested:
        """Take an event from outside as the ingest queue brings it, and run what can run now.

        Args:
            event: an event of EventBridge, a notification of S3 or SNS, or any other message; a text is a message's.
            attributes: the attributes of a message.

        Returns:
            The ids of what it started and resumed, and how many triggers took it.

        Raises:
            NotTaken: it goes to the dead letters.
            InstanceNotFound: the instance that it resumes is not there: the queue tries it again.
        """
        from hephaestus.runtime.ingest import ingest  # noqa: PLC0415 - only tests with triggers need it

        body = event if isinstance(event, str) else json.dumps(event)
        try:
            return ingest(self.runner, body, self.clock.unique(), attributes or {})
        finally:
            self.settle()

    @property
    def status_events(self) -> Sequence[Mapping[str, Any]]:
        """The status events that were published, the oldest first: what the ``detail`` of each holds."""
        return [event.detail for event in self.bus.events]

    def settle(self) -> None:
        """Deliver every message and fire every schedule that is due, until none is."""
        while True:
            messages = self.queue.pop_due(self.clock.now())
            for timeout in self.queue.pop_removals():
                self.timers.cancel(timeout)
            for event in self.queue.pop_events():
                self.bus.publish(event)
            fired = self.timers.pop_due(self.clock.now())
            if not messages and not fired:
                return
            for work in messages:
                self.runner.wake(work.instance_id, budget=self.budget(), alarms=work.alarms)
            for timeout in fired:
                self.fire(timeout)

    def fire(self, timeout: Timeout) -> None:
        """Call the runner as a fired schedule does."""
        self.runner.timeout(timeout, budget=self.budget())

    def advance(self, duration: Duration) -> None:
        """Let time pass, delivering and firing everything on the way, each at its time.

        Args:
            duration: how much, in seconds or as a ``timedelta``; 0 or more.

        Raises:
            ValueError: it is no duration.
        """
        end = self.clock.now() + round(read_duration(duration, "duration", zero=True) / timedelta(milliseconds=1))
        while True:
            self.settle()
            late = self._first_to_time_out(end)
            times = (self.queue.next_due(), self.timers.next_due(), late and late[0])
            due = [at for at in times if at is not None and at <= end]
            if not due:
                break
            self.clock.move_to(min(due))
            if late is not None and late[0] <= self.clock.now():
                self.runner.wake(late[1], budget=self.budget())
        self.clock.move_to(end)

    def _first_to_time_out(self, end: int) -> tuple[int, str] | None:
        """When the first workflow times out up to ``end`` (ms), and its instance: the sweep would find it."""
        limited = any(known.timeout for flow in self.runner.registry for known in flow.definitions.values())
        found: list[tuple[int, str]] = []
        for wakeup in self.store.overdue(end, MANY).items if limited else ():
            state = self.store.load(wakeup.instance_id)
            goes_on = state is not None and state.status in ("pending", "waiting") and not state.paused
            if state is not None and goes_on and state.deadline is not None and state.parked is None:
                found.append((state.deadline, state.instance_id))
        return min((one for one in found if one[0] <= end), default=None)

    def sweep(self) -> SweepReport:
        """Do what happens once a minute, and run what it wakes."""
        report = self.sweeper.sweep(self.budget())
        self.settle()
        return report

    def budget(self) -> Budget:
        """A whole invocation's time from now."""
        return Budget(self.clock.now() + round(INVOCATION / timedelta(milliseconds=1)))
