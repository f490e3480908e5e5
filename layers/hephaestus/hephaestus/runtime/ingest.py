"""Takes events from outside: reads what a message of the ingest queue holds, and does what workflows' triggers say.

An event is taken once however often it comes: what it starts and delivers has a request id made of the event's own
(DYNAMIC.md, H.1). No trigger keeps back what others say: its function runs contained, its answer's values are read so,
too, and every action is tried.

The forms of the events are those of the services' guides: EventBridge ("AWS service event structure"), S3 ("Event
message structure", and "Using EventBridge"), SNS ("HTTP/HTTPS notification JSON format", which queues get without raw
message delivery).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar
from urllib.parse import unquote_plus

from hephaestus.definition.containment import contain
from hephaestus.definition.incoming import EventBridgeEvent, QueueMessage, Resume, S3Event, SnsMessage, Start
from hephaestus.definition.raised import name_of
from hephaestus.definition.references import step_key
from hephaestus.definition.workflow import own_instance
from hephaestus.errors import BadRequest, CallerError, HephaestusError, InstanceNotFound, NotTaken, RetryLater
from hephaestus.runtime import commands
from hephaestus.runtime.caller import Caller
from hephaestus.runtime.dispatch import Enqueue
from hephaestus.runtime.error_text import failure
from hephaestus.runtime.read_as import read_as, wanted
from hephaestus.values.lazy_dataclass import dataclass
from hephaestus.values.scalars import clean_text, plain_name
from hephaestus.values.strict_json import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hephaestus.definition.incoming import Incoming, Trigger
    from hephaestus.definition.workflow import Workflow
    from hephaestus.runtime.commands import Command
    from hephaestus.runtime.runner import Runner

T = TypeVar("T")

MAX_SAID: Final = 10  # events of a message in a line of the log
MAX_REASON: Final = 1_000
MAX_NAME: Final = 200
REMOVED: Final = "ObjectRemoved"
SAME: Final = {"ObjectDeleted": REMOVED, "LifecycleExpiration": REMOVED}  # the first is EventBridge's name
MARKED: Final = "DeleteMarkerCreated"
NO_VERSION: Final = "null"  # of an object that was written while its bucket kept no versions: the next one has it, too

_logger = logging.getLogger("hephaestus.runtime.ingest")


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a message.

    Attributes:
        started: ids of the instances that it started, each once, also where an earlier delivery did.
        resumed: ids of the instances that got an event, each once.
        matched: how many triggers took it; 0 where no workflow has one for it.
        read_as: what each of its events was read as, in words.
    """

    started: tuple[str, ...]
    resumed: tuple[str, ...]
    matched: int
    read_as: tuple[str, ...] = ()


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
        Exception: what else keeps a part of it from being done now; try again. The rest is done.
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
        self.read_as: list[str] = []
        self.reasons: list[str] = []
        self.later: Exception | None = None

    def take(self, event: Incoming) -> None:
        """Do what every trigger says that takes it; a function that several of a workflow's share is asked once."""
        self.read_as.append(read_as(event))
        matched = [
            (flow, found) for flow in self.runner.registry if (found := [it for it in flow.triggers if it.takes(event)])
        ]
        if broken := self.runner.registry.unavailable():
            self.later = RetryLater(f"event {event.id}: {', '.join(broken)} cannot be loaded and may have a trigger")
        for flow, triggers in matched:
            self.matched += len(triggers)
            for place, trigger in enumerate({id(it.to): it for it in triggers}.values()):
                self.answer(flow, trigger, event, place)

    def answer(self, flow: type[Workflow], trigger: Trigger, event: Incoming, place: int) -> None:
        """Do all that one trigger says, whatever of it fails; ``place`` is the trigger's among those that take it."""
        where, before = f"workflow {flow.name}, {trigger!r}", Counter[tuple[str, ...]]()
        with self.noting(where):
            for asked in _asked(trigger, event):
                with self.noting(where):
                    command = _contained(
                        partial(self.command, flow, asked, event, place, before), "its answer", own=False
                    )
                    made = self.runner.do(command, dispatch=Enqueue())
                    (self.started if isinstance(command, commands.Start) else self.resumed).append(made)

    @contextlib.contextmanager
    def noting(self, where: str) -> Iterator[None]:
        """Note what fails: what can never be done by its reason, and of all that may be tried again the first."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - also after a defect the rest is done; it is raised in the end
            if isinstance(error, CallerError) and not isinstance(error, InstanceNotFound):
                self.reasons.append(f"{where}: {failure(error).message}")
            else:
                self.later = self.later or error

    def command(
        self, flow: type[Workflow], asked: Start | Resume, event: Incoming, place: int, before: Counter[tuple[str, ...]]
    ) -> Command:
        """What an answer asks for, with nothing in it that has code of its own but the start data's model.

        The request id says which of several alike it is, in the answer and among the triggers, and nothing else of the
        answer: so it is the same where the function lists them in another order the next time. Where an id can be
        started once, so can it by an event.
        """
        by = Caller(_printable(clean_text(f"{type(event).__name__} {event.id}", MAX_NAME)), "claim")
        value = plain_name(asked.value)
        key = str(value).removeprefix(f"{flow.business_key.name}::")
        if isinstance(asked, Start):
            each = flow.business_key.scope == "none"
            named: tuple[str, ...] = (str(place), str(_next(before, key))) if each else ()
            return commands.Start(
                workflow=flow.name,
                id=value,
                context={} if asked.context is None else asked.context,
                version=asked.version,
                tags=asked.tags,
                metadata=asked.metadata,
                start_id=_digest(event, *named),
                by=by,
            )
        step = None if asked.step is None else step_key(asked.step)
        what = (str(plain_name(asked.event)), "" if step is None else f"step {step}")
        named = (*what, str(place), str(_next(before, key, *what)))
        return commands.Deliver(
            instance_id=own_instance(flow, value, self.runner),
            event=asked.event,
            payload=asked.payload,
            step=step,
            event_id=_digest(event, *named),
            by=by,
        )

    def done(self) -> Ingested:
        """What became of it all.

        Raises:
            Exception: see ``ingest``. What may be tried again comes first: the rest comes with it then.
        """
        if self.later is not None:
            raise self.later
        if self.reasons:
            raise NotTaken(clean_text("; ".join(self.reasons), MAX_REASON))
        if self.read_as and not self.matched:
            said = "no trigger takes the message: read as %s; triggers: %s"
            _logger.info(said, "; ".join(self.read_as[:MAX_SAID]), wanted(self.runner.registry))
        started, resumed = (tuple(dict.fromkeys(ids)) for ids in (self.started, self.resumed))
        return Ingested(started, resumed, self.matched, tuple(self.read_as))


def events_in(body: str, message_id: str, attributes: Mapping[str, str]) -> list[Incoming]:
    """The events that a message holds: one, or those of a notification of S3."""
    try:
        said = read_json(body, "the message")
    except BadRequest:
        return [QueueMessage(message_id, body, attributes)]
    if isinstance(said, Mapping):
        if said.get("Type") == "Notification" and _has_texts(said, "MessageId", "TopicArn", "Message"):
            return _of_sns(said)
        if (found := _of_s3(said, message_id)) is not None:
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
    marked = str(detail.get("deletion-type", "")).replace(" ", "") == MARKED
    name = f"{event.detail_type}:{MARKED}" if marked else event.detail_type
    return [event, _object(event.detail_type, bucket["name"], thing["key"], thing, change=_change(name), when=event.id)]


def _of_s3(said: Mapping[str, Any], message_id: str) -> list[Incoming] | None:
    """The events of a notification of S3, ``None`` if it is none; the one that tests the queue has none."""
    if said.get("Event") == "s3:TestEvent" and said.get("Service") == "Amazon S3":
        return []
    records = said.get("Records")
    if not isinstance(records, list) or not records or not all(map(_is_s3_record, records)):
        return None
    found: list[Incoming] = []
    for place, record in enumerate(records):
        thing, name, answered = record["s3"]["object"], record["eventName"], record.get("responseElements")
        key = unquote_plus(thing["key"])  # as a form's: S3 writes a space as "+"
        request = answered.get("x-amz-request-id") if isinstance(answered, Mapping) else None
        parts = [it for it in (record.get("eventTime"), request) if isinstance(it, str) and it]
        when = "|".join(parts) or f"{message_id}|{place}"
        found.append(_object(name, record["s3"]["bucket"]["name"], key, thing, change=_change(name), when=when))
    return found


def _object(  # noqa: PLR0913 - of two forms of events
    name: str, bucket: str, key: str, thing: Mapping[str, Any], *, change: str, when: str
) -> S3Event:
    """A change of an object; S3's names of what it says, and EventBridge's, differ.

    A version is created once and removed once, and a sequencer is of one creation or removal of a key: these are the
    same event in every form. Anything else may happen to a version again, so its id says when, too.
    """
    given, sequencer = thing.get("versionId", thing.get("version-id")), _text(thing.get("sequencer"))
    version = given if isinstance(given, str) and given else None
    etag, size = thing.get("eTag", thing.get("etag")), thing.get("size")
    which = sequencer if version == NO_VERSION else version or sequencer
    if change and which:
        identity = f"{change}|{bucket}|{key}|{which}"
    else:
        identity = f"{name.replace(' ', '')}|{bucket}|{key}|{version or ''}|{sequencer}|{when}"
    return S3Event(
        identity,
        name,
        bucket,
        key,
        version,
        etag if isinstance(etag, str) else None,
        size if isinstance(size, int) else None,
    )


def _change(name: str) -> str:
    """A creation's or a removal's name in every form of its event; empty for any other change.

    The name differs for a delete marker and for the version that it marks, as the marker may be removed itself.
    """
    kind, _, how = name.replace(" ", "").partition(":")
    kind = SAME.get(kind, kind)
    if kind == REMOVED and how == MARKED:
        return f"{REMOVED}:{MARKED}"
    return kind if kind in ("ObjectCreated", REMOVED) else ""


def _of_sns(said: Mapping[str, Any]) -> list[Incoming]:
    """The message, or the events of S3 that it brings."""
    subject, given = said.get("Subject"), said.get("MessageAttributes")
    try:
        message = read_json(said["Message"], "the message")
    except BadRequest:
        message = said["Message"]
    about_s3 = _of_s3(message, said["MessageId"]) if isinstance(message, Mapping) else None
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

    def ask() -> Sequence[Start | Resume] | str:
        answer: Any = trigger.to(event)
        kind = type(answer)
        asked = [] if answer is None else [*answer] if kind is list or kind is tuple else [answer]
        strange = [name_of(type(each)) for each in asked if not issubclass(type(each), (Start, Resume))]
        return strange[0] if strange else asked

    found = _contained(ask, "its function")
    if isinstance(found, str):
        message = f"its function answered with {found}: return Start(...), Resume(...) or None"
        raise BadRequest(message)
    return found


def _contained(work: Callable[[], T], what: str, *, own: bool = True) -> T:
    """What ``work`` returns, which calls a user's code.

    Args:
        work: calls it.
        what: whose code it is, for the message.
        own: whether the engine's errors are that code's own, too.

    Raises:
        BadRequest: it raised, exits included.
        HephaestusError: the engine did.
    """

    def failed(error: BaseException) -> NoReturn:
        if not own and isinstance(error, HephaestusError):
            raise error
        known = failure(error)
        message = f"{what} raised {known.type}: {known.message}"
        raise BadRequest(message) from error

    return contain(work, failed)


def _next(before: Counter[tuple[str, ...]], *what: str) -> int:
    """How many of these there were before."""
    before[what] += 1
    return before[what] - 1


def _digest(event: Incoming, *more: str) -> str:
    """The event's id as that of a request: the same for a repeat, short, and of characters that an id may have."""
    kind = type(event).__name__
    named = "\x00".join((kind, event.id, *more))
    return f"{kind}-{hashlib.sha256(named.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def _printable(text: str) -> str:
    """``text`` as a caller's name may be: keys of objects may hold any character."""
    return text if text.isprintable() else "".join(it if it.isprintable() else "\ufffd" for it in text)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


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
