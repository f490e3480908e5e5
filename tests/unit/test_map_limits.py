"""Maps of steps that name limits: the items of an instance have one permit of each, and stand in line once (F.9)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Concurrency, DefinitionError, Pending, Retry, Workflow, step
from hephaestus.engine.events import Claimed, PermitsTaken, StepQueued
from hephaestus.engine.state import PARTS
from hephaestus.errors import EngineSignal
from hephaestus.runtime import gate
from hephaestus.runtime.registry import Registry
from hephaestus.steps import ChildWorkflow, Map, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus import StepContext
    from hephaestus.engine.records import Grant
    from hephaestus.engine.state import State
    from hephaestus.store.permits import Holder

CHUNK = 3
ONCE = Retry(max_attempts=1)


def mapping(target: Any, name: str = "Flow", **options: Any) -> type[Workflow]:
    """A workflow with one map, over as many items as its start data say."""
    every = Map(target, over=lambda ctx: range(ctx.initial.get("n", 1)), name="every", **{"chunk": CHUNK, **options})
    return type(name, (Workflow,), {"start_at": every, "transitions": {every: {"done": DONE}}}, key=name.lower())


def holds(*limits: Concurrency, key: str = "holds") -> type[Workflow]:
    """A workflow whose one step holds permits until it is told ``ok``."""
    wait = step(key="wait", limits=limits, events=("ok",))(lambda _: Pending())
    return type("Holds", (Workflow,), {"start_at": wait, "transitions": {wait: {"ok": DONE}}}, key=key)


def whole(n: int = 1, **options: Any) -> Concurrency:
    """A limit that is held until the end."""
    return Concurrency("one", n, held="step", **options)


def none(_ctx: StepContext) -> list[int]:
    """No items."""
    return []


def held(local: LocalRuntime, limit: str = "one") -> list[str]:
    """Who has the permits."""
    return [permit.holder.instance_id for permit in local.store.permits.usage(limit).permits]


def line(local: LocalRuntime, limit: str = "one") -> list[str]:
    """Who stands in line."""
    return [one.instance_id for one in local.store.permits.usage(limit).line]


def every(local: LocalRuntime, name: str = "flow::a") -> list[State]:
    """An instance and those that run its items."""
    state = local.store.load(name)
    assert state is not None
    return [state, *(one for kid in state.kin for one in every(local, kid))]


def said(local: LocalRuntime, kind: type = PermitsTaken) -> list[str]:
    """The activations that took permits, or stood in line, by the logs of the instance ``a`` and of its leaves."""
    found: list[str] = []
    for state in every(local):
        _, entries = local.store.history(state.instance_id, None, 0, 10_000) or (0, ())
        events = [one for entry in entries for one in entry.events if isinstance(one, kind)]
        found += [one.activation for one in events if isinstance(one, (PermitsTaken, StepQueued))]
    return found


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 1])
@pytest.mark.parametrize("hold", ["attempt", "step"])
def test_each_leaf_takes_one_permit_before_its_first_item(size: int, hold: Any) -> None:
    """Rule F.9. Whatever the size: none of no items, one of all that an instance runs; given back at its end."""
    seen: list[int] = []
    local: LocalRuntime

    @step(key="work", limits=[Concurrency("one", 8, held=hold)])
    def work(_ctx: StepContext) -> str:
        seen.append(len(held(local)))
        return "done"

    local = LocalRuntime(mapping(work))
    shown = local.start("Flow", "a", {"n": size})
    local.settle()
    shown = local.runner.get(shown.id)
    assert (shown.status, len(seen)) == ("completed", size)
    assert all(1 <= number <= -(-size // CHUNK) for number in seen)
    assert said(local) == ["every"] * -(-size // CHUNK)
    assert (held(local), line(local)) == ([], [])


@pytest.mark.parametrize("size", [1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_a_leaf_that_finds_no_permit_stands_in_line_once(size: int) -> None:
    """Rule F.9. It runs nothing meanwhile; who gives the permit back calls it, and its items run on that permit."""
    seen: list[list[str]] = []
    local: LocalRuntime

    @step(key="work", limits=[Concurrency("one", 1)])
    def work(_ctx: StepContext) -> str:
        seen.append(held(local))
        return "done"

    local = LocalRuntime(mapping(work), holds(whole()))
    local.start("Holds", "x")
    local.start("Flow", "a", {"n": size})
    leaves = -(-size // CHUNK)
    assert (held(local), len(line(local)), seen) == (["holds::x"], leaves, [])
    quiet = [(one.sequence, one.owner, one.wake_at) for one in every(local) if one.queued]
    local.advance(timedelta(days=1))
    assert [(one.sequence, one.owner, one.wake_at) for one in every(local) if one.queued] == quiet
    local.resume("holds::x", "ok")
    local.settle()
    assert local.runner.get("flow::a").status == "completed"
    assert len(seen) == size
    assert all(len(one) == 1 and one[0] != "holds::x" for one in seen)
    assert (said(local), said(local, StepQueued)) == (["every"] * leaves, ["every"] * leaves)
    assert (held(local), line(local)) == ([], [])


@pytest.mark.parametrize(("n", "chunk"), [(1, 1), (1, 2), (2, 2), (3, 1), (2, 100)])
def test_as_many_leaves_as_there_are_permits_are_at_work(n: int, chunk: int) -> None:
    """Rule F.9. So up to n times ``chunk`` items; with ``chunk=1`` it is n items. Waiting ones count if they hold."""
    wait = step(key="wait", limits=[whole(n)], events=("ok",))(lambda _: Pending())
    local = LocalRuntime(mapping(wait, chunk=chunk))
    local.start("Flow", "a", {"n": 7})
    local.settle()
    left, most = set(range(7)), min(n * chunk, 7)
    while left:
        waiting = {int(key) for one in every(local) for key in _open(one)}
        assert len(waiting) <= most
        assert (not line(local) and len(waiting) == len(left)) or len(held(local)) == n
        assert waiting <= left
        local.resume("flow::a", "ok", item=str(min(waiting)))
        left.discard(min(waiting))
        local.settle()
    assert local.runner.get("flow::a").status == "completed"
    assert (held(local), line(local)) == ([], [])


def _open(state: State) -> list[str]:
    """The items that an instance has open."""
    return [key for one in state.steps.values() if one.mapped is not None for key in one.mapped.open]


@pytest.mark.parametrize("size", [CHUNK, CHUNK + 1])
@pytest.mark.parametrize("hold", ["attempt", "step"])
def test_what_waits_gives_its_permit_back_unless_it_is_held_to_the_end(size: int, hold: Any) -> None:
    """Rules F.2 and F.9. As soon as nothing of the leaf runs; before it goes on, it takes one or stands in line."""
    seen: list[int] = []
    local: LocalRuntime
    slow = Retry(max_attempts=2, delay=timedelta(minutes=5), jitter="none")

    @step(key="work", limits=[Concurrency("one", 8, held=hold)], events=("done", "ok"), retry=slow)
    def work(ctx: StepContext) -> str | Pending:
        seen.append(len(held(local)))
        if ctx.index == 0:
            return Pending()
        if ctx.attempt == 1:
            raise ValueError
        return "done"

    local = LocalRuntime(mapping(work))
    local.start("Flow", "a", {"n": size})
    leaves = -(-size // CHUNK)
    assert len(held(local)) == (leaves if hold == "step" else 0)
    local.advance(timedelta(minutes=6))
    assert all(seen)
    assert len(seen) == size + size - 1
    assert len(held(local)) == (1 if hold == "step" else 0)
    assert len(said(local)) == leaves * (1 if hold == "step" else 2)
    local.resume("flow::a", "ok", item="0")
    local.settle()
    assert (local.runner.get("flow::a").status, held(local)) == ("completed", [])
    assert len(said(local)) == leaves * (1 if hold == "step" else 2), "an event needs no permit"


def test_a_pause_below_a_second_keeps_the_permit() -> None:
    """The owner does not leave: no one else could run meanwhile what it goes on with."""
    seen: list[list[str]] = []
    quick = Retry(max_attempts=3, delay=timedelta(milliseconds=200), jitter="none", backoff="constant")
    local: LocalRuntime

    @step(key="work", limits=[Concurrency("one", 1)], retry=quick)
    def work(ctx: StepContext) -> str:
        seen.append(held(local))
        if ctx.attempt < 3:
            raise ValueError
        return "done"

    local = LocalRuntime(mapping(work))
    assert local.start("Flow", "a", {"n": 2}).status == "completed"
    assert (seen, said(local), held(local)) == ([["flow::a"]] * 6, ["every"], [])


@pytest.mark.parametrize("size", [2, CHUNK + 2])
@pytest.mark.parametrize("act", ["pause", "cancel"])
@pytest.mark.parametrize("waits", [False, True])
def test_pause_and_cancel_leave_the_line_and_give_back(size: int, act: str, waits: bool) -> None:
    """Rules F.4 and F.9. What a pause took out of the line comes back at its end; a wait may hold on to its permit."""
    work = step(key="work", limits=[whole(8)], events=("ok",))(lambda _: Pending())
    local = LocalRuntime(mapping(work), holds(whole(8)))
    if not waits:
        for number in range(8):
            local.start("Holds", str(number))
    local.start("Flow", "a", {"n": size})
    leaves = -(-size // CHUNK)
    before = [one for one in held(local) if "holds" not in one]
    assert (len(before), len(line(local))) == ((leaves, 0) if waits else (0, leaves))
    getattr(local.runner, act)("flow::a")
    local.settle()
    assert line(local) == []
    own = [one for one in held(local) if "holds" not in one]
    assert own == (before if waits and act == "pause" else [])
    for number in range(0 if waits else 8):
        local.resume(f"holds::{number}", "ok")
    local.advance(timedelta(minutes=10))
    assert [one for one in held(local) if "holds" not in one] == own
    if act == "pause":
        local.runner.unpause("flow::a")
        local.settle()
        assert (len(held(local)), line(local)) == (leaves, [])
        for key in range(size):
            local.resume("flow::a", "ok", item=str(key))
        local.settle()
    assert (held(local), line(local)) == ([], [])
    assert local.runner.get("flow::a").status == ("completed" if act == "pause" else "cancelled")


@pytest.mark.parametrize("size", [CHUNK, CHUNK + 1])
def test_what_is_tried_again_and_what_a_redrive_repeats_has_permits_of_its_own(size: int) -> None:
    """Rule F.9. A map that failed has given its permits back; a redrive takes others, where something is left."""
    fails, seen = [True], []
    local: LocalRuntime

    @step(key="work", limits=[Concurrency("one", 8)], retry=ONCE)
    def work(ctx: StepContext) -> str:
        seen.append((ctx.index, len(held(local)) > 0))
        if ctx.index == 1 and fails:
            raise ValueError
        return "done"

    local = LocalRuntime(mapping(work))
    local.start("Flow", "a", {"n": size})
    local.settle()
    assert (local.runner.get("flow::a").status, held(local)) == ("failed", [])
    fails.clear()
    before = len(said(local))
    local.runner.redrive("flow::a")
    local.settle()
    assert local.runner.get("flow::a").status == "completed"
    assert sum(index == 1 for index, _ in seen) == 2
    assert all(has for _, has in seen)
    assert len(said(local)) == before + 1
    assert held(local) == []


@pytest.mark.parametrize("size", [CHUNK, CHUNK + 1])
def test_undoing_items_takes_no_permits(size: int) -> None:
    """Rule F.2. A compensation never stands in line."""
    undone: list[list[str]] = []
    local: LocalRuntime

    def undo(_ctx: StepContext) -> None:
        undone.append(held(local))

    work = step(key="work", limits=[Concurrency("one", 1)], compensate=undo)(lambda _: "done")
    fail = step(key="fail", retry=ONCE)(lambda ctx: ctx.initial["missing"])
    items = Map(work, over=lambda _: range(size), name="every", chunk=CHUNK)

    class Flow(Workflow, key="flow"):
        start_at = items
        transitions = {items: {"done": fail}, fail: {"done": DONE}}

    local = LocalRuntime(Flow, holds(whole()))
    local.start("Flow", "a")
    local.settle()
    assert local.runner.get("flow::a").status == "failed"
    assert undone == [[]] * size


@pytest.mark.parametrize("size", [CHUNK, CHUNK + 1])
def test_too_many_failures_in_line_leave_it(size: int) -> None:
    """Rule C.6. A leaf that waits for its permit does not begin when the map is over, and stands in no line."""

    @step(key="work", limits=[Concurrency("one", 1)], retry=ONCE)
    def work(_ctx: StepContext) -> str:
        raise ValueError

    local = LocalRuntime(mapping(work))
    local.start("Flow", "a", {"n": 4 * size})
    local.settle()
    assert local.runner.get("flow::a").status == "failed"
    assert (held(local), line(local)) == ([], [])


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_per_is_asked_once_a_leaf_with_what_its_items_see(size: int) -> None:
    """Rules C.1 and F.9. There is no item, and no results of steps, at any size; ``context`` chooses the start data."""
    asked: list[Any] = []

    def per(ctx: StepContext) -> str:
        asked.append((ctx.item, ctx.item_key, ctx.index, dict(ctx.steps), dict(ctx.events), ctx.instance_id))
        return str(ctx.initial["tenant"])

    work = step(key="work", limits=[Concurrency("one", 8, per=per)])(lambda _: "done")
    local = LocalRuntime(mapping(work, context=lambda ctx: {"tenant": f"t{ctx.initial['n']}"}))
    local.start("Flow", "a", {"n": size})
    local.settle()
    assert local.runner.get("flow::a").status == "completed"
    assert asked == [(None, "", 0, {}, {}, "flow::a")] * -(-size // CHUNK)
    names = {permit.limit for state in every(local) for permit in _granted(local, state)}
    assert names == ({f"one#t{size}"} if size else set())


def _granted(local: LocalRuntime, state: State) -> list[Any]:
    """The permits that an instance has had."""
    _, entries = local.store.history(state.instance_id, None, 0, 10_000) or (0, ())
    return [grant for entry in entries for one in entry.events if isinstance(one, PermitsTaken) for grant in one.grants]


@pytest.mark.parametrize("size", [CHUNK, CHUNK + 1])
def test_a_per_that_raises_fails_the_items(size: int) -> None:
    """Rule F.9. By their step's retries; what the map tolerates counts them."""
    limit = Concurrency("one", 8, per=lambda ctx: str(ctx.initial["missing"]))
    work = step(key="work", limits=[limit], retry=ONCE)(lambda _: "done")
    local = LocalRuntime(mapping(work), mapping(work, "Tolerant", tolerate="100%"))
    local.start("Flow", "a", {"n": size})
    local.start("Tolerant", "a", {"n": size})
    local.settle()
    shown = local.runner.get("flow::a")
    assert shown.status == "failed"
    assert shown.error is not None
    assert "missing" in shown.error["message"]
    output = local.runner.get("tolerant::a").output
    assert output is not None
    assert output["failed"] == size


