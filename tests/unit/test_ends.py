"""How a workflow ends: at FAIL, in a Choice that chooses nothing, with an output."""

from __future__ import annotations

import sys
from ast import literal_eval
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest

from hephaestus import DONE, FAIL, Choice, Completed, Fail, Pending, Retry, Step, StepContext, Workflow, step
from hephaestus.cli.instance_view import instance
from hephaestus.cli.timeline import Timeline
from hephaestus.definition.views import to_json_object
from hephaestus.diagrams import to_dot, to_mermaid, to_svg
from hephaestus.diagrams.picture import draw
from hephaestus.errors import BadRequest, DefinitionError, EngineSignal
from hephaestus.handlers.http.describe import describe
from hephaestus.operations.catalog import read_workflow
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.unit.rendered import rendered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.definition.views import InstanceView

UNDONE: list[str] = []


@step(events=("paid", "declined"), compensate=lambda ctx: UNDONE.append(ctx.idempotency_key))
def pay(ctx: StepContext) -> Completed:
    """Pay, or not."""
    return Completed(ctx.initial.get("pay", "declined"), {"by": ctx.idempotency_key})


@step
def ship(ctx: StepContext) -> str:
    """Ship."""
    return "done"


DECLINED = FAIL("the card was declined")


class Sale(Workflow, key="sale"):
    """It fails where the card is declined."""

    start_at = pay
    transitions = {pay: {"paid": ship, "declined": DECLINED}, ship: {"done": DONE}}


def started(flow: type[Workflow], context: Mapping[str, Any] | None = None) -> tuple[LocalRuntime, InstanceView]:
    """An instance, as far as it goes."""
    local = LocalRuntime(flow)
    return local, local.start(flow, "1", context or {})


def test_an_event_that_leads_to_fail_ends_the_instance_as_a_failed_step_does() -> None:
    """Rule E.2: nothing new starts, what was done is undone, the step that led there included; the story says why."""
    UNDONE.clear()
    _, shown = started(Sale)
    why = "step pay emitted 'declined', which leads to FAIL: the card was declined"
    assert (shown.status, shown.error) == ("failed", {"type": "FAIL", "message": why})
    assert {key: one.status for key, one in shown.steps.items()} == {"pay": "compensated", "ship": "skipped"}
    assert shown.steps["pay"].fail == "the card was declined"
    assert len(UNDONE) == 1


def test_another_event_does_not() -> None:
    """Rule E.2."""
    _, shown = started(Sale, {"pay": "paid"})
    assert (shown.status, shown.steps["pay"].fail) == ("completed", None)


def test_waits_are_dropped_and_a_redrive_asks_again() -> None:
    """Rule E.2: the step that led to FAIL runs again as another activation: its first has completed."""
    decide, other = WaitForEvent("yes", "no", name="decide"), WaitForEvent("go", name="other")
    begin = step(key="begin")(lambda ctx: "done")

    class Both(Workflow, key="both"):
        start_at = begin
        transitions = {
            begin: {"done": [decide, other]},
            decide: {"yes": ship, "no": FAIL},
            other: {"go": ship},
            ship: {"done": DONE},
        }

    local, _ = started(Both)
    local.resume("both::1", "no")
    shown = local.runner.get("both::1")
    assert (shown.status, shown.error) == (
        "failed",
        {"type": "FAIL", "message": "step decide emitted 'no', which leads to FAIL"},
    )
    assert shown.steps["decide"].fail == ""
    assert shown.redrive == {"waits_again": ("decide",), "waits_on": ("other",), "kept": ("begin",)}
    local.runner.redrive("both::1")
    local.settle()
    assert local.runner.get("both::1").accepts == {"decide": ("yes", "no"), "other": ("go",)}
    local.resume("both::1", "yes")
    local.resume("both::1", "go")
    assert local.runner.get("both::1").status == "completed"


