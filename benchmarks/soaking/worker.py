"""One process of a soak that runs instances, as a Lambda would: takes a message, does it, says that it is done.

    python -m benchmarks.soaking.worker     (its orders come as one line of JSON on its standard input)

It may be killed at any moment. It ends by itself when its standard input is closed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from collections import Counter
from multiprocessing.managers import BaseManager
from random import Random
from typing import TYPE_CHECKING, Any, Final

from benchmarks.soaking import families, flows
from benchmarks.soaking.engines import Watched, dynamo_store
from benchmarks.soaking.processes import Orders
from benchmarks.soaking.scripts import NOT_YET, OK, Request
from hephaestus.errors import CallerError, NotRedrivable, RetryLater
from hephaestus.runtime import telemetry
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.dispatch import Budget, Dispatch, Enqueue, InPlace
from hephaestus.runtime.limits import Limits
from hephaestus.runtime.names import schedule_name
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.runtime.sweeper import Sweeper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.soaking.exchange import Message
    from hephaestus import Workflow
    from hephaestus.runtime.ports import Timeout
    from hephaestus.runtime.status_events import StatusEvent
    from hephaestus.store.overdue import Wakeup

LIMITS: Final = Limits(reserve_ms=1_000, margin_ms=500, lease_margin_ms=2_000, peek_ms=500)
AGAIN_MS: Final = 500  # before what the store did not answer is tried again
IN_PLACE: Final = 0.3  # of the calls run what follows in the same invocation

_logger = logging.getLogger("soak")


class Proxies(BaseManager):
    """What another process has: ``exchange()``, and ``store()`` where memory is the store."""


Proxies.register("exchange")
Proxies.register("store")


class Queue:
    """A ``WorkQueue`` and ``Timers`` on the exchange."""

    def __init__(self, exchange: Any) -> None:
        self.exchange = exchange

    def wake(self, instance_id: str, delay_ms: int = 0) -> None:
        """Have an instance continued."""
        self.exchange.send(("wake", instance_id), delay_ms)

    def wake_many(self, wakeups: Sequence[Wakeup]) -> Sequence[str]:
        """Have many continued."""
        self.exchange.wake_many([(wakeup.instance_id, wakeup.alarms) for wakeup in wakeups])
        return [wakeup.instance_id for wakeup in wakeups]

    def remove_schedule(self, timeout: Timeout) -> None:
        """Have a schedule removed."""
        self.exchange.send(("unschedule", timeout))

    def publish_later(self, event: StatusEvent) -> None:
        """Never asked for: there is no bus."""

    def depth(self, *, bulk: bool = False) -> int:
        """How many messages wait."""
        depth: int = self.exchange.depth(bulk)
        return depth

    def schedule(self, timeout: Timeout) -> str:
        """Make a schedule."""
        name: str = self.exchange.schedule(timeout)
        return name

    def name(self, timeout: Timeout) -> str:
        """The name of a timeout's schedule."""
        return schedule_name(timeout)

    def cancel(self, timeout: Timeout) -> None:
        """Remove a schedule."""
        self.exchange.unschedule(timeout)


