"""Whatever comes from outside has a bound: up to it a value is taken, beyond it the call is refused, changing nothing.

The refusal names what was too much, and how much there may be. What a bound leaves to the engine is not judged here:
the longest name of a step is still no step of the workflow.
"""

from __future__ import annotations

import json
import random
import string
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import pytest
from pydantic import BaseModel, ConfigDict

from hephaestus import DONE, Completed, Pending, Put, Retry, StepContext, Workflow, step
from hephaestus.definition.views import to_json_object
from hephaestus.engine.codec import size
from hephaestus.errors import (
    BadRequest,
    CallerError,
    InstanceNotFound,
    UnexpectedEvent,
    UnknownStep,
    UnknownVersion,
)
from hephaestus.handlers.http.request import MAX_BODY
from hephaestus.handlers.triggers import read_timeout, read_work
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.integration.deployment import Deployment, api, deploy, sample

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ID: Final = "bound::one"
STARTS: Final = {"path": "/workflows/Bound/instances", "resource": "/workflows/{workflow}/instances"}
YEAR_MS: Final = 366 * 24 * 3600 * 1000
VALUE_BYTES: Final = 64 * 1024

hold = WaitForEvent("go", name="hold", timeout=timedelta(days=2), heartbeat=timedelta(hours=1))


@step
def first(ctx: StepContext) -> dict[str, Any]:
    """Leave a result."""
    return {"of": "first"}


class Bound(Workflow, key="bound"):
    """Something with a result, that waits."""

    start_at = first
    transitions = {first: {"done": hold}, hold: {"go": DONE, "timeout": DONE}}


# --- Values of a given size ---


def nested(depth: int) -> Any:
    """Objects in objects, ``depth`` of them."""
    value: Any = {}
    for _ in range(depth - 1):
        value = {"a": value}
    return value


def incompressible(length: int) -> str:
    """Text that is stored in three quarters of its length, the same each time."""
    return _incompressible()[:length]


@cache
def _incompressible() -> str:
    return "".join(random.Random(7).choices(string.ascii_letters + string.digits + "-_", k=4 * VALUE_BYTES))


@cache
def largest_text() -> int:
    """The length of the longest such text that is stored as a value ``{"a": text}``."""
    low, high = 1, 2 * VALUE_BYTES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size({"a": incompressible(middle)}) <= VALUE_BYTES else (low, middle)
    return low


def filling(more: int) -> dict[str, str]:
    """The largest value that is stored, and ``more`` than that."""
    assert largest_text() + more <= len(_incompressible())
    return {"a": incompressible(largest_text() + more)}


# --- The table ---


@dataclass(frozen=True)
class Row:
    """One input: how it is given, the value at its bound and the one beyond, and what the refusal says.

    Attributes:
        give: makes the call with a value.
        at, over: the values.
        says: words of the refusal: the name of what was too much, and the bound.
        meets: what the value at the bound meets for another reason.
    """

    give: Callable[[Deployment, Any], object]
    at: Any
    over: Any
    says: tuple[str, ...]
    meets: type[Exception] | None = None


class Refused(CallerError):
    """A problem document, as an error to compare with what a direct call raises."""


def by_api(function: str, name: str, **change: Any) -> Callable[[Deployment, Any], object]:
    """Call the API; in ``change``, a callable makes its part from the value."""

    def give(deployment: Deployment, value: Any) -> object:
        made = {key: part(value) if callable(part) else part for key, part in change.items()}
        headers = made.pop("headers", {})
        event = api(name, **made)
        event["headers"].update(headers)
        status, body, _ = deployment.call(function, event)
        if status >= 400:
            assert status < 500
            raise Refused(body["detail"])
        return body

    return give


def start(**member: Callable[[Any], Any]) -> Callable[[Deployment, Any], object]:
    """Start another instance by API, one member of the body made from the value."""
    return by_api(
        "start",
        "api-start",
        **STARTS,
        body=lambda value: {"id": "two", "context": {}, **{name: make(value) for name, make in member.items()}},
    )


def deliver(**member: Callable[[Any], Any]) -> Callable[[Deployment, Any], object]:
    """Deliver an event by API."""
    return by_api(
        "resume",
        "api-resume",
        path=f"/instances/{ID}/events",
        resource="/instances/{id}/events",
        body=lambda value: {"event": "go", **{name: make(value) for name, make in member.items()}},
    )


