"""How often a step may run again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from hephaestus.definition.durations import read_duration, shown
from hephaestus.definition.mistakes import Mistakes
from hephaestus.engine.graph import Bounds

if TYPE_CHECKING:
    from hephaestus.definition.durations import Duration

MOST_ROUNDS: Final = 10_000_000
ONE: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, init=False)
class Rounds:
    """The bounds of a step that may return ``Again``. Past either, it emits ``exhausted`` if that is routed, or fails.

    Attributes:
        at_most: how many rounds, the first included: 1 to 10,000,000.
        within: how long after the beginning of the first round the last one may begin, pauses included, given in
            seconds or as a ``timedelta``; ``None`` for ever.

    Raises:
        DefinitionError: the number is none of these, or ``within`` is no duration.
    """

    at_most: int
    within: timedelta | None

    def __init__(self, at_most: int, within: Duration | None = None) -> None:
        """Check it, with the duration as ``timedelta`` from here on."""
        wrong = Mistakes("Rounds")
        if isinstance(at_most, bool) or not isinstance(at_most, int) or not 1 <= at_most <= MOST_ROUNDS:
            wrong.add(f"at_most is {shown(at_most)}", f"Give a whole number from 1 to {MOST_ROUNDS:,}")
        limit = None if within is None else wrong.read(read_duration, within, "within")
        wrong.report("bounds")
        object.__setattr__(self, "at_most", int.__int__(at_most))
        object.__setattr__(self, "within", limit)

    @property
    def bounds(self) -> Bounds:
        """As the engine reads them."""
        return Bounds(self.at_most, None if self.within is None else max(round(self.within / ONE), 1))
