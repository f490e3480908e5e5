"""Hephaestus: durable workflows on AWS Lambda, DynamoDB, EventBridge Scheduler and SQS.

What a workflow's author needs is here, and every error that a call of the library raises; importing it touches neither
AWS nor the network. Built-in steps are in ``hephaestus.steps``, tests' tools in ``hephaestus.testing``.
"""

from typing import TYPE_CHECKING, Any

from hephaestus.context import Instance, StepContext
from hephaestus.definition.results import Completed, Pending, Result
from hephaestus.definition.steps import DONE, Choice, Done, Step, step
from hephaestus.definition.workflow import Workflow
from hephaestus.errors import (
    AlreadyRunning,
    AmbiguousEvent,
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
    NonRetryable,
    NotRedrivable,
    PayloadTooLarge,
    RequestIdReused,
    RetryLater,
    StoreUnavailable,
    TooBusy,
    UnexpectedEvent,
    UnknownStep,
    UnknownVersion,
    UnknownWorkflow,
)
from hephaestus.retry import Retry
from hephaestus.runtime.default import use
from hephaestus.writes import Check, ConditionFailed, Delete, Put, Update, Write, WriteFailed, WriteRefused

if TYPE_CHECKING:
    from hephaestus.callbacks.errors import (
        BadCallback,
        LinkAltered,
        LinkExpired,
        LinkForeign,
        LinkOutdated,
        LinksAreOff,
        LinkUsed,
        NoCallbackKey,
        NotConfirmed,
        StepMovedOn,
    )

__version__ = "0.1.0"

__all__ = [
    "DONE",
    "AlreadyRunning",
    "AmbiguousEvent",
    "BadCallback",
    "BadRequest",
    "CallerError",
    "Check",
    "Choice",
    "Completed",
    "ConditionFailed",
    "CorruptLog",
    "DefinitionError",
    "Delete",
    "Done",
    "EngineError",
    "ForkNotAllowed",
    "HephaestusError",
    "Instance",
    "InstanceClosed",
    "InstanceNotFound",
    "InvalidDelay",
    "InvalidInput",
    "InvariantBroken",
    "LinkAltered",
    "LinkExpired",
    "LinkForeign",
    "LinkOutdated",
    "LinkUsed",
    "LinksAreOff",
    "NoCallbackKey",
    "NonRetryable",
    "NotConfirmed",
    "NotRedrivable",
    "PayloadTooLarge",
    "Pending",
    "Put",
    "RequestIdReused",
    "Result",
    "Retry",
    "RetryLater",
    "Step",
    "StepContext",
    "StepMovedOn",
    "StoreUnavailable",
    "TooBusy",
    "UnexpectedEvent",
    "UnknownStep",
    "UnknownVersion",
    "UnknownWorkflow",
    "Update",
    "Workflow",
    "Write",
    "WriteFailed",
    "WriteRefused",
    "__version__",
    "step",
    "use",
]


def __getattr__(name: str) -> Any:
    """An error of links, imported where it is asked for: a run without links does without them."""
    from hephaestus.callbacks import errors  # noqa: PLC0415 - see above

    if name in __all__ and hasattr(errors, name):
        return getattr(errors, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
