"""What a ``Choice`` may return, and what becomes of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Choice, Done, Instance, Retry, Step, Workflow, step
from hephaestus.definition.step import Configured
from hephaestus.errors import DefinitionError, NonRetryable
from hephaestus.runtime.attempt import StepTimedOut
from hephaestus.runtime.error_text import MAX_MESSAGE
from hephaestus.runtime.routing import MAX_CONFIG_BYTES
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.definition.views import InstanceView


@step
def look(ctx: Any) -> dict[str, Any]:
    """Say what is to be picked."""
    return {"seen": True}


@step
def ship(ctx: Any) -> dict[str, Any]:
    """Keep its configuration, as something to compare."""
    return {"config": dict(ctx.config)}


class Pack(Step):
    """A class that needs an argument, so that it cannot be made to compare it."""

    def __init__(self, box: str) -> None:
        self.box = box

    def execute(self, instance: Instance, config: Mapping[str, Any], context: Any) -> dict[str, Any]:
        """Keep its configuration."""
        return {"config": dict(config)}


@step
def join(ctx: Any) -> dict[str, Any]:
    """Where all ways meet."""
    return {"config": dict(ctx.config), "after": sorted(ctx.steps)}


pack = Pack("small")
TARGETS = [ship.configured(level=1), pack, join, DONE]


def flow(function: Callable[[Any], Any], targets: Any = TARGETS, **more: Any) -> type[Workflow]:
    """A workflow that routes by ``function``."""

    class Routed(Workflow, key="id"):
        start_at = look
        retry = Retry(max_attempts=3, delay=0)
        transitions = {
            look: {"done": Choice(function, targets=targets), **more},
            ship: {"done": join},
            pack: {"done": join},
            join: {"done": DONE},
        }

    return Routed


def run(function: Callable[[Any], Any]) -> InstanceView:
    """An instance of it, at its end."""
    return LocalRuntime(flow(function)).start("Routed", "1")


def ran(shown: InstanceView) -> list[str]:
    """The steps behind the choice that ran."""
    return [key for key, known in shown.steps.items() if known.status == "completed" and key != "look"]


@pytest.mark.parametrize(
    ("picked", "steps"),
    [
        (lambda _: ship, ["ship", "join"]),
        (lambda _: "ship", ["ship", "join"]),
        (lambda _: [ship], ["ship", "join"]),
        (lambda _: (ship, pack), ["ship", "pack", "join"]),
        (lambda _: [ship, ship, "ship", ship.configured(level=1).step], ["ship", "join"]),
        (lambda _: pack, ["pack", "join"]),
        (lambda _: Pack, ["pack", "join"]),
        (lambda _: Pack("another").named("pack"), ["pack", "join"]),
        (lambda _: join, ["join"]),
        (lambda _: [ship, DONE], ["ship", "join"]),
        (lambda _: DONE, []),
        (lambda _: Done, []),
        (lambda _: [DONE], []),
        (lambda _: "DONE", []),
        (lambda _: None, []),
        (lambda _: [], []),
        (lambda _: (), []),
    ],
)
def test_a_choice_returns_a_target_several_or_none(picked: Callable[[Any], Any], steps: list[str]) -> None:
    """As the step, its class, its key or a twin of it; once or more; ``DONE`` and nothing end the path."""
    shown = run(picked)
    assert shown.status == "completed", shown.error
    assert ran(shown) == steps


@pytest.mark.parametrize("nothing", [None, [], (), DONE, [DONE]], ids=repr)
def test_what_chooses_nothing_is_seen_in_history_and_skips_what_lies_behind(nothing: Any) -> None:
    """The event's ``taken`` is there, and empty; the join is skipped, and the log says so."""
    local = LocalRuntime(flow(lambda _: nothing))
    shown = local.start("Routed", "1")
    events = [event for entry in local.runner.history(shown.id) for event in entry.events]
    [chosen] = [event for event in events if event["type"] == "StepCompleted"]
    assert chosen["taken"] in ((), [])
    [skipped] = [event for event in events if event["type"] == "StepsSkipped"]
    assert set(skipped["steps"]) == {"ship", "pack", "join"}
    assert {key: known.status for key, known in shown.steps.items()} == {
        "look": "completed",
        "ship": "skipped",
        "pack": "skipped",
        "join": "skipped",
    }


