"""What happens, counted and timed: CloudWatch metrics in the embedded format, by Powertools.

Each metric has the dimension ``service``, and once more ``service`` and ``workflow``, or ``limit``; those of steps have
``step`` as well where it is asked for. Names of instances are never a dimension: CloudWatch bills every combination. A
function writes one line for each workflow that it dealt with, when its invocation ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.metrics.provider.cloudwatch_emf.cloudwatch import AmazonCloudWatchEMFProvider

from hephaestus.runtime.telemetry import ISOLATED, LIMIT_SWEPT, PARKED, RATE_CALLED, START_USED

if TYPE_CHECKING:
    from collections.abc import Mapping

HEARD: Final = (
    "hephaestus.workflow.start",
    "hephaestus.workflow.stop",
    "hephaestus.workflow.exception",
    "hephaestus.step.start",
    "hephaestus.step.stop",
    "hephaestus.step.exception",
    "hephaestus.step.async",
    "hephaestus.step.resume",
    ISOLATED,
    PARKED,
    LIMIT_SWEPT,
    RATE_CALLED,
    START_USED,
)
COUNTED: Final = {"hephaestus.step.async": "StepsWaiting", ISOLATED: "StepsIsolated"}
OF_LIMITS: Final = {
    "OldestInLine": "oldest_in_line",
    "LongestHeld": "longest_held",
    "ReservedAhead": "reserved_ahead",
}
STARTS: Final = {"hephaestus.workflow.start": "InstancesStarted", "hephaestus.start.used": "StartsUsed"}
ENDS: Final = {"completed": "InstancesCompleted", "failed": "InstancesFailed", "cancelled": "InstancesCancelled"}


class MetricsHandler:
    """Counts events until ``flush``.

    Args:
        namespace, service: of the metrics.
        by_step: whether the metrics of steps have a dimension ``step``, too.
    """

    def __init__(self, namespace: str, service: str, *, by_step: bool = False) -> None:
        self.namespace = namespace
        self.service = service
        self.by_step = by_step
        self._open: dict[tuple[str, ...], AmazonCloudWatchEMFProvider] = {}

    def __call__(self, event: str, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        """Count one event."""
        match event:
            case "hephaestus.workflow.start" | "hephaestus.start.used":
                self._count(STARTS[event], metadata)
            case "hephaestus.workflow.stop" | "hephaestus.workflow.exception":
                self._ended(measurements, metadata)
            case "hephaestus.step.start":
                attempt = metadata["attempt"]
                if isinstance(attempt, int) and attempt > 1:
                    self._count("StepRetries", metadata, step=True)
            case "hephaestus.step.exception":
                self._count("StepExceptions", metadata, step=True)
                self._time("StepDuration", measurements.get("duration"), metadata, step=True)
            case "hephaestus.step.stop":
                self._time("StepDuration", measurements.get("duration"), metadata, step=True)
                self._ended_a_round(metadata)
            case "hephaestus.step.async" | "hephaestus.step.isolated":
                self._count(COUNTED[event], metadata, step=True)
            case "hephaestus.step.resume":
                self._time("StepWait", measurements["wait_duration"], metadata, step=True)
            case "hephaestus.limit.swept" | "hephaestus.rate.called":
                self._looked_at_a_limit(measurements, metadata)
            case _:
                self._count("InstancesParked", metadata)

    def flush(self) -> None:
        """Write what was counted."""
        providers, self._open = list(self._open.values()), {}
        for provider in providers:
            if provider.metric_set:
                provider.flush_metrics()

    def _ended_a_round(self, metadata: Mapping[str, object]) -> None:
        """Count what was slowed; of a schedule, for its workflow, what was left out, and time how late it was."""
        if metadata.get("slowed"):
            self._count("RoundsSlowed", metadata, step=True)
        if "schedule_of" not in metadata:
            return
        own = {"workflow": metadata["schedule_of"]}
        left_out, late = metadata.get("left_out"), metadata.get("late_ms")
        if isinstance(left_out, int) and left_out:
            self._of(own, step=False).add_metric("OccurrencesSkipped", MetricUnit.Count, left_out)
        if isinstance(late, int):
            self._time("OccurrenceDelay", late, own)

    def _looked_at_a_limit(self, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        """Say how long the oldest in a line has waited, and how long a permit is held, all values of its ``per``.

        Of a rate, how far ahead it is reserved.
        """
        key = ("limit", str(metadata["limit"]))
        found = self._open.get(key)
        if found is None:
            found = self._open[key] = AmazonCloudWatchEMFProvider(namespace=self.namespace, service=self.service)
            found.add_dimension("service", self.service)
            found.add_dimensions(service=self.service, limit=key[1])
        for name, measured in OF_LIMITS.items():
            if measured in measurements:
                found.add_metric(name, MetricUnit.Seconds, measurements[measured] / 1000)

    def _ended(self, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        """Count an end; a child that is undone was counted when it completed."""
        if (ended := ENDS.get(str(metadata["status"]))) is not None:
            self._count(ended, metadata)
            self._time("InstanceDuration", measurements.get("duration"), metadata)

    def _count(self, name: str, metadata: Mapping[str, object], *, step: bool = False) -> None:
        self._of(metadata, step=step).add_metric(name, MetricUnit.Count, 1)

    def _time(
        self, name: str, milliseconds: float | None, metadata: Mapping[str, object], *, step: bool = False
    ) -> None:
        if milliseconds is not None:
            self._of(metadata, step=step).add_metric(name, MetricUnit.Milliseconds, milliseconds)

    def _of(self, metadata: Mapping[str, object], *, step: bool) -> AmazonCloudWatchEMFProvider:
        """Where the metrics of a workflow, or of its step, are kept; of a parked instance no workflow is known."""
        workflow = str(metadata.get("workflow", ""))
        key = ("workflow", workflow, str(metadata["step"]) if step and self.by_step else "")
        found = self._open.get(key)
        if found is None:
            found = self._open[key] = AmazonCloudWatchEMFProvider(namespace=self.namespace, service=self.service)
            found.add_dimension("service", self.service)
            if workflow:
                found.add_dimensions(service=self.service, workflow=workflow)
            if key[2]:
                found.add_dimensions(service=self.service, workflow=workflow, step=key[2])
        return found
