"""What people see of maps: workflows in a tree, failed items, what a redrive repeats, and parts folded in history."""

from __future__ import annotations

import json
import logging
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from hephaestus import DONE, Again, Completed, Concurrency, Pending, Retry, Rounds, StepContext, Workflow, step
from hephaestus.cli.app import app
from hephaestus.cli.terminal import Session
from hephaestus.cli.timeline import Timeline
from hephaestus.console.embedded import LocalConnection
from hephaestus.dev import readable_log
from hephaestus.errors import NotRedrivable, NotRoot
from hephaestus.runtime import descendants, item_pages, telemetry
from hephaestus.steps import ChildWorkflow, Map, Repeat, WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.unit.rendered import rendered

if TYPE_CHECKING:
    from pathlib import Path

ONCE = Retry(max_attempts=1)
FLOW = """
from hephaestus import DONE, Retry, Workflow, step
from hephaestus.steps import Map


@step(retry=Retry(max_attempts=1))
def work(ctx):
    if ctx.item % 2:
        raise ValueError(f"odd {ctx.item}")
    return {"half": ctx.item // 2}


class Halves(Workflow, key="halves"):
    every = Map(work, over=lambda ctx: range(ctx.initial["n"]), tolerate="100%")
    start_at = every
    transitions = {every: {"done": DONE}}
"""


@step(events=("done", "held"), retry=ONCE, compensate=lambda _: None)
def ship(ctx: StepContext) -> Completed:
    """Fail for odd numbers; what is divisible by four is held."""
    if ctx.initial["n"] % 2:
        message = "odd"
        raise ValueError(message)
    return Completed("done" if ctx.initial["n"] % 4 else "held", {"says": 'hello "you"'})


class Shipping(Workflow, key="shipping"):
    """Fails, waits, or is done at once."""

    gate = WaitForEvent("go", name="gate")
    start_at = ship
    transitions = {ship: {"done": DONE, "held": gate}, gate: {"go": DONE}}


@step(retry=ONCE)
def halt(_: StepContext) -> str:
    """Fail."""
    message = "halted"
    raise ValueError(message)


def fleet(chunk: int, *, then: Any = None, **how: Any) -> type[Workflow]:
    """A map of workflows, then a step, by default one that fails."""
    after = then or halt
    made = Map(Shipping, over=lambda ctx: [{"n": n} for n in ctx.initial["n"]], chunk=chunk, name="ship", **how)
    routes = {made: {"done": after}, after: {"done" if then is None else "go": DONE}}
    return type("Fleet", (Workflow,), {"start_at": made, "transitions": routes}, key="fleet")


class Seen:
    """The command line on a runtime."""

    def __init__(self, local: LocalRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Session, "connection", LocalConnection(local.runner))
        monkeypatch.setenv("COLUMNS", "200")

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """What it writes, without what draws the lines of a tree."""
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == code, done.output
        return "\n".join(line.strip("│├└─ ").rstrip() for line in done.stdout.splitlines())


