"""Deletes closed instances, for personal data that must go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus.errors import AlreadyRunning, InstanceNotFound
from hephaestus.runtime.commands.command import Command
from hephaestus.runtime.commands.members import By, Text, caller, instance_id

if TYPE_CHECKING:
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances


class Delete(Command):
    """Delete an instance that has ended, with all that is kept of it.

    Nothing is left that could remember the request: made twice, the second answers that there is no such instance.
    """

    action = "delete"
    operation = "deleteInstance"
    route = "/instances/<instance_id>/delete"
    raises = (InstanceNotFound, AlreadyRunning)
    named_by = ""
    answers = "id"
    asks = True
    said = "deleted"

    instance_id: Text = instance_id()
    by: By = caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Delete its head, logs and values of all lives, and its objects in S3."""
        del going  # nothing follows
        if not instances.store.delete(self.instance_id, instances.clock.now(), instances.commits.finish):
            message = f"there is no instance {self.instance_id}"
            raise InstanceNotFound(message)
        return self.instance_id
