"""Answers a waiting step for whoever holds a callback link: the link's own rules, checked where the event is committed.

A link is used once. That it is, that its generation is still the newest and that its step still waits is judged on the
very state that the event is appended to, so that of two answers made at once exactly one is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.engine.agenda import OPEN
from hephaestus.engine.events import EventReceived
from hephaestus.engine.inbox import accept, as_results, check_takes_events
from hephaestus.engine.map_items import is_open_item
from hephaestus.engine.requests import link_used
from hephaestus.errors import InstanceNotFound, LinkOutdated, LinkUsed, StepMovedOn
from hephaestus.runtime.addressing import far_item
from hephaestus.runtime.commands.command import Command
from hephaestus.runtime.commands.members import PAYLOAD, Member, Payload, Rule, member, required
from hephaestus.runtime.sizes import check_room, check_size

if TYPE_CHECKING:
    from hephaestus.callbacks.link import Link
    from hephaestus.engine.state import State
    from hephaestus.runtime.addressing import FarItem
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances


class Answer(Command):
    """Give a link's step its event, once.

    The API takes it at a route of its own, where the link's token is the permission.
    """

    action = "answer"
    served_by = "callback"
    named_by = ""

    link: Member[Link, Link] = required(Rule(object, lambda _, link: link, {}), "The verified link.")
    payload: Payload = member(PAYLOAD, "The step's results, unless the link brings them.", default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Give it; see ``Runner.answer``."""
        link = self.link
        kept: Any = self.payload if link.payload is None else PAYLOAD.read("'payload'", link.payload)
        place = f"instance {link.instance_id}: the payload"
        room = check_size(as_results(kept), instances.store.max_value_bytes, place)

        def deliver(state: State, now: int) -> State | None:
            check_room(state, room)
            line = state.line(link.step) if link.item is None else link.activation
            only = link.activation if link.item is None else ""
            received = EventReceived(line, link.event, link.event_id, kept, link.event_id, "link", only=only)
            return instances.receive(state, going, now, received)

        def route(state: State, now: int) -> State | None:
            if (far := _far_item(instances, state, link)) is None:
                check_link(instances, state, link)
                return deliver(state, now)

            def answered(holder: State, now: int) -> State | None:
                _check_far(instances, state, holder, link)
                return deliver(holder, now)

            try:
                instances.change(far.holder, answered)
            except InstanceNotFound:
                raise _moved_on(link) from None
            return state

        return instances.change(link.instance_id, route).instance_id


def check_link(instances: Instances, state: State, link: Link) -> None:
    """Reject a link that cannot be used on ``state``, and say why.

    Raises:
        InstanceClosed, LinkOutdated, LinkUsed, StepMovedOn, UnexpectedEvent: it cannot be used.
        UnknownWorkflow, UnknownVersion: the instance's workflow is not deployed.
    """
    named = f"instance {link.instance_id}"
    _check_life(state, link)
    if (far := _far_item(instances, state, link)) is not None:
        holder = instances.store.load(far.holder)
        if holder is None:
            raise _moved_on(link)
        _check_far(instances, state, holder, link)
        return
    if link.item is not None:
        _check_item_link(state, link, link.item)
        accept(instances.registry.definition(state).graph, state, link.event, link.step, link.item)
        return
    known, now = state.steps.get(link.step), state.activation(link.step)
    if link_used(state, link.event_id):
        open_ = known is None or known.status in OPEN
        undone = open_ and state.line(link.step) not in state.inbox and link.activation in ("", now)
        said = f"and its answer {link.event!r} is recorded: there is no more to do"
        if undone:
            said = "but what it answered was undone, and is asked for again: use the new link, or ask for one"
        message = f"{named}: this link has been used, {said}"
        raise LinkUsed(message)
    if link.activation not in ("", now) and (known is None or known.status in OPEN):
        message = f"{named}: this link is for {link.activation}, which is over: step {link.step} is at {now}"
        raise LinkOutdated(message)
    ended = known is not None and known.status not in OPEN
    if known is not None and ended and not (state.closed and known.event is None):
        how = f"ended with {known.event!r}" if known.event else f"is {known.status}"
        message = f"{named}: step {link.step} does not wait any more, it {how}; nothing was changed"
        raise StepMovedOn(message)
    received, graph = state.inbox.get(state.line(link.step)), instances.registry.definition(state).graph
    lines_up = not link.activation and link.step in graph.rounds
    if received is not None and not state.closed and not lines_up:
        event = received.event
        message = f"{named}: step {link.step} has been given {event!r} already; nothing was changed"
        raise StepMovedOn(message)
    accept(graph, state, link.event, link.step)


def _check_life(state: State, link: Link) -> None:
    if state.life != link.life:
        message = f"instance {link.instance_id} has been started again since this link was made; ask for a new link"
        raise LinkOutdated(message)


def _far_item(instances: Instances, state: State, link: Link) -> FarItem | None:
    """The item that a link is for, where another instance than its map's runs it."""
    if link.item is None or state.life != link.life or link.activation != state.item(link.step, link.item):
        return None
    return far_item(instances, instances.registry.definition(state).graph, state, link.step, link.item)


def _check_far(instances: Instances, owner: State, holder: State, link: Link) -> None:
    """Reject a link that cannot be used on the instance that runs its item; see ``check_link``."""
    _check_item_link(holder, link, link.item or "")
    if owner.step_status(link.step) != "mapping":
        raise _moved_on(link)
    check_takes_events(owner)
    if holder.closed or holder.cancel or holder.compensation:
        raise _moved_on(link)
    accept(instances.registry.definition(holder).graph, holder, link.event, link.step, link.item)


def _moved_on(link: Link) -> StepMovedOn:
    return StepMovedOn(
        f"instance {link.instance_id}: item {link.item} of step {link.step} does not wait any more; nothing was changed"
    )


def _check_item_link(state: State, link: Link, item: str) -> None:
    """Reject a link of an item that cannot be used on ``state``; see ``check_link``."""
    named, now = f"instance {link.instance_id}", state.item(link.step, item)
    if link_used(state, link.event_id):
        message = f"{named}: this link has been used, and its answer {link.event!r} is recorded: there is no more to do"
        raise LinkUsed(message)
    if link.activation != now:
        message = f"{named}: this link is for {link.activation}, which is over: the item is at {now}"
        raise LinkOutdated(message)
    if not is_open_item(state, now) or now in state.inbox:
        how = "has been given an event already" if now in state.inbox else "does not wait any more"
        message = f"{named}: item {item} of step {link.step} {how}; nothing was changed"
        raise StepMovedOn(message)
