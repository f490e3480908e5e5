"""Rates: when the next may start, and the line of those for whom that is too far ahead. Rule F.7 in the docs.

A rate is a partition of its own. Its item ``rate`` has ``tat``, the time (microseconds) at which all its places will be
free again: the theoretical arrival time of the generic cell rate algorithm (ITU-T I.371, 1996). Who takes a place adds
to it, and may start when it is no more than ``burst`` places ahead.

* A place is reserved by one addition, on condition that it is at most ``AHEAD_MS`` ahead and no one stands in line.
  What is done twice, or never used, is lost: no more start for it.
* Who needs several rates takes a place of each in one transaction, at most ``TOGETHER_MS`` ahead, and stands in the
  line of the one that has it wait.
* Each place in the line is an item, in the order of joining. Who joins puts it, and then makes sure of the mark
  ``line``; who has seen an empty line removes the mark, and then looks once more.
* A time is not given back, so the line is called by the clock: who calls it reserves for the first of it at once, up to
  some seconds ahead, notes when it is called ``next``, and then writes into each place its time. One call at a time: it
  is conditional on what the one before has left, and one that comes before ``next`` does nothing.
* The place stays until its owner's log names the time. One that is not taken up for ``GRACE_MS`` is called again.

How fast it is, ``hephaestus.store.speeds`` says. One that an operator has set to 0 admits no one: all stand in line.

The item has an alarm from the first joining on, until the sweep finds no place in the line: so the line is called, and
who was called is woken, whatever became of a message or of its reader.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from hephaestus.engine.records import Pace
from hephaestus.errors import StoreUnavailable
from hephaestus.store import items, speeds
from hephaestus.store.items import FORMAT, check_format, whole
from hephaestus.store.keys import end_of
from hephaestus.store.numbers import RATES_LISTED_AS, idle, in_list
from hephaestus.store.permits import GRACE_MS, LINE, holder_of
from hephaestus.store.speeds import MS, Standing
from hephaestus.store.table import ABSENT, ALWAYS, EXPIRES, PRESENT, Change, Condition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hephaestus.store.heads import Shards
    from hephaestus.store.permits import Holder
    from hephaestus.store.speeds import Speed
    from hephaestus.store.table import Item, Table, Value

Stands: TypeAlias = "Callable[[Holder], bool | None]"

RATES: Final = "rate#"
RATE: Final = "rate"
AHEAD_MS: Final = 60_000
TOGETHER_MS: Final = 2_000  # of several rates: what one has free before that, no one uses
LATE_MS: Final = 1_000  # so long after its time an attempt may still start
SHORTEST_LEAD_MS: Final = 5_000
LEAD_PLACES: Final = 10
STOPPED_MS: Final = 60_000  # between two looks at the line of a rate that is set to 0
BETWEEN_MS: Final = 1_000  # two calls of a line
SOON_MS: Final = 500  # so much before its time a call is made: clocks differ
LONGEST_MS: Final = 900_000  # until the next call: a message's longest delay
FRESH_MS: Final = 30_000  # an alarm that is no nearer stays as it is
MOST: Final = 1_000  # places that are called at once
PAGE: Final = 250
TRIES: Final = 50


class Called(NamedTuple):
    """A place in a line that is to have its time.

    Attributes:
        holder: who stands there.
        at: the time (ms).
        was: the time that it had and did not use; 0 for none.
    """

    holder: Holder
    at: int
    was: int = 0


class Call(NamedTuple):
    """What a call of a line has reserved.

    Attributes:
        places: for whom.
        next: when the line is to be called next (ms); ``None`` where no one is left.
        moved: the lines that someone has gone to, each with when it is to be called (ms).
    """

    places: tuple[Called, ...] = ()
    next: int | None = None
    moved: tuple[tuple[str, int], ...] = ()


class Queue(NamedTuple):
    """What is known of a rate.

    Attributes:
        limit: its name.
        free_at: when all its places will be free (ms).
        line: who stands in line, the first one first, each with the time that it was called for; 0 for none.
        stands: how fast it is, and who says so.
        by, by_source: who has set it last, or taken that back, and how that is known.
        at: when (ms); 0 for never.
        why: the reason.
    """

    limit: str
    free_at: int
    line: tuple[tuple[Holder, int], ...]
    stands: Standing = Standing()
    by: str = ""
    by_source: str = ""
    at: int = 0
    why: str = ""

    @property
    def is_known(self) -> bool:
        """Whether it was used, or an operator has set it."""
        return self.stands.speed is not None or bool(self.line)


def rate_key(limit: str) -> str:
    """The partition of a rate."""
    return f"{RATES}{limit}"


def is_rate(key: str) -> bool:
    """Whether the partition ``key`` is a rate's."""
    return key.startswith(RATES)


