"""Maps whose items are in several instances: what they come to is what they come to in one."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import pytest

from hephaestus import DONE, FAIL, InstanceNotFound, Items, NonRetryable, Pending, Retry, StepContext, Workflow, step
from hephaestus.engine import advance
from hephaestus.engine.advance import next_wake
from hephaestus.engine.codec import dump_state, load_state
from hephaestus.engine.events import MapBegun, PartResumed, PartStarted, UndoRequested
from hephaestus.engine.fold import apply
from hephaestus.engine.mail import Mail
from hephaestus.engine.records import Counts, Mapped, OpenItem, Plan
from hephaestus.engine.state import evolve, parts_of
from hephaestus.errors import BadRequest, EngineSignal, StoreUnavailable, UnexpectedEvent
from hephaestus.runtime import scanning, spreading
from hephaestus.runtime.dispatch import Enqueue
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.sources import Sources
from hephaestus.steps import ChildWorkflow, Map, WaitForEvent
from hephaestus.store.keys import mail_key
from hephaestus.store.reader import Reader
from hephaestus.store.store import Store
from hephaestus.store.values import Values
from hephaestus.testing import LocalRuntime
from hephaestus.values import FrozenDict
from tests.unit.test_endings import Interposed, Killed, kill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hephaestus.definition.views import InstanceView
    from hephaestus.engine.graph import Graph
    from hephaestus.engine.state import State
    from hephaestus.runtime.sources import Scan

ONCE = Retry(max_attempts=1)
SIZES = (0, 1, 2, 3, 4, 5, 7, 12, 13, 30)
SOME: Final = pytest.mark.parametrize("bad", [{29}, {3, 4, 17}, set(range(0, 30, 2))])


@pytest.fixture(autouse=True)
def _deep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three instances below one, so that few items make a deep tree."""
    monkeypatch.setattr(spreading, "FAN", 3)


class World:
    """A workflow with a map, and what its items did."""

    def __init__(self, **how: Any) -> None:
        self.seen: list[Mapping[str, Any]] = []
        self.undone: list[tuple[Any, ...]] = []
        self.bad: set[int] = set()
        self.at_work = self.most = 0
        self.map = Map(self._step(), over=lambda ctx: range(ctx.initial["n"]), **{"chunk": 2, "name": "work", **how})
        after = step(key="after")(lambda ctx: {"summary": ctx.steps["work"]})
        fails = step(key="fails", retry=ONCE)(self._fail)
        routes = {self.map: {"done": after}, after: {"done": fails}, fails: {"done": DONE}}
        self.flow = type("Flow", (Workflow,), {"start_at": self.map, "transitions": routes}, key="flow")
        self.local = self.made()
        self.fails = False

    def made(self) -> LocalRuntime:
        """What runs it."""
        return LocalRuntime(self.flow)

    def _step(self) -> Any:
        return step(key="item", retry=ONCE, compensate=self._undo)(self._work)

    def _fail(self, _ctx: StepContext) -> str:
        if self.fails:
            message = "after the map"
            raise NonRetryable(message)
        return "done"

    def _work(self, ctx: StepContext) -> Any:
        self.seen.append(
            {
                "item": ctx.item,
                "key": ctx.item_key,
                "index": ctx.index,
                "initial": dict(ctx.initial),
                "config": dict(ctx.config),
                "id": ctx.instance.id,
                "tags": ctx.instance.tags,
                "idempotency_key": ctx.idempotency_key.replace(ctx.instance.life, "LIFE"),
            }
        )
        if ctx.item in self.bad:
            message = f"no {ctx.item}"
            raise NonRetryable(message)
        return {"twice": 2 * ctx.item}

    def _undo(self, ctx: StepContext) -> None:
        self.undone.append((ctx.item, ctx.idempotency_key, dict(ctx.steps["item"])))

    def start(self, n: int, name: str = "1") -> InstanceView:
        """Run it over the numbers below ``n``."""
        return self.local.start(self.flow, name, {"n": n}, tags=["t"])

    def states(self, name: str = "flow::1") -> Iterator[State]:
        """The instance, and all instances below it."""
        state = self.local.store.load(name)
        if state is not None:
            yield state
            for below in state.kin:
                yield from self.states(below)


class OfWorkflows(World):
    """Each item is an instance of a workflow of two steps."""

    def _step(self) -> Any:
        work = step(key="item", retry=ONCE, compensate=self._undo)(self._work)
        last = step(key="last")(lambda _: {"last": True})
        routes = {work: {"done": last}, last: {"done": DONE}}
        self.child = type("Kid", (Workflow,), {"start_at": work, "transitions": routes}, key="kid")
        return ChildWorkflow(self.child, context=lambda ctx: {"item": ctx.item, "index": ctx.index})

    def made(self) -> LocalRuntime:
        return LocalRuntime(self.flow, self.child)

    def _work(self, ctx: StepContext) -> Any:
        item = ctx.initial["item"]
        self.seen.append({"item": item, "index": ctx.initial["index"], "idempotency_key": ctx.idempotency_key})
        if item in self.bad:
            message = f"no {item}"
            raise NonRetryable(message)
        return {"twice": 2 * item}

    def _undo(self, ctx: StepContext) -> None:
        self.undone.append((ctx.initial["item"], ctx.idempotency_key, dict(ctx.steps["item"])))


WORLDS: Final = pytest.mark.parametrize("world_of", [World, OfWorkflows])


def key_of(number: int) -> str:
    """A key that is no index."""
    return f"k/{number}"


@pytest.mark.parametrize("key", [None, key_of])
@pytest.mark.parametrize("size", SIZES)
def test_what_items_see_and_the_summary_depend_on_the_items_only(size: int, key: Callable[[int], str] | None) -> None:
    """Rules C.1 and I.1: whatever the chunk is."""
    runs = []
    for chunk in (100, 1, 2, 3):
        world = World(chunk=chunk, key=key)
        shown = world.start(size)
        assert shown.status == "completed", shown
        runs.append((sorted(world.seen, key=lambda one: one["index"]), dict(shown.steps["work"].results)))
    assert [seen["item"] for seen in runs[0][0]] == list(range(size))
    assert all(run == runs[0] for run in runs)


@WORLDS
@SOME
@pytest.mark.parametrize("tolerate", [0, 1, 2, 3, "50%", "100%"])
def test_a_map_fails_beyond_what_it_tolerates_wherever_the_failures_are(
    world_of: type[World], bad: set[int], tolerate: Any
) -> None:
    """Rule C.6: and its completed items are undone, each once, with what it left; tolerated failures are not."""
    world = world_of(tolerate=tolerate)
    world.bad = bad
    shown = world.start(30)
    most = tolerate if isinstance(tolerate, int) else 30 * int(tolerate[:-1]) // 100
    assert shown.status == ("completed" if len(bad) <= most else "failed")
    if shown.status == "completed":
        assert shown.steps["work"].results["failed"] == len(bad)
        assert world.undone == []
    else:
        done = sorted(one["item"] for one in world.seen if one["item"] not in bad)
        assert sorted(item for item, _, _ in world.undone) == done
        assert all(left == {"twice": 2 * item} for item, _, left in world.undone)
        assert all(state.closed for state in world.states())


