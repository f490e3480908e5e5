"""Says why an instance does not go on: the sentences of ``hephaestus.definition.reasons``, with what is read for them.

Lines are read only where something stands in one. What is below an instance is read only by who asks for it.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import count
from typing import TYPE_CHECKING, Final

from hephaestus.definition.reasons import Reasons, ended, explained, lasting
from hephaestus.engine.activation import INSTANCE, parse, step_of
from hephaestus.engine.map_items import mapped_of, open_parts
from hephaestus.errors import CorruptLog
from hephaestus.runtime.declarations import STEP, carry_of
from hephaestus.runtime.lines import waits_for
from hephaestus.runtime.names import SCHEDULE_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from hephaestus.definition.views import InstanceView
    from hephaestus.engine.state import State
    from hephaestus.store.store import Store

MOST_BELOW: Final = 20  # instances that are read for one answer


def with_reasons(shown: InstanceView, state: State, store: Store, now: int, lacks: str = "") -> InstanceView:
    """A view of ``state`` with its reasons; ``lacks`` is what is not deployed that it needs.

    Raises:
        StoreUnavailable: the line of a limit could not be read.
    """
    if state.closed:
        return shown
    said = waits_for(state, store, now) if state.queued or state.turns else {}
    own = said.pop(INSTANCE, None)
    lines = {step_of(activation): text for activation, text in reversed(said.items())}  # of items, that of the first
    if state.workflow == SCHEDULE_KEY and state.step_status(STEP) == "waiting":
        lines[STEP] = _of_schedule(state, now)
    found = explained(shown, state, now, lines)
    found = replace(found, why=(*found.why, own)) if own is not None else found
    return replace(found, why=(*found.why, f"cannot go on: {lacks}")) if lacks and state.parked is None else found


def reasons(show: Callable[[State], InstanceView], state: State, store: Store, now: int) -> Reasons:
    """Why an instance does not go on, and why what it waits for does not.

    Args:
        show: gives the view of an instance, with its reasons.
        state: the instance.
        store: has the others.
        now: the time (ms).
    """
    return _reasons(show, state, store, now, count(1))


def _reasons(
    show: Callable[[State], InstanceView], state: State, store: Store, now: int, numbers: Iterator[int]
) -> Reasons:
    shown = show(state)
    if state.closed:
        return Reasons(shown.id, shown.status, (ended(state, now),))
    steps = {key: step.why for key, step in shown.steps.items() if step.why}
    for key in [key for key, step in shown.steps.items() if step.status == "mapping"]:
        line = _line_of_items(state, key, store, now, numbers) or _of_workflows(show, state, key, store, numbers)
        if line is not None:
            steps[key] = "; ".join(filter(None, (steps.get(key), line)))
    below: list[Mapping[str, Any]] = []
    for instance_id in _waited_for(state):
        if next(numbers) > MOST_BELOW:
            break
        try:
            found = store.load(instance_id)
        except CorruptLog:
            below.append({"id": instance_id, "why": ("what is stored of it cannot be read: the log says why",)})
            continue
        if found is None:
            below.append({"id": instance_id, "why": ("has not begun",)})
        else:
            found_below = asdict(_reasons(show, found, store, now, numbers))
            below.append({name: value for name, value in found_below.items() if value})
    return Reasons(shown.id, shown.status, shown.why, steps, tuple(below))


def _waited_for(state: State) -> list[str]:
    """The instances that one waits for: open children and, of a schedule, occurrences; no map's items."""
    if state.workflow == SCHEDULE_KEY:
        return list(carry_of(state).get("open", ()))
    known = state.children.items()
    return [child.instance_id for one, child in known if "[" not in one and not child.status and not child.detached]


def _line_of_items(state: State, step: str, store: Store, now: int, numbers: Iterator[int]) -> str | None:
    """What the first of a map's items wait for that stand in line in an instance of their own (F.9)."""
    open_ = [child.instance_id for child in open_parts(state, step).values()] if mapped_of(state, step).in_parts else []
    for instance_id in open_:
        if next(numbers) > MOST_BELOW:
            return None
        try:
            found = store.load(instance_id)
        except CorruptLog:
            continue
        known = None if found is None else found.steps.get(step)
        if found is None or known is None or known.mapped is None:
            continue
        if said := list(waits_for(found, store, now).values()):
            first = known.mapped.first
            return f"of items {first} to {first + known.mapped.size - 1}: {said[0]}"
        if below := _line_of_items(found, step, store, now, numbers):
            return below
    return None


def _of_workflows(
    show: Callable[[State], InstanceView], state: State, step: str, store: Store, numbers: Iterator[int]
) -> str | None:
    """What holds the first of a map's workflows that something holds; those that run are passed over."""
    for activation, child in state.children.items():
        if step_of(activation) != step or child.status:
            continue
        if next(numbers) > MOST_BELOW:
            return None
        try:
            found = store.load(child.instance_id)
        except CorruptLog:
            continue
        if found is None or found.closed:
            continue
        if found.part is not None:
            if below := _of_workflows(show, found, step, store, numbers):
                return below
            continue
        shown = show(found)
        if said := [*shown.why, *(f"{key} {one.why}" for key, one in shown.steps.items() if one.why)]:
            return f"the workflow of item {parse(activation).item} ({shown.id}): {said[0]}"
    return None


def _of_schedule(state: State, now: int) -> str:
    """What a schedule waits for, and what its occurrence that is open keeps back (G.6)."""
    from hephaestus.definition.schedule_views import view_schedule  # noqa: PLC0415 - only where schedules are

    shown = view_schedule(state.instance_id, carry_of(state), now)
    if shown.paused is not None:
        by, reason = shown.paused["by"], shown.paused["reason"]
        since = lasting(now - round(shown.paused["at"].timestamp() * 1000))
        return f"is paused{by and f' by {by}'} for {since}{reason and f': {reason}'}"
    text = "has no further time"
    if shown.next_at:
        text = f"waits until {shown.next_at[0]:%Y-%m-%d %H:%M} {shown.timezone} for its next occurrence"
    open_ = carry_of(state).get("open", ())
    if shown.queued_for is not None and open_:
        text += f"; the one for {shown.queued_for:%Y-%m-%d %H:%M} UTC waits for the end of {open_[-1]}"
    if shown.skip is not None and open_ and shown.skip["reason"].startswith(open_[-1]):
        newest = f"{shown.skip['scheduled_for']:%Y-%m-%d %H:%M}"
        text += f"; {shown.skipped} were left out, the newest for {newest} UTC, as {shown.skip['reason']}"
    return text
