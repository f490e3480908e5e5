"""One version of a workflow as data: what the runtime reads of a workflow class."""

from __future__ import annotations

from dataclasses import field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from hephaestus.definition.raised import called_for_a_start, name_of
from hephaestus.engine.activation import step_of
from hephaestus.engine.events import NOTHING
from hephaestus.engine.graph import Graph
from hephaestus.errors import InvalidInput
from hephaestus.values import FrozenDict, for_display, to_json
from hephaestus.values.given import own_mapping
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hephaestus.definition.concurrency import Concurrency, Limit
    from hephaestus.definition.context import StepContext
    from hephaestus.definition.retries import Retry
    from hephaestus.definition.rounds import Rounds
    from hephaestus.definition.step import Choice, Semantics, Step


Forks: TypeAlias = Literal["any", "unchanged", "none"]
IfRunning: TypeAlias = Literal["reject", "use"]
Checkpoint: TypeAlias = Literal["steps", "boundaries"]
CHECKPOINTS: Final[tuple[str, ...]] = get_args(Checkpoint)
IF_RUNNING: Final[tuple[str, ...]] = get_args(IfRunning)
FORKS: Final[tuple[str, ...]] = get_args(Forks)


@dataclass(frozen=True, slots=True)
class Route:
    """Where one event of a step leads: every target, or those that ``choice`` picks among them.

    ``ends`` says that ``DONE`` is a target, too, and ``fail`` that ``FAIL`` is one: with the reason, ``""`` without.
    """

    targets: tuple[str, ...]
    choice: Choice | None = None
    ends: bool = False
    fail: str | None = None

    @property
    def ends_at(self) -> tuple[str, ...]:
        """The targets that are no steps."""
        return (*(["DONE"] if self.ends else []), *(["FAIL"] if self.fail is not None else []))

    @property
    def shown(self) -> tuple[str, ...]:
        """The targets as people are shown them: ``DONE`` where there is no step."""
        return (*self.targets, *(end for end in self.ends_at if end != "DONE" or not self.targets))


def edges_of(
    routes: Mapping[str, Mapping[str, Route]],
) -> tuple[dict[str, dict[str, tuple[str, ...]]], frozenset[tuple[str, str, str]]]:
    """The ``edges`` and the ``ends`` of a graph with these routes."""
    edges = {step: {event: route.targets for event, route in found.items()} for step, found in routes.items()}
    every = ((step, event, route) for step, found in routes.items() for event, route in found.items())
    return edges, frozenset((step, event, end) for step, event, route in every for end in route.ends_at)


@dataclass(frozen=True, slots=True)
class Declared:
    """What a step declares, read once: a property of its class may raise later, or say something else.

    Attributes are those of ``Step``, in the base types; without mistakes.
    """

    key: str
    events: tuple[str, ...]
    retry: Retry | None
    timeout: timedelta | None
    semantics: Semantics
    compensate_retry: Retry | None
    rounds: Rounds | None
    ends_on: tuple[str, ...] | None
    waits: bool
    pure: bool
    compensates: bool
    checkpoint: bool | None = None
    limits: tuple[Limit, ...] = ()

    @property
    def is_kept(self) -> bool:
        """Whether its result is always written when it has ended."""
        return self.compensates or self.semantics == "at_most_once" or self.rounds is not None or bool(self.limits)


