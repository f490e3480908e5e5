"""All that an instance holds is bounded together: what goes beyond the bound fails its step, and the instance ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hephaestus import DONE, Choice, Completed, Retry, StepContext, Workflow, step
from hephaestus.adapters.memory import MemoryStore
from hephaestus.engine import events as ev
from hephaestus.engine.codec import MAX_INFLATED, _stretch, dump_state, load_state
from hephaestus.engine.fold import apply, begin, following
from hephaestus.engine.records import Loop, Received
from hephaestus.engine.state import Compensation, State, StepState, Timer
from hephaestus.errors import PayloadTooLarge
from hephaestus.runtime import journal, sizes
from hephaestus.runtime.sizes import held
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from hephaestus.values import freeze
from hephaestus.values.weight import MAX_HELD

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

BOUND = 300_000  # of what an instance may hold, in the tests that fill it
RESERVE = 100_000  # of what comes to it all the same: failures in short, and what is known of the steps
BLOCK = 20_000
NUMBER = 40
ASTRAL = "\U0001f600" * 1_000


def configured(targets: dict[str, Any], config: str) -> Choice:
    """Lead to the only target, with a configuration."""
    (target,) = targets.values()
    return Choice(lambda _ctx: target.configured(x=config), [target])


def chain(make: Callable[[int], Any], *, event: str = "done", config: str = "") -> type[Workflow]:
    """A chain of ``NUMBER`` steps, each led to with a configuration if one is given."""
    steps = [make(number) for number in range(NUMBER)]

    def route(then: Any) -> Any:
        return configured({"then": then}, config) if config and then is not DONE else then

    class Chain(Workflow, key="chain"):
        start_at = steps[0]
        transitions = {
            one: dict.fromkeys({event, "done"}, route(then))
            for one, then in zip(steps, [*steps[1:], DONE], strict=True)
        }
        retry = Retry(max_attempts=1)

    return Chain


def plain(number: int) -> Any:
    """A step without results."""
    return step(key=f"s{number}")(lambda ctx: "done")


def results(number: int) -> Any:
    """A step with large results."""
    return step(key=f"s{number}")(lambda ctx: {"x": "y" * BLOCK})


def metadata(number: int) -> Any:
    """A step with metadata of its own."""
    return step(key=f"s{number}")(lambda ctx: Completed("done", {}, {f"m{number}": "y" * BLOCK}))


def waits(number: int) -> Any:
    """A wait."""
    return WaitForEvent("done", name=f"s{number}")


def fails(number: int) -> Any:
    """A step that fails at length, in the largest letters there are."""

    def fail(ctx: StepContext) -> str:
        raise ValueError(ASTRAL)

    return step(key=f"s{number}")(fail)


CHAINS: Mapping[str, Callable[[], type[Workflow]]] = {
    "configurations": lambda: chain(plain, config="y" * BLOCK),
    "configurations behind waits": lambda: chain(waits, config="y" * BLOCK),
    "configurations behind failures": lambda: chain(fails, event="error", config="y" * BLOCK),
    "failures that are routed": lambda: chain(fails, event="error"),
    "results": lambda: chain(results),
    "metadata": lambda: chain(metadata),
}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """An instance that may hold little."""
    for module in (journal, sizes):
        monkeypatch.setattr(module, "MAX_HELD", BOUND)


def check_ended(local: LocalRuntime, instance_id: str) -> State:
    """The instance has ended, holds no more than it may, and can be read."""
    state = local.store.load(instance_id)
    assert state is not None
    assert state.status == "failed"
    assert held(state) <= BOUND + RESERVE
    assert inflated(state) <= held(state) + FIXED
    assert load_state(dump_state(state)) == state
    local.runner.history(instance_id, limit=200)
    return state


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("kind", CHAINS)
def test_the_step_that_goes_beyond_the_bound_fails_and_the_instance_ends(kind: str) -> None:
    """Whatever it is that fills it; a redrive does not change that, and a cancellation always fits."""
    flow = CHAINS[kind]()
    local = LocalRuntime(flow)
    local.start(flow, "a", {})
    for _ in range(NUMBER):
        if local.runner.get("chain::a").status == "waiting":
            local.resume("chain::a", "done")
    state = check_ended(local, "chain::a")
    assert state.error is not None
    assert "would hold more" in state.error.message
    done = sum(one.status == "completed" for one in state.steps.values())
    assert NUMBER // 8 < done < NUMBER
    local.runner.redrive("chain::a")
    local.settle()
    if local.runner.get("chain::a").status == "waiting":
        local.resume("chain::a", "done")
    check_ended(local, "chain::a")


@pytest.mark.usefixtures("small")
def test_failures_side_by_side_are_kept_in_short_where_there_is_no_room() -> None:
    """Each is tried again, and undoing what was done fails as well: none of it keeps the instance from its end."""

    def broken(ctx: StepContext) -> str:
        raise ValueError(ASTRAL)

    start = step(key="start", compensate=broken, compensate_retry=Retry(max_attempts=1))(lambda ctx: "done")
    undone = [
        step(key=f"u{number}", compensate=broken, compensate_retry=Retry(max_attempts=1))(lambda ctx: "done")
        for number in range(NUMBER)
    ]
    join, end = plain(1), plain(2)
    wide = [step(key=f"w{number}", retry=Retry(max_attempts=3))(broken) for number in range(NUMBER)]

    class Wide(Workflow, key="wide"):
        start_at = start
        transitions = {
            start: {"done": undone},
            **{one: {"done": join} for one in undone},
            join: {"done": wide},
            **{one: {"done": end} for one in wide},
            end: {"done": DONE},
        }

    local = LocalRuntime(Wide)
    local.start(Wide, "a", {})
    local.advance(3_600)
    state = check_ended(local, "wide::a")
    assert sum(one.status == "compensation_failed" for one in state.steps.values()) == NUMBER + 1
    assert any(one.error is not None and one.error.trace == "" for one in state.steps.values())


def test_the_bound_itself_holds_for_configurations() -> None:
    """A chain of four hundred with sixty-four kilobytes each would hold 25 MiB."""
    steps = [plain(number) for number in range(400)]

    class Long(Workflow, key="long"):
        start_at = steps[0]
        transitions = {
            one: {"done": configured({"then": then}, "y" * 65_000) if then is not DONE else DONE}
            for one, then in zip(steps, [*steps[1:], DONE], strict=True)
        }

    local = LocalRuntime(Long)
    shown = local.start(Long, "a", {})
    assert shown.status == "failed"
    state = local.store.load("long::a")
    assert state is not None
    assert MAX_HELD - 70_000 < held(state) <= MAX_HELD + 2_000


# --- Whatever a snapshot holds is counted ---

FIXED = 64 * 1024  # the newest requests, tags, the reasons of who steers, the errors that an instance ended with


def inflated(state: State) -> int:
    """The bytes of a snapshot's JSON."""
    return len(_stretch(dump_state(state)).encode())


