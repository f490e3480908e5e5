"""Permits of limits where something happens between two requests, case by case (rules F.1, F.3 and F.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.engine.records import Grant, Need
from hephaestus.errors import StoreUnavailable
from hephaestus.store.heads import Shards
from hephaestus.store.items import FORMAT, INDEXES
from hephaestus.store.keys import end_of
from hephaestus.store.permits import (
    GRACE_MS,
    LINE,
    PERMITS,
    TRIES,
    Holder,
    Permits,
    Usage,
    free_slot,
    holder_of,
    is_limit,
    limit_key,
    needs_of,
)
from hephaestus.store.table import EXPIRES, Page

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.store.table import Item

NOW, LIFE = 1_764_000_000_000, "0123456789abcdef012"
ONE, TWO = (Need("one", 1),), (Need("one", 2),)
ANN = ("ann", "claim")


class Case(Permits):
    """Permits in memory; each call of ``unique`` gives another text."""

    def __init__(self) -> None:
        super().__init__(InMemoryTable(INDEXES), Shards(1, 2))
        self.texts = 0

    @property
    def unique(self) -> str:
        self.texts += 1
        return f"u{self.texts}"

    @property
    def item(self) -> Item:
        return self.table.get(limit_key("one"), PERMITS) or {}

    def standing(self, *names: str, needs: Sequence[Need] = ONE) -> list[Holder]:
        """Those that join, a second after each other."""
        found = [attempt(name, NOW + 1000 * number) for number, name in enumerate(names)]
        for who in found:
            self.stand(who, needs, NOW, self.unique)
        return found

    def granted(self, who: Holder, needs: Sequence[Need] = ONE) -> tuple[Grant, ...]:
        found = self.find(who, needs)
        assert found
        return found

    def held(self) -> list[str]:
        return [permit.holder.instance_id for permit in self.usage("one").permits]

    def line(self) -> list[str]:
        return [who.instance_id for who in self.usage("one").line]


def attempt(name: str, order: int = 0) -> Holder:
    return Holder(name, LIFE, "charge", 1, order)


def before(patch: pytest.MonkeyPatch, of: object, name: str, does: Callable[[], object]) -> None:
    """Do something once, before the next call of a method; it is seen by that call."""
    call = getattr(of, name)

    def once(*given: Any, **named: Any) -> object:
        patch.undo()
        does()
        return call(*given, **named)

    patch.setattr(of, name, once)


@pytest.fixture
def permits() -> Case:
    return Case()


def test_any_holder_is_read_from_its_name() -> None:
    """Also an instance, which is no activation; and whatever its owner is called."""
    for who in (attempt("a b", 7), Holder("k::a", LIFE, "", 1), Holder("k::a", LIFE, "", 1, 0, "f0/1")):
        assert holder_of(who.name) == who


def test_what_one_needs_is_read_from_its_place(permits: Case) -> None:
    """And which deployment declares it; whatever the limit's ``per`` is."""
    needs = [Need("one#a b@c", 1, 7), Need("two", 0)]
    permits.stand(attempt("x"), needs, NOW, permits.unique)
    (place,) = permits.table.query(limit_key("two"), low=LINE, high=end_of(LINE))
    assert (needs_of(place), place["format"], permits.deployment) == (needs, FORMAT, 0)


def test_a_limit_is_known_that_has_a_number_permits_or_a_line(permits: Case) -> None:
    (who,) = permits.standing("a")
    permit = permits.usage("one").permits[0]
    assert not Usage("one", (), ()).is_known
    for known in (Usage("one", (), (), number=0), Usage("one", (permit,), ()), Usage("one", (), (who,))):
        assert known.is_known
    assert (permits.usage("one").by, permits.usage("one").by_source) == ("", "")
    assert is_limit(limit_key("one"))
    assert not is_limit("one")


def test_of_what_no_one_uses_the_first_permit_is_free() -> None:
    assert (free_slot(None, 1), free_slot({}, 1), free_slot(None, 0)) == (0, 0, None)
    assert free_slot({"line": 1}, 1) is None
    assert free_slot({"line": 1}, 1, in_line=True) == 0
    assert (free_slot({"s2": "a"}, 2), free_slot({"s0": "a", "s2": "b"}, 2)) == (0, None), "what is above it counts"


def test_what_is_read_while_it_looks_is_there_for_the_next(permits: Case) -> None:
    (who,) = permits.standing("a")
    known: dict[str, Item | None] = {}
    permits.find(who, ONE, known)
    assert known == {"one": permits.item}
    known = {}
    permits.take(attempt("b"), (Need("one", 0),), NOW, known)
    assert known == {"one": permits.item}


