"""Deletions and starts of one id at once: whatever is acknowledged last is there, whole, and nothing else is."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from hephaestus import DONE, AlreadyRunning, InstanceNotFound, StepContext, Workflow, step
from hephaestus.adapters.memory.table import InMemoryTable
from hephaestus.store.endings import HOUR_MS
from hephaestus.store.heads import Sizes
from hephaestus.store.items import INDEXES
from hephaestus.store.store import Store
from hephaestus.store.table import ALWAYS
from hephaestus.store.values import ValueMissing
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable

PRIMITIVES: Final = ("get", "get_many", "query", "put", "update", "delete")
LARGE: Final = "".join(hashlib.sha256(str(n).encode()).hexdigest() for n in range(9))  # does not compress much


class Killed(BaseException):
    """The process dies here."""


def nothing() -> object:
    """Do nothing."""
    return None


class Interposed(InMemoryTable):
    """A table on which something else happens just before one of the calls that follow."""

    def __init__(self) -> None:
        super().__init__(INDEXES)
        self.left, self.event = -1, nothing

    def before(self, number: int, event: Callable[[], object]) -> None:
        """Have ``event`` happen before call ``number`` from now, counted from 0."""
        self.left, self.event = number, event


def _interposed(name: str) -> Any:
    whole: Any = getattr(InMemoryTable, name)

    def call(self: Interposed, *args: Any, **named: Any) -> Any:
        self.left -= 1
        if self.left == -1:
            event, self.event = self.event, nothing
            event()
        return whole(self, *args, **named)

    return call


for primitive in PRIMITIVES:
    setattr(Interposed, primitive, _interposed(primitive))


@step
def note(ctx: StepContext) -> dict[str, Any]:
    """Leave something large."""
    return {"text": ctx.initial["text"][::-1]}


class Noted(Workflow, key="id"):
    """One step."""

    start_at = note
    transitions = {note: {"done": DONE}}


class World:
    """A closed instance of two lives, and what happens to it."""

    def __init__(self) -> None:
        self.table = Interposed()
        self.local = LocalRuntime(Noted, store=Store(self.table, sizes=Sizes(apart=128)))
        self.runner = self.local.runner
        for text in "ab":
            self.start(text)
            self.local.settle()

    def start(self, text: str) -> None:
        """Start it once more."""
        self.runner.start_instance(Noted, {"text": text + LARGE}, id="1")

    def delete(self) -> bool:
        """Delete it, if it is there."""
        try:
            self.runner.delete("id::1")
        except (InstanceNotFound, AlreadyRunning):
            return False
        return True

    def left(self) -> list[str]:
        """What is kept under its id."""
        return [str(item["sk"]) for item in self.table.query("id::1", low="a", high="z") if "ends" not in item]

    def settle(self) -> None:
        """Finish everything, as the sweep does."""
        for _ in range(2):
            self.local.settle()
            self.local.sweep()
        self.local.settle()

    def check(self, text: str) -> None:
        """Only this start is there, and all of it can be read; and then it can be deleted."""
        self.settle()
        shown = self.runner.get("id::1")
        assert shown.status == "completed"
        assert shown.context == {"text": text + LARGE}
        assert shown.steps[note].results == {"text": (text + LARGE)[::-1]}
        lives = {key.split("#")[1] for key in self.left() if "#" in key}
        assert len(lives) == shown.generation
        assert self.delete()
        self.settle()
        assert self.left() == []


def calls(act: Callable[[World], object]) -> int:
    """How many calls of the table it takes."""
    world = World()
    world.table.before(10_000, lambda: None)
    act(world)
    return 10_000 - world.table.left


DELETE: Final = calls(World.delete)
START: Final = calls(lambda world: world.start("c"))


def kill() -> None:
    """Die."""
    raise Killed


@pytest.mark.parametrize("number", range(DELETE))
def test_an_id_can_be_started_wherever_its_deletion_was_cut_off(number: int) -> None:
    """Before, the start finished the deletion, and with it removed the values that it had written itself."""
    world = World()
    world.table.before(number, kill)
    with pytest.raises(Killed):
        world.delete()
    world.start("c")
    world.check("c")


@pytest.mark.parametrize("number", range(DELETE))
def test_an_id_can_be_started_while_a_slow_deletion_goes_on(number: int) -> None:
    """Another one did it meanwhile, and the id is a new life's. Before, that lost its log and its values."""
    world = World()

    def meanwhile() -> None:
        world.delete()
        world.start("c")
        world.settle()

    world.table.before(number, meanwhile)
    if not world.delete() or world.left():
        world.check("c")