@pytest.mark.parametrize(
    ("picked", "message"),
    [
        (lambda _: look, "picked <step look>, which is not among its targets (ship, pack, join, DONE)"),
        (lambda _: "shop", "picked 'shop', which is not among its targets"),
        (lambda _: 5, "picked 5, which is not among"),
        (lambda _: True, "picked True, which is not among"),
        (lambda _: ship.named("other"), "picked <step other>, which is not among"),
        (lambda _: WaitForEvent, "WaitForEvent'>, which is not among"),
        (lambda _: [ship, None], "picked None, which is not among"),
        (lambda _: {ship: 1}, "which is not among"),
        (lambda _: (one for one in [ship]), "which is not among"),
        (lambda _: [[ship]], "which is not among"),
        (lambda _: coroutine(), "returned a coroutine: its function must be a plain one, not async"),
        (lambda _: [ship.configured(a=1), ship.configured(a=2)], "picked ship twice with different configurations"),
        (lambda _: [ship, ship.configured(a=2)], "picked ship twice with different configurations"),
        (lambda _: ship.configured(rate=math.nan), "a configuration that cannot be stored: config.ship.rate is nan"),
        (lambda _: ship.configured(deep=nested(62)), None),
        (lambda _: ship.configured(deep=nested(63)), "nested more than 64 deep"),
        (lambda _: Configured(ship, 5), "picked the configuration 5: give a mapping"),  # type: ignore[arg-type]  # wrong on purpose
        (lambda _: ship.configured(text="x" * MAX_CONFIG_BYTES), f"at most {MAX_CONFIG_BYTES} are stored"),
    ],
)
def test_what_is_no_target_fails_the_step_at_once_and_says_what_would_do(
    picked: Callable[[Any], Any], message: str | None
) -> None:
    """Asking again would not help, so it is not tried again; what is at its bound is taken."""
    shown = run(picked)
    if message is None:
        assert shown.status == "completed"
        return
    assert shown.status == "failed"
    assert shown.error is not None
    assert "step look: the Choice of 'done'" in shown.error["message"]
    assert message in shown.error["message"]
    assert shown.steps["look"].attempt == 1


async def coroutine() -> Step:
    """What an async function returns when it is called."""
    return ship


def nested(levels: int) -> Any:
    """A list in a list, so many levels deep."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("picked", "config"),
    [
        (lambda _: ship, {"level": 1}),
        (lambda _: TARGETS[0], {"level": 1}),
        (lambda _: ship.configured(level=7), {"level": 7}),
        (lambda _: ship.configured(speed=2), {"speed": 2}),
        (lambda _: ship.configured(), {}),
        (lambda _: [ship.configured(level=7), pack.configured(level=8)], {"level": 7}),
        (lambda ctx: ship.configured(seen=ctx.steps["look"]["seen"]), {"seen": True}),
    ],
)
def test_a_configuration_that_a_choice_returns_is_the_one_that_counts(
    picked: Callable[[Any], Any], config: dict[str, Any]
) -> None:
    """In the place of the one in ``targets``; a target returned without one keeps that."""
    assert run(picked).steps["ship"].results["config"] == config


@pytest.mark.parametrize("target", [DONE, Done])
def test_the_end_of_a_path_takes_no_configuration(target: Any) -> None:
    """Where it is defined with one, that is a definition error; one that is chosen fails the step at once."""
    shown = run(lambda _ctx: target.configured(level=7))
    assert shown.status == "failed"
    assert (shown.steps["look"].error or {})["message"] == (
        "step look: the Choice of 'done' picked DONE with a configuration: return DONE alone, it never runs"
    )
    assert run(lambda _ctx: target.configured()).status == "completed"


def test_configurations_of_several_choices_meet_in_a_join_as_those_of_transitions_do() -> None:
    """Later steps' values win, value by value."""

    @step
    def other(ctx: Any) -> str:
        return "done"

    class Meeting(Workflow, key="id"):
        start_at = look
        transitions = {
            look: {"done": Choice(lambda _: [other, join.configured(a=1, b=1)], targets=[other, join])},
            other: {"done": Choice(lambda _: join.configured(b=2), targets=[join.configured(c=3)])},
            join: {"done": DONE},
        }

    assert LocalRuntime(Meeting).start(Meeting, "1").steps["join"].results["config"] == {"a": 1, "b": 2}


def test_a_chosen_configuration_is_kept_through_waits_retries_redrives_and_forks() -> None:
    """It is stored with the step that chose it; the function is not called again for it."""
    calls: list[int] = []
    broken = [True]
    gate = WaitForEvent("go", name="gate")

    def choose(ctx: Any) -> Any:
        calls.append(1)
        return [gate.configured(n=len(calls)), last.configured(n=len(calls))]

    @step(retry=Retry(max_attempts=2, delay=0))
    def last(ctx: Any) -> dict[str, Any]:
        if broken[0]:
            raise OSError
        return {"n": ctx.config["n"]}

    class Kept(Workflow, key="id"):
        start_at = look
        transitions = {
            look: {"done": Choice(choose, targets=[gate, last])},
            gate: {"go": last},
            last: {"done": DONE},
        }

    local = LocalRuntime(Kept)
    shown = local.start(Kept, "1")
    shown = local.resume(shown.id, "go", step=gate)
    assert shown.status == "failed"
    broken[0] = False
    local.runner.redrive(shown.id)
    local.settle()
    assert local.runner.get(shown.id).steps["last"].results == {"n": 1}
    fork = local.runner.fork(shown.id, new_id="2", results={look: {"seen": False}})
    local.settle()
    assert local.runner.get(fork).status == "completed"
    assert local.runner.get(fork).steps["last"].results == {"n": 1}
    assert len(calls) == 1


