"""The README's tables are whole: each route of the API, and each command of the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
import typer.main

from hephaestus.cli.app import app

ROOT: Final = Path(__file__).parents[2]
README: Final = (ROOT / "README.md").read_text("utf-8")
ROUTE: Final = re.compile(r"Method: (GET|POST)\n +Path: (\S+)\n")
ROW: Final = re.compile(r"^\| `(GET|POST) (\S+)`(.*?)\|(.*)\|$", re.MULTILINE)
MORE: Final = re.compile(r"`(…?/[a-z/]+)`")


def _shown() -> set[tuple[str, str]]:
    """Each route in the table; `…/unpause` beside one ends as it says, `/limits/unset` is another."""
    found = set()
    for method, path, beside, does in ROW.findall(README):
        found.add((method, path))
        for more in MORE.findall(beside + does):
            parent = path if "{schedule}" in path else path.rpartition("/")[0]
            found.add((method, more if more.startswith("/") else parent + more[1:]))
    return found


def test_each_route_of_the_template_is_in_the_table() -> None:
    routes = set(ROUTE.findall((ROOT / "template.yaml").read_text("utf-8")))
    assert len(routes) >= 30
    assert _shown() == routes


@pytest.mark.parametrize("command", sorted(typer.main.get_group(app).commands))
def test_each_command_is_in_the_table(command: str) -> None:
    rows = re.findall(r"^\| (.*?) +\| .*$", README.partition("| commands  ")[2].partition("\n\n")[0], re.MULTILINE)
    assert command in {word for row in rows for names in re.findall(r"`([a-z ]+)`", row) for word in names.split()}
