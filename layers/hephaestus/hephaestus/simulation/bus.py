"""An event bus in a simulated world, and the books of what became of each status event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from hephaestus.engine.fold import begin, fold
from hephaestus.errors import StoreUnavailable
from hephaestus.simulation.doubles import DELIVERIES, VISIBILITY_MS, Calls
from hephaestus.simulation.violation import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hephaestus.engine.state import State
    from hephaestus.runtime.status_events import StatusEvent
    from hephaestus.simulation.checks import Generation
    from hephaestus.simulation.world import World

    Name: TypeAlias = tuple[str, str, int, str]

RULE: Final = "status events"


class SimulatedBus:
    """An ``EventBus`` that fails as any call does, or always; and the queue's part in it.

    Args:
        world: where it is.
        again: has an event published in an invocation of its own, and says whether that succeeded.
        broken: whether it never takes anything.

    Attributes:
        published, dead: the events that it took, and those that ended as dead letters.
        dropped: those that neither the bus nor the queue took: they are lost, and the head goes on.
    """

    def __init__(
        self, world: World, again: Callable[[StatusEvent, Callable[[bool], None]], None], *, broken: bool
    ) -> None:
        self.world = world
        self.calls = Calls(world)
        self.published: set[Name] = set()
        self.dead: set[Name] = set()
        self.dropped: set[Name] = set()
        self._again = again
        self._broken = broken

    def publish(self, event: StatusEvent) -> None:
        """Take an event."""
        if self._broken:
            self.world.note("the bus takes nothing")
            message = "the bus takes nothing"
            raise StoreUnavailable(message)
        name = _name(event)
        self.calls.write(f"publish {name[-1]} of entry {name[-2]}", lambda: self.published.add(name))

    def publish_later(self, event: StatusEvent) -> None:
        """Send a message that has an event published."""
        name = _name(event)
        try:
            self.calls.write(f"have {name[-1]} of entry {name[-2]} published", lambda: self._send(event, DELIVERIES))
        except StoreUnavailable:
            self.dropped.add(name)
            raise

    def check(self, generations: dict[tuple[str, str], Generation]) -> None:
        """All is over: every change of status was published or is a dead letter, and nothing else was.

        Raises:
            Violation: one was lost, or one was published that no log entry made.
        """
        due = {name for known in generations.values() if not known.state.attached for name in _due(known)}
        lost = due - self.published - self.dead - self.dropped
        require(not lost, RULE, f"neither published nor a dead letter: {sorted(lost)}")
        invented = self.published - due
        require(not invented, RULE, f"published, and no log entry says so: {sorted(invented)}")

    def _send(self, event: StatusEvent, deliveries: int) -> None:
        def ended(succeeded: bool) -> None:  # noqa: FBT001 - what invocations tell
            if not succeeded and deliveries > 1:
                self.world.at(self.world.now + VISIBILITY_MS, lambda: self._send(event, deliveries - 1))
            elif not succeeded:
                self.dead.add(_name(event))

        self.world.at(self.world.now, lambda: self._again(event, ended))


def _name(event: StatusEvent) -> Name:
    detail = event.detail
    return detail["instance_id"], detail["life"], detail["number"], detail["status"]


def _due(known: Generation) -> Iterator[Name]:
    """The changes of status that a generation's log says."""
    first, *later = known.entries
    state = begin(known.state.instance_id, known.state.generation, first, known.state.life)
    shown = "pending"
    for entry in (first, *later):
        state = state if entry is first else fold(state, (entry,))
        before, shown = shown, _shown(state)
        if shown not in ("pending", before):
            yield state.instance_id, state.life, state.sequence, shown


def _shown(state: State) -> str:
    held = "paused" if state.paused else "parked" if state.parked else ""
    return held or {"waiting": "running"}.get(state.status, state.status)
