"""What must hold of maps whose items are workflows (rules C.6, C.8, C.13 and C.15): each item is an instance.

What has become of an item is what the log of its instance says; the letters that the engine keeps are held against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus.engine.activation import parse
from hephaestus.engine.records import CANCELLED, COMPLETED, FAILED, NOT_ENDED, NOT_UNDONE, STUCK, UNDONE
from hephaestus.simulation import kinship
from hephaestus.simulation.violation import require

if TYPE_CHECKING:
    from hephaestus.engine.events import ChildStarted, ChildUndoing, PartEnded, PartStarted
    from hephaestus.simulation.books import Book
    from hephaestus.simulation.checks import Check, Generation

LEFT: Final = ("lost", "rejected")


def book_of(known: Generation, activation: str) -> Book | None:
    """What is known of the map of an activation in brackets, if its items are workflows."""
    book = known.items.maps.get(parse(activation).step)
    return book if book is not None and book.workflow else None


def begins(check: Check, event: ChildStarted) -> None:
    """An item starts its instance: one that was named, its only one, of the version that was decided."""
    known, activation = check.known, event.activation
    book, key = _book(check, activation)
    require(
        activation in check.state.running, "invariant 2", f"{activation} starts an instance, and no commit names it"
    )
    require(activation not in known.kids, "invariant 12", f"{activation} starts a second instance")
    right = event.attempt == book.tries[key] + 1
    require(right, "invariant 2", f"attempt {event.attempt} of {activation} was not next")
    right = (event.child.partition("::")[0], event.version) == (book.workflow, book.version)
    require(right, "maps", f"{activation} starts {event.child}, version {event.version}")
    _may_begin(check, book, activation)
    ledger, own = check.ledger, (check.state.life, activation)
    require(ledger.kids.setdefault(event.child, own) == own, "derived ids", f"two items have the id {event.child}")
    known.kids[activation] = (event.child, False)
    book.open.add(key)
    book.tries[key] = 0
    known.settles(activation)


def goes_on(check: Check, event: PartStarted) -> None:
    """An item that has not completed goes on, as the same instance."""
    known, activation = check.known, event.activation
    book, key = _book(check, activation)
    before = known.kids.get(activation, ("", False))[0]
    require(event.child == before, "derived ids", f"{activation} goes on as {event.child}, it was {before!r}")
    _may_begin(check, book, activation)
    state = check.state
    ending = state.cancel is not None or state.compensation is not None or known.broken or known.fatal
    require(not ending, "cancel", f"{activation} goes on in an instance that ends")
    stopped = book.is_stopped(check.graph.maps[event.step])
    require(not stopped, "maps", f"{activation} goes on, {book.failed} have failed")
    require(state.paused is None, "pause", f"{activation} goes on although the instance is paused")
    known.told.pop(activation, None)
    book.open.add(key)
    book.set_back.discard(key)
    check.ledger.trees.begins(check, ())


def _may_begin(check: Check, book: Book, activation: str) -> None:
    known, state, found = check.known, check.state, parse(activation)
    key, spread = found.item or "", check.graph.maps[found.step]
    require(key not in book.open and key not in book.over(), "invariant 2", f"{activation} has begun, or has ended")
    busy, most = known.items.busy(state, found.step, undo=False, named=(activation,)), book.share or spread.concurrency
    require(len(busy) <= most, "maps", f"{sorted(busy)} are under way, {most} of {spread} may be")


def ends(check: Check, event: PartEnded) -> None:
    """The instance of an item has ended, as its log says; each of its ends is told once."""
    known, activation = check.known, event.activation
    book, key = _book(check, activation)
    undoing = key in book.undoing
    require(key in book.open or undoing, "invariant 12", f"the end of {activation} was told twice")
    book.open.discard(key)
    book.undoing.discard(key)
    known.undoing.discard(activation)
    known.told[activation] = event.status
    child = check.ledger.child_of(check.state, activation, known.kids[activation][0])
    if event.status in LEFT:
        kinship.given_up_one(check, activation, child)
    else:
        ended = child is not None and child.state.closed and child.state.sequence == event.number
        require(ended, "invariant 12", f"the end of {activation} was told before it was")
        same = child is not None and child.state.status == event.status
        require(same, "invariant 12", f"the instance of {activation} was told to be {event.status}")
        require(event.number > book.numbers.get(key, 0), "invariant 12", f"an end of {activation} was told again")
        book.numbers[key] = event.number
    stuck = event.status == "failed" and child is not None and kinship.is_stuck(check.ledger, child)
    require(event.stuck == stuck or undoing, "maps", f"{activation} is stuck: {event.stuck}, by its log: {stuck}")
    if undoing:
        (book.undone if event.status == "undone" else book.kept).add(key)
    elif event.status == "completed":
        book.left[key] = ("done", {})
    elif event.status == "cancelled" and check.state.children[activation].stopping != "timeout":
        book.cancelled.add(key)
    else:
        book.failed.add(key)
        if stuck:
            book.stuck.add(key)


def undoes(check: Check, event: ChildUndoing) -> None:
    """An item is undone by its instance: in its map's turn, once."""
    activation = event.activation
    book, key = _book(check, activation)
    require(check.known.undo[:1] == [event.step], "compensation", f"{activation} is undone out of order")
    due = key in book.to_undo() and key not in book.undoing
    require(due, "compensation", f"{activation} is undone, it is not to be")
    book.undoing.add(key)
    check.known.undoing.add(activation)
    check.known.told.pop(activation, None)
    most = book.share or check.graph.maps[event.step].concurrency
    require(len(book.undoing) <= most, "maps", f"{sorted(book.undoing)} are undone at a time, {most} may be")