@WORLDS
def test_a_completed_map_is_undone_down_the_tree(world_of: type[World]) -> None:
    """Rule C.13: once each, when a later step fails; under keys that a second run does not repeat."""
    world = world_of()
    world.fails = True
    shown = world.start(30)
    assert (shown.status, shown.steps["work"].status) == ("failed", "compensated")
    assert sorted(item for item, _, _ in world.undone) == list(range(30))
    assert len({key for _, key, _ in world.undone}) == 30
    world.fails = False
    first = {one["idempotency_key"] for one in world.seen}
    world.local.runner.redrive("flow::1")
    world.local.settle()
    assert world.local.runner.get("flow::1").status == "completed"
    assert len(world.seen) == 60
    assert not first & {one["idempotency_key"] for one in world.seen[30:]}


class Plain(World):
    """Its items cannot be undone."""

    def _step(self) -> Any:
        return step(key="item", retry=ONCE)(self._work)


class PlainWorkflows(OfWorkflows):
    """Its items cannot be undone."""

    def _step(self) -> Any:
        work = step(key="item", retry=ONCE)(self._work)
        self.child = type("Kid", (Workflow,), {"start_at": work, "transitions": {work: {"done": DONE}}}, key="kid")
        return ChildWorkflow(self.child, context=lambda ctx: {"item": ctx.item, "index": ctx.index})


@pytest.mark.parametrize("world_of", [Plain, PlainWorkflows])
@SOME
def test_a_redrive_of_a_failed_map_repeats_the_failed_items_only(world_of: type[World], bad: set[int]) -> None:
    """Rule C.13: where nothing was undone, under the same keys."""
    world = world_of(concurrency=4)
    world.bad = bad
    assert world.start(30).status == "failed"
    ran = {one["item"] for one in world.seen}
    keys = {one["item"]: one["idempotency_key"] for one in world.seen}
    world.bad, world.seen = set(), []
    world.local.runner.redrive("flow::1")
    world.local.settle()
    shown = world.local.runner.get("flow::1")
    assert shown.status == "completed"
    again = [one["item"] for one in world.seen]
    assert sorted(again) == sorted({*range(30)} - (ran - bad))
    assert all(keys.get(one["item"], one["idempotency_key"]) == one["idempotency_key"] for one in world.seen)
    results = shown.steps["work"].results
    assert (results["completed"], results["failed"], results["events"]) == (30, 0, {"done": 30})


class Waiting(World):
    """Its items wait for an event."""

    def _step(self) -> Any:
        return WaitForEvent("go", timeout=timedelta(hours=1), name="item")


@pytest.mark.parametrize("concurrency", [1, 2, 5, 100])
def test_no_more_items_are_at_work_than_concurrency_says(concurrency: int) -> None:
    """Rule C.8: waiting items included, over the whole tree; a share comes back with its instance's end."""
    world = Waiting(concurrency=concurrency)
    world.start(30)
    for _ in range(60):
        waiting = sum(
            len(known.mapped.open) for state in world.states() for known in state.steps.values() if known.mapped
        )
        assert waiting <= concurrency
        if world.local.runner.get("flow::1").status != "waiting":
            break
        assert waiting > 0
        world.local.advance(timedelta(hours=1))
    results = world.local.runner.get("flow::1").steps["work"].results
    assert results["events"] == {"timeout": 30}


@pytest.mark.parametrize("compensate", [False, True])
def test_a_cancelled_tree_ends_as_a_whole(*, compensate: bool) -> None:
    """Rules C.13 and D.7: what waits is cancelled, below nodes, too; then the map is undone, if that is asked."""

    class Some(World):
        def _work(self, ctx: StepContext) -> Any:
            done = super()._work(ctx)
            return Pending(timedelta(hours=1), emits="done") if ctx.item % 3 == 0 else done

    world = Some()
    assert world.start(30).status == "waiting"
    world.local.runner.cancel("flow::1", compensate=compensate)
    world.local.settle()
    assert world.local.runner.get("flow::1").status == "cancelled"
    states = list(world.states())
    assert all(state.closed for state in states)
    assert len(states) > 10
    ended = sorted(one["item"] for one in world.seen if one["item"] % 3)
    assert sorted(item for item, _, _ in world.undone) == (ended if compensate else [])
    world.local.advance(timedelta(hours=2))
    assert len(world.seen) == len({one["item"] for one in world.seen})


@pytest.mark.parametrize("chunk", [100, 2])
@pytest.mark.parametrize("cancelled_after", [0, 1])
def test_a_cancelled_map_goes_on_where_it_was(chunk: int, cancelled_after: int) -> None:
    """Rules C.1 and C.13: in a tree as in one instance, what was tolerated stays failed, and what waits waits on."""

    class Some(World):
        def _work(self, ctx: StepContext) -> Any:
            done = super()._work(ctx)
            return Pending(timedelta(hours=2), emits="done") if ctx.item % 3 == 0 else done

    world = Some(chunk=chunk, concurrency=7, tolerate=3)
    world.bad = {1, 16, 28}
    world.start(30)
    world.local.advance(timedelta(hours=2 * cancelled_after))
    world.local.runner.cancel("flow::1")
    world.local.settle()
    ran = [one["item"] for one in world.seen]
    world.local.runner.redrive("flow::1")
    for _ in range(10):
        world.local.advance(timedelta(hours=2))
    shown = world.local.runner.get("flow::1")
    assert shown.status == "completed"
    assert sorted(one["item"] for one in world.seen) == list(range(30)), f"each ran once, {ran} before"
    results = shown.steps["work"].results
    assert (results["completed"], results["failed"], results["events"]) == (27, 3, {"done": 27})


def test_a_part_that_was_stopped_before_it_read_its_items_goes_on_with_the_share_of_its_day() -> None:
    """Rule C.8: not with that of its first start."""
    world = Waiting(chunk=2, concurrency=100, tolerate="100%")
    world.start(2 * 3 * 3)
    leaf = list(world.states())[-1].instance_id
    state = world.local.store.load(leaf)
    assert state is not None
    _, log = world.local.store.history(leaf, None, 0, 10) or (0, ())
    begun = next(event for entry in log for event in entry.events if isinstance(event, MapBegun))
    resumed = apply(replace(state, status="cancelled", steps={}), (PartResumed(1),), state.updated_at)
    assert load_state(dump_state(resumed)).share == 1
    again = apply(replace(resumed, status="running"), (begun,), state.updated_at)
    mapped = again.steps["work"].mapped
    assert mapped is not None
    assert mapped.share == 1


def test_parts_that_were_about_to_go_on_are_undone() -> None:
    """Rule C.13: a redriven map that is cancelled with compensation before its instances went on."""

    class Some(World):
        def _work(self, ctx: StepContext) -> Any:
            done = super()._work(ctx)
            return Pending(timedelta(hours=2), emits="done") if ctx.item % 3 == 0 else done

    world = Some()
    world.start(30)
    world.local.runner.cancel("flow::1")
    world.local.settle()
    world.local.runner.redrive("flow::1", dispatch=Enqueue())
    world.local.runner.cancel("flow::1", compensate=True, dispatch=Enqueue())
    world.local.settle()
    assert world.local.runner.get("flow::1").status == "cancelled"
    assert sorted(item for item, _, _ in world.undone) == [one for one in range(30) if one % 3]


