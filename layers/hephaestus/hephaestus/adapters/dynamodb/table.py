"""Every access pattern of the table, one named function each.

Writes are always conditional. AWS's errors become the library's own here, so nothing above knows PynamoDB.
"""

from __future__ import annotations

from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pynamodb.exceptions import DoesNotExist
from pynamodb.transactions import TransactWrite

from hephaestus.adapters.dynamodb.answers import LEFT_OUT, conditional, translated, when_free
from hephaestus.adapters.dynamodb.connection import SharedConnection, share
from hephaestus.adapters.dynamodb.models import HEAD, LISTED, SCHEMA, HeadItem, LogItem, bind, log_key
from hephaestus.adapters.session import CONNECT_TIMEOUT, MAX_ATTEMPTS, POOL, READ_TIMEOUT
from hephaestus.engine.state import CLOSED
from hephaestus.errors import CorruptLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from botocore.session import Session
    from pynamodb.expressions.update import Action

LAST_SEQUENCE: Final = 99_999_999
MAX_OPERANDS: Final = 100  # of IN; DynamoDB Developer Guide, condition expressions
FILTER_PAGE: Final = 1_000  # entries of a partition that one query looks through for what is filtered

Item = TypeVar("Item", HeadItem, LogItem)


class Table:
    """One DynamoDB table.

    Args:
        name: the table's name.
        region: where; by default as the environment says.
        host: another endpoint than AWS's own.
        connect_timeout, read_timeout: in seconds.
        max_attempts: of a request that is throttled or not answered, the first one included.
        session: whose credentials and settings; by default the process's.
    """

    def __init__(  # noqa: PLR0913 - a connection's settings
        self,
        name: str,
        region: str | None = None,
        host: str | None = None,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        max_attempts: int = MAX_ATTEMPTS,
        session: Session | None = None,
    ) -> None:
        self.name = name
        self.head: type[HeadItem] = bind(HeadItem, name)
        self.log: type[LogItem] = bind(LogItem, name)
        self.connection = SharedConnection(
            region=region,
            host=host,
            connect_timeout_seconds=connect_timeout,
            read_timeout_seconds=read_timeout,
            retry_configuration={"total_max_attempts": max_attempts, "mode": "standard"},
            max_pool_connections=POOL,
        )
        self.connection.own_session = session
        share(self.connection, (self.head, self.log))

    @property
    def client(self) -> Any:
        """The botocore client, made on first use; asked for while a function is loaded, the first request is faster."""
        return self.connection.client

    def create(self) -> None:
        """Make the table with its indexes; for tests and benchmarks, ``template.yaml`` makes the real one."""
        with translated():
            self.head.create_table(wait=True)

    def put_new_head(self, head: HeadItem) -> bool:
        """Put a head where no instance has the id (``pk``, ``sk = head``); whether it was written."""
        with translated():
            return conditional(lambda: head.save(condition=HeadItem.pk.does_not_exist()))

    def replace_closed_head(self, head: HeadItem, closed: HeadItem, first: LogItem, token: str) -> bool:
        """Put the head of the next generation where ``closed`` still is, and the old first entry into its log.

        (``pk``, ``sk = head`` and ``sk = log#g#1``.) Whether it was done.
        """
        unchanged = (
            (HeadItem.generation == closed.generation)
            & (HeadItem.created_at == closed.created_at)
            & (HeadItem.sequence == closed.sequence)
            & (HeadItem.status == closed.status)
        )

        def add(writes: TransactWrite) -> None:
            writes.save(head, condition=unchanged)
            writes.save(first)

        with translated():
            return self._transact(token, add)

    def get_head(self, instance_id: str) -> HeadItem | None:
        """Get a head (``pk``, ``sk = head``), consistently."""
        with translated(), _readable(instance_id):
            try:
                return _whole(self.head.get(instance_id, HEAD, consistent_read=True))
            except DoesNotExist:
                return None

    def get_entry(self, instance_id: str, generation: int, sequence: int) -> LogItem | None:
        """Get one log entry (``pk``, ``sk = log#g#n``), consistently."""
        with translated(), _readable(instance_id):
            try:
                return _whole(self.log.get(instance_id, log_key(generation, sequence), consistent_read=True))
            except DoesNotExist:
                return None

    def put_entry(self, entry: LogItem) -> bool:
        """Put a log entry whose number is free (``pk``, ``sk = log#g#n``); whether it was written."""
        with translated():
            return conditional(lambda: entry.save(condition=_free(entry)))

    def put_entry_and_update_head(self, entry: LogItem, generation: int, actions: Iterable[Action], token: str) -> bool:
        """Put a log entry whose number is free and update its generation's head, both or neither; whether it was done.

        (``pk``, ``sk = log#g#n`` and ``sk = head``.)
        """
        head = self.head(entry.pk, HEAD)
        current = (HeadItem.generation == generation) & (HeadItem.created_at == entry.created_at)
        changes = list(actions)

        def add(writes: TransactWrite) -> None:
            writes.save(entry, condition=_free(entry))
            writes.update(head, actions=changes, condition=current)

        with translated():
            return self._transact(token, add)

    def query_log(
        self, instance_id: str, generation: int, created_at: int, after: int, limit: int | None = None
    ) -> list[LogItem]:
        """Query log entries after number ``after`` (``pk``, ``log#g#after < sk``), consistently, in order.

        What an expired instance of the same id left behind is not among them (``created_at``).
        """
        if after >= LAST_SEQUENCE:
            return []
        with translated(), _readable(instance_id):
            found = self.log.query(
                instance_id,
                LogItem.sk.between(log_key(generation, after + 1), log_key(generation, LAST_SEQUENCE)),
                LogItem.created_at == created_at,
                consistent_read=True,
                limit=limit,
                page_size=limit,
            )
            return [_whole(item) for item in found]

    def put_off_alarm(self, instance_id: str, shard: str, note: str, now: int, until: int) -> bool:
        """Set a head's alarm, and nothing else, where it is due or lost (``pk``, ``sk = head``); whether it was done.

        Whatever else the head holds is neither read nor needed: it may be damaged.
        """
        due = HeadItem.wake_at <= now
        # An alarm is lost where there must be one: an instance without any has ended, or waits for an event alone.
        lost = HeadItem.wake_at.does_not_exist() & ~HeadItem.status.is_in(*CLOSED, "waiting")
        changes = [HeadItem.wake_shard.set(shard), HeadItem.wake_at.set(until), HeadItem.quarantine.set(note)]
        condition = HeadItem.pk.exists() & (due | lost)
        with translated():
            # Not by the model: it would read the item that it gets back.
            return conditional(
                lambda: self.connection.update_item(
                    self.name, instance_id, range_key=HEAD, actions=changes, condition=condition
                )
            )

    def query_overdue(
        self, shard: str, now: int, limit: int, after: tuple[str, str] | None = None
    ) -> tuple[list[tuple[int, str]], tuple[str, str] | None]:
        """Query one shard of the alarms up to ``now`` (``wake_shard``, ``wake_at <= now``), the earliest first.

        Args:
            shard: the partition.
            now: in ms.
            limit: at most so many.
            after: where the page before ended.

        Returns:
            Times (ms) and ids, and where this page ended, if there may be more: a time as DynamoDB has it, and an id.
        """
        start = None
        if after is not None:
            wake_at, instance_id = after
            start = {
                "pk": {"S": instance_id},
                "sk": {"S": HEAD},
                "wake_shard": {"S": shard},
                "wake_at": {"N": wake_at},
            }
        with translated():
            found = self.head.wake.query(
                shard, HeadItem.wake_at <= now, limit=limit, page_size=limit, last_evaluated_key=start
            )
            alarms = [(int(item.wake_at), item.pk) for item in found]
            last = found.last_evaluated_key
            return alarms, None if last is None else (last["wake_at"]["N"], last["pk"]["S"])

    def query_listing(  # noqa: PLR0913 - a query's filters
        self, key: str, *, since: str, before: str, tag: str | None, version: int | None, limit: int
    ) -> tuple[list[HeadItem], str | None]:
        """Query one partition of the listing, newest first (``list_key``, ``since <= list_at < before``), once.

        Returns:
            What was found, and, if the partition may hold more, the ``list_at`` down to which it was read. With a
            tag or a version, ``FILTER_PAGE`` entries are looked through.
        """
        passing = None if tag is None else HeadItem.tags.contains(tag)
        if version is not None:
            passing &= HeadItem.version == version
        with translated():
            found = self.head.listing.query(
                key,
                HeadItem.list_at.between(since, before),
                passing,
                scan_index_forward=False,
                page_size=limit + 2 if passing is None else FILTER_PAGE,
            )
            raw = next(found.page_iter)["Items"]
            last = found.page_iter.last_evaluated_key
        items = [self.head.from_raw_data(item) for item in raw]
        return [item for item in items if item.list_at < before], last["list_at"]["S"] if last else None

    def query_recent(  # noqa: PLR0913 - a query's filters
        self,
        key: str,
        *,
        since: str,
        before: str,
        workflows: Sequence[str] | None,
        tag: str | None,
        limit: int,
        but: Sequence[str] = (),
        pages: int = 1,
    ) -> tuple[list[HeadItem], str | None]:
        """Query one partition of all instances, newest first (``recent_key``, ``since <= list_at < before``).

        Args:
            key: the partition.
            since, before: of ``list_at``.
            workflows: of these only, where there are at most ``MAX_OPERANDS``.
            tag: with this tag only.
            limit: how many entries a query looks through.
            but: of other workflows than these, where there are at most ``MAX_OPERANDS``.
            pages: how many queries, one after the other.

        Returns:
            What was found among them, with nothing but ``pk``, ``list_at`` and ``workflow`` to rely on, and, if the
            partition may hold more, the ``list_at`` down to which it was read.
        """
        passing = None if tag is None else HeadItem.tags.contains(tag)
        if workflows is not None and len(workflows) <= MAX_OPERANDS:
            passing &= HeadItem.workflow.is_in(*workflows)
        if 0 < len(but) <= MAX_OPERANDS:
            passing &= ~HeadItem.workflow.is_in(*but)
        with translated():
            found = self.head.recent.query(
                key, HeadItem.list_at.between(since, before), passing, scan_index_forward=False, page_size=limit
            )
            raw = [item for answer in islice(found.page_iter, pages) for item in answer["Items"]]
            last = found.page_iter.last_evaluated_key
        items = [
            self.head(item["pk"]["S"], HEAD, list_at=item["list_at"]["S"], workflow=item["workflow"]["S"])
            for item in raw
        ]
        return [item for item in items if item.list_at < before], last["list_at"]["S"] if last else None

    def get_heads(self, instance_ids: Sequence[str]) -> list[HeadItem]:
        """Get what a listing shows of at most 100 heads (``pk``, ``sk = head``), in any order; some may be gone.

        Raises:
            StoreUnavailable: the table left some out again and again.
        """
        names = ["pk", "sk", "list_at", *LISTED]
        left: list[Any] = [{"pk": {"S": instance_id}, "sk": {"S": HEAD}} for instance_id in instance_ids]
        found: list[Any] = []

        def attempt() -> bool | None:
            with translated():
                answer = self.connection.batch_get_item(self.name, left, attributes_to_get=names)
            found.extend(answer["Responses"].get(self.name, ()))
            left[:] = answer["UnprocessedKeys"].get(self.name, {}).get("Keys", ())
            return None if left else True

        # A request reads at most 16 MB: whatever made its way is taken, and the rest asked for again.
        when_free(attempt, LEFT_OUT)
        return [item for item in map(self._shown, found) if item is not None]

    def _shown(self, raw: Any) -> HeadItem | None:
        """A head for a listing, which one that is damaged does not stop."""
        try:
            item: HeadItem = self.head.from_raw_data(raw)
        except (TypeError, ValueError, KeyError):
            return None
        return item

    def count_listing(self, key: str, most: int) -> int:
        """Count one partition of the listing (``list_key``) up to ``most``; nothing but the number is sent."""
        with translated():
            answer = self.connection.query(self.name, key, index_name="listing", limit=most, select="COUNT")
            return int(answer["Count"])

    def _transact(self, token: str, add: Callable[[TransactWrite], None]) -> bool:
        """Commit what ``add`` puts into a transaction; whether its conditions held.

        The token makes a transaction whose answer was lost succeed again when botocore repeats it.
        """

        def commit() -> None:
            with TransactWrite(connection=self.connection, client_request_token=token) as writes:
                add(writes)

        return conditional(commit)


def _free(entry: LogItem) -> Any:
    """The number is not taken in this life of the id; what an expired instance left there is written over."""
    return LogItem.pk.does_not_exist() | (LogItem.created_at < entry.created_at)


def _whole(item: Item) -> Item:
    """``item``, which must have all that an item of its kind has.

    Raises:
        CorruptLog: something is missing, or a newer release wrote it.
    """
    missing = [
        name
        for name, attribute in item.get_attributes().items()
        if not attribute.null and name not in item.attribute_values
    ]
    if missing:
        message = f"instance {item.pk}: the item {item.sk} lacks {', '.join(missing)}"
        raise CorruptLog(message)
    if item.schema > SCHEMA:
        message = f"instance {item.pk}: the item {item.sk} was written by a newer release: deploy that release again"
        raise CorruptLog(message)
    return item


@contextmanager
def _readable(instance_id: str) -> Iterator[None]:
    """Refuse items that hold other types than they should."""
    try:
        yield
    except (TypeError, ValueError, KeyError) as error:
        message = f"instance {instance_id}: a stored item cannot be read ({type(error).__name__})"
        raise CorruptLog(message) from error
