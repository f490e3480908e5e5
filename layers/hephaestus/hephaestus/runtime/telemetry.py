"""What happens, for whoever wants to know: the Hephaestus family's eleven events, by name.

A handler is attached under a name and called with ``(event, measurements, metadata)``, in the thread that runs the
instance. A handler that raises is detached and the failure is logged, so it can never stop an instance. What a caller
gave as ``telemetry_metadata`` is among the metadata, under names that the engine has no use for.

docs/telemetry.md lists the events and their fields; ``announce`` says when each of them is told.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from hephaestus.errors import EngineSignal
from hephaestus.values.given import own

if TYPE_CHECKING:
    from hephaestus.engine.records import Origin
    from hephaestus.engine.state import State

Handler: TypeAlias = Callable[[str, Mapping[str, float], Mapping[str, object]], None]

EVENTS: Final = (
    "hephaestus.workflow.start",
    "hephaestus.workflow.stop",
    "hephaestus.workflow.exception",
    "hephaestus.workflow.transition",
    "hephaestus.step.start",
    "hephaestus.step.stop",
    "hephaestus.step.exception",
    "hephaestus.step.async",
    "hephaestus.step.resume",
    "hephaestus.engine.advance",
    "hephaestus.runner.init",
)

PARKED: Final = "hephaestus.instance.parked"  # an instance is put off
ISOLATED: Final = "hephaestus.step.isolated"  # its process died; it runs alone from now on
EXECUTION_START: Final = "hephaestus.execution.start"  # an invocation begins to run an instance
EXECUTION_STOP: Final = "hephaestus.execution.stop"  # and has done with it
LIMIT_SWEPT: Final = "hephaestus.limit.swept"  # the sweep has looked at a limit that has a line, or had one
START_USED: Final = "hephaestus.start.used"  # a start has used the instance of its id that is open
RATE_CALLED: Final = "hephaestus.rate.called"  # the line of a rate was called
OF_ALL: Final = frozenset({PARKED, EXECUTION_START, EXECUTION_STOP})  # told of instances that no one knows, too
OURS: Final = (PARKED, ISOLATED, EXECUTION_START, EXECUTION_STOP, LIMIT_SWEPT, RATE_CALLED, START_USED)
"""Events beside those of the family, for handlers that ask for them."""

FIELDS: Final = frozenset(
    {
        *("instance_id", "workflow", "workflow_version", "version", "generation", "created_at"),
        *("initial_step", "context_keys", "runner", "forked_from", "status", "completed_steps", "failed_step"),
        *("kind", "reason", "stacktrace", "error", "step", "step_key", "attempt", "compensation", "concurrent"),
        *("active_steps_count", "item", "round", "slowed", "schedule_of", "left_out", "late_ms"),
        *("event", "has_context_updates", "has_metadata_updates", "transitions_to", "will_retry", "retry_at"),
        *("instance_status", "resume_event", "source", "from_step", "targets", "fan_out", "status_before"),
        *("status_after", "iteration", "name", "storage", "pid", "outcome"),
        *("parent", "root", "path", "root_generation", "root_created_at", "items_from", "limit"),
    }
)
"""Every name that the engine uses in an event's metadata: a caller's metadata of such a name is left out."""

_handlers: dict[str, tuple[Handler, frozenset[str]]] = {}
_wanted: frozenset[str] = frozenset()
_logger = logging.getLogger("hephaestus.telemetry")


def attach(name: str, handler: Handler, events: Collection[str] = EVENTS) -> None:
    """Call ``handler`` for each of ``events``; a handler of the same name is replaced.

    Raises:
        ValueError: an event's name is unknown.
    """
    unknown = sorted(set(events) - {*EVENTS, *OURS})
    if unknown:
        message = f"unknown telemetry event(s) {', '.join(unknown)}: there are {', '.join((*EVENTS, *OURS))}"
        raise ValueError(message)
    _handlers[name] = (handler, frozenset(events))
    _note_wanted()


def detach(name: str) -> None:
    """Stop calling the handler of that name; an unknown name is no error."""
    _handlers.pop(name, None)
    _note_wanted()


def heard(*events: str) -> bool:
    """Whether anybody wants one of ``events``, or any at all: what nobody hears need not be put together."""
    return bool(_wanted) and (not events or not _wanted.isdisjoint(events))


def about(state: State) -> dict[str, object]:
    """What every event says of an instance: its caller's metadata, and the engine's own fields."""
    caller = {name: own(value) for name, value in state.metadata.items() if name not in FIELDS}
    part = state.part
    began = (state.generation, state.created_at) if part is None else (part.generation, part.began_at)
    return {
        **caller,
        "instance_id": state.public_id,
        "workflow": state.workflow,
        "workflow_version": state.version,
        "version": state.version,
        "generation": began[0],
        "created_at": began[1],
        **({} if state.origin is None else _family(state.origin)),
        **({} if part is None else {"items_from": part.first}),
    }


def _family(origin: Origin) -> dict[str, object]:
    """Where a child is in its tree; what runs items of a map is where the map's instance is."""
    parent, path = origin.public
    if not path:
        return {}
    began = {"root_generation": origin.root_generation, "root_created_at": origin.root_created_at}
    return {"parent": parent, "root": origin.root, "path": path, **began}


def tell(event: str, state: State, measurements: Mapping[str, float], /, **fields: object) -> None:
    """Tell every handler of an ``event`` of an instance.

    Of one that runs items of another's map, only what happens to these, and to its executions, is news (C.1).
    """
    if event not in _wanted:
        return
    if state.part is not None and "item" not in fields and event not in OF_ALL:
        return
    emit(event, measurements, {**about(state), **fields})


def emit(event: str, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
    """Tell every handler of ``event``."""
    for name, (handler, events) in tuple(_handlers.items()):
        if event in events:
            try:
                handler(event, dict(measurements), dict(metadata))
            except EngineSignal:
                raise
            except BaseException:  # an exit in a handler must not end the process
                _logger.exception("telemetry handler %r failed on %s and is detached", name, event)
                detach(name)


def _note_wanted() -> None:
    global _wanted  # noqa: PLW0603 - kept beside the handlers, so that asking costs nothing
    _wanted = frozenset().union(*(events for _, events in tuple(_handlers.values())))
