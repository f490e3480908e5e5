"""Deliberate bugs, one at a time: each makes the engine, or what it stands on, wrong in one way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition import context as contexts
from hephaestus.definition.definition import Declared
from hephaestus.engine import advance as engine
from hephaestus.engine import codec, inbox, map_items, plans, requests
from hephaestus.engine import effects as what_follows
from hephaestus.engine import state as state_of_the_engine
from hephaestus.engine.activation import name_in_life, parse, step_of, text_of, text_of_item, token_of
from hephaestus.engine.advance import Close, Compensate, Deliver, Run, Skip, Sleep
from hephaestus.engine.alarms import alarm as alarm_of
from hephaestus.engine.effects import Head, Schedule, effects
from hephaestus.engine.events import (
    Claimed,
    Entry,
    EventReceived,
    Forked,
    InstanceFinished,
    ItemCompleted,
    Parked,
    Redriven,
    RoundEnded,
    StepFailed,
    StepsIsolated,
    StepsSkipped,
    StepsStarted,
    Suspended,
    Unpaused,
    of_items,
)
from hephaestus.engine.events import steps as steps_events
from hephaestus.engine.fold import following
from hephaestus.engine.records import NOT_ENDED, Loop, Mapped, Received
from hephaestus.engine.requests import repeats
from hephaestus.engine.state import CAREFUL, Compensation, State, StepState, Timer, evolve, without
from hephaestus.runtime import attempt, commits, executor, instances, journal, outcomes, perform, runner, waking
from hephaestus.runtime.commands import answer, cancel, deliver, fork, pause, redrive
from hephaestus.runtime.commits import Commits
from hephaestus.runtime.items_left import items_left
from hephaestus.runtime.output import output_event
from hephaestus.runtime.routing import route
from hephaestus.runtime.status_events import status_event
from hephaestus.simulation.bus import SimulatedBus
from hephaestus.simulation.doubles import SimulatedTable
from hephaestus.store import reader, values
from hephaestus.store import store as stores
from hephaestus.store.heads import Shards
from hephaestus.store.keys import HEAD, log_key
from hephaestus.store.overdue import OverduePage
from hephaestus.store.store import Store
from hephaestus.store.table import ALWAYS, EXPIRES, Condition
from hephaestus.store.values import carry_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    import pytest

    from hephaestus.engine.advance import Command
    from hephaestus.engine.graph import Graph
    from hephaestus.runtime.ports import Timeout
    from hephaestus.store.table import Item

    Patch = pytest.MonkeyPatch

right_advance = engine.advance
right_alarm = alarm_of
right_claimed = Claimed.changes
right_commit = Commits.commit
right_put = Store._put  # noqa: SLF001 - made wrong on purpose
right_received = EventReceived.changes
right_redriven = Redriven.changes
right_round_ended = RoundEnded.changes
right_skipped = StepsSkipped.changes
right_step_failed = StepFailed.changes
right_failed = outcomes.Judge.failed


def _advancing(change: Callable[..., tuple[Command, ...]]) -> Callable[[Patch], None]:
    """A bug in what is decided: ``change`` is given what ``advance`` is given."""

    def switch_on(patch: Patch) -> None:
        patch.setattr(executor, "advance", change)
        patch.setattr(waking, "advance", change)

    switch_on.__name__, switch_on.__doc__ = change.__name__, change.__doc__
    return switch_on


def claim_without_condition(patch: Patch) -> None:
    """A number that is taken is written over."""

    def put(self: Store, after: State, entry: Entry, item: Item, writes: Sequence[Any]) -> bool:
        return self.table.transact(item, ALWAYS, writes, "token") if writes else self.table.put(item, ALWAYS)

    patch.setattr(Store, "_put", put)


def own_commit_not_recognised(patch: Patch) -> None:
    """A writer whose answer was lost takes its own entry for somebody else's."""
    patch.setattr(Store, "_is_mine", lambda self, item: False)


def schedule_before_commit(patch: Patch) -> None:
    """Schedules are made before the commit that decides them."""

    def commit(self: Commits, before: State, entry: Entry, after: State, **options: Any) -> State | None:
        early = [effect for effect in effects(before, entry, after) if isinstance(effect, Schedule)]
        self.performer.perform(early, after)
        return right_commit(self, before, entry, after, **options)

    patch.setattr(Commits, "commit", commit)


def no_token_on_timeouts(patch: Patch) -> None:
    """Whatever schedule fires, its step is given the timeout if it waits."""
    believed: list[str] = []

    def timeout(self: runner.Runner, timeout: Timeout, *, budget: Any) -> None:
        believed[:] = [timeout.step]
        self.wake(timeout.instance_id, budget=budget)

    def advance(graph: Graph, state: State, now: int, in_flight: Collection[str] = ()) -> tuple[Command, ...]:
        timers = {
            one: tuple(replace(timer, due_at=0) if timer.step in believed else timer for timer in known)
            for one, known in state.timers.items()
        }
        return right_advance(graph, evolve(state, timers=timers), now, in_flight)

    patch.setattr(runner.Runner, "timeout", timeout)
    _advancing(advance)(patch)


def snapshot_one_entry_old(patch: Patch) -> None:
    """The head is given the snapshot of the entry before."""
    _snapshots(patch, lambda state: evolve(state, sequence=state.sequence - 1))


def snapshot_loses_a_field(patch: Patch) -> None:
    """A state is read back without the requests that it remembers."""
    _snapshots(patch, lambda state: evolve(state, requests=()))


def _snapshots(patch: Patch, change: Callable[[State], State]) -> None:
    right = Store._snapshot  # noqa: SLF001 - made wrong on purpose
    patch.setattr(Store, "_snapshot", lambda self, state: right(self, change(state)))


def head_before_log(patch: Patch) -> None:
    """The head follows before the entry is put."""

    def commit(self: Commits, before: State, entry: Entry, after: State, **options: Any) -> State | None:
        if Head() in effects(before, entry, after):
            self.store.settle(after)
        return right_commit(self, before, entry, after, **options)

    patch.setattr(Commits, "commit", commit)


def strip_before_head(patch: Patch) -> None:
    """The alarms of entries are removed before the head covers them."""
    right = Store.settle

    def settle(self: Store, state: State) -> State:
        for number in state.kept.alarmed:
            self.strip(state.instance_id, log_key(state.life, number))
        return right(self, state)

    patch.setattr(Store, "settle", settle)


def alarm_cleared_without_condition(patch: Patch) -> None:
    """The alarms of newer entries are removed with those that the head covers."""
    right = Store.settle

    def settle(self: Store, state: State) -> State:
        done = right(self, state)
        for number in (state.sequence + 1, state.sequence + 2):
            self.strip(state.instance_id, log_key(state.life, number))
        return done

    patch.setattr(Store, "settle", settle)


def head_overwritten_by_a_slow_owner(patch: Patch) -> None:
    """A head is changed whatever its number is."""
    right = SimulatedTable.update

    def update(self: SimulatedTable, pk: str, sk: str, changes: Any, condition: Condition) -> bool:
        return right(self, pk, sk, changes, replace(condition, below={}) if sk == HEAD else condition)

    patch.setattr(SimulatedTable, "update", update)


