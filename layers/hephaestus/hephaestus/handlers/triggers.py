"""What invoked the function, and for how long.

The functions are invoked by API Gateway, by EventBridge Scheduler, by the work queue, or directly. Their events are
told apart and read here; one that is none of these is rejected before anything is touched. Nothing here imports AWS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from hephaestus.adapters import scheduler, sqs
from hephaestus.definition.business_key import check_id
from hephaestus.errors import BadRequest
from hephaestus.runtime.dispatch import Budget, InPlace
from hephaestus.store.permits import is_limit
from hephaestus.store.reservations import is_rate
from hephaestus.values.strict_json import read_json

if TYPE_CHECKING:
    from hephaestus.runtime.ports import Clock, Timeout
    from hephaestus.runtime.status_events import StatusEvent
    from hephaestus.store.overdue import Wakeup

Trigger: TypeAlias = Literal["api", "queue", "timer", "direct"]


class Invocation(Protocol):
    """What is needed of Lambda's context object."""

    @property
    def aws_request_id(self) -> str:
        """The invocation's id, as the logs have it."""

    def get_remaining_time_in_millis(self) -> int:
        """How long the invocation may still last, in milliseconds."""


def trigger(event: object) -> Trigger:
    """Who sent ``event``; an unknown sender invoked it directly.

    Raises:
        BadRequest: it is not a JSON object.
    """
    if not isinstance(event, Mapping):
        message = "the event is not a JSON object"
        raise BadRequest(message)
    if "httpMethod" in event and "requestContext" in event:
        return "api"
    if event.get("source") == scheduler.SOURCE:
        return "timer"
    records = event.get("Records")
    if isinstance(records, list) and all(
        isinstance(it, Mapping) and it.get("eventSource") == "aws:sqs" for it in records
    ):
        return "queue"
    if "Records" in event:
        message = "the event has Records, but not all of them are messages of SQS: this function takes no others"
        raise BadRequest(message)
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
        BadRequest: it is not ours, or damaged.
    """
    timeout = scheduler.read_timeout(event)
    check_id(timeout.instance_id)
    return timeout


def read_work(body: str) -> Wakeup | Timeout | StatusEvent:
    """What a message of the work queue asks for; see ``hephaestus.adapters.sqs.read_message``.

    Raises:
        BadRequest: the message is not ours.
    """
    try:
        message = read_json(body, "the message")
    except BadRequest as error:
        text = f"not a message of Hephaestus: {error}"
        raise BadRequest(text) from error
    work = sqs.read_message(message if isinstance(message, dict) else {})
    if not is_limit(work.instance_id) and not is_rate(work.instance_id):
        check_id(work.instance_id)
    return work
