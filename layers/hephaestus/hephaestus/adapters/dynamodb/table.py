"""Every access pattern of the table, one named function each.

Writes are always conditional. AWS's errors become the library's own here, so nothing above knows PynamoDB.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from pynamodb.connection import Connection
from pynamodb.exceptions import DoesNotExist, PynamoDBException, TransactWriteError
from pynamodb.transactions import TransactWrite

from hephaestus.adapters.aws_errors import translate
from hephaestus.adapters.dynamodb.models import HEAD, HeadItem, LogItem, bind, log_key
from hephaestus.adapters.session import CONNECT_TIMEOUT, MAX_ATTEMPTS, READ_TIMEOUT, shared_session
from hephaestus.errors import PayloadTooLarge, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pynamodb.expressions.update import Action

CONFLICT_TRIES: Final = 8
CONFLICT_PAUSE: Final = 0.02  # seconds; a transaction holds its items for some milliseconds
TOO_LARGE: Final = ("exceeded the maximum allowed size", "Item size", "ItemSizeLimitExceeded")


class Table:
    """One DynamoDB table.

    Args:
        name: the table's name.
        region: where; by default as the environment says.
        host: another endpoint than AWS's own.
    """

    def __init__(self, name: str, region: str | None = None, host: str | None = None) -> None:
        self.head: type[HeadItem] = bind(HeadItem, name, region, host)
        self.log: type[LogItem] = bind(LogItem, name, region, host)
        self.connection = Connection(
            region=region,
            host=host,
            connect_timeout_seconds=CONNECT_TIMEOUT,
            read_timeout_seconds=READ_TIMEOUT,
            max_retry_attempts=MAX_ATTEMPTS - 1,
        )
        for model in (self.head, self.log):
            connection: Any = model._get_connection().connection  # noqa: SLF001 - no public way to share one client
            connection._local = self.connection._local  # noqa: SLF001
        self.connection._local.session = shared_session()  # noqa: SLF001

    def create(self) -> None:
        """Make the table with its indexes; for tests and benchmarks, ``template.yaml`` makes the real one."""
        self.head.create_table(wait=True)

    def put_new_head(self, head: HeadItem) -> bool:
        """Put a head where no instance has the id (``pk``, ``sk = head``); whether it was written."""
        with _errors():
            return _conditional(lambda: head.save(condition=HeadItem.pk.does_not_exist()))

    def get_head(self, instance_id: str) -> HeadItem | None:
        """Get a head (``pk``, ``sk = head``), consistently."""
        with _errors():
            try:
                return self.head.get(instance_id, HEAD, consistent_read=True)
            except DoesNotExist:
                return None

    def get_entry(self, instance_id: str, generation: int, sequence: int) -> LogItem | None:
        """Get one log entry (``pk``, ``sk = log#g#n``), consistently."""
        with _errors():
            try:
                return self.log.get(instance_id, log_key(generation, sequence), consistent_read=True)
            except DoesNotExist:
                return None

    def put_entry(self, entry: LogItem) -> bool:
        """Put a log entry whose number is free (``pk``, ``sk = log#g#n``); whether it was written."""
        with _errors():
            return _conditional(lambda: entry.save(condition=LogItem.pk.does_not_exist()))

    def put_entry_and_update_head(
        self, entry: LogItem, generation: int, actions: Iterable[Action], token: str
    ) -> bool:
        """Put a log entry whose number is free and update its generation's head, both or neither; whether it was done."""
        head = self.head(entry.pk, HEAD)
        with _errors():
            return self._transact(
                token,
                lambda transaction: (
                    transaction.save(entry, condition=LogItem.pk.does_not_exist()),
                    transaction.update(head, actions=list(actions), condition=HeadItem.generation == generation),
                ),
            )

    def replace_closed_head(self, head: HeadItem, closed: HeadItem, first: LogItem, token: str) -> bool:
        """Put the head of the next generation where ``closed`` still is, and the old first entry into its log."""
        condition = (HeadItem.generation == closed.generation) & (HeadItem.status == closed.status)
        with _errors():
            return self._transact(
                token, lambda transaction: (transaction.save(head, condition=condition), transaction.save(first))
            )

    def query_log(self, instance_id: str, generation: int, after: int, limit: int | None = None) -> list[LogItem]:
        """Query log entries after number ``after`` (``pk``, ``sk > log#g#after`` within ``log#g#``), consistently."""
        with _errors():
            found = self.log.query(
                instance_id,
                LogItem.sk.between(log_key(generation, after + 1), f"log#{generation:06d}#99999999"),
                consistent_read=True,
                limit=limit,
                page_size=limit,
            )
            return list(found)

    def query_overdue(self, shard: str, now: int, limit: int) -> list[tuple[str, int]]:
        """Query one shard of the alarms up to ``now`` (``wake_shard``, ``wake_at <= now``): ids and times (ms)."""
        with _errors():
            found = self.head.wake.query(shard, HeadItem.wake_at <= now, limit=limit, page_size=limit)
            return [(item.pk, int(item.wake_at)) for item in found]

    def query_listing(  # noqa: PLR0913 - a listing's filters
        self, key: str, *, since: str, before: str | None, tag: str | None, limit: int
    ) -> tuple[list[Any], bool]:
        """Query one partition of the listing, newest first (``list_key``, ``since <= list_at < before``).

        Returns:
            At most ``limit`` items, and whether the partition may hold more. With a tag, one page is read and filtered.
        """
        keys = HeadItem.list_at >= since if before is None else HeadItem.list_at.between(since, before)
        condition = HeadItem.tags.contains(tag) if tag is not None else None
        page = limit + 1 if tag is None else max(limit * 10, 200)
        with _errors():
            found = self.head.listing.query(
                key, keys, condition, scan_index_forward=False, limit=limit + 1, page_size=page
            )
            items = [item for item in found if item.list_at != before]
        return items[:limit], len(items) > limit

    def _transact(self, token: str, add: Any) -> bool:
        """Commit what ``add`` puts into a transaction; whether its conditions held."""
        for attempt in range(CONFLICT_TRIES):
            try:
                with TransactWrite(connection=self.connection, client_request_token=token) as transaction:
                    add(transaction)
            except TransactWriteError as error:
                codes = {reason.code for reason in error.cancellation_reasons if reason is not None}
                if "ConditionalCheckFailed" in codes:
                    return False
                if not codes & {"TransactionConflict"} and error.cause_response_code != "TransactionInProgressException":
                    raise
                time.sleep(CONFLICT_PAUSE * (attempt + 1))
            else:
                return True
        message = "DynamoDB: other transactions held the instance for too long; nothing is lost, try again"
        raise StoreUnavailable(message)


def _conditional(write: Any) -> bool:
    """Do a conditional write; whether its condition held."""
    for attempt in range(CONFLICT_TRIES):
        try:
            write()
        except PynamoDBException as error:
            if error.cause_response_code == "ConditionalCheckFailedException":
                return False
            if error.cause_response_code != "TransactionConflictException":
                raise
            time.sleep(CONFLICT_PAUSE * (attempt + 1))
        else:
            return True
    message = "DynamoDB: other transactions held the instance for too long; nothing is lost, try again"
    raise StoreUnavailable(message)


@contextmanager
def _errors() -> Iterator[None]:
    """Turn PynamoDB's errors into the library's."""
    try:
        yield
    except PynamoDBException as error:
        text = error.cause_response_message or str(error)
        if any(mark in text for mark in TOO_LARGE):
            message = "the item would be larger than the 400 KB that DynamoDB takes: keep large data in S3 and pass its key"
            raise PayloadTooLarge(message) from error
        raise translate("DynamoDB", error.cause_response_code, error.cause) from error
