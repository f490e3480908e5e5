"""How many permits a limit has, by what its item says (rules F.6 and F.8)."""

from __future__ import annotations

from typing import Any, Final

import pytest

from hephaestus.engine.records import Need
from hephaestus.engine.shards import MOST, place_of_shard, shard_of
from hephaestus.store import numbers
from hephaestus.store.items import FORMAT, list_key
from hephaestus.store.items import shard_of as list_shard_of
from hephaestus.store.table import EXPIRES, Condition

NOW: Final = 1_764_000_000_999
FEW, MANY = Need("few", 3, 5), Need("many", 20, 5)
FIRST, THIRD = (Need(shard_of("many", 20, shard), 20, 5) for shard in (0, 2))
"""Of 20 permits: 8, 8 and 4."""
END: Final = NOW // 1000 + 400 * 24 * 3600


def test_an_operators_number_counts_then_the_newest_deployments() -> None:
    for item, number in (
        (None, 3),
        ({}, 3),
        ({"n": 7, "of": 4}, 3),
        ({"n": 7, "of": 5}, 3),
        ({"n": 7, "of": 6}, 7),
        ({"n": 7, "of": 6, "set": 0}, 0),
        ({"n": 7, "of": 4, "set": 2}, 2),
    ):
        assert numbers.number_of(item, FEW) == numbers.in_force(item, FEW) == number
    assert numbers.number_of({}, Need("few", 3, 0)) == 3, "before any deployment has declared it"


def test_a_shard_has_its_share_of_what_its_copy_says() -> None:
    copy = {"n": 20, "of": 1}
    assert [numbers.number_of(copy, need) for need in (FIRST, THIRD)] == [MOST, 4]
    assert numbers.number_of(None, THIRD) == numbers.number_of({}, THIRD) == numbers.in_force({}, THIRD) == 0
    assert numbers.in_force({**copy, "set": 18}, THIRD) == 18
    assert [numbers.known_share(copy, one.limit) for one in (FIRST, THIRD)] == [MOST, 4]
    assert numbers.known_share(None, "many") == numbers.known_share({}, "2|many") == 0
    assert (place_of_shard("many"), place_of_shard("2|many"), place_of_shard("2/20|many")) == ((0, 0), (2, 0), (2, 20))


def test_what_is_known_of_a_limit_that_was_not_used_is_nothing() -> None:
    for item in (None, {}, {"format": FORMAT}):
        assert (numbers.operators(item), numbers.known_number(item)) == (None, None)
    assert (numbers.operators({"set": 0}), numbers.known_number({"set": 0, "n": 4})) == (0, 0)
    assert (numbers.operators({"n": 4}), numbers.known_number({"n": 4})) == (None, 4)


def test_what_is_declared_is_no_older_and_never_of_another_shard() -> None:
    mine = {"n": 3, "of": 5}
    assert numbers.declared(None, FEW) == numbers.declared({"n": 9, "of": 5}, FEW) == mine
    assert numbers.declared({"n": 9, "of": 6}, FEW) == {}
    assert numbers.declared({}, Need("few", 3, 0)) == {"n": 3, "of": 0}
    assert numbers.declared(None, THIRD) == {}
    assert numbers.declared(None, FIRST) == {"n": 20, "of": 5}


def test_a_limit_is_forgotten_long_after_its_last_use_but_for_an_operators_number() -> None:
    assert numbers.kept(None, NOW) == numbers.kept({"n": 1}, NOW) == {EXPIRES: END}
    assert numbers.kept({"set": 0}, NOW) == {}
    assert numbers.idle(NOW) == END == NOW // 1000 + numbers.IDLE


def test_a_limit_is_listed_by_its_own_name_and_its_shards_are_not() -> None:
    shard = list_shard_of("many", 4)
    listed = numbers.in_list("many", 4)
    assert listed == numbers.in_list(FIRST.limit, 4)
    assert listed["list_at"] == "many"
    assert listed["list_key"] == list_key("limit", "", shard)
    assert numbers.in_list(THIRD.limit, 4) == {}
    assert (numbers.LISTED_AS, numbers.RATES_LISTED_AS) == ("limit", "rate"), "as tables have them"
    assert numbers.in_list("many", 4, "rate")["list_key"] != listed["list_key"]


