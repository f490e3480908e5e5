"""Runs an instance until it ends, waits, or the time is up.

Decide, act, record: ``advance`` says what follows from the state, steps run, their outcomes become one commit. The
first commit is the claim; each commit names the steps that start right after it, so that whoever takes over from a dead
owner knows which attempts are spent. Only a commit makes anything true; schedules and messages follow it, and the
sweeper makes up for any that a crash swallows.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from dataclasses import field, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.containment import watched_console
from hephaestus.definition.context import Source, context_of
from hephaestus.engine.activation import INSTANCE, parse, step_of, text_of
from hephaestus.engine.advance import (
    Close,
    Compensate,
    Deliver,
    Drop,
    Enter,
    Exhaust,
    GiveUp,
    Join,
    Run,
    Settle,
    Skip,
    Sleep,
    StartPart,
    StopChildren,
    TimeOut,
    UndoChild,
    advance,
    is_any_waiting,
    is_idle_but_for,
    next_wake,
)
from hephaestus.engine.events import (
    ChildEnded,
    ChildrenStopping,
    ChildUndoing,
    ChoiceStarted,
    Claimed,
    CompensationStarted,
    Event,
    EventsDropped,
    HandedOver,
    InstanceFinished,
    ItemCompleted,
    ItemUndone,
    LimitsFailed,
    MapBegun,
    OnFailureCompleted,
    OutputFailed,
    OutputStarted,
    PartEnded,
    PartReported,
    PartStarted,
    PermitsTaken,
    Redriven,
    RoundEnded,
    StepCompensated,
    StepCompleted,
    StepsIsolated,
    StepsSkipped,
    StepsStarted,
    Suspended,
    TimedOut,
)
from hephaestus.engine.events.children import LOST
from hephaestus.engine.fold import apply, following
from hephaestus.engine.mail import Mail
from hephaestus.engine.map_items import is_open_item
from hephaestus.engine.pacing import EARLY_MS, first_start, is_in_line
from hephaestus.engine.pacing import IN_PLACE_MS as START_IN_PLACE_MS
from hephaestus.engine.state import CAREFUL, child_in, is_other, is_part, part_in
from hephaestus.errors import EngineSignal, PayloadTooLarge, RetryLater, no_signer
from hephaestus.runtime import telemetry
from hephaestus.runtime.announce import Running, tell_commit
from hephaestus.runtime.attempt import Attempt, Interrupted, InvalidResult, Outcome, StepTimedOut, anything
from hephaestus.runtime.error_text import failure
from hephaestus.runtime.gate import Gate
from hephaestus.runtime.items_left import items_left
from hephaestus.runtime.journal import Fenced, Journal, Outrun
from hephaestus.runtime.limits import Limits
from hephaestus.runtime.lines import is_called
from hephaestus.runtime.objects import no_sources
from hephaestus.runtime.orphans import (
    ended_by,
    forget,
    is_ending,
    is_read,
    is_unread,
    orphaned_by,
    read_other,
    told_by_part,
    unread,
)
from hephaestus.runtime.outcomes import Judge, milliseconds
from hephaestus.runtime.output import InvalidOutput, lost, output_event
from hephaestus.runtime.sizes import cut, too_much
from hephaestus.runtime.telemetry import EXECUTION_START, EXECUTION_STOP, tell
from hephaestus.runtime.workers import ThreadWorkers
from hephaestus.runtime.workflow_pauses import NoPauses, pause_of
from hephaestus.values.lazy_dataclass import dataclass
from hephaestus.values.yaml_dump import teach_yaml
from hephaestus.writes import WriteFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hephaestus.callbacks.issuer import Issuer
    from hephaestus.callbacks.signer import Signer
    from hephaestus.definition.context import Instance, StepContext
    from hephaestus.definition.definition import Definition
    from hephaestus.definition.maps import Spreads
    from hephaestus.definition.workflow import Workflow
    from hephaestus.engine.advance import Command
    from hephaestus.engine.events import Entry
    from hephaestus.engine.state import State
    from hephaestus.runtime.commits import Commits
    from hephaestus.runtime.dispatch import Budget
    from hephaestus.runtime.ports import Clock
    from hephaestus.runtime.sources import Sources
    from hephaestus.runtime.workers import Workers
    from hephaestus.runtime.workflow_pauses import Pauses
    from hephaestus.store.store import Store
    from hephaestus.writes import Write

IN_PLACE_MS: Final = 1_000
LONGEST_DEFERRED_MS: Final = 10_000  # what may have to run again after a death
LOOK_MS: Final = 1_000  # without mail, then an owner that has taken some gives up
LOOK_PAUSE_MS: Final = 250
LONGEST_LOOK_MS: Final = 10_000
LOOKS: Final = 100  # claims in one invocation; then the sweep finds the mail
GIVE_UP_MS: Final = 3_600_000
WRITING: Final = (StepCompleted, RoundEnded, ItemCompleted, ItemUndone, StepCompensated, OnFailureCompleted)
OUTPUT: Final = "!output"  # in a step's place, for what makes the output; no step can have this key

_logger = logging.getLogger("hephaestus.executor")


@dataclass(frozen=True, slots=True)
class Executor:
    """Runs instances; one object serves any number of executions."""

    commits: Commits
    clock: Clock
    limits: Limits = field(default_factory=Limits)
    workers: Callable[[], Workers] = ThreadWorkers
    signer: Callable[[], Signer] = no_signer
    deployed: Callable[[str | type[Workflow]], type[Workflow]] = anything
    sources: Callable[[], Sources] = no_sources
    pauses: Callable[[], Pauses] = NoPauses

    def run(self, state: State, opening: tuple[Event, ...], definition: Definition, budget: Budget) -> State | None:
        """Claim an instance and run it as far as it goes now; see ``_run``.

        A child's first claim reads its parent (D.5). An owner of children reads its mailbox again when it has given
        up, and claims again if there is any mail: only so may a message be dropped that met it (D.2). So does one of
        which something stands in line.
        """
        if state.origin is not None and state.status == "pending" and not state.steps:
            instead = orphaned_by(state, opening, self.commits.store)
            if instead is not None:
                return self._append(state, instead)
        instead = self.held(state, opening)
        if instead is not None:
            return self._append(state, instead)
        done = self._run(state, opening, definition, budget)
        for _ in range(LOOKS):
            if done is None or not (self._has_mail(done, definition) or self._is_called(done)):
                return done
            claim = Claimed(self.clock.unique(), budget.deadline + self.limits.lease_margin_ms)
            done = self._run(done, (claim,), definition, budget) or self.commits.store.load(done.instance_id)
        return done

    def held(self, state: State, opening: tuple[Event, ...]) -> tuple[Event, ...] | None:
        """What an instance of a paused workflow does in place of a claim; ``None`` where it goes on (J.1).

        After a dead owner it is claimed all the same: what that had under way has been interrupted, and nothing starts.
        """
        paused = self.pauses().of(state.workflow)
        if paused is None or not opening or state.owner is not None:
            return None
        others, now = tuple([event for event in opening if not isinstance(event, Claimed)]), self.clock.now()
        pause = pause_of(apply(state, others, max(now, state.updated_at)), paused, now)
        return None if pause is None else (*others, pause)

    def _has_mail(self, state: State, definition: Definition) -> bool:
        """Whether an instance without an owner has mail."""
        has_children = definition.graph.children or definition.graph.maps
        if not has_children or state.closed or state.owner is not None or not state.children:
            return False
        return bool(unread(state, self.commits.store))

    def _is_called(self, state: State) -> bool:
        """Whether what stood in line in an instance without an owner has its permits: a message may have met it."""
        return bool(state.queued or state.turns) and state.owner is None and is_called(state, self.commits.store)

    def _append(self, state: State, events: tuple[Event, ...]) -> State | None:
        after, entry = following(state, self.clock.unique(), max(self.clock.now(), state.updated_at), events)
        if not after.orphan:
            return self.commits.commit(state, entry, after, tell=tell_commit)
        store = self.commits.store
        ended = store.commit(after, entry)
        if ended is None or forget(ended, self.clock.now(), store):
            return ended
        done = self.commits.finish(ended)
        tell_commit(state, entry, done)
        return done

    def _run(self, state: State, opening: tuple[Event, ...], definition: Definition, budget: Budget) -> State | None:
        """Claim an instance and run it as far as it goes now.

        Args:
            state: the instance as it was read.
            opening: the events to commit first, ``Claimed`` among them; none where that is done already.
            definition: the workflow version.
            budget: how long it may take.

        Returns:
            The last state that this execution knows; ``None`` where another writer was faster than the opening: nothing
            has happened, so read again and decide anew.

        Raises:
            StoreUnavailable: the store did not answer; the instance stays claimed until its lease ends.
            InvariantBroken: the engine met a state that its own rules exclude.
        """
        execution = _Execution(self, state, opening, definition, budget)
        outcome = "failed"
        tell(EXECUTION_START, state, {"system_time": self.clock.now()})
        try:
            with watched_console():
                execution.run()
            outcome = execution.draft.status
        except Outrun:
            outcome = "outrun"
            execution.permits.drop(everything=True)
            return None
        except Fenced:
            outcome = "fenced"
            execution.permits.drop(everything=True)
            _logger.info("instance %s: another invocation took over, stopping", state.public_id)
        finally:
            tell(EXECUTION_STOP, execution.draft, {"system_time": self.clock.now()}, outcome=outcome)
        return execution.journal.committed


def _under_way(state: State) -> set[str]:
    """The activations that an owner which died now would leave as under way."""
    return {*state.running, *state.choosing}


def _noted(command: Skip | TimeOut | Drop | Compensate) -> Event:
    """The event that a command is, without anybody's code."""
    match command:
        case Skip(steps):
            return StepsSkipped(steps)
        case TimeOut(error):
            return TimedOut(error)
        case Drop(activation, events):
            return EventsDropped(activation, events)
        case Compensate(status, steps, error, then):
            return CompensationStarted(status, steps, error, then)


