"""Everything in memory: the adapters behind the testing kit, but for the table."""

from __future__ import annotations

import threading
from bisect import insort
from typing import TYPE_CHECKING

from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.runtime.names import is_bulk, schedule_name
from hephaestus.store.items import INDEXES
from hephaestus.store.overdue import Wakeup
from hephaestus.store.store import Store
from hephaestus.store.values import MAX_VALUE_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus.runtime.ports import Clock, Timeout
    from hephaestus.runtime.status_events import StatusEvent
    from hephaestus.writes.memory_tables import MemoryTables


class MemoryStore(Store):
    """A ``Store`` on a table in memory.

    Args:
        threshold: the largest single value it takes, in bytes after compression.
        tables: what steps may write to, by default nothing.
    """

    def __init__(self, threshold: int = MAX_VALUE_BYTES, *, tables: MemoryTables | None = None) -> None:
        super().__init__(InMemoryTable(INDEXES, tables=tables), threshold=threshold)


class MemoryTimers:
    """``Timers`` in memory: they fire when somebody asks what is due."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._timeouts: dict[str, Timeout] = {}

    def schedule(self, timeout: Timeout) -> str:
        """Keep a timeout; return its schedule's name."""
        name = schedule_name(timeout)
        with self._lock:
            self._timeouts.setdefault(name, timeout)
        return name

    def name(self, timeout: Timeout) -> str:
        """The name of a timeout's schedule."""
        return schedule_name(timeout)

    def cancel(self, timeout: Timeout) -> None:
        """Forget a timeout; one that is gone is no error."""
        with self._lock:
            self._timeouts.pop(schedule_name(timeout), None)

    def names(self) -> list[str]:
        """The names of all schedules that have not fired."""
        with self._lock:
            return sorted(self._timeouts)

    def next_due(self) -> int | None:
        """When the next one fires (ms)."""
        with self._lock:
            return min((timeout.due_at for timeout in self._timeouts.values()), default=None)

    def pop_due(self, now: int) -> list[Timeout]:
        """Remove and return what is due at ``now`` (ms), the earliest first."""
        with self._lock:
            due = sorted((timeout.due_at, name) for name, timeout in self._timeouts.items() if timeout.due_at <= now)
            return [self._timeouts.pop(name) for _, name in due]


class MemoryQueue:
    """A ``WorkQueue`` in memory: messages wait until somebody asks what is due."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._messages: list[tuple[int, Wakeup]] = []
        self._removals: list[Timeout] = []
        self._events: list[StatusEvent] = []

    def wake(self, instance_id: str, delay_ms: int = 0) -> None:
        """Keep a message until its delay is over."""
        with self._lock:
            insort(self._messages, (self._clock.now() + delay_ms, Wakeup(instance_id)), key=_due)

    def wake_many(self, wakeups: Sequence[Wakeup]) -> Sequence[str]:
        """Keep a message for each."""
        with self._lock:
            for wakeup in wakeups:
                insort(self._messages, (self._clock.now(), Wakeup(wakeup.instance_id, 0, wakeup.alarms)), key=_due)
        return [wakeup.instance_id for wakeup in wakeups]

    def remove_schedule(self, timeout: Timeout) -> None:
        """Keep the removal until somebody does it."""
        with self._lock:
            self._removals.append(timeout)

    def publish_later(self, event: StatusEvent) -> None:
        """Keep the event until somebody publishes it."""
        with self._lock:
            self._events.append(event)

    def depth(self, *, bulk: bool = False) -> int:
        """How many messages are due; see ``WorkQueue``."""
        now = self._clock.now()
        with self._lock:
            return sum(due_at <= now and is_bulk(each.instance_id) == bulk for due_at, each in self._messages)

    def pop_removals(self) -> list[Timeout]:
        """Remove and return the schedules that are to be removed."""
        with self._lock:
            removals, self._removals = self._removals, []
        return removals

    def pop_events(self) -> list[StatusEvent]:
        """Remove and return the status events that are to be published."""
        with self._lock:
            events, self._events = self._events, []
        return events

    def next_due(self) -> int | None:
        """When the next message is due (ms)."""
        with self._lock:
            return self._messages[0][0] if self._messages else None

    def pop_due(self, now: int) -> list[Wakeup]:
        """Remove and return the messages that are due at ``now`` (ms), the earliest first."""
        with self._lock:
            due = [message for message in self._messages if message[0] <= now]
            self._messages = self._messages[len(due) :]
        return [wakeup for _, wakeup in due]


class MemoryBus:
    """An ``EventBus`` in memory.

    Attributes:
        events: what was published, in this order.
    """

    def __init__(self) -> None:
        self.events: list[StatusEvent] = []

    def publish(self, event: StatusEvent) -> None:
        """Keep an event."""
        self.events.append(event)


def _due(message: tuple[int, Wakeup]) -> tuple[int, str]:
    """What messages are sorted by."""
    return message[0], message[1].instance_id
