"""The whole document (OpenAPI 3.1.1), route by route."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hephaestus.errors import BadRequest, RetryLater
from hephaestus.errors import PayloadTooLarge as TooLarge
from hephaestus.handlers.http.api import ROUTES
from hephaestus.handlers.http.prefer import MAX_WAIT
from hephaestus.handlers.http.problem import CONTENT_TYPE, RETRY_AFTER
from hephaestus.handlers.http.request_key import MAX_KEY
from tools.openapi.operations import OPERATIONS, PATH, Operation, path_of
from tools.openapi.schemas import components, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hephaestus.errors import CallerError

JSON: Final = "application/json"
RESULTS: Final[dict[str, Any]] = {
    "description": "The results of the step, where the link does not bring its own; or the form of the link's page.",
    "required": False,
    "content": {
        JSON: {"schema": {}},
        "application/x-www-form-urlencoded": {
            "schema": {
                "type": "object",
                "required": ["confirmation"],
                "properties": {"confirmation": {"type": "string"}},
            }
        },
    },
}
ANYTHING: Final[dict[str, Any]] = {kind: {} for kind in (JSON, CONTENT_TYPE, "text/html")}
EVENTS: Final = Path(__file__).resolve().parents[2] / "events"
KEY: Final = rf"[!#-+\--~]{{1,{MAX_KEY}}}"
QUOTED: Final = rf'"([ !#-\[\]-~]|\\["\\]){{1,{MAX_KEY}}}"'
ABOUT: Final = """Starts workflows, delivers events to them, steers them and shows them.

Requests are signed with AWS Signature Version 4 for `execute-api`, unless the stack was deployed to be open.
Errors of the engine are problem documents (RFC 9457); what API Gateway refuses itself it answers in its own way.
A call that comes again with the same `Idempotency-Key` has happened once.
`Prefer` (RFC 7240) says whether to wait for what follows.
"""


def text() -> str:
    """The document as it is checked in."""
    return json.dumps(document(), indent=0, ensure_ascii=False, separators=(",", ":")) + "\n"


def document() -> dict[str, Any]:
    """The document."""
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for rule, methods in sorted(ROUTES.items()):
        path = path_of(rule)
        for method in methods:
            paths[path][method.lower()] = operation(method, path)
    return {
        "openapi": "3.1.1",
        "info": {"title": "Hephaestus", "version": "1", "summary": "Durable workflows on AWS", "description": ABOUT},
        "servers": [{"url": "/v1"}],
        "security": [{"signature": []}],
        "paths": dict(paths),
        "components": {
            "schemas": components(),
            "securitySchemes": {
                "signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "AWS Signature Version 4, service `execute-api`.",
                    "x-amazon-apigateway-authtype": "awsSigv4",
                }
            },
        },
    }


def operation(method: str, path: str) -> dict[str, Any]:
    """One method of one path."""
    known = OPERATIONS.get((method, path))
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": PATH.get(name, {"type": "string"})}
        for name in re.findall(r"{(\w+)}", path)
    ]
    if known is None:
        return {"parameters": parameters, "responses": {"default": {"description": "An answer.", "content": ANYTHING}}}
    examples = list(samples(method, path))
    described = {
        "operationId": known.id,
        "summary": known.summary,
        "parameters": [*parameters, *_query(known, examples), *_headers(known, examples)],
        "responses": dict(_responses(known)),
    }
    if known.linked:
        described["security"] = []
        if method == "POST":
            described["requestBody"] = RESULTS
    if known.reads:
        described["requestBody"] = _body(known, examples)
    return described


def samples(method: str, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sample events of a route, by name."""
    for file in sorted(EVENTS.glob("api-*.json")):
        event = json.loads(file.read_text())
        if (event["httpMethod"], event["resource"]) == (method, path):
            yield file.stem.removeprefix("api-"), event


