"""The real ports' other side in a simulated world: every call may fail, die, be late, or take time."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from hephaestus.errors import CorruptLog, StoreUnavailable, UnknownVersion
from hephaestus.runtime.event_loop import Who, run
from hephaestus.runtime.names import schedule_name
from hephaestus.runtime.registry import Registry
from hephaestus.simulation.violation import Violation
from hephaestus.simulation.world import NEVER, Gone
from hephaestus.store.keys import read_log_key
from hephaestus.store.reservations import is_rate
from hephaestus.store.store import Store
from hephaestus.store.values import unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hephaestus.adapters.memory.table import InMemoryTable
    from hephaestus.definition.context import StepContext
    from hephaestus.definition.definition import Definition, Route
    from hephaestus.definition.step import Step
    from hephaestus.definition.workflow import Workflow
    from hephaestus.engine.state import State
    from hephaestus.runtime.attempt import Outcome
    from hephaestus.runtime.ports import Timeout
    from hephaestus.runtime.status_events import StatusEvent
    from hephaestus.simulation.ledger import Ledger
    from hephaestus.simulation.world import Actor, World
    from hephaestus.store.overdue import Wakeup
    from hephaestus.store.table import Change, Condition, Filter, Item, Key, Page, Position, Value
    from hephaestus.writes import Write

LATE_MS: Final = 5_000  # how long a request may be under way after its caller gave up
SCHEDULER_MS: Final = 60_000  # EventBridge Scheduler calls within 60 s
LONGEST_STEP_MS: Final = 20 * 60_000
STEPS_MS: Final = (1, 1, 1, 20, 500, 3_000)
VISIBILITY_MS: Final = 120_000
DELIVERIES: Final = 3

T = TypeVar("T")


class Calls:
    """What every call to the outside goes through."""

    def __init__(self, world: World) -> None:
        self.world = world

    def write(self, what: str, do: Callable[[], T]) -> T:
        """A call that changes something outside."""
        self._begin()
        match self.world.weather.strikes(
            "crash before a call", "crash after a call", "call refused", "answer lost", "write late"
        ):
            case "crash before a call":
                self.world.die(f"before {what}")
            case "crash after a call":
                do()
                self.world.die(f"after {what}")
            case "call refused":
                self._refuse(what, "refused")
            case "answer lost":
                do()
                self._refuse(what, "done, and its answer is lost")
            case "write late":
                self.world.at(self.world.now + 1 + self.world.choices.below(LATE_MS), do)
                self._refuse(what, "no answer, and it is done later")
        self.world.note(what)
        return do()

    def read(self, what: str, do: Callable[[], T]) -> T:
        """A call that changes nothing."""
        self._begin()
        match self.world.weather.strikes("crash before a call", "call refused"):
            case "crash before a call":
                self.world.die(f"before {what}")
            case "call refused":
                self._refuse(what, "refused")
        return do()

    def _begin(self) -> None:
        invocation = self.world.invocation
        if invocation is not None and not invocation.alive:
            raise Gone
        self.world.latency()
        if invocation is not None and self.world.weather.strikes("zombie"):
            self.world.freeze()

    def _refuse(self, what: str, how: str) -> None:
        self.world.note(f"{what}: {how}")
        raise StoreUnavailable(how)  # the same words whether or not the run is traced, which must change nothing


class SimulatedTable:
    """A ``Table`` that is memory's, with faults before and after every primitive; the ledger sees every change.

    Attributes:
        inner: what is stored; its indexes lag until they are read.
        alarms: what is stored as alarms (ms), by item.
    """

    name = None
    distant = False

    def __init__(self, inner: InMemoryTable, world: World, ledger: Ledger) -> None:
        self.inner = inner
        self.world = world
        self.ledger = ledger
        self.calls = Calls(world)

    @property
    def max_item_bytes(self) -> int:
        """As memory has it."""
        return self.inner.max_item_bytes

    def get(self, pk: str, sk: str) -> Item | None:
        """An item."""
        return self.calls.read(f"get {sk}", lambda: self.inner.get(pk, sk))

    def get_many(self, keys: Sequence[Key], attributes: Sequence[str]) -> list[Item]:
        """Attributes of many items."""
        return self.calls.read(f"get {len(keys)} items", lambda: self.inner.get_many(keys, attributes))

    def query(
        self, pk: str, *, low: str, high: str, limit: int | None = None, descending: bool = False
    ) -> Sequence[Item]:
        """Items of a partition."""
        return self.calls.read(
            f"query {low}", lambda: self.inner.query(pk, low=low, high=high, limit=limit, descending=descending)
        )

    def put(self, item: Item, condition: Condition) -> bool:
        """Write an item."""
        return self._write("put", item, lambda: self.inner.put(item, condition))

    def update(self, pk: str, sk: str, changes: Mapping[str, Value | None], condition: Condition) -> bool:
        """Change an item."""
        return self._write("update", {"pk": pk, "sk": sk}, lambda: self.inner.update(pk, sk, changes, condition))

    def add(  # noqa: PLR0913, PLR0917 - as the port has it
        self, pk: str, sk: str, name: str, by: int, changes: Mapping[str, Value | None], condition: Condition
    ) -> tuple[bool, Item | None]:
        """Add to a number."""
        return self.calls.write(f"add to {sk}", lambda: self.inner.add(pk, sk, name, by, changes, condition))

    def delete(self, pk: str, sk: str, condition: Condition) -> bool:
        """Remove an item."""
        return self._write("delete", {"pk": pk, "sk": sk}, lambda: self.inner.delete(pk, sk, condition))

    def change_all(self, changes: Sequence[Change]) -> bool:
        """Write several items together."""

        def write() -> bool:
            written, check = self.ledger.turnstiles.change(changes, lambda: self.inner.change_all(changes))
            guarded(self.world, check)
            for key in {change.pk for change in changes if is_rate(change.pk)}:
                guarded(self.world, partial(self.ledger.observe, key))
            return written

        return self.calls.write(f"change {', '.join(change.sk for change in changes)}", write)

    def transact(self, item: Item, condition: Condition, writes: Sequence[Write], token: str) -> bool:
        """Put an item with a step's writes."""
        return self._write("transact", item, lambda: self.inner.transact(item, condition, writes, token))

    def query_index(  # noqa: PLR0913 - as the port has it
        self,
        index: str,
        partition: str,
        *,
        low: int | str,
        high: int | str,
        limit: int,
        after: Position | None = None,
        descending: bool = False,
        where: Filter | None = None,
    ) -> Page:
        """A page of an index, which may lag."""
        if self.world.weather.strikes("index stale"):
            self.world.note(f"the index {index} lags")
        else:
            self.inner.catch_up()
        return self.calls.read(
            f"query {partition}",
            lambda: self.inner.query_index(
                index, partition, low=low, high=high, limit=limit, after=after, descending=descending, where=where
            ),
        )

    def count_index(self, index: str, partition: str, most: int) -> int:
        """How many items there are."""
        return self.calls.read("count", lambda: self.inner.count_index(index, partition, most))

    def _write(self, what: str, item: Item, do: Callable[[], bool]) -> bool:
        writer, pk, sk = self.world.invocation, str(item["pk"]), str(item["sk"])

        def write() -> bool:
            written = do()
            if written:
                self.ledger.wrote(item, writer)
                guarded(self.world, lambda: self.ledger.observe(pk))
            return written

        return self.calls.write(f"{what} {self._told(item) or sk}" if self.world.tracing else what, write)

    def _told(self, item: Item) -> str:
        """What a log entry says, for the trace."""
        data = item.get("data")
        if "commit_id" not in item or not isinstance(data, bytes):
            return ""
        events = ", ".join(
            " ".join([type(it).__name__, *(str(getattr(it, "step", None) or getattr(it, "steps", "")).split())])
            for it in self.ledger.store.reader.load_events(unpacked(data, "")[1])
        )
        return f"{read_log_key(str(item['sk']))[1]}: {events}"


