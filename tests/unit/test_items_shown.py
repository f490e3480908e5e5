"""Items as people are shown them: by the API and by the command line."""

from __future__ import annotations

import io
import json
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console
from typer.testing import CliRunner

from hephaestus import DONE, Pending, Retry, StepContext, Workflow, step
from hephaestus.cli.app import app
from hephaestus.cli.instance_view import instance
from hephaestus.cli.terminal import Session
from hephaestus.client import Client
from hephaestus.console.embedded import LocalConnection
from hephaestus.definition.views import to_json_object
from hephaestus.handlers.commands import serve
from hephaestus.handlers.http.api import Api
from hephaestus.handlers.reading import serve_reads
from hephaestus.runtime import item_pages
from hephaestus.steps import Map, WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.engines import ROOT


@step(retry=Retry(max_attempts=1))
def work(ctx: StepContext) -> dict[str, Any]:
    """Fail for the second."""
    if ctx.index == 1:
        message = "broken"
        raise ValueError(message)
    return {"key": ctx.item_key}


@step(events=("yes",), retry=Retry(max_attempts=1))
def ask(ctx: StepContext) -> Pending:
    """Wait; fail for the last."""
    if ctx.index == 11:
        message = "broken"
        raise ValueError(message)
    return Pending()


class Several(Workflow, key="several"):
    """A map of which an item fails."""

    every = Map(work, over=lambda _: ["a", "b", "c"], key=str, tolerate=1)
    start_at = every
    transitions = {every: {"done": DONE}}


@pytest.fixture
def local() -> LocalRuntime:
    """One instance, at its end."""
    found = LocalRuntime(Several)
    found.start(Several, "1", {})
    return found


class Long(Workflow, key="long"):
    """A map of many items that wait, and of which one fails."""

    every = Map(ask, over=lambda _: range(12), tolerate=1, chunk=2, name="ask")
    start_at = every
    transitions = {every: {"done": DONE}}


def get(local: LocalRuntime, query: dict[str, str] | None) -> tuple[int, Any]:
    """An answer of the route."""
    api = Api(local.runner)
    serve_reads(api)
    event = json.loads((ROOT / "events" / "api-history.json").read_text("utf-8"))
    path = "/instances/several::1/items"
    given = {"id": "several::1"}
    event |= {
        "path": path,
        "resource": "/instances/{id}/items",
        "pathParameters": given,
        "queryStringParameters": query,
    }
    event["multiValueQueryStringParameters"] = None if query is None else {name: [one] for name, one in query.items()}
    answer = api(event, SimpleNamespace(get_remaining_time_in_millis=lambda: 30_000, aws_request_id="r"))
    return answer["statusCode"], json.loads(answer["body"])


def test_the_api_shows_items_page_by_page(local: LocalRuntime) -> None:
    """By status, too; what is malformed is rejected with what is wrong."""
    status, page = get(local, {"step": "work", "limit": "2"})
    assert (status, [one["key"] for one in page["items"]], page["cursor"]) == (200, ["a", "b"], "2")
    _, page = get(local, {"step": "work", "status": "failed"})
    assert [(one["key"], one["error"]["message"]) for one in page["items"]] == [("b", "broken")]
    for query, code in ((None, 400), ({"step": "x"}, 404), ({"step": "work", "status": "odd"}, 400)):
        assert get(local, query)[0] in {code, 422}


