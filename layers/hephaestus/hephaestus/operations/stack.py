"""Where a deployed stack has what, from its outputs and parameters: one call of CloudFormation."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus.adapters.cloudformation import describe_stack
from hephaestus.aws import Settings
from hephaestus.operations.advice import NoSuchStack, explained, where

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.adapters.session import Account

FUNCTIONS: Final = ("start", "resume", "control", "callback", "read", "sweep", "ingest")
NEEDED: Final = ("TableName", "WorkQueueUrl", "ResumeFunctionName")
NESTED: Final = "HephaestusStack"  # the output of a team's own stack that names the packaged one in it


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed stack.

    Attributes:
        name: its name.
        status: CloudFormation's word for its state, as ``UPDATE_COMPLETE``.
        outputs: by name, as ``TableName``.
        parameters: by name, as ``ListShards``; what it was deployed with.
        account_id: the account's number; empty where it is not known.
        partition: as ``aws``.
        region: where it is.
    """

    name: str
    status: str
    outputs: Mapping[str, str]
    parameters: Mapping[str, str] = field(default_factory=dict)
    account_id: str = ""
    partition: str = "aws"
    region: str = ""

    @property
    def table(self) -> str:
        """The table's name."""
        return self.outputs["TableName"]

    @property
    def bucket(self) -> str | None:
        """Where large values go, if anywhere."""
        return self.outputs.get("BucketName")

    @property
    def api_url(self) -> str | None:
        """The API's address."""
        return self.outputs.get("ApiUrl")

    @property
    def functions(self) -> Mapping[str, str]:
        """The names of the functions, by what they do, as in ``FUNCTIONS``."""
        named = {each: self.outputs.get(f"{each.title()}FunctionName") for each in FUNCTIONS}
        return {each: name for each, name in named.items() if name}

    def settings(self) -> Settings:
        """What its functions have in their environment."""
        return Settings(
            table=self.table,
            queue_url=self.outputs["WorkQueueUrl"],
            bulk_queue_url=self.outputs.get("BulkQueueUrl"),
            schedule_group=self.outputs.get("ScheduleGroupName", "default"),
            schedule_role_arn=self.outputs.get("SchedulerRoleArn", ""),
            resume_arn=self._arn("lambda", f"function:{self.outputs['ResumeFunctionName']}"),
            schedule_dlq_arn=self._arn("sqs", self.outputs["ScheduleDeadLettersUrl"].rsplit("/", 1)[-1])
            if "ScheduleDeadLettersUrl" in self.outputs
            else None,
            workflows=tuple(name.strip() for name in self.parameters.get("WorkflowModules", "workflows").split(",")),
            bucket=self.bucket,
            wake_shards=int(self.parameters.get("WakeShards", "4")),
            list_shards=int(self.parameters.get("ListShards", "4")),
            retention_days=int(self.parameters.get("RetentionDays", "30")),
        )

    def _arn(self, service: str, rest: str) -> str:
        return f"arn:{self.partition}:{service}:{self.region}:{self.account_id}:{rest}"


def find_stack(name: str, account: Account) -> Stack:
    """The stack of that name, or the packaged stack that a team's own stack of that name nests.

    Raises:
        NoSuchStack: there is none, or it is none of Hephaestus.
        NoCredentials, AwsRefused, Unreachable: AWS was not to be asked.
    """
    stack = _find(name, account)
    if NESTED in stack.outputs:
        inner = _find(stack.outputs[NESTED], account)
        # The status of the outer one: it fails where the inner one does, and may fail alone.
        stack = replace(inner, name=stack.name, status=stack.status)
    missing = [key for key in NEEDED if key not in stack.outputs]
    if missing:
        message = (
            f"the stack {name} ({stack.status}) has no output {', '.join(missing)}: "
            "it is no stack of Hephaestus, or it is not completely deployed"
        )
        raise NoSuchStack(message)
    return stack


def _find(name: str, account: Account) -> Stack:
    with explained(account):
        described = describe_stack(account.client("cloudformation"), name)
    if described is None:
        message = (
            f"there is no stack {name} ({where(account)}): give another name, region (--region) or profile (--profile)"
        )
        raise NoSuchStack(message)
    return _read(described)


def _read(described: Mapping[str, Any]) -> Stack:
    arn = [*str(described.get("StackId", "")).split(":"), "", "", "", ""]  # arn:partition:service:region:account:...
    partition, region, account_id = arn[1], arn[3], arn[4]
    return Stack(
        name=described["StackName"],
        status=described.get("StackStatus", ""),
        outputs={each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", [])},
        parameters={each["ParameterKey"]: each.get("ParameterValue", "") for each in described.get("Parameters", [])},
        account_id=account_id,
        partition=partition or "aws",
        region=region,
    )
