"""Times that rates allow attempts to start at, for the instances that need them: reserving, the line, and its calls.

The rule is F.7 in the docs; what is stored is in ``hephaestus.store.reservations``.
"""

from __future__ import annotations

import logging
from contextvars import copy_context
from typing import TYPE_CHECKING, Final

from hephaestus.definition.rates import MICROSECOND, RateLimit
from hephaestus.definition.reasons import lasting, ordinal
from hephaestus.engine.effects import JoinLine, LeaveLine
from hephaestus.engine.events import StartQueued, StartReserved
from hephaestus.engine.pacing import EARLY_MS
from hephaestus.engine.records import Pace
from hephaestus.errors import CorruptLog, RetryLater
from hephaestus.runtime.telemetry import RATE_CALLED, emit, heard
from hephaestus.store.permits import Holder
from hephaestus.store.reservations import LATE_MS, rate_key
from hephaestus.store.speeds import Speed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hephaestus.definition.concurrency import Limit
    from hephaestus.definition.context import StepContext
    from hephaestus.engine.effects import OfRates
    from hephaestus.engine.records import Queued, Turn
    from hephaestus.engine.state import State
    from hephaestus.runtime.journal import Journal
    from hephaestus.runtime.ports import Clock, WorkQueue
    from hephaestus.store.reservations import Called, Queue
    from hephaestus.store.store import Store

MOST_LOOKED_AT: Final = 200  # places in a line, for one sentence
AT_ONCE: Final = 10  # places of a line that are written at once, where a call travels

_logger = logging.getLogger("hephaestus.rates")


def in_line(state: State, activation: str, place: Queued | Turn) -> Holder:
    """The name under which an attempt stands in line, for permits or for a time."""
    return Holder(state.instance_id, state.life, activation, place.attempt, place.order)


def rates_of(limits: Iterable[Limit]) -> list[RateLimit]:
    """Those limits that are rates."""
    return [limit for limit in limits if isinstance(limit, RateLimit)]


