"""Results that are left to the next commit (rule E.1)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import (
    DONE,
    FAIL,
    Choice,
    Completed,
    DefinitionError,
    Pending,
    Put,
    Retry,
    Rounds,
    Step,
    StepContext,
    Workflow,
    step,
    testing,
)
from hephaestus.costs.play import play
from hephaestus.handlers.http.describe import describe
from hephaestus.runtime import executor
from hephaestus.steps import Wait, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.definition.definition import Checkpoint
    from hephaestus.engine.events import Event
    from hephaestus.runtime.attempt import Outcome

ONCE = Retry(max_attempts=1)
SOON = Retry(max_attempts=2, delay=timedelta(milliseconds=10), jitter="none")


def done(key: str, **options: Any) -> Step:
    """A step that completes."""
    return step(key=key, **options)(lambda ctx: "done")


def row(*steps: Step, checkpoint: Checkpoint = "boundaries", **members: Any) -> type[Workflow]:
    """Steps in a row."""
    routes = zip(steps, [*steps[1:], DONE], strict=True)
    transitions: dict[Any, Any] = {one: {one.events[0]: after} for one, after in routes} | members.pop("more", {})
    body = {"start_at": steps[0], "transitions": transitions, "retry": ONCE, **members}
    made: type[Workflow] = type("Row", (Workflow,), body, key="row", checkpoint=checkpoint)
    return made


def entries(flow: type[Workflow], **runtime: Any) -> list[list[str]]:
    """What each commit after the start and the claim was made of: what happened, and to which steps."""
    local = LocalRuntime(flow, **runtime)
    local.start(flow, "1", {})
    local.settle()
    return [[_said(event) for event in entry.events] for entry in local.runner.history("row::1").items[2:]]


def _said(event: Mapping[str, Any]) -> str:
    steps = event["steps"] if "steps" in event else (event["step"],) if "step" in event else ()
    return " ".join((event["type"], *steps)).replace("Step", "", 1).replace("Instance", "", 1)


def test_the_results_of_all_steps_are_written_with_the_end() -> None:
    """Rule E.1: where no step needs a checkpoint there is none."""
    assert entries(row(done("a"), done("b"), done("c"))) == [["Completed a", "Completed b", "Completed c", "Finished"]]


def test_a_step_may_leave_its_result_by_itself() -> None:
    """Rule E.1: ``checkpoint=False`` in a workflow whose steps are checkpointed."""
    flow = row(done("a", checkpoint=False), done("b", checkpoint=False), done("c"), checkpoint="steps")
    assert entries(flow) == [["Completed a", "Completed b", "sStarted c"], ["Completed c", "Finished"]]


@pytest.mark.parametrize(
    "options",
    [
        {"checkpoint": True},
        {"compensate": lambda ctx: None},
        {"semantics": "at_most_once"},
        {"rounds": Rounds(2)},
    ],
)
def test_a_step_that_is_checkpointed_is_named_and_written_by_itself(options: dict[str, Any]) -> None:
    """Rule E.1: what was left goes with the commit before it, and its own result with one after it."""
    assert entries(row(done("a"), done("b", **options), done("c"), done("d"))) == [
        ["Completed a", "sStarted b"],
        ["Completed b", "sStarted c"],
        ["Completed c", "Completed d", "Finished"],
    ]


def test_a_failure_is_written_before_anything_else_runs() -> None:
    """Rule E.1: so that its attempt is spent; the next one is named."""
    failing = iter([True, False])

    @step(key="b", retry=SOON)
    def work(ctx: StepContext) -> str:
        if next(failing):
            raise ValueError
        return "done"

    assert entries(row(done("a"), work, done("c"))) == [
        ["Completed a", "Failed b", "sStarted b"],
        ["Completed b", "Completed c", "Finished"],
    ]


def test_a_wait_is_a_boundary() -> None:
    """Rule E.1: what was left is written with the wait."""
    ask = step(key="ask", events=("go",))(lambda ctx: Pending())
    assert entries(row(done("a"), ask)) == [["Completed a", "Waiting ask", "Suspended"]]
    assert entries(row(done("a"), WaitForEvent("go", name="ask"))) == [["Completed a", "Waiting ask", "Suspended"]]


def test_a_step_beside_a_wait_is_written_when_the_instance_suspends() -> None:
    """Rule E.1: a suspension leaves nothing."""
    a, b, c, d, wait = done("a"), done("b"), done("c"), done("d"), WaitForEvent("go", name="wait")
    flow = row(a, b, c, d, more={a: {"done": [b, wait]}, wait: {"go": d}})
    assert entries(flow) == [["Completed a", "Waiting wait", "sStarted b"], ["Completed b", "Completed c", "Suspended"]]


def test_writes_are_in_a_commit_of_their_own_after_what_led_to_them() -> None:
    """Rule E.1: a condition of theirs that fails undoes nothing else."""
    write = step(key="b")(lambda ctx: Completed("done", writes=[Put("rows", {"pk": "1"})]))
    assert entries(row(done("a"), write, done("c")), tables={"rows": ("pk",)}) == [
        ["Completed a"],
        ["Completed b"],
        ["Completed c", "Finished"],
    ]


def test_no_step_starts_later_than_ten_seconds_after_the_last_commit() -> None:
    """Rule E.1: so that a death costs little more than that."""
    local: list[LocalRuntime] = []

    def slow(_: StepContext) -> str:
        local[0].clock.sleep(6_000)
        return "done"

    flow = row(*[step(key=key)(slow) for key in "abcd"])
    local.append(LocalRuntime(flow))
    local[0].start(flow, "1", {})
    kinds = [[_said(event) for event in entry.events] for entry in local[0].runner.history("row::1").items[2:]]
    assert kinds == [["Completed a", "Completed b", "sStarted c"], ["Completed c", "Completed d", "Finished"]]
    times = [one.ended_at - one.started_at for one in local[0].runner.get("row::1").steps.values()]  # type: ignore[operator]  # both are set
    assert times == [timedelta(seconds=6)] * 4, "each has ended when it did"


def test_what_was_left_is_written_in_ten_seconds_while_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule E.1: with the names of what runs."""
    local: list[LocalRuntime] = []

    class OneByOne:
        """Attempts of which the second takes longer than anybody waits for it at first."""

        def __init__(self, _: object) -> None:
            self.begun: list[Callable[[], Outcome]] = []
            self.waits = 0

        def start(self, attempt: Callable[[], Outcome]) -> None:
            """Have it under way."""
            self.begun.append(attempt)

        def wait(self, timeout_ms: int | None) -> list[Outcome]:
            """The next outcome; the second time, only time passes."""
            self.waits += 1
            if self.waits == 2:
                local[0].clock.sleep(timeout_ms or 0)
                return []
            return [self.begun.pop(0)()]

    monkeypatch.setattr(testing, "_Workers", OneByOne)
    a, b, c, d = map(done, "abcd")
    flow = row(a, b, d, more={a: {"done": [b, c]}, c: {"done": d}})
    local.append(LocalRuntime(flow))
    local[0].start(flow, "1", {})
    kinds = [[_said(event) for event in entry.events] for entry in local[0].runner.history("row::1").items[2:]]
    assert kinds == [["Completed a", "Completed b", "sStarted c"], ["Completed c", "Completed d", "Finished"]]


