"""Goes on with instances that a message, a schedule or the sweep wakes."""

from __future__ import annotations

import logging
from itertools import count
from typing import TYPE_CHECKING, Final

from hephaestus.engine.advance import Sleep, advance
from hephaestus.engine.effects import again
from hephaestus.engine.events import Parked, Unpaused
from hephaestus.engine.state import is_part
from hephaestus.errors import (
    CorruptLog,
    InstanceNotFound,
    InvariantBroken,
    UnknownVersion,
    UnknownWorkflow,
)
from hephaestus.runtime.dispatch import Enqueue
from hephaestus.runtime.lines import is_called, sweep
from hephaestus.runtime.names import DECLARATIONS, said_id
from hephaestus.runtime.orphans import forget, unread
from hephaestus.runtime.quarantine import quarantine, reason_of, tell_parked
from hephaestus.runtime.turns import call
from hephaestus.runtime.workflow_pauses import is_paused_workflows, pause_of, wake_waiting
from hephaestus.store.permits import LIMIT, is_limit
from hephaestus.store.reservations import RATES, is_rate

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from hephaestus.definition.definition import Definition
    from hephaestus.engine.mail import Mail
    from hephaestus.engine.state import State
    from hephaestus.runtime.dispatch import Budget
    from hephaestus.runtime.instances import Instances
    from hephaestus.runtime.ports import Timeout

PARK_MS: Final = 60 * 1000
LONGEST_PARK_MS: Final = 60 * 60 * 1000
EARLY_MS: Final = 5_000
LONGEST_MOMENT_MS: Final = 200
LOOKS: Final = 5  # then who was outrun each time, perhaps not by owners, claims all the same

_logger = logging.getLogger("hephaestus.runner")


