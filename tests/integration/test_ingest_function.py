"""The function that takes events from outside: every sample, its dead letters, and what it does with a bad batch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from hephaestus.adapters.session import LazyClient
from hephaestus.adapters.sqs import SqsMessages, SqsQueue
from hephaestus.dead_letters import DeadLetterQueue, redrive
from hephaestus.errors import BadRequest, StoreUnavailable
from tests.integration.deployment import SAMPLE, Deployment, sample

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


def test_every_sample_is_taken(deployment: Deployment) -> None:
    """An order comes by EventBridge and by a message, and a topic decides about it; nobody wants the file."""
    for name in ("eventbridge", "eventbridge", "s3"):
        assert deployment.invoke("ingest", sample(f"ingest-{name}")) == DONE
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


def test_dead_letters_are_kept_on_sqs(stack: Stack) -> None:
    """With attributes that are texts; SQS takes no empty ones."""
    letters = SqsMessages(stack.queue_url, LazyClient("sqs"))
    letters.send("body", {"reason": "why", "empty": ""})
    letters.send("", {})
    received = boto3.client("sqs").receive_message(
        QueueUrl=stack.queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    )
    found = {it["Body"]: it.get("MessageAttributes") for it in received["Messages"]}
    assert found == {"body": {"reason": {"StringValue": "why", "DataType": "String"}}, "-": None}


def test_a_dead_letter_goes_back_to_the_ingest_queue_with_its_first_id(stack: Stack) -> None:
    """Whatever it says; one that SQS moved has the id that it was sent with."""
    urls = [stack.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("dead-events", "events")]
    told, back = (SqsMessages(url, LazyClient("sqs")) for url in urls)
    told.send("one", {"hephaestus-message-id": "m-1", "hephaestus-reason": "no order"})
    told.send("two", {"kind": "order"})
    report = redrive(DeadLetterQueue(urls[0]), SqsQueue(stack.queue_url), events=back)
    assert (report.sent, report.left) == (2, ())
    received = boto3.client("sqs").receive_message(
        QueueUrl=urls[1], MaxNumberOfMessages=10, MessageAttributeNames=["All"]
    )
    found = {
        it["Body"]: {name: value["StringValue"] for name, value in it["MessageAttributes"].items()}
        for it in received["Messages"]
    }
    assert found["one"] == {"hephaestus-message-id": "m-1", "hephaestus-reason": "no order"}
    assert found["two"].keys() == {"hephaestus-message-id", "kind"}
