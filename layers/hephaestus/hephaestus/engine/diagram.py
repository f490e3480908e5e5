"""The life cycles as Mermaid diagrams, drawn from the events' declarations.

``python -m hephaestus.engine.diagram`` prints both as the documentation holds them, between its markers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus.engine.events import InstanceStarted
from hephaestus.engine.state import CLOSED, STATUSES
from hephaestus.engine.transitions import INSTANCE_TRANSITIONS, STEP_TRANSITIONS

if TYPE_CHECKING:
    from collections.abc import Iterable


def instance_diagram() -> str:
    """The life of an instance."""
    edges = [("[*]", InstanceStarted.__name__, "pending")]
    ends = [status for status in STATUSES if status in CLOSED]
    for source, allowed in INSTANCE_TRANSITIONS.items():
        for event, target in allowed.items():
            targets = [source if target == "=" else target for target in target.split("|")]
            edges += [(source, event.__name__, to) for to in targets]
    return _mermaid(edges, ends)


def step_diagram() -> str:
    """The life of a step."""
    edges = []
    for source, allowed in STEP_TRANSITIONS.items():
        for event, target in allowed.items():
            edges += [(source, event.__name__, to) for to in target.split(" or ")]
    ends = dict.fromkeys(to for _, _, to in edges if to == "completed" or to not in STEP_TRANSITIONS)
    return _mermaid([("[*]", "", "pending"), *edges], ends)


def _mermaid(edges: Iterable[tuple[str, str, str]], ends: Iterable[str]) -> str:
    """One arrow a pair of statuses, labelled with every event that leads along it; below, what changes no status."""
    arrows: dict[tuple[str, str], list[str]] = {}
    stays: dict[str, list[str]] = {}
    for source, event, target in edges:
        if source == target:
            stays.setdefault(source, []).append(event)
        else:
            arrows.setdefault((source, target), []).append(event)
    lines = [
        f"    {source} --> {target}" + (f": {', '.join(events)}" if any(events) else "")
        for (source, target), events in arrows.items()
    ]
    lines += [f"    {end} --> [*]" for end in ends]
    table = ["", "| status | stays as it is at |", "|--------|-------------------|"]
    table += [f"| `{status}` | {', '.join(events)} |" for status, events in stays.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, "```", *table])


def documented() -> str:
    """Both diagrams between the markers that the documentation puts around them."""
    drawn = {"instance": instance_diagram(), "step": step_diagram()}
    return "\n\n".join(f"<!-- diagram:{name} -->\n{text}\n<!-- /diagram -->" for name, text in drawn.items())


if __name__ == "__main__":  # pragma: no cover - the line that a shell runs
    print(documented())  # noqa: T201 - this is what it is for
