"""The examples that users copy do run: ```` ```python ```` blocks of README.md and docs/, and the docstrings' ``>>>``.

The blocks of one page are one program, run in order without network, hence without AWS. A block that cannot run has the
line ``<!-- no-run -->`` before it.
"""

from __future__ import annotations

import doctest
import importlib
import re
import socket
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent.parent
LIBRARY = ROOT / "layers" / "hephaestus"

BLOCK = re.compile(
    r"^(?P<skip>[ ]*<!--[ ]*no-run[ ]*-->\s*\n)?"
    r"^(?P<indent>[ ]*)```(?:python|py)[ \t]*\n(?P<code>.*?)^(?P=indent)```[ ]*$",
    re.MULTILINE | re.DOTALL,
)


def examples(text: str) -> Iterator[tuple[int, str]]:
    """Yield the blocks of a page that are to run, each with the number of its first line."""
    for block in BLOCK.finditer(text):
        if not block["skip"]:
            yield text.count("\n", 0, block.start("code")) + 1, textwrap.dedent(block["code"])


PAGES = [
    pytest.param(page, id=str(page.relative_to(ROOT)))
    for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    if any(examples(page.read_text("utf-8")))
]

MODULES = [
    ".".join(path.relative_to(LIBRARY).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted(LIBRARY.rglob("*.py"))
    if ">>> " in path.read_text("utf-8")
]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """An example that needs AWS fails here, even on a machine that could reach it."""

    def connect(_: socket.socket, address: object) -> NoReturn:
        pytest.fail(f"an example connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", connect)


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From top to bottom in one namespace; a failure names the page and the line in it."""
    program = ModuleType("example")
    monkeypatch.setitem(sys.modules, "example", program)  # where dataclasses and pydantic look up annotations
    for line, code in examples(page.read_text("utf-8")):
        exec(compile("\n" * (line - 1) + code, page, "exec"), vars(program))  # noqa: S102 - our own pages


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_docstring_run(name: str) -> None:
    """What follows ``>>>`` in the library prints what the docstring says it prints."""
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert tried > 0
    assert failed == 0, "see the captured output"


def test_only_marked_blocks_are_left_out() -> None:
    """Also where a block is part of a list; other languages are not ours to run."""
    page = textwrap.dedent(
        """\
        # A page
        ```python
        first = 1
        ```
        <!-- no-run -->
        ```python
        left out
        ```
        ```console
        $ make
        ```
        * in a list:

          ```python
          second = 2
          ```
        """
    )
    assert list(examples(page)) == [(3, "first = 1\n"), (15, "second = 2\n")]


def test_the_readme_has_examples() -> None:
    """So that a change of its markup cannot switch this file off."""
    assert "README.md" in [page.id for page in PAGES]