def test_history_shows_the_configuration_that_was_chosen() -> None:
    """With the step that chose it."""
    local = LocalRuntime(flow(lambda _: ship.configured(level=7)))
    shown = local.start("Routed", "1")
    events = [event for entry in local.runner.history(shown.id) for event in entry.events]
    [chosen] = [event for event in events if event.get("step") == "look" and event["type"] == "StepCompleted"]
    assert chosen["configs"] == {"ship": {"level": 7}}


def test_a_routed_error_and_an_event_choose_alike() -> None:
    """The function of ``error``, of a wait and of a step's own event give configurations alike."""
    gate = WaitForEvent("go", name="gate")

    @step(retry=Retry(max_attempts=1))
    def fail(ctx: Any) -> str:
        raise OSError

    def choose(ctx: Any) -> Any:
        return ship.configured(after=sorted(ctx.events))

    class Both(Workflow, key="id"):
        start_at = gate
        transitions = {
            gate: {"go": Choice(lambda _: fail.configured(x=1), targets=[fail])},
            fail: {"done": DONE, "error": Choice(choose, targets=[ship])},
            ship: {"done": DONE},
        }

    local = LocalRuntime(Both)
    shown = local.resume(local.start(Both, "1").id, "go")
    assert shown.steps["ship"].results == {"config": {"after": ["fail", "gate"]}}


@pytest.mark.parametrize("function", ["async", "generator", "none", "two", "no function"])
def test_a_function_that_cannot_choose_is_a_definition_error(function: str) -> None:
    """Async and generator functions, and those that do not take the context alone."""

    async def later(ctx: Any) -> Step:
        return ship

    def some(ctx: Any) -> Any:
        yield ship

    functions: dict[str, Any] = {
        "async": later,
        "generator": some,
        "none": lambda: ship,
        "two": lambda ctx, more: ship,
        "no function": 5,
    }
    with pytest.raises(DefinitionError, match="look: event 'done' routes to a Choice whose function"):
        flow(functions[function])


def test_a_target_named_twice_with_two_configurations_is_a_definition_error_with_the_way_to_do_it() -> None:
    """The function returns the target with the configuration that it wants."""
    with pytest.raises(DefinitionError, match="Name each target once; the function may return it with any configur"):
        flow(lambda _: ship, targets=[ship.configured(a=1), ship.configured(a=2), pack, join])


def test_telemetry_tells_that_nothing_was_chosen() -> None:
    """``step.stop`` says where the step led to: nowhere."""
    from hephaestus.runtime import telemetry

    told: list[Mapping[str, Any]] = []

    telemetry.attach("test-choice", lambda _event, _numbers, known: told.append(dict(known)), ["hephaestus.step.stop"])
    try:
        run(lambda _: [])
    finally:
        telemetry.detach("test-choice")
    assert [known["transitions_to"] for known in told] == [()]


@pytest.mark.parametrize("length", [1, 5_000])
@pytest.mark.parametrize("event", ["error", "timeout"])
def test_a_choice_that_raises_hides_not_the_error_that_it_was_to_route(event: str, length: int) -> None:
    """Both are told, however long their messages are."""

    def raises(ctx: Any) -> Any:
        message = "no such way" + "!" * length
        raise ValueError(message)

    @step(timeout=1.0)
    def charge(ctx: Any) -> dict[str, Any]:
        message = "the card was declined" + "." * length
        raise (NonRetryable if event == "error" else StepTimedOut)(message)

    class Paid(Workflow, key="id"):
        start_at = charge
        transitions = {charge: {"done": ship, event: Choice(raises, targets=[ship])}, ship: {"done": DONE}}

    local = LocalRuntime(Paid)
    shown = local.start(Paid, "1")
    error = shown.steps["charge"].error
    assert shown.status == "failed"
    assert error is not None
    assert error["type"] == "ValueError"
    for told in ("no such way", "the card was declined", repr(event)):
        assert told in error["message"]
        assert shown.error is not None
        assert told in shown.error["message"]
    assert len(error["message"]) <= MAX_MESSAGE
    log = [event for entry in local.runner.history(shown.id, traces=True) for event in entry.events]
    (trace,) = (event["error"]["trace"] for event in log if event["type"] == "StepFailed")
    assert "in raises" in trace
    assert "in charge" in trace
