"""What follows from a commit, as data: the effects to be performed after it.

All of it is a function of the log. So an effect may be performed late, twice, or by another, and one that a crash
swallowed is performed again when the alarm comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hephaestus.engine.activation import is_item, parse, step_of, token_of
from hephaestus.engine.events import (
    LONGEST_MESSAGE_MS,
    NOTHING,
    ChildrenStopping,
    ChildStarted,
    ChildUndoing,
    HandedOver,
    HeartbeatReceived,
    InstanceFinished,
    MapBegun,
    MapSpread,
    PartStarted,
    Paused,
    PermitsTaken,
    Redriven,
    RoundEnded,
    Suspended,
    TimerSet,
    Unpaused,
)
from hephaestus.engine.mail import Mail
from hephaestus.engine.map_items import counts_of
from hephaestus.engine.records import Part
from hephaestus.engine.requests import steered_by
from hephaestus.engine.state import is_paused_alone, left_by, not_undone, parts_before
from hephaestus.values import FrozenDict
from hephaestus.values.lazy_dataclass import dataclass
from hephaestus.values.weight import is_large

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hephaestus.engine.events import Entry, Event
    from hephaestus.engine.records import Child, Held, Occurrence, Origin, Queued, Turn
    from hephaestus.engine.state import State, Timer


@dataclass(frozen=True, slots=True)
class Schedule:
    """Make a one-shot schedule that wakes the instance at ``due_at`` (ms)."""

    step: str
    token: str
    due_at: int


@dataclass(frozen=True, slots=True)
class Unschedule:
    """Remove a one-shot schedule that has not fired."""

    step: str
    token: str
    due_at: int


@dataclass(frozen=True, slots=True)
class Wake:
    """Send a message that has the instance continued after ``delay_ms``."""

    delay_ms: int = 0


@dataclass(frozen=True, slots=True)
class Notify:
    """Publish the status event of ``state``, whose status differs from the one before; see ``is_news``."""

    state: State


@dataclass(frozen=True, slots=True)
class StartChild:
    """Start the child that ``started`` says, and send a message that has it run.

    ``part``: which items of a map it runs.
    """

    started: ChildStarted
    part: Part | None = None

    @property
    def others(self) -> tuple[str, ...]:
        """The instances that it is about."""
        return (self.started.child,)


@dataclass(frozen=True, slots=True)
class StartOccurrence:
    """Start an occurrence of the schedule that ``decided`` it at a time (ms)."""

    occurrence: Occurrence
    decided: int

    @property
    def others(self) -> tuple[str, ...]:
        """The instances that it is about."""
        return (self.occurrence.child,)


@dataclass(frozen=True, slots=True)
class Tell:
    """Put ``mail`` into the parent's mailbox, and send a message that has it read."""

    mail: Mail

    @property
    def others(self) -> tuple[str, ...]:
        """The instances that it is about."""
        return (self.mail.to,)


@dataclass(frozen=True, slots=True)
class Steer:
    """Have a child do what its parent was asked for, under a request id.

    ``action`` is ``cancel``, ``pause``, ``unpause``, ``redrive`` or ``undo``; ``number`` is of the entry that closed
    the child, as far as was reported. A part of a map goes on by ``resume_part``, with another ``share``; it
    ``keeps`` what its items had come to where the map was cancelled.
    """

    child: str
    activation: str
    action: str
    request_id: str
    reason: str = ""
    number: int = 0
    share: int = 0
    keeps: bool = False

    @property
    def others(self) -> tuple[str, ...]:
        """The instances that it is about."""
        return (self.child,)


@dataclass(frozen=True, slots=True)
class Keep:
    """Have these children go, and all below them, as if they had ended ``at`` (ms); with ``None`` they stay.

    ``number`` is of the entry that says so: a worker that was slow to do it changes nothing that a later entry said.
    All entries that are about the same children are of one instance, but where they go ``FOR_GOOD``.
    """

    children: tuple[str, ...]
    at: int | None
    number: int

    @property
    def others(self) -> tuple[str, ...]:
        """The instances that it is about."""
        return self.children


