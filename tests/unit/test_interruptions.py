"""Lambdas that die in the middle of a step: the attempt is spent, and nothing loops for ever."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, DefinitionError, Retry, StepContext, Workflow, step
from hephaestus.definition.step import Choice
from hephaestus.errors import EngineSignal
from hephaestus.runtime.dispatch import Enqueue, InPlace
from hephaestus.runtime.registry import Registry
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.definition.views import InstanceView

PATIENT = Retry(max_attempts=3, delay=timedelta(seconds=2), jitter="none", backoff="constant", retry_on=(KeyError,))


class Killed(EngineSignal):
    """The process is gone."""


def deadly(times: int, calls: list[int], **options: Any) -> type[Workflow]:
    """A workflow whose second step kills its process so many times."""

    @step
    def prepare(ctx: StepContext) -> str:
        return "done"

    @step(**options)
    def work(ctx: StepContext) -> dict[str, int]:
        calls.append(ctx.attempt)
        if len(calls) <= times:
            raise Killed
        return {"attempt": ctx.attempt}

    @step
    def fix(ctx: StepContext) -> dict[str, str]:
        return {"because": ctx.steps["work"]["error"]["type"]}

    routes: dict[str, Any] = {"done": DONE}
    if options.pop("routed", False):
        routes["error"] = fix

    class Deadly(Workflow, key="deadly"):
        start_at = prepare
        transitions = {prepare: {"done": work}, work: routes, **({fix: {"done": DONE}} if "error" in routes else {})}

    return Deadly


def survive(local: LocalRuntime, call: Callable[[], object]) -> None:
    """Do something; if the process dies, time passes and the sweep comes, until nothing dies any more."""
    for _ in range(20):
        try:
            call()
        except Killed:
            local.clock.sleep(16 * 60_000)
            call = local.sweep
        else:
            return
    pytest.fail("it dies for ever")


def ended(local: LocalRuntime) -> InstanceView:
    """What became of it, whatever retries it needed."""
    for _ in range(5):
        survive(local, lambda: local.advance(timedelta(minutes=1)))
    return local.runner.get("deadly::d")


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("times", [1, 2])
def test_a_killed_attempt_is_spent_and_the_next_one_runs(times: int, in_place: bool) -> None:
    """Whatever ``retry_on`` says, as the step did not choose its end; history tells of the interruption."""
    calls: list[int] = []
    flow = deadly(times, calls, retry=PATIENT)
    local = LocalRuntime(flow)
    going = InPlace(local.budget()) if in_place else Enqueue()
    survive(local, lambda: local.runner.start_instance(flow, {}, id="d", start_id="s", dispatch=going))
    survive(local, local.settle)
    shown = ended(local)
    assert (shown.status, shown.steps["work"].results) == ("completed", {"attempt": times + 1})
    assert calls == list(range(1, times + 2))
    told = [event for entry in local.runner.history("deadly::d") for event in entry.events]
    interrupted = [event["error"] for event in told if event["type"] == "StepFailed"]
    assert [error["type"] for error in interrupted] == ["Interrupted"] * times
    assert "instance deadly::d: the Lambda running step work ended before attempt 1 did" in interrupted[0]["message"]


def test_a_step_that_always_kills_its_process_fails_after_its_attempts() -> None:
    """Elsewhere such a step loops for ever."""
    calls: list[int] = []
    flow = deadly(100, calls, retry=PATIENT)
    local = LocalRuntime(flow)
    survive(local, lambda: local.start(flow, "d"))
    shown = ended(local)
    assert (shown.status, calls) == ("failed", [1, 2, 3])
    assert shown.error is not None
    assert shown.error["type"] == "Interrupted"


def test_a_first_step_that_kills_its_process_spends_attempts_too() -> None:
    """The start itself names it."""
    calls: list[int] = []

    @step(retry=PATIENT)
    def work(ctx: StepContext) -> str:
        calls.append(ctx.attempt)
        raise Killed

    class Deadly(Workflow, key="deadly"):
        start_at = work
        transitions = {work: {"done": DONE}}

    local = LocalRuntime(Deadly)
    going = InPlace(local.budget())
    survive(local, lambda: local.runner.start_instance(Deadly, {}, id="d", start_id="s", dispatch=going))
    assert ended(local).status == "failed"
    assert calls == [1, 2, 3]


def test_an_at_most_once_step_never_runs_twice() -> None:
    """Killed in the middle, it fails; routed, the error says that it is not known whether it did its work."""
    calls: list[int] = []
    flow = deadly(100, calls, semantics="at_most_once")
    local = LocalRuntime(flow)
    survive(local, lambda: local.start(flow, "d"))
    shown = ended(local)
    assert (shown.status, calls) == ("failed", [1])


def dies_in_work(calls: list[int]) -> LocalRuntime:
    """An instance whose at-most-once step killed its process; the owner's lease is over."""
    flow = deadly(1, calls, semantics="at_most_once")
    local = LocalRuntime(flow)
    with pytest.raises(Killed):
        local.start(flow, "d")
    local.clock.sleep(16 * 60_000)
    return local


