"""Schedules: what starts when, and what does not (rules G)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from hephaestus import DONE, DefinitionError, Schedule, Workflow, step
from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.engine.effects import StartOccurrence
from hephaestus.engine.events import RoundEnded
from hephaestus.errors import BadRequest, UnknownWorkflow
from hephaestus.runtime.declarations import carry_of
from hephaestus.runtime.registry import Registry
from hephaestus.steps import WaitForEvent
from hephaestus.store.items import INDEXES
from hephaestus.store.store import Store
from hephaestus.testing import LocalRuntime
from tests.unit.cron_reference import due

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus import StepContext

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)  # when a local runtime begins
NIGHTLY = "hephaestus-schedule::Report.nightly"

ran: list[tuple[str, datetime | None, dict[str, Any]]] = []


@step
def work(ctx: StepContext) -> dict[str, Any]:
    ran.append((ctx.instance_id, ctx.scheduled_for, dict(ctx.initial)))
    return {}


@pytest.fixture(autouse=True)
def nothing_ran() -> None:
    ran.clear()


def _report(*schedules: Schedule, waits: bool = False) -> type[Workflow]:
    """A workflow with these schedules, whose instances end at once, or when they get the event ``end``."""
    last = WaitForEvent("end", name="last")

    class Report(Workflow, key="report"):
        start_at = work
        transitions: ClassVar = {work: {"done": last}, last: {"end": DONE}} if waits else {work: {"done": DONE}}

    Report.schedules = schedules
    return Report


def _nightly(**given: Any) -> Schedule:
    return Schedule("nightly", given.pop("cron", "0 2 * * *"), **given)


def _times() -> list[datetime]:
    return [time for _, time, _ in ran if time is not None]


def _deploy(local: LocalRuntime, flow: type[Workflow], number: int) -> None:
    """Have another set of workflows deployed, and its schedules known."""
    local.runner.registry = Registry([flow], deployment=number)
    local.runner.declare_schedules()
    local.settle()


def _carry(local: LocalRuntime, name: str = NIGHTLY) -> Any:
    state = local.store.load(name)
    assert state is not None
    return carry_of(state)


def _tell(local: LocalRuntime, event: str, payload: dict[str, Any]) -> None:
    from hephaestus.runtime.caller import Caller
    from hephaestus.runtime.declarations import tell

    tell(local.runner.instances, local.runner.dispatch, NIGHTLY, event, payload, None, Caller())
    local.settle()


def _pause(local: LocalRuntime) -> None:
    _tell(local, "pause", {"reason": "a freeze", "by": "ada"})


@pytest.mark.parametrize("zone", ["Europe/Rome", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
def test_occurrences_are_those_of_the_reference_and_named_by_their_time(zone: str) -> None:
    """Rules G.2 and G.7: in a year with changes of the clocks, each starts once, by its id and with its time."""
    local = LocalRuntime(_report(_nightly(cron="30 1,2 * * *", timezone=zone)))
    local.advance(320 * DAY)
    assert _times() == due("30 1,2 * * *", zone, BEGIN, BEGIN + 320 * DAY)
    assert [name for name, _, _ in ran] == [f"report::nightly.{time:%Y%m%dT%H%M%SZ}" for time in _times()]


def test_an_occurrence_has_its_start_data_and_says_what_started_it() -> None:
    """Rule G.4: a mapping, or a function of the time in the schedule's zone."""
    at: list[datetime] = []

    def of(time: datetime) -> dict[str, Any]:
        at.append(time)
        return {"day": f"{time:%Y-%m-%d}"}

    flow = _report(_nightly(context={"full": True}), Schedule("early", "0 1 * * *", timezone="Asia/Tokyo", context=of))
    local = LocalRuntime(flow)
    local.advance(DAY)
    assert [initial for _, _, initial in ran] == [{"full": True}, {"day": "2026-01-02"}]
    assert str(at[0].tzinfo) == "Asia/Tokyo"
    assert at[0].hour == 1
    shown = local.runner.history("report::nightly.20260101T020000Z").items[0].events[0]
    assert shown["by"] == NIGHTLY
    assert shown["scheduled_for"] == datetime(2026, 1, 1, 2, tzinfo=UTC)


