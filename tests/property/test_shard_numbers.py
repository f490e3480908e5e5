"""Numbers of limits that come to need shards, and cease to, while many contend (rules F.6 and F.8).

Attempts of several deployments, an operator and the sweep do their requests in every order that a seed gives, and any
of them may die between two. A shard has two permits here. What is granted is seen as it is stored.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from random import Random
from threading import Semaphore, Thread
from typing import TYPE_CHECKING, Any, Final

import pytest

from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.engine import shards
from hephaestus.engine.records import Grant, Need
from hephaestus.engine.shards import stored_as
from hephaestus.errors import StoreUnavailable
from hephaestus.store import numbers, permits, sharded_permits
from hephaestus.store.heads import Shards
from hephaestus.store.items import INDEXES
from hephaestus.store.keys import end_of
from hephaestus.store.permits import LINE, PERMITS, Holder, Permits, limit_key
from hephaestus.store.sharded_permits import ShardedPermits
from hephaestus.store.table import Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hephaestus.store.table import Item

RUNS, BATCHES = 60, 40
NOW: Final = 1_764_000_000_000
MINUTE: Final = 60_000
DEPLOYED: Final = {1: 1, 2: 7, 3: 2, 4: 5}  # what each deployment declares
KEYS: Final = [limit_key(f"{shard}|one") if shard else limit_key("one") for shard in range(4)]
Patch = pytest.MonkeyPatch


class Died(BaseException):
    """Who made the request is no more."""


class Wrong(AssertionError):
    """What is there is not what was expected."""


@dataclass
class Task:
    """Something that is done, a request at a time.

    Attributes:
        does: it.
        dies: before which of its requests it dies, if any.
        floor: the newest deployment that had used the limit as it began.
    """

    does: Callable[[], None]
    dies: int | None
    floor: int
    turn: Semaphore = field(default_factory=lambda: Semaphore(0))
    over: bool = False
    error: BaseException | None = None


class Interleaved(InMemoryTable):
    """A table whose users take turns, as a seed has it: one request each."""

    def __init__(self, random: Random, wrote: Callable[[Task], None]) -> None:
        super().__init__(INDEXES)
        self.random, self.wrote = random, wrote
        self.tasks: list[Task] = []
        self.now: Task | None = None
        self.back = Semaphore(0)

    def run(self, tasks: Sequence[Task]) -> None:
        """Do all of them, in turns."""
        self.tasks = list(tasks)
        for task in tasks:
            Thread(target=self._do, args=(task,), daemon=True).start()
        while left := [task for task in self.tasks if not task.over]:
            self.now = self.random.choice(left)
            self.now.turn.release()
            self.back.acquire()
        self.now = None
        for task in tasks:
            if task.error is not None:
                raise task.error

    def _do(self, task: Task) -> None:
        task.turn.acquire()
        try:
            task.does()
        except (Died, StoreUnavailable):
            pass
        except BaseException as error:  # noqa: BLE001 - told by ``run``
            task.error = error
        task.over = True
        self.back.release()

    def _turn(self) -> Task | None:
        if (task := self.now) is None:
            return None
        self.back.release()
        task.turn.acquire()
        if task.dies is not None:
            task.dies -= 1
            if task.dies < 0:
                raise Died
        return task

    def get(self, *given: Any, **named: Any) -> Any:
        self._turn()
        return super().get(*given, **named)

    def query(self, *given: Any, **named: Any) -> Any:
        self._turn()
        return super().query(*given, **named)

    def update(self, *given: Any, **named: Any) -> Any:
        self._turn()
        return super().update(*given, **named)

    def change_all(self, *given: Any, **named: Any) -> Any:
        task = self._turn()
        found = super().change_all(*given, **named)
        if task is not None:
            self.wrote(task)
        return found


class History:
    """One random history.

    Attributes:
        held, waiting: what the logs say: who has which permits, and who stands in line for what.
        given: the operator's numbers that may be in force: the last that was answered, and those begun since.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.table = Interleaved(self.random, self.wrote)
        self.permits = ShardedPermits(self.table, Shards(1, 2))
        self.now, self.texts = NOW, itertools.count()
        self.held: dict[Holder, tuple[Grant, ...]] = {}
        self.waiting: dict[Holder, tuple[Need, ...]] = {}
        self.ran: set[Holder] = set()
        self.given: list[int | None] = [None]
        self.newest, self.done = 0, 0
        self.stored: set[tuple[str, int, str]] = set()
        self.since: set[tuple[str, int, str]] = set()
        self.most = 0

    def run(self) -> None:
        """Do several things at a time, again and again; then have all come to their end."""
        for number in range(BATCHES):
            self.now += self.random.choice((1_000, 1_000, MINUTE))
            if self.number(self.done) < self.most:
                self.since, self.most = set(), 0
            self.table.run([self.task(number * 4 + one) for one in range(self.random.randrange(1, 5))])
        self.finish()

    def unique(self) -> str:
        return str(next(self.texts))

    def task(self, number: int) -> Task:
        dies = self.random.randrange(20) if self.random.random() < 0.1 else None
        does = (self.asks, self.asks, self.asks, self.ends, self.ends, self.comes, self.leaves, self.sweeps, self.sets)
        return Task(self.random.choice(does)(number), dies, self.done)

    def asks(self, number: int) -> Callable[[], None]:
        """An attempt of some deployment takes a permit, or stands in line; its log says first that it will."""
        of = self.random.choice(list(DEPLOYED))
        order = self.now + number % 4
        who, needs = Holder(f"k::{number}", "0123456789abcdef012", "charge", 1, order), (Need("one", DEPLOYED[of], of),)

        def do() -> None:
            self.newest, self.waiting[who] = max(self.newest, of), needs
            self.note(who, self.permits.stand(who, needs, self.now, self.unique()))
            self.done = max(self.done, of)

        return do

    def note(self, who: Holder, found: tuple[Grant, ...]) -> None:
        if found and who in self.waiting:
            del self.waiting[who]
            self.held[who] = found

    def ends(self, _number: int) -> Callable[[], None]:
        who = self.random.choice(list(self.held) or [None])
        grants = self.held.pop(who) if who is not None else ()

        def do() -> None:
            if who is not None:
                self.ran.add(who)
                self.permits.give_back(who, grants, self.now, self.unique())

        return do

    def comes(self, _number: int) -> Callable[[], None]:
        """Someone in line looks whether it was called, and stands there anew where it does not any more."""
        who = self.random.choice(list(self.waiting) or [None])

        def do() -> None:
            if who is None or (needs := self.waiting.get(who)) is None:
                return
            found = self.permits.find(who, needs)
            self.note(who, self.permits.stand(who, needs, self.now, self.unique()) if found is None else found)

        return do

    def leaves(self, _number: int) -> Callable[[], None]:
        who = self.random.choice(list(self.waiting) or [None])
        needs = self.waiting.pop(who) if who is not None and self.random.random() < 0.3 else ()

        def do() -> None:
            if who is not None and needs:
                self.ran.add(who)
                self.permits.leave(who, needs, self.now, self.unique())

        return do

    def sweeps(self, _number: int) -> Callable[[], None]:
        name = self.random.choice(KEYS).removeprefix("limit#")
        return lambda: self.sweep(name)

    def sweep(self, name: str) -> None:
        self.permits.sweep(name, self.now, self.says, self.unique())

    def says(self, who: Holder, grant: Grant | None) -> Sequence[Need] | None:
        """What a holder's log says."""
        its = {(one.slot, stored_as(one.limit)) for one in self.held.get(who, ())}
        if grant is not None and (grant.slot, stored_as(grant.limit)) in its:
            return None
        return self.waiting.get(who, ())

    def sets(self, number: int) -> Callable[[], None]:
        """An operator, one at a time, sets the number, or takes it back."""
        if number % 4:
            return lambda: None
        given = self.random.choice((None, None, 0, 1, 2, 3, 5, 7))

        def do() -> None:
            if not self.table.get(KEYS[0], PERMITS):
                return
            self.given.append(given)
            self.permits.give("one", given, ("anna", "claim"), self.now, self.unique())
            self.given, self.since, self.most = [given], set(), 0

        return do

    def grants(self) -> Iterator[tuple[str, int, str]]:
        for key in KEYS:
            item = InMemoryTable.get(self.table, key, PERMITS) or {}
            yield from ((key, slot, str(item[f"s{slot}"])) for slot in range(8) if f"s{slot}" in item)

    def wrote(self, task: Task) -> None:
        """Whoever is granted a permit is among as many as the number in force, beyond those who had one before."""
        stored = set(self.grants())
        if new := stored - self.stored:
            self.most = max(self.most, self.number(task.floor))
            self.since = (self.since & stored) | new
            check(len(self.since) <= self.most, f"{len(self.since)} were granted permits, and there are {self.most}")
        self.stored = stored

    def number(self, oldest: int) -> int:
        """The greatest number that may be in force for who began when the deployment ``oldest`` was the newest."""
        declared = [number for of, number in DEPLOYED.items() if oldest <= of <= max(self.newest, 1)]
        return max(max(declared) if given is None else given for given in self.given)

    def finish(self) -> None:
        """No one dies any more: within two sweeps no permit is free, and no one stands where none ever will be."""
        given = self.random.choice((None, 1, 2, 3))
        number = DEPLOYED[4] if given is None else given
        self.given, self.newest = [given], 4
        if self.table.get(KEYS[0], PERMITS):
            self.permits.give("one", given, ("anna", "claim"), self.now, self.unique())
        while self.waiting or self.held:
            self.settle()
            check(not self.waiting or len(self.held) >= number, f"{self.held} run, and {self.waiting} wait")
            for key in KEYS[-(-number // 2) :]:
                check(not self.line(key), f"in the line of {key} they wait for ever")
            for who, grants in tuple(self.held.items())[:3]:
                del self.held[who]
                self.permits.give_back(who, grants, self.now, self.unique())
        self.settle()
        usage = self.permits.usage("one")
        check(not usage.line and not usage.permits, f"at the end there are {usage}")
        check(not any(map(self.line, KEYS)), "places are left")
        check(self.permits.known("", 9) in ([], ["one"]), "shards are listed")

    def line(self, key: str) -> Sequence[Item]:
        return InMemoryTable.query(self.table, key, low=LINE, high=end_of(LINE))

    def settle(self) -> None:
        """Two sweeps, and all who stand in line look whether they were called."""
        for _ in range(2):
            self.now += MINUTE
            for key in KEYS:
                self.permits.declare(Need("one", DEPLOYED[4], 4))
                self.sweep(key.removeprefix("limit#"))
            for who, needs in tuple(self.waiting.items()):
                found = self.permits.find(who, needs)
                again = self.permits.stand(who, needs, self.now, self.unique()) if found is None else found
                self.note(who, again)


def check(holds: bool, text: str) -> None:
    """Tell what is wrong, if something is."""
    if not holds:
        raise Wrong(text)


@pytest.fixture(autouse=True)
def small(monkeypatch: Patch) -> None:
    """Two permits are a shard."""
    for module in (shards, sharded_permits):
        monkeypatch.setattr(module, "MOST", 2)


def wrong(runs: int = RUNS) -> str | None:
    """What is found to be wrong."""
    for seed in range(runs):
        try:
            History(seed).run()
        except Wrong as found:
            return f"{seed}: {found}"
    return None


def test_numbers_that_need_shards_and_cease_to() -> None:
    """Rules F.6 and F.8."""
    assert wrong() is None


def grants_by_an_old_copy(patch: Patch) -> None:
    """Who grants a permit of a shard does not look at the number in force."""
    right = numbers.copied
    patch.setattr(numbers, "copied", lambda own, item: {} if item is not None else right(own, item))


def answers_before_all_copies_are_made(patch: Patch) -> None:
    """An operator's number is told to the shards by who comes next."""
    patch.setattr(ShardedPermits, "give", Permits.give)


def grants_whatever_the_copy_is_by_then(patch: Patch) -> None:
    """The number may have been set since it was read."""
    patch.setattr(permits, "stands", lambda *_: Condition())


def leaves_lines_of_shards_without_permits(patch: Patch) -> None:
    patch.setattr(ShardedPermits, "_close", lambda *_: [])


def looks_at_its_own_line_only(patch: Patch) -> None:
    """Who was in the line of another number's shard stands in line a second time."""
    patch.setattr(numbers, "is_moved", lambda _item: False)


BUGS: Final = (
    grants_by_an_old_copy,
    answers_before_all_copies_are_made,
    grants_whatever_the_copy_is_by_then,
    leaves_lines_of_shards_without_permits,
    looks_at_its_own_line_only,
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_bug_in_the_numbers_of_shards_is_found(bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    assert wrong(400) is not None
