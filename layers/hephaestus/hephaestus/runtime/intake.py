"""Reads what callers of the runner give, and refuses what it cannot work with before anything is touched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.header import tags_problem
from hephaestus.engine.requests import DIGEST, short
from hephaestus.errors import BadRequest, InvalidInput
from hephaestus.values import NotSerializable, freeze, to_json

if TYPE_CHECKING:
    from hephaestus.definition.workflow import Workflow

MAX_LIMIT: Final = 200
MAX_TEXT: Final = 128


def read_context(context: Mapping[str, Any]) -> Mapping[str, Any]:
    """The start data, frozen.

    Raises:
        InvalidInput: it is no mapping, or cannot be stored.
    """
    if not isinstance(context, Mapping):
        message = f"the context is a {type(context).__name__}: it must be a mapping (a JSON object)"
        raise InvalidInput(message)
    frozen: Mapping[str, Any] = read_value(dict(context), "context")
    return frozen


def read_value(value: Any, place: str) -> Any:
    """A value that a caller gives, frozen; ``place`` names it in the message.

    Raises:
        InvalidInput: it cannot be stored.
    """
    try:
        return freeze(value, place)
    except NotSerializable as error:
        raise InvalidInput(str(error)) from error


def read_tags(flow: type[Workflow], tags: Sequence[str]) -> tuple[str, ...]:
    """The workflow's own tags and the caller's, each once.

    Raises:
        BadRequest: they are not a list of strings within bounds.
    """
    if isinstance(tags, str) or not isinstance(tags, Sequence):
        message = "tags must be a list of strings"
        raise BadRequest(message)
    found = tuple(dict.fromkeys((*flow.tags, *tags))) if all(isinstance(tag, str) for tag in tags) else tuple(tags)
    problem = tags_problem(found)
    if problem:
        message = f"{problem}: use at most 20 printable strings of 1 to 64 characters"
        raise BadRequest(message)
    return found


def read_metadata(metadata: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The caller's metadata, frozen.

    Raises:
        BadRequest: it is no mapping.
        InvalidInput: it cannot be stored.
    """
    if metadata is not None and not isinstance(metadata, Mapping):
        message = "metadata must be a mapping (a JSON object)"
        raise BadRequest(message)
    frozen: Mapping[str, Any] = read_value(dict(metadata or {}), "metadata")
    return frozen


def check_text(what: str, text: object) -> None:
    """Refuse what is no short, printable text.

    Raises:
        BadRequest: naming ``what`` was given.
    """
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_TEXT or not text.isprintable():
        message = f"{what} must be a printable string of 1 to {MAX_TEXT} characters"
        raise BadRequest(message)


def check_limit(limit: object) -> None:
    """Refuse a page's size that is out of bounds.

    Raises:
        BadRequest: it is not 1 to 200.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
        message = f"limit must be a whole number from 1 to {MAX_LIMIT}"
        raise BadRequest(message)


def read_sequence(cursor: str | None) -> int:
    """The log entry's number that a page of history ended with; 0 for none.

    Raises:
        BadRequest: the cursor is not one that a page gave.
    """
    if cursor is None:
        return 0
    if not isinstance(cursor, str) or not cursor.isdecimal() or len(cursor) > len("99999999"):
        message = "the cursor is not one that a history page gave"
        raise BadRequest(message)
    return int(cursor)


def request_digest(*asked: Any) -> str:
    """What stands for what a request asks for; the order of a mapping's members does not count.

    Args:
        asked: values that can be stored.
    """
    text = json.dumps(json.loads(to_json(asked)), sort_keys=True, separators=(",", ":"))
    return short(text, DIGEST)


def digest(text: str) -> str:
    """32 hexadecimal digits that stand for ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
