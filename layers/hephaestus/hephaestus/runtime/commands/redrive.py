"""Redrives an instance."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hephaestus.engine.plans import redriven
from hephaestus.engine.requests import repeats
from hephaestus.engine.state import evolve
from hephaestus.errors import InstanceNotFound, NotRedrivable, NotRoot, RequestIdReused, UnknownVersion, UnknownWorkflow
from hephaestus.runtime.commands.command import Command, check_root
from hephaestus.runtime.commands.members import By, MaybeText, Text, caller, instance_id, request_id
from hephaestus.runtime.orphans import steered_at

if TYPE_CHECKING:
    from hephaestus.engine.state import State
    from hephaestus.runtime.caller import Caller
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances
    from hephaestus.store.store import Store


class Redrive(Command):
    """Have an instance go on from where it stopped."""

    action = "redrive"
    of_schedules = True
    operation = "redriveInstance"
    route = "/instances/<instance_id>/redrive"
    raises = (InstanceNotFound, NotRedrivable, NotRoot, UnknownWorkflow, UnknownVersion, RequestIdReused)
    asks = True
    said = "redriven"

    instance_id: Text = instance_id()
    request_id: MaybeText = request_id(default=None)
    by: By = caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Have it go on; see ``Runner.redrive``."""
        who, name = self.by, self.request_id or ""

        def decide(state: State, now: int) -> State | None:
            if repeats(state, "redrive", name, ""):
                return state
            if state.closed or state.parked is None:  # a parked child goes on as it was
                _check_root(state, who, instances.store)
            known = state if who.source == "parent" else evolve(state, alone=True)
            event = redriven(instances.registry.runnable(state).graph, known)
            event = replace(event, request_id=name, by=who.name, by_source=who.source)
            return instances.go_on(state, going, now, event)

        return instances.change(self.instance_id, decide).instance_id


def _check_root(state: State, who: Caller, store: Store) -> None:
    """Reject a child; where its root has completed, say that this cannot be redriven, either.

    Raises:
        NotRoot: as ``check_root``.
    """
    try:
        check_root(state, who, store)
    except NotRoot as error:
        root = store.load(steered_at(state, store))
        if root is None or root.status != "completed":
            raise
        message = (
            f"{error}; that has completed, so this failure was tolerated: fork it before this began, with what is left "
            "to do in the data that it is given"
        )
        raise NotRoot(message) from error
