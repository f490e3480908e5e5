"""Maps of more items than one instance runs, as people and callers see them: as one map of one instance."""

from __future__ import annotations

import hashlib
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Completed, NonRetryable, Pending, Retry, StepContext, Workflow, step
from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.engine.map_items import mapped_of
from hephaestus.engine.nodes import Node, below, id_of, top, tree_of, way_to
from hephaestus.errors import (
    AmbiguousEvent,
    BadRequest,
    InstanceClosed,
    InstanceNotFound,
    ItemNotBegun,
    LinkOutdated,
    LinkUsed,
    NotRoot,
    RequestIdReused,
    StepMovedOn,
    UnexpectedEvent,
)
from hephaestus.runtime import item_pages, map_trees, spreading, telemetry
from hephaestus.steps import ChildWorkflow, Map, WaitForEvent
from hephaestus.store.keys import HEAD
from hephaestus.store.table import ALWAYS, EXPIRES
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
        assert (one.public_id, one.origin.public) == (shown.id, ("", ""))
    for place in range(number):
        leaf = way_to(tree, plan, place)[-1]
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
    local.store.reader.load = lambda name, **how: loaded.append(name) or load(name, **how)  # type: ignore[func-returns-value,method-assign]  # noted
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


def waiting(number: int = 7, **how: Any) -> tuple[LocalRuntime, InstanceView]:
    """Items that wait."""
    limits = {name: how.pop(name) for name in ("timeout", "heartbeat") if name in how}
    made = Map(WaitForEvent("yes", "no", name="work", **limits), over=given, chunk=2, **how)
    return run(made, [f"k{place}" for place in range(number)])


def kinds(local: LocalRuntime, name: str) -> list[str]:
    """The events of an instance's log."""
    return [event["type"] for entry in local.runner.history(name).items for event in entry.events]


@pytest.mark.parametrize("key", [None, str])
def test_an_event_reaches_its_item_wherever_that_runs(key: Any) -> None:
    """Rule C.11: by its key or its index; the same request twice is one, also when the map has ended."""
    local, shown = waiting(key=key)
    names = [f"k{place}" if key else str(place) for place in range(7)]
    for name in names:
        local.resume(shown.id, "yes" if name != names[3] else "no", {"at": name}, item=name, event_id=f"e{name}")
        local.resume(shown.id, "yes" if name != names[3] else "no", {"at": name}, item=name, event_id=f"e{name}")
    shown = local.runner.get(shown.id)
    assert (shown.status, shown.steps["work"].results["events"]) == ("completed", {"no": 1, "yes": 6})
    assert shown.output == {"left": names}
    assert "EventReceived" not in kinds(local, shown.id)
    local.resume(shown.id, "yes", {"at": names[0]}, item=names[0], event_id=f"e{names[0]}")
    with pytest.raises(RequestIdReused):
        local.resume(shown.id, "no", item=names[0], event_id=f"e{names[0]}")
    with pytest.raises(InstanceClosed, match=shown.id):
        local.resume(shown.id, "yes", item=names[0])


def test_an_event_that_no_item_of_a_tree_takes_is_rejected_as_of_one_instance() -> None:
    """Rule C.11: without an item it is ambiguous, and nothing that is said names an instance of the tree."""
    local, shown = waiting(key=str)
    with pytest.raises(AmbiguousEvent, match="event 'yes' could be for an item of work; name the item"):
        local.resume(shown.id, "yes")
    for item, name in (("k9", None), ("0", None), ("k1", "after")):
        with pytest.raises(UnexpectedEvent, match=f"instance {shown.id} takes no event 'yes' for item {item}"):
            local.resume(shown.id, "yes", item=item, step=name)
    with pytest.raises(UnexpectedEvent, match="no event 'maybe' for item k1"):
        local.resume(shown.id, "maybe", item="k1")
    local.resume(shown.id, "yes", item="k1")
    with pytest.raises(UnexpectedEvent, match=f"instance {shown.id} takes no event 'no' for item k1"):
        local.resume(shown.id, "no", item="k1")
    local.resume(shown.id, "yes", item="k0")
    with pytest.raises(UnexpectedEvent, match=f"instance {shown.id} takes no event 'no' for item k0"):
        local.resume(shown.id, "no", item="k0")
    local.runner.cancel(shown.id)
    local.settle()
    with pytest.raises(InstanceClosed, match=f"instance {shown.id} is cancelled"):
        local.resume(shown.id, "yes", item="k5")


