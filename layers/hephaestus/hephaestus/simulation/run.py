"""One simulated run: everything put together, from one source of choices."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.callbacks.signer import Signer, audience_of
from hephaestus.callbacks.signing_keys import FixedKeys
from hephaestus.definition.views import view
from hephaestus.engine.codec import load_events, load_state
from hephaestus.runtime import spreading
from hephaestus.runtime.dispatch import Budget
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.runtime.sweeper import Sweeper
from hephaestus.simulation.bus import SimulatedBus
from hephaestus.simulation.doubles import (
    SimulatedClock,
    SimulatedQueue,
    SimulatedRegistry,
    SimulatedStore,
    SimulatedTable,
    SimulatedTimers,
    SimulatedWorkers,
)
from hephaestus.simulation.faults import Weather
from hephaestus.simulation.ledger import Ledger
from hephaestus.simulation.users import FAILED, Outside, attempt
from hephaestus.simulation.world import World
from hephaestus.store.heads import Sizes
from hephaestus.store.items import INDEXES
from hephaestus.store.store import Store
from hephaestus.writes import label
from hephaestus.writes.memory_tables import MemoryTables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hephaestus.definition.views import InstanceView
    from hephaestus.runtime.ports import Timeout
    from hephaestus.runtime.status_events import StatusEvent
    from hephaestus.simulation.choices import Choices
    from hephaestus.simulation.faults import Faults
    from hephaestus.simulation.subject import Subject
    from hephaestus.writes import Write

LIFETIMES_MS: Final = (60_000, 12_000, 15 * 60_000)
STORM_TURNS: Final = 600
RETENTION_DAYS: Final = 1
WITH_BUS: Final = (4, 1)  # one run of four publishes status events, by its seed: a choice would change all the others
BROKEN_BUS: Final = (8, 5)  # every other one of these on a bus that takes nothing
NUMBERING: Final = (12, 11)  # of runs with limits, one of these has operators set numbers; every other one pauses
PAUSING: Final = (24, 15)  # one of these has whole workflows paused, too, which is read for by a call that others lack
LINK_KEY: Final = b"every simulation signs its links"
RETRIES: Final = 2  # EventBridge Scheduler's, as the template has them


def _signer() -> Signer:
    """What signs the links of simulated steps, which lead nowhere."""
    return Signer(FixedKeys((LINK_KEY,)), audience_of("simulation"), lambda: "https://simulated.test")


class CountedTables(MemoryTables):
    """Tables that remember every write that happened."""

    def __init__(self, tables: Mapping[str, Sequence[str]]) -> None:
        super().__init__(tables)
        self.happened: list[str] = []

    def transact(self, writes: Sequence[Write]) -> None:
        """All of the writes, or none."""
        super().transact(writes)
        self.happened += [label(write) for write in writes]


class Run:
    """A world with one workflow in it, or with several.

    Attributes:
        world: time, invocations, the trace.
        tables: what the steps have written.
    """

    def __init__(self, subject: Subject, choices: Choices, faults: Faults, *, tracing: bool = False) -> None:
        weather = Weather(choices, faults)
        lifetime_ms = LIFETIMES_MS[choices.below(len(LIFETIMES_MS))]
        storm = choices.below(STORM_TURNS) if weather.stormy else 0
        self.world = world = World(choices, weather, lifetime_ms, storm, tracing=tracing)
        self.tables = CountedTables(subject.tables)
        if subject.prepare is not None:
            subject.prepare(self.tables)
        self.fan = subject.fan
        table = InMemoryTable(INDEXES, tables=self.tables, lagging=True)
        self.table = table
        # Small sizes: a snapshot or a result is a value then, as large ones are.
        sizes = Sizes(500, 600, 40) if choices.below(3) == 1 else Sizes()
        self.retention = RETENTION_DAYS if choices.below(3) == 1 else None
        self.store = Store(table, retention_days=self.retention, sizes=sizes)
        events, snapshots = lru_cache(None)(load_events), lru_cache(None)(load_state)  # every change is read many times
        registry = Registry(subject.workflows)
        definitions = registry.definition
        self.ledger = ledger = Ledger(world, self.store, definitions)
        timers = SimulatedTimers(world, ledger, self.fire)
        self.timers = timers
        self.bus = SimulatedBus(world, self.publish, broken=choices.seed % BROKEN_BUS[0] == BROKEN_BUS[1])
        published = choices.seed % WITH_BUS[0] == WITH_BUS[1]
        self.runner = Runner(
            SimulatedStore(SimulatedTable(table, world, ledger), retention_days=self.retention, sizes=sizes),
            timers,
            SimulatedQueue(world, timers, self.wake, self.bus.publish_later),
            SimulatedRegistry(subject.workflows, world, ledger),
            clock=SimulatedClock(world),
            limits=subject.limits,
            signer=_signer,
            workers=lambda: SimulatedWorkers(world),
        )
        self.runner.bus = self.bus if published else None
        numbers = choices.seed % NUMBERING[0] == NUMBERING[1] and bool(registry.limits())
        pauses = choices.seed % PAUSING[0] == PAUSING[1] or (numbers and choices.seed % PAUSING[0] != NUMBERING[1])
        if pauses:
            self.runner.heed_pauses()
        for store in (self.store, self.runner.store):
            store.reader.load_events, store.reader.load_state = events, snapshots
        expiring = self.retention is not None
        self.outside = Outside(world, ledger, self.runner, subject, expiring=expiring, pauses=pauses, numbers=numbers)

    def go(self) -> list[InstanceView]:
        """Run to the end, and check it; the generations that there were.

        Raises:
            Violation: an invariant does not hold.
        """
        usual, spreading.FAN = spreading.FAN, self.fan  # type: ignore[attr-defined]  # the same for all of this run
        try:
            self.outside.begin()
            self.world.run(alarm=self.ledger.alarm, sweep=self.sweep, idle=self.outside.idle)
            self.ledger.finish(self.tables.happened)
            if self.runner.bus is not None:
                self.bus.check(self.ledger.generations)
        finally:
            spreading.FAN = usual  # type: ignore[attr-defined]  # as above
            self.world.end()
        return [view(known.state, known.graph) for known in self.ledger.generations.values()]

    def wake(self, instance_id: str, alarms: Sequence[str], on_end: Callable[[bool], None]) -> None:
        """A message arrives."""
        self._invoke("worker", lambda budget: self.runner.wake(instance_id, budget=budget, alarms=alarms), on_end)

    def publish(self, event: StatusEvent, on_end: Callable[[bool], None]) -> None:
        """A message arrives that has a status event published."""
        self._invoke("worker", lambda _: self.bus.publish(event), on_end)

    def fire(self, timeout: Timeout, retries: int = RETRIES) -> None:
        """A schedule fires."""

        def ended(succeeded: bool) -> None:  # noqa: FBT001 - what invocations tell
            if not succeeded and retries:
                self.world.at(self.world.now + 60_000, lambda: self.fire(timeout, retries - 1))

        self._invoke("timer", lambda budget: self.runner.timeout(timeout, budget=budget), ended)

    def sweep(self) -> None:
        """A minute has passed."""
        if self.table.expire(self.world.now // 1000):
            for instance_id in list(self.ledger.newest):
                self.ledger.observe(instance_id)
        if self.world.weather.strikes("sweep missed"):
            self.world.note("the sweep is missed")
            return
        self.ledger.swept()
        self.ledger.check_mail()
        sweeper = Sweeper(self.runner.store, self.runner.queue, self.runner.clock)
        self._invoke("sweep", sweeper.sweep, lambda _: None)

    def _invoke(self, kind: str, work: Callable[[Budget], object], on_end: Callable[[bool], None]) -> None:
        world = self.world

        def call() -> bool:
            budget = Budget(self.runner.clock.now() + world.lifetime_ms)
            return attempt(world, lambda: work(budget)) is not FAILED

        world.invoke(kind, call, on_end)
