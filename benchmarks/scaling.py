"""How the engine's processor time grows with the size of a workflow.

    python benchmarks/scaling.py [--runs N]

* A chain of 800 steps beside one of 50, and a fan-out of 800 branches beside one of 50, on the memory store: processor
  time a step.
* An event to one of 1,000 waiting branches beside one of 10, on a loaded state: ``accept``, the fold of the event, and
  ``advance``, without a store.

Each pair is measured in turn in one run; a ratio is the median of the pairs' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from hephaestus import DONE, StepContext, Workflow, step
from hephaestus.adapters.memory import MemoryQueue, MemoryStore, MemoryTimers
from hephaestus.engine import events as ev
from hephaestus.engine.advance import advance
from hephaestus.engine.codec import dump_state, load_state
from hephaestus.engine.fold import begin, fold
from hephaestus.engine.graph import Graph
from hephaestus.engine.inbox import accept
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.dispatch import Budget, InPlace
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.engine.state import State

SMALL: Final = 50
LARGE: Final = 800
FEW: Final = 10
MANY: Final = 1_000
CHAIN_LIMIT: Final = 1.5
FAN_OUT_LIMIT: Final = 1.5
EVENT_LIMIT: Final = 3.0


def chain(length: int) -> type[Workflow]:
    """Steps one after the other."""
    steps = [step(key=f"step{number}")(_work) for number in range(length)]

    class Chain(Workflow, key="chain"):
        start_at = steps[0]
        transitions = {one: {"done": after} for one, after in zip(steps, [*steps[1:], DONE], strict=True)}

    return Chain


def fan_out(width: int) -> type[Workflow]:
    """Steps side by side, between one that starts them and one that joins them."""
    first, last = step(key="first")(_work), step(key="last")(_work)
    branches = [step(key=f"branch{number}")(_work) for number in range(width)]

    class FanOut(Workflow, key="fanout"):
        start_at = first
        transitions = {
            first: {"done": branches},
            **{branch: {"done": last} for branch in branches},
            last: {"done": DONE},
        }

    return FanOut


def _work(ctx: StepContext) -> dict[str, int]:
    return {"attempt": ctx.attempt}


def starter(workflow: type[Workflow]) -> Callable[[], None]:
    """A function that runs one new instance from start to end."""
    clock = SystemClock()
    runner = Runner(MemoryStore(), MemoryTimers(), MemoryQueue(clock), Registry([workflow]), clock=clock)
    numbers = count()

    def start() -> None:
        runner.start_instance(workflow, {}, id=f"{next(numbers)}", dispatch=InPlace(Budget(clock.now() + 600_000)))

    return start


def waiting(width: int) -> tuple[Graph, State]:
    """An instance whose ``width`` branches all wait with a deadline, as it is loaded."""
    names = [f"branch{number}" for number in range(width)]
    edges: dict[str, dict[str, tuple[str, ...]]] = {"first": {"done": tuple(names)}, "last": {"done": ()}}
    edges.update({name: {"go": ("last",), "timeout": ("last",)} for name in names})
    graph = Graph("first", edges, frozenset(names))
    state = begin("wide::1", 1, ev.Entry(1, "c", 1, (ev.InstanceStarted("Wide", 1), ev.Claimed("o", 100_000))))
    events: list[ev.Event] = [ev.StepCompleted("first", "done", tuple(names))]
    events += [ev.StepWaiting(name, 1, 1, f"{name}.1", 50_000 + number) for number, name in enumerate(names)]
    state = fold(state, [ev.Entry(2, "d", 1, (*events, ev.Suspended(50_000)))])
    return graph, load_state(dump_state(state))


class Deliverer:
    """Events to one branch after the other: accepted and claimed, advanced, completed, advanced, suspended."""

    def __init__(self, width: int) -> None:
        self.graph, self.loaded = waiting(width)
        self.names = [f"branch{number}" for number in range(width - 1)]  # one is left: the instance goes on waiting
        self.reset()

    def reset(self) -> None:
        """Begin again with all of them waiting."""
        self.state = self.loaded
        self.left = list(self.names)
        advance(self.graph, self.state, 2)

    def commit(self, at: int, *events: ev.Event) -> None:
        """Fold one entry."""
        self.state = fold(self.state, [ev.Entry(self.state.sequence + 1, "c", at, events)])

    def __call__(self) -> None:
        """Deliver one event."""
        if not self.left:
            self.reset()
        target = accept(self.graph, self.state, "go", self.left.pop())
        self.commit(3, ev.EventReceived(target, "go", f"for {target}"), ev.Claimed("p", 100_000))
        advance(self.graph, self.state, 3)
        self.commit(4, ev.StepCompleted(target, "go", ("last",)))
        advance(self.graph, self.state, 4)
        self.commit(5, ev.Suspended(50_000))


@dataclass(frozen=True)
class Case:
    """One side of a comparison: ``work`` on something of a ``size``, done ``times`` times; it has so many ``parts``."""

    work: Callable[[], None]
    size: int
    times: int
    parts: int = 1


def cpu(work: Callable[[], None], times: int) -> float:
    """Milliseconds of processor time that one of ``times`` takes."""
    begun = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begun) / times * 1000


def measure(what: str, pair: tuple[Case, Case], limit: float, runs: int) -> bool:
    """Measure both in turn, print a line, and say whether the limit is kept."""
    for case in pair:
        case.work()
    times = [[cpu(case.work, case.times) / case.parts * 1000 for case in pair] for _ in range(runs)]
    small, large = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(many / few for few, many in times)
    sizes = f"{small:8.1f} µs of {pair[0].size} : {large:8.1f} µs of {pair[1].size}"
    print(f"{what:<30}{sizes:<42} = {ratio:5.2f}   at most {limit:g}", flush=True)
    return ratio <= limit


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table; the exit status says whether the limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args(arguments).runs
    kept = []
    for what, make, limit in (
        ("a step of a chain", chain, CHAIN_LIMIT),
        ("a step of a fan-out", fan_out, FAN_OUT_LIMIT),
    ):
        small, large = (Case(starter(make(size)), size, LARGE // size, size) for size in (SMALL, LARGE))
        kept.append(measure(what, (small, large), limit, runs))
    few, many = (Case(Deliverer(size), size, LARGE) for size in (FEW, MANY))
    kept.append(measure("an event to a waiting branch", (few, many), EVENT_LIMIT, runs))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