@pytest.mark.parametrize("chunk", [100, 3])
def test_a_tree_shows_the_workflows_of_a_map_that_failed_and_that_are_open(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever they run; those beyond a bound are counted, with the command that lists them."""
    flow = fleet(chunk, tolerate="100%")
    local = LocalRuntime(flow, Shipping)
    shown = local.start(flow, "1", {"n": list(range(12))})
    see = Seen(local, monkeypatch)
    below = local.runner.get(shown.id, tree=True).children
    assert {one["step"]: one["status"] for one in below} == {
        f"ship[{n}]": "failed" if n % 2 else "waiting" for n in range(12) if n % 2 or n % 4 == 0
    }
    tree = see("get", shown.id, "--tree")
    assert re.search(r"ship\[3\]  shipping::\w+  ✗ failed", tree)
    assert "step ship failed after 1 attempt(s): odd" in tree
    assert re.search(r"ship\[8\]  shipping::\w+  ◷ waiting", tree)
    assert "more" not in tree
    monkeypatch.setattr(descendants, "MOST_OF_MAP", 2)
    tree = see("get", shown.id, "--tree")
    assert [line.split()[0] for line in tree.splitlines() if "shipping::" in line] == [
        "ship[1]", "ship[3]", "ship[0]", "ship[4]"
    ]  # fmt: skip
    assert "and 4 more failed: hephaestus items fleet::1 ship --status failed" in tree
    assert "and 1 more open: hephaestus items fleet::1 ship --status waiting" in tree


def test_what_failed_is_in_the_tree_behind_pages_that_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first instances of the map have only items that are open."""
    monkeypatch.setattr(item_pages, "MOST_INSTANCES", 2)
    flow = fleet(2, tolerate="100%")
    local = LocalRuntime(flow, Shipping)
    shown = local.start(flow, "1", {"n": [4, 8, 12, 16, 20, 24, 28, 1]})
    below = local.runner.get(shown.id, tree=True).children
    assert [one["step"] for one in below if one["status"] == "failed"] == ["ship[7]"]
    assert [one["step"] for one in below if one["status"] == "waiting"] == [f"ship[{place}]" for place in range(7)]


def test_a_tree_of_a_map_of_steps_has_no_instances_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The instances that run its items are no one's business, and not one of them is read for each item."""
    made = Map(step(key="each", retry=ONCE)(lambda ctx: ctx.item / 0), over=lambda _: range(9), chunk=2, tolerate=9)
    flow = type("Fleet", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="fleet")
    local = LocalRuntime(flow)
    shown = local.start(flow, "1", {})
    read: list[str] = []
    load = local.store.load

    def noted(name: str) -> Any:
        read.append(name)
        return load(name)

    monkeypatch.setattr(local.store, "load", noted)
    assert local.runner.get(shown.id, tree=True).children == []
    assert len(read) <= 2


def test_items_that_are_workflows_have_their_ids_and_results_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """As JSON has them, on one line."""
    flow = fleet(100, tolerate="100%", then=WaitForEvent("go", name="wait"))
    local = LocalRuntime(flow, Shipping)
    shown = local.start(flow, "1", {"n": [1, 2]})
    said = Seen(local, monkeypatch)("items", shown.id, "ship")
    failed, done = local.runner.items(shown.id, "ship").items
    heads, first, second = said.splitlines()
    assert heads.split() == ["ITEM", "STATUS", "EVENT", "CHILD"]
    assert str(failed.child) in first
    assert "ValueError: step ship failed after 1 attempt(s): odd" in first
    assert second.split(str(done.child))[1].strip() == '{"says": "hello \\"you\\""}'


def test_a_dry_redrive_says_how_many_items_it_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a failed map what has not completed, of a cancelled one what had not ended; an undone one begins anew."""
    odd = Map(step(key="odd", retry=ONCE)(lambda ctx: {"n": 1 / ctx.item}), over=lambda _: [1, 1, 0, 1, 0], chunk=2)
    plain = type("Plain", (Workflow,), {"start_at": odd, "transitions": {odd: {"done": DONE}}}, key="plain")
    flow = fleet(3)
    local = LocalRuntime(flow, Shipping, plain)
    see = Seen(local, monkeypatch)
    failed = local.start(plain, "1", {})
    assert (failed.steps["odd"].progress or {})["completed"] == 3
    assert see("redrive", failed.id, "--dry-run") == "run again: odd (2 of 5 items)"
    assert json.loads(see("redrive", failed.id, "--dry-run", "--json"))["items"] == {"odd": 2}
    undone = local.start(flow, "undone", {"n": [2, 6, 10, 14]})
    assert undone.steps["ship"].status == "compensated"
    assert see("redrive", undone.id, "--dry-run") == "run again: ship (anew, with all its items), halt"
    local.start(flow, "held", {"n": [2, 6, 4, 8, 10]})
    local.runner.cancel("fleet::held")
    local.settle()
    assert see("redrive", "fleet::held", "--dry-run") == "run again: ship (2 of 5 items)"
    local.runner.redrive("fleet::held")
    local.settle()
    counts = local.runner.get("fleet::held").steps["ship"].progress
    assert counts == {"total": 5, "waiting": 2, "completed": 3, "failed": 0}


@pytest.mark.parametrize("chunk", [100, 3])
def test_a_redrive_says_what_is_to_be_done_about_failed_items_that_were_tolerated(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The map has completed, and what followed has used its results: a fork before it, with these items alone."""
    flow = fleet(chunk, then=step(key="after", events=("go",))(lambda _: "go"), tolerate="100%")
    local = LocalRuntime(flow, Shipping)
    shown = local.start(flow, "1", {"n": [1, 2, 3, 6, 5]})
    assert shown.status == "completed"
    with pytest.raises(NotRedrivable, match=r"failed items of ship \(3\) were tolerated, .* fork it before the map"):
        local.runner.redrive(shown.id)
    said = Seen(local, monkeypatch)("redrive", shown.id, "--dry-run")
    assert "there is nothing to redrive\n3 failed items of ship tolerated; fork it before the map" in said
    failed = local.runner.items(shown.id, "ship", status="failed").items
    with pytest.raises(NotRoot, match=r"ask at its root, fleet::1; that has completed, so this failure was tolerated"):
        local.runner.redrive(str(failed[0].child))
    local.runner.fork(shown.id, at=1, new_id="2", context={"n": [2 * one.item["n"] for one in failed]})
    local.settle()
    assert local.runner.get("fleet::2").steps["ship"].progress == {"total": 3, "completed": 3, "failed": 0}
    done = local.start(flow, "3", {"n": [2]})
    with pytest.raises(NotRedrivable, match="start it again, or fork it from its history"):
        local.runner.redrive(done.id)


def test_undone_items_are_counted_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside those that completed; history names the item whose workflow undoes what it did, and no part of a map."""
    flow = fleet(100)
    local = LocalRuntime(flow, Shipping)
    see = Seen(local, monkeypatch)
    shown = local.start(flow, "1", {"n": [2, 6]})
    assert "compensated 0/2, 2 undone" in see("get", shown.id)
    assert "ship  0 of 2 items, 2 undone" in see("get", shown.id, "--tree")
    told = see("history", shown.id)
    for item in range(2):
        assert f"the child of ship[{item}] undoes what it did" in told
        assert f"ship[{item}] its workflow has undone what it did" in told


@pytest.mark.parametrize("target", ["steps", "workflows"])
def test_the_parts_of_a_map_are_folded_in_history(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for what happened to several at once, with what became of their items together."""
    given: Any = Shipping
    if target == "steps":
        given = step(key="ship", retry=ONCE, compensate=lambda _: None)(lambda ctx: {"n": ctx.item["n"]})
    made = Map(given, over=lambda ctx: [{"n": 2}] * ctx.initial["n"], chunk=2, name="ship")
    flow = type(
        "Fleet",
        (Workflow,),
        {"start_at": made, "transitions": {made: {"done": halt}, halt: {"done": DONE}}},
        key="fleet",
    )
    local = LocalRuntime(flow, Shipping)
    shown = local.start(flow, "1", {"n": 7})
    assert shown.steps["ship"].status == "compensated"
    lines = see_lines(Seen(local, monkeypatch)("history", shown.id, "--all"))
    assert sum("begins 4 parts of its items, at most 7 items at a time" in line for line in lines) == 1
    assert sum("undoes the items of 4 parts" in line for line in lines) == 1
    ends = [line for line in lines if "of its items ended: " in line]
    assert sum(int(end.rpartition(": ")[2].split()[0]) for end in ends) == 7
    undone = [line.partition("has undone the items of ")[2] for line in lines if "has undone the items of " in line]
    assert sum(int(end.split()[0].replace("a", "1")) for end in undone) == 4
    assert not [line for line in lines if "its workflow" in line]


def entry(number: int, *events: dict[str, Any]) -> dict[str, Any]:
    """An entry as the API has it, a second after the one before."""
    return {"sequence": number, "at": f"2026-01-01T00:00:{number:02}+00:00", "events": list(events)}


CLAIMED, LEFT = {"type": "Claimed"}, {"type": "Suspended"}


def ended(part: str, **counts: int) -> dict[str, Any]:
    """The end of a part."""
    return {"type": "PartEnded", "step": "ship", "part": part, "status": "completed", "counts": counts}


def begun(part: str) -> dict[str, Any]:
    """The beginning of a part."""
    return {"type": "PartStarted", "step": "ship", "part": part, "share": 2}


def reported(part: str, failed: int) -> dict[str, Any]:
    """What a part that goes on says."""
    return {"type": "PartReported", "step": "ship", "part": part, "failed": failed}


def told(*entries: dict[str, Any]) -> list[str]:
    """The lines of these entries."""
    timeline = Timeline(160)
    parts = [part for one in entries for part in timeline.lines(one)]
    return see_lines(rendered(*parts, *timeline.rest()))


def test_entries_that_tell_of_nothing_but_parts_are_folded_too() -> None:
    """What has become of the items is added up; how many have failed is said by a part again and again."""
    done = {"type": "StepCompleted", "step": "ship", "event": "done"}
    middle = [entry(2, CLAIMED, ended("0", completed=2), begun("4")), entry(3, LEFT)]
    middle += [entry(4, CLAIMED, reported("1", 1), ended("2", completed=1, failed=1))]
    middle += [entry(5, reported("1", 2), reported("3", 1), begun("5")), entry(6, ended("1", failed=2), LEFT)]
    lines = told(
        entry(1, begun("0"), {"type": "MapSpread", "step": "ship", "total": 12}), *middle, entry(7, CLAIMED, done)
    )
    assert [line.partition("ship ")[2] for line in lines if "ship " in line][:4] == [
        "begins a part of its items, at most 2 items at a time",
        "runs for 12 items",
        "3 parts of its items ended: 3 completed, 3 failed",
        "begins 2 parts of its items",
    ]
    assert "3 of 12 items failed so far" in "".join(lines)
    assert "entries 2 to 6, until" in "".join(lines)
    assert [line.split()[0] for line in lines if line[0].isdigit()] == ["2026-01-01", "1", "2", "7"]


def test_failed_items_are_counted_over_all_parts_that_have_reported() -> None:
    """Of a part, its newest number counts; a redrive counts anew, and the total is known from the beginning."""
    ended_ = {"type": "StepSkipped", "steps": []}
    spread = entry(1, {"type": "MapSpread", "step": "ship", "total": 9})
    lines = told(
        spread,
        entry(2, reported("0", 1), ended_),
        entry(3, reported("0", 2), reported("1", 1), ended_),
        entry(4, reported("2", 1), ended_),
        entry(5, {"type": "Redriven"}),
        entry(6, reported("2", 1), ended_),
    )
    assert [line.partition("ship ")[2] for line in lines if "so far" in line] == [
        f"{failed} of 9 items failed so far" for failed in (1, 3, 4, 1)
    ]
    assert "ship 1 item failed so far" in "".join(told(entry(2, reported("0", 1)))), "it begins in the middle"


def test_the_history_of_a_child_says_why_its_parent_has_it_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """In words, and what runs then are compensations."""
    ship_ = ChildWorkflow(Shipping, context=lambda _: {"n": 4}, name="ship", timeout=60)
    flow = type(
        "Fleet",
        (Workflow,),
        {"start_at": ship_, "transitions": {ship_: {"done": halt}, halt: {"done": DONE}}},
        key="fleet",
    )
    local = LocalRuntime(flow, Shipping)
    see = Seen(local, monkeypatch)
    child = {name: str(local.start(flow, name, {}).steps["ship"].child) for name in ("late", "cancelled", "undone")}
    local.runner.cancel("fleet::cancelled", "enough", compensate=True)
    local.resume(child["undone"], "go")
    local.advance(70)
    assert "cancel and undo: its parent waits no longer" in see("history", child["late"])
    told_ = see("history", child["cancelled"])
    assert "cancel and undo: its parent ends" in told_
    assert "starts the compensation of ship" in told_
    assert "the child of ship was cancelled" in see("history", "fleet::cancelled")
    undone = see("history", child["undone"])
    assert "starts the compensation of ship" in undone.partition("its parent has it undo ship")[2]
    assert "the child of ship has undone what it did" in see("history", "fleet::undone")


@step(compensate=lambda _: None)
def pack(_: StepContext) -> dict[str, int]:
    """Leave what the next round starts with."""
    return {"n": 2}


class TwoOfThem(Workflow, key="two"):
    """What is repeated."""

    start_at = pack
    transitions = {pack: {"done": DONE}}


def test_history_says_which_round_a_child_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it ends, and as it undoes what it did."""
    twice = Repeat(
        TwoOfThem, until=lambda ctx: ctx.round > 1, context=lambda _: {"n": 2}, rounds=Rounds(3), name="twice"
    )
    members: dict[str, Any] = {"start_at": twice, "transitions": {twice: {"done": halt}, halt: {"done": DONE}}}
    flow = type("Fleet", (Workflow,), members, key="fleet")
    local = LocalRuntime(flow, TwoOfThem)
    local.start(flow, "1", {})
    told_ = Seen(local, monkeypatch)("history", "fleet::1")
    for what in ("has completed", "undoes what it did", "has undone what it did"):
        assert told_.index(f"the child of twice, round 2, {what}") > 0
        assert f"the child of twice {what}" in told_


def test_what_was_open_as_an_instance_was_cancelled_took_until_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes no further."""
    gate = WaitForEvent("go", name="gate")
    flow = type("Gated", (Workflow,), {"start_at": gate, "transitions": {gate: {"go": DONE}}}, key="gated")
    local = LocalRuntime(flow)
    local.start(flow, "1", {})
    local.advance(7)
    local.runner.cancel("gated::1")
    local.settle()
    assert re.search(r"^gate +\S waiting +7.0 s", Seen(local, monkeypatch)("get", "gated::1"), re.MULTILINE)


def test_few_entries_and_those_that_tell_of_no_part_stay_as_they_are() -> None:
    """A run of three, and invocations that found nothing to do."""
    few = [entry(number, CLAIMED, ended(str(number), completed=2)) for number in (1, 2, 3)]
    assert sum("a part of its items ended: 2 completed" in line for line in told(*few)) == 3
    empty = [entry(number, CLAIMED if number % 2 else LEFT) for number in range(1, 7)]
    assert len([line for line in told(*empty) if "invocation" in line]) == 6
    workflow = {"type": "PartEnded", "step": "ship", "item": "a", "status": "completed"}
    items = [entry(number, workflow) for number in range(1, 7)]
    assert len([line for line in told(*items) if "ship[a] its workflow has completed" in line]) == 6


def see_lines(text: str) -> list[str]:
    """Lines, without what is in front of what happened."""
    return [line.strip() for line in text.splitlines()]


def test_who_watches_through_a_pipe_sees_how_far_a_map_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each change, as the items end."""
    ask = WaitForEvent("yes", name="ask", timeout=timedelta(hours=1))
    made = Map(ask, over=lambda _: range(3))
    flow = type("Fleet", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="fleet")
    local = LocalRuntime(flow)
    shown = local.start(flow, "1", {})
    left = iter("012")

    def answer(_seconds: float) -> None:
        local.resume(shown.id, "yes", item=next(left))

    monkeypatch.setattr("time.sleep", answer)
    told = Seen(local, monkeypatch)("get", shown.id, "--watch").splitlines()
    assert [line.partition("  ")[2] for line in told] == [
        "waiting  ask 0 of 3 items, 3 waiting",
        "waiting  ask 1 of 3 items, 2 waiting",
        "waiting  ask 2 of 3 items, 1 waiting",
        "completed  ask 3 of 3 items",
    ]


@pytest.mark.parametrize(("number", "named"), [(4, ["1", "3"]), (50, [str(n) for n in range(1, 41, 2)])])
def test_a_run_names_the_items_that_failed(
    number: int, named: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As no one can ask for them afterwards; of many the first."""
    (tmp_path / f"halves_{number}.py").write_text(FLOW)
    monkeypatch.setenv("COLUMNS", "200")
    done = CliRunner().invoke(app, ["run", f"{tmp_path}/halves_{number}.py", "--data", json.dumps({"n": number})])
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("work[")] == [
        f"work[{n}]  ✗ failed  ValueError: odd {n}" for n in named
    ]
    assert ("and 5 more of work" in lines) == (number == 50)


