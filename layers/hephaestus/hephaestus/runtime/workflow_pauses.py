"""Whether a workflow is paused, as a process knows it: read at most once in ten seconds, and then only by who runs it.

Where an instance of a paused workflow would be claimed, it is paused instead, by an entry of its own log: so a pause
costs nothing of what does not run. Such an entry has an alarm: who commits one as the pause ends, or is not found by
what wakes the others, is looked at again (J.1 in the docs).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from hephaestus.engine.events import Paused
from hephaestus.engine.state import is_paused_alone, undoes_at_cancel
from hephaestus.runtime.names import is_bulk
from hephaestus.store.filters import ListFilter
from hephaestus.store.paused import PAUSED

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.engine.state import State
    from hephaestus.runtime.ports import Clock, WorkQueue
    from hephaestus.store.paused import PausedWorkflow, PausedWorkflows
    from hephaestus.store.store import Store

SEEN_MS: Final = 10_000  # a process looks again after this long
FIRST_LOOK_MS: Final = 60_000
LONGEST_LOOK_MS: Final = 60 * 60_000
LONGEST_LOOK_AT_PARTS_MS: Final = 5 * 60_000  # they are in no list, so nothing else finds them
PAGE: Final = 100
WOKEN: Final = 1_200  # a minute
MINUTE_MS: Final = 60_000
OPEN: Final = ("pending", "running", "waiting", "compensating")


class Pauses(Protocol):
    """Says which workflows are paused."""

    def of(self, workflow: str, *, fresh: bool = False) -> PausedWorkflow | None:
        """The pause of a workflow, if it is paused; ``fresh``: as it is now.

        Raises:
            StoreUnavailable: that is not known.
        """


class NoPauses:
    """No workflow is paused, for what runs nothing."""

    def of(self, workflow: str, *, fresh: bool = False) -> PausedWorkflow | None:
        """None."""


class KnownPauses:
    """The paused workflows of a table, as a process knows them.

    Args:
        paused: where they are.
        now: the time, in ms.
    """

    def __init__(self, paused: PausedWorkflows, now: Callable[[], int]) -> None:
        self._paused = paused
        self._now = now
        self._known: dict[str, PausedWorkflow] = {}
        self._read_at: int | None = None

    def of(self, workflow: str, *, fresh: bool = False) -> PausedWorkflow | None:
        """As ``Pauses`` has it."""
        now = self._now()
        if fresh or self._read_at is None or not 0 <= now - self._read_at < SEEN_MS:
            found = {name: one for name, one in self._paused.read().items() if not one.ended}
            self._known, self._read_at = found, now
        return self._known.get(workflow)


def words(paused: PausedWorkflow) -> str:
    """What people read of a pause."""
    by = f" by {paused.by}" if paused.by else ""
    known = f"workflow {paused.workflow} is paused{by} since {iso(paused.at)}"
    return f"{known}: {paused.reason}" if paused.reason else known


def iso(milliseconds: int) -> str:
    """A time in words: to the second, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def pause_of(state: State, paused: PausedWorkflow, now: int) -> Paused | None:
    """The event by which an instance waits for its paused workflow; ``None`` where none of its code is left to run."""
    if state.closed or (state.cancel is not None and not undoes_at_cancel(state)):
        return None
    if is_paused_alone(state):
        return None
    most = LONGEST_LOOK_AT_PARTS_MS if is_bulk(state.instance_id) else LONGEST_LOOK_MS
    later = now - paused.at if state.paused is not None else 0  # at first the pause may have ended just now
    look_at = now + min(max(later, FIRST_LOOK_MS), most)
    return Paused(words(paused), by=paused.by, by_source=paused.by_source, look_at=look_at)


def wake_waiting(store: Store, queue: WorkQueue, clock: Clock) -> None:
    """Wake what waited for workflows that are unpaused: so many a minute, and the sweep has it go on after that.

    Raises:
        StoreUnavailable: the store or the queue did not answer; it goes on where it was.
    """
    for ended in [one for one in store.paused.read().values() if one.ended]:
        now, cursor, sent = clock.now(), ended.cursor or None, 0
        while sent < WOKEN:
            wanted = ListFilter(workflows=(ended.workflow,), statuses=OPEN, children=True)
            page = store.list(wanted, limit=PAGE, cursor=cursor)
            for one in store.paused.held([item.instance_id for item in page.items]):
                queue.wake(one, sent * MINUTE_MS // WOKEN)
                sent += 1
            cursor = page.cursor
            store.paused.went_on(ended, cursor, now + MINUTE_MS)  # a list may be longer than a Lambda lives
            if cursor is None:
                break
        if cursor is not None:
            queue.wake(PAUSED, MINUTE_MS)


def is_paused_workflows(instance_id: str) -> bool:
    """Whether a message is about the paused workflows, and not about an instance."""
    return instance_id == PAUSED
