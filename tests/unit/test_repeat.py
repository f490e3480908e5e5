"""A workflow that is started again and again: what each child is given, when it ends, and how all are undone."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from hephaestus import DONE, NonRetryable, Retry, Rounds, StepContext, Workflow, step
from hephaestus.engine.codec import dump_state
from hephaestus.engine.mail import Mail
from hephaestus.engine.state import child_in
from hephaestus.errors import DefinitionError
from hephaestus.runtime.orphans import is_read
from hephaestus.steps import ChildWorkflow, Repeat
from hephaestus.store.keys import HEAD
from hephaestus.store.table import EXPIRES
from hephaestus.testing import LocalRuntime
from tests.unit.test_children import DAY, Slow, gate, parent, run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.definition.step import Step


class Draft(Workflow, key="draft"):
    """It goes on where the one before has stopped, and can undo that."""

    undone: ClassVar[list[int]] = []

    @step(compensate=lambda ctx: Draft.undone.append(ctx.steps["write"]["n"]))
    @staticmethod
    def write(ctx: StepContext) -> dict[str, Any]:
        """Write."""
        number = ctx.initial.get("n", 0) + 1
        if number == ctx.initial.get("dies"):
            raise NonRetryable(str(number))
        return {**ctx.initial, "n": number, "pad": ctx.initial.get("pad", "") * number}

    start_at = write
    transitions = {write: {"done": DONE}}
    retry = Retry(max_attempts=1)


def repeated(times: int, **more: Any) -> Repeat:
    """So many drafts."""
    rounds, until = Rounds(more.pop("at_most", 9)), more.pop("until", lambda ctx: ctx.carry["n"] >= times)
    Draft.undone = []
    return Repeat(Draft, until=until, rounds=rounds, context=lambda ctx: ctx.initial, **more)


@step(retry=Retry(max_attempts=1))
def broken(ctx: StepContext) -> str:
    raise ValueError(ctx.instance_id)


def failing(child: Step) -> type[Workflow]:
    """A workflow that fails after its child."""
    led = {child: {"done": broken}, broken: {"done": DONE}}
    return type("Failing", (Workflow,), {"start_at": child, "transitions": led}, key="p")


@pytest.mark.parametrize("large", [0, 9_000])
def test_each_child_starts_with_what_the_one_before_has_left(*, large: int) -> None:
    """Rule B.7: its output is the carry; the last one's are the results."""
    seen: list[tuple[int, int, int]] = []

    def until(ctx: StepContext) -> bool:
        seen.append((ctx.round, ctx.attempt, ctx.carry["n"]))
        return ctx.round == 3

    local = run(repeated(3, until=until), Draft, context={"pad": "x" * large})
    shown = local.runner.get("p::1")
    assert (shown.status, shown.steps["draft"].results["n"], shown.steps["draft"].round) == ("completed", 3, 3)
    assert seen == [(1, 1, 1), (2, 1, 2), (3, 1, 3)]
    assert len(local.runner.list(parent="p::1").items) == 3


def test_the_state_of_a_loop_of_children_does_not_grow() -> None:
    """Rule B.3: it knows the newest child only."""
    sizes = []
    for times in (3, 9):
        local = run(repeated(times, at_most=times), Draft, context={})
        state = local.store.load("p::1")
        assert state is not None
        sizes.append(len(dump_state(state)))
    assert abs(sizes[1] - sizes[0]) < 32


def test_when_no_round_is_left_the_loop_is_exhausted() -> None:
    """Rules B.2 and B.7: with what the last child has left."""
    shown = run(repeated(5, at_most=2), Draft, context={"n": 0}, routes=("exhausted",)).runner.get("p::1")
    results = {"rounds": 2, "carry": {"n": 2, "pad": ""}}
    assert (shown.steps["draft"].event, shown.steps["draft"].results) == ("exhausted", results)


