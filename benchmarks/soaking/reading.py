"""Reads a log entry by entry, doubts each, and gathers what the instance's effects must have been."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.soaking.flows import ONCE
from hephaestus.engine.events import (
    Claimed,
    CompensationFailed,
    Entry,
    InstanceFinished,
    Redriven,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepsSkipped,
    StepWaiting,
    TimerSet,
)
from hephaestus.engine.fold import apply, begin
from hephaestus.engine.state import evolve
from hephaestus.errors import CorruptLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus.engine.events import Event, Failure
    from hephaestus.engine.state import State

STEPS: Final = {
    "Parcel": ("pack", "label", "weigh", "pickup", "handover", "rest", "invoice", "apologise"),
    "Journey": ("flight", "hotel", "confirmation", "car"),
}


@dataclass(slots=True)
class Findings:
    """What an audit came to. A soak is good if the three lists are empty.

    Attributes:
        lost: instances, events, results and effects that should be there and are not, each in a sentence.
        doubled: what happened twice or should not have happened, each in a sentence.
        broken: other invariants that do not hold, each in a sentence.
        ended: how many generations ended how.
        counts: steps completed, retries, interrupted attempts and the like.
        late_ms: the most that a deadline was late, in milliseconds.
    """

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    late_ms: int = 0

    @property
    def good(self) -> bool:
        """Whether nothing was found."""
        return not (self.lost or self.doubled or self.broken)


def status(log: Sequence[Entry]) -> str:
    """How a generation has ended, by the last event of its log; ``open`` if it has not."""
    last = log[-1].events[-1] if log else None
    return last.status if isinstance(last, InstanceFinished) else "open"


class Reading:
    """One generation's log, read from its beginning."""

    def __init__(self, instance_id: str, generation: int, findings: Findings, life: str = "") -> None:
        self.name = f"{instance_id}#{generation}"
        self.key = f"{instance_id}:{generation}"
        self.instance_id = instance_id
        self.generation = generation
        self.life = life
        self.findings = findings
        self.state: State | None = None
        self.effects: list[str] = []
        self.once: list[str] = []
        self.activations: Counter[str] = Counter()
        self.decided: set[str] = set()
        self.due: dict[str, list[int]] = {}
        self.commits: set[str] = set()

    def read(self, log: Sequence[Entry]) -> None:
        """Read every entry."""
        for number, entry in enumerate(log, 1):
            if entry.sequence != number:
                self.broken(f"entry {number} is numbered {entry.sequence}")
                return
            if entry.commit_id in self.commits:
                self.findings.doubled.append(f"{self.name}: the commit {entry.commit_id} is there twice")
            self.commits.add(entry.commit_id)
            try:
                self.entry(entry)
            except CorruptLog as error:
                self.broken(f"entry {number} does not follow: {error}")
                return
        self.findings.counts["log entries"] += len(log)
        if status(log) == "completed" and self.state is not None:
            left = set(STEPS.get(self.state.workflow, ())) - self.decided
            if left:
                self.findings.lost.append(
                    f"{self.name} completed, and nothing was decided of {', '.join(sorted(left))}"
                )

    def entry(self, entry: Entry) -> None:
        """One entry: what it says, and whether it may."""
        state = self.state
        if state is not None and entry.at < state.updated_at:
            self.broken(f"entry {entry.sequence} was written before the one before it")
        for event in entry.events:
            if isinstance(event, Claimed) and self.state is not None and self.state.owned(entry.at):
                self.broken(f"entry {entry.sequence} claims what another owner still has")
            self.event(event, entry.at)
            # The first event of all is part of what `begin` makes; the others follow one by one.
            if self.state is None:
                head = Entry(1, entry.commit_id, entry.at, (event,))
                self.state = begin(self.instance_id, self.generation, head, self.life)
            else:
                self.state = apply(self.state, (event,), entry.at)
        if self.state is not None:
            self.state = evolve(self.state, sequence=entry.sequence)

    def event(self, event: Event, at: int) -> None:
        """What is counted, and what is owed because of it."""
        counts = self.findings.counts
        match event:
            case StepCompleted(step=step, event=emitted, writes=writes):
                counts["steps"] += 1
                self.decide(step)
                self.settle(step, emitted, at)
                self.effects += [self.effect(step)] * bool(writes)
                # One that was interrupted emits "error", whether it had run or not.
                self.once += [self.effect(step)] * (step == ONCE and emitted != "error")
            case StepCompensated(step=step, writes=writes):
                counts["compensations"] += 1
                self.effects += [f"{self.effect(step)}!undo"] * bool(writes)
            case StepFailed(error=error, retry_at=retry_at) | CompensationFailed(error=error, retry_at=retry_at):
                self.failed(event, error, retry_at)
            case StepsSkipped(steps):
                for step in steps:
                    self.decide(step)
            case Redriven(reset=reset, again=again):
                counts["redrives"] += 1
                self.activations.update(again)
                self.decided.difference_update(reset)
            case StepWaiting(step=step, due_at=int(due_at)) | TimerSet(step=step, due_at=due_at):
                self.due.setdefault(step, []).append(due_at)
            case Claimed() if self.state is not None and self.state.owner is not None:
                counts["take-overs"] += 1
            case _:
                pass

    def failed(self, event: StepFailed | CompensationFailed, error: Failure, retry_at: int | None) -> None:
        """An attempt failed: of a step, or to undo one."""
        counts = self.findings.counts
        if retry_at is None and isinstance(event, StepFailed):
            self.decide(event.step)
        counts["interrupted attempts" if error.type == "Interrupted" else f"failures: {error.type}"] += 1
        counts["retries"] += retry_at is not None

    def decide(self, step: str) -> None:
        """A step is completed, failed for good or skipped: once an activation."""
        if step in self.decided:
            self.findings.doubled.append(f"{self.name}: step {step} was decided twice")
        self.decided.add(step)

    def settle(self, step: str, event: str, at: int) -> None:
        """A deadline that has come: not before its time."""
        if step not in self.due or event not in ("timeout", "done"):
            return
        late = at - min(self.due[step])
        if late < 0:
            self.broken(f"the deadline of step {step} came {-late} ms before its time")
        self.findings.late_ms = max(self.findings.late_ms, late)

    def effect(self, step: str) -> str:
        """The key of a step's effect: its idempotency key, in its present activation."""
        again = self.activations[step]
        return f"{self.key}:{step}" + (f"~{again}" if again else "")

    def broken(self, problem: str) -> None:
        """Note an invariant that does not hold."""
        self.findings.broken.append(f"{self.name}: {problem}")
