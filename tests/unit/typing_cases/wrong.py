"""A user's mistakes, one a marked line; mypy --strict rejects each of them."""
# ruff: noqa

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from hephaestus import DONE, Choice, Completed, Instance, Pending, Retry, Step, StepContext, Workflow, step
from hephaestus.steps import Wait, WaitForEvent


@step  # wrong: arg-type
def no_context() -> str:
    return "done"


@step  # wrong: arg-type
def number(ctx: StepContext) -> int:
    return 5


@step(events=5)  # wrong: call-overload
def no_events(ctx: StepContext) -> str:
    return "done"


@step(retry=5)  # wrong: call-overload
def no_policy(ctx: StepContext) -> str:
    return "done"


@step
def right(ctx: StepContext) -> str:
    ctx.attempt = 2  # wrong: misc
    return ctx.idempotency  # wrong: attr-defined


class Signature(Step):
    def execute(self, instance: Instance, config: Mapping[str, Any]) -> str:  # wrong: override
        return "done"


class Policy(Step):
    retry = 5  # wrong: assignment


Retry(backoff="quadratic")  # wrong: arg-type
Retry(delay=5)  # wrong: arg-type
Retry(retry_on=("OSError",))  # wrong: arg-type
Completed()  # wrong: call-arg
Completed(5)  # wrong: arg-type
Pending(timeout=30)  # wrong: arg-type
Wait("5 minutes")  # wrong: arg-type
WaitForEvent("approved", timeout=48)  # wrong: arg-type
WaitForEvent(approved=True)  # wrong: call-arg
Choice(right)  # wrong: call-arg
Choice(right, targets=["right"])  # wrong: list-item


class Scope(Workflow, key="orderid", scope="planet"):  # wrong: arg-type
    start_at = right
    transitions = {right: {"done": DONE}}


class Version(Workflow, key="orderid", version="1"):  # wrong: arg-type
    start_at = "right"  # wrong: assignment
    transitions = {right: {"done": "DONE"}}  # wrong: dict-item


class Fine(Workflow, key="orderid", colour="red"):  # wrong: call-arg
    start_at = right
    retry = timedelta(seconds=5)  # wrong: assignment
    transitions = {right: {"done": DONE}}


Fine.start(5)  # wrong: arg-type
Fine.resume("abc")  # wrong: call-arg
Fine.get("abc").colour  # wrong: attr-defined
