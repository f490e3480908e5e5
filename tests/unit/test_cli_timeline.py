"""``history`` as text: where an error was raised, whichever event carries it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from hephaestus import DONE, Retry, StepContext, Workflow, step
from hephaestus.cli.timeline import Timeline, raised_at
from hephaestus.console.embedded import LocalConnection
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from tests.unit.rendered import rendered

HERE = Path(__file__).name
ONCE = Retry(max_attempts=1)
TWICE = Retry(max_attempts=2, delay=timedelta(seconds=1), jitter="none", backoff="constant")


def burst() -> None:
    """Raise."""
    message = "out of paper"
    raise OSError(message)


def undo(ctx: StepContext) -> None:
    """Fail to undo."""
    burst()


@step(compensate=undo)
def begin(ctx: StepContext) -> str:
    """Do something that cannot be undone."""
    return "done"


@step(retry=TWICE)
def route(ctx: StepContext) -> str:
    """Fail twice; the transitions route it."""
    burst()
    return "done"


@step(retry=ONCE)
def stop(ctx: StepContext) -> str:
    """Fail for good."""
    burst()
    return "done"


class Printing(Workflow, key="printing"):
    """Every kind of failure: retried, routed, for good, and of a compensation."""

    retry = ONCE
    start_at = begin
    transitions = {begin: {"done": route}, route: {"done": DONE, "error": stop}, stop: {"done": DONE}}


def test_history_says_where_every_kind_of_failure_was_raised() -> None:
    """Retried, routed, for good, of a compensation: each with its line, this file's."""
    local = LocalRuntime(Printing)
    local.start(Printing, "1")
    local.advance(timedelta(minutes=10))
    assert local.runner.get("printing::1").status == "failed"
    entries = LocalConnection(local.runner).history("printing::1")["items"]
    kinds: dict[str, int] = {}
    for entry in entries:
        timeline = Timeline(120)
        for event in entry["events"]:
            failure = event.get("error") or event.get("failed")
            if failure and failure.get("trace"):
                said = rendered(*timeline.lines({**entry, "events": [event]}))
                if event["type"] in ("CompensationStarted", "InstanceFinished"):
                    assert "raised at" not in said  # it stands with the attempt that failed
                    continue
                line = burst.__code__.co_firstlineno + 3
                assert f"{HERE}:{line} in burst" in said.replace("\n", "").replace(" " * 33, "")
                assert "attempt.py" not in said
                kinds[event["type"]] = kinds.get(event["type"], 0) + 1
    assert kinds["StepFailed"] == 2  # the first attempt of route, and stop
    assert kinds["StepCompleted"] == 1  # route's second attempt, which is routed
    assert kinds["CompensationFailed"] >= 1


def test_whole_traces_are_shown_when_they_are_asked_for() -> None:
    trace = '  File "/app/orders.py", line 12, in charge\n    raise ValueError(x)\n'
    event = {"type": "StepFailed", "step": "charge", "error": {"type": "ValueError", "message": "no", "trace": trace}}
    entry = {"sequence": 1, "at": "2026-01-31T12:00:00Z", "events": [event]}
    assert "raise ValueError(x)" in rendered(*Timeline(120, traces=True).lines(entry))
    said = rendered(*Timeline(120).lines(entry))
    assert "raised at /app/orders.py:12 in charge" in said
    assert "raise ValueError(x)" not in said


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([("/a/b.py", 3, "f")], "raised at /a/b.py:3 in f"),
        ([("/a/b.py", 3, "f"), ("/c.py", 9, "g")], "raised at /c.py:9 in g\ncalled from /a/b.py:3 in f"),
        (
            [("/x/hephaestus/runtime/attempt.py", 80, "__call__"), ("/a/b.py", 3, "f")],
            "raised at /a/b.py:3 in f",
        ),
        ([("/x/hephaestus/runtime/attempt.py", 80, "_read")], "raised at /x/hephaestus/runtime/attempt.py:80 in _read"),
        (
            [("/x/hephaestus/definition/step.py", 196, "execute"), ("/opt/python/workflows/orders.py", 3, "charge")],
            "raised at workflows/orders.py:3 in charge",
        ),
        ([("/x/lambda-1/layer_1/python/own/a.py", 3, "f")], "raised at own/a.py:3 in f"),
        ([("C:\\app\\b.py", 3, "<lambda>")], "raised at C:\\app\\b.py:3 in <lambda>"),
        ([("/a/\x1b[31m.py", 3, "f")], "raised at /a/\\x1b[31m.py:3 in f"),
        ([], ""),
    ],
)
def test_a_trace_is_told_by_its_last_frames_but_the_engine_s(frames: list[tuple[str, int, str]], said: str) -> None:
    trace = "".join(f'  File "{file}", line {line}, in {name}\n    code()\n' for file, line, name in frames)
    assert raised_at(trace) == said


def test_waits_that_time_out_are_no_failures() -> None:
    """A routed deadline is an event like others: history shows no error for it."""
    wait = WaitForEvent("go", timeout=timedelta(minutes=1), name="wait")

    class Waiting(Workflow, key="waiting"):
        start_at = wait
        transitions = {wait: {"go": DONE, "timeout": DONE}}

    local = LocalRuntime(Waiting)
    local.start(Waiting, "1")
    local.advance(timedelta(minutes=2))
    shown = local.runner.get("waiting::1")
    assert (shown.status, shown.steps["wait"].event, shown.steps["wait"].error) == ("completed", "timeout", None)
    assert "failed" not in str(LocalConnection(local.runner).history("waiting::1"))


def test_a_step_that_stands_in_line_is_said_to() -> None:
    """With the limits that it waits for, and nothing raw."""
    about = {"sequence": 2, "at": "2026-01-01T00:00:00Z"}
    needs = [{"limit": "stripe", "number": 1}, {"limit": "bank", "number": 2}]
    queued = {"type": "StepQueued", "step": "charge", "attempt": 1, "needs": needs}
    taken = {"type": "PermitsTaken", "step": "charge", "attempt": 1, "grants": []}
    said = rendered(*Timeline(120).lines({**about, "events": [queued, taken]}))
    assert "charge stands in line for stripe, bank" in said
    assert "charge has its permits" in said


def test_a_step_that_waits_for_its_rates_is_said_to() -> None:
    """When it starts, or for which rate it stands in line."""
    about = {"sequence": 2, "at": "2026-01-01T00:00:00Z"}
    paces = [{"limit": "openai", "every": 1, "burst": 1, "cost": 1}]
    own = {"step": "ask", "attempt": 1, "paces": paces}
    times = [{"type": "StartReserved", "start_at": f"2026-01-01T00:00:{second}Z", **own} for second in ("12", "00")]
    said = rendered(*Timeline(120).lines({**about, "events": [{"type": "StartQueued", **own}, *times]}))
    assert "ask stands in line for openai" in said
    assert "ask starts in 12 s, as openai allows" in said
    assert "ask starts at once, as openai allows" in said
