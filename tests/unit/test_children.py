"""Workflows as steps of others: what a child is given, how its end reaches its parent, and what it is asked for."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, Field
from typer.testing import CliRunner

from hephaestus import DONE, Completed, NonRetryable, Retry, Rounds, Workflow, step
from hephaestus.adapters.memory import MemoryStore
from hephaestus.cli.app import app
from hephaestus.cli.terminal import Session
from hephaestus.console.embedded import LocalConnection
from hephaestus.engine.activation import derived
from hephaestus.engine.events import TimerSet
from hephaestus.engine.mail import Mail
from hephaestus.engine.state import evolve
from hephaestus.errors import AlreadyRunning, DefinitionError, NotRoot, UnexpectedEvent, UnknownWorkflow
from hephaestus.runtime import journal
from hephaestus.runtime.dispatch import Budget
from hephaestus.runtime.orphans import is_read
from hephaestus.steps import ChildWorkflow, Map, Repeat, WaitForEvent
from hephaestus.store.keys import HEAD, VALUE
from hephaestus.store.table import ALWAYS, EXPIRES
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.definition.step import Step
    from hephaestus.definition.views import InstanceView


DAY = 24 * 3600


class Address(BaseModel):
    """Start data."""

    to: str


@step
def label(ctx: Any) -> dict[str, Any]:
    if ctx.initial["to"] == "nowhere":
        raise LookupError(*ctx.initial.values())
    return {"label": ctx.initial["to"] * ctx.initial.get("times", 1)}


gate = WaitForEvent("go", name="gate")


@step
def after(ctx: Any) -> Completed:
    return Completed("done", {"saw": dict(ctx.steps)})


class Shipping(Workflow, key="shipping", tags=["parcel"]):
    """It labels."""

    start_at = label
    transitions = {label: {"done": DONE}}
    Input = Address


class Slow(Workflow, key="slow"):
    """It waits."""

    start_at = gate
    transitions = {gate: {"go": DONE}}


def parent(child: Step, *routes: str) -> type[Workflow]:
    """A workflow with a child: what is routed leads to ``after``."""
    led = {"done": after, **dict.fromkeys(routes, after)}
    return type("Parent", (Workflow,), {"start_at": child, "transitions": {child: led, after: {"done": DONE}}}, key="p")


def run(
    child: Step, *others: type[Workflow], context: Mapping[str, Any] | None = None, routes: tuple[str, ...] = ()
) -> LocalRuntime:
    """A runtime in which ``p::1`` has run as far as it goes."""
    flow = parent(child, *routes)
    local = LocalRuntime(flow, *others, store=MemoryStore())  # of which some may not be deployed
    local.start(flow, "1", context or {"to": "Rome"})
    return local


@pytest.mark.parametrize("how", ["a step", "rounds", "a map"])
def test_a_runtime_without_the_workflow_that_another_starts_says_which_is_missing(how: str) -> None:
    """Before anything runs, as a deployment of both is checked."""
    made: dict[str, Any] = {
        "a step": ChildWorkflow(Slow, name="kid"),
        "rounds": Repeat(Slow, until=lambda _: True, rounds=Rounds(2), name="kid"),
        "a map": Map(Slow, over=lambda _: [], name="kid"),
    }
    flow = parent(made[how])
    with pytest.raises(TypeError, match=r"^LocalRuntime has no Slow \(step kid of Parent\): give each workflow that"):
        LocalRuntime(flow)
    LocalRuntime(flow, Slow)


@pytest.mark.parametrize("detached", [False, True])
def test_a_child_says_where_it_is_steered(detached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule D.6: at its root, which the hints of the command line name; a detached one is steered by itself."""
    failing = step(key="fail", retry=Retry(max_attempts=1))(lambda _: {"n": 1 / 0})
    low = type("Low", (Workflow,), {"start_at": failing, "transitions": {failing: {"done": DONE}}}, key="low")
    below = ChildWorkflow(low, name="low", detached=detached)
    middle = type("Middle", (Workflow,), {"start_at": below, "transitions": {below: {"done": DONE}}}, key="middle")
    local = run(ChildWorkflow(middle, name="middle"), middle, low)
    (second,) = local.runner.list(parent="p::1").items
    (third,) = local.runner.list(parent=second.id).items
    assert local.runner.get("p::1").steered_at is None
    assert local.runner.get(second.id).steered_at == "p::1"
    assert local.runner.get(third.id).steered_at == (None if detached else "p::1")
    monkeypatch.setattr(Session, "connection", LocalConnection(local.runner))
    told = CliRunner().invoke(app, ["get", third.id], env={"COLUMNS": "200"}).stdout
    assert f"→ hephaestus redrive {third.id if detached else 'p::1'}" in told.splitlines()
    if not detached:
        with pytest.raises(NotRoot):
            local.runner.redrive(third.id)
    local.runner.redrive(third.id if detached else "p::1")


def shown(local: LocalRuntime) -> InstanceView:
    """The parent."""
    return local.runner.get("p::1")


def test_an_event_that_a_child_takes_names_the_child_when_it_is_sent_to_the_parent() -> None:
    """The parent takes none; once the child has ended, it is not named any more."""
    local = run(ChildWorkflow(Slow, name="slow"), Slow)
    (child,) = local.runner.list(parent="p::1").items
    with pytest.raises(UnexpectedEvent, match=f"It waits for {child.id}: events for a child are sent to the child"):
        local.resume("p::1", "go")
    local.resume(child.id, "go")
    assert shown(local).status == "completed"


def kid(local: LocalRuntime, path: str = "ship", key: str = "shipping") -> str:
    """The id of a child."""
    state = local.store.load("p::1")
    assert state is not None
    return f"{key}::{derived(state.life, path)}"


ship = ChildWorkflow(Shipping, context=lambda ctx: {"to": ctx.initial["to"]}, name="ship")
slow = ChildWorkflow(Slow, name="slow")


