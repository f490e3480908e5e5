"""The port ``Table`` in memory: the engine's own table in tests, in the testing kit and in the simulation.

The tables that a user's steps write to are ``hephaestus.writes.memory_tables``. A partition has a lock of its own,
held for a dictionary's change: what is stored is made before.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict, deque
from contextlib import ExitStack
from typing import TYPE_CHECKING

from hephaestus.store.table import EXPIRES, MAX_ITEM_BYTES, Condition, Page, added, changed, check_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hephaestus.store.table import Change, Filter, Index, Item, Key, Position, Value
    from hephaestus.writes import Write
    from hephaestus.writes.memory_tables import MemoryTables


class _Partition:
    """The items of one ``pk``: by ``sk``, and their keys in order. An item is replaced, never changed in place."""

    __slots__ = ("items", "keys", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.items: dict[str, Item] = {}
        self.keys: list[str] = []


class InMemoryTable:
    """A ``Table`` in memory; safe to use from many threads.

    Args:
        indexes: its indexes.
        tables: what steps may write to; nothing by default.
        lagging: whether an index shows a change only after ``catch_up``; otherwise at once.
        max_item_bytes: the largest item it takes.
    """

    name: str | None = None
    distant = False

    def __init__(
        self,
        indexes: Iterable[Index],
        *,
        tables: MemoryTables | None = None,
        lagging: bool = False,
        max_item_bytes: int = MAX_ITEM_BYTES,
    ) -> None:
        self.tables = tables
        self.max_item_bytes = max_item_bytes
        self._partitions: dict[str, _Partition] = {}
        self._indexes = {index.name: (index, _Entries()) for index in indexes}
        self._placing = frozenset(index.partition for index, _ in self._indexes.values())
        self._lagging = lagging
        self._pending: deque[tuple[Key, Item | None, Item | None]] = deque()

    def get(self, pk: str, sk: str) -> Item | None:
        """An item; see ``Table``."""
        partition = self._partitions.get(pk)
        return None if partition is None else partition.items.get(sk)

    def get_many(self, keys: Sequence[Key], attributes: Sequence[str]) -> list[Item]:
        """Attributes of many items; see ``Table``."""
        names = dict.fromkeys(("pk", "sk", *attributes))
        found = [item for key in keys if (item := self.get(*key)) is not None]
        return [{name: item[name] for name in names if name in item} for item in found]

    def query(
        self, pk: str, *, low: str, high: str, limit: int | None = None, descending: bool = False
    ) -> Sequence[Item]:
        """Items of a partition; see ``Table``."""
        partition = self._partitions.get(pk)
        if partition is None:
            return []
        with partition.lock:
            keys, first, end = partition.keys, bisect_left(partition.keys, low), bisect_right(partition.keys, high)
            if limit is not None:
                first, end = (max(first, end - limit), end) if descending else (first, min(end, first + limit))
            items = [partition.items[key] for key in keys[first:end]]
        return items[::-1] if descending else items

    def put(self, item: Item, condition: Condition) -> bool:
        """Write an item; see ``Table``."""
        return self._put(item, condition, ())

    def update(self, pk: str, sk: str, changes: Mapping[str, Value | None], condition: Condition) -> bool:
        """Change an item; see ``Table``."""
        partition = self._partitions.get(pk)
        if partition is None:
            return False
        with partition.lock:
            found = partition.items.get(sk)
            if found is None or not condition.holds(found):
                return False
            after = changed(found, changes)
            check_size(after, self.max_item_bytes)
            partition.items[sk] = after
            self._changed((pk, sk), found, after)
        return True

    def add(  # noqa: PLR0913, PLR0917 - as the port has it
        self, pk: str, sk: str, name: str, by: int, changes: Mapping[str, Value | None], condition: Condition
    ) -> tuple[bool, Item | None]:
        """Add to a number; see ``Table``."""
        partition = self._partitions.get(pk)
        if partition is None:
            return False, None
        with partition.lock:
            found = partition.items.get(sk)
            if found is None or not condition.holds(found):
                return False, found
            after = added(found, name, by, changes)
            partition.items[sk] = after
            self._changed((pk, sk), found, after)
        return True, after

    def delete(self, pk: str, sk: str, condition: Condition) -> bool:
        """Remove an item; see ``Table``."""
        partition = self._partitions.get(pk)
        if partition is None:
            return condition.holds(None)
        with partition.lock:
            found = partition.items.get(sk)
            if not condition.holds(found):
                return False
            if found is not None:
                del partition.items[sk], partition.keys[bisect_left(partition.keys, sk)]
                self._changed((pk, sk), found, None)
        return True

    def change_all(self, changes: Sequence[Change]) -> bool:
        """Do several writes together; see ``Table``."""
        names = sorted({change.pk for change in changes})
        partitions = {pk: self._partitions.get(pk) or self._partitions.setdefault(pk, _Partition()) for pk in names}
        with ExitStack() as held:
            for partition in partitions.values():
                held.enter_context(partition.lock)
            found = [partitions[change.pk].items.get(change.sk) for change in changes]
            if not all(change.condition.holds(item) for change, item in zip(changes, found, strict=True)):
                return False
            after = [change.applied(item) for change, item in zip(changes, found, strict=True)]
            for item in after:
                if item is not None:
                    check_size(item, self.max_item_bytes)
            for change, before, item in zip(changes, found, after, strict=True):
                self._replace(partitions[change.pk], change.sk, before, item)
                self._changed((change.pk, change.sk), before, item)
        return True

    def transact(self, item: Item, condition: Condition, writes: Sequence[Write], token: str) -> bool:  # noqa: ARG002 - an answer is never lost here
        """Put an item with a step's writes; see ``Table``."""
        return self._put(item, condition, writes)

    def query_index(  # noqa: PLR0913 - as the port has it
        self,
        index: str,
        partition: str,
        *,
        low: int | str,
        high: int | str,
        limit: int,
        after: Position | None = None,
        descending: bool = False,
        where: Filter | None = None,
    ) -> Page:
        """A page of an index; see ``Table``."""
        kind, entries = self._indexes[index]
        placed = ((kind.position(item), item) for item in entries.of(partition))
        found = [
            (position, item)
            for position, item in placed
            if low <= position.sort <= high  # type: ignore[operator]  # an index's values are of one type
            and (after is None or (position < after if descending else position > after))
        ]
        found.sort(key=lambda pair: pair[0], reverse=descending)
        read = found[:limit]
        shown = (kind.entry(item) for _, item in read)
        items = tuple(entry for entry in shown if where is None or where.shows(entry))
        return Page(items, read[-1][0] if len(found) > limit else None)

    def count_index(self, index: str, partition: str, most: int) -> int:
        """How many items there are; see ``Table``."""
        return min(len(self._indexes[index][1].of(partition)), most)

    def expire(self, now: int) -> int:
        """Remove what has expired at ``now`` (seconds since the epoch), as DynamoDB does some time later; how many."""
        removed = 0
        for pk, partition in list(self._partitions.items()):
            for sk, item in list(partition.items.items()):
                until = item.get(EXPIRES)
                if isinstance(until, int) and until <= now:
                    removed += self.delete(pk, sk, Condition(equal={EXPIRES: until}))
        return removed

    @property
    def pending(self) -> int:
        """How many changes the indexes of a lagging table do not show yet."""
        return len(self._pending)

    def catch_up(self, most: int | None = None) -> None:
        """Have the indexes show the oldest ``most`` changes that they lack; all of them by default."""
        for _ in range(len(self._pending) if most is None else min(most, len(self._pending))):
            self._reindex(*self._pending.popleft())

    def _put(self, item: Item, condition: Condition, writes: Sequence[Write]) -> bool:
        check_size(item, self.max_item_bytes)
        pk, sk, kept = str(item["pk"]), str(item["sk"]), dict(item)
        partition = self._partitions.get(pk)
        if partition is None:  # a `defaultdict` would make one for each of two threads
            partition = self._partitions.setdefault(pk, _Partition())
        with partition.lock:
            found = partition.items.get(sk)
            if not condition.holds(found):
                return False
            if writes:
                self._write(writes)
            partition.items[sk] = kept
            if found is None:
                insort(partition.keys, sk)
            self._changed((pk, sk), found, kept)
        return True

    @staticmethod
    def _replace(partition: _Partition, sk: str, before: Item | None, after: Item | None) -> None:
        if after is not None:
            partition.items[sk] = after
            if before is None:
                insort(partition.keys, sk)
        elif before is not None:
            del partition.items[sk], partition.keys[bisect_left(partition.keys, sk)]

    def _write(self, writes: Sequence[Write]) -> None:
        from hephaestus.writes.memory_tables import MemoryTables  # noqa: PLC0415 - most tests write nothing

        (self.tables or MemoryTables()).transact(writes)

    def _changed(self, key: Key, before: Item | None, after: Item | None) -> None:
        """Have the indexes follow; called with the item's partition locked, so that changes of an item keep order."""
        if before is None and after is not None and self._placing.isdisjoint(after):
            return  # a new log entry without an alarm is in no index
        if self._lagging:
            self._pending.append((key, before, after))
        else:
            self._reindex(key, before, after)

    def _reindex(self, key: Key, before: Item | None, after: Item | None) -> None:
        for index, entries in self._indexes.values():
            was = None if before is None else index.place(before)
            becomes = None if after is None else index.place(after)
            if was is not None and was != becomes:
                entries.remove(was, key)
            if becomes is not None and after is not None:
                entries.set(becomes, key, after)


class _Entries:
    """What an index shows: the items by partition and key, sorted when they are asked for."""

    __slots__ = ("_partitions",)

    def __init__(self) -> None:
        self._partitions: defaultdict[str, dict[Key, Item]] = defaultdict(dict)

    def of(self, partition: str) -> list[Item]:
        return list(self._partitions[partition].values()) if partition in self._partitions else []

    def set(self, partition: str, key: Key, item: Item) -> None:
        self._partitions[partition][key] = item

    def remove(self, partition: str, key: Key) -> None:
        self._partitions[partition].pop(key, None)
