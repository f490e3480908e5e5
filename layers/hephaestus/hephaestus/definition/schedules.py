"""Schedules: when a workflow's instances start by themselves (rules G). ``hephaestus.Schedule`` is what users write."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from hephaestus.definition.cron import Cron
from hephaestus.definition.durations import Unfit, is_one_of, read_duration, shown
from hephaestus.definition.mistakes import Mistakes
from hephaestus.definition.signatures import call_problem
from hephaestus.errors import DefinitionError, InvalidInput, Problem
from hephaestus.values import FrozenDict, NotSerializable, freeze

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from hephaestus.definition.definition import Definition
    from hephaestus.definition.durations import Duration
    from hephaestus.values.foreign import Model

Overlap: TypeAlias = Literal["skip", "queue", "allow"]
CatchUp: TypeAlias = "Literal['last', 'none'] | int"

OVERLAPS: Final[tuple[str, ...]] = get_args(Overlap)
CATCH_UPS: Final = {"none": 0, "last": 1}
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
MOST_CAUGHT_UP: Final = 100
MOST_SCHEDULES: Final = 100
LONGEST_JITTER: Final = timedelta(hours=1)
ONE: Final = timedelta(milliseconds=1)


class Schedule:
    """When instances of a workflow start by themselves: a line of its class's ``schedules``.

    Each start is an occurrence: an instance with the id ``<key>::<name>.<time>``, as in
    ``report::nightly.20261129T013000Z``, whose steps read that time as ``ctx.scheduled_for``. It starts exactly once.

    Args:
        name: its name within the workflow: up to 40 letters, digits, ``_`` and ``-``, a letter first.
        cron: five fields: minutes, hours, days of the month, months, days of the week, as in ``30 2 * * 1-5``.
        timezone: the zone whose clocks count, by its name in the IANA database. What is at fixed minutes and hours
            comes once a day when clocks change; what has a ``*`` at the beginning of either follows real time.
        context: the start data of each occurrence: a mapping, which must fit ``Input``, or a plain function that is
            given the time of the occurrence, in the schedule's zone.
        overlap: what becomes of an occurrence while one before it is open: it is left out (``skip``), waits for its
            end (``queue``; one at most, the others are left out), or starts (``allow``).
        catch_up: which occurrences start that were missed by more than five minutes, as in an outage: the newest
            (``last``), none (``none``), or as many of the newest, 1 to 100, where ``overlap`` allows several. Those of
            a pause never do.
        jitter: start each up to this much later, in seconds or as a ``timedelta``, at most an hour; how much follows
            from its id.

    Raises:
        DefinitionError: an argument is none of these: a cron expression that is never due, or has seconds or years; an
            unknown zone.
    """

    __slots__ = ("catch_up", "context", "cron", "jitter", "name", "overlap", "timezone")

    jitter: timedelta
    context: Any

    def __init__(  # noqa: PLR0913 - what a schedule is
        self,
        name: str,
        cron: str,
        *,
        timezone: str = "UTC",
        context: Mapping[str, Any] | Model | Callable[[datetime], Mapping[str, Any] | Model] | None = None,
        overlap: Overlap = "skip",
        catch_up: CatchUp = "last",
        jitter: Duration | None = None,
    ) -> None:
        wrong = Mistakes(name)
        if type(name) is not str or not NAME.fullmatch(name):
            wrong.add(f"the schedule's name is {shown(name)}", "Use up to 40 letters, digits, '_' and '-'")
        known = wrong.read(Cron, cron, timezone)
        given: Any = {} if context is None else context
        if callable(given) and not isinstance(given, Mapping):
            if problem := call_problem(given, "time", coroutines=False):
                wrong.add(f"its context {problem}", "Give a plain function that takes the time of the occurrence")
        else:
            given = wrong.read(_read_context, given)
        if not is_one_of(overlap, OVERLAPS):
            wrong.add(f"overlap is {shown(overlap)}", f"Use one of {', '.join(OVERLAPS)}")
        if not is_catch_up(catch_up):
            wrong.add(f"catch_up is {shown(catch_up)}", f"Give 'last', 'none', or a number from 1 to {MOST_CAUGHT_UP}")
        late = timedelta(0)
        if jitter is not None:
            late = wrong.read(read_duration, jitter, "jitter", zero=True, longest=LONGEST_JITTER) or late
        wrong.report("schedule")
        assert known is not None  # noqa: S101 - else it was reported
        self.name, self.cron, self.timezone = name, known.expression, timezone
        self.context, self.overlap, self.catch_up = given, overlap, catch_up
        self.jitter = late

    def __repr__(self) -> str:
        return f"Schedule({self.name!r}, {self.cron!r}, timezone={self.timezone!r})"

    @property
    def declaration(self) -> FrozenDict:
        """What the instance that makes it come true is given of it; a function stays where it is."""
        function = not isinstance(self.context, Mapping)
        own: dict[str, Any] = {"name": self.name, "cron": self.cron, "timezone": self.timezone, "overlap": self.overlap}
        own |= {"catch_up": CATCH_UPS.get(str(self.catch_up), self.catch_up), "jitter": self.jitter // ONE}
        return FrozenDict({**own, "function": True} if function else {**own, "context": self.context})


def is_catch_up(value: object) -> bool:
    """Whether it says which missed occurrences start."""
    if type(value) is int:
        return 1 <= value <= MOST_CAUGHT_UP
    return is_one_of(value, tuple(CATCH_UPS))


def read_schedules(cls: type, given: Any) -> tuple[tuple[Schedule, ...], list[Problem]]:
    """The schedules that a workflow's class declares, and what is wrong with them."""
    if not isinstance(given, (list, tuple)):
        problem = f"schedules is {shown(given)}"
        return (), [Problem(cls.__name__, problem, "Give a list: schedules = [Schedule('nightly', '0 2 * * *')]")]
    if len(given) > MOST_SCHEDULES:
        return (), [Problem(cls.__name__, f"has {len(given)} schedules", f"Leave at most {MOST_SCHEDULES}")]
    problems = [
        Problem(cls.__name__, f"schedules holds {shown(one)}", "Give Schedule(...)")
        for one in given
        if type(one) is not Schedule
    ]
    return tuple(one for one in given if type(one) is Schedule), problems


def schedules_wrong(cls: type, schedules: Sequence[Schedule], definition: Definition) -> Iterator[Problem]:
    """What is wrong with the schedules of a workflow together, and with what its current version is started with."""
    names = [one.name for one in schedules]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield Problem(cls.__name__, f"has two schedules named {name!r}", "Give each a name of its own")
    for one in schedules:
        if isinstance(one.context, Mapping):
            try:
                definition.read_input(one.context)
            except (DefinitionError, InvalidInput) as error:
                problem = f"the context of its schedule {one.name!r} does not fit Input: {error}"
                yield Problem(cls.__name__, problem, "Give what Input takes, or a function of the time")


def _read_context(given: Any) -> FrozenDict:
    """Start data that are the same for each occurrence.

    Raises:
        Unfit: they cannot be.
    """
    try:
        frozen = freeze(given, "context")
    except NotSerializable as error:
        problem = str(error)
        raise Unfit(problem, "A context holds JSON-safe values only") from error
    if not isinstance(frozen, FrozenDict):
        problem = f"context is {shown(given)}"
        raise Unfit(problem, "Give a mapping, or a function of the time")
    return frozen
