"""Limits of many permits, in shards: never more than there are, none is free while someone waits (rule F.6)."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING

import pytest

from hephaestus.engine.records import Grant, Need
from hephaestus.engine.shards import is_shard, limit_of, place_of_shard, shard_of, shards_of, share_of, stored_as
from hephaestus.errors import StoreUnavailable
from hephaestus.store.heads import Shards
from hephaestus.store.sharded_permits import ShardedPermits
from tests.contract.tables import OF_LIMITS, attempt, make_subject, unique

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.store.permits import Holder
    from hephaestus.store.table import Table

NOW, GRACE = 1_764_000_000_000, 60_000
MANY, FEW = (Need("many", 20),), (Need("few", 1),)


@pytest.fixture(params=OF_LIMITS)
def table(request: pytest.FixtureRequest) -> Table:
    """An empty table, of each of the adapters."""
    return make_subject(request, request.param).table


@pytest.fixture
def permits(table: Table) -> ShardedPermits:
    """The permits on it."""
    return ShardedPermits(table, Shards(2, 2))


def standing(permits: ShardedPermits, numbers: range, needs: tuple[Need, ...] = MANY) -> list[Holder]:
    """Those that join, a second after each other."""
    found = [attempt(number, NOW + 1000 * number) for number in numbers]
    for who in found:
        permits.stand(who, needs, NOW, unique())
    return found


@pytest.mark.parametrize(("number", "taking", "giving"), [(8, 0, 0), (20, 2, 2), (40, 2, 4), (4000, 2, 4)])
def test_a_permit_of_many_costs_a_few_reads_more(
    permits: ShardedPermits, monkeypatch: pytest.MonkeyPatch, number: int, taking: int, giving: int
) -> None:
    """Without contention, and after the first of each shard: the limit's own item and the shard; four other lines."""
    needs, reads = (Need("many", number),), Counter[str]()
    get = permits.table.get
    for _ in range(2):
        for one in range(8):
            grants = permits.take(attempt(one), needs, NOW)
            assert not isinstance(grants, str)
            permits.give_back(attempt(one), grants, NOW, unique())

    def counted(*key: str) -> object:
        reads["all"] += 1
        return get(*key)

    monkeypatch.setattr(permits.table, "get", counted)
    for one in range(8):
        reads.clear()
        grants = permits.take(attempt(one), needs, NOW)
        assert not isinstance(grants, str)
        assert reads["all"] <= taking
        reads.clear()
        permits.give_back(attempt(one), grants, NOW, unique())
        assert reads["all"] <= giving


def held(permits: ShardedPermits, holder: Holder, needs: tuple[Need, ...] = MANY) -> tuple[Grant, ...]:
    """What a holder has."""
    return permits.find(holder, needs) or ()


def test_the_name_of_a_shard_says_which_it_is_of_how_many() -> None:
    name = shard_of("many#a|1/2", 20, 2)
    assert (is_shard(name), limit_of(name), place_of_shard(name)) == (True, "many#a|1/2", (2, 20))
    assert (stored_as(name), stored_as(shard_of("many#a|1/2", 30, 2))) == ("2|many#a|1/2",) * 2
    assert (is_shard("_many"), limit_of("many"), stored_as("many")) == (False, "many", "many")
    for number in (9, 16, 17, 20, 4000):
        assert sum(share_of(number, shard) for shard in range(shards_of(number))) == number


def test_of_twenty_permits_twenty_are_taken(permits: ShardedPermits) -> None:
    """Each finds one, of whichever shard; the next ones stand in line."""
    found = standing(permits, range(25))
    usage = permits.usage("many")
    assert (len(usage.permits), len(usage.line)) == (20, 5)
    assert len({(permit.grant.limit, permit.grant.slot) for permit in usage.permits}) == 20
    assert sum(bool(held(permits, who)) for who in found) == 20
    assert permits.take(attempt(99), MANY, NOW) == "many"


