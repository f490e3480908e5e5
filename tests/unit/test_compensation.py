"""Compensation: what an instance did is undone, last first, each step with its own retries."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Completed, NonRetryable, Retry, Step, StepContext, Workflow, step
from hephaestus.errors import EngineSignal, InstanceClosed, NotRedrivable
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus import Instance
    from hephaestus.definition.views import InstanceView

QUICK = Retry(max_attempts=3, delay=timedelta(seconds=2), jitter="none", backoff="constant")


class Shop:
    """Remembers what was done and undone, and fails as it is told."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.keys: dict[str, list[str]] = {}
        self.failing: dict[str, int] = {}

    def do(self, name: str, ctx: StepContext) -> dict[str, Any]:
        """Do, or fail."""
        self.calls.append(name)
        self.keys.setdefault(name, []).append(ctx.idempotency_key)
        if self.failing.get(name, 0) > 0:
            self.failing[name] -= 1
            message = f"{name} refused"
            raise ValueError(message)
        return {"id": f"{name}-{len(self.keys[name])}"}


def trip(shop: Shop, *, final: Callable[[StepContext], Any] | None = None) -> type[Workflow]:
    """Hotel and car side by side, then the flight, which may fail; all but the check can be undone."""

    @step
    def check(ctx: StepContext) -> str:
        shop.do("check", ctx)
        return "done"

    def made(name: str) -> Step:
        def undo(ctx: StepContext) -> dict[str, Any]:
            assert ctx.steps[name]["id"].startswith(name), "it sees what it is to undo"
            return shop.do(f"undo {name}", ctx)

        return step(key=name, compensate=undo, compensate_retry=QUICK)(lambda ctx: shop.do(name, ctx))

    hotel, car = made("hotel"), made("car")
    flight = step(key="flight", retry=Retry(max_attempts=1))(final or (lambda ctx: shop.do("flight", ctx)))

    class Trip(Workflow, key="trip"):
        start_at = check
        transitions = {
            check: {"done": hotel},
            hotel: {"done": car},
            car: {"done": flight},
            flight: {"done": DONE},
        }

    return Trip


def failed_trip(shop: Shop) -> tuple[LocalRuntime, InstanceView]:
    """A trip whose flight is refused once."""
    shop.failing["flight"] = 1
    flow = trip(shop)
    local = LocalRuntime(flow)
    local.start(flow, "t")
    local.advance(timedelta(minutes=5))
    return local, local.runner.get("trip::t")


def kinds(local: LocalRuntime, instance_id: str = "trip::t") -> list[str]:
    """What happened, as history names it."""
    return [event["type"] for entry in local.runner.history(instance_id) for event in entry.events]


def life(local: LocalRuntime) -> str:
    """The name of the trip's life."""
    state = local.store.load("trip::t")
    assert state is not None
    return state.life


def test_what_completed_is_undone_in_reverse_order_and_the_instance_fails() -> None:
    """With the story of the step that failed; what cannot be undone is left; history tells each of it."""
    shop = Shop()
    local, ended = failed_trip(shop)
    assert shop.calls == ["check", "hotel", "car", "flight", "undo car", "undo hotel"]
    assert ended.status == "failed"
    assert ended.error == {"type": "ValueError", "message": "step flight failed after 1 attempt(s): flight refused"}
    assert {key: shown.status for key, shown in ended.steps.items()} == {
        "check": "completed",
        "hotel": "compensated",
        "car": "compensated",
        "flight": "failed",
    }
    happened = kinds(local)
    assert happened.count("CompensationStarted") == 1
    assert happened.count("StepCompensated") == 2
    assert shop.keys["undo car"] == [f"trip::t:{life(local)}:car!undo"]


def test_a_compensation_is_tried_again_by_its_own_policy() -> None:
    """Its attempts are its own, and the next one waits for its success; meanwhile the instance is compensating."""
    shop = Shop()
    shop.failing |= {"flight": 1, "undo car": 2}
    flow = trip(shop)
    local = LocalRuntime(flow)
    assert local.start(flow, "t").status == "compensating"
    with pytest.raises(InstanceClosed, match="compensating"):
        local.runner.cancel("trip::t")
    local.advance(timedelta(minutes=5))
    assert shop.calls[-4:] == ["undo car", "undo car", "undo car", "undo hotel"]
    assert len(set(shop.keys["undo car"])) == 1
    assert local.runner.get("trip::t").status == "failed"


