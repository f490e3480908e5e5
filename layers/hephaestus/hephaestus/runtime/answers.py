"""Answers waiting steps for whoever holds a link: the link's own rules, checked where the event is committed.

A link is used once. That it is, that its generation is still the newest and that its step still waits is judged on the
very state that the event is appended to, so that of two answers made at once exactly one is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.engine.events import EventReceived
from hephaestus.engine.inbox import accept, as_results
from hephaestus.engine.requests import link_used
from hephaestus.runtime.instances import Instances
from hephaestus.runtime.intake import read_payload
from hephaestus.runtime.sizes import check_room, check_size

if TYPE_CHECKING:
    from hephaestus.callbacks.link import Link
    from hephaestus.engine.state import State
    from hephaestus.runtime.dispatch import Dispatch


class Answers(Instances):
    """What a link's holder may do."""

    def look(self, link: Link) -> str:
        """The name of the workflow that the link is for, if it could be used now.

        Raises:
            InstanceNotFound, InstanceClosed, LinkOutdated, LinkUsed, StepMovedOn, UnexpectedEvent: it could not.
            UnknownWorkflow, UnknownVersion: the instance's workflow is not deployed.
        """
        state = self._load(link.instance_id)
        self._accepts(state, link)
        return state.workflow

    def answer(self, link: Link, payload: Any = None, *, dispatch: Dispatch | None = None) -> None:
        """Give the link's step its event, once.

        Args:
            link: what the link says; it must have been verified.
            payload: JSON-safe data that becomes the step's results; the link's own where it has any.
            dispatch: run in place or leave it to the queue.

        Raises:
            InstanceNotFound, InstanceClosed, LinkOutdated, LinkUsed, StepMovedOn, UnexpectedEvent: it cannot be used.
            UnknownWorkflow, UnknownVersion: the instance's workflow is not deployed; nothing is lost, deploy it again.
            InvalidInput, PayloadTooLarge: the payload cannot be stored.
        """
        kept = read_payload(payload if link.payload is None else link.payload, "payload")
        check_size(as_results(kept), self.store.max_value_bytes, f"instance {link.instance_id}: the payload")
        going = dispatch or self.dispatch

        def deliver(state: State, now: int) -> State | None:
            self._accepts(state, link)
            check_room(state, kept)
            received = EventReceived(link.step, link.event, link.event_id, kept, link.event_id, "link")
            if state.step_status(link.step) == "waiting" and state.paused is None:
                return self._go_on(state, going, now, received)
            return self._append(state, now, received)

        self._change(link.instance_id, deliver)

    def _accepts(self, state: State, link: Link) -> None:
        """Refuse a link that cannot be used on ``state``, and say why."""
        from hephaestus.callbacks.errors import LinkOutdated, LinkUsed, StepMovedOn  # noqa: PLC0415 - only with links

        named = f"instance {link.instance_id}"
        if state.generation != link.generation:
            message = f"{named} has been started again since this link was made; ask for a new link"
            raise LinkOutdated(message)
        if link_used(state, link.event_id):
            message = (
                f"{named}: this link has been used, and its answer {link.event!r} is recorded: there is no more to do"
            )
            raise LinkUsed(message)
        known = state.steps.get(link.step)
        ended = known is not None and known.status not in ("waiting", "retrying")
        if known is not None and ended and not (state.closed and known.event is None):
            how = f"ended with {known.event!r}" if known.event else f"is {known.status}"
            message = f"{named}: step {link.step} does not wait any more, it {how}; nothing was changed"
            raise StepMovedOn(message)
        if link.step in state.inbox and not state.closed:
            event = state.inbox[link.step].event
            message = f"{named}: step {link.step} has been given {event!r} already; nothing was changed"
            raise StepMovedOn(message)
        accept(self.registry.definition(state).graph, state, link.event, link.step)