def test_what_a_part_reports_again_is_removed_and_has_no_one_woken() -> None:
    """Rule D.2: also where its parent does not read it, as it is paused: else a sweep would find it every minute."""

    class Some(World):
        def _work(self, ctx: StepContext) -> Any:
            done = super()._work(ctx)
            return Pending(timedelta(hours=1), emits="done") if ctx.item else done

    world = Some(concurrency=4, tolerate=2)
    world.bad = {0}
    world.start(4)
    state = next(world.states())
    (activation, child), *_ = ((one, known) for one, known in state.children.items() if known.number)
    store, life = world.local.store, state.life
    again = Mail(state.instance_id, life, activation, child.number, child.instance_id, life, "", FrozenDict(failed=1))
    world.local.runner.pause("flow::1")
    world.local.settle()
    store.mail.put(again, world.local.clock.now())
    key = mail_key(life, activation, child.number)
    store.tidy(state.instance_id, store.load(state.instance_id), world.local.clock.now(), [key])
    assert store.mail.read(state.instance_id, life) == []


def test_of_two_who_are_woken_by_the_mail_of_several_parts_one_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule D.2: the other looks again, and loses no number."""
    world = Waiting(concurrency=100)
    world.start(6)
    local, written = world.local, list[bool]()
    local.clock.move_to(local.clock.now() + 3_600_000)
    for leaf in parts_of(next(world.states()), "work").values():
        local.runner.wake(leaf.instance_id, budget=local.budget())
    state, table = next(world.states()), local.store.table
    assert len(local.store.mail.read(state.instance_id, state.life)) == 3
    sleeps = [lambda: local.runner.wake("flow::1", budget=local.budget())]
    right = table.put

    def put(item: Any, condition: Any) -> bool:
        written.append(right(item, condition))
        return written[-1]

    monkeypatch.setattr(local.clock, "sleep", lambda _: sleeps.pop()() if sleeps else None)
    monkeypatch.setattr(table, "put", put)
    local.runner.wake("flow::1", budget=local.budget())
    assert not sleeps
    assert local.runner.get("flow::1").status == "completed"
    assert all(written)


def test_a_paused_tree_starts_nothing_and_goes_on_after() -> None:
    """Rule D.1: pausing goes down, also below nodes."""
    world = Waiting(concurrency=4)
    world.start(30)
    world.local.runner.pause("flow::1")
    world.local.settle()
    before = {state.instance_id for state in world.states()}
    assert all(state.paused for state in world.states() if not state.closed)
    world.local.advance(timedelta(hours=3))
    assert {state.instance_id for state in world.states()} == before
    world.local.runner.unpause("flow::1")
    world.local.advance(timedelta(hours=1))
    assert {state.instance_id for state in world.states()} > before


@pytest.mark.parametrize("earlier", [0, 1])
def test_parts_that_were_to_start_as_their_instance_was_paused_start_after(earlier: int) -> None:
    """Rule D.1: that they start is decided again on top of the pause that came in before the commit."""
    world = Waiting(concurrency=1)
    commit, begun = world.local.store.commit, [0]

    def races(after: State, entry: Any, writes: Any = ()) -> Any:
        starts = any(isinstance(event, PartStarted) for event in entry.events)
        if starts and after.instance_id == "flow::1":
            if len(begun) == 1 + earlier:
                world.local.runner.pause("flow::1")
            begun.append(len(parts_of(after, "work")))
        return commit(after, entry, writes)

    world.local.store.commit = races  # type: ignore[method-assign]  # a pause at the worst moment
    world.start(30)
    world.local.advance(timedelta(hours=20))
    root = next(world.states())
    assert root.paused is not None
    assert len(parts_of(root, "work")) == begun[earlier]
    world.local.runner.unpause("flow::1")
    world.local.advance(timedelta(hours=40))
    assert world.local.runner.get("flow::1").steps["work"].results["events"] == {"timeout": 30}


class Gone(EngineSignal):
    """The process is gone."""


def test_a_part_whose_owner_had_died_when_it_was_stopped_is_undone() -> None:
    """Rules C.13 and E.1: what was under way is neither undone nor taken for failed; what had completed is undone."""

    class Some(World):
        def _work(self, ctx: StepContext) -> Any:
            done = super()._work(ctx)
            if ctx.item == 3:
                raise Gone
            return done

    world = Some(concurrency=1)
    with pytest.raises(Gone):
        world.start(30)
    world.local.runner.cancel("flow::1", compensate=True, dispatch=Enqueue())
    world.local.settle()
    assert [state.running for state in world.states() if state.cancel and state.owner] == [("work[3]",)]
    world.local.clock.sleep(16 * 60_000)
    for _ in range(3):
        world.local.sweep()
        world.local.settle()
    assert world.local.runner.get("flow::1").status == "cancelled"
    assert sorted(item for item, _, _ in world.undone) == [0, 1, 2]
    assert [one["item"] for one in world.seen] == [0, 1, 2, 3]
    assert all(state.closed for state in world.states())


def test_what_a_dead_owner_had_under_way_is_not_when_its_part_is_undone() -> None:
    """Rule C.13: what was to run alone does not hold up what is undone, nor is it taken for failed."""
    world = Waiting(concurrency=100)
    world.start(4)
    leaf = list(world.states())[-1]
    died = replace(leaf, status="cancelled", running=("work[2]",), isolated=("work[3]",))
    undoing = apply(died, (UndoRequested(("work",)),), leaf.updated_at)
    assert (undoing.status, undoing.running, undoing.isolated) == ("compensating", (), ())


class Cut(World):
    """Something else may happen before any call of its table."""

    def made(self) -> LocalRuntime:
        self.table = Interposed()
        return LocalRuntime(self.flow, store=Store(self.table))


def test_a_deletion_that_was_cut_off_below_its_root_is_finished_by_the_next() -> None:
    """Rule D.11: what is acknowledged is gone at once, and not when a sweep has come."""
    for number in count():
        world = Cut()
        world.start(7)
        names = [state.instance_id for state in world.states()]
        world.table.before(number, kill)
        try:
            world.local.runner.delete("flow::1")
        except Killed:
            with suppress(InstanceNotFound):
                world.local.runner.delete("flow::1")
        else:
            break
        left = [item for name in names for item in world.table.query(name, low="", high="~")]
        assert {item.get("ends") for item in left} == {"deleted"}, f"cut off before call {number}"
        assert not any("data" in item for item in left)
    assert number > 10 * len(names)


@WORLDS
def test_delete_removes_the_whole_tree(world_of: type[World]) -> None:
    """Rule D.11: nothing is left of any part, its values included."""
    world = world_of()
    world.start(30)
    names = [state.instance_id for state in world.states()]
    assert len(names) > 15
    world.local.runner.delete("flow::1")
    world.local.settle()
    left = [item for name in names for item in world.local.store.table.query(name, low="", high="~")]
    assert {item.get("ends") for item in left} == {"deleted"}  # marks that expire
    assert all("data" not in item and "expires" in item for item in left)


def test_a_leaf_is_in_no_list() -> None:
    """Rule C.9."""
    world = World()
    world.start(30)
    assert [one.id for one in world.local.runner.list(children=True).items] == ["flow::1"]


def test_a_version_without_the_map_parks_its_parts() -> None:
    """Nothing is lost: with the map deployed again, they go on."""
    world = Waiting()
    world.start(5)
    other = step(key="other")(lambda _: "done")
    without = type("Flow", (Workflow,), {"start_at": other, "transitions": {other: {"done": DONE}}}, key="flow")
    leaf = next(iter(parts_of(next(world.states()), "work").values())).instance_id
    later = LocalRuntime(without, store=world.local.store)
    later.clock.move_to(world.local.clock.now() + 2 * 3_600_000)
    later.runner.wake(leaf, budget=later.budget())
    state = world.local.store.load(leaf)
    assert state is not None
    assert state.parked is not None
    assert "without the map 'work'" in state.parked
    world.local.advance(timedelta(hours=2))
    assert world.local.runner.get("flow::1").steps["work"].results["events"] == {"timeout": 5}


class Slow(OfWorkflows):
    """Its workflows wait for an hour."""

    def _work(self, ctx: StepContext) -> Any:
        super()._work(ctx)
        return Pending(timedelta(hours=1), emits="done")


@pytest.mark.parametrize("chunk", [2, 100])
@pytest.mark.parametrize("concurrency", [1, 2, 5, 100])
def test_no_more_workflows_are_open_than_concurrency_says(chunk: int, concurrency: int) -> None:
    """Rule C.8: an instance that waits has its place."""
    world = Slow(chunk=chunk, concurrency=concurrency)
    world.start(30)
    for _ in range(60):
        open_ = [state for state in world.states() if state.workflow == "Kid" and not state.closed]
        assert len(open_) <= concurrency
        if not open_:
            break
        world.local.advance(timedelta(hours=1))
    assert dict(world.local.runner.get("flow::1").steps["work"].results)["completed"] == 30


@pytest.mark.parametrize("chunk", [2, 100])
@pytest.mark.parametrize("compensate", [False, True])
def test_a_cancelled_map_of_workflows_cancels_them(*, chunk: int, compensate: bool) -> None:
    """Rule D.7: all of them, before the root ends; nothing runs afterwards."""
    world = Slow(chunk=chunk)
    world.start(30)
    ran = len(world.seen)
    world.local.runner.cancel("flow::1", compensate=compensate)
    world.local.settle()
    assert world.local.runner.get("flow::1").status == "cancelled"
    assert all(state.closed for state in world.states())
    world.local.advance(timedelta(hours=2))
    assert len(world.seen) == ran == 30
    assert world.undone == []


@pytest.mark.parametrize("chunk", [2, 100])
def test_a_workflow_that_takes_too_long_has_failed(chunk: int) -> None:
    """Rule D.8: it is cancelled at its timeout."""

    class Late(Slow):
        def _step(self) -> Any:
            super()._step()
            timeout = timedelta(minutes=1)
            return ChildWorkflow(
                self.child, context=lambda ctx: {"item": ctx.item, "index": ctx.index}, timeout=timeout
            )

    world = Late(chunk=chunk, tolerate="100%")
    world.start(5)
    world.local.advance(timedelta(minutes=2))
    assert dict(world.local.runner.get("flow::1").steps["work"].results)["failed"] == 5
    assert {state.status for state in world.states() if state.workflow == "Kid"} == {"cancelled"}


def test_a_fork_is_told_of_a_workflow_that_is_not_kept_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule C.13: what it left cannot be taken over; that is the caller's to know, and no fault of the engine."""
    world = PlainWorkflows(chunk=100)
    assert world.start(3).status == "completed"
    kept = Reader.load
    monkeypatch.setattr(Reader, "load", lambda self, name: None if name.startswith("kid::") else kept(self, name))
    number = world.local.runner.history("flow::1", limit=200).items[-1].sequence
    with pytest.raises(BadRequest, match="is not kept any more"):
        world.local.runner.fork("flow::1", number, new_id="2")


