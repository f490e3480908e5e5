"""What a map of many items costs, whose items do nothing and are in a tree of instances.

    python benchmarks/map_trees.py [--items N]

On Amazon's DynamoDB Local and in real time, the messages of a queue being served by threads of this process: write
units an item, how often the item of the table was written that was written most, and the share of commits that lost
their number to another writer. In memory, in one thread: the processor time an item of 100,000 items, beside that of
1,000.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from hephaestus import DONE, StepContext, Workflow, step
from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.costs.counting import write_units
from hephaestus.embedded import Embedded
from hephaestus.runtime.registry import Registry
from hephaestus.steps import Map
from hephaestus.store.items import INDEXES
from hephaestus.store.keys import HEAD
from hephaestus.store.store import Store
from hephaestus.testing import LocalRuntime
from tests.engines import HARMLESS_AWS, dynamodb_local

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hephaestus.store.table import Condition, Item, Table, Value

UNITS: Final = 1.3  # an item
WRITES: Final = 300  # of one item of the table
LOST: Final = 0.01  # of the commits
GROWTH: Final = 1.5  # of the processor time an item
FEW: Final = 1_000
MANY: Final = 100_000
TIMES: Final = 3


@step
def nothing(_: StepContext) -> str:
    """Do nothing."""
    return "done"


def flow_of(items: int) -> type[Workflow]:
    """A workflow that maps a step over so many items."""
    made = Map(nothing, over=lambda _: range(items), name="map")
    return type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="flow")


class Watched:
    """A table whose writes are counted, by the rule of ``hephaestus.costs.counting``; it knows what it has written."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Item] = {}
        self.units = self.commits = self.lost = 0
        self.writes: Counter[tuple[str, str]] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def put(self, item: Item, condition: Condition) -> bool:
        """Write an item."""
        written = self._table.put(item, condition)
        key = str(item["pk"]), str(item["sk"])
        with self._lock:
            if key[1].startswith("log#") or key[1] == HEAD:
                self.commits += 1
                self.lost += not written
            self._count(key, item if written else None)
        return written

    def update(self, pk: str, sk: str, changes: Mapping[str, Value | None], condition: Condition) -> bool:
        """Change an item."""
        written = self._table.update(pk, sk, changes, condition)
        with self._lock:
            changed = {**self._known.get((pk, sk), {"pk": pk, "sk": sk}), **changes}
            after = {name: value for name, value in changed.items() if value is not None}
            self._count((pk, sk), after if written else None)
        return written

    def delete(self, pk: str, sk: str, condition: Condition) -> bool:
        """Remove an item."""
        written = self._table.delete(pk, sk, condition)
        with self._lock:
            self._count((pk, sk), {} if written else None)
        return written

    def _count(self, key: tuple[str, str], after: Item | None) -> None:
        before = self._known.get(key, {})
        self.units += write_units(before, before if after is None else after)
        self.writes[key] += 1
        if after is not None:
            self._known[key] = after


@contextmanager
def on_dynamodb() -> Iterator[Table]:
    """A table of DynamoDB Local."""
    from hephaestus.adapters.dynamodb import DynamoTable

    os.environ.update(HARMLESS_AWS)
    with dynamodb_local() as endpoint:
        table = DynamoTable("benchmark", INDEXES, host=endpoint)
        table.create()
        yield table


def of_a_tree(items: int) -> bool:
    """Print what a map costs on DynamoDB Local; whether it keeps the bounds."""
    flow = flow_of(items)
    with on_dynamodb() as table:
        watched: Any = Watched(table)
        began = time.monotonic()
        with Embedded(Store(watched), Registry([flow])) as runtime:
            instance_id = runtime.runner.start_instance(flow, {}, id="1")
            while not (shown := runtime.runner.get(instance_id)).closed:
                time.sleep(0.2)
        took = time.monotonic() - began
    assert shown.status == "completed", shown  # noqa: S101 - else it measured nothing
    units, most, lost = watched.units / items, max(watched.writes.values()), watched.lost / watched.commits
    print(f"a map of {items:,} items that do nothing, on DynamoDB Local: {took:.0f} s on this machine")
    print(f"  write units an item: {units:.2f} (at most {UNITS})")
    print(f"  writes of the item that was written most: {most} (at most {WRITES})")
    print(f"  commits that lost their number: {watched.lost} of {watched.commits:,}, {lost:.2%} (less than {LOST:.0%})")
    return bool(units <= UNITS and most <= WRITES and lost < LOST)


def processor_time(items: int) -> float:
    """The processor time an item of a map in memory (ms)."""
    flow = flow_of(items)
    local = LocalRuntime(flow, store=Store(InMemoryTable(INDEXES)))
    began = time.process_time()
    shown = local.start(flow, "1", {})
    took = time.process_time() - began
    assert shown.status == "completed", shown  # noqa: S101 - else it measured nothing
    return took * 1000 / items


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and say whether a bound was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=10_000)
    given = parser.parse_args(arguments)
    kept = of_a_tree(given.items)
    few, many = min(processor_time(FEW) for _ in range(TIMES)), processor_time(MANY)
    ratio = many / few
    print(f"processor time an item of {MANY:,}, of {FEW:,} in memory: {ratio:.2f} (at most {GROWTH})")
    return 0 if kept and ratio <= GROWTH else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