def test_an_instance_that_no_schedule_started_has_no_such_time() -> None:
    local = LocalRuntime(_report())
    local.start("Report", "one")
    assert ran == [("report::one", None, {})]
    assert "scheduled_for" not in local.runner.history("report::one").items[0].events[0]


@pytest.mark.parametrize(
    ("catch_up", "expected"), [("last", [4]), ("none", []), (1, [4]), (3, [2, 3, 4]), (100, [0, 1, 2, 3, 4])]
)
def test_what_was_missed_is_made_up_as_declared(catch_up: Any, expected: list[int]) -> None:
    """Rule G.5: the newest, none, or so many of the newest."""
    local = LocalRuntime(_report(_nightly(catch_up=catch_up, overlap="allow")))
    local.timers.pop_due(2**60)
    local.clock.move_to(local.clock.now() + round(5 * DAY / MINUTE) * 60_000)
    local.sweep()
    assert _times() == [BEGIN + 2 * HOUR + day * DAY for day in expected]
    skipped = _carry(local).get("skipped", 0)
    assert skipped == 5 - len(expected)
    ran.clear()
    local.advance(DAY)
    assert _times() == [BEGIN + 2 * HOUR + 5 * DAY]


def test_what_is_late_by_minutes_is_not_missed() -> None:
    """Rule G.5: with ``none``, too, and all of it where several are due."""
    local = LocalRuntime(_report(_nightly(cron="* * * * *", catch_up="none", overlap="allow")))
    local.timers.pop_due(2**60)
    local.queue.pop_due(2**60)
    local.clock.move_to(local.clock.now() + 4 * 60_000 + 30_000)
    local.sweep()
    assert _times() == [BEGIN + number * MINUTE for number in (1, 2, 3, 4)]


def test_an_outage_of_years_is_not_looked_at_minute_by_minute() -> None:
    """The newest of a million missed ones is found without the others."""
    local = LocalRuntime(_report(_nightly(cron="* * * * *")))
    local.timers.pop_due(2**60)
    local.queue.pop_due(2**60)
    local.clock.move_to(local.clock.now() + round(730 * DAY / MINUTE) * 60_000 + 1)
    local.sweep()
    assert [BEGIN + 730 * DAY - time <= 5 * MINUTE for time in _times()] == [True]  # the others overlap with it


def test_what_fell_into_a_pause_is_never_made_up() -> None:
    """Rule G.5: whatever catch_up says; operators own the pause, and it survives deployments."""
    flow = _report(_nightly(catch_up=100))
    local = LocalRuntime(flow)
    local.advance(DAY)
    _pause(local)
    ran.clear()
    local.advance(3 * DAY)
    _deploy(local, _report(_nightly(catch_up=100, cron="0 3 * * *")), local.clock.now())
    local.advance(2 * DAY)
    assert _times() == []
    assert _carry(local)["paused"] == {"reason": "a freeze", "by": "ada", "at": _ms(DAY), "owner": "operator"}
    _tell(local, "unpause", {})
    local.advance(DAY)
    assert _times() == [BEGIN + 6 * DAY + 3 * HOUR]


def _ms(after: timedelta) -> int:
    return round((BEGIN + after).timestamp() * 1000)


@pytest.mark.parametrize(("overlap", "expected"), [("skip", [0, 3]), ("queue", [0, 1, 3]), ("allow", [0, 1, 2, 3])])
def test_an_occurrence_that_overlaps_is_left_out_waits_or_starts(overlap: Any, expected: list[int]) -> None:
    """Rule G.6: one at most waits."""
    local = LocalRuntime(_report(_nightly(overlap=overlap), waits=True))
    local.advance(2 * DAY + 12 * HOUR)
    local.resume("report::nightly.20260101T020000Z", "end")
    local.advance(15 * MINUTE)
    if overlap == "queue":
        local.resume("report::nightly.20260102T020000Z", "end")
    local.advance(DAY)
    assert _times() == [BEGIN + 2 * HOUR + day * DAY for day in expected]
    if overlap == "skip":
        assert _carry(local)["skip"]["reason"] == "report::nightly.20260101T020000Z is still open"
        assert _carry(local)["skipped"] == 2


