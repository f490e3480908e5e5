"""Log entries and snapshots as bytes, and back: read off the types of the fields that events and states declare.

An event becomes ``[name, {field: value}]`` with the fields that hold their default left out, so that a new field with
a default reads old logs. The bytes start with one marker: ``J`` for plain JSON, ``Z`` for JSON deflated with
the dictionary below (a quarter smaller, so that the head of an instance with ten small steps costs one write unit).
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cached_property, partial
from types import UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, cast, get_args, get_origin, get_type_hints

from hephaestus.engine import events as ev
from hephaestus.engine.records import (
    NOTHING,
    Child,
    Counts,
    Grant,
    Held,
    Loop,
    Mapped,
    Need,
    Occurrence,
    OpenItem,
    Origin,
    Pace,
    Part,
    Plan,
    Queued,
    Received,
    Tree,
    Turn,
    Undelivered,
)
from hephaestus.engine.state import State
from hephaestus.errors import CorruptLog, PayloadTooLarge
from hephaestus.values import adopt, from_json, to_json
from hephaestus.values.weight import MAX_HELD

if TYPE_CHECKING:
    from collections.abc import Callable

COMPRESS_ABOVE: Final = 512
# Of JSON. An instance holds MAX_HELD of values, or twice as much where an event and a result came in at once, each with
# the room that was left; the rest is for everything else. So nothing that was acknowledged is too large to be read.
MAX_INFLATED: Final = 2 * MAX_HELD + 16 * 1024 * 1024
SCHEMA: Final = 1
# What the bytes of snapshots and entries have in common. It is part of the format: a change needs a new marker.
_DICTIONARY: Final = (
    b'"payload":null,"event_id":"","digest":"","request_id":"","by":"","by_source":"claim","inbox":{"timers":{"":[{"token":"","due_at":17,"emits":"timeout","scheduled":true}]},'
    b'"cancel":{"reason":"","error":{"type":"","message":"","trace":"","parked":"","retry_at":17,"failed","skipped",'
    b'"retrying","waiting","running","owner":"","lease_until":17,"wake_at":17,"metadata":{"links":["","requests":["","timers_set":1'
    b'["StepsSkipped",{"steps":["StepFailed",{"StepWaiting",{"activation":"{"Suspended",{"InstanceFinished",{"status":"Claimed",{'
    b'["InstanceStarted",{"initial":{"tags":["start_id":"["StepCompleted",{"activation":"'
    b'{"instance_id":"","generation":1,"workflow":"","version":1,"status":"completed","sequence":1,"created_at":17,'
    b'"updated_at":17,"steps":{"":{"status":"completed","attempt":1,"event":"done","taken":[""],"results":{'
    b'"started_at":17,"ended_at":17},"schema":1}'
)

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


class _Format:
    """How the instances of one class become JSON and come back, by the types of its fields, read on first use."""

    def __init__(self, kind: type[Any]) -> None:
        self.kind = kind

    @cached_property
    def defaults(self) -> list[tuple[str, Any, bool]]:
        """Of each field the name, the default, and whether there are records in it."""
        types = self._types
        own = [field for field in fields(self.kind) if field.init]
        return [(field.name, field.default, _nested(types[field.name])) for field in own]

    @cached_property
    def readers(self) -> dict[str, Callable[[Any], Any] | None]:
        """What reads each field."""
        types = self._types
        return {field.name: _reader(types[field.name]) for field in fields(self.kind) if field.init}

    @cached_property
    def _types(self) -> dict[str, Any]:
        return get_type_hints(self.kind, {**vars(sys.modules[self.kind.__module__]), **_NAMES})

    def pack(self, record: Any) -> dict[str, Any]:
        """The fields of ``record`` that differ from their defaults; nested records are packed, too."""
        packed: dict[str, Any] = {}
        for name, default, nested in self.defaults:
            value = getattr(record, name)
            if value is default or (not value if default is NOTHING else value == default):
                continue
            packed[name] = _pack(value) if nested else value
        return packed

    def unpack(self, packed: Mapping[str, Any]) -> Any:
        """What ``pack`` was given.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: it is damaged.
        """
        readers = self.readers
        return self.kind(**{name: read(value) if (read := readers[name]) else value for name, value in packed.items()})


# What annotations name that their module imports for a type checker alone.
_NAMES: Final = {
    "ClassVar": ClassVar,
    "Mapping": Mapping,
    "Failure": ev.Failure,
    "Child": Child,
    "Loop": Loop,
    "Received": Received,
    "Occurrence": Occurrence,
    "Origin": Origin,
    "Mapped": Mapped,
    "OpenItem": OpenItem,
    "Counts": Counts,
    "Grant": Grant,
    "Held": Held,
    "Need": Need,
    "Queued": Queued,
    "Pace": Pace,
    "Turn": Turn,
    "Part": Part,
    "Plan": Plan,
    "Tree": Tree,
    "Undelivered": Undelivered,
    "Replacement": ev.Replacement,
    **ev.EVENTS,
}


class _Formats(dict[type[Any], _Format]):
    """The formats of classes, each made on first use: a cold start reads the types of few of them."""

    def __missing__(self, kind: type[Any]) -> _Format:
        return self.setdefault(kind, _Format(kind))


_formats: Final = _Formats()


def _nested(kind: Any) -> bool:
    """Whether there are records in a value of this type."""
    return is_dataclass(kind) or any(map(_nested, get_args(kind)))


def _pack(value: Any) -> Any:
    """Records, and the mappings and tuples that hold them, as JSON has them."""
    if isinstance(value, tuple):
        return [_pack(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _pack(item) for key, item in value.items()}
    return value if value is None else _formats[type(value)].pack(value)


def _reader(kind: Any) -> Callable[[Any], Any] | None:
    """What reads a field of this type; ``None`` where JSON has the value as it is.

    Raises:
        TypeError: no field may have this type.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if kind in _PLAIN or origin is Literal:
        return None
    if kind is Any or parts in _VALUES:
        return adopt
    if is_dataclass(kind):
        return _formats[cast("type[Any]", kind)].unpack
    if origin is UnionType and len(parts) == 2 and parts[1] is type(None):  # noqa: PLR2004 - it is optional
        return partial(_read_optional, read) if (read := _reader(parts[0])) else None
    if origin is tuple and parts[1:] == (...,):
        return partial(_read_tuple, _reader(parts[0]))
    if origin is Mapping and parts[0] is str:
        return partial(_read_mapping, read) if (read := _reader(parts[1])) else None
    message = f"a field of an event or a state cannot be a {kind}"
    raise TypeError(message)


