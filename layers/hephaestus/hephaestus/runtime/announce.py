"""What is told of a commit: the family's events that follow from a log entry, after it is written and once.

A decision that is dropped, or made again because another writer was faster, is never told: only a commit makes anything
true. What happens between commits (a step that is started, a look at what comes next) the executor tells itself.
Durations and times are in milliseconds.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, TypeAlias

from hephaestus.engine.activation import parse, step_of
from hephaestus.engine.advance import by_time
from hephaestus.engine.events import (
    CompensationFailed,
    EventReceived,
    Failure,
    InstanceFinished,
    ItemCompleted,
    ItemFailed,
    ItemUndoFailed,
    ItemUndone,
    ItemWaiting,
    OnFailureCompleted,
    OnFailureFailed,
    RoundEnded,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepsIsolated,
    StepWaiting,
)
from hephaestus.engine.events.steps import MOST_QUICK
from hephaestus.engine.state import is_fatal
from hephaestus.errors import EngineSignal
from hephaestus.runtime import telemetry
from hephaestus.runtime.names import SCHEDULE_KEY
from hephaestus.runtime.telemetry import tell
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hephaestus.engine.advance import Run
    from hephaestus.engine.events import Entry
    from hephaestus.engine.state import State

Ended: TypeAlias = StepCompleted | RoundEnded | ItemCompleted | ItemUndone | StepCompensated | OnFailureCompleted
Handled: TypeAlias = OnFailureCompleted | OnFailureFailed
Failed: TypeAlias = StepFailed | ItemFailed | ItemUndoFailed | CompensationFailed
Outcome: TypeAlias = StepWaiting | ItemWaiting | Ended | Failed | Handled
RUNNER: Final = "Runner"

_logger = logging.getLogger("hephaestus.telemetry")


@dataclass(slots=True)
class Running:
    """An attempt that an invocation runs itself, until it is told of; times in milliseconds.

    Attributes:
        run: what runs.
        started_at: when it was decided that it starts; its timeout counts from here.
        launched_at: when it started.
        ended_at: when it ended; 0 before.
        error: what went wrong with it.
    """

    run: Run
    started_at: int
    launched_at: int
    ended_at: int = 0
    error: BaseException | None = None


def tell_start(state: State, initial_step: str) -> None:
    """Tell that an instance has begun."""
    if telemetry.heard("hephaestus.workflow.start"):
        fields = {"initial_step": initial_step, "context_keys": tuple(sorted(state.initial)), "runner": RUNNER}
        if state.forked_from:
            fields["forked_from"] = state.forked_from
        tell("hephaestus.workflow.start", state, {"system_time": state.created_at}, **fields)


def tell_commit(
    before: State,
    entry: Entry,
    after: State,
    pure: Collection[str] = (),
    ended: Mapping[str, Running] | None = None,
) -> None:
    """Tell what an entry made true.

    Args:
        before, after: the state on either side of it.
        entry: what was written.
        pure: the steps that run within a decision, which nobody sees start.
        ended: the newest attempt of each activation that this invocation ran.
    """
    if not telemetry.heard():
        return
    try:
        _Telling(before, entry, after, pure, ended or {}).tell()
    except EngineSignal:
        raise
    except BaseException:  # a handler's code runs in here
        # The commit is made, and what it decided must go on whatever is wrong with the telling of it.
        _logger.exception("instance %s: entry %d could not be told of", after.public_id, entry.sequence)


class _Telling:
    """One entry, told event by event."""

    def __init__(
        self,
        before: State,
        entry: Entry,
        after: State,
        pure: Collection[str],
        ended: Mapping[str, Running],
    ) -> None:
        self.entry = entry
        self.before = before
        self.after = after
        self.pure = pure
        self.ended = ended
        self.waiting = {key: step.started_at for key, step in before.steps.items() if step.status == "waiting"}
        for key, step in before.steps.items():
            for item, one in {} if step.mapped is None else step.mapped.open.items():
                if one.retry_at is None:
                    self.waiting[before.item(key, item)] = one.started_at
        timers = sorted(before.deadlines, key=by_time, reverse=True)
        self.emits = {_who(timer.activation): timer.emits for timer in timers}
        self.inbox = {_who(key): received.event for key, received in before.inbox.items()}

    def tell(self) -> None:  # noqa: C901 - a line or two for every event
        """Tell the events in their order."""
        for event in self.entry.events:
            match event:
                case EventReceived():
                    self.inbox[_who(event.activation)] = event.event
                case StepWaiting() | ItemWaiting():
                    self.began_to_wait(event)
                case StepCompleted():
                    self.completed(event)
                case ItemCompleted():
                    self.item_completed(event)
                case StepFailed() | ItemFailed():
                    self.gave_up(event)
                case CompensationFailed() | ItemUndoFailed() | OnFailureFailed():
                    undo = not isinstance(event, OnFailureFailed)
                    self.failed(event, event.error, event.retry_at, compensation=undo)
                case StepsIsolated(activations):
                    self.isolated(activations)
                case RoundEnded() | StepCompensated() | ItemUndone() | OnFailureCompleted():
                    self.succeeded(event)
                case InstanceFinished():
                    self.finished(event)
                case _:
                    pass

    def gave_up(self, event: StepFailed | ItemFailed) -> None:
        """An attempt failed, or what a step or item waited for was its failure."""
        if (who := _who(event.activation)) in self.waiting:
            self.resumed(event.activation, event.attempt, self.came(who))
        self.failed(event, event.error, event.retry_at)

    def isolated(self, activations: Sequence[str]) -> None:
        """Steps were under way when their process died."""
        for one in activations:
            known = {**_step(step_of(one), self.after.attempt_of(one)), **_round(one)}
            tell(telemetry.ISOLATED, self.after, {"system_time": self.entry.at}, **known)

    def began_to_wait(self, event: StepWaiting | ItemWaiting) -> None:
        """A step or item waits from now on."""
        if isinstance(event, StepWaiting):
            self.saw_start(event)
        status, item = {"instance_status": self.after.status}, _item(event.activation)
        fields = {**_step(event.step, event.attempt), **item, **status}
        tell("hephaestus.step.async", self.after, self.times(event), **fields)
        self.waiting[_who(event.activation)] = self.entry.at
        self.emits[_who(event.activation)] = event.emits

    def item_completed(self, event: ItemCompleted) -> None:
        """An item is through: it ran, or what it waited for came."""
        if (who := _who(event.activation)) in self.waiting:
            self.resumed(event.activation, event.attempt, event.event)  # its run was reported when it began to wait
            del self.waiting[who]
        else:
            fields = {"has_context_updates": bool(event.results), "has_metadata_updates": False}
            self.stopped(event, event.event, transitions_to=(), compensation=False, **fields)
        self.inbox.pop(who, None)

    def succeeded(self, event: RoundEnded | StepCompensated | ItemUndone | OnFailureCompleted) -> None:
        """A round, a compensation or ``on_failure`` ended well; a round that began too soon too often is slowed."""
        if isinstance(event, RoundEnded) and event.step in self.waiting:
            self.resumed(event.activation, event.attempt, event.event or "again")  # a child has ended
            del self.waiting[event.step]
            self.inbox.pop(event.step, None)
            return
        undo, left = (
            isinstance(event, (StepCompensated, ItemUndone)),
            event.carry if isinstance(event, RoundEnded) else event.results,
        )
        added = bool(getattr(event, "metadata", None))
        fields: dict[str, object] = {"has_context_updates": bool(left), "has_metadata_updates": added}
        if isinstance(event, RoundEnded):
            loop = self.after.steps[event.step].loop
            fields["slowed"] = loop is not None and loop.quick > MOST_QUICK
            fields |= _of_schedule(event, self.before, self.after) if self.after.workflow == SCHEDULE_KEY else {}
        emitted = "again" if isinstance(event, RoundEnded) else "compensated" if undo else getattr(event, "event", "")
        self.stopped(event, emitted, transitions_to=(), compensation=undo, **fields)

    def completed(self, event: StepCompleted) -> None:
        """A step is through: it ran, what it waited for came, or its failure is routed."""
        if event.step in self.waiting:
            self.resumed(event.activation, event.attempt, self.came(event.step) if event.failed else event.event)
        if event.failed:
            self.failed(event, event.failed, None)
        elif event.step in self.waiting:
            pass  # its run was reported when it began to wait
        else:
            self.saw_start(event)
            results = {
                "has_context_updates": bool(event.results),
                "has_metadata_updates": bool(event.metadata),
            }
            self.stopped(event, event.event, transitions_to=event.taken, compensation=False, **results)
        self.waiting.pop(event.step, None)
        self.inbox.pop(event.step, None)
        if event.taken:
            counted = {"system_time": self.entry.at, "targets_count": len(event.taken)}
            fields = {"from_step": event.step, "event": event.event, "targets": event.taken}
            tell("hephaestus.workflow.transition", self.after, counted, **fields, fan_out=len(event.taken) > 1)

    def saw_start(self, event: StepWaiting | StepCompleted) -> None:
        """A step that runs within a decision starts in the same commit as it ends."""
        if event.step in self.pure and event.step not in self.waiting:
            fields = {**_step(event.step, event.attempt), "concurrent": False, "active_steps_count": 1}
            tell("hephaestus.step.start", self.after, {"system_time": event.started_at}, **fields)

    def came(self, step: str) -> str:
        """The event that a waiting step was given, where what came of it is a failure."""
        return self.inbox.get(step) or self.emits.get(step, "timeout")

    def resumed(self, activation: str, attempt: int, came: str) -> None:
        """What a step or item waited for is here."""
        who = _who(activation)
        measured = {"system_time": self.entry.at, "wait_duration": float(self.entry.at - self.waiting[who])}
        source = "external" if who in self.inbox else "timeout"
        known = {**_step(step_of(activation), attempt), **_item(activation)}
        fields = {**known, "resume_event": came, "source": source}
        tell("hephaestus.step.resume", self.after, measured, **fields)

    def stopped(self, event: Ended, emitted: str, **fields: object) -> None:
        """A step, or its compensation, ended well."""
        known = {**_step(event.step, event.attempt), **_round(event.activation), "event": emitted}
        tell("hephaestus.step.stop", self.after, self.times(event), **{**known, **fields})

    def failed(
        self,
        event: Failed | StepCompleted | OnFailureFailed,
        story: Failure,
        retry_at: int | None,
        *,
        compensation: bool = False,
    ) -> None:
        """An attempt failed."""
        if not telemetry.heard("hephaestus.step.exception"):
            return
        known = self.ran(event)
        error = known.error if known else None
        trace = story.trace or (f"{story.type}: {story.message}" if error else "")
        tell(
            "hephaestus.step.exception",
            self.after,
            self.times(event),
            **_step(event.step, event.attempt, compensation=compensation),
            **_round(event.activation),
            **_story(Failure(story.type, story.message, trace)),
            error=error,
            will_retry=retry_at is not None,
            retry_at=retry_at,
        )

    def finished(self, event: InstanceFinished) -> None:
        """The instance has ended."""
        steps = self.after.steps
        done = tuple(key for key, step in steps.items() if step.status == "completed")
        measured = {
            "system_time": self.entry.at,
            "duration": float(self.entry.at - self.after.created_at),
            "step_count": len(done),
            "advance_count": self.after.sequence,
        }
        fields = {"status": event.status, "completed_steps": done, "runner": RUNNER}
        if event.status != "failed":
            tell("hephaestus.workflow.stop", self.after, measured, **fields)
            return
        failed = [key for key, step in steps.items() if is_fatal(step)]
        failed += [key for key, step in steps.items() if step.status == "compensation_failed"]
        story = _story(event.error or Failure("", ""))
        tell(
            "hephaestus.workflow.exception",
            self.after,
            measured,
            failed_step=next(iter(failed), None),
            **fields,
            **story,
        )

    def ran(self, event: Outcome) -> Running | None:
        """The attempt that an event is the outcome of, if this invocation ran it."""
        known = self.ended.get(event.activation)
        if isinstance(event, (StepCompleted, StepFailed)) and self.after.steps[event.step].mapped is not None:
            return None  # its only attempt asked for the items, and ended long before
        return known if known is not None and known.run.attempt == event.attempt else None

    def times(self, event: Outcome) -> dict[str, float]:
        """When an attempt ended, and how long it took; a dead owner's attempt began at a time that nobody noted."""
        known = self.ran(event)
        started_at, ended_at = (known.launched_at, known.ended_at) if known else (event.started_at, self.entry.at)
        return {"system_time": ended_at, **({"duration": float(ended_at - started_at)} if started_at else {})}


