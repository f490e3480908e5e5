"""Deliberate bugs, one at a time: each makes the engine, or what it stands on, wrong in one way."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus import codec
from hephaestus.adapters.memory import MemoryStore
from hephaestus.codec import dump_state
from hephaestus.engine import advance as engine
from hephaestus.engine import plans, requests
from hephaestus.engine import state as state_of_the_engine
from hephaestus.engine.activation import name_in_life, step_of, text_of, token_of
from hephaestus.engine.advance import Close, Deliver, Run, Skip, Sleep
from hephaestus.engine.events import Entry, EventReceived, Forked, Redriven, StepFailed, StepsSkipped
from hephaestus.engine.fold import following
from hephaestus.engine.requests import repeats
from hephaestus.engine.state import Compensation, State, StepState, Timer, evolve, without
from hephaestus.runtime import effects, executor, instances, journal, outcomes, runner, waking
from hephaestus.runtime.commands import cancel, deliver, fork, pause, redrive
from hephaestus.runtime.effects import Effects
from hephaestus.runtime.ports import OverduePage
from hephaestus.simulation.ports import SimulatedStore, guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    import pytest

    from hephaestus.engine.advance import Command
    from hephaestus.engine.graph import Graph
    from hephaestus.runtime.ports import Timeout

    Patch = pytest.MonkeyPatch

right_advance = engine.advance
right_append = MemoryStore.append
right_create = MemoryStore.create
right_prepare = Effects.prepare
right_received = EventReceived.changes
right_redriven = Redriven.changes
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

    def append(self: MemoryStore, state: State, entry: Entry, **options: Any) -> bool:
        log = self._logs[state.instance_id, state.generation]
        del log[entry.sequence - 1 :]
        return right_append(self, state, entry, **options)

    patch.setattr(MemoryStore, "append", append)


def own_commit_not_recognised(patch: Patch) -> None:
    """A writer whose answer was lost takes its own entry for somebody else's."""

    def append(self: MemoryStore, state: State, entry: Entry, **options: Any) -> bool:
        taken = len(self._logs[state.instance_id, state.generation]) >= entry.sequence
        return not taken and right_append(self, state, entry, **options)

    patch.setattr(MemoryStore, "append", append)


def schedule_before_commit(patch: Patch) -> None:
    """Schedules are made before the commit that decides them."""

    def prepare(self: Effects, before: State, entry: Entry, after: State) -> None:
        right_prepare(self, before, entry, after)
        self.perform(before, entry, after)

    patch.setattr(Effects, "prepare", prepare)


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

    def append(self: MemoryStore, state: State, entry: Entry, *, boundary: bool, **options: Any) -> bool:
        before = self.load(state.instance_id)
        written = right_append(self, state, entry, boundary=boundary, **options)
        if written and boundary and before is not None and before.generation == state.generation:
            head = self._heads[state.instance_id]
            head.snapshot, head.owner = type(head)(before, "").snapshot, None
        return written

    patch.setattr(MemoryStore, "append", append)


def non_atomic_suspend(patch: Patch) -> None:
    """A boundary is two writes: the entry, and some time after it the head."""

    def append(self: SimulatedStore, state: State, entry: Entry, *, boundary: bool, writes: Sequence[Any] = ()) -> bool:
        def write(*, head: bool) -> bool:
            written = self.inner.append(state, entry, boundary=False, writes=writes)
            if head and written:
                self.inner._heads[state.instance_id].update(state, dump_state(state))  # noqa: SLF001 - made wrong on purpose
            guarded(self.world, lambda: self.ledger.observe(state.instance_id, compare=head or not boundary))
            return written

        self.ledger.wrote(entry.commit_id, self.world.invocation)
        written = self.calls.write("append", lambda: write(head=False))
        if boundary and written:
            self.calls.write("update the head", lambda: write(head=True))
        return written

    patch.setattr(SimulatedStore, "append", append)


def lease_ignored(patch: Patch) -> None:
    """Nobody asks whether an owner lives."""
    patch.setattr(State, "owned", lambda self, now: False)


def not_fenced(patch: Patch) -> None:
    """Whoever lost the instance to another owner goes on."""
    right = journal.Journal.rebase

    def rebase(self: journal.Journal) -> None:
        tail = self.store.tail(self.committed)
        for entry in tail:
            self.owner = next((event.owner for event in entry.events if hasattr(event, "owner")), self.owner)
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

    def create(self: MemoryStore, state: State, first: Entry) -> State | None:
        created = right_create(self, state, first)
        self._heads[state.instance_id].earlier_commits = ()
        return created

    patch.setattr(MemoryStore, "create", create)


