"""Performs the effects of commits, in order: schedules and messages, removals, status events, and last the head.

All of it may fail, and nothing of it holds back what comes after: the alarm has the sweep make up for what was not
made, and the queue for what was not removed or published.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from hephaestus.engine.effects import (
    GiveBack,
    Head,
    JoinLine,
    Keep,
    Leave,
    LeaveLine,
    Notify,
    Schedule,
    Stand,
    StartChild,
    StartOccurrence,
    Steer,
    Tell,
    Unschedule,
    Wake,
)
from hephaestus.engine.state import evolve
from hephaestus.errors import RetryLater
from hephaestus.runtime.names import is_schedule
from hephaestus.runtime.ports import Timeout
from hephaestus.runtime.quarantine import reason_of
from hephaestus.runtime.status_events import status_event
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.engine.effects import Effect, Owed
    from hephaestus.engine.state import State
    from hephaestus.runtime.ports import EventBus, Timers, WorkQueue
    from hephaestus.store.store import Store

_logger = logging.getLogger("hephaestus.effects")


@dataclass(slots=True)
class Performer:
    """Performs effects.

    Attributes:
        store, timers, queue: the adapters.
        bus: takes status events; without one there are none.
        family: does what other instances are told.
    """

    store: Store
    timers: Timers
    queue: WorkQueue
    bus: EventBus | None = None
    family: Callable[[Owed, State], object] | None = None

    def perform(self, effects: Sequence[Effect], state: State) -> State:
        """Perform what follows from a commit.

        A port that does not answer is asked once: what is left of the invocation is for the work.

        Args:
            effects: in their order.
            state: after the commit.

        Returns:
            ``state``, with what is known of where it is stored.
        """
        if not effects:
            return state
        silent: set[str] = set()
        left: list[Owed] = []
        blocked: list[str] = []
        others: set[str] = set()  # who could not be told: what each is told keeps its order
        for effect in effects:
            match effect:
                case (
                    StartChild()
                    | StartOccurrence()
                    | Tell()
                    | Steer()
                    | Keep()
                    | Stand()
                    | GiveBack()
                    | Leave()
                    | JoinLine()
                    | LeaveLine()
                ):
                    if not others.isdisjoint(effect.others) or not self._tell(effect, silent, state, blocked):
                        left.append(effect)
                        others.update(effect.others)
                case Head() if left:
                    pass  # it would hide what is to be done; the claim's alarm stays
                case Head():
                    published = state.kept._replace(unpublished=()) if state.kept.unpublished else state.kept
                    state = self._settle(evolve(state, kept=published._replace(owed=())))
                case _:
                    self._one(effect, silent, state)
        kept = state.kept._replace(owed=tuple(left), blocked="; ".join(blocked[:1]))
        return state if kept == state.kept else evolve(state, kept=kept)

    def _one(self, effect: Schedule | Unschedule | Wake | Notify, silent: set[str], state: State) -> None:
        """Perform an effect that nothing that follows depends on."""
        match effect:
            case Schedule(step, token, due_at):
                timeout = Timeout(state.instance_id, state.life, step, token, due_at)
                self._attempt("timers", silent, state, partial(self.timers.schedule, timeout))
            case Wake(delay_ms):
                self._attempt("queue", silent, state, partial(self.queue.wake, state.instance_id, delay_ms))
            case Unschedule(step, token, due_at):
                self._remove(Timeout(state.instance_id, state.life, step, token, due_at), silent, state)
            case Notify(news):
                self._publish(news, silent)

    def _tell(self, effect: Owed, silent: set[str], state: State, blocked: list[str]) -> bool:
        """Tell another instance; whether that was done. If not, ``blocked`` has why, but for passing conditions."""
        family = self.family
        assert family is not None  # noqa: S101 - the runner has set it
        return self._attempt("family", silent, state, partial(family, effect, state), blocked)

    def _attempt(
        self,
        port: str,
        silent: set[str],
        state: State,
        effect: Callable[[], object],
        blocked: list[str] | None = None,
    ) -> bool:
        """Perform an effect, unless its port is silent; whether that was done."""
        if port in silent:
            return False
        try:
            effect()
        except Exception as error:
            if isinstance(error, RetryLater):
                silent.add(port)
            elif blocked is not None:
                blocked.append(reason_of(error))
            _logger.exception(
                "instance %s: an effect of log entry %d failed; the sweep makes up for it",
                state.public_id,
                state.sequence,
            )
            return False
        return True

    def _remove(self, timeout: Timeout, silent: set[str], state: State) -> None:
        """Remove a schedule, or have the queue do it, which tries three times before it is a dead letter."""
        if not self._attempt("timers", silent, state, partial(self.timers.cancel, timeout)):
            self._attempt("removals", silent, state, partial(self.queue.remove_schedule, timeout))

    def _publish(self, news: State, silent: set[str]) -> None:
        """Publish a status event, or have the queue do it, which tries it until it is a dead letter."""
        if self.bus is None or is_schedule(news.instance_id):
            return
        event = status_event(news)
        if not self._attempt("bus", silent, news, partial(self.bus.publish, event)):
            self._attempt("events", set(), news, partial(self.queue.publish_later, event))

    def _settle(self, state: State) -> State:
        try:
            return self.store.settle(state)
        except Exception:
            _logger.exception(
                "instance %s: the head does not follow log entry %d yet; the sweep makes up for it",
                state.public_id,
                state.sequence,
            )
            return state
