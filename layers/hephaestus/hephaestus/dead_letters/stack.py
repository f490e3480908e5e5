"""Where a deployed stack has its queues, and how its function ``resume`` is given an event."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from hephaestus.adapters.aws_errors import translate
from hephaestus.adapters.cloudformation import describe_stack
from hephaestus.adapters.session import LazyClient
from hephaestus.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

DEAD_LETTERS: Final = {"work": "WorkDeadLettersUrl", "schedules": "ScheduleDeadLettersUrl"}


@dataclass(frozen=True, slots=True)
class Places:
    """What a redrive needs of a stack.

    Attributes:
        work_queue: the URL of the work queue.
        dead_letters: the URLs of its dead-letter queues, by a short name.
        resume: the name of the function ``resume``; ``None`` where it is not known.
    """

    work_queue: str
    dead_letters: Mapping[str, str]
    resume: str | None = None


def find_stack(name: str, client: LazyClient | None = None) -> Places:
    """The places of a stack, from its outputs.

    Raises:
        BadRequest: there is no such stack, or it is none of Hephaestus.
        StoreUnavailable: CloudFormation throttled or did not answer.
        EngineError: CloudFormation refused the request.
    """
    try:
        described = describe_stack(client or LazyClient("cloudformation"), name)
    except (BotoCoreError, ClientError) as error:
        raise translate(error, "CloudFormation") from error
    if described is None:
        message = f"there is no stack {name} in this account and region"
        raise BadRequest(message)
    found = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
    missing = [key for key in ("WorkQueueUrl", *DEAD_LETTERS.values()) if key not in found]
    if missing:
        message = f"the stack {name} has no output {', '.join(missing)}: it is no stack of Hephaestus, or an old one"
        raise BadRequest(message)
    dead_letters = {short: found[key] for short, key in DEAD_LETTERS.items()}
    return Places(found["WorkQueueUrl"], dead_letters, found.get("ResumeFunctionName"))


def resume_function(name: str, client: LazyClient | None = None) -> Callable[[Mapping[str, Any]], None]:
    """What gives the Lambda function ``name`` an event, asynchronously: where it fails, that is a letter again."""
    invoked = client or LazyClient("lambda")

    def invoke(event: Mapping[str, Any]) -> None:
        try:
            invoked.get().invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(event).encode())
        except (BotoCoreError, ClientError) as error:
            raise translate(error, "Lambda") from error

    return invoke