@pytest.mark.parametrize(
    ("picks", "why"),
    [
        (lambda ctx: FAIL, "declared"),
        (lambda ctx: "FAIL", "declared"),
        (lambda ctx: Fail, "declared"),
        (lambda ctx: [FAIL, FAIL], "declared"),
        (lambda ctx: [FAIL(f"{ctx.steps['pay']['by'][:6]} is too much")], "sale:: is too much"),
        (lambda ctx: FAIL("x\x00" + "y" * 2_000), "x\\x00" + "y" * 995),
    ],
)
def test_a_choice_may_pick_fail_with_any_reason(picks: Callable[[Any], Any], why: str) -> None:
    """Rule E.2: also where it is declared without one, or with another; without one, it has the one declared."""
    flow = routed(picks)
    _, shown = started(flow)
    said = f": {why}" if why else ""
    assert shown.error == {"type": "FAIL", "message": f"step pay emitted 'declined', which leads to FAIL{said}"}
    assert shown.steps["ship"].status == "skipped"


@pytest.mark.parametrize(
    ("picks", "problem"),
    [
        (lambda ctx: [ship, FAIL], "picked FAIL together with ship: return FAIL alone"),
        (lambda ctx: FAIL(cast("str", 3)), 'picked FAIL(3): give the reason as a text, as in FAIL("reason")'),
        (lambda ctx: FAIL.configured(x=1), "picked FAIL with a configuration: return FAIL alone"),
        (lambda ctx: [FAIL("a"), FAIL("b")], "picked FAIL twice with different reasons: pick it once"),
        (lambda ctx: [FAIL, FAIL("b")], "picked FAIL twice with different reasons: pick it once"),
    ],
)
def test_a_choice_that_picks_fail_wrongly_fails_its_step(picks: Callable[[Any], Any], problem: str) -> None:
    """Rule E.2: FAIL is no branch of several."""
    _, shown = started(routed(picks))
    assert shown.error is not None
    assert shown.error["type"] == "InvalidChoice"
    assert problem in shown.error["message"]


class Declined(Fail):
    """An end with a reason of its own."""

    reason = "the card was declined"


@pytest.mark.parametrize("target", [Declined, Declined(), Choice(lambda ctx: Declined, [Declined, DONE])])
def test_a_reason_of_its_own_class_counts(target: Any) -> None:
    class Sale(Workflow, key="sale"):
        start_at = pay
        transitions = {pay: {"paid": DONE, "declined": target}}

    _, shown = started(Sale)
    assert shown.steps["pay"].fail == "the card was declined"


def routed(picks: Callable[[Any], Any]) -> type[Workflow]:
    """A sale whose declined card is routed by a function."""

    class Sale(Workflow, key="sale"):
        start_at = pay
        retry = Retry(max_attempts=1)
        transitions = {
            pay: {"paid": ship, "declined": Choice(picks, [ship, FAIL("declared")])},
            ship: {"done": DONE},
        }

    return Sale


def test_a_choice_that_returns_nothing_has_chosen_nothing() -> None:
    """Rule E.4: the event's edges die, what no other way leads to is skipped, and the instance completes."""
    for nothing in ("None", "[]", "()"):
        _, shown = started(routed(lambda ctx: literal_eval(ctx.initial["picks"])), {"picks": nothing})
        assert (shown.status, shown.steps["ship"].status) == ("completed", "skipped")


@pytest.mark.parametrize(
    ("target", "problem", "fix"),
    [
        ([], "event 'declined' leads nowhere", "Route it to a step, to DONE or to FAIL"),
        ([ship, FAIL], "event 'declined' fans out to FAIL", "lead the event to FAIL alone"),
        (FAIL.configured(x=1), "leads to FAIL with a configuration", "Name FAIL alone: it never runs"),
        (FAIL(3), "leads to FAIL(3)", 'Give the reason as a text: FAIL("reason")'),  # type: ignore[arg-type]  # the mistake
        (Choice(lambda _: FAIL, [FAIL, FAIL("twice")]), "leads to FAIL twice", "may return it with any reason"),
    ],
)
def test_a_target_that_cannot_be_is_a_definition_error(target: Any, problem: str, fix: str) -> None:
    """Rules E.2 and E.4."""
    with pytest.raises(DefinitionError) as raised:

        class Wrong(Workflow, key="wrong"):
            start_at = pay
            transitions = {pay: {"paid": ship, "declined": target}, ship: {"done": DONE}}

    (found,) = raised.value.problems
    assert found.step == "pay"
    assert problem in found.problem
    assert fix in found.fix


