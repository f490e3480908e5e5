"""A call is read from JSON: presence and types are checked, all mistakes reported together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.errors import BadRequest, CallerError, InvalidInput, UnknownWorkflow
from hephaestus.runtime.commands import (
    CATALOGUE,
    Answer,
    Cancel,
    Deliver,
    Fork,
    Heartbeat,
    Pause,
    Redrive,
    ScheduleResume,
    Start,
)
from hephaestus.runtime.commands.command import Command, in_path

if TYPE_CHECKING:
    from collections.abc import Callable

START = {"workflow": "OrderFlow", "id": "1"}
DELIVER = {"instance_id": "orderid::1", "event": "approved"}
STEER = {"instance_id": "orderid::1"}
FORK = {"instance_id": "orderid::1", "new_id": "2"}


STEERING: dict[Callable[..., Any], dict[str, Any]] = {
    Cancel.read: STEER,
    Pause.read: STEER,
    Redrive.read: STEER,
    Fork.read: FORK,
    Heartbeat.read: STEER,
}
ONE_READER = pytest.mark.parametrize("read", STEERING)


def test_calls_are_read_with_their_defaults() -> None:
    """What is left out, or null, has its default; what comes from the path needs no member."""
    start = Start(workflow="OrderFlow", id="1")
    assert Start.read(START) == start
    assert Start.read({"id": "1", "tags": None}, workflow="OrderFlow", start_id=None) == start
    payload = Deliver(instance_id="orderid::1", event="approved", payload=[1])
    assert Deliver.read({**DELIVER, "payload": [1]}) == payload
    cancel = Cancel(instance_id="orderid::1", request_id="r")
    assert Cancel.read({}, instance_id="orderid::1", request_id="r") == cancel
    known = {"action": "schedule_resume", "instance_id": "orderid::1", "step": "approval", "delay_ms": 15}
    assert ScheduleResume.read(known) == ScheduleResume(instance_id="orderid::1", step="approval", delay_ms=15)


def test_a_number_is_whole_however_it_is_written() -> None:
    """JSON has one kind of number: ``2.0`` is a version, ``2.5`` is none."""
    assert Start.read({**START, "version": 2.0}).version == 2
    assert isinstance(Start.read({**START, "version": 2.0}).version, int)
    for number in (2.5, 1e400, True):
        with pytest.raises(BadRequest, match="'version' must be a whole number"):
            Start.read({**START, "version": number})


@pytest.mark.parametrize("source", [[], [1], "text", 1, None, True])
def test_anything_but_an_object_is_refused(source: object) -> None:
    """A list body is malformed."""
    with pytest.raises(BadRequest, match="a JSON object is needed"):
        Start.read(source, workflow="OrderFlow")


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
        ({"tags": [1]}, "the tag 1 is invalid"),
        ({"tags": ["x" * 65]}, "is invalid: give a list of at most 20"),
        ({"tags": ["x"] * 21}, "there are 21 tags"),
        ({"metadata": "x"}, "'metadata' must be an object"),
        ({"contxt": {}}, "'contxt' is not known"),
        ({"x" * 10_000: 1}, "… is not known"),
        ({"start_id": "a\n"}, "'start_id' must be a printable string of 1 to 128"),
    ],
)
def test_a_malformed_start_is_refused(change: dict[str, Any], problem: str) -> None:
    """Each names the member and what it must be."""
    with pytest.raises(BadRequest) as raised:
        Start.read({**START, **change})
    assert problem in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_all_mistakes_are_told_at_once() -> None:
    """Nobody likes to fix one at a time."""
    with pytest.raises(BadRequest, match=r"'contxt' is not known; 'id' is missing; 'version' must be a whole number"):
        Start.read({"workflow": "OrderFlow", "contxt": {}, "version": "1"})


def test_what_the_path_says_cannot_be_said_again() -> None:
    """A body that contradicts its path is malformed."""
    with pytest.raises(BadRequest, match="'instance_id' is not known"):
        Deliver.read({**DELIVER}, instance_id="orderid::2")


@pytest.mark.parametrize("name", ["", "1", "a b", "x" * 10_000, "Order/Flow"])
def test_a_name_that_no_workflow_can_have_is_unknown(name: str) -> None:
    """404, with a short text."""
    with pytest.raises(UnknownWorkflow) as raised:
        Start.read({"id": "1"}, workflow=name)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("instance_id", ["", "x", "a:b", "a::", "::b", "a::b c", "a::" + "x" * 10_000, "a::b\n"])
def test_an_id_that_no_instance_can_have_is_malformed(instance_id: str) -> None:
    """Illegal characters and ten thousand legal ones."""
    for read in (Deliver.read, Cancel.read):
        with pytest.raises(BadRequest, match="is not an instance id") as raised:
            read({"event": "x"} if read == Deliver.read else {}, instance_id=instance_id)
        assert len(str(raised.value)) < 250


@pytest.mark.parametrize(
    "change", [{"event": ""}, {"event": "x" * 129}, {"step": ""}, {"event_id": "\n"}, {"event_id": ""}]
)
def test_a_malformed_event_is_refused(change: dict[str, Any]) -> None:
    """Names have bounds."""
    with pytest.raises(BadRequest):
        Deliver.read({**DELIVER, **change})


def test_a_long_reason_is_refused() -> None:
    """A reason is a sentence, not a file."""
    with pytest.raises(BadRequest, match="at most 1000"):
        Cancel.read({"instance_id": "orderid::1", "reason": "x" * 1001})


def test_requests_to_steer_are_read_with_their_defaults() -> None:
    """Null is left out; ``action`` is the direct call's own; a name may come from a header."""
    assert Cancel.read({**STEER, "compensate": True}) == Cancel(instance_id="orderid::1", compensate=True)
    assert Pause.read({**STEER, "action": "pause", "reason": None}) == Pause(instance_id="orderid::1")
    named = Pause(instance_id="a::b", reason="why", request_id="r")
    assert Pause.read({"reason": "why"}, instance_id="a::b", request_id="r") == named
    assert Redrive.read({}, instance_id="a::b", request_id=None) == Redrive(instance_id="a::b")
    assert Fork.read({**FORK, "at": 1}) == Fork(instance_id="orderid::1", new_id="2", at=1)
    whole = {"at": 3, "generation": 2, "version": 1, "context": {"n": 1}, "results": {"a": {}}, "start_id": "s"}
    assert Fork.read({**FORK, **whole}) == Fork(
        instance_id="orderid::1",
        new_id="2",
        at=3,
        generation=2,
        version=1,
        context={"n": 1},
        results={"a": {}},
        start_id="s",
    )
    assert Heartbeat.read(STEER) == Heartbeat(instance_id="orderid::1")
    assert Heartbeat.read({"step": "work"}, instance_id="a::b") == Heartbeat(instance_id="a::b", step="work")


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
        (Pause.read, {"reason": 1}, "'reason' must be a string"),
        (Pause.read, {"reason": ["why"]}, "'reason' must be a string"),
        (Pause.read, {"reason": "x" * 1001}, "'reason' must be a string of at most 1000"),
        (Pause.read, {"compensate": True}, "'compensate' is not known"),
        (Redrive.read, {"reason": "why"}, "'reason' is not known"),
        (Redrive.read, {"step": "a"}, "'step' is not known"),
        (Cancel.read, {"compensate": 1}, "'compensate' must be true or false"),
        (Cancel.read, {"compensate": "true"}, "'compensate' must be true or false"),
        *[
            (read, {"request_id": request_id}, problem)
            for read in (Cancel.read, Pause.read, Redrive.read)
            for request_id, problem in (
                (1, "'request_id' must be a string"),
                ("", "'request_id' must be a printable"),
                ("x" * 129, "'request_id' must be a printable"),
                ("a\n", "'request_id' must be a printable"),
            )
        ],
        (Fork.read, {"new_id": None}, "'new_id' is missing"),
        (Fork.read, {"new_id": 2}, "'new_id' must be a string"),
        (Fork.read, {"at": "1"}, "'at' must be a whole number"),
        (Fork.read, {"at": 1.5}, "'at' must be a whole number"),
        (Fork.read, {"at": True}, "'at' must be a whole number"),
        (Fork.read, {"generation": "1"}, "'generation' must be a whole number"),
        (Fork.read, {"version": False}, "'version' must be a whole number"),
        (Fork.read, {"context": []}, "'context' must be an object"),
        (Fork.read, {"results": "x"}, "'results' must be an object"),
        (Fork.read, {"start_id": ""}, "'start_id' must be a printable"),
        (Fork.read, {"request_id": "r"}, "'request_id' is not known"),
        (Fork.read, {"tags": ["a"]}, "'tags' is not known"),
        (Heartbeat.read, {"step": 1}, "'step' must be a string"),
        (Heartbeat.read, {"step": ""}, "'step' must be a printable string of 1 to 128"),
        (Heartbeat.read, {"step": "x" * 129}, "'step' must be a printable string of 1 to 128"),
        (Heartbeat.read, {"request_id": "r"}, "'request_id' is not known"),
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
        Fork.read({"instance_id": "orderid::1", "att": 1, "at": "1"})
    assert "Its members are: instance_id, new_id, at, generation, context, results, version, start_id" in str(
        raised.value
    )


