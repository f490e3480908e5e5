"""Permits and lines of two limits while others come between any two requests (rules F.1, F.3 and F.4).

What each write leaves is looked at, and what each call says it has done: random histories, each by its seed. Those who
come in between are through before the one that they interrupt goes on, so that what it has read is old.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest

from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.engine.records import Grant, Need
from hephaestus.engine.shards import MOST
from hephaestus.errors import StoreUnavailable
from hephaestus.store.heads import Shards
from hephaestus.store.items import INDEXES
from hephaestus.store.keys import end_of
from hephaestus.store.permits import GRACE_MS, LINE, PERMITS, Holder, Permits, first_in, holder_of, limit_key
from hephaestus.store.sharded_permits import ShardedPermits
from hephaestus.store.table import EXPIRES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.store.table import Change, Item

RUNS, LENGTH, DEEP = 60, 40, 2
NOW: Final = 1_764_000_000_000
NUMBERS: Final = {"one": 2, "two": 1}
QUIET: Final = 3  # sweeps after the last has gone: what no one holds, they free
HOURS: Final = 10 * 3_600_000
NEEDS: Final = tuple(
    tuple(Need(name, NUMBERS[name]) for name in names) for names in (("one",), ("two",), ("one", "two"), ("two", "one"))
)


class Wrong(AssertionError):
    """What is there is not what was expected."""


@dataclass
class Attempt:
    """Who needs permits.

    Attributes:
        who, needs: what it is, and needs.
        held: what it has, as its log says.
        waits: whether its log says that it stands in line.
        busy: whether something is done for it.
    """

    who: Holder
    needs: tuple[Need, ...]
    held: tuple[Grant, ...] = ()
    waits: bool = False
    busy: bool = False


def check(what: str, holds: bool) -> None:
    if not holds:
        raise Wrong(what)


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
        self.history.read[-1][pk] = next(self.history.texts)
        return super().query(pk, **asked)

    def change_all(self, changes: Sequence[Change]) -> bool:
        self.history.others(0.35)
        before = {key: self.seen(key) for key in {change.pk for change in changes}}
        if not super().change_all(changes):
            return False
        self.history.wrote(before)
        return True

    def seen(self, pk: str) -> tuple[Item, list[Item]]:
        """A limit's item, and its line."""
        return super().get(pk, PERMITS) or {}, list(super().query(pk, low=LINE, high=end_of(LINE)))


def held_of(item: Item) -> dict[str, int]:
    """The holders of a limit by name, each with its permit."""
    slots = [slot for slot in range(MOST) if f"s{slot}" in item]
    found = {str(item[f"s{slot}"]): slot for slot in slots}
    check("one has two permits", len(found) == len(slots))
    return found


def places_of(line: Sequence[Item]) -> list[str]:
    """The places in a line, in order."""
    return [str(place["sk"]) for place in line]


