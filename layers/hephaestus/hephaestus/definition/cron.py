"""When a cron expression is due: local times by the library ``cronsim``, and what daylight saving makes of them (G.7).

The library's own rules for daylight saving are not used: where clocks change by half an hour they leave occurrences
out. As in Debian's cron, what has a ``*`` at the beginning of its minutes or hours follows real time. Anything else is
at fixed times of the local day: one that falls into the hour that is left out comes right after it, and one in the hour
that comes twice only the first time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from hephaestus.definition.durations import Unfit, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

FIELDS: Final = 5
LONGEST_CRON: Final = 100
LONGEST_ZONE: Final = 64
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ONE: Final = timedelta(milliseconds=1)


class Cron:
    """The times of a cron expression in a time zone.

    Args:
        expression: five fields: minutes, hours, days of the month, months, days of the week.
        timezone: the name of a time zone, as ``Europe/Rome``.

    Raises:
        Unfit: it is none, has another number of fields, is never due, or the zone is unknown.
    """

    def __init__(self, expression: object, timezone: object) -> None:
        self.zone = _read_zone(timezone)
        self.expression = _read_expression(expression)
        minutes, hours = self.expression.split()[:2]
        self._known: tuple[int, int | None] = (-1, None)  # the newest answer: it is asked for twice
        self.follows_real_time = minutes.startswith("*") or hours.startswith("*")

    def following(self, after: int) -> Iterator[int]:
        """Its times after ``after``, both in milliseconds since the epoch, in order, each once."""
        while (found := self.next(after)) is not None:
            yield found
            after = found

    def next(self, after: int) -> int | None:
        """Its first time after ``after``, both in milliseconds since the epoch; ``None`` if there is none."""
        known = self._known
        if known[0] != after:
            known = self._known = (after, self._look(after))
        return known[1]

    def _look(self, after: int) -> int | None:
        from cronsim import CronSim  # noqa: PLC0415 - only where schedules are

        now = EPOCH + after * ONE
        local = now.astimezone(self.zone)
        begin = local.replace(tzinfo=None, fold=0)
        if self.follows_real_time and not local.fold and (twice := _repeated(local)):
            begin -= twice  # these local times will come again
        found: datetime | None = None
        for nominal in CronSim(self.expression, begin):
            first, second = self._moments(nominal)
            if first is not None and first > now:
                found = first if found is None else min(found, first)
                break
            if second is not None and second > now:
                found = second if found is None else min(found, second)
        return None if found is None else (found - EPOCH) // ONE

    def _moments(self, nominal: datetime) -> tuple[datetime | None, datetime | None]:
        """When the clocks show ``nominal``, and when they do so again."""
        first = nominal.replace(tzinfo=self.zone).astimezone(UTC)
        if first.astimezone(self.zone).replace(tzinfo=None, fold=0) != nominal:  # they never do
            return (None if self.follows_real_time else self._after_gap(nominal)), None
        second = nominal.replace(tzinfo=self.zone, fold=1).astimezone(UTC)
        return first, second if self.follows_real_time and second != first else None

    def _after_gap(self, nominal: datetime) -> datetime:
        """When the clocks were put forward over ``nominal``."""
        before = nominal.replace(tzinfo=self.zone, fold=1).astimezone(UTC)
        after = nominal.replace(tzinfo=self.zone, fold=0).astimezone(UTC)
        offset = before.astimezone(self.zone).utcoffset()
        while after - before > timedelta(seconds=1):
            middle = before + (after - before) / 2
            if middle.astimezone(self.zone).utcoffset() == offset:
                before = middle
            else:
                after = middle
        return after.replace(microsecond=0)


def _repeated(local: datetime) -> timedelta | None:
    """By how much the clocks will be put back, if what they show now comes again."""
    again = local.replace(fold=1).utcoffset()
    now = local.utcoffset()
    return now - again if now is not None and again is not None and now > again else None


@lru_cache(maxsize=256)
def cron_of(expression: str, timezone: str) -> Cron:
    """The times of an expression that was checked before."""
    return Cron(expression, timezone)


def _read_zone(timezone: object) -> ZoneInfo:
    """The time zone of a name.

    Raises:
        Unfit: there is none.
    """
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - only where schedules are

    if type(timezone) is str and 0 < len(timezone) <= LONGEST_ZONE and timezone != "localtime":
        try:
            return ZoneInfo(timezone)
        except (LookupError, ValueError, OSError):
            pass
    problem = f"timezone is {shown(timezone)}, which is unknown"
    raise Unfit(problem, "Give a name of the IANA database, as in timezone='Europe/Rome'")


def _read_expression(expression: object) -> str:
    """A cron expression.

    Raises:
        Unfit: it is none, or never due.
    """
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - only where schedules are

    fix = "Give five fields, as in '30 2 * * 1-5' for half past two on weekdays"
    if type(expression) is not str or not expression.isascii() or not 0 < len(expression) <= LONGEST_CRON:
        problem = f"cron is {shown(expression)}"
        raise Unfit(problem, fix)
    if (number := len(expression.split())) != FIELDS:
        problem = f"cron is {shown(expression)}, which has {number} fields"
        raise Unfit(problem, fix)
    try:
        next(CronSim(expression, datetime(2026, 1, 1)))  # noqa: DTZ001 - a local time, wherever
    except (CronSimError, AssertionError, LookupError, TypeError, ValueError) as error:
        why = str(error).lower() if isinstance(error, CronSimError) else "it is malformed"
        problem = f"cron is {shown(expression)}: {why}"
        raise Unfit(problem, fix) from error
    except (StopIteration, OverflowError) as error:
        problem = f"cron is {shown(expression)}, which is never due"
        raise Unfit(problem, "Give days that there are") from error
    return " ".join(expression.split())
