"""What a caller sees of an instance: plain, frozen data made from the state."""

from __future__ import annotations

from dataclasses import asdict, field, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from hephaestus.definition.business_key import key_of
from hephaestus.definition.item_views import ItemView, counted, progress
from hephaestus.definition.references import ByStep
from hephaestus.definition.rounds import ENDLESS
from hephaestus.engine.activation import parse, step_of
from hephaestus.engine.agenda import OPEN
from hephaestus.engine.events import (
    EVENTS,
    ChildrenStopping,
    ChildUndoing,
    InstanceStarted,
    MapSpread,
    PartEnded,
    PartReported,
    PartStarted,
)
from hephaestus.engine.inbox import accepted_events
from hephaestus.engine.plans import cancel_undoes, redrive_plan
from hephaestus.engine.state import CLOSED, PARTS, StepState, is_paused_alone
from hephaestus.values import FrozenDict, for_display
from hephaestus.values.given import own_mapping
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.engine.events import Entry, Event, Failure, Replacement
    from hephaestus.engine.graph import Graph
    from hephaestus.engine.records import Child
    from hephaestus.engine.state import State

T = TypeVar("T")
NOTHING_CARRIED: Final = FrozenDict()


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of an instance; times are aware ``datetime`` objects in UTC.

    Attributes:
        status: ``pending``, ``running``, ``waiting``, ``retrying``, ``looping`` (between two rounds), ``mapping`` (its
            items are under way), ``completed``, ``failed``, ``skipped``, ``compensated`` or ``compensation_failed``.
        event: the event that it completed with.
        results: its results.
        retry_at: when its next attempt begins, or its next round.
        round: of a step with rounds, the one that it is at, or comes next; once it has ended, how many it had.
        rounds: how many it has at most, where its version is deployed.
        carry: what the newest round that has ended left for the next.
        alone: ``True`` where it was under way when its process died, and so runs with nothing beside it.
        progress: of a map, how many items it has (``total``), and how many of them are in which status.
        in_line: how many events are kept for it, where it has rounds.
        child: the instance that it started and waits for, or waited for.
        accepts: the events that it takes now; none where it does not wait.
        error: ``type`` and ``message`` of its last failure; a completed step has one where its transitions route the
            failure.
        fail: where its event led to ``FAIL``: the reason, or an empty text.
        why: what it waits for, in a sentence, while it is open; see ``hephaestus why``.
        replaced: where its results were given to a fork instead of those that the step had: ``by`` whom, if known, and
            where that fork began (``forked_from``).
    """

    status: str
    attempt: int = 0
    event: str | None = None
    results: Mapping[str, Any] = field(default_factory=dict)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    retry_at: datetime | None = None
    deadline: datetime | None = None
    accepts: Sequence[str] = ()
    error: Mapping[str, str] | None = None
    replaced: Mapping[str, str] | None = None
    fail: str | None = None
    round: int | None = None
    rounds: int | None = None
    carry: Mapping[str, Any] = field(default_factory=dict)
    alone: bool | None = None
    in_line: int | None = None
    child: str | None = None
    progress: Mapping[str, int] | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class InstanceView:
    """An instance as the outside sees it.

    Attributes:
        id: the whole id, as ``orderid::abc123``.
        key: the business key's value, as ``abc123``.
        status: ``pending``, ``running``, ``waiting``, ``completed``, ``failed``, ``cancelled`` or ``compensating``;
            ``undone`` is a child that had completed, and that its parent has undone.
        steps: every step that something has happened to, by its key, the step itself or its class.
        accepts: the events that may be sent now, by step: those of a step that waits, and those of one that is sure to
            wait later (``WaitForEvent``), which are kept for it. Which of the two it is, says the step's own
            ``accepts``: only a step that waits has one.
        wake_at: when the instance is looked at again at the latest, if nothing happens before.
        parked: why it cannot go on until something outside of it is fixed, if that is so.
        paused: the reason it was paused for, possibly empty; ``None`` where it is not paused.
        paused_by_workflow: whether that is the pause of its workflow: it goes on with that.
        parent: the instance whose child it is.
        root: the one at the top of its tree.
        path: the activations that lead from there to it, as ``ship/label``.
        steered_at: where that is another, the instance at which it is cancelled, redriven (unless it is parked),
            forked and deleted: of a child that its parent has not left, and that is not detached.
        children: where its tree is asked for, each child that it has: its ``id``, the ``step`` that started it, its
            ``workflow``, ``version`` and ``status``, its ``error`` if it failed, whether it is ``detached``, its
            ``maps`` (how far each has come, as ``progress`` of a step), and its own ``children``.
        forked_from: the instance, generation and log entry that it was forked from, as ``orderid::a#1#7``.
        forked_by: who asked for that fork, if known.
        forked_by_source: how that is known: ``api``, ``claim`` or ``link`` (see ``hephaestus.runtime.caller``).
        context_replaced: where the start data were given to a fork instead of those of the first start: ``by`` whom, if
            known, and where that fork began (``forked_from``).
        error: why it failed: ``type`` and ``message``.
        deadline: when it fails unless it has ended before, where its workflow has a ``timeout``.
        output: what it left, once it has completed; see ``Workflow.output``.
        redrive: what a redrive would do now, by step: ``runs_again``, ``anew`` (the maps among them that begin anew; of
            others what has not completed is repeated), ``waits_again`` (approvals included), ``waits_on``, ``undoes``
            and ``kept``; ``None`` where it cannot be redriven or its version is not deployed.
        cancel_undoes: the steps that a cancellation with compensation would undo now, in this order.
        left_out: what is not shown, as it was too large for an answer of the API; ``None`` where nothing is.
        why: sentences that say what holds it as a whole, while it is open; a step's say what that waits for.
        used: in the answer to a start alone: it has started nothing, and uses this one, which was open.
    """

    id: str
    key: str
    workflow: str
    version: int
    generation: int
    status: str
    created_at: datetime
    updated_at: datetime
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    steps: ByStep[StepView] = field(default_factory=ByStep)
    accepts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    wake_at: datetime | None = None
    cancel_requested: str | None = None
    paused: str | None = None
    paused_by_workflow: bool = False
    forked_from: str | None = None
    forked_by: str | None = None
    forked_by_source: str | None = None
    context_replaced: Mapping[str, str] | None = None
    parked: str | None = None
    error: Mapping[str, str] | None = None
    deadline: datetime | None = None
    output: Mapping[str, Any] | None = None
    redrive: Mapping[str, Sequence[str]] | None = None
    cancel_undoes: Sequence[str] = ()
    left_out: str | None = None
    parent: str | None = None
    root: str | None = None
    path: str | None = None
    steered_at: str | None = None
    children: Sequence[Mapping[str, Any]] = ()
    why: Sequence[str] = ()
    used: bool = False

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self.status in CLOSED


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One log entry: what became true together."""

    sequence: int
    at: datetime
    events: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of many; ``cursor`` asks for what follows, ``None`` at the end.

    ``left_out`` says what is not shown, as it was too large for an answer of the API; ``None`` where nothing is.
    """

    items: Sequence[T]
    cursor: str | None = None
    left_out: str | None = None

    def __iter__(self) -> Any:
        """Iterate over this page's items."""
        return iter(self.items)

    def __len__(self) -> int:
        """How many items this page has."""
        return len(self.items)