class SimulatedStore(Store):
    """The store, some of whose instances cannot be read at times."""

    def __init__(self, table: SimulatedTable, **settings: Any) -> None:
        super().__init__(table, **settings)
        self.world = table.world
        self.ledger = table.ledger

    def load(self, instance_id: str) -> State | None:
        """The newest state."""
        if self.world.weather.strikes("instance unreadable"):
            self.ledger.unreadable.add(instance_id)
            self.world.note(f"load {instance_id}: unreadable")
            message = "a log entry cannot be read: written by a newer release"
            raise CorruptLog(message)
        return super().load(instance_id)

    def quarantine(self, instance_id: str, reason: str, *, now: int, until: int, alarms: Sequence[str] = ()) -> bool:
        """Put off an alarm."""
        guarded(self.world, lambda: self.ledger.put_off(instance_id, reason))
        return super().quarantine(instance_id, reason, now=now, until=until, alarms=alarms)


class SimulatedTimers:
    """``Timers`` whose schedules fire on time, late, twice or never."""

    def __init__(self, world: World, ledger: Ledger, fire: Callable[[Timeout], None]) -> None:
        self.world = world
        self.ledger = ledger
        self.fire = fire
        self.calls = Calls(world)
        self.schedules: dict[str, Timeout] = {}

    def schedule(self, timeout: Timeout) -> str:
        """Make a schedule; return its name."""
        name = schedule_name(timeout)

        def do() -> str:
            guarded(self.world, lambda: self.ledger.scheduled(timeout))
            if name not in self.schedules:
                self.schedules[name] = timeout
                self._plan(name, timeout)
            return name

        return self.calls.write(f"schedule {timeout.token}", do)

    def name(self, timeout: Timeout) -> str:
        """The name of a timeout's schedule."""
        return schedule_name(timeout)

    def cancel(self, timeout: Timeout) -> None:
        """Remove a schedule."""
        self.calls.write(f"unschedule {timeout.token}", lambda: self.remove(timeout))

    def remove(self, timeout: Timeout) -> None:
        """Remove a schedule, whoever asks."""
        self.schedules.pop(schedule_name(timeout), None)

    def _plan(self, name: str, timeout: Timeout) -> None:
        world = self.world
        when = max(timeout.due_at, world.now)
        fault = world.weather.strikes("schedule late", "schedule twice", "schedule lost")
        if fault == "schedule lost":
            world.note(f"the schedule for {timeout.token} will never fire")
            return
        if fault == "schedule late":
            when += world.choices.below(SCHEDULER_MS)
        world.at(when, lambda: self._fire(name, timeout))
        if fault == "schedule twice":
            world.at(when + world.choices.below(SCHEDULER_MS), lambda: self.fire(timeout))

    def _fire(self, name: str, timeout: Timeout) -> None:
        if self.schedules.get(name) == timeout:
            del self.schedules[name]
            self.fire(timeout)


