"""Effects of commits when the services behind them fail."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hephaestus import DONE, StepContext, Workflow, step
from hephaestus.engine.effects import TAIL
from hephaestus.errors import EngineError, HephaestusError, StoreUnavailable
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from hephaestus.runtime.ports import Timeout

WAITS = [WaitForEvent("go", name=f"wait_{number}", timeout=timedelta(hours=2)) for number in range(3)]


@step
def begin(ctx: StepContext) -> str:
    """Do nothing."""
    return "done"


@step
def end(ctx: StepContext) -> str:
    """Do nothing more."""
    return "done"


class ThreeWaits(Workflow, key="three"):
    """Three deadlines at once."""

    start_at = begin
    transitions = {begin: {"done": WAITS}, **{wait: {"go": end, "timeout": end} for wait in WAITS}, end: {"done": DONE}}


@pytest.mark.parametrize(("error", "asked"), [(StoreUnavailable("silent"), 1), (EngineError("refused"), 3)])
def test_schedules_that_cannot_be_made_are_left_to_the_sweep(
    error: HephaestusError, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent Scheduler is asked once a commit; the deadlines are met all the same."""
    local = LocalRuntime(ThreeWaits)
    calls: list[Timeout] = []

    def fail(timeout: Timeout) -> str:
        calls.append(timeout)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(local.timers, "schedule", fail)
        local.start(ThreeWaits, "a")
    assert len(calls) == asked
    assert local.timers.names() == []
    local.advance(timedelta(hours=2, minutes=1))
    local.sweep()
    ended = local.runner.get("three::a")
    assert [ended.steps[wait.key].event for wait in WAITS] == ["timeout"] * 3
    assert ended.status == "completed"


@pytest.mark.parametrize(("error", "asked"), [(StoreUnavailable("silent"), 1), (EngineError("refused"), 3)])
def test_a_scheduler_that_is_silent_is_asked_once_a_commit(
    error: HephaestusError, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of the invocation is the commit's; the queue has all of the schedules removed later."""
    local = LocalRuntime(ThreeWaits)
    local.start(ThreeWaits, "a")
    assert len(local.timers.names()) == 3
    calls: list[Timeout] = []

    def fail(timeout: Timeout) -> None:
        calls.append(timeout)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(local.timers, "cancel", fail)
        local.runner.cancel("three::a", "enough")
    assert len(calls) == asked
    assert local.runner.get("three::a").status == "cancelled"
    assert len(local.timers.names()) == 3
    local.settle()
    assert local.timers.names() == []


def test_the_head_lags_by_a_bounded_number_of_entries_while_the_queue_is_late() -> None:
    """So that a read costs the same however many requests come before the instance goes on."""
    local = LocalRuntime(ThreeWaits)
    local.start(ThreeWaits, "a")
    local.runner.pause("three::a")
    for number in range(3 * TAIL):
        local.runner.unpause("three::a", request_id=f"{number}")
        state = local.store.load("three::a")
        assert state is not None
        assert state.sequence - state.kept.settled < TAIL
