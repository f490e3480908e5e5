"""Looks at a deployment: what is there, what is missing, and what these credentials may do. It changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from hephaestus.errors import HephaestusError
from hephaestus.operations.advice import AwsRefused, NoSuchStack, explained
from hephaestus.operations.deployed import DEFAULT_STACK
from hephaestus.operations.http_client import Api
from hephaestus.operations.stack import FUNCTIONS, find_stack
from hephaestus.operations.transport import DirectInvocation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hephaestus.adapters.session import Account
    from hephaestus.operations.stack import Stack

Verdict = Literal["ok", "note", "wrong"]
INDEXES: Final = ("listing", "wake")
AWS_HOSTS: Final = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
PAGE: Final = 200
MOST_PAGES: Final = 10
NOBODY: Final = "hephaestus-doctor::nobody"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        what: the thing.
        verdict: ``ok``, ``note`` (worth knowing), or ``wrong``.
        detail: how it is.
        fix: what to do about it.
    """

    what: str
    verdict: Verdict
    detail: str
    fix: str = ""


def examine(account: Account, name: str | None = None) -> Iterator[Finding]:
    """Look at a stack, thing after thing; without credentials or a stack it ends there.

    Args:
        account: whose AWS, and where.
        name: the stack's name, by default ``hephaestus``.
    """
    try:
        with explained(account):
            arn = account.client("sts").get().get_caller_identity()["Arn"]
    except AwsRefused as error:  # it knows the credentials, and does not say whose they are
        yield Finding("credentials", "note", str(error))
    except HephaestusError as error:
        yield Finding("credentials", "wrong", str(error))
        return
    else:
        yield Finding("credentials", "ok", f"{arn} in {account.region}")
    try:
        stack = find_stack(name or DEFAULT_STACK, account)
    except HephaestusError as error:
        fix = "deploy it: sam build && sam deploy" if isinstance(error, NoSuchStack) else ""
        needs = "it takes cloudformation:DescribeStacks" if isinstance(error, AwsRefused) else ""
        yield Finding("stack", "wrong", str(error), fix or needs)
        return
    yield _stack(stack, account)
    for what, look, needs in _looks(stack, account):
        yield from _tried(what, look, account, needs)


def examine_api(api: Api) -> Iterator[Finding]:
    """Look at what is known by the API's address alone, as ``hephaestus dev`` is; no credentials are needed there."""
    try:
        broken = api.unavailable()
    except HephaestusError as error:
        yield Finding("API", "wrong", str(error))
        return
    yield Finding("API", "ok", "it answers")
    yield _loaded(broken, "see why in its log; their instances are parked until then")
    yield from _stopped(api)


def _looks(stack: Stack, account: Account) -> Iterator[tuple[str, Callable[[], list[Finding]], str]]:
    """Everything there is to look at: its name, how, and the permission that looking takes."""
    yield "table", lambda: _table(stack, account), "dynamodb:DescribeTable"
    reads = "dynamodb:GetItem, dynamodb:BatchGetItem and dynamodb:Query on the table and its indexes"
    yield "reading", lambda: _reading(stack, account), reads
    for role in FUNCTIONS:
        yield f"function {role}", _function(stack, account, role), "lambda:GetFunctionConfiguration"
    for role in ("read", "start", "resume", "control"):
        yield f"invoking {role}", _invoking(stack, account, role), "lambda:InvokeFunction"
    yield "workflows", lambda: _workflows(stack, account), "lambda:InvokeFunction"
    yield "queues", lambda: _queues(stack, account), "sqs:GetQueueAttributes"
    yield "schedules", lambda: _schedules(stack, account), "scheduler:GetScheduleGroup"


def _tried(what: str, look: Callable[[], list[Finding]], account: Account, needs: str) -> list[Finding]:
    """What a look finds; a permission that is missing is worth knowing, not wrong."""
    try:
        with explained(account):
            return look()
    except AwsRefused as error:
        if "does not allow" in str(error):
            return [Finding(what, "note", "you may not: " + str(error), f"it takes {needs}")]
        return [Finding(what, "wrong", str(error), "deploy the stack again")]
    except HephaestusError as error:
        return [Finding(what, "wrong", str(error))]


def _stack(stack: Stack, account: Account) -> Finding:
    place = f"{stack.name} is {stack.status}"
    if stack.status.endswith("FAILED") or "ROLLBACK" in stack.status:
        return Finding("stack", "wrong", place, "see its events in CloudFormation, then deploy again")
    if stack.status.endswith("IN_PROGRESS"):
        return Finding("stack", "note", place, "wait until it has settled")
    api = stack.api_url or "none"
    endpoint = str(account.client("cloudformation").get().meta.endpoint_url)
    if stack.api_url and not urlsplit(endpoint).netloc.endswith(AWS_HOSTS):  # its template names the address on AWS
        api = f"{stack.outputs.get('ApiId', 'there')} at {endpoint}"
    return Finding("stack", "ok", f"{place}; API {api}")


def _table(stack: Stack, account: Account) -> list[Finding]:
    client = account.client("dynamodb").get()
    table = client.describe_table(TableName=stack.table)["Table"]
    there = {each["IndexName"]: each.get("IndexStatus", "ACTIVE") for each in table.get("GlobalSecondaryIndexes", [])}
    missing = [name for name in INDEXES if there.get(name) != "ACTIVE"]
    status = f"{stack.table} is {table['TableStatus']}, about {table.get('ItemCount', 0):,} items"
    if missing:
        return [
            Finding("table", "wrong", f"{status}; index {', '.join(missing)} missing or not active", "deploy again")
        ]
    return [Finding("table", "ok", status), _expiry(client, stack)]


