"""What callers do to the items of a map comes to the same wherever these run: in one instance, or in a tree of them."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from hephaestus import DONE, Pending, Retry, StepContext, Workflow, step
from hephaestus.errors import CallerError
from hephaestus.runtime import executor, spreading
from hephaestus.steps import Map, WaitForEvent
from hephaestus.testing import LocalRuntime

if TYPE_CHECKING:
    from collections.abc import Callable

ITEMS = 11
EVENTS = ("yes", "no", "maybe")


class World:
    """One runtime with one instance of a map, whose items wait, or fail once and wait."""

    def __init__(self, chunk: int, *, keyed: bool, tolerate: int) -> None:
        self.links: dict[str, str] = {}
        self.undone: list[str] = []

        @step(
            key="ask",
            events=("yes", "no", "timeout"),
            retry=Retry(max_attempts=2, delay=60),
            compensate=lambda ctx: self.undone.append(ctx.item_key),
        )
        def ask(ctx: StepContext) -> Pending:
            self.links[ctx.item_key] = ctx.callback_token("yes", expires_in=timedelta(days=300))
            if ctx.index % 4 == 3 and ctx.attempt < 1 + ctx.index % 3:
                message = f"item {ctx.index}"
                raise ValueError(message)
            return Pending(timeout=timedelta(hours=3 + ctx.index), heartbeat=timedelta(hours=1 + ctx.index % 3))

        made = Map(
            ask,
            over=lambda _: range(ITEMS),
            key=(lambda item: f"k{item}") if keyed else None,
            chunk=chunk,
            tolerate=tolerate,
            name="work",
        )
        gate = WaitForEvent("open", name="gate")
        routes = {made: {"done": gate, "error": gate}, gate: {"open": DONE}}
        flow = type("Flow", (Workflow,), {"start_at": made, "transitions": routes}, key="flow")
        self.local = LocalRuntime(flow)
        self.id = self.local.start(flow, "1", {}).id
        self.names = [f"k{place}" if keyed else str(place) for place in range(ITEMS)]

    def cancel(self, *, undo: bool) -> None:
        """Cancel the instance, once: what was undone begins anew, and its items are others."""
        self.local.runner.cancel(self.id, compensate=undo)
        self.local.settle()
        if undo:
            self.undone.append("")

    def do(self, what: Callable[[World], Any]) -> str:
        """What comes of an act: nothing, or an error's name."""
        try:
            what(self)
        except CallerError as error:
            return f"{type(error).__name__}{' names a part' if 'hephaestus-map' in str(error) else ''}"
        finally:
            self.local.settle()
        return ""

    def seen(self) -> Any:
        """All that callers see of the map, but for the numbers of entries and times."""
        shown, items = self.local.runner.get(self.id), self.local.runner.items(self.id, "work", limit=200).items
        of_map = shown.steps["work"]
        told = [(one.key, one.index, one.status, one.item, one.event, dict(one.results), one.error) for one in items]
        return shown.status, of_map.status, of_map.progress, dict(of_map.results), told, sorted(self.undone)


def act(dice: random.Random, place: int) -> Callable[[World], Any]:
    """Something that a caller does, or time."""
    event, number = dice.choice(EVENTS), dice.randrange(6)
    seconds, ahead = dice.choice((60, 1_800, 4_000)), dice.choice((1_000, 3_600_000))
    named = dice.random() < 0.5

    def item(world: World) -> str:
        return world.names[place] if place < ITEMS else "none"

    def deliver(world: World, event_id: str | None = None) -> None:
        step_ref = "work" if named else None
        world.local.runner.resume(world.id, event, {"by": number}, item=item(world), step=step_ref, event_id=event_id)

    kinds: list[Callable[[World], Any]] = [
        lambda world: deliver(world, f"e{place}{number}"),
        deliver,
        lambda world: world.local.runner.heartbeat(world.id, "work" if named else None, item=item(world)),
        lambda world: world.local.runner.schedule_resume(
            world.id, "work", ahead, item=item(world), request_id=f"t{place}" if named else None
        ),
        lambda world: world.local.follow(world.links[item(world)]) if item(world) in world.links else None,
        lambda world: world.local.advance(seconds),
        lambda world: world.local.runner.pause(world.id),
        lambda world: world.local.runner.unpause(world.id),
        lambda world: world.cancel(undo=named),
        lambda world: None if world.undone else world.local.runner.redrive(world.id),
        lambda world: world.local.runner.resume(world.id, "open"),
    ]
    return dice.choices(kinds, weights=(6, 4, 3, 2, 3, 4, 1, 2, 0.3, 1, 0.3))[0]


@pytest.mark.parametrize("seed", range(40))
def test_callers_see_one_map_whatever_runs_its_items(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rules C.1, C.10 and C.11: each act is answered alike, and the items, progress and summary are the same."""
    monkeypatch.setattr(spreading, "FAN", 3)
    monkeypatch.setattr(executor, "LOOK_MS", 0)  # time is the same for both: no owner waits a moment for mail
    dice = random.Random(seed)
    how: dict[str, Any] = {"keyed": dice.random() < 0.5, "tolerate": dice.choice((0, 1, ITEMS))}
    one, tree = World(100, **how), World(2, **how)
    assert one.names == tree.names
    for _ in range(40):
        what = act(dice, dice.randrange(ITEMS + 1))
        assert tree.do(what) == one.do(what)
        assert tree.seen() == one.seen()
    for world in (one, tree):
        world.do(lambda world: world.local.runner.unpause(world.id))
        world.local.advance(timedelta(days=1))
    assert tree.seen() == one.seen()
    shown = one.local.runner.get(one.id)
    assert shown.closed or shown.steps["work"].status != "mapping"