def test_an_event_for_an_item_that_has_not_begun_is_to_be_sent_again() -> None:
    """Rule C.11: an instance that is not there cannot keep it; in one that is, it is kept."""
    local, shown = waiting(concurrency=1)
    with pytest.raises(ItemNotBegun, match=f"instance {shown.id}: item 5 of work has not begun: try again later"):
        local.resume(shown.id, "yes", item="5")
    local.resume(shown.id, "yes", item="1")
    for item in (0, 2, 3, 4, 5):
        local.resume(shown.id, "yes", item=str(item))
    assert local.resume(shown.id, "yes", item="6").status == "completed"


def test_an_event_for_an_item_that_failed_waits_for_a_redrive_to_reach_it() -> None:
    """Rule C.11: a map that has failed takes none; one that goes on takes it once the item's instance does."""
    bad = {"k2"}

    @step(events=("yes",), retry=ONCE)
    def ask(ctx: StepContext) -> Pending:
        if ctx.item in bad:
            raise ValueError
        return Pending()

    local, shown = run(Map(ask, over=given, name="work", chunk=2), [f"k{place}" for place in range(7)])
    assert shown.status == "failed"
    with pytest.raises(InstanceClosed, match=f"instance {shown.id} is failed"):
        local.resume(shown.id, "yes", item="5")
    bad.clear()
    local.runner.redrive(shown.id)
    with pytest.raises(ItemNotBegun):
        local.runner.resume(shown.id, "yes", item="2")
    local.settle()
    for item in range(7):
        local.resume(shown.id, "yes", {"at": item}, item=str(item))
    assert local.runner.get(shown.id).output == {"left": list(range(7))}


def test_heartbeats_and_deadlines_reach_the_items_of_a_tree() -> None:
    """Rules C.11 and C.12: they are named by the owner; so is the schedule that is made."""
    local, shown = waiting(timeout=timedelta(hours=5), heartbeat=timedelta(hours=1))
    with pytest.raises(AmbiguousEvent, match="items of work may wait for heartbeats; name the item"):
        local.runner.heartbeat(shown.id)
    with pytest.raises(UnexpectedEvent, match=f"instance {shown.id}: no item x waits for a heartbeat now"):
        local.runner.heartbeat(shown.id, item="x")
    local.advance(3_000)
    for place in range(6):
        local.runner.heartbeat(shown.id, item=str(place))
    local.advance(1_200)
    with pytest.raises(UnexpectedEvent, match=f"instance {shown.id}: no item 6 waits for a heartbeat now"):
        local.runner.heartbeat(shown.id, item="6")
    name = local.runner.schedule_resume(shown.id, "work", 60_000, item="4", request_id="r")
    assert local.runner.schedule_resume(shown.id, "work", 60_000, item="4", request_id="r") == name
    assert "hephaestus-map" not in name
    with pytest.raises(UnexpectedEvent, match=f"instance {shown.id}: step work: it has no item '6' that will wait"):
        local.runner.schedule_resume(shown.id, "work", 60_000, item="6")
    local.advance(61)
    with pytest.raises(UnexpectedEvent, match="for item 4"):
        local.resume(shown.id, "yes", item="4")
    for place in (0, 1, 2, 3, 5):
        local.resume(shown.id, "yes", item=str(place))
    assert local.runner.get(shown.id).steps["work"].results["events"] == {"timeout": 2, "yes": 5}


def test_a_link_of_an_item_works_once_wherever_it_runs() -> None:
    """Rule C.11: it names the owner; when the item has ended, or the owner, it says so."""
    links: dict[str, str] = {}

    @step(events=("yes",))
    def ask(ctx: StepContext) -> Pending:
        links[ctx.item_key] = ctx.callback_token("yes")
        return Pending()

    local, shown = run(Map(ask, over=given, key=str, name="work", chunk=2), [f"k{place}" for place in range(7)])
    link = local.runner.signer().read(links["k4"], local.clock.now())
    assert (link.instance_id, local.runner.look(link)) == (shown.id, "Flow")
    local.follow(links["k4"], {"at": 4})
    for again in (lambda: local.follow(links["k4"]), lambda: local.runner.look(link)):
        with pytest.raises(LinkUsed, match=f"instance {shown.id}: this link has been used"):
            again()
    local.resume(shown.id, "yes", item="k5")
    with pytest.raises(StepMovedOn, match=f"instance {shown.id}: item k5 of step work"):
        local.follow(links["k5"])
    local.runner.cancel(shown.id)
    local.settle()
    with pytest.raises((InstanceClosed, StepMovedOn), match=f"instance {shown.id}"):
        local.follow(links["k0"])
    local.start(local.runner.registry.get("Flow"), "1", {"items": list("abc")})
    with pytest.raises(LinkOutdated):
        local.follow(links["k0"])


