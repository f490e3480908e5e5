"""Invariant 14: whatever a step's code raises, returns or does to its process ends as that step's outcome."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import decimal
import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pydantic
import pytest

from hephaestus import DONE, Completed, Instance, Pending, Retry, Step, StepContext, Workflow, step
from hephaestus.definition.containment import ConsoleInterrupt, contain
from hephaestus.definition.step import Choice
from hephaestus.errors import EngineSignal, InvalidInput
from hephaestus.handlers.batch import wake_each
from hephaestus.handlers.http.describe import describe
from hephaestus.runtime import event_loop as loops
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.error_text import MAX_MESSAGE, failure
from hephaestus.runtime.event_loop import EventLoop, LoopEnded, Who
from hephaestus.runtime.workers import ThreadWorkers
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime
from hephaestus.triggers import On, Start

ONCE = Retry(max_attempts=1)
HANGS = 20  # seconds until a hang is taken for one; nothing here takes a tenth of it


class Ours(BaseException):
    """A library's own."""


class Lying(Exception):
    """An error whose every method is wrong."""

    @property  # type: ignore[misc]  # wrong on purpose
    def __class__(self) -> Any:
        raise Ours

    def __str__(self) -> str:
        raise SystemExit

    def __repr__(self) -> str:
        raise Ours

    def __reduce__(self) -> Any:
        raise Ours

    def __eq__(self, other: object) -> bool:
        raise Ours

    __hash__ = None  # type: ignore[assignment]  # wrong on purpose
    __traceback__ = property(lambda self: 1 / 0)
    __notes__ = 7  # type: ignore[assignment]  # wrong on purpose


class NoText(Exception):
    """One whose text is none."""

    __str__ = lambda self: 7  # type: ignore[assignment, return-value]  # noqa: E731 - wrong on purpose


class Endless(Exception):
    """One whose text never ends."""

    def __str__(self) -> str:
        return str(self)


class Nameless(type):
    """A metaclass that knows no name."""

    @property
    def __name__(cls) -> str:  # type: ignore[override]  # wrong on purpose
        raise Ours


class Unnamed(Exception, metaclass=Nameless):
    """One whose type knows no name."""


class Sly(str):
    """A text with methods of its own."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> str:
        raise Ours

    def __str__(self) -> str:
        raise Ours


class SlyText(Exception):
    """One whose text is such a text."""

    def __str__(self) -> str:
        return Sly("sly")


RAISED: list[Callable[[], BaseException]] = [
    SystemExit,
    lambda: SystemExit(0),
    lambda: SystemExit("why"),
    KeyboardInterrupt,
    GeneratorExit,
    asyncio.CancelledError,
    lambda: BaseExceptionGroup("several", [Ours(), ValueError()]),
    lambda: BaseExceptionGroup("several", [SystemExit(1), asyncio.CancelledError()]),
    lambda: StopIteration(3),
    StopAsyncIteration,
    MemoryError,
    RecursionError,
    Ours,
    lambda: Ours("\ud83d"),
    Lying,
    NoText,
    Endless,
    lambda: Unnamed("x"),
    SlyText,
    lambda: ValueError("x" * 5_000_000),
    lambda: pytest.fail.Exception("a test's own failure"),
]
NAMES = [type.__dict__["__name__"].__get__(type(make())) + f"-{number}" for number, make in enumerate(RAISED)]
raised = pytest.mark.parametrize("make", RAISED, ids=NAMES)


def alone(work: Any, **options: Any) -> type[Workflow]:
    """A workflow of a single step."""
    only = step(key="only", **options)(work)

    class Alone(Workflow, key="alone"):
        start_at = only
        transitions = {only: {"done": DONE}}

    return Alone


def run_alone(work: Any, **options: Any) -> Any:
    """The instance after its only step, whose attempts are all used."""
    flow = alone(work, **{"retry": ONCE, **options})
    local = LocalRuntime(flow)
    local.start(flow, "a")
    local.advance(timedelta(hours=1))
    return local.runner.get("alone::a")


def in_time(work: Callable[[], Any]) -> Any:
    """What ``work`` returns; a hang fails the test instead of holding up the run."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(HANGS)
    assert found, "it hangs, or raised"
    return found[0]


# --- What is raised ---


@raised
@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async"])
def test_whatever_a_step_raises_is_its_failed_attempt(make: Callable[[], BaseException], is_async: bool) -> None:
    attempts: list[int] = []

    def work(ctx: StepContext) -> str:
        attempts.append(ctx.attempt)
        raise make()

    async def work_async(ctx: StepContext) -> str:
        await asyncio.sleep(0)
        return work(ctx)

    shown = in_time(lambda: run_alone(work_async if is_async else work, retry=Retry(max_attempts=2)))
    assert shown.status == "failed"
    assert shown.steps["only"].status == "failed"
    assert shown.steps["only"].error["message"]
    assert len(shown.steps["only"].error["message"]) <= MAX_MESSAGE
    ends = type(make()) in {SystemExit, KeyboardInterrupt}
    assert attempts == ([1] if ends else [1, 2]), "an exit is not repeated; everything else is"