class SimulatedQueue:
    """A ``WorkQueue`` whose messages come once, twice, late or never, and again when their invocation fails."""

    def __init__(
        self,
        world: World,
        timers: SimulatedTimers,
        wake: Callable[[str, Sequence[str], Callable[[bool], None]], None],
        publish_later: Callable[[StatusEvent], None],
    ) -> None:
        self.world = world
        self.timers = timers
        self.publish_later = publish_later
        self.deliver = wake
        self.calls = Calls(world)

    def wake(self, instance_id: str, delay_ms: int = 0) -> None:
        """Send a message."""
        self.calls.write(f"send a message, {delay_ms} ms", lambda: self._send(instance_id, delay_ms))

    def wake_many(self, wakeups: Sequence[Wakeup]) -> Sequence[str]:
        """Send many messages."""

        def do() -> Sequence[str]:
            for wakeup in wakeups:
                self._send(wakeup.instance_id, 0, wakeup.alarms)
            return [wakeup.instance_id for wakeup in wakeups]

        return self.calls.write(f"send {len(wakeups)} messages", do)

    def remove_schedule(self, timeout: Timeout) -> None:
        """Have a schedule removed later."""
        self.calls.write(f"have {timeout.token} unscheduled", lambda: self.timers.remove(timeout))

    def depth(self, *, bulk: bool = False) -> int:
        """Never full."""
        return self.calls.read("depth of bulk" if bulk else "depth", lambda: 0)

    def _send(self, instance_id: str, delay_ms: int, alarms: Sequence[str] = ()) -> None:
        world = self.world
        when = world.now + delay_ms
        match world.weather.strikes("message lost", "message twice", "message late"):
            case "message lost":
                world.note("the message is lost")
                return
            case "message twice":
                self._plan(when + world.choices.below(VISIBILITY_MS), instance_id, alarms, DELIVERIES)
            case "message late":
                when += world.choices.below(VISIBILITY_MS)
        self._plan(when, instance_id, alarms, DELIVERIES)

    def _plan(self, when: int, instance_id: str, alarms: Sequence[str], deliveries: int) -> None:
        def ended(succeeded: bool) -> None:  # noqa: FBT001 - what invocations tell
            if not succeeded and deliveries > 1:
                self._plan(self.world.now + VISIBILITY_MS, instance_id, alarms, deliveries - 1)

        self.world.at(when, lambda: self.deliver(instance_id, alarms, ended))


