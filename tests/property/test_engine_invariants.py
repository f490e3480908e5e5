"""The engine's invariants over random graphs, outcomes and interleavings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus.engine import events as ev
from hephaestus.engine.advance import advance
from hephaestus.engine.codec import dump_events, dump_state, load_events, load_state
from hephaestus.engine.fold import apply, begin, fold
from hephaestus.engine.inbox import accept
from hephaestus.errors import CorruptLog, InstanceClosed
from tests.property.cases import Case, cases
from tests.property.driver import Driver
from tests.unit.play import one_of_each

if TYPE_CHECKING:
    from hephaestus.engine.state import State

SEEDS = st.integers(0, 2**32 - 1)


@given(cases(), SEEDS)
def test_invariant_4_a_step_runs_if_and_only_if_its_edges_say_so(case: Case, seed: int) -> None:
    """At every moment the engine skips, runs, delivers and rests exactly as the reference says, and comes to an end."""
    Driver(case, seed).run()


@given(cases(deterministic=True), SEEDS, SEEDS)
def test_invariant_4_the_steps_that_run_do_not_depend_on_the_interleaving(case: Case, one: int, other: int) -> None:
    """The same outcomes give the same steps run and skipped, in whatever order things end."""
    first, second = (
        {key: (step.status, step.event, step.taken) for key, step in Driver(case, seed).run().committed.steps.items()}
        for seed in (one, other)
    )
    assert first == second
    assert set(first) == set(case.edges)


@given(cases(deterministic=True), SEEDS)
def test_invariant_4_a_completed_instance_has_no_step_undecided(case: Case, seed: int) -> None:
    """Without a failure or a cancellation an instance completes, each step having completed or been skipped."""
    state = Driver(case, seed).run().committed
    assert state.status == "completed"
    assert {step.status for step in state.steps.values()} <= {"completed", "skipped"}
    assert set(state.steps) == set(case.edges)


@given(cases(), SEEDS)
def test_invariant_2_no_step_completes_twice(case: Case, seed: int) -> None:
    """After a step has completed, the log refuses anything more about it."""
    driver = Driver(case, seed).run()
    seen: dict[str, int] = {}
    for entry in driver.log:
        for event in entry.events:
            if isinstance(event, ev.StepCompleted):
                assert event.step not in seen
                seen[event.step] = entry.sequence
    for step, sequence in seen.items():
        state = _at(driver, sequence)
        if state.status != "running":
            continue
        for again in (
            ev.StepCompleted(step, "e0", ()),
            ev.StepWaiting(step),
            ev.StepFailed(step, 1, ev.Failure("Boom", "")),
            ev.StepsSkipped((step,)),
        ):
            with pytest.raises(CorruptLog, match=f"step {step} is completed"):
                apply(state, [again], driver.now)


@given(cases(), SEEDS, st.data())
def test_invariant_9_any_snapshot_plus_the_rest_of_the_log_is_the_whole_log(
    case: Case, seed: int, data: st.DataObject
) -> None:
    """Folding the log, read back from bytes, from any snapshot, read back from bytes, gives the same state."""
    driver = Driver(case, seed).run()
    stored = [replace(entry, events=load_events(dump_events(entry.events))) for entry in driver.log]
    assert stored == driver.log
    cuts = data.draw(st.lists(st.integers(1, len(stored)), min_size=1, max_size=3), label="cuts")
    state = begin("order::1", 1, stored[0])
    done = 1
    for cut in sorted(cuts):
        state = load_state(dump_state(fold(state, stored[done:cut])))
        assert state == _at(driver, cut)
        done = cut
    assert fold(state, stored[done:]) == driver.committed


@given(cases(), SEEDS, st.data())
def test_invariant_1_a_log_with_a_gap_or_a_repetition_is_refused(case: Case, seed: int, data: st.DataObject) -> None:
    """An entry that is missing, repeated or out of order is never folded over."""
    driver = Driver(case, seed).run()
    position = data.draw(st.integers(1, len(driver.log) - 1), label="position")
    state = _at(driver, position)
    wrong = [entry for entry in driver.log if entry.sequence != position + 1]
    for entry in wrong:
        with pytest.raises(CorruptLog, match="follows entry"):
            fold(state, [entry])


@given(cases(), SEEDS)
def test_invariant_8_a_closed_instance_never_changes(case: Case, seed: int) -> None:
    """The engine wants nothing more of it, it takes no event, and any entry behind its end is a corrupt log."""
    driver = Driver(case, seed).run()
    state = driver.committed
    assert advance(case.graph, state, driver.now + 10**9) == ()
    assert advance(case.graph, state, driver.now, {"s0"}) == ()
    with pytest.raises(InstanceClosed, match=state.status):
        accept(case.graph, state, "e0")
    for event in one_of_each():
        with pytest.raises(CorruptLog, match=f"is {state.status}"):
            apply(state, [event], driver.now)


def _at(driver: Driver, sequence: int) -> State:
    return fold(begin("order::1", 1, driver.log[0]), driver.log[1:sequence])
