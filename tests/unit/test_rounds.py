"""Steps that run again: ``Again``, ``Rounds`` and ``Poll``."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import rounds as rounds_benchmark
from hephaestus import (
    DONE,
    Again,
    Completed,
    LinkOutdated,
    Pending,
    Put,
    Retry,
    Rounds,
    StepContext,
    UnexpectedEvent,
    Workflow,
    step,
)
from hephaestus.callbacks.link import Link
from hephaestus.definition.step import Step
from hephaestus.definition.views import to_json_object
from hephaestus.engine.effects import TAIL
from hephaestus.engine.events.steps import MOST_QUICK
from hephaestus.errors import DefinitionError, EngineSignal, LineFull
from hephaestus.handlers.http.describe import describe
from hephaestus.operations.catalog import read_workflow
from hephaestus.runtime.dispatch import Budget, Enqueue, InPlace
from hephaestus.runtime.limits import Limits
from hephaestus.steps import Poll
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.definition.views import InstanceView

MINUTE = timedelta(minutes=1)
SEEN: list[tuple[Any, ...]] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    """Each test sees its own."""
    SEEN.clear()


def flow(made: Any, **routes: Any) -> type[Workflow]:
    """A workflow of one step, all of whose events end it unless they are routed."""
    events = dict.fromkeys(made.events, DONE)
    return type("Flow", (Workflow,), {"start_at": made, "transitions": {made: {**events, **routes}}}, key="flow")


def started(workflow: type[Workflow], context: Mapping[str, Any] | None = None, **tables: Any) -> LocalRuntime:
    """A runtime in which an instance has gone as far as it goes."""
    local = LocalRuntime(workflow, **tables)
    local.start(workflow, "1", context or {})
    return local


def shown(local: LocalRuntime, instance_id: str = "flow::1") -> InstanceView:
    """The instance, once nothing is left to be done at this time."""
    local.settle()
    return local.runner.get(instance_id)


def told(local: LocalRuntime, kind: str) -> list[Mapping[str, Any]]:
    """The events of one kind, from the history."""
    page = local.runner.history("flow::1", limit=200)
    return [event for entry in page.items for event in entry.events if event["type"] == kind]


def turns(number: int, *, after: timedelta | None = None, last: str = "done", **how: Any) -> Any:
    """A step of so many rounds."""

    @step(key="work", rounds=how.pop("rounds", Rounds(100)), **{"events": (last,), **how})
    def work(ctx: StepContext) -> Any:
        SEEN.append((ctx.round, dict(ctx.carry), ctx.attempt, ctx.idempotency_key.rpartition(":")[2]))
        if ctx.round < number:
            return Again({"n": ctx.round}, after=after)
        return Pending() if last == "go" else Completed(last, {"n": ctx.round})

    return work


def test_each_round_has_the_carry_of_the_one_before_a_key_of_its_own_and_attempts_anew() -> None:
    """Rules B.2 and B.3: the round before leaves the carry; attempts begin anew; keys name the round."""
    failing = iter([True, False] * 3)

    @step(key="work", rounds=Rounds(3), retry=Retry(max_attempts=2, jitter="none"))
    def work(ctx: StepContext) -> Any:
        SEEN.append((ctx.round, dict(ctx.carry), ctx.attempt, ctx.idempotency_key.rpartition(":")[2]))
        if next(failing):
            raise ValueError
        return Again({"n": ctx.round}) if ctx.round < 3 else "done"

    local = started(flow(work))
    local.advance(MINUTE)
    assert shown(local).status == "completed"
    assert SEEN == [
        (1, {}, 1, "work"),
        (1, {}, 2, "work"),
        (2, {"n": 1}, 1, "work@2"),
        (2, {"n": 1}, 2, "work@2"),
        (3, {"n": 2}, 1, "work@3"),
        (3, {"n": 2}, 2, "work@3"),
    ]


def test_a_round_and_the_start_of_the_next_are_one_commit_with_its_writes() -> None:
    """Rule B.2: the round's writes are committed with its end, and the next one is named in the same entry."""

    @step(key="work", rounds=Rounds(3))
    def work(ctx: StepContext) -> Any:
        return Again(writes=[Put("pages", {"pk": str(ctx.round)})]) if ctx.round < 3 else "done"

    local = started(flow(work), tables={"pages": ("pk",)})
    assert sorted(item["pk"] for item in local.tables["pages"].items()) == ["1", "2"]
    entries = local.runner.history("flow::1").items
    kinds = [[event["type"] for event in entry.events] for entry in entries]
    assert kinds[2:4] == [["RoundEnded", "StepsStarted"]] * 2
    assert [event["round"] for event in told(local, "RoundEnded")] == [1, 2]
    assert told(local, "StepCompleted")[0]["rounds"] == 3


def test_a_pause_between_rounds_is_waited_for_and_seen() -> None:
    """The instance waits; the view says which round is next, of how many, with what, and when."""
    local = started(flow(turns(3, after=timedelta(hours=2))))
    view = shown(local)
    work = view.steps["work"]
    assert (view.status, work.status, work.round, work.rounds, work.carry) == ("waiting", "looping", 2, 100, {"n": 1})
    assert to_json_object(view)["steps"]["work"]["round"] == 2
    local.advance(timedelta(hours=1))
    assert len(SEEN) == 1
    local.advance(timedelta(hours=1))
    assert len(SEEN) == 2
    local.advance(timedelta(hours=2))
    assert (shown(local).status, shown(local).steps["work"].round) == ("completed", 3)


