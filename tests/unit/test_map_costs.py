"""What maps write: by DynamoDB's rule, whatever the number of items."""

from __future__ import annotations

import pytest

from benchmarks.maps import Instance, nothing
from hephaestus.steps import WaitForEvent

MOST_AN_ITEM, REST = 1.3, 10  # write units


def test_an_event_costs_the_same_for_one_of_many_waiting_items() -> None:
    """Rule C.11: requests and write units."""
    spent = []
    for number in (10, 100):
        costs = Instance(WaitForEvent("go", name="ask"), number)
        before = costs.spent()
        costs.runner.resume(costs.id, "go", item="5", dispatch=costs.going)
        spent.append([after - earlier for after, earlier in zip(costs.spent(), before, strict=True)])
    assert spent[0] == spent[1]


def test_an_event_to_one_of_a_thousand_costs_one_read_more() -> None:
    """Rule C.11: of the instance that runs the item; the write units are the same, whatever the number."""
    spent = {}
    for number in (10, 1_000):
        costs = Instance(WaitForEvent("go", name="ask"), number, concurrency=number)
        before = dict(costs.table.tally.requests), costs.table.tally.write_units
        costs.runner.resume(costs.id, "go", item="5", dispatch=costs.going)
        costs.settle()
        made = {name: count - before[0].get(name, 0) for name, count in costs.table.tally.requests.items()}
        spent[number] = made, costs.table.tally.write_units - before[1]
    (few, units), (many, units_of_many) = spent[10], spent[1_000]
    assert units == units_of_many
    assert {name: count - few.get(name, 0) for name, count in many.items() if count != few.get(name, 0)} == {"Query": 1}


@pytest.mark.parametrize("number", [0, 1, 50, 100])
def test_an_item_that_does_nothing_costs_at_most_1_3_write_units(number: int) -> None:
    """Rule C.7: what ends together is one commit, and its results stand there alone."""
    costs = Instance(nothing, number)
    assert costs.runner.get(costs.id).status == "completed"
    assert costs.spent()[1] <= REST + MOST_AN_ITEM * number