def test_fail_is_no_step() -> None:
    """Rule E.2: it neither starts a workflow nor leads on, and no step has its key."""
    with pytest.raises(DefinitionError) as raised:

        class Wrong(Workflow, key="wrong"):
            start_at = FAIL
            transitions = {FAIL: {"done": DONE}, step(key="FAIL")(lambda ctx: "done"): {"done": DONE}}

    problems = [f"{one.step} {one.problem}" for one in raised.value.problems]
    assert problems[:3] == ["Wrong starts at FAIL", "FAIL has transitions", "FAIL the key 'FAIL' is taken"]


def test_what_led_to_fail_is_no_part_of_a_fork() -> None:
    """Rule E.2: a fork begins it anew; and none goes on where a version would have failed."""
    local, _ = started(Sale)
    fork = local.runner.fork("sale::1", new_id="2", context={"pay": "paid"})
    local.settle()
    assert (local.runner.get(fork).status, list(local.runner.get(fork).steps)) == ("completed", ["pay", "ship"])

    class OldSale(Workflow, key="old", version=1):
        start_at = pay
        transitions = {pay: {"paid": ship, "declined": DONE}, ship: {"done": DONE}}

    class NewSale(Workflow, key="old", version=2):
        start_at = pay
        transitions = Sale.transitions

    class Sales(Workflow, versions={1: OldSale, 2: NewSale}):
        """Both."""

    local = LocalRuntime(Sales)
    local.runner.start_instance("Sales", {}, id="1", version=1)
    local.settle()
    with pytest.raises(BadRequest, match="pay: declined led to DONE, and leads to FAIL there"):
        local.runner.fork("old::1", new_id="2", version=2)


def test_fail_is_shown_wherever_a_workflow_is() -> None:
    """In the description that goes over the API and back, in drawings, and in an instance's history."""
    (version,) = describe(Sale)["versions"]
    assert version["steps"][0]["routes"] == {"paid": ["ship"], "declined": ["FAIL"]}
    known = read_workflow(describe(Sale)).definitions[1].routes["pay"]["declined"]
    assert (known.targets, known.fail) == ((), "")
    local, shown = started(Sale)
    failed = draw(version, "Sale", to_json_object(shown))
    assert {(edge.source, edge.target): edge.taken for edge in failed.edges} == {
        ("pay", "ship"): False,
        ("pay", "FAIL"): True,
        ("ship", "DONE"): False,
    }
    for text in (to_mermaid(failed), to_svg(failed), to_dot(failed)):
        assert "fail" in text
    entries = [entry for entry in local.runner.history("sale::1") if entry.events[0]["type"] == "StepCompleted"]
    assert entries[0].events[0]["fail"] == "the card was declined"
    told = rendered(*(line for entry in entries for line in Timeline(120).lines(to_json_object(entry))))
    assert "pay declined → FAIL" in told
    assert "the card was declined" in told


def summed(made: Any, **members: Any) -> type[Workflow]:
    """Two steps side by side, a third, and this output."""
    begin, left = step(key="begin")(lambda ctx: "done"), step(key="left")(lambda ctx: {"rows": 1})
    right, last = step(key="right")(lambda ctx: {"rows": 2}), step(key="last")(lambda ctx: {"rows": 3})
    known = {"begin": begin, "left": left, "right": right, "last": last}
    body = {
        "start_at": begin,
        "retry": Retry(max_attempts=2, delay=0),
        "transitions": {
            begin: {"done": [left, right]},
            left: {"done": last},
            right: {"done": last},
            last: {"done": DONE},
        },
        "output": known.get(made, made) if isinstance(made, str) else made,
        **members,
    }
    return type("Summed", (Workflow,), body, key="sum")


