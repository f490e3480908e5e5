"""What schedules take: every minute of ten years as the engine looks at them, and an occurrence through the engine.

    python benchmarks/schedules.py [years]

The first is held to a reference that looks at every minute; the second prints what an occurrence in week one and one
after so many more take, in log entries, requests and bytes.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "layers" / "hephaestus"), str(ROOT)]

from hephaestus import DONE, Schedule, Workflow, step
from hephaestus.definition.occurrences import turn
from hephaestus.engine.codec import dump_state
from hephaestus.engine.records import Occurrence
from hephaestus.testing import LocalRuntime
from tests.unit.cron_reference import due

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus import StepContext

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
ZONE = "Australia/Lord_Howe"
WEEK = timedelta(days=7)


class Asked:
    """A runtime in which everything ends at once."""

    def still_open(self, ids: Sequence[str]) -> list[str]:  # noqa: ARG002 - none is
        """None."""
        return []

    def occurrence(self, declared: Mapping[str, Any], name: str, time: int) -> Occurrence:  # noqa: ARG002 - as asked
        """One without data."""
        return Occurrence(name, time, name, "Report", 1)


def looks(years: int) -> None:
    """Look at every minute, each time at the time that the look before asked for."""
    end = round((BEGIN + years * timedelta(days=365)).timestamp() * 1000)
    declared = {"workflow": "Report", **Schedule("each", "* * * * *", timezone=ZONE).declaration}
    now = round(BEGIN.timestamp() * 1000)
    carry: Mapping[str, Any] = {"declared": declared, "after": now}
    expected = iter(due("* * * * *", ZONE, BEGIN, BEGIN + years * timedelta(days=365)))
    began, number = time.perf_counter(), 0
    while now < end:
        found = turn(carry, now, "", {}, Asked())
        for one in found.starts:
            number += 1
            if one.child != f"each.{next(expected):%Y%m%dT%H%M%SZ}":
                sys.exit(f"{one.child} is not what the reference says")
        carry, now = found.carry, found.look_at or end
    if next(expected, None) is not None:
        sys.exit("occurrences are missing")
    took = time.perf_counter() - began
    print(f"{number:,} occurrences in {years} years of minutes, each once: {took / number * 1e6:.0f} µs a look")


@step
def work(ctx: StepContext) -> dict[str, Any]:  # noqa: ARG001 - as every step
    """Nothing."""
    return {}


class Report(Workflow, key="report"):
    """Does nothing, every hour."""

    start_at = work
    transitions = {work: {"done": DONE}}
    schedules = [Schedule("hourly", "0 * * * *", timezone=ZONE)]


def occurrences() -> None:
    """What an occurrence takes in week one, and twenty weeks later."""
    local, name = LocalRuntime(Report), "hephaestus-schedule::Report.hourly"
    for label, weeks in (("week one", 1), ("week twenty", 19)):
        before = local.store.load(name)
        began = time.perf_counter()
        local.advance(weeks * WEEK)
        took = time.perf_counter() - began
        state = local.store.load(name)
        if state is None or before is None:
            sys.exit("there is no schedule")
        hours = weeks * 7 * 24
        entries, size = (state.sequence - before.sequence) / hours, len(dump_state(state))
        print(f"{label}: {entries:.2f} log entries, {took / hours * 1e3:.2f} ms an occurrence; snapshot {size} bytes")


if __name__ == "__main__":
    occurrences()
    looks(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
