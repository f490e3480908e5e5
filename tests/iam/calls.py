"""Every call of AWS that the deployed functions make, and what lies around each.

A role's calls follow from what its function does. They are the only ones that it may make: the same call by another
role, on a neighbour of the resource, with another context, or an action beside those that are used, must be denied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tests.cloud import ACCOUNT, HERE, OWN, REGION, STACK, Cloud
from tests.iam.engine import Question

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.iam.engine import Policy

STRANGER: Final = "999900001111"
KEY: Final = f"arn:aws:kms:{HERE}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
RUN: Final = ("StartRole", "ResumeRole", "ControlRole")
LINKED: Final = (*RUN, "CallbackRole")
COMMIT: Final = (*LINKED, "IngestRole")
FUNCTIONS: Final = ("Start", "Resume", "Control", "Callback", "Read", "Sweep", "Ingest")
ROLES: Final = (*(f"{name}Role" for name in FUNCTIONS), "SchedulerRole")
OWNER_OF_KEY: Final = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "kms:*", "Resource": "*"}
    ],
}
# What no role of the stack does to what it has.
UNUSED: Final = {
    "dynamodb": "Scan DeleteTable UpdateTable BatchWriteItem ConditionCheckItem PartiQLSelect "
    "ExportTableToPointInTime UpdateTimeToLive DescribeTable",
    "sqs": "PurgeQueue DeleteQueue SetQueueAttributes AddPermission StartMessageMoveTask ChangeMessageVisibility",
    "scheduler": "UpdateSchedule GetSchedule",
    "events": "DescribeEventBus DeleteEventBus UpdateEventBus",
    "s3": "PutObjectAcl GetObjectVersion",
    "s3 bucket": "PutBucketPolicy DeleteBucket ListBucketVersions",
    "secretsmanager": "PutSecretValue DeleteSecret DescribeSecret UpdateSecret",
    "ssm": "PutParameter DeleteParameter GetParameterHistory GetParametersByPath",
    "kms": "CreateGrant RetireGrant ScheduleKeyDeletion PutKeyPolicy DisableKey",
    "lambda": "UpdateFunctionCode UpdateFunctionConfiguration GetFunction",
    "iam": "AttachRolePolicy PutRolePolicy UpdateAssumeRolePolicy DeleteRole",
    "logs": "GetLogEvents DeleteLogStream DeleteLogGroup",
    "xray": "GetTraceSummaries",
}
# Granted because AWS' guides name them as the least on a key, and used by no call of a function.
BY_THE_GUIDE: Final = frozenset(
    f"kms:{action}" for action in ("DescribeKey", "Encrypt", "ReEncryptFrom", "ReEncryptTo")
)


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a role makes.

    Attributes:
        role: the logical id of the role.
        action, resource: what, and on what.
        context: context keys as a pair each.
    """

    role: str
    action: str
    resource: str
    context: tuple[tuple[str, str], ...] = ()


def policies_of(cloud: Cloud, role: str) -> list[Policy]:
    """What a role may do: its own policies and the stack's managed ones that it has."""
    properties = cloud.resources[role]
    managed = {cloud.arn(name): it["PolicyDocument"] for name, it in cloud.of("AWS::IAM::ManagedPolicy").items()}
    attached = [managed[arn] for arn in properties.get("ManagedPolicyArns", [])]
    return [*attached, *(it["PolicyDocument"] for it in properties.get("Policies", []))]


def guard_of(cloud: Cloud, resource: str) -> Policy | None:
    """The policy of a resource, as the stack or AWS gives it one."""
    if resource.startswith("arn:aws:kms:"):
        return OWNER_OF_KEY
    for kind in ("AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy"):
        for it in cloud.of(kind).values():
            document: Policy = it["PolicyDocument"]
            if any(resource in listed(statement["Resource"]) for statement in document["Statement"]) or (
                kind == "AWS::S3::BucketPolicy" and resource.startswith(cloud.arn("Bucket") + "/")
            ):
                return document
    return None


def question(cloud: Cloud, call: Call) -> Question:
    """Whether the role may make the call, with all that has a say in it."""
    arn = cloud.arn(call.role)
    session = arn.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/") + "/session"
    owner = call.resource.split(":")[4] if call.resource.startswith("arn:") else ""
    return Question(
        session,
        call.action,
        call.resource,
        owner or ACCOUNT,
        dict(call.context),
        policies_of(cloud, call.role),
        guard_of(cloud, call.resource),
    )


def listed(value: Any) -> list[Any]:
    """A policy's one or many."""
    return value if isinstance(value, list) else [value]


