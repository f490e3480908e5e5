"""Maps as they run: what an item is given, how it is reached, what a map comes to, and what is read of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Completed, Pending, Retry, StepContext, Workflow, step
from hephaestus.errors import AmbiguousEvent, BadRequest, LinkUsed, StepMovedOn, UnexpectedEvent, UnknownStep
from hephaestus.runtime import telemetry
from hephaestus.steps import Map, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.definition.views import InstanceView, StepView

ONCE = Retry(max_attempts=1)


@step(retry=ONCE)
def work(ctx: StepContext) -> Completed:
    """Fail for the items that say so."""
    if ctx.item == "bad":
        raise ValueError(ctx.item_key)
    return Completed("done", {"item": ctx.item, "index": ctx.index, "key": ctx.item_key, "key_of": ctx.idempotency_key})


@step
def after(ctx: StepContext) -> dict[str, Any]:
    """What the step after the map reads."""
    return {"left": list(ctx.results("work")), "steps": list(ctx.steps)}


def flow(made: Map, *, routes: dict[str, Any] | None = None) -> type[Workflow]:
    """A workflow of a map, then a step."""
    members = {"start_at": made, "transitions": {made: routes or {"done": after}, after: {"done": DONE}}}
    return type("Flow", (Workflow,), members, key="flow")


def run(made: Map, items: Any, **routes: Any) -> tuple[LocalRuntime, InstanceView]:
    """Run the map over these items, and the step after it."""
    workflow = flow(made, routes=routes)
    local = LocalRuntime(workflow)
    return local, local.start(workflow, "1", {"items": items})


def given(ctx: StepContext) -> Any:
    """The items."""
    return ctx.initial["items"]


def of_map(shown: InstanceView) -> StepView:
    """The map's own view."""
    return shown.steps["work"]


def test_an_item_is_given_itself_and_nothing_of_its_size() -> None:
    """Rule C.1: its key, its place, an idempotency key of its own; no step, and the start data that were chosen."""
    seen: list[tuple[Any, ...]] = []

    @step
    def look(ctx: StepContext) -> str:
        seen.append((ctx.item, ctx.item_key, ctx.index, dict(ctx.steps), dict(ctx.events), dict(ctx.initial)))
        return "done"

    run(Map(look, over=given, key=str, context=lambda _: {"a": 1}, name="work"), ["x", "y/z"])
    assert seen == [("x", "x", 0, {}, {}, {"a": 1}), ("y/z", "y/z", 1, {}, {}, {"a": 1})]


def test_an_item_that_reads_results_of_steps_is_told_where_it_finds_what_it_needs() -> None:
    """Rule C.1."""

    @step(retry=Retry(max_attempts=1))
    def reads(ctx: StepContext) -> dict[str, Any]:
        return {"x": ctx.steps["first"]["x"]}

    mapped = Map(reads, over=lambda _: [1])
    led = {mapped: {"done": DONE}}
    flow: type[Workflow] = type("Reading", (Workflow,), {"start_at": mapped, "transitions": led}, key="r")
    error = LocalRuntime(flow).start(flow, "1").error
    assert error is not None
    assert "an item of a map reads no results of steps (" in error["message"]
    assert "give it what it needs by over= or context=" in error["message"]


def test_the_items_are_recorded_before_one_of_them_runs() -> None:
    """Rule C.3: as one value; large ones stand apart, and are read back."""
    large = [{"n": number, "pad": str(number) * 9_000} for number in range(20)]
    local, shown = run(Map(work, over=given), large)
    entries = local.runner.history(shown.id).items
    kinds = [event["type"] for entry in entries for event in entry.events]
    assert kinds.index("MapBegun") < kinds.index("ItemCompleted")
    assert [one.item for one in local.runner.items(shown.id, "work")] == large
    assert [one["item"] for one in shown.output["left"]] == large  # type: ignore[index]  # it has completed


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        (None, "which is no list of items"),
        ("abc", "which is no list of items"),
        ({"a": 1}, "which is no list of items"),
    ],
)
def test_what_cannot_be_run_for_each_fails_the_map_without_retry(items: Any, problem: str) -> None:
    """Rule C.4: after one attempt, and no item has begun."""
    local, shown = run(Map(work, over=given, retry=Retry(max_attempts=5)), items)
    assert (shown.status, of_map(shown).attempt) == ("failed", 1)
    assert problem in str(shown.error)
    assert not local.runner.items(shown.id, "work").items