@dataclass(frozen=True)
class Rows:
    """An output of fields."""

    rows: int


@pytest.mark.parametrize(
    ("made", "output"),
    [
        (None, {"rows": 3}),
        ("left", {"rows": 1}),
        (lambda ctx: {"rows": sum(ctx.steps[key]["rows"] for key in ("left", "right"))}, {"rows": 3}),
        (lambda ctx: Rows(ctx.initial.get("rows", 7)), {"rows": 7}),
        (lambda ctx: None, {}),
        (staticmethod(lambda ctx: {"of": ctx.instance_id}), {"of": "sum::1"}),
    ],
)
def test_the_output_of_a_completed_instance_is_as_the_workflow_says(made: Any, output: Mapping[str, Any]) -> None:
    """Rule D.10: a step's results, what a function returns, or the results of the step completed last."""
    local, shown = started(summed(made))
    assert (shown.status, shown.output) == ("completed", output)
    assert local.runner.history("sum::1").items[-1].events[-1]["type"] == "InstanceFinished", "with the closing commit"


def test_of_steps_that_completed_together_the_later_in_the_graph_leaves_the_output() -> None:
    """Rule D.10."""
    first: Step = step(key="b")(lambda ctx: {"of": "b"})
    second: Step = step(key="a")(lambda ctx: {"of": "a"})

    class Chain(Workflow, key="chain"):
        start_at = first
        transitions = {first: {"done": second}, second: {"done": DONE}}

    _, shown = started(Chain)
    assert (shown.output, shown.steps["a"].ended_at) == ({"of": "a"}, shown.steps["b"].ended_at)


def test_a_step_that_did_not_complete_leaves_no_output() -> None:
    """Rule D.10: nor does an instance that failed."""

    class Sale(Workflow, key="sale"):
        start_at = pay
        transitions = {pay: {"paid": ship, "declined": DONE}, ship: {"done": DONE}}
        output = ship

    _, shown = started(Sale)
    assert (shown.status, shown.steps["ship"].status, shown.output) == ("completed", "skipped", {})
    _, failed = started(summed(lambda ctx: 1 / 0))
    assert failed.output is None


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda ctx: 1 / 0, {"type": "ZeroDivisionError", "message": "division by zero"}),
        (lambda ctx: 3, {"type": "InvalidOutput", "message": "the output is a int: return a mapping, a model"}),
        (lambda ctx: {1: 2}, {"type": "NotSerializable", "message": "the output"}),
        (lambda ctx: {"x": "y" * 17_000_000}, {"type": "PayloadTooLarge", "message": "the output needs"}),
        (lambda ctx: sys.exit(1), {"type": "SystemExit", "message": "1"}),
    ],
)
def test_an_output_that_cannot_be_made_fails_the_instance_and_a_redrive_makes_it_again(made: Any, why: Any) -> None:
    """Rule D.10: what was done is undone first, as when a step fails."""
    undone: list[str] = []
    again: list[Callable[[Any], Any]] = [made]
    begin = step(key="begin", compensate=lambda ctx: undone.append(ctx.idempotency_key))(lambda ctx: {"rows": 1})

    class Fragile(Workflow, key="fragile"):
        start_at = begin
        transitions = {begin: {"done": DONE}}

        @staticmethod
        def output(ctx: StepContext) -> Any:
            """As it is made now."""
            return again[-1](ctx)

    local, shown = started(Fragile)
    assert shown.status == "failed"
    assert shown.error is not None
    assert shown.error["type"] == why["type"]
    assert shown.error["message"].startswith(f"the workflow's output could not be made: {why['message']}")
    assert len(undone) == 1
    again.append(lambda ctx: {"rows": 2})
    local.runner.redrive("fragile::1")
    local.settle()
    shown = local.runner.get("fragile::1")
    assert (shown.status, shown.output, shown.error) == ("completed", {"rows": 2}, None)


