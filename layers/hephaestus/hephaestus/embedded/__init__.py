"""A whole runtime in one process, in real time: a runner, and threads that serve its queue, schedules and sweeps.

What is queued and scheduled ends with the process. Nothing depends on it: it follows from what is stored, so that a
sweep, or ``Embedded.recover``, brings it back.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from hephaestus.embedded.threads import EmbeddedQueue
from hephaestus.errors import HephaestusError, no_signer
from hephaestus.runtime.clock import SystemClock
from hephaestus.runtime.dispatch import Budget
from hephaestus.runtime.limits import LONGEST_MS
from hephaestus.runtime.names import DECLARATIONS
from hephaestus.runtime.runner import Runner
from hephaestus.runtime.sweeper import PAGE, Sweeper
from hephaestus.runtime.waking import LONGEST_PARK_MS
from hephaestus.store.overdue import Wakeup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from hephaestus.callbacks.signer import Signer
    from hephaestus.embedded.threads import Work
    from hephaestus.engine.state import State
    from hephaestus.runtime.registry import Registry
    from hephaestus.store.store import Store

SWEEP: Final = 60.0  # seconds between two sweeps
FAR: Final = 2**53  # ms: after every alarm

_logger = logging.getLogger("hephaestus.embedded")


class Embedded:
    """A runner whose queue, schedules and sweeps are served by threads of this process, until it is closed.

    Args:
        store: where instances are kept.
        registry: the workflows.
        signer: gives what signs links; by default there are no links.
    """

    def __init__(self, store: Store, registry: Registry, signer: Callable[[], Signer] = no_signer) -> None:
        self.store = store
        self.clock = SystemClock()
        self.queue = EmbeddedQueue(self.clock)
        self.runner = Runner(store, self.queue, self.queue, registry, clock=self.clock, signer=signer)
        self.runner.heed_pauses()
        self._gone: frozenset[str] = frozenset()
        self._ended = threading.Event()
        self._sweeper = Sweeper(store, self.queue, self.clock)
        self._sweeping = threading.Thread(target=self._sweep, name="hephaestus-sweep", daemon=True)

    def start(self) -> Self:
        """Serve queue, schedules and sweeps from now on."""
        self.queue.serve(self._do)
        if any(flow.schedules for flow in self.runner.registry):
            self.queue.wake(DECLARATIONS)
        self._sweeping.start()
        return self

    def recover(self) -> None:
        """Bring back what ended with an earlier process: its schedules and messages, and the instances that it ran.

        Call it before ``start``, and only where no other process can run instances of this store: each owner that the
        store names is then dead, however long its lease lasts.
        """
        now, gone = self.clock.now(), set()
        for wakeup in self._alarms(FAR):
            state = self._load(wakeup) if wakeup.wake_at <= now + 2 * LONGEST_MS else None
            if state is not None and state.owner is not None:
                gone.add(state.owner)
                self.queue.wake_many([wakeup])
            elif wakeup.wake_at <= now:
                self.queue.wake_many([wakeup])
            else:
                self.queue.wake(wakeup.instance_id, wakeup.wake_at - now)
        self._gone = frozenset(gone)

    def unpark(self, by: str) -> None:
        """Have every parked instance go on, as its workflow may be there now; history has it as a redrive."""
        for wakeup in self._alarms(self.clock.now() + LONGEST_PARK_MS):
            state = self._load(wakeup)
            if state is not None and state.parked is not None:
                with suppress(HephaestusError):  # as where its workflow is still not there
                    self.runner.redrive(wakeup.instance_id, by=by)

    def close(self, seconds: float = 5.0) -> int:
        """Take nothing more, and wait up to ``seconds`` for what runs; return how many executions still run."""
        self._ended.set()
        return self.queue.close(seconds)

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self.close()

    def _alarms(self, until: int) -> Iterator[Wakeup]:
        cursor = None
        while True:
            page = self.store.overdue(until, PAGE, cursor)
            yield from page.items
            cursor = page.cursor
            if cursor is None:
                return

    def _load(self, wakeup: Wakeup) -> State | None:
        """The instance, if there is one that can be read; a waker says what is wrong with others."""
        try:
            return self.store.load(wakeup.instance_id)
        except HephaestusError:
            return None

    def _do(self, work: Work) -> None:
        budget = Budget(self.clock.now() + LONGEST_MS)
        if isinstance(work, Wakeup):
            self.runner.wake(work.instance_id, budget=budget, alarms=work.alarms, gone=self._gone)
        else:
            self.runner.timeout(work, budget=budget)

    def _sweep(self) -> None:
        while not self._ended.wait(SWEEP):
            try:
                self._sweeper.sweep(Budget(self.clock.now() + LONGEST_MS))
            except Exception:
                _logger.exception("a sweep failed; the next one finds what it left")