@raised
def test_siblings_of_a_step_that_raises_are_not_affected(make: Callable[[], BaseException]) -> None:
    """Not the one that must not run twice either: what it did counts."""
    calls: list[str] = []

    @step
    def begin(ctx: StepContext) -> str:
        return "done"

    @step(events=("done",), retry=ONCE)
    def bad(ctx: StepContext) -> str:
        raise make()

    @step(semantics="at_most_once")
    def once(ctx: StepContext) -> str:
        calls.append("once")
        return "done"

    @step
    async def beside(ctx: StepContext) -> str:
        calls.append("beside")
        return "done"

    @step
    def end(ctx: StepContext) -> str:
        return "done"

    class Fan(Workflow, key="fan"):
        start_at = begin
        transitions = {
            begin: {"done": [bad, once, beside]},
            bad: {"done": end, "error": end},
            once: {"done": end},
            beside: {"done": end},
            end: {"done": DONE},
        }

    local = LocalRuntime(Fan)
    shown = local.start(Fan, "f")
    assert shown.status == "completed"
    assert sorted(calls) == ["beside", "once"]
    assert shown.steps["bad"].event == "error"


@raised
def test_whatever_a_compensation_raises_is_its_failed_attempt(make: Callable[[], BaseException]) -> None:
    def undo(ctx: StepContext) -> None:
        raise make()

    @step(compensate=undo, compensate_retry=ONCE)
    def book(ctx: StepContext) -> str:
        return "done"

    @step(retry=ONCE)
    def fail(ctx: StepContext) -> str:
        raise ValueError

    class Trip(Workflow, key="trip"):
        start_at = book
        transitions = {book: {"done": fail}, fail: {"done": DONE}}

    shown = LocalRuntime(Trip).start(Trip, "t")
    assert (shown.status, shown.steps["book"].status) == ("failed", "compensation_failed")


@raised
@pytest.mark.parametrize("event", ["go", "timeout", "error", "done"])
def test_whatever_a_choice_raises_fails_its_step(make: Callable[[], BaseException], event: str) -> None:
    def pick(ctx: StepContext) -> Any:
        raise make()

    @step(retry=ONCE)
    def before(ctx: StepContext) -> str:
        if event == "error":
            raise ValueError
        return "done"

    @step
    def after(ctx: StepContext) -> str:
        return "done"

    wait = WaitForEvent("go", name="wait", timeout=timedelta(minutes=1))
    either = Choice(pick, [after, DONE])
    plain: Any = {"go": after, "timeout": after}

    class Picky(Workflow, key="picky"):
        start_at = before
        retry = ONCE
        transitions = {
            before: {
                "done": Choice(pick, [wait, after]) if event == "done" else wait,
                "error": either if event == "error" else after,
            },
            wait: {**plain, event: either} if event in plain else plain,
            after: {"done": DONE},
        }

    local = LocalRuntime(Picky)
    local.start(Picky, "p")
    if event == "go":
        local.resume("picky::p", "go")
    local.advance(timedelta(hours=1))
    shown = local.runner.get("picky::p")
    failed = "wait" if event in plain else "before"
    if event == "done":  # the step's own attempt, which `error` routes
        assert shown.steps["before"].event == "error"
    else:
        assert (shown.status, shown.steps[failed].status) == ("failed", "failed")


@raised
def test_a_policy_that_raises_is_left_out(make: Callable[[], BaseException]) -> None:
    attempts: list[int] = []

    def decide(error: BaseException, attempt: int) -> bool:
        raise make()

    def work(ctx: StepContext) -> str:
        attempts.append(ctx.attempt)
        raise ValueError

    assert run_alone(work, retry=Retry(max_attempts=2, decide=decide)).status == "failed"
    assert attempts == [1, 2]


@raised
def test_a_type_of_errors_whose_check_raises_is_left_out_of_a_policy(make: Callable[[], BaseException]) -> None:
    """In a step and in a compensation; the step beside it that must not run twice is not affected."""
    calls: list[str] = []

    class Asked(type):
        def __subclasscheck__(cls, kind: type) -> bool:
            raise make()

    class Transient(Exception, metaclass=Asked):
        """It knows none of its subclasses."""

    policy = Retry(max_attempts=3, delay=0, retry_on=(Transient, LookupError))

    def undo(ctx: StepContext) -> None:
        calls.append("undo")
        raise KeyError

    @step(compensate=undo, compensate_retry=policy)
    def begin(ctx: StepContext) -> str:
        return "done"

    @step(retry=policy)
    def bad(ctx: StepContext) -> str:
        calls.append("bad")
        raise KeyError if ctx.attempt == 1 else ValueError

    @step(semantics="at_most_once")
    def once(ctx: StepContext) -> str:
        calls.append("once")
        return "done"

    @step
    def end(ctx: StepContext) -> str:
        return "done"

    class Fan(Workflow, key="fan"):
        start_at = begin
        transitions = {
            begin: {"done": [bad, once]},
            bad: {"done": end},
            once: {"done": end},
            end: {"done": DONE},
        }

    shown = LocalRuntime(Fan).start(Fan, "f")
    statuses = {key: known.status for key, known in shown.steps.items()}
    assert statuses == {"begin": "compensation_failed", "bad": "failed", "once": "completed"}
    assert sorted(calls) == ["bad", "bad", "once", "undo", "undo", "undo"]


