"""What follows a commit: schedules made and removed, messages sent.

Effects come after the commit that decided them, never before, and may fail: the commit has set the alarm, so the
sweeper makes up for whatever does not happen here.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from hephaestus.engine.events import HandedOver, StepWaiting, Suspended
from hephaestus.runtime.ports import Timeout

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.engine.events import Entry
    from hephaestus.engine.state import State
    from hephaestus.runtime.ports import Timers, WorkQueue

LONGEST_DELAY_MS: Final = 15 * 60 * 1000  # SQS: DelaySeconds is at most 900

_logger = logging.getLogger("hephaestus.effects")


@dataclass(frozen=True, slots=True)
class Effects:
    """Makes what commits call for happen."""

    timers: Timers
    queue: WorkQueue

    def perform(self, before: State, entry: Entry, after: State) -> None:
        """Make the schedules and send the messages that ``entry`` calls for.

        Args:
            before: the state before the commit.
            entry: what was committed.
            after: the state after it.
        """
        for effect in self._called_for(before, entry, after):
            try:
                effect()
            except Exception:
                _logger.exception(
                    "instance %s: an effect of log entry %d failed; the sweeper will make up for it",
                    after.instance_id,
                    entry.sequence,
                )

    def _called_for(self, before: State, entry: Entry, after: State) -> list[Callable[[], object]]:
        left = {timer.token for timer in after.timers}
        ended_early = [
            timer for timer in before.timers if timer.token not in left and timer.scheduled and timer.due_at > entry.at
        ]
        effects: list[Callable[[], object]] = [
            partial(self.timers.cancel, _timeout(after, timer.step, timer.token, timer.due_at)) for timer in ended_early
        ]
        for event in entry.events:
            match event:
                case StepWaiting(scheduled=True, due_at=int(due_at)) if event.token in left:
                    effects.append(partial(self.timers.schedule, _timeout(after, event.step, event.token, due_at)))
                case Suspended(wake_at=int(wake_at)):
                    effects += self._wake(after, wake_at, entry.at)
                case HandedOver():
                    effects.append(partial(self.queue.wake, after.instance_id))
                case _:
                    pass
        return effects

    def _wake(self, state: State, wake_at: int, now: int) -> list[Callable[[], object]]:
        """What wakes a suspended instance at ``wake_at``, unless a deadline's schedule does."""
        if any(timer.scheduled and timer.due_at == wake_at for timer in state.timers):
            return []
        delay = max(wake_at - now, 0)
        if delay <= LONGEST_DELAY_MS:
            return [partial(self.queue.wake, state.instance_id, delay)]
        step = next((key for key, step in state.steps.items() if step.retry_at == wake_at), "")
        return [partial(self.timers.schedule, _timeout(state, step, f"{step}.retry", wake_at))]


def _timeout(state: State, step: str, token: str, due_at: int) -> Timeout:
    return Timeout(state.instance_id, state.generation, step, token, due_at)
