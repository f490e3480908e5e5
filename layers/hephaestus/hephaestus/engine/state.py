"""The state of an instance: what is known of one generation after some number of its log entries.

``hephaestus.engine.fold`` is the only way a state comes to be.
"""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, TypeVar, get_args

from hephaestus.engine.activation import derived, parse, step_of, text_of, text_of_item, token_of
from hephaestus.engine.records import NOTHING, Child
from hephaestus.errors import CorruptLog
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from hephaestus.engine.agenda import Agenda
    from hephaestus.engine.effects import Owed
    from hephaestus.engine.events import CancelRequested, Paused
    from hephaestus.engine.records import (
        Failure,
        Held,
        Loop,
        Mapped,
        OpenItem,
        Origin,
        Part,
        Queued,
        Received,
        Replacement,
        Turn,
        Undelivered,
    )

T = TypeVar("T")
Status: TypeAlias = Literal[
    "pending", "running", "waiting", "completed", "failed", "cancelled", "compensating", "undone"
]
StepStatus: TypeAlias = Literal[
    "pending",
    "waiting",
    "retrying",
    "looping",
    "mapping",
    "completed",
    "failed",
    "skipped",
    "compensated",
    "compensation_failed",
]

STATUSES: Final[tuple[Status, ...]] = get_args(Status)
OF_ROOTS: Final = tuple(status for status in STATUSES if status != "undone")
STEP_STATUSES: Final[tuple[StepStatus, ...]] = get_args(StepStatus)
CLOSED: Final[frozenset[str]] = frozenset({"completed", "failed", "cancelled", "undone"})
CAREFUL: Final = 2  # the owner has every step checkpointed
RESERVED: Final = "hephaestus-"  # what the library's own keys, and the names of its own workflows, begin with
PARTS: Final = f"{RESERVED}map"  # the key of the instances that run a part of a map's items
TIMED: Final[frozenset[str]] = frozenset({"retrying", "looping"})  # the next attempt has a time


@dataclass(frozen=True, slots=True)
class StepState:
    """What is known of one step; a step that nothing has happened to is not in the state at all.

    ``error`` is why it failed, or why its compensation did. ``failed`` is the failure that a completed step's
    transitions route (its trace stays in the log); ``replaced`` is set where its results were given to a fork.
    ``requests`` are the requests that its completion has consumed, as they are remembered. ``fail`` is set where its
    event led to ``FAIL``, and so ends the instance: the reason, or ``""``. ``retry_at`` is when its next attempt is
    due, be it of the same round or the first of the next; ``loop`` is how far a step with rounds has come, ``mapped``
    how far a map has. ``child`` is the child that it waited for, or started detached.
    """

    status: StepStatus
    attempt: int = 0
    event: str | None = None
    taken: tuple[str, ...] = ()
    results: Mapping[str, Any] = NOTHING
    started_at: int = 0
    ended_at: int = 0
    retry_at: int | None = None
    error: Failure | None = None
    failed: Failure | None = None
    replaced: Replacement | None = None
    configs: Mapping[str, Mapping[str, Any]] = NOTHING
    requests: tuple[str, ...] = ()
    fail: str | None = None
    loop: Loop | None = None
    child: Child | None = None
    mapped: Mapped | None = None

    @property
    def round(self) -> int:
        """The number of the round that it is at, from 1; 1 where it has none."""
        return 1 if self.loop is None else self.loop.rounds + 1

    @property
    def rounds(self) -> int:
        """How many rounds it has begun; 0 where none has ended by ``Again``."""
        return 0 if self.loop is None else self.loop.rounds + (self.attempt > 0)


@dataclass(frozen=True, slots=True)
class Timer:
    """At ``due_at`` (ms) the waiting ``activation`` is given the event ``emits``.

    ``scheduled``: a one-shot schedule was made for it. ``heartbeat_ms``: a heartbeat moves it this far from then on;
    ``beaten``: one has. ``request``: it was asked for from outside, by a request that is remembered so; ``""`` without
    an id, ``None`` where the step set it itself.
    """

    token: str
    activation: str
    due_at: int
    emits: str = "timeout"
    scheduled: bool = False
    heartbeat_ms: int = 0
    beaten: bool = False
    request: str | None = None

    @property
    def step(self) -> str:
        """The key of its step."""
        return step_of(self.activation)