def test_past_its_number_of_rounds_it_is_exhausted_at_once() -> None:
    """Rule B.2: no round more, and the pause before it is not waited for; the last carry is in the results."""
    local = started(flow(turns(9, after=MINUTE, rounds=Rounds(2)), exhausted=DONE))
    local.advance(MINUTE)
    work = shown(local).steps["work"]
    assert (work.event, work.results, work.round) == ("exhausted", {"rounds": 2, "carry": {"n": 2}}, 2)
    assert len(SEEN) == 2


def test_past_its_time_it_is_exhausted_when_a_round_would_begin_pauses_included() -> None:
    """Rule B.2: ``within`` is wall time from the first round."""
    local = started(flow(turns(9, after=MINUTE, rounds=Rounds(9, within=150)), exhausted=DONE))
    local.advance(MINUTE)
    local.runner.pause("flow::1")
    local.advance(timedelta(hours=1))
    local.runner.unpause("flow::1")
    local.advance(MINUTE)
    assert (shown(local).steps["work"].event, len(SEEN)) == ("exhausted", 2)


def test_where_exhausted_is_not_routed_the_step_fails_or_goes_to_error() -> None:
    """Rule B.2: the failure says how many rounds there were."""
    local = started(flow(turns(9, rounds=Rounds(2))))
    assert shown(local).error == {
        "type": "RoundsExhausted",
        "message": "step work failed: it has had 2 rounds of 2, and its transitions do not route 'exhausted'",
    }
    assert shown(started(flow(turns(9, rounds=Rounds(2)), error=DONE))).steps["work"].event == "error"


def test_again_without_rounds_is_an_error_of_the_definition_or_of_the_step() -> None:
    """Rule B.1: found when the class is defined where the code says it, else it fails for good."""

    @step
    def plainly(ctx: StepContext) -> Any:
        return Again()

    with pytest.raises(DefinitionError, match="plainly: returns Again and has no rounds"):
        flow(plainly)

    class Returns(Step):
        """Its code says it, too."""

        events = ("done",)

        def execute(self, instance: Any, config: Any, context: StepContext) -> Any:
            """Return it."""
            return Again()

    with pytest.raises(DefinitionError, match="returns Again and has no rounds"):
        flow(Returns())

    class Does(Returns):
        """What it inherits is not called, and who asks what something is makes none."""

        def execute(self, instance: Any, config: Any, context: StepContext) -> Any:
            """Return results."""
            return {} if isinstance(context.initial, Again) else "done"

    assert shown(started(flow(Does()))).status == "completed"
    kinds = {"again": Again}  # which a check cannot see
    hidden = step(key="hidden")(lambda ctx: kinds["again"]())
    error = shown(started(flow(hidden))).error
    assert error is not None
    assert "hidden returned Again and has no rounds: say how many" in error["message"]


@pytest.mark.parametrize(
    ("again", "story"),
    [
        (lambda: Again({"x": object()}), "carry"),
        (lambda: Again([1]), "its carry must be a mapping, not list"),  # type: ignore[arg-type]  # on purpose
        (lambda: Again({"x": "y" * 20_000_000}), "its carry needs"),
        (lambda: Again(after=-1), "returned Again, and its after is -1: give seconds"),
        (lambda: Again(after=timedelta(days=3_652)), "at most 366 days"),
    ],
)
def test_a_round_that_cannot_be_recorded_fails_for_good(again: Callable[[], Again], story: str) -> None:
    """A carry that cannot be stored, or a time that is none."""
    local = started(flow(step(key="work", rounds=Rounds(5))(lambda ctx: again())))
    error = shown(local).error
    assert error is not None
    assert story in error["message"]
    assert "after 1 attempt(s)" in error["message"]


@pytest.mark.parametrize(
    ("rounds", "wrong"),
    [
        (lambda: Rounds(0), "at_most is 0"),
        (lambda: Rounds(at_most=True), "at_most is True"),
        (lambda: Rounds(10**8), "from 1 to 10,000,000"),
        (lambda: Rounds(3, within=0), "within is 0"),
        (lambda: Rounds(3, within="1d"), "within is '1d'"),  # type: ignore[arg-type]  # on purpose
        (lambda: flow(step(key="a", rounds=5)(lambda ctx: "done")), r"rounds is 5"),  # type: ignore[call-overload]  # as above
        (lambda: flow(Poll(lambda ctx: True, every=0, rounds=Rounds(1))), "every is 0"),
        (lambda: Poll(lambda ctx: True, every=1, backoff=0.5, rounds=Rounds(1)), "backoff is 0.5"),
        (lambda: Poll(lambda: True, every=1, rounds=Rounds(1)), "its check has the signature"),  # type: ignore[arg-type, misc]  # as above
        (lambda: Poll(lambda ctx: True, every=1, rounds=3), "rounds is 3"),  # type: ignore[arg-type]  # as above
        (lambda: Poll(lambda ctx: True, every=1, rounds=Rounds(1), ends_on="go"), r"ends_on=\('go',\)"),
        (lambda: Poll(lambda ctx: True, every=1, rounds=Rounds(1), ends_on=5), "ends_on is 5"),  # type: ignore[arg-type]  # wrong on purpose
    ],
)
def test_bounds_that_are_none_are_rejected_when_they_are_defined(rounds: Callable[[], Any], wrong: str) -> None:
    """Each with what to give."""
    with pytest.raises(DefinitionError, match=wrong):
        rounds()