def claim_leaves_a_far_alarm(patch: Patch) -> None:
    """A claim has no alarm of its own: the head's is taken for cover."""

    def alarm(before: State, entry: Entry, after: State) -> int | None:
        claims = any(isinstance(event, Claimed) for event in entry.events)
        return None if claims else right_alarm(before, entry, after)

    patch.setattr(commits, "alarm", alarm)


def outsiders_carry_no_alarm(patch: Patch) -> None:
    """An event from outside has no alarm of its own: its message is believed in."""

    def alarm(before: State, entry: Entry, after: State) -> int | None:
        claims = any(isinstance(event, Claimed) for event in entry.events)
        return right_alarm(before, entry, after) if claims or before.owner else None

    patch.setattr(commits, "alarm", alarm)


def value_removed_too_early(patch: Patch) -> None:
    """The old snapshot is removed before the head names the new one."""
    right = Store._write_head  # noqa: SLF001 - made wrong on purpose

    def write_head(self: Store, state: State) -> Any:
        if state.kept.snapshot:
            self.values.remove(state.instance_id, state.life, (state.kept.snapshot,))
        return right(self, state)

    patch.setattr(Store, "_write_head", write_head)


def life_reused(patch: Patch) -> None:
    """The life of an id that is started again has the name that it had before."""
    name = "e6489255800" + "0" * 8
    patch.setattr(instances, "life_name", lambda now, unique: name)
    patch.setattr(stores, "life_name", lambda now, unique, before: name)


def index_key_missing(patch: Patch) -> None:
    """A head that fails is not moved among those that need a look."""
    right = Shards.changes

    def changes(self: Shards, state: State, expires: int | None) -> dict[str, Any]:
        found = right(self, state, expires)
        return {name: value for name, value in found.items() if name != "recent_key" or state.status != "failed"}

    patch.setattr(Shards, "changes", changes)


def redriven_instances_expire(patch: Patch) -> None:
    """A head that was given an expiry keeps it when its instance goes on."""
    right = Shards.changes

    def changes(self: Shards, state: State, expires: int | None) -> dict[str, Any]:
        found = right(self, state, expires)
        return found if expires else {name: value for name, value in found.items() if name != EXPIRES}

    patch.setattr(Shards, "changes", changes)


def lease_ignored(patch: Patch) -> None:
    """Nobody asks whether an owner lives."""
    patch.setattr(State, "owned", lambda self, now: False)


def not_fenced(patch: Patch) -> None:
    """Whoever lost the instance to another owner goes on."""
    right = journal.Journal.rebase

    def rebase(self: journal.Journal) -> None:
        newer = self.store.tail(self.committed)
        if newer is not None and newer.owner is not None:
            self.owner = newer.owner
        right(self)

    patch.setattr(journal.Journal, "rebase", rebase)


def events_not_remembered(patch: Patch) -> None:
    """The ids of events are forgotten, so that a repeated one is another."""

    def changes(self: EventReceived, state: State, at: int) -> dict[str, Any]:
        return {**right_received(self, state, at), "requests": state.requests}

    patch.setattr(EventReceived, "changes", changes)


def requests_not_remembered(patch: Patch) -> None:
    """The ids of control requests are forgotten."""
    for command in (cancel, pause, redrive):
        patch.setattr(command, "repeats", lambda state, action, request_id, digest: False)


def window_forgets_too_early(patch: Patch) -> None:
    """Only the newest request is remembered."""
    patch.setattr(requests, "WINDOW", 1)


def other_requests_taken_for_repeats(patch: Patch) -> None:
    """An id is remembered without what was asked for: another request under it is acknowledged and dropped."""
    patch.setattr(deliver, "repeats", lambda state, action, request_id, digest: repeats(state, action, request_id, ""))


def events_lost_with_their_step(patch: Patch) -> None:
    """A step that fails for good takes the event with it that was accepted for it."""

    def changes(self: StepFailed, state: State, at: int) -> dict[str, Any]:
        changed = right_step_failed(self, state, at)
        return changed if self.retry_at is not None else {**changed, "inbox": without(state.inbox, self.activation)}

    patch.setattr(StepFailed, "changes", changes)


def events_lost_with_their_path(patch: Patch) -> None:
    """A step that is skipped takes the event with it that was accepted for it."""

    def changes(self: StepsSkipped, state: State, at: int) -> dict[str, Any]:
        inbox = {step: received for step, received in state.inbox.items() if step_of(step) not in self.steps}
        return {**right_skipped(self, state, at), "inbox": inbox}

    patch.setattr(StepsSkipped, "changes", changes)


def undone_requests_remembered(patch: Patch) -> None:
    """A redrive has a step wait again, and the id of the event that it had consumed is still a repeat."""

    def changes(self: Redriven, state: State, at: int) -> dict[str, Any]:
        return {**right_redriven(self, state, at), "requests": state.requests}

    patch.setattr(Redriven, "changes", changes)


def links_forgotten(patch: Patch) -> None:
    """A used link's id is not kept, so that it works again when its step does."""

    def changes(self: EventReceived, state: State, at: int) -> dict[str, Any]:
        return {**right_received(self, state, at), "links": ()}

    patch.setattr(EventReceived, "changes", changes)


def starts_not_remembered(patch: Patch) -> None:
    """A start is known only as long as its generation is the newest."""
    patch.setattr(Store, "_is_repeated", lambda self, found, first: found.head["first_commit"] == first.commit_id)


def acknowledged_before_commit(patch: Patch) -> None:
    """A call from outside does not look whether its commit was written."""

    def append(self: instances.Instances, state: State, now: int, *events: Any) -> State | None:
        after, entry = following(state, self.clock.unique(), now, events)
        self.commits.commit(state, entry, after, tell=lambda *_: None)
        return after

    patch.setattr(instances.Instances, "append", append)


def interrupted_attempts_are_free(patch: Patch) -> None:
    """A step that died with its Lambda starts with the same attempt again."""
    patch.setattr(executor._Execution, "recover", lambda self: None)  # noqa: SLF001 - made wrong on purpose


def innocents_spend_attempts(patch: Patch) -> None:
    """Whatever was under way when an owner died has spent an attempt."""

    def recover(self: Any) -> None:
        for one in self.interrupted:
            if one in self.draft.running:
                self.journal.decide(self.within_room(self.judge.interrupted(self.draft, one, alone=True)))

    patch.setattr(executor._Execution, "recover", recover)  # noqa: SLF001 - made wrong on purpose


def isolation_forgotten_by_the_second_death(patch: Patch) -> None:
    """The next owner knows of none but its predecessor's death."""
    right = Claimed.changes
    patch.setattr(Claimed, "changes", lambda self, state, at: {**right(self, state, at), "isolated": ()})


def innocents_spend_calls(patch: Patch) -> None:
    """A Choice that was called while others were under way has spent its call when the owner dies."""
    right = StepsIsolated.changes
    patch.setattr(
        StepsIsolated, "changes", lambda self, state, at: {**right(self, state, at), "choosing": state.choosing}
    )


def two_run_in_isolation(patch: Patch) -> None:
    """What is isolated runs beside others."""
    patch.setattr(engine, "_alone", lambda _state, runs, _in_flight: runs)


def choices_are_not_counted(patch: Patch) -> None:
    """The Choice of a step that waits is called after the claim, and no commit says so."""

    def may_choose(self: Any, step: str) -> bool:
        if self.journal.opening:
            self.journal.commit()
        return True

    patch.setattr(executor._Execution, "may_choose", may_choose)  # noqa: SLF001 - made wrong on purpose


