"""Memory's part of DynamoDB's expressions means what it means on Amazon's DynamoDB Local."""

from __future__ import annotations

from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest
from boto3.dynamodb.types import Binary
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hephaestus.writes.attributes import NotAnAttribute, frozen, wire_item
from hephaestus.writes.expressions import BadExpression, holds, updated

if TYPE_CHECKING:
    from tests.contract.conftest import Dynamo

TABLE: Final = "expressions"
KEY: Final = {"pk": {"S": "x"}}
NAMES: Final = ("a", "b", "c")
NUMBERS: Final = (1, 2, Decimal("1.5"), -3)
VALUES: Final = (*NUMBERS, "a", "ab", "", b"a", b"ab", True, False, None, [1], {"x": 1}, {"a", "b"}, {1, 2}, {b"z"})
REFUSED: Final = "refused"


class Case:
    """An item, an expression and its values, made at random from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.values: dict[str, Any] = {}
        present = [name for name in NAMES if self.random.random() < 0.7]
        there = self.random.random() < 0.85
        self.item = {"pk": "x", **{name: self.any() for name in present}} if there else {}

    def any(self) -> Any:
        """A value; numbers more often than others, as there is most to do with them."""
        return self.random.choice(NUMBERS if self.random.random() < 0.4 else VALUES)

    def value(self) -> str:
        """A new placeholder."""
        name = f":v{len(self.values)}"
        self.values[name] = self.any()
        return name

    def name(self) -> str:
        """An attribute."""
        return self.random.choice(NAMES)

    def operand(self) -> str:
        """An attribute or a value."""
        return self.name() if self.random.random() < 0.5 else self.value()

    def condition(self, depth: int = 0) -> str:
        """A condition of at most four levels."""
        match self.random.randrange(8 if depth < 3 else 5):
            case 0:
                return f"attribute_exists({self.name()})"
            case 1:
                return f"attribute_not_exists({self.name()})"
            case 2:
                return f"begins_with({self.name()}, {self.operand()})"
            case 3 | 4:
                return f"{self.name()} {self.random.choice(['=', '<>', '<', '<=', '>', '>='])} {self.operand()}"
            case 5:
                return f"NOT {self.condition(depth + 1)}"
            case _:
                operator = self.random.choice(["AND", "OR", "and", "or"])
                both = f"{self.condition(depth + 1)} {operator} {self.condition(depth + 1)}"
                return f"({both})" if self.random.random() < 0.6 else both

    def summand(self) -> str:
        """What ``SET`` takes."""
        operand = self.operand()
        return operand if self.random.random() < 0.7 else f"if_not_exists({self.name()}, {operand})"

    def update(self) -> str:
        """An update of one to three sections."""
        parts = []
        for section in self.random.sample(("SET", "REMOVE", "ADD"), self.random.randint(1, 3)):
            change = f"{section} {self.name()}"
            if section == "SET":
                change += f" = {self.summand()}"
                if self.random.random() < 0.6:
                    change += f" {self.random.choice('+-')} {self.summand()}"
            parts.append(change + (f" {self.value()}" if section == "ADD" else ""))
        return " ".join(parts)


@pytest.fixture
def client(local: Dynamo) -> Any:
    """A client, and an empty table with the key ``pk``."""
    client = local.table.client
    if TABLE in client.list_tables()["TableNames"]:
        client.delete_table(TableName=TABLE)
    client.create_table(
        TableName=TABLE,
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return client


def there(client: Any, case: Case) -> dict[str, Any]:
    """Put the case's item where DynamoDB has it; the item as memory has it."""
    item: dict[str, Any] = frozen(case.item, "item", -1)
    if item:
        client.put_item(TableName=TABLE, Item=wire_item(item))
    else:
        client.delete_item(TableName=TABLE, Key=KEY)
    return item


