"""A fork to another version goes the way that the steps it takes over went, or it is rejected; its times are theirs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus import DONE, Choice, StepContext, Workflow, step
from hephaestus.errors import BadRequest
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime


@step
def a(ctx: StepContext) -> dict[str, Any]:
    """Begin."""
    return {"n": 1}


@step
def b(ctx: StepContext) -> dict[str, Any]:
    """Come last."""
    return {}


@step
def c(ctx: StepContext) -> dict[str, Any]:
    """Come between."""
    return {}


w = WaitForEvent("go", "stop", name="w")
WAIT = {"go": b, "stop": DONE}
OLD: dict[Any, Any] = {a: {"done": w}, w: WAIT, b: {"done": DONE}}


def versions(old: dict[Any, Any], new: dict[Any, Any], start: Any = a, new_start: Any = None) -> LocalRuntime:
    """A runtime that knows two versions of a workflow."""
    first = type("First", (Workflow,), {"start_at": start, "transitions": old}, key="id", version=1)
    second = type("Second", (Workflow,), {"start_at": new_start or start, "transitions": new}, key="id", version=2)
    return LocalRuntime(type("Moved", (Workflow,), {}, versions={1: first, 2: second}))


END = {"done": DONE}
MOVED = [
    (OLD, {a: {"done": c}, c: {"done": w}, w: WAIT, b: END}, r"a: done led to w, and leads to c there"),
    (OLD, {a: {"done": [c, w]}, c: {"done": b}, w: WAIT, b: END}, r"a: done led to w, and leads to c, w there"),
    ({a: {"done": [c, w]}, c: {"done": b}, w: WAIT, b: END}, OLD, r"version 2 of Moved has no c:"),
    (
        OLD,
        {a: {"done": Choice(lambda _: b, targets=[c, b])}, c: {"done": w}, w: WAIT, b: END},
        r"a: done led to w, and leads to a choice of c, b there",
    ),
    (
        {a: {"done": Choice(lambda _: w, targets=[c, w])}, c: {"done": DONE}, w: WAIT, b: END},
        {a: {"done": [c, w]}, c: {"done": b}, w: WAIT, b: END},
        r"a: done led to w, and leads to c, w there",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), MOVED)
def test_a_fork_to_a_version_that_goes_another_way_is_rejected_with_the_step(old: Any, new: Any, message: str) -> None:
    """It would complete without ever running what is new on that way. From before, it is forked."""
    local = versions(old, new)
    local.start("Moved", "x", version=1)
    with pytest.raises(BadRequest, match=message):
        local.runner.fork("id::x", new_id="y", version=2)
    fork = local.runner.fork("id::x", 1, new_id="y", version=2)
    local.settle()
    shown = local.runner.get(fork)
    assert (shown.version, shown.steps["a"].status, shown.error) == (2, "completed", None)


def test_a_version_that_begins_with_a_step_that_was_skipped_is_rejected() -> None:
    """Its fork would be over at once."""
    old = {a: {"done": Choice(lambda _: w, targets=[c, w])}, c: {"done": DONE}, w: WAIT, b: END}
    local = versions(old, {c: {"done": w}, w: WAIT, b: END}, new_start=c)
    local.start("Moved", "x", version=1)
    with pytest.raises(BadRequest, match="c was skipped, and begins it there"):
        local.runner.fork("id::x", new_id="y", version=2)


def test_a_version_that_differs_only_in_what_is_to_come_takes_the_fork() -> None:
    """And a ``Choice`` that may go the old way is such a version."""
    new = {a: {"done": Choice(lambda _: w, targets=[c, w])}, w: {"go": c, "stop": DONE}, c: {"done": b}, b: END}
    local = versions(OLD, new)
    local.start("Moved", "x", version=1)
    fork = local.runner.fork("id::x", new_id="y", version=2)
    local.settle()
    ended = local.resume(fork, "go")
    assert (ended.status, ended.version, ended.steps["c"].status, ended.steps["b"].status) == (
        "completed",
        2,
        "completed",
        "completed",
    )


def named(name: str) -> Any:
    """A step of that name."""

    def nothing(ctx: StepContext) -> dict[str, Any]:
        return {}

    nothing.__name__ = name
    return step(nothing)


STEPS = [named(f"s{number}") for number in range(5)]
GATE = WaitForEvent("go", name="gate")


@st.composite
def layered(draw: st.DrawFn) -> dict[Any, Any]:
    """A workflow whose steps each lead to the next and to some of the later ones; the last one leads to the gate."""
    used = [STEPS[0], *(each for each in STEPS[1:] if draw(st.booleans()))]
    transitions: dict[Any, Any] = {used[-1]: {"done": GATE}, GATE: {"go": DONE}}
    for place, each in enumerate(used[:-1]):
        later = used[place + 1 :]
        transitions[each] = {"done": [later[0], *(other for other in later[1:] if draw(st.booleans()))]}
    return transitions


@given(old=layered(), new=layered())
def test_a_fork_runs_every_step_of_its_version_or_is_rejected(old: dict[Any, Any], new: dict[Any, Any]) -> None:
    """Nothing here is skipped by a choice or an event: so none is left out."""
    local = versions(old, new, start=STEPS[0])
    local.start("Moved", "x", version=1)
    try:
        fork = local.runner.fork("id::x", new_id="y", version=2)
    except BadRequest as error:
        assert "version 2 of" in str(error)  # noqa: PT017 - the other outcome is as good
        return
    local.settle()
    ended = local.resume(fork, "go")
    assert {key for key, about in ended.steps.items() if about.status == "completed"} == {each.key for each in new}


@pytest.mark.parametrize("depth", [1, 2])
def test_steps_that_a_fork_takes_over_ended_when_they_ended(depth: int) -> None:
    """Hours later, and in a fork of a fork: a step that waited two seconds waited two seconds."""
    local = versions(OLD, OLD)
    local.start("Moved", "x", version=1)
    local.advance(timedelta(seconds=2))
    old = local.resume("id::x", "go")
    fork = old.id
    for number in range(depth):
        local.advance(timedelta(hours=5))
        fork = local.runner.fork(fork, new_id=f"y{number}")
        local.settle()
    shown = local.runner.get(fork)
    waited = shown.steps["w"]
    assert waited.started_at is not None
    assert waited.ended_at is not None
    assert waited.ended_at - waited.started_at == timedelta(seconds=2)
    assert {key: (each.started_at, each.ended_at) for key, each in shown.steps.items()} == {
        key: (each.started_at, each.ended_at) for key, each in old.steps.items()
    }
