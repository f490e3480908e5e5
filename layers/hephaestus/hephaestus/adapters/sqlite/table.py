"""The port ``Table`` on SQLite: one transaction a primitive, conditions judged inside of it.

An item is a row: its keys, the attributes that indexes are made of, and all of it as JSON. An index is a partial index
of SQLite's over those columns, and so it is never late.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

from hephaestus.adapters.sqlite.database import Database
from hephaestus.adapters.sqlite.user_tables import SCHEMA, SqliteUserTables
from hephaestus.errors import CorruptLog
from hephaestus.store.table import ABSENT, EXPIRES, MAX_ITEM_BYTES, Page, added, changed, check_size

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from hephaestus.store.table import Change, Condition, Filter, Index, Item, Key, Position, Value
    from hephaestus.writes import Write

FOUND: Final = "SELECT data FROM items WHERE pk = ? AND sk = ?"


class SqliteTable:
    """A ``Table`` in a SQLite file; safe to use from many threads, and beside other processes.

    Args:
        path: the file; it is made if there is none.
        indexes: its indexes.
        tables: the user's tables in the same file, with the names of their key attributes.
    """

    name: str | None = None
    distant = False
    max_item_bytes = MAX_ITEM_BYTES

    def __init__(
        self, path: Path, indexes: Iterable[Index], *, tables: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._indexes = {index.name: index for index in indexes}
        self._columns = tuple(dict.fromkeys(name for index in self._indexes.values() for name in _keys_of(index)))
        self.database = Database(path, [*_schema(self._columns, self._indexes.values()), SCHEMA])
        self.tables = SqliteUserTables(self.database, tables or {})
        marks = ", ".join("?" * (4 + len(self._columns)))
        columns = "".join(f', "{name}"' for name in self._columns)
        into = f"INTO items (pk, sk, data, expires{columns}) VALUES ({marks})"
        self._replace, self._insert = f"INSERT OR REPLACE {into}", f"INSERT OR IGNORE {into}"

    def close(self) -> None:
        """Close the file; no thread may use the table any more."""
        self.database.close()

    def get(self, pk: str, sk: str) -> Item | None:
        """An item; see ``Table``."""
        with self.database.reading() as connection:
            return _find(connection, pk, sk)

    def get_many(self, keys: Sequence[Key], attributes: Sequence[str]) -> list[Item]:
        """Attributes of many items; see ``Table``."""
        names = dict.fromkeys(("pk", "sk", *attributes))
        with self.database.reading() as connection:
            found = [item for key in keys if (item := _find(connection, *key)) is not None]
        return [{name: item[name] for name in names if name in item} for item in found]

    def query(
        self, pk: str, *, low: str, high: str, limit: int | None = None, descending: bool = False
    ) -> Sequence[Item]:
        """Items of a partition; see ``Table``."""
        order = "DESC" if descending else "ASC"
        text = f"SELECT data FROM items WHERE pk = ? AND sk BETWEEN ? AND ? ORDER BY sk {order} LIMIT ?"  # noqa: S608 - of two words
        with self.database.reading() as connection:
            rows = connection.execute(text, (pk, low, high, -1 if limit is None else limit)).fetchall()
        return [_read(row[0], pk) for row in rows]

    def put(self, item: Item, condition: Condition) -> bool:
        """Write an item; see ``Table``."""
        return self._put(item, condition, ())

    def update(self, pk: str, sk: str, changes: Mapping[str, Value | None], condition: Condition) -> bool:
        """Change an item; see ``Table``."""
        with self.database.transaction() as connection:
            found = _find(connection, pk, sk)
            if found is None or not condition.holds(found):
                return False
            after = changed(found, changes)
            check_size(after, self.max_item_bytes)
            connection.execute(self._replace, self._row(after))
        return True

    def add(  # noqa: PLR0913, PLR0917 - as the port has it
        self, pk: str, sk: str, name: str, by: int, changes: Mapping[str, Value | None], condition: Condition
    ) -> tuple[bool, Item | None]:
        """Add to a number; see ``Table``."""
        with self.database.transaction() as connection:
            found = _find(connection, pk, sk)
            if found is None or not condition.holds(found):
                return False, found
            after = added(found, name, by, changes)
            connection.execute(self._replace, self._row(after))
        return True, after

    def delete(self, pk: str, sk: str, condition: Condition) -> bool:
        """Remove an item; see ``Table``."""
        with self.database.transaction() as connection:
            if not condition.holds(_find(connection, pk, sk)):
                return False
            connection.execute("DELETE FROM items WHERE pk = ? AND sk = ?", (pk, sk))
        return True

    def change_all(self, changes: Sequence[Change]) -> bool:
        """Do several writes together; see ``Table``."""
        with self.database.transaction() as connection:
            found = [_find(connection, change.pk, change.sk) for change in changes]
            if not all(change.condition.holds(item) for change, item in zip(changes, found, strict=True)):
                return False
            for change, before in zip(changes, found, strict=True):
                item = change.applied(before)
                if item is None:
                    connection.execute("DELETE FROM items WHERE pk = ? AND sk = ?", (change.pk, change.sk))
                else:
                    check_size(item, self.max_item_bytes)
                    connection.execute(self._replace, self._row(item))
        return True

    def transact(self, item: Item, condition: Condition, writes: Sequence[Write], token: str) -> bool:  # noqa: ARG002 - an answer is never lost here
        """Put an item with a step's writes; see ``Table``."""
        return self._put(item, condition, writes)

    def query_index(  # noqa: PLR0913 - as the port has it
        self,
        index: str,
        partition: str,
        *,
        low: int | str,
        high: int | str,
        limit: int,
        after: Position | None = None,
        descending: bool = False,
        where: Filter | None = None,
    ) -> Page:
        """A page of an index; see ``Table``."""
        kind = self._indexes[index]
        order, beyond = ("DESC", "<") if descending else ("ASC", ">")
        further = "" if after is None else f' AND ("{kind.sort}", pk, sk) {beyond} (?, ?, ?)'
        text = (
            f'SELECT data, pk FROM items WHERE "{kind.partition}" = ? AND "{kind.sort}" BETWEEN ? AND ?{further}'  # noqa: S608 - an index's own names
            f' ORDER BY "{kind.sort}" {order}, pk {order}, sk {order} LIMIT ?'
        )
        with self.database.reading() as connection:
            rows = connection.execute(text, (partition, low, high, *(after or ()), limit + 1)).fetchall()
        read = [_read(data, pk) for data, pk in rows[:limit]]
        shown = map(kind.entry, read)
        items = tuple(entry for entry in shown if where is None or where.shows(entry))
        return Page(items, kind.position(read[-1]) if len(rows) > limit else None)

    def count_index(self, index: str, partition: str, most: int) -> int:
        """How many items there are; see ``Table``."""
        kind = self._indexes[index]
        text = (
            f'SELECT COUNT(*) FROM (SELECT 1 FROM items WHERE "{kind.partition}" = ?'  # noqa: S608 - an index's own names
            f' AND "{kind.sort}" IS NOT NULL LIMIT ?)'
        )
        with self.database.reading() as connection:
            (number,) = connection.execute(text, (partition, most)).fetchone()
        return int(number)

    def expire(self, now: int) -> int:
        """Remove what has expired at ``now`` (seconds since the epoch), as DynamoDB does by itself; how many."""
        with self.database.transaction() as connection:
            return connection.execute("DELETE FROM items WHERE expires <= ?", (now,)).rowcount

    def _put(self, item: Item, condition: Condition, writes: Sequence[Write]) -> bool:
        check_size(item, self.max_item_bytes)
        row = self._row(item)
        if condition == ABSENT and not writes:
            return self.database.write(self._insert, row) == 1
        with self.database.transaction() as connection:
            if not condition.holds(_find(connection, row[0], row[1])):
                return False
            if writes:
                self.tables.transact(writes)
            connection.execute(self._replace, row)
        return True

    def _row(self, item: Item) -> tuple[Any, ...]:
        data = json.dumps({name: _plain(value) for name, value in item.items()}, ensure_ascii=False)
        return (item["pk"], item["sk"], data, item.get(EXPIRES), *(item.get(name) for name in self._columns))


