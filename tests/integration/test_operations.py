"""A deployment from outside: found by its stack's name, read from its table, changed by its functions."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from hephaestus.adapters.dynamodb import Table
from hephaestus.adapters.session import Account
from hephaestus.errors import AlreadyRunning, BadRequest, InstanceNotFound, InvalidInput, UnexpectedEvent
from hephaestus.operations import AwsRefused, Connection, NoCredentials, NoSuchStack, Unreachable, connect
from hephaestus.operations.api import Api
from hephaestus.operations.catalog import Catalog
from hephaestus.operations.connection import account_of
from hephaestus.operations.stack import FUNCTIONS, Stack
from hephaestus.operations.transport import DirectInvocation
from hephaestus.runtime.runner import Runner
from tests.integration.deployment import Deployment, sample
from tests.integration.stack import ACCOUNT, REGION

if TYPE_CHECKING:
    from collections.abc import Iterator

STACK = Stack("shop", "CREATE_COMPLETE", {f"{each.title()}FunctionName": each for each in FUNCTIONS})
CONTEXT = sample("direct-start")["context"]


@dataclass
class Functions:
    """Lambda's client, over functions in this process."""

    deployment: Deployment

    def get(self) -> Functions:
        """As of a lazy client."""
        return self

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - Lambda's names
        """Invoke one as Lambda does: an error is an answer."""
        try:
            answer = self.deployment.invoke(FunctionName, json.loads(Payload))
        except Exception as error:  # noqa: BLE001 - as Lambda does
            said = {"errorType": type(error).__name__, "errorMessage": str(error)}
            return {"FunctionError": "Unhandled", "Payload": io.BytesIO(json.dumps(said).encode())}
        return {"Payload": io.BytesIO(json.dumps(answer).encode())}


