"""Interfere with an instance: ``POST /instances/{id}/cancel``, or directly.

Directly: ``{"action": "cancel", "instance_id", "reason"}``, and ``{"action": "schedule_resume", "instance_id", "step",
"delay_ms"}``, which answers ``{"schedule_name"}``. What is wrong is raised (Lambda's ``errorType``).
"""

from __future__ import annotations

import gc

gc.disable()  # imports make no garbage: looking for it is a tenth of a cold start

from typing import TYPE_CHECKING, Any

from hephaestus.aws import runner_from_environment
from hephaestus.calls import Cancel, read_cancel, read_schedule_resume
from hephaestus.errors import BadRequest
from hephaestus.http.api import Api
from hephaestus.observability import logger, observed
from hephaestus.triggers import trigger

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import Response

    from hephaestus.triggers import Invocation

runner = runner_from_environment()
gc.enable()
api = Api(runner)


@api.post("/instances/<instance_id>/cancel")
def cancel(instance_id: str) -> Response[str]:
    """202; 200 with the state where the caller waited for it."""
    incoming = api.incoming
    call = read_cancel(incoming.body(), instance_id=api.part(instance_id), request_id=incoming.idempotency_key)
    _cancel(call)
    return api.accepted(call.instance_id, {})


@observed
def handler(event: dict[str, Any], context: Invocation) -> dict[str, Any]:
    """Answer an API call, or do what ``action`` says."""
    if trigger(event) == "api":
        return api(event, context)
    match event.get("action"):
        case "cancel":
            call = read_cancel(event)
            _cancel(call)
            return {"id": call.instance_id, "status": runner.get(call.instance_id).status}
        case "schedule_resume":
            wanted = read_schedule_resume(event)
            logger.append_keys(instance_id=wanted.instance_id, step=wanted.step)
            return {"schedule_name": runner.schedule_resume(wanted.instance_id, wanted.step, wanted.delay_ms)}
        case unknown:
            message = f"there is no action {str(unknown)[:64]!r}: there are 'cancel' and 'schedule_resume'"
            raise BadRequest(message)


def _cancel(call: Cancel) -> None:
    logger.append_keys(instance_id=call.instance_id)
    runner.cancel(call.instance_id, call.reason, request_id=call.request_id)
