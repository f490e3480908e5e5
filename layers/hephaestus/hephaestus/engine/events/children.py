"""Events of steps that are workflows: a child starts, is stopped, and has ended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.activation import parse, step_of, token_of
from hephaestus.engine.events.event import Event, OfActivation, event, stays, step_after, step_now
from hephaestus.engine.events.steps import TRIED
from hephaestus.engine.records import NOTHING, Child
from hephaestus.engine.state import StepState, Timer, Trail, added, child_in, part_in, without
from hephaestus.errors import CorruptLog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.engine.records import Failure
    from hephaestus.engine.state import State

LOST: Final = "lost"  # the status of a child that could not be reached, and the event of its timer
REJECTED: Final = "rejected"  # the status of a child whose id another instance has


@event(stays("running"), {**dict.fromkeys(TRIED, "waiting"), "mapping": "mapping"})
class ChildStarted(OfActivation):
    """``step`` starts the instance ``child`` and waits for its end, at most for ``within_ms``, if that is not 0.

    The fields from ``workflow`` to ``timeout_ms`` are what the child starts with: all of it is decided here. It is
    started as an effect of this commit. Whoever starts one that is ``detached`` does not wait for it. A step that
    ``asks`` runs once more when the child has completed, and says whether another round follows.
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
    asks: bool = False

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """The step waits, or the item of a map; the deadline is a timer."""
        step, activation = step_now(state, self.activation), self.activation
        if "[" in activation:
            return self._of_item(state, step, at)
        loop = state.loop(step)
        waiting = StepState(step_after(state, step, self), self.attempt, started_at=self.started_at, loop=loop)
        number = 1 if loop is None else loop.rounds + 1
        child = Child(self.child, self.detached, within_ms=self.within_ms, round=number, asks=self.asks)
        timers = (*state.timers.get(activation, ()), *deadline(activation, child, at))
        return {
            "steps": added(state.steps, step, waiting),
            "timers": added(state.timers, activation, timers) if timers else state.timers,
            "children": added(state.children, activation, child),
            "running": tuple([one for one in state.running if one != activation]),
            "trail": Trail(state.trail, step),
        }

    def _of_item(self, state: State, step: str, at: int) -> dict[str, Any]:
        """The item is waited for; its map goes on as it was."""
        step_after(state, step, self)
        known = part_in(state, self.activation)
        child = Child(self.child, number=known.number, within_ms=self.within_ms)
        timers = deadline(self.activation, child, at)
        mapped = state.steps[step].mapped
        open_ = without(mapped.open, parse(self.activation).item or "") if mapped is not None else NOTHING
        changed = mapped and replace(state.steps[step], mapped=replace(mapped, open=open_))
        return {
            "steps": added(state.steps, step, changed) if changed else state.steps,
            "timers": added(state.timers, self.activation, timers) if timers else state.timers,
            "children": added(state.children, self.activation, child),
            "running": tuple([one for one in state.running if one != self.activation]),
            "isolated": tuple([one for one in state.isolated if one != self.activation]),
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
            scheduled = "[" not in activation  # of a hundred parts, the alarm is enough
            timers[activation] = (Timer(token_of(activation, LOST), activation, self.give_up_at, LOST, scheduled),)
            trail = Trail(trail, step_of(activation))
        return {"children": children, "timers": timers, "trail": trail}


@event(stays("compensating"))
class ChildUndoing(OfActivation):
    """The child of ``activation``, which had completed, is asked to undo what it did.

    ``number`` is that of the entry that closed it, where the state does not know that any more;
    ``of_item`` is whether the activation is an item that is a workflow.
    """

    number: int = 0
    of_item: bool = False

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """Its end is waited for once more; those of later rounds are undone."""
        step, undoing = _step_of(state, self.activation), state.compensation
        if step not in state.steps or undoing is None or undoing.left[:1] != (step,):
            message = f"instance {state.instance_id}: {self.activation} has no child that is to be undone next"
            raise CorruptLog(message)
        found = parse(self.activation)
        if found.item is not None:
            known = part_in(state, self.activation)
            child = replace(known, stopping="undo")
            return {"children": added(state.children, self.activation, child), "trail": Trail(state.trail, step)}
        known = child_in(state, step, found.round)
        child = replace(known.reopened, stopping="undo", number=max(known.number, self.number))
        others = {one: other for one, other in state.children.items() if step_of(one) != step}
        return {"children": added(others, self.activation, child), "trail": Trail(state.trail, step)}


@event(stays("running", "compensating"))
class ChildEnded(OfActivation):
    """The child of ``activation`` has ended as ``status`` with its log entry ``number``, as its mail said.

    Without mail it is ``lost``; ``rejected`` where another instance has its id. ``stuck``: it has failed, and could not
    undo all that it did. ``ended_at`` is when it did (ms), by its own clock: of several, the last is undone first.
    """

    status: str
    number: int = 0
    output: Mapping[str, Any] = NOTHING
    error: Failure | None = None
    stuck: bool = False
    ended_at: int = 0

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """What becomes of the step follows; one that asks begins its attempts anew, and has no deadline any more."""
        known, step = _open(state, self.activation), _step_of(state, self.activation)
        number = self.number or known.number
        began_at = state.steps[step].started_at  # what led to it ended before, whatever the child's clock says
        ended_at = max(min(self.ended_at or at, at), began_at)
        how = {"status": self.status, "output": self.output, "error": self.error, "stuck": self.stuck}
        ended = replace(known, number=number, ended_at=ended_at, **how)  # type: ignore[arg-type]  # each is of its field's type
        changed: dict[str, Any] = {
            "children": added(state.children, self.activation, ended),
            "trail": Trail(state.trail, step),
        }
        if ended.asked:
            changed["steps"] = added(state.steps, step, replace(state.steps[step], attempt=0))
            if self.activation in state.timers:
                changed["timers"] = without(state.timers, self.activation)
        return changed


def deadline(activation: str, child: Child, at: int) -> tuple[Timer, ...]:
    """The timer of a child that starts, or goes on, at ``at`` (ms), if it has a time."""
    if not child.within_ms:
        return ()
    return (Timer(token_of(activation, f"child{at}"), activation, at + child.within_ms, scheduled=True),)


def _step_of(state: State, activation: str) -> str:
    """The step of an activation of its newest epoch, of whichever round.

    Raises:
        CorruptLog: it is of another epoch, or of a round that has not begun.
    """
    found = parse(activation)
    known = state.steps.get(found.step)
    if known is None or found.round > known.round or found.epoch != state.epochs.get(found.step, 0):
        message = f"instance {state.instance_id}: {activation} has started no child that counts"
        raise CorruptLog(message)
    return found.step


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
