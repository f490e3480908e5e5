"""What every store does: starts, commits, loads, histories, alarms, listings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hephaestus.engine.events import (
    CancelRequested,
    Claimed,
    EventReceived,
    HandedOver,
    InstanceFinished,
    Parked,
    StepCompleted,
    StepFailed,
    StepsSkipped,
    StepWaiting,
    Suspended,
    TimerSet,
)
from hephaestus.engine.events import Failure as Error
from hephaestus.engine.fold import begin, fold
from hephaestus.engine.state import STATUSES
from hephaestus.errors import BadRequest
from hephaestus.store.filters import ListFilter
from hephaestus.store.listing import Listed
from hephaestus.store.overdue import Wakeup
from hephaestus.values import freeze
from tests.contract.instances import T0, claim, commit, everything, finish, start, started, step, suspend, write

if TYPE_CHECKING:
    from hephaestus.engine.events import Entry, Event
    from hephaestus.store.store import Store

LONG = "ключ::" + "x" * 128


def test_what_is_started_is_loaded(store: Store) -> None:
    """A start is durable as soon as ``create`` returns, with all that it was given."""
    state = started(
        store,
        "orderid::a",
        initial={"name": "Zoë ✓ 日本", "deep": {"list": [1, 2.5, None, True]}},
        tags=("sales", "north"),
        metadata={"team": "x"},
    )
    assert state.generation == 1
    assert store.load("orderid::a") == state
    assert store.load("orderid::b") is None


def test_a_start_with_a_claim_is_loaded_as_claimed(store: Store) -> None:
    """A start that runs in place claims in the same commit."""
    state = started(store, "orderid::a", owner="me")
    assert (state.owner, state.status) == ("me", "running")
    assert store.load("orderid::a") == state


def test_an_active_instance_is_not_started_again(store: Store) -> None:
    """One active instance an id: the second start is refused, and changes nothing."""
    first = started(store, "orderid::a", initial={"n": 1})
    assert start("orderid::a", initial={"n": 2}).write(store) is None
    assert store.load("orderid::a") == first


def test_the_same_start_twice_is_one(store: Store) -> None:
    """Invariant 5: a start whose answer was lost succeeds again, and later answers with what has become of it."""
    same = start("orderid::a")
    assert same.write(store) == same.state
    assert same.write(store) == same.state
    later = claim(store, same.state)
    assert same.write(store) == later


def test_a_closed_instance_is_started_as_the_next_generation(store: Store) -> None:
    """A finished id may be started again: a new generation, and the old history is complete."""
    old = finish(store, write(store, claim(store, started(store, "orderid::a", initial={"n": 1})), step("one")))
    before = everything(store, old)
    new = started(store, "orderid::a", initial={"n": 2}, tags=("again",), at=T0 + 10_000)
    assert (new.generation, new.sequence, new.status, new.initial) == (2, 1, "pending", {"n": 2})
    assert store.load("orderid::a") == new
    assert [entry.sequence for entry in before] == [1, 2, 3, 4]
    assert store.history("orderid::a", 1, 0, 100) == (1, before)
    assert store.history("orderid::a", None, 0, 100) == (2, everything(store, new))
    finish(store, new)
    assert started(store, "orderid::a", at=T0 + 20_000).generation == 3
    assert store.history("orderid::a", 1, 0, 100) == (1, before)


def test_the_same_start_of_a_next_generation_twice_is_one(store: Store) -> None:
    """Invariant 5, for an id that was used before: even with another time of day."""
    finish(store, started(store, "orderid::a"))
    assert started(store, "orderid::a", commit_id="c" * 32, at=T0 + 5_000).generation == 2
    again = started(store, "orderid::a", commit_id="c" * 32, at=T0 + 6_000)
    assert (again.generation, again.created_at) == (2, T0 + 5_000)


def test_a_start_repeated_after_later_generations_is_still_one(store: Store) -> None:
    """Invariant 5: its answer shows what the id is now; nothing is started again."""
    for number, name in enumerate("abc"):
        finish(store, started(store, "orderid::a", commit_id=name * 32, at=T0 + number * 5_000))
    for name in "abc":
        again = started(store, "orderid::a", commit_id=name * 32, at=T0 + 60_000)
        assert (again.generation, again.status) == (3, "completed")
    assert started(store, "orderid::a", commit_id="d" * 32, at=T0 + 70_000).generation == 4


def test_entries_are_loaded_in_order(store: Store) -> None:
    """Invariant 9: a load gives what folding the whole log gives."""
    state = claim(store, started(store, "orderid::a"))
    for number in range(5):
        state = write(store, state, step(f"step-{number}", f"step-{number + 1}", total=number))
        assert store.load("orderid::a") == state
    log = everything(store, state)
    assert [entry.sequence for entry in log] == list(range(1, 8))
    assert fold(begin("orderid::a", 1, log[0], state.life), log[1:]) == state


def test_every_event_comes_back_as_it_was(store: Store) -> None:
    """Invariant 9: with every kind of event, a snapshot plus the rest of the log is the folded log, at every point."""
    state = started(store, "orderid::a", owner="me", initial={"n": 1}, tags=("t",))
    commits: list[tuple[Event, ...]] = [
        (StepWaiting("approval", T0, 1, "approval#1", T0 + 50_000, scheduled=True), step("b", "c", total=3)),
        (EventReceived("approval", "approved", "e1", freeze({"by": "ü"})), TimerSet("approval.s2", "approval", T0 + 9)),
        (StepFailed("c", 1, Error("ValueError", "no", "trace"), T0, T0 + 500),),
        (Suspended(T0 + 500),),
        (Claimed("two", T0 + 90_000),),
        (
            StepCompleted("approval", "approved", ("d",), freeze({"by": "ü"}), freeze({"seen": True})),
            StepsSkipped(("e",)),
        ),
        (HandedOver(),),
        (Parked("version 3 is not deployed", T0 + 99_000),),
        (Claimed("three", T0 + 190_000),),
        (CancelRequested("enough", "r1"), StepFailed("c", 2, Error("ValueError", "no"))),
        (InstanceFinished("failed", Error("ValueError", "no")),),
    ]
    for events in commits:
        state = write(store, state, *events)
        assert store.load("orderid::a") == state
        log = everything(store, state)
        assert fold(begin("orderid::a", 1, log[0], state.life), log[1:]) == state


def test_a_taken_number_is_refused(store: Store) -> None:
    """Invariant 1: at most one commit wins a number; the loser reads the winner's entry and decides again."""
    state = claim(store, started(store, "orderid::a"))
    mine, my_entry = commit(state, step("a"))
    theirs, their_entry = commit(state, EventReceived("b", "go", "e1"))
    assert store.commit(theirs, their_entry)
    assert not store.commit(mine, my_entry)
    assert store.tail(state) == theirs
    assert store.load("orderid::a") == theirs
    assert write(store, theirs, step("a")).sequence == 4


