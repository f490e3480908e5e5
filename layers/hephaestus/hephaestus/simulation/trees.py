"""What must hold of maps whose items are in trees of instances (rules C.1, C.2, C.6, C.8 and C.13).

A tree is what its leaves have done, by their own logs; what a node was told of the instances below it is held against
their books.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hephaestus.engine.activation import Activation, is_item, parse
from hephaestus.engine.codec import load_value
from hephaestus.engine.records import Counts
from hephaestus.simulation import kinship, of_workflows
from hephaestus.simulation.violation import require
from hephaestus.store.keys import read_mail_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hephaestus.engine.events import (
        ChildUndoing,
        EventReceived,
        MapBegun,
        MapSpread,
        PartEnded,
        PartReported,
        PartResumed,
        PartStarted,
        StepCompleted,
        StepFailed,
    )
    from hephaestus.engine.records import Part, Plan
    from hephaestus.simulation.books import Book
    from hephaestus.simulation.checks import Check, Generation
    from hephaestus.simulation.ledger import Ledger

    Name: TypeAlias = tuple[str, str, str, int]
    Owner: TypeAlias = tuple[str, str, str]

ENDED: Final = ("completed", "cancelled")  # how a part ends that has not failed itself
LEFT: Final = ("lost", "rejected")
STOPS_MS: Final = 20_000  # in which all of a tree that runs has looked at its log


@dataclass
class Node:
    """What the ledger knows of an instance that has others run the items of a map.

    Attributes:
        plan: how the items are spread.
        first, size: which of them are below it.
        most: how many of them may be at work at a time.
        shares: of each part under way its share, by activation.
        told: of each part what is known of its items, as far as that still counts.
        ended: the parts that have ended, but for those that go on.
        emitted: how many items emitted each event, as it was told.
        broken: the parts that ended otherwise than as completed or cancelled.
        repeated: of the parts that go on, whether the items that have failed are repeated.
        undone, kept: the parts that are undone, and those that could not be.
        numbers: of each part that was heard of, the newest log entry of it that was told.
        stopped_at: when more items were known to have failed than may (ms).
    """

    plan: Plan
    first: int
    size: int
    most: int
    shares: dict[str, int] = field(default_factory=dict)
    told: dict[str, Counts] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    emitted: Counter[str] = field(default_factory=Counter)
    broken: set[str] = field(default_factory=set)
    repeated: dict[str, bool] = field(default_factory=dict)
    undone: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)
    stopped_at: int | None = None

    @property
    def width(self) -> int:
        """How many items a part has: a chunk, or a chunk times a power of the fan."""
        found = self.plan.chunk
        while -(-self.size // found) > self.plan.fan:
            found *= self.plan.fan
        return found

    def parts(self) -> int:
        """How many parts there are."""
        return -(-self.size // self.width)

    def size_of(self, activation: str) -> int:
        """How many items a part has."""
        place = int(parse(activation).item or "")
        return min(self.width, self.size - place * self.width)

    def to_undo(self) -> set[str]:
        """The parts that have something to undo."""
        return {one for one, told in self.told.items() if told.completed + told.stuck} - self.undone - self.kept

    def is_stopped(self) -> bool:
        """Whether more items are known to have failed than may."""
        return self.known("failed") > self.plan.tolerated

    def known(self, what: str) -> int:
        """How many items have completed, or failed, as far as it was told."""
        return sum(getattr(one, what) for one in self.told.values())

    def again(self, most: int, *, keeps: bool) -> None:
        """What has not completed goes on: where that ``keeps`` what has failed, only what has not come to an end."""
        self.most, self.stopped_at = most, None
        for one, told in self.told.items():
            kept = keeps and one not in self.broken
            self.told[one] = Counts(told.completed, told.failed if kept else 0, stuck=told.stuck)
        again = {one for one in self.ended if sum(_ends(self.told[one])) < self.size_of(one)}
        begun = again | self.repeated.keys()
        self.repeated = {one: not keeps or one in self.broken or self.repeated.get(one, False) for one in begun}
        self.broken -= again
        self.ended -= again


@dataclass
class Tree:
    """A map of one life and epoch whose items are in several instances.

    Attributes:
        items: all of them, with their keys, in their order.
        leaves: the instances that have begun to run some of them, by the place of their first item.
    """

    items: dict[str, Any]
    leaves: dict[int, Generation] = field(default_factory=dict)


class Trees:
    """All trees of a run."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[Name, Tree] = {}
        self._carried: dict[Owner, dict[str, EventReceived]] = {}
        self._apart: dict[Owner, set[str]] = {}

    def spreads(self, check: Check, event: MapSpread) -> None:
        """The items are recorded: by the owner of the map, once, or as one that is below it was told."""
        known, step, part = check.known, event.step, check.known.state.part
        found = known.reference().step(step)
        require(found == "startable", "invariant 4", f"the map {step} began, but it is {found}")
        begun = step in known.items.maps or step in known.items.nodes
        require(not begun, "invariant 2", f"the map {step} began twice")
        known.suspects.discard(event.activation)
        spread = known.graph.maps[step]
        if part is not None:
            require(event.plan == part.plan, "maps", f"{part.plan} became {event.plan}")
            known.items.nodes[step] = Node(event.plan, part.first, part.size, part.share)
            return
        plan = event.plan
        right = plan.tolerated == spread.tolerated(plan.total) and plan.total > plan.chunk
        require(right, "maps", f"{plan} does not fit {spread}")
        known.items.nodes[step] = Node(plan, 0, plan.total, spread.concurrency)
        self._known[self._name_of(check.known, step)] = Tree(self._read(check, plan))
        carried = self._carried.setdefault((known.state.instance_id, known.state.life, step), {})
        for line in [one for one in known.received if is_item(one, step)]:
            carried.update({parse(line).item or "": one for one in known.received.pop(line)})

    def begins_anew(self, known: Generation, steps: Iterable[str]) -> None:
        """Maps in parts begin anew: what was accepted for their items, and not taken, is for those that come."""
        for step in steps:
            owner = (known.state.instance_id, known.state.life, step)
            if step not in known.items.nodes or known.state.steps[step].event is not None:
                continue
            for leaf in self.leaves_of(known, step):
                kept = {parse(line).item or "": one for line, every in leaf.received.items() for one in every}
                if self.is_apart(leaf):
                    self._apart.setdefault(owner, set()).update(one.event_id for one in kept.values())
                else:
                    self._carried.setdefault(owner, {}).update(kept)

    def gives(self, known: Generation, event: MapBegun, book: Book) -> None:
        """The items of a map have the events that were accepted for them before it began anew (invariant 5)."""
        part, step = known.state.part, event.step
        own = (known.state.instance_id, known.state.life)
        owner = (*(own if part is None else (part.owner, part.life)), step)
        carried = self._carried.get(owner, {})
        meant = [key for key in carried if part is None or key in book.items]
        wanted = {key: carried.pop(key) for key in meant}
        apart = self._apart.get(owner, set())
        given = {key: one.event_id for key, one in event.received.items()}
        right = {key: one.event_id for key, one in wanted.items()}
        missing = {key: one for key, one in right.items() if given.get(key) != one}
        more = {key: one for key, one in given.items() if key not in right and one not in apart}
        require(not missing and not more, "invariant 5", f"{event.activation} has the events {given}, not {right}")
        for key, one in wanted.items():
            known.received[Activation(step, item=key).text].append(one)
            known.events[one.event_id] = one

    def _read(self, check: Check, plan: Plan) -> dict[str, Any]:
        """The items as they are stored."""
        names = [f"{plan.name}-{leaf}" for leaf in range(-(-plan.total // plan.chunk))]
        own = check.state.instance_id, check.state.life
        found = self._ledger.store.values.get(*own, names)
        items: dict[str, Any] = {}
        for name in names:
            leaf = load_value(found[name])
            keys = leaf["keys"] or map(str, range(len(items), len(items) + len(leaf["items"])))
            items.update(zip(keys, leaf["items"], strict=True))
        require(len(items) == plan.total, "maps", f"{len(items)} of {plan.total} items are stored")
        return items

    def leaf(self, known: Generation, step: str, book: Book) -> None:
        """A leaf has read its items: those that are its own of the whole map."""
        part = known.state.part
        if part is None:
            return
        tree = self.of(known)
        items = dict(list(tree.items.items())[part.first : part.first + part.size])
        require(book.items == items, "maps", f"the part from {part.first} has the items {book.items}, not {items}")
        alone = tree.leaves.setdefault(part.first, known) is known
        require(alone, "derived ids", f"two instances have the items from {part.first} of {step}")

    def of(self, known: Generation) -> Tree:
        """The tree that an instance is part of."""
        part = known.state.part
        assert part is not None  # noqa: S101 - it is asked of these alone
        found = self._known.get((part.owner, part.life, part.step, part.epoch))
        require(found is not None, "maps", f"there is no map {part.step} in epoch {part.epoch} of {part.owner}")
        assert found is not None  # noqa: S101 - as required
        return found

    def _name_of(self, known: Generation, step: str) -> Name:
        return known.state.instance_id, known.state.life, step, known.epochs[step]

    def leaves_of(self, known: Generation, step: str) -> Iterable[Generation]:
        """The leaves of a map that an instance has spread."""
        tree = self._known.get(self._name_of(known, step))
        return () if tree is None else tree.leaves.values()

    def is_lost(self, known: Generation) -> bool:
        """Whether an instance, or one above it, was left to itself."""
        origin = known.state.origin
        while origin is not None:
            above = self._ledger.generations.get((origin.instance_id, origin.life))
            if above is None or above.told.get(origin.activation) in LEFT:
                return True
            origin = above.state.origin
        return False

    def is_apart(self, known: Generation) -> bool:
        """Whether an instance, or one above it, was lost or has failed as such: no one was told what it has done."""
        origin = known.state.origin
        while origin is not None and origin.part is not None:
            above = self._ledger.generations.get((origin.instance_id, origin.life))
            if above is None or above.told.get(origin.activation) in (*LEFT, "failed"):
                return True
            origin = above.state.origin
        return False

    def begins(self, check: Check, activations: Iterable[str]) -> None:
        """Items of a leaf start: not more than may in the whole tree."""
        known, part = check.known, check.known.state.part
        if part is None or self.is_lost(known):
            return
        owner = self._ledger.generations[part.owner, part.life]
        most, undo = owner.graph.maps[part.step].concurrency, check.state.compensation is not None
        busy = {
            one
            for leaf in self.of(known).leaves.values()
            if not leaf.state.closed and not self.is_lost(leaf)
            for one in leaf.items.busy(leaf.state, part.step, undo=undo, named=activations if leaf is known else ())
        }
        require(len(busy) <= most, "maps", f"{sorted(busy)} are under way in all, {most} may be")
        self._has_owner(part)
        if check.state.compensation is None and not check.ledger.world.weather.kinds:
            self._is_not_late(check, part)

    def _is_not_late(self, check: Check, part: Part) -> None:
        """Where nothing goes wrong, the whole tree stops soon after its root has heard of one failure too many."""
        node = self._ledger.generations[part.owner, part.life].items.nodes.get(part.step)
        since = None if node is None else node.stopped_at
        late = since is not None and check.entry.at > since + STOPS_MS
        require(
            not late, "maps", f"an item begins at {check.entry.at}, too many are known to have failed since {since}"
        )

    def _has_owner(self, part: Part) -> None:
        """Nothing of a tree runs after the instance that has the map has ended (invariant 12)."""
        owner = self._ledger.generations[part.owner, part.life].state
        require(not owner.closed, "invariant 12", f"it runs although {part.owner} has ended, whose map it is")
        current = owner.epochs.get(part.step, 0) == part.epoch
        require(current, "invariant 12", f"it runs for epoch {part.epoch} of {part.step}, which is over")

    def starts(self, check: Check, event: PartStarted) -> None:
        """A part begins, or goes on: one that has not completed, with a share, while the map is not stopped."""
        known, state, activation = check.known, check.state, event.activation
        if of_workflows.book_of(known, activation) is not None:
            of_workflows.goes_on(check, event)
            return
        node = self._node(check, activation)
        require(activation not in node.shares, "invariant 12", f"{activation} is under way, and starts")
        require(activation not in node.ended, "redrive", f"{activation} starts, {node.told.get(activation)}")
        stopping = state.cancel is not None or state.compensation is not None or known.broken or known.fatal
        require(not stopping, "cancel", f"{activation} starts in an instance that ends")
        require(state.paused is None, "pause", f"{activation} starts although the instance is paused")
        require(not node.is_stopped(), "maps", f"{activation} starts, {node.told}")
        given = sum(node.shares.values()) + event.share
        require(event.share > 0 and given <= node.most, "maps", f"the shares are {given} with {activation}")
        alone = self._ledger.kids.setdefault(event.child, (state.life, activation))
        require(alone == (state.life, activation), "derived ids", f"two parts have the id {event.child}")
        known.kids[activation] = (event.child, False)
        known.told.pop(activation, None)
        node.shares[activation] = event.share

    def reports(self, check: Check, event: PartReported) -> None:
        """Of a part that goes on it is known how many of its items have failed: more than before, and as many."""
        node, activation = self._node(check, event.activation), event.activation
        require(activation in node.shares, "invariant 12", f"{activation} reports, and is not under way")
        below = check.ledger.child_of(check.state, activation, check.known.kids[activation][0])
        true = 0 if below is None else _failed(below)
        before = node.told.get(activation, Counts())
        right = before.failed < event.failed <= true
        require(right, "maps", f"{activation} says that {event.failed} failed, and it is {true}")
        node.told[activation] = replace(before, failed=event.failed)
        node.numbers[activation] = event.number
        self._is_stopped(check, node)

    def ends(self, check: Check, event: PartEnded) -> None:
        """A part has ended: once, as it did, and with what has become of its items."""
        known, activation = check.known, event.activation
        if of_workflows.book_of(known, activation) is not None:
            of_workflows.ends(check, event)
            return
        node = self._node(check, activation)
        undoing = activation in known.undoing
        require(activation in node.shares, "invariant 12", f"the end of {activation} was told twice")
        del node.shares[activation]
        node.numbers[activation] = max(event.number, node.numbers.get(activation, 0))
        known.told[activation] = event.status
        below = check.ledger.child_of(check.state, activation, known.kids[activation][0])
        if event.status in LEFT:
            kinship.given_up_one(check, activation, below)
        else:
            ended = below is not None and below.state.closed and below.state.sequence == event.number
            same = below is not None and below.state.status == event.status
            require(ended and same, "invariant 12", f"{activation} was told to be {event.status} before it was")
        if undoing:
            known.undoing.discard(activation)
            (node.undone if event.status == "undone" else node.kept).add(activation)
            return
        counts = event.counts
        size, right = node.size_of(activation), True
        if event.status in ENDED:
            require(below is not None, "invariant 12", f"{activation} was told to be {event.status}, it never was")
            assert below is not None  # noqa: S101 - as required
            true, emitted = _counts(below), _emitted(below)
            right = (counts.completed, counts.failed, counts.stuck) == true and dict(event.emitted) == emitted
            below.items.told_events = Counter(_all_emitted(below))
            require(right, "maps", f"{activation} says {counts} and {event.emitted}, it is {true} and {emitted}")
            known_before, quiet = node.told.get(activation, Counts()).failed, not check.ledger.world.weather.kinds
            told = not quiet or node.plan.tolerated >= node.plan.total or known_before >= below.items.failed_before
            require(told, "maps", f"{activation} ended before it was told that {below.items.failed_before} failed")
            whole = counts.completed + counts.failed == size
            stopped = node.is_stopped() or counts.failed > node.plan.tolerated
            over = whole or stopped or event.status == "cancelled"
            require(over, "maps", f"{activation} completed, and {counts} are not {size}")
        else:
            node.broken.add(activation)
            require(counts.completed + counts.failed + counts.cancelled == size, "maps", f"{counts} are not {size}")
        node.repeated.pop(activation, None)
        node.told[activation] = counts
        node.ended.add(activation)
        self._is_stopped(check, node)
        node.emitted.update(event.emitted)

    def _is_stopped(self, check: Check, node: Node) -> None:
        if node.stopped_at is None and node.is_stopped():
            node.stopped_at = check.entry.at

    def recorded(self, known: Generation) -> None:
        """An entry is recorded: while a part goes on, it tells how many of its items have failed."""
        of_workflows.check_letters(known)
        if known.state.part is not None and not known.state.closed:
            known.items.failed_before = _failed(known)

    def check_mail(self, known: Generation, gone: Iterable[str]) -> None:
        """No mail of a part goes before the commit that takes it, unless that part was heard of since."""
        for key in gone:
            life, activation, number = read_mail_key(key)
            found = parse(activation)
            if known.state.closed or life != known.state.life or found.item is None:
                continue
            node = known.items.nodes.get(found.step)
            current = node is not None and found.epoch == known.epochs[found.step]
            taken = not current or node is None or node.numbers.get(activation, 0) >= number
            require(taken, "mail", f"what entry {number} of {activation} told is gone, and was not taken")

    def was_taken(self, known: Generation, key: str) -> bool:
        """Whether mail of a part is there once more that had been taken: it has no effect, and a sweep removes it."""
        _, activation, number = read_mail_key(key)
        node = known.items.nodes.get(parse(activation).step)
        return node is not None and node.numbers.get(activation, 0) >= number

    def undoes(self, check: Check, event: ChildUndoing) -> None:
        """A part is asked to undo what its items did: one that has completed items, with its share, once."""
        if of_workflows.book_of(check.known, event.activation) is not None:
            of_workflows.undoes(check, event)
            self.begins(check, ())
            return
        node, activation = self._node(check, event.activation), event.activation
        require(check.known.undo[:1] == [event.step], "compensation", f"{activation} is undone out of order")
        require(activation in node.to_undo(), "compensation", f"{activation} is undone, it is not to be")
        require(activation not in node.shares, "invariant 12", f"{activation} is under way, and is undone")
        check.known.undoing.add(activation)
        check.known.told.pop(activation, None)
        node.shares[activation] = 0

    def goes_on(self, check: Check, event: PartResumed) -> None:
        """A part goes on with what has not completed, as the one above it has asked."""
        known, part = check.known, check.known.state.part
        origin = check.state.origin
        assert part is not None and origin is not None  # noqa: S101, PT018 - only these resume
        above = self._ledger.generations[origin.instance_id, origin.life]
        if above.state.closed and not known.state.steps:
            return  # started and resumed by workers that were frozen: its next claim ends it, before anything runs
        asked = origin.activation in above.state.children
        require(asked, "invariant 12", "it goes on, and no one waits for that")
        known.outcomes.clear()
        known.done.clear()
        known.dead.clear()
        known.begun.clear()
        known.suspects.clear()
        known.completed.discard(check.state.activation(part.step))
        repeated = above.items.nodes[part.step].repeated.get(origin.activation)
        right = repeated is not None and event.keeps != repeated
        require(right, "redrive", f"{origin.activation} goes on, it keeps what failed: {event.keeps}")
        known.items.again(part.step, event.share, keeps=event.keeps)

    def rests(self, check: Check) -> None:
        """Nothing that could start is left when an owner leaves: the shares that came back were given away again."""
        known, state = check.known, check.state
        ending = state.cancel is not None or state.compensation is not None or known.broken or known.fatal
        if ending or any(step in known.dead for step in known.graph.order) or state.paused is not None:
            return
        for step, node in known.items.nodes.items():
            if step in known.outcomes or node.is_stopped():
                continue
            free = node.most - sum(node.shares.values())
            begun = len(node.shares.keys() | node.ended)
            require(free <= 0 or begun == node.parts(), "maps", f"{free} places of {step} are left, and parts wait")

    def map_ends(self, check: Check, event: StepCompleted | StepFailed) -> None:
        """A map in parts has ended: all of its parts have, and what it says of them is so."""
        known, step = check.known, event.step
        node, part = known.items.nodes[step], known.state.part
        require(not node.shares, "invariant 12", f"{step} ended while {sorted(node.shares)} were under way")
        failed = _is_failure(event)
        stopped = node.is_stopped()
        if part is None:
            require(failed == stopped, "maps", f"{step} failed: {failed}, {node.told} of {node.plan}")
        else:
            require(not failed, "maps", f"the part {part.first} of {step} failed as such")
        if not stopped:
            ended = node.known("completed") + node.known("failed")
            require(ended == node.size, "maps", f"{step} completed, and {ended} of {node.size} items ended")
        if hasattr(event, "results") and "total" in event.results:
            done, gone = node.known("completed"), node.known("failed")
            emitted = node.emitted - known.items.told_events  # a part that went on says what it has not said
            true = {"total": node.size, "completed": done, "failed": gone, "events": dict(emitted)}
            said = {name: event.results[name] for name in true}
            require(said == true, "maps", f"{step} says {said}, and it is {true}")
            if part is None:
                self._as_the_leaves_say(check, step, said)

    def _as_the_leaves_say(self, check: Check, step: str, said: Mapping[str, Any]) -> None:
        """What a map says is what its leaves have in their logs, but for those that were lost."""
        leaves = list(self.leaves_of(check.known, step))
        if any(self.is_apart(leaf) for leaf in leaves):
            return
        done = sum(len(leaf.items.maps[step].left) for leaf in leaves)
        failed = sum(len(leaf.items.maps[step].failed) for leaf in leaves)
        events = Counter(name for leaf in leaves for name, _ in leaf.items.maps[step].left.values())
        true = {"completed": done, "failed": failed, "events": dict(events)}
        require(all(said[name] == true[name] for name in true), "maps", f"{step} says {said}, its leaves {true}")

    def is_undone(self, check: Check, step: str) -> None:
        """A map in parts is undone: so is every part, and every item that completed in a part that was not lost."""
        known = check.known
        node = known.items.nodes.get(step)
        if node is None:
            return
        left = node.to_undo() | node.kept | node.shares.keys()
        require(not left, "compensation", f"{step} is undone, {sorted(left)} are not")
        for leaf in self.leaves_of(known, step):
            book = leaf.items.maps[step]
            items = book.to_undo() | book.kept
            fine = not items or self.is_apart(leaf)
            require(fine, "compensation", f"{step} is undone, {sorted(items)} are not")

    def _node(self, check: Check, activation: str) -> Node:
        """What is known of a map that has such a part."""
        found = parse(activation)
        node = check.known.items.nodes.get(found.step)
        place = int(found.item) if found.item and found.item.isdecimal() else -1
        require(node is not None and 0 <= place < node.parts(), "maps", f"there is no part {activation}")
        current = found.epoch == check.known.epochs[found.step]
        require(current, "invariant 2", f"{activation} is of another epoch")
        assert node is not None  # noqa: S101 - as required
        return node


def _ends(told: Counts) -> tuple[int, int]:
    """How many items have completed or failed."""
    return told.completed, told.failed


def _failed(known: Generation) -> int:
    """How many items of a part have failed, as far as its instance knows."""
    part = known.state.part
    assert part is not None  # noqa: S101 - it is one
    if part.step in known.items.nodes:
        return known.items.nodes[part.step].known("failed")
    return len(known.items.maps[part.step].failed) if part.step in known.items.maps else 0


def _counts(known: Generation) -> tuple[int, int, int]:
    """How many items of a part have completed, how many have failed, and how many of these are stuck."""
    part = known.state.part
    assert part is not None  # noqa: S101 - it is one
    if (node := known.items.nodes.get(part.step)) is not None:
        return node.known("completed"), node.known("failed"), node.known("stuck")
    book = known.items.maps.get(part.step)
    return (0, 0, 0) if book is None else (len(book.left), len(book.failed), len(book.stuck | book.set_back))


def _all_emitted(known: Generation) -> dict[str, int]:
    """How often the items of a part emitted each event, in all."""
    part = known.state.part
    assert part is not None  # noqa: S101 - it is one
    if (node := known.items.nodes.get(part.step)) is not None:
        return dict(node.emitted)
    book = known.items.maps.get(part.step)
    return {} if book is None else dict(Counter(name for name, _ in book.left.values()))


def _emitted(known: Generation) -> dict[str, int]:
    """The same, since its end was told the last time."""
    return dict(Counter(_all_emitted(known)) - known.items.told_events)


def _is_failure(event: StepCompleted | StepFailed) -> bool:
    return getattr(event, "failed", None) is not None or not hasattr(event, "taken")