@dataclass(frozen=True, slots=True)
class Compensation:
    """How far undoing has come: ``left`` are the steps still to be undone, the first of them next.

    ``status`` is how the instance ends afterwards, and ``error`` why; ``attempt`` attempts at the first failed.
    ``then`` is the workflow's ``on_failure``, which runs once nothing is left to be undone.
    """

    status: str
    left: tuple[str, ...]
    error: Failure | None = None
    attempt: int = 0
    retry_at: int | None = None
    then: str = ""


class Trail:
    """A cell of the trail that leads from a state as it was loaded to what it became: one for each step touched.

    Attributes:
        before: the cell before; ``None`` for the state as it was loaded.
        step: the step that an event touched.
        depth: how many cells lead here.
        kept: what was derived from some state of this trail, for whoever asks next.
    """

    __slots__ = ("before", "depth", "kept", "step")

    def __init__(self, before: Trail | None = None, step: str = "") -> None:
        self.before = before
        self.step = step
        self.depth: int = before.depth + 1 if before is not None else 0
        self.kept: list[Agenda] = before.kept if before is not None else []


class Kept(NamedTuple):
    """What is known of where a state is stored; no part of the state.

    Attributes:
        settled: the number that the head is known to have.
        alarmed: the entries that may still show an alarm, all of them newer than the head as it was read.
        head: as it was read or put; what of it changes leaves the room for a snapshot as it is.
        values: the names of the values of this life that are known to be stored.
        snapshot: the name of the value that holds the head's snapshot, if one does.
        expiring: whether head and values were given an expiry, as of a closed instance; ``None`` where another may be
            about to, or has died over it: it has ended, and the head did not follow yet.
        ended: ``superseded`` or ``deleted`` where nothing can follow in the log of this life.
        unpublished: states with a new status, newer than the head, whose status events may not be published yet.
        owed: what other instances are still to be told for entries newer than the head, in order.
        blocked: why one of them could not be, last time, if trying again at once would not help.
    """

    settled: int = 0
    alarmed: tuple[int, ...] = ()
    head: Mapping[str, Any] = NOTHING
    values: frozenset[str] = frozenset()
    snapshot: str = ""
    expiring: bool | None = False
    ended: str = ""
    unpublished: tuple[State, ...] = ()
    owed: tuple[Owed, ...] = ()
    blocked: str = ""


