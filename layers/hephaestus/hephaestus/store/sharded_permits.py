"""Limits of more permits than one item has: shards, which promise "at most n" and progress, not order (F.6).

Each shard is a limit of its own, as ``hephaestus.store.permits`` keeps it: its permits, its line. The first shard is
the limit's own item, which any limit has; so a number may come to need shards, and cease to. Who needs a permit takes
one of any shard, its own first, which follows from its name; who finds none stands in its own shard's line. So that no
permit is free while someone stands in another shard's line:

* Who gives a permit back that no one in its own shard waits for looks at the lines of some others.
* Who has joined a line looks once more at the permits of some others: one of the two sees the other.
* The sweep of a shard with a line looks at all others; a line of one that has no permits any more goes to the first.

Who is granted a permit of another shard leaves its own line in the same transaction.

The number in force stands in the limit's own item. What is granted of another shard is granted by a copy of it, on
condition that the copy is as it was read, and the limit's own item is read before: while the number changes, each
shard has its share of the one or of the other, in all at most as many as the greater has. ``give`` answers once all
copies are made.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final
from zlib import crc32

from hephaestus.engine.records import Grant, Need
from hephaestus.engine.shards import MOST, is_copy, is_shard, limit_of, place_of_shard, shard_of, shards_of, stored_as
from hephaestus.store import numbers
from hephaestus.store.items import FORMAT
from hephaestus.store.numbers import number_of
from hephaestus.store.permits import (
    GRACE_MS,
    PERMITS,
    TRIES,
    Permits,
    contended,
    first_in,
    free_slot,
    limit_key,
    needs_of,
    since_of,
    slot_of,
)
from hephaestus.store.table import Change

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hephaestus.store.permits import Holder, Stands, Usage
    from hephaestus.store.table import Item

LOOKS: Final = 4  # other shards that who gives back, or has joined a line, looks at
MOVED: Final = 100  # places that one sweep moves from the line of a shard without permits


class ShardedPermits(Permits):
    """The permits and lines of all limits of a table, those of many permits included."""

    # --- Numbers ------------------------------------------------------------------------------------------------------

    def _read(self, limit: str) -> Item | None:
        """As of ``Permits``; of a shard with a copy of the limit's numbers, not an older one than there is."""
        if not is_copy(limit):
            return super()._read(limit)
        return self._copy(limit, self._stored(limit_of(limit)))

    def _copy(self, shard: str, own: Item | None) -> Item | None:
        """A shard's item, with the numbers of the limit's own item unless it has newer ones."""
        for _ in range(TRIES):
            item = self._stored(shard)
            changes = {} if own is None else numbers.copied(own, item)
            if not changes:
                return item
            self.table.change_all([Change(limit_key(shard), PERMITS, changes, numbers.as_read(item))])
        raise contended(limit_of(shard))

    def _own_item(self, need: Need, now: int | None) -> Item | None:
        """A limit's own item, which says of how many shards it is, and has what this deployment declares."""
        for _ in range(TRIES):
            item = self._stored(need.limit)
            changes = numbers.spread(item, need)
            if not changes:
                return item
            changes |= numbers.declared(item, need)
            if item is not None and all(item.get(name) == value for name, value in changes.items()):
                return item
            if now is not None:
                changes |= {**numbers.kept(item, now), **numbers.in_list(need.limit, self.shards.listing)}
            changes["format"] = FORMAT
            self.table.change_all([Change(limit_key(need.limit), PERMITS, changes, numbers.as_read(item))])
        raise contended(need.limit)

    def give(  # noqa: PLR0913, PLR0917 - as of ``Permits``
        self, limit: str, number: int | None, by: tuple[str, str], now: int, unique: str, why: str = ""
    ) -> list[str]:
        """As of ``Permits``: once it answers, no shard has another number."""
        woken = super().give(limit, number, by, now, unique, why)
        names = _all_shards(limit, self._stored(limit))
        for name in names[1:]:
            self._read(name)
        for name in names[1:]:
            woken += self._fill(name, now, f"{unique}/{name}")
        return woken + self._level(names, now, unique)

    def declare(self, need: Need) -> None:
        """As of ``Permits``."""
        if self._stored(need.limit) is not None:
            self._own_item(need, None)
        super().declare(need)

    def _level(self, names: Sequence[str], now: int, unique: str) -> list[str]:
        """Grant what is free of some shards to those in the lines of others, the first shard's line first."""
        items = {name: self._stored(name) for name in names if len(names) > 1}
        lines = [name for name, item in items.items() if item is not None and "line" in item]
        woken: list[str] = []
        for name in names if lines else ():
            while lines and (found := self._hand_over(name, lines[0], now, f"{unique}={len(woken)}")) is not None:
                woken += found
                if not found:
                    del lines[0]
        return woken

    # --- Taking -------------------------------------------------------------------------------------------------------

    def take(
        self, holder: Holder, needs: Sequence[Need], now: int, known: dict[str, Item | None] | None = None
    ) -> tuple[Grant, ...] | str:
        """As of ``Permits``: of any shard, the holder's own first."""
        known = {} if known is None else known
        if not any(need.number > MOST for need in needs):
            found = super().take(holder, needs, now, known)
            if not isinstance(found, str) or not any(_is_spread(known.get(need.limit)) for need in needs):
                return found
        for need in needs:
            known[need.limit] = self._own_item(need, now)
        left = {need.limit: list(_shards(holder, need, known[need.limit])) for need in needs}
        items = {need.limit: known[need.limit] for need in needs}
        while True:
            tried = [left[need.limit][0] for need in needs]
            for need, one in zip(needs, tried, strict=True):
                if one.limit not in items:
                    items[one.limit] = self._copied(one.limit, known[need.limit])
            found = super().take(holder, tried, now, items)
            if not isinstance(found, str):
                return found
            full = next(need for need, one in zip(needs, tried, strict=True) if one.limit == found)
            shards = left[full.limit]
            del shards[0]
            while shards and not self._has_for(holder, shards[0], known[full.limit], items):
                del shards[0]
            if not shards:
                return full.limit

    def _copied(self, shard: str, own: Item | None) -> Item | None:
        """A shard's item, by the limit's own item that was read."""
        return self._copy(shard, own) if is_copy(shard) else own

    def _has_for(self, holder: Holder, shard: Need, own: Item | None, items: dict[str, Item | None]) -> bool:
        item = items[shard.limit] = self._copied(shard.limit, own)
        return slot_of(item, holder) is not None or free_slot(item, number_of(item, shard)) is not None

    def stand(self, holder: Holder, needs: Sequence[Need], now: int, unique: str) -> tuple[Grant, ...]:
        """As of ``Permits``: in the line of its own shard."""
        for number in range(TRIES):
            if (found := self.find(holder, needs)) is not None:
                return found
            known: dict[str, Item | None] = {}
            taken = self.take(holder, needs, now, known)
            if not isinstance(taken, str):
                return taken
            own = [_home(holder, need, known.get(need.limit)) for need in needs]
            need = next(need for need in own if limit_of(need.limit) == taken)
            changes = self._joining(holder, own, need, now, f"{unique}.{number}")
            if changes is None or not self.table.change_all(changes):
                continue
            if is_shard(need.limit) and self._take_elsewhere(holder, need, now, f"{unique}.{number}"):
                return self.find(holder, needs) or ()
            return ()
        raise contended(needs[0].limit)

    def _take_elsewhere(self, holder: Holder, need: Need, now: int, unique: str) -> bool:
        """Have who stands in a shard's line, as the first, take a permit of another that was given back meanwhile."""
        others = list(_others(need.limit))[:LOOKS]
        return any(self._hand_over(other, need.limit, now, unique, only=holder) for other in others)

    def find(
        self, holder: Holder, needs: Sequence[Need], known: dict[str, Item | None] | None = None
    ) -> tuple[Grant, ...] | None:
        """As of ``Permits``: also what was granted of other shards, and whether it stands in the line of one."""
        known = {} if known is None else known
        found = super().find(holder, needs, known)
        if found is not None:
            return tuple(replace(grant, limit=_all_shards(grant.limit, known[grant.limit])[0]) for grant in found)
        for need in needs:
            if need.limit not in known:
                known[need.limit] = self._stored(need.limit)
        items = [known[need.limit] for need in needs]
        if not any(map(_is_spread, items)):
            return None
        homes = [_home(holder, need, item) for need, item in zip(needs, items, strict=True)]
        if any(self._stands(holder, home.limit) for home in homes):
            return ()
        found = self._granted(holder, needs, items)
        if found is None and any(map(numbers.is_moved, items)):
            names = [name for need, item in zip(needs, items, strict=True) for name in _all_shards(need.limit, item)]
            return () if any(self._stands(holder, name) for name in names) else self._granted(holder, needs, items)
        return found

    def _stands(self, holder: Holder, limit: str) -> bool:
        return self.table.get(limit_key(limit), holder.place) is not None

    def _granted(self, holder: Holder, needs: Sequence[Need], items: Sequence[Item | None]) -> tuple[Grant, ...] | None:
        grants = []
        for need, item in zip(needs, items, strict=True):
            grant = next(self._granted_of(holder, _all_of(holder, need, item)), None)
            if grant is None:
                return None
            grants.append(grant)
        return tuple(grants)

    def _granted_of(self, holder: Holder, names: Sequence[str]) -> Iterator[Grant]:
        for name in names:
            item = self._stored(name)
            if item is not None and (slot := slot_of(item, holder)) is not None:
                yield Grant(name, slot, since_of(item, slot))

    # --- Giving back --------------------------------------------------------------------------------------------------

    def give_back(
        self, holder: Holder, grants: Sequence[Grant], now: int, unique: str, *, unconfirmed: bool = False
    ) -> list[str]:
        """As of ``Permits``: where no one waits for a shard, to the first in the line of another."""
        woken: list[str] = []
        for grant in grants:
            found = super().give_back(holder, [grant], now, unique, unconfirmed=unconfirmed)
            if not found:
                for other in list(_others(grant.limit))[:LOOKS]:
                    if found := self._hand_over(grant.limit, other, now, unique) or []:
                        break
            woken += found
        return woken

    def _leave(self, holder: Holder, need: Need, now: int, unique: str, *, called: bool) -> list[str] | None:
        """As of ``Permits``: whichever shard's line it is; and what was granted of other shards is given back."""
        found = [super()._leave(holder, need, now, unique, called=called)]
        item = None if is_copy(need.limit) else self._stored(need.limit)
        if _is_spread(item):
            home, names = _home(holder, need, item), _all_of(holder, need, item)
            for name in names if numbers.is_moved(item) else (home.limit,):
                if is_copy(name) and self._stands(holder, name):
                    there = Need(name, need.number, need.of)
                    found.append(super()._leave(holder, there, now, unique, called=called))
            if called and (grants := list(self._granted_of(holder, names))):
                found.append(self.give_back(holder, grants, now, unique))
        had = [each for each in found if each is not None]
        return [one for each in had for one in each] if had else None

    def _hand_over(self, shard: str, to: str, now: int, unique: str, *, only: Holder | None = None) -> list[str] | None:
        """Hand a free permit of ``shard``, for which no one waits, to the first in the line of another.

        Returns:
            Who is to be woken: none where no one waits there; ``None`` where no permit is free.
        """
        for again in range(TRIES):
            theirs = self._stored(to)  # first: mostly no one waits there, and nothing else is read
            if theirs is None or "line" not in theirs or not (line := self._line(to, 2)):
                return []
            item = self._read(shard)
            if free_slot(item, numbers.known_share(item, shard)) is None:
                return None
            first = first_in(line)
            if only is not None and first.place != only.place:
                return []
            own = next(need for need in needs_of(line[0]) if limit_of(need.limit) == limit_of(shard))
            slot = free_slot(item, number_of(item, Need(shard, own.number, own.of)))
            if slot is None:
                return None
            changes, goes = self._handing_over(shard, slot, item, theirs, line, now, f"{unique}:{again}")
            if changes and self.table.change_all(changes) and goes:
                return [first.instance_id]
        return []

    def _handing_over(  # noqa: PLR0913, PLR0917 - a permit, and a place in a line
        self,
        shard: str,
        slot: int,
        known: Item | None,
        theirs: Item,
        line: Sequence[Item],
        now: int,
        unique: str,
    ) -> tuple[list[Change], bool]:
        """The writes, and whether the first in line has all that it needs by them.

        Where another limit is full, it goes to the line of that one.
        """
        first, needs = first_in(line), needs_of(line[0])
        own = next(need for need in needs if limit_of(need.limit) == limit_of(shard))
        leaving = self._leaving(theirs, first, line, unique)
        changes = [*leaving, self._taking(first, Need(shard, own.number, own.of), slot, now, known)]
        for need in needs:
            item = None if need is own else self._read(need.limit)
            if need is own or slot_of(item, first) is not None:
                continue
            if (other := free_slot(item, number_of(item, need))) is None:
                moving = self._moving(first, needs, need, now, unique, item)
                return ([*leaving, *moving] if moving else []), False
            changes.append(self._taking(first, need, other, now, item))
        return changes, True

    # --- The sweep ----------------------------------------------------------------------------------------------------

    def sweep(self, limit: str, now: int, stands: Stands, unique: str) -> list[str]:
        """As of ``Permits``; of a shard with a line, free permits of all others are granted to it."""
        woken = super().sweep(limit, now, stands, unique)
        own = self._stored(limit_of(limit))
        if not _is_spread(own):
            return woken
        names = _all_shards(limit_of(limit), own)
        here = place_of_shard(limit)[0]
        if is_copy(limit) and not numbers.known_share(own, limit):
            woken += self._close(limit, now, unique)
        if not self._line(limit, 1):
            return woken
        others = [*names[here + 1 :], *names[:here]]
        turn = now // GRACE_MS * LOOKS % max(len(others), 1)
        for number, other in enumerate((*others[turn:], *others[:turn])):
            if number < LOOKS:
                woken += self._free_of(other, now, stands, f"{unique}/{number}")
            for again in range(MOST):
                if not (found := self._hand_over(other, limit, now, f"{unique}/{number}.{again}")):
                    break
                woken += found
        return woken

    def _close(self, shard: str, now: int, unique: str) -> list[str]:
        """Have those in the line of a shard without permits stand in the first shard's, or have what is free there."""
        woken: list[str] = []
        for number in range(MOVED):
            item, line = self._read(shard), self._line(shard, 2)
            if item is None or not line:
                break
            first, texts = first_in(line), needs_of(line[0])
            needs = [
                Need(limit_of(shard), need.number, need.of) if limit_of(need.limit) == limit_of(shard) else need
                for need in texts
            ]
            to = next(need for need in needs if need.limit == limit_of(shard))
            if slot_of(self._stored(to.limit), first) is not None:  # called already
                self.table.change_all(self._leaving(item, first, line, f"{unique}>{number}"))
                continue
            moving = self._moving(first, needs, to, now, f"{unique}>{number}")
            if moving:
                self.table.change_all([*self._leaving(item, first, line, f"{unique}>{number}"), *moving])
            else:
                woken += self._hand_over(to.limit, shard, now, f"{unique}>{number}") or []
        return woken

    def _free_of(self, shard: str, now: int, stands: Stands, unique: str) -> list[str]:
        """Free what no one holds of another shard, which may have no line, and so no sweep."""
        woken: list[str] = []
        for number, (holder, grant, confirmed) in enumerate(self._usage(shard, 1, self._stored(shard)).permits):
            if now - grant.at >= GRACE_MS and stands(holder, grant) == ():
                woken += self.give_back(holder, [grant], now, f"{unique}.{number}", unconfirmed=not confirmed)
        return woken

    def _put_back(  # noqa: PLR0913, PLR0917 - as of Permits
        self, holder: Holder, grant: Grant, needs: Sequence[Need], now: int, unique: str, missing: tuple[str, ...]
    ) -> list[str]:
        """As of ``Permits``: in the line of its own shard, whichever the permit was of."""
        own = [_home(holder, need, self._stored(need.limit)) for need in needs]
        home = next((need for need in own if limit_of(need.limit) == limit_of(grant.limit)), None)
        if home is None or stored_as(home.limit) == stored_as(grant.limit):
            return super()._put_back(holder, grant, own, now, unique, missing)
        item = self._read(grant.limit)
        if item is None or "line" not in item or slot_of(item, holder) != grant.slot:
            return []
        changes, woken = self._handing(item, grant, self._line(grant.limit, 2), now, unique, missing)
        joining = self._joining(holder, own, home, now, unique) if woken else None
        return [woken] if joining and self.table.change_all([*changes, *joining]) else []

    # --- Looking at ---------------------------------------------------------------------------------------------------

    def usage(self, limit: str, most: int | None = None) -> Usage:
        """As of ``Permits``; of a limit in shards, that of all of them. A shard's name gives that of the shard."""
        item = self._stored(limit)
        found = self._usage(limit, most, item)
        if is_shard(limit) or not _is_spread(item):
            return found
        others = [self._usage(name, most, self._stored(name)) for name in _all_shards(limit, item)[1:]]
        all_of = [found, *others]
        line = sorted(
            (place for one in all_of for place in zip(one.line, one.since, strict=True)), key=lambda who: who[0].order
        )
        return found._replace(
            permits=tuple(permit for one in all_of for permit in one.permits),
            line=tuple(who for who, _ in line[:most]),
            since=tuple(at for _, at in line[:most]),
        )


