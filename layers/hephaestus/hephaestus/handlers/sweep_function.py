"""Wake what is overdue, once a minute; whatever the event says, a sweep is a sweep."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hephaestus.aws import sweeper_from_environment
from hephaestus.handlers.observability import begin, count_sweep, observed
from hephaestus.handlers.triggers import budget

if TYPE_CHECKING:
    from hephaestus.handlers.triggers import Invocation

_logger = logging.getLogger("hephaestus.handlers.sweep")
begin()
sweeper = sweeper_from_environment()


@observed
def handler(event: dict[str, Any], context: Invocation) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
    """Sweep, and tell how much was overdue and for how long."""
    report = sweeper.sweep(budget(context, sweeper.clock))
    count_sweep(report)
    if report.found:
        _logger.info("overdue instances were sent to the queue", extra=asdict(report))
    return asdict(report)
