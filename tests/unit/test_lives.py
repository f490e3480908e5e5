"""Lives: nothing that outlived an instance does anything to the one that has its id now."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from hephaestus import DONE, AlreadyRunning, InstanceNotFound, Put, StepContext, Workflow, step
from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.definition.results import Completed
from hephaestus.engine.events import Redriven
from hephaestus.engine.fold import following
from hephaestus.errors import BadRequest, LinkOutdated
from hephaestus.steps import WaitForEvent
from hephaestus.store.items import INDEXES
from hephaestus.store.store import Store
from hephaestus.testing import LocalRuntime
from hephaestus.writes.memory_tables import MemoryTables

if TYPE_CHECKING:
    from hephaestus.engine.state import State

DAYS = 3
keys: list[str] = []
links: list[str] = []


@step
def charge(ctx: StepContext) -> Completed:
    """Charge once an idempotency key, and hand out a link."""
    keys.append(ctx.idempotency_key)
    links.append(ctx.callback_token("yes"))
    charged = Put("charges", {"pk": ctx.idempotency_key}, condition="attribute_not_exists(pk)")
    return Completed("done", {"n": len(keys)}, writes=[charged])


class Paid(Workflow, key="paid"):
    """Charge, then wait for an answer."""

    approval = WaitForEvent("yes", name="approval")
    start_at = charge
    transitions = {charge: {"done": approval}, approval: {"yes": DONE}}


def expiring() -> tuple[LocalRuntime, InMemoryTable, MemoryTables]:
    """A runtime whose ended instances are kept for some days."""
    tables = MemoryTables({"charges": ("pk",)})
    table = InMemoryTable(INDEXES, tables=tables)
    keys.clear()
    links.clear()
    return LocalRuntime(Paid, store=Store(table, retention_days=DAYS)), table, tables


def load(local: LocalRuntime, instance_id: str) -> State:
    """An instance as the store has it."""
    state = local.store.load(instance_id)
    assert state is not None
    return state


def test_an_id_that_is_started_again_after_it_expired_is_another_life() -> None:
    """Its generation is 1 again. Before, used links worked again, and exactly-once writes by its keys were rejected."""
    local, table, tables = expiring()
    local.start(Paid, "a")
    assert local.follow(links[0]).status == "completed"
    local.advance(timedelta(days=DAYS + 1))
    assert table.expire(local.clock.now() // 1000) == 1
    with pytest.raises(InstanceNotFound):
        local.runner.get("paid::a")
    again = local.start(Paid, "a")
    assert (again.generation, again.status) == (1, "waiting")
    assert len(set(keys)) == len(tables["charges"]) == 2, "each is charged"
    with pytest.raises(LinkOutdated):
        local.follow(links[0])
    assert local.follow(links[1]).status == "completed"


def test_an_open_instance_outlives_its_log() -> None:
    """Older than its retention and a year, it goes on; its history says what is left. Before: ``CorruptLog``."""
    local, table, _ = expiring()
    local.start(Paid, "a")
    local.advance(timedelta(days=DAYS + 367))
    assert table.expire(local.clock.now() // 1000) > 0
    assert local.runner.get("paid::a").status == "waiting"
    assert [entry.sequence for entry in local.runner.history("paid::a")] == [1]
    assert local.runner.fork("paid::a", new_id="b") == "paid::b"
    local.runner.resume("paid::a", "yes")
    local.settle()
    assert local.runner.get("paid::a").status == "completed"
    last = load(local, "paid::a").sequence
    assert next(entry.sequence for entry in local.runner.history("paid::a")) == 1
    with pytest.raises(BadRequest, match="have expired"):
        local.runner.fork("paid::a", last, new_id="c")


def test_nothing_is_added_to_a_life_whose_head_has_expired_since_it_was_read() -> None:
    """By a redrive or a restart that was slow: its entry would have no head, and an alarm for ever."""
    local, table, _ = expiring()
    local.start(Paid, "1")
    local.runner.cancel("paid::1")
    local.settle()
    closed = load(local, "paid::1")
    table.expire(local.clock.now() // 1000 + (DAYS + 1) * 24 * 3600)
    after, entry = following(closed, "late", local.clock.now(), (Redriven("pending"),))
    assert local.store.commit(after, entry) is None
    assert local.store.overdue(local.clock.now() + 10**12, 10).items == ()
    local.start(Paid, "1")
    assert load(local, "paid::1").life != closed.life


def test_a_deleted_instance_is_gone_with_all_its_lives() -> None:
    """Only one that has ended; its links stop working, and its id is new."""
    local, table, _ = expiring()
    local.start(Paid, "a")
    with pytest.raises(AlreadyRunning):
        local.runner.delete("paid::a")
    local.follow(links[0])
    local.start(Paid, "a")
    local.follow(links[1])
    assert local.runner.get("paid::a").generation == 2
    local.runner.delete("paid::a")
    assert {item.get("ends") for item in table.query("paid::a", low="a", high="z")} == {"deleted"}
    for gone in (local.runner.get, local.runner.history, local.runner.delete):
        with pytest.raises(InstanceNotFound):
            gone("paid::a")
    with pytest.raises(InstanceNotFound):
        local.follow(links[1])
    assert local.start(Paid, "a").generation == 1


def test_a_deletion_that_was_cut_off_is_finished_by_the_sweep() -> None:
    """The entry that began it has an alarm."""
    local, table, _ = expiring()
    local.start(Paid, "a")
    local.follow(links[0])
    found = local.store.reader.newest("paid::a")
    assert found is not None
    endings = local.store.endings
    right = endings._remove  # noqa: SLF001 - the crash
    endings._remove = lambda *_: None  # type: ignore[method-assign]  # noqa: SLF001 - the crash
    assert endings.delete(found, local.clock.now(), lambda closed: closed, related=False)
    endings._remove = right  # type: ignore[method-assign]  # noqa: SLF001 - the crash
    with pytest.raises(InstanceNotFound):
        local.runner.get("paid::a")
    assert len(table.query("paid::a", low="a", high="z")) > 1
    local.sweep()
    assert {item.get("ends") for item in table.query("paid::a", low="a", high="z")} == {"deleted"}
    assert local.sweep().found == 0
