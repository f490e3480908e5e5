"""What every adapter of the port ``Table`` does."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from hephaestus.errors import PayloadTooLarge, StoreUnavailable
from hephaestus.store.table import ABSENT, ALWAYS, PRESENT, Change, Condition, Filter, Position, item_bytes
from hephaestus.writes import ConditionFailed, Put, Update, WriteRefused
from hephaestus.writes.rules import check_writes
from tests.contract.tables import ADAPTERS, make_subject

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus.store.table import Item, Table, Value
    from tests.contract.tables import Subject

COUNT = Update("books", {"pk": "n"}, "ADD seen :one", values={":one": 1})


@pytest.fixture(params=ADAPTERS)
def subject(request: pytest.FixtureRequest) -> Subject:
    """An empty table, of each of the adapters."""
    return make_subject(request, request.param)


@pytest.fixture
def table(subject: Subject) -> Table:
    """The table itself."""
    return subject.table


def token() -> str:
    """A name for a transaction that no other has, on an engine that other tests use as well."""
    return secrets.token_hex(16)


def fill(table: Table, pk: str, *sort_keys: str, **attributes: Value) -> None:
    for sk in sort_keys:
        assert table.put({"pk": pk, "sk": sk, **attributes}, ALWAYS)


def keys(items: Sequence[Item]) -> list[Value]:
    return [item["sk"] for item in items]


def test_an_item_comes_back_as_it_was_put(table: Table) -> None:
    """Text, numbers, bytes and lists of text, each of the same type as before."""
    item: dict[str, Value] = {
        "pk": "ключ::1",
        "sk": "head",
        "text": "Zoë ✓ 日本\n\x00",
        "empty": "",
        "number": -7,
        "large": 2**53 + 1,
        "zero": 0,
        "bytes": bytes(range(256)),
        "no_bytes": b"",
        "tags": ("b", "", "a"),
        "no_tags": (),
    }
    assert table.put(item, ABSENT)
    found = table.get("ключ::1", "head")
    assert found == item
    assert found is not None
    assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in item.items()}
    assert table.get("ключ::1", "other") is None
    assert table.get("another", "head") is None


def test_what_the_caller_changes_afterwards_is_not_stored(table: Table) -> None:
    item: dict[str, Value] = {"pk": "a", "sk": "x", "n": 1}
    table.put(item, ALWAYS)
    item["n"] = 2
    assert table.get("a", "x") == {"pk": "a", "sk": "x", "n": 1}


def test_a_put_replaces_the_whole_item(table: Table) -> None:
    table.put({"pk": "a", "sk": "x", "one": 1, "two": 2}, ALWAYS)
    table.put({"pk": "a", "sk": "x", "two": 3}, ALWAYS)
    assert table.get("a", "x") == {"pk": "a", "sk": "x", "two": 3}


STORED: dict[str, Value] = {"pk": "a", "sk": "x", "n": 5, "life": "k3", "data": b"\x00\xff", "tags": ("p", "q")}
ON_AN_ITEM = [
    (ALWAYS, True),
    (ABSENT, False),
    (PRESENT, True),
    (Condition(equal={"life": "k3"}), True),
    (Condition(equal={"life": "k4"}), False),
    (Condition(equal={"n": 5, "life": "k3"}), True),
    (Condition(equal={"n": 5, "life": "k4"}), False),
    (Condition(equal={"n": "5"}), False),
    (Condition(equal={"other": "k3"}), False),
    (Condition(equal={"data": b"\x00\xff"}), True),
    (Condition(equal={"tags": ("p", "q")}), True),
    (Condition(equal={"tags": ("q", "p")}), False),
    (Condition(below={"n": 6}), True),
    (Condition(below={"n": 5}), False),
    (Condition(below={"other": 6}), False),
    (Condition(at_most={"n": 5}), True),
    (Condition(at_most={"n": 4}), False),
    (Condition(at_most={"other": 4}), False),
    (Condition(at_least={"n": 5}), True),
    (Condition(at_least={"n": 6}), False),
    (Condition(at_least={"other": 1}), False),
    (Condition(at_least={"n": 4}, at_most={"n": 6}), True),
    (Condition(missing=("other",)), True),
    (Condition(missing=("other", "n")), False),
    (Condition(present=True, equal={"life": "k3"}, below={"n": 6}, missing=("other",)), True),
    (Condition(present=True, equal={"life": "k3"}, below={"n": 5}, missing=("other",)), False),
    (Condition(any_of=(ABSENT, Condition(below={"n": 9}))), True),
    (Condition(any_of=(ABSENT, Condition(below={"n": 2}))), False),
    (Condition(equal={"life": "k4"}, any_of=(ABSENT, PRESENT)), False),
    (
        Condition(any_of=(Condition(equal={"life": "k3"}, missing=("n",)), Condition(equal={"n": 5, "life": "k3"}))),
        True,
    ),
]
ON_NOTHING = [
    (ALWAYS, True),
    (ABSENT, True),
    (PRESENT, False),
    (Condition(equal={"n": 5}), False),
    (Condition(below={"n": 5}), False),
    (Condition(at_most={"n": 5}), False),
    (Condition(at_least={"n": 5}), False),
    (Condition(missing=("n",)), True),
    (Condition(any_of=(ABSENT, Condition(below={"n": 1}))), True),
    (Condition(any_of=(PRESENT, Condition(below={"n": 1}))), False),
]


def test_a_put_happens_if_its_condition_holds(table: Table) -> None:
    for number, (condition, holds) in enumerate(ON_AN_ITEM):
        stored = {**STORED, "sk": str(number)}
        table.put(stored, ALWAYS)
        assert table.put({"pk": "a", "sk": str(number), "new": 1}, condition) is holds, condition
        assert table.get("a", str(number)) == ({"pk": "a", "sk": str(number), "new": 1} if holds else stored)
    for number, (condition, holds) in enumerate(ON_NOTHING):
        assert table.put({"pk": "b", "sk": str(number)}, condition) is holds, condition
        assert (table.get("b", str(number)) is not None) is holds


def test_an_update_happens_if_its_condition_holds_and_makes_no_item(table: Table) -> None:
    for number, (condition, holds) in enumerate(ON_AN_ITEM):
        stored = {**STORED, "sk": str(number)}
        table.put(stored, ALWAYS)
        changes = {"n": 6, "life": None, "never": None, "more": "m"}
        assert table.update("a", str(number), changes, condition) is holds, condition
        after = {name: value for name, value in stored.items() if name != "life"} | {"n": 6, "more": "m"}
        assert table.get("a", str(number)) == (after if holds else stored)
    for number, (condition, _) in enumerate(ON_NOTHING):
        assert not table.update("b", str(number), {"n": 1}, condition), condition
        assert table.get("b", str(number)) is None


def test_adding_happens_if_its_condition_holds_and_answers_with_the_item(table: Table) -> None:
    """As it is then, or as it was: who may not add sees why not."""
    for number, (condition, holds) in enumerate(ON_AN_ITEM):
        stored = {**STORED, "sk": str(number)}
        table.put(stored, ALWAYS)
        done, item = table.add("a", str(number), "n", 3, {"life": None, "never": None, "more": "m"}, condition)
        after = {name: value for name, value in stored.items() if name != "life"} | {"n": 8, "more": "m"}
        assert (done, item) == (holds, after if holds else stored), condition
        assert table.get("a", str(number)) == item
    for number, (condition, _) in enumerate(ON_NOTHING):
        assert table.add("b", str(number), "n", 1, {}, condition) == (False, None), condition
        assert table.get("b", str(number)) is None


def test_adding_at_once_loses_nothing(table: Table) -> None:
    """Also with a bound, which is kept."""
    fill(table, "a", "x", n=0)
    bounded = Condition(at_least={"n": 0}, at_most={"n": 199})
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: table.add("a", "x", "n", 2, {}, bounded), range(120)))
    assert sorted(item["n"] for done, item in answers if done and item is not None) == list(range(2, 202, 2))
    assert [item["n"] for done, item in answers if not done and item is not None] == [200] * 20


def test_a_delete_happens_if_its_condition_holds(table: Table) -> None:
    for number, (condition, holds) in enumerate(ON_AN_ITEM):
        table.put({**STORED, "sk": str(number)}, ALWAYS)
        assert table.delete("a", str(number), condition) is holds, condition
        assert (table.get("a", str(number)) is None) is holds
    for number, (condition, holds) in enumerate(ON_NOTHING):
        assert table.delete("b", str(number), condition) is holds, condition


@pytest.mark.parametrize("others", [0, 2])
def test_writes_happen_together_if_all_their_conditions_hold(table: Table, others: int) -> None:
    """One alone or several, in one partition or in two; a change makes the item that is not there."""
    beside = [Change(pk, f"beside{number}", {"n": 1}, ABSENT) for number, pk in zip(range(others), "ac", strict=False)]
    for number, (condition, holds) in enumerate(ON_AN_ITEM):
        stored = {**STORED, "sk": str(number)}
        for changes, after in (({"n": 6, "life": None}, {**stored, "n": 6}), (None, None)):
            table.put(stored, ALWAYS)
            assert table.change_all([*beside, Change("a", str(number), changes, condition)]) is holds, condition
            wanted = after and {name: value for name, value in after.items() if name != "life"}
            assert table.get("a", str(number)) == (wanted if holds else stored)
            for one in beside:
                assert table.get(one.pk, one.sk) == ({"pk": one.pk, "sk": one.sk, "n": 1} if holds else None)
                table.delete(one.pk, one.sk, ALWAYS)
    for number, (condition, holds) in enumerate(ON_NOTHING):
        assert table.change_all([*beside, Change("b", str(number), {"n": 6, "m": None}, condition)]) is holds
        assert table.get("b", str(number)) == ({"pk": "b", "sk": str(number), "n": 6} if holds else None)
        for one in beside:
            table.delete(one.pk, one.sk, ALWAYS)


def test_writes_that_happen_together_are_in_the_indexes(table: Table) -> None:
    moved = Change("a", "x", {"due_key": "d#2"}, PRESENT)
    fill(table, "a", "x", "y", due_key="d#1", due_at=3)
    assert table.change_all([moved, Change("a", "y", None, PRESENT), Change("b", "z", {"due_key": "d#2"}, ABSENT)])
    assert keys(table.query_index("due", "d#1", low=0, high=9, limit=9).items) == []
    assert keys(table.query_index("due", "d#2", low=0, high=9, limit=9).items) == ["x"]
    assert keys(table.query("a", low=" ", high="~")) == ["x"]


def test_of_writes_that_happen_together_at_once_one_wins(table: Table) -> None:
    """Each takes the same two items: no one gets one of them."""

    def take(number: int) -> bool:
        both = [Change(pk, "x", {"by": number}, Condition(missing=("by",))) for pk in "ab"]
        while True:
            try:
                return table.change_all(both[:: 1 if number % 2 else -1])
            except StoreUnavailable:  # held by the others for too long
                continue

    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(take, range(8)))
    assert sum(taken) == 1
    winner = taken.index(True)
    assert [table.get(pk, "x") for pk in "ab"] == [{"pk": pk, "sk": "x", "by": winner} for pk in "ab"]


def test_only_removals_make_an_update(table: Table) -> None:
    table.put(STORED, ALWAYS)
    assert table.update("a", "x", {"n": None, "life": None}, PRESENT)
    assert table.get("a", "x") == {"pk": "a", "sk": "x", "data": b"\x00\xff", "tags": ("p", "q")}


def test_a_query_has_a_range_of_a_partition_in_order_of_keys(table: Table) -> None:
    sort_keys = ["head", "log#b#1", "log#b#2", "log#a#9", "mail#x", "value#1", "é", "z", "Ω", "日", "😀"]
    fill(table, "a", *sort_keys)
    fill(table, "b", "head", "log#b#3")
    in_order = sorted(sort_keys, key=lambda key: key.encode())
    assert keys(table.query("a", low=" ", high="\U0010ffff")) == in_order
    assert keys(table.query("a", low="head", high="log#~")) == ["head", "log#a#9", "log#b#1", "log#b#2"]
    assert keys(table.query("a", low="head", high="log#~", limit=2)) == ["head", "log#a#9"]
    assert keys(table.query("a", low="log#b#", high="log#b#~", descending=True)) == ["log#b#2", "log#b#1"]
    assert keys(table.query("a", low="log#", high="log#~", limit=2, descending=True)) == ["log#b#2", "log#b#1"]
    assert keys(table.query("a", low="log#b#1", high="log#b#1")) == ["log#b#1"], "both ends are in it"
    assert keys(table.query("a", low="log#c", high="log#d")) == []
    assert keys(table.query("none", low=" ", high="~")) == []
    assert table.delete("a", "log#a#9", PRESENT)
    assert keys(table.query("a", low="head", high="log#~", limit=2)) == ["head", "log#b#1"]


def test_a_query_has_all_items_of_its_range_however_large(table: Table) -> None:
    """DynamoDB answers with at most 1 MB; the pages after it are read as well."""
    sort_keys = [f"{number:03d}" for number in range(9)]
    fill(table, "a", *sort_keys, data=b"x" * 300_000)
    assert keys(table.query("a", low="0", high="9")) == sort_keys
    assert keys(table.query("a", low="0", high="9", limit=8)) == sort_keys[:8]
    assert keys(table.query("a", low="0", high="9", limit=8, descending=True)) == sort_keys[:0:-1]


def test_an_item_has_at_most_so_many_bytes(table: Table, subject: Subject) -> None:
    limit = min(table.max_item_bytes, subject.item_bytes)
    full: dict[str, Value] = {"pk": "a", "sk": "x", "data": b""}
    full["data"] = b"x" * (limit - item_bytes(full))
    assert table.put(full, ALWAYS)
    assert table.get("a", "x") == full
    larger = {**full, "sk": "y", "data": b"x" * table.max_item_bytes}
    for too_large in ({**full, "sk": "y", "more": "much"}, larger):
        with pytest.raises(PayloadTooLarge):
            table.put(too_large, ALWAYS)
    with pytest.raises(PayloadTooLarge):
        table.transact(larger, ALWAYS, check_writes([COUNT], None), token())
    assert (table.get("a", "y"), subject.seen()) == (None, 0)
    with pytest.raises(PayloadTooLarge):
        table.update("a", "x", {"more": "much"}, PRESENT)
    assert table.get("a", "x") == full


def test_many_items_are_read_at_once(table: Table) -> None:
    for number in range(100):
        table.put({"pk": f"p{number}", "sk": "head", "n": number, "data": b"x" * 500}, ALWAYS)
    wanted = [(f"p{number}", "head") for number in range(98)] + [("p98", "other"), ("gone", "head")]
    found = table.get_many(wanted, ["n", "missing"])
    expected = [{"pk": f"p{number}", "sk": "head", "n": number} for number in range(98)]
    assert sorted(found, key=lambda item: str(item["pk"])) == sorted(expected, key=lambda item: str(item["pk"]))
    assert table.get_many([], ["n"]) == []


def due(table: Table, low: int = 0, high: int = 99) -> list[Value]:
    return keys(table.query_index("due", "d#1", low=low, high=high, limit=99).items)


def test_an_index_has_what_has_both_its_keys(table: Table) -> None:
    """It is sparse, and follows every kind of write."""
    table.put({"pk": "a", "sk": "1", "due_key": "d#1", "due_at": 30, "other": 1}, ALWAYS)
    table.put({"pk": "a", "sk": "2", "due_key": "d#1", "due_at": 7}, ALWAYS)
    table.put({"pk": "b", "sk": "3", "due_key": "d#2", "due_at": 8}, ALWAYS)
    table.put({"pk": "b", "sk": "4", "due_at": 9}, ALWAYS)
    table.put({"pk": "b", "sk": "5", "due_key": "d#1"}, ALWAYS)
    page = table.query_index("due", "d#1", low=0, high=99, limit=9)
    assert page.items == (
        {"pk": "a", "sk": "2", "due_key": "d#1", "due_at": 7},
        {"pk": "a", "sk": "1", "due_key": "d#1", "due_at": 30},
    )
    table.update("b", "5", {"due_at": 12}, PRESENT)
    assert due(table) == ["2", "5", "1"]
    assert due(table, 7, 12) == ["2", "5"], "both ends are in it"
    assert due(table, 8, 11) == []
    table.update("a", "2", {"due_at": None}, PRESENT)
    table.update("b", "3", {"due_key": "d#1"}, PRESENT)
    assert due(table) == ["3", "5", "1"]
    table.update("a", "1", {"due_at": 1}, PRESENT)
    table.delete("b", "5", PRESENT)
    table.put({"pk": "b", "sk": "3"}, ALWAYS)
    assert due(table) == ["1"]
    assert not table.put({"pk": "a", "sk": "1"}, ABSENT)
    assert not table.update("a", "1", {"due_key": None}, ABSENT)
    assert due(table) == ["1"], "a write that did not happen changes nothing"
    assert table.query_index("due", "d#none", low=0, high=99, limit=9).items == ()


def test_a_range_that_ends_before_it_begins_has_nothing(table: Table) -> None:
    """As a cursor behind the last of a listing asks for it; DynamoDB by itself would reject that."""
    table.put({"pk": "a", "sk": "m", "due_key": "d#1", "due_at": 5}, ALWAYS)
    assert list(table.query("a", low="z", high="b")) == []
    page = table.query_index("due", "d#1", low=9, high=1, limit=9)
    assert (page.items, page.end) == ((), None)


def test_the_pages_of_an_index_are_the_whole(table: Table) -> None:
    """Also where many items have the same place, in both directions."""
    for number in range(23):
        item: dict[str, Value] = {
            "pk": f"p{number % 4}",
            "sk": f"{number:02d}",
            "due_key": "d#1",
            "due_at": number // 8,
        }
        table.put(item, ALWAYS)
    for descending in (False, True):
        found: list[Item] = []
        after: Position | None = None
        for _ in range(9):
            page = table.query_index("due", "d#1", low=0, high=1, limit=5, after=after, descending=descending)
            assert len(page.items) <= 5
            found += page.items
            after = page.end
            if after is None:
                break
            assert after == Position(
                int(str(page.items[-1]["due_at"])), str(page.items[-1]["pk"]), str(page.items[-1]["sk"])
            )
        assert after is None
        times = [int(str(item["due_at"])) for item in found]
        assert times == sorted(times, reverse=descending)
        assert sorted(keys(found)) == [f"{number:02d}" for number in range(16)]


def test_entries_of_an_index_have_the_projected_attributes(table: Table) -> None:
    table.put(
        {"pk": "a", "sk": "x", "named_key": "n", "named_at": "2026", "colour": "red", "tags": ("t",), "secret": 1},
        ALWAYS,
    )
    page = table.query_index("named", "n", low="0", high="9", limit=9)
    expected = {"pk": "a", "sk": "x", "named_key": "n", "named_at": "2026", "colour": "red", "tags": ("t",)}
    assert page.items == (expected,)


FILTERS = [
    (Filter(), "abcd"),
    (Filter(equal={"colour": "red"}), "ab"),
    (Filter(equal={"version": 2}), "bc"),
    (Filter(equal={"colour": "red", "version": 2}), "b"),
    (Filter(contains={"tags": "north"}), "ac"),
    (Filter(contains={"tags": "nor"}), ""),
    (Filter(one_of={"colour": ["red", "blue"]}), "abc"),
    (Filter(none_of={"colour": ["red"]}), "cd"),
    (Filter(none_of={"colour": ["red", "blue"]}, equal={"version": 3}), "d"),
    (Filter(contains={"tags": "north"}, one_of={"colour": ["blue"]}), "c"),
]


def test_a_page_shows_what_its_filter_shows(table: Table) -> None:
    rows: list[dict[str, Value]] = [
        {"colour": "red", "version": 1, "tags": ("north", "x")},
        {"colour": "red", "version": 2, "tags": ()},
        {"colour": "blue", "version": 2, "tags": ("north",)},
        {"version": 3},
    ]
    for sk, row in zip("abcd", rows, strict=True):
        table.put({"pk": "p", "sk": sk, "named_key": "n", "named_at": sk, **row}, ALWAYS)
    for where, expected in FILTERS:
        page = table.query_index("named", "n", low="a", high="z", limit=9, where=where)
        assert "".join(map(str, keys(page.items))) == expected, where
    page = table.query_index("named", "n", low="a", high="z", limit=2, where=Filter(equal={"version": 3}))
    assert (page.items, page.end) == ((), Position("b", "p", "b")), "a limit counts what the filter leaves out"


def test_an_index_is_counted_up_to_a_number(table: Table) -> None:
    for number in range(7):
        table.put({"pk": "p", "sk": str(number), "due_key": "d#1", "due_at": number}, ALWAYS)
    assert [table.count_index("due", "d#1", most) for most in (1, 6, 7, 8)] == [1, 6, 7, 7]
    assert table.count_index("due", "d#2", 9) == 0


def test_of_sixteen_puts_of_one_key_one_wins(table: Table) -> None:
    def race(number: int) -> bool:
        return table.put({"pk": "a", "sk": "x", "n": number}, ABSENT)

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(race, range(16)))
    assert sum(won) == 1
    assert table.get("a", "x") == {"pk": "a", "sk": "x", "n": won.index(True)}


def test_of_updates_at_once_each_counts(table: Table) -> None:
    """A number goes up by one a writer, each on the condition that it is what was read."""
    table.put({"pk": "a", "sk": "x", "n": 0, "due_key": "d#1", "due_at": 0}, ALWAYS)

    def race(_: int) -> None:
        while True:
            item = table.get("a", "x")
            assert item is not None
            number = int(str(item["n"]))
            if table.update("a", "x", {"n": number + 1, "due_at": number + 1}, Condition(equal={"n": number})):
                return

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(race, range(40)))
    assert (table.get("a", "x") or {})["n"] == 40
    assert table.query_index("due", "d#1", low=0, high=99, limit=9).items == (
        {"pk": "a", "sk": "x", "due_key": "d#1", "due_at": 40},
    )


def test_invariant_7_an_item_and_the_users_writes_are_put_together(table: Table, subject: Subject) -> None:
    """All of it, or nothing."""
    item: dict[str, Value] = {"pk": "a", "sk": "log#2", "data": b"d", "due_key": "d#1", "due_at": 3}
    assert table.transact(item, ABSENT, check_writes([COUNT], None), token())
    assert (table.get("a", "log#2"), due(table), subject.seen()) == (item, ["log#2"], 1)


def test_invariant_7_no_write_happens_where_the_condition_on_the_item_does_not_hold(
    table: Table, subject: Subject
) -> None:
    """That comes before what is wrong with the user's writes."""
    table.put({"pk": "a", "sk": "log#2", "n": 1}, ALWAYS)
    assert not table.transact({"pk": "a", "sk": "log#2"}, ABSENT, check_writes([COUNT], None), token())
    assert table.get("a", "log#2") == {"pk": "a", "sk": "log#2", "n": 1}
    wrong = check_writes([COUNT, Put("books", {"pk": "b"}, condition="attribute_exists(pk)")], None)
    assert not table.transact({"pk": "a", "sk": "log#2"}, ABSENT, wrong, token())
    assert subject.seen() == 0


def test_invariant_7_a_write_that_fails_leaves_nothing(table: Table, subject: Subject) -> None:
    wrong = check_writes([COUNT, Put("books", {"pk": "b"}, condition="attribute_exists(pk)")], None)
    with pytest.raises(ConditionFailed, match=r"write 2 of 2 \(Put on books\)"):
        table.transact({"pk": "a", "sk": "log#2", "due_key": "d#1", "due_at": 3}, ABSENT, wrong, token())
    missing = check_writes([COUNT, Put("nowhere", {"pk": "b"})], None)
    with pytest.raises(WriteRefused):
        table.transact({"pk": "a", "sk": "log#2", "due_key": "d#1", "due_at": 3}, ABSENT, missing, token())
    assert (table.get("a", "log#2"), due(table), subject.seen()) == (None, [], 0)


def test_invariant_7_of_transactions_at_once_one_wins(table: Table, subject: Subject) -> None:
    writes = check_writes([COUNT], None)

    def race(number: int) -> bool:
        return table.transact({"pk": "a", "sk": "log#2", "n": number}, ABSENT, writes, token())

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, range(8))) == 1
    assert subject.seen() == 1
