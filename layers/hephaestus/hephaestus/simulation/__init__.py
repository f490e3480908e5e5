"""Simulate a workflow under every fault there is, on one thread, in virtual time, from one seed.

The real runner, executor and sweeper run on a store, schedules, a queue and clocks that fail as AWS can: Lambdas die
before or after any call and in the middle of steps, calls are refused or done without an answer, messages and schedules
come late, twice or never, clocks differ, invocations live on after their time. After every event the invariants of the
design are checked; what breaks one is told with the shortest trace that was found, and the seed to see it again.

It needs the extra ``testing``::

    from hephaestus.simulation import simulate

    def test_orders_survive_anything():
        simulate(OrderFlow, {"items": [...]}, runs=500)

Steps run for real, many times: give them fakes for what they call. What they do besides, such as sleeping, is not
simulated.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from hephaestus.definition.containment import watched_console
from hephaestus.definition.maps import FAN
from hephaestus.simulation.choices import Choices, shrink
from hephaestus.simulation.faults import FAULTS, NO_FAULTS, Fault, Faults
from hephaestus.simulation.run import Run
from hephaestus.simulation.subject import Subject
from hephaestus.simulation.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hephaestus.definition.views import InstanceView
    from hephaestus.definition.workflow import Workflow
    from hephaestus.runtime.limits import Limits
    from hephaestus.values.foreign import Model
    from hephaestus.writes.memory_tables import MemoryTables

    Context: TypeAlias = "Mapping[str, Any] | Model | Callable[[Random], Mapping[str, Any] | Model]"

__all__ = ["FAULTS", "NO_FAULTS", "Fault", "Faults", "Finished", "InvariantViolated", "Report", "simulate"]

SHRINKING_RUNS: Final = 400


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that came to its end, for checks of one's own.

    Attributes:
        instances: every generation as it ended, the first one first.
        tables: what the steps wrote to tables of their own.
    """

    instances: tuple[InstanceView, ...]
    tables: MemoryTables


@dataclass(slots=True)
class Report:
    """What was simulated.

    Attributes:
        seed: of the first run; the others follow it.
        runs: how many there were.
        statuses: how often an instance ended in which status.
        faults: how often which fault struck.
        invocations: of Lambda functions.
        commits: log entries.
    """

    seed: int
    runs: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    invocations: int = 0
    commits: int = 0


class InvariantViolated(AssertionError):
    """A run broke an invariant.

    Attributes:
        rule: which one.
        seed: of the run.
        choices: the shortest list of choices that shows it, for ``simulate(..., choices=...)``.
        trace: what happened.
    """

    def __init__(self, message: str, rule: str, seed: int, choices: Sequence[int], trace: str) -> None:
        super().__init__(message, rule, seed, choices, trace)  # all of it, so that it comes through a process pool
        self.message = message
        self.rule = rule
        self.seed = seed
        self.choices = tuple(choices)
        self.trace = trace

    def __str__(self) -> str:
        """What happened, and how to see it again."""
        return self.message


def simulate(  # noqa: PLR0913 - what is simulated, and how
    workflow: type[Workflow],
    context: Context,
    *,
    seed: int = 0,
    runs: int = 1,
    faults: Faults | None = None,
    payloads: Mapping[str, Any] | None = None,
    tables: Mapping[str, Sequence[str]] | None = None,
    limits: Limits | None = None,
    steer: bool = True,
    beside: Mapping[type[Workflow], Context] | None = None,
    prepare: Callable[[MemoryTables], object] | None = None,
    fan: int = FAN,
    check: Callable[[Finished], object] | None = None,
    choices: Sequence[int] | None = None,
    shrinking: int = SHRINKING_RUNS,
) -> Report:
    """Run a workflow many times, each time with other interleavings and faults, and check every invariant.

    Args:
        workflow: the workflow.
        context: its start data, or a function that makes it from a run's ``random.Random``.
        seed: decides everything in the first run; ``seed + 1`` in the second, and so on.
        runs: how many runs.
        faults: what may go wrong; by default everything.
        payloads: by event, what is sent with it.
        tables: tables that steps write to, as in ``LocalRuntime``.
        limits: what executions keep to.
        steer: whether instances are also paused, cancelled, redriven, forked and started again; never without faults.
        beside: other workflows that clients start in the same world, and their start data.
        prepare: called before each run with its tables: to fill them, or to give them to what steps read.
        fan: how many instances there are at most below one that spreads the items of a map, so that a few items are a
            tree, too.
        check: called after each run; whatever it raises ends the simulation.
        choices: repeat one run by the choices that an ``InvariantViolated`` told.
        shrinking: how many runs are spent at most on a shorter trace.

    Returns:
        What happened.

    Raises:
        InvariantViolated: with the shortest trace found, and the seed.
    """
    faults = faults if faults is not None else Faults()
    report = Report(seed)

    def data(given: Context, number: int) -> Mapping[str, Any] | Model:
        return given(Random(number)) if callable(given) else given  # noqa: S311 - it must repeat

    def subject(number: int) -> Subject:
        others = tuple((other, data(given, number)) for other, given in (beside or {}).items())
        own = (workflow, data(context, number), payloads or {}, tables or {}, limits, steer, others)
        return Subject(*own, prepare, fan)

    with _quiet(), watched_console():
        for number in range(seed, seed + runs):
            made = subject(number)
            drawn = Choices(number, choices)
            run = Run(made, drawn, faults)
            try:
                ended = run.go()
            except Violation as violation:
                raise _shortest(made, faults, violation, number, drawn.taken, shrinking) from None
            _count(report, run, ended)
            if check is not None:
                check(Finished(tuple(ended), run.tables))
    return report


def _count(report: Report, run: Run, ended: Sequence[InstanceView]) -> None:
    report.runs += 1
    report.statuses.update(view.status for view in ended)
    report.faults.update(run.world.weather.struck)
    report.invocations += run.world.invocations
    report.commits += sum(len(known.entries) for known in run.ledger.generations.values())


def _shortest(  # noqa: PLR0913, PLR0917 - what showed it
    subject: Subject, faults: Faults, violation: Violation, seed: int, taken: Sequence[int], tries: int
) -> InvariantViolated:
    """The violation with the shortest trace that shows the same rule broken."""

    def broken(script: Sequence[int], *, tracing: bool = False) -> tuple[Violation, Run] | None:
        run = Run(subject, Choices(seed, script), faults, tracing=tracing)
        try:
            run.go()
        except Violation as found:
            return found, run
        return None

    def fails(script: Sequence[int]) -> bool:
        found = broken(script)
        return found is not None and found[0].rule == violation.rule

    script = shrink(taken, fails, tries)
    shown = broken(script, tracing=True)
    trace = "\n".join(shown[1].world.trace) if shown else "(it does not show again: something else decides, too)"
    told, name = shown[0] if shown else violation, subject.workflow.__name__
    message = (
        f"{told}\nworkflow {name}, shrunk to {sum(1 for choice in script if choice)} choices that matter:\n{trace}\n"
        f"see it again: simulate({name}, ..., seed={seed}), or this very trace with choices={script}"
    )
    return InvariantViolated(message, told.rule, seed, script, trace)


@contextmanager
def _quiet() -> Iterator[None]:
    """What the engine logs of faults that were asked for is of no use to anybody."""
    logger = logging.getLogger("hephaestus")
    before = logger.level
    if before > logging.CRITICAL:  # to set it costs as much as many a step: every logger there is forgets what it knew
        yield
        return
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
