"""Mermaid flowcharts, as GitHub and most documentation tools draw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus.diagrams.picture import FILLS, printable

if TYPE_CHECKING:
    from hephaestus.diagrams.picture import Node, Picture


def to_mermaid(picture: Picture) -> str:
    """The picture as a Mermaid flowchart."""
    names = {node.key: f"s{number}" for number, node in enumerate(picture.nodes)}
    lines = ["---", f"title: {_quoted(picture.title)}", "---", "flowchart TD"]
    lines += [f"    {names[node.key]}{_shape(node)}" for node in picture.nodes]
    faint = []
    for number, edge in enumerate(picture.edges):
        label = f"|{_quoted(edge.label)}|" if edge.label else ""
        lines.append(f"    {names[edge.source]} {'-.->' if edge.taken is False else '-->'}{label} {names[edge.target]}")
        faint += [number] if edge.taken is False else []
    lines += _styles(picture, names)
    if faint:
        lines.append(f"    linkStyle {','.join(map(str, faint))} stroke:#9aa5b1,color:#9aa5b1")
    return "\n".join(lines) + "\n"


def _styles(picture: Picture, names: dict[str, str]) -> list[str]:
    lines = []
    for status in dict.fromkeys(node.status for node in picture.nodes if node.status in FILLS):
        members = ",".join(names[node.key] for node in picture.nodes if node.status == status)
        lines.append(f"    classDef {status} fill:{FILLS[status or '']},stroke:#52606d,color:#1f2933")
        lines.append(f"    class {members} {status}")
    return lines


def _shape(node: Node) -> str:
    """A step is a box, one that waits is rounded, one that is a workflow has two frames, an end a circle."""
    text = f'"{"<br>".join(map(_escaped, node.lines))}"'
    if node.is_end:
        return f"(({text}))"
    if node.child:
        return f"[[{text}]]"
    return f"([{text}])" if node.waits else f"[{text}]"


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    """``text`` as Mermaid takes it literally: what means something to it or to HTML, as entities."""
    return "".join(f"#{ord(letter)};" if letter in '#&<>"`\\;' else letter for letter in printable(text))
