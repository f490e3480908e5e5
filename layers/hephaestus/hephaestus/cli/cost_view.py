"""An estimate for a person: what is counted, what it costs here and elsewhere, and what was assumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from hephaestus.cli.text import counted, safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from hephaestus.costs import Estimate


def costs(title: str, found: Estimate) -> RenderableType:
    """The whole estimate."""
    counts = found.counts
    route = " → ".join(f"{key} ({event})" if event != "done" else key for key, event in counts.route)
    requests = ", ".join(f"{number} {name}" for name, number in counts.requests.items())
    taken = [f"{counted(counts.total_requests, 'request')} of DynamoDB ({requests})"]
    taken += [
        counted(number, what)
        for number, what in (
            (counts.write_units, "write unit"),
            (counts.read_units, "read unit"),
            (counts.invocations, "invocation"),
            (counts.messages, "message"),
            (counts.schedules, "schedule"),
        )
        if number
    ]
    return Group(
        Text(safe(title), style="bold"),
        Text(safe(route), style="dim"),
        Text(),
        Text(f"An instance takes {', '.join(taken)}."),
        Text(),
        _bills(found),
        Text(),
        Text("Assumed", style="bold"),
        _listed(found.assumptions),
    )


def _listed(lines: Sequence[str]) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    for line in lines:
        table.add_row("·", Text(line, style="dim"))
    return table


def _bills(found: Estimate) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("A MILLION INSTANCES")
    table.add_column("EACH", justify="right")
    table.add_column("DOLLARS", justify="right")
    cheapest = min(bill.orchestration for bill in found.bills)
    for number, bill in enumerate(found.bills):
        if number:
            table.add_row()
        table.add_row(Text(bill.name, style="bold"), "", Text(f"{bill.total:,.2f}", style="bold"))
        for line in bill.lines:
            table.add_row(Text(f"  {line.what}", style="dim"), _number(line.count), f"{line.dollars:,.2f}")
        if bill.orchestration != bill.total:
            times = bill.orchestration / cheapest if cheapest else 1
            more = "" if times < 1.05 else f"  {times:.1f} times as much"  # noqa: PLR2004 - as much
            table.add_row(Text(f"  without Lambda's time{more}", style="cyan"), "", f"{bill.orchestration:,.2f}")
    return table


def _number(count: float) -> str:
    return f"{count:,.3f}".rstrip("0").rstrip(".")
