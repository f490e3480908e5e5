"""The example's steps are plain functions: each is tested with a context made by hand, no engine and no AWS."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from hephaestus import Completed, InvalidInput, Pending, StepContext
from hephaestus.testing import LocalRuntime
from workflows import Onboarding, OrderFlow
from workflows.orders import (
    Order,
    approval,
    charge_payment,
    refund,
    reject_order,
    reserve_stock,
    send_receipt,
    ship,
    validate_order,
)
from workflows.services import PaymentUnavailable

BASKET: dict[str, Any] = {
    "customer": {"name": "Ada", "email": "ada@example.com"},
    "items": [
        {"sku": "anvil", "quantity": 1, "price_cents": 12_900},
        {"sku": "tongs", "quantity": 2, "price_cents": 1_850},
    ],
}


def context(order: dict[str, Any] | None = None, **known: Any) -> StepContext:
    """What a step is given."""
    initial = {**BASKET, **(order or {})}
    return StepContext(initial=initial, read_input=lambda: Order.model_validate(initial), **known)


def test_a_valid_order_is_added_up() -> None:
    """The total is part of the result and of the instance's metadata."""
    assert validate_order(context()) == Completed(
        "valid", {"total_cents": 16_600, "currency": "EUR"}, {"total_cents": 16_600}
    )


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([{"sku": "unknown-thing", "price_cents": 1}], "not for sale: unknown-thing"),
        ([{"sku": "anvil", "quantity": 1000, "price_cents": 100_000}], "above the limit"),
    ],
)
def test_an_order_that_cannot_be_served_is_invalid(items: list[dict[str, Any]], reason: str) -> None:
    """Rules of the business are events, not errors."""
    result = validate_order(context({"items": items}))
    assert result.event == "invalid"
    assert reason in result.results["reason"]


def test_a_charge_is_the_same_for_the_same_key() -> None:
    """A repeated attempt charges once."""
    bill = {"validate_order": {"total_cents": 1, "currency": "EUR"}}
    first, again = (charge_payment(context(steps=bill, attempt=attempt)) for attempt in (1, 2))
    assert first == again == Completed("paid", {"charge_id": first.results["charge_id"]})


def test_a_declined_card_is_an_event_and_an_outage_an_error() -> None:
    """Only the outage is worth trying again."""
    bill = {"validate_order": {"total_cents": 1, "currency": "EUR"}}
    assert charge_payment(context({"card": "tok_declined"}, steps=bill)).event == "declined"
    with pytest.raises(PaymentUnavailable):
        charge_payment(context({"card": "tok_flaky"}, steps=bill, attempt=2))
    assert charge_payment(context({"card": "tok_flaky"}, steps=bill, attempt=3)).event == "paid"


def test_stock_and_receipt_need_nothing_of_each_other() -> None:
    """They run side by side."""
    assert reserve_stock(context())["reservation_id"].startswith("rs_")
    assert asyncio.run(send_receipt(context()))["message_id"].startswith("msg_")


def test_an_approval_waits_as_long_as_the_order_says() -> None:
    """Two days, unless the order has its own deadline."""
    assert approval.run(context()) == Pending(timeout=timedelta(hours=48))
    assert approval.run(context({"approval_timeout_seconds": 30})) == Pending(timeout=timedelta(seconds=30))
    assert approval.run(context({"approval_heartbeat_seconds": 5})) == Pending(
        timeout=timedelta(hours=48), heartbeat=timedelta(seconds=5)
    )
    assert tuple(approval.events) == ("approved", "rejected", "timeout")


def test_an_order_ends_shipped_refunded_or_rejected() -> None:
    """The last steps use what the ones before left."""
    steps = {"reserve_stock": {"reservation_id": "rs_1"}, "charge_payment": {"charge_id": "ch_1"}}
    assert ship(context(steps=steps))["tracking_id"].startswith("trk_")
    assert refund(context(steps=steps, events={"approval": "timeout"}))["why"] == "timeout"
    assert reject_order(context(steps={"validate_order": {"reason": "why"}})) == {"reason": "why"}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"items": []}, "items"),
        ({"items": [{"sku": "anvil", "price_cents": -1}]}, "items.0.price_cents"),
        ({"customer": {"name": "Ada", "email": "nobody"}}, "customer.email"),
        ({"approval_timeout_seconds": 0}, "approval_timeout_seconds"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_an_order_that_is_none_is_refused_at_start(change: dict[str, Any], field: str) -> None:
    """``Input`` names the field."""
    with pytest.raises(InvalidInput) as raised:
        LocalRuntime(OrderFlow).start(OrderFlow, "1", {**BASKET, **change})
    assert [name for name, _ in raised.value.fields] == [field]


@pytest.mark.parametrize(
    ("event", "last", "why"),
    [("approved", "ship", None), ("rejected", "refund", "rejected"), (None, "refund", "timeout")],
)
def test_the_whole_flow_ends_by_decision_or_deadline(event: str | None, last: str, why: str | None) -> None:
    """Approved ships; rejected, or nobody in time, refunds."""
    local = LocalRuntime(OrderFlow)
    shown = local.start(OrderFlow, "1", {**BASKET, "approval_timeout_seconds": 60})
    assert (shown.status, list(shown.accepts)) == ("waiting", ["approval"])
    if event:
        shown = local.resume(shown.id, event, {"by": "grace"})
    else:
        local.advance(timedelta(seconds=61))
        shown = local.runner.get(shown.id)
    assert (shown.status, shown.steps[last].status) == ("completed", "completed")
    assert shown.steps[last].results.get("why") == why


def test_an_order_that_is_cancelled_is_undone_where_that_is_asked_for() -> None:
    """The reservation, then the charge; what cannot be undone stays as it is."""
    local = LocalRuntime(OrderFlow)
    shown = local.start(OrderFlow, "1", BASKET)
    local.runner.cancel(shown.id, "ordered by mistake", compensate=True)
    local.settle()
    shown = local.runner.get(shown.id)
    undone = [
        event["step"]
        for entry in local.runner.history(shown.id)
        for event in entry.events
        if event["type"] == "StepCompensated"
    ]
    assert (shown.status, undone) == ("cancelled", ["reserve_stock", "charge_payment"])
    assert shown.steps["send_receipt"].status == "completed"


def test_an_order_that_was_not_paid_is_not_paid_back() -> None:
    """A declined card has nothing to undo."""
    assert charge_payment.undo(context(steps={"charge_payment": {"reason": "declined"}})) is None


def test_onboarding_starts_with_its_current_version() -> None:
    """Version 2 waits, asks, and takes an answer."""
    local = LocalRuntime(Onboarding)
    shown = local.start(Onboarding, "ada", {"email": "ada@example.com"})
    local.advance(timedelta(seconds=6))
    shown = local.resume(shown.id, "happy")
    assert (shown.version, shown.status) == (2, "completed")
    assert (
        local.runner.get(local.runner.start_instance(Onboarding, {"email": "b@example.com"}, id="b", version=1)).version
        == 1
    )