def test_a_child_runs_and_its_output_is_the_steps_results() -> None:
    """Rules D.4 and D.8: it has an id of its own, and the tags of its workflow."""
    local = run(ship, Shipping)
    assert (shown(local).status, dict(shown(local).output or {})) == ("completed", {"saw": {"ship": {"label": "Rome"}}})
    child = local.runner.get(kid(local))
    assert (child.status, child.tags) == ("completed", ("parcel",))
    assert local.store.mail.read("p::1", local.store.load("p::1").life) == []  # type: ignore[union-attr]  # it is there


def test_a_waiting_parent_holds_nothing() -> None:
    """Rule D.12: it has no owner, and nothing of it runs."""
    state = run(slow, Slow).store.load("p::1")
    assert state is not None
    assert (state.status, state.owner, state.running) == ("waiting", None, ())


def test_a_tree_is_shown_and_listed() -> None:
    """Lists leave children out, unless they are asked for: of one parent, or all."""
    local = nested()
    middle, lowest = kid(local, key="m"), kid(local, "ship/slow", "slow")
    below = {"id": lowest, "step": "slow", "workflow": "Slow", "version": 1, "status": "waiting"}
    top = {"id": middle, "step": "ship", "workflow": "Middle", "version": 1, "status": "waiting", "children": [below]}
    assert local.runner.get("p::1", tree=True).children == [top]
    assert local.runner.get("p::1").children == ()

    def listed(**asked: Any) -> set[str]:
        return {one.id for one in local.runner.list(**asked).items}

    assert listed() == listed(workflow="Parent") == listed(status="waiting") == {"p::1"}
    assert listed(workflow="Slow") == set()
    assert listed(children=True) == listed(children=True, status="waiting") == {"p::1", middle, lowest}
    assert listed(children=True, workflow="Slow", status="waiting") == {lowest}
    assert (listed(parent="p::1"), listed(parent=middle)) == ({middle}, {lowest})
    assert listed(parent="p::1", status="failed") == listed(parent=lowest) == set()
    assert local.runner.counts()["Slow"]["waiting"] == 0


def test_an_output_that_is_too_large_for_mail_is_read_of_the_child() -> None:
    """Rule D.1."""
    large = ChildWorkflow(Slow, name="ship")
    local = run(large, Slow)
    payload = {"text": "".join(chr(33 + n * n % 90) for n in range(5_000))}
    local.resume(kid(local, key="slow"), "go", payload)
    assert shown(local).steps["ship"].results == payload


@pytest.mark.parametrize("routed", [True, False])
def test_a_child_that_fails_is_error_or_fails_its_step(*, routed: bool) -> None:
    """Rule D.8: with the child's error."""
    local = run(ship, Shipping, context={"to": "nowhere"}, routes=("error",) if routed else ())
    local.advance(timedelta(hours=1))
    assert shown(local).status == ("completed" if routed else "failed")
    told = str(dict(shown(local).steps["ship"].results)) if routed else (shown(local).error or {})["message"]
    assert "nowhere" in told


@pytest.mark.parametrize("routed", [True, False])
def test_a_child_that_takes_too_long_is_cancelled_first(*, routed: bool) -> None:
    """Rule D.7: the step gets ``timeout`` when the child has ended."""
    late = ChildWorkflow(Slow, timeout=timedelta(minutes=30), name="ship")
    local = run(late, Slow, routes=("timeout",) if routed else ())
    local.advance(timedelta(minutes=29))
    assert shown(local).status == "waiting"
    local.advance(timedelta(minutes=2))
    assert local.runner.get(kid(local, key="slow")).status == "cancelled"
    assert shown(local).status == ("completed" if routed else "failed")


def test_a_detached_child_is_on_its_own() -> None:
    """Rule D.7: its parent goes on at once, and it is cancelled by itself."""
    free = ChildWorkflow(Slow, detached=True, name="ship")
    local = run(free, Slow)
    child = kid(local, key="slow")
    assert (shown(local).status, local.runner.get(child).status) == ("completed", "waiting")
    local.runner.cancel(child)
    assert local.runner.get(child).status == "cancelled"


def nested() -> LocalRuntime:
    """A parent whose child has a child that waits."""
    middle = type("Middle", (Workflow,), {"start_at": slow, "transitions": {slow: {"done": DONE}}}, key="m")
    return run(ChildWorkflow(middle, name="ship"), middle, Slow)


def test_a_hundred_ends_at_once_are_few_commits() -> None:
    """Rule D.2: at most ten of the parent's."""
    begin, last = step(key="begin")(lambda ctx: "done"), step(key="last")(lambda ctx: "done")
    kids = [ChildWorkflow(Slow, name=f"kid{number}") for number in range(100)]
    routes: dict[Any, Any] = {begin: {"done": kids}, **{one: {"done": last} for one in kids}, last: {"done": DONE}}
    top = type("P", (Workflow,), {"start_at": begin, "transitions": routes}, key="p")
    local = LocalRuntime(top, Slow)
    local.start(top, "1", {})
    for one in kids:
        local.runner.resume(kid(local, one.key, "slow"), "go")  # the queue is not served meanwhile
    local.settle()
    entries = local.runner.history("p::1").items
    told = [entry.sequence for entry in entries if any(one["type"] == "ChildEnded" for one in entry.events)]
    assert shown(local).status == "completed"
    assert told[-1] - told[0] < 10, told


def test_a_tree_is_cancelled_paused_and_unpaused_from_its_root() -> None:
    """Rules D.1, D.6 and D.7: the parent ends after its children."""
    local = nested()
    family = ["p::1", kid(local, key="m"), kid(local, "ship/slow", "slow")]

    lowest = local.runner.get(family[2])
    assert (lowest.parent, lowest.root, lowest.path) == (family[1], "p::1", "ship/slow")
    assert [shown(local).steps["ship"].child, local.runner.get(family[1]).steps["slow"].child] == family[1:]

    def statuses() -> list[str]:
        return [local.runner.get(one).status for one in family]

    def paused() -> list[bool]:
        return [local.runner.get(one).paused is not None for one in family]

    for call in (local.runner.cancel, local.runner.redrive):
        if call is local.runner.cancel:
            with pytest.raises(NotRoot, match=r"a child of m::\w+: ask at its root, p::1"):
                call(family[2])
    local.runner.pause("p::1")
    local.settle()
    assert paused() == [True] * 3
    local.runner.unpause("p::1")
    local.settle()
    assert paused() == [False] * 3
    local.runner.cancel("p::1")
    assert statuses() == ["waiting"] * 3, "it ends after its children"
    local.settle()
    assert statuses() == ["cancelled"] * 3


