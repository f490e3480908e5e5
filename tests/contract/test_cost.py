"""What commits cost on DynamoDB, indexes included, in exact numbers (measured on Amazon's DynamoDB Local)."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hephaestus import DONE, Again, Concurrency, RateLimit, Retry, Rounds, Step, StepContext, Workflow
from hephaestus import step as make_step
from hephaestus.adapters.memory import MemoryQueue, MemoryTimers
from hephaestus.engine.events import EventReceived, InstanceFinished
from hephaestus.engine.records import Pace
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.dispatch import Budget, Enqueue, InPlace
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.steps import ChildWorkflow, Map, WaitForEvent
from hephaestus.testing import VirtualClock
from tests.contract.instances import T0, claim, start, started, step, write
from tests.costs import Meter, item_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.definition.definition import Checkpoint
    from tests.contract.conftest import Dynamo


@pytest.fixture
def meter(local: Dynamo) -> Meter:
    """A meter on an empty table."""
    return Meter(local.table, local.beside())


def spent(meter: Meter) -> tuple[list[str], float]:
    """Requests and write units since the last look; what the database reports of single writes must agree."""
    for request in meter.requests:
        assert request.reported in (None, request.units)
    found = meter.operations, meter.units
    meter.requests = []
    return found


DAYS = timedelta(days=2)
NUMBERS = (0, 1, 12, 120, 1230, 100000, 1764390000010, 1764390000100, 1764390001000, 0.5, 0.05, 1.25, -5, -50, -123)


def test_items_are_measured_as_the_database_measures_them(local: Dynamo) -> None:
    """To the byte: an item of 1,024 bytes takes one unit, and one of a byte more two."""
    numbers = {f"n{number}": {"N": str(number)} for number in NUMBERS}
    item = {"pk": {"S": "orderid::abc123"}, "sk": {"S": "#"}, **numbers, "padding": {"S": ""}}
    for size, units in ((1024, 1), (1025, 2)):
        item["padding"] = {"S": "x" * (size - item_size(item | {"padding": {"S": ""}}))}
        written = local.table.client.put_item(TableName=local.table.name, Item=item, ReturnConsumedCapacity="TOTAL")
        assert written["ConsumedCapacity"]["CapacityUnits"] == units


def test_a_start_costs_four_units(local: Dynamo, meter: Meter) -> None:
    """A start is one write of the head and its three index entries."""
    started(local.store(), "orderid::abc123", tags=("sales",), owner="me")
    assert spent(meter) == (["PutItem"], 4)


def test_a_step_costs_one_unit(local: Dynamo, meter: Meter) -> None:
    """A checkpoint is one write of one small item, however large the instance is."""
    state = started(local.store(), "orderid::abc123", owner="me", initial={"blob": "x" * 50_000})
    spent(meter)
    for number in range(3):
        state = write(local.store(), state, step(f"step-{number}", f"step-{number + 1}", total=number))
    assert spent(meter) == (["PutItem"] * 3, 3)


def test_a_finish_costs_five_units(local: Dynamo, meter: Meter) -> None:
    """Entry and head, the alarm's deletion, and the listing's move; what fails moves in ``recent``, too."""
    for end, units in (("completed", 5), ("failed", 7), ("cancelled", 7)):
        state = started(local.store(), f"orderid::{end}", owner="me")
        spent(meter)
        write(local.store(), state, step("last"), InstanceFinished(end))
        assert spent(meter) == (["PutItem", "UpdateItem"], units)


def chain(length: int, *ends: Step, checkpoint: Checkpoint = "steps") -> type[Workflow]:
    """A workflow of ``length`` steps in a row, then ``ends``."""

    def work(ctx: StepContext) -> dict[str, object]:
        return {"reference": f"ref-{ctx.attempt * 7919}", "total": 1349}

    steps = [*(make_step(key=f"step_number_{number}")(work) for number in range(length)), *ends]
    routes = zip(steps, [*steps[1:], DONE], strict=True)

    class Chain(Workflow, key="orderid", tags=["sales"], metadata={"team": "checkout"}, checkpoint=checkpoint):
        start_at = steps[0]
        transitions = {one: dict.fromkeys(one.events, after) for one, after in routes}

    return Chain


def runner_on(local: Dynamo, workflow: type[Workflow]) -> Runner:
    """A runner on the table, which runs everything in the invocation that asks for it."""
    clock = SystemClock()
    going = InPlace(Budget(clock.now() + 600_000))
    return Runner(local.store(), MemoryTimers(), MemoryQueue(clock), Registry([workflow]), clock=clock, dispatch=going)


def test_ten_linear_steps_cost_twelve_requests_and_eighteen_units(local: Dynamo, meter: Meter) -> None:
    """The whole way from ``start_instance`` to the end, in one invocation; every item is under 1 KB."""
    workflow = chain(10)
    runner = runner_on(local, workflow)
    data = {"order": "abc123", "items": [{"sku": "a-17", "price": 1250}, {"sku": "b-3", "price": 99}]}
    meter.clear()
    runner.start_instance(workflow, data, id="abc123")
    sizes = [max(request.sizes) for request in meter.requests]
    assert max(sizes) <= 1024, sizes
    assert spent(meter) == (["PutItem"] * 11 + ["UpdateItem"], 18)
    assert runner.get("orderid::abc123").status == "completed"


def test_ten_steps_written_at_boundaries_cost_three_requests_and_nine_units(local: Dynamo, meter: Meter) -> None:
    """The start, all ten with the end, and the head (rule E.1)."""
    workflow = chain(10, checkpoint="boundaries")
    runner = runner_on(local, workflow)
    meter.clear()
    runner.start_instance(workflow, {"order": "abc123", "items": [{"sku": "a-17", "price": 1250}]}, id="abc123")
    sizes = [max(request.sizes) for request in meter.requests]
    assert max(sizes) <= 1024, sizes
    assert spent(meter) == (["PutItem", "PutItem", "UpdateItem"], 9)
    assert runner.get("orderid::abc123").status == "completed"


@pytest.mark.parametrize("limits", [1, 2])
def test_a_permit_costs_two_requests_and_two_units(local: Dynamo, meter: Meter, limits: int) -> None:
    """Rule F.1. Without contention, taking and giving back together; in a transaction, twice that for each.

    The first use of a limit puts it into the list of limits, which is a unit more.
    """
    named = [Concurrency(f"limit{number}", 5) for number in range(limits)]

    @make_step(limits=named)
    def work(_ctx: StepContext) -> dict[str, object]:
        return {"total": 1349}

    class Limited(Workflow, key="orderid"):
        start_at = work
        transitions = {work: {"done": DONE}}

    runner = runner_on(local, Limited)
    for value, idle in (("abc123", True), ("abc124", False)):
        meter.clear()
        runner.start_instance(Limited, {}, id=value)
        operations, units = spent(meter)
        taken = ["UpdateItem"] if limits == 1 else ["TransactWriteItems"]
        # the start, the permits, the commit that names the attempt, that of its end, the permits, the head
        assert operations == ["PutItem", *taken, "PutItem", "PutItem", *["UpdateItem"] * (limits + 1)], idle
        assert units == 4 + (1 if limits == 1 else 4) + 1 + 1 + limits + 4 + (limits if idle else 0)


@pytest.mark.parametrize("asks", [False, True])
def test_a_workflows_permit_costs_two_requests_and_two_units(local: Dynamo, meter: Meter, asks: bool) -> None:
    """Rule F.2. Without contention; a ``per`` is asked after a commit of its own, by which its deaths are counted."""
    work = make_step(key="work")(lambda ctx: {"total": 1349})
    per = (lambda ctx: str(ctx.initial["tenant"])) if asks else None

    class Limited(Workflow, key="orderid", limits=[Concurrency("whole", 5, per=per)]):
        start_at = work
        transitions = {work: {"done": DONE}}

    runner = runner_on(local, Limited)
    for value in ("abc123", "abc124"):
        meter.clear()
        runner.start_instance(Limited, {"tenant": "t"}, id=value)
        # the start, the permit, the commit that names it and the first attempt, that of the end, the permit, the head
        assert spent(meter) == (
            ["PutItem", "UpdateItem", "PutItem", "PutItem", "UpdateItem", "UpdateItem"],
            4 + 1 + 1 + 1 + 1 + 4 + (value == "abc123"),  # its first use puts a limit into the list of limits
        )
        assert runner.get(f"orderid::{value}").status == "completed"


@pytest.mark.parametrize(("size", "chunk", "leaves"), [(0, 2, 0), (1, 2, 1), (5, 100, 1), (5, 2, 3)])
def test_a_map_under_a_limit_costs_a_permit_a_leaf(
    local: Dynamo, meter: Meter, size: int, chunk: int, leaves: int
) -> None:
    """Rule F.9. Two requests and two units for each instance that runs items, however many; without limits nothing."""
    costs = []
    for named in ([], [Concurrency("limit", 5)]):
        work = make_step(key="work", limits=named)(lambda ctx: {"total": ctx.item})
        every = Map(work, over=lambda _: range(size), chunk=chunk, concurrency=1, name="every")
        transitions = {every: {"done": DONE}}
        flow = type("Mapped", (Workflow,), {"start_at": every, "transitions": transitions}, key=f"mapped{len(named)}")
        runner, budget = runner_on(local, flow), Budget(SystemClock().now() + 600_000)
        meter.clear()
        name = runner.start_instance(flow, {}, id="1")
        for _ in range(leaves if leaves > 1 else 0):
            owner = runner.store.load(name)
            assert owner is not None
            for kid in owner.kin:
                runner.wake(kid, budget=budget)
            runner.wake(name, budget=budget)
        assert runner.get(name).status == "completed"
        operations, units = spent(meter)
        costs.append((Counter(operations), units))
    (free, units), (limited, more) = costs
    assert (limited - free, free - limited) == (Counter({"UpdateItem": 2 * leaves}), Counter())
    assert more - units == 2 * leaves + bool(leaves)  # its first use puts a limit into the list of limits


def test_a_reservation_costs_one_request_and_one_unit(local: Dynamo, meter: Meter) -> None:
    """Rule F.7. Two of each after idleness; starting at once, nothing else."""

    @make_step(limits=[RateLimit("calls", 1, timedelta(hours=1), burst=10)])
    def work(_ctx: StepContext) -> dict[str, object]:
        return {"total": 1349}

    class Rated(Workflow, key="orderid"):
        start_at = work
        transitions = {work: {"done": DONE}}

    runner = runner_on(local, Rated)
    for value, idle in (("abc123", True), ("abc124", False)):
        meter.clear()
        runner.start_instance(Rated, {}, id=value)
        reserved = ["UpdateItem"] * (2 if idle else 1)
        operations, units = spent(meter)
        assert operations == ["PutItem", *reserved, "PutItem", "PutItem", "UpdateItem"]
        assert units == 4 + len(reserved) + 1 + 1 + 4 + idle  # its first use puts a rate into the list of limits


def test_a_start_from_the_line_of_a_rate_costs_four_units_and_one_message(local: Dynamo, meter: Meter) -> None:
    """Rule F.7: the attempt to reserve, the place, its time, its removal; and a share of the calls of the line."""
    started: list[str] = []

    @make_step(limits=[RateLimit("calls", 1, timedelta(seconds=1))])
    def work(ctx: StepContext) -> dict[str, object]:
        started.append(ctx.instance_id)
        return {}

    class Rated(Workflow, key="orderid"):
        start_at = work
        transitions = {work: {"done": DONE}}

    clock = VirtualClock()
    queue = MemoryQueue(clock)
    store = local.store()
    runner = Runner(store, MemoryTimers(), queue, Registry([Rated]), clock=clock, dispatch=Enqueue())
    now = clock.now()
    paces = (Pace("calls", 1_000_000, 1),)
    for _ in range(61):
        store.rates.reserve(paces, now)
    number = 20
    for value in range(number):
        runner.start_instance(Rated, {}, id=f"{value:02d}")
    own: dict[str, float] = {"units": 0, "calls": 0, "wakes": -number}
    meter.clear()
    while len(started) < number:
        clock.move_to(queue.next_due() or clock.now())
        for work_ in queue.pop_due(clock.now()):
            own["calls" if work_.instance_id.startswith("rate#") else "wakes"] += 1
            runner.wake(work_.instance_id, budget=Budget(clock.now() + 900_000))
            clock.sleep(1)
    of_rate = [request for request in meter.requests if request.pk.startswith("rate#")]
    own["units"] = sum(1 if request.operation == "DeleteItem" else request.units for request in of_rate)
    assert started == [f"orderid::{value:02d}" for value in range(number)]
    assert own["wakes"] == number, "each is woken once"
    assert own["calls"] <= number / 2
    assert own["units"] <= 4 * number + 4 * own["calls"]


def test_a_round_costs_one_request_and_one_unit(local: Dynamo, meter: Meter) -> None:
    """Rule B.2: the end of a round and the beginning of the next are one write; the last of ten closes."""

    @make_step(rounds=Rounds(10))
    def work(ctx: StepContext) -> Again | dict[str, object]:
        result: dict[str, object] = {"reference": f"ref-{ctx.round * 7919}", "total": 1349}
        return Again(result) if ctx.round < 10 else result

    class Loop(Workflow, key="orderid", tags=["sales"], metadata={"team": "checkout"}):
        start_at = work
        transitions = {work: {"done": DONE}}

    runner = runner_on(local, Loop)
    meter.clear()
    runner.start_instance(Loop, {"order": "abc123"}, id="abc123")
    assert [request.units for request in meter.requests][1:-1] == [1] * 10
    assert spent(meter)[0] == ["PutItem"] * 11 + ["UpdateItem"]
    assert runner.get("orderid::abc123").status == "completed"


def test_a_child_and_its_parent_cost_what_they_may(local: Dynamo, meter: Meter) -> None:
    """A child with one step, from its start to its mail; its parent's mail, a step, and the next wait."""
    leaf = chain(1)
    kid = ChildWorkflow(leaf, context=lambda ctx: {"order": "abc123"}, name="kid")
    after = make_step(key="after")(lambda ctx: {"reference": "ref-7919", "total": 1349})
    gate = WaitForEvent("go", name="gate")

    class Parent(Workflow, key="parent"):
        start_at = kid
        transitions = {kid: {"done": after}, after: {"done": gate}, gate: {"go": DONE}}

    clock = SystemClock()
    budget = Budget(clock.now() + 600_000)
    registry, queue = Registry([Parent, leaf]), MemoryQueue(clock)
    runner = Runner(local.store(), MemoryTimers(), queue, registry, clock=clock, dispatch=InPlace(budget))
    runner.start_instance(Parent, {}, id="1")
    shown = runner.get("parent::1").steps["kid"].child
    assert shown is not None
    meter.clear()
    runner.wake(shown, budget=budget)
    operations, units = spent(meter)
    assert runner.get(shown).status == "completed"
    assert (len(operations) + 1, units + 4) == (8, 16), operations  # and the put of its head, by its parent
    meter.clear()
    runner.wake("parent::1", budget=budget)
    operations, units = spent(meter)
    assert runner.get("parent::1").steps["gate"].status == "waiting"
    assert (len(operations), units + 2) == (8, 8), operations  # and what the mail's deletion costs, alarm included


