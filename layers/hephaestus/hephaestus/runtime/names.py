"""Names that are derived, never invented, so that doing a thing twice does it once."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hephaestus.runtime.ports import Timeout

SCHEDULE_NAME: Final = re.compile(r"[0-9a-zA-Z-_.]{1,64}")  # EventBridge Scheduler, CreateSchedule: Name


def schedule_name(timeout: Timeout) -> str:
    """The name of a timeout's schedule: a readable beginning, and a digest that makes it this wait's own."""
    own = f"{timeout.instance_id} {timeout.generation} {timeout.token}"
    digest = hashlib.sha256(own.encode()).hexdigest()[:24]
    readable = re.sub(r"[^0-9a-zA-Z._-]+", "-", f"{timeout.instance_id}-{timeout.step}")[:39]
    return f"{readable}-{digest}"
