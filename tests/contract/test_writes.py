"""Invariant 7: writes on the user's own tables happen exactly once, with the step's result or not at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Check, Completed, ConditionFailed, Delete, Put, Retry, Update, Workflow, WriteRefused, step
from hephaestus.adapters.dynamodb.user_writes import CONDITION_FAILED
from hephaestus.adapters.memory import MemoryStore
from hephaestus.errors import EngineError, StoreUnavailable
from hephaestus.runtime.limits import Limits
from hephaestus.testing import LocalRuntime
from hephaestus.writes.attributes import frozen
from hephaestus.writes.expressions import BadExpression, NotInMemory, holds, updated
from hephaestus.writes.memory_tables import MemoryTables
from hephaestus.writes.rules import check_writes
from tests.contract.answers import answering, cancelled, error, failing, losing
from tests.contract.instances import commit, everything, started
from tests.contract.instances import step as done

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from botocore.awsrequest import AWSResponse

    from hephaestus import StepContext, Write
    from hephaestus.store.store import Store
    from tests.contract.conftest import Dynamo

COUNT = Update("books", {"pk": "n"}, "ADD seen :one", values={":one": 1})


class Books:
    """A store, and a table of the user's beside it."""

    def __init__(self, store: Store, look: Callable[[str], dict[str, Any] | None], dynamo: Dynamo | None) -> None:
        self.store = store
        self.look = look
        self.dynamo = dynamo

    def total(self) -> int:
        """How often ``COUNT`` has happened."""
        return int((self.look("n") or {"seen": 0})["seen"])

    def append(self, writes: Sequence[Write], instance_id: str = "orderid::a") -> bool:
        """One step of an instance with its writes."""
        state = self.store.load(instance_id) or started(self.store, instance_id, owner="me")
        after, entry = commit(state, done(f"s{state.sequence}"))
        checked = check_writes(writes, self.store.own_table)
        return self.store.commit(after, entry, checked) is not None


