"""Wakes what is overdue: the answer to every crash between a commit and what should have followed it.

A lease that ended, a schedule or a message that never came, a hand-over nobody took: the alarm in the head shows all
of them in one sparse index. The sweep only sends messages and writes nothing, so sweeping twice, or two at once, is
harmless, as is waking an instance twice.
"""

from __future__ import annotations

import logging
from dataclasses import field
from typing import TYPE_CHECKING, Final

from hephaestus.errors import HephaestusError, StoreUnavailable
from hephaestus.runtime.limits import Bounds, check_numbers
from hephaestus.runtime.names import is_bulk
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus.runtime.dispatch import Budget
    from hephaestus.runtime.ports import Clock, WorkQueue
    from hephaestus.store.overdue import OverduePage, Wakeup
    from hephaestus.store.store import Store

PAGE: Final = 500
CHUNK: Final = 100  # messages between two looks at the clock
SILENT_CHUNKS: Final = 2  # so many that were not taken, one after the other: the queue is in trouble
MOST_QUEUED: Final = 5_000
BOUNDS: Final = {
    "margin_ms": Bounds(0, 60_000, "a sweep comes every minute"),
    "most_queued": Bounds(1, 120_000, "SQS has at most 120,000 messages in flight"),
}

_logger = logging.getLogger("hephaestus.sweeper")


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What one sweep did.

    Attributes:
        found: overdue instances that the index showed.
        sent: messages that the queue accepted for them.
        skipped: found but not sent, because the queue was full or did not accept it; the next sweep finds them again.
        oldest_ms: how long the most overdue one had been waiting, in milliseconds.
        complete: whether all that was overdue was looked at; not so when the time was up or the store fell silent.
    """

    found: int
    sent: int
    skipped: int
    oldest_ms: int
    complete: bool


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Looks for overdue instances, once a minute.

    Attributes:
        store, queue, clock: the adapters.
        margin_ms: this long before the invocation's end, nothing more is begun.
        most_queued: with so many messages waiting in the queue, nothing is sent: what is overdue may well be among
            them, and a backlog must not grow by itself every minute. What goes to the bulk queue is counted apart.

    Raises:
        ValueError: ``margin_ms`` is no whole number from 0 to 60,000, or ``most_queued`` none from 1 to 120,000.
    """

    store: Store
    queue: WorkQueue
    clock: Clock
    margin_ms: int = 5_000
    most_queued: int = MOST_QUEUED

    def __post_init__(self) -> None:
        """Reject what would never send anything."""
        check_numbers("this Sweeper", {"margin_ms": self.margin_ms, "most_queued": self.most_queued}, BOUNDS)

    def sweep(self, budget: Budget) -> SweepReport:
        """Have every overdue instance looked at, page by page, until none is left or the time is up.

        When a queue is full, what would go there is only counted.

        Raises:
            StoreUnavailable: the store, or the queue, did not answer at all; the next sweep goes on.
            EngineError: the store, or the queue, refused every request.
        """
        run = _Run(self, budget, self.clock.now())
        cursor: str | None = None
        while run.in_time():
            page = run.read(cursor)
            if page is None:
                break
            run.send(page.items)
            cursor = page.cursor
            if cursor is None:
                return run.report(complete=True)
        return run.report(complete=False)


@dataclass(slots=True)
class _Lane:
    """What one of the two queues has taken of a sweep: that of maps' trees, or that of everything else.

    Attributes:
        room: how many more messages it may take; ``None`` before it was asked.
        failures: of the newest chunks, one after the other.
    """

    room: int | None = None
    failures: list[HephaestusError] = field(default_factory=list)


@dataclass(slots=True)
class _Run:
    """One sweep."""

    sweeper: Sweeper
    budget: Budget
    now: int
    pages: int = 0
    found: int = 0
    sent: int = 0
    oldest_ms: int = 0
    lanes: dict[bool, _Lane] = field(default_factory=lambda: {bulk: _Lane() for bulk in (False, True)})

    def in_time(self) -> bool:
        """Whether more may be begun."""
        return self.sweeper.clock.now() + self.sweeper.margin_ms <= self.budget.deadline

    def read(self, cursor: str | None) -> OverduePage | None:
        """The next page; ``None`` where the store has fallen silent after others."""
        try:
            page = self.sweeper.store.overdue(self.now, PAGE, cursor)
        except StoreUnavailable:
            if not self.pages:
                raise
            _logger.exception("the sweep ends early: the alarms could not be read to their end")
            return None
        self.pages += 1
        self.found += len(page.items)
        self.oldest_ms = max([self.oldest_ms, *(self.now - wakeup.wake_at for wakeup in page.items[:1])])
        return page

    def send(self, wakeups: Sequence[Wakeup]) -> None:
        """Send messages for as many as there are time and room for; those of maps' trees last."""
        for bulk, lane in self.lanes.items():
            own = [wakeup for wakeup in wakeups if is_bulk(wakeup.instance_id) == bulk]
            if own and lane.room is None:
                lane.room = self._look_for_room(bulk=bulk)
            for start in range(0, len(own), CHUNK):
                some = own[start : start + CHUNK][: lane.room]
                if not some or not self.in_time():
                    break
                self._send(some, lane)

    def report(self, *, complete: bool) -> SweepReport:
        """What was done.

        Raises:
            HephaestusError: nothing of it could be sent.
        """
        failures = [lane.failures[-1] for lane in self.lanes.values() if lane.failures]
        if failures and not self.sent:
            raise failures[0]
        return SweepReport(self.found, self.sent, self.found - self.sent, self.oldest_ms, complete)

    def _send(self, wakeups: Sequence[Wakeup], lane: _Lane) -> None:
        ids = [wakeup.instance_id for wakeup in wakeups]
        try:
            accepted = self.sweeper.queue.wake_many(wakeups)
        except HephaestusError as error:
            lane.failures.append(error)
            if len(lane.failures) >= SILENT_CHUNKS:
                lane.room = 0
            _logger.exception("%d overdue instances were not sent; the next sweep finds them again", len(ids))
            return
        if len(accepted) < len(ids):
            left = sorted(set(ids).difference(accepted))
            _logger.error("overdue instances were not sent, the next sweep finds them again: %s", ", ".join(left))
        lane.failures.clear()
        self.sent += len(accepted)
        lane.room = max((lane.room or 0) - len(accepted), 0)

    def _look_for_room(self, *, bulk: bool) -> int:
        """How many messages the queue may take; if it does not say, as many as if it were empty."""
        try:
            depth = self.sweeper.queue.depth(bulk=bulk)
        except HephaestusError:
            _logger.exception("the queue's depth is unknown; the sweep takes it for empty")
            depth = 0
        return max(self.sweeper.most_queued - depth, 0)
