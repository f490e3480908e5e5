"""What goes with a commit: schedules made and removed, messages sent.

A schedule is made and a message is sent after the commit that decided it, never before; a schedule is removed before
the commit that ends its wait. Either way a crash in between leaves an instance whose alarm is right, and no schedule
that nobody needs. All of it may fail: the alarm has the sweeper make up for what was not made, the queue for what was
not removed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hephaestus.engine.activation import step_of, token_of
from hephaestus.engine.events import LONGEST_MESSAGE_MS, HandedOver, HeartbeatReceived, Suspended, TimerSet
from hephaestus.errors import RetryLater
from hephaestus.runtime.ports import Timeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.engine.events import Entry
    from hephaestus.engine.state import State, Timer
    from hephaestus.runtime.ports import Timers, WorkQueue

_logger = logging.getLogger("hephaestus.effects")


@dataclass(frozen=True, slots=True)
class Effects:
    """Makes what commits call for happen."""

    timers: Timers
    queue: WorkQueue

    def prepare(self, before: State, entry: Entry, after: State) -> None:
        """Remove the schedules of the waits that ``entry``, about to be committed, ends early.

        Args:
            before: the state before the commit.
            entry: what is to be committed.
            after: the state after it.
        """
        if not before.timers or before.closed:
            return
        left, answers = _open(after), True
        for token, timer in _open(before).items():
            if token not in left and timer.scheduled and timer.due_at > entry.at:
                answers = self._remove(_timeout(before, timer), at_once=answers)

    def perform(self, before: State, entry: Entry, after: State) -> None:
        """Make the schedules and send the messages that ``entry`` calls for.

        Whoever is silent is asked once: what is left of the invocation is for the work.

        Args:
            before: the state before the commit.
            entry: what was committed.
            after: the state after it.
        """
        silent: list[object] = []
        for effect in self._called_for(before, entry, after):
            port = getattr(effect.func, "__self__", None)
            if port in silent:
                continue
            try:
                effect()
            except Exception as error:
                silent += [port] if isinstance(error, RetryLater) else []
                _logger.exception(
                    "instance %s: an effect of log entry %d failed; the sweeper will make up for it",
                    after.instance_id,
                    entry.sequence,
                )

    def _remove(self, timeout: Timeout, *, at_once: bool) -> bool:
        """Remove a schedule, or have the queue do it; whether the timers answer.

        Where they are silent, they are asked once a commit: what is left of the invocation is the commit's.
        """
        try:
            if at_once:
                self.timers.cancel(timeout)
                return True
        except Exception as error:  # noqa: BLE001 - whatever it was, the queue tries again
            at_once = not isinstance(error, RetryLater)
            _logger.warning("instance %s: a schedule could not be removed; queued", timeout.instance_id)
        self._attempt(timeout.instance_id, partial(self.queue.remove_schedule, timeout))
        return at_once

    def _attempt(self, instance_id: str, effect: Callable[[], object]) -> None:
        try:
            effect()
        except Exception:
            _logger.exception("instance %s: a schedule is left behind; it will fire once, for nothing", instance_id)

    def _called_for(self, before: State, entry: Entry, after: State) -> list[partial[Any]]:
        asked = {
            event.token for event in entry.events if isinstance(event, TimerSet)
        }  # whoever asked makes it, for its name
        known = _open(before)
        effects: list[partial[Any]] = [
            partial(self.timers.schedule, _timeout(after, timer))
            for token, timer in _open(after).items()
            if timer.scheduled and token not in known and token not in asked
        ]
        for event in entry.events:
            match event:
                case Suspended(wake_at=int(wake_at)):
                    effects += self._wake(after, wake_at, entry.at)
                case HandedOver():
                    effects.append(partial(self.queue.wake, after.instance_id))
                case HeartbeatReceived(due_at=due_at) if after.owner is None and after.paused is None:
                    effects += self._wake(after, due_at, entry.at)
                case _:
                    pass
        return effects

    def _wake(self, state: State, wake_at: int, now: int) -> list[partial[Any]]:
        """What wakes a suspended instance at ``wake_at``, unless a deadline's schedule does."""
        if any(timer.scheduled and timer.due_at == wake_at for timer in state.deadlines):
            return []
        delay = max(wake_at - now, 0)
        if delay <= LONGEST_MESSAGE_MS:
            return [partial(self.queue.wake, state.instance_id, delay)]
        undoing = state.compensation.left[:1] if state.compensation else ()
        due = [state.activation(step, undo=True) for step in undoing]
        due += [state.activation(key) for key, step in state.steps.items() if step.retry_at == wake_at]
        activation = due[0] if due else ""
        name = token_of(activation, f"retry{wake_at}")
        retry = Timeout(state.instance_id, state.generation, step_of(activation), name, wake_at)
        return [partial(self.timers.schedule, retry)]


def _open(state: State) -> dict[str, Timer]:
    """The timers that may still fire, by token: a closed instance has none."""
    return {} if state.closed else {timer.token: timer for timer in state.deadlines}


def _timeout(state: State, timer: Timer) -> Timeout:
    return Timeout(state.instance_id, state.generation, timer.step, timer.token, timer.due_at)