class SimulatedClock:
    """A ``Clock``: virtual time as the current invocation sees it; randomness from the recorded choices."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._names = 0

    def now(self) -> int:
        """Milliseconds since the epoch, by the current invocation's clock."""
        current = self.world.current
        return self.world.now + (current.invocation.skew if current else 0)

    def sleep(self, milliseconds: int) -> None:
        """Let others go on meanwhile."""
        self.world.pause(milliseconds)

    def random(self) -> float:
        """One of a hundred numbers from 0 up to 1."""
        return self.world.choices.below(100) / 100

    def unique(self) -> str:
        """The next of a sequence of names."""
        self._names += 1
        return f"{self._names:020x}"


class SimulatedWorkers:
    """``Workers`` whose attempts run in turns, as parts of the invocation that started them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ended: list[Outcome] = []
        self.waiting: Actor | None = None

    def start(self, attempt: Callable[[], Outcome]) -> None:
        """Run ``attempt`` in turns with everything else."""

        def main() -> None:
            outcome = attempt()  # before the list is looked up, which is another one by then
            self.ended.append(outcome)
            if self.waiting is not None:
                self.waiting.ready_at = self.world.now

        self.world.start(main)

    def wait(self, timeout_ms: int | None) -> list[Outcome]:
        """Every outcome that is there; if there is none, the next one, or nothing after ``timeout_ms``."""
        if not self.ended:
            self.waiting = self.world.current
            self.world.pause(NEVER - self.world.now if timeout_ms is None else timeout_ms)
            self.waiting = None
        outcomes, self.ended = self.ended, []
        return outcomes


class SimulatedRegistry(Registry):
    """The workflows, with steps that may take long, or not come to their end."""

    def __init__(self, workflows: Sequence[type[Workflow]], world: World, ledger: Ledger) -> None:
        super().__init__(workflows)
        self.world = world
        self.ledger = ledger
        self._known: dict[tuple[str, int, str], Definition] = {}

    def definition(self, state: State) -> Definition:
        """The definition that an instance runs on, its steps simulated."""
        invocation = self.world.invocation
        if invocation is not None and invocation.kind == "worker" and self.world.weather.strikes("version undeployed"):
            message = f"workflow {state.workflow} has no version {state.version}"
            raise UnknownVersion(message)
        part = state.part
        name = (state.workflow, state.version, "" if part is None else part.step)
        if name not in self._known:
            found = super().definition(state)
            steps = {
                key: step if step.pure else cast("Step", SimulatedStep(step, self.world, self.ledger))
                for key, step in found.steps.items()
            }
            items = {
                key: (step if step.pure else cast("Step", SimulatedStep(step, self.world, self.ledger, key)), declared)
                for key, (step, declared) in found.items.items()
            }
            routes = {
                key: {event: self._simulated(key, route) for event, route in routed.items()}
                for key, routed in found.routes.items()
            }
            output = found.output and SimulatedOutput(found.output, self.world, self.ledger)
            self._known[name] = replace(found, steps=steps, items=items, routes=routes, output=output)
        return self._known[name]

    def _simulated(self, step: str, route: Route) -> Route:
        if route.choice is None:
            return route
        function = SimulatedChoice(step, route.choice.function, self.world, self.ledger)
        return replace(route, choice=replace(route.choice, function=function))


class SimulatedChoice:
    """The function of a ``Choice``, but for what may happen while it runs."""

    def __init__(self, step: str, function: Callable[[StepContext], Any], world: World, ledger: Ledger) -> None:
        self._step = step
        self._function = function
        self._world = world
        self._ledger = ledger

    def __call__(self, context: StepContext) -> Any:
        """Choose."""
        world = self._world
        world.note(f"the Choice of step {self._step}")
        guarded(world, lambda: self._ledger.chooses(self._step, context))
        if world.weather.strikes("crash in a step"):
            world.die(f"in the Choice of step {self._step}")
        picked = self._function(context)
        world.latency()
        return picked


class SimulatedOutput:
    """The function that makes an output, but for what may happen while it runs."""

    def __init__(self, function: Callable[[StepContext], Any], world: World, ledger: Ledger) -> None:
        self._function = function
        self._world = world
        self._ledger = ledger

    def __call__(self, context: StepContext) -> Any:
        """Make it."""
        world = self._world
        world.note("the output")
        guarded(world, lambda: self._ledger.outputs(context))
        if world.weather.strikes("crash in a step"):
            world.die("in the output")
        made = self._function(context)
        world.latency()
        return made


class SimulatedStep:
    """A step like the one it is given, but for what may happen to it."""

    def __init__(self, step: Step, world: World, ledger: Ledger, of: str = "") -> None:
        self._step = step
        self._of = of  # the map whose items it runs for
        self._world = world
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        """Everything else is the step's own."""
        return getattr(self._step, name)

    def run(self, context: StepContext) -> Any:
        """Run it."""
        return self._perform(self._step.run, context, undo=False)

    def undo(self, context: StepContext) -> Any:
        """Undo it."""
        return self._perform(self._step.undo, context, undo=True)

    def _perform(self, work: Callable[[StepContext], Any], context: StepContext, *, undo: bool) -> Any:
        world = self._world
        item = f" for item {context.item_key}" if self._of else ""
        what = f"{'undoing ' if undo else ''}step {self._step.key}{item}, attempt {context.attempt}"
        world.note(what)
        guarded(world, lambda: self._ledger.begins(self._step, context, undo=undo, of=self._of))
        fault = world.weather.strikes("crash in a step", "step too long")
        if fault == "step too long":
            world.pause(1 + world.choices.below(LONGEST_STEP_MS))
        world.pause(STEPS_MS[world.choices.below(len(STEPS_MS))])
        crash = fault == "crash in a step"
        if crash and world.choices.below(2):
            world.die(f"before {what} has done anything")
        try:
            if self._of:
                guarded(world, lambda: self._ledger.sees(context, self._of, undo=undo))
            result = work(context)
            if inspect.isawaitable(result):
                result = run(result, Who(self._step.key, context.instance_id))
        finally:
            self._ledger.ends(self._step, undo=undo, of=self._of)
        world.latency()
        if crash:
            world.die(f"after {what} has done its work")
        return result


def guarded(world: World, check: Callable[[], None]) -> None:
    """Run a check; what it finds ends the run, whatever the code around would make of the error."""
    try:
        check()
    except Violation as violation:
        world.violate(violation.rule, violation.what)
