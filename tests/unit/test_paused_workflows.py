"""A paused workflow: what starts waits, what runs stops at its next commit, and all of it goes on."""

from __future__ import annotations

import itertools
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Completed, Schedule, StepContext, UnknownWorkflow, Workflow, step
from hephaestus.errors import StoreUnavailable
from hephaestus.runtime import workflow_pauses
from hephaestus.runtime.dispatch import InPlace
from hephaestus.runtime.workflow_pauses import SEEN_MS, WOKEN, wake_waiting
from hephaestus.steps import ChildWorkflow, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from hephaestus.definition.step import Step
    from hephaestus.definition.views import InstanceView

ran: list[str] = []
gate = WaitForEvent("go", name="gate", timeout=timedelta(hours=1))
SEEN = timedelta(milliseconds=SEEN_MS)


@step
def first(ctx: StepContext) -> Completed:
    """Run."""
    ran.append(f"first {ctx.instance_id}")
    return Completed("done", {})


@step
def last(ctx: StepContext) -> Completed:
    """Run."""
    ran.append(f"last {ctx.instance_id}")
    return Completed("done", {})


class Order(Workflow, key="order"):
    """Two steps and a wait between them."""

    start_at = first
    transitions = {first: {"done": gate}, gate: {"go": last, "timeout": last}, last: {"done": DONE}}


class Other(Workflow, key="other"):
    """Another workflow."""

    start_at = last
    transitions = {last: {"done": DONE}}


class Family(Workflow, key="family"):
    """Has an order as its child."""

    start_at = ChildWorkflow(Order, context=lambda _: {}, name="child")
    transitions = {start_at: {"done": DONE}}


class Both(Workflow, key="both"):
    """Has another as its child, and waits for an event beside it."""

    child = ChildWorkflow(Other, context=lambda _: {}, name="child")
    start_at = first
    after: dict[Any, Any] = {child: {"done": last}, gate: {"go": last, "timeout": last}, last: {"done": DONE}}
    transitions = {first: {"done": [child, gate]}, **after}


class Nightly(Workflow, key="night"):
    """Starts by itself."""

    start_at = first
    transitions = {first: {"done": DONE}}
    schedules = [Schedule("all", "0 * * * *"), Schedule("each", "30 * * * *", overlap="allow")]


def flow(name: str, start: Step, transitions: dict[Any, Any]) -> type[Workflow]:
    """A workflow."""
    members = {"start_at": start, "transitions": transitions}
    return type(name, (Workflow,), members, key=name.lower())


@pytest.fixture
def local() -> LocalRuntime:
    """A runtime with nothing in it."""
    ran.clear()
    return LocalRuntime(Order, Other, Family)


def shown(local: LocalRuntime, name: str) -> InstanceView:
    """An instance."""
    return local.runner.get(name)


def test_what_starts_is_accepted_and_waits(local: LocalRuntime) -> None:
    """Rule J.1: and says who paused its workflow, when and why; other workflows go on."""
    local.runner.pause_workflow(Order, "the carrier is down", by="ann")
    assert local.start(Order, "1").status == "pending"
    assert local.start(Other, "1").status == "completed"
    why = "workflow Order is paused by ann since 2026-01-01T00:00:00Z: the carrier is down"
    assert shown(local, "order::1").paused == why
    assert local.runner.why("order::1").why == (f"waits: {why}",)
    assert [(one.id, one.paused) for one in local.runner.list()] == [("other::1", None), ("order::1", why)]
    assert ran == ["last other::1"]
    local.advance(timedelta(days=3))
    assert ran == ["last other::1"]

    local.runner.unpause_workflow("Order")
    local.settle()
    assert ran == ["last other::1", "first order::1"]
    assert (shown(local, "order::1").status, shown(local, "order::1").paused) == ("waiting", None)


def test_events_and_deadlines_wait_with_it(local: LocalRuntime) -> None:
    """Invariant 5: an event that is accepted in the pause is not lost; a deadline that passes is met after it."""
    local.start(Order, "1")
    local.start(Order, "2")
    local.runner.pause_workflow("Order")
    local.advance(SEEN)
    assert shown(local, "order::1").paused is not None, "also of what has nothing to do"
    assert local.runner.why("order::1").why[0].startswith("waits: workflow Order is paused")
    local.resume("order::1", "go")
    local.advance(timedelta(hours=2))
    assert [one for one in ran if one.startswith("last")] == []
    local.runner.unpause_workflow("Order")
    local.advance(timedelta(minutes=1))
    assert {one for one in ran if one.startswith("last")} == {"last order::1", "last order::2"}
    assert shown(local, "order::1").steps["gate"].event == "go"
    assert shown(local, "order::2").steps["gate"].event == "timeout"


