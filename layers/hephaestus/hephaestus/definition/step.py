"""Steps: a function with ``@step``, or a class derived from ``Step``; and the targets that transitions name."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import field
from typing import TYPE_CHECKING, Any, Final, Literal, Never, TypeAlias, get_args, overload

from hephaestus.definition.bodies import OF_STEP, unknown_wrong
from hephaestus.definition.durations import read_duration, shown
from hephaestus.definition.mistakes import Mistakes
from hephaestus.definition.results import Again, Completed, Pending, Result
from hephaestus.values.lazy_dataclass import dataclass
from hephaestus.values.scalars import plain_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.definition.concurrency import Limit
    from hephaestus.definition.context import Instance, StepContext
    from hephaestus.definition.durations import Duration
    from hephaestus.definition.retries import Retry
    from hephaestus.definition.rounds import Rounds
    from hephaestus.values.foreign import Model

MAX_EVENT: Final = 128  # characters of an event's name, as `resume` takes it
STEP_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")

Semantics: TypeAlias = Literal["at_least_once", "at_most_once"]
StepFunction: TypeAlias = "Callable[[StepContext], Result | Awaitable[Result]]"
SEMANTICS: Final[tuple[str, ...]] = get_args(Semantics)
CompensationFunction: TypeAlias = "Callable[[StepContext], Any]"


class _Configure:
    """``configured``, on a step and on a step's class alike."""

    def __get__(self, step: Step | None, owner: type[Step]) -> Callable[..., Configured]:
        target = owner if step is None else step

        def configured(**config: Any) -> Configured:
            """Name this step as a target, with a configuration it reads as ``ctx.config``."""
            return Configured(target, config)

        return configured


