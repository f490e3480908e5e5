"""What can happen to an instance: the vocabulary of the log.

A log entry holds the events of one commit. Events carry decisions already made (the branches a ``Choice`` took, the
time of a retry), so folding them needs neither the graph nor a clock. Times are milliseconds since the epoch.
"""

from hephaestus.engine.events.event import EVENTS, LONGEST_MESSAGE_MS, Entry, Event
from hephaestus.engine.events.life import (
    Claimed,
    Forked,
    HandedOver,
    InstanceFinished,
    InstanceStarted,
    OutputFailed,
    OutputStarted,
    Parked,
    Redriven,
    Suspended,
    TimedOut,
)
from hephaestus.engine.events.requested import (
    CancelRequested,
    EventReceived,
    HeartbeatReceived,
    Paused,
    TimerSet,
    Unpaused,
    heartbeat_grain,
)
from hephaestus.engine.events.steps import (
    ChoiceStarted,
    CompensationFailed,
    CompensationStarted,
    EventsDropped,
    OnFailureCompleted,
    OnFailureFailed,
    RoundEnded,
    StepCompensated,
    StepCompleted,
    StepFailed,
    StepsIsolated,
    StepsSkipped,
    StepsStarted,
    StepWaiting,
)
from hephaestus.engine.records import NOTHING, Failure, Replacement

__all__ = (
    "EVENTS",
    "LONGEST_MESSAGE_MS",
    "NOTHING",
    "CancelRequested",
    "ChoiceStarted",
    "Claimed",
    "CompensationFailed",
    "CompensationStarted",
    "Entry",
    "Event",
    "EventReceived",
    "EventsDropped",
    "Failure",
    "Forked",
    "HandedOver",
    "HeartbeatReceived",
    "InstanceFinished",
    "InstanceStarted",
    "OnFailureCompleted",
    "OnFailureFailed",
    "OutputFailed",
    "OutputStarted",
    "Parked",
    "Paused",
    "Redriven",
    "Replacement",
    "RoundEnded",
    "StepCompensated",
    "StepCompleted",
    "StepFailed",
    "StepWaiting",
    "StepsIsolated",
    "StepsSkipped",
    "StepsStarted",
    "Suspended",
    "TimedOut",
    "TimerSet",
    "Unpaused",
    "heartbeat_grain",
)
