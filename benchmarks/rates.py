"""What a rate makes of many starts at once: 10,000 against 50 a second with a burst of 50.

    python benchmarks/rates.py [--starts N] [--rate N] [--burst N] [--dynamodb]

In memory and virtual time; with ``--dynamodb`` in real time on Amazon's DynamoDB Local, by threads of this process, as
many a second as the machine can do. When each attempt starts is recorded apart from the engine, and held to the rule:
no window of ``t`` seconds has more than ``burst + rate * t`` starts; in real time one may be a second late. Then what
was asked of the rate's own items and of the queue, a start; the message that each start by the API has itself does not
count.
"""

from __future__ import annotations

import argparse
import heapq
import os
import sys
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "layers" / "hephaestus"), str(ROOT)]

from greenlet import getcurrent, greenlet

from hephaestus import DONE, RateLimit, Workflow, step
from hephaestus.adapters.memory import MemoryTimers
from hephaestus.costs.counting import CountingTable, write_units
from hephaestus.runtime.dispatch import Budget, Enqueue
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.store.reservations import LATE_MS, is_rate
from hephaestus.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hephaestus import StepContext
    from hephaestus.store.table import Change, Condition, Item, Table, Value

T = TypeVar("T")
MOST_UNITS: Final = 4.0
MOST_MESSAGES: Final = 2.0


class Counted:
    """Another table, whose writes of rates' items are counted: by the published rule, those that fail included."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.units = 0
        self.requests: Counter[str] = Counter()
        self.lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.table, name)

    def get(self, pk: str, sk: str) -> Item | None:
        """Read an item."""
        return self._counted("get", pk, lambda: self.table.get(pk, sk))

    def query(self, pk: str, **asked: Any) -> Sequence[Item]:
        """Read items."""
        return self._counted("query", pk, lambda: self.table.query(pk, **asked))

    def put(self, item: Item, condition: Condition) -> bool:
        """Write an item."""
        return self._written("put", [(str(item["pk"]), str(item["sk"]))], lambda: self.table.put(item, condition))

    def update(self, pk: str, sk: str, changes: Mapping[str, Value | None], condition: Condition) -> bool:
        """Change an item."""
        return self._written("update", [(pk, sk)], lambda: self.table.update(pk, sk, changes, condition))

    def add(self, pk: str, sk: str, *others: Any) -> tuple[bool, Item | None]:
        """Add to a number."""
        return self._written("add", [(pk, sk)], lambda: self.table.add(pk, sk, *others))

    def delete(self, pk: str, sk: str, condition: Condition) -> bool:
        """Remove an item."""
        return self._written("delete", [(pk, sk)], lambda: self.table.delete(pk, sk, condition))

    def change_all(self, changes: Sequence[Change]) -> bool:
        """Write items together."""
        keys = [(change.pk, change.sk) for change in changes]
        return self._written("change", keys, lambda: self.table.change_all(changes))

    def _counted(self, what: str, pk: str, do: Callable[[], T]) -> T:
        if is_rate(pk):
            with self.lock:
                self.requests[what] += 1
        return do()

    def _written(self, what: str, keys: Sequence[tuple[str, str]], do: Callable[[], T]) -> T:
        if not is_rate(keys[0][0]):
            return do()
        before = [self.table.get(*key) or {} for key in keys]
        answer = do()
        after = [self.table.get(*key) or {} for key in keys]
        pairs = zip(before, after, strict=True)
        with self.lock:
            self.requests[what] += 1
            self.units += sum(write_units(old, new, twice=len(keys) > 1) for old, new in pairs)
        return answer


class Record:
    """When attempts started (ms), kept apart from the engine."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        self.starts: list[int] = []
        self.messages: Counter[str] = Counter()
        self.lock = threading.Lock()

    def start(self, _ctx: StepContext) -> str:
        """The step."""
        with self.lock:
            self.starts.append(self.now())
        return "done"

    def listen(self, queue: Any) -> None:
        """Count the messages of a queue."""
        send = queue.wake

        def wake(instance_id: str, delay_ms: int = 0) -> None:
            with self.lock:
                self.messages["calls of the line" if is_rate(instance_id) else "wakes"] += 1
            send(instance_id, delay_ms)

        queue.wake = wake

    def worst(self, rate: float, burst: int) -> float:
        """By how many starts the worst window has more than it may; below zero, by how many less."""
        times, lowest, worst = sorted(self.starts), float("inf"), float("-inf")
        for number, at in enumerate(times):
            lowest = min(lowest, number - rate * at / 1000)
            worst = max(worst, number + 1 - rate * at / 1000 - lowest - burst)
        return worst


