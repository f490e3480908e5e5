"""What a caller sees of a map's items: how far a map has come, and each item by itself."""

from __future__ import annotations

from dataclasses import field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

from hephaestus.engine.activation import parse
from hephaestus.engine.records import CANCELLED, COMPLETED, FAILED, NOT_UNDONE, STUCK, UNDONE
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from hephaestus.engine.records import Mapped
    from hephaestus.engine.state import State

ItemStatus: TypeAlias = Literal[
    "pending",
    "running",
    "waiting",
    "retrying",
    "completed",
    "failed",
    "cancelled",
    "compensated",
    "compensation_failed",
]
ITEM_STATUSES: Final[tuple[ItemStatus, ...]] = get_args(ItemStatus)
_ENDS: Final[dict[str, ItemStatus]] = {
    COMPLETED: "completed",
    FAILED: "failed",
    STUCK: "failed",
    CANCELLED: "cancelled",
    UNDONE: "compensated",
    NOT_UNDONE: "compensation_failed",
}


@dataclass(frozen=True, slots=True)
class ItemView:
    """One item of a map; times are aware ``datetime`` objects in UTC.

    Attributes:
        key: its key, as ``resume`` takes it for ``item``.
        index: its place, from 0.
        status: ``pending``, ``running``, ``waiting`` (also for its workflow), ``retrying``, ``completed``, ``failed``,
            ``cancelled``, ``compensated`` or ``compensation_failed``.
        item: what ``over`` gave.
        attempt: which attempt it is at; 0 before the first, and where the entry that ended it has expired.
        event: the event that it completed with.
        results: what it left.
        error: ``type`` and ``message`` of the failure that ended it.
        started_at: when the attempt began.
        ended_at: when it ended.
        retry_at: when its next attempt begins.
        deadline: when its wait is over.
        entry: the number of the log entry that ended it.
        child: where it is a workflow, the id of its instance, once that has begun.
        child_status: and the status of that, which the item waits for.
    """

    key: str
    index: int
    status: str
    item: Any = None
    attempt: int = 0
    event: str | None = None
    results: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, str] | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    retry_at: datetime | None = None
    deadline: datetime | None = None
    entry: int | None = None
    child: str | None = None
    child_status: str | None = None


def under_way(state: State, step: str) -> dict[str, ItemStatus]:
    """By key, a map's items that run, and those that wait for their workflows.

    One that is being undone is what it was, as a step is, until it has been.
    """
    found: dict[str, ItemStatus] = {}
    if state.closed:
        return found
    for activation, child in state.children.items():
        if "[" in activation and child.stopping != "undo":
            found[activation] = "waiting"
    found |= dict.fromkeys([one for one in state.running if "[" in one], "running")
    parsed = ((parse(one), status) for one, status in found.items())
    return {one.item or "": status for one, status in parsed if one.step == step and not one.undo}


def item_status(mapped: Mapped, place: int, open_: Mapping[str, ItemStatus]) -> ItemStatus:
    """The status of an item; ``open_`` is what ``under_way`` says of its map."""
    key = mapped.key(place)
    if key in open_:
        return open_[key]
    if (ended := _ENDS.get(mapped.ends[place])) is not None:
        return ended
    if mapped.is_stuck(place):
        return "failed"  # what it did is still to be undone
    one = mapped.open.get(key)
    return "pending" if one is None else "waiting" if one.retry_at is None else "retrying"


def counted(state: State, step: str, mapped: Mapped) -> dict[ItemStatus, int]:
    """How many of the items that an instance runs itself are in which status."""
    open_, seen = under_way(state, step), mapped.over() if state.closed else mapped
    counts = dict.fromkeys(ITEM_STATUSES, 0)
    for place in range(len(seen.ends)):
        counts[item_status(seen, place, open_)] += 1
    return counts


def progress(total: int, counts: Mapping[ItemStatus, int]) -> dict[str, int]:
    """What is shown of how far a map has come: of the statuses, those that some items are in, and how many ended."""
    always = ("completed", "failed")
    shown: dict[str, int] = {name: count for name, count in counts.items() if count or name in always}
    return {"total": total, **shown}
