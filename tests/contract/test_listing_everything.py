"""Listing what is there, whatever its workflow and status, in two queries a shard; and counting it.

What counts requests does so on the reference only: the adapter makes them, and moto takes four times as long.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.engine.events import Claimed, CompensationStarted, Redriven, Suspended
from hephaestus.engine.state import STATUSES
from hephaestus.errors import StoreUnavailable
from hephaestus.store import listing
from hephaestus.store.filters import ListFilter
from tests.contract.instances import LEASE_MS, T0, finish, start, started, suspend, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus.store.store import Store
    from tests.contract.conftest import Dynamo

WORKFLOWS = ("Order", "Return", "Invoice", "Import")
ENDS = ("completed", "failed", "cancelled", "waiting", "running", "pending", "completed")


def fill(store: Store, many: int, since: int = 0) -> list[tuple[str, str, str]]:
    """``many`` instances, one a second, of all workflows in most statuses; their workflows, statuses and ids."""
    made = []
    for number in range(since, since + many):
        workflow, status = WORKFLOWS[number % 4], ENDS[number % 7]
        key, owner = f"k::{number:04}", None if status == "pending" else "me"
        state = started(store, key, at=T0 + number * 1000, owner=owner, workflow=workflow, tags=(f"t{number % 3}",))
        if status == "waiting":
            suspend(store, state)
        elif status in ("completed", "failed", "cancelled"):
            finish(store, state, status)
        made.append((workflow, status, key))
    return made[::-1]


def pages(store: Store, limit: int, **asked: Any) -> list[list[tuple[str, str, str]]]:
    """A whole listing, page by page; of each instance what it is, and its id."""
    known, wanted = asked.pop("known", ()), ListFilter(**asked)
    found, cursor = [], None
    while True:
        page = store.list(wanted, limit=limit, cursor=cursor, known=known)
        assert len(page.items) <= limit
        found.append([(item.workflow, item.status, item.instance_id) for item in page.items])
        assert page.cursor is None or page.cursor != cursor, "a cursor moves on"
        cursor = page.cursor
        if cursor is None:
            return found


def whole(store: Store, limit: int, **asked: Any) -> list[tuple[str, str, str]]:
    """A whole listing."""
    return [item for page in pages(store, limit, **asked) for item in page]


def test_everything_is_listed_newest_first(store: Store) -> None:
    """Of every workflow and status, whatever the page's size; times and tags filter it."""
    made = fill(store, 60)
    for limit in (7, 59, 60, 200):
        assert whole(store, limit) == made
    assert pages(store, 60) == [made], "the last page has no cursor"
    assert whole(store, 9, since=T0 + 50_000) == made[:10]
    assert whole(store, 9, tag="t1") == [item for item in made if int(item[2][3:]) % 3 == 1]


FILTERS: list[dict[str, Any]] = [
    {"workflows": workflows, "statuses": statuses}
    for workflows, statuses in product(
        (None, ["Order"], ["Order", "Import"], list(WORKFLOWS), ["Nobody"], []),
        (None, ["failed"], ["waiting"], ["failed", "completed"], ["compensating"], list(STATUSES), []),
    )
]


def test_filters_leave_out_what_they_should(store: Store) -> None:
    """Whichever index answers, the listing is the same."""
    made = fill(store, 42)
    for asked in FILTERS:
        wanted = [
            (workflow, status, key)
            for workflow, status, key in made
            if (asked["workflows"] is None or workflow in asked["workflows"])
            and (asked["statuses"] is None or status in asked["statuses"])
        ]
        assert whole(store, 5, **asked) == wanted, asked


VERSIONS: list[tuple[int | None, list[str] | None, list[str] | None, Sequence[str]]] = [
    (2, None, None, ()),
    (2, None, None, ("Order",)),
    (3, None, None, WORKFLOWS),
    (1, ["failed"], None, WORKFLOWS),
    (1, ["failed", "cancelled"], None, ("Nobody",)),
    (2, ["pending", "failed", "completed"], None, ("Order",)),
    (None, ["failed", "failed"], ["Order"], ()),
    (1, ["failed", "failed"], ["Order"], ()),
    (2, ["pending", "failed", "completed"], ["Order"], ()),
    (None, ["waiting", "cancelled", "failed"], ["Order", "Import"], ()),
    (1, None, ["Nobody"], ()),
]


