"""What a caller asks for, read from a JSON object: the body of an API request or the event of a direct invocation.

Members are checked for presence and type here, all mistakes reported together; what they *mean* is the runner's
business. Nothing here imports AWS, the HTTP layer or the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from hephaestus.definition.business_key import NAME, check_id
from hephaestus.definition.header import MAX_TAG_LENGTH, MAX_TAGS
from hephaestus.errors import BadRequest, UnknownWorkflow

if TYPE_CHECKING:
    from hephaestus.caller import Caller

MAX_NAME: Final = 128
MAX_REASON: Final = 1000
MAX_NUMBER: Final = 99_999_999  # log entries, generations and versions have no more digits than these
MAX_RESULTS: Final = 200  # steps that a fork gives other results
SHOWN: Final = 64

_JSON_NAMES: Final = {
    str: "a string",
    int: "a whole number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    object: "anything",
}


@dataclass(frozen=True, slots=True)
class Start:
    """Start an instance of ``workflow``; see ``Runner.start_instance``."""

    workflow: str
    id: str
    context: Mapping[str, Any] = field(default_factory=dict)
    version: int | None = None
    tags: Sequence[str] = ()
    metadata: Mapping[str, Any] | None = None
    start_id: str | None = None
    by: Caller | str | None = None


@dataclass(frozen=True, slots=True)
class Deliver:
    """Deliver an event to an instance; see ``Runner.resume``."""

    instance_id: str
    event: str
    payload: Any = None
    step: str | None = None
    event_id: str | None = None
    by: Caller | str | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """Cancel an instance; see ``Runner.cancel``."""

    instance_id: str
    reason: str = ""
    compensate: bool = False
    request_id: str | None = None
    by: Caller | str | None = None


@dataclass(frozen=True, slots=True)
class Steer:
    """Pause an instance, continue it, or redrive it; see ``Runner.pause``, ``unpause`` and ``redrive``."""

    instance_id: str
    reason: str = ""
    request_id: str | None = None
    by: Caller | str | None = None


@dataclass(frozen=True, slots=True)
class Fork:
    """Start a new instance from a point of another one's history; see ``Runner.fork``."""

    instance_id: str
    new_id: str
    at: int | None = None
    generation: int | None = None
    context: Mapping[str, Any] | None = None
    results: Mapping[str, Any] | None = None
    version: int | None = None
    start_id: str | None = None
    by: Caller | str | None = None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Say that whoever works for a waiting step is alive; see ``Runner.heartbeat``."""

    instance_id: str
    step: str | None = None
    by: Caller | str | None = None


@dataclass(frozen=True, slots=True)
class ScheduleResume:
    """Give a step a deadline from outside; see ``Runner.schedule_resume``, which judges ``delay_ms``."""

    instance_id: str
    step: str
    delay_ms: Any
    request_id: str | None = None
    by: Caller | str | None = None


Request = TypeVar("Request", Cancel, Steer)
Known: TypeAlias = "str | Caller | None"  # what does not come from the caller's JSON: of the path, of a header


def read_start(source: object, **known: Known) -> Start:
    """The start that ``source`` describes; ``known`` members come from elsewhere, as from the path.

    Raises:
        BadRequest: a member is missing, unknown or of the wrong type.
        UnknownWorkflow: no workflow can have that name.
    """
    required: dict[str, type[Any]] = {"workflow": str, "id": str}
    optional: dict[str, type[Any]] = {"context": dict, "version": int, "tags": list, "metadata": dict}
    optional |= {"start_id": str, "by": str}
    start = Start(**_members(source, known, required=required, optional=optional))
    if not NAME.fullmatch(start.workflow):
        message = f"there is no workflow {_shown(start.workflow)}"
        raise UnknownWorkflow(message)
    if len(start.tags) > MAX_TAGS or not all(
        isinstance(tag, str) and 1 <= len(tag) <= MAX_TAG_LENGTH for tag in start.tags
    ):
        message = f"'tags' must be at most {MAX_TAGS} strings of 1 to {MAX_TAG_LENGTH} characters"
        raise BadRequest(message)
    _check_number("version", start.version)
    _check_key("start_id", start.start_id)
    return start


def read_deliver(source: object, **known: Known) -> Deliver:
    """The event that ``source`` describes.

    Raises:
        BadRequest: a member is missing, unknown or of the wrong type, or the id is none.
    """
    optional: dict[str, type[Any]] = {"payload": object, "step": str, "event_id": str, "by": str}
    deliver = Deliver(**_members(source, known, required={"instance_id": str, "event": str}, optional=optional))
    check_id(deliver.instance_id)
    _check_name("event", deliver.event)
    _check_name("step", deliver.step)
    _check_key("event_id", deliver.event_id)
    return deliver


def read_cancel(source: object, **known: Known) -> Cancel:
    """The cancellation that ``source`` describes.

    Raises:
        BadRequest: a member is missing, unknown or of the wrong type, or the id is none.
    """
    return _read_request(Cancel, source, known, {"reason": str, "compensate": bool})


def read_steer(source: object, *, reason: bool, **known: Known) -> Steer:
    """The request that ``source`` describes; only some have a ``reason``.

    Raises:
        BadRequest: a member is missing, unknown or of the wrong type, or the id is none.
    """
    return _read_request(Steer, source, known, {"reason": str} if reason else {})


def read_fork(source: object, **known: Known) -> Fork:
    """The fork that ``source`` describes.

    Raises:
        BadRequest: a member is missing, unknown or of the wrong type, or the id is none.
    """
    required: dict[str, type[Any]] = {"instance_id": str, "new_id": str}
    numbers: dict[str, type[Any]] = {"at": int, "generation": int, "version": int}
    optional: dict[str, type[Any]] = {**numbers, "context": dict, "results": dict, "start_id": str, "by": str}
    fork = Fork(**_members(source, known, required=required, optional=optional))
    check_id(fork.instance_id)
    for name in numbers:
        _check_number(name, getattr(fork, name))
    if len(fork.results or ()) > MAX_RESULTS:
        message = f"'results' must name at most {MAX_RESULTS} steps"
        raise BadRequest(message)
    for step in fork.results or ():
        _check_name("results", step)
    _check_key("start_id", fork.start_id)
    return fork


def read_heartbeat(source: object, **known: Known) -> Heartbeat:
    """The heartbeat that ``source`` describes.

    Raises:
        BadRequest: a member is missing, unknown or of the wrong type, or the id is none.
    """
    call = Heartbeat(**_members(source, known, required={"instance_id": str}, optional={"step": str, "by": str}))
    check_id(call.instance_id)
    _check_name("step", call.step)
    return call


def read_schedule_resume(source: object) -> ScheduleResume:
    """The deadline that ``source`` asks for.

    Raises:
        BadRequest: a member is missing, unknown or of the wrong type, or the id is none.
    """
    required: dict[str, type[Any]] = {"instance_id": str, "step": str, "delay_ms": object}
    optional: dict[str, type[Any]] = {"request_id": str, "by": str}
    call = ScheduleResume(**_members(source, {}, required=required, optional=optional))
    check_id(call.instance_id)
    _check_name("step", call.step)
    _check_key("request_id", call.request_id)
    return call


def _read_request(
    kind: type[Request], source: object, known: Mapping[str, Known], optional: Mapping[str, type[Any]]
) -> Request:
    members = _members(
        source, known, required={"instance_id": str}, optional={**optional, "request_id": str, "by": str}
    )
    request = kind(**members)
    check_id(request.instance_id)
    if len(request.reason) > MAX_REASON:
        message = f"'reason' is longer than {MAX_REASON} characters"
        raise BadRequest(message)
    if any("\ud800" <= letter <= "\udfff" for letter in request.reason):
        message = "'reason' is a text with half a surrogate pair, which UTF-8 cannot hold"
        raise BadRequest(message)
    _check_key("request_id", request.request_id)
    return request


def _members(
    source: object,
    known: Mapping[str, Known],
    *,
    required: Mapping[str, type[Any]],
    optional: Mapping[str, type[Any]],
) -> dict[str, Any]:
    """The members of ``source`` and ``known`` that are not null, each of its type.

    ``action`` is the direct invocation's own member: it chose what to read, and is left out.
    """
    if not isinstance(source, Mapping):
        message = "a JSON object is needed, as {...}"
        raise BadRequest(message)
    expected = {**required, **optional}
    given = {
        name: _whole(value) if expected.get(name) is int else value
        for name, value in source.items()
        if value is not None and name != "action"
    }
    problems = [f"{_shown(name)} is not known" for name in given if name not in expected or name in known]
    given.update({name: value for name, value in known.items() if value is not None})
    problems += [f"{name!r} is missing" for name in required if name not in given]
    problems += [
        f"{name!r} must be {_JSON_NAMES[kind]}"
        for name, kind in expected.items()
        if name in given and name not in known and not _fits(given[name], kind)
    ]
    if problems:
        names = ", ".join(name for name in expected if name not in known)
        message = f"the request is malformed: {'; '.join(problems[:10])}. Its members are: {names}"
        raise BadRequest(message)
    return given


def _fits(value: object, kind: type[Any]) -> bool:
    """Whether ``value`` is of a type, where ``True`` is no whole number."""
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _whole(value: Any) -> Any:
    """``1.0`` as the whole number that it is in JSON."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _check_name(member: str, name: str | None) -> None:
    if name is not None and not 1 <= len(name) <= MAX_NAME:
        message = f"{member!r} must be 1 to {MAX_NAME} characters"
        raise BadRequest(message)


def _check_number(member: str, number: int | None) -> None:
    if number is not None and not 1 <= number <= MAX_NUMBER:
        message = f"{member!r} must be a whole number from 1 to {MAX_NUMBER}"
        raise BadRequest(message)


def _check_key(member: str, key: str | None) -> None:
    if key is not None and not (1 <= len(key) <= MAX_NAME and all("!" <= letter <= "~" for letter in key)):
        message = f"{member!r} must be 1 to {MAX_NAME} visible ASCII characters"
        raise BadRequest(message)


def _shown(name: object) -> str:
    shown = repr(name)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
