"""Values as DynamoDB keeps them: checked, frozen, measured, and written as its JSON protocol has them.

Allowed are ``str``, ``bool``, ``None``, ``int``, ``Decimal``, ``float`` (kept as the ``Decimal`` of its text),
``bytes`` (also as boto3's ``Binary``), mappings with text keys, lists and tuples, and sets of texts, of numbers or of
bytes. Anything else is refused by a message that names its place and never shows it. Nothing here imports boto3: its
serializer would add 45 ms to a cold start.

Sources: the DynamoDB Developer Guide on data types, on item sizes and on quotas.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from hephaestus.values import FrozenDict, FrozenList
from hephaestus.values.scalars import enum_value, has_surrogates

MAX_DIGITS: Final = 38
MAX_EXPONENT: Final = 125  # of a number's first digit
MIN_EXPONENT: Final = -130
MAX_LEVELS: Final = 31  # documents nested in an attribute: the item itself is the first of DynamoDB's 32 levels
MAX_NAME_BYTES: Final = 65_535
ALLOWED: Final = "str, int, Decimal, float, bool, None, bytes, dict, list, and sets of str, of numbers or of bytes"


class NotAnAttribute(TypeError):
    """A value that DynamoDB cannot keep; the message names its place."""


def frozen(value: Any, place: str, level: int = 0) -> Any:  # noqa: PLR0911 - one return a type
    """``value`` checked, copied and immutable: numbers as ``Decimal``, sets as ``frozenset``.

    Raises:
        NotAnAttribute: DynamoDB cannot keep the value, or something inside of it.
    """
    if isinstance(value, Enum):
        return frozen(enum_value(value), place, level)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, place)
    if isinstance(value, (int, float, Decimal)):
        return _number(value, place)
    if isinstance(value, (bytes, bytearray, memoryview)) or _is_binary(value):
        return _bytes(value)
    if isinstance(value, AbstractSet):
        return _set(value, place)
    if level >= MAX_LEVELS:
        raise _refused(place, f"is nested more than {MAX_LEVELS} deep, or contains itself")
    if isinstance(value, Mapping):
        return _map(value, place, level)
    if isinstance(value, (list, tuple)):
        parts = list.__iter__(value) if isinstance(value, list) else tuple.__iter__(value)
        return FrozenList(frozen(part, f"{place}[{index}]", level + 1) for index, part in enumerate(parts))
    raise _unknown(value, place)


def wire(value: Any) -> dict[str, Any]:  # noqa: PLR0911 - one return a type
    """A frozen value as DynamoDB's API takes it, as in ``{"S": "text"}``."""
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case Decimal():
            return {"N": str(value)}
        case bytes():
            return {"B": value}
        case dict():
            return {"M": wire_item(value)}
        case list():
            return {"L": [wire(part) for part in value]}
        case _:
            kind = set_kind(value)
            return {kind: sorted(str(part) if kind == "NS" else part for part in value)}


def wire_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """A frozen item, key or map of values as DynamoDB's API takes it."""
    return {name: wire(value) for name, value in item.items()}


def set_kind(values: frozenset[Any]) -> str:
    """DynamoDB's name for the type of a frozen set."""
    first = next(iter(values))
    return "SS" if isinstance(first, str) else "NS" if isinstance(first, Decimal) else "BS"


def item_size(item: Mapping[str, Any]) -> int:
    """The bytes that DynamoDB counts for a frozen item: its names and its values."""
    return sum(len(name.encode()) + size(value) for name, value in item.items())


def size(value: Any) -> int:  # noqa: PLR0911 - one return a type
    """The bytes that DynamoDB counts for a frozen value."""
    match value:
        case None | bool():
            return 1
        case str():
            return len(value.encode())
        case Decimal():
            return (len(_significant(value)) + 1) // 2 + 1 + (value < 0)
        case bytes():
            return len(value)
        case dict():
            return 3 + len(value) + item_size(value)
        case list():
            return 3 + len(value) + sum(map(size, value))
        case _:
            return sum(map(size, value))


def _is_binary(value: object) -> bool:
    """Whether it is boto3's wrapper around bytes, which its resources give for what they read."""
    return type(value).__name__ == "Binary" and type(value).__module__ == "boto3.dynamodb.types"


