"""Limits of more permits than one item has: shards, which promise "at most n" and progress, not order (F.6).

Each shard is a limit of its own, as ``hephaestus.store.permits`` keeps it: its permits, its line. Who needs a permit
takes one of any shard, its own first, which follows from its name; who finds none stands in its own shard's line. So
that no permit is free while someone stands in another shard's line:

* Who gives a permit back that no one in its own shard waits for looks at the lines of some others.
* Who has joined a line looks once more at the permits of some others: one of the two sees the other.
* The sweep of a shard with a line looks at all others.

Who is granted a permit of another shard leaves its own line in the same transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zlib import crc32

from hephaestus.engine.records import Grant, Need
from hephaestus.engine.shards import MOST, is_shard, limit_of, place_of_shard, shard_of, shards_of, share_of, stored_as
from hephaestus.store.numbers import LISTED_AS, known_number, number_of
from hephaestus.store.permits import (
    FIRST,
    GRACE_MS,
    Permits,
    Usage,
    contended,
    first_in,
    free_slot,
    needs_of,
    since_of,
    slot_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hephaestus.store.permits import Holder, Stands
    from hephaestus.store.table import Change, Item

LOOKS: Final = 4  # other shards that who gives back, or has joined a line, looks at
TRIES: Final = 20


class ShardedPermits(Permits):
    """The permits and lines of all limits of a table, those of many permits included."""

    # --- Taking -------------------------------------------------------------------------------------------------------

    def take(self, holder: Holder, needs: Sequence[Need], now: int) -> tuple[Grant, ...] | str:
        """As of ``Permits``: of any shard, the holder's own first."""
        if not any(map(_is_sharded, needs)):
            return super().take(holder, needs, now)
        left = {need.limit: list(_shards(holder, need)) for need in needs}
        while True:
            tried = [left[need.limit][0] for need in needs]
            found = super().take(holder, tried, now)
            if not isinstance(found, str):
                return found
            full = next(need for need, one in zip(needs, tried, strict=True) if one.limit == found)
            shards = left[full.limit]
            del shards[0]
            while shards and not self._has_for(holder, shards[0]):
                del shards[0]
            if not shards:
                return full.limit

    def _has_for(self, holder: Holder, shard: Need) -> bool:
        item = self._read(shard.limit)
        return slot_of(item, holder) is not None or free_slot(item, number_of(item, shard)) is not None

    def stand(self, holder: Holder, needs: Sequence[Need], now: int, unique: str) -> tuple[Grant, ...]:
        """As of ``Permits``: in the line of its own shard."""
        if not any(map(_is_sharded, needs)):
            return super().stand(holder, needs, now, unique)
        for number in range(TRIES):
            if (found := self.find(holder, needs)) is not None:
                return found
            taken = self.take(holder, needs, now)
            if not isinstance(taken, str):
                return taken
            own = _own(holder, needs)
            if found := super().stand(holder, own, now, f"{unique}.{number}"):
                return found
            for need in own:
                if self._take_elsewhere(holder, need, now, f"{unique}.{number}"):
                    return self.find(holder, needs) or ()
            return ()
        raise contended(needs[0].limit)

    def _take_elsewhere(self, holder: Holder, need: Need, now: int, unique: str) -> bool:
        """Have who stands in a shard's line, as the first, take a permit of another that was given back meanwhile."""
        others = list(_others(need.limit))[:LOOKS]
        return any(self._hand_over(other, need.limit, now, unique, only=holder) for other in others)

    def find(self, holder: Holder, needs: Sequence[Need]) -> tuple[Grant, ...] | None:
        """As of ``Permits``: also what was granted of other shards."""
        found = super().find(holder, _own(holder, needs))
        if found is not None or not any(map(_is_sharded, needs)):
            return found
        grants = []
        for need in needs:
            grant = next(self._granted_of(holder, _shards(holder, need)), None)
            if grant is None:
                return None
            grants.append(grant)
        return tuple(grants)

    def _granted_of(self, holder: Holder, shards: Iterator[Need]) -> Iterator[Grant]:
        for shard in shards:
            item = self._read(shard.limit)
            if item is not None and (slot := slot_of(item, holder)) is not None:
                yield Grant(shard.limit, slot, since_of(item, slot))

    # --- Giving back --------------------------------------------------------------------------------------------------

    def give_back(
        self, holder: Holder, grants: Sequence[Grant], now: int, unique: str, *, unconfirmed: bool = False
    ) -> list[str]:
        """As of ``Permits``: where no one waits for a shard, to the first in the line of another."""
        woken: list[str] = []
        for grant in grants:
            found = super().give_back(holder, [grant], now, unique, unconfirmed=unconfirmed)
            if not found and is_shard(grant.limit) and place_of_shard(grant.limit)[1]:
                for other in list(_others(grant.limit))[:LOOKS]:
                    if found := self._hand_over(grant.limit, other, now, unique):
                        break
            woken += found
        return woken

    def leave(self, holder: Holder, needs: Sequence[Need], now: int, unique: str, *, called: bool = True) -> list[str]:
        """As of ``Permits``: also what was granted of other shards is given back."""
        woken = super().leave(holder, _own(holder, needs), now, unique, called=called)
        for need in needs if called else ():
            if _is_sharded(need):
                grants = list(self._granted_of(holder, _shards(holder, need)))
                woken += self.give_back(holder, grants, now, unique)
        return woken

    def _hand_over(self, shard: str, to: str, now: int, unique: str, *, only: Holder | None = None) -> list[str]:
        """Hand a free permit of ``shard``, for which no one waits, to the first in the line of another.

        Returns:
            Who is to be woken.
        """
        place, number = place_of_shard(shard)
        for again in range(TRIES):
            item, theirs = self._read(shard), self._read(to)
            known = known_number(item)
            slot = free_slot(item, share_of(number, place) if known is None else known)
            if slot is None or theirs is None or "line" not in theirs or not (line := self._line(to, 2)):
                return []
            first = first_in(line)
            if only is not None and first.place != only.place:
                return []
            changes, goes = self._handing_over((shard, slot, item), theirs, line, now, f"{unique}:{again}")
            if changes and self.table.change_all(changes) and goes:
                return [first.instance_id]
        return []

    def _handing_over(
        self,
        free: tuple[str, int, Item | None],
        theirs: Item,
        line: Sequence[Item],
        now: int,
        unique: str,
    ) -> tuple[list[Change], bool]:
        """The writes, and whether the first in line has all that it needs by them.

        Where another limit is full, it goes to the line of that one.
        """
        first, needs, (shard, slot, known) = first_in(line), needs_of(line[0]), free
        place, number = place_of_shard(shard)
        leaving = self._leaving(theirs, first, line, unique)
        taken = Need(shard, share_of(number, place), max(need.of for need in needs))
        changes = [*leaving, self._taking(first, taken, slot, now, known)]
        for need in needs:
            item = self._read(need.limit)
            if limit_of(need.limit) == limit_of(shard) or slot_of(item, first) is not None:
                continue
            if (other := free_slot(item, number_of(item, need))) is None:
                moving = self._moving(first, needs, need, now, unique)
                return ([*leaving, *moving] if moving else []), False
            changes.append(self._taking(first, need, other, now, item))
        return changes, True

    # --- The sweep ----------------------------------------------------------------------------------------------------

    def sweep(self, limit: str, now: int, stands: Stands, unique: str) -> list[str]:
        """As of ``Permits``; of a shard with a line, free permits of all others are granted to it."""
        woken = super().sweep(limit, now, stands, unique)
        line = self._line(limit, 1) if is_shard(limit) else ()
        own = next((need for need in needs_of(line[0]) if stored_as(need.limit) == limit), None) if line else None
        if own is None:
            return woken
        others = list(_others(own.limit))
        turn = now // GRACE_MS * LOOKS % max(len(others), 1)
        for number, other in enumerate((*others[turn:], *others[:turn])):
            if number < LOOKS:
                woken += self._free_of(other, now, stands, f"{unique}/{number}")
            for again in range(MOST):
                if not (found := self._hand_over(other, own.limit, now, f"{unique}/{number}.{again}")):
                    break
                woken += found
        return woken

    def _free_of(self, shard: str, now: int, stands: Stands, unique: str) -> list[str]:
        """Free what no one holds of another shard, which may have no line, and so no sweep."""
        woken: list[str] = []
        for number, (holder, grant, confirmed) in enumerate(super().usage(shard, 1).permits):
            if now - grant.at >= GRACE_MS and stands(holder, grant) == ():
                woken += self.give_back(holder, [grant], now, f"{unique}.{number}", unconfirmed=not confirmed)
        return woken

    def _put_back(self, holder: Holder, grant: Grant, needs: Sequence[Need], now: int, unique: str) -> list[str]:
        """As of ``Permits``: in the line of its own shard, whichever the permit was of."""
        own = _own(holder, needs)
        home = next((need for need in own if limit_of(need.limit) == limit_of(grant.limit)), None)
        if home is None or stored_as(home.limit) == stored_as(grant.limit):
            return super()._put_back(holder, grant, own, now, unique)
        item = self._read(grant.limit)
        if item is None or "line" not in item or slot_of(item, holder) != grant.slot:
            return []
        changes, woken = self._handing(item, grant, self._line(grant.limit, 2), now, unique, ())
        joining = self._joining(holder, own, home, now, unique) if woken else None
        return [woken] if joining and self.table.change_all([*changes, *joining]) else []

    # --- Looking at ---------------------------------------------------------------------------------------------------

    def usage(self, limit: str, most: int | None = None, number: int = 0) -> Usage:
        """As of ``Permits``; of a limit of ``number`` permits, that of all its shards."""
        number = number or self._total(limit)
        if number <= MOST:
            return super().usage(limit, most)
        names = [shard_of(limit, number, shard) for shard in range(shards_of(number))]
        shards = [super(ShardedPermits, self).usage(name, most) for name in names]
        places = [place for one in shards for place in zip(one.line, one.since, strict=True)]
        places = sorted(places, key=lambda place: place[0].order)[:most]
        given = [one.given for one in shards if one.given is not None]
        known = [share_of(number, at) if one.number is None else one.number for at, one in enumerate(shards)]
        return shards[0]._replace(
            limit=limit,
            permits=tuple(permit for one in shards for permit in one.permits),
            line=tuple(who for who, _ in places),
            since=tuple(since for _, since in places),
            number=sum(known),
            given=sum(given) if given else None,
            declared=number,
        )

    def known(self, first: str, most: int, of: str | None = None, kind: str = LISTED_AS) -> list[str]:
        """As of ``Permits``: each limit once, however many shards it has."""
        found = list(dict.fromkeys(super().known(first, most, of, kind)))
        while found and len(found) < most:  # a page of shards of few limits
            more = [name for name in super().known(f"{found[-1]}{FIRST}", most, of, kind) if name not in found]
            if not more:
                break
            found += dict.fromkeys(more)
        return found[:most]

    # --- Numbers ------------------------------------------------------------------------------------------------------

    def give(  # noqa: PLR0913 - a number, who gives it, and of how many
        self, limit: str, number: int | None, by: tuple[str, str], now: int, unique: str, *, declared: int = 0
    ) -> list[str]:
        """As of ``Permits``: each shard is given its share, of as many as the shards have room for.

        ``declared`` is how many permits the code says; it counts where the limit was not used yet.
        """
        total, woken = self._total(limit) or declared, list[str]()
        if total <= MOST:
            return super().give(limit, number, by, now, unique)
        for shard in range(shards_of(total)):
            share = None if number is None else share_of(number, shard)
            woken += super().give(shard_of(limit, total, shard), share, by, now, f"{unique}.{shard}")
        return woken

    def declare(self, need: Need) -> None:
        """As of ``Permits``, of each shard."""
        for shard in range(shards_of(need.number)) if _is_sharded(need) else ():
            super().declare(Need(shard_of(need.limit, need.number, shard), share_of(need.number, shard), need.of))
        if not _is_sharded(need):
            super().declare(need)

    def _total(self, limit: str) -> int:
        """How many permits a limit has that is in shards and was used; 0 for others."""
        item = None if is_shard(limit) else self._read(shard_of(limit, 0, 0))
        total = None if item is None else item.get("total")
        return total if isinstance(total, int) else 0


def _is_sharded(need: Need) -> bool:
    return need.number > MOST


def _shards(holder: Holder, need: Need) -> Iterator[Need]:
    """The shards of a limit, the holder's own first; of one that has none, the limit."""
    if not _is_sharded(need):
        yield need
        return
    count = shards_of(need.number)
    own = crc32(f"{holder.life} {holder.activation} {holder.instance_id}".encode()) % count
    for shard in ((own + step) % count for step in range(count)):
        yield Need(shard_of(need.limit, need.number, shard), share_of(need.number, shard), need.of)


def _own(holder: Holder, needs: Sequence[Need]) -> list[Need]:
    """The holder's own shard of each limit: in its line it stands."""
    return [next(_shards(holder, need)) for need in needs]


def _others(shard: str) -> Iterator[str]:
    """The other shards of the same limit, in order from it on."""
    if is_shard(shard):
        place, number = place_of_shard(shard)
        count = shards_of(number)
        for step in range(1, count):
            yield shard_of(limit_of(shard), number, (place + step) % count)