def counts(local: LocalRuntime, name: str) -> Any:
    """How far the map has come."""
    return local.runner.get(name).steps["work"].progress


def every_item(local: LocalRuntime, name: str, status: str | None = None, limit: int = 3) -> list[Any]:
    """The items of all pages."""
    found: list[Any] = []
    cursor = None
    while True:
        page = local.runner.items(name, "work", status=status, limit=limit, cursor=cursor)
        assert len(page.items) <= limit
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


def reads(local: LocalRuntime) -> list[str]:
    """The instances of trees that are read from now on."""
    found: list[str] = []
    load = local.store.reader.load
    local.store.reader.load = lambda name, **how: found.append(name) or load(name, **how)  # type: ignore[func-returns-value,method-assign]  # noted
    return found


def test_the_items_of_a_tree_are_shown_as_those_of_one_instance() -> None:
    """Rule C.10: in their order, by status, page by page, while it runs and when it is over."""
    made = Map(step(key="work", retry=ONCE)(work.function), over=given, tolerate="100%", key=str)
    items = [f"i{place}" for place in range(20)]
    one, shown = run(made, items)
    made.chunk = 2
    local, also = run(made, items)
    assert shown.id == also.id
    plain = every_item(one, shown.id)
    of_tree = every_item(local, shown.id)
    assert [(it.key, it.index, it.status, it.item, it.results, it.attempt, it.event) for it in of_tree] == [
        (it.key, it.index, it.status, it.item, it.results, it.attempt, it.event) for it in plain
    ]
    assert counts(local, shown.id) == counts(one, shown.id)


def test_progress_counts_the_items_of_all_instances() -> None:
    """Rule C.10: what runs and waits as well, while instances are still to begin."""
    local, shown = waiting(20, concurrency=7)
    assert counts(local, shown.id) == {"total": 20, "pending": 13, "waiting": 7, "completed": 0, "failed": 0}
    assert local.runner.get(shown.id).accepts == {"work": ("yes", "no")}
    assert [it.key for it in every_item(local, shown.id, "waiting")] == [str(place) for place in range(7)]
    pending = every_item(local, shown.id, "pending")
    assert [(it.key, it.index, it.item) for it in pending] == [(str(at), at, f"k{at}") for at in range(7, 20)]
    for item in range(20):
        local.resume(shown.id, "yes", item=str(item))
        assert counts(local, shown.id)["completed"] == item + 1
        assert sum(counts(local, shown.id).values()) == 40
    read = reads(local)
    assert counts(local, shown.id) == {"total": 20, "completed": 20, "failed": 0}
    assert read == [shown.id]


def test_what_failed_among_many_is_found_at_once() -> None:
    """Rule C.10: only instances are read that have some, and those that lead there."""
    items: list[Any] = list(range(200))
    for bad in (7, 110, 111):
        items[bad] = "bad"
    local, shown = run(Map(work, over=given, chunk=2, tolerate=3), items)
    assert shown.status == "completed"
    read = reads(local)
    page = local.runner.items(shown.id, "work", status="failed")
    assert [(one.index, (one.error or {})["message"], one.entry) for one in page] == [
        (bad, str(bad), None) for bad in (7, 110, 111)
    ]
    assert page.cursor is None
    assert len(read) <= 1 + 3 * 5


def test_a_page_reads_no_more_instances_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule C.10: it may be empty, and still have a cursor."""
    monkeypatch.setattr(item_pages, "MOST_INSTANCES", 2)
    local, shown = waiting(12, tolerate="100%")
    local.resume(shown.id, "yes", item="11")
    page = local.runner.items(shown.id, "work", status="completed")
    assert (page.items, page.cursor) == ([], "4")
    assert [one.key for one in every_item(local, shown.id, "completed")] == ["11"]


def test_progress_reads_no_more_instances_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule C.10: what it does not read counts as pending, but for what was said of it."""
    monkeypatch.setattr(map_trees, "MOST_READ", 3)
    local, shown = waiting(12)
    found = counts(local, shown.id)
    assert found["total"] == sum(number for name, number in found.items() if name != "total")
    assert 0 < found["waiting"] < 12


