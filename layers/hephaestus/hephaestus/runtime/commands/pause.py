"""Pauses an instance, and unpauses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus.engine.events import Paused, Unpaused
from hephaestus.engine.requests import repeats
from hephaestus.engine.state import is_paused_alone, undoes_at_cancel
from hephaestus.errors import InstanceClosed, InstanceNotFound, NotRoot, RequestIdReused
from hephaestus.runtime.commands.command import Command
from hephaestus.runtime.commands.members import REASON, By, MaybeText, Text, caller, instance_id, member, request_id

if TYPE_CHECKING:
    from hephaestus.engine.state import State
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances


class Pause(Command):
    """Pause an instance."""

    action = "pause"
    operation = "pauseInstance"
    route = "/instances/<instance_id>/pause"
    raises = (InstanceNotFound, NotRoot, InstanceClosed, RequestIdReused)
    said = "paused"

    instance_id: Text = instance_id()
    reason: Text = member(REASON, "Kept in its history.", default="")
    request_id: MaybeText = request_id(default=None)
    by: By = caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Pause it; see ``Runner.pause``."""
        del going  # nothing follows
        asked, who, name = self.digest(self.reason), self.by, self.request_id or ""

        def decide(state: State, now: int) -> State | None:
            if repeats(state, "pause", name, asked) or (is_paused_alone(state) and not name):
                return state
            if state.closed or (state.cancel and not undoes_at_cancel(state)):
                status = state.status if state.closed else "being cancelled"
                message = f"instance {self.instance_id} is {status}: nothing to pause"
                raise InstanceClosed(message)
            return instances.append(state, now, Paused(self.reason, name, who.name, who.source, asked))

        return instances.change(self.instance_id, decide).instance_id


class Unpause(Command):
    """Unpause an instance."""

    action = "unpause"
    operation = "unpauseInstance"
    route = "/instances/<instance_id>/unpause"
    raises = (InstanceNotFound, NotRoot, InstanceClosed, RequestIdReused)
    said = "unpaused"

    instance_id: Text = instance_id()
    request_id: MaybeText = request_id(default=None)
    by: By = caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Have it go on; see ``Runner.unpause``."""
        who, name = self.by, self.request_id or ""

        def decide(state: State, now: int) -> State | None:
            event = Unpaused(name, who.name, who.source)
            if repeats(state, "unpause", name, ""):
                return state
            if state.closed:
                message = f"instance {self.instance_id} is {state.status}: there is nothing to unpause"
                raise InstanceClosed(message)
            if state.paused is None:
                return instances.append(state, now, event) if name else state
            return instances.go_on(state, going, now, event)

        return instances.change(self.instance_id, decide).instance_id
