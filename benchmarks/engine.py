"""What the engine itself costs.

    python benchmarks/engine.py [--runs N]

* On the memory store: the processor time of one instance of 10 steps, from start to end.
* On Amazon's DynamoDB Local: the same instance through the DynamoDB adapter, beside the same number and kind of bare
  PynamoDB writes to the same engine, in turn in one run; the ratio is the median of the pairs'.
* Ten steps of 100 ms side by side, beside one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from hephaestus import DONE, StepContext, Workflow, step
from hephaestus.adapters.memory import MemoryQueue, MemoryStore, MemoryTimers
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.dispatch import Budget, InPlace
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.store.items import INDEXES
from hephaestus.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.adapters.dynamodb import DynamoTable

STEPS: Final = 10
MEMORY_LIMIT_MS: Final = 2.0
DYNAMODB_LIMIT: Final = 1.3


def linear() -> type[Workflow]:
    """Ten steps, one after the other."""

    def work(ctx: StepContext) -> dict[str, int]:
        return {"attempt": ctx.attempt}

    steps = [step(key=f"step{number}")(work) for number in range(STEPS)]

    class Linear(Workflow, key="linear"):
        start_at = steps[0]
        transitions = {one: {"done": after} for one, after in zip(steps, [*steps[1:], DONE], strict=True)}

    return Linear


def parallel(width: int) -> type[Workflow]:
    """Steps of 100 ms side by side."""

    def work(_ctx: StepContext) -> str:
        time.sleep(0.1)
        return "done"

    @step
    def fork(_ctx: StepContext) -> str:
        return "done"

    @step
    def join(_ctx: StepContext) -> str:
        return "done"

    branches = [step(key=f"branch{number}")(work) for number in range(width)]

    class Parallel(Workflow, key="parallel"):
        start_at = fork
        transitions = {
            fork: {"done": branches},
            **{branch: {"done": join} for branch in branches},
            join: {"done": DONE},
        }

    return Parallel


def starter(workflow: type[Workflow], store: Store) -> Callable[[], None]:
    """A function that runs one new instance from start to end."""
    clock = SystemClock()
    runner = Runner(store, MemoryTimers(), MemoryQueue(clock), Registry([workflow]), clock=clock)
    numbers = count()

    def start() -> None:
        going = InPlace(Budget(clock.now() + 600_000))
        runner.start_instance(workflow, {"a": 1}, id=f"{next(numbers)}", dispatch=going)

    return start


def bare_writes(table: DynamoTable) -> Callable[[], None]:
    """What an instance of ten steps writes, by PynamoDB alone: eleven puts and an update."""
    from pynamodb.expressions.operand import Path

    numbers, connection, name = count(), table.connection, table.name
    free, data, small = Path(["pk"]).does_not_exist(), {"B": b"x" * 130}, {"N": "1"}

    def put(key: str, sort_key: str, item: dict[str, Any]) -> None:
        connection.put_item(name, key, sort_key, attributes=item, condition=free)

    def write() -> None:
        key = f"bare::{next(numbers)}"
        life = "e64892557ff01234567"
        head: dict[str, Any] = {"first": data, "first_commit": {"S": "c" * 32}, "workflow": {"S": "Bare"}}
        head |= {"status": {"S": "running"}, "life": {"S": life}, "wake_shard": {"S": "wake#0"}}
        head |= dict.fromkeys(("format", "version", "generation", "sequence", "created_at", "updated_at"), small)
        head |= {"wake_at": small, "list_key": {"S": "Bare#running#0"}, "list_at": {"S": key}}
        put(key, "head", head)
        for number in range(2, STEPS + 2):
            entry = {"format": small, "commit_id": {"S": "c" * 20}, "at": small, "data": data}
            put(key, f"log#{life}#{99_999_999 - number:08d}", entry)
        changes: list[Any] = [Path(["status"]).set("completed"), Path(["snapshot"]).set(b"x" * 390)]
        changes += [Path(["sequence"]).set(STEPS + 1), Path(["list_key"]).set("Bare#completed#0")]
        changes += [Path(["wake_at"]).remove(), Path(["wake_shard"]).remove()]
        own = Path(["life"]) == life
        connection.update_item(name, key, range_key="head", actions=changes, condition=own)

    return write


def timed(clock: Callable[[], float], work: Callable[[], None], times: int) -> float:
    """How long one of ``times`` takes, in milliseconds."""
    begun = clock()
    for _ in range(times):
        work()
    return (clock() - begun) / times * 1000


def in_turn(first: Callable[[], None], second: Callable[[], None], runs: int, times: int) -> tuple[float, float, float]:
    """The medians of both in milliseconds, and the median of the ratios, pair by pair."""
    pairs = [(timed(time.perf_counter, first, times), timed(time.perf_counter, second, times)) for _ in range(runs)]
    ratios = [one / other for one, other in pairs]
    mine, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    return mine, other, statistics.median(ratios)


def tell(what: str, measured: str, limit: str = "") -> None:
    """A line of the table."""
    print(f"{what:<48}{measured:<28}{limit}", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Measure, and print a table; the exit status says whether the limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args(arguments).runs

    start = starter(linear(), MemoryStore())
    timed(time.process_time, start, 100)
    memory = statistics.median(timed(time.process_time, start, 100) for _ in range(runs))
    tell(f"{STEPS} steps on the memory store", f"{memory:.2f} ms of one core", f"at most {MEMORY_LIMIT_MS:g}")

    ten, one = starter(parallel(STEPS), MemoryStore()), starter(parallel(1), MemoryStore())
    wide, narrow, spread = in_turn(ten, one, 3, 1)
    tell("10 steps of 100 ms side by side, beside one", f"{wide:.0f} ms : {narrow:.0f} ms = {spread:.2f}")

    from hephaestus.adapters.dynamodb import DynamoTable
    from tests.engines import HARMLESS_AWS, dynamodb_local

    os.environ.update(HARMLESS_AWS)
    with dynamodb_local() as endpoint:
        table = DynamoTable("benchmark", INDEXES, host=endpoint)
        table.create()
        through, bare = starter(linear(), Store(table)), bare_writes(table)
        in_turn(through, bare, 3, 20)  # the emulator's own warm-up
        mine, theirs, ratio = in_turn(through, bare, runs, 20)
    shown = f"{mine:.1f} ms : {theirs:.1f} ms = {ratio:.2f}"
    tell(f"{STEPS} steps on DynamoDB Local, beside bare writes", shown, f"at most {DYNAMODB_LIMIT:g}")
    return 0 if memory <= MEMORY_LIMIT_MS and ratio <= DYNAMODB_LIMIT else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
