"""One attempt of one step: call the user's code, catch whatever it does, and say what came of it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from hephaestus.definition.results import Completed, Pending
from hephaestus.definition.steps import Choice, Configured, Done, Step, read_result
from hephaestus.errors import NonRetryable, PayloadTooLarge
from hephaestus.foreign import is_model
from hephaestus.runtime.containment import contain
from hephaestus.runtime.error_text import MAX_MESSAGE, MAX_TRACE, failure
from hephaestus.runtime.sizes import check_size
from hephaestus.values import FrozenDict, NotSerializable, freeze

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from hephaestus.context import StepContext
    from hephaestus.definition.definition import Definition
    from hephaestus.engine.events import Failure
    from hephaestus.foreign import Model
    from hephaestus.runtime.ports import Store
    from hephaestus.writes import Write

__all__ = [
    "LONGEST_WAIT",
    "MAX_MESSAGE",
    "MAX_TRACE",
    "Attempt",
    "Interrupted",
    "InvalidResult",
    "Outcome",
    "StepTimedOut",
    "failure",
    "kept",
    "route",
]

LONGEST_WAIT: Final = timedelta(days=3_660)  # a wait that nobody lives to see is a mistake, and times end in year 9999


class StepTimedOut(TimeoutError):
    """An attempt took longer than the step's timeout."""


class Interrupted(RuntimeError):
    """The Lambda that ran the step ended in the middle of it; whether the step did its work is not known."""


class InvalidResult(NonRetryable):
    """What a step returned is not a result; running it again would not help."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an attempt: a result and the targets it takes, a wait, or an error.

    ``story`` is the error as history keeps it, made where the attempt ran: it calls the error's own code.
    """

    step: str
    attempt: int
    started_at: int
    completed: Completed | None = None
    taken: tuple[str, ...] = ()
    pending: Pending | None = None
    error: BaseException | None = None
    story: Failure | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of one step, or of its compensation: everything that it needs, ready to be called in any thread.

    Attributes:
        definition: the workflow version.
        step: the step's key.
        number: the number of the attempt, from 1.
        context: what the step is given.
        started_at: when it starts, in milliseconds.
        store: what its results must fit.
        undo: whether the step's effects are to be undone.
    """

    definition: Definition
    step: str
    number: int
    context: StepContext
    started_at: int
    store: Store
    undo: bool = False

    def __call__(self) -> Outcome:
        """Run it. Whatever its code raises, exits included, is the outcome.

        Raises:
            EngineSignal: see ``contain``.
        """
        return contain(self._run, self._failed)

    def _run(self) -> Outcome:
        step = self.definition.steps[self.step]
        result = step.undo(self.context) if self.undo else step.run(self.context)
        if inspect.isawaitable(result):
            result = self._awaited(result)
        read = self._read(result)
        if isinstance(read, Pending):
            return Outcome(self.step, self.number, self.started_at, pending=read)
        taken = () if self.undo else route(self.definition, self.step, read.event, kept(read.updates), self.context)
        return Outcome(self.step, self.number, self.started_at, read, taken)

    def _failed(self, error: BaseException) -> Outcome:
        return Outcome(self.step, self.number, self.started_at, error=error, story=failure(error, self.step))

    def _awaited(self, result: Awaitable[Any]) -> Any:
        """What an ``async def`` step comes to, on the loop that all of them share."""
        from hephaestus.runtime.event_loop import Who, run  # noqa: PLC0415 - asyncio is a tenth of a cold start

        timeout = self.definition.steps[self.step].timeout
        seconds = timeout.total_seconds() if timeout is not None else None
        return run(result, Who(self.step, self.context.instance_id, seconds))

    def _read(self, result: Any) -> Completed | Pending:
        """What the code returned, made uniform and checked.

        Raises:
            InvalidResult, WriteRefused: it is no result.
        """
        events = self.definition.graph.events(self.step)
        try:
            if self.undo:
                done = result if isinstance(result, Completed) else Completed("done", {} if result is None else result)
                return self._checked(done)
            result = freeze(result, f"step {self.step}: its result") if is_model(result) else result
            read = read_result(result, tuple(self.definition.steps[self.step].events), self.step, routed=events)
            if isinstance(read, Completed):
                return self._checked(read)
            _check_pending(read, events, self.step)
            _check_waits(read, self.started_at, self.step)
            return _plain_pending(read)
        except (TypeError, ValueError, NotSerializable, PayloadTooLarge) as error:
            raise InvalidResult(str(error)) from error

    def _checked(self, read: Completed) -> Completed:
        """The result as it is stored.

        Raises:
            WriteRefused, TypeError, ValueError, PayloadTooLarge: it cannot be.
        """
        updates = freeze(read.updates, f"step {self.step}: updates")
        metadata = freeze(read.metadata, f"step {self.step}: metadata")
        for what, frozen in (("updates", updates), ("metadata", metadata)):
            if not isinstance(frozen, FrozenDict):
                message = (
                    f"step {self.step} returned the {what} {type(getattr(read, what)).__name__}: {what} are a mapping"
                )
                raise InvalidResult(message)
        check_size(updates, self.store.max_value_bytes, f"step {self.step}: its updates")
        check_size(metadata, self.store.max_value_bytes, f"step {self.step}: its metadata")
        return Completed(str.__str__(read.event), updates, metadata, self._writes(read))

    def _writes(self, read: Completed) -> Sequence[Write]:
        """The writes as they are committed.

        Raises:
            WriteRefused: they cannot be.
        """
        if isinstance(read.writes, tuple) and not read.writes:
            return ()
        from hephaestus.write_rules import check_writes  # noqa: PLC0415 - few steps have writes

        return check_writes(read.writes, self.store.own_table)


def kept(values: Mapping[str, Any] | Model) -> Mapping[str, Any]:
    """Results or metadata as an attempt leaves them: frozen, whatever the step gave."""
    return cast("FrozenDict", values)


def _check_pending(pending: Pending, events: tuple[str, ...], key: str) -> None:
    if pending.heartbeat is not None:
        if not isinstance(pending.heartbeat, timedelta) or pending.heartbeat <= timedelta(0):
            message = f"step {key} waits with heartbeat={pending.heartbeat!r}: use a positive timedelta"
            raise ValueError(message)
        if "timeout" not in events:
            message = f"step {key} waits with a heartbeat, but its transitions do not route 'timeout': add it"
            raise ValueError(message)
    if pending.timeout is None:
        return
    if pending.emits not in events:
        message = f"step {key} waits with a timeout, but its transitions do not route {pending.emits!r}: add it"
        raise ValueError(message)
    if isinstance(pending.timeout, datetime):
        if pending.timeout.tzinfo is None:
            message = f"step {key} waits until a datetime without a time zone: use an aware one"
            raise ValueError(message)
    elif not isinstance(pending.timeout, timedelta):
        message = f"step {key} waits with timeout={pending.timeout!r}: use a timedelta or an aware datetime"
        raise TypeError(message)


def _plain_pending(pending: Pending) -> Pending:
    """The same wait in the base types, of which no method is the user's: what reads it later is the engine."""
    until = pending.timeout
    if isinstance(until, datetime):
        utc = until.astimezone(UTC)
        until = datetime.combine(utc.date(), utc.time(), UTC)
    elif until is not None:
        until = _plain_duration(until)
    beat = None if pending.heartbeat is None else _plain_duration(pending.heartbeat)
    return Pending(until, str.__str__(pending.emits), beat)


