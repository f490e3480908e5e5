"""What C code writes into a dict or list that a user's code was given reaches nothing but that code.

``FrozenDict`` rejects a change by its methods; ``eval(rule, values)`` and ``dict.update(values)`` do not call them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pydantic
import pytest

from hephaestus import DONE, Completed, Retry, StepContext, Workflow, step
from hephaestus.definition.step import Choice
from hephaestus.runtime import telemetry
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from hephaestus.values import FrozenDict, FrozenList, freeze
from hephaestus.values.given import GivenResults, own

CONTEXT = {"items": [{"sku": "anvil", "prices": [1, 2]}], "empty": {}, "none": []}


def evaluated(value: Any) -> None:
    """As a rule engine does; it leaves ``__builtins__``."""
    if isinstance(value, dict):
        eval("1 > 0", value)  # noqa: S307 - the case


def executed(value: Any) -> None:
    """It leaves a name, too."""
    if isinstance(value, dict):
        exec("global left; left = object()", value)  # noqa: S102 - the case


def updated(value: Any) -> None:
    """By the base type's own methods, with what can be stored."""
    if isinstance(value, dict):
        dict.update(value, planted=1)
        dict.pop(value, "sku", None)
    elif isinstance(value, list):
        list.append(value, "planted")


def planted(value: Any) -> None:
    """With what cannot be stored."""
    if isinstance(value, dict):
        dict.__setitem__(value, "planted", int)
    elif isinstance(value, list):
        list.insert(value, 0, int)


def emptied(value: Any) -> None:
    """All of it."""
    if isinstance(value, dict):
        dict.clear(value)
    elif isinstance(value, list):
        list.clear(value)


WAYS = [evaluated, executed, updated, planted, emptied]


def inside(value: Any) -> Iterator[Any]:
    """Every mapping and list in it, the inner ones first."""
    if isinstance(value, Mapping):
        for part in tuple(value.values()):
            yield from inside(part)
        yield value
    elif isinstance(value, list):
        for part in tuple(value):
            yield from inside(part)
        yield value


def given(context: StepContext) -> list[Any]:
    """Every mapping and list that a context holds."""
    parts = (context.initial, context.steps, context.config, context.events, context.instance.metadata)
    return [found for part in parts for found in inside(part)]


class Order(pydantic.BaseModel):
    """Its validators are a user's code, too."""

    items: list[Any]
    empty: Any
    none: Any

    @pydantic.model_validator(mode="before")
    @classmethod
    def spoil(cls, data: Any) -> Any:
        """Have the current way done to all of it, but for a copy that is validated."""
        kept = thawed(data)
        spoil(data)
        return kept


WAY: list[Callable[[Any], None]] = []
SEEN: list[tuple[str, Any]] = []


def thawed(value: Any) -> Any:
    """The same in plain mappings and lists."""
    if isinstance(value, Mapping):
        return {key: thawed(part) for key, part in value.items()}
    return [thawed(part) for part in value] if isinstance(value, (list, tuple)) else value


def spoil(value: Any) -> None:
    """Have the current way done to all of it."""
    for found in list(inside(value)):
        for way in WAY:
            way(found)


def look(who: str, context: StepContext) -> None:
    """Note what a step is given, then spoil all of it."""
    parts = (context.initial, context.steps, context.config, context.events, context.instance.metadata)
    SEEN.append((who, (thawed(parts), thawed(context.input.items))))
    spoil(list(given(context)))
    spoil(context.input.items)


@step(compensate=lambda ctx: look("undo", ctx))
def first(ctx: StepContext) -> Completed:
    """Return something nested, and metadata."""
    look("first", ctx)
    return Completed("done", {"list": [1, {"deep": [2]}], "empty": {}}, {"told": {"by": ["first"]}})


@step
def second(ctx: StepContext) -> str:
    """Return nothing: its results are the engine's empty ones."""
    look("second", ctx)
    return "done"


def choose(ctx: StepContext) -> Any:
    """Configure what comes."""
    look("choose", ctx)
    return last.configured(routes=["a", {"b": 1}])


wait = WaitForEvent("go", name="wait")


@step(retry=Retry(max_attempts=2, delay=0.01))
def last(ctx: StepContext) -> str:
    """Fail twice, so that everything is undone."""
    look("last", ctx)
    raise ValueError


class Spoiling(Workflow, key="spoil", tags=["a"], metadata={"known": {"deep": [1]}, "nothing": {}}):
    """Every kind of a user's code."""

    Input = Order
    start_at = first.configured(level=1, options={"deep": [1, 2]})
    transitions = {
        first: {"done": second.configured(more=[{}])},
        second: {"done": wait},
        wait: {"go": Choice(choose, [last])},
        last: {"done": DONE},
    }

    @classmethod
    def version_for(cls, versions: Mapping[int, type[Workflow]], opts: Mapping[str, Any]) -> int | None:
        """Spoil what it is given."""
        spoil(opts["context"])
        return None


def story() -> tuple[list[tuple[str, Any]], Any]:
    """What each piece of code saw of one instance, and what is stored of it in the end."""
    SEEN.clear()
    local = LocalRuntime(Spoiling)
    local.start(Spoiling, "x", CONTEXT)
    seen = local.resume("spoil::x", "go", {"payload": {"deep": [1]}})
    spoil([seen.context, seen.metadata, *(known.results for known in seen.steps.values())])
    local.advance(60)
    shown = local.runner.get("spoil::x")
    stored = (shown.status, shown.context, shown.metadata, {key: known.results for key, known in shown.steps.items()})
    history = [dict(event) for entry in local.runner.history("spoil::x").items for event in entry.events]
    for event in history:
        event.pop("error", None)
    return list(SEEN), (thawed(stored), thawed(history))


