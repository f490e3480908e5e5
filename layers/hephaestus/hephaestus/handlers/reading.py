"""The routes that look and change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from hephaestus.definition.business_key import check_id
from hephaestus.definition.views import to_json_object
from hephaestus.errors import BadRequest
from hephaestus.handlers.http.describe import deployed
from hephaestus.runtime.intake import MAX_NUMBER
from hephaestus.runtime.queries import read_filter

if TYPE_CHECKING:
    from aws_lambda_powertools.event_handler.api_gateway import Response

    from hephaestus.handlers.http.api import Api
    from hephaestus.handlers.http.request import Request
    from hephaestus.store.filters import ListFilter


def serve_reads(api: Api, *, traces: bool = False) -> None:
    """Give ``api`` the routes of instances, their histories, lists, workflows and the API's document.

    Args:
        api: is given them.
        traces: whether histories tell where in the code errors were raised, for callers who may see that code.
    """
    _serve_one(api, traces=traces)
    _serve_others(api)


def _serve_one(api: Api, *, traces: bool) -> None:
    runner = api.runner

    @api.get("/instances/<instance_id>")
    def instance(instance_id: str) -> Response[str]:
        """One instance as it is now."""
        api.incoming.takes("tree")
        tree = api.incoming.flag("tree")
        return api.answer(to_json_object(runner.get(check_id(unquote(instance_id)), tree=tree)))

    @api.get("/instances/<instance_id>/why")
    def why(instance_id: str) -> Response[str]:
        """Why it does not go on."""
        api.incoming.takes()
        return api.answer(to_json_object(runner.why(check_id(unquote(instance_id)))))

    @api.get("/instances/<instance_id>/history")
    def history(instance_id: str) -> Response[str]:
        """A page of its log, oldest first."""
        known, asked = check_id(unquote(instance_id)), api.incoming
        asked.takes("generation", "limit", "cursor")
        generation, cursor = asked.number("generation", None, MAX_NUMBER), asked.query("cursor")
        more: dict[str, Any] = {"generation": generation, "cursor": cursor, "traces": traces}
        return api.page(lambda limit: runner.history(known, limit=limit, **more), default=100)

    @api.get("/instances/<instance_id>/items")
    def items(instance_id: str) -> Response[str]:
        """A page of the items of a map, in their order."""
        known, asked = check_id(unquote(instance_id)), api.incoming
        asked.takes("step", "status", "limit", "cursor")
        step, status, cursor = asked.query("step"), asked.query("status"), asked.query("cursor")
        if step is None:
            message = "step is missing: name the map whose items are asked for"
            raise BadRequest(message)
        return api.page(lambda limit: runner.items(known, step, status=status, limit=limit, cursor=cursor), default=100)


def _serve_others(api: Api) -> None:
    runner = api.runner

    @api.get("/instances")
    def instances() -> Response[str]:
        """A page of instances, newest first."""
        wanted, cursor = _wanted(api.incoming), api.incoming.query("cursor")
        return api.page(lambda limit: runner.find(wanted, limit=limit, cursor=cursor), default=50)

    @api.get("/workflows")
    def workflows() -> Response[str]:
        """What is deployed, and the modules that cannot be loaded."""
        api.incoming.takes()
        return api.answer({"items": deployed(runner), "unavailable": runner.registry.unavailable()})

    @api.get("/schedules")
    def schedules() -> Response[str]:
        """All schedules."""
        api.incoming.takes()
        return api.answer({"items": [to_json_object(one) for one in runner.schedules()]})

    @api.get("/limits")
    def limits() -> Response[str]:
        """A page of limits, by their names."""
        asked = api.incoming
        asked.takes("name", "limit", "cursor")
        name, cursor = asked.query("name"), asked.query("cursor")
        return api.page(lambda limit: runner.limits(name, limit=limit, cursor=cursor), default=50)

    @api.get("/openapi.json")
    def document() -> Response[str]:
        """The API's document, for where it is asked for."""
        from hephaestus.handlers.http.document import read_document  # noqa: PLC0415 - it is seldom asked for

        api.incoming.takes()
        return api.answer(read_document(api.incoming.base))


def _wanted(asked: Request) -> ListFilter:
    """Which instances a request asks for."""
    asked.takes("workflow", "status", "version", "tag", "since", "until", "children", "parent", "limit", "cursor")
    return read_filter(
        workflow=asked.query("workflow"),
        status=asked.several("status"),
        version=asked.number("version", None, MAX_NUMBER),
        tag=asked.query("tag"),
        since=asked.time("since"),
        until=asked.time("until"),
        children=asked.flag("children"),
        parent=asked.query("parent"),
    )
