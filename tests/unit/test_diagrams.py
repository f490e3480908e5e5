"""Pictures of workflows: right, well-formed whatever is in a name, and laid out without overlaps."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hephaestus.definition.views import to_json_object
from hephaestus.diagrams import Picture, draw, to_dot, to_mermaid, to_svg
from hephaestus.diagrams.layout import lay_out
from hephaestus.handlers.http.describe import describe
from hephaestus.testing import LocalRuntime
from workflows import Onboarding, OrderFlow

VERSION = describe(OrderFlow)["versions"][0]
SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<script>alert(1)</script>\"';]--> %% \\ \x1b[31m\u202e 訂單 \ud83d\ude00".encode(
    "utf-16", "surrogatepass"
).decode("utf-16")
CONTEXT = {"customer": {"name": "Ada", "email": "ada@example.com"}, "items": [{"sku": "anvil", "price_cents": 4200}]}


def order(**more: Any) -> dict[str, Any]:
    """An order as it is after its start."""
    local = LocalRuntime(OrderFlow)
    return to_json_object(local.start(OrderFlow, "abc", {**CONTEXT, **more}))


def edges(picture: Picture) -> dict[tuple[str, str], bool | None]:
    """What is taken."""
    return {(edge.source, edge.target): edge.taken for edge in picture.edges}


def test_a_definition_s_picture_has_every_step_and_every_event() -> None:
    picture = draw(VERSION, "OrderFlow")
    assert picture.title == "OrderFlow v1"
    assert [node.key for node in picture.nodes] == [*(step["key"] for step in VERSION["steps"]), "DONE"]
    assert {(edge.source, edge.target): edge.label for edge in picture.edges}[
        "approval", "refund"
    ] == "rejected, timeout"
    assert set(edges(picture).values()) == {None}


def test_an_instance_s_picture_shows_where_it_went_and_what_it_waits_for() -> None:
    picture = draw(VERSION, "OrderFlow", order())
    states = {node.key: node.lines[1:] for node in picture.nodes}
    assert states["approval"] == ("waiting", "for approved, rejected, timeout")
    assert (states["validate_order"], states["reject_order"], states["ship"]) == (
        ("completed",),
        ("skipped",),
        ("pending",),
    )
    taken = edges(picture)
    assert taken["charge_payment", "reserve_stock"] is True
    assert taken["charge_payment", "reject_order"] is taken["reject_order", "DONE"] is False
    assert taken["approval", "ship"] is None


def test_an_order_that_was_refused_went_another_way() -> None:
    taken = edges(draw(VERSION, "OrderFlow", order(card="tok_declined")))
    assert taken["charge_payment", "reject_order"] is taken["reject_order", "DONE"] is True
    assert taken["charge_payment", "reserve_stock"] is taken["ship", "DONE"] is False


def test_mermaid_names_the_steps_by_number_and_quotes_every_text() -> None:
    text = to_mermaid(draw(VERSION, "OrderFlow"))
    assert text.splitlines()[:5] == ["---", 'title: "OrderFlow v1"', "---", "flowchart TD", '    s0["validate_order"]']
    assert '    s0 -->|"valid"| s1' in text.splitlines()
    assert '    s5(["approval"])' in text.splitlines()


@pytest.mark.parametrize("workflow", [OrderFlow, Onboarding])
def test_dot_is_one_node_and_one_edge_a_line(workflow: Any) -> None:
    for version in describe(workflow)["versions"]:
        picture = draw(version, workflow.name)
        lines = to_dot(picture).splitlines()
        assert sum(" -> " in line for line in lines) == len(picture.edges)
        assert lines[0] == f'digraph "{workflow.name} v{version["version"]}" {{'


def named(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A version, and an instance of it, with the same text everywhere."""
    version = {"version": 1, "start": name, "steps": [{"key": name, "routes": {name: [], "done": []}}]}
    step = {"status": "failed", "attempt": 1, "error": {"type": name}}
    return version, {"id": name, "status": "failed", "steps": {name: step}}


@given(st.text(min_size=1).filter(lambda name: name != "DONE"))
def test_no_text_breaks_out_of_a_picture(name: str) -> None:
    """Well-formed XML without a script, quotes closed, whatever is in the names."""
    version, instance = named(name)
    picture = draw(version, name, instance)
    root = ET.fromstring(to_svg(picture).encode())  # noqa: S314 - written here
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "title", "style", "defs", "marker", "path", "rect", "circle", "text", "g")
    }
    for line in to_mermaid(picture).splitlines():
        assert line.count('"') % 2 == 0
    for line in re.sub(r"\\.", "", to_dot(picture)).splitlines():
        assert line.count('"') % 2 == 0


