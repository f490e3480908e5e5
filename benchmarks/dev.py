"""How soon ``hephaestus dev`` answers, and how many ten-step instances it finishes, beside DBOS on SQLite.

    python benchmarks/dev.py [--runs 9] [--instances 200]

* From the command to the first answer of its API: the median of fresh processes, each in a project of its own.
* Instances of ten steps a second, started from one thread: on the runtime of ``hephaestus dev`` (SQLite, every commit
  on the disk), and, where it is installed (``make bench`` does), on DBOS with SQLite, in turn; the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import deque
from contextlib import contextmanager
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from benchmarks.engine import STEPS, linear, tell
from hephaestus.adapters.sqlite import SqliteTable
from hephaestus.embedded import Embedded
from hephaestus.runtime import telemetry
from hephaestus.runtime.registry import Registry
from hephaestus.store.items import INDEXES
from hephaestus.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FIRST_ANSWER_LIMIT: Final = 2.0  # seconds
LOOK: Final = 0.002  # seconds between two looks at what has ended
FLOW: Final = """
from hephaestus import DONE, Workflow, step

@step
def first(ctx):
    return {"ok": True}

class First(Workflow, key="first"):
    start_at = first
    transitions = {first: {"done": DONE}}
"""


def first_answer() -> float:
    """Seconds from the command to the first answer."""
    with tempfile.TemporaryDirectory() as project:
        (Path(project) / "flows.py").write_text(FLOW)
        begun = time.perf_counter()
        command = [sys.executable, "-m", "hephaestus.cli", "dev", "flows.py", "--port", "0", "--json"]
        with (
            tempfile.TemporaryFile("w+") as log,
            subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=log, text=True) as process,
        ):
            lines = iter(process.stdout.readline, "") if process.stdout else ()  # it ends with the process
            said = "".join(takewhile(lambda line: line != "}\n", lines))
            if not said:
                log.seek(0)
                message = f"hephaestus dev ended with status {process.wait()}: {log.read()}"
                raise RuntimeError(message)
            where = json.loads(said + "}")
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{where['url']}/workflows", timeout=60) as answer:
                answer.read()
            took = time.perf_counter() - begun
            process.terminate()
    return took


@contextmanager
def on_dev(folder: Path) -> Iterator[Callable[[int], None]]:
    """Start so many instances and wait for their ends, on the runtime of ``hephaestus dev``."""
    table, numbers, ended = SqliteTable(folder / "dev.sqlite", INDEXES), count(), deque[str]()
    telemetry.attach(
        "ended", lambda _event, _measured, about: ended.append(str(about["instance_id"])), ["hephaestus.workflow.stop"]
    )
    workflow = linear()

    with Embedded(Store(table), Registry([workflow])) as embedded:

        def run(instances: int) -> None:
            ended.clear()
            for _ in range(instances):
                embedded.runner.start_instance(workflow, {"a": 1}, id=f"{next(numbers)}")
            while len(ended) < instances:
                time.sleep(LOOK)

        yield run
    telemetry.detach("ended")
    table.close()


@contextmanager
def on_dbos(folder: Path) -> Iterator[Callable[[int], None] | None]:
    """The same on DBOS; ``None`` where it is not installed."""
    from benchmarks.engine import on_dbos as launched

    with launched(folder) as workflow:
        if workflow is None:
            yield None
            return
        from dbos import DBOS  # type: ignore[import-not-found]  # it is no dependency of this project

        started: Any = workflow

        def run(instances: int) -> None:
            for handle in [DBOS.start_workflow(started) for _ in range(instances)]:
                handle.get_result()

        yield run


def rate(run: Callable[[int], None], instances: int) -> float:
    """Instances a second."""
    begun = time.perf_counter()
    run(instances)
    return instances / (time.perf_counter() - begun)


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table; the exit status says whether the limit is kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--instances", type=int, default=200)
    asked = parser.parse_args(arguments)
    soonest = statistics.median(first_answer() for _ in range(asked.runs))
    tell("hephaestus dev: its first answer", f"{soonest:.2f} s", f"at most {FIRST_ANSWER_LIMIT:g} s")
    with tempfile.TemporaryDirectory() as folder, on_dev(Path(folder)) as mine, on_dbos(Path(folder)) as other:
        pairs = [
            (rate(mine, asked.instances), rate(other, asked.instances) if other else 0.0) for _ in range(asked.runs)
        ]
    here, there = (statistics.median(column) for column in zip(*pairs, strict=True))
    beside = f": {there:.0f} on DBOS" if there else " (dbos is not installed)"
    tell(f"instances of {STEPS} steps a second, on SQLite", f"{here:.0f}{beside}")
    return 0 if soonest <= FIRST_ANSWER_LIMIT else 1


if __name__ == "__main__":
    os.environ.pop("HEPHAESTUS_WORKFLOWS", None)
    sys.exit(main(sys.argv[1:]))
