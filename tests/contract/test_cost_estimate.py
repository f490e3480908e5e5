"""What ``hephaestus cost`` says is what the runtime spends (measured on Amazon's DynamoDB Local)."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Pending, StepContext, Workflow, step
from hephaestus.adapters.memory import MemoryQueue, MemoryTimers
from hephaestus.costs import Counts, Plan, plan_of, play
from hephaestus.handlers.http.describe import describe
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.dispatch import Budget, Enqueue, InPlace
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.steps import WaitForEvent
from hephaestus.testing import VirtualClock
from tests.contract.test_cost import chain
from tests.costs import Meter
from workflows import Onboarding

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus import Instance
    from tests.contract.conftest import Dynamo


@step(events=("good", "bad"))
def check(ctx: StepContext) -> str:
    return "good"


@step
def pack(ctx: StepContext) -> str:
    return "done"


@step
def tell(ctx: StepContext) -> str:
    return "done"


@step
def send(ctx: StepContext) -> str:
    return "done"


class Decision(WaitForEvent):
    """A wait with code of its own, so that its start is committed."""

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Pending:
        """Wait as long as the context says."""
        return Pending(timeout=self.wait_timeout)


decision = Decision("yes", "no", timeout=timedelta(days=2), name="decision")


class Parcel(Workflow, key="orderid"):
    """Steps side by side, a wait with a deadline, dead paths; every item stays below a KB."""

    start_at = check
    transitions = {
        check: {"good": [pack, tell], "bad": DONE},
        pack: {"done": decision},
        tell: {"done": decision},
        decision: {"yes": send, "no": DONE, "timeout": DONE},
        send: {"done": DONE},
    }


def estimated(workflow: type[Workflow], **plan: Any) -> Counts:
    """What is said of the newest version."""
    newest = describe(workflow)["versions"][-1]
    return play(newest, plan_of(workflow.definition(newest["version"]), Plan(**plan)))


class Clock(VirtualClock):
    """A virtual clock whose names are its own: the database knows the tokens of all tables for ten minutes."""

    def unique(self) -> str:
        """As the machine's."""
        return SystemClock().unique()


class Table:
    """Instances on the database, moved on as Lambda does."""

    def __init__(self, local: Dynamo, workflow: type[Workflow], *, queued: bool) -> None:
        self.clock = Clock()
        self.queue, self.timers = MemoryQueue(self.clock), MemoryTimers()
        self.meter = Meter(local.table, local.beside())
        self.runner = Runner(local.store(), self.timers, self.queue, Registry([workflow]), clock=self.clock)
        self.queued = queued
        self.invocations = 0

    @property
    def budget(self) -> Budget:
        """A whole invocation."""
        return Budget(self.clock.now() + 600_000)

    def ask(self, call: Any, *arguments: Any, **more: Any) -> None:
        """Start or resume, and do what the queue says."""
        self.invocations += 1
        self.clock.sleep(1_000)  # whatever is committed at another time shows another time in the listing
        call(*arguments, **more, dispatch=Enqueue() if self.queued else InPlace(self.budget))
        self.deliver()

    def deliver(self) -> None:
        """Deliver what is due."""
        for work in self.queue.pop_due(self.clock.now()):
            self.invocations += 1
            self.clock.sleep(100)
            self.runner.wake(work.instance_id, budget=self.budget)
        for timeout in self.timers.pop_due(self.clock.now()):
            self.invocations += 1
            self.runner.timeout(timeout, budget=self.budget)

    def spent(self) -> tuple[dict[str, int], float, int]:
        """Requests, write units and invocations."""
        counted: dict[str, int] = {}
        for operation in self.meter.operations:
            counted[operation] = counted.get(operation, 0) + 1
        return counted, self.meter.units, self.invocations


def spent(counts: Counts) -> tuple[dict[str, int], float, int]:
    """The same of an estimate."""
    return dict(counts.requests), counts.write_units, counts.invocations


@pytest.mark.parametrize(("queued", "units"), [(False, 18), (True, 22)])
def test_ten_linear_steps(local: Dynamo, queued: bool, units: int) -> None:
    """In place 12 requests and 18 write units; by the queue one message more, and what a wake-up costs."""
    workflow = chain(10)
    table = Table(local, workflow, queued=queued)
    table.ask(table.runner.start_instance, workflow, {"order": "abc123"}, id="abc123")
    assert spent(estimated(workflow, queued=queued)) == table.spent()
    assert table.spent()[1] == units


@pytest.mark.parametrize("queued", [False, True])
def test_a_parcel_that_waits_for_a_decision(local: Dynamo, queued: bool) -> None:
    """Fan-out, fan-in, a deadline that is put off the table again, and dead paths."""
    table = Table(local, Parcel, queued=queued)
    table.ask(table.runner.start_instance, Parcel, {}, id="abc123")
    table.ask(table.runner.resume, "orderid::abc123", "yes")
    requests, units, invocations = table.spent()
    said = estimated(Parcel, queued=queued, input_bytes=0, result_bytes=0)
    # Two steps that run side by side end together, as in the estimate, or one by one: one commit more, of one unit.
    apart = {**said.requests, "PutItem": said.requests["PutItem"] + 1}
    assert (requests, units) in [(said.requests, said.write_units), (apart, said.write_units + 1)]
    assert invocations == said.invocations


def test_five_waits_for_events(local: Dynamo) -> None:
    workflow = chain(1, *(WaitForEvent("go", name=f"wait_{number}") for number in range(5)))
    table = Table(local, workflow, queued=False)
    table.ask(table.runner.start_instance, workflow, {}, id="abc123")
    for number in range(5):
        table.ask(table.runner.resume, "orderid::abc123", "go", step=f"wait_{number}")
    assert spent(estimated(workflow)) == table.spent()


def test_a_wait_for_a_time_and_an_answer_that_does_not_come(local: Dynamo) -> None:
    """The short wait comes by the queue, the deadline by a schedule."""
    table = Table(local, Onboarding, queued=False)
    table.ask(table.runner.start_instance, Onboarding, {"email": "ada@example.com"}, id="ada")
    for seconds in (5, 7 * 86_400):
        table.clock.sleep(seconds * 1000)
        table.deliver()
    said = estimated(Onboarding, events={"feedback": "timeout"})
    assert spent(said) == table.spent()
    assert (said.messages, said.schedules) == (1, 1)
