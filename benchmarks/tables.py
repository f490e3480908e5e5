"""What the adapters of the port ``Table`` cost.

    python benchmarks/tables.py [--runs N]

* DynamoDB: the writes of ten steps (eleven puts, one update) through the adapter, beside the same writes by PynamoDB's
  models, on Amazon's DynamoDB Local, in turn in one run: processor time, as the emulator's own varies.
* SQLite: the puts of ten steps, beside twelve bare inserts into another file with the same settings, in turn.
* Memory: the same writes by one thread, and by sixteen at once, each on partitions of its own.

A ratio is the median of the pairs'.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.store.table import ABSENT, Condition, Index

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.store.table import Table, Value

STEPS: Final = 10
THREADS: Final = 16
DYNAMODB_LIMIT: Final = 1.15
SQLITE_LIMIT: Final = 2.0
THREADS_LIMIT: Final = 1.2  # what the interpreter's own switching of threads costs included
DATA: Final = b"x" * 130
INDEXES: Final = (
    Index("wake", "wake_shard", "wake_at", numeric=True),
    Index("listing", "list_key", "list_at", projected=("status",)),
    Index("recent", "recent_key", "list_at"),
)
HEAD: Final[dict[str, Value]] = {
    "sk": "head",
    "workflow": "Bare",
    "status": "running",
    "life": "k3v9q2mz",
    "sequence": 1,
    "owner": "0123456789abcdef",
    "wake_shard": "wake#0",
    "wake_at": 1_764_000_000_000,
    "list_key": "Bare#running#0",
    "list_at": "2026-11-28T09:53:35.123",
    "recent_key": "recent#0",
    "first": DATA,
}
ENTRY: Final[dict[str, Value]] = {"commit_id": "c" * 20, "at": 1_764_000_000_000, "data": DATA}
CLOSED: Final[dict[str, Value | None]] = {
    "status": "completed",
    "sequence": STEPS + 1,
    "owner": None,
    "wake_shard": None,
    "wake_at": None,
    "list_key": "Bare#completed#0",
    "snapshot": DATA * 3,
}


def through(table: Table, prefix: str = "through") -> Callable[[], None]:
    """Ten steps: the head, an entry a step, and the head's update."""
    numbers = count()

    def write() -> None:
        pk = f"{prefix}::{next(numbers)}"
        table.put({"pk": pk, **HEAD}, ABSENT)
        for number in range(STEPS):
            table.put({"pk": pk, "sk": f"log#{number:08d}", **ENTRY}, ABSENT)
        open_one = Condition(equal={"life": "k3v9q2mz"}, below={"sequence": STEPS + 1})
        table.update(pk, "head", CLOSED, open_one)

    return write


def bare_pynamodb(name: str, host: str) -> Callable[[], None]:
    """The same writes by PynamoDB's models."""
    from pynamodb.attributes import BinaryAttribute, NumberAttribute, UnicodeAttribute
    from pynamodb.models import Model

    fields: dict[str, Any] = {}
    for key, value in {**HEAD, **ENTRY, **CLOSED}.items():
        if isinstance(value, bytes):
            fields[key] = BinaryAttribute(null=True, legacy_encoding=False)
        elif isinstance(value, int) or key == "wake_at":
            fields[key] = NumberAttribute(null=True)
        else:
            fields[key] = UnicodeAttribute(null=True)
    fields |= {"pk": UnicodeAttribute(hash_key=True), "sk": UnicodeAttribute(range_key=True)}
    meta = type("Meta", (), {"table_name": name, "host": host})
    item: Any = type("Bare", (Model,), {"Meta": meta, **fields})
    numbers = count()

    def write() -> None:
        pk = f"bare::{next(numbers)}"
        item(pk=pk, **HEAD).save(condition=item.pk.does_not_exist())
        for number in range(STEPS):
            item(pk, f"log#{number:08d}", **ENTRY).save(condition=item.pk.does_not_exist())
        changes = [
            getattr(item, key).remove() if value is None else getattr(item, key).set(value)
            for key, value in CLOSED.items()
        ]
        condition = (item.life == "k3v9q2mz") & (item.sequence < STEPS + 1)
        item(pk, "head").update(changes, condition=condition)

    return write


def bare_sqlite(path: Path) -> Callable[[], None]:
    """Twelve inserts, each on the disk before the next."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE items (pk TEXT, sk TEXT, data BLOB, PRIMARY KEY (pk, sk)) WITHOUT ROWID")
    numbers = count()

    def write() -> None:
        pk = f"bare::{next(numbers)}"
        for number in range(STEPS + 2):
            connection.execute("INSERT INTO items VALUES (?, ?, ?)", (pk, f"log#{number:08d}", DATA))

    return write


def timed(clock: Callable[[], float], work: Callable[[], object], times: int) -> float:
    """How long one of ``times`` takes, in milliseconds."""
    begun = clock()
    for _ in range(times):
        work()
    return (clock() - begun) / times * 1000


def in_turn(
    first: Callable[[], object], second: Callable[[], object], runs: int, times: int, clock: Callable[[], float]
) -> tuple[float, ...]:
    """The medians of both in milliseconds, and the median of the ratios, pair by pair."""
    timed(clock, first, times)
    timed(clock, second, times)
    pairs = [(timed(clock, first, times), timed(clock, second, times)) for _ in range(runs)]
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    return mine, other, statistics.median(one / another for one, another in pairs)


def tell(what: str, measured: tuple[float, ...], limit: float) -> bool:
    """Print a line of the table; whether its limit is kept."""
    mine, other, ratio = measured
    print(f"{what:<52}{mine:8.2f} ms : {other:8.2f} ms = {ratio:.2f}   at most {limit:g}", flush=True)
    return ratio <= limit


def measure_memory(runs: int) -> bool:
    """Sixteen threads beside one, the same number of writes in all."""
    table = InMemoryTable(INDEXES)
    own = [through(table, f"thread{number}") for number in range(THREADS)]

    def alone() -> None:
        for write in own:
            for _ in range(10):
                write()

    with ThreadPoolExecutor(THREADS) as pool:

        def together() -> None:
            list(pool.map(lambda write: [write() for _ in range(10)], own))

        return tell(
            "memory: sixteen threads, beside one", in_turn(together, alone, runs, 2, time.perf_counter), THREADS_LIMIT
        )


def measure_sqlite(runs: int) -> bool:
    """The adapter beside bare inserts."""
    from hephaestus.adapters.sqlite import SqliteTable

    with tempfile.TemporaryDirectory() as folder:
        table = SqliteTable(Path(folder) / "table.sqlite", INDEXES)
        measured = in_turn(through(table), bare_sqlite(Path(folder) / "bare.sqlite"), runs, 20, time.perf_counter)
        table.close()
    return tell("SQLite: twelve writes, beside twelve bare inserts", measured, SQLITE_LIMIT)


def measure_dynamodb(runs: int) -> bool:
    """The adapter beside PynamoDB's models."""
    from hephaestus.adapters.dynamodb.table import DynamoTable
    from tests.engines import HARMLESS_AWS, dynamodb_local

    os.environ.update(HARMLESS_AWS)
    with dynamodb_local() as endpoint:
        table = DynamoTable("benchmark", INDEXES, host=endpoint)
        table.create()
        measured = in_turn(through(table), bare_pynamodb(table.name, endpoint), runs, 20, time.process_time)
    return tell("DynamoDB Local: twelve writes, beside bare PynamoDB", measured, DYNAMODB_LIMIT)


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table; the exit status says whether the limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args(arguments).runs
    return 0 if all([measure_memory(runs), measure_sqlite(runs), measure_dynamodb(runs)]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
