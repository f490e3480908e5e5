"""Every command line in the documentation is one that the command takes."""

from __future__ import annotations

import re
import shlex
from itertools import takewhile
from pathlib import Path

import pytest
import typer.main

from hephaestus.cli.app import app, hoist

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINES = [
    (page.relative_to(ROOT).as_posix(), line)
    for page in PAGES
    for line in re.findall(r"^\$ hephaestus (.*)$", page.read_text(), re.MULTILINE)
    if not line.startswith("--install-completion")  # it would
]


def test_the_readme_shows_the_command() -> None:
    assert len([line for page, line in LINES if page == "README.md"]) > 10


@pytest.mark.parametrize(("page", "line"), LINES)
def test_a_command_line_is_taken_as_it_is_written(page: str, line: str) -> None:
    """Its command, its options and its arguments are there; a wrong one is a usage error."""
    command = typer.main.get_command(app)
    words = takewhile(lambda word: word not in {"|", ">"}, shlex.split(line, comments=True))
    arguments = hoist(list(words))
    group = command.make_context("hephaestus", arguments, resilient_parsing=False)
    rest = [*group._protected_args, *group.args]  # noqa: SLF001 - where a group keeps its command
    while hasattr(command, "resolve_command") and (rest or not getattr(command, "invoke_without_command", False)):
        name, command, rest = command.resolve_command(group, rest)
        if not hasattr(command, "resolve_command"):
            command.make_context(name, list(rest), parent=group)