@pytest.fixture
def connection(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A connection to the functions in this process, whose runner knows no workflow's code."""
    monkeypatch.setattr(DirectInvocation, "caller", "arn:aws:iam::123456789012:user/ann")
    own = deployment.runner
    api = Api(DirectInvocation(STACK, Account(), Functions(deployment)))  # type: ignore[arg-type]
    runner = Runner(own.store, own.timers, own.queue, Catalog(api.workflows), clock=own.clock)
    return Connection(Account(), runner, api, STACK)


def test_an_order_is_started_looked_at_and_approved(connection: Connection, deployment: Deployment) -> None:
    """Whoever waits sees the state; what the table says is what the API says."""
    order = connection.start("OrderFlow", "o-1", CONTEXT, tags=["web"], wait=20)
    assert (order["id"], order["status"]) == ("orderid::o-1", "waiting")
    shown = connection.get("orderid::o-1")
    assert shown == connection.api.get("orderid::o-1") if connection.api else False
    assert shown["accepts"] == {"approval": ["approved", "rejected", "timeout"]}
    assert connection.resume("orderid::o-1", "approved", {"by": "Ann"}, wait=20)["status"] == "completed"
    assert [each["id"] for each in connection.list(tag="web")["items"]] == ["orderid::o-1"]
    assert connection.history("orderid::o-1")["items"][0]["events"][0]["type"] == "InstanceStarted"


def test_who_does_not_wait_is_told_the_id(connection: Connection, deployment: Deployment) -> None:
    """The work is left to the queue."""
    assert connection.start("OrderFlow", "o-1", CONTEXT) == {"id": "orderid::o-1", "status": "pending"}
    deployment.pump()
    assert connection.get("orderid::o-1")["status"] == "waiting"
    assert connection.pause("orderid::o-1", "night") == {"id": "orderid::o-1"}
    assert connection.get("orderid::o-1")["paused"] == "night"
    connection.unpause("orderid::o-1")
    connection.cancel("orderid::o-1", "enough", compensate=True)
    deployment.pump()
    assert connection.get("orderid::o-1")["status"] == "cancelled"
    connection.redrive("orderid::o-1")
    deployment.pump()
    assert connection.get("orderid::o-1")["status"] == "waiting"
    assert connection.fork("orderid::o-1", "o-2", wait=20)["id"] == "orderid::o-2"


def test_what_the_functions_refuse_is_the_runner_s_own_error(connection: Connection) -> None:
    """With what a program needs: the fields, the events that would be taken."""
    connection.start("OrderFlow", "o-1", CONTEXT, wait=20)
    with pytest.raises(AlreadyRunning, match="orderid::o-1 is active"):
        connection.start("OrderFlow", "o-1", CONTEXT)
    with pytest.raises(InvalidInput, match="customer"):
        connection.start("OrderFlow", "o-2", {})
    with pytest.raises(UnexpectedEvent) as refused:
        connection.resume("orderid::o-1", "flown")
    assert refused.value.accepted == {"approval": ("approved", "rejected", "timeout")}
    with pytest.raises(InstanceNotFound):
        connection.cancel("orderid::o-3")
    with pytest.raises(BadRequest, match="is not an instance id"):
        connection.cancel("orderid::ö/../?")
    with pytest.raises(BadRequest, match="1000 characters"):
        connection.cancel("orderid::o-1", "x" * 1001)


def test_an_instance_whose_version_is_not_deployed_is_shown_all_the_same(
    connection: Connection, deployment: Deployment
) -> None:
    """And one of a deployment that cannot be asked what it has."""
    connection.start("OrderFlow", "o-1", CONTEXT, wait=20)
    own = deployment.runner

    def silent() -> list[dict[str, Any]]:
        message = "no"
        raise AwsRefused(message)

    for fetch in (list, silent):
        reader = Connection(Account(), Runner(own.store, own.timers, own.queue, Catalog(fetch), clock=own.clock))
        assert reader.get("orderid::o-1")["status"] == "waiting"
        assert "accepts" not in reader.get("orderid::o-1")
    assert len(reader.list(workflow="OrderFlow")["items"]) == 1
    with pytest.raises(AwsRefused):
        reader.list()
    with pytest.raises(BadRequest, match="name the stack"):
        reader.pause("orderid::o-1")


TEMPLATE = {
    "Parameters": {"ListShards": {"Type": "Number", "Default": 2}},
    "Resources": {"WorkQueue": {"Type": "AWS::SQS::Queue"}},
    "Outputs": {
        "TableName": {"Value": "hephaestus"},
        "WorkQueueUrl": {"Value": {"Ref": "WorkQueue"}},
        "ScheduleDeadLettersUrl": {"Value": "https://sqs/1/dead"},
        "ResumeFunctionName": {"Value": "shop-resume"},
    },
}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An account with a stack ``shop``, and one that is none of ours."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with mock_aws():
        Table("hephaestus", REGION).create()
        formation = boto3.client("cloudformation", region_name=REGION)
        formation.create_stack(StackName="shop", TemplateBody=json.dumps(TEMPLATE))
        bare = {"Resources": TEMPLATE["Resources"]}
        formation.create_stack(StackName="other", TemplateBody=json.dumps(bare))
        yield


def test_a_stack_s_name_is_enough(aws: None) -> None:
    """One call finds the table, the queue, the functions and the shards."""
    found = connect("shop", region=REGION)
    assert found.stack is not None
    settings = found.stack.settings()
    assert (settings.table, settings.list_shards, settings.wake_shards) == ("hephaestus", 2, 4)
    assert settings.queue_url.startswith("https://")
    assert settings.resume_arn == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:shop-resume"
    assert settings.schedule_dlq_arn == f"arn:aws:sqs:{REGION}:{ACCOUNT}:dead"
    with pytest.raises(InstanceNotFound):
        found.get("orderid::nobody")


def test_a_table_s_name_is_enough_to_look(aws: None) -> None:
    found = connect(table="hephaestus", region=REGION)
    with pytest.raises(InstanceNotFound):
        found.get("orderid::nobody")
    assert found.list(workflow="OrderFlow") == {"items": [], "cursor": None}
    with pytest.raises(BadRequest, match="which workflows"):
        found.list()


def test_what_is_not_there_is_said_with_the_place(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_no_credentials_and_no_answer_are_told_apart(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        connect(api_url="http://127.0.0.1:9/v1", region=REGION).get("orderid::nobody")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    with pytest.raises(NoCredentials, match="Unable to locate credentials"):
        connect("shop", region=REGION)
