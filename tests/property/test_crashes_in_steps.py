"""Lambdas that die in the middle of steps, of compensations and at any call outside: what is spent, what is done.

The workflow saves by a compensable step with writes on a table of the user's, and then fails, so that everything is
undone. Whatever dies, the instance ends as its graph says, and every write has happened once.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from hephaestus import DONE, Completed, NonRetryable, Retry, StepContext, Update, Workflow, step
from hephaestus.runtime.dispatch import Enqueue, InPlace
from hephaestus.testing import LocalRuntime
from tests.property.test_crashes import Crash, Faults, faulty_runner, surviving

if TYPE_CHECKING:
    from collections.abc import Callable

ATTEMPTS = 12
POLICY = Retry(max_attempts=ATTEMPTS, delay=timedelta(seconds=2), jitter="none", backoff="constant")
deaths: list[str] = []
ran: Counter[tuple[str, int]] = Counter()


def once(name: str) -> Update:
    """A write that counts how often it has happened."""
    return Update("books", {"pk": name}, "ADD seen :one", values={":one": 1})


def deadly(name: str, ctx: StepContext, result: Callable[[], Any]) -> Any:
    """Do it, or die before or after."""
    ran[name, ctx.attempt] += 1
    fate = deaths.pop(0) if deaths else "none"
    if fate == "before":
        raise Crash
    made = result()
    if fate == "after":
        raise Crash
    if fate == "raise":
        raise ValueError(name)
    return made


def saving(name: str) -> Any:
    """A step that writes once, and can be undone once."""
    return step(
        key=name,
        retry=POLICY,
        compensate_retry=POLICY,
        compensate=lambda ctx: deadly(f"undo {name}", ctx, lambda: Completed("done", writes=[once(f"undo {name}")])),
    )(lambda ctx: deadly(name, ctx, lambda: Completed("done", {"by": name}, writes=[once(name)])))


first, left, right = saving("first"), saving("left"), saving("right")


@step(retry=POLICY)
def last(ctx: StepContext) -> str:
    """End well, or have everything undone."""
    if ctx.initial["fails"]:
        message = "as told"
        raise NonRetryable(message)
    return "done"


@step(semantics="at_most_once")
def careful(ctx: StepContext) -> Any:
    """Never twice."""
    return deadly("careful", ctx, lambda: "done")


class Saga(Workflow, key="saga"):
    """One step, two side by side, one that runs at most once, and one that may fail."""

    start_at = first
    transitions = {
        first: {"done": [left, right]},
        left: {"done": careful},
        right: {"done": careful},
        careful: {"done": last, "error": last},
        last: {"done": DONE},
    }


@given(
    fails=st.booleans(),
    in_place=st.booleans(),
    outside=st.lists(st.sampled_from(["none", "none", "none", "none", "before", "after"]), max_size=40),
    inside=st.lists(st.sampled_from(["none", "none", "before", "after", "raise"]), max_size=10),
)
def test_invariants_2_3_and_7_hold_whatever_dies_in_the_middle(
    fails: bool, in_place: bool, outside: list[str], inside: list[str]
) -> None:
    """An end, attempts that are spent, writes that happen once, compensations in reverse order."""
    ran.clear()
    deaths[:] = inside
    trouble = Faults(list(outside))
    local = LocalRuntime(Saga, tables={"books": ("pk",)})
    store, queue = local.store, local.queue
    local.runner = faulty_runner(local, trouble)
    going = InPlace(local.budget()) if in_place else Enqueue()
    for _ in range(60):
        if surviving(lambda: local.runner.start_instance(Saga, {"fails": fails}, id="x", start_id="s", dispatch=going)):
            break
    for turn in range(400):
        if turn == 30:
            trouble.drawn.clear()
            deaths.clear()
        local.clock.sleep(16 * 60_000)
        surviving(lambda: local.sweeper.sweep(local.budget()))
        for instance_id in queue.pop_due(local.clock.now()):
            surviving(lambda instance_id=instance_id: local.runner.wake(instance_id, budget=local.budget()))  # type: ignore[misc]  # mypy infers no type for its default
        state = store.load("saga::x")
        if state is not None and state.closed:
            break
    trouble.drawn.clear()
    ended = local.runner.get("saga::x")
    assert ended.status == ("failed" if fails else "completed"), "invariant 3"
    happened = [event for entry in local.runner.history("saga::x", limit=200) for event in entry.events]
    completed = [event["step"] for event in happened if event["type"] == "StepCompleted"]
    undone = [event["step"] for event in happened if event["type"] == "StepCompensated"]
    assert len(completed) == len(set(completed)), "invariant 2"
    assert undone == ([key for key in reversed(completed) if key in ("first", "left", "right")] if fails else [])
    books = {item["pk"]: int(item["seen"]) for item in local.tables["books"].items()}
    expected = {"first", "left", "right", *(f"undo {key}" for key in undone)}
    assert books == dict.fromkeys(expected, 1), "invariant 7"
    assert all(times == 1 for times in ran.values()), "an attempt that began is spent, and its number not used again"
    assert all(attempt == 1 for name, attempt in ran if name == "careful"), "at most once"
