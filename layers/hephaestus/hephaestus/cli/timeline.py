"""The history of an instance as lines: number, time, how long after the one before, and what happened."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

from hephaestus.cli import styles
from hephaestus.cli.folding import Failures, Folds, folded
from hephaestus.cli.text import ago, asked_by, brief, clock, counted, date, dump, moment, safe, span, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from rich.console import RenderableType

Json = dict[str, Any]
NUMBER: Final = 5
TIME: Final = 12
AFTER: Final = 11
SIGN: Final = 1
GAPS: Final = 5
FRAMES: Final = 2  # of a trace, unless all are asked for
FRAME: Final = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$', re.MULTILINE)
OURS: Final = re.compile(r"[/\\]hephaestus[/\\](runtime|definition)[/\\]")  # frames that traces begin with
ROOTS: Final = re.compile(r"^(?:/opt/python|/var/task|.*[/\\]layer_\d+[/\\]python)[/\\]")  # of a function's code
ATTEMPTS: Final = frozenset(
    {
        "StepFailed",
        "StepCompleted",
        "CompensationFailed",
        "OnFailureFailed",
        "OutputFailed",
        "LimitsFailed",
        "ItemFailed",
        "ItemUndoFailed",
    }
)  # later events repeat their error


class Timeline:
    """Writes one entry after the other.

    Args:
        width: columns.
        payloads: whether data are shown, in full.
        traces: whether whole traces are shown, instead of where an error was raised.
    """

    def __init__(self, width: int, *, payloads: bool = False, traces: bool = False) -> None:
        self.room = max(width - NUMBER - TIME - AFTER - SIGN - GAPS, 20)
        self.payloads = payloads
        self.traces = traces
        self._before: datetime | None = None
        self._day = ""
        self._undoing = False
        self._handler = ""
        self._folds = Folds()
        self._failures = Failures()

    def skip(self, entry: Json) -> None:
        """Take note of an entry that is not shown."""
        for event in entry["events"]:
            self._failures.note(event)
            self._note(event)

    def _note(self, event: Json) -> None:
        if event["type"] in ("CompensationStarted", "UndoRequested", "Redriven"):
            self._handler = event.get("then", self._handler)
            self._undoing = event["type"] != "Redriven" or event.get("status") == "compensating"

    def lines(self, entry: Json) -> Iterator[RenderableType]:
        """The lines of one entry, after those that were held back; it may be held back itself, see ``Folds``."""
        for one in self._folds.take(entry):
            yield from self._lines(one)

    def rest(self) -> Iterator[RenderableType]:
        """The lines of what was held back."""
        for one in self._folds.rest():
            yield from self._lines(one)

    def _lines(self, entry: Json) -> Iterator[RenderableType]:
        at = moment(entry["at"])
        assert at is not None  # noqa: S101 - every entry has one
        day = date(at)[:10]
        if day != self._day:
            yield Text(f"{day}", style="bold dim")
            self._day = day
        since = (at - self._before).total_seconds() if self._before else None
        self._before = moment(entry.get("until")) or at
        after = f"+{span(since)}" if since else ""
        head = (str(entry["sequence"]), clock(at), after)
        for event in entry["events"]:
            self._failures.note(event)
        for event in folded(entry["events"]):
            if event["type"] == "PartReported":
                event |= self._failures.so_far(event["step"])  # noqa: PLW2901 - as it is shown
            if "item" in event:
                event = {**event, "step": f"{event['step']}[{event['item']}]"}  # noqa: PLW2901 - as it is shown
            self._note(event)
            if self._undoing and event["type"] == "StepsStarted" and list(event["steps"]) != [self._handler]:
                event = {**event, "type": "CompensationsStarted"}  # noqa: PLW2901 - what it means here
            sign, what = _tell(event, at)
            yield _row(head, sign, what)
            head = ("", "", "")
            yield from self._more(event)
        if "last" in entry:
            story = f"entries {entry['sequence']} to {entry['last']}, until {clock(self._before)}"
            yield _row(head, Text(), Text(story, style="dim"))

    def _more(self, event: Json) -> Iterator[RenderableType]:
        shown = ("error", "failed") if self.traces or event["type"] in ATTEMPTS else ()
        for trace in (event.get(name, {}).get("trace") for name in shown):
            if trace:
                where = safe(trace.rstrip(), lines=True) if self.traces else raised_at(trace)
                yield _row(("", "", ""), Text(), Text(where, style="dim"))
        for done in event.get("completed", ()) if self.payloads else ():
            yield _row(("", "", ""), Text(), Text(f"{safe(done['step'])} {dump(done.get('results', {}))}", style="dim"))
        for name in ("initial", "payload", "results", "carry", "metadata", "output"):
            if event.get(name) in (None, {}, []):
                continue
            if self.payloads:
                yield _row(("", "", ""), Text(), Text(f"{name} {dump(event[name])}", style="dim"))
            elif name in ("payload", "results", "carry", "output"):
                yield _row(("", "", ""), Text(), Text(brief(event[name], self.room), style="dim"))


def raised_at(trace: str) -> str:
    """Where an error was raised, by the last frames of its trace: a line each, the place itself first."""
    frames = list(FRAME.finditer(trace))
    own = [frame for frame in frames if not OURS.search(frame["file"])] or frames
    places = [f"{_place(frame['file'])}:{frame['line']} in {safe(frame['function'])}" for frame in own[-FRAMES:]]
    return "\n".join(f"{'called from' if at else 'raised at'} {place}" for at, place in enumerate(reversed(places)))


def _place(file: str) -> str:
    """A file's path, without the folder that a Lambda layer or function is unpacked into."""
    return safe(ROOTS.sub("", file))


