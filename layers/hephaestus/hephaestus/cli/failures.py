"""What a failure is to whoever called the command: an exit status, and words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hephaestus.cli.text import safe
from hephaestus.errors import CallerError, DefinitionError, HephaestusError

if TYPE_CHECKING:
    from collections.abc import Mapping

DONE: Final = 0
BAD_END: Final = 1
WRONG_USE: Final = 2
NOT_FOUND: Final = 3
REFUSED: Final = 4
FAILED: Final = 5
CODES: Final[Mapping[int, int]] = {400: WRONG_USE, 404: NOT_FOUND, 401: FAILED, 403: FAILED}


def code_of(error: HephaestusError) -> int:
    """The exit status for an error."""
    if isinstance(error, DefinitionError):
        return BAD_END
    return CODES.get(error.status, REFUSED) if isinstance(error, CallerError) else FAILED


def document(error: HephaestusError) -> dict[str, Any]:
    """An error for a program."""
    known = {"type": type(error).__name__, "title": error.title, "detail": str(error), "exit_code": code_of(error)}
    return {**known, **error.details}


def words(error: HephaestusError) -> str:
    """An error for a person."""
    return safe(error, lines=True)
