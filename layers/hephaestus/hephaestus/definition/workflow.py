"""Workflow classes: read once when the class is defined, with everything that is wrong reported together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from hephaestus.definition.business_key import NAME, SCOPES, BusinessKey, Scope
from hephaestus.definition.steps import (
    DONE,
    STEP_KEY,
    Choice,
    Configured,
    Done,
    Step,
    StepLike,
    TargetLike,
    Transitions,
)
from hephaestus.engine.graph import Graph, check_graph
from hephaestus.errors import BadRequest, DefinitionError, InvalidInput, Problem, UnknownVersion
from hephaestus.retry import Retry
from hephaestus.values import NotSerializable, freeze

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from hephaestus.runtime.runner import Runner
    from hephaestus.runtime.views import HistoryEntry, InstanceView, Page

MAX_TAGS: Final = 20
MAX_TAG_LENGTH: Final = 64
IMPLICIT_EVENTS: Final = ("error", "timeout")


@dataclass(frozen=True, slots=True)
class Route:
    """Where one event of a step leads: every target, or those that ``choice`` picks among them."""

    targets: tuple[str, ...]
    choice: Choice | None = None


@dataclass(frozen=True, slots=True)
class Definition:
    """One version of a workflow, as the runtime reads it."""

    name: str
    version: int
    graph: Graph
    steps: Mapping[str, Step]
    routes: Mapping[str, Mapping[str, Route]]
    configs: Mapping[tuple[str, str, str], Mapping[str, Any]]
    retry: Retry
    input_model: type[Any] | None = None
    start_config: Mapping[str, Any] = field(default_factory=dict)

    def config(self, step: str, taken: Mapping[str, tuple[str, tuple[str, ...]]]) -> Mapping[str, Any]:
        """The configuration of ``step``: that of every taken edge into it, later steps' values winning.

        Args:
            step: the step's key.
            taken: by completed step, its event and the targets it took.
        """
        if not self.configs:
            return self.start_config if step == self.graph.start else {}
        merged: dict[str, Any] = dict(self.start_config) if step == self.graph.start else {}
        for source in self.graph.predecessors[step]:
            event, targets = taken.get(source, ("", ()))
            if step in targets:
                merged.update(self.configs.get((source, event, step), {}))
        return merged

    def read_input(self, context: Mapping[str, Any]) -> Any:
        """The start data as the workflow's ``Input`` model; ``None`` without one.

        Raises:
            InvalidInput: the data does not fit, with one line a field.
        """
        if self.input_model is None:
            return None
        try:
            return self.input_model.model_validate(dict(context))
        except ValueError as error:
            details = getattr(error, "errors", None)
            if details is None:
                raise
            fields = [
                (".".join(str(part) for part in line["loc"]) or "context", str(line["msg"])) for line in details()
            ]
            message = f"the context does not fit {self.name} version {self.version}:"
            raise InvalidInput(message, fields) from error


class Workflow:
    """A directed acyclic graph of steps. Derive from it; the class is checked as it is defined.

    Class arguments:
        key: the name of the business key, as ``orderid`` in ``orderid::abc123``.
        scope: where a value of the key is unique (see ``BusinessKey``); by default within the workflow.
        version: a positive whole number; by default 1.
        tags: up to 20 strings that every instance carries.
        metadata: JSON-safe data that every instance carries.
        name: the workflow's name; by default the class's.
        versions, current: make the class an umbrella over versions of one workflow.

    Attributes:
        start_at: the first step.
        transitions: for every step, where each of its events leads.
        retry: the retry policy of steps without their own.
        Input: a pydantic model that the start data must fit, or ``None``.

    Raises:
        DefinitionError: with every problem, each naming the step and the mend.
    """

    start_at: ClassVar[StepLike | Configured]
    transitions: ClassVar[Transitions]
    retry: ClassVar[Retry] = Retry()
    Input: ClassVar[type[Any] | None] = None

    name: ClassVar[str]
    version: ClassVar[int]
    business_key: ClassVar[BusinessKey]
    tags: ClassVar[tuple[str, ...]]
    metadata: ClassVar[Mapping[str, Any]]
    definitions: ClassVar[Mapping[int, Definition]]
    versions: ClassVar[Mapping[int, type[Workflow]]]
    current: ClassVar[int]

    def __init_subclass__(  # noqa: PLR0913 - a workflow's header
        cls,
        *,
        key: str | None = None,
        scope: Scope = "workflow",
        version: int = 1,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        name: str | None = None,
        versions: Mapping[int, type[Workflow]] | None = None,
        current: int | None = None,
    ) -> None:
        """Read and check the definition."""
        super().__init_subclass__()
        cls.name = name or cls.__name__
        cls.version = version
        listed: Any = tags if isinstance(tags, (list, tuple, set, frozenset)) else [tags]
        cls.tags = tuple(listed)
        cls.metadata = metadata or {}
        problems = _check_header(cls, key, scope)
        if versions is not None:
            problems += _read_umbrella(cls, key, versions, current)
        else:
            cls.business_key = BusinessKey(key or "", scope)
            definition = _Reader(cls).read(problems)
            if definition is not None:
                cls.definitions = {version: definition}
                cls.versions = {version: cls}
                cls.current = version
        if problems:
            raise DefinitionError(cls.name, problems)

    @classmethod
    def version_for(cls, versions: Mapping[int, type[Workflow]], opts: Mapping[str, Any]) -> int:  # noqa: ARG003 - for overriding
        """The version that a new instance starts with; override it to route on ``opts``.

        Args:
            versions: the deployed versions.
            opts: ``context``, ``id`` and ``tags`` of the start.
        """
        return cls.current

    @classmethod
    def definition(cls, version: int) -> Definition:
        """The definition of one version.

        Raises:
            UnknownVersion: that version is not deployed.
        """
        found = cls.definitions.get(version) if isinstance(version, int) else None
        if found is None:
            deployed = ", ".join(str(number) for number in sorted(cls.definitions))
            message = f"workflow {cls.name} has no version {version!r}: deployed are {deployed}"
            raise UnknownVersion(message)
        return found

    @classmethod
    def start(
        cls,
        value: str,
        context: Mapping[str, Any] | None = None,
        *,
        version: int | None = None,
        tags: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Start an instance for a value of the business key and return its id; see ``Runner.start_instance``."""
        return _runner().start_instance(
            cls, context or {}, id=value, version=version, tags=tags, telemetry_metadata=metadata
        )

    @classmethod
    def resume(
        cls, value: str, event: str, payload: Any = None, *, step: str | None = None, event_id: str | None = None
    ) -> None:
        """Deliver an event to the instance with this id or value; see ``Runner.resume``."""
        _runner().resume(cls._id(value), event, payload, step=step, event_id=event_id)

    @classmethod
    def get(cls, value: str) -> InstanceView:
        """Show the instance with this id or value; see ``Runner.get``."""
        return _runner().get(cls._id(value))

    @classmethod
    def history(cls, value: str) -> Page[HistoryEntry]:
        """Show the log of the instance with this id or value; see ``Runner.history``."""
        return _runner().history(cls._id(value))

    @classmethod
    def list(
        cls,
        *,
        status: str | None = None,
        tag: str | None = None,
        since: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[InstanceView]:
        """List this workflow's instances, newest first; see ``Runner.list``."""
        return _runner().list(workflow=cls.name, status=status, tag=tag, since=since, limit=limit, cursor=cursor)

    @classmethod
    def cancel(cls, value: str, reason: str = "") -> None:
        """Cancel the instance with this id or value; see ``Runner.cancel``."""
        _runner().cancel(cls._id(value), reason)

    @classmethod
    def _id(cls, value: str) -> str:
        if "::" in value:
            return value
        if cls.business_key.scope == "none":
            message = (
                f"ids of {cls.name} end in a random suffix: give the whole id, as start returned it, not {value!r}"
            )
            raise BadRequest(message)
        return cls.business_key.instance_id(value, cls.current, "")


def _runner() -> Runner:
    from hephaestus.runtime.default import default_runner  # noqa: PLC0415 - a definition must import without a runtime

    return default_runner()


def _check_header(cls: type[Workflow], key: str | None, scope: str) -> list[Problem]:
    found = [*_names_wrong(cls, key, scope), *_values_wrong(cls)]
    return [Problem(cls.__name__, problem, mend) for problem, mend in found]


def _names_wrong(cls: type[Workflow], key: str | None, scope: str) -> Iterator[tuple[str, str]]:
    if not isinstance(cls.name, str) or not NAME.fullmatch(cls.name):
        yield (f"the name {cls.name!r} is invalid", "Use up to 64 letters, digits, '_' and '-', a letter first")
    if "versions" not in cls.__dict__ and key is not None and not NAME.fullmatch(str(key)):
        yield (f"the business key {key!r} is invalid", "Use up to 64 letters, digits, '_' and '-', a letter first")
    if scope not in SCOPES:
        yield (f"the scope {scope!r} is unknown", f"Use one of {', '.join(SCOPES)}")
    if isinstance(cls.version, bool) or not isinstance(cls.version, int) or cls.version < 1:
        yield (f"the version {cls.version!r} is invalid", "Use a whole number of at least 1")


def _values_wrong(cls: type[Workflow]) -> Iterator[tuple[str, str]]:
    problem = tags_problem(cls.tags)
    if problem:
        yield (problem, f"Use at most {MAX_TAGS} strings of 1 to {MAX_TAG_LENGTH} characters")
    if isinstance(cls.metadata, Mapping):
        try:
            cls.metadata = freeze(dict(cls.metadata), "metadata")
        except NotSerializable as error:
            yield (str(error), "Metadata holds JSON-safe values only")
    else:
        yield ("the metadata is not a mapping", "Give a dict of JSON-safe values")
    if not isinstance(cls.retry, Retry):
        yield (f"retry is {cls.retry!r}", "Give a Retry(...)")
    if cls.Input is not None and not hasattr(cls.Input, "model_validate"):
        yield (f"Input is {cls.Input!r}", "Give a class derived from pydantic.BaseModel")


def tags_problem(tags: Sequence[object]) -> str | None:
    """What is wrong with a list of tags, or ``None``."""
    if len(tags) > MAX_TAGS:
        return f"there are {len(tags)} tags"
    for tag in tags:
        if not isinstance(tag, str) or not 1 <= len(tag) <= MAX_TAG_LENGTH or not tag.isprintable():
            return f"the tag {str(tag)[:MAX_TAG_LENGTH]!r} is invalid"
    return None


def _read_umbrella(
    cls: type[Workflow], key: str | None, versions: Mapping[int, type[Workflow]], current: int | None
) -> list[Problem]:
    if not isinstance(versions, Mapping) or not all(map(_is_version, versions.values())):
        mend = "Give a dict of version numbers and workflow classes, none of them an umbrella itself"
        return [Problem(cls.__name__, f"its versions are {versions!r}", mend)]
    problems: list[Problem] = []
    members = list(versions.values())
    keys = {member.business_key for member in members}
    if key is None and len(keys) == 1:
        cls.business_key = keys.pop()
    elif keys and keys != {BusinessKey(key or "", members[0].business_key.scope)}:
        problems.append(
            Problem(
                cls.__name__, "its versions have different business keys", "Give every version the same key and scope"
            )
        )
    for number, member in versions.items():
        if number != member.version:
            problems.append(
                Problem(
                    member.__name__,
                    f"is version {member.version} but stands under {number}",
                    f"Define it with version={number}",
                )
            )
    cls.current = current if current is not None else max(versions, default=0)
    if cls.current not in versions:
        problems.append(
            Problem(cls.__name__, f"current is {cls.current}, which is not among the versions", "Name one of them")
        )
    cls.versions = dict(versions)
    if not problems:
        cls.business_key = members[0].business_key
        cls.definitions = {number: _renamed(member.definition(number), cls.name) for number, member in versions.items()}
    return problems


def _is_version(member: object) -> bool:
    """Whether ``member`` is one version of a workflow."""
    if not isinstance(member, type) or not issubclass(member, Workflow) or member is Workflow:
        return False
    return member.__dict__.get("versions") == {member.version: member}


def _renamed(definition: Definition, name: str) -> Definition:
    return replace(definition, name=name)


class _Reader:
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
            graph=Graph(first, edges, waits),
            steps=self.steps,
            routes=self.routes,
            configs=self.configs,
            retry=self.cls.retry,
            input_model=self.cls.Input,
            start_config=start_config,
        )

    def wrong(self, step: str, problem: str, mend: str) -> None:
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
        problems: list[tuple[str, str]] = []
        if isinstance(step.events, str):
            problems.append((f"declares the events {step.events!r}", f"Write a tuple: events=({step.events!r},)"))
        if step.retry is not None and not isinstance(step.retry, Retry):
            problems.append((f"has the retry policy {step.retry!r}", "Give a Retry(...)"))
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
