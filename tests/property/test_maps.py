"""Maps in the engine: whatever ends when, an owner's death included, an item is run, counted and undone as it should.

What must be true is read off the log, never off the engine's own state.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.engine import advance as advancing
from hephaestus.engine import events as ev
from hephaestus.engine import map_items
from hephaestus.engine.activation import parse, text_of_item
from hephaestus.engine.advance import Close, Command, Compensate, Deliver, Join, Run, Sleep, advance
from hephaestus.engine.codec import dump_events, dump_state, load_events, load_state
from hephaestus.engine.events import of_items
from hephaestus.engine.fold import apply, begin, fold
from hephaestus.engine.graph import Graph, Spread
from hephaestus.engine.plans import redriven
from hephaestus.engine.records import Mapped
from hephaestus.engine.state import State
from hephaestus.errors import CorruptLog
from hephaestus.values import freeze

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from hephaestus.engine.events.event import OfActivation

SIZES = (0, 1, 7, 100)
BOOM = ev.Failure("Boom", "no")


class World:
    """A map ``m`` of ``size`` items, then a step ``z``: what comes of each item follows from its place and the seed.

    Of ten items one fails for good, one fails once and completes, one waits for an event and one for a time.
    """

    def __init__(
        self, size: int, seed: int, *, undo: bool = False, breaks: bool = False, spread: Spread | None = None
    ) -> None:
        self.random = Random(seed)
        self.spread = spread or Spread(self.random.choice((1, 3, 100)), tolerate=size)
        compensates = frozenset({"m"} if undo else ())
        edges: dict[str, dict[str, tuple[str, ...]]] = {"m": {"done": ("z",)}, "z": {"done": ()}}
        self.graph = Graph("m", edges, compensates=compensates, maps={"m": self.spread})
        self.size, self.breaks, self.now = size, breaks, 1_000
        ways = ("fails", "again", "event", "time", *["runs"] * 6)
        self.ways = {str(place): self.random.choice(ways) for place in range(size)}
        self.in_flight: dict[str, int] = {}
        first = ev.Entry(1, "c1", self.now, (ev.InstanceStarted("Flow", 1), ev.Claimed("me", 10**9)))
        self.log, self.draft = [first], []  # type: tuple[list[ev.Entry], list[ev.Event]]
        self.committed = begin("order::1", 1, first)
        self.begun: list[str] = []

    @property
    def state(self) -> State:
        """As the draft would leave it."""
        return apply(self.committed, self.draft, self.now)

    @property
    def ending(self) -> str:
        """How the instance has ended."""
        return self.committed.status

    @property
    def events(self) -> list[ev.Event]:
        """Everything that has happened."""
        return [event for entry in self.log for event in entry.events]

    def commit(self, *events: ev.Event) -> None:
        """One more entry, which is read back; sometimes the state is a snapshot from now on."""
        together = load_events(dump_events((*self.draft, *events)))
        self.draft = []
        if together:
            entry = ev.Entry(self.committed.sequence + 1, "c", self.now, together)
            self.log.append(entry)
            self.committed = fold(self.committed, (entry,))
        if self.random.random() < 0.1:
            self.committed = load_state(dump_state(self.committed))

    def run(self) -> World:
        """To the end of the instance."""
        for _ in range(40 * self.size + 100):
            if self.committed.closed:
                return self
            self.outside()
            self.act(advance(self.graph, self.state, self.now, self.in_flight))
        message = "it does not come to an end"
        raise AssertionError(message)

    def outside(self) -> None:
        """Events come for items that may wait; now and then the owner dies, and another takes over."""
        if self.random.random() < 0.03:
            self.draft, self.in_flight = [], {}
            self.commit(ev.Claimed("other", 10**9), *map(self.spent, self.committed.running))
        elif self.committed.status != "compensating":
            for key in [key for key, way in self.ways.items() if way == "event"]:
                text = self.state.item("m", key)
                if text not in self.state.inbox and self.random.random() < 0.2 and self.is_open(key):
                    self.commit(ev.EventReceived(text, "done", f"id{key}", None))

    def is_open(self, key: str) -> bool:
        """Whether the map runs and the item has not ended."""
        known = self.state.steps.get("m")
        return bool(known and known.status == "mapping" and known.mapped and known.mapped.ends[int(key)] == ".")

    def spent(self, activation: str) -> ev.Event:
        """What a dead owner's attempt comes to: it is tried again."""
        found = parse(activation)
        mapped = self.committed.steps["m"].mapped if "m" in self.committed.steps else None
        if found.item is None or mapped is None:
            return ev.StepFailed(activation, 1, BOOM, retry_at=self.now)
        attempt = mapped.open[found.item].attempt + 1 if found.item in mapped.open else 1
        kind = ev.ItemUndoFailed if found.undo else ev.ItemFailed
        return kind(activation, attempt, BOOM, retry_at=self.now)

    def act(self, commands: tuple[Command, ...]) -> None:
        """What an executor does with an answer."""
        match commands:
            case [Deliver(), *_]:
                for command in commands:
                    assert isinstance(command, Deliver)
                    self.draft.append(ev.ItemCompleted(command.activation, command.event))
            case [Join(activation=activation, results=results, error=error)]:
                assert not [one for one in self.in_flight if parse(one).step == "m"]
                self.draft.append(self.joined(activation, results, error))
            case [Compensate(status, steps, error, then)]:
                self.draft.append(ev.CompensationStarted(status, steps, error, then))
            case [Close(status, error, output_of)]:
                self.commit(ev.InstanceFinished(status, error, output_of))
            case [Sleep(wake_at)]:
                self.commit()
                self.now = self.now + 50 if wake_at is None else max(self.now, wake_at)
            case _:
                self.work([one for one in commands if isinstance(one, Run)])

    def joined(self, activation: str, results: ev.Event | object, error: ev.Failure | None) -> ev.Event:
        """A map, or its undoing, has ended."""
        if parse(activation).undo:
            return ev.StepCompensated(activation) if error is None else ev.CompensationFailed(activation, 1, error)
        if error is not None:
            return ev.StepFailed(activation, 1, error)
        return ev.StepCompleted(activation, "done", ("z",), results)  # type: ignore[arg-type]  # a mapping

    def work(self, runs: list[Run]) -> None:
        """Start some and end some."""
        chosen = self.random.sample(runs, self.random.randint(0 if self.in_flight else 1, len(runs)))
        if chosen:
            self.commit(ev.StepsStarted(tuple(run.activation for run in chosen)))
        for run in chosen:
            self.in_flight[run.activation] = run.attempt
            self.begun.append(run.activation)
        busy = len([one for one in self.in_flight if parse(one).item is not None])
        known = self.state.steps.get("m")
        waiting = 0 if known is None or known.mapped is None or known.status != "mapping" else len(known.mapped.open)
        assert busy <= self.spread.concurrency
        assert waiting <= self.spread.concurrency
        for activation in self.random.sample(sorted(self.in_flight), self.random.randint(1, len(self.in_flight))):
            self.draft.append(self.ended(activation, self.in_flight.pop(activation)))
        if self.random.random() < 0.5:
            self.commit()

    def ended(self, activation: str, attempt: int) -> ev.Event:
        """What comes of an attempt."""
        found = parse(activation)
        if found.step == "m" and found.item is None:
            return ev.MapBegun(activation, freeze(list(range(self.size))))
        if found.item is None:
            return ev.StepFailed(activation, attempt, BOOM) if self.breaks else ev.StepCompleted(activation, "done", ())
        if found.undo:
            again = self.now + 5 if attempt == 1 and found.item.endswith("3") else None
            return ev.ItemUndoFailed(activation, 1, BOOM, retry_at=again) if again else ev.ItemUndone(activation)
        way = self.ways[found.item]
        if way == "fails" or (way == "again" and attempt == 1):
            retry_at = self.now + 10 if attempt == 1 else None
            return ev.ItemFailed(activation, attempt, BOOM, self.now, retry_at)
        if way in {"event", "time"}:
            due_at = self.now + 20 if way == "time" else None
            return ev.ItemWaiting(activation, self.now, attempt, f"{activation}#1", due_at, "done")
        return ev.ItemCompleted(activation, "done", freeze({"n": int(found.item)}), self.now, attempt)

    def ends(self, kind: type[OfActivation], *, since: int = 0) -> list[str]:
        """The items to which something happened for good, as often as it did."""
        happened = [event for entry in self.log[since:] for event in entry.events if isinstance(event, kind)]
        return [parse(one.activation).item or "" for one in happened if getattr(one, "retry_at", None) is None]