def test_versions_and_several_statuses_filter_like_everything_else(store: Store) -> None:
    """Whichever index answers, and whether the workflow is named, known or neither; also a status given twice."""
    fill(store, 21)
    for number in range(21):
        started(store, f"k::v{number:03}", at=T0 + 500 + number * 1000, version=2, workflow="Order")
    everything = whole(store, 200)
    for version, statuses, workflows, known in VERSIONS:
        wanted = [
            (workflow, status, key)
            for workflow, status, key in everything
            if (workflows is None or workflow in workflows)
            and (statuses is None or status in statuses)
            and (version is None or version == (2 if key.startswith("k::v") else 1))
        ]
        asked = {"workflows": workflows, "statuses": statuses, "version": version, "known": known}
        assert whole(store, 9, **asked) == wanted, asked


@pytest.mark.parametrize("shards", [1, 4])
def test_no_status_of_an_unknown_workflow_is_left_out_whatever_is_known(
    local: Dynamo, monkeypatch: pytest.MonkeyPatch, shards: int
) -> None:
    """Among more instances than a page looks through, in one order with those of the known ones, at every page size."""
    for name, most in (("MOST_HEADS", 10), ("SHARES", 4), ("FILTER_PAGE", 5), ("OTHER_PAGES", 2)):
        monkeypatch.setattr(listing, name, most)
    store = local.store(list_shards=shards)
    for number in range(40):
        workflow = "Gone" if number % 20 == 3 else "Lost" if number % 20 == 11 else WORKFLOWS[number % 4]
        state = started(store, f"k::{number:03}", workflow=workflow, at=T0 + number, owner="me", version=1 + number % 2)
        if number % 5 == 3:
            suspend(store, state)
        elif number % 6 == 1:
            finish(store, state, "failed")
    everything = whole(store, 200)
    for known, limit, statuses in (
        (WORKFLOWS, 1, ["waiting"]),
        (WORKFLOWS, 3, ["failed", "waiting"]),
        (WORKFLOWS, 50, ["running", "waiting"]),
        (("Order",), 3, ["waiting"]),
        (("Order",), 50, ["failed"]),
        (("Gone", "Nobody"), 3, ["waiting", "failed"]),
        ((), 3, ["waiting", "failed"]),
        (("Order",), 20, list(STATUSES)),
    ):
        wanted = [item for item in everything if item[1] in statuses]
        assert whole(store, limit, statuses=statuses, known=known) == wanted, (statuses, known, limit)
    odd = [item for item in everything if int(item[2][3:]) % 2]
    assert whole(store, 4, version=2, known=WORKFLOWS) == odd


