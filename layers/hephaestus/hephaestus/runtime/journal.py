"""What one execution has committed and what it has decided on top of that; only a commit makes anything true.

The claim that opens an execution is the first thing it commits, together with whatever follows from it without running
anybody's code. Whoever loses a number reads what the winner wrote, drops what followed from the old state alone, and
decides it again.
"""

from __future__ import annotations

import logging
from itertools import count
from typing import TYPE_CHECKING, Final, TypeVar

from hephaestus.engine.events import (
    ChildrenStopping,
    ChildStarted,
    ChildUndoing,
    ChoiceStarted,
    CompensationStarted,
    Entry,
    Event,
    EventsDropped,
    ItemCompleted,
    ItemFailed,
    ItemWaiting,
    LimitsFailed,
    MapBegun,
    MapSpread,
    OutputStarted,
    PartStarted,
    Paused,
    PermitsTaken,
    RoundEnded,
    StartQueued,
    StartReserved,
    StepCompleted,
    StepFailed,
    StepQueued,
    StepsSkipped,
    StepsStarted,
    StepWaiting,
    TimedOut,
)
from hephaestus.engine.fold import apply, following
from hephaestus.engine.state import evolve
from hephaestus.errors import EngineSignal, PayloadTooLarge, RetryLater, StoreUnavailable
from hephaestus.runtime.commits import once
from hephaestus.runtime.sizes import added, held
from hephaestus.values.weight import MAX_HELD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.engine.state import State
    from hephaestus.runtime.commits import Commits
    from hephaestus.runtime.ports import Clock
    from hephaestus.writes import Write

FIRST_PAUSE_MS: Final = 100
LONGEST_PAUSE_MS: Final = 5_000

T = TypeVar("T")

_logger = logging.getLogger("hephaestus.journal")


class Fenced(EngineSignal):
    """Another owner has the instance now: stop at once."""


class Outrun(EngineSignal):
    """Another writer took the number of the opening commit: nothing has happened, look again and decide anew."""


