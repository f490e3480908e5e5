"""One attempt of one step: call the user's code, catch whatever it does, and say what came of it."""

from __future__ import annotations

import inspect
from dataclasses import is_dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from hephaestus.definition.child import ChildWorkflow
from hephaestus.definition.containment import contain
from hephaestus.definition.durations import LONGEST, read_duration, read_moment, shown
from hephaestus.definition.item_sources import InvalidItems
from hephaestus.definition.maps import Spreads
from hephaestus.definition.results import Again, Completed, Look, Pending, Spawn
from hephaestus.definition.step import read_result
from hephaestus.engine.activation import parse, step_of
from hephaestus.errors import CallerError, NonRetryable, PayloadTooLarge
from hephaestus.runtime.error_text import MAX_MESSAGE, MAX_TRACE, failure
from hephaestus.runtime.objects import no_sources
from hephaestus.runtime.routing import Taken, route
from hephaestus.runtime.sizes import check_size
from hephaestus.values import FrozenDict, NotSerializable, freeze
from hephaestus.values.foreign import is_model
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from hephaestus.definition.context import StepContext
    from hephaestus.definition.definition import Definition
    from hephaestus.definition.maps import Map
    from hephaestus.definition.workflow import Workflow
    from hephaestus.engine.events import Failure
    from hephaestus.engine.records import Occurrence, Part
    from hephaestus.runtime.sources import Sources
    from hephaestus.store.store import Store
    from hephaestus.writes import Write

__all__ = [
    "MAX_MESSAGE",
    "MAX_TRACE",
    "Attempt",
    "Interrupted",
    "InvalidResult",
    "Outcome",
    "RoundsExhausted",
    "StepTimedOut",
    "failure",
]

NOWHERE: Final = Taken()
EMPTY: Final = FrozenDict()
RESULTS: Final = frozenset({str, dict, Completed, Pending, Again, Spawn, Look})
LONGEST_PAUSE: Final = timedelta(days=366)  # between two rounds


class StepTimedOut(TimeoutError):
    """An attempt took longer than the step's timeout."""


class Interrupted(RuntimeError):
    """The Lambda that ran the step ended in the middle of it; whether the step did its work is not known."""


class RoundsExhausted(RuntimeError):
    """A step with rounds has had all of them, or its time, and nothing routes that."""


class InvalidResult(NonRetryable):
    """What a step returned is not a result; running it again would not help."""


class Stored(NamedTuple):
    """What a step returned, as it is stored."""

    event: str
    results: FrozenDict
    metadata: FrozenDict
    writes: Sequence[Write] = ()


class Ended(NamedTuple):
    """What a round leaves, as it is stored: its carry, and how long until the next."""

    carry: Mapping[str, Any]
    after: timedelta
    writes: Sequence[Write] = ()
    starts: tuple[Occurrence, ...] = ()


class Spawned(NamedTuple):
    """What a child starts with, as it is stored, and how long it may take."""

    workflow: str
    version: int
    value: Callable[[str], str]
    initial: FrozenDict
    tags: tuple[str, ...]
    metadata: FrozenDict
    graph: str
    timeout_ms: int
    within: timedelta | None
    detached: bool


class Outcome(NamedTuple):
    """What came of an attempt: a result and the targets it takes, the end of a round, a wait, items, or an error.

    ``story`` is the error as history keeps it, made where the attempt ran: it calls the error's own code.
    """

    activation: str
    attempt: int
    started_at: int
    completed: Stored | None = None
    taken: Taken = NOWHERE
    pending: Pending | None = None
    ended: Ended | None = None
    spawned: Spawned | None = None
    error: BaseException | None = None
    story: Failure | None = None
    spreads: Spreads | None = None

    @property
    def writes(self) -> Sequence[Write]:
        """What is to be committed with it."""
        done = self.completed or self.ended
        return () if done is None else done.writes

    @property
    def step(self) -> str:
        """The key of its step."""
        return step_of(self.activation)


