"""Status events: what services outside learn when the status of an instance changes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.views import view
from hephaestus.engine.effects import published_status
from hephaestus.errors import BadRequest
from hephaestus.values import for_display, to_json
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.engine.state import State

MAX_OUTPUT: Final = 32 * 1024  # bytes as JSON; EventBridge bills an event by started 64 KB
TEXTS: Final = ("instance_id", "workflow", "life", "status", "at", "started_at")
NUMBERS: Final = ("version", "generation", "number")


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """A change of an instance's status.

    Attributes:
        detail: the event's data, in JSON's own types; ``docs/guides/events-out.md`` describes it.
    """

    detail: Mapping[str, Any]

    @property
    def instance_id(self) -> str:
        """The instance."""
        return str(self.detail["instance_id"])

    @property
    def at(self) -> datetime:
        """When the status changed."""
        return datetime.fromisoformat(self.detail["at"])


def status_event(state: State) -> StatusEvent:
    """The event of ``state``, whose status is news. Start data, metadata and results of steps are not in it."""
    shown = view(state, None)
    detail: dict[str, Any] = {
        "instance_id": state.instance_id,
        "workflow": state.workflow,
        "version": state.version,
        "generation": state.generation,
        "life": state.life,
        "number": state.sequence,
        "status": published_status(state),
        "at": shown.updated_at.isoformat(timespec="milliseconds"),
        "started_at": shown.created_at.isoformat(timespec="milliseconds"),
        "tags": list(shown.tags),
    }
    if shown.error is not None:
        detail["error"] = dict(shown.error)
    reason = shown.parked if detail["status"] == "parked" else shown.paused
    if reason:
        detail["reason"] = reason
    if shown.output is not None:
        output = for_display(shown.output)
        detail["output_included"] = len(to_json(output).encode()) <= MAX_OUTPUT
        if detail["output_included"]:
            detail["output"] = output
    return StatusEvent(detail)


def read_status_event(detail: object) -> StatusEvent:
    """A status event out of a message.

    Raises:
        BadRequest: it is none.
    """
    if isinstance(detail, dict) and _is_whole(detail) and _is_time(detail["at"]):
        return StatusEvent(detail)
    text = "not a message of Hephaestus: status_event must be the data of a status event"
    raise BadRequest(text)


def _is_whole(detail: Mapping[str, Any]) -> bool:
    texts = all(isinstance(detail.get(name), str) for name in TEXTS)
    return texts and all(isinstance(detail.get(name), int) for name in NUMBERS)


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
