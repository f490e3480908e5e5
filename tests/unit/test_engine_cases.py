"""The graph's semantics, case by case: joins, dead paths, fan-outs, choices, waits."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import pytest

from hephaestus.engine import events as ev
from hephaestus.engine.advance import Close, Deliver, Run, Sleep, advance, is_reachable, next_wake
from hephaestus.errors import InvariantBroken
from tests.unit.play import NOW, Play

if TYPE_CHECKING:
    from hephaestus.engine.state import State


def test_a_linear_workflow_runs_step_by_step_to_its_end() -> None:
    """Each step starts when the one before has completed; behind the last the instance is complete."""
    play = Play({"a": {"done": ["b"]}, "b": {"done": ["c"]}, "c": {"done": []}})
    assert play.next() == (Run("a", 1),)
    assert play.done("a").next() == (Run("b", 1),)
    assert play.done("b").next() == (Run("c", 1),)
    assert play.done("c").ended()
    assert play.skipped == []


@pytest.mark.parametrize(("event", "ran", "dead"), [("valid", "b", "c"), ("invalid", "c", "b")])
def test_exclusive_branches_merge(event: str, ran: str, dead: str) -> None:
    """Where one of two branches ran, the step behind both runs, once."""
    play = Play(
        {"a": {"valid": ["b"], "invalid": ["c"]}, "b": {"done": ["d"]}, "c": {"done": ["d"]}, "d": {"done": []}}
    )
    assert play.done("a", event).runs() == {ran}
    assert play.skipped == [dead]
    assert play.done(ran).runs() == {"d"}
    assert play.done("d").ended()


def test_a_parallel_branch_that_is_skipped_does_not_hold_up_the_join() -> None:
    """A branch that turns off towards another end is dead for the join, which runs with what is left."""
    play = Play(
        {
            "a": {"done": ["b", "c"]},
            "b": {"go": ["x"], "stop": []},
            "x": {"done": ["join"]},
            "c": {"done": ["join"]},
            "join": {"done": []},
        }
    )
    assert play.done("a").runs() == {"b", "c"}
    assert play.done("b", "stop").runs("c") == set()
    assert play.skipped == ["x"]
    assert play.done("c").runs() == {"join"}
    assert play.done("join").ended()


def test_a_join_whose_every_branch_is_skipped_is_skipped_with_all_behind_it() -> None:
    """Dead paths are followed to their ends in one answer."""
    play = Play(
        {
            "a": {"go": ["b", "c"], "stop": []},
            "b": {"done": ["d"]},
            "c": {"done": ["d"]},
            "d": {"done": ["e"]},
            "e": {"done": []},
        }
    )
    assert play.done("a", "stop").ended()
    assert sorted(play.skipped) == ["b", "c", "d", "e"]


def test_nested_fan_outs_join_inside_out() -> None:
    """The inner join waits for the inner branches only, the outer one for everything."""
    play = Play(
        {
            "a": {"done": ["b", "c"]},
            "b": {"done": ["b1", "b2"]},
            "b1": {"done": ["inner"]},
            "b2": {"done": ["inner"]},
            "inner": {"done": ["outer"]},
            "c": {"done": ["outer"]},
            "outer": {"done": []},
        }
    )
    assert play.done("a").runs() == {"b", "c"}
    assert play.done("b").runs("c") == {"b1", "b2"}
    assert play.done("b1").runs("c", "b2") == set()
    assert play.done("b2").runs("c") == {"inner"}
    assert play.done("inner").runs("c") == set()
    assert play.done("c").runs() == {"outer"}
    assert play.done("outer").ended()


@pytest.mark.parametrize("event", ["paid", "free"])
def test_two_events_of_one_step_lead_to_the_same_step(event: str) -> None:
    """One of the two edges is taken, the other dead: the step runs, once."""
    play = Play({"a": {"paid": ["b"], "free": ["b"], "declined": []}, "b": {"done": []}})
    assert play.done("a", event).runs() == {"b"}
    assert play.done("b").ended()


def test_of_two_events_to_the_same_step_neither_taken_skips_it() -> None:
    """A third event leaves both edges dead."""
    play = Play({"a": {"paid": ["b"], "free": ["b"], "declined": []}, "b": {"done": []}})
    assert play.done("a", "declined").ended()
    assert play.skipped == ["b"]


@pytest.mark.parametrize(
    ("picked", "ran", "dead"),
    [(["x"], {"x"}, ["y"]), (["y"], {"y"}, ["x"]), (["x", "y"], {"x", "y"}, []), ([], set(), ["x", "y"])],
)
def test_a_fan_out_into_a_choice(picked: list[str], ran: set[str], dead: list[str]) -> None:
    """The candidates that a Choice does not pick are dead; the join behind them waits for the others only."""
    play = Play(
        {
            "a": {"done": ["b", "c"]},
            "b": {"done": ["x", "y"]},  # a Choice
            "c": {"done": ["join"]},
            "x": {"done": ["join"]},
            "y": {"done": ["join"]},
            "join": {"done": []},
        }
    )
    play.done("a").done("c").done("b", "done", picked)
    assert play.runs() == ran or not ran
    assert sorted(play.skipped) == dead
    for step in sorted(ran):
        assert play.runs() == {step} | (ran - play.state.steps.keys())
        play.done(step)
    assert play.runs() == {"join"}
    assert play.done("join").ended()


@pytest.mark.parametrize("order", list(permutations("bcd")), ids="".join)
def test_a_join_waits_for_its_branches_in_any_order(order: tuple[str, ...]) -> None:
    """Whichever branch ends last, the join starts then and not before."""
    play = Play(
        {"a": {"done": ["b", "c", "d"]}, **{step: {"done": ["join"]} for step in "bcd"}, "join": {"done": []}},
    )
    assert play.done("a").runs() == {"b", "c", "d"}
    for position, step in enumerate(order, start=1):
        left = order[position:]
        assert play.done(step).runs(*left) == (set() if left else {"join"})


def test_a_ready_step_starts_while_an_unrelated_one_runs() -> None:
    """Only the steps behind a running step have to wait for it."""
    play = Play(
        {"a": {"done": ["b", "c"]}, "b": {"done": ["d"]}, "c": {"done": ["e"]}, "d": {"done": ["e"]}, "e": {"done": []}}
    )
    assert play.done("a").done("c").runs("b") == set()
    assert play.done("b").runs() == {"d"}


def test_several_steps_wait_at_once_each_with_its_own_timeout() -> None:
    """The instance sleeps till the first deadline; each deadline gives its own step its own event, and no other."""
    play = Play(
        {
            "a": {"done": ["b", "c", "d"]},
            "b": {"yes": ["join"], "timeout": ["join"]},
            "c": {"yes": ["join"], "expired": ["join"]},
            "d": {"yes": ["join"]},
            "join": {"done": []},
        }
    )
    play.done("a").waits("b", NOW + 200).waits("c", NOW + 100, "expired").waits("d")
    assert play.next() == (Sleep(NOW + 100),)
    play.now = NOW + 99
    assert play.next() == (Sleep(NOW + 100),)
    play.now = NOW + 100
    assert play.next() == (Deliver("c", "expired", timed_out=True),)
    assert play.done("c", "expired").next() == (Sleep(NOW + 200),)
    play.receives("b", "yes", {"by": "ann"})
    assert play.next() == (Deliver("b", "yes", {"by": "ann"}),)
    assert play.done("b", "yes").next() == (Sleep(None),)
    assert play.receives("d", "yes").delivers() == {"d": "yes"}
    assert play.done("d", "yes").runs() == {"join"}


def test_deadlines_that_have_passed_together_are_delivered_together() -> None:
    """One answer for all, and one event a step: of two deadlines the earlier, and an event before any deadline."""
    play = Play(
        {
            "a": {"done": ["b", "c"]},
            "b": {"yes": ["d"], "timeout": ["d"], "late": ["d"]},
            "c": {"yes": ["d"], "timeout": ["d"]},
            "d": {"done": []},
        }
    )
    play.done("a").waits("b", NOW + 2).waits("c", NOW + 1).happens(ev.TimerSet("b.s1", "b", NOW + 1, "late"))
    play.receives("c", "yes")
    play.now = NOW + 5
    assert play.delivers() == {"b": "late", "c": "yes"}


def test_an_early_event_is_kept_and_consumed_when_its_step_waits() -> None:
    """It changes nothing before; then it is delivered at once, with its payload."""
    play = Play({"a": {"done": ["b"]}, "b": {"approved": []}}, waits=["b"])
    play.receives("b", "approved", {"by": "ann"})
    assert play.runs() == {"a"}
    assert play.done("a").runs() == {"b"}
    assert play.waits("b").next() == (Deliver("b", "approved", {"by": "ann"}),)
    assert play.done("b", "approved").ended()
    assert play.state.inbox == {}


def test_an_early_event_for_a_step_that_is_skipped_holds_up_nothing() -> None:
    """It is kept, as a redrive may lead there, and gone when the instance completes."""
    play = Play({"a": {"go": ["b"], "stop": []}, "b": {"approved": []}}, waits=["b"])
    play.receives("b", "approved").done("a", "stop")
    assert play.ended()
    assert list(play.state.inbox) == ["b"]
    assert play.happens(ev.InstanceFinished("completed")).state.inbox == {}


def test_a_deadline_set_from_outside_before_its_step_waits_counts_from_then_on() -> None:
    """It raises no alarm before; when its time has passed already, it fires as soon as the step waits."""
    play = Play({"a": {"done": ["b"]}, "b": {"approved": [], "timeout": []}}, waits=["b"])
    play.happens(ev.TimerSet("b.s1", "b", NOW + 10))
    assert next_wake(play.graph, play.state) is None
    play.now = NOW + 50
    assert play.done("a").waits("b").delivers() == {"b": "timeout"}


def test_a_failed_attempt_is_tried_again_when_its_time_has_come() -> None:
    """The instance sleeps till then, and the attempts are counted."""
    play = Play({"a": {"done": []}})
    play.happens(ev.StepFailed("a", 1, ev.Failure("Boom", "no"), retry_at=NOW + 30))
    assert play.next() == (Sleep(NOW + 30),)
    play.now = NOW + 30
    assert play.next() == (Run("a", 2),)
    assert play.next("a") == ()
    assert play.done("a").ended()


def test_a_wait_that_fails_and_is_tried_again_begins_with_no_old_deadline() -> None:
    """The deadline of the wait before does not end the next one."""
    play = Play({"a": {"yes": [], "timeout": []}}, waits=["a"])
    play.waits("a", NOW + 10)
    play.now = NOW + 20
    play.happens(ev.StepFailed("a", 1, ev.Failure("Boom", "no"), retry_at=NOW + 20)).waits("a", NOW + 60)
    assert play.next() == (Sleep(NOW + 60),)


def test_a_step_that_failed_for_good_ends_the_instance_once_nothing_runs() -> None:
    """No further step starts, running ones are left to end, the story names the step, its attempts and the error."""
    play = Play({"a": {"done": ["b", "c"]}, "b": {"done": ["d"]}, "c": {"done": ["d"]}, "d": {"done": []}})
    play.done("a").happens(ev.StepFailed("b", 5, ev.Failure("ValueError", "no stock", "trace")))
    assert play.next("c") == ()
    (close,) = play.done("c").next()
    assert close == Close("failed", ev.Failure("ValueError", "step b failed after 5 attempt(s): no stock", "trace"))


def test_a_cancelled_instance_ends_once_nothing_runs() -> None:
    """Waiting and retrying steps do not hold it up, running ones do."""
    play = Play({"a": {"done": ["b", "c"]}, "b": {"done": []}, "c": {"done": []}})
    play.done("a").waits("b").happens(ev.CancelRequested("changed my mind"))
    assert play.next("c") == ()
    assert play.next() == (Close("cancelled"),)


def test_what_is_not_of_this_graph_is_none_of_its_business() -> None:
    """A step in flight, an event or a deadline of a step that the graph does not have changes nothing."""
    play = Play({"a": {"done": []}})
    play.receives("ghost", "done").happens(ev.StepWaiting("ghost"))
    assert play.next("ghost") == (Run("a", 1),)
    assert not is_reachable(play.graph, play.state, "ghost")


def test_a_state_that_the_rules_exclude_is_reported_as_a_defect() -> None:
    """Nothing can run, nothing waits, yet a step is undecided: never a silent end."""
    play = Play({"a": {"done": ["b"]}, "b": {"done": []}})
    state: State = play.done("a", "done", []).state
    broken = type(play.graph)("a", {"a": {"done": ("b",)}, "b": {"done": ()}})
    object.__setattr__(broken, "predecessors", {"a": (), "b": ("nowhere",)})
    object.__setattr__(broken, "successors", {"a": (), "b": ()})
    with pytest.raises(InvariantBroken, match="order::1: nothing can run, yet b are undecided"):
        advance(broken, state, NOW)


@pytest.mark.parametrize(
    ("event", "reachable"), [(None, True), ("go", True), ("stop", False)], ids=["undecided", "taken", "dead"]
)
def test_a_step_is_reachable_until_it_is_ruled_out(event: str | None, reachable: bool) -> None:
    """Also in the moment before its skipping is recorded."""
    play = Play({"a": {"go": ["b"], "stop": []}, "b": {"done": ["c"]}, "c": {"done": []}})
    if event:
        play.done("a", event)
    assert is_reachable(play.graph, play.state, "c") is reachable
