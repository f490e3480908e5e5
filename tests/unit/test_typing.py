"""What a user writes type-checks under ``mypy --strict``, and a user's mistakes do not."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hephaestus
from tests.engines import ROOT

CASES = Path(__file__).parent / "typing_cases"
LIBRARY = Path(hephaestus.__file__).parents[1]


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[tuple[int, str]]]:
    """By file, the lines that mypy rejects and why: one run for both files, as starting it is what takes time."""
    place = tmp_path_factory.mktemp("typing")
    for name in ("right.py", "wrong.txt"):  # the mistakes are no Python file where linters look
        (place / name).with_suffix(".py").write_text((CASES / name).read_text())
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"]
    command += ["--cache-dir", str(ROOT / ".mypy_cache" / "typing_cases")]  # the next run takes a second
    shown = subprocess.run(
        [*command, "right.py", "wrong.py"],
        cwd=place,
        env={**os.environ, "MYPYPATH": str(LIBRARY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not shown.stderr, shown.stderr
    found: dict[str, set[tuple[int, str]]] = {"right.py": set(), "wrong.py": set()}
    for name, line, code in re.findall(r"^(\w+\.py):(\d+): error: .*\[([\w-]+)\]$", shown.stdout, re.MULTILINE):
        found[name].add((int(line), code))
    assert "error" not in re.sub(r"^(right|wrong)\.py:.*$", "", shown.stdout, flags=re.MULTILINE), shown.stdout
    return found


def test_every_way_of_writing_a_workflow_passes_mypy_strict(errors: dict[str, set[tuple[int, str]]]) -> None:
    """Functions, classes, async, configured, Choice, waits, Input, umbrella, facade: not one error."""
    assert errors["right.py"] == set()


def test_every_mistake_is_rejected_by_mypy(errors: dict[str, set[tuple[int, str]]]) -> None:
    """On the line where it is made, and nowhere else."""
    text = (CASES / "wrong.txt").read_text().splitlines()
    marked = {(number, line.split("# wrong: ")[1]) for number, line in enumerate(text, 1) if "# wrong: " in line}
    assert marked <= errors["wrong.py"], "mypy lets a mistake pass"
    assert {number for number, _ in errors["wrong.py"]} == {number for number, _ in marked}


def test_what_passes_mypy_is_a_workflow() -> None:
    """The module that type-checks is also defined without a definition error."""
    right = importlib.import_module("tests.unit.typing_cases.right")
    assert right.Orders.current == 2
    right.test_steps()