def test_a_reason_that_could_not_be_shown_again_is_refused() -> None:
    """Only Lambda's own JSON brings half a surrogate pair; an answer that held it would be no UTF-8."""
    with pytest.raises(BadRequest, match="'reason' is a text with half a surrogate pair"):
        Cancel.read({"instance_id": "orderid::1", "reason": "\ud800"})


def test_every_mistake_is_named_whatever_its_kind() -> None:
    """Of a type, of a bound, unknown or missing: one answer; and from Python as from JSON."""
    body = {"version": 0, "tags": ["x" * 65], "start_id": "", "contxt": {}, "context": []}
    with pytest.raises(BadRequest) as raised:
        Start.read(body, workflow="OrderFlow")
    said = str(raised.value)
    for problem in (
        "'contxt' is not known",
        "'id' is missing",
        "'context' must be",
        "'version' must",
        "tag",
        "'start_id'",
    ):
        assert problem in said
    with pytest.raises(BadRequest) as raised:
        Cancel(instance_id="x", reason="r" * 1001, request_id="", by="\n")
    for problem in ("is not an instance id", "'reason' must", "'request_id' must", "by must"):
        assert problem in str(raised.value)


def test_one_mistake_keeps_its_own_error() -> None:
    """What cannot be stored is no malformed request, unless something else is."""
    with pytest.raises(InvalidInput, match="context"):
        Start.read({**START, "context": {"a": float("nan")}})
    with pytest.raises(InvalidInput, match=r"context.*metadata"):
        Start.read({**START, "context": {"a": float("nan")}, "metadata": {"a": float("inf")}})
    with pytest.raises(BadRequest, match=r"context.*version"):
        Start.read({**START, "context": {"a": float("nan")}, "version": 0})


