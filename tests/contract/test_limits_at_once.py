"""Instances that contend for a limit, in real time, by threads, on every adapter."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

import pytest

from hephaestus import DONE, Concurrency, RateLimit, StepContext, Workflow, step
from hephaestus.embedded import Embedded
from hephaestus.runtime.registry import Registry
from hephaestus.steps import Map
from hephaestus.store.reservations import LATE_MS

if TYPE_CHECKING:
    from hephaestus.store.store import Store

INSTANCES, PERMITS, PATIENCE = 24, 3, 120


class Record:
    """Who runs, kept apart from the engine."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.running = 0
        self.most = 0
        self.ran: list[str] = []

    def work(self, ctx: StepContext) -> str:
        """Run for a moment."""
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
            self.ran.append(ctx.item_key or ctx.instance_id)
        time.sleep(0.01)
        with self.lock:
            self.running -= 1
        return "done"


def test_invariant_10_no_more_run_at_once_than_there_are_permits_and_all_come_to_their_end(store: Store) -> None:
    """Rules F.1 and F.4: by an independent record, with no sweep's help; each runs once."""
    record = Record()
    limited = step(key="limited", limits=[Concurrency("few", PERMITS)])(record.work)

    class Limited(Workflow, key="limited"):
        start_at = limited
        transitions = {limited: {"done": DONE}}

    with Embedded(store, Registry([Limited])) as embedded:
        ids = [embedded.runner.start_instance(Limited, {}, id=str(number)) for number in range(INSTANCES)]
        until = time.monotonic() + PATIENCE
        left = list(ids)
        while left and time.monotonic() < until:
            left = [one for one in left if embedded.runner.get(one).status != "completed"]
            time.sleep(0.05)
        assert left == []
    assert record.most <= PERMITS
    assert sorted(record.ran) == sorted(ids)
    usage = store.permits.usage("few")
    assert (usage.permits, usage.line) == ((), ())


@pytest.mark.parametrize("chunk", [1, 2])
def test_no_more_items_run_at_once_than_permits_times_chunk(store: Store, chunk: int) -> None:
    """Rule F.9: with ``chunk=1``, no more than there are permits; two maps share them, and each item runs once."""
    record = Record()
    limited = step(key="limited", limits=[Concurrency("few", PERMITS)])(record.work)

    class Mapped(Workflow, key="mapped"):
        every = Map(limited, over=lambda _: range(INSTANCES // 2), chunk=chunk, name="every")
        start_at = every
        transitions = {every: {"done": DONE}}

    with Embedded(store, Registry([Mapped])) as embedded:
        left = [embedded.runner.start_instance(Mapped, {}, id=str(number)) for number in range(2)]
        until = time.monotonic() + PATIENCE
        while left and time.monotonic() < until:
            left = [one for one in left if embedded.runner.get(one).status != "completed"]
            time.sleep(0.05)
        assert left == []
    assert record.most <= PERMITS * chunk
    assert sorted(record.ran) == sorted([str(number) for number in range(INSTANCES // 2)] * 2)
    usage = store.permits.usage("few")
    assert (usage.permits, usage.line) == ((), ())


def test_no_window_has_more_starts_than_a_rate_allows(store: Store) -> None:
    """Rule F.7: by an independent record, by the clock, of starts that may be a second late; each once."""
    rate, burst, times, lock = 20, 4, list[float](), Lock()

    @step(limits=[RateLimit("calls", rate, 1, burst=burst)])
    def called(_ctx: StepContext) -> str:
        with lock:
            times.append(time.monotonic())
        return "done"

    class Rated(Workflow, key="rated"):
        start_at = called
        transitions = {called: {"done": DONE}}

    with Embedded(store, Registry([Rated])) as embedded:
        left = [embedded.runner.start_instance(Rated, {}, id=str(number)) for number in range(INSTANCES)]
        until = time.monotonic() + PATIENCE
        while left and time.monotonic() < until:
            left = [one for one in left if embedded.runner.get(one).status != "completed"]
            time.sleep(0.05)
        assert left == []
    times.sort()
    assert len(times) == INSTANCES
    late = LATE_MS / 1000
    for first, began in enumerate(times):
        for number, at in enumerate(times[first:], 1):
            assert number <= burst + rate * (at - began + late) + 1e-6
    assert times[-1] - times[0] >= (INSTANCES - burst) / rate - late
