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


@pytest.mark.parametrize("number", [0, 1, 50, 100])
def test_an_item_that_does_nothing_costs_at_most_1_3_write_units(number: int) -> None:
    """Rule C.7: what ends together is one commit, and its results stand there alone."""
    costs = Instance(nothing, number)
    assert costs.runner.get(costs.id).status == "completed"
    assert costs.spent()[1] <= REST + MOST_AN_ITEM * number
