"""The functions over a store in memory, and what must hold whatever they are sent.

An API event is answered below 500, with a problem document where it is rejected. A batch is answered with the messages
that failed. Whatever else is wrong raises a ``CallerError``, never an error of Python's. Afterwards every instance is
still there, and can be read and cancelled.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
from typing import TYPE_CHECKING, Any, Final

from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.errors import CallerError, HephaestusError
from hephaestus.handlers import observability
from hephaestus.handlers.http import problem
from hephaestus.runtime.names import is_schedule
from hephaestus.store.keys import HEAD
from hephaestus.testing import VirtualClock
from tests.fuzzing.damage import samples
from tests.integration.deployment import Large, deploy, fired
from workflows import Onboarding, OrderFlow

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from hephaestus.adapters.memory import MemoryStore

ANSWER: Final = {"statusCode", "body", "isBase64Encoded", "multiValueHeaders"}
HOUR_MS: Final = 3_600_000
PAGE: Final = 200
RUNNER: Final = "the runner"
OWN_FAILED: Final = "failed a message of its own"
REASON: Final = "the test is over"


def instances(store: MemoryStore) -> set[str]:
    """Every instance that has a head, also one that a listing would leave out."""
    table = store.table
    assert isinstance(table, InMemoryTable)
    return {pk for pk in table._partitions if table.get(pk, HEAD) is not None}  # noqa: SLF001 - see above


class Finding(AssertionError):
    """A function broke a rule; the text has the event."""


def usual(sample: str) -> str:
    """The function that a sample is for."""
    kind = sample.partition("-")[2]
    if kind.startswith("callback"):
        return "callback"
    if sample.startswith(("sqs", "scheduler")) or kind in ("resume", "heartbeat"):
        return "resume"
    if kind.startswith("start"):
        return "start"
    if sample == "sweep" or sample.startswith("ingest"):
        return sample.partition("-")[0]
    return "read" if samples()[sample].get("httpMethod") == "GET" else "control"


class Functions:
    """The functions with some instances: one that waits, one that a timer holds, one that failed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = VirtualClock()
        self.deployed = deploy(monkeypatch, OrderFlow, Onboarding, Large, clock=self.clock)
        self.names = tuple(self.deployed.functions)
        self.told: list[str] = []
        monkeypatch.setattr(logging.Handler, "handleError", lambda _, record: self.told.append(record.getMessage()))
        log = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
        monkeypatch.setattr(observability.begin().registered_handler, "stream", log)
        start = samples()["direct-start"]
        self.send("start", {**start, "id": "sample-1"})
        self.send("start", {**start, "id": "sample-2", "start_id": "other"})
        self.send("start", {"workflow": "Onboarding", "id": "sample-3", "context": {"email": "ada@example.com"}})
        self.send("start", {"workflow": "Large", "id": "failed", "context": {"size": "much"}})
        self.settle()

    def send(self, function: str, event: Any) -> Any:
        """Invoke a function as Lambda does, and judge what it did.

        Raises:
            Finding: it did what it must not do.
        """
        try:
            with _quiet():
                answer = self.deployed.invoke(function, event)
        except CallerError as error:
            return _check_text(function, event, error)
        except HephaestusError as error:
            raise _finding(event, function, f"raised {type(error).__name__}: {error}") from error
        except Exception as error:
            raise _finding(event, function, f"raised a raw {type(error).__name__}: {error}") from error
        if self.told:
            raise _finding(event, function, f"lost the log line {self.told.pop()!r}")
        json.dumps(answer, allow_nan=False)
        if isinstance(answer, dict) and answer.keys() >= ANSWER - {"multiValueHeaders"}:
            _check_answer(function, event, answer)
        elif isinstance(answer, dict) and "batchItemFailures" in answer:
            _check_batch(function, event, answer)
        elif not isinstance(answer, dict):
            raise _finding(event, function, f"answered {answer!r}")
        return answer

    def settle(self) -> None:
        """Deliver the queue's messages and the schedules that are due, and sweep, an hour later and another."""
        queue, timers = self.deployed.queue, self.deployed.timers
        for _ in range(2):
            while due := queue.pop_due(self.clock.now()):
                ids = [work.instance_id for work in due]
                for instance_id in ids:
                    message = {"source": "hephaestus.queue", "instance_id": instance_id}
                    record = {**samples()["sqs-continue"]["Records"][0], "body": json.dumps(message)}
                    if self.send("resume", {"Records": [record]}) != {"batchItemFailures": []}:
                        raise _finding(message, "resume", OWN_FAILED)
            for timeout in timers.pop_due(self.clock.now()):
                self.send("resume", fired(timeout))
            self.send("sweep", samples()["sweep"])
            self.clock.sleep(HOUR_MS)

    def check(self, event: Any) -> None:
        """Every instance can be read in every way, and cancelled if it has not ended.

        Raises:
            Finding: one cannot, or one that was there is gone.
        """
        try:
            wrong = self._wrong()
        except Exception as error:
            raise _finding(event, RUNNER, f"raised {type(error).__name__}: {error}") from error
        if wrong:
            raise _finding(event, RUNNER, wrong)

    def _wrong(self) -> str:
        """What is not as it must be; nothing, unless something is raised."""
        runner, store = self.deployed.runner, self.deployed.store
        known = instances(store)
        if missing := known - self._listed() - self._ended_schedules(known):
            return f"left {missing} out of its listings"
        for instance_id in known:
            view = runner.get(instance_id)
            runner.why(instance_id)
            for generation in range(1, view.generation + 1):
                runner.history(instance_id, generation=generation, limit=PAGE)
            if not view.closed:
                runner.cancel(instance_id, REASON)
        for workflow in store.paused.read():  # what it would undo waits
            runner.unpause_workflow(workflow)
        self.settle()
        left = {instance_id for instance_id in known if not runner.get(instance_id).closed}
        return f"left {left} open after a cancellation" if left else ""

    def _ended_schedules(self, known: set[str]) -> set[str]:
        """Those that no listing has: their workflow is the engine's own."""
        runner = self.deployed.runner
        return {one for one in known if is_schedule(one) and runner.get(one).closed}

    def _listed(self) -> set[str]:
        found = {one.id for one in self.deployed.runner.schedules()}
        cursor: str | None = None
        while True:
            page = self.deployed.runner.list(limit=PAGE, cursor=cursor)
            found |= {view.id for view in page.items}
            if (cursor := page.cursor) is None:
                return found


