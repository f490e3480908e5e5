"""Logs, metrics and traces of the Lambda functions, by Powertools.

``begin`` attaches the handlers of ``hephaestus.telemetry`` to what the engine tells: ``logs`` and ``metrics``, and
``observed``, which goes around every handler, ``xray`` where tracing is on. A function begins when it is imported;
importing this alone changes nothing in the process. Names of instances, workflows and steps are logged, what they carry
never is.

From the environment: ``POWERTOOLS_SERVICE_NAME`` and ``POWERTOOLS_METRICS_NAMESPACE`` (by default ``hephaestus`` and
``Hephaestus``), ``HEPHAESTUS_TRACING`` (``on``), ``HEPHAESTUS_METRICS_BY_STEP`` (``on``: metrics of steps have a
dimension ``step``) and ``HEPHAESTUS_LOG_METADATA`` (names, separated by commas: these members of a caller's metadata
are logged). docs/telemetry.md lists the metrics; those of a sweep are made here.
"""

from __future__ import annotations

import logging
import os
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

from hephaestus.adapters.deadline import ending_in
from hephaestus.runtime import telemetry
from hephaestus.runtime.names import said_id
from hephaestus.telemetry import logs as _logs
from hephaestus.telemetry import metrics as _metrics
from hephaestus.telemetry.correlation import correlation_id, message_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hephaestus.runtime.sweeper import SweepReport

NAMESPACE: Final = os.environ.get("POWERTOOLS_METRICS_NAMESPACE") or "Hephaestus"
SERVICE: Final = os.environ.get("POWERTOOLS_SERVICE_NAME") or "hephaestus"


EventOutcome: TypeAlias = Literal["taken", "unmatched", "rejected"]
EVENTS: Final[Mapping[EventOutcome, str]] = {
    "taken": "EventsTaken",
    "unmatched": "EventsUnmatched",
    "rejected": "EventsRejected",
}


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() in {"1", "true", "on", "yes"}


def _names(name: str) -> list[str]:
    return [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]


metrics = Metrics(namespace=NAMESPACE, service=SERVICE)
counted = _metrics.MetricsHandler(NAMESPACE, SERVICE, by_step=_is_on("HEPHAESTUS_METRICS_BY_STEP"))


@cache
def begin() -> Logger:
    """Have this process log and count what the engine tells, as a Lambda function does.

    Returns:
        The logger, which is also set up for the library's own loggers; always the same.
    """
    logger = Logger(service=SERVICE)
    _adopt(logging.getLogger("hephaestus"), logger)
    telemetry.attach("metrics", counted, _metrics.HEARD)
    telemetry.attach("logs", _logs.LogHandler(logger, metadata=_names("HEPHAESTUS_LOG_METADATA")), _logs.HEARD)
    return logger


def count_sweep(report: SweepReport) -> None:
    """Turn what a sweep did into metrics."""
    for name, value in (
        ("Sweeps", 1),
        ("SweepBacklog", report.found),
        ("SweepSent", report.sent),
        ("SweepSkipped", report.skipped),
        ("SweepIncomplete", int(not report.complete)),
    ):
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=value)
    metrics.add_metric(name="SweepOldestOverdueSeconds", unit=MetricUnit.Seconds, value=report.oldest_ms / 1000)


def count_event(outcome: EventOutcome) -> None:
    """Turn what became of a message of the ingest queue into a metric."""
    metrics.add_metric(name=EVENTS[outcome], unit=MetricUnit.Count, value=1)


def observed(handler: Callable[[dict[str, Any], Any], Any]) -> Callable[[dict[str, Any], Any], Any]:
    """``handler`` with its calls kept within the invocation, its logs correlated, and its metrics written."""
    logger = begin()
    traced = _traced(handler)

    @wraps(handler)
    @logger.inject_lambda_context(clear_state=True)
    def wrapper(event: dict[str, Any], context: Any) -> Any:
        logger.set_correlation_id(correlation_id(event) or context.aws_request_id)
        try:
            with ending_in(context.get_remaining_time_in_millis()):
                return traced(event, context)
        finally:
            counted.flush()
            if metrics.metric_set:
                metrics.flush_metrics()

    return wrapper


def note(**keys: object) -> None:
    """Give what this invocation logs from now on these keys; where no function has begun, nothing happens."""
    if begin.cache_info().currsize:
        begin().append_keys(**keys)


def about_message(record: object, instance_id: str | None = None) -> None:
    """From now on, the log is about one message of a queue: its id correlates, and it is for that instance."""
    note(correlation_id=message_id(record), instance_id=instance_id and said_id(instance_id))


def _adopt(library: logging.Logger, logger: Logger) -> None:
    """Have the library's own loggers write as Powertools' logger does; under the service's default name they do."""
    if library.name != logger.name:
        library.handlers = list(logger.handlers)
        library.setLevel(logger.log_level)
        library.propagate = False


def _traced(handler: Callable[[dict[str, Any], Any], Any]) -> Callable[[dict[str, Any], Any], Any]:
    """``handler`` in an X-Ray segment, where tracing is on; importing the X-Ray SDK costs a third of a second."""
    if not _is_on("HEPHAESTUS_TRACING"):
        return handler
    from aws_lambda_powertools.tracing import Tracer  # noqa: PLC0415 - see above

    from hephaestus.telemetry import xray  # noqa: PLC0415 - see above

    tracer = Tracer(service=SERVICE)
    telemetry.attach("xray", xray.XRayHandler(tracer), xray.HEARD)
    # An answer holds what workflows carry, which is no trace's business.
    traced: Callable[[dict[str, Any], Any], Any] = tracer.capture_lambda_handler(handler, capture_response=False)
    return traced
