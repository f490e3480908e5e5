"""Scalars as the plain, exact values of Python's own types: what a subclass adds or overrides is never called.

What would lose something on its way through the store is rejected, and the message says what to do instead.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeGuard
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import Enum

MAX_INT_BITS: Final = 4096  # Python refuses to read or write a whole number of more than 4,300 digits
_UNSHOWN: Final = {
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
    **{code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in {"\t", "\n"}},
}


class NotSerializable(TypeError):
    """A value that cannot be stored; the message names its place, and what to do."""


class Unstorable(Exception):
    """What is wrong with a value, without its place: ``is half a surrogate pair``."""


def clean_text(text: str, most: int) -> str:
    """At most ``most`` characters of ``text`` that UTF-8, JSON and a terminal can show.

    For text that no one can be asked to correct, as an error's message: half a surrogate pair becomes U+FFFD, and a
    control character its escape.
    """
    text = str.__getitem__(text, slice(most))
    return text if text.isprintable() else text.translate(_UNSHOWN)[:most]


def has_surrogates(text: str) -> bool:
    """Whether ``text`` holds a half of a surrogate pair, which UTF-8 cannot hold."""
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def checked(value: str | float) -> str | float:
    """A text or number of Python's own types, if JSON in UTF-8 can hold it and Python can read it back.

    Raises:
        Unstorable: it cannot.
    """
    if isinstance(value, str):
        problem = "is a text with half a surrogate pair, which UTF-8 cannot hold" if has_surrogates(value) else ""
    elif isinstance(value, int):
        large = value.bit_length() > MAX_INT_BITS
        problem = f"is a whole number of more than {MAX_INT_BITS} bits: pass str(value)" if large else ""
    else:
        finite = math.isfinite(value)
        problem = "" if finite else f"is {value}: JSON has no such number"
    if problem:
        raise Unstorable(problem)
    return value


def plain_scalar(value: Any, kind: type) -> tuple[Any, ...]:
    """What a scalar of type ``kind`` is, in a tuple; an empty tuple for what is no scalar.

    Raises:
        Unstorable: it cannot be stored exactly.
    """
    if kind in _EXACT:
        return (value,)
    for base, plain in _BASES:
        if issubclass(kind, base):
            if kind is not base:
                check_no_fields(kind)
            return (plain(value),)
    return ()


def check_no_fields(kind: type) -> None:
    """Reject a subclass of a plain type that is a dataclass, too: only one of the two could be stored.

    Raises:
        Unstorable: it has fields.
    """
    if fields := getattr(kind, "__dataclass_fields__", None):
        message = (
            f"is a {kind.__name__}, which is stored as the plain value that it inherits from: its fields "
            f"{', '.join(fields)} would be lost; pass a mapping of them, with that value beside them"
        )
        raise Unstorable(message)


def plain_name(value: Any) -> Any:
    """A text or a whole number as the plain value that it is, whatever its class shows; anything else as it is.

    A member of ``class Name(str, Enum)`` equals its text, and is another one in an f-string.
    """
    kind = type(value)  # what it is, whatever its ``__class__`` says
    if issubclass(kind, str):
        return str.__str__(value)
    return int.__int__(value) if issubclass(kind, int) and kind is not bool else value


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is a whole number, which ``True`` is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def enum_value(value: Enum) -> Any:
    """What stands for a member of an enum, whatever its class calls ``value``."""
    return value._value_


def _text(value: Any) -> Any:
    return checked(str.__str__(value))


def _whole(value: Any) -> Any:
    return checked(int.__int__(value))


def _number(value: Any) -> Any:
    return checked(float.__float__(value))


def _memory(value: memoryview) -> bytes:
    if value.format not in {"B", "b", "c"}:
        message = f"is a memoryview of {value.format!r}: pass value.tobytes(), or a list of its numbers"
        raise Unstorable(message)
    return value.tobytes()


def _decimal(value: Any) -> Decimal:
    plain = Decimal(value)  # reads the number itself, not the text that a subclass shows
    if not plain.is_finite():
        message = f"is {plain}: only finite decimals can be stored; pass None or a text"
        raise Unstorable(message)
    return plain


def _datetime(value: Any) -> datetime:
    """With a fixed offset instead of a zone's rules, as it comes back: else the two could compare unequal.

    The offset says which of two equal times is meant; ``fold`` is kept where there is none.
    """
    zone = datetime.tzinfo.__get__(value)
    fold = datetime.fold.__get__(value)
    if type(value) is datetime and not fold and (zone is None or zone is UTC):
        return value
    if _is_no_time(value):
        raise _no_time(value)
    _check_fine(value, "nanosecond")
    try:
        text = datetime.isoformat(value)
        plain = datetime.fromisoformat(text)
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise _no_time(value) from error
    _check_offset(plain, text, "pass value.astimezone(UTC)")
    return plain.replace(fold=1) if fold and plain.tzinfo is None else plain


def _check_offset(plain: datetime | time, text: str, fix: str) -> None:
    """Reject an offset that Python's own reading of its text changes: one of less than a second becomes none."""
    if plain.isoformat() != text:
        message = f"is {text}, whose offset from UTC would be read as {plain.isoformat()[-6:]}: {fix}"
        raise Unstorable(message)


