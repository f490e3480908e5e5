"""Children that a worker starts late, when their parents are over or gone."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Pending, Retry, StepContext, Workflow, step
from hephaestus.engine.effects import Steer
from hephaestus.runtime.dispatch import Budget
from hephaestus.runtime.family import Family
from hephaestus.steps import ChildWorkflow, Map
from hephaestus.store.keys import HEAD
from hephaestus.store.store import Store
from hephaestus.store.table import ALWAYS
from hephaestus.testing import LocalRuntime
from tests.unit.test_children import edited
from tests.unit.test_endings import Interposed, Killed, kill

if TYPE_CHECKING:
    from collections.abc import Callable

ran: list[str] = []


@step
def work(ctx: StepContext) -> str:
    """Work."""
    ran.append(ctx.instance.id)
    return "done"


class Kid(Workflow, key="kid"):
    """A child."""

    start_at = work
    transitions = {work: {"done": DONE}}


def parent_of(made: Any) -> type[Workflow]:
    """A workflow of one step."""
    return type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")


MADE: dict[str, Callable[[], Any]] = {
    "child": lambda: ChildWorkflow(Kid, context=lambda _: {"secret": 1}),
    "item": lambda: Map(Kid, over=lambda _: [{"n": 1}], name="map"),
    "part": lambda: Map(step(key="item")(lambda _: "done"), over=lambda _: range(3), chunk=2, name="map"),
}


class Frozen:
    """Remembers the starts of children, and repeats them as a worker does that was frozen in the middle of one."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._starts: list[tuple[Any, ...]] = []
        right = Family._start  # noqa: SLF001 - where a worker is frozen

        def start(family: Family, *given: Any) -> None:
            self._starts.append((family, *given))
            right(family, *given)

        patch.setattr(Family, "_start", start)
        self._right = right

    def thaw(self) -> list[str]:
        """Start them once more; their ids."""
        for given in self._starts:
            self._right(*given)
        return [given[1].child for given in self._starts]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("kind", MADE)
def test_a_child_that_is_started_after_its_tree_was_deleted_goes_at_once(
    kind: str, monkeypatch: pytest.MonkeyPatch, *, restarted: bool
) -> None:
    """Rule D.11: it runs nothing, and nothing of it is left, its start data included."""
    frozen, flow = Frozen(monkeypatch), parent_of(MADE[kind]())
    local = LocalRuntime(flow, Kid)
    shown = local.start(flow, "1", {})
    assert shown.status == "completed"
    local.runner.delete(shown.id)
    local.advance(timedelta(days=3))
    if restarted:
        monkeypatch.undo()
        local.start(flow, "1", {})
    ran.clear()
    names = frozen.thaw()
    assert any(local.store.table.get(name, HEAD) for name in names), "else the test proves nothing"
    local.advance(timedelta(minutes=10))
    left = [item for name in names for item in local.store.table.query(name, low="", high="~")]
    assert {item.get("ends") for item in left} == {"deleted"}
    assert all("expires" in item and "data" not in item for item in left)
    assert not ran


def test_a_child_that_is_started_after_its_parent_has_ended_does_not_outlive_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rule D.11: its parent's time has been given to its tree already, so it expires by itself."""
    frozen, flow = Frozen(monkeypatch), parent_of(MADE["child"]())
    local = LocalRuntime(flow, Kid)
    local.store.retention = 30 * 24 * 3600
    local.start(flow, "1", {})
    for name in [given[1].child for given in frozen._starts]:  # noqa: SLF001 - it has expired meanwhile
        for item in local.store.table.query(name, low="", high="~"):
            local.store.table.delete(name, str(item["sk"]), ALWAYS)
    (name,) = frozen.thaw()
    local.advance(timedelta(minutes=10))
    head = local.store.table.get(name, HEAD)
    assert head is not None
    assert (head["status"], "expires" in head) == ("cancelled", True)


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("kind", MADE)
def test_a_deletion_goes_down_also_where_no_head_has_shown_children_yet(
    kind: str, monkeypatch: pytest.MonkeyPatch, *, restarted: bool
) -> None:
    """Rule D.11: each worker died before it had the head follow the log."""
    flow = parent_of(MADE[kind]())
    local = LocalRuntime(flow, Kid)
    with monkeypatch.context() as patch:
        settle = Store.settle
        patch.setattr(Store, "settle", lambda self, state: settle(self, state) if state.attached else state)
        local.start(flow, "1", {})
    below = list(local.store.load("flow::1").kin)  # type: ignore[union-attr]  # it is there
    head = local.store.table.get("flow::1", HEAD)
    assert head is not None
    assert head["sequence"] == 1
    if restarted:
        local.runner.start_instance(flow, {}, id="1")  # none of this life has begun
    local.runner.cancel("flow::1") if restarted else None
    local.runner.delete("flow::1")
    left = [item for name in below for item in local.store.table.query(name, low="", high="~")]
    assert below
    assert {item.get("ends") for item in left} == {"deleted"}


