"""Places of rates and their lines, on every adapter (rule F.7)."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.engine.records import Pace
from hephaestus.store.heads import Shards
from hephaestus.store.reservations import AHEAD_MS, Reservations
from tests.contract.tables import OF_LIMITS, attempt, make_subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.store.permits import Holder
    from hephaestus.store.table import Table

NOW = 1_764_000_000_000
SECOND = 1_000_000
CALLS = Pace("calls", SECOND, 3)


@pytest.fixture(params=OF_LIMITS)
def table(request: pytest.FixtureRequest) -> Table:
    """An empty table, of each of the adapters."""
    return make_subject(request, request.param).table


@pytest.fixture
def rates(table: Table) -> Reservations:
    """The rates on it."""
    return Reservations(table, Shards(2, 2))


def always(_: Holder) -> bool:
    """Each one's log says that it stands in line."""
    return True


def reserved(rates: Reservations, number: int, pace: Pace = CALLS, now: int = NOW) -> list[int | str]:
    """When so many may start, from ``NOW`` on."""
    found = [rates.reserve((pace,), now) for _ in range(number)]
    return [at - NOW if isinstance(at, int) else at for at in found]


def test_places_are_a_burst_and_then_at_the_rate(rates: Reservations) -> None:
    assert reserved(rates, 5) == [0, 0, 0, 1000, 2000]
    assert reserved(rates, 2, now=NOW + 2500) == [3000, 4000]
    assert reserved(rates, 4, now=NOW + 60_000) == [60_000, 60_000, 60_000, 61_000]


def test_a_cost_takes_so_many_places(rates: Reservations) -> None:
    assert reserved(rates, 3, Pace("calls", SECOND, 3, 3)) == [0, 3000, 6000]
    assert reserved(rates, 1) == [7000]


def test_no_place_is_more_than_a_minute_ahead(rates: Reservations) -> None:
    found = reserved(rates, 66)
    assert found == [0, 0, *range(0, AHEAD_MS + 1, 1000), *["calls"] * 3]


def test_a_line_is_called_in_its_order_some_seconds_ahead(rates: Reservations) -> None:
    """And no one is admitted but from it; one call at a time does something."""
    reserved(rates, 63)
    a, b, c = (attempt(name, NOW + number) for number, name in enumerate("abc"))
    assert rates.stand(b, (CALLS,), NOW + 3) == NOW + 61_000 - 10_000
    assert rates.stand(a, (CALLS,), NOW + 3) is None, "it is called anyway"
    assert rates.stand(c, (CALLS,), NOW + 3) is None
    assert rates.stand(c, (CALLS,), NOW + 3) is None, "once more changes nothing"
    assert rates.reserve((CALLS,), NOW + 40_000) == "calls", "there would be room, and there is a line"
    assert rates.call("calls", NOW + 10_000, always) is None, "it is too early"
    called = rates.call("calls", NOW + 52_000, always)
    assert called is not None
    assert [(one.holder, one.at - NOW) for one in called.places] == [(a, 61_000), (b, 62_000)]
    assert called.next == NOW + 57_000, "as long as half of what is called lasts"
    assert rates.call("calls", NOW + 52_000, always) is None, "it has been called"
    assert all(rates.hand("calls", one) for one in called.places)
    assert not rates.hand("calls", called.places[0]), "it has its time"
    assert rates.find(a, (CALLS,)) == ("calls", NOW + 61_000)
    assert rates.find(c, (CALLS,)) == ("calls", 0)
    rates.leave(a, (CALLS,))
    rates.leave(b, (CALLS,))
    last = rates.call("calls", NOW + 57_000, always)
    assert last is not None
    assert ([one.holder for one in last.places], last.next) == ([c], None)
    assert rates.look_again("calls", NOW + 57_000) is not None, "before it has its time, it stands there"