def starts_before_commit(patch: Patch) -> None:
    """Steps start, and the commit that names them comes with their outcome."""

    def work(self: Any, runs: Sequence[Any], now: int) -> bool:
        self.launch(runs[:1], now)
        if self.in_flight:
            self.collect(now)
        return False

    patch.setattr(executor._Execution, "work", work)  # noqa: SLF001 - made wrong on purpose


def writes_beside_the_entry(patch: Patch) -> None:
    """A step's writes are done first, then its log entry is written."""

    def put(self: Store, after: State, entry: Entry, item: Item, writes: Sequence[Any]) -> bool:
        if writes and isinstance(self.table, SimulatedTable) and self.table.inner.tables is not None:
            self.table.inner.tables.transact(writes)
        return right_put(self, after, entry, item, ())

    patch.setattr(Store, "_put", put)


def writes_forgotten(patch: Patch) -> None:
    """A step's result is committed, its writes are not."""
    patch.setattr(Store, "_put", lambda self, after, entry, item, writes: right_put(self, after, entry, item, ()))


def alarms_not_found(patch: Patch) -> None:
    """The sweep finds nothing."""
    patch.setattr(Store, "overdue", lambda self, now, limit, cursor=None: OverduePage((), None))


def clocks_trusted(patch: Patch) -> None:
    """Times are written as each machine's clock has them."""
    patch.setattr(journal.Journal, "now", lambda self: self.clock.now())


def at_most_once_tried_again(patch: Patch) -> None:
    """A step that must run once at most is retried by the policy."""

    def failed(self: Any, outcome: Any, error: BaseException, **options: Any) -> Any:
        declared = {key: replace(step, semantics="at_least_once") for key, step in self.definition.declared.items()}
        lenient = replace(self, definition=replace(self.definition, declared=declared))
        return right_failed(lenient, outcome, error, **options)

    patch.setattr(outcomes.Judge, "failed", failed)


def compensated_in_order_of_completion(patch: Patch) -> None:
    """What was done first is undone first."""
    right = engine.compensable
    patch.setattr(engine, "compensable", lambda graph, state: tuple(reversed(right(graph, state))))


def compensation_forgotten(patch: Patch) -> None:
    """A failed instance ends without undoing anything."""
    patch.setattr(engine, "_compensate", lambda graph, state, ending: None)


def fail_taken_for_done(patch: Patch) -> None:
    """An event that leads to FAIL only ends its path."""
    patch.setattr(attempt, "route", lambda *args: route(*args)._replace(fail=None))
    patch.setattr(outcomes, "route", lambda *args: route(*args)._replace(fail=None))


def fail_waits_for_its_turn(
    graph: Graph, state: State, now: int, in_flight: Collection[str] = ()
) -> tuple[Command, ...]:
    """After FAIL, what can run still starts."""
    spared = {key: replace(step, fail=None) for key, step in state.steps.items()}
    commands = right_advance(graph, evolve(state, steps=spared), now, in_flight)
    return commands if commands and isinstance(commands[0], Run) else right_advance(graph, state, now, in_flight)


def output_of_the_first(patch: Patch) -> None:
    """The output is that of the step completed first."""

    def first(graph: Graph, state: State) -> str:
        done = [step for step in graph.order if state.step_status(step) == "completed"]
        return next((step for step in done if step == (graph.output or step)), "")

    patch.setattr(engine, "output_of", first)


def output_before_the_claim(patch: Patch) -> None:
    """The function that makes the output is called, and the commit that claims comes with what it made."""
    right = executor._Execution.close  # noqa: SLF001 - made wrong on purpose

    def close(self: Any, end: Close) -> bool:
        if self.journal.opening and self.definition.output is not None and end.status == "completed":
            return bool(
                self.commit(output_event(self.definition.output, self.whole_context(), self.executor.commits.store))
            )
        return right(self, end)

    patch.setattr(executor._Execution, "close", close)  # noqa: SLF001 - made wrong on purpose


def output_deaths_are_free(patch: Patch) -> None:
    """A call that makes the output and takes its Lambda with it is not counted."""
    right = executor._Execution.close  # noqa: SLF001 - made wrong on purpose

    def close(self: Any, end: Close) -> bool:
        self.took_over = False
        return right(self, end)

    patch.setattr(executor._Execution, "close", close)  # noqa: SLF001 - made wrong on purpose


def output_failure_forgotten(patch: Patch) -> None:
    """An instance whose output cannot be made completes without one."""

    def made(function: Any, context: Any, store: Any) -> Any:
        found = output_event(function, context, store)
        return found if isinstance(found, InstanceFinished) else InstanceFinished("completed", output_of="s0")

    patch.setattr(executor, "output_event", made)


def on_failure_before_compensation(patch: Patch) -> None:
    """The workflow's on_failure runs before what was done is undone."""
    right = engine._undo  # noqa: SLF001 - made wrong on purpose

    def undo(graph: Graph, state: State, undoing: Compensation, now: int) -> Command:
        early = undoing.then and undoing.then not in state.steps
        return Run(state.activation(undoing.then), 1) if early else right(graph, state, undoing, now)

    patch.setattr(engine, "_undo", undo)


def on_failure_forgotten(patch: Patch) -> None:
    """An instance that fails ends without its on_failure."""
    right = engine._compensate  # noqa: SLF001 - made wrong on purpose

    def compensate(graph: Graph, state: State, ending: Close) -> Compensate | None:
        found = right(graph, state, ending)
        return replace(found, then="") if found is not None and found.steps else None

    patch.setattr(engine, "_compensate", compensate)


def on_failure_of_the_cancelled(patch: Patch) -> None:
    """The workflow's on_failure runs for a cancellation, too."""
    right = engine._compensate  # noqa: SLF001 - made wrong on purpose

    def compensate(graph: Graph, state: State, ending: Close) -> Compensate | None:
        found = right(graph, state, ending)
        return found and replace(found, then=graph.on_failure)

    patch.setattr(engine, "_compensate", compensate)


def on_failure_once_a_life(patch: Patch) -> None:
    """After a redrive, the workflow's on_failure counts as done."""
    right = plans.redriven

    def redriven(graph: Graph, state: State) -> Redriven:
        found = right(graph, state)
        others = [tuple(step for step in steps if step != graph.on_failure) for steps in (found.reset, found.again)]
        return replace(found, reset=others[0], again=others[1])

    patch.setattr(redrive, "redriven", redriven)


def timeout_early(graph: Graph, state: State, now: int, in_flight: Collection[str] = ()) -> tuple[Command, ...]:
    """A workflow's time is up a minute early."""
    soon = None if state.deadline is None else state.deadline - 60_000
    return right_advance(graph, evolve(state, deadline=soon), now, in_flight)


def timeout_forgotten(graph: Graph, state: State, now: int, in_flight: Collection[str] = ()) -> tuple[Command, ...]:
    """A workflow's time is never up."""
    return right_advance(graph, evolve(state, deadline=None), now, in_flight)