@pytest.mark.parametrize("kind", MADE)
def test_a_worker_that_dies_while_it_deletes_an_orphan_leaves_that_to_the_next(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule D.11: before each call of the table."""
    for number in count():
        frozen, flow, table = Frozen(monkeypatch), parent_of(MADE[kind]()), Interposed()
        local = LocalRuntime(flow, Kid, store=Store(table))
        shown = local.start(flow, "1", {})
        local.runner.delete(shown.id)
        names = frozen.thaw()
        for name in names:
            local.queue.pop_due(local.clock.now())
            table.before(number, kill)
            with suppress(Killed):
                local.runner.wake(name, budget=local.budget())
        done = table.left >= 0
        table.before(-1, kill)
        for _ in range(3):
            local.advance(timedelta(minutes=20))
            local.sweeper.sweep(local.budget())
            local.settle()
        left = [item for name in names for item in table.query(name, low="", high="~")]
        assert {item.get("ends") for item in left} == {"deleted"}, f"killed before call {number}"
        if done:
            break
        monkeypatch.undo()


def test_a_part_that_is_resumed_after_its_tree_was_deleted_goes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule D.11: one worker was frozen over its start, and one over its resumption, before each call of the table."""
    for number in count():
        bad, steers, right = [1], list[tuple[Any, ...]](), Family._steer  # noqa: SLF001 - where a worker is frozen

        @step(key="item", retry=Retry(max_attempts=1))
        def item(ctx: StepContext, bad: list[int] = bad) -> str:
            ran.append(ctx.instance.id)
            if ctx.item in bad:
                raise ValueError
            return "done"

        def steer(family: Family, *given: Any, steers: list[Any] = steers, right: Any = right) -> None:
            steers.append((family, *given))
            right(family, *given)

        monkeypatch.setattr(Family, "_steer", steer)
        flow, table = parent_of(Map(item, over=lambda _: range(3), chunk=2, name="map")), Interposed()
        frozen, local = Frozen(monkeypatch), LocalRuntime(flow, store=Store(table))
        local.start(flow, "1", {})
        bad.clear()
        local.runner.redrive("flow::1")
        local.settle()
        assert local.runner.get("flow::1").status == "completed"
        monkeypatch.undo()
        local.runner.delete("flow::1")
        local.advance(timedelta(days=3))
        ran.clear()
        names = frozen.thaw()

        def resume(steers: list[Any] = steers, right: Any = right) -> None:
            assert any(given[1].action == "resume_part" for given in steers)
            for given in steers:
                right(*given)

        local.queue.pop_due(local.clock.now())
        met = False
        for name in dict.fromkeys(names):
            table.before(number, resume)
            local.runner.wake(name, budget=local.budget())
            met = met or table.left < 0
            table.before(-1, resume)
        for _ in range(3):
            local.advance(timedelta(minutes=20))
            local.sweep()
        left = [found for name in names for found in table.query(name, low="", high="~")]
        assert {found.get("ends") for found in left} == {"deleted"}, f"resumed before call {number}"
        assert not ran
        if not met:
            assert number > 5, "else the test proves nothing"
            break


@pytest.mark.parametrize("action", ["cancel", "pause"])
@pytest.mark.parametrize("kind", ["child", "part"])
def test_what_a_child_was_asked_for_before_its_end_is_not_done_to_it_once_it_goes_on(kind: str, action: str) -> None:
    """Rule D.1: it was closed when it was asked, which left no trace; a worker asks again after a redrive."""
    bad = [1]

    @step(key="item", retry=Retry(max_attempts=1), events=("go",))
    def item(ctx: StepContext) -> Pending:
        if bad:
            raise ValueError
        return Pending()

    kid = type("Kid", (Workflow,), {"start_at": item, "transitions": {item: {"go": DONE}}}, key="kid")
    made = ChildWorkflow(kid, context=lambda _: {}) if kind == "child" else Map(item, over=lambda _: [1, 2], chunk=1)
    flow = parent_of(made)
    local = LocalRuntime(flow, kid)
    shown = local.start(flow, "1", {})
    assert shown.status == "failed"
    bad.clear()
    local.runner.redrive(shown.id)
    local.settle()
    state = local.store.load(shown.id)
    assert state is not None
    family = Family(local.runner.instances)
    for activation, child in state.children.items():
        asked = (child.instance_id, activation, action)
        family(Steer(*asked, f"{state.life}#4"), state)
        found = local.store.load(child.instance_id)
        assert found is not None
        assert (found.status, found.cancel, found.paused) == ("waiting", None, None)
        family(Steer(*asked, f"{state.life}#99", number=child.number), state)
        found = local.store.load(child.instance_id)
        assert found is not None
        assert found.closed or found.cancel or found.paused, "what is asked for now is done"
    assert state.children


def left_alone(*, begun: bool) -> tuple[LocalRuntime, str]:
    """A cancelled root that has left the item of its map, as no deployment could run that; now it can be run."""
    bad = [1] * begun

    @step(key="item", retry=Retry(max_attempts=1), events=("go",), compensate=lambda _: None)
    def item(ctx: StepContext) -> Pending:
        if bad:
            raise ValueError
        return Pending()

    kid = type("Kid", (Workflow,), {"start_at": item, "transitions": {item: {"go": DONE}}}, key="kid")
    flow = parent_of(Map(kid, over=lambda _: [{}], name="map"))
    local = LocalRuntime(flow, kid)
    if begun:
        local.start(flow, "1", {})
        bad.clear()
        local.runner.redrive("flow::1")
        local.settle()
    else:
        local.runner.start_instance(flow, {}, id="1")
        local.runner.wake("flow::1", budget=Budget(local.clock.now() + 60_000))  # the child's message is late
    without = edited(local, flow)
    without.runner.cancel("flow::1", compensate=True)
    for _ in range(4):
        without.advance(timedelta(minutes=50))
        without.sweep()
    assert without.runner.get("flow::1").status == "cancelled"
    again = edited(without, flow, kid)
    (child,) = [one.id for one in again.runner.list(children=True).items if one.id.startswith("kid::")]
    return again, child


@pytest.mark.parametrize("begun", [True, False], ids=["that had failed before", "that had not begun"])
@pytest.mark.parametrize("then", ["open", "cancelled", "redriven", "cancelled once more"])
def test_a_child_that_was_left_and_has_ended_by_itself_goes_on_with_its_map(then: str, *, begun: bool) -> None:
    """Rules D.1 and D.7: what it had come to meanwhile is not its end, and it is steered as any other."""
    local, child = left_alone(begun=begun)
    if not begun:
        local.queue.wake(child)  # it ends as cancelled: no one waits for it
        local.settle()
        assert local.runner.get(child).status == "cancelled"
    elif then != "open":
        local.runner.cancel(child)
    if then in ("redriven", "cancelled once more"):
        local.runner.redrive(child)
        local.settle()
    if then == "cancelled once more":
        local.runner.cancel(child)
    local.advance(timedelta(minutes=1))
    for _ in range(3):
        if local.runner.get("flow::1").status in ("failed", "cancelled"):
            local.runner.redrive("flow::1")
        local.settle()
    assert local.runner.get("flow::1").status == "waiting"
    assert local.runner.get(child).status == "waiting"
    local.runner.pause("flow::1")
    local.settle()
    assert local.runner.get(child).paused is not None
    local.runner.unpause("flow::1")
    local.settle()
    local.runner.cancel("flow::1")
    local.settle()
    assert [local.runner.get(one).status for one in ("flow::1", child)] == ["cancelled", "cancelled"]
    local.runner.redrive("flow::1")
    local.settle()
    local.resume(child, "go")
    local.settle()
    assert [local.runner.get(one).status for one in ("flow::1", child)] == ["completed", "completed"]