def via(service: str, region: str = REGION) -> tuple[tuple[str, str], ...]:
    """The context of a call of KMS that a service makes for whoever called it."""
    return (("kms:ViaService", f"{service}.{region}.amazonaws.com"), ("kms:CallerAccount", ACCOUNT))


def passed_to(service: str) -> tuple[tuple[str, str], ...]:
    """The context of a role that is passed on."""
    return (("iam:PassedToService", f"{service}.amazonaws.com"),)


def needed(cloud: Cloud) -> list[Call]:
    """Every call that the functions and their schedules make."""
    return [*_storage(cloud), *_messages(cloud), *_links(cloud), *_logs(cloud)]


def _storage(cloud: Cloud) -> Iterator[Call]:
    table = cloud.arn("Table")
    for role in COMMIT:  # a transaction needs the permissions of the writes in it
        for action in ("BatchGetItem", "DeleteItem", "GetItem", "PutItem", "Query", "UpdateItem"):
            yield Call(role, f"dynamodb:{action}", table)
    for role in (*RUN, "ReadRole"):  # a step may list, as the function that reads does
        for action in ("GetItem", "BatchGetItem", "Query"):
            yield Call(role, f"dynamodb:{action}", table)
        for index in ("listing", "recent"):
            yield Call(role, "dynamodb:Query", f"{table}/index/{index}")
    yield Call("SweepRole", "dynamodb:Query", f"{table}/index/wake")
    yield from _key(cloud, COMMIT, "dynamodb", "Decrypt", "GenerateDataKey")
    yield from _key(cloud, ("ReadRole", "SweepRole"), "dynamodb", "Decrypt")
    if cloud.holds("HasBucket"):
        bucket = cloud.arn("Bucket")
        for role in (*COMMIT, "ReadRole"):
            yield Call(role, "s3:GetObject", f"{bucket}/shop/1")
            yield Call(role, "s3:ListBucket", bucket)  # else what is missing is answered with 403
        for role in COMMIT:
            yield Call(role, "s3:PutObject", f"{bucket}/shop/1")
            yield Call(role, "s3:DeleteObject", f"{bucket}/shop/1")
        yield from _key(cloud, COMMIT, "s3", "Decrypt", "GenerateDataKey")
        yield from _key(cloud, ("ReadRole",), "s3", "Decrypt")


def _messages(cloud: Cloud) -> Iterator[Call]:
    letters = cloud.arn("ScheduleDeadLetters")
    for name in ("WorkQueue", "BulkQueue"):
        yield from _work(cloud.arn(name))
    for role in (*RUN, "SchedulerRole"):
        yield Call(role, "sqs:SendMessage", letters)
    yield from _key(cloud, (*COMMIT, "SweepRole", "SchedulerRole"), "sqs", "Decrypt", "GenerateDataKey")
    for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
        yield Call("IngestRole", f"sqs:{action}", cloud.arn("IngestQueue"))
    yield Call("IngestRole", "sqs:SendMessage", cloud.arn("IngestDeadLetters"))
    if bus := cloud.parameters["EventBusName"]:
        for role in RUN:
            yield Call(role, "events:PutEvents", f"arn:aws:events:{HERE}:event-bus/{bus}")
    group = cloud.parameters["ScheduleGroupName"] or STACK
    for role in RUN:
        for action in ("CreateSchedule", "DeleteSchedule"):
            yield Call(role, f"scheduler:{action}", f"arn:aws:scheduler:{HERE}:schedule/{group}/{OWN}.order-1-a")
        yield Call(role, "iam:PassRole", cloud.arn("SchedulerRole"), passed_to("scheduler"))
    yield Call("SchedulerRole", "lambda:InvokeFunction", cloud.arn("ResumeFunction"))


def _work(queue: str) -> Iterator[Call]:
    """The calls on a queue of work."""
    for role in (*COMMIT, "SweepRole"):
        yield Call(role, "sqs:SendMessage", queue)  # SendMessageBatch needs the same
    for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes"):
        yield Call("ResumeRole", f"sqs:{action}", queue)
    yield Call("SweepRole", "sqs:GetQueueAttributes", queue)


