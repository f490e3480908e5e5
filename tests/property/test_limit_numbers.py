"""How many permits a limit has, whoever declares and sets it: random histories against a model, and deliberate bugs.

Rules F.8 and F.10. Several deployments use one limit side by side, in any order, and an operator sets and unsets its
number. What is written by each is compared with what a person would expect who saw all of it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest

from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.engine.records import Grant, Need
from hephaestus.errors import StoreUnavailable
from hephaestus.store import numbers, permits
from hephaestus.store.heads import Shards
from hephaestus.store.items import INDEXES
from hephaestus.store.permits import PERMITS, Holder, Permits, limit_key
from hephaestus.store.table import EXPIRES, Condition

if TYPE_CHECKING:
    from collections.abc import Callable

RUNS, LENGTH = 150, 60
NOW: Final = 1_764_000_000_000
DEPLOYED: Final = {1: 2, 2: 5, 3: 1, 4: 3}  # what each deployment declares


@dataclass
class Model:
    """What is expected.

    Attributes:
        newest: the newest deployment that has used or declared the limit.
        given: an operator's number.
        held: the permits, by holder.
        line: who stands in line, the first one first.
    """

    newest: int = 0
    given: int | None = None
    held: dict[Holder, tuple[Grant, ...]] = field(default_factory=dict)
    line: list[Holder] = field(default_factory=list)

    @property
    def number(self) -> int:
        return DEPLOYED.get(self.newest, 0) if self.given is None else self.given


class Wrong(AssertionError):
    """What is there is not what was expected."""


class History:
    """One random history."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.table = InMemoryTable(INDEXES)
        self.permits = Permits(self.table, Shards(1, 2))
        self.model = Model()
        self.now = NOW
        self.texts = itertools.count()

    def run(self) -> None:
        """Do something again and again, and look each time."""
        for number in range(LENGTH):
            self.now += 1_000
            before = set(self.model.held)
            self.random.choice((self.asks, self.asks, self.ends, self.sets, self.unsets, self.declares))(number)
            self.look(before)

    def unique(self) -> str:
        return str(next(self.texts))

    def asks(self, number: int) -> None:
        """An attempt of some deployment takes a permit, or stands in line."""
        of = self.random.choice(list(DEPLOYED))
        who = Holder(f"k::{number}", "0123456789abcdef012", "charge", 1, self.now)
        found = self.permits.stand(who, (Need("one", DEPLOYED[of], of),), self.now, self.unique())
        newer, self.model.newest = of > self.model.newest, max(self.model.newest, of)
        if found:
            self.model.held[who] = found
        else:
            self.model.line.append(who)
            if newer:  # it may have a greater number: the sweep calls the others
                self.permits.sweep("one", self.now, self.says, self.unique())

    def ends(self, _number: int) -> None:
        """An attempt ends."""
        if self.model.held:
            who = self.random.choice(list(self.model.held))
            grants = self.model.held.pop(who)
            self.permits.give_back(who, grants, self.now, self.unique())

    def sets(self, _number: int) -> None:
        self.model.given = self.random.randrange(7)
        self.permits.give("one", self.model.given, ("anna", "claim"), self.now, self.unique())

    def unsets(self, _number: int) -> None:
        self.model.given = None
        self.permits.give("one", None, ("anna", "claim"), self.now, self.unique())

    def declares(self, _number: int) -> None:
        """The sweep of some deployment."""
        of = self.random.choice(list(DEPLOYED))
        if self.table.get(limit_key("one"), PERMITS) is not None:
            self.permits.declare(Need("one", DEPLOYED[of], of))
            self.model.newest = max(self.model.newest, of)
        self.permits.sweep("one", self.now, self.says, self.unique())

    def says(self, who: Holder, grant: Grant | None) -> tuple[Need, ...] | None:
        """What a holder's log says: who was called comes at once."""
        return None if grant is not None or who in self.model.held else (Need("one", 1, 0),)

    def look(self, before: set[Holder]) -> None:
        """Compare."""
        usage = self.permits.usage("one")
        held = {permit.holder: (permit.grant,) for permit in usage.permits}
        called = [who for who in self.model.line if who in held]
        self.model.line = [who for who in self.model.line if who not in held]
        self.model.held |= {who: held[who] for who in called}
        item = self.table.get(limit_key("one"), PERMITS) or {}
        self.check("holders lost their permits", self.model.held == held)
        self.check("the line", self.model.line == list(usage.line))
        self.check("the number", not item or usage.number in {self.model.number, None})
        self.check("an operator's number", self.model.given == usage.given)
        self.check("an operator's number expires", self.model.given is None or EXPIRES not in item)
        granted = set(held) - before
        self.check("more than the number were let in", not granted or len(held) <= self.model.number)
        highest = max((grant.slot for (grant,) in held.values()), default=-1)
        full = len(held) >= self.model.number or highest >= self.model.number
        self.check("someone stands in line who could be called", full or not usage.line)

    def check(self, what: str, holds: bool) -> None:
        if not holds:
            raise Wrong(what)