class LookAgain(EngineSignal):
    """The state has changed under a decision that depends on it."""


class _Execution:
    """One claim of one instance: what is decided, and what runs."""

    def __init__(
        self, executor: Executor, state: State, opening: tuple[Event, ...], definition: Definition, budget: Budget
    ) -> None:
        self.executor = executor
        self.clock = executor.clock
        self.limits = executor.limits
        self.definition = definition
        self.graph = definition.graph
        self.budget = budget
        pure = frozenset(key for key, step in definition.declared.items() if step.pure)
        give_up_at = budget.deadline - executor.limits.margin_ms
        self.in_flight: dict[str, Running] = {}
        self.ended: dict[str, Running] = {}
        self.mail: dict[tuple[str, int], Mail] = {}

        def told(before: State, entry: Entry, after: State) -> None:
            tell_commit(before, entry, after, pure, self.ended)
            if self.mail:
                self.drop_mail(entry)
            if self.permits.taken or self.permits.turns.reserved:
                self.permits.committed(after)

        self.journal = Journal(executor.commits, executor.clock, state, opening, self.is_pure, give_up_at, told)
        self.judge = Judge(
            definition, self.journal.now, lambda: self.draft, self.clock.random, self.context, self.may_choose
        )
        self.journal.overtaken = self.judge.overtaken
        self.exact = state.careful == CAREFUL
        self.isolated = state.isolated
        self.interrupted = tuple(dict.fromkeys((*state.running, *state.choosing))) if opening else ()
        performer = executor.commits.performer
        self.permits = Gate(self.journal, definition, performer, executor.clock, self.context)
        self.took_over = bool(opening) and state.owner is not None
        self.permits.unsure = self.took_over and INSTANCE in state.permits
        self.left: tuple[list[Event], int] = [], 0
        self.looks = 0
        self.look_until: int | None = None
        self.open_before = frozenset(state.children)
        self.workers: Workers | None = None
        self.ran = False
        teach_yaml()

    def is_pure(self, activation: str) -> bool:
        """Whether what an activation comes to follows from the state alone."""
        return self.definition.declared_of(activation).pure

    @property
    def draft(self) -> State:
        """The state as it will be once everything decided is committed."""
        return self.journal.draft

    def run(self) -> None:
        """Decide, act, record, until there is nothing more to do here."""
        self.recover()
        self.take_mail()
        self.permits.take_up()
        while True:
            now = self.journal.now()
            self.hold(now)
            commands, noted = self.look(now)
            if noted:
                continue
            runs = [command for command in commands if isinstance(command, Run)]
            if self.work(runs, now) if runs or self.in_flight else self.rest(commands, now):
                return

    def hold(self, now: int) -> None:
        """Start nothing more where the workflow is paused; what runs ends (J.1)."""
        paused = None
        with suppress(RetryLater):  # it is asked again before the next step
            paused = None if self.draft.paused is not None else self.executor.pauses().of(self.draft.workflow)
        pause = None if paused is None else pause_of(self.draft, paused, now)
        if pause is not None:
            self.journal.decide(pause)

    def take_mail(self) -> None:
        """Read the mailbox, if a child is open: what is said there is decided, and is deleted once it is committed."""
        if not self.draft.children:
            return
        store, state = self.executor.commits.store, self.draft
        for mail in store.mail.read(state.instance_id, state.life):
            if is_read(self.draft, mail, store):
                if (mail.activation, mail.number) not in self.mail:
                    store.mail.delete(mail)
            elif is_unread(self.draft, mail):
                self.mail[mail.activation, mail.number] = mail
                self.look_until = self.look_until or self.clock.now() + LONGEST_LOOK_MS
                self.journal.decide(self.said(mail, store))

    def said(self, mail: Mail, store: Store) -> Event:
        """The event that mail comes to."""
        if not is_other(self.draft, mail.activation):
            return ended_by(mail, store)
        told = told_by_part(mail, store)
        if not mail.status:
            return PartReported(mail.activation, mail.number, told.get("failed", 0))
        return self.judge.part_ended(mail, told, self.draft)

    def more_mail(self) -> bool:
        """Whether the state has to be looked at again before the instance rests.

        An owner that has taken mail waits a moment for more while other children are open that were so before, so that
        the ends of a hundred are a few commits (D.2).
        """
        left = [one for activation, one in self.draft.children.items() if activation in self.open_before]
        if self.look_until is None or not any(not one.status and not one.detached for one in left):
            return False
        if not self.flush():
            return True
        until = min(self.clock.now() + LOOK_MS, self.look_until, self.budget.deadline - self.limits.margin_ms)
        while not self.journal.decided and self.clock.now() < until:
            self.clock.sleep(LOOK_PAUSE_MS)
            with suppress(RetryLater):
                self.take_mail()
        return bool(self.journal.decided)

    def drop_mail(self, entry: Entry) -> None:
        """Delete the mail that a commit has taken; what is left of it has no effect, and the sweep removes it."""
        for event in entry.events:
            told = isinstance(event, (ChildEnded, PartEnded, PartReported))
            mail = self.mail.pop((event.activation, event.number), None) if told else None  # type: ignore[attr-defined]  # as above
            if mail is not None:
                with suppress(RetryLater):
                    self.executor.commits.store.mail.delete(mail)

    def look(self, now: int) -> tuple[tuple[Command, ...], bool]:
        """What follows from the state, and whether any of it was noted, as it needs nobody's code."""
        if not telemetry.heard("hephaestus.engine.advance"):
            commands = advance(self.graph, self.draft, now, self.in_flight)
            return commands, self.record(commands, now)
        began, before, known = time.perf_counter(), self.draft.status, len(self.journal.decided)
        commands = advance(self.graph, self.draft, now, self.in_flight)
        took = (time.perf_counter() - began) * 1000
        noted = self.record(commands, now)
        completed = sum(isinstance(event, StepCompleted) for event in self.journal.decided[known:])
        self.looks += 1
        tell(
            "hephaestus.engine.advance",
            self.draft,
            {"duration": took, "active_steps_count": len(self.in_flight), "completed_in_advance": completed},
            status_before=before,
            status_after=self.draft.status,
            iteration=self.looks,
        )
        return commands, noted

    def may_choose(self, activation: str) -> bool:
        """Commit that the ``Choice`` of a step is about to be called; not where the step has no attempt left for it.

        Raises:
            LookAgain: another writer was faster, and the step is one that does not run: its event may not be the same,
                and the wait itself may be one that was decided and is to be decided again.
        """
        begins = ChoiceStarted(activation)
        policy = self.definition.retry if activation == INSTANCE else self.definition.policy(activation)
        if self.draft.choosing.get(activation, 0) >= policy.max_attempts:
            return False
        journal, ran = self.journal, (activation,) if activation in self.journal.unnamed else ()
        self.name(ran)
        journal.decide(begins)
        while not self.flush():
            if any(event is begins for event in journal.decided):
                continue  # the commit was too large for one entry, and this part of it is still to come
            if activation == INSTANCE or self.is_pure(activation) or not (ran or activation in self.draft.running):
                raise LookAgain
            self.name(ran)
            journal.decide(begins)
        return True

    def recover(self) -> None:
        """See to what a dead owner had started and not recorded: what ran alone has spent an attempt.

        Of several, one may have killed the others: none has spent any, and each runs alone. What runs at most once
        may have run, and has failed.
        """
        alone, running = len(self.interrupted) == 1 and self.is_named(*self.interrupted), self.draft.running
        known = [one for one in self.interrupted if step_of(one) in self.definition.declared]
        known = [one for one in known if "[" not in one or is_open_item(self.draft, one)]
        spent = [one for one in known if one in running and (alone or self.is_once(one))]
        if not alone:
            self.isolate(one for one in known if one not in spent)
        for activation in spent:
            event = self.within_room(self.judge.interrupted(self.draft, activation, alone=alone))
            self.journal.decide(self.overtaken(event))
        self.isolate(one for one in spent if alone and self.draft.retries(one))

    def is_named(self, activation: str) -> bool:
        """Whether a commit has named whatever can have run since ``activation`` was named."""
        state, step = self.draft, step_of(activation)
        exact = self.exact or state.compensation is not None or activation in (*self.isolated, *state.choosing)
        return exact or step not in self.definition.declared or not self.definition.defers(step)

    def is_once(self, activation: str) -> bool:
        """Whether an activation is of a step that runs at most once; a compensation may be tried again."""
        once = self.definition.declared_of(activation).semantics == "at_most_once"
        return once and not activation.endswith("!undo")

    def isolate(self, activations: Iterable[str]) -> None:
        """Have what was under way when its process died run alone from now on."""
        of_steps = self.draft.compensation is None
        if found := tuple([one for one in activations if of_steps or "[" in one]):
            self.journal.decide(StepsIsolated(found))

    def record(self, commands: tuple[Command, ...], now: int) -> bool:
        """Note what the commands decide without running anybody's code; whether there was any such thing."""
        noted = False
        for command in commands:
            if isinstance(command, Run) and not self.is_pure(command.activation):
                continue
            try:
                event = self.decision(command, now)
            except LookAgain:
                return True
            if event is not None:
                self.journal.decide(event)
                noted = True
        return noted

    def decision(self, command: Command, now: int) -> Event | None:
        """The event that a command comes to at once, if it does; a step that is run for it is a pure one."""
        match command:
            case TimeOut() if any(isinstance(event, Redriven) for event in self.journal.opening):
                self.flush()  # its time begins with that commit
                raise LookAgain
            case Skip() | TimeOut() | Drop() | Compensate():
                return _noted(command)
            case StopChildren() | GiveUp() | UndoChild() | StartPart():
                return self.to_children(command, now)
            case Settle(activation) if self.draft.compensation is not None:
                return self.within_room(self.judge.undone_by_child(activation, self.draft))
            case Settle(activation=activation, step=step):
                known = self.draft.steps[step]
                outcome = Outcome(activation, known.attempt, known.started_at)
                event = self.judge.settled(command, self.draft)
            case Exhaust(activation=activation):
                outcome, event = Outcome(activation, 0, 0), self.judge.exhausted(command, self.draft)
            case Deliver(activation=activation, step=step):
                given = self.draft.open_item(activation) or self.draft.steps[step]
                outcome = Outcome(activation, given.attempt, given.started_at)
                event = self.judge.delivered(command, self.draft)
            case Join(activation=activation, step=step):
                known = self.draft.steps[step]
                outcome = Outcome(activation, known.attempt, known.started_at)
                event = self.judge.joined(command, self.draft)
            case Run():
                return self.judged(Running(command, now, now), self.attempt(command, now)())
            case _:
                return None
        return self.within_room(event, lambda error: self.judge.failed(outcome, error, final=True))

    def to_children(self, command: StopChildren | GiveUp | UndoChild | StartPart, now: int) -> Event:
        """The event that has children told something, or one left to itself unless it was reached."""
        match command:
            case StartPart(activation, share, keeps):
                return PartStarted(activation, part_in(self.draft, activation).instance_id, share, keeps)
            case StopChildren(activations, reason):
                return ChildrenStopping(activations, reason, now + GIVE_UP_MS)
            case GiveUp(activation):
                child = self.draft.children[activation]
                if is_ending(child, self.executor.commits.store):
                    return ChildrenStopping((activation,), child.stopping, now + GIVE_UP_MS)
                own = (self.draft.instance_id, self.draft.life, activation, 0, child.instance_id, "", LOST)
                return self.said(Mail(*own), self.executor.commits.store)
            case UndoChild(activation):
                if is_other(self.draft, activation):
                    return ChildUndoing(activation, of_item=not is_part(self.draft, activation))
                return ChildUndoing(activation, self.closing_number(activation))

    def closing_number(self, activation: str) -> int:
        """The number of the entry that closed a child; 0 where its parent knows it, or there is no such child."""
        child = child_in(self.draft, step_of(activation), parse(activation).round)
        state = None if child.number else read_other(child.instance_id, self.executor.commits.store)
        return state.sequence if state is not None and state.closed else 0

    def work(self, runs: Sequence[Run], now: int) -> bool:
        """Start what fits, after a commit that says so; wait for what runs. Whether the execution is over."""
        fitting = self.fitting(runs, now)
        if not fitting and not self.in_flight:
            self.permits.drop()
            return self.is_in() and self.commit(HandedOver())
        if self.definition.limited and fitting:
            anew = any(isinstance(event, Redriven) for event in self.journal.opening)  # its time begins with its commit
            if (anew or self.permits.frees()) and not self.flush():
                return False
            try:
                fitting = self.admitted(fitting, now)
            except LookAgain:
                return False
            if not fitting and not self.in_flight:
                return False
        if not self.defers(fitting, now):
            self.name(run.activation for run in fitting)
            if not self.journal.flush() or not self.permits.is_in() or not self.permits.are_held(fitting):
                return False
        self.launch(fitting, now)
        if self.in_flight:
            self.collect(now)
        return False

    def is_in(self) -> bool:
        """Whether the instance has the permits of its workflow for sure; see ``Gate.is_in``."""
        return not self.permits.unsure or (self.flush() and self.permits.is_in())

    def enter(self) -> None:
        """Take the permits of the workflow, or stand in line; where ``per`` fails, so does the instance."""
        run = Run(INSTANCE, 1)
        try:
            error = self.permits.ask(run, self.may_ask)
        except LookAgain:
            return
        if error is not None:
            self.journal.decide(LimitsFailed(failure(error)))
        elif self.permits.admits(run) and not self.draft.permits.get(INSTANCE):
            self.journal.decide(PermitsTaken(INSTANCE, run.attempt, ()))  # its workflow has no limits any more

    def admitted(self, runs: Sequence[Run], now: int) -> list[Run]:
        """Those that have the permits and times that they need; the others stand in line, or have failed.

        Raises:
            LookAgain: another writer was faster, or one has failed: perhaps nothing else is to start.
        """
        found, failed = [], False
        for run in runs:
            error = self.permits.ask(run, self.may_ask)
            if error is not None:
                outcome, final = Outcome(run.activation, run.attempt, now, error=error), type(error) is Interrupted
                self.journal.decide(self.within_room(self.judge.failed(outcome, error, final=final)))
                failed = True
            elif self.permits.admits(run):
                found.append(run)
        if failed:
            raise LookAgain
        return found

    def may_ask(self, activation: str) -> bool:
        """Whether a limit's ``per`` may be called: where an owner has died, perhaps of it, it is counted.

        What has ended is committed first, as that a map's items are recorded: it has not ended the process. Beside
        what runs, ``per`` counts as under way, too.

        Raises:
            LookAgain: another writer was faster.
        """
        step = step_of(activation)
        begun = self.draft.step_status(step) == "mapping" != self.journal.committed.step_status(step)
        ended = _under_way(self.journal.committed) - _under_way(self.draft)
        if (self.journal.opening or begun or ended) and not self.flush():
            raise LookAgain
        return not (self.took_over or self.in_flight) or self.may_choose(activation)

    def defers(self, runs: Sequence[Run], now: int) -> bool:
        """Whether ``runs`` may start before what has ended is committed, and before a commit names them."""
        state, journal = self.draft, self.journal
        if journal.opening or now >= self.late_at or state.careful or journal.committed.isolated:
            return False
        if state.compensation is not None:
            return False
        steps = (*map(step_of, self.in_flight), *(run.step for run in runs))
        return all(map(self.definition.defers, steps)) and self.is_left()

    def is_left(self) -> bool:
        """Whether all that is decided may be committed after more has run; each event is looked at once."""
        if self.left[0] is not self.journal.decided:  # it is another list after a commit and a rebase
            self.left = self.journal.decided, 0
        decided, known = self.left
        while known < len(decided) and self.may_be_late(decided[known]):
            known += 1
        self.left = decided, known
        return known == len(decided)

    @property
    def late_at(self) -> int:
        """When what has ended since the last commit is to be committed, whatever still runs (ms)."""
        return self.journal.committed.updated_at + LONGEST_DEFERRED_MS

    def may_be_late(self, event: Event) -> bool:
        """Whether a decision may be committed after more has run that follows from it."""
        if isinstance(event, StepCompleted):
            plain = event.failed is None and event.fail is None and not self.is_pure(event.activation)
            waited = self.journal.committed.step_status(event.step) == "waiting"
            return plain and not waited and self.definition.defers(event.step)
        return isinstance(event, StepsSkipped)

    def name(self, activations: Iterable[str] = ()) -> None:
        """Have the next commit name what is under way, and ``activations``, which are about to be."""
        named = self.draft.running
        found = dict.fromkeys((*self.in_flight, *activations))
        if unnamed := tuple(one for one in found if one not in named):
            self.journal.decide(StepsStarted(unnamed))

    def launch(self, runs: Sequence[Run], now: int) -> None:
        """Start steps: in a thread each, or right here where there is only one thing to do."""
        alone = len(runs) == 1 and not self.in_flight and self.may_block(runs[0])
        active = len(self.in_flight) + len(runs)
        for run in runs:
            self.ran = True
            self.in_flight[run.activation] = running = Running(run, now, self.clock.now())
            self.tell_start(running, active)
            if alone:
                self.finish([self.attempt(run, now)()])
            else:
                self.workers = self.workers or self.executor.workers()
                self.workers.start(self.attempt(run, now))

    def tell_start(self, running: Running, active: int) -> None:
        """Tell that a step starts, one of ``active``; what a handler sets in the context, the step's thread gets."""
        if not telemetry.heard("hephaestus.step.start"):
            return
        run = running.run
        tell(
            "hephaestus.step.start",
            self.draft,
            {"system_time": running.launched_at},
            step=run.step,
            step_key=run.step,
            attempt=run.attempt,
            compensation=run.undo,
            concurrent=active > 1,
            active_steps_count=active,
            **({"item": parse(run.activation).item} if "[" in run.activation else {}),
        )

    def fitting(self, runs: Sequence[Run], now: int) -> list[Run]:
        """What may start now; first what was named already, so that nothing else takes its place."""
        named, room = self.draft.running, self.limits.concurrency - len(self.in_flight)
        return sorted((run for run in runs if self.fits(run, now)), key=lambda run: run.activation not in named)[:room]

    def fits(self, run: Run, now: int) -> bool:
        """Whether a step can end before the invocation does. A fresh one takes any: nobody has more time than it."""
        if self.budget.start_until is not None and now >= self.budget.start_until:
            return False
        timeout = self.definition.declared_of(run.activation).timeout
        needed = milliseconds(timeout) if timeout is not None else self.limits.reserve_ms
        if now + needed + self.limits.margin_ms <= self.budget.deadline:
            return True
        return not self.ran and self.budget.start_until is None

    def may_block(self, run: Run) -> bool:
        """Whether nothing can want attention while ``run`` runs: no timeout of its own, nobody waits."""
        limit = self.definition.declared_of(run.activation).timeout
        return limit is None and is_idle_but_for(self.graph, self.draft, run.step)

    def attempt(self, run: Run, now: int) -> Attempt:
        """One attempt of a step or of its compensation, ready to be called in any thread."""
        executor = self.executor
        mapped = self.draft.steps[run.step].mapped if "[" in run.activation else None
        return Attempt(
            self.definition,
            run.activation,
            run.attempt,
            self.context(run.activation, run.attempt),
            now,
            executor.commits.store,
            executor.deployed,
            part=self.draft.part,
            at_once=self.limits.concurrency,
            version=0 if mapped is None else mapped.version,
            sources=executor.sources,
            malformed="" if mapped is None else mapped.malformed.get(parse(run.activation).item or "", ""),
            undelivered=self.undelivered(run),
        )

    def undelivered(self, run: Run) -> Callable[[Spreads], Spreads] | None:
        """What gives the items of a map that begins anew the events that were accepted for them before."""
        state = self.draft
        if not (state.undelivered or state.inbox) or run.step not in self.graph.maps or "[" in run.activation:
            return None
        from hephaestus.runtime.undelivered import has_some, with_events  # noqa: PLC0415 - few maps have any

        return partial(with_events, self.executor.commits.store, state, run.step) if has_some(state, run.step) else None

    def context(self, activation: str, attempt: int) -> StepContext:
        """What a step is given."""
        source = Source(self.definition, self.draft, activation, self.remaining_time, self.issuer, self.left_by_items)
        return context_of(source, attempt)

    def left_by_items(self, state: State, step: str, place: int | None) -> Iterator[Any]:
        """What items of a map left; see ``items_left``."""
        return items_left(self.executor.commits.store.reader, state, step, place, tuple(self.journal.decided))

    def remaining_time(self) -> timedelta:
        """How long steps of this invocation may still run."""
        return timedelta(milliseconds=max(self.budget.deadline - self.limits.margin_ms - self.clock.now(), 0))

    def issuer(self, instance: Instance, step: str, key: str) -> Issuer:
        """What makes links for a step; nothing of it is imported before a step asks."""
        from hephaestus.callbacks.issuer import Issuer  # noqa: PLC0415 - see above

        return Issuer(self.executor.signer(), self.graph, instance, step, key, self.clock.now)

    def collect(self, now: int) -> None:
        """Wait for what runs, for a timer, or for the next look at the log; note what has ended."""
        assert self.workers is not None  # noqa: S101 - something is in flight
        waiting = is_any_waiting(self.graph, self.draft) or is_in_line(self.draft)
        times = [now + self.limits.peek_ms] if waiting else []
        times += [self.late_at] if self.journal.decided else []
        # What was due before this has been started, or cannot be while these run.
        times += [due for due in (next_wake(self.graph, self.draft, now), self.next_timeout()) if due is not None]
        outcomes = self.workers.wait(max(min(times) - now, 1) if times else None)
        self.finish([outcome for outcome in outcomes if self.expects(outcome)] or self.timed_out())
        if not outcomes and waiting:
            self.journal.peek()
            with suppress(RetryLater):
                self.take_mail()
                self.permits.take_up()

    def expects(self, outcome: Outcome) -> bool:
        """Whether an outcome is that of an attempt in flight: one that had too long may still come to its end."""
        running = self.in_flight.get(outcome.activation)
        return running is not None and running.run.attempt == outcome.attempt

    def limited(self) -> Iterator[tuple[Running, timedelta, int]]:
        """What runs and has a timeout, the timeout, and when it has run too long (ms)."""
        for running in self.in_flight.values():
            timeout = self.definition.declared_of(running.run.activation).timeout
            if timeout is not None:
                yield running, timeout, running.started_at + milliseconds(timeout)

    def next_timeout(self) -> int | None:
        """When the first of the running steps has run too long (ms)."""
        return min((at for _, _, at in self.limited()), default=None)

    def timed_out(self) -> list[Outcome]:
        """The running steps that have had their time; what they still do has no effect on the instance."""
        now, late = self.clock.now(), []
        for running, timeout, at in self.limited():
            if at <= now:
                run = running.run
                error = StepTimedOut(f"step {run.step} ran longer than its timeout of {timeout.total_seconds():g} s")
                late.append(Outcome(run.activation, run.attempt, running.started_at, error=error))
        return late

    def finish(self, outcomes: list[Outcome]) -> None:
        """Decide what the outcomes mean. They are committed together, but for those with writes: each goes alone."""
        writing = []
        for outcome in outcomes:
            running = self.in_flight.pop(outcome.activation)
            if outcome.activation not in self.journal.committed.running:
                self.journal.unnamed.add(outcome.activation)
            if writes := outcome.writes:
                writing.append((running, outcome, writes))
            else:
                self.journal.decide(self.dated(self.judged(running, outcome)))
        for running, outcome, writes in writing:
            self.write(running, outcome, writes)

    def judged(self, running: Running, outcome: Outcome) -> Event:
        """The event that an outcome comes to."""
        judge = self.judge.judged
        running.error = outcome.error

        def failed(error: Exception) -> Event:
            running.error = error
            return judge(outcome._replace(completed=None, error=error))

        event = self.within_room(judge(outcome), failed)
        running.ended_at = self.clock.now()
        self.ended[outcome.activation] = running
        return self.overtaken(event)

    def dated(self, event: Event) -> Event:
        """The event of an outcome, with its time where it may be committed later."""
        left = isinstance(event, StepCompleted) and self.may_be_late(event)
        return replace(event, ended_at=self.journal.now()) if left else event  # type: ignore[call-arg]  # it is one

    def overtaken(self, event: Event) -> Event:
        """The event of an outcome, unless what ends its step was accepted before; see ``Judge.overtaken``."""
        return self.judge.overtaken(event, self.draft) if self.graph.ends_on else event

    def within_room(self, event: Event, failed: Callable[[Exception], Event] | None = None) -> Event:
        """The event, or what comes in its place where the instance would hold too much with it.

        Args:
            event: what a step's outcome comes to.
            failed: gives the event of the same step for an error; needed where it may have succeeded.
        """
        if self.journal.has_room(event):
            return event
        succeeded = isinstance(event, (StepCompleted, RoundEnded, MapBegun, OnFailureCompleted))
        done = succeeded and getattr(event, "failed", None) is None
        if done and failed is not None:
            step = getattr(event, "step", "")
            event = failed(InvalidResult(f"step {step}: with its results, {too_much(self.draft.instance_id)}"))
            if self.journal.has_room(event):
                return event
        return cut(event, self.draft.instance_id)

    def write(self, running: Running, outcome: Outcome, writes: Sequence[Write]) -> None:
        """Commit a step together with its writes, exactly once; writes that are refused are the step's failure."""
        while not self.flush():
            pass  # its neighbours first: a condition of its own must not undo them
        event = self.judged(running, outcome)
        self.journal.decide(event)
        if not isinstance(event, WRITING) or not event.writes:
            return  # it failed, for want of room
        try:
            self.name_next(event)
            while not self.commit(writes=writes):
                # The number was taken: nothing of it was written, and it is decided again, so that no write goes alone.
                self.journal.drop()
                self.journal.decide(ends := self.overtaken(event))
                if ends is not event:
                    return  # what the step did counts no more, and neither does what it would write
                self.name_next(event)
        except (WriteFailed, PayloadTooLarge) as refused:
            self.journal.drop()
            self.journal.decide(self.judged(running, outcome._replace(completed=None, error=refused)))

    def name_next(self, event: Event) -> None:
        """Name the round that begins right after the one that ended, so that the two take one commit."""
        if isinstance(event, RoundEnded):
            now = self.journal.now()
            runs = [run for run in advance(self.graph, self.draft, now, self.in_flight) if isinstance(run, Run)]
            fitting = [run for run in self.fitting(runs, now) if self.permits.may_name(run.activation)]
            if begins := tuple(run.activation for run in fitting if run.step == event.step):
                self.journal.decide(StepsStarted(begins))

    def rest(self, commands: tuple[Command, ...], now: int) -> bool:
        """Nothing runs and nothing can: end, suspend, or wait a moment in place. Whether the execution is over."""
        if commands == (Enter(),):
            self.enter()
            return False
        if not self.is_in():
            return False
        match commands:
            case [Close() as end]:
                self.permits.drop()
                return self.close(end)
            case [Sleep()] if any(isinstance(event, PartStarted) for event in self.journal.decided):
                # Still as the owner: an invocation woken by a part that ends at once would start the others once more.
                self.flush()
            case [Sleep(wake_at)]:
                if wake_at is None or not self.may_wait(now, wake_at):
                    self.permits.drop()
                    return not self.more_mail() and self.commit(Suspended(wake_at))
                self.name_retries(wake_at)
                if self.flush():
                    self.clock.sleep(wake_at - now)
            case _:
                return True
        return False

    def may_wait(self, now: int, until: int) -> bool:
        """Whether something is waited for in place: longer for a start that a rate has put off."""
        longest = IN_PLACE_MS - 1
        first = first_start(self.draft, now) if self.draft.turns else None
        if first is not None and until >= first - EARLY_MS:
            longest = START_IN_PLACE_MS if first - now <= START_IN_PLACE_MS else 0
        return 0 < until - now <= longest and until < self.budget.deadline

    def close(self, end: Close) -> bool:
        """End the instance, with its output if it completes; whether it has ended."""
        if end.status != "completed" or self.definition.output is None:
            return self.commit(InstanceFinished(end.status, end.error, end.output_of))
        if self.took_over and self.draft.output_tries >= self.definition.retry.max_attempts:
            self.journal.decide(OutputFailed(failure(lost(self.draft.instance_id))))
            return False
        if self.took_over:
            self.journal.decide(OutputStarted())
        if (self.took_over or self.journal.opening) and not self.flush():
            return False
        made = output_event(self.definition.output, self.whole_context(), self.executor.commits.store)
        if isinstance(made, InstanceFinished) and not self.journal.has_room(made):
            made = OutputFailed(failure(InvalidOutput(f"with its output, {too_much(self.draft.instance_id)}")))
        if isinstance(made, InstanceFinished):
            return self.commit(made)
        self.journal.decide(made)
        return False

    def whole_context(self) -> StepContext:
        """What the function that makes the output is given: what a step would be that came after all others."""
        return self.context(text_of(OUTPUT), 1)

    def name_retries(self, at: int) -> None:
        """Name the steps that are tried again at ``at`` in the commit before the pause: none is needed after it."""
        state, undoing = self.draft, self.draft.compensation
        if undoing is not None and not any(step in self.graph.maps for step in undoing.left[:1]):
            due = [state.activation(undoing.left[0], undo=True) if undoing.left else state.activation(undoing.then)]
        else:
            due = [run.activation for run in advance(self.graph, state, at) if isinstance(run, Run)]
            due = due[: self.limits.concurrency]
        due = [one for one in due if self.permits.may_name(one, at)]
        if unnamed := tuple(activation for activation in due if activation not in state.running):
            self.journal.decide(StepsStarted(unnamed))

    def flush(self) -> bool:
        """Commit what is decided, if anything is; whether nothing is left to commit."""
        return self.journal.flush()

    def commit(self, *closing: Event, writes: Sequence[Write] = ()) -> bool:
        """Commit what is decided and ``closing``; see ``Journal.commit``."""
        return self.journal.commit(*closing, writes=writes)
