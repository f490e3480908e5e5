"""What a rate asks of its table, and leaves in it, to the letter (rule F.7): no request more, no attribute else."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import pytest

from hephaestus.adapters.memory import MemoryStore
from hephaestus.engine.records import Pace
from hephaestus.errors import StoreUnavailable
from hephaestus.store import reservations
from hephaestus.store.heads import Shards
from hephaestus.store.permits import Holder
from hephaestus.store.reservations import TRIES, Called, Queue, Reservations, is_rate, rate_key
from hephaestus.store.speeds import Speed, Standing
from hephaestus.store.table import ALWAYS

if TYPE_CHECKING:
    from collections.abc import Callable

NOW: Final = 1_764_000_000_000
SECOND: Final = 1_000_000
UNTIL: Final = NOW // 1000 + 400 * 24 * 3600
CALLS: Final = Pace("calls", SECOND, 3)
SLOW: Final = Pace("slow", 20 * SECOND, 1)
A: Final = Holder("orderid::a", "0123456789abcdef012", "charge", 1, NOW)
ANN: Final = ("ann", "claim")


def shard(limit: str) -> str:
    """Where a rate's alarm is."""
    return f"wake#{crc32(rate_key(limit).encode()) % 64}"


class Asked:
    """A table, and what it is asked for; ``comes`` may be called before some of it."""

    def __init__(self) -> None:
        self.table = MemoryStore().table
        self.asked: list[str] = []
        self.comes: Callable[[str], object] = lambda name: None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def request(*args: Any, **named: Any) -> Any:
            self.asked.append(name)
            self.comes(name)
            return getattr(self.table, name)(*args, **named)

        return request


class World:
    """The rates of a table."""

    def __init__(self) -> None:
        self.asked = Asked()
        self.table = self.asked.table
        self.rates = Reservations(self.asked, Shards(64, 1))  # type: ignore[arg-type]  # it is one
        self.others = Reservations(self.table, Shards(64, 1))

    def does(self, what: Callable[..., object], *given: Any) -> tuple[object, list[str]]:
        """What it gives, and what it has asked for."""
        self.asked.asked.clear()
        return what(*given), list(self.asked.asked)

    def reserve(self, pace: Pace = CALLS, at: int = 0) -> tuple[object, list[str]]:
        """Reserve a place; the time from ``NOW`` on."""
        found, asked = self.does(self.rates.reserve, (pace,), NOW + at)
        return (found - NOW if isinstance(found, int) else found), asked

    def fill(self, pace: Pace = CALLS, at: int = 0) -> None:
        """Reserve all there is for a minute."""
        while not isinstance(self.others.reserve((pace,), NOW + at), str):
            pass

    def item(self, limit: str = "calls") -> dict[str, object]:
        """A rate's item, without what all have."""
        item: dict[str, object] = {**(self.table.get(rate_key(limit), "rate") or {})}
        own = {"pk": rate_key(limit), "sk": "rate", "format": 2, "list_key": "rate##0", "list_at": limit}
        assert {name: item.pop(name, None) for name in own} == own
        return item

    def place(self, limit: str = "calls") -> dict[str, object]:
        """What stands at the place of ``A``, without what all have."""
        item: dict[str, object] = {**(self.table.get(rate_key(limit), A.place) or {})}
        own = {"pk": rate_key(limit), "sk": A.place, "format": 2, "name": A.name, "expires": UNTIL}
        assert {name: item.pop(name, None) for name in own} == own
        return item


@pytest.fixture
def world() -> World:
    """An empty table."""
    return World()


def test_a_reservation_is_one_addition_wherever_it_can_be(world: World) -> None:
    one, two, idle = ["add"], ["add", "add"], ["add", "change_all"]
    newer, fewer = replace(CALLS, of=1), Pace("calls", 2 * SECOND, 3, of=1)
    assert world.reserve() == (0, idle), "its first use"
    assert world.reserve() == (0, one)
    assert world.reserve(at=2_000) == (2_000, one), "all is free at this moment"
    assert world.reserve(at=3_001) == (3_001, idle), "all was free before"
    assert world.reserve(newer, 3_001) == (3_001, one), "a newer deployment, which says the same"
    assert world.item() == {"tat": (NOW + 5_001) * 1000, "own": "1 1000000 3", "of": 1, "expires": UNTIL + 3}
    assert world.reserve(at=3_001) == (3_001, idle), "an older one, which has no say"
    assert world.reserve(fewer, 3_001) == (5_001, idle), "a newer one, which says something else"
    assert world.item()["of"] == 1
    assert world.reserve(at=3_001) == (7_001, two), "an older one, which would say something else"
    world.fill(fewer, 3_001)
    assert world.reserve(fewer, 3_001) == ("calls", one)
    assert world.reserve(at=3_001) == ("calls", two)
    assert world.reserve(at=9_001) == (65_001, two)