def test_a_child_that_starts_too_late_runs_nothing() -> None:
    """Rule D.5: its parent was cancelled before the start of the child was made, which a slow process then makes."""
    local = LocalRuntime(flow := parent(ship), Shipping)
    local.runner.start_instance(flow, {"to": "Rome"}, id="1")
    made: list[tuple[Any, Any]] = []
    performer = local.runner.instances.commits.performer
    does = performer.family
    assert does is not None
    performer.family = lambda effect, state: made.append((effect, state))
    local.runner.wake("p::1", budget=Budget(local.clock.now() + 60_000))
    performer.family = does
    local.runner.cancel("p::1")
    local.advance(timedelta(hours=2))
    assert shown(local).status == "cancelled"
    does(*made[0])
    local.settle()
    child = local.runner.get(kid(local))
    assert (child.status, dict(child.steps)) == ("cancelled", {})


def test_mail_that_a_reader_of_an_older_state_sees_is_not_old() -> None:
    """Rule D.3: a child that was redriven or undone since has ended once more, with the number of another entry."""
    store = run(ship, Shipping).store
    state = store.load("p::1")
    assert state is not None
    child = state.steps["ship"].child
    assert child is not None
    told = Mail("p::1", state.life, "ship", child.number, child.instance_id, "", "completed")
    assert is_read(state, told, store)
    assert not is_read(state, replace(told, number=child.number + 1, status="undone"), store)
    assert not is_read(state, replace(told, activation="ship~1"), store)
    assert is_read(evolve(state, epochs={"ship": 1}), replace(told, number=child.number + 1), store)


def test_a_redrive_goes_down_the_tree() -> None:
    """Rule D.6: what was cancelled goes on where it stopped, children and all."""
    local = nested()
    local.runner.cancel("p::1")
    local.settle()
    local.runner.redrive("p::1")
    local.settle()
    lowest = kid(local, "ship/slow", "slow")
    assert [local.runner.get(one).status for one in ("p::1", kid(local, key="m"), lowest)] == ["waiting"] * 3
    local.resume(lowest, "go")
    local.settle()
    assert [local.runner.get(one).status for one in ("p::1", kid(local, key="m"), lowest)] == ["completed"] * 3