@pytest.mark.parametrize("fails", [2, 9])
def test_until_is_asked_again_and_fails_its_step_in_the_end(fails: int) -> None:
    """Rule B.7: by the workflow's policy; no other child starts meanwhile, and what it did is undone."""
    asked = count(1)

    def until(ctx: StepContext) -> bool:
        if (attempt := next(asked)) <= fails:
            raise ValueError(attempt)
        return True

    local = run(repeated(1, until=until), Draft, context={})
    local.advance(timedelta(minutes=10))
    shown = local.runner.get("p::1")
    assert (shown.status, Draft.undone) == (("completed", []) if fails == 2 else ("failed", [1]))
    assert len(local.runner.list(parent="p::1").items) == 1


def test_a_child_that_fails_ends_the_loop_and_those_before_it_are_undone() -> None:
    """Rules B.5, D.8 and D.9: the newest first; a redrive begins anew with other children."""
    local = run(repeated(5), Draft, context={"dies": 3})
    shown = local.runner.get("p::1")
    assert (shown.status, Draft.undone, shown.steps["draft"].status) == ("failed", [2, 1], "compensated")
    local.runner.redrive("p::1")
    local.settle()
    assert Draft.undone == [2, 1, 2, 1]


def test_children_that_have_nothing_to_undo_stay_and_a_redrive_goes_on_with_the_round_that_failed() -> None:
    """Rules B.8 and D.9: as with steps. What they have done is not done once more under other keys."""
    begun: list[str] = []
    broken_ = [True]

    @step(retry=Retry(max_attempts=1))
    def write(ctx: StepContext) -> dict[str, Any]:
        begun.append(ctx.idempotency_key)
        if broken_[0] and ctx.initial.get("n") == 2:
            raise ValueError(ctx.instance_id)
        return {"n": ctx.initial.get("n", 0) + 1}

    plain: type[Workflow] = type(
        "Plain", (Workflow,), {"start_at": write, "transitions": {write: {"done": DONE}}}, key="p2"
    )
    outer = ChildWorkflow(parent(Repeat(plain, until=lambda ctx: ctx.carry["n"] == 3, rounds=Rounds(9))), name="outer")
    top: type[Workflow] = type(
        "Top", (Workflow,), {"start_at": outer, "transitions": {outer: {"done": DONE}}}, key="top"
    )
    local = LocalRuntime(top, outer.workflow, plain)
    assert local.start(top, "1").status == "failed"
    ends = sorted(one.status for one in local.runner.list(workflow=plain, children=True).items)
    assert ends == ["completed", "completed", "failed"]
    broken_[0] = False
    local.runner.redrive("top::1")
    local.settle()
    assert local.runner.get("top::1").output == {"saw": {"plain": {"n": 3}}}
    assert len(begun) == 4
    assert len(set(begun)) == 3


def test_children_of_all_rounds_are_undone_and_late_mail_of_one_changes_nothing() -> None:
    """Rules D.1, D.3 and D.9: each end is told by the number of its entry."""
    flow = failing(repeated(3))
    local = LocalRuntime(flow, Draft)
    put = local.store.mail.put
    told: list[Mail] = []

    def kept(mail: Mail, at: int) -> bool:
        for old in told:
            put(old, at)
        told.append(mail)
        return put(mail, at)

    local.store.mail.put = kept  # type: ignore[method-assign]  # every mail comes once more, with each other
    shown = local.start(flow, "1", {})
    assert (shown.status, Draft.undone) == ("failed", [3, 2, 1])
    assert {child.status for child in local.runner.list(parent="p::1").items} == {"undone"}
    assert [one.status for one in told] == ["completed"] * 3 + ["undone"] * 3