CARRIED: Final = frozenset(
    member.name
    for kind in (InstanceView, StepView, ItemView, *EVENTS.values())
    for member in fields(kind)
    if "Any" in str(member.type)
)
"""The members of views and of history's events that hold what workflows carry, of whatever size it is."""


def moment(milliseconds: int | None) -> datetime | None:
    """An aware ``datetime`` in UTC; ``None`` for none."""
    return in_utc(milliseconds) if milliseconds else None


def view(state: State, graph: Graph | None, far: Mapping[str, Mapping[str, int]] | None = None) -> InstanceView:
    """Show ``state``; without its graph (a version no longer deployed) it is not known what it accepts.

    ``far`` is how far the maps have come whose items other instances run.
    """
    open_ = not state.closed and not state.cancel and state.compensation is None
    accepts = accepted_events(graph, state) if graph and open_ else {}
    for step, known in (far or {}).items():
        spread = graph.maps.get(step) if graph and open_ else None  # it may have been renamed under the same version
        if spread is not None and spread.takes and known.get("waiting") and state.step_status(step) == "mapping":
            accepts[step] = spread.takes
    return InstanceView(
        id=state.instance_id,
        key=key_of(state.instance_id),
        workflow=state.workflow,
        version=state.version,
        generation=state.generation,
        status=state.status,
        created_at=in_utc(state.created_at),
        updated_at=in_utc(state.updated_at),
        tags=state.tags,
        metadata=own_mapping(state.metadata),
        context=own_mapping(state.initial),
        steps=ByStep(_steps(state, accepts, graph, far or {})),
        accepts=accepts,
        wake_at=moment(state.wake_at),
        cancel_requested=state.cancel.reason if state.cancel else None,
        paused=state.paused.reason if state.paused else None,
        paused_by_workflow=state.paused is not None and not is_paused_alone(state),
        forked_from=state.forked_from or None,
        forked_by=state.forked_by or None,
        forked_by_source=state.forked_by_source or None,
        context_replaced=_replaced(state.initial_replaced),
        parked=state.parked,
        error=_error(state.error),
        deadline=None if state.closed else moment(state.deadline),
        output=_output(state),
        redrive=_plan(graph, state) if graph else None,
        cancel_undoes=cancel_undoes(graph, state) if graph else (),
        parent=state.origin.public[0] if state.origin else None,
        root=state.origin.root if state.origin else None,
        path=state.origin.public[1] if state.origin else None,
    )


