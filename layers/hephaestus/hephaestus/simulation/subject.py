"""What is simulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hephaestus.definition.child import ChildWorkflow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.definition.workflow import Workflow
    from hephaestus.runtime.limits import Limits
    from hephaestus.values.foreign import Model


@dataclass(frozen=True, slots=True)
class Subject:
    """What is simulated.

    Attributes:
        workflow: the workflow.
        context: its start data.
        payloads: by event, what is sent with it.
        tables: the tables that its steps write to, and their keys.
        limits: what executions keep to.
        steer: whether it is also paused, cancelled, redriven, forked and started again.
        beside: other workflows of the same world, and their start data.
    """

    workflow: type[Workflow]
    context: Mapping[str, Any] | Model
    payloads: Mapping[str, Any]
    tables: Mapping[str, Sequence[str]]
    limits: Limits | None = None
    steer: bool = True
    beside: tuple[tuple[type[Workflow], Mapping[str, Any] | Model], ...] = ()

    @property
    def workflows(self) -> tuple[type[Workflow], ...]:
        """All that are deployed: these, and those that they start as children."""
        found = dict.fromkeys((self.workflow, *(other for other, _ in self.beside)))
        open_ = list(found)
        for flow in open_:  # it grows as it is read
            steps = [step for known in flow.definitions.values() for step in known.steps.values()]
            new = [step.workflow for step in steps if isinstance(step, ChildWorkflow) and step.workflow not in found]
            found.update(dict.fromkeys(new))
            open_ += new
        return tuple(found)
