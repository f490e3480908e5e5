"""Tables for the contract of the port ``Table``, one of each adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus.adapters.in_memory_table import InMemoryTable
from hephaestus.adapters.memory_tables import MemoryTables
from hephaestus.store.table import Index

if TYPE_CHECKING:
    import pytest

    from hephaestus.store.table import Table

INDEXES: Final = (
    Index("due", "due_key", "due_at", numeric=True),
    Index("named", "named_key", "named_at", projected=("colour", "tags", "version")),
)
ADAPTERS: Final = ("memory",)


def make_table(request: pytest.FixtureRequest, adapter: str) -> Table:
    """An empty table with ``INDEXES``, whose user has a table ``books`` with the key ``pk``."""
    del request
    assert adapter == "memory"
    return InMemoryTable(INDEXES, tables=MemoryTables({"books": ("pk",)}))
