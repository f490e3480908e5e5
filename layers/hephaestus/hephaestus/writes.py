"""Writes to the user's own tables, committed with a step's result."""

from __future__ import annotations

from typing import Protocol


class Write(Protocol):
    """One write."""

    @property
    def label(self) -> str:
        """Kind and table, as history shows it."""


class WriteFailed(Exception):
    """A write was refused: the step's failure."""
