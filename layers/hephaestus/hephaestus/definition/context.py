"""What a step is given."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import field, fields, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, Protocol

from hephaestus.definition.references import step_key
from hephaestus.engine.activation import name_in_life, parse, step_of
from hephaestus.engine.advance import failure_of
from hephaestus.engine.inbox import as_results
from hephaestus.errors import NoInput, NoResults, no_signer
from hephaestus.values import FrozenDict
from hephaestus.values.given import GivenResults, NoneGiven, own, own_mapping
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hephaestus.definition.definition import Definition
    from hephaestus.definition.durations import Duration
    from hephaestus.definition.references import StepRef
    from hephaestus.engine.records import Child, Mapped, Received
    from hephaestus.engine.state import State

A_WEEK: Final = timedelta(days=7)
NO_ERROR: Final = FrozenDict()
NO_CARRY: Final = FrozenDict()


class Links(Protocol):
    """Makes the links of a step; see ``StepContext.callback_url`` and ``callback_token``."""

    def url(self, event: str, step: StepRef | None, expires_in: Duration, payload: Any) -> str: ...  # noqa: D102 - as above
    def token(self, event: str, step: StepRef | None, expires_in: Duration, payload: Any) -> str: ...  # noqa: D102 - as above


@dataclass(frozen=True, slots=True)
class _Until:
    """How long it still is until a time, by this machine's clock."""

    end: datetime

    def __call__(self) -> timedelta:
        return max(self.end - datetime.now(UTC), timedelta(0))


@dataclass(frozen=True, slots=True)
class _Given:
    """The start data as a model, as they were read elsewhere."""

    model: Any

    def __call__(self) -> Any:
        return self.model


class _Once:
    """Reads the start data as a model when they are first asked for: what its reader does to it stays its own."""

    __slots__ = ("model", "read")

    def __init__(self, read: Callable[[], Any]) -> None:
        self.read = read
        self.model: Any = None

    def __call__(self) -> Any:
        if self.model is None:
            self.model = self.read()
        return self.model


def _links_elsewhere() -> Links:
    message = "links are made in the step's own process: make them there and hand over what they are"
    raise RuntimeError(message)


def _results_elsewhere(_step: str) -> NoReturn:
    message = "what items left is read in the step's own process: read it there and hand over what you need"
    raise RuntimeError(message)


def _no_maps(step: str) -> NoReturn:
    message = f"this context was made by hand and has no map {step!r}: pass results_of=lambda name: iter([...])"
    raise NoResults(message)


def _unlimited() -> timedelta:
    return timedelta(days=365)


def _no_input() -> None:
    return None


@dataclass(frozen=True, slots=True)
class _Without:
    """What ``input`` calls in a workflow that has no ``Input``."""

    workflow: str

    def __call__(self) -> NoReturn:
        message = (
            f"workflow {self.workflow} has no Input, so ctx.input is nothing: set Input = YourModel in it, "
            "or read ctx.initial"
        )
        raise NoInput(message)


@dataclass(frozen=True, slots=True)
class Instance:
    """Whose step it is."""

    id: str
    workflow: str
    version: int
    generation: int = 1
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    life: str = ""


