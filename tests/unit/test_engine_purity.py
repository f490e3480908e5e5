"""The engine is pure, and the documentation's diagrams are drawn from its tables."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hephaestus.engine
from hephaestus.engine import diagram
from hephaestus.engine.state import STATUSES

ENGINE = Path(hephaestus.engine.__file__).parent
OWN = ("hephaestus.errors", "hephaestus.values", "hephaestus.engine")
IMPURE = {
    "asyncio",
    "datetime",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "socket",
    "subprocess",
} | {
    "threading",
    "time",
    "uuid",
}
IMPURE_CALLS = {"open", "input", "eval", "exec", "__import__"}
MODULES = sorted(ENGINE.rglob("*.py"))
DOCUMENT = Path(__file__).parents[2] / "docs" / "architecture.md"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_engine_imports_nothing_that_touches_the_world(path: Path) -> None:
    """Only the standard library's pure part, the errors, the values and the engine itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [node.module or ""]
        for name in names:
            if name.startswith("hephaestus"):
                assert name.startswith(OWN), f"{path.name} imports {name}"
            else:
                assert name.split(".")[0] in sys.stdlib_module_names - IMPURE, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_engine_calls_nothing_that_touches_the_world(path: Path) -> None:
    """No file, no clock, no code made at run time; only the diagram's command prints."""
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & IMPURE_CALLS
    assert "print" not in calls or path.stem == "diagram"


def test_the_diagram_of_an_instance_shows_the_whole_table() -> None:
    """A start, every status that the table knows, every end."""
    drawn = diagram.instance_diagram()
    assert drawn.startswith("```mermaid\nstateDiagram-v2\n    [*] --> pending: InstanceStarted\n")
    assert "    running --> waiting: Suspended\n" in drawn
    assert "    waiting --> running: Claimed\n" in drawn
    for status in STATUSES:
        assert f" {status}" in drawn
    assert "    failed --> compensating: Redriven, UndoRequested\n" in drawn
    assert "    compensating --> completed" not in drawn
    for end in ("completed", "failed", "cancelled"):
        assert f"    running --> {end}: InstanceFinished\n" in drawn
        assert f"    {end} --> [*]\n" in drawn


def test_the_diagram_of_a_step_shows_the_whole_table() -> None:
    """A failed attempt leads to another, or to the end."""
    drawn = diagram.step_diagram()
    for arrow in ("[*] --> pending", "pending --> retrying: StepFailed", "retrying --> failed: StepFailed"):
        assert f"    {arrow}" in drawn
    for end in ("completed", "skipped"):
        assert f"    {end} --> [*]\n" in drawn


def test_the_command_prints_both_diagrams_between_their_markers() -> None:
    """As the documentation holds them."""
    shown = subprocess.run(
        [sys.executable, "-m", "hephaestus.engine.diagram"], capture_output=True, text=True, check=True
    ).stdout
    assert shown == diagram.documented() + "\n"
    assert f"<!-- diagram:instance -->\n{diagram.instance_diagram()}\n<!-- /diagram -->" in shown
    assert f"<!-- diagram:step -->\n{diagram.step_diagram()}\n<!-- /diagram -->" in shown


def test_the_documentation_holds_the_diagrams_as_they_are_drawn() -> None:
    """To fix it, paste what ``python -m hephaestus.engine.diagram`` prints."""
    found = dict(re.findall(r"<!-- diagram:(\w+) -->\n(.*?)\n<!-- /diagram -->", DOCUMENT.read_text(), re.DOTALL))
    assert found == {"instance": diagram.instance_diagram(), "step": diagram.step_diagram()}
