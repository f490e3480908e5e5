"""The one source of everything that a simulated run leaves open, recorded so that a run can be repeated and shrunk.

Zero is always the plain thing: no fault, the first of several, the shortest time. So a run is made simpler by putting
zeros in the place of choices, whatever they were about.
"""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class Choices:
    """Draws from a seed, or repeats what was drawn before.

    Args:
        seed: what to draw from.
        script: draw these instead, one after the other, and nothing but zeros after them.

    Attributes:
        seed: what is drawn from.
        taken: everything drawn so far.
    """

    def __init__(self, seed: int, script: Sequence[int] | None = None) -> None:
        self.seed = seed
        self._draw = Random(seed).random  # noqa: S311 - what is random here must repeat
        self._script = script
        self.taken: list[int] = []

    def below(self, number: int) -> int:
        """One of 0 up to ``number``, which is not among them; where there is no choice, nothing is drawn."""
        if number <= 1:
            return 0
        found = int(self._draw() * number) if self._script is None else min(self._next(), number - 1)
        self.taken.append(found)
        return found

    def chance(self, probability: float) -> bool:
        """Whether something happens that has this probability, from 0 to 1."""
        if probability <= 0:
            return False
        found = int(self._draw() < probability) if self._script is None else min(self._next(), 1)
        self.taken.append(found)
        return bool(found)

    def _next(self) -> int:
        assert self._script is not None  # noqa: S101 - its callers have looked
        position = len(self.taken)
        return self._script[position] if position < len(self._script) else 0


def shrink(script: Sequence[int], fails: Callable[[Sequence[int]], bool], tries: int) -> list[int]:
    """A script with as few choices that are not zero as ``tries`` runs find, which still fails.

    It leaves out the end, then puts zeros in ever smaller parts (after Zeller and Hildebrandt, "Simplifying and
    Isolating Failure-Inducing Input", 2002).
    """
    best = list(script)

    def newest() -> list[int]:
        return best

    for candidate in islice(_simpler(newest), tries):
        if fails(candidate):
            best = _trimmed(candidate)
    return best


def _simpler(best: Callable[[], list[int]]) -> Iterator[list[int]]:
    """Candidates that are simpler than the best so far, as long as there are new ones."""
    cut = len(best()) // 2
    while cut:
        while len(best()) > cut:
            known = len(best())
            yield best()[:-cut]
            if len(best()) >= known:
                break
        cut //= 2
    yield from _ever_simpler(best)


def _ever_simpler(best: Callable[[], list[int]]) -> Iterator[list[int]]:
    """Candidates with zeros in the place of other choices."""
    while True:
        before = best()
        part = max(_weight(before) // 2, 1)
        while True:
            start = 0
            while start < _weight(best()):
                known = best()
                yield _zeroed(known, start, part)
                if best() is known:
                    start += part
            if part == 1:
                break
            part //= 2
        if best() is before:
            return


def _weight(script: Sequence[int]) -> int:
    return sum(1 for choice in script if choice)


def _zeroed(script: Sequence[int], start: int, part: int) -> list[int]:
    """The script without ``part`` of its choices that are not zero, from number ``start`` of them."""
    places = [place for place, choice in enumerate(script) if choice][start : start + part]
    found = list(script)
    for place in places:
        found[place] = 0
    return found


def _trimmed(script: list[int]) -> list[int]:
    """The script without the zeros at its end, which it means anyway."""
    end = len(script)
    while end and not script[end - 1]:
        end -= 1
    return script[:end]