@pytest.mark.parametrize("chunk", [2, 100])
def test_the_deadlines_of_workflows_are_alarms(chunk: int) -> None:
    """Rule C.12: the timeout of a map's workflow wakes the instance that waits for it, its schedule or not."""

    class Late(Slow):
        def _step(self) -> Any:
            super()._step()
            context = lambda ctx: {"item": ctx.item, "index": ctx.index}  # noqa: E731 - one line
            return ChildWorkflow(self.child, context=context, timeout=timedelta(minutes=1))

    world = Late(chunk=chunk)
    world.start(5)
    waiting = [one for one in world.states() if any("[" in key and one.timers.get(key) for key in one.children)]
    assert waiting
    for state in waiting:
        assert state.wake_at == min(timer.due_at for timer in state.deadlines)


def test_a_stopped_map_that_waits_for_a_workflow_is_not_woken_to_start_another() -> None:
    """Rule C.6: an item whose start was to be tried again is cancelled with the map, and has no time before that."""
    world = Slow(chunk=100, concurrency=1)
    world.start(3)
    state = next(one for one in world.states() if one.workflow != "Kid")
    graph, known = Registry([world.flow]).definition(state).graph, state.steps["work"]
    assert known.mapped is not None
    mapped = replace(known.mapped, open={"1": OpenItem(1, 0, 5_000)})
    steps = {**state.steps, "work": replace(known, mapped=mapped)}
    assert next_wake(graph, evolve(state, steps=steps)) == 5_000
    stopped = replace(mapped, ends=f"{mapped.ends[:2]}f")
    steps = {**state.steps, "work": replace(known, mapped=stopped)}
    assert next_wake(graph, evolve(state, steps=steps)) is None


@pytest.mark.parametrize("chunk", [2, 100])
def test_an_item_that_is_a_workflow_takes_no_event(chunk: int) -> None:
    """Rule C.11: it would be kept for ever; what is for the workflow is sent to its instance."""
    world = Slow(chunk=chunk)
    world.start(5)
    with pytest.raises(UnexpectedEvent):
        world.local.runner.resume("flow::1", "done", step="work", item="3")


def test_what_could_not_be_undone_is_still_known_as_a_cancelled_map_goes_on() -> None:
    """Rule C.13: a part that keeps its failures keeps those that are stuck, until it has said more."""
    plan = Plan("p", 4, 2, 2, 4, 2)
    counts = Counts(failed=1, cancelled=1, stuck=1), Counts()
    parts = Mapped(None, ends="c.", entries=(4, 0), plan=plan, size=4, counts=counts, shares=(1, 1))
    assert parts.goes_on().is_to_undo(0)


@pytest.mark.parametrize("chunk", [2, 100])
def test_a_mapping_that_is_none_fails_its_item(chunk: int) -> None:
    """Rule C.4: what a workflow cannot start with is said with the item's key."""
    kid = step(key="kid")(lambda _: "done")
    child = type("Kid", (Workflow,), {"start_at": kid, "transitions": {kid: {"done": DONE}}}, key="kid")
    made = Map(child, over=lambda _: [{"a": 1}, 5, {"a": 2}], chunk=chunk, name="work")
    flow = type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")
    shown = LocalRuntime(flow, child).start(flow, "1", {})
    assert shown.status == "failed"
    assert "item 1 is 5, and a workflow starts with a mapping" in str(shown.error)


