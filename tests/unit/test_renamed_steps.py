"""A version that is deployed again without a step that an instance needs: it waits for that step, and loses nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from hephaestus import DONE, Retry, StepContext, UnknownVersion, Workflow, step
from hephaestus.engine import events as ev
from hephaestus.engine.advance import missing
from hephaestus.engine.fold import apply, begin
from hephaestus.engine.graph import Graph
from hephaestus.runtime.registry import Registry
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime

NOW = 1_000


def deployed(
    *, wait: str, undo: str | None = "undo", fails: str | None = None, retry: Retry | None = None
) -> type[Any]:
    """One workflow, by the names that its steps have in this deployment."""

    def undoing(ctx: StepContext) -> None:
        raise OSError

    patient = Retry(max_attempts=9, delay=3600, jitter="none", max_delay=3600)

    @step(key="pay", compensate=undoing if undo else None, compensate_retry=patient if undo else None)
    def pay(ctx: StepContext) -> str:
        return "done"

    @step(key=fails or "ship", retry=retry or Retry(max_attempts=1))
    def ship(ctx: StepContext) -> str:
        if fails:
            raise ValueError(fails)
        return "done"

    gate = WaitForEvent("go", name=wait, timeout=timedelta(hours=1))

    class Parcel(Workflow, key="parcel"):
        start_at = pay
        transitions = {pay: {"done": gate}, gate: {"go": ship, "timeout": ship}, ship: {"done": DONE}}

    return Parcel


def redeploy(local: LocalRuntime, flow: type[Any]) -> None:
    """Other code for the same instances."""
    local.runner.registry = Registry([flow])


def test_an_instance_that_waits_at_a_renamed_step_is_parked_and_goes_on_when_it_is_back() -> None:
    """Whatever wakes it; before, its steps counted as skipped, and it had completed."""
    local = LocalRuntime(before := deployed(wait="approval"))
    local.start(before, "1", {})
    redeploy(local, deployed(wait="sign_off"))
    local.advance(timedelta(hours=2))
    parked = local.runner.get("parcel::1")
    assert (parked.status, parked.steps["approval"].status) == ("waiting", "waiting")
    assert "deployed without 'approval'" in (parked.parked or "")
    redeploy(local, before)
    local.runner.redrive("parcel::1")
    local.settle()
    assert local.runner.get("parcel::1").status == "completed"


def test_a_failed_instance_is_not_redriven_without_the_step_that_failed() -> None:
    """Else "deploy the fix, redrive" would turn a failure into a success."""
    local = LocalRuntime(flow := deployed(wait="approval", fails="send", undo=None))
    local.start(flow, "1", {})
    local.runner.resume("parcel::1", "go")
    local.settle()
    assert local.runner.get("parcel::1").status == "failed"
    redeploy(local, deployed(wait="approval", undo=None))
    with pytest.raises(UnknownVersion, match="parcel::1: version 1 of workflow Parcel is deployed without 'send'"):
        local.runner.redrive("parcel::1")
    assert local.runner.get("parcel::1").status == "failed"


def test_a_compensation_that_was_removed_is_waited_for() -> None:
    """It is neither taken for done nor an error that leaves the engine."""
    local = LocalRuntime(flow := deployed(wait="approval", fails="send"))
    local.start(flow, "1", {})
    local.runner.resume("parcel::1", "go")
    local.settle()
    assert local.runner.get("parcel::1").status == "compensating"
    redeploy(local, deployed(wait="approval", fails="send", undo=None))
    local.advance(timedelta(hours=2))
    parked = local.runner.get("parcel::1")
    assert (parked.status, parked.steps["pay"].status) == ("compensating", "completed")
    assert "deployed without 'pay'" in (parked.parked or "")


def test_an_instance_whose_step_is_gone_can_be_cancelled() -> None:
    local = LocalRuntime(flow := deployed(wait="approval"))
    local.start(flow, "1", {})
    redeploy(local, deployed(wait="sign_off"))
    local.runner.cancel("parcel::1", "gone")
    local.settle()
    assert local.runner.get("parcel::1").status == "cancelled"


def test_what_a_renamed_step_waits_for_is_rejected_with_the_reason() -> None:
    """Not as an event that no step takes: the deployment is what is wrong, and nothing is changed."""
    local = LocalRuntime(flow := deployed(wait="approval"))
    local.start(flow, "1", {})
    redeploy(local, deployed(wait="sign_off", undo=None))
    before = local.store.load("parcel::1")
    for ask in (
        lambda: local.runner.resume("parcel::1", "go", step="approval"),
        lambda: local.runner.resume("parcel::1", "come"),
        lambda: local.runner.schedule_resume("parcel::1", "approval", 1_000),
        lambda: local.runner.heartbeat("parcel::1", "approval"),
    ):
        with pytest.raises(UnknownVersion, match="is deployed without 'approval', which the instance needs"):
            ask()
    assert local.store.load("parcel::1") == before


def test_what_is_missing_is_what_the_instance_is_at_or_goes_to() -> None:
    graph = Graph("a", {"a": {"done": ("b",)}, "b": {"done": ()}})
    first = ev.Entry(1, "c", NOW, (ev.InstanceStarted("Flow", 1), ev.Claimed("o", NOW)))
    state = begin("order::1", 1, first)
    assert missing(graph, state) == ()
    onward = apply(state, [ev.StepCompleted("a", "done", ("c",))], NOW)
    assert missing(graph, onward) == ("c",)
    tried = apply(state, [ev.StepFailed("x", 1, ev.Failure("Boom", ""), NOW, NOW + 1)], NOW)
    assert missing(graph, tried) == ("x",)
    past = apply(state, [ev.StepsSkipped(("x",)), ev.StepCompleted("y", "done", ("b",))], NOW)
    assert missing(graph, past) == (), "what is over needs no step any more"
    assert missing(graph, replace(tried, cancel=ev.CancelRequested())) == ()