def timeout_without_consequence(
    graph: Graph, state: State, now: int, in_flight: Collection[str] = ()
) -> tuple[Command, ...]:
    """A workflow's time is up, and steps still start."""
    spared = evolve(state, verdict=None, deadline=None if state.verdict is not None else state.deadline)
    commands = right_advance(graph, spared, now, in_flight)
    return commands if commands and isinstance(commands[0], Run) else right_advance(graph, state, now, in_flight)


def redrive_does_not_renew_the_timeout(patch: Patch) -> None:
    """After a redrive, the time that was up is up."""

    def changes(self: Redriven, state: State, at: int) -> dict[str, Any]:
        return {**right_redriven(self, state, at), "deadline": state.deadline}

    patch.setattr(Redriven, "changes", changes)


def pause_ignored(graph: Graph, state: State, now: int, in_flight: Collection[str] = ()) -> tuple[Command, ...]:
    """A paused instance goes on."""
    return right_advance(graph, evolve(state, paused=None), now, in_flight)


def cancellation_ignored(graph: Graph, state: State, now: int, in_flight: Collection[str] = ()) -> tuple[Command, ...]:
    """A running instance that was cancelled goes on."""
    return right_advance(graph, evolve(state, cancel=None), now, in_flight)


def dead_paths_ignored(graph: Graph, state: State, now: int, in_flight: Collection[str] = ()) -> tuple[Command, ...]:
    """A join waits for branches that nothing leads to, and the instance ends when nothing runs."""
    commands = right_advance(graph, state, now, in_flight)
    if commands and isinstance(commands[0], Skip):
        return () if in_flight else (Close("completed"),)
    return commands


def eager_join(graph: Graph, state: State, now: int, in_flight: Collection[str] = ()) -> tuple[Command, ...]:
    """A join starts as soon as one branch is there."""
    commands = right_advance(graph, state, now, in_flight)
    if commands and not isinstance(commands[0], (Run, Sleep)):
        return commands
    taken = {target for step in state.steps.values() for target in step.taken}
    early = [step for step in graph.order if step in taken and step not in state.steps and step not in in_flight]
    runs = {command.step: command for command in commands if isinstance(command, Run)}
    return tuple({**{step: Run(step, 1) for step in early}, **runs}.values()) or commands


def events_unheard(graph: Graph, state: State, now: int, in_flight: Collection[str] = ()) -> tuple[Command, ...]:
    """Events that came before a deadline are not delivered."""
    commands = right_advance(graph, evolve(state, inbox={}), now, in_flight)
    return commands or ((Sleep(None),) if not in_flight and not state.closed else ())


def deadlines_early(graph: Graph, state: State, now: int, in_flight: Collection[str] = ()) -> tuple[Command, ...]:
    """A deadline comes a minute before its time."""
    commands = right_advance(graph, state, now + 60_000, in_flight)
    early = [command for command in commands if isinstance(command, Deliver)]
    return tuple(early) or right_advance(graph, state, now, in_flight)


def alarm_forgotten(graph: Graph, state: State, now: int, in_flight: Collection[str] = ()) -> tuple[Command, ...]:
    """An instance suspends without an alarm."""
    commands = right_advance(graph, state, now, in_flight)
    return (Sleep(None),) if commands and isinstance(commands[0], Sleep) else commands


def closes_over_running_steps(patch: Patch) -> None:
    """A failed instance ends while steps of it run."""
    right = executor._Execution.work  # noqa: SLF001 - made wrong on purpose

    def work(self: Any, runs: Sequence[Any], now: int) -> bool:
        ending = right_advance(self.graph, self.draft, now, ())
        if ending and isinstance(ending[0], Close):
            self.in_flight.clear()
            return bool(self.rest(ending, now))
        return right(self, runs, now)

    patch.setattr(executor._Execution, "work", work)  # noqa: SLF001 - made wrong on purpose


def snapshot_loses(kind: type[Any], name: str) -> Callable[[Patch], None]:
    """A bug in what is written: one field of the state, or of what it holds, is left out of every snapshot."""
    right = codec._Format.pack  # noqa: SLF001 - made wrong on purpose

    def pack(self: Any, record: Any) -> dict[str, Any]:
        packed = right(self, record)
        if self.kind is kind:
            packed.pop(name, None)
        return packed

    def switch_on(patch: Patch) -> None:
        patch.setattr(codec._Format, "pack", pack)  # noqa: SLF001 - made wrong on purpose

    switch_on.__name__ = f"snapshot_loses_{kind.__name__}_{name}"
    return switch_on


def rebase_keeps_derived_decisions(patch: Patch) -> None:
    """What followed from the old state alone is kept after another writer was faster."""
    patch.setattr(journal.Journal, "_is_derived", lambda self, event, decided: False)


def compensation_shares_the_key_of_its_step(patch: Patch) -> None:
    """An idempotency key does not say that the step is undone."""

    def name(instance_id: str, life: str, activation: str) -> str:
        return name_in_life(instance_id, life, activation.removesuffix("!undo"))

    patch.setattr(contexts, "name_in_life", name)


def retries_share_a_schedule(patch: Patch) -> None:
    """The name of a retry's schedule does not say which retry it is."""
    right = token_of
    patch.setattr(what_follows, "token_of", lambda activation, what: right(activation, what.rstrip("0123456789")))


def ties_undone_in_the_order_of_the_graph(patch: Patch) -> None:
    """Of steps that completed at one time, the earlier in the graph is undone first."""

    def compensable(graph: Graph, state: State) -> tuple[str, ...]:
        done = [step for step in graph.order if step in graph.compensates and state.step_status(step) == "completed"]
        return tuple(sorted(done, key=lambda step: -state.steps[step].ended_at))

    patch.setattr(engine, "compensable", compensable)


def redrive_repeats_an_epoch(patch: Patch) -> None:
    """What was undone runs again under the idempotency keys that it had."""
    right = plans.redriven
    patch.setattr(redrive, "redriven", lambda graph, state: replace(right(graph, state), again=()))


def redrive_repeats_what_failed_on_purpose(patch: Patch) -> None:
    """A step that led to FAIL completes a second time in the same epoch."""
    right = plans.redriven

    def redriven(graph: Graph, state: State) -> Redriven:
        found = right(graph, state)
        fatal = [key for key, step in state.steps.items() if step.fail is not None]
        return replace(found, again=tuple(step for step in found.again if step not in fatal))

    patch.setattr(redrive, "redriven", redriven)


def inbox_keyed_by_step(patch: Patch) -> None:
    """An accepted event is kept for the step's first activation, whichever will wait."""

    def changes(self: EventReceived, state: State, at: int) -> dict[str, Any]:
        changed = right_received(self, state, at)
        received = changed["inbox"].pop(self.activation)
        return {**changed, "inbox": {**changed["inbox"], self.step: received}}

    patch.setattr(EventReceived, "changes", changes)


def text_without_epoch(patch: Patch) -> None:
    """The text of an activation does not say which epoch it is of."""
    patch.setattr(
        state_of_the_engine, "text_of", lambda step, _=0, round_=1, *, undo=False: text_of(step, 0, round_, undo=undo)
    )


def fork_drops_the_epoch(patch: Patch) -> None:
    """A fork takes over a step as if it had never been undone."""
    right = fork._fork  # noqa: SLF001 - made wrong on purpose

    def taking_over(*args: Any, **options: Any) -> Forked:
        forked = right(*args, **options)
        return replace(forked, completed=tuple(replace(done, activation=done.step) for done in forked.completed))

    patch.setattr(fork, "_fork", taking_over)


