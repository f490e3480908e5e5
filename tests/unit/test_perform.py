"""Effects are performed in order, each port for as long as it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from hephaestus.engine.effects import Head, Schedule, Unschedule, Wake
from hephaestus.engine.state import State
from hephaestus.errors import EngineError, HephaestusError, StoreUnavailable
from hephaestus.runtime.perform import Performer
from hephaestus.runtime.ports import Timeout

STATE = State("w::i", 1, "w", 1, sequence=7, life="l")
SETTLED = State("w::i", 1, "w", 1, sequence=8, life="l")
EFFECTS = (
    Schedule("a", "1", 10),
    Unschedule("b", "2", 20),
    Wake(5),
    Schedule("c", "3", 30),
    Unschedule("d", "4", 40),
    Wake(),
    Head(),
)


@dataclass
class Ports:
    """Every port at once: it notes what is asked, and those of ``broken`` fail."""

    broken: dict[str, HephaestusError] = field(default_factory=dict)
    calls: list[Any] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        """What a port can do."""

        def call(*given: Any) -> State:
            self.calls.append((name, *given))
            if name in self.broken:
                raise self.broken[name]
            return SETTLED

        return call

    def perform(self) -> State:
        """Have all effects performed."""
        return Performer(self, self, self).perform(EFFECTS, STATE)  # type: ignore[arg-type]  # it can do everything


def timeout(step: str, token: str, due_at: int) -> Timeout:
    """As a schedule has it."""
    return Timeout("w::i", "l", step, token, due_at)


ALL = {
    "a": ("schedule", timeout("a", "1", 10)),
    "b": ("cancel", timeout("b", "2", 20)),
    "b, later": ("remove_schedule", timeout("b", "2", 20)),
    "wake": ("wake", "w::i", 5),
    "c": ("schedule", timeout("c", "3", 30)),
    "d": ("cancel", timeout("d", "4", 40)),
    "d, later": ("remove_schedule", timeout("d", "4", 40)),
    "wake at once": ("wake", "w::i", 0),
    "head": ("settle", STATE),
}
SILENT, BROKEN = StoreUnavailable("silent"), EngineError("broken")


@pytest.mark.parametrize(
    ("broken", "asked"),
    [
        ({}, ["a", "b", "wake", "c", "d", "wake at once", "head"]),
        ({"schedule": SILENT}, ["a", "b, later", "wake", "d, later", "wake at once", "head"]),
        ({"schedule": BROKEN}, ["a", "b", "wake", "c", "d", "wake at once", "head"]),
        ({"cancel": SILENT}, ["a", "b", "b, later", "wake", "d, later", "wake at once", "head"]),
        ({"cancel": BROKEN}, ["a", "b", "b, later", "wake", "c", "d", "d, later", "wake at once", "head"]),
        ({"wake": SILENT}, ["a", "b", "wake", "c", "d", "head"]),
        ({"wake": BROKEN}, ["a", "b", "wake", "c", "d", "wake at once", "head"]),
        ({"schedule": SILENT, "wake": SILENT}, ["a", "b, later", "wake", "d, later", "head"]),
        ({"schedule": SILENT, "remove_schedule": SILENT}, ["a", "b, later", "wake", "wake at once", "head"]),
    ],
)
def test_a_port_that_does_not_answer_is_asked_once_and_holds_no_other_back(
    broken: dict[str, HephaestusError], asked: list[str]
) -> None:
    ports = Ports(broken)
    assert ports.perform() == SETTLED
    assert ports.calls == [ALL[each] for each in asked]


def test_a_head_that_is_not_written_fails_no_commit() -> None:
    ports = Ports({"settle": SILENT})
    assert ports.perform() == STATE
