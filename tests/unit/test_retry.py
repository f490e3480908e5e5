"""Retry policies."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import pytest

from hephaestus.definition.retries import Retry
from hephaestus.errors import DefinitionError, NonRetryable


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        ("exponential", [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]),
        ("linear", [1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000]),
        ("constant", [1_000] * 8),
    ],
)
def test_delays_grow_as_the_backoff_says(backoff: Any, delays: list[int]) -> None:
    """Doubled, added, or constant, up to a minute."""
    policy = Retry(backoff=backoff, jitter="none")
    assert [policy.delay_ms(attempt, 0.5) for attempt in range(1, 9)] == delays


def test_the_library_s_default() -> None:
    """5 attempts, exponential, full jitter, 60 s at most."""
    policy = Retry()
    assert (policy.max_attempts, policy.backoff, policy.jitter, policy.max_delay) == (
        5,
        "exponential",
        "full",
        timedelta(minutes=1),
    )
    assert policy.delay_ms(1, 0.0) == 0
    assert policy.delay_ms(10_000, 0.999_999) == 60_000


def test_attempts_are_counted_and_errors_told_apart() -> None:
    """The last attempt is not tried again, nor is an error that the policy does not name, nor NonRetryable ever."""
    policy = Retry(max_attempts=3, retry_on=(OSError, NonRetryable), jitter="none", backoff="constant")
    assert policy.again(OSError(), 1, 0.5) == 1_000
    assert policy.again(TimeoutError(), 2, 0.5) == 1_000
    assert policy.again(OSError(), 3, 0.5) is None
    assert policy.again(ValueError(), 1, 0.5) is None
    assert policy.again(NonRetryable(), 1, 0.5) is None
    assert Retry(max_attempts=1).again(OSError(), 1, 0.5) is None
    assert Retry().again(SystemExit(), 1, 0.5) is None


@pytest.mark.parametrize(
    ("decision", "delay"),
    [
        (timedelta(seconds=7), 7_000),
        (timedelta(seconds=-7), 0),
        (7, 7_000),
        (0.5, 500),
        (-7, 0),
        (math.inf, 366 * 86_400_000),
        (math.nan, None),
        (True, 1_000),
        (False, None),
        (None, None),
        ("soon", None),
    ],
)
def test_a_function_decides_special_cases(decision: Any, delay: int | None) -> None:
    """It names the delay, gives up, insists, or leaves it to ``retry_on``; it never adds attempts."""
    seen: list[tuple[type[BaseException], int]] = []

    def decide(error: BaseException, attempt: int) -> Any:
        seen.append((type(error), attempt))
        return decision

    policy = Retry(max_attempts=3, retry_on=(), jitter="none", backoff="constant", decide=decide)
    assert policy.again(OSError(), 2, 0.5) == delay
    assert policy.again(OSError(), 3, 0.5) is None
    assert policy.again(NonRetryable(), 1, 0.5) is None
    assert seen == [(OSError, 2)]


def test_a_deciding_function_that_fails_decides_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The rest of the policy holds, and the log says so."""

    def decide(error: BaseException, attempt: int) -> bool:
        raise RuntimeError

    policy = Retry(jitter="none", decide=decide)
    assert policy.again(OSError(), 1, 0.5) == 1_000
    assert "decide failed" in caplog.text


def test_a_policy_takes_no_subclass() -> None:
    """Its methods would run outside of every step; the message says what takes their place."""
    with pytest.raises(DefinitionError, match=r"Mine: is derived from Retry. Use Retry\(...\) as it is, with decide="):
        type("Mine", (Retry,), {"delay_ms": lambda _self, _attempt, _random: 1 / 0})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_attempts": 0}, "max_attempts is 0"),
        ({"max_attempts": -1}, "at least 1"),
        ({"max_attempts": True}, "max_attempts is True"),
        ({"max_attempts": 1.5}, "max_attempts is 1.5"),
        ({"max_attempts": "5"}, "max_attempts is '5'"),
        ({"delay": timedelta(seconds=-1)}, "a timedelta, 0 or more"),
        ({"max_delay": timedelta(seconds=-1)}, "a timedelta, 0 or more"),
        ({"delay": "5"}, "delay is '5'. Give seconds as a number, or a timedelta"),
        ({"delay": True}, "delay is True"),
        ({"delay": math.nan}, "delay is nan"),
        ({"delay": timedelta(days=367)}, "delay is 367 days, 0:00:00. .* at most 366 days"),
        ({"max_delay": None}, "max_delay is None"),
        ({"max_delay": math.inf}, "max_delay is inf"),
        ({"decide": 5}, "decide cannot be called; it is called with"),
        ({"decide": lambda error: True}, "decide has the signature"),
        ({"backoff": "quadratic"}, "backoff is 'quadratic'"),
        ({"jitter": "some"}, "jitter is 'some'"),
        ({"jitter": None}, "jitter is None"),
        ({"retry_on": OSError}, "retry_on is .* Give a tuple of exception types"),
        ({"retry_on": ("OSError",)}, "Give a tuple of exception types"),
        ({"retry_on": [OSError]}, "Give a tuple of exception types"),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, dict) else given,
)
def test_a_policy_that_could_never_work_is_refused(wrong: dict[str, Any], message: str) -> None:
    """When it is written, not when the first step fails."""
    with pytest.raises(ValueError, match=message):
        Retry(**wrong)
