"""One-shot schedules on EventBridge Scheduler.

Limits, from the service's API reference: a name has 1 to 64 of ``0-9a-zA-Z-_.``; an ``at`` expression has whole seconds
and no zone; a schedule fires within 60 seconds of its time; the input of a Lambda target has at most 256 KB.
"""

from __future__ import annotations

import json
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from hephaestus.adapters.aws_errors import translate
from hephaestus.adapters.session import LazyClient
from hephaestus.errors import BadRequest, EngineError
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.names import SCHEDULE_NAME, schedule_name
from hephaestus.runtime.ports import Timeout
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.runtime.ports import Clock

SOURCE: Final = "hephaestus.timer"
MAX_INPUT: Final = 256 * 1024
MAX_NAME: Final = 256  # characters of a step's name, and of a wait's token, which begins with it
MAX_DIGITS: Final = 15  # a time in milliseconds has 14 for as long as there are four-digit years
SOONEST: Final = timedelta(seconds=2)  # a time that has passed on arrival would be rejected
RETRY_HOURS: Final = 24
SERVICE: Final = "EventBridge Scheduler"


@dataclass(frozen=True, slots=True)
class SchedulerTimers:
    """``Timers`` on EventBridge Scheduler.

    Attributes:
        group: the schedule group.
        role_arn: the role that Scheduler assumes to invoke the target.
        target_arn: the resume function.
        dlq_arn: the queue for schedules that could not be delivered.
        client: the service's client.
        clock: the time, for schedules that would be in the past.
        prefix: what the names of the schedules begin with.
    """

    group: str
    role_arn: str
    target_arn: str
    dlq_arn: str | None = None
    client: LazyClient = field(default_factory=lambda: LazyClient("scheduler"))
    clock: Clock = field(default_factory=SystemClock)
    prefix: str = ""

    def schedule(self, timeout: Timeout) -> str:
        """Make the schedule of ``timeout``; one that is there already is success.

        Raises:
            StoreUnavailable: Scheduler throttled or did not answer.
            EngineError: Scheduler rejected the request.
        """
        request = self.request(timeout)
        name = str(request["Name"])
        client = self.client.get()
        try:
            client.create_schedule(**request)
        except client.exceptions.ConflictException:
            return name
        except (BotoCoreError, ClientError) as error:
            raise translate(error, SERVICE) from error
        return name

    def name(self, timeout: Timeout) -> str:
        """The name of the schedule of ``timeout``."""
        return schedule_name(timeout, self.prefix)

    def cancel(self, timeout: Timeout) -> None:
        """Remove the schedule of ``timeout``; one that is gone is no error.

        Raises:
            StoreUnavailable: Scheduler throttled or did not answer.
            EngineError: Scheduler rejected the request.
        """
        client = self.client.get()
        try:
            client.delete_schedule(GroupName=self.group, Name=self.name(timeout))
        except client.exceptions.ResourceNotFoundException:
            return
        except (BotoCoreError, ClientError) as error:
            raise translate(error, SERVICE) from error

    def request(self, timeout: Timeout) -> Mapping[str, Any]:
        """The request that makes a schedule, checked against the service's rules.

        Raises:
            EngineError: it breaks a rule, which would be a defect of this library.
        """
        name, payload = self.name(timeout), timeout_payload(timeout)
        if not SCHEDULE_NAME.fullmatch(name) or len(payload.encode()) > MAX_INPUT:
            message = f"instance {timeout.instance_id}: the schedule for step {timeout.step} breaks Scheduler's limits"
            raise EngineError(message)
        target: dict[str, Any] = {
            "Arn": self.target_arn,
            "RoleArn": self.role_arn,
            "Input": payload,
            "RetryPolicy": {"MaximumEventAgeInSeconds": RETRY_HOURS * 3600, "MaximumRetryAttempts": 185},
        }
        if self.dlq_arn:
            target["DeadLetterConfig"] = {"Arn": self.dlq_arn}
        return {
            "Name": name,
            "GroupName": self.group,
            "ScheduleExpression": self.expression(timeout.due_at),
            "ScheduleExpressionTimezone": "UTC",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": target,
        }

    def expression(self, due_at: int) -> str:
        """``at(...)`` for the first whole second that is not before ``due_at`` (ms) nor in the past."""
        soonest = self.clock.now() + int(SOONEST / timedelta(milliseconds=1))
        seconds = -(-max(due_at, soonest) // 1000)
        return f"at({datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S})"


def timeout_payload(timeout: Timeout) -> str:
    """What a schedule sends to the resume function."""
    return json.dumps(
        {
            "source": SOURCE,
            "event": "timeout",
            "instance_id": timeout.instance_id,
            "life": timeout.life,
            "step": timeout.step,
            "token": timeout.token,
            "due_at": timeout.due_at,
        }
    )


def read_timeout(payload: Mapping[str, Any]) -> Timeout:
    """What ``timeout_payload`` was given.

    Raises:
        BadRequest: it is not a payload of ours.
    """
    kinds = {"instance_id": str, "life": str, "step": str, "token": str, "due_at": int}
    if payload.get("source") != SOURCE or any(type(payload.get(key)) is not kind for key, kind in kinds.items()):
        message = f"not a timeout of Hephaestus: it needs source={SOURCE!r} and {', '.join(kinds)}"
        raise BadRequest(message)
    too_long = [key for key in ("life", "step", "token") if len(payload[key]) > MAX_NAME]
    too_large = [key for key in ("due_at",) if not 0 <= payload[key] < 10**MAX_DIGITS]
    if too_long or too_large:
        bounds = (
            f"texts have at most {MAX_NAME} characters, numbers are not negative and have at most {MAX_DIGITS} digits"
        )
        message = f"not a timeout of Hephaestus: {', '.join([*too_long, *too_large])} out of bounds: {bounds}"
        raise BadRequest(message)
    return Timeout(**{key: payload[key] for key in kinds})
