"""Which children an instance has, as people see them, and where those are in their tree.

The workflows of a map are its own, wherever they are started.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from hephaestus.engine.events import InstanceStarted
from hephaestus.engine.state import PARTS, parts_of
from hephaestus.errors import CorruptLog
from hephaestus.store.keys import HEAD
from hephaestus.store.values import unpacked
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hephaestus.engine.events import Event
    from hephaestus.engine.state import State
    from hephaestus.store.table import Item, Table

CHILD_OF: Final = "child_of"  # an attribute of a head that has no room for the entry that says it
DERIVED: Final = re.compile(r"[0-9a-f]{32}")
BATCH: Final = 100  # DynamoDB API Reference, BatchGetItem
MOST_CHILDREN: Final = 1_000  # of one listing


def children_of(load: Callable[[str], State | None], parent: State) -> list[str]:
    """The ids of the children of an instance; of a map with more workflows than ``MOST_CHILDREN``, the first ones.

    Args:
        load: reads an instance of a map's tree.
        parent: the instance.
    """
    found: dict[str, None] = {}
    _add(load, parent, found)
    return list(found)


def _add(load: Callable[[str], State | None], parent: State, found: dict[str, None]) -> bool:
    """Add the children of an instance; return whether it can have any."""
    steps = [(step, known.mapped) for step, known in parent.steps.items() if known.mapped is not None]
    hidden = {step: parts_of(parent, step).values() for step, mapped in steps if mapped.in_parts}
    own = (*(child.instance_id for child in parent.offspring.values()), *parent.kin)
    found.update(dict.fromkeys(name for name in own if not name.startswith(f"{PARTS}::")))
    for children in hidden.values():
        for child in children:
            state = load(child.instance_id) if len(found) < MOST_CHILDREN else None
            if state is not None and not _add(load, state, found):
                break  # what runs there are no workflows
    return bool(hidden) or any(mapped.child for _, mapped in steps)


@dataclass(frozen=True, slots=True)
class Known:
    """As what people know an instance below another.

    Attributes:
        id: its id; of one that runs some of a map's items, that of the map's owner (C.1).
        root: the instance at the top of its tree; empty where it is that itself.
        path: the activations from there to it.
    """

    id: str
    root: str = ""
    path: str = ""

    @property
    def at(self) -> str:
        """Where it is, as ``parcels[3] of order::1``; empty for a root."""
        return f"{self.path} of {self.root}" if self.path else ""


def as_known(state: State) -> Known:
    """As what people know the instance that a state is of."""
    path = "" if state.origin is None else state.origin.public[1]
    return Known(state.public_id, state.origin.root if state.origin is not None and path else "", path)


def known(table: Table, load_events: Callable[[bytes], tuple[Event, ...]], ids: Iterable[str]) -> dict[str, Known]:
    """As what people know instances, as far as their heads say so; a request for each hundred that may be children."""
    asked = [one for one in dict.fromkeys(ids) if DERIVED.fullmatch(one.rpartition("::")[2])]
    found: dict[str, Known] = {}
    for start in range(0, len(asked), BATCH):
        keys = [(one, HEAD) for one in asked[start : start + BATCH]]
        for head in table.get_many(keys, ("first", CHILD_OF)):
            if (told := _known(head, load_events)) is not None:
                found[str(head["pk"])] = told
    return found


def _known(head: Item, load_events: Callable[[bytes], tuple[Event, ...]]) -> Known | None:
    told, data = head.get(CHILD_OF), head.get("first")
    if isinstance(told, tuple):
        return Known(*map(str, told))
    if not isinstance(data, bytes):
        return None
    try:
        first = load_events(unpacked(data, str(head["pk"]))[1])[0]
    except CorruptLog:
        return None
    origin = first.origin if isinstance(first, InstanceStarted) else None
    if origin is None:
        return None
    path = origin.public[1]
    return Known(origin.part.owner if origin.part else str(head["pk"]), origin.root if path else "", path)
