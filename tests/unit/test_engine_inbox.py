"""Which step an event from outside is for."""

from __future__ import annotations

import pytest

from hephaestus.engine import events as ev
from hephaestus.engine.inbox import accept, accepted_events, takers
from hephaestus.errors import AmbiguousEvent, InstanceClosed, UnexpectedEvent, UnknownStep
from tests.unit.play import Play


def approvals(*waits: str) -> Play:
    """Two approvals side by side behind a first step that may also ask; they have ``approved`` in common."""
    return Play(
        {
            "a": {"done": ["b", "c"], "approved": ["b", "c"]},
            "b": {"approved": ["d"], "rejected": ["d"]},
            "c": {"approved": ["d"], "expired": ["d"]},
            "d": {"done": []},
        },
        waits,
    )


def test_a_step_that_waits_comes_first() -> None:
    """Before one that is sure to wait later, and before one that may."""
    play = approvals("b", "c").done("a").waits("c")
    assert accept(play.graph, play.state, "approved") == "c"


def test_a_step_that_is_sure_to_wait_comes_before_one_that_may() -> None:
    """Nobody waits yet: the event is kept for the WaitForEvent, not for the function step that declares it, too."""
    play = approvals("b")
    assert accept(play.graph, play.state, "approved") == "b"


def test_a_step_that_may_wait_takes_an_event_that_no_other_declares() -> None:
    """Any function step may return Pending."""
    play = approvals()
    assert accept(play.graph, play.state, "expired") == "c"


def test_an_event_that_several_could_take_is_refused_with_their_names() -> None:
    """Two waiting steps, or two that are sure to wait, or two that may."""
    for play in (approvals("b", "c").done("a").waits("b").waits("c"), approvals("b", "c")):
        with pytest.raises(AmbiguousEvent, match="'approved' could be for b, c; name the step") as caught:
            accept(play.graph, play.state, "approved")
        assert caught.value.steps == ("b", "c")
    play = approvals()
    with pytest.raises(AmbiguousEvent) as caught:
        accept(play.graph, play.state, "approved")
    assert set(caught.value.steps) == {"a", "b", "c"}


def test_naming_the_step_settles_it() -> None:
    """Among waiting ones, and past a waiting one for a later one."""
    play = approvals("b", "c").done("a").waits("b").waits("c")
    assert accept(play.graph, play.state, "approved", "c") == "c"
    play = approvals("b", "c").done("a").waits("b")
    assert accept(play.graph, play.state, "approved", "c") == "c"


def test_each_step_keeps_one_event_and_the_next_goes_to_the_next_step() -> None:
    """A step that holds an event takes no other."""
    play = approvals("b", "c").done("a").waits("b").receives("b", "approved")
    assert accept(play.graph, play.state, "approved") == "c"
    play.receives("c", "approved")
    with pytest.raises(UnexpectedEvent):
        accept(play.graph, play.state, "approved")
    with pytest.raises(UnexpectedEvent, match="for step b"):
        accept(play.graph, play.state, "approved", "b")


def test_an_unexpected_event_is_refused_with_the_events_that_would_be_taken() -> None:
    """Those of waiting steps and of steps that are sure to wait, by step; in the message, and for a program."""
    play = approvals("c").done("a").waits("b")
    with pytest.raises(UnexpectedEvent, match="takes no event 'shipped' now; it would take") as caught:
        accept(play.graph, play.state, "shipped")
    assert caught.value.accepted == {"b": ("approved", "rejected"), "c": ("approved", "expired")}
    assert caught.value.details == {"accepted": {"b": ["approved", "rejected"], "c": ["approved", "expired"]}}
    assert "b: approved, rejected" in str(caught.value)


def test_where_nothing_would_be_taken_the_message_says_so() -> None:
    """``none``, not an empty text."""
    play = Play({"a": {"done": []}})
    with pytest.raises(UnexpectedEvent, match="it would take none"):
        accept(play.graph, play.state, "approved")


def test_a_step_that_has_ended_takes_nothing() -> None:
    """Completed, skipped, or ruled out a moment ago."""
    play = Play({"a": {"go": ["b"], "stop": []}, "b": {"approved": ["c"]}, "c": {"approved": []}}, waits=["b", "c"])
    play.done("a", "stop")
    assert takers(play.graph, play.state) == []
    play.next()
    assert takers(play.graph, play.state) == []
    assert accepted_events(play.graph, play.state) == {}
    with pytest.raises(UnexpectedEvent):
        accept(play.graph, play.state, "approved", "b")


def test_beside_a_step_that_waits_one_that_was_ruled_out_a_moment_ago_takes_nothing() -> None:
    """Its skip is not recorded yet, and the other one alone needs no look at what leads where."""
    edges: dict[str, dict[str, list[str]]] = {
        "a": {"done": ["b", "c"]},
        "b": {"approved": ["e"]},
        "c": {"go": ["d"], "stop": ["e"]},
        "d": {"approved": ["e"]},
        "e": {"done": []},
    }
    play = Play(edges, ["b", "d"]).done("a").waits("b").done("c", "stop")
    assert takers(play.graph, play.state) == ["b", "e"]
    with pytest.raises(UnexpectedEvent):
        accept(play.graph, play.state, "approved", "d")


def test_an_unknown_step_is_refused_with_those_that_exist() -> None:
    """Whatever the event."""
    play = approvals()
    with pytest.raises(UnknownStep, match="has no step 'approval'; it has a, "):
        accept(play.graph, play.state, "approved", "approval")


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_closed_instance_takes_no_event(status: str) -> None:
    """Invariant 8; the message says how it ended."""
    play = approvals("b").happens(ev.InstanceFinished(status))
    with pytest.raises(InstanceClosed, match=f"order::1 is {status}"):
        accept(play.graph, play.state, "approved", "no such step")


def test_an_instance_that_is_being_cancelled_takes_no_event() -> None:
    """It would be lost."""
    play = approvals("b").happens(ev.CancelRequested())
    with pytest.raises(InstanceClosed, match="is being cancelled"):
        accept(play.graph, play.state, "approved")


EDGES: dict[str, dict[str, list[str]]] = {"a": {"approved": ["b"], "timeout": []}, "b": {"done": []}}


@pytest.mark.parametrize("named", [None, "a"])
@pytest.mark.parametrize(
    ("play", "said"),
    [
        (Play(EDGES, ["a"]).waits("a").done("a", "approved"), "a was already answered with 'approved'"),
        (Play(EDGES, ["a"]).waits("a").done("a", "timeout"), "a has already ended with 'timeout'"),
        (Play(EDGES).done("a", "approved"), "a has already ended with 'approved'"),
        (Play(EDGES, ["a"]).receives("a", "approved"), "a was already answered with 'approved'"),
    ],
)
def test_a_second_answer_is_rejected_with_the_first(play: Play, said: str, named: str | None) -> None:
    """Also while the next step runs, and while the first answer is kept for a step that comes later."""
    with pytest.raises(UnexpectedEvent, match=said):
        accept(play.graph, play.state, "approved", named)
