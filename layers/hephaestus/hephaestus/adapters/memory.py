"""Everything in memory: the adapters behind the testing kit.

They keep bytes, as the real ones do, so that nothing a caller holds is shared with what is stored.
"""

from __future__ import annotations

import threading
from bisect import insort
from collections import Counter
from itertools import product
from typing import TYPE_CHECKING, Final

from hephaestus.codec import dump_events, dump_state, load_events, load_state
from hephaestus.engine.events import Entry
from hephaestus.engine.fold import begin, fold
from hephaestus.engine.state import CLOSED, evolve
from hephaestus.errors import BadRequest
from hephaestus.runtime.names import schedule_name
from hephaestus.runtime.ports import STARTS_KEPT, Listed, Listing, OverduePage, Timeout, Wakeup, check_room
from hephaestus.runtime.starts import is_repeated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.adapters.memory_tables import MemoryTables
    from hephaestus.engine.state import State
    from hephaestus.runtime.ports import Clock
    from hephaestus.store.filters import ListFilter
    from hephaestus.writes import Write

MAX_VALUE_BYTES: Final = 64 * 1024
MAX_REASON: Final = 1_000


class _Item:
    """A head: the numbers others look for, and the snapshot as bytes."""

    __slots__ = ("earlier_commits", "listed", "owner", "quarantine", "snapshot", "start_commit", "wake_at")

    def __init__(self, state: State, start_commit: str) -> None:
        self.start_commit = start_commit
        self.earlier_commits: tuple[str, ...] = ()
        self.update(state, dump_state(state))

    def update(self, state: State, snapshot: bytes) -> None:
        """Follow a boundary."""
        self.snapshot = snapshot
        self.owner = state.owner
        self.wake_at = state.wake_at
        self.quarantine: str | None = None
        self.listed = Listed(
            state.instance_id,
            state.workflow,
            state.version,
            state.generation,
            state.status,
            state.tags,
            state.created_at,
            state.updated_at,
        )

    @property
    def closed(self) -> bool:
        """Whether the generation has ended."""
        return self.listed.status in CLOSED