def test_more_items_than_there_may_be_fail_the_map_without_retry() -> None:
    """Rule C.3: a list has at most 100,000; not one more is read of ten million."""
    read = []

    def many() -> Iterator[int]:
        for number in range(10_000_000):
            read.append(number)
            yield number

    _, shown = run(Map(work, over=lambda _: many(), retry=Retry(max_attempts=5)), None)
    assert (shown.status, of_map(shown).attempt, len(read)) == ("failed", 1, 100_001)
    assert "gave more than 100,000 items" in str(shown.error)


def test_an_item_that_cannot_be_stored_fails_the_map_without_retry() -> None:
    """Rule C.4: its place is named."""
    _, shown = run(Map(work, over=lambda _: [1, object()], retry=Retry(max_attempts=5)), None)
    assert (shown.status, of_map(shown).attempt) == ("failed", 1)
    assert "step work: item 1" in str(shown.error)


def test_over_is_tried_again_as_retry_says() -> None:
    """Rule C.4: it is the map's one attempt; of nothing the map is done at once."""
    tries = []

    def over(_: StepContext) -> list[int]:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError
        return []

    local, shown = run(Map(work, over=over, retry=Retry(max_attempts=2, delay=1)), None)
    local.advance(5)
    shown = local.runner.get(shown.id)
    assert (shown.status, of_map(shown).results["total"]) == ("completed", 0)


def test_keys_that_repeat_fail_the_map_and_both_places_are_named() -> None:
    """Rule C.5."""
    _, shown = run(Map(work, over=given, key=lambda _: "same"), [1, 2, 3])
    assert "items 0 and 1 have the key 'same'" in str(shown.error)


@pytest.mark.parametrize(
    ("tolerate", "status"), [(0, "failed"), (1, "failed"), (2, "completed"), ("66.67%", "completed")]
)
def test_a_map_fails_with_more_failures_than_it_tolerates(tolerate: int | str, status: str) -> None:
    """Rule C.6."""
    local, shown = run(Map(work, over=given, tolerate=tolerate, concurrency=1), ["bad", "bad", "good"])
    assert shown.status == status
    if tolerate == 0:
        assert str(of_map(shown).error) == str({"type": "ItemsFailed", "message": of_map(shown).error["message"]})  # type: ignore[index]  # it has one
        assert of_map(shown).progress == {"total": 3, "pending": 2, "completed": 0, "failed": 1}
        assert [one.key for one in local.runner.items(shown.id, "work", status="failed")] == ["0"]


def test_a_failed_map_is_routed_with_its_summary() -> None:
    """Rule C.6: as error, and the step after it reads what there is."""
    _, shown = run(Map(work, over=given), ["good", "bad"], done=DONE, error=after)
    assert shown.status == "completed"
    results = of_map(shown).results
    assert (results["completed"], results["failed"], results["error"]["type"]) == (1, 1, "ItemsFailed")
    assert [one and one["item"] for one in shown.output["left"]] == ["good", None]  # type: ignore[index]  # it has completed


def test_what_items_left_is_read_in_their_order() -> None:
    """Rule C.7: None keeps its place, and the snapshot has nothing of it."""
    local, shown = run(Map(work, over=given, tolerate=1), ["a", "bad", "c"])
    assert [one and one["index"] for one in shown.output["left"]] == [0, None, 2]  # type: ignore[index]  # it has completed
    assert [one.results.get("item") for one in local.runner.items(shown.id, "work")] == ["a", None, "c"]


