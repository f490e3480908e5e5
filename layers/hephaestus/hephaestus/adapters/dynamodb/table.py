"""The port ``Table`` on DynamoDB, through PynamoDB's connection. AWS's errors become the library's own here."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from pynamodb.connection.base import MetaTable
from pynamodb.expressions.operand import Path

from hephaestus.adapters.dynamodb.adding import add_to
from hephaestus.adapters.dynamodb.answers import LEFT_OUT, conditional, translated, when_free
from hephaestus.adapters.dynamodb.connection import SharedConnection
from hephaestus.adapters.dynamodb.user_writes import put_with_writes
from hephaestus.adapters.dynamodb.wire import (
    condition_expression,
    condition_of_request,
    filter_expression,
    item_to_wire,
    read_item,
    read_sound,
    to_wire,
    update_actions,
)
from hephaestus.adapters.session import CONNECT_TIMEOUT, MAX_ATTEMPTS, POOL, READ_TIMEOUT
from hephaestus.store.table import EXPIRES, MAX_ITEM_BYTES, Page, Position, check_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from botocore.session import Session

    from hephaestus.store.table import Change, Condition, Filter, Index, Item, Key, Value
    from hephaestus.writes import Write

PAY_PER_REQUEST: Final = "PAY_PER_REQUEST"


class DynamoTable:
    """A ``Table`` on DynamoDB; safe to use from many threads.

    Args:
        name: the table's name.
        indexes: its indexes.
        region: where; by default as the environment says.
        host: another endpoint than AWS's own.
        connect_timeout, read_timeout: in seconds.
        max_attempts: of a request that is throttled or not answered, the first one included.
        session: whose credentials and settings; by default the process's.
    """

    distant = True
    max_item_bytes = MAX_ITEM_BYTES

    def __init__(  # noqa: PLR0913 - a connection's settings
        self,
        name: str,
        indexes: Iterable[Index],
        region: str | None = None,
        host: str | None = None,
        *,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
        max_attempts: int = MAX_ATTEMPTS,
        session: Session | None = None,
    ) -> None:
        self.name = name
        self.indexes = {index.name: index for index in indexes}
        self.connection = SharedConnection(
            region=region,
            host=host,
            connect_timeout_seconds=connect_timeout,
            read_timeout_seconds=read_timeout,
            retry_configuration={"total_max_attempts": max_attempts, "mode": "standard"},
            max_pool_connections=POOL,
        )
        self.connection.own_session = session
        self.connection.add_meta_table(MetaTable(_description(name, self.indexes.values())))

    @property
    def client(self) -> Any:
        """The botocore client, made on first use; asked for while a function is loaded, the first request is faster."""
        return self.connection.client

    def create(self) -> None:
        """Make the table with its indexes; for tests and benchmarks, ``template.yaml`` makes the real one."""
        described = _description(self.name, self.indexes.values())
        with suppress(self.client.exceptions.ResourceInUseException):  # a repeated request finds its own table
            self.client.create_table(BillingMode=PAY_PER_REQUEST, **described)
        self.client.get_waiter("table_exists").wait(TableName=self.name, WaiterConfig={"Delay": 1})
        self.connection.update_time_to_live(self.name, EXPIRES)

    def get(self, pk: str, sk: str) -> Item | None:
        """An item; see ``Table``."""
        with translated():
            answer = self.connection.get_item(self.name, pk, sk, consistent_read=True)
        raw = answer.get("Item")
        return None if raw is None else read_item(raw)

    def get_many(self, keys: Sequence[Key], attributes: Sequence[str]) -> list[Item]:
        """Attributes of many items; see ``Table``.

        Raises:
            StoreUnavailable: the table left some out again and again.
        """
        names = list(dict.fromkeys(("pk", "sk", *attributes)))
        left: list[Any] = [{"pk": {"S": pk}, "sk": {"S": sk}} for pk, sk in keys]
        found: list[Item] = []

        def attempt() -> bool | None:
            with translated():
                answer = self.connection.batch_get_item(self.name, left, attributes_to_get=names)
            found.extend(map(read_sound, answer["Responses"].get(self.name, ())))
            left[:] = answer["UnprocessedKeys"].get(self.name, {}).get("Keys", ())
            return None if left else True

        if left:
            # A request reads at most 16 MB: whatever made its way is taken, and the rest asked for again.
            when_free(attempt, LEFT_OUT)
        return found

    def query(
        self, pk: str, *, low: str, high: str, limit: int | None = None, descending: bool = False
    ) -> Sequence[Item]:
        """Items of a partition; see ``Table``."""
        if low > high:
            return ()  # DynamoDB would reject it
        between = Path(["sk"]).between(to_wire(low), to_wire(high))
        asked = {"range_key_condition": between, "consistent_read": True, "scan_index_forward": not descending}
        found: list[Item] = []
        for answer in self._pages(pk, limit, asked):
            found.extend(map(read_item, answer["Items"]))
        return found

    def put(self, item: Item, condition: Condition) -> bool:
        """Write an item; see ``Table``."""
        check_size(item, self.max_item_bytes)
        pk, sk, raw, expression = item["pk"], item["sk"], item_to_wire(item), condition_expression(condition)
        with translated():
            return conditional(
                lambda: self.connection.put_item(self.name, str(pk), str(sk), attributes=raw, condition=expression)
            )

    def update(self, pk: str, sk: str, changes: Mapping[str, Value | None], condition: Condition) -> bool:
        """Change an item; see ``Table``."""
        expression = condition_expression(replace(condition, present=True))
        actions = update_actions(changes)
        with translated():
            return conditional(
                lambda: self.connection.update_item(self.name, pk, sk, actions=actions, condition=expression)
            )

    def add(  # noqa: PLR0913, PLR0917 - as the port has it
        self, pk: str, sk: str, name: str, by: int, changes: Mapping[str, Value | None], condition: Condition
    ) -> tuple[bool, Item | None]:
        """Add to a number; see ``Table``."""
        request = {"TableName": self.name, "Key": item_to_wire({"pk": pk, "sk": sk})}
        return add_to(self.client, request, {name: by}, changes, replace(condition, present=True))

    def delete(self, pk: str, sk: str, condition: Condition) -> bool:
        """Remove an item; see ``Table``."""
        expression = condition_expression(condition)
        with translated():
            return conditional(lambda: self.connection.delete_item(self.name, pk, sk, condition=expression))

    def change_all(self, changes: Sequence[Change]) -> bool:
        """Do several writes together; see ``Table``. One alone is a plain write, which costs half."""
        if len(changes) == 1:
            return self._change(changes[0])
        deletes: list[dict[str, Any]] = []
        updates: list[dict[str, Any]] = []
        for change in changes:
            asked: dict[str, Any] = {"condition": condition_expression(change.condition)}
            if change.changes is not None:
                asked["actions"] = update_actions(change.changes)
            into = deletes if change.changes is None else updates
            into.append(self.connection.get_operation_kwargs(self.name, change.pk, change.sk, **asked))
        with translated():
            return conditional(lambda: self.connection.transact_write_items((), deletes, (), updates))

    def _change(self, change: Change) -> bool:
        if change.changes is None:
            return self.delete(change.pk, change.sk, change.condition)
        expression, actions = condition_expression(change.condition), update_actions(change.changes)
        with translated():
            return conditional(
                lambda: self.connection.update_item(
                    self.name, change.pk, change.sk, actions=actions, condition=expression
                )
            )

    def transact(self, item: Item, condition: Condition, writes: Sequence[Write], token: str) -> bool:
        """Put an item with a step's writes; see ``Table``."""
        check_size(item, self.max_item_bytes)
        put = {"TableName": self.name, "Item": item_to_wire(item), **condition_of_request(condition)}
        return put_with_writes(self.client, put, writes, token)

    def query_index(  # noqa: PLR0913 - as the port has it
        self,
        index: str,
        partition: str,
        *,
        low: int | str,
        high: int | str,
        limit: int,
        after: Position | None = None,
        descending: bool = False,
        where: Filter | None = None,
    ) -> Page:
        """A page of an index, one request; see ``Table``."""
        kind = self.indexes[index]
        if low > high:  # type: ignore[operator]  # both are of the sort key's kind
            return Page((), None)
        with translated():
            answer = self.connection.query(
                self.name,
                partition,
                Path([kind.sort]).between(to_wire(low), to_wire(high)),
                None if where is None else filter_expression(where),
                index_name=index,
                exclusive_start_key=None if after is None else _start(kind, partition, after),
                limit=limit,
                scan_index_forward=not descending,
            )
        last = answer.get("LastEvaluatedKey")
        return Page(tuple(map(read_sound, answer["Items"])), None if last is None else kind.position(read_item(last)))

    def count_index(self, index: str, partition: str, most: int) -> int:
        """How many items there are; see ``Table``. Nothing but the number is sent."""
        answers = self._pages(partition, most, {"index_name": index, "select": "COUNT"})
        return sum(int(answer["Count"]) for answer in answers)

    def _pages(self, partition: str, limit: int | None, asked: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The answers to a query, one after the other, until they have ``limit`` items; each has at most 1 MB."""
        left, start = limit, None
        while left is None or left > 0:
            with translated():
                answer = self.connection.query(self.name, partition, exclusive_start_key=start, limit=left, **asked)
            yield answer
            start = answer.get("LastEvaluatedKey")
            if start is None:
                return
            if left is not None:
                left -= int(answer["Count"])


def _start(index: Index, partition: str, after: Position) -> dict[str, Any]:
    """Where a page of an index begins."""
    key: dict[str, Value] = {"pk": after.pk, "sk": after.sk, index.partition: partition, index.sort: after.sort}
    return item_to_wire(key)


def _description(name: str, indexes: Iterable[Index]) -> dict[str, Any]:
    """The table as DynamoDB describes it."""
    types = {"pk": "S", "sk": "S"}
    described = []
    for index in indexes:
        types |= {index.partition: "S", index.sort: "N" if index.numeric else "S"}
        projection: dict[str, Any] = {"ProjectionType": "KEYS_ONLY"}
        if index.projected:
            projection = {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(index.projected)}
        keys = _key_schema(index.partition, index.sort)
        described.append({"IndexName": index.name, "KeySchema": keys, "Projection": projection})
    return {
        "TableName": name,
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": kind} for name, kind in types.items()],
        "KeySchema": _key_schema("pk", "sk"),
        "GlobalSecondaryIndexes": described,
    }


def _key_schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]
