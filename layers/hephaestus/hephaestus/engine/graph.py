"""The step graph of one workflow version, and what is wrong with it.

A graph is data: keys of steps, the events each may emit, and the steps each event leads to. ``DONE`` is not a
step: an event that leads to it leads to no step at all. Analysis happens once, when the workflow is defined.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from dataclasses import field
from typing import TYPE_CHECKING, Final, NamedTuple
from zlib import crc32

from hephaestus.errors import Problem
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


MARK: Final = 4  # bytes
MOST_MARKS: Final = 64  # that are kept one by one
ENDING: Final = "on_failure or output"  # what is said to be otherwise, beside steps
WHOLE: Final = "*"  # what the fingerprint of a larger graph begins with


WHOLE_SHARE: Final = 10_000  # of a share in hundredths of a per cent


class Spread(NamedTuple):
    """How a map runs its items.

    Attributes:
        concurrency: how many of them are under way, wait or are between two attempts at a time at most.
        tolerate: how many may fail.
        share: how many may fail of all of them, in hundredths of a per cent; instead of ``tolerate``.
        events: those that an item emits.
        workflows: whether its items are workflows: what is for one is sent to its instance.
    """

    concurrency: int = 100
    tolerate: int = 0
    share: int | None = None
    events: tuple[str, ...] = ("done",)
    workflows: bool = False

    @property
    def takes(self) -> tuple[str, ...]:
        """The events that an item may be sent."""
        return () if self.workflows else self.events

    def tolerated(self, total: int) -> int:
        """How many of so many items may fail."""
        return self.tolerate if self.share is None else total * self.share // WHOLE_SHARE


class Bounds(NamedTuple):
    """How many rounds a step has at most, and within how many milliseconds of the first the last one begins, if set.

    An event of ``again_on`` ends a wait, and with it the round, but not the step.
    """

    at_most: int
    within_ms: int | None = None
    again_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """Steps and edges, with the orders the engine reads derived once.

    ``edges[step][event]`` are the steps the event may lead to: all of them for a plain target or a fan-out,
    the candidates for a ``Choice``. ``waits`` are the steps that always wait for an event or a time, ``compensates``
    those whose effects can be undone, ``output`` the one whose results are the output, ``""`` for the one completed
    last. ``on_failure`` runs before an instance ends as failed; it is no step of the graph. ``ends`` are the targets
    that are no steps, as ``(step, event, "FAIL")``. ``rounds`` are the bounds of the steps that run in rounds; those in
    ``ends_on`` take these events alone, also between two attempts. ``children`` are the steps that start a child and
    take no event from outside; what those in ``undoes`` did is undone by the child. ``maps`` are the steps that run
    another for each of their items. ``limits`` are the names of the limits of which an instance has a permit before
    anything of it runs. Derived: ``order`` has each step after its predecessors, ``place`` where in it a step is,
    ``takes`` the events that each step may be sent, in the order of its transitions, and ``takers`` the steps that each
    event is declared by.
    ``marks`` tell a step from one of the same key that waits or leads elsewhere; ``fingerprint`` is all of them as
    text, with marks of what is undone and of how an instance ends, or one for all if many.
    """

    start: str
    edges: Mapping[str, Mapping[str, tuple[str, ...]]]
    waits: frozenset[str] = frozenset()
    compensates: frozenset[str] = frozenset()
    output: str = ""
    on_failure: str = ""
    ends: frozenset[tuple[str, str, str]] = frozenset()
    rounds: Mapping[str, Bounds] = field(default_factory=dict)
    ends_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    children: frozenset[str] = frozenset()
    undoes: frozenset[str] = frozenset()
    maps: Mapping[str, Spread] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    order: tuple[str, ...] = field(init=False)
    place: Mapping[str, int] = field(init=False)
    predecessors: Mapping[str, tuple[str, ...]] = field(init=False)
    successors: Mapping[str, tuple[str, ...]] = field(init=False)
    takes: Mapping[str, tuple[str, ...]] = field(init=False)
    takers: Mapping[str, tuple[str, ...]] = field(init=False)
    marks: Mapping[str, bytes] = field(init=False)
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        """Derive the topological order, the neighbours of steps and the steps of events; there must be no cycle."""
        predecessors: dict[str, dict[str, None]] = {step: {} for step in self.edges}
        for step in self.edges:
            for target in successors(self.edges, step):
                predecessors[target][step] = None
        order = tuple(topological(self.edges, self.start))
        takers: dict[str, list[str]] = {}
        for step in order:
            for event in (*self.edges[step], *self.again_on(step)):
                takers.setdefault(event, []).append(step)
        marks = {step: self._mark(step) for step in order}
        derived = {
            "marks": marks,
            "fingerprint": _fingerprint(
                [*marks.values(), *map(self._undone, sorted(self.compensates)), self._ending()]
            ),
            "order": order,
            "place": {step: place for place, step in enumerate(order)},
            "predecessors": {step: tuple(found) for step, found in predecessors.items()},
            "successors": {step: tuple(successors(self.edges, step)) for step in self.edges},
            "takes": {step: self._takes(step) for step in self.edges},
            "takers": {event: tuple(steps) for event, steps in takers.items()},
        }
        for name, value in derived.items():
            object.__setattr__(self, name, value)

    def changed(
        self, fingerprint: str, steps: Iterable[str], done: Iterable[str] = (), *, ending: bool = False
    ) -> list[str]:
        """What is otherwise in the graph with that fingerprint.

        Args:
            fingerprint: of the other graph.
            steps: are compared: whether they are there, wait, start, and where they lead.
            done: are compared as to whether they can be undone.
            ending: whether ``on_failure`` and ``output`` are compared, too.
        """
        if fingerprint == self.fingerprint:
            return []
        known = b"" if fingerprint.startswith(WHOLE) else a2b_base64(fingerprint)
        marks = {known[at : at + MARK] for at in range(0, len(known), MARK)}
        found = [step for step in steps if self.marks[step] not in marks]
        undone = [step for step in done if (self._undone(step) in marks) != (step in self.compensates)]
        found += [step for step in undone if step not in found]
        return [*found, ENDING] if ending and self._ending() not in marks else found

    def _mark(self, step: str) -> bytes:
        ends = sorted((event, end) for source, event, end in self.ends if source == step)
        routes = sorted((event, sorted(targets)) for event, targets in self.edges[step].items())
        routes += [(event, ["again"]) for event in sorted(self.again_on(step))]
        routes += [("", ["repeat" if step in self.rounds else "child"])] if step in self.children else []
        mapped = ("map", *sorted(self.maps[step].events)) if step in self.maps else ()
        return _crc((step, step == self.start, step in self.waits, routes, ends, *mapped))

    def _undone(self, step: str) -> bytes:
        """A step and a map of one key are undone otherwise."""
        return _crc(("undone", step, "map") if step in self.maps else ("undone", step))

    def _ending(self) -> bytes:
        return _crc(("ending", self.on_failure, self.output))

    def _takes(self, step: str) -> tuple[str, ...]:
        if step in self.children or step in self.maps:
            return ()
        return self.ends_on[step] if step in self.ends_on else (*self.again_on(step), *self.edges[step])

    def again_on(self, step: str) -> tuple[str, ...]:
        """The events that end the wait of a round of ``step``, and have it go on with the next."""
        return self.rounds[step].again_on if step in self.rounds else ()


def _crc(value: object) -> bytes:
    return crc32(repr(value).encode()).to_bytes(MARK, "big")


def _fingerprint(marks: Sequence[bytes]) -> str:
    if len(marks) <= MOST_MARKS:
        return b2a_base64(b"".join(marks), newline=False).decode()
    return f"{WHOLE}{crc32(b''.join(marks)):08x}"


def successors(edges: Mapping[str, Mapping[str, Sequence[str]]], step: str) -> Iterator[str]:
    """Every step that some event of ``step`` may lead to, each once."""
    yield from dict.fromkeys(target for targets in edges.get(step, {}).values() for target in targets)


def reachable(edges: Mapping[str, Mapping[str, Sequence[str]]], origins: Iterable[str]) -> dict[str, None]:
    """The steps reachable from ``origins``, themselves included, in the order of discovery."""
    found = dict.fromkeys(origins)
    frontier = list(found)
    for step in frontier:  # it grows as it is read
        new = [target for target in successors(edges, step) if target not in found]
        found.update(dict.fromkeys(new))
        frontier.extend(new)
    return found


def topological(edges: Mapping[str, Mapping[str, Sequence[str]]], start: str) -> list[str]:
    """The steps reachable from ``start``, each after all of its predecessors (Kahn 1962), else as defined.

    Steps on a cycle, and those behind one, are left out: a result shorter than the reachable set means a cycle.
    """
    members = reachable(edges, [start])
    open_edges = dict.fromkeys(members, 0)
    for step in members:
        for target in successors(edges, step):
            open_edges[target] += 1
    ready = [step for step in members if not open_edges[step]]
    for step in ready:  # it grows as it is read
        for target in successors(edges, step):
            open_edges[target] -= 1
            if not open_edges[target]:
                ready.append(target)
    return ready


def find_cycle(edges: Mapping[str, Mapping[str, Sequence[str]]], start: str) -> tuple[str, ...]:
    """One cycle reachable from ``start`` as the steps along it, or nothing."""
    acyclic = set(topological(edges, start))
    step = next((step for step in reachable(edges, [start]) if step not in acyclic and _leads_back(edges, step)), None)
    if step is None:
        return ()
    path = [step]
    while True:
        following = next(t for t in successors(edges, path[-1]) if t not in acyclic and step in reachable(edges, [t]))
        if following == step:
            return tuple(path)
        if following in path:
            return tuple(path[path.index(following) :])
        path.append(following)


def _leads_back(edges: Mapping[str, Mapping[str, Sequence[str]]], step: str) -> bool:
    return step in reachable(edges, successors(edges, step))


def check_graph(
    start: str,
    edges: Mapping[str, Mapping[str, Sequence[str]]],
    fan_outs: Iterable[tuple[str, str, Sequence[str]]],
) -> list[Problem]:
    """Everything wrong with the shape of a graph: cycles, unreachable steps, branches that never meet.

    ``fan_outs`` are ``(step, event, branches)`` of every list target with two or more branches.
    """
    problems: list[Problem] = []
    cycle = find_cycle(edges, start)
    if cycle:
        path = " → ".join((*cycle, cycle[0]))
        problems.append(
            Problem(cycle[0], f"is on a cycle: {path}", "A workflow is acyclic: remove one of these transitions")
        )
    found = reachable(edges, [start])
    problems.extend(
        Problem(step, f"cannot be reached from the first step {start!r}", "Route an event to it or remove it")
        for step in edges
        if step not in found
    )
    for step, event, branches in fan_outs:
        if not set.intersection(*(set(reachable(edges, [branch])) for branch in branches)):
            named = ", ".join(branches)
            problems.append(
                Problem(
                    step,
                    f"event {event!r} fans out to {named}, which never meet again before DONE",
                    "Lead every branch to one common step",
                )
            )
    return problems
