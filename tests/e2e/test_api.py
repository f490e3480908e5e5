"""The example's orders through the deployed API: approved, timed out by a schedule that fires, and everything refused.

Orders that are to wait for the clock are started first, so that the clock runs while other tests do.
"""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import pytest

from tests.e2e.orders import SOON, WAIT, context, eventually, fresh, overdue, schedules, show, start, wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.e2e.deployment import Deployment


@pytest.fixture(scope="module")
def timed_out(deployment: Deployment) -> str:
    """An order that nobody will decide on, started before anything else."""
    return start(deployment, approval_timeout_seconds=SOON)


@pytest.fixture(scope="module", autouse=True)
def _clock_runs(without_sweeps: None, timed_out: str) -> None:
    """Start the order that has to wait, whichever test comes first."""


def test_an_order_waits_for_its_approval_is_approved_and_ships(deployment: Deployment) -> None:
    """Start, fan out, join, suspend, be resumed by an event in another function, and end."""
    order = fresh()
    started = deployment.call("POST", "/workflows/OrderFlow/instances", {"id": order, "context": context()}, WAIT)
    assert started.status == 200, started.body
    waiting = started.json()
    assert waiting["status"] == "waiting"
    assert set(waiting["accepts"]["approval"]) >= {"approved", "rejected"}
    assert {waiting["steps"][step]["status"] for step in ("reserve_stock", "send_receipt")} == {"completed"}
    approved = deployment.call("POST", f"/instances/orderid::{order}/events", {"event": "approved"}, WAIT)
    assert approved.status == 200, approved.body
    done = approved.json()
    assert done["status"] == "completed"
    assert done["steps"]["approval"]["event"] == "approved"
    assert done["steps"]["ship"]["results"]["tracking_id"]
    assert "refund" not in done["steps"] or done["steps"]["refund"]["status"] == "skipped"


def test_an_order_goes_on_through_the_work_queue_when_nobody_waits(deployment: Deployment) -> None:
    """202 at once; the event source of `resume` does the rest, and the order's schedule is there while it waits."""
    order = fresh()
    answer = deployment.call("POST", "/workflows/OrderFlow/instances", {"id": order, "context": context()})
    assert answer.status == 202, answer.body
    assert answer.json()["id"] == f"orderid::{order}"
    assert answer.headers["location"].endswith(f"/instances/orderid::{order}")
    wait_for(deployment, order, "waiting")
    schedules = deployment.client("scheduler")
    group = deployment.outputs["ScheduleGroupName"]

    def mine() -> list[str]:
        found = schedules.list_schedules(GroupName=group)["Schedules"]
        return [one["Name"] for one in found if f".orderid-{order}" in one["Name"]]

    eventually(lambda: len(mine()) == 1, "the order has no schedule")
    assert (
        deployment.call("POST", f"/instances/orderid::{order}/cancel", {"reason": "changed my mind"}, WAIT).status
        == 200
    )
    assert show(deployment, order)["status"] == "cancelled"
    eventually(lambda: not mine(), "the order's schedule outlives it")


def test_an_event_before_its_step_waits_is_kept(deployment: Deployment) -> None:
    """Invariant 5: the approval comes while the order has not begun to run."""
    order = fresh()
    assert deployment.call("POST", "/workflows/OrderFlow/instances", {"id": order, "context": context()}).status == 202
    early = deployment.call("POST", f"/instances/orderid::{order}/events", {"event": "approved"})
    assert early.status == 202, early.body
    assert wait_for(deployment, order, "completed")["steps"]["ship"]["status"] == "completed"


def test_an_event_sent_twice_is_one_event(deployment: Deployment) -> None:
    """Invariant 5: the second call answers as the first did, even when the order has ended."""
    order = start(deployment)
    key = {"Idempotency-Key": uuid.uuid4().hex, **WAIT}
    answers = [
        deployment.call("POST", f"/instances/orderid::{order}/events", {"event": "approved"}, key) for _ in range(2)
    ]
    assert [answer.status for answer in answers] == [200, 200], answers[1].body
    assert answers[0].json()["status"] == answers[1].json()["status"] == "completed"


def test_starts_that_race_for_one_order_start_it_once(deployment: Deployment) -> None:
    """One conditional write decides, whatever the functions do at the same time."""
    order = fresh()
    body = {"id": order, "context": context()}
    with ThreadPoolExecutor(3) as callers:
        racing = [callers.submit(deployment.call, "POST", "/workflows/OrderFlow/instances", body) for _ in range(3)]
        answers = [one.result() for one in racing]
    assert sorted(answer.status for answer in answers) == [202, 409, 409]


