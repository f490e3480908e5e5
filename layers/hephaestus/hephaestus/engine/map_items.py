"""What follows for the items of maps: which run, which get an event, when a map has ended, and how it is undone.

An item holds one of the map's places from its first attempt to its end, waits and pauses included. With one failure
more than is tolerated no other begins, and what waits or would be tried again is cancelled with the map's end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.engine.activation import is_item, parse, step_of
from hephaestus.engine.graph import Spread
from hephaestus.engine.pacing import MOST_PACED, may_begin
from hephaestus.engine.records import CANCELLED, COMPLETED, NOT_ENDED, NOT_UNDONE, Counts
from hephaestus.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from hephaestus.engine.graph import Graph
    from hephaestus.engine.records import Child, Mapped
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
    mapped = mapped_of(state, step)
    return mapped.failed > tolerated(graph, step, mapped)


def tolerated(graph: Graph, step: str, mapped: Mapped) -> int:
    """How many items of the whole map may fail."""
    return spread_of(graph, step).tolerated(len(mapped.ends)) if mapped.plan is None else mapped.plan.tolerated


def at_once(graph: Graph, step: str, mapped: Mapped) -> int:
    """How many items may be at work at a time: by the graph that is deployed, and by the share that was given."""
    most = spread_of(graph, step).concurrency
    return min(mapped.share, most) if mapped.share else most


def due_items(graph: Graph, state: State, step: str, now: int, in_flight: Collection[str]) -> Iterator[tuple[str, int]]:
    """The items that are due for an attempt, by activation, with the attempt's number: those that were tried first.

    None while the map stands in line for permits: all items that an instance runs have the same ones (F.9). An item
    that a rate has wait holds one of the map's places. An instance reserves for no more items than it runs at a time:
    of what it cannot start in its time, the place is lost.
    """
    if is_stopped(graph, state, step) or state.activation(step) in state.queued:
        return
    mapped = mapped_of(state, step)
    if mapped.in_parts:
        return
    others = open_parts(state, step) if mapped.child else {}
    places = at_once(graph, step, mapped) - len(mapped.open) - len(others)
    for key, one in mapped.open.items():
        due = one.retry_at is not None and one.retry_at <= now
        if due and (text := state.item(step, key)) not in in_flight and may_begin(state, text, now):
            yield text, one.attempt + 1
    under_way = _under_way(step, in_flight) - mapped.open.keys()
    places -= len(under_way)
    paced = sum(is_item(one, step) for one in state.turns)
    begin = MOST_PACED - paced if paced else places
    at = mapped.ends.find(NOT_ENDED)
    while at >= 0 and places > 0:
        key = mapped.key(at)
        if key not in mapped.open and key not in under_way and (activation := state.item(step, key)) not in others:
            places -= 1
            begin -= activation not in state.turns
            if (not mapped.child or not mapped.entries[at]) and begin >= 0 and may_begin(state, activation, now):
                yield activation, 1
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
    place = None if known.mapped.in_parts else known.mapped.place(found.item or "")
    wanted = COMPLETED if found.undo else NOT_ENDED
    left = known.status == "mapping" or found.undo
    return left and place is not None and known.mapped.ends[place] == wanted


def has_ended(graph: Graph, state: State, step: str, in_flight: Collection[str]) -> bool:
    """Whether nothing of a map runs, waits or is still to begin."""
    mapped = mapped_of(state, step)
    if mapped.by_others and open_parts(state, step):
        return False
    if _under_way(step, in_flight):
        return False
    return is_stopped(graph, state, step) or not (mapped.open or NOT_ENDED in mapped.ends)


def summary(graph: Graph, state: State, step: str) -> FrozenDict:
    """The results of a map that has ended, or of a part of it."""
    known = mapped_of(state, step)
    counts, most = counts_of(known), tolerated(graph, step, known)
    total = known.size or len(known.ends)
    reason = ""
    if counts.failed > most:
        whole = total if known.plan is None else known.plan.total
        items = "item" if whole == 1 else "items"
        reason = f"{counts.failed} of {whole} {items} failed, and {most} may: {known.reason}"
    told = {"completed": counts.completed, "failed": counts.failed, "cancelled": counts.cancelled}
    events = FrozenDict(sorted(known.events.items()))
    return FrozenDict(total=total, **told, not_started=counts.not_started, events=events, reason=reason)


def counts_of(mapped: Mapped) -> Counts:
    """What has become of the items of a map that has ended, those of its parts included."""
    if not mapped.in_parts:
        ends = mapped.over().ends
        failed = mapped.failed
        stuck = sum(map(mapped.is_stuck, range(len(ends)))) if mapped.child else 0
        return Counts(ends.count(COMPLETED), failed, ends.count(CANCELLED), ends.count(NOT_ENDED), stuck)
    found = mapped.counts
    completed, failed = sum(one.completed for one in found), sum(one.failed for one in found)
    cancelled = sum(one.cancelled for one in found)
    stuck, kept = sum(one.stuck for one in found), sum(one.kept for one in found)
    return Counts(completed, failed, cancelled, mapped.size - completed - failed - cancelled, stuck, kept)


def size_of_part(state: State, activation: str) -> int:
    """How many items a part of a map has."""
    found = parse(activation)
    mapped = mapped_of(state, found.step)
    place = mapped.place(found.item or "")
    return 0 if place is None else mapped.part(place)[1] if mapped.in_parts else 1


def open_parts(state: State, step: str) -> dict[str, Child]:
    """By activation, the parts of a map that have begun and have not ended."""
    return {one: child for one, child in state.children.items() if "[" in one and step_of(one) == step}


def due_parts(graph: Graph, state: State, step: str) -> Iterator[tuple[str, int, bool]]:
    """The parts that are to be started now, by activation, with the share of each, and whether it keeps what it had.

    The share of an instance is at most what it can have at work itself, or what all below it can. Of items that are
    workflows, those that have ended before and go on.
    """
    mapped = mapped_of(state, step)
    if is_stopped(graph, state, step):
        return
    if mapped.child and any(mapped.entries):
        yield from _due_again(graph, state, step, mapped)
    if mapped.plan is None or not mapped.in_parts:
        return
    under_way = open_parts(state, step)
    left = at_once(graph, step, mapped) - _share_of(state, step, mapped, under_way)
    for place, end in enumerate(mapped.ends):
        activation = state.item(step, mapped.key(place))
        if left <= 0:
            return
        if end == NOT_ENDED and activation not in under_way:
            size = mapped.part(place)[1]
            leaves = -(-size // mapped.plan.chunk)
            share = min(left, size, leaves * mapped.plan.cap)
            left -= share
            yield activation, share, mapped.shares[place] > 0


def _due_again(graph: Graph, state: State, step: str, mapped: Mapped) -> Iterator[tuple[str, int, bool]]:
    """The items that are workflows, have ended before, and are to go on now, each with a share of one."""
    under_way = open_parts(state, step)
    places = at_once(graph, step, mapped) - len(under_way) - len(mapped.open)
    for at, end in enumerate(mapped.ends):
        activation = state.item(step, mapped.key(at))
        if places > 0 and end == NOT_ENDED and mapped.entries[at] and activation not in under_way:
            places -= 1
            yield activation, 1, False


def _share_of(state: State, step: str, mapped: Mapped, under_way: Collection[str]) -> int:
    """What the parts under way have of a map's places."""
    if not mapped.in_parts:
        return len(under_way)
    parts = enumerate(mapped.ends)
    return sum(mapped.share_of(place) for place, _ in parts if state.item(step, mapped.key(place)) in under_way)