class MemoryStore:
    """A ``Store`` in memory; safe to use from many threads.

    Args:
        max_value_bytes: the largest single value it takes, in bytes after compression.
        tables: what steps may write to, ``None`` for nothing.
    """

    def __init__(self, max_value_bytes: int | None = MAX_VALUE_BYTES, *, tables: MemoryTables | None = None) -> None:
        self._lock = threading.Lock()
        self._heads: dict[str, _Item] = {}
        self._logs: dict[tuple[str, int], list[tuple[int, str, int, bytes]]] = {}
        self._max_value_bytes = max_value_bytes
        self.tables = tables

    @property
    def max_value_bytes(self) -> int | None:
        """The largest single value it takes, in bytes after compression."""
        return self._max_value_bytes

    @property
    def own_table(self) -> str | None:
        """None: what it keeps is in no table."""
        return None

    def create(self, state: State, first: Entry) -> State | None:
        """Start a generation; see ``Store``."""
        with self._lock:
            head = self._heads.get(state.instance_id)
            if head is not None:
                if is_repeated(first.commit_id, (head.start_commit, *head.earlier_commits), state.instance_id):
                    return self._load(state.instance_id)
                if not head.closed:
                    return None
                state = begin(state.instance_id, head.listed.generation + 1, first)
            new, row = _Item(state, first.commit_id), _row(first)
            if head is not None:
                new.earlier_commits = (*head.earlier_commits, head.start_commit)[-STARTS_KEPT:]
            self._heads[state.instance_id] = new
            self._logs[state.instance_id, state.generation] = [row]
            return state

    def load(self, instance_id: str) -> State | None:
        """The newest state; see ``Store``."""
        with self._lock:
            return self._load(instance_id)

    def append(self, state: State, entry: Entry, *, boundary: bool, writes: Sequence[Write] = ()) -> bool:
        """Write an entry; see ``Store``."""
        check_room(writes, boundary=boundary)
        row = _row(entry)
        with self._lock:
            log = self._logs.get((state.instance_id, state.generation), [])
            head = self._heads.get(state.instance_id)
            if len(log) != entry.sequence - 1 or head is None or head.listed.generation != state.generation:
                return len(log) >= entry.sequence and log[entry.sequence - 1][1] == entry.commit_id
            snapshot = dump_state(state) if boundary else b""  # may be rejected: then nothing is written
            if writes:
                self._write(writes)
            log.append(row)
            if boundary:
                head.update(state, snapshot)
            return True

    def tail(self, state: State) -> Sequence[Entry]:
        """The entries after the state's; see ``Store``."""
        with self._lock:
            return [_entry(row) for row in self._logs.get((state.instance_id, state.generation), [])[state.sequence :]]

    def history(
        self, instance_id: str, generation: int | None, after: int, limit: int
    ) -> tuple[int, Sequence[Entry]] | None:
        """A page of a log; see ``Store``."""
        with self._lock:
            head = self._heads.get(instance_id)
            if head is None:
                return None
            number = head.listed.generation if generation is None else generation
            log = self._logs.get((instance_id, number))
            return None if log is None else (number, [_entry(row) for row in log[after : after + limit]])

    def overdue(self, now: int, limit: int, cursor: str | None = None) -> OverduePage:
        """What the alarms say; see ``Store``."""
        after = _read_cursor(cursor) or (0, "")
        with self._lock:
            alarms = [
                (head.wake_at, instance_id)
                for instance_id, head in self._heads.items()
                if head.wake_at is not None and head.wake_at <= now and (head.wake_at, instance_id) > after
            ]
        alarms.sort()
        page = tuple(Wakeup(instance_id, wake_at) for wake_at, instance_id in alarms[:limit])
        return OverduePage(page, f"{page[-1].wake_at}#{page[-1].instance_id}" if len(alarms) > limit else None)

    def quarantine(self, instance_id: str, reason: str, *, now: int, until: int) -> bool:
        """Put off an alarm; see ``Store``."""
        with self._lock:
            head = self._heads.get(instance_id)
            if head is None:
                return False
            unalarmed = head.wake_at is None and head.listed.status not in (*CLOSED, "waiting")
            if not unalarmed and (head.wake_at is None or head.wake_at > now):
                return False
            head.wake_at, head.quarantine = until, reason[:MAX_REASON]
            return True

    def list(
        self,
        wanted: ListFilter,
        *,
        limit: int,
        cursor: str | None = None,
        known: Sequence[str] = (),  # noqa: ARG002 - it looks at everything anyway
    ) -> Listing:
        """A page of instances; see ``Store``."""
        before = _read_cursor(cursor)
        with self._lock:
            found = [
                head.listed
                for head in self._heads.values()
                if (wanted.workflows is None or head.listed.workflow in wanted.workflows)
                and (wanted.statuses is None or head.listed.status in wanted.statuses)
                and (wanted.version is None or head.listed.version == wanted.version)
                and (wanted.tag is None or wanted.tag in head.listed.tags)
                and (wanted.since is None or head.listed.created_at >= wanted.since)
                and (before is None or (head.listed.created_at, head.listed.instance_id) < before)
            ]
        found.sort(key=lambda listed: (listed.created_at, listed.instance_id), reverse=True)
        last = found[limit - 1] if len(found) > limit else None
        return Listing(tuple(found[:limit]), f"{last.created_at}#{last.instance_id}" if last else None)

    def other_workflows(self, known: Sequence[str]) -> Sequence[str]:
        """The names of other workflows that have instances; see ``Store``."""
        with self._lock:
            return sorted({head.listed.workflow for head in self._heads.values()} - set(known))

    def counts(self, workflows: Sequence[str], statuses: Sequence[str], *, most: int) -> Mapping[tuple[str, str], int]:
        """How many instances there are; see ``Store``."""
        with self._lock:
            found = Counter((head.listed.workflow, head.listed.status) for head in self._heads.values())
        return {pair: min(found[pair], most) for pair in product(workflows, statuses)}

    def _write(self, writes: Sequence[Write]) -> None:
        from hephaestus.adapters.memory_tables import MemoryTables  # noqa: PLC0415 - most tests write nothing

        (self.tables or MemoryTables()).transact(writes)

    def _load(self, instance_id: str) -> State | None:
        head = self._heads.get(instance_id)
        if head is None:
            return None
        state = load_state(head.snapshot)
        if head.owner is not None:
            rows = self._logs[instance_id, state.generation][state.sequence :]
            state = fold(state, [_entry(row) for row in rows])
        # Whoever was put off goes by the alarm that it was given, until its next boundary sets another.
        return state if head.quarantine is None else evolve(state, wake_at=head.wake_at)


