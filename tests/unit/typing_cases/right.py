"""A user's module in every way of writing; mypy --strict has nothing to say about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypedDict

from pydantic import BaseModel

from hephaestus import (
    DONE,
    FAIL,
    Again,
    Check,
    Choice,
    Completed,
    ConditionFailed,
    Delete,
    Done,
    Instance,
    Items,
    NonRetryable,
    Pending,
    Put,
    Result,
    Retry,
    Rounds,
    Step,
    StepContext,
    Update,
    Workflow,
    Write,
    connect,
    connect_async,
    step,
)
from hephaestus.steps import ChildWorkflow, Debug, Map, Poll, Repeat, Wait, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class OrderInput(BaseModel):
    """What an order needs."""

    mail: str
    items: list[int]


@step
def note(ctx: StepContext) -> str:
    """Without parentheses."""
    return "done"


@step(events=("valid", "invalid"))
def validate_order(ctx: StepContext) -> Completed | str:
    """An outcome or an event."""
    if not ctx.initial["items"]:
        return "invalid"
    return Completed("valid", {"total": len(ctx.initial["items"])}, metadata={"size": "small"})


@step
def greet(ctx: StepContext[OrderInput]) -> dict[str, str]:
    """What its input is, is known."""
    return {"to": ctx.input.mail}


@step(events=("paid", "declined"), key="charge", retry=Retry(max_attempts=5, backoff="linear"), timeout=30)
def charge_payment(ctx: StepContext) -> Result:
    """Any result."""
    total: Any = ctx.steps["validate_order"]["total"]
    if total > ctx.config["limit"]:
        raise NonRetryable(ctx.idempotency_key)
    return "paid" if ctx.attempt < 3 and ctx.remaining_time() > timedelta(seconds=1) else "declined"


@step(timeout=timedelta(minutes=1))
async def send_receipt(ctx: StepContext) -> Mapping[str, Any]:
    """Asynchronous, with results only."""
    return {"to": ctx.initial["mail"], "for": ctx.instance_id}


@step(events="asked")
def ask(ctx: StepContext) -> Pending:
    """A function that waits."""
    return Pending(timeout=datetime(2030, 1, 1, tzinfo=UTC), emits="asked")


def take_back(ctx: StepContext) -> None:
    """Undo, with nothing to say."""


@step(compensate=take_back, compensate_retry=Retry(max_attempts=9), semantics="at_most_once")
def book(ctx: StepContext) -> Completed:
    """Write on tables of its own, in a list or a tuple of any kinds."""
    writes: list[Write] = [Put("bookings", {"pk": ctx.instance_id, "seats": 2}, condition="attribute_not_exists(pk)")]
    writes.append(Update("totals", {"pk": "today"}, "ADD #s :n", names={"#s": "seats"}, values={":n": 2}))
    if ctx.attempt > 1:
        return Completed("done", writes=(Delete("holds", {"pk": ctx.instance_id}), *writes))
    return Completed(
        "done", {"seats": 2}, {}, [*writes, Check("shows", {"pk": "tonight"}, "seats > :n", values={":n": 1})]
    )


def which(failed: ConditionFailed) -> tuple[int | None, Write | None, str]:
    """What a failed condition tells."""
    return failed.index, failed.write, failed.reason


@step(rounds=Rounds(10_000, within=timedelta(days=3)), events=("done", "exhausted"))
def import_page(ctx: StepContext) -> Again | Completed:
    """Rounds with a cursor."""
    cursor: Any = ctx.carry.get("cursor")
    if ctx.round < 3:
        return Again({"cursor": cursor}, after=60, writes=[Put("pages", {"pk": str(ctx.round)})])
    return Completed("done")


@step(rounds=Rounds(100, again_on=("said",)), events=("bye",))
def talk(ctx: StepContext) -> Again | Pending:
    """Rounds with an event."""
    said: Any = ctx.payload.get("text")
    return Again({"said": said}) if ctx.event == "said" else Pending()


def carrier_says(ctx: StepContext) -> bool | dict[str, str]:
    """A check."""
    return ctx.round > 1 and {"at": "door"}


async def carrier_says_later(ctx: StepContext) -> bool:
    """An asynchronous one."""
    return ctx.round > 1


shipped = Poll(
    carrier_says, every=timedelta(minutes=1), backoff=2, rounds=Rounds(500), ends_on=("delivered",), name="s"
)
thumbs = Map(
    greet,
    over=lambda ctx: ctx.initial["images"],
    key=lambda image: str(image["id"]),
    tolerate="5%",
    concurrency=50,
    context=lambda ctx: {"bucket": ctx.initial["bucket"]},
    retry=Retry(max_attempts=2),
    name="thumbs",
)
parcels = Map(note, over=Items.s3("shop", "parcels.jsonl"), concurrency=500, collect=False, name="parcels")
of_a_day = Map(note, over=lambda ctx: Items.s3("shop", ctx.initial["day"], format="csv"), name="of_a_day")
numbers = Map(note, over=lambda _: range(3), tolerate=3, collect=False, name="numbers")
asked = Poll(carrier_says_later, every=1.5, rounds=Rounds(500, 60))


class ReserveStock(Step):
    """A class."""

    events = ("reserved", "sold_out")
    retry = Retry(max_attempts=2, retry_on=(OSError,))
    timeout = 5

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> str:
        """Take some."""
        return "reserved" if config["stock"] else "sold_out"


class Ship(Step):
    """An asynchronous class with arguments and a key of its own."""

    step_key = "ship"

    def __init__(self, carrier: str) -> None:
        self.carrier = carrier

    async def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Completed:
        """Send it."""
        return Completed("done", {"carrier": self.carrier, "order": instance.id})


def route(ctx: StepContext) -> Step | Sequence[Step]:
    """Where a Choice leads."""
    return [ship, note] if ctx.events["approval"] == "approved" else note


ship = Ship("bike")
approval = WaitForEvent("approved", "rejected", name="approval", timeout=timedelta(hours=48))
cool_off = Wait(minutes=5).named("cool_off")
nap = Wait(timedelta(minutes=5), name="nap")
answer = WaitForEvent("yes", timeout=3_600, heartbeat=0.5)
patient = Retry(delay=5, max_delay=timedelta(hours=1), decide=lambda error, attempt: 2.5 if attempt < 3 else None)
soon = Pending(timeout=30, emits="asked", heartbeat=timedelta(seconds=5))


class OrderV1(Workflow, key="orderid", version=1, tags=["sales"], metadata={"team": "a"}, scope="version"):
    """Every kind of target."""

    start_at = validate_order.configured(strict=True)
    retry = Retry(delay=timedelta(seconds=2), jitter="half")
    Input = OrderInput
    transitions = {
        validate_order: {"valid": charge_payment.configured(limit=100), "invalid": DONE},
        charge_payment: {"paid": [ReserveStock.configured(stock=5), send_receipt], "declined": Done, "error": note},
        ReserveStock: {"reserved": approval, "sold_out": note},
        send_receipt: {"done": approval},
        approval: {"approved": Choice(route, targets=[ship, note]), "rejected": cool_off, "timeout": ask},
        cool_off: {"done": note},
        ask: {"asked": Debug("asked")},
        Debug("asked"): {"done": note},
        ship: {"done": note},
        note: {"done": book},
        book: {"done": DONE},
    }


@step(checkpoint=False, events=("done",))
def inexpensive(ctx: StepContext) -> str:
    """Its result is left to the next commit."""
    return "done"


class Cheap(Step):
    """So is this one's, by its class."""

    checkpoint = False

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> str:
        """Nothing."""
        return "done"


