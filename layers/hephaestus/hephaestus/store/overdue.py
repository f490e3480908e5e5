"""Reads the index of alarms page by page, every shard in turn.

A shard is a partition of the index, with a throughput of its own: one may be large or throttled while others are not.
So each page takes an equal share from every shard that has more, and one that does not answer is put last.
"""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from heapq import merge
from typing import TYPE_CHECKING, Final, TypeAlias

from hephaestus.errors import BadRequest, StoreUnavailable
from hephaestus.store.items import WAKE, wake_key
from hephaestus.store.keys import HEAD
from hephaestus.store.table import Position
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hephaestus.store.table import Table

Positions: TypeAlias = "dict[int, Position | None]"

MINUTE_MS: Final = 60_000
MOST_KEYS: Final = 200  # of an instance, in one page; the next sweep shows those that still have an alarm
SILENT_AT_FIRST: Final = 2  # so many shards without an answer before any has given one: the whole table is in trouble

_logger = logging.getLogger("hephaestus.overdue")


@dataclass(frozen=True, slots=True)
class Wakeup:
    """An instance whose alarms the index shows.

    Attributes:
        instance_id: the instance.
        wake_at: the earliest of its alarms (ms).
        alarms: the keys of the log entries and the mail that show one; that of the head is not among them.
    """

    instance_id: str
    wake_at: int = 0
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OverduePage:
    """One page of overdue instances, the most overdue first; ``cursor`` continues it, ``None`` at the end."""

    items: tuple[Wakeup, ...]
    cursor: str | None


def read_overdue(table: Table, shards: int, now: int, limit: int, cursor: str | None) -> OverduePage:
    """A page of the instances with an alarm that is due.

    Every shard that has more gives an equal share to each page, its most overdue first, so that a large one does not
    keep the others waiting. A shard that does not answer is asked again when the others are through.

    Args:
        table: the table.
        shards: of its alarms.
        now: the same for all pages, in ms.
        limit: about how many alarms; at least one for each shard that has more.
        cursor: the one of the page before.

    Raises:
        StoreUnavailable: no shard that is left answers; the pages before are as good as ever.
        BadRequest: the cursor is none that a page gave.
    """
    left, silent = _read_cursor(cursor) if cursor else (_all(shards, now), {})
    if not left:
        left, silent = silent, {}
    share = max(limit // max(len(left), 1), 1)
    failures = 0
    further: Positions = {}
    found: list[list[tuple[int, str, str]]] = []
    for shard, position in left.items():
        try:
            page = table.query_index(WAKE.name, wake_key(shard), low=0, high=now, limit=share, after=position)
        except StoreUnavailable:
            silent[shard] = position
            failures += 1
            if not found and failures >= min(SILENT_AT_FIRST, len(left)):
                raise
            _logger.warning("shard %d of the alarms does not answer; the others are read first", shard)
            continue
        found.append([(int(str(item["wake_at"])), str(item["pk"]), str(item["sk"])) for item in page.items])
        if page.end is not None:
            further[shard] = page.end
    cursor = json.dumps([list(further.items()), list(silent.items())]) if further or silent else None
    return OverduePage(_wakeups(merge(*found)), cursor)


def _wakeups(alarms: Iterable[tuple[int, str, str]]) -> tuple[Wakeup, ...]:
    """One wake-up an instance, whatever alarms it has."""
    found: dict[str, Wakeup] = {}
    for wake_at, instance_id, key in alarms:
        known = found.get(instance_id) or Wakeup(instance_id, wake_at)
        known_well = key == HEAD or len(known.alarms) >= MOST_KEYS
        found[instance_id] = known if known_well else replace(known, alarms=(*known.alarms, key))
    return tuple(found.values())


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


def _positions(pairs: list[tuple[int, tuple[int, str, str] | None]]) -> Positions:
    found: Positions = {}
    for shard, position in pairs:
        if position is None:
            found[int(shard)] = None
        else:
            wake_at, pk, sk = position
            found[int(shard)] = Position(int(wake_at), str(pk), str(sk))
    return found
