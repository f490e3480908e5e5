"""What operators do to limits, and how they are shown (rules F.8 and F.10)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from typer.testing import CliRunner

from hephaestus import DONE, Concurrency, Pending, RateLimit, StepContext, Workflow, step, telemetry
from hephaestus.adapters.memory import MemoryStore
from hephaestus.cli.app import app
from hephaestus.cli.terminal import Session
from hephaestus.client.synchronous import Client
from hephaestus.definition.views import to_json_object
from hephaestus.errors import BadRequest, CallerError, UnknownLimit
from hephaestus.handlers import commands as handler
from hephaestus.handlers.commands import do_directly
from hephaestus.handlers.http.api import Api
from hephaestus.handlers.reading import serve_reads
from hephaestus.operations.http_client import Api as Caller
from hephaestus.runtime.commands import SetLimit, UnsetLimit
from hephaestus.runtime.limit_pages import MOST_COUNTED
from hephaestus.runtime.telemetry import LIMIT_SWEPT
from hephaestus.store.store import Store
from hephaestus.telemetry.metrics import MetricsHandler
from hephaestus.testing import LocalRuntime
from tests.property.test_client_as_runner import InProcess
from tests.unit.test_new_command import Context

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.runtime.commands import Command

SECOND = timedelta(seconds=1)
stripe = Concurrency("stripe", 2, held="step")
tenant = Concurrency("tenant", 1, held="step", per=lambda ctx: ctx.initial["tenant"])


@step(limits=[stripe], events=("ok",))
def charge(_ctx: StepContext) -> Pending:
    return Pending()


@step(limits=[tenant], events=("ok",))
def report(_ctx: StepContext) -> Pending:
    return Pending()


class Payment(Workflow, key="payment"):
    """A step under a limit."""

    start_at = charge
    transitions: ClassVar = {charge: {"ok": DONE}}


class Report(Workflow, key="report"):
    """A step under a limit for each tenant."""

    start_at = report
    transitions: ClassVar = {report: {"ok": DONE}}


@pytest.fixture
def local() -> LocalRuntime:
    """Four payments at a limit of two, a second after each other."""
    local = LocalRuntime(Payment, Report)
    for name in "abcd":
        local.start("Payment", name)
        local.advance(SECOND)
    return local


def done(local: LocalRuntime, command: Command) -> str:
    name = local.runner.do(command)
    local.settle()
    return name


def holds(local: LocalRuntime) -> list[str]:
    """The payments that hold a permit."""
    (shown,) = local.runner.limits("stripe")
    return [holder["id"].removeprefix("payment::") for holder in shown.holders]


def test_a_limit_shows_who_holds_it_and_who_stands_in_line(local: LocalRuntime) -> None:
    (shown,) = local.runner.limits()
    assert (shown.limit, shown.number, shown.declared, shown.set_to) == ("stripe", 2, 2, None)
    assert (shown.held, shown.in_line, shown.more) == (2, 2, None)
    assert [holder["id"] for holder in shown.holders] == ["payment::a", "payment::b"]
    assert [(who["id"], who["step"]) for who in shown.line] == [("payment::c", "charge"), ("payment::d", "charge")]
    assert shown.waits_since == shown.line[0]["since"]


def test_an_operators_number_calls_at_once_and_stays_over_deployments(local: LocalRuntime) -> None:
    """Rule F.8. With who has set it and when."""
    assert done(local, SetLimit(limit="stripe", number=3, by="anna")) == "stripe"
    assert sorted(holds(local)) == ["a", "b", "c"]
    assert local.runner.get("payment::c").steps["charge"].status == "waiting"
    newer = LocalRuntime(Payment, store=Store(local.store.table))
    newer.clock.move_to(local.clock.now())
    newer.store.permits.deployment = local.store.permits.deployment + 1
    newer.start("Payment", "e")
    (shown,) = newer.runner.limits("stripe")
    assert (shown.number, shown.set_to, shown.declared) == (3, 3, 2)
    assert (shown.changed_by, shown.changed_by_source) == ("anna", "claim")
    assert newer.runner.get("payment::e").steps["charge"].why == (
        "waits for `stripe` (3 of 3 held, set by anna), second in line, oldest holder payment::a for 4 s"
    )
    done(newer, UnsetLimit(limit="stripe", by="ben"))
    (shown,) = newer.runner.limits("stripe")
    assert (shown.number, shown.set_to, shown.changed_by) == (2, None, "ben")


def test_a_newer_deployments_number_counts_and_an_older_ones_does_not() -> None:
    """Rule F.8. The sweep tells the line; who runs older code beside it keeps to the newer number."""
    table = MemoryStore().table

    def deployed(number: int, permits: int) -> LocalRuntime:
        limited = step(key="work", limits=[Concurrency("one", permits, held="step")], events=("ok",))(
            lambda _ctx: Pending()
        )
        flow = type("Flow", (Workflow,), {"start_at": limited, "transitions": {limited: {"ok": DONE}}}, key="flow")
        local = LocalRuntime(flow, store=Store(table))
        local.store.permits.deployment = number
        return local

    older, newer = deployed(1, 1), deployed(2, 3)
    for name in "abc":
        older.start("Flow", name)
    assert [one.held for one in older.runner.limits()] == [1]
    newer.clock.move_to(older.clock.now() + 61_000)
    newer.sweep()
    assert [one.held for one in newer.runner.limits()] == [3]
    older.clock.move_to(newer.clock.now())
    older.start("Flow", "d")
    older.advance(timedelta(minutes=2))
    older.sweep()
    (shown,) = older.runner.limits("one")
    assert (shown.number, shown.declared, shown.held, shown.in_line) == (3, 3, 3, 1)


def test_a_number_of_zero_stops_what_names_it_until_it_is_taken_back(local: LocalRuntime) -> None:
    """Rule F.10. What holds a permit goes on."""
    done(local, SetLimit(limit="stripe", number=0, by="anna"))
    assert sorted(holds(local)) == ["a", "b"]
    for name in "ab":
        local.resume(f"payment::{name}", "ok")
    local.advance(timedelta(hours=1))
    local.sweep()
    assert holds(local) == []
    assert local.runner.get("payment::c").steps["charge"].why == (
        "waits for `stripe` (0 of 0 held, set by anna), first in line"
    )
    done(local, UnsetLimit(limit="stripe"))
    assert sorted(holds(local)) == ["c", "d"]


def test_each_value_of_a_per_is_a_limit_of_its_own(local: LocalRuntime) -> None:
    for number, name in enumerate(("acme", "acme", "other")):
        local.start("Report", f"{name}{number}", {"tenant": name})
    assert [one.limit for one in local.runner.limits()] == ["stripe", "tenant#acme", "tenant#other"]
    assert [(one.limit, one.in_line) for one in local.runner.limits("tenant")] == [
        ("tenant#acme", 1),
        ("tenant#other", 0),
    ]
    done(local, SetLimit(limit="tenant#acme", number=2))
    assert [one.held for one in local.runner.limits("tenant")] == [2, 1]
    done(local, SetLimit(limit="tenant#new", number=0))  # before its first use
    local.start("Report", "new", {"tenant": "new"})
    assert [one.in_line for one in local.runner.limits("tenant#new")] == [1]


def test_a_limit_of_a_workflow_is_held_by_the_whole_instance() -> None:
    """And an instance that stands in its line says so itself, as no step of it does."""

    class Sync(Workflow, key="sync", limits=[Concurrency("sync", 1)]):
        start_at = charge
        transitions: ClassVar = {charge: {"ok": DONE}}

    local = LocalRuntime(Sync)
    local.start(Sync, "a")
    local.advance(SECOND)
    local.start(Sync, "b")
    shown = {one.limit: one for one in local.runner.limits()}["sync"]
    assert [set(who) for who in (*shown.holders, *shown.line)] == [{"id", "since"}] * 2
    waiting = local.runner.get("sync::b")
    assert (waiting.why, waiting.steps) == (
        ("waits for `sync` (1 of 1 held), first in line, oldest holder sync::a for 1 s",),
        {},
    )
    done(local, SetLimit(limit="sync", number=2))
    assert "charge" in local.runner.get("sync::b").steps


def test_rates_are_listed_with_their_lines() -> None:
    """Beside limits that have permits, by name."""
    rate = RateLimit("openai", 1, timedelta(minutes=1))
    asks = step(key="asks", limits=[rate, stripe])(lambda _ctx: "done")

    class Asks(Workflow, key="asks"):
        start_at = asks
        transitions: ClassVar = {asks: {"done": DONE}}

    local = LocalRuntime(Asks)
    for name in "abc":
        local.start(Asks, name)
    openai, _ = local.runner.limits()
    assert (openai.limit, openai.kind, openai.held, openai.number) == ("openai", "rate", 0, 1)
    assert openai.in_line == len(openai.line) > 0
    assert openai.reserved_until is not None


def test_limits_are_listed_page_by_page(local: LocalRuntime) -> None:
    for name in "abc":
        local.start("Report", name, {"tenant": name})
    first = local.runner.limits(limit=3)
    assert ([one.limit for one in first], first.cursor) == (["stripe", "tenant#a", "tenant#b"], "tenant#c")
    rest = local.runner.limits(limit=3, cursor=first.cursor)
    assert ([one.limit for one in rest], rest.cursor) == (["tenant#c"], None)


@pytest.mark.parametrize("wrong", ["", "9", "a b", "stripe#", f"stripe#{'é' * 129}", "x" * 65, "\udc00"])
def test_a_name_or_a_cursor_that_no_limit_can_have_is_rejected(local: LocalRuntime, wrong: str) -> None:
    """Before the table is asked, whose keys are bounded."""
    with pytest.raises(BadRequest):
        local.runner.limits(wrong)
    with pytest.raises(BadRequest):
        local.runner.limits(cursor=wrong)
    assert local.runner.limits(f"stripe#{'é' * 128}").items == []


def test_of_a_long_line_the_first_places_are_shown() -> None:
    local = LocalRuntime(Payment)
    for number in range(MOST_COUNTED + 3):
        local.start("Payment", str(number))
    (shown,) = local.runner.limits()
    assert (shown.in_line, shown.more, len(shown.line)) == (MOST_COUNTED, True, 20)
    (shown,) = local.runner.limits("stripe")
    assert (shown.in_line, shown.more) == (MOST_COUNTED + 1, None)


@pytest.mark.parametrize(
    ("command", "error", "says"),
    [
        (lambda: SetLimit(limit="stripe", number=-1), BadRequest, "from 0 to"),
        (lambda: SetLimit(limit="stripe", number=True), BadRequest, "from 0 to"),
        (lambda: SetLimit(limit="stripe", number=10**9), BadRequest, "from 0 to"),
        (lambda: SetLimit(limit="strip", number=1), UnknownLimit, "name: stripe, tenant"),
        (lambda: SetLimit(limit="9", number=1), BadRequest, "as stripe#acme"),
        (lambda: SetLimit(limit="tenant", number=1), UnknownLimit, "name one, as tenant#acme"),
        (lambda: SetLimit(limit="stripe#acme", number=1), UnknownLimit, "has no per"),
        (lambda: UnsetLimit(limit="strip"), UnknownLimit, "name: stripe, tenant"),
    ],
)
def test_what_cannot_be_done_changes_nothing(
    local: LocalRuntime, command: Any, error: type[CallerError], says: str
) -> None:
    before = local.runner.limits()
    with pytest.raises(error, match=says):
        local.runner.do(command())
    assert local.runner.limits() == before


def test_the_api_and_direct_invocations_have_limits(local: LocalRuntime) -> None:
    """And say who has set a number: the identity that API Gateway authorized."""
    api = Api(local.runner)
    handler.serve(api, "control")
    serve_reads(api)

    def call(method: str, path: str, body: Any = None, **query: str) -> tuple[int, Any]:
        event = {"httpMethod": method, "path": path, "body": json.dumps(body), "queryStringParameters": query or None}
        answer = api({**event, "requestContext": {"identity": {"userArn": "ann"}}}, Context())
        return answer["statusCode"], json.loads(answer["body"])

    assert call("POST", "/limits/set", {"limit": "stripe", "number": 3}) == (200, {"limit": "stripe"})
    status, listed = call("GET", "/limits", name="stripe")
    assert (status, listed["cursor"]) == (200, None)
    (shown,) = listed["items"]
    assert (shown["set_to"], shown["changed_by"], shown["changed_by_source"]) == (3, "ann", "api")
    assert call("POST", "/limits/set", {"limit": "none", "number": 3})[0] == 404
    assert call("POST", "/limits/set", {"limit": "stripe", "number": "3"})[0] == 400
    done = do_directly(local.runner, "control", {"action": "unset_limit", "limit": "stripe"}, Context())
    assert done == {"limit": "stripe"}
    assert "set_to" not in call("GET", "/limits")[1]["items"][0]


def test_a_client_has_limits(local: LocalRuntime) -> None:
    client = Client(Caller(InProcess(local)))
    client.set_limit("stripe", 3)
    local.settle()
    (shown,) = client.limits("stripe")
    assert (shown.number, shown.held, shown.waits_since) == (3, 3, local.runner.limits("stripe").items[0].waits_since)
    client.unset_limit("stripe")
    with pytest.raises(UnknownLimit):
        client.set_limit("none", 3)


class Connected:
    """A deployment that is one runner."""

    def __init__(self, local: LocalRuntime) -> None:
        self.local = local

    def do(self, command: Command, *, wait: int | None = None) -> dict[str, Any]:
        assert wait is None
        return {"limit": done(self.local, command.asked_by("ann"))}

    def limits(self, name: str | None = None, *, limit: int, cursor: str | None = None) -> dict[str, Any]:
        page = self.local.runner.limits(name, limit=limit, cursor=cursor)
        return {"items": [to_json_object(one) for one in page], "cursor": page.cursor}


def test_the_command_line_has_limits(local: LocalRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "connection", Connected(local))

    def run(*args: str, code: int = 0) -> str:
        said = CliRunner().invoke(app, ["limits", *args], env={"COLUMNS": "140"})
        assert said.exit_code == code, said.output
        return " ".join(said.output.split())

    assert "stripe 2 of 2 ▮▮ 2 " in run()
    assert run() == run("list")
    assert run("set", "stripe", "3") == "✓ set stripe"
    assert "3 of 3 ▮▮▮ 1 " in run()
    shown = run("show", "stripe")
    assert "set by ann (claimed)" in shown
    assert ", 2 in the code" in shown
    assert "holds payment::a charge" in shown
    assert "1 payment::d charge" in shown
    assert run("set", "stripe", "0") == "✓ set stripe"
    assert "3 of 0 ▮▮▮ 1 " in run()
    assert run("unset", "stripe").endswith("stripe")
    assert "an operator's number was taken back by ann" in run("show", "stripe")
    assert "was not used yet" in run("show", "none")
    assert "a limit is 0 or more" in run("set", "stripe", "-1", code=2)
    assert "a limit is 0 or more" in run("set", "stripe", "--", "-1", code=2)
    assert "is no rate" in run("set", "stripe", "5/s", code=2)
    assert run("set", "stripe", "1", "--reason", "it is down") == "✓ set stripe"
    assert "reason: it is down" in run("show", "stripe")


def test_the_name_of_a_limit_stays_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose number it is, which is longer, is folded first: a name is to be copied."""
    local = LocalRuntime(Report)
    name = "tenant#a-customer-of-thirty-letters"
    local.start("Report", "1", {"tenant": name.partition("#")[2]})
    local.runner.do(SetLimit(limit=name, number=2, by="arn:aws:iam::123456789012:user/a-colleague"))
    monkeypatch.setattr(Session, "connection", Connected(local))
    said = CliRunner().invoke(app, ["limits"], env={"COLUMNS": "90"})
    assert f"{name}  1 of 2" in said.output
    assert "1 in the code" in " ".join(said.output.split())
    assert max(map(len, said.output.splitlines())) <= 90


def test_the_sweep_tells_how_long_the_oldest_waits_and_a_permit_is_held(
    local: LocalRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    """As metrics by the limit's name, whatever the value of its ``per``; no dimension is without bound."""
    for name in ("acme1", "acme2"):
        local.start("Report", name, {"tenant": "acme"})
    local.advance(timedelta(minutes=2))
    heard: list[tuple[dict[str, float], dict[str, object]]] = []
    handler = MetricsHandler("test", "test")

    def hear(event: str, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        heard.append((dict(measurements), dict(metadata)))
        handler(event, measurements, metadata)

    telemetry.attach("test", hear, [LIMIT_SWEPT])
    try:
        local.sweep()
    finally:
        telemetry.detach("test")
    told = {str(metadata["limit"]): measurements for measurements, metadata in heard}
    assert told == {
        "stripe": {"oldest_in_line": 122_000, "longest_held": 124_000},
        "tenant": {"oldest_in_line": 120_000, "longest_held": 120_000},
    }
    handler.flush()
    written = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted((one["limit"], *one["OldestInLine"], *one["LongestHeld"]) for one in written) == [
        ("stripe", 122.0, 124.0),
        ("tenant", 120.0, 120.0),
    ]
