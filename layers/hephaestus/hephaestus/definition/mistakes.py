"""Collects what is wrong with one thing that a user defines, so that all of it is reported at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from hephaestus.definition.durations import Unfit, shown
from hephaestus.errors import DefinitionError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Mistakes:
    """What is wrong with the step or policy called ``name``."""

    def __init__(self, name: object) -> None:
        self.name = name if isinstance(name, str) and name else shown(name)
        self.problems: list[Problem] = []

    def add(self, problem: str, fix: str) -> None:
        """Note a mistake, and what to do."""
        self.problems.append(Problem(self.name, problem, fix))

    def read(self, reader: Callable[..., T], *arguments: object, **options: object) -> T | None:
        """What ``reader`` makes of the arguments; ``None``, with the mistake noted, where they do not fit."""
        try:
            return reader(*arguments, **options)
        except Unfit as error:
            self.add(error.problem, error.fix)
            return None

    def report(self, what: str) -> None:
        """Raise what was noted, if anything; ``what`` is the kind of thing that was defined.

        Raises:
            DefinitionError: there is a mistake.
        """
        if self.problems:
            raise DefinitionError(self.name, self.problems, what)