def test_an_output_that_takes_its_lambda_with_it_is_called_as_often_as_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule D.10: an owner that took over from a dead one counts its calls."""
    calls: list[str] = []

    class Killed(EngineSignal):
        """Stands for the end of the process."""

    def kill(ctx: StepContext) -> dict[str, Any]:
        calls.append(ctx.instance_id)
        raise Killed

    flow = summed(kill)
    local = LocalRuntime(flow)
    for _ in range(6):
        with suppress(Killed):
            if not calls:
                local.start(flow, "1", {})
            local.advance(timedelta(hours=1))
            local.sweep()
    shown = local.runner.get("sum::1")
    assert shown.status == "failed"
    assert shown.error is not None
    assert shown.error["message"].startswith(
        "the workflow's output could not be made: instance sum::1: the Lambda calling the workflow's output ended"
    )
    assert len(calls) == 1 + 2, "once unseen, then as often as a step is tried"


@pytest.mark.parametrize("size", [10, 2_000, 60_000])
def test_an_output_is_stored_whatever_its_size(size: int) -> None:
    """Rule D.10: a large one is a value of its own, written before what names it."""
    letters = "".join(chr(33 + (number * 7919) % 90) for number in range(size))
    local, shown = started(summed(lambda ctx: {"text": letters}))
    assert shown.output == {"text": letters}
    assert local.runner.history("sum::1").items[-1].events[-1]["output"] == {"text": letters}


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        (3, "its output is 3, which cannot be called"),
        (ship, "its output is <step ship>, which is none of its steps"),
        (DONE, "its output is <step DONE>, which is none of its steps"),
        (lambda: {"rows": 1}, "has the signature ()"),
    ],
)
def test_an_output_that_is_neither_step_nor_function_is_a_definition_error(made: Any, problem: str) -> None:
    """Rule D.10."""
    with pytest.raises(DefinitionError) as raised:
        summed(made)
    (found,) = raised.value.problems
    assert problem in found.problem
    assert found.fix == "Give a step of its transitions, or a plain function of the context that returns a mapping"


def test_an_output_is_shown_to_people() -> None:
    """On the command line: beside an instance, and in its history."""
    local, shown = started(summed(None))
    assert "output rows=3" in rendered(instance(to_json_object(shown), 100))
    last = local.runner.history("sum::1").items[-1]
    assert "completed  output of last" in rendered(*Timeline(120).lines(to_json_object(last)))


class Told:
    """What a workflow's on_failure was told, and how often it is to fail."""

    def __init__(self, fails: int = 0) -> None:
        self.errors: list[dict[str, str]] = []
        self.keys: list[str] = []
        self.order: list[str] = []
        self.fails = fails

    def hear(self, ctx: StepContext) -> dict[str, Any]:
        """Take note, or fail."""
        self.order.append("on_failure")
        self.errors.append(dict(ctx.error))
        self.keys.append(ctx.idempotency_key)
        if len(self.errors) <= self.fails:
            message = "no line"
            raise OSError(message)
        return {"attempt": ctx.attempt, "to": ctx.config["to"], "knows": sorted(ctx.steps)}


def failing(told: Told, *, undo: Callable[[StepContext], Any] | None = None) -> type[Workflow]:
    """A workflow that books, is refused, and tells."""

    def undone(ctx: StepContext) -> None:
        told.order.append("undo")
        if undo is not None:
            undo(ctx)

    once = Retry(max_attempts=1)
    book = step(key="book", compensate=undone, compensate_retry=once)(lambda ctx: dict(ctx.error))

    @step(retry=once)
    def refuse(ctx: StepContext) -> str:
        """Divide by zero, unless all is fine."""
        return "done" if ctx.initial.get("fine") else str(1 / 0)

    tell = step(key="tell", retry=Retry(max_attempts=3, delay=timedelta(minutes=1), jitter="none"))(told.hear)

    class Booked(Workflow, key="booked"):
        start_at = book
        transitions = {book: {"done": refuse}, refuse: {"done": DONE}}
        on_failure = tell.configured(to="ops")

    return Booked


