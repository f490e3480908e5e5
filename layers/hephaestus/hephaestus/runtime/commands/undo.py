"""Has a completed child undo what it did. No caller asks for it: it is its parent's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus.engine.events import UndoRequested
from hephaestus.engine.plans import left_to_undo
from hephaestus.engine.requests import repeats
from hephaestus.errors import InstanceClosed
from hephaestus.runtime.commands.command import Command
from hephaestus.runtime.commands.members import By, MaybeText, Text, caller, instance_id, request_id

if TYPE_CHECKING:
    from hephaestus.engine.state import State
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances


class Undo(Command):
    """Have a completed child undo what it did; see rule D.9."""

    action = "undo"

    instance_id: Text = instance_id()
    request_id: MaybeText = request_id(default=None)
    by: By = caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Have it undo its steps, or go on with those that it could not undo before."""
        who, name = self.by, self.request_id or ""

        def decide(state: State, now: int) -> State | None:
            if repeats(state, "undo", name, ""):
                return state
            graph = instances.registry.runnable(state).graph
            own = (name, who.name, who.source)
            steps = left_to_undo(graph, state)
            if steps is None:
                message = f"instance {self.instance_id} is {state.status}: there is nothing to undo"
                raise InstanceClosed(message)
            return instances.go_on(state, going, now, UndoRequested(steps, *own))

        return instances.change(self.instance_id, decide).instance_id
