"""At any moment of simulated runs, all views say the same word for the same thing; see *Status* in the glossary.

What a view says is held to the state, and to the other views: an instance, its tree, the items of its maps, why it
does not go on, and lists.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from hephaestus import simulation
from hephaestus.engine.activation import parse
from hephaestus.errors import InstanceNotFound
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.simulation import simulate
from hephaestus.simulation.run import Run
from hephaestus.testing import VirtualClock
from tests.property import map_limit_bugs
from tests.property.map_flows import of_run, of_workflows
from tests.property.random_flows import (
    LOOPING,
    MAPPING,
    NESTING,
    REPEATING,
    SPREADING,
    TABLES,
    deadly_plan,
    flow,
    plan,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pytest

    from hephaestus.definition.views import InstanceView
    from hephaestus.engine.state import State

EVERY: Final = 25  # turns of the world between two looks
SAID: Final[Mapping[str, tuple[str, ...]]] = {
    "pending": ("waits for `",),  # a limit
    "running": ("runs",),
    "waiting": ("waits for ", "waits until "),
    "retrying": ("waits: attempt ", "waits for `"),
    "looping": ("waits: round ", "waits for `"),
    "mapping": ("",),
}
ENDED: Final[Mapping[str, frozenset[str]]] = {  # by an item's status, what may have become of its workflow
    "completed": frozenset({"completed", "compensating", "failed", "undone"}),
    "failed": frozenset({"failed", "cancelled", "compensating", "undone"}),
    "cancelled": frozenset({"cancelled"}),
    "compensated": frozenset({"undone", "completed"}),  # by itself, or by a `compensate=` of its step
    "compensation_failed": frozenset({"failed", "undone", "completed"}),
}
OPEN: Final = frozenset({"pending", "running", "waiting", "compensating"})


class Watch:
    """Looks at all instances of a run again and again, and holds what the views say to each other."""

    def __init__(self, run: Any, registry: Registry) -> None:
        self.run, self.seen = run, Counter[str]()
        self.clock = VirtualClock()
        self.runner = Runner(run.store, run.timers, run.runner.queue, registry, clock=self.clock)

    def look(self) -> None:
        """Every instance that people know."""
        self.clock.move_to(self.run.world.now)
        for name in list(self.run.ledger.newest):
            if not name.startswith("hephaestus-"):
                self._look_at(name)

    def _look_at(self, name: str) -> None:
        try:
            state, shown = self.runner.instances.load(name), self.runner.get(name, tree=True)
        except InstanceNotFound:
            return  # it has expired
        why = self.runner.why(name)
        assert shown.status == why.status == state.status
        self.seen[f"instance {shown.status}"] += 1
        for key, step in shown.steps.items():
            self.seen[f"step {step.status}"] += 1
            assert step.status == self._word(state, key), key
            assert why.steps.get(key, step.why) is None or key in why.steps
            if step.why is not None:
                assert step.why.startswith(SAID[step.status]), (step.status, step.why)
                assert why.steps[key].startswith(step.why)
            if step.progress is not None:
                self._items(state, key, step.progress)
        self._below(shown)

    def _word(self, state: State, key: str) -> str:
        """What is to be said of a step: it runs, or it is what its events have made of it."""
        runs = any((it := parse(one)).step == key and it.item is None and not it.undo for one in state.running)
        return "running" if runs and not state.closed else state.step_status(key)

    def _items(self, state: State, key: str, progress: Mapping[str, int]) -> None:
        """Each item by itself, all of a status, and how many there are."""
        items = list(self._pages(state.instance_id, key, None))
        counts = Counter(item.status for item in items)
        assert counts == Counter({name: n for name, n in progress.items() if n and name != "total"}), progress
        assert len(items) == progress["total"]
        for status in counts:
            found = [item.key for item in self._pages(state.instance_id, key, status)]
            assert found == [item.key for item in items if item.status == status]
        for item in items:
            self.seen[f"item {item.status}"] += 1
            child = self.run.store.load(item.child) if item.child else None
            assert item.child_status == (child and child.status)
            if child is None:
                continue
            assert item.status != "running", "a workflow runs, its item waits for it"
            allowed = OPEN | ENDED["failed"] | ENDED["completed"] if item.status == "waiting" else ENDED[item.status]
            assert child.status in allowed, (item.status, child.status)

    def _pages(self, name: str, key: str, status: str | None) -> Iterator[Any]:
        cursor = None
        while True:
            page = self.runner.items(name, key, status=status, cursor=cursor, limit=200)
            yield from page.items
            if (cursor := page.cursor) is None:
                return

    def _below(self, shown: InstanceView) -> None:
        """What the tree says of the instances below."""
        left = list(shown.children)
        while left:
            below = left.pop()
            state = self.run.store.load(below["id"])
            if state is not None:
                assert below["status"] == state.status
            left += below.get("children", ())

    def end(self) -> None:
        """At rest, what lists say."""
        self.look()
        cursor = None
        while True:
            page = self.runner.list(children=True, limit=100, cursor=cursor)
            for one in page.items:
                assert one.status == self.runner.instances.load(one.id).status
            if (cursor := page.cursor) is None:
                return


FLOWS: Final[Mapping[str, Any]] = {
    "plain": lambda seed: (flow(seed), plan, {"tables": TABLES}),
    "loops": lambda seed: (flow(LOOPING + seed), plan, {"tables": TABLES}),
    "maps": lambda seed: (flow(MAPPING + seed), plan, {"tables": TABLES}),
    "children": lambda seed: (flow(NESTING + seed), plan, {"tables": TABLES}),
    "repeats": lambda seed: (flow(REPEATING + seed), plan, {"tables": TABLES}),
    "trees": lambda seed: (flow(SPREADING + seed), deadly_plan, {"tables": TABLES, "fan": 2 + seed % 2}),
    "workflows": lambda seed: (of_workflows(seed), {}, of_run(seed)),
    "limits": lambda seed: (map_limit_bugs.mapping(seed), {}, map_limit_bugs.of_run(seed)),
}
RUNS: Final = 20


def test_all_views_say_the_same_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of random workflows of each kind; all statuses of instances, steps and items are met."""
    seen: Counter[str] = Counter()
    watches: list[Watch] = []

    class Watched(Run):
        def __init__(self, subject: Any, choices: Any, faults: Any, *, tracing: bool = False) -> None:
            super().__init__(subject, choices, faults, tracing=tracing)
            self.watch, self.turns = Watch(self, Registry(subject.workflows)), 0
            watches.append(self.watch)
            agenda = self.world._look_at_the_agenda  # noqa: SLF001 - there is no other place between two turns

            def look() -> None:
                self.turns += 1
                if self.turns % EVERY == 0:
                    self.watch.look()
                agenda()

            self.world._look_at_the_agenda = look  # type: ignore[method-assign]  # noqa: SLF001 - as above

        def go(self) -> list[InstanceView]:
            ended = super().go()
            self.watch.end()
            return ended

    monkeypatch.setattr(simulation, "Run", Watched)
    runs = {**dict.fromkeys(FLOWS, RUNS), "limits": 2 * RUNS}
    for made, seed in ((FLOWS[kind], seed) for kind, number in runs.items() for seed in range(number)):
        workflow, context, how = made(seed)
        simulate(workflow, context, seed=seed, shrinking=0, **how)
        seen += watches.pop().seen
    assert {name.split()[0] for name in seen} == {"instance", "step", "item"}
    missing = {"instance": OPEN | {"completed", "failed", "cancelled", "undone"}}
    assert {name for kind, names in missing.items() for name in {f"{kind} {one}" for one in names}} <= set(seen)
