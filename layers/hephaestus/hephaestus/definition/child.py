"""A workflow as a step of another."""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeGuard

from hephaestus.definition.durations import read_duration, shown
from hephaestus.definition.mistakes import Mistakes
from hephaestus.definition.results import Spawn
from hephaestus.definition.signatures import call_problem
from hephaestus.definition.step import Step, snake_case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from hephaestus.definition.context import Instance, StepContext
    from hephaestus.definition.durations import Duration
    from hephaestus.definition.step import CompensationFunction
    from hephaestus.definition.workflow import Workflow
    from hephaestus.values.foreign import DataClass, Model


def with_children(flows: Iterable[type[Workflow]]) -> tuple[type[Workflow], ...]:
    """These workflows, then those that any version of them starts as children, and those that these start."""
    found = dict.fromkeys(flows)
    open_ = list(found)
    for flow in open_:  # it grows as it is read
        steps = [step for known in flow.definitions.values() for step in known.every_step]
        new = [step.workflow for step in steps if isinstance(step, ChildWorkflow) and step.workflow not in found]
        found.update(dict.fromkeys(new))
        open_ += new
    return tuple(found)


def lacking_children(flows: Sequence[type[Workflow]]) -> Iterator[tuple[type[Workflow], str, type[Workflow]]]:
    """The steps of these workflows that start one which is not among them: whose, which, and what it starts."""
    for flow in flows:
        steps = [one for known in flow.definitions.values() for one in known.steps.items()]
        steps += [(key, item) for known in flow.definitions.values() for key, (item, _) in known.items.items()]
        children = [(key, step.workflow) for key, step in steps if isinstance(step, ChildWorkflow)]
        yield from ((flow, key, child) for key, child in dict.fromkeys(children) if child not in flows)


def is_workflow(given: object) -> TypeGuard[type[Workflow]]:
    """Whether it is a class of workflows of a user's."""
    from hephaestus.definition.workflow import Workflow  # noqa: PLC0415 - a workflow is made of steps

    return isinstance(given, type) and issubclass(given, Workflow) and given is not Workflow


class ChildWorkflow(Step):
    """Start an instance of another workflow and wait for its end: its output becomes the step's results.

    It emits ``"done"`` when the child has completed. ``"error"``, ``"cancelled"`` and ``"timeout"`` may be routed, too:
    the child has failed, was cancelled, or took too long; where they are not, the step fails. No Lambda waits with it.

    Args:
        workflow: the child's workflow; it must be deployed beside this one.
        context: takes the context and gives the child's start data, a mapping, a model or a data class; a plain
            function. By default none.
        timeout: after this long, in seconds or as a ``timedelta``, the child is cancelled, and then ``"timeout"``.
        detached: whether the step is done as soon as the child has started; the child then is on its own.
        compensate: undoes what the child did, should the instance fail later; it takes the context. Without it the
            child undoes itself, by the compensations of its own steps.
        name: the step's key; by default the workflow's name in snake case.

    Raises:
        DefinitionError: no workflow, no function of the context, no duration, or a timeout of what is detached.
    """

    def __init__(  # noqa: PLR0913 - what a child is
        self,
        workflow: type[Workflow],
        *,
        context: Callable[[StepContext], Mapping[str, Any] | Model | DataClass] | None = None,
        timeout: Duration | None = None,
        detached: bool = False,
        compensate: CompensationFunction | None = None,
        name: str | None = None,
    ) -> None:
        sound = is_workflow(workflow)
        self.step_key = (snake_case(workflow.name) if sound else "child") if name is None else name
        wrong = Mistakes(self.step_key)
        if not sound:
            wrong.add(f"its workflow is {shown(workflow)}", "Give a workflow class, as in ChildWorkflow(Shipping)")
        for what, given in (("context", context), ("compensate", compensate)):
            if given is not None and (problem := call_problem(given, "context", coroutines=what == "compensate")):
                wrong.add(f"its {what} {problem}", "Give a function that takes the context")
        self.child_timeout = None if timeout is None else wrong.read(read_duration, timeout, "timeout")
        if detached and timeout is not None:
            wrong.add("is detached and has a timeout", "Drop one of them: nothing waits for a detached child")
        if not isinstance(detached, bool):
            wrong.add(f"detached is {shown(detached)}", "Give True or False")
        wrong.report("step")
        self.workflow, self.child_context, self.detached = workflow, context, detached
        self.compensation = compensate

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Spawn:  # noqa: ARG002 - the signature of every step
        """Say what the child starts with."""
        return Spawn({} if self.child_context is None else self.child_context(context))

    def compensate(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Any:  # noqa: ARG002 - as every step's
        """Call the function given as ``compensate``."""
        return self.compensation(context) if self.compensation is not None else None

    @property
    def compensates(self) -> bool:
        """Whether what the child did is undone: by such a function, or by the child itself."""
        return self.compensation is not None or self.undoes

    @property
    def undoes(self) -> bool:
        """Whether it is the child that undoes what it did: where any of its steps, in any version, can be undone."""
        return self.compensation is None and not self.detached and self._can_undo

    @cached_property
    def _can_undo(self) -> bool:
        return any(step.compensates for known in self.workflow.definitions.values() for step in known.steps.values())

    @property
    def is_async(self) -> bool:
        """Whether the compensation is a coroutine function."""
        return inspect.iscoroutinefunction(self.compensation)