@dataclass(frozen=True, slots=True)
class OfPlace:
    """What is done about the place of an attempt in the line of a limit."""

    activation: str
    queued: Queued

    @property
    def others(self) -> tuple[str, ...]:
        """What it is about."""
        return tuple([need.limit for need in self.queued.needs])


@dataclass(frozen=True, slots=True)
class Stand(OfPlace):
    """Have an attempt stand in line for its permits, or take them."""


@dataclass(frozen=True, slots=True)
class Leave(OfPlace):
    """Have an attempt leave the line, and give back what was granted to it there."""


@dataclass(frozen=True, slots=True)
class GiveBack:
    """Give back the permits of an attempt."""

    activation: str
    held: Held

    @property
    def others(self) -> tuple[str, ...]:
        """What it is about."""
        return tuple([grant.limit for grant in self.held.grants])


@dataclass(frozen=True, slots=True)
class OfTurn:
    """What is done about the place of an attempt in the line of a rate."""

    activation: str
    turn: Turn

    @property
    def others(self) -> tuple[str, ...]:
        """What it is about."""
        return (self.turn.paces[0].limit,)


@dataclass(frozen=True, slots=True)
class JoinLine(OfTurn):
    """Have an attempt stand in the line of a rate."""


@dataclass(frozen=True, slots=True)
class LeaveLine(OfTurn):
    """Have an attempt stand in the line of a rate no more, be it that it was called or not."""


@dataclass(frozen=True, slots=True)
class Head:
    """Have the head follow the log, then remove the alarms of the entries that it covers."""


FOR_GOOD: Final = 10**9  # more than the number of any entry: nothing that is said later counts
LONGEST_REASON: Final = 256  # characters of the first failure of a part, as its mail has it
TAIL: Final = 32
"""How many entries a head lags behind at most while the instance has no owner, or goes round after round."""

OfLimits: TypeAlias = Stand | GiveBack | Leave
OfRates: TypeAlias = JoinLine | LeaveLine
Owed: TypeAlias = StartChild | StartOccurrence | Tell | Steer | Keep | OfLimits | OfRates
Effect: TypeAlias = Schedule | Unschedule | Wake | Notify | Head | Owed


def effects(before: State | None, entry: Entry, after: State) -> tuple[Effect, ...]:
    """What follows from ``entry``, in the order in which it is performed: the head comes last.

    Args:
        before: the state before the entry; ``None`` where it is a start.
        entry: what was committed.
        after: the state after it.
    """
    news = (Notify(after),) if is_news(before, after) else ()
    head: tuple[Effect, ...] = ()
    if before is not None and _is_boundary(before, entry, after):
        head, news = (Head(),), (*map(Notify, before.kept.unpublished), *news)
    scheduled = _scheduled(before, entry, after) if after.timers else ()
    woken = () if after.closed or after.owned(entry.at) else _woken(entry, after)
    removed = _unscheduled(before, entry, after) if before is not None and before.timers else ()
    told = (*before.kept.owed, *owed(before, entry, after)) if before is not None else ()
    return (*told, *scheduled, *woken, *removed, *news, *head)


def again(state: State, now: int) -> tuple[Effect, ...]:
    """The effects that the state calls for, whichever entry they followed from: a crash may have swallowed them."""
    timers = () if state.closed else state.deadlines
    scheduled = (_schedule(timer) for timer in timers if timer.scheduled and timer.due_at > now)
    return (*state.kept.owed, *scheduled, *map(Notify, state.kept.unpublished), Head())


