"""Steers instances: cancel, pause and continue, redrive; ``Forks`` has the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hephaestus.caller import read_caller
from hephaestus.definition.business_key import check_id
from hephaestus.engine.advance import compensable
from hephaestus.engine.events import (
    CancelRequested,
    Continued,
    InstanceFinished,
    Paused,
)
from hephaestus.engine.plans import redriven
from hephaestus.engine.requests import repeats
from hephaestus.errors import InstanceClosed
from hephaestus.runtime.forks import Forks
from hephaestus.runtime.intake import check_flag, check_reason, check_text, request_digest

if TYPE_CHECKING:
    from hephaestus.caller import Caller
    from hephaestus.engine.state import State
    from hephaestus.runtime.dispatch import Dispatch


class Control(Forks):
    """What an operator does to instances.

    Every request may carry an id: made twice under one id, it is one, also when others came in between
    (see ``hephaestus.engine.requests``).
    """

    def cancel(  # noqa: PLR0913 - a request, and who makes it
        self,
        instance_id: str,
        reason: str = "",
        *,
        compensate: bool = False,
        request_id: str | None = None,
        by: Caller | str | None = None,
        dispatch: Dispatch | None = None,
    ) -> None:
        """Start nothing more; the instance ends as ``cancelled`` at once, or when the steps that run now have ended.

        Args:
            instance_id: the instance.
            reason: kept in its history, up to 1,000 characters.
            compensate: undo what its completed steps did before it ends.
            request_id: the same request twice is one; the second call answers as the first did.
            by: who asks for it; a text of up to 256 characters is a claim. Kept in its history.
            dispatch: where compensations run: in place or by the queue.

        Raises:
            InstanceNotFound: there is no such instance.
            InstanceClosed: it has ended already, or is compensating.
            UnknownVersion: its version is not deployed, so nothing of it can be undone.
            BadRequest: the reason or the request id is malformed, or ``compensate`` is no ``bool``.
            RequestIdReused: another request of this kind had the id.
        """
        instance_id, compensate = check_id(instance_id), check_flag("compensate", compensate)
        reason, request_id, who = _check_request(reason, request_id, by)
        asked = request_digest(reason, compensate) if request_id else ""
        request = CancelRequested(reason, request_id or "", compensate, who.name, who.source, asked)

        def decide(state: State, now: int) -> State | None:
            if repeats(state, "cancel", request_id, asked) or (state.cancel and not state.closed and not request_id):
                return state
            if state.closed or (state.compensation is not None and not state.cancel):
                message = f"instance {instance_id} is {state.status}: there is nothing to cancel"
                raise InstanceClosed(message)
            if state.cancel or state.owned(now):
                return self._append(state, now, request)
            if compensate and compensable(self.registry.definition(state).graph, state):
                return self._go_on(state, dispatch or self.dispatch, now, request)
            return self._append(state, now, request, InstanceFinished("cancelled"))

        self._change(instance_id, decide)

    def pause(
        self, instance_id: str, reason: str = "", *, request_id: str | None = None, by: Caller | str | None = None
    ) -> None:
        """Start nothing more for now. Running steps end, events are kept, deadlines that pass wait for its continuing.

        Args:
            instance_id: the instance.
            reason: kept in its history, up to 1,000 characters.
            request_id: the same request twice is one.
            by: who asks for it; a text of up to 256 characters is a claim. Kept in its history.

        Raises:
            InstanceNotFound: there is no such instance.
            InstanceClosed: it has ended, or is being cancelled without compensation.
            BadRequest: the reason or the request id is malformed.
            RequestIdReused: another request of this kind had the id.
        """
        instance_id = check_id(instance_id)
        reason, request_id, who = _check_request(reason, request_id, by)
        asked = request_digest(reason) if request_id else ""

        def decide(state: State, now: int) -> State | None:
            if repeats(state, "pause", request_id, asked) or (state.paused and not request_id):
                return state
            if state.closed or (state.cancel and not state.cancel.compensate):
                message = (
                    f"instance {instance_id} is {state.status if state.closed else 'being cancelled'}: nothing to pause"
                )
                raise InstanceClosed(message)
            return self._append(state, now, Paused(reason, request_id or "", who.name, who.source, asked))

        self._change(instance_id, decide)

    def unpause(
        self,
        instance_id: str,
        *,
        request_id: str | None = None,
        by: Caller | str | None = None,
        dispatch: Dispatch | None = None,
    ) -> None:
        """Continue an instance that was paused; one that is not paused is left as it is.

        Args:
            instance_id: the instance.
            request_id: the same request twice is one.
            by: who asks for it; a text of up to 256 characters is a claim. Kept in its history.
            dispatch: run in place or leave it to the queue.

        Raises:
            InstanceNotFound: there is no such instance.
            InstanceClosed: it has ended.
            BadRequest: the request id is malformed.
        """
        instance_id = check_id(instance_id)
        _, request_id, who = _check_request("", request_id, by)

        def decide(state: State, now: int) -> State | None:
            event = Continued(request_id or "", who.name, who.source)
            if repeats(state, "continue", request_id, ""):
                return state
            if state.closed:
                message = f"instance {instance_id} is {state.status}: there is nothing to continue"
                raise InstanceClosed(message)
            if state.paused is None:
                return self._append(state, now, event) if request_id else state
            return self._go_on(state, dispatch or self.dispatch, now, event)

        self._change(instance_id, decide)

    def redrive(
        self,
        instance_id: str,
        *,
        request_id: str | None = None,
        by: Caller | str | None = None,
        dispatch: Dispatch | None = None,
    ) -> None:
        """Have a failed, cancelled or parked instance go on from where it stopped.

        A step that failed starts again with its first attempt; a step that waited goes on waiting for as long as it had
        left. What was compensated runs again, and what followed from it, as new activations with idempotency keys of
        their own. Where a compensation failed, it is the compensation that goes on.

        Args:
            instance_id: the instance.
            request_id: the same request twice is one.
            by: who asks for it; a text of up to 256 characters is a claim. Kept in its history.
            dispatch: run in place or leave it to the queue.

        Raises:
            InstanceNotFound: there is no such instance.
            NotRedrivable: it is neither failed nor cancelled nor parked.
            UnknownWorkflow, UnknownVersion: its version is not deployed.
            BadRequest: the request id is malformed.
        """
        instance_id = check_id(instance_id)
        _, request_id, who = _check_request("", request_id, by)

        def decide(state: State, now: int) -> State | None:
            if repeats(state, "redrive", request_id, ""):
                return state
            event = redriven(self.registry.runnable(state).graph, state)
            event = replace(event, request_id=request_id or "", by=who.name, by_source=who.source)
            return self._go_on(state, dispatch or self.dispatch, now, event)

        self._change(instance_id, decide)


def _check_request(reason: str, request_id: str | None, by: Caller | str | None) -> tuple[str, str | None, Caller]:
    """The reason, the request id and the caller, as they are kept.

    Raises:
        BadRequest: one of them is malformed.
    """
    named = None if request_id is None else check_text("request_id", request_id)
    return check_reason(reason), named, read_caller(by)
