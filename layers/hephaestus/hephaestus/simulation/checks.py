"""What every event in a log must keep to, and the books that it takes to tell.

The books are kept apart from the engine's state: outcomes, compensations, what was accepted and what was named.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.activation import INSTANCE, is_item, parse, step_of
from hephaestus.engine.events import (
    CancelRequested,
    ChildEnded,
    ChildStarted,
    ChildUndoing,
    ChoiceStarted,
    Claimed,
    CompensationFailed,
    CompensationStarted,
    EventReceived,
    EventsDropped,
    Forked,
    HandedOver,
    InstanceFinished,
    ItemCompleted,
    ItemFailed,
    ItemUndoFailed,
    ItemUndone,
    ItemWaiting,
    LimitsFailed,
    MapBegun,
    MapSpread,
    OnFailureCompleted,
    OnFailureFailed,
    OutputFailed,
    Parked,
    PartEnded,
    PartReported,
    PartResumed,
    PartStarted,
    PermitsTaken,
    Redriven,
    RoundEnded,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepsSkipped,
    StepsStarted,
    StepWaiting,
    Suspended,
    TimedOut,
    UndoRequested,
)
from hephaestus.engine.inbox import LONGEST_LINE
from hephaestus.engine.records import COMPLETED
from hephaestus.engine.state import TIMED, is_fatal, undoes_at_cancel
from hephaestus.simulation import kinship, of_workflows
from hephaestus.simulation.books import Book, Items, line_of
from hephaestus.simulation.reference import Reference
from hephaestus.simulation.violation import require
from hephaestus.simulation.world import MAX_SKEW_MS, NEVER

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hephaestus.definition.definition import Definition
    from hephaestus.engine.events import Entry, Event, Failure
    from hephaestus.engine.graph import Bounds, Graph
    from hephaestus.engine.records import Mapped
    from hephaestus.engine.state import Compensation, State
    from hephaestus.simulation.ledger import Ledger, Reads
    from hephaestus.simulation.reference import Outcome
    from hephaestus.store.table import Item

MINUTE_MS: Final = 60_000
EARLY_MS: Final = MAX_SKEW_MS  # a clock that is ahead is no reason to call a deadline early


@dataclass
class Looped:
    """What the ledger knows of the rounds of a step.

    Attributes:
        rounds: how many have ended.
        carry: what the newest of them left.
        tries: how many attempts at the newest have failed.
        began_at: when the first began (ms).
        next_at: when the next begins (ms).
        given: the event that ended the wait of the newest.
    """

    rounds: int = 0
    carry: Mapping[str, Any] = field(default_factory=dict)
    tries: int = 0
    began_at: int = 0
    next_at: int = 0
    given: EventReceived | None = None

    def is_over(self, bounds: Bounds, earliest: int, latest: int) -> tuple[bool, bool]:
        """Whether another round must not, and whether it may not begin, at some time between the two (ms)."""
        if self.rounds >= bounds.at_most:
            return True, True
        until = None if bounds.within_ms is None else self.began_at + bounds.within_ms
        return until is not None and earliest > until, until is not None and latest > until


class Generation:
    """What the ledger knows of one generation of an instance.

    Attributes:
        state: after the newest entry.
        entries: the log.
        outcomes: what its steps came to, but for those set back.
        done: the completed steps: when each completed, its place in the graph, and the step.
        received: the accepted events that no completion has consumed, in line by step.
        consumed: the events that the completions that still count have consumed, by step.
        loops: what is known of the rounds of each step, but for those set back.
        dead: the steps that failed for good, but for those set back, and when (ms).
        redrives: how often it was redriven.
        events: every accepted event, by its id.
        undo: the steps that are still to be undone, in this order.
        undone: the steps that were undone since the last redrive.
        epochs: how often the effects of each step were undone, and the step ran again.
        completed: every activation that has completed.
        fatal: the steps whose event led to ``FAIL``, but for those set back.
        broken: whether it fails although no step did.
        took_over: whether its owner took over from one that died.
        careful: whether the owner has come after one that died, since the instance last suspended.
        died: whether an owner has died, and the instance was parked since.
        unnamed: the activations that its owner has begun without a commit that names them, and not recorded.
        under_way: what its last owner had begun and not recorded, where that owner died.
        hidden: whether that one had begun more, which no commit named.
        suspects: what was under way beside others when an owner died, and has come to no end of its own since.
        calls: of those that a ``Choice`` was called for, how many calls had been counted with that one.
        outputs: how many calls that make the output were counted when it was last made.
        deadline: when its workflow's timeout has passed (ms).
        handled: whether ``on_failure`` has had its say about this failure.
        kids: the children that it started, by activation, and whether each is detached.
        told: how each child has ended, as it was told; none while that is still to come.
        ends: when it did (ms), but not before it was started, nor after it was told.
        undoing: the activations whose children were asked to undo what they did.
        gone: whether it has expired or was deleted.
        compared: the state that was last found to be what is stored, and what was read for that.
        items: what is known of its maps.
    """

    def __init__(self, state: State, graph: Graph) -> None:
        self.state = state
        self.graph = graph
        self.entries: list[Entry] = []
        self.outcomes: dict[str, Outcome] = {}
        self.done: list[tuple[int, int, str]] = []
        self.received: defaultdict[str, list[EventReceived]] = defaultdict(list)
        self.consumed: dict[str, list[EventReceived]] = {}
        self.loops: defaultdict[str, Looped] = defaultdict(Looped)
        self.dead: dict[str, int] = {}
        self.redrives = 0
        self.events: dict[str, EventReceived] = {}
        self.undo: list[str] = []
        self.undone: set[str] = set()
        self.epochs: Counter[str] = Counter()
        self.completed: set[str] = set()
        self.fatal: set[str] = set()
        self.broken = False
        self.took_over = False
        self.careful = self.died = False
        self.unnamed: set[str] = set()
        self.under_way: frozenset[str] = frozenset()
        self.hidden = False
        self.suspects: set[str] = set()
        self.calls: dict[str, int] = {}
        self.outputs = 0
        self.handled = False
        self.deadline: int | None = None
        self.tokens: set[str] = set()
        self.begun: set[tuple[str, str, int]] = set()
        self.requests: set[tuple[type[Event], str]] = set()
        self.kids: dict[str, tuple[str, bool]] = {}
        self.told: dict[str, str] = {}
        self.ends: dict[str, int] = {}
        self.undoing: set[str] = set()
        self.gone = False
        self.compared: tuple[State, Reads] | None = None
        self.items = Items(graph)
        part = state.part
        if part is not None:
            self.epochs[part.step], self.items.share = part.epoch, part.share

    def settles(self, activation: str) -> None:
        """An activation has come to an end of its own, or waits."""
        self.suspects.discard(activation)
        self.unnamed.discard(activation)

    def in_force(self, event_id: str) -> EventReceived | None:
        """An accepted event that is there for its step, or that a completion that still counts has consumed."""
        found = chain.from_iterable((*self.received.values(), *self.consumed.values()))
        return next((event for event in found if event.event_id == event_id), None)

    def is_used(self, event: EventReceived) -> bool:
        """Whether the event is there already, or its link was used."""
        used = event.by_source == "link" and event.event_id in self.events
        return used or self.in_force(event.event_id) is not None

    def reference(self) -> Reference:
        """What must run now."""
        return Reference(self.graph.start, self.graph.edges, self.outcomes)


class Check:
    """One event of an entry, before it is folded."""

    def __init__(self, ledger: Ledger, known: Generation, entry: Entry, event: Event) -> None:
        self.ledger = ledger
        self.known = known
        self.entry = entry
        self.event = event
        self.state = known.state
        self.graph = known.graph

    def run(self) -> None:  # noqa: C901, PLR0912 - a line or two for every event
        """Hold the event against the rules.

        Raises:
            Violation: it breaks one.
        """
        known = self.known
        request = getattr(self.event, "request_id", "")
        if request:
            asked = (type(self.event), request)
            require(asked not in known.requests, "invariant 5", f"request {request} was carried out twice")
            known.requests.add(asked)
        match self.event:
            case Claimed() as event:
                self._takes_over()
                self.ledger.claims(known, event, self.entry)
            case Forked() as event:
                self._forked(event)
            case StepsStarted(activations):
                self._started(activations)
            case EventReceived() | RoundEnded() | EventsDropped() | StepCompleted() | StepFailed() as event:
                self._happens(event)
            case MapBegun() as event:
                self._map_begun(event)
            case MapSpread() | PartStarted() | PartReported() | PartEnded() | PartResumed() as event:
                self._in_tree(event)
            case ItemCompleted() | ItemFailed() | ItemWaiting() | ItemUndone() | ItemUndoFailed() as event:
                self._item(event)
            case ChoiceStarted(activation=activation):
                self._calls(activation)
            case StepWaiting(activation=activation):
                known.settles(activation)
            case StepsSkipped(steps):
                self._skipped(steps)
            case CompensationStarted() | StepCompensated() | CompensationFailed() | UndoRequested() as event:
                self._undoes(event)
            case Redriven() as event:
                self._redriven(event)
            case OnFailureCompleted(step=step) | OnFailureFailed(step=step, retry_at=None):
                self._handled(step)
            case TimedOut() | OutputFailed() | LimitsFailed() as event:
                self._breaks(event)
            case Suspended() | HandedOver() | InstanceFinished():
                self._leaves()
            case ChildStarted() | ChildEnded() | ChildUndoing() as event:
                self._of_child(event)
            case Parked(reason):
                known.died = known.died or self.state.owner is not None
                require("defect of the engine" not in reason, "the engine's own rules", reason)
            case PermitsTaken(activation=""):
                for activation in self.state.resuming:
                    del known.told[activation]
            case CancelRequested():
                require(not self.state.closed, "invariant 8", "a closed instance was cancelled")

    def _of_child(self, event: ChildStarted | ChildEnded | ChildUndoing) -> None:
        """Something happens to a child, to a part of a map, or to an item that is a workflow."""
        if isinstance(event, ChildUndoing) and "[" in event.activation:
            self.ledger.trees.undoes(self, event)
        elif isinstance(event, ChildStarted) and "[" in event.activation:
            of_workflows.begins(self, event)
        else:
            kinship.happens(self, event)

    def _undoes(self, event: CompensationStarted | StepCompensated | CompensationFailed | UndoRequested) -> None:
        """What was done is undone, or cannot be."""
        match event:
            case CompensationStarted():
                self._compensates(event)
            case UndoRequested(steps=steps):
                kinship.is_undone(self)
                self._undo({*self._undoable(), *self._not_undone()}, steps)
                self.known.items.again_to_undo(steps)
                self.known.begun = {name for name in self.known.begun if step_of(name[1]) not in steps}
            case StepCompensated(step=step):
                kinship.undid(self, step)
                self.known.items.undone(event)
                self.ledger.trees.is_undone(self, step)
                self._undone(step)
                self.known.undone.add(step)
            case CompensationFailed(step=step, retry_at=None):
                self._undone(step)

    def _takes_over(self) -> None:
        """What died beside others, or where no commit named all, has spent no attempt, and may be begun again."""
        known, state = self.known, self.state
        died, known.died = known.died, False
        known.took_over, known.hidden = state.owner is not None, bool(known.unnamed)
        known.under_way = frozenset((*state.running, *state.choosing))
        spared = known.under_way if len(known.under_way) > 1 or self._may_hide_others() else frozenset()
        known.suspects |= spared
        if spared:
            known.calls = {one: count for one, count in state.choosing.items() if one in spared}
        again = {(line_of(one), state.attempt_of(one)) for one in spared | known.unnamed}
        known.begun = {name for name in known.begun if name[1:] not in again}
        known.unnamed.clear()
        known.careful = known.careful or known.took_over or died

    def _may_hide_others(self) -> bool:
        """Whether steps that no commit named may have run after the only one that was named."""
        known, state = self.known, self.state
        plain = all(not parse(one).undo and one not in state.choosing for one in state.running)
        named = known.careful or known.suspects or state.compensation is not None
        definition = self.ledger.definition(state)
        return plain and not named and any(defers(definition, step_of(one)) for one in state.running)

    def _leaves(self) -> None:
        """The owner leaves, or somebody ends what a dead one left: what it had begun it has recorded."""
        known = self.known
        recorded = not known.unnamed or not self.ledger.is_by_owner(self.state, self.entry)
        require(recorded, "E.1", f"the owner leaves, and {sorted(known.unnamed)} have no outcome")
        known.careful = known.careful and isinstance(self.event, HandedOver)
        if isinstance(self.event, Suspended):
            self.ledger.trees.rests(self)
        if isinstance(self.event, InstanceFinished):
            kinship.ends_after_them(self)
            self._finished(self.event)

    def _run_alone(self, activations: Sequence[str]) -> None:
        """Nothing runs beside what may have killed its process."""
        under_way = {*self.state.running, *activations}
        suspects = under_way & self.known.suspects
        require(not suspects or len(under_way) == 1, "A.2", f"{suspects} run among {under_way}")

    def _calls(self, activation: str) -> None:
        """A call of a ``Choice`` that died beside others is not counted."""
        before = self.known.calls.pop(activation, None)
        free = before is None or self.state.choosing.get(activation, 0) < before
        require(free, "A.2", f"the Choice of {activation} has spent a call, others were under way")

    def _spent(self, activation: str, failed: Failure | None) -> None:
        """Only what died alone has spent an attempt, or what may run only once."""
        if failed is None or failed.type != "Interrupted" or activation not in self.known.under_way:
            return
        once = self.ledger.definition(self.state).declared_of(activation).semantics == "at_most_once"
        died = self.known.under_way
        require(once or len(died) == 1, "A.2", f"{activation} has spent an attempt, {sorted(died)} were under way")
        require(
            once or not self.known.hidden, "E.1", f"{activation} has spent an attempt, unnamed steps were under way"
        )

    def _happens(self, event: EventReceived | RoundEnded | EventsDropped | StepCompleted | StepFailed) -> None:
        """Something has happened to one step."""
        match event:
            case EventReceived():
                self._received(event)
            case RoundEnded():
                self._round_ended(event)
            case EventsDropped():
                self._dropped(event)
            case StepCompleted():
                self._completed(event)
            case StepFailed():
                self._failed(event)

    def _received(self, event: EventReceived) -> None:
        known, step, name = self.known, line_of(event.activation), event.event_id
        require(not known.is_used(event), "invariant 5", f"event {name} was applied twice")
        room = LONGEST_LINE if step in self.graph.rounds else 1
        require(len(known.received[step]) < room, "invariant 5", f"{name} takes the place of another event")
        require(self._is_for_now(event), "rounds", f"{name} is for {event.only}, which is over")
        known.events[name] = event
        known.received[step].append(event)

    def _is_for_now(self, event: EventReceived) -> bool:
        """Whether it is for any round of its step, or for the one that is next or under way."""
        meant, rounds = parse(event.only or event.activation), self.known.loops[event.step].rounds
        return not event.only or (meant.epoch, meant.round) == (self.state.epochs.get(event.step, 0), rounds + 1)

    def _started(self, activations: Sequence[str]) -> None:
        kinship.has_parent(self)
        of_workflows.has_map(self)
        state, fresh = self.state, [one for one in activations if one not in self.known.unnamed]
        steps = [step_of(activation) for activation in fresh]
        self._run_alone(activations)
        self.known.unnamed.difference_update(activations)
        if not fresh:
            return
        require(state.paused is None, "pause", f"{', '.join(steps)} started although the instance is paused")
        self.known.items.begins(state, activations)
        self.ledger.trees.begins(self, activations)
        if state.compensation is not None:
            if not all(parse(activation).undo for activation in fresh):
                self._handles(steps)
            return
        ended = ", ".join(self.known.fatal)
        require(not ended, "FAIL", f"{', '.join(steps)} started although {ended} led to FAIL")
        require(not self.known.broken, "timeout", f"{', '.join(steps)} started although the instance has timed out")
        require(state.cancel is None, "cancel", f"{', '.join(steps)} started although the instance is cancelled")
        reference = self.known.reference()
        for step in dict.fromkeys(steps):
            found = reference.step(step)
            require(found == "startable", "invariant 4", f"step {step} started, but it is {found}")
            loop = self.known.loops[step]
            if loop.rounds and not loop.tries and not kinship.is_asked(self.known, step):
                self._may_begin(step, loop)

    def _may_begin(self, step: str, loop: Looped) -> None:
        bounds = self.graph.rounds[step]
        over, _ = loop.is_over(bounds, self.entry.at, self.entry.at)
        require(not over, "rounds", f"round {loop.rounds + 1} of {step} started, {bounds} are over")

    def _exhausted(self, step: str) -> None:
        loop = self.known.loops[step]
        _, over = loop.is_over(self.graph.rounds[step], self.entry.at, self.entry.at)
        require(over, "rounds", f"{step} is exhausted after {loop.rounds} rounds, the bounds are not reached")

    def _round_ended(self, event: RoundEnded) -> None:
        step, known = event.step, self.known
        found, loop = known.reference().step(step), known.loops[step]
        require(found == "startable", "invariant 4", f"a round of step {step} ended, but it is {found}")
        require(event.activation not in known.completed, "invariant 2", f"{event.activation} ended twice")
        known.completed.add(event.activation)
        known.suspects.discard(event.activation)
        given = self._goes_on(event, loop)
        began_at = loop.began_at if loop.rounds else event.started_at or self.entry.at
        known.loops[step] = Looped(loop.rounds + 1, event.carry, 0, began_at, event.next_at, given)

    def _goes_on(self, event: RoundEnded, loop: Looped) -> EventReceived | None:
        """The event that ends a wait and its round: the first in line, one that the step goes on with."""
        step, known, waited = event.step, self.known, self.state.step_status(event.step) == "waiting"
        if event.activation in known.kids:
            kinship.round_ends(self, event)
            return None
        require(waited == bool(event.event), "rounds", f"{event.activation} ended with {event.event!r}")
        if not waited:
            return None
        first = known.received[step].pop(0) if known.received[step] else None
        right = first is not None and first.event == event.event and event.event in self.graph.again_on(step)
        require(right, "invariant 5", f"{event.activation} was given {event.event}, the first in line was {first}")
        require(event.carry == loop.carry, "rounds", f"the wait of {event.activation} left {event.carry}")
        known.consumed[step] = [*known.consumed.get(step, []), *([first] if first else [])]
        return first

    def _dropped(self, event: EventsDropped) -> None:
        """Only what no wait will take: the step has completed, or it is for a round that is over."""
        step, known = event.step, self.known
        over = step in known.outcomes
        stale = [one for one in known.received[step] if over or not self._is_for_now(one)]
        right = [one.event for one in stale] == list(event.events)
        require(right, "invariant 5", f"{event.events} were dropped, not {stale}")
        known.received[step] = [one for one in known.received[step] if one not in stale]
        known.consumed[step] = [*known.consumed.get(step, []), *stale]

    def _failed(self, event: StepFailed) -> None:
        step, known = event.step, self.known
        self._spent(event.activation, event.error)
        known.unnamed.discard(event.activation)
        if event.retry_at is None:
            known.suspects.discard(event.activation)
        if self.state.step_status(step) == "mapping":
            self._items_end(event)
        elif event.attempt:
            right = event.attempt == self.state.attempt(step)
            require(right, "invariant 2", f"attempt {event.attempt} of {step} was not next")
            known.loops[step].tries += 1
        else:
            self._exhausted(step)
        if event.retry_at is None:
            known.dead[step] = self.entry.at

    def _handles(self, steps: Sequence[str]) -> None:
        """After all is undone, ``on_failure`` runs, once for each failure, and nothing else."""
        known, undoing = self.known, self.state.compensation
        its_turn = undoing is not None and undoing.status == "failed" and not known.undo and not known.handled
        right = its_turn and list(steps) == [self.graph.on_failure]
        require(right, "on_failure", f"{steps} is run, {known.undo} is not undone")

    def _handled(self, step: str) -> None:
        self._handles([step])
        self.known.handled = True

    def _breaks(self, event: TimedOut | OutputFailed | LimitsFailed) -> None:
        """It will fail, although no step did: its time is up, or all ran and the output could not be made."""
        if isinstance(event, TimedOut):
            self._times_out()
        elif isinstance(event, LimitsFailed):
            require(INSTANCE not in self.state.permits, "invariant 10", "it has its permits, and says that it has none")
        else:
            self._all_ran()
        self.known.broken = True

    def _times_out(self) -> None:
        known, now = self.known, min(self.entry.at, self.ledger.world.now + EARLY_MS)
        due = known.deadline is not None and known.deadline <= now and not known.broken
        require(due, "timeout", f"it timed out at {now}, its time is up at {known.deadline}")

    def _completed(self, event: StepCompleted) -> None:
        step = event.step
        found = self.known.reference().step(step)
        require(found == "startable", "invariant 4", f"step {step} completed, but it is {found}")
        require(event.activation not in self.known.completed, "invariant 2", f"{event.activation} completed twice")
        self.known.completed.add(event.activation)
        self.known.settles(event.activation)
        self._spent(event.activation, event.failed)
        self._leads(event)
        if step in self.graph.maps:
            self._map_ended(event)
        allowed = self.graph.edges[step].get(event.event, ())
        require(set(event.taken) <= set(allowed), "invariant 4", f"step {step} led to {event.taken}, not {allowed}")
        if not event.attempt and event.event == "exhausted" and not event.took:
            self._exhausted(step)
        line = self.known.received[step]
        overtaken = step in self.graph.ends_on and line and not event.took
        require(not overtaken, "invariant 5", f"{step} ended with {event.event}, an event had been accepted before")
        received = line.pop(0) if line and event.took else None
        if received is not None:
            self.known.consumed[step] = [*self.known.consumed.get(step, []), received]
        between = step in self.graph.ends_on and event.took and received is not None
        if self.state.step_status(step) == "waiting" or between:
            self._waited(event, received)
        self._take(event, event.ended_at)

    def _map_begun(self, event: MapBegun) -> None:
        """Its items are recorded: once, before any of them runs."""
        step, known = event.step, self.known
        found = known.reference().step(step)
        require(found == "startable", "invariant 4", f"the map {step} began, but it is {found}")
        begun = step in known.items.maps or step in known.items.nodes
        require(not begun, "invariant 2", f"the map {step} began twice")
        known.items.maps[step] = book = Book.begun(event, known.state.part, known.items.share)
        if book.workflow:
            known.items.of_workflows.add(step)
        self.ledger.trees.leaf(known, step, book)
        self.ledger.trees.gives(known, event, book)
        known.suspects.discard(event.activation)

    def _forked(self, event: Forked) -> None:
        """A fork takes over whole steps: what the completed items of a map left is what it was there."""
        known = self.known
        self.ledger.takes_over(event)
        for done in event.completed:
            self._take(done, done.ended_at)
            known.epochs[done.step] = parse(done.activation).epoch
            if done.mapped is not None and not done.mapped.in_parts:
                known.items.maps[done.step] = self.ledger.book_of(event, done)
            if done.loop is not None:
                known.loops[done.step] = Looped(done.loop.rounds, done.loop.carry, began_at=done.loop.began_at)

    def _item(self, event: ItemCompleted | ItemFailed | ItemWaiting | ItemUndone | ItemUndoFailed) -> None:
        """Something has happened to an item: as to a step."""
        known, line = self.known, line_of(event.activation)
        if isinstance(event, ItemUndone | ItemUndoFailed):
            require(known.undo[:1] == [event.step], "compensation", f"{event.activation} was undone out of order")
        else:
            require(self.state.compensation is None, "compensation", f"{event.activation} ran on")
        now = min(self.entry.at, self.ledger.world.now + EARLY_MS)
        due = any(timer.due_at <= now for timer in self.state.timers.get(event.activation, ()))
        received = known.received[line][0] if known.received[line] else None
        known.items.happens(event, self.state, received, due)
        if isinstance(event, ItemFailed):
            self._spent(event.activation, event.error)
        if isinstance(event, ItemCompleted) and received is not None:
            known.consumed[line] = [*known.consumed.get(line, []), known.received[line].pop(0)]
        if getattr(event, "retry_at", None) is None:
            known.suspects.discard(event.activation)

    def _in_tree(self, event: MapSpread | PartStarted | PartReported | PartEnded | PartResumed) -> None:
        """Something happens in the tree of a map."""
        trees = self.ledger.trees
        match event:
            case MapSpread():
                trees.spreads(self, event)
            case PartStarted():
                trees.starts(self, event)
            case PartReported():
                trees.reports(self, event)
            case PartEnded():
                trees.ends(self, event)
            case PartResumed():
                trees.goes_on(self, event)

    def _items_end(self, event: StepCompleted | StepFailed) -> None:
        """A map has ended, in one instance or in many."""
        if event.step in self.known.items.nodes:
            self.ledger.trees.map_ends(self, event)
        else:
            self.known.items.ends(event, self.state)

    def _map_ended(self, event: StepCompleted) -> None:
        """A map has completed: nothing is kept for its items any more."""
        known = self.known
        self._items_end(event)
        lines = [one for one in known.received if is_item(one, event.step)]
        for line in lines if known.state.part is None else ():  # a part may go on with what has failed
            known.consumed[line] = [*known.consumed.get(line, []), *known.received.pop(line)]
        known.suspects = {one for one in known.suspects if step_of(one) != event.step}

    def _leads(self, event: StepCompleted) -> None:
        """Whether an event led to ``FAIL``, where no ``Choice`` decided."""
        route = self.ledger.definition(self.state).routes[event.step].get(event.event)
        if event.fail is not None:
            self.known.fatal.add(event.step)
        if route is not None and route.choice is None:
            right = (event.fail is None) == (route.fail is None)
            require(right, "FAIL", f"{event.event!r} of {event.step} leads to {route.shown}, it failed: {event.fail}")

    def _waited(self, event: StepCompleted, received: EventReceived | None) -> None:
        step = event.step
        if received is not None:
            require(
                event.event == received.event or event.failed is not None,
                "invariant 5",
                f"step {step} was given {event.event}, but {received.event} had been accepted for it before",
            )
            payload = received.payload
            require(
                event.failed is not None or not hasattr(payload, "items") or event.results == payload,
                "invariant 5",
                f"step {step} did not get the payload of its event",
            )
            return
        if event.activation in self.known.kids:
            kinship.settles(self, event)
            return
        due = [timer.due_at for timer in self.state.deadlines if timer.step == step]
        now = min(self.entry.at, self.ledger.world.now + EARLY_MS)
        require(
            any(at <= now for at in due),
            "invariant 6",
            f"step {step} got {event.event} before its time, or for nothing",
        )

    def _take(self, event: StepCompleted, ended_at: int = 0) -> None:
        step, at = event.step, self.entry.at
        self.known.outcomes[step] = (event.event, event.taken)
        self.known.done.append((min(ended_at or at, at), self.graph.order.index(step), step))

    def _skipped(self, steps: Sequence[str]) -> None:
        reference = self.known.reference()
        for step in steps:
            found = reference.step(step)
            require(found == "skipped", "invariant 4", f"step {step} was skipped, but it is {found}")

    def _compensates(self, event: CompensationStarted) -> None:
        self._undo(self._undoable(), event.steps)
        wanted = self.graph.on_failure if event.status == "failed" else ""
        require(event.then == wanted, "on_failure", f"before it is {event.status}, {event.then or 'nothing'} is run")

    def _undoable(self) -> list[str]:
        """What has a compensation and has completed, or has come through a round."""
        over = ("compensated", "compensation_failed", "skipped")
        statuses = {step: self.state.step_status(step) for step in self.graph.compensates}
        looped = {step for step in statuses if self.known.loops[step].rounds and statuses[step] not in over}
        looped |= {step for step in statuses if self.known.items.is_undoable(step) and statuses[step] not in over}
        told = {step: self.known.told.get(self.state.activation(step)) for step in self.graph.children}
        looped |= {step for step in statuses if told.get(step) == "completed" and statuses[step] not in over}
        done = [step for step, status in statuses.items() if status == "completed" and step not in self.graph.maps]
        done = [step for step in statuses if step in done or step in looped]
        by_child = self.graph.undoes - self.graph.maps.keys()
        own = [step for step in done if step not in by_child or kinship.left_to_undo(self.known, step)]
        gone = kinship.stuck(self.ledger, self.known)
        gone |= {step for step in self.graph.children if kinship.has_undone_itself(self.known, step)}
        return [step for step in own if step not in gone]

    def _not_undone(self) -> set[str]:
        """The steps whose compensation has failed, and those whose child could not undo itself."""
        failed = {step for step, it in self.state.steps.items() if it.status == "compensation_failed"}
        return failed | kinship.stuck(self.ledger, self.known)

    def _undo(self, undo: Collection[str], steps: Sequence[str]) -> None:
        """The last completed first, after what has not ended; of those of one time, the later in the graph first."""
        known, place = self.known, self.graph.order.index
        done = {step for _, _, step in known.done}
        begun = [(known.dead.get(step, NEVER), place(step), step) for step in undo if step not in done]
        self.known.undo = [step for _, _, step in sorted([*known.done, *begun], reverse=True) if step in undo]
        require(self.known.undo == list(steps), "compensation", f"{self.known.undo} are to be undone, not {steps}")

    def _undone(self, step: str) -> None:
        undo = self.known.undo
        require(undo[:1] == [step], "compensation", f"step {step} was undone out of order")
        self.known.undo = undo[1:]

    def _redriven(self, event: Redriven) -> None:
        known = self.known
        known.redrives += 1
        if self.state.closed:
            known.suspects.clear()
        known.handled = known.handled and not self.state.closed
        if self.state.closed and self.graph.on_failure in self.state.steps:
            known.epochs[self.graph.on_failure] += 1
        known.broken, known.outputs = known.broken and event.status != "pending", 0
        if self.state.closed and known.deadline is not None:
            known.deadline = self.entry.at + self.ledger.definition(self.state).timeout_ms
        spent = kinship.given_up(self) | {
            step for step in known.dead if known.loops[step].rounds and not self.state.steps[step].attempt
        }
        kinship.go_on(self, event)
        known.outcomes = {step: outcome for step, outcome in known.outcomes.items() if step not in event.reset}
        known.done = [done for done in known.done if done[-1] not in event.reset]
        if self.state.closed and self.state.compensation is not None and (failed := self._not_undone()):
            require(event.status == "compensating", "redrive", f"{failed} were not undone, and it goes on")
            self._undo(failed, event.undo)
        forgotten = {*event.reset, *event.undo, *known.graph.compensates, *map(step_of, event.children)}
        known.begun = {name for name in known.begun if step_of(name[1]) not in forgotten}
        follows = known.undone | known.fatal | spent
        known.fatal -= set(event.reset)
        again = {*event.reset, *map(step_of, event.children)}
        known.dead = {step: at for step, at in known.dead.items() if step not in again}
        for step in known.graph.order:
            if step in follows:
                follows.update(target for targets in known.graph.edges[step].values() for target in targets)
        anew = follows.intersection(event.reset) if event.status == "pending" else set()
        known.consumed = {line: received for line, received in known.consumed.items() if step_of(line) not in anew}
        goes_on = self.state.closed and event.status == "pending"
        self.ledger.trees.begins_anew(known, sorted(anew))
        cancelled = [step for step, it in self.state.steps.items() if goes_on and it.status == "mapping"]
        known.items.redriven(sorted(anew), event.reset, event.undo, cancelled)
        if event.status == "pending":
            ran = [step for step, it in self.state.steps.items() if it.status != "skipped"]
            known.epochs.update(step for step in ran if step in follows)
            known.undone.clear()
        self._loops_again(event, follows)

    def _loops_again(self, event: Redriven, follows: Collection[str]) -> None:
        """What was undone begins with its first round, what failed in a round goes on with it."""
        known, stood = self.known, self.entry.at - self.state.updated_at if self.state.closed else 0
        for step, loop in list(known.loops.items()):
            if event.status == "pending" and step in follows:
                del known.loops[step]
            else:
                tries = 0 if step in event.reset else loop.tries
                known.loops[step] = replace(loop, tries=tries, began_at=loop.began_at + stood)

    def _all_ran(self) -> None:
        reference = self.known.reference()
        left = reference.all("startable") | reference.all("undecided")
        require(not left, "invariant 4", f"it ends, but {sorted(left)} did not")
        ran = set(self.known.outcomes)
        require(ran == reference.on_taken_paths(), "invariant 4", "what ran is not what the taken paths lead to")

    def _has_output(self, event: InstanceFinished) -> None:
        """The output is the function's, else the results of the step that is named, else of the one completed last."""
        definition = self.ledger.definition(self.state)
        done = [step for _, _, step in sorted(self.known.done)]
        wanted = definition.graph.output
        last = ([step for step in done if step == wanted] if wanted else done)[-1:]
        of = "" if definition.output is not None else "".join(last)
        require(event.output_of == of, "output", f"its output is of {event.output_of!r}, not of {of!r}")

    def _finished(self, event: InstanceFinished) -> None:
        state, status = self.state, event.status
        broken = ("failed", "compensation_failed")
        handler = self.graph.on_failure
        failed = [step for step, it in state.steps.items() if it.status in broken or step in self.known.fatal]
        failed = [step for step in failed if step != handler] or list(self.known.dead)
        stuck = kinship.stuck(self.ledger, self.known)
        self.ledger.closes(self.state, self.entry)
        if status == "completed":
            require(not failed and not self.known.broken, "invariant 4", f"completed, but {failed or 'it'} did not")
            left = [step for step in self.graph.rounds if step in self.known.outcomes and self.known.received[step]]
            require(not left, "invariant 5", f"events for {left} are gone without a word")
            self._all_ran()
            self._has_output(event)
            require(state.cancel is None, "cancel", "it completed although it had been cancelled")
        elif status == "failed":
            require(bool(failed or stuck) or self.known.broken, "invariant 4", "it failed, but no step did")
            other = state.compensation is not None and state.compensation.status != "failed"
            handled = self.known.handled or other or not handler
            require(handled, "on_failure", f"it failed, and {handler} did not run")
        elif status == "cancelled":
            orphan = state.origin is not None and not self.known.begun
            require(orphan or state.cancel is not None, "cancel", "it was cancelled, but nobody asked for it")
        if status in ("failed", "undone") or undoes_at_cancel(state):
            left = sorted(self._undoable())
            require(not left and not self.known.undo, "compensation", f"{left} were not undone")
            hidden = stuck and status != "failed"
            require(
                not hidden, "compensation", f"it is {status}, and the children of {stuck} could not undo what they did"
            )


