"""What the table in a SQLite file does beside its contract: the file is shared, durable, and closed."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from hephaestus.adapters.sqlite import SqliteTable
from hephaestus.adapters.sqlite import database as database_module
from hephaestus.errors import CorruptLog, EngineError, StoreUnavailable
from hephaestus.store.table import ABSENT, ALWAYS, PRESENT, Condition
from hephaestus.writes import ConditionFailed, Put, Update
from hephaestus.writes.rules import check_writes
from tests.contract.tables import INDEXES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hephaestus.store.table import Item

COUNT = Update("books", {"pk": "n"}, "ADD seen :one", values={":one": 1})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is not there yet."""
    return tmp_path / "table.sqlite"


@pytest.fixture
def table(path: Path) -> Iterator[SqliteTable]:
    """A table in it."""
    made = opened(path)
    yield made
    made.close()


def opened(path: Path) -> SqliteTable:
    return SqliteTable(path, INDEXES, tables={"books": ("pk",), "sums": ("pk", "sk")})


def _compete(path: Path, own: int, rounds: int) -> None:
    """Win as many of the numbers as there are to win, and count up by one for each."""
    table = opened(path)
    for number in range(rounds):
        writes = check_writes([COUNT], None)
        table.transact({"pk": "race", "sk": f"{number:04d}", "by": own}, ABSENT, writes, "t")
        while True:
            item = table.get("sum", "x") or {"n": 0}
            count = int(str(item["n"]))
            if table.put({"pk": "sum", "sk": "x", "n": count + 1}, Condition(equal={"n": count}) if count else ABSENT):
                break
    table.close()


def test_processes_share_a_file(path: Path) -> None:
    """Invariant 1: at most one wins a key; no update is lost; the user's writes happen once for each that won."""
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=_compete, args=(path, own, 25)) for own in range(4)]
    for process in others:
        process.start()
    for process in others:
        process.join()
    assert [process.exitcode for process in others] == [0] * 4
    table = opened(path)
    won = table.query("race", low="0", high="9")
    assert [item["sk"] for item in won] == [f"{number:04d}" for number in range(25)]
    assert table.get("sum", "x") == {"pk": "sum", "sk": "x", "n": 100}
    assert table.tables["books"].get("n") == {"pk": "n", "seen": Decimal(25)}
    table.close()


DIES = """
import os, sys
from pathlib import Path
from hephaestus.store.table import ALWAYS
from hephaestus.writes.rules import check_writes
from tests.contract import test_sqlite_table as own
table = own.opened(Path(sys.argv[1]))
table.put({"pk": "a", "sk": "done"}, ALWAYS)
with table.database.transaction():
    table.put({"pk": "a", "sk": "undone"}, ALWAYS)
    table.tables.transact(check_writes([own.COUNT], None))
    os._exit(9)
"""


def test_what_a_process_left_halfway_has_not_happened(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DIES, str(path)], check=False)
    assert done.returncode == 9
    table = opened(path)
    assert [item["sk"] for item in table.query("a", low="a", high="z")] == ["done"]
    assert table.tables["books"].get("n") is None
    table.close()


def test_an_answered_write_is_on_the_disk(table: SqliteTable) -> None:
    """The file is in WAL mode, and every commit is synchronised in full."""
    with table.database.transaction() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_what_is_stored_is_there_when_the_file_is_opened_again(table: SqliteTable, path: Path) -> None:
    item: Item = {"pk": "a", "sk": "x", "data": b"\x00\xff", "tags": ("p",), "due_key": "d", "due_at": 3}
    table.transact(item, ABSENT, check_writes([COUNT], None), "t")
    other = opened(path)
    assert other.get("a", "x") == item
    assert [found["sk"] for found in other.query_index("due", "d", low=0, high=9, limit=9).items] == ["x"]
    assert other.tables["books"].get("n") == {"pk": "n", "seen": Decimal(1)}
    other.close()


