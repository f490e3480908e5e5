"""Where the items of a map in parts are: the instances of its tree, whose ids are derived from where they are in it.

Nothing of this asks the store: the plan says how the items are spread, and the owner's state where the tree is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hephaestus.engine.activation import derived, text_of_item
from hephaestus.engine.map_items import mapped_of
from hephaestus.engine.records import Tree
from hephaestus.engine.state import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.engine.records import Plan
    from hephaestus.engine.state import State


class Node(NamedTuple):
    """An instance of a map's tree.

    Attributes:
        path: the activations that lead to it from the root of its tree.
        first, size: which items it has: those from this place on, so many.
    """

    path: str
    first: int
    size: int


def tree_of(state: State, step: str) -> Tree:
    """Where the instances of a map in parts are; ``state`` is of the instance that has the map."""
    known = mapped_of(state, step).tree
    if known is not None:
        return known
    origin, epoch = state.origin, state.epochs.get(step, 0)
    root_life, above = (state.life, "") if origin is None else (origin.root_life, origin.path)
    return Tree(state.instance_id, state.life, root_life, above, step, epoch)


def below(tree: Tree, plan: Plan, node: Node) -> Iterator[Node]:
    """The instances below one, in order; none below one that has its items itself."""
    if node.size <= plan.chunk:
        return
    width = plan.width(node.size)
    for number, first in enumerate(range(0, node.size, width)):
        activation = text_of_item(tree.step, tree.epoch, str(number))
        path = f"{node.path}/{activation}" if node.path else activation
        yield Node(path, node.first + first, min(width, node.size - first))


def top(tree: Tree, plan: Plan) -> Node:
    """The owner of a map, as the instance that has all items."""
    return Node(tree.above, 0, plan.total)


def way_to(tree: Tree, plan: Plan, place: int) -> list[Node]:
    """The instances below the owner that lead to the one that runs the item at ``place``, that one last."""
    way = [top(tree, plan)]
    while way[-1].size > plan.chunk:
        way.append(_towards(tree, plan, way[-1], place))
    return way[1:]


def id_of(tree: Tree, node: Node) -> str:
    """The id of an instance of the tree."""
    return f"{PARTS}::{derived(tree.root_life, node.path)}"


def _towards(tree: Tree, plan: Plan, node: Node, place: int) -> Node:
    """The instance below ``node`` that has the item at ``place``, or has it below it."""
    return next(one for one in below(tree, plan, node) if one.first <= place < one.first + one.size)