class Invocations:
    """One thread's invocations, one after the other.

    Args:
        workflows: what it runs.
        exchange: where its messages come from.
        store: a store, or a proxy of one.
        own_table: the engine's table, if it has one.
        seconds: how long an invocation may take.
        random: decides whether a call runs in place.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a Lambda has
        self,
        workflows: Sequence[type[Workflow]],
        exchange: Any,
        store: Any,
        own_table: str | None,
        seconds: float,
        random: Random,
    ) -> None:
        self.exchange = exchange
        self.milliseconds = int(seconds * 1000)
        self.random = random
        self.counts: Counter[str] = Counter()
        queue = Queue(exchange)
        watched: Any = Watched(store, self.counts, max_value_bytes=64 * 1024, own_table=own_table)
        self.runner = Runner(watched, queue, queue, Registry(workflows), limits=LIMITS)
        self.sweeper = Sweeper(watched, queue, SystemClock(), margin_ms=500)

    def serve(self) -> None:
        """Take messages for as long as the process lives; an unexpected error ends it, as a thread less goes unseen."""
        try:
            while True:
                taken = self.exchange.take(1.0)
                if taken is not None:
                    self.invoke(*taken)
        except BaseException:
            _logger.exception("an invocation ended in an error")
            os._exit(1)

    def invoke(self, receipt: int, message: Message) -> None:
        """Do what a message says."""
        self.counts.clear()
        try:
            answer = self.do(message)
        except RetryLater as error:
            self.counts[f"not done: {type(error).__name__}"] += 1
            self.exchange.put_back(receipt, dict(self.counts), AGAIN_MS)
        else:
            if answer == "too early":
                self.exchange.put_back(receipt, dict(self.counts), NOT_YET)
            else:
                self.exchange.finish(receipt, dict(self.counts), answer)

    def do(self, message: Message) -> str | None:
        """Do it; the answer, if somebody waits for one.

        Raises:
            RetryLater: it is to be done later.
        """
        match message:
            case ("wake", str(instance_id), *alarms):
                self.runner.wake(instance_id, budget=self.budget(), alarms=alarms)
            case ("timeout", timeout):
                self.runner.timeout(timeout, budget=self.budget())
            case ("unschedule", timeout):
                self.runner.timers.cancel(timeout)
            case ("sweep",):
                self.exchange.swept(self.sweeper.sweep(self.budget()).oldest_ms)
            case ("call", _ticket, workflow, value, instance_id, request):
                return self.answer(workflow, value, instance_id, request)
        return None

    def answer(self, workflow: str, value: str, instance_id: str, request: Request) -> str:
        """Make a call: ``ok``, the name of the error, or ``too early``."""
        try:
            self.call(workflow, value, instance_id, request)
        except CallerError as error:
            name = type(error).__name__
            if name in request.too_early:
                return "too early"
            if name not in request.refused:
                _logger.error("instance %s: %s refused: %s", instance_id, request.call, error)  # noqa: TRY400 - the stack says nothing
            return name
        return OK

    def call(self, workflow: str, value: str, instance_id: str, request: Request) -> None:
        """Call the runner.

        Raises:
            CallerError: it is refused.
            RetryLater: try again later.
        """
        runner, given = self.runner, dict(request.given)
        match request.call:
            case "start":
                runner.start_instance(workflow, given.pop("context"), id=value, dispatch=self.dispatch(), **given)
            case "timer":
                runner.schedule_resume(instance_id, **given)
            case "pause":
                runner.pause(instance_id, **given)
            case "fix":
                if runner.get(instance_id).status != "failed":
                    message = f"instance {instance_id} has not failed yet"
                    raise NotRedrivable(message)
                self.exchange.fix(instance_id)
            case "resume" | "cancel" | "unpause" | "redrive" as name:
                getattr(runner, name)(instance_id, dispatch=self.dispatch(), **given)

    def dispatch(self) -> Dispatch:
        """Where what follows from a call goes."""
        return InPlace(self.budget()) if self.random.random() < IN_PLACE else Enqueue()

    def budget(self) -> Budget:
        """An invocation's time from now."""
        return Budget(int(time.time() * 1000) + self.milliseconds)


def main() -> None:
    """Work until standard input is closed."""
    orders = Orders(**json.loads(sys.stdin.readline()))
    logging.basicConfig(level=logging.ERROR, format="worker %(process)d: %(message)s")
    proxies = Proxies(orders.address, authkey=bytes.fromhex(orders.authkey))
    proxies.connect()
    exchange = proxies.exchange()  # type: ignore[attr-defined]  # registered above
    flows.witness = exchange
    telemetry.attach(
        "soak",
        lambda _event, _measured, about: exchange.ended(about["instance_id"]),
        ("hephaestus.workflow.stop", "hephaestus.workflow.exception"),
    )
    store: Any = dynamo_store(orders.endpoint) if orders.endpoint else proxies.store()  # type: ignore[attr-defined]  # as above
    own_table = store.own_table if orders.endpoint else None
    workflows = families.workflows(orders.children) if orders.children else flows.WORKFLOWS
    random = Random(orders.seed)
    for _ in range(orders.threads):
        invocations = Invocations(workflows, exchange, store, own_table, orders.seconds, Random(random.random()))
        threading.Thread(target=invocations.serve, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
