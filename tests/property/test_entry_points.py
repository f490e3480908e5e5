"""Whatever a function is invoked with, it answers, rejects it as the caller's mistake, or reports the failed messages.

The sample events are mutated: members are left out, given other types, or made huge, deep or unprintable, in the event
and in the JSON texts that it carries. Nothing raw gets out: no ``KeyError``, no ``TypeError``, no answer of 500.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hephaestus.errors import BadRequest, CallerError
from hephaestus.testing import VirtualClock
from tests.integration.deployment import FUNCTIONS, ROOT, Context, Deployment, batch, deploy, sample
from workflows import Onboarding, OrderFlow

if TYPE_CHECKING:
    from collections.abc import Iterator

SAMPLES: Final = sorted(file.stem for file in (ROOT / "events").glob("*.json") if file.stem != "env")
TEXTS: Final = ("body", "Payload")  # members that carry JSON as a text
HOSTILE: Final[tuple[Any, ...]] = (
    *(None, True, 0, -1, 1.5, 10**30, float("nan"), "", "x", "\ud800", "a\nb", "x" * 3000, "NaN", "orderid::sample-1"),
    *([], {}, [None], {"": None}, [[]], {"a": {"b": []}}, ["x"], {"$hephaestus": ["decimal", "1"]}),
)


def deep(levels: int) -> Any:
    """A list in a list in a list."""
    found: Any = []
    for _ in range(levels):
        found = [found]
    return found


NAMES = st.text(max_size=5) | st.sampled_from(["by", "action", "source", "Records", "claimedBy", "identity"])
VALUES = st.sampled_from([*HOSTILE, deep(70), deep(200)]) | st.text(max_size=8) | st.integers()


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    """The functions, over one store for all events; what time passes passes at once."""
    with pytest.MonkeyPatch.context() as patch:
        deployed = deploy(patch, OrderFlow, Onboarding, clock=VirtualClock())
        deployed.started()
        yield deployed


def places(thing: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something stands in an event."""
    members = thing.items() if isinstance(thing, dict) else enumerate(thing) if isinstance(thing, list) else ()
    for key, value in members:
        yield (*at, key)
        yield from places(value, (*at, key))


def opened(thing: Any) -> Any:
    """An event with the JSON texts in it as what they say."""
    if isinstance(thing, dict):
        return {key: _opened_text(value) if key in TEXTS else opened(value) for key, value in thing.items()}
    return [opened(one) for one in thing] if isinstance(thing, list) else thing


def _opened_text(value: Any) -> Any:
    try:
        return {"$text": json.loads(value)}
    except (TypeError, ValueError):
        return value


def closed(thing: Any) -> Any:
    """An event as it is sent: what was opened is a text again."""
    if isinstance(thing, dict):
        if thing.keys() == {"$text"}:
            return json.dumps(thing["$text"])
        return {key: closed(value) for key, value in thing.items()}
    return [closed(one) for one in thing] if isinstance(thing, list) else thing


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A sample event that has been changed in up to three places."""
    event = opened(sample(draw(st.sampled_from(SAMPLES))))
    for _ in range(draw(st.integers(0, 3))):
        found = list(places(event))
        if not found:
            break
        *way, last = draw(st.sampled_from(found))
        parent = event
        for key in way:
            parent = parent[key]
        match draw(st.sampled_from(["replace", "replace", "leave out", "add", "copy"])):
            case "replace":
                parent[last] = copy.deepcopy(draw(VALUES))
            case "leave out":
                del parent[last]
            case "add" if isinstance(parent, dict):
                parent[draw(NAMES)] = copy.deepcopy(draw(VALUES))
            case _:
                other = draw(st.sampled_from(found))
                parent[last] = copy.deepcopy(_at(event, other))
    return closed(event)


def _at(event: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        try:
            event = event[key]
        except (KeyError, IndexError, TypeError):
            return None
    return event


def check(deployment: Deployment, function: str, event: Any) -> Any:
    """Invoke a function, and hold what comes of it against what may."""
    try:
        answer = deployment.functions[function].handler(json.loads(json.dumps(event)), Context())
    except CallerError as error:
        return error
    json.dumps(answer)
    if "statusCode" in answer:
        assert 200 <= answer["statusCode"] < 500, answer
        kind = ", ".join(answer["multiValueHeaders"]["Content-Type"])
        if answer["statusCode"] >= 400 and "html" not in kind:
            document = json.loads(answer["body"])
            assert kind == "application/problem+json"
            assert document.keys() >= {"type", "title", "status", "detail"}
    elif "batchItemFailures" in answer:
        names = [record["messageId"] for record in event["Records"]]
        assert all(failure["itemIdentifier"] in names for failure in answer["batchItemFailures"])
    return answer


@pytest.fixture(autouse=True)
def what_is_logged_can_be_written(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever the event holds: a line that no file takes is lost, with what it says."""
    yield
    "".join(record.getMessage() for record in caplog.get_records("call")).encode()


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(event=mutated(), function=st.sampled_from(FUNCTIONS))
def test_a_mutated_event_is_answered_or_rejected(deployment: Deployment, event: Any, function: str) -> None:
    """Any event, sent to any function."""
    check(deployment, function, event)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(event=st.recursive(VALUES, lambda it: st.lists(it, max_size=3) | st.dictionaries(st.text(max_size=3), it)))
