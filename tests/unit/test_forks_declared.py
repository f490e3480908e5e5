"""``forks=`` says what a fork may do with a workflow's instances; every way to fork keeps to it."""

from __future__ import annotations

from typing import Any

import pytest

from hephaestus import DONE, ForkNotAllowed, Workflow, step, use
from hephaestus.handlers.http.problem import document
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime


@step
def charge(ctx: Any) -> dict[str, int]:
    """Leave a result."""
    return {"cents": 4200}


approval = WaitForEvent("approved", name="approval")


@step
def ship(ctx: Any) -> str:
    """What lies behind the approval."""
    return "done"


def order(forks: Any, version: int = 1, **body: Any) -> type[Workflow]:
    """An order that waits for an approval."""
    graph = {
        "start_at": charge,
        "transitions": {charge: {"done": approval}, approval: {"approved": ship}, ship: {"done": DONE}},
    }
    return type("Order", (Workflow,), {**graph, **body}, key="orderid", version=version, forks=forks)


REPLACING: list[dict[str, Any]] = [
    {"results": {"approval": {"by": "me"}}},
    {"results": {approval: {"by": "me"}}},
    {"results": {charge: {"cents": 1}, "approval": {}}},
    {"context": {}},
    {"context": {"to": "me"}},
    {"context": {}, "results": {charge: {}}},
]
PLAIN: list[dict[str, Any]] = [{}, {"at": 1}, {"results": {}}, {"results": None, "context": None}]


@pytest.mark.parametrize("options", [*REPLACING, *PLAIN], ids=repr)
@pytest.mark.parametrize("forks", ["any", "unchanged", "none"])
def test_a_fork_does_what_the_workflow_allows_and_nothing_else(forks: str, options: dict[str, Any]) -> None:
    """``unchanged`` replaces nothing, ``none`` starts nothing; a rejected fork leaves nothing behind."""
    flow = order(forks)
    local = LocalRuntime(flow)
    old = local.resume(local.start(flow, "1").id, "approved", {"by": "ann"})
    allowed = forks == "any" or (forks == "unchanged" and options in PLAIN)
    use(local.runner)
    try:
        if allowed:
            assert flow.fork("1", new_value="2", **options) == "orderid::2"
            return
        with pytest.raises(ForkNotAllowed, match=rf"instance orderid::1 .* Order is declared with forks='{forks}'"):
            flow.fork("1", new_value="2", **options)
    finally:
        use(None)
    assert [shown.id for shown in local.runner.list()] == [old.id]
    assert local.runner.get(old.id) == old


def test_the_message_names_what_may_not_be_replaced_and_what_to_do() -> None:
    """By key, whatever the step was named by."""
    flow = order("unchanged")
    local = LocalRuntime(flow)
    local.start(flow, "1")
    with pytest.raises(ForkNotAllowed) as caught:
        local.runner.fork("orderid::1", new_id="2", context={}, results={charge: {}})
    assert "with other start data, results of charge:" in str(caught.value)
    assert "fork it from an earlier entry, so that its steps run again" in str(caught.value)


def test_of_two_versions_and_their_umbrella_the_strictest_counts() -> None:
    """The version that the instance is of, the one that the fork would be of, and the umbrella's own."""
    free, strict = order("any", 1), order("unchanged", 2)
    for newer, umbrella, asked, allowed in (
        (strict, "any", {"version": 1}, True),  # of the old version: nothing forbids it
        (strict, "any", {"version": 2}, False),
        (strict, "none", {}, False),
        (order("any", 2), "unchanged", {"version": 1}, False),
    ):
        flow = type("Orders", (Workflow,), {}, versions={1: free, 2: newer}, forks=umbrella)
        local = LocalRuntime(flow)
        old = local.start(flow, "1", version=1)
        options: dict[str, Any] = {"new_id": "2", "results": {charge: {"cents": 1}}, **asked}
        if allowed:
            local.runner.fork(old.id, **options)
            continue
        with pytest.raises(ForkNotAllowed):
            local.runner.fork(old.id, **options)
    flow = type("Orders", (Workflow,), {}, versions={1: free, 2: strict})
    local = LocalRuntime(flow)
    old = local.start(flow, "1", version=2)
    with pytest.raises(ForkNotAllowed):
        local.runner.fork(old.id, new_id="2", version=1, results={charge: {}})


def test_an_api_s_caller_is_told() -> None:
    """As a conflict, with the message."""
    told = document(ForkNotAllowed("instance a::1 cannot be forked"), "/instances/a::1/fork", "request")
    assert told["status"] == 409
    assert told["type"].endswith("fork-not-allowed")
    assert told["detail"] == "instance a::1 cannot be forked"
