"""Where a soak keeps its instances, and the table that its steps write to."""

from __future__ import annotations

import copyreg
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import pytest

from benchmarks.soaking.flows import EFFECTS
from hephaestus.adapters.memory import MemoryStore
from hephaestus.store.items import INDEXES
from hephaestus.store.store import Store
from hephaestus.values import FrozenDict, FrozenList
from hephaestus.writes.memory_tables import MemoryTables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hephaestus.engine.events import Entry
    from hephaestus.engine.state import State
    from hephaestus.writes import Write

Engine: TypeAlias = Literal["memory", "dynamodb-local", "emulator"]

TABLE: Final = "soak"
NO_ENGINE: Final = (pytest.skip.Exception, pytest.fail.Exception)
"""What is raised where an engine is not there, as tests start the same ones."""

# The memory store is in one process and its callers are in others; both are ours and on this machine, so what passes
# between them may be pickled, unlike anything that is stored. What refuses to change is made in one go.
copyreg.pickle(FrozenDict, lambda frozen: (FrozenDict, (dict(frozen),)))
copyreg.pickle(FrozenList, lambda frozen: (FrozenList, (list(frozen),)))


@dataclass(frozen=True, slots=True)
class Place:
    """An engine that runs.

    Attributes:
        endpoint: where DynamoDB listens; ``None`` where memory is the store.
        memory: the store in this process, if it is.
        tables: what steps write to there.
    """

    endpoint: str | None
    memory: MemoryStore | None = None
    tables: MemoryTables | None = None

    def store(self) -> Store:
        """The store, for this process."""
        return self.memory if self.memory is not None else dynamo_store(self.endpoint)

    def effects(self) -> dict[str, int]:
        """Every counter that steps have written."""
        if self.tables is not None:
            return {item["pk"]: int(item["times"]) for item in self.tables[EFFECTS].items()}
        pages = _client(self.endpoint).get_paginator("scan").paginate(TableName=EFFECTS, ConsistentRead=True)
        return {item["pk"]["S"]: int(item["times"]["N"]) for page in pages for item in page["Items"]}


@contextmanager
def place(engine: Engine) -> Iterator[Place]:
    """Start an engine with empty tables; end it on leaving."""
    if engine == "memory":
        tables = MemoryTables({EFFECTS: ("pk",)})
        yield Place(None, MemoryStore(tables=tables), tables)
        return
    from tests import engines

    os.environ.update(engines.HARMLESS_AWS)
    if engine == "dynamodb-local":
        with engines.dynamodb_local() as endpoint:
            _make_tables(endpoint)
            yield Place(endpoint)
    else:
        with TemporaryDirectory() as home, engines.ministack(Path(home), auth=False) as emulator:
            _make_tables(emulator.endpoint)
            yield Place(emulator.endpoint)


def dynamo_store(endpoint: str | None) -> Store:
    """The store on the DynamoDB at ``endpoint``."""
    from hephaestus.adapters.dynamodb import DynamoTable

    return Store(DynamoTable(TABLE, INDEXES, host=endpoint))


def _client(endpoint: str | None) -> Any:
    from hephaestus.adapters.session import shared_session

    return shared_session().create_client("dynamodb", endpoint_url=endpoint)


def _make_tables(endpoint: str) -> None:
    from hephaestus.adapters.dynamodb import DynamoTable

    DynamoTable(TABLE, INDEXES, host=endpoint).create()
    _client(endpoint).create_table(
        TableName=EFFECTS,
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )


class Watched:
    """A store, and how often its log was written and who was too late: what a worker counts.

    Also a store's methods by name, which is all that a manager's proxy of one has: it knows no properties.
    """

    def __init__(
        self, store: Any, counts: dict[str, int], *, max_value_bytes: int | None, own_table: str | None
    ) -> None:
        self._store = store
        self._counts = counts
        self.max_value_bytes = max_value_bytes
        self.own_table = own_table
        self.permits = getattr(store, "permits", SimpleNamespace())  # a proxy has none, and a soak no limits

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def create(self, state: State, first: Entry, _finish: object, *, over: bool = True) -> State | None:
        """Start a generation; see ``Store``. There is no bus, so nothing is unpublished."""
        created: State | None = self._store.create(state, first, over=over)
        return created

    def tidy(self, instance_id: str, state: State | None, now: int, alarms: Sequence[str], _finish: object) -> None:
        """Finish what a crash left undone; see ``Store``. A deletion sends no messages."""
        self._store.tidy(instance_id, state, now, alarms)

    def commit(self, after: State, entry: Entry, writes: Sequence[Write] = ()) -> State | None:
        """Write an entry; see ``Store``."""
        begun = time.monotonic()
        written: State | None = self._store.commit(after, entry, writes)
        self._count("commits" if written is not None else "conflicts")
        self._counts["commit_us"] = self._counts.get("commit_us", 0) + int((time.monotonic() - begun) * 1e6)
        return written

    def quarantine(self, instance_id: str, reason: str, *, now: int, until: int, alarms: Sequence[str] = ()) -> bool:
        """Put off an alarm: a soak has no reason for it, so it is counted; see ``Store``."""
        self._count("quarantined")
        done: bool = self._store.quarantine(instance_id, reason, now=now, until=until, alarms=alarms)
        return done

    def _count(self, what: str) -> None:
        self._counts[what] = self._counts.get(what, 0) + 1
