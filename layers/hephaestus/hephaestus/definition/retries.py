"""How a failed step is tried again."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from hephaestus.definition.durations import is_one_of, read_duration, shown
from hephaestus.definition.mistakes import Mistakes
from hephaestus.definition.raised import frames_of, name_of
from hephaestus.definition.signatures import call_problem
from hephaestus.errors import EngineSignal, NonRetryable
from hephaestus.values.scalars import is_whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from hephaestus.definition.durations import Duration

EXITS: Final = (SystemExit, KeyboardInterrupt)
LONGEST_DELAY: Final = timedelta(days=366)
BACKOFFS: Final = ("exponential", "linear", "constant")
JITTERS: Final = ("none", "half", "full")

Decision: TypeAlias = "Duration | bool | None"

_logger = logging.getLogger("hephaestus.definition.retries")


@dataclass(frozen=True, slots=True, init=False)
class Retry:
    """A retry policy: the step's own, else the workflow's, else this class's defaults.

    Attributes:
        max_attempts: attempts in all, the first included; 1 never retries.
        backoff: how the delay grows with the attempts: doubled, added, or constant.
        delay: the delay after the first failed attempt, given in seconds or as a ``timedelta``.
        max_delay: no delay is longer; 366 days at most, given alike.
        jitter: ``full`` draws between nothing and the delay, ``half`` between half of it and the whole of it
            (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015), ``none`` takes it as it is.
        retry_on: only these exceptions are tried again, by default all of them. ``NonRetryable`` never is;
            ``SystemExit`` and ``KeyboardInterrupt`` only where they are named: code that raises one wants an end. A
            type whose check of subclasses raises is logged and left out.
        decide: for special cases, called with the error and the number of the attempt that failed. It returns how long
            to wait before the next attempt (in seconds or as a ``timedelta``, as a service's ``Retry-After`` says),
            ``False`` to give up, ``True`` to try again after the usual delay, or ``None`` to leave it to ``retry_on``.
            It never adds attempts to ``max_attempts``, and no wait is longer than 366 days. One that raises is logged,
            without its message, and left out.

    It takes no subclasses: rules of one's own stand in ``decide``.

    Raises:
        DefinitionError: fewer than one attempt, a delay that is no duration of at most 366 days, an unknown backoff or
            jitter, a ``retry_on`` that is not a tuple of exception types, or a ``decide`` that cannot be called with an
            error and a number.
    """

    max_attempts: int
    backoff: Literal["exponential", "linear", "constant"]
    delay: timedelta
    max_delay: timedelta
    jitter: Literal["none", "half", "full"]
    retry_on: tuple[type[BaseException], ...]
    decide: Callable[[BaseException, int], Decision] | None

    def __init__(  # noqa: PLR0913, PLR0917 - what a policy is made of
        self,
        max_attempts: int = 5,
        backoff: Literal["exponential", "linear", "constant"] = "exponential",
        delay: Duration = 1,
        max_delay: Duration = 60,
        jitter: Literal["none", "half", "full"] = "full",
        retry_on: tuple[type[BaseException], ...] = (BaseException,),
        decide: Callable[[BaseException, int], Decision] | None = None,
    ) -> None:
        """Check it, with durations as ``timedelta`` from here on."""
        wrong = Mistakes("Retry")
        if not is_whole(max_attempts) or max_attempts < 1:
            wrong.add(f"max_attempts is {shown(max_attempts)}", "Give a whole number of at least 1")
        if not is_one_of(backoff, BACKOFFS):
            wrong.add(f"backoff is {shown(backoff)}", f"Give one of {', '.join(BACKOFFS)}")
        if not is_one_of(jitter, JITTERS):
            wrong.add(f"jitter is {shown(jitter)}", f"Give one of {', '.join(JITTERS)}")
        if not isinstance(retry_on, tuple) or not all(_is_exception(kind) for kind in retry_on):
            wrong.add(f"retry_on is {shown(retry_on)}", "Give a tuple of exception types, as in (OSError,)")
        if decide is not None and (problem := call_problem(decide, "error", "attempt", coroutines=False)):
            wrong.add(f"decide {problem}", "Give a function of an error and the number of an attempt")
        read_delay = partial(wrong.read, read_duration, zero=True, longest=LONGEST_DELAY)
        delays = (read_delay(delay, "delay"), read_delay(max_delay, "max_delay"))
        wrong.report("policy")
        # In the base types, of which no method is the user's.
        checked = (int.__int__(max_attempts), str.__str__(backoff), *delays, str.__str__(jitter))
        for name, value in zip(self.__slots__, (*checked, (*tuple.__iter__(retry_on),), decide), strict=True):
            object.__setattr__(self, name, value)

    def __init_subclass__(cls) -> NoReturn:
        """Reject a subclass: its methods would run outside of every step.

        Raises:
            DefinitionError: always.
        """
        wrong = Mistakes(cls.__name__)
        wrong.add("is derived from Retry", "Use Retry(...) as it is, with decide= for rules of your own")
        wrong.report("policy")
        raise AssertionError

    def again(self, error: BaseException, attempt: int, random: float) -> int | None:
        """In how many milliseconds to try again after ``error`` of attempt number ``attempt``; ``None`` for never.

        ``random`` is drawn from 0 up to 1.
        """
        kind = type(error)  # not isinstance: an error may lie about its class
        if attempt >= self.max_attempts or issubclass(kind, NonRetryable):
            return None
        decision = self._decision(error, attempt)
        if isinstance(decision, timedelta):
            return max(round(min(decision, LONGEST_DELAY) / timedelta(milliseconds=1)), 0)
        tried = self._retries(kind) if decision is None else decision
        return self.delay_ms(attempt, random) if tried else None

    def _retries(self, kind: type[BaseException]) -> bool:
        """Whether ``retry_on`` names a type of error; an exit is named by a type of exits only."""
        ends = issubclass(kind, EXITS)
        return any(_names(named, kind) and (not ends or issubclass(named, EXITS)) for named in self.retry_on)

    def _decision(self, error: BaseException, attempt: int) -> timedelta | bool | None:
        """What ``decide`` says, in the base types, of which no method is the user's; ``None`` where it fails."""
        if self.decide is None:
            return None
        try:
            decision = self.decide(error, attempt)
            if isinstance(decision, timedelta):
                return timedelta(decision.days, decision.seconds, decision.microseconds)
            if isinstance(decision, bool):
                return decision
            return _bounded(decision) if isinstance(decision, (int, float)) else None
        except EngineSignal:
            raise
        except BaseException as failed:  # noqa: BLE001 - a user's function may raise anything
            _log(failed, "decide failed", "retry_on decides")
            return None

    def delay_ms(self, attempt: int, random: float) -> int:
        """The delay in milliseconds after attempt number ``attempt``; ``random`` is drawn from 0 up to 1."""
        factor: int = {"exponential": 2 ** min(attempt - 1, 40), "linear": attempt, "constant": 1}[self.backoff]
        millisecond = timedelta(milliseconds=1)
        longest = min(self.delay / millisecond * factor, self.max_delay / millisecond)
        share = {"none": 1.0, "half": 0.5 + random / 2, "full": random}[self.jitter]
        return round(longest * share)


def _bounded(seconds: float) -> timedelta | None:
    """As long as a wait may be; ``None`` for what is no number."""
    if seconds != seconds:  # noqa: PLR0124 - NaN is the number that is not itself
        return None
    return timedelta(seconds=max(0, min(seconds, LONGEST_DELAY / timedelta(seconds=1))))


def _names(named: type[BaseException], kind: type[BaseException]) -> bool:
    """Whether ``kind`` is a subclass of ``named``, whose metaclass may have a user's code for that."""
    try:
        return bool(issubclass(kind, named))
    except EngineSignal:
        raise
    except BaseException as failed:  # noqa: BLE001 - a user's function may raise anything
        _log(failed, f"retry_on could not compare with {name_of(named)}", "it is left out")
        return False


def _log(failed: BaseException, what: str, then: str) -> None:
    """Log without the message: it may quote the step's error, and that may quote what the workflow carries."""
    where = frames_of(failed, 1)[-1]
    place = f"{name_of(type(failed))} in {where.filename}, line {where.lineno}"
    _logger.error("a retry policy's %s (%s); %s", what, place, then)


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)
