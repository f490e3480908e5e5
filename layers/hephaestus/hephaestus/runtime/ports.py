"""What the runtime needs from outside, as small protocols; AWS is one set of adapters, memory another.

Every adapter passes the same contract suite. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus.runtime.status_events import StatusEvent
    from hephaestus.store.overdue import Wakeup


@dataclass(frozen=True, slots=True)
class Timeout:
    """What a one-shot schedule carries: the wait it was made for."""

    instance_id: str
    life: str
    step: str
    token: str
    due_at: int


class Timers(Protocol):
    """One-shot schedules for deadlines and long waits."""

    def schedule(self, timeout: Timeout) -> str:
        """Make a schedule that calls the resume handler at ``timeout.due_at`` or shortly after; return its name.

        The name is derived from the timeout, so making it twice makes one schedule.
        """

    def name(self, timeout: Timeout) -> str:
        """The name that the schedule of ``timeout`` has or would have; nothing is made."""

    def cancel(self, timeout: Timeout) -> None:
        """Remove the schedule made for ``timeout``; one that is gone is no error."""


class WorkQueue(Protocol):
    """Asks for an instance to be looked at, now or within 15 minutes.

    Messages about instances of maps' trees (``hephaestus.runtime.names.is_bulk``) go apart, so that none of the others
    waits behind a map; an adapter may have one queue for both.
    """

    def wake(self, instance_id: str, delay_ms: int = 0) -> None:
        """Send a message that has the instance continued after ``delay_ms`` (0 to 900,000) milliseconds."""

    def wake_many(self, wakeups: Sequence[Wakeup]) -> Sequence[str]:
        """Send one message for each of many instances; return the ids whose messages were accepted.

        Raises:
            HephaestusError: none was accepted, and this is why.
        """

    def remove_schedule(self, timeout: Timeout) -> None:
        """Send a message that has the schedule of ``timeout`` removed, where that could not be done at once."""

    def publish_later(self, event: StatusEvent) -> None:
        """Send a message that has a status event published, where that could not be done at once."""

    def depth(self, *, bulk: bool = False) -> int:
        """About how many messages wait to be taken; delayed ones and those in work do not count.

        Args:
            bulk: of those about instances of maps' trees, instead of those about all others.
        """


class EventBus(Protocol):
    """Takes status events for services outside."""

    def publish(self, event: StatusEvent) -> None:
        """Publish a status event; one that is published twice is harmless."""


class Clock(Protocol):
    """Time, randomness and names; tests bring their own."""

    def now(self) -> int:
        """Milliseconds since the epoch."""

    def sleep(self, milliseconds: int) -> None:
        """Wait."""

    def random(self) -> float:
        """A number from 0 up to 1."""

    def unique(self) -> str:
        """A name that nobody else has: 16 or more of ``0-9a-z``."""
