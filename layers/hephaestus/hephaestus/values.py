"""Values that a workflow carries: what is allowed, how it is frozen, how it becomes JSON and comes back.

Allowed are JSON's own types and ``datetime``, ``date``, ``timedelta``, ``Decimal``, ``UUID``, ``bytes``, ``Enum``
members (kept as their value), dataclasses and pydantic models (kept as mappings), tuples and sets (kept as lists).
Nothing is ever pickled.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NoReturn
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable

TAG: Final = "$hephaestus"
MAX_DEPTH: Final = 64
SHOWN_KEY: Final = 64  # characters of a key in the place that a message names
MAX_INT_BITS: Final = 4096  # Python refuses to read or write a whole number of more than 4,300 digits


class NotSerializable(TypeError):
    """A value that cannot be stored; the message names its place."""


def _refuse(*_args: object, **_kwargs: object) -> NoReturn:
    message = "stored data is immutable: return updates from the step instead of changing what it was given"
    raise TypeError(message)


class FrozenDict(dict[str, Any]):
    """A ``dict`` that refuses to change."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> NoReturn:  # type: ignore[override]  # as `dict` itself says it: None
        """Unhashable, like the ``dict`` it is."""
        message = "unhashable type: 'FrozenDict'"
        raise TypeError(message)

    def __copy__(self) -> dict[str, Any]:
        """Give a plain, mutable copy."""
        return dict(self)

    def __deepcopy__(self, _memo: object) -> dict[str, Any]:
        """Give a plain, mutable copy."""
        return {key: _thaw(value) for key, value in self.items()}


class FrozenList(list[Any]):
    """A ``list`` that refuses to change."""

    __slots__ = ()
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __copy__(self) -> list[Any]:
        """Give a plain, mutable copy."""
        return list(self)

    def __deepcopy__(self, _memo: object) -> list[Any]:
        """Give a plain, mutable copy."""
        return [_thaw(value) for value in self]


def _thaw(value: Any) -> Any:
    if isinstance(value, FrozenDict):
        return {key: _thaw(item) for key, item in value.items()}
    if isinstance(value, FrozenList):
        return [_thaw(item) for item in value]
    return value


def freeze(value: Any, place: str = "value", depth: int = 0) -> Any:
    """``value`` as it would come back from the store: checked, copied and immutable.

    Raises:
        NotSerializable: the value, or something inside of it, cannot be stored.
    """
    kind = type(value)
    if value is None or kind is bool or (kind is str and value.isascii()):
        return value
    if kind is str or kind is int or kind is float:
        return _freeze_scalar(value, place)
    frozen = kind is FrozenDict or kind is FrozenList
    if depth + (_depth(value) if frozen else 1) > MAX_DEPTH:
        message = f"{place} is nested more than {MAX_DEPTH} deep, or contains itself"
        raise NotSerializable(message)
    if frozen:
        return value
    if isinstance(value, dict):
        return FrozenDict(
            {_key(key, place): freeze(item, f"{place}.{key[:SHOWN_KEY]}", depth + 1) for key, item in value.items()}
        )
    if isinstance(value, (list, tuple)):
        return FrozenList(freeze(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(value))
    return _freeze_object(value, place, depth)


def _freeze_scalar(value: str | float, place: str) -> str | float:
    """A text or number, if JSON in UTF-8 can hold it and Python can read it back."""
    if isinstance(value, str):
        if value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value):
            return value
        problem = "is a text with half a surrogate pair, which UTF-8 cannot hold"
    elif isinstance(value, int):
        if value.bit_length() <= MAX_INT_BITS:
            return value
        problem = f"is a whole number of more than {MAX_INT_BITS} bits"
    else:
        if math.isfinite(value):
            return value
        problem = f"is {value}: JSON has no such number"
    message = f"{place} {problem}"
    raise NotSerializable(message)


def _depth(value: Any) -> int:
    """How deep something frozen is nested; results that carry results on grow by one each time."""
    if isinstance(value, FrozenDict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, FrozenList):
        return 1 + max(map(_depth, value), default=0)
    return 0


def _freeze_object(value: Any, place: str, depth: int) -> Any:
    if isinstance(value, Enum):
        return freeze(value.value, place, depth + 1)
    if isinstance(value, datetime):
        return _freeze_datetime(value, place)
    if isinstance(value, Decimal) and not value.is_finite():
        message = f"{place} is {value}: only finite decimals can be stored"
        raise NotSerializable(message)
    if isinstance(value, (date, timedelta, Decimal, UUID)):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return freeze(_plain(value, place), place, depth + 1)


def _plain(value: Any, place: str) -> Any:
    """The mapping, list, text or number that stands for ``value``."""
    for base in (str, int, float):
        if isinstance(value, base):
            return base(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump()
    message = f"{place} is a {type(value).__name__}, which cannot be stored as JSON"
    raise NotSerializable(message)


def _freeze_datetime(value: datetime, place: str) -> datetime:
    """With a fixed offset instead of a zone's rules, as it would come back: else the two could compare unequal."""
    if type(value) is datetime and (value.tzinfo is None or type(value.tzinfo) is timezone):
        return value
    try:
        return datetime.fromisoformat(value.isoformat())
    except ValueError as error:
        message = f"{place} is {value!r}, which is no point in time"
        raise NotSerializable(message) from error


def _key(key: object, place: str) -> str:
    if not isinstance(key, str):
        message = f"{place} has the key {key!r}: keys must be strings"
        raise NotSerializable(message)
    if key == TAG:
        message = f"{place} has the key {TAG!r}, which is reserved"
        raise NotSerializable(message)
    if type(key) is str and key.isascii():
        return key
    plain = str.__str__(key)  # the value of an enum's member, not its name
    _freeze_scalar(plain, f"a key of {place}")
    return plain


def _tag(value: Any) -> dict[str, list[str]]:
    if isinstance(value, datetime):
        return {TAG: ["datetime", value.isoformat()]}
    if isinstance(value, date):
        return {TAG: ["date", value.isoformat()]}
    if isinstance(value, timedelta):
        return {TAG: ["timedelta", str(value // timedelta(microseconds=1))]}
    if isinstance(value, Decimal):
        return {TAG: ["decimal", str(value)]}
    if isinstance(value, UUID):
        return {TAG: ["uuid", str(value)]}
    if isinstance(value, bytes):
        return {TAG: ["bytes", base64.b64encode(value).decode()]}
    message = f"a {type(value).__name__} cannot be stored as JSON"
    raise NotSerializable(message)


_UNTAG: Final[dict[str, Callable[[str], Any]]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "timedelta": lambda text: timedelta(microseconds=int(text)),
    "decimal": Decimal,
    "uuid": UUID,
    "bytes": base64.b64decode,
}


def _untag(mapping: dict[str, Any]) -> Any:
    tagged = mapping.get(TAG)
    if tagged is None:
        return mapping
    return _UNTAG[tagged[0]](tagged[1])


_encoder = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_tag)


def _no_constant(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


_decoder = json.JSONDecoder(object_hook=_untag, parse_constant=_no_constant)


def to_json(value: Any) -> str:
    """Compact JSON; types that JSON lacks become one-key objects with a reserved key."""
    return _encoder.encode(value)


def from_json(text: str) -> Any:
    """What ``to_json`` was given."""
    return _decoder.decode(text)


def for_display(value: Any) -> Any:
    """``value`` in JSON's own types, for an API answer or a terminal: times in ISO 8601, bytes in base64."""
    if isinstance(value, dict):
        return {str(key): for_display(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [for_display(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, timedelta):
        return value.total_seconds()
    return _tag(value)[TAG][1]
