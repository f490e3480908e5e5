"""What the table in memory does beside its contract: expiry, and indexes that lag, for the simulator."""

from __future__ import annotations

from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.store.table import ALWAYS, PRESENT, Index, Item

DUE = Index("due", "due_key", "due_at", numeric=True)


def due(table: InMemoryTable) -> tuple[Item, ...]:
    return table.query_index("due", "d", low=0, high=99, limit=9).items


def test_expired_items_are_removed_with_their_index_entries() -> None:
    table = InMemoryTable([DUE])
    for sk, expires in (("a", 9), ("b", 10), ("c", 11)):
        table.put({"pk": "p", "sk": sk, "expires": expires, "due_key": "d", "due_at": 1}, ALWAYS)
    table.put({"pk": "p", "sk": "d"}, ALWAYS)
    assert table.expire(10) == 2
    assert [item["sk"] for item in table.query("p", low="a", high="z")] == ["c", "d"]
    assert [item["sk"] for item in due(table)] == ["c"]


def test_the_indexes_of_a_lagging_table_show_changes_when_they_catch_up() -> None:
    table = InMemoryTable([DUE], lagging=True)
    table.put({"pk": "p", "sk": "a", "due_key": "d", "due_at": 1}, ALWAYS)
    table.update("p", "a", {"due_at": 2}, PRESENT)
    table.delete("p", "a", PRESENT)
    assert (table.get("p", "a"), due(table), table.pending) == (None, (), 3)
    seen = []
    for _ in range(3):
        table.catch_up(1)
        seen.append([item["due_at"] for item in due(table)])
    assert (seen, table.pending) == ([[1], [2], []], 0)
    table.put({"pk": "p", "sk": "a", "due_key": "d", "due_at": 3}, ALWAYS)
    table.catch_up()
    assert [item["due_at"] for item in due(table)] == [3]
