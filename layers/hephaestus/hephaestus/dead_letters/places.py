"""Where a deployed stack has its queues, and how its functions are given events."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from hephaestus.adapters.aws_errors import translate
from hephaestus.adapters.cloudformation import describe_stack
from hephaestus.adapters.session import LazyClient
from hephaestus.dead_letters.letters import function_of
from hephaestus.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FUNCTIONS: Final = ("start", "resume", "control")
DEAD_LETTERS: Final = {
    "work": "WorkDeadLettersUrl",
    "schedules": "ScheduleDeadLettersUrl",
    "events": "IngestDeadLettersUrl",
}


@dataclass(frozen=True, slots=True)
class Places:
    """What a redrive needs of a stack.

    Attributes:
        work_queue: the URL of the work queue.
        dead_letters: the URLs of its dead-letter queues, by a short name.
        functions: the names of the functions that take direct calls, by ``start``, ``resume`` and ``control``; only
            those that are known.
        ingest_queue: the URL of the queue of events from outside, whose dead letters are named ``events``.
        bulk_queue: the URL of the queue for work of maps' trees, whose dead letters are those of the work queue;
            empty where there is none.
    """

    work_queue: str
    dead_letters: Mapping[str, str]
    functions: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ingest_queue: str = ""
    bulk_queue: str = ""


def find_stack(name: str, client: LazyClient | None = None) -> Places:
    """The places of a stack, from its outputs.

    Raises:
        BadRequest: there is no such stack, or it is none of Hephaestus.
        StoreUnavailable: CloudFormation throttled or did not answer.
        EngineError: CloudFormation rejected the request.
    """
    try:
        described = describe_stack(client or LazyClient("cloudformation"), name)
    except (BotoCoreError, ClientError) as error:
        raise translate(error, "CloudFormation") from error
    if described is None:
        message = f"there is no stack {name} in this account and region"
        raise BadRequest(message)
    found = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
    missing = [key for key in ("WorkQueueUrl", "IngestQueueUrl", *DEAD_LETTERS.values()) if key not in found]
    if missing:
        message = f"the stack {name} has no output {', '.join(missing)}: it is no stack of Hephaestus, or an old one"
        raise BadRequest(message)
    dead_letters = {short: found[key] for short, key in DEAD_LETTERS.items()}
    named = {role: found.get(f"{role.title()}FunctionName") for role in FUNCTIONS}
    known = {role: name for role, name in named.items() if name}
    bulk = found.get("BulkQueueUrl", "")
    return Places(found["WorkQueueUrl"], dead_letters, known, found["IngestQueueUrl"], bulk)


def asynchronously(names: Mapping[str, str], client: LazyClient | None = None) -> Callable[[Mapping[str, Any]], None]:
    """What gives an event to the function that reads it, asynchronously: where it fails, that is a letter again.

    Args:
        names: the Lambda functions' names, by ``start``, ``resume`` and ``control``. An event for one that is not there
            raises ``BadRequest``.
        client: of Lambda.
    """
    invoked = client or LazyClient("lambda")

    def invoke(event: Mapping[str, Any]) -> None:
        role = function_of(event)
        if role not in names:
            message = f"its event is for the function {role}: redrive it with --stack"
            raise BadRequest(message)
        try:
            invoked.get().invoke(FunctionName=names[role], InvocationType="Event", Payload=json.dumps(event).encode())
        except (BotoCoreError, ClientError) as error:
            raise translate(error, "Lambda") from error

    return invoke
