"""A graph that is deployed changed under the same version: no instance goes on in it where that makes a difference."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hephaestus import DONE, UnknownVersion, Workflow, step
from hephaestus.engine import events as ev
from hephaestus.engine.advance import changed
from hephaestus.engine.fold import apply, begin
from hephaestus.engine.graph import MOST_MARKS, WHOLE, Graph
from hephaestus.runtime.registry import Registry
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime

gate = WaitForEvent("go", name="gate", timeout=timedelta(hours=1))
fail = ValueError


@step
def check(ctx: Any) -> str:
    return "done"


@step
def ship(ctx: Any) -> str:
    return "done"


@step
def mail(ctx: Any) -> str:
    return "done"


def flow(edges: dict[Any, Any]) -> type[Workflow]:
    members = {"start_at": check, "transitions": edges}
    made: type[Workflow] = type("Parcel", (Workflow,), members, key="parcel")
    return made


BEFORE = {check: {"done": gate}, gate: {"go": ship, "timeout": ship}, ship: {"done": DONE}}
AT_THE_GATE = {check: {"done": gate}, gate: {"go": mail, "timeout": ship}, mail: {"done": ship}, ship: {"done": DONE}}
BEHIND_IT = {**BEFORE, ship: {"done": mail}, mail: {"done": DONE}}
BEFORE_IT = {check: {"done": mail}, mail: {"done": gate}, gate: BEFORE[gate], ship: BEFORE[ship]}


def redeployed(edges: dict[Any, Any]) -> LocalRuntime:
    """An instance that waits at the gate of ``BEFORE``, and other code."""
    local = LocalRuntime(before := flow(BEFORE))
    local.start(before, "1", {})
    local.runner.registry = Registry([flow(edges)])
    return local


@pytest.mark.parametrize(("edges", "named"), [(AT_THE_GATE, "'gate'"), (BEHIND_IT, "'ship'")])
def test_a_change_of_what_waits_or_is_to_come_parks_the_instance(edges: dict[Any, Any], named: str) -> None:
    local = redeployed(edges)
    local.advance(timedelta(hours=2))
    shown = local.runner.get("parcel::1")
    assert shown.status == "waiting"
    assert "another graph than the instance was started with, at" in (shown.parked or "")
    assert named in (shown.parked or "")
    assert "needs a version of its own" in (shown.parked or "")
    local.runner.registry = Registry([flow(BEFORE)])
    local.runner.redrive("parcel::1")
    local.settle()
    assert local.runner.get("parcel::1").status == "completed"


def test_an_instance_that_is_past_the_change_goes_on() -> None:
    local = redeployed(BEFORE_IT)
    local.advance(timedelta(hours=2))
    shown = local.runner.get("parcel::1")
    assert (shown.status, shown.steps["mail"].status) == ("completed", "skipped")


def test_an_instance_of_a_changed_graph_can_be_cancelled_and_new_ones_start() -> None:
    local = redeployed(BEHIND_IT)
    local.runner.cancel("parcel::1", "changed")
    local.settle()
    assert local.runner.get("parcel::1").status == "cancelled"
    new = local.runner.registry.get("Parcel")
    local.start(new, "2", {})
    local.advance(timedelta(hours=2))
    assert local.runner.get("parcel::2").status == "completed"


def test_a_failed_instance_is_not_redriven_into_a_changed_graph() -> None:
    @step(key="ship")
    def sinks(ctx: Any) -> str:
        raise fail

    local = LocalRuntime(before := flow({check: {"done": sinks}, sinks: {"done": DONE}}))
    local.start(before, "1", {})
    local.advance(timedelta(hours=1))
    assert local.runner.get("parcel::1").status == "failed"
    local.runner.registry = Registry([flow({check: {"done": ship}, ship: {"done": mail}, mail: {"done": DONE}})])
    with pytest.raises(UnknownVersion, match="another graph than the instance was started with, at 'mail', 'ship'"):
        local.runner.redrive("parcel::1")


def test_a_step_that_is_due_and_not_led_to_any_more_is_a_change() -> None:
    """It would count as ruled out: what led to it is over, and its other edges die."""
    edges: dict[str, dict[str, tuple[str, ...]]] = {
        "s": {"e": ("p", "q")},
        "p": {"e": ("x",)},
        "q": {"e": ("x",), "f": ()},
        "x": {"e": ()},
    }
    old, new = Graph("s", edges), Graph("s", edges | {"p": {"e": ()}})
    started = ev.InstanceStarted("Flow", 1, graph=old.fingerprint)
    state = begin("order::1", 1, ev.Entry(1, "c", 1, (started, ev.Claimed("o", 9))))
    done = [ev.StepCompleted("s", "e", ("p", "q")), ev.StepCompleted("p", "e", ("x",)), ev.StepCompleted("q", "f", ())]
    assert changed(new, apply(state, done[:1], 2)) == ("p",)
    assert changed(new, apply(state, done, 2)) == ("x",)
    assert changed(old, apply(state, done, 2)) == ()
    assert changed(new, apply(state, [*done, ev.StepCompleted("x", "e", ())], 2)) == (), "what is over may change"
    assert changed(new, apply(state, [*done, ev.CancelRequested()], 2)) == ()


def chain(length: int, last: str = "end") -> Graph:
    names = [f"s{number}" for number in range(length)]
    edges = {name: {"done": (after,)} for name, after in zip(names, [*names[1:], last], strict=True)}
    return Graph("s0", {**edges, last: {"done": ()}})


def test_a_large_graph_has_one_mark_for_all_of_it() -> None:
    """Any change of it is a change of every step: the fingerprint stays small."""
    small, large = chain(MOST_MARKS - 1), chain(MOST_MARKS)
    assert large.fingerprint.startswith(WHOLE)
    assert len(large.fingerprint) == 9
    assert small.changed(chain(MOST_MARKS - 1, "stop").fingerprint, small.order) == [f"s{MOST_MARKS - 2}", "end"]
    assert large.changed(chain(MOST_MARKS, "stop").fingerprint, large.order) == [*large.order]
    assert large.changed(chain(MOST_MARKS).fingerprint, large.order) == []
