"""When the head's alarm comes, row by row."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from hephaestus.engine.alarms import wake_at
from hephaestus.engine.events import (
    CancelRequested,
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
from hephaestus.engine.records import Received
from hephaestus.engine.state import State, StepState, Timer

if TYPE_CHECKING:
    from hephaestus.engine.events import Event

AT = 1_000
WAITS = State("i", 1, "w", 1, "waiting", 1, steps={"a": StepState("waiting"), "done": StepState("completed")})
SOON, LATER = replace(WAITS, wake_at=AT - 5), replace(WAITS, wake_at=AT + 5)
RETRIES, LOOPS = (replace(WAITS, steps={"a": StepState(status)}) for status in ("retrying", "looping"))
PAUSED = replace(WAITS, paused=Paused())
CANCELLED = replace(WAITS, cancel=CancelRequested())
FOR_A, FOR_ANOTHER = EventReceived("a", "go", "e"), EventReceived("done", "go", "e")
DEADLINE, DEADLINE_OF_ANOTHER = TimerSet("t", "a", AT + 3), TimerSet("t", "done", AT + 3)


@pytest.mark.parametrize(
    ("before", "event", "due"),
    [
        (LATER, Suspended(AT + 9), AT + 9),
        (LATER, Suspended(), None),
        (LATER, Parked("why", AT + 9), AT + 9),
        (LATER, HandedOver(), AT),
        (SOON, Redriven("pending"), AT),
        (SOON, Paused(), None),
        (WAITS, FOR_A, AT),
        (LATER, FOR_A, AT),
        (SOON, FOR_A, AT - 5),
        (WAITS, FOR_ANOTHER, None),
        (RETRIES, FOR_A, None),
        (RETRIES, replace(FOR_A, ends=True), AT),
        (LOOPS, FOR_A, None),
        (LOOPS, replace(FOR_A, ends=True), AT),
        (replace(LOOPS, paused=Paused()), replace(FOR_A, ends=True), None),
        (LATER, FOR_ANOTHER, AT + 5),
        (PAUSED, FOR_A, None),
        (WAITS, DEADLINE, AT + 3),
        (LATER, DEADLINE, AT + 3),
        (SOON, DEADLINE, AT - 5),
        (WAITS, DEADLINE_OF_ANOTHER, None),
        (PAUSED, DEADLINE, None),
        (LATER, CancelRequested(), AT),
        (replace(CANCELLED, wake_at=AT + 5), CancelRequested(), AT + 5),
        (PAUSED, Unpaused(), AT),
        (WAITS, Unpaused(), None),
        (LATER, Unpaused(), AT + 5),
        (LATER, StepsStarted(("a",)), AT + 5),
    ],
)
def test_who_gives_up_says_when_and_what_comes_for_a_waiting_step_brings_it_forward(
    before: State, event: Event, due: int | None
) -> None:
    assert wake_at(before, event, AT, before) == due
    owned = replace(before, owner="o", lease_until=AT + 60)
    assert wake_at(before, event, AT, owned) == AT + 60, "the lease's end, whatever happens"
    assert wake_at(before, event, AT, replace(before, status="completed")) is None


def beating(due: int, **others: Timer) -> State:
    """Step ``a`` waits for heartbeats."""
    timers = {"a": (Timer("d", "a", AT + 90), Timer("h", "a", due, heartbeat_ms=10))}
    return replace(WAITS, timers={**timers, **{name: (timer,) for name, timer in others.items()}}, wake_at=due)


AFTER = beating(AT + 10)
ALSO = StepState("waiting")


@pytest.mark.parametrize(
    ("before", "after", "due"),
    [
        (beating(AT + 1), AFTER, AT + 10),
        (replace(beating(AT + 1), wake_at=AT), AFTER, AT),
        (replace(beating(AT + 1), wake_at=AT + 90), AFTER, AT + 90),
        (replace(beating(AT + 1), paused=Paused()), AFTER, AT + 1),
        (replace(beating(AT + 1), inbox={"a": Received("go", "e", None)}), AFTER, AT + 1),
        (replace(beating(AT + 1), inbox={"done": Received("go", "e", None)}), AFTER, AT + 10),
        (beating(AT + 1), beating(AT + 10, done=Timer("x", "done", AT + 2)), AT + 10),
        (
            beating(AT + 1),
            replace(beating(AT + 10, b=Timer("x", "b", AT + 4)), steps={**WAITS.steps, "b": ALSO}),
            AT + 4,
        ),
        (
            beating(AT + 1),
            replace(AFTER, steps={**WAITS.steps, "c": StepState("retrying", retry_at=AT + 3)}),
            AT + 3,
        ),
    ],
)
def test_an_alarm_that_was_for_a_heartbeat_moves_with_it_to_what_is_due_next(
    before: State, after: State, due: int
) -> None:
    assert wake_at(before, HeartbeatReceived("a", "h", AT + 10), AT, after) == due
