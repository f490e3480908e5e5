"""What is wrong with a definition is said when the class is defined: all of it, each with the step and the fix."""

from __future__ import annotations

import math
import types
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from pydantic import BaseModel

from hephaestus import DONE, Choice, DefinitionError, Done, Retry, Step, StepContext, Workflow, step
from hephaestus.definition.durations import shown
from hephaestus.definition.step import Configured
from hephaestus.steps import Wait, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable


@step
def first(ctx: Any) -> str:
    """Declares ``done``."""
    return "done"


@step(events=("left", "right"))
def fork(ctx: Any) -> str:
    """Declares two events."""
    return "left"


@step
def left(ctx: Any) -> str:
    """A branch."""
    return "done"


@step
def right(ctx: Any) -> str:
    """Another."""
    return "done"


@step(timeout=5)
def late(ctx: Any) -> str:
    """A branch with a timeout."""
    return "done"


@step
def last(ctx: Any) -> str:
    """Where branches meet."""
    return "done"


class Named(Step):
    """A class with arguments."""

    def __init__(self, name: str) -> None:
        self.step_key = name

    def execute(self, instance: Any, config: Any, context: Any) -> str:
        """Go on."""
        return "done"


class Idle(Step):
    """A class that does nothing."""


def odd(name: str, value: Any) -> Step:
    """A step of a class that sets one thing more."""
    made: Step = type("Odd", (Named,), {name: value})("x")
    return made


ONE_STEP = {first: {"done": DONE}}


def test_an_argument_that_there_is_not_is_an_error_of_the_definition() -> None:
    """With the one that is meant, in the first line of a workflow and of a step."""
    with pytest.raises(DefinitionError, match=r"is given limitt, which is no argument. Did you mean limits"):

        class Misspelt(Workflow, key="misspelt", limitt=[]):  # type: ignore[arg-type]  # the mistake
            start_at = DONE
            transitions: ClassVar = {}

    with pytest.raises(DefinitionError, match=r"@step is given time_out, which is no argument. Did you mean timeout"):
        step(time_out=5)  # type: ignore[call-overload]  # the mistake
    with pytest.raises(DefinitionError, match=r"is given zebra, which is no argument. Give one of events, "):
        step(zebra=5)  # type: ignore[call-overload]  # the mistake


def problems(
    start_at: Any = first, transitions: Any = None, /, body: Any = None, **header: Any
) -> list[tuple[str, str, str]]:
    """What is wrong with a workflow, as (step, problem, fix)."""
    graph = {"start_at": start_at, "transitions": ONE_STEP if transitions is None else transitions}
    namespace = {**({} if "versions" in header else graph), **(body or {})}
    header = {"key": "orderid", **header}
    with pytest.raises(DefinitionError) as caught:
        type("Flow", (Workflow,), namespace, **header)
    found = [(problem.step, problem.problem, problem.fix) for problem in caught.value.problems]
    for where, problem, fix in found:
        assert f"\n  - {where}: {problem}. {fix}." in str(caught.value)
        assert fix[0].isupper()
    assert f"has {len(found)} definition error(s):" in str(caught.value)
    return found


