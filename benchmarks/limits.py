"""Instances that contend for a limit of their workflow, while the processes that run them are killed.

    python benchmarks/limits.py [--instances N] [--permits N] [--workers N] [--kill-every SECONDS]

In real time, by processes, on Amazon's DynamoDB Local. Who is under way is recorded apart from the engine: from an
instance's first step to its last. Ends with the status 1 if more were under way than there are permits, one did not
come to its end, too many were called out of order (kills may delay whom they hit; more than 8 permits keep no order),
or an instance was sent more than two messages on the average; 2 if DynamoDB Local is not there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Final

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from benchmarks.soaking import flows
from benchmarks.soaking.engines import NO_ENGINE, dynamo_store, place
from benchmarks.soaking.exchange import Exchange
from benchmarks.soaking.processes import Orders, Workers, serving
from benchmarks.soaking.worker import LIMITS, Invocations, Proxies, Queue
from hephaestus import DONE, Concurrency, StepContext, Workflow, step
from hephaestus.engine.events import PermitsTaken, StepQueued
from hephaestus.engine.shards import MOST
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.steps import Wait

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.soaking.exchange import Message
    from hephaestus.store.store import Store

THREADS: Final = 4  # of a process
INVOCATION: Final = 3.0  # seconds
SWEEP_EVERY: Final = 2.0
PATIENCE: Final = 200.0  # seconds without an end: more than two sweeps of a limit
PAUSE: Final = 1  # seconds
JOINED: Final = 1_000  # ms after it was committed, one stands in line for sure
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


@dataclass(frozen=True, slots=True)
class Called:
    """An instance that stood in line: where, since when at the latest, and when it was called (ms)."""

    order: int
    joined: int
    called: int


def called(store: Store, instance_id: str) -> Called | None:
    """How an instance was called, by its log; ``None`` for one that never stood in line."""
    queued, taken = None, 0
    for entry in (store.history(instance_id, None, 0, 1_000) or (0, ()))[1]:
        for event in entry.events:
            if isinstance(event, StepQueued):
                queued = event.order, entry.at
            elif isinstance(event, PermitsTaken):
                taken = event.grants[0].at
    return None if queued is None else Called(queued[0], queued[1] + JOINED, taken)


def out_of_order(found: list[Called]) -> int:
    """How many were called although one before them stood in line."""
    return sum(
        any(one.order < other.order and one.joined < other.called < one.called for one in found) for other in found
    )


def work() -> None:
    """Run instances until standard input is closed."""
    orders = Orders(**json.loads(sys.stdin.readline()))
    proxies = Proxies(orders.address, authkey=bytes.fromhex(orders.authkey))
    proxies.connect()
    flows.witness = proxies.exchange()  # type: ignore[attr-defined]  # registered there
    random = Random(orders.seed)
    for _ in range(orders.threads):
        store = dynamo_store(orders.endpoint)
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
        took, found = time.monotonic() - begun, [one for name in ids if (one := called(store, name)) is not None]
    unordered, messages = out_of_order(found), sum(shared.sent[name] for name in ids) / instances
    gaps = sorted(shared.gaps) or [0.0]
    print(f"{instances} instances, {permits} permits, {running.kills} kills: {took:.0f} s")
    print(f"under way at once at most: {shared.most}; not ended: {len(left)}; stood in line: {len(found)}")
    print(f"called out of order: {unordered}; messages an instance: {messages:.2f}")
    print(
        f"from a last step to the next first one: median {statistics.median(gaps) * 1000:.0f} ms, "
        f"95 % {gaps[int(len(gaps) * 0.95)] * 1000:.0f} ms, longest {gaps[-1] * 1000:.0f} ms",
        flush=True,
    )
    print(*running.deaths, sep="\n", end="\n" * bool(running.deaths))
    ordered = permits > MOST or unordered <= running.kills * THREADS
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