class Book:
    """What was done and undone, by the instance and the step."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.refuses: set[str] = set()

    def step(self, key: str) -> Step:
        """A step that writes down what it does; it may refuse to be done or undone."""

        def act(ctx: Any) -> str:
            if key in self.refuses:
                raise NonRetryable(key)
            self.done.append(ctx.idempotency_key.rpartition(":")[2])
            return "done"

        return step(key=key, compensate=self.undo(key))(act)

    def undo(self, key: str) -> Callable[[Any], None]:
        """What undoes such a step."""

        def undo(ctx: Any) -> None:
            if f"undo {key}" in self.refuses:
                raise NonRetryable(key)
            self.done.append(f"-{ctx.idempotency_key.rpartition(':')[2]}")

        return undo


def line(key: str, *steps: Step) -> type[Workflow]:
    """A workflow of these steps, one after the other."""
    led = {one: {"done": following} for one, following in zip(steps, (*steps[1:], DONE), strict=True)}
    return type(key.title(), (Workflow,), {"start_at": steps[0], "transitions": led}, key=key)


def saga(book: Book, *, first: bool = True, **of_child: Any) -> LocalRuntime:
    """A root that does ``a``, then a child, and then fails at ``z``; the child does ``b``, another child, and ``d``."""
    lowest = line("lowest", book.step("c"))
    middle = line("middle", book.step("b"), ChildWorkflow(lowest, name="low"), book.step("d"))
    book.refuses.add("z")
    begin = (book.step("a"),) if first else ()
    top = line("p", *begin, ChildWorkflow(middle, name="mid", **of_child), book.step("z"))
    local = LocalRuntime(top, middle, lowest)
    local.start(top, "1", {})
    local.settle()
    return local


def test_a_completed_child_undoes_itself_with_its_parent() -> None:
    """Rule D.9: the last first, down the tree; then it is ``undone``, and is so once."""
    book = Book()
    local = saga(book)
    assert book.done == ["a", "b", "c", "d", "-d!undo", "-c!undo", "-b!undo", "-a!undo"]
    statuses = [shown(local).status, local.runner.get(kid(local, "mid", "middle")).status]
    assert statuses == ["failed", "undone"]
    assert local.runner.get(kid(local, "mid/low", "lowest")).status == "undone"
    assert shown(local).steps["mid"].status == "compensated"


def test_a_child_that_undoes_for_hours_is_waited_for() -> None:
    """Rule D.7: it was reached, and only one that was not is left after an hour."""
    gone: list[int] = []

    def undo(ctx: Any) -> None:
        gone.append(ctx.attempt)
        if ctx.attempt < 3:
            raise TimeoutError

    held = step(key="held", compensate=undo)(lambda ctx: "done")
    slowly = Retry(max_attempts=3, delay=timedelta(hours=3), max_delay=timedelta(hours=3), jitter="none")
    kid_flow = type(
        "Kid",
        (Workflow,),
        {"start_at": held, "transitions": {held: {"done": gate}, gate: {"go": DONE}}, "retry": slowly},
        key="kid",
    )
    local = run(ChildWorkflow(kid_flow, name="ship"), kid_flow)
    local.runner.cancel("p::1", compensate=True)
    for _ in range(8):
        local.advance(timedelta(hours=1))
    assert (gone, shown(local).status) == ([1, 2, 3], "cancelled")
    assert local.runner.get(kid(local, key="kid")).status == "cancelled"


def test_a_step_with_a_compensation_of_its_own_undoes_its_child() -> None:
    """Rule D.9: then the child itself stays as it is."""
    book = Book()
    local = saga(book, compensate=lambda ctx: book.done.append("-mid"))
    assert book.done == ["a", "b", "c", "d", "-mid", "-a!undo"]
    assert local.runner.get(kid(local, "mid", "middle")).status == "completed"


def test_after_being_undone_a_redrive_starts_another_child() -> None:
    """Rule D.4: the epoch is part of its path, and so of every key."""
    book = Book()
    local = saga(book)
    del book.done[:]
    book.refuses.clear()
    local.runner.redrive("p::1")
    local.settle()
    assert shown(local).status == "completed"
    assert book.done == ["a~1", "b", "c", "d", "z~1"]
    assert local.runner.get(kid(local, "mid", "middle")).status == "undone"
    assert local.runner.get(kid(local, "mid~1", "middle")).status == "completed"


def test_a_child_that_cannot_be_undone_is_tried_again_by_a_redrive() -> None:
    """Rule D.9: the parent has failed with a compensation that failed, and a redrive goes down to it."""
    book = Book()
    book.refuses.add("undo c")
    local = saga(book)
    assert [shown(local).status, shown(local).steps["mid"].status] == ["failed", "compensation_failed"]
    assert book.done[4:] == ["-d!undo", "-b!undo", "-a!undo"]
    lowest = local.runner.get(kid(local, "mid/low", "lowest"))
    assert (lowest.status, lowest.steps["c"].status) == ("failed", "compensation_failed")
    book.refuses.discard("undo c")
    local.runner.redrive("p::1")
    local.settle()
    assert local.runner.get(kid(local, "mid/low", "lowest")).status == "undone"
    assert [shown(local).status, shown(local).steps["mid"].status] == ["failed", "compensated"]
    assert sorted(one for one in book.done if one.startswith("-")) == ["-a!undo", "-b!undo", "-c!undo", "-d!undo"]


def test_a_failed_child_goes_on_at_the_step_that_failed() -> None:
    """Rules D.6 and D.8: a redrive of the root; what it had undone is done again under new keys."""
    book = Book()
    book.refuses.add("d")
    local = saga(book, first=False)
    book.refuses.clear()
    local.runner.redrive("p::1")
    local.settle()
    assert shown(local).status == "completed"
    assert book.done == ["b", "c", "-c!undo", "-b!undo", "b~1", "c", "d~1", "z"]


@pytest.mark.parametrize(
    ("child", "others", "told"),
    [
        (ship, (), "Shipping is not deployed"),
        (ChildWorkflow(Shipping, context=lambda ctx: {"two": 2}, name="ship"), (Shipping,), "to: "),
        (ChildWorkflow(Shipping, context=lambda ctx: [1], name="ship"), (Shipping,), "give a mapping"),  # type: ignore[arg-type, return-value]  # on purpose
        (ChildWorkflow(Slow, context=lambda ctx: {"x": object()}, name="ship"), (Slow,), "object"),
    ],
)
def test_a_child_that_cannot_be_started_fails_its_step(
    child: Step, others: tuple[type[Workflow], ...], told: str
) -> None:
    """At once, without another attempt."""
    local = run(child, *others)
    assert shown(local).status == "failed"
    assert told in (shown(local).error or {})["message"]


def test_an_output_that_is_too_large_for_its_parent_fails_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a step's own results do that the instance has no room for; the child keeps it."""
    local = run(slow, Slow)
    monkeypatch.setattr(journal, "MAX_HELD", 10_000)
    payload = {"text": "x" * 20_000}
    local.runner.resume(kid(local, "slow", "slow"), "go", payload)
    monkeypatch.undo()
    local.runner.wake(kid(local, "slow", "slow"), budget=Budget(local.clock.now() + 60_000))
    assert local.runner.get(kid(local, "slow", "slow")).output == payload
    monkeypatch.setattr(journal, "MAX_HELD", 10_000)
    local.settle()
    assert shown(local).status == "failed"
    assert "would hold more values than it may" in (shown(local).error or {})["message"]


def test_an_id_that_another_has_is_an_error() -> None:
    """Rule D.4: and that other is never steered."""
    local = LocalRuntime(flow := parent(slow_named := ChildWorkflow(Slow, name="ship")), Slow)
    assert slow_named.key == "ship"
    local.runner.start_instance(flow, {}, id="1")
    other = kid(local, key="slow")
    local.start(Slow, other, {})
    local.settle()
    assert "another instance has its id" in (shown(local).error or {})["message"]
    assert local.runner.get(other).status == "waiting"


def test_a_closed_instance_of_another_is_not_replaced() -> None:
    """Rule D.4: nor is its id taken over once it has ended."""
    local = LocalRuntime(flow := parent(ChildWorkflow(Slow, name="ship")), Slow)
    local.runner.start_instance(flow, {}, id="1")
    other = kid(local, key="slow")
    local.start(Slow, other, {})
    local.resume(other, "go")
    local.settle()
    assert "another instance has its id" in (shown(local).error or {})["message"]
    assert (local.runner.get(other).status, local.runner.get(other).generation) == ("completed", 1)


def expiries(local: LocalRuntime, *ids: str) -> list[object]:
    """When the heads of these go (s)."""
    return [(local.store.table.get(one, HEAD) or {}).get(EXPIRES) for one in ids]