def test_what_was_left_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hundredth step in a row costs what the first did."""
    looked: list[Event] = []
    right = executor._Execution.may_be_late  # noqa: SLF001 - counted

    def counted(self: Any, event: Event) -> bool:
        looked.append(event)
        return right(self, event)

    monkeypatch.setattr(executor._Execution, "may_be_late", counted)  # noqa: SLF001 - as above
    entries(row(*[done(f"s{number}") for number in range(100)]))
    assert len(looked) <= 200, "once when it is decided, once before the next step"


def test_a_choice_decides_without_a_commit_and_fail_is_one() -> None:
    """Rule E.1: what a step's own attempt routes is a part of its result."""
    a, b, c = done("a"), done("b"), done("c")
    flow = row(a, b, c, more={a: {"done": Choice(lambda ctx: [b], [b, c])}})
    assert entries(flow) == [["Completed a", "Completed b", "Completed c", "Finished"]]
    a = done("a")
    assert entries(row(a, more={a: {"done": FAIL("no")}})) == [["Completed a", "Finished"]]


def test_paths_that_die_are_no_boundary() -> None:
    """Rule E.1: neither is a join."""
    a, b, c, d = step(key="a", events=("yes", "no"))(lambda ctx: "yes"), done("b"), done("c"), done("d")
    flow = row(a, b, d, more={a: {"yes": b, "no": c}, c: {"done": d}})
    assert entries(flow) == [["Completed a", "sSkipped c", "Completed b", "Completed d", "Finished"]]


