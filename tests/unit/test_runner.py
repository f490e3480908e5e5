"""The runner's contract, on memory and virtual time (DESIGN: the runner contract)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hephaestus import (
    DONE,
    AlreadyRunning,
    AmbiguousEvent,
    InstanceClosed,
    InstanceNotFound,
    InvalidInput,
    UnexpectedEvent,
    UnknownStep,
    UnknownVersion,
    UnknownWorkflow,
    Workflow,
    step,
)
from hephaestus.adapters.memory import MemoryQueue, MemoryTimers
from hephaestus.errors import BadRequest, PayloadTooLarge
from hephaestus.runtime.dispatch import Budget, InPlace
from hephaestus.runtime.ports import Timeout
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.testing import LocalRuntime
from tests.unit.flows import Early, Order, Routed, TwoWaits, fork, join

ITEMS = {"items": [1, 2, 3]}


@pytest.fixture
def local() -> LocalRuntime:
    """A runtime that knows the shared workflows."""
    return LocalRuntime(Order, TwoWaits, Early, Routed)


def test_an_order_runs_fans_out_joins_waits_and_ends(local: LocalRuntime) -> None:
    """The whole path: steps, fan-out, fan-in, a wait, an event, the end."""
    waiting = local.start(Order, "a1", ITEMS)
    assert waiting.id == "orderid::a1"
    assert waiting.status == "waiting"
    assert waiting.accepts == {"approval": ("approved", "rejected", "timeout")}
    assert waiting.tags == ("sales",)
    assert waiting.metadata == {"team": "shop", "checked": True}
    assert waiting.steps["approval"].deadline is not None

    ended = local.resume("orderid::a1", "approved", {"by": "ann"})
    assert ended.status == "completed"
    assert ended.steps["approval"].results == {"by": "ann"}
    assert ended.steps["refund"].status == "skipped"
    assert ended.steps["ship"].event == "done"
    assert local.timers.next_due() is None, "the deadline's schedule is removed when the wait ends early"


def test_the_deadline_fires_once_and_not_before_its_time(local: LocalRuntime) -> None:
    """Invariant 6: the schedule delivers the timeout at its time."""
    local.start(Order, "a1", ITEMS)
    local.advance(timedelta(hours=47, minutes=59))
    assert local.runner.get("orderid::a1").status == "waiting"
    local.advance(timedelta(minutes=2))
    ended = local.runner.get("orderid::a1")
    assert (ended.status, ended.steps["approval"].event) == ("completed", "timeout")
    assert ended.steps["refund"].status == "completed"


def test_a_lost_schedule_costs_one_sweep(local: LocalRuntime) -> None:
    """Invariant 6: if the scheduler never calls, the sweep after the deadline does."""
    local.start(Order, "a1", ITEMS)
    local.timers.pop_due(local.clock.now() + 10**10)
    local.advance(timedelta(hours=48))
    assert local.runner.get("orderid::a1").status == "waiting"
    assert local.sweep().found == 1
    assert local.runner.get("orderid::a1").status == "completed"
    assert local.sweep().found == 0


def test_a_stale_timeout_does_nothing(local: LocalRuntime) -> None:
    """A timeout that fires after its step moved on changes nothing, not even the log."""
    local.start(Order, "a1", ITEMS)
    [timeout] = local.timers.pop_due(local.clock.now() + 10**10)
    local.resume("orderid::a1", "rejected")
    before = local.runner.history("orderid::a1")
    local.advance(timedelta(hours=49))
    local.fire(timeout)
    assert local.runner.history("orderid::a1") == before


def test_invariant_5_an_early_event_is_kept_and_consumed_once(local: LocalRuntime) -> None:
    """An event that comes before its step waits is there when the step does."""
    local.start(Early, "e")
    local.runner.resume("early::e", "yes", {"n": 1})
    local.settle()
    assert local.runner.get("early::e").status == "waiting"
    assert local.sweep().found == 0, "a kept event is no reason to wake"
    local.advance(timedelta(seconds=61))
    ended = local.runner.get("early::e")
    assert (ended.status, ended.steps["later"].results) == ("completed", {"n": 1})
    assert ended.steps["join"].results == {"events": {"pause": "done", "later": "yes"}}


def test_invariant_5_the_same_event_id_twice_is_one_event(local: LocalRuntime) -> None:
    """The second call answers as the first did, also after the instance has ended."""
    local.start(Order, "a1", ITEMS)
    local.resume("orderid::a1", "approved", event_id="e-1")
    length = len(local.runner.history("orderid::a1"))
    local.resume("orderid::a1", "approved", event_id="e-1")
    assert len(local.runner.history("orderid::a1")) == length
    with pytest.raises(InstanceClosed, match="orderid::a1 is completed"):
        local.resume("orderid::a1", "approved", event_id="e-2")


def test_two_waits_do_not_disturb_each_other(local: LocalRuntime) -> None:
    """Each wait has its own deadline; an event that both declare must name its step."""
    local.start(TwoWaits, "t")
    with pytest.raises(AmbiguousEvent, match="first, second") as ambiguous:
        local.runner.resume("two::t", "go")
    assert ambiguous.value.steps == ("first", "second")
    half = local.resume("two::t", "go", step="second")
    assert half.steps["second"].event == "go"
    assert half.steps["first"].status == "waiting"
    assert "join" not in half.steps
    local.advance(timedelta(hours=1, seconds=1))
    ended = local.runner.get("two::t")
    assert ended.status == "completed"
    assert ended.steps["join"].results["events"] == {"fork": "done", "first": "timeout", "second": "go"}


def test_an_unexpected_event_is_refused_with_those_that_would_be_accepted(local: LocalRuntime) -> None:
    """The refusal names what would be taken, and changes nothing."""
    local.start(Order, "a1", ITEMS)
    before = local.runner.history("orderid::a1")
    with pytest.raises(UnexpectedEvent, match="approved, rejected, timeout") as refused:
        local.runner.resume("orderid::a1", "paid")
    assert refused.value.accepted == {"approval": ("approved", "rejected", "timeout")}
    assert local.runner.history("orderid::a1") == before


def test_a_business_key_has_one_active_instance_and_may_be_used_again(local: LocalRuntime) -> None:
    """A finished id may be started again: a new generation, the old history kept."""
    local.start(Order, "a1", ITEMS)
    with pytest.raises(AlreadyRunning, match=r"a1 is active: wait for it to end, cancel it, or use another id$"):
        local.start(Order, "a1", ITEMS)
    local.resume("orderid::a1", "approved")
    again = local.start(Order, "a1", {"items": []})
    assert (again.generation, again.status) == (2, "completed")
    assert local.runner.history("orderid::a1", generation=1).items[0].events[0]["type"] == "InstanceStarted"
    assert len(local.runner.history("orderid::a1", generation=1)) > 2
    assert local.runner.history("orderid::a1", generation=2).items[0].sequence == 1


def test_the_same_start_twice_is_one_start(local: LocalRuntime) -> None:
    """``start_id`` makes a start idempotent, also when the instance has ended meanwhile."""
    for _ in range(2):
        assert local.runner.start_instance(Order, {"items": []}, id="a1", start_id="s-1") == "orderid::a1"
        local.settle()
    assert local.runner.get("orderid::a1").generation == 1
    assert local.runner.start_instance(Order, {"items": []}, id="a1", start_id="s-2") == "orderid::a1"
    local.settle()
    assert local.runner.get("orderid::a1").generation == 2


def test_schedule_resume_returns_the_schedules_name_and_delivers_the_timeout(local: LocalRuntime) -> None:
    """It makes a schedule, whatever the step's own deadline is."""
    local.start(Order, "a1", ITEMS)
    name = local.runner.schedule_resume("orderid::a1", "approval", 5_000)
    assert name
    assert name in local.timers.names()
    local.advance(timedelta(seconds=4))
    assert local.runner.get("orderid::a1").status == "waiting"
    local.advance(timedelta(seconds=2))
    assert local.runner.get("orderid::a1").steps["approval"].event == "timeout"
    assert not local.timers.names(), "the step's own schedule is removed"


