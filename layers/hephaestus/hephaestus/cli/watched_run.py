"""``run``: an instance in memory, without AWS, from its start to its end, while one watches.

Steps really run, and take their time; waits are skipped unless real time is wanted.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.live import Live
from rich.text import Text

from hephaestus.adapters.folder_objects import sources_in
from hephaestus.adapters.memory import MemoryQueue
from hephaestus.cli import styles
from hephaestus.cli.data import ObjectsFolder, read_object
from hephaestus.cli.failures import words
from hephaestus.cli.instance_view import BAD, instance
from hephaestus.cli.looking import end_with, item_left
from hephaestus.cli.modules import find
from hephaestus.cli.terminal import Session
from hephaestus.cli.text import safe, short, span
from hephaestus.definition.child import with_children
from hephaestus.definition.views import to_json_object
from hephaestus.engine.state import CLOSED
from hephaestus.errors import BadRequest
from hephaestus.runtime.dispatch import Enqueue
from hephaestus.runtime.runner import Runner
from hephaestus.testing import LocalRuntime, VirtualClock, signer
from hephaestus.values.strict_json import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from hephaestus.definition.views import InstanceView
    from hephaestus.definition.workflow import Workflow
    from hephaestus.engine.graph import Graph

Answer = tuple[str, Any]
FRAME_SECONDS: Final = 0.1
ROUNDS: Final = 10_000
MOST_NAMED: Final = 20  # items of a map that have failed


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Definitions")(run)


class SkippingClock(VirtualClock):
    """The machine's time, moved on by what was skipped; in real time nothing is skipped, but waited for."""

    def __init__(self, *, real: bool) -> None:
        super().__init__()
        self.real = real
        self._skipped = 0

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000 + self._skipped

    def sleep(self, milliseconds: int) -> None:
        """Let time pass."""
        if self.real:
            time.sleep(milliseconds / 1000)
        else:
            self._skipped += milliseconds

    def move_to(self, now: int) -> None:
        """Have it be ``now`` (ms), or later."""
        self.sleep(max(now - self.now(), 0))


class Stage(LocalRuntime):
    """A ``LocalRuntime`` whose steps take their time; its links are signed, and lead nowhere (``--event`` answers)."""

    starts_schedules = False  # one instance is watched

    def __init__(self, workflow: type[Workflow], *, real: bool, objects: Path | None = None) -> None:
        super().__init__(*with_children((workflow,)))
        self.clock = self.time = SkippingClock(real=real)
        self.queue = MemoryQueue(self.clock)
        registry = self.runner.registry
        self.runner = Runner(
            self.store,
            self.timers,
            self.queue,
            registry,
            clock=self.clock,
            dispatch=Enqueue(),
            limits=None,
            signer=signer,
        )
        if objects is not None:
            self.runner.sources = sources_in(objects)

    def next_due(self) -> int | None:
        """When something happens by itself (ms)."""
        return min((at for at in (self.queue.next_due(), self.timers.next_due()) if at is not None), default=None)


def run(
    ctx: typer.Context,
    target: Annotated[str, typer.Argument(metavar="WORKFLOW", help="module:Workflow, or a path.")],
    data: Annotated[str | None, typer.Option("--data", "-d", metavar="JSON", help="The start data.")] = None,
    input: Annotated[  # noqa: A002 - the option's name
        str | None,
        typer.Option("--input", "-i", metavar="FILE", help="A file of start data, or JSON; - is standard input."),
    ] = None,
    value: Annotated[str, typer.Option("--id", help="The business key's value.")] = "local",
    version: Annotated[int | None, typer.Option(help="Another version than the current one.")] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(
            "--event",
            "-e",
            metavar="[STEP=]EVENT[:JSON]",
            help='Answer a wait, as approval=approved:{"by":"Ann"}. Without one you are asked, or its time passes.',
        ),
    ] = None,
    real_time: Annotated[bool, typer.Option("--real-time", help="Wait for what waits.")] = False,
    objects: ObjectsFolder = None,
    full: Annotated[bool, typer.Option("--full", "-f", help="Show data in full at the end.")] = False,
) -> None:
    """Run a workflow in memory, without AWS. Status 1 if it ends badly."""
    session: Session = ctx.obj
    flow = find(target, session.place.modules)
    if flow is None:
        message = f"{target}: name a workflow of your own, as module:Workflow or a path"
        raise BadRequest(message)
    answers = _answers(event or ())
    graphs = [each.definition(each.current).graph for each in with_children((flow,))[1:]]
    _check_answers(answers, [flow.definition(flow.current if version is None else version).graph, *graphs])
    play = _Play(session, Stage(flow, real=real_time, objects=objects), answers)
    context = read_object(data, input, "the start data")
    instance_id = play.stage.runner.start_instance(flow, context, id=value, version=version)
    shown = to_json_object(play.to_the_end(instance_id))
    for step, left in play.answers.items():
        for name, _ in left:
            session.err.print(Text(f"not used: --event {safe(step)}{'=' * bool(step)}{safe(name)}", style="yellow"))
    if session.json:
        session.write_json(shown)
    elif not session.out.is_terminal or full:
        session.say(instance(shown, session.out.width, full=full, now=play.now, hints=False))
    if not session.json:
        session.say(*play.failed_items(shown))
    end_with(shown)


