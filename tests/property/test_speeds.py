"""Numbers of rates: no window has more than the greatest burst and speed allow, whatever is set when."""

from __future__ import annotations

from fractions import Fraction
from random import Random
from typing import TYPE_CHECKING, Final

import pytest

from hephaestus.adapters.memory import MemoryStore
from hephaestus.engine.records import Pace
from hephaestus.store import speeds
from hephaestus.store.heads import Shards
from hephaestus.store.permits import Holder
from hephaestus.store.reservations import Reservations
from hephaestus.store.speeds import Speed, Standing

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND: Final = 1_000_000
NOW: Final = 1_770_000_000_000
CODE: Final = (Speed(1, SECOND, 1), Speed(10, SECOND, 4), Speed(1, 7 * SECOND, 6))
GIVEN: Final = (None, None, Speed(0, SECOND, 1), *CODE, Speed(3, 20 * SECOND, 2))
WAITS: Final = (10, 700, 4_000, 30_000, 100_000)
RUNS: Final = 300


class Life:
    """A rate whose numbers change, and a record of what started when, kept apart from it."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.rates = Reservations(MemoryStore().table, Shards(2, 2))
        self.now = NOW
        self.starts: list[tuple[int, int]] = []
        self.in_force: list[Speed] = []
        self.greatest = 1
        self.stopped = False
        self.deployed = 0
        self.costs: dict[str, int] = {}

    def pace(self) -> Pace:
        """What an attempt of some deployment needs."""
        self.deployed = min(self.deployed + (self.random.random() < 0.2), len(CODE) - 1)
        of = self.random.choice([self.deployed, max(self.deployed - 1, 0)])
        speed, cost = CODE[of], self.random.choice([1, 1, 2, 3, 6])
        self.in_force.append(speed)
        self.greatest = max(self.greatest, cost)
        return Pace("calls", speed.period, speed.burst, cost, speed.n, of)

    def started(self, at: int, cost: int) -> None:
        """Something has its time."""
        assert not self.stopped, "an operator has set it to 0"
        assert self.now <= at <= self.now + 60_000
        self.starts.append((at, cost))

    def go(self) -> None:
        """Do something."""
        match self.random.choice(["reserve", "reserve", "reserve", "join", "call", "call", "set", "set", "wait"]):
            case "reserve":
                pace = self.pace()
                for _ in range(self.random.choice([1, 5, 30])):
                    if isinstance(at := self.rates.reserve((pace,), self.now), int):
                        self.started(at, pace.cost)
            case "join":
                pace, who = self.pace(), Holder(str(len(self.costs)), "life", "step", 1, self.now)
                self.costs[who.name] = pace.cost
                self.rates.stand(who, (pace,), self.now)
            case "call":
                pace = self.pace()
                declared = self.random.choice([None, (speeds.speed_of(pace), pace.of)])
                found = self.rates.call("calls", self.now, lambda _: True, declared)
                for called in () if found is None else found.places:
                    self.started(called.at, self.costs[called.holder.name])
                    if self.rates.hand("calls", called):
                        self.rates.leave(called.holder, (pace,))
            case "set":
                given = self.random.choice(GIVEN)
                self.rates.give("calls", given, ("ann", "claim"), "", self.now)
                self.in_force += [] if given is None else [given]
                self.stopped = given is not None and not given.n
            case _:
                self.now += self.random.choice(WAITS)

    def excess(self) -> Fraction:
        """By how many places the worst window has more than the greatest of all bursts and speeds allow."""
        running = [speed for speed in self.in_force if speed.n]
        if not running:
            return Fraction(0)
        burst = max(self.greatest, *(speed.burst for speed in running), 0)
        fastest = max(Fraction(1, speed.every) for speed in running)
        worst, starts = Fraction(0), sorted(self.starts)
        for first, (since, _) in enumerate(starts):
            taken = 0
            for at, cost in starts[first:]:
                taken += cost
                worst = max(worst, taken - burst - fastest * (at - since + 1) * 1000)
        return worst


def first_excess() -> Fraction:
    """The excess of the first of many lives of a rate that has one."""
    for seed in range(RUNS):
        life = Life(seed)
        for _ in range(25):
            life.go()
        if life.excess():
            return life.excess()
    return Fraction(0)


def test_no_window_has_more_than_the_greatest_numbers_allow() -> None:
    """Rules F.7 and F.8, over reservations, the line, its calls, operators' numbers and those of deployments."""
    assert first_excess() == 0


