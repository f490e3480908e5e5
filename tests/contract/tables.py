"""Tables for the contract of the port ``Table``, one of each adapter."""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hephaestus.adapters.dynamodb.table import DynamoTable
from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.adapters.sqlite import SqliteTable
from hephaestus.store.permits import Holder
from hephaestus.store.table import MAX_ITEM_BYTES, Index
from hephaestus.writes.memory_tables import MemoryTables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from hephaestus.store.table import Table

INDEXES: Final = (
    Index("due", "due_key", "due_at", numeric=True),
    Index("named", "named_key", "named_at", projected=("colour", "tags", "version")),
)
ON_DYNAMODB: Final = ("moto", "moto-server", "dynamodb-local")
ADAPTERS: Final = ("memory", "sqlite", *ON_DYNAMODB)
OF_LIMITS: Final = ("memory", "sqlite", "dynamodb-local")
"""Moto is slow with as many requests as limits make; what they use of a table it is held to by the table's contract."""
MOTOS_ITEM_BYTES: Final = 405_000
_names = itertools.count(1)


def unique() -> str:
    """A text that no other call has."""
    return f"u{next(_names)}"


def attempt(name: object, order: int = 0) -> Holder:
    """An attempt of an instance, which needs permits or a time."""
    return Holder(f"orderid::{name}", "0123456789abcdef012", "charge", 1, order)


@dataclass(frozen=True)
class Subject:
    """An empty table with ``INDEXES``, whose user has an empty table ``books`` with the key ``pk``.

    Attributes:
        table: the table.
        seen: the number ``seen`` of the item ``n`` in ``books``, 0 without one.
        item_bytes: the largest item that what is behind the table takes.
    """

    table: Table
    seen: Callable[[], int]
    item_bytes: int = MAX_ITEM_BYTES


def make_subject(request: pytest.FixtureRequest, adapter: str) -> Subject:
    """A table of an adapter."""
    if adapter == "memory":
        books = MemoryTables({"books": ("pk",)})
        return Subject(InMemoryTable(INDEXES, tables=books), lambda: _seen_by_tests(books))
    if adapter == "sqlite":
        folder: Path = request.getfixturevalue("tmp_path")
        file = SqliteTable(folder / "table.sqlite", INDEXES, tables={"books": ("pk",)})
        request.addfinalizer(file.close)
        return Subject(file, lambda: _seen_by_tests(file.tables))
    table = make_dynamo_table(request, adapter).table
    size = MOTOS_ITEM_BYTES if adapter.startswith("moto") else MAX_ITEM_BYTES
    return Subject(table, lambda: _seen(table.client), size)


@dataclass(frozen=True)
class OnDynamo:
    """A table on one of the engines of DynamoDB."""

    table: DynamoTable
    endpoint: str | None

    @property
    def client(self) -> Any:
        """The client of the table."""
        return self.table.client


def make_dynamo_table(request: pytest.FixtureRequest, engine: str) -> OnDynamo:
    """A table on one of the engines of DynamoDB."""
    host = None
    if engine == "moto":
        request.getfixturevalue("moto_in_process")
    else:
        host = request.getfixturevalue(engine.replace("-", "_"))
    table = DynamoTable(f"contract-{next(_names)}", INDEXES, host=host)
    table.create()
    _empty_books(table.client)
    return OnDynamo(table, host)


def _seen_by_tests(tables: MemoryTables) -> int:
    return int((tables["books"].get("n") or {"seen": 0})["seen"])


def _seen(client: Any) -> int:
    found = client.get_item(TableName="books", Key={"pk": {"S": "n"}}, ConsistentRead=True).get("Item")
    return 0 if found is None else int(found["seen"]["N"])


def _empty_books(client: Any) -> None:
    with suppress(client.exceptions.ResourceInUseException):  # one table for all tests of a server
        client.create_table(
            TableName="books",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
    for item in client.scan(TableName="books", ConsistentRead=True)["Items"]:
        client.delete_item(TableName="books", Key={"pk": item["pk"]})
