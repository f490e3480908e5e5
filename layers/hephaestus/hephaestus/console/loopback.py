"""A threaded HTTP server that listens on loopback only, and says what to do where its port is taken."""

from __future__ import annotations

import errno
import logging
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from hephaestus.errors import CallerError

ADDRESS: Final = "127.0.0.1"

_logger = logging.getLogger("hephaestus.console")


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
