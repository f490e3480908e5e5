"""Tens of thousands of simulated runs, the bugs that the simulator must find, and the runs that once found one."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, FAIL, Choice, Completed, Pending, Put, Retry, StepContext, Workflow, step
from hephaestus.engine import shards
from hephaestus.runtime import telemetry
from hephaestus.simulation import FAULTS, NO_FAULTS, Faults, Finished, InvariantViolated, Report, numberings, simulate
from hephaestus.steps import Map, WaitForEvent
from hephaestus.store import sharded_permits
from tests import engines
from tests.property import map_limit_bugs
from tests.property.children_bugs import BUGS as OF_CHILDREN
from tests.property.deliberate_bugs import AFTER_COMPENSATION, BUGS, OF_CHECKPOINTS, OF_DEATHS, OF_LOOPS, OF_MAPS
from tests.property.limit_bugs import BUGS as OF_LIMITS
from tests.property.limit_bugs import FLOWS as LIMITED
from tests.property.limit_bugs import OF_SHARDS
from tests.property.limit_bugs import SHOWN_BY as SHOWS_LIMITS
from tests.property.map_flows import of_run, of_workflows
from tests.property.map_limit_bugs import BUGS as OF_LIMITED_MAPS
from tests.property.map_rate_bugs import BUGS as OF_RATED_MAPS
from tests.property.map_rate_bugs import rates as rates_of_items
from tests.property.random_flows import LOOPING, MAPPING, NESTING, REPEATING, SPREADING, TABLES, deadly_plan, flow, plan
from tests.property.rate_bugs import BUGS as OF_RATES
from tests.property.rate_bugs import FLOWS as RATED
from tests.property.rate_bugs import SHOWN_BY as SHOWS_RATES
from tests.property.repeat_bugs import BUGS as OF_REPEATS
from tests.property.tree_bugs import BUGS as OF_TREES
from tests.property.tree_bugs import OF_WORKFLOWS
from tests.property.workflow_limit_bugs import BUGS as OF_WHOLE_LIMITS
from tests.property.workflow_limit_bugs import FLOWS as WHOLE_LIMITED
from tests.property.workflow_limit_bugs import SHOWN_BY as SHOWS_WHOLE_LIMITS
from tests.property.workflow_limit_bugs import Kid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

RUNS = 4_000 if engines.in_ci() else 2_000
PART = 2_000  # so many that the rarest fault strikes some fifteen times
FLOWS = 600  # a sixth of them with loops, another with maps, a fifth with results that are left to boundaries
FEWER_FLOWS = 60
BUDGET = 3_000
AT_ONCE = 25  # a bug that so many runs find is sought from the first run on
CORPUS, FIRST_SEEN = (
    json.loads((Path(__file__).parent / "corpus" / name).read_text()) for name in ("seeds.json", "first_seen.json")
)


def exactly_once(finished: Finished) -> None:
    """Invariant 7, as the tables have it: no write happened twice."""
    twice = [item for item in finished.tables["effects"].items() if item["seen"] != 1]
    assert not twice, "invariant 7"
    for shown in finished.instances:
        of_child = any(one.child and one.results == shown.output for one in shown.steps.values())
        if shown.status == "completed" and shown.output and set(shown.output) == {"events"} and not of_child:
            events = {key: one.event for key, one in shown.steps.items() if one.event is not None}
            assert shown.output == {"events": events}, "output"


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


def test_the_invariants_hold_for_several_workflows_in_one_world() -> None:
    """Clients start the others whenever they like; all instances share time, messages, sweeps and whatever strikes."""
    names: Counter[str] = Counter()

    def check(finished: Finished) -> None:
        exactly_once(finished)
        names.update({shown.workflow for shown in finished.instances})

    for seed in range(PART // 40):
        others: dict[type[Workflow], Any] = {flow(LOOPING + seed % 60, "beside"): plan, Order: {"amount": 3}}
        simulate(flow(seed), plan, seed=seed, tables=TABLES, beside=others, check=check)
    assert names[Order.name] == names.total() / 3 == PART // 40, "each of the three is in every world"


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_deliberate_bug_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule that it breaks, within the runs that every build makes."""
    bug(monkeypatch)
    assert rule_broken((flow(seed % FEWER_FLOWS), plan, seed) for seed in seeds(bug)) in BUGS[bug]