@pytest.mark.parametrize("number", range(START))
def test_a_start_is_whole_wherever_a_deletion_comes_in_between(number: int) -> None:
    """Or another start, which is deleted in turn."""
    world = World()

    def meanwhile() -> None:
        if world.delete():
            world.start("x")
            world.settle()
            assert world.delete()

    world.table.before(number, meanwhile)
    world.start("c")
    world.check("c")


READS: Final[dict[str, Callable[[World], object]]] = {
    "get": lambda world: world.runner.get("id::1"),
    "history": lambda world: world.runner.history("id::1"),
    "earlier history": lambda world: world.runner.history("id::1", generation=1),
    "fork": lambda world: world.runner.fork("id::1", 1, new_id="2"),
    "list": lambda world: world.runner.list(),
}


@pytest.mark.parametrize(
    ("read", "number"), [(name, number) for name, read in READS.items() for number in range(calls(read))]
)
def test_what_is_read_while_it_is_deleted_is_shown_or_not_found(read: str, number: int) -> None:
    """Before, a history could not be read: a value was missing."""
    world = World()
    world.table.before(number, world.delete)
    with suppress(InstanceNotFound):
        READS[read](world)
    with suppress(InstanceNotFound):
        world.runner.get("id::2")
    assert world.left() == []


def pause(world: World) -> None:
    """Start it, and pause it at once."""
    world.start("c")
    world.runner.pause("id::1")


@pytest.mark.parametrize("number", range(calls(pause)))
def test_what_was_decided_on_before_a_deletion_comes_too_late(number: int) -> None:
    """By a caller that was slow. Before, the number that it had in mind was free again, and it was acknowledged."""
    world = World()
    ended: list[bool] = []

    def meanwhile() -> None:
        world.local.settle()
        ended.append(world.delete())

    world.table.before(number, meanwhile)
    with suppress(InstanceNotFound):
        pause(world)
        assert not any(ended) or world.runner.get("id::1").generation == 1
    world.settle()
    assert world.left() == [] or world.runner.get("id::1").paused == ""


def test_a_deletion_goes_on_where_it_was_cut_off() -> None:
    """However long a log is: what one try has done, the next does not do again."""
    world = World()
    for _ in range(9):
        world.start("c")
        world.local.settle()
    killed = 0
    for _ in range(9):
        world.table.before(2 * calls(World.delete), kill)
        try:
            world.delete()
        except Killed:
            killed += 1
    assert 1 < killed < 9
    world.settle()
    assert world.left() == []


def test_what_cannot_be_read_can_be_deleted_once_it_has_ended() -> None:
    """A value is lost: no step could go on, and its data must be able to go all the same."""
    world = World()
    for item in world.table.query("id::1", low="value#", high="value$"):
        world.table.delete("id::1", str(item["sk"]), ALWAYS)
    with pytest.raises(ValueMissing):
        world.runner.get("id::1")
    assert world.delete()
    assert world.left() == []


def test_what_a_start_left_that_died_goes_with_the_deletion_once_it_is_old() -> None:
    """Values without a head; a start that is at it now has such, too."""
    world = World()
    for hours, left in ((2, []), (0.5, ["value"])):
        world.start("a")
        world.local.settle()
        world.table.before(1, kill)
        with pytest.raises(Killed):
            world.start("b")
        world.local.advance(HOUR_MS / 1000 * hours)
        assert world.delete()
        assert [key.split("#")[0] for key in world.left()] == left


def test_nothing_can_be_added_to_what_was_deleted_for_a_day() -> None:
    """However long ago it had ended."""
    world = World()
    world.local.advance(timedelta(days=9))
    assert world.delete()
    for left in world.table.query("id::1", low="a", high="z"):
        assert left["expires"] == world.local.clock.now() // 1000 + 24 * 3600
