"""The console's own sources and what builds them, installed by npm from its lock file."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from tests.engines import ROOT, missing_engine
from tools.emulator import locked

if TYPE_CHECKING:
    from pathlib import Path

CONSOLE: Final = ROOT / "console"
PATIENCE: Final = 300


def npm_packages() -> Path:
    """The folder ``node_modules`` of the console, installed if it is not there or older than its lock file."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        missing_engine("Node and npm, which build the console's page, are not installed")
    modules = CONSOLE / "node_modules"
    stamp = modules / ".package-lock.json"
    lock = CONSOLE / "package-lock.json"
    with locked("console"):  # two workers may want it at once
        if not stamp.exists() or stamp.stat().st_mtime < lock.stat().st_mtime:
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
            done = run(command)
            if done.returncode != 0:
                missing_engine(f"npm could not install what the console is built with: {done.stderr.strip()[-300:]}")
            stamp.touch()
    return modules


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in the console's folder."""
    return subprocess.run(
        command, cwd=CONSOLE, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