def test_a_command_is_frozen_and_has_its_members_only() -> None:
    """It is what was asked for; what it does not know, no one can ask for."""
    command = Pause(instance_id="a::b")
    with pytest.raises(AttributeError, match="frozen"):
        command.reason = "another"  # type: ignore[misc]  # as a type checker says
    with pytest.raises(TypeError, match="Pause takes instance_id, reason, request_id, by"):
        Pause(instance_id="a::b", compensate=True)  # type: ignore[call-arg]  # as a type checker says
    with pytest.raises(TypeError, match="missing"):
        Pause()  # type: ignore[call-arg]  # as a type checker says


@pytest.mark.parametrize("command", CATALOGUE, ids=lambda one: one.__name__)
def test_a_command_says_all_that_is_made_of_it(command: type[Command]) -> None:
    """Its name, its errors and its members, each with a rule and a sentence; its route's parts are members."""
    assert command.action
    assert command.__doc__
    assert set(in_path(command)) <= command.members.keys()
    assert not command.named_by or command.named_by in command.members
    assert all(issubclass(error, CallerError) for error in command.raises)
    assert all(own.doc.endswith(".") for own in command.members.values())
    assert bool(command.route) == bool(command.operation) == (command not in {ScheduleResume, Answer})


def test_no_two_commands_share_a_name() -> None:
    """An action, an operation or a route is one command's."""
    for names in ([one.action for one in CATALOGUE], [one.route for one in CATALOGUE if one.route]):
        assert len(set(names)) == len(names)