def test_taking_again_after_the_answer_was_lost_takes_one(permits: ShardedPermits) -> None:
    """Also where its first choice was taken then, and is free now: what is read says what it has."""
    a = attempt("a")
    first = permits.take(a, MANY, NOW)
    assert isinstance(first, tuple)
    permits.give_back(a, first, NOW, unique())
    others = (attempt(number) for number in range(200))
    other = next(
        who
        for who in others
        if permits.take(who, MANY, NOW) == first or permits.give_back(who, held(permits, who), NOW, unique())
    )
    second = permits.take(a, MANY, NOW)
    assert second != first
    permits.give_back(other, first, NOW, unique())
    assert permits.take(a, MANY, NOW + 1) == second
    assert len(permits.usage("many").permits) == 1


def test_who_gives_back_calls_one_of_another_shards_line(permits: ShardedPermits) -> None:
    """Whichever shard the permit is of, as long as someone waits."""
    found = standing(permits, range(32))
    for left in range(31, -1, -1):
        usage = permits.usage("many")
        assert (len(usage.permits), len(usage.line)) == (min(left + 1, 20), max(left - 19, 0))
        who = usage.permits[0].holder
        woken = permits.give_back(who, held(permits, who), NOW, unique())
        assert len(woken) == (left >= 20)
    assert not any(held(permits, who) for who in found)


def test_who_leaves_gives_back_what_it_was_granted_of_another_shard(permits: ShardedPermits) -> None:
    """And of a line it leaves, nothing stays."""
    found = standing(permits, range(24))
    line = permits.usage("many").line
    for who in found:
        if who not in line:
            permits.give_back(who, held(permits, who), NOW, unique())
    usage = permits.usage("many")
    assert (sorted(permit.holder for permit in usage.permits), usage.line) == (sorted(line), ())
    for who in line:
        permits.leave(who, MANY, NOW, unique())
    assert permits.usage("many").permits == ()


def test_a_limit_of_few_beside_one_of_many_is_taken_with_it_or_not_at_all(permits: ShardedPermits) -> None:
    both = (*MANY, *FEW)
    first, second = standing(permits, range(2), both)
    assert [grant.limit for grant in held(permits, first, both)][1] == "few"
    assert held(permits, second, both) == ()
    assert len(permits.usage("many").permits) == 1
    permits.give_back(first, held(permits, first, both), NOW, unique())
    assert len(held(permits, second, both)) == 2