@pytest.mark.parametrize("boundary", [False, True])
def test_a_commit_whose_answer_was_lost_is_written_once(store: Store, *, boundary: bool) -> None:
    """The number is taken by my own commit id: it had been written, and only the answer was lost."""
    state = claim(store, started(store, "orderid::a"))
    after, entry = commit(state, Suspended(T0 + 999) if boundary else step("a"))
    assert store.commit(after, entry)
    assert store.commit(after, entry)
    assert everything(store, after)[-1] == entry
    assert len(everything(store, after)) == 3
    assert store.load("orderid::a") == after


def test_a_boundary_loses_to_an_entry(store: Store) -> None:
    """An owner about to suspend loses the slot to an event, reloads, and goes on: no wake-up is lost."""
    state = claim(store, started(store, "orderid::a"))
    suspended, closing = commit(state, Suspended(None))
    write(store, state, EventReceived("b", "go", "e1"))
    assert not store.commit(suspended, closing)
    loaded = store.load("orderid::a")
    assert loaded is not None
    assert (loaded.owner, loaded.wake_at, list(loaded.inbox)) == ("owner-1", state.lease_until, ["b"])


@pytest.mark.parametrize("boundary", [False, True])
def test_an_old_generation_takes_nothing_more(store: Store, *, boundary: bool) -> None:
    """Whoever was fenced by the end of a generation cannot write into it, nor into the next."""
    state = claim(store, started(store, "orderid::a"))
    late, entry = commit(state, Suspended(None) if boundary else step("late"))
    old = finish(store, state)
    new = started(store, "orderid::a", at=T0 + 10_000)
    assert not store.commit(late, entry)
    assert store.load("orderid::a") == new
    assert store.history("orderid::a", 1, 0, 10) == (1, everything(store, old))
    assert len(everything(store, old)) == 3