class _Play:
    """One instance, and who answers when it waits."""

    def __init__(self, session: Session, stage: Stage, answers: dict[str, list[Answer]]) -> None:
        self.session = session
        self.stage = stage
        self.answers = answers

    @property
    def now(self) -> datetime:
        """The time of the play."""
        return datetime.fromtimestamp(self.stage.clock.now() / 1000, UTC)

    def to_the_end(self, instance_id: str) -> InstanceView:
        """Go on until the instance has ended."""
        for _ in range(ROUNDS):
            self._watched(instance_id, self.stage.settle)
            shown = self.stage.runner.get(instance_id)
            if shown.closed:
                return shown
            self._go_on(shown)
        message = f"instance {instance_id} does not come to an end"
        raise BadRequest(message)

    def failed_items(self, shown: dict[str, Any]) -> Iterator[Text]:
        """The items that have failed, the first of each map: after the run no one can ask for them."""
        for key, step in shown.get("steps", {}).items():
            for status in BAD:
                number = step.get("progress", {}).get(status, 0)
                found = (
                    self.stage.runner.items(shown["id"], key, status=status, limit=MOST_NAMED).items if number else ()
                )
                for one in found:
                    line = item_left(to_json_object(one))
                    yield Text.assemble(
                        (f"{safe(key)}[{safe(one.key)}]", "bold"), "  ", styles.status(status), "  ", line
                    )
                if number > len(found):
                    yield Text(f"and {number - len(found):,} more of {safe(key)}", style="dim")

    def _go_on(self, shown: InstanceView) -> None:
        """Answer a step that takes events, or let time pass until something happens by itself."""
        open_ = list(self._open(shown.id))
        if any(self._takes(one) for one in open_):
            return
        due = self.stage.next_due()
        if due is None:
            waiting = [(key, step.accepts) for one in open_ for key, step in one.steps.items() if step.accepts]
            left = "; ".join(f"{key} takes {', '.join(accepts)}" for key, accepts in waiting)
            message = f"instance {shown.id} waits for ever: answer it with --event. {left}"
            raise BadRequest(message)
        ahead = (due - self.stage.clock.now()) / 1000
        if ahead > 1:
            self._note(f"{'waits' if self.stage.time.real else 'skips'} {span(ahead)}")
        self._watched(shown.id, lambda: self.stage.clock.move_to(due))

    def _open(self, instance_id: str) -> Iterator[InstanceView]:
        """An instance, then the children below it that have not ended."""
        top = self.stage.runner.get(instance_id, tree=True)
        yield top
        below = list(top.children)
        for child in below:  # it grows as it is read
            below += child.get("children", ())
            if child["status"] not in (*CLOSED, "lost", "unknown"):
                yield self.stage.runner.get(child["id"])

    def _takes(self, shown: InstanceView) -> bool:
        """Whether a step of an instance took an answer."""
        for key, step in shown.steps.items():
            if not step.accepts:
                continue
            item = self._waiting_item(shown, key)
            where = key if item is None else f"{key}[{item}]"
            answer = self._answer(key, step.accepts, where, ask=step.status in {"waiting", "mapping"})
            if answer is not None:
                self._note(f"{where}: {answer[0]}")
                self.stage.runner.resume(shown.id, answer[0], answer[1], step=key, item=item)
                return True
        return False

    def _waiting_item(self, shown: InstanceView, key: str) -> str | None:
        """The first item of a map that waits; ``None`` for a step that is no map."""
        if shown.steps[key].progress is None:
            return None
        return next((one.key for one in self.stage.runner.items(shown.id, key, status="waiting", limit=1)), None)

    def _answer(self, key: str, accepts: Sequence[str], where: str, *, ask: bool) -> Answer | None:
        """The answer that was given, or that a person gives if ``ask``; ``None`` to let the time pass."""
        for name in (key, ""):
            for number, (event, payload) in enumerate(self.answers.get(name, [])):
                if name or event in accepts:
                    del self.answers[name][number]
                    return event, payload
        events = [event for event in accepts if event != "timeout"]
        if not ask or not self.session.interactive or not events:
            return None
        skip = " (nothing: its time passes)" if "timeout" in accepts else ""
        question = f"{safe(where)} waits for {' or '.join(map(safe, events))}{skip}"
        while said := typer.prompt(question, default="", show_default=False).strip():
            try:
                answer = _read(said)
            except BadRequest as error:
                problem = words(error)
            else:
                if answer[0] in accepts:
                    return answer
                problem = f"{short(answer[0], 40)!r} is none of them"
            self.session.err.print(Text(problem, style="yellow"))
        return None

    def _note(self, text: str) -> None:
        if not self.session.json and not self.session.out.is_terminal:
            self.session.say(styles.plain(f"… {text}", "dim"))

    def _watched(self, instance_id: str, work: Callable[[], object]) -> None:
        """Do something while the person sees how the instance goes on."""
        if self.session.json or not self.session.out.is_terminal:
            work()
            return
        failed: list[BaseException] = []

        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised again, below
                failed.append(error)

        worker = threading.Thread(target=guarded, daemon=True)
        with Live(console=self.session.out, auto_refresh=False, vertical_overflow="visible", transient=True) as live:
            worker.start()
            while worker.is_alive():
                live.update(self._shown(instance_id), refresh=True)
                worker.join(FRAME_SECONDS)
        shown = self.stage.runner.get(instance_id)
        if shown.closed or failed or self.session.interactive:
            self.session.say(self._shown(instance_id), Text())
        if failed:
            raise failed[0]

    def _shown(self, instance_id: str) -> Any:
        shown = to_json_object(self.stage.runner.get(instance_id))
        return instance(shown, self.session.out.width, now=self.now, hints=False, bars=True)


