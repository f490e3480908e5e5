"""Effects of commits when the services behind them fail."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hephaestus import DONE, StepContext, Workflow, step
from hephaestus.engine.alarms import alarm
from hephaestus.engine.effects import TAIL, Head, Notify, Schedule, Unschedule, Wake, again, effects
from hephaestus.engine.events import (
    LONGEST_MESSAGE_MS,
    CancelRequested,
    Claimed,
    Entry,
    EventReceived,
    HandedOver,
    HeartbeatReceived,
    Parked,
    Paused,
    Redriven,
    StepsStarted,
    Suspended,
    TimerSet,
    Unpaused,
)
from hephaestus.engine.state import Compensation, Kept, State, StepState, Timer, evolve
from hephaestus.errors import EngineError, HephaestusError, StoreUnavailable
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from hephaestus.engine.effects import Effect
    from hephaestus.engine.events import Event
    from hephaestus.runtime.ports import Timeout

WAITS = [WaitForEvent("go", name=f"wait_{number}", timeout=timedelta(hours=2)) for number in range(3)]


@step
def begin(ctx: StepContext) -> str:
    """Do nothing."""
    return "done"


@step
def end(ctx: StepContext) -> str:
    """Do nothing more."""
    return "done"


class ThreeWaits(Workflow, key="three"):
    """Three deadlines at once."""

    start_at = begin
    transitions = {begin: {"done": WAITS}, **{wait: {"go": end, "timeout": end} for wait in WAITS}, end: {"done": DONE}}


@pytest.mark.parametrize(("error", "asked"), [(StoreUnavailable("silent"), 1), (EngineError("refused"), 3)])
def test_schedules_that_cannot_be_made_are_left_to_the_sweep(
    error: HephaestusError, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A silent Scheduler is asked once a commit; the deadlines are met all the same."""
    local = LocalRuntime(ThreeWaits)
    calls: list[Timeout] = []

    def fail(timeout: Timeout) -> str:
        calls.append(timeout)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(local.timers, "schedule", fail)
        local.start(ThreeWaits, "a")
    assert len(calls) == asked
    assert local.timers.names() == []
    local.advance(timedelta(hours=2, minutes=1))
    local.sweep()
    ended = local.runner.get("three::a")
    assert [ended.steps[wait.key].event for wait in WAITS] == ["timeout"] * 3
    assert ended.status == "completed"