@pytest.mark.parametrize("chunk", [2, 100])
def test_what_workflows_left_is_read_of_them(chunk: int) -> None:
    """Rule C.7: in order, each when it is asked for; ``None`` for one that failed; by a fork, too, and in pages."""
    seen: list[Any] = []

    class Reading(PlainWorkflows):
        def _fail(self, ctx: StepContext) -> str:
            seen.append([one and one["twice"] for one in ctx.results("work")])
            return super()._fail(ctx)

    world = Reading(chunk=chunk, tolerate=1)
    world.bad = {3}
    assert world.start(5).status == "completed"
    assert seen == [[0, 2, 4, None, 8]]
    page = world.local.runner.items("flow::1", "work")
    assert [(one.status, one.item, bool(one.child)) for one in page.items] == [
        ("failed" if number == 3 else "completed", number, True) for number in range(5)
    ]
    assert [one.index for one in world.local.runner.items("flow::1", "work", status="failed").items] == [3]
    entries = world.local.runner.history("flow::1", limit=200).items
    ended = [one.sequence for one in entries if any(event.get("step") == "work" for event in one.events)]
    world.local.runner.fork("flow::1", max(ended), new_id="2")
    world.local.settle()
    assert world.local.runner.get("flow::2").status == "completed"
    assert seen[1:] == seen[:1]
    assert len({one["index"] for one in world.seen}) == len(world.seen) == 5


def lines(number: int) -> str:
    """An object of so many items."""
    return "".join(f'{{"n": {one}}}\n' for one in range(number))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 13, 450])
def test_items_are_lines_of_an_object(size: int) -> None:
    """Rule C.3: where they are is recorded, and each instance reads its own lines."""
    seen: list[tuple[int, Any, str]] = []

    @step
    def work(ctx: StepContext) -> dict[str, Any]:
        seen.append((ctx.index, ctx.item, ctx.item_key))
        return {"twice": 2 * ctx.item["n"]}

    made = Map(work, over=Items.s3("uploads", "lines.jsonl"), chunk=2)
    flow = type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")
    local = LocalRuntime(flow)
    local.objects.put("uploads", "lines.jsonl", lines(size))
    shown = local.start(flow, "1", {})
    assert shown.status == "completed", shown.error
    assert sorted(seen) == [(one, {"n": one}, str(one)) for one in range(size)]
    assert shown.steps["work"].results["total"] == size


def test_an_object_that_is_replaced_while_its_items_run_fails_those_that_are_not_read() -> None:
    """Rule C.3: on condition that the object is the same, and without a retry; the error names it."""

    @step(retry=ONCE)
    def work(ctx: StepContext) -> dict[str, Any]:
        local.objects.put("uploads", "lines.jsonl", lines(7))
        return dict(ctx.item)

    made = Map(work, over=lambda _: Items.s3("uploads", "lines.jsonl"), chunk=2, concurrency=1, tolerate=20)
    flow = type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")
    local = LocalRuntime(flow)
    local.objects.put("uploads", "lines.jsonl", lines(9))
    shown = local.start(flow, "1", {})
    assert shown.status == "completed"
    results = dict(shown.steps["work"].results)
    assert (results["completed"], results["failed"]) == (2, 7)


@pytest.mark.parametrize(
    ("key", "data", "problem"),
    [
        ("none.jsonl", None, "there is no such object"),
        ("empty.csv", "", "is empty: a CSV has a header"),
        ("blank.jsonl", '{"n": 1}\n\n{"n": 2}\n', "blank.jsonl, line 2"),
    ],
)
def test_what_is_no_object_of_items_fails_the_map_without_retry(key: str, data: str | None, problem: str) -> None:
    """Rule C.4: before any item runs."""
    work = step(key="work")(lambda _: "done")
    made = Map(work, over=Items.s3("uploads", key), chunk=2)
    flow = type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")
    local = LocalRuntime(flow)
    if data is not None:
        local.objects.put("uploads", key, data)
    shown = local.start(flow, "1", {})
    assert (shown.status, shown.steps["work"].attempt) == ("failed", 1)
    assert problem in str(shown.error)


@pytest.mark.parametrize("chunk", [2, 100])
@pytest.mark.parametrize("tolerate", [0, 1])
def test_a_malformed_line_is_an_item_that_has_failed(chunk: int, tolerate: int) -> None:
    """Rule C.4: it alone, and at once; its error names the line of the whole object."""
    seen: list[int] = []

    @step(retry=Retry(max_attempts=3, delay=60))
    def work(ctx: StepContext) -> str:
        seen.append(ctx.index)
        return "done"

    made = Map(work, over=Items.s3("uploads", "lines.jsonl"), chunk=chunk, tolerate=tolerate)
    flow = type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")
    local = LocalRuntime(flow)
    local.objects.put("uploads", "lines.jsonl", lines(8) + "{nonsense\n" + lines(3))
    shown = local.start(flow, "1", {})
    assert shown.status == ("completed" if tolerate else "failed")
    assert 8 not in seen
    if tolerate:
        assert sorted(seen) == [*range(8), *range(9, 12)]
        assert dict(shown.output or {})["failed"] == 1
    else:
        assert "item 8 failed after 1 attempt(s): s3://uploads/lines.jsonl, line 9 is not JSON" in str(shown.error)
    items = local.runner.items("flow::1", "work", status="failed").items
    assert [(one.index, "line 9 is not JSON" in str(one.error)) for one in items] == [(8, True)]
    assert len(local.runner.items("flow::1", "work").items) == 12


def test_a_malformed_line_starts_no_workflow() -> None:
    """Rule C.4: its item has failed, where items are instances."""
    leaf = _nothing("leaf")
    kid = type("Kid", (Workflow,), {"start_at": leaf, "transitions": {leaf: {"done": DONE}}}, key="kid")
    made = Map(kid, over=Items.s3("uploads", "lines.jsonl"), chunk=2, tolerate=1, name="work")
    flow = type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")
    local = LocalRuntime(flow, kid)
    local.objects.put("uploads", "lines.jsonl", lines(4) + "[1,\n" + lines(3))
    shown = local.start(flow, "1", {})
    assert shown.status == "completed"
    assert (dict(shown.output or {})["completed"], dict(shown.output or {})["failed"]) == (7, 1)


