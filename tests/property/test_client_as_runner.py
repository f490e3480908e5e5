"""A client takes and rejects what a runner takes and rejects, whatever it is called with."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pytest

from hephaestus import DONE, Workflow
from hephaestus.client import Client
from hephaestus.errors import BadRequest, HephaestusError, InvalidInput, UnknownWorkflow
from hephaestus.handlers.commands import serve
from hephaestus.handlers.http.api import Api
from hephaestus.handlers.http.request_key import read_key, written
from hephaestus.handlers.reading import serve_reads
from hephaestus.operations.http_client import Api as Caller
from hephaestus.operations.transport import Answer
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.property.odd_values import Odds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

gate = WaitForEvent("go", name="gate")
TYPED: Final[Mapping[str, Any]] = {
    "decimal": Decimal("1.10"),
    "moment": datetime(2026, 1, 1, 12, tzinfo=UTC),
    "day": date(2026, 1, 1),
    "id": UUID(int=7),
    "raw": b"\x00\xff",
    "pause": timedelta(microseconds=3),
    "inside": [{"deep": Decimal(1)}],
}
RUNS: Final = 150


class Gated(Workflow, key="gated"):
    """One wait."""

    start_at = gate
    transitions = {gate: {"go": DONE}}


class Many(Workflow, key="many", scope="none"):
    """The same, where a start makes an id of its own."""

    start_at = gate
    transitions = {gate: {"go": DONE}}


class InProcess:
    """A transport to the deployed routes, in this process."""

    aws_request_id = "r"

    def __init__(self, local: LocalRuntime) -> None:
        self.api = Api(local.runner)
        for function in ("start", "resume", "control"):
            serve(self.api, function)
        serve_reads(self.api)

    def get_remaining_time_in_millis(self) -> int:
        return 30_000

    def call(self, method: str, path: str, *, query: Any, body: Any, headers: Any) -> Answer:
        text = None if body is None else json.dumps(body, ensure_ascii=False)
        known = {"httpMethod": method, "path": path, "queryStringParameters": query or None}
        answer = self.api(json.loads(json.dumps({**known, "body": text, "headers": headers})), self)
        return Answer(answer["statusCode"], json.loads(answer["body"]))


class Pair:
    """A client and a runner, each with instances of its own, that are called alike."""

    def __init__(self) -> None:
        self.served, self.direct = LocalRuntime(Gated, Many), LocalRuntime(Gated, Many)
        self.client, self.runner = Client(Caller(InProcess(self.served))), self.direct.runner

    def start(self, workflow: Any, value: Any, context: Any, **more: Any) -> str:
        """What both answer to a start; what they keep is the same."""
        both = self._alike(
            lambda: self.client.start(workflow, value, context, **more).id,
            lambda: self.runner.start_instance(workflow, context, id=value, **_renamed(more)),
        )
        if isinstance(both[0], str):
            ours, theirs = (one.runner.get(made) for one, made in zip((self.served, self.direct), both, strict=True))
            assert repr((ours.context, ours.metadata)) == repr((theirs.context, theirs.metadata))
        return str(both[0])

    def call(self, name: str, *given: Any, **more: Any) -> Any:
        """What both answer to a call that is named alike."""
        return self._alike(
            lambda: getattr(self.client, name)(*given, **more), lambda: getattr(self.runner, name)(*given, **more)
        )[0]

    def _alike(self, ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[Any, Any]:
        """What the client and the runner answer, where they agree whether it is allowed."""
        both = (_outcome(ours), _outcome(theirs))
        wrong = [found for found in both if isinstance(found, Exception)]
        assert len(wrong) != 1, both
        assert len({type(error) for error in wrong}) < 2, both
        return both


def _renamed(more: Mapping[str, Any]) -> dict[str, Any]:
    return {"telemetry_metadata" if name == "metadata" else name: value for name, value in more.items()}


def _outcome(call: Callable[[], Any]) -> Any:
    """What a call gave, or the library's error; any other error is a defect."""
    try:
        return call()
    except HephaestusError as error:
        return error


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair()


def test_a_client_carries_the_values_that_a_runner_carries(pair: Pair) -> None:
    """In start data, metadata, payloads and results alike: what the other side has is equal, and of the same type."""
    typed = pair.start(Gated, "typed", TYPED, metadata=TYPED)
    pair.call("resume", typed, "go", TYPED)
    for local in (pair.served, pair.direct):
        local.settle()
    shown = [local.runner.get(typed) for local in (pair.served, pair.direct)]
    for one in shown:
        for found in (one.context, one.metadata, one.steps[gate].results):
            assert repr(dict(found)) == repr(dict(shown[1].context))
            assert dict(found) == TYPED
    forked = pair.client.fork(typed, new_id="fork", results={gate: {"paid": Decimal("2.50")}}, context=TYPED).id
    assert pair.served.runner.get(forked).steps[gate].results == {"paid": Decimal("2.50")}


