"""Which step or item an event from outside is for.

A step that waits comes first. If none does, the event is kept for a step that can still be reached: one that is sure
to wait (``WaitForEvent``) before one that may. Each step keeps one event at a time, and one with rounds a line of at
most ``LONGEST_LINE``, so an instance can never hold more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.activation import step_of
from hephaestus.engine.advance import reachable
from hephaestus.engine.map_items import is_item_waiting, is_stopped
from hephaestus.engine.records import NOT_ENDED
from hephaestus.errors import AmbiguousEvent, InstanceClosed, LineFull, UnexpectedEvent, UnknownStep
from hephaestus.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hephaestus.engine.graph import Graph
    from hephaestus.engine.state import State

LONGEST_LINE: Final = 100  # events that are kept for a step with rounds
MOST_NAMED: Final = 20  # of those that an event may be for


def accept(graph: Graph, state: State, event: str, step: str | None = None, item: str | None = None) -> str:
    """What ``event`` is kept under: the text of the step or item that it is for, ``step`` and ``item`` where named.

    Raises:
        InstanceClosed: the instance has ended or is being cancelled.
        UnknownStep: the workflow has no step named ``step``.
        UnexpectedEvent: no step or item that waits or can still be reached declares the event.
        AmbiguousEvent: several do.
        LineFull: the line of a step with rounds is full.
    """
    check_takes_events(state)
    if step is not None and step not in graph.predecessors:
        message = f"instance {state.public_id}: workflow {state.workflow} has no step {step!r}; it has " + ", ".join(
            graph.order
        )
        raise UnknownStep(message)
    meant = graph.takers.get(event, ()) if step is None else (step,)
    declared = [key for key in meant if event in graph.takes[key]] if item is None else []
    candidates = _open(graph, state, declared)
    items = tuple(_open_items(graph, state, event, step, item)) if graph.maps else ()
    if item is None and graph.maps and (far := far_maps(graph, state, step, event)):
        others = [*far, *candidates, *items]
        message = f"instance {state.public_id}: event {event!r} could be for an item of {far[0]}"
        message += f", or for {', '.join(others[1:MOST_NAMED])}" if others[1:] else ""
        message += "; name the item that is meant"
        raise AmbiguousEvent(message, others[:MOST_NAMED])
    for group in (
        [key for key in candidates if state.step_status(key) == "waiting"] + [one for one in items if state.waits(one)],
        [key for key in candidates if key in graph.waits or event in graph.again_on(key)],
        [*candidates, *items],
    ):
        if len(group) == 1:
            return group[0] if "[" in group[0] else state.line(group[0])
        if group:
            raise _ambiguous(state, event, group)
    full = [key for key in reachable(graph, state, declared) if key in graph.rounds]
    if full and not _open(graph, state, full):
        message = f"instance {state.public_id}: {LONGEST_LINE} events are in line for step {full[0]}: send it later"
        raise LineFull(message)
    accepted = accepted_events(graph, state)
    listing = "; ".join(f"{key}: {', '.join(events)}" for key, events in accepted.items()) or "none"
    whom = f" for item {item}" if item is not None else ""
    whom += (" of" if whom else " for") + f" step {step}" if step else ""
    message = f"instance {state.public_id} takes no event {event!r}{whom} now; it would take {listing}"
    if earlier := "; ".join(_answered(graph, state, graph.takers.get(event, ()) if step is None else (step,))):
        message = f"{message}. {earlier}"
    if children := ", ".join(_children(graph, state)):
        message = f"{message}. It waits for {children}: events for a child are sent to the child"
    raise UnexpectedEvent(message, accepted)


def _children(graph: Graph, state: State) -> list[str]:
    """The children that it waits for, as their ids; what runs a map's items is none of them."""
    known = ((step_of(one), child) for one, child in state.children.items() if "[" not in one)
    open_ = [child for step, child in known if step in graph.children and not child.status and not child.detached]
    return [child.instance_id for child in open_[:MOST_NAMED]]


def check_takes_events(state: State) -> None:
    """Reject an event for an instance that has ended or is being cancelled.

    Raises:
        InstanceClosed: so it is.
    """
    if state.closed or state.cancel or state.compensation:
        status = state.status if state.closed else "being cancelled" if state.cancel else "compensating"
        message = f"instance {state.public_id} is {status}: it takes no event; start it again or look at its history"
        raise InstanceClosed(message)


