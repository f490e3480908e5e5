"""Which children an instance has, as people see them: the workflows of a map are its own, wherever they are started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus.engine.state import PARTS, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.engine.state import State

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
