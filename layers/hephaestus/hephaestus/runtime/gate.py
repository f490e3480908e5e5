"""What an owner does about limits: its attempts take permits before a commit names them, or stand in line.

So does the instance itself before anything of it runs, where its workflow has limits.
Where a step needs a rate as well, the time is reserved last, when the permits are held; who has to stand in line for it
gives them back.

A permit that was taken is given back where the step is not to start after all: the state has changed meanwhile.
Items of a map have the permits of the map: one owner takes them once, for all items that it runs. Of a rate, each of
their attempts reserves a time (F.9). No item has both.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from hephaestus.definition.concurrency import PRIORITY_MS, Concurrency
from hephaestus.definition.containment import contain
from hephaestus.engine.activation import INSTANCE, leaf_of
from hephaestus.engine.advance import own_limits
from hephaestus.engine.events import PermitsTaken, StepQueued
from hephaestus.engine.records import Need
from hephaestus.engine.shards import limit_of
from hephaestus.errors import RetryLater
from hephaestus.runtime.attempt import Interrupted
from hephaestus.runtime.lines import holding, stand, wake
from hephaestus.runtime.turns import Turns, in_line, is_in_time, pace_of, rates_of
from hephaestus.store.permits import Holder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hephaestus.definition.concurrency import Limit
    from hephaestus.definition.context import StepContext
    from hephaestus.definition.definition import Definition
    from hephaestus.engine.advance import Run
    from hephaestus.engine.records import Grant, Held, Pace
    from hephaestus.engine.state import State
    from hephaestus.runtime.journal import Journal
    from hephaestus.runtime.perform import Performer
    from hephaestus.runtime.ports import Clock

NONCE: Final = 8  # characters of an owner's name: enough for those that claim one attempt
FRESH_MS: Final = 30_000  # half of what a permit is left to who does not name it


class Gate:
    """The limits of one execution.

    Args:
        journal: its side of the log.
        definition: the workflow version.
        performer: has the store where the limits are, and the queue by which who is called is woken.
        clock: time and names.
        context: gives what a step is given, which ``per`` is asked with.

    Attributes:
        taken: the permits that it has taken and no commit has named yet, by activation.
        needs: which permits the next attempts need.
        paces: which rates they need.
        turns: their times.
        unsure: whether the permits of the instance itself may have been named late, see ``is_in``.
        sure: the permits that are known to be held, by activation, see ``are_held``.
    """

    def __init__(
        self,
        journal: Journal,
        definition: Definition,
        performer: Performer,
        clock: Clock,
        context: Callable[[str, int], StepContext],
    ) -> None:
        self.journal = journal
        self.definition = definition
        self.store = performer.store
        self.clock = clock
        self.queue = performer.queue
        self.context = context
        self.taken: dict[str, tuple[Holder, tuple[Grant, ...]]] = {}
        self.needs: dict[str, tuple[Need, ...]] = {}
        self.paces: dict[str, tuple[Pace, ...]] = {}
        self.turns = Turns(journal, self.store, clock, self.queue)
        self.unsure = False
        self.sure: dict[str, Held] = {}

    def limits_of(self, activation: str) -> Sequence[Limit]:
        """The limits of which an activation needs permits; those of the instance are its workflow's."""
        if activation != INSTANCE:
            return self.definition.declared_of(activation).limits
        own = own_limits(self.definition.graph, self.journal.draft)
        return [limit for limit in self.definition.limits if limit.name in own]

    def may_name(self, activation: str, at: int = 0) -> bool:
        """Whether an attempt that starts at ``at`` (ms) may be named without taking or reserving anything."""
        limits, state, leaf = self.limits_of(activation), self.journal.draft, leaf_of(activation)
        attempt, turn, held = state.attempt_of(activation), state.turns.get(activation), state.permits.get(leaf)
        rated = turn is not None and turn.attempt == attempt and 0 < turn.at <= at
        permitted = held is not None and (held.whole or leaf != activation or (rated and held.attempt == attempt))
        return all(permitted if isinstance(limit, Concurrency) else rated for limit in limits)

    def take_up(self) -> None:
        """See what stood in line: note what has its permits now, and have it stand there if it does not any more.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        self.turns.take_up()
        for activation, queued in tuple(self.journal.draft.queued.items()):
            name = in_line(self.journal.draft, activation, queued)
            found = self.store.permits.find(name, queued.needs)
            if found is None:
                if self.journal.opening:  # another may have taken it up, and be through: only an owner stands anew
                    self.journal.flush()
                if activation not in self.journal.committed.queued:
                    continue
                found = stand(self.journal.committed, activation, self.store, self.clock, self.queue)
            if found:
                self.unsure = self.unsure or activation == INSTANCE
                self.journal.decide(PermitsTaken(activation, queued.attempt, found, queued.whole, queued.order))

    def ask(self, run: Run, may_ask: Callable[[str], bool]) -> BaseException | None:
        """Find out which permits an attempt needs, of what names limits; why that failed, if it did.

        Args:
            run: the attempt.
            may_ask: whether the step's ``per``, which is a user's code, may be called.
        """
        activation, state = leaf_of(run.activation), self.journal.draft
        limits = self.limits_of(run.activation)
        self.needs.pop(activation, None)
        self.paces.pop(run.activation, None)
        if run.undo or not limits or activation in state.queued:
            return None
        counts = [] if self._has_permits(run) else [one for one in limits if isinstance(one, Concurrency)]
        in_time = is_in_time(state.turns.get(run.activation), run.attempt, self.clock.now())
        rates = [] if in_time else rates_of(limits)
        asks = any(limit.per is not None for limit in (*counts, *rates))
        if asks and not may_ask(activation if counts else run.activation):
            who = f"instance {state.instance_id}" + (f": step {run.step}" * bool(run.step))
            return Interrupted(f"{who}: the Lambda that asked for the per of its limits ended each time before it did")

        def needs() -> None:
            # A map's items see the same, but for the item itself: so does what is asked once for all of them.
            of, is_item = self.store.permits.deployment, activation != run.activation
            context = self.context(f"{activation}[]" if is_item and counts else run.activation, run.attempt)
            self.needs[activation] = tuple(Need(limit.key(context), limit.n, of) for limit in counts)
            self.paces[run.activation] = tuple(pace_of(limit, context, of) for limit in rates)

        return contain(needs, lambda error: error) if counts or rates else None

    def admits(self, run: Run) -> bool:
        """Whether an attempt has what it needs; else it stands in line from the next commit on, or starts later.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        state, activation = self.journal.draft, leaf_of(run.activation)
        needs, paces = self.needs.pop(activation, ()), self.paces.pop(run.activation, ())
        if not needs and not paces:
            return activation not in state.queued  # with another item of its map
        limits, self.unsure = self.limits_of(run.activation), self.unsure or activation == INSTANCE
        attempt = run.attempt if activation == run.activation else state.attempt_of(activation)
        by, now = (self.journal.owner or "")[-NONCE:], self.clock.now()
        name = Holder(state.instance_id, state.life, activation, attempt, owner=by)
        held = [limit.held for limit in limits if isinstance(limit, Concurrency)]
        whole = activation == INSTANCE or "step" in held
        found = (self._taken_before(activation, needs) or self.store.permits.take(name, needs, now)) if needs else ()
        if isinstance(found, str):
            order, _ = self._order(activation, attempt, limits)
            self.journal.decide(StepQueued(activation, attempt, needs, order, whole))
            return False
        if needs:
            self.taken[activation] = name, found
        starts = not paces or self._starts(run, paces)
        if needs and not self._is_lined(activation):
            self.journal.decide(PermitsTaken(activation, attempt, found, whole, owner=by))
        elif needs:
            self.drop()
        return starts

    def _starts(self, run: Run, paces: tuple[Pace, ...]) -> bool:
        order, stood = self._order(run.activation, run.attempt, self.limits_of(run.activation))
        return self.turns.reserve(run.activation, run.attempt, paces, order, stood=stood)

    def _is_lined(self, activation: str) -> bool:
        """Whether an attempt stands in the line of a rate."""
        turn = self.journal.draft.turns.get(activation)
        return turn is not None and not turn.at

    def _order(self, activation: str, attempt: int, limits: Sequence[Limit]) -> tuple[int, bool]:
        """Where an attempt stands in line, should it have to, and whether it stood in one before.

        Then it is right behind the place that it had there, which no one else has.
        """
        state = self.journal.draft
        before = (state.permits.get(activation), state.turns.get(activation))
        known = max((one.order for one in before if one is not None and one.attempt == attempt), default=0)
        if known:
            return known + 1, True
        return self.clock.now() - PRIORITY_MS * max(limit.priority for limit in limits), False

    def _taken_before(self, activation: str, needs: Sequence[Need]) -> tuple[Grant, ...]:
        """What was taken for an attempt, where another writer was faster than the commit that named it."""
        name, grants = self.taken.pop(activation, (None, ()))
        if name is None or [limit_of(grant.limit) for grant in grants] == [need.limit for need in needs]:
            return grants
        wake(self.store.permits.give_back(name, grants, self.clock.now(), self.clock.unique()), self.queue)
        return ()

    def _has_permits(self, run: Run) -> bool:
        held = self.journal.draft.permits.get(leaf := leaf_of(run.activation))
        return held is not None and (held.whole or leaf != run.activation or held.attempt == run.attempt)

    def are_held(self, runs: Sequence[Run]) -> bool:
        """Whether what is about to run has its permits: where it was named late, the sweep may have freed them.

        What has lost them stands in line anew. So does what has missed its time, or it reserves another.
        """
        state, lost = self.journal.draft, False
        for run in runs:
            turn = None if run.undo else state.turns.get(run.activation)
            if turn is not None and not is_in_time(turn, run.attempt, self.clock.now()):
                self._starts(run, turn.paces)
                lost = True
        for activation, of in {leaf_of(run.activation): run.activation for run in runs if not run.undo}.items():
            held = state.permits.get(activation)
            if held is None or held == self.sure.get(activation):
                continue
            if self._stays(activation, of, held):
                self.sure[activation] = held
            else:
                lost = True
        return not lost

    def is_in(self) -> bool:
        """Whether the instance still has its own permits, now that a commit has named them; else it stands in line.

        It is asked before anything else is done, by the owner that has named them; and by one that comes after an
        owner that died, perhaps before it had asked.
        """
        state, held = self.journal.draft, self.journal.draft.permits.get(INSTANCE)
        unsure, self.unsure = self.unsure, False
        if not unsure or held is None or state.compensation is not None:
            return True
        return self._stays(INSTANCE, INSTANCE, held)

    def _stays(self, activation: str, of: str, held: Held) -> bool:
        """Whether permits are still held by ``activation``, whose limits ``of`` has; else it stands in line anew."""
        now, permits = self.clock.now(), self.store.permits
        if all(now - grant.at < FRESH_MS for grant in held.grants):
            return True
        if permits.confirm(holding(self.journal.draft, activation, held), held.grants):
            return True
        names = [limit_of(grant.limit) for grant in held.grants]
        needs = tuple(Need(name, self._number(of, name), permits.deployment) for name in names)
        self.journal.decide(StepQueued(activation, held.attempt, needs, self.clock.now(), held.whole))
        return False

    def _number(self, activation: str, limit: str) -> int:
        """How many permits a limit has."""
        name, limits = limit.partition("#")[0], self.limits_of(activation)
        return next((one.n for one in limits if isinstance(one, Concurrency) and one.name == name), 0)

    def frees(self) -> bool:
        """Whether what is decided gives permits back once it is committed: others, and the next step, wait for them."""
        left = self.journal.draft.permits
        return any(left.get(one) != held for one, held in self.journal.committed.permits.items())

    def committed(self, state: State) -> None:
        """Forget what a commit has named: from now on the log says who gives it back."""
        self.turns.committed(state)
        for activation, (_, grants) in tuple(self.taken.items()):
            held = state.permits.get(activation)
            if held is not None and held.grants == grants:
                del self.taken[activation]

    def drop(self, *, everything: bool = False) -> None:
        """Give back what was taken for steps that do not start; what is left of it the sweep finds.

        Args:
            everything: whether nothing starts any more, as another owns the instance.
        """
        for activation, (name, grants) in tuple(self.taken.items()):
            held = self.journal.draft.permits.get(activation)
            if everything or held is None or held.grants != grants:
                del self.taken[activation]
                with suppress(RetryLater):
                    woken = self.store.permits.give_back(name, grants, self.clock.now(), self.clock.unique())
                    wake(woken, self.queue)
