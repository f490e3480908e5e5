"""An ``Idempotency-Key`` names one request to one instance by one route, whoever carries it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.errors import RequestIdReused
from hephaestus.runtime.commands import Pause, Start
from tests.integration.deployment import SAMPLE, Deployment, api, sample

if TYPE_CHECKING:
    from hephaestus.operations import Connection

START = sample("direct-start")["context"]


def send(deployment: Deployment, name: str, body: Any, key: str = "k-1", **change: Any) -> tuple[int, dict[str, Any]]:
    """Send a request of the API under a key: the status and the body."""
    function = {"api-start": "start", "api-resume": "resume"}.get(name, "control")
    event = api(name, body=body, **change)
    event["headers"]["Idempotency-Key"] = key
    status, answer, _ = deployment.call(function, event)
    return status, answer


CHANGED: list[tuple[str, Any, Any]] = [
    ("api-resume", {"event": "approved"}, {"event": "approved", "payload": {"by": "ann"}}),
    ("api-resume", {"event": "approved"}, {"event": "rejected"}),
    ("api-resume", {"event": "approved"}, {"event": "no such event"}),
    ("api-resume", {"event": "approved", "step": "approval"}, {"event": "approved"}),
    ("api-pause", {"reason": "a"}, {"reason": "b"}),
    ("api-cancel", {"reason": "a"}, {"reason": "a", "compensate": True}),
    ("api-start", {"id": "other", "context": START}, {"id": "other", "context": {**START, "card": "another"}}),
    ("api-start", {"id": "other", "context": START}, {"id": "other", "context": START, "tags": ["x"]}),
    ("api-fork", {"new_id": "f"}, {"new_id": "f", "at": 1}),
]


@pytest.mark.parametrize(("name", "first", "second"), CHANGED, ids=[f"{it[0]} {str(it[2])[:50]}" for it in CHANGED])
def test_another_body_under_a_key_is_a_problem_and_the_first_is_still_repeated(
    deployment: Deployment, name: str, first: Any, second: Any
) -> None:
    """422 with its own type; nothing of it happens, before and after the instance has gone on."""
    deployment.started()
    path = {"path": f"/instances/{SAMPLE}/{name.removeprefix('api-').replace('resume', 'events')}", "resource": ""}
    path = {} if name == "api-start" else path
    status, answer = send(deployment, name, first, **path)
    assert status == 202
    for _ in range(2):
        refused, problem = send(deployment, name, second, **path)
        assert (refused, problem["type"]) == (422, "/problems/request-id-reused"), problem
        assert "nothing was changed" in problem["detail"]
        assert send(deployment, name, first, **path) == (status, answer)
        deployment.pump()


@pytest.mark.parametrize("spelling", ["k-1", '"k-1"', "  k-1 ", ' "k-1"'])
def test_a_key_is_the_same_however_it_is_quoted(deployment: Deployment, spelling: str) -> None:
    """Bare or in quotes, with or without space around it."""
    deployment.started()
    path = {"path": f"/instances/{SAMPLE}/pause", "resource": ""}
    assert send(deployment, "api-pause", {"reason": "a"}, **path)[0] == 202
    assert send(deployment, "api-pause", {"reason": "a"}, spelling, **path)[0] == 202
    assert send(deployment, "api-pause", {"reason": "b"}, spelling, **path)[0] == 422


def test_one_key_on_every_route_is_as_many_requests(deployment: Deployment) -> None:
    """And for two instances, two."""
    deployment.started()
    for action in ("pause", "unpause", "events"):
        name = {"events": "api-resume"}.get(action, f"api-{action}")
        body = {"event": "approved"} if action == "events" else {}
        assert send(deployment, name, body, path=f"/instances/{SAMPLE}/{action}", resource="")[0] == 202
    deployment.pump()
    kinds = [e["type"] for entry in deployment.runner.history(SAMPLE) for e in entry.events]
    assert [kind for kind in kinds if kind in ("Paused", "Unpaused", "EventReceived")] == [
        "Paused",
        "Unpaused",
        "EventReceived",
    ]


def test_a_repeat_that_waits_is_answered_with_the_state(deployment: Deployment) -> None:
    """``Prefer`` is no part of the request: the repeat of what was not waited for may wait, and the other way round."""
    deployment.started()
    path = {"path": f"/instances/{SAMPLE}/events", "resource": ""}
    assert send(deployment, "api-resume", {"event": "approved"}, **path)[0] == 202
    deployment.pump()
    status, shown = send(deployment, "api-resume", {"event": "approved"}, prefer="wait=5", **path)
    assert (status, shown["status"]) == (200, "completed")
    assert send(deployment, "api-resume", {"event": "rejected"}, prefer="wait=5", **path)[0] == 422


def test_a_direct_invocation_raises_the_same_error(deployment: Deployment) -> None:
    """Lambda's ``errorType`` names it."""
    deployment.started()
    event = {"instance_id": SAMPLE, "event": "approved", "event_id": "e"}
    deployment.invoke("resume", event)
    assert deployment.invoke("resume", event)["status"] == "completed"
    with pytest.raises(RequestIdReused):
        deployment.invoke("resume", {**event, "payload": {"n": 1}})


def test_a_direct_deadline_is_repeated_under_its_request_id(deployment: Deployment) -> None:
    """It answers with the same name; with another delay it is rejected."""
    deployment.started()
    event = {**sample("direct-schedule-resume"), "request_id": "d-1"}
    name = deployment.invoke("control", event)
    assert deployment.invoke("control", json.loads(json.dumps(event))) == name
    with pytest.raises(RequestIdReused):
        deployment.invoke("control", {**event, "delay_ms": 5})


def test_the_command_lines_connection_raises_the_same_error(connection: Connection) -> None:
    """A problem document becomes the library's own error again."""
    connection.do(Start(workflow="OrderFlow", id="o-1", context=START, start_id="k"), wait=5)
    with pytest.raises(RequestIdReused, match="nothing was changed"):
        connection.do(Start(workflow="OrderFlow", id="o-1", context={**START, "card": "another"}, start_id="k"))
    connection.do(Pause(instance_id="orderid::o-1", reason="a", request_id="k"))
    with pytest.raises(RequestIdReused, match="nothing was changed"):
        connection.do(Pause(instance_id="orderid::o-1", reason="b", request_id="k"))
