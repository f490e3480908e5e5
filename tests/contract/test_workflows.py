"""Whole workflows over every store: the paths a user sees, and the limits of size."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, AlreadyRunning, StepContext, UnexpectedEvent, Workflow, step
from hephaestus.engine.fold import begin, fold
from hephaestus.errors import PayloadTooLarge
from hephaestus.runtime.dispatch import InPlace
from hephaestus.steps import WaitForEvent
from hephaestus.store.values import MAX_VALUE_BYTES
from hephaestus.testing import LocalRuntime
from tests.contract.instances import everything
from tests.costs import Meter
from tests.unit.flows import Early, Order, Routed, TwoWaits

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.store.store import Store
    from tests.contract.conftest import Dynamo

ITEMS = {"items": [1, 2, 3]}
WAITS = 100


@pytest.fixture
def runtime(store: Store) -> LocalRuntime:
    """A runtime on each store, with the shared workflows."""
    return LocalRuntime(Order, TwoWaits, Early, Routed, store=store)


def noise(size: int, seed: int = 1) -> str:
    """Text that takes nearly ``size`` bytes even when compressed."""
    return random.Random(seed).randbytes(size // 2).hex()


def assert_log_is_state(store: Store, instance_id: str) -> None:
    """Invariants 1 and 9: a gapless log that folds to what is loaded."""
    state = store.load(instance_id)
    assert state is not None
    log = everything(store, state)
    assert [entry.sequence for entry in log] == list(range(1, state.sequence + 1))
    assert fold(begin(instance_id, state.generation, log[0], state.life), log[1:]) == state


def test_an_order_runs_fans_out_joins_waits_and_ends(runtime: LocalRuntime) -> None:
    """The whole path, twice: a finished id is started again, and its history is kept."""
    for generation in (1, 2):
        waiting = runtime.start(Order, "a1", ITEMS)
        assert (waiting.status, waiting.generation) == ("waiting", generation)
        assert_log_is_state(runtime.store, "orderid::a1")
        with pytest.raises(AlreadyRunning):
            runtime.start(Order, "a1", ITEMS)
        ended = runtime.resume("orderid::a1", "approved", {"by": "ann"})
        assert (ended.status, ended.steps["approval"].results) == ("completed", {"by": "ann"})
        assert (ended.steps["ship"].event, ended.steps["refund"].status) == ("done", "skipped")
        assert runtime.timers.names() == []
        assert_log_is_state(runtime.store, "orderid::a1")
    [listed] = runtime.runner.list(workflow="Order", status="completed")
    assert (listed.id, listed.generation, listed.tags) == ("orderid::a1", 2, ("sales",))
    first = runtime.runner.history("orderid::a1", generation=1).items
    assert first[0].events[0]["initial"] == ITEMS
    end = {"type": "InstanceFinished", "status": "completed", "output_of": "ship", "orphan": False}
    assert first[-1].events[-1] == end


@pytest.mark.parametrize("scheduler_calls", [True, False])
def test_invariant_6_a_deadline_fires_once(runtime: LocalRuntime, *, scheduler_calls: bool) -> None:
    """At its time by the schedule; if the scheduler never calls, by the first sweep after it."""
    runtime.start(Order, "a1", ITEMS)
    if not scheduler_calls:
        runtime.timers.pop_due(runtime.clock.now() + 10**10)
    runtime.advance(timedelta(hours=47, minutes=59))
    runtime.sweep()
    assert runtime.runner.get("orderid::a1").status == "waiting"
    runtime.advance(timedelta(minutes=2))
    if not scheduler_calls:
        assert runtime.runner.get("orderid::a1").status == "waiting"
        assert runtime.sweep().found == 1
    ended = runtime.runner.get("orderid::a1")
    assert (ended.status, ended.steps["approval"].event) == ("completed", "timeout")
    assert runtime.sweep().found == 0
    assert_log_is_state(runtime.store, "orderid::a1")


def test_two_waits_are_resumed_one_by_one(runtime: LocalRuntime) -> None:
    """Resuming one neither re-runs nor stalls the other; the other's deadline is its own."""
    runtime.start(TwoWaits, "t")
    half = runtime.resume("two::t", "stop", {"text": "Grüße 👩‍🚀 日本語"})
    assert (half.status, half.steps["second"].status) == ("waiting", "waiting")
    runtime.advance(timedelta(hours=3))
    ended = runtime.runner.get("two::t")
    assert (ended.status, ended.steps["first"].event, ended.steps["second"].event) == ("completed", "stop", "timeout")
    assert ended.steps["first"].results == {"text": "Grüße 👩‍🚀 日本語"}
    assert_log_is_state(runtime.store, "two::t")


def test_invariant_5_an_early_event_is_kept_and_consumed_once(runtime: LocalRuntime) -> None:
    """An event that comes before its step waits is there when the step does; sent twice, it is one."""
    runtime.start(Early, "e")
    for _ in range(2):
        runtime.resume("early::e", "yes", {"n": 1}, event_id="only")
    with pytest.raises(UnexpectedEvent):
        runtime.resume("early::e", "yes", {"n": 2})
    assert runtime.sweep().found == 0
    runtime.advance(timedelta(seconds=61))
    ended = runtime.runner.get("early::e")
    assert (ended.status, ended.steps["later"].results) == ("completed", {"n": 1})
    assert_log_is_state(runtime.store, "early::e")