def test_a_compensation_that_fails_for_good_is_told_and_the_others_still_run() -> None:
    """The end says what failed first, which compensation failed, and what was undone; a redrive goes on with it."""
    shop = Shop()
    shop.failing["undo car"] = 4
    local, ended = failed_trip(shop)
    assert shop.calls[-4:] == ["undo car", "undo car", "undo car", "undo hotel"]
    assert ended.status == "failed"
    assert ended.error is not None
    assert ended.error["type"] == "CompensationFailed"
    for part in ("flight refused", "compensation of step car failed: undo car refused", "compensated: hotel"):
        assert part in ended.error["message"]
    assert ended.steps["car"].status == "compensation_failed"
    local.runner.redrive("trip::t")
    local.advance(timedelta(minutes=5))
    ended = local.runner.get("trip::t")
    assert (ended.status, ended.steps["car"].status) == ("failed", "compensated")
    assert ended.error is not None
    assert ended.error["message"] == "step flight failed after 1 attempt(s): flight refused"
    assert shop.calls.count("undo hotel") == 1


def test_a_redrive_after_compensation_runs_again_what_was_undone_under_new_keys() -> None:
    """And what followed from it; what was never undone stays done."""
    shop = Shop()
    local, _ = failed_trip(shop)
    local.runner.redrive("trip::t")
    local.settle()
    ended = local.runner.get("trip::t")
    assert ended.status == "completed"
    assert shop.calls[6:] == ["hotel", "car", "flight"]
    own = f"trip::t:{life(local)}"
    assert shop.keys["hotel"] == [f"{own}:hotel", f"{own}:hotel~1"]
    assert shop.keys["flight"] == [f"{own}:flight", f"{own}:flight~1"]
    assert shop.calls.count("check") == 1
    told = [event for entry in local.runner.history("trip::t") for event in entry.events]
    again = [(event["step"], event["epoch"]) for event in told if event["type"] == "StepCompleted" and "epoch" in event]
    assert again == [("hotel", 1), ("car", 1), ("flight", 1)]
    with pytest.raises(NotRedrivable, match="is completed"):
        local.runner.redrive("trip::t")


def test_an_instance_that_is_cancelled_with_compensation_undoes_what_it_did() -> None:
    """From a wait, by the queue; it ends as cancelled. Without being asked for, nothing is undone."""
    for compensate in (False, True):
        shop = Shop()
        flow = trip(shop, final=None)
        waiting = WaitForEvent("go", name="gate")

        class Gated(Workflow, key="gated"):
            start_at = flow.definition(1).steps["hotel"]
            transitions = {start_at: {"done": waiting}, waiting: {"go": DONE}}

        local = LocalRuntime(Gated)
        assert local.start(Gated, "g").status == "waiting"
        local.runner.cancel("gated::g", "no longer wanted", compensate=compensate)
        local.settle()
        ended = local.runner.get("gated::g")
        assert (ended.status, ended.cancel_requested) == ("cancelled", "no longer wanted")
        assert shop.calls == ["hotel"] + ["undo hotel"] * compensate


def test_a_cancellation_with_compensation_can_be_paused_before_and_while_it_undoes() -> None:
    """It undoes nothing while paused, and goes on when it is continued."""
    shop = Shop()
    flow = trip(shop, final=None)
    waiting = WaitForEvent("go", name="gate")

    class Gated(Workflow, key="gated"):
        start_at = flow.definition(1).steps["hotel"]
        transitions = {start_at: {"done": waiting}, waiting: {"go": DONE}}

    local = LocalRuntime(Gated)
    shop.failing["undo hotel"] = 1
    local.start(Gated, "g")
    local.runner.cancel("gated::g", compensate=True)
    local.runner.pause("gated::g")
    local.settle()
    assert shop.calls == ["hotel"], "before it began"
    local.runner.unpause("gated::g")
    local.settle()
    local.runner.pause("gated::g")
    local.advance(timedelta(minutes=5))
    assert (local.runner.get("gated::g").status, shop.calls) == ("compensating", ["hotel", "undo hotel"])
    local.runner.unpause("gated::g")
    local.settle()
    assert (local.runner.get("gated::g").status, shop.calls) == ("cancelled", ["hotel", "undo hotel", "undo hotel"])


