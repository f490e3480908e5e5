"""A structured log line for what happens, by Powertools' Logger; and the keys of its step on what a step itself logs.

Names are logged: of instances, workflows, steps, events, and of an error's type. What instances carry is not, and so
neither an error's message nor a caller's metadata, but for those members of it whose names the handler is given.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from hephaestus.runtime.telemetry import EVENTS, EXECUTION_STOP

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from aws_lambda_powertools.logging import Logger

LEVELS: Final[Mapping[str, int]] = {
    "hephaestus.workflow.start": logging.INFO,
    "hephaestus.workflow.stop": logging.INFO,
    "hephaestus.workflow.exception": logging.ERROR,
    "hephaestus.workflow.transition": logging.DEBUG,
    "hephaestus.step.start": logging.DEBUG,
    "hephaestus.step.stop": logging.INFO,
    "hephaestus.step.exception": logging.WARNING,
    "hephaestus.step.async": logging.INFO,
    "hephaestus.step.resume": logging.INFO,
    "hephaestus.engine.advance": logging.DEBUG,
    "hephaestus.runner.init": logging.DEBUG,
}
"""At which level an event is logged; what a log at INFO has of a step is one line, when it has ended."""

HEARD: Final = (*EVENTS, EXECUTION_STOP)
OWNER: Final = ("instance_id", "workflow", "version", "generation", "step", "attempt")
KEYS: Final = (
    *OWNER,
    *("compensation", "status", "failed_step", "kind", "will_retry", "event", "transitions_to", "resume_event"),
    *("source", "from_step", "targets", "fan_out", "status_before", "status_after", "iteration", "storage"),
    *("forked_from", "initial_step"),
)
NUMBERS: Final = {
    "duration": "duration_ms",
    "wait_duration": "wait_ms",
    "step_count": "step_count",
    "advance_count": "advance_count",
    "active_steps_count": "active_steps_count",
    "completed_in_advance": "completed_in_advance",
}
NOTHING: Final = dict.fromkeys((*OWNER, "event"))


class LogHandler:
    """Writes a line for each event.

    Args:
        logger: where to.
        levels: levels by event, for those that are to differ from ``LEVELS``.
        metadata: the names of the members of a caller's metadata that are logged, under the key ``metadata``.
    """

    def __init__(self, logger: Logger, levels: Mapping[str, int] | None = None, metadata: Collection[str] = ()) -> None:
        self.logger = logger
        self.writer = logging.getLogger(logger.name)
        self.levels = {**LEVELS, **(levels or {})}
        self.metadata = tuple(metadata)
        self.messages = {event: event.removeprefix("hephaestus.").replace(".", " ") for event in EVENTS}

    def __call__(self, event: str, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
        """Log one event."""
        if event == "hephaestus.step.start":
            self.logger.thread_safe_append_keys(**{name: metadata[name] for name in OWNER})
        elif event in _ENDS:
            # Not removed: a step that still runs in another thread may have the very same dictionary.
            self.logger.thread_safe_append_keys(step=None, attempt=None)
        elif event == EXECUTION_STOP:
            self.logger.thread_safe_clear_keys()
            return
        level = self.levels[event]
        if self.writer.isEnabledFor(level):
            # `None` hides what the invocation's other lines have under that key: the step or event that caused it.
            keys = {**NOTHING, **{name: metadata[name] for name in KEYS if name in metadata}}
            keys |= {name: round(measurements[known], 3) for known, name in NUMBERS.items() if known in measurements}
            chosen = {name: metadata[name] for name in self.metadata if name in metadata}
            self.writer.log(level, self.messages[event], extra={**keys, **({"metadata": chosen} if chosen else {})})


_ENDS: Final = frozenset({"hephaestus.step.stop", "hephaestus.step.exception", "hephaestus.step.async"})
