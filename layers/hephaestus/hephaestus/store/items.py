"""What the items of an instance have in common: their format, their indexes, and how a damaged one is recognised."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from hephaestus.errors import CorruptLog
from hephaestus.store.table import Condition, Index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus.store.table import Item

FORMAT: Final = 2
LISTED: Final = ("workflow", "version", "status", "generation", "tags", "created_at")
RECENT: Final = ("workflow", "tags")  # never changes while a life lasts, so that only the start pays for it
APART: Final = ("failed", "cancelled", "compensating")
KEPT_BY: Final = "kept_by"  # in a child: the number of the entry above it that last said whether this expires
WAKE: Final = Index("wake", "wake_shard", "wake_at", numeric=True)
LISTING: Final = Index("listing", "list_key", "list_at", projected=LISTED)
RECENTLY: Final = Index("recent", "recent_key", "list_at", projected=RECENT)
INDEXES: Final = (WAKE, LISTING, RECENTLY)
LAST_MS: Final = 253_402_300_799_999  # the end of the year 9999

T = TypeVar("T")


def said_by(number: int) -> Condition:
    """That no entry after ``number`` has said whether an item of a child expires."""
    return Condition(any_of=(Condition(missing=(KEPT_BY,)), Condition(at_most={KEPT_BY: number})))


def wake_key(shard: int) -> str:
    """The partition of the alarms in a shard."""
    return f"wake#{shard}"


def list_key(workflow: str, status: str, shard: int | str) -> str:
    """The partition of a workflow's instances with a status in a shard."""
    return f"{workflow}#{status}#{shard}"


def recent_key(status: str, shard: int | str) -> str:
    """The partition of all instances in a shard; those that need a look, or had one, are apart from the others."""
    return f"{'apart' if status in APART else 'recent'}#{shard}"


def of_children(shard: int) -> str:
    """The shard of children that are not detached, and of schedules: lists show them only where they are asked for."""
    return f"child{shard}"


def list_time(milliseconds: int) -> str:
    """A time as text that sorts as times do."""
    seconds, rest = divmod(min(max(milliseconds, 0), LAST_MS), 1000)
    return f"{datetime.fromtimestamp(seconds, UTC).isoformat()[:19]}.{rest:03d}"


def shard_of(instance_id: str, shards: int) -> int:
    """The shard of an instance. More shards may be added later; fewer would hide what is in the others."""
    return zlib.crc32(instance_id.encode()) % shards


def check_format(item: Item) -> Item:
    """``item``, if this release can read it.

    Raises:
        CorruptLog: it has no format, or that of a newer release.
    """
    if attribute(item, "format", int) > FORMAT:
        message = f"{_told(item)} was written by a newer release: deploy that release again"
        raise CorruptLog(message)
    return item


def attribute(item: Item, name: str, kind: type[T]) -> T:
    """An attribute that an item must have.

    Raises:
        CorruptLog: it is missing or of another type.
    """
    value: Any = item.get(name)
    if not isinstance(value, kind):
        message = f"{_told(item)} {'lacks' if value is None else 'has an unreadable'} {name}"
        raise CorruptLog(message)
    return value


def whole(item: Item | None, name: str, default: int = 0) -> int:
    """A whole number of an item; ``default`` where there is none."""
    found = None if item is None else item.get(name)
    return found if isinstance(found, int) else default


def as_read(item: Item | None, names: Sequence[str]) -> Condition:
    """The condition that these attributes are as they were read."""
    equal = {name: item[name] for name in names if item is not None and name in item}
    return Condition(equal=equal, missing=tuple(name for name in names if name not in equal))


def _told(item: Item) -> str:
    return f"instance {item['pk']!s}: the item {item['sk']!s}"
