"""Failures and successes are told as they happened, whatever results, payloads and events look like.

What really happened is noted by the steps' own code and by the test that sends events; the log is not asked.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from hypothesis import given
from hypothesis import strategies as st

from hephaestus import DONE, Completed, Pending, Retry, StepContext, Workflow, step, telemetry
from hephaestus.definition.step import Choice, Step
from hephaestus.engine.codec import dump_events, load_events
from hephaestus.engine.events import StepCompleted
from hephaestus.runtime.attempt import StepTimedOut
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.definition.views import InstanceView

STOP, EXCEPTION, RESUME = "hephaestus.step.stop", "hephaestus.step.exception", "hephaestus.step.resume"
ATTEMPTS: Final = 2
SECOND: Final = timedelta(seconds=1)
QUICK: Final = Retry(max_attempts=ATTEMPTS, delay=SECOND, jitter="none", backoff="constant")
LOOKS: Final[tuple[Mapping[str, Any], ...]] = (
    {"error": {"type": "ValueError", "message": "looks like a failure"}},
    {"error": {"type": "StepTimedOut", "message": ""}},
    {"error": "text"},
    {"error": {"type": "ValueError", "message": "m", "trace": "t"}},
    {"missed": "heartbeat"},
    {},
)


@dataclass(frozen=True)
class Plan:
    """What one step does.

    Attributes:
        kind: ``runs``; or it waits: ``event``, ``deadline``, ``beats``.
        event: what it emits, or is sent; a wait without one is left to its deadline.
        look: which of ``LOOKS`` it leaves, or is sent.
        raises: how many attempts raise.
        times_out: whether it is a timeout that they raise.
        routes: whether ``error`` is routed.
        choices: the events whose ``Choice`` raises.
    """

    kind: str
    event: str | None
    look: int
    raises: int
    times_out: bool
    routes: bool
    choices: frozenset[str]


EVENT_NAMES: Final = ("done", "error", "timeout")
plans = st.lists(
    st.builds(
        Plan,
        kind=st.sampled_from(("runs", "runs", "runs", "event", "deadline", "beats")),
        event=st.sampled_from((*EVENT_NAMES, None)),
        look=st.integers(0, len(LOOKS) - 1),
        raises=st.integers(0, ATTEMPTS),
        times_out=st.booleans(),
        routes=st.booleans(),
        choices=st.frozensets(st.sampled_from(EVENT_NAMES), max_size=1),
    ),
    min_size=1,
    max_size=4,
)


class Truth:
    """What steps and their choices did, by what it is to be told as, the step and the attempt."""

    def __init__(self) -> None:
        self.raised: set[tuple[str, int]] = set()
        self.returned: set[tuple[str, int]] = set()
        self.came: dict[str, str] = {}

    def expected(self) -> Counter[tuple[Any, ...]]:
        """The same, as telemetry has it: an attempt whose ``Choice`` raised has failed."""
        stops = [(STOP, *who) for who in self.returned - self.raised]
        return Counter([*stops, *((EXCEPTION, *who) for who in self.raised)])


def _step(name: str, plan: Plan, truth: Truth) -> Step:
    if plan.kind == "event":
        return WaitForEvent(*EVENT_NAMES, name=name)
    if plan.kind == "deadline":
        return WaitForEvent("done", "error", timeout=timedelta(minutes=5), name=name)
    if plan.kind == "beats":

        def ask(ctx: StepContext) -> Pending:
            return Pending(heartbeat=timedelta(minutes=1))

        return step(key=name, events=EVENT_NAMES)(ask)

    def act(ctx: StepContext) -> Completed:
        if ctx.attempt <= plan.raises:
            truth.raised.add((name, ctx.attempt))
            raise StepTimedOut(name) if plan.times_out else ValueError(name)
        truth.returned.add((name, ctx.attempt))
        return Completed(plan.event or "done", LOOKS[plan.look])

    return step(key=name, events=EVENT_NAMES, retry=QUICK)(act)


def _raising(name: str, target: Any, truth: Truth) -> Choice:
    def choose(ctx: StepContext) -> Any:
        truth.raised.add((name, ctx.attempt))
        message = f"the Choice of {name}"
        raise LookupError(message)

    return Choice(choose, [target])


def _flow(found: list[Plan], truth: Truth) -> type[Workflow]:
    steps = [_step(f"s{n}", plan, truth) for n, plan in enumerate(found)]
    transitions: dict[Any, Any] = {}
    for n, plan in enumerate(found):
        target: Any = steps[n + 1] if n + 1 < len(steps) else DONE
        names = set(steps[n].events) | ({"timeout"} if plan.kind == "deadline" else set())
        names |= {"error"} if plan.routes and plan.kind == "runs" else set()
        transitions[steps[n]] = {
            event: _raising(f"s{n}", target, truth) if event in plan.choices else target for event in sorted(names)
        }
    members = {"start_at": steps[0], "transitions": transitions}
    made: type[Workflow] = type("Told", (Workflow,), members, key="told")
    return made


def _go_on(local: LocalRuntime, shown: InstanceView, found: list[Plan], truth: Truth) -> None:
    """Answer the step that waits, as its plan says, or let its time pass."""
    for key, about in shown.steps.items():
        if about.status == "waiting":
            plan = found[int(key[1:])]
            event = plan.event or ("done" if plan.kind == "event" else "")
            if event in about.accepts:
                truth.came[key] = event
                local.resume(shown.id, event, LOOKS[plan.look], step=key)
                return
            truth.came[key] = "timeout"
            assert about.deadline is not None
            now = datetime.fromtimestamp(local.clock.now() / 1000, UTC)
            local.advance(about.deadline - now)
            return
    local.advance(2 * SECOND)


@given(plans)
def test_exceptions_and_stops_are_those_that_happened_whatever_results_look_like(found: list[Plan]) -> None:
    """An attempt that raised is an exception, one that returned is a stop, and neither is both."""
    told: Counter[tuple[Any, ...]] = Counter()
    resumed: dict[str, str] = {}
    truth = Truth()

    def hear(event: str, _measured: Mapping[str, float], about: Mapping[str, Any]) -> None:
        if event == RESUME:
            resumed[about["step"]] = about["resume_event"]
        else:
            told[event, about["step"], about["attempt"]] += 1

    flow = _flow(found, truth)
    local = LocalRuntime(flow)
    telemetry.attach("truth", hear, (STOP, EXCEPTION, RESUME))
    try:
        shown = local.start(flow, "1")
        for _ in range(10 * len(found)):
            if shown.closed:
                break
            _go_on(local, shown, found, truth)
            shown = local.runner.get("told::1")
    finally:
        telemetry.detach("truth")
    assert shown.closed
    assert told == truth.expected()
    assert resumed == truth.came
    _check_log(local, truth)


def _check_log(local: LocalRuntime, truth: Truth) -> None:
    """The log and the view say of each completed step whether it had failed, and the bytes keep it."""
    log = local.runner.history("told::1", limit=200)
    routed = {e["step"] for entry in log for e in entry.events if e["type"] == "StepCompleted" and "failed" in e}
    shown = local.runner.get("told::1")
    completed = {key for key, about in shown.steps.items() if about.status == "completed"}
    last = {key: shown.steps[key].attempt for key in completed}
    assert routed == {key for key in completed if (key, last[key]) in truth.raised}
    assert routed == {key for key in completed if shown.steps[key].error}
    _, entries = local.store.history("told::1", None, 0, 200) or (1, ())
    done = [event for entry in entries for event in entry.events if isinstance(event, StepCompleted)]
    assert load_events(dump_events(tuple(done))) == tuple(done)
    assert not any("trace" in e.get("failed", ()) for entry in log for e in entry.events)


def test_a_declared_error_of_the_engine_s_own_shape_is_a_success() -> None:
    """The case that was reported: ``step.exception`` and no ``step.stop`` for a step that returned."""
    test = test_exceptions_and_stops_are_those_that_happened_whatever_results_look_like
    inner: Callable[[list[Plan]], None] = test.hypothesis.inner_test  # type: ignore[attr-defined]  # Hypothesis' own
    inner([Plan("runs", "error", 0, 0, times_out=False, routes=True, choices=frozenset())])
