"""Functions are killed at random under load: every instance ends as its graph says, nothing is lost or doubled.

Whoever calls meanwhile does as a client should: what was not answered is asked for again, under the same name.
"""

from __future__ import annotations

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.e2e.histories import Seen, check, history
from tests.e2e.lambdas import killing, timeouts
from tools.emulator import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from tests.answer import Answer
    from tests.e2e.deployment import Deployment
    from tests.e2e.lambdas import Killer

ORDERS: Final = 36
CALLERS: Final = 6
INVOCATION: Final = 15  # seconds: a lease lasts five more, and a step of ten still fits
PATIENCE: Final = 300.0  # seconds: several leases, one after the other, on a busy machine
SEED: Final = 20_261_125
ROUNDS: Final = 12


@dataclass
class Order:
    """One instance: what is done with it, and what must come of it.

    Attributes:
        ends: by step, its status, or the event that it emitted.
        status: how the instance ends.
        events: the names of the events that were acknowledged.
        refused: calls that were not answered because the function died.
    """

    number: int
    id: str
    ends: Mapping[str, str]
    status: str = "completed"
    events: list[str] = field(default_factory=list)
    refused: int = 0


class Client:
    """Calls the API until it answers.

    Args:
        deployment: whose API.
        random: how patient each call is.
        killer: told of every answer.
    """

    def __init__(self, deployment: Deployment, random: Random, killer: Killer) -> None:
        self.deployment = deployment
        self.random = random
        self.killer = killer

    def post(self, order: Order, path: str, body: Any, name: str) -> Answer:
        """Make a call under a name, again and again until it is answered."""
        prefer = self.random.choice(["respond-async", "wait=3"])
        deadline = time.monotonic() + PATIENCE
        while True:
            why = "no answer"
            with suppress(TimeoutError):  # the emulator had it wait behind several that hang
                answer = self.deployment.call("POST", path, body, {"Idempotency-Key": name, "Prefer": prefer})
                if answer.status < 500:
                    self.killer.answered.release()
                    return answer
                why = answer.body.decode()
            order.refused += 1
            assert time.monotonic() < deadline, why
            time.sleep(0.5)

    def start(self, order: Order, workflow: str, body: Mapping[str, Any]) -> None:
        """Start the order; the answer is the same, however often it is asked for."""
        answer = self.post(order, f"/workflows/{workflow}/instances", body, f"start-{order.id}")
        assert answer.status in (200, 202), answer.body

    def send(self, order: Order, event: str, times: int = 2) -> None:
        """Send an event, several times under one name: it is one."""
        name = f"{event}-{order.id}"
        for _ in range(times):
            answer = self.post(order, f"/instances/{order.id}/events", {"event": event}, name)
            assert answer.status in (200, 202), answer.body
        order.events.append(name)


def basket(**more: Any) -> dict[str, Any]:
    """An order that needs two more attempts to be paid for, unless it says otherwise."""
    context = json.loads(json.loads((ROOT / "events" / "api-start.json").read_text())["body"])["context"]
    return {**context, "card": "tok_flaky", "approval_timeout_seconds": 3_600, **more}


def approved(client: Client, number: int) -> Order:
    """The approval comes early, and twice."""
    order = fresh(number, {"approval": "approved", "ship": "completed", "refund": "skipped"})
    client.start(order, "OrderFlow", {"id": order.id.partition("::")[2], "context": basket()})
    client.send(order, "approved")
    return order


def rejected(client: Client, number: int) -> Order:
    """The rejection comes while the order waits, or before."""
    order = fresh(number, {"approval": "rejected", "refund": "completed", "ship": "skipped"})
    client.start(order, "OrderFlow", {"id": order.id.partition("::")[2], "context": basket(card="tok_visa")})
    time.sleep(client.random.uniform(0, 2))
    client.send(order, "rejected")
    return order


def declined(client: Client, number: int) -> Order:
    """The card is refused: exclusive branches meet again, and nothing else runs."""
    ends = {"charge_payment": "declined", "reject_order": "completed", "approval": "skipped", "ship": "skipped"}
    order = fresh(number, ends)
    body = {"id": order.id.partition("::")[2], "context": basket(card="tok_declined")}
    client.start(order, "OrderFlow", body)
    return order


def timed_out(client: Client, number: int) -> Order:
    """Nobody decides."""
    order = fresh(number, {"approval": "timeout", "refund": "completed", "ship": "skipped"})
    body = {"id": order.id.partition("::")[2], "context": basket(approval_timeout_seconds=2)}
    client.start(order, "OrderFlow", body)
    return order


def cancelled(client: Client, number: int) -> Order:
    """Cancelled in the middle; the cancellation is asked for twice under one name."""
    order = fresh(number, {}, "cancelled")
    client.start(order, "OrderFlow", {"id": order.id.partition("::")[2], "context": basket()})
    for _ in range(2):
        answer = client.post(order, f"/instances/{order.id}/cancel", {"reason": "test"}, f"cancel-{order.id}")
        assert answer.status in (200, 202), answer.body
    return order


