"""What is told is what the log says, whatever goes wrong: nothing else, nothing twice, and without faults all of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import telemetry
from hephaestus.engine.events import (
    CompensationFailed,
    Failure,
    InstanceFinished,
    InstanceStarted,
    OnFailureCompleted,
    OnFailureFailed,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepWaiting,
)
from hephaestus.simulation import NO_FAULTS, Faults, Finished, simulate
from hephaestus.store.store import Store
from tests.property.random_flows import TABLES, flow, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hephaestus.engine.events import Entry
    from hephaestus.engine.state import State
    from hephaestus.writes import Write

FAILED = "hephaestus.step.exception"
THROUGH = "through"
RUNS = 300
FLOWS = 100


class Witness:
    """What one run told, and what its store took."""

    def __init__(self) -> None:
        self.told: Counter[tuple[object, ...]] = Counter()
        self.log: dict[tuple[str, int, int], Entry] = {}
        self.transitions = 0
        self.wrong: list[str] = []

    def hear(self, event: str, _measurements: Any, about: Any) -> None:
        """Keep what was told; a runner that is made begins another run."""
        if event == "hephaestus.runner.init":
            self.told.clear()
            self.log.clear()
            return
        whose = (about["instance_id"], about["generation"])
        match event.removeprefix("hephaestus."):
            case "workflow.start":
                self.told[(*whose, "start")] += 1
            case "workflow.stop" | "workflow.exception":
                self.told[(*whose, "end", about["status"])] += 1
                if (about["status"] == "failed") != event.endswith("exception"):
                    self.wrong.append(f"{event} of status {about['status']}")
            case "workflow.transition":
                self.told[(*whose, "transition", about["from_step"], about["event"], tuple(about["targets"]))] += 1
                self.transitions += 1
            case "step.async" | "step.exception":
                self.told[(*whose, event, about["step"], about["attempt"], about["compensation"])] += 1
            case "step.stop" if about["compensation"]:
                self.told[(*whose, event, about["step"], about["attempt"], True)] += 1
            case "step.stop" | "step.resume":
                self.told[(*whose, THROUGH, about["step"], about["attempt"])] += 1
            case _:
                pass

    def written(self) -> Counter[tuple[object, ...]]:
        """The same, as the log has it."""
        found: Counter[tuple[object, ...]] = Counter()
        for (instance_id, generation, _), entry in self.log.items():
            for event in entry.events:
                found.update((instance_id, generation, *line) for line in _lines(event))
        return found


def _lines(event: object) -> list[tuple[object, ...]]:
    """What an event of the log has told; a failure that is routed completes its step, and is told as a failure."""
    lines: list[tuple[object, ...]] = []
    match event:
        case InstanceStarted():
            lines = [("start",)]
        case InstanceFinished(status=status):
            lines = [("end", status)]
        case StepWaiting(step=step, attempt=attempt):
            lines = [("hephaestus.step.async", step, attempt, False)]
        case StepFailed(step=step, attempt=attempt) | OnFailureFailed(step=step, attempt=attempt):
            lines = [(FAILED, step, attempt, False)]
        case CompensationFailed(step=step, attempt=attempt):
            lines = [(FAILED, step, attempt, True)]
        case StepCompensated(step=step, attempt=attempt):
            lines = [("hephaestus.step.stop", step, attempt, True)]
        case StepCompleted(step=step, attempt=attempt, failed=Failure()):
            lines = [(FAILED, step, attempt, False)]
        case StepCompleted(step=step, attempt=attempt) | OnFailureCompleted(step=step, attempt=attempt):
            lines = [(THROUGH, step, attempt)]
        case _:
            pass
    if isinstance(event, StepCompleted) and event.taken:
        lines.append(("transition", event.step, event.event, event.taken))
    return lines


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Witness]:
    """A handler of every event, and a store that remembers what it took."""
    seen = Witness()
    create, commit = Store.create, Store.commit

    def note_create(
        self: Store, state: State, first: Entry, finish: Callable[[State], object], *, over: bool = True
    ) -> State | None:
        found = create(self, state, first, finish, over=over)
        if found is not None and found.sequence == 1:
            seen.log.setdefault((found.instance_id, found.generation, 1), first)
        return found

    def note_commit(self: Store, after: State, entry: Entry, writes: Sequence[Write] = ()) -> State | None:
        done = commit(self, after, entry, writes)
        if done is not None:
            seen.log[after.instance_id, after.generation, entry.sequence] = entry
        return done

    monkeypatch.setattr(Store, "create", note_create)
    monkeypatch.setattr(Store, "commit", note_commit)
    telemetry.attach("witness", seen.hear)
    yield seen
    telemetry.detach("witness")


def resumed(told: Counter[tuple[object, ...]]) -> Counter[tuple[object, ...]]:
    """The steps of which it was told that what they waited for came, though it was their failure."""
    return Counter(
        {line: told[line] for line in told if line[2] == THROUGH and told[*line[:2], FAILED, *line[3:], False]}
    )


@pytest.mark.parametrize("faults", [NO_FAULTS, Faults()], ids=["no faults", "every fault"])
def test_what_is_told_is_what_the_log_says_and_nothing_twice(witness: Witness, faults: Faults) -> None:
    """With faults, an invocation may die between a commit and its telling; without, all of it is told."""
    runs = 0

    def check(_: Finished) -> None:
        nonlocal runs
        runs += 1
        written = witness.written()
        told = witness.told - resumed(witness.told)
        assert not told - written, "told, but not written"
        if faults == NO_FAULTS:
            assert not written - witness.told, "written, but not told"
        assert not witness.wrong

    for seed in range(RUNS):
        simulate(flow(seed % FLOWS), plan, seed=seed, tables=TABLES, faults=faults, check=check)
    assert runs == RUNS
    assert witness.transitions > RUNS


def test_nobody_who_listens_changes_what_happens(witness: Witness) -> None:
    """A run is decided by its seed alone, whether it is told of or not."""

    def outcome(seed: int) -> tuple[Any, ...]:
        kept: list[Any] = []
        simulate(flow(seed % FLOWS), plan, seed=seed, tables=TABLES, check=lambda run: kept.append(run.instances))
        return tuple(kept)

    heard = [outcome(seed) for seed in range(20)]
    telemetry.detach("witness")
    assert [outcome(seed) for seed in range(20)] == heard
