"""Workflows that are paused while their instances start, run, wait and end, with whatever goes wrong (J.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.simulation import NO_FAULTS, Faults, InvariantViolated, simulate
from hephaestus.simulation.run import PAUSING
from tests.property import map_limit_bugs
from tests.property.pause_bugs import BUGS
from tests.property.random_flows import NESTING, SPREADING, TABLES, deadly_plan, flow, plan
from tests.property.test_simulation import FEWER_FLOWS, FLOWS, exactly_once
from tests.property.workflow_limit_bugs import FLOWS as WHOLE_LIMITED
from tests.property.workflow_limit_bugs import Kid

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus import Workflow

EVERY, FIRST = PAUSING
RUNS, MOST = 100, 400
MILD = Faults(kinds=("message late", "step too long"), rates=(0.3,))


def test_nothing_of_a_paused_workflow_begins_and_all_of_it_goes_on() -> None:
    """Rule J.1, and every invariant, over random workflows."""
    for seed in range(FIRST, FIRST + RUNS * EVERY, EVERY):
        simulate(flow(seed % FLOWS), plan, seed=seed, tables=TABLES, check=exactly_once)


def test_trees_and_lines_of_paused_workflows_go_on() -> None:
    """Parents, parts of maps and what stands in line, where any of the workflows is paused."""
    for number in range(RUNS // 2):
        seed = FIRST + number * EVERY
        simulate(flow(NESTING + number), plan, seed=seed, tables=TABLES, check=exactly_once)
        simulate(flow(SPREADING + number), deadly_plan, seed=seed, tables=TABLES, check=exactly_once, fan=2)
        own = WHOLE_LIMITED[number % len(WHOLE_LIMITED)]
        others: dict[type[Workflow], Any] = {one: {} for one in (*WHOLE_LIMITED, Kid) if one is not own}
        simulate(own, {}, seed=seed, beside=others, faults=(None, NO_FAULTS, MILD)[number % 3])


def test_a_part_of_a_map_begins_while_its_owner_waits_for_its_workflow() -> None:
    """Runs in which parts were paused for ever, as their owner's workflow was paused when they began."""
    for number in (477, 507):
        how = {**map_limit_bugs.of_run(number), "faults": None}
        simulate(map_limit_bugs.mapping(number), {}, seed=FIRST + number * EVERY, **how)


def test_mail_waits_with_its_reader() -> None:
    """A run in which the simulator missed that mail was to be read after the pause."""
    others: dict[type[Workflow], Any] = {one: {} for one in (*WHOLE_LIMITED, Kid) if one is not WHOLE_LIMITED[1]}
    simulate(WHOLE_LIMITED[1], {"of": "x"}, seed=FIRST + 55 * EVERY, beside=others, faults=NO_FAULTS)


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
