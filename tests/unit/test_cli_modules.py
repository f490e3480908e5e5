"""A module that does not come to its end when it is imported has failed, whatever it raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from hephaestus.cli.app import app

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
from hephaestus import DONE, Workflow, step

@step
def ok(ctx):
    return "done"

class Good{name}(Workflow, key="good{name}"):
    start_at = ok
    transitions = {{ok: {{"done": DONE}}}}
"""
ENDS = {
    "SystemExit": "import sys; sys.exit(0)",
    "BaseException": "raise BaseException('b')",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "GeneratorExit": "raise GeneratorExit",
    "ValueError": "raise ValueError('v')",
}


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_module_that_exits_is_a_module_that_failed(
    kind: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with a good one after it: a check in CI must not pass."""
    monkeypatch.syspath_prepend(str(tmp_path))
    bad, good = tmp_path / f"bad_{command}_{kind}.py", tmp_path / f"good_{command}_{kind}.py"
    bad.write_text(f"{ENDS[kind]}\n")
    good.write_text(GOOD.format(name=kind))
    paths = [str(bad), str(good)] if command == "check" else [str(bad)]
    told = CliRunner().invoke(app, [command, *paths])
    assert told.exit_code not in {0, 130}
    assert f"{bad.stem} cannot be imported" in told.output + told.stderr
    assert kind in told.output + told.stderr
    assert "Traceback" not in told.output + told.stderr
