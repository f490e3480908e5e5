"""Takes events from outside: reads what a message of the ingest queue holds, and does what workflows' triggers say.

An event is taken once however often it comes: what it starts and delivers has the event's own id as its request's
(DYNAMIC.md, H.1). The forms of the events are those of the services' guides: EventBridge ("AWS service event
structure"), S3 ("Event message structure", and "Using EventBridge"), SNS ("HTTP/HTTPS notification JSON format", which
queues get without raw message delivery).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_plus

from hephaestus.definition.containment import contain
from hephaestus.definition.incoming import EventBridgeEvent, QueueMessage, Resume, S3Event, SnsMessage, Start
from hephaestus.definition.raised import name_of
from hephaestus.definition.workflow import own_instance
from hephaestus.errors import BadRequest, CallerError, HephaestusError, InstanceNotFound, NotTaken, RetryLater
from hephaestus.runtime.caller import Caller
from hephaestus.runtime.dispatch import Enqueue
from hephaestus.runtime.error_text import failure
from hephaestus.values.lazy_dataclass import dataclass
from hephaestus.values.scalars import clean_text
from hephaestus.values.strict_json import read_json

if TYPE_CHECKING:
    from hephaestus.definition.incoming import Incoming, Trigger
    from hephaestus.definition.workflow import Workflow
    from hephaestus.runtime.runner import Runner

MAX_REASON: Final = 1_000
MAX_NAME: Final = 200
SAME: Final = {"ObjectDeleted": "ObjectRemoved"}  # EventBridge's name of a change, and S3's


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a message.

    Attributes:
        started: ids of the instances that it started, also where an earlier delivery did.
        resumed: ids of the instances that got an event.
        matched: how many triggers took it; 0 where no workflow has one for it.
    """

    started: tuple[str, ...]
    resumed: tuple[str, ...]
    matched: int


def ingest(runner: Runner, body: str, message_id: str, attributes: Mapping[str, str]) -> Ingested:
    """Do what triggers say about the events in a message of the ingest queue; what follows is left to the work queue.

    Args:
        runner: does it, and knows the workflows.
        body: the message's text.
        message_id: the id of the message, where its text has no id of its own.
        attributes: the message's attributes, as texts.

    Raises:
        NotTaken: some of it can never be done; the rest is done.
        InstanceNotFound: an instance that is to be resumed is not there yet; try again. The rest is done.
        RetryLater, EngineError: it cannot be done now; try again. The rest is done.
    """
    taken = _Taken(runner)
    for event in events_in(body, message_id, attributes):
        taken.take(event)
    return taken.done()


