"""Tens of thousands of simulated runs, the bugs that the simulator must find, and the runs that once found one."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Choice, Completed, Retry, StepContext, Workflow, step
from hephaestus.simulation import FAULTS, NO_FAULTS, Faults, Finished, InvariantViolated, Report, simulate
from hephaestus.steps import WaitForEvent
from tests import engines
from tests.property.deliberate_bugs import (
    BUGS,
    events_lost_with_their_path,
    events_lost_with_their_step,
    links_forgotten,
    undone_requests_remembered,
)
from tests.property.random_flows import TABLES, flow, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RUNS = 20_000 if engines.in_ci() else 2_000
PART = 2_000  # so many that the rarest fault strikes some fifteen times
FLOWS = 400
FEWER_FLOWS = 60
BUDGET = 3_000
# A bug that few of the workflows can show: steps side by side of which one fails for good.
SEEN_IN = {"closes_over_running_steps": (34, 44)}
CORPUS = json.loads((Path(__file__).parent / "corpus" / "seeds.json").read_text())


def exactly_once(finished: Finished) -> None:
    """Invariant 7, as the tables have it: no write happened twice."""
    twice = [item for item in finished.tables["effects"].items() if item["seen"] != 1]
    assert not twice, "invariant 7"


def some(first: int, number: int) -> Report:
    """So many runs, over as many workflows as there are."""
    total = Report(first)
    for seed in range(first, first + number):
        report = simulate(flow(seed % FLOWS), plan, seed=seed, tables=TABLES, check=exactly_once)
        total.runs += report.runs
        total.statuses += report.statuses
        total.faults += report.faults
    return total


@pytest.mark.parametrize("first", range(0, RUNS, PART))
def test_invariants_1_to_9_hold_over_random_workflows_whatever_goes_wrong(first: int) -> None:
    """Every kind of step, graph and fault, in parts that may run side by side; each part sees every fault and end."""
    report = some(first, PART)
    assert report.runs == PART
    assert set(report.faults) == set(FAULTS), "a fault that never strikes proves nothing"
    assert set(report.statuses) == {"completed", "failed", "cancelled"}


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_deliberate_bug_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule that it breaks, within the runs that every build makes."""
    bug(monkeypatch)
    assert rule_broken_within(BUDGET, SEEN_IN.get(bug.__name__, range(FEWER_FLOWS))) in BUGS[bug]


