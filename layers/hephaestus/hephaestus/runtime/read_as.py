"""What an event from outside was read as, in words: for its sender, who sees that no trigger took it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.incoming import EventBridgeEvent, QueueMessage, S3Event, SnsMessage

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hephaestus.definition.incoming import Incoming
    from hephaestus.definition.workflow import Workflow

LENGTH: Final = 200  # characters shown of a name
TRIGGERS: Final = 10  # shown
# A service's form: what tells it, and what an event of it has.
FORMS: Final[tuple[tuple[str, frozenset[str], Mapping[str, type]], ...]] = (
    (
        "an EventBridge event",
        frozenset({"detail-type", "source"}),
        {"id": str, "source": str, "detail-type": str, "detail": Mapping},
    ),
    (
        "an SNS message",
        frozenset({"TopicArn", "Message"}),
        {"Type": str, "MessageId": str, "TopicArn": str, "Message": str},
    ),
)


def read_as(event: Incoming) -> str:
    """An event's kind, and what triggers choose it by; of a plain message also which service's form it nearly has."""
    if isinstance(event, S3Event):
        return f"S3 event {_shown(event.name)}, bucket {_shown(event.bucket)}, key {_shown(event.key)}"
    if isinstance(event, EventBridgeEvent):
        return f"EventBridge event, source {_shown(event.source)}, detail type {_shown(event.detail_type)}"
    if isinstance(event, SnsMessage):
        return f"SNS message, topic {_shown(event.topic)}"
    return f"plain message{_nearly(event)}"


def wanted(flows: Iterable[type[Workflow]]) -> str:
    """The triggers that there are."""
    every = [f"{flow.name}: {trigger!r}"[:LENGTH] for flow in flows for trigger in flow.triggers]
    more = f" and {len(every) - TRIGGERS} more" if len(every) > TRIGGERS else ""
    return f"{'; '.join(every[:TRIGGERS])}{more}" if every else "none"


def _nearly(message: QueueMessage) -> str:
    """What a message lacks to be an event of a service, where it has the marks of one."""
    body = message.body
    if not isinstance(body, Mapping):
        return ""
    for form, marks, members in FORMS:
        lacks = [name for name, kind in members.items() if not isinstance(body.get(name), kind) or body[name] == ""]
        if marks <= body.keys() and lacks:
            return f" ({form} has {', '.join(lacks)}, too)"
    if isinstance(body.get("Records"), list) and any(map(_of_s3, body["Records"])):
        return " (each record of S3 has eventName, s3.bucket.name and s3.object.key)"
    return ""


def _of_s3(record: Any) -> bool:
    return isinstance(record, Mapping) and record.get("eventSource") == "aws:s3"


def _shown(text: str) -> str:
    return repr(text[:LENGTH])
