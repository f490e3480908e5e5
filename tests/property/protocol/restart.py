"""An id that is started again (rule 6): two starts, a redrive, wakers and late heads meet at the end of a life.

The entry ``superseded`` at the next number of the old life's log is the new start. Head and newest entry are read one
after the other. From every state, all being dead, the sweeper alone ends everything, the retry of each start is
answered truthfully, and a new start succeeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

OVER = "over"
OLD_LIFE = 1
NEW_LIVES = 10  # the life that actor n starts is 10 + n
STRANGER = 9  # an actor that is in no scene
SWEEPS = 12
MOST_STEPS = 60
WRONG_AFTER_AN_END = {("closed", "claimed"), ("closed", "closed")}


@dataclass(frozen=True)
class Rules:
    """The rule's parts, each with the variants that a test shows to be wrong.

    Attributes:
        start: what starts again: the entry ``superseded``, whose effect is the new head; or the new head alone.
        alarm: whether ``superseded`` carries an alarm.
        replaces: whose head the new one replaces: the old life's, the old life's at the sequence that was read, any.
        head_of_life: whether ``Head`` is written only over a head of the same life.
        finishes: whether the old life's effects are performed before its head is replaced.
        order: what is first: ``superseded``, or the old life's effects.
        strips_earlier: whether a waker removes the alarms of earlier lives.
        log_decides: whether a life is closed is read in the log behind the head, not in the head alone.
        reads: in which order a reader reads head and newest entry.
        sure: whether a start that has put ``superseded`` and finds the head replaced has started.
        helps: whether another start that meets ``superseded`` performs it.
    """

    start: Literal["superseded", "head"] = "superseded"
    alarm: bool = True
    replaces: Literal["the life", "the life and sequence", "any"] = "the life"
    head_of_life: bool = True
    finishes: bool = True
    order: Literal["superseded first", "effects first"] = "superseded first"
    strips_earlier: bool = True
    log_decides: bool = True
    reads: Literal["head, log", "log, head"] = "head, log"
    sure: bool = True
    helps: bool = True


@dataclass(frozen=True)
class Scene:
    """Who takes part: the old life's ``owner``, about to close it; a ``start``, a ``redrive``, a ``waker``."""

    actors: tuple[str, ...]
    duplicates: int = 0


class Entry(NamedTuple):
    """A log entry, by an actor; of ``superseded`` the life that it starts."""

    kind: str
    by: int = -1


class Head(NamedTuple):
    """The head."""

    life: int
    sequence: int = 1
    closed: bool = False
    alarm: bool = True


class Log(NamedTuple):
    """The log of a life, and up to which number its entries' alarms are removed."""

    life: int
    entries: tuple[Entry, ...]
    stripped: int


class Write(NamedTuple):
    """A write that is on its way."""

    by: int
    what: Literal["entry", "mail", "head", "strip", "replace"]
    life: int
    number: int
    entry: Entry | None = None
    new: int = 0


class Actor(NamedTuple):
    """Someone, and where they are."""

    kind: str
    at: str = "begin"
    waiting: bool = False
    head: Head | None = None
    known: int = 0
    newest_life: int = 0
    entry: Entry | None = None
    closing: int = 0


class Answer(NamedTuple):
    """What an actor was told."""

    by: int
    what: Literal["started", "already running", "redriven"]


class State(NamedTuple):
    """Everything; logs in the order of their starts; ``told`` are the ends, by life and number, that were mailed."""

    head: Head
    logs: tuple[Log, ...]
    told: frozenset[tuple[int, int]]
    network: tuple[Write, ...]
    actors: tuple[Actor, ...]
    duplicates: int
    answers: frozenset[Answer]


Step = tuple[str, State]


