"""Workflows that are paused while their instances start, run, wait and end, with whatever goes wrong (J.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.simulation import NO_FAULTS, Faults, InvariantViolated, simulate
from hephaestus.simulation.run import PAUSING
from tests.property.pause_bugs import BUGS
from tests.property.random_flows import TABLES, flow, plan
from tests.property.test_simulation import FEWER_FLOWS, FLOWS, exactly_once

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY, FIRST = PAUSING
RUNS, MOST = 100, 400
MILD = Faults(kinds=("message late", "step too long"), rates=(0.3,))


def test_nothing_of_a_paused_workflow_begins_and_all_of_it_goes_on() -> None:
    """Rule J.1, and every invariant, over random workflows."""
    for seed in range(FIRST, FIRST + RUNS * EVERY, EVERY):
        simulate(flow(seed % FLOWS), plan, seed=seed, tables=TABLES, check=exactly_once)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_bug_in_pauses_of_workflows_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule that it breaks; every third run is calm, and another third nearly so."""
    bug(monkeypatch)
    assert _broken() in BUGS[bug]


def _broken() -> str | None:
    for number, seed in enumerate(range(FIRST, FIRST + MOST * EVERY, EVERY)):
        faults = (None, NO_FAULTS, MILD)[number % 3]
        try:
            simulate(flow(seed % FEWER_FLOWS), plan, seed=seed, tables=TABLES, faults=faults, shrinking=0)
        except InvariantViolated as violation:
            return violation.rule
    return None
