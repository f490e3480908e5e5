"""Deliberate bugs in pauses of workflows, and the rules that they break."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine import fold
from hephaestus.engine.alarms import wake_at
from hephaestus.engine.events import Paused
from hephaestus.runtime import executor, waking
from hephaestus.runtime.workflow_pauses import KnownPauses

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from hephaestus.engine.events import Event
    from hephaestus.engine.state import State
    from hephaestus.store.paused import PausedWorkflow
    from hephaestus.store.store import Store

    Patch = pytest.MonkeyPatch

right_of = KnownPauses.of


def starts_run_in_a_pause(patch: Patch) -> None:
    """What starts in the pause is claimed, and its steps run."""
    patch.setattr(executor, "pause_of", lambda *_: None)


def known_for_ever(patch: Patch) -> None:
    """A process that has looked once never looks again before it runs something."""

    def of(self: KnownPauses, workflow: str, *, fresh: bool = False) -> PausedWorkflow | None:
        known = self._read_at is not None and not fresh
        return self._known.get(workflow) if known else right_of(self, workflow, fresh=fresh)

    patch.setattr(KnownPauses, "of", of)


def an_unpause_wakes_no_one(patch: Patch) -> None:
    """The end of a pause is written down, and nothing that waited is told."""

    def wake_waiting(store: Store, *_: object) -> None:
        for one in store.paused.read().values():
            if one.ended:
                store.paused.went_on(one, None, 0)

    patch.setattr(waking, "wake_waiting", wake_waiting)


def held_without_an_alarm(patch: Patch) -> None:
    """What waits for its workflow is never looked at again, should it be missed as all others are woken."""

    def alarm(before: State, event: Event, at: int, after: State) -> int | None:
        held = isinstance(event, Paused) and event.look_at and after.owner is None
        return None if held else wake_at(before, event, at, after)

    patch.setattr(fold, "wake_at", alarm)


BUGS: Final[dict[Callable[[Any], None], set[str]]] = {
    starts_run_in_a_pause: {"J.1"},
    known_for_ever: {"J.1"},
    an_unpause_wakes_no_one: {"J.1"},
    held_without_an_alarm: {"invariant 3", "alarm"},
}
