"""Processes of mutants: silent, limited, and ended with all that they started."""

from __future__ import annotations

import os
import resource
from typing import Final

PATIENCE: Final = 4.0  # times what the tests take unchanged, and
GRACE: Final = 5  # seconds more, of processor time


def silence() -> None:
    """Nothing that a mutant does is shown; it leads a group of its own, so that what it starts ends with it."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def limit(seconds: float) -> None:
    """End a mutant that goes round in circles."""
    allowed = int(resource.getrusage(resource.RUSAGE_SELF).ru_utime + GRACE + PATIENCE * seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, allowed + 2))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
