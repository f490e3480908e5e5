"""Hephaestus: durable workflows on AWS Lambda, DynamoDB, EventBridge Scheduler and SQS.

What a workflow's author needs is here; importing it touches neither AWS nor the network.
"""

from hephaestus.context import Instance, StepContext
from hephaestus.definition.results import Completed, Pending, Result
from hephaestus.definition.steps import DONE, Choice, Done, Step, step
from hephaestus.definition.workflow import Workflow
from hephaestus.errors import (
    AlreadyRunning,
    AmbiguousEvent,
    DefinitionError,
    HephaestusError,
    InstanceClosed,
    InstanceNotFound,
    InvalidInput,
    NonRetryable,
    PayloadTooLarge,
    RequestIdReused,
    UnexpectedEvent,
    UnknownStep,
    UnknownVersion,
    UnknownWorkflow,
)
from hephaestus.retry import Retry
from hephaestus.writes import Check, ConditionFailed, Delete, Put, Update, Write, WriteFailed, WriteRefused

__version__ = "0.1.0"

__all__ = [
    "DONE",
    "AlreadyRunning",
    "AmbiguousEvent",
    "Check",
    "Choice",
    "Completed",
    "ConditionFailed",
    "DefinitionError",
    "Delete",
    "Done",
    "HephaestusError",
    "Instance",
    "InstanceClosed",
    "InstanceNotFound",
    "InvalidInput",
    "NonRetryable",
    "PayloadTooLarge",
    "Pending",
    "Put",
    "RequestIdReused",
    "Result",
    "Retry",
    "Step",
    "StepContext",
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
]