def defers(definition: Definition, step: str) -> bool:
    """Whether the result of a step may be left to the next commit."""
    declared = definition.declared[step]
    kept = declared.compensates or declared.semantics == "at_most_once" or declared.rounds is not None
    wanted = definition.checkpoint == "boundaries" if declared.checkpoint is None else not declared.checkpoint
    return wanted and not kept and step not in definition.items


def check_inbox(known: Generation) -> None:
    """Between entries: an event that was accepted is there until a completion of its step consumes it.

    Raises:
        Violation: it is lost, or there once more.
    """
    state = known.state
    if state.status != "completed" or state.part is not None:
        lines = {line: (received, *state.lines.get(line, ())) for line, received in state.inbox.items()}
        there = {line: [received.event_id for received in events] for line, events in lines.items()}
        expected = {
            replace(parse(line), epoch=known.epochs[step_of(line)]).text: [event.event_id for event in events]
            for line, events in known.received.items()
            if events
        }
        require(there == expected, "invariant 5", f"kept are the events {there}, accepted and not consumed {expected}")


def check_round_end(event: RoundEnded, after: State) -> None:
    """After the end of a round: nothing has a time but the next round.

    Raises:
        Violation: the old round's has one still.
    """
    left = [timer.token for timer in after.deadlines if timer.step == event.step]
    require(not left, "rounds", f"{event.activation} is over, and {left} are not")