def _links(cloud: Cloud) -> Iterator[Call]:
    given = cloud.parameters["CallbackKeyName"]
    kind = cloud.parameters["CallbackKey"]
    if kind == "off":
        return
    for role in LINKED:
        yield Call(role, "ssm:GetParameter", f"arn:aws:ssm:{HERE}:parameter/hephaestus/{STACK}/callback-url")
        match kind:
            case "generate":
                yield Call(role, "secretsmanager:GetSecretValue", cloud.arn("CallbackSecret"))
            case "secret":
                secret = f"arn:aws:secretsmanager:{HERE}:secret:{given}-a1B2c3"
                yield Call(role, "secretsmanager:GetSecretValue", secret)
            case _:
                yield Call(role, "ssm:GetParameter", f"arn:aws:ssm:{HERE}:parameter/{given.removeprefix('/')}")
    if kind == "generate":
        yield from _key(cloud, LINKED, "secretsmanager", "Decrypt")


def _logs(cloud: Cloud) -> Iterator[Call]:
    for name in FUNCTIONS:
        stream = f"arn:aws:logs:{HERE}:log-group:/aws/lambda/{STACK}-{name.lower()}:log-stream:2026/11/28/[$LATEST]ab"
        for action in ("CreateLogStream", "PutLogEvents"):
            yield Call(f"{name}Role", f"logs:{action}", stream)
        if cloud.holds("IsTraced"):
            for action in ("PutTraceSegments", "PutTelemetryRecords"):
                yield Call(f"{name}Role", f"xray:{action}", "*")


def _key(cloud: Cloud, roles: tuple[str, ...], service: str, *actions: str) -> Iterator[Call]:
    if cloud.holds("HasKey"):
        for role in roles:
            for action in actions:
                yield Call(role, f"kms:{action}", KEY, via(service))


def forbidden(cloud: Cloud) -> list[Call]:
    """Every needed call by each role that does not make it, and each role's calls on and beside what it has."""
    own = needed(cloud)
    made = set(own)
    around: dict[tuple[str, str, tuple[tuple[str, str], ...]], None] = {}
    for call in own:
        around[call.action, call.resource, call.context] = None
        for near in _beside(call):
            around[near.action, near.resource, near.context] = None
    tried = [Call(role, *what) for role in ROLES for what in around]
    return [call for call in tried if call not in made]


def _beside(call: Call) -> Iterator[Call]:
    """A call's neighbours: the same elsewhere, in another context, and other actions in its place."""
    service = call.action.partition(":")[0]
    for action in UNUSED["s3 bucket" if call.action == "s3:ListBucket" else service].split():
        yield replace(call, action=f"{service}:{action}")
    if call.resource == "*":
        return
    for here, there in ((ACCOUNT, STRANGER), (REGION, "us-east-1"), (f":::{STACK}-", ":::strangers-")):
        if here in call.resource:
            yield replace(call, resource=call.resource.replace(here, there))
    yield replace(call, resource=_another(call.resource))
    yield from _beside_in(service, call)


def _beside_in(service: str, call: Call) -> Iterator[Call]:
    """The neighbours that only calls of a service have."""
    match service:
        case "scheduler":
            group = call.resource.split("/")[1]
            for name in (
                f"schedule/{group}/{'f' * 12}.order-1-a",
                f"schedule/{group}/order-1-a",
                f"schedule/x/{OWN}.a",
            ):
                yield replace(call, resource=f"arn:aws:scheduler:{HERE}:{name}")
        case "iam":
            for context in ((), passed_to("lambda")):
                yield replace(call, context=context)
            yield replace(call, resource=f"arn:aws:iam::{ACCOUNT}:role/Admin")
        case "kms":
            for context in ((("kms:CallerAccount", ACCOUNT),), via("lambda"), via("dynamodb", "us-east-1")):
                yield replace(call, context=context)


def _another(resource: str) -> str:
    """A resource of the same kind whose name begins as this one's."""
    if resource.startswith("arn:aws:s3:::"):
        bucket, slash, key = resource.partition("/")
        return f"{bucket}2{slash}{key}"
    for middle in ("/index/", ":log-stream:"):
        if middle in resource:
            before, _, after = resource.partition(middle)
            return f"{before}2{middle}{after}"
    if ":secret:" in resource:
        return f"{resource[:-7]}2{resource[-7:]}"
    return f"{resource}2" if ":schedule/" not in resource else resource.replace(f"/{OWN}.", f"/{OWN}2.")


def statements(cloud: Cloud) -> Iterator[tuple[str, Policy, dict[str, Any]]]:
    """Every statement that allows a role something: the roles that have it, its document and itself."""
    for name, it in cloud.of("AWS::IAM::ManagedPolicy").items():
        for statement in it["PolicyDocument"]["Statement"]:
            yield name, it["PolicyDocument"], statement
    for name, it in cloud.of("AWS::IAM::Role").items():
        for policy in it.get("Policies", []):
            for statement in policy["PolicyDocument"]["Statement"]:
                yield name, policy["PolicyDocument"], statement
