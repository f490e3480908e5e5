"""Status events: what services outside learn of an instance, whatever dies or fails on the way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, BadRequest, Retry, StepContext, Workflow, step
from hephaestus.errors import EngineError, HephaestusError, StoreUnavailable
from hephaestus.runtime.status_events import MAX_OUTPUT, read_status_event, status_event
from hephaestus.steps import WaitForEvent
from hephaestus.store.keys import HEAD
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.runtime.status_events import StatusEvent

SILENT, BROKEN = StoreUnavailable("silent"), EngineError("no such bus")


class Killed(BaseException):
    """The process dies here."""


@step(compensate=lambda ctx: None, retry=Retry(max_attempts=1))
def ship(ctx: StepContext) -> dict[str, Any]:
    """Ship, or fail."""
    if ctx.steps["approval"].get("fail"):
        message = "no truck"
        raise ValueError(message)
    return {"text": "x" * ctx.initial.get("size", 1), "count": 2}


@step(compensate=lambda ctx: None)
def prepare(ctx: StepContext) -> str:
    """Do nothing that shows."""
    return "done"


class Order(Workflow, key="order", tags=["sales"]):
    """Prepare, wait for a person, ship."""

    approval = WaitForEvent("approved", name="approval")
    start_at = prepare
    transitions = {prepare: {"done": approval}, approval: {"approved": ship}, ship: {"done": DONE}}


ID = "order::1"


def statuses(local: LocalRuntime) -> list[str]:
    """Of the published events, in their order."""
    return [str(each["status"]) for each in local.status_events]


def test_an_order_that_completes_says_when_it_begins_and_how_it_ends() -> None:
    """A wait is nothing of its own: an order that waits runs."""
    local = LocalRuntime(Order)
    local.start(Order, "1", {"secret": "never shown"}, tags=["urgent"])
    local.resume(ID, "approved")
    began, ended = local.status_events
    state = local.store.load(ID)
    assert state is not None
    same = {"instance_id": ID, "version": 1, "generation": 1, "life": state.life, "tags": ["sales", "urgent"]}
    assert {**began, **same, "workflow": state.workflow, "status": "running", "number": 2} == began
    assert {**ended, **same, "workflow": state.workflow, "status": "completed", "number": state.sequence} == ended
    assert (ended["output"], ended["output_included"]) == ({"text": "x", "count": 2}, True)
    assert began["started_at"] == ended["started_at"] == "2026-01-01T00:00:00.000+00:00"
    assert "secret" not in json.dumps(local.status_events)


def test_a_large_output_is_left_out_and_the_event_says_so() -> None:
    local = LocalRuntime(Order)
    local.start(Order, "1", {"size": MAX_OUTPUT})
    local.resume(ID, "approved")
    ended = local.status_events[-1]
    assert "output" not in ended
    assert ended["output_included"] is False
    assert len(json.dumps(ended)) < 64 * 1024


def test_every_status_that_a_person_would_tell_apart_is_published() -> None:
    """Numbers order them; who goes on after an unpause publishes that once more, as it cannot know that it was done."""
    local = LocalRuntime(Order)
    local.start(Order, "1")
    local.runner.pause(ID, "stocktaking")
    local.runner.unpause(ID)
    local.settle()
    local.resume(ID, "approved", {"fail": True})
    local.runner.redrive(ID)
    local.settle()
    told = {each["number"]: each for each in local.status_events}
    expected = ["running", "paused", "running", "compensating", "failed", "running"]
    assert [each["status"] for _, each in sorted(told.items())] == expected
    paused, failed = (next(each for each in told.values() if each["status"] == wanted) for wanted in expected[1::3][:2])
    assert paused["reason"] == "stocktaking"
    assert failed["error"] == {"type": "ValueError", "message": "step ship failed after 1 attempt(s): no truck"}


def test_a_cancellation_and_a_new_life_under_the_same_id_are_told_apart() -> None:
    local = LocalRuntime(Order)
    for _ in range(2):
        local.start(Order, "1")
        local.runner.cancel(ID, "enough")
        local.settle()
    assert statuses(local) == ["running", "cancelled"] * 2
    assert [each["generation"] for each in local.status_events] == [1, 1, 2, 2]
    assert len({each["life"] for each in local.status_events}) == 2


def head_number(local: LocalRuntime) -> tuple[object, int]:
    """The number that the head has, and that of the log."""
    head, state = local.store.table.get(ID, HEAD), local.store.load(ID)
    assert head is not None
    assert state is not None
    return head["sequence"], state.sequence


def failing(error: BaseException) -> Callable[[StatusEvent], None]:
    """A bus, or a queue, that fails."""

    def fail(_event: StatusEvent) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [SILENT, BROKEN], ids=["silent or throttled", "rejecting"])
def test_a_bus_that_fails_holds_back_no_head_and_the_queue_publishes_later(
    error: HephaestusError, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = LocalRuntime(Order)
    local.start(Order, "1")
    with monkeypatch.context() as patch:
        patch.setattr(local.bus, "publish", failing(error))
        local.runner.cancel(ID, "enough")
        sequence, newest = head_number(local)
        assert sequence == newest
    assert statuses(local) == ["running"]
    local.settle()
    assert statuses(local) == ["running", "cancelled"]


def test_where_the_queue_fails_as_well_the_event_is_lost_and_the_head_follows(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so; whether an instance goes on never depends on a bus."""
    local = LocalRuntime(Order)
    local.start(Order, "1")
    monkeypatch.setattr(local.bus, "publish", failing(SILENT))
    monkeypatch.setattr(local.queue, "publish_later", failing(SILENT))
    local.runner.cancel(ID, "enough")
    sequence, newest = head_number(local)
    assert sequence == newest
    assert f"instance {ID}: an effect of log entry {newest} failed" in caplog.text


