"""How much an instance may hold: checked before anything of it is acknowledged, on exactly what will be stored.

A single value is bounded twice: by the room it takes (``hephaestus.weight``), and by its compressed size where the
store has no place for large ones. All values of an instance together are bounded by ``MAX_HELD``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.inbox import as_results
from hephaestus.errors import PayloadTooLarge
from hephaestus.values import to_json
from hephaestus.weight import MAX_HELD, MAX_VALUE, weigh

if TYPE_CHECKING:
    from hephaestus.engine.state import State

ADVICE: Final = "store large data in S3 and pass its key"


def check_size(value: Any, limit: int | None, what: str) -> None:
    """Reject a frozen value that is too large.

    Args:
        value: the value, as it will be stored.
        limit: the store's own, in bytes after compression; ``None`` where it has none.
        what: the value in the message.

    Raises:
        PayloadTooLarge: with the size and the limit.
    """
    if not value:
        return
    room = weigh(value)
    if room > MAX_VALUE:
        message = f"{what} needs {room} bytes of room, a value may need {MAX_VALUE} (64 a part and its text): {ADVICE}"
        raise PayloadTooLarge(message)
    if limit is None or room <= limit or len(to_json(value).encode()) <= limit:
        return
    from hephaestus.codec import size  # noqa: PLC0415 - compression is tried only for what is large

    compressed = size(value)
    if compressed > limit:
        message = f"{what} takes {compressed} bytes compressed; at most {limit} are stored: {ADVICE}"
        raise PayloadTooLarge(message)


def held(state: State) -> int:
    """The room that all values of an instance take."""
    values = [state.initial, state.metadata]
    values += [step.updates for step in state.steps.values() if step.updates]
    values += [as_results(received.payload) for received in state.inbox.values()]
    return sum(map(weigh, values))


def check_room(state: State, payload: Any = None) -> None:
    """Reject what would have an instance hold too much.

    Args:
        state: the instance.
        payload: of an event that comes in; what it holds already is counted with it.

    Raises:
        PayloadTooLarge: with the limit.
    """
    if held(state) + weigh(as_results(payload)) > MAX_HELD:
        raise PayloadTooLarge(too_much(state.instance_id))


def too_much(instance_id: str) -> str:
    """What is wrong with an instance that would hold more than ``MAX_HELD``."""
    bound = f"{MAX_HELD} bytes of room, 64 a part and its text"
    return f"instance {instance_id} would hold more values than it may (they need more than {bound}): {ADVICE}"
