"""The order in which permits are handed is that of the line: interleavings and deaths at every call of the table (F.5).

Many attempts stand in one line, in threads of control that take turns at each call; any of them may die there, and a
later one does its work again, as the engine does. What is handed is compared with the line as it was stored then.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

import greenlet
import pytest

from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.engine.records import Need
from hephaestus.errors import StoreUnavailable
from hephaestus.store import permits
from hephaestus.store.heads import Shards
from hephaestus.store.items import INDEXES
from hephaestus.store.keys import end_of
from hephaestus.store.permits import GRACE_MS, LINE, PERMITS, Holder, holder_of, limit_key
from hephaestus.store.sharded_permits import ShardedPermits
from tests.property.limit_bugs import handed_to_the_last_in_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.engine.records import Grant
    from hephaestus.store.table import Change, Item

    Patch = pytest.MonkeyPatch

RUNS: Final = 120
LINED_UP, AT_ONCE, LENGTH = 10, 6, 200
NOW: Final = 1_764_000_000_000
UNIT_MS: Final = 60_000  # of priority
LIMIT: Final = limit_key("few")


class Died(BaseException):
    """The thread of control dies here."""


class Wrong(AssertionError):
    """A permit was handed out of the line's order."""


@dataclass
class Attempt:
    """An attempt that needs a permit.

    Attributes:
        who: its place in the line says when it joined, and its priority.
        called: when it was handed a permit: as the line was read for that, and as it was written.
        stood: whether its log says that it stands in line.
        named: the permit that its log names.
        over: whether it has ended, or left.
    """

    who: Holder
    called: list[tuple[int, int]] = field(default_factory=list)
    stood: bool = False
    named: tuple[Grant, ...] = ()
    over: bool = False


class Watched(InMemoryTable):
    """A table at each of whose calls another may have its turn; what is handed is noted."""

    def __init__(self, world: World) -> None:
        super().__init__(INDEXES)
        self.world = world

    def get(self, pk: str, sk: str) -> Item | None:
        self.world.turn()
        return super().get(pk, sk)

    def query(self, pk: str, **how: Any) -> Sequence[Item]:
        self.world.turn()
        if how["low"] == LINE:
            self.world.looked()
        return super().query(pk, **how)

    def stored_line(self) -> list[str]:
        """The places in the line, without a turn of another's."""
        return [str(place["sk"]) for place in super().query(LIMIT, low=LINE, high=end_of(LINE))]

    def update(self, *given: Any) -> bool:
        self.world.turn()
        done = super().update(*given)
        self.world.turn()
        return done

    def change_all(self, changes: Sequence[Change]) -> bool:
        self.world.turn()
        before, line = super().get(LIMIT, PERMITS) or {}, self.stored_line()
        done = super().change_all(changes)
        if done:
            self.world.changed(before, super().get(LIMIT, PERMITS) or {}, line)
        self.world.turn()
        return done


