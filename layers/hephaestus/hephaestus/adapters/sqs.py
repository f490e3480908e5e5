"""The work queue on SQS, a standard queue.

Limits, from the service's API reference: a message's delay is at most 15 minutes (SendMessage: DelaySeconds); a batch
has at most 10 messages (SendMessageBatch), of which some may be rejected. On a standard queue, a message's group
(MessageGroupId, up to 128 letters, digits and punctuation) orders nothing: it makes the queue a fair one, in which the
messages of a group that has many do not keep those of others waiting (Developer Guide, "Amazon SQS fair queues").
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from hephaestus.adapters.aws_errors import translate
from hephaestus.adapters.scheduler import read_timeout, timeout_payload
from hephaestus.adapters.session import LazyClient
from hephaestus.errors import BadRequest, HephaestusError, StoreUnavailable
from hephaestus.runtime.names import is_bulk
from hephaestus.store.keys import is_alarm_key
from hephaestus.store.overdue import Wakeup
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hephaestus.runtime.ports import Timeout
    from hephaestus.runtime.status_events import StatusEvent

SOURCE: Final = "hephaestus.queue"
LONGEST_DELAY: Final = 900
BATCH: Final = 10
BATCH_TRIES: Final = 2  # of what a batch did not take
SILENT_BATCHES: Final = 2  # so many without an answer, one after the other: the service is in trouble
MAX_GROUP: Final = 128
MOST_ALARMS: Final = 1_000  # of a message; a message has at most 256 KB
WAITING: Final = "ApproximateNumberOfMessages"
SERVICE: Final = "SQS"
UNSENT: Final = {0xFFFE: "\ufffd", 0xFFFF: "\ufffd"}

_logger = logging.getLogger("hephaestus.sqs")


@dataclass(frozen=True, slots=True)
class SqsQueue:
    """A ``WorkQueue`` on SQS.

    Attributes:
        url: the queue's URL.
        client: the service's client.
        bulk_url: the URL of the queue for messages about instances of maps' trees; by default they go with all others.
    """

    url: str
    client: LazyClient = field(default_factory=lambda: LazyClient("sqs"))
    bulk_url: str | None = None

    def wake(self, instance_id: str, delay_ms: int = 0) -> None:
        """Send a message that has the instance continued after a delay, rounded up to whole seconds.

        Raises:
            ValueError: the delay is negative or longer than 15 minutes.
            StoreUnavailable: SQS throttled or did not answer.
            EngineError: SQS rejected the request.
        """
        seconds = -(-delay_ms // 1000)
        if not 0 <= seconds <= LONGEST_DELAY:
            message = f"a message can be delayed by 0 to {LONGEST_DELAY} s, not by {seconds} s"
            raise ValueError(message)
        self._send(wake_message(instance_id), instance_id, DelaySeconds=seconds)

    def wake_many(self, wakeups: Sequence[Wakeup]) -> Sequence[str]:
        """Send a message for each instance, ten a request; return the ids whose messages were accepted.

        A batch that fails does not keep the others back; when several fail in a row, the rest is not tried. Those of
        maps' trees come last.

        Raises:
            StoreUnavailable, EngineError: none was accepted, and this is why.
        """
        accepted: list[str] = []
        failures: list[HephaestusError] = []
        for url, batch in self._batches(wakeups):
            try:
                accepted += self._send_batch(url, batch)
                failures.clear()
            except HephaestusError as error:
                failures.append(error)
                _logger.warning("a batch of messages was not sent: %s", error)
                if len(failures) == SILENT_BATCHES:
                    break
        if failures and not accepted:
            raise failures[-1]
        return accepted

    def remove_schedule(self, timeout: Timeout) -> None:
        """Send a message that has a schedule removed.

        Raises:
            StoreUnavailable: SQS throttled or did not answer.
            EngineError: SQS rejected the request.
        """
        self._send(removal_message(timeout), timeout.instance_id)

    def publish_later(self, event: StatusEvent) -> None:
        """Send a message that has a status event published.

        Raises:
            StoreUnavailable: SQS throttled or did not answer.
            EngineError: SQS rejected the request.
        """
        self._send(status_message(event), event.instance_id)

    def depth(self, *, bulk: bool = False) -> int:
        """About how many messages wait to be taken (GetQueueAttributes); the number lags by up to a minute.

        Where there is one queue for all, it is that one's in either case.

        Raises:
            StoreUnavailable: SQS throttled or did not answer.
            EngineError: SQS rejected the request.
        """
        url = (self.bulk_url or self.url) if bulk else self.url
        return int(call(self.client, url, "get_queue_attributes", AttributeNames=[WAITING])["Attributes"][WAITING])

    def url_of(self, instance_id: str) -> str:
        """The URL of the queue that takes an instance's messages."""
        return self.bulk_url if self.bulk_url is not None and is_bulk(instance_id) else self.url

    def _batches(self, wakeups: Sequence[Wakeup]) -> Iterator[tuple[str, Sequence[Wakeup]]]:
        """Batches of one queue each, with its URL."""
        for url in dict.fromkeys((self.url, self.bulk_url or self.url)):
            own = [wakeup for wakeup in wakeups if self.url_of(wakeup.instance_id) == url]
            for start in range(0, len(own), BATCH):
                yield url, own[start : start + BATCH]

    def _send_batch(self, url: str, wakeups: Sequence[Wakeup]) -> list[str]:
        """The ids whose messages were accepted; what is rejected is sent once more.

        Raises:
            StoreUnavailable, EngineError: none was accepted.
        """
        left = list(wakeups)
        refusal = ""
        for _ in range(BATCH_TRIES):
            entries = [
                {
                    "Id": str(index),
                    "MessageBody": wake_message(each.instance_id, each.alarms),
                    "MessageGroupId": group_of(each.instance_id),
                }
                for index, each in enumerate(left)
            ]
            answer = call(self.client, url, "send_message_batch", Entries=entries)
            failed = {int(each["Id"]): each for each in answer.get("Failed", [])}
            left = [wakeup for index, wakeup in enumerate(left) if index in failed]
            if not left:
                return [wakeup.instance_id for wakeup in wakeups]
            refusal = ", ".join(sorted({str(each.get("Code")) for each in failed.values()}))
        _logger.warning("%d messages of a batch were rejected (%s)", len(left), refusal)
        if len(left) == len(wakeups):
            message = f"SQS took no message of a batch ({refusal}); nothing is lost, try again"
            raise StoreUnavailable(message)
        rejected = {wakeup.instance_id for wakeup in left}
        return [wakeup.instance_id for wakeup in wakeups if wakeup.instance_id not in rejected]

    def _send(self, body: str, instance_id: str, **more: Any) -> None:
        """Send a message about an instance, in the group of its workflow."""
        url, group = self.url_of(instance_id), group_of(instance_id)
        call(self.client, url, "send_message", MessageBody=body, MessageGroupId=group, **more)


