"""Wake what is overdue, once a minute; whatever the event says, a sweep is a sweep.

Now and then, and often after a deployment, the resume function is asked to have the code's schedules known: this one
knows no workflows.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from itertools import count
from typing import TYPE_CHECKING, Any

from hephaestus.aws import sweeper_from_environment
from hephaestus.errors import HephaestusError
from hephaestus.handlers.observability import begin, count_sweep, observed
from hephaestus.handlers.triggers import budget
from hephaestus.runtime.names import DECLARATIONS

if TYPE_CHECKING:
    from hephaestus.handlers.triggers import Invocation

_logger = logging.getLogger("hephaestus.handlers.sweep")
begin()
sweeper = sweeper_from_environment()
sweeps = count(1)
HOUR = 60  # sweeps


@observed
def handler(event: dict[str, Any], context: Invocation) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Sweep, and tell how much was overdue and for how long."""
    report = sweeper.sweep(budget(context, sweeper.clock))
    count_sweep(report)
    number = next(sweeps)
    if number & (number - 1) == 0 or number % HOUR == 0:  # 1, 2, 4, 8, …: the first may meet functions that are older
        try:
            sweeper.queue.wake(DECLARATIONS)
        except HephaestusError:
            _logger.exception("schedules are made known later")
    if report.found:
        _logger.info("overdue instances were sent to the queue", extra=asdict(report))
    return asdict(report)
