"""The console's page knows what the engine tells: each event has its sentence, each status its colour and its sign."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hephaestus.cli.looking import ItemStatuses, Status
from hephaestus.engine import events
from hephaestus.engine.events.event import Event
from tests.engines import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "console" / "src"
STEPS = {
    "pending",
    "running",
    "waiting",
    "mapping",
    "looping",
    "retrying",
    "completed",
    "failed",
    "cancelled",
    "skipped",
}


def kinds(of: type[Event]) -> Iterator[str]:
    """The names of all events below one that are told."""
    for kind in of.__subclasses__():
        below = list(kinds(kind))
        yield from below or [kind.__name__]


def test_each_event_has_a_sentence() -> None:
    """None is shown by the name of its class."""
    told = set(re.findall(r'case "(\w+)":', (PAGE / "history.tsx").read_text("utf-8")))
    assert told == {name for name in kinds(Event) if hasattr(events, name)}


def test_each_status_has_a_colour_and_a_sign() -> None:
    """What has none is drawn in black, as if it were nothing."""
    known = {*map(str, Status), *map(str, ItemStatuses), *STEPS}
    coloured = set(re.findall(r"\.is-(\w+)", (PAGE / "app.css").read_text("utf-8")))
    signs = set(re.findall(r"^  (\w+): \"M", (PAGE / "parts.tsx").read_text("utf-8"), re.MULTILINE))
    assert known <= coloured
    assert known <= signs
