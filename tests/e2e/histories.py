"""What must hold of every history that the API shows, whatever happened to the functions that wrote it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.e2e.deployment import Deployment

LEAVING = ("Suspended", "HandedOver", "InstanceFinished")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a history tells.

    Attributes:
        take_overs: claims of what a dead owner had not given back.
        interrupted: attempts that a dead owner had begun.
        retries: attempts that failed and were made again.
    """

    take_overs: int = 0
    interrupted: int = 0
    retries: int = 0


def history(deployment: Deployment, instance_id: str) -> list[dict[str, Any]]:
    """Every entry of the newest generation's log."""
    entries: list[dict[str, Any]] = []
    path = f"/instances/{instance_id}/history?limit=100"
    more = ""
    while True:
        answer = deployment.call("GET", path + more)
        assert answer.status == 200, answer.body
        page = answer.json()
        entries += page["items"]
        if page.get("cursor") is None:
            return entries
        more = f"&cursor={quote(page['cursor'], safe='')}"


def check(instance_id: str, entries: Sequence[Mapping[str, Any]]) -> Seen:
    """Invariants 1, 2 and 5, and 8 as far as a history can break it.

    Raises:
        AssertionError: naming the instance.
    """
    told = f"instance {instance_id}: {entries}"
    assert [entry["sequence"] for entry in entries] == list(range(1, len(entries) + 1)), told
    assert [entry["at"] for entry in entries] == sorted(entry["at"] for entry in entries), told
    events = [(entry["at"], event) for entry in entries for event in entry["events"]]
    kinds = Counter(event["type"] for _, event in events)
    assert kinds["InstanceStarted"] == kinds["InstanceFinished"] == 1, told
    assert events[0][1]["type"] == "InstanceStarted", told
    assert events[-1][1]["type"] == "InstanceFinished", told
    decided = Counter(step for _, event in events for step in _decides(event))
    assert not [step for step, times in decided.items() if times > 1], told
    received = Counter(event["event_id"] for _, event in events if "event_id" in event)
    assert not [name for name, times in received.items() if times > 1], told
    failed = [event for _, event in events if event["type"] == "StepFailed"]
    interrupted = sum(event["error"]["type"] == "Interrupted" for event in failed)
    return Seen(_take_overs(events, told), interrupted, sum("retry_at" in event for event in failed))


def _decides(event: Mapping[str, Any]) -> list[str]:
    """The steps that an event decides for good."""
    match event["type"]:
        case "StepCompleted":
            return [event["step"]]
        case "StepsSkipped":
            return list(event["steps"])
        case "StepFailed" if "retry_at" not in event:
            return [event["step"]]
        case _:
            return []


def _take_overs(events: Sequence[tuple[str, Mapping[str, Any]]], told: str) -> int:
    """How often somebody claimed what another had not given back: never before its lease had ended."""
    lease: str | None = None
    take_overs = 0
    for at, event in events:
        if event["type"] == "Claimed":
            assert lease is None or at >= lease, f"claimed at {at}, held until {lease}; {told}"
            take_overs += lease is not None
            lease = event["lease_until"]
        elif event["type"] in LEAVING:
            lease = None
    return take_overs
