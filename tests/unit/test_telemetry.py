"""What is told while instances run: the family's events, with their fields, when they are true, and once."""

from __future__ import annotations

import logging
import re
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Completed, Pending, Retry, StepContext, Workflow, step, telemetry
from hephaestus.errors import StoreUnavailable
from hephaestus.runtime.dispatch import InPlace
from hephaestus.runtime.registry import Registry
from hephaestus.steps import Wait, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hephaestus.engine.events import Entry
    from hephaestus.engine.state import State
    from hephaestus.writes import Write

Heard = tuple[str, dict[str, float], dict[str, Any]]

INSTANCE = {"instance_id", "workflow", "workflow_version", "version", "generation", "created_at"}
STEP = INSTANCE | {"step", "step_key", "attempt", "compensation"}
STORY = {"kind", "reason", "stacktrace"}
FAMILY: dict[str, tuple[set[str], set[str]]] = {
    "workflow.start": ({"system_time"}, INSTANCE | {"initial_step", "context_keys", "runner"}),
    "workflow.stop": (
        {"system_time", "duration", "step_count", "advance_count"},
        INSTANCE | {"status", "completed_steps", "runner"},
    ),
    "workflow.exception": (
        {"system_time", "duration", "step_count", "advance_count"},
        INSTANCE | STORY | {"status", "completed_steps", "runner", "failed_step"},
    ),
    "workflow.transition": (
        {"system_time", "targets_count"},
        INSTANCE | {"from_step", "event", "targets", "fan_out"},
    ),
    "step.start": ({"system_time"}, STEP | {"concurrent", "active_steps_count"}),
    "step.stop": (
        {"system_time", "duration"},
        STEP | {"event", "has_context_updates", "has_metadata_updates", "transitions_to"},
    ),
    "step.exception": ({"system_time", "duration"}, STEP | STORY | {"error", "will_retry", "retry_at"}),
    "step.async": ({"system_time", "duration"}, STEP | {"instance_status"}),
    "step.resume": ({"system_time", "wait_duration"}, STEP | {"resume_event", "source"}),
    "engine.advance": (
        {"duration", "active_steps_count", "completed_in_advance"},
        INSTANCE | {"status_before", "status_after", "iteration"},
    ),
    "runner.init": ({"system_time"}, {"name", "runner", "storage", "pid"}),
}


class Listener:
    """Everything that was told, in its order."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []

    def __call__(self, event: str, measurements: Any, metadata: Any) -> None:
        """Keep it."""
        self.heard.append((event.removeprefix("hephaestus."), dict(measurements), dict(metadata)))

    def of(self, *events: str) -> list[dict[str, Any]]:
        """The metadata of the events of these names."""
        return [metadata for event, _, metadata in self.heard if event in events]

    def numbers(self, event: str) -> list[dict[str, float]]:
        """The measurements of the events of a name."""
        return [measurements for name, measurements, _ in self.heard if name == event]

    def story(self) -> list[str]:
        """What happened, but for the looks of the engine, as ``event step``."""
        return [
            " ".join([event, *(str(metadata[key]) for key in ("step", "from_step") if key in metadata)])
            for event, _, metadata in self.heard
            if event not in {"engine.advance", "runner.init"}
        ]


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A handler of all of the family's events."""
    listening = Listener()
    telemetry.attach("test", listening)
    yield listening
    telemetry.detach("test")


@step(events=("done",))
def begin(ctx: StepContext) -> Completed:
    """Leave something."""
    return Completed("done", {"n": 1}, {"note": "kept"})


@step
def left(ctx: StepContext) -> str:
    """Do one half."""
    return "done"


@step
def right(ctx: StepContext) -> str:
    """Do the other half."""
    return "done"


ask = WaitForEvent("yes", "no", name="ask", timeout=timedelta(hours=1))


class Forking(Workflow, key="forking", metadata={"team": "sales"}):
    """A fan-out, a fan-in and a wait."""

    start_at = begin
    transitions = {
        begin: {"done": [left, right]},
        left: {"done": ask},
        right: {"done": ask},
        ask: {"yes": DONE, "no": DONE, "timeout": DONE},
    }