def _check_answer(function: str, event: Any, answer: dict[str, Any]) -> None:
    status = answer["statusCode"]
    if not isinstance(status, int) or not 200 <= status < 500:
        raise _finding(event, function, f"answered {status}: {answer['body']}")
    kinds = answer.get("multiValueHeaders", {}).get("Content-Type", [])
    if status >= 400 and kinds == [problem.CONTENT_TYPE]:
        document = json.loads(answer["body"])
        if document["status"] != status or not document["title"] or not document["detail"]:
            raise _finding(event, function, f"answered {status} with {document}")
    elif status >= 400 and not answer["body"].startswith("<!doctype html>"):
        raise _finding(event, function, f"answered {status} with no problem document: {answer['body']}")


def _check_batch(function: str, event: Any, answer: dict[str, Any]) -> None:
    sent = {record.get("messageId") for record in event["Records"]}
    failed = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
    if not set(failed) <= sent or not all(isinstance(it, str) and it for it in failed):
        raise _finding(event, function, f"reported {failed}, not all of which were sent")


def _check_text(function: str, event: Any, error: CallerError) -> None:
    """A refusal is a text that Lambda can pass on."""
    try:
        str(error).encode()
    except UnicodeEncodeError:
        raise _finding(event, function, f"raised a text that UTF-8 has not: {error!r}") from error


def _finding(event: Any, function: str, what: str) -> Finding:
    return Finding(f"{function} {what[:2_000]}\nfor the event {json.dumps(event)[:4_000]}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What functions print are metrics."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