def _is_spread(item: Item | None) -> bool:
    """Whether a limit has, or had, more shards than its own item."""
    return numbers.shards_there(item) > 1


def _count(item: Item | None, need: Need) -> int:
    """Of how many shards permits are taken."""
    return shards_of(numbers.in_force(item, need))


def _first(holder: Holder, count: int) -> int:
    return crc32(f"{holder.life} {holder.activation} {holder.instance_id}".encode()) % count


def _home(holder: Holder, need: Need, item: Item | None) -> Need:
    """The holder's own shard of a limit: in its line it stands."""
    return next(_shards(holder, need, item))


def _shards(holder: Holder, need: Need, item: Item | None) -> Iterator[Need]:
    """The shards of a limit, the holder's own first; of one that has none, the limit."""
    number, count = numbers.in_force(item, need), _count(item, need)
    if count <= 1:
        yield need
        return
    own = _first(holder, count)
    for shard in ((own + step) % count for step in range(count)):
        yield Need(shard_of(need.limit, number, shard), need.number, need.of)


def _all_shards(limit: str, item: Item | None) -> list[str]:
    """The names of all shards that a limit has, or ever had, in their order."""
    number = numbers.known_number(item) or 0
    count = numbers.shards_there(item)
    return [shard_of(limit, number, shard) for shard in range(count)] if count > 1 else [limit]


def _all_of(holder: Holder, need: Need, item: Item | None) -> list[str]:
    """The same, the holder's own first."""
    names = _all_shards(need.limit, item)
    own = place_of_shard(_home(holder, need, item).limit)[0]
    return [*names[own:], *names[:own]]


def _others(shard: str) -> Iterator[str]:
    """The other shards of the same limit, as it was named: the first one, then in order from it on."""
    place, number = place_of_shard(shard)
    count = shards_of(number)
    others = [(place + step) % count for step in range(1, count)]
    for other in sorted(others, key=bool):
        yield shard_of(limit_of(shard), number, other)
