"""Maps whose step names a rate: each attempt of an item starts in a time of its own (rules F.7 and F.9)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Concurrency, DefinitionError, RateLimit, Retry, Workflow, step
from hephaestus.costs import play
from hephaestus.costs.play import Plan
from hephaestus.engine.pacing import MOST_PACED
from hephaestus.engine.state import PARTS
from hephaestus.handlers.http.describe import describe
from hephaestus.runtime.commands import SetLimit, UnsetLimit
from hephaestus.steps import Map
from hephaestus.testing import LocalRuntime
from tests.unit.test_rates import MINUTE, SECOND, Record, excess, flow

if TYPE_CHECKING:
    from hephaestus import StepContext
    from hephaestus.definition.step import Step

CHUNK = 3


@pytest.fixture
def record() -> Record:
    """An empty record."""
    return Record()


def mapping(target: Step, name: str = "Flow", **options: Any) -> type[Workflow]:
    """A workflow with one map, over as many items as its start data say."""
    every = Map(target, over=lambda ctx: range(ctx.initial.get("n", 1)), name="every", **{"chunk": CHUNK, **options})
    return flow(every, name)


def test_fifty_a_second_over_a_thousand_items(record: Record) -> None:
    """What everyone tries first. No window has more than the burst and 50 a second; nothing of the rate is lost."""
    local = record.on(mapping(record.runs(RateLimit("calls", 50, SECOND, burst=50)), chunk=100))
    local.start("Flow", "a", {"n": 1000})
    local.advance(MINUTE)
    assert local.runner.get("flow::a").status == "completed"
    assert len(record.starts) == 1000
    assert excess(record.times, 20, 50) <= 0
    assert record.times[-1] == 950 * 20


@pytest.mark.parametrize("size", [1, CHUNK, CHUNK + 1, 4 * CHUNK, 100])
@pytest.mark.parametrize("chunk", [CHUNK, 100])
@pytest.mark.parametrize("seconds", [1, 7])
def test_every_item_starts_at_the_rate_whichever_instance_runs_it(
    record: Record, size: int, chunk: int, seconds: int
) -> None:
    """Rule F.7, up to a minute ahead and from the line, in the instance itself and in a tree."""
    local = record.on(mapping(record.runs(RateLimit("calls", 1, seconds * SECOND)), chunk=chunk))
    local.start("Flow", "a", {"n": size})
    local.advance(timedelta(seconds=(size + 1) * seconds))
    assert local.runner.get("flow::a").status == "completed"
    assert sorted(record.times) == [number * seconds * 1000 for number in range(size)]
    assert local.store.rates.queue("calls").line == ()


def test_each_attempt_of_an_item_reserves(record: Record) -> None:
    """Rule F.7. A retry waits for its time, and for the rate."""
    retry = Retry(max_attempts=3, delay=2.5, jitter="none", backoff="constant")
    target = record.runs(RateLimit("calls", 1, SECOND), retry=retry)
    local = record.on(mapping(target, context=lambda _: {"fails": 1}))
    local.start("Flow", "a", {"n": 3})
    local.advance(MINUTE)
    assert record.times == [0, 1000, 2000, 3000, 4000, 5000]
    assert local.runner.get("flow::a").steps["every"].results["completed"] == 3


def test_per_is_given_the_item() -> None:
    """Rule F.9. As each of them reserves for itself, what it is may depend on it."""
    times: list[tuple[str, int]] = []

    @step(limits=[RateLimit("calls", 1, 10 * SECOND, per=lambda ctx: str(ctx.item))])
    def call(ctx: StepContext) -> str:
        times.append((str(ctx.item), local.clock.now() - began))
        return "done"

    local = LocalRuntime(flow(Map(call, over=lambda _: ["a", "a", "b", "c", "b"], name="every")))
    began = local.clock.now()
    local.start("Flow", "x")
    local.advance(MINUTE)
    assert sorted(times) == [("a", 0), ("a", 10_000), ("b", 0), ("b", 10_000), ("c", 0)]


def test_an_instance_reserves_for_no_more_items_than_it_runs(record: Record) -> None:
    """What it could not start in its time would be lost for all that name the rate."""
    local = record.on(mapping(record.runs(RateLimit("calls", 1, 3 * SECOND)), chunk=100))
    local.start("Flow", "a", {"n": 100})
    (state,) = [local.store.load("flow::a")]
    assert state is not None
    assert len(state.turns) == MOST_PACED
    # Others come in between: they do not wait for all of its items.
    quick = record.runs(RateLimit("calls", 1, 3 * SECOND), key="quick")
    beside = LocalRuntime(mapping(record.runs()), flow(quick, "Other"), store=local.store)
    assert beside.store.rates.queue("calls").stands.next_at is not None
    ahead = (beside.store.rates.queue("calls").stands.next_at or 0) - local.clock.now()
    assert ahead <= (MOST_PACED + 1) * 3000


@pytest.mark.parametrize("size", [CHUNK, 4 * CHUNK])
def test_items_leave_the_line_with_their_map(record: Record, size: int) -> None:
    """Rules F.4 and F.7."""
    local = record.on(mapping(record.runs(RateLimit("calls", 1, 50 * SECOND)), concurrency=10))
    local.start("Flow", "a", {"n": size})
    assert local.store.rates.queue("calls").line
    local.runner.cancel("flow::a")
    local.advance(MINUTE)
    assert local.runner.get("flow::a").status == "cancelled"
    assert local.store.rates.queue("calls").line == ()
    assert len(record.starts) <= 2


def test_a_map_says_what_its_items_wait_for(record: Record) -> None:
    local = record.on(mapping(record.runs(RateLimit("calls", 1, 50 * SECOND)), chunk=100))
    local.start("Flow", "a", {"n": 5})
    assert local.runner.get("flow::a").steps["every"].why == (
        "1 of 5 items have ended; 4 not begun; starts in 50 s, as `calls` allows"
    )
    local.advance(timedelta(seconds=55))
    assert "`calls`" in (local.runner.why("flow::a").steps["every"])


def test_a_rate_of_zero_holds_its_map_and_no_other(record: Record) -> None:
    """Rule F.10."""
    slow = Map(record.runs(RateLimit("calls", 50, SECOND)), over=lambda _: range(40), name="slow")
    free = Map(record.runs(key="free"), over=lambda _: range(40), name="free", context=lambda _: {})
    first, last = (step(key=name)(lambda _: "done") for name in ("first", "last"))
    transitions = {first: {"done": [slow, free]}, slow: {"done": last}, free: {"done": last}, last: {"done": DONE}}
    both = type("Both", (Workflow,), {"start_at": first, "transitions": transitions}, key="both")
    local = record.on(both)
    local.runner.do(SetLimit(limit="calls", number=0))
    local.start("Both", "a")
    local.advance(timedelta(hours=1))
    assert len(record.starts) == 40
    assert local.runner.get("both::a").steps["free"].status == "completed"
    local.runner.do(UnsetLimit(limit="calls"))
    local.advance(MINUTE)
    assert local.runner.get("both::a").status == "completed"
    assert len(record.starts) == 80


def test_a_map_whose_per_raises_starts_nothing_more_than_it_tolerates() -> None:
    """Rule F.9. It is the item's error; what is beyond the tolerance stops the others."""
    seen: list[int] = []

    def per(ctx: StepContext) -> str:
        if ctx.item < 2:
            raise ValueError
        return "all"

    @step(limits=[RateLimit("calls", 1, SECOND, per=per)], retry=Retry(max_attempts=1))
    def call(ctx: StepContext) -> str:
        seen.append(ctx.item)
        return "done"

    local = LocalRuntime(mapping(call, chunk=100), mapping(call, "Tolerant", chunk=100, tolerate=2))
    local.start("Flow", "a", {"n": 5})
    local.start("Tolerant", "a", {"n": 5})
    local.advance(MINUTE)
    assert local.runner.get("flow::a").status == "failed"
    assert local.runner.get("tolerant::a").status == "completed"
    assert seen == [2, 3, 4]


