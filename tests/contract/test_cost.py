"""What commits cost on DynamoDB, indexes included, in exact numbers (measured on Amazon's DynamoDB Local)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hephaestus import DONE, Retry, Step, StepContext, Workflow
from hephaestus import step as make_step
from hephaestus.adapters.memory import MemoryQueue, MemoryTimers
from hephaestus.engine.events import Claimed, EventReceived, InstanceFinished, StepWaiting, Suspended
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.dispatch import Budget, Enqueue, InPlace
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.steps import WaitForEvent
from tests.contract.instances import LEASE_MS, T0, claim, start, started, step, write
from tests.costs import Meter

if TYPE_CHECKING:
    from tests.contract.conftest import Dynamo


@pytest.fixture
def meter(local: Dynamo) -> Meter:
    """A meter on an empty table."""
    return Meter(local.table, local.again().table)


def spent(meter: Meter) -> tuple[list[str], float]:
    """Requests and write units since the last look; what the database reports of single writes must agree."""
    for request in meter.requests:
        assert request.reported in (None, request.units)
    found = meter.operations, meter.units
    meter.requests = []
    return found


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


def test_a_finish_costs_seven_units(local: Dynamo, meter: Meter) -> None:
    """Entry and head twice each, the alarm's deletion, and the listing's move; what fails moves in ``recent``, too."""
    for end, units in (("completed", 7), ("failed", 9), ("cancelled", 9)):
        state = started(local.store(), f"orderid::{end}", owner="me")
        spent(meter)
        write(local.store(), state, step("last"), InstanceFinished(end))
        assert spent(meter) == (["TransactWriteItems"], units)


def test_a_wake_costs_one_read_and_at_most_three_writes(local: Dynamo, meter: Meter) -> None:
    """An event claims in its own commit, the step's outcome and the suspension are one more: 1 read, 2 writes."""
    store = local.store()
    state = write(store, started(store, "orderid::abc123", owner="me"), StepWaiting("approval", T0), Suspended(None))
    spent(meter)
    loaded = store.load("orderid::abc123")
    assert loaded == state
    state = write(store, state, EventReceived("approval", "ok", "e1"), Claimed("two", state.updated_at + LEASE_MS))
    write(store, state, step("approval", "next"), StepWaiting("next", T0), Suspended(T0 + 10**9))
    # A claim: two items twice, an alarm put, a move in the listing. The suspension: the same, and the alarm moves.
    assert spent(meter) == (["GetItem", "TransactWriteItems", "TransactWriteItems"], 7 + 8)


def test_ten_linear_steps_cost_eleven_requests_and_twenty_units(local: Dynamo, meter: Meter) -> None:
    """The budget is 12 requests and 20 write units: what the runtime commits for ten linear steps."""
    store = local.store()
    data = {"order": "abc123", "items": [{"sku": "a-17", "price": 1250}, {"sku": "b-3", "price": 99}]}
    state = started(
        store,
        "orderid::abc123",
        owner="0123456789abcdef0123",
        initial=data,
        tags=("sales",),
        metadata={"team": "checkout"},
    )
    for number in range(9):
        done = step(
            f"step_number_{number}", f"step_number_{number + 1}", reference=f"ref-{number * 7919}", total=number
        )
        state = write(store, state, done, at=state.updated_at + 7 + number)
    write(store, state, step("step_number_9", reference="ref-9"), InstanceFinished("completed"))
    requests = meter.requests
    largest = [max(request.sizes) for request in requests]
    assert max(largest) <= 1024, largest
    assert spent(meter) == (["PutItem"] * 10 + ["TransactWriteItems"], 20)


def chain(length: int, *ends: Step) -> type[Workflow]:
    """A workflow of ``length`` steps in a row, then ``ends``."""

    def work(ctx: StepContext) -> dict[str, object]:
        return {"reference": f"ref-{ctx.attempt * 7919}", "total": 1349}

    steps = [*(make_step(key=f"step_number_{number}")(work) for number in range(length)), *ends]
    routes = zip(steps, [*steps[1:], DONE], strict=True)

    class Chain(Workflow, key="orderid", tags=["sales"], metadata={"team": "checkout"}):
        start_at = steps[0]
        transitions = {one: dict.fromkeys(one.events, after) for one, after in routes}

    return Chain


def runner_on(local: Dynamo, workflow: type[Workflow]) -> Runner:
    """A runner on the table, which runs everything in the invocation that asks for it."""
    clock = SystemClock()
    going = InPlace(Budget(clock.now() + 600_000))
    return Runner(local.store(), MemoryTimers(), MemoryQueue(clock), Registry([workflow]), clock=clock, dispatch=going)


