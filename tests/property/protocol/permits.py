"""A limit's permits and its line: who takes, joins, gives back, leaves, dies, and what the sweep does (rules F.1, F.4).

A request is one step; between two of them anything may happen. A contender takes a permit if one is free and no one
stands in line, else it joins the line; it is called, runs, gives back. Whoever can die dies between two requests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

OVER, DEAD, GONE = "over", "dead", "gone"


@dataclass(frozen=True)
class Rules:
    """The protocol's parts, each with the variants that a test shows to be wrong.

    Attributes:
        joins: whether joining is one transaction with the limit being full (or having a line), or a read and a write.
        takes: whether taking asks, in its one write, that no one stands in line, only that one is free, or neither.
        gives: whether giving back hands the permit to the first in line in one transaction, or frees it after a look.
        empties: whether who empties the line makes sure that no one joined since it was seen.
        leaving: whether two that leave, or leave and are called, notice each other.
        named: whether a permit says whose it is; else it is counted.
        sweeps: whether the sweep frees what no log names.
    """

    joins: Literal["one transaction", "read, write"] = "one transaction"
    takes: Literal["no line", "free", "read, write"] = "no line"
    gives: Literal["hands", "frees"] = "hands"
    empties: bool = True
    leaving: bool = True
    named: bool = True
    sweeps: bool = True


@dataclass(frozen=True)
class Scene:
    """How many permits there are, and who wants one: some may leave the line, some may die.

    Attributes:
        permits: how many.
        contenders: how many want one, one after the other in the order of the line.
        leave: how many of them may leave the line.
        deaths: how many may die.
        repeats: how many requests may be done though their answer is lost, so that they are done again.
    """

    permits: int
    contenders: int = 3
    leave: int = 0
    deaths: int = 0
    repeats: int = 0


class Limit(NamedTuple):
    """The limit's item and its line: holders by place, who stands in line, its mark and what it was last changed by."""

    held: tuple[int | None, ...]
    line: tuple[int, ...] = ()
    mark: bool = False
    joined: int = 0
    left: int = 0


class Actor(NamedTuple):
    """A contender: where it is, and what it has read."""

    at: str
    seen: Limit | None = None
    first: tuple[int, ...] = ()
    wants: str = ""


class State(NamedTuple):
    """Everything."""

    limit: Limit
    actors: tuple[Actor, ...]
    deaths: int
    leaves: int
    repeats: int


Step = tuple[str, State]


