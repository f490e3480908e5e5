"""Parents whose children end at once, and maps that many instances run: what such a soak runs, and its audit.

As everywhere in a soak, the audit believes the logs and the table that the steps write to, and no snapshot.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from benchmarks.soaking.audit import Account, check_end, log_of
from benchmarks.soaking.flows import EFFECTS, PATIENT, key
from benchmarks.soaking.reading import Findings, Reading, status
from benchmarks.soaking.scripts import Request, Script
from hephaestus import DONE, Completed, StepContext, Update, Workflow, step
from hephaestus.engine.events import ChildEnded, ChildStarted, ItemCompleted, PartEnded, PartStarted, StepCompleted
from hephaestus.steps import ChildWorkflow, Map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hephaestus.engine.events import Event
    from hephaestus.engine.state import State
    from hephaestus.store.store import Store

ITEMS: Final = 2.5  # of a map for each child of a parent: a hundred children, or 250 items
CHUNK: Final = 10  # items of one instance


def _counted(ctx: StepContext, number: int) -> Completed:
    own = Update(EFFECTS, {"pk": key(ctx)}, "ADD times :one", values={":one": 1})
    return Completed("done", {"number": number}, writes=[own])


@step
def work(ctx: StepContext) -> Completed:
    """A child's only step, with an effect."""
    return _counted(ctx, ctx.initial["number"])


@step
def handle(ctx: StepContext) -> Completed:
    """An item's, with an effect."""
    return _counted(ctx, ctx.item)


@step
def add_up(ctx: StepContext) -> dict[str, int]:
    """What the items left, which all are read."""
    return {"sum": sum(item["number"] for item in ctx.results("handle"))}


class Leaf(Workflow, key="leaf"):
    """A child."""

    retry = PATIENT
    start_at = work
    transitions = {work: {"done": DONE}}


items: Final = Map(handle, over=lambda ctx: range(ctx.initial["items"]), chunk=CHUNK)


class Batch(Workflow, key="batch"):
    """A map that many instances run."""

    retry = PATIENT
    start_at = items
    transitions = {items: {"done": add_up}, add_up: {"done": DONE}}


def workflows(children: int) -> tuple[type[Workflow], ...]:
    """What is run: a parent of so many children, these, and a map."""

    @step
    def begin(_: StepContext) -> str:
        """Have all children start."""
        return "done"

    @step
    def last(ctx: StepContext) -> dict[str, int]:
        """What the children left."""
        return {"sum": sum(ctx.steps[f"child{number}"]["number"] for number in range(children))}

    kids = [ChildWorkflow(Leaf, context=_numbered(number), name=f"child{number}") for number in range(children)]
    routes: dict[Any, Any] = {begin: {"done": kids}, **{kid: {"done": last} for kid in kids}, last: {"done": DONE}}
    about = {"start_at": begin, "transitions": routes, "retry": PATIENT}
    return type("Family", (Workflow,), about, key="family"), Leaf, Batch


def _numbered(number: int) -> Callable[[StepContext], Mapping[str, int]]:
    return lambda _: {"number": number}


def write(number: int, children: int) -> Script:
    """The script of one instance: a parent and a map in turn."""
    kind, size = ("map", int(children * ITEMS)) if number % 2 else ("family", children)
    start = Request("start", {"context": {"items": size}, "start_id": f"start-{number}"})
    return Script(kind, "Batch" if kind == "map" else "Family", f"{number}", ((start,),))


