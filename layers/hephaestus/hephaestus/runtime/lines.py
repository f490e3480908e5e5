"""Permits of limits, for the instances that need them: effects, looks at what was granted, and the sweep of a limit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from hephaestus.definition.reasons import lasting, ordinal
from hephaestus.engine.effects import GiveBack, Leave, Stand
from hephaestus.engine.records import Need
from hephaestus.engine.shards import limit_of, stored_as
from hephaestus.errors import CorruptLog, RetryLater
from hephaestus.runtime import turns
from hephaestus.runtime.names import said_id
from hephaestus.runtime.telemetry import LIMIT_SWEPT, emit, heard
from hephaestus.runtime.turns import MOST_LOOKED_AT, in_line
from hephaestus.store.permits import Holder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hephaestus.definition.concurrency import Concurrency
    from hephaestus.engine.effects import OfLimits
    from hephaestus.engine.records import Grant, Held
    from hephaestus.engine.state import State
    from hephaestus.runtime.ports import Clock, WorkQueue
    from hephaestus.store.permits import Usage
    from hephaestus.store.store import Store

MOST_MEASURED: Final = 10  # places in a line, of which the longest wait is a metric

_logger = logging.getLogger("hephaestus.permits")


def holding(state: State, activation: str, held: Held) -> Holder:
    """The name under which an attempt has its permits."""
    return Holder(state.instance_id, state.life, activation, held.attempt, held.order, held.owner)


def is_called(state: State, store: Store) -> bool:
    """Whether something that stood in line has its permits or its time, or does not stand there any more."""
    if state.closed or state.paused is not None:
        return False
    places = state.queued.items()
    called = any(store.permits.find(in_line(state, one, queued), queued.needs) != () for one, queued in places)
    return called or turns.is_called(state, store)


def stand(state: State, activation: str, store: Store, clock: Clock, queue: WorkQueue) -> tuple[Grant, ...]:
    """Have what the log of ``state`` says stand in line, or take its permits; those, if it has them.

    A pause may have come since, and have left the line before this joined it: so the log is read once more.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    queued = state.queued[activation]
    name, now = in_line(state, activation, queued), clock.now()
    found = store.permits.stand(name, queued.needs, now, clock.unique())
    newer = store.tail(state)
    if newer is not None and newer.queued.get(activation) != queued and activation not in newer.permits:
        wake(store.permits.leave(name, queued.needs, now, clock.unique()), queue)
        return ()
    return found


def perform(effect: OfLimits, state: State, store: Store, clock: Clock, queue: WorkQueue) -> None:
    """Do what follows from a commit, for the instance ``state``.

    Raises:
        StoreUnavailable: it is still to be done.
    """
    now, unique, woken = clock.now(), clock.unique(), list[str]()
    match effect:
        case Stand(activation, queued):
            # Only while the log says so: what is done again later may not stand in line any more.
            if state.queued.get(activation) == queued:
                woken = [state.instance_id] if stand(state, activation, store, clock, queue) else []
        case GiveBack(activation, held):
            woken = store.permits.give_back(holding(state, activation, held), held.grants, now, unique)
        case Leave(activation, queued):
            woken = store.permits.leave(in_line(state, activation, queued), queued.needs, now, unique)
    wake(woken, queue)


def wake(woken: Iterable[str], queue: WorkQueue) -> None:
    """Send a message to each instance that was granted a permit; the sweep makes up for one that is not sent."""
    for instance_id in dict.fromkeys(woken):
        try:
            queue.wake(instance_id)
        except RetryLater:
            _logger.warning("instance %s: it has a permit and was not woken; the sweep does it", said_id(instance_id))