class Killed(EngineSignal):
    """The process is gone."""


@pytest.mark.parametrize("size", [CHUNK, CHUNK + 1])
def test_invariant_14_a_per_that_kills_its_process_ends_as_the_items_outcome(size: int) -> None:
    """Counted for the leaf, by the map's retries: not once more for each item, and ``over`` is not what is to blame."""
    asked = []

    def per(ctx: StepContext) -> str:
        asked.append(ctx.attempt)
        raise Killed

    work = step(key="work", limits=[Concurrency("one", 8, per=per)])(lambda _: "done")
    local = LocalRuntime(mapping(work, retry=Retry(max_attempts=3)))
    local.runner.start_instance("Flow", {"n": size}, id="a")
    for _ in range(40):
        try:
            local.advance(timedelta(minutes=20))
            local.sweep()
        except Killed:
            continue
    shown = local.runner.get("flow::a")
    assert shown.status == "failed"
    assert "asked for the per of its limits" in str(shown.error)
    assert len(asked) <= 4 * -(-size // CHUNK)


@pytest.mark.parametrize("size", [2, CHUNK + 1])
def test_an_owner_that_dies_takes_no_permit_with_it(size: int) -> None:
    """Rule F.1. The leaf's log names it: the next owner goes on with it, and others wait."""
    kills, seen = [True], []
    local: LocalRuntime

    @step(key="work", limits=[Concurrency("one", 1)], retry=Retry(max_attempts=4, delay=1))
    def work(ctx: StepContext) -> str:
        seen.append(held(local))
        if ctx.index == 0 and kills:
            kills.clear()
            raise Killed
        return "done"

    local = LocalRuntime(mapping(work), holds(whole()))
    local.runner.start_instance("Flow", {"n": size}, id="a")
    with pytest.raises(Killed):
        local.settle()
    (holder,) = held(local)
    local.start("Holds", "x")
    assert line(local)[-1] == "holds::x"
    local.advance(timedelta(minutes=20))
    local.sweep()
    local.settle()
    assert all(one == [holder] for one in seen)
    assert held(local) == ["holds::x"]
    local.resume("holds::x", "ok")
    local.settle()
    assert local.runner.get("flow::a").status == "completed"
    assert all(len(one) == 1 and "holds" not in one[0] for one in seen)
    assert (held(local), len(said(local))) == ([], -(-size // CHUNK))


@pytest.mark.parametrize("size", [2, CHUNK + 1])
def test_a_leaf_that_lost_its_permits_stands_in_line_and_runs_nothing(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule F.1. It named them so late that the sweep had freed them: no item starts, though a commit has named some."""
    seen: list[tuple[int, int, list[str]]] = []
    local: LocalRuntime

    @step(key="work", limits=[Concurrency("one", 1)])
    def work(ctx: StepContext) -> str:
        seen.append((ctx.index, ctx.attempt, held(local)))
        return "done"

    local = LocalRuntime(mapping(work), holds(whole()))
    permits = local.store.permits
    monkeypatch.setattr(gate, "FRESH_MS", -1)

    def freed(holder: Holder, grants: Sequence[Grant]) -> bool:
        monkeypatch.undo()
        permits.give_back(holder, grants, local.clock.now(), "freed")
        local.start("Holds", "x")
        return False

    monkeypatch.setattr(permits, "confirm", freed)
    local.start("Flow", "a", {"n": size})
    local.settle()
    assert (seen, held(local)) == ([], ["holds::x"])
    assert all(not state.running for state in every(local))
    local.resume("holds::x", "ok")
    local.settle()
    assert local.runner.get("flow::a").status == "completed"
    assert [(index, attempt) for index, attempt, _ in sorted(seen)] == [(number, 1) for number in range(size)]
    assert all(len(one) == 1 for _, _, one in seen)


def test_long_items_ask_once_for_what_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A leaf whose items take longer than half a minute confirms its permits once: a write each time is not owed."""
    asked: list[str] = []
    local: LocalRuntime

    @step(key="work", limits=[Concurrency("one", 1)])
    def work(_ctx: StepContext) -> str:
        local.clock.sleep(40_000)
        return "done"

    local = LocalRuntime(mapping(work, concurrency=1, chunk=100))
    right = local.store.permits.confirm

    def confirm(holder: Holder, grants: Sequence[Grant]) -> bool:
        asked.append(holder.activation)
        return right(holder, grants)

    monkeypatch.setattr(local.store.permits, "confirm", confirm)
    local.start("Flow", "a", {"n": 30})
    local.settle()
    assert local.runner.get("flow::a").status == "completed"
    _, entries = local.store.history("flow::a", None, 0, 10_000) or (0, ())
    claims = sum(isinstance(one, Claimed) for entry in entries for one in entry.events)
    assert len(asked) == claims - 1 > 0
    assert said(local) == ["every"]


@pytest.mark.parametrize(("size", "items"), [(2, ""), (3 * CHUNK, "of items 3 to 5: ")])
def test_why_names_the_items_that_stand_in_line_and_no_instance_of_their_own(size: int, items: str) -> None:
    """Rule C.1. The holder is named as people know it, too: an instance that runs items is the one that has the map."""
    wait = step(key="wait", limits=[whole()], events=("ok",))(lambda _: Pending())
    local = LocalRuntime(mapping(wait))
    local.start("Flow", "b", {"n": 2 if items else CHUNK + 1})
    if items:
        for key in (0, 1):
            local.resume("flow::b", "ok", item=str(key))
    local.start("Flow", "a", {"n": size})
    local.advance(timedelta(minutes=5))
    why = local.runner.why("flow::a")
    place, holder = ("first", "flow::a") if items else ("second", "flow::b")
    line_ = f"waits for `one` (1 of 1 held), {place} in line, oldest holder {holder} for 5 min"
    assert why.steps["every"].endswith(f"; {items}{line_}")
    assert why.steps["every"].startswith(f"0 of {size} items have ended; ")
    assert PARTS not in str(why)
    (page,) = local.runner.limits().items
    assert [one["id"] for one in page.holders] == [holder]
    assert {one["id"] for one in page.line} == {"flow::a"} | ({"flow::b"} if not items else set())


def test_a_map_of_workflows_has_the_limits_of_their_steps() -> None:
    """Rule F.9. Each item takes its own, step by step."""
    most: list[int] = []
    local: LocalRuntime

    @step(key="one", limits=[Concurrency("one", 2)], events=("ok",))
    def one(_ctx: StepContext) -> str:
        most.append(len(held(local)))
        return "ok"

    two = step(key="two", limits=[Concurrency("two", 1, held="step")], events=("ok",))(lambda _: Pending())

    class Kid(Workflow, key="kid"):
        start_at = one
        transitions = {one: {"ok": two}, two: {"ok": DONE}}

    class Flow(Workflow, key="flow"):
        kids = Map(Kid, over=lambda _: [{"n": n} for n in range(4)], name="kids", chunk=3)
        start_at = kids
        transitions = {kids: {"done": DONE}}

    local = LocalRuntime(Flow, Kid)
    local.start("Flow", "a")
    local.settle()
    assert (len(held(local, "two")), len(line(local, "two"))) == (1, 3)
    for number in range(4, 0, -1):
        assert (len(held(local, "two")), len(line(local, "two"))) == (1, number - 1)
        local.resume(held(local, "two")[0], "ok")
        local.settle()
    assert local.runner.get("flow::a").status == "completed"
    assert (len(most), max(most), held(local, "one"), held(local, "two")) == (4, 1, [], [])


ONE = Concurrency("one", 1)


class Waits(WaitForEvent):
    """A wait that names a limit."""

    limits = (ONE,)


class Starts(ChildWorkflow):
    """A child that names a limit."""

    limits = (ONE,)


class Maps(Map):
    """A map that names a limit itself."""

    limits = (ONE,)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: Waits("yes", name="ask"), "has limits and only waits"),
        (lambda: Map(Waits("yes", name="ask"), over=none), "a map of a step that has limits and only waits"),
        (lambda: Starts(holds()), "has limits and runs other instances"),
        (lambda: Map(Starts(holds()), over=none), "a map of a step that has limits and runs other instances"),
        (lambda: Maps(step(key="work")(lambda _: "done"), over=none), "has limits and is a map"),
    ],
)
def test_waits_children_and_maps_have_no_limits_of_their_own(made: Callable[[], Any], words: str) -> None:
    """Each says where the limits belong."""

    def define() -> type[Workflow]:
        first = made()
        members: dict[str, Any] = {"start_at": first, "transitions": {first: dict.fromkeys(("done", "yes"), DONE)}}
        return type("Flow", (Workflow,), members, key="flow")

    with pytest.raises(DefinitionError) as caught:
        define()
    assert words in str(caught.value)


def test_two_numbers_of_one_limit_are_rejected_in_maps_too() -> None:
    """Rule F.8. In one workflow, and in one deployment."""
    work = [step(key=f"work{n}", limits=[Concurrency("one", n)])(lambda _: "done") for n in (1, 2)]
    one, two = (Map(each, over=none) for each in work)
    with pytest.raises(DefinitionError, match=r"its limit 'one' has 2 permits, and 1 .*in work1"):
        type("Both", (Workflow,), {"start_at": one, "transitions": {one: {"done": two}, two: {"done": DONE}}}, key="b")
    with pytest.raises(DefinitionError, match=r"its limit 'one' has 2 permits, and 1 .*in Flow"):
        Registry([mapping(work[0]), mapping(work[1], "Other")]).names()