def given_values(values: dict[str, Any]) -> dict[str, Any]:
    """How a request gives values, if it has any."""
    return {"ExpressionAttributeValues": wire_item(values)} if values else {}


seeds = given(seed=st.integers(0, 2**32))
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


@shared
@seeds
def test_any_condition_holds_as_in_dynamodb(client: Any, seed: int) -> None:
    case = Case(seed)
    text = case.condition()
    item, values = there(client, case), frozen(case.values, "values", -1)
    check = {"TableName": TABLE, "Key": KEY, "ConditionExpression": text, **given_values(values)}
    theirs: bool | str = True
    try:
        client.transact_write_items(TransactItems=[{"ConditionCheck": check}])
    except ClientError as error:
        theirs = REFUSED if error.response["Error"]["Code"] == "ValidationException" else False
    try:
        ours: bool | str = holds(text, {}, values, item)
    except BadExpression:
        ours = REFUSED
    assert ours == theirs, (text, case.values, case.item)


@shared
@seeds
def test_any_update_does_what_it_does_in_dynamodb(client: Any, seed: int) -> None:
    case = Case(seed)
    text = case.update()
    item, values = there(client, case), frozen(case.values, "values", -1)
    try:
        client.update_item(TableName=TABLE, Key=KEY, UpdateExpression=text, **given_values(values))
        theirs = client.get_item(TableName=TABLE, Key=KEY, ConsistentRead=True)["Item"]
    except ClientError:
        theirs = REFUSED
    try:
        ours: Any = _comparable(wire_item(updated(text, {}, values, item or {"pk": "x"}, ("pk",))))
    except BadExpression:
        ours = REFUSED
    assert ours == (theirs if theirs == REFUSED else _comparable(theirs)), (text, case.values, case.item)


def _comparable(item: dict[str, Any]) -> dict[str, Any]:
    """An item as the API has it, its sets without an order and its numbers as numbers."""
    return {name: _value(*next(iter(value.items()))) for name, value in item.items()}


def _value(kind: str, content: Any) -> Any:
    if kind == "L":
        return kind, [_value(*next(iter(part.items()))) for part in content]
    if kind == "M":
        return kind, _comparable(content)
    if kind == "NS":
        return kind, {Decimal(part) for part in content}
    if kind in ("SS", "BS"):
        return kind, set(content)
    return kind, Decimal(content) if kind == "N" else content


def test_boto3s_wrapper_of_bytes_is_bytes() -> None:
    """What boto3's resources have read can be written again."""
    assert frozen({"data": Binary(b"x"), "set": {Binary(b"y")}}, "item") == {
        "data": b"x",
        "set": frozenset({b"y"}),
    }


def _nested(depth: int, last: Any) -> Any:
    for _ in range(depth):
        last = [last]
    return last


@pytest.mark.parametrize("depth", [30, 31, 32, 33])
@pytest.mark.parametrize("last", ["x", [], {"a"}], ids=["text", "list", "set"])
def test_documents_are_as_deep_as_dynamodb_takes_them(client: Any, depth: int, last: Any) -> None:
    """In an item and in a value; what is too deep is refused here before it is there."""
    value = _nested(depth, last)
    raw: Any = {"SS": ["a"]} if last == {"a"} else wire_item({"v": frozen(last, "last")})["v"]
    for _ in range(depth):
        raw = {"L": [raw]}
    set_it = {"UpdateExpression": "SET v = :v", "ExpressionAttributeValues": {":v": raw}}
    theirs = []
    for operation, request in (("put_item", {"Item": {**KEY, "v": raw}}), ("update_item", {"Key": KEY, **set_it})):
        try:
            getattr(client, operation)(TableName=TABLE, **request)
            theirs.append(True)
        except ClientError:
            theirs.append(False)
    try:
        ours = wire_item(frozen({"v": value}, "item", -1)) == {"v": raw}
    except NotAnAttribute:
        ours = False
    assert theirs == [ours, ours]
