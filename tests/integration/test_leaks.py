"""What instances carry gets into no log line, and what the engine is made of into no answer of the API."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from botocore.exceptions import ClientError
from pydantic import BaseModel

from hephaestus import DONE, Completed, Retry, StepContext, Workflow, step
from hephaestus.adapters.aws_errors import translate
from hephaestus.errors import BadRequest, EngineError, HephaestusError, InvalidInput, StoreUnavailable
from hephaestus.handlers import observability
from hephaestus.steps import Debug, WaitForEvent
from tests.integration.deployment import Deployment, api, deploy, sample

if TYPE_CHECKING:
    import io

SECRET: Final = "s3cr3t-4111-1111"
ID: Final = "secretive::one"


def quotes_the_error(error: BaseException, attempt: int) -> bool:
    """Decide how to retry, and fail with what the error said."""
    message = f"attempt {attempt}: no idea what to do about {error}"
    raise LookupError(message)


@step(
    retry=Retry(max_attempts=2, delay=timedelta(milliseconds=1), decide=quotes_the_error),
    compensate=lambda ctx: {"undone": ctx.initial["card"]},
)
def charge(ctx: StepContext) -> Completed:
    """Fail with the data once, then hand it on."""
    if ctx.attempt == 1:
        message = f"the bank refused {ctx.initial['card']}"
        raise ValueError(message)
    return Completed("done", {"card": ctx.initial["card"]}, {"card": ctx.initial["card"]})


hold = WaitForEvent("go", "fail", name="hold", timeout=timedelta(days=2), heartbeat=timedelta(hours=1))


@step(retry=Retry(max_attempts=1))
def fail(ctx: StepContext) -> str:
    """Fail for good with the data."""
    message = f"nobody knows {ctx.steps['hold']}"
    raise ValueError(message)


class Card(BaseModel):
    """What starts it."""

    card: str
    amount: int = 1


class Secretive(Workflow, key="secretive"):
    """Carries a secret wherever one can be."""

    Input = Card
    start_at = charge
    transitions = {charge: {"done": hold}, hold: {"go": DONE, "fail": fail, "timeout": DONE}, fail: {"done": DONE}}


look = Debug(name="look")


class Looking(Workflow, key="looking"):
    """Logs what it carries, where that is asked for."""

    start_at = look
    transitions = {look: {"done": DONE}}


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The functions."""
    return deploy(monkeypatch, Secretive, Looking)


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> io.StringIO:
    """What the functions write to their log, as JSON, and what anybody else logs, at the level that tells most."""
    for name in ("", "hephaestus", "hephaestus.debug"):
        caplog.set_level(logging.DEBUG, name)
    monkeypatch.setattr(observability.begin().registered_handler, "stream", caplog.handler.stream)
    return caplog.handler.stream


def refused(deployment: Deployment, function: str, event: Any) -> None:
    """Invoke a function with what it refuses."""
    with pytest.raises(HephaestusError):
        deployment.invoke(function, event)


def by_api(function: str, deployment: Deployment, path: str, body: Any = None, raw: str | None = None) -> int:
    """Call the API; the status."""
    event = {**api("api-start", path=path, body=body, raw=raw, prefer="wait=5"), "resource": None}
    event["headers"].pop("Idempotency-Key")  # else two events were one
    return deployment.call(function, event)[0]


