"""Runs a claimed instance until it ends, waits, or the time is up.

Decide, act, record: ``advance`` says what follows from the state, steps run, their outcomes become one commit. Only a
commit makes anything true; schedules and messages are sent after the commit that decided them, and the sweeper makes
up for any that a crash swallows. The executor never claims: whoever hands it an instance has done so.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hephaestus.context import Instance, StepContext
from hephaestus.engine.advance import Close, Deliver, Run, Skip, Sleep, advance, next_wake
from hephaestus.engine.events import (
    Entry,
    Event,
    HandedOver,
    InstanceFinished,
    StepCompleted,
    StepFailed,
    StepsSkipped,
    StepWaiting,
    Suspended,
)
from hephaestus.engine.state import apply, evolve, fold
from hephaestus.errors import PayloadTooLarge, RetryLater, StoreUnavailable
from hephaestus.runtime.attempt import Outcome, StepTimedOut, failure, perform, route
from hephaestus.runtime.effects import LONGEST_DELAY_MS
from hephaestus.runtime.telemetry import emit
from hephaestus.runtime.workers import ThreadWorkers
from hephaestus.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.definition.definition import Definition
    from hephaestus.engine.advance import Command
    from hephaestus.engine.state import State
    from hephaestus.runtime.dispatch import Budget
    from hephaestus.runtime.effects import Effects
    from hephaestus.runtime.ports import Clock, Store
    from hephaestus.runtime.workers import Workers

IN_PLACE_MS: Final = 1_000
FIRST_PAUSE_MS: Final = 100
LONGEST_PAUSE_MS: Final = 5_000

T = TypeVar("T")

_logger = logging.getLogger("hephaestus.executor")


@dataclass(frozen=True, slots=True)
class Limits:
    """What an execution keeps to.

    Attributes:
        concurrency: steps that run side by side at most.
        reserve_ms: the time, in milliseconds, that a step without a timeout is expected to need at most; it is not
            started with less left.
        margin_ms: kept back at the end of an invocation for the last commit, in milliseconds.
        lease_margin_ms: how long after the invocation's deadline a lease still lasts, in milliseconds.
        peek_ms: how often, in milliseconds, an execution whose steps run on looks for events from outside.
    """

    concurrency: int = 16
    reserve_ms: int = 10_000
    margin_ms: int = 1_000
    lease_margin_ms: int = 5_000
    peek_ms: int = 2_000


class Fenced(BaseException):
    """Somebody else owns the instance now: stop at once. Not an ``Exception``, so that nothing swallows it."""


@dataclass(frozen=True, slots=True)
class Executor:
    """Runs claimed instances; one object serves any number of executions."""

    store: Store
    effects: Effects
    clock: Clock
    limits: Limits = Limits()
    workers: Callable[[], Workers] = ThreadWorkers

    def run(self, state: State, definition: Definition, budget: Budget) -> State:
        """Run a claimed instance as far as it goes now, and return the last state this execution knows.

        Raises:
            StoreUnavailable: the store did not answer; the instance stays claimed until its lease ends.
        """
        execution = _Execution(self, state, definition, budget)
        try:
            execution.run()
        except Fenced:
            _logger.info("instance %s: another invocation took over, stopping", state.instance_id)
        return execution.committed


class _Execution:
    """One claim of one instance: what is committed, what is decided but not yet committed, and what runs."""

    def __init__(self, executor: Executor, state: State, definition: Definition, budget: Budget) -> None:
        self.executor = executor
        self.store = executor.store
        self.clock = executor.clock
        self.limits = executor.limits
        self.definition = definition
        self.graph = definition.graph
        self.budget = budget
        self.owner = state.owner
        self.committed = state
        self.draft = state
        self.decided: list[Event] = []
        self.must_commit = False
        self.in_flight: dict[str, Run] = {}
        self.started: dict[str, int] = {}
        self.workers: Workers | None = None
        self.ran = False
        self.read_input = cache(lambda: definition.read_input(state.initial))

    def run(self) -> None:
        """Decide, act, record, until there is nothing more to do here."""
        while True:
            now = self.clock.now()
            commands = advance(self.graph, self.draft, now, self.in_flight)
            if self.record(commands):
                continue
            runs = [command for command in commands if isinstance(command, Run)]
            if self.in_flight or runs:
                if self.must_commit and not self.commit():
                    continue
                self.launch(runs, now)
                if not self.in_flight:
                    if not self.must_commit and self.commit(HandedOver()):
                        return
                    continue
                self.collect(now)
            elif self.rest(commands[0] if commands else None, now):
                return

    def record(self, commands: tuple[Any, ...]) -> bool:
        """Note what the commands decide without running anything; whether there was any such thing."""
        events: list[Event] = []
        for command in commands:
            match command:
                case Skip(steps):
                    events.append(StepsSkipped(steps))
                case Deliver():
                    events.append(self.deliver(command))
                case _:
                    pass
        self.decide(*events)
        return bool(events)

    def decide(self, *events: Event) -> None:
        """Add events to the next commit."""
        if events:
            self.draft = apply(self.draft, events, self.clock.now())
            self.decided.extend(events)

    def deliver(self, command: Deliver) -> Event:
        """A waiting step gets its event: it completes, or fails where nothing routes the event."""
        step, event = command.step, command.event
        attempt, started_at = self.draft.steps[step].attempt, self.draft.steps[step].started_at
        if event not in self.definition.routes[step]:
            error = StepTimedOut(f"step {step} waited too long, and its transitions do not route {event!r}")
            return self.failed(Outcome(step, attempt, started_at, error=error), final=True)
        updates = _as_updates(command.payload)
        emit("hephaestus.step.resume", {}, self.about(step=step, event=event))
        # What depends on the clock or on a user's function is committed before anything is built on it.
        chosen = self.definition.routes[step][event].choice is not None
        self.must_commit = self.must_commit or chosen or command.timed_out
        try:
            taken = route(self.definition, step, event, updates, self.context(step, attempt))
        except Exception as error:  # noqa: BLE001 - a user's Choice may raise anything
            return self.failed(Outcome(step, attempt, started_at, error=error), final=True)
        return StepCompleted(step, event, taken, updates, started_at=started_at, attempt=attempt)

    def launch(self, runs: list[Run], now: int) -> None:
        """Start the steps that fit: in a thread each, or right here where there is only one thing to do."""
        fitting = [run for run in runs if self.fits(run, now)][: self.limits.concurrency - len(self.in_flight)]
        if len(fitting) == 1 and not self.in_flight and self.may_block(fitting[0]):
            self.note_start(fitting[0], now)
            self.finish([self.attempt(fitting[0], now)()])
            return
        for run in fitting:
            self.note_start(run, now)
            self.in_flight[run.step] = run
            self.workers = self.workers or self.executor.workers()
            self.workers.start(self.attempt(run, now))

    def fits(self, run: Run, now: int) -> bool:
        """Whether a step can end before the invocation does. A fresh one takes any: nobody has more time than it."""
        if self.budget.start_until is not None and now >= self.budget.start_until:
            return False
        timeout = self.definition.steps[run.step].timeout
        needed = _milliseconds(timeout) if timeout is not None else self.limits.reserve_ms
        if now + needed + self.limits.margin_ms <= self.budget.deadline:
            return True
        return not self.ran and self.budget.start_until is None

    def may_block(self, run: Run) -> bool:
        """Whether nothing can want attention while ``run`` runs: no timeout of its own, nobody waits."""
        waiting = any(step.status in ("waiting", "retrying") for step in self.draft.steps.values())
        return not waiting and self.definition.steps[run.step].timeout is None

    def note_start(self, run: Run, now: int) -> None:
        """Remember when a step started and tell of it."""
        self.ran = True
        self.started[run.step] = now
        emit("hephaestus.step.start", {}, self.about(step=run.step, attempt=run.attempt))

    def attempt(self, run: Run, now: int) -> Callable[[], Outcome]:
        """One attempt of a step, ready to be called in any thread."""
        context = self.context(run.step, run.attempt)
        limit = self.store.max_value_bytes
        return lambda: perform(self.definition, run.step, run.attempt, context, now, limit)

    def context(self, step: str, attempt: int) -> StepContext:
        """What a step is given."""
        done = {key: known for key, known in self.draft.steps.items() if known.status == "completed"}
        taken = {key: (known.event or "", known.taken) for key, known in done.items()}
        deadline = self.budget.deadline - self.limits.margin_ms
        return StepContext(
            initial=self.draft.initial,
            steps={key: known.updates for key, known in done.items()},
            config=self.definition.config(step, taken),
            instance=self.instance(),
            attempt=attempt,
            idempotency_key=f"{self.draft.instance_id}:{self.draft.generation}:{step}",
            events={key: known.event or "" for key, known in done.items()},
            remaining_time=lambda: timedelta(milliseconds=max(deadline - self.clock.now(), 0)),
            read_input=self.read_input,
        )

    def instance(self) -> Instance:
        """Whose steps they are."""
        state = self.draft
        return Instance(state.instance_id, state.workflow, state.version, state.generation, state.tags, state.metadata)

    def collect(self, now: int) -> None:
        """Wait for what runs, for a timer, or for the next look at the log; note what has ended."""
        assert self.workers is not None  # noqa: S101 - something is in flight
        waiting = any(step.status == "waiting" for step in self.draft.steps.values())
        times = [now + self.limits.peek_ms] if waiting else []
        times += [due for due in (next_wake(self.graph, self.draft), self.next_timeout()) if due is not None]
        outcomes = self.workers.wait(max(min(times) - now, 1) if times else None)
        current = [
            outcome for outcome in outcomes if self.in_flight.get(outcome.step, _NO_RUN).attempt == outcome.attempt
        ]
        self.finish(current or self.timed_out())
        if not outcomes and waiting:
            self.peek()

    def next_timeout(self) -> int | None:
        """When the first of the running steps has run too long (ms)."""
        times = [
            self.started[key] + _milliseconds(timeout)
            for key in self.in_flight
            if (timeout := self.definition.steps[key].timeout) is not None
        ]
        return min(times, default=None)

    def timed_out(self) -> list[Outcome]:
        """The running steps that have had their time; what they still do has no effect on the instance."""
        now = self.clock.now()
        late = []
        for key, run in self.in_flight.items():
            timeout = self.definition.steps[key].timeout
            if timeout is not None and self.started[key] + _milliseconds(timeout) <= now:
                error = StepTimedOut(f"step {key} ran longer than its timeout of {timeout.total_seconds():g} s")
                late.append(Outcome(key, run.attempt, self.started[key], error=error))
        return late

    def finish(self, outcomes: list[Outcome]) -> None:
        """Decide what the outcomes mean; they are committed together."""
        for outcome in outcomes:
            self.in_flight.pop(outcome.step, None)
            now = self.clock.now()
            duration = {"duration_ms": float(now - outcome.started_at)}
            if outcome.error is not None:
                event: Event = self.failed(outcome)
                emit("hephaestus.step.exception", duration, self.about(step=outcome.step, error=outcome.error))
            elif outcome.pending is not None:
                event = self.waiting(outcome, now)
                emit("hephaestus.step.async", duration, self.about(step=outcome.step))
            else:
                event = self.completed(outcome)
                emit("hephaestus.step.stop", duration, self.about(step=outcome.step, event=event.event))
            self.decide(event)
            self.must_commit = True

    def completed(self, outcome: Outcome) -> StepCompleted:
        """A step that ended with an event."""
        done = outcome.completed
        assert done is not None  # noqa: S101 - its caller has looked
        return StepCompleted(
            outcome.step, done.event, outcome.taken, done.updates, done.metadata, outcome.started_at, outcome.attempt
        )

    def waiting(self, outcome: Outcome, now: int) -> StepWaiting:
        """A step that waits: a deadline gets a schedule, a short wait that the engine makes itself does not."""
        pending = outcome.pending
        assert pending is not None  # noqa: S101 - its caller has looked
        if pending.timeout is None:
            return StepWaiting(outcome.step, outcome.started_at, outcome.attempt)
        if isinstance(pending.timeout, datetime):
            due_at = int(pending.timeout.timestamp() * 1000)
        else:
            due_at = now + _milliseconds(pending.timeout)
        scheduled = pending.emits == "timeout" or due_at - now > LONGEST_DELAY_MS
        token = f"{outcome.step}.{outcome.attempt}"
        return StepWaiting(
            outcome.step, outcome.started_at, outcome.attempt, token, due_at, pending.emits, scheduled=scheduled
        )

    def failed(self, outcome: Outcome, *, final: bool = False) -> StepFailed | StepCompleted:
        """A failed attempt: tried again, routed as ``timeout`` or ``error``, or the end of the step."""
        step, error = outcome.step, outcome.error
        assert error is not None  # noqa: S101 - its caller has looked
        routes = self.definition.routes[step]
        if isinstance(error, StepTimedOut) and "timeout" in routes:
            return self.routed(outcome, "timeout")
        policy = self.definition.steps[step].retry or self.definition.retry
        story = failure(error)
        if not final and policy.allows(error, outcome.attempt):
            retry_at = self.clock.now() + policy.delay_ms(outcome.attempt, self.clock.random())
            return StepFailed(step, outcome.attempt, story, outcome.started_at, retry_at)
        if "error" in routes:
            return self.routed(outcome, "error")
        return StepFailed(step, outcome.attempt, story, outcome.started_at)

    def routed(self, outcome: Outcome, event: str) -> StepFailed | StepCompleted:
        """A failure that the transitions route: the next step finds it in this step's results."""
        step, error = outcome.step, outcome.error
        assert error is not None  # noqa: S101 - its caller has looked
        story = failure(error)
        updates = FrozenDict(error=FrozenDict(type=story.type, message=story.message))
        try:
            taken = route(self.definition, step, event, updates, self.context(step, outcome.attempt))
        except Exception as problem:  # noqa: BLE001 - a user's Choice may raise anything
            return StepFailed(step, outcome.attempt, failure(problem), outcome.started_at)
        return StepCompleted(step, event, taken, updates, started_at=outcome.started_at, attempt=outcome.attempt)

    def rest(self, command: Command | None, now: int) -> bool:
        """Nothing runs and nothing can: end, suspend, or wait a moment in place. Whether the execution is over."""
        match command:
            case Close(status, error):
                if self.commit(InstanceFinished(status, error)):
                    duration = {"duration_ms": float(self.clock.now() - self.committed.created_at)}
                    name = "exception" if status == "failed" else "stop"
                    emit(f"hephaestus.workflow.{name}", duration, self.about(status=status))
                    return True
            case Sleep(wake_at):
                if wake_at is not None and 0 < wake_at - now < IN_PLACE_MS and wake_at < self.budget.deadline:
                    if not self.must_commit or self.commit():
                        self.clock.sleep(wake_at - now)
                    return False
                return self.commit(Suspended(wake_at))
            case _:
                return True
        return False

    def commit(self, *closing: Event) -> bool:
        """Write what was decided as one log entry; with a closing event, also the head and a snapshot.

        Returns:
            Whether it was written. If not, another writer was faster: what it wrote is part of the state now.

        Raises:
            Fenced: another owner has claimed the instance, or it has ended.
        """
        events = (*self.decided, *closing)
        now = self.clock.now()
        after = evolve(apply(self.committed, events, now), sequence=self.committed.sequence + 1)
        entry = Entry(after.sequence, self.clock.unique(), now, events)
        try:
            written = self.insist(lambda: self.store.append(after, entry, boundary=bool(closing)))
        except PayloadTooLarge:
            if not self.decided or len(events) == 1:
                raise
            self.commit_some(max(len(self.decided) // 2, 1))
            return False
        if not written:
            self.rebase()
            return False
        before, self.committed, self.draft = self.committed, after, after
        self.decided = []
        self.must_commit = False
        self.executor.effects.perform(before, entry, after)
        for event in events:
            if isinstance(event, StepCompleted) and event.taken:
                emit(
                    "hephaestus.workflow.transition", {}, self.about(step=event.step, event=event.event, to=event.taken)
                )
        return True

    def commit_some(self, number: int) -> None:
        """Write the first of the decided events: each fits an entry, all of them together do not."""
        later = self.decided[number:]
        self.decided = self.decided[:number]
        written = self.commit()
        self.decided = [*self.decided, *later]
        if not written:
            self.decided = [event for event in self.decided if not self.derived(event)]
        self.draft = apply(self.committed, self.decided, self.clock.now())
        self.must_commit = bool(self.decided)

    def peek(self) -> None:
        """Look whether an event has come in while steps run."""
        try:
            behind = bool(self.store.tail(self.committed))
        except RetryLater:
            return  # it was only a look; the next commit will tell
        if behind:
            self.rebase()

    def rebase(self) -> None:
        """Fold what others wrote, and put what was decided here on top of it."""
        tail = self.insist(lambda: self.store.tail(self.committed))
        if not tail:
            found = self.insist(lambda: self.store.load(self.committed.instance_id))
            if found is None or found.generation != self.committed.generation:
                raise Fenced
            message = f"instance {self.committed.instance_id}: its log is contended; its lease will end and it goes on"
            raise StoreUnavailable(message)
        self.committed = fold(self.committed, tail)
        if self.committed.closed or self.committed.owner != self.owner:
            raise Fenced
        self.decided = [event for event in self.decided if not self.derived(event)]
        self.draft = apply(self.committed, self.decided, self.clock.now())

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
                if self.clock.now() + pause + self.limits.margin_ms > self.budget.deadline:
                    raise
                _logger.warning("instance %s: the store did not answer, trying again", self.committed.instance_id)
            self.clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_MS)

    def derived(self, event: Event) -> bool:
        """Whether a decision follows from the state alone, so that it is to be made again after a rebase.

        An event that came in meanwhile goes before a timeout that was decided but not written.
        """
        waited = {earlier.step for earlier in self.decided if isinstance(earlier, StepWaiting)}
        match event:
            case StepsSkipped():
                return True
            case StepCompleted(step=step) | StepFailed(step=step):
                return step in waited or self.committed.step_status(step) == "waiting"
            case _:
                return False

    def about(self, **more: object) -> dict[str, object]:
        """What every telemetry event says, and more."""
        state = self.committed
        return {
            **more,
            "instance_id": state.instance_id,
            "workflow": state.workflow,
            "version": state.version,
            "generation": state.generation,
        }


_NO_RUN: Final = Run("", 0)


def _as_updates(payload: Any) -> FrozenDict:
    """An event's payload as a step's results: a mapping as it is, anything else under ``value``."""
    if isinstance(payload, FrozenDict):
        return payload
    return FrozenDict() if payload is None else FrozenDict(value=payload)


def _milliseconds(duration: timedelta) -> int:
    return round(duration / timedelta(milliseconds=1))
