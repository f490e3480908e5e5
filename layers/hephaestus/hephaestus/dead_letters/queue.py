"""A dead-letter queue on SQS.

Limits, from the service's API reference: a batch has at most 10 messages (ReceiveMessage, DeleteMessageBatch,
ChangeMessageVisibilityBatch); a receive that waits asks all servers, so that only an empty queue answers with nothing.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hephaestus.adapters.message_attributes import of_message, packed
from hephaestus.adapters.session import LazyClient
from hephaestus.adapters.sqs import call

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BATCH: Final = 10
HIDDEN: Final = 300  # seconds that a letter is no one else's; if this process dies, it comes back then
PATIENCE: Final = 1  # seconds
TRUNCATED: Final = "IS_PAYLOAD_TRUNCATED"

_logger = logging.getLogger("hephaestus.dead_letters")


@dataclass(frozen=True, slots=True)
class Letter:
    """One message.

    Attributes:
        id: the message's id, the same whenever it is received.
        receipt: what it is deleted with.
        body: the text.
        truncated: whether Scheduler says that the body is not whole.
        attributes: all of them, as texts, with room for the letter's first id.
    """

    id: str
    receipt: str
    body: str
    truncated: bool = False
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeadLetterQueue:
    """A queue of dead letters.

    Attributes:
        url: the queue's URL.
        client: the service's client.
    """

    url: str
    client: LazyClient = field(default_factory=lambda: LazyClient("sqs"))

    def receive(self, most: int) -> Sequence[Letter]:
        """Up to ``most`` letters, at most ten, hidden from others for five minutes; none when the queue is empty.

        Raises:
            StoreUnavailable: SQS throttled or did not answer.
            EngineError: SQS rejected the request.
        """
        answer = self._call(
            "receive_message",
            MaxNumberOfMessages=min(most, BATCH),
            VisibilityTimeout=HIDDEN,
            WaitTimeSeconds=PATIENCE,
            MessageAttributeNames=["All"],
        )
        return [_letter(each) for each in answer.get("Messages", [])]

    def delete(self, letters: Sequence[Letter]) -> None:
        """Delete letters; one that SQS keeps comes back, and is sent once more.

        Raises:
            StoreUnavailable: SQS throttled or did not answer.
            EngineError: SQS rejected the request.
        """
        self._batches("delete_message_batch", letters)

    def release(self, letters: Sequence[Letter]) -> None:
        """Show letters to others at once.

        Raises:
            StoreUnavailable: SQS throttled or did not answer; they are shown when their time is over.
            EngineError: SQS rejected the request.
        """
        self._batches("change_message_visibility_batch", letters, VisibilityTimeout=0)

    def _batches(self, operation: str, letters: Sequence[Letter], **more: int) -> None:
        for start in range(0, len(letters), BATCH):
            entries = [
                {"Id": str(index), "ReceiptHandle": letter.receipt, **more}
                for index, letter in enumerate(letters[start : start + BATCH])
            ]
            failed = self._call(operation, Entries=entries).get("Failed", [])
            if failed:
                codes = ", ".join(sorted({str(each.get("Code")) for each in failed}))
                _logger.warning("%s: %d of %d letters were rejected (%s)", operation, len(failed), len(entries), codes)

    def _call(self, operation: str, **request: Any) -> Any:
        """An operation on the queue, its errors translated."""
        return call(self.client, self.url, operation, **request)


def _letter(message: Mapping[str, Any]) -> Letter:
    given = message.get("MessageAttributes", {})
    truncated = given.get(TRUNCATED, {}).get("StringValue") == "true"
    attributes = packed(of_message(given))
    return Letter(message["MessageId"], message["ReceiptHandle"], message["Body"], truncated, attributes)
