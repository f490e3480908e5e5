"""What maps cost: an event to one of many waiting items, and an item that does nothing.

Requests and write units are by DynamoDB's rule, processor time is this machine's: only its ratio says something.
Run it with ``python benchmarks/maps.py``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from hephaestus import DONE, StepContext, Workflow, step
from hephaestus.adapters.memory import MemoryQueue, MemoryTimers
from hephaestus.costs.counting import CountingTable
from hephaestus.runtime.dispatch import Budget, InPlace
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.steps import Map, WaitForEvent
from hephaestus.store.store import Store
from hephaestus.testing import VirtualClock

if TYPE_CHECKING:
    from hephaestus.definition.step import Step

EVENTS: Final = 10
RUNS: Final = 20


@step
def nothing(ctx: StepContext) -> str:  # noqa: ARG001 - a step takes the context
    """Do nothing."""
    return "done"


class Instance:
    """One instance that maps a step over so many items."""

    def __init__(self, target: Step, number: int, **how: Any) -> None:
        made = Map(target, over=lambda _: list(range(number)), name="map", **how)
        flow = type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")
        self.table, self.clock = CountingTable(), VirtualClock()
        self.queue = MemoryQueue(self.clock)
        self.runner = Runner(Store(self.table), MemoryTimers(), self.queue, Registry([flow]), clock=self.clock)
        self.going = InPlace(Budget(self.clock.now() + 60_000))
        self.id = self.runner.start_instance(flow, {}, id="1", dispatch=self.going)
        self.settle()

    def settle(self) -> None:
        """Run what messages have other instances do."""
        while messages := self.queue.pop_due(self.clock.now()):
            for work in messages:
                self.runner.wake(work.instance_id, budget=Budget(self.clock.now() + 60_000), alarms=work.alarms)

    def spent(self) -> tuple[int, int]:
        """Requests and write units so far."""
        return sum(self.table.tally.requests.values()), self.table.tally.write_units


def an_event(number: int) -> tuple[float, float, float]:
    """Requests, write units and processor time (ms) of an event to one of so many waiting items, on average."""
    instance = Instance(WaitForEvent("go", name="ask"), number)
    before = instance.spent()
    began = time.process_time()
    for item in range(EVENTS - 1):
        instance.runner.resume(instance.id, "go", item=str(item), dispatch=instance.going)
    took = (time.process_time() - began) * 1000
    requests, units = (after - earlier for after, earlier in zip(instance.spent(), before, strict=True))
    return requests / (EVENTS - 1), units / (EVENTS - 1), took / (EVENTS - 1)


def main() -> None:
    """Print the figures."""
    took = {}
    for number in (10, 100):
        every = [an_event(number) for _ in range(RUNS)]
        took[number] = min(one[2] for one in every)
        print(f"an event to one of {number} waiting items: {every[0][0]:g} requests, {every[0][1]:g} write units")
    print(f"processor time of the second, of the first: {took[100] / took[10]:.1f}")
    for number in (0, 10, 50, 100):
        requests, units = Instance(nothing, number).spent()
        each = f", {units / number:.2f} an item" if number else ""
        print(f"a map of {number} items that do nothing: {requests} requests, {units} write units{each}")


if __name__ == "__main__":
    main()
