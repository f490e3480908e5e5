"""Children's ends, their parent's mailbox, and the parent's log and head, together (rule 5).

Mail is an item of a fixed name with an alarm of its own, put before its wake is sent. From every state, all being dead,
the sweeper alone ends the parent, and a redrive finds the mail; where no one died and everything was delivered, the
parent has ended without the sweeper.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

OVER = "over"
NONE, QUIET, THERE = "none", "quiet", "there"  # mail: not there; there without an alarm; there with one
STRANGER = 9  # an actor that is in no scene
SWEEPS = 30
MOST_STEPS = 80


@dataclass(frozen=True)
class Rules:
    """The rule's parts, each with the variants that a test shows to be wrong.

    Attributes:
        end: the order in which a child's end is written.
        consumes: what a parent does first with mail.
        looks_again: when an owner reads the mailbox again: after the commit that gives up ownership, after that
            commit's head, never.
        drops: whether a wake that meets a live owner is dropped; otherwise it comes again.
        reads: in which order a waker reads.
        when_closed: what becomes of mail to a closed parent.
        deletes_settled: whether mail whose activation is settled is deleted; otherwise it is consumed.
        mail_alarm, claim_alarm, redrive_alarm: which of them carry an alarm.
        redrive_reads: whether a redriven parent reads mail without an alarm, too.
    """

    end: tuple[str, ...] = ("log", "mail", "wake", "head")
    consumes: Literal["commit, delete", "delete, commit"] = "commit, delete"
    looks_again: Literal["after the commit", "after the head", "never"] = "after the commit"
    drops: bool = True
    reads: Literal["mail, log", "log, mail"] = "mail, log"
    when_closed: Literal["strip", "keep", "delete"] = "strip"
    deletes_settled: bool = True
    mail_alarm: bool = True
    claim_alarm: bool = True
    redrive_alarm: bool = True
    redrive_reads: bool = True


@dataclass(frozen=True)
class Scene:
    """Who takes part.

    Attributes:
        actors: a ``closer`` ends a child, one after the other of them (then the first again); the ``owner``; a
            ``waker`` waits for wakes; a ``deadline`` closes the parent; a ``redrive`` follows such an end.
        waiting: whether the parent waits already, without an owner.
        children: how many it waits for.
        duplicates: how many writes are applied twice.
        deaths: how many owners die.
        wakes: how many wakes come for nothing.
    """

    actors: tuple[str, ...]
    waiting: bool = False
    children: int = 1
    duplicates: int = 0
    deaths: int = 0
    wakes: int = 0


class Entry(NamedTuple):
    """An entry of the parent's log: what, by whom, of which child, how it ended, and whether it carries an alarm."""

    kind: str
    by: int = -1
    child: int = -1
    outcome: str = ""
    alarm: bool = False


class Head(NamedTuple):
    """The parent's head."""

    sequence: int
    alarm: bool
    closed: bool


class Facts(NamedTuple):
    """What the parent's log says; ``claim`` is the number of the claim in force, 0 without."""

    waiting: frozenset[int]
    claim: int = 0
    outcome: str = ""
    redriven: bool = False


class Child(NamedTuple):
    """A child: whether its log has closed, and whether its own head shows an alarm."""

    closed: bool = False
    alarm: bool = True


class Write(NamedTuple):
    """A write that is on its way."""

    by: int
    what: Literal["child log", "child head", "mail", "strip mail", "delete mail", "entry", "head", "strip"]
    number: int
    entry: Entry | None = None
    head: Head | None = None


class Actor(NamedTuple):
    """Someone, and where they are."""

    kind: str
    at: str
    waiting: bool = False
    child: int = -1
    stage: int = 0
    known: int = 0
    head: Head | None = None
    mail: tuple[str, ...] = ()
    entry: Entry | None = None


class State(NamedTuple):
    """Everything; ``dead`` are the claims whose owners are dead."""

    children: tuple[Child, ...]
    mail: tuple[str, ...]
    log: tuple[Entry, ...]
    head: Head
    stripped: frozenset[int]
    wakes: int
    network: tuple[Write, ...]
    actors: tuple[Actor, ...]
    duplicates: int
    dead: frozenset[int]


Step = tuple[str, State]
Stored = tuple[tuple[Child, ...], tuple[str, ...], tuple[Entry, ...], Head, frozenset[int]]