CASES: dict[str, tuple[Any, Any, tuple[str, str, str]]] = {
    "a cycle": (
        first,
        {first: {"done": fork}, fork: {"left": first, "right": DONE}},
        ("first", "is on a cycle: first → fork → first", "A workflow is acyclic"),
    ),
    "a step that leads to itself": (
        first,
        {first: {"done": first}},
        ("first", "is on a cycle: first → first", "remove one"),
    ),
    "an unreachable step": (
        first,
        {**ONE_STEP, last: {"done": DONE}},
        ("last", "cannot be reached from the first step 'first'", "Route an event to it or remove it"),
    ),
    "a path that does not end in DONE": (
        first,
        {first: {"done": last}},
        ("last", "does not end in DONE: it has no transitions", "Add last: {...: DONE}"),
    ),
    "a first step without transitions": (first, {}, ("first", "does not end in DONE", "Add first")),
    "a declared event with no transition": (
        fork,
        {fork: {"left": DONE}},
        ("fork", "declares 'right' but no transition routes it", "Add 'right': ... to its transitions"),
    ),
    "a transition on an undeclared event": (
        first,
        {first: {"done": DONE, "finished": DONE}},
        ("first", "routes 'finished', which the step does not declare", "Add 'finished' to its events or remove"),
    ),
    "a timeout that never comes": (
        first,
        {first: {"done": DONE, "timeout": DONE}},
        ("first", "routes 'timeout', but it has no timeout", "Give it timeout=, add 'timeout' to its events"),
    ),
    "a fan-out whose branches never meet": (
        first,
        {first: {"done": [left, right]}, left: {"done": DONE}, right: {"done": DONE}},
        ("first", "event 'done' fans out to left, right, which never meet again before DONE", "Lead every branch"),
    ),
    "a fan-out to DONE": (
        first,
        {first: {"done": [left, DONE]}, left: {"done": DONE}},
        ("first", "event 'done' fans out to DONE", "A fan-out leads to steps only"),
    ),
    "two steps with one key": (
        first,
        {first: {"done": Named("twin")}, Named("twin"): {"done": left.named("twin")}},
        ("twin", "two steps have this key", "Give one of them another: step.named(...)"),
    ),
    "a target named twice": (
        first,
        {first: {"done": [last, last]}, last: {"done": DONE}},
        ("first", "event 'done' leads to last twice", "Name each target once"),
    ),
    "an empty fan-out": (
        first,
        {first: {"done": []}},
        ("first", "event 'done' leads nowhere", "Route it to a step, to DONE or to FAIL"),
    ),
    "an empty Choice": (
        first,
        {first: {"done": Choice(lambda _: DONE, targets=[])}},
        ("first", "event 'done' leads nowhere", "Route it to a step"),
    ),
    "a Choice without a function": (
        first,
        {first: {"done": Choice("left", targets=[DONE])}},  # type: ignore[arg-type]  # that is the mistake
        ("first", "routes to a Choice whose function cannot be called", "Give Choice a plain function of the context"),
    ),
    "a Choice without a list": (
        first,
        {first: {"done": Choice(lambda _: DONE, targets=None)}},  # type: ignore[arg-type]  # that is the mistake
        ("first", "None is not a step", "Use a function with @step"),
    ),
    "a target that is no step": (
        first,
        {first: {"done": print}},
        ("first", "<built-in function print> is not a step", "Use a function with @step, a Step class, DONE or FAIL"),
    ),
    "a fan-out in a fan-out": (
        first,
        {first: {"done": [[last]]}},
        ("first", "is not a step", "Use a function with @step"),
    ),
    "transitions of what is no step": (
        first,
        {**ONE_STEP, "last": {"done": DONE}},
        ("Flow", "'last' is not a step", "Use a function with @step"),
    ),
    "transitions of DONE": (first, {**ONE_STEP, DONE: {"done": last}}, ("DONE", "has transitions", "DONE ends a path")),
    "transitions written twice": (
        first,
        {first: {"done": Named("x")}, Named("x"): {"done": DONE}, Named("x"): {"done": DONE}},  # two objects
        ("x", "has transitions twice", "Merge them"),
    ),
    "transitions that are no mapping": (
        first,
        {first: DONE},
        ("first", "its transitions are not a mapping", "Write {event: target}"),
    ),
    "no first step": (None, None, ("Flow", "has no first step or no transitions", "Set start_at and transitions")),
    "a start at DONE": (DONE, {}, ("Flow", "starts at DONE", "Set start_at to the first step")),
    "a start that is no step": ([first, last], None, ("Flow", "is not a step", "Use a function with @step")),
    "a class that needs arguments": (
        Named,
        {Named: {"done": DONE}},
        ("Flow", "Named cannot be made without arguments", "Use an instance of it"),
    ),
    "a built-in step as a class": (
        first,
        {first: {"done": WaitForEvent}},
        ("first", "WaitForEvent cannot be made without arguments", "Use an instance of it"),
    ),
    "a class without execute": (
        Idle,
        {Idle: {"done": DONE}},
        ("idle", "has no execute", "Write execute(self, instance, config, context)"),
    ),
    "configuration that cannot be stored": (
        first,
        {first: {"done": last.configured(rate=math.nan)}, last: {"done": DONE}},
        ("first", "config.rate is nan", "Configuration holds JSON-safe values only"),
    ),
}


