"""History says who asked for each thing, and keeps what API Gateway authorized apart from what a caller claims."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Pending, StepContext, Workflow, step
from hephaestus.handlers.http.request import CLAIMED
from hephaestus.runtime.commands import Pause, Start
from hephaestus.testing import VirtualClock
from tests.integration import deployment as deploying
from tests.integration.deployment import Deployment, api, deploy, sample
from tests.integration.outside import ANN
from workflows import OrderFlow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.operations import Connection

ARN = "arn:aws:iam::123456789012:user/eve"


@step
def handed(ctx: StepContext) -> Pending:
    """Wait for whoever holds the link."""
    links["handed"] = ctx.callback_token("done")
    return Pending(heartbeat=timedelta(minutes=10))


links: dict[str, str] = {}


class Handed(Workflow, key="handed"):
    """One wait, with a link and heartbeats."""

    start_at = handed
    transitions = {handed: {"done": DONE, "timeout": DONE}}


class Ticking(VirtualClock):
    """Time moves whenever it is looked at, so that nothing happens at the same time."""

    def now(self) -> int:
        """A little later than before."""
        self.sleep(5)
        return super().now()


@pytest.fixture
def handing(monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The functions, with a workflow that takes every kind of request."""
    monkeypatch.setattr(deploying, "SystemClock", Ticking)
    return deploy(monkeypatch, Handed, OrderFlow)


def who(deployment: Deployment, instance_id: str = "handed::1") -> dict[str, tuple[Any, Any]]:
    """By event type, who asked and how that is known."""
    events = [e for entry in deployment.runner.history(instance_id, limit=200) for e in entry.events]
    return {event["type"]: (event.get("by"), event.get("by_source")) for event in events}


ASKED = ("InstanceStarted", "HeartbeatReceived", "Paused", "Unpaused", "EventReceived")
STEERED = ("Forked", "CancelRequested", "Redriven")


def by_api(deployment: Deployment, identity: Mapping[str, Any] | None, **claim: Any) -> None:
    """Every request of the API, under an identity that API Gateway has put there, or none."""
    context = {"path": "", "stage": "prod", "identity": identity, **claim}

    def call(function: str, name: str, path: str, body: Mapping[str, Any]) -> None:
        event = api(name, body=body, path=path, resource="", requestContext=context)
        event["headers"].pop("Idempotency-Key", None)
        assert deployment.call(function, event)[0] == 202, (name, deployment.call(function, event))
        deployment.pump()

    call("start", "api-start", "/workflows/Handed/instances", {"id": "1"})
    beat = {
        **api("api-heartbeat", body={}, path="/instances/handed::1/heartbeat", resource=""),
        "requestContext": context,
    }
    assert deployment.call("resume", beat)[0] == 200
    call("control", "api-pause", "/instances/handed::1/pause", {})
    call("control", "api-unpause", "/instances/handed::1/unpause", {})
    call("control", "api-fork", "/instances/handed::1/fork", {"new_id": "2"})
    call("control", "api-cancel", "/instances/handed::2/cancel", {})
    call("control", "api-redrive", "/instances/handed::2/redrive", {})
    call("resume", "api-resume", "/instances/handed::1/events", {"event": "done"})


@pytest.mark.parametrize(
    ("identity", "claim", "known"),
    [
        ({"userArn": ARN}, {}, (ARN, "api")),
        ({"userArn": None}, {}, (None, "api")),
        ({}, {}, (None, "api")),
        (None, {}, (None, "api")),
        (None, {CLAIMED: ARN}, (ARN, "claim")),
        ({"userArn": ARN}, {CLAIMED: "somebody else"}, ("somebody else", "claim")),
        (None, {CLAIMED: None}, (None, "claim")),
    ],
)
def test_every_request_by_the_api_is_recorded_with_who_made_it(
    handing: Deployment, identity: Any, claim: Any, known: tuple[Any, Any]
) -> None:
    """Authorized, without authorization, or claimed by our own clients."""
    by_api(handing, identity, **claim)
    first, second = who(handing), who(handing, "handed::2")
    assert {first[name] for name in ASKED} == {known}
    assert {second[name] for name in STEERED} == {known}


