"""Has the schedules that the code declares come true: started, changed, paused where they are gone (G.3).

It may be done at any time, by any process, as often as one likes. A declaration carries the stamp of its deployment,
and one that is older than what a schedule knows changes nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from hephaestus.engine.events import InstanceStarted
from hephaestus.errors import AlreadyRunning, InstanceClosed, RequestIdReused
from hephaestus.runtime.caller import Caller
from hephaestus.runtime.intake import digest
from hephaestus.runtime.names import SCHEDULE_KEY, schedule_id
from hephaestus.store.filters import ListFilter
from hephaestus.values import FrozenDict, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hephaestus.engine.state import State
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances
    from hephaestus.store.store import Store

PAGE: Final = 100
STEP: Final = "recurring"

_logger = logging.getLogger("hephaestus.schedules")


def declare(instances: Instances, going: Dispatch) -> None:
    """Have the schedules of all deployed workflows known.

    Raises:
        StoreUnavailable: the store did not answer; do it again.
    """
    flows = list(instances.registry)
    declared = {schedule_id(flow.name, one.name): (flow.name, one) for flow in flows for one in flow.schedules}
    for name, (workflow, one) in declared.items():
        _declare(instances, going, name, FrozenDict({"workflow": workflow, **one.declaration}))
    if instances.registry.unavailable():
        return  # they may be in a module that cannot be loaded
    for name in known_schedules(instances.store):
        if name not in declared:
            _remove(instances, going, name)


def carry_of(state: State) -> Mapping[str, Any]:
    """What a schedule knows."""
    loop = state.loop(STEP)
    return loop.carry if loop is not None and loop.carry else FrozenDict({**state.initial, "after": state.created_at})


def begin(  # noqa: PLR0913, PLR0917 - a start, and who makes it
    instances: Instances, going: Dispatch, name: str, initial: FrozenDict, start_id: str, who: Caller
) -> None:
    """Start a schedule.

    Raises:
        AlreadyRunning, RequestIdReused: there is one.
    """
    definition = instances.registry.get(SCHEDULE_KEY).definition(1)
    own = (SCHEDULE_KEY, definition.version, initial, (), FrozenDict(), start_id, who.name, who.source)
    started = InstanceStarted(*own, graph=definition.graph.fingerprint)
    instances.create(name, definition, (started,), digest(to_json(initial)), going)


def tell(  # noqa: PLR0913, PLR0917 - an event, and who sends it
    instances: Instances,
    going: Dispatch,
    name: str,
    event: str,
    payload: Mapping[str, Any],
    event_id: str | None,
    who: Caller,
) -> None:
    """Give a schedule an event.

    Raises:
        CallerError: it is not there, or has ended.
    """
    from hephaestus.runtime import commands  # noqa: PLC0415 - they are made of this module

    commands.Deliver(instance_id=name, event=event, payload=payload, event_id=event_id, by=who).perform(
        instances, going
    )


def _declare(instances: Instances, going: Dispatch, name: str, declared: FrozenDict) -> None:
    number, text = instances.registry.deployment, digest(to_json(declared))
    stamp, request = [number, text], f"deployment {number} {text}"
    state = instances.store.load(name)
    if state is not None and stamp <= list(carry_of(state).get("stamp", ())):
        return
    try:
        if state is None or state.closed:
            begin(instances, going, name, FrozenDict({"declared": declared, "stamp": tuple(stamp)}), request, Caller())
        else:
            tell(instances, going, name, "declare", {"declared": declared, "stamp": stamp}, request, Caller())
    except (AlreadyRunning, InstanceClosed, RequestIdReused):
        _logger.info("schedule %s was declared by another process", name)


def _remove(instances: Instances, going: Dispatch, name: str) -> None:
    """Pause a schedule that the code does not declare any more; one that an operator has created stays."""
    state, number = instances.store.load(name), instances.registry.deployment
    if state is None or state.closed:
        return
    known = carry_of(state)
    if "stamp" not in known or known.get("removed") or number < known["stamp"][0]:
        return
    tell(instances, going, name, "declare", {"stamp": [number, "~"]}, f"deployment {number} without it", Caller())


def known_schedules(store: Store) -> Iterator[str]:
    """The ids of the schedules that have not ended."""
    wanted, cursor = (
        ListFilter(workflows=(SCHEDULE_KEY,), statuses=("pending", "running", "waiting"), children=True),
        None,
    )
    while True:
        page = store.list(wanted, limit=PAGE, cursor=cursor)
        yield from (item.instance_id for item in page.items)
        cursor = page.cursor
        if cursor is None:
            return