def owed(before: State, entry: Entry, after: State) -> tuple[Owed, ...]:
    """What other instances are to be told of an entry, in order; until that is done the head does not follow it."""
    related = before.children is not NOTHING or after.children is not NOTHING or after.origin is not None
    related = related or bool(before.undelivered)
    limited = before.permits or before.queued or after.queued or before.turns or after.turns
    found: list[Owed] = [*_of_limits(before, after), *_of_rates(before, after)] if limited else []
    for event in entry.events:
        if isinstance(event, RoundEnded) and event.starts:
            found += [StartOccurrence(one, entry.at) for one in event.starts]
    if not related and not limited and not (before.closed or after.closed):
        return tuple(found)
    for event in entry.events:
        found += _of_family(event, before, entry, after)
        action, activations = _asked(event, before)
        reason, name = getattr(event, "reason", ""), steered_by(after.life, entry.sequence)
        steered = _open_children(before, after, activations)
        found += [Steer(one.instance_id, at, action, name, reason, one.number) for at, one in steered]
    if (reported := _reported(before, after, entry)) is not None:
        found.append(reported)
    return tuple(found)


def _of_family(event: Event, before: State, entry: Entry, after: State) -> Iterator[Owed]:
    """What follows for the instances below and above."""
    match event:
        case ChildStarted():
            yield StartChild(event)
        case PartStarted():
            yield _part_begun(event, before, after, entry)
        case MapBegun(step=step) | MapSpread(step=step) if step in before.undelivered:
            yield Keep(tuple(parts_before(before, step)), entry.at, FOR_GOOD)  # what they kept has been taken over
        case InstanceFinished():
            yield from _told_at_the_end(after, entry)
        case Redriven() if before.closed:
            yield from _kept_again(before, event, after, entry)


def _of_limits(before: State, after: State) -> Iterator[OfLimits]:
    """What becomes of permits and of places in lines: they are given back, left and taken."""
    for activation, held in before.permits.items():
        if after.permits.get(activation) != held:
            yield GiveBack(activation, held)
    for activation, queued in before.queued.items():
        if after.queued.get(activation) == queued:
            continue
        now = after.permits.get(activation)
        if now is None or now.order != queued.order:
            yield Leave(activation, queued)
    for activation, queued in after.queued.items():
        if before.queued.get(activation) != queued:
            yield Stand(activation, queued)


def _of_rates(before: State, after: State) -> Iterator[OfRates]:
    """What becomes of places in the lines of rates."""
    for activation, turn in before.turns.items():
        if not turn.at and after.turns.get(activation) != turn:
            yield LeaveLine(activation, turn)
    for activation, turn in after.turns.items():
        if not turn.at and before.turns.get(activation) != turn:
            yield JoinLine(activation, turn)


def _part_begun(event: PartStarted, before: State, after: State, entry: Entry) -> StartChild | Steer:
    """A part of a map starts, or one that has ended goes on."""
    step = step_of(event.activation)
    mapped = after.steps[step].mapped
    place = None if mapped is None else mapped.place(parse(event.activation).item or "")
    assert mapped is not None and place is not None  # noqa: S101, PT018 - as the event says
    if number := mapped.entries[place]:
        name, action = steered_by(after.life, entry.sequence), "redrive" if mapped.child else "resume_part"
        asked = (event.child, event.activation, action, name)
        return Steer(*asked, number=number, share=event.share, keeps=event.keeps)
    assert mapped.plan is not None  # noqa: S101 - it has parts
    above = after.part
    owner = (after.instance_id, after.life, after.generation, step, after.epochs.get(step, 0), mapped.plan)
    of = owner if above is None else (above.owner, above.life, above.generation, above.step, above.epoch, above.plan)
    began_at = after.created_at if above is None else above.began_at
    part = Part(*of, *mapped.part(place), event.share, began_at)
    own = (event.activation, event.child, before.workflow, before.version, NOTHING, before.tags, before.metadata)
    return StartChild(ChildStarted(*own, graph=mapped.plan.graph, started_at=entry.at), part)