def read(parameter: str, path: str = "/instances") -> Callable[[Deployment, Any], object]:
    """Look by API, with one query parameter."""
    return by_api(
        "read",
        "api-list",
        path=path,
        resource=path.replace(ID, "{id}"),
        queryStringParameters=lambda value: {parameter: str(value)},
        multiValueQueryStringParameters=lambda value: {parameter: [str(value)]},
    )


def direct(function: str, member: str, **known: Any) -> Callable[[Deployment, Any], object]:
    """Invoke a function directly, one member being the value."""
    return lambda deployment, value: deployment.invoke(function, {**known, member: value})


def control(action: str, member: str, **known: Any) -> Callable[[Deployment, Any], object]:
    """Steer the instance directly."""
    return direct("control", member, action=action, instance_id=ID, **known)


def fork(member: str) -> Callable[[Deployment, Any], object]:
    """Fork the instance directly."""
    return control("fork", member, **({} if member == "new_id" else {"new_id": "two"}))


def timeout(member: str) -> Callable[[Deployment, Any], object]:
    """What a schedule sends, read."""
    return lambda _, value: read_timeout({**TIMEOUT, member: value})


def removal(member: str) -> Callable[[Deployment, Any], object]:
    """What a message says that removes a schedule, read."""
    return lambda _, value: read_work(
        json.dumps({"source": "hephaestus.queue", "remove_schedule": {**TIMEOUT, member: value}})
    )


def text(length: int) -> str:
    """A name of that length."""
    return "x" * length


def same(value: Any) -> Any:
    """The value as it is."""
    return value


def named(at: int, over: int) -> tuple[str, str]:
    """Names of these lengths."""
    return text(at), text(over)


TIMEOUT: Final = {**sample("scheduler-timeout"), "instance_id": ID, "step": "hold", "token": "hold.1"}
HISTORY: Final = f"/instances/{ID}/history"
MOST: Final = 99_999_999
NAME: Final = (text(128), text(129))
KEY: Final = ("printable string of 1 to 128 characters",)
DEPTH: Final = ("more than 64 deep",)
BYTES: Final = (f"at most {VALUE_BYTES} are stored",)
VALUES: Final = (filling(0), filling(8))
DEEP: Final = (nested(64), nested(65))
START: Final[dict[str, Any]] = {"workflow": "Bound", "context": {}}

