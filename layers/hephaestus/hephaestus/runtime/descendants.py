"""The instances below one, as a person looks at them: all children, and of a map of workflows those worth a look.

Those are the items that have failed and those that are open, so many of each at most; how many there are in all says
the progress of the map.
"""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.views import below
from hephaestus.engine.map_items import mapped_of
from hephaestus.engine.records import Child
from hephaestus.engine.state import is_other
from hephaestus.errors import CorruptLog, InstanceNotFound
from hephaestus.runtime.item_pages import items_page
from hephaestus.runtime.map_trees import held, progress_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hephaestus.definition.item_views import ItemStatus, ItemView
    from hephaestus.engine.state import State
    from hephaestus.store.store import Store

MOST_SHOWN: Final = 1_000  # of a tree
MOST_OF_MAP: Final = 20  # items of a map that have failed, and as many that are open
MOST_PAGES: Final = 5  # in which they are looked for: of a large map, a page may be empty
BAD: Final = ("compensation_failed", "failed")
OPEN: Final = ("waiting",)


class Descendants:
    """Reads the instances below one.

    Args:
        store: has them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def below(self, parent: State) -> Sequence[Mapping[str, Any]]:
        """The children of an instance, and theirs; no more of them than ``MOST_SHOWN`` in all."""
        return self._below(parent, count(1))

    def far(self, state: State, most: int | None = None, parked: list[str] | None = None) -> dict[str, dict[str, int]]:
        """How far the maps have come whose items other instances run, ``most`` of which are read."""
        maps = [key for key, step in state.steps.items() if step.mapped is not None and step.mapped.in_parts]
        return {key: progress_of(self._store, state, key, most, parked) for key in maps}

    def _below(self, parent: State, numbers: Iterator[int]) -> Sequence[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        for activation, child in parent.offspring.items():
            if is_other(parent, activation):
                continue
            if next(numbers) > MOST_SHOWN:
                return found
            state = self._load(child.instance_id)
            ours = state is not None and state.origin is not None and state.origin.life == parent.life
            found.append(self._shown(activation, child, state if ours else None, numbers))
        for step in parent.steps:
            for item in self._worth_a_look(parent, step):
                if next(numbers) > MOST_SHOWN:
                    return found
                found.append(self._of_item(parent, step, item, numbers))
        return found

    def _shown(self, activation: str, child: Child, state: State | None, numbers: Iterator[int]) -> dict[str, Any]:
        shown = below(activation, child, state, {} if state is None else self.far(state, 0))
        its = () if state is None else self._below(state, numbers)
        return {**shown, "children": its} if its else shown

    def _of_item(self, parent: State, step: str, item: ItemView, numbers: Iterator[int]) -> dict[str, Any]:
        """An item that is a workflow. Of a map in parts the instances are children of those that run the parts."""
        name = str(item.child)
        state = self._load(name)
        ours = state is not None and state.origin is not None and state.origin.public[0] == parent.instance_id
        activation = parent.item(step, item.key)
        shown = self._shown(
            activation, Child(name, status="" if item.status in OPEN else item.status), state if ours else None, numbers
        )
        return {**shown, **({"error": item.error} if item.error and "error" not in shown else {})}

    def _worth_a_look(self, parent: State, step: str) -> Iterator[ItemView]:
        """The items of a map that are workflows, and have failed or are open."""
        if not self._has_workflows(parent, step):
            return
        for statuses in (BAD, OPEN):
            yield from islice(self._items(parent, step, statuses), MOST_OF_MAP)

    def _has_workflows(self, parent: State, step: str) -> bool:
        """Whether a step is a map whose items are workflows: of one in parts, the first that has begun says so."""
        mapped = parent.steps[step].mapped
        if mapped is None or not mapped.in_parts:
            return mapped is not None and bool(mapped.child)
        try:
            one = next((some.state for some in held(self._store, parent, step) if some.state is not None), None)
        except (CorruptLog, InstanceNotFound):
            return False
        return one is not None and bool(mapped_of(one, step).child)

    def _items(self, parent: State, step: str, statuses: Sequence[ItemStatus]) -> Iterator[ItemView]:
        for status in statuses:
            cursor = None
            for _ in range(MOST_PAGES):
                try:
                    page = items_page(self._store, parent, step, (), status, MOST_OF_MAP, cursor)
                except (CorruptLog, InstanceNotFound):
                    break  # the rest of the tree can be read
                yield from (item for item in page.items if item.child is not None)
                cursor = page.cursor
                if cursor is None:
                    break

    def _load(self, name: str) -> State | None:
        try:
            return self._store.load(name)
        except CorruptLog:
            return None  # the rest of the tree can be read
