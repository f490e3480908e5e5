"""Calls of AWS end before their invocation does: botocore's own retries of a silent service, in virtual time."""

from __future__ import annotations

import contextvars
import threading
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from hephaestus.adapters import bounds, deadline, session
from hephaestus.adapters.aws_errors import translate
from hephaestus.adapters.bounds import HalfOfWhatIsLeft, OutOfTime, keep_within_invocations, longest_pause
from hephaestus.adapters.deadline import ending_in, time_left
from hephaestus.adapters.dynamodb import DynamoTable
from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.adapters.session import (
    CONNECT_TIMEOUT,
    EFFECT_ATTEMPTS,
    MAX_ATTEMPTS,
    POOL,
    READ_TIMEOUT,
    LazyClient,
)
from hephaestus.errors import StoreUnavailable
from hephaestus.runtime.attempt import Outcome
from hephaestus.runtime.limits import Limits
from hephaestus.runtime.workers import ThreadWorkers
from hephaestus.store.items import INDEXES
from hephaestus.store.listing import _of_each
from tests.contract.answers import error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from botocore.awsrequest import AWSResponse


def http_session(client: Any) -> Any:
    """What a client of botocore sends by."""
    return client._endpoint.http_session  # noqa: SLF001 - no public way leads there


def timeouts(client: Any) -> Any:
    """What it takes the timeouts of a request from."""
    return http_session(client)._manager.connection_pool_kw["timeout"]  # noqa: SLF001 - as above


class Service:
    """A service in virtual time: what it answers, and how long that takes."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.sent = 0
        self.answer: Callable[[], AWSResponse] = self.silence
        self.clients: dict[str, Any] = {
            "dynamodb": DynamoTable("books", (), "eu-west-1", "http://127.0.0.1:9").client,
            "sqs": LazyClient("sqs", "eu-west-1", "http://127.0.0.1:9").get(),
        }
        for client in self.clients.values():
            http_session(client).send = self.send

    def monotonic(self) -> float:
        """The time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """What botocore does between tries."""
        self.now += seconds

    def send(self, _request: object) -> AWSResponse:
        """A request."""
        self.sent += 1
        return self.answer()

    def silence(self) -> AWSResponse:
        """No answer: whoever waits waits as long as it may, for a connection and for the answer."""
        timeout = timeouts(self.clients["dynamodb"]).clone()
        assert timeout.connect_timeout is not None
        if timeout.total is None:
            self.now += timeout.connect_timeout + timeout.read_timeout
        else:
            self.now += min(timeout.connect_timeout + timeout.read_timeout, timeout.total)
        raise ReadTimeoutError(endpoint_url="http://test")

    def call(self, service: str = "dynamodb") -> BaseException | None:
        """A call, and what was raised."""
        client = self.clients[service]
        try:
            if service == "dynamodb":
                client.get_item(TableName="books", Key={"pk": {"S": "a"}})
            else:
                client.send_message(QueueUrl="http://127.0.0.1:9/q", MessageBody="a")
        except Exception as raised:  # noqa: BLE001 - it is what the tests look at
            return raised
        return None


@pytest.fixture(scope="module")
def silent_service() -> Iterator[Service]:
    """One for all: making clients takes a while."""
    service = Service()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deadline, "monotonic", service.monotonic)
        patch.setattr("botocore.endpoint.time", service)
        # The longest pauses that botocore may make: one jitter for all.
        patch.setattr(
            "botocore.retries.standard.ExponentialBackoff.delay_amount", lambda _, c: longest_pause(c.attempt_number)
        )
        patch.setattr("botocore.retries.quota.RetryQuota.acquire", lambda *_: True)
        yield service


@pytest.fixture
def service(silent_service: Service) -> Service:
    """Silent again."""
    silent_service.answer = silent_service.silence
    silent_service.sent = 0
    return silent_service


@given(milliseconds=st.integers(51, 900_000), name=st.sampled_from(["dynamodb", "sqs"]))
def test_a_call_that_is_never_answered_ends_before_its_invocation(
    silent_service: Service, milliseconds: int, name: str
) -> None:
    """However little is left when it begins; and whoever called is told to come back later."""
    silent_service.answer = silent_service.silence
    silent_service.sent = 0
    with ending_in(milliseconds):
        raised = silent_service.call(name)
        left = time_left()
    assert left is not None
    assert left > 0
    assert 1 <= silent_service.sent <= MAX_ATTEMPTS
    assert isinstance(translate(raised, "DynamoDB"), StoreUnavailable)


@pytest.mark.parametrize("status", [400, 500])
@given(milliseconds=st.integers(51, 60_000))
def test_a_call_that_is_always_throttled_ends_before_its_invocation(
    silent_service: Service, status: int, milliseconds: int
) -> None:
    """As with the last of its tries."""
    silent_service.answer = lambda: error(status, "ThrottlingException")
    with ending_in(milliseconds):
        raised = silent_service.call()
        left = time_left()
    assert left is not None
    assert left > 0
    assert isinstance(raised, ClientError)
    assert isinstance(translate(raised, "DynamoDB"), StoreUnavailable)


def test_two_silent_calls_leave_time_to_hand_over(service: Service) -> None:
    """In the shortest invocation that the template allows, and in that of a function of the API."""
    for seconds in (29, 30):
        with ending_in(seconds * 1000):
            assert service.call("sqs") is not None
            assert service.call() is not None
            left = time_left()
        assert left is not None
        assert left * 1000 > Limits().margin_ms / 2