def anything(workflow: str | type[Workflow]) -> Any:
    """Every workflow, as if it were deployed."""
    return workflow


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of one step, or of its compensation: everything that it needs, ready to be called in any thread.

    Attributes:
        definition: the workflow version.
        activation: which of the step's activations, the step's compensation included.
        number: the number of the attempt, from 1.
        context: what the step is given.
        started_at: when it starts, in milliseconds.
        store: what its results must fit.
        deployed: gives a workflow; raises where it is not deployed.
        part: which items of a map its instance runs, if it runs another's.
        at_once: how many of a map's items one instance runs at a time at most.
        version: of the workflow that an item is; 0 where it is a step.
        sources: gives what reads users' objects.
        malformed: what is wrong with the line that is its item; ``""`` for an item, and for a step.
        undelivered: gives items the events that were accepted for them before their map began anew, if there are any.
    """

    definition: Definition
    activation: str
    number: int
    context: StepContext
    started_at: int
    store: Store
    deployed: Callable[[str | type[Workflow]], type[Workflow]] = anything
    part: Part | None = None
    at_once: int = 16
    version: int = 0
    sources: Callable[[], Sources] = no_sources
    malformed: str = ""
    undelivered: Callable[[Spreads], Spreads] | None = None

    @property
    def step(self) -> str:
        """The key of its step."""
        return step_of(self.activation)

    def __call__(self) -> Outcome:
        """Run it. Whatever its code raises, exits included, is the outcome; its context variables are its own.

        Raises:
            EngineSignal: see ``contain``.
        """
        return contain(self._run, self._failed)

    def _run(self) -> Outcome:
        key, undo = self.step, parse(self.activation).undo
        if self.malformed:
            raise InvalidItems(self.malformed)
        step = self.definition.step_of(self.activation)
        if self.part is not None and "[" not in self.activation and not undo:
            from hephaestus.runtime.spreading import part_items  # noqa: PLC0415 - few maps are that large

            given = part_items(self.store, self.part, self.sources)
            return Outcome(self.activation, self.number, self.started_at, spreads=given)
        result = step.undo(self.context) if undo else step.run(self.context)
        if type(result) not in RESULTS and inspect.isawaitable(result):
            result = self._awaited(result)
        if type(result) is Spreads:
            try:
                return self._spread(cast("Map", step), result)  # nothing else gives them
            except PayloadTooLarge as error:
                raise InvalidResult(str(error)) from error
        try:
            read = self._read_undone(result) if undo else self._read(result, key)
        except (TypeError, ValueError, NotSerializable, PayloadTooLarge, CallerError) as error:
            raise InvalidResult(str(error)) from error
        if isinstance(read, Spawned):
            return Outcome(self.activation, self.number, self.started_at, spawned=read)
        if isinstance(read, Pending):
            return Outcome(self.activation, self.number, self.started_at, pending=read)
        if isinstance(read, Ended):
            return Outcome(self.activation, self.number, self.started_at, ended=read)
        taken = (
            NOWHERE
            if undo or "[" in self.activation
            else route(self.definition, key, read.event, read.results, self.context)
        )
        return Outcome(self.activation, self.number, self.started_at, read, taken)

    def _spread(self, made: Map, spreads: Spreads) -> Outcome:
        """The items of a map: as they are, or spread over instances where they are many.

        Raises:
            InvalidItems, PayloadTooLarge, UnreadableObject: they cannot be stored, or read.
            StoreUnavailable: store or object did not answer.
        """
        self._check_size("context", spreads.initial)
        if isinstance(made.target, ChildWorkflow):
            spreads = self._of_workflow(made.target, spreads)
        if spreads.source is not None or len(spreads.items) > made.chunk:
            from hephaestus.runtime.spreading import ItemsOf, spread  # noqa: PLC0415 - few maps are that large

            name = f"{self.number}.{self.started_at}"
            of = ItemsOf(self.store, self.context, self.activation, name, self.at_once, self.sources)
            spreads = spread(spreads, made, of)
        else:
            self._check_size("items", spreads.items)
        if self.undelivered is not None:
            spreads = self.undelivered(spreads)
        return Outcome(self.activation, self.number, self.started_at, spreads=spreads)

    def _of_workflow(self, target: ChildWorkflow, spreads: Spreads) -> Spreads:
        """The items with the workflow that each starts: its version is decided once, for all of them (C.15).

        Raises:
            UnknownVersion, UnknownWorkflow: there is none.
        """
        from hephaestus.runtime.starts import version_for  # noqa: PLC0415 - few maps are of workflows

        flow = target.workflow
        self.deployed(flow)
        opts = {"context": self.context.initial, "id": "", "tags": list(flow.tags)}
        return replace(spreads, child=flow.business_key.name, version=version_for(flow, opts))

    def _check_size(self, what: str, value: Any) -> None:
        """Reject what a map cannot store.

        Raises:
            PayloadTooLarge: it is too large.
        """
        check_size(value, self.store.max_value_bytes, f"step {self.step}: its {what}")

    def _failed(self, error: BaseException) -> Outcome:
        return Outcome(self.activation, self.number, self.started_at, error=error, story=failure(error, self.step))

    def _awaited(self, result: Awaitable[Any]) -> Any:
        """What an ``async def`` step comes to, on the loop that all of them share."""
        from hephaestus.runtime.event_loop import Who, run  # noqa: PLC0415 - asyncio is a tenth of a cold start

        timeout = self.definition.declared_of(self.activation).timeout
        seconds = timeout.total_seconds() if timeout is not None else None
        return run(result, Who(self.step, self.context.instance_id, seconds))

    def _read_undone(self, result: Any) -> Stored:
        """What a compensation returned, made uniform and checked; see ``_read``."""
        if isinstance(result, (Again, Pending)):
            message = (
                f"step {self.step}: its compensation returned {type(result).__name__}: it has no rounds and no wait"
            )
            raise InvalidResult(message)
        done = result if isinstance(result, Completed) else Completed("done", {} if result is None else result)
        return self._checked(done, self.step)

    def _read(self, result: Any, key: str) -> Stored | Pending | Ended | Spawned:
        """What the code of step ``key`` returned, made uniform and checked.

        Raises:
            TypeError, ValueError, NotSerializable, PayloadTooLarge, InvalidResult, WriteRefused: it is no result.
        """
        if type(result) is Spawn:
            from hephaestus.runtime.spawn import spawned  # noqa: PLC0415 - few steps are workflows

            step = self.definition.step_of(self.activation)
            return spawned(step, result, self.store.max_value_bytes, self.deployed, self.version)
        if type(result) is Look:
            from hephaestus.runtime.recurring import looked  # noqa: PLC0415 - only where schedules are

            return looked(self.context, self.started_at, self.store, self.deployed)
        events = self.definition.events_of(self.activation)
        if not isinstance(result, (str, dict, Completed, Pending, Again)) and _has_fields(result):
            result = freeze(result, f"step {key}: its result")
        declared = self.definition.declared_of(self.activation).events
        read = read_result(result, declared, key, routed=events)
        if isinstance(read, Completed):
            self._check_metadata(read)
            return self._checked(read, key)
        if isinstance(read, Again):
            return self._ended(read, key)
        return _read_pending(read, events, self.started_at, key)

    def _check_metadata(self, read: Completed) -> None:
        """Reject metadata of an item: a thousand of them would write over each other's.

        Raises:
            InvalidResult: there are some.
        """
        if "[" in self.activation and read.metadata:
            message = f"step {self.step}: an item returned metadata, which are the instance's: put them into results"
            raise InvalidResult(message)

    def _checked(self, read: Completed, key: str) -> Stored:
        """The result as it is stored.

        Raises:
            WriteRefused, TypeError, ValueError, PayloadTooLarge: it cannot be.
        """
        results = self._stored(read.results, "results", key)
        given = read.metadata
        metadata = EMPTY if type(given) is dict and not given else self._stored(given, "metadata", key)
        return Stored(str.__str__(read.event), results, metadata, self._writes(read))

    def _ended(self, read: Again, key: str) -> Ended:
        """The end of a round as it is stored.

        Raises:
            WriteRefused, TypeError, ValueError, PayloadTooLarge, InvalidResult: it cannot be.
        """
        if self.definition.declared_of(self.activation).rounds is None:
            message = f"step {key} returned Again and has no rounds: say how many there are, as in rounds=Rounds(1_000)"
            raise InvalidResult(message)
        carry = self._stored(read.carry, "carry", key)
        after, what = timedelta(0), f"step {key} returned Again, and its after"
        if read.after is not None:
            after = read_duration(read.after, what, zero=True, longest=LONGEST_PAUSE)
        return Ended(carry, after, self._writes(read))

    def _stored(self, given: Any, what: str, key: str) -> FrozenDict:
        """Results or metadata as they are stored.

        Raises:
            NotSerializable, PayloadTooLarge, InvalidResult: they cannot be.
        """
        frozen = freeze(given, f"step {key}: {what}")
        if not isinstance(frozen, FrozenDict):
            message = f"step {key}: its {what} must be a mapping, not {type(given).__name__}"
            raise InvalidResult(message)
        check_size(frozen, self.store.max_value_bytes, f"step {key}: its {what}")
        return frozen

    def _writes(self, read: Completed | Again) -> Sequence[Write]:
        """The writes as they are committed.

        Raises:
            WriteRefused: they cannot be.
        """
        if isinstance(read.writes, tuple) and not read.writes:
            return ()
        from hephaestus.writes.rules import check_writes  # noqa: PLC0415 - few steps have writes

        return check_writes(read.writes, self.store.own_table)


def _has_fields(result: object) -> bool:
    """Whether a result is a model or a dataclass, which is stored as the mapping of its fields."""
    return is_model(result) or is_dataclass(type(result))


def _read_pending(pending: Pending, events: tuple[str, ...], now: int, key: str) -> Pending:
    """The wait that step ``key`` asks for at ``now`` (ms), in the base types, of which no method is the user's.

    Raises:
        ValueError: it cannot be, or what ends it is not routed.
    """
    place, timeout, heartbeat = f"step {key} waits, and its ", pending.timeout, pending.heartbeat
    if heartbeat is not None:
        heartbeat = read_duration(heartbeat, f"{place}heartbeat")
        if "timeout" not in events:
            message = f"step {key} waits with a heartbeat, but its transitions do not route 'timeout': add it"
            raise ValueError(message)
    if timeout is None:
        return Pending(heartbeat=heartbeat)
    if pending.emits not in events:
        message = f"step {key} waits with a timeout, but its transitions do not route {shown(pending.emits)}: add it"
        raise ValueError(message)
    if isinstance(timeout, datetime):
        timeout = read_moment(timeout, f"{place}timeout")
        if timeout - datetime.fromtimestamp(now / 1000, UTC) > LONGEST:
            message = f"{place}timeout is {timeout}: the longest wait is {LONGEST.days} days"
            raise ValueError(message)
    else:
        timeout = read_duration(timeout, f"{place}timeout")
    return Pending(timeout, str.__str__(pending.emits), heartbeat)
