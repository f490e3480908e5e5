"""Definitions: what is deployed, pictures, checks, and what instances cost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from hephaestus.cli import styles
from hephaestus.cli.cost_view import costs
from hephaestus.cli.failures import words
from hephaestus.cli.modules import find, load, nothing_in, version_of, workflows
from hephaestus.cli.terminal import Session
from hephaestus.cli.text import counted, safe, short, span
from hephaestus.costs import Plan, estimate, plan_of
from hephaestus.costs.estimate import Work
from hephaestus.definition.child import ChildWorkflow, lacking_children, with_children
from hephaestus.definition.concurrency import Concurrency, limits_of
from hephaestus.definition.maps import Map
from hephaestus.definition.rates import RateLimit
from hephaestus.definition.repeat import Repeat
from hephaestus.diagrams import draw, to_dot, to_mermaid, to_svg
from hephaestus.errors import BadRequest, DefinitionError, HephaestusError, UnknownWorkflow
from hephaestus.handlers.http.describe import describe
from hephaestus.operations.advice import NoSuchStack
from hephaestus.operations.comparison import differences
from hephaestus.runtime.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from hephaestus.definition.concurrency import Limit
    from hephaestus.definition.definition import Definition
    from hephaestus.definition.schedules import Schedule
    from hephaestus.definition.workflow import Workflow

Json = dict[str, Any]
Format = StrEnum("Format", ["mermaid", "dot", "svg"])
WRITERS: Final = {Format.mermaid: to_mermaid, Format.dot: to_dot, Format.svg: to_svg}
Target = Annotated[
    str, typer.Argument(metavar="WORKFLOW", help="module:Workflow, a path, or the name of a deployed workflow.")
]
Version = Annotated[int | None, typer.Option(help="Another version than the current one.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("workflows", rich_help_panel="Look")(list_workflows)
    app.command(rich_help_panel="Definitions")(graph)
    app.command(rich_help_panel="Definitions")(check)
    app.command(rich_help_panel="Definitions")(cost)


def list_workflows(ctx: typer.Context) -> None:
    """Show the deployed workflows: versions, business keys, steps."""
    session: Session = ctx.obj
    found = session.connection.workflows()
    if session.json:
        session.write_json({"items": found})
        return
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("WORKFLOW", "VERSIONS", "ID", "STEPS", "WAITS FOR"):
        table.add_column(name, overflow="fold" if name == "WAITS FOR" else "ellipsis")
    notes: list[Text] = []
    for flow in found:
        newest = version_of(flow, None)
        events = [event for step in newest["steps"] if step["waits"] for event in step["events"] if event != "timeout"]
        numbers = [f"v{each['version']}{'*' * (each['version'] == flow['current'])}" for each in flow["versions"]]
        cells = (", ".join(numbers), f"{safe(flow['key'])}::…", str(len(newest["steps"])), safe(", ".join(events)))
        table.add_row(styles.plain(flow["name"], "bold"), *map(Text, cells))
        if limits := [f"{one['n']} of {one['name']}" for one in newest.get("limits", ())]:
            notes.append(styles.plain(f"{flow['name']} has at most {', '.join(limits)} under way", "dim"))
        if paused := flow.get("paused"):
            by = f" by {paused['by']}" if paused["by"] else ""
            said = f"paused{by} since {paused['at']}" + (f": {paused['reason']}" if paused["reason"] else "")
            notes.append(styles.plain(f"{flow['name']} is {said}", "yellow"))
    session.say(table, *notes)


ENDINGS: Final = {".svg": Format.svg, ".mmd": Format.mermaid, ".dot": Format.dot, ".gv": Format.dot}


def graph(
    ctx: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="An instance's id, module:Workflow, a path, or a deployed workflow.")
    ],
    form: Annotated[Format, typer.Option("--format", "-f", help="What to draw it with.")] = Format.mermaid,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; its ending is a format.")
    ] = None,
    version: Version = None,
) -> None:
    """Draw a workflow, or an instance with the state of every step."""
    session: Session = ctx.obj
    if output is not None and output.suffix:
        if output.suffix.lower() not in ENDINGS:
            message = (
                f"{output}: {output.suffix} is no format to draw in; write to a file ending in {', '.join(ENDINGS)}"
            )
            raise BadRequest(message)
        form = ENDINGS[output.suffix.lower()]
    instance = session.connection.get(target) if "::" in target else None
    name = instance["workflow"] if instance else target
    described = _described(session, name)
    shown = version_of(described, instance["version"] if instance else version)
    picture = draw(shown, described["name"], instance)
    text = WRITERS[form](picture)
    if output is not None:
        _write(output, text)
        session.err.print(Text.assemble(("✓ ", "green"), f"{output}: {safe(picture.title)}"))
    elif session.json:
        session.write_json({"format": str(form), "title": picture.title, "text": text})
    else:
        session.out.print(text, end="", markup=False, soft_wrap=True)


def check(
    ctx: typer.Context,
    modules: Annotated[
        list[str], typer.Argument(metavar="MODULE...", help="Names or paths of modules, or module:Workflow.")
    ],
    deployed: Annotated[
        bool, typer.Option("--deployed", help="Compare them with the stack that they will be deployed to, too.")
    ] = False,
) -> None:
    """Check the workflows of a module, and show what was understood. Status 1 if something is wrong."""
    session: Session = ctx.obj
    good, wrong = _read(modules)
    if not any(":" in name for name in modules):
        wrong += _lacking(good)
    if deployed and not wrong:
        wrong += _compared(session, good)
    if session.json:
        session.write_json({"workflows": [describe(flow) for flow in good], "errors": wrong})
    else:
        for flow in good:
            session.say(*(_understood(flow, definition) for definition in flow.definitions.values()))
        for each in wrong:
            session.say(*_problems(each))
    if wrong:
        raise typer.Exit(1)


def _read(modules: list[str]) -> tuple[list[type[Workflow]], list[Json]]:
    """The workflows of modules, and what is wrong; that a module holds none is wrong where no other does."""
    good: list[type[Workflow]] = []
    wrong: list[Json] = []
    empty: list[Json] = []
    for name in modules:
        try:
            one = find(name, ()) if ":" in name else None
            found = workflows(load(name)) if one is None else [one]
            good += found
            if not found:
                empty.append({"module": name, "workflow": None, "problems": [nothing_in(load(name))]})
        except (DefinitionError, HephaestusError) as error:
            if isinstance(error, UnknownWorkflow):
                raise
            problems = [str(each) for each in error.problems] if isinstance(error, DefinitionError) else [words(error)]
            wrong.append({"module": name, "workflow": getattr(error, "workflow", None), "problems": problems})
    return good, wrong if good else wrong + empty


def _lacking(flows: list[type[Workflow]]) -> list[Json]:
    """The steps whose child would not be deployed: its workflow is in none of the modules."""
    found: dict[str, list[str]] = {}
    for flow, key, child in lacking_children(flows):
        problem = (
            f"{key}: starts {child.name}, which none of these modules holds. "
            "Import the workflow there, or name its module, too."
        )
        found.setdefault(flow.name, []).append(problem)
    return [{"module": None, "workflow": name, "problems": problems} for name, problems in found.items()]


def _compared(session: Session, flows: list[type[Workflow]]) -> list[Json]:
    """What deploying the workflows would do to open instances; what does nothing to any is only said."""
    try:
        found = list(differences([describe(flow) for flow in flows], session.connection))
    except NoSuchStack as error:
        session.err.print(Text.assemble(("· ", "yellow"), f"nothing to compare with: {safe(error)}"))
        return []
    for each in found:
        if not each.open:
            told = f"{each.workflow} v{each.version} {each.what}: no instance of it is open"
            session.err.print(Text.assemble(("· ", "yellow"), safe(told)))
    return [
        {
            "module": None,
            "workflow": each.workflow,
            "problems": [f"version {each.version} {each.what}: instances of it are open, and would be parked"],
        }
        for each in found
        if each.open
    ]


def cost(
    ctx: typer.Context,
    target: Target,
    version: Version = None,
    event: Annotated[
        list[str] | None, typer.Option("--event", "-e", metavar="STEP=EVENT", help="The event that a step emits.")
    ] = None,
    rounds: Annotated[
        list[str] | None, typer.Option("--rounds", metavar="STEP=NUMBER", help="How many rounds a step takes.")
    ] = None,
    items: Annotated[
        list[str] | None, typer.Option("--items", metavar="MAP=NUMBER", help="How many items a map has.")
    ] = None,
    queued: Annotated[bool, typer.Option("--queued", help="Starts and events are left to the queue.")] = False,
    status_events: Annotated[bool, typer.Option("--status-events", help="The stack has an EventBusName.")] = False,
    step_ms: Annotated[int, typer.Option(min=0, help="How long a step works, in milliseconds.")] = 100,
    memory: Annotated[int, typer.Option(min=128, max=10240, help="The function's memory, in MB.")] = 512,
    result_bytes: Annotated[int, typer.Option(min=0, max=60_000, help="What a step leaves, in bytes.")] = 40,
    input_bytes: Annotated[int, typer.Option(min=0, max=60_000, help="The start data, in bytes.")] = 120,
) -> None:
    """Estimate what a million instances cost, beside Step Functions and Lambda durable functions."""
    session: Session = ctx.obj
    plan = Plan(
        _events(event or ()),
        queued,
        rounds=_numbers("--rounds", rounds or (), "STEP=NUMBER, as poll=10"),
        publishes=status_events,
    )
    plan = replace(plan, items=_numbers("--items", items or (), "MAP=NUMBER, as resize=1000"))
    plan = replace(plan, input_bytes=input_bytes, result_bytes=result_bytes)
    flow = find(target, session.place.modules)
    described = describe(flow) if flow else _described(session, target)
    shown = version_of(described, version)
    if flow is not None:
        plan = plan_of(flow.definition(shown["version"]), plan)
        plan = replace(plan, children={each.name: version_of(describe(each), None) for each in with_children((flow,))})
    elif any("child" in step or "workflow" in step.get("map", {}) for step in shown["steps"]):
        plan = replace(plan, children={each["name"]: version_of(each, None) for each in session.connection.workflows()})
    found = estimate(shown, plan, Work(step_ms, memory))
    title = f"{described['name']} v{shown['version']}"
    if session.json:
        session.write_json({"workflow": title, **_plain(found)})
    else:
        session.say(costs(title, found))


def _plain(value: Any) -> Any:
    """Dataclasses as JSON's own types, with the totals."""
    if hasattr(value, "__dataclass_fields__"):
        known = {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
        return (
            {**known, "total": value.total, "orchestration": value.orchestration} if hasattr(value, "lines") else known
        )
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return dict(value) if hasattr(value, "items") else value


def _described(session: Session, name: str) -> Json:
    """A workflow as ``GET /workflows`` describes it, from a module of one's own or from the deployment."""
    flow = find(name, session.place.modules)
    if flow is not None:
        return describe(flow)
    found = {each["name"]: each for each in session.connection.workflows()}
    if name not in found:
        message = (
            f"there is no workflow {safe(name)}: deployed are {', '.join(found) or 'none'}; "
            "for one of your own give module:Workflow or a path"
        )
        raise UnknownWorkflow(message)
    return found[name]


def _events(given: list[str] | tuple[str, ...]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    wrong = ["".join(each) for each in pairs if not all(each)]
    if wrong:
        message = f"--event {short(wrong[0], 60)}: write STEP=EVENT, as charge=declined"
        raise BadRequest(message)
    return {step: event for step, _, event in pairs}


def _numbers(option: str, given: list[str] | tuple[str, ...], form: str) -> dict[str, int]:
    pairs = [each.partition("=") for each in given]
    wrong = ["".join(each) for each in pairs if not (each[0] and each[2].isascii() and each[2].isdecimal())]
    if wrong:
        message = f"{option} {short(wrong[0], 60)}: write {form}"
        raise BadRequest(message)
    return {step: int(number) for step, _, number in pairs}


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror}"
        raise BadRequest(message) from error


def _problems(wrong: Json) -> Iterator[RenderableType]:
    name = wrong["workflow"] or wrong["module"]
    yield Text.assemble(("✗ ", "bold red"), (safe(name), "bold"), f": {counted(len(wrong['problems']), 'problem')}")
    for problem in wrong["problems"]:
        yield Padding(Text(safe(problem, lines=True), style="red"), (0, 0, 0, 2))


def _understood(flow: type[Workflow], definition: Definition) -> Tree:
    """One version as it was understood."""
    scope = "" if flow.business_key.scope == "workflow" else f", scope {flow.business_key.scope}"
    head = Text.assemble(("✓ ", "green"), (f"{safe(flow.name)} v{definition.version}", "bold"))
    suffix = {"version": f"::v{definition.version}", "none": "::<random>"}.get(flow.business_key.scope, "")
    head.append(f"  ids {flow.business_key.name}::<value>{suffix}{scope}", style="dim")
    if flow.tags:
        head.append(f"  tags {', '.join(flow.tags)}", style="dim")
    if definition.timeout is not None:
        head.append(f"  timeout {span(definition.timeout.total_seconds())}", style="dim")
    tree = Tree(head, guide_style="dim")
    if definition.input_model is not None:
        fields = definition.input_model.model_json_schema()
        required = set(fields.get("required", ()))
        names = [name if name in required else f"{name}?" for name in fields.get("properties", {})]
        tree.add(Text(f"input {', '.join(names)}", style="dim"))
    for schedule in flow.schedules if definition.version == flow.current else ():
        tree.add(_schedule(schedule))
    for limit in definition.limits:
        tree.add(Text(f"limit {_limit(limit)}, from its first step to its end", style="dim"))
    for key in definition.graph.order:
        branch = tree.add(_step(definition, key))
        for event, route in definition.routes[key].items():
            where = ", ".join("end" if key == "DONE" else key for key in route.shown)
            chosen = Text(" chosen by data", style="dim") if route.choice else Text()
            branch.add(Text.assemble((event, "green"), (" → ", "dim"), where, chosen))
    if definition.graph.on_failure:
        tree.add(_step(definition, definition.graph.on_failure).append("  runs before it fails", style="not bold dim"))
    return tree


def _of_map(definition: Definition, key: str) -> list[str]:
    """What a map runs for each item, how many at a time, and how many may fail."""
    if key not in definition.items:
        return []
    target, declared = definition.items[key]
    spread = definition.graph.maps[key]
    what = f"the workflow {target.workflow.name}" if isinstance(target, ChildWorkflow) else declared.key
    may = (
        f"{spread.share / 100:g}%"
        if spread.share is not None
        else f"{spread.tolerate:,}"
        if spread.tolerate
        else "none"
    )
    return [f"runs {what} for each item", _at_once(definition.steps[key], spread.concurrency), f"{may} may fail"]


def _at_once(made: object, concurrency: int) -> str:
    """How many items are under way at a time: of more than `chunk`, no more in an instance than it runs steps."""
    cap, chunk = Limits().concurrency, made.chunk if isinstance(made, Map) else 1
    each = f", {cap} for each {chunk} of more than {chunk} items" if concurrency > cap and chunk > cap else ""
    return f"{concurrency:,} at a time{each}"


def _limit(limit: Limit) -> str:
    """How many attempts may run at once, or start in a time, and of what."""
    each = " for each value" if limit.per is not None else ""
    if isinstance(limit, RateLimit):
        cost = f", {limit.cost:,} an attempt" if limit.cost > 1 else ""
        return f"{limit.name} {limit.words}, {limit.burst:,} at once{each}{cost}"
    held = ", waits included" if isinstance(limit, Concurrency) and limit.held == "step" else ""
    return f"{limit.name} {limit.n:,}{each}{held}"


def _of_limits(definition: Definition, key: str) -> list[str]:
    """The limits of a step; a map has those of the step that it runs, permits for the items that share an instance."""
    made, item = definition.steps[key], definition.items.get(key)
    named = limits_of(definition.declared[key] if item is None else item[1])
    shared = f", a permit for up to {counted(made.chunk, 'item')}" if isinstance(made, Map) else ""
    return [f"limit {_limit(limit)}{'' if isinstance(limit, RateLimit) else shared}" for limit in named]


def _schedule(schedule: Schedule) -> Text:
    """When instances start by themselves, and what becomes of those that cannot start on time."""
    facts = [f"{schedule.cron} {schedule.timezone}", f"overlap {schedule.overlap}", f"catch_up {schedule.catch_up}"]
    facts += [f"jitter {span(schedule.jitter.total_seconds())}"] if schedule.jitter else []
    return Text.assemble("schedule ", (schedule.name, "bold"), (f"  {', '.join(facts)}", "dim"))


def _step(definition: Definition, key: str) -> Text:
    step = definition.declared[key]
    line = Text(key, style="bold")
    facts = (
        [f"up to {counted(definition.policy(key).max_attempts, 'attempt')}"]
        if not step.pure and step.retry is not None
        else []
    )
    facts += [f"timeout {span(step.timeout.total_seconds())}"] if step.timeout else []
    if isinstance(made := definition.steps[key], ChildWorkflow):
        how = "repeats" if isinstance(made, Repeat) else "starts" if made.detached else "is"
        facts.append(f"{how} the workflow {made.workflow.name}")
    facts += ["at most once"] if step.semantics == "at_most_once" else []
    facts += ["can be undone"] if step.compensates else []
    facts += ["no checkpoint"] if definition.defers(key) and not step.waits else []
    if step.rounds is not None:
        within = f" within {span(step.rounds.within.total_seconds())}" if step.rounds.within else ""
        again_on = f", again on {', '.join(step.rounds.again_on)}" if step.rounds.again_on else ""
        facts.append(f"up to {counted(step.rounds.at_most, 'round')}{within}{again_on}")
    facts += ["start"] if key == definition.graph.start else []
    facts += _of_map(definition, key)
    facts += _of_limits(definition, key)
    for name, words_ in (("wait_timeout", "waits up to"), ("until", "waits"), ("heartbeat", "heartbeat every")):
        found = getattr(definition.steps[key], name, None)
        if isinstance(found, timedelta):
            facts.append(f"{words_} {span(found.total_seconds())}")
    if step.waits and not any(fact.startswith("waits") for fact in facts):
        facts.append("waits")
    return line.append(f"  {', '.join(facts)}" if facts else "", style="not bold dim")
