"""A dead letter is read with suspicion: what it asks for, or why it stays where it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus.adapters.scheduler import timeout_payload
from hephaestus.adapters.sqs import removal_message, status_message, wake_message
from hephaestus.dead_letters.letters import Deliver, Publish, RemoveSchedule, Wake, read_letter
from hephaestus.dead_letters.queue import Letter
from hephaestus.dead_letters.sending import Report, redrive
from hephaestus.errors import BadRequest
from hephaestus.runtime.ports import Timeout
from hephaestus.runtime.status_events import StatusEvent

START = {"workflow": "OrderFlow", "id": "1", "context": {}, "start_id": "s-1"}
CANCEL = {"action": "cancel", "instance_id": "orderid::1", "request_id": "r-1"}
FORK = {"action": "fork", "instance_id": "orderid::1", "at": "approval", "start_id": "s-2"}
TIMEOUT = Timeout("orderid::1", "e64892557ff01234567", "approval", "approval#1", 1_795_518_900_000)
STATUS = StatusEvent(
    {
        "instance_id": "orderid::1",
        "workflow": "OrderFlow",
        "life": TIMEOUT.life,
        "status": "completed",
        "at": "2026-11-24T08:40:00.000+00:00",
        "started_at": "2026-11-24T08:35:00.000+00:00",
        "version": 1,
        "generation": 1,
        "number": 9,
    }
)
EVENT = {"instance_id": "orderid::1", "event": "approved", "event_id": "e-1", "payload": {"card": "4111 1111"}}


def invocation(event: Any, **change: Any) -> str:
    """The record of an asynchronous invocation that failed, as Lambda sends it to a destination."""
    record = {
        "version": "1.0",
        "timestamp": "2026-11-24T10:15:00.000Z",
        "requestContext": {
            "requestId": "4f2c9a1e-0000-4000-8000-000000000001",
            "functionArn": "arn:aws:lambda:eu-central-1:123456789012:function:hephaestus-resume:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": event,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorType": "StoreUnavailable", "errorMessage": "throttled"},
    }
    return json.dumps({**record, **change})


@pytest.mark.parametrize(
    ("body", "errand"),
    [
        (wake_message("orderid::1"), Wake("orderid::1")),
        (removal_message(TIMEOUT), RemoveSchedule(TIMEOUT)),
        (status_message(STATUS), Publish(STATUS)),
        (timeout_payload(TIMEOUT), Wake("orderid::1")),
        (json.dumps({"FunctionName": "resume", "Payload": timeout_payload(TIMEOUT)}), Wake("orderid::1")),
        (json.dumps({"Payload": json.loads(timeout_payload(TIMEOUT))}), Wake("orderid::1")),
        (invocation(json.loads(timeout_payload(TIMEOUT))), Wake("orderid::1")),
        (invocation(EVENT), Deliver(EVENT)),
        (invocation(START), Deliver(START, "start")),
        (invocation(CANCEL), Deliver(CANCEL, "control")),
        (invocation(FORK), Deliver(FORK, "control")),
    ],
)
def test_what_a_letter_asks_for(body: str, errand: object) -> None:
    """Messages of the queue, schedules that could not be delivered, invocations that failed."""
    assert read_letter(body) == errand


DAMAGED: dict[str, str] = {
    "empty": "",
    "no JSON": "{",
    "a list": "[]",
    "a number": "7",
    "too deep": '{"a": ' + "[" * 100_000,
    "nobody's": "{}",
    "somebody else's": json.dumps({"source": "aws.events", "instance_id": "orderid::1"}),
    "an alarm's": json.dumps({"AlarmName": "x", "NewStateValue": "ALARM"}),
    "work without an instance": json.dumps({"source": "hephaestus.queue"}),
    "work for no id": json.dumps({"source": "hephaestus.queue", "instance_id": "x"}),
    "a removal of nothing": json.dumps({"source": "hephaestus.queue", "remove_schedule": {}}),
    "half a status event": json.dumps({"source": "hephaestus.queue", "status_event": {"instance_id": "orderid::1"}}),
    "half a timeout": json.dumps({"source": "hephaestus.timer", "instance_id": "orderid::1"}),
    "a timeout of no id": json.dumps({**json.loads(timeout_payload(TIMEOUT)), "instance_id": "x"}),
    "an input cut off": json.dumps({"Payload": timeout_payload(TIMEOUT)[:40]}),
    "an invocation with nothing": invocation(None),
    "an invocation with a list": invocation([]),
    "an invocation of no event": invocation({"instance_id": "orderid::1"}),
    "an invocation of an API's call": invocation({"httpMethod": "POST", "requestContext": {}}),
    "an invocation with a batch": invocation({"Records": [{"eventSource": "aws:sqs", "body": "{}"}]}),
    "an invocation with a damaged timeout": invocation({"source": "hephaestus.timer"}),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_letter_that_says_nothing_stays(case: str) -> None:
    """Each with a short reason."""
    with pytest.raises(BadRequest) as raised:
        read_letter(DAMAGED[case])
    assert len(str(raised.value)) < 300


def test_an_event_without_an_id_is_not_sent_again() -> None:
    """It might have arrived before its invocation failed; the reason holds nothing of its payload."""
    with pytest.raises(BadRequest, match="no event_id") as raised:
        read_letter(invocation({**EVENT, "event_id": None}))
    assert "4111" not in str(raised.value)


@pytest.mark.parametrize(("event", "name"), [(START, "start_id"), (CANCEL, "request_id"), (FORK, "start_id")])
def test_a_call_without_an_id_is_not_sent_again(event: dict[str, Any], name: str) -> None:
    """It may have been done before its invocation failed: the reason says what to look at."""
    with pytest.raises(BadRequest, match=f"no {name} .*delete this letter"):
        read_letter(invocation({**event, name: None}))


def test_a_heartbeat_is_not_sent_again() -> None:
    """It says that somebody was alive then, which is not true of now."""
    with pytest.raises(BadRequest, match="heartbeat"):
        read_letter(invocation({"action": "heartbeat", "instance_id": "orderid::1"}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["source", "instance_id", "remove_schedule", "requestContext", "requestPayload", "Payload", "event", "action"]
)
values = st.sampled_from(["hephaestus.queue", "hephaestus.timer", "orderid::1", {}, []]) | json_values


@given(st.dictionaries(names, values | st.dictionaries(names, values, max_size=4), max_size=6))
def test_whatever_lies_there_is_refused_or_read_never_a_crash(letter: dict[str, Any]) -> None:
    """So that one damaged letter keeps no other back; what is read is about an instance that can be."""
    try:
        errand = read_letter(json.dumps(letter))
    except BadRequest:
        return
    assert "orderid::1" in repr(errand)


@given(st.text(max_size=200))
def test_any_text_is_refused(body: str) -> None:
    """None is ours by chance."""
    with pytest.raises(BadRequest):
        read_letter(body)


def test_a_letter_that_is_received_twice_is_sent_once() -> None:
    """SQS delivers at least once; and a letter that stays comes back when its time of being hidden is over."""

    class Twice:
        """A queue that forgets what it has shown."""

        shown = [[Letter("m-1", "r-1", wake_message("orderid::1")), Letter("m-2", "r-2", "{")]] * 3
        released: tuple[str, ...] = ()

        def receive(self, most: int) -> list[Letter]:
            return self.shown.pop()

        def delete(self, letters: list[Letter]) -> None:
            assert [letter.id for letter in letters] == ["m-1"]

        def release(self, letters: list[Letter]) -> None:
            self.released = tuple(letter.id for letter in letters)

    class Work:
        """A work queue that remembers."""

        woken: tuple[str, ...] = ()

        def wake_many(self, wakeups: list[Any]) -> list[str]:
            self.woken += tuple(wakeup.instance_id for wakeup in wakeups)
            return [wakeup.instance_id for wakeup in wakeups]

    letters: Any = Twice()
    work: Any = Work()
    report = redrive(letters, work)
    assert report == Report(2, 1, 0, report.left)
    assert [left.message_id for left in report.left] == ["m-2"]
    assert (work.woken, letters.released) == (("orderid::1",), ("m-2",))