def died(local: LocalRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order whose owner dies between the log entry that closes it and what follows from that."""
    local.start(Order, "1")
    with monkeypatch.context() as patch:
        patch.setattr(local.bus, "publish", failing(Killed()))
        with pytest.raises(Killed):
            local.runner.cancel(ID, "enough")
    sequence, newest = head_number(local)
    assert sequence != newest
    assert statuses(local) == ["running"]


def sweep(local: LocalRuntime) -> None:
    """The lease ends, and the sweep comes."""
    local.advance(3600)
    local.sweep()


def restart(local: LocalRuntime) -> None:
    """The id is started again before any sweep."""
    local.start(Order, "1")


def delete(local: LocalRuntime) -> None:
    """The instance is deleted before any sweep."""
    local.runner.delete(ID)


@pytest.mark.parametrize("afterwards", [sweep, restart, delete])
def test_an_event_that_a_crash_swallowed_is_published_from_the_log(
    afterwards: Callable[[LocalRuntime], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    local = LocalRuntime(Order)
    died(local, monkeypatch)
    afterwards(local)
    assert statuses(local)[:2] == ["running", "cancelled"]


def test_a_start_whose_first_event_a_crash_swallowed_is_published_at_the_next_boundary(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The head holds the first entry, so that it stands there says nothing of the event."""
    local = LocalRuntime(Order)
    local.runner.start_instance(Order, {}, id="1")
    with monkeypatch.context() as patch:
        patch.setattr(local.bus, "publish", failing(Killed()))
        with pytest.raises(Killed):
            local.settle()
    sweep(local)
    assert statuses(local) == ["running"]


def test_an_event_goes_through_a_message_and_anything_else_is_rejected() -> None:
    local = LocalRuntime(Order)
    local.start(Order, "1")
    state = local.store.load(ID)
    assert state is not None
    event = status_event(state)
    assert read_status_event(json.loads(json.dumps(event.detail))) == event
    broken: list[Any] = [None, [], {}, {**event.detail, "number": "4"}, {**event.detail, "at": "yesterday"}]
    for each in (*broken, *({k: v for k, v in event.detail.items() if k != name} for name in ("life", "version"))):
        with pytest.raises(BadRequest, match="status_event"):
            read_status_event(each)
