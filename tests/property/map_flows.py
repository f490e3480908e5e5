"""Workflows with maps whose items are workflows, each made of a number."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, Final

from hephaestus import DONE, Pending, Retry, Workflow, step
from hephaestus.simulation import Faults
from hephaestus.steps import ChildWorkflow, Map

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus import StepContext

A_QUARTER, A_HALF = 0.25, 0.5
TOLERATED: Final[tuple[int | str, ...]] = (0, 1, "100%")
ONCE: Final = Retry(max_attempts=1)
NO_FAULTS: Final = Faults(kinds=())
CALM: Final = Faults(kinds=["message late"], rates=(0.02,))


def of_workflows(number: int) -> type[Workflow]:
    """A map whose items are workflows, in one instance or in a tree; some fail, wait, or cannot undo what they did."""
    draw = Random(f"workflows {number}")
    target: Any = _kid(draw)
    if draw.random() < A_QUARTER:
        late, undo = draw.choice([None, 30]), draw.choice([None, _undo])
        target = ChildWorkflow(target, name="kid", context=lambda ctx: ctx.item, timeout=late, compensate=undo)
    every = Map(
        target,
        over=_over(draw.choice([1, 3, 5, 7])),
        key=draw.choice([None, _key]),
        chunk=draw.choice([1, 2, 3, 100]),
        concurrency=draw.choice([1, 3, 5]),
        tolerate=TOLERATED[draw.randrange(3)],
        name="every",
    )
    last = step(key="last", retry=ONCE)(_act(fails=draw.random() < A_HALF))
    transitions = {every: {"done": last}, last: {"done": DONE}}
    return type("Flow", (Workflow,), {"start_at": every, "transitions": transitions}, key="flow")


def of_run(number: int) -> dict[str, Any]:
    """How it is simulated: some without a fault, or with users' acts alone."""
    return {"fan": 2 + number % 2, "faults": (None, None, CALM, NO_FAULTS)[number % 4]}


def _kid(draw: Random) -> type[Workflow]:
    failing, waiting, undoing = draw.sample(range(7), draw.choice([0, 1, 1, 2])), draw.randrange(7), draw.randrange(9)

    def pack(ctx: StepContext) -> str | Pending:
        if ctx.initial["n"] == waiting:
            return Pending(timeout=60)
        return "done"

    def send(ctx: StepContext) -> str:
        if ctx.initial["n"] in failing:
            raise ValueError
        return "done"

    def unpack(ctx: StepContext) -> None:
        if ctx.initial["n"] == undoing:
            raise ValueError

    compensates = draw.choice([unpack, unpack, None])
    first = step(key="pack", events=("done", "go", "timeout"), retry=ONCE, compensate=compensates)(pack)
    if compensates is not None:
        first.compensate_retry = ONCE
    second = step(key="send", retry=draw.choice([ONCE, Retry(max_attempts=2, delay=1)]))(send)
    onward = dict.fromkeys(("done", "go", "timeout"), second)
    transitions = {first: onward, second: {"done": DONE}}
    return type("Kid", (Workflow,), {"start_at": first, "transitions": transitions}, key="kid")


def _over(number: int) -> Callable[[StepContext], list[dict[str, int]]]:
    return lambda ctx: [{"n": place} for place in range(number)]


def _key(item: dict[str, int]) -> str:
    return f"k{item['n']}"


def _undo(ctx: StepContext) -> None:
    """Undo what an item's workflow did."""


def _act(*, fails: bool) -> Callable[[StepContext], str]:
    def act(ctx: StepContext) -> str:
        if fails:
            raise ValueError
        return "done"

    return act
