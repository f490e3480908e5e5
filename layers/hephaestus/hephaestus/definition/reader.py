"""Reads the transitions of a workflow class into a definition, noting everything that is wrong on the way."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.definition import Definition, Route
from hephaestus.definition.steps import DONE, SEMANTICS, STEP_KEY, Choice, Configured, Done, Step
from hephaestus.engine.graph import Graph, check_graph
from hephaestus.errors import Problem
from hephaestus.retry import Retry
from hephaestus.values import NotSerializable, freeze

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hephaestus.definition.steps import StepLike, TargetLike
    from hephaestus.definition.workflow import Workflow

IMPLICIT_EVENTS: Final = ("error", "timeout")


class Reader:
    """Reads the transitions of one workflow class into a definition, noting what is wrong on the way."""

    def __init__(self, cls: type[Workflow]) -> None:
        self.cls = cls
        self.problems: list[Problem] = []
        self.steps: dict[str, Step] = {}
        self.classes: dict[type[Step], Step] = {}
        self.routes: dict[str, dict[str, Route]] = {}
        self.configs: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        self.fan_outs: list[tuple[str, str, tuple[str, ...]]] = []

    def read(self, problems: list[Problem]) -> Definition | None:
        """The definition, or ``None`` with the reasons added to ``problems``."""
        self.problems = problems
        if not self.cls.business_key.name:
            self.wrong(self.cls.__name__, "has no business key", 'Define it with key="...", as in key="orderid"')
        start = getattr(self.cls, "start_at", None)
        transitions = getattr(self.cls, "transitions", None)
        if start is None or not isinstance(transitions, Mapping):
            self.wrong(self.cls.__name__, "has no first step or no transitions", "Set start_at and transitions")
            return None
        first, start_config = self.target(start, self.cls.__name__)
        if first == DONE.key:
            self.wrong(self.cls.__name__, "starts at DONE", "Set start_at to the first step")
        if first is None or first == DONE.key:
            return None
        for source, routes in transitions.items():
            self.read_step(source, routes)
        edges = {key: {event: route.targets for event, route in self.routes.get(key, {}).items()} for key in self.steps}
        for key in self.steps:
            if key not in self.routes:
                self.wrong(key, "does not end in DONE: it has no transitions", f"Add {key}: {{...: DONE}}")
        problems.extend(check_graph(first, edges, self.fan_outs))
        if problems:
            return None
        waits = frozenset(key for key, step in self.steps.items() if step.waits)
        return Definition(
            name=self.cls.name,
            version=self.cls.version,
            graph=Graph(first, edges, waits, frozenset(key for key, step in self.steps.items() if step.compensates)),
            steps=self.steps,
            routes=self.routes,
            configs=self.configs,
            retry=self.cls.retry,
            input_model=self.cls.Input,
            start_config=start_config,
        )

    def wrong(self, step: str, problem: str, mend: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(step, problem, mend))

    def register(self, like: object, place: str) -> Step | None:
        """The step that ``like`` stands for, known by its key from now on."""
        if isinstance(like, type) and issubclass(like, Step):
            if like not in self.classes:
                try:
                    self.classes[like] = like()
                except (TypeError, ValueError) as error:
                    self.wrong(
                        place, f"{like.__name__} cannot be made without arguments ({error})", "Use an instance of it"
                    )
                    return None
            step = self.classes[like]
        elif isinstance(like, Step):
            step = like
        else:
            self.wrong(place, f"{like!r} is not a step", "Use a function with @step, a Step class or DONE")
            return None
        if isinstance(step, Done):
            return DONE
        if step.key not in self.steps:
            self.steps[step.key] = step
            self.check_step(step)
        known = self.steps[step.key]
        if known is not step and (type(known) is not type(step) or vars(known) != vars(step)):
            self.wrong(step.key, "two steps have this key", "Give one of them another: step.named(...) or name=...")
            return None
        return known

    def check_step(self, step: Step) -> None:
        """Note what is wrong with a step by itself."""
        problems: list[tuple[str, str]] = []
        if isinstance(step.events, str):
            problems.append((f"declares the events {step.events!r}", f"Write a tuple: events=({step.events!r},)"))
        problems.extend(
            (f"has the retry policy {policy!r}", "Give a Retry(...)")
            for policy in (step.retry, step.compensate_retry)
            if policy is not None and not isinstance(policy, Retry)
        )
        problems.extend(_semantics_wrong(step))
        if step.timeout is not None and not (isinstance(step.timeout, timedelta) and step.timeout > timedelta(0)):
            problems.append((f"has the timeout {step.timeout!r}", "Give a positive timedelta, or seconds to @step"))
        if type(step).execute is Step.execute:
            problems.append(("has no execute", "Write execute(self, instance, config, context)"))
        if not isinstance(step.key, str) or not STEP_KEY.fullmatch(step.key):
            mend = "Use up to 64 letters, digits, '_', '.' and '-', a letter or '_' first"
            problems.append((f"the key {step.key!r} is invalid", mend))
        if step.key == DONE.key:
            problems.append(("the key 'DONE' is taken", "Give the step another key"))
        if not step.events:
            problems.append(("declares no event", 'Declare at least one, as in events=("done",)'))
        elif not isinstance(step.events, str) and not all(event and isinstance(event, str) for event in step.events):
            problems.append((f"declares the events {step.events!r}", "Events are non-empty strings"))
        for problem, mend in problems:
            self.wrong(step.key, problem, mend)

    def target(self, like: object, place: str) -> tuple[str | None, Mapping[str, Any]]:
        """The key and configuration of one target; the key is ``None`` for what is no step, ``"DONE"`` for the end."""
        config: Mapping[str, Any] = {}
        if isinstance(like, Configured):
            try:
                config = freeze(dict(like.config), "config")
            except NotSerializable as error:
                self.wrong(place, str(error), "Configuration holds JSON-safe values only")
            like = like.step
        step = self.register(like, place)
        return (step.key if step else None), config

    def read_step(self, source: StepLike, routes: Mapping[str, TargetLike]) -> None:
        """Read the transitions of one step."""
        step = self.register(source, self.cls.__name__)
        if step is None:
            return
        if step is DONE:
            self.wrong("DONE", "has transitions", "DONE ends a path: remove its transitions")
            return
        if step.key in self.routes:
            self.wrong(step.key, "has transitions twice", "Merge them")
            return
        if not isinstance(routes, Mapping):
            self.wrong(step.key, "its transitions are not a mapping", "Write {event: target}")
            return
        self.routes[step.key] = {}
        events = (step.events,) if isinstance(step.events, str) else tuple(step.events)
        for event in events:
            if event not in routes:
                self.wrong(
                    step.key,
                    f"declares {event!r} but no transition routes it",
                    f"Add {event!r}: ... to its transitions",
                )
        for event, target in routes.items():
            if event not in events and event not in IMPLICIT_EVENTS:
                self.wrong(
                    step.key,
                    f"routes {event!r}, which the step does not declare",
                    f"Add {event!r} to its events or remove the transition",
                )
            self.routes[step.key][event] = self.read_route(step.key, event, target)

    def read_route(self, source: str, event: str, target: TargetLike) -> Route:
        """Read where one event of a step leads."""
        choice = target if isinstance(target, Choice) else None
        if choice and not callable(choice.function):
            self.wrong(source, f"event {event!r} routes to a Choice without a function", "Give Choice a callable")
        candidates: Any = choice.targets if choice else target
        listed: Sequence[object] = candidates if isinstance(candidates, (list, tuple)) else [candidates]
        if not listed:
            self.wrong(source, f"event {event!r} leads nowhere", "Route it to a step or to DONE")
        keys: list[str] = []
        for one in listed:
            key, config = self.target(one, source)
            if key is None:
                continue
            if key in keys:
                self.wrong(source, f"event {event!r} leads to {key} twice", "Name each target once")
            keys.append(key)
            if config:
                self.configs[source, event, key] = config
        steps = tuple(key for key in keys if key != DONE.key)
        if choice is None and len(keys) > 1:
            if len(steps) < len(keys):
                self.wrong(source, f"event {event!r} fans out to DONE", "A fan-out leads to steps only")
            else:
                self.fan_outs.append((source, event, steps))
        return Route(steps, choice)


def _semantics_wrong(step: Step) -> Iterator[tuple[str, str]]:
    """What contradicts itself in how often a step may run, and how it is undone."""
    if step.semantics not in SEMANTICS:
        yield (f"has the semantics {step.semantics!r}", f"Use one of {', '.join(SEMANTICS)}")
    if step.semantics == "at_most_once" and isinstance(step.retry, Retry) and step.retry.max_attempts > 1:
        yield (
            "is at_most_once and has a retry policy",
            "A step that never runs twice is never retried: drop one of them",
        )
    compensation = getattr(step, "compensation", None)
    if compensation is not None and not callable(compensation):
        yield (f"has the compensation {compensation!r}", "Give a function that takes the context")
    if step.compensate_retry is not None and not step.compensates:
        yield ("has compensate_retry but no compensation", "Give compensate=..., or drop it")