@dataclass(frozen=True)
class State:
    """One life of an instance after the log entry numbered ``sequence``; times in milliseconds.

    ``life`` names it: unlike ``generation``, which counts the starts of an id, no life's name is ever used again.
    ``steps`` and ``epochs`` (how often a step's effects were undone, unless never) are by step; what runs, waits or is
    kept for a step (``running``, ``choosing``, ``timers``) by the text of the activation; ``isolated`` was under way
    when an owner died, and runs with nothing beside it since; ``careful`` is not 0 once an owner
    has died and until the instance suspends: ``CAREFUL`` as soon as another owner has come, who checkpoints every step.
    Events are for all rounds of a step (see ``line``): ``inbox`` has the next one of each step, ``lines`` what stands
    behind it.
    ``children`` are those that steps wait for, by activation; ``origin`` says whose child it is itself; ``share``, of a
    part of a map that went on after its end, how many items it may have at work; ``scheduled_for``, of an occurrence of
    a schedule, for which time (ms) it was started.
    ``permits`` are the permits of limits that are held, ``queued`` what stands in line for some, by activation; the
    instance's own are under ``INSTANCE``. ``turns`` are the times that rates allow attempts to start at, and what
    stands in line for one. ``resuming`` are the activations whose children go on once it has its permits;
    ``alone``: it was left by its parent and redriven by itself, and has no permit but its own.
    An ``orphan`` was started when its parent had ended, or was gone, and has run nothing.
    ``went_on`` is the number of the entry of its parent by which that last had it go on, 0 if it never did.
    ``undelivered`` are by step the maps that begin anew, and where the events are kept that their items had not taken.
    ``graph`` is the fingerprint of the graph that it was started with.
    It has ``timeout_ms`` to end, until ``deadline``. ``verdict`` is why it fails although no step did; ``output_tries``
    counts calls of what makes its output. Of a completed one ``output_of`` is the step whose results are the output,
    else ``output`` is.
    ``requests`` are the newest requests and ``links`` the used callback links; see ``hephaestus.engine.requests``.
    """

    instance_id: str
    generation: int
    workflow: str
    version: int
    status: Status = "pending"
    sequence: int = 0
    created_at: int = 0
    updated_at: int = 0
    start_id: str = ""
    initial: Mapping[str, Any] = NOTHING
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = NOTHING
    owner: str | None = None
    lease_until: int = 0
    wake_at: int | None = None
    steps: Mapping[str, StepState] = NOTHING
    running: tuple[str, ...] = ()
    isolated: tuple[str, ...] = ()
    careful: int = 0
    choosing: Mapping[str, int] = NOTHING
    epochs: Mapping[str, int] = NOTHING
    timers: Mapping[str, tuple[Timer, ...]] = NOTHING
    timers_set: int = 0
    share: int = 0
    inbox: Mapping[str, Received] = NOTHING
    lines: Mapping[str, tuple[Received, ...]] = NOTHING
    links: tuple[str, ...] = ()
    cancel: CancelRequested | None = None
    paused: Paused | None = None
    compensation: Compensation | None = None
    error: Failure | None = None
    timeout_ms: int = 0
    deadline: int | None = None
    verdict: Failure | None = None
    output_of: str = ""
    output: Mapping[str, Any] = NOTHING
    output_tries: int = 0
    parked: str | None = None
    parks: int = 0
    forked_from: str = ""
    forked_by: str = ""
    forked_by_source: str = ""
    initial_replaced: Replacement | None = None
    requests: tuple[str, ...] = ()
    life: str = ""
    graph: str = ""
    origin: Origin | None = None
    children: Mapping[str, Child] = NOTHING
    permits: Mapping[str, Held] = NOTHING
    queued: Mapping[str, Queued] = NOTHING
    resuming: tuple[str, ...] = ()
    alone: bool = False
    turns: Mapping[str, Turn] = NOTHING
    scheduled_for: int = 0
    undelivered: Mapping[str, Undelivered] = NOTHING
    orphan: bool = False
    went_on: int = 0
    kept: Kept = field(default=Kept(), init=False, compare=False, repr=False)
    trail: Trail = field(default_factory=Trail, init=False, compare=False, repr=False)

    @property
    def deadlines(self) -> Iterator[Timer]:
        """The timers of every activation."""
        for timers in self.timers.values():
            yield from timers

    @property
    def public_id(self) -> str:
        """The id that people know it by: of one that runs a part of a map's items, that of the map's owner (C.1)."""
        part = self.part
        return self.instance_id if part is None else part.owner

    @property
    def part(self) -> Part | None:
        """Which items of another instance's map it runs, if it does."""
        return None if self.origin is None else self.origin.part

    @property
    def attached(self) -> bool:
        """Whether it is a child that its parent waits for: it is steered, and goes, with the root of its tree."""
        return self.origin is not None and not self.origin.detached

    @property
    def stays(self) -> bool:
        """Whether it does not expire by itself: what has a parent goes with its root (D.11)."""
        return not self.closed or (self.attached and not self.orphan)

    @property
    def offspring(self) -> dict[str, Child]:
        """The children of the newest epoch of each step, by the step's activation: of rounds, that of the newest."""
        if not self.steps:
            return {}
        found = {
            text_of(key, self.epochs.get(key, 0), step.child.round): step.child
            for key, step in self.steps.items()
            if step.child is not None
        }
        return {**found, **self.children}

    @property
    def has_kin(self) -> bool:
        """Whether it has children that are not detached, or parts of a map."""
        if self.undelivered or any(not child.detached for child in self.offspring.values()):
            return True
        every = (step.mapped for step in self.steps.values())
        return any(mapped is not None and mapped.by_others and mapped.tree is None for mapped in every)

    @property
    def has_spread(self) -> bool:
        """Whether it has the items of a map as values, which no entry names one by one."""
        if self.part is not None:
            return False
        if self.undelivered:
            return True
        every = (step.mapped for step in self.steps.values())
        return any(mapped is not None and mapped.in_parts and mapped.tree is None for mapped in every)

    @property
    def kin(self) -> tuple[str, ...]:
        """Its children that are not detached, those of all rounds included."""
        found: list[str] = []
        for activation, child in self.offspring.items():
            if not child.detached:
                step = step_of(activation)
                loop = self.loop(step)
                found.append(child.instance_id)
                if "[" not in activation:
                    rounds = range(loop.rounds if loop else 0, 0, -1)
                    found += [child_in(self, step, one).instance_id for one in rounds]
        for step in self.steps:
            found += [part.instance_id for part in parts_of(self, step).values()]
        for step in self.undelivered:
            found += parts_before(self, step)
        return tuple(dict.fromkeys(found))

    @property
    def closed(self) -> bool:
        """Whether the generation has ended; a closed one changes by nothing but ``Redriven`` and ``UndoRequested``."""
        return self.status in CLOSED

    def owned(self, now: int) -> bool:
        """Whether an owner's lease is alive at ``now`` (ms)."""
        return self.owner is not None and self.lease_until > now

    def step_status(self, step: str) -> StepStatus:
        """The status of ``step``; ``pending`` when nothing has happened to it."""
        known = self.steps.get(step)
        return known.status if known else "pending"

    def activation(self, step: str, *, undo: bool = False) -> str:
        """The text of the newest activation of ``step``, or of its compensation, which undoes all rounds at once."""
        epoch = 0 if self.epochs is NOTHING else self.epochs.get(step, 0)
        if undo:
            return text_of(step, epoch, undo=True)
        known = self.steps.get(step)
        return text_of(step, epoch) if known is None or known.loop is None else text_of(step, epoch, known.round)

    def item(self, step: str, key: str, *, undo: bool = False) -> str:
        """The text of the newest activation of an item of the map ``step``, or of its compensation."""
        return text_of_item(step, 0 if self.epochs is NOTHING else self.epochs.get(step, 0), key, undo=undo)

    def line(self, step: str) -> str:
        """What the events for ``step`` are kept under: the text of its activation, whichever round it is at."""
        return text_of(step, 0 if self.epochs is NOTHING else self.epochs.get(step, 0))

    def waiting_for(self, step: str) -> tuple[Received, ...]:
        """The events that are kept for ``step``, the next one first."""
        line = self.line(step)
        return (self.inbox[line], *self.lines.get(line, ())) if line in self.inbox else ()

    def loop(self, step: str) -> Loop | None:
        """How far ``step`` has come, if it has rounds and its first one has ended."""
        known = self.steps.get(step)
        return None if known is None else known.loop

    def open_item(self, activation: str) -> OpenItem | None:
        """What is known of an item that is between two attempts, or waits; ``None`` for others, and for steps."""
        found = parse(activation)
        known = self.steps.get(found.step)
        if found.item is None or known is None or known.mapped is None:
            return None
        return known.mapped.open.get(found.item)

    def waits(self, activation: str) -> bool:
        """Whether what ``activation`` names, a step or an item, waits for an event or a time."""
        if "[" not in activation:
            return self.step_status(step_of(activation)) == "waiting"
        one = self.open_item(activation)
        return one is not None and one.retry_at is None and self.step_status(step_of(activation)) == "mapping"

    def retries(self, activation: str) -> bool:
        """Whether what ``activation`` names, a step or an item, is between two attempts."""
        if "[" not in activation:
            return self.step_status(step_of(activation)) == "retrying"
        one = self.open_item(activation)
        return one is not None and one.retry_at is not None

    def attempt_of(self, activation: str) -> int:
        """The number of the attempt that ``activation`` is at, or comes next; see ``attempt``."""
        if "[" not in activation:
            return self.attempt(step_of(activation))
        one = self.open_item(activation)
        return 1 if one is None else one.attempt + (one.retry_at is not None)

    def attempt(self, step: str) -> int:
        """The number of the attempt that ``step`` is at: the one that runs, or the one that comes next."""
        if self.compensation is not None and self.compensation.left:
            return self.compensation.attempt + 1
        known = self.steps.get(step)
        return 1 if known is None else max(known.attempt + (known.status in TIMED), 1)


