"""Limits through the functions: who is called by an operator's number runs, and the sweep looks at lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hephaestus import DONE, Concurrency, Pending, StepContext, Workflow, step
from hephaestus.store.permits import Permits
from tests.integration.deployment import api, deploy, pass_time

if TYPE_CHECKING:
    import pytest

    from tests.integration.deployment import Deployment


@step(limits=[Concurrency("one", 1, held="step")], events=("ok",))
def work(_ctx: StepContext) -> Pending:
    """Hold the permit."""
    return Pending()


class Limited(Workflow, key="limited"):
    """One step under a limit."""

    start_at = work
    transitions: ClassVar = {work: {"ok": DONE}}


def started(monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """Two instances at a limit of one."""
    deployment = deploy(monkeypatch, Limited)
    for name in "ab":
        deployment.invoke("start", {"workflow": "Limited", "id": name, "context": {}})
    return deployment


def read(deployment: Deployment, path: str, **query: str) -> Any:
    """What the read function answers."""
    several = {name: [value] for name, value in query.items()}
    asked: dict[str, Any] = {"queryStringParameters": query or None, "multiValueQueryStringParameters": several or None}
    status, body, _ = deployment.call("read", api("api-get", path=path, **asked))
    assert status == 200
    return body


def step_of(deployment: Deployment, name: str) -> str:
    """The status of its step."""
    return str(read(deployment, f"/instances/limited::{name}")["steps"]["work"]["status"])


def test_an_operators_number_is_set_and_unset_by_the_api_and_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule F.8. Who is called gets a message, and runs."""
    deployment = started(monkeypatch)
    sentence = read(deployment, "/instances/limited::b/why")["steps"]["work"]
    assert sentence.startswith("waits for `one` (1 of 1 held), first in line, oldest holder limited::a for ")
    event = api("api-pause", path="/limits/set", body={"limit": "one", "number": 2})
    assert deployment.call("control", event)[:2] == (200, {"limit": "one"})
    deployment.pump()
    assert step_of(deployment, "b") == "waiting"
    (shown,) = read(deployment, "/limits")["items"]
    assert (shown["held"], shown["set_to"], shown["declared"]) == (2, 2, 1)
    assert deployment.invoke("control", {"action": "unset_limit", "limit": "one"}) == {"limit": "one"}
    (shown,) = read(deployment, "/limits", name="one")["items"]
    assert (shown["held"], shown["number"], "set_to" in shown) == (2, 1, False)
    status, problem, _ = deployment.call(
        "control", api("api-pause", path="/limits/set", body={"limit": "none", "number": 2})
    )
    assert (status, problem["type"]) == (404, "/problems/unknown-limit")


def test_the_sweep_has_the_resume_function_look_at_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an operator set is granted, also where the process died that was to call who waits."""
    deployment = started(monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(Permits, "_fill", lambda *_: [])
        deployment.invoke("control", {"action": "set_limit", "limit": "one", "number": 2})
    deployment.pump()
    assert step_of(deployment, "b") == "pending"
    pass_time(monkeypatch, 61)
    deployment.invoke("sweep", {})
    deployment.pump()
    assert step_of(deployment, "b") == "waiting"
