"""The stack deploys with IAM enforced, and its permissions are enough and not more."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.e2e.deployment import Deployment
from tests.unit.test_template import Template
from tools.emulator import REGION, ROOT, STACK

Aws = Callable[[str], Any]
Call = Callable[[Aws, Deployment], object]


def test_a_permitted_caller_is_answered(deployment: Deployment) -> None:
    answer = deployment.call("GET", "/workflows")
    assert answer.status == 200, answer.body
    assert answer.json()["items"]


def test_a_caller_without_permission_is_refused(deployment: Deployment) -> None:
    assert deployment.call("GET", "/workflows", by=deployment.stranger).status == 403


def test_an_unsigned_call_is_refused(deployment: Deployment) -> None:
    assert deployment.call("GET", "/workflows", signed=False).status == 403


def test_the_file_of_variables_names_those_of_the_template(deployment: Deployment) -> None:
    """`sam local invoke` ignores a variable that the template does not have."""
    found = deployment.client("lambda").get_function_configuration(FunctionName=f"{STACK}-start")
    variables = json.loads((ROOT / "events" / "env.json").read_text())["Parameters"]
    assert variables.keys() == found["Environment"]["Variables"].keys() | {"AWS_ENDPOINT_URL"}


def test_the_queues_policy_refuses_whoever_comes_without_tls(deployment: Deployment) -> None:
    """It is off on the emulator, which has no TLS; a queue that is given it cannot be reached."""
    policy = Template().resources["WorkQueuePolicy"]["Properties"]["PolicyDocument"]
    sqs = deployment.client("sqs")
    url = sqs.create_queue(QueueName=f"tls-{uuid4()}")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="{}")
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    statements = [{**statement, "Resource": arn} for statement in policy["Statement"]]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({**policy, "Statement": statements})})
    with pytest.raises(ClientError, match="AccessDenied"):
        sqs.send_message(QueueUrl=url, MessageBody="{}")


def test_the_dashboard_is_there_and_names_what_was_deployed(deployment: Deployment) -> None:
    body = deployment.client("cloudwatch").get_dashboard(DashboardName=STACK)["DashboardBody"]
    shown = [metric for widget in json.loads(body)["widgets"] for metric in widget["properties"]["metrics"]]
    assert ["AWS/DynamoDB", "ConsumedWriteCapacityUnits", "TableName", deployment.table] in shown
    assert ["AWS/Lambda", "Errors", "FunctionName", f"{STACK}-resume"] in shown
    assert ["Hephaestus", "SweepOldestOverdueSeconds", "service", STACK] in shown
    # What is left is CloudWatch's own: the label of a search.
    assert set(re.findall(r"\$\{[^}]*\}", body)) == {"${PROP('Dim.workflow')}"}


def role_of(deployment: Deployment, function: str) -> str:
    """The ARN of a function's role."""
    found = deployment.client("lambda").get_function_configuration(FunctionName=f"{STACK}-{function}")
    return str(found["Role"])


def acting_as(deployment: Deployment, function: str) -> Aws:
    """Clients with what a function's role may do. The emulator lets its deployer assume what only Lambda may."""
    assumed = deployment.client("sts").assume_role(RoleArn=role_of(deployment, function), RoleSessionName="test")
    keys = assumed["Credentials"]
    session: Any = boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=REGION)
    return lambda service: session.client(service, endpoint_url=deployment.emulator.endpoint)


def by_shard(aws: Aws, deployment: Deployment, index: str, key: str) -> None:
    """Query an index."""
    values = {":shard": {"S": "0"}}
    aws("dynamodb").query(
        TableName=deployment.table,
        IndexName=index,
        KeyConditionExpression=f"{key} = :shard",
        ExpressionAttributeValues=values,
    )


def schedule(aws: Aws, deployment: Deployment) -> None:
    """Create a schedule for the far future."""
    found = deployment.client("lambda").get_function_configuration(FunctionName=f"{STACK}-resume")
    resume, prefix = found["FunctionArn"], found["Environment"]["Variables"]["HEPHAESTUS_SCHEDULE_PREFIX"]
    aws("scheduler").create_schedule(
        Name=f"{prefix}{uuid4().hex}",
        GroupName=deployment.outputs["ScheduleGroupName"],
        ScheduleExpression="at(2099-01-01T00:00:00)",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={"Arn": resume, "RoleArn": deployment.outputs["SchedulerRoleArn"], "Input": "{}"},
    )


