"""Steer an instance: ``POST /instances/{id}/cancel``, ``pause``, ``unpause``, ``redrive`` or ``fork``, or directly.

Directly: ``{"action": "cancel", "instance_id", ...}`` with the members of the API's body, for each of these actions;
and ``{"action": "schedule_resume", "instance_id", "step", "delay_ms"}`` with perhaps a ``request_id`` and ``by``, which
answers ``{"schedule_name"}``. What is wrong is raised (Lambda's ``errorType``).
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
serve(api, "control")


@observed
def handler(event: dict[str, Any], context: Invocation) -> dict[str, Any]:
    """Answer an API call, or do what ``action`` says."""
    if trigger(event) == "api":
        return api(event, context)
    return do_directly(runner, "control", event, context)