def test_who_joins_a_line_declares_no_older_number(permits: Case) -> None:
    """Rule F.8. And of a long line only so many are shown as are asked for, each with the time that it joined at."""
    permits.take(attempt("a"), (Need("one", 1, 4),), NOW)
    for number in range(3):
        permits.stand(attempt(f"b{number}", NOW + number), (Need("one", 5, 3),), NOW + 70 + number, permits.unique)
    assert (permits.item["n"], permits.item["of"]) == (1, 4)
    usage = permits.usage("one", 2)
    assert ([who.instance_id for who in usage.line], usage.since) == (["b0", "b1"], (NOW + 70, NOW + 71))


def test_no_use_has_an_operators_number_expire(permits: Case) -> None:
    permits.give("one", 1, ANN, NOW, permits.unique)
    permits.give("one", 1, ANN, NOW, permits.unique)
    assert permits.item["sets"] == 2
    permits.standing("a", "b")
    assert (permits.held(), permits.line(), EXPIRES in permits.item) == (["a"], ["b"], False)


def test_who_comes_while_a_line_is_given_more_does_not_overtake(permits: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule F.3. Also where it has read the limit before there was a line."""
    permits.standing("a", "b")

    def overtakes() -> None:
        seen = {name: value for name, value in permits.item.items() if name not in {"line", "left", "joined"}}
        assert permits.take(attempt("x"), TWO, NOW) == "one"
        assert permits.take(attempt("x"), TWO, NOW, {"one": seen}) == "one"

    before(monkeypatch, permits, "_fill", overtakes)
    assert permits.give("one", 2, ANN, NOW, permits.unique) == ["b"]
    assert permits.held() == ["a", "b"]


def test_what_was_freed_and_taken_again_is_the_others(permits: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has it now, with a line or without one; also where that is the same attempt, later."""
    a, *_ = permits.standing("a")
    old = permits.granted(a)
    assert permits.sweep("one", NOW + GRACE_MS, lambda *_: (), permits.unique) == []
    permits.give_back(a, old, NOW, permits.unique)
    assert permits.take(attempt("x"), ONE, NOW + 1) == (Grant("one", 0, NOW + 1),)
    assert permits.give_back(a, old, NOW, permits.unique) == []
    assert permits.held() == ["x"]
    permits.standing("b")
    assert permits.give_back(a, old, NOW, permits.unique) == []
    assert (permits.held(), permits.line()) == (["x"], ["b"])
    assert permits.give_back(attempt("x"), [Grant("one", 0, NOW)], NOW, permits.unique) == []
    assert permits.held() == ["x"]


def test_a_permit_that_changes_hands_before_it_is_handed_on_stays(
    permits: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, _, c = permits.standing("a", "b", "c")
    grants = permits.granted(a)
    before(monkeypatch, permits, "_handing", lambda: permits.give_back(a, grants, NOW, permits.unique))
    assert permits.give_back(a, grants, NOW, permits.unique) == []
    assert (permits.held(), permits.line()) == (["b"], [c.instance_id])


def test_who_frees_a_permit_frees_no_one_elses(permits: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was freed by another call, and taken, since it was looked at."""
    (a,) = permits.standing("a")
    (grant,), handing = permits.granted(a), permits._handing  # noqa: SLF001 - what it has seen is old

    def late(*given: Any) -> object:
        found = handing(*given)
        monkeypatch.undo()
        permits.give_back(a, [grant], NOW, permits.unique)
        assert permits.take(attempt("x"), ONE, NOW) != "one"
        return found

    monkeypatch.setattr(permits, "_handing", late)
    assert permits._hand(grant, a.name, NOW, permits.unique) == []  # noqa: SLF001 - as for one with a line
    assert permits.held() == ["x"]


def test_who_stands_in_line_once_more_after_it_was_called_is_called_once(
    permits: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two owners had it stand there: the other was through before this one has joined."""
    (z,) = permits.standing("z")
    a = attempt("a", NOW + 1)

    def other() -> None:
        permits.stand(a, ONE, NOW, permits.unique)
        assert permits.give_back(z, permits.granted(z), NOW, permits.unique) == ["a"]

    before(monkeypatch, permits, "_joining", other)
    assert permits.stand(a, ONE, NOW, permits.unique) == ()
    assert (permits.held(), permits.line()) == (["a"], ["a"])
    permits.stand(attempt("b", NOW + 2), ONE, NOW, permits.unique)
    assert permits.give_back(a, permits.usage("one").permits[0][1:2], NOW + 5, permits.unique) == ["b"]
    assert (permits.held(), permits.line()) == (["b"], [])


def test_who_leaves_as_it_is_called_gives_the_permit_to_the_next(
    permits: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has met neither its permit nor, a moment later, its place."""
    a, b, _ = permits.standing("a", "b", "c")
    before(monkeypatch, permits, "_line", lambda: permits.give_back(a, permits.granted(a), NOW, permits.unique))
    assert permits.leave(b, ONE, NOW, permits.unique) == ["c"]
    assert (permits.held(), permits.line()) == (["c"], [])


def test_who_cannot_hand_a_permit_on_says_so(permits: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost: it is tried so often, and then again by the caller."""
    a, _ = permits.standing("a", "b")
    grants, tries = permits.granted(a), [0]

    def never(_changes: object) -> bool:
        tries[0] += 1
        return False

    with monkeypatch.context() as patch:
        patch.setattr(permits.table, "change_all", never)
        with pytest.raises(StoreUnavailable, match="the limit one is being changed by many at once; nothing is lost"):
            permits.give_back(a, grants, NOW, permits.unique)
    assert tries == [1 + TRIES], "first without a line"
    assert permits.give_back(a, grants, NOW, permits.unique) == ["b"]


def test_the_sweep_wakes_all_that_it_calls(permits: Case) -> None:
    """Two permits of the dead, and two in line; each is granted once."""
    permits.standing("a", "b", "c", "d", needs=TWO)
    says: Callable[..., Sequence[Need]] = lambda who, _: () if who.instance_id in "ab" else TWO  # noqa: E731 - short
    assert permits.sweep("one", NOW + GRACE_MS, says, permits.unique) == ["c", "d"]
    assert permits.held() == ["c", "d"]


def test_who_stands_in_line_and_does_not_wait_is_taken_out_after_a_minute(
    permits: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log may be behind. One that is called as it is looked at keeps what it was granted."""
    a, b = permits.standing("a", "b")
    says: Callable[..., Sequence[Need] | None] = lambda who, _: None if who == a else ()  # noqa: E731 - short
    permits.sweep("one", NOW + 1000 + GRACE_MS - 1, says, permits.unique)
    assert permits.line() == ["b"]

    def calls(who: Holder, grant: Grant | None) -> Sequence[Need] | None:
        if grant is None:
            permits.give_back(a, permits.granted(a), NOW + GRACE_MS, permits.unique)
        return says(who, grant)

    permits.sweep("one", NOW + 1000 + GRACE_MS, calls, permits.unique)
    assert (permits.held(), permits.line()) == ([b.instance_id], [])
    permits.standing("c")
    permits.sweep("one", NOW + GRACE_MS, lambda who, _: () if who.instance_id == "c" else None, permits.unique)
    assert permits.line() == []


def test_the_sweep_looks_again_until_there_is_no_line_and_all_permits_are_named(permits: Case) -> None:
    """Also where someone joins, or is called, while it looks."""
    a, b = permits.standing("a", "b")
    assert permits.item["wake_at"] == NOW + GRACE_MS
    permits.sweep("one", NOW + 7, lambda who, _: None if who == a else ONE, permits.unique)
    assert permits.item["wake_at"] == NOW + 7 + GRACE_MS, "a line"
    permits.leave(b, ONE, NOW, permits.unique)
    for says in ((), ONE):
        permits.sweep("one", NOW + 9, lambda *_, says=says: says, permits.unique)
        assert permits.item["wake_at"] == NOW + 9 + GRACE_MS, "a permit that no log names"

    def joins(*_: object) -> None:
        permits.stand(b, ONE, NOW, permits.unique)

    permits.sweep("one", NOW + 11, joins, permits.unique)
    assert permits.item["wake_at"] == NOW + 11 + GRACE_MS, "who has joined meanwhile"

    def hands(who: Holder, _: object) -> None:
        if who == a:
            permits.give_back(a, permits.granted(a), NOW, permits.unique)

    permits.sweep("one", NOW + 13, hands, permits.unique)
    assert (permits.held(), permits.item["wake_at"]) == (["b"], NOW + 13 + GRACE_MS)
    permits.sweep("one", NOW + 15, lambda *_: None, permits.unique)
    assert not {"wake_at", "wake_shard"} & permits.item.keys()


def test_names_are_listed_a_page_after_the_other(permits: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a page has; those of one limit end before the next one's."""
    every = ["a", *(f"b#{number}" for number in range(5)), "c"]
    for limit in every:
        permits.take(attempt("x"), (Need(limit, 1),), NOW)
    query, asked, ends = permits.table.query_index, list[int](), set[str]()

    def one_by_one(*given: Any, limit: int, **named: Any) -> Page:
        asked.append(limit)
        ends.add(named["high"])
        return query(*given, limit=1, **named)

    monkeypatch.setattr(permits.table, "query_index", one_by_one)
    assert (permits.known("", 9), permits.known("b#2", 3)) == (every, every[3:6])
    assert max(asked) == 9
    ends.clear()
    assert permits.known("", 9, of="b") == every[1:6]
    assert max(ends) < "c", "what comes after them is not read"


def test_what_an_older_deployment_declares_between_a_look_and_a_write_is_nothing(
    permits: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule F.8. And of a limit that no one has used, nothing is declared."""
    permits.declare(Need("one", 5, 3))
    assert permits.item == {}
    permits.take(attempt("a"), (Need("one", 1, 1),), NOW)
    before(monkeypatch, permits.table, "change_all", lambda: permits.declare(Need("one", 7, 4)))
    permits.declare(Need("one", 5, 3))
    assert (permits.item["n"], permits.item["of"]) == (7, 4)
