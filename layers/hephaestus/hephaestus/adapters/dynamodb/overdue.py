"""Reads the index of alarms page by page, every shard in turn.

A shard is a partition of the index, with a throughput of its own: one may be large or throttled while others are not.
So each page takes an equal share from every shard that has more, and one that does not answer is put last.
"""

from __future__ import annotations

import json
import logging
from heapq import merge
from typing import TYPE_CHECKING, Final, TypeAlias

from hephaestus.adapters.dynamodb.models import wake_key
from hephaestus.errors import BadRequest, StoreUnavailable
from hephaestus.runtime.ports import OverduePage, Wakeup

if TYPE_CHECKING:
    from hephaestus.adapters.dynamodb.table import Table

Position: TypeAlias = tuple[str, str] | None
Positions = dict[int, Position]

MINUTE_MS: Final = 60_000
SILENT_AT_FIRST: Final = 2  # so many shards without an answer before any has given one: the whole table is in trouble

_logger = logging.getLogger("hephaestus.overdue")


def read_overdue(table: Table, shards: int, now: int, limit: int, cursor: str | None) -> OverduePage:
    """A page of overdue instances; see ``Store.overdue``."""
    left, silent = _read_cursor(cursor) if cursor else (_all(shards, now), {})
    if not left:
        left, silent = silent, {}
    share = max(limit // max(len(left), 1), 1)
    failures, further = 0, Positions()
    found: list[list[tuple[int, str]]] = []
    for shard, position in left.items():
        try:
            alarms, end = table.query_overdue(wake_key(shard), now, share, position)
        except StoreUnavailable:
            silent[shard] = position
            failures += 1
            if not found and failures >= min(SILENT_AT_FIRST, len(left)):
                raise
            _logger.warning("shard %d of the alarms does not answer; the others are read first", shard)
            continue
        found.append(alarms)
        if end is not None:
            further[shard] = end
    items = tuple(Wakeup(instance_id, wake_at) for wake_at, instance_id in merge(*found))
    return OverduePage(items, json.dumps([list(further.items()), list(silent.items())]) if further or silent else None)


def _all(shards: int, now: int) -> Positions:
    """All shards from their beginning; every minute another comes first."""
    first = now // MINUTE_MS % shards
    return dict.fromkeys([*range(first, shards), *range(first)])


def _read_cursor(cursor: str) -> tuple[Positions, Positions]:
    """The shards that have more, and those that did not answer, each with where its last page ended."""
    try:
        further, silent = json.loads(cursor)
        return _positions(further), _positions(silent)
    except (TypeError, ValueError) as error:
        message = "the cursor is not one that a page of overdue instances gave"
        raise BadRequest(message) from error


def _positions(pairs: list[tuple[int, list[str] | None]]) -> Positions:
    positions: Positions = {}
    for shard, position in pairs:
        if position is None:
            positions[int(shard)] = None
        else:
            wake_at, instance_id = position
            positions[int(shard)] = (str(wake_at), str(instance_id))
    return positions