@dataclass(frozen=True, slots=True)
class SqsMessages:
    """A queue that takes messages with attributes: that of events from outside, and its dead letters.

    Attributes:
        url: the queue's URL.
        client: the service's client.
    """

    url: str
    client: LazyClient = field(default_factory=lambda: LazyClient("sqs"))

    def send(self, body: str, attributes: Mapping[str, str]) -> None:
        """Send a message, with at most ten attributes that are texts.

        Empty ones are left out, and the two characters that Unicode keeps for itself and SQS rejects are replaced.

        Raises:
            StoreUnavailable: SQS throttled or did not answer.
            EngineError: SQS rejected the request.
        """
        texts = {
            name: {"DataType": "String", "StringValue": value.translate(UNSENT)}
            for name, value in attributes.items()
            if value
        }
        call(self.client, self.url, "send_message", MessageBody=body or "-", MessageAttributes=texts)


def call(client: LazyClient, url: str, operation: str, **request: Any) -> Any:
    """What an operation on a queue answers.

    Raises:
        StoreUnavailable: SQS throttled or did not answer.
        EngineError: SQS rejected the request.
    """
    try:
        return getattr(client.get(), operation)(QueueUrl=url, **request)
    except (BotoCoreError, ClientError) as error:
        raise translate(error, SERVICE) from error


def group_of(instance_id: str) -> str:
    """The group of an instance's messages: its business key's name, which belongs to one workflow.

    Workflows that share a key (``scope="global"``) share a group. The sweep and a redrive know an instance by its id
    alone, so the group is made from that.
    """
    return re.sub(r"[^0-9A-Za-z_-]", "-", instance_id.partition("::")[0])[:MAX_GROUP] or "-"


def wake_message(instance_id: str, alarms: Sequence[str] = ()) -> str:
    """What a message says that has an instance continued; ``alarms`` are keys of entries and mail that showed one."""
    shown = {"alarms": list(alarms[:MOST_ALARMS])} if alarms else {}
    return json.dumps({"source": SOURCE, "instance_id": instance_id, **shown})


def removal_message(timeout: Timeout) -> str:
    """What a message says that has a schedule removed: what that schedule carries."""
    return json.dumps({"source": SOURCE, "remove_schedule": json.loads(timeout_payload(timeout))})


def status_message(event: StatusEvent) -> str:
    """What a message says that has a status event published."""
    return json.dumps({"source": SOURCE, "status_event": event.detail})


def read_message(message: Mapping[str, Any]) -> Wakeup | Timeout | StatusEvent:
    """The instance that is to be continued, the timeout whose schedule is to be removed, or the event to be published.

    Raises:
        BadRequest: it is not a message of ours.
    """
    if message.get("source") == SOURCE and message.keys() == {"source", "status_event"}:
        from hephaestus.runtime.status_events import read_status_event  # noqa: PLC0415 - few messages have one

        return read_status_event(message["status_event"])
    if message.get("source") != SOURCE or "remove_schedule" not in message:
        return read_wake_message(message)
    removal = message["remove_schedule"]
    if not isinstance(removal, dict) or "instance_id" in message:
        text = "not a message of Hephaestus: remove_schedule must be a timeout, and nothing else be asked for"
        raise BadRequest(text)
    return read_timeout(removal)


def read_wake_message(message: Mapping[str, Any]) -> Wakeup:
    """The instance that a message has continued.

    Raises:
        BadRequest: it is not a message of ours.
    """
    instance_id = message.get("instance_id")
    if message.get("source") != SOURCE or not isinstance(instance_id, str):
        text = f"not a message of Hephaestus: it needs source={SOURCE!r} and an instance_id"
        raise BadRequest(text)
    alarms = message.get("alarms", [])
    if not isinstance(alarms, list) or not all(isinstance(key, str) and is_alarm_key(key) for key in alarms):
        text = "not a message of Hephaestus: alarms must be the keys of log entries or mail"
        raise BadRequest(text)
    return Wakeup(instance_id, 0, tuple(alarms))