@pytest.mark.parametrize("ways", [["left"], ["right"], ["left", "right"]])
def test_invariant_4_a_choice_runs_what_it_picks(runtime: LocalRuntime, ways: list[str]) -> None:
    """And skips the rest."""
    ended = runtime.start(Routed, "r", {"ways": ways})
    run = {key for key in ("left", "right") if ended.steps[key].status == "completed"}
    assert (ended.status, run) == ("completed", set(ways))
    assert_log_is_state(runtime.store, "routed::r")


def test_what_is_too_large_is_refused_and_the_instance_goes_on(runtime: LocalRuntime) -> None:
    """Context and payload: the size is said, nothing is written, and a smaller one is taken."""
    large = {"blob": noise(2 * MAX_VALUE_BYTES + 5_000)}
    with pytest.raises(PayloadTooLarge, match="context take"):
        runtime.start(Order, "a1", {**ITEMS, **large})
    assert runtime.store.load("orderid::a1") is None
    waiting = runtime.start(Order, "a1", ITEMS)
    with pytest.raises(PayloadTooLarge, match="instance orderid::a1: the payload take"):
        runtime.resume("orderid::a1", "approved", large)
    assert runtime.runner.get("orderid::a1") == waiting
    assert runtime.resume("orderid::a1", "approved", {"blob": noise(MAX_VALUE_BYTES)}).status == "completed"


@step
def bulky(ctx: StepContext) -> dict[str, Any]:
    """Return more than the store takes."""
    return {"blob": noise(ctx.initial["size"])}


@step
def small(ctx: StepContext) -> str:
    """Come in where the bulky one failed."""
    return "done"


class Bulky(Workflow, key="bulky"):
    """A step whose result may be too large."""

    start_at = bulky
    transitions = {bulky: {"done": DONE, "error": small}, small: {"done": DONE}}


def test_a_result_that_is_too_large_fails_its_step_only(store: Store) -> None:
    """It is the step's failure, which the transitions may route; the size and the fix are said."""
    runtime = LocalRuntime(Bulky, store=store)
    ended = runtime.start(Bulky, "b", {"size": 3 * MAX_VALUE_BYTES})
    assert (ended.status, ended.steps["small"].status) == ("completed", "completed")
    assert "at most 65536 are stored" in ended.steps["bulky"].results["error"]["message"]
    assert runtime.start(Bulky, "c", {"size": MAX_VALUE_BYTES // 2}).steps["bulky"].event == "done"


def _wide(count: int) -> type[Workflow]:
    @step
    def begin_wide(ctx: StepContext) -> str:
        return "done"

    def branch(number: int) -> Callable[[StepContext], dict[str, Any]]:
        def run(ctx: StepContext) -> dict[str, Any]:
            return {"blob": noise(60_000, number)}

        return run

    branches = [step(key=f"branch_{number}")(branch(number)) for number in range(count)]

    @step
    def gather(ctx: StepContext) -> dict[str, Any]:
        return {"count": sum(len(ctx.steps[f"branch_{number}"]["blob"]) for number in range(count))}

    rest: dict[Any, Any] = {one: {"done": gather} for one in branches}

    class Wide(Workflow, key="wide"):
        start_at = begin_wide
        transitions = {begin_wide: {"done": branches}, **rest, gather: {"done": DONE}}

    return Wide


def test_large_results_that_finish_together_are_all_kept(store: Store) -> None:
    """Each fits; together they are more than one item holds, and the instance goes on all the same."""
    wide = _wide(12)
    runtime = LocalRuntime(wide, store=store)
    ended = runtime.start(wide, "w")
    assert (ended.status, ended.steps["gather"].results) == ("completed", {"count": 720_000})
    assert_log_is_state(store, "wide::w")


def _chain(count: int) -> type[Workflow]:
    """``count`` waits, one after the other, each with a step before it."""
    waits = [WaitForEvent("go", name=f"wait_{number}") for number in range(count)]

    def work(number: int) -> Any:
        @step(key=f"work_{number}")
        def run(ctx: StepContext) -> dict[str, Any]:
            return {"n": number}

        return run

    works = [work(number) for number in range(count)]
    targets: list[Any] = [*works[1:], DONE]
    rest: dict[Any, Any] = {one: {"go": target} for one, target in zip(waits, targets, strict=True)}
    rest |= {one: {"done": wait} for one, wait in zip(works, waits, strict=True)}

    class Chain(Workflow, key="chain"):
        start_at = works[0]
        transitions = rest

    return Chain


def test_a_wake_up_costs_the_same_after_a_hundred(local: Dynamo) -> None:
    """An event, a step, the next wait: a read, two entries and the head; its snapshot is all that grows."""
    chain = _chain(WAITS + 2)
    runtime = LocalRuntime(chain, store=local.store())
    runtime.start(chain, "c")
    meter = Meter(local.table, local.beside())
    costs: list[tuple[list[str], float]] = []
    for number in range(WAITS + 1):
        meter.clear()
        runtime.runner.resume("chain::c", "go", {"n": number}, dispatch=InPlace(runtime.budget()))
        costs.append((meter.operations, meter.units))
    assert runtime.runner.get("chain::c").steps[f"work_{WAITS + 1}"].results == {"n": WAITS + 1}
    assert costs[0] == (["Query", "PutItem", "PutItem", "UpdateItem", "UpdateItem"], 6)
    assert {tuple(operations) for operations, _ in costs} == {tuple(costs[0][0])}
    assert costs[-1][1] <= 9, "the head has a snapshot of 202 steps, 2.3 KB"
