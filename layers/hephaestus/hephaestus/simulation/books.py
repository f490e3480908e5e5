"""What must hold of maps: of each item what a step must keep to, and of the map what its items say.

The books are kept apart from the engine's state: which items there are, what each came to, what of it is undone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from hephaestus.engine.activation import Activation, parse
from hephaestus.engine.events import (
    ItemCompleted,
    ItemFailed,
    ItemUndoFailed,
    ItemUndone,
    ItemWaiting,
    MapBegun,
    StepCompensated,
    StepCompleted,
    StepFailed,
)
from hephaestus.engine.inbox import as_results
from hephaestus.simulation.violation import require

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hephaestus.engine.events import EventReceived
    from hephaestus.engine.events.event import OfActivation
    from hephaestus.engine.graph import Graph, Spread
    from hephaestus.engine.records import Part
    from hephaestus.engine.state import State
    from hephaestus.simulation.trees import Node


def line_of(activation: str) -> str:
    """What the books keep a step or an item under, whichever epoch and round it is at."""
    found = parse(activation)
    return found.step if found.item is None else Activation(found.step, item=found.item).text


@dataclass
class Book:
    """What the ledger knows of a map that has begun.

    Attributes:
        items: by key, what each item is given.
        first: the place of the first of them in the whole map.
        total: how many items the whole map has.
        share: how many of these may be at work at a time, where they are not all.
        left: of each completed item, its event and its results.
        failed: the items that failed for good.
        undone: the completed items that are undone.
        kept: the completed items that could not be undone.
        tries: how many attempts of each item have failed, at running or, once it has completed, at undoing it.
        waiting: the items that wait.
        workflow, version: where each item is an instance of a workflow, of which.
        open, undoing: the items whose instances are under way, and those that are asked to undo what they did.
        stuck: of those that have failed, the instances that could not undo all that they did.
        cancelled: the items whose instances were cancelled with the map.
        set_back: of those that were stuck, the ones that are to go on.
        numbers: of each item the number that its end was told with the last time.
    """

    items: dict[str, Any]
    first: int = 0
    total: int = 0
    share: int = 0
    left: dict[str, tuple[str, Mapping[str, Any]]] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    undone: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    tries: Counter[str] = field(default_factory=Counter)
    waiting: set[str] = field(default_factory=set)
    workflow: str = ""
    version: int = 0
    open: set[str] = field(default_factory=set)
    undoing: set[str] = field(default_factory=set)
    stuck: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    set_back: set[str] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)

    @classmethod
    def begun(cls, event: MapBegun, part: Part | None = None, share: int = 0) -> Book:
        """As it begins, or a part of it."""
        first, total = (0, len(event.over)) if part is None else (part.first, part.plan.total)
        keys = event.keys or tuple(map(str, range(first, first + len(event.over))))
        items = dict(zip(keys, event.over, strict=True))
        return cls(items, first, total, share, workflow=event.child, version=event.version)

    def again(self) -> Book:
        """After a redrive: all that has not completed is run again."""
        of = {"workflow": self.workflow, "version": self.version, "numbers": self.numbers}
        of["set_back"] = self.stuck | self.set_back
        return Book(self.items, self.first, self.total, self.share, dict(self.left), **of)  # type: ignore[arg-type]  # each is of its field's type

    def is_stopped(self, spread: Spread) -> bool:
        """Whether more items have failed than may."""
        return len(self.failed) > spread.tolerated(self.total)

    def ended(self) -> set[str]:
        """The items that have come to an end."""
        return self.failed | self.left.keys()

    def over(self) -> set[str]:
        """The same, with those that were cancelled."""
        return self.ended() | self.cancelled

    def to_undo(self) -> set[str]:
        """The items that are still to be undone: those that have completed, and workflows that are stuck."""
        return (self.left.keys() | self.stuck | self.set_back) - self.undone - self.kept


class Items:
    """The maps of one generation.

    Attributes:
        graph: the workflow's.
        maps: by step, the maps that have begun, but for those set back.
        nodes: the same, of those whose items are in other instances.
        share: of an instance that runs a part of a map, how many items may be at work at a time.
        failed_before: how many items of such an instance had failed with its newest entry that did not close it.
        of_workflows: the maps, also those set back, whose items are workflows.
        told_events: of such an instance, how many items had emitted each event when its end was told the last time.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.maps: dict[str, Book] = {}
        self.nodes: dict[str, Node] = {}
        self.share = 0
        self.told_events: Counter[str] = Counter()
        self.failed_before = 0
        self.of_workflows: set[str] = set()

    def busy(self, state: State, step: str, *, undo: bool, named: Iterable[str] = ()) -> set[str]:
        """The items that run, wait or are between two attempts, with those that are about to be named."""
        book = self.maps.get(step)
        found = [parse(one) for one in (*state.running, *named)]
        running = {one.item or "" for one in found if one.step == step and one.undo == undo}
        if book is not None and not undo:
            running |= {one for one, tries in book.tries.items() if tries and one not in book.ended()} | book.waiting
        if book is not None:
            running |= book.undoing if undo else book.open
        return running - {""}

    def begins(self, state: State, activations: Sequence[str]) -> None:
        """Items are named to be run, or to be undone: they may be, and they have a place."""
        for activation in activations:
            found = parse(activation)
            if found.item is None:
                continue
            book, spread = self.maps.get(found.step), self.graph.maps[found.step]
            require(book is not None and found.item in book.items, "maps", f"there is no item {activation}")
            assert book is not None  # noqa: S101 - as required
            if found.undo:
                require(found.item in book.to_undo(), "compensation", f"{activation} starts, it is not to be undone")
                continue
            over = found.item in book.over() | book.open
            require(not over, "invariant 2", f"{activation} starts, and it has ended, or its instance has begun")
            require(not book.is_stopped(spread), "maps", f"{activation} starts, {book.failed} have failed")
            busy, most = self.busy(state, found.step, undo=False, named=activations), book.share or spread.concurrency
            require(len(busy) <= most, "maps", f"{sorted(busy)} are under way, {most} of {spread} may be")

    def happens(self, event: OfActivation, state: State, received: EventReceived | None, due: bool) -> None:  # noqa: FBT001 - a fact
        """Something has happened to an item."""
        found = parse(event.activation)
        book, key = self.maps.get(found.step), found.item or ""
        require(book is not None and key in book.items, "maps", f"there is no item {event.activation}")
        assert book is not None  # noqa: S101 - as required
        current = found.epoch == state.epochs.get(found.step, 0)
        require(current, "invariant 2", f"{event.activation} is of another epoch")
        match event:
            case ItemCompleted() | ItemFailed() | ItemWaiting():
                require(key not in book.ended(), "invariant 2", f"{event.activation} has ended before")
                self._goes_on(book, key, event, received, due=due)
            case ItemUndone():
                require(key in book.to_undo(), "compensation", f"{event.activation} is not to be undone")
                book.undone.add(key)
            case ItemUndoFailed(retry_at=retry_at):
                require(key in book.to_undo(), "compensation", f"{event.activation} is not to be undone")
                book.tries[key] += 1
                if retry_at is None:
                    book.kept.add(key)

    def _goes_on(
        self,
        book: Book,
        key: str,
        event: ItemCompleted | ItemFailed | ItemWaiting,
        received: EventReceived | None,
        *,
        due: bool,
    ) -> None:
        waited = key in book.waiting
        if not waited:
            right = event.attempt == book.tries[key] + 1
            require(right, "invariant 2", f"attempt {event.attempt} of {event.activation} was not next")
        book.waiting.discard(key)
        match event:
            case ItemWaiting():
                require(not waited, "invariant 2", f"{event.activation} waits already")
                book.waiting.add(key)
            case ItemFailed(retry_at=retry_at):
                book.tries[key] += not waited
                if retry_at is None:
                    book.failed.add(key)
            case ItemCompleted():
                if waited:
                    self._waited(event, received, due=due)
                book.left[key] = event.event, event.results
                book.tries[key] = 0

    def _waited(self, event: ItemCompleted, received: EventReceived | None, *, due: bool) -> None:
        """A wait ends with the event that had been accepted, else with its time."""
        if received is None:
            require(due, "invariant 6", f"{event.activation} got {event.event} before its time, or for nothing")
            return
        right = event.event == received.event and event.results == as_results(received.payload)
        require(right, "invariant 5", f"{event.activation} was given {event.event}, {received.event} had been accepted")

    def ends(self, event: StepCompleted | StepFailed, state: State) -> None:
        """A map has ended: its items have, and what it says of them is so."""
        book = self.maps.get(event.step)
        if book is None:
            return  # it had not begun
        spread, total = self.graph.maps[event.step], len(book.items)
        running = [one for one in state.running if "[" in one and parse(one).step == event.step]
        running += sorted(book.open)
        require(not running, "maps", f"{event.step} ended while {running} ran")
        failed = isinstance(event, StepFailed) or event.failed is not None
        stopped, is_part = book.is_stopped(spread), bool(book.share)
        require(failed or is_part or not stopped, "maps", f"{event.step} completed, {book.failed} failed")
        if not failed and not (is_part and stopped):
            left = book.items.keys() - book.over()
            require(not left, "maps", f"{event.step} completed, but {sorted(left)} did not end")
        if isinstance(event, StepCompleted) and event.event in {"done", "error"} and "total" in event.results:
            events = Counter(name for name, _ in book.left.values()) - self.told_events
            said = {name: event.results[name] for name in ("total", "completed", "failed", "events")}
            true = {"total": total, "completed": len(book.left), "failed": len(book.failed), "events": dict(events)}
            require(said == true, "maps", f"{event.step} says {said}, and it is {true}")

    def undone(self, event: StepCompensated) -> None:
        """A map is undone: all of its completed items are."""
        book = self.maps.get(event.step)
        left = set() if book is None else book.to_undo() | book.kept
        require(not left, "compensation", f"{event.step} is undone, {sorted(left)} are not")

    def is_undoable(self, step: str) -> bool:
        """Whether a completed item of a map is not undone."""
        known = self.maps.get(step) or self.nodes.get(step)
        if isinstance(known, Book) and step in self.graph.undoes and not known.workflow:
            return False  # a fork has taken it over, and the instances are its source's
        return known is not None and bool(known.to_undo())

    def again(self, step: str, share: int, *, keeps: bool) -> None:
        """A part goes on, with another share; it ``keeps`` what has failed, and what waits."""
        self.share, self.failed_before = share, 0
        if step in self.maps:
            book = self.maps[step]
            self.maps[step] = replace(book if keeps else book.again(), share=share)
            self.maps[step].cancelled.clear()
        if step in self.nodes:
            self.nodes[step].again(share, keeps=keeps)

    def again_to_undo(self, steps: Iterable[str]) -> None:
        """What could not be undone is to be undone once more."""
        for step in steps:
            if step in self.maps:
                self.maps[step].kept.clear()
                self.maps[step].tries.clear()
            if step in self.nodes:
                self.nodes[step].kept.clear()

    def redriven(
        self, anew: Sequence[str], reset: Sequence[str], undo: Sequence[str], cancelled: Sequence[str]
    ) -> None:
        """Maps begin anew, or go on with what has not completed; compensations that failed are tried again."""
        self.again_to_undo(undo)
        for step, book in list(self.maps.items()):
            if step in anew:
                del self.maps[step]
            elif step in reset:
                self.maps[step] = book.again()
            elif step in cancelled:
                book.cancelled.clear()
        for step, node in list(self.nodes.items()):
            if step in anew:
                del self.nodes[step]
            elif step in reset:
                node.again(node.most, keeps=False)
            elif step in cancelled and step not in undo:
                node.again(node.most, keeps=True)

    def seen(self, step: str, key: str, given: tuple[Any, str, int]) -> None:
        """What the code of an item is given: the item, its key and its place."""
        book = self.maps[step]
        wanted = (book.items[key], key, book.first + list(book.items).index(key))
        require(given == wanted, "maps", f"item {key} of {step} is given {given}, not {wanted}")

    def left_by(self, step: str, key: str) -> Mapping[str, Any]:
        """What an item left."""
        return self.maps[step].left[key][1]