def _on(dynamo: Dynamo) -> Books:
    client = dynamo.table.client
    with suppress(client.exceptions.ResourceInUseException):  # one table for all tests of a server
        client.create_table(
            TableName="books",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
    for item in client.scan(TableName="books", ConsistentRead=True)["Items"]:
        client.delete_item(TableName="books", Key={"pk": item["pk"]})

    def look(key: str) -> dict[str, Any] | None:
        found = client.get_item(TableName="books", Key={"pk": {"S": key}}, ConsistentRead=True).get("Item")
        return None if found is None else {name: next(iter(value.values())) for name, value in found.items()}

    return Books(dynamo.store(), look, dynamo)


@pytest.fixture
def on_dynamo(dynamo: Dynamo) -> Books:
    """On each DynamoDB."""
    return _on(dynamo)


@pytest.fixture(params=["memory", "moto", "dynamodb-local"])
def books(request: pytest.FixtureRequest) -> Books:
    """On each store."""
    if request.param == "memory":
        tables = MemoryTables({"books": ("pk",)})
        found = tables["books"]
        return Books(
            MemoryStore(tables=tables), lambda key: next((i for i in found.items() if i["pk"] == key), None), None
        )
    from tests.contract.conftest import _dynamo

    return _on(_dynamo(request, request.param))


def test_invariant_7_writes_and_entry_happen_together(books: Books) -> None:
    """Every kind of write, once."""
    assert books.append([Put("books", {"pk": "a", "n": 1}, condition="attribute_not_exists(pk)"), COUNT])
    assert books.append([Check("books", {"pk": "a"}, "n = :n", values={":n": 1}), COUNT])
    assert books.append([Delete("books", {"pk": "a"}, condition="attribute_exists(pk)"), COUNT])
    assert (books.total(), books.look("a")) == (3, None)
    state = books.store.load("orderid::a")
    assert state is not None
    assert len(everything(books.store, state)) == 4


def test_invariant_7_a_condition_that_fails_leaves_nothing(books: Books) -> None:
    """Neither the entry nor the other writes; the number stays free."""
    failing = Put("books", {"pk": "a"}, condition="attribute_exists(pk)")
    with pytest.raises(ConditionFailed, match=r"write 2 of 2 \(Put on books\)") as found:
        books.append([COUNT, failing])
    assert (found.value.index, found.value.write) == (1, failing)
    assert (books.total(), books.look("a")) == (0, None)
    assert books.append([COUNT])
    assert books.total() == 1


def test_invariant_7_a_number_that_is_taken_comes_before_a_condition_that_fails(books: Books) -> None:
    """Whoever was slower reads what is new, and decides again."""
    state = started(books.store, "orderid::a", owner="me")
    after, entry = commit(state, done("x"))
    assert books.append([COUNT])
    failing = check_writes([Put("books", {"pk": "a"}, condition="attribute_exists(pk)")], None)
    assert not books.store.commit(after, entry, failing)
    missing = check_writes([Put("nowhere", {"pk": "a"})], None)
    assert not books.store.commit(after, entry, missing)


def test_invariant_7_while_another_writer_holds_the_number_no_condition_counts(on_dynamo: Books) -> None:
    """It is tried again: the number may be taken by then."""
    assert on_dynamo.dynamo is not None
    on_dynamo.append([])
    held = cancelled("TransactionConflict", CONDITION_FAILED)
    with failing(on_dynamo.dynamo, held, times=2, operation="TransactWriteItems"):
        assert on_dynamo.append([COUNT])
    assert on_dynamo.total() == 1


def test_invariant_7_the_same_commit_twice_writes_once(books: Books) -> None:
    """Also when its own writes have made its conditions fail."""
    state = started(books.store, "orderid::a", owner="me")
    after, entry = commit(state, done("x"))
    once = check_writes([Put("books", {"pk": "a"}, condition="attribute_not_exists(pk)"), COUNT], None)
    for _ in range(3):
        assert books.store.commit(after, entry, once)
    assert books.total() == 1


@pytest.mark.parametrize("times", [1, 2])
def test_invariant_7_an_answer_that_is_lost_writes_once(
    on_dynamo: Books, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Botocore repeats the transaction; where the token is not honoured, its own entry is recognised."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    assert on_dynamo.dynamo is not None
    on_dynamo.append([])
    with losing(on_dynamo.dynamo, "TransactWriteItems", times):
        assert on_dynamo.append([Put("books", {"pk": "a"}, condition="attribute_not_exists(pk)"), COUNT])
    assert on_dynamo.total() == 1


def test_invariant_7_of_sixteen_writers_of_a_number_one_writes(books: Books) -> None:
    """The others wrote nothing at all."""
    state = started(books.store, "orderid::a", owner="me")
    writes = check_writes([COUNT], None)

    def race(number: int) -> bool:
        after, entry = commit(state, done(f"s{number}"))
        return books.store.commit(after, entry, writes) is not None

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(race, range(16))) == 1
    assert books.total() == 1


def test_what_cannot_succeed_is_refused_and_leaves_nothing(books: Books) -> None:
    """A table that is not there, a key that does not fit, two puts of one item."""
    refused: list[list[Write]] = [
        [COUNT, Put("nowhere", {"pk": "a"})],
        [COUNT, Put("books", {"other": "a"})],
        [COUNT, Put("books", {"pk": "a", "v": 1}), Put("books", {"pk": "a", "v": 2})],
    ]
    if books.dynamo is not None:  # a table in memory does not know the types of its key
        refused.append([Update("books", {"pk": 7}, "SET v = :v", values={":v": 1})])
    for writes in refused:
        with pytest.raises(WriteRefused):
            books.append(writes)
    assert books.total() == 0
    assert books.append([COUNT])


ARN = "arn:aws:dynamodb:eu-west-1:123456789012:table/{}"
DENIED = (
    "User: arn:aws:sts::123456789012:assumed-role/resume-role/resume is not authorized to perform: dynamodb:PutItem on "
    f"resource: {ARN} because no identity-based policy allows the dynamodb:PutItem action"
)
AS_A_WHOLE = ["AccessDeniedException", "ResourceNotFoundException", "ValidationException"]


@pytest.mark.parametrize("code", AS_A_WHOLE)
@pytest.mark.parametrize("named", [True, False])
def test_a_refusal_of_the_engines_own_table_is_not_the_steps_failure(
    on_dynamo: Books, code: str, *, named: bool
) -> None:
    """A deployment that is wrong is an engine's error: fixed, the same commit succeeds."""
    dynamo = on_dynamo.dynamo
    assert dynamo is not None
    on_dynamo.append([])
    message = DENIED.format(dynamo.table.name) if named else "Requested resource not found"

    def answer(operation: str, _send: object) -> AWSResponse | None:
        return error(400, code, message=message) if operation in {"TransactWriteItems", "PutItem"} else None

    with answering(dynamo, answer), pytest.raises(EngineError, match=f"DynamoDB rejected a request .{code}") as caught:
        on_dynamo.append([COUNT])
    assert not isinstance(caught.value, StoreUnavailable)
    assert on_dynamo.append([COUNT])
    assert on_dynamo.total() == 1


@pytest.mark.parametrize("code", AS_A_WHOLE)
@pytest.mark.parametrize("message", [DENIED.format("books"), "123456789012 says no"])
def test_a_refusal_of_the_users_table_is_told_without_arns(on_dynamo: Books, code: str, message: str) -> None:
    """By the table that DynamoDB names; where it names none, because the engine's own part would be taken."""
    assert on_dynamo.dynamo is not None
    on_dynamo.append([])
    answer = error(400, code, message=message)
    arn = ARN.format("books")
    refused = Update(arn, COUNT.key, COUNT.update, values=COUNT.values)
    with failing(on_dynamo.dynamo, answer, operation="TransactWriteItems"), pytest.raises(WriteRefused) as caught:
        on_dynamo.append([refused])
    assert "books" in str(caught.value)
    assert "arn:" not in str(caught.value)
    assert "123456789012" not in str(caught.value)
    assert on_dynamo.look("n") is None


@step
def counting(ctx: StepContext) -> Completed:
    """Write something."""
    return Completed("done", writes=[COUNT])


class Counting(Workflow, key="counting"):
    """One step with a write."""

    start_at = counting
    transitions = {counting: {"done": DONE}}


def test_a_deployment_that_is_wrong_for_a_while_fails_no_step(on_dynamo: Books) -> None:
    """Its permissions are lost after the claim and while the step runs; given back, the instance goes on by itself."""
    dynamo = on_dynamo.dynamo
    assert dynamo is not None
    runtime = LocalRuntime(Counting, store=dynamo.store())
    runtime.runner.start_instance(Counting, {}, id="a")
    transactions: list[str] = []

    def answer(operation: str, _send: object) -> AWSResponse | None:
        transactions.extend([operation] if operation == "TransactWriteItems" else [])
        lost = bool(transactions) and operation in {"TransactWriteItems", "PutItem"}
        return error(400, "AccessDeniedException", message="not authorized") if lost else None

    with answering(dynamo, answer), pytest.raises(EngineError, match="see the function's permissions"):
        runtime.settle()
    assert len(transactions) == 1
    assert runtime.runner.get("counting::a").status == "running"
    runtime.advance(timedelta(minutes=20))
    assert runtime.sweep().found == 1
    ended = runtime.runner.get("counting::a")
    assert (ended.status, ended.steps["counting"].attempt) == ("completed", 2)
    assert on_dynamo.total() == 1


def test_a_probe_that_is_not_answered_blames_nobody(on_dynamo: Books) -> None:
    """Whether the engine's part would be taken is not known: it is tried again."""
    assert on_dynamo.dynamo is not None
    on_dynamo.append([])

    def answer(operation: str, _send: object) -> AWSResponse | None:
        refused = error(400, "AccessDeniedException", message="no")
        return {"TransactWriteItems": refused, "PutItem": error(400, "ProvisionedThroughputExceededException")}.get(
            operation
        )

    with answering(on_dynamo.dynamo, answer), pytest.raises(StoreUnavailable):
        on_dynamo.append([COUNT])


def test_a_reason_of_the_engines_own_item_comes_before_those_of_the_writes(on_dynamo: Books) -> None:
    """A role that may do nothing any more is no failure of the step either."""
    assert on_dynamo.dynamo is not None
    on_dynamo.append([])
    for own in ("AccessDenied", "ValidationError"):
        answer = cancelled(own, "AccessDenied")
        with failing(on_dynamo.dynamo, answer, operation="TransactWriteItems"), pytest.raises(EngineError):
            on_dynamo.append([COUNT])


def test_ninety_nine_writes_pass_and_a_hundred_are_refused_before_anything(books: Books) -> None:
    """DynamoDB takes 100 items a transaction, and one is the entry."""
    many: list[Write] = [Put("books", {"pk": f"b{number}"}) for number in range(100)]
    with pytest.raises(WriteRefused, match="100 writes, at most 99"):
        books.append(many)
    assert books.look("b0") is None
    assert books.append(many[:99])
    assert books.look("b98") is not None


def test_the_engines_own_table_is_refused(on_dynamo: Books) -> None:
    """By its name and by its ARN."""
    own = on_dynamo.store.own_table
    assert own is not None
    for table in (own, f"arn:aws:dynamodb:eu-west-1:123456789012:table/{own}"):
        with pytest.raises(WriteRefused, match="the engine's own table"):
            on_dynamo.append([Put(table, {"pk": "a"})])


@pytest.mark.parametrize(
    "condition",
    [
        "attribute_exists(a)",
        "attribute_not_exists(a) OR a = :one",
        "a > :one AND NOT b < :two",
        "begins_with(t, :text)",
        "(a <> :one) AND b >= :two",
        "#name <= :two",
    ],
)
@pytest.mark.parametrize(
    "item", [{}, {"a": 1}, {"a": 2, "b": 2}, {"t": "text and more", "b": 1}, {"a": "one", "t": 1}, {"b": 7}]
)
def test_conditions_in_memory_hold_as_in_dynamodb(local: Dynamo, condition: str, item: dict[str, Any]) -> None:
    """The part of the language that memory knows means the same there."""
    on = _on(local)
    values = {":one": 1, ":two": 2, ":text": "text"}
    used = {name: value for name, value in values.items() if name in condition}
    names = {"#name": "b"} if "#name" in condition else {}
    on.append([Put("books", {"pk": "x", **item})])
    expected = True
    try:
        on.append([Check("books", {"pk": "x"}, condition, names=names or None, values=used or None)])
    except ConditionFailed:
        expected = False
    assert holds(condition, names, frozen(used, "values"), frozen({"pk": "x", **item}, "item")) is expected


@pytest.mark.parametrize(
    "keys",
    [{"ab": ("pk",)}, {"a b c": ("pk",)}, {"x" * 256: ("pk",)}, {ARN.format("books"): ("pk",)}]
    + [{"books": key} for key in ((), ("a", "b", "c"), ("a", "a"), ("",), "pk")],
)
def test_tables_in_memory_are_named_as_dynamodb_wants_it(keys: dict[str, tuple[str, ...]]) -> None:
    """What no write could name, or has no key, is refused before any write meets it."""
    with pytest.raises(ValueError, match="the table"):
        MemoryTables(keys)
    with pytest.raises(ValueError, match="the table"):
        LocalRuntime(Counting, tables=keys)
    assert set(MemoryTables({"abc": ("pk",), "x" * 255: ("a", "b")})) == {"abc", "x" * 255}


def test_updates_in_memory() -> None:
    """And what memory does not know, it says."""
    values = frozen({":n": 2, ":z": 0}, "values")
    item = frozen({"pk": "x", "n": 1, "gone": True}, "item")
    after = updated("SET n = if_not_exists(n, :z) + :n REMOVE gone ADD seen :n", {}, values, item, ("pk",))
    assert after == {"pk": "x", "n": 3, "seen": 2}
    with pytest.raises(NotInMemory):
        holds("contains(n, :n)", {}, values, item)
    with pytest.raises(BadExpression):
        updated("SET pk = :n", {}, values, item, ("pk",))


def test_invariant_7_steps_and_compensations_write_once_and_spare_their_neighbours() -> None:
    """A failed condition is tried again by the policy; its neighbour's result is kept; a refusal is not tried again."""
    tries: list[int] = []

    @step
    def fork(ctx: StepContext) -> str:
        return "done"

    @step
    def neighbour(ctx: StepContext) -> Completed:
        return Completed("done", writes=[COUNT])

    @step(retry=Retry(max_attempts=3, jitter="none"))
    def careful(ctx: StepContext) -> Completed:
        tries.append(ctx.attempt)
        key = "missing" if ctx.attempt == 1 else "n"
        check = Check("books", {"pk": key}, "attribute_exists(pk)")
        return Completed("done", {"attempt": ctx.attempt}, writes=[check])

    @step(compensate=lambda _ctx: Completed("done", writes=[Put("books", {"pk": "undone"})]))
    def last(ctx: StepContext) -> str:
        return "done"

    @step
    def refused(ctx: StepContext) -> Completed:
        tries.append(0)
        return Completed("done", writes=[Put("nowhere", {"pk": "a"})])

    class Careful(Workflow, key="careful"):
        start_at = fork
        transitions = {
            fork: {"done": [neighbour, careful]},
            neighbour: {"done": last},
            careful: {"done": last},
            last: {"done": refused},
            refused: {"done": DONE},
        }

    local = LocalRuntime(Careful, tables={"books": ("pk",)}, limits=Limits(concurrency=2))
    local.start(Careful, "c")
    local.advance(timedelta(minutes=1))
    ended = local.runner.get("careful::c")
    assert ended.status == "failed"
    assert ended.error is not None
    assert ended.error["type"] == "WriteRefused"
    assert tries == [1, 2, 0]
    assert sorted((item["pk"] for item in local.tables["books"].items()), key=str) == ["n", "undone"]
    assert next(item for item in local.tables["books"].items() if item["pk"] == "n")["seen"] == 1
    told = [event for entry in local.runner.history("careful::c") for event in entry.events]
    assert {"Update books"} == {one for event in told if event.get("step") == "neighbour" for one in event["writes"]}
