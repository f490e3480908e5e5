"""Lines of several rates while others come between any two requests (rules F.7 and F.8): random histories by seeds.

Who stands where is looked at whenever all that has begun is through, and each time that is given away. Those who come
in between are through before the one that they interrupt goes on, so that what it has read is old.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest

from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.engine.records import Pace
from hephaestus.errors import StoreUnavailable
from hephaestus.store.heads import Shards
from hephaestus.store.items import FORMAT, INDEXES
from hephaestus.store.keys import end_of
from hephaestus.store.permits import GRACE_MS, LINE, Holder
from hephaestus.store.reservations import AHEAD_MS, LATE_MS, RATE, TOGETHER_MS, Reservations, rate_key
from hephaestus.store.speeds import Speed
from hephaestus.store.table import EXPIRES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hephaestus.store.reservations import Call
    from hephaestus.store.table import Change, Condition, Item, Value

RUNS, LENGTH, DEEP = 150, 40, 2
NOW: Final = 1_764_000_000_000
HOURS: Final = 10 * 3_600_000
SECOND: Final = 1_000_000
SPEEDS: Final = {"a": Speed(1, SECOND, 2), "b": Speed(1, 9 * SECOND, 1), "c": Speed(2, 14 * SECOND, 3)}
GIVEN: Final = (None, None, Speed(0, SECOND, 1), Speed(1, 3 * SECOND, 2))
ORDERS: Final = ("a", "b", "c", "ab", "ba", "bc", "cb", "abc", "cba", "bca")


class Wrong(AssertionError):
    """What is there is not what was expected."""


class Died(Exception):
    """Who was about to do a request has died."""


def check(what: str, holds: bool) -> None:
    if not holds:
        raise Wrong(what)


@dataclass
class Attempt:
    """Who needs a time.

    Attributes:
        who, paces: what it is, and needs.
        waits: whether its log says that it stands in line.
        busy: whether something is done for it.
        gone: the moment at which it had left all lines.
        called: the time that it has been told.
        parked: whether it cannot go on for now.
    """

    who: Holder
    paces: tuple[Pace, ...]
    waits: bool = False
    busy: bool = False
    gone: int | None = None
    called: int = 0
    parked: bool = False


class Interrupted(InMemoryTable):
    """A table before each of whose requests others may come."""

    def __init__(self, history: History) -> None:
        super().__init__(INDEXES)
        self.history = history

    def get(self, pk: str, sk: str) -> Item | None:
        self.history.others()
        return super().get(pk, sk)

    def query(self, pk: str, **asked: Any) -> Sequence[Item]:
        self.history.others()
        return super().query(pk, **asked)

    def put(self, item: Item, condition: Condition) -> bool:
        self.history.others()
        return super().put(item, condition)

    def update(self, pk: str, sk: str, changes: Mapping[str, Value | None], condition: Condition) -> bool:
        self.history.others()
        return super().update(pk, sk, changes, condition)

    def delete(self, pk: str, sk: str, condition: Condition) -> bool:
        self.history.others(0.3)
        return super().delete(pk, sk, condition)

    def change_all(self, changes: Sequence[Change]) -> bool:
        self.history.others(0.3)
        taken = [change.pk for change in changes if "tat" in (change.changes or {})]
        lined = any("line" in (super(Interrupted, self).get(pk, RATE) or {}) for pk in taken)
        done = super().change_all(changes)
        check("no one comes before a line", not (done and lined and self.history.newcomers[-1]))
        return done

    def add(self, pk: str, *given: Any) -> tuple[bool, Item | None]:
        self.history.others(0.3)
        done, item = super().add(pk, *given)
        check("no one comes before a line", not (done and "line" in (item or {})))
        return done, item

    def seen(self, limit: str) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
        """A rate's item, and its line."""
        key = rate_key(limit)
        return super().get(key, RATE) or {}, list(super().query(key, low=LINE, high=end_of(LINE)))


