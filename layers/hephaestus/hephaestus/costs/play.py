"""Plays a workflow of a given shape from its start to its end, and counts.

The steps do nothing but emit the event that the plan names for them, and leave as much data as it says.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from datetime import timedelta
from operator import add
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hephaestus.adapters.memory import MemoryBus, MemoryQueue, MemoryTimers
from hephaestus.costs.counting import CountingTable
from hephaestus.definition.concurrency import Concurrency
from hephaestus.definition.maps import MOST_ITEMS
from hephaestus.definition.rates import MOST_AT_ONCE, RateLimit
from hephaestus.definition.results import Again, Completed, Pending
from hephaestus.definition.rounds import Rounds
from hephaestus.definition.step import DONE, FAIL, Choice, Step, step
from hephaestus.definition.workflow import Workflow
from hephaestus.errors import BadRequest
from hephaestus.runtime.dispatch import Budget, Enqueue, InPlace
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.steps import ChildWorkflow, Map, Repeat, Wait, WaitForEvent
from hephaestus.store.store import Store
from hephaestus.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.definition.concurrency import Limit
    from hephaestus.definition.context import StepContext
    from hephaestus.definition.definition import Definition
    from hephaestus.definition.views import InstanceView

T = TypeVar("T")
Json = Mapping[str, Any]
UNKNOWN_WAIT: Final = timedelta(hours=1)
INVOCATION_MS: Final = 600_000
TURNS: Final = 10_000
MOST_ROUNDS: Final = 1_000  # that are played
MOST_WORKFLOWS: Final = 10_000  # of a map, each of which is played
USUAL_ROUNDS: Final = 10
DEEPEST: Final = 10
USUAL_ITEMS: Final = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """How an instance goes.

    Attributes:
        events: the event that a step emits, by step; by default its first one, and of a wait its first but ``timeout``.
        queued: whether starts and events are left to the queue, as the API does by default, or run in place.
        waits: how long waits take, where it is known; else an hour.
        rounds: how many rounds steps take that run again, where it is known; else ten, or as many as there are. Where a
            round goes on with an event (``again_on``), each but the last waits for one.
        coded: waits with code of their own, whose start is committed like that of any step.
        input_bytes: the start data, in bytes.
        result_bytes: what each step leaves, in bytes.
        publishes: whether the stack has a bus for status events.
        children: the workflows that steps start, by name, each as the version that is played; one that is missing is
            taken for a workflow of one step.
    """

    events: Mapping[str, str] = field(default_factory=dict)
    queued: bool = False
    waits: Mapping[str, timedelta] = field(default_factory=dict)
    rounds: Mapping[str, int] = field(default_factory=dict)
    items: Mapping[str, int] = field(default_factory=dict)
    coded: frozenset[str] = frozenset()
    input_bytes: int = 120
    result_bytes: int = 40
    publishes: bool = False
    children: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counts:
    """What one instance took.

    Attributes:
        requests: requests of DynamoDB, by name.
        write_units, read_units: of DynamoDB.
        invocations: of Lambda.
        messages: of the work queue.
        schedules: one-shot schedules that fired.
        published: status events.
        steps: steps that ran, each round of them, waits included, and those of children.
        waits: waits among them.
        callbacks: waits among those whose length is not known: for events, and whatever else comes from outside.
        route: the steps in the order in which they ended, each with its event.
        items: items of maps; those of steps are among the steps, of the ``workflows`` among them the steps are.
        item_steps, item_waits: how many steps have run for the items, without waits, and how many of those.
    """

    requests: Mapping[str, int]
    write_units: int
    read_units: int
    invocations: int
    messages: int
    schedules: int
    published: int
    steps: int
    waits: int
    callbacks: int
    route: Sequence[tuple[str, str]]
    items: int = 0
    workflows: int = 0
    item_steps: int = 0
    item_waits: int = 0

    @property
    def total_requests(self) -> int:
        """All requests of DynamoDB."""
        return sum(self.requests.values())


@dataclass(frozen=True, slots=True)
class Ran:
    """What has run; see ``Counts``."""

    steps: int = 0
    waits: int = 0
    callbacks: int = 0
    items: int = 0
    workflows: int = 0
    item_steps: int = 0
    item_waits: int = 0

    def __add__(self, more: Ran) -> Ran:
        """Both."""
        return Ran(*map(add, astuple(self), astuple(more)))

    def __mul__(self, times: int) -> Ran:
        """The same so many times."""
        return Ran(*(times * number for number in astuple(self)))


def play(version: Json, plan: Plan | None = None) -> Counts:
    """Play one instance of a workflow version.

    Args:
        version: one of the ``versions`` that ``GET /workflows`` shows of a workflow.
        plan: how it goes.

    Raises:
        BadRequest: the plan names a step or an event that the workflow has not.
    """
    plan = plan or Plan()
    _check(version, plan)
    return _Game(version, plan).play()


def _check(version: Json, plan: Plan) -> None:
    steps = {each["key"]: each["routes"] for each in version["steps"]}
    for key, event in plan.events.items():
        if key not in steps:
            message = f"the workflow has no step {key!r}: it has {', '.join(steps)}"
            raise BadRequest(message)
        if event not in steps[key]:
            message = f"step {key} has no event {event!r}: it has {', '.join(steps[key])}"
            raise BadRequest(message)
    maps = {
        each["key"]: MOST_WORKFLOWS if "workflow" in each["map"] else MOST_ITEMS
        for each in version["steps"]
        if "map" in each
    }
    loops = {each["key"]: min(each["rounds"]["at_most"], MOST_ROUNDS) for each in version["steps"] if "rounds" in each}
    _check_numbers(plan.items, maps, 0, ("items", "map"))
    _check_numbers(plan.rounds, loops, 1, ("rounds", "step with rounds"))


def _check_numbers(given: Mapping[str, int], most: Mapping[str, int], least: int, words: tuple[str, str]) -> None:
    """Reject numbers for what has none, or beyond what is played. ``words`` are what is counted, and what has it."""
    things, kind = words
    for key, number in given.items():
        if key not in most:
            message = f"{things} of {key}: it is no {kind} of the workflow; there is {', '.join(most) or 'none'}"
            raise BadRequest(message)
        if not least <= number <= most[key]:
            message = f"{things} of {key}: give a number from {least} to {most[key]}, not {number}"
            raise BadRequest(message)


class _Clock(VirtualClock):
    """A virtual clock whose names compress as badly as those of the machine's."""

    def unique(self) -> str:
        """The next name."""
        return hashlib.sha256(super().unique().encode()).hexdigest()[:20]


