"""Lists and counts instances by two indexes, in a bounded number of queries whatever the table holds.

| asked for                       | read                                                                    |
|---------------------------------|-------------------------------------------------------------------------|
| a workflow and a status, or two | ``listing``: one query a pair and shard, and when the heads changed     |
| anything else                   | ``recent``: at most two queries a shard, and the heads of what is shown |

``recent`` says of an instance neither its status nor its version; they are in its head. A filter that few recent
instances pass makes a short page: the cursor of such a page goes on in ``listing``, with a query for every pair and
shard. Where no workflow was named, the pairs are those of the known (deployed) ones, and the instances of all others
are looked for in ``recent``, so that none is left out.
"""

from __future__ import annotations

import base64
import binascii
import logging
from contextvars import copy_context
from dataclasses import replace
from datetime import datetime
from itertools import product
from typing import TYPE_CHECKING, Final, TypeVar

from hephaestus.engine.state import OF_ROOTS, STATUSES
from hephaestus.errors import BadRequest, CorruptLog
from hephaestus.store.heads import FAMILY
from hephaestus.store.items import (
    APART,
    LISTED,
    LISTING,
    RECENTLY,
    attribute,
    list_key,
    list_time,
    of_children,
    recent_key,
)
from hephaestus.store.keys import HEAD
from hephaestus.store.table import MAX_OPERANDS, Filter
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.store.filters import ListFilter
    from hephaestus.store.table import Index, Item, Position, Table

QUERIES_A_SHARD: Final = 2
PARALLEL_QUERIES: Final = 8
FILTER_PAGE: Final = 1_000  # entries of a partition that one query looks through for what is filtered
MOST_HEADS: Final = 400  # that a page looks through for a status or a version
OTHER_PAGES: Final = 8  # queries a partition, of FILTER_PAGE entries each, for instances of workflows that nobody named
SHARES: Final = 100  # heads of one request; DynamoDB API Reference, BatchGetItem
MAX_SORT_KEY_BYTES: Final = 1024  # DynamoDB: a sort key has at most so many
LAST: Final = "~"  # sorts after every time
DATED: Final = "updated_at"
SHOWN: Final = ("list_at", *LISTED, DATED, FAMILY)
EXACT: Final = "="  # in front of a cursor's time: read ``listing`` from there

Key = TypeVar("Key")
Found = TypeVar("Found")
_logger = logging.getLogger("hephaestus.listing")


@dataclass(frozen=True, slots=True)
class Listed:
    """What a listing knows of an instance; it may lag its head by a moment. ``in_tree``: a child, or a parent."""

    instance_id: str
    workflow: str
    version: int
    generation: int
    status: str
    tags: tuple[str, ...]
    created_at: int
    updated_at: int
    in_tree: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a listing, newest first; ``cursor`` continues it, ``None`` at its end."""

    items: tuple[Listed, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A page, as ``Store.list`` is asked for it."""

    filter: ListFilter
    limit: int
    known: Sequence[str] = ()

    @property
    def pairs(self) -> list[tuple[str, str]] | None:
        """Every pair of a workflow and a status, once; ``None`` for any workflow."""
        if self.filter.workflows is None:
            return None
        every = STATUSES if self.filter.children else OF_ROOTS
        statuses = every if self.filter.statuses is None else self.filter.statuses
        return list(dict.fromkeys(product(self.filter.workflows, statuses)))

    def shards(self, number: int) -> list[int | str]:
        """The shards to read, of so many."""
        return [*range(number), *(map(of_children, range(number)) if self.filter.children else ())]

    @property
    def in_heads(self) -> bool:
        """Whether only its head says that an instance is among them."""
        return self.filter.statuses is not None or self.filter.version is not None

    def takes(self, head: Item) -> bool:
        """Whether a head is among them; tags and times are the index's business."""
        own = self.filter
        return (
            (own.workflows is None or head.get("workflow") in own.workflows)
            and (own.statuses is None or head.get("status") in own.statuses)
            and (own.version is None or head.get("version") == own.version)
        )


