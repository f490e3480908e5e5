"""The port ``Table`` in a SQLite file: one machine, any number of threads and processes, every write on the disk.

What users' steps write to with ``writes=`` is emulated: tables in the same file that know the names of their keys and a
part of DynamoDB's expressions, as those in memory do. They are written in one transaction with the engine's item.
"""

from hephaestus.adapters.sqlite.table import SqliteTable
from hephaestus.adapters.sqlite.user_tables import SqliteUserTables

__all__ = ["SqliteTable", "SqliteUserTables"]