def test_markup_and_control_characters_are_text() -> None:
    version, instance = named(NASTY)
    for text in (to_svg(draw(version, NASTY, instance)), to_mermaid(draw(version, NASTY, instance))):
        assert "<script" not in text
    assert "\x1b" not in to_svg(draw(version, NASTY, instance))
    assert "\u202e" not in to_svg(draw(version, NASTY, instance))


@st.composite
def graphs(random: st.DrawFn) -> tuple[dict[str, tuple[float, float]], list[tuple[str, str]]]:
    """Boxes of all sizes, with edges that go down only."""
    count = random(st.integers(1, 12))
    names = [f"n{number}" for number in range(count)]
    sizes = {name: (random(st.floats(10, 300)), random(st.floats(10, 80))) for name in names}
    pairs = list(combinations(names, 2))
    return sizes, random(st.lists(st.sampled_from(pairs), unique=True, max_size=20)) if pairs else []


@given(graphs())
def test_nothing_overlaps_and_every_edge_goes_down(
    graph: tuple[dict[str, tuple[float, float]], list[tuple[str, str]]],
) -> None:
    """Every box is inside, no two touch, each edge begins and ends where its steps are."""
    sizes, pairs = graph
    layout = lay_out(sizes, pairs)
    for box in layout.boxes.values():
        assert box.x - box.width / 2 >= 0
        assert box.x + box.width / 2 <= layout.width
        assert 0 <= box.y - box.height / 2 <= box.y + box.height / 2 <= layout.height
    for one, other in combinations(layout.boxes.values(), 2):
        apart_x = abs(one.x - other.x) - (one.width + other.width) / 2
        apart_y = abs(one.y - other.y) - (one.height + other.height) / 2
        assert max(apart_x, apart_y) > 1
    for source, target in pairs:
        path = layout.paths[source, target]
        assert [y for _, y in path] == sorted({y for _, y in path})
        assert (path[0], path[-1]) == tuple((box.x, box.y) for box in (layout.boxes[source], layout.boxes[target]))


def test_a_workflow_of_two_hundred_steps_is_laid_out() -> None:
    names = [f"step_{number}" for number in range(200)]
    pairs = [*pairwise(names), *zip(names, names[5:], strict=False)]
    assert len(lay_out(dict.fromkeys(names, (100.0, 30.0)), pairs).boxes) == 200


def test_a_step_that_is_a_workflow_is_drawn_as_such() -> None:
    """With two frames, and the workflow's name; of an instance, the child's id."""
    step = {"key": "ship", "waits": False, "routes": {"done": ["DONE"]}, "child": {"workflow": "Shipping"}}
    version = {"version": 1, "start": "ship", "steps": [step]}
    picture = draw(version, "Order")
    assert (picture.nodes[0].child, picture.nodes[0].detail) == (True, "workflow Shipping")
    assert '[["ship<br>workflow Shipping"]]' in to_mermaid(picture)
    assert "peripheries=2" in to_dot(picture)
    shown = {"id": "order::1", "status": "waiting", "steps": {"ship": {"status": "waiting", "child": "shipping::x"}}}
    assert draw(version, "Order", shown).nodes[0].detail == "shipping::x"


@pytest.mark.parametrize(
    ("target", "drawn"), [({"step": "pack"}, "pack"), ({"step": "kid", "workflow": "Kid"}, "workflow Kid")]
)
def test_a_map_says_what_it_runs_and_how_far_it_has_come(target: dict[str, str], drawn: str) -> None:
    """Of an instance, how many of its items have completed."""
    step = {"key": "every", "waits": False, "routes": {"done": ["DONE"]}, "map": target}
    version = {"version": 1, "start": "every", "steps": [step]}
    assert draw(version, "Order").nodes[0].detail == f"{drawn} for each item"
    counts = {"total": 3_000, "completed": 1_200, "failed": 2}
    shown = {"id": "order::1", "status": "running", "steps": {"every": {"status": "mapping", "progress": counts}}}
    assert draw(version, "Order", shown).nodes[0].detail == "1,200 of 3,000 items"