def list_instances(table: Table, shards: int, wanted: Wanted, cursor: str | None) -> Listing:
    """A page of instances; see ``Store.list``."""
    exact, before = (False, LAST) if cursor is None else _read_cursor(cursor)
    before = _end(wanted.filter, before)
    earliest, pairs = list_time(wanted.filter.since or 0), wanted.pairs
    if before <= earliest or pairs == [] or (wanted.filter.statuses is not None and not wanted.filter.statuses):
        return Listing((), None)
    if pairs is not None and (exact or len(pairs) <= QUERIES_A_SHARD):
        return _by_pairs(table, _keys(pairs, wanted.shards(shards)), wanted, earliest, before)
    if exact and wanted.known:
        return _by_known(table, shards, wanted, earliest, before)
    return _by_start(table, _places(wanted.filter.statuses, wanted.shards(shards)), wanted, earliest, before)


def count_instances(
    table: Table, shards: int, workflows: Sequence[str], statuses: Sequence[str], most: int
) -> dict[tuple[str, str], int]:
    """How many there are; see ``Store.counts``."""
    pairs = list(product(workflows, statuses))
    keys = _keys(pairs, range(shards))
    found = _of_each(table, lambda key: table.count_index(LISTING.name, key, most), keys)
    return {pair: min(sum(found[n * shards : (n + 1) * shards]), most) for n, pair in enumerate(pairs)}


def _by_pairs(table: Table, keys: Sequence[str], wanted: Wanted, earliest: str, before: str) -> Listing:
    """A page merged from partitions of ``listing``."""
    passing = _passing(wanted.filter.tag)
    if wanted.filter.version is not None:
        passing = replace(passing or Filter(), equal={"version": wanted.filter.version})
    limit = wanted.limit + 2 if passing is None else FILTER_PAGE
    span = _Span(earliest, before)
    found, horizon = _merged(table, lambda key: _query(table, LISTING, key, span, passing, limit), keys)
    page = _dated(table, found[: wanted.limit])
    if len(found) > wanted.limit:
        return Listing(page, _cursor(_at(found[wanted.limit - 1]), exact=True))
    return Listing(page, _cursor(horizon, exact=True) if horizon else None)


def _by_known(table: Table, shards: int, wanted: Wanted, earliest: str, before: str) -> Listing:
    """A page of all workflows: of the known ones from ``listing``, of all others from ``recent``, in one order.

    The others are looked for only down to where the page of the known ones ends.
    """
    own = replace(wanted, filter=replace(wanted.filter, workflows=wanted.known))
    first = _by_pairs(table, _keys(own.pairs or [], own.shards(shards)), own, earliest, before)
    end = _read_cursor(first.cursor)[1] if first.cursor else ""
    passing, span = _passing(wanted.filter.tag, but=wanted.known), _Span(max(earliest, end), before)
    found, horizon = _merged(
        table,
        lambda key: _query(table, RECENTLY, key, span, passing, FILTER_PAGE, OTHER_PAGES),
        _places(wanted.filter.statuses, wanted.shards(shards)),
    )
    others = [entry for entry in found if entry.get("workflow") not in wanted.known]
    seen = others[:MOST_HEADS]
    if len(others) > len(seen):
        horizon = max(horizon, _at(seen[-1]))
    shown = [listed for at in range(0, len(seen), SHARES) for listed in _look_up(table, wanted, seen[at : at + SHARES])]
    both = sorted([*first.items, *shown], key=_list_at, reverse=True)
    page = [listed for listed in both if _list_at(listed) >= max(horizon, end)]
    if len(page) > wanted.limit:
        return Listing(tuple(page[: wanted.limit]), _cursor(_list_at(page[wanted.limit - 1]), exact=True))
    end = max(horizon, end)
    return Listing(tuple(page), _cursor(end, exact=True) if end else None)


def _by_start(table: Table, keys: Sequence[str], wanted: Wanted, earliest: str, before: str) -> Listing:
    """A page merged from partitions of ``recent``, looked up in the heads."""
    filtered = wanted.filter.tag is not None or wanted.filter.workflows is not None
    size = FILTER_PAGE if filtered else (MOST_HEADS if wanted.in_heads else wanted.limit) + 2
    passing, span = _passing(wanted.filter.tag, wanted.filter.workflows), _Span(earliest, before)
    found, horizon = _merged(table, lambda key: _query(table, RECENTLY, key, span, passing, size), keys)
    shown: list[Listed] = []
    seen = 0
    while seen < min(len(found), MOST_HEADS) and len(shown) < wanted.limit:
        share = SHARES if wanted.in_heads else min(wanted.limit - len(shown), SHARES)
        entries = found[seen : seen + share]
        shown += _look_up(table, wanted, entries)
        seen += len(entries)
    page = tuple(shown[: wanted.limit])
    if len(shown) > wanted.limit:
        return Listing(page, _cursor(_list_at(page[-1])))
    end = _at(found[seen - 1]) if seen < len(found) else horizon
    exact = len(shown) < wanted.limit and (
        wanted.filter.workflows is not None or (wanted.in_heads and bool(wanted.known))
    )
    return Listing(page, _cursor(end, exact=exact) if end else None)


