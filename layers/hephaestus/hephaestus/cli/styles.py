"""How statuses look: a sign and a colour each, so that neither alone has to be seen."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from hephaestus.cli.text import safe

SIGNS: Final = {
    "pending": ("○", "dim"),
    "running": ("▶", "cyan"),
    "waiting": ("◷", "yellow"),
    "retrying": ("↻", "yellow"),
    "looping": ("⟳", "cyan"),
    "mapping": ("⠿", "cyan"),
    "completed": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "cancelled": ("⊘", "magenta"),
    "undone": ("↩", "magenta"),
    "compensating": ("↺", "magenta"),
    "compensated": ("↺", "magenta"),
    "compensation_failed": ("✗", "bold red"),
    "skipped": ("·", "dim"),
}


def status(name: str) -> Text:
    """A status with its sign."""
    sign, style = SIGNS.get(name, ("?", ""))
    return Text(f"{sign} {safe(name).replace('_', ' ')}", style=style)


def sign(name: str) -> Text:
    """The sign alone."""
    letter, style = SIGNS.get(name, ("?", ""))
    return Text(letter, style=style)


def plain(text: object, style: str = "") -> Text:
    """Somebody's text, as it is: no markup, nothing invisible."""
    return Text(safe(text), style=style)
