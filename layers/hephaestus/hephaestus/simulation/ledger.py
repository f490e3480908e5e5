"""Reads every log entry as it is written, and holds it against the invariants.

Of the engine it uses the fold, whose result it compares with what the store gives, and the graph as data.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

from hephaestus.engine.activation import name_in_life, parse, step_of, text_of_item
from hephaestus.engine.events import (
    Forked,
    InstanceStarted,
    ItemCompleted,
    ItemUndone,
    MapBegun,
    OnFailureCompleted,
    PartEnded,
    PartResumed,
    Redriven,
    RoundEnded,
    StepCompensated,
    StepCompleted,
    UndoRequested,
)
from hephaestus.engine.events.children import LOST
from hephaestus.engine.fold import apply, begin, fold
from hephaestus.engine.inbox import as_results
from hephaestus.engine.records import NOTHING
from hephaestus.engine.state import State, evolve, left_by
from hephaestus.errors import CorruptLog
from hephaestus.simulation import kinship
from hephaestus.simulation.books import Book
from hephaestus.simulation.checks import (
    Check,
    Generation,
    check_alarm,
    check_head,
    check_inbox,
    check_round_end,
    defers,
    needed_at,
)
from hephaestus.simulation.entrances import Entrances
from hephaestus.simulation.numberings import Numberings
from hephaestus.simulation.saga import nets_to_zero
from hephaestus.simulation.standstills import Standstills
from hephaestus.simulation.timekeeper import Timekeeper
from hephaestus.simulation.trees import Trees
from hephaestus.simulation.turnstiles import Turnstiles
from hephaestus.simulation.violation import Violation, require
from hephaestus.simulation.world import MAX_SKEW_MS, SWEEP_MS
from hephaestus.store.keys import HEAD, LAST_NUMBER, MAIL, end_of, log_key
from hephaestus.store.paused import PAUSED
from hephaestus.store.permits import is_limit
from hephaestus.store.reader import Reader
from hephaestus.store.reservations import is_rate
from hephaestus.store.values import Values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hephaestus.definition.context import StepContext
    from hephaestus.definition.definition import Definition
    from hephaestus.definition.step import Step
    from hephaestus.engine.events import Claimed, Entry, Event
    from hephaestus.runtime.ports import Timeout
    from hephaestus.simulation.world import Invocation, World
    from hephaestus.store.store import Store
    from hephaestus.store.table import Item, Key, Table

    Work: TypeAlias = tuple[str, str, str, int, int, bool]

T = TypeVar("T")
ALL: Final = 1_000_000
LONGEST_MS: Final = 10_000  # after a commit, within which steps start that none names
SOON_MS: Final = 1_000
WRITING: Final = (StepCompleted, RoundEnded, ItemCompleted, ItemUndone, StepCompensated, OnFailureCompleted)
_FIELDS: Final = tuple(field.name for field in fields(State) if field.compare)


class Reads:
    """Reads a table, and knows whether it would give the same again: then what was made of it would be the same."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._made: list[tuple[Callable[[], object], object]] = []

    def give_the_same(self) -> bool:
        """Whether every read gives what it gave."""
        return all(read() == given for read, given in self._made)

    def get(self, pk: str, sk: str) -> Item | None:
        """See ``Table``."""
        return self._read(lambda: self._table.get(pk, sk))

    def get_many(self, keys: Sequence[Key], attributes: Sequence[str]) -> list[Item]:
        """See ``Table``."""
        return self._read(lambda: self._table.get_many(keys, attributes))

    def query(
        self, pk: str, *, low: str, high: str, limit: int | None = None, descending: bool = False
    ) -> Sequence[Item]:
        """See ``Table``."""
        return self._read(lambda: self._table.query(pk, low=low, high=high, limit=limit, descending=descending))

    def _read(self, read: Callable[[], T]) -> T:
        given = read()
        self._made.append((read, given))
        return given


