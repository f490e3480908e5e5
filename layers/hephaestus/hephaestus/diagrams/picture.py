"""What a picture shows, whatever it is drawn with: steps, events between them, and how far an instance has come."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

END: Final = "DONE"
FAIL: Final = "FAIL"
ENDS: Final[Mapping[str, str]] = {END: "end", FAIL: "fail"}
FILLS: Final[Mapping[str, str]] = {
    "completed": "#c8e6c9",
    "running": "#bbdefb",
    "waiting": "#fff0b3",
    "retrying": "#ffe0b2",
    "looping": "#bbdefb",
    "mapping": "#bbdefb",
    "failed": "#ffcdd2",
    "compensated": "#e1d5f0",
    "compensation_failed": "#ffcdd2",
    "skipped": "#eeeeee",
    "pending": "#ffffff",
}
UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
PLAIN: Final = "#ffffff"
INK: Final = "#1f2933"
FAINT: Final = "#9aa5b1"


@dataclass(frozen=True, slots=True)
class Node:
    """One step, the end of a path (``END``), or the failure of the whole instance (``FAIL``).

    Attributes:
        key: the step's key.
        waits: whether it always waits for an event or a time.
        status: what an instance says of it; ``None`` in the picture of a definition.
        detail: one more line, such as what it waits for.
        child: whether it is a workflow.
    """

    key: str
    waits: bool = False
    status: str | None = None
    detail: str = ""
    child: bool = False

    @property
    def is_end(self) -> bool:
        """Whether it is no step but an end."""
        return self.key in (END, FAIL)

    @property
    def lines(self) -> tuple[str, ...]:
        """What is written in it."""
        return tuple(filter(None, (ENDS.get(self.key, self.key), self.status, self.detail)))

    @property
    def fill(self) -> str:
        """Its colour."""
        return FILLS.get(self.status or "", PLAIN)


@dataclass(frozen=True, slots=True)
class Edge:
    """What leads from a step to a step: the events that do.

    ``taken`` tells whether an instance came this way; ``None`` where that is open, or in the picture of a definition.
    """

    source: str
    target: str
    events: tuple[str, ...]
    taken: bool | None = None

    @property
    def label(self) -> str:
        """The events; nothing where it is the only one there usually is."""
        return "" if self.events == ("done",) else ", ".join(self.events)


@dataclass(frozen=True, slots=True)
class Picture:
    """A whole graph."""

    title: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def draw(version: Mapping[str, Any], name: str, instance: Mapping[str, Any] | None = None) -> Picture:
    """The picture of a workflow version, or of an instance of it.

    Args:
        version: one of the ``versions`` that ``GET /workflows`` shows of a workflow.
        name: the workflow's name.
        instance: an instance of this version, as ``GET /instances/{id}`` shows it.
    """
    known: Mapping[str, Any] = instance.get("steps", {}) if instance else {}
    nodes = [_node(step, known.get(step["key"], {}), shown=instance is not None) for step in version["steps"]]
    if handler := version.get("on_failure"):
        status = known.get(handler, {}).get("status", "pending") if instance is not None else None
        nodes.append(Node(handler, status=status, detail="on failure"))
    edges = tuple(_edges(version, known if instance is not None else None))
    title = f"{name} v{version['version']}"
    if instance is not None:
        title = f"{instance['id']} ({title}): {instance['status']}"
    ends = [Node(end) for end in ENDS if end == END or any(edge.target == end for edge in edges)]
    return Picture(title, (*nodes, *ends), edges)


def _target(mapped: Mapping[str, Any]) -> str:
    """What a map runs: a step, or a workflow."""
    return f"workflow {mapped['workflow']}" if "workflow" in mapped else str(mapped["step"])


def _node(step: Mapping[str, Any], known: Mapping[str, Any], *, shown: bool) -> Node:
    waits = bool(step.get("waits"))
    most = step.get("rounds", {}).get("at_most")
    child = step.get("child", {}).get("workflow", "")
    if not shown:
        each = f"{_target(step['map'])} for each item" if "map" in step else ""
        facts = (f"workflow {child}" if child else "", f"up to {most:,} rounds" if most else "", each)
        what = ", ".join(filter(None, facts))
        return Node(step["key"], waits, detail=what, child=bool(child))
    status = known.get("status", "pending")
    detail = ""
    if status == "waiting":
        detail = "for " + ", ".join(known.get("accepts", ())) if known.get("accepts") else ""
    elif status in ("failed", "retrying", "compensation_failed"):
        detail = f"attempt {known.get('attempt', 1)}: {known.get('error', {}).get('type', '')}"
    elif most and known.get("round"):
        detail = f"round {known['round']:,} of {most:,}"
    elif progress := known.get("progress"):
        detail = f"{progress.get('completed', 0):,} of {progress.get('total', 0):,} items"
    return Node(step["key"], waits, status, detail or str(known.get("child", "")), bool(child))


def _edges(version: Mapping[str, Any], known: Mapping[str, Any] | None) -> Iterator[Edge]:
    for step in version["steps"]:
        merged: dict[str, list[str]] = {}
        for event, targets in step["routes"].items():
            for target in targets or [END]:
                merged.setdefault(target, []).append(event)
        for target, events in merged.items():
            yield Edge(step["key"], target, tuple(events), _taken(known, step["key"], target, events))


def _taken(known: Mapping[str, Any] | None, source: str, target: str, events: list[str]) -> bool | None:
    """Whether an instance went from ``source`` to ``target``; what was skipped, nobody went to."""
    if known is None:
        return None
    before = known.get(source, {})
    if before.get("status") == "skipped":
        return False
    if before.get("event") is None:
        return None
    if target == FAIL or "fail" in before:
        return target == FAIL and "fail" in before and before["event"] in events
    return before["event"] in events and known.get(target, {}).get("status") != "skipped"


def printable(text: str) -> str:
    """``text`` without controls, halves of letters and what turns other text around; XML 1.0 does not allow most."""
    return "".join("\ufffd" if unicodedata.category(letter) in UNPRINTABLE else letter for letter in text)
