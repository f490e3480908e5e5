"""I.8: what starts is what a reference says that looks at every minute, whatever fails; deliberate bugs are found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import Schedule
from hephaestus.definition import cron as crons
from hephaestus.definition import occurrences
from hephaestus.definition.occurrences import turn
from hephaestus.engine.records import Occurrence
from hephaestus.runtime import declarations
from hephaestus.store import reader
from tests.property.schedule_world import World, ids, report
from tests.unit.cron_reference import due

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Patch = pytest.MonkeyPatch

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ZONES = ("Europe/Rome", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
OLDER = report(Schedule("nightly", "17 * * * *", overlap="allow"))


def _unlike_the_reference(seed: int, odds: float, zone: str, cron: str, days: int) -> set[str]:
    """What did not start as the reference says: too often, never, or at no time of it."""
    flow = report(Schedule("nightly", cron, timezone=zone, overlap="allow", catch_up=10))
    world = World(seed, odds, flow, OLDER)
    started = world.run(days * DAY)
    assert world.table.faults > 10
    expected = ids(due(cron, zone, BEGIN, BEGIN + days * DAY - timedelta(hours=1)))
    late = ids(due(cron, zone, BEGIN, BEGIN + days * DAY))
    twice = {name for name, number in started.items() if number > 1}
    return twice | (expected - started.keys()) | (started.keys() - late)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("seed", range(3))
def test_everything_starts_once_whatever_fails(zone: str, seed: int) -> None:
    """Rules G.2, G.3 and G.7: timers twice or never, crashes, an older deployment that goes on, a day of retention."""
    assert _unlike_the_reference(seed, 0.02, zone, "30 */3 * * *", 40) == set()


@pytest.mark.parametrize(("zone", "years"), [(zone, 10 if "Lord" in zone else 2) for zone in ZONES])
def test_years_of_hours_are_those_of_the_reference(zone: str, years: int) -> None:
    """Rule G.7: looked at as the engine does, each time at the time that the look before asked for."""
    carry: Mapping[str, Any] = {"declared": _declared("0 * * * *", zone), "stamp": [1, ""], "after": _ms(BEGIN)}
    end, started, now = BEGIN + years * 365 * DAY, [], _ms(BEGIN)
    while now < _ms(end):
        found = turn(carry, now, "", {}, _Asked())
        started += [one.child for one in found.starts]
        carry, now = found.carry, found.look_at or _ms(end)
    assert started == [f"nightly.{at:%Y%m%dT%H%M%SZ}" for at in due("0 * * * *", zone, BEGIN, end)]
    assert len(str(carry)) < 1_000


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _declared(cron: str, zone: str) -> dict[str, Any]:
    return {"workflow": "Report", **Schedule("nightly", cron, timezone=zone).declaration}


class _Asked:
    """A runtime in which everything ends at once."""

    def still_open(self, ids: Sequence[str]) -> list[str]:
        return []

    def occurrence(self, declared: Mapping[str, Any], name: str, time: int) -> Occurrence:
        return Occurrence(name, time, name, "Report", 1)


def named_by_its_actual_time(patch: Patch) -> None:
    """An occurrence is named by the time at which it is started."""
    right = occurrences._Look.start  # noqa: SLF001 - made wrong on purpose

    def start(self: Any, name: str, time: int) -> bool:
        return right(self, occurrences.name_at(self.declared["name"], self.now), time)

    patch.setattr(occurrences._Look, "start", start)  # noqa: SLF001 - as above


def older_declaration_wins(patch: Patch) -> None:
    """What was declared last counts, whichever deployment it is of."""
    right = occurrences._Look.declare  # noqa: SLF001 - made wrong on purpose

    def declare(self: Any, payload: Mapping[str, Any]) -> None:
        self.carry["stamp"] = [0, ""]
        right(self, payload)

    patch.setattr(occurrences._Look, "declare", declare)  # noqa: SLF001 - as above
    carry_of = declarations.carry_of
    patch.setattr(declarations, "carry_of", lambda state: {**carry_of(state), "stamp": [0, ""]})


def missed_are_left_out(patch: Patch) -> None:
    """Under catch_up, the newest that was missed is left out as well."""
    patch.setattr(occurrences, "GRACE_MS", 30_000)

    def declaration(self: Schedule) -> Any:
        return {**own(self), "catch_up": 0}

    own: Callable[[Schedule], Any] = Schedule.declaration.fget  # type: ignore[attr-defined]  # it is a property
    patch.setattr(Schedule, "declaration", property(declaration))


def starts_are_not_owed(patch: Patch) -> None:
    """A start that a crash swallowed is not made up for."""
    patch.setattr(reader, "owed", lambda _before, _entry, _after: ())


def decided_before_it_is_due(patch: Patch) -> None:
    """The time up to which all is decided is that of the look, so that what falls between two looks is lost."""
    right = occurrences._Look.at_the_time  # noqa: SLF001 - made wrong on purpose

    def at_the_time(self: Any) -> None:
        right(self)
        self.carry["after"] = max(self.carry["after"], self.now + 3 * 3_600_000)

    patch.setattr(occurrences._Look, "at_the_time", at_the_time)  # noqa: SLF001 - as above


def clocks_of_the_library(patch: Patch) -> None:
    """Daylight saving is left to the library that reads cron expressions."""
    from cronsim import CronSim

    def following(self: crons.Cron, after: int) -> int | None:
        begin = datetime.fromtimestamp(after / 1000, self.zone)
        for at in CronSim(self.expression, begin):
            if _ms(at) > after:
                return _ms(at)
        return None

    patch.setattr(crons.Cron, "next", following)


BUGS = (
    named_by_its_actual_time,
    older_declaration_wins,
    missed_are_left_out,
    starts_are_not_owed,
    decided_before_it_is_due,
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_deliberate_bugs_are_found(bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    """By the same world, within a few of its runs."""
    bug(monkeypatch)
    assert any(_unlike_the_reference(seed, 0.02, "Europe/Rome", "30 */3 * * *", 40) for seed in range(10))


def test_the_clocks_of_the_library_are_wrong_where_they_change_by_half_an_hour(monkeypatch: Patch) -> None:
    """Why daylight saving is not left to it: were it right one day, that could be."""
    clocks_of_the_library(monkeypatch)
    cron, at, found = crons.Cron("*/10 2 * * *", "Australia/Lord_Howe"), _ms(BEGIN), []
    while (following := cron.next(at)) is not None and following < _ms(BEGIN + 200 * DAY):
        found.append(following)
        at = following
    assert found != [_ms(one) for one in due("*/10 2 * * *", "Australia/Lord_Howe", BEGIN, BEGIN + 200 * DAY)]
