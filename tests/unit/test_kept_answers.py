"""What was accepted for a step is consumed by one completion of it, or still there when a redrive has it wait again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Choice, Pending, Retry, StepContext, Workflow, step
from hephaestus.errors import LinkUsed, RequestIdReused
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ONCE = Retry(max_attempts=1)
BROKEN = [True]
PAYLOAD = {"by": "ann"}


@pytest.fixture(autouse=True)
def _broken() -> Iterator[None]:
    """What is broken is repaired before the redrive."""
    BROKEN[:] = [True]
    yield
    BROKEN[:] = [True]


def fails() -> None:
    """Raise for as long as it is not repaired."""
    if BROKEN[0]:
        message = "a bug"
        raise OSError(message)


@step
def begin(ctx: StepContext) -> str:
    """Go on."""
    return "done"


@step
def end(ctx: StepContext) -> dict[str, Any]:
    """Keep what was answered."""
    return {"answers": {key: dict(ctx.steps[key]) for key in ("ask", "wait") if key in ctx.steps}}


@step(retry=ONCE)
def ship(ctx: StepContext) -> str:
    """Fail until it is repaired."""
    fails()
    return "done"


def redriven(local: LocalRuntime, instance_id: str) -> Any:
    """The instance after its repair and its redrive."""
    BROKEN[:] = [False]
    local.runner.redrive(instance_id)
    local.settle()
    return local.runner.get(instance_id)


@step(events=("approved",), retry=ONCE)
def ask(ctx: StepContext) -> Pending:
    """Fail before it waits."""
    fails()
    return Pending()


class Asks(Workflow, key="asks"):
    """An answer comes before the question."""

    start_at = begin
    transitions = {begin: {"done": ask}, ask: {"approved": end}, end: {"done": DONE}}


def pick(ctx: StepContext) -> Any:
    """Fail after the answer has come."""
    fails()
    return end


wait = WaitForEvent("go", name="wait")
LINKS: list[str] = []


@step
def mail(ctx: StepContext) -> str:
    """Make the link."""
    LINKS[:] = [ctx.callback_url("go")]
    return "done"


class Picks(Workflow, key="picks"):
    """What routes the answer fails."""

    start_at = mail
    transitions = {mail: {"done": wait}, wait: {"go": Choice(pick, [end])}, end: {"done": DONE}}


def test_an_early_answer_is_there_when_its_step_failed_and_is_redriven() -> None:
    local = LocalRuntime(Asks)
    local.runner.start_instance(Asks, {}, id="1")
    local.runner.resume("asks::1", "approved", PAYLOAD, event_id="e1")
    local.settle()
    assert local.runner.get("asks::1").status == "failed"
    shown = redriven(local, "asks::1")
    assert (shown.status, shown.steps["end"].results) == ("completed", {"answers": {"ask": PAYLOAD}})


@pytest.mark.parametrize("way", ["event", "link"])
def test_an_answer_whose_choice_failed_is_routed_again_by_the_redrive(way: str) -> None:
    """The same request again is a repeat before and after, and that its answer is recorded is true."""
    local = LocalRuntime(Picks)
    local.start(Picks, "1")

    def answer() -> None:
        if way == "link":
            local.follow(LINKS[0], PAYLOAD)
        else:
            local.resume("picks::1", "go", PAYLOAD, event_id="e1")

    answer()
    failed = local.runner.get("picks::1")
    assert (failed.status, failed.redrive) == ("failed", {"runs_again": ("wait",), "kept": ("mail",)})
    if way == "event":
        answer()
    else:
        with pytest.raises(LinkUsed, match="its answer 'go' is recorded"):
            answer()
    shown = redriven(local, "picks::1")
    assert (shown.status, shown.steps["end"].results) == ("completed", {"answers": {"wait": PAYLOAD}})
    events = [event for entry in local.runner.history("picks::1").items for event in entry.events]
    assert [(event["type"], event.get("step")) for event in events].count(("StepCompleted", "wait")) == 1


@step(compensate=lambda _: None)
def book(ctx: StepContext) -> str:
    """Be undone."""
    return "done"


@step
def tell(ctx: StepContext) -> str:
    """Make the link, each time anew."""
    LINKS.append(ctx.callback_url("go"))
    return "done"


class Undone(Workflow, key="undone"):
    """The answer is consumed, and what came of it is undone."""

    start_at = book
    transitions = {
        book: {"done": tell},
        tell: {"done": wait},
        wait: {"go": ship, "timeout": ship},
        ship: {"done": end},
        end: {"done": DONE},
    }


@pytest.mark.parametrize("payload", [PAYLOAD, {"by": "bob"}], ids=["same", "other"])
def test_an_answer_that_was_undone_can_be_given_again_under_its_id(payload: dict[str, str]) -> None:
    """Before the redrive it is a repeat; after it, it is the answer to the new question, and then a repeat again."""
    local = LocalRuntime(Undone)
    local.start(Undone, "1")
    local.resume("undone::1", "go", PAYLOAD, event_id="payment-received")
    local.resume("undone::1", "go", PAYLOAD, event_id="payment-received")
    assert local.runner.get("undone::1").status == "failed"
    with pytest.raises(RequestIdReused):
        local.resume("undone::1", "go", {"by": "eve"}, event_id="payment-received")
    assert redriven(local, "undone::1").steps["wait"].status == "waiting"
    local.resume("undone::1", "go", payload, event_id="payment-received")
    local.resume("undone::1", "go", payload, event_id="payment-received")
    shown = local.runner.get("undone::1")
    assert (shown.status, shown.steps["end"].results) == ("completed", {"answers": {"wait": payload}})


def test_a_link_whose_answer_was_undone_says_so() -> None:
    """It works once; the new question has a new link."""
    LINKS.clear()
    local = LocalRuntime(Undone)
    local.start(Undone, "1")
    local.follow(LINKS[0], PAYLOAD)
    redriven(local, "undone::1")
    with pytest.raises(LinkUsed, match="what it answered was undone, and is asked for again: use the new link"):
        local.follow(LINKS[0], PAYLOAD)
    assert local.follow(LINKS[1], PAYLOAD).status == "completed"


def test_a_deadline_whose_completion_was_undone_can_be_asked_for_again_under_its_id() -> None:
    local = LocalRuntime(Undone)
    local.start(Undone, "1")
    local.runner.schedule_resume("undone::1", "wait", 5_000, request_id="d1")
    local.advance(6)
    assert local.runner.get("undone::1").status == "failed"
    redriven(local, "undone::1")
    for _ in range(2):
        local.runner.schedule_resume("undone::1", "wait", 5_000, request_id="d1")
    local.advance(6)
    shown = local.runner.get("undone::1")
    assert (shown.status, shown.steps["wait"].event) == ("completed", "timeout")


@step(events=("approved", "timeout"), retry=ONCE)
def late(ctx: StepContext) -> Pending:
    """Fail before it waits."""
    fails()
    return Pending(timeout=timedelta(days=1))


class Late(Workflow, key="late"):
    """A deadline is asked for before its step waits."""

    start_at = begin
    transitions = {begin: {"done": late}, late: {"approved": end, "timeout": end}, end: {"done": DONE}}


def test_a_deadline_that_was_asked_for_is_there_when_its_step_failed_and_is_redriven() -> None:
    """For the time that it had left; the deadline that the step set itself begins anew."""
    local = LocalRuntime(Late)
    local.runner.start_instance(Late, {}, id="1")
    local.runner.schedule_resume("late::1", "late", 60_000, request_id="d1")
    local.settle()
    assert local.runner.get("late::1").status == "failed"
    local.advance(timedelta(days=2))
    shown = redriven(local, "late::1")
    assert shown.status == "waiting"
    local.advance(61)
    shown = local.runner.get("late::1")
    assert (shown.status, shown.steps["late"].event) == ("completed", "timeout")


def other_way(ctx: StepContext) -> Any:
    """Another way after the repair."""
    return ship if BROKEN[0] else wait


class Turns(Workflow, key="turns"):
    """The first way skips the step that was answered early; the second leads there."""

    start_at = book
    transitions = {
        book: {"done": Choice(other_way, [ship, wait])},
        ship: {"done": end},
        wait: {"go": end},
        end: {"done": DONE},
    }


def test_an_early_answer_for_a_step_that_was_skipped_is_there_when_a_redrive_leads_to_it() -> None:
    local = LocalRuntime(Turns)
    local.runner.start_instance(Turns, {}, id="1")
    local.runner.resume("turns::1", "go", PAYLOAD, event_id="e1")
    local.settle()
    shown = local.runner.get("turns::1")
    assert (shown.status, shown.steps["wait"].status) == ("failed", "skipped")
    shown = redriven(local, "turns::1")
    assert (shown.status, shown.steps["end"].results) == ("completed", {"answers": {"wait": PAYLOAD}})


@pytest.mark.parametrize("steered", [lambda runner: runner.cancel("picks::1"), lambda runner: None])
def test_an_answer_that_came_while_it_was_paused_is_there_after_an_end_and_a_redrive(
    steered: Callable[[Any], object],
) -> None:
    """Cancelled, or failed in what routes it."""
    local = LocalRuntime(Picks)
    local.start(Picks, "1")
    local.runner.pause("picks::1")
    local.resume("picks::1", "go", PAYLOAD, event_id="e1")
    steered(local.runner)
    local.settle()
    if not local.runner.get("picks::1").closed:
        local.runner.unpause("picks::1")
        local.settle()
    assert local.runner.get("picks::1").status in {"cancelled", "failed"}
    assert redriven(local, "picks::1").status == "completed"
