"""Names that are derived, never invented, so that doing a thing twice does it once."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

from hephaestus.engine.activation import name_in_life
from hephaestus.engine.state import PARTS

if TYPE_CHECKING:
    from hephaestus.runtime.ports import Timeout

SCHEDULE_NAME: Final = re.compile(r"[0-9a-zA-Z-_.]{1,64}")  # EventBridge Scheduler, CreateSchedule: Name
MAX_PREFIX: Final = 32
PREFIX: Final = re.compile(rf"[0-9a-zA-Z-_.]{{0,{MAX_PREFIX}}}")
MAX_READABLE: Final = 39
SCHEDULE_KEY: Final = "hephaestus-schedule"  # the business key of schedules, and the name of their workflow
DECLARATIONS: Final = f"{SCHEDULE_KEY}::.declare"  # no instance has this id: its message has the code's schedules known


def is_bulk(instance_id: str) -> bool:
    """Whether an instance is of a map's tree: its messages go through a queue of their own (``bulk``)."""
    return instance_id.startswith(f"{PARTS}::")


def said_id(instance_id: str) -> str:
    """An instance as logs name it: those of a map's tree are no one's to look at (C.1)."""
    return "(of a map's tree)" if is_bulk(instance_id) else instance_id


def is_schedule(instance_id: str) -> bool:
    """Whether an instance is a schedule."""
    return instance_id.startswith(f"{SCHEDULE_KEY}::")


def schedule_id(workflow: str, name: str) -> str:
    """The id of a workflow's schedule."""
    return f"{SCHEDULE_KEY}::{workflow}.{name}"


def schedule_name(timeout: Timeout, prefix: str = "") -> str:
    """The name of a timeout's schedule: a readable beginning, and a digest that makes it this wait's own.

    Args:
        timeout: what the schedule is for.
        prefix: what every name of the deployment begins with, at most 32 characters; the readable part shrinks by it.
    """
    own = name_in_life(timeout.instance_id, timeout.life, timeout.token)
    digest = hashlib.sha256(own.encode()).hexdigest()[:24]
    of = "" if is_bulk(timeout.instance_id) else f"{timeout.instance_id}-"
    readable = re.sub(r"[^0-9a-zA-Z._-]+", "-", f"{of}{timeout.step}")
    return f"{prefix}{readable[: MAX_READABLE - len(prefix)]}-{digest}"
