"""The ``Store`` on DynamoDB: the log is the lock (see ``docs/architecture.md``).

* A start is one conditional put: the head, with the first entry in it.
* A commit is one conditional put of the next number; at a boundary, a transaction with the head's update.
* A wake-up reads one item: the log is read only where an owner may have written more than its head shows.

With a retention, a closed head expires that long after its end. An entry expires a year later than that: its writer
cannot know when the instance will end, or whether it is redriven. What an open instance needs is in its head.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from hephaestus.adapters.dynamodb.listing import OtherWorkflows, Wanted, count_instances, list_instances
from hephaestus.adapters.dynamodb.models import (
    HeadItem,
    LogItem,
    list_key,
    list_time,
    log_key,
    recent_key,
    shard_of,
    wake_key,
)
from hephaestus.adapters.dynamodb.overdue import read_overdue
from hephaestus.adapters.dynamodb.user_writes import put_with_writes
from hephaestus.codec import dump_events, dump_state, load_events, load_state
from hephaestus.engine.events import NOTHING, Entry
from hephaestus.engine.fold import begin, fold
from hephaestus.engine.state import CLOSED, State, evolve
from hephaestus.errors import CorruptLog, PayloadTooLarge, StoreUnavailable
from hephaestus.runtime.ports import STARTS_KEPT, check_room
from hephaestus.runtime.starts import is_repeated
from hephaestus.writes import WriteFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from pynamodb.expressions.update import Action

    from hephaestus.adapters.dynamodb.table import Table
    from hephaestus.adapters.s3 import Blobs
    from hephaestus.runtime.ports import Listing, OverduePage
    from hephaestus.store.filters import ListFilter
    from hephaestus.writes import Write

MAX_VALUE_BYTES: Final = 64 * 1024
MAX_ENTRY_BYTES: Final = 390 * 1024  # DynamoDB: an item has at most 400 KB, names and keys included
MAX_FIRST_BYTES: Final = 130 * 1024  # one value of start data and one of metadata
MAX_SNAPSHOT_BYTES: Final = 250 * 1024  # beside the first entry
LONGEST_LIFE: Final = timedelta(days=366)
MAX_REASON: Final = 1_000
START_TRIES: Final = 8
IN_S3: Final = b"S"


class DynamoStore:
    """A ``Store`` on one DynamoDB table.

    Args:
        table: the table.
        blobs: where values above the threshold go; without it they are refused.
        wake_shards, list_shards: how many partitions the indexes are spread over; may grow, must not shrink.
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
        self.retention = None if retention_days is None else timedelta(days=retention_days)
        self.threshold = threshold
        self._others = OtherWorkflows(table, list_shards)

    @property
    def own_table(self) -> str | None:
        """The table's name."""
        return self.table.name

    @property
    def max_value_bytes(self) -> int | None:
        """The largest single value it takes, in bytes after compression; ``None`` where large ones go to S3."""
        return None if self.blobs else self.threshold

    def create(self, state: State, first: Entry) -> State | None:
        """Start a generation; see ``Store``."""
        data = self._first_data(state, first)
        for _ in range(START_TRIES):
            if self.table.put_new_head(self._head(state, first, data)):
                return state
            found = self.table.get_head(state.instance_id)
            if found is None:
                continue
            earlier = found.earlier_commits or []
            if is_repeated(first.commit_id, (found.first_commit, *earlier), state.instance_id):
                return self._read(found)
            if found.status not in CLOSED:
                return None
            following = begin(state.instance_id, int(found.generation) + 1, first)
            head, old, token = self._head(following, first, data), self._old_first(found), _token(following, first)
            head.earlier_commits = [*earlier, found.first_commit][-STARTS_KEPT:]
            if self.table.replace_closed_head(head, found, old, token):
                return following
        message = f"instance {state.instance_id} is being started and ended by many callers at once; try again"
        raise StoreUnavailable(message)

    def load(self, instance_id: str) -> State | None:
        """The newest state; see ``Store``."""
        head = self.table.get_head(instance_id)
        return None if head is None else self._read(head)

    def append(self, state: State, entry: Entry, *, boundary: bool, writes: Sequence[Write] = ()) -> bool:
        """Write an entry; see ``Store``."""
        check_room(writes, boundary=boundary)
        item = self._item(state, entry)
        if writes:
            return self._append_with(writes, state, entry, item)
        if boundary:
            actions, token = self._actions(state, entry), _token(state, entry)
            written = self.table.put_entry_and_update_head(item, state.generation, actions, token)
        else:
            written = self.table.put_entry(item)
        return written or self._is_mine(state, entry)

    def _append_with(self, writes: Sequence[Write], state: State, entry: Entry, item: LogItem) -> bool:
        try:
            if put_with_writes(self.table.client, self._put(item), writes, _token(state, entry)):
                return True
        except WriteFailed:
            # A repeated transaction finds its own effects, and its conditions need not hold any more. And a number that
            # another writer took comes first: DynamoDB does not say so where it refuses the request as a whole.
            found = self.table.get_entry(state.instance_id, state.generation, entry.sequence)
            if found is None or found.created_at < state.created_at:
                raise
            return found.commit_id == entry.commit_id
        return self._is_mine(state, entry)

    def _put(self, item: LogItem) -> dict[str, Any]:
        return {
            "TableName": self.table.name,
            "Item": item.serialize(),
            "ConditionExpression": "attribute_not_exists(pk) OR created_at < :created",
            "ExpressionAttributeValues": {":created": {"N": str(int(item.created_at))}},
        }

    def _is_mine(self, state: State, entry: Entry) -> bool:
        found = self.table.get_entry(state.instance_id, state.generation, entry.sequence)
        return found is not None and found.commit_id == entry.commit_id

    def tail(self, state: State) -> Sequence[Entry]:
        """The entries after the state's; see ``Store``."""
        return self._entries(state.instance_id, state.generation, state.created_at, max(state.sequence, 1))

    def history(
        self, instance_id: str, generation: int | None, after: int, limit: int
    ) -> tuple[int, Sequence[Entry]] | None:
        """A page of a log; see ``Store``."""
        head = self.table.get_head(instance_id)
        if head is None:
            return None
        newest = int(head.generation)
        number = newest if generation is None else generation
        if number == newest:
            first = self._first(head)
        elif 1 <= number < newest and (item := self.table.get_entry(instance_id, number, 1)) is not None:
            first = self._entry(item)
        else:
            return None
        entries = [first] if after < 1 and limit > 0 else []
        if len(entries) < limit:
            entries += self._entries(instance_id, number, first.at, max(after, 1), limit - len(entries))
        return number, entries

    def overdue(self, now: int, limit: int, cursor: str | None = None) -> OverduePage:
        """A page of what the alarms say; see ``Store``."""
        return read_overdue(self.table, self.wake_shards, now, limit, cursor)

    def quarantine(self, instance_id: str, reason: str, *, now: int, until: int) -> bool:
        """Put off an alarm; see ``Store``."""
        key = wake_key(shard_of(instance_id, self.wake_shards))
        return self.table.put_off_alarm(instance_id, key, reason[:MAX_REASON] or "unknown", now, until)

    def list(self, wanted: ListFilter, *, limit: int, cursor: str | None = None, known: Sequence[str] = ()) -> Listing:
        """A page of instances; see ``Store``."""
        return list_instances(self.table, self.list_shards, Wanted(wanted, limit, known), cursor)

    def other_workflows(self, known: Sequence[str]) -> Sequence[str]:
        """The names of other workflows that have instances; see ``Store``."""
        return self._others.look(known)

    def counts(self, workflows: Sequence[str], statuses: Sequence[str], *, most: int) -> Mapping[tuple[str, str], int]:
        """How many instances there are; see ``Store``."""
        return count_instances(self.table, self.list_shards, workflows, statuses, most)

    def _first_data(self, state: State, first: Entry) -> bytes:
        data = self._offload(dump_events(first.events), f"{state.instance_id}/{first.commit_id}-first")
        if len(data) > MAX_FIRST_BYTES:
            message = (
                f"instance {state.instance_id}: its start data takes {len(data)} bytes, at most {MAX_FIRST_BYTES} fit"
            )
            raise PayloadTooLarge(message)
        return data

    def _head(self, state: State, first: Entry, data: bytes) -> HeadItem:
        """The head of a generation that begins."""
        return self.table.head(
            state.instance_id,
            first=data,
            first_commit=first.commit_id,
            workflow=state.workflow,
            version=state.version,
            generation=state.generation,
            status=state.status,
            sequence=state.sequence,
            owner=state.owner,
            lease_until=state.lease_until or None,
            wake_shard=self._wake_key(state),
            wake_at=state.wake_at,
            list_key=self._list_key(state),
            list_at=f"{list_time(state.created_at)}#{state.instance_id}",
            recent_key=self._recent_key(state),
            tags=list(state.tags) or None,
            created_at=state.created_at,
            updated_at=state.updated_at,
        )

    def _old_first(self, head: HeadItem) -> LogItem:
        """The first entry of a closed generation, as an item of its log."""
        return self.table.log(
            head.pk,
            log_key(int(head.generation), 1),
            created_at=head.created_at,
            commit_id=head.first_commit,
            at=head.created_at,
            data=head.first,
            ttl=head.ttl,
        )

    def _actions(self, state: State, entry: Entry) -> Iterable[Action]:
        """What a boundary changes in the head. A snapshot that would not fit is left out: the log has it all."""
        changes: dict[str, Any] = {
            "status": state.status,
            "sequence": state.sequence,
            "owner": state.owner,
            "lease_until": state.lease_until or None,
            "wake_shard": self._wake_key(state),
            "wake_at": state.wake_at,
            "list_key": self._list_key(state),
            "recent_key": self._recent_key(state),
            "updated_at": state.updated_at,
            "quarantine": None,
            "ttl": self._expiry(entry) if state.closed else None,
        }
        # What never changes is in the first entry already.
        snapshot = dump_state(evolve(state, initial=NOTHING, tags=(), start_id=""))
        snapshot = self._offload(snapshot, f"{_blob_key(state, entry)}-snapshot")
        if len(snapshot) <= MAX_SNAPSHOT_BYTES:
            changes["snapshot"] = snapshot
        for name, value in changes.items():
            attribute = getattr(HeadItem, name)
            yield attribute.remove() if value is None else attribute.set(value)

    def _item(self, state: State, entry: Entry) -> LogItem:
        data = self._offload(dump_events(entry.events), f"{_blob_key(state, entry)}-events")
        if len(data) > MAX_ENTRY_BYTES:
            message = f"instance {state.instance_id}: a commit takes {len(data)} bytes, at most {MAX_ENTRY_BYTES} fit"
            raise PayloadTooLarge(message)
        return self.table.log(
            state.instance_id,
            log_key(state.generation, entry.sequence),
            created_at=state.created_at,
            commit_id=entry.commit_id,
            at=entry.at,
            data=data,
            ttl=self._expiry(entry, LONGEST_LIFE),
        )

    def _expiry(self, entry: Entry, later: timedelta = timedelta()) -> datetime | None:
        """When what ``entry`` writes is no longer needed: a retention after it was written, and ``later``."""
        if self.retention is None:
            return None
        written = datetime.fromtimestamp(entry.at // 1000, UTC)
        return written + self.retention + later

    def _offload(self, data: bytes, key: str) -> bytes:
        """``data``, or where it was put if it is large and there is a bucket."""
        if self.blobs is None or len(data) <= self.threshold:
            return data
        self.blobs.put(key, data)
        return IN_S3 + key.encode()

    def _fetch(self, data: bytes, instance_id: str) -> bytes:
        if data[:1] != IN_S3:
            return data
        if self.blobs is None:
            message = f"instance {instance_id}: a value is in S3, but no bucket is configured"
            raise CorruptLog(message)
        found = self.blobs.get(data[1:].decode())
        if found is None:
            message = f"instance {instance_id}: a value is missing in S3"
            raise CorruptLog(message)
        return found

    def _read(self, head: HeadItem) -> State:
        """The state that a head shows."""
        state = self._read_log(head)
        if head.quarantine is None:
            return state
        # Whoever was put off goes by the alarm that it was given, until its next boundary sets another.
        return evolve(state, wake_at=None if head.wake_at is None else int(head.wake_at))

    def _read_log(self, head: HeadItem) -> State:
        """The state as its writers left it, with the log behind the head where that may lag."""
        state = begin(head.pk, int(head.generation), self._first(head))
        if head.snapshot is not None:
            snapshot: State = _decoded(head.pk, load_state, self._fetch(head.snapshot, head.pk))
            if (snapshot.instance_id, snapshot.generation) != (head.pk, state.generation):
                message = f"instance {head.pk}: its snapshot is of another instance or generation"
                raise CorruptLog(message)
            state = evolve(snapshot, initial=state.initial, tags=state.tags, start_id=state.start_id)
        if head.owner is None and state.sequence == int(head.sequence):
            return state
        state = fold(state, self.tail(state))
        if state.sequence < int(head.sequence):
            message = f"instance {head.pk}: its log ends at {state.sequence}, its head is at {int(head.sequence)}"
            raise CorruptLog(message)
        return state

    def _first(self, head: HeadItem) -> Entry:
        events = _decoded(head.pk, load_events, self._fetch(head.first, head.pk))
        return Entry(1, head.first_commit, int(head.created_at), events)

    def _entries(
        self, instance_id: str, generation: int, created_at: int, after: int, limit: int | None = None
    ) -> Sequence[Entry]:
        items = self.table.query_log(instance_id, generation, created_at, after, limit)
        entries = [self._entry(item) for item in items]
        for number, entry in enumerate(entries, after + 1):
            if entry.sequence != number:
                message = f"instance {instance_id}: entry {number} of generation {generation} is missing from its log"
                raise CorruptLog(message)
        return entries

    def _entry(self, item: LogItem) -> Entry:
        events = _decoded(item.pk, load_events, self._fetch(item.data, item.pk))
        return Entry(int(item.sk.rpartition("#")[2]), item.commit_id, int(item.at), events)

    def _wake_key(self, state: State) -> str | None:
        return None if state.wake_at is None else wake_key(shard_of(state.instance_id, self.wake_shards))

    def _list_key(self, state: State) -> str:
        return list_key(state.workflow, state.status, shard_of(state.instance_id, self.list_shards))

    def _recent_key(self, state: State) -> str:
        return recent_key(state.status, shard_of(state.instance_id, self.list_shards))


def _decoded(instance_id: str, read: Callable[[bytes], Any], data: bytes) -> Any:
    """What ``read`` makes of ``data``, its errors naming the instance."""
    try:
        return read(data)
    except CorruptLog as error:
        message = f"instance {instance_id}: {error}"
        raise CorruptLog(message) from error


def _token(state: State, entry: Entry) -> str:
    """A transaction's own name, the same when it is tried again; DynamoDB takes up to 36 characters."""
    own = f"{state.instance_id} {state.generation} {entry.sequence} {entry.commit_id} {entry.at}"
    return hashlib.sha256(own.encode()).hexdigest()[:36]


def _blob_key(state: State, entry: Entry) -> str:
    return f"{state.instance_id}/{state.generation:06d}/{entry.sequence:08d}-{entry.commit_id}"
