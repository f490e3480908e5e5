"""The work queue on SQS: a standard queue; a message's delay is at most 15 minutes (SendMessage: DelaySeconds)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from hephaestus.adapters.aws_errors import translate
from hephaestus.adapters.session import LazyClient
from hephaestus.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.runtime.ports import Timeout

SOURCE: Final = "hephaestus.queue"
LONGEST_DELAY: Final = 900
SERVICE: Final = "SQS"


@dataclass(frozen=True, slots=True)
class SqsQueue:
    """A ``WorkQueue`` on SQS.

    Attributes:
        url: the queue's URL.
        client: the service's client.
    """

    url: str
    client: LazyClient = field(default_factory=lambda: LazyClient("sqs"))

    def wake(self, instance_id: str, delay_ms: int = 0) -> None:
        """Send a message that has the instance continued after a delay, rounded up to whole seconds.

        Raises:
            ValueError: the delay is negative or longer than 15 minutes.
            StoreUnavailable: SQS throttled or did not answer.
            EngineError: SQS refused the request.
        """
        seconds = -(-delay_ms // 1000)
        if not 0 <= seconds <= LONGEST_DELAY:
            message = f"a message can be delayed by 0 to {LONGEST_DELAY} s, not by {seconds} s"
            raise ValueError(message)
        client = self.client.get()
        try:
            client.send_message(QueueUrl=self.url, MessageBody=wake_message(instance_id), DelaySeconds=seconds)
        except (BotoCoreError, ClientError) as error:
            raise translate(error, SERVICE) from error

    def remove_schedule(self, timeout: Timeout) -> None:
        """Send a message that has the schedule of ``timeout`` removed.

        Raises:
            StoreUnavailable: SQS throttled or did not answer.
            EngineError: SQS refused the request.
        """
        try:
            self.client.get().send_message(QueueUrl=self.url, MessageBody=removal_message(timeout))
        except (BotoCoreError, ClientError) as error:
            raise translate(error, SERVICE) from error


def removal_message(timeout: Timeout) -> str:
    """What such a message says."""
    return json.dumps({"source": SOURCE, "remove_schedule": asdict(timeout)})


def wake_message(instance_id: str) -> str:
    """What a message says."""
    return json.dumps({"source": SOURCE, "instance_id": instance_id})


def read_wake_message(message: Mapping[str, Any]) -> str:
    """The instance that a message is about.

    Raises:
        BadRequest: it is not a message of ours.
    """
    instance_id = message.get("instance_id")
    if message.get("source") != SOURCE or not isinstance(instance_id, str):
        text = f"not a message of Hephaestus: it needs source={SOURCE!r} and an instance_id"
        raise BadRequest(text)
    return instance_id
