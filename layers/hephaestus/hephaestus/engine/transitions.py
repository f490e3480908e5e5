"""The whole life of an instance and of a step as two tables: read from the events' declarations, drawn in the docs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from hephaestus.engine.events import EVENTS
from hephaestus.engine.state import STATUSES, STEP_STATUSES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.engine.events import Event

Table: TypeAlias = "Mapping[str, Mapping[type[Event], str]]"


def _table(statuses: Sequence[str], transitions: Mapping[type[Event], Mapping[str, str]]) -> Table:
    rows = {
        status: {event: allowed[status] for event, allowed in transitions.items() if status in allowed}
        for status in statuses
    }
    return {status: row for status, row in rows.items() if row}


# (status, event) → status; see ``hephaestus.engine.events.event``.
INSTANCE_TRANSITIONS: Final = _table(STATUSES, {event: event.of_instance for event in EVENTS.values()})
STEP_TRANSITIONS: Final = _table(STEP_STATUSES, {event: event.of_step for event in EVENTS.values()})