def onboarded(client: Client, number: int) -> Order:
    """A wait of some seconds that the engine makes itself, then an event that came long before."""
    order = fresh(number, {"settle_in": "done", "ask": "completed", "feedback": "happy"}, key="customerid")
    body = {"id": order.id.partition("::")[2], "context": {"email": "ada@example.com"}}
    client.start(order, "Onboarding", body)
    client.send(order, "happy")
    return order


KINDS: Final[tuple[Callable[[Client, int], Order], ...]] = (
    approved,
    rejected,
    declined,
    timed_out,
    cancelled,
    onboarded,
)


def fresh(number: int, ends: Mapping[str, str], status: str = "completed", key: str = "orderid") -> Order:
    """One that nobody knows."""
    return Order(number, f"{key}::kill-{number}-{uuid4().hex[:12]}", ends, status)


@contextmanager
def sweeping(deployment: Deployment) -> Iterator[None]:
    """Sweep every second instead of every minute; a sweep may be killed as well."""
    functions = deployment.client("lambda")
    enough = Event()

    def sweep() -> None:
        while not enough.wait(1):
            try:
                functions.invoke(FunctionName=deployment.outputs["SweepFunctionName"], Payload=b"{}")
            except (BotoCoreError, ClientError):
                continue  # the next one sees to it

    thread = Thread(target=sweep)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def ended(deployment: Deployment, order: Order) -> dict[str, Any]:
    """The instance, once it has ended."""
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = deployment.call("GET", f"/instances/{order.id}")
        shown: dict[str, Any] = answer.json()
        if answer.status == 200 and shown["status"] in ("completed", "failed", "cancelled"):
            return shown
        assert time.monotonic() < deadline, f"{order.id} did not end: {answer.body!r}"
        time.sleep(0.3)


def test_functions_that_are_killed_lose_and_double_nothing(deployment: Deployment) -> None:
    """Invariants 1 to 5 and 8 on the deployed stack, with its processes killed in the middle of anything."""
    ordeals(deployment, ORDERS, (), signal.SIGKILL, kills=6)


def test_functions_that_time_out_lose_and_double_nothing(deployment: Deployment) -> None:
    """The same where a function hangs until its time is up, which leaves its instance owned as a death does."""
    names = (deployment.outputs["StartFunctionName"], deployment.outputs["ResumeFunctionName"])
    ordeals(deployment, ORDERS // 3, names, signal.SIGSTOP, kills=2)


def ordeals(
    deployment: Deployment, number_of: int, functions: Collection[str], by: signal.Signals, *, kills: int
) -> None:
    """Put so many orders through it, and others until there were enough kills and one hit a function at work.

    How many a round has depends on the machine's speed; that all of so many rounds have too few of them does not.
    """
    killed = noticed = 0
    for seed in range(SEED, SEED + ROUNDS):
        more, hits = ordeal(deployment, number_of, functions, by, seed)
        killed, noticed = killed + more, noticed + hits
        if killed >= kills and noticed:
            return
    pytest.fail(f"{killed} kills in {ROUNDS} rounds, {noticed} of them noticed: the functions' processes are not found")


def ordeal(
    deployment: Deployment, number_of: int, functions: Collection[str], by: signal.Signals, seed: int
) -> tuple[int, int]:
    """Put so many orders through it; how many processes were killed, and how often that was noticed."""
    random = Random(seed)
    plan = [(random.choice(KINDS), number, Random(random.random())) for number in range(number_of)]
    with timeouts(deployment, INVOCATION), sweeping(deployment):
        death = killing(deployment, Random(random.random()), functions, by)
        with death as killer, ThreadPoolExecutor(CALLERS) as callers:
            begun = [callers.submit(kind, Client(deployment, own, killer), number) for kind, number, own in plan]
            orders = [one.result() for one in begun]
        shown = {order.id: ended(deployment, order) for order in orders}
    seen = [verdict(deployment, order, shown[order.id]) for order in orders]
    hits = sum(one.take_overs for one in seen) + sum(order.refused for order in orders)
    told = f"{killer.kills} kills, {hits} of them noticed; {sum(one.interrupted for one in seen)} attempts spent"
    print(told, f"{sum(one.retries for one in seen)} retries")  # noqa: T201 - shown with pytest -s
    return killer.kills, hits


def verdict(deployment: Deployment, order: Order, shown: Mapping[str, Any]) -> Seen:
    """Whether the instance is what its graph makes of what happened to it, and its history faultless."""
    entries = history(deployment, order.id)
    assert shown["status"] == order.status, (shown, entries)
    steps = shown.get("steps", {})
    found = {step: (steps[step]["status"], steps[step].get("event")) for step in order.ends if step in steps}
    assert all(end in found.get(step, ()) for step, end in order.ends.items()), (order, found)
    received = {event["event_id"] for entry in entries for event in entry["events"] if event["type"] == "EventReceived"}
    assert received == set(order.events), (order, received)
    return check(order.id, entries)