@pytest.mark.parametrize("chunk", [2, 100])
def test_why_the_workflow_of_an_item_failed_is_shown_where_it_cannot_tell(chunk: int) -> None:
    """It took too long, or never began: what tolerates failures says this nowhere else."""
    waits = WaitForEvent("go")
    kid = type("Kid", (Workflow,), {"start_at": waits, "transitions": {waits: {"go": DONE}}}, key="kid")

    def start_data(ctx: StepContext) -> dict[str, Any]:
        if ctx.item == "bad":
            message = "no such parcel"
            raise NonRetryable(message)
        return {"item": ctx.item}

    child = ChildWorkflow(kid, context=start_data, timeout=600)
    local = LocalRuntime(kind := flow(Map(child, over=given, chunk=chunk, name="work", tolerate="100%")), kid)
    name = local.start(kind, "1", {"items": ["bad", 1, 2]}).id
    local.advance(timedelta(hours=1))
    shown = local.runner.items(name, "work", status="failed").items
    errors = [(one.error or {}).get("message") for one in shown]
    assert [bool(one.child) for one in shown] == [False, True, True]
    assert errors == ["no such parcel", *[f"item {n}: its workflow took too long" for n in (1, 2)]]


@pytest.mark.parametrize("chunk", [2, 100])
def test_an_instance_is_shown_whose_map_was_renamed_under_the_same_version(chunk: int) -> None:
    """It is parked, and no event is for its items; who looks for the reason must see it."""
    ask = WaitForEvent("yes", name="ask")
    local = LocalRuntime(before := flow(Map(ask, over=given, chunk=chunk, name="work")))
    shown = local.start(before, "1", {"items": [0, 1, 2, 3, 4]})
    renamed = flow(Map(ask, over=given, chunk=chunk, name="other"))
    local.runner.registry = LocalRuntime(renamed).runner.registry
    shown = local.runner.get(shown.id)
    assert (shown.accepts, (shown.steps["work"].progress or {}).get("waiting")) == ({}, 5)
    assert len(local.runner.items(shown.id, "work").items) == 5


def test_items_of_a_map_that_was_cancelled_before_they_began_are_shown() -> None:
    """Rule C.10: an instance that ended before its part of the map began has items like any other."""
    made = Map(work, over=given, chunk=2)
    local = LocalRuntime(kind := flow(made))
    name = local.runner.start_instance(kind, {"items": [0, 1, 2, 3, 4]}, id="1")
    for due in local.queue.pop_due(local.clock.now()):
        local.runner.wake(due.instance_id, budget=local.budget(), alarms=due.alarms)
    local.runner.cancel(name)
    local.settle()
    page = local.runner.items(name, "work")
    assert [(one.key, one.status, one.item) for one in page.items] == [(str(n), "pending", n) for n in range(5)]


@pytest.mark.parametrize("undone", [False, True])
def test_items_that_stopped_or_were_undone_are_shown_so(undone: bool) -> None:
    """Rules C.6 and C.13: as of a map in one instance."""
    seen = {}

    @step(key="ask", events=("yes",), retry=Retry(max_attempts=2, delay=100), compensate=_nothing if undone else None)
    def ask(ctx: StepContext) -> Any:
        if ctx.index == 6:
            raise ValueError
        return Pending()

    for chunk in (100, 2):
        local, shown = run(Map(ask, over=given, name="work", chunk=chunk), list(range(9)))
        for item in (0, 1, 3):
            local.resume(shown.id, "yes", item=str(item))
        assert counts(local, shown.id)["retrying"] == 1
        local.advance(200)
        assert local.runner.get(shown.id).status == "failed"
        seen[chunk] = counts(local, shown.id), [(one.key, one.status) for one in every_item(local, shown.id)]
    assert seen[2] == seen[100]
    assert seen[2][0]["compensated" if undone else "completed"] == 3
    assert seen[2][0]["cancelled"] == 5


def _nothing(_ctx: StepContext) -> None:
    """What undoing an item does."""


HEARD = [*telemetry.EVENTS, *telemetry.OURS]


