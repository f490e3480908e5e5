"""The executor: concurrency, retries, time limits, hand-over, fencing, and steps that misbehave."""

from __future__ import annotations

import asyncio
import math
import re
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from hephaestus import DONE, Choice, Completed, NonRetryable, Pending, Retry, Step, StepContext, Workflow, step
from hephaestus.adapters.memory import MemoryStore
from hephaestus.engine.events import Claimed, Entry
from hephaestus.engine.fold import apply
from hephaestus.errors import PayloadTooLarge, StoreUnavailable
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.dispatch import Budget, InPlace
from hephaestus.runtime.limits import Limits
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.steps import Debug, Wait, WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.unit.flows import FAST, TwoWaits, fork, join

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hephaestus import Instance
    from hephaestus.definition.step import FunctionStep
    from hephaestus.definition.views import InstanceView
    from hephaestus.engine.state import State
    from hephaestus.runtime.attempt import Outcome
    from hephaestus.writes import Write


def one_step(function: Callable[[StepContext], Any], **options: Any) -> type[Workflow]:
    """A workflow of one step made of ``function``."""
    made = step(key="only", **options)(function)
    routes = dict.fromkeys(made.events, DONE)

    class Only(Workflow, key="only"):
        start_at = made
        transitions = {made: routes}

    return Only


def run_one(function: Callable[[StepContext], Any], **options: Any) -> InstanceView:
    """What becomes of an instance with one step made of ``function``."""
    flow = one_step(function, **options)
    local = LocalRuntime(flow)
    local.start(flow, "x")
    local.advance(timedelta(minutes=10))
    return local.runner.get("only::x")


def fan(count: int, work: Callable[[StepContext], Any]) -> type[Workflow]:
    """A fan-out of ``count`` steps into a join."""
    branches = [step(key=f"b{number}")(work) for number in range(count)]

    class Fan(Workflow, key="fan"):
        start_at = fork
        transitions = {fork: {"done": branches}, **{one: {"done": join} for one in branches}, join: {"done": DONE}}

    return Fan


def direct(flow: type[Workflow], limits: Limits | None = None) -> tuple[Runner, LocalRuntime]:
    """A runner on real time that runs in place, and the runtime whose store it uses."""
    local = LocalRuntime(flow)
    clock = SystemClock()
    runner = Runner(local.store, local.timers, local.queue, Registry([flow]), clock=clock, limits=limits)
    runner.dispatch = InPlace(Budget(clock.now() + 60_000))
    return runner, local


@pytest.mark.parametrize("kind", ["threads", "coroutines"])
def test_ready_steps_run_side_by_side(kind: str) -> None:
    """Ten steps that all wait for each other end: none waits for an unrelated one to finish."""
    barrier = threading.Barrier(10)
    arrived: list[int] = []
    everybody = asyncio.Event()

    def meet(_ctx: StepContext) -> str:
        barrier.wait(timeout=30)
        return "done"

    async def gather(_ctx: StepContext) -> str:
        arrived.append(1)
        if len(arrived) == 10:
            everybody.set()
        await asyncio.wait_for(everybody.wait(), timeout=30)
        return "done"

    flow = fan(10, meet if kind == "threads" else gather)
    runner, _ = direct(flow)
    runner.start_instance(flow, {}, id="x")
    assert runner.get("fan::x").status == "completed"


def test_a_step_starts_without_waiting_for_an_unrelated_one() -> None:
    """The short branch goes all the way to its second step while the long one still runs."""
    second_started = threading.Event()

    @step
    def long(_ctx: StepContext) -> dict[str, bool]:
        return {"second_started": second_started.wait(timeout=30)}

    @step
    def short(_ctx: StepContext) -> str:
        return "done"

    @step
    def second(_ctx: StepContext) -> str:
        second_started.set()
        return "done"

    class Uneven(Workflow, key="uneven"):
        start_at = fork
        transitions = {
            fork: {"done": [long, short]},
            short: {"done": second},
            second: {"done": join},
            long: {"done": join},
            join: {"done": DONE},
        }

    runner, _ = direct(Uneven)
    runner.start_instance(Uneven, {}, id="x")
    assert runner.get("uneven::x").steps["long"].results == {"second_started": True}