def has_map(check: Check) -> None:
    """No workflow of a map runs after the instance that has the map has ended."""
    origin = check.state.origin
    above = None if origin is None else check.ledger.generations.get((origin.instance_id, origin.life))
    if origin is None or above is None or (book := book_of(above, origin.activation)) is None:
        return
    key = parse(origin.activation).item or ""
    waits = key in book.open or key in book.undoing or above.told.get(origin.activation) in LEFT
    require(waits, "invariant 12", f"it runs, and {origin.activation} has ended")
    part = above.state.part
    if part is not None and not check.ledger.trees.is_lost(above):
        owner = check.ledger.generations[part.owner, part.life]
        require(not owner.state.closed, "invariant 12", f"it runs although {part.owner} has ended, whose map it is of")


def check_letters(known: Generation) -> None:
    """Between entries: what the engine keeps of each item is what its instance has come to.

    Raises:
        Violation: it is not.
    """
    for step, book in known.items.maps.items():
        it = known.state.steps.get(step)
        if it is None or it.mapped is None or not book.workflow or not it.mapped.child:
            continue
        mapped = it.mapped
        letters = {mapped.key(place): end for place, end in enumerate(mapped.ends)}
        true = {key: _letter(book, key) for key in book.items}
        ended = it.status != "mapping"
        wrong = {
            key: (letters.get(key), letter)
            for key, letter in true.items()
            if letters.get(key) != letter and not (ended and letter == NOT_ENDED and letters.get(key) == CANCELLED)
        }
        require(not wrong, "maps", f"of {step} is kept, and true: {wrong}")


def _letter(book: Book, key: str) -> str:
    if key in book.kept:
        return NOT_UNDONE
    if key in book.undone:
        return UNDONE
    if key in book.left:
        return COMPLETED
    if key in book.failed:
        return STUCK if key in book.stuck else FAILED
    return CANCELLED if key in book.cancelled else NOT_ENDED


def _book(check: Check, activation: str) -> tuple[Book, str]:
    """What is known of the map of an item, and the item's key."""
    found, book = parse(activation), book_of(check.known, activation)
    key = found.item or ""
    require(book is not None and key in book.items, "maps", f"there is no item {activation}")
    assert book is not None  # noqa: S101 - as required
    current = found.epoch == check.state.epochs.get(found.step, check.known.epochs[found.step])
    require(current, "invariant 2", f"{activation} is of another epoch")
    return book, key