def keys(world: World, *ways: str) -> list[str]:
    """The items that go these ways."""
    return sorted(key for key, way in world.ways.items() if way in ways)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(6))
def test_invariant_11_each_item_ends_once_and_the_summary_counts_the_items(size: int, seed: int) -> None:
    """Rules C.6 and I.1: at every size the outcome depends on the items only, whatever dies, waits or ends when."""
    world = World(size, seed).run()
    assert world.committed.status == "completed"
    assert sorted(world.ends(ev.ItemCompleted)) == keys(world, "runs", "again", "event", "time")
    assert sorted(world.ends(ev.ItemFailed)) == keys(world, "fails")
    done, failed = len(world.ends(ev.ItemCompleted)), len(world.ends(ev.ItemFailed))
    assert world.committed.steps["m"].results == {
        "total": size,
        "completed": done,
        "failed": failed,
        "cancelled": 0,
        "not_started": 0,
        "events": {"done": done} if done else {},
        "reason": "",
    }
    mapped = world.committed.steps["m"].mapped
    assert mapped is not None
    for place, entry in enumerate(mapped.entries):
        ended = [one for one in world.log[entry - 1].events if isinstance(one, (ev.ItemCompleted, ev.ItemFailed))]
        assert str(place) in [parse(one.activation).item for one in ended]
    assert fold(begin("order::1", 1, world.log[0]), world.log[1:]) == world.committed
    assert not world.committed.timers
    assert not world.committed.inbox
    assert not world.committed.running


