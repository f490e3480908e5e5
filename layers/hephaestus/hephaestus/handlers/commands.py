"""Does commands for the functions: those of the API's routes, and those of direct invocations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from hephaestus.errors import BadRequest
from hephaestus.handlers.observability import note
from hephaestus.handlers.triggers import in_place
from hephaestus.runtime.commands import CATALOGUE
from hephaestus.runtime.commands.command import Used

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_lambda_powertools.event_handler.api_gateway import Response

    from hephaestus.handlers.http.api import Api
    from hephaestus.handlers.triggers import Invocation
    from hephaestus.runtime.commands import Command
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.runner import Runner

SHOWN: Final = 64


def serve(api: Api, function: str) -> None:
    """Give ``api`` the routes of the commands that ``function`` serves."""
    for command in CATALOGUE:
        if command.served_by == function and command.route:
            _route(api, command)


def do_directly(runner: Runner, function: str, event: Mapping[str, Any], context: Invocation) -> dict[str, Any]:
    """Do what a direct invocation of ``function`` asks for: the command that ``action`` names, or its usual one.

    Raises:
        BadRequest: there is no such action, or the command is malformed.
        CallerError: as the runner's method raises it.
    """
    call = _asked(function, event).read(event)
    done = _do(runner, call, in_place(context, runner.clock))
    if call.answers == "status":
        return {"id": done, "status": runner.get(done).status, **_used(done)}
    return {call.answers: done}


def _route(api: Api, command: type[Command]) -> None:
    """202; 200 with the state where the caller waited for it, and where there is nothing to wait for."""

    @api.post(command.route)
    def act(**matched: str) -> Response[str]:
        incoming = api.incoming
        incoming.takes()
        known: dict[str, Any] = {name: unquote(value) for name, value in matched.items()}  # as it was meant
        if command.named_by:
            known[command.named_by] = incoming.idempotency_key
        call = command.read(incoming.body(), **known, by=incoming.caller)
        done = _do(api.runner, call, api.dispatch)
        if call.answers != "status":
            return api.answer({call.answers: done})
        return api.accepted(done, _used(done) or call.accepted())


def _used(done: str) -> dict[str, bool]:
    """What an answer says where a start uses an instance that was open."""
    return {"used": True} if isinstance(done, Used) else {}


def _asked(function: str, event: Mapping[str, Any]) -> type[Command]:
    """The command that a direct invocation asks for."""
    own = {command.action: command for command in CATALOGUE if command.served_by == function}
    action = event.get("action") or (function if function in own else None)
    if not isinstance(action, str) or action not in own:
        message = f"there is no action {str(action)[:SHOWN]!r}: there are {', '.join(map(repr, own))}"
        raise BadRequest(message)
    return own[action]


def _do(runner: Runner, call: Command, dispatch: Dispatch) -> str:
    """Do it; its log lines name what it is about."""
    note(**{name: getattr(call, name) for name in call.logged})
    done = runner.do(call, dispatch=dispatch)
    if "instance_id" not in call.logged and call.answers != "limit":
        note(instance_id=done)
    return done