def status_events_lost_in_a_crash(patch: Patch) -> None:
    """What an owner committed and did not publish before it died is published by no one."""
    patch.setattr(reader, "is_news", lambda before, after: False)


def status_events_lost_by_the_bus(patch: Patch) -> None:
    """What the bus does not take is left at that."""
    patch.setattr(SimulatedBus, "publish_later", lambda self, event: None)


def head_held_back_by_the_bus(patch: Patch) -> None:
    """A status event that cannot be published fails what comes after it."""

    def publish(self: perform.Performer, news: State, silent: set[str]) -> None:
        del silent
        if self.bus is not None:
            self.bus.publish(status_event(news))

    patch.setattr(perform.Performer, "_publish", publish)


def _round_ends(change: Callable[[RoundEnded, State, dict[str, Any]], None], name: str) -> Callable[[Patch], None]:
    """A bug in what the end of a round changes."""

    def changes(self: RoundEnded, state: State, at: int) -> dict[str, Any]:
        changed = right_round_ended(self, state, at)
        change(self, state, changed)
        return changed

    def switch_on(patch: Patch) -> None:
        patch.setattr(RoundEnded, "changes", changes)

    switch_on.__name__, switch_on.__doc__ = name, change.__doc__
    return switch_on


def _of_round(event: RoundEnded, changed: dict[str, Any], **wrong: Any) -> None:
    changed["steps"] = {**changed["steps"], event.step: replace(changed["steps"][event.step], **wrong)}


def _not_anew(event: RoundEnded, _state: State, changed: dict[str, Any]) -> None:
    """Attempts are counted on, over the rounds."""
    _of_round(event, changed, attempt=event.attempt)


def _old_timers(event: RoundEnded, state: State, changed: dict[str, Any]) -> None:
    """What had a time for the old round has it for the new one."""
    if event.activation in state.timers:
        after = evolve(state, steps=changed["steps"]).activation(event.step)
        moved = tuple(replace(timer, activation=after) for timer in state.timers[event.activation])
        changed["timers"] = {**changed["timers"], after: moved}


def _line_lost(_event: RoundEnded, state: State, changed: dict[str, Any]) -> None:
    """The end of a round takes what stands in line."""
    changed["inbox"] = without(state.inbox, state.line(_event.step))


def _uncounted(event: RoundEnded, state: State, changed: dict[str, Any]) -> None:
    """A round that has ended begins again."""
    if (known := state.steps.get(event.step)) is not None and known.loop is not None:
        _of_round(event, changed, loop=replace(changed["steps"][event.step].loop, rounds=known.loop.rounds))


def _within_anew(event: RoundEnded, _state: State, changed: dict[str, Any]) -> None:
    """The time of all rounds is counted from each."""
    _of_round(event, changed, loop=replace(changed["steps"][event.step].loop, began_at=event.started_at))


def _old_carry(event: RoundEnded, state: State, changed: dict[str, Any]) -> None:
    """A round is given what the one before last left."""
    if (known := state.steps.get(event.step)) is not None and known.loop is not None:
        _of_round(event, changed, loop=replace(changed["steps"][event.step].loop, carry=known.loop.carry))


def _not_taken(_event: RoundEnded, _state: State, changed: dict[str, Any]) -> None:
    """The event that ends the wait of a round stays in line for the next."""
    for name in ("inbox", "lines"):
        changed.pop(name, None)


def _not_given(event: RoundEnded, _state: State, changed: dict[str, Any]) -> None:
    """The event that ended a wait is given to no round."""
    _of_round(event, changed, loop=replace(changed["steps"][event.step].loop, received=None))


def retries_without_their_event(patch: Patch) -> None:
    """What a round was given is gone when it is tried again."""

    def changes(self: StepFailed, state: State, at: int) -> dict[str, Any]:
        changed = right_step_failed(self, state, at)
        failed = changed["steps"][self.step]
        if failed.loop is not None:
            changed["steps"] = {
                **changed["steps"],
                self.step: replace(failed, loop=replace(failed.loop, received=None)),
            }
        return changed

    patch.setattr(StepFailed, "changes", changes)


def within_stands_still_in_pauses(patch: Patch) -> None:
    """After a pause, all of the time is left again."""
    right = Unpaused.changes

    def changes(self: Unpaused, state: State, at: int) -> dict[str, Any]:
        steps = {
            key: step if step.loop is None else replace(step, loop=replace(step.loop, began_at=at))
            for key, step in state.steps.items()
        }
        return {**right(self, state, at), "steps": steps}

    patch.setattr(Unpaused, "changes", changes)


def exhausted_one_round_late(patch: Patch) -> None:
    """One round more than there are."""
    right = engine.is_exhausted

    def late(graph: Graph, state: State, step: str, now: int) -> bool:
        known = state.steps[step]
        fewer = known.loop and replace(known.loop, rounds=known.loop.rounds - 1)
        return right(graph, evolve(state, steps={**state.steps, step: replace(known, loop=fewer)}), step, now)

    patch.setattr(engine, "is_exhausted", late)


def rounds_early(graph: Graph, state: State, now: int, in_flight: Collection[str] = ()) -> tuple[Command, ...]:
    """A round begins a minute before its time."""
    steps = {
        key: replace(step, retry_at=step.retry_at - 60_000) if step.status == "looping" and step.retry_at else step
        for key, step in state.steps.items()
    }
    return right_advance(graph, evolve(state, steps=steps), now, in_flight)


def named_rounds_are_free(patch: Patch) -> None:
    """A round that was named in the commit of the one before has not begun where its owner died."""
    right = executor._Execution.recover  # noqa: SLF001 - made wrong on purpose

    def recover(self: Any) -> None:
        self.interrupted = tuple(one for one in self.interrupted if parse(one).round == 1)
        right(self)

    patch.setattr(executor._Execution, "recover", recover)  # noqa: SLF001 - made wrong on purpose


def carries_written_once(patch: Patch) -> None:
    """The value of a carry is not named by its round: after a crash, an old one is read."""
    right = values._carry  # noqa: SLF001 - made wrong on purpose

    def carry(given: Any, activation: str, _rounds: int) -> tuple[str, bytes] | None:
        found = right(given, activation, 1)
        return found and (found[0][:40], found[1])

    patch.setattr(values, "_carry", carry)


def carry_removed_too_early(patch: Patch) -> None:
    """The carry of the round before is removed before the head names the new one."""
    right = Store.commit

    def commit(self: Store, after: State, entry: Entry, writes: Sequence[Any] = ()) -> State | None:
        done = right(self, after, entry, writes)
        for event in entry.events if done is not None else ():
            if isinstance(event, RoundEnded) and parse(event.activation).round > 1:
                prefix = carry_prefix(after.line(event.step), parse(event.activation).round - 1)
                self.values.forget(after.instance_id, after.life, prefix)
        return done

    patch.setattr(Store, "commit", commit)


def old_links_work(patch: Patch) -> None:
    """A link that an earlier round made is good for this one."""
    right = answer.check_link
    patch.setattr(answer, "check_link", lambda at, state, link: right(at, state, replace(link, activation="")))


