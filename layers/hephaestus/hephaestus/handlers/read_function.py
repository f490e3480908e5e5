"""Look, and change nothing: ``GET /instances/{id}``, its ``/history``, ``GET /instances`` and ``GET /workflows``.

``GET /openapi.json`` answers the document of the whole API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.aws import reader_from_environment
from hephaestus.errors import BadRequest
from hephaestus.handlers.http.api import Api
from hephaestus.handlers.observability import begin, observed
from hephaestus.handlers.reading import serve_reads
from hephaestus.handlers.triggers import trigger

if TYPE_CHECKING:
    from hephaestus.handlers.triggers import Invocation

begin()
api = Api(reader_from_environment())
serve_reads(api)


@observed
def handler(event: dict[str, Any], context: Invocation) -> dict[str, Any]:
    """Answer an API call."""
    if trigger(event) != "api":
        message = "this function answers the API only: in Python, call a runner's get, history and list"
        raise BadRequest(message)
    return api(event, context)
