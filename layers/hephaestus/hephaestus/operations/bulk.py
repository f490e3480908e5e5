"""The same command for many instances: all that a listing shows, one after the other, at a bounded rate.

Each instance is looked at again right before its turn: what has changed meanwhile is skipped. The request ids come from
the operation's name, so an operation that was cut is done again under the same name, and nothing is done twice.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from hephaestus.errors import (
    BadRequest,
    HephaestusError,
    InstanceClosed,
    InstanceNotFound,
    NotRedrivable,
    RetryLater,
)
from hephaestus.operations.advice import AwsRefused, NoCredentials
from hephaestus.runtime.commands import ROUTED
from hephaestus.runtime.intake import MAX_LIMIT
from hephaestus.runtime.names import is_schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    from hephaestus.runtime.commands import Command
    from hephaestus.store.filters import ListFilter

Json = dict[str, Any]
OPEN: Final = ("pending", "running", "waiting")
UNDER_WAY: Final = (*OPEN, "compensating")
MEANT: Final[Mapping[str, Sequence[str]]] = {
    "cancel": OPEN,
    "pause": UNDER_WAY,
    "unpause": UNDER_WAY,
    "redrive": ("failed",),
    "recheck": UNDER_WAY,
}
"""The actions, and the statuses that each means where none is named."""
COMMANDS: Final = {command.action: command for command in ROUTED}
WORKERS: Final = 8
AGAIN: Final = (0.5, 1.0, 2.0)  # seconds before the same is asked once more
MOST_FAILURES: Final = 10  # in a row of the kind that is no fault of the instance: nothing can be done at all
NO_ANSWER: Final = (RetryLater, AwsRefused, NoCredentials)
CHANGED: Final = (InstanceClosed, InstanceNotFound, NotRedrivable)
UNITS: Final = {"s": 1, "m": 60, "h": 3600}


class Deployed(Protocol):
    """What a deployment is asked; see ``hephaestus.operations.Connection``."""

    def list(self, wanted: ListFilter, *, limit: int, cursor: str | None) -> Json:
        """A page of instances."""

    def get(self, instance_id: str) -> Json:
        """An instance."""

    def do(self, command: Command) -> Json:
        """Have a command done."""


@dataclass(frozen=True, slots=True)
class Target:
    """An instance as the listing showed it, and the cursor at which its page begins."""

    id: str
    generation: int
    status: str
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one instance: ``done``, ``skipped`` or ``failed``, and why.

    ``stops``: AWS did not answer, or does not let the caller in, which may be so for all the others.
    """

    id: str
    became: str
    why: str = ""
    stops: bool = False


@dataclass(slots=True)
class Report:
    """What was done.

    Attributes:
        found: how many instances there were to do it to.
        done: how many it was done to.
        skipped, failed: the others that had their turn, and why.
        cursor: where to go on; ``None`` where that is at the beginning, or there is nothing left.
        ended: why it ended before all had their turn; empty where they had.
    """

    found: int
    done: int = 0
    skipped: list[Outcome] = field(default_factory=list)
    failed: list[Outcome] = field(default_factory=list)
    cursor: str | None = None
    ended: str = ""

    @property
    def seen(self) -> int:
        """How many have had their turn."""
        return self.done + len(self.skipped) + len(self.failed)

    def add(self, outcome: Outcome) -> None:
        """Count what became of one."""
        if outcome.became == "done":
            self.done += 1
        else:
            (self.skipped if outcome.became == "skipped" else self.failed).append(outcome)


def meant(action: str, wanted: ListFilter) -> ListFilter:
    """``wanted``, narrowed down to what the action can be for.

    Raises:
        BadRequest: it names nothing, or children: they are steered at their root.
    """
    if wanted.children or wanted.parent is not None:
        message = "children are steered by their root: bulk operations take roots only"
        raise BadRequest(message)
    if replace(wanted, children=False) == type(wanted)():
        message = "this would be for every instance: say which, as with --workflow, --status, --tag or --since"
        raise BadRequest(message)
    return wanted if wanted.statuses is not None else replace(wanted, statuses=list(MEANT[action]))


def find(deployed: Deployed, wanted: ListFilter, cursor: str | None = None) -> Iterator[Target]:
    """The instances that a listing shows from ``cursor`` on, without schedules, which have commands of their own."""
    seen: set[str] = set()
    while True:
        page = deployed.list(wanted, limit=MAX_LIMIT, cursor=cursor)
        for item in page["items"]:
            if not is_schedule(item["id"]) and item["id"] not in seen:
                seen.add(item["id"])
                yield Target(item["id"], item["generation"], item["status"], cursor)
        cursor = page["cursor"]
        if cursor is None:
            return


