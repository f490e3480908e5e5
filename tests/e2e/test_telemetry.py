"""What the deployed functions write of an order: log lines that find it, and metrics."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.e2e import orders
from tools.emulator import STACK

if TYPE_CHECKING:
    from tests.e2e.deployment import Deployment


def written(deployment: Deployment, function: str, about: str) -> list[dict[str, Any]]:
    """The JSON lines in a function's log that hold a text."""
    pages = deployment.client("logs").get_paginator("filter_log_events")
    events = [
        event for page in pages.paginate(logGroupName=f"/aws/lambda/{STACK}-{function}") for event in page["events"]
    ]
    found = [event["message"] for event in events if event["message"].startswith("{") and about in event["message"]]
    return [json.loads(line) for line in found]


def test_an_orders_lines_are_found_by_its_id_and_by_the_requests(deployment: Deployment) -> None:
    order = orders.fresh()
    body = {"id": order, "context": orders.context()}
    headers = {**orders.WAIT, "X-Correlation-Id": f"request of {order}"}
    assert deployment.call("POST", "/workflows/OrderFlow/instances", body, headers).status == 200
    lines = written(deployment, "start", f'"request of {order}"')
    assert {line["instance_id"] for line in lines} == {f"orderid::{order}"}
    assert "workflow start" in {line["message"] for line in lines}
    lines = written(deployment, "resume", f'"orderid::{order}"')
    assert {line["instance_id"] for line in lines} == {f"orderid::{order}"}
    assert "step async" in {line["message"] for line in lines}
    assert {"validate_order", "charge_payment"} <= {line["step"] for line in lines if line["message"] == "step stop"}


def test_metrics_are_written_for_the_stack_and_the_workflow(deployment: Deployment) -> None:
    orders.start(deployment)
    metrics = written(deployment, "start", '"_aws"')[-1]
    assert (metrics["service"], metrics["workflow"], metrics["InstancesStarted"]) == (STACK, "OrderFlow", [1.0])
    metrics = next(line for line in reversed(written(deployment, "resume", '"_aws"')) if "StepDuration" in line)
    assert (metrics["service"], metrics["workflow"]) == (STACK, "OrderFlow")
