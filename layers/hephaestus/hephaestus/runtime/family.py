"""What instances tell each other: a parent starts and steers its children, a child tells of its end (rules D.1 to D.7).

Each of it is an effect of a log entry, so it may be done late, twice, or by another; it has a name of its own.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hephaestus.engine.activation import INSTANCE
from hephaestus.engine.effects import (
    GiveBack,
    JoinLine,
    Keep,
    Leave,
    LeaveLine,
    Owed,
    Stand,
    StartChild,
    StartOccurrence,
    Steer,
    Tell,
    mail_of,
)
from hephaestus.engine.events import Entry, InstanceStarted
from hephaestus.engine.events.children import LOST, REJECTED
from hephaestus.engine.fold import begin
from hephaestus.engine.mail import Mail
from hephaestus.engine.records import Failure, Origin
from hephaestus.engine.requests import number_of
from hephaestus.engine.state import above_of
from hephaestus.errors import (
    HephaestusError,
    InstanceClosed,
    InstanceNotFound,
    NotRedrivable,
    RequestIdReused,
    RetryLater,
    UnknownVersion,
    UnknownWorkflow,
)
from hephaestus.runtime import commands, lines, turns
from hephaestus.runtime.announce import tell_start
from hephaestus.runtime.caller import Caller
from hephaestus.runtime.commands.resume_part import ResumePart
from hephaestus.runtime.commands.undo import Undo
from hephaestus.runtime.dispatch import Enqueue
from hephaestus.runtime.instances import Instances
from hephaestus.runtime.names import said_id
from hephaestus.runtime.starts import start_commit
from hephaestus.runtime.telemetry import heard
from hephaestus.store.keys import life_name
from hephaestus.store.store import LATEST_START_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hephaestus.engine.events import ChildStarted
    from hephaestus.engine.records import Part
    from hephaestus.engine.state import State

GOES_ON: Final = ("redrive", "undo", "resume_part")  # after these, the end of a child is waited for once more

WHY: Final = {"end": "its parent ends", "timeout": "its parent waits no longer"}  # why a child is cancelled
_logger = logging.getLogger("hephaestus.family")


class Steered(Instances):
    """Changes a child as long as it is at what its parent steers.

    What it was asked for while it was closed has left no trace. Done again late, it must not be done to what the child
    does since the parent had it go on.

    Args:
        of: changes any instance.
        number: of the entry of the parent that asks for it.
    """

    def __init__(self, of: Instances, number: int) -> None:
        self.__dict__.update(of.__dict__)
        self._number = number

    def change(self, instance_id: str, decide: Callable[[State, int], State | None]) -> State:
        """As of ``Instances``; nothing where a later entry of the parent had it go on."""
        own = self._number
        return super().change(instance_id, lambda state, now: state if state.went_on > own else decide(state, now))


class Family:
    """Does what one instance tells another.

    Args:
        instances: what every change of an instance is made of.
    """

    def __init__(self, instances: Instances) -> None:
        self._instances = instances

    def __call__(self, effect: Owed, state: State) -> None:
        """Do it, for the instance ``state``.

        Raises:
            StoreUnavailable: the store did not answer; it is still to be done.
        """
        match effect:
            case StartChild(started, part):
                self._start(started, state, part)
            case StartOccurrence():
                self._start_occurrence(effect, state)
            case Tell(mail):
                self._tell(mail)
            case Steer():
                self._steer(effect, state)
            case Keep(children):
                self._keep(state, children, effect)
            case Stand() | GiveBack() | Leave():
                own = self._instances
                lines.perform(effect, state, own.store, own.clock, own.queue)
            case JoinLine() | LeaveLine():
                own = self._instances
                turns.perform(effect, state, own.store, own.clock, own.queue)

    def _start(self, started: ChildStarted, parent: State, part: Part | None = None) -> None:
        """Start a child; the same start made again is one. An id that another has comes back as mail.

        So does the end of one that was left before and has ended since: its parent starts it once more, and waits.
        """
        origin = replace(origin_of(parent, started, of_map=part is not None), part=part)
        name = f"{parent.life}:{started.activation}"
        own = (started.workflow, started.version, started.initial, started.tags, started.metadata, name)
        first = InstanceStarted(*own, graph=started.graph, timeout_ms=started.timeout_ms, origin=origin)
        now = self._instances.clock.now()
        begun = self._begin(started.child, first, now)
        if begun is not None and _ended_before(begun[0], started):
            self._tell(mail_of(begun[0], origin, begun[0].sequence))
        elif begun is not None and heard("hephaestus.workflow.start"):
            self._tell_begun(begun, now)
        elif begun is None and not started.detached:
            error = Failure("AlreadyRunning", f"another instance has the id {started.child}")
            own_mail = (parent.instance_id, parent.life, started.activation, 0, started.child)
            self._tell(Mail(*own_mail, "", REJECTED, error=error))

    def _start_occurrence(self, effect: StartOccurrence, schedule: State) -> None:
        """Start an occurrence of a schedule; the same start made again is one (G.2).

        As long as this may be done late, the head of one that has ended is kept, so that it does not start twice.
        """
        instances, one = self._instances, effect.occurrence
        now = instances.clock.now()
        if now - effect.decided > LATEST_START_MS:
            _logger.error("schedule %s: %s was not started within two weeks", schedule.instance_id, one.child)
            return
        own = (one.workflow, one.version, one.initial, one.tags, one.metadata, one.start_id)
        who = (one.by, one.by_source) if one.by_source else (schedule.instance_id, "parent")
        first = InstanceStarted(*own, *who, one.graph, one.timeout_ms, scheduled_for=one.scheduled_for)
        started = self._begin(one.child, first, now)
        if started is None:
            _logger.error("schedule %s: another instance has the id %s", schedule.instance_id, one.child)
        else:
            self._tell_begun(started, now)

    def _tell_begun(self, begun: tuple[State, bool], now: int) -> None:
        """Tell that an instance has begun that another starts, where it has by this call."""
        state, is_new = begun
        if is_new and state.created_at == now:
            with suppress(UnknownVersion, UnknownWorkflow):
                tell_start(state, self._instances.registry.definition(state).graph.start)

    def _begin(self, name: str, first: InstanceStarted, now: int) -> tuple[State, bool] | None:
        """Put an instance that another starts, unless its id is taken; see ``Commits.start``. Its start has a name."""
        entry = Entry(1, start_commit(name, "InstanceStarted", first.start_id), now, (first,))
        fresh = begin(name, 1, entry, life_name(now, self._instances.clock.unique()))
        return self._instances.commits.start(fresh, entry, over=False)

    def _tell(self, mail: Mail) -> None:
        """Put mail, then send its wake: should that not come, the mail has an alarm."""
        instances = self._instances
        instances.store.mail.put(mail, instances.clock.now())
        try:
            instances.queue.wake(mail.to)
        except RetryLater:
            _logger.warning("instance %s: it has mail, and no message could be sent", said_id(mail.to))

    def _keep(self, parent: State, children: Iterable[str], keep: Keep) -> None:
        """Have the children of a closed instance expire with its root, or stay as long as that (D.11).

        Where a later entry has had its say about a child, it had about all below: those may be others by now.
        """
        store = self._instances.store
        if store.retention is None:
            return
        for name in children:
            child = store.load(name)
            ours = child is not None and child.origin is not None and child.origin.life == parent.life
            if child is None or not ours or not child.closed or child.kept.ended:
                continue
            if store.expire(child, keep.at, keep.number):
                self._keep(child, child.kin, keep)

    def _steer(self, steer: Steer, parent: State) -> None:
        """Have a child do what is asked for, unless it is not ours (D.4) or has ended.

        A parent that waits for what comes of it is told if there is no such child any more. A child that cannot be
        asked, as its workflow is not deployed, is asked again until its parent has left it or has ended.
        """
        try:
            self._ask(steer, parent)
        except RetryLater:
            raise
        except HephaestusError as error:
            known = parent.children.get(steer.activation)
            if not parent.closed and (known is None or known.status != LOST):
                raise
            _logger.warning("instance %s: child %s was left: %s", parent.public_id, said_id(steer.child), error)

    def _ask(self, steer: Steer, parent: State) -> None:
        instances, child = self._instances, self._instances.store.load(steer.child)
        goes_on = steer.action in GOES_ON
        if child is None or child.kept.ended or not _is_ours(child, parent, steer.activation):
            if goes_on:
                own = (parent.instance_id, parent.life, steer.activation, steer.number + 1, steer.child)
                self._tell(Mail(*own, "", LOST))
        elif (origin := child.origin) is not None and _says_so_again(steer, child):
            self._tell(mail_of(child, origin, child.sequence))
        elif goes_on or not child.closed:
            with suppress(InstanceClosed, InstanceNotFound, NotRedrivable, RequestIdReused):
                _command(steer, parent).perform(Steered(instances, number_of(steer.request_id)), Enqueue())


def _ended_before(child: State, started: ChildStarted) -> bool:
    """Whether a child had ended before it was started: its parent had left it, and begins with its item anew."""
    return child.closed and not started.detached and child.updated_at < started.started_at


def _says_so_again(steer: Steer, child: State) -> bool:
    """Whether a child, which had completed before its step failed, is to tell its end again."""
    return steer.action == "redrive" and child.status == "completed" and child.sequence == steer.number + 1


def _is_ours(child: State, parent: State, activation: str) -> bool:
    """Whether an instance was started by this activation of this life (D.4)."""
    origin, ours = child.origin, (parent.instance_id, parent.life, activation)
    return origin is not None and (origin.instance_id, origin.life, origin.activation) == ours


def _command(steer: Steer, parent: State) -> commands.Command:
    """What a child is asked for, in its parent's name.

    A part of a map hands on whether the workflows that are its items undo themselves: those that had not completed.
    """
    who, name, to = Caller(parent.public_id, "parent"), steer.request_id, steer.child
    match steer.action:
        case "cancel":
            undone = parent.cancel is None or parent.cancel.compensate
            reason = WHY.get(steer.reason, steer.reason)
            return commands.Cancel(instance_id=to, request_id=name, by=who, reason=reason, compensate=undone)
        case "pause":
            return commands.Pause(instance_id=to, request_id=name, by=who, reason=steer.reason)
        case "unpause":
            return commands.Unpause(instance_id=to, request_id=name, by=who)
        case "redrive":
            return commands.Redrive(instance_id=to, request_id=name, by=who)
        case "resume_part":
            return ResumePart(instance_id=to, share=steer.share, keeps=steer.keeps, request_id=name, by=who)
        case _:
            return Undo(instance_id=to, request_id=name, by=who)


def origin_of(parent: State, started: ChildStarted, *, of_map: bool = False) -> Origin:
    """Where a child is in its tree; ``of_map``: it runs items of a map of its parent, or of that map's owner.

    What descends from an instance has the permits that it holds for its workflow (F.2).
    """
    held, found = parent.permits.get(INSTANCE), _origin_of(parent, started, of_map=of_map)
    above = () if parent.alone else above_of(parent)
    limits = () if started.detached else (*above, *(() if held is None else held.limits))
    return replace(found, limits=limits) if limits else found


def _origin_of(parent: State, started: ChildStarted, *, of_map: bool) -> Origin:
    own = (parent.instance_id, parent.life, started.activation)
    above = parent.origin
    if above is None:
        began = parent.generation, parent.created_at
        found = Origin(*own, parent.instance_id, parent.life, started.activation, started.detached, *began)
        return replace(found, shown_parent="", shown_path="") if of_map else found
    path, began = f"{above.path}/{started.activation}", (above.root_generation, above.root_created_at)
    found = Origin(*own, above.root, above.root_life, path, started.detached, *began)
    if of_map:
        known = above.public
    elif above.part is not None or above.shown_path is not None:
        known = parent.public_id, f"{above.public[1]}/{started.activation}".lstrip("/")
    else:
        return found
    return replace(found, shown_parent=known[0], shown_path=known[1])
