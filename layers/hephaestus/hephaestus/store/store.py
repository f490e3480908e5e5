"""Instances on a table: starts, commits and heads, written once for every table.

The log is the lock: whoever puts an entry's number has committed it; everything else follows from the log and may be
done late, twice, or by another. The rules are in ``docs/architecture.md``: near variants of them lose events.
"""

from __future__ import annotations

import hashlib
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Final

from hephaestus.engine.codec import dump_events, dump_state
from hephaestus.engine.fold import begin
from hephaestus.engine.state import CLOSED, STATUSES, TIMED, Kept, State, evolve
from hephaestus.errors import AlreadyRunning, CorruptLog, InvariantBroken, PayloadTooLarge, StoreUnavailable
from hephaestus.store.endings import Endings
from hephaestus.store.heads import FAMILY, Shards, Sizes, lean, room
from hephaestus.store.items import FORMAT, KEPT_BY, said_by, whole
from hephaestus.store.keys import HEAD, LAST_NUMBER, MAIL, life_name, log_key, read_log_key, read_mail_key
from hephaestus.store.listing import OtherWorkflows, Wanted, count_instances, list_instances, list_named
from hephaestus.store.mailbox import Mailboxes
from hephaestus.store.offspring import CHILD_OF, Known, as_known, children_of, known
from hephaestus.store.overdue import read_overdue
from hephaestus.store.paused import PausedWorkflows
from hephaestus.store.reader import FIRST, Reader
from hephaestus.store.reservations import Reservations
from hephaestus.store.sharded_permits import ShardedPermits
from hephaestus.store.start_ids import is_repeated
from hephaestus.store.table import ABSENT, ALWAYS, EXPIRES, PRESENT, Condition, item_bytes
from hephaestus.store.values import (
    MAX_VALUE_BYTES,
    OVERHEAD,
    ValueMissing,
    Values,
    carry_prefix,
    names_in,
    packed,
    set_apart,
    state_apart,
)
from hephaestus.values.weight import is_large
from hephaestus.writes import WriteFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from hephaestus.engine.events import Entry, Event
    from hephaestus.store.filters import ListFilter
    from hephaestus.store.listing import Listing
    from hephaestus.store.overdue import OverduePage
    from hephaestus.store.reader import Read
    from hephaestus.store.table import Item, Table, Value
    from hephaestus.store.values import Blobs
    from hephaestus.writes import Write

MAX_TRANSACTION: Final = 100  # items; DynamoDB API Reference, TransactWriteItems
MAX_REASON: Final = 1_000
TRIES: Final = 8
DAY: Final = 24 * 3600
LONGEST_LIFE: Final = 366 * DAY
LATEST_START_MS: Final = 14 * DAY * 1000  # until then an occurrence may be started again, which must find the first
_UNALARMED: Final = tuple(status for status in STATUSES if status not in CLOSED and status != "waiting")


def _leave(_closed: State) -> None:
    """Perform nothing: the default of a store on its own."""


def may_begin_over(old: State) -> bool:
    """Whether an instance may begin in the place of another: it has ended, and no parent may still want it."""
    return old.closed and not old.attached


def _allow(_found: Read) -> None:
    """Allow everything."""