def test_an_instance_that_is_not_there_does_not_begin_by_a_commit(store: Store) -> None:
    """An update makes no head where there is none, and without a head there is no instance."""
    never = start("orderid::never")
    after, entry = commit(never.state, Claimed("me", T0 + 1))
    stored = store.commit(after, entry)
    assert stored is not None
    store.settle(stored)
    assert store.load("orderid::never") is None
    assert store.history("orderid::never", None, 0, 9) is None


def test_history_in_pages(store: Store) -> None:
    """A page has at most so many entries after a number; the pages together are the log."""
    state = claim(store, started(store, "orderid::a"))
    for number in range(7):
        state = write(store, state, step(f"step-{number}"))
    whole = everything(store, state)
    pages: list[Entry] = []
    while (page := store.history("orderid::a", None, pages[-1].sequence if pages else 0, 4)) is not None and page[1]:
        assert len(page[1]) <= 4
        pages += page[1]
    assert pages == whole
    assert store.history("orderid::a", None, 0, 1) == (1, whole[:1])
    assert store.history("orderid::a", None, 99_999_999, 1) == (1, [])
    assert store.history("orderid::a", 2, 0, 1) is None
    assert store.history("orderid::a", 0, 0, 1) is None
    assert store.history("orderid::nobody", None, 0, 1) is None


def test_the_alarms_show_who_is_overdue(store: Store) -> None:
    """The index of alarms is sparse: an instance that waits for ever, or has ended, is not in it."""
    started(store, "orderid::pending", at=T0)
    started(store, "orderid::owned", at=T0, owner="me")
    suspend(store, claim(store, started(store, "orderid::forever")))
    suspend(store, claim(store, started(store, "orderid::soon")), T0 + 500)
    suspend(store, claim(store, started(store, "orderid::later")), T0 + 90_000)
    finish(store, started(store, "orderid::ended"))
    write(store, claim(store, started(store, "orderid::handed")), HandedOver(), at=T0 + 300)

    def ids(now: int) -> set[str]:
        return {wakeup.instance_id.removeprefix("orderid::") for wakeup in store.overdue(now, 100).items}

    assert ids(T0 - 1) == set()
    assert ids(T0) == {"pending"}
    assert ids(T0 + 300) == {"pending", "handed"}
    assert ids(T0 + 500) == {"pending", "handed", "soon"}
    assert ids(T0 + 60_000) == {"pending", "handed", "soon", "owned"}
    assert ids(T0 + 10**9) == {"pending", "handed", "soon", "owned", "later"}
    assert Wakeup("orderid::soon", T0 + 500) in store.overdue(T0 + 500, 100).items


def test_the_most_overdue_come_first(store: Store) -> None:
    """Where there are more than a sweep takes, those that have waited longest come first."""
    for number in range(30):
        started(store, f"orderid::{number}", at=T0 + (number * 7) % 30)
    found = store.overdue(T0 + 100, 3).items
    assert min(wakeup.wake_at for wakeup in found) == T0
    assert 3 <= len(found) < 30
    assert len(store.overdue(T0 + 100, 100).items) == 30