def is_fatal(step: StepState) -> bool:
    """Whether a step ends its instance: it failed for good, or its event led to ``FAIL``."""
    return step.status == "failed" or step.fail is not None


def evolve(state: State, changes: dict[str, Any] | None = None, /, **named: Any) -> State:
    """``state`` with some fields changed: ``dataclasses.replace`` at a tenth of its cost, for the inner loop.

    What changes steps, timers or the inbox leaves the trail, unless it says in ``trail`` which step it touched.

    Args:
        state: the state.
        changes: the changes, a mapping of the caller's own, in place of ``named``.
        named: the changes by name.
    """
    changed = named if changes is None else changes
    if "trail" not in changed and not _TRAILED.isdisjoint(changed):
        changed["trail"] = Trail()
    after = object.__new__(State)
    object.__setattr__(after, "__dict__", state.__dict__ | changed)
    return after


_TRAILED: Final = frozenset({"steps", "timers", "inbox", "lines"})


def above_of(state: State) -> tuple[str, ...]:
    """The names of the limits of which those above an instance had a permit as they started it."""
    return () if state.origin is None else state.origin.limits


def child_of(state: State, activation: str) -> Child:
    """The child that an activation waits for, or waited for.

    Raises:
        CorruptLog: it has none.
    """
    step = state.steps.get(step_of(activation))
    found = state.children.get(activation) or (step.child if step is not None else None)
    if found is None:
        message = f"instance {state.instance_id}: {activation} has no child"
        raise CorruptLog(message)
    return found


