"""Drives ``advance`` and ``fold`` through a case as an executor would, in a random interleaving, doubting every answer.

Decisions gather in a draft and become log entries now and then; a crash loses the draft and what is in flight. Events
and timers come from outside at any time. What the engine must answer is read off the log and ``Reference``, never off
the engine's own state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any

from hephaestus.engine import events as ev
from hephaestus.engine.advance import Close, Command, Deliver, Run, Skip, Sleep, advance
from hephaestus.engine.fold import apply, begin, fold
from hephaestus.engine.graph import Graph
from hephaestus.engine.inbox import accept
from hephaestus.engine.state import State
from hephaestus.errors import InstanceClosed, UnexpectedEvent
from hephaestus.simulation.reference import Outcome, Reference
from hephaestus.values import freeze

if TYPE_CHECKING:
    from tests.property.cases import Case

Advance = Callable[[Graph, State, int, Collection[str]], tuple[Command, ...]]

TURNS = 600
LEASE = 10_000


class Driver:
    """One instance of a case, from its start to its end."""

    def __init__(self, case: Case, seed: int, decide: Advance = advance) -> None:
        self.case = case
        self.random = Random(seed)
        self.decide = decide
        self.now = 1_000
        self.log: list[ev.Entry] = []
        self.draft: list[ev.Event] = []
        self.in_flight: dict[str, int] = {}
        self.sent: set[str] = set()
        self.cancelled = False
        self.owners = 0
        started = ev.InstanceStarted("Flow", 1, freeze({"n": 1}), ("tag",), freeze({"team": "a"}), "start-1")
        first = ev.Entry(1, "c1", self.now, (started, *([self.claim()] if self.random.random() < 0.5 else [])))
        self.log.append(first)
        self.past: list[ev.Event] = [*first.events]
        self.committed = begin("order::1", 1, first)

    # -- what is known ---------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """As the draft would leave it."""
        return apply(self.committed, self.draft, self.now)

    @property
    def events(self) -> list[ev.Event]:
        """Everything that has happened, the draft included."""
        return self.past + self.draft

    def outcomes(self) -> dict[str, Outcome]:
        """By completed step, its event and the targets it took: from the log alone."""
        return {event.step: (event.event, event.taken) for event in self.events if isinstance(event, ev.StepCompleted)}

    def last(self, step: str) -> ev.Event | None:
        """What happened to a step last."""
        for event in reversed(self.events):
            if isinstance(event, (ev.StepCompleted, ev.StepWaiting, ev.StepFailed)) and event.step == step:
                return event
            if isinstance(event, ev.StepsSkipped) and step in event.steps:
                return event
        return None

    def failures(self, step: str) -> int:
        """How often a step has failed so far."""
        return sum(isinstance(event, ev.StepFailed) and event.step == step for event in self.events)

    # -- the loop --------------------------------------------------------------------------------------------------

    def run(self) -> Driver:
        """To the end of the instance."""
        for _ in range(TURNS):
            if self.committed.closed:
                self.check_end()
                return self
            self.outside()
            if self.committed.owner is None:
                self.commit(self.claim())
                continue
            self.turn()
        message = f"no end after {TURNS} turns"
        raise AssertionError(message)

    def turn(self) -> None:
        """One question to the engine, and what an executor does with the answer."""
        commands = self.decide(self.case.graph, self.state, self.now, self.in_flight)
        self.check(commands)
        match commands:
            case [Skip(steps)]:
                self.note(ev.StepsSkipped(steps))
            case [Deliver(), *_]:
                for command in commands:
                    assert isinstance(command, Deliver)
                    self.note(self.delivered(command))
            case [Close(status, error, output_of)]:
                self.commit(ev.InstanceFinished(status, error, output_of))
            case [Sleep(wake_at)]:
                self.commit(ev.Suspended(wake_at))
            case _:
                self.work([command for command in commands if isinstance(command, Run)])

    def work(self, runs: list[Run]) -> None:
        """Start some steps, end some, or hand over before anything runs."""
        if runs and not self.in_flight and self.random.random() < 0.1:
            self.commit(ev.HandedOver())
            return
        if runs:
            for run in self.random.sample(runs, self.random.randint(1, len(runs))):
                self.in_flight[run.step] = run.attempt
        ends = self.random.randint(0 if runs else 1, len(self.in_flight))
        for step in self.random.sample(sorted(self.in_flight), ends):
            attempt = self.in_flight.pop(step)
            self.note(self.ended(step, attempt))

    def ended(self, step: str, attempt: int) -> ev.Event:
        """What comes of an attempt, by the step's plan."""
        plan = self.case.plans[step]
        if attempt <= plan.failures or plan.dies:
            retry_at = None if attempt > plan.failures else self.now + self.random.randint(0, 50)
            return ev.StepFailed(step, attempt, ev.Failure("Boom", f"attempt {attempt}"), self.now, retry_at)
        if plan.way == "runs":
            return self.completed(step, plan.outcome, attempt)
        if plan.way == "event":
            return ev.StepWaiting(step, self.now, attempt)
        emits = (plan.outcome if plan.way == "timer" else plan.late)[0]
        return ev.StepWaiting(
            step, self.now, attempt, f"{step}.{attempt}", self.now + self.random.randint(0, 80), emits
        )

    def delivered(self, command: Deliver) -> ev.Event:
        """A waiting step gets its event and completes."""
        plan = self.case.plans[command.step]
        outcome = plan.late if command.timed_out and plan.way == "either" else plan.outcome
        assert command.event == outcome[0], f"{command} is not what the plan says"
        return self.completed(command.step, outcome, self.failures(command.step) + 1)

    def completed(self, step: str, outcome: Outcome, attempt: int) -> ev.StepCompleted:
        """With results of every kind."""
        results = freeze(
            {"price": Decimal("1.50"), "at": datetime.fromtimestamp(self.now, UTC), "raw": b"\x00", "step": step}
        )
        metadata = freeze({"last": step}) if self.random.random() < 0.3 else ev.NOTHING
        return ev.StepCompleted(step, *outcome, results, metadata, self.now, attempt)

    # -- the log ---------------------------------------------------------------------------------------------------

    def claim(self) -> ev.Claimed:
        """By an owner that nobody knew before."""
        self.owners += 1
        return ev.Claimed(f"owner-{self.owners}", self.now + LEASE)

    def note(self, event: ev.Event) -> None:
        """Into the draft; committed at once, or with what follows."""
        self.draft.append(event)
        if self.random.random() < 0.5:
            self.commit()

    def commit(self, *events: ev.Event) -> None:
        """One entry of the draft and ``events``."""
        batch = (*self.draft, *events)
        self.draft = []
        if batch:
            entry = ev.Entry(self.committed.sequence + 1, f"c{self.committed.sequence + 1}", self.now, batch)
            self.committed = fold(self.committed, [entry])
            self.log.append(entry)
            self.past.extend(batch)

    # -- what comes from outside -----------------------------------------------------------------------------------

    def outside(self) -> None:
        """Time passes; an event may come, a crash, a cancellation. While nobody owns the instance, something must."""
        asleep = self.committed.owner is None
        self.now += self.random.randint(0, 20)
        if self.random.random() < (0.6 if asleep else 0.15):
            self.send()
        if self.case.cancelled and not self.cancelled and self.random.random() < 0.1:
            self.cancelled = True
            self.commit(ev.CancelRequested())
        if not asleep and self.random.random() < 0.03:
            self.crash()
        if asleep and self.committed.wake_at is not None:
            self.now = max(self.now, self.committed.wake_at)
        elif asleep:
            self.send()

    def send(self) -> None:
        """One event or timer that a plan needs and that has not been sent, in any order, early or not."""
        state = self.state
        for step in self.random.sample(sorted(self.case.plans), len(self.case.plans)):
            plan = self.case.plans[step]
            if step in self.sent or plan.way == "timer":
                continue
            try:
                target = accept(self.case.graph, state, plan.outcome[0], step)
            except UnexpectedEvent:
                continue
            except InstanceClosed:
                assert state.closed or state.cancel
                return
            assert target == step
            self.sent.add(step)
            if plan.way == "either" and self.random.random() < 0.3:
                self.commit(ev.TimerSet(f"{step}.outside", step, self.now + self.random.randint(1, 90), plan.late[0]))
            else:
                self.commit(ev.EventReceived(step, plan.outcome[0], f"event-{step}", freeze({"for": step})))
            return

    def crash(self) -> None:
        """The owner is gone with everything it had not committed; another takes over when the lease has ended."""
        self.draft = []
        self.in_flight = {}
        self.now = max(self.now, self.committed.lease_until)
        self.commit(self.claim())

    # -- doubts ----------------------------------------------------------------------------------------------------

    def check(self, commands: tuple[Command, ...]) -> None:
        """Whether an answer is the one and only right one."""
        kinds = {type(command) for command in commands}
        assert len(kinds) <= 1, f"a mixed answer: {commands}"
        assert len(commands) <= 1 or kinds <= {Deliver, Run}, f"these come alone: {commands}"
        reference = Reference("s0", self.case.edges, self.outcomes())
        recorded = {step for event in self.events if isinstance(event, ev.StepsSkipped) for step in event.steps}
        dead = reference.all("skipped") - recorded
        match commands:
            case [Skip(steps)]:
                assert set(steps) == dead, f"skips {steps}, the reference says {dead}"
                return
            case _:
                assert not dead, f"{dead} should be skipped, not {commands}"
        failed = [step for step in self.case.plans if _for_good(self.last(step))]
        if failed or self.state.cancel:
            status = "failed" if failed else "cancelled"
            assert not self.in_flight or not commands
            assert self.in_flight or (isinstance(commands[0], Close) and commands[0].status == status)
            return
        if kinds == {Deliver}:
            self.check_deliveries(commands)
            return
        self.check_rest(commands, reference)

    def check_deliveries(self, commands: tuple[Any, ...]) -> None:
        """Each goes to one waiting step, and its event came from outside or its time has come."""
        assert len({command.step for command in commands}) == len(commands)
        for command in commands:
            assert isinstance(self.last(command.step), ev.StepWaiting), f"{command}: does not wait"
            if command.timed_out:
                due = [at for at, emits in self.deadlines(command.step) if emits == command.event]
                assert min(due) <= self.now
            else:
                assert any(_is_for(event, command) for event in self.events)

    def check_rest(self, commands: tuple[Command, ...], reference: Reference) -> None:
        """Every step that may start is started, no other, and there is rest only where there is nothing to do."""
        waiting = {step for step in self.case.plans if isinstance(self.last(step), ev.StepWaiting)}
        arrived = {event.step for event in self.events if isinstance(event, ev.EventReceived)}
        assert not waiting & arrived, f"events are not delivered to {waiting & arrived}: {commands}"
        deadlines = [at for step in waiting for at, _ in self.deadlines(step)]
        assert all(at > self.now for at in deadlines), f"a deadline has passed: {commands}"
        retries = {step: event for step in self.case.plans if isinstance(event := self.last(step), ev.StepFailed)}
        fresh = {step for step in reference.all("startable") if self.last(step) is None}
        due = {step for step, event in retries.items() if event.retry_at is not None and event.retry_at <= self.now}
        expected = {step: self.failures(step) + 1 for step in (fresh | due) - set(self.in_flight)}
        runs = {command.step: command.attempt for command in commands if isinstance(command, Run)}
        assert runs == expected, f"runs {runs}, the reference says {expected}"
        if runs:
            return
        if self.in_flight:
            assert not commands
        elif waiting or retries:
            alarm = min(deadlines + [event.retry_at or 0 for event in retries.values()], default=None)
            assert commands == (Sleep(alarm),)
        else:
            assert commands == (Close("completed", output_of=self.completed_last()),)
            assert not reference.all("undecided")
            assert not reference.all("startable")

    def completed_last(self) -> str:
        """The step completed last; of those that completed at one time, the later in the graph."""
        order = self.case.graph.order
        happened = [(entry.at, event) for entry in self.log for event in entry.events]
        happened += [(self.now, event) for event in self.draft]
        done = [(at, order.index(event.step)) for at, event in happened if isinstance(event, ev.StepCompleted)]
        return order[max(done)[1]]

    def deadlines(self, step: str) -> list[tuple[int, str]]:
        """When a step's waits and outside timers end, and with which event."""
        return [
            (event.due_at, event.emits)
            for event in self.events
            if isinstance(event, (ev.StepWaiting, ev.TimerSet)) and event.step == step and event.due_at is not None
        ]

    def check_end(self) -> None:
        """How it ended, by the log alone."""
        last = self.log[-1].events[-1]
        assert isinstance(last, ev.InstanceFinished)
        assert not self.in_flight
        completions = [event.step for event in self.events if isinstance(event, ev.StepCompleted)]
        assert len(completions) == len(set(completions)), f"completed twice: {completions}"
        if last.status == "completed":
            reference = Reference("s0", self.case.edges, self.outcomes())
            assert set(completions) == reference.on_taken_paths()
            skipped = [step for event in self.events if isinstance(event, ev.StepsSkipped) for step in event.steps]
            assert sorted([*completions, *skipped]) == sorted(self.case.edges), "a step is undecided, or decided twice"


def _for_good(event: ev.Event | None) -> bool:
    return isinstance(event, ev.StepFailed) and event.retry_at is None


def _is_for(event: ev.Event, command: Deliver) -> bool:
    return isinstance(event, ev.EventReceived) and (event.step, event.event, event.payload) == (
        command.step,
        command.event,
        command.payload,
    )