def test_the_line_goes_with_the_last_and_the_alarm_with_the_sweep(rates: Reservations, table: Table) -> None:
    reserved(rates, 63)
    a = attempt("a", NOW)
    rates.stand(a, (CALLS,), NOW)
    called = rates.call("calls", NOW + 60_000, always)
    assert called is not None
    assert [rates.hand("calls", place) for place in called.places] == [True]
    item = table.get("rate#calls", "rate") or {}
    assert ("line" in item, "next" in item, "wake_at" in item) == (False, False, True)
    assert isinstance(rates.reserve((CALLS,), NOW + 60_000), int)
    rates.leave(a, (CALLS,))
    assert rates.call("calls", NOW + 130_000, always) is not None
    assert "wake_at" not in (table.get("rate#calls", "rate") or {})


@pytest.mark.parametrize("stands", [True, False])
def test_who_is_called_and_does_not_come_is_called_again_if_it_still_stands_there(
    rates: Reservations, *, stands: bool
) -> None:
    reserved(rates, 63)
    a, b = attempt("a", NOW), attempt("b", NOW + 1)
    rates.stand(a, (CALLS,), NOW)
    rates.stand(b, (CALLS,), NOW)
    for now, wanted in ((NOW + 52_000, [a, b]), (NOW + 100_000, []), (NOW + 140_000, [a, b] if stands else [])):
        called = rates.call("calls", now, lambda _: stands)
        assert called is not None
        assert [place.holder for place in called.places] == wanted, now
        assert all(rates.hand("calls", place) for place in called.places)
    assert (rates.find(a, (CALLS,)) is not None) is stands


def test_who_stood_in_a_line_before_goes_before_those_who_came_later(rates: Reservations) -> None:
    reserved(rates, 63)
    rates.stand(attempt("a", NOW + 5), (CALLS,), NOW + 5)
    assert rates.reserve((CALLS,), NOW + 30_000, attempt("x", NOW + 4).place) == NOW + 61_000
    assert rates.reserve((CALLS,), NOW + 30_000, attempt("x", NOW + 6).place) == "calls"


def test_of_several_rates_one_time_is_reserved_or_none(rates: Reservations) -> None:
    slow = Pace("slow", 20 * SECOND, 1)
    both = (CALLS, slow)
    assert rates.reserve(both, NOW) == NOW
    assert rates.reserve(both, NOW) == "slow", (
        "it is more than a moment ahead: what it has of the other no one could use"
    )
    assert reserved(rates, 3) == [0, 0, 1000]
    assert rates.reserve(both, NOW + 19_000) == NOW + 20_000


def test_who_needs_another_rate_goes_to_its_line(rates: Reservations) -> None:
    slow = Pace("slow", 20 * SECOND, 1)
    assert isinstance(rates.reserve((slow,), NOW), int)
    reserved(rates, 63)
    a = attempt("a", NOW)
    rates.stand(a, (CALLS, slow), NOW)
    assert isinstance(rates.reserve((slow,), NOW + 45_000), int)
    assert isinstance(rates.reserve((slow,), NOW + 45_000), int)
    moved = rates.call("calls", NOW + 60_000, always)
    assert moved is not None
    assert (moved.places, moved.next) == ((), None)
    assert [limit for limit, _ in moved.moved] == ["slow"]
    assert rates.find(a, (CALLS, slow)) == ("slow", 0)
    called = rates.call("slow", NOW + 84_000, always)
    assert called is not None
    assert [(place.holder, place.at) for place in called.places] == [(a, NOW + 85_000)]


class Between:
    """A table: before one of the requests to it, ``comes`` is called."""

    def __init__(self, table: Table, number: int, comes: Callable[[], object]) -> None:
        self.table = table
        self.left = number
        self.comes = comes

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def request(*args: Any, **named: Any) -> Any:
            self.left -= 1
            if not self.left:
                self.comes()
            return getattr(self.table, name)(*args, **named)

        return request


def two(rates: Reservations, number: int, *, slow_ahead: int = 2) -> tuple[Holder, tuple[Pace, Pace]]:
    """Who stands in the line of one rate, and needs another, of which so many places are taken ahead."""
    calls, slow = Pace(f"calls{number}", SECOND, 3), Pace(f"slow{number}", 20 * SECOND, 1)
    reserved(rates, 63, calls)
    who = attempt("a", NOW)
    rates.stand(who, (calls, slow), NOW)
    for _ in range(slow_ahead):
        rates.reserve((slow,), NOW + 45_000)
    return who, (calls, slow)


