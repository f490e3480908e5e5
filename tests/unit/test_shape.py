"""The library keeps its shape: short functions with few parameters, and commands that stand in few files."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import hephaestus
from hephaestus.runtime.commands import CATALOGUE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.runtime.commands.command import Command

LIBRARY: Final = Path(hephaestus.__file__).parent
MODULES: Final = {path: ast.parse(path.read_text()) for path in sorted(LIBRARY.rglob("*.py"))}
MOST_LINES, MOST_PARAMETERS, MOST_FILES = 50, 8, 3
WIDE: Final = {
    # Public, and all of it given by name: a user writes what is needed of it.
    "client/synchronous.py Client.list": 10,
    "definition/maps.py Map.__init__": 10,
    "definition/step.py FunctionStep.__init__": 11,
    "definition/step.py step": 12,  # with what there is not, which it names
    "definition/workflow.py Workflow.__init_subclass__": 13,  # as above
    "runtime/runner.py Runner.__init__": 9,
    "runtime/runner.py Runner.fork": 10,
    "runtime/runner.py Runner.list": 10,
    "runtime/runner.py Runner.start_instance": 9,
    "simulation/__init__.py simulate": 15,
}
"""What has more parameters, and how many at most: no more are to come."""


def functions(node: ast.AST, name: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """All functions, those within others too, by their qualified names."""
    for child in ast.iter_child_nodes(node):
        inner = name
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner = f"{name}.{child.name}".lstrip(".")
            if not isinstance(child, ast.ClassDef):
                yield inner, child
        yield from functions(child, inner)


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many there are, beside ``self`` or ``cls``."""
    asked = function.args
    named = [each.arg for each in (*asked.posonlyargs, *asked.args, *asked.kwonlyargs)]
    return len([each for each in named if each not in {"self", "cls"}]) + bool(asked.vararg) + bool(asked.kwarg)


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Its lines without the docstring, so that no one shortens a function by documenting less."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    documented = ast.get_docstring(function, clean=False) is not None
    return lines - ((first.end_lineno or 0) - first.lineno + 1) * documented


def test_no_function_is_long_or_has_many_parameters() -> None:
    """Outside the command line, whose parameters are its options."""
    wrong = {}
    for path, tree in MODULES.items():
        module = path.relative_to(LIBRARY).as_posix()
        for name, function in functions(tree):
            full = f"{module} {name}"
            size = (length(function), parameters(function))
            many = WIDE.get(full, MOST_PARAMETERS)
            if not module.startswith("cli/") and (size[0] > MOST_LINES or size[1] > many):
                wrong[full] = size
    assert wrong == {}


@pytest.mark.parametrize("command", CATALOGUE, ids=lambda command: command.action)
def test_a_command_is_named_in_at_most_three_files(command: type[Command]) -> None:
    """Its own, the catalogue, and the runner's method; the rest is made of its declaration."""
    own = Path(*command.__module__.split(".")[1:]).with_suffix(".py").as_posix()
    naming = {own}
    for path, tree in MODULES.items():
        imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        commands = [node for node in imported if (node.module or "").startswith("hephaestus.runtime.commands")]
        if any(alias.name == command.__name__ for node in commands for alias in node.names):
            naming.add(path.relative_to(LIBRARY).as_posix())
    assert len({module for module in naming if not module.startswith("cli/")}) <= MOST_FILES, sorted(naming)