@pytest.mark.parametrize(
    ("bad", "said"), [(1, "1 instance could not undo what its items did"), (3, "2 instances could")]
)
def test_one_of_something_is_one(bad: int, said: str) -> None:
    """In what is kept of failures as well."""

    @step(retry=ONCE, compensate=lambda ctx: 1 / 0 if ctx.item < bad else None)
    def stuck(_: StepContext) -> dict[str, Any]:
        return {}

    made = Map(stuck, over=lambda _: range(5), chunk=2)
    flow = type(
        "Stuck", (Workflow,), {"start_at": made, "transitions": {made: {"done": halt}, halt: {"done": DONE}}}, key="k"
    )
    local = LocalRuntime(flow)
    shown = local.start(flow, "1")
    local.advance(timedelta(hours=1))
    assert said in str(local.runner.get(shown.id).error)
    one = Map(halt, over=lambda _: [1])
    flow = type("One", (Workflow,), {"start_at": one, "transitions": {one: {"done": DONE}}}, key="k")
    assert "1 of 1 item failed, and 0 may" in str(LocalRuntime(flow).start(flow, "1").error)
    again = step(key="again", rounds=Rounds(1), events=("done",))(lambda _: Again())
    flow = type("Again", (Workflow,), {"start_at": again, "transitions": {again: {"done": DONE}}}, key="k")
    assert "it has had 1 round of 1, and" in str(LocalRuntime(flow).start(flow, "1").error)


