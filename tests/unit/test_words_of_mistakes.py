"""Mistakes that are easy to make end with what to do, and never as if nothing had been wrong."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

from hephaestus import DONE, Completed, Step, StepContext, Workflow, step, use
from hephaestus.aws import BadSettings
from hephaestus.cli.app import app
from hephaestus.cli.terminal import Session
from hephaestus.cli.timeline import Timeline
from hephaestus.console.embedded import LocalConnection
from hephaestus.errors import DefinitionError, UnexpectedEvent, UnknownStep
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.unit.rendered import rendered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLOW = """
from hephaestus import DONE, Workflow
from hephaestus.steps import WaitForEvent

approval = WaitForEvent("approved", "rejected", name="approval")

class Asked(Workflow, key="k"):
    start_at = approval
    transitions = {approval: {"approved": DONE, "rejected": DONE}}
"""
w = WaitForEvent("go", name="w")


class Waits(Workflow, key="waits"):
    """It waits, and asks for no heartbeat."""

    start_at = w
    transitions = {w: {"go": DONE}}


@pytest.fixture
def asked(tmp_path: Path) -> str:
    """The path of a workflow that waits for an approval."""
    path = tmp_path / "asked_flow.py"
    path.write_text(FLOW)
    return str(path)


@pytest.mark.parametrize("event", ["aproval=approved", "approval=aproved", "aproved", 'aproval=approved:{"n":1}'])
def test_run_rejects_answers_that_no_step_takes(asked: str, event: str) -> None:
    done = CliRunner().invoke(app, ["run", asked, "--event", "approval=approved", "--event", event])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "approv" in done.stderr


def test_run_asks_again_after_a_typo(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter(["aproved", "approved:{", "approved"])
    monkeypatch.setattr(Session, "interactive", True)
    monkeypatch.setattr(typer, "prompt", lambda *_, **__: next(said))
    done = CliRunner().invoke(app, ["run", asked])
    assert done.exit_code == 0, done.output
    assert "'aproved' is none of them" in done.stderr
    assert not list(said)


@pytest.mark.parametrize("name", ["x.png", "x.svgz", "x.txt"])
def test_graph_writes_no_file_whose_ending_is_no_format(tmp_path: Path, name: str) -> None:
    done = CliRunner().invoke(app, ["graph", "workflows:OrderFlow", "-o", str(tmp_path / name)])
    assert (done.exit_code, (tmp_path / name).exists()) == (2, False)
    assert ".svg" in done.stderr


def test_history_says_that_a_compensation_starts() -> None:
    """Also where the entry in which the undoing began is not shown."""

    def undo(ctx: StepContext) -> None:
        """Undo nothing."""

    @step(compensate=undo)
    def reserve(ctx: StepContext) -> str:
        return "done"

    class Undone(Workflow, key="undone"):
        start_at = reserve
        transitions = {reserve: {"done": w}, w: {"go": DONE}}

    local = LocalRuntime(Undone)
    shown = local.start(Undone, "1")
    local.runner.cancel(shown.id, compensate=True)
    local.settle()
    entries = LocalConnection(local.runner).history(shown.id, limit=100)["items"]
    timeline = Timeline(100)
    said = [rendered(*timeline.lines(entry)) for entry in entries]
    starts = [text for text in said if "starts" in text]
    assert "starts reserve" in starts[0]
    assert all("starts the compensation of reserve" in text for text in starts[1:])
    assert len(starts) > 1
    later = Timeline(100)
    begun = next(
        n for n, entry in enumerate(entries) if any(e["type"] == "CompensationStarted" for e in entry["events"])
    )
    for entry in entries[: begun + 1]:
        later.skip(entry)
    assert "starts reserve" not in "".join(rendered(*later.lines(entry)) for entry in entries[begun + 1 :])


def test_a_version_under_a_text_is_told_to_write_a_number() -> None:
    with pytest.raises(DefinitionError, match="Write the key as 1"):
        type("Umbrella", (Workflow,), {}, versions={"1": Waits})


def test_two_unnamed_waits_are_told_to_have_names() -> None:
    one, two = WaitForEvent("x"), WaitForEvent("x")
    with pytest.raises(DefinitionError, match="a name of its own"):
        type("Two", (Workflow,), {"start_at": one, "transitions": {one: {"x": two}, two: {"x": DONE}}}, key="k")


def test_a_fork_with_results_of_no_step_and_a_heartbeat_for_a_plain_wait() -> None:
    local = LocalRuntime(Waits)
    shown = local.start(Waits, "1")
    with pytest.raises(UnknownStep, match="has no step 'nope'; it has w"):
        local.runner.fork(shown.id, new_id="2", results={"nope": {}})
    with pytest.raises(UnexpectedEvent, match="step w waits, and its wait asks for no heartbeat"):
        local.runner.heartbeat(shown.id, "w")


@pytest.fixture
def _no_runner(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("HEPHAESTUS_TABLE", raising=False)
    use(None)
    yield
    use(None)


@pytest.mark.usefixtures("_no_runner")
def test_without_a_runner_the_way_to_one_in_a_test_is_said() -> None:
    with pytest.raises(BadSettings, match=r"connect\('shop'\) .*use\(LocalRuntime\(YourWorkflow\).runner\)"):
        Waits.start("1")


@pytest.mark.parametrize("given", [(), ([Waits],), ("Waits",), (Waits, None), (Workflow,), (Step,)])
def test_a_local_runtime_of_no_workflow_is_a_type_error(given: Any) -> None:
    with pytest.raises(TypeError, match="give workflow classes, each as an argument of its own"):
        LocalRuntime(*given)


@dataclass
class Line:
    """A part of a result."""

    sku: str


@dataclass(frozen=True)
class Receipt:
    """A result."""

    number: int
    lines: tuple[Line, ...] = ()


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_dataclass_is_the_result_of_its_fields(*, wrapped: bool) -> None:
    @step
    def pay(ctx: StepContext) -> Any:
        receipt: Any = Receipt(7, (Line("anvil"),))
        return Completed("done", receipt) if wrapped else receipt

    class Paid(Workflow, key="paid"):
        start_at = pay
        transitions = {pay: {"done": DONE}}

    shown = LocalRuntime(Paid).start(Paid, "1")
    assert shown.status == "completed", shown.error
    assert json.loads(json.dumps(shown.steps["pay"].results, default=list)) == {
        "number": 7,
        "lines": [{"sku": "anvil"}],
    }
