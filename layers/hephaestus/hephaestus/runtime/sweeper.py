"""Wakes what is overdue: the answer to every crash between a commit and what should have followed it.

A lease that ended, a schedule or a message that never came, a hand-over nobody took: the alarm in the head shows all
of them in one sparse index. The sweep only sends messages; waking an instance twice is harmless.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hephaestus.runtime.dispatch import Budget
    from hephaestus.runtime.ports import Clock, Store, WorkQueue

PAGE: Final = 250


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What one sweep did.

    Attributes:
        found: overdue instances that the index showed.
        sent: messages sent for them; fewer than found when the time was up.
        oldest_ms: how long the most overdue one had been waiting, in milliseconds.
    """

    found: int
    sent: int
    oldest_ms: int


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Looks for overdue instances, once a minute."""

    store: Store
    queue: WorkQueue
    clock: Clock
    margin_ms: int = 2_000

    def sweep(self, budget: Budget) -> SweepReport:
        """Have every overdue instance looked at.

        Raises:
            StoreUnavailable: the store did not answer; the next sweep goes on.
        """
        now = self.clock.now()
        overdue = sorted(self.store.overdue(now, PAGE), key=lambda wakeup: wakeup.wake_at)
        sent = 0
        for wakeup in overdue:
            if self.clock.now() + self.margin_ms > budget.deadline:
                break
            self.queue.wake(wakeup.instance_id)
            sent += 1
        oldest = now - overdue[0].wake_at if overdue else 0
        return SweepReport(len(overdue), sent, max(oldest, 0))