def _reported(before: State, after: State, entry: Entry) -> Tell | None:
    """A part of a map tells how many of its items have failed, if that could be one too many, before it ends."""
    origin = after.origin
    if origin is None or origin.part is None or after.closed or origin.part.plan.tolerated >= origin.part.plan.total:
        return None
    if after.compensation is not None:
        return None
    now, was = _failed(after, origin.part.step), _failed(before, origin.part.step)
    if now <= was:
        return None
    said = (after.instance_id, after.life, "", FrozenDict(failed=now))
    return Tell(Mail(origin.instance_id, origin.life, origin.activation, entry.sequence, *said))


def _failed(state: State, step: str) -> int:
    known = state.steps.get(step)
    return 0 if known is None or known.mapped is None else known.mapped.failed


def _asked(event: Event, before: State) -> tuple[str, Iterable[str]]:
    """What an event asks children for, and the activations whose children these are."""
    match event:
        case ChildrenStopping(activations=activations):
            known = before.children
            return "cancel", [one for one in activations if one not in known or not known[one].stopping]
        case Paused(look_at=0) | Unpaused() if is_paused_alone(before) != isinstance(event, Paused):
            return "pause" if isinstance(event, Paused) else "unpause", before.children
        case Redriven(children=activations, later=False):
            return "redrive", activations
        case PermitsTaken(activation="") if before.resuming:
            return "redrive", before.resuming
        case ChildUndoing(activation=activation):
            return "undo", (activation,)
    return "", ()


def _told_at_the_end(after: State, entry: Entry) -> Iterator[Owed]:
    """A child tells its parent; of a root, the whole tree goes with it."""
    if after.attached and after.origin is not None:
        yield Tell(mail_of(after, after.origin, entry.sequence))
    elif after.kin:
        yield Keep(after.kin, entry.at, entry.sequence)


def _kept_again(before: State, event: Redriven, after: State, entry: Entry) -> Iterator[Keep]:
    """The tree of a root that goes on stays; children in whose place others will start go now."""
    left = after.kin
    if left and not after.attached:
        yield Keep(left, None, entry.sequence)
    if gone := tuple(child for child in before.kin if child not in left and event.again):
        yield Keep(gone, entry.at, FOR_GOOD)


def _open_children(before: State, after: State, activations: Iterable[str]) -> Iterator[tuple[str, Child]]:
    """Those of these activations whose children are steered, and the children."""
    for activation in activations:
        child = after.children.get(activation) or before.children.get(activation)
        if child is not None and not child.status and not child.detached:
            yield activation, child


def mail_of(closed: State, origin: Origin, number: int) -> Mail:
    """How a child tells its parent that it has ended."""
    output: Mapping[str, Any] | None = None
    if origin.part is not None:
        output = what_became(closed, origin.part)
    elif closed.status == "completed":
        output = left_by(closed)
    stuck = closed.status == "failed" and bool(not_undone(closed))
    own = (closed.instance_id, closed.life, closed.status, output, closed.error, stuck, closed.updated_at)
    return Mail(origin.instance_id, origin.life, origin.activation, number, *own)


def what_became(closed: State, part: Part) -> Mapping[str, Any]:
    """What a part of a map says of its items at its end."""
    known = closed.steps.get(part.step)
    if known is None or known.mapped is None:
        return FrozenDict()
    counts = counts_of(known.mapped)
    told: dict[str, Any] = {"completed": counts.completed, "failed": counts.failed, "cancelled": counts.cancelled}
    if counts.stuck:
        told["stuck"] = counts.stuck
    if kept := counts.kept or sum(is_item(line, part.step) for line in closed.inbox):
        told["kept"] = kept
    if known.mapped.reason:
        told["reason"] = known.mapped.reason[:LONGEST_REASON]
    return FrozenDict(told, events=FrozenDict(known.mapped.events))


def published_status(state: State) -> str:
    """The status that status events show: ``running`` from the first claim on, waits included."""
    if state.closed:
        return state.status
    if state.paused is not None:
        return "paused"
    if state.parked is not None:
        return "parked"
    return "running" if state.status == "waiting" else state.status


