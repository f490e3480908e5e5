"""The deployment itself: ``doctor`` and ``dlq redrive``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from hephaestus.cli import styles
from hephaestus.cli.terminal import Session
from hephaestus.cli.text import counted, safe
from hephaestus.dead_letters import Places, asynchronously, redrive_all
from hephaestus.dead_letters.places import DEAD_LETTERS
from hephaestus.errors import BadRequest
from hephaestus.operations.doctor import examine, examine_api
from hephaestus.operations.local import DEV

if TYPE_CHECKING:
    from hephaestus.dead_letters import Report
    from hephaestus.operations import Stack

SHOWN: Final = 20
LOOKS: Final = {"ok": ("✓", "green"), "note": ("·", "yellow"), "wrong": ("✗", "bold red")}


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Deployment")(doctor)
    letters = typer.Typer(no_args_is_help=True, help="Dead letters: what failed again and again.")
    letters.command("redrive")(redrive_letters)
    app.add_typer(letters, name="dlq", rich_help_panel="Deployment")


def doctor(ctx: typer.Context) -> None:
    """Look at what is deployed, what is missing, and what you may do. Status 1 if something is wrong."""
    session: Session = ctx.obj
    findings = []
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    api = session.connection.api if session.place.stack == DEV or session.place.api else None
    for finding in examine_api(api) if api else examine(session.account, session.place.stack):
        findings.append(finding)
        sign, style = LOOKS[finding.verdict]
        detail = Text(safe(finding.detail))
        if finding.fix:
            detail.append(f"\n→ {safe(finding.fix)}", style="yellow" if finding.verdict == "note" else "red")
        table.add_row(Text(sign, style=style), Text(finding.what, style="bold"), detail)
    wrong = sum(finding.verdict == "wrong" for finding in findings)
    if session.json:
        members = ("what", "verdict", "detail", "fix")
        session.write_json(
            {"ok": not wrong, "findings": [{name: getattr(each, name) for name in members} for each in findings]}
        )
    else:
        session.say(table, Text())
        session.say(Text(f"{counted(wrong, 'thing')} to fix", "red") if wrong else Text("all is well", "green"))
    if wrong:
        raise typer.Exit(1)


def redrive_letters(
    ctx: typer.Context,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1, help="At most so many letters a queue.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")] = False,
) -> None:
    """Send dead letters where they belong. Status 1 if some are left."""
    session: Session = ctx.obj
    stack = _stack(session)
    queues = {name: stack.outputs[key] for name, key in DEAD_LETTERS.items() if key in stack.outputs}
    account = session.account
    ingest, bulk = (stack.outputs.get(key, "") for key in ("IngestQueueUrl", "BulkQueueUrl"))
    places = Places(stack.outputs["WorkQueueUrl"], queues, ingest_queue=ingest, bulk_queue=bulk)
    sqs, receiving = account.client("sqs"), account.client("sqs", read_timeout=15)
    invoke = asynchronously(stack.functions, account.client("lambda"))
    reports = dict(redrive_all(places, sqs, receiving, invoke, limit=limit, dry_run=dry_run))
    if session.json:
        session.write_json({name: _plain(report) for name, report in reports.items()})
    else:
        for name, report in reports.items():
            session.say(*_told(name, report, dry_run=dry_run))
    if any(report.failure for report in reports.values()):
        raise typer.Exit(5)
    if any(report.left for report in reports.values()):
        raise typer.Exit(1)


def _stack(session: Session) -> Stack:
    stack = session.connection.stack
    if stack is None:
        message = "dead letters are those of a deployed stack: name it with --stack; hephaestus dev has none"
        raise BadRequest(message)
    return stack


def _plain(report: Report) -> dict[str, Any]:
    left = [{"message_id": each.message_id, "reason": each.reason} for each in report.left]
    counts = {"found": report.found, "sent": report.sent, "merged": report.merged}
    return {**counts, "left": left, "failure": report.failure}


def _told(name: str, report: Report, *, dry_run: bool) -> list[Text]:
    sent = "would be sent" if dry_run else "sent"
    merged = f", {report.merged} more of the same instances" if report.merged else ""
    lines = [
        Text.assemble((name, "bold"), f": {report.found} found, {report.sent} {sent}{merged}, {len(report.left)} left")
    ]
    lines += [styles.plain(f"  {each.message_id}: {each.reason}") for each in report.left[:SHOWN]]
    if len(report.left) > SHOWN:
        lines.append(Text(f"  and {len(report.left) - SHOWN} more", style="dim"))
    if report.failure:
        lines.append(styles.plain(f"  ended early: {report.failure}", "red"))
    return lines
