"""Deletions of trees while something else is asked of their root, or cut off."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, AlreadyRunning, InstanceNotFound, NonRetryable, NotRoot, Retry, StepContext, Workflow, step
from hephaestus.steps import ChildWorkflow, Map
from hephaestus.store.keys import HEAD
from hephaestus.store.store import Store
from hephaestus.testing import LocalRuntime
from tests.unit.test_endings import Interposed, Killed, kill

if TYPE_CHECKING:
    from collections.abc import Callable

ONCE = Retry(max_attempts=1)


class Kid(Workflow, key="kid"):
    """A child."""

    start_at = step(key="work")(lambda _: "done")
    transitions = {start_at: {"done": DONE}}


MADE: dict[str, Callable[[], Any]] = {
    "child": lambda: ChildWorkflow(Kid, name="below"),
    "item": lambda: Map(Kid, over=lambda _: [{"n": 1}, {"n": 2}], name="below"),
    "part": lambda: Map(step(key="item")(lambda _: "done"), over=lambda _: range(3), chunk=2, name="below"),
}
KINDS = pytest.mark.parametrize("kind", MADE)


class World:
    """A root that has failed after all below it had completed."""

    def __init__(self, kind: str) -> None:
        self.broken, self.table = True, Interposed()
        below, last = MADE[kind](), step(key="last", retry=ONCE)(self._last)
        routes = {below: {"done": last}, last: {"done": DONE}}
        self.flow = type("Flow", (Workflow,), {"start_at": below, "transitions": routes}, key="flow")
        self.local = LocalRuntime(self.flow, Kid, store=Store(self.table))
        assert self.local.start(self.flow, "1", {}).status == "failed"
        self.names = [name for name in self.table._partitions if self.table.get(name, HEAD)]  # noqa: SLF001 - all
        assert self.names[0] == "flow::1"
        assert len(self.names) > 1
        self.broken = False
        self.answers: list[str] = []

    def _last(self, _ctx: StepContext) -> str:
        if self.broken:
            message = "broken"
            raise NonRetryable(message)
        return "done"

    def there(self) -> list[str]:
        """Which instances of the tree are there."""
        return [name for name in self.names if self.local.store.load(name) is not None]

    def data(self) -> list[Any]:
        """What is left of the tree but marks that expire."""
        every = (item for name in self.names for item in self.table.query(name, low="", high="~"))
        return [item["sk"] for item in every if item.get("ends") != "deleted" or "data" in item]

    def redrive(self) -> None:
        """Redrive the root; note whether that was accepted."""
        try:
            self.local.runner.redrive("flow::1")
        except InstanceNotFound:
            self.answers.append("gone")
        else:
            self.answers.append("accepted")

    def fork(self) -> None:
        """Fork the root, all of its tree must be there if that succeeds; note whether it does."""
        try:
            self.local.runner.fork("flow::1", new_id="2")
        except InstanceNotFound:
            self.answers.append("gone")
        else:
            self.answers.append("accepted")
            assert self.there() == self.names

    def delete(self) -> None:
        """Delete the root; note whether that was accepted."""
        try:
            self.local.runner.delete("flow::1")
        except AlreadyRunning:
            self.answers.append("open")
        else:
            self.answers.append("deleted")


@KINDS
def test_a_redrive_that_is_faster_than_a_deletion_finds_its_tree_whole(kind: str) -> None:
    """Rule D.11: before each call of the table by the deletion."""
    seen = set()
    for number in count():
        world = World(kind)
        world.table.before(number, world.redrive)
        world.delete()
        if world.table.left >= 0:
            break
        seen.add(tuple(world.answers))
        if world.answers[0] == "accepted":
            assert world.there() == world.names, f"redriven before call {number}"
            world.local.settle()
            assert world.local.runner.get("flow::1").status == "completed"
            assert world.there() == world.names
        else:
            assert not world.data(), f"deleted, and redriven before call {number}"
    assert seen == {("accepted", "open"), ("gone", "deleted")}


@KINDS
def test_a_fork_that_is_faster_than_a_deletion_finds_the_tree_whole(kind: str) -> None:
    """Rule D.11: before each call of the table by the deletion."""
    seen = set()
    for number in count():
        world = World(kind)
        world.table.before(number, world.fork)
        world.delete()
        if world.table.left >= 0:
            break
        seen.add(tuple(world.answers))
        assert not world.data()
    assert seen == {("accepted", "deleted"), ("gone", "deleted")}


@KINDS
def test_a_new_life_begins_when_the_deletion_is_through(kind: str) -> None:
    """Rule D.11: before each call of the table by the deletion, which leaves the children of the new life alone."""
    begun = 0
    for number in count():
        world = World(kind)

        def start(world: World = world) -> None:
            world.local.clock.sleep(1)
            world.local.start(world.flow, "1", {})
            world.local.settle()

        world.table.before(number, start)
        world.delete()
        if world.table.left >= 0:
            break
        shown = None
        with suppress(InstanceNotFound):
            shown = world.local.runner.get("flow::1")
        if shown is not None:
            begun += 1
            assert (shown.generation, shown.status) == (1, "completed")
            assert world.there() == ["flow::1"]
            left = [name for name in world.table._partitions if world.table.get(name, HEAD)]  # noqa: SLF001 - all
            assert len(left) == len(world.names), f"before call {number}"
    assert begun


@KINDS
def test_the_sweep_finishes_a_deletion_that_was_cut_off(kind: str) -> None:
    """Rule D.11: before each call of the table, once the root has been marked; or nothing has happened."""
    kept = 0
    for number in count():
        world = World(kind)
        world.table.before(number, kill)
        with suppress(Killed):
            world.local.runner.delete("flow::1")
            break
        world.local.advance(timedelta(minutes=1))
        world.local.sweeper.sweep(world.local.budget())
        world.local.settle()
        if world.local.store.load("flow::1") is not None:
            kept += 1
            assert world.there() == world.names, f"cut off before call {number}"
        else:
            assert not world.data(), f"cut off before call {number}"
    assert kept < number


@KINDS
def test_a_tree_that_is_being_deleted_is_steered_no_more(kind: str) -> None:
    """Rule D.6: what is below a root that is being deleted is not on its own: it goes with it."""
    world = World(kind)
    endings = world.local.store.endings
    found = world.local.store.reader.newest("flow::1")
    assert found is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(endings, "_remove_all", lambda *_: None)
        assert endings.delete(found, world.local.clock.now(), lambda closed: closed, related=True)
    with pytest.raises(NotRoot):
        world.local.runner.redrive(world.names[1])
