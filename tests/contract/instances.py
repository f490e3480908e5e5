"""Instances for tests of stores: small builders of states and entries, as the runtime makes them."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.alarms import alarm
from hephaestus.engine.effects import Head, effects
from hephaestus.engine.events import (
    Claimed,
    Entry,
    Event,
    InstanceFinished,
    InstanceStarted,
    StepCompleted,
    Suspended,
)
from hephaestus.engine.fold import begin, following
from hephaestus.store.keys import life_name
from hephaestus.values import freeze

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.engine.state import State
    from hephaestus.store.store import Store

T0: Final = 1_764_000_000_123
LEASE_MS: Final = 60_000
_numbers = itertools.count(1)
_lock = threading.Lock()


def unique() -> str:
    """A commit id like the runtime's: 20 hexadecimal digits that nobody else has."""
    with _lock:
        return f"{next(_numbers):020x}"


@dataclass(frozen=True)
class Start:
    """A start that is ready to be written."""

    state: State
    first: Entry

    def write(self, store: Store) -> State | None:
        """Give it to a store."""
        return store.create(self.state, self.first)


def start(  # noqa: PLR0913 - what a start has
    instance_id: str,
    *,
    at: int = T0,
    owner: str | None = None,
    commit_id: str | None = None,
    workflow: str = "OrderFlow",
    version: int = 1,
    initial: Mapping[str, Any] | None = None,
    tags: tuple[str, ...] = (),
    metadata: Mapping[str, Any] | None = None,
) -> Start:
    """A start of ``instance_id``, with a claim in the same commit where there is an ``owner``."""
    started = InstanceStarted(
        workflow, version, freeze(initial or {"order": "abc123"}), tags, freeze(metadata or {}), unique()
    )
    events: tuple[Event, ...] = (started,) if owner is None else (started, Claimed(owner, at + LEASE_MS))
    first = Entry(1, commit_id or unique() + "f" * 12, at, events)
    return Start(begin(instance_id, 1, first, life_name(at, unique())), first)


def started(store: Store, instance_id: str, **options: Any) -> State:
    """The state of an instance that has just been started."""
    state = start(instance_id, **options).write(store)
    assert state is not None
    return state


def commit(state: State, *events: Event, at: int | None = None, commit_id: str | None = None) -> tuple[State, Entry]:
    """The state after one more commit, and its entry."""
    at = state.updated_at + 7 if at is None else at
    after, entry = following(state, commit_id or unique(), at, tuple(events))
    return after, replace(entry, alarm=alarm(state, entry, after))


def write(store: Store, state: State, *events: Event, boundary: bool | None = None, **options: Any) -> State:
    """The state after one more commit, which must succeed; the head follows where the runtime would have it do so."""
    after, entry = commit(state, *events, **options)
    stored = store.commit(after, entry)
    assert stored is not None
    if boundary is None:
        boundary = Head() in effects(state, entry, after)
    return store.settle(stored) if boundary else stored


def claim(store: Store, state: State, owner: str = "owner-1") -> State:
    """The state claimed by ``owner``."""
    return write(store, state, Claimed(owner, state.updated_at + LEASE_MS))


def step(name: str, *taken: str, **results: Any) -> StepCompleted:
    """A step that is done."""
    return StepCompleted(name, "done", taken, freeze(results), started_at=T0)


def suspend(store: Store, state: State, wake_at: int | None = None) -> State:
    """The state after its owner has left."""
    return write(store, state, Suspended(wake_at))


def finish(store: Store, state: State, status: str = "completed") -> State:
    """The state after its end."""
    return write(store, state, InstanceFinished(status))


def everything(store: Store, state: State) -> list[Entry]:
    """The whole log of a state's generation."""
    found = store.history(state.instance_id, state.generation, 0, 10_000)
    assert found is not None
    return list(found[1])
