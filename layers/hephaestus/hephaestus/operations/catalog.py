"""The deployed workflows as far as looking at instances needs them: their graphs, without anybody's code.

The runner that reads the table asks a registry for graphs; here they come from what the deployed functions say of
themselves (``GET /workflows``), so that they are those of the deployed versions.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from hephaestus.definition.definition import Definition, Route, edges_of
from hephaestus.definition.maps import read_tolerated
from hephaestus.definition.retries import Retry
from hephaestus.definition.rounds import Rounds
from hephaestus.definition.step import DONE, ENDS, FAIL
from hephaestus.engine.graph import Bounds, Graph, Spread
from hephaestus.errors import HephaestusError, UnknownVersion, UnknownWorkflow
from hephaestus.runtime.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hephaestus.definition.workflow import Workflow
    from hephaestus.engine.state import State


FRESH: Final = 30.0  # seconds that what is deployed is taken to be as it was


@dataclass(frozen=True, slots=True)
class Known:
    """A workflow's name and the definitions of its versions; nothing of it can run."""

    name: str
    definitions: Mapping[int, Definition]


class Catalog(Registry):
    """A registry of graphs, fetched when the first one is needed, and again from time to time: a console runs for days.

    Args:
        fetch: what is deployed, as ``GET /workflows`` lists it. If it fails, instances are shown without what only
            their graphs tell, any name is taken for a workflow's, and no names are known. If it fails
            later, what was known before stays.
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(
        self, fetch: Callable[[], Sequence[Mapping[str, Any]]], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._fetch = fetch
        self._monotonic = monotonic
        self._known: Mapping[str, Known] | None = None
        self._next = 0.0

    def known(self) -> Mapping[str, Known]:
        """Every deployed workflow, by name."""
        now = self._monotonic()
        if self._known is not None and now < self._next:
            return self._known
        try:
            self._known = {each["name"]: read_workflow(each) for each in self._fetch()}
        except HephaestusError:
            if self._known is None:
                raise
        self._next = now + FRESH
        return self._known

    def get(self, name: str) -> type[Workflow]:
        """The workflow of that name; see ``Registry``."""
        try:
            found = self.known().get(name)
        except HephaestusError:
            found = Known(name, {})
        if found is None:
            deployed = ", ".join(self.names()) or "none"
            message = f"there is no workflow {str(name)[:64]!r}; deployed workflows: {deployed}"
            raise UnknownWorkflow(message)
        return cast("type[Workflow]", found)  # a reader asks for its name and nothing else

    def names(self) -> list[str]:
        """The names of all workflows, sorted; none where they are not to be known."""
        try:
            return sorted(self.known())
        except HephaestusError:
            return []

    def definition(self, state: State) -> Definition:
        """The definition that an instance runs on; see ``Registry``."""
        try:
            found = self.known().get(state.workflow)
        except HephaestusError as error:
            message = f"what is deployed of {state.workflow} is not known: {error}"
            raise UnknownWorkflow(message) from error
        if found is None:
            message = f"there is no workflow {state.workflow!r} deployed"
            raise UnknownWorkflow(message)
        if state.version not in found.definitions:
            message = f"workflow {state.workflow} has no version {state.version} deployed"
            raise UnknownVersion(message)
        return found.definitions[state.version]


def read_workflow(described: Mapping[str, Any]) -> Known:
    """A workflow as ``GET /workflows`` describes it."""
    versions = [_version(described["name"], each) for each in described["versions"]]
    return Known(described["name"], {each.version: each for each in versions})


def _route(shown: Sequence[str]) -> Route:
    targets = tuple(key for key in shown if key not in ENDS)
    return Route(targets, ends=DONE.key in shown, fail="" if FAIL.key in shown else None)


def _version(name: str, described: Mapping[str, Any]) -> Definition:
    routes: dict[str, dict[str, Route]] = {}
    waits: list[str] = []
    compensates: list[str] = []
    children: list[str] = []
    undoes: list[str] = []
    rounds: dict[str, Bounds] = {}
    ends_on: dict[str, tuple[str, ...]] = {}
    maps: dict[str, Spread] = {}
    for step in described["steps"]:
        routes[step["key"]] = {event: _route(found) for event, found in step["routes"].items()}
        waits += [step["key"]] if step.get("waits") else []
        compensates += [step["key"]] if step.get("compensates") else []
        if bounds := step.get("rounds"):
            again_on = tuple(bounds.get("again_on", ()))
            rounds[step["key"]] = Rounds(bounds["at_most"], bounds.get("within_seconds"), again_on).bounds
        if child := step.get("child"):
            children.append(step["key"])
            undoes += [step["key"]] if child["undoes"] else []
        if "ends_on" in step:
            ends_on[step["key"]] = tuple(step["ends_on"])
        if spread := step.get("map"):
            number, share = read_tolerated(spread["tolerate"]) or (0, None)
            maps[step["key"]] = Spread(
                spread["concurrency"], number, share, tuple(spread["events"]), "workflow" in spread
            )
    edges, ends = edges_of(routes)
    ending = described.get("output", ""), described.get("on_failure", "")
    known = (described["start"], edges, frozenset(waits), frozenset(compensates), *ending, ends)
    of_children = frozenset(children), frozenset(undoes)
    graph = Graph(*known, rounds=rounds, ends_on=ends_on, children=of_children[0], undoes=of_children[1], maps=maps)
    return Definition(name, described["version"], graph, {}, {}, routes, {}, Retry())
