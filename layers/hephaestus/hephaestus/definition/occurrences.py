"""What a schedule does when it looks at the time: which occurrences start, which are left out, when it looks again.

All of it is a function of what the schedule knows (a mapping of JSON values, the carry of its rounds), the time, and
what has come from outside. Nothing here writes; whether an occurrence is open, and what it starts with, is asked.

carry     is
--------  -------------------------------------------------------------------------------------------------------
declared  what code or an operator has declared; see ``Schedule.declaration``
stamp     of which deployment that is; none of what an operator has created
after     all occurrences up to this time (ms) are decided
removed   set while the code does not declare it any more
paused    ``reason``, ``by``, ``at`` (ms) and ``owner``, ``code`` or ``operator``; not there while it runs
open      the ids of the newest occurrences that have not been seen to have ended
queued    the time of the occurrence that waits for them
last      the ``id`` and ``time`` of the newest occurrence
skipped   how many were left out
skip      the ``time`` of the newest that was, and the ``reason``
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from hephaestus.definition.cron import cron_of
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hephaestus.engine.records import Occurrence

GRACE_MS: Final = 5 * 60 * 1000  # up to so much later an occurrence is on time
LOOK_MS: Final = 60 * 1000  # how long until an end is looked for again, or a workflow that is not there
LONGEST_LOOK_MS: Final = 15 * 60 * 1000  # of an end: a tenth of how long it is waited for
FIRST_WINDOW_MS: Final = 60 * 60 * 1000
MOST_OPEN: Final = 20
MOST_AT_ONCE: Final = 100
MOST_COUNTED: Final = 1_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
REMOVED: Final = "removed from the code"
EVENTS: Final = ("due", "declare", "pause", "unpause", "trigger")


class NotThere(Exception):
    """The workflow of an occurrence is not deployed now: it starts later."""


class LeftOut(Exception):
    """An occurrence cannot start, and never will."""


class Asked(Protocol):
    """What a schedule asks of the runtime."""

    def still_open(self, ids: Sequence[str]) -> list[str]:
        """Those of these occurrences that have not ended."""

    def occurrence(self, declared: Mapping[str, Any], name: str, time: int) -> Occurrence:
        """The occurrence called ``name``, for a ``time`` (ms).

        Raises:
            NotThere, LeftOut: it cannot start, now or ever.
        """


def name_at(schedule: str, time: int) -> str:
    """The name of an occurrence: that of its schedule, and its time (ms)."""
    return f"{schedule}.{moment(time):%Y%m%dT%H%M%SZ}"


def moment(time: int) -> datetime:
    """A time (ms) in UTC."""
    return EPOCH + time * timedelta(milliseconds=1)


def starts_at(declared: Mapping[str, Any], time: int) -> int:
    """When the occurrence for a ``time`` starts (ms): its jitter is a hash of its name (G.8)."""
    jitter = int(declared["jitter"])
    if not jitter:
        return time
    name = f"{declared['workflow']} {name_at(declared['name'], time)}"
    return time + int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]) % (jitter + 1)


def times_after(declared: Mapping[str, Any], after: int) -> Iterator[int]:
    """The times of its occurrences after ``after`` (ms)."""
    return cron_of(declared["cron"], declared["timezone"]).following(after)


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of a look.

    Attributes:
        carry: what the schedule knows now.
        starts: what starts.
        look_at: when to look again (ms); ``None`` for when something comes.
    """

    carry: Mapping[str, Any]
    starts: tuple[Occurrence, ...]
    look_at: int | None


def turn(carry: Mapping[str, Any], now: int, event: str, payload: Mapping[str, Any], asked: Asked) -> Turn:
    """Look at the time ``now`` (ms), then do what has come from outside.

    Args:
        carry: what the schedule knows.
        now: the time.
        event: what has come, one of ``EVENTS``; ``""`` for nothing.
        payload: what it says.
        asked: the runtime.
    """
    look = _Look(dict(carry), now, asked)
    if "paused" not in carry:
        look.at_the_time()
    match event:
        case "declare":
            look.declare(payload)
        case "pause":
            look.pause(str(payload["reason"]), str(payload["by"]), "operator")
        case "unpause":
            look.unpause()
        case "trigger":
            look.start(str(payload["name"]), now, str(payload.get("by", "")), str(payload.get("by_source", "")))
    return Turn(look.carry, tuple(look.starts), look.again_at())


