"""Durations, read alike everywhere: seconds as a number, or a ``timedelta``."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hephaestus.errors import EngineSignal

if TYPE_CHECKING:
    from collections.abc import Collection

Duration: TypeAlias = "timedelta | float"  # a number is seconds; ``float`` takes whole numbers, too

LONGEST: Final = timedelta(days=3_660)  # what nobody lives to see is a mistake, and times end in the year 9999
NOTHING: Final = timedelta(0)
SHOWN: Final = 80  # characters of a value that a message repeats


class Unfit(ValueError):
    """A value that is not what an argument takes.

    Attributes:
        problem: what is wrong, naming the argument and the value.
        fix: what to give, as a sentence without its full stop.
    """

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}: {fix[0].lower()}{fix[1:]}")
        self.problem = problem
        self.fix = fix


def read_duration(value: Any, what: str, *, zero: bool = False, longest: timedelta = LONGEST) -> timedelta:
    """``value`` as a ``timedelta``, and no subclass of it, which could have methods of its own.

    Args:
        value: seconds as an ``int`` or ``float`` (``bool`` is neither), or a ``timedelta``.
        what: names the value in the message.
        zero: whether no time at all is a duration here.
        longest: the longest that is taken.

    Raises:
        Unfit: it is something else, not finite, negative, nothing, or too long.
    """
    duration = timedelta(value.days, value.seconds, value.microseconds) if isinstance(value, timedelta) else None
    if duration is None:
        duration = _seconds(value)
    if duration is None or not (NOTHING < duration <= longest or (zero and duration == NOTHING)):
        least = "0 or more" if zero else "more than 0"
        most = f"{longest.days} days" if longest.days else f"{int(longest.total_seconds())} seconds"
        fix = f"Give seconds as a number, or a timedelta, {least} and at most {most}"
        problem = f"{what} is {shown(value)}"
        raise Unfit(problem, fix)
    return duration


def _seconds(value: Any) -> timedelta | None:
    """A number of seconds; ``None`` for what is no such number. What is too small for a microsecond is nothing."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return timedelta(seconds=value) if math.isfinite(value) else None
    except OverflowError:
        return None


def read_moment(value: Any, what: str) -> datetime:
    """``value`` in UTC, as a ``datetime`` and no subclass of it.

    Raises:
        Unfit: it is no ``datetime``, or has no time zone.
    """
    try:
        if isinstance(value, datetime) and value.utcoffset() is not None:
            utc = value.astimezone(UTC)
            return datetime.combine(utc.date(), utc.time(), UTC)
        naive = ", a datetime without a time zone" if isinstance(value, datetime) else ""
    except Exception as error:  # noqa: BLE001 - a user's time zone may raise anything, and years end
        naive = f", which is no time in UTC ({shown_error(error)})"
    fix = "Give a datetime with a time zone, as in datetime(2026, 1, 31, 12, tzinfo=UTC)"
    problem = f"{what} is {shown(value)}{naive}"
    raise Unfit(problem, fix)


def is_one_of(value: object, names: Collection[str]) -> bool:
    """Whether ``value`` is a text among ``names``; what is no text is not even compared, as it may object to that."""
    return isinstance(value, str) and value in names


def shown(value: object) -> str:
    """``value`` as a message repeats it: cut, and by its type's name where it cannot be shown."""
    try:
        text = str.__str__(str(value) if isinstance(value, timedelta) else repr(value))
    except EngineSignal:
        raise
    except BaseException:  # noqa: BLE001 - a user's __repr__ may raise anything, exits included
        return f"a {type.__dict__['__name__'].__get__(type(value))}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def shown_error(error: BaseException) -> str:
    """An error's message in one line, or its type's name."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        text = ""
    text = text or type(error).__name__
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