@pytest.mark.parametrize("seed", range(20))
def test_the_first_failure_that_is_not_tolerated_starts_no_item_more(seed: int) -> None:
    """C.6: what runs ends, what waits is cancelled; a redrive repeats what has not completed, and nothing else."""
    world = World(30, seed, spread=Spread(4, tolerate=1)).run()
    fails = keys(world, "fails")
    if len(fails) < 2:
        assert world.committed.status == "completed"
        return
    assert world.committed.status == "failed"
    assert world.committed.error is not None
    assert "items failed, and 1 may: item" in world.committed.error.message
    mapped = world.committed.steps["m"].mapped
    assert mapped is not None
    ends = [mapped.ends.count(letter) for letter in "cfx."]
    assert sum(ends) == 30
    second = [event for event in world.events if isinstance(event, ev.ItemFailed) and event.retry_at is None][1]
    after = world.events[world.events.index(second) + 1 :]
    assert not [event for event in after if isinstance(event, (ev.ItemWaiting, ev.StepsStarted)) and _begins(event)]
    done, at = set(world.ends(ev.ItemCompleted)), len(world.log)
    world.commit(redriven(world.graph, world.committed), ev.Claimed("me", 10**9))
    world.ways = {key: "runs" if way == "fails" else way for key, way in world.ways.items()}
    assert world.run().ending == "completed"
    assert sorted(world.ends(ev.ItemCompleted)) == sorted(world.ways)
    assert done.isdisjoint(world.ends(ev.ItemCompleted, since=at))


def _begins(event: ev.Event) -> Collection[str]:
    """What is named to start."""
    return getattr(event, "activations", ())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(6))
def test_the_completed_items_are_undone_once_each_and_repeated_under_other_names(size: int, seed: int) -> None:
    """C.13 and I.10: failures that were tolerated are not undone; a map without a completed item is not; redrive."""
    world = World(size, seed, undo=True, breaks=True).run()
    done = sorted(world.ends(ev.ItemCompleted))
    assert world.committed.status == "failed"
    assert sorted(world.ends(ev.ItemUndone)) == done
    assert world.committed.step_status("m") == ("compensated" if done else "completed")
    at = len(world.log)
    world.commit(redriven(world.graph, world.committed), ev.Claimed("me", 10**9))
    world.breaks = False
    assert world.run().ending == "completed"
    again = [one for one in world.begun if parse(one).epoch]
    assert {parse(one).item for one in again} - {None} == (set(world.ways) if done else set())
    assert sorted(world.ends(ev.ItemCompleted, since=at)) == done


