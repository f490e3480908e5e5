"""What AWS does to a request of the table on DynamoDB: answers lost after the write, conflicts, throttling, damage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from hephaestus.errors import CorruptLog, EngineError, PayloadTooLarge, StoreUnavailable
from hephaestus.store.table import ABSENT, ALWAYS, PRESENT, Condition
from hephaestus.writes import Update
from hephaestus.writes.rules import check_writes
from tests.contract.answers import answering, cancelled, error, failing, losing
from tests.contract.tables import ON_DYNAMODB, OnDynamo, make_dynamo_table
from tests.contract.test_table import token

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.awsrequest import AWSResponse

    from hephaestus.adapters.dynamodb.table import DynamoTable
    from hephaestus.store.table import Value

COUNT = check_writes([Update("books", {"pk": "n"}, "ADD seen :one", values={":one": 1})], None)
ITEM: dict[str, Value] = {"pk": "a", "sk": "x", "n": 1, "due_key": "d", "due_at": 1, "named_key": "n", "named_at": "1"}


@pytest.fixture(params=ON_DYNAMODB)
def dynamo(request: pytest.FixtureRequest) -> OnDynamo:
    """A table on each of the engines."""
    return make_dynamo_table(request, request.param)


on_one_engine = pytest.mark.parametrize("dynamo", ["moto"], indirect=True)  # which engine is behind does not matter


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    monkeypatch.setattr("hephaestus.adapters.dynamodb.answers.CONFLICT_PAUSE", 0)


def test_a_put_whose_answer_is_lost_finds_its_own_item(dynamo: OnDynamo) -> None:
    """The client repeats it, and it answers that the condition does not hold: the caller recognises its own item."""
    with losing(dynamo, "PutItem"):
        assert not dynamo.table.put(ITEM, ABSENT)
    assert dynamo.table.get("a", "x") == ITEM


def test_a_put_that_is_never_answered_is_unavailable_and_may_have_happened(dynamo: OnDynamo) -> None:
    with losing(dynamo, "PutItem", 100), pytest.raises(StoreUnavailable):
        dynamo.table.put(ITEM, ALWAYS)
    assert dynamo.table.get("a", "x") == ITEM


def test_an_update_whose_answer_is_lost_happens_once(dynamo: OnDynamo) -> None:
    """A condition that its own effect makes false answers false; one that stays true, true."""
    dynamo.table.put(ITEM, ALWAYS)
    with losing(dynamo, "UpdateItem"):
        assert not dynamo.table.update("a", "x", {"n": 2}, Condition(below={"n": 2}))
    with losing(dynamo, "UpdateItem"):
        assert dynamo.table.update("a", "x", {"due_at": None}, PRESENT)
    assert dynamo.table.get("a", "x") == {name: value for name, value in ITEM.items() if name != "due_at"} | {"n": 2}


def test_a_delete_whose_answer_is_lost_is_done(dynamo: OnDynamo) -> None:
    dynamo.table.put(ITEM, ALWAYS)
    with losing(dynamo, "DeleteItem"):
        assert dynamo.table.delete("a", "x", ALWAYS)
    assert dynamo.table.get("a", "x") is None


@pytest.mark.parametrize("dynamo", ["dynamodb-local"], indirect=True)
def test_invariant_7_a_transaction_whose_answer_is_lost_happens_once(dynamo: OnDynamo) -> None:
    """Its token makes the repetition succeed (moto ignores it)."""
    with losing(dynamo, "TransactWriteItems"):
        assert dynamo.table.transact(ITEM, ABSENT, COUNT, token())
    assert dynamo.client.get_item(TableName="books", Key={"pk": {"S": "n"}})["Item"]["seen"] == {"N": "1"}


WRITES: dict[str, Callable[[DynamoTable], bool]] = {
    "put": lambda table: table.put(ITEM, ALWAYS),
    "update": lambda table: table.update("a", "x", {"n": 2}, PRESENT),
    "add": lambda table: table.add("a", "x", "n", 1, {"due_at": None}, PRESENT)[0],
    "delete": lambda table: table.delete("a", "x", PRESENT),
    "transact": lambda table: table.transact(ITEM, ALWAYS, COUNT, token()),
}
READS: dict[str, Callable[[DynamoTable], object]] = {
    "get": lambda table: table.get("a", "x"),
    "get_many": lambda table: table.get_many([("a", "x")], ["n"]),
    "query": lambda table: table.query("a", low="a", high="z"),
    "query_index": lambda table: table.query_index("due", "d", low=0, high=9, limit=9),
    "count_index": lambda table: table.count_index("due", "d", 9),
}
CALLS: dict[str, Callable[[DynamoTable], object]] = {**WRITES, **READS}


@pytest.mark.parametrize("call", WRITES)
def test_a_conflict_with_another_transaction_is_repeated(dynamo: OnDynamo, call: str) -> None:
    """A second try says all that the first one said."""
    dynamo.table.put(ITEM, ALWAYS)
    conflict = cancelled("TransactionConflict", "None") if call == "transact" else None
    with failing(dynamo, conflict or error(400, "TransactionConflictException"), 2):
        assert WRITES[call](dynamo.table)


@on_one_engine
@pytest.mark.parametrize("call", WRITES)
def test_conflicts_without_end_are_unavailable(dynamo: OnDynamo, call: str) -> None:
    dynamo.table.put(ITEM, ALWAYS)
    conflict = cancelled("TransactionConflict", "None") if call == "transact" else None
    with (
        failing(dynamo, conflict or error(400, "TransactionConflictException")),
        pytest.raises(StoreUnavailable, match="try again"),
    ):
        WRITES[call](dynamo.table)
    assert dynamo.table.get("a", "x") == ITEM


@on_one_engine
@pytest.mark.parametrize("reason", ["ThrottlingError", "ProvisionedThroughputExceeded"])
def test_a_throttled_transaction_is_unavailable(dynamo: OnDynamo, reason: str) -> None:
    """A transaction says so in its reasons, not in its code."""
    with failing(dynamo, cancelled(reason, "None")), pytest.raises(StoreUnavailable, match="try again"):
        WRITES["transact"](dynamo.table)


PASSING = [
    (400, "ProvisionedThroughputExceededException"),
    (400, "ThrottlingException"),
    (400, "RequestLimitExceeded"),
    (500, "InternalServerError"),
    (503, "ServiceUnavailable"),
    (504, "Unheard"),
]


@on_one_engine
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("status", "code"), PASSING, ids=[code for _, code in PASSING])
def test_a_passing_condition_is_unavailable(dynamo: OnDynamo, call: str, status: int, code: str) -> None:
    """For longer than the client's own tries, which come to an end."""
    dynamo.table.put(ITEM, ALWAYS)
    asked: list[str] = []

    def answer(name: str, _send: object) -> AWSResponse:
        asked.append(name)
        return error(status, code)

    with answering(dynamo, answer), pytest.raises(StoreUnavailable, match="try again"):
        CALLS[call](dynamo.table)
    assert len(asked) <= 4
    assert dynamo.table.get("a", "x") == ITEM


