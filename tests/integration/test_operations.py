"""A deployment from outside: found by its stack's name, read from its table, changed by its functions."""

from __future__ import annotations

import os
from typing import Any

import pytest

from hephaestus.adapters.session import Account
from hephaestus.errors import AlreadyRunning, BadRequest, InstanceNotFound, InvalidInput, UnexpectedEvent
from hephaestus.operations import AwsRefused, Connection, NoCredentials, NoSuchStack, Unreachable, connect
from hephaestus.operations.catalog import Catalog
from hephaestus.operations.deployed import account_of
from hephaestus.runtime.commands import Cancel, Deliver, Fork, Pause, Redrive, Start, Unpause
from hephaestus.runtime.queries import read_filter
from hephaestus.runtime.runner import Runner
from tests.integration.deployment import Deployment, sample
from tests.integration.stack import ACCOUNT, REGION

CONTEXT = sample("direct-start")["context"]


def test_an_order_is_started_looked_at_and_approved(connection: Connection, deployment: Deployment) -> None:
    """Whoever waits sees the state; what the table says is what the API says."""
    order = connection.do(Start(workflow="OrderFlow", id="o-1", context=CONTEXT, tags=["web"]), wait=20)
    assert (order["id"], order["status"]) == ("orderid::o-1", "waiting")
    shown = connection.get("orderid::o-1")
    assert shown == connection.api.get("orderid::o-1") if connection.api else False
    assert shown["accepts"] == {"approval": ["approved", "rejected", "timeout"]}
    assert (
        connection.do(Deliver(instance_id="orderid::o-1", event="approved", payload={"by": "Ann"}), wait=20)["status"]
        == "completed"
    )
    assert [each["id"] for each in connection.list(read_filter(tag="web"))["items"]] == ["orderid::o-1"]
    assert connection.history("orderid::o-1")["items"][0]["events"][0]["type"] == "InstanceStarted"


def test_who_does_not_wait_is_told_the_id(connection: Connection, deployment: Deployment) -> None:
    """The work is left to the queue."""
    assert connection.do(Start(workflow="OrderFlow", id="o-1", context=CONTEXT)) == {
        "id": "orderid::o-1",
        "status": "pending",
    }
    deployment.pump()
    assert connection.get("orderid::o-1")["status"] == "waiting"
    assert connection.do(Pause(instance_id="orderid::o-1", reason="night")) == {"id": "orderid::o-1"}
    assert connection.get("orderid::o-1")["paused"] == "night"
    connection.do(Unpause(instance_id="orderid::o-1"))
    connection.do(Cancel(instance_id="orderid::o-1", reason="enough", compensate=True))
    deployment.pump()
    assert connection.get("orderid::o-1")["status"] == "cancelled"
    connection.do(Redrive(instance_id="orderid::o-1"))
    deployment.pump()
    assert connection.get("orderid::o-1")["status"] == "waiting"
    assert connection.do(Fork(instance_id="orderid::o-1", new_id="o-2"), wait=20)["id"] == "orderid::o-2"


def test_what_the_functions_refuse_is_the_runner_s_own_error(connection: Connection) -> None:
    """With what a program needs: the fields, the events that would be taken."""
    connection.do(Start(workflow="OrderFlow", id="o-1", context=CONTEXT), wait=20)
    with pytest.raises(AlreadyRunning, match="orderid::o-1 is active"):
        connection.do(Start(workflow="OrderFlow", id="o-1", context=CONTEXT))
    with pytest.raises(InvalidInput, match="customer"):
        connection.do(Start(workflow="OrderFlow", id="o-2", context={}))
    with pytest.raises(UnexpectedEvent) as refused:
        connection.do(Deliver(instance_id="orderid::o-1", event="flown"))
    assert refused.value.accepted == {"approval": ("approved", "rejected", "timeout")}
    with pytest.raises(InstanceNotFound):
        connection.do(Cancel(instance_id="orderid::o-3"))
    with pytest.raises(BadRequest, match="is not an instance id"):
        connection.do(Cancel(instance_id="orderid::ö/../?"))
    with pytest.raises(BadRequest, match="1000 characters"):
        connection.do(Cancel(instance_id="orderid::o-1", reason="x" * 1001))


