"""What a redrive or a cancellation would do is told step by step, and is what it then does."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Completed, Retry, StepContext, Workflow, step
from hephaestus.cli.instance_view import redrive_lines
from hephaestus.console.embedded import LocalConnection
from hephaestus.definition.views import to_json_object, view
from hephaestus.handlers.http.describe import describe
from hephaestus.operations.catalog import read_workflow
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.unit.rendered import rendered

if TYPE_CHECKING:
    from hephaestus.definition.step import Step
    from hephaestus.definition.views import InstanceView

ONCE = Retry(max_attempts=1)


class World:
    """What steps are told to do, and what they did."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.ran: Counter[str] = Counter()
        self.undone: list[str] = []

    def step(self, name: str, *, compensate: bool) -> Step:
        """A step that fails while it is told so."""

        def act(ctx: StepContext) -> Completed:
            self.ran[name] += 1
            if name in self.failing:
                raise ValueError(name)
            return Completed("done")

        def undo(ctx: StepContext) -> None:
            if f"undo {name}" in self.failing:
                raise ValueError(name)
            self.undone.append(name)

        return step(key=name, retry=ONCE, compensate=undo if compensate else None)(act)


@pytest.fixture
def world() -> World:
    """Nothing fails."""
    return World()


def shop(world: World, *, compensate: bool = True) -> tuple[LocalRuntime, type[Workflow]]:
    """A charge, an approval and a stamp beside it, then shipping."""
    charge, stamp, ship = (
        world.step(name, compensate=compensate and name == "charge") for name in ("charge", "stamp", "ship")
    )
    approval = WaitForEvent("approved", name="approval")
    start = world.step("begin", compensate=False)
    members = {
        "start_at": start,
        "retry": ONCE,
        "transitions": {
            start: {"done": charge},
            charge: {"done": [approval, stamp]},
            approval: {"approved": ship},
            stamp: {"done": ship},
            ship: {"done": DONE},
        },
    }
    flow: type[Workflow] = type("Shop", (Workflow,), members, key="shop")
    return LocalRuntime(flow), flow


def failed(world: World, *, compensate: bool = True) -> LocalRuntime:
    """An order whose shipping failed after it had been approved."""
    world.failing.add("ship")
    local, flow = shop(world, compensate=compensate)
    local.start(flow, "1")
    local.resume("shop::1", "approved")
    assert local.runner.get("shop::1").status == "failed"
    return local


def test_what_was_undone_runs_again_and_an_approval_is_waited_for_again(world: World) -> None:
    """The case that was reported: it does not go on where it stopped."""
    local = failed(world)
    shown = local.runner.get("shop::1")
    assert shown.redrive == {
        "runs_again": ("charge", "stamp", "ship"),
        "waits_again": ("approval",),
        "kept": ("begin",),
    }
    said = rendered(*redrive_lines(to_json_object(shown)))
    assert "run again: charge, stamp, ship" in said
    assert "wait again, also for what came before: approval" in said
    assert "keep their results: begin" in said
    world.failing.clear()
    local.runner.redrive("shop::1")
    local.settle()
    assert local.runner.get("shop::1").steps["approval"].status == "waiting"
    local.resume("shop::1", "approved")
    assert world.ran == {"begin": 1, "charge": 2, "stamp": 2, "ship": 2}


def test_without_compensation_only_the_failed_step_runs_again(world: World) -> None:
    shown = failed(world, compensate=False).runner.get("shop::1")
    assert shown.redrive == {"runs_again": ("ship",), "kept": ("begin", "charge", "approval", "stamp")}


def test_what_waited_goes_on_waiting(world: World) -> None:
    world.failing.add("stamp")
    local, flow = shop(world, compensate=False)
    shown = local.start(flow, "1")
    assert shown.redrive == {"runs_again": ("stamp",), "waits_on": ("approval",), "kept": ("begin", "charge")}


def test_where_a_compensation_failed_it_is_the_undoing_that_goes_on(world: World) -> None:
    world.failing.add("undo charge")
    local = failed(world)
    shown = local.runner.get("shop::1")
    assert shown.redrive is not None
    assert shown.redrive["undoes"] == ("charge",)
    assert "runs_again" not in shown.redrive
    assert "undone in this order, then it ends: charge" in rendered(*redrive_lines(to_json_object(shown)))
    world.failing.clear()
    local.runner.redrive("shop::1")
    local.settle()
    assert (world.undone, world.ran["charge"]) == (["charge"], 1)


def test_a_cancellation_says_what_it_would_undo_in_its_order(world: World) -> None:
    """As long as it may still be cancelled."""
    local, flow = shop(world)
    shown = local.start(flow, "1")
    assert (shown.cancel_undoes, shown.redrive) == (("charge",), None)
    local.runner.cancel("shop::1", compensate=True)
    local.settle()
    shown = local.runner.get("shop::1")
    assert (shown.status, shown.cancel_undoes, world.undone) == ("cancelled", (), ["charge"])
    assert shown.redrive == {"runs_again": ("charge", "stamp"), "waits_again": ("approval",), "kept": ("begin",)}