def test_on_failure_has_no_rounds() -> None:
    """It runs once."""
    with pytest.raises(DefinitionError, match="is on_failure and has rounds"):
        type("F", (Workflow,), {**vars(flow(turns(1))), "on_failure": turns(1).named("tell")}, key="f")


def test_the_state_keeps_the_newest_round_only() -> None:
    """Rule B.3: after a thousand rounds the snapshot is as large as after ten, and a read as short."""
    local = started(flow(turns(1_000, rounds=Rounds(1_000))))
    table = local.store.table
    head = table.get("flow::1", "head")
    small = started(flow(turns(10, rounds=Rounds(10)))).store.table.get("flow::1", "head")
    assert head is not None
    assert small is not None
    assert abs(len(bytes(head["snapshot"])) - len(bytes(small["snapshot"]))) < 20  # type: ignore[arg-type]  # it is bytes


def test_the_last_rounds_cost_what_the_first_did() -> None:
    """Rule B.3: in write units and bytes, as the benchmark has it of ten thousand."""
    assert rounds_benchmark.main(["--rounds", "210"]) == 0


def test_large_carries_are_values_of_which_the_newest_two_are_kept() -> None:
    """Rule B.3: what a round left over 8 KB is removed two rounds later; history goes on without it."""

    @step(key="work", rounds=Rounds(9), events=("done",))
    def work(ctx: StepContext) -> Any:
        SEEN.append((ctx.round, len(ctx.carry.get("pad", ""))))
        pad = "".join(sha256(f"{ctx.round} {n}".encode()).hexdigest() for n in range(200 * ctx.round))
        return Again({"pad": pad}, after=MINUTE) if ctx.round < 6 else "done"

    local = started(flow(work))
    for _ in range(6):
        local.advance(MINUTE)
    assert [(number, 12_800 * (number - 1)) for number in range(1, 7)] == SEEN
    values = local.store.table.query("flow::1", low="value#", high="value$")
    assert len({str(item["sk"]).rsplit("-", 1)[0] for item in values if "#carry" in str(item["sk"])}) == 2
    assert [len(event.get("carry", {}).get("pad", "")) for event in told(local, "RoundEnded")] == [
        0,
        0,
        0,
        51_200,
        64_000,
    ]


def test_events_stand_in_line_and_each_wait_takes_the_first() -> None:
    """Rule B.4: rounds leave the line, the end of the step drops it, and history says what was dropped."""
    local = started(flow(turns(3, after=MINUTE, last="go")))
    for number in range(3):
        local.runner.resume("flow::1", "go", {"n": number}, step="work")
    assert shown(local).steps["work"].in_line == 3
    local.advance(MINUTE)
    local.advance(MINUTE)
    view = shown(local)
    assert (view.status, view.steps["work"].results) == ("completed", {"n": 0})
    assert told(local, "EventsDropped")[0]["events"] == ("go", "go")


def test_a_line_has_room_for_a_hundred_events() -> None:
    """Rule B.4: the next is to be sent later."""
    local = started(flow(turns(3, after=MINUTE, last="go")))
    for number in range(100):
        local.runner.resume("flow::1", "go", step="work", event_id=f"e{number}")
    with pytest.raises(LineFull, match="100 events are in line for step work"):
        local.runner.resume("flow::1", "go", step="work")
    local.runner.resume("flow::1", "go", step="work", event_id="e0")


def test_a_link_of_an_old_round_does_nothing() -> None:
    """I.7: neither does a deadline that was asked for in it."""
    local = started(flow(turns(4, after=MINUTE, last="go", events=("go", "timeout"))))
    state = local.store.load("flow::1")
    assert state is not None
    local.runner.schedule_resume("flow::1", "work", 90_000)
    old = Link("x", "flow::1", state.life, "work", "go", 9_999_999_999, "work@2")
    local.advance(MINUTE)
    with pytest.raises(LinkOutdated, match="for work@2, which is over: step work is at work@3"):
        local.runner.answer(old)
    local.advance(MINUTE)
    local.advance(MINUTE)
    assert shown(local).steps["work"].status == "waiting"
    local.runner.answer(Link("y", "flow::1", state.life, "work", "go", 9_999_999_999, "work@4"))
    assert shown(local).status == "completed"


def test_what_a_link_of_a_round_brought_is_dropped_with_the_round() -> None:
    """It was for that round alone."""
    local = started(flow(turns(3, after=MINUTE, last="go")))
    state = local.store.load("flow::1")
    assert state is not None
    local.runner.answer(Link("x", "flow::1", state.life, "work", "go", 9_999_999_999, "work@2"))
    local.advance(MINUTE)
    local.advance(MINUTE)
    assert told(local, "EventsDropped")[0]["events"] == ("go",)
    assert shown(local).steps["work"].status == "waiting"


def test_what_a_link_of_a_round_brought_is_not_taken_by_that_round_of_the_loop_that_begins_anew() -> None:
    """It names the activation, and what is undone is another."""
    failing = [True]

    @step(key="work", rounds=Rounds(5), events=("go",), compensate=lambda _: None, retry=Retry(max_attempts=1))
    def work(ctx: StepContext) -> Again | Pending:
        if ctx.round < 2:
            return Again(after=MINUTE)
        if failing.pop():
            raise ValueError
        failing.append(False)
        return Pending()

    local = started(flow(work))
    state = local.store.load("flow::1")
    assert state is not None
    local.runner.answer(Link("x", "flow::1", state.life, "work", "go", 9_999_999_999, "work@2"))
    local.advance(MINUTE)
    assert shown(local).status == "failed"
    failing.append(False)
    local.runner.redrive("flow::1")
    local.advance(MINUTE)
    assert (shown(local).steps["work"].status, shown(local).steps["work"].in_line) == ("waiting", None)
    assert told(local, "EventsDropped")[0]["events"] == ("go",)


