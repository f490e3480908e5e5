"""One suite over every adapter: memory, SQLite, moto in process, Amazon's DynamoDB Local."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest

from hephaestus.adapters.dynamodb import DynamoTable
from hephaestus.adapters.memory import MemoryStore
from hephaestus.adapters.sqlite import SqliteTable
from hephaestus.store.items import INDEXES
from hephaestus.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


ENGINES: Final = ("moto", "dynamodb-local")  # what comes by a socket, comes from the reference
_tables = itertools.count(1)


@dataclass
class Dynamo:
    """An empty table on one of the engines, and what is asked of it."""

    engine: str
    endpoint: str | None
    table: DynamoTable = field(init=False)
    requests: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Make the table, and count requests from then on."""
        self.table = self.another_table()
        self.table.create()
        self.table.client.meta.events.register_first("before-send.dynamodb.*", self._count, unique_id="count")

    @property
    def client(self) -> Any:
        """The client of the table."""
        return self.table.client

    def another_table(self) -> DynamoTable:
        """A table that is not there yet."""
        return DynamoTable(f"hephaestus-{next(_tables)}", INDEXES, host=self.endpoint)

    def store(self, **settings: Any) -> Store:
        """A store on the table."""
        return Store(self.table, **settings)

    def again(self) -> Store:
        """A store of another process: the same table through a connection of its own."""
        return Store(self.beside())

    def beside(self) -> DynamoTable:
        """The same table through a connection of its own."""
        return DynamoTable(self.table.name, INDEXES, host=self.endpoint)

    def item(self, instance_id: str, sort_key: str = "head") -> dict[str, Any] | None:
        """An item as it is stored."""
        key = {"pk": {"S": instance_id}, "sk": {"S": sort_key}}
        found: dict[str, Any] = self.table.client.get_item(TableName=self.table.name, Key=key, ConsistentRead=True)
        return found.get("Item")

    def items(self, instance_id: str) -> list[dict[str, Any]]:
        """All items of an instance, as they are stored."""
        asked = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": instance_id}}}
        found: list[dict[str, Any]] = self.table.client.query(TableName=self.table.name, ConsistentRead=True, **asked)[
            "Items"
        ]
        return found

    def overwrite(self, instance_id: str, sort_key: str, name: str, value: dict[str, Any] | None) -> None:
        """Change one attribute behind the store's back; ``None`` removes it."""
        change: dict[str, Any] = {"UpdateExpression": "REMOVE #n"}
        if value is not None:
            change = {"UpdateExpression": "SET #n = :v", "ExpressionAttributeValues": {":v": value}}
        self.table.client.update_item(
            TableName=self.table.name,
            Key={"pk": {"S": instance_id}, "sk": {"S": sort_key}},
            ExpressionAttributeNames={"#n": name},
            **change,
        )

    def delete(self, instance_id: str, sort_key: str) -> None:
        """Delete an item behind the store's back."""
        key = {"pk": {"S": instance_id}, "sk": {"S": sort_key}}
        self.table.client.delete_item(TableName=self.table.name, Key=key)

    def _count(self, request: Any, **_: Any) -> None:
        target = request.headers["X-Amz-Target"]
        target = target.decode() if isinstance(target, bytes) else target
        self.requests[target.rpartition(".")[2]] += 1


def _dynamo(request: pytest.FixtureRequest, engine: str) -> Dynamo:
    match engine:
        case "moto":
            request.getfixturevalue("moto_in_process")
            return Dynamo(engine, None)
        case _:
            return Dynamo(engine, request.getfixturevalue("dynamodb_local"))


@pytest.fixture(params=ENGINES)
def dynamo(request: pytest.FixtureRequest) -> Dynamo:
    """An empty table, on each of the engines."""
    return _dynamo(request, request.param)


@pytest.fixture
def local(request: pytest.FixtureRequest) -> Dynamo:
    """An empty table on Amazon's DynamoDB Local, the reference."""
    return _dynamo(request, "dynamodb-local")


@pytest.fixture(params=("memory", "sqlite", *ENGINES))
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Makes an empty store, of each of the adapters; all of them are of one table."""
    if request.param == "memory":
        memory = MemoryStore()
        yield lambda **settings: Store(memory.table, **settings)
        return
    if request.param == "sqlite":
        file = SqliteTable(tmp_path / "instances.sqlite", INDEXES)
        yield lambda **settings: Store(file, **settings)
        file.close()
        return
    yield _dynamo(request, request.param).store


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    """An empty store, of each of the adapters."""
    return make_store()
