"""One instance: its log, its head, the alarms of both, and everyone who writes them (rules 1 to 4).

An owner has a step to run and two timers; it commits each outcome, may hand over, and gives up ownership at a boundary:
log, then ``Head(m)``, then the alarms of entries up to m are stripped. Outsiders append events, pauses, unpauses and
cancellations. Wakers come at any time, as duplicated messages and stale indexes bring them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NEVER = 99
ALREADY = 0
GIVES_UP = ("suspended", "handed over")
OUTSIDERS = ("event", "event in place", "paused", "unpaused", "cancelled")
SWEEPS = 80
MOST_STEPS = 60  # of one sweep
SWEEPER = 7  # a name that no actor of a scene has
IDLE_SWEEPS = 8


@dataclass(frozen=True)
class Rules:
    """The protocol's rules, each with the variants that a test shows to be wrong.

    Attributes:
        boundary_wakes: which entry that gives up ownership carries the next wake as its alarm: one whose wake is before
            the alarm of its own claim, one whose wake is before the earliest alarm that its owner has seen, none, all.
        claims: whether a claim carries its lease's end.
        outsiders: whether what others append carries an alarm where no live owner will see it.
        reads: in which order a reader reads the head and the newest entry.
        knows: what it takes as the newest number: the greater of both, the entry's, the head's.
        order: what an owner writes first at a boundary.
        strips: the alarms up to the head's number once that is written; when the boundary is decided; all alarms.
        head_is_newer: whether a head is written only over one with a smaller sequence.
        repairs: whether a waker that finds nothing to do performs the newest boundary's effects again.
        zombies: whether an owner may live longer than its lease.
    """

    boundary_wakes: Literal["before its claim's", "before the earliest seen", "none", "all"] = "before its claim's"
    claims: bool = True
    outsiders: bool = True
    reads: Literal["head, log", "log, head", "at once"] = "head, log"
    knows: Literal["greater", "entry", "head"] = "greater"
    order: Literal["log, head", "head, log"] = "log, head"
    strips: Literal["after the head", "when decided", "all"] = "after the head"
    head_is_newer: bool = True
    repairs: bool = True
    zombies: bool = False


@dataclass(frozen=True)
class Scene:
    """Where it begins, and who takes part.

    Attributes:
        start: it waits for its timers; or an owner that started it in place has its step to run; or the head of its
            last boundary is still on its way, its sender dead.
        actors: who comes.
        due: when the two timers are due.
        end: the last time.
        lease: how long a claim lasts.
        hand_overs: how often an owner may hand over instead of going on.
        duplicates: how many writes are applied twice.
    """

    start: Literal["waiting", "owned", "head late"]
    actors: tuple[str, ...]
    due: tuple[int, int] = (2, 3)
    end: int = 4
    lease: int = 2
    hand_overs: int = 0
    duplicates: int = 0


class Entry(NamedTuple):
    """A log entry: what happened, by whom, and its own alarm."""

    kind: str
    by: int = -1
    what: str = ""
    lease: int = NEVER
    alarm: int = NEVER


class Head(NamedTuple):
    """The head: a function of the log up to ``sequence``."""

    sequence: int
    owner: int | None
    alarm: int
    closed: bool


class Facts(NamedTuple):
    """What a log says."""

    work: bool = True
    timers: tuple[str, ...] = ()
    inbox: int = 0
    paused: bool = False
    cancelled: bool = False
    closed: bool = False
    owner: int | None = None
    lease: int = NEVER


class Write(NamedTuple):
    """A write that is on its way: of an entry or a head, or the removal of an entry's alarm."""

    by: int
    what: Literal["entry", "head", "strip"]
    number: int
    entry: Entry | None = None
    head: Head | None = None


class Actor(NamedTuple):
    """Someone, and where they are; once their write is answered they go on at ``at``, or at ``otherwise``."""

    kind: str
    at: str = "begin"
    waiting: bool = False
    otherwise: str = ""
    lease: int = NEVER
    known: int = 0
    head: Head | None = None
    entry: Entry | None = None
    hand_overs: int = 0