@dataclass
class World:
    """One random history of a limit of some permits."""

    seed: int
    attempts: list[Attempt] = field(default_factory=list)
    joined: dict[str, int] = field(default_factory=dict)
    began: dict[str, int] = field(default_factory=dict)
    seen: dict[object, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.number = self.random.choice((1, 1, 2, 3, 5, 8))
        self.deaths = self.random.choice((0.0, 0.02, 0.1))
        self.now, self.steps, self.texts = NOW, 0, itertools.count()
        self.table = Watched(self)
        self.permits = ShardedPermits(self.table, Shards(1, 1))
        self.needs = (Need("few", self.number, 1),)

    # --- What the threads of control go through ---

    def turn(self) -> None:
        """Another has its turn, and this one may never have one again."""
        self.steps += 1
        if greenlet.getcurrent().parent is not None:
            greenlet.getcurrent().parent.switch()  # type: ignore[union-attr]  # as seen
            if self.random.random() < self.deaths:
                raise Died

    def looked(self) -> None:
        """This one reads the line."""
        self.seen[greenlet.getcurrent()] = self.steps

    def changed(self, before: Item, after: Item, line: list[str]) -> None:
        """The limit was written: who has a permit now that stood in line was the first there, as it was read."""
        for sk in self.table.stored_line():
            if sk not in line:
                self.joined[sk] = self.steps
                self.began.setdefault(sk, self.steps)
        for slot in range(self.number):
            name = after.get(f"s{slot}")
            if name is None or name == before.get(f"s{slot}"):
                continue
            place = holder_of(str(name)).place
            since = self.seen.get(greenlet.getcurrent(), 0)
            passed = [sk for sk in line if sk < place and self.joined[sk] <= since]
            if passed or (line and place not in line):
                message = f"{place} is handed a permit, and {passed or line[:1]} stood before it"
                raise Wrong(message)
            if place in line:
                next(one for one in self.attempts if one.who.place == place).called.append((since, self.steps))

    # --- What they do ---

    def unique(self) -> str:
        return str(next(self.texts))

    def stand(self, one: Attempt) -> None:
        """Its log says that it stands in line; now it does, or has a permit."""
        if one.over or one.named:
            return
        one.stood = True
        found = self.permits.stand(one.who, self.needs, self.now, self.unique())
        if found and not one.over:
            one.named = found

    def look(self, one: Attempt) -> None:
        """It was woken: it may have been called."""
        found = self.permits.find(one.who, self.needs) if one.stood and not one.over and not one.named else None
        if found and not one.over and self.permits.confirm(one.who, found):
            one.named = found

    def end(self, one: Attempt) -> None:
        """It gives its permit back."""
        grants = one.named
        if not grants:
            return
        one.over, one.named = True, ()
        self.permits.give_back(one.who, grants, self.now, self.unique())

    def leave(self, one: Attempt) -> None:
        """It was cancelled in the line."""
        if one.stood and not one.named:
            one.over = True
            self.permits.leave(one.who, self.needs, self.now, self.unique())

    def sweep(self, _one: Attempt) -> None:
        """A minute may have passed."""
        self.permits.sweep("few", self.now, self.says, self.unique())

    def says(self, who: Holder, grant: Grant | None) -> Sequence[Need] | None:
        """What the log of a holder says."""
        one = next(one for one in self.attempts if one.who == who)
        if one.named:
            return None if grant is not None else ()
        return self.needs if one.stood and not one.over else ()

    # --- The run ---

    def run(self) -> None:
        """Whatever happens, in whatever order; then all go on until no one stands in line."""
        alive: list[greenlet.greenlet] = []
        for _ in range(LENGTH):
            self.now += self.random.choice((1, 1, 500, 10_000))
            there = [one for one in self.attempts if not one.over]
            if len(there) < LINED_UP:
                there.append(self.attempt(len(self.attempts)))
                self.attempts.append(there[-1])
            acts = (self.stand, self.look, self.end, self.sweep, self.leave)
            act = self.random.choices(acts, (6, 6, 6, 2, 1))[0]
            if len(alive) < AT_ONCE:
                alive.append(self.begun(act, self.random.choice(there)))
            for _ in range(self.random.randrange(12)):
                if alive:
                    self.random.choice(alive).switch()
                    alive = [each for each in alive if not each.dead]
        for _ in range(LINED_UP * 2):
            self.now += GRACE_MS
            self.deaths = 0.0
            for act in (self.stand, self.look, self.end, self.sweep):
                for one in self.attempts:
                    act(one)
        left = [one.who.place for one in self.attempts if not one.over]
        if left:
            message = f"{left} wait for ever"
            raise Wrong(message)

    def begun(self, act: Callable[[Attempt], None], one: Attempt) -> greenlet.greenlet:
        """A thread of control."""

        def main() -> None:
            try:
                act(one)
            except (Died, StoreUnavailable):
                return

        return greenlet.greenlet(main)

    def attempt(self, number: int) -> Attempt:
        """One that joins now, with some priority."""
        order = self.now - UNIT_MS * self.random.choice((0, 0, 0, 1, -1))
        return Attempt(Holder(f"k::{number}", f"{number:019x}", "work", 1, order))

    def late(self, which: int) -> list[tuple[Attempt, Attempt]]:
        """Who was called after one that stood behind it, by the first (0) or the last (-1) time that each was."""
        called = [one for one in self.attempts if one.called]
        return [
            (one, other)
            for one, other in itertools.permutations(called, 2)
            if one.who.place < other.who.place
            and self.began[one.who.place] <= other.called[which][0]
            and other.called[which][1] < one.called[which][1]
        ]


def wrong(runs: int = RUNS) -> str | None:
    """What is found to be wrong."""
    for seed in range(runs):
        try:
            World(seed).run()
        except Wrong as found:
            return f"{seed}: {found}"
    return None


def test_permits_are_handed_in_the_order_of_the_line() -> None:
    """Rules F.4 and F.5, whoever dies at whichever call; and no one waits for ever."""
    assert wrong() is None


def test_who_goes_on_out_of_order_was_handed_a_permit_more_than_once() -> None:
    """One that was called and died is put back, and called again: its log shows the last time."""
    late = 0
    for seed in range(RUNS):
        world = World(seed)
        world.run()
        assert world.late(0) == []
        pairs = world.late(-1)
        assert all(len(one.called) > 1 or len(other.called) > 1 for one, other in pairs)
        late += len(pairs)
    assert late > RUNS // 20, "else the test proves nothing"


def marks_are_not_looked_at(patch: Patch) -> None:
    """Who hands a permit on does not see that someone has left the line since it was read."""
    patch.setattr(permits, "_seen", lambda _item, condition, **_: condition)


BUGS: Final = (handed_to_the_last_in_line, marks_are_not_looked_at)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_bug_in_the_lines_order_is_found(bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    assert wrong() is not None