@pytest.mark.parametrize("number", range(1, 8))
def test_who_leaves_while_it_goes_to_another_line_stands_nowhere(rates: Reservations, number: int) -> None:
    """It goes before a request of the leaving, or the leaving comes before one of its going."""
    who, paces = two(rates, number)
    between = Between(rates.table, number, lambda: rates.call(paces[0].limit, NOW + 60_000, always))
    Reservations(between, rates.shards).leave(who, paces[::-1])  # type: ignore[arg-type]  # it is one
    assert rates.find(who, paces) is None
    who, paces = two(rates, number + 10)
    between = Between(rates.table, number, lambda: rates.leave(who, paces))
    Reservations(between, rates.shards).call(paces[0].limit, NOW + 60_000, always)  # type: ignore[arg-type]  # as above
    if between.left < 1:
        assert rates.find(who, paces) is None


@pytest.mark.parametrize("number", range(1, 5))
def test_who_is_looked_for_while_it_goes_to_another_line_is_found(rates: Reservations, number: int) -> None:
    who, paces = two(rates, number)
    between = Between(rates.table, number, lambda: rates.call(paces[0].limit, NOW + 60_000, always))
    found = Reservations(between, rates.shards).find(who, paces[::-1])  # type: ignore[arg-type]  # as above
    assert found == (paces[number < 3].limit, 0)


def test_who_was_to_stand_in_line_and_has_gone_to_another_stands_in_that_alone(rates: Reservations) -> None:
    """What is to be done after a commit may be done again later."""
    who, paces = two(rates, 0)
    rates.call(paces[0].limit, NOW + 60_000, always)
    assert rates.stand(who, paces, NOW + 60_000) is None
    assert [len(rates.queue(pace.limit).line) for pace in paces] == [0, 1]


@pytest.mark.parametrize("number", range(1, 8))
def test_of_several_rates_that_are_reserved_by_others_at_once_no_place_is_given_twice(
    rates: Reservations, number: int
) -> None:
    """Before each request of who calls the line of one, another takes the place of the other."""
    who, paces = two(rates, number, slow_ahead=0)
    found: list[int | str] = []
    between = Between(rates.table, number, lambda: found.append(rates.reserve(paces[1:], NOW + 60_500)))
    called = Reservations(between, rates.shards).call(paces[0].limit, NOW + 60_500, always)  # type: ignore[arg-type]  # as above
    assert called is not None
    times = [at - NOW for at in found if isinstance(at, int)] + [one.at - NOW for one in called.places]
    assert times in ([60_500], [61_000], [81_000, 61_000])
    assert (rates.find(who, paces) or ("",))[0] == paces[called.places == ()].limit


def test_at_once_no_window_has_too_many(rates: Reservations) -> None:
    """By threads, in real time: no two reserve one place."""
    pace, found, lock = Pace("calls", 100_000, 5), [], Lock()

    def reserve(_: int) -> None:
        at = rates.reserve((pace,), time.time_ns() // 1_000_000)
        assert isinstance(at, int)
        with lock:
            found.append(at)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(reserve, range(60)))
    times = sorted(found)
    for first in range(60):
        for last in range(first, 60):
            assert last - first + 1 <= 5 + (times[last] - times[first] + 1) * 1000 // 100_000


def test_who_was_called_and_cannot_go_on_loses_no_more_places(rates: Reservations) -> None:
    """It is looked at each minute, and the next are called meanwhile."""
    reserved(rates, 63)
    a, b = attempt("a", NOW), attempt("b", NOW + 1)
    rates.stand(a, (CALLS,), NOW)
    rates.stand(b, (CALLS,), NOW)
    looked: list[Holder] = []

    def parked(who: Holder) -> bool | None:
        looked.append(who)
        return None if who == a else True

    for now, wanted, seen in ((52_000, [a, b], []), (130_000, [b], [a, b]), (170_000, [], []), (195_000, [b], [a, b])):
        looked.clear()
        called = rates.call("calls", NOW + now, parked)
        assert called is not None
        assert [place.holder for place in called.places] == wanted, now
        assert looked == seen, now
        assert all(rates.hand("calls", place) for place in called.places)
    assert rates.find(a, (CALLS,)) == ("calls", NOW + 61_000), "what it was called for, and missed"
