"""A table that is restored to any moment of its past: what the sweep then does with everything that it holds.

The moments are all writes of a world with waits, retries, children, maps, limits, a schedule and exactly-once writes.
Messages and timers of the other future are lost, or come all the same. What callers sent after it, they send again.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from hephaestus import DONE, Completed, Concurrency, Put, Retry, Schedule, StepContext, Workflow, step
from hephaestus.adapters.memory import MemoryTimers
from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.errors import CorruptLog, InstanceClosed, UnexpectedEvent
from hephaestus.runtime.commands import Recheck
from hephaestus.steps import ChildWorkflow, Map, Wait, WaitForEvent
from hephaestus.store.items import INDEXES
from hephaestus.store.keys import is_alarm_key
from hephaestus.store.store import Store
from hephaestus.store.table import ALWAYS
from hephaestus.testing import LocalRuntime
from hephaestus.writes.memory_tables import MemoryTables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hephaestus.runtime.ports import Timeout
    from hephaestus.store.table import Change, Condition, Item, Value
    from hephaestus.writes import Write

EFFECTS: Final = "effects"
MINUTE: Final = timedelta(minutes=1)
HALF_A_SECOND_MS: Final = 500
HOUR_MS: Final = 3_600_000
BEGINNING: Final = 1_767_225_600_000  # 2026-01-01
PART: Final = 5  # so many tests share the moments


@step
def write(ctx: StepContext) -> Completed:
    """Write once, together with its end."""
    return Completed("done", writes=[Put(EFFECTS, {"pk": ctx.idempotency_key, "seen": 1})])


@step(retry=Retry(max_attempts=3, delay=timedelta(minutes=20), backoff="constant", jitter="none"))
def flaky(ctx: StepContext) -> dict[str, int]:
    """Succeed at the second attempt, twenty minutes later."""
    if ctx.attempt == 1:
        raise ConnectionError
    return {"attempt": ctx.attempt}


limit = Concurrency("printer", 1)


@step(limits=[limit], retry=Retry(max_attempts=4, delay=timedelta(minutes=1), backoff="constant", jitter="none"))
def printed(ctx: StepContext) -> str:
    """Fail once, so that others are called meanwhile."""
    if ctx.attempt == 1:
        raise ConnectionError
    return "done"


gate = WaitForEvent("go", name="gate", timeout=timedelta(hours=3))


class Leaf(Workflow, key="leaf"):
    """A child."""

    start_at = write
    transitions = {write: {"done": flaky}, flaky: {"done": DONE}}


class Order(Workflow, key="order"):
    """Waits for a person, then has a child, then writes."""

    start_at = gate
    child = ChildWorkflow(Leaf, context=lambda _: {}, name="child")
    transitions = {gate: {"go": child, "timeout": child}, child: {"done": write}, write: {"done": DONE}}


class Mapped(Workflow, key="mapped"):
    """Five items in three instances, after a wait."""

    wait = Wait(timedelta(minutes=30), name="wait")
    each = Map(write, over=lambda _: ["a", "b", "c", "d", "e"], key=str, chunk=2, name="each")
    start_at = wait
    transitions = {wait: {"done": each}, each: {"done": DONE}}


class Printing(Workflow, key="print"):
    """Stands in line."""

    start_at = printed
    transitions = {printed: {"done": write}, write: {"done": DONE}}


class Report(Workflow, key="report"):
    """Starts by itself, every hour."""

    start_at = write
    transitions = {write: {"done": DONE}}
    schedules = [Schedule("hourly", "0 * * * *", overlap="allow", catch_up=31)]


FLOWS: Final = (Order, Leaf, Mapped, Printing, Report)


@dataclass
class Moment:
    """What the tables held after a write, when that was, and what callers had done by then."""

    now: int
    items: list[Item]
    written: dict[str, Any]


class Watched(InMemoryTable):
    """A table that remembers every moment of its past."""

    def __init__(self, tables: MemoryTables) -> None:
        super().__init__(INDEXES, tables=tables)
        self.moments: list[Moment] = []
        self.clock: Callable[[], int] = int

    def note(self, *, done: bool) -> bool:
        """Remember this moment."""
        if done and self.tables is not None:
            items = [item for part in self._partitions.values() for item in part.items.values()]
            stored = {name: deepcopy(dict(table.stored)) for name, table in self.tables.items()}
            self.moments.append(Moment(self.clock(), items, stored))
        return done

    def put(self, item: Item, condition: Condition) -> bool:
        """Put it."""
        return self.note(done=super().put(item, condition))

    def update(self, pk: str, sk: str, changes: Mapping[str, Value | None], condition: Condition) -> bool:
        """Change it."""
        return self.note(done=super().update(pk, sk, changes, condition))

    def delete(self, pk: str, sk: str, condition: Condition) -> bool:
        """Remove it."""
        return self.note(done=super().delete(pk, sk, condition))

    def change_all(self, changes: Sequence[Change]) -> bool:
        """Change them."""
        return self.note(done=super().change_all(changes))

    def transact(self, item: Item, condition: Condition, writes: Sequence[Write], token: str) -> bool:
        """Put it, with a step's writes."""
        return self.note(done=super().transact(item, condition, writes, token))


