"""Steer many instances at once: those that ``list`` shows with the same options."""

from __future__ import annotations

import inspect
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from hephaestus.cli import styles
from hephaestus.cli.looking import filter_of, list_
from hephaestus.cli.steering import options_of
from hephaestus.cli.terminal import Session
from hephaestus.cli.text import counted
from hephaestus.errors import BadRequest
from hephaestus.operations.bulk import COMMANDS, MEANT, Bulk, find, meant, read_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hephaestus.operations.bulk import Outcome, Report, Target

FILTERS: Final = ("workflow", "status", "version", "tag", "since", "until")
SHOWN: Final = 10
LINES: Final = 20  # of progress, where there is no terminal
INTERRUPTED: Final = 130
Operation = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The name of an operation that was cut: what it has done is not done again."),
]
Cursor = Annotated[str | None, typer.Option(help="Where the operation was cut.")]
Rate = Annotated[str, typer.Option(help="At most so many: 20/s, 90/min or 100/h.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do it. Without it, only say what would be done.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Steer all instances that `list` shows with the same options.")
    for action, statuses in MEANT.items():
        usual = f"by default those that are {' or '.join(statuses)}"
        text = f"{action.capitalize()} many instances, {usual}. Without --yes it only says which."
        group.command(action, help=text)(in_bulk(action))
    app.add_typer(group, name="bulk", rich_help_panel="Steer")


def in_bulk(action: str) -> Callable[..., None]:
    """The command that does ``action`` to many: with the filters of ``list``, and the members of the action."""
    of_list = inspect.signature(list_).parameters
    hints = get_type_hints(list_, include_extras=True)
    members, defaults = options_of(COMMANDS[action], without=("instance_id", "by", "request_id"))
    own = {"rate": (Rate, "20/s"), "operation": (Operation, None), "cursor": (Cursor, None), "yes": (Yes, False)}

    def act(ctx: typer.Context, **options: Any) -> None:
        session: Session = ctx.obj
        wanted = meant(action, filter_of(**{name: options[name] for name in FILTERS}, children=False, parent=None))
        asked = {name: options[name] for name in members}
        name = uuid.uuid4().hex[:12] if options["operation"] is None else options["operation"]
        if not name:
            message = "--operation is empty: name the operation that was cut, or leave it out"
            raise BadRequest(message)
        bulk = Bulk(session.connection, action, wanted, asked, name, read_rate(options["rate"]))
        bulk.command("key::value")  # what is malformed, is so at once
        targets = list(find(bulk.deployed, wanted, options["cursor"]))
        if options["yes"]:
            _do(session, bulk, targets)
        else:
            _say_what(session, action, targets)

    parameters: dict[str, tuple[Any, Any]] = {"ctx": (typer.Context, inspect.Parameter.empty)}
    parameters |= {name: (hints[name], of_list[name].default) for name in FILTERS}
    parameters |= {name: (members[name], defaults[name]) for name in members} | own
    act.__annotations__ = {name: annotation for name, (annotation, _) in parameters.items()}
    act.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # which Typer reads
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
            for name, (annotation, default) in parameters.items()
        ]
    )
    return act


def _say_what(session: Session, action: str, targets: Sequence[Target]) -> None:
    """Say what would be done."""
    first = targets[:SHOWN]
    if session.json:
        shown = [{"id": one.id, "status": one.status} for one in first]
        session.write_json({"action": action, "dry_run": True, "found": len(targets), "first": shown})
        return
    session.say(styles.plain(f"would {action} {counted(len(targets), 'instance')}", "bold"))
    session.say(*(Text.assemble("  ", styles.status(one.status), "  ", styles.plain(one.id)) for one in first))
    if len(targets) > SHOWN:
        session.say(Text(f"  and {len(targets) - SHOWN:,} more", style="dim"))
    if targets:
        session.say(Text("nothing was done; --yes does it", style="dim"))
    else:
        session.say(Text("children are left out: their roots steer them", style="dim"))


def _do(session: Session, bulk: Bulk, targets: Sequence[Target]) -> None:
    """Do it, and say what was done.

    Raises:
        typer.Exit: with 1 if some failed, 5 if it ended early as AWS did not answer, 130 after Ctrl-C.
    """
    session.err.print(styles.plain(f"{bulk.action} {counted(len(targets), 'instance')}; operation {bulk.operation}"))
    with _progress(session, len(targets)) as note:
        report = bulk.run(targets, note)
    if session.json:
        session.write_json(_plain(bulk, report))
    else:
        session.say(*_lines(report))
    if report.ended:
        cursor = f" --cursor '{report.cursor}'" if report.cursor else ""
        again = f"go on: the same command with --operation {bulk.operation}{cursor}"
        session.err.print(styles.plain(f"ended early: {report.ended}\n{again}", "yellow"), soft_wrap=True)
        raise typer.Exit(INTERRUPTED if report.ended == "interrupted" else 5)
    if report.failed:
        raise typer.Exit(1)


@contextmanager
def _progress(session: Session, number: int) -> Iterator[Callable[[Outcome], None]]:
    """Show how far it is: a bar, or lines where there is no terminal."""
    if not session.err.is_terminal:
        seen = {"done": 0, "skipped": 0, "failed": 0}

        def say(outcome: Outcome) -> None:
            seen[outcome.became] += 1
            if sum(seen.values()) % max(number // LINES, 1) == 0:
                counts = ", ".join(f"{count:,} {name}" for name, count in seen.items())
                session.err.print(styles.plain(f"{sum(seen.values()):,} of {number:,}: {counts}"))

        yield say
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=session.err) as bar:
        task = bar.add_task("", total=number)
        yield lambda outcome: bar.update(task, advance=1, description=outcome.id[: SHOWN * 4])


def _plain(bulk: Bulk, report: Report) -> dict[str, Any]:
    """The report for a program."""
    known = {"action": bulk.action, "dry_run": False, "operation": bulk.operation, "found": report.found}
    counts = {"done": report.done, "left": report.found - report.seen}
    others = {
        name: [{"id": one.id, "why": one.why} for one in those]
        for name, those in (("skipped", report.skipped), ("failed", report.failed))
    }
    return {**known, **counts, **others, "ended": report.ended, "cursor": report.cursor}


def _lines(report: Report) -> list[Text]:
    """The report for a person."""
    left = report.found - report.seen
    counts = f"{report.done:,} done, {len(report.skipped):,} skipped, {len(report.failed):,} failed"
    lines = [styles.plain(counts + (f", {left:,} left" if left else ""), "bold")]
    for name, those in (("skipped", report.skipped), ("failed", report.failed)):
        style = "red" if name == "failed" else "dim"
        lines += [styles.plain(f"  {name} {one.id}: {one.why}", style) for one in those[:SHOWN]]
        if len(those) > SHOWN:
            lines.append(Text(f"  and {len(those) - SHOWN:,} more {name}", style="dim"))
    return lines
