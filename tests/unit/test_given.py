"""What a step is given is frozen or its own, and can be copied, compared, dumped and sent to another process."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from datetime import timedelta
from typing import Any

import pydantic
import pytest
import yaml  # type: ignore[import-untyped]  # its stubs would be one more dependency

from hephaestus import DONE, Completed, DefinitionError, Retry, StepContext, Workflow, step
from hephaestus.definition.context import Instance
from hephaestus.definition.step import Choice
from hephaestus.runtime import telemetry
from hephaestus.runtime.dispatch import Budget
from hephaestus.runtime.limits import BOUNDS, CLOCK_ERROR_MS, Limits
from hephaestus.runtime.sweeper import Sweeper
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from hephaestus.values import FrozenDict, FrozenList

GIVEN: list[StepContext] = []


class Order(pydantic.BaseModel):
    """Start data with something in them that can be changed."""

    items: list[dict[str, Any]]
    note: str = ""


@step
def first(ctx: StepContext) -> Completed:
    """Keep what it is given."""
    GIVEN.append(ctx)
    return Completed("done", {"list": [1, {"deep": [2]}], "text": "t"}, {"told": {"by": ["first"]}})


wait = WaitForEvent("go", name="wait")


@step(compensate=GIVEN.append)
def second(ctx: StepContext) -> str:
    """Keep what it is given."""
    GIVEN.append(ctx)
    return "done"


@step(retry=Retry(max_attempts=1))
def last(ctx: StepContext) -> str:
    """Keep what it is given, and have everything undone."""
    GIVEN.append(ctx)
    raise ValueError


def chosen(ctx: StepContext) -> Any:
    """Keep what a Choice is given."""
    GIVEN.append(ctx)
    return second


class Given(Workflow, key="given", tags=["a"], metadata={"known": {"deep": [1]}}):
    """Everything that a step may be given, in every way."""

    Input = Order
    start_at = first.configured(level=1, options={"deep": [1, 2]})
    transitions = {
        first: {"done": wait},
        wait: {"go": Choice(chosen, [second.configured(routes=["a", {"b": 1}]), last])},
        second: {"done": last},
        last: {"done": DONE},
    }


CONTEXT = {"items": [{"sku": "anvil", "prices": [1, 2]}], "note": "n"}


@pytest.fixture(scope="module")
def given() -> list[StepContext]:
    """The contexts of two steps, a Choice behind a wait, a failing step and a compensation."""
    GIVEN.clear()
    local = LocalRuntime(Given)
    local.start(Given, "g", CONTEXT)
    local.resume("given::g", "go", {"payload": {"deep": [1]}})
    assert len(GIVEN) == 5
    return list(GIVEN)


def parts(context: StepContext) -> dict[str, Any]:
    """What a context holds."""
    return {
        "initial": context.initial,
        "steps": context.steps,
        "config": context.config,
        "events": context.events,
        "metadata": context.instance.metadata,
    }


def thawed(value: Any) -> Any:
    """The same in plain mappings and lists."""
    if isinstance(value, Mapping):
        return {key: thawed(part) for key, part in value.items()}
    return [thawed(part) for part in value] if isinstance(value, (list, tuple)) else value


def changes(value: Any) -> list[Callable[[], object]]:
    """Every way to change a mapping or a list, at every depth."""
    if isinstance(value, Mapping):
        kind: Any = value
        own = [
            lambda: kind.__setitem__("x", 1),
            lambda: kind.update(x=1),
            lambda: kind.setdefault("x", 1),
            kind.clear,
            kind.popitem,
            lambda: kind.__ior__({"x": 1}),
        ]
        return own + [change for part in value.values() for change in changes(part)]
    if isinstance(value, list):
        own = [lambda: value.append(1), value.sort, lambda: value.__iadd__([1]), value.clear]
        return own + [change for part in value for change in changes(part)]
    return []


def test_nothing_that_a_step_is_given_can_be_changed(given: list[StepContext]) -> None:
    for context in given:
        for name, part in parts(context).items():
            before = thawed(part)
            assert isinstance(part, FrozenDict), name
            for change in changes(part):
                with pytest.raises(TypeError, match="immutable"):
                    change()
            assert part == before
        for field in fields(context):
            with pytest.raises(AttributeError):
                setattr(context, field.name, None)


def test_results_that_are_not_there_are_an_error_with_those_that_are(given: list[StepContext]) -> None:
    with pytest.raises(KeyError, match=r"step 'nope' has no results here; those with results: first, "):
        given[-1].steps["nope"]
    assert given[-1].steps.get("nope") is None
    with pytest.raises(KeyError, match="those with results: none"):
        given[0].steps["nope"]


def test_an_input_model_is_the_steps_own(given: list[StepContext]) -> None:
    inputs = [context.input for context in given]
    inputs[0].note = "changed"
    inputs[0].items.append({})
    assert given[0].input is inputs[0]
    assert [found.note for found in inputs[1:]] == ["n"] * 4
    assert [len(found.items) for found in inputs[1:]] == [1] * 4


def test_a_configuration_without_values_is_nobody_elses() -> None:
    """The default of a target without one, too."""
    seen: list[Any] = []

    @step
    def work(ctx: StepContext) -> str:
        seen.append(dict(ctx.config))
        ctx.config["level"] = 9  # type: ignore[index]  # what a step should not do
        return "done"

    class Plain(Workflow, key="plain"):
        retry = Retry(max_attempts=1)
        start_at = work
        transitions = {work: {"done": DONE}}

    local = LocalRuntime(Plain)
    assert [local.start(Plain, value).status for value in "ab"] == ["failed", "failed"]
    assert seen == [{}, {}]


@pytest.mark.parametrize("dump", [json.dumps, yaml.safe_dump, yaml.dump], ids=["json", "yaml.safe_dump", "yaml.dump"])
def test_what_a_step_is_given_is_dumped_like_plain_data(given: list[StepContext], dump: Callable[[Any], str]) -> None:
    for context in given:
        for part in parts(context).values():
            assert dump(part) == dump(thawed(part))


def test_what_a_step_is_given_is_copied_compared_and_pickled(given: list[StepContext]) -> None:
    for context in given:
        for part in parts(context).values():
            plain = thawed(part)
            assert part == plain
            deep = copy.deepcopy(part)
            assert deep == plain
            assert_plain(deep)
            assert copy.copy(part) == plain
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
                again = pickle.loads(pickle.dumps(part, protocol))  # noqa: S301 - its own
                assert again == part
                assert type(again) is type(part)


def assert_plain(value: Any) -> None:
    """No frozen type anywhere in it."""
    assert type(value) not in {FrozenDict, FrozenList}
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        assert_plain(part)


def test_a_context_can_be_copied_and_pickled(given: list[StepContext]) -> None:
    for context in given:
        assert copy.copy(context) == context
        deep = copy.deepcopy(context)
        assert parts(deep) == parts(context)
        assert_plain(deep.initial)
        assert deep.remaining_time() == context.remaining_time()
        again = pickle.loads(pickle.dumps(context))  # noqa: S301 - its own
        assert (parts(again), again.instance, again.attempt) == (parts(context), context.instance, context.attempt)
        assert again.idempotency_key == context.idempotency_key
        assert again.input == context.input
        assert timedelta(0) < again.remaining_time() <= context.remaining_time()
        with pytest.raises(RuntimeError, match="links are made in the step's own process"):
            again.callback_url("go")
        assert pickle.loads(pickle.dumps(again)).input == context.input  # noqa: S301 - its own


def summary(context: StepContext) -> tuple[str, int, str]:
    """What another process makes of a context."""
    return context.instance_id, len(context.initial["items"]), context.input.note


def test_a_context_goes_to_a_process_pool(given: list[StepContext]) -> None:
    """And what it holds; by spawning, so that nothing is there but what was sent."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(summary, given[2]).result() == ("given::g", 1, "n")
        assert pool.submit(dict, given[2].steps).result() == given[2].steps


