"""Deadlines on the deployed stack, fired by Scheduler alone."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from tools.emulator import ROOT

if TYPE_CHECKING:
    from tests.e2e.deployment import Deployment

PATIENCE: Final = 90.0  # seconds; a busy machine starts functions slowly


def order(approval_timeout_seconds: int = 3600) -> tuple[str, dict[str, Any]]:
    """The id of an order that no other test knows, and the body that starts it."""
    value = uuid4().hex
    body = json.loads(json.loads((ROOT / "events" / "api-start.json").read_text())["body"])
    body["context"]["approval_timeout_seconds"] = approval_timeout_seconds
    return f"orderid::{value}", body | {"id": value}


def eventually(deployment: Deployment, instance_id: str, status: str) -> dict[str, Any]:
    """The instance, once it has that status."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found: dict[str, Any] = deployment.call("GET", f"/instances/{instance_id}").json()
        if found.get("status") == status:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


@pytest.mark.usefixtures("without_sweeps")
def test_a_schedule_fires_when_nobody_approves(deployment: Deployment) -> None:
    """Made with the deadline, delivered by Scheduler, and gone afterwards."""
    instance_id, body = order(approval_timeout_seconds=5)
    waiting = deployment.call("POST", "/workflows/OrderFlow/instances", body, {"Prefer": "wait=20"}).json()
    assert waiting["status"] == "waiting"
    scheduler = deployment.client("scheduler")
    group = deployment.outputs["ScheduleGroupName"]

    def schedules() -> list[str]:
        names = [schedule["Name"] for schedule in scheduler.list_schedules(GroupName=group)["Schedules"]]
        found = [scheduler.get_schedule(Name=name, GroupName=group)["Target"]["Input"] for name in names]
        return [text for text in found if json.loads(text).get("instance_id") == instance_id]

    assert len(schedules()) == 1
    ended = eventually(deployment, instance_id, "completed")
    assert ended["steps"]["approval"]["event"] == "timeout"
    assert schedules() == []