def test_a_round_that_cannot_be_undone_is_tried_again_by_a_redrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule D.9: it goes on there; what is undone already is not asked once more."""
    flow = failing(repeated(3))
    stuck = [2]

    def undo(ctx: StepContext) -> None:
        if (number := ctx.steps["write"]["n"]) in stuck:
            raise NonRetryable(str(number))
        Draft.undone.append(number)

    monkeypatch.setattr(Draft.write, "compensation", undo)
    local = LocalRuntime(flow, Draft)
    shown = local.start(flow, "1", {})
    assert (shown.status, shown.steps["draft"].status) == ("failed", "compensation_failed")
    assert Draft.undone == [3]
    stuck.clear()
    local.runner.redrive("p::1")
    local.settle()
    assert (local.runner.get("p::1").steps["draft"].status, Draft.undone) == ("compensated", [3, 2, 1])


@pytest.mark.parametrize(
    ("status", "ended", "read"),
    [("completed", 0, True), ("undone", 0, False), ("failed", 0, False), ("failed", 1, True)],
)
def test_mail_of_an_earlier_round_is_deleted_only_if_it_says_nothing_new(
    status: str, ended: int, *, read: bool
) -> None:
    """Rule D.3: it may be the answer to an undo that its reader does not know of; ``ended``: the child has since."""
    local = run(repeated(3), Draft, context={})
    state = local.store.load("p::1")
    assert state is not None
    child = local.store.load(child_in(state, "draft", 1).instance_id)
    assert child is not None
    number = child.sequence - ended
    mail = Mail("p::1", state.life, "draft", number, child.instance_id, child.life, status)
    assert is_read(state, mail, local.store) is read


def test_a_compensation_of_its_own_undoes_all_rounds_at_once() -> None:
    """Rule B.5: with the number of rounds and the last carry."""
    seen: list[tuple[int, Mapping[str, Any]]] = []
    flow = failing(repeated(3, compensate=lambda ctx: seen.append((ctx.round, dict(ctx.carry)))))
    assert LocalRuntime(flow, Draft).start(flow, "1", {}).status == "failed"
    assert (seen, Draft.undone) == ([(3, {"n": 2, "pad": ""})], [])


def test_a_cancelled_loop_cancels_its_child_and_undoes_those_before() -> None:
    """Rules D.7 and D.9."""
    turns = repeated(5)

    class Held(Workflow, key="held"):
        start_at = Draft.write
        transitions = {Draft.write: {"done": gate}, gate: {"go": DONE}}
        output = Draft.write

    held = Repeat(Held, until=turns.until, rounds=Rounds(5), name="draft")
    local = run(held, Held, context={})
    for _ in range(2):
        child = local.runner.get("p::1").steps["draft"].child
        assert child is not None
        local.runner.resume(child, "go")
        local.settle()
    local.runner.cancel("p::1", compensate=True)
    local.settle()
    assert (local.runner.get("p::1").status, Draft.undone) == ("cancelled", [3, 2, 1])


def test_children_of_all_rounds_go_with_their_root() -> None:
    """Rule D.11: they expire, and are deleted, with it."""
    flow = parent(repeated(3))
    local = LocalRuntime(flow, Draft)
    local.store.retention = DAY
    local.start(flow, "1", {})
    ids = [child.id for child in local.runner.list(parent="p::1").items]
    table = local.store.table
    assert [EXPIRES in (table.get(one, HEAD) or {}) for one in ids] == [True] * 3
    local.runner.delete("p::1")
    assert [table.get(one, HEAD) for one in ids] == [None] * 3


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"until": 3}, "its until"),
        ({"rounds": 3}, "rounds is 3"),
        ({"rounds": Rounds(1_001)}, "up to 1,001 rounds"),
        ({"rounds": Rounds(2, again_on=("more",))}, "has again_on"),
    ],
)
def test_what_is_wrongly_repeated_is_rejected(wrong: dict[str, Any], told: str) -> None:
    """As the step is made."""
    with pytest.raises(DefinitionError, match=told):
        Repeat(**{"workflow": Slow, "until": lambda ctx: True, "rounds": Rounds(2), **wrong})