def list_named(table: Table, ids: Sequence[str], wanted: ListFilter, limit: int, cursor: str | None) -> Listing:
    """A page of those of these instances that are ``wanted``, newest first."""
    exact = cursor is not None and _read_cursor(cursor)
    before = _end(wanted, exact[1] if exact else LAST)
    heads: list[Item] = []
    for start in range(0, len(ids), SHARES):
        heads += table.get_many([(one, HEAD) for one in ids[start : start + SHARES]], SHOWN)
    own, since = Wanted(wanted, limit), list_time(wanted.since or 0)
    found = [head for head in heads if own.takes(head) and since <= _at(head) < before]
    found = [head for head in found if wanted.tag is None or wanted.tag in _listed(head).tags]
    page = sorted(found, key=_at, reverse=True)[:limit]
    return Listing(tuple(map(_listed, page)), _cursor(_at(page[-1])) if len(found) > limit else None)


class OtherWorkflows:
    """Looks for the names of workflows that nobody named, further with every call.

    Args:
        table: the table.
        shards: of its listing.
    """

    def __init__(self, table: Table, shards: int) -> None:
        self._table = table
        self._places = _places(None, range(shards))
        self._found: set[str] = set()
        self._before: dict[str, str] = {}

    def look(self, known: Sequence[str]) -> list[str]:
        """The names found so far that are not ``known``; after the oldest instance, it begins with the newest again."""
        but = sorted({*known, *self._found})

        def one(key: str) -> tuple[list[Item], str | None]:
            span = _Span(list_time(0), self._before.get(key, LAST))
            return _query(self._table, RECENTLY, key, span, _passing(but=but), FILTER_PAGE, OTHER_PAGES)

        for key, (items, until) in zip(self._places, _of_each(self._table, one, self._places), strict=True):
            self._found.update(str(item["workflow"]) for item in items if "workflow" in item)
            self._before[key] = until or LAST
        return sorted(self._found.difference(known))


def _end(wanted: ListFilter, before: str) -> str:
    """The ``list_at`` below which a page begins that would begin below ``before``."""
    return before if wanted.until is None else min(before, list_time(wanted.until))


def _keys(pairs: Sequence[tuple[str, str]], shards: Sequence[int | str]) -> list[str]:
    """The partitions of ``listing`` that hold these pairs of a workflow and a status."""
    return [list_key(*pair, shard) for pair in pairs for shard in shards]


def _places(statuses: Sequence[str] | None, shards: Sequence[int | str]) -> list[str]:
    """The partitions of ``recent`` that hold these statuses."""
    return [recent_key(status, shard) for status in _one_a_place(statuses) for shard in shards]


def _one_a_place(statuses: Sequence[str] | None) -> list[str]:
    """A status of each kind of partition that must be read: those of what stands apart, and of everything else."""
    places = {status in APART: status for status in STATUSES if statuses is None or status in statuses}
    return list(places.values())


@dataclass(frozen=True, slots=True)
class _Span:
    """A part of a listing: ``since <= list_at < before``."""

    since: str
    before: str


def _query(  # noqa: PLR0913, PLR0917 - a query's filters
    table: Table, index: Index, key: str, span: _Span, passing: Filter | None, limit: int, pages: int = 1
) -> tuple[list[Item], str | None]:
    """What at most ``pages`` queries of one partition find, newest first.

    Returns:
        What was found, and, if the partition may hold more, the ``list_at`` down to which it was read.
    """
    found: list[Item] = []
    after: Position | None = None
    for _ in range(pages):
        page = table.query_index(
            index.name,
            key,
            low=span.since,
            high=span.before,
            limit=limit,
            after=after,
            descending=True,
            where=passing,
        )
        found += [item for item in page.items if _at(item) < span.before]
        after = page.end
        if after is None:
            return found, None
    return found, str(after.sort) if after is not None else None


def _passing(tag: str | None = None, workflows: Sequence[str] | None = None, but: Sequence[str] = ()) -> Filter | None:
    """What the table can filter by: a tag, and workflows where they are not too many."""
    only = workflows is not None and len(workflows) <= MAX_OPERANDS
    without = 0 < len(but) <= MAX_OPERANDS
    if tag is None and not only and not without:
        return None
    return Filter(
        contains={} if tag is None else {"tags": tag},
        one_of={"workflow": workflows} if only and workflows is not None else {},
        none_of={"workflow": but} if without else {},
    )