@pytest.mark.parametrize("written", ["orderid::{}", "orderid%3A%3A{}", "orderid%3a%3a{}"])
def test_an_id_may_be_written_plainly_or_encoded(deployment: Deployment, ships: str, written: str) -> None:
    path = f"/instances/{written.format(ships)}"
    assert deployment.call("GET", path).json()["id"] == f"orderid::{ships}"
    history = deployment.call("GET", f"{path}/history").json()["items"]
    assert [entry["sequence"] for entry in history] == list(
        range(history[0]["sequence"], history[0]["sequence"] + len(history))
    )


def test_orders_are_listed_newest_first_a_page_at_a_time(deployment: Deployment) -> None:
    first, second = start(deployment, tags=["listed"]), start(deployment, tags=["listed"])
    page = deployment.call("GET", "/instances?workflow=OrderFlow&status=waiting&tag=listed&limit=1").json()
    assert [item["id"] for item in page["items"]] == [f"orderid::{second}"]
    more = f"/instances?workflow=OrderFlow&status=waiting&tag=listed&limit=1&cursor={quote(page['cursor'], safe='')}"
    answer = deployment.call("GET", more)
    assert answer.status == 200, (page["cursor"], answer.body)
    assert [item["id"] for item in answer.json()["items"]] == [f"orderid::{first}"]


Refusal = tuple[int, str, str, str, Any]
REFUSED: Final[Mapping[str, Refusal]] = {
    "malformed JSON": (400, "bad-request", "POST", "/workflows/OrderFlow/instances", b'{"id": '),
    "a list": (400, "bad-request", "POST", "/workflows/OrderFlow/instances", [1]),
    "NaN": (400, "bad-request", "POST", "/workflows/OrderFlow/instances", b'{"id": "a", "context": {"a": NaN}}'),
    "unknown workflow": (404, "unknown-workflow", "POST", "/workflows/NoFlow/instances", {"id": "a"}),
    "unknown instance": (404, "instance-not-found", "GET", "/instances/orderid::nobody", None),
    "no such input": (
        422,
        "invalid-input",
        "POST",
        "/workflows/OrderFlow/instances",
        {"id": "a", "context": {"items": []}},
    ),
    "still active": (
        409,
        "already-running",
        "POST",
        "/workflows/OrderFlow/instances",
        {"id": "{waits}", "context": "{order}"},
    ),
    "unexpected event": (422, "unexpected-event", "POST", "/instances/orderid::{waits}/events", {"event": "eaten"}),
    "ended": (409, "instance-closed", "POST", "/instances/orderid::{ships}/events", {"event": "rejected"}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_explained(deployment: Deployment, waits: str, ships: str, case: str) -> None:
    """Every refusal is a problem document (RFC 9457) with a status and a type of its own."""
    status, kind, method, path, body = REFUSED[case]
    if isinstance(body, dict):
        body = {name: value.format(waits=waits) if name == "id" else value for name, value in body.items()}
        body |= {"context": context()} if body.get("context") == "{order}" else {}
    answer = deployment.call(method, path.format(waits=waits, ships=ships), body)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"/problems/{kind}"
    assert problem["status"] == status
    assert problem["detail"]


def test_an_unexpected_event_is_told_what_would_be_accepted(deployment: Deployment, waits: str) -> None:
    answer = deployment.call("POST", f"/instances/orderid::{waits}/events", {"event": "eaten"})
    assert {"approved", "rejected"} <= set(str(answer.json()).replace("'", " ").replace(",", " ").split()), answer.body


def test_an_order_that_nobody_decides_on_is_refunded_by_its_schedule(deployment: Deployment, timed_out: str) -> None:
    """Invariant 6: the schedule fires by itself, not before its time, and calls `resume` under the schedules' role."""
    done = wait_for(deployment, timed_out, "completed")
    assert done["steps"]["approval"]["event"] == "timeout"
    assert done["steps"]["refund"]["results"]["why"] == "timeout"
    history = deployment.call("GET", f"/instances/orderid::{timed_out}/history").json()["items"]
    assert history[-1]["at"] > done["steps"]["approval"]["started_at"]
    eventually(lambda: not schedules(deployment, timed_out), "a schedule that has fired is gone")


def test_an_order_whose_schedule_is_lost_is_found_by_the_sweep(deployment: Deployment) -> None:
    """Invariant 6: at the latest one sweep after its time, even if Scheduler never calls."""
    order, _ = overdue(deployment)
    sweep = deployment.client("lambda").invoke(FunctionName=deployment.outputs["SweepFunctionName"], Payload=b"{}")
    assert json.loads(sweep["Payload"].read())["found"] >= 1
    assert wait_for(deployment, order, "completed")["steps"]["approval"]["event"] == "timeout"


@pytest.fixture(scope="module")
def waits(deployment: Deployment) -> str:
    """An order that waits for its approval."""
    return start(deployment)


@pytest.fixture(scope="module")
def ships(deployment: Deployment) -> str:
    """An order that has ended."""
    order = start(deployment)
    assert deployment.call("POST", f"/instances/orderid::{order}/events", {"event": "approved"}, WAIT).status == 200
    return order