class Store:
    """Instances on one table; safe to use from many threads.

    Args:
        table: the table, with the indexes of ``hephaestus.store.items``.
        blobs: where values above ``threshold`` go; without it, a single value may not be larger.
        wake_shards, list_shards: how many partitions the indexes are spread over; may grow, must not shrink.
        retention_days: how long a closed instance is kept; ``None`` for ever.
        threshold: the largest value that is kept in the table, in bytes after compression.
        sizes: from which size on something is a value.

    Attributes:
        max_value_bytes: the largest single value it takes, in bytes after compression; ``None`` where large ones go to
            S3.

    Raises (any method):
        StoreUnavailable: throttled, timed out or unreachable, after the table's own retries.
        CorruptLog: what is stored cannot be read.
    """

    def __init__(  # noqa: PLR0913 - a store's settings
        self,
        table: Table,
        *,
        blobs: Blobs | None = None,
        wake_shards: int = 4,
        list_shards: int = 4,
        retention_days: int | None = None,
        threshold: int = MAX_VALUE_BYTES,
        sizes: Sizes = Sizes(),  # noqa: B008 - frozen
    ) -> None:
        self.table = table
        self.values = Values(table, blobs, threshold)
        self.max_value_bytes = threshold if blobs is None else None
        self.sizes = sizes
        self.reader = Reader(table, self.values)
        self.shards = Shards(wake_shards, list_shards)
        self.retention = None if retention_days is None else retention_days * DAY
        self.mail = Mailboxes(table, self.shards)
        self.permits = ShardedPermits(table, self.shards)
        self.paused = PausedWorkflows(table, self.shards)
        self.rates = Reservations(table, self.shards)
        self.endings = Endings(self)
        self._others = OtherWorkflows(table, list_shards)

    @property
    def own_table(self) -> str | None:
        """The name of the table, which no step may write to; ``None`` where users' tables are elsewhere."""
        return self.table.name

    # --- Writing ---

    def create(
        self, state: State, first: Entry, finish: Callable[[State], object] = _leave, *, over: bool = True
    ) -> State | None:
        """Start an instance: one conditional put of its head, which holds the first entry.

        Where a closed instance has the id, the start is the entry ``superseded`` in that life's log (see ``Endings``).

        Args:
            state: generation 1 of a new instance after ``first``, with the name of its life; over a closed instance the
                next generation begins instead, and its life may be renamed.
            first: entry number 1.
            finish: performs what the end of the closed instance may have left undone, before its life is over.
            over: whether it may begin over a closed instance, but for a child that is not detached.

        Returns:
            The state as stored, or ``None`` where an instance has the id that it may not begin over and that was not
            started by ``first.commit_id``. A repeated call with the same commit id succeeds again, with the newest
            state, also when up to 8 other generations were started since.

        Raises:
            RequestIdReused: another start had the name of this one.
        """
        head, kept = self.new_head(state, first, ())
        for left in reversed(range(TRIES)):
            if self.table.put(head, ABSENT):
                return evolve(state, kept=kept)
            found = self.reader.newest(state.instance_id)
            if found is None:
                self.endings.clear(state.instance_id)
                continue
            if self._is_repeated(found, first):
                if found.life != state.life:  # or else it was this very call whose answer was lost
                    self._forget(state, kept)
                return self.load(state.instance_id)
            with _again(left):
                if found.ended:
                    self.endings.complete(found, first.at, finish)
                    continue
                old = self.reader.state(found)
                if not over or not may_begin_over(old):
                    self._forget(state, kept)
                    return None
                if old.kept.unpublished or old.kept.owed:
                    finish(old)
                life = life_name(state.created_at, first.commit_id + state.life, old.life)
                begun = begin(state.instance_id, old.generation + 1, first, life)
                if (started := self.endings.supersede(found, old, begun, first)) is not None:
                    self._forget(state, kept)
                    return started
        message = f"instance {state.instance_id} is being started and ended by many callers at once; try again"
        raise StoreUnavailable(message)

    def commit(self, after: State, entry: Entry, writes: Sequence[Write] = ()) -> State | None:
        """Put a log entry, which is the commit; nothing else is written but the large values that it names, before it.

        Args:
            after: the state after ``entry``.
            entry: its number is ``after.sequence``.
            writes: what a step writes to tables of its own in the same transaction, as ``check_writes`` gave it: all
                of it and the entry, or nothing. At most 99.

        Returns:
            ``after``, with what is known of where it is stored, also when only the answer to an earlier try with the
            same commit id had been lost. ``None`` when another writer took the number (or the life is over): load the
            tail and decide again. That comes before anything that is wrong with ``writes``.

        Raises:
            PayloadTooLarge: the entry is larger than the table takes; nothing was written.
            ConditionFailed: the condition of one of ``writes`` does not hold; nothing was written.
            WriteRefused: one of ``writes`` cannot succeed as it is; nothing was written.
            InvariantBroken: more writes than fit a transaction; nothing was written.
        """
        if len(writes) >= MAX_TRANSACTION:
            message = f"a commit has {len(writes)} writes: at most {MAX_TRANSACTION - 1} go with a log entry"
            raise InvariantBroken(message)
        data, names = self._events(after, entry.events, after.kept.values)
        item: dict[str, Value] = {
            "pk": after.instance_id,
            "sk": log_key(after.life, entry.sequence),
            "format": FORMAT,
            "commit_id": entry.commit_id,
            "at": entry.at,
            "data": data,
        }
        if entry.alarm is not None:
            item |= self.shards.alarm(after.instance_id, entry.alarm)
        if (expires := self.expiry(entry.at, LONGEST_LIFE)) is not None:
            item[EXPIRES] = expires
        if after.kept.expiring and not self.prolong(after.instance_id, after.life, entry.at):
            return None  # a closed life would go on, and its head has expired
        if not self._put(after, entry, item, writes):
            return None
        if entry.alarm is None and not names:
            return after  # an owner's commits in between change nothing of what is known
        alarmed = (*after.kept.alarmed, entry.sequence) if entry.alarm is not None else after.kept.alarmed
        return evolve(after, kept=after.kept._replace(alarmed=alarmed, values=after.kept.values | names))

    def settle(self, state: State) -> State:
        """Have the head follow the log up to ``state``, then remove the alarms of the entries that it covers.

        The head is changed only if it is of this life and older: what it is given is a function of the log alone, so it
        may be written late, twice or never.

        Returns:
            ``state``, with what is known of where it is stored.
        """
        kept = state.kept
        if kept.settled < state.sequence:
            kept = self._write_head(state)
        for number in kept.alarmed:
            self.strip(state.instance_id, log_key(state.life, number))
        return evolve(state, kept=kept._replace(alarmed=()))

    def tidy(
        self,
        instance_id: str,
        state: State | None,
        now: int,
        alarms: Sequence[str] = (),
        finish: Callable[[State], object] = _leave,
    ) -> None:
        """Finish what a crash left undone of an instance that nobody works on: its head, its end, its alarms.

        Mail to a closed life is kept without an alarm, for a redrive; mail to another life, or to none, expires; mail
        that nothing waits for is removed.

        Args:
            instance_id: the instance.
            state: as it was read after ``alarms`` were seen; ``None`` where there is none.
            now: the time, in ms.
            alarms: the keys of entries and mail that the index showed.
            finish: as ``create`` has it, of what goes with an instance that is being deleted.
        """
        for key in [key for key in alarms if key.startswith(MAIL)]:
            self._tidy_mail(instance_id, state, key, now)
        alarms = [key for key in alarms if not key.startswith(MAIL)]
        if state is None or state.kept.ended:
            found = self.reader.newest(instance_id)
            if found is not None and found.ended:
                self.endings.complete(found, now, finish)
            elif found is None:
                self.endings.clear(instance_id)
                for key in alarms:
                    self.strip(instance_id, key)
            return
        if state.kept.owed:
            return  # its head would hide what is still to be done
        settled = self.settle(state)
        for key in alarms:
            life, number = read_log_key(key)
            if life != settled.life or number <= settled.sequence:
                self.strip(instance_id, key)

    def _tidy_mail(self, instance_id: str, state: State | None, key: str, now: int) -> None:
        life, activation, number = read_mail_key(key)
        if state is None or state.kept.ended or life != state.life:
            self.mail.expire(instance_id, key, now)
        elif state.closed:
            self.mail.quiet(instance_id, key, self.expiry(state.updated_at, LONGEST_LIFE))
        elif (child := state.children.get(activation)) is None or child.status or 0 < number <= child.number:
            self.table.delete(instance_id, key, ALWAYS)

    def delete(
        self,
        instance_id: str,
        now: int,
        finish: Callable[[State], object] = _leave,
        check: Callable[[Read], object] = _allow,
    ) -> bool:
        """Remove everything of a closed instance: its head, its logs and values of all lives, objects in S3 included.

        What it has started goes with it, see ``delete_children``: after its own end is put, and before all else.

        Args:
            instance_id: the instance.
            now: the time, in ms.
            finish: as ``create`` has it.
            check: is called first where it has children, or a parent; what it raises leaves all as it is.

        Returns:
            Whether there was such an instance.

        Raises:
            AlreadyRunning: it has not ended.
        """
        for left in reversed(range(TRIES)):
            found = self.reader.newest(instance_id)
            if found is None:
                return False
            with _again(left):
                if found.ended:
                    self.endings.complete(found, now, finish)
                    if found.ended == "deleted":
                        return True
                    continue
                old = self.reader.ahead(found)
                if not (found.head.get("status") in CLOSED if old is None else old.closed):
                    message = f"instance {instance_id} has not ended: only a closed instance can be deleted"
                    raise AlreadyRunning(message)
                if old is not None and (old.kept.unpublished or old.kept.owed):
                    finish(old)
                related = FAMILY in found.head or (old is not None and (old.attached or old.has_kin))
                if related:
                    check(found)
                if self.endings.delete(found, now, finish, related=related):
                    return True
        message = f"instance {instance_id} is being changed by many callers at once; try again"
        raise StoreUnavailable(message)

    def finish_deletion(self, instance_id: str, now: int, finish: Callable[[State], object] = _leave) -> None:
        """Remove what a deletion that was cut off has left of an instance, if there is one."""
        found = self.reader.newest(instance_id)
        if found is not None and found.ended == "deleted":
            self.endings.complete(found, now, finish)

    def quarantine(self, instance_id: str, reason: str, *, now: int, until: int, alarms: Sequence[str] = ()) -> bool:
        """Put off the alarms of an instance that cannot be read, and note why, without reading it or its log.

        Only an alarm that is due is put off: one to come belongs to somebody who can read the instance. Where the
        head's alarm is missing although the instance has not ended and does not merely wait, it is set again. ``load``
        goes on rejecting the instance; its next boundary clears the note.

        Args:
            instance_id: the instance.
            reason: why, for whoever looks at the table; the first 1,000 characters are kept.
            now: the time, in ms.
            until: when the instance is looked at again, in ms.
            alarms: the keys of entries that showed an alarm.

        Returns:
            Whether an alarm was put off, and it is news.
        """
        due = Condition(at_most={"wake_at": now})
        lost = tuple(Condition(missing=("wake_at",), equal={"status": status}) for status in _UNALARMED)
        changes = {**self.shards.alarm(instance_id, until), "quarantine": reason[:MAX_REASON] or "unknown"}
        put_off = self.table.update(instance_id, HEAD, changes, Condition(any_of=(due, *lost)))
        late = [key for key in alarms if self.table.update(instance_id, key, {"wake_at": until}, due)]
        unnoted = Condition(missing=("quarantine",))
        return put_off or (
            bool(late) and self.table.update(instance_id, HEAD, {"quarantine": changes["quarantine"]}, unnoted)
        )

    # --- Reading ---

    def load(self, instance_id: str) -> State | None:
        """The newest state: one query, and another where the head lags by more than one entry."""
        return self.reader.load(instance_id)

    def tail(self, state: State) -> State | None:
        """``state`` after what others wrote since; ``None`` where nothing was written, or its life is over."""
        items = self.reader.tail(state)
        try:
            after = self.reader.follow(state, items)
        except ValueMissing:
            found = self.reader.newest(state.instance_id)
            if found is None or found.life != state.life or found.ended:
                return None
            newest = self.load(state.instance_id)  # rounds ago, a carry was removed: newer heads do without it
            if newest is None or newest.life != state.life:
                return None
            after = newest
        return after if after.sequence > state.sequence else None

    def history(
        self, instance_id: str, generation: int | None, after: int, limit: int
    ) -> tuple[int, Sequence[Entry]] | None:
        """A page of a generation's log: its number and at most ``limit`` entries after number ``after``, in order.

        Of an instance that is older than the retention and a year, the oldest entries but the first may be gone.
        ``generation`` ``None`` is the newest. ``None`` when there is no such instance or generation.
        """
        with suppress(CorruptLog):
            return self._history(instance_id, generation, after, limit)
        return self._history(instance_id, generation, after, limit)  # it may have been deleted meanwhile

    def _history(
        self, instance_id: str, generation: int | None, after: int, limit: int
    ) -> tuple[int, Sequence[Entry]] | None:
        found = self.reader.newest(instance_id)
        if found is None or found.ended == "deleted":
            return None
        newest = int(str(found.head["generation"]))
        number = newest if generation is None else generation
        known = self._life(found, number)
        if known is None:
            return None
        life, first = known
        entries = [first] if after < 1 and limit > 0 else []
        if len(entries) < limit:
            entries += self.reader.page(instance_id, life, max(after, 1), limit - len(entries))
        return number, entries

    def life(self, instance_id: str, generation: int) -> str:
        """The name of the life that is this generation of an instance; ``""`` where there is none."""
        with suppress(CorruptLog):
            return self._life_of(instance_id, generation)
        return self._life_of(instance_id, generation)  # it may have been deleted meanwhile

    def _life_of(self, instance_id: str, generation: int) -> str:
        found = self.reader.newest(instance_id)
        known = None if found is None or found.ended == "deleted" else self._life(found, generation)
        return "" if known is None else known[0]

    def _life(self, found: Read, generation: int) -> tuple[str, Entry] | None:
        """The name and the first entry of a generation."""
        if generation == int(str(found.head["generation"])):
            return found.life, self.reader.first_of(found.head, found.life)
        return self.endings.earlier(found, generation)

    def overdue(self, now: int, limit: int, cursor: str | None = None) -> OverduePage:
        """A page of the alarms that are due at ``now`` (ms); see ``read_overdue``."""
        return read_overdue(self.table, self.shards.wake, now, limit, cursor)

    def list(self, wanted: ListFilter, *, limit: int, cursor: str | None = None, known: Sequence[str] = ()) -> Listing:
        """A page of the ``wanted`` instances, newest start first.

        A page may hold fewer than ``limit`` items, or none, and still have a cursor, when a filter is passed by few:
        following it shows them all. The first page takes at most two queries a shard, whatever is stored. Where no
        workflow is ``wanted``, ``known`` are those that most instances are of, which makes what few pass quicker to
        find, and nothing else.
        """
        if wanted.parent is None:
            return list_instances(self.table, self.shards.listing, Wanted(wanted, limit, known), cursor)
        parent = self.load(wanted.parent)
        ids = [] if parent is None else children_of(self.load, parent)
        return list_named(self.table, ids, wanted, limit, cursor)

    def known(self, ids: Iterable[str]) -> Mapping[str, Known]:
        """As what people know instances that are children, as far as their heads say so; see ``store.offspring``."""
        return known(self.table, self.reader.load_events, ids)

    def other_workflows(self, known: Sequence[str]) -> Sequence[str]:
        """The names of workflows that have instances and are not among ``known``, sorted.

        A call looks through a bounded number of instances, the newest first, and the next one goes on where it ended:
        asked again and again, all are found.
        """
        return self._others.look(known)

    def counts(self, workflows: Sequence[str], statuses: Sequence[str], *, most: int) -> Mapping[tuple[str, str], int]:
        """How many instances each pair of a workflow and a status has; ``most`` (1 or more) means that many or more.

        One query a pair and shard, each of which looks at ``most`` entries at most.
        """
        return count_instances(self.table, self.shards.listing, workflows, statuses, most)

    # --- What starts, commits and endings are made of ---

    def new_head(self, state: State, first: Entry, earlier: tuple[str, ...]) -> tuple[Item, Kept]:
        """The head of a life that begins, its large values written."""
        data, names = self._events(state, first.events, frozenset())
        head = self.shards.head(state, first.commit_id, earlier)
        if len(data) <= room(head, self.sizes.first):
            head[FIRST] = data
        else:
            self.values.put(state.instance_id, state.life, FIRST, data)
            head[f"{FIRST}_at"] = FIRST
            names |= {FIRST}
            if state.origin is not None:
                told = as_known(state)
                of: Item = {CHILD_OF: (told.id, told.root, told.path)}
                head |= of if item_bytes(of) <= room(head, self.sizes.first) else {}
        return head, Kept(1, (), head, names)

    def expiry(self, at: int, later: int = 0) -> int | None:
        """When what was written at ``at`` (ms) is no longer needed, in seconds; ``None`` for never."""
        return None if self.retention is None else at // 1000 + self.retention + later

    def prolong(self, instance_id: str, life: str, at: int) -> bool:
        """Have the head of a closed life, to whose log something is about to be added, not expire meanwhile.

        Returns:
            Whether there is such a head: it may have expired since it was read.
        """
        expires = self.expiry(at, DAY)
        if expires is None:
            return True
        own = Condition(equal={"life": life}, below={EXPIRES: expires})
        if self.table.update(instance_id, HEAD, {EXPIRES: expires}, own):
            return True
        head = self.table.get(instance_id, HEAD)  # it may expire later than that, or never
        return head is not None and head.get("life") == life

    def expire(self, state: State, at: int | None, number: int) -> bool:
        """Have a closed child go as if it had ended at ``at`` (ms), or not at all, as entry ``number`` above it says.

        Its values are read before its head is changed: those that are written once it goes on are none of these.

        Returns:
            Whether it is as that entry says; ``False`` where a later one has said otherwise.

        Raises:
            StoreUnavailable: its head does not follow its log yet, and would forget it.
        """
        later, expires = (None, None) if at is None else (self.expiry(at, LONGEST_LIFE), self.expiry(at, DAY))
        has_values = state.kept.values or state.has_spread
        values = self.values.every(state.instance_id, state.life) if has_values else ()
        latest = said_by(number)
        own = Condition(equal={"life": state.life, "sequence": state.sequence}, any_of=latest.any_of)
        if self.table.update(state.instance_id, HEAD, {EXPIRES: expires, KEPT_BY: number}, own):
            self.values.expire(values, later, number)
            return True
        head = self.table.get(state.instance_id, HEAD)
        if head is None or head.get("life") != state.life:
            return True
        if not latest.holds(head):
            return False
        message = f"instance {state.instance_id} has ended, and its head does not follow yet; try again"
        raise StoreUnavailable(message)

    def strip(self, instance_id: str, key: str) -> None:
        """Remove the alarm of one entry, if it is there."""
        self.table.update(instance_id, key, {"wake_shard": None, "wake_at": None}, PRESENT)

    def _events(self, state: State, events: tuple[Event, ...], known: frozenset[str]) -> tuple[bytes, frozenset[str]]:
        """Events as bytes, and the names of their large values, those written that are not ``known`` to be."""
        data = dump_events(events)
        if len(data) <= self.sizes.apart:
            return data, frozenset()
        left, apart = set_apart(events, self.sizes.apart)
        if apart:
            data = packed(apart, dump_events(left))
        self._write_values(state, apart, known)
        if len(data) > (limit := self.table.max_item_bytes - OVERHEAD):
            message = f"instance {state.instance_id}: a commit takes {len(data)} bytes, at most {limit} fit"
            raise PayloadTooLarge(message)
        return data, frozenset(names_in(apart))

    def _write_values(self, state: State, apart: Mapping[str, bytes], known: frozenset[str]) -> None:
        goes = not state.stays  # as with its head
        expires = self.expiry(state.updated_at, LONGEST_LIFE) if goes else None
        for place, value in apart.items():
            (name,) = names_in((place,))
            if name not in known:
                self.values.put(state.instance_id, state.life, name, value, expires)

    def _put(self, after: State, entry: Entry, item: Item, writes: Sequence[Write]) -> bool:
        """Put a log entry if its number is free; whether it was, or this very entry has taken it."""
        if entry.sequence > LAST_NUMBER:
            message = f"instance {after.instance_id} has {LAST_NUMBER} log entries: start another"
            raise PayloadTooLarge(message)
        if not writes:
            return self.table.put(item, ABSENT) or self._is_mine(item)
        token = hashlib.sha256(f"{item['pk']!s} {item['sk']!s} {entry.commit_id} {entry.at}".encode()).hexdigest()[:36]
        try:
            return self.table.transact(item, ABSENT, writes, token) or self._is_mine(item)
        except WriteFailed:
            # A repeated transaction finds its own effects, and its conditions need not hold any more. And a number that
            # another writer took comes first: DynamoDB does not say so where it rejects the request as a whole.
            found = self.table.get(str(item["pk"]), str(item["sk"]))
            if found is None:
                raise
            return found.get("commit_id") == entry.commit_id

    def _is_mine(self, item: Item) -> bool:
        found = self.table.get(str(item["pk"]), str(item["sk"]))
        return found is not None and found.get("commit_id") == item["commit_id"]

    def _write_head(self, state: State) -> Kept:
        """Have the head follow; what is known of it afterwards, whether it was this call that wrote it or not."""
        goes = not state.stays
        late = LATEST_START_MS // 1000 if state.scheduled_for else 0  # its schedule may start it again (G.2)
        kept, expires = state.kept, self.expiry(state.updated_at, late) if goes else None
        later = self.expiry(state.updated_at, LONGEST_LIFE) if goes else None
        given: Sequence[Item] = ()
        number = whole(kept.head, KEPT_BY) if state.attached else state.sequence
        if (kept.values or state.has_spread) and kept.expiring is not (later is not None):
            given = self.values.every(state.instance_id, state.life)
            self.values.expire(given, later, number)
        changes = self.shards.changes(state, expires)
        snapshot, names = self._snapshot(state)
        name = ""
        if len(snapshot) > room(kept.head, self.sizes.head):
            name = f"snapshot{state.sequence}"
            self.values.put(state.instance_id, state.life, name, snapshot, later)
        changes |= {"snapshot": None, "snapshot_at": name} if name else {"snapshot": snapshot, "snapshot_at": None}
        own = Condition(equal={"life": state.life}, below={"sequence": state.sequence})
        written = self.table.update(state.instance_id, HEAD, changes, own)
        if given and later is not None and not written and self._goes_on(state):
            self.values.take_back(given, number)
        if written and kept.snapshot and kept.snapshot != name:
            self.values.remove(state.instance_id, state.life, (kept.snapshot,))
        known = kept.values - {kept.snapshot} | names | ({name} if name else set())
        known = self._forget_carries(state, known)
        return kept._replace(settled=state.sequence, values=known, snapshot=name, expiring=later is not None)

    def _goes_on(self, closed: State) -> bool:
        """Whether the head of a life that had ended has followed what came after its end."""
        head = self.table.get(closed.instance_id, HEAD)
        return head is not None and head.get("life") == closed.life and whole(head, "sequence") > closed.sequence

    def _forget_carries(self, state: State, known: frozenset[str]) -> frozenset[str]:
        """Remove the large carries of all rounds but the newest two, whose head is written; what is left of ``known``.

        Who reads an older head finds its own carry missing, and reads again.
        """
        for key, step in state.steps.items():
            if step.loop is None or step.status not in TIMED:
                continue
            line, rounds, large = state.line(key), step.loop.rounds, is_large(step.loop.carry)
            kept = [carry_prefix(line, number) for number in (rounds, *((rounds - 1,) if large else ()))]
            own = {name for name in known if name.startswith(carry_prefix(line, 0).removesuffix("0-"))}
            old = {name for name in own if not name.startswith(tuple(kept))}
            for number in ((rounds - 2,) if large else (rounds - 2, rounds - 1)) if own else ():
                self.values.forget(state.instance_id, state.life, carry_prefix(line, number))
            self.values.remove(state.instance_id, state.life, old)
            known -= old
        return known

    def _snapshot(self, state: State) -> tuple[bytes, frozenset[str]]:
        """A state as bytes, and the names of its large values."""
        bare = lean(state)
        snapshot = dump_state(bare)
        if len(snapshot) <= self.sizes.apart:
            return snapshot, frozenset()
        left, apart = state_apart(bare, self.sizes.apart)
        if not apart:
            return snapshot, frozenset()
        self._write_values(state, apart, state.kept.values)
        return packed(apart, dump_state(left)), frozenset(names_in(apart))

    def _is_repeated(self, found: Read, first: Entry) -> bool:
        earlier = found.head.get("earlier", ())
        known = (str(found.head["first_commit"]), *(earlier if isinstance(earlier, tuple) else ()))
        return is_repeated(first.commit_id, known, str(found.head["pk"]))

    def _forget(self, state: State, kept: Kept) -> None:
        """Remove the values of a start that did not come about."""
        self.values.remove(state.instance_id, state.life, kept.values)


def _again(left: int) -> AbstractContextManager[object]:
    """Where a value was removed since it was read who names it, end this try; the last one raises."""
    return suppress(ValueMissing) if left else nullcontext()