def acknowledged_before_commit(patch: Patch) -> None:
    """A call from outside does not look whether its commit was written."""

    def append(self: instances.Instances, state: State, now: int, *events: Any) -> State | None:
        after, entry = following(state, self.clock.unique(), now, events)
        self.store.append(after, entry, boundary=True)
        return after

    patch.setattr(instances.Instances, "append", append)


def interrupted_attempts_are_free(patch: Patch) -> None:
    """A step that died with its Lambda starts with the same attempt again."""
    patch.setattr(executor._Execution, "recover", lambda self: None)  # noqa: SLF001 - made wrong on purpose


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

    def append(self: MemoryStore, state: State, entry: Entry, *, boundary: bool, writes: Sequence[Any] = ()) -> bool:
        if writes:
            self._write(writes)
        return right_append(self, state, entry, boundary=boundary)

    patch.setattr(MemoryStore, "append", append)


def writes_forgotten(patch: Patch) -> None:
    """A step's result is committed, its writes are not."""

    def append(self: MemoryStore, state: State, entry: Entry, *, boundary: bool, writes: Sequence[Any] = ()) -> bool:
        return right_append(self, state, entry, boundary=boundary)

    patch.setattr(MemoryStore, "append", append)


def alarms_not_found(patch: Patch) -> None:
    """The sweep finds nothing."""
    patch.setattr(MemoryStore, "overdue", lambda self, now, limit, cursor=None: OverduePage((), None))


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

    def name(instance_id: str, generation: int, activation: str) -> str:
        return name_in_life(instance_id, generation, activation.removesuffix("!undo"))

    patch.setattr(executor, "name_in_life", name)


def retries_share_a_schedule(patch: Patch) -> None:
    """The name of a retry's schedule does not say which retry it is."""
    right = token_of
    patch.setattr(effects, "token_of", lambda activation, what: right(activation, what.rstrip("0123456789")))


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


def inbox_keyed_by_step(patch: Patch) -> None:
    """An accepted event is kept for the step's first activation, whichever will wait."""

    def changes(self: EventReceived, state: State, at: int) -> dict[str, Any]:
        changed = right_received(self, state, at)
        received = changed["inbox"].pop(self.activation)
        return {**changed, "inbox": {**changed["inbox"], self.step: received}}

    patch.setattr(EventReceived, "changes", changes)


def text_without_epoch(patch: Patch) -> None:
    """The text of an activation does not say which epoch it is of."""
    patch.setattr(state_of_the_engine, "text_of", lambda step, epoch=0, *, undo=False: text_of(step, undo=undo))


def fork_drops_the_epoch(patch: Patch) -> None:
    """A fork takes over a step as if it had never been undone."""
    right = fork._fork  # noqa: SLF001 - made wrong on purpose

    def taking_over(*args: Any, **options: Any) -> Forked:
        forked = right(*args, **options)
        return replace(forked, completed=tuple(replace(done, activation=done.step) for done in forked.completed))

    patch.setattr(fork, "_fork", taking_over)


# By bug: the rules of which the simulator must find one broken.
BUGS: Final[dict[Callable[[Any], None], tuple[str, ...]]] = {
    claim_without_condition: ("invariant 1", "invariant 9"),
    own_commit_not_recognised: ("invariant 2", "invariant 9", "invariant 5", "invariant 7", "the engine's own rules"),
    schedule_before_commit: ("DESIGN 6",),
    no_token_on_timeouts: ("invariant 6",),
    snapshot_one_entry_old: ("invariant 9",),
    non_atomic_suspend: ("invariant 9", "invariant 3"),
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
    compensation_forgotten: ("compensation",),
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
            (State, "timers_set"),
            (State, "metadata"),
            (State, "tags"),
            (State, "links"),
            (State, "forked_from"),
            (State, "parks"),
            (StepState, "failed"),
            (StepState, "ended_at"),
            (Timer, "beaten"),
            (Timer, "scheduled"),
            (Compensation, "attempt"),
        )
    },
    rebase_keeps_derived_decisions: ("pause", "invariant 4", "invariant 5", "invariant 2"),
    compensation_shares_the_key_of_its_step: ("idempotency keys",),
    retries_share_a_schedule: ("DESIGN 6",),
    ties_undone_in_the_order_of_the_graph: ("compensation",),
}
# Few of the random workflows get where these show: an instance that was undone and goes on.
AFTER_COMPENSATION: Final[dict[Callable[[Any], None], tuple[str, ...]]] = {
    links_forgotten: ("invariant 5",),
    events_lost_with_their_step: ("invariant 5",),
    events_lost_with_their_path: ("invariant 5",),
    undone_requests_remembered: ("invariant 5",),
    snapshot_loses(State, "epochs"): ("invariant 9",),
    redrive_repeats_an_epoch: ("idempotency keys",),
    inbox_keyed_by_step: ("invariant 5", "invariant 3"),
    text_without_epoch: ("idempotency keys",),
    fork_drops_the_epoch: ("fork",),
}
