"""The example's orders through the deployed API."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.answer import Answer
    from tests.e2e.deployment import Deployment

WAIT: Final = {"Prefer": "wait=20"}
A_DAY: Final = 86_400
PATIENCE: Final = 180.0  # seconds; the emulator looks for due schedules every ten, on a busy machine later
SOON: Final = 15  # seconds; time enough to find an order's schedule before it fires


def fresh() -> str:
    """A number that no order has."""
    return f"e2e-{uuid.uuid4().hex[:12]}"


def context(**more: Any) -> dict[str, Any]:
    """What an order starts with."""
    item = {"sku": "anvil", "quantity": 2, "price_cents": 4_900}
    customer = {"name": "Ada", "email": "ada@example.com"}
    return {"customer": customer, "items": [item], "approval_timeout_seconds": A_DAY, **more}


def start(deployment: Deployment, tags: list[str] | None = None, **more: Any) -> str:
    """Start an order and wait until it waits; returns its number."""
    order = fresh()
    body = {"id": order, "context": context(**more), "tags": tags or []}
    answer: Answer = deployment.call("POST", "/workflows/OrderFlow/instances", body, WAIT)
    assert answer.status in (200, 202), answer.body  # 202 where the machine is too busy to get there in time
    wait_for(deployment, order, "waiting")
    return order


def show(deployment: Deployment, order: str) -> dict[str, Any]:
    """The order as it is now."""
    answer = deployment.call("GET", f"/instances/orderid::{order}")
    assert answer.status == 200, answer.body
    shown: dict[str, Any] = answer.json()
    return shown


def schedules(deployment: Deployment, order: str) -> list[str]:
    """The names of an order's schedules."""
    group = deployment.outputs["ScheduleGroupName"]
    found = deployment.client("scheduler").list_schedules(GroupName=group)["Schedules"]
    return [one["Name"] for one in found if order in one["Name"]]


def overdue(deployment: Deployment) -> tuple[str, str]:
    """An order whose schedule was lost and whose time is up; its number, and what the schedule would have carried."""
    order = start(deployment, approval_timeout_seconds=SOON)
    group, scheduler = deployment.outputs["ScheduleGroupName"], deployment.client("scheduler")
    (name,) = schedules(deployment, order)
    given: str = scheduler.get_schedule(GroupName=group, Name=name)["Target"]["Input"]
    scheduler.delete_schedule(GroupName=group, Name=name)
    due_at = json.loads(given)["due_at"]
    eventually(lambda: time.time() * 1000 > due_at, "time stands still")
    return order, given


def wait_for(deployment: Deployment, order: str, status: str) -> dict[str, Any]:
    """The order when it has that status."""
    shown: dict[str, Any] = {}

    def reached() -> bool:
        shown.update(show(deployment, order))
        return bool(shown["status"] == status)

    eventually(reached, f"order {order} is not {status}")
    return shown


def eventually(holds: Callable[[], bool], complaint: str) -> None:
    """Look again and again until it holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.2)