def test_a_scan_whose_time_is_up_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule C.3: its cursor is stored; nothing is read again that was found."""
    seen: list[int] = []
    work = step(key="work")(lambda ctx: seen.append(ctx.index) or "done")  # type: ignore[func-returns-value]  # on purpose
    again = Retry(max_attempts=1_000, backoff="constant", delay=1)
    made = Map(work, over=Items.s3("uploads", "lines.jsonl"), chunk=1, name="map", concurrency=10_000, retry=again)
    flow = type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")
    local = LocalRuntime(flow)
    local.objects.put("uploads", "lines.jsonl", lines(250))
    local.runner.sources = lambda: Sources(local.objects, block=1, longest_line=64)
    monkeypatch.setattr(scanning, "SCANNED", 1)
    scans: list[int] = []
    scan = Sources.scan

    def slow(self: Sources, at: Scan, goes_on: Callable[[int], bool]) -> Any:
        scans.append(at.at)
        if len(scans) % 7 == 0:
            message = "the time is up"
            raise scanning.ScanGoesOn(message)
        return scan(self, at, goes_on)

    monkeypatch.setattr(Sources, "scan", slow)
    local.start(flow, "1", {})
    local.advance(timedelta(hours=1))
    assert local.runner.get("flow::1").status == "completed"
    assert sorted(seen) == list(range(250))
    assert scans == sorted(scans)


def test_a_part_that_was_cancelled_before_its_items_were_known_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule C.13: between two tries of reading what its items are."""
    bad, silent, get = [0], [True], Values.get

    def reads(self: Values, instance_id: str, life: str, names: Any) -> Any:
        if silent and any(name.startswith("map") and name.endswith("-1") for name in names):
            message = "no answer"
            raise StoreUnavailable(message)
        return get(self, instance_id, life, names)

    monkeypatch.setattr(Values, "get", reads)

    @step(key="work", retry=ONCE)
    def fails(ctx: StepContext) -> str:
        if ctx.item in bad:
            raise ValueError
        return "done"

    made = Map(fails, over=lambda _: range(4), chunk=2, name="every")
    kind = type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")
    local = LocalRuntime(kind)
    shown = local.start(kind, "1", {})
    local.advance(timedelta(minutes=1))
    assert local.runner.get(shown.id).status == "failed"
    bad.clear()
    silent.clear()
    local.runner.redrive(shown.id)
    local.advance(timedelta(minutes=1))
    assert local.runner.get(shown.id).status == "completed"


def test_a_redrive_reads_an_object_that_was_put_right() -> None:
    """Rule C.4: what failed for good is not gone on with; no item ran, so the map begins with what is there now."""
    work = step(key="work")(lambda ctx: {"n": ctx.item["n"]})
    made = Map(work, over=Items.s3("uploads", "lines.jsonl"))
    flow = type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")
    local = LocalRuntime(flow)
    local.objects.put("uploads", "lines.jsonl", lines(1) + "\n" + lines(1))
    shown = local.start(flow, "1", {})
    assert "lines.jsonl, line 2 is blank" in str(shown.error)
    local.objects.put("uploads", "lines.jsonl", lines(3))
    local.runner.redrive(shown.id)
    local.settle()
    shown = local.runner.get(shown.id)
    assert (shown.status, shown.output and shown.output["completed"]) == ("completed", 3)


def test_a_scan_that_was_cut_begins_anew_where_other_code_is_deployed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule C.3: what another ``chunk`` or another format found is of no use."""
    seen: list[Any] = []
    work = step(key="work")(lambda ctx: seen.append(ctx.item["n"]) or "done")  # type: ignore[func-returns-value]  # on purpose
    again = Retry(max_attempts=2, backoff="constant", delay=60)

    def with_chunk(chunk: int, key: str) -> Any:
        made = Map(work, over=Items.s3("uploads", key), chunk=chunk, name="map", retry=again)
        return type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")

    local, other = LocalRuntime(with_chunk(3, "a.jsonl")), LocalRuntime(with_chunk(2, "b.csv"))
    local.runner.sources = lambda: Sources(local.objects, block=1, longest_line=16)
    local.objects.put("uploads", "a.jsonl", lines(50))
    local.objects.put("uploads", "b.csv", "n\n" + "".join(f"{number}\n" for number in range(9)))
    monkeypatch.setattr(scanning, "SCANNED", 1)
    scan = Sources.scan

    def cut(self: Sources, at: Scan, goes_on: Callable[[int], bool]) -> Any:
        if at.total:
            message = "the time is up"
            raise scanning.ScanGoesOn(message)
        return scan(self, at, goes_on)

    with monkeypatch.context() as while_cut:
        while_cut.setattr(Sources, "scan", cut)
        shown = local.start("Flow", "1", {})
    local.runner.registry = other.runner.registry
    local.advance(timedelta(minutes=5))
    assert local.runner.get(shown.id).status == "completed"
    assert sorted(seen) == [str(number) for number in range(9)]


@pytest.mark.parametrize("chunk", [2, 100])
def test_the_version_of_a_maps_workflows_is_decided_once(chunk: int) -> None:
    """Rule C.15: by the workflow's ``version_for``, asked once for all of them."""
    asked: list[Any] = []
    ran: list[int] = []

    @step
    def one(ctx: StepContext) -> str:
        ran.append(ctx.instance.version)
        return "done"

    @step
    def two(ctx: StepContext) -> str:
        ran.append(ctx.instance.version)
        return "done"

    old = type("Old", (Workflow,), {"start_at": one, "transitions": {one: {"done": DONE}}}, key="kid", version=1)
    new = type("New", (Workflow,), {"start_at": two, "transitions": {two: {"done": DONE}}}, key="kid", version=2)

    def version_for(_versions: Any, opts: Mapping[str, Any]) -> int:
        asked.append(opts)
        return len(asked)

    members = {"version_for": staticmethod(version_for)}
    kid = type("Kid", (Workflow,), members, key="kid", versions={1: old, 2: new}, current=2)
    made = Map(kid, over=lambda _: [{"n": number} for number in range(9)], chunk=chunk, concurrency=1, name="work")
    flow = type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")
    assert LocalRuntime(flow, kid).start(flow, "1", {}).status == "completed"
    assert (len(asked), ran) == (1, [1] * 9)


