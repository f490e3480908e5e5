"""A paused workflow, and a restored table, on DynamoDB: conditions, marks and indexes as they are there."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hephaestus import DONE, Completed, StepContext, Workflow, step
from hephaestus.runtime.commands import Recheck
from hephaestus.runtime.workflow_pauses import SEEN_MS
from hephaestus.steps import ChildWorkflow, WaitForEvent
from hephaestus.store.store import Store
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from hephaestus.adapters.dynamodb import DynamoTable
    from tests.contract.conftest import Dynamo

gate = WaitForEvent("go", name="gate", timeout=timedelta(hours=1))


@step
def work(ctx: StepContext) -> Completed:
    """Work."""
    return Completed("done", {"attempt": ctx.attempt})


class Leaf(Workflow, key="leaf"):
    """A child."""

    start_at = work
    transitions = {work: {"done": DONE}}


class Order(Workflow, key="order"):
    """Waits, then has a child."""

    start_at = gate
    child = ChildWorkflow(Leaf, context=lambda _: {}, name="child")
    transitions = {gate: {"go": child, "timeout": child}, child: {"done": DONE}}


def test_a_workflow_is_paused_and_goes_on(dynamo: Dynamo) -> None:
    """Rule J.1. Twice, as the second pause begins over what the first has left."""
    local = LocalRuntime(Order, Leaf, store=dynamo.store())
    for number in range(2):
        name = f"leaf::{number}"
        local.runner.pause_workflow("Leaf", "night", by="ann")
        local.runner.pause_workflow("Leaf", "again")
        local.advance(timedelta(milliseconds=SEEN_MS))
        assert local.start(Leaf, str(number)).status == "pending"
        assert dynamo.item(name, "head")["held"] == {"N": "1"}  # type: ignore[index]  # it is there
        assert "is paused by ann" in str(local.runner.get(name).paused)
        local.advance(timedelta(minutes=2))
        local.sweep()
        assert local.runner.get(name).status == "pending"
        local.runner.unpause_workflow("Leaf")
        local.settle()
        assert local.runner.get(name).status == "completed"
        assert "held" not in (dynamo.item(name, "head") or {})
        assert local.store.paused.read() == {}


def scanned(table: DynamoTable) -> list[dict[str, Any]]:
    """All items, as a backup has them."""
    found: list[dict[str, Any]] = []
    start: dict[str, Any] = {}
    while True:
        page = table.client.scan(TableName=table.name, ConsistentRead=True, **start)
        found += page["Items"]
        if "LastEvaluatedKey" not in page:
            return found
        start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}


def test_a_restored_table_goes_on(dynamo: Dynamo) -> None:
    """Rule J.3: what was open then ends, and what the other future did is not known."""
    local = LocalRuntime(Order, Leaf, store=dynamo.store())
    for number in range(3):
        local.start(Order, str(number))
    local.resume("order::0", "go")
    backup, at = scanned(dynamo.table), local.clock.now()
    local.resume("order::1", "go")
    local.start(Order, "9")
    assert local.runner.get("order::1").status == "completed"

    table = dynamo.another_table()
    table.create()
    for item in backup:
        table.client.put_item(TableName=table.name, Item=item)
    later = LocalRuntime(Order, Leaf, store=Store(table))
    later.clock.move_to(at + 3 * 3_600_000)
    assert [later.runner.get(f"order::{number}").status for number in range(3)] == ["completed", "waiting", "waiting"]
    later.runner.do(Recheck(instance_id="order::1"))
    for _ in range(3):
        later.sweep()
        later.advance(timedelta(minutes=1))
    assert {shown.id: shown.status for shown in later.runner.list(limit=50)} == {
        f"order::{number}": "completed" for number in range(3)
    }
    assert later.runner.get("order::1").steps["gate"].event == "timeout"
