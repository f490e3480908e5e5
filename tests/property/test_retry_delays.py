"""The delays of any retry policy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from hephaestus.definition.retries import LONGEST_DELAY, Retry

BACKOFFS: tuple[Literal["exponential", "linear", "constant"], ...] = ("exponential", "linear", "constant")
DELAYS = st.timedeltas(timedelta(0), LONGEST_DELAY)
SHARES = st.floats(0, 1, exclude_max=True)


@given(
    st.sampled_from(BACKOFFS),
    st.sampled_from(["none", "half", "full"]),
    DELAYS,
    DELAYS,
    st.integers(1, 10_000),
    SHARES,
)
def test_a_delay_is_never_negative_nor_longer_than_the_longest(  # noqa: PLR0913, PLR0917 - a policy has that many parts
    backoff: Any, jitter: Any, delay: timedelta, longest: timedelta, attempt: int, share: float
) -> None:
    """Whatever the attempt's number, and always whole milliseconds."""
    found = Retry(backoff=backoff, jitter=jitter, delay=delay, max_delay=longest).delay_ms(attempt, share)
    assert isinstance(found, int)
    assert 0 <= found <= longest / timedelta(milliseconds=1) + 0.5


@given(st.sampled_from(BACKOFFS), DELAYS, DELAYS, st.integers(1, 200), SHARES)
def test_without_jitter_delays_never_shrink(
    backoff: Any, delay: timedelta, longest: timedelta, attempt: int, share: float
) -> None:
    """And chance has no part in them."""
    policy = Retry(backoff=backoff, jitter="none", delay=delay, max_delay=longest)
    assert policy.delay_ms(attempt, share) <= policy.delay_ms(attempt + 1, 0.0)
    assert policy.delay_ms(attempt, share) == policy.delay_ms(attempt, 0.0)


@given(st.sampled_from(BACKOFFS), st.integers(1, 60), SHARES)
def test_jitter_stays_in_its_range(backoff: Any, attempt: int, share: float) -> None:
    """``full`` from nothing, ``half`` from the half, both up to the delay without jitter."""
    whole = Retry(backoff=backoff, jitter="none").delay_ms(attempt, share)
    assert 0 <= Retry(backoff=backoff, jitter="full").delay_ms(attempt, share) <= whole
    assert whole / 2 - 1 <= Retry(backoff=backoff, jitter="half").delay_ms(attempt, share) <= whole
