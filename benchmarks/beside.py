"""Ten steps on the memory store, in this tree and in an earlier commit of it, in turn in one run.

    python benchmarks/beside.py [--commit 1de6a15] [--runs 15]

What is compared is processor time. Each figure is the least of a process's measurements, which a busy machine disturbs
least, and the ratio is the median of the pairs'.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
LIBRARY: Final = "layers/hephaestus"
BEFORE: Final = "1de6a15"  # the last commit before the restructuring
LIMIT: Final = 1.3
MEASURED: Final = """
import time
from hephaestus import DONE, Workflow, step
from hephaestus.adapters.memory import MemoryQueue, MemoryStore, MemoryTimers
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.dispatch import Budget, InPlace
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner

steps = [step(key=f"step{number}")(lambda ctx: {"attempt": ctx.attempt}) for number in range(10)]

class Linear(Workflow, key="linear"):
    start_at = steps[0]
    transitions = {one: {"done": after} for one, after in zip(steps, [*steps[1:], DONE])}

clock = SystemClock()
runner = Runner(MemoryStore(), MemoryTimers(), MemoryQueue(clock), Registry([Linear]), clock=clock)
least = float("inf")
for batch in range(40):
    begun = time.process_time()
    for number in range(20):
        going = InPlace(Budget(clock.now() + 600_000))
        runner.start_instance(Linear, {"a": 1}, id=f"{batch}-{number}", dispatch=going)
    least = min(least, (time.process_time() - begun) * 50)
print(least)
"""


def unpack(commit: str, folder: str) -> Path:
    """The library as it was at ``commit``."""
    archive = ["git", "-C", str(ROOT), "archive", commit, LIBRARY]
    packed = subprocess.run(archive, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as files:
        files.extractall(folder, filter="data")
    return Path(folder) / LIBRARY


def measure(library: Path) -> float:
    """The processor time of ten steps by a fresh process, in ms."""
    environment = {**os.environ, "PYTHONPATH": str(library)}
    command = [sys.executable, "-c", MEASURED]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def main() -> int:
    """Measure, and print a line; the exit status says whether the limit is kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--commit", default=BEFORE)
    parser.add_argument("--runs", type=int, default=15)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before = unpack(arguments.commit, folder)
        pairs = [(measure(ROOT / LIBRARY), measure(before)) for _ in range(arguments.runs)]
    now, then = (min(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(mine / other for mine, other in pairs)
    print(f"ten steps: {now:.2f} ms, at {arguments.commit} {then:.2f} ms = {ratio:.2f}   at most {LIMIT:g}")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
