"""What must hold of the numbers of limits: an operator's counts, and no more are let in than it says (F.8).

What operators have asked for is noted apart from what is stored.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from hephaestus.engine.shards import MOST, is_copy, limit_of, place_of_shard, share_of
from hephaestus.simulation.violation import require
from hephaestus.store.items import whole
from hephaestus.store.numbers import known_number, operators
from hephaestus.store.permits import PERMITS, limit_key

if TYPE_CHECKING:
    from hephaestus.simulation.ledger import Ledger
    from hephaestus.store.table import Item

RULE: Final = "F.8"


class Numberings:
    """The numbers of the limits of a run.

    Attributes:
        asked: by limit, the numbers that operators have asked for; ``None`` for that of the code.
        given: by limit, the operator's number that is stored.
        most: by limit, the greatest number that was in force since no one had a permit.
        changed_at: when one was changed last (ms).
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.asked: defaultdict[str, set[int | None]] = defaultdict(set)
        self.given: dict[str, int] = {}
        self.most: dict[str, int] = {}
        self.changed_at = 0

    def number(self, limit: str, declared: int) -> int:
        """How many permits a limit has that the code says to have ``declared``."""
        return self.given.get(limit, declared)

    def bound(self, limit: str, declared: int) -> int:
        """How many may be at work at once: none is sent away by a smaller number."""
        return max(self.most.get(limit, declared), self.number(limit, declared))

    def changes(self, stored: str, before: Item, after: Item) -> None:
        """The item of a limit, or of a shard of one, was written."""
        if not is_copy(stored):
            self._counts(stored, before, after)
        held, had = ({slot for slot in range(MOST) if f"s{slot}" in item} for item in (after, before))
        own = after if not is_copy(stored) else self._item(limit_of(stored))
        numbers = [known_number(item) or 0 for item in (own, after)]
        if not held <= had:
            most = max(share_of(number, place_of_shard(stored)[0]) for number in numbers)
            require(len(held) <= most, RULE, f"{len(held)} permits of {stored} are held, and it has {most}")

    def _counts(self, limit: str, before: Item, after: Item) -> None:
        """An operator's number is that which one has asked for, and no one else changes it."""
        old, new = operators(before), operators(after)
        sets = whole(before, "sets"), whole(after, "sets")
        by_one = sets[1] == sets[0] + 1 and new in self.asked[limit]
        require(old == new or by_one, RULE, f"the number {old} of {limit} is now {new}, and no operator said so")
        if sets[0] != sets[1]:
            self.changed_at = self.ledger.world.now
        if new is None:
            self.given.pop(limit, None)
        else:
            self.given[limit] = new
        number, held = known_number(after) or 0, any(f"s{slot}" in after for slot in range(MOST))
        kept = held or whole(after, "most") > MOST
        self.most[limit] = max(self.most.get(limit, 0), number) if kept else number

    def stopped(self) -> str | None:
        """A limit that an operator has set to 0, if there is one: what names it waits for ever."""
        return next((limit for limit, number in self.given.items() if not number), None)

    def _item(self, limit: str) -> Item:
        return self.ledger.store.table.get(limit_key(limit), PERMITS) or {}
