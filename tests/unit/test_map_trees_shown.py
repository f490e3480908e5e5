"""Maps of more items than one instance runs, as people and callers see them: as one map of one instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Completed, Retry, StepContext, Workflow, step
from hephaestus.engine.map_items import mapped_of
from hephaestus.engine.trees import Node, below, id_of, leaf_of, path_to_owner, top, tree_of
from hephaestus.errors import BadRequest
from hephaestus.runtime import spreading
from hephaestus.steps import Map, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.definition.views import InstanceView
    from hephaestus.engine.records import Plan, Tree

ONCE = Retry(max_attempts=1)
PARTS = "hephaestus-map::"


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree of few items has several levels."""
    monkeypatch.setattr(spreading, "FAN", 3)


@step(retry=ONCE)
def work(ctx: StepContext) -> Completed:
    """Fail for the items that say so; leave nothing for those that say so."""
    if ctx.item == "bad":
        raise ValueError(ctx.item_key)
    return Completed("done", {"at": ctx.index, "key": ctx.item_key})


@step(retry=ONCE)
def after(ctx: StepContext) -> dict[str, Any]:
    """What the step after the map reads."""
    return {"left": [one and one["at"] for one in ctx.results("work")]}


def given(ctx: StepContext) -> Any:
    """The items."""
    return ctx.initial["items"]


def flow(made: Map, *, before: Any = None) -> type[Workflow]:
    """A workflow of a map, a wait if there is to be one, and a step that reads what the items left."""
    ahead = before or after
    routes: dict[Any, Any] = {made: {"done": ahead}, after: {"done": DONE}}
    if before is not None:
        routes[before] = {"go": after}
    return type("Flow", (Workflow,), {"start_at": made, "transitions": routes}, key="flow")


def run(made: Map, items: Any, *, before: Any = None) -> tuple[LocalRuntime, InstanceView]:
    """Run the map over these items, and what follows it."""
    workflow = flow(made, before=before)
    local = LocalRuntime(workflow)
    return local, local.start(workflow, "1", {"items": items})


def ids_below(tree: Tree, plan: Plan, node: Node) -> Iterator[tuple[str, Node]]:
    """All instances of a tree below one."""
    for one in below(tree, plan, node):
        yield id_of(tree, one), one
        yield from ids_below(tree, plan, one)


@pytest.mark.parametrize("number", [3, 4, 6, 7, 19, 20])
def test_where_an_item_is_follows_from_the_owner_alone(number: int) -> None:
    """Rules C.2 and C.11: the id of each instance of the tree, and of its leaves those that have the item."""
    local, shown = run(Map(work, over=given, chunk=2), list(range(number)))
    state = local.store.load(shown.id)
    assert state is not None
    plan, tree = mapped_of(state, "work").plan, tree_of(state, "work")
    assert plan is not None
    nodes = dict(ids_below(tree, plan, top(tree, plan)))
    for name, node in nodes.items():
        one = local.store.load(name)
        assert one is not None
        assert one.origin is not None
        assert one.origin.part is not None
        assert (one.origin.part.first, one.origin.part.size, one.origin.path) == (node.first, node.size, node.path)
        assert (one.public_id, path_to_owner(one.origin, one.origin.part)) == (shown.id, "")
    for place in range(number):
        leaf = leaf_of(tree, plan, place)
        assert nodes[id_of(tree, leaf)] == leaf
        assert leaf.size <= plan.chunk
        assert leaf.first <= place < leaf.first + leaf.size


@pytest.mark.parametrize("number", [0, 1, 2, 3, 6, 7, 19, 55])
def test_what_items_left_is_the_same_at_every_size(number: int) -> None:
    """Rules C.1 and C.7: in their order; None keeps its place."""
    items = ["bad" if place % 5 == 3 else place for place in range(number)]
    _, shown = run(Map(work, over=given, chunk=2, tolerate="100%"), items)
    assert shown.status == "completed", shown.error
    assert shown.output == {"left": [None if item == "bad" else item for item in items]}


def test_what_items_left_is_read_an_instance_at_a_time() -> None:
    """Rule C.7: who reads the first few reads no more of them than that."""
    loaded: list[str] = []

    @step(retry=ONCE)
    def first(ctx: StepContext) -> dict[str, Any]:
        loaded.clear()
        results = ctx.results("work")
        before = len(loaded)
        return {"first": [next(results)["at"] for _ in range(3)], "read": len(loaded), "before": before}

    made = Map(work, over=given, chunk=2)
    members = {"start_at": made, "transitions": {made: {"done": first}, first: {"done": DONE}}}
    workflow = type("First", (Workflow,), members, key="first")
    local = LocalRuntime(workflow)
    load = local.store.reader.load
    local.store.reader.load = lambda name: loaded.append(name) or load(name)  # type: ignore[assignment,func-returns-value,method-assign]  # noted
    shown = local.start(workflow, "1", {"items": list(range(6))})
    assert shown.output == {"first": [0, 1, 2], "read": 2, "before": 0}


def test_a_map_that_stopped_left_nothing_where_nothing_ran() -> None:
    """Rule C.7: an instance that never began is not missed."""
    workflow = flow(made := Map(work, over=given, chunk=2, concurrency=1))
    workflow = type(
        "Routed",
        (Workflow,),
        {
            "start_at": made,
            "transitions": {made: {"done": after, "error": after}, after: {"done": DONE}},
        },
        key="routed",
    )
    shown = LocalRuntime(workflow).start(workflow, "1", {"items": [0, 1, 2, 3, "bad", *range(5, 30)]})
    assert shown.output == {"left": [0, 1, 2, 3, *[None] * 26]}


WAIT = WaitForEvent("go", name="wait")


def test_a_fork_reads_what_the_items_left_with_the_instance_that_ran_them() -> None:
    """Rule C.13: it stays there; a fork of the fork finds it, too."""
    local, shown = run(Map(work, over=given, chunk=2), list(range(7)), before=WAIT)
    first = local.runner.fork(shown.id, new_id="2")
    second = local.runner.fork(first, new_id="3")
    local.settle()
    assert local.resume(second, "go").output == {"left": list(range(7))}
    local.runner.cancel(shown.id)
    local.settle()
    local.runner.delete(shown.id)
    local.settle()
    shown = local.resume(first, "go")
    assert shown.status == "failed"
    assert "what the items of work from 0 on left is not kept any more" in str(shown.error)


def test_a_fork_takes_over_no_map_whose_items_it_could_not_undo() -> None:
    """Rule C.13: it says so; from an earlier entry on they run again."""
    made = Map(step(key="work", retry=ONCE, compensate=lambda _: None)(work.function), over=given, chunk=2)
    local, shown = run(made, list(range(7)), before=WAIT)
    with pytest.raises(BadRequest, match="can undo work, whose many items only the instance that ran them can undo"):
        local.runner.fork(shown.id, new_id="2")
    local.runner.fork(shown.id, new_id="2", at=1)
    local.settle()
    assert local.resume("flow::2", "go").output == {"left": list(range(7))}
