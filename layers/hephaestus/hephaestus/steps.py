"""The built-in steps: wait for a time, wait for an event, end, and look."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from hephaestus.definition.results import Completed, Pending
from hephaestus.definition.steps import DONE, Done, Step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hephaestus.context import Instance, StepContext

__all__ = ["DONE", "Debug", "Done", "Wait", "WaitForEvent"]


class Wait(Step, pure=True):
    """Wait for a time to pass, or until a time has come, then emit ``"done"``.

    Args:
        seconds: how long, in seconds.
        minutes: added to it, in minutes.
        hours: added to it, in hours.
        days: added to it, in days.
        until: an aware ``datetime`` instead.
        name: the step's key; a workflow with two waits names them.

    Raises:
        ValueError: no time at all, a negative one, both kinds, or a ``datetime`` without a time zone.
    """

    waits = True
    events = ("done",)

    def __init__(  # noqa: PLR0913 - as timedelta has them
        self,
        seconds: float = 0,
        *,
        minutes: float = 0,
        hours: float = 0,
        days: float = 0,
        until: datetime | None = None,
        name: str | None = None,
    ) -> None:
        duration = timedelta(seconds=seconds, minutes=minutes, hours=hours, days=days)
        if until is not None and (duration or until.tzinfo is None):
            message = "Wait takes either a duration or until=, an aware datetime"
            raise ValueError(message)
        if until is None and duration <= timedelta(0):
            message = f"Wait needs a positive duration, not {duration}"
            raise ValueError(message)
        self.until: timedelta | datetime = until or duration
        self.step_key = name or "wait"

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Pending:  # noqa: ARG002 - the signature of every step
        """Suspend until the time has come."""
        return Pending(timeout=self.until, emits="done")


class WaitForEvent(Step, pure=True):
    """Wait for one of ``events`` from outside; its payload becomes the step's results.

    Args:
        events: the events it takes, at least one.
        timeout: emit ``"timeout"`` when none has come after this long; the transitions must route it.
        heartbeat: emit ``"timeout"``, with the results ``{"missed": "heartbeat"}``, as soon as whoever is working on
            it has not sent a heartbeat for this long (``Runner.heartbeat``), counted from the wait's beginning.
        name: the step's key; by default ``wait_for_`` and the first event.

    Raises:
        ValueError: no event, or a timeout or heartbeat that is not positive.
    """

    waits = True

    def __init__(
        self,
        *events: str,
        timeout: timedelta | None = None,
        heartbeat: timedelta | None = None,
        name: str | None = None,
    ) -> None:
        if not events:
            message = "WaitForEvent needs at least one event"
            raise ValueError(message)
        for what, duration in (("timeout", timeout), ("heartbeat", heartbeat)):
            if duration is not None and duration <= timedelta(0):
                message = f"WaitForEvent needs a positive {what}, not {duration}"
                raise ValueError(message)
        limited = timeout is not None or heartbeat is not None
        self.events = (*events, "timeout") if limited and "timeout" not in events else events
        self.wait_timeout = timeout
        self.heartbeat = heartbeat
        self.step_key = name or f"wait_for_{events[0]}"

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Pending:  # noqa: ARG002 - the signature of every step
        """Suspend until an event comes or the time is up."""
        return Pending(timeout=self.wait_timeout, heartbeat=self.heartbeat)


class Debug(Step):
    """Log what is known at this point, and go on with ``"done"``."""

    events = ("done",)

    def __init__(self, message: str = "", *, name: str | None = None) -> None:
        self.message = message
        self.step_key = name or "debug"

    def execute(self, instance: Instance, config: Mapping[str, Any], context: StepContext) -> Completed:
        """Log the start data, the results so far and the configuration, at level DEBUG."""
        logging.getLogger("hephaestus.debug").debug(
            "%s %s: initial=%r steps=%r config=%r",
            instance.id,
            self.message or self.key,
            dict(context.initial),
            {key: dict(updates) for key, updates in context.steps.items()},
            dict(config),
        )
        return Completed("done")
