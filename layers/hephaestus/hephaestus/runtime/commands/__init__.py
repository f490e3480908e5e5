"""The commands: everything that a caller can ask for, each declared once; see ``Command``."""

from __future__ import annotations

from typing import Final

from hephaestus.runtime.commands.answer import Answer
from hephaestus.runtime.commands.cancel import Cancel
from hephaestus.runtime.commands.command import Command
from hephaestus.runtime.commands.delete import Delete
from hephaestus.runtime.commands.deliver import Deliver
from hephaestus.runtime.commands.fork import Fork
from hephaestus.runtime.commands.heartbeat import Heartbeat
from hephaestus.runtime.commands.of_schedules import (
    CreateSchedule,
    DeleteSchedule,
    PauseSchedule,
    TriggerSchedule,
    UnpauseSchedule,
)
from hephaestus.runtime.commands.pause import Pause, Unpause
from hephaestus.runtime.commands.pause_workflow import PauseWorkflow, UnpauseWorkflow
from hephaestus.runtime.commands.recheck import Recheck
from hephaestus.runtime.commands.redrive import Redrive
from hephaestus.runtime.commands.schedule import ScheduleResume
from hephaestus.runtime.commands.set_limit import SetLimit, UnsetLimit
from hephaestus.runtime.commands.start import Start

CATALOGUE: Final[tuple[type[Command], ...]] = (
    Start,
    Deliver,
    Heartbeat,
    Cancel,
    Pause,
    Unpause,
    Redrive,
    Fork,
    Delete,
    ScheduleResume,
    Answer,
    CreateSchedule,
    PauseSchedule,
    UnpauseSchedule,
    TriggerSchedule,
    DeleteSchedule,
    PauseWorkflow,
    UnpauseWorkflow,
    SetLimit,
    UnsetLimit,
    Recheck,
)
ROUTED: Final[tuple[type[Command], ...]] = tuple(one for one in CATALOGUE if one.route)
"""Those that the API takes at a route of their own."""


__all__ = [
    "CATALOGUE",
    "ROUTED",
    "Answer",
    "Cancel",
    "Command",
    "CreateSchedule",
    "Delete",
    "DeleteSchedule",
    "Deliver",
    "Fork",
    "Heartbeat",
    "Pause",
    "PauseSchedule",
    "PauseWorkflow",
    "Recheck",
    "Redrive",
    "ScheduleResume",
    "SetLimit",
    "Start",
    "TriggerSchedule",
    "Unpause",
    "UnpauseSchedule",
    "UnpauseWorkflow",
    "UnsetLimit",
]
