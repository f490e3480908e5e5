"""What the items of a map left, read from the log entries that ended them; no snapshot has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.engine.events import ItemCompleted
from hephaestus.engine.map_items import mapped_of
from hephaestus.engine.nodes import below, id_of, top, tree_of
from hephaestus.engine.records import COMPLETED, NOT_UNDONE, UNDONE
from hephaestus.engine.state import left_by, part_in
from hephaestus.errors import NoResults
from hephaestus.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hephaestus.engine.events import Event
    from hephaestus.engine.nodes import Node
    from hephaestus.engine.records import Mapped, Tree
    from hephaestus.engine.state import State
    from hephaestus.store.reader import Reader

_COMPLETED = frozenset({COMPLETED, UNDONE, NOT_UNDONE})


def items_left(
    reader: Reader, state: State, step: str, place: int | None = None, decided: Sequence[Event] = ()
) -> Iterator[Any]:
    """The results of the items of a map, in their order; ``None`` for each that did not complete.

    Where other instances have the items, each of these is read when its first item is asked for.

    Args:
        reader: reads the log.
        state: the instance.
        step: the map.
        place: of the only item that is asked for, in the instance; ``None`` for all.
        decided: what is decided and in no entry yet.

    Raises:
        LookupError: an entry has expired.
        NoResults: an instance that had some of the items is not there any more.
        StoreUnavailable: the store did not answer.
    """
    mapped = mapped_of(state, step)
    if mapped.in_parts:
        assert mapped.plan is not None  # noqa: S101 - it is in parts
        tree = tree_of(state, step)
        return _left_below(reader, tree, mapped, top(tree, mapped.plan))
    places = range(len(mapped.ends)) if place is None else (place,)
    return _left_in(reader, state, step, places, decided)


def _left_in(
    reader: Reader, state: State, step: str, places: Iterable[int], decided: Sequence[Event] = ()
) -> Iterator[Any]:
    """What the items at ``places`` of an instance left: each in an instance of its own, or all of them in its log."""
    if mapped_of(state, step).child:
        return (_left_by_workflow(reader, state, step, place) for place in places)
    return iter(_left_here(reader, state, step, places, decided))


def _left_by_workflow(reader: Reader, state: State, step: str, place: int) -> Any:
    """The output of an item that is a workflow; ``None`` if it did not complete."""
    mapped = mapped_of(state, step)
    if mapped.ends[place] not in _COMPLETED:
        return None
    name = part_in(state, state.item(step, mapped.key(place))).instance_id
    child = reader.load(name)
    if child is None:
        message = f"instance {state.public_id}: {name}, which ran an item of {step}, is not kept any more"
        raise NoResults(message)
    return FrozenDict(left_by(child))


def _left_below(reader: Reader, tree: Tree, mapped: Mapped, node: Node) -> Iterator[Any]:
    """What the items of a part left, one instance after the other; one in which none completed is not read."""
    assert mapped.plan is not None  # noqa: S101 - it is in parts
    for counts, part in zip(mapped.counts, below(tree, mapped.plan, node), strict=True):
        if not counts.completed:
            yield from [None] * part.size
            continue
        state = reader.load(id_of(tree, part))
        if state is None or not is_of(tree, state):
            message = (
                f"instance {tree.owner}: what the items of {tree.step} from {part.first} on left is not kept any more: "
                "it goes with the instance that ran them"
            )
            raise NoResults(message)
        own = mapped_of(state, tree.step)
        if own.in_parts:
            yield from _left_below(reader, tree, own, part)
        else:
            yield from _left_in(reader, state, tree.step, range(len(own.ends)))


def is_of(tree: Tree, state: State) -> bool:
    """Whether an instance runs some of the items of this very tree, and has begun to."""
    part = state.part
    return part is not None and (part.owner, part.life) == (tree.owner, tree.life) and tree.step in state.steps


def _left_here(
    reader: Reader, state: State, step: str, places: Iterable[int], decided: Sequence[Event] = ()
) -> list[Any]:
    """What the items at ``places`` of an instance left."""
    mapped, wanted = mapped_of(state, step), list(places)
    if mapped.left is not None:
        return [mapped.left[place] for place in wanted]
    done = [place for place in wanted if mapped.ends[place] in _COMPLETED]
    numbers = dict.fromkeys(mapped.entries[place] for place in done)
    entries = reader.entries(state.instance_id, state.life, [one for one in numbers if one <= state.sequence])
    events = [*decided, *(event for entry in entries.values() for event in entry.events)]
    left = {event.activation: event.results for event in events if isinstance(event, ItemCompleted)}
    found: list[Any] = [None] * len(wanted)
    for at, place in enumerate(wanted):
        if mapped.ends[place] in _COMPLETED:
            activation = state.item(step, mapped.key(place))
            if activation not in left:
                message = f"instance {state.public_id}: what {activation} left has expired with its log entry"
                raise LookupError(message)
            found[at] = FrozenDict(left[activation])
    return found