def check_alarm(state: State, graph: Graph) -> None:
    """Between entries: an instance that has something to do has an alarm, in time.

    Raises:
        Violation: its wake-up would be lost in a crash.
    """
    what = f"the alarm is {state.wake_at}, the instance {state.status}"
    if state.closed:
        require(state.wake_at is None, "invariant 8", what)
    elif state.owner is not None:
        require(state.wake_at == state.lease_until, "invariant 3", what)
    elif state.paused is not None:
        held = state.paused.look_at
        require(
            not held or state.parked is not None or (state.wake_at is not None and state.wake_at <= held),
            "invariant 3",
            what,
        )
    elif state.parked is None:
        times = _due(state, graph)
        late = bool(times) and (state.wake_at is None or state.wake_at > max(min(times), state.updated_at))
        require(not late, "invariant 3", f"{what}, and it has something to do at {min(times, default=0)}")


def check_head(state: State, head: Item) -> None:
    """A head that follows the log says what the state says, in every index, too.

    Raises:
        Violation: it does not.
    """
    apart = state.status in ("failed", "cancelled", "compensating")
    listed = str(head.get("list_key", "")).rsplit("#", 1)[0]
    said = (head.get("status"), listed, str(head.get("recent_key", "")).partition("#")[0], head.get("owner"))
    lists = (f"{state.workflow}#{state.status}", "apart" if apart else "recent")
    if state.part is not None:  # no list has a part of a map (C.9)
        lists = ("", "")
        require("list_at" not in head, "invariant 9", "a part of a map is in a list")
    true = (state.status, *lists, state.owner)
    require(said == true, "invariant 9", f"the head says {said}, the log {true}")
    expires = "expires" in head
    require(state.closed or not expires, "invariant 8", "an open instance expires")
    alarmed = ("wake_at" in head, "wake_shard" in head)
    require(alarmed in ((True, True), (False, False)), "alarm", "an alarm is in no index")


