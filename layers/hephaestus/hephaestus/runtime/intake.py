"""Reads what callers of the runner give, and refuses what it cannot work with before anything is touched."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.durations import shown
from hephaestus.definition.header import TAGS_MEND, tags_problem
from hephaestus.definition.raised import called_for_a_start, name_of
from hephaestus.engine.inbox import as_results
from hephaestus.engine.requests import DIGEST, short
from hephaestus.errors import BadRequest, InvalidInput, PayloadTooLarge
from hephaestus.values import FrozenDict, NotSerializable, TooManyParts, freeze, from_wire, to_json
from hephaestus.values.foreign import by_alias, changed_fields, is_model
from hephaestus.values.scalars import Unstorable, has_surrogates, is_whole, plain_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.definition.definition import Definition

MAX_LIMIT: Final = 200
MAX_TEXT: Final = 128
MAX_FILTER: Final = 2_048
MAX_REASON: Final = 1_000
MAX_NUMBER: Final = 99_999_999

_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode  # one for all: ``json.dumps`` makes it anew


def read_context(context: object) -> FrozenDict:
    """The start data, frozen: a mapping, or a model as its own class reads it again.

    Raises:
        InvalidInput: it is no mapping, or cannot be stored.
        PayloadTooLarge: it has too many parts.
    """
    try:
        frozen = read_value(by_alias(context), "context")
    except Unstorable as error:
        message = f"context {error}"
        raise InvalidInput(message) from error
    if not isinstance(frozen, FrozenDict):
        message = f"the context is a {name_of(type(context))}: it must be a mapping (a JSON object)"
        raise InvalidInput(message)
    return frozen


def check_input(context: object, definition: Definition, initial: Mapping[str, Any]) -> None:
    """Check the start data against the workflow's ``Input``; a model of that class is read back as it was given.

    Raises:
        InvalidInput: the data does not fit, or a field of the model would be another one for the steps.
    """
    own, kind = type(context) is definition.input_model and is_model(context), name_of(type(context))
    fix = "give a mapping, or Input fields that are neither excluded nor serialized otherwise than they are read"
    try:
        read = definition.read_input(initial)
    except InvalidInput as error:
        if not own:
            raise
        message = f"the context is a {kind} that its own class cannot read back: {fix}"
        raise InvalidInput(message, error.fields) from error
    if own and (changed := called_for_a_start(lambda: changed_fields(context, read), f"the context, a {kind},")):
        message = f"the context is a {kind} whose fields {', '.join(changed)} would be lost: {fix}"
        raise InvalidInput(message)


def read_payload(payload: object, place: str) -> Any:
    """An event's payload, frozen; its step's results can hold it, also where it is wrapped for that.

    Raises:
        InvalidInput: it cannot be stored.
        PayloadTooLarge: it has too many parts.
    """
    frozen = read_value(payload, place)
    if not isinstance(frozen, FrozenDict):
        read_value(as_results(frozen), place)
    return frozen


def read_value(value: object, place: str) -> Any:
    """A value that a caller gives, frozen; ``place`` names it in the message.

    Raises:
        InvalidInput: it cannot be stored.
        PayloadTooLarge: it has too many parts.
    """
    try:
        return freeze(value, place)
    except TooManyParts as error:
        raise PayloadTooLarge(str(error)) from error
    except NotSerializable as error:
        raise InvalidInput(str(error)) from error


def read_wire(value: object, place: str) -> Any:
    """A value that a caller's JSON holds; see ``from_wire``.

    Raises:
        InvalidInput: what stands for a value of a type that JSON lacks is malformed.
    """
    try:
        return from_wire(value, place)
    except NotSerializable as error:
        raise InvalidInput(str(error)) from error


def check_filter(what: str, text: object) -> str:
    """What a listing is narrowed down by, as plain text; it need not be what an instance can have.

    Raises:
        BadRequest: it is no text of 1 to 2,048 characters in UTF-8.
    """
    plain = plain_name(text)
    if isinstance(plain, str) and 1 <= len(plain) <= MAX_FILTER and not has_surrogates(plain):
        return plain
    message = f"{what} must be a text of 1 to {MAX_FILTER} characters"
    raise BadRequest(message)


def read_tags(*tags: object) -> tuple[str, ...]:
    """Several lists of tags as one, each tag once: the workflow's own, and the caller's.

    Raises:
        BadRequest: one is no list of strings within bounds, or they are too many together.
    """
    found: tuple[str, ...] = ()
    for some in tags:
        problem = tags_problem(some)
        if not problem and isinstance(some, (list, tuple)):
            found = tuple(dict.fromkeys((*found, *map(str.__str__, some))))
            problem = tags_problem(found)
        if problem:
            message = f"{problem}: {TAGS_MEND[0].lower()}{TAGS_MEND[1:]}"
            raise BadRequest(message)
    return found


def read_metadata(metadata: object) -> FrozenDict:
    """The caller's metadata, frozen.

    Raises:
        BadRequest: it is no mapping.
        InvalidInput: it cannot be stored.
        PayloadTooLarge: it has too many parts.
    """
    frozen = read_value({} if metadata is None else metadata, "metadata")
    if not isinstance(frozen, FrozenDict):
        message = "metadata must be a mapping (a JSON object)"
        raise BadRequest(message)
    return frozen


def check_text(what: str, text: object) -> str:
    """``text`` as a plain string.

    Raises:
        BadRequest: naming ``what`` was given: it is no short, printable text.
    """
    if isinstance(text, str):
        plain = str.__str__(text)  # of a member of a ``StrEnum``, what it is a member for
        if 1 <= len(plain) <= MAX_TEXT and plain.isprintable():
            return plain
    message = f"{what} must be a printable string of 1 to {MAX_TEXT} characters"
    raise BadRequest(message)


def check_reason(reason: object) -> str:
    """Why something is done, as a plain string.

    Raises:
        BadRequest: it is no text of at most 1,000 characters, or one that UTF-8 cannot hold.
    """
    if not isinstance(reason, str) or len(str.__str__(reason)) > MAX_REASON:
        message = f"'reason' must be a string of at most {MAX_REASON} characters"
        raise BadRequest(message)
    plain = str.__str__(reason)
    if has_surrogates(plain):
        message = "'reason' is a text with half a surrogate pair, which UTF-8 cannot hold"
        raise BadRequest(message)
    return plain


def check_flag(what: str, flag: object) -> bool:
    """Whether something is asked for.

    Raises:
        BadRequest: naming ``what`` was given: it is neither ``True`` nor ``False``.
    """
    if isinstance(flag, bool):
        return flag
    message = f"{what} is {shown(flag)}: it must be True or False"
    raise BadRequest(message)


def check_number(what: str, number: object, most: int = MAX_NUMBER) -> int:
    """A number that counts from 1, as a plain ``int``.

    Raises:
        BadRequest: naming ``what`` was given: it is no whole number from 1 to ``most``.
    """
    if is_whole(number):
        plain = int.__int__(number)
        if 1 <= plain <= most:
            return plain
    message = f"{what} must be a whole number from 1 to {most}, not {shown(number)}"
    raise BadRequest(message)


def read_sequence(cursor: str | None) -> int:
    """The log entry's number that a page of history ended with; 0 for none.

    Raises:
        BadRequest: the cursor is not one that a page gave.
    """
    if cursor is None:
        return 0
    if not isinstance(cursor, str) or not (cursor.isascii() and cursor.isdecimal()) or len(cursor) > len("99999999"):
        message = "the cursor is not one that a history page gave"
        raise BadRequest(message)
    return int(cursor)


def request_digest(*asked: Any) -> str:
    """What stands for what a request asks for; the order of a mapping's members does not count.

    Args:
        asked: values that can be stored.
    """
    return short(_sorted(json.loads(to_json(asked))), DIGEST)


def digest(text: str) -> str:
    """32 hexadecimal digits that stand for ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