ASKING = """
from hephaestus import DONE, Workflow
from hephaestus.steps import ChildWorkflow, Map, Repeat, WaitForEvent

ask = WaitForEvent("yes", "no", name="ask")


class Asking(Workflow, key="asking"):
    start_at = ask
    transitions = {ask: {"yes": DONE, "no": DONE}}


class Everyone(Workflow, key="everyone"):
    every = Map(Asking, over=lambda ctx: [{}] * 5, chunk=2, name="every")
    start_at = every
    transitions = {every: {"done": DONE}}
"""


def test_a_run_answers_the_workflows_that_parts_of_a_map_wait_for(tmp_path: Path) -> None:
    """They are in the tree of the instance that has the map, wherever they are started."""
    (tmp_path / "asking_flow.py").write_text(ASKING)
    answers = [part for _ in range(5) for part in ("--event", "yes")]
    done = CliRunner().invoke(app, ["run", f"{tmp_path}/asking_flow.py:Everyone", *answers, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["steps"]["every"]["results"]["completed"] == 5


@pytest.mark.parametrize("chunk", [100, 2])
def test_an_instance_of_an_item_is_shown_with_its_map_and_key(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever its derived id is: lists, lines and holders of limits, its history, reasons, and the log of ``dev``."""
    one = Concurrency("one", 1, held="step")

    @step(key="pack", limits=[one])
    def pack(_: StepContext) -> Pending:
        return Pending()

    class Parcel(Workflow, key="parcel"):
        start_at = pack
        transitions = {pack: {"done": DONE}}

    made = Map(
        Parcel, over=lambda _: [{"data": "x" * 3_000}] * 3, key=lambda _: next(keys), chunk=chunk, name="parcels"
    )
    keys = iter(["rome", "oslo", "kyiv"])
    flow = type("Order", (Workflow,), {"start_at": made, "transitions": {made: {"done": DONE}}}, key="order")
    said: list[str] = []
    monkeypatch.setattr(logging.getLogger(readable_log.NAME), "log", lambda _, text, *about: said.append(text % about))
    telemetry.attach("shown", readable_log.tell, readable_log.SAID)
    try:
        local = LocalRuntime(flow, Parcel)
        shown = local.start(flow, "1", {})
    finally:
        telemetry.detach("shown")
    see = Seen(local, monkeypatch)
    places = {f"parcels[{key}] of order::1" for key in ("rome", "oslo", "kyiv")}
    children = {item.child: f"parcels[{item.key}] of order::1" for item in local.runner.items(shown.id, made).items}
    assert set(children.values()) == places
    listed = see("list", "--parent", shown.id)
    limits = see("limits", "show", "one")
    for child, place in children.items():
        assert re.search(f"{child} .*\n *{re.escape(place)}\\b", listed)
        assert f"{child} ({place}) pack" in limits
        assert f"started Parcel v1  at {place}" in see("history", str(child))
    child, place = next(iter(children.items()))
    assert f"{child} ({place})  pack waits" in said
    held, line = (getattr(local.runner.limits("one").items[0], name) for name in ("holders", "line"))
    assert {children[one["id"]] for one in (*held, *line)} == places
    assert {f"{one['path']} of {one['root']}" for one in (*held, *line)} == places
    waits = str(local.runner.why(line[0]["id"]))
    assert f"oldest holder {held[0]['id']} ({children[held[0]['id']]}) for " in waits
    assert f"the workflow of item {place[8:12]} ({child}): pack waits for" in str(local.runner.why(shown.id))
    assert " of " not in see("list"), "a root is nowhere"


def test_a_list_without_children_reads_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its ids look like: what is no child and has none is not read for its place."""

    @step
    def work(_: StepContext) -> str:
        """Do nothing."""
        return "done"

    flow = type("Plain", (Workflow,), {"start_at": work, "transitions": {work: {"done": DONE}}}, key="plain")
    local = LocalRuntime(flow)
    local.start(flow, "0" * 32, {})
    read: list[str] = []
    table = type(local.store.table)
    whole = table.get_many

    def get_many(self: Any, keys: Any, attributes: Any) -> Any:
        read.extend(attributes)
        return whole(self, keys, attributes)

    monkeypatch.setattr(table, "get_many", get_many)
    assert [one.id for one in local.runner.list().items] == [f"plain::{'0' * 32}"]
    assert "status" in read
    assert "first" not in read