def test_a_step_of_a_map_has_a_rate_or_limits_with_permits(record: Record) -> None:
    """A permit is for all items of an instance, and a time for one: a map's concurrency says how many at once."""
    rate, permits = RateLimit("calls", 1, SECOND), Concurrency("slots", 1)
    with pytest.raises(DefinitionError, match="names a rate and a limit that has permits"):
        Map(record.runs(rate, permits), over=lambda _: range(3), name="every")
    Map(record.runs(rate, RateLimit("others", 1, SECOND)), over=lambda _: range(3), name="every")


def test_a_map_under_a_rate_sends_no_message_an_item_and_costs_what_its_entries_do(record: Record) -> None:
    """Its instances wait in place where the next start is near."""
    local = record.on(mapping(record.runs(RateLimit("calls", 10, SECOND)), chunk=100))
    local.start("Flow", "a", {"n": 100})
    local.advance(MINUTE)
    state = local.store.load("flow::a")
    assert state is not None
    assert (len(record.starts), state.status) == (100, "completed")
    assert state.sequence <= 1.2 * 100 + 20, "an entry a start, and a few more"
    assert not [one for one in local.runner.list(children=True) if one.id.startswith(PARTS)]


def test_the_estimate_counts_what_items_reserve_and_the_api_shows_the_limits_of_a_map(record: Record) -> None:
    """A request and a write unit an item, two for the first."""
    shown = [
        describe(mapping(record.runs(*limits, key="work"), chunk=100))["versions"][0]
        for limits in ([], [RateLimit("calls", 2, SECOND, burst=2)])
    ]
    assert ["limits" in one["steps"][0]["map"] for one in shown] == [False, True]
    plain, rated = (play(one, Plan(items={"every": 50})) for one in shown)
    assert rated.write_units - plain.write_units == 50 + 2, "and the entry of the list of limits"
