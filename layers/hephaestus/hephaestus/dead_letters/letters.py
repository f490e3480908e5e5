"""What a dead letter asks for, told from its body.

Four kinds of letters lie in a stack's dead-letter queues:

* a message of the work queue, as it was, moved by SQS after it had failed too often: it wakes an instance, removes a
  schedule or publishes a status event;
* what a one-shot schedule would have sent to ``resume``, where EventBridge Scheduler could not deliver it (User Guide,
  "Configuring a schedule's dead-letter queue": the body is the input, or the request that holds it as ``Payload``);
* the record of an asynchronous invocation of ``start``, ``resume`` or ``control`` that failed every time, with the
  event as ``requestPayload`` (Lambda Developer Guide, "Capturing records of Lambda asynchronous invocations");
* a message of the ingest queue, in dead letters of its own, which goes back there whatever it says.

Nothing here imports AWS, and no reason that is given holds anything of a payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from hephaestus.adapters import scheduler, sqs
from hephaestus.definition.business_key import check_id
from hephaestus.errors import BadRequest
from hephaestus.handlers.triggers import read_timeout, read_work, trigger
from hephaestus.runtime import commands
from hephaestus.runtime.ports import Timeout
from hephaestus.runtime.status_events import StatusEvent
from hephaestus.values.strict_json import read_json


@dataclass(frozen=True, slots=True)
class Wake:
    """Have an instance looked at: what is due is done then, and where nothing is, nothing happens."""

    instance_id: str


@dataclass(frozen=True, slots=True)
class RemoveSchedule:
    """Have a schedule removed that its wait left behind."""

    timeout: Timeout


@dataclass(frozen=True, slots=True)
class Publish:
    """Have a status event published that the bus did not take."""

    event: StatusEvent


@dataclass(frozen=True, slots=True)
class Deliver:
    """Give a function an event once more; the id that it has makes it one, however often it comes.

    Attributes:
        event: what the function was invoked with.
        function: ``start``, ``resume`` or ``control``, which reads such events.
    """

    event: Mapping[str, Any]
    function: str = "resume"


@dataclass(frozen=True, slots=True)
class Ingest:
    """Take an event from outside once more; the id in its attributes makes it one, however often it comes.

    Attributes:
        body: the message's text.
        attributes: the message's attributes.
    """

    body: str
    attributes: Mapping[str, str]


Errand: TypeAlias = Wake | RemoveSchedule | Publish | Deliver | Ingest


def read_letter(body: str) -> Errand:
    """What the letter asks for.

    Raises:
        BadRequest: it is not ours, is damaged, or must not be sent again; the text says which.
    """
    letter = _read_object(body)
    if isinstance(letter.get("requestContext"), Mapping) and "requestPayload" in letter:
        return _read_invocation(letter["requestPayload"])
    if letter.get("source") == sqs.SOURCE:
        work = read_work(body)
        if isinstance(work, StatusEvent):
            return Publish(work)
        return RemoveSchedule(work) if isinstance(work, Timeout) else Wake(work.instance_id)
    given = _read_input(letter)
    if given.get("source") != scheduler.SOURCE:
        message = "not a message of Hephaestus: it names no source of ours"
        raise BadRequest(message)
    return Wake(read_timeout(given).instance_id)


def _read_invocation(event: object) -> Errand:
    """What the event of a failed invocation asks for.

    A timeout or a message needs no more than a look at its instance. Another event is the caller's own: without an
    id it might have been taken before the invocation failed, and would be taken twice.

    Raises:
        BadRequest: nothing, or nothing that may be done twice.
    """
    if not isinstance(event, Mapping):
        message = "the invocation that failed had no JSON object as its event"
        raise BadRequest(message)
    if event.get("source") == scheduler.SOURCE:
        return Wake(read_timeout(event).instance_id)
    if trigger(event) != "direct" or event.get("action") == "heartbeat":
        message = "the invocation that failed was for its moment only, as a heartbeat is: nothing is left to be done"
        raise BadRequest(message)
    function = function_of(event)
    if function != "resume":
        _check_named(event, function)
        return Deliver(event, function)
    call = commands.Deliver.read(event)
    if call.event_id is None:
        message = (
            f"instance {call.instance_id}: event {call.event!r} has no event_id and would perhaps be delivered twice; "
            "see the instance's history, deliver it if it is not there, and delete this letter"
        )
        raise BadRequest(message)
    return Deliver(event)


def function_of(event: Mapping[str, Any]) -> str:
    """Which function reads a direct call, told from its members."""
    if "action" in event and event["action"] != "heartbeat":
        return "control"
    return "start" if "workflow" in event else "resume"


def _check_named(event: Mapping[str, Any], function: str) -> None:
    """Make sure that a start, or what steers an instance, has the id that makes it one.

    Raises:
        BadRequest: it has none, or could not be read.
    """
    if function == "start":
        name, what, about = "start_id", "start", commands.Start.read(event).id
    else:
        action = str(event["action"])[:64]
        name = "start_id" if action == "fork" else "request_id"
        what, about = f"action {action!r}", str(event.get("instance_id"))[:256]
        check_id(about)
    if not isinstance(event.get(name), str):
        message = (
            f"{about}: the {what} has no {name} and would perhaps be done twice; see the instance's history, "
            "do it if it is not there, and delete this letter"
        )
        raise BadRequest(message)


def _read_input(letter: Mapping[str, Any]) -> Mapping[str, Any]:
    """The input of a schedule that could not be delivered, also where the whole request is shown."""
    payload = letter.get("Payload")
    if isinstance(payload, str):
        return _read_object(payload)
    return payload if isinstance(payload, Mapping) else letter


def _read_object(text: str) -> Mapping[str, Any]:
    try:
        read = read_json(text, "the letter")
    except BadRequest as error:
        message = f"not a message of Hephaestus: {error}"
        raise BadRequest(message) from error
    if not isinstance(read, dict):
        message = "not a message of Hephaestus: it is no JSON object"
        raise BadRequest(message)
    return read
