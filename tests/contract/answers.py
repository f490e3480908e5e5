"""Answers of DynamoDB that a test makes up: errors, and answers that are lost after the write.

Every handler of a botocore event is called, whoever answers first; so moto, which answers in process, is put aside
while answers are made up, and asked for those that are not.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from botocore.awsrequest import AWSResponse
from moto.core.models import botocore_stubber

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    class OnEngine(Protocol):
        """A table on an engine of DynamoDB."""

        @property
        def endpoint(self) -> str | None:
            """Where the engine is; ``None`` in this process."""

        @property
        def client(self) -> Any:
            """The botocore client whose requests are answered."""


SENDING = "before-send.dynamodb"


class _Body:
    """What botocore reads an answer from."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def stream(self, **_: Any) -> Iterator[bytes]:
        """All at once."""
        yield self.body


def error(status: int, code: str, **more: Any) -> AWSResponse:
    """An error as DynamoDB answers it."""
    told = {"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": f"{code}, says the test", **more}
    headers: Any = {"x-amzn-requestid": "test"}
    return AWSResponse("http://test", status, headers, _Body(json.dumps(told).encode()))


def cancelled(*codes: str) -> AWSResponse:
    """A cancelled transaction, with a reason for each of its writes."""
    reasons = [{"Code": code} for code in codes]
    return error(400, "TransactionCanceledException", CancellationReasons=reasons)


@contextmanager
def answering(dynamo: OnEngine, answer: Callable[[str, Callable[[], None]], AWSResponse | None]) -> Iterator[None]:
    """Have ``answer(operation, send)`` answer each request; ``None`` lets it pass, ``send()`` really does it."""
    client = dynamo.client
    events = client.meta.events
    in_process = botocore_stubber if dynamo.endpoint is None else lambda _event_name, _request: None

    def handle(request: Any, event_name: str, **_: Any) -> Any:
        def send() -> None:
            if in_process(event_name, request) is None:
                client._endpoint.http_session.send(request)  # noqa: SLF001 - as botocore itself sends it

        made_up = answer(event_name.rpartition(".")[2], send)
        return in_process(event_name, request) if made_up is None else made_up

    if dynamo.endpoint is None:
        events.unregister("before-send", botocore_stubber)
    events.register_last(SENDING, handle)
    try:
        yield
    finally:
        events.unregister(SENDING, handle)
        if dynamo.endpoint is None:
            events.register("before-send", botocore_stubber)


def losing(dynamo: OnEngine, operation: str, times: int = 1) -> AbstractContextManager[None]:
    """The next ``times`` requests of ``operation`` are done, but the client sees a 500."""
    left = [None] * times

    def answer(name: str, send: Callable[[], None]) -> AWSResponse | None:
        if name != operation or not left:
            return None
        left.pop()
        send()
        return error(500, "InternalServerError")

    return answering(dynamo, answer)


def failing(
    dynamo: OnEngine, answer: AWSResponse, times: int = 1000, operation: str = ""
) -> AbstractContextManager[None]:
    """The next ``times`` requests (of ``operation`` only, if given) are not done but answered with an error."""
    left = [None] * times

    def refuse(name: str, _send: Callable[[], None]) -> AWSResponse | None:
        if not left or operation not in ("", name):
            return None
        left.pop()
        return answer

    return answering(dynamo, refuse)