class Step:
    """One unit of work. Derive from it and write ``execute``, or put ``@step`` on a function.

    Attributes:
        events: the events the step may emit.
        step_key: the step's name in its workflow; by default the class's or function's name in snake case.
        retry: how failed attempts are repeated; ``None`` takes the workflow's policy.
        timeout: how long one attempt may take, in seconds or as a ``timedelta``; ``None`` for as long as the invocation
            lasts.
        semantics: ``at_least_once``, or ``at_most_once``: once it has started it never runs again, whatever happens.
        compensate_retry: how failed attempts to undo the step are repeated; ``None`` takes the workflow's policy.
        waits: whether the step always waits for an event or a time (``WaitForEvent``, ``Wait``).
        rounds: how often the step may return ``Again``; ``None`` for never.
        checkpoint: whether its result is written before another step begins; ``False`` leaves it to the next commit, so
            that the step may run again and give another answer; ``None`` takes the workflow's setting.
        limits: how many attempts of it, and of what else names the same limits, may run at once, or start in a time.
        ends_on: the only events that it takes, also while it is between two attempts (``Poll``); ``None`` for others.
        pure: whether ``execute`` is the library's own and touches nothing outside, so that its start is no matter.
    """

    events: Sequence[str] = ("done",)
    step_key: str | None = None
    retry: Retry | None = None
    timeout: Duration | None = None
    semantics: Semantics = "at_least_once"
    compensate_retry: Retry | None = None
    rounds: Rounds | None = None
    checkpoint: bool | None = None
    limits: Sequence[Limit] = ()
    ends_on: Sequence[str] | None = None
    waits: bool = False
    pure: bool = False

    def __init_subclass__(cls, *, pure: bool = False, **more: Any) -> None:
        """Take ``execute`` for one with effects, unless the class says otherwise."""
        super().__init_subclass__(**more)
        if "execute" in cls.__dict__:
            cls.pure = pure

    @property
    def key(self) -> str:
        """The step's name in its workflow."""
        key = self.step_key
        return snake_case(type(self).__name__) if key is None else key

    @property
    def is_async(self) -> bool:
        """Whether the step is a coroutine function."""
        return inspect.iscoroutinefunction(self.execute)

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Any:
        """Do the work; ``async def`` works, too.

        Args:
            instance: whose step this is: id, workflow, version, tags, metadata.
            config: the configuration given with the target (``MyStep.configured(...)``).
            context: the start data, earlier results, attempt and idempotency key.

        Returns:
            An event's name, ``Completed``, a mapping of results (where the step declares one event), ``Pending()``, or
            ``Again(...)`` (where it has ``rounds``).

        Raises:
            Exception: to fail this attempt.
        """
        raise NotImplementedError

    def compensate(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Any:
        """Undo what ``execute`` did; a class that can, overrides it, and ``async def`` works, too.

        It runs when the instance fails for good, or is cancelled so, if the step had completed. It may run more than
        once: ``context.idempotency_key`` is the same each time, and another than that of ``execute``.

        Args:
            instance: whose step this is.
            config: as ``execute`` had it.
            context: as ``execute`` had it; ``context.steps`` now holds this step's own results, too.

        Returns:
            Nothing, a mapping that is kept in history, or ``Completed`` (for its ``results`` and ``writes``).

        Raises:
            Exception: to fail this attempt.
        """
        raise NotImplementedError

    @property
    def compensates(self) -> bool:
        """Whether the step can be undone."""
        return type(self).compensate is not Step.compensate

    def run(self, context: StepContext) -> Any:
        """Call ``execute`` the way the engine does."""
        return self.execute(context.instance, context.config, context)

    def undo(self, context: StepContext) -> Any:
        """Call ``compensate`` the way the engine does."""
        return self.compensate(context.instance, context.config, context)

    def named(self, key: str) -> Step:
        """Give the same step another key, to use it twice in one workflow."""
        twin = copy(self)
        twin.step_key = key
        return twin

    configured = _Configure()

    def __repr__(self) -> str:
        """``<step validate_order>``."""
        return f"<step {self.key}>"


class FunctionStep(Step):
    """A step made of a function; calling it calls the function, so a test needs no engine."""

    def __init__(  # noqa: PLR0913 - what a step is made of
        self,
        function: StepFunction,
        *,
        events: Sequence[str] = ("done",),
        key: str | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        semantics: Semantics = "at_least_once",
        compensate: CompensationFunction | None = None,
        compensate_retry: Retry | None = None,
        rounds: Rounds | None = None,
        checkpoint: bool | None = None,
        limits: Sequence[Limit] = (),
    ) -> None:
        self.function = function
        self.events = events
        self.step_key = _name_of(function) if key is None else key
        self.retry = retry
        self.timeout = timeout
        self.semantics = semantics
        self.compensation = compensate
        self.compensate_retry = compensate_retry
        self.rounds = rounds
        self.checkpoint = checkpoint
        self.limits = limits
        self.__doc__ = function.__doc__
        self.__name__ = _name_of(function)
        self.__module__ = getattr(function, "__module__", None) or __name__
        self.__wrapped__ = function

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function."""
        return inspect.iscoroutinefunction(self.function)

    def __call__(self, context: StepContext) -> Any:
        """Call the function."""
        return self.function(context)

    def run(self, context: StepContext) -> Any:
        """Call the function; what it does not read of the context is not made."""
        return self.function(context)

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Any:  # noqa: ARG002 - the signature of every step
        """Call the function."""
        return self.function(context)

    def compensate(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Any:  # noqa: ARG002 - as every step's
        """Call the function given as ``compensate``."""
        return self.compensation(context) if self.compensation is not None else None

    @property
    def compensates(self) -> bool:
        """Whether there is such a function."""
        return self.compensation is not None


@overload
def step(function: StepFunction, /) -> FunctionStep: ...
@overload
def step(
    *,
    events: Sequence[str] = ("done",),
    key: str | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    semantics: Semantics = "at_least_once",
    compensate: CompensationFunction | None = None,
    compensate_retry: Retry | None = None,
    rounds: Rounds | None = None,
    checkpoint: bool | None = None,
    limits: Sequence[Limit] = (),
) -> Callable[[StepFunction], FunctionStep]: ...
def step(  # noqa: PLR0913 - what a step is made of
    function: StepFunction | None = None,
    /,
    *,
    events: Sequence[str] = ("done",),
    key: str | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
    semantics: Semantics = "at_least_once",
    compensate: CompensationFunction | None = None,
    compensate_retry: Retry | None = None,
    rounds: Rounds | None = None,
    checkpoint: bool | None = None,
    limits: Sequence[Limit] = (),
    **unknown: Never,
) -> FunctionStep | Callable[[StepFunction], FunctionStep]:
    """Make a step of a function that takes the context and returns a result.

    Args:
        function: the function, when the decorator is used without parentheses.
        events: the events it may emit; by default only ``"done"``.
        key: the step's name in its workflow; by default the function's.
        retry: how failed attempts are repeated; by default as the workflow says.
        timeout: how long one attempt may take, in seconds or as a ``timedelta``; by default unlimited.
        semantics: ``at_most_once`` for a step that, once started, must never run again: it is not retried, and it fails
            if its Lambda dies in the middle of it, whichever of the steps in it was the reason.
        compensate: undoes what the step did, should the instance fail later; it takes the context, too.
        compensate_retry: how failed attempts of ``compensate`` are repeated; by default as the workflow says.
        rounds: how often it may return ``Again``, as in ``Rounds(1_000, within=timedelta(days=3))``; by default never.
        checkpoint: ``False`` leaves its result to the next commit: cheaper, and it may run again with another answer;
            ``True`` does not; by default as the workflow says.
        limits: how many attempts of it may run at once, or start in a time, as in ``[Concurrency("stripe", 5)]`` or
            ``[RateLimit("stripe", 100, timedelta(minutes=1))]``.

    Raises:
        DefinitionError: it is given something by position that is no function, or an argument that there is not.
    """
    _reject(unknown)
    named: Any = events  # what is wrong with any of these is said when a workflow is defined with the step
    if isinstance(events, str):
        named = (events,)
    elif isinstance(events, list):
        named = tuple(events)
    limit: Duration | None = timeout
    with suppress(ValueError):
        limit = None if timeout is None else read_duration(timeout, "timeout")

    def decorate(function: StepFunction) -> FunctionStep:
        return FunctionStep(
            function,
            events=named,
            key=key,
            retry=retry,
            timeout=limit,
            semantics=semantics,
            compensate=compensate,
            compensate_retry=compensate_retry,
            rounds=rounds,
            checkpoint=checkpoint,
            limits=limits,
        )

    if function is not None and not callable(function):
        wrong = Mistakes("step")
        wrong.add(f"@step is given {shown(function)}", 'Give what it takes by name, as in @step(events=("paid",))')
        wrong.report("step")
    return decorate if function is None else decorate(function)


def _reject(unknown: Mapping[str, object]) -> None:
    """Reject arguments that ``@step`` does not have."""
    wrong = Mistakes("step")
    for problem, fix in unknown_wrong(unknown, OF_STEP):
        wrong.add(f"@step {problem}", fix)
    wrong.report("step")


class Done(Step):
    """The end of a path. Use the ready-made ``DONE`` or this class as a target; it never runs."""

    step_key = "DONE"
    events = ()


DONE: Final = Done()


class Fail(Step):
    """The failure of the whole instance. Use the ready-made ``FAIL``, or ``FAIL("reason")``, as a target.

    It never runs. An event that leads here ends the instance as a step that failed for good does: nothing new starts,
    what runs comes to its end, waits are dropped, what was done is undone, and the instance has failed.

    Attributes:
        reason: why, for people; at most 1,000 characters are kept.
    """

    step_key = "FAIL"
    events = ()
    reason: str = ""

    def __call__(self, reason: str) -> Fail:
        """Name the target with a reason, as in ``FAIL("the card was declined")``."""
        made = Fail()
        made.reason = reason
        return made


FAIL: Final = Fail()
ENDS: Final = frozenset({DONE.key, FAIL.key})  # the targets that are no steps


def fail_reason(target: object) -> str | None:
    """The reason of a target that is ``FAIL``, ``""`` without one; ``None`` for any other target."""
    if isinstance(target, type):
        return "" if issubclass(target, Fail) else None
    return target.reason if isinstance(target, Fail) else None


@dataclass(frozen=True, slots=True, eq=False)
class Configured:
    """A step as a target, with the configuration it gets when it is reached this way."""

    step: StepLike
    config: Mapping[str, Any] = field(default_factory=dict)

    def configured(self, **config: Any) -> Configured:
        """Name the same target with more of a configuration; of what both have, this one counts."""
        return Configured(self.step, {**self.config, **config})


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """Route on data: ``function`` sees the context and returns one of ``targets``, or a list of several.

    What it returns with a configuration (``ship.configured(speed=2)``) has that one; without, the one in ``targets``.
    So has ``FAIL`` its reason.
    ``None`` or an empty list chooses nothing, as ``DONE`` does: the path ends here, and what no other path leads to is
    skipped, joins included. ``FAIL``, with any reason, is returned alone. Anything else fails the step.

    Attributes:
        function: takes the context of the step that just completed, its results included; a plain function, quick and
            without effects, as it may be called again.
        targets: every target it may return, each once, so that the graph is known before anything runs.
    """

    function: Callable[[StepContext], Any]
    targets: Sequence[StepLike | Configured]


StepLike: TypeAlias = "Step | type[Step]"
Output: TypeAlias = "Mapping[str, Any] | Model | None"
# mypy takes a function that stands in a class for a method, and compares it without its first argument.
OutputLike: TypeAlias = "StepLike | Callable[[StepContext], Output] | Callable[[], Output]"
TargetLike: TypeAlias = "StepLike | Configured | Choice | Sequence[StepLike | Configured]"
Transitions: TypeAlias = "Mapping[StepLike, Mapping[str, TargetLike]]"


def plain_events(events: Sequence[str]) -> tuple[str, ...]:
    """The names of events as plain texts; what is none stays as it is, for ``events_wrong``."""
    return tuple(map(plain_name, events))


def events_wrong(events: Any) -> Iterator[tuple[str, str]]:
    """What is wrong with the events that a step declares, each with what to do."""
    if isinstance(events, str):
        yield (f"declares the events {events!r}", f"Write a tuple: events=({events!r},)")
    elif not isinstance(events, (list, tuple)):
        yield (f"declares the events {shown(events)}", "Write a tuple of names")
    elif not events:
        yield ("declares no event", 'Declare at least one, as in events=("done",)')
    else:
        if odd := [event for event in events if not _is_event(event)]:
            names = ", ".join(shown(event) for event in odd)
            yield (f"declares the events {names}", f"Events are printable strings of 1 to {MAX_EVENT} characters")
        texts = [event for event in events if isinstance(event, str)]
        if twice := dict.fromkeys(event for event in texts if texts.count(event) > 1):
            yield (f"declares {', '.join(map(repr, twice))} twice", "Name each event once")


def _is_event(event: object) -> bool:
    return isinstance(event, str) and 1 <= len(event) <= MAX_EVENT and event.isprintable()


def _name_of(function: Any) -> str:
    """What a step made of ``function`` is called: its name, that of what a ``partial`` calls, or its class's."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__name__", None)
    return name if isinstance(name, str) else snake_case(type(function).__name__)


def snake_case(name: str) -> str:
    """``ChargePayment`` → ``charge_payment``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def read_result(
    result: Any, events: Sequence[str], step_key: str, routed: Sequence[str] = ()
) -> Completed | Pending | Again:
    """What a step returned, made uniform.

    Args:
        result: what the step returned.
        events: the events that the step declares.
        step_key: for the message.
        routed: events that may be emitted though they are not declared: ``timeout`` or ``error`` where routed.

    Raises:
        ValueError: nothing was returned, an event was not declared, or it is not clear which event is meant.
        TypeError: something else was returned.
    """
    read: Completed
    if isinstance(result, (Pending, Again)):
        return result
    if isinstance(result, str):
        read = Completed(result)
    elif isinstance(result, (dict, Mapping)):  # a dict at once, without what an abstract class asks
        if len(events) != 1:
            fix = "return Completed(event, results)"
            message = f"step {step_key} returned only results but declares {_listed(events)}: {fix}"
            raise ValueError(message)
        read = Completed(events[0], result)
    elif result is None:
        message = f"step {step_key} returned nothing: return one of {_listed(events)}, Completed(...) or Pending()"
        raise ValueError(message)
    elif isinstance(result, Completed):
        read = result
    else:
        fix = "return an event, Completed, a mapping or Pending"
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            fix = "a step returns once, so remove its yield"
        message = f"step {step_key} returned a {type(result).__name__}: {fix}"
        raise TypeError(message)
    if read.event not in events and read.event not in routed:
        message = f"step {step_key} emitted {read.event!r}, which it does not declare: it declares {_listed(events)}"
        raise ValueError(message)
    return read


def _listed(events: Sequence[str]) -> str:
    return ", ".join(repr(event) for event in events) or "no event"