def _keys_of(index: Index) -> tuple[str, str]:
    return index.partition, index.sort


def _schema(columns: Sequence[str], indexes: Iterable[Index]) -> list[str]:
    """The statements that make the table; the types of columns follow from what is in them."""
    more = "".join(f', "{name}"' for name in columns)
    key = "PRIMARY KEY (pk, sk)"
    statements = [
        f"CREATE TABLE IF NOT EXISTS items (pk TEXT, sk TEXT, data TEXT, expires{more}, {key}) WITHOUT ROWID",
        "CREATE INDEX IF NOT EXISTS items_expires ON items (expires) WHERE expires IS NOT NULL",
    ]
    for index in indexes:
        partition, sort = _keys_of(index)
        statements.append(
            f'CREATE INDEX IF NOT EXISTS "items_{index.name}" ON items ("{partition}", "{sort}", pk, sk)'
            f' WHERE "{partition}" IS NOT NULL AND "{sort}" IS NOT NULL'
        )
    return statements


def _find(connection: sqlite3.Connection, pk: str, sk: str) -> Item | None:
    row = connection.execute(FOUND, (pk, sk)).fetchone()
    return None if row is None else _read(row[0], pk)


def _plain(value: Value) -> object:
    """A value as JSON has it: bytes as an object with their base64, a tuple as a list."""
    return {"b": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _read(data: str, pk: str) -> Item:
    """An item as it was stored.

    Raises:
        CorruptLog: it is damaged.
    """
    try:
        return {name: _value(value) for name, value in json.loads(data).items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"instance {pk}: a stored item cannot be read ({type(error).__name__})"
        raise CorruptLog(message) from error


def _value(value: Any) -> Value:
    if isinstance(value, (str, int)):
        return value
    return base64.b64decode(value["b"]) if isinstance(value, dict) else tuple(value)