def test_invariant_2_a_step_that_died_does_not_run_again_after_its_instance_was_parked() -> None:
    """What it was in the middle of is not forgotten while its version is not deployed."""
    calls: list[int] = []
    local = dies_in_work(calls)
    deployed, local.runner.registry = local.runner.registry, Registry(())
    local.sweep()
    parked = local.runner.store.load("deadly::d")
    assert parked is not None
    assert parked.parked is not None
    local.runner.registry = deployed
    local.clock.sleep(2 * 60_000)
    local.sweep()
    assert (ended(local).status, calls) == ("failed", [1])


def test_invariant_2_a_step_that_died_does_not_run_again_after_a_cancellation_and_a_redrive() -> None:
    """Whoever cancels finds no owner alive and ends the instance; the attempt is spent all the same."""
    calls: list[int] = []
    local = dies_in_work(calls)
    local.runner.cancel("deadly::d")
    cancelled = local.runner.get("deadly::d")
    assert (cancelled.status, "work" in cancelled.steps) == ("cancelled", False)
    local.runner.redrive("deadly::d")
    assert (ended(local).status, calls) == ("failed", [1])


def test_an_at_most_once_step_that_raises_is_not_tried_again() -> None:
    """Not even by the workflow's policy."""
    calls: list[int] = []

    @step(semantics="at_most_once")
    def once(ctx: StepContext) -> str:
        calls.append(ctx.attempt)
        raise KeyError

    @step
    def fix(ctx: StepContext) -> dict[str, Any]:
        return dict(ctx.steps["once"]["error"])

    class Once(Workflow, key="once"):
        start_at = once
        retry = PATIENT
        transitions = {once: {"done": DONE, "error": fix}, fix: {"done": DONE}}

    local = LocalRuntime(Once)
    shown = local.start(Once, "o")
    assert (shown.status, shown.steps["fix"].results["type"], calls) == ("completed", "KeyError", [1])


def test_contradictions_are_refused_when_the_class_is_defined() -> None:
    """At most once and tried again; an unknown semantics; a policy for a compensation that is not there."""

    @step(semantics="at_most_once", retry=Retry(max_attempts=2))
    def twice(ctx: StepContext) -> str:
        return "done"

    @step(semantics="exactly_once", compensate_retry=Retry())  # type: ignore[call-overload, untyped-decorator]  # wrong on purpose
    def magic(ctx: StepContext) -> str:
        return "done"

    with pytest.raises(DefinitionError) as found:

        class Wrong(Workflow, key="wrong"):
            start_at = twice
            transitions = {twice: {"done": magic}, magic: {"done": DONE}}

    for part in (
        "twice: is at_most_once and has a retry policy",
        "magic: has the semantics 'exactly_once'",
        "magic: has compensate_retry but no compensation",
    ):
        assert part in str(found.value)


