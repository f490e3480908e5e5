"""The life-cycle tables and the fold."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from hephaestus.engine import events as ev
from hephaestus.engine.events import NOTHING
from hephaestus.engine.fold import apply, begin, fold
from hephaestus.engine.requests import repeats
from hephaestus.engine.state import STATUSES, State
from hephaestus.engine.transitions import INSTANCE_TRANSITIONS, STEP_TRANSITIONS
from hephaestus.errors import CorruptLog
from tests.unit.play import NOW, Play, one_of_each

FAILURE = ev.Failure("Boom", "no")


def entry(sequence: int, *events: ev.Event, at: int = NOW) -> ev.Entry:
    """One commit."""
    return ev.Entry(sequence, f"c{sequence}", at, events)


def started(*more: ev.Event) -> State:
    """A fresh instance."""
    return begin("order::1", 1, entry(1, ev.InstanceStarted("Flow", 2, tags=("a",), start_id="s"), *more))


def in_status(status: str) -> State:
    """An instance in a status of the table."""
    state = started()
    if status == "pending":
        return state
    state = apply(state, [ev.Claimed("me", NOW + 5)], NOW)
    return state if status == "running" else apply(state, [ev.Suspended()], NOW)


def test_an_instance_begins_with_its_start() -> None:
    """Pending, with what the start says, and an alarm at once."""
    state = started()
    assert (state.workflow, state.version, state.tags, state.start_id) == ("Flow", 2, ("a",), "s")
    assert (state.status, state.sequence, state.wake_at, state.created_at) == ("pending", 1, NOW, NOW)
    assert not state.owned(NOW)


@pytest.mark.parametrize(
    "first",
    [entry(1), entry(1, ev.Claimed("me", 5)), entry(2, ev.InstanceStarted("Flow", 1))],
    ids=["empty", "not a start", "not number 1"],
)
def test_what_does_not_begin_with_a_start_is_no_generation(first: ev.Entry) -> None:
    """Corrupt, not guessed at."""
    with pytest.raises(CorruptLog, match="order::1: generation 3 does not begin with a start"):
        begin("order::1", 3, first)


@pytest.mark.parametrize("status", ["pending", "running", "waiting"])
@pytest.mark.parametrize("event", one_of_each(), ids=lambda event: type(event).__name__)
def test_an_instance_obeys_its_table(status: str, event: ev.Event) -> None:
    """What the table allows leads where it says; anything else is a corrupt log."""
    state = in_status(status)
    following = INSTANCE_TRANSITIONS[status].get(type(event))
    if following is None:
        with pytest.raises(CorruptLog, match=f"order::1 is {status}: {type(event).__name__} cannot happen to it"):
            apply(state, [event], NOW)
    else:
        after = apply(state, [event], NOW + 1)
        assert after.status == {"=": status, "completed|failed|cancelled": "completed"}.get(following, following)
        assert after.updated_at == NOW + 1


@pytest.mark.parametrize("status", ["pending", "retrying", "waiting", "completed", "failed", "skipped"])
@pytest.mark.parametrize(
    ("event", "leads_to"),
    [
        (ev.StepCompleted("a", "done", ()), "completed"),
        (ev.StepWaiting("a"), "waiting"),
        (ev.StepFailed("a", 1, FAILURE), "failed"),
        (ev.StepFailed("a", 1, FAILURE, retry_at=NOW), "retrying"),
        (ev.StepsSkipped(("a",)), "skipped"),
    ],
    ids=["completed", "waiting", "failed", "retrying", "skipped"],
)
def test_a_step_obeys_its_table(status: str, event: ev.Event, leads_to: str) -> None:
    """What the table allows leads where it says; anything else is a corrupt log."""
    before: dict[str, list[ev.Event]] = {
        "retrying": [ev.StepFailed("a", 1, FAILURE, retry_at=NOW)],
        "waiting": [ev.StepWaiting("a")],
        "completed": [ev.StepCompleted("a", "done", ())],
        "failed": [ev.StepFailed("a", 1, FAILURE)],
        "skipped": [ev.StepsSkipped(("a",))],
    }
    state = apply(in_status("running"), before.get(status, []), NOW)
    allowed = STEP_TRANSITIONS.get(status, {}).get(type(event))
    if allowed is None:
        with pytest.raises(CorruptLog, match=f"step a is {status}: {type(event).__name__} cannot happen to it"):
            apply(state, [event], NOW)
    else:
        assert leads_to in allowed.split(" or ")
        assert apply(state, [event], NOW).step_status("a") == leads_to


def test_the_tables_speak_of_known_statuses_only() -> None:
    """Every status that a table leads to is one, and a closed one leads nowhere else."""
    targets = {to for allowed in INSTANCE_TRANSITIONS.values() for named in allowed.values() for to in named.split("|")}
    assert targets - {"="} <= set(STATUSES)
    assert "undone" not in INSTANCE_TRANSITIONS
    assert set(INSTANCE_TRANSITIONS["completed"]) == {ev.UndoRequested, ev.PartResumed}
    assert set(INSTANCE_TRANSITIONS["cancelled"]) == {ev.Redriven, ev.UndoRequested, ev.PartResumed}
    assert set(INSTANCE_TRANSITIONS["failed"]) == {ev.Redriven, ev.UndoRequested}


def test_an_instance_ends_in_a_closed_status_only() -> None:
    """An end that is none is a corrupt log."""
    with pytest.raises(CorruptLog, match="order::1 is pending: InstanceFinished cannot lead to 'running'"):
        apply(started(), [ev.InstanceFinished("running")], NOW)


@pytest.mark.parametrize("sequence", [1, 3, 0])
def test_a_log_with_a_gap_is_corrupt(sequence: int) -> None:
    """Invariant 1: the log is linear and gapless."""
    with pytest.raises(CorruptLog, match=f"order::1: log entry {sequence} follows entry 1"):
        fold(started(), [entry(sequence, ev.Claimed("me", 5))])


def test_a_claim_and_its_end() -> None:
    """While somebody owns the instance the alarm is the lease's end; whoever leaves says when to look again."""
    state = apply(started(), [ev.Claimed("me", NOW + 50)], NOW)
    assert (state.owner, state.lease_until, state.wake_at) == ("me", NOW + 50, NOW + 50)
    assert state.owned(NOW + 49)
    assert not state.owned(NOW + 50)
    for leaving, alarm in (
        (ev.Suspended(NOW + 70), NOW + 70),
        (ev.Suspended(), None),
        (ev.HandedOver(), NOW + 3),
        (ev.Parked("version 2 is not deployed", NOW + 90), NOW + 90),
    ):
        after = apply(state, [leaving], NOW + 3)
        assert (after.owner, after.lease_until, after.wake_at) == (None, 0, alarm)
    assert after.parked == "version 2 is not deployed"
    assert apply(after, [ev.Claimed("you", NOW + 99)], NOW + 90).parked is None