def test_ten_linear_steps_stay_in_their_budget_through_the_runner(local: Dynamo, meter: Meter) -> None:
    """The whole way from ``start_instance`` to the end, in one invocation: at most 12 requests and 20 write units."""
    workflow = chain(10)
    runner = runner_on(local, workflow)
    data = {"order": "abc123", "items": [{"sku": "a-17", "price": 1250}, {"sku": "b-3", "price": 99}]}
    meter.clear()
    runner.start_instance(workflow, data, id="abc123")
    operations, units = spent(meter)
    assert runner.get("orderid::abc123").status == "completed"
    assert operations == ["PutItem"] * 10 + ["TransactWriteItems"]
    assert units == 20


def test_an_order_that_a_person_approves_costs_seven_requests_and_twenty_nine_units(
    local: Dynamo, meter: Meter
) -> None:
    """The example of the guide on costs: three steps, an approval with a deadline, and a last step after it."""
    ship = make_step(key="ship")(lambda ctx: {"tracking_id": "t-1"})
    workflow = chain(3, WaitForEvent("approved", name="approval", timeout=timedelta(hours=48)), ship)
    runner = runner_on(local, workflow)
    meter.clear()
    runner.start_instance(workflow, {"order": "abc123"}, id="abc123")
    assert spent(meter) == (["PutItem"] * 3 + ["TransactWriteItems"], 14)
    runner.resume("orderid::abc123", "approved", {"by": "ann"})
    assert spent(meter) == (["GetItem", "TransactWriteItems", "TransactWriteItems"], 15)
    assert runner.get("orderid::abc123").status == "completed"


def test_retries_and_compensation_cost_a_unit_each(local: Dynamo, meter: Meter) -> None:
    """Five steps done, one that fails three times for good, five undone: one write each, and two that show outside.

    The start takes 4 units; each step, failed attempt and step undone 1; the third failure turns the instance to
    compensating and the last step undone ends it, both in a transaction with the head.
    """

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
    assert operations == ["PutItem"] * 8 + ["TransactWriteItems"] + ["PutItem"] * 4 + ["TransactWriteItems"]
    assert units <= 34 + 4, "34 as measured; a longer path in the error's trace may take another KB of both heads"


def test_a_wake_costs_the_same_however_old_the_instance_is(local: Dynamo, meter: Meter) -> None:
    """An event comes and the next wait begins: one read and one write, at the first wake and the last."""
    waits = [WaitForEvent("go", name=f"wait_{number}") for number in range(24)]
    workflow = chain(1, *waits)
    runner = runner_on(local, workflow)
    runner.start_instance(workflow, {}, id="abc123")
    wakes = []
    for _ in range(23):
        meter.clear()
        waiting = next(key for key, step in runner.get("orderid::abc123").steps.items() if step.status == "waiting")
        meter.clear()
        runner.resume("orderid::abc123", "go", {"by": "ann"}, step=waiting)
        wakes.append(spent(meter))
    assert [operations for operations, _ in wakes] == [["GetItem", "TransactWriteItems"]] * 23
    assert [units for _, units in wakes[:5]] == [5] * 5, "entry and head twice each, and the listing's time"
    assert max(units for _, units in wakes) <= 7, "only its snapshot grows"


def test_a_message_of_the_queue_costs_no_more_than_a_call(local: Dynamo, meter: Meter) -> None:
    """The instance is read once; a message that comes for nothing costs that read alone."""
    workflow = chain(1, WaitForEvent("go", name="first"), WaitForEvent("go", name="second"))
    runner = runner_on(local, workflow)
    runner.start_instance(workflow, {}, id="abc123")
    runner.resume("orderid::abc123", "go", step="first", dispatch=Enqueue())
    assert isinstance(runner.dispatch, InPlace)
    meter.clear()
    runner.wake("orderid::abc123", budget=runner.dispatch.budget)
    assert spent(meter)[0] == ["GetItem", "TransactWriteItems"]
    runner.wake("orderid::abc123", budget=runner.dispatch.budget)
    assert spent(meter)[0] == ["GetItem"]


def test_a_refused_commit_costs_one_more_read(local: Dynamo, meter: Meter) -> None:
    """Whoever lost a number reads the entry that took it, to see whether it is its own."""
    store = local.store()
    state = claim(store, started(store, "orderid::abc123"))
    write(store, state, EventReceived("b", "go", "e1"))
    meter.clear()
    with pytest.raises(AssertionError):
        write(store, state, EventReceived("b", "go", "e2"))
    assert spent(meter) == (["PutItem", "GetItem"], 1)


def test_only_an_id_that_was_used_before_pays_for_its_history(local: Dynamo, meter: Meter) -> None:
    """The refused put, a read, and a transaction that keeps the old first entry and moves two index entries."""
    store = local.store()
    write(store, started(store, "orderid::abc123", owner="me"), InstanceFinished("completed"))
    meter.clear()
    assert start("orderid::abc123", at=T0 + 10_000).write(store) is not None
    assert spent(meter) == (["PutItem", "GetItem", "TransactWriteItems"], 1 + 9)
