"""Status events on EventBridge: what really arrives, on moto, and a bus that is silent, slow or throttled."""

from __future__ import annotations

import json
import socket
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from hephaestus.adapters.eventbridge import EventBridgeBus
from hephaestus.adapters.session import Account, LazyClient
from hephaestus.errors import EngineError, HephaestusError, StoreUnavailable
from hephaestus.runtime.status_events import StatusEvent
from tests.integration.deployment import SAMPLE, sample
from tests.integration.stack import REGION, Stack

COMPLETED = sample("status-completed")
DETAIL = {name: value for name, value in COMPLETED["detail"].items() if name != "stack"}


def listening(bus: str, pattern: dict[str, Any]) -> Any:
    """A queue behind a rule: what has come to it."""
    sqs: Any = boto3.client("sqs", region_name=REGION)
    events: Any = boto3.client("events", region_name=REGION)
    url = sqs.create_queue(QueueName="listens")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="ours", EventBusName=bus, EventPattern=json.dumps(pattern))
    events.put_targets(Rule="ours", EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])

    def come() -> list[dict[str, Any]]:
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"]) for message in found]

    return come


def test_an_order_on_a_stack_with_a_bus_reaches_the_queue_behind_a_rule(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event has the members of the sample, which a rule's pattern and a consumer are written by."""
    monkeypatch.setenv("HEPHAESTUS_EVENT_BUS", "default")
    monkeypatch.setenv("HEPHAESTUS_STACK", "shop")
    pattern = {"source": ["hephaestus"], "detail": {"stack": ["shop"], "status": ["completed", "cancelled"]}}
    come = listening("default", pattern)
    stack.call("start", "api-start")
    stack.deliver()
    stack.call("control", "api-cancel")
    stack.deliver()
    (event,) = come()
    assert event.keys() | {"account"} == COMPLETED.keys(), "moto leaves the account out"
    assert (event["source"], event["detail-type"]) == (COMPLETED["source"], COMPLETED["detail-type"])
    ended = event["detail"]
    assert ended.keys() == COMPLETED["detail"].keys() - {"output", "output_included"}
    assert (ended["instance_id"], ended["status"], ended["stack"]) == (SAMPLE, "cancelled", "shop")
    assert event["time"][:19] == ended["at"][:19]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingException", StoreUnavailable),
        ("InternalFailure", StoreUnavailable),
        ("NotAuthorizedForSourceException", EngineError),
        ("", EngineError),
    ],
)
def test_an_event_that_is_not_taken_is_an_error_although_the_answer_is_200(
    moto_in_process: None, code: str, kind: type[HephaestusError]
) -> None:
    client = LazyClient("events", max_attempts=1)
    with Stubber(client.get()) as stub:
        stub.add_response("put_events", {"FailedEntryCount": 1, "Entries": [{"ErrorCode": code}]})
        with pytest.raises(kind):
            EventBridgeBus("default", client=client).publish(StatusEvent(DETAIL))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "ThrottlingException", StoreUnavailable),
        (503, "ServiceUnavailable", StoreUnavailable),
        (400, "ResourceNotFoundException", EngineError),
        (403, "AccessDeniedException", EngineError),
    ],
)
def test_a_request_that_is_refused_is_made_once(
    moto_in_process: None, status: int, code: str, kind: type[HephaestusError]
) -> None:
    """The stub has no second answer."""
    client = LazyClient("events", max_attempts=1)
    with Stubber(client.get()) as stub:
        stub.add_client_error("put_events", code, http_status_code=status)
        with pytest.raises(kind):
            EventBridgeBus("default", client=client).publish(StatusEvent(DETAIL))


def test_a_bus_that_does_not_answer_is_given_up_and_asked_once(moto_in_process: None) -> None:
    """Whatever listens takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        account = Account(region=REGION, endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}", read_timeout=0.1)
        bus = EventBridgeBus("default", client=account.client("events", 1))
        with pytest.raises(StoreUnavailable):
            bus.publish(StatusEvent(DETAIL))
        silent.accept()[0].close()
        silent.setblocking(False)  # noqa: FBT003 - the socket's own
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_a_bus_that_cannot_be_reached_is_given_up(moto_in_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    client = LazyClient("events", max_attempts=1)

    def fail(**_: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://events")

    monkeypatch.setattr(client.get(), "put_events", fail)
    with pytest.raises(StoreUnavailable):
        EventBridgeBus("default", client=client).publish(StatusEvent(DETAIL))
