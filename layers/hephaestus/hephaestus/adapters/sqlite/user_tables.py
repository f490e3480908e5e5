"""A user's tables in the engine's SQLite file: DynamoDB's, emulated, so that ``writes=`` happen exactly once here too.

They know what ``hephaestus.writes.memory_tables`` know, and no more: the names of their keys, not the types, and a
part of the expressions.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, MutableMapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from hephaestus.writes.attributes import frozen, wire, wire_item
from hephaestus.writes.memory_tables import MemoryTables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hephaestus.adapters.sqlite.database import Database
    from hephaestus.writes import Write

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS user_items (name TEXT, key TEXT, item TEXT NOT NULL, PRIMARY KEY (name, key)) WITHOUT ROWID
"""


class SqliteUserTables(MemoryTables):
    """Tables by their names, in a SQLite file.

    Args:
        database: the file.
        keys: the names of each table's key attributes, as in ``{"orders": ("pk",)}``.
    """

    def __init__(self, database: Database, keys: Mapping[str, Sequence[str]]) -> None:
        super().__init__(keys)
        self._database = database
        for name, table in self.items():
            table.stored = _StoredItems(database, name)

    def transact(self, writes: Sequence[Write]) -> None:
        """Do all of ``writes`` or none, in the transaction that is under way, if one is; see ``MemoryTables``."""
        with self._database.transaction():
            super().transact(writes)


class _StoredItems(MutableMapping[tuple[Any, ...], Mapping[str, Any]]):
    """The items of a table by their keys, each as JSON."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name

    def __getitem__(self, key: tuple[Any, ...]) -> Mapping[str, Any]:
        with self._database.transaction() as connection:
            found = connection.execute(
                "SELECT item FROM user_items WHERE name = ? AND key = ?", (self._name, _key_text(key))
            ).fetchone()
        if found is None:
            raise KeyError(key)
        return _read(found[0])

    def __setitem__(self, key: tuple[Any, ...], item: Mapping[str, Any]) -> None:
        text = json.dumps(wire_item(item), default=_base64)
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO user_items VALUES (?, ?, ?)", (self._name, _key_text(key), text))

    def __delitem__(self, key: tuple[Any, ...]) -> None:
        with self._database.transaction() as connection:
            done = connection.execute("DELETE FROM user_items WHERE name = ? AND key = ?", (self._name, _key_text(key)))
        if not done.rowcount:
            raise KeyError(key)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter([_read_key(text) for text in self._column("key")])

    def __len__(self) -> int:
        return len(self._column("key"))

    def _column(self, name: str) -> list[str]:
        with self._database.transaction() as connection:
            rows = connection.execute(
                f"SELECT {name} FROM user_items WHERE name = ? ORDER BY key",  # noqa: S608 - a column's own name
                (self._name,),
            ).fetchall()
        return [row[0] for row in rows]


def _key_text(key: tuple[Any, ...]) -> str:
    """A key as text, the same for numbers that are the same."""
    parts = [part.normalize() if isinstance(part, Decimal) else part for part in key]
    return json.dumps([wire(part) for part in parts], default=_base64)


def _read_key(text: str) -> tuple[Any, ...]:
    return tuple(_unwired(part) for part in json.loads(text))


def _read(text: str) -> Mapping[str, Any]:
    item: Mapping[str, Any] = frozen({name: _unwired(value) for name, value in json.loads(text).items()}, "item", -1)
    return item


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _unwired(value: Mapping[str, Any]) -> Any:  # noqa: PLR0911 - one return a type
    """A value of DynamoDB's JSON protocol as Python has it."""
    ((kind, content),) = value.items()
    match kind:
        case "NULL":
            return None
        case "N":
            return Decimal(content)
        case "B":
            return base64.b64decode(content)
        case "M":
            return {name: _unwired(part) for name, part in content.items()}
        case "L":
            return [_unwired(part) for part in content]
        case "SS" | "NS" | "BS":
            return {_unwired({kind[0]: part}) for part in content}
        case _:
            return content