def test_a_reservation_at_an_operators_number_is_two_additions(world: World) -> None:
    one, two, idle = ["add"], ["add", "add"], ["add", "change_all"]
    assert world.does(world.rates.give, "calls", Speed(2, SECOND, 2), ANN, "why", NOW) == (None, ["get", "change_all"])
    given = {"set": "2 1000000 2", "by": "ann", "by_source": "claim", "at": NOW, "why": "why"}
    assert world.item() == given
    assert world.reserve() == (0, idle)
    assert world.item() == {**given, "tat": (NOW + 500) * 1000, "own": "1 1000000 3", "of": 0}
    assert world.reserve() == (0, two)
    assert world.reserve(at=1_000) == (1_000, two), "all is free at this moment"
    assert world.reserve(replace(CALLS, of=1), 1_000) == (1_000, two)
    assert world.item() == {**given, "tat": (NOW + 2_000) * 1000, "own": "1 1000000 3", "of": 1}
    world.asked.comes = lambda _: len(world.asked.asked) == len(two) and world.others.reserve((CALLS,), NOW + 1_000)
    assert world.reserve(at=1_000) == (2_000, two), "another reserves between the two"
    world.asked.comes = lambda _: None
    assert world.reserve(at=3_000) == (3_000, two), "all is free at this moment"
    assert world.reserve(at=3_501) == (3_501, idle), "all was free before"
    world.others.give("calls", Speed(0, SECOND, 2), ANN, "", NOW + 1_000)
    assert world.reserve(at=1_000) == ("calls", one)
    assert world.does(world.rates.give, "calls", None, ("", ""), "", NOW) == (None, ["get", "change_all"])
    assert world.item() == {"tat": (NOW + 6_001) * 1000, "own": "1 1000000 3", "of": 1, "at": NOW, "expires": UNTIL}
    assert world.does(world.rates.give, "none", None, ANN, "", NOW) == (None, ["get"])
    assert world.table.get("rate#none", "rate") is None


def test_who_stood_in_line_and_who_needs_several_read_each(world: World) -> None:
    assert world.does(world.rates.reserve, (CALLS,), NOW, A.place) == (NOW, ["get", "change_all"])
    assert world.does(world.rates.reserve, (CALLS, SLOW), NOW) == (NOW, ["get", "get", "change_all"])
    assert world.item("slow") == {"tat": (NOW + 20_000) * 1000, "own": "1 20000000 1", "of": 0, "expires": UNTIL}
    assert world.does(world.rates.reserve, (CALLS, SLOW), NOW + 18_000) == (NOW + 20_000, ["get", "get", "change_all"])
    assert world.does(world.rates.reserve, (CALLS, SLOW), NOW + 37_999) == ("slow", ["get", "get"])
    world.others.stand(A, (SLOW,), NOW)
    assert world.does(world.rates.reserve, (CALLS, SLOW), NOW + 40_000) == ("slow", ["get", "get"])
    again = ["get", "get", "query", "change_all"]
    assert world.does(world.rates.reserve, (CALLS, SLOW), NOW + 40_000, A.place) == (NOW + 40_000, again)
    world.others.give("calls", Speed(0, SECOND, 2), ANN, "", NOW)
    assert world.does(world.rates.reserve, (SLOW, CALLS), NOW + 60_000, A.place) == ("calls", ["get", "get", "query"])


