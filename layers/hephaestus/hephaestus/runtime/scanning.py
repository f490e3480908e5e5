"""The items of a map that are lines of an object: what is stored is where those of each instance begin and end."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.maps import Spreads
from hephaestus.engine.codec import load_value
from hephaestus.errors import NonRetryable
from hephaestus.runtime.sources import GROUP, Leaf, Lines, Scan, Source
from hephaestus.runtime.spreading import digest, plan_of, shared, write
from hephaestus.values import FrozenList

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.definition.item_sources import Items
    from hephaestus.definition.maps import Map
    from hephaestus.engine.records import Part
    from hephaestus.runtime.sources import Sources
    from hephaestus.runtime.spreading import ItemsOf
    from hephaestus.store.store import Store

SCANNED: Final = 256 * 1024 * 1024  # bytes of an object, after which it is noted how far its scan has come
LEAST_TIME: Final = timedelta(seconds=20)  # for so many bytes


class ScanGoesOn(RuntimeError):
    """The time of an attempt was up before all of an object was scanned; the next goes on where it stopped."""


def of_object(given: Spreads, source: Items, step: Map, of: ItemsOf) -> Spreads:
    """The plan of a map over the lines of an object: where each leaf begins and ends is stored, a hundred at a time.

    How far the scan has come is stored, too: an attempt that ran out of time, or died, is gone on with by the next.
    What it finds has names that the object's pin is part of, so that two attempts write the same or beside each other.
    Of what fails for good nothing is gone on with: a redrive reads the object that is there then.

    Raises:
        InvalidItems, UnreadableObject: the object has no such lines, or is not there.
        StoreUnavailable: store or object did not answer.
        ScanGoesOn: the time of the attempt was up.
    """
    sources, mark = of.sources(), f"map{digest(of.activation, 16)}-scan"
    owner = (of.context.instance.id, of.context.instance.life)
    try:
        return _spread_over(given, source, step, of, sources, mark)
    except NonRetryable:  # a redrive finds another object, or the same one put right: it begins anew
        of.store.values.remove(*owner, (mark,))
        raise


def _spread_over(  # noqa: PLR0913, PLR0917 - as above
    given: Spreads, source: Items, step: Map, of: ItemsOf, sources: Sources, mark: str
) -> Spreads:
    owner = (of.context.instance.id, of.context.instance.life)
    found = of.store.values.find(*owner, (mark,))
    scan = Scan.from_json(load_value(found[mark])) if mark in found else None
    if scan is None or scan.source.items != source or scan.chunk != step.chunk:  # other code was deployed meanwhile
        scan = sources.begin(source, step.chunk)
    pin = scan.source.pin
    name = f"map{digest(f'{of.activation} {source!r} {step.chunk} {pin.etag} {pin.version_id}', 16)}"
    while not scan.done:
        if of.context.remaining_time() < LEAST_TIME:
            message = f"step {step.key}: {source.uri} is scanned up to byte {scan.at:,} of {pin.size:,}"
            raise ScanGoesOn(message)
        group = ((scan.total - scan.within) // step.chunk - len(scan.leaves)) // GROUP
        scan, groups = sources.scan(scan, lambda read: read < SCANNED)
        for number, leaves in enumerate(groups, group):
            write(of, f"{name}-lines{number}", [[*leaf] for leaf in leaves])
        write(of, mark, scan.to_json())
    if scan.total <= step.chunk:
        first = _leaves_of(of.store, owner, name, 0) if scan.total else []
        read = sources.read(scan.source, first[0], 0) if first else Lines(FrozenList())
        return replace(given, items=read.items, malformed=read.malformed, source=None)
    write(of, f"{name}-context", {**shared(given, of), "source": scan.source.to_json()})
    return Spreads(FrozenList(), plan=replace(plan_of(name, scan.total, step, of), of_object=True))


def _leaves_of(store: Store, owner: tuple[str, str], name: str, group: int) -> list[Leaf]:
    """Where a hundred leaves begin and end."""
    value = f"{name}-lines{group}"
    return [Leaf(*leaf) for leaf in load_value(store.values.get(*owner, (value,))[value])]


def lines_of_part(store: Store, part: Part, source: Mapping[str, Any], sources: Sources) -> Lines:
    """The items of an instance that runs some of them.

    Raises:
        InvalidItems, UnreadableObject: the object is another one now.
        CorruptLog: where they are is not stored any more.
        StoreUnavailable: store or object did not answer.
    """
    number = part.first // part.plan.chunk
    leaves = _leaves_of(store, (part.owner, part.life), part.plan.name, number // GROUP)
    return sources.read(Source.from_json(source), leaves[number % GROUP], part.first)
