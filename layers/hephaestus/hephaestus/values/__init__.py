"""Values that a workflow carries: what is allowed, how it is frozen, how it becomes JSON and comes back.

Allowed are JSON's own types and ``datetime``, ``date``, ``time``, ``timedelta``, ``Decimal``, ``UUID``, ``bytes``, each
kept as the plain value of that type whatever subclass it comes as; ``Enum`` members (kept as their value), dataclasses
and pydantic models (kept as mappings), tuples, sets and NumPy arrays (kept as lists). Nothing is ever pickled.
"""

from __future__ import annotations

import base64
import json
import math
from collections import OrderedDict
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]  # typeshed lacks it
from typing import TYPE_CHECKING, Any, Final, NoReturn
from uuid import UUID

from hephaestus.values.foreign import stand_in
from hephaestus.values.scalars import (
    MAX_INT_BITS,
    NotSerializable,
    Unstorable,
    check_no_fields,
    checked,
    clean_text,
    enum_value,
    plain_scalar,
)
from hephaestus.values.weight import MAX_PARTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = (
    "MAX_DEPTH",
    "MAX_INT_BITS",
    "FrozenDict",
    "FrozenList",
    "NotSerializable",
    "TooManyParts",
    "adopt",
    "for_display",
    "freeze",
    "from_json",
    "from_wire",
    "to_json",
    "to_wire",
)

TAG: Final = "$hephaestus"
MAX_DEPTH: Final = 64
MAX_STAND_INS: Final = 8  # objects that stand for one another
MAX_PROBLEM: Final = 500  # characters of what is wrong with a value
SMALL: Final = 2**63  # whole numbers that need no further look
FEW: Final = 64  # members of a mapping that is looked at as a whole
SHOWN_KEY: Final = 64  # characters of a key in the place that a message names


class TooManyParts(NotSerializable):
    """A value of more parts than are stored."""


def _refuse(*_args: object, **_kwargs: object) -> NoReturn:
    message = "stored data is immutable: return results from the step instead of changing what it was given"
    raise TypeError(message)


class FrozenDict(dict[str, Any]):
    """A ``dict`` that refuses to change."""

    __slots__ = ()
    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    @classmethod
    def fromkeys(cls, keys: Iterable[str], value: Any = None, /) -> FrozenDict:  # type: ignore[override]  # as texts only
        """One with these keys: by itself, ``dict`` would fill an empty one."""
        return cls(dict.fromkeys(keys, value))

    def __hash__(self) -> NoReturn:  # type: ignore[override]  # as `dict` itself says it: None
        """Unhashable, like the ``dict`` it is."""
        message = "unhashable type: 'FrozenDict'"
        raise TypeError(message)

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, Any]]]:
        """Pickle it as what it is made from: by itself, ``pickle`` would fill an empty one."""
        return FrozenDict, (dict(self),)

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

    def __reduce__(self) -> tuple[type[FrozenList], tuple[list[Any]]]:
        """Pickle it as what it is made from: by itself, ``pickle`` would fill an empty one."""
        return FrozenList, (list(self),)

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


def freeze(value: Any, place: str = "value") -> Any:
    """``value`` as it would come back from the store: checked, copied and immutable.

    Raises:
        NotSerializable: the value, or something inside of it, cannot be stored.
        TooManyParts: it has more than ``MAX_PARTS`` parts; such a value is not even copied.
    """
    if type(value) is dict and len(value) <= FEW:
        frozen = FrozenDict(value)  # first of all: another thread may change what was given
        if all(_is_plain_key(key) and _is_plain(item) for key, item in frozen.items()):
            return frozen  # what most steps return, in a third of the time
    return _Freezer(MAX_PARTS).freeze(value, place, 0)


def _is_plain(value: Any) -> bool:
    """Whether a value is stored as it is, without a further look."""
    kind = type(value)
    return (
        value is None or kind is bool or (kind is str and value.isascii()) or (kind is int and -SMALL < value < SMALL)
    )


def _is_plain_key(key: Any) -> bool:
    return type(key) is str and key.isascii() and key != TAG


_LEAVES: Final = frozenset({str, int, bool, type(None)})