@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize("how", ["cancelled", "only cancelled", "failed"])
def test_the_open_workflows_of_a_map_are_stopped_as_its_instance_is(chunk: int, how: str) -> None:
    """Rule C.13: at every size they undo what they did where their root does, and a redrive does nothing twice."""
    net: dict[int, int] = {}

    def undo(ctx: StepContext) -> None:
        net[ctx.initial["n"]] -= 1

    @step(retry=ONCE, compensate=undo)
    def book(ctx: StepContext) -> str:
        net[ctx.initial["n"]] = net.get(ctx.initial["n"], 0) + 1
        return "done"

    waits, side, begin, after = WaitForEvent("go"), WaitForEvent("ok", "bad", name="side"), _nothing("a"), _nothing("b")
    routes: dict[Any, Any] = {book: {"done": waits}, waits: {"go": DONE}}
    kid = type("Kid", (Workflow,), {"start_at": book, "transitions": routes}, key="kid")
    made = Map(kid, over=lambda _: [{"n": number} for number in range(6)], chunk=chunk, name="work")
    routes = {
        begin: {"done": [made, side]},
        made: {"done": after},
        side: {"ok": after, "bad": FAIL},
        after: {"done": DONE},
    }
    flow = type("Flow", (Workflow,), {"start_at": begin, "transitions": routes}, key="flow")
    local = LocalRuntime(flow, kid)
    name = local.start(flow, "1", {}).id
    local.resume(str(local.runner.items(name, "work").items[0].child), "go")
    if how == "failed":
        local.resume(name, "bad")
    else:
        local.runner.cancel(name, compensate=how == "cancelled")
    local.settle()
    assert local.runner.get(name).status == how.removeprefix("only ")
    assert net == dict.fromkeys(range(6), 1 if how == "only cancelled" else 0)
    local.runner.redrive(name)
    local.settle()
    for one in local.runner.items(name, "work").items:
        if one.status == "waiting":
            local.resume(str(one.child), "go")
    if local.runner.get(name).accepts.get("side"):
        local.resume(name, "ok")
    assert local.runner.get(name).steps["work"].status == "completed"
    assert net == dict.fromkeys(range(6), 1)


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_a_compensation_of_its_own_leaves_out_workflows_that_could_not_undo_themselves(chunk: int) -> None:
    """Rule D.9: it is for those that have completed; the others are asked again, and the instance comes to its end."""
    undone: list[int] = []
    broken = True

    def unbook(_: StepContext) -> None:
        if broken:
            raise NonRetryable

    @step(retry=ONCE, compensate=unbook)
    def book(_: StepContext) -> str:
        return "done"

    @step(retry=ONCE)
    def check(ctx: StepContext) -> str:
        if ctx.initial["n"] == 1:
            raise NonRetryable
        return "done"

    @step(retry=ONCE)
    def after(_: StepContext) -> str:
        raise NonRetryable

    routes: dict[Any, Any] = {book: {"done": check}, check: {"done": DONE}}
    kid = type("Kid", (Workflow,), {"start_at": book, "transitions": routes}, key="kid")
    own = ChildWorkflow(kid, context=lambda ctx: ctx.item, compensate=lambda ctx: undone.append(ctx.index))
    made = Map(own, over=lambda _: [{"n": n} for n in range(3)], chunk=chunk, name="work", tolerate=1)
    routes = {made: {"done": after}, after: {"done": DONE}}
    flow = type("Flow", (Workflow,), {"start_at": made, "transitions": routes}, key="flow")
    local = LocalRuntime(flow, kid)
    shown = local.start(flow, "1", {})
    assert (shown.status, sorted(undone)) == ("failed", [0, 2])
    assert shown.steps["work"].status == "compensation_failed"
    for _ in range(2):  # it cannot undo itself once more: that does not make it one that has completed
        local.runner.redrive(shown.id)
        local.settle()
        assert local.runner.get(shown.id).steps["work"].status == "compensation_failed"
        assert sorted(undone) == [0, 2]
    broken = False
    local.runner.redrive(shown.id)
    local.settle()
    assert local.runner.get(shown.id).steps["work"].status == "compensated"
    assert sorted(undone) == [0, 2]


def test_a_fork_leaves_the_workflows_of_a_map_to_its_source() -> None:
    """Rule C.13: what they did is undone with the source, and not by a fork that fails."""
    undone: list[int] = []

    @step(compensate=lambda ctx: undone.append(ctx.initial["n"]))
    def book(_: StepContext) -> str:
        return "done"

    @step(retry=ONCE)
    def check(ctx: StepContext) -> str:
        if ctx.instance.id.endswith("::2"):
            raise NonRetryable
        return "done"

    kid = type("Kid", (Workflow,), {"start_at": book, "transitions": {book: {"done": DONE}}}, key="kid")
    made = Map(kid, over=lambda _: [{"n": n} for n in range(3)], name="work")
    wait = WaitForEvent("go")
    routes: dict[Any, Any] = {made: {"done": wait}, wait: {"go": check}, check: {"done": DONE}}
    flow = type("Flow", (Workflow,), {"start_at": made, "transitions": routes}, key="flow")
    local = LocalRuntime(flow, kid)
    shown = local.start(flow, "1", {})
    number = local.runner.history(shown.id, limit=200).items[-1].sequence
    forked = local.runner.fork(shown.id, number, new_id="2")
    local.settle()
    assert local.resume(forked, "go").status == "failed"
    assert local.runner.get(forked).steps["work"].status == "completed"
    assert undone == []
    assert local.resume(shown.id, "go").status == "completed"


def _nothing(name: str) -> Any:
    return step(key=name)(lambda _: "done")