def answers_beat_events(patch: Patch) -> None:
    """What a check comes to goes before an event that was accepted meanwhile."""
    patch.setattr(outcomes.Judge, "overtaken", lambda self, event, state: event)


def ends_wait_for_the_next_attempt(patch: Patch) -> None:
    """What ends a poll between two attempts is looked at when the next is due."""
    patch.setattr(instances, "TIMED", ())


def unfinished_loops_undone_last(patch: Patch) -> None:
    """What had not ended is undone as if it had ended first."""
    patch.setattr(engine, "LATEST", 0)


def dropped_without_a_word(patch: Patch) -> None:
    """The events that a step leaves behind are told of nowhere."""
    patch.setattr(engine, "_drops", lambda agenda, state: ())


def unfinished_loops_not_undone(patch: Patch) -> None:
    """Only what has completed is undone."""
    right = engine.compensable

    def compensable(graph: Graph, state: State) -> tuple[str, ...]:
        return tuple(step for step in right(graph, state) if state.step_status(step) == "completed")

    patch.setattr(engine, "compensable", compensable)


def rounds_share_a_key(patch: Patch) -> None:
    """An idempotency key does not say which round it is."""

    def name(instance_id: str, life: str, activation: str) -> str:
        return name_in_life(instance_id, life, replace(parse(activation), round=1).text)

    patch.setattr(contexts, "name_in_life", name)


def redrive_repeats_rounds(patch: Patch) -> None:
    """A step that has had all its rounds has them again in the same epoch."""
    right = plans.redriven

    def redriven(graph: Graph, state: State) -> Redriven:
        found = right(graph, state)
        spent = [key for key, step in state.steps.items() if step.loop is not None and step.status == "failed"]
        return replace(found, again=tuple(step for step in found.again if step not in spent))

    patch.setattr(redrive, "redriven", redriven)


def fork_forgets_rounds(patch: Patch) -> None:
    """A fork takes over a step as if it had had one round."""
    right = fork._fork  # noqa: SLF001 - made wrong on purpose

    def taking_over(*args: Any, **options: Any) -> Forked:
        forked = right(*args, **options)
        return replace(forked, completed=tuple(replace(done, loop=None) for done in forked.completed))

    patch.setattr(fork, "_fork", taking_over)


def checkpoints_skipped_after_a_death(patch: Patch) -> None:
    """Who takes over from a dead owner leaves results to the next commit, as that one did."""
    patch.setattr(Claimed, "changes", lambda self, state, at: {**right_claimed(self, state, at), "careful": 0})


def parked_deaths_forgotten(patch: Patch) -> None:
    """What a dead owner left is parked, and its next owner knows of no death."""
    right = Parked.changes
    patch.setattr(Parked, "changes", lambda self, state, at: {**right(self, state, at), "careful": state.careful})


def parked_deaths_blamed(patch: Patch) -> None:
    """What a dead owner left is parked, and the only one that was named is blamed, although others ran after it."""
    right = Parked.changes
    patch.setattr(Parked, "changes", lambda self, state, at: {**right(self, state, at), "careful": CAREFUL})


def named_alone_after_unnamed(patch: Patch) -> None:
    """The only one that was named is blamed for a death, although others ran after it."""
    patch.setattr(executor._Execution, "is_named", lambda self, activation: True)  # noqa: SLF001 - made wrong on purpose


def neighbours_unnamed(patch: Patch) -> None:
    """A step that is checkpointed is named without those that run beside it."""

    def name(self: Any, activations: Iterable[str] = ()) -> None:
        if unnamed := tuple(one for one in activations if one not in self.draft.running):
            self.journal.decide(StepsStarted(unnamed))

    patch.setattr(executor._Execution, "name", name)  # noqa: SLF001 - made wrong on purpose


def isolation_over_before_its_commit(patch: Patch) -> None:
    """What ran alone after a death has come to its end, and others run before that is committed."""
    right = executor._Execution.defers  # noqa: SLF001 - made wrong on purpose

    def defers(self: Any, runs: Sequence[Run], now: int) -> bool:
        committed, journal = self.journal.committed, self.journal
        journal.committed = evolve(committed, isolated=self.draft.isolated)
        try:
            return right(self, runs, now)
        finally:
            journal.committed = committed

    patch.setattr(executor._Execution, "defers", defers)  # noqa: SLF001 - made wrong on purpose


def writes_without_what_led_to_them(patch: Patch) -> None:
    """A step's writes are committed, the results of the steps before it are not."""
    right = executor._Execution.write  # noqa: SLF001 - made wrong on purpose

    def write(self: Any, *outcome: Any) -> None:
        self.journal.drop()
        right(self, *outcome)

    patch.setattr(executor._Execution, "write", write)  # noqa: SLF001 - made wrong on purpose


def results_lost_at_suspension(patch: Patch) -> None:
    """An owner that suspends commits that, and not what was left."""
    right = executor._Execution.commit  # noqa: SLF001 - made wrong on purpose

    def commit(self: Any, *closing: Any, writes: Sequence[Any] = ()) -> bool:
        if any(isinstance(event, Suspended) for event in closing) and self.journal.unnamed:
            self.journal.drop()
        return bool(right(self, *closing, writes=writes))

    patch.setattr(executor._Execution, "commit", commit)  # noqa: SLF001 - made wrong on purpose


def results_lost_to_another_writer(patch: Patch) -> None:
    """What was left to a commit whose number another writer took is forgotten."""
    right = journal.Journal.rebase

    def rebase(self: journal.Journal) -> None:
        self.unnamed.clear()
        right(self)

    patch.setattr(journal.Journal, "rebase", rebase)


def left_for_ever(patch: Patch) -> None:
    """Results are left to the next boundary, however long that takes."""
    patch.setattr(executor, "LONGEST_DEFERRED_MS", 1 << 60)


def everything_left(patch: Patch) -> None:
    """What runs at most once, is undone or has rounds is left to the next commit, too."""
    patch.setattr(Declared, "is_kept", False)


# By bug: the rules of which the simulator must find one broken.
# --- Maps ---

right_item_done = ItemCompleted.changes


def _item_ends(change: Callable[[State, ItemCompleted, dict[str, Any]], None], name: str) -> Callable[[Patch], None]:
    """A bug in what the end of an item changes."""

    def changes(self: ItemCompleted, state: State, at: int) -> dict[str, Any]:
        found = right_item_done(self, state, at)
        change(state, self, found)
        return found

    def switch_on(patch: Patch) -> None:
        patch.setattr(ItemCompleted, "changes", changes)

    switch_on.__name__, switch_on.__doc__ = name, change.__doc__
    return switch_on


def _counted_twice(_state: State, event: ItemCompleted, found: dict[str, Any]) -> None:
    """An item's event is counted twice."""
    known = found["steps"][event.step]
    twice = {**known.mapped.events, event.event: known.mapped.events[event.event] + 1}
    found["steps"][event.step] = replace(known, mapped=replace(known.mapped, events=twice))


def _event_kept(_state: State, _event: ItemCompleted, found: dict[str, Any]) -> None:
    """The event that an item was given stays there."""
    found.pop("inbox", None)


def results_of_another_item(patch: Patch) -> None:
    """What an item left is taken for what another left."""
    right = items_left

    def left(reader: Any, state: State, step: str, place: int | None = None, decided: Any = ()) -> Any:
        every = list(right(reader, state, step, None, decided))
        moved = [*every[1:], *every[:1]]
        return iter(moved if place is None else [moved[place]])

    patch.setattr(executor, "items_left", left)


