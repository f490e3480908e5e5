"""Values: what is too large for the head or the log entry that it belongs to, each an item of its own.

A value is written before the item that names it, never changed, and removed when no item names it any more. A result
is named by a digest of its bytes, so that its log entry and every later snapshot name the same one: it is written once.
What a round leaves for the next is named by the step and the round besides, so that it can be removed two rounds later.
Above the threshold its bytes are in S3, where there is a bucket; otherwise in as many items as it takes.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from hephaestus.engine.activation import parse
from hephaestus.engine.codec import dump_value, load_value
from hephaestus.engine.events import Forked, MapBegun, RoundEnded, StepCompleted
from hephaestus.engine.records import NOTHING
from hephaestus.engine.state import evolve
from hephaestus.errors import CorruptLog
from hephaestus.store.items import FORMAT, KEPT_BY, attribute, check_format, said_by
from hephaestus.store.keys import VALUE, end_of, value_key
from hephaestus.store.table import ALWAYS, EXPIRES, MAX_BATCH, Condition
from hephaestus.values.lazy_dataclass import dataclass
from hephaestus.values.weight import is_large, weigh

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from hephaestus.engine.events import Event
    from hephaestus.engine.records import Mapped, Received
    from hephaestus.engine.state import State, StepState
    from hephaestus.store.table import Item, Table, Value

OVERHEAD: Final = 4 * 1024  # bytes that an item's keys and other attributes take at most
MAX_VALUE_BYTES: Final = 64 * 1024
PART_BYTES: Final = 256 * 1024  # of an item that holds a part of a value
_FIELDS: Final = ("results", "payload", "initial", "metadata", "configs", "output", "over")
_OF_MAPS: Final = ("items", "initial", "left")
_NONE: Final = frozenset({"payload", "over", "items", "left"})  # fields that hold any value


class Blobs(Protocol):
    """A place for large values."""

    def put(self, key: str, data: bytes) -> None:
        """Keep ``data`` under ``key``."""

    def get(self, key: str) -> bytes | None:
        """What is kept under ``key``; ``None`` where there is nothing."""

    def delete(self, key: str) -> None:
        """Keep nothing under ``key`` any more; it is no error if there was nothing."""


@dataclass(frozen=True, slots=True)
class Values:
    """The values of instances.

    Attributes:
        table: the table.
        blobs: where values above ``threshold`` go; without it, into several items.
        threshold: the largest value that stands in the table where there is a bucket, in bytes.
    """

    table: Table
    blobs: Blobs | None = None
    threshold: int = MAX_VALUE_BYTES

    def put(self, instance_id: str, life: str, name: str, data: bytes, expires: int | None = None) -> None:
        """Write a value; writing it again changes nothing."""
        item: dict[str, Value] = {"pk": instance_id, "sk": value_key(life, name), "format": FORMAT}
        if expires is not None:
            item[EXPIRES] = expires
        if self.blobs is not None and len(data) > self.threshold:
            key = f"{instance_id}/{life}/{name}"
            self.blobs.put(key, data)
            self.table.put({**item, "s3": key}, ALWAYS)
            return
        parts = [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)] or [b""]
        for number, part in enumerate(parts[1:], 1):
            self.table.put({**item, "sk": value_key(life, f"{name}.{number}"), "data": part}, ALWAYS)
        self.table.put({**item, "data": parts[0], "parts": len(parts)}, ALWAYS)

    def find(self, instance_id: str, life: str, names: Collection[str]) -> Mapping[str, bytes]:
        """The bytes of those values that are there; see ``get``."""
        found: dict[str, bytes] = {}
        for name in names:
            with suppress(ValueMissing):
                found |= self.get(instance_id, life, (name,))
        return found

    def get(self, instance_id: str, life: str, names: Collection[str]) -> Mapping[str, bytes]:
        """The bytes of values.

        Raises:
            ValueMissing: one of them is not there.
            CorruptLog: one of them cannot be read.
        """
        wanted = [value_key(life, name) for name in names]
        found: dict[str, Item] = {}
        for start in range(0, len(wanted) if len(wanted) > 1 else 0, MAX_BATCH):
            keys = [(instance_id, sk) for sk in wanted[start : start + MAX_BATCH]]
            for item in self.table.get_many(keys, ("format", "data", "parts", "s3")):
                found[str(item["sk"])] = item
        return {name: self._read(instance_id, life, name, found.get(value_key(life, name))) for name in names}

    def remove(self, instance_id: str, life: str, names: Collection[str]) -> None:
        """Remove values that no item names."""
        for name in names:
            prefix = value_key(life, name)
            for item in self.table.query(instance_id, low=prefix, high=f"{prefix}.~"):
                self.drop(item)

    def forget(self, instance_id: str, life: str, prefix: str) -> None:
        """Remove the values whose names begin with ``prefix``."""
        low = value_key(life, prefix)
        for item in self.table.query(instance_id, low=low, high=f"{low}~"):
            self.drop(item)

    def drop(self, item: Item) -> None:
        """Remove the item of a value, and what it has in S3."""
        key = item.get("s3")
        if isinstance(key, str) and self.blobs is not None:
            self.blobs.delete(key)
        self.table.delete(str(item["pk"]), str(item["sk"]), ALWAYS)

    def every(self, instance_id: str, life: str) -> Sequence[Item]:
        """The items of all values of a life."""
        prefix = f"{VALUE}{life}#"
        return self.table.query(instance_id, low=prefix, high=end_of(prefix))

    def expire(self, items: Sequence[Item], at: int | None, number: int) -> None:
        """Have values expire at ``at`` (s), or never, unless an entry after ``number`` has said otherwise."""
        condition = Condition(present=True, any_of=said_by(number).any_of)
        for item in items:
            if (item.get(EXPIRES), item.get(KEPT_BY)) != (at, number):
                self.table.update(str(item["pk"]), str(item["sk"]), {EXPIRES: at, KEPT_BY: number}, condition)

    def take_back(self, items: Sequence[Item], number: int) -> None:
        """Have no value expire because entry ``number`` said so."""
        for item in items:
            said = Condition(equal={KEPT_BY: number})
            self.table.update(str(item["pk"]), str(item["sk"]), {EXPIRES: None}, said)

    def _read(self, instance_id: str, life: str, name: str, known: Item | None) -> bytes:
        item = known or self._item(instance_id, life, name)  # a batch is not consistent: what it lacks is asked for
        check_format(item)
        key = item.get("s3")
        if key is None:
            numbers = range(1, attribute(item, "parts", int))
            others = (self._item(instance_id, life, f"{name}.{number}") for number in numbers)
            return b"".join(attribute(part, "data", bytes) for part in (item, *others))
        if self.blobs is None:
            message = f"instance {instance_id}: a value is in S3, but no bucket is configured"
            raise CorruptLog(message)
        data = self.blobs.get(str(key))
        if data is None:
            message = f"instance {instance_id}: a value is missing in S3"
            raise ValueMissing(message)
        return data

    def _item(self, instance_id: str, life: str, name: str) -> Item:
        item = self.table.get(instance_id, value_key(life, name))
        if item is None:
            message = f"instance {instance_id}: the value {name} is missing"
            raise ValueMissing(message)
        return item


class ValueMissing(CorruptLog):
    """A value that an item names is not there: it was removed since that item was read, or it is lost."""


def carry_prefix(activation: str, rounds: int) -> str:
    """What the name of the carry begins with that the last of so many ``rounds`` left."""
    return f"carry{hashlib.sha256(activation.encode()).hexdigest()[:16]}-{rounds}-"


def is_carry(place: str) -> bool:
    """Whether what a round left belongs to ``place``."""
    return place.startswith("carry")


def _carry(carry: Any, activation: str, rounds: int) -> tuple[str, bytes] | None:
    """The name and the bytes of a carry that stands apart; ``None`` for one that does not."""
    if not is_large(carry):
        return None
    data = dump_value(carry)
    first = replace(parse(activation), round=1).text
    return f"{carry_prefix(first, rounds)}{name_of(data)[:16]}", data


def name_of(data: bytes) -> str:
    """The name of a result with these bytes."""
    return hashlib.sha256(data).hexdigest()[:32]


def set_apart(events: tuple[Event, ...], above: int) -> tuple[tuple[Event, ...], Mapping[str, bytes]]:
    """Events without their large values, and where each belongs (name, event, field, and which completed step)."""
    apart: dict[str, bytes] = {}
    left: list[Any] = []
    for number, event in enumerate(events):
        changed: Any = _emptied(event, f"{number}", apart, above)
        if isinstance(event, Forked):
            completed = tuple(_emptied(done, f"{number} {n}", apart, above) for n, done in enumerate(event.completed))
            changed = replace(changed, completed=completed)
        left.append(changed)
    return tuple(left), apart


def put_back(events: tuple[Event, ...], places: Sequence[str], values: Mapping[str, bytes]) -> tuple[Event, ...]:
    """What ``set_apart`` was given."""
    whole: list[Any] = list(events)
    for place in places:
        name, *where, field = place.split(" ")
        value = load_value(values[name])
        event = whole[int(where[0])]
        if len(where) > 1:
            completed = list(event.completed)
            completed[int(where[1])] = _filled(completed[int(where[1])], field, value)
            whole[int(where[0])] = replace(event, completed=tuple(completed))
        else:
            whole[int(where[0])] = _filled(event, field, value)
    return tuple(whole)


def _emptied(record: Any, where: str, apart: dict[str, bytes], above: int) -> Any:
    changes: dict[str, Any] = {}
    if isinstance(record, RoundEnded):
        return _round_emptied(record, where, apart)
    if isinstance(record, StepCompleted) and record.loop is not None:  # a fork takes it over
        loop = record.loop
        if (found := _carry(loop.carry, record.activation, loop.rounds)) is not None:
            apart[f"{found[0]} {where} loop"] = found[1]
            changes["loop"] = replace(loop, carry=NOTHING)
    if isinstance(record, StepCompleted) and record.mapped is not None:
        changes["mapped"] = _mapped_emptied(record.mapped, lambda field: f"{where} mapped.{field}", apart, above)
    for field in _FIELDS:
        value = getattr(record, field, None)
        if value and (data := _large(value, above)) is not None:
            apart[f"{name_of(data)} {where} {field}"] = data
            changes[field] = None if field in _NONE or isinstance(record, MapBegun) else NOTHING
    return replace(record, **changes) if changes else record


def _mapped_emptied(mapped: Mapped, place: Callable[[str], str], apart: dict[str, bytes], above: int) -> Mapped:
    """What is known of a map without its items, the start data of them, and what a fork took over of their results."""
    for field in _OF_MAPS:
        value = getattr(mapped, field)
        if value and (data := _large(value, above)) is not None:
            apart[f"{name_of(data)} {place(field)}"] = data
            without: dict[str, Any] = {field: None}
            mapped = replace(mapped, **without)
    return mapped


def _round_emptied(event: RoundEnded, where: str, apart: dict[str, bytes]) -> RoundEnded:
    found = _carry(event.carry, event.activation, parse(event.activation).round)
    if found is None:
        return event
    apart[f"{found[0]} {where} carry"] = found[1]
    return replace(event, carry=NOTHING)


def _filled(record: Any, field: str, value: Any) -> Any:
    """A record with a large value back in its place."""
    if field == "loop":
        return replace(record, loop=replace(record.loop, carry=value))
    if field.startswith("mapped."):
        return replace(record, mapped=replace(record.mapped, **{field.removeprefix("mapped."): value}))
    if field == "received":
        return replace(record, loop=replace(record.loop, received=replace(record.loop.received, payload=value)))
    return replace(record, **{field: value})


def _large(value: Any, above: int) -> bytes | None:
    """The bytes of a value that stands apart; ``None`` for one that does not."""
    if weigh(value) <= above:
        return None
    data = dump_value(value)
    return data if len(data) > above else None


def state_apart(state: State, above: int) -> tuple[State, Mapping[str, bytes]]:
    """A state without its large values, and where each belongs (name, field of the state, field, and the step)."""
    apart: dict[str, bytes] = {}
    changes: dict[str, Any] = {}
    for name in ("metadata", "output"):
        if (value := getattr(state, name)) and (data := _large(value, above)) is not None:
            apart[f"{name_of(data)} {name}"] = data
            changes[name] = NOTHING
    for group in ("steps", "inbox"):
        records = getattr(state, group)
        emptied = {key: _emptied_at(record, group, key, apart, above) for key, record in records.items()}
        if group == "steps":
            emptied = {key: _loop_emptied(step, state.line(key), key, apart, above) for key, step in emptied.items()}
            emptied = {key: _items_emptied(step, key, apart, above) for key, step in emptied.items()}
        if any(emptied[key] is not record for key, record in records.items()):
            changes[group] = emptied
    lines = {key: _line_emptied(line, key, apart, above) for key, line in state.lines.items()}
    if any(lines[key] != line for key, line in state.lines.items()):
        changes["lines"] = lines
    return (evolve(state, **changes) if changes else state), apart


def _loop_emptied(step: StepState, line: str, key: str, apart: dict[str, bytes], above: int) -> StepState:
    """What the round before left for a step's newest, and the event that began it."""
    if (loop := step.loop) is None:
        return step
    if (found := _carry(loop.carry, line, loop.rounds)) is not None:
        apart[f"{found[0]} steps loop {key}"] = found[1]
        loop = replace(loop, carry=NOTHING)
    received = loop.received
    if received is not None and received.payload and (data := _large(received.payload, above)) is not None:
        apart[f"{name_of(data)} steps received {key}"] = data
        loop = replace(loop, received=replace(received, payload=None))
    return step if loop is step.loop else replace(step, loop=loop)