def waiting(local: Dynamo, result: Callable[[StepContext], dict[str, object]]) -> Runner:
    """An instance that waits with a deadline; after its event comes one step, and the next wait with a deadline."""
    work = make_step(key="work")(result)
    one, two = (WaitForEvent("go", name=name, timeout=DAYS) for name in ("one", "two"))
    workflow = chain(1, one, work, two)
    runner = runner_on(local, workflow)
    runner.start_instance(workflow, {"order": "abc123"}, id="abc123")
    assert runner.get("orderid::abc123").steps["one"].status == "waiting"
    return runner


def small(_ctx: StepContext) -> dict[str, object]:
    """A result of some bytes."""
    return {"reference": "ref-7919"}


def large(_ctx: StepContext) -> dict[str, object]:
    """A result of 10 KB that hardly compresses."""
    digits = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(2 * 10 * 1024 // 64))
    return {"data": base64.b85encode(bytes.fromhex(digits)).decode()[: 10 * 1024]}


def test_an_event_in_place_and_a_step_cost_five_requests_and_eight_units(local: Dynamo, meter: Meter) -> None:
    """Read, event with claim, outcome with the next wait, head, and the claim's alarm removed."""
    runner = waiting(local, small)
    meter.clear()
    runner.resume("orderid::abc123", "go", {"by": "ann"}, step="one")
    assert spent(meter) == (["Query", "PutItem", "PutItem", "UpdateItem", "UpdateItem"], 8)
    assert runner.get("orderid::abc123").steps["two"].status == "waiting"


def test_an_event_through_the_queue_costs_eight_requests_and_twelve_units(local: Dynamo, meter: Meter) -> None:
    """The event by itself, and the claim by itself, each with its own alarm."""
    runner = waiting(local, small)
    meter.clear()
    runner.resume("orderid::abc123", "go", {"by": "ann"}, step="one", dispatch=Enqueue())
    assert isinstance(runner.dispatch, InPlace)
    runner.wake("orderid::abc123", budget=runner.dispatch.budget)
    found, units = spent(meter)
    assert Counter(found) == {"Query": 2, "PutItem": 3, "UpdateItem": 3}
    assert units == 12
    assert runner.get("orderid::abc123").steps["two"].status == "waiting"


def test_a_large_result_is_written_once(local: Dynamo, meter: Meter) -> None:
    """The log entry and the head name the value: six requests and at most twenty units with a result of 10 KB."""
    runner = waiting(local, large)
    meter.clear()
    runner.resume("orderid::abc123", "go", {"by": "ann"}, step="one")
    found, units = spent(meter)
    assert Counter(found) == {"Query": 1, "PutItem": 3, "UpdateItem": 2}
    assert units <= 20
    assert len(str(runner.get("orderid::abc123").steps["work"].results["data"])) == 10 * 1024


def test_an_order_that_a_person_approves_costs_ten_requests_and_twenty_one_units(local: Dynamo, meter: Meter) -> None:
    """The example of the guide on costs: three steps, an approval with a deadline, and a last step after it."""
    ship = make_step(key="ship")(lambda ctx: {"tracking_id": "t-1"})
    workflow = chain(3, WaitForEvent("approved", name="approval", timeout=timedelta(hours=48)), ship)
    runner = runner_on(local, workflow)
    meter.clear()
    runner.start_instance(workflow, {"order": "abc123"}, id="abc123")
    runner.resume("orderid::abc123", "approved", {"by": "ann"})
    found, units = spent(meter)
    assert Counter(found) == {"PutItem": 6, "UpdateItem": 3, "Query": 1}
    assert units == 21
    assert runner.get("orderid::abc123").status == "completed"


def test_retries_and_compensation_cost_a_unit_each(local: Dynamo, meter: Meter) -> None:
    """Five steps done, one that fails three times for good, five undone: one write each, and the head twice."""

    def work(ctx: StepContext) -> dict[str, object]:
        return {"reference": f"ref-{ctx.attempt * 7919}", "total": 1349}

    def fail(ctx: StepContext) -> str:
        message = "declined"
        raise ValueError(message)

    quick = Retry(max_attempts=3, delay=timedelta(milliseconds=5), jitter="none")
    steps = [make_step(key=f"step_number_{number}", compensate=lambda ctx: None)(work) for number in range(5)]
    failing = make_step(key="failing", retry=quick)(fail)
    routes = zip([*steps, failing], [*steps[1:], failing, DONE], strict=True)

    class Saga(Workflow, key="orderid", tags=["sales"], metadata={"team": "checkout"}):
        start_at = steps[0]
        transitions = {one: {"done": after} for one, after in routes}

    runner = runner_on(local, Saga)
    meter.clear()
    runner.start_instance(Saga, {"order": "abc123"}, id="abc123")
    operations, units = spent(meter)
    ended = runner.get("orderid::abc123")
    assert (ended.status, ended.steps["step_number_0"].status) == ("failed", "compensated")
    commits = Counter(operations)
    assert commits["UpdateItem"] == 2
    assert commits["PutItem"] <= 14 + 2, "the snapshots may be items of their own"
    assert units <= 34


def test_a_wake_costs_the_same_however_old_the_instance_is(local: Dynamo, meter: Meter) -> None:
    """An event comes and the next wait begins: at the first wake and the last."""
    waits = [WaitForEvent("go", name=f"wait_{number}") for number in range(24)]
    workflow = chain(1, *waits)
    runner = runner_on(local, workflow)
    runner.start_instance(workflow, {}, id="abc123")
    wakes = []
    for _ in range(23):
        waiting = next(key for key, step in runner.get("orderid::abc123").steps.items() if step.status == "waiting")
        meter.clear()
        runner.resume("orderid::abc123", "go", {"by": "ann"}, step=waiting)
        wakes.append(spent(meter))
    assert {tuple(operations) for operations, _ in wakes[:5]} == {("Query", "PutItem", "UpdateItem", "UpdateItem")}
    assert min(units for _, units in wakes) == 5, "entry with its alarm, head, and the alarm removed"
    assert {tuple(operations) for operations, _ in wakes} == {tuple(wakes[0][0])}
    assert max(units for _, units in wakes) <= 6, "only its snapshot grows"


def test_a_message_that_comes_for_nothing_costs_one_read(local: Dynamo, meter: Meter) -> None:
    """Nothing is written where the head is up to date and no alarm was seen."""
    runner = waiting(local, small)
    meter.clear()
    assert isinstance(runner.dispatch, InPlace)
    runner.wake("orderid::abc123", budget=runner.dispatch.budget)
    assert spent(meter) == (["Query"], 0)


def test_a_rejected_commit_costs_one_more_read(local: Dynamo, meter: Meter) -> None:
    """Who lost a number reads the entry that took it, to see whether it is its own."""
    store = local.store()
    state = claim(store, started(store, "orderid::abc123"))
    write(store, state, EventReceived("b", "go", "e1"))
    meter.clear()
    with pytest.raises(AssertionError):
        write(store, state, EventReceived("b", "go", "e2"))
    assert spent(meter) == (["PutItem", "GetItem"], 1)


def test_only_an_id_that_was_used_before_pays_for_its_history(local: Dynamo, meter: Meter) -> None:
    """The rejected put, a read, the entry ``superseded`` with its alarm, the head with its index entries, the alarm."""
    store = local.store()
    write(store, started(store, "orderid::abc123", owner="me"), InstanceFinished("completed"))
    meter.clear()
    assert start("orderid::abc123", at=T0 + 10_000).write(store) is not None
    found, units = spent(meter)
    assert found == ["PutItem", "Query", "PutItem", "PutItem", "UpdateItem"]
    assert units <= 1 + 3 + 6 + 3