def test_who_is_about_to_reserve_as_a_line_comes_into_being_joins_it(world: World) -> None:
    """Whatever it has read before: it is noticed by the next write."""

    def joins(after: int, limit: str) -> None:
        pace = CALLS if limit == "calls" else SLOW
        coming = lambda _: len(world.asked.asked) == after and world.others.stand(A, (pace,), NOW)  # noqa: E731 - as it is given
        world.asked.comes = coming
        world.others.leave(A, (pace,))
        world.table.update(rate_key(limit), "rate", {"line": None, "next": None}, ALWAYS)

    joins(2, "calls")
    assert world.reserve() == ("calls", ["add", "change_all", "add"])
    joins(3, "slow")
    several = ["get", "get", "change_all", "get", "get"]
    assert world.does(world.rates.reserve, (replace(CALLS, limit="other"), SLOW), NOW) == ("slow", several)
    world.others.give("calls", Speed(2, SECOND, 2), ANN, "", NOW)
    joins(9, "calls")
    world.others.reserve((CALLS,), NOW)
    joins(2, "calls")
    assert world.reserve() == ("calls", ["add", "add", "add"])


def test_a_newer_deployments_number_counts_to_the_last_place_of_a_minute(world: World) -> None:
    for _ in range(62):
        world.others.reserve((CALLS,), NOW)
    assert world.reserve(Pace("calls", SECOND, 1, of=1)) == (60_000, ["add", "change_all"])


def test_the_line_is_marked_once_and_gone_with_its_last(world: World) -> None:
    world.fill()
    free = {"own": "1 1000000 3", "of": 0, "tat": (NOW + 63_000) * 1000, "expires": UNTIL}
    assert world.item() == free
    assert world.does(world.rates.stand, A, (CALLS,), NOW) == (NOW + 51_000, ["put", "get", "change_all"])
    marked = {**free, "line": 1, "next": NOW + 51_000, "wake_shard": shard("calls"), "wake_at": NOW + 111_000}
    assert world.item() == marked
    assert world.place() == {"paces": ("1 1000000 3 1 0 calls",)}
    assert world.does(world.rates.stand, A, (CALLS,), NOW) == (None, ["put", "get"])
    assert world.does(world.rates.find, A, (CALLS,)) == (("calls", 0), ["get"])
    assert world.reserve() == ("calls", ["add"])
    found, asked = world.does(world.rates.call, "calls", NOW + 51_000, lambda _: True)
    assert (found.places, found.next, found.moved) == ((Called(A, NOW + 61_000),), None, ())  # type: ignore[attr-defined]
    assert asked == ["get", "query", "change_all"]
    assert world.item() == {
        **free,
        "tat": (NOW + 64_000) * 1000,
        "expires": UNTIL + 51,
        "wake_shard": shard("calls"),
        "wake_at": NOW + 111_000,
    }
    assert world.does(world.rates.hand, "calls", Called(A, NOW + 61_000)) == (True, ["update"])
    assert world.place() == {"paces": ("1 1000000 3 1 0 calls",), "at": NOW + 61_000}
    assert world.does(world.rates.look_again, "calls", NOW + 51_000) == (None, ["query"])
    later = A._replace(order=NOW + 1).place
    assert world.rates.is_first("calls", later), "who was called does not stand before anyone"
    assert world.does(world.rates.renew, A, CALLS, NOW + 61_000, NOW) == (NOW + 52_000, ["update", "get", "change_all"])
    assert world.place() == {"paces": ("1 1000000 3 1 0 calls",)}
    assert world.does(world.rates.leave, A, (CALLS,)) == (None, ["change_all"])
    assert world.does(world.rates.find, A, (CALLS,)) == (None, ["get"])
    assert world.does(world.rates.call, "calls", NOW + 51_499, lambda _: True) == (None, ["get"]), "it is too early"
    _, asked = world.does(world.rates.call, "calls", NOW + 51_500, lambda _: True)
    assert asked == ["get", "query", "change_all"]


