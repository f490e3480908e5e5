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
        status: ``pending``, ``running``, ``waiting``, ``retrying``, ``completed``, ``failed``, ``cancelled``,
            ``compensated`` or ``compensation_failed``.
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


def under_way(state: State, step: str) -> frozenset[str]:
    """The keys of a map's items that run."""
    every = () if state.closed else (*state.running, *state.children)
    found = [parse(one) for one in every if "[" in one]
    return frozenset([one.item or "" for one in found if one.step == step])


def item_status(mapped: Mapped, place: int, running: frozenset[str]) -> ItemStatus:
    """The status of an item; ``running`` are the keys of those that run, or are instances that have not ended."""
    key = mapped.key(place)
    if key in running:
        return "running"
    if (ended := _ENDS.get(mapped.ends[place])) is not None:
        return ended
    one = mapped.open.get(key)
    return "pending" if one is None else "waiting" if one.retry_at is None else "retrying"


def counted(state: State, step: str, mapped: Mapped) -> dict[ItemStatus, int]:
    """How many of the items that an instance runs itself are in which status."""
    running, seen = under_way(state, step), mapped.over() if state.closed else mapped
    counts = dict.fromkeys(ITEM_STATUSES, 0)
    for place in range(len(seen.ends)):
        counts[item_status(seen, place, running)] += 1
    return counts


def progress(total: int, counts: Mapping[ItemStatus, int]) -> dict[str, int]:
    """What is shown of how far a map has come: of the statuses, those that some items are in, and how many ended."""
    always = ("completed", "failed")
    shown: dict[str, int] = {name: count for name, count in counts.items() if count or name in always}
    return {"total": total, **shown}
