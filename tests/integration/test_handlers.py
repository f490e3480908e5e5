"""Every function, called with the events that its triggers send: the samples of ``events/`` and variations of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from hephaestus import DONE, Schedule, StepContext, Workflow, step
from hephaestus.errors import (
    BadRequest,
    CorruptLog,
    InstanceClosed,
    InstanceNotFound,
    InvalidInput,
    StoreUnavailable,
    UnexpectedEvent,
    UnknownStep,
    UnknownWorkflow,
)
from hephaestus.handlers.http import fitting
from hephaestus.runtime.registry import Registry
from tests.integration.deployment import (
    SAMPLE,
    Context,
    Deployment,
    api,
    batch,
    fired,
    pass_time,
    raising,
    sample,
    swell,
)
from tools.openapi.document import document

if TYPE_CHECKING:
    import io


class Watch:
    """A clock of which only the pauses pass, and that delivers nothing before it is asked to."""

    def __init__(self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
        self.deployment = deployment
        self.began = self.time = deployment.runner.clock.now()
        self.pauses = 0
        self.delivers_at: int | None = None
        deployment.delivers = False
        monkeypatch.setattr(deployment.runner.clock, "now", lambda: self.time)
        monkeypatch.setattr(deployment.runner.clock, "sleep", self.sleep)

    def sleep(self, milliseconds: int) -> None:
        """Let time pass."""
        self.pauses += 1
        self.time += milliseconds
        if self.pauses == self.delivers_at:
            self.deployment.pump()

    @property
    def passed(self) -> int:
        """What has passed, in milliseconds."""
        return self.time - self.began


WAITING = {
    "a start": ("start", "api-start", "pending"),
    "an event": ("resume", "api-resume", "waiting"),
    "a cancellation": ("control", "api-cancel-compensate", "waiting"),
    "a continuation": ("control", "api-unpause", "waiting"),
    "a redrive": ("control", "api-redrive", "pending"),
    "a fork": ("control", "api-fork", "pending"),
}


class TestWaiting:
    """``Prefer: wait``: the request runs nothing, and answers in time whatever the steps do."""

    def ready(self, deployment: Deployment, what: str) -> None:
        """The sample instance as the request needs it."""
        if what != "a start":
            deployment.started()
        if what == "a continuation":
            deployment.runner.pause(SAMPLE)
            deployment.runner.resume(SAMPLE, "approved")
        if what == "a redrive":
            deployment.runner.cancel(SAMPLE, "by mistake")
            deployment.pump()

    @pytest.mark.parametrize("what", WAITING)
    @pytest.mark.parametrize(("wait", "remaining_ms"), [(1, 300_000), (25, 300_000), (600, 900_000), (20, 5_000)])
    def test_the_answer_comes_in_time_whatever_becomes_of_the_work(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch, what: str, wait: int, remaining_ms: int
    ) -> None:
        """202 when the time is up, although nobody has taken the message: API Gateway gives up after 29 seconds."""
        self.ready(deployment, what)
        function, name, status = WAITING[what]
        watch = Watch(deployment, monkeypatch)
        answer = deployment.call(
            function, api(name, body=_body(name), prefer=f"wait={wait}"), remaining_ms=remaining_ms
        )
        assert (answer[0], answer[1]["status"]) == (202, status), answer
        assert watch.passed == min(wait * 1000, 25_000, remaining_ms - 500)
        assert len(deployment.queue.pop_due(watch.time)) == 1, "the work is in the queue"

    @pytest.mark.parametrize("what", WAITING)
    def test_the_answer_is_what_came_of_the_work(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        """200 as soon as another invocation is done, and not the state before it has begun."""
        self.ready(deployment, what)
        function, name, _ = WAITING[what]
        watch = Watch(deployment, monkeypatch)
        watch.delivers_at = 3
        status, body, _ = deployment.call(function, api(name, body=_body(name), prefer="wait=20"))
        ended = {"a start": "waiting", "a cancellation": "cancelled", "a redrive": "waiting", "a fork": "waiting"}
        assert (status, body["status"]) == (200, ended.get(what, "completed"))
        assert (watch.pauses, watch.passed < 1_000) == (3, True)

    def test_a_step_of_minutes_runs_where_nobody_waits(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The function that the request came to never calls it."""
        Watch(deployment, monkeypatch)
        called = []

        @step
        def slow(ctx: StepContext) -> str:
            called.append(ctx.instance_id)
            return "done"

        class Slow(Workflow, key="slow"):
            """One step."""

            start_at = slow
            transitions = {slow: {"done": DONE}}

        deployment.runner.registry = Registry([Slow])
        route = {"path": "/workflows/Slow/instances", "resource": None}
        event = api("api-start", body={"id": "1", "context": {}}, prefer="wait=1", **route)
        assert deployment.call("start", event)[0] == 202
        assert called == []
        deployment.pump()
        assert called == ["slow::1"]