def read_rate(text: str) -> float:
    """How many a second, of what a person writes: ``20/s``, ``90/min`` or ``20``.

    Raises:
        BadRequest: it is none of these, or not between one an hour and 1,000 a second.
    """
    found = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)(?:/(s|sec|m|min|h|hour))?", text.strip())
    rate = float(found[1]) / UNITS[(found[2] or "s")[0]] if found else 0.0
    if not 1 / 3600 <= rate <= 1000:  # noqa: PLR2004 - the bounds that the error names
        message = f"{text[:40]!r} is no rate: write 20/s, 90/min or 100/h, 1,000 a second at most"
        raise BadRequest(message)
    return rate


@dataclass(frozen=True, slots=True)
class Bulk:
    """One command for many instances.

    Attributes:
        deployed: where they are.
        action: which command.
        wanted: which instances; each must still be one of them when its turn comes.
        members: of the command, but for the instance and the request id.
        operation: the operation's name, of which the request ids are made.
        rate: how many a second.
    """

    deployed: Deployed
    action: str
    wanted: ListFilter
    members: Mapping[str, Any]
    operation: str
    rate: float

    @property
    def request_id(self) -> str:
        """The name of the request to each instance, which remembers its own."""
        return f"bulk:{self.operation}"

    def command(self, instance_id: str) -> Command:
        """What is asked of an instance.

        Raises:
            BadRequest: it is malformed.
        """
        kind = COMMANDS[self.action]
        named = {kind.named_by: self.request_id} if kind.named_by else {}
        return kind(**self.members, **named, instance_id=instance_id)

    def run(self, targets: Sequence[Target], note: Callable[[Outcome], object]) -> Report:
        """Do it to one after the other; Ctrl-C ends it after those that are under way.

        The first goes alone: what is wrong for all is known then.

        Args:
            targets: the instances.
            note: called with what became of each.
        """
        run = _Run(self, Report(len(targets)), {target.id: target for target in targets}, note, time.monotonic())
        with ThreadPoolExecutor(WORKERS) as pool:
            try:
                for number, target in enumerate(targets):
                    run.pace(number)
                    run.pending.add(pool.submit(self.one, target))
                    run.take(fewer_than=1 if number == 0 else WORKERS)
                    if run.report.ended:
                        break
            except KeyboardInterrupt:
                run.report.ended = "interrupted"
            run.take(fewer_than=1)
        run.report.cursor = next(iter(run.left.values())).cursor if run.left else None
        return run.report

    def one(self, target: Target) -> Outcome:
        """Do it to one, unless it is not what it was any more."""
        for pause in (*AGAIN, None):
            try:
                if why := self.changed(target, self.deployed.get(target.id)):
                    return Outcome(target.id, "skipped", why)
                self.deployed.do(self.command(target.id))
            except CHANGED as error:
                return Outcome(target.id, "skipped", str(error))
            except RetryLater as error:
                if pause is None:
                    return Outcome(target.id, "failed", str(error), stops=True)
                time.sleep(pause)
            except HephaestusError as error:
                return Outcome(target.id, "failed", str(error), stops=isinstance(error, NO_ANSWER))
            else:
                return Outcome(target.id, "done")
        raise AssertionError  # the last pause is none

    def changed(self, target: Target, shown: Json) -> str:
        """Why an instance is not what the listing showed any more, or has nothing to be done; empty where it has."""
        wanted, status = self.wanted, shown["status"]
        if shown["generation"] != target.generation:
            return "it was started again meanwhile"
        if wanted.statuses is not None and status not in wanted.statuses:
            return f"it is {status} now"
        if self.action == "pause" and shown.get("paused") is not None and not shown.get("paused_by_workflow"):
            return "it is paused already"
        if self.action == "unpause" and shown.get("paused_by_workflow"):
            return "it waits for its workflow, which is paused"
        if self.action == "unpause" and shown.get("paused") is None:
            return "it is not paused"
        return ""


@dataclass(slots=True)
class _Run:
    """An operation under way."""

    bulk: Bulk
    report: Report
    left: dict[str, Target]
    note: Callable[[Outcome], object]
    began: float
    pending: set[Future[Outcome]] = field(default_factory=set)
    failures: int = 0

    def pace(self, number: int) -> None:
        """Wait until it is the turn of the one with this number."""
        early = self.began + number / self.bulk.rate - time.monotonic()
        if early > 0:
            time.sleep(early)

    def take(self, *, fewer_than: int) -> None:
        """Count what has ended, and wait until so few are under way."""
        while True:
            for one in [one for one in self.pending if one.done()]:
                self._count(one.result())
                self.pending.discard(one)
            if len(self.pending) < fewer_than:
                return
            wait(self.pending, return_when=FIRST_COMPLETED)

    def _count(self, outcome: Outcome) -> None:
        if self.left.pop(outcome.id, None) is None:
            return  # it was counted as Ctrl-C was pressed
        self.report.add(outcome)
        self.failures = self.failures + 1 if outcome.stops else 0
        if self.failures >= MOST_FAILURES:
            self.report.ended = outcome.why
        self.note(outcome)