def test_a_whole_story_is_told_in_its_order_each_thing_once(listener: Listener) -> None:
    local = LocalRuntime(Forking)
    local.start(Forking, "1", {"b": 1, "a": 2})
    waited = listener.story()
    assert waited[:4] == ["workflow.start", "step.start begin", "step.stop begin", "workflow.transition begin"]
    assert sorted(waited[4:10]) == sorted(
        f"{event} {side}" for side in ("left", "right") for event in ("step.start", "step.stop", "workflow.transition")
    )
    assert waited[10:] == ["step.start ask", "step.async ask"]
    local.advance(timedelta(minutes=30))
    local.resume("forking::1", "yes")
    assert listener.story()[len(waited) :] == ["step.resume ask", "workflow.stop"]
    (start,), (stop,) = listener.of("workflow.start"), listener.of("workflow.stop")
    assert (start["initial_step"], start["context_keys"], start["runner"]) == ("begin", ("a", "b"), "Runner")
    first, *both, last = stop["completed_steps"]
    assert (stop["status"], first, sorted(both), last) == ("completed", "begin", ["left", "right"], "ask")
    assert listener.numbers("workflow.stop")[0]["duration"] == timedelta(minutes=30) / timedelta(milliseconds=1)
    assert listener.numbers("step.resume")[0]["wait_duration"] == timedelta(minutes=30) / timedelta(milliseconds=1)
    assert [told["concurrent"] for told in listener.of("step.start")] == [False, True, True, False]
    assert listener.of("step.resume")[0]["source"] == "external"
    first = listener.of("workflow.transition")[0]
    assert (first["targets"], first["fan_out"]) == (("left", "right"), True)
    assert listener.numbers("workflow.transition")[0]["targets_count"] == 2
    assert listener.of("step.stop")[0]["has_metadata_updates"] is True


def test_a_wait_that_times_out_is_resumed_by_the_timeout(listener: Listener) -> None:
    local = LocalRuntime(Forking)
    local.start(Forking, "1")
    local.advance(timedelta(hours=2))
    (resume,) = listener.of("step.resume")
    assert (resume["resume_event"], resume["source"]) == ("timeout", "timeout")


def test_an_event_that_came_early_is_told_when_it_is_taken(listener: Listener) -> None:
    local = LocalRuntime(Forking)
    local.runner.start_instance(Forking, {}, id="1")
    local.runner.resume("forking::1", "no")
    assert listener.of("step.resume") == []
    local.settle()
    (resume,) = listener.of("step.resume")
    assert (resume["resume_event"], resume["source"]) == ("no", "external")
    assert listener.story()[-4:] == ["step.start ask", "step.async ask", "step.resume ask", "workflow.stop"]


def test_each_look_of_the_engine_is_told(listener: Listener) -> None:
    LocalRuntime(Forking).start(Forking, "1")
    looks = listener.of("engine.advance")
    assert [look["iteration"] for look in looks] == list(range(1, len(looks) + 1))
    assert {look["status_after"] for look in looks} <= {"running", "waiting"}
    assert sum(numbers["completed_in_advance"] for numbers in listener.numbers("engine.advance")) == 0
    LocalRuntime(Forking)
    assert listener.of("runner.init")[0]["storage"] == "MemoryStore"


# --- Failures ---


@step(retry=Retry(max_attempts=3, delay=timedelta(minutes=1)))
def flaky(ctx: StepContext) -> str:
    """Fail as often as asked for."""
    if ctx.attempt <= ctx.initial["failures"]:
        message = f"attempt {ctx.attempt} of a secret"
        raise ValueError(message)
    return "done"


def undo_begin(ctx: StepContext) -> None:
    """Fail to undo at the first attempt."""
    if ctx.attempt == 1:
        message = "not yet"
        raise ConnectionError(message)


@step(compensate=undo_begin)
def book(ctx: StepContext) -> str:
    """Do what can be undone."""
    return "done"


class Failing(Workflow, key="failing"):
    """Fails, and undoes what it did."""

    start_at = book
    transitions = {book: {"done": flaky}, flaky: {"done": DONE}}


class Routed(Workflow, key="routed"):
    """Routes its failure."""

    start_at = flaky
    transitions = {flaky: {"done": DONE, "error": left}, left: {"done": DONE}}


