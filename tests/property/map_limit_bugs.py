"""Workflows whose maps contend for limits, each made of a number, and bugs in what leaves hold (rule F.9)."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final

from hephaestus import DONE, Concurrency, Pending, Retry, Workflow, step
from hephaestus.engine import holding
from hephaestus.engine.activation import step_of
from hephaestus.engine.records import NOT_ENDED
from hephaestus.runtime import gate
from hephaestus.runtime.gate import Gate
from hephaestus.simulation import NO_FAULTS, Faults
from hephaestus.steps import Map

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

    from hephaestus import StepContext
    from hephaestus.definition.concurrency import Limit
    from hephaestus.definition.step import Step
    from hephaestus.engine.state import State

    Patch = pytest.MonkeyPatch
    Rates = Callable[[Random], Sequence[Limit]]

A_THIRD, A_HALF = 1 / 3, 0.5
TOLERATED: Final[tuple[int | str, ...]] = (0, 1, "100%")
ONCE: Final = Retry(max_attempts=1)
RETRIES: Final = (
    Retry(max_attempts=3, delay=timedelta(milliseconds=300), jitter="none", backoff="constant"),
    Retry(max_attempts=2, delay=timedelta(seconds=20), jitter="none"),
)
MILD: Final = Faults(kinds=("step too long", "message late"), rates=(0.3,))


def _value(_ctx: StepContext) -> str:
    return "all"


def _number(ctx: StepContext) -> int:
    """Which item it is for; of a step, none."""
    return ctx.index if isinstance(ctx.item, str) else -1


def mapping(number: int, name: str = "flow", rates: Rates | None = None) -> type[Workflow]:
    """A map under limits, in the instance or in leaves of two or three; some items fail, wait or are repeated.

    Under ``rates`` that are drawn, where they are given.
    """
    draw = Random(f"limits {number}")
    every = Map(
        _target(draw, rates),
        over=_over(draw.choice([1, 2, 3, 4, 5, 7])),
        chunk=draw.choice([2, 2, 3, 3, 100]),
        concurrency=draw.choice([1, 3, 5, 16]),
        tolerate=TOLERATED[draw.randrange(3)],
        name="every",
    )
    last = step(key="last", limits=draw.choice([(), (_limit(draw, 0),)]), retry=ONCE)(_act(draw.random() < A_THIRD))
    transitions = {every: {"done": last}, last: {"done": DONE}}
    return type(name.title(), (Workflow,), {"start_at": every, "transitions": transitions}, key=name)


def _limit(draw: Random, which: int) -> Concurrency:
    kinds: list[dict[str, Any]] = [{"name": "one", "n": 1}, {"name": "two", "n": 2, "priority": 1}]
    kinds += [{"name": "each", "n": 1, "per": _value}]
    return Concurrency(**kinds[which], held=draw.choice(["attempt", "attempt", "step"]))


def _target(draw: Random, rates: Rates | None) -> Step:
    """The step that a map runs: it names limits, or rates."""
    failing, waiting = draw.sample(range(7), draw.choice([0, 0, 1, 2])), draw.sample(range(7), draw.choice([0, 1, 2]))

    def work(ctx: StepContext) -> str | Pending:
        if _number(ctx) in failing and (ctx.attempt == 1 or _number(ctx) % 2):
            raise ValueError
        return Pending(timeout=60) if _number(ctx) in waiting else "done"

    which = draw.choice([[0], [0], [1], [0, 1], [2]])
    limits: Sequence[Limit] = [_limit(draw, one) for one in which] if rates is None else rates(draw)
    options: dict[str, Any] = {"compensate": _undo} if draw.random() < A_HALF else {}
    retry = draw.choice([ONCE, *RETRIES])
    return step(key="work", limits=limits, events=("done", "go", "timeout"), retry=retry, **options)(work)


def _over(number: int) -> Callable[[StepContext], list[str]]:
    return lambda _: list("abcdefg"[:number])


def _undo(_ctx: StepContext) -> None:
    """Undo what was done for an item."""


def _act(fails: bool) -> Callable[[StepContext], str]:
    def act(_ctx: StepContext) -> str:
        if fails:
            raise ValueError
        return "done"

    return act


def of_run(number: int, rates: Rates | None = None) -> dict[str, Any]:
    """How it is simulated, beside another such map: some runs without a fault, or with little that can go wrong."""
    beside: dict[type[Workflow], Any] = {mapping(number + 1, "other", rates): {}}
    return {"beside": beside, "fan": 2 + number % 2, "faults": (None, None, NO_FAULTS, MILD)[number % 4]}


def freed_with_its_first_item(patch: Patch) -> None:
    """A leaf gives its permits back when the first of its items has ended."""
    right = holding._may_run_items  # noqa: SLF001 - made wrong on purpose

    def may_run_items(state: State, step: str) -> bool:
        mapped = state.steps[step].mapped
        return right(state, step) and mapped is not None and set(mapped.ends) <= {NOT_ENDED}

    patch.setattr(holding, "_may_run_items", may_run_items)


def kept_after_the_leaf(patch: Patch) -> None:
    """A leaf keeps its permits when its items have ended, as long as its instance is open."""
    right = holding._is_open  # noqa: SLF001 - made wrong on purpose

    def is_open(state: State, activation: str) -> bool:
        known = state.steps.get(step_of(activation))
        return right(state, activation) or (known is not None and known.mapped is not None)

    patch.setattr(holding, "_is_open", is_open)


def taken_once_an_item(patch: Patch) -> None:
    """Each item takes permits of its own."""
    patch.setattr(gate, "leaf_of", lambda activation: activation)


def left_in_line_when_cancelled(patch: Patch) -> None:
    """A leaf that is cancelled, or paused, in line stays there."""
    right = holding.holding

    def kept(before: State, after: State) -> dict[str, Any]:
        found = right(before, after)
        left = {one: place for one, place in after.queued.items() if after.step_status(step_of(one)) == "mapping"}
        if "queued" in found and left:
            found["queued"] = {**found["queued"], **left}
        return found

    patch.setattr("hephaestus.engine.fold.holding", kept)


def held_while_nothing_runs(patch: Patch) -> None:
    """A leaf whose items all wait keeps its permits, though no one asked for that."""
    patch.setattr(holding, "_may_run_items", lambda state, step: True)


def run_beside_the_line(patch: Patch) -> None:
    """The first item stands in line for the leaf, and the others run."""
    right = Gate.admits
    patch.setattr(Gate, "admits", lambda self, run: right(self, run) or run.activation[-3:] != "[0]")


BUGS: Final[dict[Callable[[Patch], None], set[str]]] = {
    freed_with_its_first_item: {"invariant 10"},
    kept_after_the_leaf: {"invariant 10"},
    taken_once_an_item: {"invariant 10"},
    left_in_line_when_cancelled: {"invariant 10"},
    held_while_nothing_runs: {"invariant 10"},
    run_beside_the_line: {"invariant 10"},
}
