"""Many writers at once on every store: one winner, nothing lost."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from hephaestus import DONE, InstanceClosed, InstanceNotFound, StepContext, UnexpectedEvent, Workflow, step
from hephaestus.adapters.memory import MemoryQueue, MemoryStore, MemoryTimers
from hephaestus.adapters.memory import table as memory_table
from hephaestus.engine.events import Claimed, Entry, EventReceived, InstanceFinished, StepWaiting, Suspended
from hephaestus.engine.fold import begin, fold
from hephaestus.engine.requests import repeats
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.dispatch import Budget, InPlace
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.steps import WaitForEvent
from tests.contract.instances import T0, Start, commit, everything, finish, start, started, suspend, unique

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.engine.state import State
    from hephaestus.store.store import Store

WRITERS = 16

Answer = TypeVar("Answer")


def at_once(count: int, call: Callable[[int], Answer]) -> list[Answer]:
    """What ``call(0)`` to ``call(count - 1)`` return, all begun at the same moment, a thread each."""
    gate = threading.Barrier(count)

    def meet(number: int) -> Answer:
        gate.wait(60)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(meet, range(count)))


def folded(state: State, log: list[Entry]) -> State:
    """What the log alone says."""
    return fold(begin(state.instance_id, state.generation, log[0], state.life), log[1:])


def test_invariant_1_sixteen_writers_race_for_one_log(store: Store) -> None:
    """Each number has one winner, the log has no gap, and nobody's event is lost or doubled."""
    each = 3
    first = started(store, "race::a", owner="me")

    def contend(writer: int) -> list[tuple[int, str]]:
        won: list[tuple[int, str]] = []
        state = store.load("race::a")
        assert state is not None
        while len(won) < each:
            event_id = f"{writer}-{len(won)}"
            after, entry = commit(state, EventReceived(f"w{event_id}", "go", event_id))
            if store.commit(after, entry):
                won.append((entry.sequence, entry.commit_id))
                state = after
            else:
                newer = store.tail(state)
                assert newer is not None, "rejected, so somebody has written"
                state = newer
        return won

    won = [pair for pairs in at_once(WRITERS, contend) for pair in pairs]
    log = everything(store, first)
    assert [entry.sequence for entry in log] == list(range(1, WRITERS * each + 2))
    assert sorted(won) == [(entry.sequence, entry.commit_id) for entry in log[1:]]
    state = store.load("race::a")
    assert state == folded(first, log)
    names = [f"{writer}-{n}" for writer in range(WRITERS) for n in range(each)]
    assert all(repeats(state, "event", name, "") for name in names)


def _append_one(store: Store, tries: list[tuple[State, Entry]], writer: int) -> bool:
    stored = store.commit(*tries[writer])
    if stored is not None:
        store.settle(stored)
    return stored is not None


def _start_one(store: Store, starts: list[Start], writer: int) -> State | None:
    return starts[writer].write(store)


def test_invariant_1_sixteen_boundaries_race_for_one_number(store: Store) -> None:
    """Transactions race like plain writes do: one claims, and the head says who."""
    for number in range(3):
        state = suspend(store, started(store, f"race::{number}", owner="me"))
        tries = [commit(state, Claimed(f"owner-{writer}", T0 + 10**7)) for writer in range(WRITERS)]
        won = at_once(WRITERS, partial(_append_one, store, tries))
        assert won.count(True) == 1
        assert store.load(state.instance_id) == tries[won.index(True)][0]
        assert len(everything(store, state)) == 3


def test_invariant_1_plain_and_boundary_writers_race(store: Store) -> None:
    """The log is the lock for both: an event and a suspension cannot have one number."""

    def contend(state: State, writer: int) -> bool:
        if writer % 2:
            return store.commit(*commit(state, EventReceived(f"w{writer}", "go", f"{writer}"))) is not None
        stored = store.commit(*commit(state, StepWaiting(f"s{writer}"), Suspended(T0 + writer)))
        return stored is not None and store.settle(stored) is not None

    for number in range(4):
        state = started(store, f"race::{number}", owner="me")
        assert at_once(8, partial(contend, state)).count(True) == 1
        log = everything(store, state)
        assert len(log) == 2
        assert store.load(state.instance_id) == folded(state, log)


def test_sixteen_starts_of_one_id_have_one_winner(store: Store) -> None:
    """The others are told that it is active."""
    for number in range(3):
        starts = [start(f"race::{number}", initial={"n": writer}) for writer in range(WRITERS)]
        created = at_once(WRITERS, partial(_start_one, store, starts))
        [winner] = [state for state in created if state is not None]
        assert store.load(f"race::{number}") == winner


@pytest.mark.parametrize("generation", [1, 2])
def test_invariant_5_sixteen_times_the_same_start_is_one(store: Store, generation: int) -> None:
    """With one commit id all of them succeed, and there is one instance; on an id that was used before, too."""
    if generation == 2:
        finish(store, started(store, "race::a"))
    same = start("race::a", commit_id=unique(), at=T0 + 10_000)
    created = at_once(WRITERS, lambda _: same.write(store))
    loaded = store.load("race::a")
    assert loaded is not None
    assert created == [loaded] * WRITERS
    assert (loaded.generation, len(everything(store, loaded))) == (generation, 1)


