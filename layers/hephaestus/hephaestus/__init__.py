"""Hephaestus: durable workflows on AWS Lambda, DynamoDB, EventBridge Scheduler and SQS.

What a workflow's author needs is here, and every error that a call of the library raises; importing it touches neither
AWS nor the network. Built-in steps are in ``hephaestus.steps``, tests' tools in ``hephaestus.testing``.
"""

from typing import TYPE_CHECKING, Any

from hephaestus.definition.concurrency import Concurrency
from hephaestus.definition.context import Instance, StepContext
from hephaestus.definition.default import Runs, otherwise, use
from hephaestus.definition.item_sources import InvalidItems, Items
from hephaestus.definition.rates import RateLimit
from hephaestus.definition.results import Again, Completed, Pending, Result
from hephaestus.definition.retries import Retry
from hephaestus.definition.rounds import Rounds
from hephaestus.definition.schedules import Schedule
from hephaestus.definition.step import DONE, FAIL, Choice, Done, Fail, Step, step
from hephaestus.definition.workflow import Workflow
from hephaestus.errors import (
    AlreadyRunning,
    AmbiguousEvent,
    BadCallback,
    BadRequest,
    CallerError,
    CorruptLog,
    DefinitionError,
    EngineError,
    ForkNotAllowed,
    HephaestusError,
    InstanceClosed,
    InstanceNotFound,
    InvalidDelay,
    InvalidInput,
    InvariantBroken,
    ItemNotBegun,
    LinkAltered,
    LinkExpired,
    LinkForeign,
    LinkOutdated,
    LinksAreOff,
    LinkUsed,
    NoCallbackKey,
    NoInput,
    NonRetryable,
    NoResults,
    NotCompleted,
    NotConfirmed,
    NotRedrivable,
    NotRoot,
    NotTaken,
    PayloadTooLarge,
    RequestIdReused,
    RetryLater,
    StepMovedOn,
    StoreUnavailable,
    TooBusy,
    UnexpectedEvent,
    UnfitOutput,
    UnknownLimit,
    UnknownStep,
    UnknownVersion,
    UnknownWorkflow,
    WorkflowUnavailable,
)
from hephaestus.writes import Check, ConditionFailed, Delete, Put, Update, Write, WriteFailed, WriteRefused

if TYPE_CHECKING:
    # Not in `__all__`: `import *` in a function would import what its layer has not.
    from hephaestus.client import connect as connect
    from hephaestus.client import connect_async as connect_async

__version__ = "0.1.0"

__all__ = [
    "DONE",
    "FAIL",
    "Again",
    "AlreadyRunning",
    "AmbiguousEvent",
    "BadCallback",
    "BadRequest",
    "CallerError",
    "Check",
    "Choice",
    "Completed",
    "Concurrency",
    "ConditionFailed",
    "CorruptLog",
    "DefinitionError",
    "Delete",
    "Done",
    "EngineError",
    "Fail",
    "ForkNotAllowed",
    "HephaestusError",
    "Instance",
    "InstanceClosed",
    "InstanceNotFound",
    "InvalidDelay",
    "InvalidInput",
    "InvalidItems",
    "InvariantBroken",
    "ItemNotBegun",
    "Items",
    "LinkAltered",
    "LinkExpired",
    "LinkForeign",
    "LinkOutdated",
    "LinkUsed",
    "LinksAreOff",
    "NoCallbackKey",
    "NoInput",
    "NoResults",
    "NonRetryable",
    "NotCompleted",
    "NotConfirmed",
    "NotRedrivable",
    "NotRoot",
    "NotTaken",
    "PayloadTooLarge",
    "Pending",
    "Put",
    "RateLimit",
    "RequestIdReused",
    "Result",
    "Retry",
    "RetryLater",
    "Rounds",
    "Schedule",
    "Step",
    "StepContext",
    "StepMovedOn",
    "StoreUnavailable",
    "TooBusy",
    "UnexpectedEvent",
    "UnfitOutput",
    "UnknownLimit",
    "UnknownStep",
    "UnknownVersion",
    "UnknownWorkflow",
    "Update",
    "Workflow",
    "WorkflowUnavailable",
    "Write",
    "WriteFailed",
    "WriteRefused",
    "__version__",
    "step",
    "use",
]


def __getattr__(name: str) -> Any:
    """The client, imported when it is first used: functions have no use for it, and their layer has it not."""
    if name in ("connect", "connect_async"):
        from importlib import import_module  # noqa: PLC0415 - see above

        return getattr(import_module("hephaestus.client"), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def _on_aws() -> Runs:
    from hephaestus.aws import BadSettings, runner_from_environment  # noqa: PLC0415 - only where AWS is the runtime

    try:
        return runner_from_environment()
    except BadSettings as error:
        message = (
            f"{error}. In a script, call a deployment instead: hephaestus.connect('dev'), or connect('shop') with a "
            "stack's name. In a test, name a runner first: hephaestus.use(LocalRuntime(YourWorkflow).runner)"
        )
        raise BadSettings(message) from error


otherwise(_on_aws)
