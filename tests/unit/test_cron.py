"""When schedules are due (G.7), held to a reference that looks at every minute."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from hephaestus.definition.cron import Cron
from hephaestus.definition.durations import Unfit
from tests.unit.cron_reference import due

ZONES = ("Europe/Rome", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
SINCE, UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
FIXED = ("0 2 * * *", "30 1 * * *", "15 2 * * 0", "0,30 2,3 * * *", "1-59/20 1-3 * * *", "59 1 28-31 * *", "0 0 1 1 *")
REAL = ("0 * * * *", "*/20 2 * * *", "*/30 1 * * *", "7 */2 * * *", "*/7 */3 1-7 * 1-5", "*/45 2,3 * 3,4,10,11 *")


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _found(expression: str, zone: str, since: datetime, until: datetime) -> list[datetime]:
    found = []
    for at in Cron(expression, zone).following(_ms(since)):
        if at >= _ms(until):
            break
        found.append(datetime.fromtimestamp(at / 1000, UTC))
    return found


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", [*FIXED, *REAL])
def test_years_are_those_of_a_reference_that_looks_at_every_minute(expression: str, zone: str) -> None:
    """Rule G.7: fixed times in the gap come right after it, and once in the doubled hour; stars follow real time."""
    until = UNTIL if expression in FIXED else SINCE + timedelta(days=800)
    assert _found(expression, zone, SINCE, until) == due(expression, zone, SINCE, until)


@pytest.mark.parametrize("zone", [*ZONES, "America/Santiago", "Antarctica/Troll", "Africa/Casablanca"])
def test_random_expressions_are_those_of_the_reference_wherever_it_begins(zone: str) -> None:
    draw = random.Random(zone)
    for _ in range(10):
        low, high = sorted(draw.sample(range(24), 2))
        minutes = draw.choice(["*", "*/5", "*/17", f"{draw.randrange(60)}", "0-40/10", "5,35"])
        hours = draw.choice(["*", "*/3", f"{low}", f"{low}-{high}", "1,2,3", "2"])
        days = draw.choice(["*", "*", "1-15", "28-31", "*/10"])
        weekdays = draw.choice(["*", "*", "0", "1-5", "7"])
        expression = f"{minutes} {hours} {days} * {weekdays}"
        begin = SINCE + timedelta(minutes=draw.randrange(60 * 24 * 365), seconds=draw.randrange(60))
        until = begin + timedelta(days=40)
        midnight = begin.replace(hour=0, minute=0, second=0) - timedelta(days=1)
        expected = [at for at in due(expression, zone, midnight, until) if at > begin]
        assert _found(expression, zone, begin, until) == expected, (expression, begin)


@pytest.mark.parametrize("zone", ZONES)
def test_the_next_time_depends_on_nothing_but_the_time_before(zone: str) -> None:
    """Asked at any moment of a day on which clocks change, in the doubled hour, too."""
    for expression in (*FIXED, *REAL):
        cron, times = Cron(expression, zone), due(expression, zone, SINCE, SINCE + timedelta(days=800))
        for day in (
            datetime(2026, 3, 8, tzinfo=UTC),
            datetime(2026, 3, 29, tzinfo=UTC),
            datetime(2026, 4, 4, tzinfo=UTC),
            datetime(2026, 10, 25, tzinfo=UTC),
        ):
            for minutes in range(0, 60 * 24, 13):
                at = day + timedelta(minutes=minutes)
                assert cron.next(_ms(at)) == _ms(next(one for one in times if one > at))


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("0 0 30 2 *", "day-of-month"),
        ("0 0 31 2,4 *", "day-of-month"),
        ("0 0 2 * * *", "has 6 fields"),
        ("0 0 2 * * * 2026", "has 7 fields"),
        ("0 2 * *", "has 4 fields"),
        ("60 2 * * *", "bad minute"),
        ("0 24 * * *", "bad hour"),
        ("0 2 * * MO", "bad day-of-week"),
        ("5#2/3 * * * *", "bad minute"),
        ("0 0 * * 1#2/2", "bad day-of-week"),
        ("@daily", "has 1 fields"),
        ("", "cron is ''"),
        (7, "cron is 7"),
        ("٠ 2 * * *", "cron is"),
        ("* " * 200, "cron is"),
        ("0 0 * 2 1#6", "bad day-of-week"),
    ],
)
def test_what_is_no_cron_expression_is_rejected(expression: object, part: str) -> None:
    with pytest.raises(Unfit) as caught:
        Cron(expression, "UTC")
    assert part in str(caught.value)


@pytest.mark.parametrize("zone", ["Europe/Roma", "", "../etc/passwd", "/etc/localtime", 7, None, "x" * 1000, "Europe"])
def test_an_unknown_zone_is_rejected(zone: object) -> None:
    with pytest.raises(Unfit, match="unknown"):
        Cron("0 2 * * *", zone)
