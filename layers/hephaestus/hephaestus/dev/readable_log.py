"""What happens, for a person: a line for each thing that is told of an instance, and for each line that code logs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from hephaestus.definition.raised import last_line_of
from hephaestus.runtime import telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SAID: Final = {
    "hephaestus.workflow.start": "{workflow} v{version} started",
    "hephaestus.workflow.stop": "{status}{took}",
    "hephaestus.workflow.exception": "failed at {failed_step}{took}: {kind}: {reason}",
    "hephaestus.step.stop": "{step} → {event}{took}",
    "hephaestus.step.exception": "{step} failed, attempt {attempt}{took}{then}",
    "hephaestus.step.async": "{step} waits",
    "hephaestus.step.resume": "{step} ← {resume_event}",
}
FORMAT: Final = "%(asctime)s  %(message)s"
NAME: Final = "hephaestus.dev"
QUIET: Final = ("hephaestus.handlers.http", "botocore", "boto3", "urllib3", "asyncio")  # below a warning
REGISTRY: Final = "hephaestus.registry"
SECOND: Final = 1000.0

_logger = logging.getLogger(NAME)
_traces: dict[tuple[str, str], str] = {}  # of steps that are tried again, the last attempt's


def set_up(write: Callable[[str], None]) -> None:
    """Have everything that is logged, and what instances tell, written by ``write``, a line at a time."""
    handler = _Lines(write)
    handler.setFormatter(logging.Formatter(FORMAT, "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    library = logging.getLogger("hephaestus")
    library.handlers, library.propagate = [], True  # Powertools' own handler writes JSON
    library.setLevel(logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    telemetry.attach("dev", tell, SAID)


class _Lines(logging.Handler):
    """Writes records as lines; the same trouble with a module is not told again and again."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write
        self._trouble = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Write it."""
        try:
            if record.name == REGISTRY and record.exc_info and record.exc_info[1]:
                trouble = f"{record.getMessage()}: {_where(record.exc_info[1])}; its calls answer 503 until it is fixed"
                if trouble == self._trouble:
                    return
                self._trouble = trouble
                record = logging.makeLogRecord({**vars(record), "msg": trouble, "args": (), "exc_info": None})
            self._write(self.format(record))
        except Exception:  # noqa: BLE001 - as logging does with a handler that fails
            self.handleError(record)


def _where(error: BaseException) -> str:
    """What is wrong with a module, and the last line of it that was reached."""
    return f"{last_line_of(error)}{type(error).__name__}: {error}"


def tell(event: str, measurements: Mapping[str, float], about: Mapping[str, Any]) -> None:
    """Log one event of telemetry."""
    took = f" ({span(measurements['duration'])})" if "duration" in measurements else ""
    then = ""
    if event == "hephaestus.step.stop":
        _traces.pop((about["instance_id"], about["step"]), None)
    if event == "hephaestus.step.exception":
        wait = (about["retry_at"] or 0) - measurements["system_time"]
        then = f", tried again in {span(wait)}" if about["will_retry"] else ""
        then += f": {about['kind']}: {about['reason']}{_trace(about)}"
    said = SAID[event].format_map({**about, "step": _named(about), "took": took, "then": then})
    child = f" ({about['path']} of {about['root']})" if about.get("path") else ""
    level = logging.WARNING if "exception" in event else logging.INFO
    _logger.log(level, "%s%s  %s", about["instance_id"], child, said)


def _named(about: Mapping[str, Any]) -> str:
    """A step, the item of a map, or the round of a loop; an event of a whole instance has none."""
    item, number = about.get("item"), about.get("round")
    return f"{about.get('step', '')}{'' if item is None else f'[{item}]'}{'' if number is None else f'@{number}'}"


def _trace(about: Mapping[str, Any]) -> str:
    """The lines of the traceback, unless the attempt before had the same.

    Without a traceback, telemetry has the error itself in its place.
    """
    trace, which = (about["stacktrace"] or "").rstrip(), (about["instance_id"], about["step"])
    before = _traces.pop(which, "")
    if about["will_retry"]:
        _traces[which] = trace
    return f"\n{trace}" if trace != before and trace.startswith("  File ") else ""


def span(milliseconds: float) -> str:
    """A duration for a person."""
    return f"{milliseconds / SECOND:.1f} s" if milliseconds >= SECOND else f"{max(milliseconds, 0):.0f} ms"
