"""Takes the heartbeats of waiting steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus import errors
from hephaestus.engine.activation import parse
from hephaestus.engine.events import HeartbeatReceived, heartbeat_grain
from hephaestus.engine.inbox import MOST_NAMED, accepted_events, far_maps
from hephaestus.engine.state import heartbeat_token
from hephaestus.runtime.addressing import far_item
from hephaestus.runtime.commands.command import Command
from hephaestus.runtime.commands.members import (
    STEP,
    TEXT,
    By,
    MaybeStep,
    MaybeText,
    Text,
    caller,
    instance_id,
    member,
)

if TYPE_CHECKING:
    from hephaestus.engine.graph import Graph
    from hephaestus.engine.state import State, Timer
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances


class Heartbeat(Command):
    """Say that a waiting step is worked on."""

    action = "heartbeat"
    operation = "sendHeartbeat"
    route = "/instances/<instance_id>/heartbeat"
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
    )
    named_by = ""
    answers = "id"
    said = "heartbeat for"

    instance_id: Text = instance_id()
    step: MaybeStep = member(STEP, "The step, where several wait for heartbeats.", default=None)
    item: MaybeText = member(TEXT, "The key of the item that is meant, where the step is a map.", default=None)
    by: By = caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Take it; see ``Runner.heartbeat``."""
        del going  # nothing follows
        who = self.by

        def beat(state: State, now: int) -> State | None:
            graph = instances.registry.definition(state).graph
            check_open(state, graph, self.step, "takes no heartbeat")
            beating = _beating(graph, state, self.step, self.item)
            due_at = now + beating.heartbeat_ms
            token = heartbeat_token(beating.activation, state.attempt_of(beating.activation), due_at)
            if token == beating.token or (
                beating.beaten and due_at - beating.due_at < heartbeat_grain(beating.heartbeat_ms)
            ):
                return state
            return instances.append(
                state, now, HeartbeatReceived(beating.activation, token, due_at, who.name, who.source)
            )

        def route(state: State, now: int) -> State | None:
            graph = instances.registry.definition(state).graph
            others = [one.activation for one in _candidates(state, self.step, self.item)]
            far = far_item(instances, graph, state, self.step, self.item, others=others)
            if far is not None and far.change(instances, beat) is not None:
                return state
            return beat(state, now)

        return instances.change(self.instance_id, route).instance_id


def _beating(graph: Graph, state: State, wanted: str | None, item: str | None) -> Timer:
    """The deadline that a heartbeat puts off.

    Raises:
        UnexpectedEvent: no step or item, or not the one that is meant, waits for a heartbeat.
        AmbiguousEvent: several do.
    """
    found = _candidates(state, wanted, item)
    if item is None and (far := far_maps(graph, state, wanted)):
        message = f"instance {state.public_id}: items of {', '.join(far)} may wait for heartbeats; name the item"
        raise errors.AmbiguousEvent(message, [*far, *(timer.activation for timer in found)][:MOST_NAMED])
    if not found:
        which = f"no step {wanted}" if wanted else "no step"
        which = which if item is None else f"no item {item}{f' of step {wanted}' if wanted else ''}"
        message = f"instance {state.public_id}: {which} waits for a heartbeat now"
        if wanted and state.step_status(wanted) == "waiting":
            message = f"instance {state.public_id}: step {wanted} waits, and its wait asks for no heartbeat"
        raise errors.UnexpectedEvent(message, accepted_events(graph, state))
    if len(found) > 1:
        waiting = [timer.activation for timer in found[:MOST_NAMED]]
        which = "item" if any("[" in one for one in waiting) else "step"
        named = ", ".join(waiting)
        message = f"instance {state.public_id}: {named} wait for heartbeats; name the {which} that is meant"
        raise errors.AmbiguousEvent(message, waiting)
    return found[0]


def _candidates(state: State, wanted: str | None, item: str | None) -> list[Timer]:
    """The deadlines that a heartbeat may put off."""
    found = [timer for timer in state.deadlines if timer.heartbeat_ms and wanted in {None, timer.step}]
    return found if item is None else [timer for timer in found if parse(timer.activation).item == item]


def check_open(state: State, graph: Graph, step: str | None, what: str) -> None:
    """Reject a step that is not there, and an instance that has ended.

    Raises:
        UnknownStep: the workflow has no such step.
        InstanceClosed: the instance has ended or is ending; ``what`` says what follows from it.
    """
    if step is not None and step not in graph.predecessors:
        steps = ", ".join(graph.order)
        message = f"instance {state.public_id}: workflow {state.workflow} has no step {step!r}; it has {steps}"
        raise errors.UnknownStep(message)
    if state.closed or state.compensation is not None or state.cancel is not None:
        status = "being cancelled" if state.cancel and not state.closed else state.status
        message = f"instance {state.public_id} is {status}: {what}"
        raise errors.InstanceClosed(message)