class Reservations:
    """The rates of a table.

    Args:
        table: the table.
        shards: of its index of alarms.
    """

    def __init__(self, table: Table, shards: Shards) -> None:
        self.table = table
        self.shards = shards

    # --- Reserving ----------------------------------------------------------------------------------------------------

    def reserve(self, paces: Sequence[Pace], now: int, place: str = "") -> int | str:
        """Reserve a place of each rate, for one time.

        Args:
            paces: the rates.
            now: the time, in ms.
            place: where it stands, or stood, in a line: it goes before those who came later. Empty if it never did.

        Returns:
            When it may start (ms), or the name of a rate whose line it has to join.

        Raises:
            StoreUnavailable: others change the same rates all the time.
        """
        for _ in range(TRIES):
            alone = len(paces) == 1 and not place
            found = self._add(paces[0], now) if alone else self._together(paces, now, place)
            if found is not None:
                return found
        raise _contended(paces[0].limit)

    def _add(self, pace: Pace, now: int) -> int | str | None:
        """Reserve a place of one rate; ``None`` where it has changed meanwhile."""
        own = speeds.speed_of(pace)
        newest = (Condition(missing=("of",)), Condition(at_most={"of": pace.of}))
        costs = {"cost": pace.cost} if pace.cost > 1 else {}
        known = Condition(equal={"own": own.text()}, at_least=costs, missing=("set",), any_of=newest)
        at, item = self._add_at(pace, own, known, {EXPIRES: idle(now), "of": pace.of}, now)
        if at is not None:
            return at
        was = speeds.standing(item)
        stands = was.met_by(pace, now)
        if (item is not None and "line" in check_format(item)) or not stands.runs:
            return pace.limit
        if (
            stands.speed is not None
            and stands.speed != own
            and stands.tat == was.tat >= now * MS
            and pace.cost <= was.cost
        ):
            # Not as this code says, and not changed by it: an operator has set it, or newer code declares it.
            seen, written = speeds.as_read(item, but="tat"), stands.written(item, now)
            at, item = self._add_at(pace, stands.speed, seen, written, now)
            if at is not None:
                return at
            if speeds.standing(item)[1:] != was[1:] or "line" in (item or {}):
                return None
            stands = speeds.standing(item).met_by(pace, now)
        start = stands.start(pace.cost, now)
        if start > (now + AHEAD_MS) * MS:
            return pace.limit
        done = self.table.change_all([self._takes(pace, item, start, now, missing=("line",))])
        return _ms(start) if done else None

    def _add_at(
        self, pace: Pace, speed: Speed, known: Condition, changes: dict[str, Value | None], now: int
    ) -> tuple[int | None, Item | None]:
        """Reserve a place at a speed that is ``known`` to be in force, by one addition; the time, and the item."""
        taken, at_once, moment = speed.every * pace.cost, speed.at_once(pace.cost), now * MS
        asked = replace(
            known,
            at_least={"tat": moment, **known.at_least},
            at_most={"tat": moment + AHEAD_MS * MS - taken + at_once},
            missing=("line", *known.missing),
        )
        done, item = self.table.add(rate_key(pace.limit), RATE, "tat", taken, changes, asked)
        return (max(now, _ms(_tat(item) - at_once)) if done else None), item

    def _together(self, paces: Sequence[Pace], now: int, place: str) -> int | str | None:
        """Reserve a place of several rates, or before those in line; ``None`` where they have changed meanwhile."""
        found = {pace.limit: self._read(pace.limit) for pace in paces}
        for pace in paces:
            item = found[pace.limit]
            if item is not None and "line" in item and not (place and self.is_first(pace.limit, place)):
                return pace.limit
        known = {pace.limit: speeds.standing(found[pace.limit]).met_by(pace, now) for pace in paces}
        if stopped := next((limit for limit, stands in known.items() if not stands.runs), None):
            return stopped
        at, last = _earliest(paces, known, now)
        if at > (now + (AHEAD_MS if len(paces) == 1 else TOGETHER_MS)) * MS:
            return last
        missing = () if place else ("line",)
        changes = [self._takes(pace, found[pace.limit], at, now, missing=missing) for pace in paces]
        return _ms(at) if self.table.change_all(changes) else None

    def _takes(self, pace: Pace, item: Item | None, at: int, now: int, *, missing: tuple[str, ...] = ()) -> Change:
        """The write that takes a place of a rate for ``at``, of which ``item`` was read."""
        stands = speeds.standing(item).met_by(pace, now).with_taken(pace.cost, at)
        listed = in_list(pace.limit, self.shards.listing, RATES_LISTED_AS)
        seen = speeds.as_read(item)
        condition = Condition(equal=seen.equal, missing=(*seen.missing, *missing))
        return Change(rate_key(pace.limit), RATE, stands.written(item, now) | listed, condition)

    def is_first(self, limit: str, place: str) -> bool:
        """Whether who has this place goes before all that stand in line and were not called."""
        first = next((str(other["sk"]) for other in self._places(limit) if "at" not in other), None)
        return first is None or place <= first

    # --- The line -----------------------------------------------------------------------------------------------------

    def stand(self, holder: Holder, paces: Sequence[Pace], now: int) -> int | None:
        """Stand in the line of the first of ``paces``; doing it again changes nothing.

        Returns:
            When that is to be called (ms), where it is not known to be called anyway.

        Raises:
            StoreUnavailable: others change the same rate all the time.
        """
        key = rate_key(paces[0].limit)
        self.table.put({"pk": key, "sk": holder.place, **_place(holder, paces, now)}, ABSENT)
        if (there := self.find(holder, paces[1:])) is None:
            return self._mark(paces[0], now)
        stays = Change(rate_key(there[0]), holder.place, {"format": FORMAT}, PRESENT)  # it has gone there since
        self.table.change_all([stays, Change(key, holder.place, None, Condition(missing=("at",)))])
        return None

    def find(self, holder: Holder, paces: Sequence[Pace]) -> tuple[str, int] | None:
        """In whose line it stands, and the time that it was called for (ms), 0 if it was not.

        Returns:
            ``None`` where it stands in none.
        """
        for pace in (*paces, *paces[:-1]):  # once more: it may have gone from one that follows to one that was seen
            place = self.table.get(rate_key(pace.limit), holder.place)
            if place is not None:
                return pace.limit, _at(check_format(place))
        return None

    def renew(self, holder: Holder, pace: Pace, at: int, now: int) -> int | None:
        """Stand in line again after the time that it was called for, in the same place; see ``stand``."""
        self.table.update(rate_key(pace.limit), holder.place, {"at": None}, Condition(equal={"at": at}))
        return self._mark(pace, now)

    def leave(self, holder: Holder, paces: Sequence[Pace]) -> None:
        """Stand in none of the lines any more: of all at once, as it may be on its way from one to another."""
        self.table.change_all([Change(rate_key(pace.limit), holder.place, None, ALWAYS) for pace in paces])

    def _mark(self, pace: Pace, now: int) -> int | None:
        """Make sure that a line is known to be there; when it is to be called (ms), if it was not."""
        for _ in range(TRIES):
            item = self._read(pace.limit)
            if item is not None and "line" in item:
                return None
            change, due = self._marking(pace, item, now)
            if self.table.change_all([change]):
                return due
        raise _contended(pace.limit)

    def _marking(self, pace: Pace, item: Item | None, now: int) -> tuple[Change, int]:
        """The write that marks that a line is there, and when it is to be called (ms)."""
        key, stands = rate_key(pace.limit), speeds.standing(item).met_by(pace, now)
        due = now + STOPPED_MS
        if stands.runs:
            due = min(max(now, _ms(stands.start(pace.cost, now)) - _lead(pace, stands)), now + LONGEST_MS)
        marked: dict[str, Value | None] = {"line": 1, "next": due, "format": FORMAT}
        marked |= {} if stands.given else {EXPIRES: idle(now)}
        marked |= self.shards.alarm(key, due + GRACE_MS)
        marked |= in_list(pace.limit, self.shards.listing, RATES_LISTED_AS)
        return Change(key, RATE, marked, items.as_read(item, ("set", "line"))), due

    def move(self, place: Item, paces: Sequence[Pace], item: Item | None, now: int) -> tuple[bool, int | None]:
        """Have who stands at ``place`` stand in the line of the first of ``paces`` instead, in one write.

        Args:
            place: the place, as it was read: who has left it meanwhile, or was called, goes nowhere.
            paces: the rates.
            item: the first one's item, as it was read.
            now: the time, in ms.

        Returns:
            Whether it stands there; and when that line is to be called (ms), where it is not known to be called anyway.
        """
        key, holder = rate_key(paces[0].limit), holder_of(str(place["name"]))
        mark, due = Change(key, RATE, {"format": FORMAT}, Condition(equal={"line": 1})), None
        if item is None or "line" not in item:
            mark, due = self._marking(paces[0], item, now)
        there = Change(key, holder.place, _place(holder, paces, now), ALWAYS)
        gone = Change(str(place["pk"]), holder.place, None, _seen(_at(place)))
        return self.table.change_all([mark, there, gone]), due

    # --- Calling it ---------------------------------------------------------------------------------------------------

    def call(self, limit: str, now: int, stands: Stands, declared: tuple[Speed, int] | None = None) -> Call | None:
        """Reserve for the first in line what may start within some seconds.

        Args:
            limit: the rate.
            now: the time, in ms.
            declared: what the code that runs here declares of it, and the number of its deployment.
            stands: says of one that was called long ago whether its log still has it stand in line; ``None`` where it
                does, and cannot go on for now.

        Returns:
            For whom; ``None`` where it is too early, and it is called later anyway.

        Raises:
            StoreUnavailable: others change the same rate all the time.
        """
        moved: list[tuple[str, int]] = []
        for _ in range(TRIES):
            item = self._read(limit)
            if item is None or whole(item, "next") > now + SOON_MS:
                return None
            found = _Round(self, limit, item, now, moved, declared).go(stands)
            if found is not None:
                return found
        raise _contended(limit)

    def hand(self, limit: str, called: Called) -> bool:
        """Write into its place the time that one is called for; whether it still stands there."""
        return self.table.update(rate_key(limit), called.holder.place, {"at": called.at}, _seen(called.was))

    def look_again(self, limit: str, now: int) -> int | None:
        """After the mark was removed: whether someone has joined meanwhile; see ``stand``."""
        for place in self._places(limit):
            if "at" not in place:
                return self._mark(_own(_paces(place), limit), now)
        return None

    def queue(self, limit: str, most: int | None = None) -> Queue:
        """What is known of a rate, and the first ``most`` in its line."""
        line = self.table.query(rate_key(limit), low=LINE, high=end_of(LINE), limit=most)
        places = tuple((holder_of(str(place["name"])), _at(place)) for place in line)
        item = self._read(limit)
        by, source, why = (str((item or {}).get(name, "")) for name in ("by", "by_source", "why"))
        known = speeds.standing(item)
        return Queue(limit, _ms(known.tat), places, known, by, source, whole(item, "at"), why)

    # --- Its speed ----------------------------------------------------------------------------------------------------

    def give(self, limit: str, speed: Speed | None, by: tuple[str, str], why: str, now: int) -> int | None:
        """Set how fast a rate is, whatever the code says, or take that back.

        Args:
            limit: the rate, which need not have been used.
            speed: how fast; ``None`` for as the code declares.
            by: who asks for it, and how that is known.
            why: the reason.
            now: the time, in ms.

        Returns:
            When its line is to be called (ms), if it has one.

        Raises:
            StoreUnavailable: others change the same rate all the time.
        """
        key = rate_key(limit)
        for _ in range(TRIES):
            item = self._read(limit)
            if item is None and speed is None:
                return None
            own: dict[str, Value | None] = {"set": None if speed is None else speed.text(), "at": now}
            own |= {"by": by[0] or None, "by_source": by[1] or None, "why": why or None}
            own |= {EXPIRES: None, **speeds.standing(item).set_to(speed, now).written(item, now)}
            own |= in_list(limit, self.shards.listing, RATES_LISTED_AS)
            lined = item is not None and "line" in item
            own |= {"next": now, **self.shards.alarm(key, now + GRACE_MS)} if lined else {}
            seen = items.as_read(item, (*speeds.READ, "next"))
            if self.table.change_all([Change(key, RATE, own, seen)]):
                return now if lined else None
        raise _contended(limit)

    def _places(self, limit: str) -> Iterator[Item]:
        low = LINE
        while True:
            page = self.table.query(rate_key(limit), low=low, high=end_of(LINE), limit=PAGE)
            yield from map(check_format, page)
            if len(page) < PAGE:
                return
            low = f"{page[-1]['sk']!s}\0"

    def _read(self, limit: str) -> Item | None:
        item = self.table.get(rate_key(limit), RATE)
        return None if item is None else check_format(item)