def test_schedule_resume_for_a_step_that_does_not_wait_yet(local: LocalRuntime) -> None:
    """A time-out that comes early is kept until the step waits, and does not wake the instance in vain."""
    local.start(TwoWaits, "t")
    local.start(Early, "e")
    name = local.runner.schedule_resume("early::e", "later", 1_000)
    assert name
    local.advance(timedelta(seconds=30))
    assert local.runner.get("early::e").status == "waiting"
    local.advance(timedelta(seconds=31))
    ended = local.runner.get("early::e")
    assert (ended.status, ended.steps["later"].event) == ("completed", "timeout")


@pytest.mark.parametrize("delay", [0, -1, 1.5, True, "5", 10 * 365 * 24 * 3600 * 1000])
def test_schedule_resume_refuses_delays_out_of_bounds(local: LocalRuntime, delay: Any) -> None:
    """Zero, negative, a float, a string, ten years."""
    local.start(Order, "a1", ITEMS)
    with pytest.raises(ValueError, match="delay_ms"):
        local.runner.schedule_resume("orderid::a1", "approval", delay)


def test_schedule_resume_refuses_what_is_not_there(local: LocalRuntime) -> None:
    """Unknown instance, unknown step, ended step, ended instance."""
    with pytest.raises(InstanceNotFound):
        local.runner.schedule_resume("orderid::nobody", "approval", 1)
    local.start(Order, "a1", ITEMS)
    with pytest.raises(UnknownStep, match="validate"):
        local.runner.schedule_resume("orderid::a1", "nowhere", 1)
    with pytest.raises(UnexpectedEvent, match="validate is completed"):
        local.runner.schedule_resume("orderid::a1", "validate", 1)
    local.resume("orderid::a1", "approved")
    with pytest.raises(InstanceClosed):
        local.runner.schedule_resume("orderid::a1", "approval", 1)


