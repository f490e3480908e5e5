"""How many may start in a time: the second kind of limits that a step names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from hephaestus.definition.concurrency import Limit, check_named
from hephaestus.definition.durations import read_duration, shown
from hephaestus.definition.mistakes import Mistakes
from hephaestus.values.scalars import is_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.definition.context import StepContext
    from hephaestus.definition.durations import Duration

SHORTEST: Final = timedelta(seconds=1)
LONGEST: Final = timedelta(days=31)
MOST_A_SECOND: Final = 1_000  # writes of one item; DynamoDB Developer Guide, partitions
MOST_AT_ONCE: Final = 1_000_000
MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, init=False)
class RateLimit(Limit):
    """At most so many attempts start in a time, over all instances and workflows that name the limit.

    An attempt reserves the time that it starts at. Where that is more than a minute ahead, its step stands in line, and
    the instance runs nothing and costs nothing. In no time of ``t`` periods more than ``burst + n * t`` start.

    Attributes:
        name: the limit's name: up to 64 letters, digits, ``_``, ``.`` and ``-``, a letter or ``_`` first.
        n: how many start in a period; at most 1,000 a second.
        period: from one second to 31 days.
        burst: how many may start at once after a pause.
        per: takes the context and gives a text of 1 to 128 characters; each has a rate of its own.
        cost: how many starts an attempt of this step counts as; at most ``burst``.
        priority: -10 to 10; a unit is worth a minute in line.

    Raises:
        DefinitionError: one of these is none.
    """

    period: timedelta
    burst: int
    cost: int

    def __init__(  # noqa: PLR0913 - what a rate has
        self,
        name: str,
        n: int,
        period: Duration,
        *,
        burst: int = 1,
        per: Callable[[StepContext], str] | None = None,
        cost: int = 1,
        priority: int = 0,
    ) -> None:
        """Check it."""
        wrong = Mistakes(name)
        check_named(wrong, name, per, priority)
        time = wrong.read(read_duration, period, "period", longest=LONGEST)
        if time is not None and time < SHORTEST:
            wrong.add(f"period is {shown(period)}", "Give a second or more, and as many more starts")
            time = None
        if not is_whole(n) or n < 1:
            wrong.add(f"n is {shown(n)}", "Give a whole number of starts, 1 or more")
        elif time is not None and n * SHORTEST > MOST_A_SECOND * time:
            problem = f"{n} starts in {time.total_seconds():g} s are more than {MOST_A_SECOND} a second"
            wrong.add(problem, "Give it a per, so that each value has a rate of its own")
        if not is_whole(burst) or not 1 <= burst <= MOST_AT_ONCE:
            wrong.add(f"burst is {shown(burst)}", f"Give a whole number from 1 to {MOST_AT_ONCE:,}")
        elif not is_whole(cost) or not 1 <= cost <= burst:
            wrong.add(
                f"cost is {shown(cost)}", f"Give a whole number from 1 to its burst, {burst}: so many start at once"
            )
        wrong.report("limit")
        object.__setattr__(self, "name", str.__str__(name))
        object.__setattr__(self, "n", int.__int__(n))
        object.__setattr__(self, "period", time)
        object.__setattr__(self, "burst", int.__int__(burst))
        object.__setattr__(self, "per", per)
        object.__setattr__(self, "cost", int.__int__(cost))
        object.__setattr__(self, "priority", int.__int__(priority))

    @property
    def words(self) -> str:
        """How many starts in which time, as ``500 in 60 s``."""
        return f"{self.n:,} in {self.period.total_seconds():g} s"

    @property
    def size(self) -> str:
        """How many starts it lets through."""
        return f"{self.n} starts in {self.period.total_seconds():g} s with a burst of {self.burst}"

    @property
    def every(self) -> int:
        """How far apart starts are (microseconds), rounded up: never more than ``n`` in a period."""
        return -(-(self.period // MICROSECOND) // self.n)
