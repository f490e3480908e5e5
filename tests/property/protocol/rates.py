"""A rate's line: who reserves, joins, is called and dies, and what a call of the line and the sweep do (rule F.7).

A request is one step; between two of them anything may happen. Time is not in it: a call always has room for one more.
A place that is reserved is a number; no two may start in one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

OVER, DEAD = "over", "dead"


@dataclass(frozen=True)
class Rules:
    """The protocol's parts, each with the variant that a test shows to be wrong.

    Attributes:
        adds: whether a place is reserved by one addition, or by a read and a write.
        puts_first: whether who joins puts its place before it makes sure of the mark.
        looks_again: whether who has removed the mark looks for those who joined meanwhile.
        keeps_alarm: whether the alarm stays when the mark is removed.
        seen: whether a call is conditional on what the one before has left.
    """

    adds: bool = True
    puts_first: bool = True
    looks_again: bool = True
    keeps_alarm: bool = True
    seen: bool = True


@dataclass(frozen=True)
class Scene:
    """Who wants to start, and what goes wrong.

    Attributes:
        contenders: how many want to start.
        direct: how many of them come while the next place is near enough to be reserved without standing in line.
        deaths: how many may die: contenders, and who calls the line.
        lost: how many messages may be lost.
        twice: how many messages may come twice.
        sweeps: whether there is a sweep.
    """

    contenders: int = 2
    direct: int = 0
    deaths: int = 0
    lost: int = 0
    twice: int = 0
    sweeps: bool = True


class Rate(NamedTuple):
    """The rate's item and its line: the next place, the mark, the alarm, and who stands there, called for what."""

    tat: int = 0
    mark: bool = False
    alarm: bool = False
    version: int = 0
    line: tuple[tuple[int, int | None], ...] = ()


class Contender(NamedTuple):
    """Where it is, what it has read, and the place that it started in."""

    at: str
    seen: int | bool = 0
    place: int | None = None


class Caller(NamedTuple):
    """Who calls the line: where it is, what it has read, and for whom it has reserved which place."""

    at: str
    seen: Rate = Rate()
    who: int | None = None
    place: int = 0


class State(NamedTuple):
    """Everything; ``calls`` and ``wakes`` are messages under way."""

    rate: Rate
    contenders: tuple[Contender, ...]
    callers: tuple[Caller, ...] = ()
    calls: int = 0
    wakes: tuple[int, ...] = ()
    deaths: int = 0
    lost: int = 0
    twice: int = 0


Step = tuple[str, State]
CALLERS = 2


