"""Limits: who holds a permit of one, and the line of those who wait for one. The rules are F.1 to F.6 in the docs.

A limit is a partition of its own, which no instance has. Its item ``permits`` has the permits, each by its holder's
name and the time that it was granted at; each place in its line is an item, in the order of joining.

* A permit is taken by one conditional update: its place is free, and no one stands in line.
* Joining the line is one transaction: the limit is full, or has a line; and the place in the line.
* Giving back hands the permit to the first in line, in its name: one transaction, which removes the place.
* So a limit with a line has no free permit, and one without a line has the mark ``line`` no more.

``joined`` is another text after each joining, ``left`` after each leaving: who empties a line is sure that it saw all
of it. A permit that was granted and that its holder's log does not name is freed by the sweep after ``GRACE_MS``.

How many permits there are, ``hephaestus.store.numbers`` says; what is of more permits than one item has,
``hephaestus.store.sharded_permits``. A smaller number takes none from who holds one.

The item has an alarm from the first joining on, until a sweep finds no line, and each permit named by its holder's log:
so who was called is woken, whatever became of the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from zlib import crc32

from hephaestus.engine.records import Grant, Need
from hephaestus.engine.shards import MOST, is_copy, stored_as
from hephaestus.errors import StoreUnavailable
from hephaestus.store import numbers
from hephaestus.store.items import FORMAT, LISTING, as_read, check_format, list_key, whole
from hephaestus.store.keys import end_of
from hephaestus.store.numbers import number_of, stands, together
from hephaestus.store.table import ABSENT, PRESENT, Change, Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hephaestus.store.heads import Shards
    from hephaestus.store.table import Item, Table, Value

Stands: TypeAlias = "Callable[[Holder, Grant | None], Sequence[Need] | None]"

LIMIT: Final = "limit#"
PERMITS: Final = "permits"
LINE: Final = "line#"
GRACE_MS: Final = 60_000
TRIES: Final = 50
MOVES: Final = 1_000  # to the lines of other limits, until one of those in line can have a permit that is free
FIRST: Final = " "  # sorts before every name
LAST: Final = "\U0010ffff"  # sorts after every name
LOOKED_AT: Final = 10  # places in a line, by one sweep
_SLOTS: Final = tuple(f"s{number}" for number in range(MOST))
_NO_LINE: Final[Mapping[str, None]] = dict.fromkeys(("line", "joined", "left"))


class Holder(NamedTuple):
    """Who holds a permit, or stands in line for it: an attempt of an instance.

    Attributes:
        instance_id, life, activation, attempt: the attempt.
        order: where it stands, or stood, in line (ms); 0 where it was never in one.
        owner: of one that was never in a line, who took it: of two that claim the instance at once, one gives back.
    """

    instance_id: str
    life: str
    activation: str
    attempt: int
    order: int = 0
    owner: str = ""

    @property
    def name(self) -> str:
        """Its name, which no other has."""
        return f"{self.life} {self.attempt} {self.order}/{self.owner} {self.activation} {self.instance_id}"

    @property
    def place(self) -> str:
        """The sort key of its place in a line."""
        return f"{LINE}{self.order:015d}#{self.life}#{self.attempt}#{self.activation}"


def holder_of(name: str) -> Holder:
    """The holder that has this name."""
    life, attempt, by, activation, instance_id = name.split(" ", 4)
    order, _, owner = by.partition("/")
    return Holder(instance_id, life, activation, int(attempt), int(order), owner)


class Permit(NamedTuple):
    """A permit that is held: whose it is, which one, since when (ms), and whether it was confirmed, see ``confirm``."""

    holder: Holder
    grant: Grant
    confirmed: bool = False


class Usage(NamedTuple):
    """What is known of a limit.

    Attributes:
        limit: its name.
        permits: those that are held.
        line: who stands in line, the first one first.
        since: when each of them joined (ms).
        number: how many permits it has; ``None`` where that is not known.
        given: that number, where it is an operator's.
        declared: the number that the newest deployment has declared, if any.
        by, by_source: who has set a number last, or taken it back, and how that is known.
        at: when (ms); 0 for never.
        why: the reason.
    """

    limit: str
    permits: tuple[Permit, ...]
    line: tuple[Holder, ...]
    since: tuple[int, ...] = ()
    number: int | None = None
    given: int | None = None
    declared: int | None = None
    by: str = ""
    by_source: str = ""
    at: int = 0
    why: str = ""

    @property
    def is_known(self) -> bool:
        """Whether it was used, or an operator has set its number."""
        return self.number is not None or bool(self.permits or self.line)


def limit_key(limit: str) -> str:
    """The partition of a limit, or of a shard of one."""
    return f"{LIMIT}{stored_as(limit)}"


def is_limit(key: str) -> bool:
    """Whether the partition ``key`` is a limit's, and not an instance's."""
    return key.startswith(LIMIT)


class Permits:
    """The permits and lines of all limits of a table.

    Args:
        table: the table.
        shards: of its indexes.

    Attributes:
        deployment: the number of the deployment whose code runs here.
    """

    def __init__(self, table: Table, shards: Shards) -> None:
        self.table = table
        self.shards = shards
        self.deployment = 0

    # --- Taking -------------------------------------------------------------------------------------------------------

    def take(
        self, holder: Holder, needs: Sequence[Need], now: int, known: dict[str, Item | None] | None = None
    ) -> tuple[Grant, ...] | str:
        """Take a permit of each limit, or none.

        Args:
            holder: who takes them. Whose answer was lost takes no second permit of an item that is read here, and
                may take one of an item that is not: so each claim of an instance has a name of its own.
            needs: the limits.
            now: the time, in ms.
            known: their items, as far as they were read; what is read here is added.

        Returns:
            What was taken, or the name of a limit that has none left.

        Raises:
            StoreUnavailable: others change the same limits all the time.
        """
        first = crc32(holder.name.encode())
        known = {} if known is None else known
        for need in needs:
            if need.limit not in known:
                unread = need.number and not is_copy(need.limit)
                known[need.limit] = None if unread else self._read(need.limit)
        places = {}
        for need in needs:
            own = slot_of(known[need.limit], holder)
            places[need.limit] = own if own is not None else first % (number_of(known[need.limit], need) or 1)
        for _ in range(TRIES):
            if none := next((need.limit for need in needs if not number_of(known[need.limit], need)), None):
                return none
            changes = {
                need.limit: self._taking(holder, need, places[need.limit], now, known[need.limit]) for need in needs
            }
            if self.table.change_all(list(changes.values())):
                return tuple(_granted(limit, places[limit], change) for limit, change in changes.items())
            for need in needs:
                item = known[need.limit] = self._read(need.limit)
                own = slot_of(item, holder)
                free = own if own is not None else free_slot(item, number_of(item, need))
                if free is None:
                    return need.limit
                places[need.limit] = free
        raise contended(needs[0].limit)

    def _taking(self, holder: Holder, need: Need, slot: int, now: int, known: Item | None) -> Change:
        """The write that takes a permit; one that is the holder's already stays as it is."""
        name, since = _SLOTS[slot], f"g{slot}"
        changes: dict[str, Value | None] = {name: holder.name, since: now, "format": FORMAT}
        changes |= numbers.kept(known, now) | numbers.in_list(need.limit, self.shards.listing)
        if known is not None and known.get(name) == holder.name:  # the answer to an earlier try was lost
            changes[since] = since_of(known, slot)
            own: dict[str, Value] = {name: holder.name, since: since_of(known, slot)}
            condition = Condition(equal=own)
        else:
            free = together(Condition(missing=("line",)), _room(known, name, number_of(known, need)))
            condition = together(free, stands(known, need))
            changes |= numbers.declared(known, need)
        return Change(limit_key(need.limit), PERMITS, changes, condition)

    def stand(self, holder: Holder, needs: Sequence[Need], now: int, unique: str) -> tuple[Grant, ...]:
        """Take a permit of each limit, or stand in the line of one of them; doing it again changes nothing.

        Args:
            holder: whose place it is, by its ``order``.
            needs: the limits.
            now: the time, in ms.
            unique: a text that no other call has.

        Returns:
            What was taken, or nothing: then it stands in a line.
        """
        for _ in range(TRIES):
            if (found := self.find(holder, needs)) is not None:
                return found
            taken = self.take(holder, needs, now)
            if not isinstance(taken, str):
                return taken
            need = next(need for need in needs if need.limit == taken)
            changes = self._joining(holder, needs, need, now, unique)
            if changes is not None and self.table.change_all(changes):
                return ()
        raise contended(needs[0].limit)

    def find(
        self, holder: Holder, needs: Sequence[Need], known: dict[str, Item | None] | None = None
    ) -> tuple[Grant, ...] | None:
        """What a holder has been granted, of all limits that it needs; nothing while it stands in a line.

        Args:
            holder: who asks.
            needs: the limits.
            known: the items that are read are added to it.

        Returns:
            ``None`` where it neither stands in a line nor has all of its permits.
        """
        # Where it has a place is read first: what takes the place away grants the permits, in one transaction.
        in_line = any(self.table.get(limit_key(need.limit), holder.place) is not None for need in needs)
        grants = []
        for need in needs:
            item = self._read(need.limit)
            if known is not None:
                known[need.limit] = item
            if item is None or (slot := slot_of(item, holder)) is None:
                return () if in_line else None
            grants.append(Grant(need.limit, slot, since_of(item, slot)))
        return tuple(grants)

    def confirm(self, holder: Holder, grants: Sequence[Grant]) -> bool:
        """Whether permits are still the holder's, whose log has named them late: from now on it is noted that it has.

        A sweep that has looked at the log before, and did not see that, does not free them any more.
        """
        changes = []
        for grant in grants:
            own: dict[str, Value] = {_SLOTS[grant.slot]: holder.name, f"g{grant.slot}": grant.at}
            noted = {f"c{grant.slot}": 1}
            changes.append(Change(limit_key(grant.limit), PERMITS, noted, Condition(equal=own)))
        return self.table.change_all(changes)

    # --- Giving back --------------------------------------------------------------------------------------------------

    def give_back(
        self, holder: Holder, grants: Sequence[Grant], now: int, unique: str, *, unconfirmed: bool = False
    ) -> list[str]:
        """Give permits back, each to the first in its line; what is not the holder's any more is left as it is.

        Args:
            holder, grants: the permits.
            now: the time, in ms.
            unique: a text that no other call has.
            unconfirmed: whether only those are given back that were not confirmed.

        Returns:
            The instances that were granted a permit by it: they are to be woken.
        """
        woken: list[str] = []
        for grant in grants:
            held: dict[str, Value] = {_SLOTS[grant.slot]: holder.name, f"g{grant.slot}": grant.at}
            kept = (f"c{grant.slot}",) if unconfirmed else ()
            condition = Condition(equal=held, missing=("line", *kept))
            free = Change(limit_key(grant.limit), PERMITS, _freed(grant.slot), condition)
            if not self.table.change_all([free]):
                woken += self._hand(grant, holder.name, now, unique, kept)
        return woken

    def leave(self, holder: Holder, needs: Sequence[Need], now: int, unique: str, *, called: bool = True) -> list[str]:
        """Leave the line, and give back what was granted to this place in it.

        Args:
            holder: who leaves.
            needs: the limits.
            now: the time, in ms.
            unique: a text that no other call has.
            called: whether what was granted is given back; otherwise it stays, as what is known of it may be old.

        Returns:
            The instances that are to be woken; see ``give_back``.
        """
        woken: list[str] = []
        for number in range(TRIES):
            found = [self._leave(holder, need, now, f"{unique}.{number}", called=called) for need in needs]
            woken += [one for each in found if each is not None for one in each]
            if len(needs) == 1 or (number and all(each is None for each in found)):
                return woken
        raise contended(needs[0].limit)

    def _leave(self, holder: Holder, need: Need, now: int, unique: str, *, called: bool) -> list[str] | None:
        """Leave the line of one limit, or give its permit back; ``None`` where it had neither.

        It may have neither here as it is on its way: to the line of another limit, or called by that one.
        """
        for _ in range(TRIES):
            item = self._read(need.limit)
            if item is None:
                return None
            if (slot := slot_of(item, holder)) is not None:
                if not called:
                    return None
                return self.give_back(holder, [Grant(need.limit, slot, since_of(item, slot))], now, unique)
            line = self._line(need.limit, 2)
            if self.table.get(limit_key(need.limit), holder.place) is None:
                if slot_of(self._read(need.limit), holder) is None:
                    return None
            elif self.table.change_all(self._leaving(item, holder, line, unique)):
                return []
        raise contended(need.limit)

    def _hand(self, grant: Grant, old: str | None, now: int, unique: str, missing: tuple[str, ...] = ()) -> list[str]:
        """Hand a permit to the first in line; free it where there is none.

        Args:
            grant: which one; of one that is held also since when.
            old: its holder; ``None`` where it is free.
            now: the time, in ms.
            unique: a text that no other call has.
            missing: what the limit's item must not have.

        Returns:
            The instance that has it now, if any.
        """
        name, failures = _SLOTS[grant.slot], 0
        for number in range(MOVES):
            item = self._read(grant.limit)
            if item is None or item.get(name) != old or any(kept in item for kept in missing):
                return []
            if old is not None and since_of(item, grant.slot) != grant.at:
                return []
            line = self._line(grant.limit, 2) if "line" in item else []
            changes, woken = self._handing(item, grant, line, now, f"{unique}.{number}@{grant.limit}", missing)
            if not changes:
                return []
            if not self.table.change_all(changes):
                failures += 1
                if failures == TRIES:
                    break
                continue
            if woken or not line:
                return [woken] if woken else []
            if changes[0].changes == _freed(grant.slot):  # it is none any more, or not yet
                return self._fill(grant.limit, now, f"{unique}:{number}")
        raise contended(grant.limit)

    def _handing(  # noqa: PLR0913, PLR0917 - what was read, and what is handed
        self, item: Item, grant: Grant, line: Sequence[Item], now: int, unique: str, missing: tuple[str, ...]
    ) -> tuple[list[Change], str]:
        """The writes that hand a permit on, and to whom; where another limit is full, they have the first stand there.

        ``line`` are the first two places, read after ``item``.
        """
        limit, name, since = str(item["pk"]), _SLOTS[grant.slot], f"g{grant.slot}"
        old = item.get(name)
        mine = Condition(missing=(name,))
        if old is not None:
            mine = Condition(equal={name: old, since: grant.at}, missing=missing)
        mine = together(mine, stands(item))
        freed = _freed(grant.slot)
        if not line:
            gone: dict[str, Value | None] = {**freed, **_NO_LINE}
            return [Change(limit, PERMITS, gone, _seen(item, mine, last=True))], ""
        first, needs = holder_of(str(line[0]["name"])), needs_of(line[0])
        if slot_of(item, first) is not None:
            return self._leaving(item, first, line, unique), ""  # called already: two owners had it stand twice
        number = number_of(item, next(need for need in needs if limit_key(need.limit) == limit))
        if grant.slot >= number or len(_others(item, name)) >= number:
            return ([Change(limit, PERMITS, freed, mine)] if old is not None else []), ""
        known = {need.limit: self._read(need.limit) for need in needs if limit_key(need.limit) != limit}
        others = [need for need in needs if need.limit in known and slot_of(known[need.limit], first) is None]
        leaving = self._leaving(item, first, line, unique)
        for need in others:
            if free_slot(known[need.limit], number_of(known[need.limit], need)) is None:
                moving = self._moving(first, needs, need, now, unique, known[need.limit])
                return ([*leaving, *moving] if moving else []), ""
        granted: dict[str, Value | None] = {name: first.name, since: now, f"c{grant.slot}": None}
        at_limit = next(change for change in leaving if change.sk == PERMITS)
        changes = [change for change in leaving if change is not at_limit]
        condition = Condition(
            equal={**at_limit.condition.equal, **mine.equal}, missing=(*at_limit.condition.missing, *mine.missing)
        )
        changes.append(Change(limit, PERMITS, {**(at_limit.changes or {}), **granted}, condition))
        for need in others:
            slot = free_slot(known[need.limit], number_of(known[need.limit], need))
            assert slot is not None  # noqa: S101 - as seen above
            changes.append(self._taking(first, need, slot, now, known[need.limit]))
        return changes, first.instance_id

    def _moving(  # noqa: PLR0913, PLR0917 - as for a place in a line
        self, first: Holder, needs: Sequence[Need], need: Need, now: int, unique: str, known: Item | None = None
    ) -> list[Change]:
        """The writes by which who leaves a line stands in that of ``need``; none where it is not full any more."""
        if self.table.get(limit_key(need.limit), first.place) is not None:  # it was called, and put back, in both
            return [Change(limit_key(need.limit), first.place, {"format": FORMAT}, PRESENT)]
        return self._joining(first, needs, need, now, unique, known) or []

    # --- The line -----------------------------------------------------------------------------------------------------

    def _joining(  # noqa: PLR0913, PLR0917 - a place in a line
        self,
        holder: Holder,
        needs: Sequence[Need],
        need: Need,
        now: int,
        unique: str,
        known: Item | None = None,
    ) -> list[Change] | None:
        """The writes that put a holder in the line of ``need``; ``None`` where that is not full and has no line."""
        limit, item = limit_key(need.limit), known or self._read(need.limit)
        changes: dict[str, Value | None] = {"joined": unique, **numbers.kept(item, now), **numbers.declared(item, need)}
        number = number_of(item, need)
        held = {name: item[name] for name in _SLOTS if item is not None and name in item}
        free = tuple(name for name in _SLOTS if name not in held)  # it may have been called since
        if item is not None and "line" in item:
            condition = Condition(equal={"line": 1, **held}, missing=free)
        elif number and free_slot(item, number) is not None:
            return None
        else:
            condition = Condition(equal=held, missing=("line", *free))
            changes |= {"line": 1, "left": unique, "format": FORMAT, **self.shards.alarm(limit, now + GRACE_MS)}
            changes |= numbers.in_list(need.limit, self.shards.listing)
        place = Change(limit, holder.place, _place(holder, needs, now), ABSENT)
        return [Change(limit, PERMITS, changes, together(condition, stands(item, need))), place]

    def _leaving(self, item: Item, holder: Holder, line: Sequence[Item], unique: str) -> list[Change]:
        """The writes that take a holder out of a line, of which ``line`` are the first two places."""
        last = len(line) == 1
        changes: Mapping[str, Value | None] = _NO_LINE if last else {"left": unique}
        return [
            Change(str(item["pk"]), PERMITS, changes, _seen(item, Condition(), last=last)),
            Change(str(item["pk"]), holder.place, None, PRESENT),
        ]

    def _line(self, limit: str, most: int | None) -> Sequence[Item]:
        return self.table.query(limit_key(limit), low=LINE, high=end_of(LINE), limit=most)

    def _read(self, limit: str) -> Item | None:
        """A limit's item, which says how many permits it has."""
        return self._stored(limit)

    def _stored(self, limit: str) -> Item | None:
        item = self.table.get(limit_key(limit), PERMITS)
        return None if item is None else check_format(item)

    # --- Looking at ---------------------------------------------------------------------------------------------------

    def usage(self, limit: str, most: int | None = None) -> Usage:
        """Who holds what of a limit, the first ``most`` in its line, and how many permits it has."""
        return self._usage(limit, most, self._stored(limit))

    def _usage(self, limit: str, most: int | None, found: Item | None) -> Usage:
        """The usage of one item."""
        item = found or {}
        permits = []
        for slot, name in enumerate(_SLOTS):
            if name in item:
                grant = Grant(limit, slot, since_of(item, slot))
                permits.append(Permit(holder_of(str(item[name])), grant, f"c{slot}" in item))
        line = self._line(limit, most) if "line" in item else ()
        places = tuple(holder_of(str(place["name"])) for place in line)
        since = tuple(int(str(place["at"])) for place in line)
        declared = item.get("n")
        return Usage(
            limit,
            tuple(permits),
            places,
            since,
            numbers.known_number(item),
            numbers.operators(item),
            declared if isinstance(declared, int) else None,
            str(item.get("by", "")),
            str(item.get("by_source", "")),
            whole(item, "at"),
            str(item.get("why", "")),
        )

    def known(self, first: str, most: int, of: str | None = None, kind: str = numbers.LISTED_AS) -> list[str]:
        """The names of limits in their order, from ``first`` on, at most ``most``; eventually consistent.

        A limit is known from its first use on, or since an operator has set its number, and until it was idle for long.

        Args:
            first: where to begin.
            most: how many at most.
            of: this one alone, and those of each value of its ``per``.
            kind: those that have permits, or rates.
        """
        found: list[str] = []
        last = LAST if of is None else f"{of}#{LAST}"
        for shard in range(self.shards.listing):
            partition, after = list_key(kind, "", shard), None
            names: list[str] = []
            while len(names) < most:
                page = self.table.query_index(
                    LISTING.name, partition, low=first or FIRST, high=last, limit=most - len(names), after=after
                )
                names += [str(item["list_at"]) for item in page.items]
                after = page.end
                if after is None:
                    break
            found += names
        mine = [name for name in sorted(found) if of is None or name == of or name.startswith(f"{of}#")]
        return mine[:most]

    # --- Numbers ------------------------------------------------------------------------------------------------------

    def give(  # noqa: PLR0913, PLR0917 - a number, and who has set it
        self, limit: str, number: int | None, by: tuple[str, str], now: int, unique: str, why: str = ""
    ) -> list[str]:
        """Set an operator's number, or take it back; a greater one calls who stands in line at once.

        Args:
            limit: the limit, which need not have been used.
            number: how many permits it has from now on; ``None`` for as many as the code declares.
            by: who asks for it, and how that is known.
            now: the time, in ms.
            unique: a text that no other call has.
            why: the reason.

        Returns:
            The instances that were granted a permit by it: they are to be woken.
        """
        for _ in range(TRIES):
            item = self._read(limit)
            if item is None and number is None:
                return []
            changes = {**numbers.given(item, number, by, now, why), **numbers.in_list(limit, self.shards.listing)}
            if self.table.change_all([Change(limit_key(limit), PERMITS, changes, numbers.as_read(item))]):
                return self._fill(limit, now, unique)
        raise contended(limit)

    def declare(self, need: Need) -> None:
        """Note what a deployment declares of a limit that it knows by name, unless a newer one has."""
        item = self._read(need.limit)
        changes = {} if item is None else numbers.declared(item, need)
        if item is not None and any(item.get(name) != value for name, value in changes.items()):
            newest = together(Condition(equal={"format": item["format"]}), stands(item, need))
            self.table.change_all([Change(limit_key(need.limit), PERMITS, changes, newest)])

    def sweep(self, limit: str, now: int, stands: Stands, unique: str) -> list[str]:
        """Free what no one holds, and grant what is free, of a limit that has, or had, a line.

        Args:
            limit: its name.
            now: the time, in ms.
            stands: says of a holder what its instance's log says: ``None`` where it has the permit, what it needs
                where it waits, nothing otherwise.
            unique: a text that no other call has.

        Returns:
            The instances that are to be woken.
        """
        usage = self._usage(limit, LOOKED_AT, self._read(limit))
        woken: list[str] = []
        named = True
        for number, (holder, grant, confirmed) in enumerate(usage.permits):
            needs = stands(holder, grant)
            named = named and needs is None
            if needs:
                woken.append(holder.instance_id)
            late = now - grant.at >= GRACE_MS
            if needs and late:
                seen = () if confirmed else (f"c{grant.slot}",)
                woken += self._put_back(holder, grant, needs, now, f"{unique}.{number}", seen)
            elif needs is not None and late:
                woken += self.give_back(holder, [grant], now, f"{unique}.{number}", unconfirmed=not confirmed)
        for number, holder in enumerate(usage.line):
            if now - holder.order >= GRACE_MS and not stands(holder, None):
                woken += Permits._leave(self, holder, Need(limit, MOST), now, f"{unique}-{number}", called=False) or []
        woken += self._fill(limit, now, unique)
        self._look_later(usage, now, again=bool(woken) or not named)
        return woken

    def _put_back(  # noqa: PLR0913, PLR0917 - who, of what, and when
        self, holder: Holder, grant: Grant, needs: Sequence[Need], now: int, unique: str, missing: tuple[str, ...]
    ) -> list[str]:
        """Have who was called and does not come stand in line once more, if others stand there: the next is called.

        Not one who has come since its log was looked at: it has confirmed the permit, which the item then says.
        """
        item = self._read(grant.limit)
        if item is None or "line" not in item or item.get(_SLOTS[grant.slot]) != holder.name:
            return []
        changes, woken = self._handing(item, grant, self._line(grant.limit, 2), now, unique, missing)
        if not woken:
            if changes:
                self.table.change_all(changes)
            return []
        marked: dict[str, Value | None] = {"line": 1, "joined": unique, "left": unique}
        changes = [
            Change(change.pk, change.sk, {**(change.changes or {}), **marked}, change.condition)
            if (change.pk, change.sk) == (item["pk"], PERMITS)
            else change
            for change in changes
        ]
        place = Change(limit_key(grant.limit), holder.place, _place(holder, needs, now), ABSENT)
        return [woken] if self.table.change_all([*changes, place]) else []

    def _look_later(self, usage: Usage, now: int, *, again: bool) -> None:
        """Have the sweep look again in a minute, unless no one stands in line, and all is as it was seen."""
        item = self._read(usage.limit)
        if item is None or "wake_at" not in item:
            return
        quiet: dict[str, Value | None] = {"wake_shard": None, "wake_at": None}
        later: dict[str, Value | None] = {"wake_at": now + GRACE_MS}
        held: dict[str, Value] = {_SLOTS[grant.slot]: holder.name for holder, grant, _ in usage.permits}
        seen = Condition(equal=held, missing=("line", *(name for name in _SLOTS if name not in held)))
        over = not again and "line" not in item
        if over and self.table.update(limit_key(usage.limit), PERMITS, quiet, seen):
            return
        self.table.update(limit_key(usage.limit), PERMITS, later, Condition(equal={"wake_at": item["wake_at"]}))

    def _fill(self, limit: str, now: int, unique: str) -> list[str]:
        """Grant what is free to those in line."""
        woken: list[str] = []
        for number in range(MOST):
            item, line = self._read(limit), self._line(limit, 1)
            if item is None or "line" not in item:
                return woken
            needs = needs_of(line[0]) if line else ()
            own = next((need for need in needs if limit_key(need.limit) == limit_key(limit)), None)
            slot = free_slot(item, number_of(item, own) if own else MOST, in_line=True)
            if slot is None:
                return woken
            granted = self._hand(Grant(limit, slot, 0), None, now, f"{unique}+{number}")
            if not granted:
                return woken
            woken += granted
        return woken