def sizes(script: Script) -> tuple[int, int]:
    """How many children or items a script's instance has, and how many instances run those."""
    size: int = script.stages[0][0].given["context"]["items"]
    return (size, -(-size // CHUNK)) if script.kind == "map" else (size, size)


class _Reading(Reading):
    """A log of a tree, whose starts and ends of children and items are counted."""

    def __init__(self, state: State, findings: Findings) -> None:
        super().__init__(state.instance_id, state.generation, findings, state.life)
        part = None if state.origin is None else state.origin.part
        self.owner = self.key if part is None else f"{part.owner}:{part.generation}"
        self.begun: dict[str, str] = {}
        self.over: Counter[str] = Counter()
        self.items: Counter[str] = Counter()
        self.results: Mapping[str, Any] = {}

    def event(self, event: Event, at: int) -> None:
        """Count it."""
        super().event(event, at)
        match event:
            case ChildStarted(activation=name, child=child) | PartStarted(activation=name, child=child):
                if name in self.begun:
                    self.findings.doubled.append(f"{self.name}: {name} was started twice")
                self.begun[name] = child
            case ChildEnded(activation=name, status=ended) | PartEnded(activation=name, status=ended):
                self.over[name] += 1
                if ended != "completed":
                    self.broken(f"{name} ended as {ended}, it says")
            case ItemCompleted(activation=name, writes=writes):
                self.items[name] += 1
                self.effects += [f"{self.owner}:{name}"] * bool(writes)
            case StepCompleted(results=results):
                self.results = results
            case _:
                pass


def audit(accounts: Iterable[Account], store: Store, effects: Mapping[str, int]) -> Findings:
    """Compare each tree with what its script says, and the effects with what all logs say."""
    findings = Findings()
    owed: Counter[str] = Counter()
    for account in accounts:
        script = account.script
        if account.state is None:
            findings.lost.append(f"{script.instance_id} ({script.kind}): there is no such instance")
            continue
        check_end(account, findings)
        own = _of_tree(store, account.state, findings)
        owed.update(own.effects)
        _check_sizes(own, script, findings)
    for one in sorted(owed.keys() | effects.keys()):
        found, times = effects.get(one, 0), owed[one]
        if found != times or times > 1:
            kind = findings.lost if found < times else findings.doubled
            kind.append(f"the effect {one} happened {found} times, and is owed {times} times")
    findings.counts["effects"] = len(owed)
    return findings


class _Tree:
    """What the logs of an instance and of those below it come to."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.results = results
        self.below = 0
        self.effects: list[str] = []


def _of_tree(store: Store, root: State, findings: Findings) -> _Tree:
    """Read the log of every instance of a tree."""
    open_, tree = [root], _Tree({})
    for state in open_:  # it grows as it is read
        reading, log = _Reading(state, findings), log_of(store, state.instance_id, state.generation)
        reading.read(log)
        if reading.state is not None and reading.state != state:
            findings.broken.append(f"{state.instance_id}: folding its log gives another state")
        if state is root:
            tree.results = reading.results
        elif state.generation != 1 or status(log) != "completed":
            findings.lost.append(f"{reading.name}: it is {status(log)} below {root.instance_id}, which has ended")
        tree.effects += reading.effects
        tree.below += len(reading.begun)
        _check_once(reading, findings)
        open_ += _below(store, reading, findings)
    return tree


def _check_once(reading: _Reading, findings: Findings) -> None:
    """Whether each end was counted once: of every child and part that was started, and of every item."""
    name, over = reading.name, reading.over
    findings.counts["ends counted"] += len(over)
    findings.counts["items"] += len(reading.items)
    findings.lost += [f"{name}: the end of {one} was not counted" for one in reading.begun if not over[one]]
    twice = [*over.items(), *reading.items.items()]
    findings.doubled += [f"{name}: the end of {one} was counted {times} times" for one, times in twice if times > 1]


def _below(store: Store, reading: _Reading, findings: Findings) -> Sequence[State]:
    """The instances that an instance has started."""
    found = [(child, store.load(child)) for child in reading.begun.values()]
    findings.lost += [f"{reading.name}: there is no instance {child}" for child, state in found if state is None]
    return [state for _, state in found if state is not None]


def _check_sizes(tree: _Tree, script: Script, findings: Findings) -> None:
    """Whether all of a tree was there, each with an effect, and its result is right."""
    size, instances = sizes(script)
    right: Mapping[str, Any] = {"sum": size * (size - 1) // 2}
    for what, found, expected in (
        ("instances", tree.below, instances),
        ("effects", len(tree.effects), size),
        ("results", dict(tree.results), right),
    ):
        if found != expected:
            findings.lost.append(f"{script.instance_id} ({script.kind}): its {what} are {found}, not {expected}")
