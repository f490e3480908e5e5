"""The events of a log entry with those of the parts of a map as one: a map of 100,000 items has a thousand parts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

Json = dict[str, Any]
FOLDED: Final = frozenset({"PartStarted", "PartReported", "PartEnded", "ChildUndoing"})


def folded(events: Iterable[Json]) -> list[Json]:
    """These events, of which those that tell the same of several parts of a map are one, with their number: ``parts``.

    What has become of their items is added up, and of errors the first is kept.
    """
    found: list[Json] = []
    known: dict[tuple[object, ...], Json] = {}
    for event in events:
        if event["type"] not in FOLDED or "item" in event:  # an item that is a workflow is told by itself
            found.append(event)
            continue
        key = (event["type"], event["step"], event.get("status"), event.get("epoch"), event.get("round"))
        if key not in known:
            known[key] = {**event, "parts": 1}
            found.append(known[key])
            continue
        one = known[key]
        one["parts"] += 1
        one["share"] = one.get("share", 0) + event.get("share", 0)
        one["failed"] = one.get("failed", 0) + event.get("failed", 0)
        one["counts"] = dict(Counter(one.get("counts") or {}) + Counter(event.get("counts") or {}))
        if "error" in event:
            one.setdefault("error", event["error"])
    return found
