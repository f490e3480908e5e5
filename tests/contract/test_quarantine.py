"""Instances that cannot be read: refused, put off, and going on once they are fixed. Sweeps over every store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.adapters.memory import MemoryQueue, MemoryStore
from hephaestus.engine.events import Claimed, StepsStarted, Suspended
from hephaestus.errors import CorruptLog, EngineError
from hephaestus.runtime import telemetry
from hephaestus.runtime.names import is_bulk
from hephaestus.runtime.sweeper import Sweeper
from hephaestus.store.keys import log_key
from hephaestus.testing import LocalRuntime
from tests.contract.instances import T0, start, started, write
from tests.unit.flows import Order

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hephaestus.store.overdue import Wakeup
    from hephaestus.store.store import Store
    from tests.contract.conftest import Dynamo

DAMAGE: list[tuple[str, str, dict[str, Any] | None]] = [
    ("head", "life", None),
    ("head", "generation", {"S": "two"}),
    ("head", "first", {"B": b"garbage"}),
    ("head", "snapshot", {"B": b"Zgarbage"}),
    ("head", "format", {"N": "99"}),
    ("log", "data", {"B": b'J[["FromTheFuture",{}]]'}),
    ("log", "format", {"N": "99"}),
]


@pytest.fixture
def parked() -> Iterator[list[str]]:
    """The instances that were told to be parked."""
    told: list[str] = []
    telemetry.attach("test", lambda _event, _numbers, about: told.append(str(about["instance_id"])), [telemetry.PARKED])
    yield told
    telemetry.detach("test")


@pytest.mark.parametrize(("sort_key", "name", "value"), DAMAGE, ids=lambda value: str(value)[:24])
def test_what_cannot_be_read_is_put_off_and_goes_on_when_it_is_mended(
    dynamo: Dynamo, parked: list[str], sort_key: str, name: str, value: dict[str, Any] | None
) -> None:
    """Never half-read; the message is done with, the alarm is an hour away, and nothing but the alarm was changed."""
    store = dynamo.store()
    local = LocalRuntime(Order, store=store)
    local.runner.start_instance(Order, {"items": [1]}, id="a1")
    state = store.load("orderid::a1")
    assert state is not None
    state = write(store, state, Claimed("dead", local.clock.now() + 1_000), at=local.clock.now())
    write(store, state, StepsStarted(("nothing",)), at=local.clock.now())
    sort_key = log_key(state.life, 3) if sort_key == "log" else sort_key
    whole = dynamo.item("orderid::a1", sort_key)
    assert whole is not None
    dynamo.overwrite("orderid::a1", sort_key, name, value)
    local.clock.sleep(10 * 60_000)
    with pytest.raises(CorruptLog, match="orderid::a1"):
        store.load("orderid::a1")
    local.sweep()
    assert parked == ["orderid::a1"]
    assert local.sweep().found == 0
    assert parked == ["orderid::a1"]
    head = dynamo.item("orderid::a1")
    assert head is not None
    assert int(head["wake_at"]["N"]) >= local.clock.now() + 60 * 60_000
    assert "CorruptLog" in head["quarantine"]["S"]
    if name in whole:
        dynamo.overwrite("orderid::a1", sort_key, name, whole[name])
    else:
        dynamo.overwrite("orderid::a1", sort_key, name, None)
    local.clock.sleep(2 * 60 * 60_000)
    local.sweep()
    shown = local.runner.get("orderid::a1")
    assert shown.status == "waiting"
    head = dynamo.item("orderid::a1")
    assert head is not None
    assert "quarantine" not in head


@pytest.mark.parametrize("page", [1, 3, 7, 500])
def test_every_overdue_instance_is_found_once_a_sweep(store: Store, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a page; what is not due is not found."""
    monkeypatch.setattr("hephaestus.runtime.sweeper.PAGE", page)
    due = {f"orderid::d{number}" for number in range(17)}
    for number, instance_id in enumerate(sorted(due)):
        started(store, instance_id, at=T0 + number)
    write(store, started(store, "orderid::later", owner="me"), Suspended(T0 + 10**12))
    local = LocalRuntime(Order, store=store)
    local.clock.move_to(T0 + 1_000)
    report = Sweeper(store, local.queue, local.clock).sweep(local.budget())
    assert (report.found, report.sent, report.skipped, report.complete) == (17, 17, 0, True)
    assert report.oldest_ms >= 980
    assert sorted(work.instance_id for work in local.queue.pop_due(local.clock.now())) == sorted(due)


def test_a_full_queue_is_not_filled_further(store: Store) -> None:
    """A backlog does not grow by itself every minute; it is counted all the same."""
    for number in range(12):
        assert start(f"orderid::d{number}").write(store) is not None
    local = LocalRuntime(Order, store=store)
    local.clock.move_to(T0 + 60_000)
    sweeper = Sweeper(store, local.queue, local.clock, most_queued=5)
    first, second = sweeper.sweep(local.budget()), sweeper.sweep(local.budget())
    assert (first.found, first.sent, first.skipped) == (12, 5, 7)
    assert (second.found, second.sent, second.skipped) == (12, 0, 12)


def test_a_full_bulk_queue_holds_back_none_but_its_own(store: Store) -> None:
    """And the other way round: a map's backlog and that of everything else are counted apart. *Rule C.9*."""
    for number in range(6):
        for key in ("hephaestus-map", "orderid"):
            assert start(f"{key}::d{number}").write(store) is not None
    for full in ("hephaestus-map", "orderid"):
        local = LocalRuntime(Order, store=store)
        local.clock.move_to(T0 + 60_000)
        for number in range(5):
            local.queue.wake(f"{full}::w{number}")
        report = Sweeper(store, local.queue, local.clock, most_queued=5).sweep(local.budget())
        assert (report.found, report.sent) == (12, 5)
        sent = [work.instance_id for work in local.queue.pop_due(local.clock.now()) if "::d" in work.instance_id]
        assert len(sent) == 5
        assert not any(instance_id.startswith(full) for instance_id in sent)


class OneDeaf(MemoryQueue):
    """A queue of which one part takes nothing."""

    deaf: bool

    def wake_many(self, wakeups: Sequence[Wakeup]) -> Sequence[str]:
        """Take them, or raise."""
        if any(is_bulk(each.instance_id) == self.deaf for each in wakeups):
            message = "SQS rejected a request"
            raise EngineError(message)
        return super().wake_many(wakeups)


@pytest.mark.parametrize("deaf", [False, True])
def test_a_queue_that_takes_nothing_holds_back_none_but_its_own(store: Store, deaf: bool) -> None:
    """As where the role may not send to it; a sweep in which nothing was taken at all fails."""
    for number in range(250):
        for key in ("hephaestus-map", "orderid"):
            assert start(f"{key}::d{number}").write(store) is not None
    local = LocalRuntime(Order, store=store)
    local.clock.move_to(T0 + 60_000)
    queue = OneDeaf(local.clock)
    queue.deaf = deaf
    sweeper = Sweeper(store, queue, local.clock)
    report = sweeper.sweep(local.budget())
    assert (report.found, report.sent, report.complete) == (500, 250, True)
    assert {is_bulk(work.instance_id) for work in queue.pop_due(local.clock.now())} == {not deaf}
    alone = MemoryStore()
    assert start(f"{'hephaestus-map' if deaf else 'orderid'}::a").write(alone) is not None
    with pytest.raises(EngineError, match="rejected"):
        Sweeper(alone, queue, local.clock).sweep(local.budget())
