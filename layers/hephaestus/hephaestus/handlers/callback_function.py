"""Show and take the answers that links bring: ``GET`` and ``POST /callbacks/{token}``.

The only function that strangers reach. It runs no step: an answer is committed, and the work queue has ``resume`` go
on. Its role has what that takes and nothing that steps have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.aws import answerer_from_environment
from hephaestus.errors import BadRequest
from hephaestus.handlers.http import callbacks
from hephaestus.handlers.http.api import Api
from hephaestus.handlers.observability import begin, observed
from hephaestus.handlers.triggers import trigger

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import Response

    from hephaestus.handlers.triggers import Invocation

begin()
runner = answerer_from_environment()
api = Api(runner)


@api.get("/callbacks/<token>")
def show(token: str) -> Response[str]:
    """What the link would do."""
    return callbacks.show(api, token)


@api.post("/callbacks/<token>")
def take(token: str) -> Response[str]:
    """Do what the link is for."""
    return callbacks.take(api, token)


@observed
def handler(event: dict[str, Any], context: Invocation) -> dict[str, Any]:
    """Answer whoever has a link."""
    if trigger(event) != "api":
        message = "this function answers links over the API only: to deliver an event, invoke resume"
        raise BadRequest(message)
    return api(event, context)