def test_a_tree_goes_with_its_root() -> None:
    """Rule D.11: what has a parent does not expire by itself; a redrive of the root keeps all of it."""
    local = nested()
    local.store.retention = DAY
    family = [kid(local, key="m"), kid(local, "ship/slow", "slow")]
    local.resume(family[1], "go")
    assert None not in expiries(local, "p::1", *family)
    local = nested()
    local.store.retention = DAY
    family = [kid(local, key="m"), kid(local, "ship/slow", "slow")]
    local.runner.cancel("p::1")
    local.settle()
    assert None not in expiries(local, "p::1", *family)
    local.runner.redrive("p::1")
    local.settle()
    assert expiries(local, "p::1", *family) == [None] * 3
    local.resume(family[1], "go")
    root, *kids = expiries(local, "p::1", *family)
    assert [one >= root for one in kids] == [True] * 2  # type: ignore[operator]  # none is None


def test_a_child_that_has_ended_stays_while_its_root_is_open() -> None:
    """Rule D.11: its parent may yet undo it."""
    top = line("p", ship, slow)
    local = LocalRuntime(top, Shipping, Slow)
    local.store.retention = DAY
    local.start(top, "1", {"to": "Rome"})
    assert local.runner.get(kid(local)).status == "completed"
    assert expiries(local, kid(local)) == [None]


def test_a_tree_is_deleted_from_its_root() -> None:
    """Rules D.6 and D.11: the children of all epochs and lives, first; a detached one stays."""
    free = ChildWorkflow(Shipping, detached=True, name="free", context=lambda ctx: {"to": "Oslo"})
    top = line("p", ship, free)
    local = LocalRuntime(top, Shipping)
    local.start(top, "1", {"to": "Rome"})
    first = [kid(local), kid(local, "free")]
    local.start(top, "1", {"to": "Rome"})
    second = [kid(local), kid(local, "free")]
    with pytest.raises(NotRoot):
        local.runner.delete(second[0])
    local.runner.delete("p::1")
    there = [local.store.load(one) is not None for one in ("p::1", *first, *second)]
    assert there == [False, False, True, False, True]


def test_a_fork_takes_over_what_a_child_left_and_not_the_child() -> None:
    """Rule D.9: what it takes over is undone by whose child it is."""
    book = Book()
    local = saga(book, first=False)
    book.refuses.discard("z")
    entries = local.runner.history("p::1").items
    at = next(entry.sequence for entry in entries for one in entry.events if one.get("event") == "done")
    made = local.runner.fork("p::1", at, new_id="2")
    local.settle()
    assert local.runner.get(made).status == "completed"
    with pytest.raises(NotRoot):
        local.runner.fork(kid(local, "mid", "middle"), new_id="3")


def test_the_eleventh_child_of_a_child_is_an_error() -> None:
    """Rule D.4: a workflow that starts itself ends."""
    made: list[type[Workflow]] = [Slow]
    for depth in range(11):
        member = ChildWorkflow(made[-1], name="ship")
        routes = {"start_at": member, "transitions": {member: {"done": DONE}}}
        made.append(type(f"Deep{depth}", (Workflow,), routes, key=f"deep{depth}"))
    local = LocalRuntime(*made)
    found = local.start(made[-1], "1", {})
    assert "at most 10" in (found.error or {})["message"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"workflow": 3}, "its workflow is 3"),
        ({"context": 3}, "its context"),
        ({"timeout": -1}, "timeout"),
        ({"detached": True, "timeout": 3}, "is detached and has a timeout"),
        ({"compensate": lambda: None}, "its compensate"),
    ],
)
def test_a_child_that_is_wrongly_defined_is_rejected(wrong: dict[str, Any], told: str) -> None:
    """As the step is made."""
    with pytest.raises(DefinitionError, match=told):
        ChildWorkflow(**{"workflow": Slow, **wrong})


def test_a_child_that_cannot_be_asked_withholds_nothing_of_what_others_are_told() -> None:
    """D.7: its parent, which failed, leaves it after an hour, and the parent's parent hears of that failure."""
    low = type("Low", (Workflow,), {"start_at": gate, "transitions": {gate: {"go": DONE}}}, key="low")
    fails, both = step(key="fails")(lambda ctx: ctx.initial["missing"]), step(key="both")(lambda ctx: "done")
    begin, child, asked = step(key="begin")(lambda ctx: "done"), ChildWorkflow(low), WaitForEvent("go", name="asked")
    routes: Any = {begin: {"done": [child, asked]}, asked: {"go": fails}}
    routes |= {child: {"done": both}, fails: {"done": both}, both: {"done": DONE}}
    once = {"retry": Retry(max_attempts=1)}
    middle = type("Middle", (Workflow,), {"start_at": begin, "transitions": routes, **once}, key="middle")
    inner = ChildWorkflow(middle)
    made = type("Top", (Workflow,), {"start_at": inner, "transitions": {inner: {"done": DONE}}}, key="top")
    local = LocalRuntime(made, middle, low)
    local.start(made, "1", {})
    (shown,) = local.runner.get("top::1", tree=True).children
    without = LocalRuntime(made, middle, store=local.store)
    without.clock.sleep(local.clock.now() - without.clock.now())
    without.resume(shown["id"], "go")
    without.settle()
    without.advance(timedelta(hours=2))
    without.sweep()
    assert (without.runner.get("top::1").status, without.runner.get(shown["id"]).status) == ("failed", "failed")
    assert [one.status for one in without.runner.list(children=True, parent="top::1").items] == ["failed"]


def test_a_child_that_cannot_be_read_is_left_and_the_rest_of_the_tree_is_shown() -> None:
    """D.7: an hour later its parent has ended, and can be deleted."""
    child = ChildWorkflow(Slow)
    made = type("Top", (Workflow,), {"start_at": child, "transitions": {child: {"done": DONE}}}, key="top")
    local = LocalRuntime(made, Slow)
    local.start(made, "1", {})
    (shown,) = local.runner.get("top::1", tree=True).children
    table = local.store.table
    for item in table.query(shown["id"], low="log#", high="log~"):
        table.put({**item, "format": 99}, ALWAYS)
    local.runner.cancel("top::1")
    local.advance(timedelta(hours=2))
    local.sweep()
    view = local.runner.get("top::1", tree=True)
    assert (view.status, [one["id"] for one in view.children]) == ("cancelled", [shown["id"]])
    local.runner.delete("top::1")


