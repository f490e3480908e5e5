"""Instances that contend for a limit of their workflow, while the processes that run them are killed.

    python benchmarks/limits.py [--instances N] [--permits N] [--workers N] [--kill-every SECONDS]

In real time, by processes, on Amazon's DynamoDB Local. Who is under way is recorded apart from the engine: from an
instance's first step to its last. Ends with the status 1 if more were under way than there are permits, one did not
come to its end, one was called out of the line's order (more than 8 permits keep none), or an instance was sent more
than two messages on the average; 2 if DynamoDB Local is not there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final, cast

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from benchmarks.soaking import flows
from benchmarks.soaking.engines import NO_ENGINE, dynamo_store, place
from benchmarks.soaking.exchange import Exchange
from benchmarks.soaking.processes import Orders, Workers, serving
from benchmarks.soaking.worker import LIMITS, Invocations, Proxies, Queue
from hephaestus import DONE, Concurrency, StepContext, Workflow, step
from hephaestus.engine.shards import MOST
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.steps import Wait
from hephaestus.store.permits import LINE, PERMITS, Holder, holder_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.soaking.exchange import Message
    from hephaestus.store.table import Change, Table

THREADS: Final = 4  # of a process
INVOCATION: Final = 3.0  # seconds
SWEEP_EVERY: Final = 2.0
PATIENCE: Final = 200.0  # seconds without an end: more than two sweeps of a limit
PAUSE: Final = 1  # seconds
MOST_MESSAGES: Final = 2.0


class Witness(Exchange):
    """The queue, and a record of who is under way."""

    def __init__(self, random: Random) -> None:
        super().__init__(random, INVOCATION + 2, lambda _ticket, _answer: None)
        self.lock = threading.Lock()
        self.inside: dict[str, float] = {}
        self.over: dict[str, float] = {}
        self.most = 0
        self.left: deque[float] = deque()
        self.gaps: list[float] = []
        self.called: Counter[str] = Counter()
        self.passed = 0
        self.sent: Counter[str] = Counter()

    def send(self, message: Message, delay_ms: int = 0) -> None:
        """As a queue; messages that wake an instance at once are counted, and not those of its own wait."""
        if message[0] == "wake" and not delay_ms:
            with self.lock:
                self.sent[message[1]] += 1
        super().send(message, delay_ms)

    def wake_many(self, wakeups: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Those of a sweep."""
        for instance_id, alarms in wakeups:
            super().send(("wake", instance_id, *alarms))

    def handed(self, instance_id: str, before: int) -> None:
        """One that stood in line was handed a permit, and so many stood before it."""
        with self.lock:
            self.called[instance_id] += 1
            self.passed += bool(before)

    def enter(self, instance_id: str) -> None:
        """An instance's first step runs; again, where its process was killed."""
        with self.lock:
            if instance_id in self.over or instance_id in self.inside:
                return
            self.inside[instance_id] = time.monotonic()
            self.most = max(self.most, len(self.inside))
            if self.left:
                self.gaps.append(time.monotonic() - self.left.popleft())

    def leave(self, instance_id: str) -> None:
        """Its last step runs."""
        with self.lock:
            if self.inside.pop(instance_id, None) is not None:
                self.over[instance_id] = time.monotonic()
                self.left.append(time.monotonic())


def enter(ctx: StepContext) -> str:
    """Say that the instance is under way."""
    witness: Any = flows.witness
    witness.enter(ctx.instance_id)
    return "done"


def leave(ctx: StepContext) -> str:
    """Say that it is over."""
    witness: Any = flows.witness
    witness.leave(ctx.instance_id)
    return "done"


def flow(permits: int) -> type[Workflow]:
    """A workflow under a limit: it waits between two steps, and holds its permit."""
    first, pause, last = step(key="begin")(enter), Wait(seconds=PAUSE, name="pause"), step(key="end")(leave)

    class Limited(Workflow, key="limited", limits=[Concurrency("few", permits)]):
        start_at = first
        transitions = {first: {"done": pause}, pause: {"done": last}, last: {"done": DONE}}

    return Limited


class Killed(Workers):
    """Processes of this benchmark."""

    arguments = ("-m", "benchmarks.limits", "--worker")


