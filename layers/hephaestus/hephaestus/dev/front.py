"""HTTP on loopback in front of the deployed routes: what API Gateway does on AWS, without its authorization.

A request becomes the event that API Gateway sends, and the handlers' answer the response. Other pages in a browser can
send requests to loopback; they are rejected, as the console does. Links are opened from mails, so their page is not.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import uuid
from collections import deque
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from hephaestus.console.guard import Guard, Refused
from hephaestus.console.server import DIGITS, LoopbackServer
from hephaestus.dev.ingest_route import serve_ingest
from hephaestus.handlers.commands import serve
from hephaestus.handlers.http.api import Api
from hephaestus.handlers.http.callbacks import serve_links
from hephaestus.handlers.http.problem import CONTENT_TYPE
from hephaestus.handlers.http.request import CLAIMED
from hephaestus.handlers.reading import serve_reads

if TYPE_CHECKING:
    from hephaestus.runtime.runner import Runner

PORT: Final = 8700
MOST_BYTES: Final = 10_000_000  # of a body, as API Gateway takes
IDLE: Final = 60  # seconds that a connection may be silent
ANSWER_MS: Final = 29_000  # API Gateway waits no longer
WRONG: Final = 400
FUNCTIONS: Final = ("start", "resume", "control")

_logger = logging.getLogger("hephaestus.dev")


class Front(LoopbackServer):
    """Serves a runner's API.

    Args:
        runner: whose instances they are.
        by: who the caller is, as history keeps it.
        port: where it listens on loopback; 0 takes any that is free.

    Raises:
        PortTaken: something else has the port.
    """

    def __init__(self, runner: Runner, by: str, port: int = PORT) -> None:
        super().__init__(_Handler, port)
        self.guard = Guard(self.server_port)
        self.by = by
        self._runner = runner
        self._apis: deque[Api] = deque()

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, event: dict[str, Any]) -> dict[str, Any]:
        """What the deployed handlers answer; each of their objects serves one request at a time."""
        try:
            api = self._apis.pop()
        except IndexError:
            api = _all_routes(self._runner)
        try:
            return api(event, _Invocation())
        finally:
            self._apis.append(api)


class _Invocation:
    """What the handlers need of Lambda's context."""

    def __init__(self) -> None:
        self.aws_request_id = str(uuid.uuid4())

    def get_remaining_time_in_millis(self) -> int:
        return ANSWER_MS


def _all_routes(runner: Runner) -> Api:
    api = Api(runner)
    for function in FUNCTIONS:
        serve(api, function)
    serve_reads(api, traces=True)  # the code is the caller's own
    serve_links(api)
    serve_ingest(api)
    return api


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "hephaestus-dev"
    sys_version = ""
    timeout = IDLE
    server: Front

    def handle_request(self) -> None:
        """Answer one request, whatever its method."""
        try:
            self._check_source()
            answer = self.server.answer(self._event())
        except Refused as rejected:
            self.close_connection = True  # of a body that is not read
            document = {"title": "Rejected", "status": rejected.status, "detail": str(rejected)}
            answer = {
                "statusCode": rejected.status,
                "body": json.dumps(document),
                "headers": {"Content-Type": CONTENT_TYPE},
            }
        self._send(answer)
        self._log(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_request  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's signature
        """Requests are logged when they are answered."""

    def _check_source(self) -> None:
        guard = self.server.guard
        if self.path.startswith("/callbacks/"):
            guard.check_host(self.headers)  # the handlers look at the rest, as deployed
        else:
            guard.check_source(self.headers)

    def _event(self) -> dict[str, Any]:
        """The event that API Gateway would send."""
        address = urlsplit(self.path)
        query = parse_qs(address.query, keep_blank_values=True)
        headers: dict[str, list[str]] = {}
        for name, value in self.headers.items():
            headers.setdefault(name, []).append(value)
        body = self._body()
        try:
            text, encoded = body.decode(), False
        except UnicodeDecodeError:
            text, encoded = base64.b64encode(body).decode(), True
        return {
            "resource": "",
            "path": address.path,
            "httpMethod": self.command,
            "multiValueHeaders": headers,
            "multiValueQueryStringParameters": query,
            "queryStringParameters": {name: values[-1] for name, values in query.items()},
            "body": text or None,
            "isBase64Encoded": encoded,
            "requestContext": {"path": address.path, "requestId": uuid.uuid4().hex, CLAIMED: self.server.by},
        }

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            raise Refused(411, "A request says how long its body is: send Content-Length.")
        if len(length) > DIGITS or int(length) > MOST_BYTES:
            raise Refused(413, f"A body takes at most {MOST_BYTES} bytes.")
        return self.rfile.read(int(length))

    def _send(self, answer: dict[str, Any]) -> None:
        body = answer.get("body") or ""
        data = base64.b64decode(body) if answer.get("isBase64Encoded") else body.encode()
        self.send_response(int(answer["statusCode"]))
        for name, values in {**answer.get("headers", {}), **answer.get("multiValueHeaders", {})}.items():
            for value in values if isinstance(values, list) else [values]:
                self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _log(self, answer: dict[str, Any]) -> None:
        """A line for what changes something, and for what went wrong; a link's token is not in it."""
        status = int(answer["statusCode"])
        if self.command in ("GET", "HEAD") and status < WRONG:
            return
        path = re.sub("^/callbacks/[^/]+", "/callbacks/…", urlsplit(self.path).path)
        said = ""
        if status >= WRONG and (answer.get("body") or "").startswith("{"):
            said = f": {json.loads(answer['body']).get('detail', '')}"
        _logger.info("%s %s → %d%s", self.command, path, status, said)