def test_who_goes_to_another_line_is_read_once_and_written_once(world: World) -> None:
    world.fill()
    world.others.reserve((SLOW,), NOW + 50_000)
    assert world.does(world.rates.stand, A, (CALLS, SLOW), NOW)[1] == ["put", "get", "get", "change_all"]
    found, asked = world.does(world.rates.call, "calls", NOW + 60_000, lambda _: True)
    assert (found.places, found.next, found.moved) == ((), None, (("slow", NOW + 60_000),))  # type: ignore[attr-defined]
    assert asked == ["get", "query", "get", "change_all", "change_all"]
    assert world.item("slow") == {
        "own": "1 20000000 1",
        "of": 0,
        "tat": (NOW + 70_000) * 1000,
        "expires": UNTIL + 60,
        "line": 1,
        "next": NOW + 60_000,
        "wake_shard": shard("slow"),
        "wake_at": NOW + 120_000,
    }
    place = dict(world.table.get(rate_key("slow"), A.place) or {})
    assert (place["paces"], place["format"]) == (("1 20000000 1 1 0 slow", "1 1000000 3 1 0 calls"), 2)
    assert (place["name"], place["expires"]) == (A.name, UNTIL + 60)
    assert "line" not in world.item()
    again = ["put", "get", "change_all"]
    assert world.does(world.rates.stand, A, (CALLS, SLOW), NOW) == (None, again), "it has gone to the other line"
    assert (world.table.get(rate_key("slow"), A.place), world.table.get(rate_key("calls"), A.place)) == (place, None)
    world.others.stand(A, (CALLS,), NOW)
    world.others.hand("calls", Called(A, NOW + 61_000))
    world.rates.stand(A, (CALLS, SLOW), NOW)
    assert world.rates.find(A, (CALLS, SLOW)) == ("calls", NOW + 61_000), "it was called here"


def test_who_is_always_too_late_is_told_so(world: World) -> None:
    """By each of those that read and then write: another writes before each of their writes."""
    name = "the rate calls is being changed by many at once; nothing is lost, try again"

    def other(asked: str) -> None:
        if asked in {"add", "change_all"}:
            world.others.give("calls", Speed(1 + len(world.asked.asked), SECOND, 2), ANN, "", NOW)
            world.table.update("rate#calls", "rate", {"line": None, "next": None}, ALWAYS)

    doing: dict[str, Callable[[], object]] = {
        "reserve": lambda: world.rates.reserve((CALLS,), NOW, A.place),
        "stand": lambda: world.rates.stand(A, (CALLS,), NOW),
        "give": lambda: world.rates.give("calls", Speed(1, SECOND, 1), ANN, "", NOW),
        "call": lambda: world.rates.call("calls", NOW, lambda _: True),
    }
    world.asked.comes = other
    for what in doing.values():
        world.asked.asked.clear()
        with pytest.raises(StoreUnavailable, match=name):
            what()
        assert world.asked.asked.count("change_all") == TRIES


def test_a_rate_is_known_by_its_use_its_number_or_its_line(world: World) -> None:
    assert not world.rates.queue("calls").is_known
    world.others.give("set", Speed(1, SECOND, 1), ANN, "", NOW)
    world.others.stand(A, (CALLS,), NOW)
    world.others.reserve((SLOW,), NOW)
    assert all(world.rates.queue(limit).is_known for limit in ("set", "calls", "slow"))
    assert (is_rate("rate#calls"), is_rate("limit#rate#")) == (True, False)


def test_what_is_known_of_a_rate_is_shown(world: World) -> None:
    thirds, b = Speed(3, SECOND, 1), A._replace(order=NOW + 1)
    assert world.rates.queue("calls") == Queue("calls", 0, ())
    world.others.give("calls", thirds, ANN, "why", NOW)
    world.others.reserve((CALLS,), NOW)
    stands = Standing(NOW * 1000 + 333_334, thirds, Speed(1, SECOND, 3), 0)
    assert world.rates.queue("calls") == Queue("calls", NOW + 334, (), stands, "ann", "claim", NOW, "why")
    for who in (b, A):
        world.others.stand(who, (CALLS,), NOW)
    assert world.rates.queue("calls", 1).line == ((A, 0),)
    world.others.hand("calls", Called(A, NOW + 500))
    assert world.rates.queue("calls").line == ((A, NOW + 500), (b, 0))


def test_who_joins_while_another_does_leaves_its_mark(world: World) -> None:
    """And a line that is stopped is looked at a minute later."""
    b = A._replace(order=NOW + 1)
    world.others.give("calls", Speed(0, SECOND, 1), ANN, "", NOW)
    world.asked.comes = lambda name: name == "change_all" and world.others.stand(b, (CALLS,), NOW + 1)
    assert world.does(world.rates.stand, A, (CALLS,), NOW) == (None, ["put", "get", "change_all", "get"])
    assert (world.item()["next"], world.item()["wake_at"]) == (NOW + 60_001, NOW + 120_001)


