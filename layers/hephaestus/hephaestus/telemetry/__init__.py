"""What workflows tell while they run: attach a handler by name to hear of it.

>>> from hephaestus import telemetry
>>> telemetry.attach("mine", lambda event, measurements, metadata: None, ["hephaestus.workflow.stop"])
>>> telemetry.detach("mine")

The functions of this project attach the handlers of ``logs`` and ``metrics``, and of ``xray`` where tracing is on;
``otel`` is for users of OpenTelemetry. docs/telemetry.md lists the events, their fields, and when they come.
"""

from __future__ import annotations

from hephaestus.runtime.telemetry import (
    EVENTS,
    EXECUTION_START,
    EXECUTION_STOP,
    FIELDS,
    ISOLATED,
    OURS,
    PARKED,
    Handler,
    attach,
    detach,
)

__all__ = [
    "EVENTS",
    "EXECUTION_START",
    "EXECUTION_STOP",
    "FIELDS",
    "ISOLATED",
    "OURS",
    "PARKED",
    "Handler",
    "attach",
    "detach",
]