class State(NamedTuple):
    """Everything."""

    now: int
    log: tuple[Entry, ...]
    head: Head
    stripped: frozenset[int]
    network: tuple[Write, ...]
    actors: tuple[Actor, ...]
    acknowledged: frozenset[int]
    duplicates: int


OVER = "over"
Step = tuple[str, State]


class Instance:
    """The model; see ``Model``."""

    def __init__(self, rules: Rules, scene: Scene) -> None:
        self.rules = rules
        self.scene = scene
        self._facts: dict[tuple[Entry, ...], Facts] = {}
        self._recoveries: dict[tuple[int, tuple[Entry, ...], Head, frozenset[int]], str | None] = {}

    # --- What a log says ----------------------------------------------------------------------------------------------

    def facts(self, log: tuple[Entry, ...]) -> Facts:
        """The fold of a log."""
        if log not in self._facts:
            self._facts[log] = _apply(self.facts(log[:-1]), log[-1]) if log else Facts()
        return self._facts[log]

    def needed(self, facts: Facts) -> int:
        """When someone has to look."""
        if facts.closed:
            return NEVER
        if facts.owner is not None:
            return facts.lease
        if facts.cancelled:
            return ALREADY
        if facts.paused:
            return NEVER
        if facts.work or facts.inbox or not facts.timers:
            return ALREADY
        return min(self.due(timer) for timer in facts.timers)

    def due(self, timer: str) -> int:
        """When a timer is due."""
        return self.scene.due[int(timer) - 1]

    def head_of(self, log: tuple[Entry, ...]) -> Head:
        """What ``Head(m)`` writes, m being the log's length."""
        facts = self.facts(log)
        return Head(len(log), facts.owner, self.needed(facts), facts.closed)

    def initial(self) -> State:
        """The scene's beginning."""
        scene = self.scene
        actors = tuple(Actor(kind) for kind in scene.actors)
        if scene.start == "owned":
            log: tuple[Entry, ...] = (Entry("started"), Entry("claimed", 0, lease=scene.lease))  # both inside the head
            owner = Actor("owner", "own", lease=scene.lease, known=2, hand_overs=scene.hand_overs)
            return State(0, log, self.head_of(log), frozenset(), (), (owner, *actors), frozenset(), scene.duplicates)
        before = len(actors)
        claim = Entry("claimed", before, lease=ALREADY, alarm=ALREADY if scene.start == "head late" else NEVER)
        log = (Entry("started"), claim, Entry("done", before, "step"), Entry("suspended", before))
        head = self.head_of(log)
        network: tuple[Write, ...] = ()
        actors = (*actors, Actor("dead", OVER))
        if scene.start == "head late":
            network = (Write(before, "head", 4, head=head),)
            head = self.head_of(log[:1])
        return State(0, log, head, frozenset(), network, actors, frozenset(), scene.duplicates)

    # --- What may happen ----------------------------------------------------------------------------------------------

    def steps(self, state: State) -> Iterator[Step]:
        """An actor's next step, a write that is applied, or time that passes."""
        for index, actor in enumerate(state.actors):
            if actor.at != OVER and not actor.waiting:
                yield from self.act(state, index)
        for number, write in enumerate(state.network):
            yield f"  applied: {write}", self.deliver(state, number)
            if state.duplicates:
                yield f"  applied, and sent again: {write}", self.deliver(state, number, keep=True)
        if state.now < self.scene.end:
            yield f"time {state.now + 1}", self.pass_time(state)

    def pass_time(self, state: State) -> State:
        """The clock goes on; whoever's lease has ended is dead, but what they have sent is not."""
        now = state.now + 1
        if self.rules.zombies:
            return state._replace(now=now)
        actors = tuple(_over(actor) if actor.lease <= now else actor for actor in state.actors)
        return state._replace(now=now, actors=actors)

    def deliver(self, state: State, number: int, *, keep: bool = False) -> State:
        """Apply a write that is on its way, and answer its sender, if that still waits for this one."""
        write = state.network[number]
        state, done = self.apply(state, write)
        if keep:
            return state._replace(duplicates=state.duplicates - 1)
        actors = state.actors
        sender = actors[write.by]
        if sender.waiting and sum(other.by == write.by for other in state.network) == 1:
            actors = (*actors[: write.by], _answered(sender, done=done), *actors[write.by + 1 :])
        network = state.network[:number] + state.network[number + 1 :]
        return state._replace(network=network, actors=actors)

    def apply(self, state: State, write: Write) -> tuple[State, bool]:
        """What a write does to the store, and whether it has been done."""
        if write.what == "strip":
            return state._replace(stripped=state.stripped | {write.number}), True
        if write.what == "head":
            assert write.head is not None
            if self.rules.head_is_newer and state.head.sequence >= write.number:
                return state, True
            return state._replace(head=write.head), True
        assert write.entry is not None
        if write.number == len(state.log) + 1:
            return state._replace(log=(*state.log, write.entry)), True
        return state, state.log[write.number - 1] == write.entry  # taken, by myself: only the answer was lost

    def act(self, state: State, index: int) -> Iterable[Step]:
        """An actor's next step; an owner may have two."""
        at = state.actors[index].at
        if at == "own":
            return self.own(state, index)
        step = {
            "begin": self.read,
            "half read": self.read,
            "decide": self.decide,
            "appended": self.go_on,
            "head first": self.append_after,
            "committed": self.follow,
            "strip": self.strip,
            "rebase": self.rebase,
        }[at]
        return [step(state, index)]

    def decide(self, state: State, index: int) -> Step:
        """Decide on what was read."""
        outside = state.actors[index].kind in OUTSIDERS
        return self.decide_outside(state, index) if outside else self.decide_waker(state, index)

    def append_after(self, state: State, index: int) -> Step:
        """The head is written first: now the entry."""
        entry = state.actors[index].entry
        assert entry is not None
        return self.append(state, index, entry, at="committed", otherwise="rebase")

    def rebase(self, state: State, index: int) -> Step:
        """Another took the number: decide again on what the log has now."""
        known = len(state.log)
        return f"{index} reads the tail up to {known}", _with(state, index, at="own", known=known)

    def read(self, state: State, index: int) -> Step:
        """Read the head and the newest entry: each at a time of its own."""
        actor, newest = state.actors[index], len(state.log)
        if actor.at == "begin" and self.rules.reads == "head, log":
            return f"{index} reads {state.head}", _with(state, index, at="half read", head=state.head)
        if actor.at == "begin" and self.rules.reads == "log, head":
            return f"{index} reads newest {newest}", _with(state, index, at="half read", known=newest)
        head, entry = state.head, newest
        if actor.at == "half read" and self.rules.reads == "head, log":
            assert actor.head is not None
            head = actor.head
        elif actor.at == "half read":
            entry = actor.known
        known = {"greater": max(head.sequence, entry), "entry": entry, "head": head.sequence}[self.rules.knows]
        return f"{index} has read {head}, {entry}", _with(state, index, at="decide", head=head, known=known)

    def decide_outside(self, state: State, index: int) -> Step:
        """Append what someone else than the owner has to say; with an alarm, unless a live owner will see it."""
        actor, facts = state.actors[index], self.facts(state.log[: state.actors[index].known])
        if any(entry.by == index for entry in state.log[: actor.known]):
            return f"{index} is known: acknowledged", _acknowledged(_ended(state, index), index)
        if facts.closed or (actor.kind == "unpaused" and not facts.paused) or (actor.kind == "paused" and facts.paused):
            return f"{index} is rejected", _ended(state, index)
        alive = facts.owner is not None and facts.lease > state.now
        if actor.kind == "event in place" and not alive and not facts.paused:
            return self.append(state, index, self.claim(state, index, "event in place"))
        alarm = ALREADY if self.rules.outsiders and not alive else NEVER
        kind = "event" if actor.kind == "event in place" else actor.kind
        return self.append(state, index, Entry(kind, index, alarm=alarm))

    def decide_waker(self, state: State, index: int) -> Step:
        """Claim what is to be done; where nothing is, perform the newest boundary's effects again."""
        actor, facts = state.actors[index], self.facts(state.log[: state.actors[index].known])
        assert actor.head is not None
        if facts.owner is not None and facts.lease > state.now:
            return f"{index} meets a live owner", _ended(state, index)
        if not facts.closed and (facts.owner is not None or self.needed(facts) <= state.now):
            return self.append(state, index, self.claim(state, index, "claimed"))
        if self.rules.repairs and actor.head.sequence < actor.known:
            return self.write_head(state, index, actor.known)
        if self.rules.repairs and (alarms := self.alarms(state, actor.head.sequence, actor.known)):
            return self.write_strip(state, index, alarms[0], known=actor.head.sequence)
        return f"{index} finds nothing to do", _ended(state, index)

    def claim(self, state: State, index: int, kind: str) -> Entry:
        """A claim, whose alarm is its lease's end."""
        until = state.now + self.scene.lease
        return Entry(kind, index, lease=until, alarm=until if self.rules.claims else NEVER)

    def append(self, state: State, index: int, entry: Entry, at: str = "appended", otherwise: str = "begin") -> Step:
        """Send an entry with the next number."""
        actor = state.actors[index]
        lease = entry.lease if entry.kind in ("claimed", "event in place") else actor.lease
        write = Write(index, "entry", actor.known + 1, entry)
        after = _with(state, index, at=at, waiting=True, otherwise=otherwise, lease=lease, entry=entry, head=None)
        return f"{index} puts {actor.known + 1} {entry}", _sent(after, write)

    def go_on(self, state: State, index: int) -> Step:
        """Its entry is written: an outsider is answered, a claimer owns."""
        actor = state.actors[index]
        assert actor.entry is not None
        if actor.entry.kind == "claimed":
            return f"{index} owns", self.owning(state, index, actor.known + 1)
        if actor.entry.kind == "event in place":
            owning = self.owning(state, index, actor.known + 1)
            return f"{index} owns: acknowledged", _acknowledged(owning, index)
        return f"{index} is acknowledged", _acknowledged(_ended(state, index), index)

    def owning(self, state: State, index: int, known: int) -> State:
        """An actor that owns from now on."""
        return _with(state, index, at="own", known=known, entry=None, hand_overs=self.scene.hand_overs)

    def own(self, state: State, index: int) -> Iterator[Step]:
        """Commit the next outcome, on top of what is known; or hand over."""
        actor = state.actors[index]
        log = state.log[: actor.known]
        facts = self.facts(log)
        if facts.closed or facts.owner != index:
            yield f"{index} is fenced", _ended(state, index)
            return
        entries = [self.outcome(state, index, facts)]
        if actor.hand_overs and entries[0].kind == "done":
            entries.append(Entry("handed over", index))
        for plain in entries:
            entry = plain
            if plain.kind in GIVES_UP and (wake := self.needed(self.facts((*log, plain)))) < self.bound(state, facts):
                entry = plain._replace(alarm=wake)
            left = actor.hand_overs - (entry.kind == "handed over")
            after = _with(state, index, hand_overs=left)
            if self.rules.order == "head, log" and entry.kind != "done":
                head = self.head_of((*log, entry))
                first = _with(after, index, at="head first", waiting=True, entry=entry)
                yield f"{index} writes {head} first", _sent(first, Write(index, "head", head.sequence, head=head))
            else:
                yield self.append(after, index, entry, at="committed", otherwise="rebase")

    def outcome(self, state: State, index: int, facts: Facts) -> Entry:
        """What an owner commits next."""
        due = [timer for timer in facts.timers if self.due(timer) <= state.now]
        if facts.cancelled:
            return Entry("closed", index)
        if facts.paused:
            return Entry("suspended", index)
        for ready, what in ((facts.work, "step"), (facts.inbox, "event"), (due, due[0] if due else "")):
            if ready:
                return Entry("done", index, what)
        return Entry("suspended" if facts.timers else "closed", index)

    def bound(self, state: State, facts: Facts) -> int:
        """Before which time a next wake is not covered by an alarm that is there already."""
        return {
            "before its claim's": facts.lease,
            "before the earliest seen": min(facts.lease, state.head.alarm),
            "none": -1,
            "all": NEVER,
        }[self.rules.boundary_wakes]

    def follow(self, state: State, index: int) -> Step:
        """Its commit is written: go on, or perform the boundary's effects."""
        actor = state.actors[index]
        assert actor.entry is not None
        known = actor.known + 1
        if actor.entry.kind == "done":
            return f"{index} goes on", _with(state, index, at="own", known=known, entry=None)
        if self.rules.strips != "after the head" and (alarms := self.alarms(state, known, len(state.log))):
            after = _with(state, index, waiting=True)
            return f"{index} strips {alarms[0]} first", _sent(after, Write(index, "strip", alarms[0]))
        if self.rules.order == "head, log":
            return f"{index} looks for alarms", _with(state, index, at="strip", known=known, entry=None, hand_overs=0)
        return self.write_head(state, index, known)

    def strip(self, state: State, index: int) -> Step:
        """Remove the alarms of entries up to the number of the head that was written, one at a time."""
        known = state.actors[index].known
        if alarms := self.alarms(state, known, len(state.log)):
            return self.write_strip(state, index, alarms[0], known)
        return f"{index} is over", _ended(state, index)

    def alarms(self, state: State, settled: int, newest: int) -> list[int]:
        """The entries whose alarms are to be removed."""
        log = state.log[: newest if self.rules.strips == "all" else settled]
        return [n for n, entry in enumerate(log, 1) if entry.alarm != NEVER and n not in state.stripped]

    def write_head(self, state: State, index: int, number: int) -> Step:
        head = self.head_of(state.log[:number])
        actor = Actor(state.actors[index].kind, "strip", waiting=True, lease=state.actors[index].lease, known=number)
        return f"{index} writes {head}", _sent(_put(state, index, actor), Write(index, "head", number, head=head))

    def write_strip(self, state: State, index: int, number: int, known: int) -> Step:
        actor = Actor(state.actors[index].kind, "strip", waiting=True, lease=state.actors[index].lease, known=known)
        return f"{index} strips {number}", _sent(_put(state, index, actor), Write(index, "strip", number))

    # --- What must be true --------------------------------------------------------------------------------------------

    def wrong_at_rest(self, _state: State) -> str | None:
        """Nothing more: whoever is not scheduled again has crashed, in every state."""
        return None

    def wrong(self, state: State) -> str | None:
        """What is wrong with a state."""
        return self.wrong_log(state) or self.wrong_alarm(state) or self.recovery(state)

    def wrong_log(self, state: State) -> str | None:
        """Nothing acknowledged is lost, nothing is done twice or by another than the owner, nor after the end."""
        log, owner, done = state.log, None, []
        if lost := [index for index in state.acknowledged if not any(entry.by == index for entry in log)]:
            return f"what {lost} had acknowledged is lost"
        for number, entry in enumerate(log):
            if number and log[number - 1].kind == "closed":
                return "a closed instance went on"
            if entry.kind in ("claimed", "event in place"):
                owner = entry.by
            elif entry.kind in ("done", "closed", *GIVES_UP):
                if entry.by != owner:
                    return f"{entry} is by one that does not own"
                owner = owner if entry.kind == "done" else None
            if entry.kind == "done":
                done.append(entry.what)
        if len(done) != len(set(done) - {"event"}) + done.count("event"):
            return f"done twice: {done}"
        if done.count("event") > sum(entry.kind in ("event", "event in place") for entry in log):
            return "an event was applied twice"
        return None

    def wrong_alarm(self, state: State) -> str | None:
        """The head follows the log, and an alarm is there in time."""
        head, needed, alarm = state.head, self.needed(self.facts(state.log)), _alarm(state)
        if head.sequence > len(state.log):
            return "the head is ahead of the log"
        if head != self.head_of(state.log[: head.sequence]):
            return "the head is not that of its number"
        if alarm > max(needed, state.now):
            return f"the alarm is at {alarm}, needed at {needed}, it is {state.now}"
        if head.sequence < len(state.log) and alarm == NEVER:
            return "the head lags, and no alarm is left"
        return None

    def recovery(self, state: State) -> str | None:
        """All are dead now: what the sweeper alone cannot fix."""
        key = (state.now, state.log, state.head, state.stripped)
        if key not in self._recoveries:
            self._recoveries[key] = self.recover(state)
        return self._recoveries[key]

    def recover(self, state: State) -> str | None:
        """Sweep until no alarm is left."""
        idle = 0
        for _ in range(SWEEPS):
            if (alarm := _alarm(state)) == NEVER:
                return self.wrong_end(state)
            before = (state.log, state.head, state.stripped)
            state = self.sweep(state, max(state.now, alarm))
            idle = idle + 1 if (state.log, state.head, state.stripped) == before else 0
            if idle > IDLE_SWEEPS:
                return "woken for ever, for nothing"
        return "swept for ever"

    def sweep(self, state: State, now: int) -> State:
        """One waker alone, until it is over."""
        nobody = (Actor("dead", OVER),) * SWEEPER
        state = state._replace(now=now, network=(), actors=(*nobody, Actor("waker")), duplicates=0)
        for _ in range(MOST_STEPS):
            if state.actors[SWEEPER].at == OVER:
                break
            state = next(iter(self.act(state, SWEEPER)))[1]
            while state.network:
                state = self.deliver(state, 0)
        return state._replace(now=now + 1)

    def wrong_end(self, state: State) -> str | None:
        """What is wrong once no alarm is left: it must have ended, or be paused."""
        facts = self.facts(state.log)
        if state.head.sequence < len(state.log):
            return "at rest, and the head lags"
        if not facts.closed and not (facts.paused and not facts.cancelled):
            return "at rest, and not ended"
        return None