class Permits:
    """The model; see ``Model``."""

    def __init__(self, rules: Rules, scene: Scene) -> None:
        self.rules = rules
        self.scene = scene

    def initial(self) -> State:
        """All want a permit, and none is held."""
        scene, held = self.scene, (None,) * self.scene.permits
        actors = (Actor("read"),) * scene.contenders
        return State(Limit(held), actors, scene.deaths, scene.leave, scene.repeats)

    def steps(self, state: State) -> Iterator[Step]:
        """A contender's next request, a death, or the sweep."""
        for index, actor in enumerate(state.actors):
            if actor.at in {OVER, DEAD, GONE}:
                continue
            for words, after in self.act(state, index, actor):
                yield f"{index}: {words}", after
                if after.limit != state.limit and state.repeats and actor.at not in {"stands", "runs"}:
                    lost = _moved(after, index, Actor(_again(actor), wants=actor.wants))
                    yield f"{index}: {words}, and its answer is lost", lost._replace(repeats=state.repeats - 1)
            if state.deaths:
                yield f"{index}: dies", _moved(state, index, Actor(DEAD))._replace(deaths=state.deaths - 1)
        if self.rules.sweeps:
            yield from self.sweep(state)

    def act(self, state: State, index: int, actor: Actor) -> list[Step]:
        """What a contender does next."""
        limit = state.limit
        if actor.at == "stands":
            return self.stand(state, index)
        simple = {
            "read": ("reads", self.after_reading(limit, index)),
            "runs": ("ends", Actor("give")),
            "look": ("reads the limit", actor._replace(at="line", seen=limit)),
            "line": ("reads the line", actor._replace(at="hand", first=limit.line[:2])),
        }
        if actor.at in simple:
            words, after = simple[actor.at]
            return [(words, _moved(state, index, after))]
        if actor.at == "give":
            return [self.give(state, index)]
        last = self.leave if actor.wants == "leave" else self.hand
        return [{"take": self.take, "join": self.join, "hand": last}[actor.at](state, index, actor)]

    def stand(self, state: State, index: int) -> list[Step]:
        """Stand in line: be called, or leave."""
        found = []
        if self.has(state.limit, index):
            found.append(("is called", _moved(state, index, Actor("runs"))))
        elif index not in state.limit.line:
            found.append(("stands there no more", _moved(state, index, Actor("read"))))
        if state.leaves:
            leaving = _moved(state, index, Actor("look", wants="leave"))
            found.append(("is cancelled", leaving._replace(leaves=state.leaves - 1)))
        return found

    def has(self, limit: Limit, index: int) -> bool:
        """Whether a contender has a permit."""
        return index in limit.held

    def after_reading(self, limit: Limit, index: int) -> Actor:
        """What a contender goes on with."""
        if self.has(limit, index):
            return Actor("runs")
        if index in limit.line:
            return Actor("stands")
        full = None not in limit.held
        blocked = full or (limit.mark and self.rules.takes == "no line")
        return Actor("join" if blocked else "take", limit)

    def take(self, state: State, index: int, actor: Actor) -> Step:
        """Take a permit that was free."""
        limit, seen = state.limit, actor.seen
        assert seen is not None
        place = seen.held.index(None) if None in seen.held else 0
        free = limit.held[place] is None or self.rules.takes == "read, write"
        if free and (not limit.mark or self.rules.takes != "no line"):
            held = _put(limit.held, place, index)
            return "takes", _moved(state, index, Actor("runs"))._replace(limit=limit._replace(held=held))
        return "does not get it", _moved(state, index, Actor("read"))

    def join(self, state: State, index: int, actor: Actor) -> Step:
        """Join the line of what was full."""
        limit, seen = state.limit, actor.seen
        assert seen is not None
        if self.rules.joins == "one transaction":
            holds = limit.mark if seen.mark else (not limit.mark and limit.held == seen.held and None not in limit.held)
            if not holds or index in limit.line or self.has(limit, index):
                return "does not join", _moved(state, index, Actor("read"))
        line = tuple(sorted({*limit.line, index}))
        joined = limit._replace(line=line, mark=True, joined=limit.joined + 1)
        return "joins", _moved(state, index, Actor("stands"))._replace(limit=joined)

    def give(self, state: State, index: int) -> Step:
        """Give back where there is no line."""
        limit = state.limit
        if index not in limit.held:
            return "has nothing to give", _moved(state, index, Actor(OVER))
        if limit.mark:
            return "finds a line", _moved(state, index, Actor("look"))
        held = tuple(None if one == index else one for one in limit.held)
        return "gives back", _moved(state, index, Actor(OVER))._replace(limit=limit._replace(held=held))

    def hand(self, state: State, index: int, actor: Actor) -> Step:
        """Hand a permit to the first in line as it was read, or free it."""
        limit, seen = state.limit, actor.seen
        assert seen is not None
        if index not in limit.held:
            return "has nothing to hand", _moved(state, index, Actor(OVER))
        after = self.handed(limit, seen, actor.first, index)
        if after is None:
            return "reads again", _moved(state, index, Actor("give"))
        return "hands on", _moved(state, index, Actor(OVER))._replace(limit=after)

    def handed(self, limit: Limit, seen: Limit, first: tuple[int, ...], holder: int | None) -> Limit | None:
        """The limit after a permit has gone to the first in line; ``None`` where that has changed."""
        place = limit.held.index(holder)
        if self.rules.gives == "frees" or not first:
            line = limit.line if self.rules.gives == "frees" else ()
            if not first and not self.is_whole(limit, seen):
                return None
            return limit._replace(held=_put(limit.held, place, None), line=limit.line, mark=bool(line))
        if first[0] not in limit.line or (self.rules.leaving and limit.left != seen.left):
            return None
        if len(first) == 1 and not self.is_whole(limit, seen):
            return None
        left = tuple(one for one in limit.line if one != first[0])
        held = _put(limit.held, place, first[0])
        return limit._replace(held=held, line=left, mark=len(first) > 1, left=limit.left + 1)

    def is_whole(self, limit: Limit, seen: Limit) -> bool:
        """Whether the line is as it was seen."""
        return not self.rules.empties or (limit.joined == seen.joined and limit.left == seen.left)

    def leave(self, state: State, index: int, actor: Actor) -> Step:
        """Leave the line as it was read; give back where it was called meanwhile."""
        limit, seen, first = state.limit, actor.seen, actor.first
        assert seen is not None
        if self.has(limit, index):
            return "was called", _moved(state, index, Actor("give"))
        if index not in limit.line:
            return "stands in no line", _moved(state, index, Actor(GONE))
        last = first == (index,)
        if (self.rules.leaving and limit.left != seen.left) or (last and not self.is_whole(limit, seen)):
            return "reads again", _moved(state, index, Actor("look", wants="leave"))
        line = tuple(one for one in limit.line if one != index)
        after = limit._replace(line=line, mark=not last, left=limit.left + 1)
        return "leaves", _moved(state, index, Actor(GONE))._replace(limit=after)

    def sweep(self, state: State) -> Iterator[Step]:
        """Of a limit with a line, what the dead hold goes to the first in it, and the dead leave it."""
        limit = state.limit
        if not limit.line:
            return
        dead = [index for index, actor in enumerate(state.actors) if actor.at in {DEAD, GONE, OVER}]
        for index in dead:
            if index in limit.line:
                line = tuple(one for one in limit.line if one != index)
                after = limit._replace(line=line, mark=bool(line), left=limit.left + 1)
                yield f"the sweep takes {index} out", state._replace(limit=after)
            elif index in limit.held and (after_ := self.handed(limit, limit, limit.line[:2], index)) is not None:
                yield f"the sweep frees what {index} held", state._replace(limit=after_)

    def wrong(self, state: State) -> str | None:
        """More run than there are permits, or a live one runs without one."""
        running = [index for index, actor in enumerate(state.actors) if actor.at == "runs"]
        if len(running) > self.scene.permits:
            return f"{running} run, with {self.scene.permits} permits"
        unheld = [index for index in running if index not in state.limit.held]
        return f"{unheld} run without a permit" if unheld else None

    def wrong_at_rest(self, state: State) -> str | None:
        """Someone alive waits for ever."""
        left = [index for index, actor in enumerate(state.actors) if actor.at not in {OVER, DEAD, GONE}]
        return f"{left} wait for ever" if left else None


def _again(actor: Actor) -> str:
    """Where a contender goes on that does not know whether its request was done."""
    return "read" if actor.at in {"take", "join"} else "look" if actor.wants == "leave" else "give"


def _put(held: tuple[int | None, ...], place: int, holder: int | None) -> tuple[int | None, ...]:
    return (*held[:place], holder, *held[place + 1 :])


def _moved(state: State, index: int, actor: Actor) -> State:
    return state._replace(actors=(*state.actors[:index], actor, *state.actors[index + 1 :]))