def test_an_operator_who_has_only_the_graphs_is_told_the_same(world: World) -> None:
    """The command and the console know workflows as the deployed functions describe them."""
    local = failed(world)
    (workflow,) = local.runner.registry
    known = read_workflow(describe(workflow)).definitions[1]
    state = local.store.load("shop::1")
    assert state is not None
    assert view(state, known.graph) == local.runner.get("shop::1")
    assert LocalConnection(local.runner).get("shop::1")["redrive"]["waits_again"] == ["approval"]
    assert view(state, None).redrive is None


def _random(draw: Random, world: World) -> type[Workflow]:
    """Steps in layers, each of which leads to some of the next; the last layer is one step."""
    layers: list[list[Any]] = [[world.step("s0", compensate=draw.random() < 0.5)]]
    for depth in range(1, draw.randint(2, 4)):
        layer = []
        for number in range(draw.randint(1, 3)):
            name = f"s{depth}{number}"
            waits = draw.random() < 0.3
            layer.append(WaitForEvent("go", name=name) if waits else world.step(name, compensate=draw.random() < 0.5))
        layers.append(layer)
    layers.append([world.step("last", compensate=False)])
    transitions: dict[Any, Any] = {layers[-1][0]: {"done": DONE}}
    for layer, following in pairwise(layers):
        for member in layer:
            transitions[member] = {"go" if isinstance(member, WaitForEvent) else "done": list(following)}
    members = {"start_at": layers[0][0], "retry": ONCE, "transitions": transitions}
    if draw.random() < 0.5:
        members["on_failure"] = world.step("rescue", compensate=False)
    made: type[Workflow] = type("Layers", (Workflow,), members, key="layers")
    return made


def _answered(local: LocalRuntime, waited: Counter[str]) -> InstanceView:
    """Answer whatever waits until nothing does; of each step, how often it was answered."""
    shown = local.runner.get("layers::1")
    while shown.status == "waiting" and any(about.status == "waiting" for about in shown.steps.values()):
        key = next(key for key, about in shown.steps.items() if about.status == "waiting")
        waited[key] += 1
        shown = local.resume("layers::1", "go", step=key)
    return shown


@pytest.mark.parametrize("seed", range(60))
def test_a_redrive_does_what_its_plan_says(world: World, seed: int) -> None:
    """Of any graph, whichever step fails, or cancelled: nothing else runs twice, and nothing of it is left out."""
    draw = Random(seed)
    flow = _random(draw, world)
    names = list(flow.definition(1).graph.order)
    waits = flow.definition(1).graph.waits
    bad = draw.choice([name for name in names if name not in waits])
    world.failing |= {bad, *(f"undo {name}" for name in names if draw.random() < 0.1)}
    local, waited = LocalRuntime(flow), Counter[str]()
    shown = local.start(flow, "1")
    planned_undo: tuple[str, ...] = ()
    if draw.random() < 0.3 and shown.status == "waiting":
        planned_undo = tuple(shown.cancel_undoes)
        local.runner.cancel("layers::1", compensate=True)
        local.settle()
        shown = local.runner.get("layers::1")
        assert tuple(world.undone) == tuple(name for name in planned_undo if f"undo {name}" not in world.failing)
    else:
        shown = _answered(local, waited)
    assert shown.status in ("failed", "cancelled")
    plan = {name: set(steps) for name, steps in (shown.redrive or {}).items()}
    ran, answered = Counter(world.ran), Counter(waited)
    undone = len(world.undone)
    seen = {key for key, about in shown.steps.items() if about.status != "skipped"}
    world.failing.clear()
    local.runner.redrive("layers::1")
    local.settle()
    ended = _answered(local, waited)
    assert ended.status == (shown.status if "undoes" in plan else "completed")
    assert world.undone[undone:] == list((shown.redrive or {}).get("undoes", ()))
    local.advance(timedelta(seconds=1))
    assert {name for name in seen - waits if world.ran[name] > ran[name]} == plan.get("runs_again", set())
    again = plan.get("waits_again", set()) | plan.get("waits_on", set())
    assert {name for name in seen & waits if waited[name] > answered[name]} == again
    assert not plan.get("kept", set()) & {name for name in names if world.ran[name] > ran[name]}


def test_a_dry_run_of_a_child_names_the_root_that_is_redriven_in_its_place() -> None:
    """The redrive itself would be refused."""
    shown = {"id": "kid::1", "root": "top::1", "status": "failed", "redrive": {"runs_again": ["work"]}, "steps": {}}
    last = redrive_lines(shown)[-1].plain
    assert last.endswith("as long as that waits for it: hephaestus redrive top::1")
    assert "child" not in "".join(line.plain for line in redrive_lines({**shown, "root": None}))
