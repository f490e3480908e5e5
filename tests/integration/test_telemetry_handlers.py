"""What the functions write of what happens: log lines with the keys that find them, metrics of few dimensions."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aws_lambda_powertools.logging import Logger

from hephaestus import DONE, Retry, StepContext, Workflow, step, telemetry
from hephaestus.adapters.deadline import time_left
from hephaestus.errors import EngineError
from hephaestus.handlers import observability
from hephaestus.runtime.names import schedule_name
from hephaestus.runtime.registry import Registry
from hephaestus.steps import WaitForEvent
from hephaestus.telemetry.correlation import correlation_id
from hephaestus.telemetry.logs import HEARD as LOGGED
from hephaestus.telemetry.logs import LogHandler
from hephaestus.telemetry.metrics import HEARD, MetricsHandler
from hephaestus.testing import LocalRuntime
from tests.integration.deployment import Context, Deployment, api, batch, fired, sample

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator


@step
def begin(ctx: StepContext) -> str:
    """Log, as a user does."""
    Logger(service="mine").info("mine", extra={"said": "begin"})
    return "done"


@step
def left(ctx: StepContext) -> str:
    """Log from a thread."""
    Logger(service="mine").info("mine", extra={"said": "left"})
    return "done"


@step(retry=Retry(max_attempts=2, delay=timedelta(milliseconds=1)))
def right(ctx: StepContext) -> str:
    """Log from another, and fail once."""
    Logger(service="mine").info("mine", extra={"said": f"right {ctx.attempt}"})
    if ctx.attempt == 1:
        message = "a secret"
        raise ValueError(message)
    return "done"


ask = WaitForEvent("yes", name="ask", timeout=timedelta(hours=1))


class Noted(Workflow, key="noted", version=2):
    """A fan-out, a retry and a wait."""

    start_at = begin
    transitions = {
        begin: {"done": [left, right]},
        left: {"done": ask},
        right: {"done": ask},
        ask: {"yes": DONE, "timeout": DONE},
    }


@pytest.fixture
def noted(deployment: Deployment, logs: io.StringIO) -> Deployment:
    """The functions with the workflow of this module."""
    deployment.runner.registry = Registry([Noted])
    return deployment


def start(deployment: Deployment, value: str, **more: Any) -> None:
    """Start an instance directly."""
    answer = deployment.invoke("start", {"workflow": "Noted", "id": value, "context": {}, **more})
    assert answer["status"] == "waiting"


def forget(logs: io.StringIO) -> None:
    """Begin with an empty log."""
    logs.seek(0)
    logs.truncate()


def lines(logs: io.StringIO, **wanted: Any) -> list[dict[str, Any]]:
    """The log lines with these members."""
    read = [json.loads(line) for line in logs.getvalue().splitlines()]
    return [line for line in read if wanted.items() <= line.items()]


def emf(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The metrics that were written."""
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]


# --- Logs ---


def test_every_line_of_an_instance_has_the_keys_that_find_it(noted: Deployment, logs: io.StringIO) -> None:
    start(noted, "1")
    noted.invoke("resume", {"instance_id": "noted::1", "event": "yes"})
    story = [(line["message"], line.get("step"), line.get("attempt")) for line in lines(logs, instance_id="noted::1")]
    assert story[:2] == [("workflow start", None, None), ("step stop", "begin", 1)]
    assert sorted(story[2:5]) == [
        *(("step exception", "right", 1), ("step stop", "left", 1), ("step stop", "right", 2)),
    ]
    assert story[5:] == [("step async", "ask", 1), ("step resume", "ask", 1), ("workflow stop", None, None)]
    for line in lines(logs, instance_id="noted::1"):
        assert (line["workflow"], line["version"], line["generation"]) == ("Noted", 2, 1)
    (failed,) = lines(logs, message="step exception")
    assert (failed["level"], failed["kind"], failed["will_retry"]) == ("WARNING", "ValueError", True)
    assert "a secret" not in logs.getvalue()
    assert lines(logs, message="step stop", step="begin")[0]["duration_ms"] >= 0


def test_what_a_step_logs_itself_has_the_keys_of_its_attempt(
    noted: Deployment, monkeypatch: pytest.MonkeyPatch, logs: io.StringIO
) -> None:
    """By any logger of Powertools, in whichever thread the step runs; and after it, no line has them."""
    monkeypatch.setattr(Logger(service="mine").registered_handler, "stream", logs)
    start(noted, "1")
    said = {line["said"]: line for line in lines(logs, message="mine")}
    for name, line in said.items():
        who, _, attempt = name.partition(" ")
        found = (line["instance_id"], line["workflow"], line["step"], line["attempt"])
        assert found == ("noted::1", "Noted", who, int(attempt or 1))
    assert said.keys() == {"begin", "left", "right 1", "right 2"}
    forget(logs)
    noted.invoke("sweep", sample("sweep"))
    Logger(service="mine").info("mine")
    assert "step" not in lines(logs, message="mine")[0]


