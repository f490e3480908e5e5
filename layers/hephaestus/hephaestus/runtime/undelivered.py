"""Events that were accepted for the items of a map, and not taken, before the map begins anew: its new items get them.

In one instance they stay in its inbox. The instances of a tree have ended with theirs, and the new tree has others: the
attempt of ``over`` reads what they keep, and stores it with the items that it is for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.activation import is_item, parse, text_of_item
from hephaestus.engine.codec import dump_value, load_value
from hephaestus.engine.nodes import Node, below, id_of, top, way_to
from hephaestus.engine.records import Received, Tree
from hephaestus.runtime.items_left import is_of
from hephaestus.runtime.orphans import read_other
from hephaestus.runtime.spreading import place_of_key
from hephaestus.values import freeze

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.definition.maps import Spreads
    from hephaestus.engine.records import Plan, Undelivered
    from hephaestus.engine.state import State
    from hephaestus.store.store import Store

OTHERS: Final = "others"  # of no item any more; the map may begin anew once more, and have it again


def has_some(state: State, step: str) -> bool:
    """Whether events may be kept for the items of a map that is about to begin."""
    return step in state.undelivered or any(is_item(line, step) for line in state.inbox)


def with_events(store: Store, state: State, step: str, spreads: Spreads) -> Spreads:
    """A map's items with the events that are kept for them, which are stored where the items are.

    Args:
        store: has the instances and the values.
        state: the instance that has the map.
        step: the map.
        spreads: its new items.

    Raises:
        StoreUnavailable: the store did not answer, or an instance that keeps some cannot be read.
    """
    left = state.undelivered.get(step)
    found = {} if left is None else dict(_kept_before(store, state, step, left))
    plan, owner = spreads.plan, (state.instance_id, state.life)
    if plan is None:  # what the instance has in its own inbox stays there
        return replace(spreads, received=found)
    found |= {parse(line).item or "": one for line, one in state.inbox.items() if is_item(line, step)}
    if not found:
        return spreads
    leaves: dict[str, dict[str, Any]] = {}
    for key, received in found.items():
        place = place_of_key(store, owner, plan, key)
        leaf = OTHERS if place is None else str(place // plan.chunk)
        leaves.setdefault(leaf, {})[key] = [received.event, received.event_id, received.payload, received.only]
    for leaf, events in leaves.items():
        _write(store, owner, f"{plan.name}-events{leaf}", events)
    _write(store, owner, f"{plan.name}-events", list(leaves))
    return replace(spreads, plan=replace(plan, carried=True))


def stored_with(store: Store, owner: tuple[str, str], plan: Plan, leaf: int | str) -> dict[str, Received]:
    """The events that are stored with the items of a leaf, by key.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    name = f"{plan.name}-events{leaf}"
    found = store.values.find(*owner, (name,))
    return {key: Received(*one) for key, one in load_value(found[name]).items()} if name in found else {}


def _kept_before(store: Store, state: State, step: str, left: Undelivered) -> Iterator[tuple[str, Received]]:
    """What is kept of the map that was undone: in its instances, and for those that had not begun with their items."""
    origin, owner = state.origin, (state.instance_id, state.life)
    root_life, above = (state.life, "") if origin is None else (origin.root_life, origin.path)
    tree = Tree(*owner, root_life, above, step, left.epoch)
    whole = top(tree, left.plan)
    for node in [one for place, one in enumerate(below(tree, left.plan, whole)) if place in left.parts]:
        yield from _kept_by(store, tree, node)
    if left.plan.carried:
        name = f"{left.plan.name}-events"
        for leaf in load_value(store.values.get(*owner, (name,))[name]):
            if leaf == OTHERS or not _has_begun(store, tree, way_to(tree, left.plan, int(leaf) * left.plan.chunk)[-1]):
                yield from stored_with(store, owner, left.plan, leaf).items()


def _kept_by(store: Store, tree: Tree, node: Node) -> Iterator[tuple[str, Received]]:
    """What an instance keeps, and those below it that have said so."""
    state = read_other(id_of(tree, node), store)
    if state is None or not is_of(tree, state):
        return
    for line, received in state.inbox.items():
        if is_item(line, tree.step):
            yield parse(line).item or "", received
    mapped = state.steps[tree.step].mapped
    for place, counts in enumerate(mapped.counts if mapped is not None else ()):
        if counts.kept:
            path = f"{node.path}/{text_of_item(tree.step, tree.epoch, str(place))}"
            yield from _kept_by(store, tree, Node(path, 0, 0))


def _has_begun(store: Store, tree: Tree, node: Node) -> bool:
    """Whether an instance has read its items, and so has taken the events that are stored with them."""
    state = read_other(id_of(tree, node), store)
    return state is not None and is_of(tree, state) and state.steps[tree.step].mapped is not None


def _write(store: Store, owner: tuple[str, str], name: str, value: Any) -> None:
    store.values.put(*owner, name, dump_value(freeze(value, name)))