def _undos(state: State, undoing: Compensation) -> int | None:
    """When an item of the map that is being undone is to be looked at (ms); ``None`` where no map is."""
    known = state.steps.get(undoing.left[0]) if undoing.left else None
    if known is None or known.mapped is None:
        return None
    mapped = known.mapped
    keys = [mapped.key(place) for place, end in enumerate(mapped.ends) if end == COMPLETED]
    retries = [mapped.open[key].retry_at or 0 for key in keys if key in mapped.open]
    return state.updated_at if len(keys) > len(retries) or not retries else min(retries)


def needed_at(state: State, graph: Graph) -> int | None:
    """When (ms) somebody must look at an instance, by its state alone; ``None`` for never."""
    if state.closed:
        return None
    if state.owner is not None:
        return state.lease_until
    if state.parked is not None:
        return state.wake_at
    if state.paused is not None:
        return state.paused.look_at or None
    if state.cancel is not None and state.compensation is None and not _stopping(state):
        return state.updated_at
    return min(_due(state, graph), default=None)


def _due(state: State, graph: Graph) -> list[int]:
    """When an instance that nobody owns has something to do (ms)."""
    if state.compensation is not None:
        if any(not child.status and child.stopping == "undo" for child in state.children.values()):
            return []
        if (undos := _undos(state, state.compensation)) is not None:
            return [undos]
        handler = state.steps.get(state.compensation.then)
        retry_at = handler.retry_at if handler and not state.compensation.left else state.compensation.retry_at
        return [retry_at or state.updated_at]
    if INSTANCE in state.queued:
        return [] if state.deadline is None else [state.deadline]
    if stopping := _stopping(state):
        return [timer.due_at for timer in state.deadlines if timer.activation in stopping]
    mapped = [(step, known.mapped) for step, known in state.steps.items() if known.mapped and known.status == "mapping"]
    going = [one for one in mapped if not (one[1].child and _is_stopped(graph, *one))]
    items = {state.item(step, key): one for step, known in going for key, one in known.open.items()}
    waiting = [step for step, known in state.steps.items() if known.status == "waiting"]
    own = [] if state.deadline is None else [state.deadline if state.verdict is None else state.updated_at]
    waits = [activation for activation, one in items.items() if one.retry_at is None]
    waits += [activation for activation, child in state.children.items() if "[" in activation and child.stopping]
    times = [timer.due_at for timer in state.deadlines if timer.step in waiting or timer.activation in waits]
    in_line = {*map(step_of, state.queued), *map(step_of, state.turns)}  # who calls them wakes them
    times += [turn.at for turn in state.turns.values() if turn.at]
    retried = {activation: one.retry_at for activation, one in items.items() if step_of(activation) not in in_line}
    times += [retry_at for retry_at in retried.values() if retry_at is not None]
    timed = {key: known for key, known in state.steps.items() if known.status in TIMED and key not in in_line}
    times += [known.retry_at for known in timed.values() if known.retry_at]
    waiting += [step for step in graph.ends_on if state.step_status(step) in TIMED]
    lines = [*map(state.line, waiting), *waits]
    if state.status == "pending" or any(line in state.inbox for line in lines):
        times.append(state.updated_at)
    return times + own


def _is_stopped(graph: Graph, step: str, mapped: Mapped) -> bool:
    """Whether a map of workflows only waits for those that are open, as too many have failed."""
    total, spread = len(mapped.ends) if mapped.plan is None else mapped.plan.total, graph.maps[step]
    return mapped.failed > spread.tolerated(total)


def _stopping(state: State) -> list[str]:
    """The activations whose children an instance that ends still waits for."""
    ends = state.cancel is not None or state.verdict is not None or any(map(is_fatal, state.steps.values()))
    return [one for one, child in state.children.items() if ends and child.stopping and not child.status]
