"""What a child reads of its parent before its first claim, and a parent of a child that has ended."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.activation import parse, step_of
from hephaestus.engine.effects import what_became
from hephaestus.engine.events import ChildEnded, Claimed, InstanceFinished, PartEnded, Paused, Redriven
from hephaestus.engine.events.children import LOST
from hephaestus.engine.plans import RESUMED
from hephaestus.engine.records import NOT_ENDED, NOTHING
from hephaestus.engine.state import is_other, is_paused_alone, left_by, part_in
from hephaestus.errors import AlreadyRunning, CorruptLog, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hephaestus.engine.events import Entry, Event
    from hephaestus.engine.mail import Mail
    from hephaestus.engine.records import Child, Origin
    from hephaestus.engine.state import State
    from hephaestus.store.store import Store


PAGE: Final = 1_000  # log entries


def orphaned_by(state: State, opening: tuple[Event, ...], store: Store) -> tuple[Event, ...] | None:
    """What a child does in place of its first claim, if anything (D.5).

    It ends as cancelled, having run nothing, unless its activation still waits in its parent; it pauses where that is
    paused. Where only its parent's workflow is, it goes on, and its own workflow's pause counts (J.1).
    """
    origin = state.origin
    if origin is None or origin.detached or _goes_on_alone(state, opening, store):
        return None
    parent = read_other(origin.instance_id, store)
    alive = parent is not None and not parent.closed and not parent.kept.ended and parent.life == origin.life
    child = parent.children.get(origin.activation) if alive and parent is not None else None
    if child is None or child.status or child.stopping or child.instance_id != state.instance_id:
        return (*opening, InstanceFinished("cancelled", orphan=not alive))
    if parent is not None and is_paused_alone(parent) and state.paused is None:
        return (*[event for event in opening if not isinstance(event, Claimed)], Paused("its parent is paused"))
    return None


def forget(orphan: State, now: int, store: Store) -> bool:
    """Delete a child that was started after its parent was deleted: nothing is left that would name it (D.11).

    That comes before anything that follows from its end, and as long as its alarm is there: whoever finds that next,
    goes on. One whose parent has ended is left: it expires by itself.

    Returns:
        Whether it is deleted, or no more is to be done here.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    origin = orphan.origin
    if not orphan.orphan or origin is None:
        return False
    parent = read_other(origin.instance_id, store)
    if parent is not None and (parent.life == origin.life or store.reader.page(parent.instance_id, origin.life, 1, 1)):
        return False
    with suppress(AlreadyRunning):
        return store.delete(orphan.instance_id, now)
    return True  # a worker that was frozen, too, has resumed it since: that has an alarm, and ends in the same way


def _goes_on_alone(state: State, opening: tuple[Event, ...], store: Store) -> bool:
    """Whether a child was redriven by itself after it had ended: its parent had left it."""
    found = list(opening)
    if state.sequence > 1:
        found += [event for entry in _log(state.instance_id, state.life, store) for event in entry.events]
    redriven = (event for event in found if isinstance(event, Redriven))
    return any(event.status and event.by_source != "parent" for event in redriven)


def steered_at(state: State, store: Store) -> str:
    """The instance at which another is steered: the next above it, or itself, that no one waits for (D.6)."""
    while (origin := state.origin) is not None and not origin.detached:
        parent = read_other(origin.instance_id, store, ended=True)  # while it is being deleted, its tree goes with it
        if parent is None or _has_left(parent, state, origin, store):
            break
        state = parent
    return state.instance_id


def _has_left(parent: State, child: State, origin: Origin, store: Store) -> bool:
    """Whether a child is on its own: its parent could not reach it, or has ended while it is open."""
    if parent.life == origin.life:
        step = parent.steps.get(step_of(origin.activation))
        known = parent.children.get(origin.activation) or (step.child if step is not None else None)
        if known is not None and known.instance_id == child.instance_id:
            return known.status == LOST
    if not child.closed and (parent.life != origin.life or parent.closed):
        return True
    events = [event for entry in _log(parent.instance_id, origin.life, store) for event in entry.events]
    told = [one for one in events if isinstance(one, (ChildEnded, PartEnded))]
    ends = [one.status for one in told if one.activation == origin.activation]
    return ends[-1:] == [LOST]


def _log(instance_id: str, life: str, store: Store) -> Iterator[Entry]:
    """The log of a life but for its first entry, as far as it is there."""
    after = 1
    while found := store.reader.page(instance_id, life, after, PAGE):
        yield from found
        after = found[-1].sequence