def test_a_context_made_by_hand_can_be_pickled() -> None:
    context = StepContext(initial={"a": [1]}, instance=Instance("test::1", "Test", 1, tags=("x",)))
    again = pickle.loads(pickle.dumps(context))  # noqa: S301 - its own
    assert (again.initial, again.instance, again.input) == (context.initial, context.instance, None)


def test_a_configuration_that_cannot_be_stored_is_reported_with_the_class() -> None:
    with pytest.raises(DefinitionError, match=r"config\.level"):

        class Wrong(Workflow, key="wrong"):
            start_at = first.configured(level=object())
            transitions = {first: {"done": DONE}}


def test_a_telemetry_handler_changes_nothing_for_the_next() -> None:
    seen: list[Any] = []

    def changes_it(event: str, measurements: Any, metadata: Any) -> None:
        metadata.clear()
        measurements.clear()

    telemetry.attach("a", changes_it, ["hephaestus.workflow.start"])
    telemetry.attach("b", lambda *told: seen.append(told), ["hephaestus.workflow.start"])
    try:
        LocalRuntime(Given).start(Given, "t", CONTEXT)
    finally:
        telemetry.detach("a")
        telemetry.detach("b")
    assert seen[0][2]["instance_id"] == "given::t"
    assert seen[0][1]


# --- Numbers that a deployment may set ---


@pytest.mark.parametrize("name", BOUNDS)
def test_limits_are_checked_when_they_are_made(name: str) -> None:
    allowed = BOUNDS[name]
    for fine in (allowed.least, allowed.most):
        assert getattr(Limits(**{name: fine}), name) == fine
    wrong: list[Any] = [allowed.least - 1, allowed.most + 1, -1, 2.5, float("nan"), float("inf"), "5", None, True]
    for value in wrong:
        with pytest.raises(ValueError, match=rf"{name}=.*: a whole number from [\d,]+ to [\d,]+, as "):
            Limits(**{name: value})


def test_every_wrong_limit_is_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"concurrency=0.*lease_margin_ms=1999.*peek_ms=50"):
        Limits(concurrency=0, lease_margin_ms=CLOCK_ERROR_MS - 1, peek_ms=50)


def test_a_sweeper_and_a_budget_are_checked_too() -> None:
    local = LocalRuntime(Given)
    for wrong in ({"margin_ms": -1}, {"most_queued": 0}, {"most_queued": 2.5}):
        with pytest.raises(ValueError, match="this Sweeper cannot be"):
            Sweeper(local.store, local.queue, local.clock, **wrong)
    for times in ((float("nan"), None), (5, 2.5), ("5", None)):
        with pytest.raises(TypeError, match="whole milliseconds"):
            Budget(*times)
