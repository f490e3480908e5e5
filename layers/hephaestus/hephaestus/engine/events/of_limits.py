"""Events of limits: an attempt, or an instance, takes its permits or stands in line for them (rules F.1 to F.4)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hephaestus.engine.activation import INSTANCE, is_item, step_of
from hephaestus.engine.events.children import deadline
from hephaestus.engine.events.event import Event, OfActivation, event, stays
from hephaestus.engine.records import Held, Queued
from hephaestus.engine.state import added, child_of, without

if TYPE_CHECKING:
    from hephaestus.engine.records import Failure, Grant, Need
    from hephaestus.engine.state import State


@event(stays("running"))
class PermitsTaken(OfActivation):
    """An attempt has the permits that it needs; the owner starts it right after this commit, or as soon as it can.

    Without a step, it is the instance that has those of its workflow, until it is closed; and its children go on that
    were to wait for that.
    """

    attempt: int
    grants: tuple[Grant, ...]
    whole: bool = False
    order: int = 0
    owner: str = ""

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """It holds them, and stands in no line."""
        held = Held(self.attempt, self.grants, self.whole, self.order, self.owner)
        queued = without(state.queued, self.activation) if self.activation in state.queued else state.queued
        permits = added(state.permits, self.activation, held)
        found = {"permits": permits, "queued": queued, **asked(state, self.activation)}
        return {**found, **_go_on(state, at)} if self.activation == INSTANCE and state.resuming else found


@event(stays("running"))
class StepQueued(OfActivation):
    """An attempt stands in line for its permits from now on; until it has them it does not run.

    Without a step, it is the instance: nothing of it runs.
    """

    attempt: int
    needs: tuple[Need, ...]
    order: int
    whole: bool = False

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """It holds none; what is named already does not start."""
        own, queued = self.activation, Queued(self.attempt, self.needs, self.order, self.whole, at)
        permits = without(state.permits, self.activation) if self.activation in state.permits else state.permits
        left = () if self.activation == INSTANCE else state.running
        return {
            "queued": added(state.queued, self.activation, queued),
            "permits": permits,
            "running": tuple([one for one in left if not (one == own or is_item(one, step_of(own)))]),
            **asked(state, own),
        }


@event(stays("running"))
class LimitsFailed(Event):
    """The ``per`` of a limit of the workflow has failed, and with it the instance."""

    error: Failure

    def changes(self, _state: State, _at: int) -> dict[str, Any]:
        """It will end as failed, and its error says that no step was what failed."""
        message = f"the workflow's limits could not be read: {self.error.message}"
        return {"verdict": replace(self.error, message=message)}


def _go_on(state: State, at: int) -> dict[str, Any]:
    """The children that were redriven with the instance go on."""
    children = {one: child_of(state, one).resumed for one in state.resuming}
    timers = {one: found for one, child in children.items() if (found := deadline(one, child, at))}
    return {
        "children": {**state.children, **children},
        "timers": {**state.timers, **timers} if timers else state.timers,
        "resuming": (),
    }


def asked(state: State, activation: str) -> dict[str, Any]:
    """The ``per`` of a map's limits has been asked, and did not end the process: it will be asked again much later.

    So has that of a rate, for an item.
    """
    if activation not in state.choosing or state.step_status(step_of(activation)) != "mapping":
        return {}
    return {"choosing": without(state.choosing, activation)}