class Fickle(Step):
    """What it declares can be read while its workflow is defined, and not later."""

    defined = False

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> str:
        return "done"

    def compensate(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> None:
        """Have nothing to undo."""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("events", ("done",)),
        ("retry", Retry(max_attempts=1)),
        ("timeout", 5),
        ("semantics", "at_least_once"),
        ("compensate_retry", Retry(max_attempts=1)),
        ("waits", False),
        ("pure", False),
        ("step_key", "fickle"),
        ("key", "fickle"),
        ("compensates", True),
    ],
)
def test_what_a_step_declares_is_read_once(name: str, value: Any) -> None:
    """Once: a property that reads a setting and raises later reaches neither the step nor the one beside it."""
    reads: list[int] = []

    def read(_self: Fickle) -> Any:
        assert not Fickle.defined, "it is read after its workflow is defined"
        reads.append(1)
        return value

    fickle = type("Fickle", (Fickle,), {name: property(read)})()
    calls: list[str] = []

    @step
    def begin(ctx: StepContext) -> str:
        return "done"

    @step(semantics="at_most_once")
    def once(ctx: StepContext) -> str:
        calls.append("once")
        return "done"

    @step(retry=ONCE)
    def last(ctx: StepContext) -> str:
        raise ValueError

    class Fan(Workflow, key="fan"):
        start_at = begin
        transitions = {
            begin: {"done": [fickle, once]},
            fickle: {"done": last},
            once: {"done": last},
            last: {"done": DONE},
        }

    assert len(reads) == 1
    Fickle.defined = True
    try:
        shown = LocalRuntime(Fan).start(Fan, "f")
        describe(Fan)
    finally:
        Fickle.defined = False
    statuses = {key: known.status for key, known in shown.steps.items()}
    assert statuses == {"begin": "completed", "fickle": "compensated", "once": "completed", "last": "failed"}
    assert calls == ["once"]


def test_an_exit_says_what_to_do() -> None:
    def work(ctx: StepContext) -> str:
        sys.exit(0)

    error = run_alone(work).steps["only"].error
    assert error["type"] == "SystemExit"
    assert "step only called sys.exit(0)" in error["message"]
    assert "standalone_mode=False" in error["message"]


def test_exits_are_tried_again_where_they_are_named() -> None:
    assert Retry().again(SystemExit(), 1, 0.5) is None
    assert Retry().again(KeyboardInterrupt(), 1, 0.5) is None
    assert Retry().again(asyncio.CancelledError(), 1, 0.5) is not None
    assert Retry(retry_on=(SystemExit,)).again(SystemExit(), 1, 0.5) is not None
    assert Retry(retry_on=(Exception,)).again(asyncio.CancelledError(), 1, 0.5) is None


def test_recursion_without_end_is_the_steps_failure() -> None:
    def work(ctx: StepContext) -> str:
        return work(ctx)

    error = run_alone(work).steps["only"].error
    assert error["type"] == "RecursionError"
    assert error["message"].startswith("maximum recursion depth exceeded")


def test_the_text_of_an_error_can_be_stored_and_is_bounded() -> None:
    kind = type("Long" * 100, (Exception,), {})
    told = failure(kind("\ud83d" + "\ud83d\udc00" * 5_000))
    (told.type + told.message + told.trace).encode()
    assert (len(told.type), len(told.message)) == (200, MAX_MESSAGE)


# --- What passes: the engine's own signals, and Ctrl-C ---


def test_a_signal_of_the_engine_passes() -> None:
    def work() -> str:
        raise EngineSignal

    with pytest.raises(EngineSignal):
        contain(work, lambda error: "failed")


@pytest.fixture
def _ctrl_c_is_heard() -> Iterator[None]:
    """As in a person's terminal; a run in the background inherits that it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_is_heard")
def test_a_ctrl_c_ends_the_process_and_a_keyboard_interrupt_of_a_step_does_not() -> None:
    def pressed(ctx: StepContext) -> str:
        signal.raise_signal(signal.SIGINT)
        return "done"

    with pytest.raises(ConsoleInterrupt):
        run_alone(pressed)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert issubclass(ConsoleInterrupt, KeyboardInterrupt), "whoever handles Ctrl-C handles this one"


# --- What is done to the process ---


def test_a_forked_child_that_comes_back_is_no_second_engine() -> None:
    """Neither one that returns nor one that exits, as forked children do."""
    code = """
        import os, sys
        from hephaestus import DONE, Retry, Workflow, step
        from hephaestus.testing import LocalRuntime

        @step(retry=Retry(max_attempts=1))
        def work(ctx):
            child = os.fork()
            if child == 0:
                if ctx.initial["exits"]:
                    sys.exit(3)
                return "done"
            return {"status": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}

        class Forks(Workflow, key="forks"):
            start_at = work
            transitions = {work: {"done": DONE}}

        local = LocalRuntime(Forks)
        for exits in (True, False):
            shown = local.start(Forks, str(exits), {"exits": exits})
            print(shown.status, shown.steps["work"].results["status"], flush=True)
    """
    told = subprocess.run(  # a process of its own: what is wrong here goes on as a second run of these tests
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout.splitlines() == ["completed 70", "completed 70"], told.stderr


def test_the_recursion_limit_is_as_it_was() -> None:
    before = sys.getrecursionlimit()

    def work(ctx: StepContext) -> str:
        sys.setrecursionlimit(400)
        return "done"

    try:
        assert run_alone(work).status == "completed"
        assert sys.getrecursionlimit() == before
    finally:
        sys.setrecursionlimit(before)


def test_context_variables_are_the_steps_own() -> None:
    """Decimal's precision above all: the next step in the same thread computes as ever."""
    kept: contextvars.ContextVar[str] = contextvars.ContextVar("kept", default="")
    decimal.getcontext()  # as one that is there already
    seen: list[tuple[str, int]] = []

    def work(ctx: StepContext) -> str:
        seen.append((kept.get(), decimal.getcontext().prec))
        kept.set("changed")
        decimal.getcontext().prec = 2
        return "done"

    for _ in range(2):
        assert run_alone(work).status == "completed"
    assert seen == [("", 28)] * 2
    assert decimal.getcontext().prec == 28


def harm() -> Any:
    """Change all that the next instance in this process would notice."""
    KEPT.set("changed")
    decimal.getcontext().prec = 2
    sys.set_int_max_str_digits(640)
    sys.setrecursionlimit(sys.getrecursionlimit() - 10)
    warnings.simplefilter("error")