def test_sixteen_starts_of_a_closed_id_make_one_generation(store: Store) -> None:
    """The next generation is as unique as the first, and the old history stays complete."""
    old = finish(store, started(store, "race::a"))
    starts = [start("race::a", initial={"n": writer}, at=T0 + 10_000) for writer in range(WRITERS)]
    created = at_once(WRITERS, lambda writer: starts[writer].write(store))
    [winner] = [state for state in created if state is not None]
    assert (winner.generation, store.load("race::a")) == (2, winner)
    assert folded(old, everything(store, old)) == old


def test_a_start_races_the_finish(store: Store) -> None:
    """Either the start is refused and the old generation is the newest, or it is the next one; never half of each."""

    def act(number: int, end: tuple[State, Entry], actor: int) -> State | None:
        if actor == 0:
            stored = store.commit(*end)
            assert stored is not None
            store.settle(stored)
            return None
        return start(f"race::{number}", at=T0 + 10_000).write(store)

    for number in range(8):
        state = started(store, f"race::{number}", owner="me")
        end = commit(state, InstanceFinished("completed"))
        winners = [found for found in at_once(4, partial(act, number, end)) if found is not None]
        assert len(winners) <= 1
        assert store.load(f"race::{number}") == (winners[0] if winners else end[0])
        assert folded(state, everything(store, state)) == end[0]


@step
def prepare(ctx: StepContext) -> dict[str, Any]:
    """Come before the wait, so that an event may arrive before, at or after the suspension."""
    return {"n": ctx.initial["n"]}


@step
def wind_up(ctx: StepContext) -> dict[str, Any]:
    """Come after it."""
    return {"got": ctx.steps["waiting"]["n"]}


waiting = WaitForEvent("go", name="waiting")


class Race(Workflow, key="race"):
    """Prepare, wait, wind up."""

    start_at = prepare
    transitions = {prepare: {"done": waiting}, waiting: {"go": wind_up}, wind_up: {"done": DONE}}


@pytest.fixture
def runner(store: Store) -> Runner:
    """A runner in real time whose queue nobody reads: what it does, it does in the calls themselves."""
    clock = SystemClock()
    return Runner(store, MemoryTimers(), MemoryQueue(clock), Registry([Race]), clock=clock)


def in_place(runner: Runner) -> InPlace:
    """Run in the caller's thread."""
    return InPlace(Budget(runner.clock.now() + 60_000))


@pytest.mark.parametrize("pause", [0, 2, 9], ids=lambda ms: f"{ms}ms")
def test_invariant_5_an_event_races_the_suspension(runner: Runner, pause: int) -> None:
    """An event that was accepted is consumed, whether it came before, while or after its step began to wait."""

    def act(number: int, actor: int) -> None:
        if actor == 0:
            runner.start_instance(Race, {"n": number}, id=f"{number}", dispatch=in_place(runner))
            return
        while True:
            runner.clock.sleep(pause)
            try:
                runner.resume(f"race::{number}", "go", {"n": number}, dispatch=in_place(runner))
            except InstanceNotFound:
                continue
            return

    for number in range(12):
        at_once(2, partial(act, number))
        shown = runner.get(f"race::{number}")
        assert (shown.status, shown.steps["wind_up"].results) == ("completed", {"got": number})


def test_invariant_5_of_sixteen_events_one_is_accepted_and_consumed(runner: Runner) -> None:
    """The others are refused with a clear answer, and the step runs once."""

    def send(instance_id: str, sender: int) -> bool:
        try:
            runner.resume(instance_id, "go", {"n": sender}, dispatch=in_place(runner))
        except (InstanceClosed, UnexpectedEvent):
            return False
        return True

    for number in range(3):
        instance_id = runner.start_instance(Race, {"n": 0}, id=f"{number}", dispatch=in_place(runner))
        accepted = at_once(WRITERS, partial(send, instance_id))
        assert accepted.count(True) == 1
        shown = runner.get(instance_id)
        assert (shown.status, shown.steps["wind_up"].results) == ("completed", {"got": accepted.index(True)})
        completed = [
            event["step"]
            for entry in runner.history(instance_id)
            for event in entry.events
            if event["type"] == "StepCompleted"
        ]
        assert sorted(completed) == ["prepare", "waiting", "wind_up"]


def test_invariant_2_sixteen_invocations_wake_one_instance(runner: Runner, store: Store) -> None:
    """However many messages come at once, each step is completed once and one owner at a time runs it."""

    def wake(instance_id: str, _: int) -> None:
        runner.wake(instance_id, budget=Budget(runner.clock.now() + 60_000))

    for number in range(3):
        instance_id = runner.start_instance(Race, {"n": 1}, id=f"{number}")
        at_once(WRITERS, partial(wake, instance_id))
        state = store.load(instance_id)
        assert state is not None
        log = everything(store, state)
        claims = [event for entry in log for event in entry.events if isinstance(event, Claimed)]
        assert (state.status, len(claims)) == ("waiting", 1)
        assert folded(state, log) == state


def test_threads_that_find_no_partition_share_the_one_that_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory a partition is made with its first item, and others may come meanwhile."""
    made = memory_table._Partition.__init__  # noqa: SLF001 - what takes its time

    def slowly(partition: memory_table._Partition) -> None:
        time.sleep(0.01)
        made(partition)

    monkeypatch.setattr(memory_table._Partition, "__init__", slowly)  # noqa: SLF001 - as above
    starts = [start("race::1", initial={"n": writer}) for writer in range(WRITERS)]
    created = at_once(WRITERS, partial(_start_one, MemoryStore(), starts))
    assert sum(state is not None for state in created) == 1
