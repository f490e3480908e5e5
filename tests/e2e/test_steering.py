"""Orders steered through the deployed API: paused, continued, cancelled and undone, redriven, forked, kept alive."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.e2e.orders import WAIT, fresh, show, start, wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.answer import Answer
    from tests.e2e.deployment import Deployment

STEERING: Final = ("pause", "unpause", "redrive", "fork", "heartbeat", "cancel")


@pytest.fixture(scope="module")
def silent(deployment: Deployment) -> str:
    """An order whose approver never shows up, started before anything else so that its clock runs."""
    return start(deployment, approval_heartbeat_seconds=2)


@pytest.fixture(scope="module", autouse=True)
def _clock_runs(without_sweeps: None, silent: str) -> None:
    """Start the order that has to wait, whichever test comes first."""


def steer(deployment: Deployment, order: str, action: str, body: Any = None, **headers: str) -> Answer:
    """Call one of the routes; headers are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return deployment.call("POST", f"/instances/orderid::{order}/{action}", body, named)


def history(deployment: Deployment, order: str) -> list[str]:
    """The types of everything that happened to an order."""
    entries = deployment.call("GET", f"/instances/orderid::{order}/history").json()["items"]
    return [event["type"] for entry in entries for event in entry["events"]]


def test_a_paused_order_keeps_its_event_and_takes_it_when_it_continues(deployment: Deployment) -> None:
    """Each request made twice under one key is one, also when it comes again after the end."""
    order = start(deployment)
    pausing, key = uuid.uuid4().hex, uuid.uuid4().hex
    for _ in range(2):
        paused = steer(deployment, order, "pause", {"reason": "stocktaking"}, Idempotency_Key=pausing)
        assert (paused.status, paused.json()) == (202, {"id": f"orderid::{order}"}), paused.body
    assert deployment.call("POST", f"/instances/orderid::{order}/events", {"event": "approved"}).status == 202
    shown = show(deployment, order)
    assert (shown["status"], shown["paused"], shown["steps"]["approval"]["status"]) == (
        "waiting",
        "stocktaking",
        "waiting",
    )
    for _ in range(2):
        assert steer(deployment, order, "unpause", Idempotency_Key=key).status == 202
        assert wait_for(deployment, order, "completed")["steps"]["approval"]["event"] == "approved"
    late = steer(deployment, order, "pause", {"reason": "stocktaking"}, Idempotency_Key=pausing)
    assert late.status == 202, "it was heard, long ago"
    other = steer(deployment, order, "pause", {"reason": "something else"}, Idempotency_Key=pausing)
    assert (other.status, other.json()["type"]) == (422, "/problems/request-id-reused")
    happened = history(deployment, order)
    assert (happened.count("Paused"), happened.count("Unpaused")) == (1, 1)


def test_a_pause_of_an_order_that_waits_is_answered_with_its_state(deployment: Deployment) -> None:
    """200, as for every call that waits; an encoded id is the same order."""
    order = start(deployment)
    paused = deployment.call("POST", f"/instances/orderid%3A%3A{order}/pause", {"reason": "night"}, WAIT)
    assert (paused.status, paused.json()["status"], paused.json()["paused"]) == (200, "waiting", "night")
    assert paused.headers["preference-applied"] == "wait=20"
    continued = steer(deployment, order, "unpause", **WAIT)
    assert (continued.status, continued.json()["status"], "paused" in continued.json()) == (200, "waiting", False)


def test_a_cancelled_order_is_undone_and_redriven_to_its_end(deployment: Deployment) -> None:
    """The charge and the reservation are undone, done anew, and shipped."""
    order = start(deployment)
    key = uuid.uuid4().hex
    body = {"reason": "ordered by mistake", "compensate": True}
    for _ in range(2):
        cancelled = steer(deployment, order, "cancel", body, Idempotency_Key=key, **WAIT)
        assert (cancelled.status, cancelled.json()["status"]) == (200, "cancelled"), cancelled.body
        steps = cancelled.json()["steps"]
        assert {steps[step]["status"] for step in ("charge_payment", "reserve_stock")} == {"compensated"}
    assert history(deployment, order).count("StepCompensated") == 2
    key = uuid.uuid4().hex
    for _ in range(2):
        redriven = steer(deployment, order, "redrive", Idempotency_Key=key, **WAIT)
        assert (redriven.status, redriven.json()["status"]) == (200, "waiting"), redriven.body
    assert history(deployment, order).count("Redriven") == 1
    approved = deployment.call("POST", f"/instances/orderid::{order}/events", {"event": "approved"}, WAIT)
    assert (approved.status, approved.json()["status"]) == (200, "completed")


def test_an_order_is_undone_through_the_work_queue_when_nobody_waits(deployment: Deployment) -> None:
    order = start(deployment)
    assert steer(deployment, order, "cancel", {"compensate": True}).status == 202
    assert wait_for(deployment, order, "cancelled")["steps"]["charge_payment"]["status"] == "compensated"