def test_what_is_not_collected_is_not_read() -> None:
    """Rule C.7: the step that asks for it fails with the reason, as does one that asks for no map."""
    _, shown = run(Map(work, over=given, collect=False), ["a"])
    assert shown.status == "failed"
    assert "the map work has collect=False" in str(shown.error)

    @step(retry=ONCE)
    def asks(ctx: StepContext) -> str:
        return str(list(ctx.results("nothing")))

    other = type("Other", (Workflow,), {"start_at": asks, "transitions": {asks: {"done": DONE}}}, key="other")
    shown = LocalRuntime(other).start(other, "1", {})
    assert "reads the results of 'nothing', which is no completed map" in str(shown.error)


def test_no_more_items_are_under_way_than_may() -> None:
    """Rule C.8: those that wait count."""
    made = Map(WaitForEvent("go", name="work"), over=given, concurrency=2)
    local, shown = run(made, [1, 2, 3])
    assert of_map(shown).progress == {"total": 3, "pending": 1, "waiting": 2, "completed": 0, "failed": 0}
    shown = local.resume(shown.id, "go", item="0")
    assert of_map(shown).progress == {"total": 3, "waiting": 2, "completed": 1, "failed": 0}


def waits(**limits: Any) -> tuple[LocalRuntime, InstanceView]:
    """Two items that wait."""
    return run(Map(WaitForEvent("yes", "no", name="work", **limits), over=given, key=str), ["a", "b"])


def test_an_event_names_its_item() -> None:
    """Rule C.11: unless one alone could take it; once it has ended it takes none."""
    local, shown = waits()
    with pytest.raises(AmbiguousEvent, match=r"could be for work\[a\], work\[b\]; name the item that is meant"):
        local.resume(shown.id, "yes")
    for item, step_ref in (("c", None), ("a", "after")):
        with pytest.raises(UnexpectedEvent, match=f"no event 'yes' for item {item}"):
            local.resume(shown.id, "yes", item=item, step=step_ref)
    with pytest.raises(UnexpectedEvent, match="no event 'maybe' for item a"):
        local.resume(shown.id, "maybe", item="a")
    local.resume(shown.id, "yes", {"by": "ann"}, item="a", event_id="e1")
    local.resume(shown.id, "yes", {"by": "ann"}, item="a", event_id="e1")
    with pytest.raises(UnexpectedEvent):
        local.resume(shown.id, "no", item="a")
    shown = local.resume(shown.id, "no")
    assert of_map(shown).results["events"] == {"no": 1, "yes": 1}
    assert shown.output["left"] == [{"by": "ann"}, {}]  # type: ignore[index]  # it has completed


def test_an_event_is_kept_for_an_item_that_has_not_begun() -> None:
    """Rule C.11: one, until the item waits."""
    local, shown = run(Map(WaitForEvent("go", name="work"), over=given, concurrency=1), [1, 2])
    local.resume(shown.id, "go", item="1")
    with pytest.raises(UnexpectedEvent):
        local.resume(shown.id, "go", item="1")
    assert local.resume(shown.id, "go", item="0").status == "completed"


def test_heartbeats_and_deadlines_are_of_items() -> None:
    """Rules C.11 and C.12: each item has its own, and no schedule but what was asked for."""
    local, shown = waits(timeout=timedelta(hours=5), heartbeat=timedelta(hours=1))
    with pytest.raises(AmbiguousEvent, match="name the item that is meant"):
        local.runner.heartbeat(shown.id)
    local.advance(3_000)
    local.runner.heartbeat(shown.id, item="a")
    local.advance(1_200)
    assert [one.status for one in local.runner.items(shown.id, "work")] == ["waiting", "completed"]
    local.runner.schedule_resume(shown.id, "work", 60_000, item="a")
    with pytest.raises(UnexpectedEvent, match="it has no item 'b' that will wait"):
        local.runner.schedule_resume(shown.id, "work", 60_000, item="b")
    with pytest.raises(UnexpectedEvent, match="is a map: name the item"):
        local.runner.schedule_resume(shown.id, "work", 60_000)
    local.advance(61)
    assert of_map(local.runner.get(shown.id)).results["events"] == {"timeout": 2}


