"""What a fork was given in place of its source's data stays marked: in its history, its views, and in forks of it."""

from __future__ import annotations

from typing import Any

import pytest

from hephaestus import DONE, StepContext, Workflow, step
from hephaestus.cli.instance_view import instance
from hephaestus.cli.timeline import Timeline
from hephaestus.console.embedded import LocalConnection
from hephaestus.definition.views import to_json_object
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.unit.rendered import rendered

approval = WaitForEvent("approved", "rejected", name="approval")


@step
def quote(ctx: StepContext) -> dict[str, Any]:
    """Work out a price."""
    return {"price": ctx.initial["n"]}


@step
def pay(ctx: StepContext) -> dict[str, Any]:
    """Pay what was approved."""
    return {"paid": dict(ctx.steps["approval"])}


class Purchase(Workflow, key="purchase"):
    """A price, an approval, a payment."""

    start_at = quote
    transitions = {quote: {"done": approval}, approval: {"approved": pay, "rejected": DONE}, pay: {"done": DONE}}


@pytest.fixture
def local() -> LocalRuntime:
    """A purchase of ann's that was approved and paid."""
    made = LocalRuntime(Purchase)
    made.start(Purchase, "a", {"n": 1})
    made.resume("purchase::a", "approved", {"limit": 10})
    return made


def fork(local: LocalRuntime, source: str, new: str, **options: Any) -> str:
    """A fork, run as far as it goes."""
    made = local.runner.fork(source, new_id=new, **options)
    local.settle()
    return made


def at_approval(local: LocalRuntime, instance_id: str) -> int:
    """The entry in which the approval was given."""
    log = local.runner.history(instance_id, limit=200)
    return next(
        int(e.sequence) for e in log for event in e.events if event.get("step") == "approval" and "taken" in event
    )


def test_replaced_results_and_start_data_are_marked_with_who_gave_them_and_where(local: LocalRuntime) -> None:
    """What the forker did not give is not marked."""
    at = at_approval(local, "purchase::a")
    made = fork(local, "purchase::a", "b", at=at, context={"n": 2}, results={"approval": {"limit": 99}}, by="eve")
    shown = local.runner.get(made)
    mark = {"by": "eve", "by_source": "claim", "forked_from": f"purchase::a#1#{at}"}
    assert shown.status == "completed"
    assert {key: about.replaced for key, about in shown.steps.items()} == {"quote": None, "approval": mark, "pay": None}
    assert (shown.context_replaced, shown.forked_by, shown.forked_from) == (mark, "eve", mark["forked_from"])
    assert shown.forked_by_source == "claim"
    (forked,) = (e for entry in local.runner.history(made) for e in entry.events if e["type"] == "Forked")
    assert forked["initial_replaced"] == mark
    assert {done["step"]: done.get("replaced") for done in forked["completed"]} == {"quote": None, "approval": mark}
    assert to_json_object(shown)["steps"]["approval"]["replaced"] == mark


def test_a_fork_that_gives_nothing_marks_nothing(local: LocalRuntime) -> None:
    made = fork(local, "purchase::a", "b", by="eve")
    shown = local.runner.get(made)
    assert shown.context_replaced is None
    assert not any(about.replaced for about in shown.steps.values())
    assert "replaced" not in str(local.runner.history(made).items)


def test_a_fork_of_a_fork_keeps_the_marks_until_a_step_runs_again(local: LocalRuntime) -> None:
    """Two forks do not launder an approval that was never given."""
    at = at_approval(local, "purchase::a")
    made = fork(local, "purchase::a", "b", at=at, context={"n": 2}, results={"approval": {"limit": 99}}, by="eve")
    again = local.runner.get(fork(local, made, "c", by="bob"))
    mark = {"by": "eve", "by_source": "claim", "forked_from": f"purchase::a#1#{at}"}
    assert (again.context_replaced, again.steps["approval"].replaced, again.forked_by) == (mark, mark, "bob")
    anew = local.runner.get(fork(local, made, "d", at=1, by="bob"))
    assert anew.steps["approval"].replaced == mark  # entry 1 is the fork itself: it holds the approval already
    own = fork(local, made, "e", results={"approval": {"limit": 3}}, by="bob")
    assert (local.runner.get(own).steps["approval"].replaced or {})["by"] == "bob"


def test_the_command_line_says_what_a_fork_was_given(local: LocalRuntime) -> None:
    at = at_approval(local, "purchase::a")
    fork(local, "purchase::a", "b", at=at, context={"n": 2}, results={"approval": {"limit": 99}}, by="eve")
    connection = LocalConnection(local.runner)
    said = rendered(instance(connection.get("purchase::b"), 100))
    assert f"forked from purchase::a#1#{at} by eve" in said
    assert f"the results of step approval given by eve (claimed) to the fork of purchase::a#1#{at}" in said
    assert f"the start data given by eve (claimed) to the fork of purchase::a#1#{at}" in said
    entries = connection.history("purchase::b")["items"]
    said = rendered(*Timeline(100).lines(entries[0]))
    assert f"results of approval given by eve (claimed) to the fork of purchase::a#1#{at}" in said
    assert f"start data given by eve (claimed) to the fork of purchase::a#1#{at}" in said
    assert "results of quote" not in said