@pytest.mark.parametrize("way", WAYS)
def test_no_step_choice_compensation_validator_or_handler_reaches_what_is_stored(way: Callable[[Any], None]) -> None:
    """Nor what another of them sees: all of it is as if nothing had been written, here and in later instances."""
    WAY.clear()
    clean = story()
    assert [who for who, _ in clean[0]] == ["first", "second", "choose", "last", "last", "undo"]

    def handler(_event: str, _measurements: Any, metadata: Any) -> None:
        spoil(metadata)

    telemetry.attach("spoil", handler)
    try:
        WAY.append(way)
        spoiled = story()
    finally:
        WAY.clear()
        telemetry.detach("spoil")
    assert spoiled == clean
    assert story() == clean


@pytest.mark.parametrize("what", ["initial", "metadata", "config", "results", "nested"])
@pytest.mark.parametrize("context", [{}, CONTEXT], ids=["empty", "full"])
def test_a_spoiled_mapping_that_is_returned_fails_its_step_only(what: str, context: dict[str, Any]) -> None:
    """It is checked like any other: nothing leaves the engine's ``wake``."""

    @step
    def ok(_ctx: StepContext) -> str:
        return "done"

    @step(retry=Retry(max_attempts=1))
    def rule(ctx: StepContext) -> Any:
        parts: dict[str, Any] = {
            "initial": ctx.initial,
            "metadata": ctx.instance.metadata,
            "config": ctx.config,
            "results": ctx.steps["ok"],
            "nested": ctx.steps,
        }
        planted(parts[what])
        return Completed("done", {"carried": parts[what]} if what == "nested" else parts[what])

    class Flow(Workflow, key="flow"):
        start_at = ok
        transitions = {ok: {"done": rule}, rule: {"done": DONE}}

    local = LocalRuntime(Flow)
    failed = local.start(Flow, "1", context)
    assert (failed.status, failed.steps["rule"].status) == ("failed", "failed")
    assert failed.error
    assert "planted" in failed.error["message"]
    assert local.start(Flow, "2", context).context == context


def test_what_a_step_returned_is_no_longer_the_steps() -> None:
    """Also where it returned what it had been given."""
    kept: list[Any] = []

    @step
    def carry(ctx: StepContext) -> dict[str, Any]:
        kept.extend((ctx.initial, ctx.initial["items"]))
        return ctx.initial  # type: ignore[return-value]  # a mapping

    @step
    def later(ctx: StepContext) -> dict[str, Any]:
        for found in kept:
            emptied(found)
        return {"saw": ctx.steps["carry"]["items"]}

    class Flow(Workflow, key="flow"):
        start_at = carry
        transitions = {carry: {"done": later}, later: {"done": DONE}}

    done = LocalRuntime(Flow).start(Flow, "1", CONTEXT)
    assert done.steps["carry"].results == CONTEXT
    assert done.steps["later"].results == {"saw": CONTEXT["items"]}


def test_a_part_is_made_once_and_a_result_when_it_is_read() -> None:
    results = freeze({"a": {"x": [1]}, "b": {"x": [2]}})
    mine = GivenResults(results)
    assert mine["a"] is mine["a"] is mine.get("a")
    assert mine["a"] is not results["a"]
    assert mine["a"]["x"] is not results["a"]["x"]
    assert dict.__getitem__(mine, "b") is results["b"], "what is not read costs nothing"
    reads: list[Callable[[GivenResults], Mapping[str, Any]]] = [
        lambda given: dict(enumerate(given.values())),  # type: ignore[arg-type]  # the keys do not matter
        lambda given: dict(given.items()),
        dict,
        lambda given: {**given},
        lambda given: given | {},
        lambda given: {} | given,
        GivenResults.copy,
        copy.copy,
    ]
    for read in reads:
        parts = list(read(GivenResults(results)).values())
        assert parts == [{"x": [1]}, {"x": [2]}]
        assert not {id(part) for part in parts} & {id(part) for part in results.values()}
    with pytest.raises(KeyError):
        mine["c"]
    assert mine.get("c", 5) == 5


def test_an_own_copy_equals_its_original_and_shares_nothing_that_changes() -> None:
    value = freeze({"a": [{"b": []}, "t", 1, None], "c": {}})
    copied = own(value)
    assert copied == value
    theirs = {id(part) for part in inside(value)}
    assert not [part for part in inside(copied) if id(part) in theirs]
    assert {type(part) for part in inside(copied)} == {FrozenDict, FrozenList}


def test_a_context_is_of_the_time_at_which_its_attempt_began_whenever_it_is_read() -> None:
    """Its parts are made when they are first read, of a state that never changes."""
    kept: list[StepContext] = []

    @step
    def keep(ctx: StepContext) -> Completed:
        kept.append(ctx)
        return Completed("done", {"n": len(kept)}, metadata={"n": len(kept)})

    second = keep.named("second")

    class Keeps(Workflow, key="id"):
        start_at = keep
        transitions = {keep: {"done": second}, second: {"done": DONE}}

    LocalRuntime(Keeps).start(Keeps, "a", CONTEXT)
    first, last = kept
    assert (first.steps, first.events, first.instance.metadata, first.attempt) == ({}, {}, {}, 1)
    assert (last.steps, last.events, last.instance.metadata) == ({"keep": {"n": 1}}, {"keep": "done"}, {"n": 1})
    assert first.initial == last.initial == CONTEXT
    assert first.idempotency_key.endswith(":keep")
