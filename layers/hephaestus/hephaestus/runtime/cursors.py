"""A listing's cursor, which belongs to the filters of the page that gave it.

With other filters, a page would leave out instances or begin anywhere, and nobody would notice.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from hephaestus.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST: Final = 128  # characters of a filter that stand in a cursor as they are


def bind(cursor: str | None, filters: Mapping[str, Any]) -> str | None:
    """What a caller is given: a store's cursor with the filters it belongs to; ``None`` at a listing's end."""
    if cursor is None:
        return None
    given = {name: _short(value) for name, value in filters.items() if value is not None}
    return base64.urlsafe_b64encode(json.dumps([cursor, given], separators=(",", ":")).encode()).decode()


def unbind(cursor: str | None, filters: Mapping[str, Any]) -> str | None:
    """The store's cursor in what a caller was given.

    Raises:
        BadRequest: no listing gave it, or one with other filters did.
    """
    if cursor is None:
        return None
    own, given = _read(cursor)
    different = [name for name, value in filters.items() if given.get(name) != _short(value)]
    if different:
        name = different[0]
        was, now = _told(name, given.get(name)), _told(name, filters[name])
        message = f"the cursor is of a listing with {was}, not with {now}: repeat its filters, or leave out the cursor"
        raise BadRequest(message)
    return own


def _read(cursor: str) -> tuple[str, Mapping[str, Any]]:
    try:
        own, given = json.loads(base64.b64decode(cursor.encode(), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError) as error:
        message = "the cursor is not one that a listing gave"
        raise BadRequest(message) from error
    if not isinstance(own, str) or not isinstance(given, dict):
        message = "the cursor is not one that a listing gave"
        raise BadRequest(message)
    return own, given


def _short(value: Any) -> Any:
    """A filter as a cursor holds it: a long text by its digest, so that every cursor fits where cursors are taken."""
    if not isinstance(value, str) or len(value) <= LONGEST:
        return value
    return f"{value[:8]}… ({hashlib.sha256(value.encode()).hexdigest()[:32]})"


def _told(name: str, value: Any) -> str:
    """A filter in words."""
    if value is None:
        return f"no {name}"
    return f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"[:100]
