"""Gives steps deadlines from outside, by one-shot schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus import errors
from hephaestus.engine.activation import token_of
from hephaestus.engine.advance import is_reachable
from hephaestus.engine.events import TimerSet
from hephaestus.engine.inbox import accepted_events
from hephaestus.engine.map_items import is_open_item
from hephaestus.engine.requests import named, repeats
from hephaestus.runtime.addressing import far_item
from hephaestus.runtime.commands import members
from hephaestus.runtime.commands.command import Command
from hephaestus.runtime.commands.heartbeat import check_open
from hephaestus.runtime.ports import Timeout

if TYPE_CHECKING:
    from hephaestus.engine.graph import Graph
    from hephaestus.engine.state import State
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances

MAX_TIMERS: Final = 100


class ScheduleResume(Command):
    """Give a step the event ``timeout`` after a delay. The API has no route for it."""

    action = "schedule_resume"
    raises = (
        errors.InstanceNotFound,
        errors.NotRoot,
        errors.UnknownStep,
        errors.UnknownWorkflow,
        errors.UnknownVersion,
        errors.InvalidDelay,
        errors.RequestIdReused,
        errors.InstanceClosed,
        errors.UnexpectedEvent,
    )
    answers = "schedule_name"
    logged = ("instance_id", "step")

    instance_id: members.Text = members.instance_id()
    step: members.AStep = members.required(members.STEP, "The step.")
    item: members.MaybeText = members.member(
        members.TEXT, "The key of the item that is meant, where the step is a map.", default=None
    )
    delay_ms: members.Number = members.required(members.DELAY, "The delay in milliseconds.")
    request_id: members.MaybeText = members.request_id(default=None)
    by: members.By = members.caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Make the schedule and return its name; see ``Runner.schedule_resume``."""
        del going  # the schedule goes on
        who, step, timers = self.by, self.step, instances.timers
        asked = self.digest(step, self.delay_ms, *(() if self.item is None else (self.item,)))
        what = f"r{named(self.action, self.request_id)}" if self.request_id is not None else ""

        def repeated(state: State) -> bool:
            return repeats(state, self.action, self.request_id, asked)

        def set_timer(state: State, now: int) -> State | None:
            if repeated(state):
                return state
            graph = instances.registry.definition(state).graph
            check_open(state, graph, step, "nothing can be scheduled for it")
            _check_times_out(graph, state, step, self.item)
            if (already := sum(1 for _ in state.deadlines)) >= MAX_TIMERS:
                has = f"instance {self.instance_id} has {already} deadlines"
                message = f"{has}, the most there are: wait until some have passed"
                raise errors.BadRequest(message)
            activation, line = _names(state, step, self.item)
            own = token_of(line, what or f"s{state.timers_set + 1}")
            asking = (self.request_id or "", who.name, who.source, asked)
            return instances.append(state, now, TimerSet(own, activation, now + self.delay_ms, "timeout", *asking))

        set_: list[State] = []

        def route(state: State, now: int) -> State | None:
            far = far_item(instances, instances.registry.definition(state).graph, state, step, self.item)
            after = None if far is None else far.change(instances, set_timer, repeated)
            if after is None:
                return set_timer(state, now)
            set_.append(after)
            return state

        after = instances.change(self.instance_id, route)
        after = set_[-1] if set_ else after
        # A redrive moves it, token and all; whichever round of its step it is for, a request has one token.
        activation, line = _names(after, step, self.item)
        token, known = token_of(line, what), after.timers.get(activation, ())
        timer = next((one for one in reversed(known) if not what or one.token.endswith(f"#{what}")), None)
        if timer is None or after.closed:  # a repeat that comes when its deadline is over
            return timers.name(Timeout(after.instance_id, after.life, step, token, 0))
        return timers.schedule(Timeout(after.instance_id, after.life, step, timer.token, timer.due_at))


def _names(state: State, step: str, item: str | None) -> tuple[str, str]:
    """The activation that a deadline is for, and what it is named by, whichever round of the step it is for."""
    if item is not None:
        return state.item(step, item), state.item(step, item)
    return state.activation(step), state.line(step)


def _check_times_out(graph: Graph, state: State, step: str, item: str | None) -> None:
    """Reject a deadline for a step, or an item, that could do nothing with it.

    Raises:
        UnexpectedEvent: the step routes no ``timeout``, or will not wait any more.
    """
    where = f"instance {state.public_id}: step {step}"
    if item is not None or step in graph.maps:
        if step not in graph.maps:
            message = f"{where} is no map, it has no items"
        elif item is None:
            message = f"{where} is a map: name the item that is meant"
        elif not is_open_item(state, state.item(step, item)):
            message = f"{where}: it has no item {item!r} that will wait"
        elif "timeout" not in graph.maps[step].events:
            message = f"{where}: its items emit no 'timeout', which is what a deadline gives them; declare the event"
        else:
            return
        raise errors.UnexpectedEvent(message, accepted_events(graph, state))
    child = state.children.get(state.activation(step))
    if child is not None and (child.stopping or child.status):
        message = f"{where}: its child {child.instance_id} is being stopped, or has ended"
    elif not is_reachable(graph, state, step):
        message = f"{where} is {state.step_status(step)}, it will not wait any more"
    elif "timeout" not in graph.edges[step]:
        message = f"{where} routes no 'timeout', which is what a deadline gives it; add it to the step's transitions"
    else:
        return
    raise errors.UnexpectedEvent(message, accepted_events(graph, state))
