"""Random workflows with everything that will happen in them decided up front."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from hephaestus.engine.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.simulation.reference import Outcome


@dataclass(frozen=True)
class Plan:
    """What a step does, whatever the interleaving: fails ``failures`` times, then takes ``outcome``.

    ``way`` is how it gets there: it ``runs``, or waits for an ``event``, for a ``timer``, or for ``either``, where the
    timer leads to ``late`` instead. ``dies`` makes it fail for good.
    """

    outcome: Outcome
    late: Outcome
    way: str = "runs"
    failures: int = 0
    dies: bool = False


@dataclass(frozen=True)
class Case:
    """A workflow and its plans."""

    edges: Mapping[str, Mapping[str, tuple[str, ...]]]
    plans: Mapping[str, Plan]
    cancelled: bool = False

    @cached_property
    def graph(self) -> Graph:
        """As the engine reads it."""
        waits = frozenset(step for step, plan in self.plans.items() if plan.way != "runs")
        return Graph("s0", self.edges, waits)

    @property
    def deterministic(self) -> bool:
        """Whether the outcomes do not depend on the interleaving."""
        return not self.cancelled and not any(plan.dies or plan.way == "either" for plan in self.plans.values())


@st.composite
def edges(draw: st.DrawFn, largest: int = 9) -> dict[str, dict[str, tuple[str, ...]]]:
    """A graph where every step can be reached: the topological order is the order of the names."""
    names = [f"s{number}" for number in range(draw(st.integers(1, largest)))]
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for position, name in enumerate(names):
        later = names[position + 1 :]
        targets = st.lists(st.sampled_from(later), max_size=3, unique=True).map(tuple) if later else st.just(())
        found[name] = {f"e{number}": draw(targets) for number in range(draw(st.integers(1, 3)))}
    for position, name in enumerate(names[1:], start=1):
        if not any(name in targets for events in found.values() for targets in events.values()):
            source = names[draw(st.integers(0, position - 1))]
            event = draw(st.sampled_from(sorted(found[source])))
            found[source][event] = (*found[source][event], name)
    return found


@st.composite
def cases(draw: st.DrawFn, *, deterministic: bool = False, largest: int = 9) -> Case:
    """A workflow with its plans; a ``deterministic`` one has the same outcomes in every interleaving."""
    graph = draw(edges(largest))
    deadly = not deterministic and draw(st.integers(0, 3)) == 0
    ways = ["runs", "runs", "event", "timer"] if deterministic else ["runs", "runs", "event", "timer", "either"]
    plans = {}
    for step, events in graph.items():
        outcomes = []
        for _ in range(2):
            event = draw(st.sampled_from(sorted(events)))
            taken = events[event]
            if len(taken) > 1 and draw(st.booleans()):  # as a Choice: some of the candidates, or none (DONE)
                taken = tuple(draw(st.lists(st.sampled_from(taken), unique=True)))
            outcomes.append((event, taken))
        plans[step] = Plan(
            outcomes[0],
            outcomes[1],
            draw(st.sampled_from(ways)),
            draw(st.sampled_from([0, 0, 0, 1, 2])),
            dies=deadly and draw(st.integers(0, 3)) == 0,
        )
    cancelled = not deterministic and draw(st.integers(0, 7)) == 0
    return Case(graph, plans, cancelled)
