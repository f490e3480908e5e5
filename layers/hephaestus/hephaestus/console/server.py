"""The console's HTTP: the page's files, and what the page asks for. It listens on loopback only.

Everything is answered with headers that keep other pages out and let nothing run but the page's own files.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from hephaestus.console.guard import Guard, Refused, UsedAgain
from hephaestus.console.handover import PAGE
from hephaestus.console.service import OTHERS, Service
from hephaestus.errors import BadRequest, CallerError, HephaestusError
from hephaestus.values.strict_json import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.console.source import Connection

ADDRESS: Final = "127.0.0.1"
PORT: Final = 8765
MAX_BODY: Final = 2_000_000  # bytes; no table takes a payload near this
DIGITS: Final = 12  # of a body's length; Python reads no number of more than 4,300
IDLE: Final = 60  # seconds that a connection may be silent
FILES: Final[Mapping[str, str]] = {
    "index.html": "text/html; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "app.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "licenses.txt": "text/plain; charset=utf-8",
}
POLICY: Final = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # The browser itself then refuses to make markup or code of any text.
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
COUNTING: Final = 1.0  # seconds that new counts are waited for
JSON: Final = "application/json"
REFUSED: Final = "Not let in"  # the page tells it from a 401 of AWS by this

_logger = logging.getLogger("hephaestus.console")


def _nothing() -> None:
    """No one waits for it."""


class PortTaken(CallerError):
    """Something else listens on the port."""

    status = 409
    title = "Port taken"


class LoopbackServer(ThreadingHTTPServer):
    """Listens on loopback.

    Args:
        handler: answers a connection.
        port: where it listens; 0 takes any that is free, ``None`` the usual one or, if that is taken, any.
        usual: the usual port.

    Raises:
        PortTaken: the port was asked for and something else has it.
    """

    daemon_threads = True
    # On Windows that option would let two servers share a port; elsewhere it only skips the wait after a restart.
    allow_reuse_address = True

    def __init__(self, handler: type[BaseHTTPRequestHandler], port: int | None, usual: int = 0) -> None:
        super().__init__((ADDRESS, 0), handler, bind_and_activate=False)
        try:
            self._listen(port, usual)
        except BaseException:
            self.server_close()
            raise

    def _listen(self, port: int | None, usual: int) -> None:
        wanted = usual if port is None else port
        self.server_address = (ADDRESS, wanted)
        try:
            self.server_bind()
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            if port is not None:
                what = "is taken" if error.errno == errno.EADDRINUSE else "may not be used"
                message = f"port {port} {what} on this machine: choose another one, or 0 for any that is free"
                raise PortTaken(message) from error
            self.socket.close()
            self.socket = socket.socket(self.address_family, self.socket_type)
            self.server_address = (ADDRESS, 0)
            self.server_bind()
        self.server_activate()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's signature
        """A browser that went away is no event; anything else is told."""
        _logger.debug("a request ended early", exc_info=True)  # noqa: LOG014 - socketserver calls this from its handler


class ConsoleServer(LoopbackServer):
    """Serves one connection's console until it is closed.

    Args:
        connection: what is shown and steered.
        port: where it listens on loopback; 0 takes any that is free, ``None`` the usual one or, if that is taken, any.
        token: see ``Guard``.
        warn: given what the person should know, in a sentence or two; by default it is logged.

    Raises:
        PortTaken: the port was asked for and something else has it.
    """

    def __init__(
        self,
        connection: Connection,
        port: int | None = None,
        token: str | None = None,
        *,
        warn: Callable[[str], None] = _logger.warning,
    ) -> None:
        super().__init__(_Handler, port, usual=PORT)
        self.guard = Guard(self.server_port, token)
        self.warn = warn
        self.when_used: Callable[[], None] = _nothing
        """Called when a one-time address has let a browser in: what held it is of no more use."""
        self.service = Service(connection)
        folder = resources.files("hephaestus.console") / "static"
        self.files = {name: (folder / name).read_bytes() for name in FILES}

    @property
    def url(self) -> str:
        """The address that lets a browser in; anyone who has it may do what this process may."""
        return self._url(self.guard.token)

    def url_for_once(self) -> str:
        """An address that lets one browser in, once and soon; see ``Handover`` for how a browser gets it."""
        return self._url(self.guard.ticket())

    def _url(self, token: str) -> str:
        return f"http://{ADDRESS}:{self.server_port}/?token={token}"


class _Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    protocol_version = "HTTP/1.1"
    server_version = "hephaestus-console"
    sys_version = ""
    timeout = IDLE
    server: ConsoleServer

    def do_GET(self) -> None:
        """Answer a read."""
        self._answer(self._read)

    def do_HEAD(self) -> None:
        """Answer as a GET, without its body."""
        self._answer(self._read)

    def do_POST(self) -> None:
        """Answer an action."""
        self._answer(self._act)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's signature
        """Requests are told only to who asks: an address may hold the token."""
        _logger.debug("request: %s", urlsplit(format % args).path)

    def _answer(self, route: Any) -> None:
        try:
            ticket = self._ticket()
            if ticket is not None:
                self._redeem(ticket)
                return
            self.server.guard.check_source(self.headers)
            route()
        except Refused as rejected:
            self._refuse(rejected.status, REFUSED, str(rejected))
        except CallerError as error:
            self._refuse(error.status, error.title, str(error), error.details)
        except HephaestusError as error:
            _logger.info("request failed", exc_info=True)
            self._refuse(error.status, error.title, str(error))
        except (BrokenPipeError, ConnectionResetError, ConnectionAbortedError):
            self.close_connection = True  # the browser has gone
        except Exception as error:
            _logger.exception("request failed")
            self._refuse(500, "Internal error", f"{type(error).__name__}: {error}")

    def _read(self) -> None:
        address = urlsplit(self.path)
        query = dict(parse_qsl(address.query, keep_blank_values=False))
        if address.path == "/" and "token" in query:
            self._let_in(query["token"])
            return
        self.server.guard.check_session(self.headers)
        if address.path.startswith("/api/"):
            self.server.guard.check_key(self.headers)
            parts = [unquote(part) for part in address.path.removeprefix("/api/").split("/")]
            self._send_json(200, self._look_up(parts, query), changing=True)
            return
        name = address.path.removeprefix("/") or "index.html"
        if name not in FILES:
            raise Refused(404, "There is no such page.")
        self._send(200, FILES[name], self.server.files[name], {"Cache-Control": "no-cache"})

    def _ticket(self) -> str | None:
        """The ticket of a one-time address, if that is what a page is opened with."""
        address = urlsplit(self.path)
        token = dict(parse_qsl(address.query)).get("token", "")
        opens = self.command == "GET" and address.path == "/"
        return token if opens and self.server.guard.is_ticket(token) else None

    def _redeem(self, ticket: str) -> None:
        """Let in the browser that opens the file which holds a ticket.

        For the browser, the file is another site, which no redirect makes it forget: the page leads on from here.
        """
        guard = self.server.guard
        guard.check_navigation(self.headers)
        try:
            guard.redeem(ticket)
        except UsedAgain:
            self.server.warn(
                "The address that the browser was started with has been opened a second time. If your browser does not "
                "show the console, somebody else may have opened it first: press Ctrl+C and start again."
            )
            raise
        self.server.when_used()
        page = PAGE.format(url=f"/#key={guard.key}").encode()
        self._send(200, "text/html; charset=utf-8", page, {"Set-Cookie": guard.cookie, "Cache-Control": "no-store"})

    def _let_in(self, token: str) -> None:
        guard = self.server.guard
        guard.redeem(token)
        # The key travels in the fragment, which browsers send to no one.
        headers = {"Location": f"/#key={guard.key}", "Set-Cookie": guard.cookie, "Cache-Control": "no-store"}
        self._send(303, "text/plain", b"", headers)

    def _look_up(  # noqa: PLR0911 - a line for each route
        self, parts: list[str], query: Mapping[str, str]
    ) -> dict[str, Any]:
        service = self.server.service
        match parts:
            case ["about"]:
                return service.about()
            case ["counts"]:
                return service.counts.read(COUNTING)
            case ["instances"]:
                return service.list(query)
            case ["limits"]:
                return service.limits(query)
            case ["schedules"]:
                return service.schedules()
            case ["find"]:
                return service.find(query)
            case ["instances", instance_id]:
                return service.get(instance_id, query)
            case ["instances", instance_id, "history"]:
                return service.history(instance_id, query)
            case ["instances", instance_id, "items"]:
                return service.items(instance_id, query)
        raise Refused(404, "The console has no such route.")

    def _act(self) -> None:
        guard = self.server.guard
        guard.check_session(self.headers)
        guard.check_key(self.headers)
        parts = [unquote(part) for part in urlsplit(self.path).path.removeprefix("/api/").split("/")]
        match parts:
            case ["instances", instance_id, action] if action in self.server.service.actions:
                body = self._body()
                self._send_json(200, self.server.service.act(action, instance_id, body))
            case ["limits" | "schedules" as plural, name, action] if (plural.removesuffix("s"), action) in OTHERS:
                kind, body = plural.removesuffix("s"), self._body()
                self._send_json(200, self.server.service.change(kind, action, name, body))
            case _:
                raise Refused(404, "The console has no such action.")

    def _body(self) -> Mapping[str, Any]:
        if self.headers.get_content_type() != JSON:
            raise Refused(415, "An action's body is JSON.")
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            raise Refused(411, "An action says how long its body is.")
        if len(length) > DIGITS or int(length) > MAX_BODY:
            raise Refused(413, f"An action's body takes at most {MAX_BODY} bytes.")
        body = read_json(self.rfile.read(int(length)))
        if not isinstance(body, dict):
            message = "the body must be a JSON object"
            raise BadRequest(message)
        return body

    def _refuse(self, status: int, title: str, detail: str, details: Mapping[str, object] | None = None) -> None:
        # What is left of a body that no one read would be taken for the next request.
        self.close_connection = self.command == "POST"
        self._send_json(status, {"title": title, "status": status, "detail": detail, **(details or {})})

    def _send_json(self, status: int, body: Mapping[str, Any], *, changing: bool = False) -> None:
        data = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
        headers = {"Cache-Control": "no-store"}
        if changing:
            tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
            headers["ETag"] = tag
            if self.headers.get("If-None-Match") == tag:
                self._send(304, JSON, b"", headers)
                return
        self._send(status, JSON, data, headers)

    def _send(self, status: int, content_type: str, data: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        for name, value in {**HEADERS, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
