"""The workflows of the nightly report.

    Nightly, by its schedule    tenants ─ reports, a map over them ─ summary
                                            │
    TenantReport, five at once              └─ usage ─ invoices ─ report       each call under the service's rate

Limits hold by their names, whatever starts the work: the schedule, somebody who triggers it, or a report by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from hephaestus import DONE, Concurrency, RateLimit, Retry, Schedule, StepContext, Workflow, step
from hephaestus.steps import Map
from nightly.accounting import Accounting, Demo, TooManyCalls

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True)
class Services:
    """What steps use; a test puts its own there."""

    accounting: Accounting


services: Final = Services(Demo())

at_once: Final = Concurrency("tenant-reports", 5)
calls: Final = RateLimit("accounting", 50, timedelta(minutes=1), burst=10)
patient: Final = Retry(
    max_attempts=6, delay=timedelta(seconds=5), max_delay=timedelta(minutes=5), retry_on=(TooManyCalls,)
)


@step(limits=[calls], retry=patient)
def usage(ctx: StepContext) -> Mapping[str, Any]:
    """Ask what the tenant used."""
    return {"units": services.accounting.usage(ctx.initial["tenant"], ctx.initial["night"])}


@step(limits=[calls], retry=patient)
def invoices(ctx: StepContext) -> Mapping[str, Any]:
    """Ask what the tenant was billed."""
    return {"cents": services.accounting.invoices(ctx.initial["tenant"], ctx.initial["night"])}


@step
def report(ctx: StepContext) -> Mapping[str, Any]:
    """Put both together."""
    units, cents = ctx.steps["usage"]["units"], ctx.steps["invoices"]["cents"]
    return {**ctx.initial, "units": units, "cents": cents, "is_billed": bool(cents) == bool(units)}


class TenantReport(Workflow, key="tenant-report", limits=[at_once]):
    """One tenant's report of one night. In line for its permit it has run nothing, and costs nothing."""

    start_at = usage
    transitions = {usage: {"done": invoices}, invoices: {"done": report}, report: {"done": DONE}}


@step(limits=[calls], retry=patient)
def tenants(ctx: StepContext) -> Mapping[str, Any]:
    """Ask for whom there are reports; the night is the one that the schedule meant."""
    night = f"{ctx.scheduled_for:%Y-%m-%d}" if ctx.scheduled_for else ctx.initial["night"]
    return {"night": night, "tenants": list(services.accounting.tenants())}


@step
def summary(ctx: StepContext) -> Mapping[str, Any]:
    """Say how many reports there are, and what is not billed."""
    made = [one for one in ctx.results("reports") if one is not None]
    counted = ctx.steps["reports"]
    unbilled = [one["tenant"] for one in made if not one["is_billed"]]
    return {"reports": counted["completed"], "failed": counted["failed"], "unbilled": unbilled}


class Nightly(Workflow, key="nightly"):
    """The reports of one night. A tenant whose report fails does not stop the others, up to one in twenty."""

    reports = Map(
        TenantReport,
        over=lambda ctx: [
            {"tenant": tenant, "night": ctx.steps["tenants"]["night"]} for tenant in ctx.steps["tenants"]["tenants"]
        ],
        key=lambda item: item["tenant"],
        tolerate="5%",
        concurrency=200,
        name="reports",
    )
    start_at = tenants
    transitions = {tenants: {"done": reports}, reports: {"done": summary}, summary: {"done": DONE}}
    schedules = [Schedule("every-night", "30 2 * * *", timezone="Europe/Rome")]
