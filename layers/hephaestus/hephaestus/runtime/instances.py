"""Reads and changes instances one commit at a time: what every part of the runner is built on."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hephaestus.engine.activation import text_of
from hephaestus.engine.events import Claimed, Entry, Event, InstanceStarted, StepsStarted
from hephaestus.engine.fold import apply, begin, following
from hephaestus.engine.state import TIMED
from hephaestus.errors import AlreadyRunning, InstanceNotFound, NotRoot, TooBusy, UnexpectedEvent, UnknownStep
from hephaestus.runtime.announce import tell_commit, tell_start
from hephaestus.runtime.dispatch import Dispatch, InPlace
from hephaestus.runtime.sizes import check_room
from hephaestus.runtime.starts import start_commit
from hephaestus.store.keys import life_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.definition.definition import Definition
    from hephaestus.engine.events import EventReceived
    from hephaestus.engine.state import State
    from hephaestus.runtime.commits import Commits
    from hephaestus.runtime.dispatch import Budget
    from hephaestus.runtime.executor import Executor
    from hephaestus.runtime.limits import Limits
    from hephaestus.runtime.ports import Clock, Timers, WorkQueue
    from hephaestus.runtime.registry import Registry

TRIES: Final = 20

_logger = logging.getLogger("hephaestus.runner")


class Instances:
    """The few moves that every change of an instance is made of.

    Args:
        commits: makes entries true.
        timers, queue: the adapters.
        registry: the deployed workflows.
        clock: time and randomness.
        limits: what executions keep to.
        executor: runs instances.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what an instance is moved by
        self,
        commits: Commits,
        timers: Timers,
        queue: WorkQueue,
        registry: Registry,
        clock: Clock,
        limits: Limits,
        executor: Executor,
    ) -> None:
        self.commits = commits
        self.store = commits.store
        self.timers = timers
        self.queue = queue
        self.registry = registry
        self.clock = clock
        self.limits = limits
        self.executor = executor

    def load(self, instance_id: str) -> State:
        """The newest state.

        Raises:
            InstanceNotFound: there is no such instance.
        """
        state = self.store.load(instance_id)
        if state is None:
            message = f"there is no instance {instance_id}"
            raise InstanceNotFound(message)
        return state

    def history(self, instance_id: str, generation: int | None, after: int, limit: int) -> tuple[int, Sequence[Entry]]:
        """The number of a generation, by default the newest, and its log after entry ``after``.

        Raises:
            InstanceNotFound: there is no such instance or generation.
        """
        found = self.store.history(instance_id, generation, after, limit)
        if found is None:
            which = "" if generation is None else f" with a generation {generation}"
            message = f"there is no instance {instance_id}{which}"
            raise InstanceNotFound(message)
        return found

    def change(self, instance_id: str, decide: Callable[[State, int], State | None]) -> State:
        """Have ``decide`` change the newest state; whenever another writer was faster, have it decide again.

        Args:
            instance_id: the instance.
            decide: given the state and the time (ms), it commits and returns the state after; ``None`` if it lost.

        Raises:
            InstanceNotFound: there is no such instance.
            TooBusy: others were faster every time.
        """
        state = self.load(instance_id)
        for _ in range(TRIES):
            after = self._decide(decide, state)
            if after is not None:
                return after
            state = self._reload(state)
        message = (
            f"instance {instance_id} is being changed by many callers at once; this call changed nothing, try again"
        )
        raise TooBusy(message)

    def _decide(self, decide: Callable[[State, int], State | None], state: State) -> State | None:
        """What ``decide`` comes to.

        Raises:
            UnknownVersion: in place of an error about a step or an event where the deployment lacks a step that the
                instance is at.
        """
        try:
            return decide(state, self._now(state))
        except (UnexpectedEvent, UnknownStep):
            if not state.closed:
                self.registry.runnable(state)
            raise

    def _reload(self, state: State) -> State:
        """The state after what others wrote meanwhile."""
        newer = self.store.tail(state)
        if newer is None:
            # The life is over, and its successor may not be there yet.
            self.store.tidy(state.instance_id, None, self.clock.now(), finish=self.commits.finish)
            return self.load(state.instance_id)
        return newer

    def append(self, state: State, now: int, *events: Event) -> State | None:
        """The state after one more commit, what follows from it done; ``None`` if another writer was faster."""
        after, entry = following(state, self.clock.unique(), now, events)
        return self.commits.commit(state, entry, after, tell=tell_commit)

    def receive(self, state: State, going: Dispatch, now: int, received: EventReceived) -> State | None:
        """Commit an event for a step, and have the instance go on where the step waits for it; see ``go_on``."""
        status = state.step_status(received.step)
        if status in TIMED and received.step in self.registry.definition(state).graph.ends_on:
            received, status = replace(received, ends=True), "waiting"
        if status == "waiting" and state.paused is None:
            return self.go_on(state, going, now, received)
        return self.append(state, now, received)

    def go_on(self, state: State, going: Dispatch, now: int, *events: Event) -> State | None:
        """Commit ``events`` and have the instance go on: in this invocation or by the queue, unless somebody is at it.

        Returns:
            The state after; ``None`` if another writer was faster, and nothing has happened.
        """
        if isinstance(going, InPlace) and not state.owned(now):
            definition = self.registry.runnable(apply(state, events, now))
            return self.executor.run(state, (*events, self.claim(going.budget)), definition, going.budget)
        return self.append(state, now, *events)

    def create(
        self, instance_id: str, definition: Definition, beginning: tuple[Event, ...], asked: str, going: Dispatch
    ) -> State:
        """Commit a new instance and have it go on. The same start made twice is one: its commit id says so.

        Args:
            instance_id: the instance.
            definition: what it runs on.
            beginning: its first events.
            asked: the digest of what the caller asked for, where the start has a name; see ``start_commit``.
            going: run in place or leave it to the queue.

        Raises:
            AlreadyRunning: an instance with this id is active.
            NotRoot: a child has the id, open or closed: its parent may undo it, or read what it left.
            RequestIdReused: another start of this instance had the same name.
        """
        now = self.clock.now()
        first = beginning[0]
        assert isinstance(first, InstanceStarted)  # noqa: S101 - every log begins with it
        waits = self.executor.pauses().of(first.workflow) is not None
        claim = self.claim(going.budget) if isinstance(going, InPlace) and not waits else None
        opening: tuple[Event, ...] = (claim, *_named(definition, beginning)) if claim else ()
        commit_id = start_commit(instance_id, type(beginning[-1]).__name__, first.start_id, asked)
        entry = Entry(1, commit_id, now, (*beginning, *opening))
        fresh = begin(instance_id, 1, entry, life_name(now, claim.owner if claim else self.clock.unique()))
        check_room(fresh)
        started = self.commits.start(fresh, entry)
        if started is None:
            other = self.store.load(instance_id)
            if other is not None and other.attached and other.origin is not None:
                message = f"instance {instance_id} is a child of {other.origin.instance_id}: use another id"
                raise NotRoot(message)
            message = f"instance {instance_id} is active: wait for it to end, cancel it, or use another id"
            raise AlreadyRunning(message)
        state, own = started
        if not own:
            return state
        # The same start made again may find it as it was; only the call that made it, at its own time, tells of it.
        if state.created_at == now and (claim is None or state.owner == claim.owner):
            tell_start(state, definition.graph.start)
        if claim is not None and isinstance(going, InPlace) and state.owner == claim.owner:
            return self.executor.run(state, (), self.registry.definition(state), going.budget) or state
        return state

    def is_repeat(self, instance_id: str, last: type[Event], start_id: str | None, asked: str) -> bool:
        """Whether the newest generation began with this very start: then it is answered as it was then.

        Asked only where a start would be rejected, by rules that may have come with a later deployment.

        Args:
            instance_id: the instance.
            last: the kind of start, by the last event that begins one.
            start_id: the start's name; without one it repeats nothing.
            asked: the digest of what it asks for.
        """
        if start_id is None:
            return False
        found = self.store.history(instance_id, None, 0, 1)
        return found is not None and found[1][0].commit_id == start_commit(instance_id, last.__name__, start_id, asked)

    def _now(self, state: State) -> int:
        """The time, but never before the newest entry's: the times in a log do not go back."""
        return max(self.clock.now(), state.updated_at)

    def claim(self, budget: Budget) -> Claimed:
        """The event by which an invocation with ``budget`` becomes the owner."""
        return Claimed(self.clock.unique(), budget.deadline + self.limits.lease_margin_ms)


def _named(definition: Definition, beginning: tuple[Event, ...]) -> tuple[Event, ...]:
    """The first step, as about to start: of an instance that begins, everybody knows what runs first."""
    start = definition.graph.start
    declared = definition.declared[start]
    waits = declared.pure or declared.limits or definition.limits
    return () if len(beginning) > 1 or waits else (StepsStarted((text_of(start),)),)