class Waker:
    """Goes on with instances; has those wait that cannot."""

    def __init__(self, instances: Instances) -> None:
        self._instances = instances

    def wake(self, instance_id: str, *, budget: Budget, alarms: Sequence[str] = (), gone: Collection[str] = ()) -> None:
        """Go on with an instance if there is something to do and nobody does it; a message or the sweep says so.

        Where there is nothing to do, what a crash left undone is made up for: effects, the head, alarms. An instance
        that cannot be read is left as it is and looked at again in about an hour.

        Args:
            instance_id: the instance.
            budget: how long it may take.
            alarms: the keys of log entries that showed an alarm.
            gone: owners that are known to be dead, however long their leases last.

        Raises:
            StoreUnavailable: the store did not answer; send the message again.
        """
        if instance_id == DECLARATIONS:
            from hephaestus.runtime.declarations import declare  # noqa: PLC0415 - the sweep asks for it now and then

            declare(self._instances, Enqueue())
            return
        if is_rate(instance_id):
            own = self._instances
            call(instance_id.removeprefix(RATES), own.store, own.clock, own.queue, own.registry.rates())
            return
        if is_limit(instance_id):
            own = self._instances
            sweep(instance_id.removeprefix(LIMIT), own.store, own.clock, own.queue, own.registry.limits())
            return
        if is_paused_workflows(instance_id):
            wake_waiting(self._instances.store, self._instances.queue, self._instances.clock)
            return
        try:
            self._wake(instance_id, budget, alarms, gone)
        except CorruptLog as error:
            quarantine(self._instances.store, self._instances.clock, instance_id, error, alarms)

    def _wake(self, instance_id: str, budget: Budget, alarms: Sequence[str], gone: Collection[str]) -> None:
        tries = count()

        def go_on(state: State, now: int) -> State | None:
            looks = next(tries) < LOOKS
            if state.owned(now) and state.owner not in gone:
                return state
            if state.closed:
                return self._tidy(state, now, alarms)
            try:
                return self._run(state, now, budget, alarms, looks=looks)
            except (UnknownWorkflow, UnknownVersion) as error:
                reason = reason_of(error)
                if _is_parked(state, reason, now):
                    return self._tidy(state, now, alarms)
                return self._park(state, now, reason)

        try:
            state = self._instances.change(instance_id, go_on)
            if state.kept.blocked and state.owner is None:
                self._park(state, max(self._instances.clock.now(), state.updated_at), state.kept.blocked)
        except InstanceNotFound:
            _logger.warning("instance %s: woken, but there is no such instance", said_id(instance_id))
            own = self._instances
            own.store.tidy(instance_id, None, own.clock.now(), alarms, own.commits.finish)
        except InvariantBroken as error:
            _logger.exception("instance %s: the engine met a state that its rules exclude", said_id(instance_id))
            reason = f"a defect of the engine ({error}); report it, then redrive the instance"
            self._instances.change(instance_id, lambda state, now: self._park(state, now, reason))

    def _run(self, state: State, now: int, budget: Budget, alarms: Sequence[str], *, looks: bool) -> State | None:
        """Run an instance that nobody owns, if there is anything to do; see ``_is_outrun`` for who ``looks`` again."""
        if state.paused is not None and state.paused.look_at:
            return self._wait_on(state, now, budget, alarms)
        definition = self._instances.registry.runnable(state)
        if state.parked is not None and state.kept.owed:
            state = self._perform(state, now)  # what it is parked for may be possible now
        if not _has_work(definition, state, now):
            reported = self._reported(state)
            if not reported and not self._is_called(state):
                return self._tidy(state, now, alarms)
            if looks and len(reported) > 1 and is_part(state, reported[0].activation) and self._is_outrun(state):
                return None
        return self._instances.executor.run(state, (self._instances.claim(budget),), definition, budget)

    def _wait_on(self, state: State, now: int, budget: Budget, alarms: Sequence[str]) -> State | None:
        """Have an instance go on whose workflow is not paused any more; else it waits on, and is looked at later."""
        own = self._instances
        paused = own.executor.pauses().of(state.workflow, fresh=True)
        if paused is None or state.owner is not None:
            opening = (*(() if paused is not None else (Unpaused(),)), own.claim(budget))
            return own.executor.run(state, opening, own.registry.runnable(state), budget)
        if state.wake_at is None or state.wake_at > now:
            return self._tidy(state, now, alarms)
        pause = pause_of(state, paused, now)
        return self._tidy(state, now, alarms) if pause is None else own.append(state, now, pause)

    def _reported(self, state: State) -> Sequence[Mail]:
        """What children have reported."""
        return unread(state, self._instances.store) if state.children else ()

    def _is_called(self, state: State) -> bool:
        """Whether something that stood in line was called."""
        return bool(state.queued or state.turns) and is_called(state, self._instances.store)

    def _is_outrun(self, state: State) -> bool:
        """Whether another has claimed an instance meanwhile: many parts of a map report at once, and each wakes it.

        Those that come at one time look again, each after a moment of its own, so that one of them claims.
        """
        clock, store = self._instances.clock, self._instances.store
        clock.sleep(int(LONGEST_MOMENT_MS * clock.random()))
        newest = store.reader.newest(state.instance_id)
        return newest is None or newest.sequence != state.sequence or newest.life != state.life

    def _tidy(self, state: State, now: int, alarms: Sequence[str]) -> State:
        """Make up for what a crash left undone."""
        if state.orphan and forget(state, now, self._instances.store):
            return state
        if state.kept.settled < state.sequence and not state.kept.ended and not state.kept.blocked:
            state = self._perform(state, now)
        self._instances.store.tidy(state.instance_id, state, now, alarms, self._instances.commits.finish)
        return state

    def _perform(self, state: State, now: int) -> State:
        return self._instances.commits.performer.perform(again(state, now), state)

    def timeout(self, timeout: Timeout, *, budget: Budget) -> None:
        """A one-shot schedule fired: give its step the timeout, unless it has moved on."""
        early = timeout.due_at - self._instances.clock.now()
        if 0 < early <= EARLY_MS:
            self._instances.clock.sleep(early)
        self.wake(timeout.instance_id, budget=budget)

    def _park(self, state: State, now: int, reason: str) -> State | None:
        """Leave an instance that cannot go on for now; it is looked at again later and later, and nothing is lost."""
        if state.closed or _is_parked(state, reason, now):
            return state
        pause = min(PARK_MS * 2 ** min(state.parks, 10), LONGEST_PARK_MS)
        after = self._instances.append(state, now, Parked(reason, now + pause))
        if after is not None:
            tell_parked(state.public_id, reason, after)
        return after


def _is_parked(state: State, reason: str, now: int) -> bool:
    """Whether an instance waits for the same reason already."""
    return state.parked == reason and (state.wake_at or 0) > now


def _has_work(definition: Definition, state: State, now: int) -> bool:
    """Whether an execution would find anything to do at ``now`` (ms): a dead owner, a passed alarm, a decision."""
    if state.owner is not None or (state.wake_at is not None and state.wake_at <= now and not state.kept.blocked):
        return True
    commands = advance(definition.graph, state, now)
    return not (len(commands) == 1 and isinstance(commands[0], Sleep))