@dataclass(frozen=True, slots=True)
class Definition:
    """One version of a workflow, as the runtime reads it; of ``steps`` it only calls what does their work.

    ``output`` makes the output; without it, that is a step's results, as the graph says. ``items`` are, by map, the
    step that it runs for each item, and what that declares. ``limited`` are the steps that name limits, and the maps
    of such; ``limits`` are the workflow's own: an instance has a permit of each from before its first step until it is
    closed.
    """

    name: str
    version: int
    graph: Graph
    steps: Mapping[str, Step]
    declared: Mapping[str, Declared]
    routes: Mapping[str, Mapping[str, Route]]
    configs: Mapping[tuple[str, str, str], Mapping[str, Any]]
    retry: Retry
    input_model: type[Any] | None = None
    start_config: Mapping[str, Any] = field(default_factory=dict)
    forks: Forks = "any"
    output: Callable[[StepContext], Any] | None = None
    timeout: timedelta | None = None
    failure_config: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Checkpoint = "steps"
    items: Mapping[str, tuple[Step, Declared]] = NOTHING
    limited: frozenset[str] = frozenset()
    limits: tuple[Concurrency, ...] = ()
    parts: dict[str, Definition] = field(default_factory=dict, init=False, compare=False, repr=False)

    def of_part(self, step: str) -> Definition:
        """What an instance runs that has a part of the items of the map ``step``: the map alone.

        What it runs them for is read, and calls no one's code.
        """
        if step not in self.parts:
            here, graph = {step}, self.graph
            alone = Graph(
                step,
                {step: {"done": ()}},
                compensates=graph.compensates & here,
                undoes=graph.undoes & here,
                maps={step: graph.maps[step]},
            )
            self.parts[step] = replace(
                self,
                graph=alone,
                steps={step: self.steps[step]},
                declared={step: replace(self.declared[step], pure=True)},
                routes={step: {"done": Route((), ends=True)}},
                configs={},
                start_config={},
                output=None,
                timeout=None,
                failure_config={},
                items={step: self.items[step]},
                limited=self.limited & here,
                limits=(),
            )
        return self.parts[step]

    def defers(self, step: str) -> bool:
        """Whether the result of ``step`` is left to the next commit; a map and its items never leave theirs."""
        declared = self.declared[step]
        if step in self.items:
            return False
        if declared.checkpoint is None:
            return self.checkpoint == "boundaries" and not declared.is_kept
        return not declared.checkpoint

    @property
    def timeout_ms(self) -> int:
        """How long an instance has to end, in milliseconds; 0 for ever."""
        return 0 if self.timeout is None else max(round(self.timeout / timedelta(milliseconds=1)), 1)

    @property
    def every_step(self) -> Iterator[Step]:
        """Its steps, those that maps run for their items included."""
        yield from self.steps.values()
        yield from (step for step, _ in self.items.values())

    def step_of(self, activation: str) -> Step:
        """The step whose code an activation runs: of an item, that of its map."""
        item = self.items.get(step_of(activation)) if "[" in activation else None
        return self.steps[step_of(activation)] if item is None else item[0]

    def declared_of(self, activation: str) -> Declared:
        """What the step declares whose code an activation runs."""
        item = self.items.get(step_of(activation)) if "[" in activation else None
        return self.declared[step_of(activation)] if item is None else item[1]

    @property
    def all_declared(self) -> Iterator[tuple[str, Declared]]:
        """What each step declares, and what those do that maps run for their items, with the map's key."""
        yield from self.declared.items()
        yield from ((key, declared) for key, (_, declared) in self.items.items())

    def events_of(self, activation: str) -> tuple[str, ...]:
        """The events that an activation may come to: those routed, and of an item those that its step declares."""
        if "[" in activation:
            return self.declared_of(activation).events
        return tuple(self.routes[step_of(activation)])

    def policy(self, activation: str) -> Retry:
        """How failed attempts are repeated."""
        return self.declared_of(activation).retry or self.retry

    def undo_policy(self, activation: str) -> Retry:
        """How failed attempts to undo it are repeated."""
        return self.declared_of(activation).compensate_retry or self.retry

    def config(
        self,
        step: str,
        taken: Mapping[str, tuple[str, tuple[str, ...]]],
        chosen: Mapping[str, Mapping[str, Mapping[str, Any]]] = NOTHING,
    ) -> Mapping[str, Any]:
        """The configuration of ``step``: that of every taken edge into it, later steps' values winning.

        Args:
            step: the step's key.
            taken: by completed step, its event and the targets it took.
            chosen: by completed step, the configurations that its ``Choice`` returned, by target: they stand in the
                place of those in the transitions.
        """
        if step == self.graph.on_failure:
            return FrozenDict(self.failure_config)
        if not self.configs and not chosen:
            return FrozenDict(self.start_config) if step == self.graph.start else FrozenDict()
        merged: dict[str, Any] = dict(self.start_config) if step == self.graph.start else {}
        for source in self.graph.predecessors.get(step, ()):
            event, targets = taken.get(source, ("", ()))
            if step in targets:
                own = chosen.get(source, NOTHING).get(step)
                merged.update(self.configs.get((source, event, step), {}) if own is None else own)
        return FrozenDict(merged)

    def read_input(self, context: Mapping[str, Any]) -> Any:
        """The start data as the workflow's ``Input`` model; ``None`` without one.

        Raises:
            InvalidInput: the data does not fit, with one line a field.
        """
        model = self.input_model
        if model is None:
            return None
        what = f"workflow {self.name} version {self.version}: its Input"
        try:
            return called_for_a_start(lambda: model.model_validate(dict(own_mapping(context))), what, ValueError)
        except ValueError as error:
            details = getattr(error, "errors", None)
            if details is None:
                message = f"{what} raised {name_of(type(error))} for these start data; nothing was changed"
                raise InvalidInput(message) from error
            if (found := self._from_json(context, what)) is not None:
                return found
            fields = [
                (".".join(str(part) for part in line["loc"]) or "context", str(line["msg"])) for line in details()
            ]
            message = f"the context does not fit {self.name} version {self.version}:"
            raise InvalidInput(message, fields) from error

    def _from_json(self, context: Mapping[str, Any], what: str) -> Any:
        """The model of data that are JSON's own: a strict model takes the text of a date from JSON and nowhere else."""
        model = self.input_model
        if model is None or for_display(context) != context:
            return None
        try:
            return called_for_a_start(lambda: model.model_validate_json(to_json(context)), what, ValueError)
        except ValueError:
            return None
