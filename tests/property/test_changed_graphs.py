"""A graph that was changed under the same version: an instance goes on only where that makes no difference to it."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from hypothesis import assume, given
from hypothesis import strategies as st

from hephaestus.engine import events as ev
from hephaestus.engine.advance import Close, Skip, advance, changed, missing, next_wake
from hephaestus.engine.fold import apply, begin, fold
from hephaestus.engine.graph import Graph
from hephaestus.engine.inbox import accepted_events
from hephaestus.engine.state import evolve
from tests.property.cases import Case, cases
from tests.property.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.engine.state import State


def states(driver: Driver) -> Iterator[State]:
    """Every state that the instance was in, those within a commit too."""
    before = begin("order::1", 1, driver.log[0])
    yield before
    for entry in driver.log[1:]:
        yield from (apply(before, entry.events[: number + 1], entry.at) for number in range(len(entry.events)))
        before = fold(before, [entry])


def edited(graph: Graph, random: Random) -> Graph:
    """The graph with one step that waits, starts, leads elsewhere, can be undone, or has an event more or less."""
    edges = {step: dict(events) for step, events in graph.edges.items()}
    step = random.choice(sorted(edges))
    later = [other for other in edges if other > step]
    event = random.choice([*edges[step], "new"])
    edit = random.choice(("waits", "start", "drop", "undo", "route", "route", "route"))
    if edit == "drop":
        edges[step].pop(event, None)
    elif edit == "route":
        edges[step][event] = tuple(random.sample(later, random.randint(0, min(3, len(later)))))
    start = step if edit == "start" else graph.start
    waits = graph.waits ^ {step} if edit == "waits" else graph.waits
    return Graph(start, edges, waits, graph.compensates ^ {step} if edit == "undo" else graph.compensates)


def is_whole(graph: Graph) -> bool:
    """Whether every step can be reached: a definition is rejected otherwise."""
    reached = {graph.start}
    for step in sorted(graph.edges):  # as they follow each other
        if step in reached:
            reached.update(target for targets in graph.edges[step].values() for target in targets)
    return reached == graph.edges.keys()


def follows(graph: Graph, state: State, now: int) -> tuple[object, ...]:
    """What the instance does next, once all is skipped that is, and what it takes from outside."""
    while skipped := [each for each in advance(graph, state, now) if isinstance(each, Skip)]:
        state = apply(state, [ev.StepsSkipped(each.steps) for each in skipped], now)
    # Of steps that completed at one time, the graph says which leaves the output.
    plain = (replace(each, output_of="") if isinstance(each, Close) else each for each in advance(graph, state, now))
    commands = sorted(map(repr, plain))
    return (commands, next_wake(graph, state), sorted(accepted_events(graph, state).items()))


@given(cases(), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_where_no_change_matters_the_instance_goes_on_as_before(case: Case, seed: int, other: int) -> None:
    driver, random = Driver(case, seed).run(), Random(other)
    new = edited(case.graph, random)
    assume(is_whole(new))
    for plain in states(driver):
        state = evolve(plain, graph=case.graph.fingerprint)
        ending = state.closed or state.cancel is not None
        if not ending and not missing(new, state) and not changed(new, state):
            assert follows(new, state, driver.now) == follows(case.graph, state, driver.now)
            done = {key for key, step in state.steps.items() if step.status == "completed"}
            assert done & new.compensates == done & case.graph.compensates


@given(cases(), st.integers(0, 2**32 - 1))
def test_the_graph_that_it_was_started_with_is_no_change(case: Case, seed: int) -> None:
    """Nor is one whose events or targets stand in another order."""
    flipped = {step: {event: to[::-1] for event, to in [*events.items()][::-1]} for step, events in case.edges.items()}
    same = Graph("s0", flipped, case.graph.waits, case.graph.compensates)
    for state in states(Driver(case, seed).run()):
        assert changed(same, evolve(state, graph=case.graph.fingerprint)) == ()
