"""A world of schedules: timers twice, late or never, crashes between any two writes, two deployments taking turns.

Smaller than ``hephaestus.simulation``, whose runs end: a schedule does not. What starts is read off the table.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

from hephaestus import DONE, Schedule, Workflow, step
from hephaestus.adapters.memory import MemoryQueue, MemoryTimers
from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.errors import EngineSignal
from hephaestus.runtime.dispatch import Budget
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.runtime.sweeper import Sweeper
from hephaestus.store.items import INDEXES
from hephaestus.store.keys import HEAD
from hephaestus.store.store import Store
from hephaestus.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus import StepContext
    from hephaestus.store.table import Condition, Item

MINUTE_MS = 60_000
LIFETIME_MS = MINUTE_MS


class Crash(EngineSignal):
    """The Lambda is dead."""


class Table(InMemoryTable):
    """A table whose callers may die before or after each write; it remembers the heads that were put."""

    def __init__(self, draw: Random, odds: float) -> None:
        super().__init__(INDEXES)
        self.draw, self.odds = draw, odds
        self.started: list[str] = []
        self.faults = 0

    def _may_crash(self) -> None:
        if self.draw.random() < self.odds:
            self.faults += 1
            raise Crash

    def put(self, item: Item, condition: Condition) -> bool:
        """Put it, or die."""
        self._may_crash()
        done = super().put(item, condition)
        if done and item["sk"] == HEAD and not str(item["pk"]).startswith("hephaestus-"):
            self.started.append(str(item["pk"]))
        self._may_crash()
        return done

    def update(self, pk: str, sk: str, changes: Any, condition: Condition) -> bool:
        """Update it, or die."""
        self._may_crash()
        done = super().update(pk, sk, changes, condition)
        self._may_crash()
        return done


@step
def work(ctx: StepContext) -> dict[str, Any]:
    """Nothing."""
    return {}


def report(*schedules: Schedule) -> type[Workflow]:
    """A workflow with these schedules."""

    class Report(Workflow, key="report"):
        start_at = work
        transitions: ClassVar = {work: {"done": DONE}}

    Report.schedules = schedules
    return Report


class World:
    """Schedules under faults.

    Args:
        seed: decides everything.
        odds: of a crash at each write, and by ten times that of what happens to a timer.
        flows: what is deployed; the second is older than the first, and its processes go on declaring.
    """

    def __init__(self, seed: int, odds: float, *flows: type[Workflow]) -> None:
        self.draw, self.odds = Random(seed), odds
        self.clock = VirtualClock()
        self.table = Table(self.draw, odds)
        self.timers, self.queue = MemoryTimers(), MemoryQueue(self.clock)
        self.store = Store(self.table, retention_days=1)
        now = self.clock.now()
        self.registries = [Registry([flow], deployment=now - age) for age, flow in enumerate(flows)]
        self.runner = Runner(self.store, self.timers, self.queue, self.registries[0], clock=self.clock)
        self.sweeper = Sweeper(self.store, self.queue, self.clock)
        self.sweep_at: int | None = None
        self.declare_at = now

    def run(self, duration: timedelta) -> Counter[str]:
        """How often what started."""
        end = self.clock.now() + round(duration / timedelta(milliseconds=1))
        while True:
            times = (self.queue.next_due(), self.timers.next_due(), self.sweep_at, self.declare_at)
            due = min((at for at in times if at is not None), default=end)
            if due >= end:
                return Counter(self.table.started)
            self.clock.move_to(due)
            self._everything_due()

    def _everything_due(self) -> None:
        now = self.clock.now()
        if self.declare_at <= now:
            self.declare_at = now + round(self.draw.uniform(1, 48) * 60) * MINUTE_MS
            for registry in self.draw.sample(self.registries, len(self.registries)):
                self.runner.registry = registry
                self._invoke(self.runner.declare_schedules)
            self.runner.registry = self.registries[0]
            self.table.expire(now // 1000)
        if self.sweep_at is not None and self.sweep_at <= now:
            self.sweep_at = None
            self._invoke(lambda: self.sweeper.sweep(self._budget()))
        for timeout in self.timers.pop_due(now):
            chance = self.draw.random()
            if chance < self.odds * 10:
                self.table.faults += 1
                continue  # it never comes
            for _ in range(2 if chance < self.odds * 20 else 1):
                self._invoke(partial(self.runner.timeout, timeout, budget=self._budget()))
        for message in self.queue.pop_due(now):
            known = (message.instance_id, self._budget(), message.alarms)
            self._invoke(partial(self._wake, *known))
        if self.sweep_at is None and self.store.overdue(now + 3 * LIFETIME_MS, 1, None).items:
            self.sweep_at = now + MINUTE_MS

    def _wake(self, instance_id: str, budget: Budget, alarms: Sequence[str]) -> None:
        self.runner.wake(instance_id, budget=budget, alarms=alarms)

    def _invoke(self, call: Callable[[], object]) -> None:
        with suppress(Crash):
            call()

    def _budget(self) -> Budget:
        return Budget(self.clock.now() + LIFETIME_MS)


def ids(times: list[datetime], name: str = "nightly") -> set[str]:
    """The occurrences of these times."""
    return {f"report::{name}.{time.astimezone(UTC):%Y%m%dT%H%M%SZ}" for time in times}