@pytest.mark.parametrize(("start_at", "transitions", "expected"), CASES.values(), ids=CASES)
def test_a_mistake_in_the_graph_is_reported(start_at: Any, transitions: Any, expected: tuple[str, str, str]) -> None:
    """With the step, what is wrong, and the fix."""
    found = problems(start_at, transitions)
    assert any(
        (where, said) == (expected[0], said) and expected[1] in said and expected[2] in fix
        for where, said, fix in found
    ), found


STEP_CASES: dict[str, tuple[Callable[[], Step], tuple[str, str, str]]] = {
    "a key with a space": (
        lambda: first.named("charge payment"),
        ("charge payment", "the key 'charge payment' is invalid", "Use up to 64 letters"),
    ),
    "a long key": (lambda: first.named("x" * 65), ("x" * 65, "is invalid", "Use up to 64 letters")),
    "a lambda": (
        lambda: step(lambda _: "done"),
        ("<lambda>", "the key '<lambda>' is invalid", "a letter or '_' first"),
    ),
    "a key that is no text": (lambda: first.named(5), ("5", "the key 5 is invalid", "Use up to 64")),  # type: ignore[arg-type]  # wrong on purpose
    "the key DONE": (lambda: first.named("DONE"), ("DONE", "the key 'DONE' is taken", "Give the step another key")),
    "no event": (
        lambda: step(events=(), key="x")(lambda _: "done"),
        ("x", "declares no event", "Declare at least one"),
    ),
    "an empty event": (
        lambda: step(events=("",), key="x")(lambda _: ""),
        ("x", "declares the events ''", "printable strings of 1 to 128"),
    ),
    "an event that is no text": (
        lambda: step(events=(1,), key="x")(lambda _: "1"),  # type: ignore[arg-type]  # wrong on purpose
        ("x", "declares the events 1", "printable strings of 1 to 128"),
    ),
    "a retry policy that is none": (
        lambda: step(retry=5, key="x")(lambda _: "done"),  # type: ignore[call-overload]  # wrong on purpose
        ("x", "retry is 5", "Give a Retry(...)"),
    ),
    "no time at all": (
        lambda: step(timeout=0, key="x")(lambda _: "done"),
        ("x", "timeout is 0", "Give seconds as a number, or a timedelta, more than 0"),
    ),
    **{
        f"{name} for {meant}": (
            partial(odd, name, value),
            ("x", f"sets {name}, which has no effect", f"Write {meant}, or give {name} another name"),
        )
        for name, value, meant in (
            ("time_out", 5, "timeout"),
            ("semantic", "at_most_once", "semantics"),
            ("retries", Retry(), "retry"),
            ("event", ("done",), "events"),
            ("stepkey", "x", "step_key"),
            ("compensate_retries", Retry(), "compensate_retry"),
        )
    },
    "a misspelt method": (
        lambda: type("Odd", (Named,), {"compensat": lambda *_: None})("x"),
        ("x", "sets compensat, which has no effect", "Write compensate, or give compensat another name"),
    ),
    "an attribute misspelt in a class that it is derived from": (
        lambda: type("Odd", (type("Middle", (Named,), {"timeouts": 5}),), {})("x"),
        ("x", "sets timeouts, which has no effect", "Write timeout, or give timeouts another name"),
    ),
    "a timeout that is none": (
        lambda: step(timeout="30", key="x")(lambda _: "done"),  # type: ignore[call-overload]  # wrong on purpose
        ("x", "timeout is '30'", "Give seconds as a number, or a timedelta"),
    ),
}


