"""JSON schemas of what the API takes and shows, made from the dataclasses that read and show it."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from hephaestus.calls import MAX_NAME, MAX_NUMBER, MAX_REASON, MAX_RESULTS
from hephaestus.definition.business_key import ID, NAME, VALUE
from hephaestus.definition.definition import FORKS
from hephaestus.definition.header import MAX_TAG_LENGTH, MAX_TAGS
from hephaestus.definition.references import ByStep
from hephaestus.engine.state import STATUSES, StepStatus
from hephaestus.runtime.views import HistoryEntry, InstanceView, StepView

Schema = dict[str, Any]

NAMED: Final[Mapping[type[Any], str]] = {InstanceView: "Instance", StepView: "Step", HistoryEntry: "LogEntry"}
EVENT: Final[Schema] = {
    "type": "object",
    "description": "One event of a commit; its other members depend on its type.",
    "required": ["type"],
    "properties": {
        "type": {"type": "string"},
        "by": {"type": "string", "description": "Who asked for it; how that is known is in `by_source`."},
        "by_source": {
            "type": "string",
            "enum": ["api", "claim", "link"],
            "description": "`api`: the identity that API Gateway authorized, without `by` where it asks for none. "
            "`claim`: what the caller says of itself. `link`: whoever held this callback link.",
        },
    },
}


def exactly(pattern: str) -> str:
    """A pattern for the whole of a text, as JSON Schema's match anywhere."""
    return f"^{pattern}$" if "|" not in pattern else f"^({pattern})$"


TEXT: Final[Schema] = {"type": "string", "format": "printable", "minLength": 1, "maxLength": MAX_NAME}
NUMBER: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": MAX_NUMBER}
INSTANCE_ID: Final[Schema] = {
    "type": "string",
    "pattern": exactly(ID.pattern),
    "examples": ["orderid::abc123"],
}
WORKFLOW: Final[Schema] = {"type": "string", "pattern": exactly(NAME.pattern), "examples": ["OrderFlow"]}
VALUE_OF_KEY: Final[Schema] = {
    "type": "string",
    "description": "The value of the workflow's business key. A whole id of that key is taken, too.",
    "pattern": exactly(VALUE.pattern),
}

# What a member is beyond its type, wherever a request has it.
TAKEN: Final[Mapping[str, Schema]] = {
    "id": VALUE_OF_KEY,
    "new_id": VALUE_OF_KEY,
    "event": TEXT,
    "step": TEXT,
    "reason": {"type": "string", "maxLength": MAX_REASON},
    "version": NUMBER,
    "generation": NUMBER,
    "at": {**NUMBER, "description": "The number of a log entry; without it, the newest."},
    "tags": {
        "type": "array",
        "maxItems": MAX_TAGS,
        "description": f"The workflow's own tags are added; together they may be {MAX_TAGS}.",
        "items": {"type": "string", "format": "printable", "minLength": 1, "maxLength": MAX_TAG_LENGTH},
    },
    "context": {"type": "object", "description": "The start data: any JSON object that fits the workflow's `Input`."},
    "metadata": {"type": "object"},
    "payload": {"description": "The results of the step that takes the event: any JSON."},
    "results": {
        "type": "object",
        "description": "Other results for steps that had completed, by step.",
        "maxProperties": MAX_RESULTS,
        "additionalProperties": {"type": "object"},
    },
    "compensate": {"type": "boolean", "description": "Whether what the instance did is undone first."},
}
SHOWN: Final[Mapping[tuple[type[Any], str], Schema]] = {
    (InstanceView, "id"): INSTANCE_ID,
    (InstanceView, "key"): {
        "type": "string",
        "description": "The business key's value, as in the id behind the first `::`.",
        "examples": ["abc123"],
    },
    (InstanceView, "status"): {"type": "string", "enum": list(STATUSES)},
    (StepView, "status"): {"type": "string", "enum": [*get_args(StepStatus), "running"]},
    (HistoryEntry, "events"): {"type": "array", "items": EVENT},
}


def request(call: type[Any], known: Sequence[str]) -> Schema:
    """The body that ``call`` is read from; its ``known`` members come from elsewhere."""
    members = [field for field in fields(call) if field.name not in known]
    required = [field.name for field in members if field.default is MISSING and field.default_factory is MISSING]
    return {
        "type": "object",
        **({"required": required} if required else {}),
        "properties": {
            field.name: dict(TAKEN[field.name]) if field.name in required else or_null(TAKEN[field.name])
            for field in members
        },
        "additionalProperties": False,
    }


def or_null(schema: Schema) -> Schema:
    """A member that may be left out may be null as well."""
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else dict(schema)


def view(shown: type[Any]) -> Schema:
    """What ``to_json_object`` makes of a view: members that are empty are left out."""
    hints = get_type_hints(shown, None, {"Mapping": Mapping, "Sequence": Sequence})
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
    named["Instance"]["properties"]["left_out"] = {
        "type": "string",
        "description": "What is not shown, because an answer may not be so large.",
    }
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
        "Instances": page("Instance", "newest first; of each what the listing knows, without steps and data"),
        "History": page("LogEntry", "oldest first"),
        "Workflows": {
            "type": "object",
            "required": ["items"],
            "properties": {"items": {"type": "array", "items": {"$ref": "#/components/schemas/Workflow"}}},
            "additionalProperties": False,
        },
        "Workflow": workflow(),
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
    forks = {**text, "enum": list(FORKS)}
    version = {"version": NUMBER, "start": text, "forks": forks, "steps": {"type": "array", "items": _all_of(step)}}
    with_input = _all_of(version)
    with_input["properties"]["input"] = {"type": "object", "description": "The JSON schema of the start context."}
    return _all_of(
        {
            "name": WORKFLOW,
            "key": text,
            "scope": text,
            "tags": texts,
            "current": NUMBER,
            "versions": {"type": "array", "items": with_input},
        }
    )


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
