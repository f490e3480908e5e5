"""Pauses a workflow, and unpauses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hephaestus import errors
from hephaestus.definition.business_key import NAME
from hephaestus.runtime.commands import members
from hephaestus.runtime.commands.command import Command
from hephaestus.store.paused import PAUSED, PausedWorkflow

if TYPE_CHECKING:
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances


def _workflow() -> Any:
    return members.required(members.WORKFLOW, "The workflow's name.")


class PauseWorkflow(Command):
    """Pause a workflow: what starts is accepted and waits, and what runs stops at its next commit."""

    action = "pause_workflow"
    operation = "pauseWorkflow"
    route = "/workflows/<workflow>/pause"
    raises = (errors.UnknownWorkflow,)
    named_by = ""
    logged = ("workflow",)
    answers = "id"
    said = "paused"

    workflow: members.AWorkflow = _workflow()
    reason: members.Text = members.member(members.REASON, "Shown with all that waits.", default="")
    by: members.By = members.caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Pause it; see ``Runner.pause_workflow``."""
        del going  # nothing follows
        name, who = _known(instances, self.workflow), self.by
        instances.store.paused.pause(PausedWorkflow(name, instances.clock.now(), self.reason, who.name, who.source))
        return name


class UnpauseWorkflow(Command):
    """Have a paused workflow go on: what waited is woken, some twenty a second."""

    action = "unpause_workflow"
    operation = "unpauseWorkflow"
    route = "/workflows/<workflow>/unpause"
    raises = (errors.UnknownWorkflow,)
    named_by = ""
    logged = ("workflow",)
    answers = "id"
    said = "unpaused"

    workflow: members.AWorkflow = _workflow()
    by: members.By = members.caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Have it go on; see ``Runner.unpause_workflow``."""
        del going  # what follows is the queue's
        name = _known(instances, self.workflow)
        if instances.store.paused.unpause(name, instances.clock.now()):
            instances.queue.wake(PAUSED)
        return name


def _known(instances: Instances, workflow: object) -> str:
    """The name of a workflow that is deployed, or is paused: it may have been removed since.

    Raises:
        UnknownWorkflow: neither.
    """
    try:
        return instances.registry.deployed(workflow).name  # type: ignore[arg-type]  # its rule has read it
    except errors.UnknownWorkflow:
        name = workflow if isinstance(workflow, str) and NAME.fullmatch(workflow) else ""
        if name not in instances.store.paused.read():
            raise
        return name
