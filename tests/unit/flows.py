"""Small workflows that several tests share."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hephaestus import DONE, Choice, Completed, Retry, StepContext, Workflow, step
from hephaestus.steps import Wait, WaitForEvent

FAST = Retry(max_attempts=3, backoff="constant", delay=timedelta(seconds=2), jitter="none")


@step(events=("valid", "invalid"))
def validate(ctx: StepContext) -> Completed | str:
    """Say whether there is anything to buy."""
    if not ctx.initial.get("items"):
        return "invalid"
    return Completed("valid", {"total": sum(ctx.initial["items"])}, {"checked": True})


@step
def reserve(ctx: StepContext) -> dict[str, Any]:
    """One branch."""
    return {"reserved": ctx.steps["validate"]["total"]}


@step
async def receipt(ctx: StepContext) -> dict[str, Any]:
    """Go along the other branch, as a coroutine."""
    return {"receipt": f"{ctx.instance_id}/{ctx.steps['validate']['total']}"}


@step
def ship(ctx: StepContext) -> str:
    """End well."""
    return "done"


@step
def refund(ctx: StepContext) -> str:
    """End otherwise."""
    return "done"


approval = WaitForEvent("approved", "rejected", name="approval", timeout=timedelta(hours=48))


class Order(Workflow, key="orderid", tags=["sales"], metadata={"team": "shop"}):
    """Fan-out, fan-in, an approval with a deadline."""

    start_at = validate
    transitions = {
        validate: {"valid": [reserve, receipt], "invalid": DONE},
        reserve: {"done": approval},
        receipt: {"done": approval},
        approval: {"approved": ship, "rejected": refund, "timeout": refund},
        ship: {"done": DONE},
        refund: {"done": DONE},
    }


first_wait = WaitForEvent("go", "stop", name="first", timeout=timedelta(hours=1))
second_wait = WaitForEvent("go", "halt", name="second", timeout=timedelta(hours=2))


@step
def fork(ctx: StepContext) -> str:
    """Fan out."""
    return "done"


@step
def join(ctx: StepContext) -> dict[str, Any]:
    """Come together again."""
    return {"events": dict(ctx.events)}


class TwoWaits(Workflow, key="two"):
    """Two waits at once, each with its own deadline."""

    start_at = fork
    transitions = {
        fork: {"done": [first_wait, second_wait]},
        first_wait: {"go": join, "stop": join, "timeout": join},
        second_wait: {"go": join, "halt": join, "timeout": join},
        join: {"done": DONE},
    }


pause = Wait(seconds=60, name="pause")
later = WaitForEvent("yes", name="later")


class Early(Workflow, key="early"):
    """The event may come before its step waits."""

    start_at = pause
    transitions = {pause: {"done": later}, later: {"yes": join, "timeout": join}, join: {"done": DONE}}


@step
def left(ctx: StepContext) -> str:
    """Left."""
    return "done"


@step
def right(ctx: StepContext) -> str:
    """Right."""
    return "done"


def pick(ctx: StepContext) -> Any:
    """Route on the data."""
    wanted = {"left": left, "right": right}
    return [wanted[name] for name in ctx.steps["look"]["ways"]]


@step
def look(ctx: StepContext) -> dict[str, Any]:
    """Read the data."""
    return {"ways": ctx.initial["ways"]}


class Routed(Workflow, key="routed"):
    """A Choice."""

    start_at = look
    transitions = {
        look: {"done": Choice(pick, targets=[left, right])},
        left: {"done": join},
        right: {"done": join},
        join: {"done": DONE},
    }