def test_a_trigger_starts_one_now_whatever_else_is_open_or_paused() -> None:
    """Rule G.8."""
    local = LocalRuntime(_report(_nightly(), waits=True))
    local.advance(DAY)
    _pause(local)
    _tell(local, "trigger", {"name": "nightly.manual-r1"})
    assert ran[-1][:2] == ("report::nightly.manual-r1", BEGIN + DAY)


def test_jitter_delays_the_start_and_not_the_id() -> None:
    """Rule G.8: it is a hash of the occurrence."""
    started: list[datetime] = []

    @step
    def noting(ctx: StepContext) -> dict[str, Any]:
        started.append(datetime.fromtimestamp(local.clock.now() / 1000, UTC))
        ran.append((ctx.instance_id, ctx.scheduled_for, {}))
        return {}

    class Report(Workflow, key="report"):
        start_at = noting
        transitions: ClassVar = {noting: {"done": DONE}}
        schedules: ClassVar = [_nightly(jitter=HOUR)]

    local = LocalRuntime(Report)
    local.advance(30 * DAY)
    assert _times() == [BEGIN + 2 * HOUR + day * DAY for day in range(30)]
    late = [at - time for at, time in zip(started, _times(), strict=True)]
    assert all(timedelta(0) <= one <= HOUR + timedelta(seconds=1) for one in late)
    assert len(set(late)) > 20


def test_an_older_deployment_never_takes_the_place_of_a_newer_one() -> None:
    """Rule G.3: two sets of workflows, deployed alternately, in any order of their declarations."""
    local = LocalRuntime(_report(_nightly()))
    first = local.clock.now()
    _deploy(local, _report(_nightly(cron="0 5 * * *")), first + 2)
    _deploy(local, _report(_nightly(cron="0 4 * * *")), first + 1)
    assert _carry(local)["declared"]["cron"] == "0 5 * * *"
    _deploy(local, _report(), first + 1)
    assert "paused" not in _carry(local)
    local.advance(DAY)
    assert _times() == [BEGIN + 5 * HOUR]


def test_what_was_removed_from_the_code_is_paused_until_it_is_there_again() -> None:
    """Rule G.3: and what an operator has paused stays so."""
    local = LocalRuntime(_report(_nightly()))
    number = local.clock.now()
    _deploy(local, _report(), number + 1)
    assert _carry(local)["paused"]["reason"] == "removed from the code"
    local.advance(3 * DAY)
    _tell(local, "unpause", {})
    local.advance(DAY)
    assert _times() == []
    _deploy(local, _report(_nightly()), number + 2)
    local.advance(DAY)
    assert _times() == [BEGIN + 4 * DAY + 2 * HOUR]


def test_a_deployment_that_cannot_load_a_module_removes_nothing() -> None:
    local = LocalRuntime(_report(_nightly()))
    local.runner.registry = Registry(modules=["there_is_no_such_module"], deployment=local.clock.now() + 1)
    local.runner.declare_schedules()
    local.settle()
    assert "paused" not in _carry(local)


def test_a_function_that_raises_leaves_out_its_occurrence_and_no_other() -> None:
    """The schedule goes on, and says why."""

    def of(time: datetime) -> dict[str, Any]:
        if time.day == 2:
            message = "no such day"
            raise LookupError(message)
        return {}

    local = LocalRuntime(_report(_nightly(context=of)))
    local.advance(3 * DAY)
    assert [time.day for time in _times()] == [1, 3]
    assert _carry(local)["skip"]["reason"] == "the function of its context raised LookupError: no such day"


def test_an_occurrence_waits_for_a_workflow_that_is_not_deployed() -> None:
    flow = _report(_nightly())
    local = LocalRuntime(flow)
    local.runner.registry = Registry(modules=["there_is_no_such_module"], deployment=local.clock.now())
    local.advance(2 * HOUR + 10 * MINUTE)
    assert ran == []
    local.runner.registry = Registry([flow], deployment=local.clock.now())
    local.advance(5 * MINUTE)
    assert _times() == [BEGIN + 2 * HOUR]


