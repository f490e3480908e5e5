"""A SQLite file: one connection that writes, and as many that read as there are threads that read at once.

The log is written ahead (WAL), and a commit returns when it is on the disk (``synchronous=FULL``). Threads queue for
the writer by a lock, processes by SQLite's own, which they ask for again for ``BUSY_SECONDS``.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from hephaestus.errors import EngineError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BUSY_SECONDS: Final = 30.0
BUSY: Final = ("SQLITE_BUSY", "SQLITE_LOCKED")


class Database:
    """One SQLite file; safe to use from many threads, and beside other processes.

    Args:
        path: the file; it is made if there is none.
        schema: statements that make what is missing in it.
    """

    def __init__(self, path: Path, schema: Sequence[str]) -> None:
        self._path = path
        self._writing = threading.RLock()
        self._idle: deque[sqlite3.Connection] = deque()
        with translated():
            self._writer = self._connect()
            self._writer.execute("PRAGMA journal_mode=WAL")
            self._writer.execute("PRAGMA synchronous=FULL")
        with self.transaction() as connection:
            for statement in schema:
                connection.execute(statement)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees all that was committed before each of its statements begins."""
        with translated():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            try:
                yield connection
            finally:
                self._idle.append(connection)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The connection that writes, in a transaction; inside of one, in that one."""
        with self._writing, translated():
            connection = self._writer
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def write(self, statement: str, values: Sequence[object]) -> int:
        """Do one statement, a transaction of its own; how many rows it changed."""
        with self._writing, translated():
            return self._writer.execute(statement, values).rowcount

    def close(self) -> None:
        """Close all connections; no thread may use it any more."""
        self._writer.close()
        while self._idle:
            self._idle.pop().close()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)


@contextmanager
def translated() -> Iterator[None]:
    """Turn SQLite's errors into the library's.

    Raises:
        StoreUnavailable: others held the file all the time.
        EngineError: anything else.
    """
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        if str(name).startswith(BUSY):
            message = "SQLite: others held the file for too long; nothing is lost, try again"
            raise StoreUnavailable(message) from error
        message = f"SQLite rejected a request ({name}): see that the file may be written, and that the disk is not full"
        raise EngineError(message) from error
