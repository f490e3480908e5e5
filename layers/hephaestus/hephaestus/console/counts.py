"""How many instances there are, by workflow and status, without ever reading the whole table.

Each count stops at ``MOST``: the page then says "1000+". Counting runs in the background, at most one at a time, and
only while somebody looks; a count that had reached ``MOST`` is taken again more rarely, as it changes little.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.state import STATUSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.console.connection import Instances

MOST: Final = 1_000
PAGE: Final = 200
FRESH: Final = 5.0  # seconds that a count is good for
FRESH_LARGE: Final = 60.0  # the same for one that had reached MOST
SHARE: Final = 10  # counting takes at most one part in so many of the time

_logger = logging.getLogger("hephaestus.console")


@dataclass(frozen=True, slots=True)
class Count:
    """``n`` instances, or more where ``more``; as of ``at`` seconds of the monotonic clock."""

    n: int
    more: bool
    at: float


class Counts:
    """The counts of one connection, refreshed when they are asked for and old.

    Args:
        connection: whose instances are counted.
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(self, connection: Instances, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._monotonic = monotonic
        self._turn = threading.Lock()
        self._counts: dict[tuple[str, str], Count] = {}
        self._names: list[str] = []
        self._next = 0.0
        self._problem: Exception | None = None
        self._worker: threading.Thread | None = None

    def read(self, patience: float = 0.0) -> dict[str, Any]:
        """What is known now, as JSON; asks for new counts where they are old.

        Args:
            patience: how long to wait, in seconds, where nothing is known yet.

        Raises:
            HephaestusError: the last time nothing could be counted, and this is why.
        """
        with self._turn:
            busy = self._worker is not None and self._worker.is_alive()
            if not busy and self._monotonic() >= self._next:
                self._worker = threading.Thread(target=self._refresh, name="console-counts", daemon=True)
                self._worker.start()
            new = not self._counts
        if new:
            self.wait(patience)
        with self._turn:
            if self._problem is not None:
                raise self._problem
            workflows = [{"name": name, "counts": self._of(name)} for name in self._names]
        return {"workflows": workflows, "statuses": list(STATUSES), "most": MOST}

    def wait(self, seconds: float) -> None:
        """Wait for the counting that is under way, if any."""
        worker = self._worker
        if worker is not None:
            worker.join(seconds)

    def _of(self, name: str) -> dict[str, dict[str, Any]]:
        known = {status: self._counts.get((name, status)) for status in STATUSES}
        return {status: {"n": count.n, "more": count.more} for status, count in known.items() if count}

    def _refresh(self) -> None:
        began = self._monotonic()
        try:
            names = sorted(str(workflow["name"]) for workflow in self._connection.workflows())
            with self._turn:
                self._names = names
            for name in names:
                for status in STATUSES:
                    self._recount(name, status)
            problem = None
        except Exception as error:
            _logger.info("instances could not be counted", exc_info=True)
            problem = error
        with self._turn:
            now = self._monotonic()
            self._problem, self._next = problem, now + max(FRESH, (now - began) * SHARE)

    def _recount(self, name: str, status: str) -> None:
        known = self._counts.get((name, status))
        if known is not None and known.more and self._monotonic() - known.at < FRESH_LARGE:
            return
        n, cursor = 0, None
        while True:
            page = self._connection.list(workflow=name, status=status, limit=PAGE, cursor=cursor)
            n, cursor = n + len(page["items"]), page["cursor"]
            if cursor is None or n >= MOST:
                break
        with self._turn:
            self._counts[name, status] = Count(n, cursor is not None, self._monotonic())
