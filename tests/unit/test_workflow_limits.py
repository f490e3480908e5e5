"""Workflows under limits: who runs, who stands in line, and for how long (rules F.1 to F.4, F.8, F.9)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from hephaestus import DONE, Concurrency, DefinitionError, NonRetryable, Retry, Rounds, StepContext, Workflow, step
from hephaestus.errors import EngineSignal
from hephaestus.runtime.commands.set_limit import SetLimit
from hephaestus.runtime.registry import Registry
from hephaestus.steps import ChildWorkflow, Map, Repeat, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT: Final = Concurrency("sync", 1)
ran: list[str] = []


def noted(ctx: StepContext) -> str:
    """Run, and say so."""
    ran.append(f"{ctx.instance_id.partition('::')[2][:4]} {ctx.idempotency_key.rpartition(':')[2]}")
    return "done"


def flow(
    *limits: Concurrency, name: str = "Sync", steps: Callable[[], tuple[Any, ...]] | None = None, **members: Any
) -> type[Workflow]:
    """A workflow of a step and a wait, or of other steps one after the other, that names limits."""
    given = steps() if steps is not None else (step(key="first")(noted), WaitForEvent("go", name="wait"))
    ways = {one: {event: after} for one, event, after in zip(given, _events(given), (*given[1:], DONE), strict=True)}
    body = {"start_at": given[0], "transitions": ways, **members}
    return type(name, (Workflow,), body, key=name.lower(), limits=list(limits))


def _events(steps: tuple[Any, ...]) -> list[str]:
    return ["go" if isinstance(one, WaitForEvent) else "done" for one in steps]


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def start(local: LocalRuntime, *names: str, workflow: str = "Sync", **context: Any) -> None:
    """Start instances, a second apart."""
    for name in names:
        local.start(workflow, name, context)
        local.advance(timedelta(seconds=1))


def places(local: LocalRuntime, limit: str = "sync") -> tuple[str, str]:
    """Who has the permits, and who stands in line."""
    usage = local.store.permits.usage(limit)
    held = sorted(one.holder.instance_id.partition("::")[2][:4] for one in usage.permits)
    return " ".join(held), " ".join(one.instance_id.partition("::")[2][:4] for one in usage.line)


def status(local: LocalRuntime, name: str) -> str:
    """How an instance is."""
    return local.runner.get(f"sync::{name}").status


def test_an_instance_has_its_permit_from_before_its_first_step_until_it_is_closed() -> None:
    """Rule F.2. Who finds none stands in line and has run nothing; the first in line is called."""
    local = LocalRuntime(flow(Concurrency("sync", 2)))
    start(local, *"abcd")
    assert places(local) == ("a b", "c d")
    assert ran == ["a first", "b first"]
    local.resume("sync::b", "go")
    assert places(local) == ("a c", "d")
    assert ran == ["a first", "b first", "c first"]
    for name in "acd":
        local.resume(f"sync::{name}", "go")
    assert places(local) == ("", "")
    assert [status(local, name) for name in "abcd"] == ["completed"] * 4


def test_an_instance_in_line_costs_nothing() -> None:
    """Rule F.2. No owner, no alarm; an event for a step of its is kept."""
    local = LocalRuntime(flow(LIMIT))
    start(local, *"ab")
    before = local.store.load("sync::b")
    assert before is not None
    assert (before.status, before.owner, before.wake_at, dict(before.steps)) == ("waiting", None, None, {})
    local.advance(timedelta(days=3))
    assert local.store.load("sync::b") == before
    shown = local.runner.get("sync::b")
    assert shown.why == ("waits for `sync` (1 of 1 held), first in line, oldest holder sync::a for 3 days",)
    assert dict(shown.steps) == {}
    local.resume("sync::b", "go")
    local.resume("sync::a", "go")
    assert status(local, "b") == "completed"


def test_it_is_held_through_a_pause_and_the_waits() -> None:
    """Rule F.2."""
    local = LocalRuntime(flow(LIMIT))
    start(local, *"ab")
    local.runner.pause("sync::a")
    local.advance(timedelta(days=1))
    assert places(local) == ("a", "b")
    local.runner.unpause("sync::a")
    local.resume("sync::a", "go")
    assert places(local) == ("b", "")


@pytest.mark.parametrize("act", ["pause", "cancel"])
def test_who_is_paused_or_cancelled_leaves_the_line(act: str) -> None:
    """Rule F.4. One that is unpaused stands there anew, behind those that have come."""
    local = LocalRuntime(flow(LIMIT))
    start(local, *"abc")
    getattr(local.runner, act)("sync::b")
    local.settle()
    assert places(local) == ("a", "c")
    if act == "cancel":
        assert status(local, "b") == "cancelled"
        return
    local.advance(timedelta(seconds=1))
    local.runner.unpause("sync::b")
    local.settle()
    assert places(local) == ("a", "c b")


def test_its_time_is_up_in_line() -> None:
    """It fails as one that ran, and leaves the line."""
    local = LocalRuntime(flow(LIMIT, timeout=60))
    start(local, "a")
    local.advance(timedelta(seconds=30))
    start(local, "b")
    local.runner.pause("sync::a")
    local.advance(timedelta(seconds=90))
    assert (status(local, "b"), places(local)) == ("failed", ("a", ""))


def refused(ctx: StepContext) -> str:
    """Fail, and be undone."""
    raise NonRetryable(ctx.instance_id)


def undone(ctx: StepContext) -> None:
    """Be undone."""
    noted(ctx)


def saga() -> tuple[Any, ...]:
    """A step that is undone, and one that fails."""
    return step(key="first", compensate=undone)(noted), WaitForEvent("go", name="wait"), step(key="bad")(refused)


def test_what_it_did_is_undone_under_its_permit() -> None:
    """Rule F.2. The next is called when the instance is closed."""
    seen: list[tuple[str, str]] = []
    local: LocalRuntime

    def undo(_ctx: StepContext) -> None:
        seen.append(places(local))

    def steps() -> tuple[Any, ...]:
        return step(key="first", compensate=undo)(noted), WaitForEvent("go", name="wait"), step(key="bad")(refused)

    local = LocalRuntime(flow(LIMIT, steps=steps))
    start(local, *"ab")
    local.resume("sync::a", "go")
    assert seen == [("a", "b")]
    assert (status(local, "a"), places(local)) == ("failed", ("b", ""))


def test_a_redrive_and_a_fork_take_a_permit_anew() -> None:
    """Rule F.2. Both stand in line like any other."""
    local = LocalRuntime(flow(LIMIT, steps=saga))
    start(local, *"ab")
    local.resume("sync::a", "go")
    assert places(local) == ("b", "")
    local.runner.redrive("sync::a")
    local.advance(timedelta(seconds=1))
    local.runner.fork("sync::a", at=3, new_id="f")
    local.settle()
    assert places(local) == ("b", "a f")
    ran.clear()
    local.runner.cancel("sync::b", compensate=True)
    local.settle()
    assert ran == ["b first!undo", "a first~1"]
    assert places(local) == ("a", "f")


class Inner(Workflow, key="inner", limits=[LIMIT]):
    """Names the limit that its parent has a permit of."""

    work, wait = step(key="work")(noted), WaitForEvent("ok", name="wait")
    start_at = work
    transitions = {work: {"done": wait}, wait: {"ok": DONE}}


def nested(
    limits: list[Concurrency], kind: Callable[..., Any] = ChildWorkflow, **options: Any
) -> tuple[LocalRuntime, type[Workflow]]:
    """A workflow that runs another one."""
    made = kind(Inner, name="child", **options)
    outer = flow(*limits, steps=lambda: (step(key="first")(noted), made))
    return LocalRuntime(outer, Inner), outer


def child_of(local: LocalRuntime, name: str) -> str:
    """The id of an instance's child."""
    (child,) = [one.id for one in local.runner.list(parent=f"sync::{name}").items]
    return child


