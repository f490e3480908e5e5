"""Listings at their edges: many pages, many shards, cursors that are old or made by hand."""

from __future__ import annotations

import base64
import random
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.engine.events import Claimed, Suspended
from hephaestus.errors import BadRequest
from hephaestus.store.filters import ListFilter
from tests.contract.instances import LEASE_MS, T0, finish, started, suspend, write

if TYPE_CHECKING:
    from hephaestus.store.store import Store
    from tests.contract.conftest import Dynamo

OPEN = ("running", "waiting")


def listed(store: Store, page: int, statuses: tuple[str, ...] = OPEN, **filters: Any) -> list[str]:
    """The ids of a whole listing, page by page."""
    found: list[str] = []
    cursor = None
    while True:
        listing = store.list(ListFilter(["OrderFlow"], statuses, **filters), limit=page, cursor=cursor)
        assert len(listing.items) <= page
        found.extend(item.instance_id for item in listing.items)
        assert listing.cursor is None or listing.cursor != cursor, "a cursor moves on"
        cursor = listing.cursor
        if cursor is None:
            return found


@pytest.fixture
def crowd(store: Store) -> list[str]:
    """120 instances, newest first: three a second, a quarter of them waiting, every tenth tagged."""
    for number in random.Random(3).sample(range(120), 120):
        tags = ("ten", "all") if number % 10 == 0 else ("all",)
        state = started(store, f"k::{number:03}", at=T0 + number // 3 * 1000, tags=tags, owner="me")
        if number % 4 == 0:
            suspend(store, state)
    return [f"k::{number:03}" for number in reversed(range(120))]


def test_every_page_size_gives_the_same_listing(store: Store, crowd: list[str]) -> None:
    """Nothing twice, nothing left out, one order over all statuses and shards; filtered, too."""
    for page in (11, 119, 120):
        assert listed(store, page) == crowd
    for page in (5, 13):
        assert listed(store, page, tag="ten") == [key for key in crowd if key.endswith("0")]
    since = T0 + 30_000
    assert listed(store, 7, since=since) == crowd[:30]
    assert listed(store, 9, since=since + 1) == crowd[:27]
    assert listed(store, 50, since=-(10**12)) == crowd


@pytest.mark.usefixtures("crowd")
def test_a_cursor_stays_where_it_is_while_instances_come_and_change(store: Store) -> None:
    """New instances are newer than the cursor; one that changes its status keeps its place."""
    one = store.list(ListFilter(["OrderFlow"], OPEN), limit=40)
    started(store, "k::new", at=T0 + 10**8, owner="me")
    for number in (48, 49):
        state = store.load(f"k::{number:03}")
        assert state is not None
        write(store, state, Claimed("two", T0 + LEASE_MS) if state.owner is None else Suspended(None))
    two = store.list(ListFilter(["OrderFlow"], OPEN), limit=40, cursor=one.cursor)
    three = store.list(ListFilter(["OrderFlow"], OPEN), limit=40, cursor=two.cursor)
    seen = [item.instance_id for item in (*one.items, *two.items, *three.items)]
    assert seen == [f"k::{number:03}" for number in reversed(range(120))]
    assert three.cursor is None


@pytest.mark.usefixtures("crowd")
def test_a_cursor_older_than_since_ends_the_listing(store: Store) -> None:
    """The page after the end is empty, not an error."""
    one = store.list(ListFilter(["OrderFlow"], OPEN), limit=80)
    two = store.list(ListFilter(["OrderFlow"], OPEN, since=T0 + 38_000), limit=5, cursor=one.cursor)
    assert (two.items, two.cursor) == ((), None)


@pytest.mark.parametrize("shards", [1, 2, 16])
def test_a_listing_does_not_depend_on_the_shards(dynamo: Dynamo, shards: int) -> None:
    """One partition or many: the same listing, the same alarms."""
    store = dynamo.store(list_shards=shards, wake_shards=shards)
    for number in range(33):
        started(store, f"k::{number:02}", at=T0 + number)
    expected = [f"k::{number:02}" for number in reversed(range(33))]
    for page in (4, 16, 32, 33):
        assert listed(store, page, ("pending",)) == expected
        assert listed(store, page, ("pending",), since=T0 + 3) == expected[:-3]
    assert len(store.overdue(T0 + 99, 200).items) == 33


def test_names_that_look_alike_are_not_mixed_up(store: Store) -> None:
    """A workflow's name is matched whole; no workflow or no status is no instance."""
    for number, workflow in enumerate(["OrderFlow", "OrderFlow2", "Order", "OrderFlow#pending"]):
        started(store, f"k::{number}", workflow=workflow)
    assert listed(store, 9, ("pending",)) == ["k::0"]
    assert listed(store, 9, ()) == []
    assert store.list(ListFilter([], ["pending"]), limit=9).items == ()
    state = store.load("k::0")
    assert state is not None
    finish(store, state)
    assert listed(store, 9, ("pending",)) == []


BY_HAND = ["#", "!#x", "9999#", "zzz#k::1", "~", "~#~", "2026-01-01T00:00:00.000#" + "x" * 2000, "\x00#\x00", "２#k"]


@pytest.mark.parametrize("text", BY_HAND, ids=range(len(BY_HAND)))
def test_a_cursor_made_by_hand_does_no_harm(dynamo: Dynamo, text: str) -> None:
    """A bad request, or an ordinary page; never an error of the engine's."""
    store = dynamo.store()
    started(store, "k::1", owner="me")
    cursor = base64.urlsafe_b64encode(text.encode()).decode()
    for since in (None, T0):
        try:
            found = store.list(ListFilter(["OrderFlow"], OPEN, since=since), limit=5, cursor=cursor)
        except BadRequest:
            continue
        assert [item.instance_id for item in found.items] in ([], ["k::1"])