def test_the_command_line_shows_items(local: LocalRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """And in history what happened to each; how far the map has come is beside its status."""
    monkeypatch.setattr(Session, "connection", LocalConnection(local.runner))

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    assert "ValueError: broken" in call("items", "several::1", "work", "--status", "failed")
    assert json.loads(call("items", "several::1", "work", "--limit", "1", "--json"))["cursor"] == "1"
    assert "2/3, 1 failed" in call("get", "several::1")
    said = call("history", "several::1")
    assert "work runs for 3 items" in said
    assert "work[a] done" in said


def test_a_map_that_many_instances_run_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule C.10: of a tree of instances as well; what failed is found behind pages that are empty."""
    monkeypatch.setattr(item_pages, "MOST_INSTANCES", 2)
    local = LocalRuntime(Long)
    local.start(Long, "1", {})
    local.resume("long::1", "yes", item="0")
    monkeypatch.setattr(Session, "connection", LocalConnection(local.runner))

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        return " ".join(done.stdout.split())

    assert "ValueError: broken" in call("items", "long::1", "ask", "--status", "failed")
    assert "no items" in call("items", "long::1", "ask", "--status", "cancelled")
    tree = call("get", "long::1", "--tree")
    assert "ask 1 of 12 items, 1 failed, 10 waiting" in tree
    assert "hephaestus-map" not in tree
    said = call("history", "long::1")
    assert "ask runs for 12 items" in said
    assert "ask begins 6 parts of its items, at most 12 items at a time" in said
    assert "hephaestus-map" not in said
    for item in range(1, 11):
        local.resume("long::1", "yes", item=str(item))
    said = call("history", "long::1", "--all")
    assert "ask 5 parts of its items ended: 10 completed" in said
    assert "ask a part of its items ended: 1 completed, 1 failed" in said


def test_a_map_under_way_has_a_bar_while_it_is_watched() -> None:
    """How many items have ended, of all."""
    local = LocalRuntime(Long)
    local.start(Long, "1", {})
    local.resume("long::1", "yes", item="0")
    shown = to_json_object(local.runner.get("long::1"))
    out = Console(width=100, record=True, file=io.StringIO())
    out.print(instance(shown, 100, bars=True))
    assert re.search(r"ask +━+.* +1 of 12 items, 1 failed, 10 waiting", out.export_text())


class Slow(Workflow, key="slow"):
    """A map of many items that wait, one after the other."""

    every = Map(WaitForEvent("yes", name="ask"), over=lambda _: range(12), chunk=2, concurrency=1, name="ask")
    start_at = every
    transitions = {every: {"done": DONE}}


def post(local: LocalRuntime, name: str, body: dict[str, Any], request_id: str) -> tuple[int, Any]:
    """An answer to an event."""
    api = Api(local.runner)
    serve(api, "resume")
    event = json.loads((ROOT / "events" / "api-resume.json").read_text("utf-8"))
    event |= {"path": f"/instances/{name}/events", "pathParameters": {"id": name}, "body": json.dumps(body)}
    for headers, value in ((event["headers"], request_id), (event["multiValueHeaders"], [request_id])):
        headers["Idempotency-Key"] = value
        headers.pop("Prefer")
    answer = api(event, SimpleNamespace(get_remaining_time_in_millis=lambda: 30_000, aws_request_id="r"))
    return answer["statusCode"], json.loads(answer["body"])


def test_the_api_takes_events_for_items_wherever_they_run() -> None:
    """Rules C.1 and C.11: what is too early is to be sent again; an instance of the tree is not there for callers."""
    local = LocalRuntime(Slow)
    local.start(Slow, "1", {})
    status, answer = post(local, "slow::1", {"event": "yes", "item": "9"}, "early")
    assert (status, answer["type"]) == (503, "/problems/item-not-begun")
    assert "item 9 of ask has not begun: try again later" in answer["detail"]
    assert post(local, "slow::1", {"event": "yes"}, "whom")[0] == 422
    for item in range(12):
        assert post(local, "slow::1", {"event": "yes", "item": str(item)}, f"r{item}")[0] == 202
        local.settle()
    assert local.runner.get("slow::1").status == "completed"
    assert post(local, "slow::1", {"event": "yes", "item": "9"}, "r9")[0] == 202
    state = local.store.load("slow::1")
    assert state is not None
    status, answer = post(local, state.kin[0], {"event": "yes", "item": "0"}, "part")
    assert (status, answer["type"]) == (409, "/problems/not-root")
    assert "ask there" in answer["detail"]


def test_a_client_sends_again_what_is_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule C.11: until the item's instance has begun, or its patience ends."""
    local = LocalRuntime(Slow)
    local.start(Slow, "1", {})
    client = Client(cast("Any", LocalConnection(local.runner)))
    tried: list[float] = []

    def sleep(seconds: float) -> None:
        tried.append(seconds)
        local.resume("slow::1", "yes", item="0")
        local.resume("slow::1", "yes", item="1")

    monkeypatch.setattr("time.sleep", sleep)
    client.resume("slow::1", "yes", item="2")
    local.settle()
    assert len(tried) == 1
    assert [one.index for one in client.items("slow::1", "ask", status="completed")] == [0, 1, 2]