def _row(head: tuple[str, str, str], sign: Text, what: Text) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(width=NUMBER, justify="right", style="dim", no_wrap=True)
    table.add_column(width=TIME, no_wrap=True)
    table.add_column(width=AFTER, style="dim", no_wrap=True, justify="right")
    table.add_column(width=SIGN, no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(*head, sign, what)
    return table


def _tell(event: Json, at: datetime) -> tuple[Text, Text]:
    """What an event means: a sign and words."""
    telling = _WORDS.get(event["type"])
    if telling is None:
        return Text("?"), styles.plain(f"{event['type']} {brief({k: v for k, v in event.items() if k != 'type'}, 200)}")
    sign, words = telling
    line = words(event, at)
    if by := asked_by(event):
        line.append(f"  {by}", style="dim")
    return (styles.sign(sign) if sign in styles.SIGNS else Text(sign, style="dim")), line


def _started(event: Json, _at: datetime) -> Text:
    tags = f"  tags {', '.join(map(safe, event['tags']))}" if event.get("tags") else ""
    line = Text.assemble("started ", (f"{safe(event['workflow'])} v{event['version']}", "bold"))
    if path := event.get("origin", {}).get("path"):
        line.append(f"  at {safe(path)} of {safe(event['origin']['root'])}", style="dim")
    return line.append(tags, style="dim")


def _forked(event: Json, _at: datetime) -> Text:
    line = styles.plain(f"forked from {event['instance_id']} run {event['generation']} after entry {event['sequence']}")
    if event.get("initial_replaced"):
        line.append(f"\nstart data given{_given(event['initial_replaced'])}", style="yellow")
    for done in event.get("completed", ()):
        if done.get("replaced"):
            line.append(f"\nresults of {safe(done['step'])} given{_given(done['replaced'])}", style="yellow")
    return line


def _given(replaced: Json) -> str:
    """By whom data were given to a fork, and which fork it was."""
    by = asked_by(replaced)
    return f"{by and f' {by}'} to the fork of {safe(replaced['forked_from'])}"


def _claimed(_event: Json, _at: datetime) -> Text:
    return Text("an invocation takes it", style="dim")


def _steps(words: str) -> Callable[[Json, datetime], Text]:
    return lambda event, _at: Text.assemble((words, "dim"), (", ".join(map(safe, event.get("steps", ()))), ""))


def _received(event: Json, _at: datetime) -> Text:
    return Text.assemble("event ", (safe(event["event"]), "bold"), " for ", safe(event["step"]))


def _timer(event: Json, at: datetime) -> Text:
    return styles.plain(f"deadline for {event['step']}: {until(event['due_at'], at)}")


def _beat(event: Json, at: datetime) -> Text:
    return styles.plain(
        f"heartbeat for {event['step']}; the next within {ago(event['due_at'], at).removeprefix('in ')}"
    )


def _completed(event: Json, at: datetime) -> Text:
    taken = "FAIL" if "fail" in event else ", ".join(map(safe, event.get("taken", ()))) or "end"
    failed = event.get("failed")
    emitted = (safe(event["event"]), "red" if failed else "green")
    line = Text.assemble((safe(event["step"]), "bold"), " ", emitted, (f" → {taken}", "dim"))
    line.append(_took(event, at), style="dim")
    if event.get("rounds"):
        line.append(f"  after {counted(event['rounds'], 'round')}", style="dim")
    if event.get("fail"):
        line.append(f"\n{safe(event['fail'], lines=True)}", style="red")
    if failed:
        attempt = f"attempt {event.get('attempt', 1)} failed, and {safe(event['event'])!r} is routed"
        line.append(f"\n{attempt}\n{safe(failed['type'])}: {safe(failed['message'], lines=True)}", style="red")
    if event.get("writes"):
        line.append(f"  wrote {', '.join(map(safe, event['writes']))}", style="dim")
    return line


def _map_begun(event: Json, _at: datetime) -> Text:
    return Text.assemble((safe(event["step"]), "bold"), f" runs for {counted(len(event.get('over', ())), 'item')}")


def _map_spread(event: Json, _at: datetime) -> Text:
    return Text.assemble((safe(event["step"]), "bold"), f" runs for {counted(event['total'], 'item')}")


def _part_started(event: Json, _at: datetime) -> Text:
    if event.get("child"):
        return Text.assemble((safe(event["step"]), "bold"), f" goes on with the child {safe(event['child'])}")
    share = f", at most {event['share']:,} items at a time" if "share" in event else ""
    return Text.assemble((safe(event["step"]), "bold"), f" begins {_parts(event)} of its items", (share, "dim"))


def _parts(event: Json) -> str:
    """The parts of a map of which the same is said."""
    return f"{event['parts']:,} parts" if event.get("parts", 0) > 1 else "a part"


def _permits(event: Json, _at: datetime) -> Text:
    return Text.assemble((safe(event.get("step") or "the instance"), "bold"), (" has its permits", "dim"))


def _queued(event: Json, _at: datetime) -> Text:
    limits = ", ".join(_limits(event, "needs"))
    return Text.assemble((safe(event.get("step") or "the instance"), "bold"), f" stands in line for {limits}")


def _reserved(event: Json, at: datetime) -> Text:
    line = Text.assemble((safe(event["step"]), "bold"), " starts")
    due, rates = moment(event.get("start_at")), ", ".join(_limits(event, "paces"))
    line.append(f" {ago(due, at)}" if due is not None and due > at else " at once", style="yellow")
    line.append(f", as {rates} allows", style="dim")
    return line


def _in_line(event: Json, _at: datetime) -> Text:
    first = next(_limits(event, "paces"), "")
    return Text.assemble((safe(event["step"]), "bold"), f" stands in line for {first}")


def _limits(event: Json, name: str) -> Iterator[str]:
    return (safe(one.get("limit", "")) for one in event.get(name, ()))


def _part_reported(event: Json, _at: datetime) -> Text:
    failed, total = event.get("failed", 0), event.get("total", 0)
    of = f"{failed:,} of {counted(total, 'item')}" if total else counted(failed, "item")
    return Text.assemble((safe(event["step"]), "bold"), (f" {of} failed so far", "red"))


def _part_ended(event: Json, _at: datetime) -> Text:
    line = Text.assemble((safe(event["step"]), "bold"), " ")
    if "part" not in event:
        line.append(f"its workflow {_became(event)}")
    elif event.get("status") == "undone":
        return line.append(f"has undone the items of {_parts(event)}")
    else:
        counts = ", ".join(f"{number:,} {name}" for name, number in (event.get("counts") or {}).items())
        line.append(f"{_parts(event)} of its items ended: {counts or 'none ran'}")
    if event.get("error"):
        line.append(f"\n{safe(event['error']['message'], lines=True)}", style="red")
    return line


def _item_completed(event: Json, at: datetime) -> Text:
    line = Text.assemble((safe(event["step"]), "bold"), " ", (safe(event["event"]), "green"))
    line.append(_took(event, at), style="dim")
    if event.get("writes"):
        line.append(f"  wrote {', '.join(map(safe, event['writes']))}", style="dim")
    return line


def _round_ended(event: Json, at: datetime) -> Text:
    how = f" ended with {safe(event['event'])}" if event.get("event") else " ended"
    line = Text.assemble((safe(event["step"]), "bold"), f" round {event['round']}{how}", (_took(event, at), "dim"))
    line.append(f"  the next {_when(event['next_at'], at)}", style="dim")
    if event.get("writes"):
        line.append(f"  wrote {', '.join(map(safe, event['writes']))}", style="dim")
    return line


def _dropped(event: Json, _at: datetime) -> Text:
    return styles.plain(f"{event['step']} takes no more events, dropped: {', '.join(event['events'])}")


def _waiting(event: Json, at: datetime) -> Text:
    line = Text.assemble((safe(event["step"]), "bold"), " waits")
    if event.get("due_at"):
        line.append(f" until {until(event['due_at'], at)}", style="dim")
    return line


def _failed(event: Json, at: datetime) -> Text:
    error = event["error"]
    line = Text.assemble(
        (safe(event["step"]), "bold"), f" attempt {event.get('attempt', 1)} failed", (_took(event, at), "dim")
    )
    line.append(f"\n{safe(error['type'])}: {safe(error['message'], lines=True)}", style="red")
    if event.get("retry_at"):
        line.append(f"\nagain {_when(event['retry_at'], at)}", style="yellow")
    return line


def _when(retry_at: str, at: datetime) -> str:
    """In how long an attempt follows; jitter may leave nothing of the delay, or the commit may have taken longer."""
    due = moment(retry_at)
    return ago(due, at) if due is not None and due > at else "at once"


def _undoing(event: Json, _at: datetime) -> Text:
    undoing = f"undoing {', '.join(event['steps'])}" if event.get("steps") else "nothing to undo"
    then = f"; then on_failure runs: {event['then']}" if event.get("then") else ""
    return styles.plain(f"{undoing}{then}; then it is {event['status']}")


def _undone(event: Json, at: datetime) -> Text:
    return Text.assemble((safe(event["step"]), "bold"), " undone", (_took(event, at), "dim"))


def _choice(event: Json, _at: datetime) -> Text:
    return Text(f"calls the Choice of {safe(event['step'])}", style="dim")


def _suspended(event: Json, at: datetime) -> Text:
    wake = f", looks again {ago(event['wake_at'], at)}" if event.get("wake_at") else ""
    return Text(f"the invocation leaves{wake}", style="dim")


def _handed(_event: Json, _at: datetime) -> Text:
    return Text("the invocation's time is up, the next one goes on", style="dim")


def _parked(event: Json, at: datetime) -> Text:
    return Text.assemble(
        ("parked", "bold red"), f" {safe(event['reason'])}", (f"; looks again {ago(event['wake_at'], at)}", "dim")
    )


def _asked(words: str) -> Callable[[Json, datetime], Text]:
    return lambda event, _at: Text.assemble(
        (words, "bold"), f": {safe(event['reason'])}" if event.get("reason") else ""
    )


def _cancel(event: Json, at: datetime) -> Text:
    return _asked("cancel and undo" if event.get("compensate") else "cancel")(event, at)


def _redriven(event: Json, _at: datetime) -> Text:
    again = [*event.get("reset", ()), *event.get("undo", ())]
    return Text.assemble(("redriven", "bold"), (f": {', '.join(map(safe, again))} again" if again else "", ""))


def _finished(event: Json, _at: datetime) -> Text:
    line = styles.status(event["status"])
    if event.get("output_of"):
        line.append(f"  output of {safe(event['output_of'])}", style="dim")
    if event.get("error"):
        line.append(f"\n{safe(event['error']['type'])}: {safe(event['error']['message'], lines=True)}", style="red")
    return line


def _broken(words: str) -> Callable[[Json, datetime], Text]:
    def told(event: Json, _at: datetime) -> Text:
        error = event["error"]
        return Text(f"{words}\n{safe(error['type'])}: {safe(error['message'], lines=True)}", style="red")

    return told


def _child_started(event: Json, _at: datetime) -> Text:
    how = "starts the detached child" if event.get("detached") else "waits for the child"
    return Text(f"{safe(event['step'])} {how} {safe(event['child'])}")


BECAME: Final = {
    "completed": "has completed",
    "failed": "has failed",
    "cancelled": "was cancelled",
    "undone": "has undone what it did",
    "rejected": "did not start: another instance has its id",
}


def _became(event: Json) -> str:
    """What has become of a child."""
    return BECAME.get(event.get("status", ""), "could not be reached")


def _child_ended(event: Json, _at: datetime) -> Text:
    return Text(f"the child of {_with_round(event)} {_became(event)}")


def _child_undoing(event: Json, _at: datetime) -> Text:
    if "part" in event:
        return Text(f"{safe(event['step'])} undoes the items of {_parts(event)}")
    return Text(f"the child of {_with_round(event)} undoes what it did")


def _with_round(event: Json) -> str:
    """A step and, from the second on, which round of it."""
    return f"{safe(event['step'])}{', round {}'.format(event['round']) + ',' if event.get('round') else ''}"


def _took(event: Json, at: datetime) -> str:
    start = moment(event.get("started_at"))
    end = moment(event.get("ended_at")) or at
    return f"  {span(max((end - start).total_seconds(), 0))}" if start else ""


_WORDS: Final[dict[str, tuple[str, Callable[[Json, Any], Text]]]] = {
    "InstanceStarted": ("●", _started),
    "Forked": ("⑂", _forked),
    "Claimed": ("", _claimed),
    "StepsStarted": ("running", _steps("starts ")),
    "CompensationsStarted": ("running", _steps("starts the compensation of ")),
    "StepsIsolated": ("", _steps("their process died, each runs alone: ")),
    "ChoiceStarted": ("", _choice),
    "EventReceived": ("✉", _received),
    "TimerSet": ("◷", _timer),
    "HeartbeatReceived": ("♥", _beat),
    "StepCompleted": ("completed", _completed),
    "StepWaiting": ("waiting", _waiting),
    "ChildStarted": ("waiting", _child_started),
    "ChildrenStopping": ("", _steps("cancels the children of ")),
    "ChildEnded": ("✉", _child_ended),
    "ChildUndoing": ("compensating", _child_undoing),
    "UndoRequested": ("compensating", _steps("its parent has it undo ")),
    "RoundEnded": ("looping", _round_ended),
    "EventsDropped": ("✉", _dropped),
    "StepFailed": ("failed", _failed),
    "StepsSkipped": ("skipped", _steps("skips ")),
    "CompensationStarted": ("compensating", _undoing),
    "StepCompensated": ("compensated", _undone),
    "MapBegun": ("mapping", _map_begun),
    "MapSpread": ("mapping", _map_spread),
    "PartStarted": ("mapping", _part_started),
    "PartReported": ("failed", _part_reported),
    "PermitsTaken": ("", _permits),
    "StepQueued": ("waiting", _queued),
    "StartReserved": ("waiting", _reserved),
    "StartQueued": ("waiting", _in_line),
    "PartEnded": ("mapping", _part_ended),
    "ItemCompleted": ("completed", _item_completed),
    "ItemWaiting": ("waiting", _waiting),
    "ItemFailed": ("failed", _failed),
    "ItemUndone": ("compensated", _undone),
    "ItemUndoFailed": ("compensation_failed", _failed),
    "OnFailureCompleted": ("completed", _completed),
    "OnFailureFailed": ("failed", _failed),
    "CompensationFailed": ("compensation_failed", _failed),
    "Suspended": ("", _suspended),
    "HandedOver": ("", _handed),
    "Parked": ("failed", _parked),
    "CancelRequested": ("cancelled", _cancel),
    "Paused": ("‖", _asked("paused")),
    "Unpaused": ("▶", _asked("unpaused")),
    "Redriven": ("↻", _redriven),
    "InstanceFinished": ("■", _finished),
    "OutputStarted": ("", lambda _event, _at: Text("makes the output", style="dim")),
    "OutputFailed": ("failed", _broken("the output could not be made")),
    "LimitsFailed": ("failed", _broken("the limits of the workflow could not be read")),
    "TimedOut": ("failed", _broken("its time is up")),
}