class Restart:
    """The model; see ``Model``."""

    def __init__(self, rules: Rules, scene: Scene) -> None:
        self.rules = rules
        self.scene = scene
        self._recoveries: dict[tuple[Head, tuple[Log, ...], frozenset[tuple[int, int]]], str | None] = {}

    def initial(self) -> State:
        """An owner has claimed, and nothing else."""
        log = Log(OLD_LIFE, (Entry("started"), Entry("claimed")), 2)
        actors = tuple(Actor(kind) for kind in self.scene.actors)
        return State(Head(OLD_LIFE, 2), (log,), frozenset(), (), actors, self.scene.duplicates, frozenset())

    def steps(self, state: State) -> Iterator[Step]:
        """An actor's next step, or a write that is applied."""
        for index, actor in enumerate(state.actors):
            if actor.at != OVER and not actor.waiting:
                yield self.act(state, index)
        for number, write in enumerate(state.network):
            yield f"  applied: {write}", self.deliver(state, number)
            if state.duplicates:
                yield f"  applied, and sent again: {write}", self.deliver(state, number, keep=True)

    # --- Actors -------------------------------------------------------------------------------------------------------

    def act(self, state: State, index: int) -> Step:
        """An actor's next step."""
        return {
            "begin": self.begin,
            "half read": self.read,
            "decide": self.decide,
            "appended": self.go_on,
            "mailed": self.mailed,
            "settled": self.settled,
            "replaced": self.replaced,
            "again": self.begin_again,
        }[state.actors[index].at](state, index)

    def begin(self, state: State, index: int) -> Step:
        """The owner closes; all others read."""
        if state.actors[index].kind == "owner":
            return self.append(state, index, Head(OLD_LIFE, 2), 2, Entry("closed", index))
        return self.read(state, index)

    def begin_again(self, state: State, index: int) -> Step:
        """Read again."""
        return f"{index} reads again", _put(state, index, Actor(state.actors[index].kind))

    def decide(self, state: State, index: int) -> Step:
        """Decide on what was read."""
        decide = {"waker": self.wake, "redrive": self.redrive, "start": self.start}
        return decide[state.actors[index].kind](state, index)

    def mailed(self, state: State, index: int) -> Step:
        """The end is told: write its head."""
        actor = state.actors[index]
        assert actor.head is not None
        after = _put(state, index, actor._replace(at="settled", waiting=True))
        write = Write(index, "head", actor.head.life, actor.closing)
        return f"{index} writes the head of {actor.head.life} at {actor.closing}", _sent(after, write)

    def read(self, state: State, index: int) -> Step:
        """Read the head and the newest entry, one after the other."""
        actor = state.actors[index]
        life, newest = _newest_item(state)
        if actor.at == "begin" and self.rules.reads == "log, head":
            half = actor._replace(at="half read", newest_life=life, known=newest)
            return f"{index} reads the newest entry", _put(state, index, half)
        if actor.at == "begin":
            return f"{index} reads {state.head}", _put(state, index, actor._replace(at="half read", head=state.head))
        head = actor.head or state.head
        if actor.head is None:
            life, newest = actor.newest_life, actor.known
        if life != head.life and _place(state, life) > _place(state, head.life):
            return f"{index} has an entry of a later life: reads again", _put(state, index, Actor(actor.kind))
        known = max(newest, head.sequence) if life == head.life else head.sequence
        return f"{index} has read {head}, {known}", _put(
            state, index, Actor(actor.kind, "decide", head=head, known=known)
        )

    def wake(self, state: State, index: int) -> Step:
        """A waker: strip earlier lives, finish an end, replace a superseded life, or claim and close."""
        actor = state.actors[index]
        assert actor.head is not None
        head, known = actor.head, actor.known
        log = _log(state, head.life)
        for earlier in state.logs[: _place(state, head.life)]:
            if self.rules.strips_earlier and self.shows_alarm(earlier):
                return self.strip(state, index, earlier.life, len(earlier.entries), "again")
        entries = log.entries[:known]
        if entries[-1].kind not in ("closed", "superseded"):
            return self.append(state, index, head, known, Entry("claimed", index))
        if head.sequence < (closing := _closing(entries)):
            return self.mail(state, index, head, known, closing)
        if entries[-1].kind == "superseded":
            return self.replace(state, index, head, known, entries[-1].by)
        if self.shows_alarm(log._replace(entries=entries)):
            return self.strip(state, index, head.life, known, OVER)
        return f"{index} finds nothing to do", _put(state, index, Actor(actor.kind, OVER))

    def redrive(self, state: State, index: int) -> Step:
        """A redrive, of a closed life only."""
        actor = state.actors[index]
        assert actor.head is not None
        if _log(state, actor.head.life).entries[actor.known - 1].kind == "closed":
            return self.append(state, index, actor.head, actor.known, Entry("redriven", index))
        return f"{index} is rejected", _put(state, index, Actor(actor.kind, OVER))

    def start(self, state: State, index: int) -> Step:
        """A start: of a closed life, put ``superseded``; then perform its effects, whoever has put it."""
        actor = state.actors[index]
        assert actor.head is not None
        head, known, mine = actor.head, actor.known, NEW_LIVES + index
        if head.life == mine:
            return _answered(state, index, "started")
        entries = _log(state, head.life).entries[:known]
        last, closing = entries[-1], _closing(entries)
        superseded = last.kind == "superseded"
        by_head = self.rules.start == "head" and last.kind == "closed"
        if superseded and last.by != mine and not self.rules.helps:
            return _answered(state, index, "already running")
        effects_first = self.rules.order == "effects first" and last.kind == "closed"
        if (superseded or by_head or effects_first) and self.rules.finishes and head.sequence < closing:
            return self.mail(state, index, head, known, closing)
        if superseded or by_head:
            return self.replace(state, index, head, known, last.by if superseded else mine)
        if last.kind == "closed" and (self.rules.log_decides or head.closed):
            return self.append(state, index, head, known, Entry("superseded", mine))
        return _answered(state, index, "already running")

    def go_on(self, state: State, index: int) -> Step:
        """Its entry is written."""
        actor = state.actors[index]
        assert actor.head is not None
        assert actor.entry is not None
        known = actor.known + 1
        match actor.entry.kind:
            case "superseded":
                return f"{index} goes on", _put(state, index, Actor(actor.kind, "decide", head=actor.head, known=known))
            case "redriven":
                return _answered(state, index, "redriven")
            case "claimed":
                return self.append(state, index, actor.head, known, Entry("closed", index))
            case _:
                return self.mail(state, index, actor.head, known, known)

    def settled(self, state: State, index: int) -> Step:
        """The head of the end is answered: a start goes on with it, others strip."""
        actor = state.actors[index]
        assert actor.head is not None
        if actor.kind != "start":
            return self.strip(state, index, actor.head.life, actor.closing, "again" if actor.kind == "waker" else OVER)
        head = Head(actor.head.life, max(actor.closing, actor.head.sequence), closed=True, alarm=False)
        return f"{index} goes on", _put(state, index, Actor(actor.kind, "decide", head=head, known=actor.known))

    def replaced(self, state: State, index: int) -> Step:
        """The new head is there, or another's: strip the old life; whose start it was is answered."""
        actor = state.actors[index]
        assert actor.head is not None
        if actor.kind == "start" and actor.newest_life == NEW_LIVES + index:
            words, after = self.strip(state, index, actor.head.life, actor.known, OVER)
            return f"{words}: started", after._replace(answers=after.answers | {Answer(index, "started")})
        return self.strip(state, index, actor.head.life, actor.known, "again")

    def append(self, state: State, index: int, head: Head, known: int, entry: Entry) -> Step:
        """Send an entry with the next number."""
        actor = Actor(state.actors[index].kind, "appended", waiting=True, head=head, known=known, entry=entry)
        write = Write(index, "entry", head.life, known + 1, entry)
        return f"{index} puts {entry} as {head.life}/{known + 1}", _sent(_put(state, index, actor), write)

    def mail(self, state: State, index: int, head: Head, known: int, closing: int) -> Step:
        """Send the end of a life to whom it concerns."""
        actor = Actor(state.actors[index].kind, "mailed", waiting=True, head=head, known=known, closing=closing)
        write = Write(index, "mail", head.life, closing)
        return f"{index} mails the end {head.life}/{closing}", _sent(_put(state, index, actor), write)

    def strip(self, state: State, index: int, life: int, number: int, then: str) -> Step:
        """Send the removal of a life's alarms."""
        actor = Actor(state.actors[index].kind, then, waiting=True)
        return f"{index} strips {life}", _sent(_put(state, index, actor), Write(index, "strip", life, number))

    def replace(self, state: State, index: int, head: Head, known: int, new: int) -> Step:
        """Send the head of the next life."""
        actor = Actor(state.actors[index].kind, "replaced", waiting=True, head=head, known=known, newest_life=new)
        write = Write(index, "replace", head.life, head.sequence, new=new)
        return f"{index} replaces the head of {head.life} by {new}", _sent(_put(state, index, actor), write)

    def shows_alarm(self, log: Log) -> bool:
        """Whether the index shows an alarm of a log."""
        kinds = ("redriven", "claimed", "superseded") if self.rules.alarm else ("redriven", "claimed")
        return any(entry.kind in kinds for entry in log.entries[log.stripped :])

    # --- The store ----------------------------------------------------------------------------------------------------

    def deliver(self, state: State, number: int, *, keep: bool = False) -> State:
        """Apply a write, and answer its sender, if that still waits for this one."""
        write = state.network[number]
        state, done = self.apply(state, write)
        if keep:
            return state._replace(duplicates=state.duplicates - 1)
        sender = state.actors[write.by]
        if sender.waiting and sum(other.by == write.by for other in state.network) == 1:
            lost = Actor(sender.kind, OVER if sender.kind == "owner" else "begin")
            state = _put(state, write.by, sender._replace(waiting=False) if done else lost)
        return state._replace(network=state.network[:number] + state.network[number + 1 :])

    def apply(self, state: State, write: Write) -> tuple[State, bool]:
        """What a write does to the store, and whether it has been done."""
        head = state.head
        match write.what:
            case "entry":
                assert write.entry is not None
                entries = _log(state, write.life).entries
                if len(entries) + 1 == write.number:
                    return _with_log(state, write.life, entries=(*entries, write.entry)), True
                return state, entries[write.number - 1] == write.entry  # taken, by myself
            case "mail":
                return state._replace(told=state.told | {(write.life, write.number)}), True
            case "head":
                if (head.life == write.life or not self.rules.head_of_life) and head.sequence < write.number:
                    state = state._replace(head=Head(head.life, write.number, closed=True, alarm=False))
                return state, True
            case "strip":
                stripped = max(_log(state, write.life).stripped, write.number)
                return _with_log(state, write.life, stripped=stripped), True
            case _:
                return self.apply_replacement(state, write)

    def apply_replacement(self, state: State, write: Write) -> tuple[State, bool]:
        """The new head, if the old one is as the rule wants it."""
        head = state.head
        fits = {
            "the life": head.life == write.life,
            "the life and sequence": (head.life, head.sequence) == (write.life, write.number),
            "any": True,
        }[self.rules.replaces]
        if fits:
            logs = (*state.logs, Log(write.new, (Entry("started"),), 1))
            return state._replace(head=Head(write.new), logs=logs), True
        won = self.rules.start == "superseded" and self.rules.sure and write.new == NEW_LIVES + write.by
        return state, won or head.life == write.new

    # --- What must be true --------------------------------------------------------------------------------------------

    def wrong_at_rest(self, _state: State) -> str | None:
        """Nothing more: whoever is not scheduled again has crashed, in every state."""
        return None

    def wrong(self, state: State) -> str | None:
        """What is wrong with a state."""
        why = self.wrong_lives(state) or self.wrong_answers(state) or self.wrong_alarm(state)
        if why:
            return why
        key = (state.head, state.logs, state.told)
        if key not in self._recoveries:
            self._recoveries[key] = self.wrong_retry(state) or self.wrong_rest(state)
        return self._recoveries[key]

    def wrong_lives(self, state: State) -> str | None:
        """Lives follow each other, each closed and told before the next, nothing behind its end."""
        lives = [log.life for log in state.logs]
        if len(set(lives)) < len(lives):
            return "a life was started twice"
        if state.head.life != lives[-1]:
            return "the head of an earlier life is back"
        for one, following in (pair for log in state.logs for pair in pairwise(log.entries)):
            if one.kind == "superseded" or (one.kind, following.kind) in WRONG_AFTER_AN_END:
                return "a closed life went on"
        for log in state.logs[:-1]:
            if log.entries[-1].kind not in ("closed", "superseded"):
                return "a life was replaced while it was open"
            if (log.life, _closing(log.entries)) not in state.told:
                return "the end of a life is never told: its head is gone"
        return None

    def wrong_answers(self, state: State) -> str | None:
        """What was answered is true."""
        lives = {log.life for log in state.logs}
        begun = {entry.by for log in state.logs for entry in log.entries if entry.kind == "superseded"}
        for answer in state.answers:
            if answer.what == "started" and NEW_LIVES + answer.by not in lives:
                return "a start was acknowledged and has no life"
            if answer.what == "already running" and NEW_LIVES + answer.by in begun:
                return "a start was answered AlreadyRunning and takes place"
        return None

    def wrong_alarm(self, state: State) -> str | None:
        """The head is a function of its life's log; where work is left, an alarm is there."""
        entries = state.logs[-1].entries
        head = state.head
        if head.sequence > len(entries) or head.closed != (entries[head.sequence - 1].kind == "closed"):
            return "a late write of the old life changed the new head"
        open_ = entries[-1].kind not in ("closed", "superseded")
        if (open_ or entries[-1].kind == "superseded") and not self.alarmed(state):
            return "work is left, and no alarm"
        return None

    def alarmed(self, state: State) -> bool:
        """Whether the index shows anything of the instance."""
        return state.head.alarm or any(map(self.shows_alarm, state.logs))

    def wrong_retry(self, state: State) -> str | None:
        """The retry of each start, before any sweep, is answered truthfully."""
        last = _log(state, state.head.life).entries[-1]
        for index, actor in enumerate(state.actors):
            if actor.kind != "start":
                continue
            mine = NEW_LIVES + index
            after = self.alone(state, "start", index)
            if after is None:
                return f"the retry of {index} never ends"
            started = Answer(index, "started") in after.answers
            if not started and state.logs[-1].life == mine:
                return f"the retry of {index} is rejected, though its life is the current one"
            if not started and last == Entry("superseded", mine):
                return f"the retry of {index} does not end what it began"
            if Answer(index, "already running") in after.answers and last.kind == "closed":
                return f"the retry of {index} is rejected, though nothing runs"
        return None

    def wrong_rest(self, state: State) -> str | None:
        """The sweeper alone ends everything, and the id can be started again."""
        rest: State | None = state
        for _ in range(SWEEPS):
            assert rest is not None
            if not self.alarmed(rest):
                break
            rest = self.alone(rest, "waker", STRANGER)
            if rest is None:
                return "a waker never ends"
        else:
            return "woken for ever"
        entries = rest.logs[-1].entries
        if entries[-1].kind != "closed":
            return "at rest, and open"
        if (rest.head.life, _closing(entries)) not in rest.told:
            return "at rest, and an end is not told"
        again = self.alone(rest, "start", STRANGER)
        if again is None or Answer(STRANGER, "started") not in again.answers:
            return "the id cannot be started again"
        return None

    def alone(self, state: State, kind: str, index: int) -> State | None:
        """One actor alone, from its beginning to its end, nothing lost; ``None`` if it does not end."""
        nobody = (Actor("dead", OVER),) * index
        state = state._replace(network=(), actors=(*nobody, Actor(kind)), duplicates=0, answers=frozenset())
        for _ in range(MOST_STEPS):
            if state.actors[index].at == OVER:
                return state
            state = self.act(state, index)[1]
            while state.network:
                state = self.deliver(state, 0)
        return None


