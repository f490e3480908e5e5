"""When a cron expression is due, found by looking at every minute: an oracle that shares nothing with the library."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
LOOK = timedelta(minutes=15)  # no zone has changed its clocks twice in this time
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def _field(text: str, low: int, high: int) -> set[int]:
    """The numbers of a field of numbers, ranges, steps and stars."""
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        begin = low if first == "*" else int(first)
        end = high if first == "*" or (step and not last) else int(last or first)
        found.update(range(begin, end + 1, int(step or 1)))
    return found


@cache
def segments(zone: str, since: datetime, until: datetime) -> list[tuple[datetime, datetime, timedelta, timedelta]]:
    """The stretches of time with one offset: begin, end, offset, and the offset before."""
    tz = ZoneInfo(zone)

    def offset(at: datetime) -> timedelta:
        return at.astimezone(tz).utcoffset() or timedelta(0)

    found = []
    begin, at, known, before = since, since, offset(since), offset(since - LOOK)
    while at < until:
        later = min(at + LOOK, until)
        if offset(later) != known:
            change = next(at + n * MINUTE for n in range(16) if offset(at + n * MINUTE) != known)
            found.append((begin, change, known, before))
            begin, before, known = change, known, offset(change)
        at = later
    return [*found, (begin, until, known, before)]


def due(expression: str, zone: str, since: datetime, until: datetime) -> list[datetime]:
    """Every minute after ``since`` and before ``until`` at which Debian's cron runs the job."""
    fields = expression.split()
    minutes, hours, days, months, weekdays = (
        _field(text, *bounds) for text, bounds in zip(fields, RANGES, strict=True)
    )
    either = not (fields[2].startswith("*") or fields[4].startswith("*"))
    real_time = fields[0].startswith("*") or fields[1].startswith("*")
    of_day = sorted(hour * 60 + minute for hour in hours for minute in minutes)

    def on(day: datetime) -> bool:
        in_week = {day.isoweekday(), day.isoweekday() % 7} & weekdays
        matches = (day.day in days or bool(in_week)) if either else (day.day in days and bool(in_week))
        return day.month in months and matches

    def locally(low: datetime, high: datetime) -> list[datetime]:
        """The local minutes from ``low`` up to ``high`` that match."""
        day = low.replace(hour=0, minute=0)
        found = []
        while day < high:
            if on(day):
                found += [at for at in (day + minute * MINUTE for minute in of_day) if low <= at < high]
            day += timedelta(days=1)
        return found

    found: list[datetime] = []
    for begin, end, offset, before in segments(zone, since, until):
        low, high = (begin + offset).replace(tzinfo=None), (end + offset).replace(tzinfo=None)
        shown_before = (begin + before).replace(tzinfo=None)
        if not real_time and offset > before and locally(shown_before, low):
            found.append(begin)  # what the clocks were put over comes right after it
        if not real_time and offset < before:
            low = shown_before  # they show nothing new until then
        found += [at.replace(tzinfo=UTC) - offset for at in locally(low, high)]
    return sorted(set(found) - {since})
