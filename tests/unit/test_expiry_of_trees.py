"""The expiry of a tree: what a slow worker says of it never undoes what was decided since (rule D.11)."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from hephaestus import DONE, Retry, StepContext, Workflow, step
from hephaestus.runtime.family import Family
from hephaestus.steps import ChildWorkflow, Map, WaitForEvent
from hephaestus.store.heads import Sizes
from hephaestus.store.items import whole
from hephaestus.store.keys import HEAD, LOG
from hephaestus.store.store import DAY, Store
from hephaestus.store.table import EXPIRES
from hephaestus.testing import LocalRuntime
from tests.unit.test_endings import Interposed

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from hephaestus.store.table import Item

DAYS = 1
ONCE = Retry(max_attempts=1)
undone: list[str] = []


def _undo(ctx: StepContext) -> None:
    undone.append(ctx.instance.id)


@step(compensate=_undo)
def work(ctx: StepContext) -> dict[str, Any]:
    """Leave something that is a value of its own."""
    return {"text": "".join(chr(33 + n * n % 90) for n in range(200))}


class Kid(Workflow, key="kid"):
    """A grandchild."""

    start_at = work
    transitions = {work: {"done": DONE}}


class Mid(Workflow, key="mid"):
    """A child with a child, and with a map of two parts."""

    below = ChildWorkflow(Kid, context=lambda _: {}, name="below")
    every = Map(work, over=lambda _: range(2), chunk=1, name="every")
    start_at = below
    transitions = {below: {"done": every}, every: {"done": DONE}}


ROOT, MEMBERS, UNDONE = "root::1", 5, 4


class Root(Workflow, key="root"):
    """A tree of three levels that waits for how it is to end."""

    child = ChildWorkflow(Mid, context=lambda _: {}, name="child")
    items = Map(Kid, over=lambda _: [{}], name="items")
    gate = WaitForEvent("well", "badly", name="gate")
    end = step(key="end", retry=ONCE)(lambda ctx: dict[str, str]()["no"])
    start_at = child
    transitions = {
        child: {"done": items},
        items: {"done": gate},
        gate: {"well": DONE, "badly": end},
        end: {"done": DONE},
    }


class Seen(Interposed):
    """A table that knows what instances it has had."""

    def __init__(self) -> None:
        super().__init__()
        self.names: dict[str, None] = {}

    def put(self, item: Any, condition: Any) -> bool:
        """Write an item."""
        if item["sk"] == HEAD:
            self.names[item["pk"]] = None
        return super().put(item, condition)

    def below(self) -> list[Item]:
        """Everything that is left of the instances below the root but their logs, which expire by themselves."""
        found = [self.query(name, low="", high="~") for name in self.names if name != ROOT]
        return [item for items in found for item in items if not str(item["sk"]).startswith(LOG)]


class Tree:
    """A tree, and a worker that is frozen while it says when the tree goes."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        undone.clear()
        self.table, self.patch = Seen(), patch
        self.local = LocalRuntime(
            Root, Mid, Kid, store=Store(self.table, retention_days=DAYS, sizes=Sizes(head=600, apart=40))
        )

    def freeze(self, act: Callable[[], object], number: int, meanwhile: Callable[[], object]) -> bool:
        """``act``; before call ``number`` of its first ``Keep`` something happens; whether there are so many calls."""
        right, armed, met = Family._keep, [True], []  # noqa: SLF001 - where a worker is frozen

        def happens() -> None:
            met.append(True)
            meanwhile()

        def keep(family: Family, *given: Any) -> Any:
            if not armed:
                return right(family, *given)
            armed.clear()
            self.table.before(number, happens)
            try:
                return right(family, *given)
            finally:
                if not met:
                    self.table.before(-1, happens)

        with self.patch.context() as patch:
            patch.setattr(Family, "_keep", keep)
            act()
        assert not armed, "else the test proves nothing"
        self.settle()
        return bool(met)

    def settle(self) -> None:
        """Finish everything, as the sweep does."""
        for _ in range(2):
            self.local.advance(timedelta(minutes=20))
            self.local.sweep()

    def stop(self) -> None:
        """Have it end with all that it did."""
        assert self.local.start(Root, "1", {}).status == "waiting"
        self.local.runner.cancel(ROOT, compensate=False)

    def ask(self) -> None:
        """Redrive it."""
        self.local.runner.redrive(ROOT)

    def redrive(self) -> None:
        """Have it go on until it waits."""
        self.local.advance(timedelta(minutes=1))
        self.ask()
        self.go_on()

    def go_on(self) -> None:
        """Another worker has it go on until it waits."""
        self.local.runner.wake(ROOT, budget=self.local.budget())
        self.local.settle()
        assert self.status == "waiting"

    def end(self, event: str = "well") -> None:
        """Have it end."""
        self.local.resume(ROOT, event)
        assert self.status == ("completed" if event == "well" else "failed")

    @property
    def status(self) -> str:
        """How the root is."""
        return self.local.runner.get(ROOT).status

    def expiries(self) -> set[Any]:
        """When the heads of those below the root expire; values do at some time if heads do."""
        found = self.table.below()
        heads = {item.get(EXPIRES) for item in found if item["sk"] == HEAD}
        values = {EXPIRES in item for item in found if item["sk"] != HEAD}
        assert len(self.table.names) >= MEMBERS, "else the test proves nothing"
        assert values == {one is not None for one in heads}
        return heads

    def expire(self) -> None:
        """More time passes than an ended instance has, and a year."""
        self.local.advance(timedelta(days=400))
        self.table.expire(self.local.clock.now() // 1000)


def each_call(patch: pytest.MonkeyPatch, play: Callable[[Tree, int], bool]) -> None:
    """A worker is frozen before each call of the table that it makes as it says when the tree goes."""
    for number in count():
        if not play(Tree(patch), number):
            assert number > MEMBERS, "else the test proves nothing"
            return


def test_a_tree_that_was_redriven_stays_whatever_a_slow_end_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each child, grandchild and part of a map, with its values: what they did can be undone much later."""

    def play(tree: Tree, number: int) -> bool:
        met = tree.freeze(tree.stop, number, tree.redrive)
        if met:
            assert tree.expiries() == {None}, f"frozen before call {number}"
            tree.expire()
            tree.end("badly")
            assert len(undone) == UNDONE, f"frozen before call {number}"
        return met

    each_call(monkeypatch, play)


def test_a_tree_that_ended_again_goes_whatever_a_slow_redrive_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it had ended when it did last; nothing is left for ever."""

    def play(tree: Tree, number: int) -> bool:
        tree.stop()
        tree.settle()

        def meanwhile() -> None:
            tree.go_on()
            tree.end()

        met = tree.freeze(tree.ask, number, meanwhile)
        if met:
            (when,) = tree.expiries()
            assert when is not None
            tree.expire()
            tree.expire()
            assert tree.table.below() == []
        return met

    each_call(monkeypatch, play)


def test_a_tree_that_ended_twice_goes_after_its_second_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the first end says, late."""

    def play(tree: Tree, number: int) -> bool:
        def meanwhile() -> None:
            tree.redrive()
            tree.end("badly")

        met = tree.freeze(tree.stop, number, meanwhile)
        if met:
            own = tree.table.get(ROOT, HEAD) or {}
            assert tree.expiries() == {whole(own, EXPIRES) + DAY}, f"frozen before call {number}"
        return met

    each_call(monkeypatch, play)


def test_what_was_replaced_goes_whatever_a_slow_redrive_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The children of what was undone, in whose place others have started since; these stay."""

    def play(tree: Tree, number: int) -> bool:
        tree.stop()
        tree.settle()
        old = set(tree.table.names)

        def meanwhile() -> None:
            tree.go_on()
            tree.end("badly")
            tree.redrive()

        met = tree.freeze(tree.ask, number, meanwhile)
        if met:
            heads = [item for item in tree.table.below() if item["sk"] == HEAD]
            assert len(heads) == 2 * MEMBERS
            wrong = [item["pk"] for item in heads if (EXPIRES in item) is not (item["pk"] in old)]
            assert not wrong, f"frozen before call {number}"
        return met

    each_call(monkeypatch, play)
