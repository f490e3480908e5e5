"""JSON schemas of what the API takes and shows, made from the dataclasses that read and show it."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from hephaestus.definition.definition import FORKS
from hephaestus.definition.incoming import ON
from hephaestus.definition.item_views import ITEM_STATUSES, ItemView
from hephaestus.definition.limit_views import LimitView
from hephaestus.definition.reasons import Reasons
from hephaestus.definition.references import ByStep
from hephaestus.definition.schedule_views import ScheduleView
from hephaestus.definition.views import HistoryEntry, InstanceView, StepView
from hephaestus.engine.state import STATUSES, StepStatus
from hephaestus.runtime.commands import Command
from hephaestus.runtime.commands import members as rules
from hephaestus.runtime.commands.command import in_path
from hephaestus.runtime.commands.members import REQUIRED, Schema

NAMED: Final[Mapping[type[Any], str]] = {
    InstanceView: "Instance",
    StepView: "Step",
    HistoryEntry: "LogEntry",
    ItemView: "Item",
    ScheduleView: "Schedule",
    LimitView: "Limit",
    Reasons: "Reasons",
}
EVENT: Final[Schema] = {
    "type": "object",
    "description": "One event of a commit; its other members depend on its type.",
    "required": ["type"],
    "properties": {
        "type": {"type": "string"},
        "by": {"type": "string", "description": "Who asked for it; how that is known is in `by_source`."},
        "by_source": {
            "type": "string",
            "enum": ["api", "claim", "link", "parent"],
            "description": "`api`: the identity that API Gateway authorized, without `by` where it asks for none. "
            "`claim`: what the caller says of itself. `link`: the holder of this callback link. "
            "`parent`: the instance that has this one as a child, or its schedule.",
        },
    },
}


NUMBER: Final = rules.NUMBER.schema
INSTANCE_ID: Final = rules.INSTANCE_ID.schema
WORKFLOW: Final = rules.WORKFLOW.schema
SHOWN: Final[Mapping[tuple[type[Any], str], Schema]] = {
    (InstanceView, "id"): INSTANCE_ID,
    (InstanceView, "key"): {
        "type": "string",
        "description": "The business key's value, as in the id behind the first `::`.",
        "examples": ["abc123"],
    },
    (InstanceView, "left_out"): {
        "type": "string",
        "description": "What is not shown, because an answer may not be so large.",
    },
    (InstanceView, "status"): {"type": "string", "enum": list(STATUSES)},
    (StepView, "status"): {"type": "string", "enum": [*get_args(StepStatus), "running"]},
    (ItemView, "status"): {"type": "string", "enum": list(ITEM_STATUSES)},
    (HistoryEntry, "events"): {"type": "array", "items": EVENT},
}


def request(command: type[Command]) -> Schema:
    """The body that a command is read from; the other members are in the path and the headers."""
    elsewhere = {*in_path(command), command.named_by, "by"}
    members = {name: own for name, own in command.members.items() if name not in elsewhere}
    required = [name for name, own in members.items() if own.default is REQUIRED]
    described = {name: {**own.rule.schema, "description": own.doc} for name, own in members.items()}
    return {
        "type": "object",
        **({"required": required} if required else {}),
        "properties": {name: own if name in required else or_null(own) for name, own in described.items()},
        "additionalProperties": False,
    }


def or_null(schema: Schema) -> Schema:
    """A member that may be left out may be null as well."""
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else dict(schema)


def view(shown: type[Any]) -> Schema:
    """What ``to_json_object`` makes of a view: members that are empty are left out."""
    hints = get_type_hints(shown, None, {"Mapping": Mapping, "Sequence": Sequence, "datetime": datetime})
    required = [field.name for field in fields(shown) if field.default is MISSING and field.default_factory is MISSING]
    properties = {name: SHOWN.get((shown, name)) or of_type(hint) for name, hint in hints.items()}
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def of_type(hint: Any) -> Schema:  # noqa: PLR0911 - one line a type
    """The schema of a member that is there."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return {}
    if is_dataclass(hint) and isinstance(hint, type):
        return {"$ref": f"#/components/schemas/{NAMED[hint]}"}
    if hint is datetime:
        return {"type": "string", "format": "date-time"}
    if origin in {Union, types.UnionType}:
        (present,) = (one for one in arguments if one is not type(None))
        return of_type(present)
    if origin in {Mapping, ByStep}:
        values = of_type(arguments[-1])
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if origin in {Sequence, tuple}:
        return {"type": "array", "items": of_type(arguments[0])}
    return {"type": {str: "string", int: "integer", bool: "boolean", float: "number"}[hint]}


