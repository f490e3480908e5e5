"""Which steps must run, worked out a second time: what the engine is held against.

It shares nothing with the engine: it reads single edges (step, event, target) and recurses, where the engine reads
statuses and walks a topological order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Outcome: TypeAlias = "tuple[str, tuple[str, ...]]"


class Reference:
    """The join rule by the letter: the status of every edge and step, from the outcomes so far.

    Args:
        start: the first step.
        edges: the targets of every event of every step.
        outcomes: by completed step, its event and the targets it took.
    """

    def __init__(
        self, start: str, edges: Mapping[str, Mapping[str, Sequence[str]]], outcomes: Mapping[str, Outcome]
    ) -> None:
        self.start = start
        self.outcomes = outcomes
        self.into: dict[str, set[tuple[str, str]]] = {step: set() for step in edges}
        for source, events in edges.items():
            for event, targets in events.items():
                for target in targets:
                    self.into[target].add((source, event))
        self.known: dict[str, str] = {}

    def edge(self, source: str, event: str, target: str) -> str:
        """Taken, dead or undecided."""
        if source in self.outcomes:
            return "taken" if self.outcomes[source][0] == event and target in self.outcomes[source][1] else "dead"
        return "dead" if self.step(source) == "skipped" else "undecided"

    def step(self, step: str) -> str:
        """Ran, skipped, startable or undecided."""
        if step not in self.known:
            edges = {self.edge(source, event, step) for source, event in self.into[step]}
            if step in self.outcomes:
                self.known[step] = "ran"
            elif "undecided" in edges:
                self.known[step] = "undecided"
            else:
                self.known[step] = "startable" if "taken" in edges or step == self.start else "skipped"
        return self.known[step]

    def all(self, status: str) -> set[str]:
        """Every step of that status."""
        return {step for step in self.into if self.step(step) == status}

    def on_taken_paths(self) -> set[str]:
        """The steps on a path of taken edges from the first step: when all is over, exactly those that ran."""
        found, frontier = {self.start}, [self.start]
        while frontier:
            for target in self.outcomes.get(frontier.pop(), ("", ()))[1]:
                if target not in found:
                    found.add(target)
                    frontier.append(target)
        return found
