"""The items of a map that more than one instance runs: values in the partition of the map's owner, one for each leaf.

They are written before the entry that names them, and read by each leaf as it begins. With keys of their own, there
is a directory besides: of each key, by its digest, the place of its item.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hephaestus.definition.maps import FAN, Map, Spreads
from hephaestus.engine.codec import dump_value, load_value
from hephaestus.engine.graph import Spread
from hephaestus.engine.records import NOTHING, Plan
from hephaestus.runtime.sizes import check_size
from hephaestus.values import FrozenDict, FrozenList, freeze

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.definition.context import StepContext
    from hephaestus.engine.records import Part
    from hephaestus.runtime.sources import Sources
    from hephaestus.store.store import Store

PAGE: Final = 1_000  # keys of a page of the directory


class ItemsOf(NamedTuple):
    """Whose items are spread.

    Attributes:
        store: has the values.
        context: of the map's attempt.
        activation: of the map.
        attempt: names this attempt: what another one writes has other names.
        at_once: how many items one instance runs at a time at most.
        sources: gives what reads users' objects.
    """

    store: Store
    context: StepContext
    activation: str
    attempt: str
    at_once: int
    sources: Callable[[], Sources]


def spread(given: Spreads, step: Map, of: ItemsOf) -> Spreads:
    """The plan of a map's items, which are stored; those of an object that fit one instance stay as they are.

    Raises:
        PayloadTooLarge: the items of a leaf cannot be stored.
        StoreUnavailable: the store did not answer.
    """
    if given.source is not None:
        from hephaestus.runtime.scanning import of_object  # noqa: PLC0415 - few maps are over objects

        return of_object(given, given.source, step, of)
    total = len(given.items)
    name = f"map{digest(f'{of.activation} {of.attempt}', 16)}"
    plan = replace(plan_of(name, total, step, of), keyed=bool(given.keys))
    for first in range(0, total, step.chunk):
        some = FrozenList(given.items[first : first + step.chunk])
        check_size(some, of.store.max_value_bytes, f"step {step.key}: its items from {first}")
    write(of, f"{name}-context", shared(given, of))
    for leaf, first in enumerate(range(0, total, step.chunk)):
        until = first + step.chunk
        items = {"items": FrozenList(given.items[first:until]), "keys": list(given.keys[first:until])}
        write(of, f"{name}-{leaf}", items)
    for page, places in enumerate(_directory(given.keys, total)):
        write(of, f"{name}-keys{page}", places)
    return Spreads(FrozenList(), plan=plan)


def plan_of(name: str, total: int, step: Map, of: ItemsOf) -> Plan:
    """How so many items are spread, of a list without keys."""
    most = Spread(tolerate=step.tolerate, share=step.share).tolerated(total)
    return Plan(name, total, step.chunk, FAN, most, of.at_once)


def part_items(store: Store, part: Part, sources: Callable[[], Sources]) -> Spreads:
    """What an instance runs that has a part of a map's items: the items, or how they are spread further.

    Raises:
        CorruptLog: the values are not there any more.
        StoreUnavailable: the store did not answer.
    """
    plan = part.plan
    if part.size > plan.chunk:
        return Spreads(FrozenList(), plan=plan)
    owner, number, name = (part.owner, part.life), part.first // plan.chunk, f"{plan.name}-context"
    shared = load_value(store.values.get(*owner, (name,))[name])
    if plan.of_object:
        from hephaestus.runtime.scanning import lines_of_part  # noqa: PLC0415 - as above

        items, malformed = lines_of_part(store, part, shared["source"], sources())
        keys: tuple[str, ...] = ()
    else:
        malformed = NOTHING
        items, keys = stored_items(store, owner, plan, number)
    of_all = {"config": FrozenDict(shared["config"]), "child": shared["child"], "version": shared["version"]}
    if plan.carried:
        from hephaestus.runtime.undelivered import stored_with  # noqa: PLC0415 - few maps have such events

        of_all["received"] = stored_with(store, owner, plan, number)
    return Spreads(items, keys, FrozenDict(shared["initial"]), **of_all, malformed=malformed)


def stored_items(store: Store, owner: tuple[str, str], plan: Plan, leaf: int) -> tuple[FrozenList, tuple[str, ...]]:
    """The items that one instance runs, the first having the place ``leaf`` times the chunk, and their keys, if any.

    Of an object's lines, nothing is stored: see ``part_items``.

    Raises:
        ValueMissing: they are not there any more.
    """
    if plan.of_object:
        return FrozenList([None] * plan.chunk), ()
    name = f"{plan.name}-{leaf}"
    found = load_value(store.values.get(*owner, (name,))[name])
    return FrozenList(found["items"]), tuple(found["keys"])


def place_of_key(store: Store, owner: tuple[str, str], plan: Plan, key: str) -> int | None:
    """The place of an item in the whole map; ``None`` where it has none with this key.

    Args:
        store: has the values.
        owner: the instance that has the map, and its life.
        plan: how its items are spread.
        key: of the item.
    """
    if not plan.keyed:
        known = key.isascii() and key.isdecimal() and len(key) <= len(str(plan.total)) and str(int(key)) == key
        return int(key) if known and int(key) < plan.total else None
    name = f"{plan.name}-keys{_page(key, plan.total)}"
    found = load_value(store.values.get(*owner, (name,))[name]).get(key)
    return None if found is None else int(found)


def shared(given: Spreads, of: ItemsOf) -> dict[str, Any]:
    """What all items read besides their own."""
    initial = freeze(of.context.initial, "context") if given.initial is None else given.initial
    of_all = {"initial": initial, "config": freeze(of.context.config, "config")}
    return {**of_all, "child": given.child, "version": given.version}


def _directory(keys: tuple[str, ...], total: int) -> list[dict[str, int]]:
    """By page, the places of the items with these keys."""
    if not keys:
        return []
    pages: list[dict[str, int]] = [{} for _ in range(_pages(total))]
    for place, key in enumerate(keys):
        pages[_page(key, total)][key] = place
    return pages


def _pages(total: int) -> int:
    return -(-total // PAGE)


def _page(key: str, total: int) -> int:
    return int(digest(key, 12), 16) % _pages(total)


def digest(text: str, characters: int) -> str:
    """What stands for a text in a name."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:characters]


def write(of: ItemsOf, name: str, value: Any) -> None:
    """Store a value in the partition of the map's owner."""
    instance = of.context.instance
    of.store.values.put(instance.id, instance.life, name, dump_value(freeze(value, name)))
