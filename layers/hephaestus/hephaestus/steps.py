"""The built-in steps: wait for a time, wait for an event, end, and look."""

from __future__ import annotations

import inspect
import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.child import ChildWorkflow
from hephaestus.definition.durations import LONGEST, Unfit, read_duration, read_moment, shown
from hephaestus.definition.maps import Map
from hephaestus.definition.mistakes import Mistakes
from hephaestus.definition.repeat import Repeat
from hephaestus.definition.results import Again, Completed, Pending
from hephaestus.definition.rounds import Rounds
from hephaestus.definition.signatures import call_problem
from hephaestus.definition.step import DONE, Done, Step, events_wrong, plain_events
from hephaestus.errors import NonRetryable
from hephaestus.values import FrozenDict, freeze

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from hephaestus.definition.concurrency import Concurrency
    from hephaestus.definition.context import Instance, StepContext
    from hephaestus.definition.durations import Duration
    from hephaestus.definition.results import Checked

__all__ = ["DONE", "ChildWorkflow", "Debug", "Done", "Map", "NoAnswer", "Poll", "Repeat", "Wait", "WaitForEvent"]

LONGEST_EVERY: Final = timedelta(days=366)
LONGEST_PAUSE: Final = timedelta(hours=1)
MOST_BACKOFF: Final = 100


class Wait(Step, pure=True):
    """Wait for a time to pass, or until a time has come, then emit ``"done"``.

    Whoever may send the instance events can end the wait early with the event ``done``, also before it has begun: it is
    a delay, not an approval.

    Args:
        seconds: how long, in seconds or as a ``timedelta``.
        minutes: added to it, in minutes.
        hours: added to it, in hours.
        days: added to it, in days; all together at most 3,660 days.
        until: an aware ``datetime`` instead; one that has passed is not waited for.
        name: the step's key; a workflow with two waits names them.

    Raises:
        DefinitionError: no time at all, a negative one, too long a one, both kinds, what is no number, or no
            ``datetime`` with a time zone.
    """

    waits = True
    events = ("done",)

    def __init__(  # noqa: PLR0913 - as timedelta has them
        self,
        seconds: Duration = 0,
        *,
        minutes: float = 0,
        hours: float = 0,
        days: float = 0,
        until: datetime | None = None,
        name: str | None = None,
    ) -> None:
        self.step_key = "wait" if name is None else name
        given = {"seconds": seconds, "minutes": minutes, "hours": hours, "days": days}
        given = {unit: part for unit, part in given.items() if type(part) not in (int, float) or part != 0}
        wrong = Mistakes(self.step_key)
        if until is not None:
            self.until: timedelta | datetime | None = wrong.read(read_moment, until, "until")
            if given:
                wrong.add(f"has until= and {'=, '.join(given)}=", "Give either a duration or a time")
        else:
            parts = [wrong.read(_part, unit, part) for unit, part in given.items()]
            if not wrong.problems:
                self.until = wrong.read(read_duration, sum(filter(None, parts), timedelta(0)), "the wait")
        wrong.report("step")

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Pending:  # noqa: ARG002 - the signature of every step
        """Suspend until the time has come."""
        return Pending(timeout=self.until, emits="done")


class WaitForEvent(Step, pure=True):
    """Wait for one of ``events`` from outside; its payload becomes the step's results.

    Args:
        events: the events it takes, at least one, each once.
        timeout: emit ``"timeout"`` when none has come after this long, in seconds or as a ``timedelta``; the
            transitions must route it.
        heartbeat: emit ``"timeout"``, with the results ``{"missed": "heartbeat"}``, as soon as whoever is working on
            it has not sent a heartbeat for this long (``Runner.heartbeat``), counted from the wait's beginning; not
            longer than ``timeout``.
        name: the step's key; by default ``wait_for_`` and the first event.

    Raises:
        DefinitionError: no event, one twice, one that is no name, or a timeout or heartbeat that is no duration.
    """

    waits = True

    def __init__(
        self,
        *events: str,
        timeout: Duration | None = None,
        heartbeat: Duration | None = None,
        name: str | None = None,
    ) -> None:
        events = plain_events(events)
        self.step_key = (
            f"wait_for_{events[0] if isinstance(events[0], str) else 'event'}" if name is None and events else name
        )
        wrong = Mistakes("wait_for_event" if self.step_key is None else self.step_key)
        for problem, fix in events_wrong(events):
            wrong.add(problem, fix)
        self.wait_timeout = None if timeout is None else wrong.read(read_duration, timeout, "timeout")
        self.heartbeat = None if heartbeat is None else wrong.read(read_duration, heartbeat, "heartbeat")
        if self.wait_timeout and self.heartbeat and self.heartbeat > self.wait_timeout:
            problem = f"heartbeat is {self.heartbeat} and timeout {self.wait_timeout}, so that it can never be missed"
            wrong.add(problem, "Give a shorter heartbeat, or none")
        wrong.report("step")
        limited = timeout is not None or heartbeat is not None
        self.events = (*events, "timeout") if limited and "timeout" not in events else events

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Pending:  # noqa: ARG002 - the signature of every step
        """Suspend until an event comes or the time is up."""
        return Pending(timeout=self.wait_timeout, heartbeat=self.heartbeat)