def _step(step: str, attempt: int, *, compensation: bool = False) -> dict[str, object]:
    return {"step": step, "step_key": step, "attempt": attempt, "compensation": compensation}


def _round(activation: str) -> dict[str, object]:
    """The round of a step that goes round again, from the second on, or the item of a map."""
    found = parse(activation).round
    return {"round": found} if found > 1 else _item(activation)


def _item(activation: str) -> dict[str, object]:
    """The item of a map."""
    return {"item": parse(activation).item} if "[" in activation else {}


def _who(activation: str) -> str:
    """What waits: a step, whichever round it is at, or an item."""
    return activation if "[" in activation else step_of(activation)


def _story(failure: Failure) -> dict[str, object]:
    return {"kind": failure.type, "reason": failure.message, "stacktrace": failure.trace or None}


def _of_schedule(event: RoundEnded, before: State, after: State) -> dict[str, object]:
    """How many occurrences a schedule left out, how late those are that it started (ms), and of which workflow."""
    known = before.loop(event.step)
    left_out = event.carry.get("skipped", 0) - (known.carry.get("skipped", 0) if known is not None else 0)
    declared = event.carry.get("declared", {})
    fields: dict[str, object] = {"schedule_of": declared.get("workflow", ""), "left_out": max(left_out, 0)}
    queued = known.carry.get("queued") if known is not None else None
    timed = [one.scheduled_for for one in event.starts if ".manual-" not in one.start_id]
    if timed := [time for time in timed if time != queued]:
        from hephaestus.definition.occurrences import starts_at  # noqa: PLC0415 - only where schedules are

        fields["late_ms"] = max(after.updated_at - starts_at(declared, time) for time in timed)
    return fields