def test_every_failed_attempt_is_told_with_its_story(listener: Listener) -> None:
    local = LocalRuntime(Routed)
    local.start(Routed, "1", {"failures": 2})
    local.advance(timedelta(hours=1))
    failed = listener.of("step.exception")
    assert [(told["attempt"], told["kind"], told["will_retry"]) for told in failed] == [
        (1, "ValueError", True),
        (2, "ValueError", True),
    ]
    assert failed[0]["reason"] == "attempt 1 of a secret"
    assert "raise ValueError(message)" in failed[0]["stacktrace"]
    assert isinstance(failed[0]["error"], ValueError)
    assert [told["attempt"] for told in listener.of("step.start")] == [1, 2, 3]
    assert [told["attempt"] for told in listener.of("step.stop")] == [3]


def test_a_failure_that_is_routed_is_an_exception_and_a_transition(listener: Listener) -> None:
    local = LocalRuntime(Routed)
    local.start(Routed, "1", {"failures": 9})
    local.advance(timedelta(hours=1))
    assert [told["step"] for told in listener.of("step.stop")] == ["left"]
    last = listener.of("step.exception")[-1]
    assert (last["attempt"], last["kind"], last["will_retry"]) == (3, "ValueError", False)
    assert "raise ValueError(message)" in last["stacktrace"]
    assert [told["event"] for told in listener.of("workflow.transition")] == ["error"]


def test_compensation_is_told_as_steps_that_compensate(listener: Listener) -> None:
    local = LocalRuntime(Failing)
    local.start(Failing, "1", {"failures": 9})
    local.advance(timedelta(hours=1))
    undone = [(event, told["attempt"]) for event, _, told in listener.heard if told.get("compensation")]
    assert undone == [("step.start", 1), ("step.exception", 1), ("step.start", 2), ("step.stop", 2)]
    (ended,) = listener.of("workflow.exception", "workflow.stop")
    assert (ended["status"], ended["failed_step"], ended["kind"]) == ("failed", "flaky", "ValueError")


def test_a_redriven_instance_is_told_to_end_again_but_not_to_start(listener: Listener) -> None:
    local = LocalRuntime(Failing)
    local.start(Failing, "1", {"failures": 9})
    local.advance(timedelta(hours=1))
    local.runner.redrive("failing::1")
    local.advance(timedelta(hours=1))
    ends = [event for event, _, _ in listener.heard if event.startswith("workflow.") and "trans" not in event]
    assert ends == ["workflow.start", "workflow.exception", "workflow.exception"]
    local.runner.redrive("failing::1", request_id="again")
    local.runner.redrive("failing::1", request_id="again")
    local.advance(timedelta(hours=1))
    assert len(listener.of("workflow.exception")) == 3


# --- Control ---


def test_a_cancelled_instance_is_told_to_stop_once_whoever_closes_it(listener: Listener) -> None:
    local = LocalRuntime(Forking)
    local.start(Forking, "1")
    local.runner.cancel("forking::1", request_id="r")
    local.runner.cancel("forking::1", request_id="r")
    local.settle()
    assert [told["status"] for told in listener.of("workflow.stop")] == ["cancelled"]
    assert "duration" in listener.numbers("workflow.stop")[0]


def test_a_cancel_while_a_step_runs_is_told_by_its_owner(listener: Listener) -> None:
    local: LocalRuntime

    @step
    def cancels(ctx: StepContext) -> str:
        local.runner.cancel(ctx.instance.id)
        return "done"

    class Cancelling(Workflow, key="cancelling"):
        start_at = cancels
        transitions = {cancels: {"done": left}, left: {"done": DONE}}

    local = LocalRuntime(Cancelling)
    local.start(Cancelling, "1")
    assert listener.story() == [
        *("workflow.start", "step.start cancels", "step.stop cancels", "workflow.transition cancels", "workflow.stop")
    ]
    assert listener.of("workflow.stop")[0]["status"] == "cancelled"


def test_a_cancel_with_compensation_is_told(listener: Listener) -> None:
    local = LocalRuntime(Failing)
    local.start(Failing, "1", {"failures": 1})
    local.runner.cancel("failing::1", compensate=True)
    local.advance(timedelta(hours=1))
    assert [told["status"] for told in listener.of("workflow.stop")] == ["cancelled"]
    assert [told["step"] for told in listener.of("step.stop") if told["compensation"]] == ["book"]