class _Round:
    """One call of a line, from what was read of its rate."""

    def __init__(  # noqa: PLR0913, PLR0917 - what is known of a rate
        self,
        rates: Reservations,
        limit: str,
        item: Item,
        now: int,
        moved: list[tuple[str, int]],
        declared: tuple[Speed, int] | None,
    ) -> None:
        self.rates = rates
        self.limit = limit
        self.item = item
        self.now = now
        self.stands = speeds.standing(item)
        if declared is not None:
            self.stands = self.stands.met(*declared, now)
        self.places: list[Called] = []
        self.moved = moved
        self.called = False  # whether someone was called and has not taken it up
        self.has_gone: bool  # whether who was looked at last has gone to the line of another rate
        self.next: int | None = None

    def go(self, stands: Stands) -> Call | None:
        """See whose turn it is, and reserve for them; ``None`` where the rate has changed meanwhile."""
        for place in self.rates._places(self.limit):  # noqa: SLF001 - a part of it
            holder, was = holder_of(str(place["name"])), _at(place)
            if was and self.now - max(was, whole(place, "looked")) < GRACE_MS:
                self.called = True
                continue
            if was and not self._waits(place, stands):
                continue
            paces = _paces(place)
            if len(paces) > 1:
                if self.places:
                    self.next = self.now
                    break
                done = self._several(place, paces)
                if not self.has_gone:
                    return done
            elif not self._one(Called(holder, 0, was), paces[0]):
                break
        return self._call() if self._write() else None

    def _waits(self, place: Item, stands: Stands) -> bool:
        """Whether one that was called long ago is to be called again: not one that cannot go on, nor what is over."""
        key, seen = (str(place["pk"]), str(place["sk"])), Condition(equal={"at": place["at"]})
        waits = stands(holder_of(str(place["name"])))
        if waits is None:
            self.rates.table.update(*key, {"looked": self.now}, seen)
        elif not waits:
            self.rates.table.delete(*key, seen)
        self.called = self.called or waits is None
        return bool(waits)

    def _one(self, called: Called, pace: Pace) -> bool:
        """Reserve for one, if its time is near; whether there may be more."""
        self.stands = self.stands.met_by(pace, self.now)
        if not self.stands.runs:
            self.next = self.now + STOPPED_MS
            return False
        at, lead = self.stands.start(pace.cost, self.now), _lead(pace, self.stands)
        if at > (self.now + lead) * MS or len(self.places) == MOST:
            full = len(self.places) == MOST
            self.next = self.now if full else max(_ms(at) - lead, self.now + lead // 2)  # so that it calls several
            return False
        self.stands = self.stands.with_taken(pace.cost, at)
        self.places.append(called._replace(at=_ms(at)))
        return True

    def _several(self, place: Item, paces: Sequence[Pace]) -> Call | None:
        """Reserve for one that needs several rates, or have it go to the line of another of them."""
        self.has_gone = False
        rates, holder, own = self.rates, holder_of(str(place["name"])), _own(paces, self.limit)
        others = [pace for pace in paces if pace is not own]
        found = {pace.limit: rates._read(pace.limit) for pace in others}  # noqa: SLF001 - as above
        self.stands = self.stands.met_by(own, self.now)
        known = {pace.limit: speeds.standing(found[pace.limit]).met_by(pace, self.now) for pace in others}
        known[self.limit] = self.stands
        running = [pace for pace in paces if known[pace.limit].runs]
        at, last = _earliest(running, known, self.now) if running else (0, "")
        soon = (self.now + TOGETHER_MS) * MS
        for pace in others:
            there = found[pace.limit]
            lined = there is not None and "line" in there and not rates.is_first(pace.limit, holder.place)
            lined = lined or not known[pace.limit].runs
            if lined or (last == pace.limit and at > soon):
                first = (pace, *(one for one in paces if one is not pace))
                self.has_gone, due = rates.move(place, first, there, self.now)
                self.moved += [(pace.limit, due)] if self.has_gone and due is not None else []
                return None
        if at > soon or not self.stands.runs:
            self.next = _ms(at) - TOGETHER_MS if self.stands.runs else self.now + STOPPED_MS
            return self._call() if self._write() else None
        self.next = self.now
        changes = [rates._takes(pace, found[pace.limit], at, self.now) for pace in others]  # noqa: SLF001 - as above
        self.stands = self.stands.with_taken(own.cost, at)
        self.places.append(Called(holder, _ms(at), _at(place)))
        return self._call() if self._write(*changes) else None

    def _write(self, *others: Change) -> bool:
        """Reserve; whether nothing has changed meanwhile."""
        own = self.stands.written(self.item, self.now)
        if self.next is not None:
            own |= {"line": 1, "next": self._later()}
        elif "line" in self.item:
            own |= {"line": None, "next": None}
        own |= self._alarm(bool(self.places or self.called or self.next is not None or "line" in self.item))
        seen = items.as_read(self.item, (*speeds.READ, "next"))
        return self.rates.table.change_all([Change(rate_key(self.limit), RATE, own, seen), *others])

    def _alarm(self, needed: bool) -> dict[str, Value | None]:  # noqa: FBT001 - as above
        known = whole(self.item, "wake_at")
        if not needed:
            return {"wake_shard": None, "wake_at": None} if known else {}
        wanted = (self._later() or self.now) + GRACE_MS
        if wanted - GRACE_MS + FRESH_MS <= known <= wanted + FRESH_MS:
            return {}
        return dict(self.rates.shards.alarm(rate_key(self.limit), wanted))

    def _later(self) -> int | None:
        """When the line is to be called next."""
        if self.next is None:
            return None
        return min(max(self.next, self.now + BETWEEN_MS), self.now + LONGEST_MS)

    def _call(self) -> Call:
        return Call(tuple(self.places), self._later(), tuple(self.moved))


def _earliest(paces: Sequence[Pace], known: dict[str, Standing], now: int) -> tuple[int, str]:
    """When something may start that needs all of these rates (microseconds), and which one has it wait longest."""
    times = [(known[pace.limit].start(pace.cost, now), pace.limit) for pace in paces]
    return max(times, key=lambda pair: pair[0])


def _lead(pace: Pace, stands: Standing) -> int:
    """How far ahead of its time one is called (ms)."""
    return min(max(SHORTEST_LEAD_MS, LEAD_PLACES * stands.taken(pace.cost) // MS), AHEAD_MS)


def _ms(moment: int) -> int:
    """Microseconds in milliseconds, never too early."""
    return -(-moment // MS)


def _tat(item: Item | None) -> int:
    return whole(item, "tat")


def _at(place: Item) -> int:
    return whole(place, "at")


def _seen(was: int) -> Condition:
    """That someone stands at a place, called for the time ``was``; 0 for none."""
    return Condition(equal={"at": was}) if was else Condition(missing=("at",), present=True)


def _place(holder: Holder, paces: Sequence[Pace], now: int) -> dict[str, Value]:
    """What stands at a place in a line."""
    return {"format": FORMAT, "name": holder.name, "paces": tuple(map(_text, paces)), EXPIRES: idle(now)}


def _text(pace: Pace) -> str:
    return f"{pace.n} {pace.period} {pace.burst} {pace.cost} {pace.of} {pace.limit}"


def _paces(place: Item) -> tuple[Pace, ...]:
    """The rates that who stands at a place needs."""
    found = place["paces"]
    assert isinstance(found, tuple)  # noqa: S101 - as it was written
    paces = []
    for text in found:
        *numbers, limit = text.split(" ", 5)
        n, period, burst, cost, of = map(int, numbers)
        paces.append(Pace(limit, period, burst, cost, n, of))
    return tuple(paces)


def _own(paces: Sequence[Pace], limit: str) -> Pace:
    return next(pace for pace in paces if pace.limit == limit)


def _contended(limit: str) -> StoreUnavailable:
    return StoreUnavailable(f"the rate {limit} is being changed by many at once; nothing is lost, try again")
