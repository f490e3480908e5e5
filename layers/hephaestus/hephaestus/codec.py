"""Log entries and snapshots as bytes, and back.

An event becomes ``[name, {field: value}]`` with the fields that hold their default left out, so that a new field with
a default reads old logs. The bytes start with one marker: ``J`` for plain JSON, ``Z`` for JSON deflated with
the dictionary below (a quarter smaller, so that the head of an instance with ten small steps costs one write unit).
"""

from __future__ import annotations

import zlib
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine import events as ev
from hephaestus.engine.state import Compensation, Received, State, StepState, Timer
from hephaestus.errors import CorruptLog, PayloadTooLarge
from hephaestus.values import adopt, from_json, to_json
from hephaestus.weight import MAX_HELD

if TYPE_CHECKING:
    from collections.abc import Mapping

COMPRESS_ABOVE: Final = 512
# Of JSON. An instance holds MAX_HELD of values, or twice as much where an event and a result came in at once, each with
# the room that was left; the rest is for everything else. So nothing that was acknowledged is too large to be read.
MAX_INFLATED: Final = 2 * MAX_HELD + 16 * 1024 * 1024
SCHEMA: Final = 1
# What the bytes of snapshots and entries have in common. It is part of the format: a change needs a new marker.
_DICTIONARY: Final = (
    b'"payload":null,"event_id":"","digest":"","request_id":"","by":"","by_source":"claim","inbox":{"timers":[{"token":"","due_at":17,"emits":"timeout","scheduled":true}],'
    b'"cancel":{"reason":"","error":{"type":"","message":"","trace":"","parked":"","retry_at":17,"failed","skipped",'
    b'"retrying","waiting","running","owner":"","lease_until":17,"wake_at":17,"metadata":{"links":["","requests":["","timers_set":1'
    b'["StepsSkipped",{"steps":["StepFailed",{"StepWaiting",{"Suspended",{"InstanceFinished",{"status":"Claimed",{'
    b'["InstanceStarted",{"initial":{"tags":["start_id":"["StepCompleted",{"step":"'
    b'{"instance_id":"","generation":1,"workflow":"","version":1,"status":"completed","sequence":1,"created_at":17,'
    b'"updated_at":17,"steps":{"":{"status":"completed","attempt":1,"event":"done","taken":[""],"updates":{'
    b'"started_at":17,"ended_at":17},"schema":1}'
)

_EVENTS: Final[Mapping[str, type[Any]]] = {
    kind.__name__: kind
    for kind in (
        ev.InstanceStarted,
        ev.Forked,
        ev.Claimed,
        ev.StepsStarted,
        ev.ChoiceStarted,
        ev.EventReceived,
        ev.TimerSet,
        ev.HeartbeatReceived,
        ev.StepCompleted,
        ev.StepWaiting,
        ev.StepFailed,
        ev.StepsSkipped,
        ev.CompensationStarted,
        ev.StepCompensated,
        ev.CompensationFailed,
        ev.Suspended,
        ev.HandedOver,
        ev.Parked,
        ev.CancelRequested,
        ev.Paused,
        ev.Continued,
        ev.Redriven,
        ev.InstanceFinished,
    )
}
# Everything that damaged bytes can make of the reading below.
_UNREADABLE: Final = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
    zlib.error,
)
_RECORDS: Final[Mapping[str, type[Any]]] = {
    "error": ev.Failure,
    "failed": ev.Failure,
    "replaced": ev.Replacement,
    "initial_replaced": ev.Replacement,
    "cancel": ev.CancelRequested,
    "paused": ev.Paused,
    "compensation": Compensation,
}
_VALUES: Final = frozenset({"initial", "metadata", "updates", "payload", "configs"})
_TUPLES: Final = frozenset(
    {
        *("tags", "taken", "steps", "writes", "left", "skipped", "reset", "again", "undo"),
        *("links", "requests", "running"),
    }
)


