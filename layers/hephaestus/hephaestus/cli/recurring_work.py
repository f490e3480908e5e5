"""Schedules: list them, and do to them what operators do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from hephaestus.cli import styles
from hephaestus.cli.data import read_object
from hephaestus.cli.steering import Data, Input, Named, RequestId, made_of, tell
from hephaestus.cli.text import ago, short
from hephaestus.runtime.commands import ROUTED, CreateSchedule

if TYPE_CHECKING:
    from hephaestus.cli.terminal import Session

Json = dict[str, Any]
SHOWN: Final = 60


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="List schedules; pause, trigger, create and delete them.")
    group.callback(invoke_without_command=True)(schedules)
    group.command("list")(list_schedules)
    group.command("create")(create)
    for command in ROUTED:
        if "schedule" in command.members and command is not CreateSchedule:
            group.command(command.action.partition("_")[0], help=command.__doc__)(made_of(command))
    app.add_typer(group, name="schedules", rich_help_panel="Look")


def schedules(ctx: typer.Context) -> None:
    """List schedules: when each is due next, on the clocks of its zone, and what became of the last occurrence."""
    if ctx.invoked_subcommand is None:
        list_schedules(ctx)


def list_schedules(ctx: typer.Context) -> None:
    """List schedules: when each is due next, on the clocks of its zone, and what became of the last occurrence."""
    session: Session = ctx.obj
    items = session.connection.schedules()
    if session.json:
        session.write_json({"items": items})
    elif not items:
        session.say(Text("no schedules", style="dim"))
    else:
        session.say(_table(items, datetime.now(UTC)))


def create(  # a schedule's own options
    ctx: typer.Context,
    schedule: Named,
    cron: Annotated[str, typer.Argument(help="Five fields, as '30 2 * * 1-5'.")],
    timezone: Annotated[str, typer.Option("--timezone", "-z", help="The zone whose clocks count.")] = "UTC",
    data: Data = None,
    input: Input = None,  # noqa: A002 - the option's name
    overlap: Annotated[str, typer.Option(help="While one before is open: skip, queue or allow.")] = "skip",
    catch_up: Annotated[str, typer.Option(help="Which missed ones start: last, none, or how many.")] = "last",
    jitter: Annotated[int, typer.Option(help="Start each up to so many seconds later.")] = 0,
    request_id: RequestId = None,
) -> None:
    """Create a schedule that no code declares; what its occurrences start with comes by --data or --input."""
    session: Session = ctx.obj
    context = read_object(data, input, "the start data")
    given: Json = {"timezone": timezone, "overlap": overlap, "catch_up": catch_up, "jitter": jitter}
    asked = CreateSchedule(schedule=schedule, cron=cron, context=context, request_id=request_id, **given)
    tell(session, session.connection.do(asked), CreateSchedule.said, wait=None, watch=False)


def _table(items: list[Json], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("SCHEDULE", "CRON", "NEXT", "LAST", "SKIPPED"):
        table.add_column(name, overflow="fold" if name == "SCHEDULE" else "ellipsis", no_wrap=name != "SCHEDULE")
    for item in items:
        last = item.get("last")
        table.add_row(
            styles.plain(item["schedule"], "bold"),
            styles.plain(item["cron"]),
            _next(item),
            Text(ago(last["scheduled_for"], now) if last else "-"),
            _skipped(item),
        )
    return table


def _next(item: Json) -> Text:
    """When it is due, on the clocks of its zone, or why it is not."""
    paused = item.get("paused")
    if paused:
        by = f" by {paused['by']}" if paused["by"] else ""
        return styles.plain(short(f"paused{by}: {paused['reason'] or 'no reason given'}", SHOWN), "yellow")
    times = item.get("next_at") or ()
    if not times:
        return Text("-")
    return styles.plain(f"{datetime.fromisoformat(times[0]):%Y-%m-%d %H:%M} {item['timezone']}")


def _skipped(item: Json) -> Text:
    """How many were left out, and why the newest was."""
    skip = item.get("skip")
    return styles.plain(short(f"{item['skipped']}, {skip['reason']}", SHOWN)) if skip else Text("-")