@pytest.mark.parametrize("compensate", [True, False])
def test_a_cancellation_undoes_what_children_did_where_it_is_asked_to(compensate: bool) -> None:
    """As of the steps of the root."""
    undone: list[str] = []
    work = step(key="work", compensate=lambda ctx: undone.append("work"))(lambda ctx: "done")
    routes: Any = {work: {"done": gate}, gate: {"go": DONE}}
    below = type("Below", (Workflow,), {"start_at": work, "transitions": routes}, key="below")
    child = ChildWorkflow(below)
    made = type("Top", (Workflow,), {"start_at": child, "transitions": {child: {"done": DONE}}}, key="top")
    local = LocalRuntime(made, below)
    local.start(made, "1", {})
    local.runner.cancel("top::1", compensate=compensate)
    local.settle()
    assert (local.runner.get("top::1").status, undone) == ("cancelled", ["work"] if compensate else [])


def test_an_instance_that_lacks_a_step_now_is_cancelled_whatever_its_child_came_to() -> None:
    """A plain cancellation needs no step; one that was renamed has no transitions."""

    def parent(name: str) -> type[Workflow]:
        child, last = ChildWorkflow(Slow, name=name), step(key="last")(lambda ctx: "done")
        routes: Any = {child: {"done": last}, last: {"done": DONE}}
        return type("Top", (Workflow,), {"start_at": child, "transitions": routes}, key="top")

    local = LocalRuntime(made := parent("one"), Slow)
    local.start(made, "1", {})
    (shown,) = local.runner.get("top::1", tree=True).children
    renamed = LocalRuntime(parent("other"), Slow, store=local.store)
    renamed.clock.sleep(local.clock.now() - renamed.clock.now())
    renamed.resume(shown["id"], "go")
    renamed.settle()
    assert "one" in str(renamed.runner.get("top::1").parked)
    renamed.runner.cancel("top::1")
    renamed.settle()
    assert renamed.runner.get("top::1").status == "cancelled"


def test_the_large_values_of_a_child_stay_as_long_as_the_child() -> None:
    """D.11: what has a parent does not expire by itself, nor does anything that it wrote."""
    text = b64encode(Random(3).randbytes(60_000)).decode()  # it does not compress
    big = step(key="big")(lambda ctx: {"text": text})
    below = type("Below", (Workflow,), {"start_at": big, "transitions": {big: {"done": DONE}}}, key="below")
    child, held = ChildWorkflow(below), WaitForEvent("go", name="held")
    routes: Any = {child: {"done": held}, held: {"go": DONE}}
    made = type("Top", (Workflow,), {"start_at": child, "transitions": routes}, key="top")
    local = LocalRuntime(made, below)
    local.store.retention = DAY
    local.start(made, "1", {})
    (shown,) = local.runner.get("top::1", tree=True).children

    def expiring() -> list[str]:
        items = local.store.table.query(shown["id"], low="", high="~")
        return [str(item["sk"]) for item in items if EXPIRES in item and str(item["sk"]).startswith(VALUE)]

    assert expiring() == []
    local.resume("top::1", "go")
    local.settle()
    assert expiring() != []


def edited(local: LocalRuntime, *flows: type[Workflow]) -> LocalRuntime:
    """Another deployment over the same instances, at the same time."""
    other = LocalRuntime(*flows, store=local.store)
    other.clock.sleep(local.clock.now() - other.clock.now())
    return other


@pytest.mark.parametrize("lacks", ["a step", "a compensation", "the workflow"])
def test_a_root_shows_why_a_child_cannot_be_undone_and_goes_on_once_it_can(lacks: str) -> None:
    """Rule D.9: the child's workflow was changed under the same version; the root is parked until it is right."""
    book = Book()
    work, other = book.step("b"), step(key="other")(lambda ctx: "done")
    below = line("below", work)
    child, fails = ChildWorkflow(below, name="kid"), book.step("z")
    book.refuses.add("z")
    held = WaitForEvent("go", name="held")
    routes: Any = {child: {"done": held}, held: {"go": fails}, fails: {"done": DONE}}
    top = type("P", (Workflow,), {"start_at": child, "transitions": routes}, key="p")
    local = LocalRuntime(top, below)
    local.start(top, "1", {})
    wrong: tuple[type[Workflow], ...] = {
        "a step": (line("below", other),),
        "a compensation": (line("below", step(key="b")(lambda ctx: "done")),),
        "the workflow": (),
    }[lacks]
    changed = edited(local, top, *wrong)
    changed.resume("p::1", "go")
    changed.settle()
    parked = shown(changed).parked or ""
    assert "Below" in parked, parked
    assert parked.endswith("deploy that version again")
    for _ in range(5):
        changed.advance(timedelta(hours=1))
        changed.sweep()
    assert (shown(changed).status, shown(changed).parked) == ("compensating", parked)
    told = [entry.sequence for entry in changed.runner.history("p::1", limit=200).items]
    assert len(told) < 25, "it is looked at less and less often"
    right = edited(changed, top, below)
    right.advance(timedelta(hours=1))
    right.sweep()
    right.settle()
    assert (shown(right).status, shown(right).parked) == ("failed", None)
    assert book.done == ["b", "-b!undo"]


@pytest.mark.parametrize("how", ["redrive", "sweep"])
def test_a_parked_child_is_shown_in_its_tree_and_redriven_by_itself(how: str) -> None:
    """Rule D.6: it goes on as it was, which changes nothing for its root."""
    local = run(slow, Slow)
    child = kid(local, "slow", "slow")
    without = edited(local, parent(slow))
    local.runner.resume(child, "go")
    without.advance(timedelta(minutes=2))
    without.sweep()
    (below,) = without.runner.get("p::1", tree=True).children
    assert "deploy that version again" in below["parked"]
    right = edited(without, parent(slow), Slow)
    if how == "redrive":
        right.runner.redrive(child)
    else:
        right.advance(timedelta(hours=1))
        right.sweep()
    right.settle()
    assert shown(right).status == "completed"