def test_the_sweep_of_a_shard_with_a_line_grants_what_is_free_elsewhere(
    permits: ShardedPermits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where who gave it back has died before it looked at other lines, and what the dead hold there."""
    found = standing(permits, range(21))
    (waits,) = permits.usage("many").line
    own = next(iter(_home(waits)))
    alone = [who for who in found if who != waits and stored_as(held(permits, who)[0].limit) != own]
    with monkeypatch.context() as patch:
        patch.setattr(ShardedPermits, "_hand_over", lambda *_, **__: [])
        permits.give_back(alone[0], held(permits, alone[0]), NOW, unique())
    assert held(permits, waits) == ()
    woken = permits.sweep(own, NOW + GRACE, lambda who, _: MANY if who == waits else None, unique())
    assert (woken, len(held(permits, waits))) == ([waits.instance_id], 1)
    last = standing(permits, range(30, 31))[0]
    dead = next(who for who in alone[1:] if stored_as(held(permits, who)[0].limit) != next(iter(_home(last))))

    def says(who: Holder, grant: Grant | None) -> Sequence[Need] | None:
        return () if who == dead else MANY if grant is None else None

    for turn in range(1, 4):
        permits.sweep(next(iter(_home(last))), NOW + GRACE * (turn + 1), says, unique())
    assert (len(held(permits, last)), held(permits, dead)) == (1, ())


def test_who_comes_late_while_the_sweep_puts_it_back_keeps_its_permit(permits: ShardedPermits) -> None:
    """Rule F.1. Of whichever shard: the sweep has looked at a log that did not name the permit yet."""
    standing(permits, range(40))
    before, named = permits.usage("many"), set[str]()

    def stands(who: Holder, grant: Grant | None) -> Sequence[Need] | None:
        if grant is None or who.name in named:
            return MANY if grant is None else None
        assert permits.confirm(who, [grant])
        named.add(who.name)
        return MANY

    for shard in ("many", "1|many", "2|many"):
        permits.sweep(shard, NOW + GRACE, stands, unique())
    after = permits.usage("many")
    assert ([one[:2] for one in after.permits], after.line) == ([one[:2] for one in before.permits], before.line)
    assert all(permit.confirmed for permit in after.permits)


@pytest.mark.parametrize("used", [True, False])
def test_an_operators_number_is_that_of_all_shards(permits: ShardedPermits, used: bool) -> None:
    """Rule F.8. Also where it is set before anyone has come."""
    found = standing(permits, range(12)) if used else []
    assert permits.give("many", 9, ("ann", "api"), NOW, unique()) == []
    usage = permits.usage("many")
    assert (usage.number, usage.given, usage.declared, usage.by) == (9, 9, 20 if used else None, "ann")
    for who in found:
        permits.give_back(who, held(permits, who), NOW, unique())
    standing(permits, range(20, 40))
    usage = permits.usage("many")
    assert (len(usage.permits), len(usage.line), len(usage.since)) == (9, 11, 11)
    assert len(permits.give("many", None, ("ann", "api"), NOW, unique())) == 11
    usage = permits.usage("many")
    assert (usage.given, len(usage.permits), usage.line) == (None, 20, ())


@pytest.mark.parametrize("declared", [0, 5, 20])
def test_an_operators_number_may_be_any_whatever_the_code_says(permits: ShardedPermits, declared: int) -> None:
    """Rules F.6 and F.8: more than one item has, or fewer; also for what a newer deployment declares."""
    needs = (Need("many", declared, 1),)
    permits.give("many", 30, ("ann", "api"), NOW, unique())
    found = standing(permits, range(32), needs)
    usage = permits.usage("many")
    assert (usage.number, len(usage.permits), len(usage.line)) == (30, 30, 2)
    permits.give("many", 0, ("ann", "api"), NOW, unique())
    for who in found:
        permits.give_back(who, held(permits, who, needs), NOW, unique())
    standing(permits, range(40, 43), (Need("many", 25 - declared, 2),))
    usage = permits.usage("many")
    assert (usage.permits, len(usage.line)) == ((), 5)
    woken = permits.give("many", 4, ("ann", "api"), NOW, unique())
    assert (len(woken), len(permits.usage("many").permits)) == (4, 4)


def test_one_permit_of_many_is_seen_whichever_shard_it_is_of(permits: ShardedPermits) -> None:
    (who,) = standing(permits, range(3, 4))
    usage = permits.usage("many")
    assert ([permit.holder for permit in usage.permits], usage.number, usage.is_known) == ([who], 20, True)


def test_a_newer_deployment_of_few_is_given_none_while_many_hold_more(permits: ShardedPermits) -> None:
    """Rules F.6 and F.8: nothing is handed on beyond its number, and who waits is called once there is one."""
    found = standing(permits, range(30))
    few = (Need("many", 3, 2),)
    assert permits.take(attempt(50), few, NOW) == "many"
    standing(permits, range(50, 51), few)
    for who in found[:20]:
        permits.give_back(who, held(permits, who), NOW, unique())
    assert len(permits.usage("many").permits) == 3


def _home(holder: Holder) -> list[str]:
    """The stored name of the shard in whose line a holder stands."""
    from hephaestus.store.sharded_permits import _home as home

    return [stored_as(home(holder, MANY[0], None).limit)]


def test_at_once_never_more_hold_than_there_are_permits_and_all_are_called(table: Table) -> None:
    """By threads that take, stand in line, give back, and are called; no sweep helps."""
    permits, lock = ShardedPermits(table, Shards(2, 2)), Lock()
    running: Counter[str] = Counter()
    most, done = 0, []

    def again(call: Callable[[], object]) -> object:
        while True:
            try:
                return call()
            except StoreUnavailable:
                continue

    def work(number: int) -> None:
        nonlocal most
        who = attempt(number, NOW + number)
        again(lambda: permits.stand(who, MANY, NOW, unique()))
        for _ in range(20_000):
            if grants := permits.find(who, MANY):
                break
        else:
            return
        with lock:
            running["all"] += 1
            most = max(most, running["all"])
            done.append(number)
            running["all"] -= 1
        again(lambda: permits.give_back(who, grants, NOW, unique()))

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(60)))
    usage = permits.usage("many")
    assert (sorted(done), usage.permits, usage.line) == (list(range(60)), (), ())
    assert most <= 20