def test_a_user_table_keeps_every_type(table: SqliteTable) -> None:
    """In tables that are emulated: what DynamoDB's types are comes back, keys of numbers included."""
    item = {
        "pk": Decimal("10.50"),
        "sk": b"\x01",
        "null": None,
        "flag": True,
        "text": "ü",
        "deep": {"list": [1, b"x", {"a": False}]},
        "texts": {"a", "b"},
        "numbers": {1, 2},
        "bytes": {b"a"},
    }
    table.transact({"pk": "a", "sk": "x"}, ABSENT, check_writes([Put("sums", item)], None), "t")
    sums = table.tables["sums"]
    assert sums.get(Decimal("10.5"), b"\x01") == item
    assert (len(sums), sums.items()) == (1, [item])
    again = check_writes([Put("sums", item, condition="attribute_not_exists(pk)")], None)
    with pytest.raises(ConditionFailed):
        table.transact({"pk": "a", "sk": "y"}, ABSENT, again, "t")
    assert table.get("a", "y") is None


def test_expired_items_are_removed_with_their_index_entries(table: SqliteTable) -> None:
    for sk, expires in (("a", 9), ("b", 10), ("c", 11)):
        table.put({"pk": "p", "sk": sk, "expires": expires, "due_key": "d", "due_at": 1}, ALWAYS)
    table.put({"pk": "p", "sk": "d"}, ALWAYS)
    assert table.expire(10) == 2
    assert [item["sk"] for item in table.query("p", low="a", high="z")] == ["c", "d"]
    assert [item["sk"] for item in table.query_index("due", "d", low=0, high=9, limit=9).items] == ["c"]


def test_a_file_that_others_hold_is_unavailable(
    table: SqliteTable, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads go on: they do not wait for the writer."""
    table.put({"pk": "a", "sk": "x"}, ALWAYS)
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0)
    other = opened(path)
    with table.database.transaction():
        with pytest.raises(StoreUnavailable, match="try again"):
            other.put({"pk": "a", "sk": "y"}, ALWAYS)
        assert other.get("a", "x") == {"pk": "a", "sk": "x"}
    assert other.put({"pk": "a", "sk": "y"}, ALWAYS)
    other.close()


def test_a_file_that_is_no_table_is_the_engines_error(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database, but long enough to be taken for one" * 100)
    with pytest.raises(EngineError, match="SQLITE_NOTADB"):
        opened(tmp_path / "text")
    with pytest.raises(EngineError, match="SQLITE_CANTOPEN"):
        opened(tmp_path / "nowhere" / "table")


def test_a_damaged_item_is_never_misread(table: SqliteTable, path: Path) -> None:
    table.put({"pk": "a", "sk": "x"}, ALWAYS)
    connection = sqlite3.connect(path)
    for damage in ("no JSON", '{"a": null}', '{"a": {"c": "d"}}', "[]"):
        with connection:
            connection.execute("UPDATE items SET data = ?", (damage,))
        with pytest.raises(CorruptLog, match="instance a"):
            table.get("a", "x")
        with pytest.raises(CorruptLog, match="instance a"):
            table.update("a", "x", {"n": 1}, PRESENT)
    connection.close()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT data FROM items WHERE due_key = ? AND due_at BETWEEN ? AND ? ORDER BY due_at, pk, sk", "items_due"),
        (
            "SELECT sk FROM items WHERE named_key = ? AND named_at BETWEEN ? AND ? ORDER BY named_at DESC, pk DESC",
            "items_named",
        ),
    ],
)
def test_a_page_of_an_index_is_read_in_its_order(table: SqliteTable, query: str, index: str) -> None:
    """SQLite reads the index and sorts nothing."""
    with table.database.reading() as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {query}", ("d", 1, 2)).fetchall()
    assert index in str(plan)
    assert "TEMP B-TREE" not in str(plan)