def _place(holder: Holder, needs: Sequence[Need], now: int) -> dict[str, Value | None]:
    """What stands at a place in a line."""
    texts = tuple(f"{need.number}@{need.of} {need.limit}" for need in needs)
    return {"format": FORMAT, "name": holder.name, "needs": texts, "at": now}


def first_in(line: Sequence[Item]) -> Holder:
    """Who stands at the first place of a line."""
    return holder_of(str(line[0]["name"]))


def needs_of(place: Item) -> list[Need]:
    """The limits that who stands at a place needs."""
    found = place["needs"]
    assert isinstance(found, tuple)  # noqa: S101 - as it was written
    pairs = [text.split(" ", 1) for text in found]
    return [Need(limit, *map(int, number.split("@"))) for number, limit in pairs]


def slot_of(item: Item | None, holder: Holder) -> int | None:
    """Which permit a holder has."""
    own = holder.name
    return next((slot for slot, name in enumerate(_SLOTS) if item is not None and item.get(name) == own), None)


def _others(item: Item | None, name: str) -> dict[str, Value]:
    """The permits that are held, but for the one called ``name``."""
    return {one: item[one] for one in _SLOTS if one != name and one in item} if item is not None else {}


def _room(item: Item | None, name: str, number: int) -> Condition:
    """That the permit called ``name`` is free, and fewer than ``number`` are held.

    Where none above ``number`` is held, those below are fewer by themselves. Each that is, of a number that was
    greater, takes the room of one below: then what is held has to be what was read. Without room it never holds.
    """
    others, above = _others(item, name), _SLOTS[number:]
    if len(others) < number and any(one in others for one in above):
        return Condition(equal=others, missing=tuple(one for one in _SLOTS if one not in others))
    return Condition(missing=(name, *above))


