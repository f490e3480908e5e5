"""Limits: list them, look at one, set its number and take it back."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from hephaestus.cli import styles
from hephaestus.cli.steering import Yes, ask
from hephaestus.cli.terminal import Session
from hephaestus.cli.text import ago, asked_by, clock, moment, safe, span
from hephaestus.errors import BadRequest
from hephaestus.runtime.commands import SetLimit, UnsetLimit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.runtime.commands import Command

UNITS: Final = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), timedelta(seconds=1)),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), timedelta(minutes=1)),
    **dict.fromkeys(("h", "hour", "hours"), timedelta(hours=1)),
    **dict.fromkeys(("d", "day", "days"), timedelta(days=1)),
}
NUMBER: Final = r"([0-9]{1,10}|[0-9]{1,3}(?:[,_][0-9]{3})+)"  # a comma is no decimal point
Json = dict[str, Any]
PAGE: Final = 200
WIDEST: Final = 20  # of a bar
WHOLE: Final = 48  # letters of a name that stay in one line, to be copied
Named = Annotated[str, typer.Argument(metavar="NAME", help="The limit, as stripe or stripe#acme.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="List limits: usage, lines and holders; set and unset their numbers.")
    group.callback(invoke_without_command=True)(limits)
    group.command("list")(list_limits)
    group.command()(show)
    group.command("set", context_settings={"ignore_unknown_options": True})(set_limit)  # so that -1 is a number
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
    number: Annotated[
        str,
        typer.Argument(metavar="N", help="How many may run at once, or start in a time, as 50/s; 0 stops them all."),
    ],
    burst: Annotated[int | None, typer.Option(help="Of a rate: how many may start at once after a pause.")] = None,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Shown with the limit.")] = "",
    yes: Yes = False,
) -> None:
    """Set how many permits a limit has, or how fast a rate is, until it is unset: whatever the code says."""
    count, period = read_number(number)
    asked = SetLimit(limit=name, number=count, period_seconds=period, burst=burst, reason=reason)
    _do(ctx.obj, asked, f"Set {name} to {number}{', so that nothing that names it runs' * (not count)}?", yes=yes)


def unset_limit(ctx: typer.Context, name: Named, yes: Yes = False) -> None:
    """Take back an operator's number: that of the newest deployment counts again."""
    _do(ctx.obj, UnsetLimit(limit=name), f"Have {name} the number that the code says?", yes=yes)


def read_number(text: str) -> tuple[int, timedelta | None]:
    """A number, and of a rate the time, of what a person writes: ``5``, ``50/s``, ``500/min``, ``20/10s``.

    Raises:
        BadRequest: it is none of these.
    """
    found = re.fullmatch(rf"{NUMBER}(?:/([0-9]{{0,6}})\s*([a-z]+))?", text.strip())
    unit = None if found is None or found[3] is None else UNITS.get(found[3])
    if found is None or (found[3] is not None and unit is None):
        wrong = "a limit is 0 or more" if re.fullmatch(r"-\d+", text) else f"{text[:40]!r} is no number of a limit"
        message = f"{wrong}: write 5, or of a rate 50/s, 500/min or 20/10s"
        raise BadRequest(message)
    return int(found[1].replace(",", "_")), None if unit is None else unit * int(found[2] or 1)


def _do(session: Session, asked: Command, question: str, *, yes: bool) -> None:
    ask(session, question, yes=yes)
    done = session.connection.do(asked)
    if session.json:
        session.write_json(done)
    else:
        session.say(Text.assemble(("✓ ", "green"), styles.plain(asked.said), " ", (safe(done["limit"]), "bold")))


def _table(items: list[Json], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    folded = ("LIMIT", "NUMBER") if any(len(item["limit"]) > WHOLE for item in items) else ("NUMBER",)
    for name in ("LIMIT", "HELD", "", "IN LINE", "OLDEST", "NUMBER"):
        table.add_column(name, overflow="fold" if name in folded else "ellipsis", no_wrap=name not in folded)
    for item in items:
        table.add_row(
            styles.plain(item["limit"], "bold"),
            Text(_held(item)),
            Text() if item.get("kind") == "rate" else _bar(item),
            Text(_line(item)),
            Text(ago(item["waits_since"], now).removesuffix(" ago") if item.get("waits_since") else "-"),
            _number(item, now),
        )
    return table


def _held(item: Json) -> str:
    if item.get("kind") != "rate":
        return f"{item['held']} of {item.get('number', '?')}"
    return _speed(item) if "number" in item else "rate"


def _speed(item: Json, declared: str = "") -> str:
    """How fast a rate is, as ``500 in 1 min``."""
    number = item["declared" if declared else "number"]
    return f"{number:,} in {item[f'{declared}period_seconds']:g} s"


def _bar(item: Json) -> Text:
    """How full it is."""
    number, held = item.get("number") or 0, item["held"]
    width = min(max(number, held), WIDEST)
    full = held if width == max(number, held) else round(held * width / max(number, held))
    return Text.assemble(("▮" * full, "yellow" if held >= number else "green"), ("▯" * (width - full), "dim"))


def _line(item: Json) -> str:
    return f"{item['in_line']}{'+' if item.get('more') else ''}" if item["in_line"] else "-"


def _number(item: Json, now: datetime) -> Text:
    """Whose number it is; of a rate, how far ahead it is reserved."""
    rate = item.get("kind") == "rate"
    ahead = f", {_ahead(item, now)}" if rate else ""
    if "set_to" not in item:
        return Text(f"of the code{ahead}", style="dim")
    by = asked_by(item, "changed_by", "changed_by_source")
    code = f", {_speed(item, 'declared_') if rate else item['declared']} in the code" if "declared" in item else ""
    return styles.plain(f"set{by and f' {by}'} {ago(item['changed_at'], now)}{code}{ahead}", "yellow")


def _ahead(item: Json, now: datetime) -> str:
    """When the next may start under a rate."""
    if not item.get("number"):
        return "nothing starts" if "number" in item else "free"
    at = moment(item.get("next_at"))
    seconds = 0.0 if at is None else (at - now).total_seconds()
    return f"next place in {span(seconds)}" if seconds > 0 else "free"


def _whole(item: Json, now: datetime) -> Iterator[Text]:
    """All that is known of a limit."""
    rate = item.get("kind") == "rate"
    more = f", {item['burst']:,} at once" if rate and "burst" in item else "" if rate else " held"
    yield Text.assemble((safe(item["limit"]), "bold"), f"  {_held(item)}{more}  ", *(() if rate else (_bar(item),)))
    yield _number(item, now)
    until = moment(item.get("reserved_until"))
    if rate and until is not None and until > now:
        yield Text(f"all places are free again at {clock(until)}", style="dim")
    if item.get("reason"):
        yield Text(f"reason: {safe(item['reason'])}", style="dim")
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