def test_what_descends_from_a_holder_has_its_permit() -> None:
    """Rule F.2. No parent waits for a child that waits for its parent."""
    local, _ = nested([LIMIT])
    start(local, *"ab")
    assert places(local) == ("a", "b")
    child = child_of(local, "a")
    assert [one.partition(" ")[2] for one in ran] == ["first", "work"]
    local.resume(child, "ok")
    assert (status(local, "a"), places(local)) == ("completed", ("b", ""))


def test_a_child_of_one_that_holds_none_takes_its_own() -> None:
    """Rule F.2. And its parent runs nothing meanwhile that needs it."""
    local, _ = nested([])
    start(local, *"ab")
    held, line = places(local)
    assert (held, line) == (child_of(local, "a")[7:11], child_of(local, "b")[7:11])
    local.resume(child_of(local, "a"), "ok")
    assert places(local) == (line, "")


def test_a_detached_child_takes_its_own() -> None:
    """It goes on when its parent has ended, whose permit it cannot have."""
    local, _ = nested([LIMIT], detached=True)
    start(local, "a")
    (child,) = [one.id for one in local.runner.list(workflow=Inner).items]
    assert (status(local, "a"), places(local)) == ("completed", (child[7:11], ""))


def test_the_children_of_a_map_have_its_permit() -> None:
    """Rule F.2. Also those that instances between them and the map's own start."""
    items = Map(Inner, over=lambda _: [{"n": n} for n in range(5)], chunk=2, name="items")
    local = LocalRuntime(flow(LIMIT, steps=lambda: (items,)), Inner)
    start(local, *"ab")
    children = [one.id for one in local.runner.list(workflow=Inner, children=True).items]
    assert (len(children), places(local)) == (5, ("a", "b"))
    for child in children:
        local.resume(child, "ok")
    assert (status(local, "a"), places(local)[0]) == ("completed", "b")