def _newest_item(state: State) -> tuple[int, int]:
    """The life and number of the newest entry that is an item: entry 1 is inside the head."""
    newest = state.logs[-1]
    if len(newest.entries) == 1 and len(state.logs) > 1:
        newest = state.logs[-2]
    return newest.life, len(newest.entries)


def _log(state: State, life: int) -> Log:
    return next(log for log in state.logs if log.life == life)


def _place(state: State, life: int) -> int:
    return next(place for place, log in enumerate(state.logs) if log.life == life)


def _with_log(state: State, life: int, **changes: object) -> State:
    logs = tuple(
        log._replace(**changes) if log.life == life else log  # type: ignore[arg-type]  # a log's fields
        for log in state.logs
    )
    return state._replace(logs=logs)


def _closing(entries: tuple[Entry, ...]) -> int:
    """The number of the newest entry that closes; 0 without one."""
    return max((number for number, entry in enumerate(entries, 1) if entry.kind == "closed"), default=0)


def _put(state: State, index: int, actor: Actor) -> State:
    return state._replace(actors=(*state.actors[:index], actor, *state.actors[index + 1 :]))


def _sent(state: State, write: Write) -> State:
    network = sorted((*state.network, write), key=lambda sent: (sent.by, sent.what, sent.life, sent.number))
    return state._replace(network=tuple(network))


def _answered(state: State, index: int, what: Literal["started", "already running", "redriven"]) -> Step:
    after = _put(state, index, Actor(state.actors[index].kind, OVER))
    return f"{index} is answered: {what}", after._replace(answers=after.answers | {Answer(index, what)})
