"""Invocations that die at any call to the outside: nothing is lost, nothing is doubled, every instance ends.

Time is virtual. ``Crash`` is raised before or after a call to the store, a schedule or the queue, as a Lambda would die
there; messages and schedules are lost, doubled or late as drawn. Afterwards faults stop, and the sweeper does the rest.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from hephaestus.errors import HephaestusError
from hephaestus.runtime.dispatch import Budget, Enqueue, InPlace
from hephaestus.runtime.runner import Runner
from hephaestus.testing import LocalRuntime
from tests.unit.flows import Early, Order, Routed, TwoWaits

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus import Workflow


class Crash(BaseException):
    """The process is gone."""


class Faulty:
    """Passes calls on, and dies before or after some of them."""

    def __init__(self, inner: Any, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if name not in ("create", "load", "append", "tail", "schedule", "cancel", "wake"):
            return attribute

        def call(*args: Any, **options: Any) -> Any:
            fault = self._faults.next()
            if fault == "before":
                raise Crash
            answer = attribute(*args, **options)
            if fault == "after":
                raise Crash
            return answer

        return call


class Faults:
    """Which call fails how; none when it is used up."""

    def __init__(self, drawn: list[str]) -> None:
        self.drawn = drawn

    def next(self) -> str:
        """What happens to the next call."""
        return self.drawn.pop(0) if self.drawn else "none"


def faulty_runner(local: LocalRuntime, trouble: Faults) -> Runner:
    """A runner over the same memory, whose calls to the outside die as drawn."""
    outside = [Faulty(port, trouble) for port in (local.store, local.timers, local.queue)]
    return Runner(*outside, local.runner.registry, clock=local.clock)


def surviving(call: Callable[[], object]) -> bool:
    """Whether ``call`` came to its end: an answer, or a refusal."""
    try:
        call()
    except Crash:
        return False
    except HephaestusError:
        return True
    return True


# By workflow: the start data, and the events that lead it to its end.
STORIES: dict[type[Workflow], tuple[dict[str, Any], list[tuple[str, str]]]] = {
    Order: ({"items": [1, 2]}, [("approved", "approval")]),
    TwoWaits: ({}, [("go", "first"), ("halt", "second")]),
    Early: ({}, [("yes", "later")]),
    Routed: ({"ways": ["left", "right"]}, []),
}

faults = st.lists(st.sampled_from(["none", "none", "none", "before", "after"]), max_size=40)


@given(
    flow=st.sampled_from(list(STORIES)),
    drawn=faults,
    going=st.sampled_from(["enqueue", "in place", "slice"]),
    lose=st.lists(st.sampled_from(["deliver", "lose", "double"]), max_size=10),
)
def test_invariants_1_2_3_and_5_hold_whatever_dies(  # noqa: C901 - one story, from the first fault to the last event
    flow: type[Workflow], drawn: list[str], lose: list[str], going: str
) -> None:
    """Linear log, each step once, an end for every instance, every acknowledged event consumed once."""
    context, events = STORIES[flow]
    trouble = Faults(list(drawn))
    local = LocalRuntime(Order, TwoWaits, Early, Routed)
    timers, queue = local.timers, local.queue
    local.runner = faulty_runner(local, trouble)
    instance_id = f"{flow.business_key.name}::x"

    def dispatch() -> Any:
        if going == "slice":
            return InPlace(Budget(local.budget().deadline, start_until=local.clock.now()))
        return InPlace(local.budget()) if going == "in place" else Enqueue()

    def deliver() -> None:
        fate = lose.pop(0) if lose else "deliver"
        messages = queue.pop_due(local.clock.now()) * {"deliver": 1, "lose": 0, "double": 2}[fate]
        fired = timers.pop_due(local.clock.now()) * {"deliver": 1, "lose": 0, "double": 2}[fate]
        for woken in messages:
            surviving(lambda woken=woken: local.runner.wake(woken, budget=local.budget()))  # type: ignore[misc]  # mypy infers no type for its default
        for timeout in fired:
            surviving(lambda timeout=timeout: local.fire(timeout))  # type: ignore[misc]  # mypy infers no type for its default

    for attempt in range(60):
        if surviving(lambda: local.runner.start_instance(flow, context, id="x", start_id="s", dispatch=dispatch())):
            break
        assert attempt < 59, "the start never came to its end"
    deliver()
    acknowledged = []
    for number, (event, step) in enumerate(events):
        for _ in range(60):
            try:
                local.runner.resume(
                    instance_id, event, {"n": number}, step=step, event_id=f"e{number}", dispatch=dispatch()
                )
            except Crash:
                deliver()
            else:
                acknowledged.append((step, event))
                break
        deliver()

    trouble.drawn.clear()
    lose.clear()
    for _ in range(400):
        local.clock.sleep(16 * 60_000)
        local.sweeper.sweep(local.budget())
        deliver()
        if local.runner.get(instance_id).closed:
            break
    ended = local.runner.get(instance_id)
    assert ended.status == "completed", "invariant 3"
    entries = local.runner.history(instance_id, limit=200).items
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1)), "invariant 1"
    happened = [event for entry in entries for event in entry.events]
    completed = Counter(event["step"] for event in happened if event["type"] == "StepCompleted")
    assert set(completed.values()) == {1}, "invariant 2"
    received = Counter(event["event_id"] for event in happened if event["type"] == "EventReceived")
    assert set(received.values()) <= {1}, "invariant 5: applied once"
    for step, event in acknowledged:
        assert ended.steps[step].event == event, "invariant 5: not lost"