def _no_time(value: object) -> Unstorable:
    return Unstorable(f"is a {type(value).__name__} which is no point in time: pass None or a text")


def _is_no_time(value: object) -> bool:
    """Whether it is "not a time", as pandas has one: a ``datetime`` that says so by its text alone."""
    try:
        return str(value) == "NaT"
    except Exception:  # noqa: BLE001 - a subclass' method may do anything, and is not needed
        return False


def _check_fine(value: object, name: str) -> None:
    """Reject what is finer than a microsecond: pandas' types keep it beside what they inherit."""
    rest = getattr(value, name, 0)
    if isinstance(rest, int) and rest:
        message = f"has {rest} nanoseconds, which would be lost: round it to microseconds, as by value.round('us')"
        raise Unstorable(message)


def _date(value: Any) -> date:
    return date.fromordinal(date.toordinal(value))


def _time(value: Any) -> time:
    zone = time.tzinfo.__get__(value)
    try:
        text = time.isoformat(value)
        plain = time.fromisoformat(text)
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise _no_time(value) from error
    _check_offset(plain, text, "pass a time in UTC")
    if zone is not None and plain.tzinfo is None:
        message = "is a time in a zone whose offset depends on the day: pass a datetime, or the zone's name beside it"
        raise Unstorable(message)
    return plain.replace(fold=1) if zone is None and time.fold.__get__(value) else plain


def _timedelta(value: Any) -> timedelta:
    _check_fine(value, "nanoseconds")
    return timedelta.__pos__(value)


def _uuid(value: Any) -> UUID:
    """Without ``is_safe``, which is not stored."""
    try:
        return UUID(int=_UUID_INT(value))
    except (AttributeError, TypeError, ValueError) as error:
        message = f"is a {type(value).__name__} without a value: pass str(value)"
        raise Unstorable(message) from error


_UUID_INT: Final = vars(UUID)["int"].__get__  # the slot itself, whatever a subclass calls ``int``
_EXACT: Final = frozenset({bytes, timedelta, date})  # immutable, complete, and never a subclass
# A subclass before what it is derived from: a datetime is a date.
_BASES: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (str, _text),
    (int, _whole),
    (float, _number),
    (bytes, lambda value: bytes.__getitem__(value, slice(None))),
    (bytearray, lambda value: bytes(memoryview(value))),
    (memoryview, _memory),
    (datetime, _datetime),
    (date, _date),
    (time, _time),
    (timedelta, _timedelta),
    (Decimal, _decimal),
    (UUID, _uuid),
)