def keeps_tat(tat: int, _old: Speed | None, _new: Speed | None, _now: int, _cost: int) -> int:
    """The time at which all is free stays, whatever the burst is."""
    return tat


def forgets_what_is_reserved(tat: int, old: Speed | None, new: Speed | None, now: int, cost: int) -> int:
    """As many places are taken as were, and the new start among the old ones."""
    if old is None or new is None or not old.n or not new.n:
        return right(tat, old, new, now, cost)
    return now * 1000 + max(tat - now * 1000, 0) // old.every * new.every


def has_its_burst_at_once(tat: int, old: Speed | None, new: Speed | None, now: int, cost: int) -> int:
    """A change gives the burst back."""
    if old is None or new is None or old == new or not old.n or not new.n:
        return right(tat, old, new, now, cost)
    return max(now * 1000, tat - old.at_once(1))


def has_its_burst_after_a_stop(tat: int, old: Speed | None, new: Speed | None, now: int, cost: int) -> int:
    """After a stop, all is free."""
    return tat if old is not None and not old.n else right(tat, old, new, now, cost)


def forgets_what_an_attempt_takes(tat: int, old: Speed | None, new: Speed | None, now: int, _cost: int) -> int:
    """The burst is taken, and an attempt that counts as more starts as if nothing were."""
    return right(tat, old, new, now)


right = speeds.translated


@pytest.mark.parametrize(
    "bug",
    [
        keeps_tat,
        forgets_what_is_reserved,
        has_its_burst_at_once,
        has_its_burst_after_a_stop,
        forgets_what_an_attempt_takes,
    ],
)
def test_each_deliberate_bug_in_a_change_is_found(
    bug: Callable[[int, Speed | None, Speed | None, int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speeds, "translated", bug)
    assert first_excess() > 0


def test_an_older_deployments_number_that_counts_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule F.8."""
    rates = Reservations(MemoryStore().table, Shards(2, 2))

    def reserved(of: int, speed: Speed) -> Speed | None:
        rates.reserve((Pace("calls", speed.period, speed.burst, 1, speed.n, of),), NOW)
        return rates.queue("calls").stands.speed

    assert [reserved(1, CODE[0]), reserved(2, CODE[1]), reserved(1, CODE[0])] == [CODE[0], CODE[1], CODE[1]]
    assert reserved(2, CODE[2]) == CODE[2], "of one deployment, what comes last counts"
    monkeypatch.setattr(Standing, "met", lambda own, speed, of, _now: own._replace(own=speed, of=of))
    assert reserved(1, CODE[0]) == CODE[0]


def test_an_attempt_that_counts_as_more_than_the_new_burst_waits_for_as_long() -> None:
    """After one of six places, another comes when six places are free at the speed that was set."""
    rates = Reservations(MemoryStore().table, Shards(2, 2))
    pace = Pace("calls", 7 * SECOND, 6, 6, 1)
    assert [rates.reserve((pace,), NOW) for _ in range(2)] == [NOW, NOW + 42_000]
    rates.give("calls", Speed(1, SECOND, 1), ("ann", "claim"), "", NOW)
    found = [rates.reserve((pace,), NOW + 42_000 + wait) for wait in (0, 0, 6_000)]
    assert found == [NOW + 48_000, NOW + 54_000, NOW + 60_000]


@pytest.mark.parametrize("old", CODE)
@pytest.mark.parametrize("new", [one for one in GIVEN if one is not None and one.n])
@pytest.mark.parametrize("waited", [0, 20_000, 200_000])
def test_a_change_costs_the_burst_at_most(old: Speed, new: Speed, waited: int) -> None:
    """From the last start that was reserved on, or from now, places come at the new speed."""
    rates = Reservations(MemoryStore().table, Shards(2, 2))
    pace = Pace("calls", old.period, old.burst, 1, old.n)
    reserved = [at for at in (rates.reserve((pace,), NOW) for _ in range(8)) if isinstance(at, int)]
    now = NOW + waited
    rates.give("calls", new, ("ann", "claim"), "", now)
    at = began = max(now, *reserved)
    found: list[int] = []
    while len(found) < 10:
        start = rates.reserve((pace,), at)
        found += [start] if isinstance(start, int) else []
        at += 1_000 * isinstance(start, str)
    taken = 0 if waited == 200_000 else old.burst if max(reserved) < now else new.burst
    assert found[-1] <= began + max(taken + 10 - new.burst, 0) * -(-new.every // 1000) + 10