def test_concurrency_is_bounded() -> None:
    """Three steps at once where the limits say three: each waits for two others, and a fourth would be seen."""
    running, most, lock, three = [0], [0], threading.Lock(), threading.Barrier(3)

    def work(_ctx: StepContext) -> str:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        three.wait(timeout=30)
        with lock:
            running[0] -= 1
        return "done"

    flow = fan(12, work)
    runner, _ = direct(flow, Limits(concurrency=3))
    runner.start_instance(flow, {}, id="x")
    assert runner.get("fan::x").status == "completed"
    assert most[0] == 3


def test_a_waiting_branch_is_resumed_while_another_step_runs() -> None:
    """The owner looks at the log while its steps run: an event for another branch does not wait for them."""
    resumed = threading.Event()
    ready = threading.Event()
    waits = WaitForEvent("go", name="waits")

    @step
    def long(_ctx: StepContext) -> dict[str, bool]:
        ready.set()
        return {"resumed": resumed.wait(timeout=30)}

    @step
    def after(_ctx: StepContext) -> str:
        resumed.set()
        return "done"

    class Both(Workflow, key="both"):
        start_at = fork
        transitions = {
            fork: {"done": [waits, long]},
            waits: {"go": after},
            after: {"done": join},
            long: {"done": join},
            join: {"done": DONE},
        }

    runner, _ = direct(Both, Limits(peek_ms=100))

    def event_from_outside() -> None:
        ready.wait(timeout=30)
        while runner.get("both::x").steps.get("waits") is None:
            time.sleep(0.01)
        runner.resume("both::x", "go")

    outside = threading.Thread(target=event_from_outside)
    outside.start()
    runner.start_instance(Both, {}, id="x")
    outside.join()
    ended = runner.get("both::x")
    assert (ended.status, ended.steps["long"].results) == ("completed", {"resumed": True})


def test_a_failing_step_is_tried_again_with_the_same_idempotency_key() -> None:
    """The policy's attempts, its delays, then success."""
    seen: list[tuple[int, str]] = []

    def flaky(ctx: StepContext) -> str:
        seen.append((ctx.attempt, ctx.idempotency_key))
        if ctx.attempt < 3:
            message = "not yet"
            raise ConnectionError(message)
        return "done"

    ended = run_one(flaky, retry=FAST)
    assert ended.status == "completed"
    assert [attempt for attempt, _ in seen] == [1, 2, 3]
    assert len({key for _, key in seen}) == 1
    assert re.fullmatch("only::x:[0-9a-f]{19}:only", seen[0][1])
    assert ended.steps["only"].attempt == 3


def test_retry_waits_as_long_as_the_policy_says() -> None:
    """A delay above a second suspends the instance; the queue's delay brings it back."""
    flow = one_step(lambda _ctx: 1 / 0, retry=FAST)
    local = LocalRuntime(flow)
    waiting = local.start(flow, "x")
    assert (waiting.status, waiting.steps["only"].status) == ("waiting", "retrying")
    assert local.queue.next_due() == local.clock.now() + 2_000
    local.advance(timedelta(seconds=1.9))
    assert local.runner.get("only::x").steps["only"].attempt == 1
    local.advance(timedelta(seconds=0.2))
    assert local.runner.get("only::x").steps["only"].attempt == 2


def test_a_short_retry_is_waited_for_in_place() -> None:
    """Below a second no message is sent; time passes here."""
    flow = one_step(
        lambda ctx: 1 / 0 if ctx.attempt == 1 else "done", retry=replace(FAST, delay=timedelta(seconds=0.5))
    )
    local = LocalRuntime(flow)
    before = local.clock.now()
    assert local.start(flow, "x").status == "completed"
    assert local.clock.now() - before == 500


def test_a_retry_after_hours_gets_a_schedule() -> None:
    """SQS delays at most 15 minutes; beyond that EventBridge Scheduler brings the instance back."""
    slow = Retry(
        max_attempts=2, backoff="constant", delay=timedelta(hours=2), max_delay=timedelta(hours=2), jitter="none"
    )
    flow = one_step(lambda ctx: 1 / 0 if ctx.attempt == 1 else "done", retry=slow)
    local = LocalRuntime(flow)
    local.start(flow, "x")
    assert local.queue.next_due() is None
    assert len(local.timers.names()) == 1
    local.advance(timedelta(hours=2, seconds=1))
    assert local.runner.get("only::x").status == "completed"