def components() -> dict[str, Schema]:
    """Every schema with a name."""
    named = {name: view(shown) for shown, name in NAMED.items()}
    return {
        **named,
        "Accepted": {
            "type": "object",
            "description": "The call was accepted; the work is queued.",
            "required": ["id"],
            "properties": {
                "id": INSTANCE_ID,
                "status": {"type": "string", "const": "pending"},
                "event": {"type": "string"},
                "used": {
                    "type": "boolean",
                    "description": "Nothing was started: the workflow says that a start uses "
                    "the instance that is open.",
                },
            },
            "additionalProperties": False,
        },
        "AcceptedInstance": {
            "description": "What was accepted or, where the caller waited, the instance as it is by now.",
            "anyOf": [{"$ref": "#/components/schemas/Accepted"}, {"$ref": "#/components/schemas/Instance"}],
        },
        "Alive": {
            "type": "object",
            "required": ["id"],
            "properties": {"id": INSTANCE_ID},
            "additionalProperties": False,
        },
        "Named": {
            "type": "object",
            "required": ["id"],
            "properties": {"id": WORKFLOW},
            "additionalProperties": False,
        },
        "Instances": page("Instance", "newest first; of each what the listing knows, without steps and data"),
        "History": page("LogEntry", "oldest first"),
        "Items": page("Item", "in the order of the map"),
        "Workflows": {
            "type": "object",
            "required": ["items", "unavailable"],
            "properties": {
                "items": {"type": "array", "items": {"$ref": "#/components/schemas/Workflow"}},
                "unavailable": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "Modules that cannot be loaded; the log of the function says why.",
                },
            },
            "additionalProperties": False,
        },
        "Workflow": workflow(),
        "Schedules": {
            "type": "object",
            "required": ["items"],
            "properties": {"items": {"type": "array", "items": {"$ref": "#/components/schemas/Schedule"}}},
            "additionalProperties": False,
        },
        "Limits": page("Limit", "by name"),
        "LimitChanged": {
            "type": "object",
            "required": ["limit"],
            "properties": {"limit": {"type": "string"}},
            "additionalProperties": False,
        },
        "Link": link(),
        "Document": {"type": "object", "required": ["openapi", "info", "paths"]},
        "Problem": problem(),
        "Refused": {
            "type": "object",
            "description": "What API Gateway says when it does not let a request in.",
            "properties": {"message": {"type": ["string", "null"]}, "Message": {"type": ["string", "null"]}},
        },
    }


def page(item: str, order: str) -> Schema:
    """A page of ``item``."""
    return {
        "type": "object",
        "description": f"A page, {order}. It may hold fewer than `limit`, even none, and still have a cursor.",
        "required": ["items", "cursor"],
        "properties": {
            "items": {"type": "array", "items": {"$ref": f"#/components/schemas/{item}"}},
            "cursor": {"type": ["string", "null"], "description": "Asks for what follows; null at the end."},
            "left_out": {"type": "string"},
        },
        "additionalProperties": False,
    }


def link() -> Schema:
    """What a link says, which its holder may know."""
    text: Schema = {"type": "string"}
    known = {"id": INSTANCE_ID, "step": text, "event": text, "expires_at": {**text, "format": "date-time"}}
    described = _all_of(known)
    described["properties"] |= {
        "workflow": WORKFLOW,
        "confirm": _all_of({"method": {**text, "const": "POST"}}),
        "item": {**text, "description": "The key of the item that it is for, where its step is a map."},
        "payload": {"description": "The results that the link brings."},
    }
    return described