def _plan(kind: type[Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((field.name, field.default) for field in fields(kind) if field.init)


_PLANS: Final = {
    kind: _plan(kind)
    for kind in (*_EVENTS.values(), ev.Failure, ev.Replacement, StepState, Timer, Received, Compensation, State)
}


def _pack(record: Any) -> dict[str, Any]:
    """The fields of ``record`` that differ from their defaults; nested records are packed, too."""
    packed: dict[str, Any] = {}
    for name, default in _PLANS[type(record)]:
        value = getattr(record, name)
        if value is default or (default is not MISSING and value == default):
            continue
        if type(value) in _PLANS:
            packed[name] = _pack(value)
        elif name == "completed":
            packed[name] = [_pack(done) for done in value]
        else:
            packed[name] = value
    return packed


def _unpack(kind: type[Any], packed: Mapping[str, Any]) -> Any:
    values = dict(packed)
    for name, value in packed.items():
        if name in _VALUES:
            values[name] = adopt(value)
        elif name in _RECORDS and value is not None:
            values[name] = _unpack(_RECORDS[name], value)
        elif name == "completed":
            values[name] = tuple(_unpack(ev.StepCompleted, done) for done in value)
        elif name in _TUPLES and isinstance(value, list):
            values[name] = tuple(value)
    return kind(**values)


def dump_events(events: tuple[ev.Event, ...]) -> bytes:
    """The events of one entry as bytes."""
    return _squeeze(to_json([[type(event).__name__, _pack(event)] for event in events]))


def load_events(data: bytes) -> tuple[ev.Event, ...]:
    """What ``dump_events`` was given.

    Raises:
        CorruptLog: the bytes are damaged, or were written by a newer release.
    """
    try:
        return tuple(_unpack(_EVENTS[name], packed) for name, packed in from_json(_stretch(data)))
    except _UNREADABLE as error:
        message = f"a log entry cannot be read ({type(error).__name__}): damaged, or written by a newer release"
        raise CorruptLog(message) from error


def dump_state(state: State) -> bytes:
    """A snapshot as bytes."""
    packed = _pack(state)
    if state.steps:
        packed["steps"] = {key: _pack(step) for key, step in state.steps.items()}
    if state.timers:
        packed["timers"] = [_pack(timer) for timer in state.deadlines]
    if state.inbox:
        packed["inbox"] = {key: _pack(received) for key, received in state.inbox.items()}
    packed["schema"] = SCHEMA
    return _squeeze(to_json(packed))


def load_state(data: bytes) -> State:
    """What ``dump_state`` was given.

    Raises:
        CorruptLog: the bytes are damaged, or were written by a newer release.
    """
    try:
        packed = from_json(_stretch(data))
        if packed.pop("schema") > SCHEMA:
            message = "a snapshot was written by a newer release: deploy that release again"
            raise CorruptLog(message)
        steps = {key: _unpack(StepState, step) for key, step in packed.pop("steps", {}).items()}
        timers: dict[str, tuple[Timer, ...]] = {}
        for timer in (_unpack(Timer, one) for one in packed.pop("timers", ())):
            timers[timer.step] = (*timers.get(timer.step, ()), timer)
        inbox = {key: _unpack(Received, received) for key, received in packed.pop("inbox", {}).items()}
        state: State = _unpack(State, {**packed, "steps": steps, "timers": timers, "inbox": inbox})
    except _UNREADABLE as error:
        message = f"a snapshot cannot be read ({type(error).__name__}): damaged, or written by a newer release"
        raise CorruptLog(message) from error
    return state


def size(value: Any) -> int:
    """The bytes that ``value`` takes in the store, compressed."""
    return len(_squeeze(to_json(value)))


def _squeeze(text: str) -> bytes:
    # Values are checked and messages cleaned before they come here; whatever slips through must stop neither a commit
    # nor, as the same is done on the way out, a read.
    raw = text.encode(errors="surrogatepass")
    if len(raw) <= COMPRESS_ABOVE:
        return b"J" + raw
    if len(raw) > MAX_INFLATED:
        message = f"a commit takes {len(raw)} bytes of JSON, at most {MAX_INFLATED} are stored: pass keys to S3"
        raise PayloadTooLarge(message)
    deflater = zlib.compressobj(6, zdict=_DICTIONARY)
    return b"Z" + deflater.compress(raw) + deflater.flush()


def _stretch(data: bytes) -> str:
    """The JSON in ``data``; never more than ``MAX_INFLATED`` bytes of it are made, whatever the bytes say."""
    if data[:1] == b"J":
        raw = data[1:]
    elif data[:1] == b"Z":
        inflater = zlib.decompressobj(zdict=_DICTIONARY)
        raw = inflater.decompress(data[1:], MAX_INFLATED + 1)
        if not inflater.eof and len(raw) <= MAX_INFLATED:
            message = "cut short"
            raise ValueError(message)
    else:
        message = "unknown marker"
        raise ValueError(message)
    if len(raw) > MAX_INFLATED:
        message = "larger than anything that is stored"
        raise ValueError(message)
    return raw.decode(errors="surrogatepass")
