"""A Hephaestus in memory with workflows that wait, fail and undo, to look around in: ``hephaestus console --demo``.

Time is the machine's; what is in it ends with the process.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hephaestus import DONE, Choice, Completed, Retry, StepContext, Workflow, step
from hephaestus.adapters.memory import MemoryStore
from hephaestus.console.embedded import LocalConnection
from hephaestus.embedded import Embedded
from hephaestus.runtime.registry import Registry
from hephaestus.steps import Wait, WaitForEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.runtime.runner import Runner

ONCE: Final = Retry(max_attempts=1)
TWICE: Final = Retry(max_attempts=2, backoff="constant", delay=timedelta(milliseconds=300))


@step(events=("valid", "invalid"))
def check_basket(ctx: StepContext) -> Completed | str:
    """Add up the basket; one without items is invalid."""
    if not ctx.initial["items"]:
        return "invalid"
    return Completed("valid", {"total": sum(item["price"] for item in ctx.initial["items"])})


def pay_back(ctx: StepContext) -> None:
    """Undo a payment."""
    time.sleep(0.07)


def put_back(ctx: StepContext) -> None:
    """Undo a reservation."""
    time.sleep(0.04)


@step(events=("paid", "declined"), retry=TWICE, compensate=pay_back)
def charge_card(ctx: StepContext) -> Completed:
    """Charge the card; a flaky one works at the second attempt."""
    time.sleep(0.18)
    if ctx.initial.get("card") == "flaky" and ctx.attempt == 1:
        message = "the payment service closed the connection"
        raise ConnectionError(message)
    if ctx.initial.get("card") == "declined":
        return Completed("declined", {"reason": "the bank declined"})
    return Completed("paid", {"charge": f"ch-{ctx.idempotency_key[:8]}"})


@step(compensate=put_back)
def reserve_stock(ctx: StepContext) -> dict[str, Any]:
    """Put the items aside."""
    time.sleep(0.09)
    return {"reserved": len(ctx.initial["items"])}


@step
def send_receipt(ctx: StepContext) -> dict[str, Any]:
    """Tell the customer."""
    time.sleep(0.24)
    return {"to": ctx.initial.get("email", "ann@example.org")}


@step(retry=ONCE)
def ship(ctx: StepContext) -> dict[str, Any]:
    """Hand over to the carrier; a strict one does not take what is fragile."""
    time.sleep(0.06)
    fragile = [item["name"] for item in ctx.initial["items"] if item.get("fragile")]
    if fragile and ctx.initial.get("carrier") == "strict":
        message = f"the carrier does not take {', '.join(fragile)}: it is marked as fragile and not insured"
        raise ValueError(message)
    return {"parcel": f"pa-{ctx.idempotency_key[:8]}"}


@step
def refund(ctx: StepContext) -> dict[str, Any]:
    """Give the money back."""
    return {"refunded": ctx.steps["check_basket"]["total"]}


@step
def reject(ctx: StepContext) -> str:
    """Close an order that cannot be had."""
    return "done"


approval: Final = WaitForEvent("approved", "rejected", name="approval", timeout=timedelta(hours=48))


class Order(Workflow, key="orderid", version=1, tags=["sales"]):
    """From basket to parcel, with a person's approval on the way."""

    start_at = check_basket
    transitions = {
        check_basket: {"valid": charge_card, "invalid": reject},
        charge_card: {"paid": [reserve_stock, send_receipt], "declined": reject},
        reserve_stock: {"done": approval},
        send_receipt: {"done": approval},
        approval: {"approved": ship, "rejected": refund, "timeout": refund},
        ship: {"done": DONE},
        refund: {"done": DONE},
        reject: {"done": DONE},
    }


_mended: Final = threading.Event()


@step
def fetch_rows(ctx: StepContext) -> dict[str, Any]:
    """Read the file."""
    return {"rows": ctx.initial.get("rows", 3)}


@step(retry=TWICE)
def load_rows(ctx: StepContext) -> dict[str, Any]:
    """Load the rows; fails the first time, and works when it is redriven."""
    if not _mended.is_set():
        if ctx.attempt == TWICE.max_attempts:
            _mended.set()
        message = f"row 2 of {ctx.steps['fetch_rows']['rows']}: 'amount' is not a number"
        raise ValueError(message)
    return {"loaded": ctx.steps["fetch_rows"]["rows"]}


class Import(Workflow, key="file", version=1, tags=["nightly"]):
    """A file's rows into a table."""

    start_at = fetch_rows
    transitions = {fetch_rows: {"done": load_rows}, load_rows: {"done": DONE}}


@step
def greet(ctx: StepContext) -> dict[str, Any]:
    """Say hello."""
    return {"text": f"Welcome {ctx.initial.get('name', '')}"}


@step
def ask(ctx: StepContext) -> str:
    """Ask how things are."""
    return "done"


@step
def offer_help(ctx: StepContext) -> str:
    """Offer help."""
    return "done"


settle_in: Final = Wait(minutes=20, name="settle_in")
feedback: Final = WaitForEvent("answered", name="feedback", timeout=timedelta(days=7))


class Onboarding(Workflow, key="customerid", version=2, tags=["crm"]):
    """A customer's first days."""

    start_at = greet
    transitions = {
        greet: {"done": settle_in},
        settle_in: {"done": ask},
        ask: {"done": feedback},
        feedback: {
            "answered": Choice(
                lambda ctx: offer_help if ctx.steps["feedback"].get("mood") == "bad" else DONE, [offer_help, DONE]
            ),
            "timeout": DONE,
        },
        offer_help: {"done": DONE},
    }


@contextmanager
def in_memory() -> Iterator[LocalConnection]:
    """A Hephaestus in memory with a few instances, as long as it is entered."""
    _mended.clear()
    with Embedded(MemoryStore(), Registry([Order, Import, Onboarding])) as memory:
        _start_some(memory.runner)
        yield LocalConnection(memory.runner, "a demo in memory")


def _start_some(runner: Runner) -> None:
    basket = [{"name": "anvil", "price": 42}, {"name": "tongs", "price": 8}]
    for number in range(1, 9):
        context = {"items": basket[: 1 + number % 2], "card": "flaky" if number % 3 == 0 else "visa"}
        runner.start_instance(Order, context, id=f"2026-{number:04}")
    runner.start_instance(Order, {"items": []}, id="2026-0009")
    runner.start_instance(Order, {"items": basket, "card": "declined"}, id="2026-0010")
    vase = [{"name": "vase", "price": 120, "fragile": True}]
    runner.start_instance(Order, {"items": vase, "carrier": "strict"}, id="2026-0011", tags=["fragile"])
    runner.resume("orderid::2026-0011", "approved", {"note": "handle with care"}, by="ann")
    runner.start_instance(Import, {"rows": 12}, id="2026-11-24.csv")
    for name in ("ann", "bob", "chloé"):
        runner.start_instance(Onboarding, {"name": name}, id=name.replace("é", "e"))
