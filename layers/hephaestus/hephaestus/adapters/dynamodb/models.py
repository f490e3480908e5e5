"""PynamoDB models of the one table, and how its keys are made.

| item      | ``pk``          | ``sk``                              | indexes                                        |
|-----------|-----------------|-------------------------------------|------------------------------------------------|
| head      | the instance id | ``head``                            | ``wake`` (while it has an alarm), and the others |
| log entry | the instance id | ``log#<generation:6>#<sequence:8>`` | none                                           |

| index       | partition                                                              | sorted by                 |
|-------------|------------------------------------------------------------------------|---------------------------|
| ``wake``    | ``wake_shard``: ``wake#<n>``                                           | ``wake_at`` (ms)          |
| ``listing`` | ``list_key``: ``<workflow>#<status>#<n>``                              | ``list_at``: time and id  |
| ``recent``  | ``recent_key``: ``recent#<n>``, or ``apart#<n>`` (statuses of ``APART``) | ``list_at``               |

``<n>`` is derived from the id. ``list_at`` begins with the time of the start.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from typing import Any, Final

from pynamodb.attributes import BinaryAttribute, ListAttribute, NumberAttribute, TTLAttribute, UnicodeAttribute
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection, KeysOnlyProjection
from pynamodb.models import Model

HEAD: Final = "head"
LISTED: Final = ("workflow", "version", "status", "generation", "tags", "created_at", "updated_at")
RECENT: Final = ("workflow", "tags")  # never changes while a generation lives, so that only the start pays for it
APART: Final = ("failed", "cancelled", "compensating")
SCHEMA: Final = 1
LAST_MS: Final = 253_402_300_799_999  # the end of the year 9999


def log_key(generation: int, sequence: int) -> str:
    """The sort key of a log entry; keys sort as their numbers do."""
    return f"log#{generation:06d}#{sequence:08d}"


def wake_key(shard: int) -> str:
    """The partition of the alarms in a shard."""
    return f"wake#{shard}"


def list_key(workflow: str, status: str, shard: int) -> str:
    """The partition of a workflow's instances with a status in a shard."""
    return f"{workflow}#{status}#{shard}"


def recent_key(status: str, shard: int) -> str:
    """The partition of all instances in a shard; those that need a look, or had one, are apart from the others."""
    return f"{'apart' if status in APART else 'recent'}#{shard}"


def list_time(milliseconds: int) -> str:
    """A time as text that sorts as times do."""
    seconds, rest = divmod(min(max(milliseconds, 0), LAST_MS), 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}"


def shard_of(instance_id: str, shards: int) -> int:
    """The shard of an instance. More shards may be added later; fewer would hide what is in the others."""
    return zlib.crc32(instance_id.encode()) % shards


class WakeIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]  # PynamoDB leaves a hook untyped
    """The alarms: sparse, sharded, sorted by time (ms)."""

    class Meta:
        """How PynamoDB sees it."""

        index_name = "wake"
        projection = KeysOnlyProjection()
        billing_mode = "PAY_PER_REQUEST"

    wake_shard = UnicodeAttribute(hash_key=True)
    wake_at = NumberAttribute(range_key=True)


class ListingIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]  # PynamoDB leaves a hook untyped
    """Instances by workflow, status and shard, sorted by start."""

    class Meta:
        """How PynamoDB sees it."""

        index_name = "listing"
        projection = IncludeProjection(list(LISTED))
        billing_mode = "PAY_PER_REQUEST"

    list_key = UnicodeAttribute(hash_key=True)
    list_at = UnicodeAttribute(range_key=True)


class RecentIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]  # PynamoDB leaves a hook untyped
    """All instances by shard, sorted by start; sparse: what an older release wrote is in it after its next boundary."""

    class Meta:
        """How PynamoDB sees it."""

        index_name = "recent"
        projection = IncludeProjection(list(RECENT))
        billing_mode = "PAY_PER_REQUEST"

    recent_key = UnicodeAttribute(hash_key=True)
    list_at = UnicodeAttribute(range_key=True)


class HeadItem(Model):
    """The head of an instance: its newest generation as of the last boundary, and that generation's first entry.

    ``snapshot`` lacks what ``first`` has; there is none before the first boundary, nor while it would not fit.
    ``earlier_commits`` began the generations before: a start that is repeated late is known by them.
    ``quarantine`` says why the instance could not be read when its alarm was put off; a boundary removes it.
    """

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True, default_for_new=HEAD)
    schema = NumberAttribute(default_for_new=SCHEMA)
    workflow = UnicodeAttribute()
    version = NumberAttribute()
    generation = NumberAttribute()
    status = UnicodeAttribute()
    sequence = NumberAttribute()
    owner = UnicodeAttribute(null=True)
    lease_until = NumberAttribute(null=True)
    wake_shard = UnicodeAttribute(null=True)
    wake_at = NumberAttribute(null=True)
    list_key = UnicodeAttribute()
    list_at = UnicodeAttribute()
    recent_key = UnicodeAttribute(null=True)
    tags: ListAttribute[Any] = ListAttribute(of=UnicodeAttribute, null=True)
    created_at = NumberAttribute()
    updated_at = NumberAttribute()
    first = BinaryAttribute(legacy_encoding=False)
    first_commit = UnicodeAttribute()
    earlier_commits: ListAttribute[Any] = ListAttribute(of=UnicodeAttribute, null=True)
    snapshot = BinaryAttribute(null=True, legacy_encoding=False)
    quarantine = UnicodeAttribute(null=True)
    ttl = TTLAttribute(null=True)

    wake = WakeIndex()
    listing = ListingIndex()
    recent = RecentIndex()


class LogItem(Model):
    """One commit of one generation.

    ``created_at`` is when the generation began: an entry that outlived an expired instance is older than that of
    the instance which has the id now.
    """

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    schema = NumberAttribute(default_for_new=SCHEMA)
    created_at = NumberAttribute()
    commit_id = UnicodeAttribute()
    at = NumberAttribute()
    data = BinaryAttribute(legacy_encoding=False)
    ttl = TTLAttribute(null=True)


def bind(model: type[Model], table: str) -> Any:
    """A subclass of ``model`` for one table."""
    meta = type("Meta", (), {"table_name": table, "billing_mode": "PAY_PER_REQUEST"})
    return type(model.__name__, (model,), {"Meta": meta})
