"""Look at instances: ``get``, ``list``, ``history``."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hephaestus.cli import styles
from hephaestus.cli.instance_view import instance, said_progress
from hephaestus.cli.terminal import Session
from hephaestus.cli.text import ago, date, dump, read_time, safe, short
from hephaestus.cli.timeline import Timeline
from hephaestus.cli.tree_view import family_tree
from hephaestus.engine.state import CLOSED
from hephaestus.errors import BadRequest, RetryLater
from hephaestus.runtime.queries import read_filter
from hephaestus.store.filters import EVERY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hephaestus.store.filters import ListFilter

Json = dict[str, Any]
PAGE: Final = 200
WATCH_SECONDS: Final = 1.0
PATIENCE: Final = 30  # times in a row that nobody answers
MOST_LEFT: Final = 100  # characters of what an item left
BAD: Final = ("failed", "cancelled")


class Status(StrEnum):
    """Statuses to choose from; a test compares them with the engine's."""

    pending = auto()
    running = auto()
    waiting = auto()
    completed = auto()
    failed = auto()
    cancelled = auto()
    compensating = auto()
    undone = auto()


class ItemStatuses(StrEnum):
    """Statuses of items to choose from; a test compares them with the engine's."""

    pending = auto()
    running = auto()
    waiting = auto()
    retrying = auto()
    completed = auto()
    failed = auto()
    cancelled = auto()
    compensated = auto()
    compensation_failed = auto()


InstanceId = Annotated[str, typer.Argument(metavar="ID", help="The instance's id, as orderid::abc123.")]
COLUMNS: Final = ("id", "of", "key", "status", "workflow", "version", "generation", "tags", "started", "updated")
FOLDED: Final = ("id", "of")
USUAL: Final = "id,status,workflow,started,updated"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("get", rich_help_panel="Look")(get)
    app.command("list", rich_help_panel="Look")(list_)
    app.command("history", rich_help_panel="Look")(history)
    app.command("items", rich_help_panel="Look")(items)


def get(
    ctx: typer.Context,
    instance_id: InstanceId,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay, and show every change until it ends.")] = False,
    full: Annotated[bool, typer.Option("--full", "-f", help="Show the start data and all results in full.")] = False,
    tree: Annotated[bool, typer.Option("--tree", "-t", help="Show its children, and theirs.")] = False,
) -> None:
    """Show an instance: how far it is, what it waits for, what its steps left."""
    session: Session = ctx.obj
    if watch:
        follow(session, instance_id, full=full)
        return
    shown = session.connection.get(instance_id, tree=tree)
    if session.json:
        session.write_json(shown)
    elif tree:
        session.say(family_tree(shown))
    else:
        session.say(instance(shown, session.out.width, full=full))


def follow(session: Session, instance_id: str, *, full: bool = False) -> None:
    """Show an instance again whenever it has changed, until it ends.

    Raises:
        typer.Exit: with status 1 if it ends badly.
    """
    if session.json or not session.out.is_terminal:
        last: Json = {}
        for last in _changes(session, instance_id):
            if session.json:
                session.write_line(dump(last, indent=None))
            else:
                session.say(styles.plain(f"{date(last['updated_at'])}  {last['status']}  {_goes_on(last)}".rstrip()))
    else:
        with Live(console=session.out, auto_refresh=False, vertical_overflow="visible") as live:
            for last in _changes(session, instance_id, always=True):
                live.update(instance(last, session.out.width, full=full, bars=True), refresh=True)
    end_with(last)


def _goes_on(shown: Json) -> str:
    """The steps that wait, and how far maps have come: while items run, and at the end."""
    steps = shown.get("steps", {}).items()
    waiting = [key for key, step in steps if step["status"] == "waiting"]
    maps = [(key, step["progress"]) for key, step in steps if step.get("progress")]
    closed = shown["status"] in CLOSED
    going = [(key, counts) for key, counts in maps if closed or shown["steps"][key]["status"] == "mapping"]
    return ", ".join([*waiting, *(f"{key} {said_progress(counts)}" for key, counts in going)])


def _changes(session: Session, instance_id: str, *, always: bool = False) -> Iterator[Json]:
    """The instance now, and again when it has changed (or every second), until it has ended.

    Raises:
        RetryLater: nobody has answered several times in a row.
    """
    before: Json | None = None
    silent = 0
    while before is None or before["status"] not in CLOSED:
        try:
            shown = session.connection.get(instance_id)
        except RetryLater as error:
            silent += 1
            if before is None or silent >= PATIENCE:
                raise
            session.err.print(Text(f"{safe(error)}; still watching", style="yellow"))
            time.sleep(WATCH_SECONDS)
            continue
        silent = 0
        if always or before is None or _lasting(shown) != _lasting(before):
            yield shown
        before = shown
        if shown["status"] not in CLOSED:
            time.sleep(WATCH_SECONDS)