def below(
    activation: str, child: Child, state: State | None, far: Mapping[str, Mapping[str, int]] = NOTHING_CARRIED
) -> dict[str, Any]:
    """A child in its parent's tree; without its state as far as its parent knows it. ``far``: as of ``view``."""
    shown: dict[str, Any] = {"id": child.instance_id, "step": activation}
    if state is not None:
        shown |= {"workflow": state.workflow, "version": state.version, "status": state.status}
        shown |= {"error": error} if (error := _error(state.error)) else {}
        shown |= {"parked": state.parked} if state.parked else {}
        maps = {key: far.get(key) or _progress(state, key, step) for key, step in state.steps.items() if step.mapped}
        shown |= {"maps": maps} if maps else {}
    else:
        shown["status"] = child.status or "unknown"
    return {**shown, **({"detached": True} if child.detached else {})}


def _steps(
    state: State, accepts: Mapping[str, Sequence[str]], graph: Graph | None, far: Mapping[str, Mapping[str, int]]
) -> dict[str, StepView]:
    """Every step that something has happened to."""
    bounds = {} if graph is None else graph.rounds
    children = {step_of(one): child.instance_id for one, child in state.children.items() if "[" not in one}
    deadlines: dict[str, int] = {}
    for timer in () if state.closed else state.deadlines:
        deadlines[timer.step] = min(timer.due_at, deadlines.get(timer.step, timer.due_at))
    running = [step_of(one) for one in state.running if not parse(one).undo and "[" not in one and not state.closed]
    isolated = () if state.closed else tuple([step_of(one) for one in state.isolated if "[" not in one])
    lines = () if state.closed else (*state.queued, *state.turns)
    queued = tuple([step_of(one) for one in lines if one and "[" not in one])
    known = {**dict.fromkeys((*running, *isolated, *queued), StepState("pending")), **state.steps}
    return {
        key: StepView(
            status="running" if key in running else step.status,
            attempt=state.attempt(key) if key in running else step.attempt,
            event=step.event,
            results=own_mapping(step.results),
            started_at=moment(step.started_at),
            ended_at=moment(step.ended_at),
            retry_at=moment(step.retry_at),
            deadline=moment(deadlines.get(key)),
            accepts=accepts.get(key, ()) if step.status in OPEN else (),
            error=_error(step.error or step.failed),
            replaced=_replaced(step.replaced),
            fail=step.fail,
            round=_round(step) if key in bounds or step.loop is not None else None,
            rounds=bounds[key].at_most if key in bounds and bounds[key].at_most < ENDLESS else None,
            carry=own_mapping(NOTHING_CARRIED if step.loop is None else step.loop.carry),
            alone=key in isolated or None,
            child=children.get(key) or (step.child.instance_id if step.child else None),
            in_line=len(state.waiting_for(key)) or None if key in bounds else None,
            progress=far.get(key) or _progress(state, key, step),
        )
        for key, step in known.items()
    }


def _progress(state: State, key: str, step: StepState) -> Mapping[str, int] | None:
    """How far a map has come whose items its own instance runs."""
    mapped = step.mapped
    if mapped is None or mapped.in_parts:
        return None
    return progress(len(mapped.ends), counted(state, key, mapped))


def _round(step: StepState) -> int:
    """The number of the round that a step is at or, once it has ended, of the last that it began."""
    return step.round if step.status in ("pending", *OPEN) else max(step.rounds, 1)


def view_entry(entry: Entry, *, traces: bool = False) -> HistoryEntry:
    """Show one log entry; each event names its ``type``. Where errors were raised is for who may see the code."""
    events = [{"type": type(event).__name__, **_shown(_told(event), traces=traces)} for event in entry.events]
    return HistoryEntry(entry.sequence, in_utc(entry.at), events)