@pytest.fixture
def heard(request: pytest.FixtureRequest) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What telemetry tells."""
    found: list[tuple[str, dict[str, Any]]] = []
    telemetry.attach(request.node.name, lambda event, _, metadata: found.append((event, dict(metadata))), HEARD)
    yield found
    telemetry.detach(request.node.name)


def test_nothing_that_is_told_names_an_instance_of_a_tree(
    heard: list[tuple[str, dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    """Rules C.1 and C.9: what its items do is the owner's, and the rest of it is no one's business."""
    caplog.set_level(logging.DEBUG)
    made = Map(step(key="work", retry=Retry(max_attempts=2, delay=1))(work.function), over=given, chunk=2, tolerate=1)
    local, shown = run(made, [*range(6), "bad", *range(7, 20)])
    local.advance(10)
    shown = local.runner.get(shown.id)
    assert shown.status == "completed"
    assert {metadata["instance_id"] for _, metadata in heard if "instance_id" in metadata} == {shown.id}
    began = {(told["generation"], told["created_at"]) for _, told in heard if "step" in told}
    assert began == {(1, round(shown.created_at.timestamp() * 1000))}
    assert not any("root" in metadata or "parent" in metadata for _, metadata in heard)
    whole = [name for name, _ in heard if name.startswith("hephaestus.workflow.st")]
    assert whole == ["hephaestus.workflow.start", "hephaestus.workflow.stop"]
    ended = [metadata["item"] for name, metadata in heard if name == "hephaestus.step.stop" and "item" in metadata]
    assert sorted(map(int, ended)) == [place for place in range(20) if place != 6]
    assert {metadata["step"] for name, metadata in heard if name == "hephaestus.step.start"} == {"work", "after"}
    assert [one["status"] for one in local.status_events] == ["running", "completed"]
    page, listed = local.runner.history(shown.id, limit=200), local.runner.list(children=True)
    told = [*map(str, (heard, caplog.text, local.status_events, shown, page, listed, every_item(local, shown.id)))]
    told.append(str(local.runner.get(shown.id, tree=True)))
    assert not [text for text in told if "hephaestus-map" in text]
    assert [one.id for one in local.runner.list(children=True)] == [shown.id]


def parts_in(local: LocalRuntime, shown: InstanceView) -> list[str]:
    """The ids of the instances of a map's tree."""
    state = local.store.load(shown.id)
    assert state is not None
    plan, tree = mapped_of(state, "work").plan, tree_of(state, "work")
    assert plan is not None
    return [name for name, _ in ids_below(tree, plan, top(tree, plan))]


def test_who_asks_an_instance_of_a_tree_is_sent_to_the_owner() -> None:
    """Rule C.1: whatever is asked, and nothing happens; of an id that no instance has it is said that there is none."""
    local, shown = waiting()
    part = parts_in(local, shown)[-1]
    runner = local.runner
    asked: list[Callable[[str], object]] = [
        runner.get,
        runner.history,
        lambda name: runner.items(name, "work"),
        lambda name: runner.resume(name, "yes"),
        runner.heartbeat,
        lambda name: runner.schedule_resume(name, "work", 1_000),
        runner.cancel,
        runner.pause,
        runner.unpause,
        runner.redrive,
        lambda name: runner.fork(name, new_id="2"),
        runner.delete,
    ]
    for ask in asked:
        with pytest.raises(NotRoot, match=f"runs items of a map of {shown.id}: ask there"):
            ask(part)
        with pytest.raises(InstanceNotFound):
            ask(f"{PARTS}00000000000000000000000000000000")
    for item in range(7):
        local.resume(shown.id, "yes", item=str(item))
    assert local.runner.get(shown.id).status == "completed"


def test_the_owner_of_a_tree_may_itself_be_a_child(heard: list[tuple[str, dict[str, Any]]]) -> None:
    """Rules C.1 and D.4: its items are where it is, and its timeline shows what they do in plain words."""
    inner = flow(Map(work, over=given, chunk=2))
    child = ChildWorkflow(inner, context=lambda _: {"items": list(range(7))}, name="child")
    outer = type("Outer", (Workflow,), {"start_at": child, "transitions": {child: {"done": DONE}}}, key="outer")
    local = LocalRuntime(outer, inner)
    shown = local.start(outer, "1", {})
    assert shown.status == "completed", shown.error
    below = local.runner.get(shown.id, tree=True).children
    name = shown.steps["child"].child
    assert name is not None
    assert [(one["id"], one.get("children")) for one in below] == [(name, None)]
    own = [metadata for event, metadata in heard if metadata.get("item") is not None]
    assert {(one["instance_id"], one["parent"], one["path"], one["root"]) for one in own} == {
        (name, shown.id, "child", shown.id)
    }
    entries = local.runner.history(name, limit=200).items
    events = [event for entry in entries for event in entry.events]
    spread = next(event for event in events if event["type"] == "MapSpread")
    assert (spread["step"], spread["total"], spread["chunk"]) == ("work", 7, 2)
    ended = [event["counts"]["completed"] for event in events if event["type"] == "PartEnded"]
    assert sorted(ended) == [1, 6]
    assert "hephaestus-map" not in str(entries)