def test_exhausted_retries_fail_the_instance_with_the_story() -> None:
    """The error names the step, the attempts and the last message."""
    ended = run_one(lambda ctx: ctx.initial["nothing"], retry=FAST)
    assert ended.status == "failed"
    assert ended.error == {"type": "KeyError", "message": "step only failed after 3 attempt(s): 'nothing'"}


def test_non_retryable_and_retry_on_stop_early() -> None:
    """One attempt, whatever the policy would allow."""

    def stop(_ctx: StepContext) -> str:
        message = "never again"
        raise NonRetryable(message)

    assert run_one(stop, retry=FAST).steps["only"].attempt == 1
    assert run_one(lambda _ctx: 1 / 0, retry=replace(FAST, retry_on=(KeyError,))).steps["only"].attempt == 1


class Recording:
    """Workers that run an attempt at once, and remember how long they were to wait."""

    waits: ClassVar[list[int | None]] = []

    def __init__(self) -> None:
        self.ended: list[Outcome] = []

    def start(self, attempt: Callable[[], Outcome]) -> None:
        """Run it."""
        self.ended.append(attempt())

    def wait(self, timeout_ms: int | None) -> list[Outcome]:
        """One outcome at a time."""
        self.waits.append(timeout_ms)
        return [self.ended.pop(0)]


def test_whoever_waits_for_steps_that_are_tried_again_does_not_look_every_millisecond() -> None:
    """The times of their retries have passed: nothing is to be done before one of them ends."""

    @step
    def begin_(ctx: StepContext) -> str:
        return "done"

    def flaky(name: str) -> FunctionStep:
        def work(ctx: StepContext) -> str:
            if ctx.attempt == 1:
                raise ValueError(name)
            return "done"

        policy = Retry(delay=timedelta(milliseconds=100), jitter="none")
        return step(key=name, retry=policy)(work)

    left, right = flaky("left"), flaky("right")

    class Flaky(Workflow, key="flaky"):
        start_at = begin_
        transitions = {
            begin_: {"done": [left, right]},
            left: {"done": Debug},
            right: {"done": Debug},
            Debug: {"done": DONE},
        }

    Recording.waits.clear()
    local = LocalRuntime(Flaky)
    local.runner = Runner(
        local.store, local.timers, local.queue, local.runner.registry, clock=local.clock, workers=Recording
    )
    assert local.start(Flaky, "f").status == "completed"
    assert set(Recording.waits) == {None, 100}


def test_a_routed_error_goes_on_with_the_error_as_result() -> None:
    """``"error"`` in the transitions is taken instead of failing."""

    @step(retry=Retry(max_attempts=1))
    def breaks(_ctx: StepContext) -> str:
        message = "no stock"
        raise LookupError(message)

    @step
    def fix(ctx: StepContext) -> dict[str, Any]:
        return {"why": ctx.steps["breaks"]["error"]["message"]}

    class Mended(Workflow, key="fixed"):
        start_at = breaks
        transitions = {breaks: {"done": DONE, "error": fix}, fix: {"done": DONE}}

    ended = LocalRuntime(Mended).start(Mended, "x")
    assert (ended.status, ended.steps["fix"].results) == ("completed", {"why": "no stock"})


def test_other_branches_end_before_a_failed_instance_does() -> None:
    """What runs is recorded; nothing new starts."""

    def work(ctx: StepContext) -> str:
        if ctx.idempotency_key.endswith("b0"):
            raise NonRetryable
        time.sleep(0.05)
        return "done"

    flow = fan(3, work)
    ended = LocalRuntime(flow).start(flow, "x")
    assert ended.status == "failed"
    assert {ended.steps[key].status for key in ("b1", "b2")} == {"completed"}
    assert "join" not in ended.steps