def test_cancel_ends_a_waiting_instance_and_removes_its_schedule(local: LocalRuntime) -> None:
    """Invariant 8: after that, nothing changes it."""
    local.start(Order, "a1", ITEMS)
    local.runner.cancel("orderid::a1", "changed my mind", request_id="c-1")
    ended = local.runner.get("orderid::a1")
    assert (ended.status, ended.cancel_requested) == ("cancelled", "changed my mind")
    assert not local.timers.names()
    local.runner.cancel("orderid::a1", "changed my mind", request_id="c-1")
    with pytest.raises(InstanceClosed):
        local.runner.cancel("orderid::a1")
    with pytest.raises(InstanceClosed):
        local.runner.resume("orderid::a1", "approved")
    local.runner.wake("orderid::a1", budget=local.budget())
    assert local.runner.get("orderid::a1") == ended


def test_cancel_of_a_running_instance_lets_its_step_end() -> None:
    """What runs ends and is recorded; nothing new starts."""

    @step
    def slow(ctx: Any) -> dict[str, int]:
        kit.runner.cancel(ctx.instance_id, "stop")
        return {"n": 1}

    class Slow(Workflow, key="slow"):
        start_at = slow
        transitions = {slow: {"done": join}, join: {"done": DONE}}

    kit = LocalRuntime(Slow)
    ended = kit.start(Slow, "s")
    assert ended.status == "cancelled"
    assert ended.steps["slow"].results == {"n": 1}
    assert "join" not in ended.steps