def child_in(state: State, step: str, round_: int) -> Child:
    """The child that a round of ``step`` has started: of all but the newest, the id is derived.

    Raises:
        CorruptLog: the step has started none.
    """
    found = [child for one, child in state.children.items() if step_of(one) == step]
    if (kept := state.steps[step].child) is not None:
        found.append(kept)
    if not found:
        message = f"instance {state.instance_id}: step {step} has no child"
        raise CorruptLog(message)
    if known := [child for child in found if child.round == round_]:
        return known[0]
    key, activation = found[0].instance_id.partition("::")[0], text_of(step, state.epochs.get(step, 0), round_)
    return Child(f"{key}::{derived(*place_of(state, activation))}", round=round_, asks=True)


def part_in(state: State, activation: str) -> Child:
    """The instance that runs a part of a map's items, or an item that is a workflow: its id is derived.

    Raises:
        CorruptLog: the map has no such part, or its items are not in parts.
    """
    found = parse(activation)
    known = state.steps.get(found.step)
    mapped = None if known is None else known.mapped
    place = None if mapped is None or found.item is None else mapped.place(found.item)
    if mapped is None or place is None or not mapped.by_others:
        message = f"instance {state.instance_id}: {activation} is no part of a map"
        raise CorruptLog(message)
    key = PARTS if mapped.in_parts else mapped.child
    return Child(f"{key}::{derived(*place_of(state, activation))}", number=mapped.entries[place])


def parts_of(state: State, step: str) -> dict[str, Child]:
    """By activation, the instances that run a map's items and have begun in its newest epoch."""
    known = state.steps.get(step)
    mapped = None if known is None else known.mapped
    if mapped is None or not mapped.by_others or mapped.tree is not None:
        return {}
    every = [(state.item(step, mapped.key(place)), number) for place, number in enumerate(mapped.entries)]
    return {one: part_in(state, one) for one, number in every if number or one in state.children}


