"""What follows from a state, kept as indexes, so that asking costs what has changed since it was last asked.

``fold`` leaves a trail: one cell for each step that an event touched. An agenda remembers the cell that it is at. To be
brought to another state of the same trail it walks both back to where they meet, and looks at the steps in between
again: whether the other state is later, earlier or on another branch makes no difference.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING, Final, TypeVar

from hephaestus.engine.activation import step_of
from hephaestus.engine.events.children import LOST
from hephaestus.engine.events.steps import stale_events
from hephaestus.engine.map_items import is_stopped
from hephaestus.engine.records import NOTHING
from hephaestus.engine.state import TIMED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hephaestus.engine.graph import Graph
    from hephaestus.engine.records import Mapped
    from hephaestus.engine.state import State, StepState

SETTLED: Final = frozenset({"completed", "skipped"})
OPEN: Final = TIMED | {"waiting", "mapping"}
T = TypeVar("T")


class Agenda:
    """The steps of one state by what can happen to them next.

    Attributes:
        graph: the workflow's graph.
        waiting: the steps that wait.
        timed: the steps whose next attempt has a time: between two attempts, or two rounds.
        mapped: the maps whose items are recorded and have not all ended.
        stale: the steps for which events are kept that no wait will take.
        failed: the steps that end the instance: they failed for good, or their event led to ``FAIL``.
        pending: how many of the graph's steps nothing has happened to.
    """

    def __init__(self, graph: Graph, state: State) -> None:
        self.graph = graph
        self.waiting: set[str] = set()
        self.timed: set[str] = set()
        self.mapped: set[str] = set()
        self.stale: set[str] = set()
        self.failed: set[str] = set()
        self._by_status = {"waiting": self.waiting, **dict.fromkeys(TIMED, self.timed), "failed": self.failed}
        self._by_status["mapping"] = self.mapped
        self.pending = len(graph.order)
        self._known: dict[str, StepState] = {}
        self._undecided = {step: len(sources) for step, sources in graph.predecessors.items()}
        self._taken = dict.fromkeys(graph.order, 0)
        self._taken[graph.start] = 1
        self._runs: set[str] = set()
        self._ready: list[int] = []  # the places of those
        self._dead: set[str] = set()
        self._unplaced = {graph.start}
        self._held: set[str] = set()
        self._times: list[tuple[int, str, str]] = []
        self._timed: dict[str, tuple[tuple[int, str, str], ...]] = {}
        self._at = state.trail
        for step in dict.fromkeys((*state.steps, *map(step_of, state.inbox))):
            self._note(state, step)
        self._place()

    def follow(self, state: State) -> None:
        """Show ``state`` from now on."""
        here, there = self._at, state.trail
        if here is there:
            return
        changed: dict[str, None] = {}
        while here is not there:
            if here.depth >= there.depth and here.before is not None:
                changed[here.step] = None
                here = here.before
            elif there.before is not None:
                changed[there.step] = None
                there = there.before
        self._at = state.trail
        for step in changed:
            self._note(state, step)
        self._place()

    def is_through(self) -> bool:
        """Whether every step has come to its end, or no path leads to it."""
        return not (self.waiting or self.timed or self.mapped or self.pending)

    def ready(self) -> Iterator[str]:
        """In the graph's order, the steps that nothing has happened to and whose edges have them run now."""
        return map(self.graph.order.__getitem__, self._ready)

    def idle_but_for(self, step: str) -> bool:
        """Whether no step but ``step`` waits or is to be tried again."""
        others = len(self.waiting) + len(self.timed) - (step in self.waiting or step in self.timed)
        return not others and not self.mapped

    def held(self, state: State) -> list[str]:
        """The waiting steps whose event has come, in the order in which the events came."""
        if len(self._held) < 2:  # noqa: PLR2004 - one has no order
            return list(self._held)
        return [step for step in map(step_of, state.inbox) if step in self._held]

    def due(self, now: int) -> Iterator[tuple[str, str]]:
        """Of each retry (without a token) and each deadline up to ``now``, in their order, the token and the step.

        Those of items are not among them.
        """
        for at, token, step in self._times:
            if at > now:
                return
            if step not in self.mapped:
                yield token, step

    def next_time(self, after: int) -> int | None:
        """The earliest time of a retry or a deadline later than ``after``, if there is any."""
        place = bisect_right(self._times, (after + 1,)) if after else 0
        return self._times[place][0] if place < len(self._times) else None

    def dead(self) -> tuple[str, ...]:
        """Every step that nothing has happened to and that no path leads to any more, in the graph's order."""
        if not self._dead:
            return ()
        found = set(self._dead)
        frontier = list(found)
        left: dict[str, int] = {}
        for step in frontier:  # it grows as it is read
            for target in self.graph.successors[step]:
                left[target] = left.get(target, self._undecided[target]) - 1
                if not left[target] and not self._taken[target] and target not in self._known:
                    found.add(target)
                    frontier.append(target)
        return tuple(sorted(found, key=self.graph.place.__getitem__))

    def _note(self, state: State, step: str) -> None:
        """Look at ``step`` again."""
        if step not in self.graph.place:
            return
        before, after = self._known.get(step), state.steps.get(step)
        was, now = before.status if before else "pending", after.status if after else "pending"
        if was != now:
            self._among(before).discard(step)
            self._among(after).add(step)
            self.pending += (now == "pending") - (was == "pending")
        if before is not after:
            if after is None:
                del self._known[step]
            else:
                self._known[step] = after
            if "pending" in {was, now}:
                self._unplaced.add(step)
            if was in SETTLED or now in SETTLED:
                self._decide(step, before, after)
        if now in OPEN or step in self._timed or step in self._held:
            self._watch(state, step, after)
        if state.inbox is not NOTHING or step in self.stale:
            self.stale.discard(step)
            if stale_events(state, step):
                self.stale.add(step)

    def _among(self, known: StepState | None) -> set[str]:
        """The set that a step which is ``known`` so belongs to, if it is one that anybody asks for."""
        if known is None:
            return set()
        return self.failed if known.fail is not None else self._by_status.get(known.status, set())

    def _watch(self, state: State, step: str, known: StepState | None) -> None:
        """Note what ``step`` waits for, if it still does: its event, and its times."""
        status = known.status if known is not None else "pending"
        takes = status == "waiting" or (status in TIMED and step in self.graph.ends_on)
        if takes and state.line(step) in state.inbox:
            self._held.add(step)
        else:
            self._held.discard(step)
        self._set_times(step, _times_of(self.graph, state, step, known))

    def _decide(self, step: str, before: StepState | None, after: StepState | None) -> None:
        """``step`` does not decide its outgoing edges as it did before, but as it does after."""
        for known, by in ((before, 1), (after, -1)):
            if known is None or known.status not in SETTLED:
                continue
            for target in known.taken:
                if target in self._taken:
                    self._taken[target] -= by
            for target in self.graph.successors[step]:
                self._undecided[target] += by
                if self._undecided[target] <= 1:  # it is decided now, or was before
                    self._unplaced.add(target)

    def _place(self) -> None:
        """Put every step of which that may have changed among those that can run, that cannot any more, or neither."""
        for step in self._unplaced:
            decided = not self._undecided[step] and step not in self._known
            runs = decided and self._taken[step] > 0
            if decided and not runs:
                self._dead.add(step)
            else:
                self._dead.discard(step)
            if runs is not (step in self._runs):
                self._list(step, runs=runs)
        self._unplaced.clear()

    def _list(self, step: str, *, runs: bool) -> None:
        """Put ``step`` among those that can run, or take it out."""
        place = self.graph.place[step]
        if runs:
            self._runs.add(step)
            insort(self._ready, place)
        else:
            self._runs.remove(step)
            del self._ready[bisect_right(self._ready, place) - 1]

    def _set_times(self, step: str, times: tuple[tuple[int, str, str], ...]) -> None:
        before = self._timed.pop(step, ())
        if times:
            self._timed[step] = times
        if before == times:
            return
        for time in before:
            del self._times[bisect_right(self._times, time) - 1]
        for time in times:
            insort(self._times, time)


