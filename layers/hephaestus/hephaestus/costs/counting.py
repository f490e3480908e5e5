"""A store in memory that counts what the same calls ask of DynamoDB.

The rule (DynamoDB Developer Guide, "Capacity units", "Transactions" and "Global secondary indexes"): a write costs a
unit a started KB of the item, in a transaction two; an index entry that is put, deleted or changed costs one, one that
moves two; a consistent read costs a unit a started 4 KB.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hephaestus.adapters.dynamodb.models import recent_key
from hephaestus.adapters.memory import MemoryStore
from hephaestus.codec import dump_events, dump_state

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus.engine.events import Entry
    from hephaestus.engine.state import State
    from hephaestus.writes import Write

KB: Final = 1024
READ: Final = 4 * KB
# What an item has beside its values: the attributes' names, keys, times and numbers (measured; the tests compare).
HEAD_BYTES: Final = 243
OWNER_BYTES: Final = 43
ALARM_BYTES: Final = 33
ENTRY_BYTES: Final = 130


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


class CountingStore(MemoryStore):
    """A ``MemoryStore`` that tallies."""

    def __init__(self) -> None:
        super().__init__()
        self.tally = Tally()
        self._seen: dict[str, tuple[State, int, int]] = {}

    def create(self, state: State, first: Entry) -> State | None:
        """Start a generation: the head with the first entry in it, and its index entries."""
        created = super().create(state, first)
        if created is not None:
            opening = len(dump_events(first.events))
            size = _head_bytes(created, opening)
            self._seen[state.instance_id] = created, opening, size
            self.tally.write("PutItem", _kilobytes(size) + 2 + (created.wake_at is not None))
        return created

    def load(self, instance_id: str) -> State | None:
        """Read the head, and the log behind it where an owner may have written more."""
        head, _, size = self._seen[instance_id]
        self.tally.read("GetItem", size)
        if head.owner is not None:
            self.tally.read("Query", ENTRY_BYTES)
        return super().load(instance_id)

    def append(self, state: State, entry: Entry, *, boundary: bool, writes: Sequence[Write] = ()) -> bool:
        """Write an entry, and the head with it at a boundary."""
        written = super().append(state, entry, boundary=boundary, writes=writes)
        units = _kilobytes(ENTRY_BYTES + len(dump_events(entry.events)))
        if not boundary:
            self.tally.write("PutItem", units)
            return written
        before, opening, size = self._seen[state.instance_id]
        becomes = _head_bytes(state, opening + len(dump_state(state)))
        units += _kilobytes(max(size, becomes))
        self.tally.write("TransactWriteItems", 2 * units + _index_units(before, state))
        self._seen[state.instance_id] = state, opening, becomes
        return written

    def tail(self, state: State) -> Sequence[Entry]:
        """Read the newest entries."""
        self.tally.read("Query", ENTRY_BYTES)
        return super().tail(state)


def _head_bytes(state: State, values: int) -> int:
    named = 2 * len(state.instance_id) + 2 * len(state.workflow) + sum(len(tag) + 2 for tag in state.tags)
    owned, alarmed = state.owner is not None, state.wake_at is not None
    return HEAD_BYTES + named + OWNER_BYTES * owned + ALARM_BYTES * alarmed + values


def _index_units(before: State, after: State) -> int:
    """The alarm is put, deleted or moved; the listing's entry is moved with the status, or shows another time.

    The entry among the recent ones moves when an instance begins to need a look, or does not any more.
    """
    alarms = {before.wake_at, after.wake_at}
    alarm = 0 if len(alarms) == 1 else 1 if None in alarms else 2
    recent = 0 if recent_key(before.status, 0) == recent_key(after.status, 0) else 2
    return alarm + recent + (1 if before.status == after.status else 2)


def _kilobytes(size: int) -> int:
    return max(-(-size // KB), 1)
