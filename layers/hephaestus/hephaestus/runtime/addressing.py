"""Which instance has the item that a request names: callers know the map's owner, and no instance of its tree (C.11).

The owner's state and the item's place say which one it is, so that besides these two none is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus.engine.activation import parse
from hephaestus.engine.inbox import far_maps
from hephaestus.engine.map_items import mapped_of
from hephaestus.engine.nodes import id_of, tree_of, way_to
from hephaestus.engine.records import COMPLETED, NOT_ENDED
from hephaestus.errors import AmbiguousEvent, InstanceNotFound, ItemNotBegun
from hephaestus.runtime.spreading import place_of_key
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hephaestus.engine.graph import Graph
    from hephaestus.engine.nodes import Node
    from hephaestus.engine.records import Plan, Tree
    from hephaestus.engine.state import State
    from hephaestus.runtime.instances import Instances


@dataclass(frozen=True, slots=True)
class FarItem:
    """An item that another instance runs than the one that has its map.

    Attributes:
        owner: the instance that has the map.
        step: the map.
        item: its key.
        place: of the item in the whole map.
        goes_on: whether the map does; else nothing is for the item but a request that was made before.
    """

    owner: State
    step: str
    item: str
    place: int
    goes_on: bool

    @property
    def tree(self) -> Tree:
        """Where the instances are that run the items."""
        return tree_of(self.owner, self.step)

    @property
    def plan(self) -> Plan:
        """How the items are spread."""
        plan = mapped_of(self.owner, self.step).plan
        assert plan is not None  # noqa: S101 - it is in parts
        return plan

    @property
    def holder(self) -> str:
        """The id of the instance that runs it."""
        return id_of(self.tree, self.way[-1])

    @property
    def way(self) -> Sequence[Node]:
        """The instances that lead to the one that runs it, that one last."""
        return way_to(self.tree, self.plan, self.place)

    def change(
        self,
        instances: Instances,
        decide: Callable[[State, int], State | None],
        repeated: Callable[[State], bool] = lambda _: False,
    ) -> State | None:
        """Have ``decide`` change the instance that runs it; see ``Instances.change``.

        Args:
            instances: the instances.
            decide: given its state and the time.
            repeated: whether the request has been carried out already, which is asked first.

        Returns:
            Its state after; ``None`` where the item has ended, or will not begin any more.

        Raises:
            ItemNotBegun: that instance has not begun.
        """
        over: list[State] = []

        def only(state: State, now: int) -> State | None:
            if repeated(state):
                return state
            if not self._takes(instances, state):
                over.append(state)
                return state
            return decide(state, now)

        try:
            after = instances.change(self.holder, only)
        except InstanceNotFound:
            self._check_begins(instances)
            return None
        return None if over else after

    def _takes(self, instances: Instances, state: State) -> bool:
        """Whether the instance ``state`` takes what is for the item.

        Raises:
            ItemNotBegun: it does not yet.
        """
        if not self.goes_on:
            return False
        known = state.steps.get(self.step)
        mapped = None if known is None else known.mapped
        if not (state.closed or state.cancel or state.compensation):
            if mapped is None:
                raise self.not_begun()
            return True
        place = None if mapped is None else mapped.place(self.item)
        if mapped is None or place is None or mapped.ends[place] != COMPLETED:
            self._check_begins(instances)
        return False

    def _check_begins(self, instances: Instances) -> None:
        """Reject what is for an item whose instance does not run now, and is still to begin or to go on.

        Raises:
            ItemNotBegun: so it is.
        """
        state: State | None = self.owner if self.goes_on else None
        for at, node in enumerate(self.way):
            known = None if state is None else state.steps.get(self.step)
            mapped = None if known is None else known.mapped
            if mapped is None or state is None:
                return
            place = mapped.place(parse(node.path.rpartition("/")[2]).item or "")
            known_end = NOT_ENDED if place is None else (mapped.again() if state.closed else mapped).ends[place]
            if known_end != NOT_ENDED:
                return
            if at + 1 < len(self.way):
                state = instances.store.load(id_of(self.tree, node))
                if state is None:
                    break
        raise self.not_begun()

    def not_begun(self) -> ItemNotBegun:
        """That it is too early."""
        message = f"instance {self.owner.instance_id}: item {self.item} of {self.step} has not begun: try again later"
        return ItemNotBegun(message)


def far_item(  # noqa: PLR0913, PLR0917 - what a request names
    instances: Instances,
    graph: Graph,
    state: State,
    step: str | None,
    item: str | None,
    event: str | None = None,
    others: Iterable[str] = (),
) -> FarItem | None:
    """The item that a request names, if other instances than ``state`` have it.

    Args:
        instances: the instances.
        graph: what ``state`` runs on.
        state: the instance that the request names.
        step, item: as the request names them.
        event: that the item is to be given.
        others: the activations in the instance itself that it may be for as well.

    Raises:
        AmbiguousEvent: several maps have such an item.
    """
    if item is None:
        return None
    found = []
    open_ = far_maps(graph, state, step, event)
    for key in open_ or _over(graph, state, step):
        plan = mapped_of(state, key).plan
        place = None if plan is None else place_of_key(instances.store, (state.instance_id, state.life), plan, item)
        if place is not None:
            found.append(FarItem(state, key, item, place, goes_on=bool(open_)))
    named = [*others, *(f"{one.step}[{item}]" for one in found)]
    if not open_ and len(named) > 1:
        return None
    if found and len(named) > 1:
        message = f"instance {state.instance_id}: this could be for {', '.join(named)}; name the step that is meant"
        raise AmbiguousEvent(message, named)
    return found[0] if found else None


def _over(graph: Graph, state: State, step: str | None) -> list[str]:
    """The maps with items in other instances that do not go on, or not with this event."""
    every = ((key, state.steps.get(key)) for key in graph.maps if step in {None, key})
    known = [(key, one.mapped) for key, one in every if one is not None and one.mapped is not None]
    return [key for key, mapped in known if mapped.in_parts and mapped.tree is None]
