"""Rule F.10: what a start does whose id another instance has that is open."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from hephaestus import DONE, AlreadyRunning, DefinitionError, Workflow, telemetry
from hephaestus.cli.app import app
from hephaestus.cli.terminal import Place, Session
from hephaestus.client import Client
from hephaestus.errors import InvalidInput, NotRoot, RequestIdReused
from hephaestus.handlers.commands import do_directly, serve
from hephaestus.handlers.http.api import Api
from hephaestus.operations.http_client import Api as Caller
from hephaestus.runtime.instances import Instances
from hephaestus.runtime.telemetry import START_USED
from hephaestus.steps import ChildWorkflow, WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.property.test_client_as_runner import InProcess
from tests.unit.test_new_command import Context

if TYPE_CHECKING:
    from collections.abc import Mapping


def flow(name: str = "Sync", **header: Any) -> type[Workflow]:
    """A workflow that waits."""
    wait = WaitForEvent("go", name="wait")
    body = {"start_at": wait, "transitions": {wait: {"go": DONE}}}
    return type(name, (Workflow,), body, **{"key": name.lower(), **header})


USING = flow(if_running="use")


def test_rule_f10_a_start_uses_the_instance_that_is_open() -> None:
    """Its own start data are dropped; when that has ended, a start begins anew."""
    local = LocalRuntime(USING)
    first = local.start(USING, "a", {"n": 1})
    again = local.start(USING, "a", {"n": 2}, tags=["other"], start_id="again")
    assert (first.used, again.used) == (False, True)
    assert replace(again, used=False) == first
    history = local.runner.history("sync::a")
    local.resume("sync::a", "go")
    assert len(history.items) == len(local.runner.history("sync::a", limit=len(history.items)).items)
    anew = local.start(USING, "a", {"n": 3}, start_id="again")
    assert (anew.used, anew.generation, anew.context) == (False, 2, {"n": 3})


def test_a_start_that_uses_one_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """It costs no write, so history has nothing of it."""
    heard: list[Any] = []
    local = LocalRuntime(USING)
    telemetry.attach("test", lambda _, __, metadata: heard.append(metadata), [START_USED])
    try:
        with caplog.at_level("INFO", "hephaestus.start"):
            for _ in range(2):
                local.start(USING, "a", start_id=f"{len(heard)}{_}")
    finally:
        telemetry.detach("test")
    assert [(one["instance_id"], one["workflow"]) for one in heard] == [("sync::a", "Sync")]
    assert [record.getMessage() for record in caplog.records] == [
        "instance sync::a: a start of it by - used the one that is open"
    ]


@pytest.mark.parametrize("header", [{}, {"if_running": "reject"}])
def test_by_default_it_is_rejected(header: dict[str, Any]) -> None:
    rejecting = flow(**header)
    local = LocalRuntime(rejecting)
    local.start(rejecting, "a")
    with pytest.raises(AlreadyRunning):
        local.start(rejecting, "a")


def test_the_same_start_made_twice_is_one_and_uses_none() -> None:
    local = LocalRuntime(USING)
    assert [local.start(USING, "a", {"n": 1}, start_id="s").used for _ in range(2)] == [False, False]
    with pytest.raises(RequestIdReused):
        local.start(USING, "a", {"n": 2}, start_id="s")


def test_what_is_no_start_is_rejected_all_the_same() -> None:
    """The start data are checked, and then dropped."""
    local = LocalRuntime(USING)
    local.start(USING, "a")
    with pytest.raises(InvalidInput):
        local.start(USING, "a", {"n": object()})


def test_an_instance_of_another_workflow_is_not_used() -> None:
    """Where workflows share their key."""
    one, other = (flow(name, key="shared", scope="global", if_running="use") for name in ("One", "Other"))
    local = LocalRuntime(one, other)
    local.start(one, "a")
    assert local.start(one, "a").used
    with pytest.raises(AlreadyRunning):
        local.start(other, "a")


def test_a_child_is_not_used() -> None:
    """It is steered by its parent, and goes with it."""

    class Above(Workflow, key="above"):
        child = ChildWorkflow(USING, name="child")
        start_at = child
        transitions = {child: {"done": DONE}}

    local = LocalRuntime(Above, USING)
    local.start(Above, "a")
    (child,) = local.runner.list(parent="above::a").items
    with pytest.raises(NotRoot):
        local.start(USING, child.id.partition("::")[2])


def test_one_that_ends_while_the_start_looks_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start neither uses one that has ended, nor is it rejected."""
    local = LocalRuntime(USING)
    local.start(USING, "a")
    create, calls = Instances.create, []

    def slow(*given: Any) -> Any:
        calls.append(given)
        try:
            return create(*given)
        finally:
            if len(calls) == 1:
                local.runner.cancel("sync::a")
                local.settle()

    monkeypatch.setattr(Instances, "create", slow)
    anew = local.start(USING, "a", {"n": 2})
    assert (len(calls), anew.used, anew.generation, anew.context) == (2, False, 2, {"n": 2})


def test_the_api_a_direct_invocation_and_the_client_say_so() -> None:
    """In the field ``used``; with ``wait=``, the instance is shown as it is."""
    local = LocalRuntime(USING)
    api = Api(local.runner)
    serve(api, "start")

    def post(prefer: str = "") -> tuple[int, Any]:
        event = {"httpMethod": "POST", "path": "/workflows/Sync/instances", "body": json.dumps({"id": "a"})}
        answer = api({**event, "headers": {"Prefer": prefer} if prefer else {}}, Context())
        return answer["statusCode"], json.loads(answer["body"])

    assert post() == (202, {"id": "sync::a", "status": "pending"})
    local.settle()
    assert post() == (202, {"id": "sync::a", "used": True})
    status, shown = post("wait=1")
    assert (status, shown["status"], shown["used"]) == (200, "waiting", True)
    event = {"workflow": "Sync", "id": "a"}
    assert do_directly(local.runner, "start", event, Context()) == {"id": "sync::a", "status": "waiting", "used": True}
    client = Client(Caller(InProcess(local)))
    assert (client.start(USING, "a").used, client.start("Sync", "a").id) == (True, "sync::a")


def test_the_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalRuntime(USING)
    monkeypatch.setattr(Session, "connection", Caller(InProcess(local)))
    said = []
    for _ in range(2):
        said.append(CliRunner().invoke(app, ["start", "Sync", "a"], obj=Session(Place())).stdout.strip())
        local.settle()
    assert said == ["✓ started sync::a", "✓ was open, and is used: sync::a"]


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"if_running": "wait"}, "if_running is 'wait'. Use one of reject, use"),
        ({"if_running": "use", "scope": "none"}, "each start has an id of its own"),
    ],
)
def test_what_means_nothing_is_rejected(header: Mapping[str, Any], words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        flow("Bad", **header)
