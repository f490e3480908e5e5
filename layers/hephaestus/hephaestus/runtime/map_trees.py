"""Reads the items of a map in parts, in their order: from those instances of its tree that have some of interest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from hephaestus.definition.item_views import ITEM_STATUSES, ItemStatus, counted, progress
from hephaestus.engine.map_items import mapped_of
from hephaestus.engine.nodes import below, id_of, top, tree_of
from hephaestus.engine.records import NOT_ENDED, NOT_UNDONE, UNDONE
from hephaestus.errors import CorruptLog, InstanceNotFound
from hephaestus.runtime.items_left import is_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hephaestus.engine.nodes import Node
    from hephaestus.engine.records import Failure, Mapped, Tree
    from hephaestus.engine.state import State
    from hephaestus.store.store import Store

MOST_READ: Final = 100  # instances, for the progress of a map


class Held(NamedTuple):
    """Some of a map's items, which follow each other.

    Attributes:
        first, size: which.
        state: the instance that runs them; ``None`` where none does yet.
        error: why none of them ran, where their instance could not read them.
    """

    first: int
    size: int
    state: State | None
    error: Failure | None = None


class _Part(NamedTuple):
    """A part of a map as the instance above it knows it.

    Attributes:
        node: where it is.
        begun: whether it has begun.
        open: whether it is under way.
        known: how many of its items are in which status, as far as is known; all of them, where it is not under way.
        exact: whether that is so of an ended one, too.
    """

    node: Node
    begun: bool
    open: bool
    known: Mapping[ItemStatus, int]
    exact: bool


def held(store: Store, state: State, step: str, status: str | None = None, first: int = 0) -> Iterator[Held]:
    """The items of a map in parts from the place ``first`` on, each time those of one instance, which is read for it.

    Args:
        store: has the instances.
        state: the instance that has the map.
        step: the map.
        status: instances without items in this status are passed over, as far as it is known which are.
        first: the place to begin at.

    Raises:
        InstanceNotFound: a fork has taken over the map from an instance that is not there any more.
    """
    plan = mapped_of(state, step).plan
    assert plan is not None  # noqa: S101 - it is in parts
    tree = tree_of(state, step)
    yield from _held(store, tree, state, step, top(tree, plan), status, first)


def _held(  # noqa: PLR0913, PLR0917 - as above, at a place of the tree
    store: Store, tree: Tree, state: State, step: str, node: Node, status: str | None, first: int
) -> Iterator[Held]:
    for part in _parts(tree, state, step, node):
        of = part.node
        if of.first + of.size <= first or (status is not None and not _may_have(part, status)):
            continue
        found = store.load(id_of(tree, of)) if part.begun else None
        if found is None or not is_of(tree, found):
            if found is None and not part.open and _has_had_some(part):
                raise gone(state, tree)
            yield Held(of.first, of.size, None)
        elif found.steps[step].mapped is None:
            yield Held(of.first, of.size, None, found.steps[step].error)
        elif mapped_of(found, step).in_parts:
            yield from _held(store, tree, found, step, of, status, first)
        else:
            yield Held(of.first, of.size, found)


def gone(state: State, tree: Tree) -> InstanceNotFound:
    """That the items of a map that a fork has taken over are not kept any more."""
    message = f"instance {state.public_id}: the items of {tree.step} went with {tree.owner}, which had run them"
    return InstanceNotFound(message)


def progress_of(
    store: Store, state: State, step: str, most: int | None = None, parked: list[str] | None = None
) -> dict[str, int]:
    """How many items a map in parts has, and how many of them are in which status.

    At most ``most`` instances are read for it, by default ``MOST_READ``: the first of those that are under way. Of the
    others it is known what has failed. Why one of them is parked, or cannot be read, is added to ``parked``.
    """
    plan = mapped_of(state, step).plan
    assert plan is not None  # noqa: S101 - it is in parts
    tree, counts = tree_of(state, step), dict.fromkeys(ITEM_STATUSES, 0)
    level: list[tuple[State, Node]] = [(state, top(tree, plan))]
    left = MOST_READ if most is None else most
    while level:
        unknown = []
        for one, node in level:
            for part in _parts(tree, one, step, node):
                if part.exact:
                    _add(counts, part.known)
                else:
                    unknown.append(part)
        level = []
        for part in unknown:
            found, why = _read(store, id_of(tree, part.node)) if left > 0 else (None, None)
            left -= 1
            if why and parked is not None:
                parked.append(why)
            if found is None or not is_of(tree, found):
                _add(counts, part.known)
            elif found.steps[step].mapped is None:
                read = found.steps[step].error is None  # else its items have failed, as `held` has it
                _add(counts, part.known if read else {"failed": part.node.size})
            elif mapped_of(found, step).in_parts:
                level.append((found, part.node))
            else:
                _add(counts, counted(found, step, mapped_of(found, step)))
    return progress(plan.total, counts)


def _read(store: Store, name: str) -> tuple[State | None, str | None]:
    """An instance of the tree, if it is there and can be read, and why it is parked."""
    try:
        state = store.load(name)
    except CorruptLog:
        return None, "what is stored of some of a map's items cannot be read: the log says where, and why"
    return state, None if state is None else state.parked


def _add(counts: dict[ItemStatus, int], more: Mapping[ItemStatus, int]) -> None:
    for status, number in more.items():
        counts[status] += number


def _parts(tree: Tree, state: State, step: str, node: Node) -> Iterator[_Part]:
    """The parts of a map that are right below an instance."""
    mapped = mapped_of(state, step)
    assert mapped.plan is not None  # noqa: S101 - it is in parts
    for place, one in enumerate(below(tree, mapped.plan, node)):
        open_ = not state.closed and one.path.rpartition("/")[2] in state.children
        begun = bool(mapped.shares[place] or mapped.entries[place])
        exact = not begun or not (open_ or mapped.ends[place] in {NOT_ENDED, NOT_UNDONE})
        yield _Part(one, begun, open_, _known(mapped, place, one.size), exact)


def _known(mapped: Mapped, place: int, size: int) -> dict[ItemStatus, int]:
    """How many items of a part are in which status, as it has said."""
    one, end = mapped.counts[place], mapped.ends[place]
    completed: ItemStatus = "compensated" if end == UNDONE else "completed"
    rest = size - one.completed - one.failed - one.cancelled
    return {completed: one.completed, "failed": one.failed, "cancelled": one.cancelled, "pending": rest}


def _has_had_some(part: _Part) -> bool:
    """Whether items of a part have come to an end; one that was cancelled before its map began has had none."""
    return any(number for name, number in part.known.items() if name != "pending")


def _may_have(part: _Part, status: str) -> bool:
    """Whether some of the items of a part may be in a status."""
    return not part.exact or any(number for name, number in part.known.items() if name == status)