class AtBoundaries(Workflow, key="orderid", checkpoint="boundaries"):
    """Like all of these."""

    start_at = inexpensive
    transitions = {inexpensive: {"done": Cheap}, Cheap: {"done": DONE}}


class OrderV2(Workflow, key="orderid", version=2, scope="version", forks="unchanged"):
    """A model of its own."""

    class Input(BaseModel):
        """Nested."""

        mail: str

    start_at = note
    transitions = {note: {"done": DONE}}


class Orders(Workflow, versions={1: OrderV1, 2: OrderV2}, current=2):
    """An umbrella."""

    @classmethod
    def version_for(cls, versions: Mapping[int, type[Workflow]], opts: Mapping[str, Any]) -> int | None:
        """Route new instances."""
        return max(versions) if "vip" in opts["tags"] else None


every_order = Map(Orders, over=lambda ctx: ctx.initial["orders"], chunk=10, name="every_order")
each = Map(ChildWorkflow(Orders, context=lambda ctx: {"mail": ctx.item}), over=lambda _: ["a"], name="each")


class Outputs(Workflow, key="outputs"):
    """A function in a class is its output."""

    start_at = note
    transitions = {note: {"done": FAIL("on purpose")}}
    output = lambda ctx: {"rows": ctx.steps["note"]["rows"]}  # noqa: E731 - as the guide writes it


class StaticOutput(Workflow, key="static"):
    """A static method that returns a model."""

    start_at = note
    transitions = {note: {"done": Choice(lambda ctx: FAIL("again"), [FAIL, DONE])}}

    @staticmethod
    def output(ctx: StepContext) -> OrderInput:
        """As a model."""
        return OrderInput(mail=ctx.initial["mail"], items=[])


class Receipt(TypedDict):
    """What a typed workflow leaves."""

    tracking: str


class TypedOutput(Workflow[Receipt], key="typed"):
    """Its output has a type, which its callers know."""

    start_at = note
    transitions = {note: {"done": DONE}}

    @staticmethod
    def output(ctx: StepContext) -> Receipt:
        """As it is typed."""
        return {"tracking": ctx.instance_id}


class ModelOutput(Workflow[OrderInput], versions={1: OrderV1, 2: OrderV2}, current=2):
    """An umbrella with a type."""


