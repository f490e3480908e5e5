"""Why an instance does not go on: each sentence, and that asking costs nothing where nothing stands in line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from hephaestus import DONE, Again, Concurrency, Pending, Retry, Rounds, Schedule, Workflow, step
from hephaestus.adapters.memory import MemoryStore
from hephaestus.cli.app import app
from hephaestus.cli.terminal import Place, Session
from hephaestus.client.synchronous import Client
from hephaestus.definition.reasons import lasting, listed, ordinal
from hephaestus.errors import InstanceNotFound
from hephaestus.handlers.http.api import Api
from hephaestus.handlers.reading import serve_reads
from hephaestus.operations.http_client import Api as Caller
from hephaestus.steps import ChildWorkflow, Map, Wait, WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.property.test_client_as_runner import InProcess
from tests.unit.test_new_command import Context

if TYPE_CHECKING:
    from hephaestus import StepContext
    from hephaestus.definition.step import Step

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)


def flow(first: Step, name: str = "Flow", **members: Any) -> type[Workflow]:
    """A workflow of one step."""
    transitions = {first: dict.fromkeys(first.events, DONE)}
    return type(name, (Workflow,), {"start_at": first, "transitions": transitions, **members}, key=name.lower())


def said(local: LocalRuntime, name: str = "1", of: str = "flow") -> str:
    """What the only open step of an instance waits for, or what is said of the instance."""
    shown = local.runner.get(f"{of}::{name}")
    (sentence,) = (
        local.runner.why(f"{of}::{name}").why
        if shown.closed
        else [step.why for step in shown.steps.values() if step.why]
    )
    return sentence


def moment(local: LocalRuntime, later: timedelta) -> str:
    """A time from now, as it is shown."""
    return f"{datetime.fromtimestamp(local.clock.now() / 1000, UTC) + later:%Y-%m-%d %H:%M:%S} UTC"


def begun(first: Step, **members: Any) -> LocalRuntime:
    """A runtime in which a workflow of one step was started."""
    local = LocalRuntime(flow(first, **members))
    local.start("Flow", "1")
    return local


def test_a_wait_for_events_says_which_for_how_long_and_until_when() -> None:
    gate = WaitForEvent("approved", "rejected", timeout=timedelta(hours=48), heartbeat=4 * HOUR, name="gate")
    local = begun(gate)
    local.advance(3 * HOUR)
    assert said(local) == (
        f"waits for `approved` or `rejected` (for 3 h), a heartbeat is due at {moment(local, HOUR)} (in 60 min), "
        f"until its timeout at {moment(local, timedelta(hours=45))} (in 45 h)"
    )


def test_a_wait_for_a_time_says_until_when() -> None:
    local = begun(Wait(hours=1, name="pause"))
    until = moment(local, HOUR)
    assert said(local) == f"waits until {until} (in 60 min)"


def test_between_two_attempts_it_says_when_the_next_begins_and_after_what() -> None:
    @step(key="work", retry=Retry(max_attempts=3, delay=MINUTE, jitter="none", backoff="constant"))
    def work(_ctx: StepContext) -> str:
        message = "no answer"
        raise TimeoutError(message)

    local = begun(work)
    until = moment(local, MINUTE)
    time = f"{until} (in 60 s)"
    assert said(local) == f"waits: attempt 2 begins at {time}, after TimeoutError: no answer"


def test_between_two_rounds_it_says_when_the_next_begins() -> None:
    @step(key="work", rounds=Rounds(5))
    def work(_ctx: StepContext) -> Again:
        return Again(after=HOUR)

    local = begun(work)
    until = moment(local, HOUR)
    assert said(local) == f"waits: round 2 begins at {until} (in 60 min)"


def test_a_pause_says_who_for_how_long_and_why() -> None:
    local = begun(Wait(hours=1, name="pause"))
    local.runner.pause("flow::1", "release", by="anna")
    local.advance(90 * SECOND)
    (sentence,) = local.runner.get("flow::1").why
    assert sentence == "is paused by anna for 90 s: release; nothing starts until it is unpaused"


def test_a_version_that_is_not_deployed_is_said_with_what_to_do() -> None:
    """Before the instance was looked at, and once it is parked."""
    store = MemoryStore()
    LocalRuntime(flow(Wait(hours=1, name="pause")), store=store).start("Flow", "1")
    other = LocalRuntime(flow(Wait(hours=1, name="other"), "Other"), store=store)
    lacks = "there is no workflow 'Flow'; deployed workflows: Other"
    assert other.runner.get("flow::1").why == (f"cannot go on: {lacks}; deploy that version again",)
    other.advance(2 * HOUR)
    other.sweep()
    assert other.runner.get("flow::1").why == (f"is parked: {lacks}; deploy that version again",)


def test_a_map_says_how_far_it_has_come() -> None:
    @step(key="one", events=("ok",))
    def one(ctx: StepContext) -> Pending | str:
        if ctx.item == "bad":
            raise ValueError
        return "ok" if ctx.item == "good" else Pending()

    members = {"retry": Retry(max_attempts=1)}
    spread = Map(one, over=lambda _ctx: ["good", "bad", "slow", "slower"], tolerate=2, name="all")
    assert said(begun(spread, **members)) == "2 of 4 items have ended, 1 of them failed; 2 waiting for `ok`"


def test_a_closed_instance_says_how_it_ended() -> None:
    local = begun(Wait(hours=1, name="pause"))
    local.runner.cancel("flow::1", "not needed")
    local.advance(5 * MINUTE)
    assert said(local) == "was cancelled 5 min ago: not needed"

    @step(key="work", retry=Retry(max_attempts=1))
    def work(_ctx: StepContext) -> str:
        message = "no such card"
        raise ValueError(message)

    assert said(begun(work)) == "failed 0 s ago: ValueError: step work failed after 1 attempt(s): no such card"
    local = begun(Wait(hours=1, name="pause"))
    local.advance(2 * HOUR)
    assert said(local) == "completed 60 min ago"


def test_what_stands_in_line_says_for_what_and_behind_whom() -> None:
    """The step is shown although it has not begun."""
    limit = Concurrency("stripe", 2, held="step")

    @step(key="charge", limits=[limit], events=("ok",))
    def charge(_ctx: StepContext) -> Pending:
        return Pending()

    local = LocalRuntime(flow(charge))
    for name in "abcd":
        local.start("Flow", name)
        local.advance(20 * SECOND)
    assert local.runner.get("flow::d").steps["charge"].status == "pending"
    assert said(local, "d") == "waits for `stripe` (2 of 2 held), second in line, oldest holder flow::a for 80 s"
    assert said(local, "a") == "waits for `ok` (for 80 s)"


def test_a_child_is_named_and_why_says_what_that_waits_for() -> None:
    """Down to the one that holds up all."""
    gate = WaitForEvent("go", name="gate")
    inner = flow(gate, "Inner")
    middle = flow(ChildWorkflow(inner, context=lambda _ctx: {}, name="inner"), "Middle")
    outer = flow(ChildWorkflow(middle, context=lambda _ctx: {}, name="middle"), "Outer")
    local = LocalRuntime(inner, middle, outer)
    local.start("Outer", "1")
    local.advance(30 * SECOND)
    child = local.runner.get("outer::1").steps["middle"].child
    assert said(local, of="outer") == f"waits for the child {child} (for 30 s)"
    told = local.runner.why("outer::1")
    (below,) = told.below
    (lowest,) = below["below"]
    assert (told.status, below["id"], below["status"]) == ("waiting", child, "waiting")
    assert lowest["steps"] == {"gate": "waits for `go` (for 30 s)"}


def test_a_schedule_says_which_occurrence_hangs_and_how_many_it_left_out() -> None:
    """Rule G.6."""
    gate = WaitForEvent("end", name="gate")
    local = LocalRuntime(flow(gate, "Report", schedules=[Schedule("hourly", "0 * * * *")]))
    local.advance(timedelta(hours=3, minutes=30))
    open_ = "report::hourly.20260101T010000Z"
    name = "hephaestus-schedule::Report.hourly"
    told = local.runner.why(name)
    assert told.steps["recurring"] == (
        "waits until 2026-01-01 04:00 UTC for its next occurrence; "
        f"2 were left out, the newest for 2026-01-01 03:00 UTC, as {open_} is still open"
    )
    (below,) = told.below
    assert (below["id"], below["steps"]) == (open_, {"gate": "waits for `end` (for 2 h)"})


def test_who_asks_about_nothing_is_told_so() -> None:
    local = begun(Wait(hours=1, name="pause"))
    with pytest.raises(InstanceNotFound):
        local.runner.why("flow::2")


def test_the_command_and_the_api_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    local = begun(WaitForEvent("go", name="gate"))
    local.advance(5 * SECOND)
    api = Api(local.runner)
    serve_reads(api)
    answer = api({"httpMethod": "GET", "path": "/instances/flow::1/why"}, Context())
    sentence = "waits for `go` (for 5 s)"
    assert json.loads(answer["body"]) == {"id": "flow::1", "status": "waiting", "steps": {"gate": sentence}}

    class Connected:
        def why(self, instance_id: str) -> dict[str, Any]:
            found: dict[str, Any] = json.loads(
                api({"httpMethod": "GET", "path": f"/instances/{instance_id}/why"}, Context())["body"]
            )
            return found

    monkeypatch.setattr(Session, "connection", Connected())
    done = CliRunner().invoke(app, ["why", "flow::1"], obj=Session(Place()))
    assert [line.strip() for line in done.stdout.splitlines()] == ["flow::1  ◷ waiting", f"gate {sentence}"]
    assert Client(Caller(InProcess(local))).why("flow::1") == local.runner.why("flow::1")


@pytest.mark.parametrize("limited", [False, True])
def test_to_get_an_instance_costs_a_read_and_its_line_only_where_it_stands_in_one(
    monkeypatch: pytest.MonkeyPatch, *, limited: bool
) -> None:
    limits = [Concurrency("one", 1, held="step")] if limited else []

    @step(key="work", limits=limits, events=("ok",))
    def work(_ctx: StepContext) -> Pending:
        return Pending()

    local = LocalRuntime(flow(work))
    local.start("Flow", "1")
    local.start("Flow", "2")
    asked: list[str] = []
    for name in ("get", "query"):
        method = getattr(local.store.table, name)

        def counts(*given: Any, _method: Any = method, **named: Any) -> Any:
            asked.append(given[0])
            return _method(*given, **named)

        monkeypatch.setattr(local.store.table, name, counts)
    local.runner.get("flow::1")
    assert asked == ["flow::1"]
    local.runner.get("flow::2")
    assert asked[1:] == ["flow::2", *(["limit#one"] * 2 if limited else [])]


def test_words_of_durations_places_and_names() -> None:
    assert [lasting(one) for one in (-5, 41_999, 119_999, 120_000, 7_200_000, 172_800_000)] == [
        "0 s",
        "41 s",
        "119 s",
        "2 min",
        "2 h",
        "2 days",
    ]
    assert [ordinal(one) for one in (1, 3, 10, 11, 12, 13, 21, 22, 103, 111)] == [
        "first",
        "third",
        "tenth",
        "11th",
        "12th",
        "13th",
        "21st",
        "22nd",
        "103rd",
        "111th",
    ]
    assert (listed(["a"]), listed(["a", "b", "c"])) == ("`a`", "`a`, `b` or `c`")
    assert listed([str(one) for one in range(12)]).endswith("`8` or 3 others")
