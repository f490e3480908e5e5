"""What each route takes and answers beyond what the code says by itself.

A route that is not here gets an operation that promises little: anyone who adds one adds it here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hephaestus import errors
from hephaestus import errors as links
from hephaestus.definition.item_views import ITEM_STATUSES
from hephaestus.engine.state import STATUSES
from hephaestus.handlers.http.api import MAX_LIMIT
from hephaestus.handlers.http.request import MAX_PARAMETER
from hephaestus.runtime.commands import ROUTED, Command
from hephaestus.runtime.commands.of_schedules import SCHEDULE
from hephaestus.runtime.commands.set_limit import LIMIT as LIMIT_NAME
from hephaestus.runtime.intake import MAX_NUMBER
from tools.openapi.schemas import INSTANCE_ID, NUMBER, WORKFLOW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.runtime.commands.members import Schema

NOT_FOUND: Final = (errors.InstanceNotFound,)
NOT_DEPLOYED: Final = (errors.UnknownWorkflow, errors.UnknownVersion)

PATH: Final[Mapping[str, Schema]] = {"id": INSTANCE_ID, "workflow": WORKFLOW, "schedule": SCHEDULE.schema}
LIMIT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}
FLAG: Final[Schema] = {"type": "string", "enum": ["true", "1", "false", "0"]}
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
        reads: the command that the body is read into, ``None`` without a body.
        query: the parameters of its query.
        needs: those of them that must be there.
        keyed: whether it takes an ``Idempotency-Key``.
        waits: whether it takes ``Prefer``.
        linked: whether the path is the permission: nothing is signed, and a person gets a page.
    """

    id: str
    summary: str
    shows: Mapping[int, str]
    errors: tuple[type[errors.CallerError], ...] = ()
    reads: type[Command] | None = None
    query: Mapping[str, Schema] | None = None
    needs: tuple[str, ...] = ()
    keyed: bool = False
    waits: bool = False
    linked: bool = False


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


def path_of(rule: str) -> str:
    """A route's path as OpenAPI writes it."""
    return re.sub(r"<(?:instance_)?(\w+)>", r"{\1}", rule)


def of_command(command: type[Command]) -> Operation:
    """What the API takes a command with."""
    waits = command.answers == "status"
    summary = (command.__doc__ or "").splitlines()[0].rstrip(".")
    of_one = any(name in command.members for name in ("instance_id", "schedule"))
    result = "LimitChanged" if command.answers == "limit" else "Alive" if of_one else "Named"
    shows = ACCEPTED if waits else {200: result}
    return Operation(
        command.operation, summary, shows, command.raises, command, keyed=bool(command.named_by), waits=waits
    )


OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = {
    ("GET", "/openapi.json"): Operation("getDocument", "This document", {200: "Document"}),
    ("GET", "/workflows"): Operation("listWorkflows", "What is deployed", {200: "Workflows"}),
    ("GET", "/schedules"): Operation("listSchedules", "List schedules, with their next times", {200: "Schedules"}),
    ("GET", "/limits"): Operation(
        "listLimits",
        "List limits by name: usage, holders and lines",
        {200: "Limits"},
        query={
            "name": {**LIMIT_NAME.schema, "description": "This one and, where it has a per, each of its values."},
            "limit": {**LIMIT, "default": 50},
            "cursor": {**LIMIT_NAME.schema, "description": CURSOR["description"]},
        },
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
            "until": {
                "type": "string",
                "format": "date-time",
                "description": "Started before then; in UTC where it names no zone.",
            },
            "children": {**FLAG, "description": "true or 1: list children that are not detached, and schedules, too."},
            "parent": {**INSTANCE_ID, "description": "The children of this instance only, detached ones included."},
            "limit": {**LIMIT, "default": 50},
            "cursor": CURSOR,
        },
    ),
    ("GET", "/instances/{id}"): Operation(
        "getInstance",
        "Show an instance",
        {200: "Instance"},
        NOT_FOUND,
        query={"tree": {**FLAG, "description": "true or 1: show its children, and theirs."}},
    ),
    ("GET", "/instances/{id}/why"): Operation(
        "whyInstance",
        "Say why an instance does not go on, and why what it waits for does not",
        {200: "Reasons"},
        NOT_FOUND,
    ),
    ("GET", "/instances/{id}/history"): Operation(
        "getHistory",
        "Show what happened to an instance, oldest first",
        {200: "History"},
        NOT_FOUND,
        query={
            "generation": {
                "type": "integer",
                "minimum": 1,
                "maximum": MAX_NUMBER,
                "description": "Which of its runs; by default the newest.",
            },
            "limit": {**LIMIT, "default": 100},
            "cursor": {"type": "string", "pattern": "^[0-9]{1,8}$", "description": CURSOR["description"]},
        },
    ),
    ("GET", "/instances/{id}/items"): Operation(
        "getItems",
        "Show the items of a map, in their order",
        {200: "Items"},
        (*NOT_FOUND, errors.UnknownStep),
        query={
            "step": {"type": "string", "minLength": 1, "maxLength": MAX_PARAMETER, "description": "The map's key."},
            "status": {
                "type": "string",
                "enum": list(ITEM_STATUSES),
                "description": "In this status only.",
            },
            "limit": {**LIMIT, "default": 100},
            "cursor": {"type": "string", "pattern": "^[0-9]{1,6}$", "description": CURSOR["description"]},
        },
        needs=("step",),
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
                **FLAG,
                "description": "true or 1: say that the step is worked on, without a body; the link is not used up.",
            }
        },
        linked=True,
    ),
    **{("POST", path_of(command.route)): of_command(command) for command in ROUTED},
}
