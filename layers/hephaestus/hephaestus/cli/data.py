"""Data that a person gives: JSON on the command line, in a file, or from standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from hephaestus.errors import BadRequest
from hephaestus.runtime.intake import read_wire
from hephaestus.values.strict_json import read_json

STDIN: Final = "-"
NOTHING: Final = object()

ObjectsFolder = Annotated[
    Path | None,
    typer.Option(
        "--objects",
        exists=True,
        file_okay=False,
        metavar="FOLDER",
        help="Where Items.s3 reads: s3://uploads/today.csv is FOLDER/uploads/today.csv.",
    ),
]


def read_data(text: str | None, file: str | None, what: str) -> Any:
    """What is in ``text`` or in ``file`` (``-`` is standard input); ``NOTHING`` where neither is given.

    JSON of an object or list may stand in the place of ``file``, too: write ``./{a}`` for a file of such a name.

    Raises:
        BadRequest: both are given, the file cannot be read, or it is not JSON.
        InvalidInput: what stands in it for a value of a type that JSON lacks is malformed.
    """
    if text is not None and file is not None:
        message = f"give {what} once: as --data or as --input"
        raise BadRequest(message)
    if file is not None and file.lstrip().startswith(("{", "[")):  # JSON in place
        text, file = file, None
    if file is not None:
        text = _read(file)
    if text is None:
        return NOTHING
    try:
        return read_wire(read_json(text), what)
    except BadRequest as error:
        source = "standard input" if file == STDIN else file or what
        message = f"{source}: {str(error).removeprefix('the body ')}"
        raise BadRequest(message) from error


def read_object(text: str | None, file: str | None, what: str) -> dict[str, Any]:
    """The same, where it must be a JSON object; ``{}`` where nothing is given.

    Raises:
        BadRequest: as for ``read_data``, or it is something else.
    """
    found = read_data(text, file, what)
    if found is NOTHING:
        return {}
    if not isinstance(found, dict):
        message = f"{what} must be a JSON object, as {{...}}, not {json.dumps(found, default=str)[:40]}"
        raise BadRequest(message)
    return found


def _read(file: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
        return raw.decode()
    except OSError as error:
        message = f"{file} cannot be read: {error.strerror}"
        raise BadRequest(message) from error
    except UnicodeDecodeError as error:
        message = f"{file} is not text in UTF-8"
        raise BadRequest(message) from error
