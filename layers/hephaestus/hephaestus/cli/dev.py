"""``hephaestus dev``: workflows on this machine, with everything that they run on."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import signal
import sys
import threading
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.text import Text

from hephaestus.cli.data import ObjectsFolder
from hephaestus.cli.modules import NoSuchModule, load, locate, nothing_in
from hephaestus.cli.terminal import Session
from hephaestus.cli.text import safe
from hephaestus.errors import BadRequest
from hephaestus.project.changes import package_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.definition.workflow import Workflow
    from hephaestus.dev.serving_all import Served
    from hephaestus.runtime.registry import Registry

LAST_PORT: Final = 65_535
DEFAULT: Final = "workflows"
EXAMPLES: Final[Mapping[str, Any]] = {"string": "", "integer": 1, "number": 1, "boolean": True, "array": []}


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Definitions")(dev)


def dev(
    ctx: typer.Context,
    modules: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODULE]...",
            help="Modules or files with workflows; by default -m, the package of `init`, or `workflows`.",
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=LAST_PORT, help="Where the API listens. 0: any.")] = 8700,
    state: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Where instances are kept; by default .hephaestus/dev.sqlite.")
    ] = None,
    objects: ObjectsFolder = None,
    reset: Annotated[bool, typer.Option("--reset", help="Forget the instances of earlier runs first.")] = False,
) -> None:
    """Run workflows on this machine: the API, timers, links and the console, until Ctrl+C.

    Nothing of AWS is used. Instances are kept in `.hephaestus`, and go on when it is started again. When a file of the
    modules changes, they are imported again.
    """
    from hephaestus.dev import readable_log  # noqa: PLC0415 - no other command needs the handlers
    from hephaestus.dev.folder import Folder  # noqa: PLC0415 - as above
    from hephaestus.dev.reloading import Modules  # noqa: PLC0415 - as above
    from hephaestus.dev.serving_all import serving  # noqa: PLC0415 - as above

    session: Session = ctx.obj
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl+C: everything is stopped
    with suppress(KeyboardInterrupt), Folder(Path.cwd(), state) as folder:
        names = _names(modules or session.place.modules or [package_in(Path()) or DEFAULT])
        if reset:
            folder.reset()
        readable_log.set_up(_write)
        console_port, by = None if port else 0, getpass.getuser()
        with serving(folder, Modules(names), port=port, console_port=console_port, by=by, objects=objects) as served:
            _say(session, served, folder.state, names)
            with suppress(KeyboardInterrupt):
                threading.Event().wait() if os.name != "nt" else _wait_on_windows()
            _write("stopping; steps that still run after 5 seconds are interrupted")


def _names(given: Sequence[str]) -> list[str]:
    """The modules' names.

    Raises:
        NoSuchModule: there is no such module; whether it can be imported is another matter.
        BadRequest: it is a folder of modules.
    """
    names = [locate(each) for each in given]
    for name in names:
        found = PathFinder.find_spec(name.partition(".")[0])
        if found is None:
            message = (
                f"there is no module {name} here: name the one that holds your workflows, as hephaestus dev orders.py"
            )
            raise NoSuchModule(message)
        if found.name == name and found.origin is None:  # a folder without __init__.py, in which is no workflow
            raise BadRequest(nothing_in(load(name)))
    return names


def _wait_on_windows() -> None:
    while not threading.Event().wait(1):  # nothing interrupts a wait without an end
        pass


def _write(line: str) -> None:
    with suppress(BrokenPipeError, ValueError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _say(session: Session, served: Served, state: Path, modules: Sequence[str]) -> None:
    """Where everything is, and three lines to try."""
    registry = served.embedded.runner.registry
    names = registry.names()
    if session.json:
        session.write_json({"url": served.url, "console": served.console, "state": str(state), "workflows": names})
        return
    shown = state.relative_to(Path.cwd()) if state.is_relative_to(Path.cwd()) else state
    session.say(Text(safe(f"{', '.join(names) or 'no workflow yet'}, kept in {shown}. Ctrl+C ends it.")))
    if not names:
        session.say(*(Text(safe(nothing_in(sys.modules[one]))) for one in modules if one in sys.modules))
    start, event = lines_to_try(registry, served.url)
    lines = (("start", start), ("event", event), ("console", served.console))
    sys.stdout.write("\n" + "".join(f"  {what:<9}{line}\n" for what, line in lines if line) + "\n")  # never wrapped
    sys.stdout.flush()


def lines_to_try(registry: Registry, url: str) -> tuple[str, str]:
    """Two commands to try on the first workflow; the second is empty where none of its steps takes an event."""
    flow = next(iter(registry), None)
    name, key = (flow.name, flow.business_key.name) if flow else ("YourWorkflow", "key")
    current = flow.versions[flow.current] if flow else None
    definition = flow.definition(flow.current) if flow else None
    start = {"id": "1", "context": _example(current)}
    waiting = [step for step in definition.declared.values() if step.waits] if definition else []
    step = min(waiting, key=lambda it: it.events == ("done",), default=None)  # a ``Wait`` ends by itself
    event = {"event": step.events[0] if step else "done"}
    number = f"{key}::1" + (f"::v{flow.current}" if flow and flow.business_key.scope == "version" else "")
    second = f"curl -s {url}/instances/{number}/events -H 'Prefer: wait=10' -d {shlex.quote(json.dumps(event))}"
    first = f"curl -s {url}/workflows/{name}/instances -H 'Prefer: wait=10' -d {shlex.quote(json.dumps(start))}"
    return first, second if step or flow is None else ""


def _example(flow: type[Workflow] | None) -> dict[str, Any]:
    """The workflow's own ``example``; else what may fit: an empty value for each member that ``Input`` asks for."""
    if flow is None:
        return {}
    if flow.example is not None or flow.Input is None:
        return dict(flow.example or {})
    schema = flow.Input.model_json_schema()
    members = schema.get("properties", {})
    return {name: EXAMPLES.get(members.get(name, {}).get("type"), {}) for name in schema.get("required", ())}