def wrong(runs: int = RUNS) -> str | None:
    """What is found to be wrong."""
    for seed in range(runs):
        try:
            History(seed).run()
        except (Wrong, StoreUnavailable) as found:
            return f"{seed}: {found}"
    return None


def test_an_operators_number_and_the_newest_deployments_count() -> None:
    """Rules F.8 and F.10."""
    assert wrong() is None


Patch = pytest.MonkeyPatch


def forgets_an_operators_number(patch: Patch) -> None:
    """What a deployment declares takes the place of it."""
    declared = numbers.declared

    def all_of_it(*given: Any) -> dict[str, Any]:
        return {**found, "set": None} if (found := declared(*given)) else found

    patch.setattr(numbers, "declared", all_of_it)


def lets_an_older_declaration_win(patch: Patch) -> None:
    patch.setattr(numbers, "is_newest", lambda *_: True)


def takes_by_its_own_number(patch: Patch) -> None:
    """Whatever the item says."""
    patch.setattr(permits, "number_of", lambda _item, need: need.number)


def takes_on_no_condition(patch: Patch) -> None:
    """The number may have been set since it was read, or never was read."""
    patch.setattr(permits, "stands", lambda *_: Condition())


def lets_an_operators_number_expire(patch: Patch) -> None:
    patch.setattr(numbers, "kept", lambda _item, now: {EXPIRES: now // 1000})


def calls_no_one_when_the_number_is_raised(patch: Patch) -> None:
    give = Permits.give

    def only(self: Permits, *given: Any) -> list[str]:
        patch.setattr(Permits, "_fill", lambda *_: [])
        try:
            return give(self, *given)
        finally:
            patch.undo()
            calls_no_one_when_the_number_is_raised(patch)

    patch.setattr(Permits, "give", only)


def takes_from_holders_when_the_number_is_lowered(patch: Patch) -> None:
    give = Permits.give

    def frees(self: Permits, limit: str, number: int | None, *rest: Any) -> list[str]:
        woken = give(self, limit, number, *rest)
        for permit in self.usage(limit).permits[number:] if number is not None else ():
            self.table.update(limit_key(limit), PERMITS, permits._freed(permit.grant.slot), Condition())  # noqa: SLF001 - made wrong on purpose
        return woken

    patch.setattr(Permits, "give", frees)


BUGS: Final = (
    forgets_an_operators_number,
    lets_an_older_declaration_win,
    takes_by_its_own_number,
    takes_on_no_condition,
    lets_an_operators_number_expire,
    calls_no_one_when_the_number_is_raised,
    takes_from_holders_when_the_number_is_lowered,
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_bug_in_numbers_is_found(bug: Callable[[Patch], None], monkeypatch: Patch) -> None:
    bug(monkeypatch)
    assert wrong() is not None
