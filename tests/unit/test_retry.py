"""Retry policies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hephaestus.errors import NonRetryable
from hephaestus.retry import Retry


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
    policy = Retry(max_attempts=3, retry_on=(OSError, NonRetryable))
    assert policy.allows(OSError(), 1)
    assert policy.allows(TimeoutError(), 2)
    assert not policy.allows(OSError(), 3)
    assert not policy.allows(ValueError(), 1)
    assert not policy.allows(NonRetryable(), 1)
    assert not Retry(max_attempts=1).allows(OSError(), 1)
    assert not Retry().allows(SystemExit(), 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_attempts": 0}, "max_attempts is 0"),
        ({"max_attempts": -1}, "at least 1"),
        ({"max_attempts": True}, "max_attempts is True"),
        ({"max_attempts": 1.5}, "max_attempts is 1.5"),
        ({"max_attempts": "5"}, "max_attempts is '5'"),
        ({"delay": timedelta(seconds=-1)}, "must not be negative"),
        ({"max_delay": timedelta(seconds=-1)}, "must not be negative"),
        ({"delay": 5}, "delay is 5 and .* both must be timedeltas"),
        ({"max_delay": None}, "max_delay None: both must be timedeltas"),
        ({"backoff": "quadratic"}, "backoff is 'quadratic'"),
        ({"jitter": "some"}, "jitter is 'some'"),
        ({"jitter": None}, "jitter is None"),
        ({"retry_on": OSError}, "retry_on is .* must be a tuple of exception types"),
        ({"retry_on": ("OSError",)}, "must be a tuple of exception types"),
        ({"retry_on": [OSError]}, "must be a tuple of exception types"),
    ],
    ids=repr,
)
def test_a_policy_that_could_never_work_is_refused(wrong: dict[str, Any], message: str) -> None:
    """When it is written, not when the first step fails."""
    with pytest.raises(ValueError, match=message):
        Retry(**wrong)
