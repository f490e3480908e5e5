"""What AWS does to a request of the DynamoDB store: answers lost after the write, conflicts, throttling, refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from hephaestus.engine.events import Suspended
from hephaestus.errors import CorruptLog, EngineError, PayloadTooLarge, StoreUnavailable
from hephaestus.store.filters import ListFilter
from hephaestus.store.overdue import Wakeup
from tests.contract.answers import answering, error, failing, losing
from tests.contract.instances import T0, commit, everything, finish, start, started, step, suspend, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.awsrequest import AWSResponse

    from hephaestus.engine.state import State
    from hephaestus.store.store import Store
    from tests.contract.conftest import Dynamo

on_one_engine = pytest.mark.parametrize("dynamo", ["moto"], indirect=True)  # who is behind does not matter


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    monkeypatch.setattr("hephaestus.adapters.dynamodb.answers.CONFLICT_PAUSE", 0)


@pytest.mark.parametrize("times", [1, 2])
def test_invariant_5_a_start_whose_answer_is_lost_is_one(dynamo: Dynamo, times: int) -> None:
    """The client repeats the put, which is refused by its own success; the start is recognised by its commit id."""
    store = dynamo.store()
    with losing(dynamo, "PutItem", times):
        state = started(store, "orderid::a", owner="me")
    assert dynamo.requests["PutItem"] == times + 1
    assert store.load("orderid::a") == state
    assert len(everything(store, state)) == 1


@pytest.mark.parametrize("times", [1, 2])
def test_invariant_5_a_next_generation_whose_answer_is_lost_is_one(dynamo: Dynamo, times: int) -> None:
    """The same for the entry and the head that follow a closed generation."""
    store = dynamo.store()
    old = finish(store, started(store, "orderid::a"))
    with losing(dynamo, "PutItem", times):
        state = started(store, "orderid::a", at=T0 + 10_000)
    assert (state.generation, store.load("orderid::a")) == (2, state)
    assert len(everything(store, old)) == 2


def test_invariant_5_an_entry_whose_answer_is_lost_is_written_once(dynamo: Dynamo) -> None:
    """The repeated write answers as the first would have."""
    store = dynamo.store()
    state = started(store, "orderid::a", owner="me")
    with losing(dynamo, "PutItem"):
        state = write(store, state, step("a"))
    assert store.load("orderid::a") == state
    assert len(everything(store, state)) == 2


def test_a_head_whose_answer_is_lost_is_written_once(dynamo: Dynamo) -> None:
    """The repeated update is rejected by its own success, and nothing depends on its answer."""
    store = dynamo.store()
    state = started(store, "orderid::a", owner="me")
    with losing(dynamo, "UpdateItem"):
        state = write(store, state, Suspended(T0 + 9))
    assert store.load("orderid::a") == state
    assert store.overdue(T0 + 9, 9).items == (Wakeup("orderid::a", T0 + 9),)


def test_invariant_5_an_append_whose_answer_is_lost_while_others_write_is_its_own(dynamo: Dynamo) -> None:
    """Even when the next number is taken before the repetition comes."""
    store, other = dynamo.store(), dynamo.again()
    state = started(store, "orderid::a", owner="me")
    after, entry = commit(state, step("a"))
    theirs: list[State] = []

    def answer(name: str, send: Callable[[], None]) -> AWSResponse | None:
        if name != "PutItem" or theirs:
            return None
        send()
        theirs.append(write(other, after, step("b")))
        return error(500, "InternalServerError")

    with answering(dynamo, answer):
        assert store.commit(after, entry)
    assert store.load("orderid::a") == theirs[0]


def test_a_write_that_was_never_answered_is_recognised_later(dynamo: Dynamo) -> None:
    """Out of tries, the caller is told to come back; the same commit then succeeds at once."""
    store = dynamo.store()
    state = started(store, "orderid::a", owner="me")
    after, entry = commit(state, step("a"))
    with losing(dynamo, "PutItem", 100), pytest.raises(StoreUnavailable):
        store.commit(after, entry)
    assert store.commit(after, entry) == after
    assert store.load("orderid::a") == after


def test_a_put_that_meets_a_transaction_is_tried_again(dynamo: Dynamo) -> None:
    """A plain write conflicts with a transaction on the same item for some milliseconds."""
    store = dynamo.store()
    with failing(dynamo, error(400, "TransactionConflictException"), 2):
        state = started(store, "orderid::a", owner="me")
    with failing(dynamo, error(400, "TransactionConflictException"), 2):
        state = write(store, state, step("a"))
    assert store.load("orderid::a") == state


def test_a_finish_survives_lost_answers_and_conflicts_in_turn(dynamo: Dynamo) -> None:
    """Invariants 5 and 8: the instance is closed once, and its id is free again."""
    store = dynamo.store()
    state = suspend(store, started(store, "orderid::a", owner="me"))
    faults = iter(["conflict", "lost", "conflict", "lost"])

    def answer(name: str, send: Callable[[], None]) -> AWSResponse | None:
        match next(faults, None) if name in ("PutItem", "UpdateItem") else None:
            case "lost":
                send()
                return error(500, "InternalServerError")
            case "conflict":
                return error(400, "TransactionConflictException")
            case _:
                return None

    with answering(dynamo, answer):
        state = finish(store, state)
    assert store.load("orderid::a") == state
    assert len(everything(store, state)) == 3
    assert started(store, "orderid::a", at=T0 + 10_000).generation == 2


@on_one_engine
def test_conflicts_without_end_are_unavailable(dynamo: Dynamo) -> None:
    """The caller is told to come back, and nothing was written."""
    store = dynamo.store()
    state = started(store, "orderid::a", owner="me")
    conflict = error(400, "TransactionConflictException")
    with failing(dynamo, conflict), pytest.raises(StoreUnavailable, match="try again"):
        write(store, state, step("a"))
    assert store.load("orderid::a") == state


CALLS: dict[str, Callable[[Store, State], object]] = {
    "create": lambda store, _: start("orderid::b").write(store),
    "load": lambda store, _: store.load("orderid::a"),
    "commit": lambda store, state: store.commit(*commit(state, step("a"))),
    "settle": lambda store, state: store.settle(commit(state, Suspended(None))[0]),
    "tail": lambda store, state: store.tail(state),
    "history": lambda store, _: store.history("orderid::a", None, 0, 10),
    "overdue": lambda store, _: store.overdue(T0, 9),
    "list": lambda store, _: store.list(ListFilter(["OrderFlow"], ["running"]), limit=9),
    "list all": lambda store, _: store.list(ListFilter(), limit=9),
    "counts": lambda store, _: store.counts(["OrderFlow"], ["running"], most=9),
}
PASSING = [
    (400, "ProvisionedThroughputExceededException"),
    (400, "ThrottlingException"),
    (400, "RequestLimitExceeded"),
    (500, "InternalServerError"),
    (503, "ServiceUnavailable"),
    (504, "Unheard"),
]
REFUSALS = ["AccessDeniedException", "ResourceNotFoundException", "ValidationException", "UnrecognizedClientException"]


@on_one_engine
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("status", "code"), PASSING, ids=[code for _, code in PASSING])
def test_a_passing_condition_is_unavailable(dynamo: Dynamo, call: str, status: int, code: str) -> None:
    """For longer than the client's own tries, which come to an end: come back later, nothing is lost."""
    store = dynamo.store()
    state = started(store, "orderid::a", owner="me")
    dynamo.requests.clear()
    with failing(dynamo, error(status, code)), pytest.raises(StoreUnavailable, match="try again"):
        CALLS[call](store, state)
    assert dynamo.requests.total() <= {"list": 16, "overdue": 8}.get(call, 4)
    assert store.load("orderid::a") == state