def test_each_event_says_when_the_instance_was_changed_last() -> None:
    """The times in a log never go back, as each is at least the last."""
    state = State("i", 1, "w", 1, "pending", 1, NOW, NOW)
    assert apply(state, [ev.Claimed("o", NOW + 9)], NOW + 5).updated_at == NOW + 5
    assert apply(state, [], NOW + 5).updated_at == NOW


def test_the_alarm_of_a_sleeping_instance_comes_sooner_never_later() -> None:
    """An event for the waiting step, a cancellation or a nearer deadline bring it forward; others leave it."""
    play = Play({"a": {"yes": [], "timeout": []}}, waits=["a"])
    play.waits("a", NOW + 500).happens(ev.Suspended(NOW + 500))
    assert play.state.wake_at == NOW + 500
    assert play.happens(ev.TimerSet("a.s1", "a", NOW + 900)).state.wake_at == NOW + 500
    assert play.happens(ev.TimerSet("a.s2", "a", NOW + 300)).state.wake_at == NOW + 300
    assert play.happens(ev.TimerSet("b.s3", "b", NOW + 100)).state.wake_at == NOW + 300
    assert play.receives("b", "yes").state.wake_at == NOW + 300
    assert play.state.timers_set == 3
    cancelled = apply(play.state, [ev.CancelRequested()], NOW + 20)
    assert cancelled.wake_at == NOW + 20
    play.now = NOW + 10
    assert play.receives("a", "yes").state.wake_at == NOW + 10


def test_the_alarm_of_an_owned_instance_is_its_lease() -> None:
    """Its owner meets the event at its next commit; the alarm is for the owner's death."""
    play = Play({"a": {"yes": []}}, waits=["a"]).waits("a")
    assert play.receives("a", "yes").state.wake_at == play.state.lease_until


def test_an_alarm_is_set_where_there_was_none() -> None:
    """A wait without a deadline sleeps without an alarm until an event comes."""
    play = Play({"a": {"yes": []}}, waits=["a"]).waits("a").happens(ev.Suspended())
    assert play.state.wake_at is None
    assert play.receives("a", "yes").state.wake_at == NOW


def test_a_completed_step_leaves_nothing_behind_and_a_failed_one_what_was_accepted_for_it() -> None:
    """Those of other steps stay, and so do the ids."""
    play = Play({"a": {"done": ["b", "c"]}, "b": {"yes": []}, "c": {"yes": []}}, waits=["b", "c"]).done("a")
    play.waits("b", NOW + 5).waits("c", NOW + 6).receives("b", "yes").receives("c", "yes").done("b", "yes")
    assert [timer.step for timer in play.state.deadlines] == ["c"]
    assert list(play.state.inbox) == ["c"]
    play.happens(ev.TimerSet("c.r1", "c", NOW + 7))
    failed = apply(play.state, [ev.StepFailed("c", 1, FAILURE)], NOW)
    assert [timer.token for timer in failed.deadlines] == ["c.r1"], "its own deadline ended with its wait"
    assert list(failed.inbox) == ["c"]
    known = [repeats(play.state, "event", name, "") for name in ("b-yes", "c-yes", "b-no")]
    assert known == [True, True, False]