texts = st.text(max_size=40) | st.sampled_from(['"' * 200, "\n" * 200, "\U0001f600" * 200])
keys = st.from_regex(r"[a-z_][a-z0-9_.-]{0,63}", fullmatch=True) | st.integers(0, 9).map(
    lambda n: f"{n}".rjust(64, "k")
)
values = st.dictionaries(st.text(max_size=9).filter(lambda key: key != "$hephaestus"), texts, max_size=3).map(freeze)
times = st.integers(0, 2**43)
failures = st.builds(ev.Failure, texts, texts, texts)
loops = st.builds(
    Loop,
    st.integers(0, 10**7),
    values,
    times,
    st.integers(0, 10**3),
    st.none() | st.builds(Received, keys, texts, values, st.integers(0, 10**7)),
    st.integers(0, 99).map(lambda number: ("r" * 12,) * number),
)
known = st.builds(
    StepState,
    st.sampled_from(["completed", "failed", "skipped", "compensation_failed", "retrying", "waiting"]),
    st.integers(0, 10**6),
    st.none() | keys,
    st.lists(keys, max_size=9).map(tuple),
    values,
    times,
    times,
    st.none() | times,
    st.none() | failures,
    st.none() | failures,
    st.none() | st.builds(ev.Replacement, texts, texts, st.sampled_from(["", "api", "claim"])),
    st.dictionaries(keys, values, max_size=3).map(freeze),
    loop=st.none() | loops,
)


@st.composite
def states(draw: st.DrawFn) -> State:
    """An instance of which much is known."""
    names = draw(st.lists(keys, unique=True, min_size=1, max_size=12))
    some = st.lists(st.sampled_from(names), unique=True)
    counted = some.map(lambda chosen: dict.fromkeys(chosen, 999_999))
    timers = {
        name: tuple(
            Timer(f"{name}.999999.h{10**13 + number}", name, 10**13, "timeout", scheduled=True, heartbeat_ms=10**10)
            for number in range(draw(st.integers(1, 5)))
        )
        for name in draw(some)
    }
    return State(
        "key::value",
        7,
        "Flow",
        3,
        initial=draw(values),
        metadata=draw(values),
        steps={name: draw(known) for name in names},
        running=tuple(draw(some)),
        isolated=tuple(draw(some)),
        choosing=draw(counted),
        epochs=draw(counted),
        timers=timers,
        inbox={name: Received(draw(keys), draw(texts), draw(values)) for name in draw(some)},
        links=tuple("l" * 12 for _ in range(draw(st.integers(0, 99)))),
        compensation=draw(st.none() | st.builds(Compensation, st.just("failed"), some.map(tuple))),
    )


@settings(max_examples=settings().max_examples // 4)  # each holds a dozen steps
@given(states())
def test_what_is_counted_is_at_least_what_a_snapshot_takes(state: State) -> None:
    """So that what stays within the bound can be written and read: there is nothing that counts towards none."""
    assert inflated(state) <= held(state) + 1_000


@given(known, keys)
def test_a_step_costs_what_it_adds(step_state: StepState, key: str) -> None:
    """At most ``added``: the bound is kept by what was said of each outcome."""
    state = State("key::value", 1, "Flow", 1, status="running")
    done = ev.StepCompleted(
        key, "done", step_state.taken, step_state.results, failed=step_state.failed, configs=step_state.configs
    )
    for event in (done, ev.StepFailed(key, 1, step_state.error or ev.Failure("a", "b", "c"))):
        after = sizes.held(apply(state, (event,), 1))
        assert after - held(state) <= sizes.added(event)


def test_a_commit_that_is_too_large_is_not_written() -> None:
    """Neither its entry nor a part of it."""
    store = MemoryStore(10**9)
    first = ev.Entry(1, "a", 1, (ev.InstanceStarted("Flow", 1), ev.Claimed("me", 9)))
    state = store.create(begin("key::value", 1, first, "1" * 19), first)
    assert state is not None
    data = freeze({"a": "x" * (MAX_INFLATED + 1)})
    entry = ev.Entry(2, "b", 2, (ev.StepCompleted("a", "done", (), data),))
    with pytest.raises(PayloadTooLarge):
        store.commit(following(state, "b", 2, entry.events)[0], entry)
    assert store.tail(state) is None
    first = ev.Entry(1, "c", 1, (ev.InstanceStarted("Flow", 1, data),))
    with pytest.raises(PayloadTooLarge):
        store.create(begin("key::b", 1, first, "2" * 19), first)
    assert store.load("key::b") is None