_PLAIN: Final = (str, int, bool)
_VALUES: Final = ((str, Any), (str, Mapping[str, Any]))  # of a Mapping: what users gave is one frozen value


def _read_optional(read: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else read(value)


def _read_mapping(read: Callable[[Any], Any], packed: Any) -> dict[str, Any]:
    return {key: read(value) for key, value in packed.items()}


def _read_tuple(read: Callable[[Any], Any] | None, packed: Any) -> tuple[Any, ...]:
    if not isinstance(packed, list):
        message = f"a {type(packed).__name__} is no list"
        raise TypeError(message)
    return tuple(map(read, packed)) if read else tuple(packed)


def dump_events(events: tuple[ev.Event, ...]) -> bytes:
    """The events of one entry as bytes."""
    return _squeeze(to_json([[type(event).__name__, _formats[type(event)].pack(event)] for event in events]))


def load_events(data: bytes) -> tuple[ev.Event, ...]:
    """What ``dump_events`` was given.

    Raises:
        CorruptLog: the bytes are damaged, or were written by a newer release.
    """
    try:
        return tuple(_formats[ev.EVENTS[name]].unpack(packed) for name, packed in from_json(_stretch(data)))
    except _UNREADABLE as error:
        message = f"a log entry cannot be read ({type(error).__name__}): damaged, or written by a newer release"
        raise CorruptLog(message) from error


def dump_state(state: State) -> bytes:
    """A snapshot as bytes."""
    return _squeeze(to_json({**_formats[State].pack(state), "schema": SCHEMA}))


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
        state: State = _formats[State].unpack(packed)
    except _UNREADABLE as error:
        message = f"a snapshot cannot be read ({type(error).__name__}): damaged, or written by a newer release"
        raise CorruptLog(message) from error
    return state


def dump_value(value: Any) -> bytes:
    """A value by itself as bytes."""
    return _squeeze(to_json(value))


def load_value(data: bytes) -> Any:
    """What ``dump_value`` was given, frozen.

    Raises:
        CorruptLog: the bytes are damaged, or were written by a newer release.
    """
    try:
        return adopt(from_json(_stretch(data)))
    except _UNREADABLE as error:
        message = f"a value cannot be read ({type(error).__name__}): damaged, or written by a newer release"
        raise CorruptLog(message) from error


def size(value: Any) -> int:
    """The bytes that ``value`` takes in the store, compressed."""
    return len(dump_value(value))


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