def rows(local: LocalRuntime) -> list[tuple[str, str, bool]]:
    """Every item of the store: whose, which, and whether it expires."""
    table = local.store.table
    assert isinstance(table, InMemoryTable)
    names = [shown.id for shown in local.runner.list(children=True)]
    names += [name for one in names for name in parts_in(local, local.runner.get(one))]
    found = [item for name in names for item in table.query(name, low="", high="~")]
    return [(str(item["pk"]), str(item["sk"]), EXPIRES in item) for item in found]


@pytest.mark.parametrize("key", [None, str])
def test_a_tree_goes_with_its_root_and_with_it_the_items(key: Any) -> None:
    """Rule D.11: the values that no entry names, too; of one that goes on, all of it stays."""
    bad = [4]

    @step(key="work", retry=ONCE)
    def fails(ctx: StepContext) -> dict[str, Any]:
        if ctx.item in bad:
            raise ValueError
        return {"at": ctx.index}

    workflow = flow(Map(fails, over=given, chunk=2, key=key))
    local = LocalRuntime(workflow)
    local.store.retention = 24 * 3600
    shown = local.start(workflow, "1", {"items": list(range(20))})
    assert shown.status == "failed"
    assert [row for row in rows(local) if not row[2]] == []
    values = {row[1] for row in rows(local) if row[1].startswith("value#")}
    assert len(values) >= 11
    bad.clear()
    local.runner.redrive(shown.id)
    assert {row[2] for row in rows(local) if row[0] == shown.id and not row[1].startswith("log#")} == {False}
    local.settle()
    assert local.runner.get(shown.id).status == "completed"
    assert [row for row in rows(local) if not row[2]] == []


def test_a_smaller_chunk_has_room_for_larger_items() -> None:
    """Rule C.4: what is bounded is what one instance has, and what is too large is no error that goes away."""
    large = ["".join(hashlib.sha256(f"{n} {m}".encode()).hexdigest() for m in range(1_000)) for n in range(3)]
    shown = {}
    for chunk in (1, 2, 100):
        measure = step(key="work")(lambda ctx: {"size": len(ctx.item)})
        made = Map(measure, over=lambda _: large, chunk=chunk)
        kind = type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")
        shown[chunk] = LocalRuntime(kind).start(kind, "1", {})
    assert shown[1].output is not None
    assert shown[1].output["completed"] == 3
    for chunk in (2, 100):
        assert (shown[chunk].status, shown[chunk].steps["work"].attempt) == ("failed", 1)
        assert "bytes compressed; at most 65536 are stored" in str(shown[chunk].error)


def test_items_that_cannot_be_stored_are_not_stored_in_part() -> None:
    """Rule C.4: nothing is written before all of them are known to fit."""
    large = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(4_000))
    local, shown = run(Map(work, over=lambda _: [*range(5), large, 6], chunk=2), None)
    assert shown.status == "failed"
    found = local.store.table.query(shown.id, low="value#", high="value$")
    assert [item["sk"] for item in found if "#map" in str(item["sk"])] == []


class Ship(Workflow, key="ship"):
    """What an item may be: it waits, and leaves what it was started with."""

    gate = WaitForEvent("go", name="gate")
    start_at = gate
    transitions = {gate: {"go": DONE}}
    output = lambda ctx: dict(ctx.initial)  # noqa: E731 - as users write it


