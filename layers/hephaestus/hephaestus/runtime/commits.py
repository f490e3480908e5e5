"""The one commit: put the log entry, perform what follows from it, tell of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from hephaestus.engine.alarms import alarm
from hephaestus.engine.effects import again, effects
from hephaestus.engine.events import Entry
from hephaestus.errors import StoreUnavailable
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.engine.state import State
    from hephaestus.runtime.perform import Performer
    from hephaestus.store.store import Store
    from hephaestus.writes import Write

T = TypeVar("T")


def once(call: Callable[[], T]) -> T:
    """What ``call`` gives."""
    return call()


@dataclass(frozen=True, slots=True)
class Commits:
    """Commits entries.

    Attributes:
        store: where they go.
        performer: performs what follows.
    """

    store: Store
    performer: Performer

    def commit(  # noqa: PLR0913 - a commit, and how it is made
        self,
        before: State,
        entry: Entry,
        after: State,
        *,
        tell: Callable[[State, Entry, State], None],
        writes: Sequence[Write] = (),
        insist: Callable[[Callable[[], State | None]], State | None] = once,
    ) -> State | None:
        """Make ``entry`` true, perform its effects, and tell of it.

        Args:
            before: the state before it.
            entry: the entry.
            after: the state after it.
            tell: called when all is done.
            writes: what a step writes in the same transaction.
            insist: puts the entry, again and again where that may help.

        Returns:
            ``after``, with what is known of where it is stored; ``None`` where another writer took the number, and
            nothing has happened.

        Raises:
            StoreUnavailable, PayloadTooLarge, WriteFailed: see ``Store.commit``; nothing that follows was done.
        """
        alarmed = entry
        if (alarm_at := alarm(before, entry, after)) is not None:
            alarmed = Entry(entry.sequence, entry.commit_id, entry.at, entry.events, alarm_at)
        stored = insist(lambda: self.store.commit(after, alarmed, writes))
        if stored is None:
            return None
        done = self.performer.perform(effects(before, entry, after), stored)
        tell(before, entry, done)
        return done

    def start(self, fresh: State, first: Entry, *, over: bool = True) -> tuple[State, bool] | None:
        """Start an instance and perform what follows.

        Returns:
            The state as stored, and whether it was this call that started it; ``None`` where one that is open has the
            id, or any, unless it may begin ``over`` a closed one.
        """
        started = self.store.create(fresh, first, self.finish, over=over)
        if started is None:
            return None
        if started.sequence != 1 or started.start_id != fresh.start_id:
            return started, False
        return self.performer.perform(effects(None, first, started), started), True

    def finish(self, closed: State) -> State:
        """Perform what the end of an instance may have left undone.

        Raises:
            StoreUnavailable: another instance is still to be told of it.
        """
        done = self.performer.perform(again(closed, closed.updated_at), closed)
        if done.kept.owed:
            message = f"instance {closed.instance_id}: others are still to be told of its end; try again"
            raise StoreUnavailable(message)
        return done
