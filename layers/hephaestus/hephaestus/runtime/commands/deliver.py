"""Delivers an event to an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.engine.events import EventReceived
from hephaestus.engine.inbox import accept, as_results
from hephaestus.engine.requests import repeats
from hephaestus.errors import (
    AmbiguousEvent,
    InstanceClosed,
    InstanceNotFound,
    InvalidInput,
    PayloadTooLarge,
    RequestIdReused,
    UnexpectedEvent,
    UnknownStep,
    UnknownVersion,
    UnknownWorkflow,
)
from hephaestus.runtime.commands.command import Command
from hephaestus.runtime.commands.members import (
    PAYLOAD,
    STEP,
    TEXT,
    By,
    MaybeStep,
    MaybeText,
    Payload,
    Text,
    caller,
    instance_id,
    member,
    request_id,
    required,
)
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
    errors = (
        InstanceNotFound,
        InstanceClosed,
        UnknownStep,
        UnknownWorkflow,
        UnknownVersion,
        UnexpectedEvent,
        AmbiguousEvent,
        InvalidInput,
        PayloadTooLarge,
        RequestIdReused,
    )
    named_by = "event_id"
    logged = ("instance_id", "event")

    instance_id: Text = instance_id()
    event: Text = required(TEXT, "The event's name.")
    payload: Payload = member(PAYLOAD, "The results of the step that takes the event: any JSON.", default=None)
    step: MaybeStep = member(STEP, "The step that is meant, where several could take it.", default=None)
    event_id: MaybeText = request_id(default=None)
    by: By = caller(default=None)

    def accepted(self) -> dict[str, Any]:
        """Which event it was."""
        return {"event": self.event}

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Deliver it; see ``Runner.resume``."""
        kept, who = self.payload, self.by
        check_size(as_results(kept), instances.store.max_value_bytes, f"instance {self.instance_id}: the payload")
        asked = self.digest(self.event, kept, self.step)

        def deliver(state: State, now: int) -> State | None:
            if repeats(state, "event", self.event_id, asked):
                return state
            target = accept(instances.registry.definition(state).graph, state, self.event, self.step)
            check_room(state, kept)
            activation = state.activation(target)
            received = EventReceived(activation, self.event, self.event_id or "", kept, who.name, who.source, asked)
            return instances.receive(state, going, now, received)

        return instances.change(self.instance_id, deliver).instance_id