def _times_of(graph: Graph, state: State, step: str, known: StepState | None) -> tuple[tuple[int, str, str], ...]:
    """The times that a step waits for or is tried again at."""
    if known is None or known.status not in OPEN:
        return ()
    if known.mapped is not None:
        return tuple(_times_of_items(graph, state, step, known.mapped))
    if known.status in TIMED:
        return () if known.retry_at is None else ((known.retry_at, "", step),)
    timers, child = state.timers.get(state.activation(step), ()), state.children.get(state.activation(step))
    if child is not None and child.stopping:
        timers = tuple([timer for timer in timers if timer.emits == LOST])  # nothing else is waited for any more
    return tuple((timer.due_at, timer.token, step) for timer in timers)


def _times_of_items(graph: Graph, state: State, step: str, mapped: Mapped) -> Iterator[tuple[int, str, str]]:
    """The times that items wait for or are tried again at, the earliest first.

    A map that is stopped waits for the workflows that are open, and tries to start none again.
    """
    times = [(one.retry_at, "", step) for one in mapped.open.values() if one.retry_at is not None]
    if mapped.by_others:
        times = [] if is_stopped(graph, state, step) else times
        every = (one for timers in state.timers.values() for one in timers if one.step == step)
        yield from sorted([*times, *((timer.due_at, timer.token, step) for timer in every)])
        return
    for key, one in mapped.open.items() if state.timers else ():
        if one.retry_at is None:
            times += [(timer.due_at, timer.token, step) for timer in state.timers.get(state.item(step, key), ())]
    yield from sorted(times)


def ask(graph: Graph, state: State, question: Callable[[Agenda], T]) -> T:
    """What the agenda of ``state`` answers: the one that its trail keeps, brought to it, or a new one.

    An agenda is taken from the trail while it is used, so two threads never use one at a time.
    """
    kept = state.trail.kept
    try:
        agenda = kept.pop()
    except IndexError:
        agenda = Agenda(graph, state)
    else:
        if agenda.graph is graph:
            agenda.follow(state)
        else:
            agenda = Agenda(graph, state)
    answer = question(agenda)
    kept.append(agenda)
    return answer
