"""What must hold between a parent and its children; see ``checks``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus.engine.activation import parse, step_of
from hephaestus.engine.events import ChildEnded, ChildStarted, ChildUndoing, Redriven
from hephaestus.engine.events.children import LOST
from hephaestus.simulation.violation import require
from hephaestus.store.keys import HEAD

if TYPE_CHECKING:
    from hephaestus.engine.events import RoundEnded, StepCompleted
    from hephaestus.simulation.checks import Check, Generation
    from hephaestus.simulation.ledger import Ledger
    from hephaestus.store.table import Item

MINUTE_MS: Final = 60_000


def happens(check: Check, event: ChildStarted | ChildEnded | ChildUndoing) -> None:
    """A child is started once; each end of it is told once, and as it was (D.1)."""
    match event:
        case ChildStarted():
            _starts(check, event)
        case ChildUndoing(activation=activation):
            told = check.known.told.pop(activation, None)
            again = told == "failed" and check.known.state.steps[event.step].child is not None
            require(told == "completed" or again, "undo", f"the child of {activation} is undone, it is {told}")
            check.known.undoing.add(activation)
            later = [one for one in left_to_undo(check.known, event.step) if parse(one).round > parse(activation).round]
            require(not later, "undo", f"the child of {activation} is undone before those of {later}")
        case ChildEnded():
            _ends(check, event)


def _starts(check: Check, event: ChildStarted) -> None:
    known, activation, ledger = check.known, event.activation, check.ledger
    found = known.reference().step(event.step)
    require(found == "startable", "invariant 4", f"the child of {event.step} started, but it is {found}")
    require(activation not in known.kids, "invariant 12", f"{activation} starts a second child")
    loop = known.loops[event.step]
    carried = not loop.rounds or event.initial == loop.carry
    require(carried, "rounds", f"{activation} starts with {event.initial}, the round before left {loop.carry}")
    _leaves_nothing(check, activation)
    known.kids[activation] = (event.child, event.detached)
    alone = ledger.kids.setdefault(event.child, (check.state.life, activation))
    require(alone == (check.state.life, activation), "derived ids", f"two children have the id {event.child}")


def _leaves_nothing(check: Check, activation: str) -> None:
    """Another child starts only once the one before has undone what it did (invariant 10)."""
    known, ledger, began = check.known, check.ledger, parse(activation)
    for one, (name, _) in known.kids.items():
        if parse(one).step == began.step and parse(one).epoch < began.epoch and known.told.get(one) == "failed":
            child = ledger.child_of(check.state, one, name)
            left = child is not None and is_stuck(ledger, child)
            require(not left, "undo", f"{activation} starts a child, the one of {one} could not undo what it did")


def _ends(check: Check, event: ChildEnded) -> None:
    known, activation = check.known, event.activation
    require(activation not in known.told, "invariant 12", f"the end of the child of {activation} was told twice")
    known.told[activation] = event.status
    child = check.ledger.child_of(check.state, activation, known.kids[activation][0])
    if event.status in ("lost", "rejected"):
        given_up_one(check, activation, child)
        return
    ended = child is not None and child.state.closed and child.state.sequence == event.number
    same = child is not None and child.state.status == event.status
    same = same and (child is None or (child.state.error is None) == (event.error is None))
    if child is not None and event.status == "completed":
        state = child.state
        same = same and event.output == (state.steps[state.output_of].results if state.output_of else state.output)
    require(ended, "invariant 12", f"the end of the child of {activation} was told before it was")
    require(same, "invariant 12", f"the child of {activation} was told to be {event.status}")
    ended_at = 0 if child is None else child.state.updated_at
    known.ends[activation] = max(min(ended_at, check.entry.at), check.state.steps[event.step].started_at)
    if event.status == "completed" and event.step in check.graph.rounds:
        known.loops[event.step].tries = 0


def stays(ledger: Ledger, known: Generation, head: Item) -> None:
    """While a root is open, and its head follows, nothing of its tree expires: its redrive has kept it (D.11)."""
    if ledger.store.retention is None:
        return
    if known.state.attached:
        if "expires" in head and not known.state.orphan:
            _outlives(ledger, known)
    elif known.redrives and not known.state.closed and head.get("sequence") == known.state.sequence:
        for one in ledger.generations.values():
            origin = one.state.origin
            if origin is not None and origin.root_life == known.state.life and not one.gone:
                stays(ledger, one, ledger.store.table.get(one.state.instance_id, HEAD) or {})


def _outlives(ledger: Ledger, known: Generation) -> None:
    """What expires is of a root that has ended, or that is about to take that away, or no one comes back to it."""
    name, one = known.state.instance_id, known
    while (origin := one.state.origin) is not None and one.state.attached:
        above = ledger.generations[origin.instance_id, origin.life]
        if above.gone or one.state.instance_id not in above.state.kin or above.told.get(origin.activation) == LOST:
            return
        one = above
    follows = (ledger.store.table.get(one.state.instance_id, HEAD) or {}).get("sequence") == one.state.sequence
    require(one.state.closed or not follows, "D.11", f"{name} expires, and {one.state.instance_id} is open")


def is_asked(known: Generation, step: str) -> bool:
    """Whether the child of the round of a step has completed, and the round has not ended."""
    looped, told = step in known.graph.rounds, known.told.get(known.state.activation(step))
    return looped and step not in known.outcomes and told == "completed"


def round_ends(check: Check, event: RoundEnded) -> None:
    """A round whose child has completed leaves what that has left."""
    known, activation = check.known, event.activation
    told = known.told.get(activation)
    require(told == "completed", "invariant 12", f"the round {activation} ended, its child is {told}")
    child = check.ledger.child_of(check.state, activation, known.kids[activation][0])
    if child is not None:
        state = child.state
        left = state.steps[state.output_of].results if state.output_of else state.output
        require(event.carry == left, "rounds", f"{activation} left {event.carry}, its child {left}")


def left_to_undo(known: Generation, step: str) -> list[str]:
    """The activations of the newest epoch of a step whose children have completed and are not undone."""
    own = [one for one in known.kids if parse(one).step == step and parse(one).epoch == known.epochs[step]]
    return [one for one in own if known.told.get(one) == "completed"]


def stuck(ledger: Ledger, known: Generation) -> set[str]:
    """The steps whose newest child has failed, as it was told, and could not undo all that it did."""
    found: set[str] = set()
    for activation, (name, _) in known.kids.items():
        if known.told.get(activation) == "failed" and known.state.activation(step_of(activation)) == activation:
            child = ledger.child_of(known.state, activation, name)
            if child is not None and is_stuck(ledger, child):
                found.add(step_of(activation))
    return found


def is_stuck(ledger: Ledger, known: Generation) -> bool:
    """Whether an instance could not undo all that it did."""
    return _could_not(known) or bool(stuck(ledger, known))


def _could_not(known: Generation) -> bool:
    return any(it.status == "compensation_failed" for it in known.state.steps.values())


def has_undone_itself(known: Generation, step: str) -> bool:
    """Whether no child of a step has completed, or was left, in its newest epoch: each that began has undone itself.

    A fork has none of what it takes over, and knows the event.
    """
    own = [one for one in known.kids if parse(one).step == step and parse(one).epoch == known.epochs[step]]
    if not own:
        return known.outcomes.get(step, ("",))[0] in ("error", "timeout", "cancelled")
    return not any(known.kids[one][1] or known.told.get(one) in ("completed", "lost") for one in own)


def given_up_one(check: Check, activation: str, child: Generation | None) -> None:
    """A child is left only if it cannot be reached, or has ended already."""
    told = child is None or child.gone or child.state.closed or child.state.instance_id in check.ledger.unreadable
    told = told or (child is not None and bool(child.state.cancel or child.state.compensation))
    require(told, "invariant 12", f"the child of {activation} is given up, and was not asked to end")
    quiet = child is not None and child.state.closed and not check.ledger.world.weather.kinds
    late = quiet and child is not None and child.state.updated_at + MINUTE_MS < check.entry.at
    require(not late, "invariant 12", f"the child of {activation} has ended, and that was not told")


def given_up(check: Check) -> set[str]:
    """The steps of a closed instance in whose place another child starts when it is redriven."""
    stopped = {step for step, it in check.state.steps.items() if it.status in ("failed", "waiting")}
    kids = {step: check.state.activation(step) for step in stopped & check.graph.children if check.state.closed}
    return {step for step, at in kids.items() if check.known.told.get(at) in ("lost", "rejected")}


def go_on(check: Check, event: Redriven) -> None:
    """Children that failed or were cancelled are redriven with their parent, and will end once more."""
    told = check.known.told
    for activation in event.children:
        ended = told.get(activation) if event.later else told.pop(activation, None)
        done = ended == "completed" and check.state.step_status(parse(activation).step) == "failed"
        require(
            done or ended in ("failed", "cancelled"), "redrive", f"the child of {activation} goes on, it is {ended}"
        )
    stopped = {step for step, it in check.state.steps.items() if it.status in ("failed", "waiting")}
    kids = [check.state.activation(step) for step in stopped & check.graph.children if step not in event.again]
    kids = [one for one in kids if not (event.later and one in event.children)]
    left = [one for one in kids if event.status == "pending" and told.get(one) in ("failed", "cancelled")]
    left += [one for one in kids if told.get(one) == "completed" and check.state.step_status(step_of(one)) == "failed"]
    require(not left, "redrive", f"the children of {left} do not go on")


def settles(check: Check, event: StepCompleted) -> None:
    """A step that started a child ends as that has (D.8)."""
    told, detached = check.known.told.get(event.activation), check.known.kids[event.activation][1]
    require(detached or told is not None, "invariant 12", f"{event.activation} ended before its child")
    done = event.event == "done" and event.failed is None
    done = done or (told == "completed" and event.step in check.graph.rounds and event.failed is not None)  # ``until``
    failed = event.failed is not None or event.event == "cancelled"
    right = done if detached or told == "completed" else failed
    require(right, "invariant 12", f"{event.activation} emits {event.event}, its child is {told}")
    ended = check.known.ends.get(event.activation)
    looped = event.step in check.graph.rounds or detached or told in ("lost", "rejected")
    require(looped or event.ended_at == ended, "invariant 12", f"its child ended at {ended}, not at {event.ended_at}")


def ends_after_them(check: Check) -> None:
    """At rest no child is open that was waited for, but those that the history names as lost (invariant 12)."""
    for activation, (child, detached) in check.known.kids.items():
        found = check.ledger.child_of(check.state, activation, child)
        if detached or found is None or check.known.told.get(activation) == "lost":
            continue
        require(found.state.closed, "invariant 12", f"it ended while its child {child} was open")


def undid(check: Check, step: str) -> None:
    """What a child that had completed did is undone before its step counts as undone (D.9)."""
    known = check.known
    if step in check.graph.undoes and step not in check.graph.maps:
        asked = [one for one in known.undoing if parse(one).step == step and parse(one).epoch == known.epochs[step]]
        told = {one: known.told.get(one) for one in (*asked, *left_to_undo(known, step))}
        require(set(told.values()) == {"undone"}, "undo", f"{step} counts as undone, its children are {told}")


def is_undone(check: Check) -> None:
    """A completed child is undone only by the parent that waits for that (invariant 8)."""
    origin = check.state.origin
    parent = None if origin is None else check.ledger.generations[origin.instance_id, origin.life]
    waits = parent is not None and origin is not None and origin.activation in parent.state.children
    require(waits, "invariant 8", "it is undone, and no parent waits for that")
    if check.state.status == "completed" and check.state.part is None:
        check.known.received.clear()  # no step waits any more


def has_parent(check: Check) -> None:
    """A child runs only while its parent waits for it (D.5)."""
    origin = check.state.origin
    if origin is None or origin.detached:
        return
    parent = check.ledger.generations[origin.instance_id, origin.life]
    waits = not parent.state.closed or parent.told.get(origin.activation) == "lost"
    require(waits, "invariant 12", f"it runs although its parent {origin.instance_id} has ended")
