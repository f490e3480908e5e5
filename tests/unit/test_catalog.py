"""What is deployed, as someone who looks for days knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Rounds, Workflow, step
from hephaestus.errors import StoreUnavailable, UnknownWorkflow
from hephaestus.handlers.http.describe import describe
from hephaestus.operations.catalog import FRESH, Catalog, read_workflow
from hephaestus.steps import ChildWorkflow, Repeat
from tests.unit.flows import Order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Paid(Workflow, key="paid"):
    """It can be undone."""

    pay = step(key="pay", compensate=lambda ctx: None)(lambda ctx: "done")
    start_at = pay
    transitions = {pay: {"done": DONE}}


class Deployed:
    """A deployment that changes, and a clock."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.now = 0.0
        self.asked = 0

    def fetch(self) -> Sequence[Mapping[str, Any]]:
        """As ``GET /workflows`` answers; without names it does not."""
        self.asked += 1
        if not self.names:
            message = "no answer"
            raise StoreUnavailable(message)
        return [{**describe(Order), "name": name} for name in self.names]

    def monotonic(self) -> float:
        """The time."""
        return self.now


def test_a_workflow_that_is_deployed_later_is_known_within_half_a_minute() -> None:
    deployed = Deployed("Order")
    catalog = Catalog(deployed.fetch, deployed.monotonic)
    deployed.names = ("Order", "Parcel")
    assert catalog.names() == ["Order", "Parcel"], "nothing is asked before it is needed"
    deployed.names = ("Order", "Parcel", "Return")
    with pytest.raises(UnknownWorkflow, match=r"deployed workflows: Order, Parcel$"):
        catalog.get("Return")
    assert deployed.asked == 1
    deployed.now = FRESH
    assert catalog.get("Return").name == "Return"
    assert deployed.asked == 2


def test_what_was_known_stays_while_the_deployment_does_not_answer() -> None:
    deployed = Deployed()
    catalog = Catalog(deployed.fetch, deployed.monotonic)
    assert catalog.names() == []
    deployed.names = ("Order",)
    assert catalog.names() == ["Order"], "it is asked again at once where nothing is known"
    deployed.names, deployed.now = (), FRESH
    assert catalog.names() == ["Order"]
    assert catalog.names() == ["Order"]
    assert deployed.asked == 3, "not with every look"


def test_the_graph_of_a_parent_is_known_by_its_description() -> None:
    """What a child does is undone by the child, if it can be, or by its step, and it takes no event."""
    own = ChildWorkflow(Order, name="own", compensate=lambda ctx: ctx)
    free, kid = ChildWorkflow(Paid, name="free", detached=True), ChildWorkflow(Paid, name="kid")
    turns = Repeat(Paid, until=lambda ctx: True, rounds=Rounds(2), name="turns")
    kept = ChildWorkflow(Order, name="kept")
    routes = {
        own: {"done": free},
        free: {"done": kid},
        kid: {"done": turns},
        turns: {"done": kept},
        kept: {"done": DONE},
    }
    parent: type[Workflow] = type("Parent", (Workflow,), {"start_at": own, "transitions": routes}, key="parent")
    graph, known = parent.definition(1).graph, read_workflow(describe(parent)).definitions[1].graph
    assert (known.children, known.undoes, known.compensates) == (graph.children, graph.undoes, graph.compensates)
    assert known.fingerprint == graph.fingerprint
    assert (set(graph.undoes), set(graph.compensates)) == ({"kid", "turns"}, {"own", "kid", "turns"})
