"""An instance and all below it for a person, as a tree: children, maps, and of a map's workflows those worth a look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text
from rich.tree import Tree

from hephaestus.cli import styles
from hephaestus.cli.instance_view import BAD, quoted, said_progress
from hephaestus.cli.text import safe
from hephaestus.engine.activation import parse
from hephaestus.engine.state import CLOSED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Json = dict[str, Any]


def family_tree(shown: Json) -> Tree:
    """An instance and all below it."""
    top = Tree(Text.assemble((safe(shown["id"]), "bold"), "  ", styles.status(shown["status"])), guide_style="dim")
    maps = {key: step["progress"] for key, step in shown.get("steps", {}).items() if step.get("progress")}
    _add(top, shown["id"], maps, shown.get("children", ()))
    return top


def _add(to: Tree, name: str, maps: Json, children: Sequence[Json]) -> None:
    """Add what is below the instance ``name``. A map is a line, with its workflows below it."""
    lines = {key: to.add(Text.assemble((safe(key), "bold"), f"  {said_progress(maps[key])}")) for key in maps}
    for child in children:
        found = parse(child["step"])
        own = (lines[found.step] if found.item is not None and found.step in lines else to).add(_line(child))
        _add(own, child["id"], child.get("maps", {}), child.get("children", ()))
    for key, counts in maps.items():
        items = [child for child in children if parse(child["step"]).step == key]
        for hint in _more(name, key, counts, items) if items else ():
            lines[key].add(Text(hint, style="dim"))


def _line(child: Json) -> Text:
    line = Text.assemble((safe(child["step"]), "bold"), "  ", (safe(child["id"]), "dim"), "  ")
    line.append(styles.status(child["status"]))
    if child.get("detached"):
        line.append("  detached", "dim")
    if child.get("parked"):
        line.append(f"  parked {safe(child['parked'])}", "red")
    if child.get("error"):
        line.append(f"\n{safe(child['error']['message'])}", "red")
    return line


def _more(name: str, key: str, counts: Json, shown: Sequence[Json]) -> Iterator[str]:
    """The workflows of a map that are not shown, and the command that shows them."""
    closed = sum(child["status"] in CLOSED for child in shown)
    bad = [status for status in BAD if counts.get(status)]
    for statuses, seen in ((bad, closed), (["waiting"], len(shown) - closed)):
        left = sum(counts.get(status, 0) for status in statuses) - seen
        if left > 0:
            what = "open" if statuses == ["waiting"] else "failed"
            command = f"hephaestus items {quoted(name)} {quoted(key)} --status {statuses[0]}"
            yield f"and {left:,} more {what}: {command}"
