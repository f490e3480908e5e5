"""The API: Powertools' resolver with this project's way to read a request, wait, answer and refuse.

No request runs a step: what it commits is queued, and one that waits looks at the instance until it settles or the time
is up. A step that takes minutes would otherwise hold back the answer, and API Gateway gives up after 29 seconds
(``docs/decisions/0029-who-waits-runs-nothing.md``).

Every function serves some of ``ROUTES``. A route's function reads what it needs from ``api.incoming``, makes one call,
and answers with ``api.accepted`` or ``api.answer``; whatever it raises becomes a problem document.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from aws_lambda_powertools.event_handler.api_gateway import APIGatewayRestResolver, Response

from hephaestus.adapters.deadline import ending_in
from hephaestus.definition.views import to_json_object, to_json_page
from hephaestus.errors import CallerError, InstanceNotFound, RetryLater
from hephaestus.handlers.http import prefer, problem
from hephaestus.handlers.http.fitting import dump, fits, fitted
from hephaestus.handlers.http.request import Request
from hephaestus.runtime.commands import ROUTED
from hephaestus.runtime.dispatch import Dispatch, Enqueue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.definition.views import InstanceView, Page
    from hephaestus.handlers.triggers import Invocation
    from hephaestus.runtime.runner import Runner

ROUTES: Final[Mapping[str, tuple[str, ...]]] = {
    "/openapi.json": ("GET",),
    "/workflows": ("GET",),
    "/schedules": ("GET",),
    "/limits": ("GET",),
    "/instances": ("GET",),
    "/instances/<instance_id>": ("GET",),
    "/instances/<instance_id>/why": ("GET",),
    "/instances/<instance_id>/history": ("GET",),
    "/instances/<instance_id>/items": ("GET",),
    **{command.route: ("POST",) for command in ROUTED},
    "/callbacks/<token>": ("GET", "POST"),
}
MAX_LIMIT: Final = 200
GATEWAY_MS: Final = 27_000  # an answer is given by then: API Gateway waits for 29 s, a cold start included
ANSWER_MS: Final = 500
FIRST_PAUSE_MS: Final = 50
LONGEST_PAUSE_MS: Final = 500

_logger = logging.getLogger("hephaestus.handlers.http")


class Api(APIGatewayRestResolver):
    """The routes of one function. One object serves one request at a time, as Lambda does."""

    incoming: Request
    preferences: prefer.Preferences
    dispatch: Dispatch = Enqueue()  # where the work of every request goes

    def __init__(self, runner: Runner) -> None:
        super().__init__(debug=False)
        self.runner = runner
        self.clock = runner.clock
        self._invocation: Invocation | None = None
        self._wait_until = 0
        self.exception_handler(Exception)(self._refuse)
        self.not_found(self._no_route)

    def __call__(self, event: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Answer one proxy event."""
        self._invocation = context
        try:
            self.incoming = Request(event)
        except CallerError as error:
            self.incoming = Request({})
            return _bare(self._refuse(error))
        self.preferences = prefer.read(self.incoming.headers.get("prefer", ""))
        now = self.clock.now()
        left = min(context.get_remaining_time_in_millis(), GATEWAY_MS)
        self._wait_until = now + min((self.preferences.wait or 0) * 1000, left - ANSWER_MS)
        with ending_in(left):
            return super().resolve({**event, "httpMethod": self.incoming.method, "path": self.incoming.path}, context)

    def answer(
        self, body: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response[str]:
        """Answer with JSON, without what would make it too large."""
        applied = self.preferences.applied if self.incoming.method == "POST" else ""
        return Response(
            status_code=status,
            content_type="application/json",
            body=fitted(body),
            headers={
                "Cache-Control": "no-store",
                **({"Preference-Applied": applied} if applied else {}),
                **(headers or {}),
            },
        )

    def page(self, fetch: Callable[[int], Page[Any]], default: int) -> Response[str]:
        """Answer with a page of at most ``limit`` items, fewer where they are large; ``cursor`` asks for the rest."""
        limit = self.incoming.number("limit", default, MAX_LIMIT) or default
        while True:
            page = fetch(limit)
            body = to_json_page(page)
            if limit == 1 or fits(dump(body)):
                return self.answer(body)
            limit //= 2

    def accepted(self, instance_id: str, known: Mapping[str, Any]) -> Response[str]:
        """Answer a call that was accepted: 200 with the state if it settles while the request waits, else 202.

        Args:
            instance_id: the instance that the call was about.
            known: what a 202 says beside the id, when nobody waits.
        """
        location = {"Location": f"{self.incoming.base}/instances/{quote(instance_id, safe=':')}"}
        if not self.preferences.wait:
            return self.answer({"id": instance_id, **known}, 202, location)
        shown = replace(self._settle(instance_id), used=bool(known.get("used")))
        return self.answer(to_json_object(shown), 200 if self._rests(shown, self.clock.now()) else 202, location)

    def _settle(self, instance_id: str) -> InstanceView:
        """The instance as soon as it ends or waits, or as it is when the request's time is up."""
        pause = FIRST_PAUSE_MS
        while True:
            shown = self.runner.get(instance_id)
            now = self.clock.now()
            if now >= self._wait_until or self._rests(shown, now):
                return shown
            self.clock.sleep(min(pause, self._wait_until - now))
            pause = min(pause * 3 // 2, LONGEST_PAUSE_MS)

    def _rests(self, shown: InstanceView, now: int) -> bool:
        """Whether nothing happens to it, nor to a child that it waits for, before somebody or some time comes."""
        if not _settled(shown, now):
            return False
        waits = shown.status == "waiting" and shown.paused is None
        children = (
            [step.child for step in shown.steps.values() if step.child and step.status == "waiting"] if waits else ()
        )
        return all(self._child_rests(child, now) for child in children)

    def _child_rests(self, child: str, now: int) -> bool:
        try:
            shown = self.runner.get(child)
        except InstanceNotFound:
            return False  # it is about to start
        return not shown.closed and self._rests(shown, now)  # the end of one that is closed is on its way

    def problem(self, error: Exception) -> dict[str, Any]:
        """The problem document for an error, and a line in the log; only what is nobody's mistake is there in full."""
        request_id = self._invocation.aws_request_id if self._invocation else ""
        path = _without_token(self.incoming.path)
        shown = {"method": self.incoming.method[:20], "path": path[:512]}
        about = {**shown, "problem": type(error).__name__}
        if isinstance(error, CallerError):
            _logger.info("request refused", extra=about)
        elif isinstance(error, RetryLater):
            _logger.warning("request could not be served now", extra=about, exc_info=error)
        else:
            _logger.error("request failed", extra=about, exc_info=error)
        return problem.document(error, path, request_id)

    def _refuse(self, error: Exception) -> Response[str]:
        """A problem document for whatever a route raised."""
        document = self.problem(error)
        return Response(
            status_code=document["status"],
            content_type=problem.CONTENT_TYPE,
            body=dump(document),
            headers={"Cache-Control": "no-store", **problem.headers(error)},
        )

    def _no_route(self, _error: Exception) -> Response[str]:
        for rule, methods in ROUTES.items():
            if self.incoming.method not in methods and re.fullmatch(
                re.sub(r"<\w+>", "[^/]+", rule) + "/*", self.incoming.path
            ):
                path = _without_token(self.incoming.path)[:200]
                message = f"{path} takes {', '.join(methods)}, not {self.incoming.method[:20]}"
                return self._refuse(problem.MethodNotAllowed(message, methods))
        return self._refuse(problem.NoSuchRoute(f"there is no {_without_token(self.incoming.path)[:200]}"))


def _bare(answer: Response[str]) -> dict[str, Any]:
    """An answer as API Gateway takes it, without a request that it belongs to."""
    headers = {"Content-Type": [problem.CONTENT_TYPE], **{name: [str(it)] for name, it in answer.headers.items()}}
    return {"statusCode": answer.status_code, "body": answer.body, "multiValueHeaders": headers}


def _without_token(path: str) -> str:
    """``path`` without a link's token: whoever reads it could use the link."""
    return re.sub("^/callbacks/[^/]+", "/callbacks/{token}", path)


def _settled(shown: InstanceView, now: int) -> bool:
    """Whether nothing happens to the instance before somebody or some time comes.

    One that waits and has been given something to do has an alarm that is due. A paused one has an alarm only as long
    as something of it still runs.
    """
    paused = shown.paused is not None and shown.wake_at is None
    waits = shown.status == "waiting" and (shown.wake_at is None or shown.wake_at.timestamp() * 1000 > now)
    return shown.closed or waits or shown.parked is not None or paused
