"""The invariants' tests can fail: engines that are wrong in one way each are caught by the same driver."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest
from hypothesis import Phase, find, settings
from hypothesis import strategies as st

from hephaestus.engine.advance import Close, Command, Deliver, Run, Skip, Sleep, advance
from hephaestus.engine.graph import Graph
from hephaestus.engine.state import State
from hephaestus.errors import HephaestusError
from tests.property.cases import Case, cases
from tests.property.deliberate_bugs import alarm_forgotten, dead_paths_ignored, eager_join
from tests.property.driver import Driver

Advance = Callable[[Graph, State, int, Collection[str]], tuple[Command, ...]]


def skips_too_much(graph: Graph, state: State, now: int, in_flight: Collection[str]) -> tuple[Command, ...]:
    """Skips a step when one of its edges is dead."""
    for step in graph.order:
        for source in graph.predecessors[step]:
            known = state.steps.get(source)
            if (
                step not in state.steps
                and known
                and known.status in ("completed", "skipped")
                and step not in known.taken
            ):
                return (Skip((step,)),)
    return advance(graph, state, now, in_flight)


def skips_one_level(graph: Graph, state: State, now: int, in_flight: Collection[str]) -> tuple[Command, ...]:
    """Does not follow a dead path to its end in one answer."""
    commands = advance(graph, state, now, in_flight)
    return (Skip(commands[0].steps[:1]),) if commands and isinstance(commands[0], Skip) else commands


def runs_again(graph: Graph, state: State, now: int, in_flight: Collection[str]) -> tuple[Command, ...]:
    """Forgets what is in flight."""
    return advance(graph, state, now, ()) if in_flight else advance(graph, state, now, in_flight)


def one_at_a_time(graph: Graph, state: State, now: int, in_flight: Collection[str]) -> tuple[Command, ...]:
    """Lets a ready step wait for an unrelated one."""
    commands = advance(graph, state, now, in_flight)
    return commands[:1] if commands and isinstance(commands[0], Run) else commands


def closes_early(graph: Graph, state: State, now: int, in_flight: Collection[str]) -> tuple[Command, ...]:
    """Completes the instance while a step waits."""
    commands = advance(graph, state, now, in_flight)
    return (Close("completed"),) if commands and isinstance(commands[0], Sleep) else commands


def closes_over_running_steps(graph: Graph, state: State, now: int, in_flight: Collection[str]) -> tuple[Command, ...]:
    """Ends a failed instance while other steps still run."""
    ending = advance(graph, state, now, ())
    return ending if ending and isinstance(ending[0], Close) else advance(graph, state, now, in_flight)


def deaf(graph: Graph, state: State, now: int, in_flight: Collection[str]) -> tuple[Command, ...]:
    """Forgets the events that came early."""
    commands = advance(graph, state, now, in_flight)
    heard = tuple(command for command in commands if not isinstance(command, Deliver) or command.timed_out)
    return heard if heard or not commands else (Sleep(None),)


def impatient(graph: Graph, state: State, now: int, in_flight: Collection[str]) -> tuple[Command, ...]:
    """Fires a deadline before its time."""
    return advance(graph, state, now + 5, in_flight)


MUTANTS: list[Advance] = [
    eager_join,
    dead_paths_ignored,
    skips_too_much,
    skips_one_level,
    runs_again,
    one_at_a_time,
    closes_early,
    closes_over_running_steps,
    deaf,
    impatient,
    alarm_forgotten,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_wrong_engine_is_caught(mutant: Advance) -> None:
    """Some case among those that the invariants' tests draw shows the defect."""
    find(
        st.tuples(cases(), st.integers(0, 2**32 - 1)),
        lambda drawn: _caught(drawn, mutant),
        settings=settings(max_examples=2_000, phases=[Phase.generate], database=None, derandomize=True),
    )


def _caught(drawn: tuple[Case, int], mutant: Advance) -> bool:
    case, seed = drawn
    try:
        Driver(case, seed, mutant).run()
    except (AssertionError, HephaestusError):
        return True
    return False
