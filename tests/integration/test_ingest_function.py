"""The function that takes events from outside: every sample, its dead letters, and what it does with a bad batch."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus.adapters.message_attributes import (
    MESSAGE_ID,
    PACKED,
    REASON,
    Attribute,
    of_message,
    of_record,
    packed,
    unpacked,
)
from hephaestus.adapters.session import LazyClient
from hephaestus.adapters.sqs import SqsMessages, SqsQueue
from hephaestus.dead_letters import DeadLetterQueue, redrive
from hephaestus.errors import BadRequest, EngineError, StoreUnavailable
from hephaestus.triggers import On, QueueMessage, Start
from tests.integration.deployment import SAMPLE, Deployment, deploy, sample
from tests.unit.test_ingest import flow

if TYPE_CHECKING:
    import io

    from tests.integration.stack import Stack

DONE: dict[str, Any] = {"batchItemFailures": []}


def message(body: Any, message_id: str = "m-1", **attributes: str) -> dict[str, Any]:
    """A batch of one message."""
    record = sample("ingest-message")["Records"][0]
    given = {name: {"stringValue": value, "dataType": "String"} for name, value in attributes.items()}
    text = body if isinstance(body, str) else json.dumps(body)
    return {"Records": [{**record, "messageId": message_id, "body": text, "messageAttributes": given}]}


def test_every_sample_is_taken(deployment: Deployment, caplog: pytest.LogCaptureFixture) -> None:
    """An order comes by EventBridge and by a message, and a topic decides about it; nobody wants the file."""
    caplog.set_level("INFO", "hephaestus.runtime.ingest")
    for name in ("eventbridge", "eventbridge", "s3"):
        assert deployment.invoke("ingest", sample(f"ingest-{name}")) == DONE
    (unmatched,) = (each.getMessage() for each in caplog.records if each.name == "hephaestus.runtime.ingest")
    assert "read as S3 event 'ObjectCreated:Put', bucket 'inbox', key 'invoices/sample-1'; triggers: " in unmatched
    deployment.pump()
    assert deployment.runner.get(SAMPLE).status == "waiting"
    assert deployment.runner.history(SAMPLE).items[0].events[0]["by"].startswith("EventBridgeEvent ")
    for _ in range(2):
        assert deployment.invoke("ingest", sample("ingest-sns")) == DONE
    deployment.pump()
    shown = deployment.runner.get(SAMPLE)
    assert (shown.status, shown.steps["approval"].results) == ("completed", {"by": "ann"})
    assert deployment.rejected == []


def test_what_can_never_be_taken_is_a_dead_letter_at_once_with_its_id_and_the_reason(deployment: Deployment) -> None:
    """Sent again, it is the same event: its id goes with it."""
    assert deployment.invoke("ingest", message({"basket": {}}, "m-7", kind="order")) == DONE
    ((body, attributes),) = deployment.rejected
    assert json.loads(body) == {"basket": {}}
    assert (attributes["kind"], attributes["hephaestus-message-id"]) == ("order", "m-7")
    assert "raised KeyError: 'order'" in attributes["hephaestus-reason"]
    order = json.loads(sample("ingest-message")["Records"][0]["body"])
    assert deployment.invoke("ingest", message(order, "m-8", **{"hephaestus-message-id": "m-7"})) == DONE
    assert deployment.invoke("ingest", message(order, "m-7")) == DONE
    assert len(deployment.rejected) == 1
    assert deployment.runner.get(SAMPLE).status == "pending"


def test_a_message_that_cannot_be_taken_now_goes_back_alone(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, logs: io.StringIO
) -> None:
    """No instance yet, no answer of the store, dead letters that are not taken, no time left."""
    early = sample("ingest-sns")["Records"][0]
    order = sample("ingest-message")["Records"][0]
    both = {"Records": [early, order]}
    assert deployment.invoke("ingest", both) == {"batchItemFailures": [{"itemIdentifier": early["messageId"]}]}
    assert deployment.invoke("ingest", {"Records": [early]}) == DONE
    assert "goes back to the queue" in logs.getvalue()

    def fails(*_: object, **__: object) -> None:
        message = "throttled"
        raise StoreUnavailable(message)

    again = {"batchItemFailures": [{"itemIdentifier": "m-1"}]}
    monkeypatch.setattr(deployment.functions["ingest"].rejected, "send", fails)
    assert deployment.invoke("ingest", message("no order")) == again
    assert deployment.invoke("ingest", message("no order"), remaining_ms=1_000) == again
    monkeypatch.setattr(deployment.store, "create", fails)
    order["body"] = order["body"].replace("sample-1", "sample-2")
    assert deployment.invoke("ingest", {"Records": [{**order, "messageId": "m-1"}]}) == again


@pytest.mark.parametrize("event", [{"workflow": "OrderFlow"}, {"Records": []}, sample("api-get"), {"Records": [{}]}])
def test_what_is_no_batch_of_the_queue_is_refused(deployment: Deployment, event: Any) -> None:
    if event == {"Records": []}:
        assert deployment.invoke("ingest", event) == DONE
        return
    with pytest.raises(BadRequest):
        deployment.invoke("ingest", event)


def test_a_record_without_a_body_or_with_strange_attributes_is_read(deployment: Deployment) -> None:
    record = message("x")["Records"][0]
    for change in ({"body": None}, {"body": 7}, {"messageAttributes": 7}, {"messageAttributes": {"a": 7, "b": {}}}):
        assert deployment.invoke("ingest", {"Records": [{**record, **change}]}) == DONE
    assert len(deployment.rejected) == 4


ATTRIBUTES = st.dictionaries(
    st.from_regex(r"[A-Za-z0-9_-]{1,12}", fullmatch=True),
    st.one_of(
        st.tuples(st.just("String"), st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)),
        st.tuples(st.sampled_from(["Number", "String.own", "Binary", "Binary.png"]), st.sampled_from(["Nw==", "MTIz"])),
    ),
    max_size=10,
)


@settings(max_examples=60)
@given(ATTRIBUTES)
def test_a_dead_letter_has_room_for_every_attribute_and_a_redrive_gives_them_back(own: dict[str, Any]) -> None:
    """At most ten, all texts; what it had before is read again from it, also where SQS has moved it itself."""
    sent = {name: Attribute(*it) for name, it in own.items()}
    record = {
        name: {"dataType": it.kind, "stringValue" if it.is_text else "binaryValue": it.text}
        for name, it in sent.items()
    }
    assert unpacked(of_record(record)) == sent
    letter = {**packed(sent), MESSAGE_ID: "m-1", REASON: "why"}
    assert len(letter) <= 10
    for _ in range(2):  # each redrive reads what the one before has sent
        stored = {name: {"DataType": "String", "StringValue": text} for name, text in letter.items()}
        letter = packed(of_message(stored))
        assert len(letter) <= 10
        again = unpacked({name: Attribute("String", text) for name, text in letter.items()})
        assert {again.pop(name).text for name in (MESSAGE_ID, REASON)} == {"m-1", "why"}
        assert again == sent
    moved = {
        name: {"DataType": it.kind} | ({"StringValue": it.text} if it.is_text else {"BinaryValue": b64decode(it.text)})
        for name, it in sent.items()
    }
    assert len({MESSAGE_ID: "m-1", **packed(of_message(moved))}) <= 10
    assert unpacked(of_record({PACKED: {"dataType": "String", "stringValue": packed(sent).get(PACKED, "7")}}))


@pytest.mark.parametrize("said", ["7", "no JSON", '{"a": "b"}', '{"a": ["String"]}', '{"a": [1, 2]}', "[]"])
def test_an_attribute_that_is_called_as_ours_is_one_as_any_other(said: str) -> None:
    given = {PACKED: Attribute("String", said), "a": Attribute("Number", "1")}
    assert unpacked(given) == given


def many(number: int) -> dict[str, str]:
    """So many attributes."""
    return {f"a{place}": "x" for place in range(number)}


def test_a_message_with_ten_attributes_comes_back_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function packs them where they leave no room, and reads them from the letter that a redrive sends back."""
    seen: list[Any] = []

    def to(event: QueueMessage) -> Start:
        seen.append((event.id, event.body, event.attributes))
        return Start("no good")

    deployment = deploy(monkeypatch, flow(On.message(to)))
    event = message("3", "m-3", **many(8))
    picture = {"dataType": "Binary", "binaryValue": "Nw==", "stringListValues": [], "binaryListValues": []}
    event["Records"][0]["messageAttributes"] |= {"picture": picture, "n": {"dataType": "Number", "stringValue": "7"}}
    assert deployment.invoke("ingest", event) == DONE
    for _ in range(2):
        body, letter = deployment.rejected.pop()
        assert len(letter) <= 10
        assert (letter[MESSAGE_ID], "no good" in letter[REASON]) == ("m-3", True)
        assert json.loads(letter[PACKED])["picture"] == ["Binary", "Nw=="]
        assert deployment.invoke("ingest", message(body, "m-4", **letter)) == DONE
    assert seen == [("m-3", 3, {**many(8), "n": "7"})] * 3