def _part(unit: str, part: Any) -> timedelta:
    """A part of a duration, which may be negative, as in an hour less five minutes."""
    if unit == "seconds" and isinstance(part, timedelta):
        return part
    try:
        if isinstance(part, (int, float)) and not isinstance(part, bool):
            found = timedelta(**{unit: part})
            if abs(found) <= LONGEST:
                return found
    except (OverflowError, ValueError):
        pass
    problem = f"{unit} is {shown(part)}"
    raise Unfit(problem, f"Give a number, of at most {LONGEST.days} days")


class NoAnswer(NonRetryable):
    """What the check of a ``Poll`` returned is neither ``False`` nor ``True`` nor results: it is not asked again."""


class Poll(Step):
    """Ask again and again, until the answer is there: each question is a round.

    It emits ``"done"`` when there is an answer, ``"exhausted"`` when there was none in all its rounds, and each of
    ``ends_on`` when that comes from outside, with its payload as results: an event that was accepted before an answer
    was recorded counts.

    Args:
        check: takes the context; it returns ``False`` to be asked again, ``True``, or results. ``async def`` works.
        every: how long after the first answer it is asked again, in seconds or as a ``timedelta``.
        backoff: by what each pause is longer than the one before; no pause is longer than an hour, or than ``every``.
        rounds: how often it is asked at most, and for how long.
        ends_on: events from outside that end it.
        limits: how many checks may run at once, as in ``[Concurrency("carrier", 5)]``: each question takes a permit of
            its own, and gives it back before the next.
        name: the step's key; by default the function's name.

    Raises:
        DefinitionError: no function of the context, no duration of at most 366 days, a ``backoff`` below 1 or above
            100, or no ``Rounds``.
    """

    def __init__(  # noqa: PLR0913 - what is asked, how often and until when
        self,
        check: Callable[[StepContext], Checked | Awaitable[Checked]],
        *,
        every: Duration,
        rounds: Rounds,
        backoff: float = 1,
        ends_on: Sequence[str] = (),
        limits: Sequence[Concurrency] = (),
        name: str | None = None,
    ) -> None:
        self.step_key = getattr(check, "__name__", "poll") if name is None else name
        wrong = Mistakes(self.step_key)
        if problem := call_problem(check, "context"):
            wrong.add(f"its check {problem}", "Give a function that takes the context")
        self.every = wrong.read(read_duration, every, "every", longest=LONGEST_EVERY) or LONGEST_PAUSE
        if not isinstance(backoff, (int, float)) or isinstance(backoff, bool) or not 1 <= backoff <= MOST_BACKOFF:
            wrong.add(f"backoff is {shown(backoff)}", f"Give a number from 1 to {MOST_BACKOFF}")
        if not isinstance(rounds, Rounds):
            wrong.add(f"rounds is {shown(rounds)}", "Give Rounds(...), as in rounds=Rounds(500)")
        if isinstance(ends_on, str):
            wrong.add(f"ends_on is {shown(ends_on)}", f"Write a tuple: ends_on=({ends_on!r},)")
        elif not isinstance(ends_on, (tuple, list)):
            wrong.add(f"ends_on is {shown(ends_on)}", "Write a tuple of events: ends_on=('delivered',)")
        if getattr(check, "limits", ()):
            wrong.add("its check is a step with limits", "Give the function, and the limits to the poll: limits=[...]")
        wrong.report("step")
        self.check, self.backoff, self.rounds = check, backoff, rounds
        self.ends_on = tuple(ends_on)
        if limits != ():
            self.limits = limits
        self.events = ("done", *self.ends_on)

    @property
    def is_async(self) -> bool:
        """Whether the check is a coroutine function."""
        return inspect.iscoroutinefunction(self.check)

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Any:  # noqa: ARG002 - the signature of every step
        """Ask once."""
        answer = self.check(context)
        return self._later(answer, context.round) if inspect.isawaitable(answer) else self._read(answer, context.round)

    async def _later(self, answer: Awaitable[Checked], number: int) -> Completed | Again:
        return self._read(await answer, number)

    def _read(self, answer: Any, number: int) -> Completed | Again:
        """What an answer means for the step.

        Raises:
            NoAnswer: nothing.
        """
        if answer is False:
            return Again(after=self.pause(number))
        if answer is True:
            return Completed("done")
        try:
            results = freeze(answer)
        except (TypeError, ValueError) as error:
            raise self._no_answer(answer) from error
        if not isinstance(results, FrozenDict) or isinstance(answer, (Again, Completed, Pending)):
            raise self._no_answer(answer)
        return Completed("done", results)

    def _no_answer(self, answer: Any) -> NoAnswer:
        return NoAnswer(f"the check of {self.step_key} returned {shown(answer)}: return False, True or results")

    def pause(self, number: int) -> timedelta:
        """How long after round ``number`` the next begins."""
        most = max(self.every, LONGEST_PAUSE)
        try:
            return min(self.every * float(self.backoff) ** (number - 1), most)
        except OverflowError:
            return most


class Debug(Step):
    """Log what is known at this point, and go on with ``"done"``."""

    events = ("done",)

    def __init__(self, message: str = "", *, name: str | None = None) -> None:
        self.message = message
        self.step_key = "debug" if name is None else name

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Completed:
        """Log the start data, the results so far and the configuration, at level DEBUG."""
        logging.getLogger("hephaestus.debug").debug(
            "%s %s: initial=%r steps=%r config=%r",
            instance.id,
            self.message or self.key,
            dict(context.initial),
            {key: dict(results) for key, results in context.steps.items()},
            dict(config),
        )
        return Completed("done")