@pytest.mark.parametrize("chunk", [1, 2, 100])
@pytest.mark.parametrize("tolerate", [0, 1])
def test_a_workflow_of_a_map_that_could_not_undo_itself_is_undone_by_a_redrive(chunk: int, tolerate: int) -> None:
    """Rule D.9: it is not left as it is while the map begins anew."""
    net = [0, 0, 0]
    broken = True

    def undo(ctx: StepContext) -> None:
        if broken and ctx.initial["n"] == 1:
            raise NonRetryable
        net[ctx.initial["n"]] -= 1

    @step(retry=ONCE, compensate=undo)
    def book(ctx: StepContext) -> str:
        net[ctx.initial["n"]] += 1
        return "done"

    @step(retry=ONCE)
    def check(ctx: StepContext) -> str:
        if broken and ctx.initial["n"] == 1:
            raise NonRetryable
        return "done"

    @step(retry=ONCE)
    def after(_: StepContext) -> str:
        if broken:
            raise NonRetryable
        return "done"

    routes: dict[Any, Any] = {book: {"done": check}, check: {"done": DONE}}
    kid = type("Kid", (Workflow,), {"start_at": book, "transitions": routes}, key="kid")
    made = Map(kid, over=lambda _: [{"n": n} for n in range(3)], chunk=chunk, name="work", tolerate=tolerate)
    routes = {made: {"done": after}, after: {"done": DONE}}
    flow = type("Flow", (Workflow,), {"start_at": made, "transitions": routes}, key="flow")
    local = LocalRuntime(flow, kid)
    shown = local.start(flow, "1", {})
    assert (shown.status, net) == ("failed", [0, 1, 0])
    assert shown.steps["work"].status == "compensation_failed"
    broken = False
    local.runner.redrive(shown.id)
    local.settle()
    assert (local.runner.get(shown.id).status, net) == ("failed", [0, 0, 0])
    local.runner.redrive(shown.id)
    local.settle()
    assert (local.runner.get(shown.id).status, net) == ("completed", [1, 1, 1])


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_a_workflow_that_is_set_back_is_undone_if_it_does_not_begin_again(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule D.9: it could not undo itself, and as its map failed nothing could be undone; it waits for a place."""
    booked: set[int] = set()
    broken = first = True

    def unbook(ctx: StepContext) -> None:
        if broken and ctx.initial["n"] == 3:
            raise NonRetryable
        booked.discard(ctx.initial["n"])

    @step(retry=ONCE, compensate=unbook)
    def book(ctx: StepContext) -> str:
        booked.add(ctx.initial["n"])
        return "done"

    @step(retry=ONCE, events=("go",))
    def check(ctx: StepContext) -> str | Pending:
        if not first:
            return Pending()
        if ctx.initial["n"] >= 2:
            raise NonRetryable
        return "go"

    routes: dict[Any, Any] = {book: {"done": check}, check: {"go": DONE}}
    kid = type("Kid", (Workflow,), {"start_at": book, "transitions": routes}, key="kid")
    made = Map(kid, over=lambda _: [{"n": n} for n in range(4)], chunk=chunk, name="work", tolerate=1, concurrency=1)
    flow = type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")
    local = LocalRuntime(flow, kid)
    right, shown_as = advance.compensable, "Flow"

    def none(graph: Graph, state: State) -> tuple[str, ...]:
        return () if state.workflow == shown_as else right(graph, state)

    monkeypatch.setattr(advance, "compensable", none)
    shown = local.start(flow, "1", {})
    local.settle()
    assert (local.runner.get(shown.id).status, booked) == ("failed", {0, 1, 3})
    monkeypatch.undo()
    monkeypatch.setattr(spreading, "FAN", 3)
    first = False
    local.runner.redrive(shown.id)
    local.settle()
    assert booked == {0, 1, 2, 3}
    broken = False
    local.runner.cancel(shown.id, compensate=True)
    local.settle()
    assert (local.runner.get(shown.id).status, booked) == ("cancelled", set())


def _ten(chunk: int, depth: int) -> list[type[Workflow]]:
    """Workflows of which each has a map of the next one, the last ``depth`` below the first."""
    leaf = _nothing("leaf")
    flows = [type("F0", (Workflow,), {"start_at": leaf, "transitions": {leaf: {"done": DONE}}}, key="f0")]
    for number in range(1, depth + 1):
        over = {"n": 0} if number < depth else {"n": 1}
        made = Map(flows[-1], over=_some(over, 4 if number == depth else 1), chunk=chunk, name="map")
        own = {"start_at": made, "transitions": {made: {"done": DONE}}}
        flows.append(type(f"F{number}", (Workflow,), own, key=f"f{number}"))
    return flows[::-1]


def _some(item: Mapping[str, int], number: int) -> Any:
    return lambda _: [item] * number


@pytest.mark.parametrize("chunk", [1, 100])
@pytest.mark.parametrize("depth", [10, 11])
def test_the_instances_of_a_tree_are_no_parents(depth: int, chunk: int) -> None:
    """Rule D.4: how deep workflows are nested is counted, and the size of a map is not seen."""
    flows = _ten(chunk, depth)
    local = LocalRuntime(*flows)
    shown = local.start(flows[0], "1", {})
    assert shown.status == ("completed" if depth == 10 else "failed"), shown.error


@pytest.mark.parametrize("chunk", [2, 100])
@pytest.mark.parametrize("undoes", [False, True])
def test_what_is_not_collected_is_not_written(chunk: int, *, undoes: bool) -> None:
    """Rule C.7: unless a compensation reads it."""
    made = step(key="item", compensate=(lambda _: None) if undoes else None)(lambda ctx: {"secret": ctx.item})
    work = Map(made, over=lambda _: range(5), chunk=chunk, collect=False, name="work")
    flow = type("Flow", (Workflow,), {"start_at": work, "transitions": {work: {"done": DONE}}}, key="flow")
    local = LocalRuntime(flow)
    shown = local.start(flow, "1", {})
    assert dict(shown.output or {})["completed"] == 5
    left = [dict(one.results or {}) for one in local.runner.items(shown.id, "work").items]
    assert left == [{"secret": n} if undoes else {} for n in range(5)]


def _waiting(world: World) -> int:
    """How many items of a tree are at work."""
    steps = (known for state in world.states() for known in state.steps.values())
    return sum(len(known.mapped.open) for known in steps if known.mapped is not None)


@pytest.mark.parametrize(("before", "after"), [(4, 2), (2, 4), (6, 1)])
def test_a_number_that_is_changed_while_the_map_runs_holds_in_each_instance(before: int, after: int) -> None:
    """Rule C.8: none has more at work than the new number says once what it had begun has ended, nodes included."""
    world, other = Waiting(concurrency=before), Waiting(concurrency=after)
    world.start(18)
    assert _waiting(world) == before
    local = other.local = LocalRuntime(other.flow, store=world.local.store)
    local.clock.move_to(world.local.clock.now())
    for item in range(18):
        local.runner.resume("flow::1", "go", item=str(item))
        local.settle()
        assert _waiting(world) <= max(before - item - 1, after)
    assert local.runner.get("flow::1").status == "completed"


def test_a_greater_number_is_met_at_once_by_who_is_paused_and_unpaused() -> None:
    """Rule C.8: what waits meets it at its next commit, which an operator can have it make."""
    world, other = Waiting(concurrency=1), Waiting(concurrency=8)
    world.start(18)
    local = other.local = LocalRuntime(other.flow, store=world.local.store)
    local.clock.move_to(world.local.clock.now())
    local.settle()
    assert _waiting(world) == 1
    local.runner.pause("flow::1", "a greater number")
    local.settle()
    local.runner.unpause("flow::1")
    local.settle()
    assert 5 <= _waiting(world) <= 8
    for item in range(18):
        local.runner.resume("flow::1", "go", item=str(item))
        local.settle()
        assert _waiting(world) <= 8
    assert local.runner.get("flow::1").status == "completed"


def test_a_map_failed_by_the_item_that_failed_not_by_one_that_was_stopped_for_it() -> None:
    """The stopped ones may end first: of a map of workflows in several instances each instance tells by itself."""
    ask = WaitForEvent("go", name="ask")

    @step(retry=ONCE)
    def work(ctx: StepContext) -> str:
        message = "broken"
        raise ValueError(message)

    class One(Workflow, key="one"):
        start_at = ask
        transitions = {ask: {"go": work}, work: {"done": DONE}}

    class Every(Workflow, key="every"):
        start_at = Map(One, over=lambda _: [{}] * 4, chunk=2, name="ones")
        transitions = {start_at: {"done": DONE}}

    local = LocalRuntime(Every, One)
    local.start(Every, "1")
    last = list(local.runner.items("every::1", "ones").items)[3]
    local.resume(str(last.child), "go")
    local.advance(timedelta(hours=1))
    shown = local.runner.get("every::1")
    assert shown.status == "failed"
    assert "1 of 4 items failed, and 0 may: item 3: its workflow failed" in str(shown.error)
    assert [one.status for one in local.runner.items("every::1", "ones").items] == ["cancelled"] * 3 + ["failed"]


@pytest.mark.parametrize("chunk", [100, 2])
def test_why_says_what_holds_a_map_of_workflows(chunk: int) -> None:
    """In this instance or in several: the first of them that stands in line, or whose workflow is paused."""
    work = step(key="work", events=("ok",))(lambda _: Pending())

    class One(Workflow, key="one"):
        start_at = work
        transitions = {work: {"ok": DONE}}

    class Every(Workflow, key="every"):
        start_at = Map(One, over=lambda _: [{}] * 4, chunk=chunk, name="ones")
        transitions = {start_at: {"done": DONE}}

    local = LocalRuntime(Every, One)
    local.start(Every, "1")
    said = local.runner.why("every::1").steps["ones"]
    assert said.startswith("0 of 4 items have ended; 4 waiting; the workflow of item 0 (one::")
    assert "): work waits for `ok` (for " in said
    assert local.runner.get("every::1").accepts == {}, "what is for a workflow is sent to its instance"
    with pytest.raises(UnexpectedEvent, match="done"):
        local.resume("every::1", "done")
    local.runner.pause_workflow("One", "down")
    local.advance(20)
    assert ": waits: workflow One is paused" in local.runner.why("every::1").steps["ones"]
