"""Events of steps that are workflows: a child starts, is stopped, and has ended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.activation import step_of, token_of
from hephaestus.engine.events.event import Event, OfActivation, event, stays, step_after, step_now
from hephaestus.engine.events.steps import TRIED
from hephaestus.engine.records import NOTHING, Child
from hephaestus.engine.state import StepState, Timer, Trail, added
from hephaestus.errors import CorruptLog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.engine.records import Failure
    from hephaestus.engine.state import State

LOST: Final = "lost"  # the status of a child that could not be reached, and the event of its timer
REJECTED: Final = "rejected"  # the status of a child whose id another instance has


@event(stays("running"), dict.fromkeys(TRIED, "waiting"))
class ChildStarted(OfActivation):
    """``step`` starts the instance ``child`` and waits for its end, at most for ``within_ms``, if that is not 0.

    The fields from ``workflow`` to ``timeout_ms`` are what the child starts with: all of it is decided here. It is
    started as an effect of this commit. Whoever starts one that is ``detached`` does not wait for it.
    """

    child: str
    workflow: str
    version: int
    initial: Mapping[str, Any] = NOTHING
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = NOTHING
    graph: str = ""
    timeout_ms: int = 0
    started_at: int = 0
    attempt: int = 1
    within_ms: int = 0
    detached: bool = False

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """The step waits; the deadline is a timer."""
        step, activation = step_now(state, self.activation), self.activation
        waiting = StepState(step_after(state, step, self), self.attempt, started_at=self.started_at)
        child = Child(self.child, self.detached, within_ms=self.within_ms)
        timers = (*state.timers.get(activation, ()), *deadline(activation, child, at))
        return {
            "steps": added(state.steps, step, waiting),
            "timers": added(state.timers, activation, timers) if timers else state.timers,
            "children": added(state.children, activation, child),
            "running": tuple([one for one in state.running if one != activation]),
            "trail": Trail(state.trail, step),
        }


@event(stays("running"))
class ChildrenStopping(Event):
    """The children of these ``activations`` are cancelled: at their deadline (``timeout``), or as the instance ends.

    One that has not ended by ``give_up_at`` (ms) is left to itself.
    """

    activations: tuple[str, ...]
    reason: str
    give_up_at: int

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """They have an hour, and no other deadline."""
        children, timers, trail = dict(state.children), dict(state.timers), state.trail
        for activation in self.activations:
            children[activation] = replace(_open(state, activation), stopping=self.reason)
            timers[activation] = (Timer(token_of(activation, LOST), activation, self.give_up_at, LOST, scheduled=True),)
            trail = Trail(trail, step_of(activation))
        return {"children": children, "timers": timers, "trail": trail}


@event(stays("compensating"))
class ChildUndoing(OfActivation):
    """The child of ``activation``, which had completed, is asked to undo what it did."""

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """Its end is waited for once more."""
        step, undoing = step_now(state, self.activation), state.compensation
        known = state.steps[step].child if step in state.steps else None
        if known is None or undoing is None or undoing.left[:1] != (step,):
            message = f"instance {state.instance_id}: {self.activation} has no child that is to be undone next"
            raise CorruptLog(message)
        child = replace(known.reopened, stopping="undo")
        return {"children": added(state.children, self.activation, child), "trail": Trail(state.trail, step)}


@event(stays("running", "compensating"))
class ChildEnded(OfActivation):
    """The child of ``activation`` has ended as ``status`` with its log entry ``number``, as its mail said.

    Without mail it is ``lost``; ``rejected`` where another instance has its id.
    """

    status: str
    number: int = 0
    output: Mapping[str, Any] = NOTHING
    error: Failure | None = None

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """What becomes of the step follows."""
        known = _open(state, self.activation)
        number = self.number or known.number
        ended = replace(known, status=self.status, output=self.output, error=self.error, number=number)
        return {
            "children": added(state.children, self.activation, ended),
            "trail": Trail(state.trail, step_now(state, self.activation)),
        }


def deadline(activation: str, child: Child, at: int) -> tuple[Timer, ...]:
    """The timer of a child that starts, or goes on, at ``at`` (ms), if it has a time."""
    if not child.within_ms:
        return ()
    return (Timer(token_of(activation, f"child{at}"), activation, at + child.within_ms, scheduled=True),)


def _open(state: State, activation: str) -> Child:
    """The child of an activation that has not ended.

    Raises:
        CorruptLog: there is none.
    """
    known = state.children.get(activation)
    if known is None or known.status:
        message = f"instance {state.instance_id}: {activation} has no child that is open"
        raise CorruptLog(message)
    return known
