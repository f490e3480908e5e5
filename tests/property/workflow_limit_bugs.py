"""Workflows whose instances contend for limits, and deliberate bugs in that; see ``deliberate_bugs``."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hephaestus import DONE, Concurrency, NonRetryable, Retry, StepContext, Workflow, step
from hephaestus.engine import holding, plans
from hephaestus.engine.activation import INSTANCE
from hephaestus.runtime import family
from hephaestus.runtime.gate import Gate
from hephaestus.simulation import Faults
from hephaestus.steps import ChildWorkflow, Map, WaitForEvent
from tests.property.limit_bugs import freed_by_the_head_alone, kept_by_the_cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from hephaestus.engine.records import Held, Origin
    from hephaestus.engine.state import State

    Patch = pytest.MonkeyPatch

WHOLE, INNER = Concurrency("whole", 1), Concurrency("inner", 1)
QUICK: Final = Retry(max_attempts=3, delay=timedelta(milliseconds=700), jitter="none", backoff="constant")


def _rarely(ctx: StepContext) -> str:
    if ctx.attempt == 1 and ctx.instance.life.encode()[-1] % 3 == 0:
        raise NonRetryable(ctx.instance_id)
    return "done"


def _undo(_ctx: StepContext) -> None:
    """What was done is undone."""


class Holds(Workflow, key="holds", limits=[WHOLE]):
    """Holds a permit over a wait, and may fail after it."""

    retry, timeout = QUICK, 7_200
    a, b = step(key="a", compensate=_undo)(lambda ctx: "done"), step(key="b")(_rarely)
    wait = WaitForEvent("go", name="wait", timeout=30)
    start_at = a
    transitions = {a: {"done": wait}, wait: {"go": b, "timeout": b}, b: {"done": DONE}}


class Kid(Workflow, key="kid", limits=[WHOLE, INNER]):
    """Names the limit of its parent, and another."""

    retry = QUICK
    work = step(key="work", compensate=_undo)(_rarely)
    start_at = work
    transitions = {work: {"done": DONE}}


class Above(Workflow, key="above", limits=[WHOLE]):
    """Runs others that name its limit."""

    retry = QUICK
    begin = step(key="begin")(lambda ctx: "done")
    child = ChildWorkflow(Kid, name="child", timeout=600)
    each = Map(Kid, over=lambda _: [{"n": 1}, {"n": 2}], name="each", tolerate=1)
    start_at = begin
    transitions = {begin: {"done": child}, child: {"done": each}, each: {"done": DONE}}


class Free(Workflow, key="free"):
    """Has no limit, and runs one that has two."""

    retry = QUICK
    child = ChildWorkflow(Kid, name="child", timeout=600)
    start_at = child
    transitions = {child: {"done": DONE}}


OF_EACH = Concurrency("pair", 2, per=lambda ctx: str(ctx.initial.get("of", "x")))


class Pair(Workflow, key="pair", limits=[OF_EACH, INNER]):
    """Has two limits, one of them for each value of its start data."""

    retry = QUICK
    wait, last = WaitForEvent("ok", name="wait", timeout=60), step(key="last")(lambda ctx: "done")
    start_at = wait
    transitions = {wait: {"ok": last, "timeout": last}, last: {"done": DONE}}


class Wrong(Workflow, key="wrong", limits=[Concurrency("wrong", 1, per=lambda ctx: str(ctx.initial["none"]))]):
    """Has a limit that cannot be read, and so fails."""

    retry = QUICK
    never, told = step(key="never")(lambda ctx: "done"), step(key="told")(lambda ctx: "done")
    start_at, on_failure = never, told
    transitions = {never: {"done": DONE}}


FLOWS: Final = (Holds, Above, Pair, Free, Wrong)


def freed_at_a_pause(patch: Patch) -> None:
    """Who is paused gives its permit back."""
    right = holding._is_held  # noqa: SLF001 - made wrong on purpose

    def is_held(before: State, after: State, activation: str, held: Held) -> bool:
        return right(before, after, activation, held) and not (activation == INSTANCE and after.paused)

    patch.setattr(holding, "_is_held", is_held)


def taken_again_below(patch: Patch) -> None:
    """A child takes a permit of the limit of which its root has one."""
    right = family.origin_of

    def origin_of(*given: Any, **more: Any) -> Origin:

        return replace(right(*given, **more), limits=())

    patch.setattr(family, "origin_of", origin_of)


def freed_before_it_is_undone(patch: Patch) -> None:
    """Who has failed gives its permit back, and undoes what it did after that."""
    right = holding._is_held  # noqa: SLF001 - made wrong on purpose

    def is_held(before: State, after: State, activation: str, held: Held) -> bool:
        return right(before, after, activation, held) and not (activation == INSTANCE and after.compensation)

    patch.setattr(holding, "_is_held", is_held)


def children_go_on_at_once(patch: Patch) -> None:
    """The children of a redriven root go on while it stands in line."""
    patch.setattr(plans, "own_limits", lambda graph, state: ())


def not_asked_for(patch: Patch) -> None:
    """An instance begins without any permit."""
    patch.setattr(Gate, "limits_of", lambda self, activation: ())


def kept_in_line_by_the_cancelled(patch: Patch) -> None:
    """As of steps."""
    kept_by_the_cancelled(patch)


def an_instances_freed_by_the_head_alone(patch: Patch) -> None:
    """As of steps."""
    freed_by_the_head_alone(patch)


def lost_and_not_noticed(patch: Patch) -> None:
    """Who took long to name its permit does not look whether it was freed meanwhile."""
    patch.setattr(Gate, "is_in", lambda self: True)


BUGS: Final[dict[Callable[[Patch], None], set[str]]] = {
    freed_at_a_pause: {"invariant 10"},
    taken_again_below: {"invariant 10"},
    freed_before_it_is_undone: {"invariant 10"},
    children_go_on_at_once: {"invariant 10"},
    not_asked_for: {"invariant 10"},
    lost_and_not_noticed: {"invariant 10"},
    kept_in_line_by_the_cancelled: {"invariant 10"},
    an_instances_freed_by_the_head_alone: {"invariant 10"},
}

SHOWN_BY: Final[dict[str, Faults]] = {"lost_and_not_noticed": Faults(kinds=["zombie"], rates=(0.1, 0.3))}
"""The faults that show a bug soonest."""