def test_the_head_follows_a_loop_whose_rounds_take_any_number_of_entries() -> None:
    """Rule B.3: each 32nd round, where the rounds are entries of their own and where each is tried twice."""
    behind: list[int] = []

    @step
    def before(_: StepContext) -> str:
        return "done"

    @step(rounds=Rounds(200), retry=Retry(max_attempts=2, delay=0.001, jitter="none"))
    def work(ctx: StepContext) -> Again | str:
        if ctx.attempt == 1:
            raise ValueError
        newest = local.store.reader.newest("flow::1")
        assert newest is not None
        behind.append(newest.sequence - int(str(newest.head["sequence"])))
        return Again() if ctx.round < 150 else "done"

    for first in ([before, work], [work]):
        following: Any = {one: dict.fromkeys(one.events, after) for one, after in pairwise([*first, DONE])}
        local = LocalRuntime(
            made := type("Flow", (Workflow,), {"start_at": first[0], "transitions": following}, key="flow")
        )
        local.start(made, "1", {})
        assert shown(local).status == "completed"
    assert max(behind) < 3 * TAIL  # two entries a round, and some


UNDONE: list[tuple[int, dict[str, Any], str]] = []


def undo(ctx: StepContext) -> None:
    """Undo all rounds."""
    UNDONE.append((ctx.round, dict(ctx.carry), ctx.idempotency_key.rpartition(":")[2]))


@pytest.mark.parametrize("how", ["exhausted", "failed", "cancelled", "later"])
def test_a_loop_is_undone_once_with_its_last_carry_and_the_number_of_rounds(how: str) -> None:
    """Rule B.5: also where it was exhausted, failed, or had not ended."""
    UNDONE.clear()

    @step(key="work", rounds=Rounds(2 if how == "exhausted" else 9), compensate=undo, retry=Retry(max_attempts=1))
    def work(ctx: StepContext) -> Any:
        if ctx.round == 3 and how == "failed":
            raise ValueError
        return Again({"n": ctx.round}, after=MINUTE if how == "cancelled" else None) if ctx.round < 3 else "done"

    fail = step(key="fail", retry=Retry(max_attempts=1))(lambda ctx: 1 / 0)  # type: ignore[arg-type, return-value]  # it fails
    made = type(
        "F", (Workflow,), {"start_at": work, "transitions": {work: {"done": fail}, fail: {"done": DONE}}}, key="flow"
    )
    local = started(made)
    if how == "cancelled":
        local.advance(MINUTE)
        local.runner.cancel("flow::1", compensate=True)
    assert shown(local).status == ("cancelled" if how == "cancelled" else "failed")
    rounds = {"exhausted": 2, "cancelled": 2, "failed": 3, "later": 3}[how]
    assert [(rounds, {"n": 2}, "work!undo")] == UNDONE


def test_a_redrive_of_compensations_undoes_in_the_same_order_and_a_loop_that_had_not_ended_as_one() -> None:
    """Rule B.8: it comes first, is shown as what it is, and a fork at that entry begins it anew."""
    broken, undone = [2], list[tuple[str, int]]()

    def undo(ctx: StepContext) -> None:
        undone.append((ctx.idempotency_key.rpartition(":")[2].partition("!")[0], ctx.round))
        if broken[0]:
            broken[0] -= 1
            raise ValueError

    first = step(key="first", compensate=undo)(lambda ctx: "done")
    work = step(key="work", rounds=Rounds(50), compensate=undo)(lambda ctx: Again({"n": ctx.round}, after=MINUTE))
    bad = step(key="bad")(lambda ctx: ctx.initial["missing"])
    last = step(key="last")(lambda ctx: "done")
    routes: Any = {first: {"done": [work, bad]}, work: {"done": last}, bad: {"done": last}, last: {"done": DONE}}
    made = type(
        "Flow", (Workflow,), {"start_at": first, "transitions": routes, "retry": Retry(max_attempts=1)}, key="flow"
    )
    local = started(made)
    assert (shown(local).steps["work"].round, undone) == (1, [("work", 1), ("first", 1)])
    local.runner.redrive("flow::1")
    between = local.runner.get("flow::1").steps["work"]
    assert (between.status, between.event, between.retry_at) == ("looping", None, None)
    entry = local.runner.history("flow::1").items[-1].sequence
    local.settle()
    assert undone[2:] == [("work", 1), ("first", 1)]
    local.runner.fork("flow::1", at=entry, new_id="2")
    local.settle()
    assert shown(local, "flow::2").steps["first"].status == "compensated"


def test_a_redrive_goes_on_with_the_round_that_failed_and_begins_anew_what_had_all_of_them() -> None:
    """A cursor is not lost; what is exhausted has other keys."""
    broken = [True]

    @step(key="work", rounds=Rounds(3), retry=Retry(max_attempts=1))
    def work(ctx: StepContext) -> Any:
        SEEN.append((ctx.round, dict(ctx.carry), ctx.idempotency_key.rpartition(":")[2]))
        if ctx.round == 2 and broken:
            raise ValueError(broken.pop())
        return Again({"n": ctx.round})

    local = started(flow(work))
    local.runner.redrive("flow::1")
    local.settle()
    assert SEEN == [(1, {}, "work"), (2, {"n": 1}, "work@2"), (2, {"n": 1}, "work@2"), (3, {"n": 2}, "work@3")]
    local.runner.redrive("flow::1")
    local.settle()
    assert SEEN[4:] == [(1, {}, "work~1"), (2, {"n": 1}, "work~1@2"), (3, {"n": 2}, "work~1@3")]


