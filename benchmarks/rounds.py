"""What a round of a loop costs, however many there were before.

    python benchmarks/rounds.py [--rounds N]

10,000 rounds with a pause each, and as many with an event each, through the queue, on a table in memory that counts as
DynamoDB does: the write units of the last hundred rounds beside those of the first hundred, and the bytes of the
snapshot. The events have no ids: of those with one, the newest 256 are remembered, in rounds or not.
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from hephaestus import DONE, Again, Pending, Rounds, StepContext, Workflow, step
from hephaestus.adapters.memory import MemoryQueue, MemoryTimers
from hephaestus.costs.counting import CountingTable
from hephaestus.runtime.dispatch import Budget
from hephaestus.runtime.registry import Registry
from hephaestus.runtime.runner import Runner
from hephaestus.store.store import Store
from hephaestus.testing import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Sequence

SOME: Final = 100
LIMIT: Final = 1.05
A_PAUSE_MS: Final = 2_000  # between two events: a thousand in a row that come quicker are slowed


def turns(rounds: int, *, talks: bool) -> type[Workflow]:
    """A workflow of so many rounds, each ended by a pause, or by an event."""

    @step(rounds=Rounds(rounds + 1, again_on=("said",)), events=("done",))
    def turn(ctx: StepContext) -> Again | Pending | str:
        if ctx.round > rounds:
            return "done"
        return Pending() if talks else Again({"number": ctx.round}, after=timedelta(minutes=5))

    class Turns(Workflow, key="turns"):
        start_at = turn
        transitions = {turn: {"done": DONE}}

    return Turns


def measured(rounds: int, *, talks: bool) -> list[tuple[int, int]]:
    """Of each round the write units and the bytes of the snapshot after it."""
    clock, table = VirtualClock(), CountingTable()
    queue, flow = MemoryQueue(clock), turns(rounds, talks=talks)
    runner = Runner(Store(table), MemoryTimers(), queue, Registry([flow]), clock=clock)
    instance_id = runner.start_instance(flow, {}, id="1")
    found: list[tuple[int, int]] = []
    before, number = table.tally.write_units, 1
    while (due := queue.next_due()) is not None:
        clock.move_to(max(due, clock.now()))
        for work in queue.pop_due(clock.now()):
            runner.wake(work.instance_id, budget=Budget(clock.now() + 60_000), alarms=work.alarms)
        shown = runner.get(instance_id)
        if not shown.closed and (round_ := shown.steps["turn"].round or 0) != number:
            number = round_
            head = table.get(instance_id, "head") or {}
            found.append((table.tally.write_units - before, len(bytes(head["snapshot"]))))  # type: ignore[arg-type]  # as it is stored
            before = table.tally.write_units
        if talks and shown.steps["turn"].status == "waiting":
            clock.move_to(clock.now() + A_PAUSE_MS)
            runner.resume(instance_id, "said", {"number": number})
    return found


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and say whether a limit was broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10_000)
    rounds = parser.parse_args(arguments).rounds
    good = True
    for what, talks in (("a pause", False), ("an event", True)):
        began = time.process_time()
        found = measured(rounds, talks=talks)
        took = (time.process_time() - began) / max(len(found), 1) * 1000
        print(f"{rounds:,} rounds with {what} each, {took:.2f} ms of processor time a round")
        for place, counted in enumerate(("write units", "snapshot bytes")):
            first, last = (sum(one[place] for one in some) / SOME for some in (found[:SOME], found[-SOME:]))
            good = good and last <= first * LIMIT
            figures = f"{counted} a round: the first hundred {first:.1f}, the last {last:.1f}"
            print(f"  {figures}, {last / first:.3f} times (at most {LIMIT})")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
