"""PynamoDB models of the one table."""

from __future__ import annotations

from typing import Any, Final

from pynamodb.attributes import BinaryAttribute, NumberAttribute, UnicodeAttribute, UnicodeSetAttribute
from pynamodb.indexes import GlobalSecondaryIndex, IncludeProjection, KeysOnlyProjection
from pynamodb.models import Model

from hephaestus.adapters.session import CONNECT_TIMEOUT, MAX_ATTEMPTS, READ_TIMEOUT

HEAD: Final = "head"
LISTED: Final = ("workflow", "version", "status", "generation", "tags", "created_at", "updated_at")


def log_key(generation: int, sequence: int) -> str:
    """The sort key of a log entry; keys sort as their numbers do."""
    return f"log#{generation:06d}#{sequence:08d}"


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
    pk = UnicodeAttribute()
    workflow = UnicodeAttribute()
    version = NumberAttribute()
    status = UnicodeAttribute()
    generation = NumberAttribute()
    tags = UnicodeSetAttribute(null=True)
    created_at = NumberAttribute()
    updated_at = NumberAttribute()


class HeadItem(Model):
    """The head of an instance: its newest generation as of the last boundary."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True, default=HEAD)
    schema = NumberAttribute(default=1)
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
    tags = UnicodeSetAttribute(null=True)
    created_at = NumberAttribute()
    updated_at = NumberAttribute()
    first = BinaryAttribute(legacy_encoding=False)
    first_commit = UnicodeAttribute()
    snapshot = BinaryAttribute(null=True, legacy_encoding=False)
    snapshot_sequence = NumberAttribute(null=True)
    ttl = NumberAttribute(null=True)

    wake = WakeIndex()
    listing = ListingIndex()


class LogItem(Model):
    """One commit of one generation."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    commit_id = UnicodeAttribute()
    at = NumberAttribute()
    data = BinaryAttribute(legacy_encoding=False)
    ttl = NumberAttribute(null=True)


def bind(model: type[Model], table: str, region: str | None, host: str | None) -> Any:
    """A subclass of ``model`` for one table, with timeouts and retries that fit a Lambda invocation."""
    meta = type(
        "Meta",
        (),
        {
            "table_name": table,
            "region": region,
            "host": host,
            "billing_mode": "PAY_PER_REQUEST",
            "connect_timeout_seconds": CONNECT_TIMEOUT,
            "read_timeout_seconds": READ_TIMEOUT,
            "max_retry_attempts": MAX_ATTEMPTS - 1,
            "max_pool_connections": 20,
        },
    )
    return type(model.__name__, (model,), {"Meta": meta})