def adopt(value: Any) -> Any:
    """What was read from the store, immutable.

    No bound is checked: what was stored once can always be read, whatever the bounds are now.

    Raises:
        ValueError: a number that JSON does not have, which nothing stores: the bytes are damaged.
    """
    kind = type(value)
    if kind is dict:
        return FrozenDict({key: item if type(item) in _LEAVES else adopt(item) for key, item in value.items()})
    if kind is list:
        return FrozenList([item if type(item) in _LEAVES else adopt(item) for item in value])
    if kind is float and not math.isfinite(value):
        message = f"{value} is not JSON"
        raise ValueError(message)
    return value


class _Freezer:
    """Freezes one value; ``room`` is how many more parts it may have."""

    __slots__ = ("room",)

    def __init__(self, room: int) -> None:
        self.room = room

    def freeze(self, value: Any, place: str, depth: int) -> Any:
        if _is_plain(value):
            return value
        kind = type(value)
        if kind is dict or kind is FrozenDict:
            return self._mapping(value, kind, place, depth + 1)
        if kind is list or kind is FrozenList:
            return self._list(value, kind, place, depth + 1)
        try:
            if issubclass(kind, (dict, list, tuple, set, frozenset)):
                check_no_fields(kind)
            if issubclass(kind, dict):
                return self._mapping(value, kind, place, depth + 1)
            if issubclass(kind, (list, tuple)):
                return self._list(value, kind, place, depth + 1)
            return self._scalar_or_other(value, kind, place, depth)
        except Unstorable as error:
            message = f"{place} {clean_text(str(error), MAX_PROBLEM)}"
            raise NotSerializable(message) from error

    def _mapping(self, value: Any, kind: type, place: str, depth: int) -> FrozenDict:
        if depth > MAX_DEPTH:
            raise _too_deep(place)
        # By the type's own way: a subclass may show other things than it holds. The order is an OrderedDict's own.
        number = len(value) if kind is dict else dict.__len__(value)
        items = value.items() if kind is dict or kind is OrderedDict else dict.items(value)
        self._spend(number, place)
        frozen = FrozenDict(
            {
                key if _is_plain_key(key) else _key(key, place): self.freeze(item, f"{place}.{key[:SHOWN_KEY]}", depth)
                for key, item in items
            }
        )
        if len(frozen) != number:
            message = f"{place} has two keys that are the same text: keys must differ as texts"
            raise NotSerializable(message)
        return frozen

    def _list(self, value: Any, kind: type, place: str, depth: int) -> FrozenList:
        _check_depth(depth, place)
        base: type[Any] = list if issubclass(kind, list) else tuple
        self._spend(base.__len__(value), place)
        items = base.__iter__(value)
        return FrozenList([self.freeze(item, f"{place}[{index}]", depth) for index, item in enumerate(items)])

    def _scalar_or_other(self, value: Any, kind: type, place: str, depth: int) -> Any:
        for _ in range(MAX_STAND_INS):
            if issubclass(kind, Enum):
                value = enum_value(value)
            elif found := plain_scalar(value, kind):
                return found[0]
            elif issubclass(kind, (set, frozenset)):
                return self._set(value, kind, place, depth)
            else:
                value = stand_in(value, kind)
            kind = type(value)
            if value is None or kind is bool or issubclass(kind, (dict, list, tuple)):
                return self.freeze(value, place, depth)
        raise _too_deep(place)

    def _set(self, value: Any, kind: type, place: str, depth: int) -> FrozenList:
        _check_depth(depth + 1, place)
        base: type[Any] = set if issubclass(kind, set) else frozenset
        self._spend(base.__len__(value), place)
        items = enumerate(base.__iter__(value))
        frozen = [self.freeze(item, f"{place}[{index}]", depth + 1) for index, item in items]
        return FrozenList(sorted(frozen, key=to_json))  # the same order in every process

    def _spend(self, parts: int, place: str) -> None:
        self.room -= parts
        if self.room < 0:
            advice = "store large data in S3 and pass its key"
            message = f"{place}: up to here are more than the {MAX_PARTS} parts that a value may have: {advice}"
            raise TooManyParts(message)


def _check_depth(depth: int, place: str) -> None:
    if depth > MAX_DEPTH:
        raise _too_deep(place)


def _too_deep(place: str) -> NotSerializable:
    return NotSerializable(f"{place} is nested more than {MAX_DEPTH} deep, or contains itself")