KEPT: contextvars.ContextVar[str] = contextvars.ContextVar("kept", default="")


class Harmful(pydantic.BaseModel):
    """Start data whose validation does harm."""

    a: int = 1

    @pydantic.field_validator("a", mode="before")
    @classmethod
    def read(cls, value: Any) -> Any:
        """Do it."""
        harm()
        return value


def harmed(*_: Any) -> Any:
    """Do harm, and end; as a decision, give up."""
    harm()
    return DONE


def fails(_: StepContext) -> str:
    """Fail."""
    raise ValueError


@step
def plain(ctx: StepContext) -> str:
    """Do nothing."""
    return "done"


failing = step(key="failing")(fails)
waiting = WaitForEvent("go", name="waiting")


def harmful(**body: Any) -> type[Workflow]:
    """A workflow that does harm outside of its steps."""
    made: type[Workflow] = type(
        "Harmful", (Workflow,), {"start_at": plain, "transitions": {plain: {"done": DONE}}, **body}, key="harmful"
    )
    return made


OUTSIDE_OF_STEPS = {
    "output": harmful(output=lambda ctx: harm()),
    "Input": harmful(Input=Harmful),
    "version_for": harmful(version_for=classmethod(lambda *_: harm() or 1)),
    "Choice behind a wait": harmful(start_at=waiting, transitions={waiting: {"go": Choice(harmed, [DONE])}}),
    "Choice of an error": harmful(
        start_at=failing,
        retry=Retry(max_attempts=1),
        transitions={failing: {"done": DONE, "error": Choice(harmed, [DONE])}},
    ),
    "decide": harmful(start_at=failing, retry=Retry(decide=lambda *_: harm()), transitions={failing: {"done": DONE}}),
    "trigger": harmful(triggers=[On.message(lambda message: harm() or Start("1"))]),
}


@pytest.mark.parametrize("place", OUTSIDE_OF_STEPS)
def test_code_outside_of_steps_changes_nothing_for_the_next_instance(place: str) -> None:
    """Wherever a user's code is called once its workflow is defined."""
    seen: Any = []

    def look() -> Any:
        return (
            KEPT.get(),
            decimal.getcontext().prec,
            sys.get_int_max_str_digits(),
            sys.getrecursionlimit(),
            [one[0] for one in warnings.filters],
        )

    class Next(Workflow, key="next"):
        start_at = looks = step(key="looks")(lambda ctx: seen.append(look()) or "done")
        transitions = {looks: {"done": DONE}}

    flow = OUTSIDE_OF_STEPS[place]
    local = LocalRuntime(flow, Next)
    before = look()
    if place == "trigger":
        local.ingest("anything")
    else:
        local.start(flow, "1", {"a": 1})
    if place == "Choice behind a wait":
        local.resume("harmful::1", "go")
    local.start(Next, "1", {})
    assert seen == [before]
    assert look() == before


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, GeneratorExit, Ours, KeyError, RuntimeError])
def test_what_a_start_calls_does_not_end_its_process(raised: type[BaseException]) -> None:
    """Neither a validator of ``Input`` nor ``version_for``."""

    class Checked(pydantic.BaseModel):
        value: int

        @pydantic.field_validator("value")
        @classmethod
        def check(cls, value: int) -> int:
            if value:
                raise raised
            return value

    class Versioned(Workflow, key="versioned"):
        Input = Checked
        start_at = first = step(key="first")(lambda ctx: "done")
        transitions = {first: {"done": DONE}}

        @classmethod
        def version_for(cls, versions: Any, opts: Any) -> int:
            if opts["context"]["value"] == 2:
                raise raised
            versions.clear()
            return 1

    local = LocalRuntime(Versioned)
    for value, what in ((1, "its Input"), (2, "its version_for")):
        with pytest.raises(InvalidInput, match=f"{what} raised {raised.__name__}"):
            local.start(Versioned, f"{value}", {"value": value})
    assert local.start(Versioned, "0", {"value": 0}).status == "completed"
    with pytest.raises(InvalidInput, match=f"its Input raised {raised.__name__}"):
        local.runner.fork("versioned::0", new_id="3", context={"value": 3})


def test_a_message_that_raises_an_exit_is_the_only_one_that_goes_back() -> None:
    """As where a workflow's module exits when it is imported."""
    woken: list[str] = []

    class Exits:
        clock = SystemClock()

        def wake(self, instance_id: str, *, budget: Any, alarms: Any) -> None:
            woken.append(instance_id)
            if instance_id == "bad::1":
                sys.exit(1)

    def record(number: int, instance_id: str) -> dict[str, Any]:
        work = {"source": "hephaestus.queue", "instance_id": instance_id}
        return {"messageId": f"m{number}", "body": json.dumps(work), "attributes": {}}

    class Context:
        aws_request_id = "r"

        def get_remaining_time_in_millis(self) -> int:
            return 60_000

    records = [record(number, name) for number, name in enumerate(["good::1", "bad::1", "good::2"])]
    answer = wake_each({"Records": records}, Context(), Exits())  # type: ignore[arg-type]  # what it needs of them
    assert woken == ["good::1", "bad::1", "good::2"]
    assert answer == {"batchItemFailures": [{"itemIdentifier": "m1"}]}


