"""Cancels an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus.engine.advance import changed, compensable
from hephaestus.engine.events import CancelRequested, InstanceFinished
from hephaestus.engine.fold import apply
from hephaestus.engine.requests import repeats
from hephaestus.engine.state import not_undone, undoes_at_cancel
from hephaestus.errors import (
    InstanceClosed,
    InstanceNotFound,
    NotRoot,
    RequestIdReused,
    UnknownVersion,
    UnknownWorkflow,
)
from hephaestus.runtime.commands import members
from hephaestus.runtime.commands.command import Command, check_root

if TYPE_CHECKING:
    from hephaestus.engine.state import State
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances


class Cancel(Command):
    """Cancel an instance."""

    action = "cancel"
    of_schedules = True
    operation = "cancelInstance"
    route = "/instances/<instance_id>/cancel"
    raises = (InstanceNotFound, InstanceClosed, NotRoot, UnknownWorkflow, UnknownVersion, RequestIdReused)
    asks = True

    instance_id: members.Text = members.instance_id()
    reason: members.Text = members.member(members.REASON, "Kept in its history.", default="")
    compensate: members.Flag = members.member(
        members.FLAG, "Whether what the instance did is undone first.", default=False
    )
    request_id: members.MaybeText = members.request_id(default=None)
    by: members.By = members.caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Cancel it; see ``Runner.cancel``."""
        asked = self.digest(self.reason, self.compensate)
        who, name = self.by, self.request_id or ""
        request = CancelRequested(self.reason, name, self.compensate, who.name, who.source, asked)

        def decide(state: State, now: int) -> State | None:
            if repeats(state, "cancel", name, asked) or (state.cancel and not state.closed and not name):
                return state
            if state.closed or (state.compensation is not None and not state.cancel):
                message = f"instance {self.instance_id} is {state.status}: there is nothing to cancel"
                raise InstanceClosed(message)
            check_root(state, who, instances.store)
            if state.cancel or state.owned(now):
                return instances.append(state, now, request)
            if state.children:
                return instances.go_on(state, going, now, request)
            if undoes_at_cancel(apply(state, (request,), now)):
                graph = instances.registry.definition(state).graph
                undoes = compensable(graph, state) or not_undone(state)
                if undoes or changed(graph, apply(state, (request,), now)):
                    return instances.go_on(state, going, now, request)
            return instances.append(state, now, request, InstanceFinished("cancelled"))

        return instances.change(self.instance_id, decide).instance_id
