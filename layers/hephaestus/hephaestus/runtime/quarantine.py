"""What becomes of an instance that cannot be read: it is left as it is and looked at again later.

Its data are damaged, or a newer release wrote them. Repeating its message would not fix that, and the sweep would find
it every minute. So its alarm is put off, for about an hour, and somebody is told: by the log, at ``ERROR``, and by
telemetry, which is how a metric counts it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from hephaestus.errors import UnknownVersion, UnknownWorkflow, WorkflowUnavailable
from hephaestus.runtime.telemetry import PARKED, about, emit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hephaestus.engine.state import State
    from hephaestus.errors import EngineError
    from hephaestus.runtime.ports import Clock
    from hephaestus.store.store import Store

PUT_OFF_MS: Final = 60 * 60 * 1000
SPREAD_MS: Final = 30 * 60 * 1000  # many may be met at once, after a release was taken back

_logger = logging.getLogger("hephaestus.quarantine")


def quarantine(store: Store, clock: Clock, instance_id: str, error: EngineError, alarms: Sequence[str] = ()) -> bool:
    """Put off an instance that cannot be read, and tell of it.

    Args:
        store: where it is.
        clock: the time; at random, not all are looked at again at once.
        instance_id: the instance.
        error: ``CorruptLog`` or ``InvariantBroken``, as it was met.
        alarms: the keys of log entries that showed an alarm.

    Returns:
        Whether its alarm was put off; if not, the alarm is still to come, or the instance has none.

    Raises:
        StoreUnavailable: the store did not answer; the instance is met again.
    """
    now = clock.now()
    until = now + PUT_OFF_MS + int(clock.random() * SPREAD_MS)
    put_off = store.quarantine(instance_id, f"{type(error).__name__}: {error}", now=now, until=until, alarms=alarms)
    if put_off:
        tell_parked(instance_id, f"{error}; fix it or deploy the release that wrote it, nothing of it was changed")
    return put_off


def reason_of(error: Exception) -> str:
    """Why an instance is parked that met this, and what is to be done."""
    lacks = isinstance(error, (UnknownWorkflow, UnknownVersion)) and not isinstance(error, WorkflowUnavailable)
    return f"{error}; deploy that version again" if lacks else str(error)


def tell_parked(instance_id: str, reason: str, state: State | None = None) -> None:
    """Say that an instance is parked, to the log and by telemetry, whoever parked it; its state, where it is known."""
    _logger.error("instance %s is parked: %s", instance_id, reason, extra={"instance_id": instance_id})
    emit(PARKED, {}, {"instance_id": instance_id} if state is None else about(state))
