from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.console.counts import FRESH, FRESH_LARGE, Counts
from hephaestus.errors import StoreUnavailable
from hephaestus.runtime.queries import MOST_COUNTED
from tests.unit.consoles import parcels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.console.source import Instances

PATIENCE = 30.0


class Counted:
    """Instances of which only the number matters."""

    def __init__(self) -> None:
        self.times = 0
        self.waiting = 1
        self.problem: Exception | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def counts(self) -> Mapping[str, Mapping[str, int]]:
        """What it was told."""
        self.may_go_on.wait()
        self.times += 1
        if self.problem:
            raise self.problem
        return {"Parcel": {"waiting": self.waiting}}


@pytest.fixture
def clock() -> list[float]:
    return [1000.0]


def over(counted: Any, clock: list[float]) -> Counts:
    instances: Instances = counted
    return Counts(instances, lambda: clock[0])


def waiting(counts: Counts, patience: float = PATIENCE) -> int | None:
    told = counts.read(patience)["workflows"]
    return int(told[0]["counts"]["waiting"]) if told else None


def test_counts_are_taken_again_only_when_somebody_asks_and_they_are_old(clock: list[float]) -> None:
    counted = Counted()
    counts = over(counted, clock)
    assert waiting(counts) == 1
    counted.waiting = 2
    clock[0] += FRESH - 0.1
    assert waiting(counts) == 1
    clock[0] += 0.2
    assert waiting(counts) == 2
    assert counted.times == 2


def test_many_pages_ask_for_one_counting_and_nobody_waits_for_a_slow_one(clock: list[float]) -> None:
    counted = Counted()
    counts = over(counted, clock)
    assert waiting(counts) == 1
    counted.may_go_on.clear()
    counted.waiting = 5
    clock[0] += FRESH
    assert [waiting(counts, 0) for _ in range(20)] == [1] * 20
    counted.may_go_on.set()
    assert waiting(counts) == 5
    assert counted.times == 2


def test_large_counts_are_taken_more_rarely(clock: list[float]) -> None:
    counted = Counted()
    counted.waiting = MOST_COUNTED
    counts = over(counted, clock)
    waiting(counts)
    clock[0] += FRESH_LARGE - 0.1
    waiting(counts)
    assert counted.times == 1
    clock[0] += 0.2
    waiting(counts)
    assert counted.times == 2


def test_a_counting_that_failed_is_told_and_tried_again(clock: list[float]) -> None:
    counted = Counted()
    counted.problem = StoreUnavailable("throttled")
    counts = over(counted, clock)
    with pytest.raises(StoreUnavailable, match="throttled"):
        counts.read(PATIENCE)
    counted.problem = None
    clock[0] += FRESH
    assert waiting(counts) == 1


def test_every_workflow_has_a_number_for_every_status() -> None:
    local, connection = parcels()
    del local
    told = Counts(connection).read(PATIENCE)
    assert set(told["workflows"][0]["counts"]) == set(told["statuses"])
    assert told["most"] == MOST_COUNTED
