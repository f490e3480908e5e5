"""What is simulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hephaestus.definition.child import with_children
from hephaestus.definition.maps import FAN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hephaestus.definition.workflow import Workflow
    from hephaestus.runtime.limits import Limits
    from hephaestus.values.foreign import Model
    from hephaestus.writes.memory_tables import MemoryTables


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
        prepare: is given the tables before a run.
        fan: how many instances one has below it at most that runs a part of a map.
    """

    workflow: type[Workflow]
    context: Mapping[str, Any] | Model
    payloads: Mapping[str, Any]
    tables: Mapping[str, Sequence[str]]
    limits: Limits | None = None
    steer: bool = True
    beside: tuple[tuple[type[Workflow], Mapping[str, Any] | Model], ...] = ()
    prepare: Callable[[MemoryTables], object] | None = None
    fan: int = FAN

    @property
    def workflows(self) -> tuple[type[Workflow], ...]:
        """All that are deployed: these, and those that they start as children."""
        return with_children((self.workflow, *(other for other, _ in self.beside)))