class Source(NamedTuple):
    """What a context is made of: a part is made when it is first read, and is the step's own copy.

    A state never changes, so whenever a part is made, it is of the time at which the attempt began.

    Attributes:
        definition: the workflow version.
        state: the instance.
        activation: what runs.
        remaining_time: how long the invocation still lasts.
        issuer: makes what makes links, for an instance, a step and an idempotency key.
        left: gives what the items of a map left, in order, or the one at a place; see ``StepContext.results``.
        returned: of a ``Choice``, the event and the results of the step that it is asked for.
    """

    definition: Definition
    state: State
    activation: str
    remaining_time: Callable[[], timedelta]
    issuer: Callable[[Instance, str, str], Links]
    left: Callable[[State, str, int | None], Iterator[Any]]
    returned: tuple[str, Mapping[str, Any]] | None = None

    @property
    def step(self) -> str:
        """The key of the step."""
        return step_of(self.activation)

    def _item(self) -> tuple[Mapped, int] | None:
        """The map whose item runs, and the item's place; ``None`` for a step."""
        found = parse(self.activation)
        known = self.state.steps.get(found.step)
        mapped = None if known is None or found.item is None else known.mapped
        place = None if mapped is None or found.item is None else mapped.place(found.item)
        return None if mapped is None or place is None else (mapped, place)

    def _initial(self) -> Mapping[str, Any]:
        """The start data: of an item what its map's ``context`` chose, where it has one; for all of them the same."""
        known = self.state.steps.get(self.step) if "[" in self.activation else None
        chosen = None if known is None or known.mapped is None else known.mapped.initial
        return self.state.initial if chosen is None else chosen

    def own_initial(self) -> Mapping[str, Any]:
        """The start data."""
        return own_mapping(self._initial())

    def own_item(self) -> Any:
        """What ``over`` gave for the item."""
        item = self._item()
        return None if item is None else own(item[0].items[item[1]])

    def own_item_key(self) -> str:
        """The item's key."""
        return parse(self.activation).item or ""

    def own_index(self) -> int:
        """The item's place."""
        item = self._item()
        return 0 if item is None else item[0].first + item[1]

    def own_results_of(self) -> Callable[[str], Iterator[Any]]:
        """What reads what items left."""
        return partial(items_left, self)

    def own_steps(self) -> Mapping[str, Any]:
        """The results so far, in the order in which they came, each copied when it is read.

        An item sees none, so that it sees the same wherever it runs; its compensation sees what the item itself left.
        """
        if "[" in self.activation:
            item = self._item() if parse(self.activation).undo else None
            if item is None:
                return NoneGiven({})
            left = next(self.left(self.state, self.step, item[1]))
            return GivenResults({self.definition.declared_of(self.activation).key: left})
        results = {key: known.results for key, known in self.state.steps.items() if known.event is not None}
        if self.returned is not None:
            results[self.step] = self.returned[1]
        return GivenResults(results)

    def own_events(self) -> Mapping[str, str]:
        """The events so far."""
        if "[" in self.activation:
            return FrozenDict()
        events = {key: known.event for key, known in self.state.steps.items() if known.event is not None}
        if self.returned is not None:
            events[self.step] = self.returned[0]
        return FrozenDict(events)

    def own_config(self) -> Mapping[str, Any]:
        """The configuration."""
        known = self.state.steps
        if self.state.part is not None:
            mapped = known[self.step].mapped if self.step in known else None
            return own_mapping(NO_CARRY if mapped is None else mapped.config)
        before = self.definition.graph.predecessors.get(self.step, ())
        sources = {key: known[key] for key in before if key in known}
        taken = {key: (one.event, one.taken) for key, one in sources.items() if one.event is not None}
        chosen = {key: sources[key].configs for key in taken if sources[key].configs}
        return own_mapping(self.definition.config(self.step, taken, chosen))

    def own_error(self) -> Mapping[str, str]:
        """Why the instance fails, for its ``on_failure``; empty for other steps."""
        error = failure_of(self.state) if self.step == self.definition.graph.on_failure else None
        return FrozenDict(type=error.type, message=error.message) if error is not None else NO_ERROR

    def own_round(self) -> int:
        """The number of the round, from 1; for a compensation how many there were."""
        found = parse(self.activation)
        known = self.state.steps.get(found.step)
        return found.round if known is None or not found.undo else max(known.rounds, 1)

    def own_carry(self) -> Mapping[str, Any]:
        """What the round before left, or the child of this one."""
        if (child := self.ended_child()) is not None:
            return own_mapping(child.output)
        known = self.state.steps.get(self.step)
        return own_mapping(NO_CARRY if known is None or known.loop is None else known.loop.carry)

    def ended_child(self) -> Child | None:
        """The child of this round, where it has completed and is asked about."""
        child = self.state.children.get(self.activation)
        return child if child is not None and child.asked else None

    def own_scheduled_for(self) -> datetime | None:
        """The time that the occurrence is for."""
        time = self.state.scheduled_for
        return datetime.fromtimestamp(time / 1000, UTC) if time else None

    def own_event(self) -> str:
        """The name of the event that began the round."""
        received = self._received()
        return "" if received is None else received.event

    def own_payload(self) -> Mapping[str, Any]:
        """Its payload."""
        received = self._received()
        return NO_CARRY if received is None else own_mapping(as_results(received.payload))

    def _received(self) -> Received | None:
        known = self.state.steps.get(self.step)
        if known is None or known.loop is None or parse(self.activation).undo:
            return None
        return known.loop.received

    def own_instance(self) -> Instance:
        """Whose step it is."""
        state, part = self.state, self.state.part
        whose = (state.instance_id, state.generation, state.life)
        name, generation, life = whose if part is None else (part.owner, part.generation, part.life)
        metadata = own_mapping(state.metadata)
        return Instance(name, state.workflow, state.version, generation, state.tags, metadata, life)

    def own_idempotency_key(self) -> str:
        """The name of the activation: of an item, it is the same in whichever instance it runs."""
        part = self.state.part
        owner = (self.state.instance_id, self.state.life) if part is None else (part.owner, part.life)
        return name_in_life(*owner, self.activation)

    def own_remaining_time(self) -> Callable[[], timedelta]:
        """What the invocation says."""
        return self.remaining_time

    def own_read_input(self) -> Callable[[], Any]:
        """What reads the start data as a model, once."""
        if self.definition.input_model is None:
            return _Without(self.definition.name)
        return _Once(partial(self.definition.read_input, self._initial()))

    def own_links(self) -> Callable[[], Links]:
        """What makes links."""
        return partial(self.issuer, self.own_instance(), self.step, self.own_idempotency_key())


