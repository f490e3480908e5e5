"""The first runs of test_simulation.py, a few at a time; only `make mutate` runs them, once a mutant."""

from __future__ import annotations

import pytest

from tests.property.test_simulation import some

RUNS = 25


@pytest.mark.parametrize("first", range(0, 12 * RUNS, RUNS))
def test_invariants_1_to_9_hold_in_a_few_runs(first: int) -> None:
    assert some(first, RUNS).runs == RUNS