@pytest.mark.parametrize(
    ("read", "need", "later", "holds"),
    [
        ({}, FEW, {}, True),
        ({}, FEW, {"n": 3, "of": 5}, True),
        ({}, FEW, {"n": 3, "of": 6}, False),
        ({}, FEW, {"set": 3}, False),
        ({"n": 3, "of": 4}, FEW, {"n": 9, "of": 5}, True),
        ({"n": 3, "of": 4}, FEW, {"n": 9, "of": 6}, False),
        ({"n": 3, "of": 6}, FEW, {"n": 3, "of": 6}, True),
        ({"n": 3, "of": 6}, FEW, {"n": 4, "of": 6}, False),
        ({"n": 3, "of": 6}, FEW, {"n": 3, "of": 7}, False),
        ({"n": 3, "of": 6}, FEW, {"n": 3, "of": 6, "set": 3}, False),
        ({"n": 3, "of": 4, "set": 2}, FEW, {"n": 3, "of": 4, "set": 2}, True),
        ({"n": 3, "of": 4, "set": 2}, FEW, {"n": 3, "of": 4, "set": 1}, False),
        ({"n": 3, "of": 4, "set": 2}, FEW, {"n": 3, "of": 4}, False),
        ({"n": 3, "of": 6, "set": 2}, FEW, {"n": 3, "of": 6, "set": 1}, False),
        ({"n": 3, "of": 4}, None, {"n": 3, "of": 5}, False),
        ({"n": 3, "of": 4}, None, {"n": 4, "of": 4}, False),
        ({"n": 3, "of": 4}, None, {"n": 3, "of": 4}, True),
        ({"n": 20, "of": 4}, THIRD, {"n": 20, "of": 5}, False),
        ({"n": 20, "of": 4}, THIRD, {"n": 20, "of": 4}, True),
    ],
)
def test_a_write_stands_as_long_as_the_number_does(
    read: dict[str, Any], need: Need | None, later: dict[str, Any], *, holds: bool
) -> None:
    """By a deployment that is none older: as long as no newer one has declared another, and no operator has set one."""
    for seen in (read, None) if not read and need else (read,):
        assert numbers.stands(seen, need).holds({"pk": "p", "sk": "s", **later}) is holds


def test_a_condition_asks_for_no_value_where_there_was_none() -> None:
    """No table has an attribute that is ``None``."""
    assert numbers.stands(None, FEW).equal == numbers.stands({"n": 3, "of": 4}, FEW).equal == {}


def test_two_conditions_are_one() -> None:
    a, b = (Condition(equal={name: 1}, missing=(f"no {name}", "both")) for name in "ab")
    c = Condition(any_of=(Condition(missing=("c",)), Condition(at_most={"c": 1})))
    either = numbers.together(numbers.together(a, b), c)
    assert either == Condition(equal={"a": 1, "b": 1}, missing=("no a", "both", "no b"), any_of=c.any_of)
    assert numbers.together(c, numbers.together(a, b)).any_of == c.any_of


def test_who_sets_a_number_is_noted_and_it_has_no_end_until_it_is_unset() -> None:
    item = {"n": 7, "of": 4, "sets": 2, EXPIRES: 1}
    common: dict[str, Any] = {"at": NOW, "format": FORMAT, "sets": 3, "by": "ann", "by_source": "claim"}
    assert numbers.given(item, 2, ("ann", "claim"), NOW, "quota") == {
        **common, "set": 2, "why": "quota", EXPIRES: None,
    }  # fmt: skip
    assert numbers.given(item, None, ("", ""), NOW, "") == {
        **common, "set": None, "by": None, "by_source": None, "why": None, EXPIRES: END,
    }  # fmt: skip
    assert numbers.given(None, 0, ("ann", "claim"), NOW, "quota") == {
        **common, "set": 0, "sets": 1, "why": "quota", EXPIRES: None,
    }  # fmt: skip