def test_an_event_that_comes_while_a_step_runs_is_met_at_the_next_commit() -> None:
    """No wake-up is lost: the owner about to suspend loses the slot, reloads and goes on."""

    @step
    def slow(ctx: Any) -> str:
        kit.runner.resume(ctx.instance_id, "yes", {"n": 2})
        return "done"

    from tests.unit.flows import later

    class Racy(Workflow, key="racy"):
        start_at = slow
        transitions = {slow: {"done": later}, later: {"yes": join}, join: {"done": DONE}}

    kit = LocalRuntime(Racy)
    ended = kit.start(Racy, "r")
    assert (ended.status, ended.steps["later"].results) == ("completed", {"n": 2})
    numbers = [entry.sequence for entry in kit.runner.history("racy::r")]
    assert numbers == list(range(1, len(numbers) + 1)), "invariant 1: the log has no gap"


def test_in_place_dispatch_runs_in_the_same_call(local: LocalRuntime) -> None:
    """A direct call needs no queue."""
    going = InPlace(Budget(local.clock.now() + 60_000))
    local.runner.start_instance(Order, ITEMS, id="a1", dispatch=going)
    assert local.runner.get("orderid::a1").status == "waiting"
    local.runner.resume("orderid::a1", "approved", dispatch=going)
    assert local.runner.get("orderid::a1").status == "completed"
    assert local.queue.pop_due(local.clock.now() + 10**9) == []


def test_a_message_that_is_lost_costs_one_sweep(local: LocalRuntime) -> None:
    """Invariant 5: an acknowledged start is not lost with its message."""
    local.runner.start_instance(Order, ITEMS, id="a1")
    local.queue.pop_due(local.clock.now())
    assert local.runner.get("orderid::a1").status == "pending"
    assert local.sweep().sent == 1
    assert local.runner.get("orderid::a1").status == "waiting"


def test_an_owner_that_died_is_replaced_when_its_lease_ends(local: LocalRuntime) -> None:
    """Invariant 3: a crash costs the lease, never the instance; events meanwhile are kept."""
    from hephaestus.engine.events import Claimed, Entry, InstanceStarted
    from hephaestus.engine.fold import begin
    from hephaestus.values import freeze

    now = local.clock.now()
    first = Entry(1, "c", now, (InstanceStarted("Order", 1, freeze(ITEMS)), Claimed("gone", now + 1_000)))
    local.store.create(begin("orderid::x", 1, first), first)
    local.runner.resume("orderid::x", "approved")
    local.settle()
    assert local.runner.get("orderid::x").status == "running"
    assert local.sweep().found == 0
    local.advance(timedelta(seconds=2))
    assert local.sweep().found == 1
    ended = local.runner.get("orderid::x")
    assert (ended.status, ended.steps["approval"].event) == ("completed", "approved")


def test_history_and_lists_come_in_pages(local: LocalRuntime) -> None:
    """Cursors lead through everything once."""
    for number in range(5):
        local.start(Order, f"a{number}", ITEMS)
        local.clock.sleep(1_000)
    local.resume("orderid::a0", "approved")
    first = local.runner.list(workflow="Order", status="waiting", limit=3)
    rest = local.runner.list(workflow="Order", status="waiting", limit=3, cursor=first.cursor)
    assert [item.id for item in (*first, *rest)] == [f"orderid::a{number}" for number in (4, 3, 2, 1)]
    assert rest.cursor is None
    assert [item.id for item in local.runner.list(status="completed")] == ["orderid::a0"]
    assert len(local.runner.list()) == 5
    assert len(local.runner.list(tag="sales")) == 5
    assert len(local.runner.list(tag="other")) == 0
    since = datetime.fromtimestamp(local.clock.now() / 1000 - 2.5, UTC)
    assert [item.id for item in local.runner.list(since=since)] == ["orderid::a4", "orderid::a3"]
    page = local.runner.history("orderid::a0", limit=2)
    assert len(page) == 2
    assert page.cursor is not None
    following = local.runner.history("orderid::a0", limit=2, cursor=page.cursor)
    assert following.items[0].sequence == 3
    for odd in ("٢", "²", "-1", "", 2):
        with pytest.raises(BadRequest, match="not one that a history page gave"):
            local.runner.history("orderid::a0", cursor=odd)  # type: ignore[arg-type]  # a mistake