def is_news(before: State | None, after: State) -> bool:
    """Whether ``after`` has another status than ``before`` to those outside; ``pending`` is not published.

    Neither is what becomes of a child: its root says how the whole goes.
    """
    status = published_status(after)
    return status != "pending" and not after.attached and (before is None or published_status(before) != status)


def _is_boundary(before: State, entry: Entry, after: State) -> bool:
    """Whether the head follows this entry: it shows something new, and no one continues at once.

    A claim is none, and neither is what the queue goes on with at once: the boundary is what comes of it. While the
    queue is late, every ``TAIL``-th entry is one, so that a read costs the same however many requests come meanwhile.
    """
    if after.closed or before.closed or after.status not in (before.status, "running", "waiting"):
        return True
    if after.owner is not None:
        return _shows_rounds(entry, after)
    gave_up = any(isinstance(event, (Suspended, HandedOver)) for event in entry.events)
    return gave_up or not _is_due(entry, after) or entry.sequence % TAIL == 0


def _shows_rounds(entry: Entry, after: State) -> bool:
    """Whether the head follows a round's end: each ``TAIL``-th of a loop, so that a read costs the same after all.

    A large carry is named by the head each time, so that the one before the last can be removed.
    """
    for event in entry.events:
        if isinstance(event, RoundEnded):
            loop = after.steps[event.step].loop
            if is_large(event.carry) or (loop is not None and loop.rounds % TAIL == 0):
                return True
    return False


def _is_due(entry: Entry, after: State) -> bool:
    return after.wake_at is not None and after.wake_at <= entry.at


def _scheduled(before: State | None, entry: Entry, after: State) -> Iterator[Effect]:
    """The schedules of new waits; a requested deadline's is made by the request, which needs its name."""
    asked = {event.token for event in entry.events if isinstance(event, TimerSet)}
    known = _open(before) if before is not None else {}
    for token, timer in _open(after).items():
        if timer.scheduled and token not in known and token not in asked:
            yield _schedule(timer)


def _unscheduled(before: State, entry: Entry, after: State) -> Iterator[Effect]:
    """The schedules of waits that ended early."""
    left = _open(after)
    for token, timer in _open(before).items():
        if token not in left and timer.scheduled and timer.due_at > entry.at:
            yield Unschedule(timer.step, token, timer.due_at)


def _woken(entry: Entry, after: State) -> Iterator[Effect]:
    """What has an instance without an owner continued: a message, now or later, unless a deadline's schedule does."""
    if after.owner is not None or _is_due(entry, after):
        yield Wake()
        return
    leaves = any(isinstance(event, (Suspended, HeartbeatReceived)) for event in entry.events)
    wake_at = after.wake_at
    if wake_at is None or not leaves or any(timer.scheduled and timer.due_at == wake_at for timer in after.deadlines):
        return
    if wake_at - entry.at <= LONGEST_MESSAGE_MS:
        yield Wake(wake_at - entry.at)
        return
    if wake_at == after.deadline:
        return  # the sweep finds its alarm within a minute, which is exact enough for a workflow's timeout
    undoing = after.compensation.left[:1] if after.compensation else ()
    due = [after.activation(step, undo=True) for step in undoing]
    due += [after.activation(key) for key, step in after.steps.items() if step.retry_at == wake_at]
    due += [after.activation(key) for key, step in after.steps.items() if step.status == "mapping"]
    activation = due[0] if due else ""
    yield Schedule(step_of(activation), token_of(activation, f"retry{wake_at}"), wake_at)


def _open(state: State) -> dict[str, Timer]:
    """The timers that may still fire, by token: a closed instance has none."""
    return {} if state.closed or not state.timers else {timer.token: timer for timer in state.deadlines}


def _schedule(timer: Timer) -> Schedule:
    return Schedule(timer.step, timer.token, timer.due_at)