def test_rare_statuses_are_found_in_few_pages_where_the_workflows_are_known(
    local: Dynamo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first page takes one query a shard; the next is exact, and looks for other workflows down to its own end."""
    monkeypatch.setattr(listing, "MOST_HEADS", 20)
    store = local.store()
    suspend(store, started(store, "k::gone", workflow="Gone", at=T0 - 2000, owner="me"))
    suspend(store, started(store, "k::old", workflow="Order", at=T0 - 1000, owner="me"))
    for number in range(100):
        started(store, f"k::{number:03}", workflow=WORKFLOWS[number % 4], at=T0 + number, owner="me")
    local.requests.clear()
    found = pages(store, 5, statuses=["waiting"], known=WORKFLOWS)
    assert found == [[], [("Order", "waiting", "k::old"), ("Gone", "waiting", "k::gone")]]
    assert local.requests == {"Query": 4 + len(WORKFLOWS) * 4 + 4, "BatchGetItem": 1 + 1 + 1}


def test_other_workflows_are_found_by_asking_again_and_again(local: Dynamo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call looks through so many, newest first, and the next goes on; what ended badly stands apart, and counts."""
    monkeypatch.setattr(listing, "FILTER_PAGE", 3)
    monkeypatch.setattr(listing, "OTHER_PAGES", 2)
    store = local.store(list_shards=1)
    finish(store, started(store, "k::bad", workflow="Bad", owner="me"), "failed")
    started(store, "k::gone", workflow="Gone", at=T0 - 1)
    for number in range(20):
        started(store, f"k::{number:03}", workflow=WORKFLOWS[number % 4], at=T0 + number)
    local.requests.clear()
    assert store.other_workflows(WORKFLOWS) == ["Bad"]
    assert local.requests["Query"] <= 2 * 2
    assert [store.other_workflows(WORKFLOWS) for _ in range(5)][-1] == ["Bad", "Gone"]
    started(store, "k::new", workflow="New", at=T0 + 99)
    assert "New" in [store.other_workflows(WORKFLOWS) for _ in range(5)][-1]
    assert local.again().other_workflows([*WORKFLOWS, "Gone", "Bad"]) == ["New"]


def test_other_workflows_are_those_that_nobody_named(store: Store) -> None:
    fill(store, 8)
    assert list(store.other_workflows(["Order", "Nobody"])) == ["Import", "Invoice", "Return"]
    assert list(store.other_workflows(WORKFLOWS)) == []


FIRST_PAGES: list[dict[str, Any]] = [
    {"workflows": None, "statuses": None},
    {"workflows": ["Order"], "statuses": None},
    {"workflows": ["Order"], "statuses": ["failed"]},
    {"workflows": ["Order", "Return"], "statuses": ["failed"]},
    *({"workflows": list(WORKFLOWS), "statuses": [status]} for status in STATUSES),
    {"workflows": list(WORKFLOWS), "statuses": ["failed", "running"]},
    {"workflows": None, "statuses": ["failed", "cancelled"], "known": WORKFLOWS},
    {"workflows": None, "statuses": ["failed", "running"], "version": 1, "known": WORKFLOWS},
    {"workflows": ["Order"], "statuses": ["failed", "running"], "version": 1},
    {"workflows": ["Order"], "statuses": ["running"], "version": 2, "tag": "t1"},
    {"workflows": ["Order"], "statuses": ["failed", "cancelled", "waiting"], "version": 2},
    {"workflows": None, "statuses": None, "version": 2, "known": WORKFLOWS},
    {"workflows": None, "statuses": None, "tag": "t1"},
    {"workflows": ["Order"], "statuses": None, "tag": "none"},
    {"workflows": None, "statuses": None, "since": T0 + 20_000},
]


@pytest.mark.parametrize("shards", [1, 4])
def test_the_first_page_takes_two_queries_a_shard(local: Dynamo, shards: int) -> None:
    """At most, whatever is asked for and however much there is; a page's heads are one request, and nothing scans."""
    store = local.store(list_shards=shards)
    counted = []
    for many in (30, 90):
        fill(store, many, since=sum(range(0, many, 30)))
        for asked in map(dict, FIRST_PAGES):
            local.requests.clear()
            known, wanted = asked.pop("known", ()), ListFilter(**asked)
            store.list(wanted, limit=20, known=known)
            assert local.requests["Query"] <= 2 * shards, asked
            assert local.requests["BatchGetItem"] <= listing.MOST_HEADS // listing.SHARES, asked
            assert set(local.requests) <= {"Query", "BatchGetItem"}
            counted.append(local.requests.total() if asked == FIRST_PAGES[0] else 0)
    assert [number for number in counted if number] == [2 * shards + 1] * 2, "not more where there is more"


def test_what_few_pass_is_found_by_following_the_cursor(local: Dynamo, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page looks through so many and says how to go on; the page after it knows where to look."""
    monkeypatch.setattr(listing, "MOST_HEADS", 20)
    monkeypatch.setattr(listing, "FILTER_PAGE", 20)
    store = local.store()
    old = started(store, "k::old", workflow="Rare", at=T0 - 1000, owner="me", tags=("x",))
    suspend(store, old)
    finish(store, started(store, "k::ended", workflow="Import", at=T0 - 2000, owner="me", tags=("x",)), "failed")
    for number in range(100):
        started(store, f"k::{number:03}", workflow=WORKFLOWS[number % 3], at=T0 + number, owner="me")
    every = [*WORKFLOWS, "Rare"]
    local.requests.clear()
    assert pages(store, 5, workflows=every, statuses=["failed"]) == [[("Import", "failed", "k::ended")]]
    assert local.requests == {"Query": 4, "BatchGetItem": 1}, "what failed stands apart"
    local.requests.clear()
    waiting = [("Rare", "waiting", "k::old")]
    assert pages(store, 5, workflows=every, statuses=["waiting"]) == [[], waiting]
    assert local.requests == {"Query": 4 + len(every) * 4, "BatchGetItem": 2}
    assert pages(store, 5, workflows=["Rare"]) in ([[], waiting], [waiting])
    assert whole(store, 5, tag="x") == [*waiting, ("Import", "failed", "k::ended")]
    assert whole(store, 5, workflows=every, statuses=["failed", "waiting"], tag="x") == [
        *waiting,
        ("Import", "failed", "k::ended"),
    ]


def test_an_instance_is_where_its_status_says(store: Store) -> None:
    """It fails, is redriven, is undone, is started again: always listed once, as it is."""
    state = started(store, "k::a", workflow="Order", owner="me")
    started(store, "k::b", workflow="Return", at=T0 + 1)

    def shown() -> list[tuple[str, str]]:
        everything = [(key, status) for _, status, key in whole(store, 9)]
        for status in STATUSES:
            listed = whole(store, 9, workflows=WORKFLOWS, statuses=[status])
            assert [key for _, _, key in listed] == [key for key, own in everything if own == status]
        return everything

    assert shown() == [("k::b", "pending"), ("k::a", "running")]
    state = finish(store, state, "failed")
    assert shown() == [("k::b", "pending"), ("k::a", "failed")]
    state = write(store, state, Redriven("pending"), boundary=True)
    assert shown() == [("k::b", "pending"), ("k::a", state.status)]
    state = write(store, state, Claimed("two", state.updated_at + LEASE_MS))
    state = write(store, state, CompensationStarted("cancelled", ()), Suspended(state.updated_at + 9), boundary=True)
    assert shown() == [("k::b", "pending"), ("k::a", "compensating")]
    finish(store, state, "cancelled")
    assert start("k::a", workflow="Order", at=T0 + 10).write(store) is not None
    assert shown() == [("k::a", "pending"), ("k::b", "pending")]


def test_what_is_gone_or_damaged_hides_nothing_else(dynamo: Dynamo) -> None:
    """A head that expired, or that cannot be read, is left out."""
    store = dynamo.store()
    fill(store, 30)
    dynamo.delete("k::0029", "head")
    dynamo.overwrite("k::0028", "head", "created_at", {"S": "then"})
    dynamo.overwrite("k::0027", "head", "version", None)
    assert [key for *_, key in whole(store, 10)] == [f"k::{number:04}" for number in reversed(range(27))]


def test_an_instance_of_an_older_release_is_listed_after_its_next_change(dynamo: Dynamo) -> None:
    """It has no place among all instances yet; by its workflow and status it is found."""
    store = dynamo.store()
    state = started(store, "k::old", workflow="Order", owner="me")
    dynamo.overwrite("k::old", "head", "recent_key", None)
    assert whole(store, 9) == []
    assert whole(store, 9, workflows=["Order"], statuses=["running"]) == [("Order", "running", "k::old")]
    assert store.load("k::old") == state
    suspend(store, state)
    assert whole(store, 9) == [("Order", "waiting", "k::old")]


def test_heads_that_are_left_out_are_asked_for_again(local: Dynamo) -> None:
    """DynamoDB answers what it can; the rest follows, and what never comes is no endless loop."""
    store = local.store()
    made = fill(store, 40)
    events = local.table.client.meta.events
    left_out = {"times": 3, "kept": 5}

    def leave_out(parsed: dict[str, Any], **_: Any) -> None:
        if left_out["times"] and parsed["Responses"]:
            left_out["times"] -= 1
            found, many = parsed["Responses"][local.table.name], left_out["kept"]
            kept, rest = found[:many], found[many:]
            parsed["Responses"] = {local.table.name: kept}
            keys = [{"pk": item["pk"], "sk": item["sk"]} for item in rest]
            parsed["UnprocessedKeys"] = {local.table.name: {"Keys": keys}} if keys else {}

    events.register("after-call.dynamodb.BatchGetItem", leave_out)
    assert pages(store, 40)[0] == made
    left_out.update(times=10**9, kept=0)
    local.requests.clear()
    with pytest.raises(StoreUnavailable, match="many instances"):
        store.list(ListFilter(), limit=100)
    assert local.requests["BatchGetItem"] <= 8


def test_counts_are_exact_up_to_where_they_end(store: Store) -> None:
    """Of each pair that was asked for, zeros included; as many as that, or more, count as that."""
    made = fill(store, 84)
    counts = store.counts(["Order", "Nobody"], STATUSES, most=1000)
    assert set(counts) == set(product(("Order", "Nobody"), STATUSES))
    own = [status for workflow, status, _ in made if workflow == "Order"]
    for (workflow, status), number in counts.items():
        assert number == (own.count(status) if workflow == "Order" else 0)
    assert store.counts(["Order"], ["completed", "failed"], most=3) == {
        ("Order", "completed"): 3,
        ("Order", "failed"): 3,
    }
    assert store.counts([], STATUSES, most=3) == {}


def test_a_count_looks_at_no_more_than_it_says(local: Dynamo) -> None:
    """One query a pair and shard, of the index, with a limit."""
    store = local.store()
    fill(store, 84)
    asked: list[dict[str, Any]] = []
    events = local.table.client.meta.events
    events.register("before-parameter-build.dynamodb.Query", lambda params, **_: asked.append(params))
    store.counts(WORKFLOWS, STATUSES, most=5)
    assert len(asked) == len(WORKFLOWS) * len(STATUSES) * 4
    assert {(query["Limit"], query["Select"], query["IndexName"]) for query in asked} == {(5, "COUNT", "listing")}
