"""Workflows drawn from a seed: any graph, every kind of step, and a plan that says what each step does when it runs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from hephaestus import (
    DONE,
    FAIL,
    Again,
    Completed,
    NonRetryable,
    Pending,
    Retry,
    Rounds,
    StepContext,
    Update,
    Workflow,
    step,
)
from hephaestus.definition.maps import MOST_CHUNK
from hephaestus.definition.step import Choice, Fail, FunctionStep, Step
from hephaestus.steps import ChildWorkflow, Map, Poll, Repeat, Wait, WaitForEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hephaestus.definition.definition import Checkpoint

LARGEST = 6
A_FEW, A_FIFTH, A_THIRD, A_HALF = 0.06, 0.2, 0.3, 0.5
TABLES = {"effects": ("pk",)}
QUICK = Retry(max_attempts=8, delay=timedelta(milliseconds=700), jitter="none", backoff="constant")
SLOW = Retry(max_attempts=8, delay=timedelta(minutes=20), max_delay=timedelta(hours=2), jitter="half")
ENDING = 2  # of the numbers of workflows modulo 3: those that may fail on purpose
A_FEW_PICKS = 2
DEFERRING = (*range(300, 400), *range(460, 500), *range(560, 600))  # of these, results are left to boundaries
LOOPING, MAPPING = 400, 500  # the numbers from which on workflows have loops, and from which on they have maps
MOST_ITEMS = 4
TOLERATED: list[int | str] = [0, 1, "50%"]
REPEATING = 1_000_000  # the numbers from which on steps are workflows again and again
NESTING, DEEPEST = 1_000, 2  # the numbers from which on steps are workflows; how deep
SPREADING = 2_000_000  # the numbers from which on the items of maps are in trees of instances
ITEMS_OF_TREES = (0, 1, 2, 3, 4, 5, 7, 10)
WANTED, LARGE = 4, 9_000  # rounds; characters of a carry that is a value of its own
KINDS = ["plain"] * 5 + ["event", "event", "timer", "either", "heartbeat", "pending"]


@cache
def flow(number: int, key: str = "random", level: int = 0) -> type[Workflow]:
    """The workflow of that number and key. Every path ends in one last step, so that branches always meet again."""
    draw = Random(number)
    most = 2 if level or number >= SPREADING else LARGEST
    names = [f"s{position}" for position in range(draw.randint(1, most))]
    steps = {name: _step(name, draw) for name in names}
    steps = {name: _varied(made, number, key, level) for name, made in steps.items()}
    checkpoint = _defer(steps.values(), Random(f"checkpoint {number}")) if number in DEFERRING else "steps"
    last = step(key="last")(_act("last", ("done",)))
    targets: dict[str, list[str]] = {}
    transitions: dict[Any, Any] = {last: {"done": DONE}}
    for position, name in enumerate(names):
        later = names[position + 1 :]
        transitions[steps[name]] = routes = {}
        for event in _events(steps[name]):
            chosen = draw.sample(later, min(len(later), draw.choice([0, 1, 1, 2, 3])))
            targets.setdefault(name, []).extend(chosen)
            routes[event] = chosen
    for position, name in enumerate(names[1:], start=1):
        if not any(name in found for found in targets.values()):
            source = draw.choice(names[:position])
            targets[source].append(name)
            draw.choice(list(transitions[steps[source]].values())).append(name)
    for name in names:
        routes = transitions[steps[name]]
        for event, chosen in routes.items():
            found = [steps[target] for target in chosen] or [last]
            routes[event] = _chosen(found) if len(found) > 1 and draw.random() < 0.3 else found
    if number % 3 == ENDING:
        _let_fail(transitions, last, Random(f"ends {number}"))
    members: dict[str, Any] = {"start_at": steps["s0"], "transitions": transitions, "retry": draw.choice([QUICK, SLOW])}
    if number % 3 == ENDING:
        members["timeout"] = Random(f"timeout {number}").choice([None, None, 1, 90, 5_000, 86_400])
        members["on_failure"] = step(key="oops", retry=QUICK)(_act("last", ("done",)))
        members["output"] = Random(f"output {number}").choice([None, steps["s0"], last, _summary])
    if SPREADING > number >= REPEATING and level:
        members["output"] = _handed_on(large=number % 5 == 0)
    made: type[Workflow] = type(f"{key.capitalize()}{number}", (Workflow,), members, key=key, checkpoint=checkpoint)
    return made


@dataclass(frozen=True)
class Planned:
    """What a step does: fails so often, fails for good, emits this event, picks these targets, writes."""

    failures: int
    dies: bool
    event: int
    pick: int
    writes: bool

    def __str__(self) -> str:
        """As start data hold it: short, as they are read again and again."""
        return f"{self.failures}{self.dies:d}{self.event}{self.pick}{self.writes:d}"

    @classmethod
    def of(cls, name: str, ctx: StepContext) -> Planned:
        """The plan of a step."""
        failures, dies, event, pick, writes = (int(digit) for digit in ctx.initial[name])
        return cls(failures, bool(dies), event, pick, bool(writes))


def plan(draw: Random, deadly: float = A_FEW) -> Mapping[str, Any]:
    """Start data: what every step does, whatever the interleaving."""
    return {
        name: str(
            Planned(
                failures=draw.choice([0, 0, 0, 0, 1, 2]),
                dies=draw.random() < deadly,
                event=draw.randrange(3),
                pick=draw.randrange(8),
                writes=draw.random() < A_THIRD,
            )
        )
        for name in [*(f"s{position}" for position in range(LARGEST)), "last"]
    }


def deadly_plan(draw: Random) -> Mapping[str, Any]:
    """Start data with which many more steps fail for good, some of them for one item alone."""
    return plan(draw, A_FIFTH)


def _step(name: str, draw: Random) -> Step:
    match draw.choice(KINDS):
        case "event":
            return WaitForEvent("go", "stop", name=name)
        case "timer":
            return Wait(draw.choice([0.3, 20, 3_600]), name=name)
        case "either":
            return WaitForEvent("go", timeout=timedelta(seconds=draw.choice([2, 90, 7_200])), name=name)
        case "heartbeat":
            return WaitForEvent("go", heartbeat=timedelta(seconds=draw.choice([5, 1_200])), name=name)
        case "pending":
            return step(key=name, events=("go",))(_ask(name))
        case _:
            events = tuple(f"e{number}" for number in range(draw.randint(1, 3)))
            once = draw.random() < 0.2
            return step(
                key=name,
                events=events,
                retry=None if once else draw.choice([None, None, QUICK]),
                timeout=draw.choice([None, None, None, 30]),
                semantics="at_most_once" if once else "at_least_once",
                compensate=draw.choice([None, _undo(name)]),
            )(_act(name, events))


def _varied(made: Step, number: int, key: str, level: int) -> Step:
    """From some numbers on, steps that are not in those below."""
    if MAPPING <= number < NESTING or number >= SPREADING:
        return _mapped(made, Random(f"map {number} {made.key}"), spread=number >= SPREADING)
    if number >= LOOPING:
        made = _loop(made, Random(f"loop {number} {made.key}"))
    if number >= NESTING and made.compensates and Random(f"undo {number} {made.key}").random() < A_HALF:
        made.compensate_retry = Retry(max_attempts=1)  # whatever strikes, it fails for good
    return _nest(made, number, key, level) if number >= NESTING and level < DEEPEST else made


def _loop(made: Step, draw: Random) -> Step:
    """Most steps of such a workflow run in rounds, or ask again and again."""
    if not isinstance(made, FunctionStep) or draw.random() < A_FIFTH:
        return made
    within = draw.choice([None, None, timedelta(seconds=30), timedelta(hours=2)])
    most = draw.randint(1, WANTED)
    pause = draw.choice([None, None, 0.3, 20, 3_600])
    if draw.random() < A_THIRD:
        check, rounds = _check(made.key), Rounds(most, within=within)
        return Poll(check, every=pause or 1, backoff=2, rounds=rounds, ends_on=("go",), name=made.key)
    waits = made.events == ("go",) or draw.random() < A_THIRD
    events = ("go", "timeout") if waits else tuple(made.events)
    until = draw.choice([None, None, timedelta(hours=5)])  # without a time, somebody answers in the end
    large, talks = draw.random() < A_FIFTH, waits and draw.random() < A_HALF
    bounds = Rounds(most + talks * WANTED, within=within, again_on=("more", "and more") if talks else ())
    function = _go_on(made.key, events, Turns(pause, until, large, talks))
    return step(
        key=made.key,
        events=events,
        rounds=bounds,
        retry=made.retry,
        timeout=made.timeout,
        semantics=made.semantics,
        compensate=made.compensation or draw.choice([None, _undo(made.key)]),
    )(function)


def _defer(steps: Iterable[Step], draw: Random) -> Checkpoint:
    """Have the results of most steps left to the next commit, of some by what they say themselves."""
    settings: list[Checkpoint] = ["steps", "boundaries", "boundaries"]
    for made in steps:
        kept = isinstance(made, Map) or made.compensates or made.semantics == "at_most_once" or made.rounds is not None
        made.checkpoint = draw.choice([None, None, True] if kept else [None, None, True, False, False])
    return draw.choice(settings)


def _nest(made: Step, number: int, key: str, level: int) -> Step:
    """Many steps of such a workflow are workflows."""
    draw = Random(f"nest {number} {key} {made.key}")
    if draw.random() < A_THIRD:
        return made
    if number >= REPEATING and draw.random() < A_HALF:
        return _repeat(made, key, level, draw)
    kid = flow(NESTING + draw.randrange(10_000), f"{key}-{made.key}", level + 1)
    detached = draw.random() < A_FIFTH
    return ChildWorkflow(
        kid,
        context=lambda ctx: dict(ctx.initial),
        timeout=None if detached else draw.choice([None, None, 20, 7_200]),
        detached=detached,
        compensate=draw.choice([None, _undo(made.key)]),
        name=made.key,
    )


def _mapped(made: Step, draw: Random, *, spread: bool) -> Step:
    """Most steps of such a workflow run for a few items, which fail, wait and are undone each in its own way."""
    if draw.random() < A_FIFTH:
        return made
    name = made.key

    def over(ctx: StepContext) -> list[int]:
        pick = _planned(name, ctx).pick
        return list(range(ITEMS_OF_TREES[pick] if spread else pick % (MOST_ITEMS + 1)))

    sizes = Random(f"sizes {draw.random()}") if spread else draw
    return Map(
        made,
        over=over,
        key=draw.choice([None, lambda item: f"no. {item}"]),
        tolerate=draw.choice(TOLERATED),
        concurrency=draw.choice([1, 2, 100]) if not spread else sizes.choice([1, 2, 3, 4, 100]),
        chunk=sizes.choice([1, 2, 3]) if spread else MOST_CHUNK,
        retry=QUICK,
        context=draw.choice([None, lambda ctx: {**ctx.initial, "chosen": True}]),
        name=name,
    )


def _repeat(made: Step, key: str, level: int, draw: Random) -> Step:
    """A workflow that starts as often as the plan has it, with what the one before has left."""
    within = draw.choice([None, None, timedelta(minutes=1), timedelta(hours=2)])
    return Repeat(
        flow(REPEATING + draw.randrange(10_000), f"{key}-{made.key}", level + 1),
        until=_is_enough(made.key),
        rounds=Rounds(draw.randint(1, WANTED), within=within),
        context=lambda ctx: dict(ctx.initial),
        timeout=draw.choice([None, None, 20, 7_200]),
        compensate=draw.choice([None, None, _undo(made.key)]),
        name=made.key,
    )


def _is_enough(name: str) -> Callable[[StepContext], bool]:
    def is_enough(ctx: StepContext) -> bool:
        planned = _planned(name, ctx)
        if planned.dies:
            raise NonRetryable(name)
        return ctx.round > planned.pick % WANTED

    return is_enough


def _handed_on(*, large: bool) -> Callable[[StepContext], dict[str, Any]]:
    """The output of a workflow that is repeated: what the next one starts with."""

    def handed_on(ctx: StepContext) -> dict[str, Any]:
        number = ctx.initial.get("n", 0) + 1
        return {**ctx.initial, "n": number, **({"pad": str(number) * LARGE} if large else {})}

    return handed_on


def _events(member: Step) -> list[str]:
    events = list(member.events)
    if isinstance(member, ChildWorkflow):
        events += Random(f"routes {member.workflow.name}").choice([(), ("error",), ("cancelled", "timeout")])
        return events if member.rounds is None or Random(member.key).random() < A_HALF else [*events, "exhausted"]
    if member.rounds is not None and Random(member.key).random() < A_HALF:
        events.append("exhausted")
    if isinstance(member, Map):
        return [*events, "error"] if Random(member.key).random() < A_HALF else events
    if member.pure or member.semantics == "at_most_once":
        return events
    return events if member.key < "s3" else [*events, "error"]


def _chosen(targets: list[Step]) -> Choice:
    """A Choice of one of the targets, or of several."""
    return Choice(lambda ctx: targets[: 1 + Planned.of("s0", ctx).pick % len(targets)], targets)


def _summary(ctx: StepContext) -> dict[str, Any]:
    """The output of some workflows: what happened; now and then it cannot be told."""
    if Planned.of("s2", ctx).pick == 0:
        raise ValueError
    return {"events": dict(ctx.events)}


def _let_fail(transitions: dict[Any, Any], last: Step, draw: Random) -> None:
    """Have some events lead to ``FAIL``: always where another event of the step leads on, or by a ``Choice``."""
    for source, routes in transitions.items():
        for event, found in routes.items():
            spared = any(other != event and not isinstance(led, Fail) for other, led in routes.items())
            if found == [last] and spared and draw.random() < A_FIFTH:
                routes[event] = FAIL(f"{source.key} said {event}")
            elif isinstance(found, list) and draw.random() < A_FIFTH:
                routes[event] = Choice(_perhaps(found), [*found, FAIL])


def _perhaps(found: list[Step]) -> Callable[[StepContext], Any]:
    return lambda ctx: FAIL if Planned.of("s1", ctx).pick < A_FEW_PICKS else found


def _act(name: str, events: Sequence[str]) -> Callable[[StepContext], Completed]:
    def act(ctx: StepContext) -> Completed:
        planned = _planned(name, ctx)
        if planned.dies and ctx.index in {0, planned.event}:
            raise NonRetryable(name)
        return Completed(events[planned.event % len(events)], {"by": name}, writes=_once(ctx, planned))

    return act


class Turns(NamedTuple):
    """What rounds do: how long the pauses and the waits are, whether carries are large, and whether events go on."""

    pause: float | None
    until: timedelta | None
    large: bool
    talks: bool


def _go_on(name: str, events: Sequence[str], turns: Turns) -> Callable[[StepContext], Completed | Again | Pending]:
    """So many rounds as the plan has it; the last acts, or waits for an event. One that talks waits in every other."""
    act = _act(name, events)

    def go_on(ctx: StepContext) -> Completed | Again | Pending:
        planned = _planned(name, ctx)
        if ctx.round <= planned.pick % WANTED and (ctx.round % 2 or not turns.talks):
            carry = {
                "n": ctx.round,
                **({"said": ctx.event} if turns.talks else {}),
                **({"pad": str(ctx.round) * LARGE} if turns.large else {}),
            }
            return Again(carry, after=turns.pause, writes=_once(ctx, planned))
        return Pending(timeout=turns.until) if "go" in events else act(ctx)

    return go_on


def _check(name: str) -> Callable[[StepContext], bool | dict[str, int]]:
    def check(ctx: StepContext) -> bool | dict[str, int]:
        planned = _planned(name, ctx)
        if planned.dies:
            raise NonRetryable(name)
        return ctx.round > planned.pick % WANTED and {"asked": ctx.round}

    return check


def _undo(name: str) -> Callable[[StepContext], Completed]:
    return lambda ctx: Completed("done", writes=_once(ctx, _planned(name, ctx)))


def _ask(name: str) -> Callable[[StepContext], Pending]:
    def ask(ctx: StepContext) -> Pending:
        _planned(name, ctx)
        return Pending()

    return ask


def _planned(name: str, ctx: StepContext) -> Planned:
    """What the step does, if this attempt is not one of those that fail; each item of a map does something else."""
    planned = Planned.of(name, ctx)
    if ctx.item_key:
        turned = (planned.failures + ctx.index) % 3, planned.event + ctx.index
        planned = replace(planned, failures=turned[0], event=turned[1], pick=(planned.pick + ctx.index) % 8)
    if ctx.attempt <= planned.failures:
        raise ValueError(name)
    return planned


def _once(ctx: StepContext, planned: Planned) -> list[Update]:
    """A write that counts how often it has happened."""
    return [Update("effects", {"pk": ctx.idempotency_key}, "ADD seen :one", values={":one": 1})] * planned.writes
