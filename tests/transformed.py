"""The template as CloudFormation gets it: transformed by SAM's translator, for sets of parameters."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.engines import ROOT, missing_engine
from tools.emulator import VENVS

PATIENCE = 300


def transformed(sets: dict[str, dict[str, str]]) -> dict[str, Any]:
    """The transformed template for each set of parameters, each a second after the one before."""
    python = VENVS / "sam" / "bin" / "python"
    if not python.exists():
        missing_engine("SAM's translator is not installed: make .venvs/sam/.stamp")
    done = subprocess.run(
        [str(python), str(ROOT / "tools" / "transform.py")],
        input=json.dumps(sets),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found
