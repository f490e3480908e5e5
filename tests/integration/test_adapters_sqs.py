"""The work queue on SQS: what is really sent, on moto."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber
from hypothesis import given
from hypothesis import strategies as st
from moto.core.utils import unix_time_millis

from hephaestus.adapters.session import LazyClient
from hephaestus.adapters.sqs import LONGEST_DELAY, SOURCE, SqsQueue, group_of, read_wake_message, wake_message
from hephaestus.definition.business_key import NAME, VALUE
from hephaestus.errors import BadRequest, EngineError, StoreUnavailable
from hephaestus.runtime.ports import Timeout
from hephaestus.store.keys import log_key
from hephaestus.store.overdue import Wakeup

if TYPE_CHECKING:
    from collections.abc import Mapping

texts = st.text(st.characters(codec="utf-8"), max_size=200)


@pytest.fixture
def queue(moto_in_process: None) -> SqsQueue:
    """An empty queue."""
    client = LazyClient("sqs")
    return SqsQueue(client.get().create_queue(QueueName="work")["QueueUrl"], client)


@pytest.fixture
def delays(queue: SqsQueue) -> list[int]:
    """The delays that are asked for, in seconds."""
    seen: list[int] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        seen.append(params["DelaySeconds"])

    queue.client.get().meta.events.register("before-parameter-build.sqs.SendMessage", note)
    return seen


def received(queue: SqsQueue) -> list[str]:
    """The instances whose messages can be received now."""
    answer = queue.client.get().receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10)
    return [read_wake_message(json.loads(message["Body"])).instance_id for message in answer.get("Messages", [])]


def test_a_message_comes_back(queue: SqsQueue) -> None:
    """At once, with the id of the instance, whatever it is."""
    queue.wake("orderid::abc123")
    queue.wake("schlüssel::👩‍🚀")
    assert sorted(received(queue)) == ["orderid::abc123", "schlüssel::👩‍🚀"]


def groups(queue: SqsQueue) -> list[str]:
    """The groups of the messages that can be received now."""
    names = ["MessageGroupId"]
    asked: Any = {"AttributeNames": names, "MessageSystemAttributeNames": names}
    answer = queue.client.get().receive_message(QueueUrl=queue.url, MaxNumberOfMessages=10, **asked)
    return sorted(message["Attributes"]["MessageGroupId"] for message in answer.get("Messages", []))


def test_messages_have_the_group_of_their_workflow(queue: SqsQueue) -> None:
    """Whatever sends them: a hand-over, a sweep or a redrive of dead letters, and what removes a schedule."""
    queue.wake("orderid::1")
    assert queue.wake_many([Wakeup("orderid::2"), Wakeup("onboarding::1")]) == ["orderid::2", "onboarding::1"]
    queue.remove_schedule(Timeout("returnid::1", "e64892557ff01234567", "approval", "approval#1", 1))
    assert groups(queue) == ["onboarding", "orderid", "orderid", "returnid"]


LEAF, ORDER = "hephaestus-map::0a1b", "orderid::1"


@pytest.fixture
def both(queue: SqsQueue) -> SqsQueue:
    """An empty queue, and another one for what maps do."""
    return SqsQueue(queue.url, queue.client, queue.client.get().create_queue(QueueName="bulk")["QueueUrl"])


def bodies(queue: SqsQueue, url: str) -> list[dict[str, Any]]:
    """What can be received from one of its queues now."""
    answer = queue.client.get().receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


def test_messages_about_maps_go_through_a_queue_of_their_own(both: SqsQueue) -> None:
    """Whatever sends them; nothing else goes there, also where its id looks alike. *Rule C.9*."""
    assert both.bulk_url is not None
    alike = ("hephaestus-maps::1", "hephaestus-map", "orderid::hephaestus-map")
    for instance_id in (LEAF, ORDER, *alike):
        both.wake(instance_id)
    both.remove_schedule(Timeout(LEAF, "e64892557ff01234567", "approval", "approval#1", 1))
    found = {json.dumps({**body, **body.pop("remove_schedule", {})}) for body in bodies(both, both.bulk_url)}
    assert len(found) == 2
    assert all(json.loads(body)["instance_id"] == LEAF for body in found)
    assert sorted(received(both)) == sorted((ORDER, *alike))


def test_a_batch_is_of_one_queue(both: SqsQueue) -> None:
    """25 of each, mixed: six requests, and each message where it belongs."""
    asked: list[tuple[str, int]] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        asked.append((params["QueueUrl"], len(params["Entries"])))

    both.client.get().meta.events.register("before-parameter-build.sqs.SendMessageBatch", note)
    ids = [f"{key}::{number}" for number in range(25) for key in ("hephaestus-map", "orderid")]
    assert sorted(both.wake_many([Wakeup(instance_id) for instance_id in ids])) == sorted(ids)
    assert asked == [(url, size) for url in (both.url, both.bulk_url) for size in (10, 10, 5)]
    assert (both.depth(), both.depth(bulk=True)) == (25, 25)


def test_a_queue_that_is_not_there_keeps_nothing_of_the_other_back(both: SqsQueue) -> None:
    lost = SqsQueue(both.url, both.client, f"{both.url}-lost")
    assert lost.wake_many([Wakeup(LEAF), Wakeup(ORDER)]) == [ORDER]


def test_without_a_queue_for_maps_their_messages_go_with_all_others(queue: SqsQueue) -> None:
    """As in a stack of an older release."""
    queue.wake(LEAF)
    assert queue.wake_many([Wakeup(LEAF), Wakeup(ORDER)]) == [LEAF, ORDER]
    assert (queue.depth(), queue.depth(bulk=True)) == (3, 3)
    assert sorted(received(queue)) == [LEAF, LEAF, ORDER]


@given(texts)
def test_a_group_keeps_to_the_services_rules(instance_id: str) -> None:
    """SendMessage: MessageGroupId has 1 to 128 letters, digits and punctuation."""
    assert re.fullmatch(r"[0-9A-Za-z_-]{1,128}", group_of(instance_id))


@given(st.from_regex(NAME, fullmatch=True), st.from_regex(VALUE, fullmatch=True))
def test_instances_of_one_key_have_one_group_and_of_another_key_another(name: str, value: str) -> None:
    assert group_of(f"{name}::{value}") == name


def test_a_delayed_message_comes_later(queue: SqsQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before its delay is over; what passes is the time of moto's queue."""
    queue.wake("orderid::abc123", 60_000)
    assert received(queue) == []
    later = unix_time_millis() + 60_000
    monkeypatch.setattr("moto.sqs.models.unix_time_millis", lambda: later)
    assert received(queue) == ["orderid::abc123"]


