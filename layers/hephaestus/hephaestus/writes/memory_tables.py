"""A user's tables in memory, so that what steps write can be tested without AWS.

They know the names of their keys, not the types, and a part of the expressions (``hephaestus.writes.expressions``).
Numbers come back as ``Decimal``, as boto3 gives them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, MutableMapping, Sequence
from copy import deepcopy
from typing import Any

from hephaestus.writes import Check, ConditionFailed, Delete, Put, Update, Write, WriteRefused, table_name
from hephaestus.writes.attributes import frozen, item_size
from hephaestus.writes.expressions import BadExpression, holds, updated
from hephaestus.writes.rules import MAX_ITEM_BYTES, MAX_KEY_ATTRIBUTES, TABLE_NAME


class MemoryTable:
    """One table: its items by their keys.

    Args:
        key: the names of the key's attributes, one or two.
    """

    def __init__(self, key: Sequence[str]) -> None:
        self.key = tuple(key)
        self.stored: MutableMapping[tuple[Any, ...], Mapping[str, Any]] = {}

    def __len__(self) -> int:
        return len(self.stored)

    def get(self, *key: object) -> dict[str, Any] | None:
        """A copy of the item with this key, its parts in the order of the table's; ``None`` if there is none."""
        found = self.stored.get(tuple(frozen(part, "key") for part in key))
        return None if found is None else deepcopy(dict(found))

    def items(self) -> list[dict[str, Any]]:
        """Copies of all items, in the order in which they were first written."""
        return [deepcopy(dict(item)) for item in list(self.stored.values())]

    def put(self, item: Mapping[str, Any]) -> None:
        """Put an item as a test needs it to be there.

        Raises:
            KeyError: it lacks a part of the key.
            NotAnAttribute: DynamoDB could not keep it.
        """
        kept = frozen(item, "item", -1)
        self.stored[tuple(kept[name] for name in self.key)] = kept


class MemoryTables(Mapping[str, MemoryTable]):
    """Tables by their names; a write may name one by its ARN.

    Args:
        keys: the names of each table's key attributes, as in ``{"orders": ("pk",)}``.

    Raises:
        ValueError: DynamoDB takes no table of that name, or no such key.
    """

    def __init__(self, keys: Mapping[str, Sequence[str]] | None = None) -> None:
        for name, key in (keys or {}).items():
            _check_table(name, key)
        self._lock = threading.Lock()
        self._tables = {name: MemoryTable(key) for name, key in (keys or {}).items()}

    def __getitem__(self, name: str) -> MemoryTable:
        return self._tables[name]

    def __iter__(self) -> Any:
        return iter(self._tables)

    def __len__(self) -> int:
        return len(self._tables)

    def transact(self, writes: Sequence[Write]) -> None:
        """Do all of ``writes``, as ``check_writes`` gave them, or none.

        Raises:
            ConditionFailed: a condition does not hold.
            WriteRefused: DynamoDB would not take one of them.
            NotInMemory: an expression that memory's tables do not know.
        """
        with self._lock:
            keys = [self._key(index, writes) for index in range(len(writes))]
            self._refuse_twice(writes, keys)
            results = [self._result(index, writes, key) for index, key in enumerate(keys)]
            for write, key, result in zip(writes, keys, results, strict=True):
                stored = self._tables[table_name(write.table)].stored
                if result is None:
                    stored.pop(key, None)
                else:
                    stored[key] = result

    def _key(self, index: int, writes: Sequence[Write]) -> tuple[Any, ...]:
        """The key of what a write is about, which no other may be about."""
        write = writes[index]
        table = self._tables.get(table_name(write.table))
        if table is None:
            message = "there is no such table in memory: add it to LocalRuntime(tables=...), with its key"
            raise WriteRefused(message, index, writes)
        document = write.item if isinstance(write, Put) else write.key
        if not set(table.key) <= set(document) or not (isinstance(write, Put) or len(document) == len(table.key)):
            message = f"its key does not fit the table's, which is {', '.join(table.key)}"
            raise WriteRefused(message, index, writes)
        return tuple(document[name] for name in table.key)

    def _refuse_twice(self, writes: Sequence[Write], keys: Sequence[tuple[Any, ...]]) -> None:
        seen = set()
        for index, (write, key) in enumerate(zip(writes, keys, strict=True)):
            item = (table_name(write.table), key)
            if item in seen:
                message = "another write is on the same item, which DynamoDB refuses: make one write of them"
                raise WriteRefused(message, index, writes)
            seen.add(item)

    def _result(self, index: int, writes: Sequence[Write], key: tuple[Any, ...]) -> Mapping[str, Any] | None:
        """What a write leaves of its item."""
        write = writes[index]
        table = self._tables[table_name(write.table)]
        found = table.stored.get(key)
        names, values = write.names or {}, write.values or {}
        try:
            condition_holds = write.condition is None or holds(write.condition, names, values, found or {})
            after = _after(write, found, table.key) if condition_holds else found
        except BadExpression as error:
            message = f"DynamoDB would refuse it: {error}"
            raise WriteRefused(message, index, writes) from error
        if not condition_holds:
            message = "its condition does not hold"
            raise ConditionFailed(message, index, writes)
        if after is not None and item_size(after) > MAX_ITEM_BYTES:
            message = f"the item would be larger than the {MAX_ITEM_BYTES} bytes that DynamoDB keeps"
            raise WriteRefused(message, index, writes)
        return after


def _check_table(name: str, key: Sequence[str]) -> None:
    if not TABLE_NAME.fullmatch(name):
        message = f"the table {name!r} has no name that DynamoDB takes: 3 to 255 letters, digits, '_', '-' and '.'"
        raise ValueError(message)
    if isinstance(key, str) or not 1 <= len(set(key)) == len(key) <= MAX_KEY_ATTRIBUTES or not all(key):
        message = f"the table {name} has the key {key!r}: pass the names of one or two attributes, as in ('pk', 'sk')"
        raise ValueError(message)


def _after(write: Write, found: Mapping[str, Any] | None, key: Sequence[str]) -> Mapping[str, Any] | None:
    match write:
        case Put():
            return write.item
        case Update():
            return updated(write.update, write.names or {}, write.values or {}, found or write.key, key)
        case Delete():
            return None
        case Check():
            return found