def test_the_rounds_of_a_repeat_have_its_permit() -> None:
    """Rule F.2."""
    repeat = Repeat(Inner, until=lambda ctx: ctx.round == 2, rounds=Rounds(3), name="again")
    local = LocalRuntime(flow(LIMIT, steps=lambda: (repeat,)), Inner)
    start(local, *"ab")
    for _ in range(2):
        (child,) = [one.id for one in local.runner.list(workflow=Inner, status="waiting", children=True).items]
        assert places(local) == ("a", "b")
        local.resume(child, "ok")
    assert (status(local, "a"), places(local)) == ("completed", ("b", ""))


class Failing(Workflow, key="failing"):
    """Fails the first time."""

    wait, work = WaitForEvent("ok", name="wait"), step(key="work")(refused)
    start_at = wait
    transitions = {wait: {"ok": work}, work: {"done": DONE}}


def redriven_behind(other: str) -> tuple[LocalRuntime, str]:
    """An instance whose child has failed, redriven while another has the permit; and the child."""
    outer = flow(LIMIT, steps=lambda: (step(key="first")(noted), ChildWorkflow(Failing, name="child", timeout=600)))
    local = LocalRuntime(outer, Failing)
    start(local, "a")
    child = child_of(local, "a")
    local.resume(child, "ok")
    start(local, other)
    assert (status(local, "a"), local.runner.get(child).status) == ("failed", "failed")
    local.runner.redrive("sync::a")
    local.settle()
    return local, child


def test_children_go_on_with_their_root_once_it_has_its_permit() -> None:
    """Rule F.2. As long as a redriven root stands in line, nothing of its tree runs."""
    local, child = redriven_behind("b")
    local.advance(timedelta(minutes=1))
    assert (places(local), local.runner.get(child).status) == (("b", "a"), "failed")
    before = local.store.load(child)
    local.runner.cancel("sync::b")
    local.settle()
    after = local.store.load(child)
    assert before is not None
    assert after is not None
    assert after.sequence > before.sequence, "it has gone on, and failed again"
    assert (status(local, "a"), places(local)) == ("failed", ("", ""))
    local.runner.redrive("sync::a")
    local.settle()
    assert status(local, "a") == "failed"


def test_a_redriven_root_that_is_cancelled_in_line_waits_for_no_child() -> None:
    """And can be redriven once more, with the same child."""
    local, child = redriven_behind("b")
    local.runner.cancel("sync::a")
    local.settle()
    assert (status(local, "a"), places(local)) == ("cancelled", ("b", ""))
    before = local.store.load(child)
    assert before is not None
    local.runner.redrive("sync::a")
    local.runner.cancel("sync::b")
    local.settle()
    after = local.store.load(child)
    assert after is not None
    assert after.sequence > before.sequence


def test_more_permits_than_an_item_has_are_one_limit_to_people() -> None:
    """Rule F.6. It is listed once, with all who hold a permit and all who stand in line."""
    local = LocalRuntime(flow(Concurrency("sync", 20)))
    start(local, *[f"i{number:02}" for number in range(23)])
    assert local.store.permits.known("", 10) == ["sync"]
    (shown,) = local.runner.limits().items
    assert (shown.limit, shown.number, shown.held, shown.in_line) == ("sync", 20, 20, 3)
    assert local.runner.get("sync::i22").why[0].startswith("waits for `sync` (20 of 20 held), third in line")
    local.runner.do(SetLimit(limit="sync", number=21))
    local.settle()
    (shown,) = local.runner.limits().items
    assert (shown.number, shown.held, shown.in_line) == (21, 21, 2)


