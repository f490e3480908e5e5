"""An instance for a person: a headline, what it waits for, its steps, and what could be done next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hephaestus.cli import styles
from hephaestus.cli.text import ago, asked_by, brief, counted, dump, moment, safe, span, until
from hephaestus.engine.state import CLOSED, RESERVED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

Json = dict[str, Any]
LEAST: Final = 12
BAD: Final = ("failed", "compensation_failed")  # statuses of items that a person looks for
ENDED_OTHERWISE: Final = {
    "failed": "failed",
    "cancelled": "cancelled",
    "compensated": "undone",
    "compensation_failed": "not undone",
}


def instance(
    shown: Json, width: int, *, full: bool = False, hints: bool = True, bars: bool = False, now: datetime | None = None
) -> RenderableType:
    """Everything about an instance, in ``width`` columns.

    With ``full`` there are its data, too, with ``hints`` what to do, with ``bars`` how far its maps have come.
    """
    now = now or datetime.now(UTC)
    parts: list[RenderableType] = [*_head(shown, now), *_troubles(shown)]
    if shown.get("steps"):
        parts += [Text(), _steps(shown, width, now)]
    if bars:
        parts += _bars(shown, width)
    if shown.get("output") and not full:
        parts += [Text(), Text.assemble(("output ", "bold"), brief(shown["output"], max(width - 7, LEAST)))]
    commands = _hints(shown) if hints else []
    if commands:
        parts += [Text(), *commands]
    if full:
        parts += _data(shown)
    return Group(*parts)


def said_progress(counts: Json) -> str:
    """How far a map has come, in words."""
    left = "".join(f", {counts[name]:,} {name}" for name in ("running", "waiting", "retrying") if counts.get(name))
    return f"{counts['completed']:,} of {counted(counts['total'], 'item')}{''.join(_ended_otherwise(counts))}{left}"


def _ended_otherwise(counts: Json) -> Iterator[str]:
    """How many items have ended other than by completing, and were undone."""
    for name, words in ENDED_OTHERWISE.items():
        if counts.get(name):
            yield f", {counts[name]:,} {words}"


def _head(shown: Json, now: datetime) -> Iterator[Text]:
    name = f"{safe(shown['workflow'])} v{shown['version']}"
    yield Text.assemble((safe(shown["id"]), "bold"), "  ", styles.status(shown["status"]), "  ", name)
    facts = [f"started {ago(shown['created_at'], now)}", f"changed {ago(shown['updated_at'], now)}"]
    if shown["generation"] > 1:
        facts.append(f"run {shown['generation']} of this id")
    if shown.get("tags"):
        facts.append("tags " + ", ".join(map(safe, shown["tags"])))
    if shown.get("parent"):
        of_root = "" if shown["root"] == shown["parent"] else f" of {safe(shown['root'])}"
        facts.append(f"child of {safe(shown['parent'])}, at {safe(shown['path'])}{of_root}")
    if shown.get("forked_from"):
        by = asked_by(shown, "forked_by", "forked_by_source")
        facts.append(f"forked from {safe(shown['forked_from'])}{by and f' {by}'}")
    if shown.get("deadline"):
        facts.append(f"times out {until(shown['deadline'], now)}")
    yield Text(" · ".join(facts), style="dim")
    for key, step in shown.get("steps", {}).items():
        if step.get("why") and step["status"] != "running":
            yield Text.assemble((safe(key), "bold"), " ", (safe(step["why"]), "yellow"))


def _troubles(shown: Json) -> Iterator[Text]:
    yield from (Text(safe(text), style="yellow") for text in shown.get("why", ()))
    for what, replaced in _replaced(shown):
        by = asked_by(replaced)
        story = f"{by and f' {by}'} to the fork of {safe(replaced['forked_from'])}, in place of its own"
        yield Text.assemble((f"{what} given", "bold yellow"), story)
    if shown.get("error"):
        error = shown["error"]
        yield Text.assemble((safe(error["type"]), "bold red"), ": ", safe(error["message"], lines=True))


def _replaced(shown: Json) -> Iterator[tuple[str, Json]]:
    """The data that a fork was given in place of its source's."""
    if shown.get("context_replaced"):
        yield "the start data", shown["context_replaced"]
    for key, step in shown.get("steps", {}).items():
        if step.get("replaced"):
            yield f"the results of step {safe(key)}", step["replaced"]


