"""What invoked the function, and for how long.

The functions are invoked by API Gateway, by EventBridge Scheduler, by the work queue, or directly. Their events are told
apart and read here; one that is nobody's is refused before anything is touched. Nothing here imports AWS.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol, TypeAlias

from hephaestus.definition.business_key import check_id
from hephaestus.errors import BadRequest
from hephaestus.runtime.dispatch import Budget, InPlace
from hephaestus.runtime.ports import Clock, Timeout

TIMER_SOURCE: Final = "hephaestus.timer"
QUEUE_SOURCE: Final = "hephaestus.queue"

Trigger: TypeAlias = Literal["api", "queue", "timer", "direct"]


class Invocation(Protocol):
    """What is needed of Lambda's context object."""

    @property
    def aws_request_id(self) -> str:
        """The invocation's id, as the logs have it."""

    def get_remaining_time_in_millis(self) -> int:
        """How long the invocation may still last, in milliseconds."""


def trigger(event: object) -> Trigger:
    """Who sent ``event``; whoever is not known invoked the function directly.

    Raises:
        BadRequest: it is not a JSON object.
    """
    if not isinstance(event, Mapping):
        message = "the event is not a JSON object"
        raise BadRequest(message)
    if "httpMethod" in event and "requestContext" in event:
        return "api"
    if event.get("source") == TIMER_SOURCE:
        return "timer"
    records = event.get("Records")
    if isinstance(records, list) and all(isinstance(it, Mapping) and it.get("eventSource") == "aws:sqs" for it in records):
        return "queue"
    return "direct"


def budget(context: Invocation, clock: Clock) -> Budget:
    """The rest of this invocation."""
    return Budget(clock.now() + context.get_remaining_time_in_millis())


def in_place(context: Invocation, clock: Clock) -> InPlace:
    """Run in this invocation."""
    return InPlace(budget(context, clock))


def read_timeout(event: Mapping[str, Any]) -> Timeout:
    """What a one-shot schedule of ours carries.

    Raises:
        BadRequest: it is not ours, or incomplete.
    """
    names: Mapping[str, type] = {"instance_id": str, "generation": int, "step": str, "token": str, "due_at": int}
    wrong = [name for name, kind in names.items() if not isinstance(event.get(name), kind) or event.get(name) is True]
    if event.get("source") != TIMER_SOURCE or wrong:
        message = f"the event is no timeout that this engine scheduled: {', '.join(wrong) or 'source'} missing or malformed"
        raise BadRequest(message)
    check_id(event["instance_id"])
    return Timeout(**{name: event[name] for name in names})


def read_wake(body: str) -> str:
    """The id of the instance that a message of the work queue is about.

    Raises:
        BadRequest: the message is not ours.
    """
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, Mapping) or message.get("source") != QUEUE_SOURCE:
        reason = "the message is not one that this engine sent"
        raise BadRequest(reason)
    return check_id(message.get("instance_id"))
