"""A call is read from JSON: presence and types are checked, all mistakes reported together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.calls import (
    Cancel,
    Deliver,
    Fork,
    Heartbeat,
    ScheduleResume,
    Start,
    Steer,
    read_cancel,
    read_deliver,
    read_fork,
    read_heartbeat,
    read_schedule_resume,
    read_start,
    read_steer,
)
from hephaestus.errors import BadRequest, UnknownWorkflow

if TYPE_CHECKING:
    from collections.abc import Callable

START = {"workflow": "OrderFlow", "id": "1"}
DELIVER = {"instance_id": "orderid::1", "event": "approved"}
STEER = {"instance_id": "orderid::1"}
FORK = {"instance_id": "orderid::1", "new_id": "2"}


def read_pause(source: object, **known: str | None) -> Steer:
    """What a pause is read with."""
    return read_steer(source, reason=True, **known)


def read_redrive(source: object, **known: str | None) -> Steer:
    """What a redrive, and a continuation, are read with."""
    return read_steer(source, reason=False, **known)


STEERING: dict[Callable[..., Any], dict[str, Any]] = {
    read_cancel: STEER,
    read_pause: STEER,
    read_redrive: STEER,
    read_fork: FORK,
    read_heartbeat: STEER,
}
ONE_READER = pytest.mark.parametrize("read", STEERING)


def test_calls_are_read_with_their_defaults() -> None:
    """What is left out, or null, has its default; what comes from the path needs no member."""
    assert read_start(START) == Start("OrderFlow", "1")
    assert read_start({"id": "1", "tags": None}, workflow="OrderFlow", start_id=None) == Start("OrderFlow", "1")
    assert read_deliver({**DELIVER, "payload": [1]}) == Deliver("orderid::1", "approved", [1])
    assert read_cancel({}, instance_id="orderid::1", request_id="r") == Cancel("orderid::1", "", request_id="r")
    known = {"action": "schedule_resume", "instance_id": "orderid::1", "step": "approval", "delay_ms": 1.5}
    assert read_schedule_resume(known) == ScheduleResume("orderid::1", "approval", 1.5)


def test_a_number_is_whole_however_it_is_written() -> None:
    """JSON has one kind of number: ``2.0`` is a version, ``2.5`` is none."""
    assert read_start({**START, "version": 2.0}).version == 2
    assert isinstance(read_start({**START, "version": 2.0}).version, int)
    for number in (2.5, 1e400, True):
        with pytest.raises(BadRequest, match="'version' must be a whole number"):
            read_start({**START, "version": number})


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
        ({"version": 1.5}, "'version' must be a whole number"),
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


def test_requests_to_steer_are_read_with_their_defaults() -> None:
    """Null is left out; ``action`` is the direct call's own; a name may come from a header."""
    assert read_cancel({**STEER, "compensate": True}) == Cancel("orderid::1", "", compensate=True)
    assert read_pause({**STEER, "action": "pause", "reason": None}) == Steer("orderid::1")
    assert read_pause({"reason": "why"}, instance_id="a::b", request_id="r") == Steer("a::b", "why", "r")
    assert read_redrive({}, instance_id="a::b", request_id=None) == Steer("a::b")
    assert read_fork({**FORK, "at": 1}) == Fork("orderid::1", "2", at=1)
    whole = {"at": 3, "generation": 2, "version": 1, "context": {"n": 1}, "results": {"a": {}}, "start_id": "s"}
    assert read_fork({**FORK, **whole}) == Fork("orderid::1", "2", 3, 2, {"n": 1}, {"a": {}}, 1, "s")
    assert read_heartbeat(STEER) == Heartbeat("orderid::1")
    assert read_heartbeat({"step": "work"}, instance_id="a::b") == Heartbeat("a::b", "work")


@ONE_READER
@pytest.mark.parametrize("source", [[], [1], "text", 1, None, True])
def test_anything_but_an_object_steers_nothing(read: Callable[..., Any], source: object) -> None:
    """Whatever JSON allows beside it."""
    with pytest.raises(BadRequest, match="a JSON object is needed"):
        read(source, instance_id="orderid::1")


@ONE_READER
@pytest.mark.parametrize(
    "instance_id", [1, True, [], {}, "", "x", "a::", "::b", "a::b c", "a::b\n", "a::" + "x" * 9999]
)
def test_what_is_no_id_steers_nothing(read: Callable[..., Any], instance_id: Any) -> None:
    """Of another type, of another shape, or too long; the text stays short."""
    with pytest.raises(BadRequest) as raised:
        read({**STEERING[read], "instance_id": instance_id})
    assert len(str(raised.value)) < 300