class _Game:
    """One instance, moved on by hand so that every invocation is counted."""

    def __init__(self, version: Json, plan: Plan) -> None:
        self.version = version
        self.plan = plan
        self.table = CountingTable()
        self.shapes = Shapes(plan)
        self.flow = self.shapes.of(version, "x")
        self.clock = _Clock()
        self.queue, self.timers = MemoryQueue(self.clock), MemoryTimers()
        self.runner = Runner(Store(self.table), self.timers, self.queue, Registry(self.shapes.made), clock=self.clock)
        self.bus = MemoryBus()
        self.runner.bus = self.bus if plan.publishes else None
        self.invocations = self.messages = self.schedules = 0

    def play(self) -> Counts:
        """From the start to the end."""
        self.invocations = 1
        data = _data(self.plan.input_bytes)
        instance_id = self.runner.start_instance(self.flow, data, id="x", dispatch=self._going())
        for _ in range(TURNS):
            self._drain()
            shown = self._look(instance_id)
            if shown.closed:
                return self._counts(shown)
            self._answer(*self._open(shown))
        message = "the workflow does not come to an end"
        raise BadRequest(message)

    def _open(self, shown: InstanceView) -> tuple[InstanceView, Json]:
        """An instance whose own steps wait, and its version: the instance, or a child that it waits for."""
        for key, one in shown.steps.items():
            below = [one.child] if one.status == "waiting" and one.child is not None else []
            below += self._items(shown, key, "waiting") if one.status == "mapping" else []
            for child in map(self._look, below):
                if not child.closed:
                    return self._open(child)
        return shown, self.shapes.versions[shown.workflow]

    def _answer(self, shown: InstanceView, version: Json) -> None:
        """Give the first wait its event, or let the time pass."""
        for key, one in shown.steps.items():
            event = self._event(version, key)
            if one.status == "waiting" and event in one.accepts and event != "timeout" and not self._timed(shown, key):
                self.invocations += 1
                self.runner.resume(shown.id, event, step=key, dispatch=self._going())
                return
        due = [at for at in (self.queue.next_due(), self.timers.next_due()) if at is not None]
        self.clock.move_to(min(due))

    def _drain(self) -> None:
        """Deliver what is due; each message and each schedule is an invocation."""
        while True:
            messages, fired = self.queue.pop_due(self.clock.now()), self.timers.pop_due(self.clock.now())
            if not messages and not fired:
                return
            self.messages += len(messages)
            self.schedules += len(fired)
            self.invocations += len(messages) + len(fired)
            for work in messages:
                self.runner.wake(work.instance_id, budget=self._budget(), alarms=work.alarms)
            for timeout in fired:
                self.runner.timeout(timeout, budget=self._budget())

    def _look(self, instance_id: str) -> InstanceView:
        """See how it is."""
        return self._unpaid(lambda: self.runner.get(instance_id))

    def _unpaid(self, look: Callable[[], T]) -> T:
        """What a look sees; that is nothing to pay for."""
        tally = self.table.tally
        kept = dict(tally.requests), tally.read_units
        seen = look()
        tally.requests, tally.read_units = kept
        return seen

    def _counts(self, shown: InstanceView) -> Counts:
        done = [(key, one.event or "") for key, one in shown.steps.items() if one.status == "completed"]
        tally, ran = self.table.tally, self._ran(shown)
        return Counts(
            tally.requests,
            tally.write_units,
            tally.read_units,
            self.invocations,
            self.messages,
            self.schedules,
            len(self.bus.events),
            steps=ran.steps,
            waits=ran.waits,
            callbacks=ran.callbacks,
            route=done,
            items=ran.items,
            workflows=ran.workflows,
            item_steps=ran.item_steps,
            item_waits=ran.item_waits,
        )

    def _ran(self, shown: InstanceView) -> Ran:
        """What has run of an instance, and of those below it."""
        described = {each["key"]: each for each in self.shapes.versions[shown.workflow]["steps"]}
        total = Ran()
        for key, one in shown.steps.items():
            waits = "child" not in described[key] and bool(described[key].get("waits"))
            if one.status == "completed":
                total += Ran(one.round or 1, int(waits), int(waits and key not in self.plan.waits))
            if one.child is not None:
                total += self._ran(self._look(one.child)) * (one.round or 1)
            if number := _items(shown, key):
                total += self._of_item(shown, key) * number
        return total

    def _of_item(self, shown: InstanceView, key: str) -> Ran:
        """What has run of an item of a map: each item is like the first."""
        child = next(iter(self._items(shown, key)), None)
        if child is None:
            return Ran(steps=1, items=1, item_steps=1)
        ran = self._ran(self._look(child))
        outer = Ran(items=1, workflows=1, item_steps=ran.steps - ran.waits, item_waits=ran.waits)
        return replace(ran, items=0, workflows=0, item_steps=0, item_waits=0) + outer

    def _items(self, shown: InstanceView, key: str, status: str | None = None) -> list[str]:
        """The instance of the first item of a map, of those in a status, where it is a workflow."""
        found = self._unpaid(lambda: self.runner.items(shown.id, key, status=status, limit=1).items)
        return [one.child for one in found if one.child is not None]

    def _going(self) -> Enqueue | InPlace:
        return Enqueue() if self.plan.queued else InPlace(self._budget())

    def _budget(self) -> Budget:
        return Budget(self.clock.now() + INVOCATION_MS)

    def _event(self, version: Json, key: str) -> str:
        described = next(each for each in version["steps"] if each["key"] == key)
        return next(iter(described.get("rounds", {}).get("again_on", ())), "") or _event(described, self.plan)

    def _timed(self, shown: InstanceView, key: str) -> bool:
        flow = next(one for one in self.shapes.made if one.name == shown.workflow)
        return isinstance(flow.definition(1).steps[key], Wait)


