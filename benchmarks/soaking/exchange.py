"""What the processes of a soak share: a queue, one-shot schedules, and who counts what steps do.

The queue behaves as SQS does: a message that a worker took and did not finish comes back, some come twice, a message
may be delayed. Schedules fire late, and some never: the sweep makes up for those. All of it is in one process and
reached from the others by ``multiprocessing``'s managers; instances are never kept here.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hephaestus.runtime.names import is_bulk, schedule_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random

    from hephaestus.runtime.ports import Timeout

Message: TypeAlias = tuple[Any, ...]  # what is to be done, and with what: ("wake", id), ("call", ticket, …), …

TWICE: Final = 0.02  # of the messages that wake an instance
NEVER: Final = 0.03  # of the schedules
LATE: Final = 1.0  # seconds that a schedule may be late


@dataclass(order=True, slots=True)
class _Entry:
    at: float
    number: int
    message: Message | None = field(compare=False)
    receipt: int | None = field(compare=False, default=None)
    schedule: str | None = field(compare=False, default=None)


class Exchange:
    """The shared part of a soak; its methods may be called from any thread.

    Args:
        random: decides what comes twice, late or never.
        visibility: after so many seconds a message comes back that was taken and not finished.
        answered: told of every call's answer, by its ticket.
    """

    def __init__(self, random: Random, visibility: float, answered: Callable[[int, str], None]) -> None:
        self.random = random
        self.visibility = visibility
        self.answered = answered
        self.counts: Counter[str] = Counter()
        self.runs: Counter[str] = Counter()
        self.oldest_ms = 0
        self.finished = 0
        self.closed: set[str] = set()
        self._mended: set[str] = set()
        self._schedules: set[str] = set()
        self._silent: set[str] = set()
        self._turn = threading.Condition()
        self._heap: list[_Entry] = []
        self._taken: dict[int, Message] = {}
        self._numbers = count()

    # -- the queue -------------------------------------------------------------------------------------------------

    def send(self, message: Message, delay_ms: int = 0) -> None:
        """Keep a message until its delay is over."""
        with self._turn:
            twice = message[0] == "wake" and self.random.random() < TWICE
            self.counts["delivered twice"] += twice
            for _ in range(1 + twice):
                self._push(_Entry(time.monotonic() + delay_ms / 1000, next(self._numbers), message))

    def wake_many(self, wakeups: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Keep a message for each instance, with the alarms that it showed."""
        for instance_id, alarms in wakeups:
            self.send(("wake", instance_id, *alarms))

    def take(self, patience: float) -> tuple[int, Message] | None:
        """The next message that is due, with a receipt; ``None`` when none comes within ``patience`` seconds."""
        give_up = time.monotonic() + patience
        with self._turn:
            while True:
                now = time.monotonic()
                if (message := self._due(now)) is not None:
                    receipt = next(self._numbers)
                    self._taken[receipt] = message
                    self._push(_Entry(now + self.visibility, receipt, None, receipt))
                    return receipt, message
                if now >= give_up:
                    return None
                until = min(give_up, self._heap[0].at) if self._heap else give_up
                self._turn.wait(max(until - now, 0.001))

    def finish(self, receipt: int, counts: Mapping[str, int], answer: str | None = None) -> None:
        """A message is dealt with: it does not come back, and whoever asked is told the answer."""
        with self._turn:
            message = self._taken.pop(receipt, None)
            self.counts.update(counts)
            self.finished += 1
        if answer is not None and message is not None:
            self.answered(message[1], answer)

    def put_back(self, receipt: int, counts: Mapping[str, int], delay_ms: int) -> None:
        """A message could not be dealt with now: it comes back after a delay."""
        with self._turn:
            message = self._taken.pop(receipt, None)
            self.counts.update(counts)
            if message is not None:
                self._push(_Entry(time.monotonic() + delay_ms / 1000, next(self._numbers), message))

    def depth(self, bulk: bool) -> int:  # noqa: FBT001 - managers pass arguments by place
        """How many messages are due: those that wake an instance of a map's tree, or all others."""
        now = time.monotonic()
        with self._turn:
            due = [entry.message for entry in self._heap if entry.message is not None and entry.at <= now]
        return sum((message[0] == "wake" and is_bulk(message[1])) == bulk for message in due)

    # -- schedules -------------------------------------------------------------------------------------------------

    def schedule(self, timeout: Timeout) -> str:
        """Make a schedule, once a name; return the name."""
        name = schedule_name(timeout)
        with self._turn:
            if name not in self._schedules:
                self._schedules.add(name)
                self.counts["schedules"] += 1
                if self.random.random() < NEVER:
                    self.counts["schedules that never fire"] += 1
                    self._silent.add(name)
                else:
                    late = self.random.uniform(0, LATE) + timeout.due_at / 1000 - time.time()
                    at = time.monotonic() + max(late, 0)
                    self._push(_Entry(at, next(self._numbers), ("timeout", timeout), schedule=name))
        return name

    def unschedule(self, timeout: Timeout) -> None:
        """Remove a schedule; one that is gone is no error."""
        with self._turn:
            self._schedules.discard(schedule_name(timeout))

    def schedules(self) -> int:
        """How many schedules there are that will still fire."""
        with self._turn:
            return len(self._schedules - self._silent)

    # -- the witness -----------------------------------------------------------------------------------------------

    def ran(self, key: str) -> None:
        """A step runs."""
        with self._turn:
            self.runs[key] += 1

    def fix(self, instance_id: str) -> None:
        """What made the instance's step fail is fixed."""
        with self._turn:
            self._mended.add(instance_id)

    def fixed(self, instance_id: str) -> bool:
        """Whether it is."""
        with self._turn:
            return instance_id in self._mended

    def ended(self, instance_id: str) -> None:
        """An instance has closed; only a hint, as whoever would give it may be killed."""
        with self._turn:
            self.closed.add(instance_id)

    def swept(self, oldest_ms: int) -> None:
        """A sweep is over."""
        with self._turn:
            self.counts["sweeps"] += 1
            self.oldest_ms = max(self.oldest_ms, oldest_ms)

    def news(self) -> set[str]:
        """The instances that have closed since the last time."""
        with self._turn:
            closed, self.closed = self.closed, set()
            return closed

    def tally(self) -> tuple[Counter[str], Counter[str], int]:
        """What was counted, how often each key ran, and the oldest wake-up in milliseconds."""
        with self._turn:
            return Counter(self.counts), Counter(self.runs), self.oldest_ms

    def _push(self, entry: _Entry) -> None:
        heapq.heappush(self._heap, entry)
        self._turn.notify()

    def _due(self, now: float) -> Message | None:
        while self._heap and self._heap[0].at <= now:
            entry = heapq.heappop(self._heap)
            if entry.receipt is not None:
                if (message := self._taken.pop(entry.receipt, None)) is not None:
                    self.counts["came back"] += 1
                    return message
            elif entry.schedule is None:
                return entry.message
            elif entry.schedule in self._schedules:
                self._schedules.discard(entry.schedule)
                return entry.message
        return None
