"""One activation kills its Lambda among innocents: it alone fails (rule A.2, and test I.6)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Retry, StepContext, Workflow, step, testing
from hephaestus.definition.step import Choice
from hephaestus.errors import EngineSignal
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.definition.step import Step
    from hephaestus.runtime.attempt import Outcome

INNOCENTS = 15
PATIENT = Retry(max_attempts=3, delay=timedelta(seconds=2), jitter="none", backoff="constant")


class Killed(EngineSignal):
    """The process is gone."""


class OneByOne:
    """Attempts that are under way together and come to their end one after the other, the last started first."""

    def __init__(self, _clock: object) -> None:
        self._begun: list[Callable[[], Outcome]] = []

    def start(self, attempt: Callable[[], Outcome]) -> None:
        """Have it under way."""
        self._begun.append(attempt)

    def wait(self, _timeout_ms: int | None) -> list[Outcome]:
        """The next outcome."""
        return [self._begun.pop()()]


@pytest.fixture(autouse=True)
def _one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "_Workers", OneByOne)


class Scene:
    """A fan-out of a killer among innocents.

    Attributes:
        calls: the attempts that were begun, by step.
        alone: which of them began with nothing else under way.
    """

    def __init__(self, kills: int = 1_000, **killer: Any) -> None:
        self.kills = kills
        self.calls: dict[str, list[int]] = {}
        self.killer = step(key="killer", **{"retry": PATIENT, **killer})(self.kill)
        self.join = self.innocent("join")
        self.innocents = [self.innocent(f"i{number}") for number in range(INNOCENTS)]

    def innocent(self, key: str, **options: Any) -> Step:
        """A step that completes."""

        def act(ctx: StepContext) -> str:
            self._note(ctx)
            return "done"

        return step(key=key, **options)(act)

    def flow(self, others: list[Step] | None = None, **members: Any) -> type[Workflow]:
        """The workflow: the killer stands in the middle."""
        found = self.innocents if others is None else others
        half = len(found) // 2
        branches = [*found[:half], self.killer, *found[half:]]
        start, join = self.innocent("start"), self.join
        transitions: dict[Any, Any] = {start: {"done": branches}, join: {"done": DONE}}
        transitions |= {one: {"done": join} for one in branches}
        checkpoint = members.pop("checkpoint", "steps")
        transitions[self.killer] = {"done": join} | members.pop("routes", {})
        transitions |= members.pop("more", {})
        body = {"start_at": start, "transitions": transitions, **members}
        made: type[Workflow] = type("Killing", (Workflow,), body, key="killing", checkpoint=checkpoint)
        return made

    def _note(self, ctx: StepContext) -> list[int]:
        calls = self.calls.setdefault(ctx.idempotency_key.rsplit(":", 1)[1], [])
        calls.append(ctx.attempt)
        return calls

    def kill(self, ctx: StepContext) -> str:
        if len(self._note(ctx)) <= self.kills:
            raise Killed
        return "done"


def ended(flow: type[Workflow], act: Callable[[LocalRuntime], object] | None = None) -> tuple[LocalRuntime, Any]:
    """What becomes of an instance; ``act`` is called once, after the first death and before anyone has noticed."""
    local = LocalRuntime(flow)
    calls: list[Callable[[], object]] = [lambda: local.start(flow, "k")]
    for _ in range(40):
        try:
            calls.pop()() if calls else local.advance(timedelta(minutes=1))
        except Killed:
            local.clock.sleep(16 * 60_000)
            if act is not None:
                act(local)
                act = None
            calls.append(local.sweep)
        if local.runner.get("killing::k").closed:
            break
    return local, local.runner.get("killing::k")


def told(local: LocalRuntime) -> list[dict[str, Any]]:
    """Every event of the history."""
    return [dict(event) for entry in local.runner.history("killing::k") for event in entry.events]


def test_the_killer_alone_fails() -> None:
    """Rule A.2: with 16 under way no attempt is spent, however often the process dies; alone, one each time."""
    scene = Scene()
    local, shown = ended(scene.flow())
    assert (shown.status, shown.steps["killer"].status) == ("failed", "failed")
    assert scene.calls["killer"] == [1, 1, 2, 3], "the first death spends nothing"
    assert {shown.steps[one.key].status for one in scene.innocents} == {"completed"}
    assert all(set(scene.calls[one.key]) == {1} for one in scene.innocents), "no innocent spends an attempt"
    failed = [event for event in told(local) if event["type"] == "StepFailed"]
    assert [(event["step"], event["attempt"]) for event in failed] == [("killer", 1), ("killer", 2), ("killer", 3)]
    assert "it ran alone" in failed[0]["error"]["message"]


def test_history_names_what_runs_alone() -> None:
    """All that was under way, once; after that only what died alone."""
    scene = Scene(kills=2)
    local, shown = ended(scene.flow())
    assert shown.status == "completed"
    isolated = [event["steps"] for event in told(local) if event["type"] == "StepsIsolated"]
    assert sorted(isolated[0]) == sorted([*(one.key for one in scene.innocents if one.key in isolated[0]), "killer"])
    assert isolated[1:] == [("killer",)]


def test_isolation_outlives_the_second_death() -> None:
    """Each death before the killer's turn comes leaves the others isolated: two never run at once."""
    scene, other = Scene(kills=2), Scene(kills=2)
    scene.innocents[3] = other.killer
    scene.killer, scene.innocents[12] = step(key="second", retry=PATIENT)(scene.kill), scene.innocents[4]
    _, shown = ended(scene.flow(scene.innocents[:12]))
    assert shown.status == "completed"
    assert (scene.calls["second"], other.calls["killer"]) == ([1, 1, 2], [1, 2, 3])
    assert all(set(scene.calls[one.key]) == {1} for one in scene.innocents[4:12])