TABLE: Final[dict[str, Row]] = {
    # A start
    "start body": Row(
        by_api("start", "api-start", **STARTS, raw='{"id": "two"}'.ljust),
        MAX_BODY,
        MAX_BODY + 1,
        ("body", f"{MAX_BODY} bytes"),
    ),
    "start id": Row(start(id=same), *NAME, ("business key 'bound'", "1 to 128")),
    "start context size": Row(start(context=same), *VALUES, ("the context", *BYTES)),
    "start context depth": Row(start(context=same), *DEEP, ("context.a", *DEPTH)),
    "start context number": Row(
        start(context=lambda value: {"n": value}), 2**4096 - 1, 2**4096, ("context.n", "more than 4096 bits")
    ),
    "start metadata size": Row(start(metadata=same), *VALUES, ("the metadata", *BYTES)),
    "start metadata depth": Row(start(metadata=same), *DEEP, ("metadata.a", *DEPTH)),
    "start tags": Row(
        start(tags=same), [str(one) for one in range(20)], [str(one) for one in range(21)], ("21 tags", "at most 20")
    ),
    "start tag": Row(start(tags=lambda value: [value]), *named(64, 65), ("tag", "1 to 64 characters")),
    "start version": Row(start(version=same), MOST, MOST + 1, ("'version'", f"1 to {MOST}"), UnknownVersion),
    "start Idempotency-Key": Row(
        by_api(
            "start",
            "api-start",
            **STARTS,
            body={"id": "two"},
            headers=lambda value: {"Idempotency-Key": value},
        ),
        *NAME,
        ("Idempotency-Key", "128 visible ASCII characters"),
    ),
    "start start_id": Row(direct("start", "start_id", **START, id="two"), *NAME, ("'start_id'", *KEY)),
    "start directly, id": Row(direct("start", "id", **START), *NAME, ("business key 'bound'", "1 to 128")),
    # An event
    "event name": Row(deliver(event=same), *NAME, ("'event'", "1 to 128 characters"), UnexpectedEvent),
    "event step": Row(deliver(step=same), *NAME, ("'step'", "1 to 128 characters"), UnknownStep),
    "event payload size": Row(deliver(payload=same), *VALUES, ("the payload", *BYTES)),
    "event payload depth": Row(deliver(payload=same), *DEEP, ("payload.a", *DEPTH)),
    "event event_id": Row(direct("resume", "event_id", instance_id=ID, event="go"), *NAME, ("'event_id'", *KEY)),
    "event instance": Row(
        direct("resume", "instance_id", event="go"),
        f"{text(64)}::{text(128)}",
        f"{text(64)}::{text(129)}",
        ("is not an instance id", "up to 128"),
        InstanceNotFound,
    ),
    "heartbeat step": Row(
        direct("resume", "step", action="heartbeat", instance_id=ID), *NAME, ("'step'", "1 to 128"), UnknownStep
    ),
    # Steering
    "cancel reason": Row(control("cancel", "reason"), *named(1000, 1001), ("'reason'", "1000 characters")),
    "cancel request_id": Row(control("cancel", "request_id"), *NAME, ("'request_id'", *KEY)),
    "cancel by": Row(control("cancel", "by"), *named(256, 257), ("by", "256 characters")),
    "pause by": Row(control("pause", "by"), *named(256, 257), ("by", "256 characters")),
    "unpause by": Row(control("unpause", "by"), *named(256, 257), ("by", "256 characters")),
    "pause reason": Row(control("pause", "reason"), *named(1000, 1001), ("'reason'", "1000 characters")),
    "pause request_id": Row(control("pause", "request_id"), *NAME, ("'request_id'", *KEY)),
    "unpause request_id": Row(control("unpause", "request_id"), *NAME, ("'request_id'", *KEY)),
    "fork new_id": Row(fork("new_id"), *NAME, ("business key 'bound'", "1 to 128")),
    "fork at": Row(fork("at"), MOST, MOST + 1, ("'at'", f"1 to {MOST}"), CallerError),
    "fork generation": Row(fork("generation"), MOST, MOST + 1, ("'generation'", f"1 to {MOST}"), InstanceNotFound),
    "fork version": Row(fork("version"), MOST, MOST + 1, ("'version'", f"1 to {MOST}"), UnknownVersion),
    "fork start_id": Row(fork("start_id"), *NAME, ("'start_id'", *KEY)),
    "fork context size": Row(fork("context"), *VALUES, ("the context", *BYTES)),
    "fork context depth": Row(fork("context"), *DEEP, ("context.a", *DEPTH)),
    "fork results": Row(
        fork("results"),
        {str(one): {} for one in range(200)},
        {str(one): {} for one in range(201)},
        ("'results'", "at most 200"),
        CallerError,
    ),
    "fork results' step": Row(
        fork("results"), {text(128): {}}, {text(129): {}}, ("'results'", "1 to 128 characters"), CallerError
    ),
    "fork results' size": Row(
        fork("results"), {"first": VALUES[0]}, {"first": VALUES[1]}, ("the results of step first", *BYTES)
    ),
    "fork results' depth": Row(fork("results"), {"first": DEEP[0]}, {"first": DEEP[1]}, ("results.first.a", *DEPTH)),
    "schedule delay": Row(
        control("schedule_resume", "delay_ms", step="hold"), YEAR_MS, YEAR_MS + 1, ("delay_ms", f"1 to {YEAR_MS}")
    ),
    "schedule step": Row(control("schedule_resume", "step", delay_ms=1), *NAME, ("'step'", "1 to 128"), UnknownStep),
    # Looking
    "list limit": Row(read("limit"), 200, 201, ("'limit'", "1 to 200")),
    "list cursor": Row(read("cursor"), *named(2048, 2049), ("'cursor'", "2048 characters"), CallerError),
    "list tag": Row(read("tag"), *named(2048, 2049), ("'tag'", "2048 characters")),
    "list workflow": Row(read("workflow"), *named(2048, 2049), ("'workflow'", "2048 characters"), CallerError),
    "list status": Row(read("status"), *named(2048, 2049), ("'status'", "2048 characters"), CallerError),
    "list since": Row(read("since"), *named(2048, 2049), ("'since'", "2048 characters"), CallerError),
    "history limit": Row(read("limit", HISTORY), 200, 201, ("'limit'", "1 to 200")),
    "history cursor": Row(read("cursor", HISTORY), "9" * 8, "9" * 9, ("cursor", "not one that a history page gave")),
    "history generation": Row(read("generation", HISTORY), MOST, MOST + 1, ("'generation'", f"{MOST}"), CallerError),
    # What Scheduler and SQS bring
    "timeout step": Row(timeout("step"), *named(256, 257), ("step", "at most 256 characters")),
    "timeout token": Row(timeout("token"), *named(256, 257), ("token", "at most 256 characters")),
    "timeout due_at": Row(timeout("due_at"), 10**15 - 1, 10**15, ("due_at", "at most 15 digits")),
    "timeout life": Row(timeout("life"), *named(256, 257), ("life", "at most 256 characters")),
    "message token": Row(removal("token"), *named(256, 257), ("token", "at most 256 characters")),
    "message due_at": Row(removal("due_at"), 10**15 - 1, 10**15, ("due_at", "at most 15 digits")),
}


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """The functions, and an instance that waits."""
    deployed = deploy(monkeypatch, Bound)
    assert deployed.invoke("start", {"workflow": "Bound", "id": "one"})["status"] == "waiting"
    return deployed