@pytest.mark.parametrize("bug", OF_LOOPS, ids=lambda bug: bug.__name__)
def test_a_bug_in_rounds_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule that it breaks, on workflows that have loops (rules B.1 to B.5 and B.8)."""
    bug(monkeypatch)
    assert rule_broken((flow(LOOPING + seed % FEWER_FLOWS), plan, seed) for seed in seeds(bug)) in OF_LOOPS[bug]


def _writes(ctx: StepContext) -> Completed:
    return Completed("done", writes=[Put("effects", {"pk": ctx.idempotency_key, "seen": 1})])


class Left(Workflow, key="left", checkpoint="boundaries"):
    """Steps whose results are left, side by side and in a row, beside one that is checkpointed and one that waits."""

    retry = Retry(max_attempts=8, delay=timedelta(milliseconds=700), jitter="none", backoff="constant")
    begin, slow, quick, after = (step(key=name)(lambda ctx: "done") for name in ("begin", "slow", "quick", "after"))
    once = step(key="once", semantics="at_most_once")(lambda ctx: "done")
    asked, wrote = WaitForEvent("go", name="asked"), step(key="wrote")(_writes)
    last = step(key="last")(lambda ctx: "done")
    start_at = begin
    transitions = {
        begin: {"done": [slow, quick]},
        quick: {"done": once},
        slow: {"done": after},
        after: {"done": wrote},
        wrote: {"done": last},
        once: {"done": asked, "error": asked},
        asked: {"go": last},
        last: {"done": DONE},
    }


class Row(Workflow, key="row", checkpoint="boundaries"):
    """Steps in a row, all of which are left, beside one that waits."""

    one, two, three = (step(key=name)(lambda ctx: "done") for name in ("one", "two", "three"))
    start_at = one
    transitions = {
        one: {"done": [two, Left.asked]},
        two: {"done": three},
        three: {"done": Left.last},
        Left.asked: {"go": Left.last},
        Left.last: {"done": DONE},
    }


LEAVING = (Left, Row)
SLOW = Faults(kinds=["step too long"], rates=(0.5,))
SHOWN_BY = {"left_for_ever": SLOW}


def test_results_that_are_left_to_the_next_commit_keep_the_rules() -> None:
    """Rule E.1: random workflows have few of them side by side with others."""
    for workflow in LEAVING:
        simulate(workflow, {}, runs=60, tables=TABLES)


def test_a_start_that_is_made_again_after_its_instance_expired_is_another() -> None:
    """A run in which the ledger took the one that asked first for the owner."""
    others: dict[type[Workflow], Any] = {flow(395, "beside"): plan, Left: {}, Row: {}}
    assert simulate(flow(465), plan, seed=95, tables=TABLES, beside=others).runs == 1


@pytest.mark.parametrize("bug", OF_CHECKPOINTS, ids=lambda bug: bug.__name__)
def test_a_bug_in_checkpoints_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule that it breaks (rule E.1)."""
    bug(monkeypatch)
    runs: Iterable[tuple[type[Workflow], Any, int]] = ((LEAVING[seed % len(LEAVING)], {}, seed) for seed in seeds(bug))
    assert rule_broken(runs, SHOWN_BY.get(bug.__name__)) in OF_CHECKPOINTS[bug]


class Several(Workflow, key="several"):
    """A map whose items fail at first, wait or write; then a step fails, and they are undone."""

    @step(events=("done", "go", "timeout"), retry=Retry(max_attempts=3, delay=1), compensate=lambda ctx: None)
    @staticmethod
    def work(ctx: StepContext) -> Completed | Pending:
        """Work for an item."""
        if ctx.index == 1 and ctx.attempt == 1:
            raise ValueError
        return Pending(timeout=60) if ctx.index > 1 else Completed("done", {"index": ctx.index})

    @step(retry=Retry(max_attempts=1))
    @staticmethod
    def fail(ctx: StepContext) -> str:
        """Fail."""
        raise ValueError

    every = Map(work, over=lambda ctx: list("abcd"), tolerate=2)
    start_at = every
    transitions = {every: {"done": fail}, fail: {"done": DONE}}


class Partly(Workflow, key="partly"):
    """A map of which some items fail for good, while others run; nothing is undone."""

    @step(retry=Retry(max_attempts=1))
    @staticmethod
    def work(ctx: StepContext) -> Completed:
        """Work for an item, and fail for some."""
        if ctx.item in {"b", "c"}:
            raise ValueError
        return Completed("done", {"index": ctx.index})

    every = Map(work, over=lambda ctx: list("abcdef"), tolerate=1, key=str)
    start_at = every
    transitions = {every: {"done": DONE}}


class Raced(Workflow, key="raced"):
    """Items that wait for an event or a time, whichever comes first."""

    every = Map(WaitForEvent("go", timeout=30, name="wait"), over=lambda ctx: [1, 2, 3])
    start_at = every
    transitions = {every: {"done": DONE}}