def test_of_a_callers_metadata_the_log_has_what_it_is_told_to(logs: io.StringIO) -> None:
    local = LocalRuntime(Noted)
    handler = LogHandler(observability.begin(), {"hephaestus.step.start": logging.INFO}, ["request_id", "missing"])
    telemetry.attach("logs", handler, LOGGED)
    try:
        given = {"request_id": "r-1", "card": "4111", "step": "forged", "message": "forged"}
        local.runner.start_instance(Noted, {}, id="1", telemetry_metadata=given)
        local.settle()
    finally:
        telemetry.attach("logs", LogHandler(observability.begin()), LOGGED)
    (begun,) = lines(logs, message="workflow start")
    assert begun["metadata"] == {"request_id": "r-1"}
    assert "step" not in begun
    assert "4111" not in logs.getvalue()
    assert "forged" not in logs.getvalue()
    assert len(lines(logs, message="step start")) >= 4


def test_what_caused_an_invocation_is_not_told_of_other_steps(noted: Deployment, logs: io.StringIO) -> None:
    """The function notes the event that it delivers; the lines about what follows are not about it."""
    start(noted, "1")
    forget(logs)
    noted.invoke("resume", {"instance_id": "noted::1", "event": "yes"})
    (ended,) = lines(logs, message="workflow stop")
    assert not {"step", "attempt", "event"} & ended.keys()


def test_an_execution_that_ends_in_the_middle_leaves_no_keys_of_its_step(
    noted: Deployment, monkeypatch: pytest.MonkeyPatch, logs: io.StringIO
) -> None:
    """In the same invocation, what is logged of the next message is not about the step before."""
    noted.runner.start_instance(Noted, {}, id="1")
    commit = noted.store.commit

    def fails(after: Any, entry: Any, writes: Any = ()) -> Any:
        if any(type(event).__name__ == "StepCompleted" for event in entry.events):
            message = "gone"
            raise EngineError(message)
        return commit(after, entry, writes)

    monkeypatch.setattr(noted.store, "commit", fails)
    assert noted.invoke("resume", batch("noted::1"))["batchItemFailures"]
    (failed,) = [line for line in lines(logs) if "failed and goes back to the queue" in line["message"]]
    assert failed["instance_id"] == "noted::1"
    assert "step" not in failed


def test_importing_the_functions_makes_even_the_runners_making_heard(logs: io.StringIO) -> None:
    level = observability.begin().log_level
    observability.begin().setLevel("DEBUG")
    try:
        LocalRuntime(Noted)
    finally:
        observability.begin().setLevel(level)
    assert lines(logs, message="runner init", storage="MemoryStore")


def test_every_function_keeps_its_calls_within_its_invocation() -> None:
    """``observed`` is around every handler: Lambda says when the invocation ends, and afterwards there is none."""

    @observability.observed
    def handler(event: dict[str, Any], _context: object) -> float | None:
        if event:
            raise KeyError
        return time_left()

    left = handler({}, Context())
    assert left is not None
    assert 0 < left <= 30
    with pytest.raises(KeyError):
        handler({"fail": True}, Context())
    assert time_left() is None


# --- Correlation ---


def correlated(logs: io.StringIO) -> dict[str, set[Any]]:
    """The correlation ids of the lines of every instance."""
    found: dict[str, set[Any]] = {}
    for line in lines(logs):
        if line["message"].startswith(("step", "workflow")):
            found.setdefault(line["instance_id"], set()).add(line.get("correlation_id"))
    return found


def test_lines_of_an_api_call_have_its_header_or_the_request_id_of_api_gateway(
    noted: Deployment, logs: io.StringIO
) -> None:
    """What follows is another invocation's: its lines have the id of the message that brings it."""
    event = api("api-start", path="/workflows/Noted/instances", body={"id": "1", "context": {}})
    event["resource"] = None
    noted.call("start", event)
    assert correlated(logs) == {"noted::1": {event["requestContext"]["requestId"]}}
    forget(logs)
    event["body"] = json.dumps({"id": "2", "context": {}})
    event["headers"] = {"x-Correlation-ID": "order 42"}
    noted.call("start", event)
    assert correlated(logs) == {"noted::2": {"order 42"}}


