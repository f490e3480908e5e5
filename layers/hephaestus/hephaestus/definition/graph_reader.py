"""Reads the transitions of a workflow class into a definition, noting everything that is wrong on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.child import ChildWorkflow
from hephaestus.definition.concurrency import Named, clashes, limits_of
from hephaestus.definition.definition import Definition, Route, edges_of
from hephaestus.definition.durations import Unfit, is_one_of, read_duration, shown, shown_error
from hephaestus.definition.maps import Map
from hephaestus.definition.signatures import call_problem, model_wanted
from hephaestus.definition.step import DONE, ENDS, FAIL, Choice, Configured, Done, Fail, FunctionStep, Step, fail_reason
from hephaestus.definition.step_rules import may_time_out, read_declared, step_wrong
from hephaestus.engine.graph import Graph, check_graph
from hephaestus.errors import Problem
from hephaestus.values import NotSerializable, freeze
from hephaestus.values.scalars import plain_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from hephaestus.definition.context import StepContext
    from hephaestus.definition.definition import Declared
    from hephaestus.definition.step import StepLike, TargetLike
    from hephaestus.definition.workflow import Workflow

IMPLICIT_EVENTS: Final = ("error", "timeout")


class Reader:
    """Reads the transitions of one workflow class into a definition, noting what is wrong on the way."""

    def __init__(self, cls: type[Workflow]) -> None:
        self.cls = cls
        self.problems: list[Problem] = []
        self.steps: dict[str, Step] = {}
        self.declared: dict[str, Declared] = {}
        self.items: dict[str, tuple[Step, Declared]] = {}
        self.keys: dict[int, tuple[str, Step]] = {}  # by identity, of steps that are kept for it
        self.classes: dict[type[Step], Step] = {}
        self.routes: dict[str, dict[str, Route]] = {}
        self.configs: dict[tuple[str, str, str], Mapping[str, Any]] = {}
        self.fan_outs: list[tuple[str, str, tuple[str, ...]]] = []

    def read(self, problems: list[Problem]) -> Definition | None:
        """The definition, or ``None`` with the reasons added to ``problems``, all of them."""
        self.problems = problems
        if not self.cls.business_key.name:
            self.wrong(self.cls.__name__, "has no business key", 'Define it with key="...", as in key="orderid"')
        start = getattr(self.cls, "start_at", None)
        transitions = getattr(self.cls, "transitions", None)
        if start is None or not isinstance(transitions, Mapping):
            self.wrong(self.cls.__name__, "has no first step or no transitions", "Set start_at and transitions")
        first, start_config = self.target(start, self.cls.__name__) if start is not None else (None, {})
        if first in ENDS:
            self.wrong(self.cls.__name__, f"starts at {first}", "Set start_at to the first step")
        for source, routes in transitions.items() if isinstance(transitions, Mapping) else ():
            self.read_step(source, routes)
        graphed = tuple(self.steps)
        on_failure, failure_config = self.on_failure(graphed)
        for key in graphed if isinstance(transitions, Mapping) else ():
            if key not in self.routes:
                self.wrong(key, "does not end in DONE: it has no transitions", f"Add {key}: {{...: DONE}}")
        named = [*self.declared.items(), *((key, declared) for key, (_, declared) in self.items.items())]
        every = [Named(self.cls.__name__, limit, whole=True) for limit in limits_of(self.cls)]
        every += [Named(key, limit) for key, one in named for limit in limits_of(one)]
        for owner, problem, fix in clashes(every):
            self.wrong(owner, problem, fix)
        output = self.output()
        edges, ends = edges_of({key: self.routes.get(key, {}) for key in graphed})
        if first in edges:
            problems.extend(check_graph(first, edges, self.fan_outs))
        if problems or first is None:
            return None
        return Definition(
            name=self.cls.name,
            version=plain_name(self.cls.version),
            graph=self.graph(first, edges, output if isinstance(output, str) else "", on_failure, ends),
            steps=self.steps,
            declared=self.declared,
            routes=self.routes,
            configs=self.configs,
            retry=self.cls.retry,
            input_model=self.cls.Input,
            start_config=start_config,
            forks=self.cls.forks,
            output=None if isinstance(output, str) else output,
            failure_config=failure_config,
            items=self.items,
            timeout=self.timeout(),
            checkpoint=self.cls.checkpoint,
            limited=frozenset(key for key, one in named if one.limits),
            limits=self.cls.limits,
        )

    def graph(
        self,
        first: str,
        edges: Mapping[str, Mapping[str, tuple[str, ...]]],
        output: str,
        on_failure: str,
        ends: frozenset[tuple[str, str, str]],
    ) -> Graph:
        """The graph, without mistakes."""
        known = self.declared.items()
        children = {key: step for key, step in self.steps.items() if isinstance(step, ChildWorkflow)}
        return Graph(
            first,
            edges,
            frozenset(key for key, step in known if step.waits),
            frozenset(key for key, step in known if step.compensates),
            output,
            on_failure,
            ends,
            rounds={key: step.rounds.bounds for key, step in known if step.rounds is not None},
            ends_on={key: step.ends_on for key, step in known if step.ends_on is not None},
            children=frozenset(children),
            undoes=frozenset(key for key, step in self.steps.items() if _undone_by_child(step)),
            maps={key: step.spread(self.items[key][1]) for key, step in self.steps.items() if isinstance(step, Map)},
            limits=tuple(limit.name for limit in self.cls.limits),
        )

    def wrong(self, step: str, problem: str, fix: str) -> None:
        """Note a problem, once: a step is met at each place that names it."""
        found = Problem(step, problem, fix)
        if found not in self.problems:
            self.problems.append(found)

    def output(self) -> str | Callable[[StepContext], Any]:
        """The key of the step whose results are the output, ``""`` for the one completed last, or what makes it."""
        given, name = getattr(self.cls, "output", None), self.cls.__name__
        if given is None:
            return ""
        made = self.classes.get(given) if isinstance(given, type) else given
        if isinstance(made, Step) and id(made) in self.keys:
            return self.keys[id(made)][0]
        fix = "Give a step of its transitions, or a plain function of the context that returns a mapping"
        if isinstance(given, Step) or (isinstance(given, type) and issubclass(given, Step)):
            self.wrong(name, f"its output is {shown(given)}, which is none of its steps", fix)
        elif problem := call_problem(given, "context", coroutines=False):
            self.wrong(name, f"its output is {shown(given)}, which {problem}", fix)
        return given  # type: ignore[no-any-return]  # as checked above

    def timeout(self) -> timedelta | None:
        """How long an instance has to end; see ``header`` for what is wrong with it."""
        given = getattr(self.cls, "timeout", None)
        return None if given is None else read_duration(given, "timeout")

    def on_failure(self, graphed: Sequence[str]) -> tuple[str, Mapping[str, Any]]:
        """The key and configuration of the step that runs before an instance fails; ``graphed`` are the graph's."""
        given, name = getattr(self.cls, "on_failure", None), self.cls.__name__
        key, config = (None, {}) if given is None else self.target(given, name)
        if key is None:
            return "", {}
        if key in ENDS:
            self.wrong(name, f"its on_failure is {key}", "Give a step: it runs before the instance fails")
        elif key in graphed:
            self.wrong(
                key, "is on_failure and a step of the graph", "Give on_failure a step of its own, as .named(...)"
            )
        else:
            declared = self.declared[key]
            for has, problem, fix in (
                (declared.waits is True, "waits", "Give a step that only runs"),
                (declared.rounds is not None, "has rounds", "Give a step that runs once"),
                (declared.limits != (), "has limits", "Drop the limits: it runs at once"),
                (declared.checkpoint is False, "has checkpoint=False", "Drop it: it is always checkpointed"),
                (key in self.items, "a map", "Give a step that runs once"),
                (isinstance(self.steps[key], ChildWorkflow), "starts a workflow", "Give a step that runs"),
                (declared.compensates is True, "has a compensation", "Drop it: nothing is undone after on_failure"),
            ):
                if has:
                    self.wrong(key, f"is on_failure and {problem}", fix)
            self.routes[key] = {event: Route((), ends=True) for event in _listed(declared.events)}
        return key, config

    def register(self, like: object, place: str) -> str | None:
        """The key of the step that ``like`` stands for, known by it from now on; one of ``ENDS`` for an end."""
        if isinstance(like, type) and issubclass(like, Step):
            if like not in self.classes:
                try:
                    self.classes[like] = like()
                except Exception as error:  # noqa: BLE001 - a user's constructor may raise anything
                    problem = f"{like.__name__} cannot be made without arguments ({shown_error(error)})"
                    self.wrong(place, problem, "Use an instance of it")
                    return None
            step = self.classes[like]
        elif isinstance(like, Step):
            step = like
        else:
            self.wrong(place, f"{shown(like)} is not a step", "Use a function with @step, a Step class, DONE or FAIL")
            return None
        if isinstance(step, Done):
            return DONE.key
        if isinstance(step, Fail):
            if not isinstance(step.reason, str):
                self.wrong(place, f"leads to FAIL({shown(step.reason)})", 'Give the reason as a text: FAIL("reason")')
            return FAIL.key
        known = self.keys.get(id(step))
        return known[0] if known else self.read_declared(step, place)

    def read_declared(self, step: Step, place: str) -> str | None:
        """The key of a step that is met for the first time, and whose attributes are read now and never again."""
        try:
            declared = read_declared(step)
        except Unfit as error:
            self.wrong(place, error.problem, error.fix)
            return None
        # What is no text is shown instead, and reported as a key that is none.
        key = declared.key if isinstance(declared.key, str) and declared.key else shown(declared.key)
        if key not in self.steps:
            self.steps[key], self.declared[key] = step, declared
            for problem, fix in step_wrong(step, declared):
                self.wrong(key, problem, fix)
            self.check_input(key, step)
            if isinstance(step, Map):
                self.read_item(key, step.target)
        elif not _alike(self.steps[key], step):
            self.wrong(key, *self.twice(key, step))
            return None
        self.keys[id(step)] = (key, step)
        return key

    def twice(self, key: str, step: Step) -> tuple[str, str]:
        """What is wrong with two steps of one key, and what to do."""
        known = self.steps[key]
        if any(isinstance(one, Map) and one.target is other for one, other in ((known, step), (step, known))):
            return "is a step of the graph and that of a map under the same key", "Give the map a name=..."
        return "two steps have this key", "Give one of them another: step.named(...) or name=..."

    def read_item(self, key: str, target: Step) -> None:
        """Read the step that the map ``key`` runs for each item, noting what is wrong with it."""
        try:
            declared = read_declared(target)
        except Unfit as error:
            self.wrong(key, error.problem, error.fix)
            return
        self.items[key] = target, declared
        for problem, fix in step_wrong(target, declared):
            self.wrong(key, f"is a map of a step that {problem}", fix)
        self.check_input(key, target)

    def check_input(self, key: str, step: Step) -> None:
        """Note that a step is annotated with another model of the start data than the workflow's."""
        own = (step.function, step.compensation) if isinstance(step, FunctionStep) else (step.execute, step.compensate)
        given = self.cls.Input
        for model in dict.fromkeys(filter(None, map(model_wanted, own))):
            if given is None or (isinstance(given, type) and not issubclass(given, model)):
                name = model.__name__
                has = "has no Input" if given is None else f"'s Input is {given.__name__}"
                problem = f"is annotated StepContext[{name}], but the workflow{' ' * (given is None)}{has}"
                self.wrong(key, problem, f"Set Input = {name} in the workflow, or change the annotation")

    def target(self, like: object, place: str) -> tuple[str | None, Mapping[str, Any]]:
        """The key and configuration of one target; the key is ``None`` for no step, one of ``ENDS`` for an end."""
        config: Mapping[str, Any] = {}
        if isinstance(like, Configured):
            if isinstance(like.config, Mapping):
                try:
                    config = freeze(dict(like.config), "config")
                except NotSerializable as error:
                    self.wrong(place, str(error), "Configuration holds JSON-safe values only")
            else:
                self.wrong(place, f"config is {shown(like.config)}", "Give a dict, or use step.configured(name=value)")
            like = like.step
        key = self.register(like, place)
        if key in ENDS and config:
            self.wrong(place, f"leads to {key} with a configuration", f"Name {key} alone: it never runs")
        return key, config

    def read_step(self, source: StepLike, routes: Mapping[str, TargetLike]) -> None:
        """Read the transitions of one step."""
        key = self.register(source, self.cls.__name__)
        if key is None:
            return
        if key in ENDS:
            ended = "a path" if key == DONE.key else "the instance"
            self.wrong(key, "has transitions", f"{key} ends {ended}: remove its transitions")
            return
        if key in self.routes:
            self.wrong(
                key, "has transitions twice", "Merge them, or give each of two steps a name of its own (name=...)"
            )
            return
        if not isinstance(routes, Mapping):
            self.wrong(key, "its transitions are not a mapping", "Write {event: target}")
            return
        self.routes[key] = {}
        events = _listed(self.declared[key].events)
        for event in events:
            if event not in routes:
                self.wrong(
                    key,
                    f"declares {event!r} but no transition routes it",
                    f"Add {event!r}: ... to its transitions",
                )
        for event, target in ((plain_name(name), target) for name, target in routes.items()):
            if not is_one_of(event, events):
                self.check_undeclared(key, event)
            self.routes[key][event] = self.read_route(key, event, target)

    def check_undeclared(self, key: str, event: object) -> None:
        """Note what is wrong with routing an event that a step does not declare."""
        if is_one_of(event, ["exhausted"]) and self.declared[key].rounds is not None:
            return
        if isinstance(self.steps[key], ChildWorkflow) and is_one_of(event, ("cancelled", "timeout")):
            return
        if not is_one_of(event, IMPLICIT_EVENTS):
            name = shown(event)
            if is_one_of(event, getattr(self.declared[key].rounds, "again_on", ())):
                self.wrong(key, f"routes {name}, which begins its next round (again_on)", "Remove the transition")
                return
            if key in self.items and is_one_of(event, self.items[key][1].events):
                fix = "Route 'done', and 'error' if too many may fail; its results count the events of its items"
                self.wrong(key, f"routes {name}, which its items emit, and not the map", fix)
                return
            problem = f"routes {name}, which the step does not declare"
            self.wrong(key, problem, f"Add {name} to its events or remove the transition")
        elif event == "timeout" and not may_time_out(self.steps[key], self.declared[key]):
            fix = "Give it timeout=, add 'timeout' to its events if it waits (Pending), or remove the transition"
            self.wrong(key, "routes 'timeout', but it has no timeout", fix)

    def read_route(self, source: str, event: str, target: TargetLike) -> Route:
        """Read where one event of a step leads."""
        choice = target if isinstance(target, Choice) else None
        if choice and (problem := call_problem(choice.function, "context", coroutines=False)):
            fix = "Give Choice a plain function of the context that returns one of its targets, or a list of them"
            self.wrong(source, f"event {event!r} routes to a Choice whose function {problem}", fix)
        candidates: Any = choice.targets if choice else target
        listed: Sequence[object] = candidates if isinstance(candidates, (list, tuple)) else [candidates]
        if not listed:
            self.wrong(source, f"event {event!r} leads nowhere", "Route it to a step, to DONE or to FAIL")
        keys: list[str] = []
        for one in listed:
            key, config = self.target(one, source)
            if key is None:
                continue
            if key in keys:
                any_ = "reason" if key == FAIL.key else "configuration"
                again = "Name each target once" + (f"; the function may return it with any {any_}" * bool(choice))
                self.wrong(source, f"event {event!r} leads to {key} twice", again)
            keys.append(key)
            if config:
                self.configs[source, event, key] = config
        steps = tuple(key for key in keys if key not in ENDS)
        if choice is None and len(keys) > 1:
            for end in [key for key in keys if key in ENDS]:
                fix = "A fan-out leads to steps only"
                fix += ": FAIL ends the whole instance, so lead the event to FAIL alone" * (end == FAIL.key)
                self.wrong(source, f"event {event!r} fans out to {end}", fix)
            if len(steps) == len(keys):
                self.fan_outs.append((source, event, steps))
        made = [self.classes.get(one, one) if isinstance(one, type) else one for one in listed]
        fail = next((reason for reason in map(fail_reason, made) if reason is not None), None)
        return Route(steps, choice, ends=DONE.key in keys, fail=fail)


def _listed(events: Any) -> Sequence[str]:
    """The events of a step, as far as they can be read."""
    if isinstance(events, str):
        return (events,)
    return [event for event in events if isinstance(event, str)] if isinstance(events, tuple) else ()


def _alike(one: Step, other: Step) -> bool:
    """Whether two steps of one key are one step, written out twice."""
    try:
        return type(one) is type(other) and bool(vars(one) == vars(other))
    except Exception:  # noqa: BLE001 - what a user's objects are compared with may raise anything
        return False


def _undone_by_child(step: Step) -> bool:
    """Whether it is an instance, or those of a map's items, that undo what the step did."""
    made = step.target if isinstance(step, Map) else step
    return isinstance(made, ChildWorkflow) and made.undoes
