"""The workflows that are paused: a partition of its own, an item each, which no instance has.

An item says who paused the workflow, when and why. One that was unpaused stays, with an alarm, until all that waited
has been woken: the sweep goes on where it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus.errors import CorruptLog, StoreUnavailable
from hephaestus.store.items import FORMAT, attribute, check_format
from hephaestus.store.table import ABSENT, Condition
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.store.heads import Shards
    from hephaestus.store.table import Item, Table, Value

PAUSED: Final = "hephaestus-paused::.workflows"  # no instance has this id: its message wakes what waited
HELD: Final = "held"  # an attribute of the heads of instances that wait for their workflow
TRIES: Final = 8
_LAST: Final = "~"


@dataclass(frozen=True, slots=True)
class PausedWorkflow:
    """A workflow that is paused, or was, and of which instances are still to be woken.

    Attributes:
        workflow: its name.
        at: since when (ms).
        reason, by, by_source: why, who paused it, and how that is known.
        ended: whether it is unpaused.
        cursor: where in its list waking goes on; empty at the beginning.
    """

    workflow: str
    at: int
    reason: str = ""
    by: str = ""
    by_source: str = ""
    ended: bool = False
    cursor: str = ""


class PausedWorkflows:
    """The paused workflows of a table.

    Args:
        table: the table.
        shards: of its index of alarms.

    Raises (any method):
        StoreUnavailable: the table did not answer, or many callers change a workflow at once.
    """

    def __init__(self, table: Table, shards: Shards) -> None:
        self._table = table
        self._shards = shards

    def read(self) -> Mapping[str, PausedWorkflow]:
        """All of them, by name: one consistent query."""
        return {item.workflow: item for item in map(_read, self._table.query(PAUSED, low=" ", high=_LAST))}

    def pause(self, paused: PausedWorkflow) -> PausedWorkflow:
        """Pause a workflow. The first pause counts; one that was unpaused is paused anew.

        Returns:
            What holds now.
        """
        for _ in range(TRIES):
            known = self._find(paused.workflow)
            if known is not None and not known.ended:
                return known
            condition = ABSENT if known is None else Condition(equal={"at": known.at, "ended": 1})
            if self._table.put(_written(paused), condition):
                return paused
        raise _busy(paused.workflow)

    def unpause(self, workflow: str, now: int) -> bool:
        """End a pause, and have the sweep wake what waited; whether there was one."""
        for _ in range(TRIES):
            known = self._find(workflow)
            if known is None:
                return False
            changes: dict[str, Value | None] = {"ended": 1, "cursor": ""}
            changes |= self._shards.alarm(PAUSED, now)
            same = Condition(equal={"at": known.at})
            if known.ended or self._table.update(PAUSED, workflow, changes, same):
                return True
        raise _busy(workflow)

    def went_on(self, ended: PausedWorkflow, cursor: str | None, at: int) -> None:
        """Note how far waking has come, and have it go on at ``at`` (ms); without a cursor, all are woken."""
        same = Condition(equal={"at": ended.at, "ended": 1})
        if cursor is None:
            self._table.delete(PAUSED, ended.workflow, same)
        else:
            self._table.update(PAUSED, ended.workflow, {"cursor": cursor, **self._shards.alarm(PAUSED, at)}, same)

    def held(self, ids: Sequence[str]) -> list[str]:
        """Those of at most 100 instances that wait for their workflow, as far as is known."""
        heads = self._table.get_many([(one, "head") for one in ids], (HELD,)) if ids else []
        found = {str(head["pk"]) for head in heads if HELD in head}
        return [one for one in ids if one in found]

    def _find(self, workflow: str) -> PausedWorkflow | None:
        item = self._table.get(PAUSED, workflow)
        return None if item is None else _read(item)


def _busy(workflow: str) -> StoreUnavailable:
    message = f"workflow {workflow} is being paused and unpaused by many callers at once; try again"
    return StoreUnavailable(message)


def _written(paused: PausedWorkflow) -> Item:
    known: dict[str, Value] = {"at": paused.at, "reason": paused.reason, "by": paused.by, "by_source": paused.by_source}
    return {"pk": PAUSED, "sk": paused.workflow, "format": FORMAT, **known}


def _read(item: Item) -> PausedWorkflow:
    """A paused workflow; what a newer release wrote, or is damaged, is taken for a pause."""
    try:
        at = attribute(check_format(item), "at", int)
    except CorruptLog as error:
        return PausedWorkflow(str(item["sk"]), 0, str(error))
    reason, by, by_source, cursor = (str(item.get(name, "")) for name in ("reason", "by", "by_source", "cursor"))
    return PausedWorkflow(str(item["sk"]), at, reason, by, by_source, "ended" in item, cursor)
