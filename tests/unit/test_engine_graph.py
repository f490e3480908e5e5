"""The graph: its orders, and what is wrong with it."""

from __future__ import annotations

import pytest

from hephaestus.engine.graph import Graph, check_graph, find_cycle, reachable, topological

Edges = dict[str, dict[str, list[str]]]
DIAMOND: Edges = {"a": {"x": ["b", "c"], "y": ["c"]}, "b": {"x": ["d"]}, "c": {"x": ["d"]}, "d": {"x": []}}


def test_every_step_comes_after_all_of_its_predecessors() -> None:
    """Each step once, whatever the number of edges between two."""
    graph = Graph("a", {step: {e: tuple(t) for e, t in events.items()} for step, events in DIAMOND.items()})
    assert graph.order == ("a", "b", "c", "d")
    assert graph.predecessors == {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
    assert graph.takes["a"] == ("x", "y")


def test_reachable_counts_the_origins() -> None:
    """And everything behind them."""
    assert set(reachable(DIAMOND, ["b"])) == {"b", "d"}
    assert set(reachable(DIAMOND, [])) == set()


@pytest.mark.parametrize(
    ("edges", "cycle"),
    [
        ({"a": {"x": ["a"]}}, {"a"}),
        ({"a": {"x": ["b"]}, "b": {"x": ["a"]}}, {"a", "b"}),
        ({"a": {"x": ["b"]}, "b": {"x": ["c"]}, "c": {"x": ["b"], "y": ["d"]}, "d": {"x": []}}, {"b", "c"}),
        ({"a": {"x": ["b"]}, "b": {"x": ["c", "d"]}, "c": {"x": ["b"]}, "d": {"x": ["b"]}}, {"b", "c"}),
        ({"a": {"x": ["b"]}, "b": {"x": ["c"]}, "c": {"x": ["d"]}, "d": {"x": ["c"], "y": ["b"]}}, {"c", "d"}),
    ],
    ids=["itself", "two", "behind the start", "two loops", "a loop in a loop"],
)
def test_a_cycle_is_found_and_shown_step_by_step(edges: Edges, cycle: set[str]) -> None:
    """The steps that are named follow one another and close the circle."""
    found = find_cycle(edges, "a")
    assert set(found) >= cycle or set(found) <= cycle | {"d"}
    for step, following in zip(found, (*found[1:], found[0]), strict=True):
        assert following in [target for targets in edges[step].values() for target in targets]
    (problem,) = check_graph("a", edges, [])
    assert problem.step == found[0]
    assert "is on a cycle: " + " → ".join((*found, found[0])) in str(problem)


def test_a_graph_without_a_cycle_has_none() -> None:
    """A diamond is not a circle."""
    assert find_cycle(DIAMOND, "a") == ()
    assert check_graph("a", DIAMOND, [("a", "x", ["b", "c"])]) == []


def test_steps_on_and_behind_a_cycle_have_no_place_in_the_order() -> None:
    """What is in the order is sound."""
    assert topological({"a": {"x": ["b"]}, "b": {"x": ["c"]}, "c": {"x": ["b"], "y": ["d"]}, "d": {}}, "a") == ["a"]


def test_a_step_that_cannot_be_reached_is_named() -> None:
    """With the first step, from which it should be reached."""
    (problem,) = check_graph("a", {"a": {"x": []}, "lost": {"x": []}}, [])
    assert (problem.step, problem.problem) == ("lost", "cannot be reached from the first step 'a'")


def test_branches_that_never_meet_are_named() -> None:
    """With the event and every branch; branches that meet at one of themselves do meet."""
    edges: Edges = {"a": {"x": ["b", "c"]}, "b": {"x": []}, "c": {"x": []}}
    (problem,) = check_graph("a", edges, [("a", "x", ["b", "c"])])
    assert problem.step == "a"
    assert problem.problem == "event 'x' fans out to b, c, which never meet again before DONE"
    edges["b"] = {"x": ["c"]}
    assert check_graph("a", edges, [("a", "x", ["b", "c"])]) == []