def test_no_log_line_and_no_metric_holds_what_an_instance_carries(
    deployment: Deployment, logs: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """Context, metadata, payload, results, reasons, errors of steps and of retry policies, and whatever is refused."""
    direct = {"workflow": "Secretive", "context": {"card": SECRET}, "metadata": {"card": SECRET}, "tags": [SECRET]}
    deployment.invoke("start", {**direct, "id": "one"})
    by_api("start", deployment, "/workflows/Secretive/instances", {"id": "two", "context": {"card": SECRET}})
    deployment.invoke("control", {"action": "pause", "instance_id": ID, "reason": SECRET})
    deployment.invoke("control", {"action": "unpause", "instance_id": ID})
    changed = {"new_id": "three", "context": {"card": SECRET}, "results": {"charge": {"card": SECRET}}}
    deployment.invoke("control", {"action": "fork", "instance_id": ID, **changed})
    deployment.invoke("control", {"action": "cancel", "instance_id": "secretive::two", "reason": SECRET})
    by_api("resume", deployment, f"/instances/{ID}/events", {"event": "fail", "payload": {"card": SECRET}})
    deployment.pump()
    assert deployment.runner.get(ID).status == "failed"
    assert SECRET in json.dumps(deployment.invoke("read", api("api-get", path=f"/instances/{ID}", resource=None)))

    # What is refused: a wrong type, a member too much, no JSON, a late payload, no message and no timeout of ours.
    starts = "/workflows/Secretive/instances"
    assert by_api("start", deployment, starts, {"id": "x", "context": {"amount": SECRET}}) == 422
    assert by_api("start", deployment, starts, {"id": "x", SECRET: SECRET}) == 400
    assert by_api("start", deployment, starts, raw=f'{{"id": "{SECRET}') == 400
    assert by_api("resume", deployment, f"/instances/{ID}/events", {"event": "go", "payload": SECRET}) == 409
    refused(deployment, "start", {**direct, "id": "x", "context": {"card": [SECRET]}})
    refused(deployment, "resume", {"instance_id": ID, "event": "go", "payload": SECRET})
    record = {**sample("sqs-continue")["Records"][0], "body": json.dumps({"card": SECRET})}
    assert deployment.invoke("resume", {"Records": [record]})["batchItemFailures"]
    assert "dropped" in deployment.invoke("resume", {**sample("scheduler-timeout"), "step": 1, "card": SECRET})

    # And what fails in the middle, its traces included.
    deployment.runner.store.load = failing(KeyError("load"))  # type: ignore[method-assign]  # a fault, put in its place
    assert by_api("resume", deployment, f"/instances/{ID}/events", {"event": "go", "payload": SECRET}) == 500

    written, printed = logs.getvalue(), capsys.readouterr()
    for witness in ("request refused", "request failed", "decide failed", "is not ours", "timeout dropped"):
        assert witness in written
    assert '"InstancesFailed"' in printed.out
    assert SECRET not in written + printed.out + printed.err


def test_the_debug_step_logs_what_it_sees_where_debugging_is_asked_for_alone(
    deployment: Deployment, logs: io.StringIO, caplog: pytest.LogCaptureFixture
) -> None:
    start = {"workflow": "Looking", "context": {"card": SECRET}}
    deployment.invoke("start", {**start, "id": "told"})
    assert SECRET in logs.getvalue()
    before = len(logs.getvalue())
    caplog.set_level(logging.INFO, "hephaestus.debug")
    deployment.invoke("start", {**start, "id": "quiet"})
    assert SECRET not in logs.getvalue()[before:]


def test_a_log_line_is_one_line_whatever_a_caller_names(deployment: Deployment, logs: io.StringIO) -> None:
    """A line break in a path or a member's name forges no line: every line is an object of its own."""
    forged = 'x\n{"level":"INFO","message":"all is well"}'
    by_api("start", deployment, f"/workflows/{forged}/instances", {"id": "x"})
    by_api("resume", deployment, f"/instances/{forged}/events", {"event": forged})
    refused(deployment, "control", {"action": "schedule_resume", "instance_id": ID, "step": forged, "delay_ms": 1})
    messages = [json.loads(line).get("message") for line in logs.getvalue().splitlines() if line.startswith("{")]
    assert messages.count("request refused") == 2
    assert "all is well" not in messages


# --- What an answer must not hold ---

ARN: Final = "arn:aws:dynamodb:eu-west-1:123456789012:table/instances-1AB2"
THROTTLED: Final = ClientError(
    {"Error": {"Code": "ThrottlingException", "Message": f"too many on {ARN}"}, "ResponseMetadata": {}},  # type: ignore[typeddict-item]  # as botocore makes them
    "PutItem",
)
DENIED: Final = ClientError({"Error": {"Code": "AccessDeniedException", "Message": f"not on {ARN}"}}, "PutItem")
FAILURES: Final[dict[str, tuple[Exception, int]]] = {
    "a defect": (KeyError(ARN), 500),
    "AWS itself": (DENIED, 500),
    "a refusal by AWS": (translate(DENIED, "DynamoDB"), 500),
    "damaged data": (EngineError(f"{ARN} holds nonsense"), 500),
    "a throttled store": (translate(THROTTLED, "DynamoDB"), 503),
    "a silent store": (StoreUnavailable(f"{ARN} did not answer"), 503),
}
CALLS: Final = {
    "start": "/workflows/Secretive/instances",
    "resume": f"/instances/{ID}/events",
    "control": f"/instances/{ID}/cancel",
    "read": f"/instances/{ID}",
}


def failing(error: Exception) -> Any:
    """A method that fails."""

    def fail(*_args: Any, **_known: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("function", CALLS)
def test_no_answer_shows_a_name_a_trace_or_an_arn_of_the_inside(
    deployment: Deployment, function: str, failure: str
) -> None:
    """It says that it failed, and under which id the log knows why."""
    error, status = FAILURES[failure]
    store: Any = deployment.runner.store
    store.load = store.create = failing(error)
    body = {"start": {"id": "x", "context": {"card": "c"}}, "resume": {"event": "go"}, "control": {}}.get(function)
    event = api("api-get" if function == "read" else "api-start", path=CALLS[function], body=body)
    found, answer, _ = deployment.call(function, {**event, "resource": None})
    assert (found, answer["request_id"]) == (status, "4f2c9a1e-0000-4000-8000-000000000001")
    text = json.dumps(answer)
    inside = (
        "arn:",
        "instances-1AB2",
        "Traceback",
        ".py",
        "KeyError",
        "DynamoDB",
        "AccessDenied",
        "Throttling",
        "boto",
    )
    assert [word for word in inside if word in text] == []


def test_a_refused_input_is_told_without_what_was_given(deployment: Deployment) -> None:
    """The fields, and what they must be: pydantic would quote the values."""
    with pytest.raises(InvalidInput) as wrong:
        deployment.invoke("start", {"workflow": "Secretive", "id": "x", "context": {"card": 1, "amount": SECRET}})
    assert "amount: Input should be a valid integer" in str(wrong.value)
    assert SECRET not in str(wrong.value)
    with pytest.raises(BadRequest) as unknown:
        deployment.invoke("start", {"workflow": "Secretive", "id": "x", "contxt": {"card": SECRET}})
    assert SECRET not in str(unknown.value)