def test_who_goes_to_a_line_that_is_there_leaves_its_mark(world: World) -> None:
    first = A._replace(order=NOW - 1)
    world.fill()
    world.others.reserve((SLOW,), NOW + 50_000)
    world.others.stand(A, (CALLS, SLOW), NOW)
    world.others.stand(first, (SLOW,), NOW + 50_000)
    marked = world.item("slow")
    found, asked = world.does(world.rates.call, "calls", NOW + 60_000, lambda _: True)
    assert (found.places, found.next, found.moved) == ((), None, ())  # type: ignore[attr-defined]
    assert asked == ["get", "query", "get", "query", "change_all", "change_all"]
    assert world.item("slow") == marked
    assert [who for who, _ in world.rates.queue("slow").line] == [first, A]


@pytest.mark.parametrize("order", [-1, 1])
def test_who_is_first_in_the_line_of_another_rate_needs_not_stand_there(world: World, order: int) -> None:
    """Rule F.7."""
    other = A._replace(order=NOW + order)
    world.fill()
    world.others.stand(A, (CALLS, SLOW), NOW)
    world.others.stand(other, (SLOW,), NOW)
    found = world.rates.call("calls", NOW + 60_000, lambda _: True)
    assert found is not None
    assert [one.at for one in found.places] == ([] if order < 0 else [NOW + 61_000])
    assert len(world.rates.queue("slow").line) == (2 if order < 0 else 1)


def test_the_code_that_calls_a_line_says_how_fast_it_is(world: World) -> None:
    world.others.stand(A, (CALLS,), NOW)
    found = world.rates.call("calls", NOW, lambda _: True, (Speed(5, SECOND, 1), 7))
    assert found is not None
    assert world.item() | {"tat": 0, "wake_at": 0} == {
        "tat": 0,
        "own": "5 1000000 1",
        "of": 7,
        "expires": UNTIL,
        "wake_shard": shard("calls"),
        "wake_at": 0,
    }


def test_an_operators_number_has_the_line_called_at_once(world: World) -> None:
    world.others.give("calls", Speed(0, SECOND, 1), ANN, "", NOW)
    world.others.stand(A, (CALLS,), NOW)
    assert world.does(world.rates.give, "calls", Speed(1, SECOND, 1), ANN, "", NOW + 7) == (
        NOW + 7,
        ["get", "change_all"],
    )
    assert (world.item()["line"], world.item()["next"], world.item()["wake_at"]) == (1, NOW + 7, NOW + 60_007)


def called(world: World, at: int, *, stands: bool | None = True) -> tuple[list[tuple[str, int, int]], int | None]:
    """Who is called at a time, each with its time and the one before, and when the line is called next."""
    found = world.rates.call("calls", NOW + at, lambda _: stands)
    assert found is not None
    places = [(one.holder.instance_id, one.at - NOW, one.was and one.was - NOW) for one in found.places]
    return places, found.next and found.next - NOW


def lined(world: World, names: str, paces: tuple[Pace, ...] = (CALLS,)) -> list[Holder]:
    """Those that stand in line, in this order."""
    found = [A._replace(instance_id=name, order=NOW + number) for number, name in enumerate(names)]
    for who in found:
        world.others.stand(who, paces, NOW)
    return found


def test_a_line_is_called_by_the_clock(world: World) -> None:
    world.fill()
    a, b, c = lined(world, "abc")
    assert called(world, 51_000) == ([("a", 61_000, 0)], 56_000)
    assert (world.item()["next"], world.item()["wake_at"]) == (NOW + 56_000, NOW + 111_000)
    world.others.hand("calls", Called(a, NOW + 61_000))
    assert world.rates.call("calls", NOW + 55_499, lambda _: True) is None
    assert called(world, 55_500) == ([("b", 62_000, 0), ("c", 63_000, 0)], None)
    assert ("line" in world.item(), world.item()["wake_at"]) == (False, NOW + 111_000)
    world.others.hand("calls", Called(b, NOW + 62_000))
    assert called(world, 121_000) == ([("a", 121_000, 61_000), ("c", 121_000, 0)], None), "b has a moment left"
    assert world.item()["wake_at"] == NOW + 181_000
    world.others.hand("calls", Called(c, NOW + 121_000))
    assert called(world, 122_000, stands=None) == ([], None)
    looked = world.table.get(rate_key("calls"), a.place) or {}
    assert (looked["at"], looked["looked"]) == (NOW + 61_000, NOW + 122_000)
    assert called(world, 181_999, stands=False) == ([], None)
    assert [who.instance_id for who, _ in world.rates.queue("calls").line] == ["a", "b"], "c is gone"
    assert called(world, 182_000, stands=False) == ([], None)
    assert world.rates.queue("calls").line == ()
    assert not {"wake_at", "wake_shard"} & world.item().keys()