class History:
    """One random history."""

    def __init__(self, seed: int, kind: type[Permits] = Permits) -> None:
        self.random = Random(seed)
        self.table = Interrupted(self)
        self.permits = kind(self.table, Shards(1, 2))
        self.attempts: list[Attempt] = []
        self.now = NOW
        self.texts = itertools.count()
        self.depth = 0
        self.over = False
        self.called: list[set[str]] = [set()]
        self.read: list[dict[str, int]] = [{}]
        """When each call has read each line."""
        self.joined: dict[tuple[str, str], int] = {}

    def unique(self) -> str:
        return str(next(self.texts))

    # --- What happens -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Do something again and again; then all come to their end."""
        for _ in range(LENGTH):
            self.now += self.random.choice((10, 1000, 1000, GRACE_MS))
            self.act()
            self.look()
        self.over = True
        quiet = 0
        while quiet < QUIET:
            self.now += GRACE_MS
            check("all are called", self.now < NOW + HOURS)
            quiet = 0 if any(one.held or one.waits for one in self.attempts) else quiet + 1
            for attempt in self.attempts:
                self.finds(attempt)
                self.ends(attempt)
            for limit in NUMBERS:
                self.sweeps(limit)
            self.look()
        for limit in NUMBERS:
            item, line = self.table.seen(limit_key(limit))
            check("all were called, and have given back", not line and not held_of(item))
            marks = {"line", "left", "joined", "wake_at"} & item.keys()
            check(f"no mark is left, as {marks}", not marks)

    def others(self, often: float = 0.1) -> None:
        """What comes between two requests, if anything: often between what was read and what is written."""
        if 0 < self.depth < DEEP and not self.over and self.random.random() < often:
            self.act()

    def act(self) -> None:
        """Something."""
        kinds: tuple[Callable[[Attempt], None], ...] = (self.finds, self.finds, self.ends, self.ends, self.leaves)
        free = [one for one in self.attempts if not one.busy and (one.held or one.waits)]
        kind = self.random.randrange(10)
        if kind < 5 and free:
            self.random.choice(kinds)(self.random.choice(free))
        elif kind < 8:
            self.asks()
        else:
            self.sweeps(self.random.choice(list(NUMBERS)))

    def does(self, what: Callable[[], Any], attempt: Attempt | None = None) -> Any:
        """Do it, and again where the answer was lost; who was called by it is to be woken, as it says."""
        self.depth += 1
        self.called.append(set())
        self.read.append({})
        busy = attempt is not None and attempt.busy
        if attempt is not None:
            attempt.busy = True
        try:
            found = what()
            woken = found if isinstance(found, list) else []
            check("who is called is woken", self.called[-1] <= set(woken) | {attempt and attempt.who.instance_id})
            return found
        finally:
            self.called.pop()
            self.read.pop()
            self.depth -= 1
            if attempt is not None:
                attempt.busy = busy

    def asks(self) -> None:
        """An attempt takes permits, or stands in line for some; whoever asks twice has the same."""
        number, needs = len(self.attempts), self.random.choice(NEEDS)
        order = self.now - self.random.choice((0, 0, 120_000)) + number % 10
        who = Holder(f"k::{number}", "0123456789abcdef012", "charge", 1, 0, "o")
        attempt = Attempt(who, needs)
        self.attempts.append(attempt)
        if self.random.random() < 0.5:
            again, before = self.random.random() < 0.5, self.depth
            self.depth += DEEP if again else 0  # no one comes in between
            found = self.does(lambda: self.permits.take(who, needs, self.now), attempt)
            if again:
                check("taken twice", self.permits.take(who, needs, self.now + 7) == found)
            self.depth = before
            if isinstance(found, str):
                check("a limit that it needs is full", found in {need.limit for need in needs})
                return
        else:
            attempt.who, attempt.waits = who._replace(order=order, owner=""), True
            found = self.does(lambda: self.permits.stand(attempt.who, needs, self.now, self.unique()), attempt)
        if found:
            self.has(attempt, found)

    def sweeps(self, limit: str) -> None:
        self.does(lambda: self.permits.sweep(limit, self.now, self.says, self.unique()))

    def finds(self, attempt: Attempt) -> None:
        """It comes to see whether it was called: it stands anew if it has neither a place nor permits."""
        if attempt.busy or attempt.held or not attempt.waits:
            return
        found = self.does(lambda: self.permits.find(attempt.who, attempt.needs), attempt)
        if found is None:
            found = self.does(lambda: self.permits.stand(attempt.who, attempt.needs, self.now, self.unique()), attempt)
        if found:
            self.has(attempt, found)

    def has(self, attempt: Attempt, found: tuple[Grant, ...]) -> None:
        """Its log names what it has been granted; it makes sure that it still has that, or stands in line anew."""
        check("it is what it needs", [one.limit for one in found] == [need.limit for need in attempt.needs])
        attempt.held, attempt.waits = found, False
        if not self.does(lambda: self.permits.confirm(attempt.who, found), attempt):
            check("only who is late loses it", any(self.now - one.at >= GRACE_MS for one in found))
            self.does(lambda: self.permits.give_back(attempt.who, found, self.now, self.unique()), attempt)
            attempt.held = ()
            return
        for grant in found:
            item, _ = self.table.seen(limit_key(grant.limit))
            check("what was confirmed is there", held_of(item).get(attempt.who.name) == grant.slot)
            check("since then", item[f"g{grant.slot}"] == grant.at)

    def ends(self, attempt: Attempt) -> None:
        """It gives its permits back."""
        if attempt.held and not attempt.busy:
            self.gone(attempt, lambda: self.permits.give_back(attempt.who, attempt.held, self.now, self.unique()))

    def leaves(self, attempt: Attempt) -> None:
        """It does not wait any more."""
        if attempt.waits and not attempt.busy:
            self.gone(attempt, lambda: self.permits.leave(attempt.who, attempt.needs, self.now, self.unique()))

    def gone(self, attempt: Attempt, how: Callable[[], object]) -> None:
        left, attempt.waits = attempt.waits, False
        self.does(how, attempt)
        attempt.held = ()
        for need in attempt.needs:
            item, line = self.table.seen(limit_key(need.limit))
            check("who is gone has nothing", attempt.who.name not in held_of(item))
            check("who has left stands nowhere", not left or attempt.who.place not in places_of(line))

    def says(self, who: Holder, grant: Grant | None) -> Sequence[Need] | None:
        """What a log says, which may say something else at once."""
        attempt = next(one for one in self.attempts if one.who.instance_id == who.instance_id)
        found: Sequence[Need] | None = attempt.needs if attempt.waits else ()
        if grant is not None and grant in attempt.held:
            found = None
        self.others()
        return found

    # --- What is seen -------------------------------------------------------------------------------------------------

    def wrote(self, before: dict[str, tuple[Item, list[Item]]]) -> None:
        """After each write."""
        first = {str(place["name"]) for key, (_, lined) in before.items() for place in self.gone_from(key, lined)}
        for key, (was, lined) in before.items():
            item, line = self.table.seen(key)
            name = key.removeprefix("limit#")
            had, has = held_of(was), held_of(item)
            check("more than there are", len(has) <= NUMBERS[name])
            check("a line has its mark", bool(line) == ("line" in item))
            check("a line is looked at", not line or "wake_at" in item)
            if line and not lined:
                check("in a minute", item["wake_at"] == self.now + GRACE_MS)
            check("it is listed, and expires", {"list_key", "list_at", "format", EXPIRES} <= set(item))
            check("each has its time", all(f"g{slot}" in item for slot in has.values()))
            check(
                "what is free has none",
                not any(f"g{n}" in item or f"c{n}" in item for n in range(8) if f"s{n}" not in item),
            )
            joined = set(places_of(line)) - set(places_of(lined))
            left = set(places_of(lined)) - set(places_of(line))
            for mark, noted in (("joined", joined), ("left", left)):
                check(f"who has {mark} is noted", not line or mark in item)
                check(f"by another text, {mark}", not line or not noted or item[mark] != was.get(mark))
            self.joined |= {(key, place): next(self.texts) for place in joined}
            for one in has.keys() - had.keys():
                check("since now", item[f"g{has[one]}"] == self.now or self.depth > 1)
                check("not confirmed yet", f"c{has[one]}" not in item)
                who = holder_of(one)
                check("no one comes without a line", one in first or not lined)
                if who.order:
                    self.called[-1].add(who.instance_id)

    def gone_from(self, key: str, lined: list[Item]) -> list[Item]:
        """Who has left a line: who is called by that is the first of those that it had when it was read."""
        item, line = self.table.seen(key)
        left, held = places_of(line), held_of(item)
        gone = [place for place in lined if place["sk"] not in left]
        for place in gone:
            ahead = [one for one in places_of(lined) if one < str(place["sk"])]
            late = all(self.joined[key, one] > self.read[-1].get(key, 0) for one in ahead)
            check("no one overtakes", late or place["name"] not in held)
        return gone

    def look(self) -> None:
        """Between two: no one waits who could be called."""
        for limit, number in NUMBERS.items():
            item, line = self.table.seen(limit_key(limit))
            usage = self.permits.usage(limit)
            check("usage", {one.holder.name for one in usage.permits} == set(held_of(item)))
            check("its line", list(usage.line) == [holder_of(str(place["name"])) for place in line])
            check("someone could be called", not line or len(held_of(item)) == number)
            if line:
                check("the first", first_in(line) == usage.line[0])


def wrong(kind: type[Permits] = Permits) -> str | None:
    """What is found to be wrong."""
    for seed in range(RUNS):
        try:
            History(seed, kind).run()
        except (Wrong, StoreUnavailable) as found:
            return f"{seed}: {found!r}"
    return None


@pytest.mark.parametrize("kind", [Permits, ShardedPermits])
def test_permits_are_right_after_each_write_whoever_comes_in_between(kind: type[Permits]) -> None:
    assert wrong(kind) is None