class Handing:
    """A worker's table that tells who is handed a permit out of the line, and who stood before it in the line then.

    Counted as it is handed, and not by logs: one whose process is killed then is put back after a minute, and goes on
    later than others that stood behind it, which is no fault of the line.
    """

    def __init__(self, table: Table, witness: Any) -> None:
        self._table = table
        self._witness = witness

    def __getattr__(self, name: str) -> Any:
        """As the table has it."""
        return getattr(self._table, name)

    def change_all(self, changes: Sequence[Change]) -> bool:
        """As the table has it; the line is read before."""
        handed = next(filter(None, map(handed_by, changes)), None)
        if handed is None:
            return self._table.change_all(changes)
        limit, holder, at = handed
        line = self._table.query(limit, low=LINE, high=holder.place)
        done = self._table.change_all(changes)
        if done and any(place["sk"] == holder.place for place in line):
            before = [place for place in line if str(place["sk"]) < holder.place and int(str(place["at"])) < at]
            self._witness.handed(holder.instance_id, len(before))
        return done


def handed_by(change: Change) -> tuple[str, Holder, int] | None:
    """The limit, the holder and the time (ms) of a permit that a write grants, if it does."""
    changes = change.changes or {}
    for slot in range(MOST):
        name, at = changes.get(f"s{slot}"), changes.get(f"g{slot}")
        if change.sk == PERMITS and isinstance(name, str) and isinstance(at, int):
            return change.pk, holder_of(name), at
    return None


def work() -> None:
    """Run instances until standard input is closed."""
    orders = Orders(**json.loads(sys.stdin.readline()))
    proxies = Proxies(orders.address, authkey=bytes.fromhex(orders.authkey))
    proxies.connect()
    flows.witness = proxies.exchange()  # type: ignore[attr-defined]  # registered there
    random = Random(orders.seed)
    for _ in range(orders.threads):
        store = dynamo_store(orders.endpoint)
        store.permits.table = cast("Table", Handing(store.permits.table, flows.witness))
        own = (flows.witness, store, store.own_table, orders.seconds, Random(random.random()))
        threading.Thread(target=Invocations([flow(orders.children)], *own).serve, daemon=True).start()
    sys.stdin.read()


def measure(instances: int, permits: int, workers: int, kill_every: float) -> bool:
    """Run it, and tell; whether all is well."""
    shared = Witness(Random(1))
    with place("dynamodb-local") as where, serving(shared, where) as (address, authkey):
        orders = Orders(address, authkey, where.endpoint, THREADS, INVOCATION, children=permits)
        running, store = Killed(orders, workers, Random(2)), where.store()
        try:
            queue: Any = Queue(shared)
            runner = Runner(store, queue, queue, Registry([flow(permits)]), limits=LIMITS)
            ids = [runner.start_instance("Limited", {}, id=f"{number:04}") for number in range(instances)]
            begun = moved = time.monotonic()
            sweep_at = kill_at = begun + SWEEP_EVERY
            known, left = 0, list(ids)
            while left and time.monotonic() - moved < PATIENCE:
                now = time.monotonic()
                if now >= sweep_at:
                    shared.send(("sweep",))
                    sweep_at = now + SWEEP_EVERY
                if kill_every and now >= kill_at:
                    running.kill()
                    kill_at = now + kill_every
                running.replace_dead()
                if len(shared.over) != known:
                    known, moved = len(shared.over), now
                if known == instances:
                    left = [one for one in left if runner.get(one).status != "completed"]
                time.sleep(0.2)
        finally:
            running.end()
        took = time.monotonic() - begun
    messages, again = sum(shared.sent[name] for name in ids) / instances, shared.called.total() - len(shared.called)
    gaps = sorted(shared.gaps) or [0.0]
    print(f"{instances} instances, {permits} permits, {running.kills} kills: {took:.0f} s")
    print(f"under way at once at most: {shared.most}; not ended: {len(left)}; messages an instance: {messages:.2f}")
    print(f"called from the line: {len(shared.called)}; out of order: {shared.passed}; again after a death: {again}")
    print(
        f"from a last step to the next first one: median {statistics.median(gaps) * 1000:.0f} ms, "
        f"95 % {gaps[int(len(gaps) * 0.95)] * 1000:.0f} ms, longest {gaps[-1] * 1000:.0f} ms",
        flush=True,
    )
    print(*running.deaths, sep="\n", end="\n" * bool(running.deaths))
    ordered = permits > MOST or not shared.passed
    return shared.most <= permits and not left and ordered and messages <= MOST_MESSAGES and not running.deaths


def main(arguments: Sequence[str]) -> int:
    """Measure with so many permits, by default with 5 and with 20; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--permits", type=int, default=0, help="by default 5, then 20")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kill-every", type=float, default=3.0, help="seconds; 0 for never")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.worker:
        work()
        return 0
    try:
        runs = [given.permits] if given.permits else [5, 20]
        good = [measure(given.instances, number, given.workers, given.kill_every) for number in runs]
    except NO_ENGINE as missing:
        print(f"no measurement: {missing}", file=sys.stderr)
        return 2
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