def everything(deployment: Deployment) -> Any:
    """All that the engine keeps; reasons say for how long something waits, so they change with time alone."""
    runner = deployment.runner
    ids = [instance.id for instance in runner.list()]
    shown = dict(to_json_object(runner.get(ID)))
    shown.pop("why", None)
    shown["steps"] = {
        key: {name: value for name, value in each.items() if name != "why"} for key, each in shown["steps"].items()
    }
    return ids, shown, runner.history(ID), deployment.timers.names(), deployment.queue.depth()


@pytest.mark.parametrize("name", TABLE)
def test_a_value_at_its_bound_is_taken(deployment: Deployment, name: str) -> None:
    row = TABLE[name]
    if row.meets is None:
        row.give(deployment, row.at)
        return
    with pytest.raises((row.meets, Refused)) as met:
        row.give(deployment, row.at)
    assert not all(word in str(met.value) for word in row.says)


@pytest.mark.parametrize("name", TABLE)
def test_a_value_beyond_its_bound_is_refused_by_name_and_nothing_is_lost(deployment: Deployment, name: str) -> None:
    row, before = TABLE[name], everything(deployment)
    with pytest.raises((CallerError, ValueError)) as refused:
        row.give(deployment, row.over)
    message = str(refused.value)
    assert [word for word in row.says if word not in message] == []
    assert len(message) < 2_000
    assert everything(deployment) == before
    deployment.invoke("resume", {"instance_id": ID, "event": "go"})
    assert deployment.runner.get(ID).status == "completed"


def test_an_instance_has_a_hundred_deadlines_at_most(deployment: Deployment) -> None:
    """Schedules cannot be piled up on it; those that it has go on."""
    ask = {"action": "schedule_resume", "instance_id": ID, "step": "hold", "delay_ms": YEAR_MS}
    for _ in range(98):  # beside the wait's own deadline and its heartbeat
        deployment.invoke("control", ask)
    before = everything(deployment)
    with pytest.raises(BadRequest, match="has 100 deadlines, the most there are"):
        deployment.invoke("control", ask)
    assert everything(deployment) == before


class Ask(BaseModel):
    """Objects only, and nothing else beside them."""

    model_config = ConfigDict(extra="forbid")
    items: list[dict[str, int]]


class Asking(Workflow, key="ask"):
    """Has an ``Input``."""

    Input = Ask
    start_at = first
    transitions = {first: {"done": DONE}}