def test_quick_rounds_are_slowed_to_one_a_second() -> None:
    """Rule B.6: after a thousand in a row that begin within a second of each other."""
    local = started(flow(turns(MOST_QUICK + 5, rounds=Rounds(5_000))))
    local.advance(MINUTE)
    began = [event["started_at"] for event in told_all(local)]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(began)]
    assert set(gaps[:MOST_QUICK]) == {0.0}
    assert set(gaps[MOST_QUICK:]) == {1.0}


def told_all(local: LocalRuntime) -> list[Mapping[str, Any]]:
    """The ends of all rounds."""
    found: list[Mapping[str, Any]] = []
    cursor = None
    while True:
        page = local.runner.history("flow::1", limit=200, cursor=cursor)
        found += [event for entry in page.items for event in entry.events if event["type"] == "RoundEnded"]
        if (cursor := page.cursor) is None:
            return found


def test_a_fork_begins_a_loop_anew_that_had_not_ended_and_takes_over_one_that_had() -> None:
    """Rule B.8: with its last carry and the number of rounds, should it be undone."""
    UNDONE.clear()
    local = started(flow(turns(3, after=MINUTE, compensate=undo)))
    local.advance(MINUTE)
    local.runner.fork("flow::1", new_id="2")
    local.settle()
    assert SEEN[-1][:2] == (1, {})
    local.advance(MINUTE)
    wait = step(key="fail", retry=Retry(max_attempts=1))(lambda ctx: 1 / 0)  # type: ignore[arg-type, return-value]  # it fails
    work = turns(2, compensate=undo)
    made = type(
        "F", (Workflow,), {"start_at": work, "transitions": {work: {"done": wait}, wait: {"done": DONE}}}, key="flow"
    )
    local = started(made)
    ended = next(entry for entry in local.runner.history("flow::1").items if entry.events[0]["type"] == "StepCompleted")
    UNDONE.clear()
    local.runner.fork("flow::1", ended.sequence, new_id="2")
    local.settle()
    assert UNDONE == [(2, {"n": 1}, "work!undo")]


def carrier(answers: list[Any]) -> Callable[[StepContext], Any]:
    """A check that gives one answer after the other."""

    def says(ctx: StepContext) -> Any:
        SEEN.append((ctx.round,))
        return answers.pop(0)

    return says


def test_a_pause_costs_the_same_in_any_round() -> None:
    """It is computed, not counted up, and ends at an hour."""
    poll = Poll(bool, every=1, backoff=1.000001, rounds=Rounds(5), name="p")
    assert [poll.pause(number) for number in (1, 2_000_001)] == [timedelta(seconds=1), timedelta(seconds=7.389049)]
    assert Poll(bool, every=1, backoff=100, rounds=Rounds(5), name="p").pause(10**9) == timedelta(hours=1)


def test_a_poll_asks_again_until_there_is_an_answer() -> None:
    """Rule B.7: ``False`` asks again, later and later; results end it."""
    poll = Poll(carrier([False, False, {"at": "door"}]), every=MINUTE, backoff=2, rounds=Rounds(9), name="shipped")
    local = started(flow(poll))
    local.advance(MINUTE)
    assert len(SEEN) == 2
    local.advance(MINUTE)
    assert len(SEEN) == 2
    local.advance(MINUTE)
    assert (shown(local).steps["shipped"].event, shown(local).steps["shipped"].results) == ("done", {"at": "door"})


def test_a_poll_ends_on_an_event_from_outside_or_when_it_has_asked_often_enough() -> None:
    """Rule B.7: at once, between two questions."""
    poll = Poll(lambda ctx: False, every=MINUTE, rounds=Rounds(2), ends_on=("delivered",), name="shipped")
    made = flow(poll, exhausted=DONE)
    local = started(made)
    assert shown(local).accepts == {"shipped": ("delivered",)}
    with pytest.raises(UnexpectedEvent, match="takes no event 'done'"):
        local.runner.resume("flow::1", "done")
    local.runner.resume("flow::1", "delivered", {"by": "ann"})
    assert (shown(local).status, shown(local).steps["shipped"].results) == ("completed", {"by": "ann"})
    local = started(made)
    local.advance(MINUTE)
    assert shown(local).steps["shipped"].event == "exhausted"


def test_an_event_that_comes_while_a_poll_asks_counts_more_than_the_answer() -> None:
    """Rule B.4: what was accepted before the answer was recorded wins."""
    runtimes: list[LocalRuntime] = []

    def check(ctx: StepContext) -> bool:
        if ctx.round > 1:
            runtimes[0].runner.resume(ctx.instance_id, "delivered", {"by": "ann"})
        return ctx.round > 1

    local = LocalRuntime(made := flow(Poll(check, every=MINUTE, rounds=Rounds(5), ends_on=("delivered",), name="poll")))
    runtimes.append(local)
    local.start(made, "1", {})
    local.advance(MINUTE)
    assert (shown(local).steps["poll"].event, shown(local).steps["poll"].results) == ("delivered", {"by": "ann"})


