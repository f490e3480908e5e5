"""What must hold of paused workflows: nothing of them begins, and all that waited goes on (J.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus.runtime.workflow_pauses import SEEN_MS
from hephaestus.simulation.violation import require
from hephaestus.simulation.world import MAX_SKEW_MS, SWEEP_MS
from hephaestus.store.paused import PAUSED

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.simulation.checks import Generation
    from hephaestus.simulation.ledger import Ledger
    from hephaestus.simulation.world import Invocation

RULE: Final = "J.1"
SEEN_AT_THE_LATEST_MS: Final = SEEN_MS + 2 * MAX_SKEW_MS
SWEEPS: Final = 4  # after the end of a pause, within which all that waited has been woken


class Standstills:
    """The pauses of workflows in a run.

    Attributes:
        since: the workflows that are paused, and since when (ms).
        ended: those that were unpaused where nothing goes wrong any more, and when (ms).
        alarms: when the sweep looks at them (ms).
        began: called with the name of each workflow that is paused.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.since: dict[str, int] = {}
        self.ended: dict[str, int] = {}
        self.alarms: list[int] = []
        self.began: Callable[[str], object] = len

    def look(self) -> None:
        """One of them has been changed."""
        world, store = self.ledger.world, self.ledger.store
        now = {name for name, one in store.paused.read().items() if not one.ended}
        for name in now.difference(self.since):
            self.since[name] = world.now
            self.ended.pop(name, None)
            self.began(name)
        for name in set(self.since).difference(now):
            del self.since[name]
            if not world.weather.stormy:
                self.ended[name] = world.now
        items = store.table.query(PAUSED, low=" ", high="~")
        self.alarms = [int(str(item["wake_at"])) for item in items if "wake_at" in item]

    def begins(self, known: Generation, invocation: Invocation) -> None:
        """A step's own code is about to run."""
        since = self.since.get(known.state.workflow)
        late = since is not None and invocation.began_at >= since + SEEN_AT_THE_LATEST_MS
        require(not late, RULE, f"a step of {known.state.workflow} runs, which has been paused since {since}")

    def swept(self) -> None:
        """A sweep begins, and no one runs."""
        for known in self.ledger.newest.values():
            state = known.state
            ended = self.ended.get(state.workflow)
            if ended is None or state.paused is None or not state.paused.look_at or state.part is not None:
                continue
            waited = state.updated_at < ended - MAX_SKEW_MS
            late = waited and self.ledger.world.now > ended + SWEEPS * SWEEP_MS
            lost = state.instance_id in self.ledger.unreadable
            require(not late or lost, RULE, f"{state.instance_id} still waits, as {state.workflow} was unpaused")
