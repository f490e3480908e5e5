"""Limits: list them, look at one, set its number and take it back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from hephaestus.cli import styles
from hephaestus.cli.steering import Yes, ask
from hephaestus.cli.terminal import Session
from hephaestus.cli.text import ago, asked_by, clock, moment, safe
from hephaestus.runtime.commands import SetLimit, UnsetLimit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.runtime.commands import Command

Json = dict[str, Any]
PAGE: Final = 200
WIDEST: Final = 20  # of a bar
Named = Annotated[str, typer.Argument(metavar="NAME", help="The limit, as stripe or stripe#acme.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="List limits: usage, lines and holders; set and unset their numbers.")
    group.callback(invoke_without_command=True)(limits)
    group.command("list")(list_limits)
    group.command()(show)
    group.command("set")(set_limit)
    group.command("unset")(unset_limit)
    app.add_typer(group, name="limits", rich_help_panel="Look")


def limits(ctx: typer.Context) -> None:
    """List limits: how many permits are held, who waits since when, and whose number counts."""
    if ctx.invoked_subcommand is None:
        list_limits(ctx)


def list_limits(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Option("--name", help="This one, and each value of its per.")] = None,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
) -> None:
    """List limits: how many permits are held, who waits since when, and whose number counts."""
    session: Session = ctx.obj
    page = session.connection.limits(name, limit=PAGE, cursor=cursor)
    if session.json:
        session.write_json(page)
        return
    session.say(_table(page["items"], datetime.now(UTC)) if page["items"] else Text("no limits", style="dim"))
    if page.get("cursor"):
        session.say(Text(f"more: --cursor '{safe(page['cursor'])}'", style="dim"))


def show(ctx: typer.Context, name: Named) -> None:
    """Show a limit: who holds its permits, who stands in line, and who has set its number."""
    session: Session = ctx.obj
    page = session.connection.limits(name, limit=PAGE)
    if session.json:
        session.write_json(page)
        return
    now = datetime.now(UTC)
    one = next((item for item in page["items"] if item["limit"] == name), None)
    if one is not None:
        session.say(*_whole(one, now))
    elif page["items"]:
        session.say(_table(page["items"], now))
    else:
        session.say(Text(f"{safe(name)} was not used yet, and has no number of an operator", style="dim"))
        session.say(Text("→ hephaestus limits", style="dim"))


def set_limit(
    ctx: typer.Context,
    name: Named,
    number: Annotated[int, typer.Argument(metavar="N", help="How many may run at once; 0 stops them all.")],
    yes: Yes = False,
) -> None:
    """Set how many permits a limit has, until it is unset: whatever the code says, and whatever is deployed."""
    asked = SetLimit(limit=name, number=number)
    _do(ctx.obj, asked, f"Set {name} to {number}{', so that nothing that names it runs' * (not number)}?", yes=yes)


def unset_limit(ctx: typer.Context, name: Named, yes: Yes = False) -> None:
    """Take back an operator's number: that of the newest deployment counts again."""
    _do(ctx.obj, UnsetLimit(limit=name), f"Have {name} the number that the code says?", yes=yes)


def _do(session: Session, asked: Command, question: str, *, yes: bool) -> None:
    ask(session, question, yes=yes)
    done = session.connection.do(asked)
    if session.json:
        session.write_json(done)
    else:
        session.say(Text.assemble(("✓ ", "green"), styles.plain(asked.said), " ", (safe(done["limit"]), "bold")))


def _table(items: list[Json], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("LIMIT", "HELD", "", "IN LINE", "OLDEST", "NUMBER"):
        table.add_column(name, overflow="fold" if name == "LIMIT" else "ellipsis", no_wrap=name != "LIMIT")
    for item in items:
        table.add_row(
            styles.plain(item["limit"], "bold"),
            Text(_held(item)),
            _bar(item),
            Text(_line(item)),
            Text(ago(item["waits_since"], now).removesuffix(" ago") if item.get("waits_since") else "-"),
            _number(item, now),
        )
    return table


def _held(item: Json) -> str:
    return "rate" if item.get("kind") == "rate" else f"{item['held']} of {item.get('number', '?')}"


def _bar(item: Json) -> Text:
    """How full it is."""
    number, held = item.get("number") or 0, item["held"]
    width = min(max(number, held), WIDEST)
    full = held if width == max(number, held) else round(held * width / max(number, held))
    return Text.assemble(("▮" * full, "yellow" if held >= number else "green"), ("▯" * (width - full), "dim"))


def _line(item: Json) -> str:
    return f"{item['in_line']}{'+' if item.get('more') else ''}" if item["in_line"] else "-"


def _number(item: Json, now: datetime) -> Text:
    """Whose number it is; of a rate, until when it is reserved."""
    until, rate = moment(item.get("reserved_until")), item.get("kind") == "rate"
    if rate:
        return Text(f"reserved until {clock(until)}" if until is not None and until > now else "free", style="dim")
    if "set_to" not in item:
        return Text("of the code", style="dim")
    by = asked_by(item, "changed_by", "changed_by_source")
    code = f", {item['declared']} in the code" if "declared" in item else ""
    return styles.plain(f"set{by and f' {by}'} {ago(item['changed_at'], now)}{code}", "yellow")


def _whole(item: Json, now: datetime) -> Iterator[Text]:
    """All that is known of a limit."""
    held = " held" if item.get("kind") != "rate" else ""
    yield Text.assemble((safe(item["limit"]), "bold"), f"  {_held(item)}{held}  ", _bar(item))
    yield _number(item, now)
    if "set_to" not in item and item.get("changed_at"):
        by = asked_by(item, "changed_by", "changed_by_source")
        yield Text(f"an operator's number was taken back{by and f' {by}'} {ago(item['changed_at'], now)}", style="dim")
    for holder in item.get("holders", ()):
        yield _place("holds", holder, now)
    if (left := item["held"] - len(item.get("holders", ()))) > 0:
        yield Text(f"      and {left} others", style="dim")
    for place, who in enumerate(item.get("line", ()), 1):
        yield _place(f"{place:>5}", who, now)
    if (left := item["in_line"] - len(item.get("line", ()))) > 0 or item.get("more"):
        yield Text(f"      and {left}{' or more' if item.get('more') else ''} behind them", style="dim")


def _place(what: str, who: Json, now: datetime) -> Text:
    since = ago(who["since"], now).removesuffix(" ago")
    line = Text.assemble((f"{what} ", "dim"), (safe(who["id"]), "bold"))
    line.append(f" ({safe(who['path'])} of {safe(who['root'])})" if who.get("path") else "", style="dim")
    return line.append(f" {safe(who.get('step', ''))}  for {since}")
