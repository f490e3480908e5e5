"""The routes and direct actions that steer an instance: the samples of ``events/``, and everything that is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hephaestus.adapters.memory import MemoryBus
from hephaestus.errors import (
    AlreadyRunning,
    BadRequest,
    InstanceClosed,
    InstanceNotFound,
    NotRedrivable,
    StoreUnavailable,
    UnexpectedEvent,
    UnknownStep,
)
from tests.integration.deployment import SAMPLE, Deployment, api, of_life, pass_time, raising, sample

STEERING = ("pause", "unpause", "redrive", "fork", "heartbeat", "cancel")
FORKED = {"id": "orderid::sample-5", "status": "waiting"}


def function_of(action: str) -> str:
    """Which function takes an action."""
    return "resume" if action == "heartbeat" else "control"


def route(action: str, *, instance: str = SAMPLE, **change: Any) -> dict[str, Any]:
    """A sample of a route, for another instance, with another body or headers."""
    headers = change.pop("headers", {})
    path = f"/instances/{instance}/{action}"
    event = api(f"api-{action}", path=path, **change)
    event["headers"] = {key: value for key, value in event["headers"].items() if key != "Idempotency-Key"} | headers
    return event


def beating(deployment: Deployment) -> dict[str, Any]:
    """The state of the second sample order, whose approval wants heartbeats."""
    status, body, _ = deployment.call("start", sample("api-start-wait"))
    assert status == 200
    return body


class TestApi:
    """What each route does."""

    def test_a_pause_and_its_end_are_accepted(self, deployment: Deployment) -> None:
        """202; nothing of the order runs in between, and the samples repeated change nothing."""
        deployment.call("start", sample("api-start"))
        for _ in range(2):
            assert deployment.call("control", sample("api-pause"))[:2] == (202, {"id": SAMPLE})
        deployment.pump()
        assert deployment.runner.get(SAMPLE).steps == {}
        for _ in range(2):
            assert deployment.call("control", sample("api-unpause"))[:2] == (202, {"id": SAMPLE})
        deployment.pump()
        assert deployment.runner.get(SAMPLE).status == "waiting"
        kinds = [event["type"] for entry in deployment.runner.history(SAMPLE) for event in entry.events]
        assert (kinds.count("Paused"), kinds.count("Unpaused")) == (1, 1)

    def test_a_request_that_comes_again_late_is_still_the_same(self, deployment: Deployment) -> None:
        """A pause that was continued is no new pause; the same key on another route is another request."""
        deployment.started()
        key = {"Idempotency-Key": "k-1"}
        for action in ("pause", "unpause", "pause", "unpause"):
            assert deployment.call("control", route(action, headers=key))[:2] == (202, {"id": SAMPLE})
        kinds = [event["type"] for entry in deployment.runner.history(SAMPLE) for event in entry.events]
        assert (kinds.count("Paused"), kinds.count("Unpaused")) == (1, 1)
        assert deployment.runner.get(SAMPLE).paused is None
        for action in ("cancel", "redrive", "cancel", "redrive"):
            assert deployment.call("control", route(action, headers=key))[0] == 202
        assert deployment.runner.get(SAMPLE).status == "pending"

    def test_a_cancellation_undoes_what_was_done_where_that_is_asked_for(self, deployment: Deployment) -> None:
        """200 with the state, the last step first; the same key answers the same; redriven, it is done anew."""
        deployment.started()
        for _ in range(2):
            status, body, _ = deployment.call("control", sample("api-cancel-compensate"))
            assert (status, body["status"], body["cancel_requested"]) == (200, "cancelled", "ordered by mistake")
            statuses = {key: shown["status"] for key, shown in body["steps"].items()}
            assert (statuses["charge_payment"], statuses["reserve_stock"]) == ("compensated", "compensated")
        status, body, _ = deployment.call("control", sample("api-redrive"))
        assert (status, body["status"], body["steps"]["charge_payment"]["status"]) == (200, "waiting", "completed")

    def test_a_cancellation_with_compensation_is_left_to_the_queue_when_nobody_waits(
        self, deployment: Deployment
    ) -> None:
        """202; until then the instance is not ended."""
        deployment.started()
        body = {"compensate": True}
        assert deployment.call("control", route("cancel", body=body))[:2] == (202, {"id": SAMPLE})
        assert deployment.runner.get(SAMPLE).status != "cancelled"
        deployment.pump()
        assert deployment.runner.get(SAMPLE).steps["reserve_stock"].status == "compensated"

    def test_a_fork_answers_with_the_new_order(self, deployment: Deployment) -> None:
        """200, the new id and where it is; the old order is left as it was."""
        deployment.started()
        before = deployment.runner.get(SAMPLE)
        status, body, headers = deployment.call("control", sample("api-fork"))
        assert (status, body["id"], body["status"]) == (200, "orderid::sample-4", "waiting")
        assert body["steps"]["charge_payment"]["results"] == {"charge_id": "ch_by_hand"}
        assert headers["Location"] == "/prod/instances/orderid::sample-4"
        assert deployment.runner.get(SAMPLE) == before

    def test_a_heartbeat_keeps_a_wait_alive(self, deployment: Deployment) -> None:
        """200 with the id; the wait's next alarm is later than before, and the event is none for the order."""
        before = beating(deployment)
        deployment.runner.clock.sleep(2)
        for raw in ('{"step": "approval"}', ""):
            event = api("api-heartbeat", raw=raw)
            assert deployment.call("resume", event)[:2] == (200, {"id": "orderid::sample-2"})
        shown = deployment.runner.get("orderid::sample-2")
        assert shown.status == "waiting"
        assert shown.wake_at is not None
        assert before["wake_at"] < shown.wake_at.isoformat()

    def test_a_heartbeat_that_is_missed_times_its_wait_out(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The order is refunded, and the step says what was missed."""
        event = sample("direct-start")
        event["context"] |= {"approval_heartbeat_seconds": 600}
        deployment.invoke("start", event)
        pass_time(monkeypatch, 600)
        deployment.pump()
        shown = deployment.runner.get("orderid::sample-3")
        assert (shown.status, shown.steps["approval"].results) == ("completed", {"missed": "heartbeat"})

    def test_history_tells_who_did_it(self, deployment: Deployment) -> None:
        """The identity that API Gateway authorized; nobody says it of themselves. A direct caller is trusted to say."""
        deployment.started()
        caller = sample("api-pause")["requestContext"]["identity"]["userArn"]
        deployment.call("control", route("pause"))
        deployment.invoke("control", {"action": "unpause", "instance_id": SAMPLE, "by": "night shift"})
        deployment.call("resume", sample("api-resume"))
        told = [event for entry in deployment.runner.history(SAMPLE) for event in entry.events]
        who = {event["type"]: event["by"] for event in told if "by" in event}
        assert who == {"Paused": caller, "Unpaused": "night shift", "EventReceived": caller}
        refused(deployment, "pause", route("pause", body={"by": "somebody else"}), 400, "bad-request")


class TestDirect:
    """The same by direct invocation: the answer is the id and the state reached."""

    def test_pause_and_continue(self, deployment: Deployment) -> None:
        """An event that comes in between is kept, and taken in the invocation that continues."""
        deployment.started()
        assert deployment.invoke("control", sample("direct-pause")) == {"id": SAMPLE, "status": "waiting"}
        deployment.invoke("resume", sample("direct-resume"))
        assert deployment.runner.get(SAMPLE).status == "waiting"
        assert deployment.invoke("control", sample("direct-unpause")) == {"id": SAMPLE, "status": "completed"}
        with pytest.raises(InstanceClosed):
            deployment.invoke("control", sample("direct-unpause"))

    def test_redrive(self, deployment: Deployment) -> None:
        """Goes on in place; the same request is one, and another finds nothing to redrive."""
        deployment.started()
        with pytest.raises(NotRedrivable):
            deployment.invoke("control", sample("direct-redrive"))
        deployment.invoke("control", sample("direct-cancel"))
        for _ in range(2):
            assert deployment.invoke("control", sample("direct-redrive")) == {"id": SAMPLE, "status": "waiting"}
        with pytest.raises(NotRedrivable):
            deployment.invoke("control", {**sample("direct-redrive"), "request_id": "another"})

    def test_fork(self, deployment: Deployment) -> None:
        """From the beginning with other data; the same fork is one, another of that id finds it active."""
        deployment.started()
        event = sample("direct-fork")
        event["context"]["card"] = "tok_flaky"
        for _ in range(2):
            assert deployment.invoke("control", event) == FORKED
        forked = deployment.runner.get(FORKED["id"])
        assert (forked.context["card"], forked.forked_from) == ("tok_flaky", f"{SAMPLE}#1#1")
        assert forked.steps["charge_payment"].attempt == 3
        with pytest.raises(AlreadyRunning):
            deployment.invoke("control", {**event, "start_id": "another"})

    def test_heartbeat(self, deployment: Deployment) -> None:
        """Answers with the id alone."""
        beating(deployment)
        assert deployment.invoke("resume", sample("direct-heartbeat")) == {"id": "orderid::sample-2"}
        with pytest.raises(UnknownStep):
            deployment.invoke("resume", {**sample("direct-heartbeat"), "step": "nothing"})
        with pytest.raises(UnexpectedEvent):
            deployment.invoke("resume", {**sample("direct-heartbeat"), "step": "ship"})

    @pytest.mark.parametrize("action", STEERING)
    def test_an_instance_that_never_was(self, deployment: Deployment, action: str) -> None:
        """Raises what Lambda reports as the error's type."""
        event = {**sample(f"direct-{action}"), "instance_id": "orderid::never"}
        with pytest.raises(InstanceNotFound, match="orderid::never"):
            deployment.invoke(function_of(action), event)

    @pytest.mark.parametrize("action", STEERING)
    @pytest.mark.parametrize("change", [{"instance_id": None}, {"instance_id": "sample-1"}, {"colour": "red"}])
    def test_what_is_malformed(self, deployment: Deployment, action: str, change: dict[str, Any]) -> None:
        """Without an id, with one that is none, with a member nobody knows."""
        with pytest.raises(BadRequest):
            deployment.invoke(function_of(action), {**sample(f"direct-{action}"), **change})


class TestQueue:
    """The queue's other kind of message."""

    def test_a_message_removes_a_schedule(self, deployment: Deployment) -> None:
        """Of the wait it names; what goes on, goes on."""
        deployment.started()
        assert len(deployment.timers.names()) == 1
        removal = of_life(sample("sqs-remove-schedule"), deployment.life())
        assert deployment.invoke("resume", removal) == {"batchItemFailures": []}
        assert (deployment.timers.names(), deployment.runner.get(SAMPLE).status) == ([], "waiting")

    def test_a_schedule_that_cannot_be_removed_now_comes_back(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Alone: the other messages of its batch are done."""
        deployment.call("start", sample("api-start"))
        both = sample("sqs-continue")
        both["Records"] += sample("sqs-remove-schedule")["Records"]
        failed = both["Records"][-1]["messageId"]
        monkeypatch.setattr(deployment.timers, "cancel", raising(StoreUnavailable("throttled")))
        assert deployment.invoke("resume", both) == {"batchItemFailures": [{"itemIdentifier": failed}]}
        assert deployment.runner.get(SAMPLE).status == "waiting"

    @pytest.mark.parametrize(
        "change",
        [
            {"remove_schedule": None},
            {"remove_schedule": []},
            {"remove_schedule": {}},
            {"remove_schedule": {"source": "hephaestus.timer"}},
            {"instance_id": SAMPLE},
            {"source": "somebody.else"},
        ],
    )
    def test_a_message_that_is_damaged_is_refused(self, deployment: Deployment, change: dict[str, Any]) -> None:
        """It ends in the dead letters; no schedule is touched."""
        deployment.started()
        event = sample("sqs-remove-schedule")
        (record,) = event["Records"]
        record["body"] = json.dumps({**json.loads(record["body"]), **change})
        assert deployment.invoke("resume", event) == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
        assert len(deployment.timers.names()) == 1

    def test_a_message_publishes_a_status_event(self, deployment: Deployment) -> None:
        """As it was; and where the stack has no bus any more, nothing comes of it."""
        event, bus = sample("sqs-status-event"), MemoryBus()
        assert deployment.invoke("resume", event) == {"batchItemFailures": []}
        deployment.runner.bus = bus
        assert deployment.invoke("resume", event) == {"batchItemFailures": []}
        (published,) = bus.events
        assert published.detail == json.loads(event["Records"][0]["body"])["status_event"]
        assert {"stack": "shop", **published.detail} == sample("status-completed")["detail"]

    def test_an_event_that_the_bus_does_not_take_comes_back(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Alone; so does one that is damaged, until both are dead letters."""
        deployment.runner.bus = bus = MemoryBus()
        monkeypatch.setattr(bus, "publish", raising(StoreUnavailable("throttled")))
        deployment.call("start", sample("api-start"))
        both = sample("sqs-continue")
        both["Records"] += sample("sqs-status-event")["Records"]
        damaged = {"source": "hephaestus.queue", "status_event": {"instance_id": SAMPLE}}
        both["Records"].append({**both["Records"][0], "messageId": "damaged", "body": json.dumps(damaged)})
        failed = [{"itemIdentifier": each["messageId"]} for each in both["Records"][-2:]]
        assert deployment.invoke("resume", both) == {"batchItemFailures": failed}
        assert deployment.runner.get(SAMPLE).status == "waiting"


class TestRefused:
    """Every mistake over HTTP is a problem document, and changes nothing."""

    @pytest.mark.parametrize("action", STEERING)
    def test_an_instance_that_never_was(self, deployment: Deployment, action: str) -> None:
        """404 names it."""
        body = refused(deployment, action, route(action, instance="orderid::never"), 404, "instance-not-found")
        assert "orderid::never" in body["detail"]

    @pytest.mark.parametrize("action", STEERING)
    @pytest.mark.parametrize("instance", ["nothing", "a::", "a::b%20c", "a::%00", "a::" + "x" * 1_000])
    def test_an_id_that_is_none(self, deployment: Deployment, action: str, instance: str) -> None:
        """400."""
        refused(deployment, action, route(action, instance=instance), 400, "bad-request")

    @pytest.mark.parametrize("action", STEERING)
    @pytest.mark.parametrize(
        "raw", ["{", "[]", '"text"', "null", "7", '{"colour": "red"}', '{"instance_id": "orderid::sample-1"}']
    )
    def test_a_body_that_is_none(self, deployment: Deployment, action: str, raw: str) -> None:
        """Malformed, no object, a member nobody knows, a second id: 400, and the order's log is as it was."""
        deployment.started()
        before = deployment.runner.history(SAMPLE)
        body = refused(deployment, action, route(action, raw=raw), 400, "bad-request")
        assert "colour" not in raw or "'colour' is not known" in body["detail"]
        assert deployment.runner.history(SAMPLE) == before

    @pytest.mark.parametrize("action", [action for action in STEERING if action != "heartbeat"])
    @pytest.mark.parametrize("key", ["x" * 129, "a b", "ä"])
    def test_an_idempotency_key_that_is_none(self, deployment: Deployment, action: str, key: str) -> None:
        """400."""
        deployment.started()
        refused(deployment, action, route(action, headers={"Idempotency-Key": key}), 400, "bad-request")

    @pytest.mark.parametrize(
        ("action", "body", "status", "kind"),
        [
            ("pause", {"reason": 1}, 400, "bad-request"),
            ("pause", {"reason": "x" * 1_001}, 400, "bad-request"),
            ("unpause", {"reason": "x"}, 400, "bad-request"),
            ("redrive", {"reason": "x"}, 400, "bad-request"),
            ("redrive", {}, 409, "not-redrivable"),
            ("cancel", {"compensate": "yes"}, 400, "bad-request"),
            ("cancel", {"compensate": 1}, 400, "bad-request"),
            ("fork", {}, 400, "bad-request"),
            ("fork", {"new_id": "a b"}, 400, "bad-request"),
            ("fork", {"new_id": "other", "at": 0}, 400, "bad-request"),
            ("fork", {"new_id": "other", "at": 99}, 400, "bad-request"),
            ("fork", {"new_id": "other", "at": "1"}, 400, "bad-request"),
            ("fork", {"new_id": "other", "at": True}, 400, "bad-request"),
            ("fork", {"new_id": "other", "generation": 7}, 404, "instance-not-found"),
            ("fork", {"new_id": "other", "version": 7}, 404, "unknown-version"),
            ("fork", {"new_id": "other", "context": []}, 400, "bad-request"),
            ("fork", {"new_id": "other", "context": {}}, 422, "invalid-input"),
            ("fork", {"new_id": "other", "results": []}, 400, "bad-request"),
            ("fork", {"new_id": "other", "results": {"ship": {}}}, 400, "bad-request"),
            ("fork", {"new_id": "other", "results": {"charge_payment": 7}}, 400, "bad-request"),
            ("fork", {"new_id": "sample-1"}, 409, "already-running"),
            ("heartbeat", {"step": 1}, 400, "bad-request"),
            ("heartbeat", {"step": ""}, 400, "bad-request"),
            ("heartbeat", {"step": "nothing"}, 404, "unknown-step"),
            ("heartbeat", {"step": "ship"}, 422, "unexpected-event"),
            ("heartbeat", {}, 422, "unexpected-event"),
        ],
    )
    def test_what_an_order_that_waits_refuses(
        self, deployment: Deployment, action: str, body: dict[str, Any], status: int, kind: str
    ) -> None:
        """Each with its status and its type; the order's log is as it was."""
        deployment.started()
        before = deployment.runner.history(SAMPLE)
        refused(deployment, action, route(action, body=body), status, kind)
        assert deployment.runner.history(SAMPLE) == before

    @pytest.mark.parametrize("action", ["pause", "unpause", "cancel", "heartbeat", "redrive"])
    def test_what_an_order_that_has_ended_refuses(self, deployment: Deployment, action: str) -> None:
        """409: a completed order is neither steered nor redriven."""
        deployment.started()
        deployment.invoke("resume", sample("direct-resume"))
        kind = "not-redrivable" if action == "redrive" else "instance-closed"
        refused(deployment, action, route(action), 409, kind)

    @pytest.mark.parametrize("action", STEERING)
    def test_another_method(self, deployment: Deployment, action: str) -> None:
        """405."""
        refused(deployment, action, {**route(action), "httpMethod": "PUT"}, 405, "method-not-allowed")


def refused(deployment: Deployment, action: str, event: Any, status: int, kind: str) -> dict[str, Any]:
    """The problem document."""
    answer, body, headers = deployment.call(function_of(action), event)
    assert (answer, body["type"], body["status"]) == (status, f"/problems/{kind}", status), body
    assert headers["Content-Type"] == "application/problem+json"
    assert body["title"]
    assert body["detail"]
    return body
