"""A step for each of several items: ``Map``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Again, Completed, InvalidItems, Rounds, Step, StepContext, Workflow, step
from hephaestus.definition.maps import MOST_ITEMS, Spreads
from hephaestus.engine.graph import Spread
from hephaestus.errors import DefinitionError
from hephaestus.steps import Map, WaitForEvent
from hephaestus.values import FrozenDict, FrozenList

if TYPE_CHECKING:
    from collections.abc import Iterator


@step(events=("done", "small"))
def resize(ctx: StepContext) -> str:
    """Resize an image."""
    return "small" if ctx.item["small"] else "done"


@step(rounds=Rounds(3))
def again(ctx: StepContext) -> Again:
    """One round."""
    return Again()


def images(ctx: StepContext) -> Any:
    """What is to be resized."""
    return ctx.initial["images"]


def flow(*steps: Any) -> type[Workflow]:
    """A workflow of these steps, one after the other."""
    routes = {one: dict.fromkeys(one.events, after) for one, after in zip(steps, (*steps[1:], DONE), strict=True)}
    return type("Flow", (Workflow,), {"start_at": steps[0], "transitions": routes}, key="flow")


def given(made: Map, context: Any) -> Spreads:
    """What a map's functions give."""
    ctx = StepContext(initial={"images": context})
    return made.execute(ctx.instance, {}, ctx)


class Unmakeable(Step):
    """A step that needs an argument."""

    def __init__(self, what: str) -> None:
        self.what = what


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({"tolerate": "150%"}, "tolerate is '150%'"),
        ({"tolerate": -1}, "tolerate is -1"),
        ({"tolerate": True}, "tolerate is True"),
        ({"tolerate": "5"}, "tolerate is '5'"),
        ({"tolerate": "NaN%"}, "tolerate is 'NaN%'"),
        ({"tolerate": "0.001%"}, "tolerate is '0.001%'"),
        ({"tolerate": 0.5}, "tolerate is 0.5"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"concurrency": 10_001}, "concurrency is 10001"),
        ({"collect": 1}, "collect is 1"),
        ({"chunk": 0}, "chunk is 0"),
        ({"chunk": 101}, "chunk is 101"),
        ({"over": [1, 2]}, "its over cannot be called"),
        ({"key": lambda: ""}, "its key has the signature"),
        ({"context": 3}, "its context cannot be called"),
        ({"target": DONE}, "a map of DONE, which never runs"),
        ({"target": again}, "a map of again, which has rounds"),
        ({"target": "resize"}, "a map of 'resize', which is no step"),
        (
            {"target": step(key="late", checkpoint=False)(lambda ctx: "done")},
            "a map of late, which has checkpoint=False",
        ),
        ({"target": Unmakeable}, "a map of Unmakeable, which cannot be made without arguments"),
        ({"target": Map(resize, over=images)}, "is a map of a map"),
    ],
)
def test_what_no_map_can_be_made_of_is_a_definition_error(how: dict[str, Any], problem: str) -> None:
    """C.6, C.8 and C.14: each mistake names what was given."""
    with pytest.raises(DefinitionError, match="map") as raised:
        Map(**{"target": resize, "over": images, **how})
    assert problem in str(raised.value)


def test_all_mistakes_of_a_map_are_reported_at_once() -> None:
    """A definition is corrected in one go."""
    with pytest.raises(DefinitionError) as raised:
        Map(resize, over=images, tolerate=-1, concurrency=0)
    assert len(raised.value.problems) == 2


def test_a_map_that_routes_an_event_of_its_items_is_told_what_a_map_emits() -> None:
    """Rule C.6: an item's own events are outcomes, and are counted."""
    asked = Map(WaitForEvent("yes", "no", name="ask"), over=lambda ctx: ())
    with pytest.raises(DefinitionError) as told:
        type("Asking", (Workflow,), {"start_at": asked, "transitions": {asked: {"yes": DONE, "done": DONE}}}, key="a")
    assert "ask: routes 'yes', which its items emit, and not the map. Route 'done'" in str(told.value)