def _expiry(client: Any, stack: Stack) -> Finding:
    described = client.describe_time_to_live(TableName=stack.table)["TimeToLiveDescription"]
    if described.get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
        days = stack.parameters.get("RetentionDays", "?")
        return Finding("expiry", "ok", f"ended instances go after {days} days")
    return Finding("expiry", "note", "the table expires nothing: ended instances stay for ever", "enable TTL on `ttl`")


def _reading(stack: Stack, account: Account) -> list[Finding]:
    client = account.client("dynamodb").get()
    client.get_item(TableName=stack.table, Key={"pk": {"S": NOBODY}, "sk": {"S": "head"}})
    client.query(
        TableName=stack.table,
        IndexName="listing",
        KeyConditionExpression="list_key = :key",
        ExpressionAttributeValues={":key": {"S": NOBODY}},
        Limit=1,
    )
    return [Finding("reading", "ok", "you may read instances, their history and lists")]


def _function(stack: Stack, account: Account, role: str) -> Callable[[], list[Finding]]:
    def look() -> list[Finding]:
        what = f"function {role}"
        name = stack.functions.get(role)
        if name is None:
            return [Finding(what, "wrong", "the stack has none", "deploy this release")]
        found = account.client("lambda").get().get_function_configuration(FunctionName=name)
        detail = f"{name}: {found.get('Runtime')}, {found.get('MemorySize')} MB, {found.get('Timeout')} s"
        if found.get("State", "Active") not in ("Active", "Inactive"):
            return [
                Finding(what, "wrong", f"{detail}; {found['State']}: {found.get('StateReason', '')}", "deploy again")
            ]
        return [Finding(what, "ok", detail)]

    return look


def _invoking(stack: Stack, account: Account, role: str) -> Callable[[], list[Finding]]:
    def look() -> list[Finding]:
        if role not in stack.functions:
            return []
        client = account.client("lambda").get()
        client.invoke(FunctionName=stack.functions[role], InvocationType="DryRun", Payload=b"{}")
        return [Finding(f"invoking {role}", "ok", "you may")]

    return look


def _workflows(stack: Stack, account: Account) -> list[Finding]:
    if "read" not in stack.functions:
        return []
    broken = Api(DirectInvocation(stack, account)).unavailable()
    fix = f"see why in the log of {stack.functions['read']}, and deploy again; their instances are parked until then"
    return [_loaded(broken, fix), *_stopped(Api(DirectInvocation(stack, account)))]


def _stopped(api: Api) -> Iterator[Finding]:
    """What operators have stopped: workflows that are paused, and limits of 0."""
    for flow in api.workflows():
        if paused := flow.get("paused"):
            why = _because(paused["by"], paused["reason"])
            yield Finding("paused", "note", f"{flow['name']}{why}", f"hephaestus unpause --workflow {flow['name']}")
    cursor = None
    for _ in range(MOST_PAGES):
        page = api.limits(limit=PAGE, cursor=cursor)
        for one in page["items"]:
            if one.get("set_to") == 0:
                why, waits = _because(one.get("changed_by"), one.get("reason")), one["in_line"]
                detail = f"{one['limit']} is set to 0{why}; {waits}{' or more' if one.get('more') else ''} in line"
                yield Finding("limit", "note", detail, f"hephaestus limits unset {one['limit']}")
        if (cursor := page.get("cursor")) is None:
            return


def _because(by: str | None, reason: str | None) -> str:
    return f"{f' by {by}' if by else ''}{f': {reason}' if reason else ''}"


def _loaded(broken: list[str], fix: str) -> Finding:
    if not broken:
        return Finding("workflows", "ok", "every module can be loaded")
    return Finding("workflows", "wrong", f"cannot be loaded: {', '.join(broken)}", fix)


def _queues(stack: Stack, account: Account) -> list[Finding]:
    client, findings = account.client("sqs").get(), []
    for what, key in (
        ("work queue", "WorkQueueUrl"),
        ("bulk queue", "BulkQueueUrl"),
        ("dead work", "WorkDeadLettersUrl"),
        ("dead schedules", "ScheduleDeadLettersUrl"),
        ("ingest queue", "IngestQueueUrl"),
        ("dead events", "IngestDeadLettersUrl"),
    ):
        if key not in stack.outputs and what == "bulk queue":
            none = "the stack has none: the instances of large maps share the work queue"
            findings.append(Finding(what, "note", none, "deploy this release"))
            continue
        if key not in stack.outputs:
            findings.append(Finding(what, "wrong", "the stack has none", "deploy this release"))
            continue
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        found = client.get_queue_attributes(QueueUrl=stack.outputs[key], AttributeNames=names).get("Attributes", {})
        waiting = int(found.get(names[0], 0))
        if what.startswith("dead") and waiting:
            log = "ingest" if what == "dead events" else "resume"
            fix = f"see why in the log of {log}, then: hephaestus dlq redrive"
            findings.append(Finding(what, "wrong", f"about {waiting:,} letters", fix))
        else:
            findings.append(
                Finding(what, "ok", f"about {waiting:,} messages wait, {int(found.get(names[1], 0)):,} in work")
            )
    return findings


def _schedules(stack: Stack, account: Account) -> list[Finding]:
    group = stack.settings().schedule_group
    found = account.client("scheduler").get().get_schedule_group(Name=group)
    return [Finding("schedules", "ok", f"group {group} is {found.get('State', 'there')}")]