def test_a_listing_shows_the_newest_first(store: Store) -> None:
    """By workflow and status, newest start first; an instance is under its present status only."""
    for number in range(6):
        started(store, f"orderid::{number}", at=T0 + number, tags=("even",) if number % 2 == 0 else ())
    started(store, "other::1", at=T0 + 9, workflow="Other")
    done = store.load("orderid::3")
    assert done is not None
    finish(store, done)
    page = store.list(ListFilter(["OrderFlow"], ["pending"]), limit=10)
    assert [item.instance_id for item in page.items] == [f"orderid::{number}" for number in (5, 4, 2, 1, 0)]
    assert page.cursor is None
    assert page.items[1] == Listed("orderid::4", "OrderFlow", 1, 1, "pending", ("even",), T0 + 4, T0 + 4)
    everywhere = store.list(ListFilter(["OrderFlow", "Other"], STATUSES), limit=10)
    assert [item.instance_id[-1] for item in everywhere.items] == ["1", "5", "4", "3", "2", "1", "0"]
    closed = store.list(ListFilter(["OrderFlow"], ["completed", "failed"]), limit=10)
    assert [(item.instance_id, item.status) for item in closed.items] == [("orderid::3", "completed")]
    assert store.list(ListFilter(["Nobody"], STATUSES), limit=10).items == ()


def test_a_listing_filters_by_tag_and_time(store: Store) -> None:
    """A tag is matched whole; ``since`` leaves out what started before it."""
    for number in range(8):
        tags = ("sales", "eu") if number % 2 == 0 else ("sal",)
        started(store, f"orderid::{number}", at=T0 + number, tags=tags)

    def ids(tag: str | None, since: int | None) -> list[int]:
        page = store.list(ListFilter(["OrderFlow"], STATUSES, tag=tag, since=since), limit=50)
        return [int(item.instance_id[-1]) for item in page.items]

    assert ids("sales", None) == [6, 4, 2, 0]
    assert ids("sal", None) == [7, 5, 3, 1]
    assert ids("eu", T0 + 4) == [6, 4]
    assert ids(None, T0 + 6) == [7, 6]
    assert ids(None, T0 + 8) == []
    assert ids(None, 10**18) == []
    assert ids("none", 0) == []
    first = store.list(ListFilter(["OrderFlow"], ["pending"], tag="sales"), limit=1).items[0]
    assert first.tags == ("sales", "eu")


@pytest.mark.parametrize("tag", [None, "even"])
def test_the_pages_of_a_listing_are_the_listing(store: Store, tag: str | None) -> None:
    """Following the cursor shows each instance once, in order, even while new ones start and old ones end."""
    for number in range(40):
        started(store, f"orderid::{number:02d}", at=T0 + number // 3, tags=("even",) if number % 2 == 0 else ("odd",))
    wanted = [f"orderid::{number:02d}" for number in reversed(range(40)) if tag is None or number % 2 == 0]
    seen: list[str] = []
    cursor = None
    while True:
        page = store.list(
            ListFilter(["OrderFlow"], ["pending", "completed"], tag=tag, since=T0), limit=7, cursor=cursor
        )
        assert len(page.items) <= 7
        seen += [item.instance_id for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
        started(store, f"orderid::new-{len(seen)}", at=T0 + 1_000 + len(seen))
        if len(seen) == 14 and (state := store.load("orderid::00")) is not None:
            finish(store, state)
    assert seen == wanted


@pytest.mark.parametrize("cursor", ["", "x", "!!", "bm8=", "MTIz", "I2E=", "é", "A" * 5_000])
def test_a_cursor_that_no_listing_gave_is_refused(store: Store, cursor: str) -> None:
    """A cursor is opaque; anything else is the caller's mistake."""
    with pytest.raises(BadRequest):
        store.list(ListFilter(["OrderFlow"], ["pending"]), limit=10, cursor=cursor)


def test_ids_and_values_may_be_any_text(store: Store) -> None:
    """Nothing about an id or a value confuses the keys."""
    for instance_id in (LONG, "a::b::v2", "log#000001::x", "head::head"):
        state = claim(
            store, started(store, instance_id, initial={"": "", "é": ["\u0000", "𝄞", "a#b"]}, tags=("#", "é"))
        )
        state = finish(store, write(store, state, step("a", text="\u2028")))
        assert store.load(instance_id) == state
        assert len(everything(store, state)) == 4
    listed = store.list(ListFilter(["OrderFlow"], ["completed"], tag="é"), limit=10).items
    assert {item.instance_id for item in listed} == {LONG, "a::b::v2", "log#000001::x", "head::head"}
