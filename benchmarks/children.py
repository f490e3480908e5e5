"""How a parent takes the ends of many children that come at once.

    python benchmarks/children.py [--children N] [--kills RUNS]

The parent and its children run in real time, in threads of this process, on a table in memory; the children wait for a
bell, so that all of them end together. It prints how many log entries the parent has written from the first end to the
last: at most ten of a hundred children. Then trees are run in the simulator, with processes that die at any moment, and
nothing may be lost.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from hephaestus import DONE, StepContext, Workflow, step
from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.embedded import Embedded
from hephaestus.runtime.registry import Registry
from hephaestus.simulation import Faults, simulate
from hephaestus.steps import ChildWorkflow
from hephaestus.store.items import INDEXES
from hephaestus.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST: Final = 10  # log entries
KILLED: Final = 10  # children of a simulated parent
BELL: Final = threading.Event()


@step
def wait_for_the_bell(_: StepContext) -> str:
    """End with all others."""
    BELL.wait()
    return "done"


@step
def work(_: StepContext) -> str:
    """End."""
    return "done"


def family(children: int, task: Any) -> type[Workflow]:
    """A parent of so many children, each of one step."""

    class Leaf(Workflow, key="leaf"):
        start_at = task
        transitions = {task: {"done": DONE}}

    begin, last = step(key="begin")(lambda _: "done"), step(key="last")(lambda _: "done")
    kids = [ChildWorkflow(Leaf, name=f"child{number}") for number in range(children)]
    routes: dict[Any, Any] = {begin: {"done": kids}, **{kid: {"done": last} for kid in kids}, last: {"done": DONE}}
    parent = type("Parent", (Workflow,), {"start_at": begin, "transitions": routes}, key="parent")
    parent.leaf = Leaf  # type: ignore[attr-defined]  # for the registry
    return parent


def ends(children: int) -> tuple[int, float]:
    """The log entries from the first end of a child to the last, and the seconds that it took."""
    parent = family(children, wait_for_the_bell)
    registry = Registry([parent, parent.leaf])  # type: ignore[attr-defined]  # see above
    with Embedded(Store(InMemoryTable(INDEXES)), registry) as runtime:
        instance_id = runtime.runner.start_instance(parent, {}, id="1")
        while runtime.runner.get(instance_id).status != "waiting":
            time.sleep(0.05)
        began = time.monotonic()
        BELL.set()
        while not runtime.runner.get(instance_id).closed:
            time.sleep(0.01)
        took = time.monotonic() - began
        entries = runtime.runner.history(instance_id, limit=200).items
    ends = [entry for entry in entries if any(event["type"] == "ChildEnded" for event in entry.events)]
    return ends[-1].sequence - ends[0].sequence + 1, took


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and say whether a limit was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--children", type=int, default=100)
    parser.add_argument("--kills", type=int, default=200)
    given = parser.parse_args(arguments)
    entries, took = ends(given.children)
    print(f"{given.children} children end at once: {entries} log entries of the parent (at most {MOST}), {took:.1f} s")
    deaths_of: Any = ("crash in a step", "crash before a call", "crash after a call")
    report = simulate(family(KILLED, work), {}, runs=given.kills, faults=Faults(kinds=deaths_of, rates=(0.01, 0.05)))
    deaths = sum(report.faults.values())
    print(f"{report.runs} parents of {KILLED} children, {deaths} deaths: {dict(report.statuses)}, and nothing is lost")
    return 0 if entries <= MOST else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
