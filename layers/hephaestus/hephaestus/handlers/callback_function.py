"""Show and take the answers that links bring: ``GET`` and ``POST /callbacks/{token}``.

The only function that strangers reach. It runs no step: an answer is committed, and the work queue has ``resume`` go
on. Its role has what that takes and nothing that steps have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.aws import answerer_from_environment
from hephaestus.errors import BadRequest
from hephaestus.handlers.http.api import Api
from hephaestus.handlers.http.callbacks import serve_links
from hephaestus.handlers.observability import begin, observed
from hephaestus.handlers.triggers import trigger

if TYPE_CHECKING:
    from hephaestus.handlers.triggers import Invocation

begin()
api = Api(answerer_from_environment())
serve_links(api)


@observed
def handler(event: dict[str, Any], context: Invocation) -> dict[str, Any]:
    """Answer whoever has a link."""
    if trigger(event) != "api":
        message = "this function answers links over the API only: to deliver an event, invoke resume"
        raise BadRequest(message)
    return api(event, context)