class Journal:
    """One execution's side of the log.

    Args:
        commits: makes entries true.
        clock: time and names.
        state: the instance as it was read.
        opening: the events of the first commit, the claim among them; none when they are committed already.
        pure: tells the activations whose waiting follows from the state alone.
        give_up_at: until when (ms) a store that does not answer is asked again.
        tell: called after every commit with the state before, the entry, and the state after.

    Attributes:
        unnamed: the activations of which an attempt has ended, and that no commit has named.
        overtaken: asked after a rebase what a decision that is kept comes to now.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what an execution has
        self,
        commits: Commits,
        clock: Clock,
        state: State,
        opening: tuple[Event, ...],
        pure: Callable[[str], bool],
        give_up_at: int,
        tell: Callable[[State, Entry, State], None],
    ) -> None:
        self.commits = commits
        self.store = commits.store
        self.clock = clock
        self.pure = pure
        self.give_up_at = give_up_at
        self.tell = tell
        self.opening = opening
        self.committed = state
        self.decided: list[Event] = []
        self.draft = state
        self._drafted_at: int | None = None
        self._draft(opening)
        self.owner = self.draft.owner
        self.overtaken: Callable[[Event, State], Event] = lambda event, _: event
        self.unnamed: set[str] = set()
        self._room: int | None = None
        self._entries = count()

    def now(self) -> int:
        """Milliseconds since the epoch; the times in a log never go back, whichever machine's clock they are from."""
        return max(self.clock.now(), self.committed.updated_at)

    def decide(self, *events: Event) -> None:
        """Add events to the next commit."""
        if events:
            at = self.now()
            if self._drafted_at != at:
                self._drafted_at = None if self.opening or self.decided else at
            self.draft = apply(self.draft, events, at)
            self.decided.extend(events)

    def _draft(self, events: Sequence[Event]) -> None:
        """Make the draft anew: what is committed, and ``events``."""
        at = self._drafted_at = self.now()
        self.draft = apply(self.committed, events, at)

    def _following(self, events: tuple[Event, ...], closing: tuple[Event, ...]) -> tuple[State, Entry]:
        """The next entry and the state after it: the draft with ``closing``, if all of it is of this very time."""
        at = self.now()
        if not events or self._drafted_at != at:
            return following(self.committed, self._commit_id(), at, (*events, *closing))
        after = evolve(apply(self.draft, closing, at), sequence=self.committed.sequence + 1)
        return after, Entry(after.sequence, self._commit_id(), at, (*events, *closing))

    def _commit_id(self) -> str:
        """A name that no other entry was ever tried with: each claim makes an owner of its own."""
        return f"{self.owner}.{next(self._entries)}"

    def has_room(self, event: Event) -> bool:
        """Whether the instance may hold what an outcome adds, beside all that it holds."""
        if self._room is None:
            self._room = held(self.draft)
        self._room += added(event)  # or less, where it replaces something: then it is counted anew
        if self._room > MAX_HELD:
            self._room = held(apply(self.draft, (event,), self.now()))
        return self._room <= MAX_HELD

    def drop(self) -> None:
        """Forget what is decided and not committed."""
        self.decided = []
        self._draft(self.opening)

    def flush(self) -> bool:
        """Commit what is decided, if anything is; whether nothing is left to commit."""
        return not (self.opening or self.decided) or self.commit()

    def commit(self, *closing: Event, writes: Sequence[Write] = ()) -> bool:
        """Commit what was decided as one log entry.

        Returns:
            Whether it was written. If not, another writer was faster: what it wrote is part of the state now.

        Raises:
            Outrun: the opening was not written.
            Fenced: another owner has claimed the instance, or it has ended.
            WriteFailed: one of ``writes`` was refused, and nothing was written.
        """
        before = self.committed
        after, entry = self._following((*self.opening, *self.decided), closing)
        # Before the claim nothing has run that would be lost: whoever called is told at once, and comes again.
        insist = once if self.opening else self.insist
        try:
            done = self.commits.commit(before, entry, after, tell=self.tell, writes=writes, insist=insist)
        except PayloadTooLarge:
            if bool(self.opening) + len(self.decided) + bool(closing) < 2:  # noqa: PLR2004 - nothing to take apart
                raise
            self._commit_some(0 if self.opening else max(len(self.decided) // 2, 1))
            return False
        if done is None:
            self.rebase()
            return False
        self.opening = ()
        if self.unnamed:
            self.unnamed.difference_update(getattr(event, "activation", "") for event in self.decided)
        self.decided = []
        self.committed = self.draft = done
        return True

    def peek(self) -> None:
        """Look whether an event has come in while steps run."""
        try:
            behind = self.store.tail(self.committed)
        except RetryLater:
            return  # it was only a look; the next commit will tell
        if behind is not None:
            self.rebase()

    def rebase(self) -> None:
        """Fold what others wrote, and put what was decided here on top of it.

        Raises:
            Outrun, Fenced: see ``commit``.
            StoreUnavailable: the store refuses a number that is free.
        """
        if self.opening:
            raise Outrun
        newer = self.insist(lambda: self.store.tail(self.committed))
        if newer is None:
            found = self.insist(lambda: self.store.load(self.committed.instance_id))
            if found is None or found.life != self.committed.life:
                raise Fenced
            message = f"instance {self.committed.instance_id}: its log is contended; its lease will end and it goes on"
            raise StoreUnavailable(message)
        self.committed = newer
        self._room = None
        if self.committed.closed or self.committed.owner != self.owner:
            raise Fenced
        self._keep(self.decided)

    def insist(self, call: Callable[[], T]) -> T:
        """What ``call`` gives, asked for again for as long as the store may come back within this invocation.

        A commit that is asked for again carries the same commit id, so it is written once. What has run is not thrown
        away because of a passing outage.

        Raises:
            StoreUnavailable: it did not come back in time.
        """
        pause = FIRST_PAUSE_MS
        while True:
            try:
                return call()
            except RetryLater:
                if self.clock.now() + pause > self.give_up_at:
                    raise
                _logger.warning("instance %s: the store did not answer, trying again", self.committed.public_id)
            self.clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_MS)

    def _commit_some(self, number: int) -> None:
        """Write the opening, or the first of the decided events: each fits an entry, all of them together do not."""
        later = self.decided[number:]
        self.decided = self.decided[:number]
        self._drafted_at = None  # the draft has all of them
        if self.commit():
            self._keep(later, derived=False)
        else:
            self._keep([*self.decided, *later])

    def _keep(self, decided: Sequence[Event], *, derived: bool = True) -> None:
        """Go on with ``decided`` on top of what is committed, without what is to be decided again."""
        left = [event for event in decided if not (derived and self._is_derived(event, decided))]
        self.decided = [self.overtaken(event, self.committed) for event in left]
        self._draft(self.decided)

    def _is_derived(self, event: Event, decided: Sequence[Event]) -> bool:
        """Whether a decision follows from the state alone, so that it is to be made again after a rebase.

        An event that came in meanwhile goes before a timeout that was decided but not written.
        """
        match event:
            case (
                StepsSkipped()
                | StepsStarted()
                | ChoiceStarted()
                | OutputStarted()
                | TimedOut()
                | CompensationStarted()
                | EventsDropped()
                | ChildrenStopping()
                | ChildUndoing()
                | PartStarted()
                | PermitsTaken()
                | StepQueued()
                | LimitsFailed()
                | Paused()
                | StartReserved()
                | StartQueued()
            ):
                return True
            case StepWaiting(activation=activation) | ItemWaiting(activation=activation):
                return self.pure(activation)
            case (
                StepCompleted()
                | StepFailed()
                | RoundEnded()
                | MapBegun()
                | MapSpread()
                | ItemCompleted()
                | ItemFailed()
            ):
                activation = event.activation
                waits = [one.activation for one in decided if isinstance(one, (StepWaiting, ItemWaiting, ChildStarted))]
                ran = activation in self.committed.running or activation in self.unnamed
                return activation in waits or self.pure(activation) or not ran
            case _:
                return False
