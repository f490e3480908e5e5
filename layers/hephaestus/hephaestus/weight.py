"""How much room a value takes: the bytes of its JSON, and 64 for each of its parts.

Bytes alone do not say it: a million bytes of ``[{},{},…]`` compress to a thousand and take thirty million in memory.
Parts are objects, lists, and the values in them; Python needs some 60 to 100 bytes for each.
"""

from __future__ import annotations

from json.encoder import encode_basestring
from typing import Any, Final

PART: Final = 64
MAX_VALUE: Final = 16 * 1024 * 1024  # of one value: a context, a payload, a step's results
MAX_HELD: Final = 24 * 1024 * 1024  # of all values that an instance holds
MAX_PARTS: Final = MAX_VALUE // PART
_NUMBER: Final = 25  # the longest text of a float
_TAGGED: Final = 32  # what surrounds a value of a type that JSON lacks


def weigh(value: Any) -> int:  # noqa: PLR0911 - one return a type
    """The room that a frozen value takes: at least the bytes of its JSON, and ``PART`` for each part."""
    kind = type(value)
    if kind is str:
        return PART + _text(value)
    if kind is int:
        return PART + 2 + int(value.bit_length()) // 3
    if value is None or kind is bool or kind is float:
        return PART + _NUMBER
    if isinstance(value, dict):
        room = PART + 2
        for key, item in value.items():
            room += _text(key) + 2 + weigh(item)
        return room
    if isinstance(value, list):
        return PART + 2 + len(value) + sum([weigh(item) for item in value])
    if kind is bytes:
        return PART + _TAGGED + (len(value) + 2) // 3 * 4
    return PART + _TAGGED + len(str(value))


def _text(text: str) -> int:
    """The bytes of a text as JSON in UTF-8."""
    if not text.isascii():
        return len(encode_basestring(text).encode())
    if not text.isprintable() or '"' in text or "\\" in text:
        return len(encode_basestring(text))
    return len(text) + 2
