"""Start instances and steer them."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.text import Text

from hephaestus.cli import styles
from hephaestus.cli.data import NOTHING, read_data, read_object
from hephaestus.cli.instance_view import instance, redrive_lines, repeated_items
from hephaestus.cli.looking import InstanceId, end_with, follow
from hephaestus.cli.terminal import Session
from hephaestus.cli.text import safe
from hephaestus.errors import BadRequest
from hephaestus.runtime.commands import ROUTED, Cancel, Command, Deliver, Fork, Redrive, Start
from hephaestus.runtime.commands.members import REQUIRED, Declared
from hephaestus.runtime.names import SCHEDULE_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Json = dict[str, Any]
MAX_WAIT: Final = 25
OWN: Final = (Start, Deliver, Cancel, Redrive, Fork)  # these have more to them than their members
Data = Annotated[str | None, typer.Option("--data", "-d", metavar="JSON", help="JSON, on the command line.")]
Input = Annotated[
    str | None, typer.Option("--input", "-i", metavar="FILE", help="JSON in a file, or in place; - is standard input.")
]
Wait = Annotated[
    int | None,
    typer.Option("--wait", "-w", min=1, max=MAX_WAIT, metavar="SECONDS", help="Wait until it settles, 25 s at most."),
]
Watch = Annotated[bool, typer.Option("--watch", help="Stay, and show every change until it ends.")]
RequestId = Annotated[str | None, typer.Option(help="A name for this request: made twice under one name, it is one.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Kept in its history.")]
Named = Annotated[str, typer.Argument(metavar="SCHEDULE", help="The workflow and the schedule, as Report.nightly.")]
MaybeId = Annotated[str | None, typer.Argument(metavar="[ID]", help="The instance's id, as orderid::abc123.")]
OfWorkflow = Annotated[str | None, typer.Option("--workflow", "-W", help="All of this workflow, in place of an ID.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Start and resume")(start)
    app.command(rich_help_panel="Start and resume")(resume)
    app.command(rich_help_panel="Steer")(cancel)
    app.command(rich_help_panel="Steer")(redrive)
    app.command(rich_help_panel="Steer")(fork)
    by_action = {command.action: command for command in ROUTED}
    for command in ROUTED:
        if command not in OWN and "instance_id" in command.members:
            every = by_action.get(f"{command.action}_workflow")
            act = made_of(command) if every is None else of_one_or_all(command, every)
            text = command.__doc__ if every is None else f"{command.__doc__} With --workflow, all of a workflow."
            app.command(command.action, help=text, rich_help_panel="Steer")(act)


def start(
    ctx: typer.Context,
    workflow: Annotated[str, typer.Argument(help="The workflow's name.")],
    value: Annotated[str, typer.Argument(metavar="ID", help="The business key's value, as abc123.")],
    data: Data = None,
    input: Input = None,  # noqa: A002 - the option's name
    version: Annotated[int | None, typer.Option(help="Another version than the current one.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", "-t", help="A tag; several times for several.")] = None,
    request_id: RequestId = None,
    wait: Wait = None,
    watch: Watch = False,
) -> None:
    """Start an instance; its start data come by --data or --input."""
    session: Session = ctx.obj
    context = read_object(data, input, "the start data")
    start = Start(workflow=workflow, id=value, context=context, version=version, tags=tag or (), start_id=request_id)
    done = session.connection.do(start, wait=wait)
    tell(session, done, "was open, and is used:" if done.get("used") else "started", wait=wait, watch=watch)


def resume(
    ctx: typer.Context,
    instance_id: InstanceId,
    event: Annotated[str, typer.Argument(help="The event's name.")],
    data: Data = None,
    input: Input = None,  # noqa: A002 - the option's name
    step: Annotated[str | None, typer.Option(help="The step that is meant, where several could take it.")] = None,
    item: Annotated[
        str | None, typer.Option(help="The key of the item that is meant, where the step is a map.")
    ] = None,
    request_id: RequestId = None,
    wait: Wait = None,
    watch: Watch = False,
) -> None:
    """Deliver an event; its payload comes by --data or --input."""
    session: Session = ctx.obj
    payload = read_data(data, input, "the payload")
    sent = None if payload is NOTHING else payload
    deliver = Deliver(instance_id=instance_id, event=event, payload=sent, step=step, item=item, event_id=request_id)
    done = session.connection.do(deliver, wait=wait)
    tell(session, done, f"{event} delivered to", wait=wait, watch=watch)


def cancel(
    ctx: typer.Context,
    instance_id: InstanceId,
    reason: Reason = "",
    compensate: Annotated[bool, typer.Option("--compensate", help="Undo what its completed steps did.")] = False,
    request_id: RequestId = None,
    wait: Wait = None,
    watch: Watch = False,
    yes: Yes = False,
) -> None:
    """Cancel an instance: nothing more of it starts."""
    session: Session = ctx.obj
    if compensate and session.interactive and not yes:
        undoes = session.connection.get(instance_id).get("cancel_undoes", ())
        session.say(styles.plain(f"would undo now: {', then '.join(undoes) or 'nothing'}"))
    ask(session, f"Cancel {instance_id}{' and undo what it did' if compensate else ''}?", yes=yes)
    asked = Cancel(instance_id=instance_id, reason=reason, compensate=compensate, request_id=request_id)
    done = session.connection.do(asked, wait=wait)
    tell(session, done, "cancelling" if not wait else "cancelled", wait=wait, watch=watch, ended_well=("cancelled",))


def redrive(
    ctx: typer.Context,
    instance_id: InstanceId,
    request_id: RequestId = None,
    wait: Wait = None,
    watch: Watch = False,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do, and do nothing.")] = False,
) -> None:
    """Have a failed, cancelled or parked instance go on; it says first which steps run or wait again."""
    session: Session = ctx.obj
    if dry_run or (session.interactive and not yes):
        shown = session.connection.get(instance_id)
        if dry_run and session.json:
            items = repeated_items(shown)
            session.write_json(
                {"id": shown["id"], "redrive": shown.get("redrive"), **({"items": items} if items else {})}
            )
        else:
            session.say(*redrive_lines(shown))
    if dry_run:
        return
    ask(session, f"Redrive {instance_id}?", yes=yes)
    done = session.connection.do(Redrive(instance_id=instance_id, request_id=request_id), wait=wait)
    tell(session, done, Redrive.said, wait=wait, watch=watch)


def fork(
    ctx: typer.Context,
    instance_id: InstanceId,
    new_id: Annotated[str, typer.Argument(metavar="NEW_ID", help="The business key's value of the new instance.")],
    at: Annotated[
        int | None, typer.Option(min=1, help="After which entry of the history; by default the last.")
    ] = None,
    generation: Annotated[int | None, typer.Option("--generation", "-g", min=1, help="An earlier run of it.")] = None,
    data: Data = None,
    input: Input = None,  # noqa: A002 - the option's name
    results: Annotated[
        str | None, typer.Option(metavar="JSON", help='Other results of completed steps: {"step": {...}}.')
    ] = None,
    version: Annotated[int | None, typer.Option(help="Another version than its own.")] = None,
    request_id: RequestId = None,
    wait: Wait = None,
    watch: Watch = False,
) -> None:
    """Start a new instance from a point of another one's history; other start data come by --data or --input.

    What is given in place of the old instance's data stays marked with your name. A workflow that is declared with
    forks="unchanged" takes no other data, and one with forks="none" is not forked.
    """
    session: Session = ctx.obj
    context = read_data(data, input, "the start data")
    asked = Fork(
        instance_id=instance_id,
        new_id=new_id,
        at=at,
        generation=generation,
        version=version,
        context=None if context is NOTHING else context,
        results=read_object(results, None, "the results") or None,
        start_id=request_id,
    )
    done = session.connection.do(asked, wait=wait)
    tell(session, done, f"forked from {instance_id}:", wait=wait, watch=watch)


def made_of(command: type[Command]) -> Callable[..., None]:
    """A command of the command line that asks for ``command``, with an option for each of its members."""
    subject = "instance_id" if "instance_id" in command.members else "schedule"
    waits = command.answers == "status" and subject == "instance_id"

    def act(ctx: typer.Context, **options: Any) -> None:
        session: Session = ctx.obj
        wait, watch = options.pop("wait", None), options.pop("watch", False)
        yes = options.pop("yes", True)
        if command.named_by:
            options[command.named_by] = options.pop("request_id")
        asked = command(**options)
        ask(session, f"{command.action.partition('_')[0].capitalize()} {options[subject]}?", yes=yes)
        tell(session, session.connection.do(asked, wait=wait), command.said, wait=wait, watch=watch)

    own, defaults = options_of(command, without=(subject, "by", command.named_by))
    defaults |= {"request_id": None, "wait": None, "watch": False, "yes": False}
    parameters: dict[str, Any] = {
        "ctx": typer.Context,
        subject: InstanceId if waits or subject != "schedule" else Named,
    }
    parameters |= own
    parameters |= {"request_id": RequestId} if command.named_by else {}
    parameters |= {"wait": Wait, "watch": Watch} if waits else {}
    parameters |= {"yes": Yes} if command.asks else {}
    act.__annotations__ = parameters
    act.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # which Typer reads
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=annotation,
                default=defaults.get(name, inspect.Parameter.empty),
            )
            for name, annotation in parameters.items()
        ]
    )
    return act


def of_one_or_all(one: type[Command], every: type[Command]) -> Callable[..., None]:
    """A command that asks for ``one``, or with ``--workflow`` for ``every``."""
    of_one = made_of(one)

    def act(ctx: typer.Context, **options: Any) -> None:
        session: Session = ctx.obj
        workflow = options.pop("workflow")
        if (workflow is None) == (options["instance_id"] is None):
            message = "give the id of an instance, or --workflow and its name"
            raise BadRequest(message)
        if workflow is None:
            of_one(ctx, **options)
            return
        given = {name: options[name] for name in every.members if name in options}
        asked = every(workflow=workflow, **given)
        tell(session, session.connection.do(asked), every.said, wait=None, watch=False)

    known = dict(inspect.signature(of_one).parameters)
    instance_id = known["instance_id"].replace(annotation=MaybeId, default=None)
    own = inspect.Parameter("workflow", inspect.Parameter.KEYWORD_ONLY, annotation=OfWorkflow, default=None)
    known |= {"instance_id": instance_id, "workflow": own}
    act.__annotations__ = {name: parameter.annotation for name, parameter in known.items()}
    act.__signature__ = inspect.Signature(list(known.values()))  # type: ignore[attr-defined]  # which Typer reads
    return act


def options_of(command: type[Command], without: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options for the members of a command, ``without`` some, and the defaults of those that have one."""
    own = {name: member for name, member in command.members.items() if name not in without}
    defaults = {name: member.default for name, member in own.items() if member.default is not REQUIRED}
    return {name: _option(member) for name, member in own.items()}, defaults


def _option(own: Declared) -> Any:
    """The option for a member."""
    return Annotated[own.rule.json if own.default is not None else own.rule.json | None, typer.Option(help=own.doc)]


def ask(session: Session, question: str, *, yes: bool) -> None:
    """Ask a person once; a script is not asked.

    Raises:
        BadRequest: the answer is no.
    """
    if not yes and session.interactive and not typer.confirm(safe(question), default=True):
        message = "nothing was done"
        raise BadRequest(message)


def tell(
    session: Session, done: Json, what: str, *, wait: int | None, watch: bool, ended_well: tuple[str, ...] = ()
) -> None:
    """Say what was done; with ``wait`` how far it came, with ``watch`` how it goes on."""
    if watch:
        follow(session, done["id"])
        return
    if session.json:
        session.write_json(done)
    elif wait and "workflow" in done:
        session.say(instance(done, session.out.width))
    else:
        name = done["id"].removeprefix(f"{SCHEDULE_KEY}::")  # a schedule by its name
        session.say(Text.assemble(("✓ ", "green"), styles.plain(what), " ", (safe(name), "bold")))
    if done.get("status") not in ended_well:
        end_with(done)
