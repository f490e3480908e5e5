"""What each route takes and answers beyond what the code says by itself.

A route that is not here gets an operation that promises little: whoever adds one adds it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hephaestus import errors
from hephaestus.callbacks import errors as links
from hephaestus.calls import Cancel, Deliver, Fork, Heartbeat, Start, Steer
from hephaestus.engine.state import STATUSES
from hephaestus.http.api import MAX_LIMIT
from hephaestus.http.request import MAX_PARAMETER
from tools.openapi.schemas import INSTANCE_ID, NUMBER, WORKFLOW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.openapi.schemas import Schema

BY_HEADER: Final = ("start_id", "event_id", "request_id", "by")  # the Idempotency-Key, and who signed the request
NOT_FOUND: Final = (errors.InstanceNotFound,)
NOT_DEPLOYED: Final = (errors.UnknownWorkflow, errors.UnknownVersion)

PATH: Final[Mapping[str, Schema]] = {"id": INSTANCE_ID, "workflow": WORKFLOW}
LIMIT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}
CURSOR: Final[Schema] = {
    "type": "string",
    "format": "cursor",
    "minLength": 1,
    "description": "The cursor of the page before; nothing else is one.",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """One route and method.

    Attributes:
        id: its name for generated clients.
        summary: what it does.
        shows: the schema of its answer, by status.
        errors: what can be wrong besides a malformed request, an unavailable store and a defect.
        reads: the dataclass that the body is read into, ``None`` without a body.
        query: the parameters of its query.
        keyed: whether it takes an ``Idempotency-Key``.
        waits: whether it takes ``Prefer``.
        linked: whether the path is the permission: nothing is signed, and a person gets a page.
    """

    id: str
    summary: str
    shows: Mapping[int, str]
    errors: tuple[type[errors.CallerError], ...] = ()
    reads: type[Any] | None = None
    query: Mapping[str, Schema] | None = None
    keyed: bool = False
    waits: bool = False
    linked: bool = False

    @property
    def starts(self) -> bool:
        """Whether a new instance comes of it."""
        return self.reads in {Start, Fork}


ACCEPTED: Final[Mapping[int, str]] = {200: "Instance", 202: "AcceptedInstance"}
LINKS: Final = (
    links.LinkAltered,
    links.LinkForeign,
    links.LinkExpired,
    links.LinkOutdated,
    links.LinkUsed,
    links.StepMovedOn,
)
CLOSED: Final = (*NOT_FOUND, errors.InstanceClosed)


def _steers(name: str, summary: str, reads: type[Any], *wrong: type[errors.CallerError]) -> Operation:
    """A change of an instance, which may be waited for and repeated."""
    return Operation(name, summary, ACCEPTED, (*wrong, errors.RequestIdReused), reads, keyed=True, waits=True)


OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("GET", "/openapi.json"): Operation("getDocument", "This document", {200: "Document"}),
    ("GET", "/workflows"): Operation("listWorkflows", "What is deployed", {200: "Workflows"}),
    ("POST", "/workflows/{workflow}/instances"): _steers(
        "startInstance",
        "Start an instance",
        Start,
        *NOT_DEPLOYED,
        errors.AlreadyRunning,
        errors.InvalidInput,
        errors.PayloadTooLarge,
    ),
    ("GET", "/instances"): Operation(
        "listInstances",
        "List instances, newest start first",
        {200: "Instances"},
        (errors.UnknownWorkflow,),
        query={
            "workflow": WORKFLOW,
            "status": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "string", "enum": list(STATUSES)},
                "description": "In one of these; with commas, as in `failed,cancelled`, or repeated.",
            },
            "version": {**NUMBER, "description": "Of this version of its workflow."},
            "tag": {"type": "string", "minLength": 1, "maxLength": MAX_PARAMETER},
            "since": {
                "type": "string",
                "format": "date-time",
                "description": "Started then or later; in UTC where it names no zone.",
            },
            "limit": {**LIMIT, "default": 50},
            "cursor": CURSOR,
        },
    ),
    ("GET", "/instances/{id}"): Operation("getInstance", "Show an instance", {200: "Instance"}, NOT_FOUND),
    ("GET", "/instances/{id}/history"): Operation(
        "getHistory",
        "Show what happened to an instance, oldest first",
        {200: "History"},
        NOT_FOUND,
        query={
            "generation": {
                "type": "integer",
                "minimum": 1,
                "maximum": 999_999,
                "description": "Which of its runs; by default the newest.",
            },
            "limit": {**LIMIT, "default": 100},
            "cursor": {"type": "string", "pattern": "^[0-9]{1,8}$", "description": CURSOR["description"]},
        },
    ),
    ("POST", "/instances/{id}/events"): _steers(
        "deliverEvent",
        "Deliver an event",
        Deliver,
        *CLOSED,
        errors.UnknownStep,
        *NOT_DEPLOYED,
        errors.UnexpectedEvent,
        errors.AmbiguousEvent,
        errors.InvalidInput,
        errors.PayloadTooLarge,
    ),
    ("POST", "/instances/{id}/heartbeat"): Operation(
        "sendHeartbeat",
        "Say that a waiting step is worked on",
        {200: "Alive"},
        (*CLOSED, errors.UnknownStep, *NOT_DEPLOYED, errors.UnexpectedEvent, errors.AmbiguousEvent),
        Heartbeat,
    ),
    ("POST", "/instances/{id}/cancel"): _steers("cancelInstance", "Cancel an instance", Cancel, *CLOSED, *NOT_DEPLOYED),
    ("POST", "/instances/{id}/pause"): _steers("pauseInstance", "Pause an instance", Steer, *CLOSED),
    ("POST", "/instances/{id}/continue"): _steers("continueInstance", "Continue a paused instance", Steer, *CLOSED),
    ("POST", "/instances/{id}/redrive"): _steers(
        "redriveInstance",
        "Have an instance go on from where it stopped",
        Steer,
        *NOT_FOUND,
        errors.NotRedrivable,
        *NOT_DEPLOYED,
    ),
    ("GET", "/callbacks/{token}"): Operation(
        "showLink", "Show what a link would do", {200: "Link"}, (*LINKS, *NOT_FOUND), linked=True
    ),
    ("POST", "/callbacks/{token}"): Operation(
        "useLink",
        "Do what a link is for: with the form of its page, or with results in JSON",
        {200: "Link", 202: "Link"},
        (
            *LINKS,
            links.NotConfirmed,
            *CLOSED,
            errors.UnknownStep,
            *NOT_DEPLOYED,
            errors.UnexpectedEvent,
            errors.InvalidInput,
            errors.PayloadTooLarge,
        ),
        query={
            "heartbeat": {
                "type": "string",
                "enum": ["true", "1", "false", "0"],
                "description": "true or 1: say that the step is worked on, without a body; the link is not used up.",
            }
        },
        linked=True,
    ),
    ("POST", "/instances/{id}/fork"): _steers(
        "forkInstance",
        "Start an instance from a point of another",
        Fork,
        errors.ForkNotAllowed,
        *NOT_FOUND,
        errors.AlreadyRunning,
        *NOT_DEPLOYED,
        errors.InvalidInput,
        errors.PayloadTooLarge,
    ),
}
WITHOUT_REASON: Final = frozenset({"continueInstance", "redriveInstance"})
"""These read a ``Steer``, and no reason."""