if TYPE_CHECKING:
    from typing import Generic

    from typing_extensions import TypeVar  # which every type checker brings

    InputT = TypeVar("InputT", default=Any)

    class _OfInput(Generic[InputT]):
        """What ``Input`` is."""

else:
    InputT = None

    class _OfInput:
        """At run time, an annotation remembers what ``Input`` is: it is compared with the workflow's."""

        __slots__ = ()
        __class_getitem__ = classmethod(GenericAlias)


PARTS: Final = {name.removeprefix("own_"): name for name in vars(Source) if name.startswith("own_")}


@dataclass(frozen=True, slots=True)
class StepContext(_OfInput[InputT]):
    """Everything a step may know; build one yourself to test a step without an engine.

    What it holds is immutable, or the step's own: nothing that a step does to it reaches another step. Its mappings and
    lists are equal to plain ones, and ``json``, ``yaml`` and ``pickle`` take them; ``copy.deepcopy`` gives plain ones
    that may be changed. All of it can be sent to another process, as to a pool's: ``remaining_time`` goes on there by
    that machine's clock, ``input`` is what it was here, and links are not made there.

    ``StepContext[OrderInput]`` says to a type checker what ``input`` is; without it, ``input`` may be anything. Where
    the annotation can be read, a workflow with another ``Input`` is a ``DefinitionError``.

    Attributes:
        initial: the immutable start data.
        steps: the results so far, by step: what each step returned, an event's payload for a wait.
        config: the configuration given with the target that led here.
        instance: id, workflow, version, generation, tags and metadata.
        attempt: which attempt this is, from 1.
        idempotency_key: the same for every attempt of this step in this generation, or of this round of it, across
            retries and crashes; give it to services that take one.
        events: the event each completed step emitted.
        remaining_time: how long this invocation still lasts.
        read_input: what ``input`` calls; a test may pass ``lambda: MyInput(...)``.
        round: which round of a step with rounds this is, from 1; in its compensation, how many there were.
        carry: what the round before left (``Again(carry)``); empty in the first. In a compensation, the last one; for
            ``until`` of a ``Repeat``, the output of the child that has completed.
        event: the event that ended the wait of the round before, one of its ``again_on``; ``""`` where none did.
        payload: its payload, as ``steps`` has that of a wait; else empty.
        item: of a map's item, what ``over`` gave; elsewhere ``None``.
        item_key: its key; elsewhere empty.
        index: its place, from 0; elsewhere 0.
        scheduled_for: of an occurrence of a schedule, the time that it is for, in UTC; elsewhere ``None``.
        results_of: what ``results`` calls; a test may pass ``lambda name: iter([...])``.
        error: in a workflow's ``on_failure``, why the instance fails: ``type`` and ``message``; elsewhere empty.
        links: what makes links; a test may pass ``hephaestus.testing.links``.
    """

    initial: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    instance: Instance = field(default_factory=lambda: Instance("test::1", "Test", 1))
    attempt: int = 1
    idempotency_key: str = "test"
    events: Mapping[str, str] = field(default_factory=dict)
    remaining_time: Callable[[], timedelta] = _unlimited
    read_input: Callable[[], Any] = _no_input
    links: Callable[[], Links] = no_signer
    error: Mapping[str, str] = field(default_factory=dict)
    round: int = 1
    carry: Mapping[str, Any] = field(default_factory=dict)
    event: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    item: Any = None
    item_key: str = ""
    index: int = 0
    results_of: Callable[[str], Iterator[Any]] = _no_maps
    scheduled_for: datetime | None = None
    source: Source | None = field(default=None, init=False, repr=False, compare=False)

    if not TYPE_CHECKING:  # for a type checker, it has the attributes above and no others

        def __getattr__(self, name: str) -> Any:
            """Make one of its parts when it is first read: the step's own copy of what the engine knows."""
            source = None if name == "source" else self.source
            if source is None or name not in PARTS:
                message = f"{type(self).__name__!r} object has no attribute {name!r}"
                raise AttributeError(message)
            part = getattr(source, PARTS[name])()
            object.__setattr__(self, name, part)
            return part

    def __reduce__(self) -> tuple[type[StepContext], tuple[Any, ...]]:
        """Pickle what the step knows, for another process: there it makes no links, and time goes by that clock."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        values["remaining_time"] = _Until(datetime.now(UTC) + self.remaining_time())
        read = self.read_input
        values["read_input"] = read if isinstance(read, _Without) else _Given(read())
        values["links"] = _links_elsewhere
        values["results_of"] = _results_elsewhere
        return StepContext, tuple(values.values())

    def __copy__(self) -> StepContext:
        """Copy it within the process: everything that it can do, the copy can."""
        return replace(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> StepContext:
        """Copy what it holds, in plain mappings and lists that may be changed; what it can do stays the same."""
        held = ("initial", "steps", "config", "instance", "events", "error", "carry", "payload", "item")
        return replace(self, **{name: deepcopy(getattr(self, name), memo) for name in held})

    @property
    def input(self) -> InputT:
        """The start data as the workflow's ``Input`` model.

        Raises:
            InvalidInput: the data does not fit the model any more.
            NoInput: the workflow has no ``Input``.
        """
        given: InputT = self.read_input()
        return given

    def results(self, step: StepRef) -> Iterator[Any]:
        """What the items of a map left, in their order: the results of each, ``None`` for one that did not complete.

        They are read when they are first asked for: of a map that several instances run, an instance's at a time.

        Args:
            step: the map, its class or its key.

        Raises:
            NoResults: the workflow has no map of that key, it has not completed, it has ``collect=False``, or a fork
                has taken it over from an instance that is not there any more.
        """
        return self.results_of(step_key(step))

    @property
    def instance_id(self) -> str:
        """The instance's id."""
        return self.instance.id

    def callback_url(
        self, event: str, *, step: StepRef | None = None, expires_in: Duration = A_WEEK, payload: Any = None
    ) -> str:
        """A link that gives a waiting step an event: for a person, who opens it, sees what it does, and confirms.

        It is signed, works once and until it expires; whoever has it may use it, so send it and do not log it. The same
        step asking again, as when it is tried again, gets the same link. History has who used it: ``callback`` and the
        link's id.

        Args:
            event: the event's name.
            step: the step it is for, its class or its key; by default this step if it takes the event, else the next
                step that waits for it.
            expires_in: how long it works, in seconds or as a ``timedelta``, at most 366 days.
            payload: JSON-safe results that come with the event, at most 1 KiB; they can be read in the link.

        Raises:
            BadCallback: no step takes the event, several do, or something is out of bounds.
            NoCallbackKey: the deployment has no key, or does not know its own address.
            StoreUnavailable: whoever keeps the key did not answer; the step's next attempt asks again.
        """
        return self.links().url(event, step, expires_in, payload)

    def callback_token(
        self, event: str, *, step: StepRef | None = None, expires_in: Duration = A_WEEK, payload: Any = None
    ) -> str:
        """The same for a program: it sends ``POST /callbacks/<token>`` with the results as JSON, at most 64 KiB.

        With ``?heartbeat=true`` the request only says that the program is still at work. Arguments and errors are those
        of ``callback_url``.
        """
        return self.links().token(event, step, expires_in, payload)