def _ambiguous(state: State, event: str, group: Sequence[str]) -> AmbiguousEvent:
    """Several may take the event; the first of them are named."""
    named = [*group[:MOST_NAMED], *(["…"] if len(group) > MOST_NAMED else [])]
    which = "the step that is meant" if not any("[" in one for one in group) else "the item that is meant"
    message = f"instance {state.public_id}: event {event!r} could be for {', '.join(named)}; name {which}"
    return AmbiguousEvent(message, list(group[:MOST_NAMED]))


def local_items(graph: Graph, state: State, event: str, step: str | None, item: str) -> list[str]:
    """The items of this instance with this key that may take ``event``, by the text of their activation."""
    return list(_open_items(graph, state, event, step, item))


def _open_items(graph: Graph, state: State, event: str, step: str | None, item: str | None) -> Iterator[str]:
    """The items that may take ``event`` now or later, by the text of their activation."""
    for key, spread in graph.maps.items():
        if event in spread.takes and step in {None, key}:
            yield from items_open(graph, state, key, item)


def items_open(graph: Graph, state: State, step: str, item: str | None = None) -> Iterator[str]:
    """The items of a map, or the one with this key, that have not ended and have room for an event."""
    known = state.steps.get(step)
    if known is None or known.mapped is None or known.status != "mapping" or is_stopped(graph, state, step):
        return
    mapped = known.mapped
    if mapped.by_others:
        return  # what is for a workflow is sent to its instance
    places = range(len(mapped.ends)) if item is None else (mapped.place(item),)
    for place in places:
        if place is not None and mapped.ends[place] == NOT_ENDED:
            line = state.item(step, mapped.key(place))
            if line not in state.inbox:
                yield line


def far_maps(graph: Graph, state: State, step: str | None = None, event: str | None = None) -> list[str]:
    """The maps whose items other instances run, and that go on: all, or the one named, that may take ``event``."""
    found = []
    for key, spread in graph.maps.items():
        known = state.steps.get(key)
        if known is None or known.mapped is None or not known.mapped.in_parts or known.status != "mapping":
            continue
        over = state.closed or state.cancel or state.compensation or is_stopped(graph, state, key)
        if step in {None, key} and (event is None or event in spread.takes) and not over:
            found.append(key)
    return found


def _answered(graph: Graph, state: State, steps: Iterable[str]) -> Iterator[str]:
    """Which of ``steps`` have their event already, or ended."""
    for key in steps:
        known, kept = state.steps.get(key), state.inbox.get(state.line(key))
        if known is not None and known.event is not None:
            how = "was already answered" if key in graph.waits and known.event != "timeout" else "has already ended"
            yield f"{key} {how} with {known.event!r}"
        elif kept is not None and key not in graph.rounds:
            yield f"{key} was already answered with {kept.event!r}"


def as_results(payload: Any) -> FrozenDict:
    """An event's payload as its step's results: a mapping as it is, anything else under ``value``."""
    if isinstance(payload, FrozenDict):
        return payload
    return FrozenDict() if payload is None else FrozenDict(value=payload)


def takers(graph: Graph, state: State) -> list[str]:
    """The steps that may take an event now or later and have room for it, in the graph's order."""
    return _open(graph, state, graph.order)


def _open(graph: Graph, state: State, steps: Iterable[str]) -> list[str]:
    return reachable(graph, state, [step for step in steps if _has_room(graph, state, step)])


def _has_room(graph: Graph, state: State, step: str) -> bool:
    """Whether one more event may be kept for ``step``."""
    if (line := state.line(step)) not in state.inbox:
        return True
    return step in graph.rounds and len(state.lines.get(line, ())) + 1 < LONGEST_LINE


def accepted_events(graph: Graph, state: State) -> dict[str, tuple[str, ...]]:
    """The events that would be taken, by step: those of waiting steps, and of steps that are sure to wait.

    A step whose rounds go on with an event takes that at any time. The events of a map's items are those of the map
    as long as one of them waits.
    """
    found: dict[str, tuple[str, ...]] = {}
    for step in takers(graph, state):
        sure = state.step_status(step) == "waiting" or step in graph.waits or step in graph.ends_on
        if events := graph.takes[step] if sure else graph.again_on(step):
            found[step] = events
    for step, spread in graph.maps.items():
        if state.step_status(step) == "mapping" and is_item_waiting(state, step) and not is_stopped(graph, state, step):
            found[step] = spread.takes
    return found
