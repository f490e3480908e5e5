"""A definition is a workflow or a ``DefinitionError``, whatever its author writes; what is accepted runs to an end."""

from __future__ import annotations

import functools
import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from hephaestus import DONE, Choice, Completed, DefinitionError, Done, Instance, Pending, Retry, Step, Workflow, step
from hephaestus.definition.bodies import HEADER
from hephaestus.definition.step import Configured
from hephaestus.steps import Debug, Wait, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.definition.views import InstanceView

ROUNDS: Final = 12
HUGE: Final = 10**400


class Hostile:
    """An object of which nothing can be asked."""

    def _refuse(self, *_: object) -> NoReturn:
        message = "not you"
        raise RuntimeError(message)

    __eq__ = __len__ = __iter__ = __bool__ = _refuse
    __hash__ = object.__hash__


class Unshown:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        """Raise: what else it is, only a debugger tells."""
        raise RuntimeError


class Plain(Step):
    """A sound step as a class."""

    def execute(self, instance: Instance, config: Mapping[str, Any], context: Any) -> str:
        """Go on."""
        return "done"


class Picky(Step):
    """A class whose constructor raises."""

    def __init__(self) -> None:
        message = "no"
        raise KeyError(message)


@step
def first(ctx: Any) -> str:
    """Go on."""
    return "done"


@step
def last(ctx: Any) -> str:
    """Go on."""
    return "done"


async def later(ctx: Any) -> str:
    """Go on, asynchronously."""
    return "done"


def several(ctx: Any) -> Any:
    """Yield."""
    yield "done"


def waits(ctx: Any) -> Pending:
    """Wait."""
    return Pending()


def no_arguments() -> str:
    """Take nothing."""
    return "done"


def keyword_only(ctx: Any, *, more: str) -> str:
    """Take more."""
    return more


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)
RING: dict[str, Any] = {}
RING["ring"] = RING

FUNCTIONS: list[Any] = [
    lambda _: "done",
    lambda _: {"n": 1},
    lambda _: Completed("done"),
    lambda _: last,
    lambda _: None,
    lambda *_: "done",
    lambda ctx, more: "done",
    functools.partial(keyword_only, more="done"),
    later,
    several,
    waits,
    no_arguments,
    keyword_only,
    print,
    len,
    int,
    str.upper,
    dict,
    Hostile,
]
DURATIONS: list[Any] = [
    *(0, 1, -1, 1.5, math.nan, math.inf, -math.inf, 1e300, 1e-9, HUGE, True, "30", "1h"),
    *(timedelta(0), timedelta(seconds=5), timedelta(-1), timedelta.max, timedelta.min, timedelta(days=3_660)),
]
TIMES: list[Any] = [
    datetime(2026, 1, 2, tzinfo=UTC),
    datetime(2026, 1, 2),  # noqa: DTZ001 - that is the mistake
    datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
    date(2026, 12, 1),
    "2026-12-01",
]
NAMES: list[Any] = ["a", "done", "timeout", "error", "", "a b", "x" * 65, "x" * 129, "\ud800", "a\n", "DONE", "é", b"a"]
ODD: list[Any] = [
    *(
        None,
        False,
        5,
        2.0,
        object(),
        Hostile(),
        ENDLESS,
        RING,
        {1},
        {1: 2},
        {"a": 1},
        [],
        (),
        [1],
        ["a"],
        ("a", "a"),
    ),
    *(Retry(), Retry, Step, Workflow, Plain, Picky, Plain(), first, DONE, Done, WaitForEvent, Wait(1), Debug()),
    *(OSError, (OSError,), [OSError], (1,), Choice(lambda _: last, [last]), last.configured(a=1), Configured(5, 5)),  # type: ignore[arg-type]  # wrong on purpose
    *(range(3), memoryview(b"a"), "any", "at_most_once", "global", "exponential"),
]
JUNK = st.sampled_from([*ODD, *FUNCTIONS, *DURATIONS, *TIMES, *NAMES])
NOTHING = object()


