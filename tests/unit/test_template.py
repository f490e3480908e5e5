"""What ``template.yaml`` promises: encryption, TLS, who may call what, and that somebody is told of what is wrong.

Read without deploying it: intrinsic functions stay as they are, except conditions, which are decided for given
parameters. ``tests/e2e/test_deployment.py`` shows on the emulator that the permissions are enough.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from cfnlint.decode import cfn_yaml  # type: ignore[import-untyped]  # cfn-lint ships no types

from hephaestus.callbacks.signing_keys import MIN_KEY
from hephaestus.handlers import observability
from hephaestus.handlers.http.api import ROUTES
from hephaestus.runtime.sweeper import SweepReport
from hephaestus.telemetry.logs import KEYS, LEVELS, NUMBERS
from hephaestus.telemetry.metrics import HEARD, MetricsHandler

ROOT = Path(__file__).resolve().parents[2]
KEY: Final = "arn:aws:kms:eu-west-1:123456789012:key/0f9a0000-0000-4000-8000-000000000001"
NO_VALUE: Final = {"Ref": "AWS::NoValue"}
GIVEN: Final = {"Ref": "KmsKeyArn"}

# Types that keep data or messages, and those that do not. A type in neither list makes a test fail: decide where it is.
KEEPS: Final = {
    "AWS::DynamoDB::Table",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::SQS::Queue",
    "AWS::SecretsManager::Secret",
}
KEEPS_NOTHING: Final = {
    "AWS::CloudWatch::Alarm",
    "AWS::CloudWatch::Dashboard",
    "AWS::IAM::ManagedPolicy",
    "AWS::IAM::Role",
    "AWS::Logs::QueryDefinition",
    "AWS::S3::BucketPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::SSM::Parameter",
    "AWS::Scheduler::ScheduleGroup",
    "AWS::Serverless::Api",
    "AWS::Serverless::Function",
    "AWS::Serverless::LayerVersion",
}


class Template:
    """The template with its conditions decided for some parameters; ``LargeValues`` gives it its bucket."""

    def __init__(self, **parameters: str) -> None:
        self.raw: dict[str, Any] = cfn_yaml.load(str(ROOT / "template.yaml"))
        defaults = {name: known.get("Default", "") for name, known in self.raw["Parameters"].items()}
        self.parameters = {**defaults, "LargeValues": "bucket", **parameters}
        self.resources: dict[str, Any] = {
            name: self.decide(resource)
            for name, resource in self.raw["Resources"].items()
            if "Condition" not in resource or self.holds(resource["Condition"])
        }

    def holds(self, condition: str) -> bool:
        """Whether a condition of the template is true."""
        return bool(self._truth(self.raw["Conditions"][condition]))

    def _truth(self, node: Any) -> Any:
        match node:
            case {"Fn::Not": [inner]}:
                return not self._truth(inner)
            case {"Fn::And": parts} | {"Fn::Or": parts}:
                return (all if "Fn::And" in node else any)(map(self._truth, parts))
            case {"Fn::Select": [index, {"Fn::Split": [separator, text]}]}:
                return self._truth(text).split(separator)[index]
            case {"Fn::Equals": [left, right]}:
                return str(self._truth(left)) == str(self._truth(right))
            case {"Condition": name} | {"Ref": name}:
                return self.holds(name) if "Condition" in node else self.parameters[name]
        return node

    def accepted(self) -> bool:
        """Whether the rules of the template accept the parameters."""
        return all(
            self._truth(assertion["Assert"])
            for rule in self.raw["Rules"].values()
            if self._truth(rule.get("RuleCondition", True))
            for assertion in rule["Assertions"]
        )

    def decide(self, node: Any) -> Any:
        """``node`` with every ``Fn::If`` decided and what has no value left out."""
        if isinstance(node, dict):
            if "Fn::If" in node:
                condition, then, otherwise = node["Fn::If"]
                return self.decide(then if self.holds(condition) else otherwise)
            decided = {str(key): self.decide(value) for key, value in node.items()}
            return {key: value for key, value in decided.items() if value != NO_VALUE}
        if isinstance(node, list):
            return [item for item in map(self.decide, node) if item != NO_VALUE]
        return node

    def of(self, kind: str) -> dict[str, Any]:
        """The properties of every resource of a type, by name."""
        return {name: it.get("Properties", {}) for name, it in self.resources.items() if it["Type"] == kind}

    @property
    def functions(self) -> dict[str, Any]:
        """The properties of every function: ``StartFunction`` is ``start``."""
        return {name.removesuffix("Function").lower(): it for name, it in self.of("AWS::Serverless::Function").items()}

    def statements(self, role: str) -> list[dict[str, Any]]:
        """What a role may do: its own policies and the template's managed ones that it has."""
        properties = self.resources[role]["Properties"]
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        managed = [arn["Ref"] for arn in properties.get("ManagedPolicyArns", []) if arn["Ref"] in self.resources]
        documents += [self.resources[name]["Properties"]["PolicyDocument"] for name in managed]
        return [statement for document in documents for statement in document["Statement"]]


