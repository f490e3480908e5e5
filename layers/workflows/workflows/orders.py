"""An order: checked, paid, reserved and confirmed side by side, approved by a person in time, shipped or refunded.

    validate_order ─ charge_payment ─┬─ reserve_stock ─┬─ approval ─┬─ ship ─── end
          │                │         └─ send_receipt ──┘            └─ refund ─ end
          └── reject_order ┘

The services behind the steps only pretend (``workflows.services``): put real ones there.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field

from hephaestus import DONE, Completed, Pending, Retry, StepContext, Workflow, step
from hephaestus.steps import WaitForEvent
from hephaestus.triggers import EventBridgeEvent, On, QueueMessage, Resume, SnsMessage, Start
from workflows.services import CardDeclined, carrier, mail, payments, warehouse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus import Instance

TWO_DAYS: Final = 48 * 3600
THIRTY_DAYS: Final = 30 * 24 * 3600
MAX_TOTAL_CENTS: Final = 1_000_000
CHOICES: Final = ("approved", "rejected")
ADDRESS: Final = r"^[^@\s]+@[^@\s]+$"


class Strict(BaseModel):
    """A model that takes no member it does not know."""

    model_config = ConfigDict(extra="forbid")


class Item(Strict):
    """One line of an order."""

    sku: str = Field(min_length=1, max_length=64)
    quantity: int = Field(default=1, ge=1, le=1000)
    price_cents: int = Field(ge=0)


class Customer(Strict):
    """Who ordered."""

    name: str = Field(min_length=1, max_length=200)
    email: str = Field(pattern=ADDRESS, max_length=254)


class Order(Strict):
    """What starts an order."""

    customer: Customer
    items: list[Item] = Field(min_length=1, max_length=100)
    card: str = Field(
        default="tok_visa", description="a payment token; tok_declined is declined, tok_flaky needs retries"
    )
    currency: str = Field(default="EUR", pattern=r"^[A-Z]{3}$")
    approval_timeout_seconds: int = Field(default=TWO_DAYS, ge=1, le=THIRTY_DAYS)
    approval_heartbeat_seconds: int | None = Field(
        default=None, ge=1, le=THIRTY_DAYS, description="how often the approver must show that they are at it"
    )
    approver: str | None = Field(
        default=None, pattern=ADDRESS, max_length=254, description="who is sent links to approve or reject the order"
    )
    show_links: bool = Field(
        default=False, description="for a demo: keep the links in the results, where all who read them may decide"
    )


@step(events=("valid", "invalid"))
def validate_order(ctx: StepContext) -> Completed:
    """Add up the order, and say what this shop would not sell."""
    order: Order = ctx.input
    total = sum(item.quantity * item.price_cents for item in order.items)
    if total > MAX_TOTAL_CENTS:
        return Completed("invalid", {"reason": f"the total of {total} cents is above the limit of {MAX_TOTAL_CENTS}"})
    unknown = [item.sku for item in order.items if not warehouse.sells(item.sku)]
    if unknown:
        return Completed("invalid", {"reason": f"not for sale: {', '.join(unknown)}"})
    return Completed("valid", {"total_cents": total, "currency": order.currency}, metadata={"total_cents": total})


def pay_back(ctx: StepContext) -> None:
    """Undo a charge, when the order fails or is cancelled with ``compensate``."""
    if "charge_id" in ctx.steps["charge_payment"]:
        payments.refund(ctx.steps["charge_payment"]["charge_id"], ctx.idempotency_key)


def set_free(ctx: StepContext) -> None:
    """Undo a reservation."""
    warehouse.release(ctx.steps["reserve_stock"]["reservation_id"])


@step(
    events=("paid", "declined"),
    retry=Retry(max_attempts=5, backoff="exponential", delay=timedelta(milliseconds=200)),
    timeout=10,
    compensate=pay_back,
)
def charge_payment(ctx: StepContext) -> Completed:
    """Charge the card. The idempotency key makes a repeated attempt the same charge."""
    order: Order = ctx.input
    bill = ctx.steps["validate_order"]
    try:
        charge = payments.charge(bill["total_cents"], bill["currency"], order.card, ctx.idempotency_key, ctx.attempt)
    except CardDeclined as rejected:
        return Completed("declined", {"reason": str(rejected)})
    return Completed("paid", {"charge_id": charge.id})


@step(compensate=set_free)
def reserve_stock(ctx: StepContext) -> dict[str, Any]:
    """Put the items aside until the order is decided."""
    order: Order = ctx.input
    wanted = [(item.sku, item.quantity) for item in order.items]
    return {"reservation_id": warehouse.reserve(wanted, ctx.idempotency_key)}


@step
async def send_receipt(ctx: StepContext) -> dict[str, Any]:
    """Tell the customer that the money has arrived, and the approver that there is something to decide."""
    order: Order = ctx.input
    message_id = await mail.send(order.customer.email, f"Receipt for {ctx.instance_id}", ctx.idempotency_key)
    return {"message_id": message_id, **(await ask_for_approval(ctx, order.approver) if order.approver else {})}


async def ask_for_approval(ctx: StepContext, approver: str) -> dict[str, Any]:
    """Mail a link for each answer. The links are not kept: anyone who has one may decide."""
    order: Order = ctx.input
    lasts = timedelta(seconds=order.approval_timeout_seconds)
    links = {event: ctx.callback_url(event, expires_in=lasts, payload={"by": approver}) for event in CHOICES}
    text = "\n".join(f"{event}: {link}" for event, link in links.items())
    message_id = await mail.send(approver, f"Please decide on {ctx.instance_id}", ctx.idempotency_key, text)
    return {"approval_message_id": message_id, **({"links": links} if order.show_links else {})}


class Approval(WaitForEvent):
    """Wait for a person to approve or reject, for as long as the order says, and with the heartbeats it asks for."""

    def __init__(self) -> None:
        super().__init__(*CHOICES, timeout=timedelta(seconds=TWO_DAYS), name="approval")

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Pending:  # noqa: ARG002 - the signature of every step
        """Suspend until somebody decides, the time is up, or no one seems to be at it any more."""
        order: Order = context.input
        beat = order.approval_heartbeat_seconds
        heartbeat = timedelta(seconds=beat) if beat else None
        return Pending(timeout=timedelta(seconds=order.approval_timeout_seconds), heartbeat=heartbeat)


approval: Final = Approval()


@step
def ship(ctx: StepContext) -> dict[str, Any]:
    """Hand the parcel to the carrier."""
    reservation = ctx.steps["reserve_stock"]["reservation_id"]
    return {"tracking_id": carrier.ship(reservation, ctx.idempotency_key)}


@step
def refund(ctx: StepContext) -> dict[str, Any]:
    """Give the money back and the items free, whether a person or the deadline decided."""
    warehouse.release(ctx.steps["reserve_stock"]["reservation_id"])
    charge_id = ctx.steps["charge_payment"]["charge_id"]
    return {"refund_id": payments.refund(charge_id, ctx.idempotency_key), "why": ctx.events["approval"]}


@step
def reject_order(ctx: StepContext) -> dict[str, Any]:
    """Close an order that was invalid or could not be paid."""
    reasons = [
        ctx.steps[key]["reason"] for key in ("validate_order", "charge_payment") if "reason" in ctx.steps.get(key, {})
    ]
    return {"reason": reasons[0]}


def placed(event: EventBridgeEvent | QueueMessage) -> Start:
    """The shop reports an order on its event bus, or by a message."""
    said = event.detail if isinstance(event, EventBridgeEvent) else event.body
    return Start(said["order"], said["basket"])


def decided(event: SnsMessage) -> Resume:
    """A person has decided, and a topic reports it."""
    said = event.message
    return Resume(said["order"], said["decision"], {"by": said["by"]})


class OrderFlow(Workflow, key="orderid", version=1, tags=["sales"]):
    """One order from basket to parcel; ``orderid::<number>`` is active once."""

    Input = Order
    example = {
        "customer": {"name": "Ada Lovelace", "email": "ada@example.com"},
        "items": [{"sku": "tongs", "price_cents": 1850}],
    }
    start_at = validate_order
    transitions = {
        validate_order: {"valid": charge_payment, "invalid": reject_order},
        charge_payment: {"paid": [reserve_stock, send_receipt], "declined": reject_order},
        reserve_stock: {"done": approval},
        send_receipt: {"done": approval},
        approval: {"approved": ship, "rejected": refund, "timeout": refund},
        ship: {"done": DONE},
        refund: {"done": DONE},
        reject_order: {"done": DONE},
    }
    triggers = (
        On.eventbridge(placed, source="com.example.shop", detail_type="OrderPlaced"),
        On.message(placed),
        On.sns(decided),
    )