def test_a_step_runs_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(thread: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    workers = ThreadWorkers()
    monkeypatch.setattr(threading.Thread, "start", exhausted)
    outcome: Any = object()
    workers.start(lambda: outcome)
    assert workers.wait(0) == [outcome]


def test_outcomes_before_a_signal_are_not_lost() -> None:
    workers = ThreadWorkers()
    outcome: Any = object()
    workers._run(lambda: outcome)  # noqa: SLF001 - in this order

    def signals() -> Any:
        raise EngineSignal

    workers._run(signals)  # noqa: SLF001 - as above
    assert workers.wait(0) == [outcome]
    with pytest.raises(EngineSignal):
        workers.wait(0)


# --- What is returned ---


class Hostile(Mapping[str, Any]):
    """A mapping of which everything raises."""

    def __getitem__(self, key: str) -> Any:
        raise Ours

    def __iter__(self) -> Iterator[str]:
        raise SystemExit

    def __len__(self) -> int:
        raise Ours

    def __eq__(self, other: object) -> bool:
        raise Ours

    def __repr__(self) -> str:
        raise Ours

    __hash__ = None  # type: ignore[assignment]  # wrong on purpose


class Slow(timedelta):
    """A duration with methods of its own."""

    def __truediv__(self, other: Any) -> Any:
        raise Ours

    def __bool__(self) -> bool:
        raise Ours


class Later(datetime):
    """A time with methods of its own."""

    def timestamp(self) -> float:
        raise Ours


class Unreadable:
    """An object of which nothing can be read."""

    def __getattribute__(self, name: str) -> Any:
        raise Ours


RETURNED: list[Callable[[], Any]] = [
    Hostile,
    lambda: Completed("done", Hostile()),
    lambda: Completed("done", {}, Hostile()),
    lambda: Completed("done", {"x": Hostile()}),
    lambda: Completed(Hostile()),  # type: ignore[arg-type]  # wrong on purpose
    lambda: Completed("done", writes=Hostile()),  # type: ignore[arg-type]  # wrong on purpose
    lambda: Pending(timeout=Hostile()),  # type: ignore[arg-type]  # wrong on purpose
    lambda: (number for number in range(3)),
    Unreadable,
    lambda: {"x": Unreadable()},
    object,
    lambda: type,
]


@pytest.mark.parametrize("make", RETURNED)
def test_whatever_a_step_returns_is_its_outcome(make: Callable[[], Any]) -> None:
    shown = run_alone(lambda ctx: make())
    assert (shown.status, shown.steps["only"].status) == ("failed", "failed")


def test_times_with_methods_of_their_own_are_stored_as_plain_ones() -> None:
    """What the engine computes with later is no user's code."""
    until = Later(2026, 1, 1, 0, 30, tzinfo=UTC)
    for asked, minutes in ((Slow(minutes=20), 20), (until, 30)):

        @step(events=("timeout",), key="only")
        def work(ctx: StepContext, asked: Any = asked) -> Pending:
            return Pending(timeout=asked)

        class Waits(Workflow, key="alone"):
            start_at = work
            transitions = {work: {"timeout": DONE}}

        local = LocalRuntime(Waits)
        local.start(Waits, "a")
        local.advance(timedelta(minutes=minutes - 1))
        assert local.runner.get("alone::a").status == "waiting"
        local.advance(timedelta(minutes=1))
        assert local.runner.get("alone::a").status == "completed"


# --- The event loop that async steps share ---


def exits() -> None:
    sys.exit(0)


async def exits_soon() -> None:
    await asyncio.sleep(0)
    sys.exit(0)


async def in_a_task() -> None:
    await asyncio.create_task(exits_soon())


async def left_behind() -> None:
    left = asyncio.create_task(exits_soon())
    await asyncio.sleep(0.01)
    left.cancel()


async def in_gather() -> None:
    await asyncio.gather(exits_soon(), asyncio.sleep(0.001), return_exceptions=True)


async def in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(exits_soon())
        group.create_task(asyncio.sleep(1))


async def in_a_thread() -> None:
    await asyncio.to_thread(exits)


async def in_a_callback() -> None:
    asyncio.get_running_loop().call_soon(exits)
    await asyncio.sleep(0.01)


async def in_a_late_callback() -> None:
    asyncio.get_running_loop().call_later(0.001, exits)
    await asyncio.sleep(0.02)


async def in_a_finaliser() -> None:
    async def numbers() -> Any:
        try:
            yield 1
        finally:
            exits()

    async for _ in numbers():
        break
    await asyncio.sleep(0.01)


async def in_the_exception_handler() -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: exits())
    loop.call_soon(lambda: 1 / 0)
    await asyncio.sleep(0.01)
    loop.set_exception_handler(None)


async def stops() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.01)


async def closes() -> None:
    asyncio.get_running_loop().close()


async def shuts_down_the_executor() -> None:
    await asyncio.get_running_loop().shutdown_default_executor()


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def cancels_everything() -> None:
    for task in asyncio.all_tasks():
        task.cancel()
    await asyncio.sleep(0)


async def leaves_tasks_behind() -> None:
    asyncio.create_task(asyncio.sleep(3600))  # noqa: RUF006 - left behind on purpose


async def interrupts() -> None:
    raise KeyboardInterrupt


async def just_exits() -> None:
    exits()


async def runs_no_loop() -> None:
    """It says that no loop runs in the loop's thread, as code does that nests loops."""
    asyncio._set_running_loop(None)  # noqa: SLF001 - that is the harm


async def runs_no_loop_in_a_callback() -> None:
    """The same outside of the step's own coroutine."""
    asyncio.get_running_loop().call_soon(asyncio._set_running_loop, None)  # noqa: SLF001 - as above
    await asyncio.sleep(0.01)


HARM: list[Callable[[], Awaitable[None]]] = [
    runs_no_loop,
    runs_no_loop_in_a_callback,
    just_exits,
    interrupts,
    in_a_task,
    left_behind,
    in_gather,
    in_a_group,
    in_a_thread,
    in_a_callback,
    in_a_late_callback,
    in_a_finaliser,
    in_the_exception_handler,
    stops,
    closes,
    shuts_down_the_executor,
    cancels_itself,
    cancels_everything,
    leaves_tasks_behind,
]