@pytest.mark.parametrize(
    "bug",
    [links_forgotten, events_lost_with_their_step, events_lost_with_their_path, undone_requests_remembered],
    ids=lambda bug: bug.__name__,
)
def test_an_answer_that_is_lost_or_counts_twice_after_a_redrive_is_found(
    bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its step waits again after a redrive; random workflows get there too seldom."""

    @step(compensate=undo)
    def ask(ctx: StepContext) -> str:
        return "done"

    answer, early = WaitForEvent("yes", name="answer"), WaitForEvent("soon", name="early")

    @step(retry=Retry(max_attempts=1))
    def fail(ctx: StepContext) -> str:
        raise ValueError

    def choose(ctx: StepContext) -> Any:
        return fail

    class Asked(Workflow, key="asked"):
        start_at = ask
        retry = Retry(max_attempts=1)
        transitions = {
            ask: {"done": answer},
            answer: {"yes": Choice(choose, [fail, early])},
            early: {"soon": DONE},
            fail: {"done": DONE},
        }

    simulate(Asked, {}, runs=200)
    bug(monkeypatch)
    with pytest.raises(InvariantViolated) as found:
        simulate(Asked, {}, runs=2_000, shrinking=0)
    assert found.value.rule == "invariant 5"


def undo(ctx: StepContext) -> None:
    """Nothing is left to be undone."""


def rule_broken_within(runs: int, flows: Sequence[int]) -> str | None:
    """The first rule that some run of these workflows breaks."""
    try:
        for seed in range(runs):
            simulate(flow(flows[seed % len(flows)]), plan, seed=seed, tables=TABLES, shrinking=0)
    except InvariantViolated as violation:
        return violation.rule
    return None


@pytest.mark.parametrize("known", CORPUS, ids=lambda known: known["found"])
def test_a_run_that_once_found_a_bug_finds_none_now(known: Mapping[str, Any]) -> None:
    """Its seed, and its choices as they were when the bug was there."""
    simulate(flow(known["flow"]), plan, seed=known["seed"], tables=TABLES, check=exactly_once)
    simulate(flow(known["flow"]), plan, seed=known["seed"], tables=TABLES, check=exactly_once, choices=known["choices"])


class Order(Workflow, key="order"):
    """Pay, wait for a person, ship."""

    @step(retry=Retry(max_attempts=12, delay=timedelta(seconds=1)))
    @staticmethod
    def pay(ctx: StepContext) -> Completed:
        """Take the money."""
        return Completed("done", {"amount": ctx.initial["amount"]})

    approval = WaitForEvent("approved", "rejected", name="approval", timeout=timedelta(hours=2))

    start_at = pay
    transitions = {pay: {"done": approval}, approval: {"approved": DONE, "rejected": DONE, "timeout": DONE}}


def forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch a bug on: attempts that died with their Lambda are free."""
    bug = next(bug for bug in BUGS if bug.__name__ == "interrupted_attempts_are_free")
    bug(monkeypatch)


def test_a_seed_decides_everything() -> None:
    """Two simulations of one seed are alike to the last fault; another seed is another run."""
    first, again, other = (simulate(Order, {"amount": 3}, seed=seed, runs=20) for seed in (5, 5, 50))
    assert first == again
    assert first.faults != other.faults


def test_a_violation_tells_its_seed_its_trace_and_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shrunk choices show the same rule broken, the seed does, and without the bug neither does."""
    with monkeypatch.context() as buggy:
        forgets(buggy)
        with pytest.raises(InvariantViolated) as found:
            simulate(Order, {"amount": 3}, runs=500)
        violation = found.value
        for again in ({"choices": violation.choices}, {"shrinking": 0}):
            with pytest.raises(InvariantViolated) as repeated:
                simulate(Order, {"amount": 3}, seed=violation.seed, **again)
            assert repeated.value.rule == violation.rule == "invariant 2"
    told = str(violation)
    assert told.startswith("invariant 2: attempt 1 of pay runs twice\nworkflow Order, shrunk to ")
    assert f"simulate(Order, ..., seed={violation.seed})" in told
    assert "step pay, attempt 1" in violation.trace
    assert len(violation.trace.splitlines()) < 30, "it is the shortest that was found"
    simulate(Order, {"amount": 3}, seed=violation.seed)
    simulate(Order, {"amount": 3}, seed=violation.seed, choices=violation.choices)


def test_without_faults_every_run_ends_well_and_leaves_nothing_behind() -> None:
    """Nothing strikes; payloads arrive."""
    seen: list[Any] = []

    def check(finished: Finished) -> None:
        (shown,) = finished.instances
        seen.append((shown.steps["approval"].event, dict(shown.steps["approval"].updates)))

    report = simulate(
        Order, {"amount": 3}, runs=30, faults=NO_FAULTS, payloads={"approved": {"by": "ann"}}, check=check
    )
    assert (report.statuses, report.faults) == ({"completed": 30}, {})
    assert {event for event, _ in seen} <= {"approved", "rejected", "timeout"}
    assert ("approved", {"by": "ann"}) in seen


def test_a_check_of_ones_own_ends_the_simulation() -> None:
    """Whatever it raises is raised."""

    def check(finished: Finished) -> None:
        assert finished.instances[0].steps["pay"].updates == {"amount": 4}

    simulate(Order, lambda draw: {"amount": draw.choice([4])}, runs=3, faults=NO_FAULTS, check=check)
    with pytest.raises(AssertionError):
        simulate(Order, {"amount": 3}, faults=NO_FAULTS, check=check)


def test_steps_that_are_coroutines_are_simulated() -> None:
    """Their work is done in the middle of the step, where it may be lost."""

    @step
    async def work(ctx: StepContext) -> str:
        return "done"

    class Async(Workflow, key="async"):
        start_at = work
        transitions = {work: {"done": DONE}}

    assert simulate(Async, {}, runs=50).runs == 50


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kinds": ("crash befor a call",)}, "unknown fault"),
        ({"rates": ()}, "rates are probabilities"),
        ({"rates": (1.5,)}, "rates are probabilities"),
    ],
)
def test_faults_that_would_never_strike_are_refused(wrong: dict[str, Any], message: str) -> None:
    """A misspelt fault would silently prove nothing."""
    with pytest.raises(ValueError, match=message):
        Faults(**wrong)