@pytest.mark.parametrize("by", ["ann", None])
def test_every_direct_request_is_a_claim(handing: Deployment, by: str | None) -> None:
    """Of the name that it gives; without one, nothing is claimed."""
    more = {"by": by} if by else {}
    known = (by, "claim") if by else (None, None)
    handing.invoke("start", {"workflow": "Handed", "id": "1", **more})
    on: dict[str, Any] = {"instance_id": "handed::1", **more}
    handing.invoke("resume", {"action": "heartbeat", **on})
    handing.invoke("control", {"action": "schedule_resume", "step": "handed", "delay_ms": 3_600_000, **on})
    handing.invoke("control", {"action": "pause", **on})
    handing.invoke("control", {"action": "unpause", **on})
    handing.invoke("control", {"action": "fork", "new_id": "2", **on})
    handing.invoke("control", {"action": "cancel", **on, "instance_id": "handed::2"})
    handing.invoke("control", {"action": "redrive", **on, "instance_id": "handed::2"})
    handing.invoke("resume", {"event": "done", **on})
    first, second = who(handing), who(handing, "handed::2")
    assert {first[name] for name in (*ASKED, "TimerSet")} == {known}
    assert {second[name] for name in STEERED} == {known}


def test_a_links_holder_is_the_link(handing: Deployment) -> None:
    """For its answer and for its heartbeats."""
    handing.invoke("start", {"workflow": "Handed", "id": "1"})
    token = links["handed"]
    event = {**sample("api-callback-answer"), "path": f"/callbacks/{token}", "resource": "", "body": ""}
    beat = handing.invoke("callback", {**event, "queryStringParameters": {"heartbeat": "true"}})
    assert beat["statusCode"] == 200, beat
    assert handing.invoke("callback", event)["statusCode"] in (200, 202)
    known = who(handing)
    assert known["HeartbeatReceived"] == known["EventReceived"]
    name, source = known["EventReceived"]
    assert (str(name).startswith("callback "), source) == (True, "link")


def test_a_links_heartbeats_write_little_however_many_come(handing: Deployment) -> None:
    """Each is acknowledged; within a tenth of the interval one is recorded, with one message."""
    handing.invoke("start", {"workflow": "Handed", "id": "1"})
    event = {**sample("api-callback-answer"), "path": f"/callbacks/{links['handed']}", "resource": "", "body": ""}
    event["queryStringParameters"] = {"heartbeat": "true"}
    entries = len(handing.runner.history("handed::1"))
    handing.queue.pop_due(2**62)
    for _ in range(300):
        assert handing.invoke("callback", event)["statusCode"] == 200
    assert len(handing.runner.history("handed::1")) == entries + 1
    assert len(handing.queue.pop_due(2**62)) == 1


@pytest.mark.parametrize("name", ["api-resume", "api-pause", "api-cancel", "api-fork", "api-start", "api-heartbeat"])
def test_a_body_cannot_name_who_asked(handing: Deployment, name: str) -> None:
    """Whom API Gateway has authorized has a name already."""
    handing.started()
    function = {"api-resume": "resume", "api-heartbeat": "resume", "api-start": "start"}.get(name, "control")
    status, problem, _ = handing.call(function, api(name, body={"by": "somebody else"}))
    assert (status, "'by' is not known" in problem["detail"]) == (400, True)


def test_the_command_lines_connection_claims(connection: Connection, deployment: Deployment) -> None:
    """It invokes the functions directly: nothing has authorized the name that it gives."""
    connection.do(Start(workflow="OrderFlow", id="o-9", context=sample("direct-start")["context"]), wait=5)
    connection.do(Pause(instance_id="orderid::o-9"))
    known = who(deployment, "orderid::o-9")
    assert known["InstanceStarted"] == known["Paused"] == (ANN, "claim")