@pytest.fixture
def own_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A loop for this test alone."""
    monkeypatch.setattr(loops, "_current", None)
    yield
    if loops._current is not None:  # noqa: SLF001 - see above
        loops._current.retire()  # noqa: SLF001 - see above


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("own_loop")
@pytest.mark.parametrize("harm", HARM, ids=lambda harm: harm.__name__)
def test_what_an_async_step_does_to_its_loop_is_its_own_outcome(
    harm: Callable[[], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    """Without a timeout, too; the async step beside it, and those after it, run as ever."""
    caplog.set_level(logging.CRITICAL, "asyncio")  # what asyncio says of tasks whose exit nobody awaited
    began = threading.Event()

    @step
    def begin(ctx: StepContext) -> str:
        return "done"

    @step(retry=ONCE, key="bad", events=("done",))
    async def bad(ctx: StepContext) -> str:
        await asyncio.to_thread(began.wait)
        await harm()
        return "done"

    @step(retry=Retry(max_attempts=2), key="beside")
    async def beside(ctx: StepContext) -> str:
        began.set()
        await asyncio.sleep(0.03)
        return "done"

    @step
    async def after(ctx: StepContext) -> dict[str, int]:
        return {"length": await asyncio.to_thread(len, "text")}

    class Loops(Workflow, key="loops"):
        start_at = begin
        transitions = {
            begin: {"done": [bad, beside]},
            bad: {"done": after, "error": after},
            beside: {"done": after},
            after: {"done": DONE},
        }

    def run() -> Any:
        local = LocalRuntime(Loops)
        local.start(Loops, "l")
        local.advance(timedelta(minutes=5))
        return local.runner.get("loops::l")

    shown = in_time(run)
    assert shown.status == "completed"
    assert shown.steps["after"].results == {"length": 4}
    assert shown.steps["beside"].attempt == 1


@pytest.mark.usefixtures("own_loop")
def test_the_loop_is_one_as_long_as_it_is_sound() -> None:
    """So that a step's client may be kept; after an exit in a task, too."""
    seen: list[asyncio.AbstractEventLoop] = []

    async def work(ctx: StepContext) -> str:
        seen.append(asyncio.get_running_loop())
        if len(seen) == 2:
            await in_a_task()
        return "done"

    assert [run_alone(work).status for _ in range(3)] == ["completed", "failed", "completed"]
    assert len(set(map(id, seen))) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_attempts_fail_with_the_loop_that_is_closed_under_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed by a thread, in the instant in which it was stopped; what comes next has another loop."""
    loop = EventLoop()
    monkeypatch.setattr(loops, "_current", loop)
    monkeypatch.setattr(loop, "_went_on", lambda what: loop.loop.close())

    async def stopped() -> None:
        asyncio.get_running_loop().stop()
        await asyncio.get_running_loop().create_future()

    async def ends() -> str:
        return "done"

    def run() -> BaseException | None:
        try:
            loops.run(stopped(), Who("only"))
        except LoopEnded as error:
            return error
        return None

    assert "step only: the event loop ended under it" in str(in_time(run))
    assert in_time(lambda: loops.run(ends(), Who("next"))) == "done"
    assert loops.event_loop() is not loop
    loops.event_loop().retire()


@pytest.mark.usefixtures("own_loop")
def test_awaitables_that_are_no_coroutines_are_awaited() -> None:
    class Later:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return {"later": True}

    assert run_alone(lambda ctx: Later()).steps["only"].results == {"later": True}


def test_a_generator_is_no_result_and_the_message_says_so() -> None:
    def work(ctx: StepContext) -> Any:
        yield "done"

    async def work_async(ctx: StepContext) -> Any:
        yield "done"

    for function in (work, work_async):
        assert "yield" in run_alone(lambda ctx, made=function: made(ctx)).steps["only"].error["message"]


class Ticking:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_step_that_blocks_the_loop_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Ticking()
    loop = EventLoop(clock)

    async def blocks() -> str:
        clock.now += 0.9  # below the limit
        await asyncio.sleep(0)
        clock.now += 1.5
        await asyncio.sleep(0)
        return "done"

    assert loop.run(blocks(), Who("slow_step", "order::1")).result() == "done"
    loop.retire()
    [record] = [record for record in caplog.records if record.name == "hephaestus.event_loop"]
    assert record.levelno == logging.WARNING
    assert "the async step slow_step has blocked the event loop for 1.5 s" in record.getMessage()
    assert "asyncio.to_thread" in record.getMessage()
    assert (vars(record)["instance_id"], vars(record)["step"]) == ("order::1", "slow_step")


@pytest.mark.parametrize("way", ["task", "callback"])
def test_a_task_that_blocks_the_loop_is_reported_with_the_steps_that_run(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once: as in ``gather``, where the step's own coroutine only waits."""
    clock = Ticking()
    loop = EventLoop(clock, blocked_s=0.02)

    def blocks() -> None:
        clock.now += 3

    async def blocks_in_a_task() -> None:
        blocks()

    async def work() -> str:
        if way == "task":
            await asyncio.gather(blocks_in_a_task(), asyncio.sleep(0))
        else:
            asyncio.get_running_loop().call_soon(blocks)
        while not caplog.records:  # noqa: ASYNC110 - a log record is no event
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        return "done"

    assert in_time(lambda: loop.run(work(), Who("fetch", "order::1")).result()) == "done"
    loop.retire()
    [record] = [record for record in caplog.records if record.name == "hephaestus.event_loop"]
    assert "a task or callback of the async step fetch has blocked the event loop for" in record.getMessage()
    assert vars(record)["instance_id"] == "order::1"