def test_anything_at_all_is_answered_or_rejected(deployment: Deployment, event: Any) -> None:
    """An event that is none."""
    for function in FUNCTIONS:
        check(deployment, function, event)


API_SHAPES: Final[list[dict[str, Any]]] = [
    {"requestContext": []},
    {"requestContext": "x"},
    {"headers": []},
    {"headers": {"Idempotency-Key": 5}},
    {"headers": {"Prefer": ["wait=1"]}},
    {"multiValueHeaders": {"Prefer": "wait=1"}},
    {"multiValueHeaders": ["Prefer"]},
    {"queryStringParameters": "status=failed"},
    {"queryStringParameters": {"status": ["failed"]}},
    {"body": {"event": "approved"}},
    {"body": 5},
    {"path": 7},
    {"path": ["instances"]},
    {"path": "/instances/\ud800"},
    {"httpMethod": None, "path": None},
    {"httpMethod": ["POST"]},
    {"isBase64Encoded": "yes"},
    {"resource": 1},
]


ROUTES: Final = [("resume", "api-resume"), ("control", "api-pause"), ("start", "api-start"), ("read", "api-list")]


@pytest.mark.parametrize("change", API_SHAPES, ids=lambda it: str(it)[:60])
@pytest.mark.parametrize(("function", "name"), ROUTES)
def test_an_api_event_of_another_shape_is_a_problem_document(
    deployment: Deployment, function: str, name: str, change: dict[str, Any]
) -> None:
    """It says which member, and that a direct call has neither httpMethod nor requestContext."""
    answer = check(deployment, function, {**sample(name), **change})
    assert answer["statusCode"] in (400, 404, 405), answer


@pytest.mark.parametrize("change", [{"messageId": None}, {"messageId": ""}, {"messageId": 5}])
def test_a_record_without_its_id_fails_the_batch_before_anything_is_done(
    deployment: Deployment, change: dict[str, Any]
) -> None:
    """Its failure could not be reported, and the messages before it must not be done twice."""
    event = batch("orderid::sample-1", "orderid::nobody")
    event["Records"][1].update(change)
    with pytest.raises(BadRequest, match=r"records 1 .* have no messageId"):
        deployment.invoke("resume", event)
    del event["Records"][1]["messageId"]
    assert isinstance(check(deployment, "resume", event), BadRequest)


BODIES: Final[list[Any]] = [
    None,
    5,
    {},
    "",
    "{",
    "[]",
    '{"source": "hephaestus.queue", "instance_id": "orderid::sample-1", "instance_id": "orderid::other"}',
    '{"source": "hephaestus.queue", "instance_id": 5}',
    '{"source": "hephaestus.queue", "instance_id": "\\ud800"}',
    "[" * 100_000,
]


@pytest.mark.parametrize("body", BODIES, ids=lambda it: str(it)[:40])
def test_a_message_that_cannot_be_read_fails_alone(deployment: Deployment, body: Any) -> None:
    """The others of its batch are done."""
    event = batch("orderid::sample-1", "orderid::sample-1")
    event["Records"][0]["body"] = body
    assert deployment.invoke("resume", event) == {"batchItemFailures": [{"itemIdentifier": "m-0"}]}
    del event["Records"][0]["body"]
    assert deployment.invoke("resume", event) == {"batchItemFailures": [{"itemIdentifier": "m-0"}]}


@pytest.mark.parametrize(
    "records", [None, {}, "x", 5, [None], ["x"], [{}], [{"eventSource": "aws:sns"}], [{"eventSource": []}]]
)
def test_records_of_something_else_are_rejected(deployment: Deployment, records: Any) -> None:
    """A batch of another service, or no list."""
    with pytest.raises(BadRequest, match="Records"):
        deployment.invoke("resume", {"Records": records})


TWICE: Final = [
    ("resume", "api-resume", '{"event": "approved", "event": "rejected"}'),
    ("resume", "api-resume", '{"event": "approved", "payload": {"a": {"b": 1, "b": 2}}}'),
    ("resume", "api-resume", '{"event": "approved", "\\u0065vent": "rejected"}'),
    ("resume", "api-heartbeat", '{"step": "a", "step": "a"}'),
    ("start", "api-start", '{"id": "x", "id": "x"}'),
    ("control", "api-cancel", '{"reason": "a", "reason": "b"}'),
    ("control", "api-pause", '{"reason": "a", "reason": "b"}'),
    ("control", "api-fork", '{"new_id": "a", "new_id": "b"}'),
]


@pytest.mark.parametrize(("function", "name", "body"), TWICE, ids=[f"{name} {body[:20]}" for _, name, body in TWICE])
def test_a_member_that_appears_twice_is_rejected(deployment: Deployment, function: str, name: str, body: str) -> None:
    """Readers disagree about which of the two counts; the answer names it."""
    answer = deployment.invoke(function, {**sample(name), "body": body})
    assert answer["statusCode"] == 400
    assert "twice" in json.loads(answer["body"])["detail"]
