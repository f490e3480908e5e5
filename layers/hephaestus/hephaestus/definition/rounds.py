"""How often a step may run again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from hephaestus.definition.durations import read_duration, shown
from hephaestus.definition.mistakes import Mistakes
from hephaestus.definition.step import events_wrong, plain_events
from hephaestus.engine.graph import Bounds
from hephaestus.values.scalars import is_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus.definition.durations import Duration

MOST_ROUNDS: Final = 10_000_000
ENDLESS: Final = 2**62
ONE: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True, init=False)
class Rounds:
    """The bounds of a step that may return ``Again``. Past either, it emits ``exhausted`` if that is routed, or fails.

    Attributes:
        at_most: how many rounds, the first included: 1 to 10,000,000.
        within: how long after the beginning of the first round the last one may begin, pauses included, given in
            seconds or as a ``timedelta``; ``None`` for ever.
        again_on: the events that end a wait (``Pending``), and with it the round, but not the step: the next round is
            given the event (``ctx.event``, ``ctx.payload``) and the same carry. No transition routes them.

    Raises:
        DefinitionError: the number is none of these, ``within`` is no duration, or ``again_on`` are no events.
    """

    at_most: int
    within: timedelta | None
    again_on: tuple[str, ...]

    def __init__(self, at_most: int, within: Duration | None = None, again_on: Sequence[str] = ()) -> None:
        """Check it, with the duration as ``timedelta`` from here on."""
        wrong = Mistakes("Rounds")
        if not is_whole(at_most) or not 1 <= at_most <= MOST_ROUNDS:
            wrong.add(f"at_most is {shown(at_most)}", f"Give a whole number from 1 to {MOST_ROUNDS:,}")
        limit = None if within is None else wrong.read(read_duration, within, "within")
        for problem, fix in () if again_on == () else events_wrong(again_on):
            wrong.add(f"again_on {problem}", fix.replace("events=", "again_on="))
        wrong.report("bounds")
        object.__setattr__(self, "at_most", int.__int__(at_most))
        object.__setattr__(self, "within", limit)
        object.__setattr__(self, "again_on", plain_events(again_on))

    @classmethod
    def endless(cls, again_on: Sequence[str]) -> Rounds:
        """The bounds of a loop of the engine's own, which never ends by itself (B.1)."""
        made = cls(MOST_ROUNDS, again_on=again_on)
        object.__setattr__(made, "at_most", ENDLESS)
        return made

    @property
    def bounds(self) -> Bounds:
        """As the engine reads them."""
        return Bounds(self.at_most, None if self.within is None else max(round(self.within / ONE), 1), self.again_on)
