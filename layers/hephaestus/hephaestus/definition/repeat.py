"""A workflow as a step of another, again and again."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.child import ChildWorkflow
from hephaestus.definition.durations import shown
from hephaestus.definition.mistakes import Mistakes
from hephaestus.definition.results import Again, Completed, Spawn
from hephaestus.definition.rounds import Rounds
from hephaestus.definition.signatures import call_problem
from hephaestus.errors import NonRetryable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.definition.context import Instance, StepContext
    from hephaestus.definition.durations import Duration
    from hephaestus.definition.step import CompensationFunction
    from hephaestus.definition.workflow import Workflow
    from hephaestus.values.foreign import DataClass, Model

MOST_CHILDREN: Final = 1_000  # each is undone, kept and deleted with its parent


class Repeat(ChildWorkflow):
    """Start an instance of another workflow, and when it has completed the next, until one has done enough.

    Each child is a round: its output is the carry, and what the next one starts with. ``until`` is asked with it:
    where it is true, the step emits ``"done"`` with that output as results. In the last round, or past its time, it
    emits ``"exhausted"`` if that is routed. A child that fails, is cancelled or takes too long ends the step, as with
    ``ChildWorkflow``.

    Args:
        workflow: the children's workflow; it must be deployed beside this one.
        until: takes the context, whose ``carry`` is the output of the child that has completed and whose ``round`` is
            its number, and says whether that was the last; a plain function. One that raises is called again, by the
            workflow's retry policy.
        rounds: how many children there are at most, 1 to 1,000, and for how long another may start.
        context: takes the context and gives the first child's start data; a plain function. By default none.
        timeout: how long each child may take, in seconds or as a ``timedelta``; then it is cancelled, and
            ``"timeout"``.
        compensate: undoes, once, what all children did, should the instance fail later; it takes the context. Without
            it each child undoes itself, the newest first.
        name: the step's key; by default the workflow's name in snake case.

    Raises:
        DefinitionError: no workflow, no function of the context, no ``Rounds`` or too many, or no duration.
    """

    def __init__(  # noqa: PLR0913 - what a child is, and how often
        self,
        workflow: type[Workflow],
        *,
        until: Callable[[StepContext], bool],
        rounds: Rounds,
        context: Callable[[StepContext], Mapping[str, Any] | Model | DataClass] | None = None,
        timeout: Duration | None = None,
        compensate: CompensationFunction | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(workflow, context=context, timeout=timeout, compensate=compensate, name=name)
        wrong = Mistakes(self.key)
        if problem := call_problem(until, "context", coroutines=False):
            wrong.add(f"its until {problem}", "Give a function that takes the context")
        if not isinstance(rounds, Rounds):
            wrong.add(f"rounds is {shown(rounds)}", "Give Rounds(...), as in rounds=Rounds(20)")
        elif rounds.at_most > MOST_CHILDREN:
            wrong.add(f"has up to {rounds.at_most:,} rounds", f"Give at most {MOST_CHILDREN:,}: each is an instance")
        elif rounds.again_on:
            wrong.add("has again_on", "Drop it: a child takes the events, not the step")
        wrong.report("step")
        self.until, self.rounds = until, rounds

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Spawn | Completed | Again:  # type: ignore[override]  # it also runs when a child has ended
        """Say what the child of this round starts with, or, once it has completed, whether it was the last."""
        if context.source is not None and context.source.ended_child() is not None:
            return Completed("done", context.carry) if self.is_over(context) else Again(context.carry)
        return Spawn(context.carry) if context.round > 1 else super().execute(instance, config, context)

    def is_over(self, context: StepContext) -> bool:
        """Ask ``until``.

        Raises:
            NonRetryable: it is asynchronous.
        """
        answer = self.until(context)
        if isinstance(answer, Awaitable):
            if isinstance(answer, Coroutine):
                answer.close()
            message = f"until of {self.key} returned a {type(answer).__name__}: its function must be a plain one"
            raise NonRetryable(message)
        return bool(answer)
