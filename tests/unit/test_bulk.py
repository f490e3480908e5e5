"""One command for many instances: which they are, what is skipped, what happens once, and where it goes on."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from hephaestus import DONE, Retry, Schedule, StepContext, Workflow, step
from hephaestus.console.embedded import LocalConnection
from hephaestus.errors import BadRequest, CorruptLog, StoreUnavailable
from hephaestus.operations import bulk
from hephaestus.operations.advice import NoCredentials
from hephaestus.operations.bulk import Bulk, Outcome, Report, Target, find, meant, read_rate
from hephaestus.runtime.queries import read_filter
from hephaestus.steps import ChildWorkflow, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.runtime.commands import Command

gate = WaitForEvent("go", name="gate")
broken = [True]


@step(retry=Retry(max_attempts=1))
def work(ctx: StepContext) -> str:
    """Fail as long as something is broken."""
    if broken[0]:
        raise ConnectionError
    return "done"


class Order(Workflow, key="order"):
    """Waits, then works."""

    start_at = gate
    transitions = {gate: {"go": work}, work: {"done": DONE}}
    schedules = [Schedule("nightly", "0 2 * * *")]


class Family(Workflow, key="family"):
    """Waits for an order."""

    start_at = ChildWorkflow(Order, context=lambda _: {}, name="child")
    transitions = {start_at: {"done": DONE}}


class Slept:
    """The clock of an operation, which sleeping sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """The time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Slept:
    """Time that passes in sleep alone; one thread."""
    slept = Slept()
    monkeypatch.setattr(bulk, "time", slept)
    monkeypatch.setattr(bulk, "WORKERS", 1)
    broken[0] = True
    return slept


@pytest.fixture
def local(clock: Slept) -> LocalRuntime:
    """Twelve orders, of which the even ones have failed, and one that is a child."""
    local = LocalRuntime(Order, Family)
    for number in range(12):
        local.start(Order, str(number))
        local.advance(timedelta(seconds=1))
        if number % 2 == 0:
            local.resume(f"order::{number}", "go")
    local.start(Family, "parent")
    return local


WANTED: Final = {"workflow": "Order"}


class Watched(LocalConnection):
    """A connection that counts what it has done, and fails as asked."""

    def __init__(self, local: LocalRuntime, fails: Callable[[Command], object] = lambda _: None) -> None:
        super().__init__(local.runner, by="ann")
        self.local = local
        self.fails = fails
        self.asked: list[str] = []

    def do(self, command: Command) -> dict[str, Any]:
        """Do it, and what follows from it."""
        self.fails(command)
        self.asked.append(command.instance_id)  # type: ignore[attr-defined]  # all of them have one
        return super().do(command)


def operation(connection: LocalConnection, action: str, *, name: str = "op", rate: float = 20, **filters: Any) -> Bulk:
    """An operation on orders."""
    wanted = meant(action, read_filter(**{**WANTED, **filters}))
    members = {"redrive": {}, "unpause": {}}.get(action, {"reason": "the carrier is down"})
    return Bulk(connection, action, wanted, members, name, rate)


def run(one: Bulk, cursor: str | None = None, tell: Callable[[Outcome], object] = lambda _: None) -> Report:
    """Do all of it."""
    return one.run(list(find(one.deployed, one.wanted, cursor)), tell)


def test_failed_instances_are_redriven_and_no_others(local: LocalRuntime) -> None:
    broken[0] = False
    connection = Watched(local)
    report = run(operation(connection, "redrive"))
    assert (report.found, report.done, report.skipped, report.failed, report.ended) == (6, 6, [], [], "")
    assert connection.asked == [f"order::{number}" for number in range(10, -2, -2)]
    local.settle()
    assert {local.runner.get(f"order::{number}").status for number in range(0, 12, 2)} == {"completed"}
    assert {local.runner.get(f"order::{number}").status for number in range(1, 12, 2)} == {"waiting"}


def test_children_and_schedules_are_left_out(local: LocalRuntime) -> None:
    """Rule D.6: children are steered by their root; a schedule has commands of its own."""
    local.runner.declare_schedules()
    local.settle()
    one = operation(LocalConnection(local.runner), "cancel", workflow=None, status=["waiting"])
    found = {target.id for target in find(one.deployed, one.wanted)}
    assert found == {"family::parent", *(f"order::{number}" for number in range(1, 12, 2))}
    for asked in ({"children": True}, {"parent": "family::parent"}):
        with pytest.raises(BadRequest, match="steered by their root"):
            meant("cancel", read_filter(workflow="Order", **asked))


def test_an_operation_says_which_instances_are_meant() -> None:
    """Nothing is cancelled because somebody forgot an option."""
    with pytest.raises(BadRequest, match="for every instance"):
        meant("cancel", read_filter())
    assert meant("cancel", read_filter(tag="eu")).statuses == ["pending", "running", "waiting"]
    assert meant("redrive", read_filter(workflow="Order")).statuses == ["failed"]
    assert meant("redrive", read_filter(status="cancelled")).statuses == ["cancelled"]


def test_started_before_a_time(local: LocalRuntime) -> None:
    """``until`` is a filter of every listing."""
    third = local.runner.get("order::3").created_at
    one = operation(LocalConnection(local.runner), "cancel", until=third)
    assert [target.id for target in find(one.deployed, one.wanted)] == ["order::1"]
    assert [
        shown.id for shown in local.runner.list(until=third, since=local.runner.get("order::1").created_at).items
    ] == [
        "order::2",
        "order::1",
    ]
    page = local.runner.list(until=third, limit=1)
    assert [shown.id for shown in page.items] == ["order::2"]
    assert [shown.id for shown in local.runner.list(until=third, limit=2, cursor=page.cursor).items] == [
        "order::1",
        "order::0",
    ]


def test_what_has_changed_meanwhile_is_skipped(local: LocalRuntime) -> None:
    """Rule J.2: found in one state and met in another, or in another generation."""
    one = operation(Watched(local), "cancel")
    targets = list(find(one.deployed, one.wanted))
    local.runner.cancel("order::1")
    local.runner.cancel("order::3")
    local.start(Order, "3")
    local.runner.cancel("order::5")
    local.runner.delete("order::5")
    report = one.run(targets, lambda _: None)
    assert report.done == 3
    assert {told.id: told.why for told in report.skipped} == {
        "order::1": "it is cancelled now",
        "order::3": "it was started again meanwhile",
        "order::5": "there is no instance order::5",
    }
    assert local.runner.get("order::3").status == "waiting"


def test_what_is_paused_is_not_paused_again(local: LocalRuntime) -> None:
    local.runner.pause("order::1", "by hand")
    assert {told.why for told in run(operation(Watched(local), "pause")).skipped} == {"it is paused already"}
    local.runner.unpause("order::3")
    report = run(operation(Watched(local), "unpause"))
    assert (report.done, [told.why for told in report.skipped]) == (5, ["it is not paused"])


def test_what_waits_for_its_workflow_may_be_paused_by_itself(local: LocalRuntime) -> None:
    """And outlasts that (J.1); what a person has paused is unpaused, whatever the reason says."""
    local.runner.pause_workflow(Order)
    local.advance(timedelta(seconds=15))
    local.resume("order::1", "go")
    assert {told.id for told in run(operation(Watched(local), "unpause", status=["waiting"])).skipped} >= {"order::1"}
    assert run(operation(Watched(local), "pause", status=["waiting"])).skipped == []
    local.runner.unpause_workflow(Order)
    local.settle()
    assert local.runner.get("order::1").paused == "the carrier is down"
    local.runner.unpause("order::1")
    local.runner.pause("order::3", "workflow Order is paused by mistake")
    assert "order::3" not in {told.id for told in run(operation(Watched(local), "unpause", name="two")).skipped}


def test_the_same_operation_again_does_nothing_twice(local: LocalRuntime) -> None:
    """It failed again meanwhile: only an operation of another name redrives it again."""
    assert run(operation(Watched(local), "redrive")).done == 6
    local.settle()
    before = len(local.runner.history("order::2"))
    assert run(operation(Watched(local), "redrive")).done == 6
    local.settle()
    assert len(local.runner.history("order::2")) == before
    assert run(operation(Watched(local), "redrive", name="another")).done == 6
    local.settle()
    assert len(local.runner.history("order::2")) > before


@pytest.mark.parametrize("at", range(1, 6))
def test_ctrl_c_says_where_it_goes_on(local: LocalRuntime, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Whenever it is pressed: what was begun ends and is counted, the rest is done by the same operation, each once."""
    monkeypatch.setattr(bulk, "MAX_LIMIT", 2)
    connection, seen = Watched(local), []

    def press(told: Outcome) -> None:
        seen.append(told.id)
        if len(seen) == at:
            raise KeyboardInterrupt

    cut = run(operation(connection, "cancel"), tell=press)
    assert (cut.ended, cut.done, cut.seen) == ("interrupted", at, at)
    rest = run(operation(connection, "cancel"), cursor=cut.cursor)
    assert (rest.ended, rest.cursor) == ("", None)
    assert sorted(connection.asked) == sorted(f"order::{number}" for number in range(1, 12, 2))
    assert cut.done + rest.done == 6


