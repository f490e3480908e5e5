"""What follows for the items of maps: which run, which get an event, when a map has ended, and how it is undone.

An item holds one of the map's places from its first attempt to its end, waits and pauses included. With one failure
more than is tolerated no other begins, and what waits or would be tried again is cancelled with the map's end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.engine.activation import parse
from hephaestus.engine.graph import Spread
from hephaestus.engine.records import CANCELLED, COMPLETED, FAILED, NOT_ENDED, NOT_UNDONE
from hephaestus.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hephaestus.engine.graph import Graph
    from hephaestus.engine.records import Mapped
    from hephaestus.engine.state import State, Timer


def mapped_of(state: State, step: str) -> Mapped:
    """How far the map ``step`` has come; it has begun."""
    mapped = state.steps[step].mapped
    assert mapped is not None  # noqa: S101 - it has begun
    return mapped


def spread_of(graph: Graph, step: str) -> Spread:
    """How a map runs its items, by the graph that is deployed."""
    return graph.maps.get(step) or Spread()


def is_stopped(graph: Graph, state: State, step: str) -> bool:
    """Whether more items have failed than the map tolerates."""
    ends = mapped_of(state, step).ends
    return ends.count(FAILED) > spread_of(graph, step).tolerated(len(ends))


def due_items(graph: Graph, state: State, step: str, now: int, in_flight: Collection[str]) -> Iterator[tuple[str, int]]:
    """The items that are due for an attempt, by activation, with the attempt's number: those that were tried first."""
    if is_stopped(graph, state, step):
        return
    mapped = mapped_of(state, step)
    places = spread_of(graph, step).concurrency - len(mapped.open)
    for key, one in mapped.open.items():
        if one.retry_at is not None and one.retry_at <= now and (text := state.item(step, key)) not in in_flight:
            yield text, one.attempt + 1
    under_way = _under_way(step, in_flight) - mapped.open.keys()
    places -= len(under_way)
    at = mapped.ends.find(NOT_ENDED)
    while at >= 0 and places > 0:
        key = mapped.key(at)
        if key not in mapped.open and key not in under_way:
            places -= 1
            yield state.item(step, key), 1
        at = mapped.ends.find(NOT_ENDED, at + 1)


def given_items(
    graph: Graph, state: State, step: str, now: int, in_flight: Collection[str]
) -> Iterator[tuple[str, str, Any, bool]]:
    """The waiting items whose event or time has come: activation, event, payload, and whether it is the time."""
    if is_stopped(graph, state, step):
        return
    for key, one in mapped_of(state, step).open.items():
        activation = state.item(step, key)
        if one.retry_at is not None or activation in in_flight:
            continue
        if (received := state.inbox.get(activation)) is not None:
            yield activation, received.event, received.payload, False
            continue
        timers = [timer for timer in state.timers.get(activation, ()) if timer.due_at <= now]
        if timers:
            first = min(timers, key=_by_time)
            yield activation, first.emits, FrozenDict(missed="heartbeat") if first.heartbeat_ms else None, True


def is_item_waiting(state: State, step: str) -> bool:
    """Whether some item of a map that has begun waits for an event or a time."""
    return any(one.retry_at is None for one in mapped_of(state, step).open.values())


def is_open_item(state: State, activation: str) -> bool:
    """Whether an item has not ended, or its compensation: only then may it have been under way."""
    found = parse(activation)
    known = state.steps.get(found.step)
    if known is None or known.mapped is None or state.item(found.step, found.item or "", undo=found.undo) != activation:
        return False
    place = known.mapped.place(found.item or "")
    wanted = COMPLETED if found.undo else NOT_ENDED
    left = known.status == "mapping" or found.undo
    return left and place is not None and known.mapped.ends[place] == wanted


def has_ended(graph: Graph, state: State, step: str, in_flight: Collection[str]) -> bool:
    """Whether nothing of a map runs, waits or is still to begin."""
    if _under_way(step, in_flight):
        return False
    mapped = mapped_of(state, step)
    return is_stopped(graph, state, step) or not (mapped.open or NOT_ENDED in mapped.ends)


def summary(graph: Graph, state: State, step: str) -> FrozenDict:
    """The results of a map that has ended."""
    known = mapped_of(state, step)
    ends, total = known.over().ends, len(known.ends)
    failed, tolerated = ends.count(FAILED), spread_of(graph, step).tolerated(total)
    reason = ""
    if failed > tolerated:
        reason = f"{failed} of {total} items failed, and {tolerated} may: {known.reason}"
    counts = {"completed": ends.count(COMPLETED), "failed": failed, "cancelled": ends.count(CANCELLED)}
    events = FrozenDict(sorted(known.events.items()))
    return FrozenDict(total=total, **counts, not_started=ends.count(NOT_ENDED), events=events, reason=reason)


def due_undos(graph: Graph, state: State, step: str, now: int, in_flight: Collection[str]) -> Iterator[tuple[str, int]]:
    """The completed items that are to be undone now, by activation, with the attempt's number."""
    mapped = mapped_of(state, step)
    places = spread_of(graph, step).concurrency - len(_under_way(step, in_flight))
    for at, end in enumerate(mapped.ends):
        if places <= 0:
            return
        if end != COMPLETED:
            continue
        activation, one = state.item(step, mapped.key(at), undo=True), mapped.open.get(mapped.key(at))
        if activation not in in_flight and (one is None or one.retry_at is None or one.retry_at <= now):
            places -= 1
            yield activation, 1 if one is None else one.attempt + 1


def next_undo(state: State, step: str) -> int | None:
    """When the next completed item is to be undone once more (ms); ``None`` where none is left."""
    mapped = mapped_of(state, step)
    left = [mapped.open.get(mapped.key(at)) for at, end in enumerate(mapped.ends) if end == COMPLETED]
    return min((one.retry_at for one in left if one is not None and one.retry_at is not None), default=None)


def is_undone(state: State, step: str) -> bool:
    """Whether no completed item is left that is to be undone."""
    return COMPLETED not in mapped_of(state, step).ends


def not_undone(state: State, step: str) -> tuple[str, ...]:
    """The keys of the items that could not be undone."""
    mapped = mapped_of(state, step)
    return tuple(mapped.key(at) for at, end in enumerate(mapped.ends) if end == NOT_UNDONE)


def _under_way(step: str, in_flight: Collection[str]) -> set[str]:
    """The keys of a map's items that run."""
    found = map(parse, in_flight)
    return {one.item for one in found if one.step == step and one.item is not None}


def _by_time(timer: Timer) -> tuple[int, str]:
    return timer.due_at, timer.token