def test_the_margin_of_the_executor_has_room_for_an_attempt(service: Service) -> None:
    """The last commit is tried, and when it is not answered, there is time to say so."""
    with ending_in(Limits().margin_ms):
        assert isinstance(service.call(), ReadTimeoutError)
        assert service.sent == 1
        left = time_left()
    assert left is not None
    assert left >= Limits().margin_ms / 2000 - 0.001


def test_outside_of_an_invocation_a_call_is_as_long_as_its_settings_say(service: Service) -> None:
    """The worst case is shorter than the 29 s that API Gateway waits."""
    pauses = [longest_pause(attempt) for attempt in range(1, MAX_ATTEMPTS)]
    worst = MAX_ATTEMPTS * (CONNECT_TIMEOUT + READ_TIMEOUT) + sum(pauses)
    before = service.now
    service.call()
    assert service.now - before == pytest.approx(worst)
    assert service.sent == MAX_ATTEMPTS
    assert worst < 29
    service.call("sqs")
    assert service.sent == MAX_ATTEMPTS + EFFECT_ATTEMPTS


def test_when_nothing_is_left_nothing_is_sent(service: Service) -> None:
    """Neither by the invocation nor by a step that it left behind."""
    with ending_in(30_000):
        left_behind = contextvars.copy_context()
    service.now += 31
    for raised in (left_behind.run(service.call), _late(service)):
        assert isinstance(raised, OutOfTime)
        assert isinstance(translate(raised, "DynamoDB"), StoreUnavailable)
    assert service.sent == 0
    assert time_left() is None


def _late(service: Service) -> BaseException | None:
    with ending_in(10):
        return service.call()


@pytest.mark.parametrize("code", ["ConditionalCheckFailedException", "AccessDeniedException"])
def test_an_answer_is_an_answer_however_late(service: Service, code: str) -> None:
    """What would not be tried again anyway is told as it is."""
    service.answer = lambda: error(400, code)
    with ending_in(200):
        raised = service.call()
    assert isinstance(raised, ClientError)
    assert (raised.response["Error"]["Code"], service.sent) == (code, 1)
    assert type(raised).__name__ in {code, "ClientError"}


def test_a_botocore_that_is_not_known_is_used_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """Its calls are begun in time at least; the log says what is missing."""

    class Events:
        def register_first(self, *_: object, **__: object) -> None:
            pass

    class Unknown:
        class meta:  # noqa: N801 - as botocore has it
            events = Events()
            config = None

    keep_within_invocations(Unknown())
    assert "this botocore is unknown" in caplog.text


def test_clients_are_made_for_lambda() -> None:
    """Every client of the process: short timeouts, few tries, connections kept alive, one for each concurrent step."""
    made: list[tuple[Any, int]] = [
        (DynamoTable("books", (), "eu-west-1").client, MAX_ATTEMPTS),
        (LazyClient("sqs", "eu-west-1").get(), EFFECT_ATTEMPTS),
        (LazyClient("scheduler", "eu-west-1").get(), EFFECT_ATTEMPTS),
        (session.shared_session().create_client("s3", "eu-west-1"), MAX_ATTEMPTS),
    ]
    for client, attempts in made:
        config = client.meta.config
        assert (config.connect_timeout, config.read_timeout) == (CONNECT_TIMEOUT, READ_TIMEOUT)
        assert (config.retries["total_max_attempts"], config.retries["mode"]) == (attempts, "standard")
        assert config.tcp_keepalive is True
        assert config.max_pool_connections == POOL
    assert Limits().concurrency < POOL


def test_one_client_is_kept_once() -> None:
    """PynamoDB's connection and every lazy client."""
    connection = DynamoTable("books", (), "eu-west-1").connection
    assert connection.client is connection.client
    for client in (connection.client, LazyClient("sqs", "eu-west-1").get()):
        assert isinstance(timeouts(client), HalfOfWhatIsLeft)


def test_a_timeout_of_nothing_is_never_asked_for() -> None:
    """urllib3 refuses timeouts of 0."""
    timeout = HalfOfWhatIsLeft(connect=1.0, read=2.0)
    with ending_in(-5_000):
        assert timeout.clone().total == bounds.LEAST / 2
    assert (timeout.clone().connect_timeout, timeout.clone().total) == (1.0, None)


def test_the_end_is_known_wherever_an_invocation_works() -> None:
    """In the threads of its steps, and in those that query a listing's partitions."""
    seen: list[float | None] = []

    def look() -> Outcome:
        seen.append(time_left())
        return Outcome("a", 1, 0)

    def query(key: str) -> tuple[list[str], None]:
        seen.append(time_left())
        return [key], None

    with ending_in(30_000):
        workers = ThreadWorkers()
        workers.start(look)
        assert workers.wait(None)
        found = _of_each(DynamoTable("t", INDEXES), query, ["a", "b", "c"])
    assert found == [(["a"], None), (["b"], None), (["c"], None)]
    assert len(seen) == 4
    assert None not in seen


def test_a_table_in_the_process_is_queried_without_threads() -> None:
    """To start one takes longer than the query."""
    asked = _of_each(InMemoryTable(INDEXES), lambda _: threading.get_ident(), ["a", "b", "c"])
    assert asked == [threading.get_ident()] * 3