DIVIDED = {"type": "ZeroDivisionError", "message": "step refuse failed after 1 attempt(s): division by zero"}


def test_on_failure_runs_after_what_was_done_is_undone_and_is_told_why() -> None:
    """Rule E.3: with ``ctx.error``, which is empty for other steps, and its own configuration."""
    told = Told()
    _, shown = started(failing(told))
    assert told.order == ["undo", "on_failure"]
    assert told.errors == [DIVIDED]
    assert (shown.status, shown.error) == ("failed", DIVIDED)
    assert shown.steps["tell"].status == "completed"
    assert shown.steps["tell"].results == {"attempt": 1, "to": "ops", "knows": ["book"]}
    assert shown.steps["book"].results == {}


def test_on_failure_runs_only_on_failure() -> None:
    """Rule E.3: not where the instance completes, and not on cancellation."""
    told = Told()
    _, shown = started(failing(told), {"fine": True})
    assert (shown.status, list(shown.steps)) == ("completed", ["book", "refuse"])

    class Asked(Workflow, key="asked"):
        answer = WaitForEvent("yes", name="answer")
        start_at = answer
        transitions = {answer: {"yes": DONE}}
        on_failure = step(key="tell")(told.hear)

    local, _ = started(Asked)
    local.runner.cancel("asked::1", compensate=True)
    assert local.runner.get("asked::1").status == "cancelled"
    assert told.errors == []


def test_on_failure_is_tried_again_and_its_own_failure_is_only_told() -> None:
    """Rule E.3: the instance waits for its attempts, then ends as it would have."""
    told = Told(fails=1)
    local, shown = started(failing(told))
    assert (shown.status, shown.steps["tell"].status) == ("compensating", "retrying")
    local.advance(timedelta(hours=1))
    shown = local.runner.get("booked::1")
    assert (shown.status, shown.error, shown.steps["tell"].attempt) == ("failed", DIVIDED, 2)
    local, _ = started(failing(Told(fails=9)))
    local.advance(timedelta(hours=1))
    shown = local.runner.get("booked::1")
    story = f"{DIVIDED['message']}; on_failure, step tell, failed too: no line"
    assert (shown.status, shown.error) == ("failed", {**DIVIDED, "message": story})
    assert (shown.steps["tell"].status, shown.steps["tell"].attempt) == ("failed", 3)


def test_on_failure_is_told_what_could_not_be_undone() -> None:
    """Rule E.3: and runs again after a redrive of the compensation, as the life fails again."""
    told, broken = Told(), [True]
    local, _ = started(failing(told, undo=lambda ctx: 1 / 0 if broken else None))
    assert told.errors[0]["type"] == "CompensationFailed"
    broken.clear()
    local.runner.redrive("booked::1")
    local.settle()
    assert told.errors[1:] == [DIVIDED]
    assert told.order == ["undo", "on_failure"] * 2


def test_on_failure_runs_once_each_time_the_life_fails() -> None:
    """Rule E.3: after a redrive under another idempotency key."""
    told = Told()
    local, _ = started(failing(told))
    local.runner.redrive("booked::1")
    local.settle()
    assert local.runner.get("booked::1").status == "failed"
    assert len(set(told.keys)) == len(told.keys) == 2