def test_the_next_step_sees_what_is_not_written_yet() -> None:
    """Results are there for whatever follows, the output included."""
    a = step(key="a")(lambda ctx: {"n": 1})
    b = step(key="b")(lambda ctx: {"n": ctx.steps["a"]["n"] + 1})
    flow = row(a, b, output=lambda ctx: {"sum": ctx.steps["a"]["n"] + ctx.steps["b"]["n"]})
    local = LocalRuntime(flow)
    assert local.start(flow, "1", {}).output == {"sum": 3}


def test_results_that_do_not_fit_one_entry_take_several() -> None:
    """Rule E.1: none is lost for its size."""
    steps = [step(key=f"s{number}")(lambda ctx: {"text": "x" * 150_000}) for number in range(8)]
    local = LocalRuntime(row(*steps))
    shown = local.start("Row", "1", {})
    assert shown.status == "completed"
    assert {len(one.results["text"]) for one in shown.steps.values()} == {150_000}


@pytest.mark.parametrize(
    ("define", "wrong"),
    [
        (lambda: row(done("a", checkpoint="no")), "checkpoint is 'no'. Give True or False"),
        (lambda: row(done("a", checkpoint=0)), "checkpoint is 0. Give True or False"),
        (lambda: row(done("a"), checkpoint="never"), "checkpoint is 'never'. Use one of steps, boundaries"),  # type: ignore[arg-type]  # wrong on purpose
        (lambda: row(done("a"), checkpoint=True), "checkpoint is True. Use one of steps, boundaries"),  # type: ignore[arg-type]  # as above
        (
            lambda: row(done("a", checkpoint=False, compensate=lambda ctx: None)),
            "has checkpoint=False and a compensation. Drop checkpoint=False",
        ),
        (
            lambda: row(done("a", checkpoint=False, semantics="at_most_once", rounds=Rounds(2))),
            "has checkpoint=False and at_most_once semantics and rounds. Drop checkpoint=False",
        ),
        (
            lambda: row(done("a"), on_failure=done("tell", checkpoint=False)),
            "is on_failure and has checkpoint=False. Drop it: it is always checkpointed",
        ),
        (
            lambda: type("U", (Workflow,), {}, versions={1: row(done("a"))}, checkpoint="boundaries"),
            "has checkpoint='boundaries' beside versions=. Drop it: each version has its own",
        ),
    ],
)
def test_settings_that_contradict_are_rejected_when_they_are_defined(define: Callable[[], object], wrong: str) -> None:
    """Rule E.1: with what to do."""
    with pytest.raises(DefinitionError) as found:
        define()
    assert wrong in str(found.value)


def test_a_class_says_it_in_its_body() -> None:
    """As its other attributes."""

    class Plain(Step):
        checkpoint = False

        def execute(self, *_: object) -> str:
            return "done"

    flow = row(Plain(), done("b"), checkpoint="steps")
    assert entries(flow) == [["Completed plain", "sStarted b"], ["Completed b", "Finished"]]


def test_what_leaves_its_result_is_shown_and_priced() -> None:
    """Waits, and what is always checkpointed, are not among it."""
    flow = row(
        done("a"), done("b", semantics="at_most_once"), Wait(60, name="w"), done("c", checkpoint=True), done("d")
    )
    version = describe(flow)["versions"][0]
    assert [one["key"] for one in version["steps"] if one.get("checkpoint") is False] == ["a", "d"]
    ten = [done(f"s{number}") for number in range(10)]
    counts = play(describe(row(*ten))["versions"][0])
    assert (counts.total_requests, counts.write_units) == (3, 9)
    assert play(describe(row(*ten, checkpoint="steps"))["versions"][0]).total_requests == 12