class Mailbox:
    """The model; see ``Model``."""

    def __init__(self, rules: Rules, scene: Scene) -> None:
        self.rules = rules
        self.scene = scene
        self._recoveries: dict[Stored, str | None] = {}
        self._facts: dict[tuple[Entry, ...], Facts] = {}

    def facts(self, log: tuple[Entry, ...]) -> Facts:
        """The fold of the parent's log, of which there are far fewer than states."""
        known = self._facts.get(log)
        if known is None:
            known = self._facts[log] = self._fold(log)
        return known

    def _fold(self, log: tuple[Entry, ...]) -> Facts:
        facts = Facts(frozenset(range(self.scene.children)))
        for number, entry in enumerate(log, 1):
            match entry.kind:
                case "claimed":
                    facts = facts._replace(claim=number, redriven=False)
                case "mail":
                    facts = facts._replace(waiting=facts.waiting - {entry.child})
                case "suspended":
                    facts = facts._replace(claim=0)
                case "closed":
                    facts = facts._replace(claim=0, outcome=entry.outcome)
                case "redriven":
                    facts = facts._replace(outcome="", redriven=True)
        return facts

    def head_of(self, log: tuple[Entry, ...]) -> Head:
        """What ``Head(m)`` writes, m being the log's length."""
        facts = self.facts(log)
        alarm = not facts.outcome and bool(facts.claim or facts.redriven or not facts.waiting)
        return Head(len(log), alarm, bool(facts.outcome))

    def initial(self) -> State:
        """The scene's beginning."""
        scene, actors, closers = self.scene, [], 0
        for kind in scene.actors:
            if kind == "closer":
                actors.append(Actor(kind, "begin", child=closers % scene.children))
                closers += 1
            else:
                actors.append(Actor(kind, {"owner": "own", "waker": "idle"}.get(kind, "begin")))
        owner = -1 if scene.waiting else scene.actors.index("owner")
        log: tuple[Entry, ...] = (Entry("started"), Entry("claimed", owner))
        if scene.waiting:
            log = (*log, Entry("suspended"))
        else:
            actors[owner] = actors[owner]._replace(known=2)
        children, mail = (Child(),) * scene.children, (NONE,) * scene.children
        head, dead = self.head_of(log), frozenset[int]()
        return State(children, mail, log, head, dead, scene.wakes, (), tuple(actors), scene.duplicates, dead)

    def steps(self, state: State) -> Iterator[Step]:
        """An actor's next step, a write that is applied, or an owner that dies."""
        for index, actor in enumerate(state.actors):
            if actor.at != OVER and not actor.waiting:
                yield from self.act(state, index)
        for number, write in enumerate(state.network):
            yield f"  applied: {write}", self.deliver(state, number)
            if state.duplicates:
                yield f"  applied, and sent again: {write}", self.deliver(state, number, keep=True)
        claim = self.facts(state.log).claim
        if claim and claim not in state.dead and len(state.dead) < self.scene.deaths:
            owner = state.log[claim - 1].by
            yield f"the owner {owner} dies, its lease ends", _over(state, owner)._replace(dead=state.dead | {claim})

    # --- Actors -------------------------------------------------------------------------------------------------------

    def act(self, state: State, index: int) -> list[Step]:
        """An actor's next step; none while it waits for something."""
        actor = state.actors[index]
        if actor.kind == "closer":
            return [self.close(state, index)]
        if actor.at == "idle" and not state.wakes:
            return []
        if (actor.kind, actor.at) == ("redrive", "begin"):
            return [self.redrive(state, index)] if self.facts(state.log).outcome == "timed out" else []
        step = {
            "idle": self.wake,
            "begin": self.read,
            "half read": self.read,
            "decide": self.decide,
            "appended": self.go_on,
            "own": self.read_mailbox,
            "mailbox": self.commit,
            "deleted first": self.commit,
            "deleted": self.own_again,
            "effects": self.settle,
            "strip": self.strip,
            "again": self.begin_again,
        }[actor.at]
        return [step(state, index)]

    def wake(self, state: State, index: int) -> Step:
        """Take a wake."""
        woken = _put(state, index, Actor(state.actors[index].kind, "begin"))
        return f"{index} is woken", woken._replace(wakes=state.wakes - 1)

    def redrive(self, state: State, index: int) -> Step:
        """Redrive a parent that its deadline closed."""
        return self.append(state, index, len(state.log), Entry("redriven", index, alarm=self.rules.redrive_alarm))

    def read_mailbox(self, state: State, index: int) -> Step:
        """An owner reads the mailbox, items without an alarm included."""
        actor, mail = state.actors[index], state.mail
        if not self.rules.redrive_reads:
            mail = tuple(NONE if item == QUIET else item for item in mail)
        own = Actor(actor.kind, "mailbox", known=actor.known, mail=mail)
        return f"{index} reads the mailbox {mail}", _put(state, index, own)

    def own_again(self, state: State, index: int) -> Step:
        """The mail is deleted: go on as an owner."""
        actor = state.actors[index]
        return f"{index} goes on", _put(state, index, Actor(actor.kind, "own", known=actor.known))

    def settle(self, state: State, index: int) -> Step:
        """Write the head of the boundary."""
        return self.write_head(state, index, state.actors[index].known)

    def begin_again(self, state: State, index: int) -> Step:
        """Read again."""
        return f"{index} reads again", _put(state, index, Actor(state.actors[index].kind, "begin"))

    def close(self, state: State, index: int) -> Step:
        """A child's end: its log, the mail, the wake, its head."""
        actor = state.actors[index]
        child, end = state.children[actor.child], self.rules.end
        if actor.stage == len(end) or (actor.stage == 0 and child.closed and not child.alarm):
            return f"{index} is over", _over(state, index)
        what, further = end[actor.stage], _put(state, index, actor._replace(at="close", stage=actor.stage + 1))
        if what == "log" and child.closed:
            return f"{index} finds its log closed", further
        if what == "wake":
            return f"{index} wakes the parent", further._replace(wakes=state.wakes + 1)
        names: dict[str, Literal["child log", "mail", "child head"]] = {
            "log": "child log",
            "mail": "mail",
            "head": "child head",
        }
        waits = _put(further, index, further.actors[index]._replace(waiting=True))
        return f"{index} writes its {what}", _sent(waits, Write(index, names[what], actor.child))

    def read(self, state: State, index: int) -> Step:
        """Read the mailbox, and head and log, one after the other."""
        actor = state.actors[index]
        if actor.at == "begin" and self.rules.reads == "mail, log":
            half = Actor(actor.kind, "half read", mail=state.mail)
            return f"{index} reads the mailbox {state.mail}", _put(state, index, half)
        if actor.at == "begin":
            half = Actor(actor.kind, "half read", known=len(state.log), head=state.head)
            return f"{index} reads head {state.head}, log {len(state.log)}", _put(state, index, half)
        if self.rules.reads == "mail, log":
            read = actor._replace(at="decide", known=len(state.log), head=state.head)
            return f"{index} reads head {state.head}, log {len(state.log)}", _put(state, index, read)
        read = actor._replace(at="decide", mail=state.mail)
        return f"{index} reads the mailbox {state.mail}", _put(state, index, read)

    def decide(self, state: State, index: int) -> Step:
        """A waker, on what it has read."""
        actor = state.actors[index]
        assert actor.head is not None
        known, facts = actor.known, self.facts(state.log[: actor.known])
        if facts.outcome:
            if self.rules.when_closed != "keep" and THERE in actor.mail:
                what: Literal["strip mail", "delete mail"] = "strip mail"
                if self.rules.when_closed == "delete":
                    what = "delete mail"
                return self.touch_mail(state, index, what, actor.mail.index(THERE), "again")
        elif facts.claim and facts.claim not in state.dead:
            return self.meet_owner(state, index)
        elif self.must_claim(actor, facts):
            return self.append(state, index, known, Entry("claimed", index, alarm=self.rules.claim_alarm))
        else:
            for child, mail in enumerate(actor.mail):
                if mail != NONE:
                    return self.touch_mail(state, index, "delete mail", child, "again")
        if actor.head.sequence < known:
            return self.write_head(state, index, known)
        look = Actor(actor.kind, "strip", known=known)
        return f"{index} looks for alarms", _put(state, index, look)

    def must_claim(self, actor: Actor, facts: Facts) -> bool:
        """Whether there is something to do."""
        mail = any(actor.mail[child] != NONE for child in facts.waiting)
        return bool(actor.kind == "deadline" or facts.claim or facts.redriven or not facts.waiting or mail)

    def meet_owner(self, state: State, index: int) -> Step:
        """A wake that meets a live owner."""
        over = _over(state, index)
        if self.rules.drops or index == STRANGER:
            return f"{index} meets a live owner", over
        return f"{index} meets a live owner: comes again", over._replace(wakes=state.wakes + 1)

    def go_on(self, state: State, index: int) -> Step:
        """Its entry is written."""
        actor = state.actors[index]
        assert actor.entry is not None
        known, entry = actor.known + 1, actor.entry
        if entry.kind == "redriven":
            return f"{index} goes on as a waker", _put(state, index, Actor("redriven", "begin"))
        if entry.kind == "claimed" and actor.kind == "deadline":
            return self.append(state, index, known, Entry("closed", index, outcome="timed out"))
        if entry.kind == "claimed" or (entry.kind == "mail" and self.rules.consumes == "delete, commit"):
            return f"{index} owns", _put(state, index, Actor(actor.kind, "own", known=known))
        if entry.kind == "mail":
            return self.touch_mail(state, index, "delete mail", entry.child, "deleted", known)
        if entry.kind == "suspended" and self.rules.looks_again == "after the commit":
            waiting = self.facts(state.log[:known]).waiting
            found = any(state.mail[child] != NONE for child in waiting)
            then = Actor(actor.kind, "begin") if found else Actor(actor.kind, "effects", known=known)
            return f"{index} reads the mailbox again {state.mail}", _put(state, index, then)
        return self.write_head(state, index, known)

    def commit(self, state: State, index: int) -> Step:
        """An owner takes the mail that it has read, one by one; then it gives up ownership."""
        actor = state.actors[index]
        known, facts = actor.known, self.facts(state.log[: actor.known])
        for child, mail in enumerate(actor.mail):
            if mail != NONE and (child in facts.waiting or not self.rules.deletes_settled):
                if self.rules.consumes == "delete, commit" and actor.at == "mailbox":
                    first = _put(state, index, actor._replace(at="deleted first", waiting=True))
                    return f"{index} deletes mail {child} first", _sent(first, Write(index, "delete mail", child))
                return self.append(state, index, known, Entry("mail", index, child))
        for child, mail in enumerate(actor.mail):
            if mail != NONE:
                return self.touch_mail(state, index, "delete mail", child, "deleted", known)
        end = Entry("suspended", index) if facts.waiting else Entry("closed", index, outcome="finished")
        return self.append(state, index, known, end)

    def strip(self, state: State, index: int) -> Step:
        """Remove the alarms of entries up to the head's number, one at a time; then it is over."""
        actor = state.actors[index]
        log = state.log[: min(actor.known, state.head.sequence)]
        for number, entry in enumerate(log, 1):
            if entry.alarm and number not in state.stripped:
                waits = _put(state, index, actor._replace(waiting=True))
                return f"{index} strips {number}", _sent(waits, Write(index, "strip", number))
        last = state.log[actor.known - 1]
        if self.rules.looks_again == "after the head" and (last.kind, last.by) == ("suspended", index):
            waiting = self.facts(state.log[: actor.known]).waiting
            if any(state.mail[child] != NONE for child in waiting):
                return f"{index} reads the mailbox again", _put(state, index, Actor(actor.kind, "begin"))
        return f"{index} is over", _over(state, index)

    def append(self, state: State, index: int, known: int, entry: Entry) -> Step:
        """Send an entry with the next number."""
        actor = Actor(state.actors[index].kind, "appended", waiting=True, known=known, entry=entry)
        return f"{index} puts {known + 1} {entry}", _sent(
            _put(state, index, actor), Write(index, "entry", known + 1, entry)
        )

    def write_head(self, state: State, index: int, known: int) -> Step:
        """Send ``Head(m)``."""
        head = self.head_of(state.log[:known])
        actor = Actor(state.actors[index].kind, "strip", waiting=True, known=known)
        return f"{index} writes {head}", _sent(_put(state, index, actor), Write(index, "head", known, head=head))

    def touch_mail(  # noqa: PLR0913, PLR0917 - who, what, and where they go on
        self,
        state: State,
        index: int,
        what: Literal["strip mail", "delete mail"],
        child: int,
        then: str,
        known: int = 0,
    ) -> Step:
        """Send the removal of a mail's alarm, or of the mail."""
        actor = Actor(state.actors[index].kind, then, waiting=True, known=known)
        return f"{index}: {what} {child}", _sent(_put(state, index, actor), Write(index, what, child))

    # --- The store ----------------------------------------------------------------------------------------------------

    def deliver(self, state: State, number: int, *, keep: bool = False) -> State:
        """Apply a write, and answer its sender, if that still waits for this one."""
        write = state.network[number]
        state, done = self.apply(state, write)
        if keep:
            return state._replace(duplicates=state.duplicates - 1)
        sender = state.actors[write.by]
        if sender.waiting and sum(other.by == write.by for other in state.network) == 1:
            lost = Actor(sender.kind, OVER if sender.kind == "redrive" else "begin")
            state = _put(state, write.by, sender._replace(waiting=False) if done else lost)
        return state._replace(network=state.network[:number] + state.network[number + 1 :])

    def apply(self, state: State, write: Write) -> tuple[State, bool]:  # noqa: PLR0911 - one return a kind
        """What a write does to the store, and whether it has been done."""
        number = write.number
        match write.what:
            case "child log":
                return _with_child(state, number, state.children[number]._replace(closed=True)), True
            case "child head":
                return _with_child(state, number, state.children[number]._replace(alarm=False)), True
            case "mail":
                return _with_mail(state, number, THERE if self.rules.mail_alarm else QUIET), True
            case "delete mail":
                return _with_mail(state, number, NONE), True
            case "strip mail":
                return (state if state.mail[number] == NONE else _with_mail(state, number, QUIET)), True
            case "strip":
                return state._replace(stripped=state.stripped | {number}), True
            case "head":
                assert write.head is not None
                return (state._replace(head=write.head) if state.head.sequence < number else state), True
            case _:
                assert write.entry is not None
                if number == len(state.log) + 1:
                    return state._replace(log=(*state.log, write.entry)), True
                return state, state.log[number - 1] == write.entry  # taken, by myself

    # --- What must be true --------------------------------------------------------------------------------------------

    def wrong_at_rest(self, state: State) -> str | None:
        """No one died, everything was delivered, no sweep was needed."""
        if not state.dead and not self.facts(state.log).outcome:
            return "the parent waits for the sweeper"
        return None

    def wrong(self, state: State) -> str | None:
        """What is wrong with a state."""
        log = state.log
        ends = [entry.child for entry in log if entry.kind == "mail"]
        if len(ends) != len(set(ends)):
            return "an end reached the parent twice"
        for one, following in pairwise(log):
            if one.kind == "closed" and following.kind != "redriven":
                return "a closed parent went on"
        key = (state.children, state.mail, state.log, state.head, state.stripped)
        if key not in self._recoveries:
            self._recoveries[key] = self.recover(state)
        return self._recoveries[key]

    def recover(self, state: State) -> str | None:
        """All are dead now: the sweeper ends the parent; if a deadline closed it, a redrive finds what came since."""
        swept = self.sweep(state)
        if swept is None:
            return "woken for ever"
        outcome = self.facts(swept.log).outcome
        if not outcome:
            return "the parent waits for ever"
        if swept.head.sequence < len(swept.log):
            return "at rest, and the head lags"
        if outcome == "timed out":
            redriven = self.sweep(self.alone(swept, Actor("redrive", "begin")))
            if redriven is None or self.facts(redriven.log).outcome != "finished":
                return "redriven, it does not find its mail"
        return None

    def sweep(self, state: State) -> State | None:
        """Wake whatever shows an alarm, until none does; ``None`` if that does not end."""
        for _ in range(SWEEPS):
            due = [Actor("closer", "begin", child=n) for n, child in enumerate(state.children) if child.alarm]
            own = (entry.alarm and number not in state.stripped for number, entry in enumerate(state.log, 1))
            if THERE in state.mail or state.head.alarm or any(own):
                due.append(Actor("sweeper", "begin"))
            if not due:
                return state
            for actor in due:
                state = self.alone(state, actor)
        return None

    def alone(self, state: State, actor: Actor) -> State:
        """One actor alone, until it has nothing more to do; whoever owned is dead."""
        nobody = (Actor("dead", OVER),) * STRANGER
        dead = frozenset(range(1, len(state.log) + 1))
        state = state._replace(wakes=0, network=(), actors=(*nobody, actor), duplicates=0, dead=dead)
        for _ in range(MOST_STEPS):
            if state.actors[STRANGER].at == OVER or not (steps := self.act(state, STRANGER)):
                break
            state = steps[0][1]
            while state.network:
                state = self.deliver(state, 0)
        return state


def _put(state: State, index: int, actor: Actor) -> State:
    return state._replace(actors=(*state.actors[:index], actor, *state.actors[index + 1 :]))


def _over(state: State, index: int) -> State:
    kind = state.actors[index].kind
    return _put(state, index, Actor(kind, "idle" if kind == "waker" else OVER))


def _sent(state: State, write: Write) -> State:
    network = sorted((*state.network, write), key=lambda sent: (sent.by, sent.what, sent.number))
    return state._replace(network=tuple(network))


def _with_child(state: State, number: int, child: Child) -> State:
    return state._replace(children=(*state.children[:number], child, *state.children[number + 1 :]))


def _with_mail(state: State, number: int, mail: str) -> State:
    return state._replace(mail=(*state.mail[:number], mail, *state.mail[number + 1 :]))