def limited(record: Record, rate: int, burst: int) -> type[Workflow]:
    """A workflow of one step under the rate."""
    calls = step(key="calls", limits=[RateLimit("calls", rate, timedelta(seconds=1), burst=burst)])(record.start)

    class Limited(Workflow, key="limited"):
        start_at = calls
        transitions = {calls: {"done": DONE}}

    return Limited


class World:
    """Virtual time, in which any number of invocations wait side by side: clock and queue of a runner."""

    def __init__(self) -> None:
        self.time = 1_767_225_600_000
        self.number = 0
        self.agenda: list[tuple[int, int, greenlet]] = []
        self.runner: Runner | None = None
        self.main = getcurrent()

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self.time

    def sleep(self, milliseconds: int) -> None:
        """Let the others go on meanwhile."""
        self._at(self.time + milliseconds, getcurrent())
        self.main.switch()

    def random(self) -> float:
        """Always one half."""
        return 0.5

    def unique(self) -> str:
        """The next of a sequence of names."""
        self.number += 1
        return f"{self.number:020x}"

    def wake(self, instance_id: str, delay_ms: int = 0) -> None:
        """Send a message."""
        self._at(self.time + delay_ms, greenlet(lambda: self.receive(instance_id), self.main))

    def receive(self, instance_id: str) -> None:
        """A message arrives."""
        if self.runner is not None:
            self.runner.wake(instance_id, budget=Budget(self.time + 900_000))

    def go(self) -> None:
        """Run until nothing is left to do."""
        while self.agenda:
            self.time, _, who = heapq.heappop(self.agenda)
            who.switch()

    def _at(self, when: int, who: greenlet) -> None:
        self.number += 1
        heapq.heappush(self.agenda, (when, self.number, who))


def in_memory(starts: int, rate: int, burst: int) -> int:
    """All of it in virtual time: at first all are started, then all messages come at once."""
    world: Any = World()
    record, table = Record(world.now), Counted(CountingTable())
    registry = Registry([limited(record, rate, burst)])
    own: Any = table
    world.runner = Runner(Store(own), MemoryTimers(), world, registry, clock=world, dispatch=Enqueue())
    for number in range(starts):
        world.runner.start_instance("Limited", {}, id=str(number))
    record.listen(world)
    world.go()
    return report(record, table, Asked(starts, rate, burst), "in memory")


def on_dynamodb(starts: int, rate: int, burst: int) -> int:
    """In real time."""
    from hephaestus.adapters.dynamodb import DynamoTable
    from hephaestus.embedded import Embedded
    from hephaestus.store.items import INDEXES
    from tests.engines import HARMLESS_AWS, dynamodb_local

    os.environ.update(HARMLESS_AWS)
    with dynamodb_local() as endpoint:
        inner = DynamoTable(f"rates{os.getpid()}", INDEXES, region="eu-south-1", host=endpoint)
        inner.create()
        table = Counted(inner)
        record = Record(lambda: time.time_ns() // 1_000_000)
        with Embedded(Store(table), Registry([limited(record, rate, burst)])) as embedded:
            record.listen(embedded.queue)
            for number in range(starts):
                embedded.runner.start_instance("Limited", {}, id=str(number))
            while len(record.starts) < starts:
                time.sleep(1)
        record.messages["wakes"] -= starts
        return report(record, table, Asked(starts, rate, burst, LATE_MS / 1000), "on DynamoDB Local")


class Asked(NamedTuple):
    """How many start, at which rate, and how late one may be (seconds)."""

    starts: int
    rate: int
    burst: int
    late: float = 0


def report(record: Record, table: Counted, asked: Asked, where: str) -> int:
    """Say it; 1 where a bound is not kept."""
    starts, rate, burst, late = asked
    took = (max(record.starts) - min(record.starts)) / 1000
    worst, units = record.worst(rate, burst), table.units / starts
    messages = sum(record.messages.values()) / starts
    print(f"{where}: {len(record.starts):,} of {starts:,} started in {took:.2f} s")
    print(f"at best they would in {(starts - burst) / rate:.2f} s")
    print(f"worst window: {worst:+.2f} starts beyond {burst} + {rate} t (at most {rate * late:g})")
    print(f"the rate's items: {units:.2f} write units a start (at most {MOST_UNITS:g}), by {dict(table.requests)}")
    print(f"messages: {messages:.2f} a start (at most {MOST_MESSAGES:g}): {dict(record.messages)}")
    kept = len(record.starts) == starts and worst <= rate * late
    return 0 if kept and units <= MOST_UNITS and messages <= MOST_MESSAGES else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=10_000)
    parser.add_argument("--rate", type=int, default=50)
    parser.add_argument("--burst", type=int, default=50)
    parser.add_argument("--dynamodb", action="store_true")
    asked = parser.parse_args()
    sys.exit((on_dynamodb if asked.dynamodb else in_memory)(asked.starts, asked.rate, asked.burst))