def _bytes(value: Any) -> bytes:
    """What it is, not what a subclass' own ``__bytes__`` gives."""
    if isinstance(value, bytes):
        return bytes.__getitem__(value, slice(None))
    return memoryview(value).tobytes() if isinstance(value, (bytearray, memoryview)) else bytes(value)


def _map(value: Mapping[Any, Any], place: str, level: int) -> FrozenDict:
    base: Any = OrderedDict if isinstance(value, OrderedDict) else dict if isinstance(value, dict) else None
    items = value.items() if base is None else base.items(value)  # an ordered one has an order of its own
    found: dict[str, Any] = {}
    for key, part in items:
        name = _key(key, place)
        if name in found:
            raise _refused(place, "has two keys that are the same text")
        found[name] = frozen(part, f"{place}.{name}", level + 1)
    return FrozenDict(found)


def _text(value: str, place: str) -> str:
    if has_surrogates(str.__str__(value)):
        raise _refused(place, "is a text with half a surrogate pair, which UTF-8 cannot hold")
    return str.__str__(value)  # what it is, not what a subclass shows


def _number(value: float | Decimal, place: str) -> Decimal:
    """A number as DynamoDB keeps it: at most 38 digits, and no zeros behind the point that say nothing."""
    number = Decimal(float.__repr__(value)) if isinstance(value, float) else Decimal(value)
    if not number.is_finite():
        raise _refused(place, "is not a finite number")
    digits = _significant(number)
    if not digits:
        return Decimal(0)
    if len(digits) > MAX_DIGITS:
        raise _refused(place, f"is a number of more than {MAX_DIGITS} digits: pass a text, or round it")
    if not MIN_EXPONENT <= number.adjusted() <= MAX_EXPONENT:
        raise _refused(place, f"is a number outside of 1E{MIN_EXPONENT} to 9.9E+{MAX_EXPONENT}: pass a text")
    sign, every, exponent = number.as_tuple()
    if len(every) <= MAX_DIGITS and int(exponent) >= 0:
        return number
    return Decimal((sign, digits, int(exponent) + len(every) - len(digits)))


def _significant(number: Decimal) -> tuple[int, ...]:
    """The digits without the zeros at the end, of which zero has none."""
    digits = number.as_tuple().digits
    last = next((index for index in range(len(digits), 0, -1) if digits[index - 1]), 0)
    return digits[:last]


def _set(values: AbstractSet[Any], place: str) -> frozenset[Any]:
    elements: Any = values
    if isinstance(values, (set, frozenset)):
        elements = set.__iter__(values) if isinstance(values, set) else frozenset.__iter__(values)
    parts = [frozen(part, f"an element of {place}") for part in elements]
    kinds = {type(part) for part in parts}
    if not kinds:
        raise _refused(place, "is an empty set, which DynamoDB does not keep: leave the attribute out")
    if len(kinds) > 1 or not kinds <= {str, Decimal, bytes}:
        raise _refused(place, "is a set of other things than only texts, only numbers or only bytes: pass a list")
    return frozenset(parts)


def _key(key: object, place: str) -> str:
    if not isinstance(key, str):
        raise _refused(place, f"has a key of type {type(key).__name__}: DynamoDB's maps have texts as keys")
    name = _text(key, f"a key of {place}")
    if not 0 < len(name.encode()) <= MAX_NAME_BYTES:
        raise _refused(place, f"has a key of {len(name.encode())} bytes: DynamoDB takes 1 to {MAX_NAME_BYTES}")
    return name


def _unknown(value: object, place: str) -> NotAnAttribute:
    kind = type(value).__name__
    fix = {
        "datetime": "pass value.isoformat(), or its timestamp as a number",
        "date": "pass value.isoformat()",
        "time": "pass value.isoformat()",
        "timedelta": "pass its seconds as a number",
        "UUID": "pass str(value)",
    }.get(kind, f"pass {ALLOWED}")
    return _refused(place, f"is a {kind}, a type that DynamoDB does not have: {fix}")


def _refused(place: str, problem: str) -> NotAnAttribute:
    return NotAnAttribute(f"{place} {problem}")