def test_no_more_than_the_rate(local: LocalRuntime, clock: Slept) -> None:
    times = []
    run(operation(Watched(local, lambda _: times.append(clock.now)), "cancel", rate=0.5))
    assert times == [0, 2, 4, 6, 8, 10]


def test_a_passing_fault_is_asked_again(local: LocalRuntime, clock: Slept) -> None:
    left = [StoreUnavailable("no answer")] * 3

    def fails(command: Command) -> None:
        if left:
            raise left.pop()

    report = run(operation(Watched(local, fails), "cancel"))
    assert (report.done, report.failed) == (6, [])
    assert clock.now >= 3.5


def test_where_nobody_answers_it_ends_early(local: LocalRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that expired fail for all: the rest is left for later, and what was not done is not lost."""
    monkeypatch.setattr(bulk, "MOST_FAILURES", 3)
    connection = Watched(local)

    def expired(command: Command) -> None:
        if len(connection.asked) == 2:
            message = "expired"
            raise NoCredentials(message)

    connection.fails = expired
    report = run(operation(connection, "cancel"))
    assert (report.done, len(report.failed), report.ended) == (2, 3, "expired")
    connection.fails = lambda _: None
    report = run(operation(connection, "cancel"), cursor=report.cursor)
    assert (report.done, report.ended) == (4, "")


def test_one_that_cannot_be_read_holds_up_no_other(local: LocalRuntime) -> None:
    def fails(command: Command) -> None:
        if command.instance_id == "order::7":  # type: ignore[attr-defined]  # it has one
            message = "damaged"
            raise CorruptLog(message)

    report = run(operation(Watched(local, fails), "cancel"))
    assert (report.done, [(told.id, told.why) for told in report.failed]) == (5, [("order::7", "damaged")])


def test_several_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than there are workers, and each once."""
    monkeypatch.setattr(bulk, "WORKERS", 4)
    under_way, most, done = set(), [0], []

    class Slow:
        def get(self, instance_id: str) -> dict[str, Any]:
            under_way.add(instance_id)
            most[0] = max(most[0], len(under_way))
            time.sleep(0.002)
            return {"generation": 1, "status": "waiting"}

        def do(self, command: Command) -> dict[str, Any]:
            done.append(command.instance_id)  # type: ignore[attr-defined]  # it has one
            under_way.discard(command.instance_id)  # type: ignore[attr-defined]  # as above
            return {}

    targets = [Target(f"order::{number}", 1, "waiting", None) for number in range(200)]
    wanted = meant("cancel", read_filter(workflow="Order"))
    report = Bulk(Slow(), "cancel", wanted, {}, "op", 1000).run(targets, lambda _: None)  # type: ignore[arg-type]  # it lists nothing
    assert (report.done, sorted(done)) == (200, sorted(target.id for target in targets))
    assert 1 < most[0] <= 4


@pytest.mark.parametrize(
    ("text", "rate"),
    [("20/s", 20), ("90/m", 1.5), ("90/min", 1.5), ("360/h", 0.1), ("360/hour", 0.1), ("20/sec", 20), ("2.5", 2.5)],
)
def test_rates(text: str, rate: float) -> None:
    """Written as the rates of limits are, which ``limits set`` takes."""
    assert read_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "0", "0/s", "-1/s", "20/d", "20/mi", "1001/s", "many", "1e3", "0.5/h"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(BadRequest, match="is no rate"):
        read_rate(text)
