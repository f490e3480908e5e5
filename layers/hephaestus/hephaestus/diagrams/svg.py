"""SVG without Graphviz: a layout of our own, drawn with boxes and curves.

The text has an accessible title, and nothing in it is a script or a link.
"""

from __future__ import annotations

import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from hephaestus.diagrams.layout import Box, lay_out
from hephaestus.diagrams.picture import FAINT, INK, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.diagrams.picture import Edge, Node, Picture

LETTER: Final = 7.4  # pixels; the mean width at this size
LINE: Final = 17.0
PADDING: Final = 14.0
TITLE: Final = 34.0
END_SIZE: Final = 40.0
LONGEST: Final = 48
FONT: Final = "ui-sans-serif, system-ui, 'Segoe UI', Helvetica, Arial, sans-serif"
HALO: Final = 'paint-order="stroke" stroke="#fff" stroke-width="4" stroke-linejoin="round"'


def to_svg(picture: Picture) -> str:
    """The picture as a standalone SVG document."""
    labels: dict[str, float] = {}
    for edge in picture.edges:
        labels[edge.target] = max(labels.get(edge.target, 0.0), _wide(_short(edge.label)) * 0.8)
    sizes = {node.key: _size(node, labels.get(node.key, 0.0)) for node in picture.nodes}
    layout = lay_out(sizes, [(edge.source, edge.target) for edge in picture.edges])
    width = max(layout.width, _wide(picture.title) + 2 * PADDING)
    shift = (width - layout.width) / 2
    height = layout.height + TITLE
    title = escape(printable(picture.title), {'"': "&quot;"})
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{title}" {size}>',
        f"<title>{title}</title>",
        f"<defs>{_arrow('a', INK)}{_arrow('b', FAINT)}</defs>",
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<g font-family="{FONT}" font-size="13" fill="{INK}">',
        f'<text x="{PADDING}" y="23" font-weight="600">{title}</text>',
        f'<g transform="translate({shift:.1f} {TITLE})">',
        *(_edge(edge, layout.boxes, layout.paths[edge.source, edge.target]) for edge in picture.edges),
        *(_node(node, layout.boxes[node.key]) for node in picture.nodes),
        "</g></g></svg>",
    ]
    return "\n".join(parts) + "\n"


def _arrow(name: str, ink: str) -> str:
    where = 'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse"'
    return f'<marker id="{name}" {where} orient="auto"><path d="M0 0L8 4L0 8z" fill="{ink}"/></marker>'


def _size(node: Node, label: float) -> tuple[float, float]:
    """As large as what is written in it, and as wide as what is written over it."""
    if node.is_end:
        return END_SIZE, END_SIZE
    lines = [_short(line) for line in node.lines]
    return max(label, *(_wide(line) + 2 * PADDING for line in lines)), LINE * len(lines) + PADDING


def _node(node: Node, box: Box) -> str:
    left, top = box.x - box.width / 2, box.y - box.height / 2
    if node.is_end:
        shape = f'<circle cx="{box.x:.1f}" cy="{box.y:.1f}" r="{box.width / 2:.1f}" fill="#fff" stroke="#52606d"/>'
    else:
        corner = 18 if node.waits else 4
        dash = ' stroke-dasharray="4 3"' if node.status == "skipped" else ""
        shape = (
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="{corner}" '
            f'fill="{node.fill}" stroke="#52606d"{dash}/>'
        )
        if node.child:
            shape += (
                f'<rect x="{left + 3:.1f}" y="{top + 3:.1f}" width="{box.width - 6:.1f}" '
                f'height="{box.height - 6:.1f}" rx="2" fill="none" stroke="#52606d"/>'
            )
    lines = [escape(_short(line)) for line in node.lines]
    first = box.y - LINE * (len(lines) - 1) / 2 + 4.5
    return shape + "".join(
        f'<text font-size="{11 if number else 13}" {_at(box.x, first + LINE * number)}>{line}</text>'
        for number, line in enumerate(lines)
    )


def _edge(edge: Edge, boxes: Mapping[str, Box], points: Sequence[tuple[float, float]]) -> str:
    source, target = boxes[edge.source], boxes[edge.target]
    route = [(source.x, source.y + source.height / 2), *points[1:-1], (target.x, target.y - target.height / 2 - 1)]
    ink, marker = (FAINT, "b") if edge.taken is False else (INK, "a")
    look = f'fill="none" stroke="{ink}" stroke-width="{2 if edge.taken else 1.2}" marker-end="url(#{marker})"'
    dash = ' stroke-dasharray="5 4"' if edge.taken is False else ""
    line = f'<path d="{_curve(route)}" {look}{dash}/>'
    if not edge.label:
        return line
    (x0, y0), (x1, y1) = route[0], route[1]
    middle = _at(x0 + (x1 - x0) * 0.7, y0 + (y1 - y0) * 0.6 + 4)
    return f'{line}<text font-size="11" {HALO} {middle}>{escape(_short(edge.label))}</text>'


def _at(x: float, y: float) -> str:
    return f'x="{x:.1f}" y="{y:.1f}" text-anchor="middle"'


def _curve(route: Sequence[tuple[float, float]]) -> str:
    """A path that leaves and enters every point vertically."""
    path = f"M{route[0][0]:.1f} {route[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(route):
        middle = (y0 + y1) / 2
        path += f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
    return path


def _short(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


def _wide(text: str) -> float:
    """About how wide it is; East Asian letters take two places."""
    return sum(LETTER * (2 if unicodedata.east_asian_width(letter) in "WF" else 1) for letter in text)
