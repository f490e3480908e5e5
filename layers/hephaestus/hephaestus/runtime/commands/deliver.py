"""Delivers an event to an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus import errors
from hephaestus.engine.events import EventReceived
from hephaestus.engine.inbox import accept, as_results, local_items
from hephaestus.engine.requests import repeats
from hephaestus.runtime.addressing import far_item
from hephaestus.runtime.commands import members
from hephaestus.runtime.commands.command import Command
from hephaestus.runtime.sizes import check_room, check_size

if TYPE_CHECKING:
    from hephaestus.engine.state import State
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances


class Deliver(Command):
    """Deliver an event."""

    action = "resume"
    operation = "deliverEvent"
    route = "/instances/<instance_id>/events"
    served_by = "resume"
    raises = (
        errors.InstanceNotFound,
        errors.NotRoot,
        errors.InstanceClosed,
        errors.UnknownStep,
        errors.UnknownWorkflow,
        errors.UnknownVersion,
        errors.UnexpectedEvent,
        errors.AmbiguousEvent,
        errors.InvalidInput,
        errors.PayloadTooLarge,
        errors.RequestIdReused,
    )
    named_by = "event_id"
    logged = ("instance_id", "event")

    instance_id: members.Text = members.instance_id()
    event: members.Text = members.required(members.TEXT, "The event's name.")
    payload: members.Payload = members.member(
        members.PAYLOAD, "The results of the step that takes the event: any JSON.", default=None
    )
    step: members.MaybeStep = members.member(
        members.STEP, "The step that is meant, where several could take it.", default=None
    )
    item: members.MaybeText = members.member(
        members.TEXT, "The key of the item that is meant, where the step is a map.", default=None
    )
    event_id: members.MaybeText = members.request_id(default=None)
    by: members.By = members.caller(default=None)

    def accepted(self) -> dict[str, Any]:
        """Which event it was."""
        return {"event": self.event}

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Deliver it; see ``Runner.resume``."""
        kept, who, item = self.payload, self.by, self.item
        place = f"instance {self.instance_id}: the payload"
        room = check_size(as_results(kept), instances.store.max_value_bytes, place)
        asked = self.digest(self.event, kept, self.step, *(() if item is None else (item,)))

        def deliver(state: State, now: int) -> State | None:
            if repeats(state, "event", self.event_id, asked):
                return state
            line = accept(instances.registry.definition(state).graph, state, self.event, self.step, item)
            check_room(state, room)
            received = EventReceived(line, self.event, self.event_id or "", kept, who.name, who.source, asked)
            return instances.receive(state, going, now, received)

        if item is None:
            return instances.change(self.instance_id, deliver).instance_id

        def repeated(state: State) -> bool:
            return repeats(state, "event", self.event_id, asked)

        def route(state: State, now: int) -> State | None:
            graph = instances.registry.definition(state).graph
            others = local_items(graph, state, self.event, self.step, item)
            far = far_item(instances, graph, state, self.step, item, self.event, others)
            if far is not None and far.change(instances, deliver, repeated) is not None:
                return state
            return deliver(state, now)

        return instances.change(self.instance_id, route).instance_id