def test_an_event_that_ends_a_poll_does_so_at_once_also_while_its_check_is_to_be_tried_again() -> None:
    """Rule B.4: whoever sends it sees the next step run, however long the retry's delay is."""

    def check(_: StepContext) -> bool:
        raise OSError

    poll = Poll(check, every=1, rounds=Rounds(5), ends_on=("delivered",), name="poll")
    routes: Any = {poll: {"done": DONE, "delivered": DONE}}
    hour = Retry(max_attempts=3, delay=3600, jitter="none")
    made = type("Flow", (Workflow,), {"start_at": poll, "transitions": routes, "retry": hour}, key="flow")
    for going in (None, InPlace(Budget(1)), Enqueue()):
        local = started(made)
        assert (shown(local).steps["poll"].status, shown(local).steps["poll"].accepts) == ("retrying", ("delivered",))
        local.runner.resume("flow::1", "delivered", dispatch=going)
        assert shown(local).steps["poll"].event == "delivered"


class Killed(EngineSignal):
    """What takes the process with it."""


def died(workflow: type[Workflow], local: LocalRuntime) -> InstanceView:
    """The instance after its first process has died and another has gone on."""
    with suppress(Killed):
        local.start(workflow, "1", {})
    local.clock.sleep(16 * 60_000)
    local.sweep()
    return shown(local)


def test_an_event_that_ends_a_poll_counts_more_than_the_death_of_its_check() -> None:
    """Rule B.4: it was accepted before anything was recorded of the check, which has no attempt left."""

    def asks(_: StepContext) -> bool:
        local.runner.resume("flow::1", "delivered", {"at": "the door"}, step="p")
        raise Killed

    made = flow(Poll(asks, every=MINUTE, rounds=Rounds(5), ends_on=("delivered",), name="p"))
    made = type("Flow", (made,), {"retry": Retry(max_attempts=1)}, key="flow")
    local = LocalRuntime(made)
    assert died(made, local).output == {"at": "the door"}


class Asking(Step):
    """A poll of its own, which writes."""

    events = ("done", "delivered")
    ends_on = ("delivered",)
    rounds = Rounds(5)
    step_key = "asking"

    def execute(self, instance: Any, config: Any, context: StepContext) -> Completed:
        """It is done, but the event comes first."""
        RUNTIMES[0].runner.resume("flow::1", "delivered", {"at": "the door"}, step="asking")
        return Completed("done", writes=[Put("rows", {"pk": "a"})])


RUNTIMES: list[LocalRuntime] = []


def test_an_event_that_ends_a_step_counts_more_than_an_answer_with_writes() -> None:
    """Rule B.4: neither the answer nor its writes happen."""
    made = flow(Asking())
    RUNTIMES[:] = [LocalRuntime(made, tables={"rows": ("pk",)})]
    RUNTIMES[0].start(made, "1", {})
    assert shown(RUNTIMES[0]).output == {"at": "the door"}
    assert RUNTIMES[0].tables["rows"].items() == []


@pytest.mark.parametrize("returned", [Again({"n": 1}, writes=[Put("rows", {"pk": "a"})]), Pending()])
def test_a_compensation_has_neither_rounds_nor_a_wait(returned: Again | Pending) -> None:
    """What it asked for would be lost without a word."""

    @step(compensate=lambda _: returned)
    def work(_: StepContext) -> str:
        return "done"

    @step
    def fails(_: StepContext) -> str:
        raise ValueError

    following: Any = {work: {"done": fails}, fails: {"done": DONE}}
    body = {"start_at": work, "transitions": following, "retry": Retry(max_attempts=1)}
    view = shown(started(type("Flow", (Workflow,), body, key="flow")))
    assert view.steps["work"].status == "compensation_failed"
    assert f"its compensation returned {type(returned).__name__}" in str(view.steps["work"].error)


def test_a_round_that_is_named_begins_before_anything_else_of_its_instance() -> None:
    """What is named and did not begin would be taken for interrupted, and what runs at most once would fail."""

    @step(key="w0", rounds=Rounds(50))
    def w0(ctx: StepContext) -> Again:
        if ctx.round == 2 and not SEEN:
            SEEN.append(("died",))
            raise Killed
        return Again(after=2)

    @step(key="w1", rounds=Rounds(500), semantics="at_most_once")
    def w1(ctx: StepContext) -> Again | str:
        local.clock.sleep(900)
        return Again(writes=[Put("rows", {"pk": str(ctx.round)})]) if ctx.round < 20 else "done"

    @step
    def first(_: StepContext) -> str:
        return "done"

    last = first.named("last")
    following: Any = {first: {"done": [w0, w1]}, w0: {"done": last}, w1: {"done": last}, last: {"done": DONE}}
    made = type("Flow", (Workflow,), {"start_at": first, "transitions": following}, key="flow")
    local = LocalRuntime(made, tables={"rows": ("pk",)}, limits=Limits(concurrency=1))
    assert died(made, local).steps["w1"].error is None


@dataclass
class Delivered:
    """Results, as a class of the user's."""

    at: str = "the door"


class Truth:
    """What a library may take for a truth value of its own."""

    def __bool__(self) -> bool:
        """It is one."""
        return True


@pytest.mark.parametrize(
    "answer", [None, "yes", b"yes", 0, 1, 1.5, [], ("done", {}), {1: 2}, Truth(), object(), Again(), Pending()]
)
def test_what_is_no_answer_fails_the_step_for_good(answer: Any) -> None:
    """Rule B.7: a check says ``False``, ``True`` or results; a defect of the code is not asked again."""
    local = started(flow(Poll(carrier([answer, True]), every=1, rounds=Rounds(2), name="poll")))
    failed = told(local, "StepFailed")[0]["error"]
    assert (failed["type"], "return False, True or results" in failed["message"]) == ("NoAnswer", True)
    assert (shown(local).status, shown(local).steps["poll"].attempt) == ("failed", 1)