def depths(aws: Aws, it: Deployment) -> None:
    """How many messages wait in each queue of work."""
    for url in (it.outputs["WorkQueueUrl"], it.outputs["BulkQueueUrl"]):
        aws("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])


def cases(known: dict[str, list[tuple[str, Call]]]) -> list[Any]:
    """Parameters of a test, each named as ``function claim``."""
    return [
        pytest.param(function, call, id=f"{function} {claim}")
        for function, calls in known.items()
        for claim, call in calls
    ]


NOTHING: Any = {"pk": {"S": "nothing"}, "sk": {"S": "head"}}
FORBIDDEN: dict[str, list[tuple[str, Call]]] = {
    "read": [
        ("writes", lambda aws, it: aws("dynamodb").put_item(TableName=it.table, Item=NOTHING)),
        ("looks at the alarms", lambda aws, it: by_shard(aws, it, "wake", "wake_shard")),
        *(
            (
                f"sends to {name}",
                lambda aws, it, name=name: aws("sqs").send_message(QueueUrl=it.outputs[name], MessageBody="{}"),
            )
            for name in ("WorkQueueUrl", "BulkQueueUrl")
        ),
    ],
    "sweep": [
        ("reads an instance", lambda aws, it: aws("dynamodb").get_item(TableName=it.table, Key=NOTHING)),
        ("writes", lambda aws, it: aws("dynamodb").put_item(TableName=it.table, Item=NOTHING)),
        ("takes work", lambda aws, it: aws("sqs").receive_message(QueueUrl=it.outputs["WorkQueueUrl"])),
    ],
    "start": [
        ("scans", lambda aws, it: aws("dynamodb").scan(TableName=it.table)),
        ("takes work", lambda aws, it: aws("sqs").receive_message(QueueUrl=it.outputs["WorkQueueUrl"])),
    ],
    "callback": [
        ("schedules", schedule),
        ("lists", lambda aws, it: by_shard(aws, it, "listing", "list_key")),
        ("takes work", lambda aws, it: aws("sqs").receive_message(QueueUrl=it.outputs["WorkQueueUrl"])),
        ("invokes a function", lambda aws, it: aws("lambda").invoke(FunctionName=it.outputs["StartFunctionName"])),
    ],
    "resume": [
        (
            "takes dead letters",
            lambda aws, it: aws("sqs").receive_message(QueueUrl=it.outputs["ScheduleDeadLettersUrl"]),
        ),
        ("invokes a function", lambda aws, it: aws("lambda").invoke(FunctionName=it.outputs["StartFunctionName"])),
    ],
}
ALLOWED: dict[str, list[tuple[str, Call]]] = {
    "read": [
        ("lists", lambda aws, it: by_shard(aws, it, "listing", "list_key")),
        ("lists what is recent", lambda aws, it: by_shard(aws, it, "recent", "recent_key")),
        (
            "reads heads",
            lambda aws, it: aws("dynamodb").batch_get_item(RequestItems={it.table: {"Keys": [NOTHING]}}),
        ),
    ],
    "sweep": [
        ("looks at the alarms", lambda aws, it: by_shard(aws, it, "wake", "wake_shard")),
        ("looks at both queues", depths),
    ],
    "resume": [("looks at both queues", depths)],
    "start": [("schedules", schedule), ("lists", lambda aws, it: by_shard(aws, it, "listing", "list_key"))],
    "callback": [("reads an instance", lambda aws, it: aws("dynamodb").get_item(TableName=it.table, Key=NOTHING))],
    "control": [("reads an instance", lambda aws, it: aws("dynamodb").get_item(TableName=it.table, Key=NOTHING))],
}


@pytest.mark.parametrize(("function", "call"), cases(FORBIDDEN))
def test_no_function_can_do_what_is_not_its_business(deployment: Deployment, function: str, call: Call) -> None:
    with pytest.raises(ClientError) as refused:
        call(acting_as(deployment, function), deployment)
    assert "AccessDenied" in refused.value.response["Error"]["Code"]


@pytest.mark.parametrize(("function", "call"), cases(ALLOWED))
def test_a_function_can_do_what_is(deployment: Deployment, function: str, call: Call) -> None:
    call(acting_as(deployment, function), deployment)