def is_ending(child: Child, store: Store) -> bool:
    """Whether a child was reached and undoes what it did, for as long as that takes, but neither paused nor parked.

    One that waits for its paused workflow undoes it when that goes on.
    """
    try:
        state = store.load(child.instance_id)
    except CorruptLog:
        return False
    if state is None or state.closed or state.parked is not None or is_paused_alone(state):
        return False
    return bool(state.cancel or state.compensation)


def unread(state: State, store: Store) -> list[Mail]:
    """The mail of a parent that it has not taken, of children that it waits for."""
    return [mail for mail in store.mail.read(state.instance_id, state.life) if is_unread(state, mail)]


def is_unread(state: State, mail: Mail) -> bool:
    """Whether mail is of a child that its parent waits for, and is not that of an earlier end."""
    child = state.children.get(mail.activation)
    waits = child is not None and not child.status and child.instance_id == mail.child
    return waits and child is not None and not 0 < mail.number <= child.number


def told_by_part(mail: Mail, store: Store) -> Mapping[str, Any]:
    """What a part of a map says of its items: in its mail or, where that is too large, in its own partition."""
    if mail.output is not None or not mail.child_life:
        return mail.output or NOTHING
    child = read_other(mail.child, store)
    if child is None or child.life != mail.child_life or child.part is None:
        return NOTHING
    return what_became(child, child.part)


def is_read(state: State, mail: Mail, store: Store) -> bool:
    """Whether mail says nothing new, and will not: its end was told, or another activation has taken its place (D.3).

    The state may be older than the mail, so what it does not know may still come.
    """
    activation = parse(mail.activation)
    epoch = state.epochs.get(activation.step, 0)
    if activation.epoch != epoch:
        return activation.epoch < epoch
    if is_other(state, mail.activation):
        known = state.children.get(mail.activation)
        if known is not None:
            # One that goes on may have ended once more after it had been left, and before it went on.
            ended = known.number and mail.number > known.number and mail.status in RESUMED
            return 0 < mail.number <= known.number or bool(ended and _has_gone_on(mail, store))
        return 0 < mail.number <= part_in(state, mail.activation).number or (not mail.number and _is_over(state, mail))
    step = state.steps.get(activation.step)
    child = state.children.get(mail.activation) or (step.child if step is not None else None)
    if step is not None and activation.round < step.round and (child is None or child.round != activation.round):
        return mail.status == "completed" or _has_gone_on(mail, store)
    if child is not None and child.round != activation.round:
        return False
    return child is not None and mail.number <= child.number and (mail.number > 0 or bool(child.status))


def _is_over(state: State, mail: Mail) -> bool:
    """Whether the item that mail is about has ended."""
    mapped, item = state.steps[step_of(mail.activation)].mapped, parse(mail.activation).item
    place = None if mapped is None else mapped.place(item or "")
    return mapped is not None and place is not None and mapped.ends[place] != NOT_ENDED


def _has_gone_on(mail: Mail, store: Store) -> bool:
    """Whether a child has gone on since it told that it had ended."""
    child = read_other(mail.child, store)
    return child is not None and child.life == mail.child_life and child.sequence > mail.number


def ended_by(mail: Mail, store: Store) -> ChildEnded:
    """The end that mail tells of; a completed child that is not there any more, nor what it left, is lost."""
    output = _output_in(mail, store)
    if output is None:
        return ChildEnded(mail.activation, LOST, mail.number)
    own = (mail.activation, mail.status, mail.number, output, mail.error)
    return ChildEnded(*own, stuck=mail.stuck, ended_at=mail.ended_at)


def _output_in(mail: Mail, store: Store) -> Mapping[str, Any] | None:
    """What a child has left: in its mail, or in the child itself, where it is large; ``None`` where that is gone."""
    if mail.output is not None or mail.status != "completed":
        return mail.output or NOTHING
    child = read_other(mail.child, store)
    if child is None or child.life != mail.child_life or child.status != "completed":
        return None
    return left_by(child)


def read_other(instance_id: str, store: Store, *, ended: bool = False) -> State | None:
    """Another instance's newest state; of one that is being deleted, only where ``ended`` asks for it.

    Raises:
        StoreUnavailable: also where it cannot be read: that is no fault of the one that asks.
    """
    try:
        return store.reader.load(instance_id, ended=True) if ended else store.load(instance_id)
    except CorruptLog as error:
        message = f"instance {instance_id} cannot be read, and another waits for that: {error}"
        raise StoreUnavailable(message) from error
