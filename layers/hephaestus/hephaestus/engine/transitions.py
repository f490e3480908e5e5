"""The whole life of an instance and of a step, as two tables; the documentation's diagrams are drawn from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hephaestus.engine.events import (
    CancelRequested,
    ChoiceStarted,
    Claimed,
    CompensationFailed,
    CompensationStarted,
    Continued,
    EventReceived,
    Forked,
    HandedOver,
    HeartbeatReceived,
    InstanceFinished,
    Parked,
    Paused,
    Redriven,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepsSkipped,
    StepsStarted,
    StepWaiting,
    Suspended,
    TimerSet,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.engine.events import Event
    from hephaestus.engine.state import StepStatus

# (status, event) → status; "=" stays, of "one|other" it is the one that the event names.
INSTANCE_TRANSITIONS: Final[Mapping[str, Mapping[type[Event], str]]] = {
    "pending": {
        Forked: "=",
        Claimed: "running",
        EventReceived: "=",
        TimerSet: "=",
        CancelRequested: "=",
        Paused: "=",
        Continued: "=",
        Parked: "=",
        Redriven: "=",
        InstanceFinished: "completed|failed|cancelled",
    },
    "running": {
        Claimed: "running",
        StepsStarted: "=",
        ChoiceStarted: "=",
        EventReceived: "=",
        TimerSet: "=",
        HeartbeatReceived: "=",
        CancelRequested: "=",
        Paused: "=",
        Continued: "=",
        StepCompleted: "=",
        StepWaiting: "=",
        StepFailed: "=",
        StepsSkipped: "=",
        Parked: "=",
        Redriven: "=",
        HandedOver: "=",
        Suspended: "waiting",
        CompensationStarted: "compensating",
        InstanceFinished: "completed|failed|cancelled",
    },
    "waiting": {
        Claimed: "running",
        EventReceived: "=",
        TimerSet: "=",
        HeartbeatReceived: "=",
        CancelRequested: "=",
        Paused: "=",
        Continued: "=",
        Parked: "=",
        Redriven: "=",
        InstanceFinished: "completed|failed|cancelled",
    },
    "compensating": {
        Claimed: "=",
        StepsStarted: "=",
        CancelRequested: "=",
        Paused: "=",
        Continued: "=",
        StepCompensated: "=",
        CompensationFailed: "=",
        Parked: "=",
        Redriven: "=",
        HandedOver: "=",
        Suspended: "=",
        InstanceFinished: "failed|cancelled",
    },
    "failed": {Redriven: "pending|compensating"},
    "cancelled": {Redriven: "pending|compensating"},
}

# (status, event) → status; of "one or other" it is the first when the event names the time of another attempt.
STEP_TRANSITIONS: Final[Mapping[StepStatus, Mapping[type[Event], str]]] = {
    "pending": {
        StepCompleted: "completed",
        StepWaiting: "waiting",
        StepFailed: "retrying or failed",
        StepsSkipped: "skipped",
    },
    "retrying": {StepCompleted: "completed", StepWaiting: "waiting", StepFailed: "retrying or failed"},
    "waiting": {StepCompleted: "completed", StepFailed: "retrying or failed"},
    "completed": {StepCompensated: "compensated", CompensationFailed: "completed or compensation_failed"},
}
