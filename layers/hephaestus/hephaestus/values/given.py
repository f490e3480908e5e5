"""Copies of stored data for a user's code.

A ``FrozenDict`` has to be a real ``dict``, and C code writes to a dict past the methods of its class: ``eval(rule,
values)`` puts ``__builtins__`` into it, ``dict.update(values, …)`` whatever it is asked to. So what a user's code is
given is frozen and its own, and never an object that the engine's state consists of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

from hephaestus.values import FrozenDict, FrozenList

_UNCHANGEABLE: Final = frozenset({str, int, float, bool, type(None)})


def own(value: Any) -> Any:
    """A frozen copy of a stored value: nothing in it that could be changed is shared with the original."""
    if isinstance(value, Mapping):
        return own_mapping(value)
    if isinstance(value, list):
        return FrozenList([item if type(item) in _UNCHANGEABLE else own(item) for item in value])
    if type(value) is UUID:  # its attributes can be set, by object.__setattr__
        return UUID(int=value.int)
    return value


def own_mapping(values: Mapping[str, Any]) -> FrozenDict:
    """``own`` of a mapping, the engine's empty default included, which is no ``dict``."""
    return FrozenDict({key: item if type(item) in _UNCHANGEABLE else own(item) for key, item in values.items()})


class GivenResults(FrozenDict):
    """The results of steps by step; each becomes the reader's own when it is first read.

    So one step of a long chain pays for the results that it reads, not for all. What reads a ``dict`` from C without
    calling its methods sees the same values.
    """

    __slots__ = ("_read",)

    def __init__(self, results: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(results)
        self._read: set[str] = set()

    def _take(self, key: str) -> None:
        """Make the results of a step the reader's own, if they are not yet."""
        if key in self and key not in self._read:
            dict.__setitem__(self, key, own(dict.__getitem__(self, key)))
            self._read.add(key)

    def __getitem__(self, key: str) -> Any:
        """Read the results of one step."""
        self._take(key)
        return super().__getitem__(key)

    def __missing__(self, key: str) -> Any:
        """Say which steps have results.

        Raises:
            KeyError: always.
        """
        message = f"step {key!r} has no results here; those with results: {', '.join(self) or 'none'}"
        raise KeyError(message)

    def get(self, key: str, default: Any = None) -> Any:
        """Read the results of one step, or ``default``."""
        self._take(key)
        return super().get(key, default)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the steps. With a method of its own, ``dict()`` and ``**`` read each result by ``[]``."""
        return super().__iter__()

    def items(self) -> Any:
        """Every step with its results."""
        self._take_all()
        return super().items()

    def values(self) -> Any:
        """The results of every step."""
        self._take_all()
        return super().values()

    def copy(self) -> dict[str, Any]:
        """Give a plain copy."""
        return dict(self.items())

    def __or__(self, other: Any) -> Any:
        """Merge it into a plain mapping."""
        return self.copy() | other

    def __ror__(self, other: Any) -> Any:
        """Merge it into a plain mapping."""
        return other | self.copy()

    def __copy__(self) -> dict[str, Any]:
        """Give a plain copy."""
        return self.copy()

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, Any]]]:
        """Pickle it as what it is made from."""
        return GivenResults, (self.copy(),)

    def _take_all(self) -> None:
        for key in self:
            self._take(key)


class NoneGiven(GivenResults):
    """What the item of a map reads of other steps: nothing."""

    __slots__ = ()

    def __missing__(self, key: str) -> Any:
        """Say where the item finds what it needs.

        Raises:
            KeyError: always.
        """
        message = f"an item of a map reads no results of steps ({key!r}): give it what it needs by over= or context="
        raise KeyError(message)