def _items_emptied(step: StepState, key: str, apart: dict[str, bytes], above: int) -> StepState:
    """What is known of a step without the large values of the map that it is."""
    if step.mapped is None:
        return step
    mapped = _mapped_emptied(step.mapped, lambda field: f"steps mapped.{field} {key}", apart, above)
    return step if mapped is step.mapped else replace(step, mapped=mapped)


def _line_emptied(line: tuple[Received, ...], key: str, apart: dict[str, bytes], above: int) -> tuple[Received, ...]:
    """The events that stand in line for a step, by their places."""
    return tuple(_emptied_at(one, "lines", f"{place} {key}", apart, above) for place, one in enumerate(line))


def _emptied_at(record: Any, group: str, key: str, apart: dict[str, bytes], above: int) -> Any:
    changes: dict[str, Any] = {}
    for field in ("results", "payload", "configs"):
        value = getattr(record, field, None)
        if value and (data := _large(value, above)) is not None:
            apart[f"{name_of(data)} {group} {field} {key}"] = data
            changes[field] = None if field == "payload" else NOTHING
    return replace(record, **changes) if changes else record


def state_whole(state: State, places: Sequence[str], values: Mapping[str, bytes]) -> State:
    """What ``state_apart`` was given."""
    changes: dict[str, Any] = {}
    for place in places:
        name, group, *rest = place.split(" ", 3)
        value = load_value(values[name])
        if not rest:
            changes[group] = value
            continue
        field, key = rest
        records = changes.setdefault(group, dict(getattr(state, group)))
        if group == "lines":
            at, _, key = key.partition(" ")
            line = list(records[key])
            line[int(at)] = replace(line[int(at)], **{field: value})
            records[key] = tuple(line)
        else:
            records[key] = _filled(records[key], field, value)
    return evolve(state, **changes) if changes else state


def packed(places: Iterable[str], data: bytes) -> bytes:
    """Bytes with the places of their large values in front, if there are any."""
    told = list(places)
    return b"P" + json.dumps(told).encode() + b"\n" + data if told else data


def unpacked(data: bytes, instance_id: str) -> tuple[tuple[str, ...], bytes]:
    """What ``packed`` was given.

    Raises:
        CorruptLog: the bytes are damaged.
    """
    if data[:1] != b"P":
        return (), data
    told, _, rest = data[1:].partition(b"\n")
    try:
        return tuple(map(str, json.loads(told))), rest
    except (ValueError, TypeError) as error:
        message = f"instance {instance_id}: the places of its values cannot be read"
        raise CorruptLog(message) from error


def names_in(places: Iterable[str]) -> tuple[str, ...]:
    """The names of the values that belong to these places, each once."""
    return tuple(dict.fromkeys(place.partition(" ")[0] for place in places))
