"""What must hold of the limits of workflows: whose code runs is inside, and no more are than may be (invariant 10).

It is counted by whose code has run and has not ended since, whatever the engine thinks that it holds.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from hephaestus.definition.context import StepContext
from hephaestus.engine.activation import INSTANCE
from hephaestus.engine.events import Redriven
from hephaestus.engine.shards import limit_of
from hephaestus.simulation.violation import require
from hephaestus.store.permits import PERMITS, Holder, holder_of, limit_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.definition.concurrency import Concurrency
    from hephaestus.simulation.checks import Generation
    from hephaestus.simulation.ledger import Ledger

RULE: Final = "invariant 10"


class Entrances:
    """The books of the limits of workflows of a run.

    Attributes:
        inside: by limit, the instances and lives that have run something and have not ended since.
        alone: the children that were left, and were redriven by themselves.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.inside: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self.alone: set[tuple[str, str]] = set()

    def begins(self, known: Generation) -> None:
        """Code of an instance is about to run: it, or an instance above it, has a permit of each of its limits."""
        for holder, limit in self._needs(known):
            state = holder.state
            held = state.permits.get(INSTANCE)
            if held is None and state.compensation is not None:
                continue  # it is undone after its end
            name = limit.key(StepContext(initial=state.initial))
            self.ledger.turnstiles.numbers[name] = limit.n
            mine = [grant for grant in held.grants if limit_of(grant.limit) == name] if held is not None else []
            who = known.state.instance_id
            require(bool(mine), RULE, f"{who} runs, and {state.instance_id} has no permit of {name}")
            owner = (self.ledger.store.table.get(limit_key(mine[0].limit), PERMITS) or {}).get(f"s{mine[0].slot}")
            its = isinstance(owner, str) and holder_of(owner)[:2] == (state.instance_id, state.life)
            require(its, RULE, f"{state.instance_id} runs, and permit {mine[0].slot} of {name} is {owner!r}")
            self.inside[name].add((state.instance_id, state.life))
            within = sorted(one for one, _ in self.inside[name])
            most = self.ledger.numberings.bound(name, limit.n)
            require(len(within) <= most, RULE, f"{within} are under way, and {name} has {most} permits")

    def _needs(self, known: Generation) -> Iterator[tuple[Generation, Concurrency]]:
        """The limits of an instance and of those above it, each with the topmost that names it."""
        found: dict[str, tuple[Generation, Concurrency]] = {}
        line: Generation | None = known
        while line is not None:
            found.update({limit.name: (line, limit) for limit in self.ledger.definition(line.state).limits})
            line = self._above(line)
        yield from found.values()

    def _above(self, known: Generation) -> Generation | None:
        origin = known.state.origin
        alone = (known.state.instance_id, known.state.life) in self.alone
        if origin is None or origin.detached or alone:
            return None
        above = self.ledger.generations.get((origin.instance_id, origin.life))
        return above if above is not None and not above.state.closed else None

    def recorded(self, known: Generation) -> None:
        """An entry was written: who has ended is not inside; and no one wants what an instance above it has."""
        state = known.state
        numbers = {need.limit: need.number for place in state.queued.values() for need in place.needs}
        self.ledger.turnstiles.numbers.update(numbers)
        if state.closed:
            for names in self.inside.values():
                names.discard((state.instance_id, state.life))
        redriven = [event for event in known.entries[-1].events if isinstance(event, Redriven) and event.status]
        if any(event.by_source != "parent" for event in redriven):
            self.alone.add((state.instance_id, state.life))
        held, queued = state.permits.get(INSTANCE), state.queued.get(INSTANCE)
        named = {limit_of(grant.limit) for grant in held.grants} if held is not None else set()
        named |= {need.limit for need in queued.needs} if queued is not None else set()
        above = self._above(known)
        if named and above is not None:
            twice = {limit.name for _, limit in self._needs(above)} & {name.partition("#")[0] for name in named}
            require(not twice, RULE, f"{state.instance_id} wants a permit of {twice}, which one above it has")

    def is_over(self, limit: str, old: Holder) -> None:
        """A permit has gone from who had it: nothing of that instance is under way."""
        gone = old.activation != INSTANCE or (old.instance_id, old.life) not in self.inside[limit_of(limit)]
        require(gone, RULE, f"{old.instance_id} is under way, and has lost its permit of {limit}")