def test_what_runs_stops_at_its_next_commit(local: LocalRuntime) -> None:
    """Within the ten seconds that a process takes to see it."""

    @step
    def slow(ctx: StepContext) -> Completed:
        """Take its time, in which its workflow is paused."""
        local.runner.pause_workflow("Slow")
        local.clock.sleep(SEEN_MS)
        return Completed("done", {"at": 1})

    class Slow(Workflow, key="slow"):
        """A step after a slow one."""

        start_at = slow
        transitions = {slow: {"done": last}, last: {"done": DONE}}

    local = LocalRuntime(Slow)
    local.start(Slow, "1")
    found = shown(local, "slow::1")
    assert (found.status, found.steps["slow"].status, "last" in found.steps) == ("waiting", "completed", False)
    assert found.paused is not None
    assert ran == []
    local.runner.unpause_workflow("Slow")
    local.settle()
    assert shown(local, "slow::1").status == "completed"


def test_a_child_waits_where_its_own_workflow_is_paused(local: LocalRuntime) -> None:
    """Its parent's does not count: it is the code of a workflow that is paused, not a tree."""
    local.runner.pause_workflow("Family")
    local.runner.pause_workflow("Order")
    local.start(Family, "1")
    local.runner.unpause_workflow("Family")
    local.settle()
    [child] = [one.child for one in shown(local, "family::1").steps.values() if one.child]
    assert child is not None
    assert shown(local, child).paused is not None
    local.runner.pause_workflow("Family")
    local.runner.unpause_workflow("Order")
    local.advance(SEEN)
    local.resume(child, "go")
    assert shown(local, child).status == "completed"
    assert shown(local, "family::1").paused is not None
    local.runner.unpause_workflow("Family")
    local.settle()
    assert shown(local, "family::1").status == "completed"


def test_a_child_begins_while_its_parent_waits_for_its_workflow() -> None:
    """The first message of the child is late: it does not take the pause of another workflow for its parent's own."""
    local = LocalRuntime(Both, Other)
    local.runner.start_instance(Both, {}, id="1")
    [start] = local.queue.pop_due(local.clock.now())
    local.runner.wake(start.instance_id, budget=local.budget())
    [late] = local.queue.pop_due(local.clock.now())
    local.runner.pause_workflow("Both")
    local.advance(SEEN)
    local.resume("both::1", "go")
    assert shown(local, "both::1").paused is not None
    local.runner.wake(late.instance_id, budget=local.budget())
    local.settle()
    assert shown(local, late.instance_id).status == "completed"
    local.runner.unpause_workflow("Both")
    local.settle()
    assert shown(local, "both::1").status == "completed"


def test_what_is_undone_waits_for_a_child_whose_workflow_is_paused() -> None:
    """Its parent does not leave it after an hour: it was reached, and undoes what it did when its workflow goes on."""
    undone: list[str] = []

    def act(key: str) -> Step:
        return step(key=key, compensate=lambda _: undone.append(key))(lambda _: "done")

    inner, outer = act("inner"), act("outer")
    kid = flow("Kid", inner, {inner: {"done": gate}, gate: {"go": DONE, "timeout": DONE}})
    child = ChildWorkflow(kid, context=lambda _: {}, name="child")
    whole = flow("Whole", outer, {outer: {"done": child}, child: {"done": DONE}})
    local = LocalRuntime(whole, kid)
    local.start(whole, "1")
    local.runner.pause_workflow(kid)
    local.advance(SEEN)
    local.runner.cancel("whole::1", compensate=True)
    for _ in range(3):
        local.advance(timedelta(hours=1))
        local.sweep()
    assert undone == []
    local.runner.unpause_workflow(kid)
    local.settle()
    assert undone == ["inner", "outer"]
    assert shown(local, "whole::1").status == "cancelled"