def _row(entry: Entry) -> tuple[int, str, int, bytes]:
    return entry.sequence, entry.commit_id, entry.at, dump_events(entry.events)


def _entry(row: tuple[int, str, int, bytes]) -> Entry:
    sequence, commit_id, at, data = row
    return Entry(sequence, commit_id, at, load_events(data))


def _read_cursor(cursor: str | None) -> tuple[int, str] | None:
    if cursor is None:
        return None
    time, _, instance_id = cursor.partition("#")
    if not time.isdecimal() or not instance_id:
        message = "the cursor is not one that a listing gave"
        raise BadRequest(message)
    return int(time), instance_id


class MemoryTimers:
    """``Timers`` in memory: they fire when somebody asks what is due."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._timeouts: dict[str, Timeout] = {}

    def schedule(self, timeout: Timeout) -> str:
        """Keep a timeout; return its schedule's name."""
        name = schedule_name(timeout)
        with self._lock:
            self._timeouts.setdefault(name, timeout)
        return name

    def name(self, timeout: Timeout) -> str:
        """The name of a timeout's schedule."""
        return schedule_name(timeout)

    def cancel(self, timeout: Timeout) -> None:
        """Forget a timeout; one that is gone is no error."""
        with self._lock:
            self._timeouts.pop(schedule_name(timeout), None)

    def names(self) -> list[str]:
        """The names of all schedules that have not fired."""
        with self._lock:
            return sorted(self._timeouts)

    def next_due(self) -> int | None:
        """When the next one fires (ms)."""
        with self._lock:
            return min((timeout.due_at for timeout in self._timeouts.values()), default=None)

    def pop_due(self, now: int) -> list[Timeout]:
        """Remove and return what is due at ``now`` (ms), the earliest first."""
        with self._lock:
            due = sorted((timeout.due_at, name) for name, timeout in self._timeouts.items() if timeout.due_at <= now)
            return [self._timeouts.pop(name) for _, name in due]


class MemoryQueue:
    """A ``WorkQueue`` in memory: messages wait until somebody asks what is due."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._messages: list[tuple[int, str]] = []
        self._removals: list[Timeout] = []

    def wake(self, instance_id: str, delay_ms: int = 0) -> None:
        """Keep a message until its delay is over."""
        with self._lock:
            insort(self._messages, (self._clock.now() + delay_ms, instance_id))

    def wake_many(self, instance_ids: Sequence[str]) -> Sequence[str]:
        """Keep a message for each."""
        for instance_id in instance_ids:
            self.wake(instance_id)
        return instance_ids

    def remove_schedule(self, timeout: Timeout) -> None:
        """Keep the removal until somebody does it."""
        with self._lock:
            self._removals.append(timeout)

    def depth(self) -> int:
        """How many messages are due."""
        now = self._clock.now()
        with self._lock:
            return sum(1 for due_at, _ in self._messages if due_at <= now)

    def pop_removals(self) -> list[Timeout]:
        """Remove and return the schedules that are to be removed."""
        with self._lock:
            removals, self._removals = self._removals, []
        return removals

    def next_due(self) -> int | None:
        """When the next message is due (ms)."""
        with self._lock:
            return self._messages[0][0] if self._messages else None

    def pop_due(self, now: int) -> list[str]:
        """Remove and return the instances whose messages are due at ``now`` (ms), the earliest first."""
        with self._lock:
            due = [message for message in self._messages if message[0] <= now]
            self._messages = self._messages[len(due) :]
        return [instance_id for _, instance_id in due]
