"""What the command does: serve the console until it is interrupted."""

from __future__ import annotations

import sys
import webbrowser
from typing import TYPE_CHECKING

from hephaestus.console.server import ConsoleServer

if TYPE_CHECKING:
    from hephaestus.console.connection import Connection


def serve(connection: Connection, *, port: int | None = None, browse: bool = True) -> None:
    """Serve a connection's console on loopback until Ctrl+C.

    Args:
        connection: what is shown and steered.
        port: where it listens; 0 takes any that is free, ``None`` the usual one or, if that is taken, any.
        browse: open it in the person's browser.

    Raises:
        PortTaken: something else has the port that was asked for.
    """
    with ConsoleServer(connection, port) as server:
        sys.stdout.write(f"The console shows {connection.place}, as {connection.by}. Open\n\n    {server.url}\n\n")
        sys.stdout.write("Whoever has this address may do what you may. Ctrl+C ends it.\n")
        sys.stdout.flush()
        if browse:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.stdout.write("\n")
