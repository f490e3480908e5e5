"""How schedules are shown."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.cron import cron_of
from hephaestus.definition.occurrences import moment, starts_at, times_after
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

MOST_NEXT: Final = 5


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule as it is now.

    Attributes:
        id: the instance that it is.
        schedule: what commands call it: its workflow and its name, as ``Report.nightly``.
        workflow, name, cron, timezone, overlap: see ``hephaestus.Schedule``.
        catch_up: how many of the newest that were missed start: 0 for none.
        jitter_ms: how much later each starts at most.
        declared_by: ``code`` or ``operator``.
        next_at: its next times, on the clocks of its zone; none while it is paused.
        paused: ``reason``, ``by``, ``at`` and ``owner`` (``code`` where it was removed from the code), or ``None``.
        last: the newest occurrence, its ``id`` and what it was ``scheduled_for``, or ``None``.
        queued_for: the time of the occurrence that waits for the end of the one before, or ``None``.
        skipped: how many occurrences were left out.
        skip: the newest that was, what it was ``scheduled_for`` and the ``reason``, or ``None``.
    """

    id: str
    schedule: str
    workflow: str
    name: str
    cron: str
    timezone: str
    overlap: str
    catch_up: int
    jitter_ms: int
    declared_by: str
    next_at: tuple[datetime, ...] = ()
    paused: Mapping[str, Any] | None = None
    last: Mapping[str, Any] | None = None
    queued_for: datetime | None = None
    skipped: int = 0
    skip: Mapping[str, Any] | None = None


def view_schedule(instance_id: str, carry: Mapping[str, Any], now: int) -> ScheduleView:
    """Show what a schedule knows at the time ``now`` (ms)."""
    declared, paused, last, skip = carry["declared"], carry.get("paused"), carry.get("last"), carry.get("skip")
    zone = cron_of(declared["cron"], declared["timezone"]).zone
    times = () if paused else islice(times_after(declared, max(int(carry["after"]), now)), MOST_NEXT)
    queued = carry.get("queued")
    return ScheduleView(
        instance_id,
        f"{declared['workflow']}.{declared['name']}",
        declared["workflow"],
        declared["name"],
        declared["cron"],
        declared["timezone"],
        declared["overlap"],
        declared["catch_up"],
        declared["jitter"],
        declared_by="code" if "stamp" in carry else "operator",
        next_at=tuple(moment(starts_at(declared, time)).astimezone(zone) for time in times),
        paused={**paused, "at": moment(paused["at"])} if paused else None,
        last={"id": last["id"], "scheduled_for": moment(last["time"])} if last else None,
        queued_for=None if queued is None else moment(queued),
        skipped=carry.get("skipped", 0),
        skip={"scheduled_for": moment(skip["time"]), "reason": skip["reason"]} if skip else None,
    )
