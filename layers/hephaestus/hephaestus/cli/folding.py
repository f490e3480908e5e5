"""Log entries with what they say of the parts of a map as one: a map of 100,000 items has a thousand parts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

Json = dict[str, Any]
FOLDED: Final = frozenset({"PartStarted", "PartReported", "PartEnded", "ChildUndoing"})
BESIDE: Final = frozenset({"Claimed", "Suspended", "HandedOver"})  # what says nothing new while parts end
FEW: Final = 3  # entries that are shown one by one


class Folds:
    """Puts entries that follow each other, and are about nothing but parts of a map, together as one.

    That has the events of all, ``sequence`` and ``at`` of the first, and of the last ``last`` and ``until``.
    """

    def __init__(self) -> None:
        self._held: list[Json] = []

    def take(self, entry: Json) -> list[Json]:
        """What can be shown once this entry is known; it may be held back."""
        if _is_of_parts(entry):
            self._held.append(entry)
            return []
        return [*self.rest(), entry]

    def rest(self) -> list[Json]:
        """What was held back."""
        held, self._held = self._held, []
        if len(held) <= FEW or not any(event["type"] in FOLDED for entry in held for event in entry["events"]):
            return held
        events = [event for entry in held for event in entry["events"] if event["type"] not in BESIDE]
        # How many run at a time is not what all began with.
        shown = [{name: value for name, value in event.items() if name != "share"} for event in events]
        return [{**held[0], "events": shown, "last": held[-1]["sequence"], "until": held[-1]["at"]}]


def _is_of_parts(entry: Json) -> bool:
    return all(event["type"] in FOLDED | BESIDE and "item" not in event for event in entry["events"])


def folded(events: Iterable[Json]) -> list[Json]:
    """These events, of which those that say the same of several parts of a map are one, with their number: ``parts``.

    What has become of their items is added up, and of errors the first is kept.
    """
    found: list[Json] = []
    known: dict[tuple[object, ...], Json] = {}
    reported: dict[tuple[object, ...], dict[str, int]] = {}
    for event in events:
        if event["type"] not in FOLDED or "item" in event:  # an item that is a workflow is shown by itself
            found.append(event)
            continue
        key = (event["type"], event["step"], event.get("status"), event.get("epoch"), event.get("round"))
        if event["type"] == "PartReported":  # each time it says how many have failed by then
            failed = reported.setdefault(key, {})
            failed[event["part"]] = event["failed"]
            if key in known:
                known[key] |= {"parts": len(failed), "failed": sum(failed.values())}
                continue
        if key not in known:
            known[key] = {**event, "parts": 1}
            found.append(known[key])
            continue
        one = known[key]
        one["parts"] += 1
        if "share" in event:
            one["share"] = one.get("share", 0) + event["share"]
        one["counts"] = dict(Counter(one.get("counts") or {}) + Counter(event.get("counts") or {}))
        if "error" in event:
            one.setdefault("error", event["error"])
    return found


class Failures:
    """Counts the failed items of each map, as its parts report them: of a part, the newest number counts."""

    def __init__(self) -> None:
        self._totals: dict[str, int] = {}
        self._failed: dict[str, dict[str, int]] = {}

    def note(self, event: Json) -> None:
        """Take note of an event, as it stands in the log."""
        match event["type"]:
            case "MapSpread":
                self._totals[event["step"]], self._failed[event["step"]] = event["total"], {}
            case "PartReported" if "part" in event:
                self._failed.setdefault(event["step"], {})[event["part"]] = event["failed"]
            case "Redriven":
                self._failed.clear()

    def so_far(self, step: str) -> Json:
        """How many items of a map have failed, as far as was read, and how many there are, if that is known."""
        return {"failed": sum(self._failed[step].values()), "total": self._totals.get(step, 0)}