def waits_for(state: State, store: Store, now: int) -> dict[str, str]:
    """For people: what each activation that stands in line waits for.

    As in ``waits for `stripe` (5 of 5 held), third in line, oldest holder order::17 for 41 s``.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    found = {}
    for activation, queued in state.queued.items():
        name = in_line(state, activation, queued)
        limits = " and ".join(f"`{need.limit}`" for need in queued.needs)
        found[activation] = f"waits for {limits}, and is about to have it or to stand in line"
        for need in queued.needs:
            usage = store.permits.usage(need.limit, MOST_LOOKED_AT)
            if name in usage.line or len(usage.line) == MOST_LOOKED_AT:
                found[activation] = _behind(name, need, usage, store, now)
                break
    return found | turns.waits_for(state, store, now)


def _behind(name: Holder, need: Need, usage: Usage, store: Store, now: int) -> str:
    """Where in the line of a limit one stands, and behind whom."""
    place = f"behind more than {len(usage.line)}"
    if name in usage.line:
        place = ordinal(usage.line.index(name) + 1)
    number = need.number if usage.number is None else usage.number
    by = "" if usage.given is None else f", set by {usage.by}" if usage.by else ", set by an operator"
    text = f"waits for `{need.limit}` ({len(usage.permits)} of {number} held{by}), {place} in line"
    oldest = min(usage.permits, key=lambda permit: permit.grant.at, default=None)
    if oldest is not None:
        text += f", oldest holder {_named(oldest.holder, store)} for {lasting(now - oldest.grant.at)}"
    return text


def _named(holder: Holder, store: Store) -> str:
    """A holder as people know it: what runs some of a map's items as the map's owner (C.1), a child with its place."""
    found = store.known([holder.instance_id]).get(holder.instance_id)
    if found is None:
        return said_id(holder.instance_id)
    return f"{found.id} ({found.at})" if found.at else found.id


def newest(store: Store, instance_id: str) -> State | None:
    """The state of a holder, from its head and its log."""
    return store.load(instance_id)


def _is_same(stored: Grant, named: Grant) -> bool:
    """Whether a log names a permit that is stored; a shard's name has more in the log."""
    return (stored.slot, stored.at, stored_as(stored.limit)) == (named.slot, named.at, stored_as(named.limit))


def sweep(limit: str, store: Store, clock: Clock, queue: WorkQueue, declared: Iterable[Concurrency] = ()) -> None:
    """Free what no one holds of a limit with a line, and wake who has a permit and does not run.

    What the code of this deployment declares of it counts from now on, unless a newer deployment's does (F.8).

    Raises:
        StoreUnavailable: the store did not answer; send the message again.
    """
    for one in declared:
        if one.name == limit_of(limit).partition("#")[0]:
            store.permits.declare(Need(limit_of(limit), one.n, store.permits.deployment))
    known: dict[str, State | None] = {}

    def stands(who: Holder, grant: Grant | None) -> Sequence[Need] | None:
        if who.instance_id not in known:
            known[who.instance_id] = newest(store, who.instance_id)
        state = known[who.instance_id]
        if state is None or state.life != who.life:
            return ()
        held, queued = state.permits.get(who.activation), state.queued.get(who.activation)
        if grant is not None and held is not None and any(_is_same(grant, one) for one in held.grants):
            return None
        waits = queued is not None and (queued.attempt, queued.order) == (who.attempt, who.order)
        return queued.needs if queued is not None and waits else ()

    def surely(who: Holder, grant: Grant | None) -> Sequence[Need] | None:
        try:
            return stands(who, grant)
        except CorruptLog:
            _logger.exception(
                "instance %s cannot be read: what it has of %s stays its own", said_id(who.instance_id), limit
            )
            return None if grant is not None else (Need(limit, 1),)

    wake(store.permits.sweep(limit, clock.now(), surely, clock.unique()), queue)
    if heard(LIMIT_SWEPT):
        _measure(store.permits.usage(limit, MOST_MEASURED), clock.now())


def _measure(usage: Usage, now: int) -> None:
    """Say how long those at the head of a line have waited, and how long a permit has been held."""
    waits = now - min(usage.since, default=now)
    held = now - min((permit.grant.at for permit in usage.permits), default=now)
    name = limit_of(usage.limit).partition("#")[0]  # the values of a per are without bound
    emit(LIMIT_SWEPT, {"oldest_in_line": max(waits, 0), "longest_held": max(held, 0)}, {"limit": name})
