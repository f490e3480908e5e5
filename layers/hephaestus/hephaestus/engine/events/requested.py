"""Events that somebody asked for from outside.

``by`` says who asked, and ``by_source`` how that is known (see ``hephaestus.runtime.caller``). A request with an id has
a ``digest`` of what it asked for (see ``hephaestus.engine.requests``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.activation import step_of
from hephaestus.engine.events.event import Event, OfActivation, event, sooner, stays, step_now
from hephaestus.engine.events.life import OPEN
from hephaestus.engine.requests import NAME, named, remember, short
from hephaestus.engine.state import Received, Timer, Trail, added, evolve
from hephaestus.errors import CorruptLog

if TYPE_CHECKING:
    from hephaestus.engine.state import State

SHORTEST_GRAIN_MS: Final = 1_000


@event(stays("pending", "running", "waiting"))
class EventReceived(OfActivation):
    """An event from outside, accepted for ``step``; kept until that step waits. Without an id it has no repeats."""

    event: str
    event_id: str
    payload: Any = None
    by: str = ""
    by_source: str = ""
    digest: str = ""

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """It is kept, and remembered: the id of a link for as long as the generation."""
        step = step_now(state, self.activation)
        changed: dict[str, Any] = {
            "inbox": added(state.inbox, self.activation, Received(self.event, self.event_id, self.payload)),
            "trail": Trail(state.trail, step),
        }
        if self.by_source == "link":
            changed["links"] = (*state.links, short(self.event_id, NAME))
        else:
            changed["requests"] = remember(state.requests, "event", self.event_id, self.digest)
        if _wakes(state, step):
            changed["wake_at"] = sooner(state, at)
        return changed


@event(stays("pending", "running", "waiting"))
class TimerSet(Event):
    """A deadline for ``step`` asked for from outside: at ``due_at`` it is given the event ``emits``."""

    token: str
    activation: str
    due_at: int
    emits: str = "timeout"
    request_id: str = ""
    by: str = ""
    by_source: str = ""
    digest: str = ""

    @property
    def step(self) -> str:
        """The key of its step."""
        return step_of(self.activation)

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """One more timer."""
        step = step_now(state, self.activation)
        request = named("schedule_resume", self.request_id) if self.request_id else ""
        timer = Timer(self.token, self.activation, self.due_at, self.emits, scheduled=True, request=request)
        changed: dict[str, Any] = {
            "timers": added(state.timers, self.activation, (*state.timers.get(self.activation, ()), timer)),
            "timers_set": state.timers_set + 1,
            "requests": remember(state.requests, "schedule_resume", self.request_id, self.digest),
            "trail": Trail(state.trail, step),
        }
        if _wakes(state, step):
            changed["wake_at"] = sooner(state, self.due_at)
        return changed


@event(stays("running", "waiting"))
class HeartbeatReceived(OfActivation):
    """Who works for the waiting ``step`` is alive: its heartbeat is now missed at ``due_at``."""

    token: str
    due_at: int
    by: str = ""
    by_source: str = ""

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """Nothing is due before the first deadline or retry: an alarm that was this heartbeat's moves with it."""
        step = step_now(state, self.activation)
        known = state.timers.get(self.activation, ())
        beating = next((timer for timer in known if timer.heartbeat_ms), None)
        if beating is None:
            message = f"instance {state.instance_id}: step {step} has a heartbeat, but does not wait for one"
            raise CorruptLog(message)
        moved = replace(beating, token=self.token, due_at=self.due_at, beaten=True)
        timers = added(state.timers, self.activation, tuple(moved if timer is beating else timer for timer in known))
        changed: dict[str, Any] = {"timers": timers, "trail": Trail(state.trail, step)}
        alarmed = state.owner is None and state.paused is None and state.wake_at == beating.due_at
        if alarmed and not any(state.step_status(step_of(one)) == "waiting" for one in state.inbox):
            changed["wake_at"] = _first_time(evolve(state, **changed))
        return changed


@event(stays(*OPEN))
class CancelRequested(Event):
    """No further step starts; the instance ends when nothing runs, having undone what it did if ``compensate``."""

    reason: str = ""
    request_id: str = ""
    compensate: bool = False
    by: str = ""
    by_source: str = ""
    digest: str = ""

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """The first one counts."""
        requests = remember(state.requests, "cancel", self.request_id, self.digest)
        if state.cancel is not None:
            return {"requests": requests}
        return {"cancel": self, "paused": None, "requests": requests, "wake_at": sooner(state, at)}


@event(stays(*OPEN))
class Paused(Event):
    """No further step starts and no event is delivered before the instance is unpaused."""

    reason: str = ""
    request_id: str = ""
    by: str = ""
    by_source: str = ""
    digest: str = ""

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """The first one counts."""
        requests = remember(state.requests, "pause", self.request_id, self.digest)
        wake_at = None if state.owner is None else state.wake_at
        return {"paused": state.paused or self, "requests": requests, "wake_at": wake_at}


@event(stays(*OPEN))
class Unpaused(Event):
    """The instance is no longer paused."""

    request_id: str = ""
    by: str = ""
    by_source: str = ""
    digest: str = ""

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """It is due, if it was paused."""
        requests = remember(state.requests, "unpause", self.request_id, self.digest)
        if state.paused is None:
            return {"requests": requests}
        return {"paused": None, "requests": requests, "wake_at": sooner(state, at)}


def heartbeat_grain(heartbeat_ms: int) -> int:
    """How much later (ms) a heartbeat must move its deadline to be recorded: a tenth of it, at least a second.

    Of an interval that is shorter than two seconds it is half: a step that beats in time must not be missed.
    """
    return max(heartbeat_ms // 10, min(SHORTEST_GRAIN_MS, heartbeat_ms // 2), 1)


def _wakes(state: State, step: str) -> bool:
    """Whether something for ``step`` is to be looked at before the step asks for it."""
    return state.step_status(step) == "waiting" and state.paused is None


def _first_time(state: State) -> int:
    waiting = [timer.due_at for timer in state.deadlines if state.step_status(timer.step) == "waiting"]
    return min([*waiting, *(step.retry_at for step in state.steps.values() if step.retry_at is not None)])
