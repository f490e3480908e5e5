"""Continue instances: events by API or directly, timeouts by Scheduler, wake-ups by the work queue.

Who is told: an API caller gets a problem document, a direct caller the error itself (Lambda's ``errorType``), and a
message that fails goes back to the queue alone. A fired schedule has nobody to tell: what repeating cannot mend is
logged and dropped, the rest is raised so that Lambda repeats it. What only some triggers need is imported with them.
"""

from __future__ import annotations

import gc

gc.disable()  # imports make no garbage: looking for it is a tenth of a cold start

from functools import cache
from typing import TYPE_CHECKING, Any

from hephaestus.aws import runner_from_environment
from hephaestus.errors import CallerError
from hephaestus.observability import logger, observed
from hephaestus.triggers import budget, in_place, read_timeout, trigger

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import Response

    from hephaestus.calls import Deliver
    from hephaestus.http.api import Api
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.triggers import Invocation

runner = runner_from_environment()
gc.enable()


@observed
def handler(event: dict[str, Any], context: Invocation) -> dict[str, Any]:
    """Send the event to who reads it."""
    match trigger(event):
        case "api":
            return _api()(event, context)
        case "queue":
            from hephaestus.batch import wake_each  # noqa: PLC0415 - see above

            return wake_each(event, context, runner)
        case "timer":
            return _time_out(event, context)
        case "direct" if event.get("action") == "heartbeat":
            from hephaestus.calls import read_heartbeat  # noqa: PLC0415 - see above

            beat = read_heartbeat(event)
            runner.heartbeat(beat.instance_id, beat.step, by=beat.by)
            return {"id": beat.instance_id}
        case "direct":
            from hephaestus.calls import read_deliver  # noqa: PLC0415 - see above

            call = read_deliver(event)
            _deliver(call, in_place(context, runner.clock))
            return {"id": call.instance_id, "status": runner.get(call.instance_id).status}


@cache
def _api() -> Api:
    from hephaestus.calls import read_deliver, read_heartbeat  # noqa: PLC0415 - see above
    from hephaestus.http.api import Api  # noqa: PLC0415 - see above

    api = Api(runner)

    @api.post("/instances/<instance_id>/events")
    def deliver(instance_id: str) -> Response[str]:
        incoming = api.incoming
        incoming.takes()
        known = {"instance_id": api.part(instance_id), "event_id": incoming.idempotency_key, "by": incoming.caller}
        call = read_deliver(incoming.body(), **known)
        _deliver(call, api.dispatch)
        return api.accepted(call.instance_id, {"event": call.event})

    @api.post("/instances/<instance_id>/heartbeat")
    def beat(instance_id: str) -> Response[str]:
        incoming = api.incoming
        incoming.takes()
        call = read_heartbeat(incoming.body(), instance_id=api.part(instance_id), by=incoming.caller)
        logger.append_keys(instance_id=call.instance_id)
        runner.heartbeat(call.instance_id, call.step, by=call.by)
        return api.answer({"id": call.instance_id})

    return api


def _time_out(event: dict[str, Any], context: Invocation) -> dict[str, Any]:
    try:
        timeout = read_timeout(event)
        logger.append_keys(instance_id=timeout.instance_id, step=timeout.step)
        runner.timeout(timeout, budget=budget(context, runner.clock))
    except CallerError as error:
        logger.exception("timeout dropped: repeating it cannot help")
        return {"dropped": str(error)}
    return {"id": timeout.instance_id}


def _deliver(call: Deliver, dispatch: Dispatch) -> None:
    logger.append_keys(instance_id=call.instance_id, event=call.event)
    meant: Any = {"step": call.step, "event_id": call.event_id, "by": call.by}
    runner.resume(call.instance_id, call.event, call.payload, **meant, dispatch=dispatch)