@on_one_engine
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", [ConnectTimeoutError, ReadTimeoutError, EndpointConnectionError])
def test_no_answer_is_unavailable(dynamo: Dynamo, call: str, kind: type[Exception]) -> None:
    """No connection, or no answer in time."""
    store = dynamo.store()
    state = started(store, "orderid::a", owner="me")

    def answer(_name: str, _send: object) -> AWSResponse | None:
        kind_of: Any = kind
        raise kind_of(endpoint_url="http://test", error="by the test")

    with answering(dynamo, answer), pytest.raises(StoreUnavailable, match="try again"):
        CALLS[call](store, state)
    assert store.load("orderid::a") == state


@on_one_engine
@pytest.mark.parametrize("call", CALLS)
def test_one_throttled_request_is_nothing(dynamo: Dynamo, call: str) -> None:
    """The client tries again by itself."""
    store = dynamo.store()
    state = started(store, "orderid::a", owner="me")
    with failing(dynamo, error(400, "ThrottlingException"), 1):
        CALLS[call](store, state)


@on_one_engine
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("code", REFUSALS)
def test_a_refusal_is_the_engines_error_and_keeps_names_inside(dynamo: Dynamo, call: str, code: str) -> None:
    """Permissions and settings are nobody's business outside: neither the table nor AWS's words are in the message."""
    store = dynamo.store()
    state = started(store, "orderid::a", owner="me")
    with failing(dynamo, error(400, code)), pytest.raises(EngineError, match=code) as caught:
        CALLS[call](store, state)
    assert not isinstance(caught.value, StoreUnavailable | CorruptLog | PayloadTooLarge)
    assert dynamo.table.name not in str(caught.value)
    assert "says the test" not in str(caught.value)