def _apply(facts: Facts, entry: Entry) -> Facts:  # noqa: PLR0911 - one return a kind
    """What an entry adds to what is known."""
    match entry.kind:
        case "claimed":
            return facts._replace(owner=entry.by, lease=entry.lease)
        case "event in place":
            return facts._replace(inbox=facts.inbox + 1, owner=entry.by, lease=entry.lease)
        case "event":
            return facts._replace(inbox=facts.inbox + 1)
        case "done" if entry.what == "step":
            return facts._replace(work=False, timers=("1", "2"))
        case "done":
            inbox = facts.inbox - (entry.what == "event")
            settled = "1" if entry.what == "event" else entry.what  # an event settles what the first timer waits for
            return facts._replace(inbox=inbox, timers=tuple(timer for timer in facts.timers if timer != settled))
        case "suspended" | "handed over":
            return facts._replace(owner=None)
        case "paused" | "unpaused":
            return facts._replace(paused=entry.kind == "paused")
        case "cancelled":
            return facts._replace(cancelled=True)
        case "closed":
            return facts._replace(closed=True, owner=None)
        case _:
            return facts


def _alarm(state: State) -> int:
    """The earliest alarm that the index shows."""
    own = [entry.alarm for number, entry in enumerate(state.log, 1) if number not in state.stripped]
    return min([state.head.alarm, *own])


def _put(state: State, index: int, actor: Actor) -> State:
    return state._replace(actors=(*state.actors[:index], actor, *state.actors[index + 1 :]))


def _with(state: State, index: int, **changes: object) -> State:
    return _put(state, index, state.actors[index]._replace(**changes))  # type: ignore[arg-type]  # an actor's fields


def _ended(state: State, index: int) -> State:
    return _put(state, index, _over(state.actors[index]))


def _over(actor: Actor) -> Actor:
    return Actor(actor.kind, OVER)


def _acknowledged(state: State, index: int) -> State:
    return state._replace(acknowledged=state.acknowledged | {index})


def _sent(state: State, write: Write) -> State:
    network = sorted((*state.network, write), key=lambda sent: (sent.by, sent.what, sent.number))
    return state._replace(network=tuple(network))


def _answered(actor: Actor, *, done: bool) -> Actor:
    """An actor whose write was answered."""
    if done:
        return actor._replace(waiting=False, otherwise="")
    if actor.otherwise == "begin":
        return Actor(actor.kind)
    given_up = actor.entry is not None and actor.entry.kind == "handed over"
    return Actor(actor.kind, actor.otherwise, lease=actor.lease, hand_overs=actor.hand_overs + given_up)