def test_an_item_costs_some_24_bytes_of_a_snapshot() -> None:
    """C.7: its results stand in the log alone."""
    sizes = {}
    for size in (0, 100):
        world = World(size, 1)
        world.ways = dict.fromkeys(world.ways, "runs")
        sizes[size] = len(dump_state(world.run().committed))
    assert (sizes[100] - sizes[0]) / 100 < 24


def counted_twice(patch: pytest.MonkeyPatch) -> None:
    """An item's event is counted twice."""
    done = ev.ItemCompleted.changes

    def changes(self: ev.ItemCompleted, state: State, at: int) -> dict[str, Any]:
        found = done(self, state, at)
        known = found["steps"]["m"]
        mapped = replace(known.mapped, events={one: number + 1 for one, number in known.mapped.events.items()})
        return {**found, "steps": {**found["steps"], "m": replace(known, mapped=mapped)}}

    patch.setattr(ev.ItemCompleted, "changes", changes)


def tolerates_one_more(patch: pytest.MonkeyPatch) -> None:
    """A failure above the tolerance."""
    patch.setattr(Spread, "tolerated", lambda self, _: self.tolerate + 1)


def too_many_at_once(patch: pytest.MonkeyPatch) -> None:
    """What waits or runs takes no place."""
    patch.setattr(map_items, "spread_of", lambda graph, step: graph.maps[step]._replace(concurrency=1_000))


def left_undone(patch: pytest.MonkeyPatch) -> None:
    """The completed items of a map are not undone."""
    patch.setattr(map_items, "due_undos", lambda *_: ())
    patch.setattr(advancing, "due_undos", lambda *_: ())
    patch.setattr(advancing, "next_undo", lambda *_: None)


def completed_ones_again(patch: pytest.MonkeyPatch) -> None:
    """A redrive repeats the items that have completed."""
    patch.setattr(Mapped, "again", lambda self: Mapped(self.items, self.keys, None, "." * len(self.ends), self.entries))


def no_epoch(patch: pytest.MonkeyPatch) -> None:
    """An item that runs again after it was undone has the name that it had before."""
    patch.setattr(State, "item", lambda _, step, key, undo=False: text_of_item(step, 0, key, undo=undo))


def wrong_entry(patch: pytest.MonkeyPatch) -> None:
    """An item's results are looked for in the entry before its own."""
    ended = of_items._ended  # noqa: SLF001 - what is broken
    patch.setattr(of_items, "_ended", lambda item, end, entry: ended(item, end, entry - 1))


def over_while_it_runs(patch: pytest.MonkeyPatch) -> None:
    """A map ends before the items under way have."""
    patch.setattr(advancing, "has_ended", lambda graph, state, step, _: map_items.has_ended(graph, state, step, ()))


def deaf(patch: pytest.MonkeyPatch) -> None:
    """Nothing reaches an item that waits."""
    patch.setattr(advancing, "given_items", lambda *_: ())


BUGS = (
    counted_twice,
    tolerates_one_more,
    too_many_at_once,
    left_undone,
    completed_ones_again,
    no_epoch,
    wrong_entry,
    over_while_it_runs,
    deaf,
)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_wrong_map_is_caught(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these bugs is found by one of the tests above."""
    bug(monkeypatch)
    checks = (
        lambda seed: test_invariant_11_each_item_ends_once_and_the_summary_counts_the_items(7, seed),
        test_the_first_failure_that_is_not_tolerated_starts_no_item_more,
        lambda seed: test_the_completed_items_are_undone_once_each_and_repeated_under_other_names(7, seed),
    )
    with pytest.raises((AssertionError, CorruptLog, KeyError)):
        _run_all(checks)


def _run_all(checks: Collection[Callable[[int], object]]) -> None:
    for seed in range(20):
        for check in checks:
            check(seed)
