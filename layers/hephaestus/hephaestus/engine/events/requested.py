"""Events that somebody asked for from outside.

``by`` says who asked, and ``by_source`` how that is known (see ``hephaestus.runtime.caller``). A request with an id has
a ``digest`` of what it asked for (see ``hephaestus.engine.requests``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.activation import step_of
from hephaestus.engine.events.event import Event, OfActivation, event, stays, step_now
from hephaestus.engine.events.life import OPEN
from hephaestus.engine.records import Received
from hephaestus.engine.requests import NAME, named, remember, short
from hephaestus.engine.state import Timer, Trail, added
from hephaestus.errors import CorruptLog

if TYPE_CHECKING:
    from hephaestus.engine.state import State

SHORTEST_GRAIN_MS: Final = 1_000


@event(stays("pending", "running", "waiting"))
class EventReceived(OfActivation):
    """An event from outside, accepted for ``step``; kept until that step waits. Without an id it has no repeats.

    Of a step with rounds it is for the round that waits next, or for the activation ``only``. One that ``ends`` its
    step was accepted between two attempts, which it ends at once.
    """

    event: str
    event_id: str
    payload: Any = None
    by: str = ""
    by_source: str = ""
    digest: str = ""
    only: str = ""
    ends: bool = False

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """It is kept, and remembered: the id of a link for as long as the generation."""
        step = step_now(state, line := self.activation, any_round=True)
        received = Received(self.event, self.event_id, self.payload, self.only)
        changed: dict[str, Any] = {"trail": Trail(state.trail, step)}
        if line in state.inbox:
            changed["lines"] = added(state.lines, line, (*state.lines.get(line, ()), received))
        else:
            changed["inbox"] = added(state.inbox, line, received)
        if self.by_source == "link":
            changed["links"] = (*state.links, short(self.event_id, NAME))
        else:
            changed["requests"] = remember(state, "event", self.event_id, self.digest)
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
        return {
            "timers": added(state.timers, self.activation, (*state.timers.get(self.activation, ()), timer)),
            "timers_set": state.timers_set + 1,
            "requests": remember(state, "schedule_resume", self.request_id, self.digest),
            "trail": Trail(state.trail, step),
        }


@event(stays("running", "waiting"))
class HeartbeatReceived(OfActivation):
    """Who works for the waiting ``step`` is alive: its heartbeat is now missed at ``due_at``."""

    token: str
    due_at: int
    by: str = ""
    by_source: str = ""

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """Its deadline moves."""
        step = step_now(state, self.activation)
        known = state.timers.get(self.activation, ())
        beating = next((timer for timer in known if timer.heartbeat_ms), None)
        if beating is None:
            message = f"instance {state.instance_id}: step {step} has a heartbeat, but does not wait for one"
            raise CorruptLog(message)
        moved = replace(beating, token=self.token, due_at=self.due_at, beaten=True)
        timers = added(state.timers, self.activation, tuple(moved if timer is beating else timer for timer in known))
        return {"timers": timers, "trail": Trail(state.trail, step)}


@event(stays(*OPEN))
class CancelRequested(Event):
    """No further step starts; the instance ends when nothing runs, having undone what it did if ``compensate``."""

    reason: str = ""
    request_id: str = ""
    compensate: bool = False
    by: str = ""
    by_source: str = ""
    digest: str = ""

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """The first one counts."""
        requests = remember(state, "cancel", self.request_id, self.digest)
        if state.cancel is not None:
            return {"requests": requests}
        return {"cancel": self, "paused": None, "requests": requests}


@event(stays(*OPEN))
class Paused(Event):
    """No further step starts and no event is delivered before the instance is unpaused.

    Where its workflow is paused, the instance is looked at again at ``look_at``; a pause of its own takes the
    place of that.
    """

    reason: str = ""
    request_id: str = ""
    by: str = ""
    by_source: str = ""
    digest: str = ""
    paused_at: int = 0  # known of what a state holds, not of what the log does
    look_at: int = 0

    def changes(self, state: State, at: int) -> dict[str, Any]:
        """The first one counts, but for those of the workflow."""
        requests = remember(state, "pause", self.request_id, self.digest)
        known = state.paused
        counts = known is None or known.look_at
        return {"paused": replace(self, paused_at=at) if counts else known, "requests": requests}


@event(stays(*OPEN))
class Unpaused(Event):
    """The instance is no longer paused."""

    request_id: str = ""
    by: str = ""
    by_source: str = ""
    digest: str = ""

    def changes(self, state: State, _at: int) -> dict[str, Any]:
        """It goes on."""
        requests = remember(state, "unpause", self.request_id, self.digest)
        if state.paused is None:
            return {"requests": requests}
        return {"paused": None, "requests": requests}


def heartbeat_grain(heartbeat_ms: int) -> int:
    """How much later (ms) a heartbeat must move its deadline to be recorded: a tenth of it, at least a second.

    Of an interval that is shorter than two seconds it is half: a step that beats in time must not be missed.
    """
    return max(heartbeat_ms // 10, min(SHORTEST_GRAIN_MS, heartbeat_ms // 2), 1)
