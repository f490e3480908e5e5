"""Permits and lines of limits, on every adapter (rules F.1, F.3 and F.4)."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING

import pytest

from hephaestus.engine.records import Grant, Need
from hephaestus.errors import StoreUnavailable
from hephaestus.store.heads import Shards
from hephaestus.store.permits import PERMITS, TRIES, Holder, Permits, holder_of, limit_key
from hephaestus.store.table import EXPIRES
from tests.contract.tables import OF_LIMITS, attempt, make_subject, unique

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.store.store import Store
    from hephaestus.store.table import Table

NOW = 1_764_000_000_000
ONE, TWO = (Need("one", 1),), (Need("one", 2),)


@pytest.fixture(params=OF_LIMITS)
def table(request: pytest.FixtureRequest) -> Table:
    """An empty table, of each of the adapters."""
    return make_subject(request, request.param).table


@pytest.fixture
def permits(table: Table) -> Permits:
    """The permits on it."""
    return Permits(table, Shards(2, 2))


def names(permits: Permits, limit: str = "one") -> tuple[list[str], list[str]]:
    """Who holds a permit, and who stands in line."""
    usage = permits.usage(limit)
    held = [permit.holder.instance_id.removeprefix("orderid::") for permit in usage.permits]
    return held, [who.instance_id.removeprefix("orderid::") for who in usage.line]


def standing(permits: Permits, *names_: str, needs: tuple[Need, ...] = ONE) -> list[Holder]:
    """Those that join, a second after each other."""
    found = [attempt(name, NOW + 1000 * number) for number, name in enumerate(names_)]
    for who in found:
        permits.stand(who, needs, NOW, unique())
    return found


def test_a_name_says_whose_it_is() -> None:
    assert holder_of(attempt("a b", 5).name) == attempt("a b", 5)
    assert holder_of(attempt("a")._replace(owner="f00").name) == attempt("a")._replace(owner="f00")


def test_permits_are_taken_while_there_are_some(permits: Permits) -> None:
    grants = permits.take(attempt("a"), TWO, NOW)
    assert isinstance(grants, tuple)
    assert permits.take(attempt("b"), TWO, NOW) != "one"
    assert permits.take(attempt("c"), TWO, NOW) == "one"
    assert sorted(names(permits)[0]) == ["a", "b"]
    assert permits.give_back(attempt("a"), grants, NOW, unique()) == []
    assert names(permits)[0] == ["b"]
    assert permits.give_back(attempt("a"), grants, NOW, unique()) == [], "once more changes nothing"
    assert isinstance(permits.take(attempt("c"), TWO, NOW), tuple)


def test_taking_again_after_the_answer_was_lost_takes_one(permits: Permits) -> None:
    """And who claims the instance at the same time has another name: what it gives back is its own."""
    first = permits.take(attempt("a"), TWO, NOW)
    assert permits.take(attempt("a"), TWO, NOW + 1) == first
    other = attempt("a")._replace(owner="b")
    second = permits.take(other, TWO, NOW)
    assert isinstance(second, tuple)
    assert names(permits)[0] == ["a", "a"]
    permits.give_back(other, second, NOW, unique())
    assert isinstance(first, tuple)
    assert (permits.confirm(attempt("a"), first), permits.confirm(other, second)) == (True, False)


def test_a_permit_is_handed_down_the_line(permits: Permits) -> None:
    """In order; no one else is admitted meanwhile."""
    a, b, c = standing(permits, "a", "b", "c")
    assert permits.take(attempt("x"), ONE, NOW) == "one"
    for who, after in ((a, b), (b, c)):
        grants = permits.find(who, ONE)
        assert grants
        assert permits.find(after, ONE) == ()
        assert permits.give_back(who, grants, NOW + 5, unique()) == [after.instance_id]
        assert permits.find(who, ONE) is None
        assert permits.find(after, ONE) == (Grant("one", 0, NOW + 5),)
    grants = permits.find(c, ONE)
    assert grants
    assert permits.give_back(c, grants, NOW, unique()) == []
    assert isinstance(permits.take(attempt("x"), ONE, NOW), tuple), "the line is no more"


def test_standing_twice_is_standing_once(permits: Permits) -> None:
    _, b = standing(permits, "a", "b")
    assert permits.stand(b, ONE, NOW, unique()) == ()
    assert names(permits)[1] == ["b"]


@pytest.mark.parametrize("leaves", ["b", "c", "d"])
def test_who_leaves_the_line_is_not_called(permits: Permits, leaves: str) -> None:
    a, *others = standing(permits, "a", "b", "c", "d")
    gone = next(who for who in others if who.instance_id == f"orderid::{leaves}")
    assert permits.leave(gone, ONE, NOW, unique()) == []
    assert permits.leave(gone, ONE, NOW, unique()) == []
    for who in (a, *(who for who in others if who != gone)):
        grants = permits.find(who, ONE)
        assert grants
        permits.give_back(who, grants, NOW, unique())
    assert names(permits) == ([], [])
    assert isinstance(permits.take(attempt("x"), ONE, NOW), tuple)


def test_who_leaves_after_it_was_called_gives_its_permit_to_the_next(permits: Permits) -> None:
    a, b, c = standing(permits, "a", "b", "c")
    grants = permits.find(a, ONE)
    assert grants
    permits.give_back(a, grants, NOW, unique())
    assert permits.leave(b, ONE, NOW, unique()) == [c.instance_id]
    assert permits.find(c, ONE)


@pytest.mark.parametrize("full", [False, True])
def test_who_leaves_while_it_is_called_by_another_limit_has_nothing(
    permits: Permits, monkeypatch: pytest.MonkeyPatch, *, full: bool
) -> None:
    """After it has looked at the first limit, it is given a permit of that, too, or comes to stand in its line."""
    both = (Need("one", 1), Need("two", 1))
    of_one, of_two = (permits.take(attempt(need.limit), (need,), NOW) for need in both)
    assert isinstance(of_one, tuple)
    assert isinstance(of_two, tuple)
    permits.give_back(attempt("one"), of_one, NOW, unique())
    (who,) = standing(permits, "a", needs=both)
    if full:
        permits.take(attempt("one"), ONE, NOW)
    read = permits._read  # noqa: SLF001 - it has seen one limit when the other calls it

    def once(limit: str) -> object:
        if limit == "two":
            monkeypatch.undo()
            assert permits.give_back(attempt("two"), of_two, NOW, unique()) == ([] if full else [who.instance_id])
        return read(limit)

    monkeypatch.setattr(permits, "_read", once)
    assert permits.leave(who, both, NOW, unique()) == []
    assert names(permits) == (["one"] if full else [], [])
    assert names(permits, "two") == ([], [])


def test_of_several_limits_all_are_taken_or_none(permits: Permits) -> None:
    """Whoever is first in one line goes to that of the other limit, and stands there by its own time."""
    both = (Need("one", 1), Need("two", 1))
    grants = permits.take(attempt("a"), ONE, NOW)
    held = permits.take(attempt("b"), (Need("two", 1),), NOW)
    assert permits.take(attempt("c"), both, NOW) == "one"
    assert permits.stand(attempt("c", NOW), both, NOW, unique()) == ()
    assert permits.stand(attempt("d", NOW + 1), ONE, NOW, unique()) == ()
    assert isinstance(grants, tuple)
    assert isinstance(held, tuple)
    assert permits.give_back(attempt("a"), grants, NOW, unique()) == ["orderid::d"]
    assert names(permits) == (["d"], [])
    assert [who.instance_id for who in permits.usage("two").line] == ["orderid::c"]
    given = permits.find(attempt("d", NOW + 1), ONE)
    assert given
    assert permits.give_back(attempt("d", NOW + 1), given, NOW, unique()) == []
    assert permits.give_back(attempt("b"), held, NOW, unique()) == ["orderid::c"]
    assert [grant.limit for grant in permits.find(attempt("c", NOW), both) or ()] == ["one", "two"]


def test_many_go_to_the_line_of_the_other_limit_at_once(permits: Permits) -> None:
    """All of a long line need another limit that is full: the permit of this one is free then, and no one fails."""
    both = (Need("one", 1), Need("two", 1))
    grants = permits.take(attempt("a"), ONE, NOW)
    assert isinstance(grants, tuple)
    many = [f"{number:03}" for number in range(TRIES + 2)]
    standing(permits, *many, needs=both)
    permits.take(attempt("b"), (Need("two", 1),), NOW)
    assert permits.give_back(attempt("a"), grants, NOW, unique()) == []
    assert (names(permits), names(permits, "two")) == (([], []), (["b"], many))


def test_a_lower_number_grants_nothing_before_enough_are_given_back(permits: Permits) -> None:
    """And a higher one is granted by the sweep."""
    held = {name: permits.take(attempt(name), (Need("one", 3),), NOW) for name in "abc"}
    b = attempt("x", NOW)
    assert permits.stand(b, ONE, NOW, unique()) == ()
    for number, name in enumerate(sorted(held, key=lambda name: held[name][0].slot)):  # type: ignore[union-attr]  # all were taken
        assert permits.find(b, ONE) == (), number
        permits.give_back(attempt(name), held[name], NOW, unique())  # type: ignore[arg-type]  # it holds them
    assert permits.find(b, ONE)


@pytest.mark.parametrize("says", ["gone", "waits", "holds"])
def test_the_sweep_frees_what_no_log_names(permits: Permits, says: str) -> None:
    """Rule F.1: after a minute; who waits is woken, and what is held stays."""
    a, b = standing(permits, "a", "b")

    def stands(who: Holder, _grant: Grant | None) -> Sequence[Need] | None:
        return {"gone": (), "waits": ONE, "holds": None}[says] if who == a else ONE

    early = permits.sweep("one", NOW + 59_999, stands, unique())
    assert early == ([a.instance_id] if says == "waits" else [])
    late = permits.sweep("one", NOW + 60_000, stands, unique())
    freed = {"gone": [b.instance_id], "waits": [a.instance_id, b.instance_id], "holds": []}
    assert late == freed[says]
    assert bool(permits.find(b, ONE)) is (says != "holds")
    assert permits.find(a, ONE) == {"gone": None, "waits": (), "holds": (Grant("one", 0, NOW),)}[says]
    if says == "waits":
        assert permits.give_back(b, permits.find(b, ONE) or (), NOW, unique()) == [a.instance_id], "it is first again"


def test_who_was_put_back_in_two_lines_leaves_one_of_them(permits: Permits) -> None:
    """It was called with permits of both, and did not come; then one of them is free and the other is not."""
    both = (Need("one", 1), Need("two", 1))
    (who,) = standing(permits, "a", needs=both)
    others = [attempt(name, NOW + 1000) for name in ("b", "c")]
    for limit, other in zip(both, others, strict=True):
        assert permits.stand(other, (limit,), NOW, unique()) == ()
        assert permits.sweep(limit.limit, NOW + 60_000, lambda one_, _: both if one_ == who else ONE, unique())
    assert names(permits) == (["b"], ["a"])
    assert names(permits, "two") == (["c"], ["a"])
    permits.give_back(others[1], permits.find(others[1], both[1:]) or (), NOW, unique())
    assert names(permits, "two") == ([], [])
    assert permits.give_back(others[0], permits.find(others[0], ONE) or (), NOW, unique()) == [who.instance_id]
    assert len(permits.find(who, both) or ()) == len(both)


def test_what_was_confirmed_after_the_sweep_has_looked_stays(permits: Permits) -> None:
    """Rule F.1: its holder's log has named it late, between the sweep's look and its write."""
    a, b = standing(permits, "a", "b")
    grants = permits.find(a, ONE)
    assert grants

    def stands(who: Holder, _grant: Grant | None) -> Sequence[Need]:
        if who == a:
            assert permits.confirm(a, grants)
            return ()
        return ONE

    assert permits.sweep("one", NOW + 100_000, stands, unique()) == []
    assert permits.find(b, ONE) == ()
    assert permits.sweep("one", NOW + 100_000, lambda who, _: () if who == a else ONE, unique())
    assert permits.find(b, ONE)


def test_who_comes_late_while_the_sweep_puts_it_back_keeps_its_permit(permits: Permits) -> None:
    """Rule F.1. Its log had it stand in line when the sweep looked, and names the permit when the sweep writes."""
    a, b = standing(permits, "a", "b")
    grants = permits.find(a, ONE)
    assert grants

    def stands(who: Holder, grant: Grant | None) -> Sequence[Need]:
        assert grant is None or permits.confirm(who, grants)
        return ONE

    assert permits.sweep("one", NOW + 60_000, stands, unique()) == [a.instance_id]
    assert (permits.find(a, ONE), permits.find(b, ONE)) == (grants, ())


def test_the_sweep_takes_out_of_the_line_who_does_not_wait_any_more(permits: Permits) -> None:
    a, b, c = standing(permits, "a", "b", "c")
    permits.sweep("one", NOW + 200_000, lambda who, _: {a: None, c: ONE}.get(who, ()), unique())
    assert permits.find(b, ONE) is None
    assert permits.find(c, ONE) == ()


def again(call: Callable[[], object]) -> object:
    """What a call gives that is tried again where others change the same items."""
    while True:
        try:
            return call()
        except StoreUnavailable:
            time.sleep(0.002)


@pytest.mark.parametrize("number", [1, 3])
def test_at_once_never_more_hold_than_there_are_permits_and_all_are_called(permits: Permits, number: int) -> None:
    """Rules F.3 and F.4. Each waits until it is called, without any sweep."""
    needs, seen, lock, most = (Need("one", number),), Counter[str](), Lock(), [0]

    def go(name: int) -> None:
        who = attempt(str(name), NOW + name)
        grants = again(lambda: permits.stand(who, needs, NOW, unique()))
        while not grants:
            time.sleep(0.002)
            grants = permits.find(who, needs)
        assert isinstance(grants, tuple)
        with lock:
            seen["held"] += 1
            most[0] = max(most[0], seen["held"])
        time.sleep(0.001)
        with lock:
            seen["held"] -= 1
            seen["done"] += 1
        again(lambda: permits.give_back(who, grants, NOW, unique()))

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(go, range(18)))
    assert (seen["done"], most[0] <= number) == (18, True)
    assert isinstance(permits.take(attempt("last"), needs, NOW), tuple)
    assert not permits.usage("one").line


def of(deployment: int, number: int, limit: str = "one") -> tuple[Need, ...]:
    """What a deployment declares."""
    return (Need(limit, number, deployment),)


def expires(permits: Permits) -> bool:
    item = permits.table.get(limit_key("one"), PERMITS)
    assert item is not None
    return EXPIRES in item


def test_the_number_of_the_newest_deployment_counts(permits: Permits) -> None:
    """Rule F.8. For who runs older code, too, and in whatever order they come."""
    for name in "ab":
        assert permits.take(attempt(name), of(1, 2), NOW) != "one"
    assert permits.take(attempt("c"), of(1, 2), NOW) == "one"
    assert permits.take(attempt("c"), of(3, 4), NOW) != "one"
    assert permits.take(attempt("d"), of(1, 2), NOW) != "one"
    assert permits.take(attempt("e"), of(2, 9), NOW) == "one"
    assert permits.usage("one").number == 4


def test_an_operators_number_stays_until_it_is_taken_back(permits: Permits) -> None:
    """Rule F.8. Whatever is declared meanwhile; with who has set it, and when."""
    permits.take(attempt("a"), of(1, 3), NOW)
    assert expires(permits)
    permits.give("one", 1, ("anna", "claim"), NOW + 5, unique())
    assert permits.take(attempt("b"), of(2, 8), NOW) == "one"
    assert permits.stand(attempt("b", NOW), of(2, 8), NOW, unique()) == ()
    permits.declare(of(3, 8)[0])
    usage = permits.usage("one")
    assert (usage.number, usage.given, usage.declared, usage.by, usage.at) == (1, 1, 8, "anna", NOW + 5)
    assert not expires(permits)
    assert permits.give("one", None, ("ben", "claim"), NOW + 9, unique()) == ["orderid::b"]
    usage = permits.usage("one")
    assert (usage.number, usage.given, usage.by, usage.at) == (8, None, "ben", NOW + 9)
    assert expires(permits)


def test_a_greater_number_calls_who_stands_in_line_at_once(permits: Permits) -> None:
    """And a smaller one takes nothing from who holds a permit: the next is called when there are fewer."""
    standing(permits, "a", "b", "c", "d")
    assert permits.give("one", 3, ("anna", "claim"), NOW, unique()) == ["orderid::b", "orderid::c"]
    assert names(permits) == (["a", "b", "c"], ["d"])
    assert permits.give("one", 1, ("anna", "claim"), NOW, unique()) == []
    assert names(permits) == (["a", "b", "c"], ["d"])
    for permit in permits.usage("one").permits:
        last = permit.holder.instance_id == "orderid::c"
        woken = permits.give_back(permit.holder, [permit.grant], NOW, unique())
        assert woken == (["orderid::d"] if last else [])
    assert names(permits) == (["d"], [])


def test_who_holds_one_above_a_smaller_number_keeps_no_one_from_what_is_left_below_it(permits: Permits) -> None:
    """Rule F.8. Of a number that was greater for a while, the last holder may hold for months: one of two is free."""
    standing(permits, "a", "b", "c", needs=TWO)
    permits.give("one", 3, ("anna", "claim"), NOW, unique())
    permits.give("one", None, ("anna", "claim"), NOW, unique())
    assert names(permits) == (["a", "b", "c"], [])
    standing(permits, "d", "e", needs=TWO)
    a, b, c = permits.usage("one").permits
    assert permits.give_back(a.holder, [a.grant], NOW, unique()) == [], "two of two are held"
    assert permits.give_back(b.holder, [b.grant], NOW, unique()) == ["orderid::d"]
    assert names(permits) == (["d", "c"], ["e"])
    (d,) = (permit for permit in permits.usage("one").permits if permit.holder != c.holder)
    assert permits.give_back(d.holder, [d.grant], NOW, unique()) == ["orderid::e"], "it is handed on"
    (e,) = (permit for permit in permits.usage("one").permits if permit.holder != c.holder)
    permits.give_back(e.holder, [e.grant], NOW, unique())
    assert permits.take(attempt("f"), TWO, NOW) != "one"
    assert permits.take(attempt("g"), TWO, NOW) == "one"
    assert permits.give_back(c.holder, [c.grant], NOW, unique()) == []
    assert permits.take(attempt("g"), TWO, NOW) != "one"


@pytest.mark.parametrize("late", [f"late-{number}" for number in range(8)])
def test_beside_one_above_the_number_no_more_are_taken_than_are_left(permits: Permits, late: str) -> None:
    """Rule F.8. Two who see one of two free at once do not both have it: no place below the number says so alone."""
    standing(permits, "a", "b", "c", needs=TWO)
    permits.give("one", 3, ("anna", "claim"), NOW, unique())
    permits.give("one", None, ("anna", "claim"), NOW, unique())
    for permit in permits.usage("one").permits[:2]:
        permits.give_back(permit.holder, [permit.grant], NOW, unique())
    seen = permits.table.get(limit_key("one"), PERMITS)
    assert permits.take(attempt("d"), TWO, NOW) != "one"
    assert permits.take(attempt(late), TWO, NOW, {"one": seen}) == "one"
    full = permits.table.get(limit_key("one"), PERMITS)
    assert permits.take(attempt(late), TWO, NOW, {"one": full}) == "one"
    assert names(permits)[0] == ["d", "c"]


def test_a_number_of_zero_stops_all_until_another_is_there(permits: Permits) -> None:
    """Rule F.10. Also before its first use; who stands in line is called in order."""
    permits.give("one", 0, ("anna", "claim"), NOW, unique())
    assert permits.take(attempt("x"), TWO, NOW) == "one"
    standing(permits, "a", "b", "c", needs=TWO)
    assert names(permits) == ([], ["a", "b", "c"])
    assert permits.give("one", None, ("anna", "claim"), NOW, unique()) == ["orderid::a", "orderid::b"]
    assert names(permits) == (["a", "b"], ["c"])


def test_a_limit_that_is_zero_in_the_code_has_an_operators_number(permits: Permits) -> None:
    assert permits.take(attempt("a"), of(1, 0), NOW) == "one"
    permits.give("one", 1, ("anna", "claim"), NOW, unique())
    assert permits.take(attempt("a"), of(1, 0), NOW) != "one"
    assert permits.take(attempt("b"), of(1, 0), NOW) == "one"


def test_a_number_that_is_set_between_a_look_and_a_write_counts(
    permits: Permits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who joins a line stands in none that is not full any more; no one is called whom the number stops."""
    (holder,) = standing(permits, "a")
    read = permits._read  # noqa: SLF001 - what it has seen is old

    def sets(number: int) -> None:
        def once(limit: str) -> object:
            found = read(limit)
            monkeypatch.undo()
            permits.give("one", number, ("anna", "claim"), NOW, unique())
            return found

        monkeypatch.setattr(permits, "_read", once)

    sets(2)
    assert permits.stand(attempt("b", NOW), ONE, NOW, unique()) != ()
    permits.stand(attempt("c", NOW), ONE, NOW, unique())
    (grant,) = (permit.grant for permit in permits.usage("one").permits if permit.holder == holder)
    sets(0)
    assert permits.give_back(holder, [grant], NOW, unique()) == []
    assert names(permits) == (["b"], ["c"])


