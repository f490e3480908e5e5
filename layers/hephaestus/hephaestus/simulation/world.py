"""A simulated world: virtual time, and invocations that run in turns on one thread.

Every invocation is a greenlet. It runs until it calls something outside itself, or sleeps; then the world chooses who
goes on. A killed invocation is just never run again, so that none of its ``finally`` blocks runs, as on Lambda.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any, Final

from greenlet import GreenletExit, getcurrent, greenlet

from hephaestus.errors import EngineSignal
from hephaestus.runtime.limits import CLOCK_ERROR_MS
from hephaestus.simulation.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.simulation.choices import Choices
    from hephaestus.simulation.faults import Weather

BEGINNING: Final = 1_767_225_600_000  # 2026-01-01, in ms
NEVER: Final = 1 << 62
SWEEP_MS: Final = 60_000
MAX_SKEW_MS: Final = CLOCK_ERROR_MS
ZOMBIE_MS: Final = 5 * 60_000
LATENCIES: Final = (1, 1, 1, 2, 10, 60, 400)
MAX_TURNS: Final = 20_000


class Gone(GreenletExit, EngineSignal):
    """The invocation is dead: its code goes no further, whatever it would make of other errors."""


class Invocation:
    """One call of a Lambda function.

    Attributes:
        name: for the trace.
        skew: how far its clock is ahead, in milliseconds.
        ends_at: when it must be over (ms); a zombie is not.
        began_at: when it began (ms).
        dies_at: when it is killed (ms): then, or later if it is a zombie.
        alive: whether it still runs.
    """

    __slots__ = ("alive", "began_at", "dies_at", "ends_at", "kind", "name", "on_end", "skew")

    def __init__(  # noqa: PLR0913, PLR0917 - all that is known of one
        self, kind: str, number: int, skew: int, began_at: int, ends_at: int, on_end: Callable[[bool], None]
    ) -> None:
        self.kind = kind
        self.name = f"{kind}.{number}"
        self.skew = skew
        self.began_at = began_at
        self.ends_at = self.dies_at = ends_at
        self.on_end = on_end
        self.alive = True


class Actor:
    """What runs in turns: an invocation, or one of the steps that it runs side by side."""

    __slots__ = ("greenlet", "invocation", "ready_at")

    def __init__(self, invocation: Invocation, main: Callable[[], None], ready_at: int, world: greenlet) -> None:
        self.invocation = invocation
        self.ready_at = ready_at
        self.greenlet = greenlet(main, world)


class World:
    """Virtual time, who runs, and what is to come.

    Attributes:
        now: the true time, in milliseconds.
        current: who runs now; ``None`` for the world itself.
        tracing: whether what happens is told.
        trace: what happened, for people.
        violation: the first invariant that was found not to hold.
    """

    def __init__(self, choices: Choices, weather: Weather, lifetime_ms: int, storm: int, *, tracing: bool) -> None:
        self.choices = choices
        self.weather = weather
        self.lifetime_ms = lifetime_ms
        self.storm = storm
        self.now = BEGINNING
        self.turns = 0
        self.current: Actor | None = None
        self.tracing = tracing
        self.trace: list[str] = []
        self.violation: Violation | None = None
        self.invocations = 0
        self._greenlet = getcurrent()
        self._alive: list[Invocation] = []
        self._last: Any = None
        self._actors: list[Actor] = []
        self._dead: list[Actor] = []
        self._agenda: list[tuple[int, int, Callable[[], object]]] = []
        self._planned = 0
        self._due: list[Callable[[], object]] = []
        self._next_sweep = BEGINNING + SWEEP_MS

    # --- What the world does ---

    def run(self, *, alarm: Callable[[], int | None], sweep: Callable[[], None], idle: Callable[[], bool]) -> None:
        """Go on until nothing is left to do.

        Args:
            alarm: when the sweep has something to find (ms), if ever: the sweeps before that are not simulated.
            sweep: begins a sweep.
            idle: asked when nothing will happen any more; whether it has found something to do.

        Raises:
            Violation: an invariant does not hold.
        """
        while self.violation is None:
            self._look_at_the_agenda()
            ready = [actor for actor in self._actors if actor.ready_at <= self.now]
            if ready or self._due:
                self._turn(ready)
            elif not self._pass_time(alarm, sweep) and not idle():
                break
        if self.violation is not None:
            raise self.violation

    def end(self) -> None:
        """Let go of everything that still runs; whatever it does on its way out has no effect."""
        actors, self._actors = [*self._dead, *self._actors], []
        for actor in actors:
            actor.invocation.alive = False
            if actor.greenlet:
                self.current = actor
                actor.greenlet.throw(Gone)
        self.current = None

    def at(self, when: int, do: Callable[[], object]) -> None:
        """Do something at ``when`` (ms), or as soon after that as it is its turn."""
        self._planned += 1
        heapq.heappush(self._agenda, (when, self._planned, do))

    def invoke(
        self, kind: str, work: Callable[[], bool], on_end: Callable[[bool], None], lifetime_ms: int = 0
    ) -> Invocation:
        """Begin an invocation.

        Args:
            kind: for the trace.
            work: what it does; it says whether it has succeeded.
            on_end: called when it is over, with whether it succeeded; the invocation itself does not call it.
            lifetime_ms: how long it may take; by default as long as all others.
        """
        self.invocations += 1
        skew = 0
        if self.weather.strikes("clocks differ"):
            skew = (self.choices.below(2 * MAX_SKEW_MS) - MAX_SKEW_MS) or 0
        lifetime = lifetime_ms or self.lifetime_ms
        invocation = Invocation(kind, self.invocations, skew, self.now, self.now + lifetime, on_end)

        def main() -> None:
            self.finish(invocation, ended=work())

        self._alive.append(invocation)
        self._actors.append(Actor(invocation, main, self.now, self._greenlet))
        return invocation

    def violate(self, rule: str, what: str) -> None:
        """Note that an invariant does not hold; the invocation that shows it goes no further."""
        self.violation = self.violation or Violation(rule, what)
        if self.current is not None:
            self._leave()

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        if not self.tracing:
            return
        who = self.current.invocation.name if self.current else "-"
        self.trace.append(f"{(self.now - BEGINNING) / 1000:+12.3f} s  {who:<12} {text}")

    # --- What an invocation does ---

    @property
    def invocation(self) -> Invocation | None:
        """Whose turn it is."""
        return self.current.invocation if self.current else None

    def pause(self, milliseconds: int) -> None:
        """Let others go on, and time pass."""
        actor = self.current
        if actor is None:
            return
        if not actor.invocation.alive:
            raise Gone
        actor.ready_at = self.now + milliseconds
        if not self._goes_on(actor):
            self._yield(actor)

    def latency(self) -> None:
        """Let others go on for as long as a call takes."""
        stormy = self.weather.stormy
        self.pause(LATENCIES[self.choices.below(len(LATENCIES))] if stormy else 1)

    def freeze(self) -> None:
        """The current invocation stands still until it should be over, and goes on some time after that."""
        actor = self.current
        assert actor is not None  # noqa: S101 - the world itself is never frozen
        invocation = actor.invocation
        thaws_at = max(invocation.ends_at, self.now) + self.choices.below(ZOMBIE_MS)
        invocation.dies_at = max(invocation.dies_at, thaws_at + ZOMBIE_MS)
        self.note("freezes, and does not know it")
        self.pause(thaws_at - self.now)

    def die(self, why: str) -> None:
        """The invocation whose turn it is ends here."""
        actor = self.current
        assert actor is not None  # noqa: S101 - the world itself never dies
        self._kill(actor.invocation, why)
        self._leave()

    def start(self, main: Callable[[], None]) -> None:
        """Run something beside the current invocation, as a part of it."""
        assert self.current is not None  # noqa: S101 - only an invocation has parts
        self._actors.append(Actor(self.current.invocation, main, self.now, self._greenlet))

    def over(self) -> bool:
        """Whether nobody runs."""
        return not self._actors

    def finish(self, invocation: Invocation, *, ended: bool) -> None:
        """An invocation is over: its steps that still run are frozen with it."""
        if not invocation.alive:
            return
        invocation.alive = False
        self._alive.remove(invocation)
        gone = [actor for actor in self._actors if actor.invocation is invocation]
        self._actors = [actor for actor in self._actors if actor.invocation is not invocation]
        self._dead += gone
        self._due.append(lambda: invocation.on_end(ended))

    # --- How ---

    def _look_at_the_agenda(self) -> None:
        """What has been planned for now is due."""
        while self._agenda and self._agenda[0][0] <= self.now:
            self._due.append(heapq.heappop(self._agenda)[2])

    def _goes_on(self, actor: Actor) -> bool:
        """Whether it is the current one's turn again, as nothing else can happen before: that saves two switches."""
        at = actor.ready_at
        agenda = self._agenda
        if self._due or at >= self._next_sweep or self.turns >= MAX_TURNS or (agenda and agenda[0][0] <= at):
            return False
        for other in self._actors:
            if other.ready_at <= at and other is not actor:
                return False
        for invocation in self._alive:
            if invocation.dies_at <= at:
                return False
        self._count_turn()
        self._last = actor
        self.now = at
        return True

    def _count_turn(self) -> None:
        self.turns += 1
        if self.turns > self.storm:
            self.weather.stormy = False

    def _turn(self, ready: list[Actor]) -> None:
        """Somebody's turn: by the plainest choice, of whoever had the last one."""
        self._count_turn()
        if self.turns > MAX_TURNS:
            self.violate("invariant 3", f"no end after {MAX_TURNS} turns, the faults being over")
            return
        if self._last in ready[1:]:
            ready.remove(self._last)
            ready.insert(0, self._last)
        chosen = self.choices.below(len(ready) + len(self._due))
        if chosen < len(ready):
            self._last = ready[chosen]
            self._switch(ready[chosen])
        else:
            self._due.pop(chosen - len(ready))()

    def _pass_time(self, alarm: Callable[[], int | None], sweep: Callable[[], None]) -> bool:
        """Go to the next moment at which something happens; whether there is one."""
        following = self._agenda[0][0] if self._agenda else NEVER
        for actor in self._actors:
            following = min(following, actor.ready_at)
        for invocation in self._alive:
            following = min(following, invocation.dies_at)
        sweep_at = NEVER
        if following >= self._next_sweep and (alarm_at := alarm()) is not None:
            late = max(alarm_at - self._next_sweep, self.now - self._next_sweep, 0)
            sweep_at = self._next_sweep + -(-late // SWEEP_MS) * SWEEP_MS
        if min(following, sweep_at) == NEVER:
            return False
        if sweep_at <= following:
            self.now = max(self.now, sweep_at)
            self._next_sweep = sweep_at + SWEEP_MS
            sweep()
        else:
            self.now = max(self.now, following)
        self._look_at_the_agenda()
        for invocation in [one for one in self._alive if one.dies_at <= self.now]:
            self._kill(invocation, "its time is up")
        return True

    def _switch(self, actor: Actor) -> None:
        self.current = actor
        actor.greenlet.switch()
        self.current = None
        if not actor.greenlet and actor in self._actors:
            self._actors.remove(actor)

    def _yield(self, actor: Actor) -> None:
        """Back to the world; it comes back here when it is this one's turn again."""
        self._greenlet.switch()
        if not actor.invocation.alive:
            raise Gone

    def _leave(self) -> None:
        actor = self.current
        assert actor is not None  # noqa: S101 - its callers have looked
        if actor in self._actors:
            self._actors.remove(actor)
            self._dead.append(actor)
        actor.invocation.alive = False
        self._yield(actor)

    def _kill(self, invocation: Invocation, why: str) -> None:
        if not invocation.alive:
            return
        self.note(f"{invocation.name} dies: {why}")
        self.finish(invocation, ended=False)