class _Taken:
    """What becomes of the events of one message."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.started: list[str] = []
        self.resumed: list[str] = []
        self.matched = 0
        self.reasons: list[str] = []
        self.later: HephaestusError | None = None

    def take(self, event: Incoming) -> None:
        """Do what every trigger says that takes it."""
        matched = [(flow, it) for flow in self.runner.registry for it in flow.triggers if it.takes(event)]
        if broken := self.runner.registry.unavailable():
            self.later = RetryLater(f"event {event.id}: {', '.join(broken)} cannot be loaded and may have a trigger")
        self.matched += len(matched)
        for flow, trigger in matched:
            try:
                for asked in _asked(trigger, event):
                    self.do(flow, asked, event)
            except (InstanceNotFound, RetryLater) as error:
                self.later = error
            except CallerError as error:
                self.reasons.append(f"workflow {flow.name}, {trigger!r}: {error}")

    def do(self, flow: type[Workflow], asked: Start | Resume, event: Incoming) -> None:
        """Start or resume."""
        by = Caller(clean_text(f"{type(event).__name__} {event.id}", MAX_NAME), "claim")
        if isinstance(asked, Start):
            made = self.runner.start_instance(
                flow.name,
                {} if asked.context is None else asked.context,
                id=asked.value,
                version=asked.version,
                tags=asked.tags,
                telemetry_metadata=asked.metadata,
                start_id=_digest(event),
                by=by,
                dispatch=Enqueue(),
            )
            self.started.append(made)
            return
        instance_id = own_instance(flow, asked.value, self.runner)
        request_id = _digest(event, str(asked.event), str(asked.step))
        self.runner.resume(
            instance_id, asked.event, asked.payload, step=asked.step, event_id=request_id, by=by, dispatch=Enqueue()
        )
        self.resumed.append(instance_id)

    def done(self) -> Ingested:
        """What became of it all.

        Raises:
            NotTaken, HephaestusError: see ``ingest``. What may be tried again comes first: the rest comes with it then.
        """
        if self.later is not None:
            raise self.later
        if self.reasons:
            raise NotTaken(clean_text("; ".join(self.reasons), MAX_REASON))
        return Ingested(tuple(self.started), tuple(self.resumed), self.matched)


def events_in(body: str, message_id: str, attributes: Mapping[str, str]) -> list[Incoming]:
    """The events that a message holds: one, or those of a notification of S3."""
    try:
        said = read_json(body, "the message")
    except BadRequest:
        return [QueueMessage(message_id, body, attributes)]
    if isinstance(said, Mapping):
        if said.get("Type") == "Notification" and _has_texts(said, "MessageId", "TopicArn", "Message"):
            return _of_sns(said)
        if (found := _of_s3(said)) is not None:
            return found
        if _has_texts(said, "id", "source", "detail-type") and isinstance(said.get("detail"), Mapping):
            return _of_eventbridge(said)
    return [QueueMessage(message_id, said, attributes)]


def _of_eventbridge(said: Mapping[str, Any]) -> list[Incoming]:
    detail, resources = said["detail"], said.get("resources")
    texts = {name: said[name] if _has_texts(said, name) else "" for name in ("account", "region", "time")}
    event = EventBridgeEvent(
        said["id"],
        said["source"],
        said["detail-type"],
        detail,
        resources=tuple(map(str, resources)) if isinstance(resources, list) else (),
        **texts,
    )
    bucket, thing = detail.get("bucket"), detail.get("object")
    about_an_object = said["source"] == "aws.s3" and isinstance(bucket, Mapping) and isinstance(thing, Mapping)
    if not about_an_object or not _has_texts(bucket, "name") or not _has_texts(thing, "key"):
        return [event]
    return [event, _object(event.detail_type, bucket["name"], thing["key"], thing, event.id)]


def _of_s3(said: Mapping[str, Any]) -> list[Incoming] | None:
    """The events of a notification of S3, ``None`` if it is none; the one that tests the queue has none."""
    if said.get("Event") == "s3:TestEvent" and said.get("Service") == "Amazon S3":
        return []
    records = said.get("Records")
    if not isinstance(records, list) or not records or not all(map(_is_s3_record, records)):
        return None
    found: list[Incoming] = []
    for record in records:
        thing = record["s3"]["object"]
        key = unquote_plus(thing["key"])  # as a form's: S3 writes a space as "+"
        made = record.get("eventTime") or record.get("responseElements", {})
        found.append(_object(record["eventName"], record["s3"]["bucket"]["name"], key, thing, str(made)))
    return found


def _object(name: str, bucket: str, key: str, thing: Mapping[str, Any], otherwise: str) -> S3Event:
    """A change of an object; S3's names of what it says, and EventBridge's, differ."""
    given = thing.get("versionId", thing.get("version-id"))
    version = given if isinstance(given, str) and given else None
    etag, size = thing.get("eTag", thing.get("etag")), thing.get("size")
    which = version or thing.get("sequencer") or otherwise
    change = name.replace(" ", "").split(":")[0]
    return S3Event(
        f"{SAME.get(change, change)}|{bucket}|{key}|{which}",
        name,
        bucket,
        key,
        version,
        etag if isinstance(etag, str) else None,
        size if isinstance(size, int) else None,
    )


def _of_sns(said: Mapping[str, Any]) -> list[Incoming]:
    """The message, or the events of S3 that it brings."""
    subject, given = said.get("Subject"), said.get("MessageAttributes")
    try:
        message = read_json(said["Message"], "the message")
    except BadRequest:
        message = said["Message"]
    about_s3 = _of_s3(message) if isinstance(message, Mapping) else None
    attributes = {
        str(name): str(value.get("Value", ""))
        for name, value in (given if isinstance(given, Mapping) else {}).items()
        if isinstance(value, Mapping)
    }
    text = subject if isinstance(subject, str) else ""
    return [SnsMessage(said["MessageId"], said["TopicArn"], text, message, attributes), *(about_s3 or ())]


def _asked(trigger: Trigger, event: Incoming) -> Sequence[Start | Resume]:
    """What the trigger's function answers, as a list.

    Raises:
        BadRequest: it raises, exits included, or answers something else.
    """

    def failed(error: BaseException) -> Any:
        known = failure(error)
        message = f"its function raised {known.type}: {known.message}"
        raise BadRequest(message) from error

    answer = contain(lambda: trigger.to(event), failed)
    asked = [] if answer is None else answer if type(answer) in (list, tuple) else [answer]
    for each in asked:
        if not isinstance(each, (Start, Resume)):
            message = f"its function answered with {name_of(type(each))}: return Start(...), Resume(...) or None"
            raise BadRequest(message)
    return asked


def _digest(event: Incoming, *more: str) -> str:
    """The event's id as that of a request: the same for a repeat, short, and of characters that an id may have."""
    kind = type(event).__name__
    named = "\x00".join((kind, event.id, *more))
    return f"{kind}-{hashlib.sha256(named.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def _has_texts(said: Mapping[str, Any], *names: str) -> bool:
    return all(isinstance(said.get(name), str) and said[name] for name in names)


def _is_s3_record(record: object) -> bool:
    if not isinstance(record, Mapping) or record.get("eventSource") != "aws:s3" or not _has_texts(record, "eventName"):
        return False
    told = record.get("s3")
    if not isinstance(told, Mapping):
        return False
    bucket, thing = told.get("bucket"), told.get("object")
    if not (isinstance(bucket, Mapping) and isinstance(thing, Mapping)):
        return False
    return _has_texts(bucket, "name") and _has_texts(thing, "key")