class Objects:
    """A bucket."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def put(self, name: str, data: bytes) -> None:
        """Keep it."""
        self.kept[name] = data

    def get(self, name: str) -> bytes | None:
        """What is kept."""
        return self.kept.get(name)

    def delete(self, name: str) -> None:
        """Remove it."""
        self.kept.pop(name, None)


@dataclass
class World:
    """A runtime on a table, and what its callers do."""

    local: LocalRuntime
    table: Watched
    tables: MemoryTables
    timers: list[Timeout] = field(default_factory=list)


class Kept(MemoryTimers):
    """Timers that remember all that they were ever given."""

    def __init__(self) -> None:
        super().__init__()
        self.ever: list[Timeout] = []

    def schedule(self, timeout: Timeout) -> str:
        """Keep it."""
        self.ever.append(timeout)
        return super().schedule(timeout)


def world(moment: Moment | None = None, later: timedelta = timedelta(0)) -> World:
    """A world that begins, or one on what was restored."""
    tables = MemoryTables({EFFECTS: ("pk",)})
    table = Watched(tables)
    if moment is not None:
        for item in moment.items:
            assert InMemoryTable.put(table, item, ALWAYS)
        for name, stored in moment.written.items():
            tables[name].stored.update(deepcopy(stored))
    LocalRuntime.starts_schedules = False
    try:
        local = LocalRuntime(*FLOWS, store=Store(table))
    finally:
        LocalRuntime.starts_schedules = True
    table.clock = local.clock.now
    if moment is not None:
        local.clock.move_to(moment.now + round(later / timedelta(milliseconds=1)))
    return World(local, table, tables)


STARTS: Final = [(Order, "1"), (Order, "2"), (Mapped, "1"), (Printing, "1"), (Printing, "2"), (Printing, "3")]


def start_all(local: LocalRuntime) -> None:
    """What callers start: the same start made again is one."""
    for flow, value in STARTS:
        local.runner.start_instance(flow, {}, id=value, start_id=f"s{value}")
        local.settle()


def send_all(local: LocalRuntime) -> None:
    """What callers send, under its own id."""
    with suppress(InstanceClosed, UnexpectedEvent):  # it went on without, as its deadline passed
        local.runner.resume("order::1", "go", event_id="e1")
    local.settle()


def past() -> World:
    """A day in the life."""
    first = world()
    local, kept = first.local, Kept()
    local.timers = local.runner.timers = local.runner.instances.timers = kept
    local.runner._performer.timers = kept  # noqa: SLF001 - to see what it is given
    local.runner.declare_schedules()
    local.settle()
    start_all(local)
    local.advance(timedelta(minutes=90))
    send_all(local)
    for _ in range(24):
        local.advance(timedelta(minutes=15))
        local.sweep()
    first.timers = kept.ever
    return first


def check(found: World, hours: int) -> None:
    """All have ended as they do, each write has happened once, and no permit is held."""
    local = found.local
    for flow, value in STARTS:
        shown = local.runner.get(f"{flow.business_key.name}::{value}")
        assert shown.status == "completed", (shown.id, shown.status, local.runner.why(shown.id))
    effects = found.tables[EFFECTS].items()
    assert all(item["seen"] == 1 for item in effects)
    kinds = Counter(str(item["pk"]).partition("::")[0] for item in effects)
    assert kinds["leaf"] == 2, "each order has had one child"
    assert kinds["mapped"] == 5
    assert kinds["print"] == 3
    assert kinds["order"] == 2
    assert kinds["report"] == hours
    assert local.store.permits.usage("printer").permits == ()
    open_ = local.runner.list(status=["pending", "running", "waiting", "compensating"], children=True, limit=200)
    assert [shown.id for shown in open_] == ["hephaestus-schedule::Report.hourly"]


@pytest.fixture(scope="module")
def before() -> World:
    """All of the past."""
    return past()


def goes_on(found: World) -> None:
    """Callers send again what they sent, and the sweep comes for hours: all is as it should be."""
    local = found.local
    local.runner.declare_schedules()
    start_all(local)
    send_all(local)
    for _ in range(130):
        local.sweep()
        local.advance(2 * MINUTE)
    check(found, (local.clock.now() - BEGINNING) // HOUR_MS)


def test_the_world_ends_as_it_should() -> None:
    """What is compared with."""
    check(past(), 7)


@pytest.mark.parametrize("part", range(PART))
def test_everything_goes_on_from_any_moment(before: World, part: int) -> None:
    """Rule J.3: half a day later, with neither messages nor timers: the sweep alone finds what is to be done."""
    for moment in before.table.moments[part::PART]:
        goes_on(world(moment, timedelta(hours=12)))


@pytest.mark.parametrize("part", range(PART))
def test_what_is_left_of_the_other_future_does_nothing(before: World, part: int) -> None:
    """Its messages arrive and its timers fire, all of them, on a table that knows of neither."""
    ids = {str(item["pk"]) for item in before.table.moments[-1].items}
    for moment in before.table.moments[part :: 3 * PART]:
        found = world(moment, timedelta(minutes=1))
        local, keys = found.local, {name: list[str]() for name in ids}
        for item in before.table.moments[-1].items:
            if is_alarm_key(str(item["sk"])):
                keys[str(item["pk"])].append(str(item["sk"]))
        for timeout in before.timers:
            local.fire(timeout)
        for instance_id in sorted(ids):
            local.runner.wake(instance_id, budget=local.budget(), alarms=keys[instance_id])
        local.settle()
        goes_on(found)


def skewed(moments: Sequence[Moment], number: int) -> Moment:
    """A moment at which what has a parent is up to half a second, and twelve writes, older than its parent."""
    draw, moment = random.Random(number), moments[number]
    near = [it for it in moments[max(number - 12, 0) : number + 12] if abs(it.now - moment.now) <= HALF_A_SECOND_MS]
    names = sorted({str(item["pk"]) for it in near for item in it.items})
    below = {name: draw.choice(near) if name.startswith(("leaf::", "hephaestus-map::")) else near[-1] for name in names}
    return Moment(
        moment.now, [item for name in names for item in below[name].items if item["pk"] == name], moment.written
    )


def stuck(found: World, *, rechecks: bool) -> list[str]:
    """The instances that have not ended after some hours of sweeps, with or without having been told to look again."""
    local = found.local
    open_ = local.runner.list(status=["pending", "running", "waiting", "compensating"], limit=200)
    for one in open_ if rechecks else ():
        if not one.id.startswith("hephaestus-"):
            local.runner.do(Recheck(instance_id=one.id))
    start_all(local)
    send_all(local)
    for _ in range(130):
        local.sweep()
        local.advance(2 * MINUTE)
    assert local.store.permits.usage("printer").permits == ()
    ids = [f"{flow.business_key.name}::{value}" for flow, value in STARTS]
    return [name for name in ids if local.runner.get(name).status != "completed"]


def test_a_backup_of_several_instants_is_made_whole(before: World) -> None:
    """Rule J.3: a parent starts what it says that it has started; an end that was told is told again."""
    moments = before.table.moments
    lost = 0
    for number in range(0, len(moments), 4):
        lost += bool(stuck(world(skewed(moments, number), timedelta(hours=12)), rechecks=False))
        assert stuck(world(skewed(moments, number), timedelta(hours=12)), rechecks=True) == [], number
    assert lost, "else the test proves nothing"


def test_a_recheck_changes_nothing_of_what_is_well(before: World) -> None:
    """At any moment, any number of times."""
    for moment in before.table.moments[:: 4 * PART]:
        found = world(moment, timedelta(minutes=1))
        local = found.local
        for _ in range(2):
            for one in local.runner.list(status=["waiting", "running"], limit=200):
                if not one.id.startswith("hephaestus-"):
                    local.runner.do(Recheck(instance_id=one.id))
                    local.settle()
        goes_on(found)


def test_a_large_value_that_is_gone_holds_up_its_instance_alone() -> None:
    """What was deleted since the moment is gone from the bucket, too: its instance waits for it, and others go on."""
    tables, objects = MemoryTables({EFFECTS: ("pk",)}), Objects()
    table = Watched(tables)
    local = LocalRuntime(Order, Leaf, store=Store(table, blobs=objects, threshold=2_000))
    table.clock = local.clock.now
    for value, size in (("1", 20_000), ("2", 1)):
        local.runner.start_instance(Order, {"blob": random.Random(1).randbytes(size).hex()}, id=value)
        local.settle()
    moment = table.moments[-1]
    kept = dict(objects.kept)
    objects.kept.clear()
    restored = Watched(MemoryTables({EFFECTS: ("pk",)}))
    for item in moment.items:
        assert InMemoryTable.put(restored, item, ALWAYS)
    local = LocalRuntime(Order, Leaf, store=Store(restored, blobs=objects, threshold=2_000))
    local.clock.move_to(moment.now)

    def pass_time(hours: int) -> None:
        for _ in range(hours * 30):
            local.sweep()
            local.advance(2 * MINUTE)

    pass_time(5)
    assert local.runner.get("order::2").status == "completed"
    with pytest.raises(CorruptLog):
        local.runner.get("order::1")
    objects.kept.update(kept)
    pass_time(3)
    assert local.runner.get("order::1").status == "completed"
