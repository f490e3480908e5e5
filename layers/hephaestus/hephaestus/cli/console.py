"""``hephaestus console``: the page that shows instances and steers them, served on this machine."""

from __future__ import annotations

import sys
import webbrowser
from contextlib import ExitStack, suppress
from typing import Annotated, Final

import typer
from rich.text import Text

from hephaestus.cli.session import Session
from hephaestus.cli.text import safe
from hephaestus.console import ConsoleServer
from hephaestus.console.demo import in_memory
from hephaestus.console.deployed import DeployedConnection

LAST_PORT: Final = 65_535


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Instances")(console)


def console(
    ctx: typer.Context,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=LAST_PORT, help="Where it listens; by default 8765, or any if that is taken. 0: any."),
    ] = None,
    browse: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in your browser.")] = True,
    demo: Annotated[bool, typer.Option("--demo", help="Look around in a Hephaestus in memory, without AWS.")] = False,
) -> None:
    """Watch and steer instances in a browser, until Ctrl+C.

    It listens on this machine only, and acts with your credentials: whoever has the address that it says may do what
    you may.
    """
    session: Session = ctx.obj
    with ExitStack() as until_the_end:
        connection = until_the_end.enter_context(in_memory()) if demo else DeployedConnection(session.connection)
        server = until_the_end.enter_context(ConsoleServer(connection, port))
        if session.json:
            session.write_json({"url": server.url, "place": connection.place, "by": connection.by})
        else:
            session.say(Text(safe(f"The console shows {connection.place}, as {connection.by}.")))
            session.say(Text.assemble("Whoever has this address may do what you may; Ctrl+C ends it:"))
            sys.stdout.write(f"\n    {server.url}\n\n")  # never wrapped
            sys.stdout.flush()
        if browse and not session.json:
            webbrowser.open(server.url)
        with suppress(KeyboardInterrupt):
            server.serve_forever()
