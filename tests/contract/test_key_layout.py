"""The layout of an instance's partition: its head and its newest log entry are one query of two items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus.store.keys import HEAD, KINDS, LOG, end_of, life_name, log_key, mail_key, read_log_key, value_key
from hephaestus.store.table import ALWAYS
from tests.contract.tables import ADAPTERS, make_subject

if TYPE_CHECKING:
    from hephaestus.store.table import Table

NOW = 1_764_000_000_000
ACROSS_DECIMALS = (*range(2, 125), 9_999, 10_000, 1_000_000)


@pytest.fixture(params=ADAPTERS)
def table(request: pytest.FixtureRequest) -> Table:
    """An empty table, of each of the adapters."""
    return make_subject(request, request.param).table


def put(table: Table, pk: str, *keys: str) -> None:
    for key in keys:
        assert table.put({"pk": pk, "sk": key}, ALWAYS)


def newest(table: Table, pk: str) -> list[object]:
    """What the one query reads."""
    return [item["sk"] for item in table.query(pk, low=HEAD, high=end_of(LOG), limit=2)]


def others(life: str) -> list[str]:
    """Keys of everything else that a partition may hold."""
    return [value_key(life, "start"), value_key(life, "3"), "mail#0", mail_key(life, "child", 7), "mail#zz"]


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_key_sorts_between_head_and_log(kind: str) -> None:
    """Such a key, as ``limit#`` would be one, would hide the newest entry."""
    assert not HEAD < kind < LOG
    assert HEAD < "limit#x" < LOG


@given(st.integers(0, 2**44 - 1), st.text(), st.text(), st.integers(0, 99_999_999))
def test_no_key_sorts_between_head_and_log(now: int, unique: str, name: str, number: int) -> None:
    """Whatever is in it."""
    life = life_name(now, unique)
    for key in (log_key(life, number), value_key(life, name), *others(life)):
        assert not HEAD < key < LOG
    assert read_log_key(log_key(life, number)) == (life, number)


@given(st.integers(0, 2**44 - 2), st.integers(1, 10**9), st.integers(2, 99_999_998))
def test_newer_lives_and_numbers_sort_first(now: int, later: int, number: int) -> None:
    """A life sorts before the one that it replaces even if its clock is behind."""
    life = life_name(now, "a")
    assert log_key(life, number + 1) < log_key(life, number)
    ahead = life_name(min(now + later, 2**44 - 1), "b", life)
    behind = life_name(max(now - later, 0), "c", life)
    assert ahead < life
    assert behind < life


def test_head_and_newest_entry_are_one_query(table: Table) -> None:
    """Across all borders of decimal numbers, with values and mail in the partition."""
    life = life_name(NOW, "a")
    put(table, "orderid::one", HEAD, *others(life))
    assert newest(table, "orderid::one") == [HEAD]
    for number in ACROSS_DECIMALS:
        put(table, "orderid::one", log_key(life, number))
        assert newest(table, "orderid::one") == [HEAD, log_key(life, number)]


def test_the_newest_life_is_read_first(table: Table) -> None:
    """By whatever clocks the lives were named."""
    life = ""
    for skew in (0, 5, -3_600_000, 0, -1, 100):
        life = life_name(NOW + skew, str(skew), life)
        put(table, "orderid::lives", HEAD, log_key(life, 2), log_key(life, 3), *others(life))
        assert newest(table, "orderid::lives") == [HEAD, log_key(life, 3)]


def test_a_tail_and_a_history_are_ranges(table: Table) -> None:
    """Of one life, either way round."""
    life, other = life_name(NOW, "a"), life_name(NOW + 1, "b")
    for number in range(2, 12):
        put(table, "orderid::range", log_key(life, number), log_key(other, number))
    tail = table.query("orderid::range", low=log_key(life, 11), high=log_key(life, 5))
    assert [read_log_key(str(item["sk"])) for item in tail] == [(life, number) for number in range(11, 4, -1)]
    oldest = table.query("orderid::range", low=f"{LOG}{life}#", high=end_of(f"{LOG}{life}#"), limit=3, descending=True)
    assert [read_log_key(str(item["sk"])) for item in oldest] == [(life, number) for number in (2, 3, 4)]
