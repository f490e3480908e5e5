"""The workflows that a soak runs: their effects can be counted, their steps fail, are slow or wait as they are told.

Whoever runs them sets ``witness`` first. Effects go two ways: as ``writes=`` to a table of the user's, exactly once
with the step's result; and to the witness, directly, as a step does that may run once at most.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol
from zlib import crc32

from hephaestus import DONE, Completed, NonRetryable, Pending, Retry, StepContext, Update, Workflow, step
from hephaestus.steps import Wait, WaitForEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus import Instance

EFFECTS: Final = "soak-effects"
TOTALS: Final = 16
ONCE: Final = "handover"  # the step that runs once at most
PATIENT: Final = Retry(max_attempts=12, backoff="constant", delay=timedelta(milliseconds=50))


class Witness(Protocol):
    """Who is told what steps do, as soon as they do it."""

    def ran(self, key: str) -> None:
        """The step with this idempotency key runs."""

    def fixed(self, instance_id: str) -> bool:
        """Whether what made the instance's step fail is fixed."""


class Nobody:
    """A witness that stands for none: a soak that forgot to set one fails."""

    def ran(self, key: str) -> None:
        """Refuse."""
        message = f"{key} ran, and nobody counted: set benchmarks.soaking.flows.witness first"
        raise RuntimeError(message)

    def fixed(self, instance_id: str) -> bool:
        """Refuse."""
        message = f"nobody knows of {instance_id}: set benchmarks.soaking.flows.witness first"
        raise RuntimeError(message)


witness: Witness = Nobody()


def key(ctx: StepContext) -> str:
    """The idempotency key with the number of its generation in place of its life, which the audit does not know."""
    return ctx.idempotency_key.replace(f":{ctx.instance.life}:", f":{ctx.instance.generation}:", 1)


def total_of(instance_id: str) -> str:
    """The counter that an instance's effects share with those of others, so that transactions meet."""
    return f"total#{crc32(instance_id.encode()) % TOTALS}"


def counted(ctx: StepContext) -> Completed:
    """Count the effect, once under its own key and once in a total."""
    one = {":one": 1}
    own = Update(EFFECTS, {"pk": key(ctx)}, "ADD times :one", values=one)
    total = Update(EFFECTS, {"pk": total_of(ctx.instance_id)}, "ADD times :one", values=one)
    return Completed("done", {"attempt": ctx.attempt}, writes=[own, total])


@step
def pack(ctx: StepContext) -> Completed:
    """The first step, with an effect."""
    time.sleep(ctx.initial["pack_seconds"])
    return counted(ctx)


@step
def label(ctx: StepContext) -> dict[str, Any]:
    """Fail as often as the start data say."""
    if ctx.attempt <= ctx.initial["label_fails"]:
        message = f"attempt {ctx.attempt} fails on purpose"
        raise RuntimeError(message)
    return {"attempt": ctx.attempt}


@step(timeout=0.6)
def weigh(ctx: StepContext) -> dict[str, Any]:
    """Take too long for its timeout, at first."""
    if ctx.attempt == 1:
        time.sleep(ctx.initial["weigh_seconds"])
    return {"attempt": ctx.attempt}


class Pickup(WaitForEvent):
    """Wait for ``collected``, for as long as the start data say."""

    def __init__(self) -> None:
        super().__init__("collected", timeout=timedelta(hours=1), name="pickup")

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Pending:  # noqa: ARG002 - the signature of every step
        """Suspend until somebody collects it or the time is up."""
        return Pending(timeout=timedelta(seconds=context.initial["deadline_seconds"]))


pickup: Final = Pickup()
rest: Final = Wait(seconds=0.3, name="rest")


@step(semantics="at_most_once")
def handover(ctx: StepContext) -> dict[str, Any]:
    """Run once at most, which the witness counts."""
    witness.ran(key(ctx))
    time.sleep(ctx.initial["handover_seconds"])
    return {"why": ctx.events["pickup"]}


@step
def apologise(ctx: StepContext) -> Completed:
    """What follows where nobody knows whether ``handover`` ran."""
    return counted(ctx)


@step
def invoice(ctx: StepContext) -> Completed:
    """The last step, with an effect."""
    return counted(ctx)


class Parcel(Workflow, key="parcel"):
    """Fan-out, retries, a step's timeout, an event with a deadline, fan-in, a step at most once, a wait, effects."""

    retry = PATIENT
    start_at = pack
    transitions = {
        pack: {"done": [label, weigh, pickup]},
        label: {"done": handover},
        weigh: {"done": handover},
        pickup: {"collected": handover, "timeout": handover},
        handover: {"done": rest, "error": apologise},
        rest: {"done": invoice},
        invoice: {"done": DONE},
        apologise: {"done": DONE},
    }


def cancel_hotel(ctx: StepContext) -> Completed:
    """Undo ``hotel``, at the second attempt."""
    if ctx.attempt == 1:
        message = "the first attempt to undo it fails on purpose"
        raise RuntimeError(message)
    return counted(ctx)


@step(compensate=counted)
def flight(ctx: StepContext) -> Completed:
    """An effect that can be undone."""
    return counted(ctx)


@step(compensate=cancel_hotel)
def hotel(ctx: StepContext) -> Completed:
    """An effect that can be undone with difficulty."""
    return counted(ctx)


@step
def car(ctx: StepContext) -> Completed:
    """Fail for good where the start data say so, until that is fixed."""
    if ctx.initial["doomed"] and not witness.fixed(ctx.instance_id):
        message = "there is no car, on purpose"
        raise NonRetryable(message)
    return counted(ctx)


confirmation: Final = WaitForEvent("confirmed", name="confirmation")


class Journey(Workflow, key="journey"):
    """A saga: two steps that can be undone, an event without a deadline, and a step that may fail."""

    retry = PATIENT
    start_at = flight
    transitions = {
        flight: {"done": hotel},
        hotel: {"done": confirmation},
        confirmation: {"confirmed": car},
        car: {"done": DONE},
    }


WORKFLOWS: Final = (Parcel, Journey)
