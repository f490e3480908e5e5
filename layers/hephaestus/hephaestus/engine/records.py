"""What events and the state are made of beside themselves: the empty mapping, failures, replacements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

from hephaestus.engine.shards import limit_of
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Nothing(Mapping[str, Any]):
    """The empty mapping, shared by all that hold nothing. It is no ``dict``: C code would write to one."""

    __slots__ = ()

    def __getitem__(self, key: str) -> NoReturn:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __contains__(self, _key: object) -> bool:
        return False

    def get(self, _key: str, default: Any = None) -> Any:
        return default

    def __eq__(self, other: object) -> bool:
        return not other and isinstance(other, Mapping)

    def __hash__(self) -> int:  # so that it may be a field's default
        return hash(_Nothing)

    def __repr__(self) -> str:
        return "{}"

    def __reduce__(self) -> str:
        return "NOTHING"  # copied and pickled as what it is: this one


NOTHING: Final[Mapping[str, Any]] = _Nothing()


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as history keeps it: the type's name, the message, and where it was raised."""

    type: str
    message: str
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Received:
    """An accepted event that its step has not consumed yet; ``only``: the activation that may, ``""`` for any."""

    event: str
    event_id: str
    payload: Any = None
    only: str = ""


@dataclass(frozen=True, slots=True)
class Loop:
    """How far a step with rounds has come, once its first round has ended.

    Attributes:
        rounds: how many of its rounds have ended by ``Again``.
        carry: what the newest of them left for the next.
        began_at: when the first round began (ms).
        quick: how many rounds in a row were followed by the next within a second, as far as that counts.
        received: the event that ended the wait of the round before, and is given to this one.
        requests: the newest requests from outside that its rounds have consumed, as they are remembered.
    """

    rounds: int
    carry: Mapping[str, Any] = NOTHING
    began_at: int = 0
    quick: int = 0
    received: Received | None = None
    requests: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """How the items of a map with more than one instance runs are spread: the same for all instances of its tree.

    Attributes:
        name: what the names of the values begin with that hold the items, in the partition of the map's owner.
        total: how many items there are.
        chunk: how many of them share an instance.
        fan: how many instances one has below it at most.
        tolerated: how many items may fail.
        cap: how many items of one instance are at work at a time at most.
        keyed: whether the items have keys of their own, and not their indexes.
        of_object: whether the items are lines of an object, and only where they are is stored.
        graph: the fingerprint of the graph that the instances run.
        carried: whether events are stored with the items, which were accepted for them before the map began anew.
    """

    name: str
    total: int
    chunk: int
    fan: int
    tolerated: int
    cap: int
    keyed: bool = False
    graph: str = ""
    of_object: bool = False
    carried: bool = False

    def width(self, size: int) -> int:
        """How many items each instance has that ``size`` items are divided among."""
        width = self.chunk
        while width * self.fan < size:
            width *= self.fan
        return width


@dataclass(frozen=True, slots=True)
class Part:
    """Which items of whose map an instance runs.

    Attributes:
        owner, life, generation: the instance that has the map.
        step, epoch: the map.
        plan: how its items are spread.
        first, size: which of the items: those from this place on, so many.
        share: how many of them may be at work at a time.
        began_at: when that instance began (ms).
    """

    owner: str
    life: str
    generation: int
    step: str
    epoch: int
    plan: Plan
    first: int
    size: int
    share: int
    began_at: int = 0


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose child an instance is.

    Attributes:
        instance_id, life: the parent.
        activation: of the parent's step that started it.
        root, root_life: the instance that its derived id goes back to.
        path: the activations from there to this instance, joined by ``/``.
        detached: whether it is independent of its parent: not waited for, and not steered by it.
        root_generation, root_created_at: which run of the root that is, and when it began (ms).
        part: where it runs some of the items of a map, which ones.
        shown_parent, shown_path: the parent and the path as people know them, where these differ: they do not know the
            instances that run the items of a map, but the one that has it. Both empty: it is a root's.
        limits: the names of the limits of which those above it have a permit: what descends from a holder has it.
    """

    instance_id: str
    life: str
    activation: str
    root: str
    root_life: str
    path: str
    detached: bool = False
    root_generation: int = 1
    root_created_at: int = 0
    part: Part | None = None
    shown_parent: str | None = None
    shown_path: str | None = None
    limits: tuple[str, ...] = ()

    @property
    def public(self) -> tuple[str, str]:
        """The parent and the path as people know them."""
        parent = self.instance_id if self.shown_parent is None else self.shown_parent
        return parent, self.path if self.shown_path is None else self.shown_path


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An instance that a schedule starts, with all that it starts with: an effect of the commit that names it.

    Attributes:
        child: its id.
        scheduled_for: the time that it is for (ms).
        start_id: the name of its start.
        workflow, version, initial, tags, metadata, graph, timeout_ms: see ``InstanceStarted``.
        by, by_source: who has triggered it, and how that is known; empty where its time had come.
    """

    child: str
    scheduled_for: int
    start_id: str
    workflow: str
    version: int
    initial: Mapping[str, Any] = NOTHING
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = NOTHING
    graph: str = ""
    timeout_ms: int = 0
    by: str = ""
    by_source: str = ""


