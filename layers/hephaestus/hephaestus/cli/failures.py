"""What a failure is to the caller of a command: a document, and words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.cli.text import safe

if TYPE_CHECKING:
    from hephaestus.errors import HephaestusError


def document(error: HephaestusError) -> dict[str, Any]:
    """An error for a program."""
    known = {"type": type(error).__name__, "title": error.title, "detail": str(error), "exit_code": error.exit_code()}
    return {**known, **error.details}


def words(error: HephaestusError) -> str:
    """An error for a person."""
    return safe(error, lines=True)
