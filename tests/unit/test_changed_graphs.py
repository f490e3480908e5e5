"""A graph that is deployed changed under the same version: no instance goes on in it where that makes a difference."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hephaestus import DONE, FAIL, Choice, UnknownVersion, Workflow, step
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
    longest = MOST_MARKS - 2  # beside the last step and the mark of how instances end
    small, large = chain(longest), chain(longest + 1)
    assert large.fingerprint.startswith(WHOLE)
    assert len(large.fingerprint) == 9
    assert small.changed(chain(longest, "stop").fingerprint, small.order) == [f"s{longest - 1}", "end"]
    assert large.changed(chain(longest + 1, "stop").fingerprint, large.order) == [*large.order]
    assert large.changed(chain(longest + 1).fingerprint, large.order) == []


CHARGE = step(key="charge")(lambda ctx: "done")
UNDOABLE = step(key="charge", compensate=lambda ctx: None)(lambda ctx: "done")
OTHER: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a compensation less": ({"start_at": UNDOABLE}, {"start_at": CHARGE}, "'charge'"),
    "a compensation more": ({"start_at": CHARGE}, {"start_at": UNDOABLE}, "'charge'"),
    "FAIL for DONE": ({"end": DONE}, {"end": FAIL("no")}, "'gate'"),
    "DONE for FAIL": ({"end": FAIL}, {"end": DONE}, "'gate'"),
    "a Choice that may fail": (
        {"end": Choice(lambda ctx: DONE, [DONE])},
        {"end": Choice(lambda ctx: DONE, [DONE, FAIL])},
        "'gate'",
    ),
    "an on_failure more": ({}, {"on_failure": mail}, "'on_failure or output'"),
    "an on_failure less": ({"on_failure": mail}, {}, "'on_failure or output'"),
    "another output": ({"output": gate}, {}, "'on_failure or output'"),
}


def ending(end: Any = DONE, start_at: Any = CHARGE, **body: Any) -> type[Workflow]:
    """One step, the gate, and an end."""
    edges = {start_at: {"done": gate}, gate: {"go": end, "timeout": DONE}}
    members = {"start_at": start_at, "transitions": edges, **body}
    made: type[Workflow] = type("Parcel", (Workflow,), members, key="parcel")
    return made


@pytest.mark.parametrize("change", OTHER)
def test_what_is_undone_and_how_it_ends_are_part_of_the_graph(change: str) -> None:
    before, after, named = OTHER[change]
    local = LocalRuntime(old := ending(**before))
    local.start(old, "1", {})
    local.runner.registry = Registry([ending(**after)])
    local.resume("parcel::1", "go")
    shown = local.runner.get("parcel::1")
    assert (shown.status, named in (shown.parked or "")) == ("waiting", True), shown.parked
    local.runner.registry = Registry([ending(**before)])
    local.runner.redrive("parcel::1")
    local.settle()
    assert local.runner.get("parcel::1").status in {"completed", "failed"}


def test_the_reason_of_an_end_and_code_may_change() -> None:
    local = LocalRuntime(old := ending(FAIL("no")))
    local.start(old, "1", {})
    local.runner.registry = Registry([ending(FAIL("not now"))])
    local.resume("parcel::1", "go")
    assert local.runner.get("parcel::1").steps["gate"].fail == "not now"


@pytest.mark.parametrize(("compensate", "status"), [(True, "waiting"), (False, "cancelled")])
def test_a_cancellation_needs_what_it_undoes(compensate: bool, status: str) -> None:
    local = LocalRuntime(old := ending(start_at=UNDOABLE))
    local.start(old, "1", {})
    local.runner.registry = Registry([ending(start_at=CHARGE)])
    local.runner.cancel("parcel::1", compensate=compensate)
    local.settle()
    assert local.runner.get("parcel::1").status == status
