"""What operators do to schedules, and how they are shown (rules G)."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from hephaestus import DONE, Schedule, Workflow, step
from hephaestus.cli.app import app
from hephaestus.cli.terminal import Place, Session
from hephaestus.console.embedded import LocalConnection
from hephaestus.definition.rounds import ENDLESS
from hephaestus.errors import AlreadyRunning, BadRequest, CallerError, InstanceNotFound, UnknownWorkflow
from hephaestus.handlers import commands as handler
from hephaestus.handlers.http.api import Api
from hephaestus.handlers.reading import serve_reads
from hephaestus.runtime.commands import (
    CreateSchedule,
    DeleteSchedule,
    PauseSchedule,
    TriggerSchedule,
    UnpauseSchedule,
)
from hephaestus.runtime.commands.of_schedules import CATCH_UP
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.unit.test_new_command import Context

if TYPE_CHECKING:
    from hephaestus import StepContext
    from hephaestus.runtime.commands import Command

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NIGHTLY = "Report.nightly"


@step
def work(ctx: StepContext) -> dict[str, Any]:
    return {"for": str(ctx.scheduled_for)}


last = WaitForEvent("end", name="last")


class Report(Workflow, key="report"):
    """Waits for ``end``."""

    start_at = work
    transitions: ClassVar = {work: {"done": last}, last: {"end": DONE}}
    schedules: ClassVar = [Schedule("nightly", "30 2 * * *", timezone="Europe/Rome")]


@pytest.fixture
def local() -> LocalRuntime:
    return LocalRuntime(Report)


def _do(local: LocalRuntime, command: Command) -> str:
    done = local.runner.do(command)
    local.settle()
    return done


def test_schedules_are_shown_with_their_next_times_on_the_clocks_of_their_zone(local: LocalRuntime) -> None:
    (shown,) = local.runner.schedules()
    assert (shown.schedule, shown.cron, shown.timezone, shown.declared_by) == (
        NIGHTLY,
        "30 2 * * *",
        "Europe/Rome",
        "code",
    )
    assert shown.next_at[:2] == tuple(datetime(2026, 1, day, 2, 30, tzinfo=ZoneInfo("Europe/Rome")) for day in (1, 2))
    local.advance(2 * DAY)
    (shown,) = local.runner.schedules()
    assert shown.last == {
        "id": "report::nightly.20260101T013000Z",
        "scheduled_for": datetime(2026, 1, 1, 1, 30, tzinfo=UTC),
    }
    assert shown.skipped == 1
    assert shown.skip == {
        "scheduled_for": datetime(2026, 1, 2, 1, 30, tzinfo=UTC),
        "reason": "report::nightly.20260101T013000Z is still open",
    }


def test_a_schedule_is_paused_with_a_reason_and_goes_on_from_then(local: LocalRuntime) -> None:
    """Rule G.5: what fell into the pause is never made up."""
    _do(local, PauseSchedule(schedule=NIGHTLY, reason="a freeze", by="ada", request_id="r1"))
    _do(local, PauseSchedule(schedule=NIGHTLY, reason="a freeze", by="ada", request_id="r1"))
    (shown,) = local.runner.schedules()
    assert shown.paused is not None
    assert (shown.paused["reason"], shown.paused["by"], shown.next_at) == ("a freeze", "ada", ())
    local.advance(3 * DAY)
    assert local.runner.list(workflow="Report").items == []
    _do(local, UnpauseSchedule(schedule=NIGHTLY))
    local.advance(DAY)
    assert [one.id for one in local.runner.list(workflow="Report")] == ["report::nightly.20260104T013000Z"]


def test_a_trigger_starts_one_now_once_a_request(local: LocalRuntime) -> None:
    """Rule G.8. Its history says who asked for it."""
    for _ in range(2):
        done = _do(local, TriggerSchedule(schedule=NIGHTLY, request_id="r1", by="ann"))
        assert done == "report::nightly.manual-r1"
    assert local.runner.get(done).status == "waiting"
    started = local.runner.history(done).items[0].events[0]
    assert (started["by"], started["by_source"]) == ("ann", "claim")
    odd = _do(local, TriggerSchedule(schedule=NIGHTLY, request_id="a b/c"))
    assert odd.startswith("report::nightly.manual-")
    assert local.runner.get(odd).steps["work"].results == {"for": "2026-01-01 00:00:00+00:00"}
    assert len(local.runner.list(workflow="Report")) == 2


def test_operators_create_and_delete_schedules(local: LocalRuntime) -> None:
    asked = CreateSchedule(
        schedule="Report.hourly", cron="0 * * * *", context={"a": 1}, overlap="allow", request_id="c"
    )
    assert _do(local, asked) == _do(local, asked) == "hephaestus-schedule::Report.hourly"
    with pytest.raises(AlreadyRunning, match=r"there is a schedule Report\.hourly already: delete it first"):
        _do(local, CreateSchedule(schedule="Report.hourly", cron="30 * * * *"))
    local.advance(2 * HOUR)
    assert local.runner.get("report::hourly.20260101T010000Z").context == {"a": 1}
    local.runner.declare_schedules()
    assert [one.declared_by for one in local.runner.schedules()] == ["operator", "code"]
    _do(local, DeleteSchedule(schedule="Report.hourly"))
    local.advance(5 * HOUR)
    assert [one.schedule for one in local.runner.schedules()] == [NIGHTLY]
    assert len(local.runner.list(workflow="Report")) == 3  # two of them and the nightly one, which go on
    _do(local, CreateSchedule(schedule="Report.hourly", cron="30 * * * *"))
    local.advance(HOUR)
    assert local.runner.get("report::hourly.20260101T073000Z").status == "waiting"


def test_a_schedule_that_is_deleted_as_it_starts_an_occurrence_has_started_it(local: LocalRuntime) -> None:
    _do(local, CreateSchedule(schedule="Report.hourly", cron="0 * * * *"))
    local.clock.move_to(local.clock.now() + 3_600_000)
    start = local.runner.executor.commits.performer.family
    assert start is not None
    local.runner.executor.commits.performer.family = lambda effect, state: (
        local.runner.do(DeleteSchedule(schedule="Report.hourly")),
        start(effect, state),
    )
    local.settle()
    local.runner.executor.commits.performer.family = start
    local.settle()
    assert local.runner.get("report::hourly.20260101T010000Z").status == "waiting"
    assert local.runner.get("hephaestus-schedule::Report.hourly").status == "cancelled"


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (lambda: PauseSchedule(schedule="Report.weekly"), InstanceNotFound),
        (lambda: PauseSchedule(schedule="nightly"), BadRequest),
        (lambda: DeleteSchedule(schedule=NIGHTLY), BadRequest),
        (lambda: CreateSchedule(schedule=NIGHTLY, cron="0 1 * * *"), AlreadyRunning),
        (lambda: CreateSchedule(schedule="Report.x", cron="0 0 30 2 *"), BadRequest),
        (lambda: CreateSchedule(schedule="Report.x", cron="0 0 1 * * *"), BadRequest),
        (lambda: CreateSchedule(schedule="Report.x", cron="0 1 * * *", timezone="Europe/Roma"), BadRequest),
        (lambda: CreateSchedule(schedule="Other.x", cron="0 1 * * *"), UnknownWorkflow),
        (lambda: CreateSchedule(schedule="Report.x", cron="0 1 * * *", overlap="never"), BadRequest),
        (lambda: CreateSchedule(schedule="Report.x", cron="0 1 * * *", catch_up=101), BadRequest),
        (lambda: CreateSchedule(schedule="Report.x", cron="0 1 * * *", jitter=3_601), BadRequest),
    ],
)
def test_what_cannot_be_done_changes_nothing(local: LocalRuntime, command: Any, error: type[CallerError]) -> None:
    before = local.runner.schedules()
    with pytest.raises(error):
        local.runner.do(command())
    assert local.runner.schedules() == before


def test_what_a_schedule_is_does_not_stand_among_instances(
    local: LocalRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule G.1: in no plain list and no count; and where it is looked at, nothing shows a bound that is none."""
    name = f"hephaestus-schedule::{NIGHTLY}"
    local.advance(2 * DAY)
    own = {one.id for one in local.runner.list(children=True)} - {one.id for one in local.runner.list()}
    assert own == {name}
    assert {one.workflow for one in local.runner.list(status="waiting")} == {"Report"}
    assert [one.id for one in local.runner.list(workflow="hephaestus-schedule", children=True)] == [name]
    assert list(local.runner.counts()) == ["Report"]
    monkeypatch.setattr(Session, "connection", LocalConnection(local.runner))
    shown = CliRunner().invoke(app, ["get", name], env={"COLUMNS": "200"}).stdout
    assert re.search(r"waiting round \d+ ", shown), shown
    assert str(ENDLESS) not in shown + CliRunner().invoke(app, ["get", name, "--json"]).stdout
    assert "→ hephaestus schedules list" in shown
    assert "resume" not in shown.partition("→")[2]