def test_a_fork_is_an_order_of_its_own(deployment: Deployment) -> None:
    """Once for a key, with the results it was given; the old order waits on."""
    order, other, key = start(deployment), fresh(), uuid.uuid4().hex
    results = {"charge_payment": {"charge_id": "ch_by_hand"}}
    body = {"new_id": other, "results": results}
    for _ in range(2):
        forked = steer(deployment, order, "fork", body, Idempotency_Key=key, **WAIT)
        assert forked.status == 200, forked.body
        assert (forked.json()["id"], forked.json()["status"]) == (f"orderid::{other}", "waiting")
        assert forked.headers["location"].endswith(f"/instances/orderid::{other}")
    assert forked.json()["forked_from"].startswith(f"orderid::{order}#1#")
    assert forked.json()["steps"]["charge_payment"]["results"] == results["charge_payment"]
    again = steer(deployment, order, "fork", body, Idempotency_Key=uuid.uuid4().hex)
    assert (again.status, again.json()["type"]) == (409, "/problems/already-running")
    approved = deployment.call("POST", f"/instances/orderid::{other}/events", {"event": "approved"}, WAIT)
    assert approved.json()["status"] == "completed"
    assert show(deployment, order)["status"] == "waiting"


def test_a_heartbeat_puts_the_alarm_off(deployment: Deployment) -> None:
    """With or without the step's name; one that comes right after another is acknowledged and changes nothing."""
    order = start(deployment, approval_heartbeat_seconds=600)
    alarms = [show(deployment, order)["wake_at"]]
    for body in ({"step": "approval"}, None):
        beat = steer(deployment, order, "heartbeat", body)
        assert (beat.status, beat.json()) == (200, {"id": f"orderid::{order}"}), beat.body
        alarms.append(show(deployment, order)["wake_at"])
    assert alarms[0] < alarms[1] == alarms[2]


def test_an_order_whose_approver_is_silent_is_refunded(deployment: Deployment, silent: str) -> None:
    """By the work queue alone, as nobody sweeps; the step says what was missed."""
    ended = wait_for(deployment, silent, "completed")
    assert ended["steps"]["approval"]["results"] == {"missed": "heartbeat"}
    assert ended["steps"]["refund"]["results"]["why"] == "timeout"


@pytest.mark.parametrize("action", STEERING)
def test_an_order_that_never_was(deployment: Deployment, action: str) -> None:
    body = {"new_id": fresh()} if action == "fork" else None
    problem(steer(deployment, "nobody", action, body), 404, "instance-not-found")


@pytest.mark.parametrize("action", STEERING)
@pytest.mark.parametrize("body", [b"{", [1], {"colour": "red"}], ids=["malformed", "list", "unknown"])
def test_a_body_that_is_none(deployment: Deployment, waits: str, action: str, body: Any) -> None:
    problem(steer(deployment, waits, action, body), 400, "bad-request")


REFUSED: Final[Mapping[str, tuple[str, str, Any, int, str]]] = {
    "a redrive of what waits": ("waits", "redrive", None, 409, "not-redrivable"),
    "a redrive of what is completed": ("ships", "redrive", None, 409, "not-redrivable"),
    "a pause of what has ended": ("ships", "pause", None, 409, "instance-closed"),
    "a continuation of what has ended": ("ships", "unpause", None, 409, "instance-closed"),
    "a cancellation of what has ended": ("ships", "cancel", {"compensate": True}, 409, "instance-closed"),
    "a heartbeat for what has ended": ("ships", "heartbeat", {"step": "approval"}, 409, "instance-closed"),
    "a heartbeat that nobody waits for": ("waits", "heartbeat", None, 422, "unexpected-event"),
    "a heartbeat for no step": ("waits", "heartbeat", {"step": "nothing"}, 404, "unknown-step"),
    "a fork without an id": ("ships", "fork", {"at": 1}, 400, "bad-request"),
    "a fork from no entry": ("ships", "fork", {"new_id": "f", "at": 99}, 400, "bad-request"),
    "a fork of no generation": ("ships", "fork", {"new_id": "f", "generation": 9}, 404, "instance-not-found"),
    "a fork into no version": ("ships", "fork", {"new_id": "f", "version": 9}, 404, "unknown-version"),
    "a fork with no input": ("ships", "fork", {"new_id": "f", "context": {}}, 422, "invalid-input"),
    "a fork with results of no step": ("ships", "fork", {"new_id": "f", "results": {"refund": {}}}, 400, "bad-request"),
    "a reason that is a file": ("waits", "pause", {"reason": "x" * 2_000}, 400, "bad-request"),
    "a compensation that is a word": ("waits", "cancel", {"compensate": "yes"}, 400, "bad-request"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_explained(deployment: Deployment, waits: str, ships: str, case: str) -> None:
    """A problem document with a status and a type of its own; the order is left as it was."""
    which, action, body, status, kind = REFUSED[case]
    order = {"waits": waits, "ships": ships}[which]
    before = history(deployment, order)
    problem(steer(deployment, order, action, body), status, kind)
    assert history(deployment, order) == before


@pytest.mark.parametrize("action", STEERING)
def test_nobody_steers_without_permission(deployment: Deployment, waits: str, action: str) -> None:
    """Neither unsigned nor signed by a stranger."""
    path = f"/instances/orderid::{waits}/{action}"
    assert deployment.call("POST", path, by=deployment.stranger).status == 403
    assert deployment.call("POST", path, signed=False).status == 403


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


def problem(answer: Answer, status: int, kind: str) -> None:
    """A problem document (RFC 9457) of this status and type."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert (document["type"], document["status"]) == (f"/problems/{kind}", status)
    assert document["title"]
    assert document["detail"]