@dataclass(frozen=True, slots=True)
class Child:
    """A child that a step waits for.

    Attributes:
        instance_id: the child.
        detached: see ``Origin``.
        stopping: why it is cancelled, ``timeout`` or ``end``, or ``undo``; ``""`` while it is not.
        status: how it has ended; ``""`` while it has not.
        output: what it left.
        error: why it failed.
        number: of the log entry that closed it, the last time that its end was told.
        within_ms: how long it may take, if that is bounded.
        round: of its step that it is for.
        asks: whether its step decides, once it has completed, if another round follows.
        stuck: whether it has failed, and could not undo all that it did.
        ended_at: when it ended (ms), until its step has.
    """

    instance_id: str
    detached: bool = False
    stopping: str = ""
    status: str = ""
    output: Mapping[str, Any] = NOTHING
    error: Failure | None = None
    number: int = 0
    within_ms: int = 0
    round: int = 1
    asks: bool = False
    stuck: bool = False
    ended_at: int = 0

    @property
    def asked(self) -> bool:
        """Whether it has completed, and its step is still to say what follows."""
        return self.asks and self.status == "completed"

    @property
    def known(self) -> Child:
        """What its step keeps of it, and whether it was undone: the results and the error are the step's."""
        return replace(self, stopping="undo" if self.stopping == "undo" else "", output=NOTHING, error=None, ended_at=0)

    @property
    def reopened(self) -> Child:
        """The same child, which is to end once more: it is redriven, or undone."""
        return replace(self.known, status="", stopping="", stuck=False)

    @property
    def resumed(self) -> Child:
        """The same child, with which its step goes on; the end of one that had completed counts once more."""
        again = self.number - 1 if self.status == "completed" else self.number
        return replace(self.reopened, number=again)


@dataclass(frozen=True, slots=True)
class OpenItem:
    """An item of a map that is between two attempts, or waits; of one in its first attempt nothing is known but that.

    Attributes:
        attempt: how many attempts it has had: at the item or, once it has completed, at undoing it.
        started_at: when the last one began (ms).
        retry_at: when the next one is due (ms); ``None`` where it waits.
    """

    attempt: int
    started_at: int = 0
    retry_at: int | None = None


NOT_ENDED: Final = "."
COMPLETED: Final = "c"
FAILED: Final = "f"
STUCK: Final = "s"  # a workflow that has failed, and could not undo all that it did
CANCELLED: Final = "x"
UNDONE: Final = "u"
NOT_UNDONE: Final = "n"