def _at(item: Item) -> str:
    return str(item["list_at"])


def _look_up(table: Table, wanted: Wanted, entries: Sequence[Item]) -> list[Listed]:
    """What the heads say of ``entries``, in their order; what is gone, or was started again, is left out."""
    keys = [(str(entry["pk"]), HEAD) for entry in entries]
    heads = {head["pk"]: head for head in table.get_many(keys, SHOWN)} if keys else {}
    shown = []
    for entry in entries:
        head = heads.get(entry["pk"])
        if head is None or head.get("list_at") != entry["list_at"] or not wanted.takes(head):
            continue
        try:
            shown.append(_listed(head))
        except CorruptLog:
            _logger.warning("instance %s is not listed: its head is damaged", entry["pk"])
    return shown


def _merged(
    table: Table, query: Callable[[str], tuple[list[Item], str | None]], keys: Sequence[str]
) -> tuple[list[Item], str]:
    """What ``query`` finds in all partitions, newest first, and down to where that is all there is (``""``: the end).

    Below a partition's horizon lies what was not read of it, so nothing older than that can come next.
    """
    parts = _of_each(table, query, keys)
    horizon = max((until for _, until in parts if until is not None), default="")
    found = [item for items, _ in parts for item in items if _at(item) >= horizon]
    return sorted(found, key=_at, reverse=True), horizon


def _of_each(table: Table, query: Callable[[Key], Found], keys: Sequence[Key]) -> list[Found]:
    """What ``query`` gives for each of ``keys``, from a distant table at once.

    There the first goes alone, so that a table in trouble is asked once.
    """
    found = [query(key) for key in (keys[:1] if table.distant else keys)]
    if len(found) < len(keys):
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only listings need it

        contexts = [copy_context() for _ in keys[1:]]  # they know when the invocation ends

        with ThreadPoolExecutor(min(PARALLEL_QUERIES, len(keys) - 1)) as pool:
            found += pool.map(lambda key, context: context.run(query, key), keys[1:], contexts)
    return found


def _list_at(listed: Listed) -> str:
    return f"{list_time(listed.created_at)}#{listed.instance_id}"


def _cursor(list_at: str, *, exact: bool = False) -> str:
    return base64.urlsafe_b64encode(((EXACT if exact else "") + list_at).encode()).decode()


def _read_cursor(cursor: str) -> tuple[bool, str]:
    """Whether a cursor goes on in ``listing``, and the ``list_at`` that it holds.

    Raises:
        BadRequest: no listing gave it.
    """
    try:
        text = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True).decode()
        list_at = text.removeprefix(EXACT)
        time, separator, instance_id = list_at.partition("#")
        datetime.fromisoformat(time)
    except (binascii.Error, ValueError, AttributeError) as error:
        message = "the cursor is not one that a listing gave"
        raise BadRequest(message) from error
    if not separator or not instance_id or len(list_at.encode()) > MAX_SORT_KEY_BYTES:
        message = "the cursor is not one that a listing gave"
        raise BadRequest(message)
    return text != list_at, list_at


def _listed(item: Item) -> Listed:
    """What a listing shows of a head, or of its entry in an index.

    Raises:
        CorruptLog: something is missing.
    """
    tags = item.get("tags", ())
    return Listed(
        str(item["pk"]),
        attribute(item, "workflow", str),
        attribute(item, "version", int),
        attribute(item, "generation", int),
        attribute(item, "status", str),
        tags if isinstance(tags, tuple) else (),
        attribute(item, "created_at", int),
        attribute(item, DATED, int),
        FAMILY in item,
    )


def _dated(table: Table, entries: Sequence[Item]) -> tuple[Listed, ...]:
    """What a listing shows of entries of ``listing``: when they changed is in their heads, as no index follows that."""
    dates: dict[object, Item] = {}
    for start in range(0, len(entries), SHARES):
        keys = [(str(entry["pk"]), HEAD) for entry in entries[start : start + SHARES]]
        dates.update((head["pk"], head) for head in table.get_many(keys, (DATED, FAMILY)))
    shown = ({DATED: entry["created_at"], **entry, **dates.get(entry["pk"], {})} for entry in entries)
    return tuple(map(_listed, shown))