@pytest.mark.parametrize("answer", [{"at": "the door"}, Delivered()])
def test_results_of_any_form_that_a_step_may_return_answer(answer: Any) -> None:
    """Rule B.7: a mapping, or what has fields."""
    local = started(flow(Poll(carrier([answer]), every=1, rounds=Rounds(2), name="poll")))
    assert shown(local).steps["poll"].results == {"at": "the door"}


def test_a_poll_may_ask_with_a_coroutine() -> None:
    """Rule B.7: an ``async def`` works."""

    async def check(ctx: StepContext) -> bool:
        return ctx.round > 1

    local = started(flow(Poll(check, every=1, rounds=Rounds(3))))
    local.advance(MINUTE)
    assert shown(local).steps["check"].event == "done"


def test_the_description_of_a_workflow_has_its_bounds() -> None:
    """What a reader of another process knows."""
    poll = Poll(lambda ctx: False, every=MINUTE, rounds=Rounds(2, within=90), ends_on=("delivered",), name="shipped")
    described = describe(flow(poll))
    (step_,) = described["versions"][0]["steps"]
    assert (step_["rounds"], step_["ends_on"]) == ({"at_most": 2, "within_seconds": 90.0}, ["delivered"])
    assert read_workflow(described).definitions[1].graph.rounds == flow(poll).definitions[1].graph.rounds


def chat(**how: Any) -> Any:
    """A step that waits for a message in each round, and says what it has heard."""

    @step(
        key="work",
        rounds=how.pop("rounds", Rounds(9, again_on=("message",))),
        events=("bye", "timeout"),
        retry=Retry(max_attempts=2, jitter="none"),
    )
    def work(ctx: StepContext) -> Any:
        SEEN.append((ctx.round, ctx.event, dict(ctx.payload), ctx.attempt))
        if how.get("fails") and ctx.payload.get("n") == 1 and ctx.attempt < how["fails"]:
            raise ValueError
        if how.get("answers") and ctx.event:
            return Again({"heard": ctx.payload["n"]})
        return Pending(timeout=how.get("timeout", timedelta(hours=1)))

    return work


def test_an_event_of_again_on_ends_the_wait_and_its_round_but_not_the_step() -> None:
    """Rule B.4: the next round is given its name and payload, and the carry stays; another event ends the step."""
    local = started(flow(chat(answers=True)))
    assert shown(local).accepts == {"work": ("message", "bye", "timeout")}
    local.runner.resume("flow::1", "message", {"n": 7})
    view = shown(local)
    assert (view.steps["work"].status, view.steps["work"].round, view.steps["work"].carry) == (
        "waiting",
        3,
        {"heard": 7},
    )
    local.runner.resume("flow::1", "message", {"n": 8})
    assert shown(local).steps["work"].carry == {"heard": 8}
    assert SEEN == [
        (1, "", {}, 1),
        (2, "message", {"n": 7}, 1),
        (3, "", {}, 1),
        (4, "message", {"n": 8}, 1),
        (5, "", {}, 1),
    ]
    local.runner.resume("flow::1", "bye", {"by": "ann"})
    view = shown(local)
    assert (view.status, view.steps["work"].results, view.steps["work"].round) == ("completed", {"by": "ann"}, 5)
    assert [event.get("event") for event in told(local, "RoundEnded")] == ["message", None, "message", None]


def test_a_payload_that_is_no_mapping_is_under_value() -> None:
    """As the results of a wait are; one that is large stands by itself."""
    local = started(flow(chat()))
    local.runner.resume("flow::1", "message", "x" * 300_000)
    local.runner.resume("flow::1", "message")
    local.settle()
    assert [(event, len(payload.get("value", ""))) for _, event, payload, _ in SEEN] == [
        ("", 0),
        ("message", 300_000),
        ("message", 0),
    ]


def test_events_of_a_line_are_taken_one_a_round_in_their_order() -> None:
    """Rule B.4: also those that came while nothing waited; what ends the step comes after what was there before."""
    local = started(flow(chat()))
    local.runner.pause("flow::1")
    for number in range(3):
        local.runner.resume("flow::1", "message", {"n": number}, event_id=f"m{number}")
    local.runner.resume("flow::1", "bye")
    assert shown(local).steps["work"].in_line == 4
    local.runner.unpause("flow::1")
    assert shown(local).status == "completed"
    assert SEEN[1:] == [(number + 2, "message", {"n": number}, 1) for number in range(3)]


def test_a_round_that_is_tried_again_is_given_its_event_again() -> None:
    """So is one that a redrive goes on with."""
    local = started(flow(chat(fails=9)))
    local.runner.resume("flow::1", "message", {"n": 1}, event_id="m")
    local.advance(MINUTE)
    assert shown(local).status == "failed"
    local.runner.redrive("flow::1")
    local.settle()
    assert SEEN[1:] == [(2, "message", {"n": 1}, 1), (2, "message", {"n": 1}, 2), (2, "message", {"n": 1}, 1)]
    local.runner.resume("flow::1", "message", {"n": 1}, event_id="m")
    assert shown(local).steps["work"].in_line is None, "a repeat is one event"


