"""Graphviz's language, for whoever has Graphviz."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus.diagrams.picture import FAINT, INK, printable

if TYPE_CHECKING:
    from hephaestus.diagrams.picture import Node, Picture


def to_dot(picture: Picture) -> str:
    """The picture as a directed graph in DOT."""
    lines = [
        f"digraph {_quoted(picture.title)} {{",
        f"  graph [label={_quoted(picture.title)}, labelloc=t, fontname=Helvetica];",
        "  node [shape=box, style=filled, fontname=Helvetica, fontsize=11];",
        "  edge [fontname=Helvetica, fontsize=10];",
        *(f"  {_quoted(node.key)} [{_look(node)}];" for node in picture.nodes),
    ]
    for edge in picture.edges:
        ink = FAINT if edge.taken is False else INK
        style = "dashed" if edge.taken is False else "bold" if edge.taken else "solid"
        look = f'label={_quoted(edge.label)}, style={style}, color="{ink}", fontcolor="{ink}"'
        lines.append(f"  {_quoted(edge.source)} -> {_quoted(edge.target)} [{look}];")
    return "\n".join([*lines, "}"]) + "\n"


def _look(node: Node) -> str:
    shape = ", shape=circle" if node.is_end else ', style="filled,rounded"' if node.waits else ""
    frames = ", peripheries=2" if node.child else ""
    return f'label={_quoted(*node.lines)}, fillcolor="{node.fill}"{shape}{frames}'


def _quoted(*lines: str) -> str:
    escaped = [printable(line).replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    return '"' + "\\n".join(escaped) + '"'
