"""The stack's permissions, judged by an IAM engine that is not the emulator's, for many sets of parameters.

Proven here: every call that the functions make is allowed, every other call around it is denied, no granted action
could be left out, and no statement could say more without one of these denials noticing. Not proven: that the list of
calls is complete, and what services ask for beyond their documentation; end-to-end tests and AWS show that.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.cloud import ACCOUNT, API_ID, HERE, REGION, STACK, Cloud
from tests.iam.calls import (
    BY_THE_GUIDE,
    KEY,
    ROLES,
    STRANGER,
    Call,
    forbidden,
    guard_of,
    listed,
    needed,
    policies_of,
    question,
    statements,
)
from tests.iam.engine import Question, judge
from tests.transformed import transformed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.iam.engine import Policy

SETS: Final = {
    "defaults": {},
    "everything": {
        "KmsKeyArn": KEY,
        "LargeValues": "bucket",
        "Tracing": "on",
        "TableProtection": "on",
        "BucketVersioning": "on",
        "ApiAccessLogs": "on",
        "WorkConcurrency": "5",
        "BulkConcurrency": "3",
        "EventBusName": "orders",
    },
    "a key": {"KmsKeyArn": KEY},
    "a bucket": {"LargeValues": "bucket"},
    "a secret of one's own": {"CallbackKey": "secret", "CallbackKeyName": "team/links"},
    "a secret of one's own, a key": {"CallbackKey": "secret", "CallbackKeyName": "team/links", "KmsKeyArn": KEY},
    "a parameter of one's own": {"CallbackKey": "parameter", "CallbackKeyName": "/team/links"},
    "a parameter without a slash": {"CallbackKey": "parameter", "CallbackKeyName": "links"},
    "no links": {"CallbackKey": "off"},
    "a shared group": {"ScheduleGroupName": "default"},
    "an open API": {"ApiAuthorization": "NONE"},
    "without TLS": {"TlsOnly": "off"},
}
MATRIX: Final = (
    "defaults",
    "everything",
    "a secret of one's own, a key",
    "a parameter without a slash",
    "a shared group",
)
CHANGED: Final = ("everything", "a secret of one's own, a key", "a parameter without a slash")
FULL: Final[Policy] = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
ANN: Final = f"arn:aws:iam::{ACCOUNT}:user/ann"
EVE: Final = f"arn:aws:iam::{STRANGER}:user/eve"


@pytest.fixture(scope="module")
def clouds() -> dict[str, Cloud]:
    """The stack for each set of parameters."""
    return {name: Cloud(template, SETS[name]) for name, template in transformed(SETS).items()}


def judged(clouds: dict[str, Cloud], calls: dict[str, list[Call]]) -> dict[bool, list[tuple[str, Call]]]:
    """The calls of each set of parameters, by whether they are allowed."""
    asked = [(name, call) for name, found in calls.items() for call in found]
    found: dict[bool, list[tuple[str, Call]]] = {True: [], False: []}
    for each, allowed in zip(asked, judge([question(clouds[name], call) for name, call in asked]), strict=True):
        found[allowed].append(each)
    return found


def test_every_call_that_a_function_makes_is_allowed(clouds: dict[str, Cloud]) -> None:
    calls = {name: needed(cloud) for name, cloud in clouds.items()}
    assert all({call.role for call in found} == set(ROLES) for found in calls.values())
    assert judged(clouds, calls)[False] == []


def test_every_other_call_is_denied(clouds: dict[str, Cloud]) -> None:
    """Another role's, on a neighbour of its resource, in another context, or an action that nothing uses."""
    calls = {name: forbidden(clouds[name]) for name in MATRIX}
    assert all(len(found) > 1_000 for found in calls.values())
    assert judged(clouds, calls)[True] == []


@dataclass(frozen=True, slots=True)
class Change:
    """A policy with one statement changed, and the calls of a role that should notice.

    Attributes:
        what: for whoever reads that they did not.
        questions: the calls, asked with the changed policy.
    """

    what: str
    questions: Sequence[Question]


def changed(
    cloud: Cloud, found: tuple[str, Policy, dict[str, Any]], into: dict[str, Any], calls: Sequence[Call]
) -> Change:
    """A policy with ``into`` in place of the statement that was found in it, for a role that has it."""
    holder, document, statement = found
    role = holder if holder.endswith("Role") else _role_with(cloud, document)
    other = copy.deepcopy(dict(document))
    place = document["Statement"].index(statement)
    other["Statement"][place : place + 1] = [into] if into.get("Action") else []
    service = listed(statement["Action"])[0].partition(":")[0]
    asked = [question(cloud, call) for call in calls if call.role == role and call.action.startswith(f"{service}:")]
    identity = [other if policy == document else policy for policy in policies_of(cloud, role)]
    return Change(f"{holder}: {statement} → {into}", [replace(one, identity=identity) for one in asked])


def _role_with(cloud: Cloud, document: Policy) -> str:
    return next(role for role in ROLES if document in policies_of(cloud, role))