def test_who_joins_a_line_that_is_seen_to_be_none_is_called(permits: Permits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gives back has met a line, then sees none; until it frees the permit, the limit is full and has one again."""
    holder, second = standing(permits, "a", "b")
    (grant,) = (permit.grant for permit in permits.usage("one").permits)
    read = permits._read  # noqa: SLF001 - what it has seen is old

    def once(limit: str) -> object:
        monkeypatch.undo()
        permits.leave(second, ONE, NOW, unique())
        found = read(limit)
        permits.stand(attempt("c", NOW + 2000), ONE, NOW, unique())
        return found

    monkeypatch.setattr(permits, "_read", once)
    assert permits.give_back(holder, [grant], NOW, unique()) == ["orderid::c"]
    assert names(permits) == (["c"], [])


def test_limits_are_listed_from_their_first_use_on(store: Store) -> None:
    """Those that were used, and those that an operator has stopped; by name, a page a time."""
    permits = store.permits
    for limit in ("z", "stripe#b", "stripe#a", "stripes"):
        permits.take(attempt("a"), of(1, 1, limit), NOW)
    permits.give("quiet", 0, ("anna", "claim"), NOW, unique())
    every = ["quiet", "stripe#a", "stripe#b", "stripes", "z"]
    assert permits.known("", 10) == every
    assert permits.known("stripe#b", 2) == every[2:4]
    assert permits.known("", 10, of="stripe") == ["stripe#a", "stripe#b"]


def test_once_a_limit_is_set_to_zero_no_permit_is_granted(permits: Permits) -> None:
    """Rule F.10. Whatever is taken, joined and given back at the same time: who holds one then is the last."""
    over = False

    def works(number: int) -> None:
        for turn in itertools.count():
            who = attempt(f"{number}-{turn}", NOW + turn * 100 + number)
            found = permits.stand(who, TWO, NOW, unique())
            while not found and not over:
                found = permits.find(who, TWO) or ()
            if over:
                return
            permits.give_back(who, found, NOW, unique())

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(works, number) for number in range(4)]
        try:
            for _ in range(10):
                permits.give("one", 0, ("anna", "claim"), NOW, unique())
                held = set(names(permits)[0])
                for _ in range(5):
                    assert set(names(permits)[0]) <= held
                permits.give("one", 3, ("anna", "claim"), NOW, unique())
                assert len(names(permits)[0]) <= 3
                permits.give("one", None, ("anna", "claim"), NOW, unique())
        finally:
            over = True
    for worker in workers:
        worker.result()