def test_what_cannot_be_a_schedule_is_wrong_use(local: LocalRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status 2, as of other malformed options; nothing tells of the class that checks it."""
    monkeypatch.setattr(Session, "connection", LocalConnection(local.runner))
    done = CliRunner().invoke(app, ["schedules", "create", "Report.x", "61 * * * *"], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert done.stderr.startswith("error: cron is '61 * * * *': bad minute. Give five fields, as in '30 2 * * 1-5'")


def test_the_api_has_schedules(local: LocalRuntime) -> None:
    api = Api(local.runner)
    handler.serve(api, "control")
    serve_reads(api)

    def call(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        event = {"httpMethod": method, "path": path, "body": json.dumps(body)}
        answer = api({**event, "requestContext": {"identity": {"userArn": "ann"}}}, Context())
        return answer["statusCode"], json.loads(answer["body"])

    assert call("POST", "/schedules/Report.hourly", {"cron": "0 * * * *", "catch_up": 3}) == (
        200,
        {"id": "hephaestus-schedule::Report.hourly"},
    )
    assert call("POST", "/schedules/Report.nightly/pause", {"reason": "a freeze"})[0] == 202
    local.settle()
    status, listed = call("GET", "/schedules")
    assert status == 200
    hourly, nightly = listed["items"]
    assert (hourly["catch_up"], hourly["next_at"][0]) == (3, "2026-01-01T01:00:00+00:00")
    assert (nightly["paused"]["reason"], nightly["paused"]["by"]) == ("a freeze", "ann")
    assert call("POST", "/schedules/Report.none/trigger", {})[0] == 404


class Connected:
    """A deployment that is one runner."""

    def __init__(self, local: LocalRuntime) -> None:
        self.local = local

    def do(self, command: Command, *, wait: int | None = None) -> dict[str, Any]:
        assert wait is None
        return {"id": _do(self.local, command.asked_by("ann"))}

    def schedules(self) -> list[dict[str, Any]]:
        from hephaestus.definition.views import to_json_object

        return [to_json_object(one) for one in self.local.runner.schedules()]


def test_the_command_line_has_schedules(local: LocalRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "connection", Connected(local))
    from hephaestus.cli import recurring_work

    group = __import__("typer").Typer()
    recurring_work.add_to(group)

    def run(*args: str) -> str:
        done = CliRunner().invoke(group, ["schedules", *args], obj=Session(Place(), json=False))
        assert done.exit_code == 0, done.output
        return done.output

    assert app is not None
    run("create", "Report.hourly", "0 * * * *", "--catch-up", "3", "--data", '{"a": 1}')
    assert run("pause", NIGHTLY, "--reason", "a freeze") == f"✓ paused {NIGHTLY}\n"
    listed = run("list")
    assert "paused by ann: a freeze" in listed
    assert "Report.hourly" in listed
    assert "2026-01-01 01:00 UTC" in listed
    assert run() == listed  # as `hephaestus limits` lists limits
    assert run("unpause", NIGHTLY) == f"✓ unpaused {NIGHTLY}\n"
    assert "2026-01-01 02:30 Europe/Rome" in run("list")
    assert run("trigger", NIGHTLY, "--request-id", "r1") == "✓ started report::nightly.manual-r1\n"
    assert local.runner.get("report::nightly.manual-r1").status == "waiting"
    run("delete", "Report.hourly", "--yes")
    assert "Report.hourly" not in run("list")


def test_a_number_with_nothing_behind_its_point_is_a_whole_one() -> None:
    """To JSON Schema, 31.0 is an integer."""
    assert CATCH_UP.read("catch_up", 31.0) == 31
    with pytest.raises(BadRequest, match="a number from 1 to 100"):
        CATCH_UP.read("catch_up", 31.5)
