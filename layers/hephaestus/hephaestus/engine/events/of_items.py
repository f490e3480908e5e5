"""Events of a map: its items are recorded, and each of them runs, waits, ends and is undone as a step is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from hephaestus.engine.activation import is_item, parse, step_of
from hephaestus.engine.events.event import Event, OfActivation, event, stays, step_after, step_now
from hephaestus.engine.events.steps import requests_of
from hephaestus.engine.records import (
    CANCELLED,
    COMPLETED,
    FAILED,
    NOT_ENDED,
    NOT_UNDONE,
    NOTHING,
    STUCK,
    UNDONE,
    Child,
    Counts,
    Mapped,
    OpenItem,
)
from hephaestus.engine.requests import number_of, remember
from hephaestus.engine.state import StepState, Timer, Trail, added, heartbeat_token, without
from hephaestus.errors import CorruptLog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.engine.records import Failure, Plan, Received
    from hephaestus.engine.state import State

T = TypeVar("T")
MAPPING: Final = {"mapping": "mapping"}
UNDOING: Final = {status: status for status in ("mapping", "completed", "failed")}


@event(stays("running"), dict.fromkeys(("pending", "retrying"), "mapping"))
class MapBegun(OfActivation):
    """The items of a map are recorded: none ran before. See ``Mapped`` for what is known of them.

    ``received`` are by key the events that were accepted for them before the map began anew, in other instances.
    ``malformed`` says by key what is wrong with the lines that are no items: these fail.
    """

    over: Any
    keys: tuple[str, ...] = ()
    initial: Any = None
    started_at: int = 0
    attempt: int = 1
    config: Mapping[str, Any] = NOTHING
    child: str = ""
    version: int = 0
    received: Mapping[str, Received] = NOTHING
    malformed: Mapping[str, str] = NOTHING

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """Its only attempt has ended, and its items are to be run; what was accepted for them is there."""
        number, part = len(self.over), state.part
        mapped = Mapped(self.over, self.keys, self.initial, NOT_ENDED * number, (0,) * number, config=self.config)
        mapped = replace(mapped, child=self.child, version=self.version, malformed=self.malformed)
        if part is not None:
            mapped = replace(mapped, plan=part.plan, first=part.first, size=part.size, share=state.share or part.share)
        changed = _begun(state, self, mapped)
        return {**changed, **self._accepted(state)} if self.received else changed

    def _accepted(self, state: State) -> dict[str, Any]:
        """Its events, and that they were accepted: the same event sent again is none."""
        inbox, requests = dict(state.inbox), state.requests
        for key, received in self.received.items():
            inbox[state.item(self.step, key)] = received
            requests = remember(state, "event", received.event_id, "", requests)
        return {"inbox": inbox, "requests": requests}


@event(stays("running"), dict.fromkeys(("pending", "retrying"), "mapping"))
class MapSpread(OfActivation):
    """The items of a map are recorded, as values, and are spread over instances as ``plan`` says: none ran before."""

    plan: Plan
    started_at: int = 0
    attempt: int = 1

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """Its only attempt has ended, and the parts are to be started."""
        part, plan = state.part, self.plan
        first, size, share = (0, plan.total, 0) if part is None else (part.first, part.size, state.share or part.share)
        number = -(-size // plan.width(size))
        mapped = Mapped(None, (), None, NOT_ENDED * number, (0,) * number)
        spread = replace(mapped, plan=plan, first=first, size=size, share=share)
        changed = _begun(state, self, replace(spread, counts=(Counts(),) * number, shares=(0,) * number))
        if part is None and plan.carried:  # what was accepted for the items is stored with them
            changed["inbox"] = {one: kept for one, kept in state.inbox.items() if not is_item(one, self.step)}
        return changed


@event(stays("running"), MAPPING)
class PartStarted(OfActivation):
    """The instance ``child`` runs a part of a map's items, at most ``share`` of them at a time.

    One that has ended goes on, with what has not completed; it ``keeps`` what it had come to if it was cancelled with
    the map. It follows from this commit.
    """

    child: str
    share: int
    keeps: bool = False

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """It is waited for; the end that was reported before is no news."""
        item = _item(state, self, NOT_ENDED)
        mapped, place = item.mapped, item.place
        if mapped.in_parts:
            mapped = replace(mapped, shares=_put(mapped.shares, place, self.share))
        mapped = mapped.begins_again(place)
        child = Child(self.child, number=mapped.entries[place])
        changed = _noted(state, self, item, mapped)
        return {**changed, "children": added(state.children, self.activation, child)}


@event(stays("running"), MAPPING)
class PartReported(OfActivation):
    """A part that goes on has said with its log entry ``number`` how many of its items have ``failed``."""

    number: int
    failed: int

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """They are counted."""
        item, child = _item(state, self, NOT_ENDED), state.children.get(self.activation)
        if child is None or child.status:
            message = f"instance {state.instance_id}: {self.activation} is no part that goes on"
            raise CorruptLog(message)
        counts = replace(item.mapped.counts[item.place], failed=self.failed)
        changed = _noted(state, self, item, _counted(item, counts))
        return {**changed, "children": added(state.children, self.activation, replace(child, number=self.number))}


@event(stays("running", "compensating"), UNDOING)
class PartEnded(OfActivation):
    """A part has ended as ``status`` with its log entry ``number``, as its mail said.

    ``counts`` say what has become of its items, ``emitted`` how many emitted each event. A workflow that is
    ``stuck`` could not undo all that it did; ``of_item`` is whether it is an item that is one.
    """

    status: str
    number: int = 0
    counts: Counts = Counts()
    emitted: Mapping[str, int] = NOTHING
    error: Failure | None = None
    stuck: bool = False
    of_item: bool = False

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """It is not waited for any more; of one that was to be undone, what is left is known."""
        step, item = step_of(self.activation), parse(self.activation).item or ""
        known, child = state.steps.get(step), state.children.get(self.activation)
        mapped = None if known is None else known.mapped
        place = None if mapped is None else mapped.place(item)
        if known is None or mapped is None or place is None or child is None:
            message = f"instance {state.instance_id}: {self.activation} is no part that goes on"
            raise CorruptLog(message)
        found = _Item(step, known, mapped, place, item)
        if child.stopping == "undo":
            end = UNDONE if self.status == "undone" else NOT_UNDONE
            found = found._replace(mapped=mapped if end == UNDONE else mapped.not_undone(place))
        else:
            end = COMPLETED if self.status in ("completed", "cancelled") else FAILED
            if mapped.child:
                stopped = child.stopping != "timeout" and self.status == "cancelled"
                failed = STUCK if self.stuck else FAILED
                end = CANCELLED if stopped else COMPLETED if self.status == "completed" else failed
            found = found._replace(mapped=_counted(found, self.counts, self.emitted))
        ended = _ended(found, end, self.number or child.number)
        if self.error is not None and end != CANCELLED:  # what was stopped as others had failed is not why it failed
            ended = replace(ended, reason=ended.reason or self.error.message)
        changed = _noted(state, self, found, ended)
        if self.activation in state.timers:
            changed["timers"] = without(state.timers, self.activation)
        return {**changed, "children": without(state.children, self.activation)}


@event({"completed": "pending", "cancelled": "pending"})
class PartResumed(Event):
    """The parent of a part has it go on with the items that have not completed, ``share`` of them at a time.

    One that was cancelled with the map ``keeps`` what its items had come to: failed ones are not repeated, and those
    that wait wait on, as long as they had left.
    """

    share: int
    keeps: bool = False
    request_id: str = ""
    by: str = ""
    by_source: str = ""

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """They begin anew; what was accepted for them is still there. Events are not reported twice.

        A part that was cancelled between two tries of what its items are begins with that.
        """
        steps, pause = {}, at - state.updated_at
        for key, known in state.steps.items():
            if known.mapped is None:
                continue
            left = known.mapped.goes_on() if self.keeps else known.mapped.again()
            mapped = replace(left, share=self.share, events=NOTHING)
            begun = known.attempt, known.started_at
            steps[key] = StepState("mapping", begun[0], started_at=begun[1], requests=known.requests, mapped=mapped)
        ended: dict[str, Any] = {"output_of": "", "output": NOTHING}
        ended |= {"cancel": None, "paused": None, "error": None, "parked": None, "orphan": False}
        asked = remember(state, "resume_part", self.request_id, "")
        timers = {
            one: tuple(replace(timer, due_at=timer.due_at + pause) for timer in known)
            for one, known in state.timers.items()
            if self.keeps
        }
        return {
            **ended,
            "went_on": number_of(self.request_id),
            "share": self.share,
            "steps": steps,
            "timers": timers,
            "running": (),
            "isolated": (),
            "requests": asked,
        }


@event(stays("running"), MAPPING)
class ItemCompleted(OfActivation):
    """An item has completed and emitted ``event``, an outcome that is counted; ``results`` stand here alone.

    ``writes`` tells the writes to the user's own tables that were committed with this entry, as ``Put orders``.
    """

    event: str
    results: Mapping[str, Any] = NOTHING
    started_at: int = 0
    attempt: int = 1
    writes: tuple[str, ...] = ()

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """Its timers and its event are consumed."""
        item = _item(state, self, NOT_ENDED)
        count = item.mapped.events.get(self.event, 0) + 1
        ended = _ended(item, COMPLETED, state.sequence + 1)
        changed = _noted(state, self, item, replace(ended, events=added(ended.events, self.event, count)))
        if self.activation in state.timers:
            changed["timers"] = without(state.timers, self.activation)
        received = state.inbox.get(self.activation)
        if received is not None:
            changed["inbox"] = without(state.inbox, self.activation)
        if used := requests_of(state.timers.get(self.activation, ()), received):
            known = changed["steps"][item.step]
            changed["steps"][item.step] = replace(known, requests=(*known.requests, *used))
        return changed


@event(stays("running"), MAPPING)
class ItemWaiting(OfActivation):
    """An item ran and waits; at ``due_at`` (if any) it is given the event ``emits``. No schedule is made for it.

    With ``heartbeat_ms`` it is given ``timeout`` as soon as no heartbeat has come for that long, first at
    ``heartbeat_at``.
    """

    started_at: int = 0
    attempt: int = 1
    token: str = ""
    due_at: int | None = None
    emits: str = "timeout"
    heartbeat_ms: int = 0
    heartbeat_at: int = 0

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """A deadline and a heartbeat are timers."""
        item, activation = _item(state, self, NOT_ENDED), self.activation
        opened = added(item.mapped.open, item.key, OpenItem(self.attempt, self.started_at))
        changed = _noted(state, self, item, replace(item.mapped, open=opened))
        timers: tuple[Timer, ...] = ()
        if self.due_at is not None:
            timers = (Timer(self.token, activation, self.due_at, self.emits),)
        if self.heartbeat_ms:
            name = heartbeat_token(activation, self.attempt, self.heartbeat_at)
            timers += (Timer(name, activation, self.heartbeat_at, "timeout", heartbeat_ms=self.heartbeat_ms),)
        if timers:
            asked = state.timers.get(activation, ())
            changed["timers"] = added(state.timers, activation, (*asked, *timers))
        return changed


@event(stays("running"), MAPPING)
class ItemFailed(OfActivation):
    """An attempt of an item failed; it is tried again at ``retry_at``, or never if there is none."""

    attempt: int
    error: Failure
    started_at: int = 0
    retry_at: int | None = None

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """The deadlines of a wait that failed end with it; what was accepted from outside stays for a redrive."""
        item = _item(state, self, NOT_ENDED)
        if self.retry_at is not None:
            known = OpenItem(self.attempt, self.started_at, self.retry_at)
            mapped = replace(item.mapped, open=added(item.mapped.open, item.key, known))
        else:
            story = f"item {item.key} failed after {self.attempt} attempt(s): {self.error.message}"
            entry = item.mapped.entries[item.place] if item.mapped.child else state.sequence + 1
            mapped = replace(_ended(item, FAILED, entry), reason=item.mapped.reason or story)
        changed = _noted(state, self, item, mapped, goes_on=self.retry_at is not None)
        if self.activation in state.timers:
            left = tuple([timer for timer in state.timers[self.activation] if timer.request is not None])
            others = without(state.timers, self.activation)
            changed["timers"] = added(others, self.activation, left) if left else others
        return changed


@event(stays("compensating"), UNDOING)
class ItemUndone(OfActivation):
    """What a completed item did is undone."""

    attempt: int = 1
    results: Mapping[str, Any] = NOTHING
    started_at: int = 0
    writes: tuple[str, ...] = ()

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """It is not undone again."""
        item = _item(state, self, COMPLETED)
        return _noted(state, self, item, _ended(item, UNDONE, item.mapped.entries[item.place]))


@event(stays("compensating"), UNDOING)
class ItemUndoFailed(OfActivation):
    """An attempt to undo an item failed; it is tried again at ``retry_at``, or never if there is none."""

    attempt: int
    error: Failure
    started_at: int = 0
    retry_at: int | None = None

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """It is tried again, or left."""
        item = _item(state, self, COMPLETED)
        if self.retry_at is None:
            return _noted(state, self, item, _ended(item, NOT_UNDONE, item.mapped.entries[item.place]))
        known = OpenItem(self.attempt, self.started_at, self.retry_at)
        mapped = replace(item.mapped, open=added(item.mapped.open, item.key, known))
        return _noted(state, self, item, mapped, goes_on=True)


def _begun(state: State, about: OfActivation, mapped: Mapped) -> dict[str, Any]:
    """What changes once the items of a map are recorded."""
    step = step_now(state, about.activation)
    began, attempt = about.started_at, about.attempt  # type: ignore[attr-defined]  # such an event has them
    known = StepState(step_after(state, step, about), attempt, started_at=began, mapped=mapped)
    changed = {"steps": added(state.steps, step, known), "trail": Trail(state.trail, step), **_left(state, about)}
    return {**changed, "undelivered": without(state.undelivered, step)} if state.undelivered else changed


def _counted(item: _Item, counts: Counts, emitted: Mapping[str, int] = NOTHING) -> Mapped:
    """What is known of a map with the counts of one part."""
    every = item.mapped.counts and _put(item.mapped.counts, item.place, counts)
    events = dict(item.mapped.events)
    for name, number in emitted.items():
        events[name] = events.get(name, 0) + number
    return replace(item.mapped, counts=every, events=events or NOTHING)


class _Item(NamedTuple):
    """An item of the state, found by its activation."""

    step: str
    known: StepState
    mapped: Mapped
    place: int
    key: str


def _item(state: State, about: OfActivation, ended: str) -> _Item:
    """The item that an event is about, of which ``ended`` is what is known of its end.

    Raises:
        CorruptLog: the map's newest activation has no such item, or the item is not at this point.
    """
    step = step_now(state, about.activation)
    step_after(state, step, about)
    found, known = parse(about.activation), state.steps.get(step)
    mapped = None if known is None else known.mapped
    place = None if mapped is None or found.item is None else mapped.place(found.item)
    undoing = state.compensation
    due = not found.undo or (undoing is not None and undoing.left[:1] == (step,))
    if known is None or mapped is None or found.item is None or place is None or mapped.ends[place] != ended or not due:
        message = f"instance {state.instance_id}: {type(about).__name__} cannot happen to {about.activation}"
        raise CorruptLog(message)
    return _Item(step, known, mapped, place, found.item)


def _ended(item: _Item, end: str, entry: int) -> Mapped:
    """What is known of a map once one more item has come to an end."""
    place, mapped = item.place, item.mapped
    ends = f"{mapped.ends[:place]}{end}{mapped.ends[place + 1 :]}"
    entries = _put(mapped.entries, place, entry)
    return replace(mapped, ends=ends, entries=entries, open=without(mapped.open, item.key))


def _noted(state: State, about: OfActivation, item: _Item, mapped: Mapped, *, goes_on: bool = False) -> dict[str, Any]:
    """What an event of an item changes; where the item ``goes_on``, it still runs alone if it did."""
    steps = added(state.steps, item.step, replace(item.known, mapped=mapped))
    changed = {"steps": steps, "trail": Trail(state.trail, item.step), **_left(state, about)}
    return {**changed, "isolated": state.isolated} if goes_on else changed


def _put(values: tuple[T, ...], place: int, value: T) -> tuple[T, ...]:
    """``values`` with another one at a place."""
    return (*values[:place], value, *values[place + 1 :])


def _left(state: State, about: OfActivation) -> dict[str, Any]:
    """What runs, and what runs alone, without the activation that an event is about; no ``per`` is asked for it."""
    gone = about.activation
    choosing = {"choosing": without(state.choosing, gone)} if gone in state.choosing else {}
    return {
        **choosing,
        "running": tuple([one for one in state.running if one != gone]),
        "isolated": tuple([one for one in state.isolated if one != gone]),
    }