def _items(shown: InstanceView, key: str) -> int:
    """How many items a step has run for."""
    return dict(shown.steps[key].progress or {}).get("total", 0)


def _event(described: Json, plan: Plan) -> str:
    events = list(described["routes"])
    usual = (event for event in events if event not in ("timeout", "error", "exhausted"))
    return plan.events.get(described["key"]) or next(usual, events[0])


ONE_STEP: Final[Json] = {"start": "work", "steps": [{"key": "work", "routes": {"done": [DONE.key]}}]}


class Shapes:
    """Workflows of the same shape as described ones, and of those that they start."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.made: list[type[Workflow]] = []
        self.versions: dict[str, Json] = {}

    def of(self, version: Json, key: str) -> type[Workflow]:
        """The workflow of a described version, under a business key of its own."""
        steps = {each["key"]: self._step(each, f"{key}-{each['key']}"[-60:]) for each in version["steps"]}
        made = _workflow(version, steps, key)
        self.made.append(made)
        self.versions[made.name] = version
        return made

    def _step(self, described: Json, key: str) -> Step:
        mapped, child = described.get("map", {}), described.get("child")
        if "workflow" in mapped and key.count("-") <= DEEPEST:
            flow = self.of(self.plan.children.get(mapped["workflow"], ONE_STEP), key)
            return _map(described["key"], mapped, self.plan, flow)
        if child is None or key.count("-") > DEEPEST:
            return _step(described, self.plan)
        flow = self.of(self.plan.children.get(child["workflow"], ONE_STEP), key)
        if bounds := described.get("rounds"):
            number = self.plan.rounds.get(described["key"], min(bounds["at_most"], USUAL_ROUNDS))
            return Repeat(flow, until=lambda ctx: ctx.round >= number, rounds=Rounds(number), name=described["key"])
        return ChildWorkflow(
            flow,
            context=lambda _: _data(self.plan.input_bytes),
            detached=child["detached"],
            name=described["key"],
        )


def _workflow(version: Json, steps: Mapping[str, Step], key: str) -> type[Workflow]:
    """A workflow of the same shape. Several targets are a choice of all of them: only then need they not meet again."""
    ends: dict[str, Step] = {DONE.key: DONE, FAIL.key: FAIL}

    def target(keys: Sequence[str]) -> Any:
        targets = [ends.get(key) or steps[key] for key in keys if key != FAIL.key or len(keys) == 1]
        return targets[0] if len(targets) == 1 else Choice(lambda _: targets, targets)

    routes = {
        steps[each["key"]]: {event: target(keys) for event, keys in each["routes"].items()} for each in version["steps"]
    }

    members = {"start_at": steps[version["start"]], "transitions": routes, "__doc__": "As the described one."}
    return type(f"Shape_{re.sub('[^0-9A-Za-z_]', '_', key)}", (Workflow,), members, key=key)


def _step(described: Json, plan: Plan) -> Step:
    key, events = described["key"], tuple(described["routes"])
    if "map" in described:
        return _map(key, described["map"], plan)
    if not described.get("waits"):
        emitted, limits = _event(described, plan), _limits(described)
        if bounds := described.get("rounds"):
            number = plan.rounds.get(key, min(bounds["at_most"], USUAL_ROUNDS))
            again_on = tuple(bounds.get("again_on", ()))
            pause = None if again_on else Again(_data(plan.result_bytes), after=plan.waits.get(key))
            again = _go_on(emitted, number, pause, plan.result_bytes)
            rounds = Rounds(number, again_on=again_on)
            return step(key=key, events=events, rounds=rounds, limits=limits)(again)
        deferred = None if described.get("checkpoint", True) else False
        return step(key=key, events=events, checkpoint=deferred, limits=limits)(_emit(emitted, plan.result_bytes))
    duration = plan.waits.get(key, UNKNOWN_WAIT)
    if events == ("done",):
        return Wait(seconds=duration.total_seconds(), name=key)
    own = [event for event in events if event != "timeout"]
    kind = _CodedWait if key in plan.coded else WaitForEvent
    return kind(*own, timeout=duration if "timeout" in events else None, name=key)


def _limits(described: Json) -> list[Limit]:
    """The limits of a step, of which something is free."""
    found: list[Limit] = []
    for one in described.get("limits", ()):
        if "period_seconds" in one:
            size = {"burst": one["burst"], "cost": one["cost"]}
            found.append(RateLimit(one["name"], one["n"], one["period_seconds"], **size))
        else:
            found.append(Concurrency(one["name"], max(one.get("n", 1), 1)))
    return found


def _map(key: str, described: Json, plan: Plan, flow: type[Workflow] | None = None) -> Step:
    """A map of a step that runs, or of a workflow; what it needs of rates is free at once."""
    number = plan.items.get(key, USUAL_ITEMS)
    how = {name: described[name] for name in ("concurrency", "chunk") if name in described}
    limits = [_at_once(one) for one in _limits(described)]
    item: Step = step(key="item", limits=limits)(_emit("done", plan.result_bytes))
    if flow is not None:
        item = ChildWorkflow(flow, context=lambda _: _data(plan.input_bytes), name="item")
    return Map(item, over=lambda _: range(number), name=key, **how)


def _at_once(limit: Limit) -> Limit:
    """A rate of which all places are free."""
    return RateLimit(limit.name, 1, 1, burst=MOST_AT_ONCE) if isinstance(limit, RateLimit) else limit


class _CodedWait(WaitForEvent):
    """A wait that the engine takes for one with code of its own."""

    pure = False


def _go_on(
    event: str, number: int, again: Again | None, size: int
) -> Callable[[StepContext], Completed | Again | Pending]:
    """What ends each round but the last; without it, each waits for an event."""
    data = _data(size)
    return lambda ctx: (again or Pending()) if ctx.round < number else Completed(event, data)


def _emit(event: str, size: int) -> Callable[[StepContext], Completed]:
    data = _data(size)
    return lambda _: Completed(event, data)


def _data(size: int) -> dict[str, str]:
    """An object of about ``size`` bytes of JSON that compress as little as names and numbers do."""
    letters = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(size // 64 + 1))
    return {"data": letters[: max(size - 11, 1)]} if size else {}


def plan_of(definition: Definition, plan: Plan) -> Plan:
    """``plan`` with what a definition at hand tells of its waits."""
    waits: dict[str, timedelta] = {}
    for key, each in definition.steps.items():
        found = getattr(each, "wait_timeout", None) or getattr(each, "until", None) or getattr(each, "every", None)
        if isinstance(found, timedelta):
            waits[key] = found
    coded = frozenset(key for key, each in definition.declared.items() if each.waits and not each.pure)
    return replace(plan, waits={**waits, **plan.waits}, coded=coded)