class Ledger:
    """The books of one run.

    Attributes:
        generations: by instance and life.
        newest: the newest generation of each instance.
        unreadable: the instances that could not be read at some time.
        kids: the activations that children were started by, with the life of the parent, by the child's id.
        trees: the maps whose items are in several instances.
    """

    def __init__(self, world: World, store: Store, definition: Callable[[State], Definition]) -> None:
        self.world = world
        self.store = store
        self.definition = definition
        self.generations: dict[tuple[str, str], Generation] = {}
        self.newest: dict[str, Generation] = {}
        self.unreadable: set[str] = set()
        self.kids: dict[str, tuple[str, str]] = {}
        self.numberings = Numberings(self)
        self.turnstiles = Turnstiles(self)
        self.entrances = Entrances(self)
        self.timekeeper = Timekeeper(self)
        self.trees = Trees(self)
        self.standstills = Standstills(self)
        self._keys: dict[str, Work] = {}
        self._works: dict[Work, str] = {}
        self._retries: dict[tuple[str, str, str], int] = {}
        self._writers: dict[str, Invocation | None] = {}
        self._owners: dict[str, Invocation | None] = {}
        self._alarms: dict[str, list[int]] = {}
        self._mail: dict[str, set[str]] = {}
        self._swept_at: int | None = None
        self._busy: Counter[Invocation] = Counter()

    # --- What the world tells ---

    def wrote(self, item: Item, invocation: Invocation | None) -> None:
        """An invocation has put an item: who put an entry first is its writer."""
        commit = item.get("commit_id", item.get("first_commit"))
        if isinstance(commit, str):
            self._writers.setdefault(commit, invocation)

    def _look(self, name: str) -> None:
        """Something may have changed that is about no instance: a limit, a rate, or a pause of workflows."""
        if name == PAUSED:
            self.standstills.look()
        elif is_limit(name):
            self.turnstiles.look(name)
        else:
            self.timekeeper.look(name)

    def observe(self, instance_id: str) -> None:
        """Something may have changed: read what is new, check it, and compare what is stored with what the log says.

        Raises:
            Violation: an invariant does not hold.
        """
        if is_limit(instance_id) or is_rate(instance_id) or instance_id == PAUSED:
            self._look(instance_id)
            return
        known = self.newest.get(instance_id)
        head = self.store.table.get(instance_id, HEAD)
        self._alarms[instance_id] = self._read_alarms(instance_id)
        if head is None:
            if known is not None and not known.gone:
                self._is_gone(known)
            return
        number, life = int(str(head["generation"])), str(head["life"])
        if known is None or life != known.state.life:
            if known is not None:
                require(known.state.closed, "invariant 8", f"{instance_id} began anew although it had not ended")
                kept = known.state.attached and not known.gone
                require(not kept, "derived ids", f"{instance_id} began anew although it is a child")
                require((instance_id, life) not in self.generations, "invariant 8", f"the life {life} is used again")
            _, entries = self.store.history(instance_id, None, 0, ALL) or (0, ())
            known = self._begin(instance_id, number, life, entries[0])
        for item in self.store.table.query(
            instance_id, low=log_key(life, LAST_NUMBER), high=log_key(life, known.state.sequence + 1)
        )[::-1]:
            if "ends" not in item:
                self._add(known, self.store.reader.entry_of(item))
            elif item["ends"] == "deleted":
                require(known.state.closed, "invariant 8", f"{instance_id} is deleted although it had not ended")
                return
        mail, self._mail[instance_id] = self._mail.get(instance_id, set()), self._mail_in(instance_id)
        self.trees.check_mail(known, mail - self._mail[instance_id])
        self._compare(known)
        self._check_alarm(known, head)
        if head["sequence"] == known.state.sequence:
            check_head(known.state, head)
        kinship.stays(self, known, head)

    def _is_gone(self, known: Generation) -> None:
        """An instance was deleted, or has expired."""
        instance_id = known.state.instance_id
        require(known.state.closed, "invariant 8", f"{instance_id} is gone although it had not ended")
        for (name, _), it in self.generations.items():
            it.gone = it.gone or name == instance_id
        self._writers.pop(known.entries[0].commit_id, None)  # the same start, made again, has the same name

    def put_off(self, instance_id: str, reason: str) -> None:
        """An instance was put off because it could not be read."""
        require(instance_id in self.unreadable, "invariant 9", f"a sound log was taken for a corrupt one: {reason}")

    def scheduled(self, timeout: Timeout) -> None:
        """A schedule is made."""
        generation = self.generations.get((timeout.instance_id, timeout.life))
        known = generation is not None and (timeout.token in generation.tokens or "#retry" in timeout.token)
        require(known, "DESIGN 6", f"the schedule for {timeout.token} was made before the commit that decided it")
        if "#retry" in timeout.token:
            name = (timeout.instance_id, timeout.life, timeout.token)
            due_at = self._retries.setdefault(name, timeout.due_at)
            require(due_at == timeout.due_at, "DESIGN 6", f"two retries share the schedule {timeout.token}")

    def begins(self, step: Step, context: StepContext, *, undo: bool, of: str = "") -> None:
        """A step's own code is about to run, for an item of the map ``of`` if it is set.

        Whoever lives on after its time is checked no further: its commits are fenced.
        """
        invocation = self.world.invocation
        if invocation is None or self.world.now >= invocation.ends_at:
            return
        generation = self._at_work(context, of)
        state = generation.state
        self.standstills.begins(generation, invocation)
        owner = self._owners.get(state.owner or "")
        require(owner is invocation, "invariant 2", f"step {step.key} runs in an invocation that does not own it")
        key = context.item_key
        named, line = state.activation(of or step.key, undo=undo), of or step.key
        if of:
            named, line = state.item(of, key, undo=undo), text_of_item(of, 0, key)
            require(named in state.running, "invariant 2", f"{named} runs, and no commit names it")
            require(not generation.unnamed, "E.1", f"{named} runs beside {generation.unnamed}, which no commit names")
            own = name_in_life(context.instance_id, context.instance.life, named)
            require(context.idempotency_key == own, "idempotency keys", f"{named} has {context.idempotency_key}")
        else:
            self._is_named(generation, step.key, undo=undo)
        self._has_key(generation, line, context.idempotency_key, undo=undo)
        if of:
            item = (context.item, key, context.index)
            generation.items.seen(of, key, item)
            tries = generation.items.maps[of].tries[key]
            require(context.attempt == tries + 1, "invariant 2", f"attempt {context.attempt} of {named} was not next")
        loop = generation.loops[line]
        if loop.rounds:
            early = loop.next_at > self.world.now + MAX_SKEW_MS
            require(undo or not early, "rounds", f"a round of {step.key} starts before {loop.next_at}")
            asked = not undo and kinship.is_asked(generation, step.key)
            carry = state.children[state.activation(step.key)].output if asked else loop.carry
            told = (context.round, context.carry, context.event, context.payload)
            given = ("", {}) if loop.given is None else (loop.given.event, as_results(loop.given.payload))
            wanted = (loop.rounds + 1, carry, *given)
            require(told == wanted or undo, "rounds", f"step {step.key} is given {told}, not {wanted}")
            require(context.carry == carry, "rounds", f"step {step.key} is undone with {context.carry}")
            anew = undo or context.attempt == loop.tries + 1
            require(anew, "rounds", f"round {context.round} of {step.key} is at attempt {context.attempt}")
        key = f"{context.idempotency_key}?" if kinship.is_asked(generation, step.key) else context.idempotency_key
        name = (key, line, context.attempt)
        require(name not in generation.begun, "invariant 2", f"attempt {context.attempt} of {step.key} runs twice")
        generation.begun.add(name)
        self.entrances.begins(generation)
        for books in (self.turnstiles, self.timekeeper) if step.limits and not undo else ():
            books.begins(generation, step, context, invocation, of)
        if step.semantics == "at_most_once" and not undo:
            require(context.attempt == 1, "at most once", f"step {step.key} runs for the second time")
        if step.timeout is None:
            self._busy[invocation] += 1

    def _is_named(self, generation: Generation, step: str, *, undo: bool) -> None:
        """A commit has named what runs, unless its result may be left to the next one; then that comes soon."""
        state = generation.state
        activation, may_defer = state.activation(step, undo=undo), defers(self.definition(state), step)
        if activation in state.running:
            alone = may_defer or not generation.unnamed
            require(alone, "E.1", f"step {step} runs beside {generation.unnamed}, which no commit names")
            return
        named = not may_defer or undo or state.compensation is not None
        require(not named, "invariant 2", f"step {step} runs, and no commit names it")
        careful = generation.careful or generation.suspects
        require(not careful, "E.1", f"step {step} runs, and no commit names it although an owner died")
        skew = 0 if self.world.invocation is None else self.world.invocation.skew
        late = self.world.now + skew - generation.entries[-1].at
        require(late < LONGEST_MS, "E.1", f"step {step} starts {late} ms after the last commit, and none names it")
        generation.unnamed.add(activation)

    def _at_work(self, context: StepContext, of: str) -> Generation:
        """Whose step runs: of an item of a tree, the instance that has it and that this invocation owns."""
        whole = self.generations[context.instance_id, context.instance.life]
        if not of or of not in whole.items.nodes:
            return whole
        own = [
            leaf
            for leaf in self.generations.values()
            if (part := leaf.state.part) is not None
            and (part.owner, part.life, part.step) == (context.instance_id, context.instance.life, of)
            and self._owners.get(leaf.state.owner or "") is self.world.invocation
        ]
        require(len(own) == 1, "invariant 2", f"item {context.item_key} of {of} runs in no instance of its tree")
        return own[0]

    def sees(self, context: StepContext, of: str, *, undo: bool) -> None:
        """An item reads ``ctx.steps``: it is empty, but has what the item left when that is undone."""
        invocation = self.world.invocation
        if invocation is None or self.world.now >= invocation.ends_at:
            return
        known = self._at_work(context, of).items
        left = [known.left_by(of, context.item_key)] if undo else []
        seen = list(context.steps.values())
        require(seen == left, "maps", f"item {context.item_key} of {of} sees {seen}, not {left}")

    def _has_key(self, generation: Generation, step: str, key: str, *, undo: bool) -> None:
        """An idempotency key stands for one piece of work, and a piece of work has one key, over all lives."""
        state = generation.state
        rounds, part = 0 if undo else generation.loops[step].rounds, generation.state.part
        own = (state.instance_id, state.life) if part is None else (part.owner, part.life)
        work = (*own, step, generation.epochs[step_of(step)], rounds, undo)
        alone = self._keys.setdefault(key, work) == work and self._works.setdefault(work, key) == key
        require(alone, "idempotency keys", f"{key} is not the key of {work} alone")

    def chooses(self, step: str, context: StepContext) -> None:
        """A ``Choice`` of a step is about to be called.

        Within the step's own attempt it is named with it; after a wait, and for a failure that is routed, by itself. In
        an attempt that had too long it has no effect, like all that such an attempt still does.
        """
        generation = self.generations[context.instance_id, context.instance.life]
        state = generation.state
        invocation = self.world.invocation
        known = state.steps.get(step)
        attempt = state.attempt(step) if known is None else max(state.attempt(step), known.attempt)
        given_up = known is not None and (known.round, attempt) > (context.round, context.attempt)
        if invocation is None or self.world.now >= invocation.ends_at or given_up:
            return
        owner = self._owners.get(state.owner or "")
        require(owner is invocation, "invariant 2", f"a Choice of {step} runs in an invocation that does not own it")
        activation = state.activation(step)
        named = activation in (*state.choosing, *state.running, *generation.unnamed)
        require(named, "invariant 3", f"a Choice of {step} is called, and no commit counts it")

    def outputs(self, context: StepContext) -> None:
        """The function that makes an output is about to be called: by the owner, who counts it after one that died."""
        generation = self.generations[context.instance_id, context.instance.life]
        state = generation.state
        invocation = self.world.invocation
        if invocation is None or self.world.now >= invocation.ends_at:
            return
        owner = self._owners.get(state.owner or "")
        require(owner is invocation, "invariant 2", "the output is made in an invocation that does not own it")
        begun, generation.outputs = generation.outputs, state.output_tries
        counted = state.output_tries > begun or not generation.took_over
        require(counted, "invariant 3", "the output is made after an owner died, and no commit counts it")

    def ends(self, step: Step, *, undo: bool, of: str = "") -> None:
        """A step's own code has come to its end, for an item of the map ``of`` if it is set."""
        if step.limits and not undo and self.world.invocation is not None:
            self.turnstiles.ends(self.world.invocation, of or step.key)
        if step.timeout is None and self.world.invocation is not None:
            self._busy[self.world.invocation] -= 1

    def swept(self) -> None:
        """A sweep begins: what was due at the one before must be on its way, if nothing goes wrong any more."""
        before, self._swept_at = self._swept_at, None if self.world.weather.stormy else self.world.now
        self.turnstiles.swept(calm=before is not None and self.world.over())
        self.timekeeper.swept()
        if before is None or not self.world.over():
            return
        self.standstills.swept()
        for known in self.newest.values():
            state = known.state
            if state.closed or state.owner or state.paused or state.parked or state.instance_id in self.unreadable:
                continue
            late = known.deadline is not None and known.deadline + 2 * MAX_SKEW_MS < before - SWEEP_MS
            seen = state.verdict is not None or state.compensation is not None
            require(not late or seen, "timeout", "its time is up, and two sweeps did not see it")
            for timer in state.deadlines:
                late = timer.due_at + 2 * MAX_SKEW_MS < before - SWEEP_MS
                require(
                    not (late and not seen and state.waits(timer.activation)),
                    "invariant 6",
                    f"the deadline {timer.token} passed, and two sweeps did not see it",
                )

    def check_mail(self) -> None:
        """Where nothing goes wrong, no mail waits for a sweep (D.2)."""
        if self.world.weather.kinds:
            return
        for instance_id, known in self.newest.items():
            if known.state.closed or known.state.owner is not None or known.state.paused is not None:
                continue
            for item in self.store.table.query(instance_id, low=MAIL, high=end_of(MAIL)):
                late = self.world.now - int(str(item["at"])) > SOON_MS and not self.trees.was_taken(
                    known, str(item["sk"])
                )
                require(not late, "mail", f"{instance_id} has mail that only a sweep will find")

    def alarm(self) -> int | None:
        """When a sweep finds something (ms), if ever: of an instance, of a limit, of what a pause held."""
        of_limits = self.turnstiles.due() + self.timekeeper.due()
        return min(
            [at for alarms in (*self._alarms.values(), of_limits, self.standstills.alarms) for at in alarms],
            default=None,
        )

    # --- Checks ---

    def finish(self, writes: Sequence[str]) -> None:
        """All is over: every instance has ended, and what was written was committed.

        Args:
            writes: what happened to the tables of steps, as ``Put orders``.
        """
        committed: list[str] = []
        self.turnstiles.finish()
        self.timekeeper.finish()
        for (instance_id, _), known in self.generations.items():
            found = None if known.gone else self.store.history(instance_id, known.state.generation, 0, ALL)
            require(
                known.gone or (found is not None and without_carries(found[1]) == without_carries(known.entries)),
                "invariant 1",
                "the log is not what was written",
            )
            require(known.state.closed, "invariant 3", f"{instance_id} is {known.state.status} and goes nowhere")
            committed += [
                label
                for entry in known.entries
                for event in entry.events
                if isinstance(event, WRITING)
                for label in event.writes
            ]
        nets_to_zero(self)
        for instance_id, known in self.newest.items():
            head = self.store.table.get(instance_id, HEAD) or {"sequence": known.state.sequence}
            lags = head["sequence"] != known.state.sequence or self._alarms[instance_id]
            require(not lags, "invariant 3", f"{instance_id} is at rest, and its head or its alarms are not")
            self._has_kin(known, head)
        require(
            sorted(committed) == sorted(writes),
            "invariant 7",
            f"committed were the writes {sorted(committed)}, done were {sorted(writes)}",
        )

    def _has_kin(self, known: Generation, head: Item) -> None:
        """What has a parent goes with it, or will (D.11)."""
        origin = known.state.origin
        above = None if origin is None else self.generations.get((origin.instance_id, origin.life))
        left = known.state.attached and not known.gone and above is not None and above.gone
        if left and LOST not in (above.told.values() if above is not None else ()):
            require("expires" in head, "D.11", f"the parent of {known.state.instance_id} is gone, and it stays")

    def _begin(self, instance_id: str, number: int, life: str, entry: Entry) -> Generation:
        first = entry.events[0] if entry.events else None
        require(isinstance(first, InstanceStarted), "invariant 1", f"{instance_id} does not begin with its start")
        alone = type(entry)(entry.sequence, entry.commit_id, entry.at, entry.events[:1])
        state = begin(instance_id, number, alone, life)
        kept = [it for (name, _), it in self.generations.items() if name == instance_id and not it.gone]
        starts = [it.state.start_id for it in kept]  # with what has expired, its requests are forgotten
        require(state.start_id not in starts, "invariant 5", f"{instance_id} was started twice by one request")
        known = Generation(state, self.definition(state).graph)
        timeout = self.definition(state).timeout_ms
        known.deadline = entry.at + timeout if timeout else None
        self.generations[instance_id, life] = self.newest[instance_id] = known
        self._record(known, entry, entry.events[1:])
        return known

    def _add(self, known: Generation, entry: Entry) -> None:
        state = known.state
        require(entry.sequence == state.sequence + 1, "invariant 1", f"entry {entry.sequence} follows {state.sequence}")
        require(entry.at >= state.updated_at, "invariant 1", "the times in the log go back")
        goes_on = isinstance(entry.events[0], (Redriven, UndoRequested, PartResumed))
        require(not state.closed or goes_on, "invariant 8", "a closed instance has changed")
        self._record(known, entry, entry.events)
        known.state = evolve(known.state, sequence=entry.sequence)

    def _record(self, known: Generation, entry: Entry, events: Sequence[Event]) -> None:
        known.entries.append(entry)
        for event in events:
            Check(self, known, entry, event).run()
            try:
                known.state = apply(known.state, (event,), entry.at)
            except CorruptLog as error:
                rule = "invariant 2"
                raise Violation(rule, str(error)) from error
            if isinstance(event, RoundEnded):
                check_round_end(event, known.state)
            known.tokens.update(timer.token for timer in known.state.deadlines)
        self.trees.recorded(known)
        self.entrances.recorded(known)
        check_alarm(known.state, known.graph)
        check_inbox(known)
        self.turnstiles.names(known.state)

    def _mail_in(self, instance_id: str) -> set[str]:
        """The keys of an instance's mail."""
        if not self.newest[instance_id].items.nodes:
            return set()
        return {str(item["sk"]) for item in self.store.table.query(instance_id, low=MAIL, high=end_of(MAIL))}

    def _read_alarms(self, instance_id: str) -> list[int]:
        """What is stored as alarms of an instance (ms)."""
        items = self.store.table.query(instance_id, low=HEAD, high=end_of(MAIL))
        return [int(str(item["wake_at"])) for item in items if "wake_at" in item]

    def _check_alarm(self, known: Generation, head: Item) -> None:
        """Whatever dies now: what is stored has the instance looked at in time."""
        state = known.state
        stored = min(self._alarms[state.instance_id], default=None)
        if state.instance_id in self.unreadable:
            return
        needed = needed_at(state, known.graph)
        if needed is not None:
            latest = max(needed, self.world.now + 2 * MAX_SKEW_MS)
            what = f"{state.instance_id} is to be looked at at {needed}, its earliest alarm is at {stored}"
            require(stored is not None and stored <= latest, "alarm", what)
        behind = head["sequence"] != state.sequence and stored is None
        require(not behind, "alarm", f"the head of {state.instance_id} lags behind its log, and it has no alarm")

    def _compare(self, known: Generation) -> None:
        """Hold what is stored against what the log says, unless nothing of both has changed."""
        state = known.state
        if known.compared is not None and known.compared[0] is state and known.compared[1].give_the_same():
            return
        reads = Reads(self.store.table)
        known.compared, table = (state, reads), cast("Table", reads)  # a load only reads
        reader = Reader(table, Values(table))
        reader.load_events, reader.load_state = self.store.reader.load_events, self.store.reader.load_state
        try:
            stored = reader.load(state.instance_id)
        except CorruptLog as error:
            rule = "invariant 9"
            raise Violation(rule, f"what is stored cannot be read: {error}") from error
        if stored is not None and state.instance_id in self.unreadable:
            stored = evolve(stored, wake_at=state.wake_at)
        if stored == state:
            return
        differing = [name for name in _FIELDS if stored is None or getattr(stored, name) != getattr(state, name)]
        require(not differing, "invariant 9", f"what is stored is not what the log says: {', '.join(differing)} differ")

    def claims(self, known: Generation, event: Claimed, entry: Entry) -> None:
        """Somebody becomes the owner."""
        state = known.state
        owner = self._owners.get(state.owner or "")
        alive = owner is not None and owner.alive and self.world.now < owner.ends_at
        require(not alive, "invariant 2", "the instance was claimed although its owner is alive")
        self._owners[event.owner] = self._writers.get(entry.commit_id)

    def is_by_owner(self, state: State, entry: Entry) -> bool:
        """Whether the owner has written an entry."""
        return self._owners.get(state.owner or "") is self._writers.get(entry.commit_id)

    def book_of(self, event: Forked, done: StepCompleted) -> Book:
        """What is known of a map that a fork takes over, as the fork has it and as it was."""
        book, mapped, source = Book({}), done.mapped, self._source(event)
        assert mapped is not None  # noqa: S101 - it is a map
        for entry in source.entries[: event.sequence]:
            for one in entry.events:
                if isinstance(one, MapBegun) and one.activation == done.activation:
                    book = replace(Book.begun(one), workflow="")
                elif isinstance(one, PartEnded) and one.step == done.step and one.status == "completed":
                    book.left[parse(one.activation).item or ""] = "done", self._output(source, one)
                elif isinstance(one, ItemCompleted) and one.step == done.step:
                    book.left[parse(one.activation).item or ""] = one.event, one.results
                elif isinstance(one, Forked) and (earlier := [it for it in one.completed if it.step == done.step]):
                    book = self.book_of(one, earlier[0])
        left = [book.left.get(key, ("", None))[1] for key in book.items]
        require(list(mapped.left) == left, "fork", f"the items of {done.step} left {left}, not {mapped.left}")
        return book

    def _output(self, source: Generation, event: PartEnded) -> Mapping[str, Any]:
        """What the workflow of an item has left."""
        child = self.child_of(source.state, event.activation, source.kids[event.activation][0])
        assert child is not None  # noqa: S101 - it has ended
        first, *later = child.entries[: event.number]
        return left_by(fold(begin(child.state.instance_id, child.state.generation, first), later))

    def _source(self, event: Forked) -> Generation:
        """What an instance was forked from: after a deletion, another life may have the same number."""
        named = (event.instance_id, event.generation)
        every = [it for (name, _), it in reversed(self.generations.items()) if (name, it.state.generation) == named]
        began = min([done.started_at for done in event.completed if done.started_at], default=None)
        older = [it for it in every if began is None or it.entries[0].at <= began]
        return (older or every)[0]

    def takes_over(self, event: Forked) -> None:
        """A fork begins: what it takes over is what the other instance had come to."""
        source = self._source(event)
        first, *later = source.entries[: event.sequence]
        steps, epochs = (state := fold(begin(event.instance_id, event.generation, first), later)).steps, state.epochs
        for done in event.completed:
            known = replace(steps[done.step], child=None)  # a child stays with the one that it was started by
            taken = done.outcome("completed", known.ended_at)
            same = replace(taken, results=known.results, replaced=known.replaced, requests=known.requests)
            if taken.mapped is not None:
                own = (known.mapped.left, known.mapped.tree) if known.mapped is not None else (None, None)
                mapped = replace(taken.mapped, left=own[0], tree=own[1])
                if known.mapped is not None and known.mapped.child:  # its instances stay where they are
                    mapped = replace(mapped, child=known.mapped.child, entries=known.mapped.entries)
                same = replace(same, mapped=mapped)
                known = replace(known, mapped=known.mapped and replace(known.mapped, open=NOTHING))
            undoing = [one for one, child in state.children.items() if child.stopping == "undo"]
            require(
                done.step not in map(step_of, undoing), "fork", f"the fork takes over {done.step}, it is being undone"
            )
            require(same == known, "fork", f"the fork takes over {done.step} as {same}, it was {known}")
            epoch = epochs.get(done.step, 0)
            require(parse(done.activation).epoch == epoch, "fork", f"{done.activation} was of epoch {epoch}")

    def child_of(self, parent: State, activation: str, child: str) -> Generation | None:
        """The child of an activation, if it has begun."""
        ours = (parent.instance_id, parent.life, activation)
        for (name, _), known in self.generations.items():
            origin = known.state.origin
            if name == child and origin and (origin.instance_id, origin.life, origin.activation) == ours:
                return known
        return None

    def closes(self, state: State, entry: Entry) -> None:
        """An instance ends; steps that had too long are left to themselves."""
        writer = self._writers.get(entry.commit_id)
        owns = self.is_by_owner(state, entry)  # who cancels a child may run steps of its own
        busy = owns and writer is not None and writer.alive and self._busy[writer] > 0
        require(not busy, "invariant 4", "the instance ended while steps of it were running")


def without_carries(entries: Sequence[Entry]) -> list[Entry]:
    """A log but for what rounds left: of large carries only the newest are kept."""
    return [
        replace(
            entry,
            events=tuple([replace(one, carry=NOTHING) if isinstance(one, RoundEnded) else one for one in entry.events]),
        )
        for entry in entries
    ]