def test_what_was_for_an_old_round_does_nothing_in_the_new_one() -> None:
    """I.7: a deadline, one that was asked for, a heartbeat and a link."""
    local = started(flow(chat()))
    state = local.store.load("flow::1")
    assert state is not None
    local.runner.schedule_resume("flow::1", "work", 1_800_000)
    local.advance(timedelta(minutes=40) - MINUTE * 11)
    link = Link("x", "flow::1", state.life, "work", "message", 9_999_999_999, "work")
    local.runner.resume("flow::1", "message")
    local.settle()
    with pytest.raises(LinkOutdated, match="for work, which is over: step work is at work@2"):
        local.runner.answer(link)
    local.advance(timedelta(minutes=40))
    assert shown(local).steps["work"].status == "waiting"
    local.runner.answer(Link("y", "flow::1", state.life, "work", "message", 9_999_999_999, "work@2"))
    local.settle()
    assert SEEN[-1][:2] == (3, "message")
    local.advance(timedelta(minutes=61))
    assert shown(local).steps["work"].event == "timeout"


def test_the_links_of_rounds_that_are_over_are_not_remembered() -> None:
    """Rule B.3: each is for its activation alone, so none works twice, also where the loop begins anew."""
    local = started(flow(chat(rounds=Rounds(3, again_on=("message",)))))
    life = local.store.load("flow::1").life  # type: ignore[union-attr]  # it is there
    links = [Link(one, "flow::1", life, "work", "message", 9_999_999_999, one) for one in ("work", "work@2", "work@3")]
    for link in links[:2]:
        local.runner.answer(link)
        local.settle()
    state = local.store.load("flow::1")
    assert state is not None
    assert not state.links
    with pytest.raises(LinkOutdated):
        local.runner.answer(links[0])
    local.runner.answer(links[2])
    assert shown(local).status == "failed"
    local.runner.redrive("flow::1")
    local.settle()
    for link in links:
        with pytest.raises(LinkOutdated, match="step work is at work~1"):
            local.runner.answer(link)


def test_past_its_bounds_an_event_begins_no_round_and_is_not_lost() -> None:
    """Rule B.2: as for any round; what came is in the results."""
    local = started(flow(chat(rounds=Rounds(2, again_on=("message",))), exhausted=DONE))
    local.runner.resume("flow::1", "message", {"n": 1})
    local.runner.resume("flow::1", "message", {"n": 2})
    results = {"rounds": 2, "carry": {}, "event": "message", "payload": {"n": 2}}
    assert shown(local).steps["work"].results == results
    assert len(SEEN) == 2


def test_what_rounds_have_taken_may_be_asked_for_again_once_the_loop_begins_anew() -> None:
    """As what a completion has consumed, which a redrive sets back."""
    local = started(flow(chat(rounds=Rounds(1, again_on=("message",)))))
    local.runner.resume("flow::1", "message", event_id="m")
    assert shown(local).status == "failed"
    local.runner.redrive("flow::1")
    local.settle()
    assert shown(local).steps["work"].status == "waiting"
    local.runner.resume("flow::1", "message", event_id="m")
    assert shown(local).status == "failed", "it is another event"


def test_a_running_round_s_events_are_remembered_longer_than_others() -> None:
    """Rule A.3: beside the newest 256, those in line and the one that the round was given; each only as long."""
    numbers = count()
    local = started(flow(chat()))

    def send(name: str) -> None:
        local.runner.resume("flow::1", "message", event_id=name)

    def others(number: int) -> None:
        for _ in range(number):
            local.runner.unpause("flow::1", request_id=f"{next(numbers)}")
            local.runner.pause("flow::1", request_id=f"{next(numbers)}")

    send("given")
    local.settle()
    local.runner.pause("flow::1")
    send("in line")
    others(150)
    send("given")
    send("in line")
    assert shown(local).steps["work"].in_line == 1, "both are repeats"
    local.runner.unpause("flow::1")
    local.settle()
    local.runner.pause("flow::1")
    others(150)
    send("given")
    assert shown(local).steps["work"].in_line == 1, "its round is over, and 300 requests ago it was sent"
    send("in line")
    assert shown(local).steps["work"].in_line == 1


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        (lambda: Rounds(3, again_on="message"), r"again_on=\('message',\)"),
        (lambda: Rounds(3, again_on=("a", "a")), "again_on declares 'a' twice"),
        (lambda: Rounds(3, again_on=3), "again_on declares the events 3"),  # type: ignore[arg-type]  # on purpose
        (lambda: flow(turns(3, rounds=Rounds(3, again_on=("done",)))), "has 'done' in again_on, and emits it"),
        (lambda: flow(turns(3, rounds=Rounds(3, again_on=("timeout",)))), "has 'timeout' in again_on"),
        (lambda: flow(chat(), message=DONE), r"routes 'message', which begins its next round \(again_on\)"),
        (
            lambda: flow(Poll(lambda ctx: True, every=1, rounds=Rounds(1, again_on=("a",)), name="poll")),
            "has again_on and never waits",
        ),
    ],
)
def test_an_event_that_ends_a_round_ends_no_step(made: Callable[[], Any], wrong: str) -> None:
    """One that is both, one that nothing waits for, and what is no event."""
    with pytest.raises(DefinitionError, match=wrong):
        made()


def test_the_description_of_a_workflow_has_what_its_rounds_go_on_with() -> None:
    """As its bounds."""
    described = describe(flow(chat()))
    (step_,) = described["versions"][0]["steps"]
    assert step_["rounds"] == {"at_most": 9, "again_on": ["message"]}
    assert read_workflow(described).definitions[1].graph.rounds == flow(chat()).definitions[1].graph.rounds
