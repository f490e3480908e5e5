"""The ``Store`` on DynamoDB: the log is the lock (see ``docs/architecture.md``).

* A start is one conditional put: the head, with the first entry in it.
* A commit is one conditional put of the next number; at a boundary, a transaction with the head's update.
* A wake-up reads one item: the log is read only where an owner may have written more than its head shows.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from datetime import UTC, datetime
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from hephaestus.adapters.dynamodb.models import HeadItem, LogItem, log_key
from hephaestus.codec import SCHEMA, dump_events, dump_state, load_events, load_state
from hephaestus.engine.events import NOTHING, Entry, InstanceStarted
from hephaestus.engine.state import CLOSED, State, begin, evolve, fold
from hephaestus.errors import BadRequest, CorruptLog, PayloadTooLarge, StoreUnavailable
from hephaestus.runtime.ports import Listed, Listing, Wakeup

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pynamodb.expressions.update import Action

    from hephaestus.adapters.dynamodb.table import Table
    from hephaestus.adapters.s3 import Blobs

MAX_VALUE_BYTES: Final = 64 * 1024
MAX_ENTRY_BYTES: Final = 380 * 1024  # DynamoDB: an item has at most 400 KB, names and keys included
MAX_SNAPSHOT_BYTES: Final = 250 * 1024  # the head holds the first entry, too
LONGEST_LIFE_S: Final = 366 * 24 * 3600
START_TRIES: Final = 5
IN_S3: Final = b"S"


class DynamoStore:
    """A ``Store`` on one DynamoDB table.

    Args:
        table: the table.
        blobs: where values above the threshold go; without it they are refused.
        wake_shards, list_shards: how many partitions the indexes are spread over.
        retention_days: how long a closed instance is kept; ``None`` for ever.
        threshold: the largest value kept in the table, in bytes after compression.
    """

    def __init__(  # noqa: PLR0913 - a table's settings
        self,
        table: Table,
        *,
        blobs: Blobs | None = None,
        wake_shards: int = 4,
        list_shards: int = 4,
        retention_days: int | None = None,
        threshold: int = MAX_VALUE_BYTES,
    ) -> None:
        self.table = table
        self.blobs = blobs
        self.wake_shards = wake_shards
        self.list_shards = list_shards
        self.retention = None if retention_days is None else retention_days * 24 * 3600
        self.threshold = threshold

    @property
    def max_value_bytes(self) -> int | None:
        """The largest single value it takes, in bytes after compression; ``None`` where large ones go to S3."""
        return None if self.blobs else self.threshold

    def create(self, state: State, first: Entry) -> State | None:
        """Start a generation; see ``Store``."""
        for _ in range(START_TRIES):
            if self.table.put_new_head(self._head(state, first)):
                return state
            found = self.table.get_head(state.instance_id)
            if found is None:
                continue
            if found.first_commit == first.commit_id:
                return self._read(found)
            if found.status not in CLOSED:
                return None
            following = begin(state.instance_id, int(found.generation) + 1, first)
            old = self.table.log(
                found.pk,
                log_key(int(found.generation), 1),
                commit_id=found.first_commit,
                at=found.created_at,
                data=found.first,
                ttl=found.ttl,
            )
            if self.table.replace_closed_head(self._head(following, first), found, old, first.commit_id[:36]):
                return following
        message = f"instance {state.instance_id} is being started and ended by many callers at once; try again"
        raise StoreUnavailable(message)

    def load(self, instance_id: str) -> State | None:
        """The newest state; see ``Store``."""
        head = self.table.get_head(instance_id)
        return None if head is None else self._read(head)

    def append(self, state: State, entry: Entry, *, boundary: bool) -> bool:
        """Write an entry; see ``Store``."""
        item = self._item(state, entry)
        if boundary:
            written = self.table.put_entry_and_update_head(
                item, state.generation, self._actions(state, entry), entry.commit_id[:36]
            )
        else:
            written = self.table.put_entry(item)
        if written:
            return True
        found = self.table.get_entry(state.instance_id, state.generation, entry.sequence)
        return found is not None and found.commit_id == entry.commit_id

    def tail(self, state: State) -> Sequence[Entry]:
        """The entries after the state's; see ``Store``."""
        items = self.table.query_log(state.instance_id, state.generation, max(state.sequence, 1))
        return [self._entry(item) for item in items]

    def history(
        self, instance_id: str, generation: int | None, after: int, limit: int
    ) -> tuple[int, Sequence[Entry]] | None:
        """A page of a log; see ``Store``."""
        head = self.table.get_head(instance_id)
        if head is None:
            return None
        newest = int(head.generation)
        number = newest if generation is None else generation
        if not 1 <= number <= newest:
            return None
        entries: list[Entry] = []
        if number == newest:
            entries = [] if after else [self._first(head)]
            after = max(after, 1)
        if len(entries) < limit:
            items = self.table.query_log(instance_id, number, after, limit - len(entries))
            entries += [self._entry(item) for item in items]
        return number, entries

    def overdue(self, now: int, limit: int) -> Sequence[Wakeup]:
        """What the alarms say; see ``Store``."""
        shards = [f"wake#{number}" for number in range(self.wake_shards)]
        return [Wakeup(*found) for shard in shards for found in self.table.query_overdue(shard, now, limit)]

    def list(  # noqa: PLR0913 - a listing's filters
        self,
        workflows: Sequence[str],
        statuses: Sequence[str],
        *,
        tag: str | None,
        since: int | None,
        limit: int,
        cursor: str | None,
    ) -> Listing:
        """A page of instances; see ``Store``."""
        before = None if cursor is None else _read_cursor(cursor)
        earliest = _list_time(since or 0)
        found: list[Any] = []
        more = False
        for workflow, status, shard in product(workflows, statuses, range(self.list_shards)):
            key = f"{workflow}#{status}#{shard}"
            items, rest = self.table.query_listing(key, since=earliest, before=before, tag=tag, limit=limit)
            found += items
            more = more or rest
        found.sort(key=lambda item: str(item.list_at), reverse=True)
        page = found[:limit]
        more = more or len(found) > limit
        return Listing(tuple(_listed(item) for item in page), _cursor(page[-1].list_at) if more and page else None)

    def _head(self, state: State, first: Entry) -> HeadItem:
        """The head of a generation that begins."""
        return self.table.head(
            state.instance_id,
            first=self._offload(dump_events(first.events), state, first, "first"),
            first_commit=first.commit_id,
            schema=SCHEMA,
            workflow=state.workflow,
            version=state.version,
            generation=state.generation,
            status=state.status,
            sequence=state.sequence,
            owner=state.owner,
            lease_until=state.lease_until or None,
            wake_shard=self._wake_shard(state) if state.wake_at is not None else None,
            wake_at=state.wake_at,
            list_key=self._list_key(state),
            list_at=f"{_list_time(state.created_at)}#{state.instance_id}",
            tags=set(state.tags) or None,
            created_at=state.created_at,
            updated_at=state.updated_at,
        )

    def _actions(self, state: State, entry: Entry) -> Iterable[Action]:
        """What a boundary changes in the head. Start data and tags are in its first entry, not in the snapshot."""
        ttl = entry.at // 1000 + self.retention if state.closed and self.retention is not None else None
        changes: dict[str, Any] = {
            "status": state.status,
            "sequence": state.sequence,
            "owner": state.owner,
            "lease_until": state.lease_until or None,
            "wake_shard": self._wake_shard(state) if state.wake_at is not None else None,
            "wake_at": state.wake_at,
            "list_key": self._list_key(state),
            "updated_at": state.updated_at,
            "ttl": ttl,
        }
        snapshot = dump_state(evolve(state, initial=NOTHING, tags=()))
        if self.blobs is not None or len(snapshot) <= MAX_SNAPSHOT_BYTES:
            changes["snapshot"] = self._offload(snapshot, state, entry, "snapshot")
            changes["snapshot_sequence"] = state.sequence
        for name, value in changes.items():
            attribute = getattr(HeadItem, name)
            yield attribute.remove() if value is None else attribute.set(value)

    def _item(self, state: State, entry: Entry) -> LogItem:
        data = self._offload(dump_events(entry.events), state, entry, "log")
        if len(data) > MAX_ENTRY_BYTES:
            message = f"instance {state.instance_id}: log entry {entry.sequence} takes {len(data)} bytes, at most {MAX_ENTRY_BYTES} fit"
            raise PayloadTooLarge(message)
        ttl = None if self.retention is None else entry.at // 1000 + LONGEST_LIFE_S + self.retention
        key = log_key(state.generation, entry.sequence)
        return self.table.log(state.instance_id, key, commit_id=entry.commit_id, at=entry.at, data=data, ttl=ttl)

    def _offload(self, data: bytes, state: State, entry: Entry, kind: str) -> bytes:
        """``data``, or where it was put if it is large and there is a bucket."""
        if self.blobs is None or len(data) <= self.threshold:
            return data
        key = f"{state.instance_id}/{state.generation:06d}/{entry.sequence:08d}-{kind}-{entry.commit_id}"
        self.blobs.put(key, data)
        return IN_S3 + key.encode()

    def _fetch(self, data: bytes, instance_id: str) -> bytes:
        if data[:1] != IN_S3:
            return data
        if self.blobs is None:
            message = f"instance {instance_id}: a value is in S3, but no bucket is configured"
            raise CorruptLog(message)
        return self.blobs.get(data[1:].decode())

    def _read(self, head: HeadItem) -> State:
        """The state that a head shows, with the log behind it where it may lag."""
        if int(head.schema) > SCHEMA:
            message = f"instance {head.pk} was written by a newer release: deploy that release again"
            raise CorruptLog(message)
        first = self._first(head)
        state = begin(head.pk, int(head.generation), first)
        if head.snapshot is not None:
            started = first.events[0]
            assert isinstance(started, InstanceStarted)  # noqa: S101 - begin has checked it
            snapshot = _named(head.pk, load_state, self._fetch(head.snapshot, head.pk))
            state = evolve(snapshot, initial=started.initial, tags=started.tags)
        if state.instance_id != head.pk or state.generation != int(head.generation):
            message = f"instance {head.pk}: its snapshot is another's"
            raise CorruptLog(message)
        if head.owner is None and state.sequence == int(head.sequence):
            return state
        state = fold(state, self.tail(state))
        if state.sequence < int(head.sequence):
            message = f"instance {head.pk}: its log ends at {state.sequence}, its head is at {int(head.sequence)}"
            raise CorruptLog(message)
        return state

    def _first(self, head: HeadItem) -> Entry:
        events = _named(head.pk, load_events, self._fetch(head.first, head.pk))
        return Entry(1, head.first_commit, int(head.created_at), events)

    def _entry(self, item: LogItem) -> Entry:
        events = _named(item.pk, load_events, self._fetch(item.data, item.pk))
        return Entry(int(item.sk.rpartition("#")[2]), item.commit_id, int(item.at), events)

    def _wake_shard(self, state: State) -> str:
        return f"wake#{_shard(state.instance_id, self.wake_shards)}"

    def _list_key(self, state: State) -> str:
        return f"{state.workflow}#{state.status}#{_shard(state.instance_id, self.list_shards)}"


def _named(instance_id: str, read: Any, data: bytes) -> Any:
    """What ``read`` makes of ``data``, its errors naming the instance."""
    try:
        return read(data)
    except CorruptLog as error:
        message = f"instance {instance_id}: {error}"
        raise CorruptLog(message) from error


def _shard(instance_id: str, shards: int) -> int:
    return zlib.crc32(instance_id.encode()) % shards


def _list_time(milliseconds: int) -> str:
    """A time as text that sorts as times do."""
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}"


def _cursor(list_at: str) -> str:
    return base64.urlsafe_b64encode(list_at.encode()).decode()


def _read_cursor(cursor: str) -> str:
    try:
        text = base64.urlsafe_b64decode(cursor.encode()).decode()
    except (binascii.Error, ValueError) as error:
        message = "the cursor is not one that a listing gave"
        raise BadRequest(message) from error
    if "#" not in text:
        message = "the cursor is not one that a listing gave"
        raise BadRequest(message)
    return text


def _listed(item: Any) -> Listed:
    return Listed(
        item.pk,
        item.workflow,
        int(item.version),
        int(item.generation),
        item.status,
        tuple(sorted(item.tags or ())),
        int(item.created_at),
        int(item.updated_at),
    )