@pytest.mark.parametrize("chunk", [100, 2])
def test_the_workflows_of_a_map_are_children_of_the_instance_that_has_it(chunk: int) -> None:
    """Rules C.1 and C.9: wherever they are started; they are listed as its children, and tell of no other parent."""
    made = Map(
        ChildWorkflow(Ship, context=lambda ctx: {"n": ctx.item}, name="ship"), over=given, chunk=chunk, name="work"
    )
    after = step(key="after")(lambda ctx: {"left": [one["n"] for one in ctx.results("work")]})
    members = {"start_at": made, "transitions": {made: {"done": after}, after: {"done": DONE}}}
    fleet = type("Fleet", (Workflow,), members, key="fleet")
    local = LocalRuntime(fleet, Ship)
    shown = local.start(fleet, "1", {"items": list(range(7))}, tags=["t"])
    found = local.runner.list(parent=shown.id).items
    items = every_item(local, shown.id)
    assert {one.id for one in found} == {item.child for item in items}
    assert len(found) == 7
    assert {(item.status, item.child_status) for item in items} == {("waiting", "waiting")}
    assert local.runner.list(parent=shown.id, status="completed").items == []
    for item in items:
        kid = local.runner.get(item.child)
        assert (kid.parent, kid.root, kid.path) == (shown.id, shown.id, f"work[{item.key}]")
        with pytest.raises(NotRoot, match=f"is a child of {shown.id}: ask at its root, {shown.id}"):
            local.runner.cancel(kid.id)
    local.runner.pause(shown.id, "for now")
    local.settle()
    local.runner.unpause(shown.id)
    local.settle()
    told = str([local.runner.history(item.child, limit=200) for item in items])
    assert ("'origin'" in told, "hephaestus-map" in told) == (True, False)
    for item in items:
        local.resume(item.child, "go")
    assert local.runner.get(shown.id).output == {"left": list(range(7))}
    assert len(local.runner.list(parent=shown.id).items) == 7


@pytest.mark.parametrize("chunk", [100, 2])
@pytest.mark.parametrize("target", ["steps", "workflows"])
def test_a_cancelled_map_goes_on_where_it_was_when_it_is_redriven(chunk: int, target: str) -> None:
    """Rules C.1 and C.13: what had ended is not repeated, what waits waits on, and nothing ends as cancelled."""
    each: Any = WaitForEvent("go", name="each", timeout=timedelta(hours=2))
    if target == "workflows":
        each = ChildWorkflow(Ship, context=lambda ctx: {"n": ctx.item}, name="each")
    made = Map(each, over=given, chunk=chunk, name="work")
    fleet = type("Fleet", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="fleet")
    local = LocalRuntime(fleet, Ship)
    shown = local.start(fleet, "1", {"items": list(range(7))})

    def answer(place: int) -> None:
        if target == "workflows":
            local.resume(every_item(local, shown.id)[place].child, "go")
        else:
            local.resume(shown.id, "go", item=str(place))

    answer(0)
    answer(3)
    local.runner.cancel(shown.id)
    local.settle()
    assert local.runner.get(shown.id).status == "cancelled"
    local.advance(timedelta(hours=5))
    local.runner.redrive(shown.id)
    local.settle()
    again = local.runner.get(shown.id)
    assert again.steps["work"].status == "mapping"
    assert again.steps["work"].progress is not None
    assert again.steps["work"].progress["completed"] == 2
    for place in (1, 2, 4, 5, 6):
        answer(place)
    ended = local.runner.get(shown.id)
    assert (ended.status, ended.steps["work"].results["completed"], ended.steps["work"].results["cancelled"]) == (
        "completed",
        7,
        0,
    )


def test_why_some_items_do_not_go_on_is_said_of_the_owner() -> None:
    """Rule C.1: what runs them is parked, and no one knows it; one that cannot be read hides nothing of the others."""
    other = step(key="other")(lambda _: "done")
    without = type("Flow", (Workflow,), {"start_at": other, "transitions": {other: {"done": DONE}}}, key="flow")
    local, shown = waiting(7, timeout=timedelta(hours=1))
    later = LocalRuntime(without, store=local.store)
    later.clock.move_to(local.clock.now() + 7_200_000)
    part = parts_in(local, shown)[-1]
    later.runner.wake(part, budget=later.budget())
    found = local.runner.get(shown.id)
    assert found.parked is not None
    assert f"instance {shown.id}: version 1 of workflow Flow is deployed without the map 'work'" in found.parked
    local.store.table.update(part, HEAD, {"snapshot": b"?", "snapshot_at": None}, ALWAYS)
    found = local.runner.get(shown.id)
    assert "cannot be read" in (found.parked or "")
    assert found.steps["work"].progress is not None
    assert found.steps["work"].progress["waiting"] == 6
