"""How many instances there are, by workflow and status, counted in the background while somebody looks.

A count ends at ``MOST_COUNTED``: the page then says "1000+". At most one counting is under way, however many pages ask.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.state import OF_ROOTS
from hephaestus.runtime.queries import MOST_COUNTED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.console.source import Instances

FRESH: Final = 4.0  # seconds that counts are good for; the page asks every five
FRESH_LARGE: Final = 30.0  # the same where one has reached MOST_COUNTED: then counting reads much, and tells little
SHARE: Final = 10  # counting takes at most one part in so many of the time

_logger = logging.getLogger("hephaestus.console")


class Counts:
    """The counts of one connection, taken again when they are asked for and old.

    Args:
        instances: what is counted.
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(self, instances: Instances, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._instances = instances
        self._monotonic = monotonic
        self._turn = threading.Lock()
        self._known: Mapping[str, Mapping[str, int]] = {}
        self._problem: Exception | None = None
        self._next = 0.0
        self._worker: threading.Thread | None = None

    def read(self, patience: float = 0.0) -> dict[str, Any]:
        """What is known now, as JSON; has it counted again where it is old.

        Args:
            patience: how long to wait for that, in seconds, before the old ones are good enough.

        Raises:
            HephaestusError: the last counting failed, and this is why.
        """
        with self._turn:
            worker = self._worker
            if worker is None and self._monotonic() >= self._next:
                worker = self._worker = threading.Thread(target=self._count, name="console-counts", daemon=True)
                worker.start()
        if worker is not None:
            worker.join(patience)
        with self._turn:
            if self._problem is not None:
                raise self._problem
            workflows = [{"name": name, "counts": dict(counts)} for name, counts in sorted(self._known.items())]
        return {"workflows": workflows, "statuses": list(OF_ROOTS), "most": MOST_COUNTED}

    def _count(self) -> None:
        began = self._monotonic()
        problem: Exception | None = None
        known: Mapping[str, Mapping[str, int]] | None = None
        try:
            known = self._instances.counts()
        except Exception as error:
            _logger.info("instances could not be counted", exc_info=True)
            problem = error
        with self._turn:
            now = self._monotonic()
            self._known, self._problem = known if known is not None else self._known, problem
            large = any(n >= MOST_COUNTED for counts in self._known.values() for n in counts.values())
            self._next = now + max(FRESH_LARGE if large else FRESH, (now - began) * SHARE)
            self._worker = None