def tolerates_one_more(patch: Patch) -> None:
    """A failure above the tolerance is tolerated."""
    for module in (map_items, inbox):
        patch.setattr(module, "is_stopped", lambda graph, state, step: False)


def too_many_at_once(patch: Patch) -> None:
    """What waits or runs takes no place."""
    patch.setattr(map_items, "spread_of", lambda graph, step: graph.maps[step]._replace(concurrency=1_000))


def items_left_undone(patch: Patch) -> None:
    """The completed items of a map are not undone."""
    patch.setattr(engine, "due_undos", lambda *_: ())
    patch.setattr(engine, "is_undone", lambda *_: True)


def completed_items_again(patch: Patch) -> None:
    """A redrive repeats the items that have completed, too."""

    def again(self: Mapped) -> Mapped:
        return Mapped(self.items, self.keys, self.initial, NOT_ENDED * len(self.ends), (0,) * len(self.ends))

    patch.setattr(Mapped, "again", again)


def no_epoch_of_items(patch: Patch) -> None:
    """An item that runs again after it was undone has the name that it had before."""
    patch.setattr(State, "item", lambda _, step, key, undo=False: text_of_item(step, 0, key, undo=undo))


def over_while_it_runs(patch: Patch) -> None:
    """A map ends before the items under way have."""
    patch.setattr(engine, "has_ended", lambda graph, state, step, _: map_items.has_ended(graph, state, step, ()))


def items_are_deaf(patch: Patch) -> None:
    """No event reaches an item that waits, only its time does."""
    given = map_items.given_items

    def timed(graph: Graph, state: State, step: str, now: int, in_flight: Collection[str]) -> Any:
        return given(graph, evolve(state, inbox={}), step, now, in_flight)

    patch.setattr(engine, "given_items", timed)


def items_wake_no_one(patch: Patch) -> None:
    """An event for an item that waits brings no alarm forward."""
    patch.setattr(State, "waits", lambda self, line: "[" not in line and self.step_status(step_of(line)) == "waiting")


def items_are_not_isolated(patch: Patch) -> None:
    """Items that died beside others run beside others again."""
    changes = StepsIsolated.changes

    def isolated(self: StepsIsolated, state: State, at: int) -> dict[str, Any]:
        found = changes(self, state, at)
        return {**found, "isolated": tuple([one for one in found["isolated"] if "[" not in one])}

    patch.setattr(StepsIsolated, "changes", isolated)


def places_mixed_up(patch: Patch) -> None:
    """An item is given what is another's."""
    patch.setattr(
        Mapped, "place", lambda self, key: 0 if key in {self.key(at) for at in range(len(self.ends))} else None
    )


def forks_take_no_items(patch: Patch) -> None:
    """A fork does not take over what the items left."""
    right = fork._with_items  # noqa: SLF001 - made wrong on purpose

    def without_left(instances: Any, source: State) -> State:
        whole = right(instances, source)
        steps = {
            key: step
            if step.mapped is None
            else replace(step, mapped=replace(step.mapped, left=[None] * len(step.mapped.ends)))
            for key, step in whole.steps.items()
        }
        return evolve(whole, steps=steps)

    patch.setattr(fork, "_with_items", without_left)


def items_begin_unnamed(patch: Patch) -> None:
    """No commit names the items before they begin."""
    changes = StepsStarted.changes

    def started(self: StepsStarted, state: State, at: int) -> dict[str, Any]:
        return changes(replace(self, activations=tuple([one for one in self.activations if "[" not in one])), state, at)

    patch.setattr(StepsStarted, "changes", started)


def items_repeat_what_is_decided(patch: Patch) -> None:
    """What an item's wait came to is not decided again when an event came in first."""
    derived = journal.Journal._is_derived  # noqa: SLF001 - made wrong on purpose

    def is_derived(self: Any, event: Any, decided: Any) -> bool:
        return not isinstance(event, ItemCompleted) and derived(self, event, decided)

    patch.setattr(journal.Journal, "_is_derived", is_derived)


def used_requests_of_items_are_remembered(patch: Patch) -> None:
    """What an item has consumed is not asked for again once its map begins anew."""
    patch.setattr(of_items, "requests_of", lambda timers, received: ())
    patch.setattr(steps_events, "_used_by_items", lambda state, step: ())


def items_see_the_steps(patch: Patch) -> None:
    """An item sees what the steps before its map left."""

    def own_steps(self: contexts.Source) -> Any:
        return {key: known.results for key, known in self.state.steps.items() if known.event}

    patch.setattr(contexts.Source, "own_steps", own_steps)