def test_an_instance_whose_version_is_not_deployed_is_shown_all_the_same(
    connection: Connection, deployment: Deployment
) -> None:
    """And one of a deployment that cannot be asked what it has."""
    connection.do(Start(workflow="OrderFlow", id="o-1", context=CONTEXT), wait=20)
    own = deployment.runner

    def silent() -> list[dict[str, Any]]:
        message = "no"
        raise AwsRefused(message)

    for fetch in (list, silent):
        reader = Connection(Account(), Runner(own.store, own.timers, own.queue, Catalog(fetch), clock=own.clock))
        assert reader.get("orderid::o-1")["status"] == "waiting"
        assert "accepts" not in reader.get("orderid::o-1")
    assert len(reader.list(read_filter(workflow="OrderFlow"))["items"]) == 1
    assert len(reader.list(read_filter(status="waiting"))["items"]) == len(reader.list()["items"]) == 1
    with pytest.raises(BadRequest, match="name the stack"):
        reader.do(Pause(instance_id="orderid::o-1"))


def test_a_stack_s_name_is_enough(shop: None) -> None:
    """One call finds the table, the queue, the functions and the shards."""
    found = connect("shop", region=REGION)
    assert found.stack is not None
    settings = found.stack.settings()
    assert (settings.bulk_queue_url or "").endswith("/bulk")
    assert (settings.table, settings.list_shards, settings.wake_shards) == ("hephaestus", 2, 4)
    assert settings.queue_url.startswith("https://")
    assert settings.resume_arn == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:shop-resume"
    assert settings.schedule_dlq_arn == f"arn:aws:sqs:{REGION}:{ACCOUNT}:dead"
    with pytest.raises(InstanceNotFound):
        found.get("orderid::nobody")


def test_a_team_s_own_stack_names_the_packaged_one_in_it(shop: None) -> None:
    found = connect("team", region=REGION).stack
    assert found is not None
    assert (found.name, found.table, found.settings().list_shards) == ("team", "hephaestus", 2)


def test_the_region_is_taken_from_the_environment(shop: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """From ``AWS_REGION`` first, as the AWS CLI does; botocore alone would not read it."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-1")
    assert account_of().region == "us-west-1"
    monkeypatch.setenv("AWS_REGION", REGION)
    assert connect("shop").account.region == REGION
    assert account_of("eu-west-3").region == "eu-west-3"


def test_a_table_s_name_is_enough_to_look(shop: None) -> None:
    found = connect(table="hephaestus", region=REGION)
    with pytest.raises(InstanceNotFound):
        found.get("orderid::nobody")
    assert found.list(read_filter(workflow="OrderFlow")) == {"items": [], "cursor": None}
    assert found.list()["items"] == found.list(read_filter(status="failed"))["items"] == []


def test_what_is_not_there_is_said_with_the_place(shop: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoSuchStack, match=r"no stack shop .region us-west-1"):
        connect("shop", region="us-west-1")
    with pytest.raises(NoSuchStack, match="no output TableName, WorkQueueUrl, ResumeFunctionName"):
        connect("other", region=REGION)
    with pytest.raises(AwsRefused, match="region eu-central-1"):
        connect(table="nothing", region=REGION).get("orderid::nobody")
    with pytest.raises(AwsRefused, match="no region is chosen"):
        connect("shop")
    with pytest.raises(NoCredentials, match="nobody"):
        account_of(profile="nobody")
    with pytest.raises(BadRequest, match="one of"):
        connect("shop", table="hephaestus")


@pytest.mark.parametrize("address", ["", "x", "http://", "ftp://x", "http://x:y", "http://x\n", "http://a b"])
def test_an_address_that_is_none_is_wrong_use(shop: None, address: str) -> None:
    with pytest.raises(BadRequest, match="is no address"):
        connect(api_url=address, region=REGION)
    with pytest.raises(BadRequest, match="is no address"):
        account_of(endpoint_url=address)


def test_no_credentials_and_no_answer_are_told_apart(shop: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        connect(api_url="http://127.0.0.1:9/v1", region=REGION).get("orderid::nobody")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    with pytest.raises(NoCredentials, match="Unable to locate credentials"):
        connect("shop", region=REGION)