def arguments(**sound: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Each argument left out, as it should be, or wrong."""
    values = {name: st.one_of(st.just(NOTHING), *([st.just(good)] * 2), JUNK) for name, good in sound.items()}
    return st.fixed_dictionaries(values).map(
        lambda given: {name: value for name, value in given.items() if value is not NOTHING}
    )


POLICIES = arguments(
    max_attempts=2,
    backoff="linear",
    delay=1,
    max_delay=timedelta(seconds=5),
    jitter="none",
    retry_on=(OSError,),
    decide=lambda error, attempt: True,
).filter(lambda given: given.get("max_attempts") is not HUGE)  # it would be tried so often
OF_A_STEP = arguments(
    events=("done",),
    retry=Retry(max_attempts=2, delay=1),
    timeout=5,
    semantics="at_least_once",
    compensate_retry=Retry(),
    checkpoint=False,
)
WAITS = arguments(seconds=1, minutes=0, hours=0, days=0, until=TIMES[0], name="waiting")
EVENTS = st.lists(st.one_of(st.just("go"), st.just("stop"), JUNK), max_size=3)
OF_AN_EVENT = arguments(timeout=60, heartbeat=30, name="waiting")
HEADERS = arguments(
    key="id",
    scope="workflow",
    version=1,
    tags=["a"],
    metadata={"a": 1},
    name="Flow",
    forks="any",
    current=None,
    checkpoint="boundaries",
)
BODIES = arguments(start_at=first, retry=Retry(max_attempts=2, delay=0), Input=None)


def made(build: Callable[[], Any]) -> Any:
    """What ``build`` makes, or ``NOTHING`` where it says what is wrong."""
    try:
        return build()
    except DefinitionError as error:
        said(error)
        return NOTHING


def said(error: DefinitionError) -> None:
    """Every mistake has a place, what is wrong, and what to do."""
    assert error.problems
    for problem in error.problems:
        assert problem.step
        assert problem.problem
        assert problem.fix[0].isupper()
        assert len(str(problem)) < 1_000


def define(middle: Any, header: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None) -> Any:
    """A workflow with a step, or what should be one, between its first and its last."""
    try:  # a class may have made a property, or a descriptor, of its events
        events = middle.events if isinstance(middle, Step) else None
    except Exception:  # noqa: BLE001 - whatever that raises
        events = None
    names = [name for name in (events if isinstance(events, (list, tuple)) else ("done",)) if isinstance(name, str)]
    return transition({"done": middle}, {middle: dict.fromkeys(names, last)}, header, body)


def transition(
    routes: Any, more: Any = None, header: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
) -> Any:
    """A workflow whose first step has these routes."""
    graph = {"start_at": first, "transitions": {first: routes, **(more or {}), last: {"done": DONE}}}
    return made(lambda: type("Flow", (Workflow,), {**graph, **(body or {})}, **{"key": "id", **(header or {})}))


def run(flow: Any) -> None:
    """What was accepted ends, waits for an event that never comes, or fails by a step's own error."""
    if flow is NOTHING:
        event("rejected")
        return
    event("accepted")
    local = LocalRuntime(flow)
    shown = local.start(flow, "1")
    for _ in range(ROUNDS):
        if shown.closed:
            break
        local.advance(timedelta(days=400))
        shown = _answered(local, shown.id)
    assert shown.parked is None
    assert shown.closed or all(known.status in ("waiting", "completed") for known in shown.steps.values()), shown
    if shown.status == "failed":
        assert any(known.error for known in shown.steps.values()), shown


def _answered(local: LocalRuntime, instance_id: str) -> InstanceView:
    """The instance after the first event that it takes, if it takes one."""
    shown = local.runner.get(instance_id)
    for key, accepted in shown.accepts.items():
        if shown.steps[key].status == "waiting" and accepted:
            return local.resume(instance_id, accepted[0], step=key)
    return shown


def hashable(value: object) -> bool:
    """Whether it may stand in transitions at all."""
    try:
        hash(value)
    except Exception:  # noqa: BLE001 - Python's own answer to what cannot be a key
        return False
    return True


@given(JUNK | st.sampled_from(FUNCTIONS), OF_A_STEP, st.just(NOTHING) | JUNK, st.just("key") | JUNK)
def test_any_arguments_of_step(function: Any, options: dict[str, Any], compensate: Any, key: Any) -> None:
    """Its function included."""
    more = {} if compensate is NOTHING else {"compensate": compensate}
    run(define(step(key=key, **options, **more)(function)))


@given(OF_A_STEP, arguments(step_key="key", execute=Plain.execute, compensate=lambda self, *_: None, waits=False))
def test_any_attributes_of_a_step_class(options: dict[str, Any], more: dict[str, Any]) -> None:
    """Declared, or set to something that they are not."""
    kind = type("Made", (Plain,), {**options, **more})
    run(define(kind))
    run(define(kind()))


@given(WAITS)
def test_any_arguments_of_wait(options: dict[str, Any]) -> None:
    """Durations and times."""
    if (waiting := made(lambda: Wait(**options))) is not NOTHING:
        run(define(waiting))


@given(EVENTS, OF_AN_EVENT)
def test_any_arguments_of_wait_for_event(events: list[Any], options: dict[str, Any]) -> None:
    """Events, deadlines and the name."""
    if (waiting := made(lambda: WaitForEvent(*events, **options))) is not NOTHING:
        run(define(waiting))


@given(POLICIES)
def test_any_arguments_of_retry(options: dict[str, Any]) -> None:
    """A policy that is accepted works."""

    def fail(ctx: Any) -> NoReturn:
        raise OSError

    if (policy := made(lambda: Retry(**options))) is not NOTHING:
        run(define(step(retry=policy, key="key")(fail)))


@given(st.sampled_from(FUNCTIONS) | JUNK, st.lists(st.sampled_from([last, DONE, last.configured(a=1)]) | JUNK) | JUNK)
def test_any_arguments_of_choice(function: Any, targets: Any) -> None:
    """Its function, and its targets."""
    run(transition({"done": Choice(function, targets)}))


@given(st.sampled_from(FUNCTIONS) | JUNK)
def test_any_result_of_a_choice(picked: Any) -> None:
    """By the step's own failure, at the latest."""
    run(transition({"done": Choice(lambda _: picked, [last, DONE])}))


@given(JUNK, JUNK)
def test_any_configuration(target: Any, config: Any) -> None:
    """Made by hand."""
    run(transition({"done": Configured(target, config)}))
    run(transition({"done": Choice(lambda _: Configured(last, config), [last])}))


@given(st.sampled_from(HEADER))
def test_each_argument_of_a_header_alone_may_be_an_object_that_answers_nothing(name: str) -> None:
    """Of a class, and of an umbrella over a sound one."""
    run(transition({"done": last}, None, {name: Hostile()}))
    sound = type("Sound", (Workflow,), {"start_at": first, "transitions": {first: {"done": DONE}}}, key="id")
    run(made(lambda: type("Flow", (Workflow,), {}, **{"versions": {1: sound}, name: Hostile()})))


@given(HEADERS, BODIES)
def test_any_header_and_body(header: dict[str, Any], body: dict[str, Any]) -> None:
    """Of a class, and of an umbrella over a sound one."""
    run(transition({"done": last}, None, header, body))
    sound = type("Sound", (Workflow,), {"start_at": first, "transitions": {first: {"done": DONE}}}, key="id")
    run(made(lambda: type("Flow", (Workflow,), {}, **{**header, "versions": {1: sound}})))


@given(JUNK.filter(hashable), JUNK, JUNK, st.sampled_from(["version", "versions"]))
def test_any_versions(number: Any, member: Any, current: Any, how: str) -> None:
    """Numbers, members, and which is current."""
    sound = type("Sound", (Workflow,), {"start_at": first, "transitions": {first: {"done": DONE}}}, key="id")
    versions: Any = {number: sound} if how == "version" else {1: member}
    run(made(lambda: type("Flow", (Workflow,), {}, versions=versions, current=current)))
    run(made(lambda: type("Flow", (Workflow,), {}, versions=member)))


@given(JUNK.filter(hashable), JUNK.filter(hashable), JUNK, st.lists(JUNK, max_size=3))
def test_any_transitions(source: Any, name: Any, target: Any, targets: list[Any]) -> None:
    """Sources, events, targets, several targets, and what is no mapping."""
    run(transition({"done": last}, {source: {"done": last}}))
    run(transition({"done": last, name: last}))
    run(transition({"done": target}))
    run(transition({"done": targets}))
    run(transition(target))
    run(made(lambda: type("Flow", (Workflow,), {"start_at": first, "transitions": target}, key="id")))


def test_what_cannot_be_shown_is_named_by_its_type() -> None:
    """Wherever a message would repeat it."""
    odd: Any = Unshown()
    for build in (
        lambda: Wait(odd),
        lambda: Wait(name=odd),
        lambda: WaitForEvent(odd),
        lambda: Retry(delay=odd),
        lambda: transition({"done": odd}),
        lambda: transition({"done": last, odd: last}),
        lambda: transition({"done": last}, {odd: {"done": last}}),
        lambda: transition({"done": Configured(last, odd)}),
        lambda: transition({"done": Choice(odd, [odd])}),
        lambda: define(step(timeout=odd, retry=odd, semantics=odd, key=odd, compensate=odd, checkpoint=odd)(odd)),
        lambda: transition(
            {"done": last}, None, dict.fromkeys(("key", "scope", "version", "tags", "forks", "checkpoint"), odd)
        ),
        lambda: transition({"done": last}, None, {"versions": {1: odd}, "current": odd}),
    ):
        assert made(build) is NOTHING


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda one: getattr(one, "__name__", type(one).__name__))
def test_a_function_that_is_accepted_can_be_called_as_the_engine_does(function: Any) -> None:
    """A missing argument is never found out by a step's attempts."""
    flow = define(step(key="key", retry=Retry(max_attempts=1))(function))
    if flow is NOTHING:
        return
    local = LocalRuntime(flow)
    error = local.start(flow, "1").steps["key"].error
    assert error is None or "argument" not in error["message"] or function in {len, int, str.upper, dict}