@pytest.mark.parametrize(("at", "alarm"), [(81_000, 111_000), (81_001, 141_001)])
def test_an_alarm_that_is_half_a_minute_ahead_stays(world: World, at: int, alarm: int) -> None:
    world.fill()
    lined(world, "a")
    called(world, at)
    assert world.item()["wake_at"] == NOW + alarm


def test_who_needs_several_rates_waits_until_those_before_are_called(world: World) -> None:
    world.fill()
    (a,) = lined(world, "a")
    world.others.stand(A._replace(order=NOW + 5), (CALLS, SLOW), NOW)
    assert called(world, 55_000) == ([("a", 61_000, 0)], 56_000)
    world.others.hand("calls", Called(a, NOW + 61_000))
    assert called(world, 59_999) == ([], 60_000 + 999), "more than two seconds ahead"
    assert called(world, 60_999) == ([("orderid::a", 62_000, 0)], 61_999)
    assert world.item("slow")["tat"] == (NOW + 82_000) * 1000


@pytest.mark.parametrize("paces", [(CALLS,), (CALLS, SLOW)])
def test_a_line_of_a_rate_that_is_stopped_is_looked_at_each_minute(world: World, paces: tuple[Pace, ...]) -> None:
    world.others.give("calls", Speed(0, SECOND, 1), ANN, "", NOW)
    lined(world, "ab", paces)
    assert called(world, 60_000) == ([], 120_000)
    assert world.item()["next"] == NOW + 120_000
    world.others.give("slow", Speed(0, SECOND, 1), ANN, "", NOW)
    found = world.rates.call("calls", NOW + 120_000, lambda _: True)
    assert found is not None
    assert found.moved == ((("slow", NOW + 180_000),) if len(paces) > 1 else ())


def test_so_many_are_called_at_once_and_the_others_a_second_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reservations, "MOST", 2)
    world.others.reserve((CALLS,), NOW)
    lined(world, "abcd")
    found, after = called(world, 2_000)
    assert ([name for name, _, _ in found], after) == (["a", "b"], 3_000)


@pytest.mark.parametrize(("number", "asked"), [(1, 1), (3, 2), (4, 3), (5, 3)])
def test_a_line_is_read_in_pages(world: World, monkeypatch: pytest.MonkeyPatch, number: int, asked: int) -> None:
    monkeypatch.setattr(reservations, "PAGE", 2)
    those = lined(world, "abcde"[:number])
    found, requests = world.does(lambda: [place["sk"] for place in world.rates._places("calls")])  # noqa: SLF001 - as it is read
    assert (found, requests) == ([who.place for who in those], ["query"] * asked)


@pytest.mark.parametrize(("slow", "at"), [(True, 60_000), (False, 59_000)])
def test_two_seconds_ahead_are_near_enough(world: World, *, slow: bool, at: int) -> None:
    world.fill()
    world.others.stand(A, (CALLS, SLOW), NOW)
    if slow:
        world.others.reserve((SLOW,), NOW + 42_000)
    assert called(world, at) == ([("orderid::a", at + 2_000, 0)], at + 1_000)


@pytest.mark.parametrize("leaves", [False, True])
def test_each_line_that_someone_has_gone_to_is_to_be_called(world: World, *, leaves: bool) -> None:
    """Not one to which someone was about to go, who has left."""
    world.fill()
    others = [replace(SLOW, limit=name) for name in ("slow", "slower")]
    for number, other in enumerate(others):
        world.others.stand(A._replace(order=NOW + number), (CALLS, other), NOW)
        world.others.reserve((other,), NOW + 50_000)
    go = partial(world.table.delete, rate_key("calls"), A.place, ALWAYS)
    world.asked.comes = lambda name: leaves and name == "change_all" and go()
    found = world.rates.call("calls", NOW + 60_000, lambda _: True)
    assert found is not None
    assert found.moved == tuple((other.limit, NOW + 60_000) for other in others[leaves:])