def test_a_letter_that_sqs_does_not_take_is_sent_without_its_attributes(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so; one that is not taken even then goes back to the queue."""
    kept = deployment.functions["ingest"].rejected.send
    most = 9

    def full(body: str, attributes: dict[str, str]) -> None:
        if len(attributes) > most:
            message = "SQS: InvalidParameterValue"
            raise EngineError(message)
        kept(body, attributes)

    monkeypatch.setattr(deployment.functions["ingest"].rejected, "send", full)
    assert deployment.invoke("ingest", message("no order", "m-1", **many(8))) == DONE
    ((_, letter),) = deployment.rejected
    assert letter.keys() == {MESSAGE_ID, REASON}
    assert "its 8 attributes are lost" in letter[REASON]
    most = 0
    assert deployment.invoke("ingest", message("no order")) == {"batchItemFailures": [{"itemIdentifier": "m-1"}]}


@pytest.mark.parametrize("raised", [SystemExit("x"), KeyboardInterrupt(), GeneratorExit()])
def test_an_exit_while_a_message_is_taken_leaves_the_others(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, raised: BaseException
) -> None:
    """As of a module of workflows that is imported then."""
    taken = deployment.functions["ingest"].ingest

    def exits(runner: Any, body: str, *more: Any) -> Any:
        if body == "exit":
            raise raised
        return taken(runner, body, *more)

    monkeypatch.setattr(deployment.functions["ingest"], "ingest", exits)
    batch = {"Records": [message("exit", "m-1")["Records"][0], message("no order", "m-2")["Records"][0]]}
    assert deployment.invoke("ingest", batch) == {"batchItemFailures": [{"itemIdentifier": "m-1"}]}
    assert len(deployment.rejected) == 1


def test_dead_letters_are_kept_on_sqs(stack: Stack) -> None:
    """With attributes that are texts; SQS takes no empty ones."""
    letters = SqsMessages(stack.queue_url, LazyClient("sqs"))
    letters.send("body", {"reason": "why", "empty": ""})
    letters.send("", {})
    letters.send("odd", {"reason": "no \uffff\ufffe"})
    received = boto3.client("sqs").receive_message(
        QueueUrl=stack.queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    )
    found = {it["Body"]: it.get("MessageAttributes") for it in received["Messages"]}
    assert found == {"body": {"reason": {"StringValue": "why", "DataType": "String"}}, "-": None} | {
        "odd": {"reason": {"StringValue": "no \ufffd\ufffd", "DataType": "String"}}
    }


def test_a_dead_letter_goes_back_to_the_ingest_queue_with_its_first_id(stack: Stack) -> None:
    """Whatever it says; one that SQS moved has the id that it was sent with."""
    urls = [stack.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("dead-events", "events")]
    told, back = (SqsMessages(url, LazyClient("sqs")) for url in urls)
    told.send("one", {"hephaestus-message-id": "m-1", "hephaestus-reason": "no order"})
    told.send("two", {"kind": "order"})
    picture = {"DataType": "Binary", "BinaryValue": b"7"}
    texts = {f"a{place}": {"DataType": "String", "StringValue": "x"} for place in range(9)}
    stack.sqs.send_message(QueueUrl=urls[0], MessageBody="ten", MessageAttributes=texts | {"picture": picture})
    report = redrive(DeadLetterQueue(urls[0]), SqsQueue(stack.queue_url), events=back)
    assert (report.sent, report.left) == (3, ())
    received = boto3.client("sqs").receive_message(
        QueueUrl=urls[1], MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    )
    found = {
        it["Body"]: {name: value["StringValue"] for name, value in it["MessageAttributes"].items()}
        for it in received["Messages"]
    }
    assert found["one"] == {"hephaestus-message-id": "m-1", "hephaestus-reason": "no order"}
    assert found["two"].keys() == {"hephaestus-message-id", "kind"}
    wanted = {name: ["String", "x"] for name in texts} | {"picture": ["Binary", "Nw=="]}
    assert json.loads(found["ten"][PACKED]) == wanted
