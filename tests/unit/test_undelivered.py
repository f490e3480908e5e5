"""Events that were accepted for items of a map and not taken: a map that goes on, or begins anew, has them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Completed, NonRetryable, Pending, Retry, StepContext, Workflow, step
from hephaestus.runtime import spreading
from hephaestus.steps import Map
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from hephaestus.definition.views import InstanceView
    from hephaestus.engine.state import State

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _deep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three instances below one, so that few items make a deep tree."""
    monkeypatch.setattr(spreading, "FAN", 3)


class World:
    """A map whose items ask for ``go``, but for those that complete at once; of it one item fails at first."""

    def __init__(self, *, undone: bool = True, **how: Any) -> None:
        self.fails, self.n, self.waits = {"k9"}, 12, {"k5", "k9"}
        retry = Retry(max_attempts=2, delay=60, jitter="none")
        work = step(key="work", events=("done", "go"), retry=retry, compensate=_undo if undone else None)(self._work)
        how = {"chunk": 2, "concurrency": 100, **how}
        every = Map(work, over=lambda ctx: [f"k{n}" for n in range(self.n)], key=str, name="every", **how)
        self.map = every
        routes = {every: {"done": DONE}}
        self.flow = type("Flow", (Workflow,), {"start_at": every, "transitions": routes}, key="flow")
        self.local = LocalRuntime(self.flow)

    def _work(self, ctx: StepContext) -> Any:
        if ctx.item in self.fails:
            if ctx.attempt == 1:
                raise ValueError
            raise NonRetryable(ctx.item)
        return Pending() if ctx.item in self.waits else Completed("done", {})

    def start(self) -> InstanceView:
        """Start it; items 5 waits, item 9 is between two attempts."""
        return self.local.start(self.flow, "1", {})

    def send(self, key: str, event_id: str, payload: Any = None) -> None:
        """Send an item its event."""
        self.local.runner.resume("flow::1", "go", payload, item=key, event_id=event_id)
        self.local.settle()

    def redrive(self) -> InstanceView:
        """Have it go on."""
        self.local.runner.redrive("flow::1")
        self.local.settle()
        return self.local.runner.get("flow::1")

    def left(self, key: str) -> Any:
        """What an item left."""
        found = {one.key: one for one in self.local.runner.items("flow::1", "every", limit=100).items}[key]
        return None if found.results is None else dict(found.results)

    def load(self) -> State:
        """The instance."""
        state = self.local.store.load("flow::1")
        assert state is not None
        return state


def _undo(_ctx: StepContext) -> None:
    """Undo."""


CHUNKS = pytest.mark.parametrize("chunk", [1, 2, 100])


@CHUNKS
@pytest.mark.parametrize("undone", [False, True])
def test_what_an_item_that_failed_had_not_taken_is_there_after_a_redrive(chunk: int, *, undone: bool) -> None:
    """Invariant 5, rule C.11: whether the map goes on or begins anew, in one instance or in many."""
    world = World(undone=undone, chunk=chunk)
    world.start()
    world.send("k9", "e9", {"for": 9})
    world.local.advance(DAY)
    assert world.local.runner.get("flow::1").status == "failed"
    world.fails.clear()
    assert world.redrive().status == "waiting"
    assert world.left("k9") == {"for": 9}
    world.send("k9", "e9", {"for": 9})  # the same once more
    world.send("k5", "e5", {"for": 5})
    shown = world.local.runner.get("flow::1")
    assert shown.status == "completed"
    assert dict(shown.steps["every"].results["events"]) == {"done": 10, "go": 2}
    assert not world.load().undelivered


@pytest.mark.parametrize(
    ("first", "second"), [((12, 1), (10, 1)), ((10, 2), (12, 2)), ((12, 100), (12, 2)), ((12, 2), (12, 100))]
)
def test_events_find_their_items_wherever_these_are_the_next_time(
    first: tuple[int, int], second: tuple[int, int]
) -> None:
    """Another number of items, or another chunk, has the item in another instance, or in the map's own."""
    world = World()
    world.n, world.map.chunk = first
    world.start()
    world.send("k9", "e9", {"for": 9})
    world.local.advance(DAY)
    assert world.local.runner.get("flow::1").status == "failed"
    world.fails.clear()
    world.n, world.map.chunk = second
    world.redrive()
    assert world.left("k9") == {"for": 9}
    world.send("k9", "e9", {"for": 9})
    assert (world.load().undelivered, world.load().inbox) == ({}, {})


@pytest.mark.parametrize("fewer", [False, True])
@pytest.mark.parametrize("chunk", [2, 100])
def test_events_outlive_maps_that_begin_anew_before_their_items_have(chunk: int, *, fewer: bool) -> None:
    """An item that had not begun yet, or is none this time, has its event when the map begins once more."""
    world = World(concurrency=1, chunk=chunk)
    world.fails, world.waits = {"k5"}, set()
    world.start()
    world.send("k5", "e5", {"for": 5})
    for _ in range(2):
        world.local.runner.cancel("flow::1", compensate=True)
        world.local.settle()
        world.fails, world.waits, world.n = set(), {"k1", "k5"}, 4 if fewer else 12
        assert world.redrive().status == "waiting"
    world.local.runner.cancel("flow::1", compensate=True)
    world.local.settle()
    world.waits, world.n = {"k5"}, 12
    assert world.redrive().status == "completed"
    assert world.left("k5") == {"for": 5}
