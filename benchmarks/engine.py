"""What the engine itself costs.

    python benchmarks/engine.py [--runs N]

* On the memory store: the processor time of one instance of 10 steps, from start to end (beside an earlier commit:
  ``benchmarks/beside.py``); and as many instances by sixteen threads, beside one.
* On SQLite, every commit on the disk: the same instance beside twelve bare inserts, and DBOS' on SQLite where it is
  installed (``make bench`` does; by its own default every commit is on the disk, too).
* On Amazon's DynamoDB Local: the same instance through the DynamoDB adapter, beside the same number and kind of bare
  PynamoDB writes to the same engine, in turn in one run; the ratio is the median of the pairs'.
* Ten steps of 100 ms side by side, beside one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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
    from collections.abc import Callable, Iterator, Sequence

    from hephaestus.adapters.dynamodb import DynamoTable

STEPS: Final = 10
MEMORY_LIMIT_MS: Final = 2.0
DYNAMODB_LIMIT: Final = 1.3
THREADS: Final = 16
THREADS_LIMIT: Final = 1.2
SQLITE_LIMIT: Final = 3.0


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


@contextmanager
def on_dbos(folder: Path) -> Iterator[Callable[[], object] | None]:
    """Ten steps of a workflow of DBOS, from start to end; ``None`` where it is not installed."""
    try:
        from dbos import DBOS  # type: ignore[import-not-found]  # it is no dependency of this project
    except ImportError:
        yield None
        return
    DBOS(
        config={
            "name": "benchmark",
            "system_database_url": f"sqlite:///{folder / 'dbos.sqlite'}",
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )
    work = DBOS.step(name="work")(lambda number: {"attempt": number})
    started: Callable[[], object] = DBOS.workflow(name="linear")(lambda: [work(number) for number in range(STEPS)])
    DBOS.launch()
    try:
        yield started
    finally:
        DBOS.destroy()


def measure_sqlite(runs: int) -> float:
    """Tell what ten steps on SQLite take beside bare inserts, and DBOS' beside the same; the ratio of the first."""
    from benchmarks.tables import bare_sqlite
    from hephaestus.adapters.sqlite import SqliteTable

    with tempfile.TemporaryDirectory() as folder:
        table = SqliteTable(Path(folder) / "table.sqlite", INDEXES)
        bare = bare_sqlite(Path(folder) / "bare.sqlite")
        mine, theirs, ratio = in_turn(starter(linear(), Store(table)), bare, runs, 20)
        shown = f"{mine:.1f} ms : {theirs:.1f} ms = {ratio:.2f}"
        tell(f"{STEPS} steps on SQLite, beside 12 bare inserts", shown, f"at most {SQLITE_LIMIT:g}")
        table.close()
        with on_dbos(Path(folder)) as dbos:
            if dbos is None:
                tell(f"{STEPS} steps of DBOS on SQLite", "not measured: dbos is not installed")
            else:
                mine, theirs, other = in_turn(dbos, bare, runs, 20)
                tell(
                    f"{STEPS} steps of DBOS on SQLite, beside the same",
                    f"{mine:.1f} ms : {theirs:.1f} ms = {other:.2f}",
                )
    return ratio


def timed(clock: Callable[[], float], work: Callable[[], object], times: int) -> float:
    """How long one of ``times`` takes, in milliseconds."""
    begun = clock()
    for _ in range(times):
        work()
    return (clock() - begun) / times * 1000


def in_turn(
    first: Callable[[], object], second: Callable[[], object], runs: int, times: int
) -> tuple[float, float, float]:
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

    with ThreadPoolExecutor(THREADS) as pool:
        together, alone, threads = in_turn(
            lambda: list(pool.map(lambda _: [start() for _ in range(10)], range(THREADS))),
            lambda: [start() for _ in range(10 * THREADS)],
            runs,
            1,
        )
    shown = f"{together:.0f} ms : {alone:.0f} ms = {threads:.2f}"
    tell(f"{10 * THREADS} instances by {THREADS} threads, beside one", shown, f"at most {THREADS_LIMIT:g}")

    ten, one = starter(parallel(STEPS), MemoryStore()), starter(parallel(1), MemoryStore())
    wide, narrow, spread = in_turn(ten, one, 3, 1)
    tell("10 steps of 100 ms side by side, beside one", f"{wide:.0f} ms : {narrow:.0f} ms = {spread:.2f}")

    sqlite = measure_sqlite(runs)

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
    kept = memory <= MEMORY_LIMIT_MS and threads <= THREADS_LIMIT and sqlite <= SQLITE_LIMIT and ratio <= DYNAMODB_LIMIT
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