def _body(name: str) -> Any:
    """The sample's body, a key of its own left out."""
    body = sample(name)["body"]
    return json.loads(body) if body else {}


class TestStart:
    """``POST /workflows/{workflow}/instances`` and the direct start."""

    def test_api_start_is_accepted_and_queued(self, deployment: Deployment) -> None:
        """202 with the id and where to look; the work is in the queue."""
        status, body, headers = deployment.call("start", sample("api-start"))
        assert (status, body) == (202, {"id": SAMPLE, "status": "pending"})
        assert headers["Location"] == "/prod/instances/orderid::sample-1"
        assert headers["Preference-Applied"] == "respond-async"
        assert deployment.runner.get(SAMPLE).status == "pending"
        deployment.pump()
        shown = deployment.runner.get(SAMPLE)
        assert (shown.status, shown.tags, shown.metadata["campaign"]) == ("waiting", ("sales", "web"), "spring")

    def test_api_start_that_waits_answers_with_the_state(self, deployment: Deployment) -> None:
        """200, and the work done by whoever took its message."""
        status, body, headers = deployment.call("start", sample("api-start-wait"))
        assert (status, body["status"], headers["Preference-Applied"]) == (200, "waiting", "wait=10")
        assert body["accepts"] == {"approval": ["approved", "rejected", "timeout"]}
        assert deployment.queue.pop_due(deployment.runner.clock.now()) == []

    def test_a_start_that_is_not_done_in_time_is_accepted(self, deployment: Deployment) -> None:
        """When the time is up, 202 tells the state so far, and the queue goes on with it."""
        event = api("api-start-wait", prefer="respond-async, wait=1")
        status, body, headers = deployment.call("start", event, remaining_ms=400)
        assert (status, body["status"]) == (202, "pending")
        assert headers["Preference-Applied"] == "respond-async, wait=1"
        deployment.pump()
        assert deployment.runner.get("orderid::sample-2").status == "waiting"

    def test_the_same_key_is_the_same_start(self, deployment: Deployment) -> None:
        """A repeated request answers as the first did; another key finds the instance active."""
        first, again = (deployment.call("start", sample("api-start")) for _ in range(2))
        assert first == again
        other = api("api-start")
        other["headers"]["Idempotency-Key"] = "another"
        status, body, _ = deployment.call("start", other)
        assert (status, body["type"], body["instance"]) == (
            409,
            "/problems/already-running",
            "/workflows/OrderFlow/instances",
        )

    def test_direct_start_runs_in_place(self, deployment: Deployment) -> None:
        """The answer is the id and the state reached."""
        assert deployment.invoke("start", sample("direct-start")) == {"id": "orderid::sample-3", "status": "waiting"}

    @pytest.mark.parametrize(
        ("change", "error"),
        [
            ({"workflow": "Nothing"}, UnknownWorkflow),
            ({"id": None}, BadRequest),
            ({"context": {}}, InvalidInput),
            ({"context": {"items": [float("nan")]}}, InvalidInput),
        ],
    )
    def test_a_wrong_direct_start_raises(
        self, deployment: Deployment, change: dict[str, Any], error: type[Exception]
    ) -> None:
        """Lambda reports the error's type and message."""
        with pytest.raises(error):
            deployment.invoke("start", {**sample("direct-start"), **change})