def workflow() -> Schema:
    """What ``describe`` says."""
    text: Schema = {"type": "string"}
    texts: Schema = {"type": "array", "items": text}
    step = {
        "key": text,
        "waits": {"type": "boolean"},
        "compensates": {"type": "boolean"},
        "events": texts,
        "routes": {"type": "object", "description": "Targets by event.", "additionalProperties": texts},
    }
    steps = _all_of(step)
    steps["properties"] |= {
        "rounds": {
            "type": "object",
            "description": "How often it may run again, and for how long after its first round a round may begin.",
            "required": ["at_most"],
            "properties": {
                "at_most": {"type": "integer"},
                "within_seconds": {"type": "number"},
                "again_on": {"type": "array", "items": {"type": "string"}},
            },
            "additionalProperties": False,
        },
        "ends_on": {"type": "array", "items": {"type": "string"}},
        "checkpoint": {"type": "boolean", "description": "False: its result is left to the next commit. Else true."},
        "limits": _limits("How many of its attempts may run at once, or start in a time."),
        "child": {
            **_all_of({"workflow": WORKFLOW, "detached": {"type": "boolean"}, "undoes": {"type": "boolean"}}),
            "description": "The workflow that it starts, and whether that undoes itself what it did.",
        },
        "map": {
            "type": "object",
            "description": "What it runs for each item, of how many at a time, and how many may fail.",
            "required": ["step", "concurrency", "tolerate", "events"],
            "properties": {
                "step": text,
                "workflow": WORKFLOW,
                "chunk": {"type": "integer"},
                "concurrency": {"type": "integer"},
                "tolerate": {"type": ["integer", "string"]},
                "events": texts,
                "limits": _limits("Of a rate, each attempt of an item starts in a time of its own."),
            },
            "additionalProperties": False,
        },
    }
    forks = {**text, "enum": list(FORKS)}
    version = {"version": NUMBER, "start": text, "forks": forks, "steps": {"type": "array", "items": steps}}
    described = _all_of(version)
    described["properties"] |= {
        "input": {"type": "object", "description": "The JSON schema of the start context."},
        "output": {**text, "description": "The step whose results are the output; without, the one completed last."},
        "on_failure": {**text, "description": "The step that runs before an instance ends as failed."},
        "timeout_seconds": {"type": "number", "description": "How long an instance may take."},
        "limits": _limits("How many of its instances may be under way at once."),
    }
    whole = _all_of(
        {
            "name": WORKFLOW,
            "key": text,
            "scope": text,
            "tags": texts,
            "current": NUMBER,
            "triggers": {"type": "array", "items": trigger()},
            "versions": {"type": "array", "items": described},
        }
    )
    whole["properties"]["paused"] = {
        "type": "object",
        "description": "Who paused it, when and why; only while it is paused.",
        "required": ["by", "at", "reason"],
        "properties": {"by": text, "at": {"type": "string", "format": "date-time"}, "reason": text},
        "additionalProperties": False,
    }
    return whole


def _limits(what: str) -> Schema:
    """What ``describe`` says of limits."""
    number, text = {"type": "integer"}, {"type": "string"}
    return {
        "type": "array",
        "description": what,
        "items": {
            "type": "object",
            "required": ["name", "n"],
            "properties": {
                "name": text,
                "n": number,
                "period_seconds": {"type": "number"},
                "burst": number,
                "cost": number,
            },
            "additionalProperties": False,
        },
    }


def trigger() -> Schema:
    """What ``Trigger.described`` says."""
    text: Schema = {"type": "string"}
    several = {name: {"type": "array", "items": text} for name in ("source", "detail_type", "bucket", "topic")}
    return {
        "type": "object",
        "description": "Which events from outside start and resume instances.",
        "required": ["on", "to"],
        "properties": {
            "on": {**text, "enum": list(ON.values())},
            "to": {**text, "description": "The name of the function that says what an event is to do."},
            **several,
            "prefix": {**text, "description": "What an object's key begins with."},
            "suffix": {**text, "description": "What it ends with."},
        },
        "additionalProperties": False,
    }


def problem() -> Schema:
    """What ``problem.document`` says (RFC 9457)."""
    text: Schema = {"type": "string"}
    return {
        "type": "object",
        "required": ["type", "title", "status", "detail", "instance"],
        "properties": {
            "type": {**text, "format": "uri-reference", "examples": ["/problems/already-running"]},
            "title": text,
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": text,
            "instance": {**text, "description": "The path of the request."},
            "request_id": {**text, "description": "Under which the logs have it."},
            "errors": {
                "type": "array",
                "items": _all_of({"field": text, "problem": text}),
            },
            "accepted": {"type": "object", "additionalProperties": {"type": "array", "items": text}},
            "steps": {"type": "array", "items": text},
            "allowed": {"type": "array", "items": text},
        },
        "additionalProperties": False,
    }


def _all_of(properties: Mapping[str, Schema]) -> Schema:
    return {
        "type": "object",
        "required": list(properties),
        "properties": dict(properties),
        "additionalProperties": False,
    }