@pytest.mark.parametrize(("make", "expected"), STEP_CASES.values(), ids=STEP_CASES)
def test_a_mistake_in_a_step_is_reported(make: Callable[[], Step], expected: tuple[str, str, str]) -> None:
    """With its key, what is wrong, and the fix."""
    made = make()
    found = problems(made, {made: {"done": DONE}})
    assert any(
        str(where) == expected[0] and expected[1] in said and expected[2] in fix for where, said, fix in found
    ), found


def test_events_written_as_one_text_are_not_taken_letter_by_letter() -> None:
    """On a class; ``@step`` takes one event as a text."""

    class Once(Named):
        events = "done"

    once = Once("once")
    assert problems(once, {once: {"done": DONE}}) == [
        ("once", "declares the events 'done'", "Write a tuple: events=('done',)")
    ]
    assert step(events="paid")(lambda _: "paid").events == ("paid",)


TAGS_MEND = "Give a list of at most 20 printable strings of 1 to 64 characters"
RESERVED_MEND = "Keys that begin with 'hephaestus-' are the library's"
NAME_MEND = "Use up to 64 letters, digits, '_' and '-', a letter first"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"key": None}, ("has no business key", 'Define it with key="...", as in key="orderid"')),
        ({"key": "order id"}, ("the business key 'order id' is invalid", NAME_MEND)),
        ({"key": "a::b"}, ("the business key 'a::b' is invalid", NAME_MEND)),
        ({"key": "1st"}, ("the business key '1st' is invalid", NAME_MEND)),
        ({"key": "k" * 65}, (f"the business key {'k' * 65!r} is invalid", NAME_MEND)),
        ({"key": 5}, ("the business key 5 is invalid", NAME_MEND)),
        ({"key": "hephaestus-map"}, ("the business key 'hephaestus-map' is reserved", RESERVED_MEND)),
        ({"key": "hephaestus-"}, ("the business key 'hephaestus-' is reserved", RESERVED_MEND)),
        ({"name": "Order Flow"}, ("the name 'Order Flow' is invalid", NAME_MEND)),
        ({"name": 5}, ("the name 5 is invalid", NAME_MEND)),
        ({"scope": "planet"}, ("the scope 'planet' is unknown", "Use one of workflow, version, global, none")),
        ({"scope": None}, ("the scope None is unknown", "Use one of workflow, version, global, none")),
        *(
            ({"version": version}, (f"the version {version!r} is invalid", "Use a whole number of at least 1"))
            for version in (0, -1, True, 1.0, "1", None, [1])
        ),
        *(
            ({"tags": tags}, (problem, TAGS_MEND))
            for tags, problem in (
                ([""], "the tag '' is invalid"),
                (["a" * 65], f"the tag {'a' * 65!r} is invalid"),
                (["a\nb"], "the tag 'a\\nb' is invalid"),
                ([1], "the tag 1 is invalid"),
                ([["a"]], "the tag ['a'] is invalid"),
                (5, "the tags are 5, which is no list"),
                (None, "the tags are None, which is no list"),
                ("sales", "the tags are 'sales', which is no list"),
                ({"sales"}, "the tags are {'sales'}, which is no list"),
                ([str(number) for number in range(21)], "there are 21 tags"),
            )
        ),
        ({"metadata": {"a": {1, 2j}}}, (None, "Metadata holds JSON-safe values only")),
        (
            {"metadata": {"rate": math.inf}},
            ("metadata.rate is inf: JSON has no such number", "Metadata holds JSON-safe values only"),
        ),
        (
            {"metadata": {1: "a"}},
            ("metadata has the key 1: keys must be strings", "Metadata holds JSON-safe values only"),
        ),
        (
            {"body": {"example": {"amount": {1}}}},
            ("example is {'amount': {1}}", "Give a dict of JSON's own values, to be pasted"),
        ),
        ({"metadata": "sales"}, ("the metadata is not a mapping", "Give a dict of JSON-safe values")),
        ({"metadata": [("a", 1)]}, ("the metadata is not a mapping", "Give a dict of JSON-safe values")),
        *(
            (
                {"body": {name: value}},
                (
                    f"sets {name} in its body, where it has no effect",
                    f"Give it in the first line, as in class Flow(Workflow, {name}=...)",
                ),
            )
            for name, value in (
                *(("key", "id2"), ("scope", "global"), ("version", 7), ("tags", ["a"]), ("metadata", {"a": 1})),
                *(("name", "Other"), ("forks", "none"), ("versions", {}), ("current", 5)),
                ("checkpoint", "boundaries"),
            )
        ),
        *(
            (
                {"body": {name: None}},
                (f"sets {name}, which has no effect", f"Write {meant}, or give {name} another name"),
            )
            for name, meant in (
                *(
                    ("retries", "retry"),
                    ("retyr", "retry"),
                    ("transition", "transitions"),
                    ("trasitions", "transitions"),
                ),
                *(("startAt", "start_at"), ("start_a", "start_at"), ("Inputs", "Input"), ("input", "Input")),
            )
        ),
        ({"body": {"retry": 5}}, ("retry is 5", "Give a Retry(...)")),
        ({"body": {"Input": dict}}, ("Input is <class 'dict'>", "Give a class derived from pydantic.BaseModel")),
    ],
    ids=repr,
)
def test_a_mistake_in_the_header_is_reported(header: dict[str, Any], expected: tuple[str | None, str]) -> None:
    """Key, name, scope, version, tags, metadata, retry, Input: each alone, and with its fix."""
    ((where, problem, fix),) = problems(**header)
    assert where == "Flow"
    assert expected[0] in (None, problem)
    assert fix == expected[1]


