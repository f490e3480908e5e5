"""Where steps go in a picture: in layers, few crossings, straight where it can be.

The method is Sugiyama's (1981): layers by the longest path from the first step; an edge over several layers passes
through a point in each; in each layer the order is by the median of the neighbours (Eades and Wormald 1994), swept down
and up; then everything moves towards its neighbours without overlapping. Sizes are in pixels; nothing here draws.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SWEEPS: Final = 8
GAP_X: Final = 28.0
GAP_Y: Final = 56.0

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Box:
    """Where a node is: its centre and its size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Layout:
    """A finished layout: boxes by node, the points that each edge passes through, and the whole size."""

    boxes: Mapping[str, Box]
    paths: Mapping[Pair, Sequence[tuple[float, float]]]
    width: float
    height: float


@dataclass(slots=True)
class _Layers:
    """Nodes and the points of long edges, which are nodes without a name: ``rows`` from top to bottom."""

    sizes: dict[str, tuple[float, float]]
    rows: list[list[str]] = field(default_factory=list)
    above: dict[str, list[str]] = field(default_factory=dict)
    below: dict[str, list[str]] = field(default_factory=dict)
    chains: dict[Pair, list[str]] = field(default_factory=dict)


def lay_out(sizes: Mapping[str, tuple[float, float]], edges: Sequence[Pair]) -> Layout:
    """Place nodes of these sizes (width and height) that these edges connect; the graph must be free of cycles."""
    layers = _layers(sizes, edges)
    _order(layers)
    centres = _place(layers)
    heights = [max(layers.sizes[node][1] for node in row) for row in layers.rows]
    tops = [GAP_Y / 2 + sum(heights[:number]) + GAP_Y * number for number in range(len(heights))]
    level = {node: tops[number] + heights[number] / 2 for number, row in enumerate(layers.rows) for node in row}
    boxes = {node: Box(centres[node], level[node], *size) for node, size in sizes.items()}
    paths = {pair: [(centres[node], level[node]) for node in chain] for pair, chain in layers.chains.items()}
    width = max(centres[node] + layers.sizes[node][0] / 2 for row in layers.rows for node in row) + GAP_X
    return Layout(boxes, paths, width, tops[-1] + heights[-1] + GAP_Y / 2)


def _layers(sizes: Mapping[str, tuple[float, float]], edges: Sequence[Pair]) -> _Layers:
    depth = _depths(list(sizes), edges)
    layers = _Layers(dict(sizes), [[] for _ in range(max(depth.values(), default=0) + 1)])
    for node in sizes:
        layers.rows[depth[node]].append(node)
    for source, target in edges:
        points = [f"\0{source}\0{target}\0{level}" for level in range(depth[source] + 1, depth[target])]
        for level, point in enumerate(points, depth[source] + 1):
            layers.rows[level].append(point)
            layers.sizes[point] = (12.0, 0.0)
        chain = layers.chains[source, target] = [source, *points, target]
        for upper, lower in pairwise(chain):
            layers.below.setdefault(upper, []).append(lower)
            layers.above.setdefault(lower, []).append(upper)
    return layers


def _depths(nodes: Sequence[str], edges: Sequence[Pair]) -> dict[str, int]:
    """The longest path to each node, in edges."""
    depth = dict.fromkeys(nodes, 0)
    for _ in nodes:
        moved = False
        for source, target in edges:
            if depth[target] <= depth[source]:
                depth[target] = depth[source] + 1
                moved = True
        if not moved:
            break
    return depth


def _order(layers: _Layers) -> None:
    """Order every row by where its neighbours are, down and up again, and keep the best."""
    best, fewest = [list(row) for row in layers.rows], _crossings(layers)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        numbers = range(1, len(layers.rows)) if down else range(len(layers.rows) - 2, -1, -1)
        for number in numbers:
            beside = layers.rows[number - 1 if down else number + 1]
            place = {node: index for index, node in enumerate(beside)}
            near = layers.above if down else layers.below
            row = layers.rows[number]
            at = {node: index for index, node in enumerate(row)}
            row.sort(key=lambda node: (_median([place[one] for one in near.get(node, ())], at[node]), at[node]))
        if (crossings := _crossings(layers)) < fewest:
            best, fewest = [list(row) for row in layers.rows], crossings
    layers.rows = best


def _median(places: Sequence[int], default: int) -> float:
    return float(median(places)) if places else float(default)


def _crossings(layers: _Layers) -> int:
    total = 0
    for upper, lower in pairwise(layers.rows):
        place = {node: index for index, node in enumerate(lower)}
        ends = [
            place[target] for source in upper for target in sorted(layers.below.get(source, ()), key=place.__getitem__)
        ]
        total += sum(left > right for index, left in enumerate(ends) for right in ends[index + 1 :])
    return total


def _place(layers: _Layers) -> dict[str, float]:
    """The centre of everything from left to right: near its neighbours, and at a distance from what is beside it."""
    centres: dict[str, float] = {}
    for row in layers.rows:
        _spread(row, dict.fromkeys(row, 0.0), layers.sizes, centres)
    for sweep in range(SWEEPS * 2):
        down = sweep % 2 == 0
        near = layers.above if down else layers.below
        for row in layers.rows if down else reversed(layers.rows):
            wanted = {
                node: sum(centres[one] for one in near[node]) / len(near[node]) if near.get(node) else centres[node]
                for node in row
            }
            _spread(row, wanted, layers.sizes, centres)
    left = min(centres[node] - layers.sizes[node][0] / 2 for row in layers.rows for node in row)
    return {node: x - left + GAP_X for node, x in centres.items()}


def _spread(
    row: Sequence[str], wanted: Mapping[str, float], sizes: Mapping[str, tuple[float, float]], centres: dict[str, float]
) -> None:
    """Put a row where it wants to be, in its order and without overlaps: what collides becomes a block around its mean.

    (The pool-adjacent-violators algorithm, on the positions less what stands to the left.)
    """
    offsets, offset = [], 0.0
    for index, node in enumerate(row):
        offset += (sizes[row[index - 1]][0] + sizes[node][0]) / 2 + GAP_X if index else 0.0
        offsets.append(offset)
    blocks: list[tuple[float, int]] = []
    for node, offset in zip(row, offsets, strict=True):
        total, count = wanted[node] - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            before, members = blocks.pop()
            total, count = total + before, count + members
        blocks.append((total, count))
    places = [total / count for total, count in blocks for _ in range(count)]
    for node, place, offset in zip(row, places, offsets, strict=True):
        centres[node] = place + offset