def test_on_failure_holds_while_an_instance_is_paused() -> None:
    """Rule E.3: a pause between its attempts stops it; unpaused, it goes on."""
    told = Told(fails=1)
    local, _ = started(failing(told))
    local.runner.pause("booked::1")
    local.advance(timedelta(hours=1))
    assert len(told.errors) == 1
    local.runner.unpause("booked::1")
    local.settle()
    assert (local.runner.get("booked::1").status, len(told.errors)) == ("failed", 2)


def test_on_failure_of_a_dead_lambda_has_spent_an_attempt() -> None:
    """Rule E.3: as every step's."""
    calls: list[int] = []

    class Killed(EngineSignal):
        """Stands for the end of the process."""

    def die(ctx: StepContext) -> str:
        calls.append(ctx.attempt)
        if ctx.attempt == 1:
            raise Killed
        return "done"

    class Fatal(Workflow, key="fatal"):
        start_at = pay
        transitions = {pay: {"paid": DONE, "declined": DECLINED}}
        on_failure = step(key="die", retry=Retry(max_attempts=3, delay=0))(die)

    local = LocalRuntime(Fatal)
    with pytest.raises(Killed):
        local.start(Fatal, "1", {})
    local.advance(timedelta(hours=1))
    local.sweep()
    local.settle()
    shown = local.runner.get("fatal::1")
    assert (shown.status, calls, shown.steps["die"].attempt) == ("failed", [1, 2], 2)


def test_on_failure_that_waits_has_failed() -> None:
    """Rule E.3: ``Pending()`` cannot be."""

    class Waits(Workflow, key="waits"):
        start_at = pay
        transitions = {pay: {"paid": DONE, "declined": DECLINED}}
        on_failure = step(key="wait")(lambda ctx: Pending())

    _, shown = started(Waits)
    assert shown.error is not None
    assert shown.error["message"].endswith("step wait is on_failure and returned Pending(): it cannot wait")


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (pay, "pay is on_failure and a step of the graph"),
        (DONE, "Wrong its on_failure is DONE"),
        (WaitForEvent("x", name="wait"), "wait is on_failure and waits"),
        (pay.named("other"), "other is on_failure and has a compensation"),
        (3, "Wrong 3 is not a step"),
    ],
)
def test_an_on_failure_that_cannot_be_is_a_definition_error(handler: Any, problem: str) -> None:
    """Rule E.3."""
    with pytest.raises(DefinitionError) as raised:

        class Wrong(Workflow, key="wrong"):
            start_at = pay
            transitions = {pay: {"paid": DONE, "declined": DONE}}
            on_failure = handler

    assert [f"{one.step} {one.problem}" for one in raised.value.problems] == [problem]


def test_on_failure_is_shown_wherever_a_workflow_is() -> None:
    """In its description, in drawings, and in history."""
    flow = failing(Told())
    local, shown = started(flow)
    (version,) = describe(flow)["versions"]
    assert (version["on_failure"], [one["key"] for one in version["steps"]]) == ("tell", ["book", "refuse"])
    assert read_workflow(describe(flow)).definitions[1].graph.on_failure == "tell"
    assert "on failure" in to_mermaid(draw(version, "Booked", to_json_object(shown)))
    timeline, entries = Timeline(120), map(to_json_object, local.runner.history("booked::1"))
    told = rendered(*(line for entry in entries for line in timeline.lines(entry)))
    assert "undoing book; then on_failure runs: tell; then it is failed" in told
    assert "tell done" in told


class Limited(Workflow, key="limited"):
    """It has two days to be answered."""

    @step(compensate=lambda ctx: None)
    @staticmethod
    def ask(ctx: StepContext) -> str:
        """Ask."""
        return "done"

    answer = WaitForEvent("yes", name="answer")
    start_at = ask
    transitions = {ask: {"done": answer}, answer: {"yes": DONE}}
    on_failure = step(key="tell")(lambda ctx: dict(ctx.error))
    timeout = timedelta(days=2)


UP = {"type": "WorkflowTimedOut", "message": "the workflow had not ended within its timeout of 172800 s"}


