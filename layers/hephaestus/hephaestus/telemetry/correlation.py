"""The id by which the log lines of one request are found: who caused an invocation gave it, or AWS did."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from hephaestus.adapters.scheduler import SOURCE, read_timeout
from hephaestus.errors import BadRequest
from hephaestus.runtime.names import schedule_name

if TYPE_CHECKING:
    from collections.abc import Iterable

HEADER: Final = "x-correlation-id"
LONGEST: Final = 128


def correlation_id(event: object) -> str | None:
    """What an invocation's log lines are correlated by.

    Args:
        event: what the function was invoked with.

    Returns:
        Of an API call, its header ``X-Correlation-Id`` or else API Gateway's request id; of a fired schedule, the
        schedule's name; of one message of a queue, the message's id (in a batch, each has its own: see
        ``message_id``); of a rule of EventBridge, its event's id. ``None`` where there is no such thing, as in a direct
        call, or no short printable text.
    """
    if not isinstance(event, Mapping):
        return None
    if "httpMethod" in event and "requestContext" in event:
        asked = _text(_header(event.get("headers")))
        return asked or _text(_member(event["requestContext"], "requestId"))
    if event.get("source") == SOURCE:
        return _schedule(event)
    records = event.get("Records")
    if isinstance(records, list):
        return message_id(records[0]) if len(records) == 1 else None
    return _text(event.get("id")) if "detail-type" in event else None


def message_id(record: object) -> str | None:
    """The id that SQS gave a message."""
    return _text(_member(record, "messageId"))


def _schedule(event: Mapping[str, Any]) -> str | None:
    try:
        return schedule_name(read_timeout(event), os.environ.get("HEPHAESTUS_SCHEDULE_PREFIX", ""))
    except BadRequest:
        return None


def _header(headers: object) -> object:
    found: Iterable[tuple[Any, Any]] = headers.items() if isinstance(headers, Mapping) else ()
    return next((value for name, value in found if str(name).lower() == HEADER), None)


def _member(thing: object, name: str) -> object:
    return thing.get(name) if isinstance(thing, Mapping) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and 1 <= len(value) <= LONGEST and value.isprintable() else None
