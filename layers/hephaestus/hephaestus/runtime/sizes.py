"""How much an instance may hold: checked before anything of it is acknowledged, on exactly what will be stored.

A single value is bounded twice: by the room it takes (``hephaestus.values.weight``), and by its compressed size where
the store has no place for large ones. All that an instance holds together is bounded by ``MAX_HELD``: its values, and
whatever else grows with what happens to it, so that its snapshot can always be written and read.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.events import (
    NOTHING,
    CompensationFailed,
    Failure,
    InstanceFinished,
    ItemFailed,
    ItemUndoFailed,
    MapBegun,
    OnFailureCompleted,
    OnFailureFailed,
    RoundEnded,
    StepCompleted,
    StepFailed,
)
from hephaestus.engine.inbox import as_results
from hephaestus.errors import PayloadTooLarge
from hephaestus.values import to_json
from hephaestus.values.weight import MAX_HELD, MAX_VALUE, PART, weigh

if TYPE_CHECKING:
    from hephaestus.engine.events import Event
    from hephaestus.engine.records import Mapped, Received
    from hephaestus.engine.state import State

STEP: Final = 768  # bytes for what is known of a step beside its values and texts: its times, its key in other places
NAMED: Final = 72  # for a step's key in the list of another
TIMER: Final = 512
ITEM: Final = 32  # for what is known of a map's item that is not open
MAX_TYPE: Final = 64  # bytes of an error for which there is no more room
MAX_TEXT: Final = 400
DEPLOY: Final = "deploy with LargeValues=bucket"  # then the store has no limit of its own
ADVICE: Final = "store large data in S3 and pass its key"


def check_size(value: Any, limit: int | None, what: str) -> int:
    """Reject a frozen value that is too large.

    Args:
        value: the value, as it will be stored.
        limit: the store's own, in bytes after compression; ``None`` where it has none.
        what: the value in the message.

    Returns:
        The room that it takes.

    Raises:
        PayloadTooLarge: with the size and the limit.
    """
    room = weigh(value)
    if room > MAX_VALUE:
        message = f"{what} needs {room} bytes of room, a value may need {MAX_VALUE} (64 a part and its text): {ADVICE}"
        raise PayloadTooLarge(message)
    if limit is None or room <= limit or len(to_json(value).encode()) <= limit:
        return room
    from hephaestus.engine.codec import size  # noqa: PLC0415 - compression is tried only for what is large

    compressed = size(value)
    if compressed > limit:
        message = f"{what} takes {compressed} bytes compressed; at most {limit} are stored: {ADVICE}, or {DEPLOY}"
        raise PayloadTooLarge(message)
    return room


def held(state: State) -> int:
    """The room that an instance takes: at least the bytes of its snapshot's JSON, but for what has a bound of its own.

    That are the newest requests, the tags, the reasons of who steers it, and the errors that it ended with.
    """
    values: list[Any] = [state.initial, state.metadata, state.output]
    kept = [*state.inbox.values(), *chain.from_iterable(state.lines.values())]
    room = TIMER * sum(map(len, state.timers.values())) + PART * len(state.links)
    for step in state.steps.values():
        room += STEP + NAMED * (len(step.taken) + len(step.requests))
        values += (step.results, step.configs, *((step.fail,) if step.fail else ()))
        if step.loop is not None:
            room += NAMED * len(step.loop.requests)
            kept += () if step.loop.received is None else (step.loop.received,)
            values += (step.loop.carry,)
        if step.mapped is not None:
            room += _map_room(step.mapped)
        for error in (step.error, step.failed):
            if error is not None:
                room += _failure_room(error)
        if step.replaced is not None:
            room += PART
            values += (step.replaced.by, step.replaced.forked_from)
    for received in kept:
        room += PART
        values += (received.event, received.event_id, as_results(received.payload))
    return room + weigh(*[value for value in values if value is not NOTHING])


def _map_room(mapped: Mapped) -> int:
    """The room that a map takes: its items and what is known of each."""
    counts = NAMED * (len(mapped.open) + len(mapped.events)) + ITEM * len(mapped.ends)
    errors = mapped.malformed.values()
    return counts + weigh(mapped.items, mapped.initial, mapped.left, mapped.reason, *mapped.keys, *errors)


def _failure_room(error: Failure) -> int:
    return PART + weigh(error.type, error.message, error.trace)


def _received_room(received: Received) -> int:
    return PART + weigh(received.event, received.event_id, as_results(received.payload))


def added(event: Event) -> int:  # noqa: PLR0911 - a line for each kind of event
    """The room that a step's outcome takes beside what the instance holds, or more where it replaces something."""
    match event:
        case StepCompleted():
            room = STEP + NAMED * len(event.taken) + weigh(event.results)
            room += weigh(event.configs) if event.configs is not NOTHING else 0
            room += weigh(event.metadata) if event.metadata else 0
            room += weigh(event.fail) if event.fail else 0
            return room + (_failure_room(event.failed) if event.failed is not None else 0)
        case RoundEnded():
            return STEP + weigh(event.carry)
        case MapBegun():
            room = STEP + ITEM * len(event.over) + weigh(event.over, event.initial, *event.keys)
            room += weigh(*event.malformed.values())
            return room + sum(_received_room(one) for one in event.received.values())
        case OnFailureCompleted():
            return STEP + weigh(event.results) + weigh(event.metadata)
        case StepFailed() | CompensationFailed() | OnFailureFailed() | ItemFailed():
            return STEP + _failure_room(event.error)
        case InstanceFinished():
            return weigh(event.output)
        case _:
            return 0


def cut(event: Event, instance_id: str) -> Event:
    """What a failure is recorded as where there is no room for it: in short, and led to no further step."""
    match event:
        case StepFailed() | CompensationFailed() | OnFailureFailed() | ItemFailed() | ItemUndoFailed():
            return replace(event, error=_short(event.error))
        case StepCompleted(failed=Failure() as failed):
            said = _short(failed)
            why = f"{said.message}; this failure was not routed: with it, {too_much(instance_id)}"
            return StepFailed(event.activation, event.attempt, replace(said, message=why), event.started_at)
        case _:
            return event


def _short(error: Failure) -> Failure:
    return Failure(_begin(error.type, MAX_TYPE), _begin(error.message, MAX_TEXT))


def _begin(text: str, most: int) -> str:
    """The first ``most`` bytes of a text."""
    return text.encode()[:most].decode(errors="ignore")


def check_room(state: State, more: int = 0) -> None:
    """Reject what would have an instance hold too much.

    Args:
        state: the instance.
        more: the room that what comes in takes.

    Raises:
        PayloadTooLarge: with the limit.
    """
    if held(state) + more > MAX_HELD:
        raise PayloadTooLarge(too_much(state.public_id))


def too_much(instance_id: str) -> str:
    """What is wrong with an instance that would hold more than ``MAX_HELD``."""
    bound = f"{MAX_HELD} bytes of room, 64 a part and its text"
    return f"instance {instance_id} would hold more values than it may (they need more than {bound}): {ADVICE}"