def test_a_workflow_that_has_not_ended_in_time_fails() -> None:
    """Rule E.5: its waits are dropped, what was done is undone, on_failure is told; history says so."""
    local, shown = started(Limited)
    assert shown.deadline == shown.created_at + timedelta(days=2)
    local.advance(timedelta(days=1, hours=23))
    assert local.runner.get("limited::1").status == "waiting"
    local.advance(timedelta(hours=1, minutes=1))
    shown = local.runner.get("limited::1")
    assert (shown.status, shown.error, shown.deadline) == ("failed", UP, None)
    assert (shown.steps["ask"].status, dict(shown.steps["tell"].results)) == ("compensated", UP)
    happened = [event["type"] for entry in local.runner.history("limited::1") for event in entry.events]
    assert happened.count("TimedOut") == 1
    assert "its time is up" in rendered(
        *(line for entry in local.runner.history("limited::1") for line in Timeline(120).lines(to_json_object(entry)))
    )


def test_one_that_has_ended_does_not_time_out() -> None:
    """Rule E.5: and no schedule is left behind."""
    local, _ = started(Limited)
    local.resume("limited::1", "yes")
    assert local.timers.next_due() is None
    local.advance(timedelta(days=3))
    assert local.runner.get("limited::1").status == "completed"


def test_pauses_count_and_a_paused_instance_times_out_when_it_goes_on() -> None:
    """Rule E.5."""
    local, _ = started(Limited)
    local.runner.pause("limited::1")
    local.advance(timedelta(days=3))
    assert local.runner.get("limited::1").status == "waiting"
    local.runner.unpause("limited::1")
    local.settle()
    assert local.runner.get("limited::1").error == UP


def test_a_redrive_gives_the_whole_time_again() -> None:
    """Rule E.5: whatever the instance had failed of."""
    local, _ = started(Limited)
    local.advance(timedelta(days=2, minutes=2))
    local.runner.redrive("limited::1")
    local.settle()
    local.advance(timedelta(days=1))
    assert local.runner.get("limited::1").status == "waiting"
    local.resume("limited::1", "yes")
    assert local.runner.get("limited::1").status == "completed"


def test_what_runs_when_time_is_up_ends_and_what_is_left_by_then_decides() -> None:
    """Rule E.5: nothing new starts; an instance with nothing left to do completes, however late."""
    clocks: list[LocalRuntime] = []

    def slow(ctx: StepContext) -> dict[str, int]:
        clocks[0].clock.sleep(10_000)
        return {"rows": 1}

    first, second = step(key="first")(slow), step(key="second")(slow)

    class Late(Workflow, key="late"):
        start_at = first
        transitions = {first: {"done": DONE}}
        timeout = 5

    class Later(Workflow, key="later"):
        start_at = first
        transitions = {first: {"done": second}, second: {"done": DONE}}
        timeout = timedelta(seconds=5)

    clocks.append(LocalRuntime(Late, Later))
    assert clocks[0].start(Late, "1").status == "completed"
    shown = clocks[0].start(Later, "1")
    assert (shown.status, list(shown.steps)) == ("failed", ["first"])


def test_a_fork_has_its_own_time() -> None:
    """Rule E.5: from when it begins."""
    local, _ = started(Limited)
    local.advance(timedelta(days=1))
    fork = local.runner.fork("limited::1", new_id="2")
    local.settle()
    shown = local.runner.get(fork)
    assert shown.deadline == shown.created_at + timedelta(days=2)


@pytest.mark.parametrize("given", [0, -1, "2 days", timedelta(days=9_999), True])
def test_a_timeout_that_cannot_be_is_a_definition_error(given: Any) -> None:
    """Rule E.5."""
    with pytest.raises(DefinitionError) as raised:

        class Wrong(Workflow, key="wrong"):
            start_at = pay
            transitions = {pay: {"paid": DONE, "declined": DONE}}
            timeout = given

    (found,) = raised.value.problems
    assert "timeout" in found.problem
    assert found.fix