class History:
    """One random history."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.table = Interrupted(self)
        self.rates = Reservations(self.table, Shards(1, 2))
        self.attempts: list[Attempt] = []
        self.now = NOW
        self.moments = itertools.count()
        self.depth = 0
        self.newcomers = [False]
        self.over = False
        self.messages: list[tuple[int, str]] = []
        self.starts: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        self.in_force = {limit: [speed] for limit, speed in SPEEDS.items()}
        self.sets = seed % 3 == 0
        self.deployed = 0
        self.lost = 0.2 * (seed % 2)

    # --- What happens -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Do something again and again; then all come to their end."""
        for _ in range(LENGTH):
            self.now += self.random.choice((10, 1000, 1000, 9000, GRACE_MS))
            self.act()
            self.look()
        self.over = True
        for attempt in self.attempts:
            attempt.parked = False
        for limit in SPEEDS:
            self.sends(limit, self.rates.give(limit, None, ("ann", "claim"), "", self.now))
        while any(one.waits for one in self.attempts) or self.next() is not None:
            check("something is going to happen", (at := self.next()) is not None)
            self.now = max(self.now, at or 0)
            check("all are called", self.now < NOW + HOURS)
            for limit in SPEEDS:
                self.comes(limit)
            for attempt in self.attempts:
                self.finds(attempt)
            self.look()
        for limit in SPEEDS:
            item, line = self.table.seen(limit)
            check("all have had their time", not line)
            check("no mark is left", not {"line", "next", "wake_at"} & item.keys())
            check("no window has too many", self.excess(limit) <= 0)

    def others(self, often: float = 0.1) -> None:
        """What comes between two requests, if anything: often between what was read and what is written."""
        if 0 < self.depth < DEEP and not self.over and self.random.random() < often:
            self.act()
        if self.depth and not self.over and self.random.random() < self.lost / 10:
            raise Died

    def act(self) -> None:
        """Something."""
        free = [one for one in self.attempts if not one.busy and one.waits]
        kind = self.random.randrange(12)
        if kind < 5 and free:
            what = self.random.choice((self.finds, self.finds, self.leaves, self.joins, self.parks))
            what(self.random.choice(free))
        elif kind < 8:
            self.asks()
        elif kind == 8 and self.sets:
            self.sets_speed(self.random.choice(list(SPEEDS)))
        else:
            self.calls(self.random.choice(list(SPEEDS)))

    def does(self, what: Callable[[], Any], attempt: Attempt | None = None, *, newcomer: bool = False) -> Any:
        """Do it, for an attempt, for which nothing else is done meanwhile: again where who does it has died."""
        self.depth += 1
        self.newcomers.append(newcomer)
        if attempt is not None:
            attempt.busy = True
        try:
            while True:
                try:
                    return what()
                except Died:
                    if attempt is None:
                        return None
        finally:
            self.depth -= 1
            self.newcomers.pop()
            if attempt is not None:
                attempt.busy = False

    def asks(self) -> None:
        """An attempt reserves a time, or has to stand in line."""
        number, order = len(self.attempts), self.random.choice(ORDERS)
        self.deployed += self.sets and self.random.random() < 0.05
        paces = tuple(map(self.pace, order))
        since = self.now - self.random.choice((0, 0, 120_000)) + number % 10
        attempt = Attempt(Holder(f"k::{number}", "0123456789abcdef012", "charge", 1, since), paces)
        self.attempts.append(attempt)
        place = self.random.choice(("", "", attempt.who.place))
        found = self.does(lambda: self.rates.reserve(paces, self.now, place), attempt, newcomer=not place)
        if isinstance(found, int):
            self.started(attempt, found)
            return
        check("a rate that it needs", found in order)
        attempt.paces, attempt.waits = tuple(sorted(paces, key=lambda pace: pace.limit != found)), True
        self.joins(attempt)

    def pace(self, limit: str) -> Pace:
        """What an attempt of the newest deployment, or of the one before, needs of a rate."""
        of, speed = max(self.deployed - self.random.randrange(2), 0), SPEEDS[limit]
        speed = speed._replace(n=speed.n + of % 2)
        self.in_force[limit].append(speed)
        return Pace(limit, speed.period, speed.burst, min(self.random.choice((1, 1, 2)), speed.burst), speed.n, of)

    def started(self, attempt: Attempt, at: int) -> None:
        """A time is given away."""
        ahead = AHEAD_MS if len(attempt.paces) == 1 else TOGETHER_MS
        check("not too early, nor too far ahead", self.now <= at <= self.now + ahead)
        for pace in attempt.paces:
            self.starts[pace.limit].append((at, pace.cost))

    def joins(self, attempt: Attempt) -> None:
        """What its log says is done, perhaps once more."""
        due = self.does(lambda: self.rates.stand(attempt.who, attempt.paces, self.now), attempt)
        self.sends(attempt.paces[0].limit, due)

    def parks(self, attempt: Attempt) -> None:
        attempt.parked = not attempt.parked

    def finds(self, attempt: Attempt) -> None:
        """It comes to see whether it was called."""
        if attempt.busy or not attempt.waits or attempt.parked:
            return
        found = self.does(lambda: self.rates.find(attempt.who, attempt.paces), attempt)
        if found is None:
            check("it stands somewhere", any(attempt.who.place in self.places(limit) for limit in SPEEDS))
            return
        limit, at = found
        if not at:
            return
        if self.now - at > LATE_MS:
            again = self.does(lambda: self.rates.reserve(attempt.paces, self.now, attempt.who.place), attempt)
            if isinstance(again, str):
                own = next(pace for pace in attempt.paces if pace.limit == limit)
                self.sends(limit, self.does(lambda: self.rates.renew(attempt.who, own, at, self.now), attempt))
                attempt.called = 0
                return
            self.started(attempt, again)
        self.leaves(attempt)

    def leaves(self, attempt: Attempt) -> None:
        """It does not wait any more."""
        attempt.waits = False
        self.does(lambda: self.rates.leave(attempt.who, attempt.paces), attempt)
        attempt.gone = next(self.moments)

    def sets_speed(self, limit: str) -> None:
        """An operator sets a number, or takes it back."""
        given = self.random.choice(GIVEN)
        self.in_force[limit] += [] if given is None else [given]
        self.sends(limit, self.does(lambda: self.rates.give(limit, given, ("ann", "claim"), "", self.now)))

    def sends(self, limit: str, due: int | None) -> None:
        """A message to a rate, which may be lost."""
        if due is not None and (self.over or self.random.random() >= self.lost):
            self.messages.append((due, limit))

    def next(self) -> int | None:
        """When something is to happen."""
        alarms = [item["wake_at"] for limit in SPEEDS if "wake_at" in (item := self.table.seen(limit)[0])]
        times = [at for at, _ in self.messages] + alarms
        times += [one.called for one in self.attempts if one.waits and one.called > self.now]
        return min(times, default=None)

    def comes(self, limit: str) -> None:
        """A message, or the sweep."""
        due = [one for one in self.messages if one[0] <= self.now and one[1] == limit]
        self.messages = [one for one in self.messages if one not in due]
        if due or self.table.seen(limit)[0].get("wake_at", self.now + 1) <= self.now:
            self.calls(limit)

    def calls(self, limit: str) -> None:
        """A line is called; who calls it may end once it has reserved."""
        begun = next(self.moments)
        found: Call | None = self.does(lambda: self.rates.call(limit, self.now, self.says))
        if found is None:
            return
        if found.next is not None:
            check("later", self.now + 1000 <= found.next <= self.now + 900_000)
        check(
            "in order", [one.holder.place for one in found.places] == sorted(one.holder.place for one in found.places)
        )
        for called in found.places:
            attempt = self.attempt(called.holder)
            check("only who stands in line is called", attempt.gone is None or attempt.gone > begun)
            check("who was called is not called again", not attempt.called or self.now - attempt.called >= GRACE_MS)
            self.started(attempt, called.at)
        if self.random.random() < self.lost and not self.over:
            return
        self.sends(limit, found.next)
        for other, due in found.moved:
            self.sends(other, due)
        for called in found.places:
            if self.does(partial(self.rates.hand, limit, called)):
                self.attempt(called.holder).called = called.at
        if found.next is None:
            self.sends(limit, self.does(lambda: self.rates.look_again(limit, self.now)))

    def attempt(self, who: Holder) -> Attempt:
        return next(one for one in self.attempts if one.who == who)

    def says(self, who: Holder) -> bool | None:
        """What a log says, which may say something else at once."""
        attempt = self.attempt(who)
        found = None if attempt.waits and attempt.parked else attempt.waits
        self.others()
        return found

    # --- What is seen -------------------------------------------------------------------------------------------------

    def places(self, limit: str) -> list[str]:
        return [str(place["sk"]) for place in self.table.seen(limit)[1]]

    def look(self) -> None:
        """Between two: each stands where it waits, and is going to be called."""
        places = [place for limit in SPEEDS for place in self.places(limit)]
        wanted = sorted(one.who.place for one in self.attempts if one.waits)
        check("each stands in one line, and no one else", sorted(places) == wanted)
        for limit in SPEEDS:
            item, line = self.table.seen(limit)
            if item:
                check("it is listed", item["format"] == FORMAT and {"list_key", "list_at"} <= item.keys())
                check("it expires", (EXPIRES in item) != ("set" in item))
            check("its places expire", all(EXPIRES in place and place["format"] == FORMAT for place in line))
            check("it is looked at", not line or "wake_at" in item)
            check("who calls it knows when", ("line" in item) == ("next" in item))
            if "line" in item:
                check("the sweep comes after", item["wake_at"] > item["next"])
            queue = self.rates.queue(limit)
            check("what is shown", [who.place for who, _ in queue.line] == self.places(limit))
            check("when it was called for", [at for _, at in queue.line] == [place.get("at", 0) for place in line])

    def excess(self, limit: str) -> Fraction:
        """By how many places the worst window has more than the greatest burst and speed allow."""
        running = [speed for speed in self.in_force[limit] if speed.n]
        burst = max(2, *(speed.burst for speed in running))
        fastest = max(Fraction(1, speed.every) for speed in running)
        worst, starts = Fraction(-burst), sorted(self.starts[limit])
        for first, (since, _) in enumerate(starts):
            taken = 0
            for at, cost in starts[first:]:
                taken += cost
                worst = max(worst, taken - burst - fastest * (at - since + 1) * 1000)
        return worst


@pytest.mark.parametrize("seeds", [range(RUNS)[part::3] for part in range(3)])
def test_each_who_waits_has_a_time_of_its_own_whoever_comes_in_between(seeds: range) -> None:
    for seed in seeds:
        try:
            History(seed).run()
        except (Wrong, StoreUnavailable) as found:
            pytest.fail(f"{seed}: {found!r}")