class _Look:
    """One look at the time."""

    def __init__(self, carry: dict[str, Any], now: int, asked: Asked) -> None:
        self.carry = carry
        self.now = now
        self.asked = asked
        self.starts: list[Occurrence] = []
        self.retry_at: int | None = None
        self.looked = False

    @property
    def declared(self) -> Mapping[str, Any]:
        declared: Mapping[str, Any] = self.carry["declared"]
        return declared

    def at_the_time(self) -> None:
        """Decide each occurrence whose time has come, in their order."""
        queued = self.carry.get("queued")
        if queued is not None and not self.is_any_open() and self.start(name_at(self.declared["name"], queued), queued):
            del self.carry["queued"]
        times, missed = self._due()
        on_time = [time for time in times if self.now - starts_at(self.declared, time) <= GRACE_MS]
        count = int(self.declared["catch_up"])
        chosen = {*on_time, *(times[-count:] if count else ())}
        for time in times:
            if time not in chosen:
                self.leave_out(time, "it was missed, and catch_up leaves it out")
            elif not self.decide(time):
                return
            self.carry["after"] = time
        if missed:
            self.carry["skipped"] = int(self.carry.get("skipped", 0)) + missed

    def _due(self) -> tuple[list[int], int]:
        """The newest times that have come and are not decided, and how many older ones there are, as far as is known.

        After a long outage the oldest are neither looked at nor counted.
        """
        after, width = int(self.carry["after"]), FIRST_WINDOW_MS
        while True:
            since = max(after, self.now - width)
            found: deque[int] = deque(maxlen=MOST_AT_ONCE)
            number = 0
            for time in times_after(self.declared, since):
                if starts_at(self.declared, time) > self.now:
                    break
                found.append(time)
                number += 1
            if since == after or number >= MOST_COUNTED:
                return list(found), number - len(found)
            width *= 4

    def decide(self, time: int) -> bool:
        """Start an occurrence, have it wait, or leave it out; ``False`` where that is decided later."""
        if self.declared["overlap"] != "allow" and self.is_any_open():
            if self.declared["overlap"] == "queue" and "queued" not in self.carry:
                self.carry["queued"] = time
            else:
                self.leave_out(time, f"{self.carry['open'][-1]} is still open")
            return True
        return self.start(name_at(self.declared["name"], time), time)

    def is_any_open(self) -> bool:
        """Whether an occurrence is open."""
        if not self.looked and self.carry.get("open"):
            self.carry["open"] = self.asked.still_open(self.carry["open"])
        self.looked = True
        return bool(self.carry.get("open"))

    def start(self, name: str, time: int, by: str = "", by_source: str = "") -> bool:
        """Start an occurrence, which someone may have triggered; ``False`` where that is done later.

        One that cannot start is left out.
        """
        try:
            found = self.asked.occurrence(self.declared, name, time)
        except NotThere:
            self.retry_at = self.now + LOOK_MS
            return False
        except LeftOut as error:
            self.leave_out(time, str(error))
            return True
        self.starts.append(replace(found, by=by, by_source=by_source) if by_source else found)
        self.carry["last"] = {"id": found.child, "time": time}
        self.carry["open"] = [*self.carry.get("open", ()), found.child][-MOST_OPEN:]
        return True

    def leave_out(self, time: int, reason: str) -> None:
        self.carry["skipped"] = int(self.carry.get("skipped", 0)) + 1
        self.carry["skip"] = {"time": time, "reason": reason}

    def declare(self, payload: Mapping[str, Any]) -> None:
        """Take what a deployment declares, unless it is older than what is known (G.3)."""
        if list(payload["stamp"]) <= list(self.carry.get("stamp", ())):
            return
        self.carry["stamp"] = list(payload["stamp"])
        declared = payload.get("declared")
        if declared is None:
            self.carry["removed"] = True
            if "paused" not in self.carry:
                self.pause(REMOVED, "", "code")
            return
        self.carry.pop("removed", None)
        if (self.declared["cron"], self.declared["timezone"]) != (declared["cron"], declared["timezone"]):
            self.carry["after"] = max(int(self.carry["after"]), self.now)
        self.carry["declared"] = declared
        if self.carry.get("paused", {}).get("owner") == "code":
            self.unpause()

    def pause(self, reason: str, by: str, owner: str) -> None:
        self.carry["paused"] = {"reason": reason, "by": by, "at": self.now, "owner": owner}

    def unpause(self) -> None:
        """Go on; what fell into the pause is never made up (G.5)."""
        if self.carry.pop("paused", None) is not None:
            self.carry["after"] = max(int(self.carry["after"]), self.now)
        if self.carry.get("removed"):
            self.pause(REMOVED, "", "code")

    def again_at(self) -> int | None:
        """When to look again."""
        if "paused" in self.carry:
            return None
        if self.retry_at is not None:
            return self.retry_at
        times = [starts_at(self.declared, time) for time in _first(times_after(self.declared, self.carry["after"]))]
        if "queued" in self.carry:
            times.append(self.now + min(max((self.now - self.carry["queued"]) // 10, LOOK_MS), LONGEST_LOOK_MS))
        return min(times, default=None)


def _first(times: Iterator[int]) -> Iterator[int]:
    for time in times:
        yield time
        return
