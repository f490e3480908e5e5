"""Which limits of workflows would wait for each other: the checker, all interleavings, the engine (rule I.5)."""

from __future__ import annotations

from itertools import combinations_with_replacement, product
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from hephaestus import DONE, Concurrency, DefinitionError, Rounds, Workflow, step
from hephaestus.definition.limit_cycles import cycle_of_limits
from hephaestus.runtime import registry
from hephaestus.runtime.registry import Registry
from hephaestus.simulation import NO_FAULTS, Faults, simulate
from hephaestus.steps import ChildWorkflow, Map, Repeat, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hephaestus.definition.step import Step

NAMES: Final = ("a", "b", "c")
MOST_ROOTS: Final = 3  # a cycle of three limits needs as many
CHECKED, SIMULATED = 300, 40


class Plan(NamedTuple):
    """A workflow: its limits, and which of those before it it runs, one after the other; whether it waits for them."""

    limits: tuple[str, ...]
    children: tuple[tuple[int, bool], ...]


def plans(random: Random) -> list[Plan]:
    """Up to six workflows, of which each may run those before it."""
    found: list[Plan] = []
    for number in range(random.randint(4, 6)):
        limits = tuple(name for name in NAMES if random.random() < 0.45)
        children = [
            (random.randrange(number), random.random() < 0.9) for _ in range(random.randint(1, 2) if number else 0)
        ]
        found.append(Plan(limits, tuple(children)))
    return found


def flows(made: Sequence[Plan], random: Random) -> list[type[Workflow]]:
    """The same as classes, each limit with one permit; by steps of every kind that runs workflows."""
    found: list[type[Workflow]] = []
    for number, plan in enumerate(made):
        steps: list[Step] = [step(key="begin")(lambda ctx: "done")]
        steps += [
            _runs(found[child], f"s{place}", random, waits=waits) for place, (child, waits) in enumerate(plan.children)
        ]
        if random.random() < 0.5:
            steps.append(step(key="end", limits=[Concurrency("leaf", 1)])(lambda ctx: "done"))
        ways = {one: {"done": after} for one, after in zip(steps, (*steps[1:], DONE), strict=True)}
        body = {"start_at": steps[0], "transitions": ways}
        limits = [Concurrency(name, 1) for name in plan.limits]
        found.append(type(f"W{number}", (Workflow,), body, key=f"w{number}", limits=limits))
    return found


def _runs(child: type[Workflow], name: str, random: Random, *, waits: bool) -> Step:
    if not waits:
        return ChildWorkflow(child, name=name, detached=True)
    kinds = (
        lambda: ChildWorkflow(child, name=name),
        lambda: Map(child, over=lambda _: [{}, {}], name=name),
        lambda: Repeat(child, until=lambda ctx: ctx.round == 2, rounds=Rounds(2), name=name),
    )
    return random.choice(kinds)()


Move = tuple[str, frozenset[str]]


def moves(made: Sequence[Plan], number: int, held: frozenset[str] = frozenset()) -> Iterator[Move]:
    """What an instance does with permits, in order: it takes some, all at once, and gives them back."""
    plan = made[number]
    own = frozenset(plan.limits) - held
    yield "take", own
    for child, waits in plan.children:
        if waits:
            yield from moves(made, child, held | own)
    yield "give", own


def gets_stuck(made: Sequence[Plan]) -> bool:
    """Whether some instances can come to wait for each other, with one permit of some limits, and many of the others.

    All interleavings of up to three roots; a detached child is a root of its own.
    """
    programs = [tuple(moves(made, number)) for number in range(len(made))]
    for few in product((False, True), repeat=len(NAMES)):
        scarce = {name for name, is_few in zip(NAMES, few, strict=True) if is_few}
        own = {tuple((what, names & scarce) for what, names in program if names & scarce) for program in programs}
        for roots in combinations_with_replacement(sorted(own, key=repr), MOST_ROOTS):
            if _stuck(roots):
                return True
    return False


def _stuck(roots: tuple[tuple[Move, ...], ...]) -> bool:
    first = (0,) * len(roots)
    seen, open_ = {first}, [first]
    while open_:
        at = open_.pop()
        after = list(_after(roots, at))
        if not after and any(place < len(root) for place, root in zip(at, roots, strict=True)):
            return True
        new = [one for one in after if one not in seen]
        seen.update(new)
        open_ += new
    return False