def test_everything_that_is_wrong_is_reported_at_once() -> None:
    """One error with one line a problem, in the header and in the graph."""
    found = problems(
        fork,
        {fork: {"left": [left, right], "up": first}, left: {"done": DONE}, right: {"done": fork}, last: {"done": DONE}},
        key="order id",
        version=0,
        tags=["a\nb"],
        metadata={"a": object()},
        scope="planet",
    )
    assert {(where, problem.split(" ")[0]) for where, problem, _ in found} == {
        ("Flow", "the"),
        ("Flow", "metadata.a"),
        ("fork", "declares"),
        ("fork", "routes"),
        ("fork", "is"),
        ("last", "cannot"),
        ("first", "does"),
    }
    assert len([problem for where, problem, _ in found if where == "Flow"]) == 5
    assert len(found) == 10


class V1(Workflow, key="orderid", version=1):
    """The first version."""

    start_at = first
    transitions = {first: {"done": DONE}}


class V2(Workflow, key="orderid", version=2):
    """The second."""

    start_at = first
    transitions = {first: {"done": last}, last: {"done": DONE}}


class Other(Workflow, key="customerid", version=2):
    """Of another key."""

    start_at = first
    transitions = {first: {"done": DONE}}


class Scoped(Workflow, key="orderid", scope="version", version=2):
    """Of another scope."""

    start_at = first
    transitions = {first: {"done": DONE}}


class Both(Workflow, versions={1: V1, 2: V2}, current=2):
    """A sound umbrella."""


NO_VERSIONS = "Give a dict of version numbers and workflow classes, none of them an umbrella itself"


