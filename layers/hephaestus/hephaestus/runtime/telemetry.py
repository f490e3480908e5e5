"""What happens, for whoever wants to know: the Hephaestus family's eleven events, by name.

A handler is attached under a name and called with ``(event, measurements, metadata)``, in the thread where the event
happened. A handler that raises is detached and the failure is logged, so it can never stop an instance.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
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

PARKED: Final = "hephaestus.instance.parked"  # an instance is put off; ours beside the family's, for who asks for it

_handlers: dict[str, tuple[Handler, frozenset[str]]] = {}
_logger = logging.getLogger("hephaestus.telemetry")


def attach(name: str, handler: Handler, events: Collection[str] = EVENTS) -> None:
    """Call ``handler`` for each of ``events``; a handler of the same name is replaced.

    Raises:
        ValueError: an event's name is unknown.
    """
    unknown = sorted(set(events) - {*EVENTS, PARKED})
    if unknown:
        message = f"unknown telemetry event(s) {', '.join(unknown)}: there are {', '.join((*EVENTS, PARKED))}"
        raise ValueError(message)
    _handlers[name] = (handler, frozenset(events))


def detach(name: str) -> None:
    """Stop calling the handler of that name; an unknown name is no error."""
    _handlers.pop(name, None)


def about(state: State) -> dict[str, object]:
    """What every event says of an instance."""
    return {
        "instance_id": state.instance_id,
        "workflow": state.workflow,
        "version": state.version,
        "generation": state.generation,
    }


def emit(event: str, measurements: Mapping[str, float], metadata: Mapping[str, object]) -> None:
    """Tell every handler of ``event``."""
    for name, (handler, events) in tuple(_handlers.items()):
        if event in events:
            try:
                handler(event, measurements, metadata)
            except Exception:
                _logger.exception("telemetry handler %r failed on %s and is detached", name, event)
                detach(name)