# Bugs that few workflows show.
RARE: dict[str, type[Workflow]] = {
    "items_repeat_what_is_decided": Raced,
    "used_requests_of_items_are_remembered": Several,
}


@pytest.mark.parametrize("bug", OF_MAPS, ids=lambda bug: bug.__name__)
def test_a_bug_in_maps_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule that it breaks, on workflows that have maps (rules C.1, C.6 to C.8, C.11 and C.13)."""
    bug(monkeypatch)
    flows = [flow(MAPPING + number) for number in range(FEWER_FLOWS)]
    if bug.__name__ in RARE:
        assert rule_broken((RARE[bug.__name__], {}, seed) for seed in seeds(bug)) in OF_MAPS[bug]
        return
    own: tuple[type[Workflow], ...] = (Several, Partly)
    both: Any = (((own[seed % len(own)], {}, seed), (flows[seed % FEWER_FLOWS], plan, seed)) for seed in seeds(bug))
    assert rule_broken(chain.from_iterable(both)) in OF_MAPS[bug]


class Beside(Workflow, key="beside"):
    """Steps side by side, one of which runs at most once; a Choice of what another waited for."""

    retry = Retry(max_attempts=8, delay=timedelta(milliseconds=700), jitter="none", backoff="constant")
    begin, one, two = (step(key=name)(lambda ctx: "done") for name in ("begin", "one", "two"))
    once = step(key="once", semantics="at_most_once")(lambda ctx: "done")
    short = step(key="short", timeout=30)(lambda ctx: "done")
    asked, after = WaitForEvent("go", name="asked"), step(key="after")(lambda ctx: "done")
    last = step(key="last")(lambda ctx: "done")
    start_at = begin
    transitions = {
        begin: {"done": [one, two, once, short, asked]},
        one: {"done": last},
        two: {"done": last},
        once: {"done": last, "error": last},
        short: {"done": last},
        asked: {"go": Choice(lambda ctx: Beside.after, [after, last])},
        after: {"done": last},
        last: {"done": DONE},
    }


DEATHS = Faults(kinds=("crash in a step", "crash before a call", "crash after a call"), rates=(0.1, 0.3))


def test_what_died_with_others_runs_alone() -> None:
    """Rule A.2: whatever dies, and however often, before each has come to an end of its own."""
    report = simulate(Beside, {}, runs=100, faults=DEATHS)
    assert report.faults["crash in a step"] > 50, "one that never strikes proves nothing"


@pytest.mark.parametrize("bug", OF_DEATHS, ids=lambda bug: bug.__name__)
def test_a_bug_in_isolation_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By rule A.2."""
    bug(monkeypatch)
    assert rule_broken(((Beside, {}, seed) for seed in seeds(bug)), DEATHS) in OF_DEATHS[bug]