@pytest.mark.parametrize(
    ("umbrella", "expected"),
    [
        (
            {"versions": {1: V1, 2: Other}},
            [("Flow", "its versions have different business keys", "Give every version the same key and scope")],
        ),
        (
            {"versions": {1: V1, 2: Scoped}},
            [("Flow", "its versions have different business keys", "Give every version the same key and scope")],
        ),
        (
            {"versions": {1: V1}, "key": "customerid"},
            [("Flow", "its versions have different business keys", "Give every version the same key and scope")],
        ),
        ({"versions": {1: V1, 3: V2}}, [("V2", "is version 2 but stands under 3", "Define it with version=3")]),
        (
            {"versions": {1: V1, 2: V2}, "current": 3},
            [("Flow", "current is 3, which is not among the versions", "Name one of them")],
        ),
        ({"versions": {}}, [("Flow", "its versions are {}", NO_VERSIONS)]),
        ({"versions": [V1, V2]}, [("Flow", f"its versions are {shown([V1, V2])}", NO_VERSIONS)]),
        ({"versions": {1: "V1"}}, [("Flow", "its versions are {1: 'V1'}", NO_VERSIONS)]),
        ({"versions": {1: first}}, [("Flow", f"its versions are {shown({1: first})}", NO_VERSIONS)]),
        ({"versions": {1: Both}}, [("Flow", f"its versions are {shown({1: Both})}", NO_VERSIONS)]),
        ({"versions": {1: Workflow}}, [("Flow", f"its versions are {shown({1: Workflow})}", NO_VERSIONS)]),
        (
            {"versions": {2: V1}, "current": 1, "tags": [""]},
            [
                ("Flow", "the tag '' is invalid", TAGS_MEND),
                ("V1", "is version 1 but stands under 2", "Define it with version=2"),
                ("Flow", "current is 1, which is not among the versions", "Name one of them"),
            ],
        ),
    ],
    ids=lambda given: repr(given)[:60],
)
def test_a_mistake_in_an_umbrella_is_reported(umbrella: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    """Keys, scopes, numbers and the current version fit, and its versions are workflows."""
    assert problems(**{"key": None, **umbrella}) == expected


def test_what_is_right_is_not_reported() -> None:
    """Implicit events may be routed, a fan-out may meet at one of its branches, DONE may be written in two ways."""

    class Flow(Workflow, key="orderid"):
        start_at = first
        transitions = {
            first: {"done": [left, late, last], "error": right},
            late: {"done": last, "timeout": last},
            left: {"done": last},
            last: {"done": Done},
            right: {"done": DONE},
        }

    assert set(Flow.definition(1).graph.order) == {"first", "left", "late", "last", "right"}


def test_steps_that_are_alike_in_everything_are_one_step() -> None:
    """A built-in step written out twice needs no variable."""

    class Flow(Workflow, key="orderid"):
        start_at = first
        transitions = {first: {"done": Wait(5)}, Wait(5): {"done": DONE}}

    assert Flow.definition(1).graph.order == ("first", "wait")


def test_a_target_may_be_configured_by_hand() -> None:
    """``Configured`` takes a step or its class."""
    named = Named("x")

    class Flow(Workflow, key="orderid"):
        start_at = Configured(named, {"a": 1})
        retry = Retry(max_attempts=2)
        transitions = {named: {"done": DONE}}

    assert Flow.definition(1).config("x", {}) == {"a": 1}
    assert Flow.definition(1).retry.delay == timedelta(seconds=1)


def test_names_of_ones_own_are_no_mistakes() -> None:
    """In a workflow, in a step, and in a plain class beside either."""

    class Mixin:
        executed = 0
        limit = 5

        def keys(self) -> None:
            """Be a name of its own."""

    class Own(Mixin, Step):
        outputs = ("a",)
        entry = prevent = time_left = execution = None

        def execute(self, instance: Any, config: Any, context: Any) -> str:
            return "done"

    class Flow(Mixin, Workflow, key="id"):
        entry = transit = begins_at = step_1 = None
        start_at = Own
        transitions = {Own: {"done": DONE}}

    class Derived(Flow, key="other"):
        """The attributes of a workflow are no body of the one derived from it."""

    assert LocalRuntime(Flow, Derived).start(Derived, "1").status == "completed"


def test_a_header_in_a_plain_class_beside_a_workflow_is_reported() -> None:
    mixin = type("Mixin", (), {"forks": "none", "start_at": first})
    with pytest.raises(DefinitionError, match=r"sets forks in its body, .* Give it in the first line, as in"):
        type("Flow", (mixin, Workflow), {"transitions": ONE_STEP}, key="id")
    with pytest.raises(DefinitionError, match="sets start_at, but an umbrella has no graph of its own"):
        type("Flow", (mixin, Workflow), {}, versions={1: V1})


def test_done_takes_no_configuration() -> None:
    """It would be ignored, alone and among the targets of a ``Choice``."""
    for target in (DONE.configured(x=1), Choice(lambda _: DONE, [DONE.configured(x=1)])):
        ((where, problem, _),) = problems(first, {first: {"done": target}})
        assert (where, problem) == ("first", "leads to DONE with a configuration")


def test_a_step_made_by_position_of_no_function_is_reported() -> None:
    """With how it is written, where it is written."""
    for given in ("paid", ["paid"], 5):
        with pytest.raises(DefinitionError, match=r"@step is given .*Give what it takes by name, as in @step\(events="):
            step(given)  # type: ignore[call-overload]  # wrong on purpose


def test_a_configuration_can_be_given_in_parts() -> None:
    """The later part counts."""
    both = last.configured(x=1, y=1).configured(y=2, z=3)
    assert (both.step, both.config) == (last, {"x": 1, "y": 2, "z": 3})


def test_start_in_the_place_of_start_at_is_named() -> None:
    with pytest.raises(DefinitionError, match="sets start, which is what starts an instance"):

        class Flow(Workflow, key="orderid"):
            start = first  # type: ignore[assignment]  # the mistake
            transitions = {first: {"done": DONE}}


class Given(BaseModel):
    """An ``Input``."""

    name: str


class Elsewhere(BaseModel):
    """Another one."""


class Narrower(Given):
    """What is a ``Given``, too."""


def _evaluated(ctx: Any) -> str:
    """Read the start data."""
    return str(ctx.input.name)


_evaluated.__annotations__["ctx"] = StepContext[Given]  # as without `from __future__ import annotations`
evaluated = step(_evaluated)


@step
def as_text(ctx: StepContext[Given]) -> str:
    """Read the start data."""
    return ctx.input.name


class InMethods(Step):
    """Reads them in a method."""

    def execute(self, instance: Any, config: Any, context: StepContext[Given]) -> str:
        """Read the start data."""
        return context.input.name


@step
def unreadable(ctx: StepContext[Nowhere]) -> str:  # type: ignore[name-defined]  # noqa: F821 - as under TYPE_CHECKING
    """Read the start data."""
    return str(ctx.input)


def defined(body: dict[str, Any]) -> None:
    """A workflow without mistakes."""
    types.new_class("Flow", (Workflow,), {"key": "orderid"}, lambda namespace: namespace.update(body))


@pytest.mark.parametrize("one", [evaluated, as_text, InMethods])
def test_an_annotated_input_is_compared_with_the_workflow_s(one: Any) -> None:
    """With none, another, the same, and a narrower one."""
    key = InMethods().key if one is InMethods else one.key
    graph = {"start_at": one, "transitions": {one: {"done": DONE}}}
    ((where, problem, fix),) = problems(body=graph)
    assert (where, fix) == (key, "Set Input = Given in the workflow, or change the annotation")
    assert problem == "is annotated StepContext[Given], but the workflow has no Input"
    ((_, problem, _),) = problems(body={**graph, "Input": Elsewhere})
    assert problem == "is annotated StepContext[Given], but the workflow's Input is Elsewhere"
    for fits in (Given, Narrower):
        defined({**graph, "Input": fits})


def test_an_annotation_that_cannot_be_read_is_left_alone() -> None:
    defined({"start_at": unreadable, "transitions": {unreadable: {"done": DONE}}})
