"""Look, and change nothing: ``GET /instances/{id}``, its ``/history``, ``GET /instances`` and ``GET /workflows``.

``GET /openapi.json`` answers the document of the whole API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.aws import reader_from_environment
from hephaestus.definition.business_key import check_id
from hephaestus.definition.views import to_json_object
from hephaestus.errors import BadRequest
from hephaestus.handlers.http.api import Api
from hephaestus.handlers.http.describe import describe
from hephaestus.handlers.observability import begin, observed
from hephaestus.handlers.triggers import trigger
from hephaestus.runtime.intake import MAX_NUMBER
from hephaestus.runtime.queries import read_filter

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import Response

    from hephaestus.handlers.triggers import Invocation

MAX_GENERATION = 999_999

begin()
runner = reader_from_environment()
api = Api(runner)


@api.get("/instances/<instance_id>")
def instance(instance_id: str) -> Response[str]:
    """One instance as it is now."""
    api.incoming.takes()
    return api.answer(to_json_object(runner.get(check_id(api.part(instance_id)))))


@api.get("/instances/<instance_id>/history")
def history(instance_id: str) -> Response[str]:
    """A page of its log, oldest first."""
    known, asked = check_id(api.part(instance_id)), api.incoming
    asked.takes("generation", "limit", "cursor")
    generation, cursor = asked.number("generation", None, MAX_GENERATION), asked.query("cursor")
    return api.page(lambda limit: runner.history(known, generation=generation, limit=limit, cursor=cursor), default=100)


@api.get("/instances")
def instances() -> Response[str]:
    """A page of instances, newest first."""
    asked = api.incoming
    asked.takes("workflow", "status", "version", "tag", "since", "limit", "cursor")
    wanted = read_filter(
        workflow=asked.query("workflow"),
        status=asked.several("status"),
        version=asked.number("version", None, MAX_NUMBER),
        tag=asked.query("tag"),
        since=asked.time("since"),
    )
    cursor = asked.query("cursor")
    return api.page(lambda limit: runner.find(wanted, limit=limit, cursor=cursor), default=50)


@api.get("/workflows")
def workflows() -> Response[str]:
    """What is deployed."""
    api.incoming.takes()
    return api.answer({"items": [describe(workflow) for workflow in runner.registry]})


@api.get("/openapi.json")
def document() -> Response[str]:
    """The API's document, for where it is asked for."""
    from hephaestus.handlers.http.document import read_document  # noqa: PLC0415 - it is seldom asked for

    api.incoming.takes()
    return api.answer(read_document(api.incoming.base))


@observed
def handler(event: dict[str, Any], context: Invocation) -> dict[str, Any]:
    """Answer an API call."""
    if trigger(event) != "api":
        message = "this function answers the API only: in Python, call a runner's get, history and list"
        raise BadRequest(message)
    return api(event, context)