def test_the_invariants_hold_for_trees_of_children() -> None:
    """Rules D.2, D.3, D.5, D.7 and D.9, invariant 12: nested and detached children, steered at any time."""
    statuses: Counter[str] = Counter()
    for seed in range(PART // 10):
        faults = NO_FAULTS if seed % 4 == 3 else None
        statuses += simulate(
            flow(NESTING + seed % 200), plan, seed=seed, tables=TABLES, check=exactly_once, faults=faults
        ).statuses
    assert statuses.total() > PART // 5, "children are among them"
    assert set(statuses) == {"completed", "failed", "cancelled", "undone"}


@pytest.mark.parametrize("bug", OF_CHILDREN, ids=lambda bug: bug.__name__)
def test_a_bug_between_instances_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule that it breaks, on trees; every fourth run without a fault."""
    bug(monkeypatch)
    runs = ((flow(NESTING + seed % 200), plan, seed) for seed in seeds(bug))
    assert rule_broken(runs, faultless=4) in OF_CHILDREN[bug]


def test_the_invariants_hold_for_children_of_rounds() -> None:
    """Rules B.7 and D.9: workflows that are started again and again, undone and steered at any time."""
    statuses: Counter[str] = Counter()
    for seed in range(PART // 40):
        number, faults = REPEATING + seed % 200, NO_FAULTS if seed % 4 == 3 else None
        statuses += simulate(flow(number), plan, seed=seed, tables=TABLES, check=exactly_once, faults=faults).statuses
    assert set(statuses) == {"completed", "failed", "cancelled", "undone"}


@pytest.mark.parametrize("bug", OF_REPEATS, ids=lambda bug: bug.__name__)
def test_a_bug_in_what_is_repeated_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule that it breaks; every fourth run without a fault."""
    bug(monkeypatch)
    runs = ((flow(REPEATING + seed % 200), plan, seed) for seed in seeds(bug))
    assert rule_broken(runs, faultless=4) in OF_REPEATS[bug]


class Asked(Workflow, key="asked"):
    """It is asked for an answer, fails, and is undone; after a redrive it is asked again."""

    @step(compensate=lambda ctx: None)
    @staticmethod
    def ask(ctx: StepContext) -> str:
        """Ask."""
        return "done"

    @step(retry=Retry(max_attempts=1))
    @staticmethod
    def fail(ctx: StepContext) -> str:
        """Fail."""
        raise ValueError

    answer, early = WaitForEvent("yes", name="answer"), WaitForEvent("soon", name="early")
    start_at = ask
    retry = Retry(max_attempts=1)
    transitions = {
        ask: {"done": answer},
        answer: {"yes": Choice(lambda ctx: Asked.fail, [fail, early])},
        early: {"soon": DONE},
        fail: {"done": DONE},
    }


TREES = 200  # workflows with maps whose items are in trees


def tree(seed: int) -> tuple[type[Workflow], Any, int]:
    """A workflow with a tree, its start data, and the seed: one of those above, or a random one."""
    number, which = divmod(seed, 1 + len(OF_TWO_LEVELS))
    return (OF_TWO_LEVELS[which - 1], {}, seed) if which else (flow(SPREADING + number % TREES), deadly_plan, seed)


def of_tree(number: int) -> dict[str, Any]:
    """How a tree is simulated: every fourth without a fault, with two or three instances below one."""
    return {"tables": TABLES, "fan": 2 + number % 2, "faults": NO_FAULTS if number % 4 == 3 else None}


@pytest.mark.parametrize("first", range(0, RUNS // 10, PART // 10))
def test_the_invariants_hold_for_maps_whose_items_are_in_trees(first: int) -> None:
    """Rules C.1, C.2, C.6, C.8, C.13, D.7, I.1 to I.3 and I.10: the sizes differ, and they are steered at any time."""
    statuses: Counter[str] = Counter()
    for seed in range(first, first + PART // 10):
        own = of_tree(seed)
        statuses += simulate(flow(SPREADING + seed % TREES), deadly_plan, seed=seed, check=exactly_once, **own).statuses
    assert statuses.total() > PART // 10 * 3, "the instances of the trees are among them"
    assert set(statuses) == {"completed", "failed", "cancelled", "undone"}


class Wide(Workflow, key="wide"):
    """A map of two levels, some of whose items fail, wait or are repeated; then a step fails, and they are undone."""

    @step(events=("done", "go", "timeout"), retry=Retry(max_attempts=3, delay=1), compensate=lambda ctx: None)
    @staticmethod
    def work(ctx: StepContext) -> Completed | Pending:
        """Work for an item."""
        if ctx.index % 4 == 1 and (ctx.attempt == 1 or ctx.index == 5):
            raise ValueError
        return Pending(timeout=60) if ctx.index == 2 else Completed("done", {"index": ctx.index})

    fail = Asked.fail
    every = Map(work, over=lambda ctx: list("abcdefghijk"), tolerate=1, chunk=2, concurrency=5)
    start_at = every
    transitions = {every: {"done": fail}, fail: {"done": DONE}}


class Broken(Workflow, key="broken"):
    """A map of two levels that fails early; nothing is undone, so that a redrive goes on with it."""

    @step(retry=Retry(max_attempts=1))
    @staticmethod
    def work(ctx: StepContext) -> Completed:
        """Work for an item, and fail for some."""
        if ctx.item in "bdf":
            raise ValueError
        return Completed("done", {"index": ctx.index})

    every = Map(work, over=lambda ctx: list("abcdefghi"), tolerate=1, key=str, chunk=2, concurrency=3)
    start_at = every
    transitions = {every: {"done": DONE}}


def _holds(ctx: StepContext) -> Completed | Pending:
    if ctx.index == 1:
        raise ValueError
    return Pending(timeout=3_600) if ctx.index % 2 == 0 else Completed("done", {"index": ctx.index})


class Held(Workflow, key="held"):
    """A map of two levels, one of whose items has failed while others wait for long."""

    work = step(key="work", events=("done", "go", "timeout"), retry=Retry(max_attempts=1))(_holds)
    every = Map(work, over=lambda ctx: list("abcdef"), tolerate=1, chunk=2)
    start_at = every
    transitions = {every: {"done": DONE}}


def _tears(ctx: StepContext) -> Completed | Pending:
    if ctx.index in {3, 4, 7}:
        raise ValueError
    return Pending(timeout=60) if ctx.index == 2 else Completed("done", {"index": ctx.index})


def _early(ctx: StepContext) -> Completed | Pending:
    if ctx.index % 3 and (ctx.attempt == 1 or ctx.index == 4):
        raise ValueError
    return Pending() if ctx.index % 3 else Completed("done", {"index": ctx.index})


class Early(Workflow, key="early"):
    """A map of which items are given events before they wait for them; then one fails, and all are undone."""

    often = Retry(max_attempts=2, delay=20, jitter="none")
    work = step(key="work", events=("done", "go"), retry=often, compensate=lambda ctx: None)(_early)
    every = Map(work, over=lambda ctx: list("abcdef"), chunk=2)
    start_at = every
    transitions = {every: {"done": DONE}}


class Torn(Workflow, key="torn"):
    """A map of two levels that fails, and is undone."""

    once = Retry(max_attempts=1)
    work = step(key="work", events=("done", "go", "timeout"), retry=once, compensate=lambda ctx: None)(_tears)
    every = Map(work, over=lambda ctx: list("abcdefgh"), tolerate="25%", chunk=2, concurrency=6)
    start_at = every
    transitions = {every: {"done": DONE}}


def _halts(ctx: StepContext) -> Completed | Pending:
    if ctx.index < 2:
        raise ValueError
    return Pending(timeout=60) if ctx.index == 2 else Completed("done")


class Halted(Workflow, key="halted"):
    """A map whose first leaf fails while the next one has an item that waits and one that has not begun."""

    work = step(key="work", events=("done", "go", "timeout"), retry=Retry(max_attempts=1))(_halts)
    every = Map(work, over=lambda ctx: list("abcdef"), tolerate=1, chunk=2, concurrency=3)
    start_at = every
    transitions = {every: {"done": DONE}}


OF_TWO_LEVELS = (Wide, Broken, Held, Torn)
STEERED: Faults = Faults(kinds=["message late"], rates=(0.02,))


@step(key="work", retry=Retry(max_attempts=1))
def _fails_for_one(ctx: StepContext) -> str:
    if ctx.index == 1:
        raise ValueError
    return "done"


class Failing(Workflow, key="flow"):
    """A map that fails, is redriven, and is deleted: all at one time."""

    start_at = Map(_fails_for_one, over=lambda _: range(6), chunk=2, name="every")
    transitions = {start_at: {"done": DONE}}


class Fewer(Workflow, key="flow"):
    """The same with a part less."""

    start_at = Map(_fails_for_one, over=lambda _: range(3), chunk=2, name="every")
    transitions = {start_at: {"done": DONE}}


class Answered(Workflow, key="flow"):
    """A map whose parts have completed; then it fails, whatever it is told, and waits again once it is redriven."""

    every = Map(step(key="work")(lambda ctx: "done"), over=lambda _: range(2), chunk=1, name="every")
    answer = WaitForEvent("yes", "no", name="answer")
    start_at = every
    transitions = {every: {"done": answer}, answer: {"yes": FAIL("no"), "no": FAIL("no")}}


FROZEN = Faults(kinds=("zombie", "message late"), rates=(0.05,))
DELETED = Faults(kinds=("zombie", "message late"), rates=(0.2,))
BROKEN_OFF = Faults(kinds=["zombie"], rates=(0.2,))
RARE_IN_TREES: dict[str, tuple[type[Workflow], Faults]] = {
    "asked_again_of_what_goes_on": (Fewer, BROKEN_OFF),
    "cancelled_parts_are_over": (Held, STEERED),
    "cancelled_parts_repeat_what_was_tolerated": (Held, STEERED),
    "deletion_begins_below": (Failing, DELETED),
    "deletion_trusts_a_head_that_lags": (Fewer, BROKEN_OFF),
    "events_end_with_their_part": (Early, STEERED),
    "events_of_undone_items_left_behind": (Early, STEERED),
    "redriven_trees_expire": (Answered, FROZEN),
    "slow_ends_are_heard": (Answered, FROZEN),
    "stops_no_part": (Halted, NO_FAULTS),
    "unpaused_for_a_pause": (Answered, FROZEN),
}


def test_a_tree_that_was_redriven_does_not_expire() -> None:
    """Rule D.11: nor is it paused for ever, whatever a worker that was frozen says late; runs that once found a bug."""
    simulate(Answered, {}, runs=60, faults=FROZEN, fan=2)
    for seed in (85, 100, 224, 375):
        simulate(Answered, {}, seed=seed, faults=FROZEN, fan=2)
    simulate(Fewer, {}, seed=2048, faults=BROKEN_OFF, fan=2)
    simulate(Fewer, {}, seed=2445, faults=Faults(kinds=("zombie", "message late"), rates=(0.3,)), fan=2)
    simulate(Fewer, {}, seed=60, faults=Faults(kinds=("zombie", "call refused"), rates=(0.1,)), fan=2)


def test_events_are_there_for_items_that_run_again() -> None:
    """Invariant 5: the items of a tree that goes on, or begins anew, have what was accepted for them before."""
    simulate(Early, {}, runs=60, faults=STEERED, fan=2)


@pytest.mark.parametrize("bug", OF_TREES, ids=lambda bug: bug.__name__)
def test_a_bug_in_trees_of_maps_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule that it breaks."""
    bug(monkeypatch)
    if bug.__name__ in RARE_IN_TREES:
        workflow, faults = RARE_IN_TREES[bug.__name__]
        assert rule_broken(((workflow, {}, seed) for seed in seeds(bug)), faults, fan=2) in OF_TREES[bug]
        return
    assert rule_broken(map(tree, seeds(bug)), faultless=8, fan=2) in OF_TREES[bug]


def test_the_invariants_hold_for_maps_whose_items_are_workflows() -> None:
    """Rules C.6, C.8, C.13, C.15, D.7 and D.9: in one instance and in trees, steered at any time."""
    statuses: Counter[str] = Counter()
    for seed in range(PART // 20):
        statuses += simulate(of_workflows(seed), {}, seed=seed, **of_run(seed)).statuses
    assert statuses.total() > PART // 20 * 3, "the items' instances are among them"
    assert set(statuses) == {"completed", "failed", "cancelled", "undone"}


@pytest.mark.parametrize("bug", OF_WORKFLOWS, ids=lambda bug: bug.__name__)
def test_a_bug_in_maps_of_workflows_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule that it breaks; every fourth run without a fault."""
    bug(monkeypatch)
    runs: Iterator[tuple[type[Workflow], Any, int]] = ((of_workflows(seed), {}, seed) for seed in seeds(bug))
    assert rule_broken(runs, faultless=4, fan=2) in OF_WORKFLOWS[bug]


class Undone(Workflow, key="undone"):
    """A step that is undone at once, and again after each redrive."""

    start_at = Asked.ask
    transitions = {Asked.ask: {"done": Asked.fail}, Asked.fail: {"done": DONE}}


class Tied(Workflow, key="tied"):
    """Two steps that may complete at one time, and are undone."""

    @step
    @staticmethod
    def begin(ctx: StepContext) -> str:
        """Begin."""
        return "done"

    left = step(compensate=lambda ctx: None, key="left")(lambda ctx: "done")
    right = step(compensate=lambda ctx: None, key="right")(lambda ctx: "done")
    start_at = begin
    transitions = {
        begin: {"done": [left, right]},
        left: {"done": Asked.fail},
        right: {"done": Asked.fail},
        Asked.fail: {"done": DONE},
    }


class Refused(Workflow, key="refused"):
    """Its answer leads to FAIL; after a redrive it is asked again."""

    answer = WaitForEvent("yes", "no", name="answer")
    start_at = answer
    transitions = {answer: {"yes": DONE, "no": FAIL("refused")}}
    on_failure = step(key="tell")(lambda ctx: "done")
    timeout = timedelta(hours=3)


class Told(Workflow, key="told"):
    """What wakes it has nothing left to do but to make its output."""

    answer = Refused.answer
    start_at = answer
    transitions = {answer: {"yes": DONE, "no": DONE}}

    @staticmethod
    def output(ctx: StepContext) -> dict[str, Any]:
        """What happened."""
        return {"events": dict(ctx.events)}


AFTERWARDS = (Asked, Undone, Tied, Refused, Told)


def test_an_instance_that_is_undone_and_redriven_keeps_the_rules() -> None:
    """Random workflows get there too seldom."""
    for workflow in AFTERWARDS:
        simulate(workflow, {}, runs=200)


@pytest.mark.parametrize("bug", AFTER_COMPENSATION, ids=lambda bug: bug.__name__)
def test_a_bug_after_a_compensation_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule that it breaks, on workflows that get there."""
    bug(monkeypatch)
    assert rule_broken((AFTERWARDS[seed % len(AFTERWARDS)], {}, seed) for seed in seeds(bug)) in AFTER_COMPENSATION[bug]


def seeds(bug: Callable[[Any], None]) -> Iterator[int]:
    """The runs that may find a bug: one after the other, from where it was seen when somebody last looked.

    With ``SEEK_BUGS`` set to a file, from the first on, and the file is told where those that take long are seen.
    """
    if (file := os.environ.get("SEEK_BUGS")) is None:
        first = FIRST_SEEN.get(bug.__name__, 0)
        yield from range(first, first + BUDGET)
        return
    for seed in range(BUDGET):
        if seed >= AT_ONCE:
            known = json.loads(Path(file).read_text()) if Path(file).exists() else {}
            Path(file).write_text(json.dumps({**known, bug.__name__: seed}, indent=2, sort_keys=True) + "\n")
        yield seed


def rule_broken(
    runs: Iterable[tuple[type[Workflow], Any, int]],
    faults: Faults | None = None,
    faultless: int = BUDGET,
    **how: Any,
) -> str | None:
    """The first rule that a run breaks, of a workflow, with start data, from a seed; some are without faults."""
    with pytest.MonkeyPatch.context() as patch:
        # The functions' handlers, where a test before has imported them, take turns of their own: other runs then.
        patch.setattr(telemetry, "_wanted", frozenset())
        try:
            for workflow, context, seed in runs:
                these = NO_FAULTS if seed % faultless == faultless - 1 else faults
                simulate(workflow, context, seed=seed, tables=TABLES, faults=these, shrinking=0, **how)
        except InvariantViolated as violation:
            return violation.rule
    return None


def limited(seed: int, faults: Faults | None = None) -> Report:
    """A run of workflows that contend for limits; every fourth one calm, or with little that can go wrong."""
    own = LIMITED[seed % len(LIMITED)]
    others: dict[type[Workflow], Any] = {flow: {} for flow in LIMITED if flow is not own}
    mild = (None, None, NO_FAULTS, Faults(kinds=("step too long", "message late"), rates=(0.3,)))[seed % 4]
    return simulate(own, {}, seed=seed, beside=others, faults=faults or mild, shrinking=0)


def test_invariant_10_holds_for_workflows_that_contend_for_limits() -> None:
    """Rules F.1, F.3 and F.4: who runs has its permits, lines keep their order, and everyone is called."""
    for seed in range(PART // 16):
        limited(seed)


@pytest.mark.parametrize("bug", OF_LIMITS, ids=lambda bug: bug.__name__)
def test_a_bug_in_limits_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By invariant 10, or as someone waits for ever."""
    bug(monkeypatch)
    rules = set()
    for seed in seeds(bug):
        try:
            limited(seed, SHOWS_LIMITS.get(bug.__name__))
        except InvariantViolated as violation:
            rules.add(violation.rule)
            break
    assert rules
    assert rules <= OF_LIMITS[bug]


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each permit is a shard of its own, so that few instances contend for several."""
    for module in (shards, sharded_permits, numberings):
        monkeypatch.setattr(module, "MOST", 1)


@pytest.mark.usefixtures("alone")
def test_invariant_10_holds_for_limits_in_shards() -> None:
    """Rule F.6: of steps and of workflows, beside limits of one."""
    for seed in range(PART // 16):
        limited(seed)
        limited_whole(seed)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("bug", OF_SHARDS, ids=lambda bug: bug.__name__)
def test_a_bug_in_shards_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By invariant 10, or as someone waits for ever."""
    bug(monkeypatch)
    rules = set()
    for seed in seeds(bug):
        try:
            limited_whole(seed)
        except InvariantViolated as violation:
            rules.add(violation.rule)
            break
    assert rules
    assert rules <= OF_SHARDS[bug]


def limited_whole(seed: int, faults: Faults | None = None) -> Report:
    """A run of workflows whose instances contend for limits, and that run each other; see ``limited``."""
    own = WHOLE_LIMITED[seed % len(WHOLE_LIMITED)]
    others: dict[type[Workflow], Any] = {flow: {} for flow in (*WHOLE_LIMITED, Kid) if flow is not own}
    turn = seed // len(WHOLE_LIMITED) % 4
    mild = (None, None, NO_FAULTS, Faults(kinds=("step too long", "message late"), rates=(0.3,)))[turn]
    return simulate(own, {}, seed=seed, beside=others, faults=faults or mild, shrinking=0)


def test_invariant_10_holds_for_workflows_with_limits_of_their_own() -> None:
    """Rules F.1 to F.4: no more are under way than there are permits, and those below a holder have its own."""
    for seed in range(PART // 16):
        limited_whole(seed)


@pytest.mark.parametrize("bug", OF_WHOLE_LIMITS, ids=lambda bug: bug.__name__)
def test_a_bug_in_limits_of_workflows_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule that it breaks."""
    bug(monkeypatch)
    rules = set()
    for seed in seeds(bug):
        try:
            limited_whole(seed, SHOWS_WHOLE_LIMITS.get(bug.__name__))
        except InvariantViolated as violation:
            rules.add(violation.rule)
            break
    assert rules
    assert rules <= OF_WHOLE_LIMITS[bug]


def rated(seed: int, faults: Faults | None = None) -> Report:
    """A run of workflows that contend for rates; every fourth one calm, or with little that can go wrong."""
    own = RATED[seed % len(RATED)]
    others: dict[type[Workflow], Any] = {flow: {} for flow in RATED if flow is not own}
    mild = (None, None, NO_FAULTS, Faults(kinds=("step too long", "message late"), rates=(0.3,)))[seed % 4]
    return simulate(own, {}, seed=seed, beside=others, faults=faults or mild, shrinking=0)


def test_no_window_has_too_many_starts_and_everyone_starts() -> None:
    """Rule F.7: by the times reserved and by the clock, over a record kept apart from the engine; lines move."""
    for seed in range(PART // 16):
        rated(seed)


@pytest.mark.parametrize("bug", OF_RATES, ids=lambda bug: bug.__name__)
def test_a_bug_in_rates_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By rule F.7, or as someone waits for ever."""
    bug(monkeypatch)
    rules = set()
    for seed in seeds(bug):
        try:
            rated(seed, SHOWS_RATES.get(bug.__name__))
        except InvariantViolated as violation:
            rules.add(violation.rule)
            break
    assert rules
    assert rules <= OF_RATES[bug]


def limited_map(seed: int) -> Report:
    """A run of two maps that contend for limits: in the instance, or in leaves of two or three items."""
    return simulate(map_limit_bugs.mapping(seed), {}, seed=seed, shrinking=0, **map_limit_bugs.of_run(seed))


def test_invariant_10_holds_for_maps_under_limits() -> None:
    """Rules F.1, F.2 and F.9: a leaf has its permits while its items run, and no longer."""
    statuses: Counter[str] = Counter()
    for seed in range(PART // 16):
        statuses += limited_map(seed).statuses
    assert set(statuses) == {"completed", "failed", "cancelled", "undone"}


@pytest.mark.parametrize("bug", OF_LIMITED_MAPS, ids=lambda bug: bug.__name__)
def test_a_bug_in_what_leaves_hold_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By invariant 10."""
    bug(monkeypatch)
    with pytest.raises(InvariantViolated) as caught:
        list(map(limited_map, seeds(bug)))
    assert caught.value.rule in OF_LIMITED_MAPS[bug]


def rated_map(seed: int) -> Report:
    """A run of two maps whose items contend for rates: in the instance, or in leaves of two or three items."""
    own, run = map_limit_bugs.mapping(seed, rates=rates_of_items), map_limit_bugs.of_run(seed, rates_of_items)
    return simulate(own, {}, seed=seed, shrinking=0, **run)


def test_each_attempt_of_an_item_starts_in_a_time_of_its_own() -> None:
    """Rules F.7 and F.9: by the times reserved and by the clock, over a record kept apart from the engine."""
    statuses: Counter[str] = Counter()
    for seed in range(PART // 16):
        statuses += rated_map(seed).statuses
    assert {"completed", "failed", "cancelled"} <= set(statuses)


@pytest.mark.parametrize("bug", OF_RATED_MAPS, ids=lambda bug: bug.__name__)
def test_a_bug_in_the_times_of_items_is_found(bug: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """By rule F.7, or as an item waits for ever."""
    bug(monkeypatch)
    with pytest.raises(InvariantViolated) as caught:
        list(map(rated_map, seeds(bug)))
    assert caught.value.rule in OF_RATED_MAPS[bug]


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
        seen.append((shown.steps["approval"].event, dict(shown.steps["approval"].results)))

    report = simulate(
        Order, {"amount": 3}, runs=30, faults=NO_FAULTS, payloads={"approved": {"by": "ann"}}, check=check
    )
    assert (report.statuses, report.faults) == ({"completed": 30}, {})
    assert {event for event, _ in seen} <= {"approved", "rejected", "timeout"}
    assert ("approved", {"by": "ann"}) in seen


def test_steps_that_make_links_are_simulated() -> None:
    """They are signed as on AWS; events from outside answer what waits."""
    answered = WaitForEvent("yes", name="answered")

    @step
    def ask(ctx: Any) -> dict[str, str]:
        return {"link": ctx.callback_url("yes", step="answered")}

    class Linked(Workflow, key="linked"):
        start_at = ask
        transitions = {ask: {"done": answered}, answered: {"yes": DONE}}

    assert simulate(Linked, {}, seed=1, runs=2, faults=NO_FAULTS).statuses == {"completed": 2}


def test_a_check_of_ones_own_ends_the_simulation() -> None:
    """Whatever it raises is raised."""

    def check(finished: Finished) -> None:
        assert finished.instances[0].steps["pay"].results == {"amount": 4}

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
