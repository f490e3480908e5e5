"""A subsegment for every attempt of a step, in the X-Ray trace of the invocation that ran it, by Powertools' Tracer.

Its annotations find all traces of an instance: ``annotation.instance_id = "orderid::abc123"``. Importing this costs a
third of a second at a cold start, so it is imported only where tracing is on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hephaestus.runtime.telemetry import EXECUTION_START

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_lambda_powertools.tracing import Tracer

HEARD: Final = (
    EXECUTION_START,
    "hephaestus.step.stop",
    "hephaestus.step.exception",
    "hephaestus.step.async",
)
ANNOTATIONS: Final = (
    *("instance_id", "workflow", "version", "generation", "step", "attempt", "compensation", "event", "kind"),
)


class XRayHandler:
    """Draws what has ended into the trace that is open.

    Args:
        tracer: Powertools' tracer, within whose ``capture_lambda_handler`` events come.
    """

    def __init__(self, tracer: Tracer) -> None:
        self.tracer = tracer

    def __call__(self, event: str, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        """Draw one event."""
        if event == EXECUTION_START:
            self._annotate(self.tracer, metadata)
            return
        recorder: Any = self.tracer.provider
        subsegment = recorder.begin_subsegment(f"step {metadata['step']}")
        if subsegment is None:
            return  # no trace is open: Lambda does not sample this invocation, or it is not Lambda
        ended_at = measurements["system_time"] / 1000
        subsegment.start_time = ended_at - measurements.get("duration", 0) / 1000
        self._annotate(subsegment, metadata)
        if event == "hephaestus.step.exception":
            subsegment.add_fault_flag()
        recorder.end_subsegment(ended_at)

    @staticmethod
    def _annotate(place: Any, metadata: Mapping[str, object]) -> None:
        for name in ANNOTATIONS:
            if name in metadata:
                place.put_annotation(name, metadata[name])
