"""A customer's first days, in two versions: what was started with the first stays on it, new ones take the second.

Version 2 waits before it asks how things are, and lets the customer answer.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hephaestus import DONE, StepContext, Workflow, step
from hephaestus.steps import Wait, WaitForEvent
from workflows.services import mail


@step
async def welcome(ctx: StepContext) -> dict[str, Any]:
    """Greet the customer."""
    return {"message_id": await mail.send(ctx.initial["email"], "Welcome", ctx.idempotency_key)}


@step
async def ask(ctx: StepContext) -> dict[str, Any]:
    """Ask how things are."""
    return {"message_id": await mail.send(ctx.initial["email"], "How are things?", ctx.idempotency_key)}


settle_in = Wait(seconds=5, name="settle_in")
feedback = WaitForEvent("happy", "unhappy", timeout=timedelta(days=7), name="feedback")


class OnboardingV1(Workflow, key="customerid", version=1):
    """Greet and ask at once."""

    start_at = welcome
    transitions = {welcome: {"done": ask}, ask: {"done": DONE}}


class OnboardingV2(Workflow, key="customerid", version=2):
    """Greet, wait, ask, and wait for an answer."""

    start_at = welcome
    example = {"email": "ada@example.com"}
    transitions = {
        welcome: {"done": settle_in},
        settle_in: {"done": ask},
        ask: {"done": feedback},
        feedback: {"happy": DONE, "unhappy": DONE, "timeout": DONE},
    }


class Onboarding(Workflow, versions={1: OnboardingV1, 2: OnboardingV2}, current=2):
    """All versions of the workflow."""