def items_left(source: Source, step: str) -> Iterator[Any]:
    """What the items of a map left; see ``StepContext.results``."""
    state, known = source.state, source.state.steps.get(step)
    mapped = None if known is None else known.mapped
    chosen = source.returned is not None and source.step == step
    over = known is not None and (known.event is not None or chosen)
    if mapped is None or not over or "[" in source.activation:
        message = f"instance {state.public_id}: step {source.step} reads the results of {step!r}, "
        message += "and it is an item, which reads none" if "[" in source.activation else "which is no completed map"
        raise NoResults(message)
    made = source.definition.steps.get(step)
    if getattr(made, "collect", True) is not True:
        message = f"instance {state.public_id}: the map {step} has collect=False, so that nothing of its items is kept"
        raise NoResults(message)
    return source.left(state, step, None)


def context_of(source: Source, attempt: int) -> StepContext:
    """The context of a step's attempt, whose other parts are made from ``source`` when they are first read."""
    context = object.__new__(StepContext)
    object.__setattr__(context, "source", source)
    object.__setattr__(context, "attempt", attempt)
    return context


def context_after(context: StepContext, step: str, event: str, returned: Mapping[str, Any]) -> StepContext:
    """What the ``Choice`` of a step is given: what the step was given, and what came of it.

    Nothing that the step did to its context is in it.
    """
    source = context.source
    if source is None:  # it was made by hand
        steps = FrozenDict({**context.steps, step: own(returned)})
        return replace(context, steps=steps, events=FrozenDict({**context.events, step: event}))
    return context_of(source._replace(returned=(event, returned)), context.attempt)