def left() -> tuple[LocalRuntime, str]:
    """A root that was cancelled, and its child that no deployment could run, which it has left; now it can be run."""
    flow = parent(slow)
    local = LocalRuntime(flow, Slow)
    local.runner.start_instance(flow, {}, id="1")
    local.runner.wake("p::1", budget=Budget(local.clock.now() + 60_000))  # the child's message stays in the queue
    child = kid(local, "slow", "slow")
    without = edited(local, flow)
    without.runner.cancel("p::1", compensate=True)
    for _ in range(3):
        without.advance(timedelta(minutes=50))
        without.sweep()
    assert shown(without).status == "cancelled"
    assert local.runner.get(child).status == "pending"
    return edited(without, flow, Slow), child


def test_a_child_that_was_left_runs_when_it_is_redriven() -> None:
    """Rules D.5 and D.7: it ends as cancelled, as no one waits for it; then it is on its own."""
    local, child = left()
    local.advance(timedelta(hours=2))
    local.sweep()
    assert (local.runner.get(child).status, dict(local.runner.get(child).steps)) == ("cancelled", {})
    assert local.runner.get(child).steered_at is None
    local.runner.redrive(child)
    local.settle()
    local.resume(child, "go")
    local.settle()
    assert local.runner.get(child).status == "completed"


def test_a_root_is_not_deleted_while_a_child_that_it_has_left_is_open() -> None:
    """Rules D.6 and D.11: nothing has happened by then; when that one has ended, both go."""
    local, child = left()
    with pytest.raises(AlreadyRunning, match=child):
        local.runner.delete("p::1")
    assert local.runner.get("p::1").status == "cancelled"
    local.advance(timedelta(hours=2))
    local.sweep()
    local.runner.delete("p::1")
    assert [local.store.load(name) for name in ("p::1", child)] == [None, None]


@pytest.mark.parametrize("then", ["redriven", "started anew", "expired"])
@pytest.mark.parametrize("ended", [False, True])
def test_a_child_that_was_left_stays_on_its_own(then: str, *, ended: bool) -> None:
    """Rule D.6: whatever becomes of its root."""
    local, child = left()
    if ended:
        local.advance(timedelta(hours=2))
        local.sweep()
    if then == "redriven":
        local.runner.redrive("p::1")
    elif then == "started anew":
        local.start("Parent", "1", {})
    else:
        for item in local.store.table.query("p::1", low="", high="~"):
            local.store.table.delete("p::1", str(item["sk"]), ALWAYS)
    local.settle()
    if ended:
        local.runner.redrive(child)
        local.settle()
        assert local.runner.get(child).status == "waiting"
    local.runner.cancel(child)
    local.settle()
    assert local.runner.get(child).status == "cancelled"


def test_what_an_earlier_child_of_a_step_has_left_is_not_started_again_by_itself() -> None:
    """Rule D.6: it was undone and not left, and another has taken its place."""
    book = Book()
    local = saga(book)
    book.refuses.clear()
    local.runner.redrive("p::1")
    local.settle()
    with pytest.raises(NotRoot, match="ask at its root, p::1"):
        local.runner.redrive(kid(local, "mid", "middle"))


def test_a_child_below_a_detached_one_is_steered_there() -> None:
    """Rule D.6: that one is the root of what is below it."""
    middle = type("Middle", (Workflow,), {"start_at": slow, "transitions": {slow: {"done": DONE}}}, key="m")
    local = run(ChildWorkflow(middle, name="ship", detached=True), middle, Slow)
    top, lowest = kid(local, key="m"), kid(local, "ship/slow", "slow")
    with pytest.raises(NotRoot, match=f"a child of {top}: ask at its root, {top}"):
        local.runner.cancel(lowest)
    local.runner.cancel(top)
    local.settle()
    assert [local.runner.get(one).status for one in (top, lowest)] == ["cancelled"] * 2


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_children_whose_ends_are_read_at_once_are_undone_in_the_order_of_their_ends(order: tuple[int, int]) -> None:
    """Rule D.9: the last first, wherever they are in the graph."""
    book = Book()
    book.refuses.add("z")
    asked = [WaitForEvent("go", name=f"asked{number}") for number in (0, 1)]
    flows = []
    for number, gate_ in enumerate(asked):
        done = book.step(f"b{number}")
        routes: Any = {gate_: {"go": done}, done: {"done": DONE}}
        made = type(f"Kid{number}", (Workflow,), {"start_at": gate_, "transitions": routes}, key=f"k{number}")
        flows.append(made)
    kids = [ChildWorkflow(flow, name=f"kid{number}") for number, flow in enumerate(flows)]
    begin, fails = step(key="begin")(lambda ctx: "done"), book.step("z")
    top_routes: Any = {begin: {"done": kids}, **{one: {"done": fails} for one in kids}, fails: {"done": DONE}}
    top = type("P", (Workflow,), {"start_at": begin, "transitions": top_routes}, key="p")
    local = LocalRuntime(top, *flows)
    local.start(top, "1", {})
    for number in order:
        child = kid(local, f"kid{number}", f"k{number}")
        local.runner.resume(child, "go")
        local.clock.sleep(1_000)
        local.runner.wake(child, budget=Budget(local.clock.now() + 60_000))  # the parent's message stays in the queue
    local.settle()
    assert shown(local).status == "failed"
    assert book.done == [*[f"b{number}" for number in order], *[f"-b{number}!undo" for number in reversed(order)]]


def test_an_id_that_a_child_has_or_had_is_not_started_by_hand() -> None:
    """Rule D.4: its parent may read what it left, and undo it."""
    local = run(slow, Slow)
    child = kid(local, "slow", "slow")
    for _ in range(2):
        with pytest.raises(NotRoot, match="is a child of p::1"):
            local.start(Slow, child, {})
        local.runner.resume(child, "go")
        local.runner.wake(child, budget=Budget(local.clock.now() + 60_000))  # the parent's message stays in the queue
        if local.runner.get(child).status == "completed":
            break
    with pytest.raises(NotRoot, match="is a child of p::1"):
        local.start(Slow, child, {})


