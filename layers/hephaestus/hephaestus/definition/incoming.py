"""Triggers: which events from outside start or resume a workflow's instances.

An event reaches a workflow through the stack's ingest queue. ``hephaestus.triggers`` is where users import from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hephaestus.definition.durations import shown
from hephaestus.definition.signatures import call_problem
from hephaestus.errors import Problem
from hephaestus.values.lazy_dataclass import dataclass
from hephaestus.values.scalars import plain_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hephaestus.definition.references import StepRef
    from hephaestus.definition.workflow import Workflow
    from hephaestus.values.foreign import Model

MAX_TRIGGERS: Final = 100


@dataclass(frozen=True, slots=True)
class EventBridgeEvent:
    """An event of an EventBridge bus.

    Attributes:
        id: the event's id, the same however often it is delivered.
        source: who sent it, as ``com.example.shop``.
        detail_type: its kind, as ``OrderPlaced``.
        detail: what it says: a JSON object.
        account: the AWS account it is from.
        region: the AWS region it is from.
        time: when it happened, as ISO 8601 text.
        resources: ARNs of what it is about.
    """

    id: str
    source: str
    detail_type: str
    detail: Mapping[str, Any]
    account: str = ""
    region: str = ""
    time: str = ""
    resources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class S3Event:
    """A change of an object in S3, as a notification or an event of EventBridge reports it.

    Attributes:
        id: the same whenever the event comes again. That of a creation or removal is made of bucket, key, and version
            or sequencer, and the same in every form; that of another change also of what it is, and when.
        name: what happened, as ``ObjectCreated:Put``, or EventBridge's ``Object Created``.
        bucket: the bucket's name.
        key: the object's key, decoded.
        version: the object's version, where the bucket keeps versions.
        etag: the object's ETag, where the event has it.
        size: in bytes, where the event has it.
    """

    id: str
    name: str
    bucket: str
    key: str
    version: str | None = None
    etag: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class SnsMessage:
    """A message of an SNS topic.

    Attributes:
        id: the message's id, the same however often it is delivered.
        topic: the topic's ARN.
        subject: its subject; ``""`` without one.
        message: what it says: the JSON value that it is, or else the text.
        attributes: its attributes, as texts.
    """

    id: str
    topic: str
    subject: str
    message: Any
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """A message that was sent to the ingest queue itself.

    Attributes:
        id: the message's id, the same however often it is delivered.
        body: what it says: the JSON value that it is, or else the text.
        attributes: its attributes, as texts.
    """

    id: str
    body: Any
    attributes: Mapping[str, str]


Incoming: TypeAlias = EventBridgeEvent | S3Event | SnsMessage | QueueMessage


class Start:
    """Have an instance started.

    Args:
        value: the business key's value.
        context: the start data.
        version: another version than the current one.
        tags: added to the workflow's own.
        metadata: added to the workflow's own.
    """

    __slots__ = ("context", "metadata", "tags", "value", "version")

    def __init__(
        self,
        value: str,
        context: Mapping[str, Any] | Model | None = None,
        *,
        version: int | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | Model | None = None,
    ) -> None:
        self.value = value
        self.context = context
        self.version = version
        self.tags = tags
        self.metadata = metadata


class Resume:
    """Have an event delivered to an instance; until there is one, it is tried again.

    Args:
        value: the business key's value, or the instance's whole id.
        event: the event's name.
        payload: any JSON; it becomes the results of the step that takes the event.
        step: the step that is meant, where several could take it.
    """

    __slots__ = ("event", "payload", "step", "value")

    def __init__(self, value: str, event: str, payload: Any = None, *, step: StepRef | None = None) -> None:
        self.value = value
        self.event = event
        self.payload = payload
        self.step = step


Answer: TypeAlias = "Start | Resume | Sequence[Start | Resume] | None"


ON: Final[Mapping[type, str]] = {
    EventBridgeEvent: "eventbridge",
    S3Event: "s3",
    SnsMessage: "sns",
    QueueMessage: "message",
}


class Trigger:
    """What ``On`` makes: which events are meant, and the function that says what each is to do."""

    __slots__ = ("called", "kind", "only", "prefix", "suffix", "to")

    def __init__(
        self, kind: type[Incoming], to: Callable[[Any], Answer], only: Mapping[str, Any], prefix: str, suffix: str
    ) -> None:
        self.kind = kind
        self.to = to
        self.only = {name: _plain(value) for name, value in only.items() if value is not None}
        self.prefix = plain_name(prefix)
        self.suffix = plain_name(suffix)
        self.called = str(getattr(to, "__name__", ""))

    def takes(self, event: Incoming) -> bool:
        """Whether the event is meant."""
        if type(event) is not self.kind:
            return False
        if any(getattr(event, name) not in _several(wanted) for name, wanted in self.only.items()):
            return False
        return not isinstance(event, S3Event) or (event.key.startswith(self.prefix) and event.key.endswith(self.suffix))

    def wrong(self) -> Iterator[tuple[str, str]]:
        """What is wrong with it, and the fix."""
        if problem := call_problem(self.to, "event", coroutines=False):
            yield (f"to {problem}", "Give a function of one event that returns Start(...), Resume(...) or None")
        for name, value in (*self.only.items(), ("prefix", self.prefix), ("suffix", self.suffix)):
            texts = _several(value) if name in self.only else (value,)
            if not texts or not all(isinstance(text, str) for text in texts):
                yield (
                    f"{name} is {shown(value)}",
                    "Give a text" + (" or a list of texts" if name in self.only else ""),
                )

    def described(self) -> dict[str, Any]:
        """Which events it takes, and its function's name, in JSON's own types."""
        only = {name: list(_several(value)) for name, value in self.only.items()}
        ends = {name: text for name, text in (("prefix", self.prefix), ("suffix", self.suffix)) if text}
        return {"on": ON[self.kind], "to": self.called, **only, **ends}

    def __repr__(self) -> str:
        """As ``On`` is called."""
        how = ON[self.kind]
        given = {**self.only, "prefix": self.prefix, "suffix": self.suffix}
        shown_given = ", ".join(f"{name}={value!r}" for name, value in given.items() if value)
        return f"On.{how}({self.called or '...'}{', ' if shown_given else ''}{shown_given})"


class On:
    """Triggers of a workflow: ``triggers = [On.s3(to, bucket="inbox", prefix="orders/")]``.

    ``to`` is called with the event and says what it is to do: ``Start(...)``, ``Resume(...)``, a list of these, or
    ``None``. It may be called more than once for an event, and must then answer alike: what it asks for happens once.
    """

    @staticmethod
    def eventbridge(
        to: Callable[[EventBridgeEvent], Answer],
        *,
        source: str | Sequence[str] | None = None,
        detail_type: str | Sequence[str] | None = None,
    ) -> Trigger:
        """On events of EventBridge.

        Args:
            to: what an event is to do.
            source: only events of this source, or of one of these.
            detail_type: only events of this kind, or of one of these.
        """
        return Trigger(EventBridgeEvent, to, {"source": source, "detail_type": detail_type}, "", "")

    @staticmethod
    def s3(
        to: Callable[[S3Event], Answer],
        *,
        bucket: str | Sequence[str] | None = None,
        prefix: str = "",
        suffix: str = "",
    ) -> Trigger:
        """On changes of objects in S3, whether the bucket notifies the queue, a topic or EventBridge.

        Args:
            to: what an event is to do.
            bucket: only of this bucket, or of one of these.
            prefix: only of objects whose keys begin so.
            suffix: only of objects whose keys end so.
        """
        return Trigger(S3Event, to, {"bucket": bucket}, prefix, suffix)

    @staticmethod
    def sns(to: Callable[[SnsMessage], Answer], *, topic: str | Sequence[str] | None = None) -> Trigger:
        """On messages of SNS.

        Args:
            to: what a message is to do.
            topic: only of the topic with this ARN, or of one of these.
        """
        return Trigger(SnsMessage, to, {"topic": topic}, "", "")

    @staticmethod
    def message(to: Callable[[QueueMessage], Answer]) -> Trigger:
        """On messages that are sent to the ingest queue itself.

        Args:
            to: what a message is to do.
        """
        return Trigger(QueueMessage, to, {}, "", "")


def read_triggers(workflow: type[Workflow], given: object) -> tuple[tuple[Trigger, ...], list[Problem]]:
    """A workflow's triggers as its class has them, and what is wrong with them."""
    name, usage = workflow.__name__, "Write triggers = [On.eventbridge(to, source=...), ...]"
    if not isinstance(given, (list, tuple)):
        return (), [Problem(name, f"its triggers are {shown(given)}", usage)]
    if len(given) > MAX_TRIGGERS:
        return (), [Problem(name, f"has {len(given)} triggers", f"Leave at most {MAX_TRIGGERS}")]
    problems = []
    for place, each in enumerate(given):
        if not isinstance(each, Trigger):
            problems.append(Problem(name, f"trigger {place} is {shown(each)}", usage))
        else:
            problems += [Problem(name, f"trigger {place}: {problem}", fix) for problem, fix in each.wrong()]
    return tuple(given), problems


def _plain(value: Any) -> Any:
    """Texts as plain ones: while events are taken, none of a subclass' code is called."""
    return (
        [plain_name(text) for text in value] if isinstance(value, (list, tuple, set, frozenset)) else plain_name(value)
    )


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,)
