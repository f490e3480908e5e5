"""``GET`` and ``POST /callbacks/{token}``: the only routes that ask for no AWS identity. The token is the permission.

A ``GET`` never changes anything, because mail scanners and previews follow links: it shows what the link would do. A
person confirms with the form on that page, a program sends JSON. Answers say what the token's holder knows already, and
nothing else of the instance; whether they are pages or JSON is up to ``Accept``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from aws_lambda_powertools.event_handler.api_gateway import Response

from hephaestus.callbacks.link import dump
from hephaestus.definition.views import moment
from hephaestus.errors import BadRequest, LinksAreOff, NotConfirmed
from hephaestus.handlers.http import pages, problem
from hephaestus.handlers.http.request import EMPTY
from hephaestus.handlers.observability import note
from hephaestus.runtime.caller import Caller
from hephaestus.runtime.dispatch import Enqueue
from hephaestus.runtime.intake import read_wire
from hephaestus.values import for_display

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.callbacks.link import Link
    from hephaestus.handlers.http.api import Api

MAX_PAYLOAD: Final = 64 * 1024  # bytes: what a program may send
ACCEPTED: Final = 202
MAX_FORM: Final = 1024  # bytes: a confirmation has about 60
FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")  # what a form can send
HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": pages.POLICY,
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}


def serve_links(api: Api) -> None:
    """Give ``api`` the routes of links."""

    @api.get("/callbacks/<token>")
    def shown(token: str) -> Response[str]:
        """What the link would do."""
        return show(api, token)

    @api.post("/callbacks/<token>")
    def taken(token: str) -> Response[str]:
        """Do what the link is for."""
        return take(api, token)


def show(api: Api, token: str) -> Response[str]:
    """What the link would do, with a button that does it; nothing has happened yet."""

    def look() -> Response[str]:
        signer, now = api.runner.signer(), api.clock.now()
        api.incoming.takes()
        link = _read(api, token)
        workflow = api.runner.look(link)
        known = {"workflow": workflow, **_about(link), "confirm": {"method": "POST"}}
        return _answer(api, 200, known, lambda: pages.confirm(known, signer.confirmation(token, now)))

    return _guarded(api, look)


def take(api: Api, token: str) -> Response[str]:
    """Do what the link is for: for a form that its page gave out, or for a program."""

    def act() -> Response[str]:
        if api.incoming.headers.get("sec-fetch-site", "") not in ("", "same-origin", "none"):
            message = "another site's page sent this: open the link yourself and press its button"
            raise NotConfirmed(message)
        api.incoming.takes("heartbeat")
        beats = api.incoming.flag("heartbeat")
        link = _read(api, token)
        if beats:
            return _beat(api, link)
        payload = None
        if _is_form(api):
            api.runner.signer().check_confirmation(token, _confirmation(api), api.clock.now())
        else:
            payload = _payload(api, link)
        api.runner.answer(link, payload, dispatch=Enqueue())
        return _answer(api, ACCEPTED, _about(link), lambda: pages.done(_about(link)))

    return _guarded(api, act)


def _read(api: Api, token: str) -> Link:
    """The verified link; from here on the log names it."""
    link = api.runner.signer().read(token, api.clock.now())
    note(instance_id=link.instance_id, event=link.event, link=link.id)
    return link


def _beat(api: Api, link: Link) -> Response[str]:
    """Whoever works for the step is alive; the link is not used up."""
    if api.incoming.text(MAX_PAYLOAD).strip():
        message = "a heartbeat has no results: send no body with it, and the results later, without heartbeat"
        raise BadRequest(message)
    api.runner.look(link)
    api.runner.heartbeat(link.instance_id, link.step, item=link.item, by=Caller(link.event_id, "link"))
    return _answer(api, 200, _about(link), lambda: pages.done(_about(link)))


def _payload(api: Api, link: Link) -> Any:
    """The results that a program sends, ``None`` for none; no body sends none."""
    found = api.incoming.body(MAX_PAYLOAD)
    if found is not EMPTY and link.payload is not None:
        api.runner.look(link)  # where it cannot be used at all, that is what to say
        message = "this link brings its own results: send no body"
        raise BadRequest(message)
    return None if found is EMPTY else read_wire(found, "payload")


def _confirmation(api: Api) -> str:
    """What the form carries; a program that sends something else without saying so is told."""
    try:
        fields = parse_qs(api.incoming.text(MAX_FORM), max_num_fields=8)
    except ValueError:
        fields = {}
    if "confirmation" not in fields:
        message = (
            "the confirmation is missing: a person opens the link and presses its button, "
            "a program sends its results with Content-Type: application/json"
        )
        raise NotConfirmed(message)
    return fields["confirmation"][-1]


def _about(link: Link) -> dict[str, Any]:
    """What the token says, which its holder may read anyway."""
    carried = {} if link.payload is None else {"payload": link.payload}
    expires = for_display(moment(link.expires_at * 1000))
    item = {} if link.item is None else {"item": link.item}
    return {"id": link.instance_id, "step": link.step, **item, "event": link.event, "expires_at": expires, **carried}


def _guarded(api: Api, act: Callable[[], Response[str]]) -> Response[str]:
    """What ``act`` answers; whatever it raises becomes a page or a problem document."""
    try:
        try:
            return act()
        except LinksAreOff as error:
            message = "this deployment takes no links"
            raise problem.NoSuchRoute(message) from error
    except Exception as error:  # noqa: BLE001 - as for every route: nothing internal reaches the caller
        document = api.problem(error)
        answer = _answer(api, document["status"], document, lambda: pages.refused(document))
        answer.headers.update(problem.headers(error))
        return answer


def _answer(api: Api, status: int, known: Mapping[str, Any], page: Callable[[], str]) -> Response[str]:
    """``known`` as JSON, or the page that tells it."""
    if _wants_page(api):
        # To a person, what is accepted is done.
        shown, kind, body = 200 if status == ACCEPTED else status, pages.CONTENT_TYPE, page()
    else:
        shown, kind, body = status, problem.CONTENT_TYPE if "title" in known else "application/json", dump(known)
    return Response(status_code=shown, content_type=kind, body=body, headers={**HEADERS})


def _wants_page(api: Api) -> bool:
    """Whether a person is there: a browser asks for HTML. Without any wish, a link is opened and JSON is sent."""
    accept = api.incoming.headers.get("accept", "").lower()
    if "text/html" in accept:
        return True
    return "json" not in accept and (api.incoming.method == "GET" or _is_form(api))


def _is_form(api: Api) -> bool:
    return api.incoming.headers.get("content-type", "").lower().startswith(FORMS)
