"""Steer an instance: ``POST /instances/{id}/cancel``, ``pause``, ``continue``, ``redrive`` or ``fork``, or directly.

Directly: ``{"action": "cancel", "instance_id", ...}`` with the members of the API's body, for each of these actions;
and ``{"action": "schedule_resume", "instance_id", "step", "delay_ms"}`` with perhaps a ``request_id`` and ``by``, which
answers ``{"schedule_name"}``. What is wrong is raised (Lambda's ``errorType``).
"""

from __future__ import annotations

import gc

gc.disable()  # imports make no garbage: looking for it is a tenth of a cold start

from typing import TYPE_CHECKING, Any

from hephaestus.aws import runner_from_environment
from hephaestus.calls import read_cancel, read_fork, read_schedule_resume, read_steer
from hephaestus.errors import BadRequest
from hephaestus.http.api import Api
from hephaestus.observability import logger, observed
from hephaestus.triggers import in_place, trigger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aws_lambda_powertools.event_handler.api_gateway import Response

    from hephaestus.calls import Known
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.triggers import Invocation

runner = runner_from_environment()
gc.enable()
api = Api(runner)


def _cancel(body: object, dispatch: Dispatch, **known: Known) -> str:
    call = read_cancel(body, **known)
    asked: Any = {"compensate": call.compensate, "request_id": call.request_id, "by": call.by, "dispatch": dispatch}
    return _on(call.instance_id, lambda: runner.cancel(call.instance_id, call.reason, **asked))


def _pause(body: object, _dispatch: Dispatch, **known: Known) -> str:
    call = read_steer(body, reason=True, **known)
    asked: Any = {"request_id": call.request_id, "by": call.by}
    return _on(call.instance_id, lambda: runner.pause(call.instance_id, call.reason, **asked))


def _continue(body: object, dispatch: Dispatch, **known: Known) -> str:
    return _go_on(runner.unpause, body, dispatch, known)


def _redrive(body: object, dispatch: Dispatch, **known: Known) -> str:
    return _go_on(runner.redrive, body, dispatch, known)


def _fork(body: object, dispatch: Dispatch, **known: Known) -> str:
    if "request_id" in known:  # of the API: what names a start is its Idempotency-Key
        known["start_id"] = known.pop("request_id")
    call = read_fork(body, **known)
    logger.append_keys(instance_id=call.instance_id)
    return runner.fork(
        call.instance_id,
        call.at,
        new_id=call.new_id,
        generation=call.generation,
        context=call.context,
        results=call.results,
        version=call.version,
        start_id=call.start_id,
        by=call.by,
        dispatch=dispatch,
    )


ACTIONS: dict[str, Callable[..., str]] = {
    "cancel": _cancel,
    "pause": _pause,
    "continue": _continue,
    "redrive": _redrive,
    "fork": _fork,
}


def _go_on(act: Callable[..., None], body: object, dispatch: Dispatch, known: Mapping[str, Known]) -> str:
    call = read_steer(body, reason=False, **known)
    asked: Any = {"request_id": call.request_id, "by": call.by, "dispatch": dispatch}
    return _on(call.instance_id, lambda: act(call.instance_id, **asked))


def _on(instance_id: str, act: Callable[[], object]) -> str:
    logger.append_keys(instance_id=instance_id)
    act()
    return instance_id


def _route(action: str) -> None:
    """202; 200 with the state where the caller waited for it."""

    @api.post(f"/instances/<instance_id>/{action}")
    def act(instance_id: str) -> Response[str]:
        incoming = api.incoming
        incoming.takes()
        known = {"instance_id": api.part(instance_id), "request_id": incoming.idempotency_key, "by": incoming.caller}
        return api.accepted(ACTIONS[action](incoming.body(), api.dispatch, **known), {})


for name in ACTIONS:
    _route(name)


@observed
def handler(event: dict[str, Any], context: Invocation) -> dict[str, Any]:
    """Answer an API call, or do what ``action`` says."""
    if trigger(event) == "api":
        return api(event, context)
    action = event.get("action")
    if action == "schedule_resume":
        wanted = read_schedule_resume(event)
        logger.append_keys(instance_id=wanted.instance_id, step=wanted.step)
        asked: Any = {"request_id": wanted.request_id, "by": wanted.by}
        return {"schedule_name": runner.schedule_resume(wanted.instance_id, wanted.step, wanted.delay_ms, **asked)}
    if not isinstance(action, str) or action not in ACTIONS:
        known = ", ".join(map(repr, (*ACTIONS, "schedule_resume")))
        message = f"there is no action {str(action)[:64]!r}: there are {known}"
        raise BadRequest(message)
    instance_id = ACTIONS[action](event, in_place(context, runner.clock))
    return {"id": instance_id, "status": runner.get(instance_id).status}
