"""A repository of one's own: ``init`` and ``upgrade``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from hephaestus import __version__
from hephaestus.cli import styles
from hephaestus.cli.terminal import Session
from hephaestus.project.changes import Plan, plan_init, plan_upgrade
from hephaestus.project.packaged import FOLDER
from hephaestus.project.skeleton_files import new_project

if TYPE_CHECKING:
    from hephaestus.project.changes import Change

SIGNS = {"added": "+", "updated": "~", "removed": "-", "kept": "·", "left out": "·"}
Folder = Annotated[Path, typer.Argument(metavar="[FOLDER]", help="The folder; by default this one.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Your own repository")(init)
    app.command(rich_help_panel="Your own repository")(upgrade)


def init(
    ctx: typer.Context,
    folder: Folder = Path(),
    name: Annotated[str | None, typer.Option(help="The stack's name; by default the folder's.")] = None,
    package: Annotated[str | None, typer.Option(help="The package of your workflows; by default the name.")] = None,
) -> None:
    """Set a repository up: a workflow, its test, a template that nests the packaged stack, CI. Overwrites nothing."""
    session: Session = ctx.obj
    plan = plan_init(folder, new_project(folder.resolve().name, __version__, name, package))
    plan.apply()
    if session.json:
        _write_json(session, plan)
        return
    stack = [each for each in plan.changes if each.path.startswith(FOLDER)]
    session.say(*(_line(each) for each in plan.changes if each not in stack))
    session.say(styles.plain(f"+ {FOLDER}/ ({len(stack)} files, which hephaestus upgrade keeps up)", "green"))
    where = [] if folder.resolve() == Path.cwd() else [f"cd {shlex.quote(str(folder))}"]
    lines = [
        *where,
        "pip install -r requirements.txt",
        "pytest",
        f"hephaestus dev src/{plan.project.package}",
        "sam build && sam deploy",
    ]
    session.say(Text("\nnext:"), *(styles.plain(f"  {line}") for line in lines))


def upgrade(
    ctx: typer.Context,
    folder: Folder = Path(),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, and change nothing.")] = False,
) -> None:
    """Show and apply what this release changes in the files that an earlier one wrote. What you changed is kept."""
    session: Session = ctx.obj
    plan = plan_upgrade(folder, __version__)
    if not dry_run:
        plan.apply()
    if session.json:
        _write_json(session, plan)
        return
    for each in plan.changes:
        session.say(_line(each))
        if each.old is not None:
            session.out.print(_coloured(each.diff()), soft_wrap=True)
    done = "would be" if dry_run else "is"
    session.say(styles.plain(f"{folder.resolve().name} {done} at release {__version__}"))


def _line(change: Change) -> Text:
    why = f": {change.why}" if change.why else ""
    kept = f" {change.kind}{why}" if change.kind in ("kept", "left out") else ""
    return styles.plain(f"{SIGNS[change.kind]} {change.path}{kept}", "yellow" if kept else "green")


def _coloured(diff: str) -> Text:
    looks = {"+": "green", "-": "red", "@": "cyan"}
    return Text("\n").join(styles.plain(line, looks.get(line[:1], "")) for line in diff.splitlines())


def _write_json(session: Session, plan: Plan) -> None:
    members = ("path", "kind", "why")
    changes = [{name: getattr(each, name) for name in members} | {"diff": each.diff()} for each in plan.changes]
    session.write_json({"release": plan.project.release, "changes": changes})
