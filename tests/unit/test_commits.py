"""A commit is put, then performed, then told; a start that is another's is neither."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus.engine.effects import Effect, Head, Notify, Wake
from hephaestus.engine.events import Claimed, Entry, HandedOver
from hephaestus.engine.state import State
from hephaestus.runtime.commits import Commits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BEFORE = State("w::i", 1, "w", 1, "running", 7, owner="o", lease_until=90, start_id="s")
AFTER = replace(BEFORE, sequence=8, owner=None, lease_until=0, wake_at=50)
ENTRY = Entry(8, "c", 50, (HandedOver(),))


@dataclass
class World:
    """A store and a performer that note what is asked of them."""

    stored: State | None
    calls: list[Any] = field(default_factory=list)

    def commit(self, after: State, entry: Entry, writes: Sequence[Any]) -> State | None:
        """Put."""
        self.calls.append(("put", after, entry.commit_id, entry.alarm, writes))
        return self.stored

    def create(self, fresh: State, first: Entry, _finish: object, *, over: bool) -> State | None:
        """Start."""
        assert over, "unless it is a child"
        self.calls.append(("create", fresh, first))
        return self.stored

    def perform(self, effects: Sequence[Effect], state: State) -> State:
        """Perform."""
        self.calls.append(("perform", tuple(effects), state))
        return replace(state, parks=1)

    def tell(self, before: State, entry: Entry, after: State) -> None:
        """Tell."""
        self.calls.append(("tell", before, entry, after))

    @property
    def commits(self) -> Commits:
        """Commits to it."""
        return Commits(self, self)  # type: ignore[arg-type]  # it can do everything


def test_a_commit_is_put_with_its_alarm_then_performed_then_told() -> None:
    stored = replace(AFTER, parks=2)
    world = World(stored)
    done = replace(AFTER, parks=1)
    writes: Any = ("w",)  # passed on as they are
    assert world.commits.commit(BEFORE, ENTRY, AFTER, tell=world.tell, writes=writes) == done
    assert world.calls == [
        ("put", AFTER, "c", 50, ("w",)),
        ("perform", (Wake(), Head()), stored),
        ("tell", BEFORE, ENTRY, done),
    ]


def test_after_a_number_that_another_took_nothing_is_performed_or_told() -> None:
    world = World(None)
    tries: list[int] = []

    def insist(call: Callable[[], State | None]) -> State | None:
        tries.append(1)
        return call() or call()

    assert world.commits.commit(BEFORE, ENTRY, AFTER, tell=world.tell, insist=insist) is None
    assert [call[0] for call in world.calls] == ["put", "put"]
    assert tries == [1]


FRESH = replace(BEFORE, sequence=1, wake_at=50, owner=None)
FIRST = Entry(1, "s", 50, (HandedOver(),))


@pytest.mark.parametrize("owned", [True, False])
def test_a_start_is_performed(owned: bool) -> None:
    fresh = replace(FRESH, owner="o", lease_until=90) if owned else FRESH
    first = replace(FIRST, events=(Claimed("o", 90),)) if owned else FIRST
    world = World(replace(fresh, parks=2))
    assert world.commits.start(fresh, first) == (replace(fresh, parks=1), True)
    started = replace(fresh, parks=2)
    news = Notify(started)
    assert world.calls[1:] == [("perform", (news,) if owned else (Wake(), news), started)]


@pytest.mark.parametrize(
    "found", [replace(FRESH, start_id="another"), replace(FRESH, sequence=2), replace(AFTER, start_id="another")]
)
def test_a_start_that_was_made_before_is_not_performed_again(found: State) -> None:
    """By another call, or by this one, after which the instance went on."""
    world = World(found)
    assert world.commits.start(FRESH, FIRST) == (found, False)
    assert [call[0] for call in world.calls] == ["create"]


def test_a_start_under_the_id_of_an_open_instance_is_none() -> None:
    world = World(None)
    assert world.commits.start(FRESH, FIRST) is None
    assert [call[0] for call in world.calls] == ["create"]
