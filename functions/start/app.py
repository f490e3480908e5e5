"""Start an instance: ``POST /workflows/{workflow}/instances``, or directly with ``{"workflow", "id", "context", …}``.

A direct start runs in place, answers ``{"id", "status"}``, and raises what is wrong (Lambda's ``errorType``).
"""

from __future__ import annotations

import gc

gc.disable()  # imports make no garbage: looking for it is a tenth of a cold start

from typing import TYPE_CHECKING, Any

from hephaestus.aws import runner_from_environment
from hephaestus.calls import Start, read_start
from hephaestus.http.api import Api
from hephaestus.observability import logger, observed
from hephaestus.triggers import in_place, trigger

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import Response

    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.triggers import Invocation

runner = runner_from_environment()
gc.enable()
api = Api(runner)


@api.post("/workflows/<workflow>/instances")
def start(workflow: str) -> Response[str]:
    """202 with the id and ``Location``; 200 with the state where the caller waited for it."""
    incoming = api.incoming
    incoming.takes()
    known = {"workflow": api.part(workflow), "start_id": incoming.idempotency_key, "by": incoming.caller}
    call = read_start(incoming.body(), **known)
    return api.accepted(_start(call, api.dispatch), {"status": "pending"})


@observed
def handler(event: dict[str, Any], context: Invocation) -> dict[str, Any]:
    """Answer an API call, or start directly."""
    if trigger(event) == "api":
        return api(event, context)
    instance_id = _start(read_start(event), in_place(context, runner.clock))
    return {"id": instance_id, "status": runner.get(instance_id).status}


def _start(call: Start, dispatch: Dispatch) -> str:
    logger.append_keys(workflow=call.workflow)
    instance_id = runner.start_instance(
        call.workflow,
        call.context,
        id=call.id,
        version=call.version,
        tags=call.tags,
        telemetry_metadata=call.metadata,
        start_id=call.start_id,
        by=call.by,
        dispatch=dispatch,
    )
    logger.append_keys(instance_id=instance_id)
    return instance_id
