"""A runtime in one process, in real time, and what a later process makes of what an earlier one left."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hephaestus import DONE, Retry, StepContext, Workflow, step
from hephaestus.adapters.memory import MemoryStore
from hephaestus.embedded import Embedded, threads
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.registry import Registry
from hephaestus.steps import Wait
from hephaestus.store.overdue import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.definition.views import InstanceView

PATIENCE = 60
ran = list[tuple[str, int]]()
began = threading.Event()
hang = threading.Event()


def note(ctx: StepContext) -> str:
    ran.append((ctx.instance_id, ctx.attempt))
    began.set()
    if ctx.attempt == 1:
        hang.wait()
    return "done"


slow = step(key="slow", retry=Retry(max_attempts=3, backoff="constant", delay=timedelta(0)))(note)
once = step(key="once", semantics="at_most_once")(note)
long = Wait(hours=1, name="long")


class Slow(Workflow, key="slow"):
    """Its step hangs at its first attempt."""

    start_at = slow
    transitions = {slow: {"done": DONE}}


class Once(Workflow, key="once"):
    """The same, and never a second attempt."""

    start_at = once
    transitions = {once: {"done": DONE}}


class Long(Workflow, key="long"):
    """An hour's wait."""

    start_at = long
    transitions = {long: {"done": DONE}}


FLOWS = (Slow, Once, Long)


@pytest.fixture(autouse=True)
def fresh() -> None:
    ran.clear()
    began.clear()
    hang.clear()


def until(holds: Callable[[], bool]) -> None:
    """Wait until ``holds``: what runs in other threads takes as long as it takes."""
    done = threading.Event()
    for _ in range(PATIENCE * 100):
        if holds():
            return
        done.wait(0.01)
    raise AssertionError


def ended(embedded: Embedded, instance_id: str) -> InstanceView:
    until(lambda: embedded.runner.get(instance_id).closed)
    return embedded.runner.get(instance_id)


def an_hour_later(patch: pytest.MonkeyPatch) -> None:
    """Move the machine's time on, as a person or a standby does."""
    now = SystemClock.now
    patch.setattr(SystemClock, "now", lambda clock: now(clock) + 3_600_000)


def test_a_wait_ends_at_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LOOK", 0.01)
    with Embedded(MemoryStore(), Registry(FLOWS)) as embedded:
        started = embedded.runner.start_instance(Long, {}, id="a")
        until(lambda: embedded.runner.get(started).status == "waiting")
        an_hour_later(monkeypatch)
        assert ended(embedded, started).status == "completed"


@pytest.mark.parametrize(("flow", "status", "attempts"), [(Slow, "completed", [1, 2]), (Once, "failed", [1])])
def test_what_a_dead_process_ran_goes_on_at_once(flow: type[Workflow], status: str, attempts: list[int]) -> None:
    """Its lease lasts for a quarter of an hour; the attempt is spent, and one that must not be repeated is not."""
    store = MemoryStore()
    dead = Embedded(store, Registry(FLOWS)).start()  # its thread hangs, and it is left like that
    started = dead.runner.start_instance(flow, {}, id="a")
    assert began.wait(PATIENCE)
    later = Embedded(store, Registry(FLOWS))
    later.recover()
    with later:
        assert ended(later, started).status == status
        assert [attempt for _, attempt in ran] == attempts
    hang.set()
    dead.close()
    assert later.runner.get(started).status == status


def test_an_owner_that_is_not_known_to_be_dead_is_left_alone() -> None:
    store = MemoryStore()
    other = Embedded(store, Registry(FLOWS))
    other.recover()  # nothing was there
    with Embedded(store, Registry(FLOWS)) as living, other:
        started = living.runner.start_instance(Slow, {}, id="a")
        assert began.wait(PATIENCE)
        other._do(Wakeup(started))  # noqa: SLF001 - what its threads do
        assert ran == [(started, 1)]
        hang.set()
        assert ended(living, started).steps["slow"].attempt == 1


@pytest.mark.parametrize("is_due", [False, True])
def test_the_timers_of_a_dead_process_fire(monkeypatch: pytest.MonkeyPatch, is_due: bool) -> None:
    """Those that were due while no process ran, and those that are due later."""
    monkeypatch.setattr(threads, "LOOK", 0.01)
    store = MemoryStore()
    with Embedded(store, Registry(FLOWS)) as dead:
        started = dead.runner.start_instance(Long, {}, id="a")
        until(lambda: dead.runner.get(started).status == "waiting")
    later = Embedded(store, Registry(FLOWS))
    if is_due:
        an_hour_later(monkeypatch)
    later.recover()
    with later:
        if not is_due:
            an_hour_later(monkeypatch)
        assert ended(later, started).status == "completed"


def test_messages_for_one_instance_are_one_and_those_with_delays_are_kept() -> None:
    queue = Embedded(MemoryStore(), Registry(FLOWS)).queue
    for delay in (0, 0, 50_000, 0, 60_000):
        queue.wake("slow::a", delay)
    queue.wake("slow::b")
    queue.wake("hephaestus-map::c")
    assert (queue.depth(), queue.depth(bulk=True)) == (2, 1)


def test_work_that_fails_does_not_end_the_thread_that_did_it(caplog: pytest.LogCaptureFixture) -> None:
    embedded, failed = Embedded(MemoryStore(), Registry(FLOWS)), threading.Event()

    def fail(_work: object) -> None:
        failed.set()
        raise SystemExit(3)

    hang.set()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "_do", fail)
        embedded.start()
        embedded.queue.wake("slow::none")
        assert failed.wait(PATIENCE)
    assert embedded.close(PATIENCE) == 0
    assert "slow::none could not go on; it is tried again" in caplog.text
