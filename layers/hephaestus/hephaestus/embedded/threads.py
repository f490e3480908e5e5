"""A work queue and schedules whose messages are done by threads of this process."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Final, TypeAlias

from hephaestus.runtime.limits import LONGEST_MS
from hephaestus.runtime.names import is_bulk, schedule_name
from hephaestus.store.overdue import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.runtime.ports import Clock, Timeout
    from hephaestus.runtime.status_events import StatusEvent

Work: TypeAlias = "Wakeup | Timeout"
Key: TypeAlias = tuple[str, int]
MOST_THREADS: Final = 64
LOOK: Final = 1.0  # seconds after which a sleeper looks at the clock, which a person or a standby may have moved
AGAIN_MS: Final = 10_000  # until work that failed is tried again

_logger = logging.getLogger("hephaestus.embedded")


class EmbeddedQueue:
    """``WorkQueue`` and ``Timers`` of one process; threads of its own do what is due, from ``serve`` until ``close``.

    Messages for one instance that are due at the same time are one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._pending: dict[Key, Work] = {}
        self._order: list[tuple[int, int, Key]] = []
        self._numbers = count()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._closed = False
        self._do: Callable[[Work], None] | None = None

    def serve(self, do: Callable[[Work], None]) -> None:
        """From now on, have ``do`` called with what is due, from several threads."""
        with self._changed:
            self._do = do
            self._add_thread()

    def close(self, seconds: float) -> int:
        """Take nothing more, and wait up to ``seconds`` for what runs; return how many threads still run."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        ends_at = self._clock.now() + seconds * 1000
        for thread in self._threads:
            thread.join(max(ends_at - self._clock.now(), 0) / 1000)
        return sum(thread.is_alive() for thread in self._threads)

    def wake(self, instance_id: str, delay_ms: int = 0) -> None:
        """Send a message; see ``WorkQueue``."""
        self._wake(Wakeup(instance_id), delay_ms)

    def wake_many(self, wakeups: Sequence[Wakeup]) -> Sequence[str]:
        """Send a message for each; see ``WorkQueue``."""
        for wakeup in wakeups:
            self._wake(wakeup, 0)
        return [wakeup.instance_id for wakeup in wakeups]

    def remove_schedule(self, timeout: Timeout) -> None:
        """Remove a schedule, at once; see ``WorkQueue``."""
        self.cancel(timeout)

    def publish_later(self, event: StatusEvent) -> None:
        """Drop an event: what takes them is in this process, and would fail again; see ``WorkQueue``."""
        _logger.error("instance %s: a status event could not be published, and is lost", event.instance_id)

    def depth(self, *, bulk: bool = False) -> int:
        """How many messages are due; see ``WorkQueue``."""
        now = self._clock.now()
        with self._changed:
            due = [key for due_at, _, key in self._order if due_at <= now and key in self._pending]
            return sum(is_bulk(self._pending[key].instance_id) == bulk for key in due)

    def schedule(self, timeout: Timeout) -> str:
        """Make a schedule; see ``Timers``."""
        name = schedule_name(timeout)
        self._put((name, -1), timeout.due_at, timeout)
        return name

    def name(self, timeout: Timeout) -> str:
        """The name of a timeout's schedule."""
        return schedule_name(timeout)

    def cancel(self, timeout: Timeout) -> None:
        """Remove a schedule; see ``Timers``."""
        with self._changed:
            self._pending.pop((schedule_name(timeout), -1), None)

    def _wake(self, wakeup: Wakeup, delay_ms: int) -> None:
        due_at = self._clock.now() + delay_ms if delay_ms else 0
        self._put((wakeup.instance_id, due_at), due_at, wakeup)

    def _put(self, key: Key, due_at: int, work: Work) -> None:
        with self._changed:
            known = self._pending.get(key)
            if isinstance(known, Wakeup) and isinstance(work, Wakeup):
                self._pending[key] = replace(known, alarms=tuple(dict.fromkeys((*known.alarms, *work.alarms))))
            elif known is None:
                self._pending[key] = work
                heappush(self._order, (due_at, next(self._numbers), key))
                self._changed.notify()

    def _add_thread(self) -> None:
        """Keep one thread that has nothing to do, up to ``MOST_THREADS`` in all: it sees what comes next."""
        if not self._idle and not self._closed and len(self._threads) < MOST_THREADS:
            self._idle += 1
            self._threads.append(threading.Thread(target=self._work, name="hephaestus-queue", daemon=True))
            self._threads[-1].start()

    def _work(self) -> None:
        while (work := self._take()) is not None:
            try:
                assert self._do is not None  # noqa: S101 - `serve` made the thread
                self._do(work)
            except BaseException:
                # As SQS does, it comes again. An exit in a user's code must not end the thread.
                _logger.exception("instance %s could not go on; it is tried again", work.instance_id)
                if isinstance(work, Wakeup):
                    self._wake(work, AGAIN_MS)
            with self._changed:
                self._idle += 1

    def _take(self) -> Work | None:
        """The next work, when it is due; ``None`` when nothing more is to be done."""
        with self._changed:
            while not self._closed:
                if self._order and self._order[0][2] not in self._pending:
                    heappop(self._order)  # it was cancelled
                    continue
                left = self._order[0][0] - self._clock.now() if self._order else LONGEST_MS
                if left <= 0:
                    self._idle -= 1
                    self._add_thread()
                    return self._pending.pop(heappop(self._order)[2])
                self._changed.wait(min(left / 1000, LOOK) if self._order else None)
            return None