@pytest.mark.parametrize(("error", "asked"), [(StoreUnavailable("silent"), 1), (EngineError("refused"), 3)])
def test_a_scheduler_that_is_silent_is_asked_once_a_commit(
    error: HephaestusError, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of the invocation is the commit's; the queue has all of the schedules removed later."""
    local = LocalRuntime(ThreeWaits)
    local.start(ThreeWaits, "a")
    assert len(local.timers.names()) == 3
    calls: list[Timeout] = []

    def fail(timeout: Timeout) -> None:
        calls.append(timeout)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(local.timers, "cancel", fail)
        local.runner.cancel("three::a", "enough")
    assert len(calls) == asked
    assert local.runner.get("three::a").status == "cancelled"
    assert len(local.timers.names()) == 3
    local.settle()
    assert local.timers.names() == []


def test_the_head_lags_by_a_bounded_number_of_entries_while_the_queue_is_late() -> None:
    """So that a read costs the same however many requests come before the instance goes on."""
    local = LocalRuntime(ThreeWaits)
    local.start(ThreeWaits, "a")
    for _ in range(3 * TAIL):
        local.runner.unpause("three::a")
        state = local.store.load("three::a")
        assert state is not None
        assert state.sequence - state.kept.settled < TAIL


# --- What follows from an entry ---

AT = 1_000_000
OUTSIDE = (
    EventReceived("a", "go", "e"),
    TimerSet("t", "a", AT + 5),
    HeartbeatReceived("a", "t", AT + 5),
    CancelRequested(),
    Paused(),
    Unpaused(),
    Redriven("pending"),
    Parked("no such version", AT + 5),
)
FREE = State("i", 1, "w", 1, "running", 1)
OWNED = replace(FREE, owner="o", lease_until=AT + 1)


def entry(*events: Event, sequence: int = 2) -> Entry:
    """A log entry at ``AT``."""
    return Entry(sequence, "c", AT, events)


@pytest.mark.parametrize("event", OUTSIDE, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("others", [(), (StepsStarted(("b",)),)], ids=["alone", "behind another"])
def test_what_comes_from_outside_has_an_alarm_at_once_unless_an_owner_is_alive(
    event: Event, others: tuple[Event, ...]
) -> None:
    came = entry(*others, event)
    expired = replace(FREE, owner="o", lease_until=AT)
    assert alarm(FREE, came, FREE) == AT
    assert alarm(expired, came, expired) == AT, "its lease has ended"
    assert alarm(OWNED, came, OWNED) is None, "it sees the event at its next commit"


def test_a_claim_has_an_alarm_at_the_end_of_its_lease_and_one_that_is_given_up_with_it_at_once() -> None:
    claim = Claimed("n", AT + 60)
    for before in (FREE, OWNED):
        assert (
            alarm(before, entry(claim, StepsStarted(("a",))), replace(FREE, owner="n", lease_until=AT + 60)) == AT + 60
        )
        assert alarm(before, entry(claim, Suspended(AT + 9)), replace(FREE, wake_at=AT + 9)) == AT
    assert alarm(FREE, entry(OUTSIDE[0], claim), replace(FREE, owner="n", lease_until=AT + 60)) == AT + 60


@pytest.mark.parametrize(
    ("after", "due"),
    [
        (OWNED, None),
        (replace(OWNED, wake_at=AT), None),
        (FREE, None),
        (replace(FREE, wake_at=AT), AT),
        (replace(FREE, wake_at=AT + 1), None),
        (replace(FREE, wake_at=AT + 2), None),
    ],
)
def test_an_owners_entry_has_an_alarm_where_it_gives_up_and_is_due_before_its_lease_ends(
    after: State, due: int | None
) -> None:
    assert alarm(OWNED, entry(StepsStarted(("a",))), after) == due


@pytest.mark.parametrize(
    ("before", "event", "after", "sequence", "follows"),
    [
        (OWNED, StepsStarted(("a",)), OWNED, 2, False),
        (OWNED, StepsStarted(("a",)), OWNED, TAIL, False),
        (replace(OWNED, status="pending"), StepsStarted(("a",)), OWNED, 2, False),
        (OWNED, StepsStarted(("a",)), replace(OWNED, status="completed"), 2, True),
        (replace(FREE, status="failed"), Redriven("pending"), replace(FREE, status="pending", wake_at=AT), 2, True),
        (replace(FREE, status="failed"), Redriven("pending"), replace(OWNED, status="running"), 2, True),
        (OWNED, StepsStarted(("a",)), replace(OWNED, status="compensating"), 2, True),
        (OWNED, Suspended(AT + 9), replace(FREE, status="waiting", wake_at=AT + 9), 2, True),
        (OWNED, Suspended(AT), replace(FREE, status="waiting", wake_at=AT), 2, True),
        (OWNED, HandedOver(), replace(FREE, wake_at=AT), 2, True),
        (FREE, OUTSIDE[0], replace(FREE, wake_at=AT), 2, False),
        (FREE, OUTSIDE[0], replace(FREE, wake_at=AT), TAIL - 1, False),
        (FREE, OUTSIDE[0], replace(FREE, wake_at=AT), TAIL + 1, False),
        (FREE, OUTSIDE[0], replace(FREE, wake_at=AT), TAIL, True),
        (FREE, OUTSIDE[0], replace(FREE, wake_at=AT), 2 * TAIL, True),
        (FREE, OUTSIDE[2], replace(FREE, wake_at=AT + 1), 2, True),
        (FREE, OUTSIDE[4], FREE, 2, True),
    ],
)
def test_the_head_follows_an_entry_that_shows_something_new_and_after_which_no_one_goes_on(
    before: State, event: Event, after: State, sequence: int, follows: bool
) -> None:
    done = effects(before, entry(event, sequence=sequence), after)
    assert (Head() in done[-1:]) is follows
    assert done.count(Head()) == follows


def test_a_head_lags_behind_by_at_most_32_entries() -> None:
    assert TAIL == 32, "as docs/architecture.md says"


SOON, LATER = AT + LONGEST_MESSAGE_MS, AT + LONGEST_MESSAGE_MS + 1
WAITING = replace(FREE, status="waiting")


def timed(*timers: Timer, state: State = WAITING) -> State:
    """A state with timers."""
    return replace(state, timers={timer.activation: (timer,) for timer in timers})


@pytest.mark.parametrize(
    ("event", "after", "woken"),
    [
        (Suspended(SOON), replace(WAITING, wake_at=SOON), (Wake(LONGEST_MESSAGE_MS),)),
        (Suspended(AT + 1), replace(WAITING, wake_at=AT + 1), (Wake(1),)),
        (Suspended(AT), replace(WAITING, wake_at=AT), (Wake(),)),
        (Suspended(), WAITING, ()),
        (OUTSIDE[2], replace(WAITING, wake_at=AT + 5), (Wake(5),)),
        (OUTSIDE[4], replace(WAITING, wake_at=AT + 5), ()),
        (OUTSIDE[4], replace(WAITING, wake_at=AT), (Wake(),)),
        (OUTSIDE[4], replace(FREE, status="completed", wake_at=AT), ()),
        (OUTSIDE[0], replace(OWNED, wake_at=AT), ()),
        (OUTSIDE[0], replace(FREE, owner="gone", lease_until=AT), (Wake(),)),
        (Suspended(LATER), replace(WAITING, wake_at=LATER), (Schedule("", f"#retry{LATER}", LATER),)),
        (
            Suspended(LATER),
            replace(
                WAITING,
                wake_at=LATER,
                steps={"a": StepState("retrying", retry_at=LATER + 1), "b": StepState("retrying", retry_at=LATER)},
            ),
            (Schedule("b", f"b#retry{LATER}", LATER),),
        ),
        (
            Suspended(LATER),
            replace(timed(Timer("1", "a", LATER, scheduled=True)), wake_at=LATER),
            (Schedule("a", "1", LATER),),
        ),
        (
            Suspended(SOON),
            replace(timed(Timer("1", "a", SOON, scheduled=False)), wake_at=SOON),
            (Wake(LONGEST_MESSAGE_MS),),
        ),
        (
            Suspended(SOON),
            replace(timed(Timer("1", "a", LATER, scheduled=True)), wake_at=SOON),
            (Schedule("a", "1", LATER), Wake(LONGEST_MESSAGE_MS)),
        ),
        (TimerSet("1", "a", LATER), replace(timed(Timer("1", "a", LATER, scheduled=True)), wake_at=LATER), ()),
    ],
)
def test_an_instance_is_continued_by_a_message_or_by_one_schedule(
    event: Event, after: State, woken: tuple[Effect, ...]
) -> None:
    done = effects(FREE, entry(event), after)
    assert tuple(each for each in done if not isinstance(each, (Head, Notify))) == woken


def test_the_schedule_of_a_wait_that_ended_early_is_removed_and_no_other() -> None:
    """One that has fired is gone by itself, and one that was never made was a message."""
    timers = (
        Timer("1", "early", AT + 1, scheduled=True),
        Timer("2", "fired", AT, scheduled=True),
        Timer("3", "message", AT + 1),
        Timer("4", "stays", AT + 1, scheduled=True),
    )
    before, after = timed(*timers), timed(timers[3])
    removed = [each for each in effects(before, entry(OUTSIDE[0]), after) if isinstance(each, Unschedule)]
    assert removed == [Unschedule("early", "1", AT + 1)]
    closed = replace(before, status="completed")
    removed = [each for each in effects(before, entry(OUTSIDE[0]), closed) if isinstance(each, Unschedule)]
    assert [each.token for each in removed] == ["1", "4"]


def test_a_schedule_is_made_once() -> None:
    waiting = timed(Timer("1", "a", AT + 1, scheduled=True), Timer("2", "b", AT + 1))
    assert effects(waiting, entry(OUTSIDE[5]), waiting) == (Head(),)
    assert effects(None, entry(OUTSIDE[5]), waiting) == (Schedule("a", "1", AT + 1), Notify(waiting))


def test_a_retry_of_a_compensation_is_scheduled_for_the_step_that_is_undone_next() -> None:
    undone = replace(WAITING, status="compensating", wake_at=LATER, compensation=Compensation("failed", ("u", "v")))
    for after in (undone, replace(undone, steps={"a": StepState("retrying", retry_at=LATER)})):
        (made,) = effects(undone, entry(Suspended(LATER)), after)[:-1]
        undo = after.activation("u", undo=True)
        assert made == Schedule("u", f"{undo}#retry{LATER}", LATER)


def test_what_a_crash_swallowed_is_done_again_for_what_is_still_to_come() -> None:
    state = timed(Timer("1", "a", AT + 1, scheduled=True), Timer("2", "b", AT + 1), Timer("3", "c", AT, scheduled=True))
    assert again(state, AT) == (Schedule("a", "1", AT + 1), Head())
    assert again(replace(state, status="failed"), AT) == (Head(),)


# --- Status events ---

HELD = replace(FREE, paused=Paused("stop"))
PARKED = replace(FREE, parked="no such version")


@pytest.mark.parametrize(
    ("before", "after", "news"),
    [
        (None, replace(FREE, status="pending"), False),
        (None, OWNED, True),
        (replace(FREE, status="pending"), OWNED, True),
        (replace(FREE, status="pending"), replace(HELD, status="pending"), True),
        (replace(HELD, status="pending"), replace(FREE, status="pending"), False),
        (OWNED, WAITING, False),
        (WAITING, OWNED, False),
        (OWNED, HELD, True),
        (HELD, replace(HELD, status="waiting"), False),
        (HELD, WAITING, True),
        (FREE, PARKED, True),
        (PARKED, replace(PARKED, parked="still not"), False),
        (PARKED, OWNED, True),
        (OWNED, replace(OWNED, status="compensating"), True),
        (replace(OWNED, status="compensating"), replace(FREE, status="failed"), True),
        (replace(FREE, status="failed"), replace(FREE, status="pending"), False),
        (replace(FREE, status="failed"), OWNED, True),
        *((OWNED, replace(FREE, status=status), True) for status in ("completed", "failed", "cancelled")),
    ],
)
def test_a_change_of_what_a_service_outside_calls_the_status_is_news(
    before: State | None, after: State, *, news: bool
) -> None:
    """A wait is a part of running, and an instance that no one has claimed has not begun."""
    done = effects(before, entry(StepsStarted(("a",))), after)
    assert (Notify(after) in done) is news


def test_what_others_may_not_have_published_is_published_before_the_head_covers_it() -> None:
    paused = evolve(HELD, sequence=4)
    known = evolve(OWNED, kept=Kept(3, unpublished=(paused,)))
    between = effects(known, entry(StepsStarted(("a",))), evolve(known, sequence=6))
    assert between == (), "the head stays, and so does what is to be published"
    closed = evolve(FREE, status="completed", kept=known.kept)
    assert effects(known, entry(StepsStarted(("a",))), closed) == (Notify(paused), Notify(closed), Head())
    assert again(closed, AT) == (Notify(paused), Head())