def test_a_failed_attempt_keeps_what_came_early() -> None:
    """The event or the deadline is for the wait that the next attempt begins."""
    play = Play({"a": {"yes": []}}).receives("a", "yes").happens(ev.TimerSet("a.s1", "a", NOW + 50))
    play.happens(ev.StepFailed("a", 1, FAILURE, retry_at=NOW + 5))
    assert list(play.state.inbox) == ["a"]
    assert [timer.token for timer in play.state.deadlines] == ["a.s1"]


def test_what_a_step_did_is_kept() -> None:
    """Event, targets, results, attempt, times; metadata is merged into the instance's."""
    state = in_status("running")
    state = apply(state, [ev.StepCompleted("a", "done", ("b",), {"n": 1}, {"x": 1, "y": 1}, NOW, 2)], NOW + 4)
    state = apply(state, [ev.StepCompleted("b", "done", (), metadata={"y": 2})], NOW + 5)
    step = state.steps["a"]
    assert (step.event, step.taken, step.results, step.attempt) == ("done", ("b",), {"n": 1}, 2)
    assert (step.started_at, step.ended_at) == (NOW, NOW + 4)
    assert state.metadata == {"x": 1, "y": 2}


def test_a_finished_instance_keeps_its_results_and_drops_its_alarms() -> None:
    """No owner, no alarm; the error is kept, and what a redrive would go on with."""
    play = Play({"a": {"yes": []}}).waits("a", NOW + 5).receives("a", "yes")
    failed = apply(play.state, [ev.InstanceFinished("failed", FAILURE)], NOW)
    assert (failed.owner, failed.wake_at, failed.error, failed.closed) == (None, None, FAILURE, True)
    assert ([timer.step for timer in failed.deadlines], list(failed.inbox)) == (["a"], ["a"])
    completed = apply(play.state, [ev.InstanceFinished("completed")], NOW)
    assert (completed.wake_at, completed.timers, dict(completed.inbox)) == (None, {}, {})


def test_a_state_cannot_be_changed() -> None:
    """Neither its fields nor what it holds."""
    state = in_status("running")
    state = apply(state, [ev.StepCompleted("a", "done", (), metadata={"y": 2})], NOW)
    with pytest.raises(FrozenInstanceError):
        state.status = "completed"  # type: ignore[misc]  # wrong on purpose
    for mapping in (state.initial, state.metadata, NOTHING):
        with pytest.raises(TypeError, match=r"immutable|does not support"):
            mapping["y"] = 3  # type: ignore[index]  # wrong on purpose


def test_an_event_the_fold_has_not_heard_of_is_a_corrupt_log() -> None:
    """A newer release's event is never skipped over."""
    with pytest.raises(CorruptLog, match="Event cannot happen to it"):
        apply(in_status("running"), [ev.Event()], NOW)


def redriven(*before: ev.Event) -> State:
    """An instance whose step ``a`` was undone, and that goes on with ``a`` and ``w`` as new activations."""
    play = Play({"a": {"done": ["w", "f"]}, "w": {"go": []}, "f": {"done": []}}, waits=["w"])
    play.done("a").happens(ev.StepWaiting("w"), *before, ev.StepFailed("f", 1, FAILURE))
    play.happens(ev.CompensationStarted("failed", ("a",)), ev.StepCompensated("a!undo"))
    play.happens(ev.InstanceFinished("failed"), ev.Redriven("pending", ("a", "w", "f"), ("a", "w", "f")))
    return play.happens(ev.Claimed("me", NOW + 5)).state


def test_what_was_undone_runs_again_as_a_new_activation() -> None:
    """Its epoch counts that; nothing that the old activation comes to can happen to it any more."""
    state = redriven()
    assert (state.activation("a"), state.activation("a", undo=True)) == ("a~1", "a~1!undo")
    for late in (ev.StepCompleted("a", "done", ()), ev.StepWaiting("a"), ev.EventReceived("w", "go", "1")):
        with pytest.raises(CorruptLog, match="is not the newest activation of step"):
            apply(state, [late], NOW)
    assert apply(state, [ev.StepCompleted("a~1", "done", ("w", "f"))], NOW).step_status("a") == "completed"


def test_an_event_kept_for_a_step_waits_for_its_next_activation() -> None:
    """Invariant 5: a redrive loses none that was accepted."""
    state = redriven(ev.EventReceived("w", "go", "1"))
    assert list(state.inbox) == ["w~1"]


def test_a_fork_takes_over_the_epochs_of_its_steps() -> None:
    """So that what it undoes is what ran."""
    forked = ev.Forked("order::0", 1, 7, (ev.StepCompleted("a~2", "done", ()), ev.StepCompleted("b", "done", ())))
    assert started(forked).epochs == {"a": 2}


def test_what_is_the_text_of_no_activation_is_a_corrupt_log() -> None:
    """Never a guess."""
    with pytest.raises(CorruptLog, match="order::1: 'a~0' is not the text of an activation"):
        apply(in_status("running"), [ev.StepWaiting("a~0")], NOW)