def test_each_starts_once_though_its_head_has_long_expired() -> None:
    """Rule G.2: what the commit owes is performed again, long after the occurrence has ended; retention is a day."""
    table = InMemoryTable(INDEXES)
    local = LocalRuntime(_report(_nightly()), store=Store(table, retention_days=1))
    local.advance(3 * HOUR)
    for _ in range(20):
        local.advance(DAY)
        table.expire(local.clock.now() // 1000)
        schedule = local.store.load(NIGHTLY)
        assert schedule is not None
        for owed in _owed_again(local):
            local.runner.executor.commits.performer.perform((owed,), schedule)
        local.settle()
    assert local.store.load("report::nightly.20260101T020000Z") is None
    assert len(ran) == len(set(_times())) == 21


def _owed_again(local: LocalRuntime) -> list[StartOccurrence]:
    """The start of every occurrence that the schedule's log names, as a reader of it would find it owed."""
    entries = local.store.history(NIGHTLY, None, 0, 10_000)
    assert entries is not None
    return [
        StartOccurrence(one, entry.at)
        for entry in entries[1]
        for event in entry.events
        if isinstance(event, RoundEnded)
        for one in event.starts
    ]


def test_year_ten_costs_what_week_one_did() -> None:
    """Rounds keep the newest alone: the state of a schedule does not grow."""
    from hephaestus.engine.codec import dump_state

    local = LocalRuntime(_report(_nightly(cron="0 * * * *")))
    sizes = []
    for _ in range(3):
        local.advance(3 * DAY)
        state = local.store.load(NIGHTLY)
        assert state is not None
        sizes.append(len(dump_state(state)))
    assert len(ran) == 216
    assert sizes[2] <= sizes[1] + 8


@pytest.mark.parametrize(
    ("action", "given"),
    [
        ("pause", ()),
        ("unpause", ()),
        ("resume", ("declare",)),
        ("fork", ()),
    ],
)
def test_a_schedule_takes_none_of_the_commands_of_instances(action: str, given: tuple[str, ...]) -> None:
    """Rule G.1: a fork is rejected; pause and unpause are its own."""
    local = LocalRuntime(_report(_nightly()))
    more = {"new_id": "x"} if action == "fork" else {}
    with pytest.raises(BadRequest, match="is a schedule"):
        getattr(local.runner, action)(NIGHTLY, *given, **more)


def test_a_schedule_is_not_started_as_an_instance() -> None:
    local = LocalRuntime(_report(_nightly()))
    with pytest.raises(UnknownWorkflow, match="the library's"):
        local.runner.start_instance("hephaestus-schedule", {}, id="Report.other")


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: Schedule("a.b", "0 2 * * *"), "the schedule's name is 'a.b'"),
        (lambda: Schedule("x" * 41, "0 2 * * *"), "the schedule's name"),
        (lambda: Schedule("x", "0 0 30 2 *"), "cron is '0 0 30 2 *'"),
        (lambda: Schedule("x", "0 0 2 * * *"), "which has 6 fields"),
        (lambda: Schedule("x", "0 0 2 * * * 2026"), "which has 7 fields"),
        (lambda: Schedule("x", "0 2 * * *", timezone="Europe/Roma"), "timezone is 'Europe/Roma', which is unknown"),
        (lambda: Schedule("x", "0 2 * * *", overlap="never"), "overlap is 'never'"),  # type: ignore[arg-type]  # as a user may write it
        (lambda: Schedule("x", "0 2 * * *", catch_up="all"), "catch_up is 'all'"),  # type: ignore[arg-type]  # as a user may write it
        (lambda: Schedule("x", "0 2 * * *", catch_up=0), "catch_up is 0"),
        (lambda: Schedule("x", "0 2 * * *", catch_up=True), "catch_up is True"),
        (lambda: Schedule("x", "0 2 * * *", jitter=timedelta(hours=2)), "at most 3600 seconds"),
        (lambda: Schedule("x", "0 2 * * *", jitter="10m"), "jitter is '10m'. Give seconds as a number, or a timedelta"),  # type: ignore[arg-type]  # as a user may write it
        (lambda: Schedule("x", "0 2 * * *", context=lambda one, two: {}), "its context has the signature"),  # type: ignore[arg-type,misc]  # as a user may write it
        (lambda: Schedule("x", "0 2 * * *", context={"a": object()}), "context"),
        (lambda: Schedule("x", "0 2 * * *", context=[1]), "context is [1]"),  # type: ignore[arg-type]  # as a user may write it
    ],
)
def test_a_malformed_schedule_is_a_definition_error(make: Callable[[], Schedule], part: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        make()
    assert part in str(caught.value)


def test_schedules_of_a_workflow_are_checked_together() -> None:
    with pytest.raises(DefinitionError, match="has two schedules named 'nightly'"):

        class Twice(Workflow, key="twice"):
            start_at = work
            transitions: ClassVar = {work: {"done": DONE}}
            schedules: ClassVar = [_nightly(), _nightly(cron="0 3 * * *")]

    with pytest.raises(DefinitionError, match="schedules holds '0 2"):

        class Text(Workflow, key="text"):
            start_at = work
            transitions: ClassVar = {work: {"done": DONE}}
            schedules: ClassVar = ["0 2 * * *"]  # type: ignore[list-item]  # as a user may write it

    with pytest.raises(DefinitionError, match="Write schedules"):

        class Misspelt(Workflow, key="misspelt"):
            start_at = work
            transitions: ClassVar = {work: {"done": DONE}}
            schedule: ClassVar = [_nightly()]


def test_the_context_is_checked_against_input_when_defined() -> None:
    """Rule G.4."""
    from pydantic import BaseModel

    class Given(BaseModel):
        full: bool

    with pytest.raises(DefinitionError, match="does not fit Input"):

        class Checked(Workflow, key="checked"):
            Input = Given
            start_at = work
            transitions: ClassVar = {work: {"done": DONE}}
            schedules: ClassVar = [_nightly()]


def test_workflows_that_share_a_key_have_schedules_of_different_names() -> None:
    class One(Workflow, key="shared", scope="global"):
        start_at = work
        transitions: ClassVar = {work: {"done": DONE}}
        schedules: ClassVar = [_nightly()]

    class Other(Workflow, key="shared", scope="global"):
        start_at = work
        transitions: ClassVar = {work: {"done": DONE}}
        schedules: ClassVar = [_nightly()]

    with pytest.raises(DefinitionError, match="has the name of one of One"):
        Registry([One, Other]).names()


def test_an_umbrella_has_the_schedules_of_its_current_version() -> None:
    class First(Workflow, key="report", version=1):
        start_at = work
        transitions: ClassVar = {work: {"done": DONE}}
        schedules: ClassVar = [_nightly()]

    class Second(Workflow, key="report", version=2):
        start_at = work
        transitions: ClassVar = {work: {"done": DONE}}
        schedules: ClassVar = [_nightly(cron="0 4 * * *")]

    class Report(Workflow, key="report", versions={1: First, 2: Second}):
        schedules: ClassVar = [Schedule("weekly", "0 5 * * 4")]

    local = LocalRuntime(Report)
    local.advance(DAY)
    assert [name for name, _, _ in ran] == ["report::nightly.20260101T040000Z", "report::weekly.20260101T050000Z"]


def test_what_is_left_out_and_what_is_late_is_told() -> None:
    """The metrics OccurrencesSkipped and OccurrenceDelay are made of it, with the dimension of the workflow."""
    from hephaestus.runtime import telemetry

    heard: list[dict[str, object]] = []
    local = LocalRuntime(_report(_nightly(catch_up=2)))
    telemetry.attach(
        "looks", lambda _event, _measurements, metadata: heard.append(dict(metadata)), ["hephaestus.step.stop"]
    )
    try:
        local.timers.pop_due(2**60)
        local.clock.move_to(local.clock.now() + round(5 * DAY / MINUTE) * 60_000)
        local.sweep()
    finally:
        telemetry.detach("looks")
    (look,) = [one for one in heard if "schedule_of" in one]
    assert (look["schedule_of"], look["left_out"], look["late_ms"]) == (
        "Report",
        4,  # three were missed for good, and the newest overlaps with the one that starts
        round((DAY + 22 * HOUR) / MINUTE) * 60_000,
    )


def test_a_schedule_publishes_no_status_events_and_its_occurrences_do() -> None:
    local = LocalRuntime(_report(_nightly()))
    local.advance(DAY)
    about = {event["instance_id"] for event in local.status_events}
    assert about == {"report::nightly.20260101T020000Z"}
