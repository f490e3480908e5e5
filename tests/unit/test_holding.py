"""What is left of permits, places in line and times after an event (rules F.1, F.7 and F.9)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.engine.activation import INSTANCE
from hephaestus.engine.events import CancelRequested, Failure, Paused
from hephaestus.engine.holding import holding, may_start
from hephaestus.engine.pacing import EARLY_MS, IN_PLACE_MS, first_start, is_in_line, may_begin, next_start
from hephaestus.engine.records import NOTHING, Grant, Held, Loop, Need, Queued, Turn
from hephaestus.engine.state import Compensation, State, StepState

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_764_000_000_000
FAILURE = Failure("Boom", "no")
HELD, WHOLE = Held(1, (Grant("one", 0, NOW),)), Held(1, (Grant("one", 0, NOW),), whole=True)
QUEUED, LINED, TURN = Queued(1, (Need("one", 1),), NOW), Turn(1, 0, NOW), Turn(1, NOW + 5)
FREE = State("i", 1, "w", 1, "running", 1, owner="o")
OVER = ("completed", "failed", "skipped", "compensated", "compensation_failed")
RUNS: dict[str, Any] = {"running": ("a",)}
COMPENSATES: dict[str, Any] = {"compensation": Compensation("failed", ("z",))}
ENDS: dict[str, dict[str, Any]] = {
    "closed": {"status": "completed"},
    "cancelled": {"cancel": CancelRequested()},
    "verdict": {"verdict": FAILURE},
    "compensation": COMPENSATES,
}
HOLDS: dict[str, Any] = {"paused": Paused()}
RESTS: dict[str, dict[str, Any]] = {"waiting": {"status": "waiting"}, "paused": HOLDS, "parked": {"parked": "why"}}


def at(status: Any, **more: Any) -> dict[str, Any]:
    """Step ``a`` is so."""
    return {"steps": {"a": StepState(status, **more)}}


def what(before: State, after: State) -> dict[str, bool]:
    """Which of its fields ``a`` keeps after an event."""
    changed = holding(before, after)
    assert all(not found and found is NOTHING for found in changed.values())
    return {name: bool(getattr(after, name)) and name not in changed for name in ("permits", "queued", "turns")}


def keeps(held: Any, *after: dict[str, Any], before: dict[str, Any] | None = None) -> bool:
    """Whether ``a`` keeps what it had before, or was given now where that is said."""
    field = {Held: "permits", Queued: "queued", Turn: "turns"}[type(held)]
    fields: dict[str, Any] = {field: {"a": held}}
    was = replace(FREE, **fields, **(before or {}))
    changed = {name: value for each in after for name, value in each.items()}
    return what(was, replace(was, **{**changed, **fields}))[field]


def test_what_ends_takes_nothing_from_what_goes_on() -> None:
    every: dict[str, Any] = {"permits": HELD, "queued": QUEUED, "turns": LINED}
    for field, held in every.items():
        both: dict[str, Any] = {field: {"a": held, "b": held}}
        state = replace(FREE, steps={"a": StepState("completed")}, **both)
        assert holding(state, state) == {field: {"b": held}}
        assert holding(state, replace(state, steps={})) == {}


@pytest.mark.parametrize("status", OVER)
def test_a_step_that_is_over_has_nothing(status: str) -> None:
    for held in (HELD, WHOLE, QUEUED, LINED, TURN):
        assert keeps(held)
        assert not keeps(held, at(status))
        assert not keeps(held, at(status), RUNS)


@pytest.mark.parametrize("held", [HELD, WHOLE, QUEUED, LINED, TURN], ids=["held", "whole", "queued", "lined", "turn"])
def test_an_activation_that_is_not_its_steps_newest_has_nothing(held: Any) -> None:
    """Of an epoch or a round that is over; also while it runs."""
    looping = at("looping", loop=Loop(1))
    for old in ({"epochs": {"a": 1}}, looping):
        assert not keeps(held, old)
        assert not keeps(held, old, RUNS)
    assert keeps(held, {"epochs": {"a": 0, "b": 1}}, at("retrying"))


@pytest.mark.parametrize("end", ENDS)
def test_at_the_end_nothing_starts_and_what_runs_has_its_permits_until_it_ends(end: str) -> None:
    """Also a step that waits with permits of its own, as long as nothing is undone."""
    after, closed = ENDS[end], end == "closed"
    assert not may_start(replace(FREE, **after))
    for held in (HELD, LINED, TURN, QUEUED):
        assert not keeps(held, after)
    for held in (HELD, WHOLE, LINED, TURN):
        assert keeps(held, after, RUNS) is not closed
    assert keeps(WHOLE, after) is (end not in {"closed", "compensation"})


def test_while_it_is_held_nothing_starts() -> None:
    assert may_start(FREE)
    assert not may_start(replace(FREE, **HOLDS))
    for held in (HELD, LINED, TURN, QUEUED):
        assert keeps(held)
        assert not keeps(held, HOLDS)
    assert keeps(WHOLE, HOLDS)


def test_an_attempt_that_was_put_off_keeps_what_it_has_until_it_starts() -> None:
    """What has ended, and was not, has neither; a place in line is kept in any case."""
    ended: dict[str, Any] = {"running": ()}
    assert not keeps(HELD, ended, before=RUNS)
    assert keeps(HELD, ended, {"turns": {"a": TURN}}, before=RUNS)
    assert not keeps(HELD, ended, {"turns": {"b": TURN}}, before=RUNS)
    assert not keeps(HELD, ended, before={**RUNS, "turns": {"a": TURN}}), "that time was before"
    assert not keeps(HELD, ended, {"turns": {"a": TURN}}, HOLDS, before=RUNS)
    assert not keeps(TURN, ended, before=RUNS)
    assert keeps(LINED, ended, before=RUNS)
    was = replace(FREE, **RUNS)
    assert what(was, replace(was, running=(), turns={"a": TURN}))["turns"], "a new one"


def test_the_permits_of_an_instance_are_held_until_it_ends() -> None:
    state = replace(FREE, permits={INSTANCE: WHOLE})
    for after in (*ENDS.values(), *RESTS.values()):
        assert what(state, replace(state, **after))["permits"] is (after != ENDS["closed"])


def items_hold(*after: dict[str, Any]) -> bool:
    """Whether a map has permits for its items."""
    return keeps(HELD, at("mapping"), *after, before=RUNS)


def cases() -> Iterator[tuple[dict[str, Any], bool]]:
    """What is so after an event, and whether the map has permits then."""
    item: dict[str, Any] = {"running": ("a[1]",)}
    other: dict[str, Any] = {"running": ("b[1]",)}
    none: dict[str, Any] = {"owner": None, "running": ()}
    yield none, True
    for name, end in ENDS.items():
        yield {**item, **end}, name in {"cancelled", "verdict"}
        yield {**other, **end}, False
    for rest in RESTS.values():
        yield {**none, **rest}, False
        yield {**none, **item, **rest}, True
        yield {**none, **other, **rest}, False
        yield {**other, **rest}, True


@pytest.mark.parametrize(("after", "held"), list(cases()))
def test_a_map_has_permits_while_its_items_run_or_may(after: dict[str, Any], held: bool) -> None:
    assert items_hold(after) is held


def test_a_time_is_over_when_it_has_come() -> None:
    def may(**fields: Any) -> bool:
        return may_begin(replace(FREE, **fields), "a", NOW)

    assert may()
    assert may(queued={"b": QUEUED}, turns={"b": TURN})
    assert not may(queued={"a": QUEUED})
    times = {0: False, 1: True, NOW: True, NOW + 1: False}
    assert {time: may(turns={"a": Turn(1, time)}) for time in times} == times


def test_an_instance_is_awake_for_the_first_time_that_is_ahead() -> None:
    """A little before it; a time that is near is waited for, and one that has come has passed."""

    def state(*times: int) -> State:
        return replace(FREE, turns={str(number): Turn(1, time) for number, time in enumerate(times)})

    assert first_start(state(0, NOW - 1, NOW), NOW) is None
    assert next_start(state(0, NOW), NOW) is None
    assert first_start(state(NOW + 9, NOW + 7, NOW), NOW) == NOW + 7
    assert next_start(state(NOW + 1), NOW) == NOW + 1
    near = NOW + IN_PLACE_MS
    assert next_start(state(near), NOW) == near
    assert next_start(state(near + 1), NOW) == near + 1 - EARLY_MS
    assert EARLY_MS < IN_PLACE_MS, "what is woken before the time waits for it"


def test_what_stands_in_any_line_is_in_line() -> None:
    assert not is_in_line(FREE)
    assert not is_in_line(replace(FREE, turns={"a": TURN}))
    assert is_in_line(replace(FREE, queued={"a": QUEUED}, turns={"a": TURN}))
    assert is_in_line(replace(FREE, turns={"a": TURN, "b": LINED}))