def test_what_a_limit_ever_had_is_known_and_whether_that_has_changed() -> None:
    """From more permits than one item has on; see ``most`` and ``changed``."""
    assert numbers.spread(None, Need("few", MOST)) == numbers.spread({"n": 1, "of": 9}, MANY) == {}
    assert numbers.spread(None, Need("many", MOST + 1)) == {"most": MOST + 1}
    assert numbers.spread({"n": 20, "of": 5, "most": 20}, MANY) == {"most": 20}
    assert numbers.spread({"n": 30, "of": 4, "most": 30}, MANY) == {"most": 30, "changed": 1}
    assert numbers.spread({"n": 9, "of": 4, "most": 9}, MANY) == {"most": 20, "changed": 1}
    assert numbers.spread({"n": 20, "of": 5, "most": 20, "changed": 1}, MANY) == {"most": 20, "changed": 1}
    assert numbers.spread({"format": FORMAT}, MANY) == {"most": 20}
    assert numbers.spread({"set": 0, "most": 30}, MANY) == {"most": 30}
    given = numbers.given({"n": 20, "of": 5, "most": 20}, 30, ("", ""), NOW, "")
    assert (given["most"], given["changed"]) == (30, 1)
    unset = numbers.given({"n": 20, "of": 5, "set": 30, "most": 30}, None, ("", ""), NOW, "")
    assert (unset["most"], unset["changed"]) == (30, 1)
    given = numbers.given({"n": 30, "of": 5, "set": 3}, None, ("", ""), NOW, "")
    assert (given["most"], given["changed"]) == (30, 1)
    assert "most" not in numbers.given(None, None, ("", ""), NOW, "")
    assert [numbers.shards_there(item) for item in (None, {}, {"most": 20})] == [1, 1, 3]


def test_places_in_lines_may_be_of_another_numbers_shards() -> None:
    same = {"n": 20, "of": 5, "most": 20}
    assert not numbers.is_moved(None)
    assert not numbers.is_moved(same)
    assert numbers.is_moved({**same, "changed": 1})
    assert numbers.is_moved({**same, "set": 9})


def test_a_copy_is_made_of_what_is_newer_and_never_of_what_is_older() -> None:
    own: dict[str, Any] = {"n": 20, "of": 5, "set": 18, "sets": 2, "most": 20, "format": FORMAT}
    copy: dict[str, Any] = {"n": 20, "of": 5, "set": 18, "sets": 2, "format": FORMAT, EXPIRES: None}
    assert numbers.copied(own, None) == numbers.copied(own, {}) == copy
    assert numbers.copied(own, {**copy, "s0": "who"}) == {}
    for older in ({"of": 4, "n": 9}, {"sets": 1, "set": 9}, {"n": 9}, {"set": 9}):
        assert numbers.copied(own, {**copy, **older}) == copy
    for newer in ({"of": 6}, {"sets": 3}):
        assert numbers.copied(own, {**copy, **newer}) == {}
    assert numbers.copied({"n": 20, "of": 0, EXPIRES: 7}, {"n": 20}) == {
        "n": 20, "of": 0, "set": None, "sets": None, "format": FORMAT, EXPIRES: 7,
    }  # fmt: skip
    assert numbers.copied({"n": 20}, {"n": 9, "of": 0}) == {}


def test_all_of_a_limits_numbers_are_as_they_were_read() -> None:
    item: dict[str, Any] = {"n": 20, "of": 5, "set": 18, "sets": 2, "most": 20, "changed": 1}
    for read in (item, {}, None):
        there = {"pk": "p", "sk": "s", **(read or {})}
        assert numbers.as_read(read).holds(there)
        assert all(not numbers.as_read(read).holds({**there, name: 77}) for name in item)