def test_a_large_output_that_is_gone_with_its_child_is_not_taken_for_an_empty_one() -> None:
    """Rule D.1: the step fails, as the child is lost."""
    local = run(slow, Slow)
    child = kid(local, "slow", "slow")
    local.runner.resume(child, "go", {"text": b64encode(Random(3).randbytes(5_000)).decode()})
    local.runner.wake(child, budget=Budget(local.clock.now() + 60_000))
    for item in local.store.table.query(child, low="", high="~"):
        local.store.table.delete(child, str(item["sk"]), ALWAYS)
    local.settle()
    assert shown(local).status == "failed"
    assert "is not there any more" in (shown(local).error or {})["message"]


def test_an_event_that_was_accepted_under_another_deployment_does_not_end_a_childs_step() -> None:
    """Rule D.8: the child alone does; the event is dropped when it has."""
    routes: Any = {"go": after, "done": after}
    begin = step(key="begin")(lambda ctx: "done")
    wait = WaitForEvent("hold", name="hold")

    def top(member: Step) -> type[Workflow]:
        led: Any = {begin: {"done": wait}, wait: {"hold": member}, after: {"done": DONE}}
        led[member] = {one: to for one, to in routes.items() if one in ("go" if member is other else "done", "x")}
        return type("Top", (Workflow,), {"start_at": begin, "transitions": led}, key="p")

    other = WaitForEvent("go", name="slow")
    right, wrong = top(slow), top(other)
    local = LocalRuntime(right, Slow)
    local.start(right, "1", {})
    changed = edited(local, wrong)
    changed.runner.resume("p::1", "go", {"by": "hand"})
    local.resume("p::1", "hold")
    local.settle()
    assert shown(local).status == "waiting"
    local.resume(kid(local, "slow", "slow"), "go", {"by": "child"})
    local.settle()
    assert dict(shown(local).steps["slow"].results) == {"by": "child"}
    types = [event["type"] for entry in local.runner.history("p::1").items for event in entry.events]
    assert "EventsDropped" in types


def test_a_deadline_asked_for_from_outside_is_not_the_time_at_which_a_child_is_given_up() -> None:
    """Rule D.7: that is an hour after it was asked to stop."""
    late = ChildWorkflow(Slow, name="slow")
    flow = parent(late, "timeout")
    local = LocalRuntime(flow, Slow)
    local.start(flow, "1", {})
    child = kid(local, "slow", "slow")
    without = edited(local, flow)
    without.runner.schedule_resume("p::1", "slow", 60_000)
    without.advance(timedelta(minutes=2))
    without.sweep()
    stopping = without.store.load("p::1")
    assert stopping is not None
    assert stopping.children["slow"].stopping == "timeout"
    with pytest.raises(UnexpectedEvent, match="is being stopped"):
        without.runner.schedule_resume("p::1", "slow", 60_000)
    asked = TimerSet("other", "slow", without.clock.now() + 60_000)  # as if it had come before that rule
    without.runner.instances.append(stopping, without.clock.now(), asked)
    without.advance(timedelta(minutes=30))
    without.sweep()
    assert shown(without).status == "waiting"
    without.advance(timedelta(minutes=40))
    without.sweep()
    assert shown(without).steps["slow"].event == "timeout"
    assert local.runner.get(child).status == "waiting"


@dataclass
class Parcel:
    """Start data that are no mapping."""

    to: str


class Aliased(BaseModel):
    """Start data whose names are others in JSON."""

    to: str = Field(alias="To")


class Sent(Workflow, key="sent"):
    """It leaves what it was given."""

    start_at = step(key="send")(lambda ctx: {"given": dict(ctx.initial)})
    transitions = {start_at: {"done": DONE}}
    Input = Aliased


@pytest.mark.parametrize(
    ("child", "flow", "given"),
    [
        (ChildWorkflow(Shipping, context=lambda ctx: Parcel("Rome"), name="ship"), Shipping, {"label": "Rome"}),
        (ChildWorkflow(Sent, context=lambda ctx: Aliased(To="Rome"), name="ship"), Sent, {"given": {"To": "Rome"}}),
    ],
)
def test_a_child_starts_with_data_classes_and_models_as_an_instance_does(
    child: Step, flow: type[Workflow], given: dict[str, Any]
) -> None:
    """As their JSON by the aliases that they take."""
    assert dict(shown(run(child, flow)).steps["ship"].results) == given


def test_a_cancellation_says_beforehand_that_open_children_undo_themselves() -> None:
    """Before what their root did."""
    book = Book()
    below = type("Below", (Workflow,), {"start_at": gate, "transitions": {gate: {"go": DONE}}}, key="below")
    local = LocalRuntime(top := line("p", book.step("a"), ChildWorkflow(below, name="kid"), book.step("z")), below)
    local.start(top, "1", {})
    assert shown(local).cancel_undoes == ("kid", "a")


def test_children_of_a_workflow_that_is_not_deployed_any_more_are_listed() -> None:
    """As its roots would be."""
    local = run(slow, Slow)
    without = edited(local, parent(slow))
    assert [one.workflow for one in without.runner.list(workflow="Slow", children=True).items] == ["Slow"]
    for asked in ({"workflow": "Nothing", "children": True}, {"workflow": "Slow"}):
        with pytest.raises(UnknownWorkflow):
            without.runner.list(**asked)


@pytest.mark.parametrize("detached", [True, False])
def test_a_workflow_does_not_run_on_failure(*, detached: bool) -> None:
    """Nothing waits for it, or with it."""
    routes: Any = {"start_at": after, "transitions": {after: {"done": DONE}}}
    with pytest.raises(DefinitionError, match="is on_failure and starts a workflow"):
        type("Top", (Workflow,), {**routes, "on_failure": ChildWorkflow(Slow, detached=detached)}, key="top")