def test_a_pause_of_its_own_outlasts_that_of_its_workflow(local: LocalRuntime) -> None:
    local.runner.pause_workflow("Order", "all")
    local.start(Order, "1")
    local.runner.pause("order::1", "this one")
    assert shown(local, "order::1").paused == "this one"
    assert local.runner.why("order::1").why == ("is paused for 0 s: this one; nothing starts until it is unpaused",)
    local.runner.unpause_workflow("Order")
    local.advance(timedelta(hours=2))
    assert shown(local, "order::1").paused == "this one"
    local.runner.unpause("order::1")
    local.settle()
    assert ran == ["first order::1"]


def test_a_parent_that_is_unpaused_and_waits_for_its_workflow_unpauses_its_children(local: LocalRuntime) -> None:
    """Rule J.1: both is one entry where it goes on in place; the children wait for workflows of their own alone."""
    local.start(Family, "1")
    (child,) = [one.id for one in local.runner.list(parent="family::1")]
    local.runner.pause("family::1")
    local.runner.pause_workflow(Family)
    local.advance(SEEN)
    local.runner.unpause("family::1", dispatch=InPlace(local.budget()))
    assert str(shown(local, "family::1").paused).startswith("workflow Family is paused")
    assert shown(local, child).paused is None
    local.resume(child, "go")
    local.runner.unpause_workflow(Family)
    local.advance(SEEN)
    assert shown(local, "family::1").status == "completed"


def test_it_can_be_cancelled_meanwhile(local: LocalRuntime) -> None:
    local.runner.pause_workflow("Order")
    local.start(Order, "1")
    local.runner.cancel("order::1")
    assert shown(local, "order::1").status == "cancelled"
    assert ran == []


def test_the_first_pause_counts_and_the_next_begins_anew(local: LocalRuntime) -> None:
    for reason in ("one", "two"):
        local.runner.pause_workflow("Order", reason)
    local.start(Order, "1")
    assert "one" in str(shown(local, "order::1").paused)
    local.runner.unpause_workflow("Order")
    local.runner.unpause_workflow("Order")
    local.runner.pause_workflow("Order", "three")
    local.settle()
    assert ran == []
    local.advance(timedelta(minutes=2))
    local.sweep()
    assert "three" in str(shown(local, "order::1").paused)
    local.runner.unpause_workflow("Order")
    local.settle()
    assert ran == ["first order::1"]


def test_only_workflows_that_there_are_can_be_paused(local: LocalRuntime) -> None:
    for act in (local.runner.pause_workflow, local.runner.unpause_workflow):
        for name in ("Nothing", "hephaestus-schedule"):
            with pytest.raises(UnknownWorkflow):
                act(name)


def test_occurrences_of_schedules_wait_or_are_left_out() -> None:
    """By the rules of overlap: one that waits is open (G.6)."""
    ran.clear()
    local = LocalRuntime(Nightly)
    local.runner.pause_workflow("Nightly")
    local.advance(timedelta(hours=4))
    assert ran == []
    local.runner.unpause_workflow("Nightly")
    local.advance(timedelta(minutes=1))
    assert sorted({one.partition(".")[0] for one in ran}) == ["first night::all", "first night::each"]
    assert len([one for one in ran if "all." in one]) == 1
    assert len([one for one in ran if "each." in one]) == 4


def test_a_list_that_is_longer_than_a_lambda_lives_is_gone_through(
    local: LocalRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of very many that wait for an event none is to be woken: who dies on the way has not looked in vain."""
    monkeypatch.setattr(workflow_pauses, "PAGE", 2)
    for number in range(10):
        local.start(Order, str(number))
    local.runner.pause_workflow("Order")
    local.runner.unpause_workflow("Order")
    right, looked = local.store.list, itertools.count(1)

    def dies(*given: Any, **more: Any) -> Any:
        if next(looked) % 3 == 0:
            raise StoreUnavailable
        return right(*given, **more)

    monkeypatch.setattr(local.store, "list", dies)
    for _ in range(3):
        with suppress(StoreUnavailable):
            wake_waiting(local.store, local.queue, local.clock)
    assert local.store.paused.read() == {}


def test_many_are_woken_at_a_bounded_rate(local: LocalRuntime) -> None:
    """So many a minute; the sweep goes on where it ended."""
    local.runner.pause_workflow("Order")
    for number in range(WOKEN + 50):
        local.start(Order, str(number))
    local.runner.unpause_workflow("Order")
    local.advance(timedelta(seconds=59))
    assert WOKEN - 100 <= len(ran) <= WOKEN + 100
    local.advance(timedelta(minutes=2))
    assert len(ran) == WOKEN + 50
    assert local.store.paused.read() == {}