def _lasting(shown: Json) -> Json:
    """An instance without what changes as time goes by."""
    steps = {
        key: {name: value for name, value in step.items() if name != "why"}
        for key, step in shown.get("steps", {}).items()
    }
    return {**shown, "why": None, "steps": steps}


def end_with(shown: Json) -> None:
    """Leave with status 1 if the instance has ended badly."""
    if shown.get("status") in BAD:
        raise typer.Exit(1)


def list_(
    ctx: typer.Context,
    workflow: Annotated[str | None, typer.Option("--workflow", "-W", help="Of this workflow only.")] = None,
    status: Annotated[
        list[Status] | None, typer.Option("--status", help="In this status only; several times for several.")
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Of this version only.")] = None,
    tag: Annotated[str | None, typer.Option("--tag", "-t", help="With this tag only.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Started since then: 30m, 2h, 3d, 2026-01-31 or a time in ISO 8601.")
    ] = None,
    children: Annotated[bool, typer.Option("--children", help="With children, and what schedules are.")] = False,
    parent: Annotated[str | None, typer.Option(help="The children of this instance only.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=PAGE, help="Rows of a page.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="Every page.")] = False,
    columns: Annotated[str, typer.Option("--columns", "-c", help=f"Any of {', '.join(COLUMNS)}.")] = USUAL,
    until: Annotated[str | None, typer.Option(help="Started before then; written as --since is.")] = None,
) -> None:
    """List instances, newest first."""
    session: Session = ctx.obj
    wanted = _columns(columns)
    own: Json = {"workflow": workflow, "status": status, "version": version, "tag": tag, "since": since, "until": until}
    asked = filter_of(**own, children=children, parent=parent)
    page = session.connection.list(asked, limit=PAGE if every else limit, cursor=cursor)
    items = list(page["items"])
    while page["cursor"] and (every or len(items) < limit):
        # A page may be short where a tag is rare.
        page = session.connection.list(asked, limit=PAGE if every else limit - len(items), cursor=page["cursor"])
        items += page["items"]
    if session.json:
        session.write_json({"items": items, "cursor": page["cursor"]})
        return
    if not items:
        session.say(Text("no instances" + (" like that" if asked != EVERY else ""), style="dim"))
        if workflow is not None and not children and parent is None:
            session.say(Text("children are left out: --children shows them, too", style="dim"))
        return
    session.say(_table(items, wanted, datetime.now(UTC)))
    for paused in sorted({item["paused"] for item in items if "paused" in item}):
        session.say(styles.plain(f"‖ {paused}", "yellow"))
    if page["cursor"]:
        session.say(Text(f"more: --cursor '{safe(page['cursor'])}' or --all", style="dim"))


def filter_of(*, status: list[Status] | None, since: str | None, until: str | None, **others: Any) -> ListFilter:
    """What the options of ``list`` ask for."""
    return read_filter(
        status=[str(one) for one in status] if status else None,
        since=read_time(since) if since else None,
        until=read_time(until) if until else None,
        **others,
    )


def _columns(columns: str) -> list[str]:
    wanted = [name.strip() for name in columns.split(",") if name.strip()]
    wrong = [name for name in wanted if name not in COLUMNS]
    if wrong or not wanted:
        message = f"there is no column {', '.join(wrong)}: there are {', '.join(COLUMNS)}"
        raise BadRequest(message)
    return wanted


def _place(item: Json) -> str:
    """Where a child is in its tree."""
    return f"{safe(item['path'])} of {safe(item['root'])}" if item.get("path") else ""


def _table(items: list[Json], wanted: list[str], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in wanted:
        table.add_column(name.upper(), overflow="fold" if name in FOLDED else "ellipsis", no_wrap=name not in FOLDED)

    def below(item: Json) -> str:
        return f"\n{_place(item)}" if item.get("path") and "of" not in wanted else ""

    cells: dict[str, Callable[[Json], Text]] = {
        "id": lambda item: Text.assemble((safe(item["id"]), "bold"), (below(item), "dim")),
        "of": lambda item: Text(_place(item), "dim"),
        "key": lambda item: styles.plain(item["key"], "bold"),
        "status": lambda item: styles.status(item["status"]) + Text(" ‖" if "paused" in item else "", "yellow"),
        "workflow": lambda item: Text(short(item["workflow"], 28)),
        "version": lambda item: Text(f"v{item['version']}"),
        "generation": lambda item: Text(str(item["generation"])),
        "tags": lambda item: Text(short(", ".join(item.get("tags", [])), 30)),
        "started": lambda item: Text(ago(item["created_at"], now)),
        "updated": lambda item: Text(ago(item["updated_at"], now)),
    }
    for item in items:
        table.add_row(*(cells[name](item) for name in wanted))
    return table


def items(
    ctx: typer.Context,
    instance_id: InstanceId,
    step: Annotated[str, typer.Argument(metavar="MAP", help="The map's key.")],
    status: Annotated[ItemStatuses | None, typer.Option("--status", "-s", help="In this status only.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=PAGE, help="At most so many.")] = 100,
    cursor: Annotated[str | None, typer.Option(help="Begin after this page.")] = None,
) -> None:
    """Show the items of a map: what each came to, and why it failed."""
    session: Session = ctx.obj
    wanted = None if status is None else str(status.value)
    page = session.connection.items(instance_id, step, status=wanted, limit=limit, cursor=cursor)
    while not page["items"] and page.get("cursor"):  # of a map that many instances run, a page may be empty
        page = session.connection.items(instance_id, step, status=wanted, limit=limit, cursor=page["cursor"])
    if session.json:
        session.write_json(page)
        return
    session.say(_items(page["items"]) if page["items"] else Text("no items", style="dim"))
    if page.get("cursor"):
        session.say(Text(f"more: --cursor {page['cursor']}", style="dim"))


def _items(found: list[Json]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    workflows = any(one.get("child") for one in found)
    for name in ("ITEM", "STATUS", "EVENT", *(["CHILD"] if workflows else ()), ""):
        table.add_column(name, no_wrap=name != "", overflow="fold" if name == "CHILD" else "ellipsis")
    for one in found:
        tried = f" ×{one['attempt']}" if one.get("attempt", 0) > 1 else ""
        table.add_row(
            Text(safe(one["key"])),
            styles.status(one["status"]) + Text(tried, "dim"),
            Text(safe(one.get("event", ""))),
            *([_child(one)] if workflows else ()),
            item_left(one),
        )
    return table


def _child(one: Json) -> Text:
    """The instance of an item that is a workflow and, where that is in another status, its own."""
    own = one.get("child_status", "")
    status = f"  {own}" if own and own != one["status"] else ""
    return Text.assemble(safe(one.get("child", "")), (status, "dim"))


def item_left(one: Json) -> Text:
    """What an item left, as JSON, or why it failed."""
    if error := one.get("error"):
        return Text(short(f"{error['type']}: {error['message']}", MOST_LEFT), style="red")
    return Text(short(dump(one["results"], indent=None), MOST_LEFT) if one.get("results") else "", style="dim")


def history(
    ctx: typer.Context,
    instance_id: InstanceId,
    generation: Annotated[int | None, typer.Option("--generation", "-g", min=1, help="An earlier run of it.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many entries.")] = 200,
    last: Annotated[int | None, typer.Option("--last", "-l", min=1, help="The newest entries only.")] = None,
    cursor: Annotated[str | None, typer.Option(help="Begin after this entry.")] = None,
    every: Annotated[bool, typer.Option("--all", "-a", help="Every entry.")] = False,
    payloads: Annotated[bool, typer.Option("--payloads", "-p", help="Show results and payloads.")] = False,
    traces: Annotated[
        bool, typer.Option("--traces", help="Show whole traces, not only where an error was raised.")
    ] = False,
) -> None:
    """Show what happened to an instance: when, for how long, at which attempt, and why it failed."""
    session: Session = ctx.obj
    entries = _entries(session, instance_id, generation, cursor)
    if last is not None:
        timeline, found = Timeline(session.out.width, payloads=payloads, traces=traces), list(entries)
        for entry in found[:-last]:
            timeline.skip(entry)
        _tell(session, found[-last:], timeline)
        return
    taken: list[Json] = []
    more: str | None = None
    timeline = Timeline(session.out.width, payloads=payloads, traces=traces)
    for entry in entries:
        if len(taken) == limit and not every:
            more = str(taken[-1]["sequence"])
            break
        taken.append(entry)
        if not session.json:
            session.say(*timeline.lines(entry))  # as they come: there may be thousands
    session.say(*timeline.rest())
    if session.json:
        session.write_json({"items": taken, "cursor": more})
    elif more:
        session.say(Text(f"more: --cursor {more}, --last 50 or --all", style="dim"))


def _tell(session: Session, entries: list[Json], timeline: Timeline) -> None:
    if session.json:
        session.write_json({"items": entries, "cursor": None})
        return
    for entry in entries:
        session.say(*timeline.lines(entry))
    session.say(*timeline.rest())


def _entries(session: Session, instance_id: str, generation: int | None, cursor: str | None) -> Iterator[Json]:
    """Every entry from ``cursor`` on, page by page."""
    while True:
        page = session.connection.history(instance_id, generation=generation, limit=PAGE, cursor=cursor)
        yield from page["items"]
        cursor = page["cursor"]
        if cursor is None:
            return
