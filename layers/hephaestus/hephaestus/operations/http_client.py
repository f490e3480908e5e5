"""The API from the caller's side: one method a route, JSON in and out, and the library's own errors.

Every call that changes something has an ``Idempotency-Key``, so that sending it again after a lost answer is harmless.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from hephaestus import errors
from hephaestus.definition.business_key import check_id
from hephaestus.handlers.http.request import MAX_BODY
from hephaestus.handlers.http.request_key import written
from hephaestus.operations.advice import AwsRefused
from hephaestus.runtime.intake import MAX_LIMIT, check_filter, check_number, read_sequence
from hephaestus.runtime.item_pages import check_item_status, read_place

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.operations.transport import Answer, Transport
    from hephaestus.runtime.commands import Command
    from hephaestus.store.filters import ListFilter

Json = dict[str, Any]
FORBIDDEN: Final = 403
WRONG: Final = 400
FAULT: Final = 500


@dataclass(frozen=True, slots=True)
class Api:
    """The routes of a deployed API.

    ``wait`` of a method is how many seconds (1 to 25) it waits for the instance to settle; ``None`` not at all: the
    request is committed and queued. What it returns is the instance's state, or its id where no one waited.

    Raises (any method):
        CallerError: as the runner's method of the same name raises it.
        RetryLater, EngineError: the deployed engine could not answer.
    """

    transport: Transport

    def workflows(self) -> list[Json]:
        """What is deployed, as ``GET /workflows`` has it."""
        items: list[Json] = self._get("/workflows")["items"]
        return items

    def unavailable(self) -> list[str]:
        """The modules of workflows that the deployed functions cannot load."""
        modules: list[str] = self._get("/workflows")["unavailable"]
        return modules

    def schedules(self) -> list[Json]:
        """All schedules, as ``GET /schedules`` has them."""
        items: list[Json] = self._get("/schedules")["items"]
        return items

    def limits(self, name: str | None = None, *, limit: int = 50, cursor: str | None = None) -> Json:
        """A page of limits: ``items`` and ``cursor``."""
        check_number("limit", limit, MAX_LIMIT)
        return self._get("/limits", name=name, limit=limit, cursor=cursor)

    def get(self, instance_id: str, *, tree: bool = False) -> Json:
        """One instance as it is now, with its tree where that is asked for."""
        return self._get(_instance(instance_id), tree="true" if tree else None)

    def why(self, instance_id: str) -> Json:
        """Why it does not go on, and why what it waits for does not."""
        return self._get(_instance(instance_id, "why"))

    def history(
        self, instance_id: str, *, generation: int | None = None, limit: int = 100, cursor: str | None = None
    ) -> Json:
        """A page of its log: ``items`` and ``cursor``."""
        read_sequence(cursor)
        check_number("limit", limit, MAX_LIMIT)
        check_number("generation", 1 if generation is None else generation)
        return self._get(_instance(instance_id, "history"), generation=generation, limit=limit, cursor=cursor)

    def items(
        self, instance_id: str, step: str, *, status: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Json:
        """A page of the items of a map: ``items`` and ``cursor``."""
        read_place(cursor)
        check_item_status(status)
        check_number("limit", limit, MAX_LIMIT)
        return self._get(_instance(instance_id, "items"), step=step, status=status, limit=limit, cursor=cursor)

    def list(self, wanted: ListFilter, *, limit: int, cursor: str | None) -> Json:
        """A page of instances: ``items`` and ``cursor``."""
        check_number("limit", limit, MAX_LIMIT)
        check_filter("the cursor", "-" if cursor is None else cursor)
        times = {"since": _time(wanted.since), "until": _time(wanted.until)}
        statuses = None if wanted.statuses is None else ",".join(wanted.statuses)
        filters = {"workflow": wanted.workflow, "status": statuses, "version": wanted.version, "tag": wanted.tag}
        filters |= {"children": "true" if wanted.children else None, "parent": wanted.parent}
        return self._get("/instances", **filters, **times, limit=limit, cursor=cursor)

    def do(self, command: Command, *, wait: int | None = None) -> Json:
        """Send a command; under the same request id, it happens once."""
        if not command.route:
            message = f"the API has no route for {command.action}: invoke the function {command.served_by}"
            raise errors.BadRequest(message)
        path = re.sub(r"<(\w+)>", lambda part: quote(str(getattr(command, part[1])), safe=""), command.route)
        return self._post(path, command.sent(), command.request, wait)

    def _get(self, path: str, **query: Any) -> Json:
        asked = {name: str(value) for name, value in query.items() if value is not None}
        return _read(self.transport.call("GET", path, query=asked, body=None, headers={}))

    def _post(self, path: str, body: Mapping[str, Any], key: str | None, wait: int | None) -> Json:
        if len(json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass")) > MAX_BODY:
            message = f"the request is larger than {MAX_BODY} bytes: store large data elsewhere and pass a reference"
            raise errors.PayloadTooLarge(message)
        headers = {"Idempotency-Key": written(key or uuid.uuid4().hex), **({"Prefer": f"wait={wait}"} if wait else {})}
        return _read(self.transport.call("POST", path, query={}, body=body, headers=headers))


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()


def _instance(instance_id: str, *rest: str) -> str:
    return "/".join(("/instances", quote(check_id(instance_id), safe=""), *rest))


def _read(answer: Answer) -> Json:
    """The answer's body.

    Raises:
        HephaestusError: what the problem document in it says.
    """
    if answer.status < WRONG:
        found: Json = answer.body
        return found
    raise error_of(answer.body if isinstance(answer.body, dict) else {}, answer.status)


def error_of(problem: Mapping[str, Any], status: int) -> errors.HephaestusError:
    """The error that a problem document tells of; API Gateway's own refusals have none."""
    said = str(problem.get("detail") or problem.get("message") or problem.get("Message") or f"HTTP status {status}")
    kind = errors.errors_by_type().get(str(problem.get("type", "")))
    if kind is errors.UnexpectedEvent:
        return errors.UnexpectedEvent(said, problem.get("accepted", {}))
    if kind is errors.AmbiguousEvent:
        return errors.AmbiguousEvent(said, problem.get("steps", ()))
    if kind is not None:
        return kind(said)
    if status == FORBIDDEN:
        return AwsRefused(f"the API does not let you in: {said}")
    if status >= FAULT:
        request = f" (request {problem['request_id']})" if "request_id" in problem else ""
        return errors.EngineError(f"the deployed engine failed: {said}{request}")
    return errors.BadRequest(said)