class Rates:
    """The model; see ``Model``."""

    def __init__(self, rules: Rules, scene: Scene) -> None:
        self.rules = rules
        self.scene = scene

    def initial(self) -> State:
        """All want to start."""
        scene, joins = self.scene, "put" if self.rules.puts_first else "look"
        kinds = ["reserve"] * scene.direct + [joins] * (scene.contenders - scene.direct)
        own = tuple(Contender(kind) for kind in kinds)
        return State(Rate(), own, deaths=scene.deaths, lost=scene.lost, twice=scene.twice)

    def steps(self, state: State) -> Iterator[Step]:
        """A request of someone, a message, a death, a sweep."""
        for index, one in enumerate(state.contenders):
            if one.at in {OVER, DEAD}:
                continue
            yield from ((f"{index}: {words}", after) for words, after in self.contend(state, index, one))
            if state.deaths:
                yield f"{index}: dies", _moved(state, index, Contender(DEAD))._replace(deaths=state.deaths - 1)
        for number, caller in enumerate(state.callers):
            yield from ((f"call: {words}", after) for words, after in self.call(state, number, caller))
            if state.deaths:
                yield "call: dies", _called(state, number, None)._replace(deaths=state.deaths - 1)
        yield from self.messages(state)

    def messages(self, state: State) -> Iterator[Step]:
        """One arrives, is lost, or comes twice; the sweep finds the alarm."""
        begun = (*state.callers, Caller("read"))
        if state.calls and len(state.callers) < CALLERS:
            yield "a call", state._replace(callers=begun, calls=state.calls - 1)
            if state.twice:
                yield "a call, which comes twice", state._replace(callers=begun, twice=state.twice - 1)
        if state.calls and state.lost:
            yield "a call is lost", state._replace(calls=state.calls - 1, lost=state.lost - 1)
        for who in state.wakes:
            left = tuple(one for one in state.wakes if one != who)
            if state.lost:
                yield f"{who} is not woken", state._replace(wakes=left, lost=state.lost - 1)
        if self.scene.sweeps and state.rate.alarm and not state.calls and not state.callers:
            yield "a sweep", state._replace(callers=begun)

    def contend(self, state: State, index: int, one: Contender) -> Iterator[Step]:
        """What a contender does next."""
        rate, places = state.rate, dict(state.rate.line)
        match one.at:
            case "reserve" if self.rules.adds and not rate.mark:
                yield "reserves", _moved(state, index, Contender(OVER, 0, rate.tat), rate._replace(tat=rate.tat + 1))
            case "reserve" if not self.rules.adds and not rate.mark:
                yield "reads the next place", _moved(state, index, Contender("write", rate.tat))
            case "reserve":
                yield "has to stand in line", _moved(state, index, Contender("put"))
            case "write":
                yield (
                    "writes it",
                    _moved(state, index, Contender(OVER, 0, int(one.seen)), rate._replace(tat=one.seen + 1)),
                )
            case "put":
                line = tuple(sorted({index: None, **places}.items()))
                then = Contender("look") if self.rules.puts_first else Contender("mark", one.seen)
                yield "joins", _moved(state, index, then, rate._replace(line=line))
            case "look":
                then = Contender("mark" if self.rules.puts_first else "put", rate.mark)
                yield "reads the mark", _moved(state, index, then)
            case "mark":
                yield "makes sure of it", _marked(_moved(state, index, Contender("stands")), seen=bool(one.seen))
            case "stands" if index in state.wakes:
                awake = state._replace(wakes=tuple(who for who in state.wakes if who != index))
                if (place := places.get(index)) is None:
                    yield "was not called", awake
                else:
                    left = tuple((who, at) for who, at in rate.line if who != index)
                    yield "starts", _moved(awake, index, Contender(OVER, 0, place), rate._replace(line=left))

    def call(self, state: State, number: int, caller: Caller) -> Iterator[Step]:
        """What who calls the line does next."""
        rate = state.rate
        match caller.at:
            case "read":
                yield "reads", _called(state, number, Caller("write", rate))
            case "write" if self.rules.seen and (rate.version, rate.tat) != (caller.seen.version, caller.seen.tat):
                yield "reads again", _called(state, number, Caller("read"))
            case "write":
                yield self.reserve(state, number, caller.seen)
            case "hand":
                after = state
                known = dict(rate.line)
                if caller.who in known:
                    line = tuple((who, caller.place if who == caller.who else at) for who, at in rate.line)
                    wakes = (*state.wakes, caller.who) if caller.who not in state.wakes else state.wakes
                    after = state._replace(rate=rate._replace(line=line), wakes=wakes)
                yield "writes its place", _called(after, number, None)
            case "again":
                after = _called(state, number, None)
                if any(at is None for _, at in rate.line):
                    after = _marked(after, seen=rate.mark)
                yield "looks again", after

    def reserve(self, state: State, number: int, seen: Rate) -> Step:
        """Reserve for the first in line as it was read; of the dead, those who were called go."""
        rate, gone = state.rate, {who for who, one in enumerate(state.contenders) if one.at in {DEAD, OVER}}
        quiet = gone.issuperset(state.wakes) and not state.calls
        dead = [who for who, at in seen.line if at is not None and who in gone]
        late = [who for who, at in seen.line if at is not None and quiet and who not in dead]  # it was not woken
        line = tuple((who, at) for who, at in rate.line if who not in dead)
        first = next((who for who, at in seen.line if at is None or who in late), None)
        changed = rate._replace(line=line, version=rate.version + (first is not None or seen.mark))
        if first is not None:
            after = state._replace(
                rate=changed._replace(tat=seen.tat + 1, mark=True, alarm=True), calls=state.calls + 1
            )
            return f"reserves for {first}", _called(after, number, Caller("hand", who=first, place=seen.tat))
        if seen.mark:
            after = state._replace(rate=changed._replace(mark=False, alarm=self.rules.keeps_alarm))
            again = Caller("again") if self.rules.looks_again else None
            return "removes the mark", _called(after, number, again)
        alarm = rate.alarm and bool(line)
        return "is through", _called(state._replace(rate=changed._replace(alarm=alarm)), number, None)

    def wrong(self, state: State) -> str | None:
        """Two have started in one place."""
        places = [one.place for one in state.contenders if one.place is not None]
        return None if len(set(places)) == len(places) else f"two started in one place: {sorted(places)}"

    def wrong_at_rest(self, state: State) -> str | None:
        """Someone alive waits for ever."""
        left = [index for index, one in enumerate(state.contenders) if one.at not in {OVER, DEAD}]
        return f"{left} wait for ever" if left else None


def _moved(state: State, index: int, one: Contender, rate: Rate | None = None) -> State:
    contenders = (*state.contenders[:index], one, *state.contenders[index + 1 :])
    return state._replace(contenders=contenders, rate=rate or state.rate)


def _called(state: State, number: int, caller: Caller | None) -> State:
    kept = () if caller is None else (caller,)
    return state._replace(callers=(*state.callers[:number], *kept, *state.callers[number + 1 :]))


def _marked(state: State, *, seen: bool) -> State:
    """The mark, the alarm, and a message, unless the mark was seen to be there; one write, if it is not there now."""
    rate = state.rate
    if seen or rate.mark:
        return state
    marked = rate._replace(mark=True, alarm=True, version=rate.version + 1)
    return state._replace(rate=marked, calls=state.calls + 1)
