"""Whatever a caller gives as an argument of the runner's methods: it is taken and can be read, or it is rejected."""

from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Retry, StepContext, Workflow, step
from hephaestus.definition.views import to_json_object
from hephaestus.engine.fold import begin, fold
from hephaestus.errors import CallerError
from hephaestus.runtime.caller import Caller
from hephaestus.runtime.runner import Runner
from hephaestus.steps import Map, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Loud(str):  # noqa: SLOT000 - a subclass whose methods show something else
    """A text that shows another one wherever it can."""

    def __str__(self) -> str:
        return "\ud800"

    def __format__(self, _how: str) -> str:
        return "\ud800"


class Sly(int):
    """The same of numbers."""

    def __index__(self) -> int:
        return 7

    __repr__ = __str__ = lambda _self: "{"


ODD: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    1.0,
    1.5,
    float("nan"),
    10**30,
    Sly(1),
    Decimal(1),
    "",
    "no",
    "1",
    "\ud800",
    "go",
    "x" * 5_000,
    Loud("go"),
    Loud("odd::a"),
    Loud("b"),
    b"x",
    {},
    [],
    (),
    set(),
    object(),
    object,
    {"$hephaestus": ["x", "y"]},
    {"$hephaestus": ["decimal", "no"]},
    {1: {}},
    ["x", 5],
    [[]],
    ["\ud800"],
    [Loud("x")],
    datetime(2026, 1, 1, tzinfo=UTC),
    Caller("a", "api"),
    Caller(Loud("a"), "claim"),
    Caller(object()),  # type: ignore[arg-type]  # on purpose
    Caller("\ud800"),
    Caller("a", {"$hephaestus": ["x", "y"]}),  # type: ignore[arg-type]  # on purpose
    Caller("a", "nobody"),  # type: ignore[arg-type]  # on purpose
    Caller("a" * 500, "claim"),
]

gate = WaitForEvent("go", name="gate", timeout=3_600, heartbeat=600)
each = Map(WaitForEvent("one", name="item", timeout=3_600, heartbeat=900), over=lambda _: [1, 2], name="each")
later = WaitForEvent("more", name="later")
last = WaitForEvent("last", name="last")


def undo(_ctx: StepContext) -> None:
    """Nothing to undo."""


@step(compensate=undo)
def first(ctx: StepContext) -> dict[str, Any]:
    """Leave a link."""
    return {"link": ctx.callback_token("go", step=gate)}


@step
def fails(_ctx: StepContext) -> str:
    """Fail, always."""
    message = "broken"
    raise ValueError(message)


class Odd(Workflow, key="odd"):
    """A step, waits, of which one is of each of two items, and a failure."""

    retry = Retry(max_attempts=1)
    start_at = first
    transitions = {
        first: {"done": [gate, each]},
        each: {"done": last},
        gate: {"go": later, "timeout": last},
        later: {"more": fails},
        fails: {"done": last},
        last: {"last": DONE},
    }


BASE: Mapping[str, Mapping[str, Any]] = {
    "start_instance": {"workflow": "Odd", "context": {}, "id": "b", "start_id": "k"},
    "resume": {"instance_id": "odd::a", "event": "go", "event_id": "k"},
    "heartbeat": {"instance_id": "odd::a", "step_ref": "gate"},
    "schedule_resume": {"instance_id": "odd::a", "step_ref": "gate", "delay_ms": 1_000, "request_id": "k"},
    "cancel": {"instance_id": "odd::a", "request_id": "k"},
    "pause": {"instance_id": "odd::a", "request_id": "k"},
    "unpause": {"instance_id": "odd::a", "request_id": "k"},
    "redrive": {"instance_id": "odd::a", "request_id": "k"},
    "pause_workflow": {"workflow": "Odd"},
    "unpause_workflow": {"workflow": "Odd"},
    "fork": {"instance_id": "odd::a", "new_id": "b", "start_id": "k"},
    "delete": {"instance_id": "odd::a"},
    "answer": {},
    "get": {"instance_id": "odd::a"},
    "why": {"instance_id": "odd::a"},
    "history": {"instance_id": "odd::a"},
    "items": {"instance_id": "odd::a", "step": "each"},
    "list": {},
    "counts": {},
    "limits": {},
}
# Called by the engine's own functions alone, with what these have read or verified.
INTERNAL = {"wake", "timeout", "look", "do", "find", "declare_schedules", "heed_pauses"}
WITHOUT = {"schedules"}  # they take no arguments
NOT_DATA = {"dispatch", "link"}
PREPARED: Mapping[str, Callable[[LocalRuntime], object]] = {
    "unpause": lambda local: local.runner.pause("odd::a"),
    "redrive": lambda local: local.runner.cancel("odd::a"),
    "delete": lambda local: local.runner.cancel("odd::a"),
}


def arguments() -> list[tuple[str, str]]:
    """Every method that callers have, with each of its parameters."""
    methods = [name for name in dir(Runner) if not name.startswith("_") and inspect.isfunction(getattr(Runner, name))]
    assert {*methods} == {*BASE, *INTERNAL, *WITHOUT}
    return [
        (method, name)
        for method in BASE
        for name in list(inspect.signature(getattr(Runner, method)).parameters)[1:]
        if name not in NOT_DATA
    ]


def given(method: str, name: str, value: Any, local: LocalRuntime) -> dict[str, Any]:
    """The arguments of a call that works, but for the one called ``name``."""
    base = dict(BASE[method])
    if method == "answer":
        token = local.runner.get("odd::a").steps["first"].results["link"]
        base["link"] = local.runner.signer().read(token, local.clock.now())
    return {**base, name: value}


def check(local: LocalRuntime, instance_id: str) -> None:
    """An instance can be read in every way: from the snapshot, from the log, as an answer."""
    state = local.store.load(instance_id)
    assert state is not None
    found = local.store.history(instance_id, None, 0, 1_000)
    assert found is not None
    entries = found[1]
    assert fold(begin(instance_id, state.generation, entries[0], state.life), entries[1:]) == state
    for shown in (local.runner.get(instance_id), *local.runner.history(instance_id), *local.runner.list()):
        json.dumps(to_json_object(shown), ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(("method", "name"), arguments(), ids=str)
def test_an_argument_is_taken_and_can_be_read_or_is_rejected(method: str, name: str) -> None:
    """Nothing raw is raised, nothing is changed by what is rejected, and a flag is ``True`` or ``False``."""
    taken = []
    for value in ODD:
        local = LocalRuntime(Odd)
        local.start(Odd, "a", {})
        if method in PREPARED:
            PREPARED[method](local)
        before, number = local.store.load("odd::a"), len(local.runner.list())
        try:
            getattr(local.runner, method)(**given(method, name, value, local))
        except CallerError as error:
            str(error).encode()
            assert local.store.load("odd::a") == before, value
            assert len(local.runner.list()) == number, value
            continue
        except Exception as error:
            error.add_note(f"{method}({name}={value!r})")
            raise
        taken.append(value)
        local.settle()
        for view in local.runner.list():
            check(local, view.id)
    rule = RULES.get(name, object)
    assert all(isinstance(value, rule) for value in taken), taken
    assert rule is bool or rule is object or True not in [value for value in taken if isinstance(value, bool)]


RULES: Mapping[str, Any] = {
    **dict.fromkeys(("compensate", "traces"), bool),
    **dict.fromkeys(("generation", "version", "at"), int | None),
    **dict.fromkeys(("limit", "most", "delay_ms"), int),
}