def _after(roots: tuple[tuple[Move, ...], ...], at: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    held: list[str] = []
    for place, root in zip(at, roots, strict=True):
        given = [name for what, names in root[:place] if what == "give" for name in names]
        held += [name for what, names in root[:place] if what == "take" for name in names]
        for name in given:
            held.remove(name)
    for number, (place, root) in enumerate(zip(at, roots, strict=True)):
        if place < len(root) and (root[place][0] == "give" or not root[place][1].intersection(held)):
            yield (*at[:number], place + 1, *at[number + 1 :])


def test_the_checker_rejects_what_gets_stuck_in_some_interleaving_and_nothing_else() -> None:
    """Rule I.5. Both verdicts are frequent, so that neither is right by chance."""
    verdicts: list[bool] = []
    for seed in range(CHECKED):
        random = Random(seed)
        made = plans(random)
        found = cycle_of_limits(flows(made, random))
        assert (found is not None) == gets_stuck(made), (seed, made, found)
        verdicts.append(found is not None)
    assert min(verdicts.count(True), verdicts.count(False)) > CHECKED // 10


@pytest.mark.parametrize("part", range(4))
def test_accepted_definitions_finish_with_limits_of_one(part: int) -> None:
    """Rule I.5. In the simulator, where several of each are under way, with and without faults."""
    done = 0
    for seed in range(part * 1_000, part * 1_000 + 1_000):
        random = Random(seed)
        made = flows(plans(random), random)
        if cycle_of_limits(made) is not None or not any(flow.limits for flow in made):
            continue
        faults = (
            NO_FAULTS if done % 2 else Faults(kinds=("step too long", "message late", "message lost"), rates=(0.2,))
        )
        simulate(made[-1], {}, seed=seed, beside={flow: {} for flow in made[:-1]}, faults=faults, shrinking=0)
        done += 1
        if done == SIMULATED // 4:
            return
    pytest.fail("too few are accepted")


def pair(limits: str, below: type[Workflow] | None = None) -> type[Workflow]:
    """A workflow that waits, and then runs another."""
    wait = WaitForEvent("go", name="wait")
    body: dict[str, Any] = {"start_at": wait, "transitions": {wait: {"go": DONE}}}
    if below is not None:
        child = ChildWorkflow(below, name="child")
        body["transitions"] = {wait: {"go": child}, child: {"done": DONE}}
    name = f"{limits.upper()}{'' if below is None else 'Above'}"
    return type(name, (Workflow,), body, key=name.lower(), limits=[Concurrency(one, 1) for one in limits])


def test_a_cycle_is_an_error_of_the_definition_that_names_it() -> None:
    """Rule F.3. With who holds what while who wants what; each of the workflows alone is right."""
    one, other = pair("b", pair("a")), pair("a", pair("b"))
    for alone in (one, other):
        assert Registry([alone]).names()
    with pytest.raises(DefinitionError) as caught:
        Registry([one, other]).names()
    (problem,) = caught.value.problems
    assert problem.problem == (
        "limits would wait for each other, 'b' → 'a' → 'b': BAbove has a permit of 'b' while A, which it runs, "
        "wants one of 'a'; AAbove has a permit of 'a' while B, which it runs, wants one of 'b'"
    )
    assert Registry([pair("ab", pair("a")), other]).names(), "as the fix says"


def test_what_is_rejected_does_get_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check the engine stands still, and no sweep helps."""
    monkeypatch.setattr(registry, "cycle_of_limits", lambda _: None)
    below = pair("a"), pair("b")
    flows_ = pair("b", below[0]), pair("a", below[1])
    local = LocalRuntime(*flows_, *below)
    for flow in flows_:
        local.start(flow, "1")
    for flow in flows_:
        local.resume(f"{flow.business_key.name}::1", "go")
    for _ in range(5):
        local.advance(120)
        local.sweep()
        local.settle()
    assert [local.runner.get(f"{flow.business_key.name}::1").status for flow in flows_] == ["waiting"] * 2
    usage = [local.store.permits.usage(name) for name in "ab"]
    assert [(len(one.permits), len(one.line)) for one in usage] == [(1, 1), (1, 1)]