def test_a_step_that_runs_too_long_is_a_failed_attempt_or_a_routed_timeout() -> None:
    """The thread may go on; what it returns later changes nothing."""
    release = threading.Event()

    def stuck(_ctx: StepContext) -> str:
        release.wait(timeout=30)
        return "done"

    flow = one_step(stuck, timeout=0.05, retry=Retry(max_attempts=2, delay=timedelta(0)))
    runner, _ = direct(flow)
    runner.start_instance(flow, {}, id="x")
    ended = runner.get("only::x")
    assert ended.status == "failed"
    assert ended.error is not None
    assert "after 2 attempt(s): step only ran longer than its timeout of 0.05 s" in ended.error["message"]

    @step(timeout=0.05)
    def slow(_ctx: StepContext) -> str:
        release.wait(timeout=30)
        return "done"

    class Timed(Workflow, key="timed"):
        start_at = slow
        transitions = {slow: {"done": DONE, "timeout": join}, join: {"done": DONE}}

    runner, _ = direct(Timed)
    runner.start_instance(Timed, {}, id="x")
    assert runner.get("timed::x").steps["slow"].event == "timeout"
    assert runner.get("timed::x").steps["join"].status == "completed"
    release.set()


def test_hand_over_before_time_runs_out() -> None:
    """A step is not started with too little time left; the queue goes on, and every step runs once."""
    runs: list[str] = []

    def work(key: str) -> Any:
        @step(key=key)
        def one(ctx: StepContext) -> str:
            runs.append(key)
            local.clock.sleep(6 * 60_000)
            return "done"

        return one

    steps = [work(f"s{number}") for number in range(6)]

    class Long(Workflow, key="long"):
        start_at = steps[0]
        transitions = {one: {"done": following} for one, following in zip(steps, [*steps[1:], DONE], strict=True)}

    local = LocalRuntime(Long)
    assert local.start(Long, "x").status == "completed"
    assert runs == [f"s{number}" for number in range(6)]
    kinds = [event["type"] for entry in local.runner.history("long::x") for event in entry.events]
    assert kinds.count("HandedOver") == 1, "three steps of six minutes fit a quarter of an hour, the last one just"
    assert kinds.count("Claimed") == 2


def test_a_step_that_fits_no_invocation_runs_in_a_fresh_one() -> None:
    """A timeout longer than any invocation must not hand the instance round for ever."""
    flow = one_step(lambda _ctx: "done", timeout=24 * 3600)
    assert LocalRuntime(flow).start(flow, "x").status == "completed"


def test_no_step_starts_after_start_until() -> None:
    """``Prefer: wait`` gives a slice of time; the rest is handed over."""
    flow = one_step(lambda _ctx: "done")
    local = LocalRuntime(flow)
    now = local.clock.now()
    local.runner.start_instance(flow, {}, id="x", dispatch=InPlace(Budget(now + 60_000, start_until=now)))
    assert local.runner.get("only::x").status == "running"
    local.settle()
    assert local.runner.get("only::x").status == "completed"


def test_invariant_2_a_fenced_owner_stops_and_records_nothing() -> None:
    """Another owner claims while a step runs: the step's result is dropped, and the new owner runs it."""
    runs: list[int] = []

    def work(ctx: StepContext) -> dict[str, int]:
        runs.append(1)
        if len(runs) == 1:
            state = local.store.load(ctx.instance_id)
            assert state is not None
            claim = Claimed("somebody-else", local.clock.now() + 1_000)
            after = replace(apply(state, [claim], local.clock.now()), sequence=state.sequence + 1)
            taken = Entry(after.sequence, "x", local.clock.now(), (claim,), claim.lease_until)
            assert local.store.commit(after, taken)
        return {"run": len(runs)}

    flow = one_step(work)
    local = LocalRuntime(flow)
    assert local.start(flow, "x").status == "running"
    local.clock.sleep(2_000)
    local.sweep()
    ended = local.runner.get("only::x")
    assert (ended.status, ended.steps["only"].results) == ("completed", {"run": 2})


class Over(MemoryStore):
    """A store that takes no more entries once a step runs, although no other writer has put one."""

    over = False
    found: Callable[[State], State | None]

    def commit(self, after: State, entry: Entry, writes: Sequence[Write] = ()) -> State | None:
        """Write, until it is over."""
        return None if self.over else super().commit(after, entry, writes)

    def load(self, instance_id: str) -> State | None:
        """What is there now."""
        state = super().load(instance_id)
        return self.found(state) if self.over and state else state


