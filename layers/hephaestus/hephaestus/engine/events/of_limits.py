"""Events of limits: an attempt takes its permits, or stands in line for them (rules F.1 to F.4 in the docs)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.engine.events.event import OfActivation, event, stays
from hephaestus.engine.records import Held, Queued
from hephaestus.engine.state import added, without

if TYPE_CHECKING:
    from hephaestus.engine.records import Grant, Need
    from hephaestus.engine.state import State


@event(stays("running"))
class PermitsTaken(OfActivation):
    """An attempt has the permits that it needs; the owner starts it right after this commit, or as soon as it can."""

    attempt: int
    grants: tuple[Grant, ...]
    whole: bool = False
    order: int = 0
    owner: str = ""

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """It holds them, and stands in no line."""
        held = Held(self.attempt, self.grants, self.whole, self.order, self.owner)
        queued = without(state.queued, self.activation) if self.activation in state.queued else state.queued
        return {"permits": added(state.permits, self.activation, held), "queued": queued}


@event(stays("running"))
class StepQueued(OfActivation):
    """An attempt stands in line for its permits from now on; until it has them it does not run."""

    attempt: int
    needs: tuple[Need, ...]
    order: int
    whole: bool = False

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """It holds none."""
        queued = Queued(self.attempt, self.needs, self.order, self.whole, at)
        permits = without(state.permits, self.activation) if self.activation in state.permits else state.permits
        return {
            "queued": added(state.queued, self.activation, queued),
            "permits": permits,
            "running": tuple([one for one in state.running if one != self.activation]),
        }