def _steps(shown: Json, width: int, now: datetime) -> Table:
    steps: Json = shown["steps"]
    if shown["status"] in CLOSED:
        now = moment(shown["updated_at"]) or now  # what had not ended by then went no further
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for name in ("STEP", "STATUS", "TOOK", "EVENT", ""):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    used = max(map(len, steps)) + max(len(step["status"] + _counted(step)) + 2 for step in steps.values()) + 26
    room = max(width - used, LEAST)
    for key, step in steps.items():
        table.add_row(
            Text(safe(key)),
            styles.status(step["status"]) + Text(_counted(step), "dim"),
            Text(_took(step, now), style="dim"),
            Text(safe(step.get("event", ""))),
            Text(_detail(step, room), style="red" if step.get("error") or "fail" in step else "dim"),
        )
    return table


def _counted(step: Json) -> str:
    """How often it was tried, and which round it is at."""
    tried = f" ×{step['attempt']}" if step.get("attempt", 0) > 1 else ""
    if counts := step.get("progress"):
        return f"{tried} {counts['completed']}/{counts['total']}{''.join(_ended_otherwise(counts))}"
    return tried + (
        f" round {step['round']}" + (f"/{step['rounds']}" if step.get("rounds") else "") if step.get("round") else ""
    )


def _bars(shown: Json, width: int) -> Iterator[RenderableType]:
    """How far each map that goes on has come."""
    for key, step in shown.get("steps", {}).items():
        if step.get("progress") and step["status"] == "mapping":
            counts = step["progress"]
            ended = sum(counts.get(name, 0) for name in ("completed", "failed", "cancelled"))
            line = Table.grid(padding=(0, 2, 0, 0))
            bar = ProgressBar(total=max(counts["total"], 1), completed=ended, width=max(min(width // 3, 40), LEAST))
            line.add_row(Text(safe(key), "bold"), bar, Text(said_progress(counts), "dim"))
            yield line


def _took(step: Json, now: datetime) -> str:
    start = moment(step.get("started_at"))
    if start is None or step["status"] in ("skipped", "pending"):
        return ""
    return span(max(((moment(step.get("ended_at")) or now) - start).total_seconds(), 0))


def _detail(step: Json, width: int) -> str:
    if "fail" in step:
        return brief(f"FAIL: {step['fail']}" if step["fail"] else "FAIL", width).strip('"')
    if step.get("error"):
        return brief(f"{step['error']['type']}: {step['error']['message']}", width).strip('"')
    return brief(step.get("results") or step.get("carry") or {}, width)


REDRIVE: Final = {
    "runs_again": "run again",
    "waits_again": "wait again, also for what came before",
    "waits_on": "go on waiting for the time they had left",
    "undoes": "undone in this order, then it ends",
    "kept": "keep their results",
}


def repeated_items(shown: Json) -> dict[str, int]:
    """How many items a redrive would repeat, of each map that goes on: of a cancelled one, what failed stays so."""
    plan, found = shown.get("redrive") or {}, {}
    for key in plan.get("runs_again", ()):
        step = shown.get("steps", {}).get(key, {})
        if (counts := step.get("progress")) and key not in plan.get("anew", ()):
            kept = ("completed", "failed") if step["status"] == "mapping" else ("completed",)
            found[key] = counts["total"] - sum(counts.get(name, 0) for name in kept)
    return found


def redrive_lines(shown: Json) -> list[Text]:
    """What a redrive would do to an instance, step by step."""
    plan = shown.get("redrive") or {}
    if not plan and shown["status"] not in ("failed", "cancelled") and not shown.get("parked"):
        done = Text(f"{safe(shown['id'])} is {shown['status']}: there is nothing to redrive", style="yellow")
        return [done, *_tolerated(shown)]
    repeated = repeated_items(shown)
    lines = []
    for name, words in REDRIVE.items():
        if plan.get(name):
            line = Text(f"{words}: ")
            for number, step in enumerate(plan[name]):
                line.append(", " if number else "").append(safe(step), "bold")
                if name == "runs_again" and step in repeated:
                    line.append(
                        f" ({repeated[step]:,} of {counted(shown['steps'][step]['progress']['total'], 'item')})"
                    )
                elif name == "runs_again" and step in plan.get("anew", ()):
                    line.append(" (anew, with all its items)")
            lines.append(line)
    lines = lines or [Text("it goes on as it was; which steps run is not known", style="dim")]
    root = shown.get("root") or shown["id"]
    if root != shown["id"] and not shown.get("parked"):
        told = f"it is a child, which is redriven by its root as long as that waits for it: hephaestus redrive {root}"
        lines.append(Text(safe(told), style="yellow"))
    return lines


def _tolerated(shown: Json) -> Iterator[Text]:
    """The failed items of maps that have completed: a redrive does not repeat them."""
    for key, step in shown.get("steps", {}).items():
        if step["status"] == "completed" and (failed := (step.get("progress") or {}).get("failed")):
            command = f"hephaestus items {quoted(shown['id'])} {quoted(key)} --status failed"
            said = f"{counted(failed, 'failed item')} of {safe(key)} tolerated; fork it before the map with those alone"
            yield Text(f"{said}: {command}", style="yellow")


def _hints(shown: Json) -> list[Text]:
    """What could be done next, as commands."""
    name = quoted(shown["id"])
    if shown["workflow"].startswith(RESERVED):  # what is for instances of workflows is rejected for a schedule
        return [Text("→ hephaestus schedules list", style="dim")]
    hints: list[str] = []
    for key, step in shown.get("steps", {}).items():
        hints += [f"items {name} {quoted(key)} --status {status}" for status in _worth_seeing(step, shown["status"])]
        if step.get("child") and step["status"] == "waiting" and shown["status"] not in CLOSED:
            hints += [hint for hint in [f"get {name} --tree"] if hint not in hints]
        events = [event for event in step.get("accepts", ()) if event != "timeout"]
        if events and (step.get("progress") or {}).get("waiting"):
            hints.append(f"resume {name} {quoted(events[0])} --step {quoted(key)} --item KEY")
        if step["status"] == "waiting" and events:
            several = (
                sum(event in (other.get("accepts") or ()) for other in shown["steps"].values() for event in events[:1])
                > 1
            )
            hints.append(f"resume {name} {quoted(events[0])}" + (f" --step {key}" if several else ""))
    if "paused" in shown:
        of_all = shown.get("paused_by_workflow")
        hints.append(f"unpause --workflow {quoted(shown['workflow'])}" if of_all else f"unpause {name}")
    parked = shown.get("parked") and shown["status"] not in CLOSED  # that goes on by itself, below others too
    redrive = f"redrive {name if parked else quoted(shown.get('steered_at') or shown['id'])}"
    if shown["status"] == "failed" or shown.get("parked"):
        hints += [f"history {name}", redrive]
    elif shown["status"] == "cancelled":
        hints.append(redrive)
    return [Text(f"→ hephaestus {hint}", style="dim") for hint in hints]


def _worth_seeing(step: Json, status: str) -> list[str]:
    """The statuses of a map's items that a person may look for: of an instance that has ended, nothing waits."""
    counts = step.get("progress") or {}
    return [one for one in (BAD if status in CLOSED else (*BAD, "waiting")) if counts.get(one)]


def _data(shown: Json) -> Iterator[RenderableType]:
    parts = {"start data": shown.get("context"), "metadata": shown.get("metadata")}
    parts |= {"output": shown.get("output")}
    parts |= {f"{key} left": step.get("results") for key, step in shown.get("steps", {}).items()}
    parts |= {f"{key} carries": step.get("carry") for key, step in shown.get("steps", {}).items()}
    for name, value in parts.items():
        if value:
            yield Text()
            yield Text(safe(name), style="bold")
            yield Text(dump(value))


def quoted(text: str) -> str:
    """``text`` as a shell takes it."""
    printable = safe(text)
    if all(letter.isalnum() or letter in "._-:/@" for letter in printable):
        return printable
    return "'" + printable.replace("'", "'\\''") + "'"