@pytest.mark.parametrize(
    "found", [lambda _: None, lambda state: replace(state, life="another")], ids=["deleted", "started again"]
)
def test_invariant_2_an_owner_whose_life_is_over_stops(found: Callable[[State], State | None]) -> None:
    """The log has no newer entry, as it is gone or another life's: the step's result is dropped."""
    runs: list[int] = []

    def work(_ctx: StepContext) -> str:
        runs.append(1)
        store.over = True
        return "done"

    store = Over()
    store.found = found
    flow = one_step(work)
    local = LocalRuntime(flow, store=store)
    local.runner.start_instance(flow, {}, id="x", dispatch=InPlace(Budget(local.clock.now() + 900_000)))
    store.over = False
    assert (local.runner.get("only::x").status, runs) == ("running", [1])


def test_an_owner_whose_log_is_contended_says_so_and_the_instance_goes_on() -> None:
    """Its number is refused, yet no other writer has it: not a reason to ask for ever."""

    def work(_ctx: StepContext) -> str:
        store.over = True
        return "done"

    store = Over()
    store.found = lambda state: state
    flow = one_step(work)
    local = LocalRuntime(flow, store=store)
    in_place = InPlace(Budget(local.clock.now() + 900_000))
    with pytest.raises(StoreUnavailable, match="its log is contended"):
        local.runner.start_instance(flow, {}, id="x", dispatch=in_place)


class Outage(MemoryStore):
    """A store that answers every third write only; some of the others happened all the same."""

    calls = 0

    def commit(self, after: State, entry: Entry, writes: Sequence[Write] = ()) -> State | None:
        """Write, or not, and say nothing of it."""
        self.calls += 1
        if self.calls % 3 == 1:
            raise StoreUnavailable
        written = super().commit(after, entry, writes)
        if self.calls % 3 == 2:
            raise StoreUnavailable
        return written


def test_invariant_2_an_outage_of_the_store_runs_no_step_twice() -> None:
    """Inside an execution a commit is asked for again, and one whose answer was lost is written once."""
    runs: list[str] = []

    def work(ctx: StepContext) -> str:
        runs.append(ctx.idempotency_key)
        return "done"

    flow = fan(5, work)
    store = Outage()
    local = LocalRuntime(flow, store=store)
    budget = InPlace(Budget(local.clock.now() + 900_000))
    local.runner.start_instance(flow, {}, id="x", dispatch=budget)
    ended = local.runner.get("fan::x")
    assert ended.status == "completed"
    assert len(runs) == 5
    numbers = [entry.sequence for entry in local.runner.history("fan::x")]
    assert numbers == list(range(1, len(numbers) + 1))


class Narrow(MemoryStore):
    """A store whose entries hold few events."""

    def commit(self, after: State, entry: Entry, writes: Sequence[Write] = ()) -> State | None:
        """Write what fits."""
        if len(entry.events) > 2:
            message = "too large"
            raise PayloadTooLarge(message)
        return super().commit(after, entry, writes)


def test_what_is_too_much_for_one_entry_becomes_several() -> None:
    """Large results that end together, and large events that came together, are written one after the other."""
    ready = threading.Barrier(6)

    def together(_ctx: StepContext) -> str:
        ready.wait(timeout=30)
        return "done"

    flow = fan(6, together)
    local = LocalRuntime(flow, TwoWaits, store=Narrow())
    assert local.start(flow, "x").status == "completed"
    local.start(TwoWaits, "t")
    for waits in ("first", "second"):
        local.runner.resume("two::t", "go", {"large": waits}, step=waits)
    local.settle()
    ended = local.runner.get("two::t")
    assert ended.status == "completed"
    assert {key: ended.steps[key].results for key in ("first", "second")} == {
        "first": {"large": "first"},
        "second": {"large": "second"},
    }