def test_a_task_that_blocks_for_ever_holds_up_no_later_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, release, blocked = Ticking(), threading.Event(), threading.Event()
    monkeypatch.setattr(loops, "_current", EventLoop(clock, blocked_s=0.01, patience_s=5))

    async def blocks() -> None:
        blocked.set()
        release.wait()

    async def gathers() -> None:
        await asyncio.gather(blocks())

    async def ends() -> str:
        return "done"

    threading.Thread(target=lambda: loops.run(gathers(), Who("stuck")), daemon=True).start()
    blocked.wait()
    clock.now += 6
    assert in_time(lambda: loops.run(ends(), Who("next"))) == "done"
    release.set()
    loops.event_loop().retire()


def test_a_step_that_blocks_for_ever_is_named_and_the_next_one_gets_another_loop(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has had its timeout; those behind it do not wait for what never comes."""
    clock, release, blocked = Ticking(), threading.Event(), threading.Event()
    monkeypatch.setattr(loops, "_current", EventLoop(clock, blocked_s=0.01, patience_s=5))

    async def blocks() -> None:
        blocked.set()
        release.wait()

    async def ends() -> str:
        return "done"

    stuck = threading.Thread(target=lambda: loops.run(blocks(), Who("stuck", "order::1", timeout_s=3)), daemon=True)
    stuck.start()
    blocked.wait()
    first = loops.event_loop()
    clock.now += 2
    assert loops.event_loop() is first, "its time is not up"
    clock.now += 2
    assert in_time(lambda: loops.run(ends(), Who("next"))) == "done"
    assert loops.event_loop() is not first
    release.set()
    stuck.join(HANGS)
    assert not stuck.is_alive(), "what the old loop had comes to its end"
    assert "the async step stuck has blocked the event loop" in caplog.text
    loops.event_loop().retire()


def test_an_attempt_that_the_stuck_loop_has_not_begun_is_begun_on_another(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, release, blocked = Ticking(), threading.Event(), threading.Event()
    monkeypatch.setattr(loops, "_current", EventLoop(clock, blocked_s=0.01, patience_s=5))

    async def blocks() -> None:
        blocked.set()
        release.wait()

    async def ends() -> str:
        return "done"

    threading.Thread(target=lambda: loops.run(blocks(), Who("stuck")), daemon=True).start()
    blocked.wait()
    found: list[str] = []
    waiting = threading.Thread(target=lambda: found.append(loops.run(ends(), Who("next"))), daemon=True)
    waiting.start()
    clock.now += 6
    waiting.join(HANGS)
    assert found == ["done"]
    release.set()
    loops.event_loop().retire()


def test_a_child_of_a_fork_gets_a_loop_of_its_own() -> None:
    """As in a process pool; the thread of its parent's loop is not there."""
    asyncio_step = "import asyncio; from hephaestus.runtime import event_loop as loops\n"
    code = asyncio_step + textwrap.dedent("""
        import os
        async def ends(): return 3
        assert loops.run(ends(), loops.Who("s")) == 3
        child = os.fork()
        if child == 0:
            os._exit(loops.run(ends(), loops.Who("s")))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """)
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout == "3\n", told.stderr


def too_few_digits() -> None:
    """As for a parser of untrusted numbers."""
    sys.set_int_max_str_digits(640)


def no_digits() -> None:
    """Without any limit, which is nobody else's wish."""
    sys.set_int_max_str_digits(0)


def low_recursion() -> None:
    """Far below what the engine needs."""
    sys.setrecursionlimit(400)


def high_recursion() -> None:
    """Beyond the thread's stack."""
    sys.setrecursionlimit(10**6)


def small_stack() -> None:
    """For the threads that are started from now on."""
    threading.stack_size(32768)


def warnings_as_errors() -> None:
    """Those of the AWS library included."""
    warnings.simplefilter("error")


def no_filters() -> None:
    """What no loop can go over."""
    warnings.filters = None  # type: ignore[assignment]  # wrong on purpose


def deleted_filters() -> None:
    """Not even that."""
    del warnings.filters


def strange_filters() -> None:
    """Among them some that raise when they are looked at."""
    warnings.filters[:] = [None, (), ("error",), 5, (Unequal(), None, Warning, None, 0)]  # type: ignore[index]  # wrong on purpose


class Unequal:
    """What can be compared with nothing."""

    def __eq__(self, other: object) -> bool:
        raise Ours

    __hash__ = None  # type: ignore[assignment]  # wrong on purpose


def settings() -> tuple[Any, ...]:
    """What the engine depends on."""
    stack = threading.stack_size()
    threading.stack_size(stack)
    errors = [one for one in warnings.filters if one[0] == "error"]
    return sys.getrecursionlimit(), sys.get_int_max_str_digits(), stack, errors


SETTERS = [
    too_few_digits,
    no_digits,
    low_recursion,
    high_recursion,
    small_stack,
    warnings_as_errors,
    no_filters,
    deleted_filters,
    strange_filters,
]


@pytest.fixture
def as_before() -> Iterator[None]:
    """Have the process as it was, also where a test fails."""
    depth, digits, stack, _ = settings()
    with warnings.catch_warnings():
        warnings.resetwarnings()  # pytest's make errors of all
        yield
    sys.setrecursionlimit(depth)
    sys.set_int_max_str_digits(digits)
    threading.stack_size(stack)


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("change", SETTERS)
@pytest.mark.parametrize("raises", [False, True])
def test_the_settings_that_the_engine_depends_on_are_as_they_were(change: Callable[[], None], raises: bool) -> None:
    before = settings()

    def work(ctx: StepContext) -> str:
        change()
        if raises:
            raise ValueError
        return "done"

    assert run_alone(work).status == ("failed" if raises else "completed")
    assert settings() == before


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("change", SETTERS)
@pytest.mark.parametrize("order", ["first", "last"])
def test_settings_are_as_they_were_after_steps_side_by_side(change: Callable[[], None], order: str) -> None:
    """The one that changed them may end first or last; the other began before it or after."""
    before = settings()
    changed, ended = threading.Event(), threading.Event()

    def changes() -> None:
        change()
        changed.set()
        if order == "last":
            assert ended.wait(HANGS)

    def other() -> None:
        assert changed.wait(HANGS)
        if order == "last":
            ended.set()

    def late() -> None:
        """It begins when they are changed already."""

    def contained(work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=contain, args=(work, lambda _error: None))
        thread.start()
        return thread

    threads = [contained(other), contained(changes)]
    assert changed.wait(HANGS)
    contain(late, lambda _error: None)
    for thread in threads:
        thread.join(HANGS)
    assert settings() == before


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize(
    "change", [too_few_digits, low_recursion, warnings_as_errors, no_filters, deleted_filters, strange_filters]
)
def test_what_a_running_step_took_away_is_back_when_its_sibling_ends(change: Callable[[], None]) -> None:
    """The engine goes on with the sibling's result while the step still runs."""
    before = settings()
    changed, ended = threading.Event(), threading.Event()

    def changes() -> None:
        change()
        changed.set()
        assert ended.wait(HANGS)

    thread = threading.Thread(target=contain, args=(changes, lambda _error: None))
    thread.start()
    assert changed.wait(HANGS)
    contain(lambda: None, lambda _error: None)
    assert settings() == before
    ended.set()
    thread.join(HANGS)


def test_a_large_number_can_be_read_after_a_step_that_limits_digits() -> None:
    number = 10**1000

    @step
    def keep(_ctx: StepContext) -> dict[str, Any]:
        return {"number": number}

    @step
    def limits(_ctx: StepContext) -> str:
        too_few_digits()
        return "done"

    class Flow(Workflow, key="digits"):
        start_at = keep
        transitions = {keep: {"done": limits}, limits: {"done": DONE}}

    done = LocalRuntime(Flow).start(Flow, "1")
    assert (done.status, done.steps["keep"].results) == ("completed", {"number": number})


async def own_executor() -> None:
    """As a step does that wants few threads."""
    with ThreadPoolExecutor(2, thread_name_prefix="own") as pool:
        asyncio.get_running_loop().set_default_executor(pool)
        assert (await asyncio.to_thread(lambda: threading.current_thread().name)).startswith("own")


async def own_task_factory() -> None:
    """One that makes no task."""

    def factory(*_args: Any, **_how: Any) -> Any:
        raise ValueError

    asyncio.get_running_loop().set_task_factory(factory)
    assert asyncio.get_running_loop().get_task_factory() is factory
    left = asyncio.sleep(0)
    with pytest.raises(ValueError):  # noqa: PT011 - its own
        asyncio.get_running_loop().create_task(left)
    left.close()


async def own_exception_handler() -> None:
    """One that ends the loop."""
    asyncio.get_running_loop().set_exception_handler(lambda *_told: sys.exit())


async def own_debug() -> None:
    """And what goes with it."""
    loop = asyncio.get_running_loop()
    loop.set_debug(not loop.get_debug())
    loop.slow_callback_duration = 0.0


async def own_policy() -> None:
    """One that makes no loop."""

    class Policy(asyncio.DefaultEventLoopPolicy):
        def new_event_loop(self) -> Any:
            raise ValueError

    asyncio.set_event_loop_policy(Policy())


@pytest.mark.parametrize("change", [own_executor, own_task_factory, own_exception_handler, own_debug, own_policy])
def test_what_an_async_step_sets_of_the_loop_is_its_own(change: Callable[[], Awaitable[None]]) -> None:
    """Beside it and after it, another step works as ever; so does the loop that replaces this one."""
    seen: list[Any] = []

    async def sets() -> None:
        await change()

    async def works() -> int:
        loop = asyncio.get_running_loop()
        seen.append((loop.get_task_factory(), loop.get_exception_handler(), loop.get_debug()))
        tasks = [asyncio.create_task(asyncio.sleep(0, number)) for number in range(3)]
        return sum(await asyncio.gather(*tasks)) + await asyncio.to_thread(lambda: 5)

    policy = asyncio.get_event_loop_policy()
    try:
        loop = EventLoop()
        loop.run(works(), Who("works")).result()
        loop.run(sets(), Who("sets")).result()
        assert loop.run(works(), Who("works")).result() == 8
        loop.retire()
        again = EventLoop()
        assert again.run(works(), Who("works")).result() == 8
        again.retire()
    finally:
        asyncio.set_event_loop_policy(policy)
    assert seen == [seen[0]] * 3


def test_an_async_step_that_suppresses_its_cancellation_times_out_in_a_local_runtime() -> None:
    """Time is virtual there; it passes while a step is waited for."""
    released = threading.Event()

    @step(timeout=0.2, retry=ONCE)
    async def stubborn(_ctx: StepContext) -> str:
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
        return "done"

    class Stubborn(Workflow, key="stubborn"):
        start_at = stubborn
        transitions = {stubborn: {"done": DONE}}

    try:
        failed = LocalRuntime(Stubborn).start(Stubborn, "1")
    finally:
        released.set()
    assert failed.error
    assert failed.error["type"] == "StepTimedOut"