BUGS: Final[dict[Callable[[Any], None], tuple[str, ...]]] = {
    claim_without_condition: ("invariant 1", "invariant 9"),
    own_commit_not_recognised: ("invariant 2", "invariant 9", "invariant 5", "invariant 7", "the engine's own rules"),
    schedule_before_commit: ("DESIGN 6",),
    no_token_on_timeouts: ("invariant 6",),
    snapshot_one_entry_old: ("invariant 9",),
    snapshot_loses_a_field: ("invariant 9",),
    head_before_log: ("invariant 9", "invariant 1", "alarm"),
    strip_before_head: ("alarm",),
    alarm_cleared_without_condition: ("alarm",),
    head_overwritten_by_a_slow_owner: ("invariant 9", "alarm"),
    claim_leaves_a_far_alarm: ("alarm",),
    outsiders_carry_no_alarm: ("alarm",),
    value_removed_too_early: ("invariant 9",),
    life_reused: ("invariant 8", "invariant 9", "invariant 1", "the engine's own rules"),
    index_key_missing: ("invariant 9",),
    redriven_instances_expire: ("invariant 8",),
    lease_ignored: ("invariant 2",),
    not_fenced: ("invariant 2", "invariant 9", "the engine's own rules"),
    events_not_remembered: ("invariant 5",),
    requests_not_remembered: ("invariant 5",),
    window_forgets_too_early: ("invariant 5",),
    other_requests_taken_for_repeats: ("invariant 5",),
    starts_not_remembered: ("invariant 5",),
    acknowledged_before_commit: ("invariant 5", "invariant 3"),
    interrupted_attempts_are_free: ("invariant 2", "at most once"),
    choices_are_not_counted: ("invariant 3",),
    starts_before_commit: ("invariant 2",),
    writes_beside_the_entry: ("invariant 7",),
    writes_forgotten: ("invariant 7",),
    alarms_not_found: ("invariant 3",),
    clocks_trusted: ("invariant 1",),
    at_most_once_tried_again: ("at most once",),
    compensated_in_order_of_completion: ("compensation",),
    compensation_forgotten: ("compensation", "on_failure"),
    fail_taken_for_done: ("FAIL",),
    _advancing(fail_waits_for_its_turn): ("FAIL",),
    output_of_the_first: ("output",),
    output_deaths_are_free: ("invariant 3",),
    output_failure_forgotten: ("output",),
    on_failure_before_compensation: ("on_failure",),
    on_failure_forgotten: ("on_failure",),
    on_failure_of_the_cancelled: ("on_failure",),
    _advancing(timeout_early): ("timeout",),
    _advancing(timeout_forgotten): ("timeout", "invariant 3", "alarm"),
    _advancing(timeout_without_consequence): ("timeout",),
    _advancing(pause_ignored): ("pause",),
    _advancing(cancellation_ignored): ("cancel", "invariant 3"),
    _advancing(dead_paths_ignored): ("invariant 4",),
    _advancing(eager_join): ("invariant 4",),
    _advancing(events_unheard): ("invariant 5", "invariant 3"),
    _advancing(deadlines_early): ("invariant 6",),
    _advancing(alarm_forgotten): ("invariant 3",),
    closes_over_running_steps: ("invariant 4",),
    **{
        snapshot_loses(kind, name): ("invariant 9",)
        for kind, name in (
            (State, "choosing"),
            (State, "running"),
            (State, "isolated"),
            (State, "timers_set"),
            (State, "metadata"),
            (State, "links"),
            (State, "forked_from"),
            (State, "output_of"),
            (State, "output"),
            (State, "verdict"),
            (State, "deadline"),
            (State, "timeout_ms"),
            (State, "parks"),
            (StepState, "failed"),
            (StepState, "ended_at"),
            (StepState, "fail"),
            (Timer, "beaten"),
            (Timer, "scheduled"),
            (Compensation, "attempt"),
            (Compensation, "then"),
        )
    },
    rebase_keeps_derived_decisions: ("pause", "invariant 4", "invariant 5", "invariant 2"),
    compensation_shares_the_key_of_its_step: ("idempotency keys",),
    retries_share_a_schedule: ("DESIGN 6",),
    status_events_lost_in_a_crash: ("status events",),
    status_events_lost_by_the_bus: ("status events",),
    head_held_back_by_the_bus: ("invariant 3",),
}
# Few of the random workflows get where these show: an instance that was undone and goes on.
AFTER_COMPENSATION: Final[dict[Callable[[Any], None], tuple[str, ...]]] = {
    links_forgotten: ("invariant 5",),
    events_lost_with_their_step: ("invariant 5",),
    events_lost_with_their_path: ("invariant 5",),
    undone_requests_remembered: ("invariant 5",),
    snapshot_loses(State, "epochs"): ("invariant 9",),
    redrive_repeats_an_epoch: ("idempotency keys",),
    redrive_repeats_what_failed_on_purpose: ("invariant 2", "invariant 5"),
    redrive_does_not_renew_the_timeout: ("timeout", "invariant 3"),
    on_failure_once_a_life: ("on_failure",),
    output_before_the_claim: ("invariant 2",),
    inbox_keyed_by_step: ("invariant 5", "invariant 3"),
    text_without_epoch: ("idempotency keys",),
    fork_drops_the_epoch: ("fork",),
    ties_undone_in_the_order_of_the_graph: ("compensation",),
}
# On steps side by side whose Lambdas die.
OF_DEATHS: Final[dict[Callable[[Any], None], tuple[str, ...]]] = {
    innocents_spend_attempts: ("A.2",),
    isolation_forgotten_by_the_second_death: ("A.2",),
    two_run_in_isolation: ("A.2",),
    innocents_spend_calls: ("A.2",),
}
# On the workflows whose results are left to the next commit.
OF_CHECKPOINTS: Final[dict[Callable[[Any], None], tuple[str, ...]]] = {
    checkpoints_skipped_after_a_death: ("E.1",),
    parked_deaths_forgotten: ("E.1", "invariant 2"),
    parked_deaths_blamed: ("E.1",),
    named_alone_after_unnamed: ("E.1",),
    neighbours_unnamed: ("E.1",),
    isolation_over_before_its_commit: ("E.1",),
    writes_without_what_led_to_them: ("invariant 4", "invariant 2"),
    results_lost_at_suspension: ("E.1", "invariant 2", "invariant 3"),
    results_lost_to_another_writer: ("invariant 2", "invariant 4", "E.1"),
    left_for_ever: ("E.1",),
    everything_left: ("invariant 2",),
    snapshot_loses(State, "careful"): ("invariant 9",),
}
# On the workflows that have loops.
OF_LOOPS: Final[dict[Callable[[Any], None], tuple[str, ...]]] = {
    _round_ends(_old_carry, "old_carry"): ("rounds",),
    _round_ends(_uncounted, "rounds_not_counted"): ("rounds", "invariant 2", "idempotency keys"),
    _round_ends(_not_anew, "attempts_not_begun_anew"): ("rounds", "invariant 2"),
    _round_ends(_old_timers, "old_timers_for_the_new_round"): ("rounds",),
    _round_ends(_line_lost, "line_lost_at_the_end_of_a_round"): ("invariant 5",),
    _round_ends(_within_anew, "within_counted_from_each_round"): ("rounds",),
    _round_ends(_not_taken, "event_of_the_line_taken_twice"): ("invariant 5",),
    _round_ends(_not_given, "event_lost_at_the_end_of_a_round"): ("rounds",),
    retries_without_their_event: ("rounds",),
    within_stands_still_in_pauses: ("rounds",),
    exhausted_one_round_late: ("rounds",),
    _advancing(rounds_early): ("rounds",),
    named_rounds_are_free: ("invariant 2", "at most once"),
    carries_written_once: ("invariant 9", "rounds"),
    carry_removed_too_early: ("invariant 9",),
    old_links_work: ("rounds",),
    answers_beat_events: ("invariant 5",),
    ends_wait_for_the_next_attempt: ("alarm", "invariant 3"),
    unfinished_loops_undone_last: ("compensation",),
    dropped_without_a_word: ("invariant 5", "invariant 3"),
    unfinished_loops_not_undone: ("compensation",),
    rounds_share_a_key: ("idempotency keys",),
    redrive_repeats_rounds: ("invariant 2", "rounds", "idempotency keys", "invariant 5"),
    fork_forgets_rounds: ("fork",),
    **{
        snapshot_loses(kind, name): ("invariant 9",)
        for kind, name in (
            (State, "lines"),
            (StepState, "loop"),
            (Loop, "carry"),
            (Loop, "began_at"),
            (Loop, "quick"),
            (Loop, "received"),
            (Loop, "requests"),
            (Received, "only"),
        )
    },
}
# On the workflows that have maps.
OF_MAPS: Final[dict[Callable[[Any], None], tuple[str, ...]]] = {
    _item_ends(_counted_twice, "items_counted_twice"): ("maps",),
    _item_ends(_event_kept, "event_of_an_item_kept"): ("invariant 5",),
    results_of_another_item: ("maps",),
    tolerates_one_more: ("maps",),
    too_many_at_once: ("maps",),
    items_left_undone: ("compensation",),
    completed_items_again: ("invariant 2",),
    no_epoch_of_items: ("invariant 2", "idempotency keys"),
    over_while_it_runs: ("maps",),
    items_are_deaf: ("invariant 5", "invariant 3"),
    items_wake_no_one: ("invariant 3", "alarm"),
    items_are_not_isolated: ("A.2",),
    places_mixed_up: ("maps",),
    forks_take_no_items: ("fork",),
    items_begin_unnamed: ("invariant 2",),
    items_repeat_what_is_decided: ("invariant 5", "invariant 2"),
    used_requests_of_items_are_remembered: ("invariant 5",),
    items_see_the_steps: ("maps",),
}