@ONE_READER
def test_a_request_without_an_id_steers_nothing(read: Callable[..., Any]) -> None:
    """Missing and null are the same; the members there are get named."""
    for source in ({}, {"instance_id": None}):
        with pytest.raises(BadRequest, match=r"'instance_id' is missing.*Its members are: instance_id"):
            read(source)


@ONE_READER
def test_a_body_cannot_name_another_instance_than_its_path(read: Callable[..., Any]) -> None:
    """Nor a name beside the one in the header."""
    with pytest.raises(BadRequest, match="'instance_id' is not known"):
        read(STEERING[read], instance_id="orderid::2")


@pytest.mark.parametrize(
    ("read", "change", "problem"),
    [
        (read_pause, {"reason": 1}, "'reason' must be a string"),
        (read_pause, {"reason": ["why"]}, "'reason' must be a string"),
        (read_pause, {"reason": "x" * 1001}, "'reason' is longer than 1000"),
        (read_pause, {"compensate": True}, "'compensate' is not known"),
        (read_redrive, {"reason": "why"}, "'reason' is not known"),
        (read_redrive, {"step": "a"}, "'step' is not known"),
        (read_cancel, {"compensate": 1}, "'compensate' must be true or false"),
        (read_cancel, {"compensate": "true"}, "'compensate' must be true or false"),
        *[
            (read, {"request_id": request_id}, problem)
            for read in (read_cancel, read_pause, read_redrive)
            for request_id, problem in (
                (1, "'request_id' must be a string"),
                ("", "'request_id' must be 1 to 128 visible"),
                ("x" * 129, "'request_id' must be 1 to 128 visible"),
                ("a b", "'request_id' must be 1 to 128 visible"),
                ("ä", "'request_id' must be 1 to 128 visible"),
            )
        ],
        (read_fork, {"new_id": None}, "'new_id' is missing"),
        (read_fork, {"new_id": 2}, "'new_id' must be a string"),
        (read_fork, {"at": "1"}, "'at' must be a whole number"),
        (read_fork, {"at": 1.5}, "'at' must be a whole number"),
        (read_fork, {"at": True}, "'at' must be a whole number"),
        (read_fork, {"generation": "1"}, "'generation' must be a whole number"),
        (read_fork, {"version": False}, "'version' must be a whole number"),
        (read_fork, {"context": []}, "'context' must be an object"),
        (read_fork, {"results": "x"}, "'results' must be an object"),
        (read_fork, {"start_id": "a b"}, "'start_id' must be 1 to 128 visible"),
        (read_fork, {"request_id": "r"}, "'request_id' is not known"),
        (read_fork, {"tags": ["a"]}, "'tags' is not known"),
        (read_heartbeat, {"step": 1}, "'step' must be a string"),
        (read_heartbeat, {"step": ""}, "'step' must be 1 to 128 characters"),
        (read_heartbeat, {"step": "x" * 129}, "'step' must be 1 to 128 characters"),
        (read_heartbeat, {"request_id": "r"}, "'request_id' is not known"),
    ],
)
def test_a_malformed_request_steers_nothing(read: Callable[..., Any], change: dict[str, Any], problem: str) -> None:
    """Each names the member and what it must be."""
    with pytest.raises(BadRequest) as raised:
        read({**STEERING[read], **change})
    assert problem in str(raised.value)
    assert len(str(raised.value)) < 500


def test_all_mistakes_of_a_fork_are_told_at_once() -> None:
    """With the members that there are."""
    with pytest.raises(
        BadRequest, match="'att' is not known; 'new_id' is missing; 'at' must be a whole number"
    ) as raised:
        read_fork({"instance_id": "orderid::1", "att": 1, "at": "1"})
    assert "Its members are: instance_id, new_id, at, generation, version, context, results, start_id" in str(
        raised.value
    )


def test_a_reason_that_could_not_be_shown_again_is_refused() -> None:
    """Only Lambda's own JSON brings half a surrogate pair; an answer that held it would be no UTF-8."""
    with pytest.raises(BadRequest, match="'reason' is a text with half a surrogate pair"):
        read_cancel({"instance_id": "orderid::1", "reason": "\ud800"})
