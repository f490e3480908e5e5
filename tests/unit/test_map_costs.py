"""What maps write: by DynamoDB's rule, whatever the number of items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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

MOST_AN_ITEM, REST = 1.3, 10  # write units


@step
def nothing(ctx: StepContext) -> str:
    """Do nothing."""
    return "done"


class Costs:
    """One instance that maps a step over so many items."""

    def __init__(self, target: Step, number: int) -> None:
        made = Map(target, over=lambda _: list(range(number)), name="map")
        flow = type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")
        self.table, self.clock = CountingTable(), VirtualClock()
        queue = MemoryQueue(self.clock)
        self.runner = Runner(Store(self.table), MemoryTimers(), queue, Registry([flow]), clock=self.clock)
        self.going = InPlace(Budget(self.clock.now() + 60_000))
        self.id = self.runner.start_instance(flow, {}, id="1", dispatch=self.going)

    def spent(self) -> tuple[int, int]:
        """All requests and write units so far."""
        tally = self.table.tally
        return sum(tally.requests.values()), tally.write_units


def test_an_event_costs_the_same_for_one_of_many_waiting_items() -> None:
    """Rule C.11: requests and write units."""
    spent = []
    for number in (10, 100):
        costs = Costs(WaitForEvent("go", name="ask"), number)
        before = costs.spent()
        costs.runner.resume(costs.id, "go", item="5", dispatch=costs.going)
        spent.append([after - earlier for after, earlier in zip(costs.spent(), before, strict=True)])
    assert spent[0] == spent[1]


@pytest.mark.parametrize("number", [0, 1, 50, 100])
def test_an_item_that_does_nothing_costs_at_most_1_3_write_units(number: int) -> None:
    """Rule C.7: what ends together is one commit, and its results stand there alone."""
    costs = Costs(nothing, number)
    assert costs.runner.get(costs.id).status == "completed"
    assert costs.spent()[1] <= REST + MOST_AN_ITEM * number
