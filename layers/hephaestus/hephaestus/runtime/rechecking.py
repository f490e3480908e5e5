"""Has an instance look again at what it relies on: a table that was restored may have it a little later than others.

What follows from a commit is done once, and then taken for done. A backup is not of one instant: a parent may know that
it has started a child which is not there, or a child may have reported an end that its parent has no mail of. Both are
done again, by the names that they have, so that nothing is done twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus.engine.effects import StartChild, Tell, effects, mail_of
from hephaestus.engine.fold import apply, begin
from hephaestus.engine.state import evolve
from hephaestus.errors import CorruptLog
from hephaestus.runtime.family import Family

if TYPE_CHECKING:
    from hephaestus.engine.state import State
    from hephaestus.runtime.instances import Instances

PAGE: Final = 1_000  # log entries


def recheck(instances: Instances, state: State) -> None:
    """Have an open instance and all below it make sure of their children, and wake it.

    Raises:
        StoreUnavailable: the store or the queue did not answer; do it again.
    """
    if state.closed:
        return
    for activation, child in state.children.items():
        if not child.status and not child.detached:
            _recheck_child(instances, state, activation, child.instance_id)
    instances.queue.wake(state.instance_id)


def _recheck_child(instances: Instances, state: State, activation: str, name: str) -> None:
    """Start a child that is not there; have one that has ended report that again; look at all others."""
    family = Family(instances)
    try:
        child = instances.store.load(name)
    except CorruptLog:
        return  # it is put off, and says so
    if child is None:
        started = _start_of(instances, state, activation)
        if started is not None:
            family(started, state)
        return
    origin = child.origin
    if origin is None or (origin.life, origin.activation) != (state.life, activation):
        return
    if child.closed:
        family(Tell(mail_of(child, origin, child.sequence)), state)
    else:
        recheck(instances, child)


def _start_of(instances: Instances, state: State, activation: str) -> StartChild | None:
    """How the log has a child started; ``None`` where that is not in it any more."""
    found: StartChild | None = None
    history = instances.store.history(state.instance_id, state.generation, 0, 1)
    if history is None:
        return None
    before = begin(state.instance_id, state.generation, history[1][0], state.life)
    while page := instances.store.reader.page(state.instance_id, state.life, before.sequence, PAGE):
        if page[0].sequence != before.sequence + 1:
            return None  # its oldest entries have expired
        for entry in page:
            after = evolve(apply(before, entry.events, entry.at), sequence=entry.sequence)
            for effect in effects(before, entry, after):
                if isinstance(effect, StartChild) and effect.started.activation == activation:
                    found = effect
            before = after
    return found
