"""Reads instances: the head and the newest entry in one consistent query, and what lies between them where needed.

The query is no snapshot over its two items. What is known is the greater of the head's sequence and the entry's number.
An entry of an earlier life counts as none; one of a later life says that the head was read before it was replaced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from hephaestus.engine.codec import load_events, load_state
from hephaestus.engine.effects import is_news, owed
from hephaestus.engine.events import Entry, InstanceStarted
from hephaestus.engine.fold import begin, fold
from hephaestus.engine.state import Kept, State, evolve
from hephaestus.errors import CorruptLog, StoreUnavailable
from hephaestus.store.heads import fattened
from hephaestus.store.items import attribute, check_format
from hephaestus.store.keys import HEAD, LAST_NUMBER, LOG, end_of, log_key, read_log_key
from hephaestus.store.table import EXPIRES, MAX_BATCH
from hephaestus.store.values import ValueMissing, Values, is_carry, names_in, put_back, state_whole, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from hephaestus.engine.events import Event
    from hephaestus.store.table import Item, Table

T = TypeVar("T")
TRIES: Final = 8
LOG_END: Final = end_of(LOG)
LOGGED: Final = ("format", "data", "commit_id", "at")  # what an entry is read from
FIRST: Final = "first"  # the name of the value that holds a first entry


class Read(NamedTuple):
    """A head, and the newest entry of its life, if there is one.

    Attributes:
        head: the head.
        life: the life of both.
        newest: the entry.
        number: the entry's number; 0 without one.
        ended: what ended the life, if the newest entry says so: ``superseded`` or ``deleted``.
    """

    head: Item
    life: str
    newest: Item | None = None
    number: int = 0
    ended: str = ""

    @property
    def sequence(self) -> int:
        """The number of the newest entry that is known."""
        return max(attribute(self.head, "sequence", int), self.number)


class Reader:
    """Reads one table.

    Args:
        table: the table.
        values: where what is large stands.

    Attributes:
        load_events: decodes an entry.
        load_state: decodes a snapshot.
    """

    def __init__(self, table: Table, values: Values) -> None:
        self.table = table
        self.values = values
        self.load_events = load_events
        self.load_state = load_state

    def newest(self, instance_id: str) -> Read | None:
        """The head and the newest entry of its life (``pk``, ``head`` and the first ``log#`` key), consistently."""
        for _ in range(TRIES):
            items = self.table.query(instance_id, low=HEAD, high=LOG_END, limit=2)
            if not items or items[0]["sk"] != HEAD:
                return None
            head = _head(items[0])
            own_life = str(head["life"])
            if len(items) == 1:
                return Read(head, own_life)
            entry, (life, number) = items[1], _log_key(items[1])
            if life > own_life:
                return Read(head, own_life)  # an earlier life's: names of lives count down
            if life < own_life:
                low, high = log_key(own_life, LAST_NUMBER), log_key(own_life, 0)
                own = self.table.query(instance_id, low=low, high=high, limit=1)
                again = self.table.get(instance_id, HEAD)
                if again is None or again.get("life") != own_life:
                    continue
                head = _head(again)
                if not own:
                    return Read(head, own_life)
                entry, (_, number) = own[0], _log_key(own[0])
            return Read(head, own_life, check_format(entry), number, str(entry.get("ends", "")))
        message = f"instance {instance_id} is being started and ended by many callers at once; try again"
        raise StoreUnavailable(message)

    def load(self, instance_id: str, *, ended: bool = False) -> State | None:
        """The newest state; ``None`` where there is none, or where it is being deleted, unless ``ended`` asks for it.

        Raises:
            CorruptLog: what is stored cannot be read.
        """
        missing: ValueMissing | None = None
        for _ in range(TRIES):
            found = self.newest(instance_id)
            if found is None or (found.ended == "deleted" and not ended):
                return None
            try:
                return self.state(found)
            except ValueMissing as error:
                if missing is not None and str(missing) == str(error):
                    raise
                missing = error  # a newer head may have been written since, and the value removed: look again
        message = f"instance {instance_id} changes faster than it can be read; try again"
        raise StoreUnavailable(message)

    def state(self, read: Read) -> State:
        """The state that a head and the log behind it say.

        Raises:
            ValueMissing: a value was removed since the head was read, or is lost.
            CorruptLog: something cannot be read.
        """
        head, instance_id = read.head, str(read.head["pk"])
        named = {name: str(head[at]) for name, at in ((FIRST, "first_at"), ("snapshot", "snapshot_at")) if at in head}
        large = self.values.get(instance_id, read.life, tuple(named.values())) if named else {}
        opening = large[named[FIRST]] if FIRST in named else attribute(head, FIRST, bytes)
        places, data = unpacked(opening, instance_id)
        known = set(named.values()) | set(names_in(places))
        events = self._events(instance_id, read.life, places, data)
        first = Entry(1, str(head["first_commit"]), attribute(head, "created_at", int), events)
        generation = attribute(head, "generation", int)
        snapshot = large[named["snapshot"]] if "snapshot" in named else head.get("snapshot")
        if isinstance(snapshot, bytes):
            state, names = self._snapshot(read, InstanceStarted.of(instance_id, generation, first), snapshot)
            known |= names
        else:
            state = begin(instance_id, generation, first, read.life)
        sequence = attribute(head, "sequence", int)
        if state.sequence != sequence:
            message = f"instance {instance_id}: its snapshot is of entry {state.sequence}, its head of {sequence}"
            raise CorruptLog(message)
        if "quarantine" in head:  # whoever was put off goes by the alarm that it was given, until its next boundary
            state = evolve(state, wake_at=head.get("wake_at"))
        kept = Kept(
            sequence,
            (),
            head,
            frozenset(known),
            named.get("snapshot", ""),
            EXPIRES in head,
            read.ended,
            (state,) if sequence == 1 and is_news(None, state) else (),  # that it stands there says nothing
        )
        state = evolve(state, kept=kept)
        return state if read.number <= sequence else self.follow(state, self._behind(read, sequence))

    def ahead(self, read: Read) -> State | None:
        """The state where the log is ahead of the head; ``None`` where the head is up to date.

        Raises:
            ValueMissing, CorruptLog: it cannot be read.
        """
        return None if read.sequence == attribute(read.head, "sequence", int) else self.state(read)

    def follow(self, state: State, items: Sequence[Item]) -> State:
        """A state after the log entries of ``items``, in order; what ends a life changes nothing of its state."""
        if not items:
            return state
        known, alarmed, news = set(state.kept.values), [*state.kept.alarmed], [*state.kept.unpublished]
        untold, ends = [*state.kept.owed], False
        for item in items:
            if "ends" in item:
                state = evolve(state, kept=state.kept._replace(ended=str(item["ends"])))
                continue
            entry, names = self._entry(item)
            before, state = state, fold(state, (entry,))
            known.update(names)
            ends = ends or not state.stays
            if entry.alarm is not None:
                alarmed.append(entry.sequence)
            if is_news(before, state):
                news.append(state)
            untold += owed(before, entry, state)
        kept = state.kept._replace(alarmed=tuple(alarmed), values=frozenset(known), unpublished=tuple(news))
        expiring = None if ends and not kept.expiring else kept.expiring
        return evolve(state, kept=kept._replace(owed=tuple(untold), expiring=expiring))

    def tail(self, state: State) -> Sequence[Item]:
        """The items of the log after ``state``, in order (``pk``, the ``log#`` keys of its life)."""
        low, high = log_key(state.life, LAST_NUMBER), log_key(state.life, state.sequence + 1)
        return self._checked(self.table.query(state.instance_id, low=low, high=high), state.sequence)

    def entry(self, instance_id: str, life: str, number: int) -> Item | None:
        """One log entry, consistently."""
        return self.table.get(instance_id, log_key(life, number))

    def entries(self, instance_id: str, life: str, numbers: Collection[int]) -> Mapping[int, Entry]:
        """The log entries with these numbers (2 or more), those that are there."""
        keys = [(instance_id, log_key(life, number)) for number in numbers]
        found: dict[int, Entry] = {}
        for start in range(0, len(keys), MAX_BATCH):
            wanted = keys[start : start + MAX_BATCH]
            items = {str(item["sk"]): item for item in self.table.get_many(wanted, LOGGED)}
            for pk, sk in wanted:
                item = items.get(sk) or self.table.get(pk, sk)  # a batch is not consistent
                if item is not None and "ends" not in item:
                    entry = self.entry_of({**item, "pk": pk, "sk": sk})
                    found[entry.sequence] = entry
        return found

    def first_of(self, item: Item, life: str, prefix: str = "") -> Entry:
        """The first entry of a life, as its head, or what took the head's place, keeps it."""
        instance_id = str(item["pk"])
        at = item.get(f"{prefix}first_at")
        data = (
            attribute(item, f"{prefix}first", bytes)
            if at is None
            else self.values.get(instance_id, life, (str(at),))[str(at)]
        )
        commit, created = str(item[f"{prefix}first_commit"]), attribute(item, f"{prefix}created_at", int)
        places, rest = unpacked(data, instance_id)
        return Entry(1, commit, created, self._events(instance_id, life, places, rest))

    def page(self, instance_id: str, life: str, after: int, limit: int) -> Sequence[Entry]:
        """At most ``limit`` entries of a life's log after number ``after`` (1 or more), in order, where left."""
        if after >= LAST_NUMBER:
            return []
        low, high = log_key(life, LAST_NUMBER), log_key(life, after + 1)
        items = self.table.query(instance_id, low=low, high=high, limit=limit, descending=True)
        entries = [self.entry_of(check_format(item)) for item in items if "ends" not in item]
        for entry, number in zip(entries, range(entries[0].sequence if entries else 0, LAST_NUMBER), strict=False):
            if entry.sequence != number:
                message = f"instance {instance_id}: log entry {number} is missing"
                raise CorruptLog(message)
        return entries

    def _behind(self, read: Read, sequence: int) -> Sequence[Item]:
        """The log entries after number ``sequence`` that a read shows, at least one, in order."""
        if read.newest is not None and read.number == sequence + 1:
            return (read.newest,)
        low, high = log_key(read.life, read.number), log_key(read.life, sequence + 1)
        return self._checked(self.table.query(str(read.head["pk"]), low=low, high=high), sequence)

    def _checked(self, items: Sequence[Item], after: int) -> Sequence[Item]:
        found = [check_format(item) for item in reversed(items)]
        for number, item in enumerate(found, after + 1):
            if read_log_key(str(item["sk"]))[1] != number:
                message = f"instance {item['pk']!s}: log entry {number} is missing"
                raise CorruptLog(message)
        return found

    def _snapshot(self, read: Read, started: InstanceStarted, snapshot: bytes) -> tuple[State, set[str]]:
        """The state that a head's snapshot holds, and the names of its values."""
        instance_id = str(read.head["pk"])
        places, data = unpacked(snapshot, instance_id)
        state = _named(instance_id, self.load_state, data)
        if (state.instance_id, state.generation) != (instance_id, read.head["generation"]):
            message = f"instance {instance_id}: its snapshot is of another instance or generation"
            raise CorruptLog(message)
        names = names_in(places)
        if names:
            state = state_whole(state, places, self.values.get(instance_id, read.life, names))
        return fattened(state, started, read.life, read.head), set(names)

    def entry_of(self, item: Item) -> Entry:
        """The log entry that an item holds; what a round left whose carry is not kept any more reads as nothing."""
        return self._entry(item, past=True)[0]

    def _entry(self, item: Item, *, past: bool = False) -> tuple[Entry, tuple[str, ...]]:
        """A log entry, and the names of its values."""
        instance_id = str(item["pk"])
        life, number = read_log_key(str(item["sk"]))
        places, data = unpacked(attribute(item, "data", bytes), instance_id)
        alarm = item.get("wake_at")
        events = self._events(instance_id, life, places, data, past=past)
        commit_id, at = attribute(item, "commit_id", str), attribute(item, "at", int)
        return Entry(number, commit_id, at, events, alarm if isinstance(alarm, int) else None), names_in(places)

    def _events(
        self, instance_id: str, life: str, places: Sequence[str], data: bytes, *, past: bool = False
    ) -> tuple[Event, ...]:
        """The events of an entry, those with large values complete, but for carries of ``past`` rounds."""
        events = _named(instance_id, self.load_events, data)
        if not places:
            return events
        carries = frozenset(names_in(filter(is_carry, places))) if past else frozenset()
        others = [name for name in names_in(places) if name not in carries]
        values = {**self.values.get(instance_id, life, others), **self.values.find(instance_id, life, carries)}
        return put_back(events, [place for place in places if names_in((place,))[0] in values], values)


def _head(item: Item) -> Item:
    check_format(item)
    for name in ("life", "first_commit"):
        attribute(item, name, str)
    return item


def _log_key(item: Item) -> tuple[str, int]:
    """The life and the number of a log entry.

    Raises:
        CorruptLog: it is none.
    """
    try:
        return read_log_key(str(item["sk"]))
    except ValueError as error:
        message = f"instance {item['pk']!s}: {item['sk']!s} is no key of this table"
        raise CorruptLog(message) from error


def _named(instance_id: str, read: Callable[[bytes], T], data: bytes) -> T:
    """What ``read`` makes of ``data``, its errors naming the instance."""
    try:
        return read(data)
    except CorruptLog as error:
        message = f"instance {instance_id}: {error}"
        raise CorruptLog(message) from error