def test_an_answer_names_twenty_wrong_fields_and_says_how_many_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a million wrong members fit into a body, and would not fit into an answer."""
    deployed = deploy(monkeypatch, Asking)
    body = {"id": "a", "context": {text(100_000): 0, "items": [0] * 100_000}}
    event = api("api-start", path="/workflows/Asking/instances", body=body)
    status, answer, _ = deployed.call("start", event)
    assert (status, len(answer["errors"])) == (422, 20)
    assert answer["detail"].endswith("and 99981 more")
    assert len(json.dumps(answer)) < 20_000


# --- What steps give ---


@step(events=("done", "timeout"), retry=Retry(max_attempts=1))
def give(ctx: StepContext) -> Any:
    """Give what the test asks for."""
    return GIVEN[ctx.initial["what"]][0][ctx.initial["which"]]


class Giving(Workflow, key="giving"):
    """One step."""

    start_at = give
    transitions = {give: {"done": DONE, "timeout": DONE}}


def puts(number: int) -> list[Put]:
    """So many writes."""
    return [Put("orders", {"pk": str(one)}) for one in range(number)]


NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)  # the virtual clock's
SECOND: Final = timedelta(seconds=1)
WAITS: Final = (timedelta(days=3_660), timedelta(days=3_660) + SECOND)
GIVEN: Final[dict[str, tuple[Sequence[Any], Sequence[str]]]] = {
    "result's size": ([Completed("done", it) for it in VALUES], ("step give: its results", *BYTES)),
    "result's depth": ([Completed("done", it) for it in DEEP], ("step give: results.a", *DEPTH)),
    "metadata's size": ([Completed("done", {}, it) for it in VALUES], ("step give: its metadata", *BYTES)),
    "writes": ([Completed("done", writes=puts(it)) for it in (99, 100)], ("there are 100 writes", "at most 99")),
    "wait": ([Pending(timeout=it) for it in WAITS], ("step give waits, and its timeout is", "3660 days")),
    "wait until": ([Pending(timeout=NOW + it) for it in WAITS], ("step give waits, and its timeout is", "3660 days")),
    "heartbeat": ([Pending(heartbeat=it) for it in WAITS], ("step give waits, and its heartbeat is", "3660 days")),
}


@pytest.mark.parametrize("what", GIVEN)
def test_what_a_step_gives_is_taken_up_to_its_bound_and_fails_the_step_beyond(what: str) -> None:
    """Running it again would not help, so it is not; the instance can be read and says what was wrong."""
    local = LocalRuntime(Giving, tables={"orders": ("pk",)})
    assert local.start(Giving, "at", {"what": what, "which": 0}).status in ("completed", "waiting")
    failed = local.start(Giving, "over", {"what": what, "which": 1})
    assert failed.status == "failed"
    assert failed.steps["give"].error is not None
    message = failed.steps["give"].error["message"]
    assert [word for word in GIVEN[what][1] if word not in message] == []


def test_no_retry_waits_for_longer_than_a_year() -> None:
    """Neither by its policy nor by what a deciding function says."""
    year = timedelta(days=366)
    assert Retry(delay=year, max_delay=year).max_delay == year
    with pytest.raises(ValueError, match="at most 366 days"):
        Retry(max_delay=year + SECOND)
    decided = Retry(decide=lambda _error, _attempt: timedelta.max).again(OSError(), 1, 0.5)
    assert decided == year / timedelta(milliseconds=1)


@step(retry=Retry(max_attempts=1))
def misread(ctx: StepContext) -> str:
    """Fail as a file does whose name is no text."""
    raise OSError(b"\xff".decode(errors="surrogateescape") + text(5_000))


class Misreading(Workflow, key="misread"):
    """Fails."""

    start_at = misread
    transitions = {misread: {"done": DONE}}


def test_an_error_of_any_length_and_letters_leaves_an_instance_that_can_be_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its text is kept to 1,000 characters, and an answer is text in UTF-8 whatever is in it."""
    deployed = deploy(monkeypatch, Misreading)
    deployed.invoke("start", {"workflow": "Misreading", "id": "one"})
    answer = deployed.invoke("read", shown("misread::one"))
    assert answer["body"].encode()
    assert len(json.loads(answer["body"])["steps"]["misread"]["error"]["message"]) == 1_000


def shown(instance_id: str) -> dict[str, Any]:
    """A look at an instance, by API."""
    return api("api-get", path=f"/instances/{instance_id}", resource="/instances/{id}")
