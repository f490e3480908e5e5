"""A table in memory that counts what the same calls ask of DynamoDB.

The rule (DynamoDB Developer Guide, "Capacity units", "Transactions" and "Global secondary indexes"): a write costs a
unit a started KB of the item, in a transaction two; an index entry that is put, deleted or changed costs one, one that
moves two; a consistent read costs a unit a started 4 KB.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.store.items import INDEXES
from hephaestus.store.table import item_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.store.table import Change, Condition, Index, Item, Key, Value
    from hephaestus.writes import Write

KB: Final = 1024
READ: Final = 4 * KB


@dataclass(slots=True)
class Tally:
    """Requests by name, and units."""

    requests: dict[str, int] = field(default_factory=dict)
    write_units: int = 0
    read_units: int = 0

    def write(self, operation: str, units: int) -> None:
        """One request that writes."""
        self.requests[operation] = self.requests.get(operation, 0) + 1
        self.write_units += units

    def read(self, operation: str, size: int) -> None:
        """One request that reads."""
        self.requests[operation] = self.requests.get(operation, 0) + 1
        self.read_units += -(-max(size, 1) // READ)


class CountingTable(InMemoryTable):
    """A table in memory that tallies."""

    def __init__(self) -> None:
        super().__init__(INDEXES)
        self.tally = Tally()

    def get(self, pk: str, sk: str) -> Item | None:
        """Read an item."""
        found = super().get(pk, sk)
        self.tally.read("GetItem", item_bytes(found or {}))
        return found

    def get_many(self, keys: Sequence[Key], attributes: Sequence[str]) -> list[Item]:
        """Read many items; each counts by itself."""
        whole = [InMemoryTable.get(self, *key) or {} for key in keys]
        self.tally.read("BatchGetItem", sum(-(-item_bytes(item) // READ) * READ for item in whole))
        return [{name: item[name] for name in ("pk", "sk", *attributes) if name in item} for item in whole if item]

    def query(
        self, pk: str, *, low: str, high: str, limit: int | None = None, descending: bool = False
    ) -> Sequence[Item]:
        """Read a part of a partition."""
        found = super().query(pk, low=low, high=high, limit=limit, descending=descending)
        self.tally.read("Query", sum(map(item_bytes, found)))
        return found

    def put(self, item: Item, condition: Condition) -> bool:
        """Write an item."""
        before = self._known(item)
        written = super().put(item, condition)
        self.tally.write("PutItem", write_units(before, item if written else before))
        return written

    def update(self, pk: str, sk: str, changes: Mapping[str, Value | None], condition: Condition) -> bool:
        """Change an item."""
        before = self._known({"pk": pk, "sk": sk})
        written = super().update(pk, sk, changes, condition)
        self.tally.write("UpdateItem", write_units(before, self._known({"pk": pk, "sk": sk})))
        return written

    def add(  # noqa: PLR0913, PLR0917 - as the port has it
        self, pk: str, sk: str, name: str, by: int, changes: Mapping[str, Value | None], condition: Condition
    ) -> tuple[bool, Item | None]:
        """Add to a number."""
        before = self._known({"pk": pk, "sk": sk})
        done, item = super().add(pk, sk, name, by, changes, condition)
        self.tally.write("UpdateItem", write_units(before, item if done and item is not None else before))
        return done, item

    def delete(self, pk: str, sk: str, condition: Condition) -> bool:
        """Remove an item."""
        before = self._known({"pk": pk, "sk": sk})
        written = super().delete(pk, sk, condition)
        self.tally.write("DeleteItem", write_units(before, {} if written else before))
        return written

    def change_all(self, changes: Sequence[Change]) -> bool:
        """Write several items together."""
        keys = [{"pk": change.pk, "sk": change.sk} for change in changes]
        before = [self._known(key) for key in keys]
        written = super().change_all(changes)
        alone, pairs = len(changes) == 1, zip(before, map(self._known, keys), strict=True)
        units = sum(write_units(old, new, twice=not alone) for old, new in pairs)
        alike = "DeleteItem" if changes[0].changes is None else "UpdateItem"
        self.tally.write(alike if alone else "TransactWriteItems", units)
        return written

    def transact(self, item: Item, condition: Condition, writes: Sequence[Write], token: str) -> bool:
        """Write an item with a step's writes, which are the user's own to count."""
        before = self._known(item)
        written = super().transact(item, condition, writes, token)
        self.tally.write("TransactWriteItems", write_units(before, item if written else before, twice=True))
        return written

    def _known(self, item: Item) -> Item:
        return InMemoryTable.get(self, str(item["pk"]), str(item["sk"])) or {}


def write_units(old: Item, new: Item, *, twice: bool = False) -> int:
    """The units of one write that turns ``old`` into ``new``, its index writes included."""
    size = max(item_bytes(old), item_bytes(new))
    return _kilobytes(size) * (2 if twice else 1) + sum(_index_units(index, old, new) for index in INDEXES)


def _index_units(index: Index, old: Item, new: Item) -> int:
    was = index.entry(old) if index.place(old) is not None else {}
    becomes = index.entry(new) if index.place(new) is not None else {}
    if was == becomes:
        return 0
    if was and becomes and all(was[key] == becomes[key] for key in (index.partition, index.sort)):
        return _kilobytes(max(item_bytes(was), item_bytes(becomes)))
    return sum(_kilobytes(item_bytes(entry)) for entry in (was, becomes) if entry)


def _kilobytes(size: int) -> int:
    return max(-(-size // KB), 1)