def due_part_undos(graph: Graph, state: State, step: str, *, stuck: bool = False) -> Iterator[str]:
    """The parts that are to be asked now to undo what their items did, by activation; the ``stuck`` workflows alone.

    Where their step has a compensation, that is for those that have completed.
    """
    mapped = mapped_of(state, step)
    under_way = open_parts(state, step)
    left = at_once(graph, step, mapped) - _share_of(state, step, mapped, under_way)
    for place in range(len(mapped.ends)):
        activation, share = state.item(step, mapped.key(place)), mapped.share_of(place) if mapped.in_parts else 1
        due = mapped.is_stuck(place) if stuck else mapped.is_to_undo(place)
        if due and activation not in under_way:
            if share > left and under_way:
                return
            left -= share
            yield activation
            if left <= 0:
                return


def due_undos(graph: Graph, state: State, step: str, now: int, in_flight: Collection[str]) -> Iterator[tuple[str, int]]:
    """The completed items that are to be undone now, by activation, with the attempt's number."""
    mapped = mapped_of(state, step)
    places = at_once(graph, step, mapped) - len(_under_way(step, in_flight))
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
    mapped = mapped_of(state, step)
    return mapped.tree is not None or not any(map(mapped.is_to_undo, range(len(mapped.ends))))


def items_not_undone(state: State, step: str) -> tuple[str, ...]:
    """The keys of the items that could not be undone, or of the parts with such."""
    mapped = mapped_of(state, step)
    return tuple(mapped.key(at) for at, end in enumerate(mapped.ends) if end == NOT_UNDONE)


def _under_way(step: str, in_flight: Collection[str]) -> set[str]:
    """The keys of a map's items that run."""
    found = map(parse, in_flight)
    return {one.item for one in found if one.step == step and one.item is not None}


def _by_time(timer: Timer) -> tuple[int, str]:
    return timer.due_at, timer.token