def _body(known: Operation, examples: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    assert known.reads is not None  # noqa: S101 - for mypy
    schema = request(known.reads)
    shown = {name: {"value": json.loads(event["body"])} for name, event in examples if event["body"]}
    return {
        "required": "required" in schema,
        "content": {JSON: {"schema": schema, **({"examples": shown} if shown else {})}},
    }


def _query(known: Operation, examples: list[tuple[str, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    for name, schema in (known.query or {}).items():
        values = [event["queryStringParameters"].get(name) for _, event in examples if event["queryStringParameters"]]
        found = next((value for value in values if value), None)
        reads: dict[str, Callable[[str], Any]] = {"integer": int, "array": lambda text: text.split(",")}
        example = reads.get(schema["type"], str)(found) if found else None
        commas = {"style": "form", "explode": False} if schema["type"] == "array" else {}
        needed = {"required": True} if name in known.needs else {}
        shown = {"example": example} if example else {}
        yield {"name": name, "in": "query", **needed, "schema": schema, **commas, **shown}


def _headers(known: Operation, examples: list[tuple[str, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    if known.keyed:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "description": "Names the request: repeated with the same key, it happens once. With another body, the key "
            "is rejected (422, `/problems/request-id-reused`). The newest 256 of an instance are remembered. "
            'Bare, or any ASCII text in quotes, with `\\` before `"` and `\\`.',
            "schema": {"type": "string", "pattern": f"^({KEY}|{QUOTED})$"},
            **_example("Idempotency-Key", examples),
        }
    if known.waits:
        yield {
            "name": "Prefer",
            "in": "header",
            "description": (
                "`respond-async`, the default, queues the work and answers 202. `wait=N` does it in this call, for at "
                f"most N seconds ({MAX_WAIT} is the most), and answers with the instance. Others are ignored."
            ),
            "schema": {"type": "string"},
            **_example("Prefer", examples),
        }


def _example(header: str, examples: list[tuple[str, dict[str, Any]]]) -> dict[str, str]:
    found = next((event["headers"][header] for _, event in examples if header in event["headers"]), None)
    return {"example": found} if found else {}


def _responses(known: Operation) -> Iterator[tuple[str, dict[str, Any]]]:
    for status, schema in sorted(known.shows.items()):
        headers = {}
        if known.waits:
            headers["Location"] = _header("Where the instance is.", required=True)
            headers["Preference-Applied"] = _header("Which preferences were heeded (RFC 7240).")
        yield (
            str(status),
            {
                "description": {200: "As it is now.", 202: "Accepted."}[status],
                "headers": {"Cache-Control": _header("`no-store`", required=True), **headers},
                "content": {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}, **_pages(known)},
            },
        )
    wrong: dict[int, list[type[CallerError | RetryLater]]] = defaultdict(list)
    possible: list[type[CallerError | RetryLater]] = [BadRequest, *([TooLarge] if known.reads else []), *known.errors]
    for error in (*possible, *_later()):
        if error not in wrong[error.status]:
            wrong[error.status].append(error)
    wrong[500] = []
    if not known.linked:
        wrong[403] = []
    for status, errors in sorted(wrong.items()):
        refusal = _refusal(status, errors)
        refusal["content"] |= _pages(known)
        yield str(status), refusal


def _pages(known: Operation) -> dict[str, Any]:
    """A person who opens a link gets a page, whatever comes of it."""
    return {"text/html": {"schema": {"type": "string"}}} if known.linked else {}


def _refusal(status: int, errors: list[type[CallerError | RetryLater]]) -> dict[str, Any]:
    if status == 403 and not errors:  # noqa: PLR2004 - HTTP's number for it
        rejected = {"schema": {"$ref": "#/components/schemas/Refused"}}
        return {"description": "API Gateway does not let the request in.", "content": {JSON: rejected}}
    kinds = " ".join(f"`{error.problem_type()}`: {(error.__doc__ or '').splitlines()[0]}" for error in errors)
    later = {"Retry-After": _header(f"Seconds: {RETRY_AFTER}.", required=True)} if status == RetryLater.status else {}
    return {
        "description": kinds or "A defect; the engine's logs have its cause under the `request_id`.",
        "headers": {"Cache-Control": _header("`no-store`", required=True), **later},
        "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def links() -> dict[str, Any]:
    """What can be asked of an instance that was just started."""
    about = {known.id: {"operationId": known.id} for (_, path), known in OPERATIONS.items() if "/{id}" in path}
    return {name: {**link, "parameters": {"id": "$response.body#/id"}} for name, link in about.items()}


def _header(description: str, *, required: bool = False) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": {"type": "string"}}


def _later() -> list[type[RetryLater]]:
    """Those that the API answers with; an operator's own are not told by it, whether they are imported or not."""
    known = [error for error in RetryLater.__subclasses__() if error.__module__ == RetryLater.__module__]
    return sorted(known, key=lambda error: error.__name__)
