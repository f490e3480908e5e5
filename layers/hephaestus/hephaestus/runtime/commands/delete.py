"""Deletes closed instances, for personal data that must go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus.errors import AlreadyRunning, CorruptLog, InstanceNotFound, NotRoot
from hephaestus.runtime.commands.command import Command, check_root
from hephaestus.runtime.commands.members import By, Text, caller, instance_id
from hephaestus.store.descent import left_open

if TYPE_CHECKING:
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances
    from hephaestus.store.reader import Read


class Delete(Command):
    """Delete an instance that has ended, with all that is kept of it, and its children but for detached ones.

    Nothing is left that could remember the request: made twice, the second answers that there is no such instance.
    """

    action = "delete"
    of_schedules = True
    operation = "deleteInstance"
    route = "/instances/<instance_id>/delete"
    raises = (InstanceNotFound, AlreadyRunning, NotRoot)
    named_by = ""
    answers = "id"
    asks = True
    said = "deleted"

    instance_id: Text = instance_id()
    by: By = caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Delete its head, logs and values of all lives, and its objects in S3, and its children.

        Its own end comes first: a redrive that was faster finds its tree whole.
        """
        del going  # nothing follows
        store = instances.store

        def check(found: Read) -> None:
            try:
                state = store.reader.state(found)
            except CorruptLog:
                return
            if state.origin is not None and store.load(state.origin.instance_id) is not None:
                check_root(state, self.by, store)
            if left := left_open(store, found):
                message = f"instance {left}, which {self.instance_id} has left, has not ended: cancel it first"
                raise AlreadyRunning(message)

        if not store.delete(self.instance_id, instances.clock.now(), instances.commits.finish, check):
            message = f"there is no instance {self.instance_id}"
            raise InstanceNotFound(message)
        return self.instance_id