def pace_of(limit: RateLimit, context: StepContext, of: int) -> Pace:
    """What an attempt needs of a rate, as the code of deployment ``of`` says.

    Raises:
        NonRetryable: what its ``per`` gave is no text of 1 to 128 characters.
    """
    return Pace(limit.key(context), limit.period // MICROSECOND, limit.burst, limit.cost, limit.n, of)


def is_in_time(turn: Turn | None, attempt: int, now: int) -> bool:
    """Whether an attempt has a time that it may still start at."""
    return turn is not None and turn.attempt == attempt and turn.at > 0 and now - turn.at <= LATE_MS


def is_called(state: State, store: Store) -> bool:
    """Whether something that stood in the line of a rate has its time, or does not stand there any more."""
    lined = ((one, turn) for one, turn in state.turns.items() if not turn.at)
    found = (store.rates.find(in_line(state, one, turn), turn.paces) for one, turn in lined)
    return any(place is None or place[1] for place in found)


class Turns:
    """The rates of one execution.

    Args:
        journal: its side of the log.
        store, clock, queue: the adapters.

    Attributes:
        reserved: the times that it has reserved and no commit has named yet, by activation.
    """

    def __init__(self, journal: Journal, store: Store, clock: Clock, queue: WorkQueue) -> None:
        self.journal = journal
        self.store = store
        self.clock = clock
        self.queue = queue
        self.reserved: dict[str, tuple[tuple[Pace, ...], int]] = {}

    def reserve(self, activation: str, attempt: int, paces: tuple[Pace, ...], order: int, *, stood: bool) -> bool:
        """Reserve a time for an attempt, or have it stand in line; whether it may start now.

        Args:
            activation, attempt: the attempt.
            paces: the rates that it needs.
            order: where it stands in line, should it have to (ms).
            stood: whether it has stood in a line before: then it goes before those who came later.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        now, state = self.clock.now(), self.journal.draft
        known, at = self.reserved.get(activation, ((), 0))
        if known != paces or now - at > LATE_MS:
            place = Holder(state.instance_id, state.life, activation, attempt, order).place if stood else ""
            found = self.store.rates.reserve(paces, now, place)
            if isinstance(found, str):
                first = sorted(paces, key=lambda pace: pace.limit != found)
                self.journal.decide(StartQueued(activation, attempt, tuple(first), order))
                return False
            at = found
            self.reserved[activation] = paces, at
        self.journal.decide(StartReserved(activation, attempt, at, paces, order if stood or now < at else 0))
        return at <= now

    def committed(self, state: State) -> None:
        """Forget what a commit has named."""
        for activation, (_, at) in tuple(self.reserved.items()):
            turn = state.turns.get(activation)
            if turn is not None and turn.at == at:
                del self.reserved[activation]

    def take_up(self) -> None:
        """See what stood in line: note the times of those who were called, and have stand there who does not any more.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        for activation, turn in tuple(self.journal.draft.turns.items()):
            if turn.at:
                continue
            name, now = in_line(self.journal.draft, activation, turn), self.clock.now()
            found = self.store.rates.find(name, turn.paces)
            if found is None:
                if self.journal.opening:  # another may have taken it up, and be through: only an owner stands anew
                    self.journal.flush()
                if self.journal.committed.turns.get(activation) == turn:
                    join(self.journal.committed, activation, self.store, self.clock, self.queue)
            elif found[1] and now - found[1] <= LATE_MS:
                self.journal.decide(StartReserved(activation, turn.attempt, found[1], turn.paces, turn.order))
            elif found[1]:
                self._too_late(activation, turn, found)

    def _too_late(self, activation: str, turn: Turn, found: tuple[str, int]) -> None:
        """Who was called and comes too late goes first; else it waits to be called again."""
        limit, was = found
        name, now = in_line(self.journal.draft, activation, turn), self.clock.now()
        at = self.store.rates.reserve(turn.paces, now, name.place)
        if isinstance(at, int):
            self.journal.decide(StartReserved(activation, turn.attempt, at, turn.paces, turn.order))
            return
        own = next(pace for pace in turn.paces if pace.limit == limit)
        call_at(limit, self.store.rates.renew(name, own, was, now), self.clock, self.queue)


def join(state: State, activation: str, store: Store, clock: Clock, queue: WorkQueue) -> None:
    """Have what the log of ``state`` says stand in the line of a rate.

    A pause may have come since, and have left the line before this joined it: so the log is read once more.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    turn = state.turns[activation]
    name = in_line(state, activation, turn)
    due = store.rates.stand(name, turn.paces, clock.now())
    newer = store.tail(state)
    if newer is not None and newer.turns.get(activation) != turn:
        store.rates.leave(name, turn.paces)
    call_at(turn.paces[0].limit, due, clock, queue)


def perform(effect: OfRates, state: State, store: Store, clock: Clock, queue: WorkQueue) -> None:
    """Do what follows from a commit, for the instance ``state``.

    Raises:
        StoreUnavailable: it is still to be done.
    """
    match effect:
        case JoinLine(activation, turn):
            # Only while the log says so: what is done again later may not stand in line any more.
            if state.turns.get(activation) == turn:
                join(state, activation, store, clock, queue)
        case LeaveLine(activation, turn):
            if state.turns.get(activation) != turn:
                store.rates.leave(in_line(state, activation, turn), turn.paces)


def call_at(limit: str, due: int | None, clock: Clock, queue: WorkQueue) -> None:
    """Have a line called at ``due`` (ms), unless it is anyway; the sweep makes up for a message that is not sent."""
    if due is not None:
        _send(rate_key(limit), max(due - clock.now(), 0), queue)


def _send(key: str, delay_ms: int, queue: WorkQueue) -> None:
    try:
        queue.wake(key, delay_ms)
    except RetryLater:
        _logger.warning("%s: a message was not sent; the sweep makes up for it", key)


def call(limit: str, store: Store, clock: Clock, queue: WorkQueue, declared: Iterable[RateLimit] = ()) -> None:
    """Call those who are next in the line of a rate, each shortly before its time, and have it called again.

    What the code of this deployment declares of it counts from now on, unless a newer deployment's does (F.8).

    Raises:
        StoreUnavailable: the store did not answer; send the message again.
    """

    def stands(who: Holder) -> bool | None:
        try:
            state = store.load(who.instance_id)
        except CorruptLog:
            _logger.exception("instance %s cannot be read: its place in the line of %s stays", who.instance_id, limit)
            return None
        turn = None if state is None or state.life != who.life else state.turns.get(who.activation)
        its = turn is not None and not turn.at and (turn.attempt, turn.order) == (who.attempt, who.order)
        return None if its and state is not None and state.parked is not None else its

    own = next((speed(one) for one in declared if one.name == limit.partition("#")[0]), None)
    found = store.rates.call(limit, clock.now(), stands, None if own is None else (own, store.permits.deployment))
    if found is None:
        return
    if heard(RATE_CALLED):
        _measure(store.rates.queue(limit, 1), clock.now())
    call_at(limit, found.next, clock, queue)  # before anything else: who goes on with this may end here
    for other, due in found.moved:
        call_at(other, due, clock, queue)

    def hand(called: Called) -> None:
        if store.rates.hand(limit, called):
            _send(called.holder.instance_id, max(called.at - EARLY_MS - clock.now(), 0), queue)

    _each(hand, found.places, distant=store.table.distant)
    if found.next is None:
        call_at(limit, store.rates.look_again(limit, clock.now()), clock, queue)


def speed(limit: RateLimit) -> Speed:
    """How fast a rate is, as the code says."""
    return Speed(limit.n, limit.period // MICROSECOND, limit.burst)


def _measure(queue: Queue, now: int) -> None:
    """Say how long the first of a rate's line has waited, and how far ahead the rate is reserved."""
    waits = now - min((holder.order for holder, _ in queue.line), default=now)
    name = queue.limit.partition("#")[0]  # the values of a per are without bound
    emit(RATE_CALLED, {"oldest_in_line": max(waits, 0), "reserved_ahead": max(queue.free_at - now, 0)}, {"limit": name})


def _each(do: Callable[[Called], None], places: Sequence[Called], *, distant: bool) -> None:
    """Do it for each, several at once where a call travels."""
    if not distant or len(places) == 1:
        for one in places:
            do(one)
        return
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - only lines of rates need it

    contexts = [copy_context() for _ in places]  # they know when the invocation ends
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda one, context: context.run(do, one), places, contexts))