def test_an_outage_that_outlasts_the_invocation_is_reported() -> None:
    """The lease ends, and another invocation goes on."""
    flow = one_step(lambda _ctx: "done")
    local = LocalRuntime(flow)
    commit = local.store.commit
    local.store.commit = _unavailable  # type: ignore[method-assign]  # a store that fails
    with pytest.raises(StoreUnavailable):
        local.runner.start_instance(flow, {}, id="x", dispatch=InPlace(Budget(local.clock.now() + 20_000)))
    local.store.commit = commit  # type: ignore[method-assign]  # a store that fails
    local.clock.sleep(30_000)
    local.sweep()
    assert local.runner.get("only::x").status == "completed"


def _unavailable(*_args: object, **_options: object) -> State | None:
    raise StoreUnavailable


def recurse(ctx: StepContext) -> Any:
    """Recurse without end."""
    return recurse(ctx)


MISBEHAVING: Mapping[str, tuple[Callable[[StepContext], Any], str]] = {
    "nothing": (lambda _ctx: None, "returned nothing"),
    "undeclared": (lambda _ctx: "paid", "emitted 'paid', which it does not declare"),
    "object": (lambda _ctx: object(), "returned a object"),
    "not_json": (lambda _ctx: {"x": object()}, "results.x is a object"),
    "nan": (lambda _ctx: {"x": float("nan")}, "JSON has no such number"),
    "key": (lambda _ctx: {1: 2}, "keys must be strings"),
    "results": (lambda _ctx: Completed("done", [1]), "its results must be a mapping, not list"),  # type: ignore[arg-type]  # wrong on purpose
    "metadata": (lambda _ctx: Completed("done", {}, {"x": object()}), "metadata.x is a object"),
    "huge": (lambda _ctx: {"x": __import__("os").urandom(70_000)}, "at most 65536 are stored"),
    "unrouted_timeout": (lambda _ctx: Pending(timedelta(seconds=1)), "do not route 'timeout'"),
    "exit": (lambda _ctx: sys.exit(3), "3"),
    "recursion": (recurse, "recursion"),
    "naive": (lambda _ctx: Pending(datetime(2030, 1, 1), "done"), "without a time zone"),  # noqa: DTZ001 - naive on purpose
    "text": (lambda _ctx: Pending("1h", "done"), "its timeout is '1h': give seconds as a number, or a timedelta"),  # type: ignore[arg-type]  # wrong on purpose
    "endless": (lambda _ctx: Pending(math.nan, "done"), "its timeout is nan"),
    "negative": (lambda _ctx: Pending(-1, "done"), "its timeout is -1: give seconds"),
}


@pytest.mark.parametrize("name", MISBEHAVING)
def test_a_step_that_misbehaves_fails_its_instance_clearly_and_no_other(name: str) -> None:
    """The error says what was wrong; the step's neighbours and other instances are untouched."""
    function, message = MISBEHAVING[name]
    ended = run_one(function, retry=Retry(max_attempts=1))
    assert ended.status == "failed"
    assert ended.error is not None
    assert message in ended.error["message"]
    flow = fan(2, lambda ctx: function(ctx) if ctx.idempotency_key.endswith("b0") else "done")
    local = LocalRuntime(flow)
    local.start(flow, "x")
    local.advance(timedelta(minutes=10))
    both = local.runner.get("fan::x")
    assert (both.status, both.steps["b1"].status) == ("failed", "completed")


def test_a_result_that_is_no_result_is_not_tried_again() -> None:
    """Running it again would not help."""
    assert run_one(lambda _ctx: None).steps["only"].attempt == 1


def test_a_choice_outside_of_its_targets_fails_the_step() -> None:
    """The message names the step and what was picked."""

    class Wrong(Workflow, key="wrong"):
        start_at = fork
        transitions = {fork: {"done": Choice(lambda _ctx: "nowhere", targets=[join])}, join: {"done": DONE}}

    ended = LocalRuntime(Wrong).start(Wrong, "x")
    assert ended.error is not None
    assert "step fork: the Choice of 'done' picked 'nowhere'" in ended.error["message"]