class StepOutput(Workflow, key="step"):
    """A step's results."""

    start_at = note
    transitions = {note: {"done": DONE}}
    output = note
    on_failure = send_receipt.configured(to="ops")
    timeout = timedelta(days=2)


def use() -> None:
    """The facade."""
    instance_id: str = Orders.start("abc", {"mail": "a@b"}, version=2, tags=["vip"], metadata={"by": "me"})
    Orders.resume(instance_id, "approved", {"by": "ann"}, step="approval", event_id="1")
    Orders.resume(instance_id, "approved", step=approval)
    Orders.resume(instance_id, "reserved", step=ReserveStock)
    Orders.fork("abc", new_value="ghi", results={charge_payment: {"id": 1}, ReserveStock: {}, "approval": {}})
    print(Orders.get("abc").status, [entry.sequence for entry in Orders.history("abc").items])  # noqa: T201 - so that it is used
    print([shown.id for shown in Orders.list(status="failed", limit=5).items])  # noqa: T201 - so that it is used
    Orders.pause("abc", "stocktaking")
    Orders.unpause("abc")
    Orders.heartbeat("abc", approval)
    Orders.heartbeat("abc", "approval")
    Orders.cancel("abc", "changed my mind", compensate=True)
    Orders.redrive("abc")
    forked: str = Orders.fork("abc", 3, new_value="def", context={"mail": "a@b"}, results={"charge": {"id": 1}})
    print(forked)  # noqa: T201 - so that it is used


def test_steps() -> None:
    """Steps are called without an engine."""
    outcome: Any = validate_order(StepContext(initial={"items": [1]}))
    assert outcome == Completed("valid", {"total": 1}, {"size": "small"})


def call_from_elsewhere() -> str:
    """Another service, with or without the workflow's class."""
    shop = connect("shop", region="eu-central-1")
    order = shop.start("Orders", "abc123", {"mail": "a@b.c", "items": [1]}, tags=["big"])
    order.resume("approved", {"by": "ann"}, step="approval")
    found = [each.id for each in shop.list(status=["waiting"]).items]
    return order.wait(timeout=30).status + found[0]


async def call_from_async_code() -> str:
    """The same, awaited."""
    shop = await connect_async("dev")
    order = await shop.start(Orders, "abc123", OrderInput(mail="a@b.c", items=[1]))
    await shop.pause(order.id, "stock-taking")
    await order.resume("approved")
    return (await order.wait(timeout=30)).status


async def read_outputs() -> str:
    """Typed by the workflow's class, in every place where an output is read."""
    shop, quick = connect("shop"), await connect_async("shop")
    sent = shop.start(TypedOutput, "1").output(timeout=30)
    known = shop.handle("typed::1", TypedOutput).output()
    waited = await (await quick.start(ModelOutput, "1")).output()
    handled = await quick.handle("order::1", ModelOutput).output()
    shown: Receipt = TypedOutput.output_of(LocalRuntime(TypedOutput, ModelOutput).start(TypedOutput, "1"))
    untyped: str = shop.start("TypedOutput", "1").output()["anything"]
    return sent["tracking"] + known["tracking"] + waited.mail + handled.mail + shown["tracking"] + untyped


def undo_orders(ctx: StepContext) -> None:
    """What a child did is undone otherwise."""
    print(ctx.steps["orders"]["id"])  # noqa: T201 - so that it is used


@dataclass
class Told:
    """Start data of a child."""

    mail: str


class Parent(Workflow, key="parent"):
    """Workflows as steps: of a model or of a mapping, bounded, undone, on its own."""

    orders = ChildWorkflow(
        Orders,
        context=lambda ctx: {"mail": ctx.initial["mail"], "items": [ctx.attempt]},
        timeout=timedelta(days=7),
        compensate=undo_orders,
        name="orders",
    )
    checked = ChildWorkflow(
        Orders,
        context=lambda ctx: OrderInput(mail=str(ctx.initial["mail"]), items=[1]),
        timeout=3.5,
        name="checked",
    )
    audit = ChildWorkflow(TypedOutput, detached=True)
    told = ChildWorkflow(TypedOutput, context=lambda ctx: Told(str(ctx.initial["mail"])), name="told")
    drafts = Repeat(
        Orders,
        until=lambda ctx: ctx.carry.get("approved", False) or ctx.round > 2,
        rounds=Rounds(20, within=timedelta(days=3)),
        context=lambda ctx: OrderInput(mail=str(ctx.initial["mail"]), items=[1]),
        name="drafts",
    )
    start_at = orders
    transitions = {
        orders: {"done": checked, "timeout": audit},
        checked: {"done": drafts},
        drafts: {"done": audit, "exhausted": audit},
        audit: {"done": told},
        told: {"done": DONE},
    }


def look_at_a_tree(local: LocalRuntime) -> list[str]:
    """A tree, and the children of one."""
    below = [str(child["id"]) for child in local.runner.get("parent::1", tree=True).children]
    return [*below, *(each.id for each in connect("shop").list(parent="parent::1", children=True).items)]
