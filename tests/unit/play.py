"""Plays an instance by hand: says what steps do, asks the engine what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus.engine import events as ev
from hephaestus.engine.advance import Close, Command, Deliver, Run, Skip, advance
from hephaestus.engine.fold import apply, begin
from hephaestus.engine.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hephaestus.engine.state import State

NOW = 1_000


class Play:
    """An instance of a graph that starts at ``a``; skips are recorded as they come."""

    def __init__(self, edges: Mapping[str, Mapping[str, Sequence[str]]], waits: Sequence[str] = ()) -> None:
        self.edges = {
            step: {event: tuple(targets) for event, targets in events.items()} for step, events in edges.items()
        }
        self.graph = Graph("a", self.edges, frozenset(waits))
        self.now = NOW
        first = ev.Entry(1, "c1", self.now, (ev.InstanceStarted("Flow", 1), ev.Claimed("me", 10_000)))
        self.state: State = begin("order::1", 1, first)
        self.skipped: list[str] = []

    def happens(self, *events: ev.Event) -> Play:
        """Apply events as they are."""
        self.state = apply(self.state, events, self.now)
        return self

    def done(self, step: str, event: str = "done", taken: Sequence[str] | None = None) -> Play:
        """A step completes; every target of the event is taken unless a Choice says otherwise."""
        targets = self.edges[step][event] if taken is None else tuple(taken)
        return self.happens(ev.StepCompleted(step, event, targets))

    def waits(self, step: str, due_at: int | None = None, emits: str = "timeout") -> Play:
        """A step has run and waits."""
        return self.happens(ev.StepWaiting(step, token=f"{step}.1", due_at=due_at, emits=emits))

    def receives(self, step: str, event: str, payload: Any = None) -> Play:
        """An event from outside is accepted for a step."""
        return self.happens(ev.EventReceived(step, event, f"{step}-{event}", payload))

    def next(self, *in_flight: str) -> tuple[Command, ...]:
        """What the engine wants now, skips recorded."""
        commands = advance(self.graph, self.state, self.now, in_flight)
        while commands and isinstance(commands[0], Skip):
            self.skipped += commands[0].steps
            self.happens(ev.StepsSkipped(commands[0].steps))
            commands = advance(self.graph, self.state, self.now, in_flight)
        return commands

    def runs(self, *in_flight: str) -> set[str]:
        """The steps that the engine wants to run now."""
        return {command.step for command in self.next(*in_flight) if isinstance(command, Run)}

    def delivers(self) -> dict[str, str]:
        """The events that the engine gives to waiting steps now, by step."""
        return {command.step: command.event for command in self.next() if isinstance(command, Deliver)}

    def ended(self) -> bool:
        """Whether the engine says that the instance is completed."""
        (close,) = self.next()
        return isinstance(close, Close) and close.status == "completed"


def one_of_each() -> tuple[ev.Event, ...]:
    """An event of every type."""
    return (
        ev.InstanceStarted("Flow", 1),
        ev.Claimed("owner", 5),
        ev.StepsIsolated(("s0",)),
        ev.ChoiceStarted("s0"),
        ev.EventReceived("s0", "e0", "id"),
        ev.TimerSet("token", "s0", 5),
        ev.StepCompleted("s0", "e0", ()),
        ev.StepWaiting("s0"),
        ev.StepFailed("s0", 1, ev.Failure("Boom", "")),
        ev.RoundEnded("s0", 5),
        ev.EventsDropped("s0", ("e0",)),
        ev.MapBegun("s0", [1]),
        ev.StepsSkipped(("s0",)),
        ev.Suspended(),
        ev.HandedOver(),
        ev.Parked("reason", 5),
        ev.CancelRequested(),
        ev.OutputStarted(),
        ev.OutputFailed(ev.Failure("Boom", "")),
        ev.TimedOut(ev.Failure("Boom", "")),
        ev.OnFailureCompleted("oops", "done"),
        ev.OnFailureFailed("oops", 1, ev.Failure("Boom", "")),
        ev.InstanceFinished("completed", output={"rows": 1}),
    )