def test_a_link_is_for_the_item_that_made_it() -> None:
    """Rule C.11: it works once, and for no other item."""
    links: dict[str, str] = {}

    @step(events=("yes",))
    def ask(ctx: StepContext) -> Pending:
        links[ctx.item_key] = ctx.callback_token("yes")
        return Pending()

    local, shown = run(Map(ask, over=given, key=str, name="work"), ["a", "b/c"])
    local.follow(links["b/c"])
    assert [one.status for one in local.runner.items(shown.id, "work")] == ["waiting", "completed"]
    with pytest.raises(LinkUsed):
        local.follow(links["b/c"])
    local.resume(shown.id, "yes", item="a")
    with pytest.raises(StepMovedOn):
        local.follow(links["a"])


def undoing(undone: list[Any]) -> Map:
    """A map whose items note how they are undone."""

    def undo(ctx: StepContext) -> None:
        undone.append((ctx.item, ctx.steps["work"]["item"]))

    return Map(step(key="work", retry=ONCE, compensate=undo)(work.function), over=given, tolerate=1)


def failing(made: Map) -> type[Workflow]:
    """A workflow of a map, a step that waits, and one that fails."""
    fail = step(key="fail", retry=ONCE)(_fails)
    wait = WaitForEvent("go", name="wait")
    routes = {made: {"done": wait}, wait: {"go": fail}, fail: {"done": DONE}}
    return type("Failing", (Workflow,), {"start_at": made, "transitions": routes}, key="failing")


def _fails(_ctx: StepContext) -> str:
    raise ValueError


def test_the_completed_items_are_undone_with_what_they_left() -> None:
    """Rule C.13: tolerated failures are not; a redrive begins the map anew, under other names."""
    undone: list[Any] = []
    workflow = failing(undoing(undone))
    local = LocalRuntime(workflow)
    shown = local.start(workflow, "1", {"items": ["a", "bad", "c"]})
    shown = local.resume(shown.id, "go")
    assert (shown.status, of_map(shown).status, sorted(undone)) == ("failed", "compensated", [("a", "a"), ("c", "c")])
    assert [one.status for one in local.runner.items(shown.id, "work")] == ["compensated", "failed", "compensated"]
    first = {one.results.get("key_of") for one in local.runner.items(shown.id, "work")}
    local.runner.redrive(shown.id)
    local.settle()
    again = {one.results.get("key_of") for one in local.runner.items(shown.id, "work")}
    assert first & again <= {None}


def test_a_map_without_items_that_could_be_read_has_nothing_to_undo() -> None:
    """Rule C.13: its ``over`` has failed, and what follows its ``error``, too."""

    def over(_ctx: StepContext) -> list[str]:
        raise ValueError

    made = Map(step(key="item", compensate=_fails)(_fails), over=over, name="work", retry=ONCE)
    fail = step(key="fail", retry=ONCE)(_fails)
    members = {"start_at": made, "transitions": {made: {"done": fail, "error": fail}, fail: {"done": DONE}}}
    workflow = type("Unread", (Workflow,), members, key="unread")
    shown = LocalRuntime(workflow).start(workflow, "1", {})
    assert (shown.status, of_map(shown).status, of_map(shown).event) == ("failed", "completed", "error")


def test_a_fork_takes_over_a_map_with_what_its_items_left() -> None:
    """Rule C.13: its results are read, and undone, without the log of the instance that it came from."""
    undone: list[Any] = []
    workflow = failing(undoing(undone))
    local = LocalRuntime(workflow)
    shown = local.start(workflow, "1", {"items": ["a", "c"]})
    local.runner.cancel(shown.id)
    local.settle()
    forked = local.runner.fork(shown.id, new_id="2")
    local.runner.delete(shown.id)
    local.settle()
    assert [one.results["item"] for one in local.runner.items(forked, "work")] == ["a", "c"]
    assert local.resume(forked, "go").status == "failed"
    assert sorted(undone) == [("a", "a"), ("c", "c")]