def _told(event: Event) -> dict[str, Any]:
    """The fields of an event; the instances that run the items of a map are shown as parts of it, by their places."""
    fields = asdict(event)
    if isinstance(event, InstanceStarted) and event.origin is not None:
        parent, path = event.origin.public
        known = {**fields["origin"], "instance_id": parent, "path": path}
        hidden = ("shown_parent", "shown_path", "part", *(("life",) if parent != event.origin.instance_id else ()))
        fields["origin"] = {name: value for name, value in known.items() if name not in hidden}
    if isinstance(event, MapSpread):
        return {**fields, "plan": None, "total": event.plan.total, "chunk": event.plan.chunk}
    if isinstance(event, (PartStarted, PartReported, PartEnded)) and _is_of_part(event):
        found = parse(event.activation)
        fields |= {"activation": _of_step(event.activation), "part": found.item, "child": None, "number": None}
    if isinstance(event, PartEnded):
        counts = {name: count for name, count in asdict(event.counts).items() if count}
        fields |= {"counts": counts, "emitted": dict(event.emitted), "number": None, "of_item": None}
    if isinstance(event, ChildrenStopping):
        fields["activations"] = tuple(dict.fromkeys(map(_of_step, event.activations)))
    if isinstance(event, ChildUndoing):
        fields |= {"number": None, "of_item": None}
        part = parse(event.activation).item
        fields |= {} if event.of_item else {"activation": _of_step(event.activation), "part": part}
    return fields


def _of_step(activation: str) -> str:
    """An activation without its item, which may stand for a part of a map."""
    return replace(parse(activation), item=None).text


def _is_of_part(event: PartStarted | PartReported | PartEnded) -> bool:
    """Whether an event is about a part of a map, and not about an item that is an instance of a workflow."""
    if isinstance(event, PartStarted):
        return event.child.startswith(f"{PARTS}::")
    return isinstance(event, PartReported) or not event.of_item


HIDDEN: Final = frozenset({"start_id", "owner", "digest", "took", "loop", "mapped", "ends"})
COUNTS: Final = frozenset({"round", "rounds"})
TIMES: Final = ("_at", "_until", "_ms", "_for")


def _shown(fields: dict[str, Any], *, traces: bool) -> dict[str, Any]:
    """The fields worth showing: no empty ones, stack traces if asked for, times as times."""
    shown: dict[str, Any] = {}
    for name, value in fields.items():
        empty = value in (None, "", (), {}, []) and name not in ("taken", "fail")
        never = value == 0 and name.endswith(TIMES)
        if empty or never or value is None or name in HIDDEN or (name in COUNTS and not value):
            continue  # that a step led nowhere is worth showing, and that it led to FAIL, whatever the reason
        if name == "activation":
            found = parse(value)
            shown |= {"step": found.step, **({"epoch": found.epoch} if found.epoch else {})}
            shown |= {"item": found.item} if found.item is not None else {}
            shown |= {"round": found.round} if found.round > 1 or "next_at" in fields else {}
        elif name == "activations":
            shown["steps"] = tuple(map(label_of, value))
        elif name in ("error", "failed") and isinstance(value, dict):
            told = ("type", "message", "trace") if traces and value["trace"] else ("type", "message")
            shown[name] = {part: value[part] for part in told}
        elif name in ("replaced", "initial_replaced"):
            shown[name] = {part: text for part, text in value.items() if text}
        elif name == "completed":
            shown[name] = [_shown(done, traces=traces) for done in value]
        elif name == "starts":
            shown[name] = [_shown(one, traces=traces) for one in value]
        elif name.endswith(("_at", "_until", "_for")):
            shown[name] = moment(value)
        else:
            shown[name] = value
    return shown


def label_of(activation: str) -> str:
    """What a person is shown for an activation: the step, and the item where it is one."""
    found = parse(activation)
    return found.step if found.item is None else f"{found.step}[{found.item}]"


def to_json_object(shown: Any) -> dict[str, Any]:
    """A view as JSON's own types, empty members left out."""
    members: dict[str, Any] = {}
    for name in (each.name for each in fields(shown)):
        value = getattr(shown, name)
        if name == "steps" and isinstance(shown, InstanceView):
            value = {key: to_json_object(step) for key, step in shown.steps.items()}
        if value not in (None, (), {}, []) or name == "items" or (name == "output" and value is not None):
            members[name] = for_display(value)
    return members


def to_json_page(page: Page[Any]) -> dict[str, Any]:
    """A page of views as JSON's own types."""
    return {"items": [to_json_object(item) for item in page.items], "cursor": page.cursor}


def _output(state: State) -> Mapping[str, Any] | None:
    if state.status != "completed":
        return None
    of = state.steps.get(state.output_of)
    return own_mapping(state.output if of is None else of.results)


def _plan(graph: Graph, state: State) -> Mapping[str, Sequence[str]] | None:
    plan = redrive_plan(graph, state)
    return {name: steps for name, steps in asdict(plan).items() if steps} if plan else None


def _error(failure: Failure | None) -> Mapping[str, str] | None:
    return {"type": failure.type, "message": failure.message} if failure else None


def _replaced(given: Replacement | None) -> Mapping[str, str] | None:
    return {name: text for name, text in asdict(given).items() if text} if given else None


def in_utc(milliseconds: int) -> datetime:
    """An aware ``datetime`` in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
