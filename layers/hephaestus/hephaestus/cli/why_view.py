"""Say why an instance does not go on: ``why``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from rich.text import Text

from hephaestus.cli import styles
from hephaestus.cli.looking import InstanceId
from hephaestus.cli.terminal import Session
from hephaestus.cli.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterator


Json = dict[str, Any]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("why", rich_help_panel="Look")(why)


def why(ctx: typer.Context, instance_id: InstanceId) -> None:
    """Say what an instance waits for: events, times, limits, children, an operator."""
    session: Session = ctx.obj
    found = session.connection.why(instance_id)
    if session.json:
        session.write_json(found)
    else:
        session.say(*_lines(found))


def _lines(found: Json, indent: str = "") -> Iterator[Text]:
    """Each sentence in a line, what is below an instance further in."""
    status = found.get("status")
    yield Text.assemble(indent, (safe(found["id"]), "bold"), "  ", styles.status(status) if status else "")
    said = [*(Text(safe(text)) for text in found.get("why", ()))]
    said += [Text.assemble((safe(key), "bold"), " ", safe(text)) for key, text in found.get("steps", {}).items()]
    for line in said or [Text("goes on: nothing holds it", style="dim")]:
        yield Text.assemble(indent, "  ", line)
    for below in found.get("below", ()):
        yield from _lines(below, f"{indent}  ")