def _plain_duration(duration: timedelta) -> timedelta:
    return timedelta(duration.days, duration.seconds, duration.microseconds)


def _check_waits(pending: Pending, now: int, key: str) -> None:
    """Refuse a wait or a heartbeat that is too long; ``now`` in milliseconds."""
    until = pending.timeout
    wait = until - datetime.fromtimestamp(now / 1000, UTC) if isinstance(until, datetime) else until
    for what, asked in (("timeout", wait), ("heartbeat", pending.heartbeat)):
        if asked is not None and asked > LONGEST_WAIT:
            message = f"step {key} waits with a {what} of {asked}: the longest is {LONGEST_WAIT.days} days"
            raise ValueError(message)


def route(
    definition: Definition, key: str, event: str, updates: Mapping[str, Any], context: StepContext
) -> tuple[str, ...]:
    """The steps that ``event`` of step ``key`` leads to.

    Raises:
        InvalidResult: a ``Choice`` picked something that is not among its targets.
    """
    found = definition.routes[key][event]
    if found.choice is None:
        return found.targets
    seen = replace(context, steps={**context.steps, key: updates}, events={**context.events, key: event})
    picked = found.choice.function(seen)
    listed = picked if isinstance(picked, (list, tuple)) else [picked]
    taken = tuple(dict.fromkeys(_target_key(one, found.choice, key, event) for one in listed))
    return tuple(target for target in taken if target in found.targets)


def _target_key(picked: object, choice: Choice, key: str, event: str) -> str:
    for target in choice.targets:
        if picked is target or (_step_of(picked) is not None and _step_of(picked) == _step_of(target)):
            return _step_of(target) or ""
    message = f"step {key}: the Choice of {event!r} picked {picked!r}, which is not among its targets"
    raise InvalidResult(message)


def _step_of(target: object) -> str | None:
    if isinstance(target, Configured):
        target = target.step
    if isinstance(target, type) and issubclass(target, Done):
        return Done.step_key
    if isinstance(target, type) and issubclass(target, Step):
        return target().key
    return target.key if isinstance(target, Step) else None
