"""The command line put together: options that every command takes, and what becomes of errors."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.text import Text
from typer.core import TyperGroup

from hephaestus.cli import (
    console,
    definitions,
    deployment,
    dev,
    flow_limits,
    in_bulk,
    recurring_work,
    repository,
    steering,
    why_view,
)
from hephaestus.cli import looking as instances
from hephaestus.cli import watched_run as local
from hephaestus.cli.failures import document, words
from hephaestus.cli.terminal import Place, Session
from hephaestus.cli.text import dump
from hephaestus.errors import HephaestusError

if TYPE_CHECKING:
    from collections.abc import Sequence

FLAGS: Final = frozenset({"--json", "--local", "--no-color"})
VALUES: Final = frozenset(
    {"--stack", "--table", "--api", "--region", "--profile", "--endpoint-url", "--module", "-m", "-s"}
)
INTERRUPTED: Final = 130
EPILOG: Final = (
    "The options above may stand anywhere: `hephaestus list --json` is `hephaestus --json list`. "
    "Exit status: 0 done · 1 an instance ended badly, or check or doctor found errors · 2 wrong use · "
    "3 no such thing · 4 refused as things are · 5 AWS, the credentials or the engine failed."
)


class Everywhere(TyperGroup):
    """A group whose own options may stand behind the command, too, and whose commands' errors become exit statuses."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Move the group's options to the front."""
        return super().parse_args(ctx, hoist(args))

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except HephaestusError as error:
            session = ctx.obj if isinstance(ctx.obj, Session) else Session()
            if session.json:
                sys.stderr.write(dump(document(error)) + "\n")
            else:
                session.err.print(Text.assemble(("error: ", "bold red"), words(error)))
            raise typer.Exit(error.exit_code()) from error
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read has read enough
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


def hoist(args: Sequence[str]) -> list[str]:
    """The arguments with the options of every command first; what stands behind ``--`` stays."""
    front: list[str] = []
    rest: list[str] = []
    left = list(args)
    while left:
        one = left.pop(0)
        if one == "--":
            rest += [one, *left]
            break
        if one in FLAGS or (one.startswith("--") and one.partition("=")[0] in VALUES and "=" in one):
            front.append(one)
        elif one in VALUES and left:
            front += [one, left.pop(0)]
        else:
            rest.append(one)
    return [*front, *rest]


app = typer.Typer(
    name="hephaestus",
    cls=Everywhere,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,  # they may hold somebody's data
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"hephaestus {package_version('hephaestus-aws')}\n")
        raise typer.Exit


@app.callback()
def everywhere(
    ctx: typer.Context,
    stack: Annotated[
        str | None, typer.Option("--stack", "-s", help="The stack; by default $HEPHAESTUS_STACK, or hephaestus.")
    ] = None,
    table: Annotated[str | None, typer.Option(help="A table alone, to look at only.")] = None,
    api: Annotated[str | None, typer.Option(help="The API's address alone; by default $HEPHAESTUS_API.")] = None,
    region: Annotated[str | None, typer.Option(help="The region; by default as your profile says.")] = None,
    profile: Annotated[str | None, typer.Option(help="A profile of the AWS configuration.")] = None,
    endpoint_url: Annotated[str | None, typer.Option(help="Another AWS, such as an emulator.")] = None,
    local: Annotated[bool, typer.Option("--local", help="The emulator of `make up`.")] = False,
    module: Annotated[
        list[str] | None,
        typer.Option(
            "--module", "-m", envvar="HEPHAESTUS_WORKFLOWS", help="A module with workflows, for their graphs."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Answer in JSON, as the API does.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; so does NO_COLOR.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Durable workflows on AWS: look at them, and steer them.

    A stack's name is enough to find everything: the table is read with your own credentials, and what changes an
    instance is asked of the deployed functions.
    """
    del version
    if stack is table is api is None:  # what is said here goes before what the environment says
        stack, api = os.environ.get("HEPHAESTUS_STACK") or None, os.environ.get("HEPHAESTUS_API") or None
    modules = [name.strip() for each in module or [] for name in each.split(",") if name.strip()]
    ctx.obj = Session(Place(stack, table, api, region, profile, endpoint_url, local, modules), json, not no_color)


repository.add_to(app)
instances.add_to(app)
why_view.add_to(app)
steering.add_to(app)
in_bulk.add_to(app)
recurring_work.add_to(app)
flow_limits.add_to(app)
definitions.add_to(app)
local.add_to(app)
dev.add_to(app)
deployment.add_to(app)
console.add_to(app)


def run() -> None:
    """Run the command line of this process."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without our signs gets question marks
    app()