def test_no_place_is_read_beyond_those_that_are_called(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does one of a smaller cost overtake."""
    monkeypatch.setattr(reservations, "PAGE", 1)
    monkeypatch.setattr(reservations, "MOST", 2)
    lined(world, "abcde")
    assert world.does(called, world, 0)[1] == ["get", *["query"] * 3, "change_all"]
    world.others.give("calls", Speed(0, SECOND, 1), ANN, "", NOW)
    assert world.does(called, world, 1_000)[1] == ["get", "query", "change_all"]
    heavy = Pace("heavy", 6 * SECOND, 3)
    for _ in range(12):
        world.others.reserve((heavy,), NOW)
    lined(world, "f", (replace(heavy, cost=2),))
    world.others.stand(A._replace(order=NOW + 10), (heavy,), NOW)
    found = world.rates.call("heavy", NOW + 5_500, lambda _: True)
    assert found is not None
    assert (found.places, found.next) == ((), NOW + 35_500)


def test_who_calls_for_several_rates_again_where_another_was_faster(world: World) -> None:
    """Whether it is about to reserve, or only to say when it comes again."""
    world.fill()
    world.others.stand(A, (CALLS, SLOW), NOW)
    waits = ["get", "query", "get", "change_all"]

    def comes(_: str) -> None:
        if len(world.asked.asked) == len(waits):
            world.others.give("calls", None, ANN, str(world.rates), NOW)
            world.table.update(rate_key("calls"), "rate", {"next": NOW}, ALWAYS)

    world.table.update(rate_key("calls"), "rate", {"next": NOW - 1}, ALWAYS)
    world.asked.comes = comes
    assert world.does(called, world, 58_000) == (([], 59_000), waits * 2)
    world.table.update(rate_key("calls"), "rate", {"next": NOW - 1}, ALWAYS)
    assert world.does(called, world, 60_000) == (([("orderid::a", 61_000, 0)], 61_000), waits * 2)
    world.asked.comes = lambda _: None
    world.others.hand("calls", Called(A, NOW + 61_000))
    assert called(world, 121_000) == ([("orderid::a", 121_000, 61_000)], 122_000)


def test_a_line_whose_mark_is_gone_is_marked_by_who_calls_it(world: World) -> None:
    world.fill()
    lined(world, "a")
    world.table.update(rate_key("calls"), "rate", {"line": None, "next": None}, ALWAYS)
    assert called(world, 40_000) == ([], 51_000)
    assert (world.item()["line"], world.item()["next"]) == (1, NOW + 51_000)


def test_an_operators_number_that_comes_as_the_line_ends_calls_no_one(world: World) -> None:
    world.others.stand(A, (CALLS,), NOW)
    world.others.leave(A, (CALLS,))
    world.asked.comes = lambda name: name == "change_all" and world.others.call("calls", NOW, lambda _: True)
    assert world.rates.give("calls", Speed(1, SECOND, 1), ANN, "", NOW) is None
    assert not {"line", "next"} & world.item().keys()


def test_what_a_place_says_is_read_as_it_was_written(world: World) -> None:
    """Whatever a ``per`` has given."""
    pace = Pace("calls# a  b ", 7 * SECOND, 2, 3, 5, 11)
    world.others.stand(A, (pace,), NOW)
    place = world.table.get(rate_key(pace.limit), A.place)
    assert place is not None
    assert reservations._paces(place) == (pace,)  # noqa: SLF001 - as it is read


@pytest.mark.parametrize(("every", "taken", "due"), [(100_000, 603, 55_100), (3600 * SECOND, 3, 900_000)])
def test_a_line_is_called_five_seconds_ahead_and_every_quarter_of_an_hour(
    world: World, every: int, taken: int, due: int
) -> None:
    pace = Pace("calls", every, 3)
    for _ in range(taken):
        assert isinstance(world.others.reserve((pace,), NOW), int)
    assert world.rates.stand(A, (pace,), NOW) == NOW + due