def test_a_redrive_of_a_failed_map_repeats_what_has_not_completed() -> None:
    """Rule C.13: under the same names, and over is not asked again."""
    ran: list[str] = []
    broken = {"b"}

    @step(retry=ONCE)
    def work(ctx: StepContext) -> str:
        ran.append(ctx.item)
        if ctx.item in broken:
            raise ValueError
        return "done"

    local, shown = run(Map(work, over=given, concurrency=1), ["a", "b", "c"])
    broken.clear()
    local.runner.redrive(shown.id)
    local.settle()
    assert local.runner.get(shown.id).status == "completed"
    assert ran == ["a", "b", "b", "c"]


@pytest.mark.parametrize("mapped_before", [True, False])
def test_a_map_that_becomes_a_step_is_not_undone_as_one(mapped_before: bool) -> None:
    """Rule C.13: nor a step as a map: the instance waits for a version of its own."""
    undone: list[Any] = []
    plain = step(key="work", compensate=lambda _: undone.append("step"))(lambda _: "done")
    flows = [failing(undoing(undone)), failing(plain)]  # type: ignore[arg-type]  # any step will do
    before, after_it = flows if mapped_before else reversed(flows)
    local = LocalRuntime(before)
    shown = local.start(before, "1", {"items": ["a"]})
    local.runner.instances.registry = LocalRuntime(after_it).runner.instances.registry
    shown = local.resume(shown.id, "go")
    assert "another graph than the instance was started with, at 'work'" in str(shown.parked)
    assert not undone


def test_an_item_has_no_metadata() -> None:
    """Rule C.14: it is an error of the item."""
    made = step(key="work")(lambda ctx: Completed("done", metadata={"a": 1}))
    _, shown = run(Map(made, over=given), [1])
    assert "an item returned metadata" in str(shown.error)


def test_items_are_shown_page_by_page() -> None:
    """By status, too; none before they are recorded, and none of what is no map."""
    local, shown = run(Map(work, over=given, tolerate=2), ["a", "bad", "c", "bad"])
    page = local.runner.items(shown.id, "work", limit=3)
    assert ([one.key for one in page], page.cursor) == (["0", "1", "2"], "3")
    page = local.runner.items(shown.id, "work", limit=3, cursor=page.cursor)
    assert ([one.key for one in page], page.cursor) == (["3"], None)
    page = local.runner.items(shown.id, "work", status="failed", limit=1)
    assert ([one.error and one.error["message"] for one in page], page.cursor) == (["1"], "3")
    for wrong in ({"status": "gone"}, {"cursor": "x"}, {"limit": 0}):
        with pytest.raises(BadRequest):
            local.runner.items(shown.id, "work", **wrong)
    with pytest.raises(UnknownStep, match="'after' is no map of it; its maps are work"):
        local.runner.items(shown.id, "after")


def test_each_event_about_an_item_names_it() -> None:
    """Telemetry: starts, waits, ends and failures of items have ``item``; those of the map have none."""
    told: list[tuple[str, Any]] = []

    names = [f"hephaestus.step.{kind}" for kind in ("start", "stop", "async", "resume", "exception")]
    telemetry.attach("items", lambda name, _, about: told.append((name[11:], about.get("item"))), names)
    try:
        local, shown = run(Map(work, over=given, tolerate=1, concurrency=1), ["a", "bad"])
        ended = told.copy()
        told.clear()
        local, shown = waits()
        local.resume(shown.id, "yes", item="a")
    finally:
        telemetry.detach("items")
    assert [one for one in ended if one[1] is not None] == [
        ("step.start", "0"),
        ("step.stop", "0"),
        ("step.start", "1"),
        ("step.exception", "1"),
    ]
    assert [one for one in told if one[1]] == [("step.async", "a"), ("step.async", "b"), ("step.resume", "a")]
