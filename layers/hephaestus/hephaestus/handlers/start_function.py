"""Start an instance: ``POST /workflows/{workflow}/instances``, or directly with ``{"workflow", "id", "context", …}``.

A direct start runs in place, answers ``{"id", "status"}``, and raises what is wrong (Lambda's ``errorType``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.aws import runner_from_environment
from hephaestus.handlers.commands import do_directly, serve
from hephaestus.handlers.http.api import Api
from hephaestus.handlers.observability import begin, observed
from hephaestus.handlers.triggers import trigger

if TYPE_CHECKING:
    from hephaestus.handlers.triggers import Invocation

begin()
runner = runner_from_environment()
api = Api(runner)
serve(api, "start")


@observed
def handler(event: dict[str, Any], context: Invocation) -> dict[str, Any]:
    """Answer an API call, or start directly."""
    if trigger(event) == "api":
        return api(event, context)
    return do_directly(runner, "start", event, context)
