"""The indexes that ``advance`` keeps between questions never change an answer."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from hephaestus.engine import events as ev
from hephaestus.engine.advance import advance, compensable, next_wake, reachable
from hephaestus.engine.codec import dump_state, load_state
from hephaestus.engine.fold import apply, begin, fold
from hephaestus.engine.inbox import accepted_events, takers
from tests.property.cases import Case, cases
from tests.property.driver import Driver

if TYPE_CHECKING:
    from hephaestus.engine.state import State


def answers(case: Case, state: State, now: int) -> tuple[object, ...]:
    """Everything that can be asked about a state."""
    graph, busy = case.graph, tuple(case.edges)[:2]
    return (
        *(advance(graph, state, at, in_flight) for at in (now, now + 1_000) for in_flight in ((), busy)),
        next_wake(graph, state),
        next_wake(graph, state, now),
        reachable(graph, state, graph.order),
        takers(graph, state),
        accepted_events(graph, state),
        compensable(graph, state),
    )


@given(cases(), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_an_answer_depends_on_the_state_alone(case: Case, seed: int, other: int) -> None:
    """Not on what was asked before, about an earlier state, a later one, or a draft that was given up."""
    driver, random = Driver(case, seed).run(), Random(other)
    states = [begin("order::1", 1, driver.log[0])]
    for entry in driver.log[1:]:
        before = states[-1]
        states += [apply(before, entry.events[: number + 1], entry.at) for number in range(len(entry.events))]
        states.append(fold(before, [entry]))
    last = states[-1]
    if last.status in {"failed", "cancelled"}:
        undone = tuple(random.sample(sorted(last.steps), len(last.steps) // 2))
        states.append(apply(last, [ev.Redriven("pending", reset=undone)], driver.now))
    for state in random.choices(states, k=2 * len(states)):
        now = driver.now + random.randint(-100, 100)
        assert answers(case, state, now) == answers(case, load_state(dump_state(state)), now)