def _answers(given: Sequence[str]) -> dict[str, list[Answer]]:
    """What ``--event`` says, by step; ``""`` holds those for whichever step takes them."""
    found: dict[str, list[Answer]] = {}
    for each in given:
        before, equals, after = each.partition("=")
        step, said = (before, after) if equals and ":" not in before else ("", each)
        if equals and not before:
            message = f"--event {short(each, 40)!r} names no step before '=': write [step=]event or [step=]event:JSON"
            raise BadRequest(message)
        try:
            found.setdefault(step, []).append(_read(said))
        except BadRequest as error:
            message = f"--event {short(each, 40)}: {error}"
            raise BadRequest(message) from error
    return found


def _check_answers(answers: dict[str, list[Answer]], graphs: Sequence[Graph]) -> None:
    """Reject what no step of the workflow, or of those that it starts, could be answered with.

    Raises:
        BadRequest: a step that none has, or an event that the step, or every step, does not have.
    """
    for step, given in answers.items():
        those = [graph for graph in graphs if not step or step in graph.edges]
        if not those:
            steps = dict.fromkeys(key for graph in graphs for key in graph.order)
            message = f"--event {safe(step)}=…: there is no step {safe(step)!r}; it has {', '.join(steps)}"
            raise BadRequest(message)
        known = dict.fromkeys(event for graph in those for event in _taken(graph, step))
        for event, _ in given:
            if event not in known:
                whose = f"step {step} has" if step else "its steps have"
                message = f"--event: there is no event {short(event, 40)!r}; {whose} {', '.join(known)}"
                raise BadRequest(message)


def _taken(graph: Graph, step: str) -> Sequence[str]:
    """The events that a step takes, or its items; without one, those that any takes."""
    if step:
        return graph.maps[step].events if step in graph.maps else graph.takes[step]
    return (*graph.takers, *(event for spread in graph.maps.values() for event in spread.events))


def _read(said: str) -> Answer:
    """``event`` or ``event:JSON``."""
    event, colon, payload = said.partition(":")
    if not event:
        message = f"{short(said, 40)!r} is no answer: write [step=]event or [step=]event:JSON"
        raise BadRequest(message)
    return event, read_json(payload, f"what follows {short(event, 40)!r}") if colon else None
