"""``hephaestus console``: the page that shows instances and steers them, served on this machine."""

from __future__ import annotations

import sys
import threading
import webbrowser
from contextlib import ExitStack, suppress
from typing import Annotated, Final

import typer
from rich.text import Text

from hephaestus.cli.terminal import Session
from hephaestus.cli.text import safe
from hephaestus.console import ConsoleServer
from hephaestus.console.demo import in_memory
from hephaestus.console.handover import Handover
from hephaestus.console.remote import DeployedConnection

LAST_PORT: Final = 65_535


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Look")(console)


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
        server = until_the_end.enter_context(ConsoleServer(connection, port, warn=lambda said: _warn(session, said)))
        if session.json:
            session.write_json({"url": server.url, "place": connection.place, "by": connection.by})
        else:
            session.say(Text(safe(f"The console shows {connection.place}, as {connection.by}.")))
            session.say(Text.assemble("Whoever has this address may do what you may; Ctrl+C ends it:"))
            sys.stdout.write(f"\n    {server.url}\n\n")  # never wrapped
            sys.stdout.flush()
        serving = threading.Thread(target=server.serve_forever, name="console", daemon=True)
        serving.start()
        until_the_end.callback(server.shutdown)
        with suppress(KeyboardInterrupt):
            if browse and not session.json:
                _open(session, server, until_the_end)
            while serving.is_alive():
                serving.join(1)  # on Windows, nothing interrupts a wait without an end


def _open(session: Session, server: ConsoleServer, until_the_end: ExitStack) -> None:
    """Have a browser open the page, which is served already; some browsers come back only when they are closed."""
    try:
        page = until_the_end.enter_context(Handover(server.url_for_once()))
    except OSError as error:
        session.say(Text(safe(f"No browser was opened ({error.strerror}): open the address above."), style="yellow"))
        return
    server.when_used = page.remove
    said = (
        "A browser opens. If it shows no console (some snaps and flatpaks may not read files), open the address above."
    )
    session.say(Text(said, style="dim"))
    if not webbrowser.open(page.uri):
        session.say(Text("No browser was found: open the address above.", style="yellow"))


def _warn(session: Session, said: str) -> None:
    session.err.print(Text(safe(said), style="bold yellow"))