class TestResume:
    """Events, timeouts and messages."""

    def test_api_resume_delivers_an_event(self, deployment: Deployment) -> None:
        """The id in the path is encoded; who waits sees the order shipped."""
        deployment.started()
        status, body, headers = deployment.call("resume", sample("api-resume"))
        assert (status, body["status"], body["steps"]["ship"]["status"]) == (200, "completed", "completed")
        assert body["steps"]["approval"]["results"] == {"by": "grace"}
        assert headers["Location"] == "/prod/instances/orderid::sample-1"

    def test_api_resume_without_waiting_is_queued(self, deployment: Deployment) -> None:
        """202, then the queue does it; the same key again is the same event, also after the end."""
        deployment.started()
        event = api("api-resume", path="/instances/orderid::sample-1/events")
        assert deployment.call("resume", event)[:2] == (202, {"id": SAMPLE, "event": "approved"})
        deployment.pump()
        assert deployment.runner.get(SAMPLE).status == "completed"
        assert deployment.call("resume", event)[0] == 202

    def test_direct_resume_runs_in_place(self, deployment: Deployment) -> None:
        """Twice the same event id is one event."""
        deployment.started()
        for _ in range(2):
            assert deployment.invoke("resume", sample("direct-resume")) == {"id": SAMPLE, "status": "completed"}

    def test_a_schedule_that_fires_times_its_step_out(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The payload is the schedule's own; the second firing does nothing."""
        deployment.started(approval_timeout_seconds=3_600)
        pass_time(monkeypatch, 3_600)
        (timeout,) = deployment.timers.pop_due(deployment.runner.clock.now())
        event = fired(timeout)
        assert event.keys() == sample("scheduler-timeout").keys()
        for _ in range(2):
            assert deployment.invoke("resume", event) == {"id": SAMPLE}
        shown = deployment.runner.get(SAMPLE)
        assert (shown.status, shown.steps["refund"].results["why"]) == ("completed", "timeout")

    def test_a_stale_schedule_does_nothing(self, deployment: Deployment) -> None:
        """The sample belongs to a wait that is not over."""
        deployment.started()
        before = deployment.runner.history(SAMPLE)
        assert deployment.invoke("resume", sample("scheduler-timeout")) == {"id": SAMPLE}
        assert deployment.runner.history(SAMPLE) == before

    @pytest.mark.parametrize("change", [{"token": None}, {"life": 1}, {"due_at": True}, {"instance_id": "x"}])
    def test_a_damaged_timeout_is_dropped(self, deployment: Deployment, change: dict[str, Any]) -> None:
        """Repeating it cannot help, so Lambda is not asked to; nothing is touched."""
        deployment.started()
        before = deployment.runner.history(SAMPLE)
        assert "dropped" in deployment.invoke("resume", {**sample("scheduler-timeout"), **change})
        assert deployment.runner.history(SAMPLE) == before

    @pytest.mark.parametrize(
        "event",
        [
            {},
            {"source": "somebody.else", "detail": {"instance_id": SAMPLE}},
            {"instance_id": SAMPLE},
            {"instance_id": SAMPLE, "event": "approved", "source": "aws.scheduler"},
            {"Records": [{"eventSource": "aws:s3"}]},
            [],
            "text",
        ],
    )
    def test_an_event_that_is_not_ours_is_refused(self, deployment: Deployment, event: Any) -> None:
        """A clear error, and nothing is touched."""
        deployment.started()
        before = deployment.runner.history(SAMPLE)
        with pytest.raises(BadRequest):
            deployment.invoke("resume", event)
        assert deployment.runner.history(SAMPLE) == before

    def test_what_may_pass_is_raised_for_lambda_to_repeat(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A timeout that meets a throttled store is not dropped."""
        monkeypatch.setattr(deployment.store, "load", raising(StoreUnavailable("throttled")))
        with pytest.raises(StoreUnavailable):
            deployment.invoke("resume", sample("scheduler-timeout"))

    def test_what_cannot_be_read_is_put_off(self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
        """Repeating would not fix a damaged log: the instance is looked at again later."""
        deployment.started()
        monkeypatch.setattr(deployment.store, "load", raising(CorruptLog("damaged")))
        assert deployment.invoke("resume", sample("scheduler-timeout")) == {"id": SAMPLE}
        assert deployment.invoke("resume", sample("sqs-continue")) == {"batchItemFailures": []}

    def test_a_batch_continues_its_instances(self, deployment: Deployment) -> None:
        """Every message wakes its instance; one for an instance that is gone is done with."""
        deployment.call("start", sample("api-start"))
        assert deployment.invoke("resume", sample("sqs-continue")) == {"batchItemFailures": []}
        assert deployment.runner.get(SAMPLE).status == "waiting"

    @pytest.mark.parametrize(
        "poison", ["", "{", "[]", '{"instance_id": "orderid::sample-1"}', '{"source": "hephaestus.queue"}']
    )
    def test_one_poisoned_record_fails_alone(self, deployment: Deployment, poison: str) -> None:
        """The others of its batch are done."""
        ids = []
        for number in range(3):
            event = api("api-start", body={"id": f"n{number}", "context": sample("direct-start")["context"]})
            event["headers"].pop("Idempotency-Key")
            ids.append(deployment.call("start", event)[1]["id"])
        event = batch(*ids)
        event["Records"].insert(1, {**event["Records"][0], "messageId": "poisoned", "body": poison})
        assert deployment.invoke("resume", event) == {"batchItemFailures": [{"itemIdentifier": "poisoned"}]}
        assert [deployment.runner.get(instance_id).status for instance_id in ids] == ["waiting"] * 3

    def test_messages_that_fail_go_back_to_the_queue(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A store that is away, or no time left: every message comes again."""
        everything = {"batchItemFailures": [{"itemIdentifier": "m-0"}, {"itemIdentifier": "m-1"}]}
        event = batch("orderid::1", "orderid::2")
        assert deployment.invoke("resume", event, remaining_ms=1_000) == everything
        monkeypatch.setattr(deployment.store, "load", raising(StoreUnavailable("throttled")))
        assert deployment.invoke("resume", event) == everything


class TestControl:
    """Cancelling and scheduling from outside."""

    def test_api_cancel_ends_an_instance(self, deployment: Deployment) -> None:
        """202; cancelled again without a key it is closed, 409."""
        deployment.started()
        event = api("api-cancel")
        event["headers"]["Idempotency-Key"] = "c-1"
        for _ in range(2):
            assert deployment.call("control", event)[:2] == (202, {"id": SAMPLE})
        shown = deployment.runner.get(SAMPLE)
        assert (shown.status, shown.cancel_requested) == ("cancelled", "ordered by mistake")
        status, body, _ = deployment.call("control", api("api-cancel", raw=""))
        assert (status, body["type"]) == (409, "/problems/instance-closed")

    def test_api_cancel_may_wait_and_needs_no_body(self, deployment: Deployment) -> None:
        """200 with the state."""
        deployment.started()
        status, body, _ = deployment.call("control", api("api-cancel", raw="", prefer="wait=5"))
        assert (status, body["status"]) == (200, "cancelled")

    def test_direct_cancel_answers_with_the_state(self, deployment: Deployment) -> None:
        """And raises when there is nothing to cancel."""
        deployment.started()
        assert deployment.invoke("control", sample("direct-cancel")) == {"id": SAMPLE, "status": "cancelled"}
        with pytest.raises(InstanceClosed):
            deployment.invoke("control", sample("direct-cancel"))

    def steer(self, deployment: Deployment, action: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Call one of the routes that steer an instance."""
        event = api("api-cancel", body=body, raw=None if body is not None else "")
        event |= {"path": f"/instances/{SAMPLE}/{action}", "resource": f"/instances/{{id}}/{action}"}
        event["headers"].update(headers)
        function = "resume" if action == "heartbeat" else "control"
        return deployment.call(function, event)[:2]

    def test_an_instance_is_paused_and_continued(self, deployment: Deployment) -> None:
        """An event that comes meanwhile is kept; a repeated request is one."""
        deployment.started()
        for _ in range(2):
            assert self.steer(deployment, "pause", {"reason": "stocktaking"}) == (202, {"id": SAMPLE})
        assert deployment.call("resume", sample("api-resume"))[0] == 200
        shown = deployment.runner.get(SAMPLE)
        assert (shown.status, shown.paused) == ("waiting", "stocktaking")
        status, body = self.steer(deployment, "unpause", Prefer="wait=5")
        assert (status, body["status"]) == (200, "completed")
        assert self.steer(deployment, "pause")[1]["type"] == "/problems/instance-closed"

    def test_a_pause_that_is_waited_for_is_answered_at_once(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nothing more happens to what is paused before it has begun."""
        deployment.call("start", sample("api-start"))
        monkeypatch.setattr(deployment.runner.clock, "sleep", raising(AssertionError("it waits")))
        status, body = self.steer(deployment, "pause", {"reason": "stocktaking"}, Prefer="wait=20")
        assert (status, body["status"], body["paused"]) == (200, "pending", "stocktaking")

    def test_a_pause_waits_for_the_steps_that_run(self, deployment: Deployment) -> None:
        """While they do, the instance has not settled: 202 when the time is up."""
        answers = []

        @step
        def busy(ctx: StepContext) -> str:
            body = {"path": f"/instances/{ctx.instance_id}/pause", "resource": "/instances/{id}/pause"}
            answers.append(deployment.call("control", api("api-cancel", raw="", prefer="wait=1", **body)))
            return "done"

        class Busy(Workflow, key="busy"):
            """A step that is at work when its instance is paused."""

            start_at = busy
            transitions = {busy: {"done": swell}, swell: {"done": DONE}}

        deployment.runner.registry = Registry([Busy])
        assert deployment.invoke("start", {"workflow": "Busy", "id": "1"}) == {"id": "busy::1", "status": "waiting"}
        ((status, body, _),) = answers
        assert (status, body["status"], body["paused"], body["steps"]["busy"]["status"]) == (
            202,
            "running",
            "",
            "running",
        )
        assert deployment.runner.get("busy::1").paused == ""

    def test_a_cancelled_instance_is_redriven(self, deployment: Deployment) -> None:
        """It waits on; one that runs is not redriven."""
        deployment.started()
        status, body = self.steer(deployment, "redrive")
        assert (status, body["type"]) == (409, "/problems/not-redrivable")
        deployment.call("control", api("api-cancel"))
        for _ in range(2):
            status, body = self.steer(deployment, "redrive", Prefer="wait=5", **{"Idempotency-Key": "r-1"})
            assert (status, body["status"]) == (200, "waiting")
        event = {"action": "pause", "instance_id": SAMPLE, "reason": "again"}
        assert deployment.invoke("control", event) == {"id": SAMPLE, "status": "waiting"}

    def test_an_instance_is_forked(self, deployment: Deployment) -> None:
        """The new one goes on from there, with what it was given; made twice under one key, it is one."""
        deployment.started()
        results = {"charge_payment": {"charge_id": "ch-forked"}}
        for _ in range(2):
            body = {"new_id": "forked", "results": results}
            status, answer = self.steer(deployment, "fork", body, Prefer="wait=5", **{"Idempotency-Key": "f-1"})
            assert (status, answer["id"], answer["status"]) == (200, "orderid::forked", "waiting")
        assert answer["steps"]["charge_payment"]["results"] == results["charge_payment"]
        assert answer["forked_from"].startswith(f"{SAMPLE}#1#")
        status, answer = self.steer(deployment, "fork", {"new_id": "other", "at": 99})
        assert (status, answer["type"]) == (400, "/problems/bad-request")
        for headers in ({}, {"Idempotency-Key": "f-2"}):
            status, answer = self.steer(deployment, "fork", {"new_id": "other", "start_id": "f-3"}, **headers)
            assert (status, "'start_id' is not known" in answer["detail"]) == (400, True)
        status, answer = self.steer(deployment, "fork", {"at": "first"})
        assert (status, answer["type"]) == (400, "/problems/bad-request")

    def test_a_heartbeat_that_nobody_waits_for_is_refused(self, deployment: Deployment) -> None:
        """With what would be accepted."""
        deployment.started()
        status, body = self.steer(deployment, "heartbeat", {"step": "approval"})
        assert (status, body["type"]) == (422, "/problems/unexpected-event")
        with pytest.raises(UnexpectedEvent):
            deployment.invoke("resume", {"action": "heartbeat", "instance_id": SAMPLE})

    def test_schedule_resume_answers_with_the_schedules_name(self, deployment: Deployment) -> None:
        """The schedule fires like one of the engine's own."""
        deployment.started()
        answer = deployment.invoke("control", {**sample("direct-schedule-resume"), "delay_ms": 1})
        assert answer["schedule_name"] in deployment.timers.names() or answer["schedule_name"]
        (timeout,) = deployment.timers.pop_due(deployment.runner.clock.now() + 1_000)
        deployment.invoke("resume", fired(timeout))
        assert deployment.runner.get(SAMPLE).status == "completed"

    @pytest.mark.parametrize("delay_ms", [0, -1, 1.5, "1", None, True, 10 * 366 * 24 * 3600 * 1000])
    def test_an_impossible_delay_is_refused(self, deployment: Deployment, delay_ms: Any) -> None:
        """Nothing, less than nothing, a float, ten years."""
        deployment.started()
        with pytest.raises((ValueError, BadRequest), match="delay_ms"):
            deployment.invoke("control", {**sample("direct-schedule-resume"), "delay_ms": delay_ms})

    def test_what_is_unknown_is_refused(self, deployment: Deployment) -> None:
        """An action, a step, an instance."""
        actions: tuple[Any, ...] = ("explode", "", None, [], ["cancel"], {}, 7, True)
        for action in actions:
            with pytest.raises(BadRequest, match="there are 'cancel', 'pause', 'unpause'"):
                deployment.invoke("control", {"action": action, "instance_id": SAMPLE})
        with pytest.raises(InstanceNotFound):
            deployment.invoke("control", sample("direct-schedule-resume"))
        deployment.started()
        with pytest.raises(UnknownStep):
            deployment.invoke("control", {**sample("direct-schedule-resume"), "step": "nothing"})


class TestRead:
    """The four GET routes."""

    def test_api_get_shows_an_instance(self, deployment: Deployment) -> None:
        """State, steps, what it accepts, in JSON's own types; never cached."""
        deployment.started()
        status, body, headers = deployment.call("read", sample("api-get"))
        assert (status, body["id"], body["workflow"], body["status"]) == (200, SAMPLE, "OrderFlow", "waiting")
        assert body["steps"]["validate_order"]["results"]["total_cents"] == 16_600
        assert body["created_at"].endswith("+00:00")
        assert headers["Cache-Control"] == "no-store"

    def test_api_history_pages_through_the_log(self, deployment: Deployment) -> None:
        """The cursor of a page asks for the next; together they are the log, without gaps."""
        deployment.started()
        whole = deployment.call("read", sample("api-history"))[1]["items"]
        assert whole[0]["events"][0]["type"] == "InstanceStarted"
        pages: list[Any] = []
        cursor = None
        while not pages or cursor:
            event = api("api-history", queryStringParameters={"limit": "1", "cursor": cursor, "generation": "1"})
            status, page, _ = deployment.call("read", event)
            assert (status, len(page["items"])) == (200, 1)
            pages += page["items"]
            cursor = page["cursor"]
        assert pages == whole
        assert [entry["sequence"] for entry in whole] == list(range(1, len(whole) + 1))

    def test_api_list_filters(self, deployment: Deployment) -> None:
        """By workflow, status, tag and time."""
        deployment.call("start", sample("api-start"))
        deployment.pump()
        assert [item["id"] for item in deployment.call("read", sample("api-list"))[1]["items"]] == [SAMPLE]
        for change, found in (
            ({"status": "failed"}, 0),
            ({"tag": "other"}, 0),
            ({"since": "2999-01-01"}, 0),
            ({"tag": "sales"}, 1),
        ):
            query = {**sample("api-list")["queryStringParameters"], **change}
            assert len(deployment.call("read", api("api-list", queryStringParameters=query))[1]["items"]) == found

    def test_api_workflows_describes_what_is_deployed(self, deployment: Deployment) -> None:
        """Names, keys, versions, steps with their events, and the input's schema."""
        status, body, _ = deployment.call("read", sample("api-workflows"))
        assert (status, [item["name"] for item in body["items"]]) == (200, ["Large", "Onboarding", "OrderFlow"])
        onboarding, order = body["items"][1:]
        assert (onboarding["current"], [version["version"] for version in onboarding["versions"]]) == (2, [1, 2])
        assert (order["key"], order["scope"], order["tags"]) == ("orderid", "workflow", ["sales"])
        (version,) = order["versions"]
        steps = {step["key"]: step for step in version["steps"]}
        assert steps["charge_payment"]["routes"] == {
            "paid": ["reserve_stock", "send_receipt"],
            "declined": ["reject_order"],
        }
        assert (steps["approval"]["waits"], steps["ship"]["routes"]) == (True, {"done": ["DONE"]})
        assert "customer" in version["input"]["properties"]

    @pytest.mark.parametrize(
        "query",
        [
            {"limit": "0"},
            {"limit": "201"},
            {"limit": "x"},
            {"status": "lost"},
            {"since": "soon"},
            {"cursor": "x" * 3000},
            {"workflow": ""},
            {"statsu": "failed"},
        ],
    )
    def test_a_malformed_filter_is_refused(self, deployment: Deployment, query: dict[str, str]) -> None:
        """400 names it."""
        status, body, _ = deployment.call("read", api("api-list", queryStringParameters=query))
        assert (status, body["type"]) == (400, "/problems/bad-request")
        assert next(iter(query)) in body["detail"]

    def test_what_is_too_large_to_answer_goes_without_its_data(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An answer stays below Lambda's limit; a page gets shorter first."""
        monkeypatch.setattr(fitting, "MAX_ANSWER", 10_000)
        deployment.invoke("start", {"workflow": "Large", "id": "1", "context": {"size": 20_000}})
        path = {"path": "/instances/large::1"}
        body = deployment.call("read", api("api-get", **path))[1]
        assert (body["status"], "results" in body["steps"]["swell"], "left_out" in body) == ("completed", False, True)
        assert "output" not in body
        pages = deployment.call("read", api("api-history", path="/instances/large::1/history"))[1]
        assert len(json.dumps(pages)) < 10_000

    def test_the_document_of_the_api_is_served_for_where_it_is_asked_for(self, deployment: Deployment) -> None:
        """The one that is checked in; its server is the stage or the base path in front of it."""
        event = sample("api-openapi")
        status, body, _ = deployment.call("read", event)
        assert (status, body["servers"]) == (200, [{"url": "/prod"}])
        assert {**body, "servers": document()["servers"]} == document()
        event["requestContext"]["path"] = "/openapi.json"
        assert deployment.call("read", event)[1]["servers"] == [{"url": "/"}]

    def test_a_misspelt_parameter_of_history_is_refused(self, deployment: Deployment) -> None:
        """400 names those that there are."""
        event = api("api-history", queryStringParameters={"generatoin": "1"})
        status, body, _ = deployment.call("read", event)
        assert (status, "generation, limit, cursor" in body["detail"]) == (400, True)

    def test_only_the_api_reads(self, deployment: Deployment) -> None:
        """A direct call is refused."""
        with pytest.raises(BadRequest, match="API only"):
            deployment.invoke("read", {"id": SAMPLE})


class TestSweep:
    """The rule's event."""

    def test_a_sweep_sends_what_is_overdue_to_the_queue(
        self, deployment: Deployment, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A start whose message was lost is found; the backlog is a metric."""
        deployment.call("start", sample("api-start"))
        deployment.queue.pop_due(deployment.runner.clock.now())
        capsys.readouterr()
        report = deployment.invoke("sweep", sample("sweep"))
        assert (report["found"], report["sent"]) == (1, 1)
        (metrics,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
        assert metrics["SweepBacklog"] == [1.0]
        assert metrics["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "Hephaestus"
        deployment.pump()
        assert deployment.runner.get(SAMPLE).status == "waiting"

    def test_the_first_sweeps_have_the_schedules_of_the_code_known(self, deployment: Deployment) -> None:
        """The sweep knows no workflows: it asks the resume function, again and again, as the first may be older."""

        class Timed(Workflow, key="timed"):
            start_at = swell
            transitions: ClassVar = {swell: {"done": DONE}}
            schedules: ClassVar = [Schedule("nightly", "0 2 * * *")]

        deployment.runner.registry = Registry([Timed], deployment=7)
        asked = []
        for _ in range(4):
            deployment.invoke("sweep", sample("sweep"))
            asked.append(deployment.pump())
        assert asked[0] >= 1
        assert [shown.schedule for shown in deployment.runner.schedules()] == ["Timed.nightly"]
        assert deployment.runner.get("hephaestus-schedule::Timed.nightly").status == "waiting"


class TestBadInput:
    """Every mistake over HTTP: its status, its type, and nothing from inside."""

    @pytest.mark.parametrize(
        ("raw", "status", "kind"),
        [
            ("{", 400, "bad-request"),
            ("[]", 400, "bad-request"),
            ('[{"id": "1"}]', 400, "bad-request"),
            ('"text"', 400, "bad-request"),
            ("null", 400, "bad-request"),
            ("", 400, "bad-request"),
            ('{"id": "1", "context": {"n": NaN}}', 400, "bad-request"),
            ('{"id": 1}', 400, "bad-request"),
            ('{"id": "1", "version": "1"}', 400, "bad-request"),
            ('{"id": "1", "tags": "a"}', 400, "bad-request"),
            ('{"id": "a b", "context": %s}', 400, "bad-request"),
            ('{"id": "' + "x" * 10_000 + '", "context": %s}', 400, "bad-request"),
            ('{"id": "1", "context": %s, "version": 99}', 404, "unknown-version"),
            ('{"id": "1", "context": {"x": "' + "x" * 10_000_000 + '"}}', 413, "payload-too-large"),
            ('{"id": "1", "context": {}}', 422, "invalid-input"),
            ('{"id": "1", "context": {"$hephaestus": 1}}', 422, "invalid-input"),
            ('{"id": "1", "context": {"a": ' + "[" * 200 + "]" * 200 + "}}", 422, "invalid-input"),
            ('{"id": "1", "context": {"a": ' + "[" * 100_000 + "}}", 400, "bad-request"),
        ],
    )
    def test_a_wrong_start(self, deployment: Deployment, raw: str, status: int, kind: str) -> None:
        """Nothing is started."""
        order = json.dumps(sample("direct-start")["context"])
        self.refused(deployment, "start", api("api-start", raw=raw.replace("%s", order)), status, kind)
        assert deployment.call("read", api("api-list", queryStringParameters=None))[1]["items"] == []

    def test_invalid_input_names_the_fields(self, deployment: Deployment) -> None:
        """One member a field, and one line a field in the text."""
        body = self.refused(
            deployment, "start", api("api-start", body={"id": "1", "context": {}}), 422, "invalid-input"
        )
        assert [line["field"] for line in body["errors"]] == ["customer", "items"]

    @pytest.mark.parametrize(
        "path", ["/workflows/Nothing/instances", "/workflows/%22/instances", "/workflows/x%20y/instances"]
    )
    def test_an_unknown_workflow(self, deployment: Deployment, path: str) -> None:
        """404, whatever its name."""
        self.refused(deployment, "start", api("api-start", path=path), 404, "unknown-workflow")

    @pytest.mark.parametrize(
        ("path", "status", "kind"),
        [
            ("/instances/orderid::never", 404, "instance-not-found"),
            ("/instances/orderid%3A%3Anever", 404, "instance-not-found"),
            ("/instances/nothing", 400, "bad-request"),
            ('/instances/a::b"c', 400, "bad-request"),
            ("/instances/a::%00", 400, "bad-request"),
            ("/instances/a::%ff", 400, "bad-request"),
            ("/instances/a::" + "x" * 10_000, 400, "bad-request"),
            ("/instances/a::b/nothing", 404, "no-such-route"),
            ("/", 404, "no-such-route"),
        ],
    )
    def test_an_instance_that_is_not_there(self, deployment: Deployment, path: str, status: int, kind: str) -> None:
        """404 for one that could be, 400 for one that cannot."""
        self.refused(deployment, "read", api("api-get", path=path), status, kind)

    @pytest.mark.parametrize(
        ("function", "path", "method", "allow"),
        [
            ("read", "/instances/orderid::1", "DELETE", "GET"),
            ("read", "/workflows", "POST", "GET"),
            ("start", "/workflows/OrderFlow/instances", "GET", "POST"),
            ("resume", "/instances/orderid::1/events", "PUT", "POST"),
        ],
    )
    def test_a_wrong_method(self, deployment: Deployment, function: str, path: str, method: str, allow: str) -> None:
        """405 names the right ones."""
        event = api("api-get", path=path, resource="", httpMethod=method)
        self.refused(deployment, function, event, 405, "method-not-allowed")
        assert deployment.call(function, event)[2]["Allow"] == allow

    @pytest.mark.parametrize(
        ("body", "status", "kind"),
        [
            ([], 400, "bad-request"),
            ({"event": 1}, 400, "bad-request"),
            ({"event": "approved", "stp": "approval"}, 400, "bad-request"),
            ({"event": "approved", "step": "nothing"}, 404, "unknown-step"),
            ({"event": "exploded"}, 422, "unexpected-event"),
            ({"event": "approved", "payload": {"$hephaestus": 1}}, 422, "invalid-input"),
        ],
    )
    def test_a_wrong_event(self, deployment: Deployment, body: Any, status: int, kind: str) -> None:
        """The instance is left as it was."""
        deployment.started()
        before = deployment.runner.history(SAMPLE)
        shown = self.refused(deployment, "resume", api("api-resume", body=body), status, kind)
        assert deployment.runner.history(SAMPLE) == before
        if kind == "unexpected-event":
            assert set(shown["accepted"]["approval"]) >= {"approved", "rejected"}

    def test_an_event_for_an_instance_that_has_ended_or_never_was(self, deployment: Deployment) -> None:
        """409 and 404."""
        event = api("api-resume")
        self.refused(deployment, "resume", event, 404, "instance-not-found")
        self.refused(deployment, "control", api("api-cancel"), 404, "instance-not-found")
        deployment.started()
        deployment.invoke("control", sample("direct-cancel"))
        self.refused(deployment, "resume", event, 409, "instance-closed")

    def test_a_malformed_idempotency_key(self, deployment: Deployment) -> None:
        """400."""
        event = api("api-start")
        event["headers"]["Idempotency-Key"] = "x" * 200
        self.refused(deployment, "start", event, 400, "bad-request")

    def test_a_history_of_no_generation(self, deployment: Deployment) -> None:
        """404 for one that never was, 400 for one that cannot be."""
        deployment.started()
        for generation, status in (("7", 404), ("0", 400), ("x", 400)):
            event = api("api-history", queryStringParameters={"generation": generation})
            assert deployment.call("read", event)[0] == status

    def test_a_store_that_is_away(self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
        """503 with ``Retry-After``; what the store said stays inside."""
        monkeypatch.setattr(deployment.store, "load", raising(StoreUnavailable("table hephaestus-secret throttled")))
        status, body, headers = deployment.call("read", sample("api-get"))
        assert (status, body["type"], headers["Retry-After"]) == (503, "/problems/store-unavailable", "1")
        assert "secret" not in json.dumps(body)

    @pytest.mark.parametrize(
        "error", [RuntimeError("secret"), CorruptLog("secret"), KeyError("secret"), RecursionError("secret")]
    )
    def test_a_defect_shows_a_request_id_only(
        self, deployment: Deployment, monkeypatch: pytest.MonkeyPatch, logs: io.StringIO, error: Exception
    ) -> None:
        """500; the log has the rest under the same id."""
        monkeypatch.setattr(deployment.store, "load", raising(error))
        status, body, headers = deployment.call("read", sample("api-get"))
        assert (status, body["request_id"]) == (500, Context().aws_request_id)
        assert headers["Content-Type"] == "application/problem+json"
        assert "secret" not in json.dumps(body)
        (logged,) = [json.loads(line) for line in logs.getvalue().splitlines() if '"request failed"' in line]
        assert logged["function_request_id"] == body["request_id"]
        assert "secret" in logged["exception"]

    def refused(self, deployment: Deployment, function: str, event: Any, status: int, kind: str) -> dict[str, Any]:
        """The problem document, which has every member of RFC 9457 and nothing from inside."""
        answer, body, headers = deployment.call(function, event)
        assert (answer, body["type"], body["status"]) == (status, f"/problems/{kind}", status), body
        assert headers["Content-Type"] == "application/problem+json"
        assert body["title"]
        assert body["detail"]
        assert body["instance"].startswith("/")
        text = json.dumps({**body, "instance": ""})
        assert len(text) < 2_000
        assert not [word for word in ("Traceback", ".py", "pydantic", "boto", "hephaestus.", "Error") if word in text]
        return body


def test_metrics_count_what_happens(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    """Started, retried, completed; one line an invocation."""
    event = sample("direct-start")
    event["context"]["card"] = "tok_flaky"
    deployment.invoke("start", event)
    deployment.invoke("control", {**sample("direct-cancel"), "instance_id": "orderid::sample-3"})
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    assert lines[0]["InstancesStarted"] == [1.0]
    assert lines[0]["StepRetries"] == [1.0, 1.0]
    assert lines[-1]["InstancesCancelled"] == [1.0]


def test_no_log_line_holds_a_payload(deployment: Deployment, logs: io.StringIO) -> None:
    """Names are logged, data is not."""
    deployment.started()
    deployment.call("resume", sample("api-resume"))
    deployment.call("start", api("api-start", body={"id": "1", "context": {"card": "4111 1111"}}))
    assert '"problem":"InvalidInput"' in logs.getvalue()
    assert not [word for word in ("ada@example.com", "Lovelace", "4111 1111", "grace") if word in logs.getvalue()]