def test_what_leaves_on_purpose_spends_nothing() -> None:
    """A hand-over and a suspension are no interruptions: attempts stay as they were."""
    calls: list[int] = []

    @step(retry=PATIENT)
    def flaky(ctx: StepContext) -> str:
        calls.append(ctx.attempt)
        if ctx.attempt == 1:
            raise KeyError
        return "done"

    gate = WaitForEvent("go", name="gate")

    class Leaves(Workflow, key="leaves"):
        start_at = flaky
        transitions = {flaky: {"done": gate}, gate: {"go": DONE}}

    local = LocalRuntime(Leaves)
    local.start(Leaves, "l")
    local.advance(timedelta(minutes=1))
    local.resume("leaves::l", "go")
    assert (local.runner.get("leaves::l").status, calls) == ("completed", [1, 2])


def test_a_short_retry_in_place_costs_no_commit_of_its_own() -> None:
    """The commit before the pause names the attempt after it."""

    @step(retry=Retry(max_attempts=3, delay=timedelta(milliseconds=20), jitter="none"))
    def flaky(ctx: StepContext) -> dict[str, int]:
        if ctx.attempt < 3:
            raise KeyError
        return {"attempt": ctx.attempt}

    class Flaky(Workflow, key="flaky"):
        start_at = flaky
        transitions = {flaky: {"done": DONE}}

    local = LocalRuntime(Flaky)
    local.runner.start_instance(Flaky, {}, id="f", dispatch=InPlace(local.budget()))
    entries = local.runner.history("flaky::f").items
    assert [[event["type"] for event in entry.events] for entry in entries] == [
        ["InstanceStarted", "Claimed", "StepsStarted"],
        ["StepFailed", "StepsStarted"],
        ["StepFailed", "StepsStarted"],
        ["StepCompleted", "InstanceFinished"],
    ]


def test_what_runs_is_shown_as_running() -> None:
    """With the number of its attempt, while it does."""
    seen: list[InstanceView] = []

    @step
    def look(ctx: StepContext) -> str:
        seen.append(local.runner.get(ctx.instance_id))
        return "done"

    class Look(Workflow, key="look"):
        start_at = look
        transitions = {look: {"done": DONE}}

    local = LocalRuntime(Look)
    local.start(Look, "l")
    assert (seen[0].status, seen[0].steps["look"].status, seen[0].steps["look"].attempt) == ("running", "running", 1)


def choosing(way: str, kills: int, calls: list[int], attempts: int = 3) -> type[Workflow]:
    """A workflow whose Choice kills its process so many times: behind a wait, or on a failure that is routed."""
    policy = Retry(max_attempts=attempts, delay=timedelta(seconds=2), jitter="none")

    def pick(ctx: StepContext) -> Any:
        calls.append(len(calls))
        if len(calls) <= kills:
            raise Killed
        return after

    @step(key="before", retry=Retry(max_attempts=attempts, delay=timedelta(milliseconds=1), jitter="none"))
    def before(ctx: StepContext) -> str:
        if way == "error":
            raise ValueError
        return "done"

    @step
    def after(ctx: StepContext) -> str:
        return "done"

    wait = WaitForEvent("go", name="wait", timeout=timedelta(minutes=1))
    either = Choice(pick, [after, DONE])

    class Choosing(Workflow, key="deadly"):
        retry = policy
        start_at = before
        transitions = {
            before: {"done": wait, "error": either if way == "error" else after},
            wait: {"go": either if way == "go" else after, "timeout": either if way == "timeout" else after},
            after: {"done": DONE},
        }

    return Choosing


def chosen(way: str, flow: type[Workflow]) -> tuple[LocalRuntime, InstanceView]:
    """What became of an instance whose Choice kills."""
    local = LocalRuntime(flow)
    survive(local, lambda: local.start(flow, "d"))
    if way == "go":
        survive(local, lambda: local.resume("deadly::d", "go", event_id="e"))
    return local, ended(local)


WAYS = pytest.mark.parametrize("way", ["go", "timeout", "error"])


