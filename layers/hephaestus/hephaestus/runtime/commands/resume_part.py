"""Has an instance that runs a part of a map's items go on. No caller asks for it: it is its parent's alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hephaestus.engine.events import PartResumed
from hephaestus.engine.plans import redriven
from hephaestus.engine.requests import repeats
from hephaestus.errors import InstanceClosed
from hephaestus.runtime.commands.command import Command
from hephaestus.runtime.commands.members import (
    FLAG,
    NUMBER,
    By,
    Flag,
    MaybeText,
    Number,
    Text,
    caller,
    instance_id,
    member,
    request_id,
    required,
)

if TYPE_CHECKING:
    from hephaestus.engine.state import State
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances


class ResumePart(Command):
    """Have an instance that has ended go on with those of its items that have not completed; see rule C.13."""

    action = "resume_part"

    instance_id: Text = instance_id()
    share: Number = required(NUMBER, "How many of its items may be at work at a time.")
    keeps: Flag = member(FLAG, "Whether failed items stay so, and what waits waits on.", default=False)
    request_id: MaybeText = request_id(default=None)
    by: By = caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Have them run again; one that has failed as a whole is redriven."""
        who, name = self.by, self.request_id or ""

        def decide(state: State, now: int) -> State | None:
            if repeats(state, "resume_part", name, "") or repeats(state, "redrive", name, ""):
                return state
            if not state.closed:
                message = f"instance {self.instance_id} is {state.status}: it goes on already"
                raise InstanceClosed(message)
            own = (name, who.name, who.source)
            if state.status == "failed":
                event = redriven(instances.registry.runnable(state).graph, state)
                return instances.go_on(state, going, now, replace(event, request_id=name))
            return instances.go_on(state, going, now, PartResumed(self.share, self.keeps, *own))

        return instances.change(self.instance_id, decide).instance_id
