"""Logs, metrics and traces of the Lambda functions, by Powertools.

``observed`` goes around every handler; ``count`` turns the engine's telemetry into metrics. Names of instances,
workflows and steps are logged, what they carry never is.

Metrics (namespace ``POWERTOOLS_METRICS_NAMESPACE``, by default ``Hephaestus``; dimension ``service``):
``InstancesStarted``, ``InstancesCompleted``, ``InstancesFailed``, ``InstancesCancelled``, ``StepRetries``,
``StepExceptions``, ``InstancesParked`` (each time one is put off that cannot be read, or not be run), ``SweepBacklog``
(overdue instances found), ``SweepSent``, ``SweepSkipped`` (found, but the queue was full or did not take them),
``SweepIncomplete`` (1 where the sweep did not get through) and ``SweepOldestOverdueSeconds``.
"""

from __future__ import annotations

import logging
import os
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

from hephaestus.adapters.deadline import ending_in
from hephaestus.runtime import telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.runtime.sweeper import SweepReport

NAMESPACE: Final = "Hephaestus"
SERVICE: Final = "hephaestus"

logger = Logger(service=os.environ.get("POWERTOOLS_SERVICE_NAME") or SERVICE)
metrics = Metrics(
    namespace=os.environ.get("POWERTOOLS_METRICS_NAMESPACE") or NAMESPACE,
    service=os.environ.get("POWERTOOLS_SERVICE_NAME") or SERVICE,
)

_ENDS: Final = {"completed": "InstancesCompleted", "failed": "InstancesFailed", "cancelled": "InstancesCancelled"}


def count(event: str, _measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
    """Count what the engine tells of; attached to its telemetry as ``powertools``."""
    name = None
    match event:
        case "hephaestus.workflow.start":
            name = "InstancesStarted"
        case "hephaestus.workflow.stop" | "hephaestus.workflow.exception":
            name = _ENDS.get(str(metadata.get("status")))
        case "hephaestus.step.exception":
            name = "StepExceptions"
        case "hephaestus.step.start":
            attempt = metadata.get("attempt", 1)
            name = "StepRetries" if isinstance(attempt, int) and attempt > 1 else None
        case telemetry.PARKED:
            name = "InstancesParked"
        case _:
            pass
    if name:
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=1)


def count_sweep(report: SweepReport) -> None:
    """Turn what a sweep did into metrics."""
    for name, value in (
        ("SweepBacklog", report.found),
        ("SweepSent", report.sent),
        ("SweepSkipped", report.skipped),
        ("SweepIncomplete", int(not report.complete)),
    ):
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
    metrics.add_metric(name="SweepOldestOverdueSeconds", unit=MetricUnit.Seconds, value=report.oldest_ms / 1000)


def observed(handler: Callable[[dict[str, Any], Any], Any]) -> Callable[[dict[str, Any], Any], Any]:
    """``handler`` with Lambda's context in its logs, its calls kept within the invocation, and its metrics written."""
    telemetry.attach(
        "powertools",
        count,
        (
            "hephaestus.workflow.start",
            "hephaestus.workflow.stop",
            "hephaestus.workflow.exception",
            "hephaestus.step.start",
            "hephaestus.step.exception",
            telemetry.PARKED,
        ),
    )
    _adopt(logging.getLogger("hephaestus"))
    traced = _traced(handler)

    @wraps(handler)
    @logger.inject_lambda_context(clear_state=True)
    def wrapper(event: dict[str, Any], context: Any) -> Any:
        try:
            with ending_in(context.get_remaining_time_in_millis()):
                return traced(event, context)
        finally:
            if metrics.metric_set:
                metrics.flush_metrics()

    return wrapper


def _adopt(library: logging.Logger) -> None:
    """Have the library's own loggers write as Powertools' logger does; under the service's default name they do."""
    if library.name != logger.name:
        library.handlers = list(logger.handlers)
        library.setLevel(logger.log_level)
        library.propagate = False


def _traced(handler: Callable[[dict[str, Any], Any], Any]) -> Callable[[dict[str, Any], Any], Any]:
    """``handler`` in an X-Ray segment, where tracing is on; importing the X-Ray SDK costs a third of a second."""
    if os.environ.get("HEPHAESTUS_TRACING", "").strip().lower() not in ("1", "true", "on", "yes"):
        return handler
    from aws_lambda_powertools.tracing import Tracer  # noqa: PLC0415 - see above

    tracer = Tracer(service=SERVICE)
    # An answer holds what workflows carry, which is no trace's business.
    traced: Callable[[dict[str, Any], Any], Any] = tracer.capture_lambda_handler(handler, capture_response=False)
    return traced
