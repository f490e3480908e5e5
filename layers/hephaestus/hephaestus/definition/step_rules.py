"""What is wrong with a step by itself, whatever workflow it stands in."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from dis import get_instructions
from inspect import unwrap
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.bodies import step_body_wrong
from hephaestus.definition.child import ChildWorkflow
from hephaestus.definition.concurrency import limits_wrong
from hephaestus.definition.definition import Declared
from hephaestus.definition.durations import Unfit, is_one_of, read_duration, shown, shown_error
from hephaestus.definition.maps import Map
from hephaestus.definition.results import Again
from hephaestus.definition.retries import Retry
from hephaestus.definition.rounds import Rounds
from hephaestus.definition.signatures import call_problem, mentions
from hephaestus.definition.step import ENDS, SEMANTICS, STEP_KEY, FunctionStep, Step, events_wrong

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from dis import Instruction

OUTCOMES: Final = ("timeout", "error", "exhausted")  # that every step with rounds may come to


def read_declared(step: Step) -> Declared:
    """What ``step`` declares, each attribute read once, in the base types where it is what it should be.

    Raises:
        Unfit: an attribute, or a method that the engine is to call, cannot be read.
    """
    read: dict[str, Any] = {}
    for name in (*(field.name for field in fields(Declared)), "execute", "compensate"):
        try:
            read[name] = getattr(step, name)
        except Exception as error:
            problem = f"{type(step).__name__} has a {name} that cannot be read ({shown_error(error)})"
            raise Unfit(problem, "Give it a plain value or method") from error
    del read["execute"], read["compensate"]
    if isinstance(read["events"], (list, tuple)):
        read["events"] = tuple(str.__str__(one) if isinstance(one, str) else one for one in read["events"])
    if isinstance(read["limits"], list):
        read["limits"] = tuple(read["limits"])
    between = isinstance(read["rounds"], Rounds) and isinstance(read["ends_on"], tuple)
    read["ends_on"] = read["ends_on"] if between else None
    for name in ("key", "semantics"):
        read[name] = str.__str__(read[name]) if isinstance(read[name], str) else read[name]
    with suppress(Unfit):
        read["timeout"] = None if read["timeout"] is None else read_duration(read["timeout"], "timeout")
    return Declared(**read)


def may_time_out(step: Step, declared: Declared) -> bool:
    """Whether something can give ``step`` the event ``timeout`` though it does not declare it."""
    return declared.timeout is not None or declared.waits is True or mentions(_code(step), "Pending")


def _code(step: Step) -> list[Any]:
    """The functions that a step's own code is in."""
    if isinstance(step, FunctionStep):
        return [step.function]
    own = [kind for kind in type(step).__mro__ if kind not in Step.__mro__]
    return [found for kind in own for found in vars(kind).values() if callable(found)]


def step_wrong(step: Step, declared: Declared) -> Iterator[tuple[str, str]]:
    """Every mistake in ``step``, with what to do."""
    if not isinstance(declared.key, str) or not STEP_KEY.fullmatch(declared.key):
        fix = "Use up to 64 letters, digits, '_', '.' and '-', a letter or '_' first"
        yield (f"the key {shown(declared.key)} is invalid", fix)
    elif declared.key in ENDS:
        yield (f"the key {declared.key!r} is taken", "Give the step another key")
    yield from events_wrong(declared.events)
    for name, flag in (("waits", declared.waits), ("pure", declared.pure), ("compensates", declared.compensates)):
        if not isinstance(flag, bool):
            yield (f"{name} is {shown(flag)}", "Give True or False")
    yield from step_body_wrong(type(step), Step)
    yield from _checkpoint_wrong(declared)
    yield from _policies_wrong(declared)
    yield from _rounds_wrong(step, declared)
    yield from _limits_wrong(step, declared)
    yield from _functions_wrong(step)


def _limits_wrong(step: Step, declared: Declared) -> Iterator[tuple[str, str]]:
    """What is wrong with the limits of a step: they are for what runs a user's code."""
    if declared.limits == ():
        return
    yield from limits_wrong(declared.limits)
    if declared.waits is True or declared.pure is True:
        yield ("has limits and only waits", "Drop the limits: a wait takes no permit")
    elif isinstance(step, Map):
        yield ("has limits and is a map", "Give the limits to the step that it runs for each item")
    elif isinstance(step, ChildWorkflow):
        yield ("has limits and runs other instances", "Give the limits to the steps of its workflow")