def test_a_map_has_the_key_of_its_step_unless_it_is_named() -> None:
    """C.14: both in one graph need a name; the map and its step have events of their own."""
    one = Map(resize, over=images)
    assert (one.key, Map(resize, over=images, name="thumbs").key) == ("resize", "thumbs")
    for steps in ((one, resize), (resize, one)):
        with pytest.raises(DefinitionError, match="that of a map under the same key"):
            flow(*steps)
    flow(Map(resize, over=images, name="thumbs"), resize)


def test_the_graph_knows_how_a_map_runs_its_items() -> None:
    """A map that becomes a step, or whose items take other events, is another step to what runs."""

    @step(key="thumbs")
    def plain(ctx: StepContext) -> str:
        return "done"

    made = flow(Map(resize, over=images, tolerate="5%", concurrency=7, name="thumbs")).definition(1)
    assert made.graph.maps == {"thumbs": Spread(7, 0, 500, ("done", "small"))}
    assert made.graph.fingerprint != flow(plain).definition(1).graph.fingerprint
    assert made.items["thumbs"][0] is resize


@pytest.mark.parametrize(
    ("tolerate", "total", "failures"), [(3, 10, 3), ("5%", 100, 5), ("5%", 19, 0), ("2.5%", 40, 1)]
)
def test_a_share_is_of_all_items_and_never_rounded_up(tolerate: int | str, total: int, failures: int) -> None:
    """C.6."""
    made = flow(Map(resize, over=images, tolerate=tolerate)).definition(1)
    assert made.graph.maps["resize"].tolerated(total) == failures


@pytest.mark.parametrize("given_items", [None, "abc", b"abc", {"a": 1}, 7])
def test_what_is_no_list_of_items_is_an_error_without_retry(given_items: Any) -> None:
    """C.4."""
    with pytest.raises(InvalidItems, match=r"step resize: over gave .*, which is no list of items"):
        given(Map(resize, over=images), given_items)


def test_no_more_items_are_read_than_there_may_be() -> None:
    """An ``over`` of ten million is an error after the first 101."""
    read = []

    def many() -> Iterator[int]:
        for number in range(10_000_000):
            read.append(number)
            yield number

    with pytest.raises(
        InvalidItems, match="over gave more than 100,000 items, and a map runs at most so many of a list"
    ):
        given(Map(resize, over=lambda _: many()), None)
    assert len(read) == MOST_ITEMS + 1
    assert given(Map(resize, over=images), range(MOST_ITEMS)).items == list(range(MOST_ITEMS))


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (lambda _: "a", "items 0 and 1 have the key 'a'"),
        (lambda _: 7, "the key of item 0 is 7"),
        (lambda _: "", "the key of item 0 is ''"),
        (lambda _: "a" * 129, "the key of item 0 is "),
        (lambda item: f"{item}\n", "the key of item 0 is "),
    ],
)
def test_keys_are_printable_and_each_once(key: Any, problem: str) -> None:
    """C.5: both places are named."""
    with pytest.raises(InvalidItems) as raised:
        given(Map(resize, over=images, key=key), [1, 2])
    assert problem in str(raised.value)


def test_what_a_map_is_given_is_stored_as_it_was() -> None:
    """C.3: the items are copied and checked before one of them runs; an item that cannot be stored is named."""
    images_given = [{"id": "a"}, {"id": "b"}]
    made = Map(resize, over=images, key=lambda image: image["id"], context=lambda _: {"bucket": "b"})
    assert given(made, images_given) == Spreads(FrozenList(images_given), ("a", "b"), FrozenDict(bucket="b"))
    assert given(Map(resize, over=images), []) == Spreads(FrozenList())
    with pytest.raises(Exception, match="step resize: item 1"):
        given(made, [{"id": "a"}, {"id": "b", "what": object()}])
    with pytest.raises(InvalidItems, match="context gave 3: give a mapping"):
        given(Map(resize, over=images, context=lambda _: 3), [])  # type: ignore[arg-type,return-value]  # on purpose


def test_a_step_of_an_item_reads_it_without_an_engine() -> None:
    """What is neutral elsewhere is set by hand in a test."""
    assert resize(StepContext(item={"small": True}, item_key="a", index=3)) == "small"
    plain = StepContext()
    assert (plain.item, plain.item_key, plain.index) == (None, "", 0)
    assert Completed("done").event == "done"
