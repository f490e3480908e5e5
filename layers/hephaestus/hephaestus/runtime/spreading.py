"""The items of a map that more than one instance runs: values in the partition of the map's owner, one for each leaf.

They are written before the entry that names them, and read by each leaf as it begins. With keys of their own, there
is a directory besides: of each key, by its digest, the place of its item.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hephaestus.definition.maps import FAN, Map, Spreads
from hephaestus.engine.codec import dump_value, load_value
from hephaestus.engine.graph import Spread
from hephaestus.engine.records import Plan
from hephaestus.runtime.sizes import check_size
from hephaestus.runtime.sources import GROUP, Leaf, Scan, Source
from hephaestus.values import FrozenDict, FrozenList, freeze

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.definition.context import StepContext
    from hephaestus.definition.item_sources import Items
    from hephaestus.engine.records import Part
    from hephaestus.runtime.sources import Sources
    from hephaestus.store.store import Store

PAGE: Final = 1_000  # keys of a page of the directory
SCANNED: Final = 256 * 1024 * 1024  # bytes of an object, after which it is noted how far its scan has come
LEAST_TIME: Final = timedelta(seconds=20)  # for so many bytes


class ScanGoesOn(RuntimeError):
    """The time of an attempt was up before all of an object was scanned; the next goes on where it stopped."""


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
    """The plan of a map's items, which are stored; what fits one instance stays as it is.

    Raises:
        PayloadTooLarge: the items of a leaf cannot be stored.
        StoreUnavailable: the store did not answer.
    """
    if given.source is not None:
        return _of_object(given, given.source, step, of)
    total = len(given.items)
    if total <= step.chunk:
        return given
    name = f"map{_digest(f'{of.activation} {of.attempt}', 16)}"
    plan = replace(_plan(name, total, step, of), keyed=bool(given.keys))
    for first in range(0, total, step.chunk):
        some = FrozenList(given.items[first : first + step.chunk])
        check_size(some, of.store.max_value_bytes, f"step {step.key}: its items from {first}")
    _write(of, f"{name}-context", _shared(given, of))
    for leaf, first in enumerate(range(0, total, step.chunk)):
        until = first + step.chunk
        items = {"items": FrozenList(given.items[first:until]), "keys": list(given.keys[first:until])}
        _write(of, f"{name}-{leaf}", items)
    for page, places in enumerate(_directory(given.keys, total)):
        _write(of, f"{name}-keys{page}", places)
    return Spreads(FrozenList(), plan=plan)


def _plan(name: str, total: int, step: Map, of: ItemsOf) -> Plan:
    most = Spread(tolerate=step.tolerate, share=step.share).tolerated(total)
    return Plan(name, total, step.chunk, FAN, most, of.at_once)


def _of_object(given: Spreads, source: Items, step: Map, of: ItemsOf) -> Spreads:
    """The plan of a map over the lines of an object: where each leaf begins and ends is stored, a hundred at a time.

    How far the scan has come is stored, too: an attempt that ran out of time, or died, is gone on with by the next.
    What it finds has names that the object's pin is part of, so that two attempts write the same or beside each other.

    Raises:
        InvalidItems, UnreadableObject: the object has no such lines, or is not there.
        StoreUnavailable: store or object did not answer.
        ScanGoesOn: the time of the attempt was up.
    """
    sources, mark = of.sources(), f"map{_digest(of.activation, 16)}-scan"
    owner = (of.context.instance.id, of.context.instance.life)
    found = of.store.values.find(*owner, (mark,))
    scan = Scan.from_json(load_value(found[mark])) if mark in found else sources.begin(source, step.chunk)
    pin = scan.source.pin
    name = f"map{_digest(f'{of.activation} {pin.etag} {pin.version_id}', 16)}"
    while not scan.done:
        if of.context.remaining_time() < LEAST_TIME:
            message = f"step {step.key}: {source.uri} is scanned up to byte {scan.at:,} of {pin.size:,}"
            raise ScanGoesOn(message)
        group = ((scan.total - scan.within) // step.chunk - len(scan.leaves)) // GROUP
        scan, groups = sources.scan(scan, lambda read: read < SCANNED)
        for number, leaves in enumerate(groups, group):
            _write(of, f"{name}-lines{number}", [[*leaf] for leaf in leaves])
        _write(of, mark, scan.to_json())
    if scan.total <= step.chunk:
        first = _leaves_of(of.store, owner, name, 0) if scan.total else []
        items = sources.read(scan.source, first[0], 0) if first else FrozenList()
        return replace(given, items=items, source=None)
    _write(of, f"{name}-context", {**_shared(given, of), "source": scan.source.to_json()})
    return Spreads(FrozenList(), plan=replace(_plan(name, scan.total, step, of), of_object=True))


def _leaves_of(store: Store, owner: tuple[str, str], name: str, group: int) -> list[Leaf]:
    """Where a hundred leaves begin and end."""
    value = f"{name}-lines{group}"
    return [Leaf(*leaf) for leaf in load_value(store.values.get(*owner, (value,))[value])]


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
        leaf = _leaves_of(store, owner, plan.name, number // GROUP)[number % GROUP]
        items = sources().read(Source.from_json(shared["source"]), leaf, part.first)
        keys: tuple[str, ...] = ()
    else:
        items, keys = stored_items(store, owner, plan, number)
    of_all = {"config": FrozenDict(shared["config"]), "child": shared["child"], "version": shared["version"]}
    return Spreads(items, keys, FrozenDict(shared["initial"]), **of_all)


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


def _shared(given: Spreads, of: ItemsOf) -> dict[str, Any]:
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
    return int(_digest(key, 12), 16) % _pages(total)


def _digest(text: str, characters: int) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:characters]


def _write(of: ItemsOf, name: str, value: Any) -> None:
    instance = of.context.instance
    of.store.values.put(instance.id, instance.life, name, dump_value(freeze(value, name)))