@on_one_engine
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", [ConnectTimeoutError, ReadTimeoutError, EndpointConnectionError])
def test_no_answer_is_unavailable(dynamo: OnDynamo, call: str, kind: Any) -> None:
    """No connection, or no answer in time."""

    def answer(_name: str, _send: object) -> AWSResponse | None:
        raise kind(endpoint_url="http://test", error="by the test")

    with answering(dynamo, answer), pytest.raises(StoreUnavailable, match="try again"):
        CALLS[call](dynamo.table)


@on_one_engine
@pytest.mark.parametrize("call", CALLS)
def test_one_throttled_request_is_repeated(dynamo: OnDynamo, call: str) -> None:
    dynamo.table.put(ITEM, ALWAYS)
    with failing(dynamo, error(400, "ThrottlingException"), 1):
        CALLS[call](dynamo.table)


@on_one_engine
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "code", ["AccessDeniedException", "ResourceNotFoundException", "ValidationException", "UnrecognizedClientException"]
)
def test_a_rejection_is_the_engines_error_and_keeps_names_inside(dynamo: OnDynamo, call: str, code: str) -> None:
    """Neither the table's name nor AWS's words are in the message."""
    with failing(dynamo, error(400, code)), pytest.raises(EngineError, match=code) as caught:
        CALLS[call](dynamo.table)
    assert not isinstance(caught.value, StoreUnavailable | CorruptLog | PayloadTooLarge)
    assert dynamo.table.name not in str(caught.value)
    assert "says the test" not in str(caught.value)


@on_one_engine
def test_what_a_batch_leaves_out_is_asked_for_again(dynamo: OnDynamo) -> None:
    """Until nothing is left; where something always is, the table is unavailable."""
    dynamo.table.put(ITEM, ALWAYS)
    left = {"UnprocessedKeys": {dynamo.table.name: {"Keys": [{"pk": {"S": "a"}, "sk": {"S": "x"}}]}}, "Responses": {}}

    with failing(dynamo, error(200, "", **left), 2):
        assert dynamo.table.get_many([("a", "x")], ["n"]) == [{"pk": "a", "sk": "x", "n": 1}]
    with failing(dynamo, error(200, "", **left)), pytest.raises(StoreUnavailable, match="again and again"):
        dynamo.table.get_many([("a", "x")], ["n"])


@pytest.mark.parametrize("damage", [{"BOOL": True}, {"N": "1.5"}, {"M": {}}, {"L": [{"N": "1"}]}, {"NULL": True}])
def test_a_damaged_item_is_never_misread(dynamo: OnDynamo, damage: dict[str, Any]) -> None:
    """An attribute that the port does not store: reads that decide raise, listings leave the attribute out."""
    raw = {name: {"N": str(value)} if isinstance(value, int) else {"S": value} for name, value in ITEM.items()}
    dynamo.client.put_item(TableName=dynamo.table.name, Item={**raw, "version": damage})
    with pytest.raises(CorruptLog, match="instance a: the stored item x cannot be read"):
        dynamo.table.get("a", "x")
    with pytest.raises(CorruptLog, match="instance a"):
        dynamo.table.query("a", low="a", high="z")
    assert dynamo.table.get_many([("a", "x")], ["n", "version"]) == [{"pk": "a", "sk": "x", "n": 1}]
    shown = dynamo.table.query_index("named", "n", low="0", high="9", limit=9).items
    assert shown == ({"pk": "a", "sk": "x", "named_key": "n", "named_at": "1"},)
