"""How a failed step is tried again."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from hephaestus.errors import EngineSignal, NonRetryable
from hephaestus.raised import frames_of, name_of

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_DELAY: Final = timedelta(days=366)
EXITS: Final = (SystemExit, KeyboardInterrupt)

Decision: TypeAlias = "timedelta | bool | None"

_logger = logging.getLogger("hephaestus.retry")


@dataclass(frozen=True, slots=True)
class Retry:
    """A retry policy: the step's own, else the workflow's, else this class's defaults.

    Attributes:
        max_attempts: attempts in all, the first included; 1 never retries.
        backoff: how the delay grows with the attempts: doubled, added, or constant.
        delay: the delay after the first failed attempt.
        max_delay: no delay is longer; 366 days at most.
        jitter: ``full`` draws between nothing and the delay, ``half`` between half of it and the whole of it
            (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015), ``none`` takes it as it is.
        retry_on: only these exceptions are tried again, by default all of them. ``NonRetryable`` never is;
            ``SystemExit`` and ``KeyboardInterrupt`` only where they are named: code that raises one wants an end.
        decide: for special cases, called with the error and the number of the attempt that failed. It returns how long
            to wait before the next attempt (as a service's ``Retry-After`` says), ``False`` to give up, ``True`` to try
            again after the usual delay, or ``None`` to leave it to ``retry_on``. It never adds attempts to
            ``max_attempts``, and no wait is longer than 366 days. One that raises is logged, without its message, and
            left out.

    Raises:
        ValueError: fewer than one attempt, a delay that is negative, longer than 366 days or no ``timedelta``, an
            unknown backoff or jitter, a ``retry_on`` that is not a tuple of exception types, or a ``decide`` that
            cannot be called.
    """

    max_attempts: int = 5
    backoff: Literal["exponential", "linear", "constant"] = "exponential"
    delay: timedelta = timedelta(seconds=1)
    max_delay: timedelta = timedelta(seconds=60)
    jitter: Literal["none", "half", "full"] = "full"
    retry_on: tuple[type[BaseException], ...] = (BaseException,)
    decide: Callable[[BaseException, int], Decision] | None = None

    def __post_init__(self) -> None:
        """Refuse what could never work."""
        problem = None
        if isinstance(self.max_attempts, bool) or not isinstance(self.max_attempts, int) or self.max_attempts < 1:
            problem = f"max_attempts is {self.max_attempts!r}: it must be a whole number of at least 1"
        elif not isinstance(self.delay, timedelta) or not isinstance(self.max_delay, timedelta):
            problem = f"delay is {self.delay!r} and max_delay {self.max_delay!r}: both must be timedeltas"
        elif self.delay < timedelta(0) or self.max_delay < timedelta(0):
            problem = "delay and max_delay must not be negative"
        elif max(self.delay, self.max_delay) > LONGEST_DELAY:
            problem = f"delay and max_delay must be at most {LONGEST_DELAY.days} days"
        elif self.backoff not in ("exponential", "linear", "constant"):
            problem = f"backoff is {self.backoff!r}: it must be 'exponential', 'linear' or 'constant'"
        elif self.jitter not in ("none", "half", "full"):
            problem = f"jitter is {self.jitter!r}: it must be 'none', 'half' or 'full'"
        elif not isinstance(self.retry_on, tuple) or not all(_is_exception(kind) for kind in self.retry_on):
            problem = f"retry_on is {self.retry_on!r}: it must be a tuple of exception types"
        elif self.decide is not None and not callable(self.decide):
            problem = f"decide is {self.decide!r}: it must be a function of an error and the number of an attempt"
        if problem:
            raise ValueError(problem)

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
        return any(issubclass(kind, named) and (not ends or issubclass(named, EXITS)) for named in self.retry_on)

    def _decision(self, error: BaseException, attempt: int) -> Decision:
        """What ``decide`` says, in the base types, of which no method is the user's; ``None`` where it fails."""
        if self.decide is None:
            return None
        try:
            decision = self.decide(error, attempt)
            if isinstance(decision, timedelta):
                return timedelta(decision.days, decision.seconds, decision.microseconds)
            return decision if isinstance(decision, bool) else None
        except EngineSignal:
            raise
        except BaseException as failed:  # noqa: BLE001 - a user's function may raise anything
            # Its message may quote the step's error, and that may quote what the workflow carries.
            where = frames_of(failed, 1)[-1]
            place = f"{name_of(type(failed))} in {where.filename}, line {where.lineno}"
            _logger.error("a retry policy's decide failed (%s); retry_on decides", place)  # noqa: TRY400 - see above
            return None

    def delay_ms(self, attempt: int, random: float) -> int:
        """The delay in milliseconds after attempt number ``attempt``; ``random`` is drawn from 0 up to 1."""
        factor: int = {"exponential": 2 ** min(attempt - 1, 40), "linear": attempt, "constant": 1}[self.backoff]
        millisecond = timedelta(milliseconds=1)
        longest = min(self.delay / millisecond * factor, self.max_delay / millisecond)
        share = {"none": 1.0, "half": 0.5 + random / 2, "full": random}[self.jitter]
        return round(longest * share)


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseException)