def waits_for(state: State, store: Store, now: int) -> dict[str, str]:
    """For people: what each activation waits for that a rate has wait.

    As in ``waits for `openai`, third in line`` or ``starts in 12 s, as `openai` allows``.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    found = {}
    for activation, turn in state.turns.items():
        if turn.at > now:
            names = " and ".join(f"`{pace.limit}`" for pace in turn.paces)
            verb = "allows" if len(turn.paces) == 1 else "allow"
            found[activation] = f"starts in {lasting(turn.at - now)}, as {names} {verb}"
        elif not turn.at:
            found[activation] = f"waits for {_place(state, activation, turn, store)}"
    return found


def _place(state: State, activation: str, turn: Turn, store: Store) -> str:
    """For which rates an attempt waits, and where in its line it stands."""
    names = " and ".join(f"`{pace.limit}`" for pace in turn.paces)
    name = in_line(state, activation, turn)
    at = store.rates.find(name, turn.paces)
    if at is None:
        return f"{names}, and is about to stand in line"
    queue = store.rates.queue(at[0], MOST_LOOKED_AT)
    if (given := queue.stands.given) is not None:
        period = f" in {given.period / 1_000_000:g} s" if given.n else ""
        names += f" (set to {given.n:,}{period}{queue.by and f' by {queue.by}'})"
    line = [who for who, _ in queue.line]
    where = f"{ordinal(line.index(name) + 1)} in line" if name in line else f"behind more than {len(line)} in line"
    return f"{names}, {where}"