def free_slot(item: Item | None, number: int, *, in_line: bool = False) -> int | None:
    """A permit that may be taken of a limit of ``number``: not while so many are held, or there is a line."""
    if not number:
        return None
    if item is None:
        return 0
    if ("line" in item and not in_line) or len(_others(item, "")) >= number:
        return None
    return next((slot for slot, name in enumerate(_SLOTS[:number]) if name not in item), None)


def _granted(limit: str, slot: int, change: Change) -> Grant:
    """The permit that a write has granted."""
    at = (change.changes or {}).get(f"g{slot}")
    assert isinstance(at, int)  # noqa: S101 - as it was written
    return Grant(limit, slot, at)


def since_of(item: Item, slot: int) -> int:
    """Since when (ms) a permit is held."""
    return whole(item, f"g{slot}")


def _freed(slot: int) -> dict[str, Value | None]:
    return {_SLOTS[slot]: None, f"g{slot}": None, f"c{slot}": None}


def _seen(item: Item, condition: Condition, *, last: bool) -> Condition:
    """A condition, and that no one has left the line since it was seen; where it is left empty, nor joined it."""
    return together(condition, as_read(item, ("left", "joined") if last else ("left",)))


def contended(limit: str) -> StoreUnavailable:
    """The error of one who was too slow too often."""
    return StoreUnavailable(f"the limit {limit} is being changed by many at once; nothing is lost, try again")