def _key(key: object, place: str) -> str:
    if not issubclass(type(key), str):
        message = f"{place} has the key {_shown(key)}: keys must be strings"
        raise NotSerializable(message)
    plain = str.__str__(key)  # the value of an enum's member, not its name
    if plain == TAG:
        message = f"{place} has the key {TAG!r}, which is reserved"
        raise NotSerializable(message)
    try:
        checked(plain)
    except Unstorable as error:
        message = f"a key of {place} {error}"
        raise NotSerializable(message) from error
    return plain


def _shown(key: object) -> str:
    """A key in a message; its own ``repr`` may do anything."""
    if type(key) in {int, float, bool, type(None), tuple}:
        return clean_text(repr(key), SHOWN_KEY)
    return f"of type {clean_text(type(key).__name__, SHOWN_KEY)}"


def _tag(value: Any) -> dict[str, list[str]]:
    for kind, name, text in _TAGS:
        if isinstance(value, kind):
            if isinstance(value, (datetime, time)) and value.fold:
                name = f"{name} fold"  # noqa: PLW2901 - a name of its own
            return {TAG: [name, text(value)]}
    message = f"a {type(value).__name__} cannot be stored as JSON"
    raise NotSerializable(message)


def _untag(mapping: dict[str, Any]) -> Any:
    if TAG not in mapping:
        return mapping
    kind, text = mapping[TAG]
    return _UNTAG[kind](text)


def _finite_decimal(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError(text)
    return number


# A datetime is a date, too, and comes first.
_TAGS: Final[tuple[tuple[type, str, Callable[[Any], str]], ...]] = (
    (datetime, "datetime", datetime.isoformat),
    (date, "date", date.isoformat),
    (time, "time", time.isoformat),
    (timedelta, "timedelta", lambda value: str(value // timedelta(microseconds=1))),
    (Decimal, "decimal", str),
    (UUID, "uuid", str),
    (bytes, "bytes", lambda value: base64.b64encode(value).decode()),
)
_UNTAG: Final[dict[str, Callable[[str], Any]]] = {
    "datetime": datetime.fromisoformat,
    "datetime fold": lambda text: datetime.fromisoformat(text).replace(fold=1),
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "time fold": lambda text: time.fromisoformat(text).replace(fold=1),
    "timedelta": lambda text: timedelta(microseconds=int(text)),
    "decimal": _finite_decimal,
    "uuid": UUID,
    "bytes": partial(base64.b64decode, validate=True),
}


# One for all calls: ``JSONEncoder.encode`` makes one each time. No value contains itself, so that need not be watched.
_encode = c_make_encoder(None, _tag, encode_basestring, None, ":", ",", False, False, False)  # noqa: FBT003 - C has no names


def _no_constant(name: str) -> NoReturn:
    message = f"{name} is not JSON"
    raise ValueError(message)


_decoder = json.JSONDecoder(object_hook=_untag, parse_constant=_no_constant)
_untagged = json.JSONDecoder(parse_constant=_no_constant)


def to_json(value: Any) -> str:
    """Compact JSON; types that JSON lacks become one-key objects with a reserved key."""
    return "".join(_encode(value, 0))


def from_json(text: str) -> Any:
    """What ``to_json`` was given."""
    return (_decoder if TAG in text else _untagged).decode(text)


def to_wire(value: Any) -> Any:
    """A frozen value in JSON's own types, as a request carries it; ``from_wire`` gives an equal one back."""
    return _untagged.decode(to_json(value))


def from_wire(value: Any, place: str, depth: int = 0) -> Any:
    """What a request carries, with values of the types that JSON lacks in the place of what stands for them.

    ``{"$hephaestus": ["decimal", "1.10"]}`` is ``Decimal("1.10")``, as in what is stored.

    Raises:
        NotSerializable: an object has that reserved key, and is none of these.
    """
    if depth > 2 * MAX_DEPTH:
        return value  # which is too deep wherever it is stored
    if isinstance(value, list):
        return [
            item if type(item) in _LEAVES else from_wire(item, f"{place}[{index}]", depth + 1)
            for index, item in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {
            key: item if type(item) in _LEAVES else from_wire(item, f"{place}.{str(key)[:SHOWN_KEY]}", depth + 1)
            for key, item in value.items()
        }
    try:
        ((kind, text),) = value.values()
        return _UNTAG[kind](str.__str__(text))
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        message = (
            f"{place} has the key {TAG!r}, which is reserved: it holds a type ({', '.join(_UNTAG)}) and a text, as in "
            f'{{"{TAG}": ["decimal", "1.10"]}}, and has no other key beside it'
        )
        raise NotSerializable(message) from error


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
