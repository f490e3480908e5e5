"""Sends dead letters where they belong, and deletes each only after that.

A crash in between leaves a letter that is sent again. That is harmless: an instance is looked at twice, a schedule
removed twice, a status event published twice, and an event that comes twice has one id, so a redrive may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from hephaestus.adapters.message_attributes import MESSAGE_ID
from hephaestus.adapters.sqs import SqsMessages, SqsQueue
from hephaestus.dead_letters.letters import Deliver, Errand, Ingest, Publish, RemoveSchedule, Wake, read_letter
from hephaestus.dead_letters.queue import DeadLetterQueue
from hephaestus.errors import BadRequest, HephaestusError
from hephaestus.store.overdue import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hephaestus.adapters.session import LazyClient
    from hephaestus.dead_letters.places import Places
    from hephaestus.dead_letters.queue import Letter
    from hephaestus.runtime.ports import WorkQueue

    Invoke: TypeAlias = Callable[[Mapping[str, Any]], None]

    class Messages(Protocol):
        """A queue that takes messages with attributes."""

        def send(self, body: str, attributes: Mapping[str, str]) -> None:
            """Send one."""


BATCH: Final = 10
NOBODY: Final = "its event is for the function {}: say which function that is"
NOT_TAKEN: Final = "the work queue did not take its message: run the command again"


@dataclass(frozen=True, slots=True)
class Left:
    """A letter that stays in its queue, and why."""

    message_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the letters of one queue; in a dry run, what would.

    Attributes:
        found: letters that were looked at.
        sent: letters that were sent where they belong, and deleted.
        merged: letters deleted without being sent, as their instance had been sent for already in this run.
        left: letters that stay.
        failure: why the run ended early; ``None`` where it did not.
    """

    found: int
    sent: int
    merged: int
    left: tuple[Left, ...]
    failure: str | None = None


def redrive(  # noqa: PLR0913 - where letters go, and how many
    letters: DeadLetterQueue,
    work: WorkQueue,
    invoke: Invoke | None = None,
    *,
    events: Messages | None = None,
    limit: int | None = None,
    dry_run: bool = False,
) -> Report:
    """Send every letter of a queue where it belongs.

    Args:
        letters: the dead-letter queue.
        work: the stack's work queue.
        invoke: gives an event to the function that reads it, asynchronously; without it such letters are left.
        events: the ingest queue, where the letters are dead letters of that.
        limit: look at so many letters at most.
        dry_run: look only. The letters are hidden from others meanwhile.

    Returns:
        What became of them. What fails for a reason that has nothing to do with a letter ends the run, and is in it.
    """
    run = _Run(letters, work, invoke, events, dry_run)
    try:
        while limit is None or run.found < limit:
            received = letters.receive(BATCH if limit is None else min(BATCH, limit - run.found))
            if not run.take(received):
                break
    except HephaestusError as error:
        run.failure = str(error)
    run.release()
    return run.report()


def redrive_all(  # noqa: PLR0913 - where letters go, and how many
    places: Places,
    sqs: LazyClient,
    receiving: LazyClient,
    invoke: Invoke | None = None,
    *,
    limit: int | None = None,
    dry_run: bool = False,
) -> Iterator[tuple[str, Report]]:
    """Send the letters of each of a stack's dead-letter queues where they belong, see ``redrive``; by queue.

    Args:
        places: the queues.
        sqs: SQS, which messages are sent by.
        receiving: SQS, which letters are received by: that waits.
        invoke, limit, dry_run: as ``redrive`` has them.
    """
    work = SqsQueue(places.work_queue, sqs, places.bulk_queue or None)
    for name, url in places.dead_letters.items():
        events = SqsMessages(places.ingest_queue, sqs) if name == "events" else None
        letters = DeadLetterQueue(url, receiving)
        yield name, redrive(letters, work, invoke, events=events, limit=limit, dry_run=dry_run)


@dataclass(slots=True)
class _Run:
    """One redrive."""

    letters: DeadLetterQueue
    work: WorkQueue
    invoke: Invoke | None
    events: Messages | None
    dry_run: bool
    seen: set[str] = field(default_factory=set)
    woken: set[str] = field(default_factory=set)
    left: list[Left] = field(default_factory=list)
    held: list[Letter] = field(default_factory=list)
    sent: int = 0
    merged: int = 0
    failure: str | None = None

    @property
    def found(self) -> int:
        """How many letters were looked at."""
        return len(self.seen)

    def take(self, received: Sequence[Letter]) -> bool:
        """Deal with a batch; whether there was anything new in it."""
        new = [letter for letter in received if letter.id not in self.seen]
        self.seen.update(letter.id for letter in new)
        self.held += new
        errands = [(letter, errand) for letter in new if (errand := self._read(letter)) is not None]
        wakes = [(letter, errand.instance_id) for letter, errand in errands if isinstance(errand, Wake)]
        self._wake(wakes)
        for letter, errand in errands:
            if not isinstance(errand, Wake):
                self._send(letter, errand)
        return bool(new)

    def release(self) -> None:
        """Show what stays to others."""
        try:
            self.letters.release(self.held)
        except HephaestusError as error:
            self.failure = self.failure or str(error)

    def report(self) -> Report:
        """What became of them."""
        return Report(self.found, self.sent, self.merged, tuple(self.left), self.failure)

    def _read(self, letter: Letter) -> Errand | None:
        if self.events is not None:
            return Ingest(letter.body, {MESSAGE_ID: letter.id, **letter.attributes})
        try:
            if letter.truncated:
                message = "Scheduler has cut it off, so it cannot be read"
                raise BadRequest(message)
            errand = read_letter(letter.body)
        except HephaestusError as error:
            self.left.append(Left(letter.id, str(error)))
            return None
        if isinstance(errand, Deliver) and self.invoke is None:
            self.left.append(Left(letter.id, NOBODY.format(errand.function)))
            return None
        return errand

    def _wake(self, wakes: Sequence[tuple[Letter, str]]) -> None:
        """Send one message for each instance; a sweep may have made many letters of one."""
        wanted = [
            instance_id for instance_id in dict.fromkeys(each for _, each in wakes) if instance_id not in self.woken
        ]
        accepted = (
            wanted
            if self.dry_run or not wanted
            else self.work.wake_many([Wakeup(instance_id) for instance_id in wanted])
        )
        self.woken.update(accepted)
        done = [letter for letter, instance_id in wakes if instance_id in self.woken]
        self.left += [Left(letter.id, NOT_TAKEN) for letter, instance_id in wakes if instance_id not in self.woken]
        self.sent += len(accepted)
        self.merged += len(done) - len(accepted)
        self._delete(done)

    def _send(self, letter: Letter, errand: RemoveSchedule | Publish | Deliver | Ingest) -> None:
        if not self.dry_run:
            if isinstance(errand, Ingest):
                if self.events is not None:
                    self.events.send(errand.body, errand.attributes)
            elif isinstance(errand, RemoveSchedule):
                self.work.remove_schedule(errand.timeout)
            elif isinstance(errand, Publish):
                self.work.publish_later(errand.event)
            elif self.invoke is not None:
                try:
                    self.invoke(errand.event)
                except BadRequest as error:  # no function is known for it
                    self.left.append(Left(letter.id, str(error)))
                    return
        self.sent += 1
        self._delete([letter])

    def _delete(self, done: Sequence[Letter]) -> None:
        if self.dry_run or not done:
            return
        self.letters.delete(done)
        gone = {letter.id for letter in done}
        self.held = [letter for letter in self.held if letter.id not in gone]