def test_history_shows_no_time_that_does_not_apply(local: LocalRuntime) -> None:
    """No timeout of 0 ms, and no end that is null."""
    local.start(Order, "a", ITEMS)
    events = [event for entry in local.runner.history("orderid::a") for event in entry.events]
    assert not [event for event in events if None in event.values() or event.get("timeout_ms") == 0]
    assert not [event for event in events if 0 in (event.get("heartbeat_ms"), event.get("heartbeat_at"))]


def test_instances_are_counted_by_workflow_and_status(local: LocalRuntime) -> None:
    """Every deployed workflow and every status has its number, up to where counting ends."""
    for number in range(4):
        local.start(Order, f"a{number}", ITEMS)
    local.resume("orderid::a0", "approved")
    counts = local.runner.counts()
    assert set(counts) == set(local.runner.registry.names())
    assert {status: number for status, number in counts["Order"].items() if number} == {"waiting": 3, "completed": 1}
    assert not any(number for name, statuses in counts.items() if name != "Order" for number in statuses.values())
    assert local.runner.counts(workflow="Order", most=2)["Order"]["waiting"] == 2
    with pytest.raises(UnknownWorkflow):
        local.runner.counts(workflow="Nobody")
    for most in (0, 1_001):
        with pytest.raises(BadRequest, match="must be a whole number from 1 to 1000"):
            local.runner.counts(most=most)


def test_a_list_of_everything_shows_workflows_that_are_not_deployed_any_more(local: LocalRuntime) -> None:
    """Nothing is left out, with a status or without."""
    local.start(Order, "a", ITEMS)
    without = Runner(local.store, MemoryTimers(), MemoryQueue(local.clock), Registry([TwoWaits]), clock=local.clock)
    assert [item.id for item in without.list()] == ["orderid::a"]
    assert [item.id for item in without.list(status="waiting")] == ["orderid::a"]
    knowing_none = Runner(local.store, MemoryTimers(), MemoryQueue(local.clock), Registry(), clock=local.clock)
    assert [item.id for item in knowing_none.list(status="waiting")] == ["orderid::a"]


def test_a_version_that_is_no_longer_deployed_parks_the_instance(local: LocalRuntime) -> None:
    """Nothing is lost: when the version is back, the instance goes on."""
    local.start(Early, "e")
    known = local.runner.registry
    local.runner.registry = Registry([Order])
    local.advance(timedelta(seconds=61))
    parked = local.runner.get("early::e")
    assert parked.status == "waiting"
    assert parked.parked is not None
    assert "Early" in parked.parked
    with pytest.raises(UnknownWorkflow):
        local.runner.resume("early::e", "yes")
    local.runner.registry = known
    local.runner.resume("early::e", "yes")
    local.advance(timedelta(minutes=11))
    local.sweep()
    ended = local.runner.get("early::e")
    assert (ended.status, ended.parked) == ("completed", None)


def test_bad_starts_are_refused(local: LocalRuntime) -> None:
    """Unknown workflow or version, a context that is no mapping or cannot be stored, ids and tags out of bounds."""
    start = local.runner.start_instance
    with pytest.raises(UnknownWorkflow, match="Order"):
        start("Nothing", {}, id="1")
    with pytest.raises(UnknownVersion, match="deployed are 1"):
        start(Order, {}, id="1", version=9)
    with pytest.raises(InvalidInput, match="must be a mapping"):
        start(Order, [1], id="1")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InvalidInput, match="nan"):
        start(Order, {"x": float("nan")}, id="1")
    with pytest.raises(PayloadTooLarge, match="compressed"):
        start(Order, {"x": __import__("os").urandom(80_000)}, id="1")
    for bad in ("", "a b", "ü", "x" * 129, "x" * 10_000, "a::b", 5, None):
        with pytest.raises(BadRequest, match="orderid"):
            start(Order, {}, id=bad)  # type: ignore[arg-type]  # wrong on purpose
    for tags in ("abc", ["x" * 65], [""], [5], [str(n) for n in range(30)]):
        with pytest.raises(BadRequest):
            start(Order, {}, id="1", tags=tags)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(BadRequest):
        start(Order, {}, id="1", telemetry_metadata=[1])  # type: ignore[arg-type]  # wrong on purpose
    assert len(local.runner.list()) == 0