@pytest.mark.parametrize(
    ("delay_ms", "seconds"),
    [(0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2), (899_001, 900), (900_000, 900)],
)
def test_a_delay_is_rounded_up(queue: SqsQueue, delays: list[int], delay_ms: int, seconds: int) -> None:
    """To whole seconds, so that nothing is woken before its time."""
    queue.wake("orderid::abc123", delay_ms)
    assert delays == [seconds]


@pytest.mark.parametrize("delay_ms", [-1_000, -1_001, 900_001, 10**12])
def test_a_delay_out_of_bounds_is_refused(queue: SqsQueue, delays: list[int], delay_ms: int) -> None:
    """The queue holds a message back for 15 minutes at most; nothing is sent."""
    with pytest.raises(ValueError, match=f"0 to {LONGEST_DELAY} s"):
        queue.wake("orderid::abc123", delay_ms)
    assert delays == []


@given(texts)
def test_a_body_is_read_as_it_was_written(instance_id: str) -> None:
    """Any text survives JSON, and so do the alarms that the sweep saw."""
    assert read_wake_message(json.loads(wake_message(instance_id))) == Wakeup(instance_id)
    alarms = (log_key("e64892557ff01234567", 2), log_key("e64892557ff01234567", 31))
    assert read_wake_message(json.loads(wake_message(instance_id, alarms))) == Wakeup(instance_id, 0, alarms)


@pytest.mark.parametrize("alarms", ["log#", ["head"], [1], [f"log#{'0' * 19}#1"], {"a": 1}])
def test_alarms_that_are_no_keys_of_log_entries_are_rejected(alarms: Any) -> None:
    """Nothing else is ever changed for their sake."""
    with pytest.raises(BadRequest, match="alarms"):
        read_wake_message({"source": SOURCE, "instance_id": "orderid::a", "alarms": alarms})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(texts, json_values, max_size=8))
def test_a_foreign_message_is_refused(message: Mapping[str, Any]) -> None:
    """Whatever it is: a bad request, never a crash."""
    with pytest.raises(BadRequest, match="not a message"):
        read_wake_message(message)


@pytest.mark.parametrize("instance_id", [None, 1, True, ["orderid::a"], {"S": "orderid::a"}, ...])
def test_a_message_without_an_id_is_refused(instance_id: Any) -> None:
    """The id must be text."""
    message = {"source": SOURCE} if instance_id is ... else {"source": SOURCE, "instance_id": instance_id}
    with pytest.raises(BadRequest, match="instance_id"):
        read_wake_message(message)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("RequestThrottled", 400, StoreUnavailable),
        ("ThrottlingException", 400, StoreUnavailable),
        ("InternalError", 500, StoreUnavailable),
        ("AccessDenied", 403, EngineError),
        ("AWS.SimpleQueueService.NonExistentQueue", 400, EngineError),
    ],
)
def test_an_error_says_whether_to_come_back(queue: SqsQueue, code: str, status: int, kind: type[Exception]) -> None:
    """Throttled and broken: later. Refused: a matter of permissions and settings, whose names stay inside."""
    with Stubber(queue.client.get()) as stubber:
        stubber.add_client_error("send_message", code, f"{queue.url} is not yours", status)
        with pytest.raises(kind, match=code) as caught:
            queue.wake("orderid::abc123")
    assert isinstance(caught.value, StoreUnavailable) == (kind is StoreUnavailable)
    assert queue.url not in str(caught.value)


def test_no_answer_is_a_passing_condition(queue: SqsQueue) -> None:
    """Whoever called may call again."""

    def silence(**_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="http://test")

    queue.client.get().meta.events.register_first("before-send.sqs", silence)
    with pytest.raises(StoreUnavailable, match="try again"):
        queue.wake("orderid::abc123")


def test_a_queue_that_is_not_there_is_an_engine_error(queue: SqsQueue) -> None:
    """And its address stays inside."""
    lost = SqsQueue(f"{queue.url}-lost", queue.client)
    with pytest.raises(EngineError, match="SQS rejected") as caught:
        lost.wake("orderid::abc123")
    assert "lost" not in str(caught.value)
