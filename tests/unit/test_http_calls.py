"""A call is read from JSON: presence and types are checked, all mistakes reported together."""

from __future__ import annotations

from typing import Any

import pytest

from hephaestus.calls import (
    Cancel,
    Deliver,
    ScheduleResume,
    Start,
    read_cancel,
    read_deliver,
    read_schedule_resume,
    read_start,
)
from hephaestus.errors import BadRequest, UnknownWorkflow

START = {"workflow": "OrderFlow", "id": "1"}
DELIVER = {"instance_id": "orderid::1", "event": "approved"}


def test_calls_are_read_with_their_defaults() -> None:
    """What is left out, or null, has its default; what comes from the path needs no member."""
    assert read_start(START) == Start("OrderFlow", "1")
    assert read_start({"id": "1", "tags": None}, workflow="OrderFlow", start_id=None) == Start("OrderFlow", "1")
    assert read_deliver({**DELIVER, "payload": [1]}) == Deliver("orderid::1", "approved", [1])
    assert read_cancel({}, instance_id="orderid::1", request_id="r") == Cancel("orderid::1", "", request_id="r")
    known = {"action": "schedule_resume", "instance_id": "orderid::1", "step": "approval", "delay_ms": 1.5}
    assert read_schedule_resume(known) == ScheduleResume("orderid::1", "approval", 1.5)


@pytest.mark.parametrize("source", [[], [1], "text", 1, None, True])
def test_anything_but_an_object_is_refused(source: object) -> None:
    """A list body is malformed."""
    with pytest.raises(BadRequest, match="a JSON object is needed"):
        read_start(source, workflow="OrderFlow")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": 1}, "'id' must be a string"),
        ({"id": None}, "'id' is missing"),
        ({"context": []}, "'context' must be an object"),
        ({"version": "1"}, "'version' must be a whole number"),
        ({"version": True}, "'version' must be a whole number"),
        ({"version": 1.0}, "'version' must be a whole number"),
        ({"tags": "a"}, "'tags' must be a list"),
        ({"tags": [1]}, "'tags' must be at most 20 strings"),
        ({"tags": ["x" * 65]}, "'tags' must be at most 20 strings"),
        ({"tags": ["x"] * 21}, "'tags' must be at most 20 strings"),
        ({"metadata": "x"}, "'metadata' must be an object"),
        ({"contxt": {}}, "'contxt' is not known"),
        ({"x" * 10_000: 1}, "… is not known"),
        ({"start_id": "a b"}, "'start_id' must be 1 to 128 visible"),
    ],
)
def test_a_malformed_start_is_refused(change: dict[str, Any], problem: str) -> None:
    """Each names the member and what it must be."""
    with pytest.raises(BadRequest) as raised:
        read_start({**START, **change})
    assert problem in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_all_mistakes_are_told_at_once() -> None:
    """Nobody likes to mend one at a time."""
    with pytest.raises(BadRequest, match=r"'contxt' is not known; 'id' is missing; 'version' must be a whole number"):
        read_start({"workflow": "OrderFlow", "contxt": {}, "version": "1"})


def test_what_the_path_says_cannot_be_said_again() -> None:
    """A body that contradicts its path is malformed."""
    with pytest.raises(BadRequest, match="'instance_id' is not known"):
        read_deliver({**DELIVER}, instance_id="orderid::2")


@pytest.mark.parametrize("name", ["", "1", "a b", "x" * 10_000, "Order/Flow"])
def test_a_name_that_no_workflow_can_have_is_unknown(name: str) -> None:
    """404, with a short text."""
    with pytest.raises(UnknownWorkflow) as raised:
        read_start({"id": "1"}, workflow=name)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("instance_id", ["", "x", "a:b", "a::", "::b", "a::b c", "a::" + "x" * 10_000, "a::b\n"])
def test_an_id_that_no_instance_can_have_is_malformed(instance_id: str) -> None:
    """Illegal characters and ten thousand legal ones."""
    for read in (read_deliver, read_cancel):
        with pytest.raises(BadRequest, match="is not an instance id") as raised:
            read({"event": "x"} if read is read_deliver else {}, instance_id=instance_id)
        assert len(str(raised.value)) < 250


@pytest.mark.parametrize(
    "change", [{"event": ""}, {"event": "x" * 129}, {"step": ""}, {"event_id": "ä"}, {"event_id": ""}]
)
def test_a_malformed_event_is_refused(change: dict[str, Any]) -> None:
    """Names have bounds."""
    with pytest.raises(BadRequest):
        read_deliver({**DELIVER, **change})


def test_a_long_reason_is_refused() -> None:
    """A reason is a sentence, not a file."""
    with pytest.raises(BadRequest, match="longer than 1000"):
        read_cancel({"instance_id": "orderid::1", "reason": "x" * 1001})


def test_a_reason_that_could_not_be_shown_again_is_refused() -> None:
    """Only Lambda's own JSON brings half a surrogate pair; an answer that held it would be no UTF-8."""
    with pytest.raises(BadRequest, match="'reason' is a text with half a surrogate pair"):
        read_cancel({"instance_id": "orderid::1", "reason": "\ud800"})