def _checkpoint_wrong(declared: Declared) -> Iterator[tuple[str, str]]:
    """What must be known when the next step begins cannot be left to the next commit."""
    if declared.checkpoint is not None and not isinstance(declared.checkpoint, bool):
        yield (f"checkpoint is {shown(declared.checkpoint)}", "Give True or False")
    elif declared.checkpoint is False:
        why = {
            "a compensation": declared.compensates is True,
            "at_most_once semantics": is_one_of(declared.semantics, ["at_most_once"]),
            "rounds": declared.rounds is not None,
            "limits": declared.limits != (),
        }
        if found := [what for what, has in why.items() if has]:
            yield (f"has checkpoint=False and {' and '.join(found)}", "Drop checkpoint=False")


def _policies_wrong(declared: Declared) -> Iterator[tuple[str, str]]:
    """What contradicts itself in how often and for how long a step may run, and how it is undone."""
    retry, undo = declared.retry, declared.compensate_retry
    for name, policy in (("retry", retry), ("compensate_retry", undo)):
        if policy is not None and not isinstance(policy, Retry):
            yield (f"{name} is {shown(policy)}", "Give a Retry(...)")
    if declared.timeout is not None:
        try:
            read_duration(declared.timeout, "timeout")
        except Unfit as error:
            yield (error.problem, error.fix)
    if not is_one_of(declared.semantics, SEMANTICS):
        yield (f"has the semantics {shown(declared.semantics)}", f"Use one of {', '.join(SEMANTICS)}")
    if is_one_of(declared.semantics, ["at_most_once"]) and isinstance(retry, Retry) and retry.max_attempts > 1:
        yield (
            "is at_most_once and has a retry policy",
            "A step that never runs twice is never retried: drop one of them",
        )
    if undo is not None and declared.compensates is False:
        yield ("has compensate_retry but no compensation", "Give compensate=..., or drop it")


def _rounds_wrong(step: Step, declared: Declared) -> Iterator[tuple[str, str]]:
    """What is wrong with how often a step may run again."""
    if isinstance(declared.rounds, Rounds):
        if declared.waits is True or declared.pure is True:
            yield ("has rounds and only waits", "Drop the rounds: a wait is over once")
        yield from _again_on_wrong(declared, declared.rounds.again_on)
    elif declared.rounds is not None:
        yield (f"rounds is {shown(declared.rounds)}", "Give Rounds(...), as in rounds=Rounds(1_000)")
    elif _returns_again(step.function if isinstance(step, FunctionStep) else type(step).execute):
        yield ("returns Again and has no rounds", "Say how many there are at most, as in rounds=Rounds(1_000)")


def _again_on_wrong(declared: Declared, again_on: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What is wrong with the events that end a round: each is one that the step takes, and no outcome of it."""
    if again_on and declared.ends_on is not None:
        yield ("has again_on and never waits", "Drop again_on: between two questions, ends_on ends it")
    outcomes = (*declared.events, *OUTCOMES) if isinstance(declared.events, tuple) else OUTCOMES
    if both := [event for event in again_on if is_one_of(event, outcomes)]:
        named = ", ".join(map(repr, both))
        yield (f"has {named} in again_on, and emits it", "Take it out of one: it ends a round, or the step")


def _returns_again(function: Any) -> bool:
    """Whether a function makes an ``Again`` itself: of code that cannot be read, nothing is said."""
    plain = unwrap(getattr(function, "__func__", function))
    code, known = getattr(plain, "__code__", None), getattr(plain, "__globals__", {})
    if code is None or "Again" not in code.co_names or known.get("Again") is not Again:
        return False
    return any(_is_called(one) for one in get_instructions(code) if one.argval == "Again")


def _is_called(loaded: Instruction) -> bool:
    """Whether a global is loaded to be called: since Python 3.11 the lowest bit of the argument says so."""
    return loaded.opname == "LOAD_GLOBAL" and bool(loaded.arg and loaded.arg & 1)


def _functions_wrong(step: Step) -> Iterator[tuple[str, str]]:
    """What the engine cannot call, or would get no result from."""
    if isinstance(step, FunctionStep):
        yield from _function_wrong(step.function)
        if step.compensation is not None and (problem := call_problem(step.compensation, "context")):
            yield (f"compensate {problem}", "Give a function that takes the context")
        return
    if type(step).execute is Step.execute:
        yield ("has no execute", "Write execute(self, instance, config, context)")
    for name in ("execute", "compensate"):
        problem = call_problem(getattr(step, name), "instance", "config", "context")
        if problem:
            yield (f"{name} {problem}", f"Write {name}(self, instance, config, context)")


def _function_wrong(function: Any) -> Iterator[tuple[str, str]]:
    if isinstance(function, type):
        yield (f"@step stands on the class {function.__name__}", "Derive the class from Step, without @step")
    elif isinstance(function, Step):
        yield ("@step stands on what is a step already", "Use @step once, with all of its arguments")
    elif problem := call_problem(function, "context"):
        yield (f"its function {problem}", "Write a function that takes the context, as in def charge(ctx)")