def test_invariant_5_a_store_that_fails_before_a_choice_is_not_the_steps_failure() -> None:
    """Nobody's code runs before the claim is committed; if that fails, the caller is told, and nothing has happened."""

    class Refusing(MemoryStore):
        """Refuses as often as it is told."""

        refusals = 0

        def commit(self, after: State, entry: Entry, writes: Sequence[Write] = ()) -> State | None:
            """Refuse, or do it."""
            if self.refusals:
                self.refusals -= 1
                message = "throttled"
                raise StoreUnavailable(message)
            return super().commit(after, entry, writes)

    waits = WaitForEvent("go", name="waits")

    class Chosen(Workflow, key="chosen"):
        start_at = waits
        transitions = {waits: {"go": Choice(lambda _ctx: join, targets=[join])}, join: {"done": DONE}}

    store = Refusing()
    local = LocalRuntime(Chosen, store=store)
    local.start(Chosen, "x")
    local.runner.resume("chosen::x", "go")
    store.refusals = 1
    with pytest.raises(StoreUnavailable):
        local.settle()
    local.clock.sleep(60_000)
    local.sweep()
    assert local.runner.get("chosen::x").status == "completed"


def test_a_wait_behind_a_choice_that_breaks_fails_instead_of_looping() -> None:
    """A user's function that raises after an event ends the instance; the event is in its history."""
    waits = WaitForEvent("go", name="waits")

    class Broken(Workflow, key="broken"):
        start_at = waits
        transitions = {waits: {"go": Choice(lambda _ctx: 1 / 0, targets=[join])}, join: {"done": DONE}}

    local = LocalRuntime(Broken)
    local.start(Broken, "x")
    ended = local.resume("broken::x", "go")
    assert (ended.status, ended.error and ended.error["type"]) == ("failed", "ZeroDivisionError")


def test_any_step_may_wait_and_payloads_become_results() -> None:
    """``Pending()`` from a function; a payload that is no mapping stands under ``value``."""
    flow = one_step(lambda _ctx: Pending(), events=("paid", "declined"))
    local = LocalRuntime(flow)
    assert local.start(flow, "x").steps["only"].accepts == ("paid", "declined")
    assert local.resume("only::x", "paid", 5).steps["only"].results == {"value": 5}


def test_waits_of_every_length() -> None:
    """Below a second in place, up to 15 minutes by message, beyond by schedule, until a time by its clock."""
    for wait, by_message, by_schedule in (
        (Wait(0.5), 0, 0),
        (Wait(minutes=10), 1, 0),
        (Wait(days=3), 0, 1),
        (Wait(until=datetime(2026, 1, 1, 0, 5, tzinfo=UTC)), 1, 0),
        (Wait(until=datetime(2020, 1, 1, tzinfo=UTC)), 0, 0),
    ):

        class Waits(Workflow, key="waits"):
            start_at = wait
            transitions = {wait: {"done": DONE}}

        local = LocalRuntime(Waits)
        begun = local.start(Waits, "x")
        assert (local.queue.next_due() is not None, len(local.timers.names())) == (bool(by_message), by_schedule)
        assert begun.status == ("waiting" if by_message or by_schedule else "completed")
        local.advance(timedelta(days=3, seconds=1))
        assert local.runner.get("waits::x").status == "completed"


def test_context_config_and_class_steps(caplog: pytest.LogCaptureFixture) -> None:
    """Class steps get instance, config and context; start data cannot be changed; remaining time is known."""

    class Greet(Step):
        events = ("done",)

        async def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> dict[str, Any]:
            with pytest.raises(TypeError, match="immutable"):
                context.initial["x"] = 1  # type: ignore[index]  # wrong on purpose
            assert context.remaining_time() > timedelta(minutes=10)
            return {"text": f"{config['word']} {context.initial['name']} {instance.id} {context.attempt}"}

    class Greeting(Workflow, key="greeting"):
        start_at = fork
        transitions = {
            fork: {"done": Greet().configured(word="hello")},
            Greet: {"done": Debug("look")},
            Debug("look"): {"done": DONE},
        }

    local = LocalRuntime(Greeting)
    with caplog.at_level("DEBUG", logger="hephaestus.debug"):
        ended = local.start(Greeting, "x", {"name": "Ann"})
    assert ended.status == "completed"
    assert ended.steps["greet"].results == {"text": "hello Ann greeting::x 1"}
    assert "greeting::x look" in caplog.text
