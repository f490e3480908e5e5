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
LARGE: Final = 8 * 1024  # of what a round leaves for the next: above, it stands by itself
MAX_PARTS: Final = MAX_VALUE // PART
_NUMBER: Final = 25  # the longest text of a float
_TAGGED: Final = 32  # what surrounds a value of a type that JSON lacks


def weigh(*values: Any) -> int:
    """The room that frozen values take: at least the bytes of their JSON, and ``PART`` for each part.

    Texts that need no look at their characters are measured in place: most of a value is such texts.
    """
    room = 0
    left = list(values)
    while left:
        one = left.pop()
        kind = type(one)
        room += PART
        if kind is str:
            room += len(one) + 2 if one.isidentifier() and one.isascii() else _text(one)
        elif kind is int:
            room += 2 + int(one.bit_length()) // 3
        elif one is None or kind is bool or kind is float:
            room += _NUMBER
        elif isinstance(one, dict):
            room += 2 + 2 * len(one)
            room += sum([len(key) + 2 if key.isidentifier() and key.isascii() else _text(key) for key in one])
            left += one.values()
        elif isinstance(one, list):
            room += 2 + len(one)
            left += one
        elif kind is bytes:
            room += _TAGGED + (len(one) + 2) // 3 * 4
        else:
            room += _TAGGED + len(str(one))
    return room


def is_large(carry: Any) -> bool:
    """Whether what a round leaves for the next stands by itself, in no log entry and no snapshot."""
    return bool(carry) and weigh(carry) > LARGE


def _text(text: str) -> int:
    """The bytes of a text as JSON in UTF-8."""
    if not text.isascii():
        return len(encode_basestring(text).encode())
    if not text.isprintable() or '"' in text or "\\" in text:
        return len(encode_basestring(text))
    return len(text) + 2