@pytest.mark.parametrize(
    "odd",
    [
        {"$hephaestus": 5},
        {"$hephaestus": ["decimal"]},
        {"$hephaestus": ["decimal", 5]},
        {"$hephaestus": ["decimal", "NaN"]},
        {"$hephaestus": ["rational", "1/3"]},
        {"$hephaestus": [[], "1"]},
        {"$hephaestus": ["bytes", "%"]},
        {"$hephaestus": ["timedelta", "9" * 30]},
        {"$hephaestus": ["decimal", "1"], "more": 1},
    ],
)
def test_a_malformed_typed_value_is_rejected_with_its_place(pair: Pair, odd: Any) -> None:
    """In JSON as in Python, where the key is reserved."""
    body = {"id": "odd", "context": {"a": [odd]}}
    answer = InProcess(pair.served).call("POST", "/workflows/Gated/instances", query=None, body=body, headers={})
    assert (answer.status, answer.body["detail"].startswith("context.a[0] has the key '$hephaestus'")) == (422, True)
    with pytest.raises(InvalidInput):
        pair.client.start(Gated, "odd", {"a": odd})


@pytest.mark.parametrize("name", ["", "a b", '"a"', "'a'", "a", "café", "a,b", "a\\b", '%"a"', "%41", " a", "x" * 128])
def test_a_request_id_is_itself(pair: Pair, name: str) -> None:
    """Two that differ are two requests, and each repeated is one; what a runner rejects, a client does."""
    first = pair.start(Many, "q", {}, start_id=name)
    assert pair.start(Many, "q", {}, start_id=name) == first
    assert name != "" or first.startswith("'start_id' must be")


def test_any_printable_text_is_a_request_id_in_a_header() -> None:
    """As bytes that any proxy passes on."""
    random = Random(1)
    for _ in range(2_000):
        text = "".join(chr(random.choice((random.randrange(32, 127), random.randrange(0x3000)))) for _ in range(5))
        if text.isprintable():
            assert read_key(written(text)) == text
            assert written(text).isascii()
            assert " " not in written(text)


def test_any_call_is_taken_or_rejected_alike(pair: Pair) -> None:
    """With values, names, ids and numbers of every kind: never a raw error."""
    random = Random(20_261_129)
    odds = Odds(random)
    numbers: tuple[Any, ...] = (None, 0, 1, 2, 200, 201, 10**9, -1, True, 1.0, "1", Decimal(1), "")
    pair.start(Gated, "known", {})

    def number() -> Any:
        return random.choice(numbers)

    def name() -> Any:
        return random.choice((None, 5, b"go", "go", "gate", gate, odds.text()))

    def which() -> Any:
        return random.choice(("gated::known", "gated::none", "", None, 5, "known", "gated::../x", odds.text()))

    def flow() -> Any:
        return random.choice((Gated, "Gated", "Many", "None", "", None, 5, Workflow, gate, object, odds.text()))

    calls: tuple[Callable[[int], Any], ...] = (
        lambda at: pair.start(Gated, f"v-{at}", odds.mapping()),
        lambda at: pair.start(Gated, f"v-{at}", {}, metadata=odds.mapping(), start_id=name()),
        lambda at: pair.start(flow(), f"v-{at}", {}),
        lambda at: pair.start(Gated, random.choice((f"v-{at}", which())), {}, tags=[odds.text()]),
        lambda at: pair.start(Gated, f"v-{at}", {}, version=number()),
        lambda _: pair.call("resume", which(), name(), odds.value(), step=name(), event_id=name()),
        lambda _: pair.call("get", which()),
        lambda _: pair.call("history", which(), generation=number(), limit=number(), cursor=name()),
        lambda _: pair.call("list", workflow=flow(), status=name(), version=number(), tag=name(), limit=number()),
        lambda _: pair.call("list", limit=number(), cursor=name()),
        lambda _: pair.call("heartbeat", which(), name()),
        lambda _: pair.call("cancel", which(), name(), compensate=random.choice((True, 0)), request_id=name()),
        lambda _: pair.call("pause", which(), name(), request_id=name()),
        lambda _: pair.call("unpause", which(), request_id=name()),
        lambda at: pair.call("fork", "gated::known", number(), new_id=f"f-{at}", results={"gate": odds.value()}),
    )
    for at in range(RUNS):
        random.choice(calls)(at)


def test_waiting_takes_what_is_a_duration_elsewhere(pair: Pair) -> None:
    """Seconds or a ``timedelta``; anything else is the caller's mistake."""
    waited = pair.client.start(Gated, "waited")
    for timeout in (timedelta(0), 0, 0.0, timedelta(microseconds=1)):
        with pytest.raises(TimeoutError, match="has not ended within"):
            waited.wait(timeout)
    for odd in ("5", -1, True, float("nan"), object()):
        with pytest.raises(BadRequest, match="timeout is"):
            waited.wait(odd)  # type: ignore[arg-type]  # a mistake
    with pytest.raises(UnknownWorkflow, match="is no workflow: give its name or its class"):
        pair.client.start(Workflow, "1")
