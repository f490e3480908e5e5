"""Schedules and status events for a function that may make none: what strangers reach has no such permission.

A schedule that is to go is removed by the function that takes the work queue's messages. One that would be made is
left out: the alarm in the instance's head has the sweep look at it within about a minute of its time. Status events are
published by the function that takes the queue's messages.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from hephaestus.runtime.names import schedule_name
from hephaestus.values.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from hephaestus.runtime.ports import Timeout, WorkQueue
    from hephaestus.runtime.status_events import StatusEvent

_logger = logging.getLogger("hephaestus.queued_timers")


@dataclass(frozen=True, slots=True)
class QueuedTimers:
    """``Timers`` without EventBridge Scheduler.

    Attributes:
        queue: takes what is to be removed.
    """

    queue: WorkQueue

    def schedule(self, timeout: Timeout) -> str:
        """Leave ``timeout`` to the sweep; return the name that its schedule would have."""
        _logger.debug("instance %s: no schedule is made; the sweep looks at it", timeout.instance_id)
        return self.name(timeout)

    def name(self, timeout: Timeout) -> str:
        """The name that its schedule would have."""
        return schedule_name(timeout)

    def cancel(self, timeout: Timeout) -> None:
        """Have the schedule of ``timeout`` removed by the function that takes the message.

        Raises:
            StoreUnavailable: SQS throttled or did not answer.
            EngineError: SQS rejected the request.
        """
        self.queue.remove_schedule(timeout)


@dataclass(frozen=True, slots=True)
class QueuedBus:
    """An ``EventBus`` without EventBridge.

    Attributes:
        queue: takes what is to be published.
    """

    queue: WorkQueue

    def publish(self, event: StatusEvent) -> None:
        """Have an event published by the function that takes the message.

        Raises:
            StoreUnavailable: SQS throttled or did not answer.
            EngineError: SQS rejected the request.
        """
        self.queue.publish_later(event)