def test_bad_events_are_refused(local: LocalRuntime) -> None:
    """Malformed ids, events, payloads; the instance stays as it was."""
    local.start(Order, "a1", ITEMS)
    before = local.runner.get("orderid::a1")
    resume = local.runner.resume
    with pytest.raises(InstanceNotFound, match="no instance orderid::nobody"):
        resume("orderid::nobody", "approved")
    for bad in ("", "orderid", "x" * 10_000, "a::b::c::d", "orderid::a b", None):
        with pytest.raises(BadRequest):
            resume(bad, "approved")  # type: ignore[arg-type]  # wrong on purpose
    for event in ("", 5, None, "x" * 200, "a\nb"):
        with pytest.raises(BadRequest):
            resume("orderid::a1", event)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InvalidInput, match="object"):
        resume("orderid::a1", "approved", object())
    with pytest.raises(PayloadTooLarge):
        resume("orderid::a1", "approved", __import__("os").urandom(80_000))
    with pytest.raises(UnknownStep):
        resume("orderid::a1", "approved", step="nowhere")
    assert local.runner.get("orderid::a1") == before
    assert local.resume("orderid::a1", "approved").status == "completed"


def test_a_choice_routes_on_the_data(local: LocalRuntime) -> None:
    """The targets that were not picked are skipped, those that were are joined."""
    one = local.start(Routed, "one", {"ways": ["left"]})
    assert (one.status, one.steps["right"].status) == ("completed", "skipped")
    both = local.start(Routed, "both", {"ways": ["left", "right"]})
    assert both.steps["join"].results["events"] == {"look": "done", "left": "done", "right": "done"}


def test_timeouts_of_other_instances_are_not_ours(local: LocalRuntime) -> None:
    """A timeout for an instance that does not exist is dropped."""
    local.runner.timeout(Timeout("orderid::none", "e64892557ff01234567", "approval", "t", 0), budget=local.budget())
    assert len(local.runner.list()) == 0


def test_the_facade_uses_the_default_runner(local: LocalRuntime) -> None:
    """Workflow classes carry start, resume, get, list, history and cancel."""
    from hephaestus import use

    use(local.runner)
    try:
        assert Order.start("f1", ITEMS) == "orderid::f1"
        local.settle()
        assert Order.get("f1").status == "waiting"
        Order.resume("f1", "approved")
        local.settle()
        assert [item.id for item in Order.list(status="completed")] == ["orderid::f1"]
        assert Order.history("orderid::f1").items[0].sequence == 1
        Order.start("f2", ITEMS)
        Order.cancel("f2", "no")
        assert Order.get("f2").status == "cancelled"
    finally:
        use(None)


def test_fork_is_not_run_twice(local: LocalRuntime) -> None:
    """Resuming one wait never runs another step again."""
    local.start(TwoWaits, "t")
    local.resume("two::t", "go", step="first")
    local.resume("two::t", "go", step="second")
    kinds = [event for entry in local.runner.history("two::t") for event in entry.events]
    completed = [event["step"] for event in kinds if event["type"] == "StepCompleted"]
    assert sorted(completed) == ["first", fork.key, "join", "second"]


def test_no_two_commits_have_one_name(local: LocalRuntime) -> None:
    """Whoever makes them: a start, its owner, requests, and the owners after those."""
    started = local.start(Order, "a1", ITEMS)
    local.resume(started.id, "approved")
    generation, log = local.runner.instances.history(started.id, None, 0, 100)
    assert generation == 1
    assert len({entry.commit_id for entry in log}) == len(log) > 5
