"""How many calls an event's POST takes up to its commit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

WALK: Final = Path(__file__).parents[2] / "benchmarks" / "walk.py"


def test_an_events_post_takes_no_more_calls_up_to_its_commit_than_it_may() -> None:
    """In a process of its own, as the function takes its runner from there."""
    done = subprocess.run([sys.executable, str(WALK)], capture_output=True, text=True, check=False)
    assert "switches of module" in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout
