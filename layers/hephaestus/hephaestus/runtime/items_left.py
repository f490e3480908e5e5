"""What the items of a map left, read from the log entries that ended them; no snapshot has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.engine.events import ItemCompleted
from hephaestus.engine.map_items import mapped_of
from hephaestus.engine.records import COMPLETED, NOT_UNDONE, UNDONE
from hephaestus.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hephaestus.engine.events import Event
    from hephaestus.engine.state import State
    from hephaestus.store.reader import Reader

_COMPLETED = frozenset({COMPLETED, UNDONE, NOT_UNDONE})


def items_left(
    reader: Reader, state: State, step: str, places: Iterable[int], decided: Sequence[Event] = ()
) -> list[Any]:
    """The results of the items at ``places``; ``None`` for each that did not complete.

    Args:
        reader: reads the log.
        state: the instance.
        step: the map.
        places: of items.
        decided: what is decided and in no entry yet.

    Raises:
        LookupError: an entry has expired.
        StoreUnavailable: the store did not answer.
    """
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
                message = f"instance {state.instance_id}: what {activation} left has expired with its log entry"
                raise LookupError(message)
            found[at] = FrozenDict(left[activation])
    return found
