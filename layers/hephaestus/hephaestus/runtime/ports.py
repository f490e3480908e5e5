"""What the runtime needs from outside, as small protocols; AWS is one set of adapters, memory another.

Every adapter passes the same contract suite. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from hephaestus.errors import InvariantBroken

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.engine.events import Entry
    from hephaestus.engine.state import State
    from hephaestus.store.filters import ListFilter
    from hephaestus.writes import Write

STARTS_KEPT: Final = 8  # of the generations before the newest: a late repetition of their start is known
MAX_TRANSACTION: Final = 100  # items; DynamoDB API Reference, TransactWriteItems


@dataclass(frozen=True, slots=True)
class Listed:
    """What the listing index knows of an instance; it may lag its head by a moment."""

    instance_id: str
    workflow: str
    version: int
    generation: int
    status: str
    tags: tuple[str, ...]
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a listing, newest first; ``cursor`` continues it, ``None`` at its end."""

    items: tuple[Listed, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Wakeup:
    """An instance whose alarm (``wake_at``, ms) the index shows."""

    instance_id: str
    wake_at: int


@dataclass(frozen=True, slots=True)
class OverduePage:
    """One page of overdue instances, the most overdue first; ``cursor`` continues it, ``None`` at the end."""

    items: tuple[Wakeup, ...]
    cursor: str | None


class Store(Protocol):
    """Instances: one small head each, and an append-only log a generation.

    The log is the lock: an entry's number can be written once. The head holds the first entry of its generation, and
    a snapshot as of the last commit that changed what the outside sees (a *boundary*). Every method reads consistently
    except ``overdue``, ``list`` and ``counts``, which read indexes.

    Raises (any method):
        StoreUnavailable: throttled, timed out or unreachable, after the adapter's own retries.
        CorruptLog: what is stored cannot be read.
    """

    @property
    def max_value_bytes(self) -> int | None:
        """The largest single value it takes, in bytes after compression; ``None`` where large ones go elsewhere."""

    def create(self, state: State, first: Entry) -> State | None:
        """Start a generation with one conditional write: no instance has the id, or the one that has it is closed.

        Args:
            state: generation 1 of a new instance after ``first``; where a closed instance has the id, its next
                generation number is taken instead (and the old first entry is kept in the old generation's log).
            first: entry number 1.

        Returns:
            The state as stored (with its real generation), or ``None`` where an instance that is not closed has the
            id and was not written by ``first.commit_id``. A repeated call with the same commit id succeeds again, with
            the newest state, also when up to 8 other generations were started since.
        """

    def load(self, instance_id: str) -> State | None:
        """The newest state: the head's snapshot, and the log behind it only where an owner may have written more."""

    @property
    def own_table(self) -> str | None:
        """The name or ARN of the table that it keeps instances in, which no step may write; ``None`` without one."""

    def append(self, state: State, entry: Entry, *, boundary: bool, writes: Sequence[Write] = ()) -> bool:
        """Write ``entry``; with ``boundary`` update the head and its snapshot in the same transaction.

        Args:
            state: the state *after* ``entry``.
            entry: its number is ``state.sequence``.
            boundary: whether the commit changes what the outside sees. Must be true unless somebody owns the
                instance before and after.
            writes: what a step writes to tables of its own in the same transaction, as ``check_writes`` gave it: all
                of it and the entry, or nothing. At most 99, and never with a boundary.

        Returns:
            ``True`` when written, also when only the answer to an earlier try with the same commit id had been lost
            (whose conditions may not hold any more, as its own writes changed what they are about);
            ``False`` when another writer took the number (or the generation is over): load the tail and decide again.
            That comes before anything that is wrong with ``writes``.

        Raises:
            PayloadTooLarge: a value is larger than the store takes; nothing was written.
            ConditionFailed: the condition of one of ``writes`` does not hold; nothing was written.
            WriteRefused: one of ``writes`` cannot succeed as it is; nothing was written.
            InvariantBroken: ``writes`` with a boundary, or more than fit a transaction; nothing was written.
        """

    def tail(self, state: State) -> Sequence[Entry]:
        """The entries of ``state``'s generation after ``state.sequence``, in order."""

    def history(
        self, instance_id: str, generation: int | None, after: int, limit: int
    ) -> tuple[int, Sequence[Entry]] | None:
        """A page of a generation's log: its number and at most ``limit`` entries after number ``after``, in order.

        ``generation`` ``None`` is the newest. ``None`` when there is no such instance or generation.
        """

    def overdue(self, now: int, limit: int, cursor: str | None = None) -> OverduePage:
        """A page of the instances whose alarm is at or before ``now``.

        Every shard that has more gives an equal share to each page, its most overdue first, so that a large one does
        not keep the others waiting. A shard that does not answer is asked again when the others are through.

        Args:
            now: the same for all pages, in ms.
            limit: about how many; at least one for each shard that has more.
            cursor: the one of the page before.

        Raises:
            StoreUnavailable: no shard that is left answers; the pages before are as good as ever.
        """

    def quarantine(self, instance_id: str, reason: str, *, now: int, until: int) -> bool:
        """Put off the alarm of an instance that cannot be read, and note why, without reading it or its log.

        Only an alarm that is due is put off: one to come belongs to somebody who can read the instance. Where the
        alarm is missing although the instance has not ended and does not merely wait, it is set again. ``load`` goes
        on refusing the instance; its next boundary clears the note.

        Args:
            instance_id: the instance.
            reason: why, for whoever looks at the table; the first 1,000 characters are kept.
            now: the time, in ms.
            until: when the instance is looked at again, in ms.

        Returns:
            Whether the alarm was put off.
        """

    def list(self, wanted: ListFilter, *, limit: int, cursor: str | None = None, known: Sequence[str] = ()) -> Listing:
        """A page of the ``wanted`` instances, newest start first.

        A page may hold fewer than ``limit`` items, or none, and still have a cursor, when a filter is passed by few:
        following it shows them all. The first page takes at most two queries a shard, whatever is stored. Where no
        workflow is ``wanted``, ``known`` are those that most instances are of, which makes what few pass quicker to
        find, and nothing else.
        """

    def other_workflows(self, known: Sequence[str]) -> Sequence[str]:
        """The names of workflows that have instances and are not among ``known``, sorted.

        A call looks through a bounded number of instances, the newest first, and the next one goes on where it ended:
        asked again and again, all are found.
        """

    def counts(self, workflows: Sequence[str], statuses: Sequence[str], *, most: int) -> Mapping[tuple[str, str], int]:
        """How many instances each pair of a workflow and a status has; ``most`` (1 or more) means that many or more.

        One query a pair and shard, each of which looks at ``most`` entries at most.
        """


def check_room(writes: Sequence[Write], *, boundary: bool) -> None:
    """Refuse writes that a commit cannot take beside its log entry.

    Raises:
        InvariantBroken: split the commit: the writes first, then the boundary.
    """
    if writes and (boundary or len(writes) >= MAX_TRANSACTION):
        message = (
            f"a commit has {len(writes)} writes: at most {MAX_TRANSACTION - 1} go with a log entry, without a head"
        )
        raise InvariantBroken(message)


@dataclass(frozen=True, slots=True)
class Timeout:
    """What a one-shot schedule carries: the wait it was made for."""

    instance_id: str
    generation: int
    step: str
    token: str
    due_at: int


class Timers(Protocol):
    """One-shot schedules for deadlines and long waits."""

    def schedule(self, timeout: Timeout) -> str:
        """Make a schedule that calls the resume handler at ``timeout.due_at`` or shortly after; return its name.

        The name is derived from the timeout, so making it twice makes one schedule.
        """

    def name(self, timeout: Timeout) -> str:
        """The name that the schedule of ``timeout`` has or would have; nothing is made."""

    def cancel(self, timeout: Timeout) -> None:
        """Remove the schedule made for ``timeout``; one that is gone is no error."""


class WorkQueue(Protocol):
    """Asks for an instance to be looked at, now or within 15 minutes."""

    def wake(self, instance_id: str, delay_ms: int = 0) -> None:
        """Send a message that has the instance continued after ``delay_ms`` (0 to 900,000) milliseconds."""

    def wake_many(self, instance_ids: Sequence[str]) -> Sequence[str]:
        """Send one message for each of many instances; return the ids whose messages were accepted.

        Raises:
            HephaestusError: none was accepted, and this is why.
        """

    def remove_schedule(self, timeout: Timeout) -> None:
        """Send a message that has the schedule of ``timeout`` removed, where that could not be done at once."""

    def depth(self) -> int:
        """About how many messages wait to be taken; delayed ones and those in work do not count."""


class Clock(Protocol):
    """Time, randomness and names; tests bring their own."""

    def now(self) -> int:
        """Milliseconds since the epoch."""

    def sleep(self, milliseconds: int) -> None:
        """Wait."""

    def random(self) -> float:
        """A number from 0 up to 1."""

    def unique(self) -> str:
        """A name that nobody else has: 16 or more of ``0-9a-z``."""