def test_lines_of_a_queues_message_have_its_id_each_its_own(noted: Deployment, logs: io.StringIO) -> None:
    for value in "12":
        noted.runner.start_instance(Noted, {}, id=value)
    forget(logs)
    records = batch("noted::1", "noted::2")
    noted.invoke("resume", records)
    ids = [record["messageId"] for record in records["Records"]]
    assert correlated(logs) == {"noted::1": {ids[0]}, "noted::2": {ids[1]}}


def test_lines_of_a_fired_schedule_have_its_name(
    noted: Deployment, monkeypatch: pytest.MonkeyPatch, logs: io.StringIO
) -> None:
    start(noted, "1")
    later = noted.runner.clock.now() + 3_600_000
    monkeypatch.setattr(type(noted.runner.clock), "now", lambda _: later)
    (timeout,) = noted.timers.pop_due(later)
    forget(logs)
    noted.invoke("resume", fired(timeout))
    assert [line["message"] for line in lines(logs)][-2:] == ["step resume", "workflow stop"]
    assert correlated(logs) == {"noted::1": {schedule_name(timeout)}}


def test_lines_of_a_direct_call_have_the_invocations_own_id(noted: Deployment, logs: io.StringIO) -> None:
    start(noted, "1")
    assert correlated(logs) == {"noted::1": {Context().aws_request_id}}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (sample("sweep"), "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa"),
        (sample("sqs-continue"), None),
        ({"Records": [{"messageId": "m-1"}]}, "m-1"),
        ({"Records": [1]}, None),
        ({**sample("sweep"), "id": "x" * 129}, None),
        ({**sample("sweep"), "id": "two\nlines"}, None),
        ({**sample("sweep"), "id": 1}, None),
        (sample("direct-start"), None),
        ({"httpMethod": "GET", "requestContext": {"requestId": "r"}, "headers": {"X-Correlation-Id": ""}}, "r"),
        ({"httpMethod": "GET", "requestContext": None, "headers": None}, None),
        ({**sample("scheduler-timeout"), "token": 1}, None),
        ([], None),
        (None, None),
    ],
)
def test_whatever_the_event_its_id_is_a_short_printable_text_or_none(event: Any, expected: str | None) -> None:
    assert correlation_id(event) == expected


# --- Metrics ---


def test_metrics_are_counted_for_the_service_and_for_each_workflow(
    noted: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    start(noted, "1")
    noted.invoke("resume", {"instance_id": "noted::1", "event": "yes"})
    began, ended = emf(capsys)
    (metrics,) = began["_aws"]["CloudWatchMetrics"]
    assert metrics["Dimensions"] == [["service"], ["service", "workflow"]]
    assert metrics["Namespace"] == "Hephaestus"
    assert (began["service"], began["workflow"]) == (observability.SERVICE, "Noted")
    assert (
        began["InstancesStarted"] == began["StepExceptions"] == began["StepRetries"] == began["StepsWaiting"] == [1.0]
    )
    assert len(began["StepDuration"]) == 4
    assert ended["InstancesCompleted"] == [1.0]
    assert len(ended["InstanceDuration"]) == len(ended["StepWait"]) == 1
    assert "noted::1" not in json.dumps([began, ended])
    units = {metric["Name"]: metric["Unit"] for metric in metrics["Metrics"]}
    assert units["StepDuration"] == "Milliseconds"


def test_an_invocation_that_deals_with_nothing_writes_no_metric(
    noted: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    noted.invoke("resume", batch())
    assert emf(capsys) == []


@pytest.fixture
def by_step() -> Iterator[MetricsHandler]:
    """A handler that tells steps apart."""
    handler = MetricsHandler("N", "s", by_step=True)
    telemetry.attach("by step", handler, HEARD)
    yield handler
    telemetry.detach("by step")


def test_steps_are_a_dimension_where_that_is_asked_for(
    by_step: MetricsHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    LocalRuntime(Noted).start(Noted, "1")
    by_step.flush()
    written = [line for line in emf(capsys) if line["service"] == "s"]
    assert {line.get("step") for line in written} == {None, "begin", "left", "right", "ask"}
    (right,) = [line for line in written if line.get("step") == "right"]
    assert right["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [
        *(["service"], ["service", "workflow"], ["service", "workflow", "step"]),
    ]
    assert right["StepRetries"] == [1.0]
    by_step.flush()
    assert emf(capsys) == []