@dataclass(frozen=True, slots=True)
class Tree:
    """Where the instances are that run a map's items.

    Attributes:
        owner, life: the instance that has the map, and its life.
        root_life, above: what the ids of the instances are derived from: the life of the root of their tree, and the
            path from there to the owner; empty where that is the root.
        step, epoch: the map.
    """

    owner: str
    life: str
    root_life: str
    above: str
    step: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A map in parts that is to begin anew, and for whose items events were accepted that none has taken.

    Attributes:
        epoch: in which it ran.
        plan: how its items were spread.
        parts: the places of those right below its owner that keep such events.
    """

    epoch: int
    plan: Plan
    parts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """What has become of the items of a part of a map, as far as its instance has said.

    Of those that have failed, ``stuck`` are workflows that could not undo all that they did. For ``kept`` of those that
    have not completed, an event was accepted that they have not taken.
    """

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    not_started: int = 0
    stuck: int = 0
    kept: int = 0


@dataclass(frozen=True, slots=True)
class Mapped:
    """How far a map has come, once its items are recorded.

    A map with a ``plan`` has its items in several instances. One that has some of them itself is a leaf of the tree.
    Of the others what is said here of an item is meant of a part, which is an instance of its own: ``COMPLETED`` of one
    that has ended, ``FAILED`` of one that could not, and ``entries`` has the number that its end was reported with.

    Attributes:
        items: what its step runs for, in their order.
        keys: their keys; none where they are the indexes.
        initial: the start data that the items read; ``None`` for those of the instance.
        ends: of each item a letter, as above.
        entries: of each item the number of the log entry that ended it; 0 before.
        open: by key, those that are between two attempts, or wait.
        events: how many of the completed items emitted each event.
        reason: the story of the first that failed.
        left: what the completed items left, where a fork has taken them over: their entries are not in its log.
        plan: how the items are spread over instances; ``None`` where this one has them all.
        first: the place of the first of its items among those of the whole map.
        size: how many it has, those of its parts included; 0 without a plan.
        share: how many may be at work at a time; 0 where the map itself says so.
        counts, shares: of each part what has become of its items, and its share; 0 where it has not begun.
        config: the configuration of the map, where it is another instance's.
        child, version: where an item is an instance of a workflow: the key of their ids, and which version. Then
            ``entries`` has the number that its end was reported with.
        tree: where a fork has taken over a map in parts, whose tree that is: its instances stay where they are.
        malformed: by key, what is wrong with the lines that are no items.
        stuck: the places of workflows that could not undo themselves, where the letter does not say so: of those that
            are to go on, and of those that could not be undone once more.
    """

    items: Any
    keys: tuple[str, ...] = ()
    initial: Any = None
    ends: str = ""
    entries: tuple[int, ...] = ()
    open: Mapping[str, OpenItem] = NOTHING
    events: Mapping[str, int] = NOTHING
    reason: str = ""
    left: Any = None
    plan: Plan | None = None
    first: int = 0
    size: int = 0
    share: int = 0
    counts: tuple[Counts, ...] = ()
    shares: tuple[int, ...] = ()
    config: Mapping[str, Any] = NOTHING
    child: str = ""
    version: int = 0
    tree: Tree | None = None
    stuck: tuple[int, ...] = ()
    malformed: Mapping[str, str] = NOTHING

    @property
    def by_others(self) -> bool:
        """Whether each of what it has is an instance of its own: a part of its items, or an item that is a workflow."""
        return bool(self.child) or self.in_parts

    @property
    def in_parts(self) -> bool:
        """Whether its items are in other instances."""
        return self.plan is not None and self.size > self.plan.chunk

    @property
    def failed(self) -> int:
        """How many items have failed, as far as is known."""
        if self.in_parts:
            return sum(one.failed for one in self.counts)
        return self.ends.count(FAILED) + self.ends.count(STUCK)

    def part(self, place: int) -> tuple[int, int]:
        """Which items the part at ``place`` has: the place of the first in the whole map, and how many."""
        assert self.plan is not None  # noqa: S101 - it is in parts
        width = self.plan.width(self.size)
        return self.first + place * width, min(width, self.size - place * width)

    def is_to_undo(self, place: int) -> bool:
        """Whether something is to be undone at a place: of a part, of some of its items, also if it was to go on.

        A workflow that has failed undid itself, unless it is stuck. What a fork has taken over is undone by its source.
        """
        if self.in_parts:
            counts = self.counts[place]
            return self.ends[place] in (COMPLETED, NOT_ENDED) and counts.completed + counts.stuck > 0
        return self.ends[place] == COMPLETED or self.is_stuck(place)

    def is_stuck(self, place: int) -> bool:
        """Whether an item is a workflow that has failed, and has not undone all that it did, also if it is to go on."""
        return self.ends[place] == STUCK or (self.ends[place] == NOT_ENDED and place in self.stuck)

    def begins_again(self, place: int) -> Mapped:
        """It, once what is at a place goes on: what comes of that is told with its end."""
        return replace(self, stuck=tuple([one for one in self.stuck if one != place])) if self.stuck else self

    def not_undone(self, place: int) -> Mapped:
        """It, as what is at a place could not be undone: whether it had completed is still known."""
        known = not self.is_stuck(place) or place in self.stuck
        return self if known else replace(self, stuck=(*self.stuck, place))

    def to_undo_again(self) -> Mapped:
        """It, once what could not be undone is to be undone once more."""
        ends = [
            end if end != NOT_UNDONE else STUCK if at in self.stuck else COMPLETED for at, end in enumerate(self.ends)
        ]
        return replace(self, ends="".join(ends))

    def share_of(self, place: int) -> int:
        """How many items of a part may be at work; of one that was about to go on, at most as many as it has."""
        return self.shares[place] or self.part(place)[1]

    def over(self) -> Mapped:
        """It, once the map has ended: what was open is cancelled."""
        if not self.open:
            return self
        ends = [CANCELLED if self.key(at) in self.open else end for at, end in enumerate(self.ends)]
        return replace(self, ends="".join(ends), open=NOTHING)

    def again(self) -> Mapped:
        """It, once the failed map goes on: all that has not completed is run again."""
        if self.in_parts:
            return self._parts_again(keeps=False)
        begun = [end == COMPLETED for end in self.ends]
        ends = "".join(COMPLETED if done else NOT_ENDED for done in begun)
        if self.child:
            stuck = tuple([place for place in range(len(ends)) if self.is_stuck(place)])
            return replace(self, ends=ends, open=NOTHING, reason="", stuck=stuck)
        entries = tuple(entry if done else 0 for entry, done in zip(self.entries, begun, strict=True))
        return replace(self, ends=ends, entries=entries, open=NOTHING, reason="")

    def goes_on(self) -> Mapped:
        """It, once the map goes on that was cancelled: failed items have failed, what was open is where it was."""
        if self.in_parts:
            return self._parts_again(keeps=True)
        return replace(self, ends=self.ends.replace(CANCELLED, NOT_ENDED))

    def _parts_again(self, *, keeps: bool) -> Mapped:
        """It, once it goes on: the instances go on whose items have not all come to an end that counts.

        One that keeps what its items had come to has its share still, and gets it again.
        """
        ends, counts, shares = [], [], []
        for place, (end, known, share) in enumerate(zip(self.ends, self.counts, self.shares, strict=True)):
            kept = keeps and end != FAILED
            left = Counts(known.completed, stuck=known.stuck, kept=known.kept)
            left = replace(left, failed=known.failed) if kept else left
            whole = end == COMPLETED and left.completed + left.failed == self.part(place)[1]
            ends.append(COMPLETED if whole else NOT_ENDED)
            counts.append(left)
            shares.append(share if whole or kept else 0)
        reason = self.reason if keeps else ""
        return replace(self, ends="".join(ends), counts=tuple(counts), shares=tuple(shares), reason=reason)

    @property
    def _offset(self) -> int:
        """What is to be added to a place for the key of an item that has its index as its key."""
        return 0 if self.in_parts else self.first

    def key(self, place: int) -> str:
        """The key of the item, or of the part, at ``place``."""
        return self.keys[place] if self.keys else str(self._offset + place)

    def place(self, key: str) -> int | None:
        """The place of an item, or of a part; ``None`` for no item of this map."""
        if self.keys:
            return self.keys.index(key) if key in self.keys else None
        if not (key.isascii() and key.isdecimal() and str(int(key)) == key):
            return None
        place = int(key) - self._offset
        return place if 0 <= place < len(self.ends) else None


@dataclass(frozen=True, slots=True)
class Need:
    """A limit that an attempt needs a permit of.

    Attributes:
        limit: its name, with the value of ``per``.
        number: how many permits it has, as its workflow's code says.
        of: the number of the deployment that this is the code of.
    """

    limit: str
    number: int
    of: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """A permit that was granted: of which limit, which of its permits, and when (ms)."""

    limit: str
    slot: int
    at: int


@dataclass(frozen=True, slots=True)
class Held:
    """The permits that an activation holds.

    Attributes:
        attempt: which of its attempts took them.
        grants: the permits.
        whole: whether they are held until the step's outcome, waits and retries included.
        order: where it stood in line for them (ms); 0 where it did not.
        owner: who took them, where it did not.
    """

    attempt: int
    grants: tuple[Grant, ...]
    whole: bool = False
    order: int = 0
    owner: str = ""

    @property
    def limits(self) -> tuple[str, ...]:
        """The names of their limits."""
        return tuple([limit_of(grant.limit).partition("#")[0] for grant in self.grants])


@dataclass(frozen=True, slots=True)
class Queued:
    """What stands in line: an attempt that holds none of the permits that it needs.

    Attributes:
        attempt: which of the attempts.
        needs: the limits.
        order: where in the line (ms): when it joined, less 60 s for each unit of priority.
        whole: see ``Held``.
        at: when it joined (ms).
    """

    attempt: int
    needs: tuple[Need, ...]
    order: int
    whole: bool = False
    at: int = 0


@dataclass(frozen=True, slots=True)
class Pace:
    """A rate that an attempt needs a place of.

    Attributes:
        limit: its name, with the value of ``per``.
        period: the time (microseconds) in which ``n`` may start, as the code says.
        burst: how many of them may start at once after a pause.
        cost: how many places the attempt takes.
        n: how many.
        of: the number of the deployment whose code says so.
    """

    limit: str
    period: int
    burst: int
    cost: int = 1
    n: int = 1
    of: int = 0


@dataclass(frozen=True, slots=True)
class Turn:
    """When an attempt may start, as the rates that it needs allow.

    Attributes:
        attempt: which of the attempts.
        at: when (ms); 0 while it stands in line.
        order: where it stands, or stood, in a line (ms); 0 where it never did.
        paces: the rates that it needs; the first of them is the one whose line it stands in.
    """

    attempt: int
    at: int = 0
    order: int = 0
    paces: tuple[Pace, ...] = ()


@dataclass(frozen=True, slots=True)
class Replacement:
    """Data that a fork was given in place of what its source had.

    ``by`` is who asked for that fork, and ``by_source`` how that is known; ``forked_from`` the instance, generation
    and log entry that it began at, as ``orderid::a#1#7``. A fork of the fork keeps the mark: the data still are not
    what a step returned.
    """

    by: str = ""
    forked_from: str = ""
    by_source: str = ""