def test_compensation_goes_on_after_a_crash_half_way() -> None:
    """Its owner dies in the middle of one: that attempt is spent, those before it are not repeated."""
    shop = Shop()

    class Dies(EngineSignal):
        pass

    fatal = [True]
    shop.failing["flight"] = 1
    flow = trip(shop)
    definition = flow.definition(1)
    hotel = definition.steps["hotel"]
    undo_hotel = hotel.compensation  # type: ignore[attr-defined]  # a function's step

    def dies_once(ctx: StepContext) -> Any:
        if fatal.pop() if fatal else False:
            raise Dies
        return undo_hotel(ctx)

    hotel.compensation = dies_once  # type: ignore[attr-defined]  # a function's step
    local = LocalRuntime(flow)
    with pytest.raises(Dies):
        local.start(flow, "t")
    shown = local.runner.get("trip::t")
    assert (shown.status, shown.steps["car"].status) == ("compensating", "compensated")
    local.advance(timedelta(minutes=16))
    local.sweep()
    local.advance(timedelta(minutes=1))
    ended = local.runner.get("trip::t")
    assert ended.status == "failed"
    assert shop.calls[-2:] == ["undo car", "undo hotel"]
    story = [
        event
        for entry in local.runner.history("trip::t")
        for event in entry.events
        if event["type"] == "CompensationFailed"
    ]
    assert [(event["step"], event["error"]["type"]) for event in story] == [("hotel", "Interrupted")]


def test_steps_of_a_class_are_compensated_too_and_may_be_coroutines() -> None:
    """``compensate`` beside ``execute``; its results are kept in history."""
    done: list[str] = []

    class Reserve(Step):
        retry = Retry(max_attempts=1)

        def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Any:
            done.append(config["what"])
            return {"what": config["what"]}

        async def compensate(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Any:
            done.append(f"no {config['what']} for {instance.id}")
            return Completed("done", {"freed": context.steps["reserve"]["what"]})

    @step
    def explode(ctx: StepContext) -> str:
        raise NonRetryable

    class Once(Workflow, key="once"):
        start_at = Reserve.configured(what="seat")
        transitions = {Reserve: {"done": explode}, explode: {"done": DONE}}

    local = LocalRuntime(Once)
    assert local.start(Once, "o").status == "failed"
    assert done == ["seat", "no seat for once::o"]
    undone = [event for entry in local.runner.history("once::o") for event in entry.events]
    assert {"freed": "seat"} in [event.get("results") for event in undone if event["type"] == "StepCompensated"]


def test_a_routed_error_compensates_nothing() -> None:
    """The workflow has an answer to it: it goes on."""
    shop = Shop()
    undo: list[str] = []
    first = step(key="first", compensate=lambda _ctx: undo.append("first"))(lambda ctx: shop.do("first", ctx))
    risky = step(key="risky", retry=Retry(max_attempts=1))(lambda ctx: shop.do("risky", ctx))
    fix = step(key="fix")(lambda ctx: {"seen": ctx.steps["risky"]["error"]["message"]})
    shop.failing["risky"] = 1

    class Handled(Workflow, key="handled"):
        start_at = first
        transitions = {first: {"done": risky}, risky: {"done": DONE, "error": fix}, fix: {"done": DONE}}

    local = LocalRuntime(Handled)
    ended = local.start(Handled, "h")
    assert (ended.status, ended.steps["fix"].results, undo) == ("completed", {"seen": "risky refused"}, [])


def test_a_wait_ends_with_a_compensated_instance_and_waits_on_after_a_redrive() -> None:
    """Its schedule is removed with the end; the redrive makes it again for the time that was left."""
    shop = Shop()
    gate = WaitForEvent("go", timeout=timedelta(hours=2), name="gate")
    first = step(key="first")(lambda ctx: "done")
    half_an_hour = timedelta(minutes=30)
    later = Retry(max_attempts=2, delay=half_an_hour, max_delay=half_an_hour, jitter="none")
    risky = step(key="risky", retry=later)(lambda ctx: shop.do("risky", ctx))
    shop.failing["risky"] = 2
    last = step(key="last")(lambda ctx: "done")

    class Both(Workflow, key="both"):
        start_at = first
        transitions = {
            first: {"done": [gate, risky]},
            gate: {"go": last, "timeout": last},
            risky: {"done": last},
            last: {"done": DONE},
        }

    local = LocalRuntime(Both)
    local.start(Both, "b")
    assert len(local.timers.names()) == 2
    local.advance(timedelta(minutes=31))
    assert local.runner.get("both::b").status == "failed"
    assert local.timers.names() == []
    local.advance(timedelta(hours=5))
    local.runner.redrive("both::b")
    local.settle()
    shown = local.runner.get("both::b")
    assert (shown.status, shown.steps["gate"].status, shown.steps["risky"].status) == (
        "waiting",
        "waiting",
        "completed",
    )
    assert len(local.timers.names()) == 1
    local.advance(timedelta(minutes=88))
    assert local.runner.get("both::b").status == "waiting"
    local.advance(timedelta(minutes=3))
    assert local.runner.get("both::b").steps["gate"].event == "timeout"