def test_per_is_given_the_start_data() -> None:
    """Rule F.9. Each value has permits of its own."""
    local = LocalRuntime(flow(Concurrency("sync", 1, per=lambda ctx: str(ctx.initial["tenant"]))))
    start(local, *"ab", tenant="x")
    start(local, "c", tenant="y")
    assert (places(local, "sync#x"), places(local, "sync#y")) == (("a", "b"), ("c", ""))


@pytest.mark.parametrize(
    ("per", "words"),
    [
        (lambda ctx: ctx.initial["tenant"], "KeyError: the workflow's limits could not be read: 'tenant'"),
        (
            lambda _: 5,
            "InvalidPer: the workflow's limits could not be read: the per of limit sync gave 5: give",
        ),
    ],
)
def test_an_error_of_per_fails_the_instance(per: Callable[[StepContext], str], words: str) -> None:
    """Rule F.9. It says that it is the limits'; on_failure runs, and nothing else."""
    local = LocalRuntime(flow(Concurrency("sync", 1, per=per), on_failure=step(key="told")(noted)))
    start(local, "a")
    shown = local.runner.get("sync::a")
    assert shown.error is not None
    assert (shown.status, ran) == ("failed", ["a told"])
    assert f"{shown.error['type']}: {shown.error['message']}".startswith(words)


class Killed(EngineSignal):
    """The process is gone."""


def test_invariant_14_a_per_that_kills_its_process_fails_the_instance() -> None:
    """Rule F.9. As often as the workflow's own policy says."""
    asked = []

    def per(ctx: StepContext) -> str:
        asked.append(ctx.instance_id)
        raise Killed

    local = LocalRuntime(flow(Concurrency("sync", 1, per=per), retry=Retry(max_attempts=3)))
    local.runner.start_instance("Sync", {}, id="a")
    for _ in range(20):
        try:
            local.advance(timedelta(minutes=20))
            local.sweep()
        except Killed:
            continue
    shown = local.runner.get("sync::a")
    assert (shown.status, len(asked) <= 4) == ("failed", True)
    assert shown.error is not None
    assert "the per of its limits" in shown.error["message"]


def test_limits_that_are_taken_out_of_the_code_hold_no_one_up() -> None:
    """A redriven instance of which the workflow has no limits any more goes on, and its children with it."""
    outer = flow(LIMIT, steps=lambda: (step(key="first")(noted), ChildWorkflow(Failing, name="child")))
    local = LocalRuntime(outer, Failing)
    start(local, "a")
    child = child_of(local, "a")
    local.resume(child, "ok")
    local.runner.pause("sync::a") if status(local, "a") == "waiting" else None
    local.runner.redrive("sync::a")  # not gone on with yet
    bare = flow(steps=lambda: (step(key="first")(noted), ChildWorkflow(Failing, name="child")))
    local.runner.registry = Registry([bare, Failing])
    before = local.store.load(child)
    local.settle()
    after = local.store.load(child)
    assert before is not None
    assert after is not None
    assert (after.sequence > before.sequence, status(local, "a")) == (True, "failed")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ("sync", "limits is 'sync'"),
        ([LIMIT, LIMIT], "names the limit 'sync' twice"),
        ([Concurrency("sync", 1, held="step")], "names the limit 'sync' with held='step'"),
    ],
)
def test_limits_that_cannot_be_kept_are_rejected(limits: Any, words: str) -> None:
    """As the class is defined."""
    first = step(key="first")(noted)
    with pytest.raises(DefinitionError, match=words):
        type("Bad", (Workflow,), {"start_at": first, "transitions": {first: {"done": DONE}}}, key="bad", limits=limits)


def test_a_name_is_a_workflows_or_a_steps_limit() -> None:
    """Rule F.3. Over the whole deployment; and has one number in it (F.8)."""
    of_step = flow(name="Other", steps=lambda: (step(key="first", limits=[LIMIT])(noted),))
    with pytest.raises(DefinitionError, match="its limit 'sync' is a step's, and a workflow's in Sync"):
        Registry([flow(LIMIT), of_step]).names()
    with pytest.raises(DefinitionError, match="its limit 'sync' is a step's, and a workflow's in Both"):
        flow(LIMIT, name="Both", steps=lambda: (step(key="first", limits=[LIMIT])(noted),))
    with pytest.raises(DefinitionError, match="its limit 'sync' has 2 permits, and 1 permit in Sync"):
        Registry([flow(LIMIT), flow(Concurrency("sync", 2), name="Other")]).names()