def unnoticed(changes: Sequence[Change], *, noticed_by: bool) -> list[str]:
    """The changes after which no call has the verdict ``noticed_by``."""
    verdicts = iter(judge([one for change in changes for one in change.questions]))
    return [change.what for change in changes if noticed_by not in [next(verdicts) for _ in change.questions]]


def test_no_granted_action_could_be_left_out(clouds: dict[str, Cloud]) -> None:
    """But for those on a key that AWS' guides ask for."""
    changes = []
    for cloud in (clouds[name] for name in CHANGED):
        calls = needed(cloud)
        for found in statements(cloud):
            actions = listed(found[2]["Action"])
            for action in set(actions) - BY_THE_GUIDE:
                rest = [other for other in actions if other != action]
                changes.append(changed(cloud, found, {**found[2], "Action": rest}, calls))
    assert len(changes) > 150
    assert unnoticed(changes, noticed_by=False) == []


def widenings(statement: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The statement for every resource, for every action of its service, without its condition."""
    if statement["Resource"] != "*":
        yield {**statement, "Resource": "*"}
    if "iam:PassRole" not in listed(statement["Action"]):  # no other action has the key of its condition
        yield {**statement, "Action": f"{listed(statement['Action'])[0].partition(':')[0]}:*"}
    if "Condition" in statement:
        yield {key: value for key, value in statement.items() if key != "Condition"}


def test_no_statement_could_say_more_without_being_noticed(clouds: dict[str, Cloud]) -> None:
    changes = []
    for cloud in (clouds[name] for name in CHANGED):
        calls = forbidden(cloud)
        for found in statements(cloud):
            changes += [changed(cloud, found, wider, calls) for wider in widenings(found[2])]
    assert len(changes) > 150
    assert unnoticed(changes, noticed_by=True) == []


# --- Who may assume a role, and who may reach a function, a queue and the bucket ---


def assuming(cloud: Cloud, role: str, principal: str, context: dict[str, str] | None = None) -> Question:
    """Whether a principal may assume a role."""
    trust = cloud.resources[role]["AssumeRolePolicyDocument"]
    identity = [FULL] if principal.startswith("arn:") else []
    return Question(principal, "sts:AssumeRole", cloud.arn(role), ACCOUNT, context or {}, identity, trust)


def service(name: str) -> str:
    """A service as a principal."""
    return f"{name}.amazonaws.com"


def test_a_functions_role_is_assumed_by_lambda_alone(clouds: dict[str, Cloud]) -> None:
    cloud = clouds["defaults"]
    roles = [role for role in ROLES if role != "SchedulerRole"]
    assert all(judge([assuming(cloud, role, service("lambda")) for role in roles]))
    others = [*map(service, ("scheduler", "events", "ec2", "apigateway")), ANN, EVE]
    assert not any(judge([assuming(cloud, role, other) for role in roles for other in others]))


@pytest.mark.parametrize("name", ["defaults", "a shared group"])
def test_schedulers_role_is_assumed_for_schedules_of_our_group_alone(clouds: dict[str, Cloud], name: str) -> None:
    cloud = clouds[name]
    group = cloud.parameters["ScheduleGroupName"] or STACK
    ours = {"aws:SourceAccount": ACCOUNT, "aws:SourceArn": f"arn:aws:scheduler:{HERE}:schedule-group/{group}"}
    assert judge([assuming(cloud, "SchedulerRole", service("scheduler"), ours)]) == [True]
    arn = ours["aws:SourceArn"]
    wrong: list[dict[str, str]] = [
        {},
        {"aws:SourceAccount": ACCOUNT},
        {"aws:SourceArn": arn},
        {**ours, "aws:SourceAccount": STRANGER},
        {**ours, "aws:SourceArn": arn.replace(ACCOUNT, STRANGER)},
        {**ours, "aws:SourceArn": arn.replace(REGION, "us-east-1")},
        {**ours, "aws:SourceArn": f"{arn}2"},
        {**ours, "aws:SourceArn": arn.replace("schedule-group", "schedule") + "/a"},
    ]
    asked = [assuming(cloud, "SchedulerRole", service("scheduler"), context) for context in wrong]
    asked += [assuming(cloud, "SchedulerRole", service(other), ours) for other in ("lambda", "events")]
    assert not any(judge(asked))


def invoking(cloud: Cloud, function: str, principal: str, context: dict[str, str]) -> Question:
    """Whether a service may invoke a function."""
    found = [
        it
        for it in cloud.of("AWS::Lambda::Permission").values()
        if it["FunctionName"] in {cloud.name(function), cloud.arn(function)}
    ]
    guard = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": it["Principal"]},
                "Action": it["Action"],
                "Resource": cloud.arn(function),
                "Condition": {"ArnLike": {"aws:SourceArn": it["SourceArn"]}},
            }
            for it in found
        ],
    }
    return Question(principal, "lambda:InvokeFunction", cloud.arn(function), ACCOUNT, context, (), guard)


def routes(cloud: Cloud) -> list[tuple[str, str, str]]:
    """Every route of the API: its function, its method and a path."""
    (api,) = cloud.of("AWS::ApiGateway::RestApi").values()
    found = []
    for path, methods in api["Body"]["paths"].items():
        for method, it in methods.items():
            uri = it["x-amazon-apigateway-integration"]["uri"]
            name = uri.split(":function:")[1].split("/")[0]
            (function,) = [each for each in cloud.of("AWS::Lambda::Function") if cloud.name(each) == name]
            found.append((function, method.upper(), path.replace("{", "").replace("}", "")))
    return found


def test_the_api_invokes_a_function_for_its_own_routes_and_nobody_else_does(clouds: dict[str, Cloud]) -> None:
    cloud = clouds["defaults"]
    known = routes(cloud)
    assert {function for function, _, _ in known} == set(cloud.of("AWS::Lambda::Function")) - {
        "SweepFunction",
        "IngestFunction",
    }

    def from_api(method: str, path: str, api: str = API_ID, account: str = ACCOUNT) -> dict[str, str]:
        return {
            "aws:SourceArn": f"arn:aws:execute-api:{REGION}:{account}:{api}/v1/{method}{path}",
            "aws:SourceAccount": account,
        }

    api = service("apigateway")
    assert all(judge([invoking(cloud, function, api, from_api(method, path)) for function, method, path in known]))
    wrong = []
    for function, method, path in known:
        wrong += [
            invoking(cloud, function, api, from_api(method, path, api="zzzzz99999")),
            invoking(cloud, function, api, from_api(method, path, account=STRANGER)),
            invoking(cloud, function, api, from_api("DELETE", path)),
            invoking(cloud, "SweepFunction", api, from_api(method, path)),
            invoking(cloud, "IngestFunction", api, from_api(method, path)),
            *(invoking(cloud, function, service(name), from_api(method, path)) for name in ("events", "scheduler")),
        ]
        others = {each for each, _, _ in known} - {each for each, *route in known if route == [method, path]}
        wrong += [invoking(cloud, other, api, from_api(method, path)) for other in others]
    assert not any(judge(wrong))


def test_the_minute_invokes_the_sweep_alone(clouds: dict[str, Cloud]) -> None:
    cloud = clouds["defaults"]
    (rule,) = cloud.of("AWS::Events::Rule")
    context = {"aws:SourceArn": cloud.arn(rule)}
    assert judge([invoking(cloud, "SweepFunction", service("events"), context)]) == [True]
    another = invoking(cloud, "SweepFunction", service("events"), {"aws:SourceArn": f"{cloud.arn(rule)}2"})
    names = set(cloud.of("AWS::Lambda::Function")) - {
        "SweepFunction",
        "IngestFunction",
    }
    others = [invoking(cloud, name, service("events"), context) for name in names]
    assert not any(judge([*others, another]))


@pytest.mark.parametrize(("name", "over_http"), [("everything", False), ("a bucket", False), ("without TLS", True)])
def test_a_queue_and_the_bucket_are_reached_by_tls_and_by_no_stranger(
    clouds: dict[str, Cloud], name: str, over_http: bool
) -> None:
    """Even by whoever may do everything in the account."""
    cloud = clouds[name]
    resources = [
        (cloud.arn(queue), "sqs:SendMessage sqs:ReceiveMessage sqs:PurgeQueue") for queue in cloud.of("AWS::SQS::Queue")
    ]
    resources += [
        (f"{cloud.arn(bucket)}/shop/1", "s3:GetObject s3:PutObject") for bucket in cloud.of("AWS::S3::Bucket")
    ]
    calls = [(resource, action) for resource, actions in resources for action in actions.split()]

    def asked(principal: str, **context: str) -> list[bool]:
        known = {key.replace("_", ":"): value for key, value in context.items()}
        identity = [FULL] if principal.startswith("arn:") else []
        return judge(
            [Question(principal, action, to, ACCOUNT, known, identity, guard_of(cloud, to)) for to, action in calls]
        )

    assert all(asked(ANN))
    assert set(asked(ANN, aws_SecureTransport="false")) == {over_http}
    assert not any(asked(EVE))
    assert not any(asked(service("sns"), aws_SourceAccount=ACCOUNT))


def test_a_function_that_strangers_reach_has_nothing_that_steps_have(clouds: dict[str, Cloud]) -> None:
    """As a list of its own, whatever the matrix above is made from."""
    actions = {
        name: {
            action
            for policy in policies_of(cloud, "CallbackRole")
            for it in policy["Statement"]
            for action in listed(it["Action"])
        }
        for name, cloud in clouds.items()
    }
    services = {action.partition(":")[0] for found in actions.values() for action in found}
    assert services == {"dynamodb", "kms", "logs", "s3", "secretsmanager", "sqs", "ssm", "xray"}
    for found in actions.values():
        assert not {action for action in found if action.startswith(("iam:", "scheduler:"))}
