"""Every adapter of the port ``Table`` answers as the one in memory does, which the simulator runs on."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.store.table import Change, Condition, Filter
from tests.contract.tables import ADAPTERS, INDEXES, make_subject

if TYPE_CHECKING:
    from hephaestus.store.table import Item, Table, Value

PARTITIONS = ("a", "b")
SORT_KEYS = ("head", "log#1", "log#2", "value#é")
NUMBERS = ("n", "m", "due_at")
OPERATIONS = 250


def drawn_item(random: Random) -> dict[str, Value]:
    """Some of the attributes that conditions and indexes are about."""
    item: dict[str, Value] = {"pk": random.choice(PARTITIONS), "sk": random.choice(SORT_KEYS)}
    return item | {name: value for name, value in drawn_changes(random).items() if value is not None}


def drawn_changes(random: Random) -> dict[str, Value | None]:
    values: dict[str, Value | None] = {name: random.randrange(4) for name in NUMBERS}
    values |= {"due_key": "d", "named_key": "k", "named_at": random.choice("xyz"), "life": random.choice(("p", "q"))}
    values |= {
        "colour": random.choice(("red", "blue")),
        "tags": ("t", random.choice("uv")),
        "data": random.randbytes(3),
    }
    names = random.sample(sorted(values), random.randint(1, 6))
    return {name: None if random.random() < 0.2 else values[name] for name in names}


def drawn_condition(random: Random, depth: int = 1) -> Condition:
    """A condition of a few parts, at times with alternatives."""
    parts: dict[str, object] = {
        "absent": True,
        "present": True,
        "equal": {random.choice((*NUMBERS, "life", "colour")): random.choice((0, 1, "p", "red"))},
        "below": {random.choice(NUMBERS): random.randrange(4)},
        "at_most": {random.choice(NUMBERS): random.randrange(4)},
        "at_least": {random.choice(NUMBERS): random.randrange(4)},
        "missing": (random.choice((*NUMBERS, "life")),),
    }
    names = random.sample(sorted(parts), random.choice((0, 1, 1, 2)))
    chosen = {name: parts[name] for name in names}
    if depth and random.random() < 0.3:
        chosen["any_of"] = tuple(drawn_condition(random, depth - 1) for _ in range(2))
    return Condition(**chosen)  # type: ignore[arg-type]  # its own fields


def drawn_together(random: Random) -> list[Change]:
    """Writes of some items, all of them or none."""
    keys = random.sample([(pk, sk) for pk in PARTITIONS for sk in SORT_KEYS], random.randint(1, 3))
    changes = [drawn_changes(random) if random.random() < 0.7 else None for _ in keys]
    return [Change(*key, one, drawn_condition(random)) for key, one in zip(keys, changes, strict=True)]


def operate(table: Table, random: Random) -> object:
    """One random operation, and its answer."""
    match random.choice(("put", "put", "update", "update", "add", "delete", "together", "query", "due", "named")):
        case "put":
            return table.put(drawn_item(random), drawn_condition(random))
        case "update":
            key = random.choice(PARTITIONS), random.choice(SORT_KEYS)
            return table.update(*key, drawn_changes(random), drawn_condition(random))
        case "add":
            key, name = (random.choice(PARTITIONS), random.choice(SORT_KEYS)), random.choice(NUMBERS)
            changes = {one: value for one, value in drawn_changes(random).items() if one != name}
            done, item = table.add(*key, name, random.randrange(3), changes, Condition(at_least={name: 1}))
            return done, item and dict(item)
        case "delete":
            return table.delete(random.choice(PARTITIONS), random.choice(SORT_KEYS), drawn_condition(random))
        case "together":
            return table.change_all(drawn_together(random))
        case what:
            return read(table, random, what)


def read(table: Table, random: Random, what: str) -> list[Item]:
    """The items of a range of a partition, or of an index."""
    if what == "due":
        return every_page(table, "due", "d", (random.randrange(3), 3), random)
    if what == "named":
        return every_page(table, "named", "k", ("x", random.choice("yz")), random)
    low, high = sorted(random.choices(SORT_KEYS, k=2))
    limit, descending = random.choice((None, 1, 2)), random.random() < 0.5
    found = table.query(random.choice(PARTITIONS), low=low, high=high, limit=limit, descending=descending)
    return [dict(item) for item in found]


def every_page(
    table: Table, index: str, partition: str, span: tuple[int, int] | tuple[str, str], random: Random
) -> list[Item]:
    """The items of an index's partition, page by page."""
    limit, descending, after = random.randint(1, 3), random.random() < 0.5, None
    where = random.choice((None, Filter(contains={"tags": "u"}), Filter(none_of={"colour": ["red"]})))
    where = where if index == "named" else None
    found: list[Item] = []
    while True:
        page = table.query_index(
            index,
            partition,
            low=span[0],
            high=span[1],
            limit=limit,
            after=after,
            descending=descending,
            where=where,
        )
        found += [dict(item) for item in page.items]
        after = page.end
        if after is None:
            return in_order(found, index, descending=descending)


def in_order(found: list[Item], index: str, *, descending: bool) -> list[Item]:
    """Entries with the same sort value have no order that adapters must share."""
    values = [item[{"due": "due_at", "named": "named_at"}[index]] for item in found]
    assert values == sorted(values, key=str, reverse=descending)
    return sorted(found, key=lambda item: (str(item["pk"]), str(item["sk"])))


@pytest.mark.parametrize("adapter", [adapter for adapter in ADAPTERS if adapter != "memory"])
@pytest.mark.parametrize("seed", range(3))
def test_an_adapter_answers_as_memory_does(request: pytest.FixtureRequest, adapter: str, seed: int) -> None:
    """Over operations drawn at random, each on both."""
    table, memory = make_subject(request, adapter).table, InMemoryTable(INDEXES)
    for number in range(OPERATIONS):
        there, here = Random(seed * OPERATIONS + number), Random(seed * OPERATIONS + number)
        assert operate(table, there) == operate(memory, here), f"operation {number}"
