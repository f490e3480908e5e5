"""Pause, redrive, fork and heartbeats."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hephaestus import DONE, Retry, StepContext, UnexpectedEvent, Workflow, step
from hephaestus.errors import BadRequest, NotRedrivable
from hephaestus.steps import Wait, WaitForEvent
from hephaestus.testing import LocalRuntime

failing: list[str] = []


@step(retry=Retry(max_attempts=1))
def prepare(ctx: StepContext) -> dict[str, Any]:
    """Fail while told so."""
    if failing:
        raise ValueError(failing.pop())
    return {"from": dict(ctx.initial)}


@step
def finish(ctx: StepContext) -> dict[str, Any]:
    """Tell what was seen."""
    return {"saw": dict(ctx.steps["prepare"])}


gate = WaitForEvent("go", "stop", timeout=timedelta(hours=2), name="gate")


class Gated(Workflow, key="gated"):
    """A step, a wait with a deadline, a step."""

    start_at = prepare
    transitions = {
        prepare: {"done": gate},
        gate: {"go": finish, "stop": DONE, "timeout": DONE},
        finish: {"done": DONE},
    }


@pytest.fixture
def local() -> LocalRuntime:
    """A runtime with the workflow."""
    failing.clear()
    return LocalRuntime(Gated)


def test_a_paused_instance_keeps_events_and_takes_them_when_it_continues(local: LocalRuntime) -> None:
    """Nothing runs before; no sweep finds it."""
    local.start(Gated, "a")
    local.runner.pause("gated::a", "stocktaking")
    paused = local.resume("gated::a", "go", {"by": "ann"})
    assert (paused.status, paused.paused, paused.steps["gate"].status) == ("waiting", "stocktaking", "waiting")
    assert local.sweep().found == 0
    local.runner.unpause("gated::a")
    local.settle()
    ended = local.runner.get("gated::a")
    assert (ended.status, ended.steps["gate"].results) == ("completed", {"by": "ann"})


def test_a_deadline_that_passes_in_a_pause_is_met_when_it_continues(local: LocalRuntime) -> None:
    """Deadlines are real time."""
    local.start(Gated, "a")
    local.runner.pause("gated::a")
    local.advance(timedelta(hours=3))
    local.sweep()
    assert local.runner.get("gated::a").status == "waiting"
    local.runner.unpause("gated::a")
    local.settle()
    assert local.runner.get("gated::a").steps["gate"].event == "timeout"


def test_an_instance_that_has_not_begun_may_be_paused(local: LocalRuntime) -> None:
    """Its message finds nothing to do."""
    local.runner.start_instance(Gated, {}, id="a")
    local.runner.pause("gated::a")
    local.settle()
    assert local.runner.get("gated::a").steps == {}
    local.runner.unpause("gated::a")
    local.settle()
    assert local.runner.get("gated::a").steps["gate"].status == "waiting"


def test_invariants_5_and_8_an_early_event_survives_a_failure_and_its_redrive(local: LocalRuntime) -> None:
    """It was acknowledged; the closed instance stays as it is until it is redriven."""
    failing.append("not yet")
    local.runner.start_instance(Gated, {"n": 1}, id="a")
    local.runner.resume("gated::a", "go", {"by": "ann"}, event_id="e1")
    local.settle()
    failed = local.runner.get("gated::a")
    assert failed.status == "failed"
    local.advance(timedelta(days=1))
    local.sweep()
    assert local.runner.get("gated::a") == failed
    for _ in range(2):
        local.runner.redrive("gated::a", request_id="r1")
    local.settle()
    ended = local.runner.get("gated::a")
    assert (ended.status, ended.steps["gate"].results, ended.steps["prepare"].attempt) == (
        "completed",
        {"by": "ann"},
        1,
    )
    with pytest.raises(NotRedrivable, match="is completed"):
        local.runner.redrive("gated::a")


def test_a_fork_takes_over_what_was_decided_and_runs_the_rest(local: LocalRuntime) -> None:
    """With other data and results; the old instance is left as it is."""
    local.start(Gated, "a", {"n": 1})
    old = local.resume("gated::a", "stop")
    assert old.status == "completed"
    history = local.runner.history("gated::a").items
    at = next(entry.sequence for entry in history for event in entry.events if event["type"] == "StepWaiting")
    for _ in range(2):
        fork = local.runner.fork(
            "gated::a", at, new_id="b", context={"n": 2}, results={"prepare": {"from": "fork"}}, start_id="f1"
        )
    local.settle()
    assert fork == "gated::b"
    waiting = local.runner.get(fork)
    assert (waiting.status, waiting.context, waiting.forked_from) == ("waiting", {"n": 2}, f"gated::a#1#{at}")
    ended = local.resume(fork, "go")
    assert ended.steps["finish"].results == {"saw": {"from": "fork"}}
    assert local.runner.get("gated::a") == old
    wrong: list[dict[str, Any]] = [{"at": 99}, {"at": 0}, {"results": {"finish": {}}}, {"results": {"prepare": 7}}]
    for options in wrong:
        with pytest.raises(BadRequest):
            local.runner.fork("gated::a", new_id="c", **options)


def beating(timeout: timedelta, heartbeat: timedelta) -> type[Workflow]:
    """A workflow that waits for somebody who shows that they are at it."""
    work = WaitForEvent("done", timeout=timeout, heartbeat=heartbeat, name="work")

    class Beating(Workflow, key="beating"):
        start_at = work
        transitions = {work: {"done": DONE, "timeout": DONE}}

    return Beating


@pytest.mark.parametrize("beat", [timedelta(minutes=5), timedelta(minutes=40)])
def test_heartbeats_keep_a_wait_alive_and_a_missed_one_ends_it(beat: timedelta) -> None:
    """Short ones by the queue, long ones by a schedule, and either by the sweep if both fail."""
    flow = beating(timedelta(days=1), beat)
    local = LocalRuntime(flow)
    local.start(flow, "w")
    for _ in range(4):
        local.advance(beat * 0.8)
        local.runner.heartbeat("beating::w")
    assert local.runner.get("beating::w").status == "waiting"
    local.advance(beat * 0.9)
    assert local.runner.get("beating::w").status == "waiting"
    local.advance(beat * 0.2)
    ended = local.runner.get("beating::w")
    assert (ended.status, ended.steps["work"].event, ended.steps["work"].results) == (
        "completed",
        "timeout",
        {"missed": "heartbeat"},
    )
    assert local.timers.names() == []


def test_a_heartbeat_nobody_waits_for_is_refused() -> None:
    """It names what would be accepted."""
    pause = Wait(minutes=5)

    class Slow(Workflow, key="slow"):
        start_at = pause
        transitions = {pause: {"done": DONE}}

    local = LocalRuntime(Slow)
    local.start(Slow, "s")
    with pytest.raises(UnexpectedEvent, match="no step waits for a heartbeat"):
        local.runner.heartbeat("slow::s")


@pytest.mark.parametrize(
    ("requests", "status", "paused"),
    [
        (["pause k", "unpause k"], "waiting", False),
        (["pause p1", "unpause c1", "pause p1"], "waiting", False),
        (["pause p1", "pause p2", "unpause c1", "pause p2"], "waiting", False),
        (["unpause c1", "pause p1", "unpause c1"], "waiting", True),
        (["cancel k1", "redrive r1", "pause p1", "redrive r1"], "waiting", True),
        (["cancel k1", "redrive r1", "cancel k1"], "waiting", False),
        (["cancel k1", "redrive r1", "cancel k1", "cancel k2", "cancel k1"], "cancelled", False),
    ],
)
def test_invariant_5_a_request_made_again_later_is_still_one(
    local: LocalRuntime, requests: list[str], status: str, *, paused: bool
) -> None:
    """Whatever was asked for in between: a late repetition answers as the first did and changes nothing."""
    local.start(Gated, "a")
    for request in requests:
        action, name = request.split()
        getattr(local.runner, action)("gated::a", request_id=name)
        local.settle()
    shown = local.runner.get("gated::a")
    assert (shown.status, shown.paused is not None) == (status, paused)


def test_invariant_5_a_second_cancellation_under_way_is_remembered() -> None:
    """Its late repetition does not cancel what was redriven meanwhile."""

    @step
    def busy(ctx: StepContext) -> str:
        """Be cancelled twice while running."""
        if ctx.initial["cancels"]:
            runtime.runner.cancel("twice::a", "first", request_id="k1")
            runtime.runner.cancel("twice::a", "second", request_id="k2")
        return "done"

    class Twice(Workflow, key="twice"):
        start_at = busy
        transitions = {busy: {"done": gate}, gate: {"go": DONE, "stop": DONE, "timeout": DONE}}

    runtime = LocalRuntime(Twice)
    assert runtime.start(Twice, "a", {"cancels": True}).status == "cancelled"
    runtime.runner.redrive("twice::a")
    runtime.settle()
    runtime.runner.cancel("twice::a", "second", request_id="k2")
    runtime.settle()
    assert runtime.runner.get("twice::a").status == "waiting"


def test_a_heartbeat_does_not_put_off_an_event_that_came_before_it(local: LocalRuntime) -> None:
    """The event's message is lost; the sweep finds the instance all the same, however often the heart beats."""
    work = WaitForEvent("finished", heartbeat=timedelta(minutes=10), name="work")

    class Beating(Workflow, key="beating"):
        start_at = work
        transitions = {work: {"finished": DONE, "timeout": DONE}}

    local = LocalRuntime(Beating)
    local.start(Beating, "w")
    local.clock.sleep(11 * 60_000)
    local.runner.resume("beating::w", "finished")
    local.queue.pop_due(local.clock.now())
    local.runner.heartbeat("beating::w")
    local.clock.sleep(60_000)
    assert local.sweep().found == 1
    assert local.runner.get("beating::w").steps["work"].event == "finished"