PLAIN = Template()
KEYED = Template(KmsKeyArn=KEY, AlarmTopicArn="arn:aws:sns:eu-west-1:123456789012:alarms", Tracing="on")
BOTH = pytest.mark.parametrize("template", [pytest.param(PLAIN, id="default"), pytest.param(KEYED, id="with a key")])


def listed(value: Any) -> list[Any]:
    """A policy's one or many."""
    return value if isinstance(value, list) else [value]


def role_of(function: dict[str, Any]) -> str:
    """The logical id of a function's role."""
    return str(function["Role"]["Fn::GetAtt"][0])


# --- At rest and in transit ---


@BOTH
def test_of_every_type_it_is_known_whether_it_keeps_data(template: Template) -> None:
    assert {it["Type"] for it in template.resources.values()} <= KEEPS | KEEPS_NOTHING


def test_the_table_is_encrypted_with_a_key_of_kms_or_the_given_one() -> None:
    assert [it["SSESpecification"] for it in PLAIN.of("AWS::DynamoDB::Table").values()] == [{"SSEEnabled": True}]
    assert [it["SSESpecification"] for it in KEYED.of("AWS::DynamoDB::Table").values()] == [
        {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": GIVEN}
    ]


def test_every_queue_is_encrypted_by_sqs_or_with_the_given_key() -> None:
    """Never both: SQS refuses that."""

    def encryption(template: Template) -> list[dict[str, Any]]:
        names = ("SqsManagedSseEnabled", "KmsMasterKeyId")
        return [{name: it[name] for name in names if name in it} for it in template.of("AWS::SQS::Queue").values()]

    assert encryption(PLAIN) == [{"SqsManagedSseEnabled": True}] * 6
    assert encryption(KEYED) == [{"KmsMasterKeyId": GIVEN}] * 6


def test_the_bucket_is_encrypted_by_s3_or_with_the_given_key() -> None:
    def rules(template: Template) -> list[Any]:
        (bucket,) = template.of("AWS::S3::Bucket").values()
        return list(bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"])

    assert rules(PLAIN) == [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
    assert rules(KEYED) == [
        {
            "ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": GIVEN},
            "BucketKeyEnabled": True,
        }
    ]


def test_every_log_group_is_encrypted_with_the_given_key() -> None:
    """Without one, CloudWatch encrypts with a key of its own."""
    assert [it.get("KmsKeyId") for it in PLAIN.of("AWS::Logs::LogGroup").values()] == [None] * 7
    assert [it.get("KmsKeyId") for it in KEYED.of("AWS::Logs::LogGroup").values()] == [GIVEN] * 7


@BOTH
def test_every_queue_and_the_bucket_refuse_whoever_comes_without_tls(template: Template) -> None:
    """And these policies allow nothing: who may do what is the roles' matter. The ingest queue's is tested below."""
    refused: dict[str, list[Any]] = {}
    policies = {**template.of("AWS::SQS::QueuePolicy"), **template.of("AWS::S3::BucketPolicy")}
    for policy in policies.values():
        *allowed, statement = policy["PolicyDocument"]["Statement"]
        assert not allowed or policy["Queues"] == [{"Ref": "IngestQueue"}]
        assert (statement["Effect"], statement["Principal"]) == ("Deny", "*")
        assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        assert statement["Action"] in {"sqs:*", "s3:*"}
        (owner,) = {one["Ref"] for one in listed(policy.get("Queues") or policy.get("Bucket"))}
        refused[owner] = listed(statement["Resource"])
    assert refused.keys() == template.of("AWS::SQS::Queue").keys() | template.of("AWS::S3::Bucket").keys()
    for owner, resources in refused.items():
        objects = [{"Fn::Sub": f"${{{owner}.Arn}}/*"}] if owner == "Bucket" else []
        assert resources == [{"Fn::GetAtt": [owner, "Arn"]}, *objects]


def test_only_services_of_this_account_may_send_to_the_ingest_queue() -> None:
    """Rules, topics and buckets; anybody else needs a permission of their own."""
    *allowed, _ = PLAIN.resources["IngestQueuePolicy"]["Properties"]["PolicyDocument"]["Statement"]
    assert [it["Principal"] for it in allowed] == [
        {"Service": f"{name}.amazonaws.com"} for name in ("events", "sns", "s3")
    ]
    for statement in allowed:
        assert (statement["Effect"], statement["Action"]) == ("Allow", "sqs:SendMessage")
        assert statement["Resource"] == {"Fn::GetAtt": ["IngestQueue", "Arn"]}
        assert "AWS::AccountId" in json.dumps(statement["Condition"])


def test_nothing_of_the_bucket_can_become_public_or_anothers() -> None:
    (bucket,) = PLAIN.of("AWS::S3::Bucket").values()
    assert bucket["PublicAccessBlockConfiguration"] == {
        "BlockPublicAcls": True,
        "BlockPublicPolicy": True,
        "IgnorePublicAcls": True,
        "RestrictPublicBuckets": True,
    }
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}


# --- Who may call ---


def operations(template: Template) -> dict[tuple[str, str], Any]:
    """Every operation of the API's definition, by method and path."""
    (api,) = template.of("AWS::Serverless::Api").values()
    paths = api["DefinitionBody"]["paths"]
    return {(method.upper(), path): it for path, methods in paths.items() for method, it in methods.items()}


# The token is the permission; nothing else is open.
BY_LINK: Final = {("GET", "/callbacks/{token}"), ("POST", "/callbacks/{token}")}


def test_every_route_asks_for_a_signature_unless_the_stack_is_told_to_be_open() -> None:
    """But for links, whose token is the permission."""
    (api,) = PLAIN.of("AWS::Serverless::Api").values()
    (scheme,) = api["DefinitionBody"]["components"]["securitySchemes"].values()
    assert scheme["x-amazon-apigateway-authtype"] == "awsSigv4"
    asked = {operation: str(it["security"]) for operation, it in operations(PLAIN).items()}
    assert {operation for operation, security in asked.items() if security == "[]"} == BY_LINK
    assert set(asked.values()) == {"[{'signature': []}]", "[]"}
    assert {str(it["security"]) for it in operations(Template(ApiAuthorization="NONE")).values()} == {"[]"}


def test_links_and_nothing_else_are_throttled_apart() -> None:
    """Strangers who try links out do not use up the rate that callers with an identity have."""
    (api,) = PLAIN.of("AWS::Serverless::Api").values()
    settings = {(it["HttpMethod"], it["ResourcePath"].replace("~1", "/")[1:]): it for it in api["MethodSettings"]}
    assert settings.keys() == BY_LINK
    for it in settings.values():
        assert (it["ThrottlingRateLimit"], it["ThrottlingBurstLimit"]) == (20, 40)


def test_the_key_of_links_is_made_given_or_none() -> None:
    """Made by default; the functions are told where it is and may read that and nothing else."""
    variables = PLAIN.raw["Globals"]["Function"]["Environment"]["Variables"]
    found = {}
    for choice, name in {
        "generate": "",
        "secret": "mine",
        "parameter": "/mine/key",
        "parameter ": "mine",
        "off": "",
    }.items():
        template = Template(CallbackKey=choice.strip(), CallbackKeyName=name)
        actions = {
            (str(listed(it["Action"])[0]), named(it["Resource"]))
            for it in template.statements("ResumeRole")
            if str(listed(it["Action"])[0]).startswith(("secretsmanager:", "ssm:"))
        }
        found[choice] = (template.decide(variables["HEPHAESTUS_CALLBACK_KEY"]), actions)
    arn = "arn:${AWS::Partition}:%s:${AWS::Region}:${AWS::AccountId}:%s"
    address = ("ssm:GetParameter", arn % ("ssm", "parameter/hephaestus/${AWS::StackName}/callback-url"))
    secret = arn % ("secretsmanager", "secret:${CallbackKeyName}-??????")
    assert found == {
        "generate": (
            {"Fn::Sub": "secret:${CallbackSecret.Id}"},
            {address, ("secretsmanager:GetSecretValue", "CallbackSecret")},
        ),
        "secret": (
            {"Fn::Sub": "secret:${CallbackKeyName}"},
            {address, ("secretsmanager:GetSecretValue", secret)},
        ),
        "parameter": (
            {"Fn::Sub": "parameter:${CallbackKeyName}"},
            {address, ("ssm:GetParameter", arn % ("ssm", "parameter${CallbackKeyName}"))},
        ),
        "parameter ": (
            {"Fn::Sub": "parameter:${CallbackKeyName}"},
            {address, ("ssm:GetParameter", arn % ("ssm", "parameter/${CallbackKeyName}"))},
        ),
        "off": ("", set()),
    }
    (made,) = PLAIN.of("AWS::SecretsManager::Secret").values()
    assert made["GenerateSecretString"]["PasswordLength"] >= MIN_KEY
    (keyed,) = KEYED.of("AWS::SecretsManager::Secret").values()
    assert (made.get("KmsKeyId"), keyed["KmsKeyId"]) == (None, GIVEN)


def test_the_api_has_the_routes_of_the_code_and_no_other() -> None:
    """A route that only an event of a function made would have no security of its own."""
    served = {
        (event["Properties"]["Method"].upper(), event["Properties"]["Path"])
        for function in PLAIN.functions.values()
        for event in function["Events"].values()
        if event["Type"] == "Api"
    }
    coded = {(method, path) for path, methods in ROUTES.items() for method in methods}
    shapes = {(method, re.sub(r"{\w+}", "{}", path)) for method, path in served}
    assert operations(PLAIN).keys() == served
    assert shapes == {(method, re.sub(r"<\w+>", "{}", path)) for method, path in coded}


def test_what_invokes_a_function_is_the_api_the_queue_or_the_minute() -> None:
    """No function URL, no permission for everybody; Scheduler comes with its role."""
    kinds = {
        name: {event["Type"] for event in function["Events"].values()} for name, function in PLAIN.functions.items()
    }
    assert kinds == {
        "start": {"Api"},
        "resume": {"Api", "SQS"},
        "control": {"Api"},
        "callback": {"Api"},
        "read": {"Api"},
        "sweep": {"Schedule"},
        "ingest": {"SQS"},
    }
    assert not any("FunctionUrlConfig" in function for function in PLAIN.functions.values())
    assert not PLAIN.of("AWS::Lambda::Permission")
    assert not PLAIN.of("AWS::Lambda::Url")


def test_a_role_is_assumed_by_its_service_alone_and_schedulers_for_our_group_only() -> None:
    for name, role in PLAIN.of("AWS::IAM::Role").items():
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Action"]) == ("Allow", "sts:AssumeRole")
        service = "scheduler" if name == "SchedulerRole" else "lambda"
        assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"}
    (statement,) = PLAIN.resources["SchedulerRole"]["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Condition"]["StringEquals"].keys() == {"aws:SourceAccount", "aws:SourceArn"}


# --- What each may do ---

TABLE, WAKE, LISTING, RECENT = "Table", "Table/index/wake", "Table/index/listing", "Table/index/recent"
# What running steps takes.
COMMIT: Final = {
    f"dynamodb:{call}" for call in ("BatchGetItem", "DeleteItem", "GetItem", "PutItem", "Query", "UpdateItem")
}
VALUES: Final = {"Bucket/*": {"s3:DeleteObject", "s3:GetObject", "s3:PutObject"}, "Bucket": {"s3:ListBucket"}}
LINKS: Final = {
    "CallbackSecret": {"secretsmanager:GetSecretValue"},
    "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/hephaestus/${AWS::StackName}/callback-url": {
        "ssm:GetParameter"
    },
}
WORK: Final = {queue: {"sqs:SendMessage"} for queue in ("WorkQueue", "BulkQueue")}
EXECUTION: Final = {
    TABLE: COMMIT,
    LISTING: {"dynamodb:Query"},
    RECENT: {"dynamodb:Query"},
    **WORK,
    "ScheduleDeadLetters": {"sqs:SendMessage"},
    "schedules": {"scheduler:CreateSchedule", "scheduler:DeleteSchedule"},
    "SchedulerRole": {"iam:PassRole"},
    **VALUES,
    **LINKS,
}
LOG: Final = {"logs:CreateLogStream", "logs:PutLogEvents"}
TAKE: Final = {"sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"}
MAY: Final[dict[str, dict[str, set[str]]]] = {
    "StartRole": {**EXECUTION, "StartLogs": LOG},
    "ResumeRole": {
        **EXECUTION,
        "ResumeLogs": LOG,
        **{queue: {"sqs:SendMessage"} | TAKE for queue in WORK},
    },
    "ControlRole": {**EXECUTION, "ControlLogs": LOG},
    "CallbackRole": {**VALUES, **LINKS, "CallbackLogs": LOG, TABLE: COMMIT, **WORK},
    "ReadRole": {
        "ReadLogs": LOG,
        TABLE: {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"},
        LISTING: {"dynamodb:Query"},
        RECENT: {"dynamodb:Query"},
        "Bucket/*": {"s3:GetObject"},
        "Bucket": {"s3:ListBucket"},
    },
    "SweepRole": {
        "SweepLogs": LOG,
        WAKE: {"dynamodb:Query"},
        # The one prefix: the emulator asks for an action of the batch's own, AWS does not.
        **{queue: {"sqs:GetQueueAttributes", "sqs:SendMessage*"} for queue in WORK},
    },
    "IngestRole": {
        **VALUES,
        "IngestLogs": LOG,
        TABLE: COMMIT,
        **WORK,
        "IngestQueue": TAKE,
        "IngestDeadLetters": {"sqs:SendMessage"},
    },
    "SchedulerRole": {"resume": {"lambda:InvokeFunction"}, "ScheduleDeadLetters": {"sqs:SendMessage"}},
}


def named(resource: Any) -> str:
    """A short name for what a statement is about."""
    match resource:
        case {"Fn::GetAtt": [name, "Arn" | "Id"]}:
            return str(name)
        case {"Fn::Sub": [text, _]} if text.endswith(":schedule/${Group}/${Own}.*"):
            return "schedules"
        case {"Fn::Sub": str(text)} if text.endswith(":function:${AWS::StackName}-resume"):
            return "resume"
        case {"Ref": str(name)}:
            return name
        case {"Fn::Sub": str(text)}:
            return re.sub(r"\${(\w+)\.Arn}", r"\1", text)
    return str(resource)


@pytest.mark.parametrize("role", MAY)
def test_a_role_may_do_what_its_function_does_and_no_more(role: str) -> None:
    found: dict[str, set[str]] = {}
    for statement in PLAIN.statements(role):
        assert statement["Effect"] == "Allow"
        for resource in listed(statement["Resource"]):
            found.setdefault(named(resource), set()).update(listed(statement["Action"]))
    assert found == MAY[role]


@BOTH
def test_no_role_may_do_everything_or_anything_everywhere(template: Template) -> None:
    """X-Ray alone has no resources to name."""
    assert template.of("AWS::IAM::Role").keys() == MAY.keys()
    for role in MAY:
        for statement in template.statements(role):
            assert "NotAction" not in statement
            assert "NotResource" not in statement
            actions = set(listed(statement["Action"]))
            assert not [action for action in actions if "*" in action and action != "sqs:SendMessage*"]
            if "*" in listed(statement["Resource"]):
                assert actions == {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}


def test_every_function_has_a_role_of_its_own_and_users_policies_go_to_those_that_run_steps() -> None:
    template = Template(StepPolicyArn="arn:aws:iam::123456789012:policy/steps")
    roles = {name: role_of(function) for name, function in template.functions.items()}
    assert roles == {
        name: f"{name.title()}Role" for name in ("start", "resume", "control", "callback", "read", "sweep", "ingest")
    }
    with_steps = {
        name
        for name, role in roles.items()
        if {"Ref": "StepPolicyArn"} in template.resources[role]["Properties"].get("ManagedPolicyArns", [])
    }
    assert with_steps == {"start", "resume", "control"}


def test_only_scheduler_is_given_schedulers_role() -> None:
    (statement,) = [it for it in PLAIN.statements("StartRole") if it["Action"] == "iam:PassRole"]
    assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}


WRITES: Final = {
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
}
READS: Final = {"kms:Decrypt", "kms:DescribeKey"}
SENDS: Final = {"kms:Decrypt", "kms:GenerateDataKey"}
COMMITS: Final = {"dynamodb": WRITES, "sqs": SENDS, "s3": SENDS, "secretsmanager": {"kms:Decrypt"}}
KEY_USE: Final = {
    **dict.fromkeys(("StartRole", "ResumeRole", "ControlRole", "CallbackRole"), COMMITS),
    "IngestRole": {service: uses for service, uses in COMMITS.items() if service != "secretsmanager"},
    "ReadRole": {"dynamodb": READS, "s3": {"kms:Decrypt"}},
    "SweepRole": {"dynamodb": READS, "sqs": SENDS},
    "SchedulerRole": {"sqs": SENDS},
}


@pytest.mark.parametrize("role", MAY)
def test_the_given_key_is_used_only_through_the_services_that_a_role_uses(role: str) -> None:
    """A role that could decrypt by itself could read a stolen copy of what the services keep."""
    uses: dict[str, set[str]] = {}
    for statement in KEYED.statements(role):
        if str(listed(statement["Action"])[0]).startswith("kms:"):
            assert statement["Resource"] == GIVEN
            for service in listed(statement["Condition"]["StringEquals"]["kms:ViaService"]):
                name, rest = service["Fn::Sub"].split(".", 1)
                assert rest == "${AWS::Region}.${AWS::URLSuffix}"
                uses[name] = set(listed(statement["Action"]))
    assert uses == KEY_USE[role]
    assert not [it for it in PLAIN.statements(role) if str(listed(it["Action"])[0]).startswith("kms:")]


# --- What is kept, and what callers of one kind cannot take from others ---


def test_what_a_first_deployment_leaves_behind_when_it_fails_is_nothing() -> None:
    """And what holds instances stays when a stack that worked is deleted."""
    kept = {name: it["DeletionPolicy"] for name, it in PLAIN.resources.items() if "DeletionPolicy" in it}
    assert kept == {"Table": "RetainExceptOnCreate", "Bucket": "RetainExceptOnCreate"}
    assert all(PLAIN.resources[name]["UpdateReplacePolicy"] == "Retain" for name in kept)


def test_the_table_and_the_bucket_can_be_protected() -> None:
    protected = Template(TableProtection="on", BucketVersioning="on")
    assert PLAIN.resources["Table"]["Properties"]["DeletionProtectionEnabled"] is False
    assert protected.resources["Table"]["Properties"]["DeletionProtectionEnabled"] is True
    bucket = protected.resources["Bucket"]["Properties"]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    (rule,) = bucket["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["NoncurrentVersionExpiration"]) == ("Enabled", {"NoncurrentDays": 30})
    assert not {"VersioningConfiguration", "LifecycleConfiguration"} & PLAIN.resources["Bucket"]["Properties"].keys()


def test_the_functions_use_a_restored_table() -> None:
    """All that named the stack's own table names that one: the environment, every statement, and the output."""
    restored = Template(RestoredTable="orders-restored")
    assert PLAIN.raw["Outputs"]["TableName"]["Value"]["Fn::If"][0] == "IsRestored"
    known = restored.resources["Table"], PLAIN.resources["Table"]
    assert known[0] == known[1], "the stack's own stays as it is"
    texts = {name: json.dumps(it) for name, it in restored.resources.items() if name != "StackDashboard"}
    assert [
        name for name, text in texts.items() if '"Table"' in text or "Table.Arn" in text or "${Table}" in text
    ] == []
    assert sum("table/${RestoredTable}" in text for text in texts.values()) >= 4


def test_the_longest_name_of_a_stack_is_documented() -> None:
    """Lambda takes 64 characters; every function's name is the stack's with an ending."""
    endings = [
        function["FunctionName"]["Fn::Sub"].removeprefix("${AWS::StackName}") for function in PLAIN.functions.values()
    ]
    longest = 64 - max(map(len, endings))
    said = f"at most {longest} characters"
    assert said in PLAIN.raw["Description"]
    assert said in (ROOT / "docs/guides/deploy.md").read_text("utf-8")


def scaling(template: Template) -> dict[str, Any]:
    """What bounds the invocations that each queue of work may cause."""
    events = [it["Properties"] for it in template.functions["resume"]["Events"].values() if it["Type"] == "SQS"]
    return {named(it["Queue"]): it.get("ScalingConfig") for it in events}


@pytest.mark.parametrize(("queue", "parameter"), [("WorkQueue", "WorkConcurrency"), ("BulkQueue", "BulkConcurrency")])
def test_a_work_queue_causes_no_more_invocations_than_it_is_allowed(queue: str, parameter: str) -> None:
    assert scaling(Template(**{parameter: "0"}))[queue] is None
    assert scaling(Template(**{parameter: "2"}))[queue] == {"MaximumConcurrency": {"Ref": parameter}}
    # Lambda's bounds for an event source of SQS (API Reference, ScalingConfig): 2 to 1000.
    assert PLAIN.raw["Parameters"][parameter]["MaxValue"] == 1000
    accepted = {number: Template(**{parameter: str(number)}).accepted() for number in range(4)}
    assert accepted == {0: True, 1: False, 2: True, 3: True}


def test_maps_leave_invocations_to_all_other_work() -> None:
    """Of the 1,000 that an account has by default, they take few; the work queue may have all."""
    assert scaling(PLAIN) == {"WorkQueue": None, "BulkQueue": {"MaximumConcurrency": {"Ref": "BulkConcurrency"}}}
    assert 2 <= int(PLAIN.parameters["BulkConcurrency"]) <= 100


def test_the_two_queues_of_work_are_alike_and_share_their_dead_letters() -> None:
    queues = PLAIN.of("AWS::SQS::Queue")
    assert queues["BulkQueue"] == queues["WorkQueue"]
    assert named(queues["BulkQueue"]["RedrivePolicy"]["deadLetterTargetArn"]) == "WorkDeadLetters"


@pytest.mark.parametrize("choice", ["secret", "parameter", "generate", "off"])
def test_a_key_of_ones_own_needs_its_name(choice: str) -> None:
    """CloudFormation rejects the parameters before it makes anything."""
    for name in ("", "links"):
        template = Template(CallbackKey=choice, CallbackKeyName=name)
        assert template.accepted() is (bool(name) or choice in {"generate", "off"})


def test_access_logs_are_off_and_show_no_token() -> None:
    """The path of a request to a link holds its token, the route's does not."""
    assert "AccessLogSetting" not in PLAIN.resources["Api"]["Properties"]
    logged = Template(ApiAccessLogs="on")
    setting = logged.resources["Api"]["Properties"]["AccessLogSetting"]
    assert setting["DestinationArn"] == {"Fn::GetAtt": ["ApiLogs", "Arn"]}
    shown = set(json.loads(setting["Format"]).values())
    assert "$context.resourcePath" in shown
    assert not [it for it in shown if re.search(r"\$context\.(path|requestOverride|customDomain)", it)]
    assert "ApiLogs" in logged.of("AWS::Logs::LogGroup")


# --- Logs and alarms ---


@BOTH
def test_every_function_logs_to_a_group_of_its_own_that_forgets(template: Template) -> None:
    groups = template.of("AWS::Logs::LogGroup")
    assert {name: function["LoggingConfig"]["LogGroup"]["Ref"] for name, function in template.functions.items()} == {
        name: f"{name.title()}Logs" for name in template.functions
    }
    assert len(groups) == len(template.functions)
    assert [group["RetentionInDays"] for group in groups.values()] == [{"Ref": "LogRetentionDays"}] * len(groups)


def test_no_function_is_told_to_log_its_events_or_to_be_verbose() -> None:
    """Powertools would write the whole event, payload included."""
    variables = PLAIN.raw["Globals"]["Function"]["Environment"]["Variables"]
    assert not {"POWERTOOLS_LOGGER_LOG_EVENT", "POWERTOOLS_DEV", "POWERTOOLS_DEBUG"} & variables.keys()
    assert PLAIN.parameters["LogLevel"] == "INFO"
    (api,) = PLAIN.of("AWS::Serverless::Api").values()
    assert "AccessLogSetting" not in api
    assert not [it for it in api["MethodSettings"] if {"LoggingLevel", "DataTraceEnabled"} & it.keys()]


def emitted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """The names of all metrics that the functions write."""
    names: set[str] = set()
    monkeypatch.setattr(observability.metrics, "add_metric", lambda *, name, unit, value: names.add(name))
    observability.count_sweep(SweepReport(1, 1, 0, 1, complete=True))
    for outcome in observability.EVENTS:
        observability.count_event(outcome)
    handler = MetricsHandler("test", "test")
    for event in HEARD:
        for status in ("completed", "failed", "cancelled"):
            about = {"workflow": "Orders", "step": "ship", "status": status, "attempt": 2}
            about |= {"schedule_of": "Orders", "left_out": 1, "late_ms": 1, "limit": "stripe"}
            told = {"duration": 1.0, "wait_duration": 1.0, "oldest_in_line": 1.0, "longest_held": 1.0}
            told |= {"reserved_ahead": 1.0}
            handler(event, told, about)
    handler.flush()
    written = [json.loads(line)["_aws"]["CloudWatchMetrics"] for line in capsys.readouterr().out.splitlines()]
    return names | {metric["Name"] for (one,) in written for metric in one["Metrics"]}


def test_every_alarm_watches_a_metric_that_there_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours as the functions write them, under the stack's own name; and those of AWS."""
    ours = emitted(monkeypatch, capsys)
    aws = {
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("AWS/ApiGateway", "5XXError"),
        *(("AWS/Lambda", metric) for metric in ("Errors", "Invocations", "Throttles")),
    }
    for alarm in PLAIN.of("AWS::CloudWatch::Alarm").values():
        if alarm["Namespace"] == {"Ref": "MetricsNamespace"}:
            assert alarm["MetricName"] in ours
            assert alarm["Dimensions"] == [{"Name": "service", "Value": {"Ref": "AWS::StackName"}}]
        else:
            assert (alarm["Namespace"], alarm["MetricName"]) in aws
    watched = {alarm["MetricName"] for alarm in PLAIN.of("AWS::CloudWatch::Alarm").values()}
    assert {"InstancesFailed", "InstancesParked", "SweepBacklog", "SweepIncomplete", "OldestInLine"} <= watched


@pytest.mark.parametrize("metric", ["Errors", "Throttles"])
def test_every_function_has_an_alarm_on_its_errors_and_one_on_its_throttles(metric: str) -> None:
    watched = [
        alarm["Dimensions"][0]["Value"]["Ref"]
        for alarm in PLAIN.of("AWS::CloudWatch::Alarm").values()
        if (alarm["Namespace"], alarm["MetricName"]) == ("AWS/Lambda", metric)
    ]
    assert sorted(watched) == sorted(PLAIN.of("AWS::Serverless::Function"))


def test_an_alarm_watches_what_the_api_itself_fails_at() -> None:
    """By the names that API Gateway gives its metrics: the API's name and its stage."""
    alarm = PLAIN.resources["ApiErrorsAlarm"]["Properties"]
    (api,) = PLAIN.of("AWS::Serverless::Api").values()
    assert {it["Name"]: it["Value"] for it in alarm["Dimensions"]} == {
        "ApiName": api["Name"],
        "Stage": api["StageName"],
    }


def test_what_an_asynchronous_call_fails_at_is_kept() -> None:
    """For every function that takes direct calls; a sweep is made up for by the next one."""
    kept = {
        name: function["EventInvokeConfig"]["DestinationConfig"]["OnFailure"]
        for name, function in PLAIN.functions.items()
        if "DestinationConfig" in function.get("EventInvokeConfig", {})
    }
    letters = {"Type": "SQS", "Destination": {"Fn::GetAtt": ["ScheduleDeadLetters", "Arn"]}}
    assert kept == dict.fromkeys(("start", "resume", "control"), letters)


def test_the_documented_metrics_are_those_that_are_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "telemetry.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` +\| (?:Count|Milliseconds|Seconds) ", text, re.MULTILINE)
    assert sorted(rows) == sorted(emitted(monkeypatch, capsys))


def test_every_alarm_tells_the_topic_where_there_is_one() -> None:
    topic = [{"Ref": "AlarmTopicArn"}]
    for alarm in KEYED.of("AWS::CloudWatch::Alarm").values():
        assert (alarm["AlarmActions"], alarm["OKActions"]) == (topic, topic)
    assert not any("AlarmActions" in alarm for alarm in PLAIN.of("AWS::CloudWatch::Alarm").values())


def test_the_table_of_alarms_names_every_alarm_and_no_other() -> None:
    cells = re.findall(r"^\|([^|]*Alarm`[^|]*)\|", (ROOT / "docs/guides/deploy.md").read_text("utf-8"), re.MULTILINE)
    rows = [name for cell in cells for name in re.findall(r"`(\w+Alarm)`", cell)]
    assert sorted(rows) == sorted(PLAIN.of("AWS::CloudWatch::Alarm"))


# --- Dashboard and saved queries ---


def test_the_dashboard_shows_every_metric_of_ours_and_every_function(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And none that nobody writes: a graph that stays empty looks like good news."""
    (dashboard,) = PLAIN.of("AWS::CloudWatch::Dashboard").values()
    shown = [
        metric for widget in json.loads(dashboard["DashboardBody"]["Fn::Sub"])["widgets"] for metric in graphs(widget)
    ]
    ours = {metric[1] for metric in shown if metric[0] == "${MetricsNamespace}"}
    assert ours == emitted(monkeypatch, capsys) - {"Sweeps", "StepWait"}
    assert all(
        metric[2:4] == ["service", "${AWS::StackName}"] for metric in shown if metric[0] == "${MetricsNamespace}"
    )
    functions = {name for name, it in PLAIN.resources.items() if it["Type"] == "AWS::Serverless::Function"}
    for name in ("Errors", "Throttles", "Duration"):
        assert {metric[3] for metric in shown if metric[1] == name} == {f"${{{one}}}" for one in functions}
    queues = {metric[3] for metric in shown if metric[0] == "AWS/SQS"}
    assert queues == {f"${{{name}.QueueName}}" for name in PLAIN.of("AWS::SQS::Queue")}
    assert {"ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits"} <= {metric[1] for metric in shown}


def graphs(widget: dict[str, Any]) -> list[list[Any]]:
    """The metrics of a widget, without searches."""
    return [metric for metric in widget["properties"]["metrics"] if isinstance(metric[0], str)]


def test_the_saved_queries_ask_for_what_the_log_has() -> None:
    """Messages and keys are those of the log's handler, at the level at which a stack logs."""
    queries = PLAIN.of("AWS::Logs::QueryDefinition")
    assert len(queries) == 4
    messages = {event.removeprefix("hephaestus.").replace(".", " ") for event, level in LEVELS.items() if level >= 20}
    words = "filter fields sort limit stats by as asc desc in and ispresent count count_distinct max avg pct"
    made = "failures instances latest runs mean p95 slowest retries most orderid abc123"
    known = {*KEYS, *NUMBERS.values(), "level", "message", "correlation_id", "timestamp", *words.split(), *made.split()}
    for query in queries.values():
        text = query["QueryString"]
        asked = re.findall(r'"([^":]+)"', text)
        assert set(asked) <= messages
        names = set(re.findall(r"[A-Za-z_]\w+", re.sub(r'"[^":]+"', "", text)))
        assert names <= known
        assert {group["Ref"] for group in query["LogGroupNames"]} <= PLAIN.of("AWS::Logs::LogGroup").keys()


def test_dashboard_and_queries_can_be_left_out() -> None:
    without = Template(Dashboard="off", SavedQueries="off")
    assert not without.of("AWS::CloudWatch::Dashboard")
    assert not without.of("AWS::Logs::QueryDefinition")