@WAYS
def test_a_choice_that_always_kills_its_process_fails_its_step_after_its_attempts(way: str) -> None:
    """Nothing else would end such an instance."""
    calls: list[int] = []
    local, shown = chosen(way, choosing(way, 1_000, calls))
    assert (shown.status, len(calls)) == ("failed", 3)
    assert shown.error is not None
    assert shown.error["type"] == "Interrupted"
    assert f"the Lambda calling the Choice of {way!r} ended before it did" in shown.error["message"]
    told = [event["type"] for entry in local.runner.history("deadly::d") for event in entry.events]
    assert told.count("ChoiceStarted") == 3


@WAYS
@pytest.mark.parametrize("kills", [1, 2])
def test_a_choice_that_killed_its_process_is_called_again(way: str, kills: int) -> None:
    """Its event is not lost, and what the step did is not repeated."""
    calls: list[int] = []
    local, shown = chosen(way, choosing(way, kills, calls))
    assert (shown.status, len(calls)) == ("completed", kills + 1)
    told = [event["type"] for entry in local.runner.history("deadly::d") for event in entry.events]
    assert told.count("StepWaiting") == (0 if way == "error" else 1)


def test_a_redrive_calls_the_choice_again() -> None:
    """What killed it may be fixed, and the event that it routes is still there."""
    calls: list[int] = []
    local, shown = chosen("go", choosing("go", 3, calls))
    assert shown.status == "failed"
    local.runner.redrive("deadly::d")
    survive(local, local.settle)
    assert (ended(local).status, len(calls)) == ("completed", 4)


def test_a_policy_that_always_kills_its_process_ends_too() -> None:
    """``decide`` is called after the attempt that it judges was named: the next owner spends that attempt."""
    calls: list[int] = []

    def decide(error: BaseException, attempt: int) -> bool:
        calls.append(attempt)
        raise Killed

    @step(retry=Retry(max_attempts=3, delay=timedelta(seconds=2), jitter="none", decide=decide))
    def work(ctx: StepContext) -> str:
        raise ValueError

    class Deciding(Workflow, key="deadly"):
        start_at = work
        transitions = {work: {"done": DONE}}

    local = LocalRuntime(Deciding)
    survive(local, lambda: local.start(Deciding, "d"))
    assert ended(local).status == "failed"
    assert calls == [1, 2]


@pytest.mark.parametrize("raced", ["wait_a", "wait_b"])
def test_an_event_that_comes_while_a_choice_is_announced_goes_before_the_timeout(raced: str) -> None:
    """The commit that names the Choice finds the event in the log: it is looked at again, and the event is not lost.

    The first of two that are due is announced with the claim, the other by a commit of its own.
    """
    calls: list[str] = []

    @step
    def begin(ctx: StepContext) -> str:
        return "done"

    @step
    def after(ctx: StepContext) -> str:
        return "done"

    def pick(name: str) -> Choice:
        def called(ctx: StepContext) -> Any:
            calls.append(name)
            return after

        return Choice(called, [after])

    waits = [WaitForEvent("go", name=name, timeout=timedelta(minutes=1)) for name in ("wait_a", "wait_b")]

    class Two(Workflow, key="deadly"):
        start_at = begin
        transitions = {
            begin: {"done": waits},
            **{wait: {"go": after, "timeout": pick(wait.key)} for wait in waits},
            after: {"done": DONE},
        }

    local = LocalRuntime(Two)
    local.start(Two, "d")
    commit, late = local.store.commit, [True]

    def races(after: Any, entry: Any, writes: Any = ()) -> Any:
        named = [event.step for event in entry.events if type(event).__name__ == "ChoiceStarted"]
        if late and raced in named:
            late.clear()
            local.runner.resume("deadly::d", "go", step=raced, event_id="e", dispatch=Enqueue())
        return commit(after, entry, writes)

    local.store.commit = races  # type: ignore[method-assign]  # an event at the worst moment
    local.advance(timedelta(minutes=2))
    shown = local.runner.get("deadly::d")
    other = "wait_b" if raced == "wait_a" else "wait_a"
    assert shown.status == "completed"
    assert (shown.steps[raced].event, shown.steps[other].event) == ("go", "timeout")
    assert calls[0] == other
    assert raced not in calls