def parts_before(state: State, step: str) -> list[str]:
    """The ids of the instances that are kept for the events of a map that begins anew; see ``Undelivered``.

    Where events were stored with its items, those that have taken them are among these.
    """
    left = state.undelivered[step]
    every = range(-(-left.plan.total // left.plan.width(left.plan.total))) if left.plan.carried else left.parts
    texts = [text_of_item(step, left.epoch, str(place)) for place in every]
    return [f"{PARTS}::{derived(*place_of(state, text))}" for text in texts]


def left_by(closed: State) -> Mapping[str, Any]:
    """The output of an instance that has completed."""
    return closed.steps[closed.output_of].results if closed.output_of else closed.output


def undoes_at_cancel(state: State) -> bool:
    """Whether a cancelled instance undoes what it did. What a part of a map did is undone with the map."""
    return state.cancel is not None and state.cancel.compensate and state.part is None


def is_paused_alone(state: State) -> bool:
    """Whether it is the instance that is paused, with its children, and not its workflow."""
    return state.paused is not None and not state.paused.look_at


def is_part(state: State, activation: str) -> bool:
    """Whether an activation is that of a part of a map, and not of a step or an item."""
    mapped = _mapped(state, activation)
    return mapped is not None and mapped.in_parts


def is_other(state: State, activation: str) -> bool:
    """Whether an activation is that of an instance in a map: a part of its items, or an item that is a workflow."""
    mapped = _mapped(state, activation)
    return mapped is not None and mapped.by_others


def _mapped(state: State, activation: str) -> Mapped | None:
    """The map of an activation in brackets, once it has begun."""
    known = state.steps.get(step_of(activation)) if "[" in activation else None
    return None if known is None else known.mapped


def place_of(state: State, activation: str) -> tuple[str, str]:
    """Where the child of an activation is: the life of the root of its tree, and the path from there."""
    origin = state.origin
    return (state.life, activation) if origin is None else (origin.root_life, f"{origin.path}/{activation}")


def depth_of(state: State) -> int:
    """How many parents stand above a child of an instance but that one; what runs a map's items is none of them."""
    shown = "" if state.origin is None else state.origin.public[1]
    return shown.count("/") + 1 if shown else 0


def undone_from(state: State, step: str) -> int:
    """The newest round of ``step`` whose child is still to be undone; 0 for none. A step without rounds has one."""
    known, current = state.steps[step], state.children.get(state.activation(step))
    if current is not None and (current.status == "completed" or current.stuck):
        return current.round
    rounds = 0 if known.loop is None else known.loop.rounds
    if known.child is None:
        return rounds if current is not None else 0
    left = known.child.status == "completed" or known.child.stopping == "undo" or known.child.stuck
    return known.child.round if left else rounds


def is_stuck(state: State, step: str) -> bool:
    """Whether the newest child of a step has failed, and could not undo all that it did."""
    child = state.children.get(state.activation(step)) or state.steps[step].child
    return child is not None and child.stuck


def not_undone(state: State) -> list[str]:
    """The steps of which what was done could not be undone, by themselves or by their child."""
    return [key for key, step in state.steps.items() if step.status == "compensation_failed" or is_stuck(state, key)]


def added(mapping: Mapping[str, T], key: str, value: T) -> dict[str, T]:
    """``mapping`` with one more value: a copy, but the only thing whose cost grows with its size."""
    changed = dict(mapping)
    changed[key] = value
    return changed


def without(mapping: Mapping[str, T], key: str) -> dict[str, T]:
    """``mapping`` without what it has for ``key``."""
    changed = dict(mapping)
    changed.pop(key, None)
    return changed


def asked_for(timers: Mapping[str, tuple[Timer, ...]], steps: Collection[str]) -> Mapping[str, tuple[Timer, ...]]:
    """``timers`` by activation, of those of ``steps`` only the ones that were asked for from outside."""
    if not timers:
        return timers
    kept = {
        one: tuple(timer for timer in known if step_of(one) not in steps or timer.request is not None)
        for one, known in timers.items()
    }
    return {one: known for one, known in kept.items() if known}


def heartbeat_token(activation: str, attempt: int, due_at: int) -> str:
    """What the deadline of a heartbeat is called: each has a name of its own."""
    return token_of(activation, f"{attempt}.h{due_at}")
