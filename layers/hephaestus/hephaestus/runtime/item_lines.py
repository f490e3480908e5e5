"""Reads the lines of an object as the items of a map; what is wrong with one names the object and the line."""

from __future__ import annotations

import csv
from json import JSONDecodeError
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.item_sources import InvalidItems
from hephaestus.errors import BadRequest
from hephaestus.values import NotSerializable, freeze
from hephaestus.values.strict_json import read_json

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST_HEADER: Final = 16 * 1024  # bytes; each leaf of a map's tree is given it


def lines_of(data: bytes) -> list[bytes]:
    """The lines of a text that ends with its last line, without what ends it or them."""
    return [line[:-1] if line.endswith(b"\r") else line for line in data.split(b"\n")]


def read_header(line: bytes, place: str) -> tuple[str, ...]:
    """The names in the header of a CSV.

    Args:
        line: the header's line.
        place: what it is, for messages, as ``s3://bucket/key, line 1``.

    Raises:
        InvalidItems: it is too long, malformed, or a name is empty or there twice.
    """
    if len(line) > LONGEST_HEADER:
        message = f"{place}: the header has {len(line):,} bytes; at most {LONGEST_HEADER:,} are taken"
        raise InvalidItems(message)
    names = tuple(_fields(line, place))
    places: dict[str, int] = {}
    for number, name in enumerate(names, 1):
        if not name.strip():
            message = f"{place}: column {number} of the header has no name"
            raise InvalidItems(message)
        if name in places:
            message = f"{place}: columns {places[name]} and {number} of the header have the same name"
            raise InvalidItems(message)
        places[name] = number
    return names


def read_item(line: bytes, header: Sequence[str] | None, place: str) -> Any:
    """The item that a line holds, frozen: a mapping of texts by the header's names, or without one its JSON value.

    Raises:
        InvalidItems: the line is malformed, or what it holds cannot be stored.
    """
    try:
        return freeze(_json(line, place) if header is None else _row(line, header, place), place)
    except NotSerializable as error:
        raise InvalidItems(str(error)) from error


def _json(line: bytes, place: str) -> Any:
    try:
        return read_json(line, place)
    except BadRequest as error:
        cause = error.__cause__
        said = f"{place} is not JSON: {cause.msg} at column {cause.colno}" if isinstance(cause, JSONDecodeError) else ""
        raise InvalidItems(said or str(error)) from error


def _row(line: bytes, header: Sequence[str], place: str) -> dict[str, str]:
    values = _fields(line, place)
    if len(values) != len(header):
        message = f"{place} has {len(values)} values, and the header {len(header)} names"
        raise InvalidItems(message)
    return dict(zip(header, values, strict=True))


def _fields(line: bytes, place: str) -> list[str]:
    try:
        return next(csv.reader([line.decode()], strict=True), [])
    except UnicodeDecodeError as error:
        message = f"{place} is not text in UTF-8"
        raise InvalidItems(message) from error
    except csv.Error as error:
        message = f"{place} is not a row of a CSV: {error}"
        raise InvalidItems(message) from error