def test_a_fork_starts_and_says_of_what(listener: Listener) -> None:
    local = LocalRuntime(Forking)
    local.start(Forking, "1")
    before = len(listener.heard)
    local.runner.fork("forking::1", new_id="2")
    local.settle()
    forked = [told for _, _, told in listener.heard[before:] if told.get("instance_id") == "forking::2"]
    (start,) = [told for told in listener.of("workflow.start") if told["instance_id"] == "forking::2"]
    assert start["forked_from"].startswith("forking::1")
    assert not [told for told in forked if told.get("step") == "begin"]


def test_the_same_start_made_again_is_told_once(listener: Listener) -> None:
    local = LocalRuntime(Forking)
    for _ in range(2):
        local.runner.start_instance(Forking, {}, id="1", start_id="same")
        local.advance(timedelta(milliseconds=1))
    going = InPlace(local.budget())
    for _ in range(2):
        local.runner.start_instance(Forking, {}, id="2", start_id="other", dispatch=going)
        local.clock.sleep(1)
    assert len(listener.of("workflow.start")) == 2


# --- Races and crashes ---


class Meddling:
    """A store's ``commit`` before which somebody else writes."""

    def __init__(self, local: LocalRuntime, meddle: Any) -> None:
        self.local, self.meddle = local, meddle
        self.commit = local.store.commit
        local.store.commit = self  # type: ignore[method-assign]  # a fault, put in its place

    def __call__(self, after: State, entry: Entry, writes: Sequence[Write] = ()) -> State | None:
        """Let others write first, once, before the entry that suspends."""
        if self.meddle and any(type(event).__name__ == "Suspended" for event in entry.events):
            meddle, self.meddle = self.meddle, None
            meddle()
        return self.commit(after, entry, writes)


def test_what_is_decided_again_because_another_writer_was_faster_is_told_once(listener: Listener) -> None:
    local = LocalRuntime(Forking)
    Meddling(local, lambda: local.runner.resume("forking::1", "yes"))
    local.start(Forking, "1")
    told = Counter(listener.story())
    assert told["step.start ask"] == told["step.async ask"] == told["step.resume ask"] == 1
    assert told["workflow.stop"] == 1


def test_nothing_is_told_that_was_not_committed(listener: Listener) -> None:
    """The owner dies at the commit of a step's result: what is told is that it began, and later that it was spent."""
    local = LocalRuntime(Forking)
    commit = local.store.commit

    def fails(after: State, entry: Entry, writes: Sequence[Write] = ()) -> State | None:
        if any(type(event).__name__ == "StepCompleted" for event in entry.events):
            message = "gone"
            raise StoreUnavailable(message)
        return commit(after, entry, writes)

    local.store.commit = fails  # type: ignore[method-assign]  # a fault, put in its place
    local.runner.start_instance(Forking, {}, id="1")
    with pytest.raises(StoreUnavailable):
        local.settle()
    assert listener.story() == ["workflow.start", "step.start begin"]
    local.store.commit = commit  # type: ignore[method-assign]  # a fault, put in its place
    local.advance(timedelta(hours=1))
    local.sweep()
    local.advance(timedelta(hours=1))
    (spent,) = listener.of("step.exception")
    assert (spent["step"], spent["kind"], spent["attempt"]) == ("begin", "Interrupted", 1)
    assert [told["attempt"] for told in listener.of("step.stop") if told["step"] == "begin"] == [2]


# --- Fields ---


@step(events=("done", "timeout"))
def external(ctx: StepContext) -> Pending:
    """Leave it to others."""
    return Pending(timeout=timedelta(minutes=5))


pause = Wait(hours=1, name="pause")


class Everything(Workflow, key="everything"):
    """Has something of everything happen."""

    start_at = begin
    transitions = {
        begin: {"done": [left, flaky]},
        left: {"done": external},
        flaky: {"done": external},
        external: {"done": pause, "timeout": pause},
        pause: {"done": DONE},
    }