def test_what_runs_at_most_once_has_failed_with_the_others() -> None:
    """Rule A.2: it may have run; where the killer itself is such a step, it dies once."""
    scene = Scene(kills=1)
    scene.innocents[-1] = scene.innocent("letter", semantics="at_most_once")
    scene.innocents[-1], scene.innocents[0] = scene.innocents[0], scene.innocents[-1]
    _, shown = ended(scene.flow())
    assert (shown.status, shown.steps["letter"].status, shown.steps["letter"].attempt) == ("failed", "failed", 1)
    assert "it ran beside others" in shown.steps["letter"].error["message"]
    scene = Scene(semantics="at_most_once", retry=None)
    _, shown = ended(scene.flow())
    assert (shown.status, scene.calls["killer"]) == ("failed", [1])
    assert all(set(calls) == {1} for calls in scene.calls.values())


def test_a_choice_that_kills_is_the_attempt_that_it_ends() -> None:
    """Rule A.2: its step alone fails."""

    def pick(_: StepContext) -> Any:
        raise Killed

    scene = Scene(kills=0)
    chosen = scene.innocent("chosen")
    flow = scene.flow(routes={"done": Choice(pick, [chosen, scene.join])}, more={chosen: {"done": scene.join}})
    _, shown = ended(flow)
    assert (shown.status, shown.steps["killer"].status) == ("failed", "failed")
    assert scene.calls["killer"] == [1, 1, 2, 3]
    assert all(set(scene.calls[one.key]) == {1} for one in scene.innocents)


def test_isolation_outlives_a_pause_and_shows() -> None:
    """What waits for its turn is shown, and that it runs alone."""
    scene = Scene(kills=1)
    seen: list[Any] = []

    def pause(local: LocalRuntime) -> None:
        local.runner.pause("killing::k")
        local.sweep()
        seen.append(local.runner.get("killing::k"))
        local.runner.unpause("killing::k")

    _, shown = ended(scene.flow(), pause)
    (paused,) = seen
    alone = [key for key, one in paused.steps.items() if one.alone]
    assert "killer" in alone
    assert {paused.steps[key].status for key in alone} == {"pending"}
    assert shown.status == "completed"
    assert not any(one.alone for one in shown.steps.values())


@pytest.mark.parametrize("ahead", [0, 3])
def test_the_killer_alone_fails_where_results_are_written_at_boundaries(ahead: int) -> None:
    """Rule E.1: the first death names none, the next the killer, also where it comes after steps without a commit."""
    calls: dict[str, list[int]] = {}

    def act(ctx: StepContext) -> str:
        key = ctx.idempotency_key.rsplit(":", 1)[1]
        calls.setdefault(key, []).append(ctx.attempt)
        if key == "killer":
            raise Killed
        return "done"

    keys = [*(f"s{number}" for number in range(ahead)), "killer", "last"]
    steps = [step(key=key, retry=PATIENT)(act) for key in keys]
    routes = zip(steps, [*steps[1:], DONE], strict=True)
    body: dict[str, Any] = {"start_at": steps[0], "transitions": {one: {"done": after} for one, after in routes}}
    flow: type[Workflow] = type("Late", (Workflow,), body, key="killing", checkpoint="boundaries")
    _, shown = ended(flow)
    assert (shown.status, shown.steps["killer"].status) == ("failed", "failed")
    assert calls["killer"] == [1, 1, 2, 3]
    assert all(calls[f"s{number}"] == [1, 1] for number in range(ahead))


def test_the_killer_among_innocents_alone_fails_at_boundaries() -> None:
    """Rule E.1 with rule A.2."""
    scene = Scene()
    _, shown = ended(scene.flow(checkpoint="boundaries"))
    assert (shown.status, shown.steps["killer"].status) == ("failed", "failed")
    assert scene.calls["killer"] == [1, 1, 1, 2, 3], "named by none, then with all, then alone"
    assert all(set(scene.calls[one.key]) == {1} for one in scene.innocents)
