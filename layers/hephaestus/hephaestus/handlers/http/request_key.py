"""The ``Idempotency-Key``: any request id as a header, and back.

Bare, in quotes (a String of RFC 9651, as the IETF draft of the header asks for), or as a Display String of it,
``%"caf%c3%a9"``, which holds any text. Our own client sends what is not safe bare as the latter.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final

from hephaestus.errors import BadRequest

MAX_KEY: Final = 128  # characters

_BARE: Final = re.compile(r"[!#-+\--~]+")
_QUOTED: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_DISPLAYED: Final = re.compile(r'%"((?:[ !#$&-~]|%[0-9a-fA-F]{2})*)"')
_ESCAPED: Final = re.compile(r"\\(.)")
_ENCODED: Final = re.compile(rb"%([0-9a-fA-F]{2})")


def written(key: str) -> str:
    """A request id as the header's value."""
    if _BARE.fullmatch(key):
        return key
    letters = (chr(byte) if chr(byte).isalnum() and byte < 128 else f"%{byte:02x}" for byte in key.encode())  # noqa: PLR2004 - ASCII
    return f'%"{"".join(letters)}"'


def read_key(header: str) -> str:
    """The request id that the header's value is.

    Raises:
        BadRequest: it is none of its forms, or not a printable text of 1 to 128 characters.
    """
    header = header.strip()
    key: str | None = header if _BARE.fullmatch(header) else None
    if quoted := _QUOTED.fullmatch(header):
        key = _ESCAPED.sub(r"\1", quoted[1])
    elif displayed := _DISPLAYED.fullmatch(header):
        raw = _ENCODED.sub(lambda found: bytes.fromhex(found[1].decode()), displayed[1].encode())
        with suppress(UnicodeDecodeError):
            key = raw.decode()
    if key is not None and 1 <= len(key) <= MAX_KEY and key.isprintable():
        return key
    message = (
        f"the Idempotency-Key must be 1 to {MAX_KEY} visible ASCII characters without '\"' and ',', or a printable "
        'text in quotes, as "order 7" or %"caf%c3%a9" (RFC 9651)'
    )
    raise BadRequest(message)