def test_every_event_has_the_fields_of_the_family(listener: Listener) -> None:
    """And none that a caller's metadata might have taken."""
    local = LocalRuntime(Everything, Failing, Forking)
    local.start(Everything, "1", {"failures": 1})
    local.start(Failing, "1", {"failures": 9})
    local.start(Forking, "1")
    local.resume("forking::1", "yes")
    local.advance(timedelta(days=1))
    assert {event for event, _, _ in listener.heard} == set(FAMILY)
    for event, measurements, metadata in listener.heard:
        numbers, fields = FAMILY[event]
        assert measurements.keys() == numbers, event
        assert all(isinstance(number, (int, float)) for number in measurements.values()), event
        assert metadata.keys() - {"team", "note"} == fields, event
        assert fields <= telemetry.FIELDS
    assert sorted(telemetry.EVENTS) == sorted(f"hephaestus.{event}" for event in FAMILY)


def test_the_documented_fields_are_those_of_the_events() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "telemetry.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z.]+)` +\|[^|]*\|([^|]*)\|([^|]*)\|$", text, re.MULTILINE)
    written = {
        event: (set(re.findall(r"`(\w+)`", numbers)), set(re.findall(r"`(\w+)`", fields)) - {"external", "timeout"})
        for event, numbers, fields in rows
    }
    assert written == {event: (numbers, fields - STEP) for event, (numbers, fields) in FAMILY.items()}


def test_a_callers_metadata_is_told_with_every_event_and_overrides_nothing(listener: Listener) -> None:
    """Not even a field that an event happens not to have: what is called `step` is a step."""
    local = LocalRuntime(Forking)
    forged = dict.fromkeys(telemetry.FIELDS, "forged")
    local.runner.start_instance(Forking, {}, id="1", telemetry_metadata={**forged, "request_id": "r-1"})
    local.settle()
    local.resume("forking::1", "yes")
    told = [metadata for event, _, metadata in listener.heard if event != "runner.init"]
    assert len(told) > 15
    assert all(metadata["request_id"] == "r-1" and metadata["team"] == "sales" for metadata in told)
    assert not [metadata for metadata in told if "forged" in metadata.values()]
    assert all(metadata["instance_id"] == "forking::1" for metadata in told)


# --- Handlers ---


def test_a_handler_that_fails_is_detached_and_stops_no_instance(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> None:
        message = "broken"
        raise RuntimeError(message)

    telemetry.attach("broken", broken)
    try:
        assert LocalRuntime(Failing).start(Failing, "1", {"failures": 0}).status == "completed"
    finally:
        telemetry.detach("broken")
    assert [record.getMessage() for record in caplog.records if record.name == "hephaestus.telemetry"] == [
        "telemetry handler 'broken' failed on hephaestus.runner.init and is detached"
    ]


def test_a_parked_instance_is_told_with_what_is_known_of_it() -> None:
    heard: list[dict[str, Any]] = []
    local = LocalRuntime(Forking)
    local.runner.start_instance(Forking, {}, id="1")
    local.runner.registry = Registry([Failing])
    telemetry.attach("mine", lambda _event, _numbers, about: heard.append(dict(about)), [telemetry.PARKED])
    try:
        local.settle()
    finally:
        telemetry.detach("mine")
    assert [(told["instance_id"], told["workflow"], told["version"]) for told in heard] == [
        ("forking::1", "Forking", 1)
    ]


def test_a_defect_in_telling_stops_no_instance(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("hephaestus.runtime.announce._Telling.completed", lambda *_: 1 / 0)
    with caplog.at_level(logging.ERROR):
        assert LocalRuntime(Failing).start(Failing, "1", {"failures": 0}).status == "completed"
    assert "instance failing::1: entry 3 could not be told of" in caplog.text


def test_an_unknown_event_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"unknown telemetry event\(s\) hephaestus\.nope: there are hephaestus\."):
        telemetry.attach("test", lambda *_: None, ["hephaestus.nope"])


def test_executions_are_told_beside_the_familys_events_to_who_asks() -> None:
    heard: list[tuple[str, Any]] = []
    telemetry.attach("mine", lambda event, _, about: heard.append((event, about.get("outcome"))), telemetry.OURS)
    try:
        LocalRuntime(Forking).start(Forking, "1")
    finally:
        telemetry.detach("mine")
    assert heard == [(telemetry.EXECUTION_START, None), (telemetry.EXECUTION_STOP, "waiting")]
