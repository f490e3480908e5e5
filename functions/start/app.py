"""Start an instance: ``POST /workflows/{workflow}/instances``, or directly with ``{"workflow", "id", "context", …}``.

A direct start runs in place, answers ``{"id", "status"}``, and raises what is wrong (Lambda's ``errorType``).
"""

from __future__ import annotations

import gc

gc.disable()  # imports make no garbage: looking for it is a tenth of a cold start

from typing import TYPE_CHECKING, Any

from hephaestus.aws import runner_from_environment
from hephaestus.handlers.commands import do_directly, serve
from hephaestus.http.api import Api
from hephaestus.observability import observed
from hephaestus.triggers import trigger

if TYPE_CHECKING:
    from hephaestus.triggers import Invocation

runner = runner_from_environment()
gc.enable()
api = Api(runner)
serve(api, "start")


@observed
def handler(event: dict[str, Any], context: Invocation) -> dict[str, Any]:
    """Answer an API call, or start directly."""
    if trigger(event) == "api":
        return api(event, context)
    return do_directly(runner, "start", event, context)
