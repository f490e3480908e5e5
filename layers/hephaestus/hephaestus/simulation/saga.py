"""When all is over: what a tree of instances did and was to undo nets to zero, read from their logs alone.

A step with a compensation that has completed, a loop of which a round has ended, or a completed item counts as one; its
compensation takes that away. Each is undone at most once an epoch, in whatever instance of the tree (rule D.9).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from hephaestus.engine.activation import parse, text_of, text_of_item
from hephaestus.engine.events import (
    ChildEnded,
    Forked,
    ItemCompleted,
    ItemUndone,
    PartEnded,
    RoundEnded,
    StepCompensated,
    StepCompleted,
)
from hephaestus.engine.events.children import LOST
from hephaestus.engine.records import COMPLETED
from hephaestus.simulation.violation import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.engine.events import Event
    from hephaestus.simulation.checks import Generation
    from hephaestus.simulation.ledger import Ledger

NOT_DONE: Final = ("error", "timeout", "cancelled")  # of a child: it has undone itself


def nets_to_zero(ledger: Ledger) -> None:
    """Of each tree whose root has failed, or was cancelled with compensation, nothing is left.

    Raises:
        Violation: something is left, or was undone twice.
    """
    for known in ledger.generations.values():
        done, undone = _books(known)
        twice = sorted(one for one, number in undone.items() if number > 1 or one not in done)
        require(not twice, "saga", f"{known.state.instance_id} undid {twice} twice, or before it was done")
        origin = known.state.origin
        if (origin is None or origin.detached) and _undoes(known):
            tree = _tree(ledger, known)
            if not any(map(_is_in_the_way, tree)):
                _all_undone(tree)


def _undoes(known: Generation) -> bool:
    state = known.state
    return state.status == "failed" or (
        state.status == "cancelled" and state.cancel is not None and state.cancel.compensate
    )


def _all_undone(tree: list[Generation]) -> None:
    for known in tree:
        done, undone = _books(known)
        left, name = sorted(done - undone.keys()), known.state.instance_id
        require(not left, "saga", f"{tree[0].state.instance_id} is over, and {name} did not undo {left}")


def _tree(ledger: Ledger, known: Generation) -> list[Generation]:
    """An instance, and the children whose work is theirs to undo: not those that a step's compensation stands for."""
    found = [known]
    for activation, (name, detached) in known.kids.items():
        child = None if detached else ledger.child_of(known.state, activation, name)
        is_part = parse(activation).step in known.items.nodes
        by_step = parse(activation).step in known.graph.compensates - known.graph.undoes and not is_part
        if child is not None and not (by_step and child.state.status == "completed"):
            found += _tree(ledger, child)
    return found


def _is_in_the_way(known: Generation) -> bool:
    """Whether something could not be undone, or is not known: that is told elsewhere."""
    failed = any(it.status == "compensation_failed" for it in known.state.steps.values())
    return failed or known.gone or LOST in known.told.values()


def _events(known: Generation) -> Iterator[Event]:
    return (event for entry in known.entries for event in entry.events)


def _books(known: Generation) -> tuple[set[str], Counter[str]]:
    """What was done that can be undone, and what was undone: steps and items, each by its epoch."""
    graph, done = known.graph, set[str]()
    undone: Counter[str] = Counter()
    for event in _events(known):
        done.update(map(_of_epoch, _done(known, event)))
        of_item = isinstance(event, ItemUndone) or (isinstance(event, PartEnded) and _is_undone(known, event))
        if of_item or (isinstance(event, StepCompensated) and event.step not in graph.maps):
            undone[_of_epoch(event.activation)] += 1  # type: ignore[attr-defined]  # each of these has one
    return {one for one in done if parse(one).step in graph.compensates}, undone


def _is_undone(known: Generation, event: PartEnded) -> bool:
    """Whether the workflow of an item has undone what it did."""
    return event.step in known.items.of_workflows and event.status == "undone"


def _done(known: Generation, event: Event) -> Iterator[str]:
    """The activations that count as done with an event: of a child's step, where the child has left anything."""
    graph = known.graph
    match event:
        case ChildEnded(activation=activation, status=status, stuck=stuck):
            yield from (activation,) if stuck or status in ("completed", LOST) else ()
        case StepCompleted(step=step, activation=activation):
            free = known.kids.get(activation, ("", False))[1]
            yield from (activation,) if step not in graph.maps and (free or step not in graph.children) else ()
        case RoundEnded(step=step, activation=activation):
            yield from (activation,) if step not in graph.children else ()
        case ItemCompleted(activation=activation):
            yield activation
        case PartEnded(step=step, activation=activation, status=status, stuck=stuck):
            left = step in known.items.of_workflows and (stuck or status in ("completed", LOST))
            yield from (activation,) if left else ()
        case Forked(completed=completed):
            for one in completed:
                yield from _taken_over(known, one)


def _taken_over(known: Generation, done: StepCompleted) -> Iterator[str]:
    """What a fork takes over with a step, and so undoes itself."""
    graph, epoch = known.graph, parse(done.activation).epoch
    if (mapped := done.mapped) is not None and (mapped.tree is not None or done.step in graph.undoes):
        return  # its instances stay where they are
    if mapped is not None:
        places = [place for place, end in enumerate(mapped.ends) if end == COMPLETED]
        yield from (text_of_item(done.step, epoch, mapped.key(place)) for place in places)
    elif done.step not in graph.undoes and (done.step not in graph.children or done.event not in NOT_DONE):
        yield done.activation


def _of_epoch(activation: str) -> str:
    """An activation, of whichever round, or its compensation."""
    found = parse(activation)
    if found.item is not None:
        return text_of_item(found.step, found.epoch, found.item)
    return text_of(found.step, found.epoch)
