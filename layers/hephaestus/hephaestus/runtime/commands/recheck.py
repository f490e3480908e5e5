"""Has an instance look again at what it relies on, on a table that was restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hephaestus.errors import InstanceNotFound, NotRoot
from hephaestus.runtime.commands.command import Command, check_root
from hephaestus.runtime.commands.members import By, Text, caller, instance_id

if TYPE_CHECKING:
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances


class Recheck(Command):
    """Have an instance make sure of its children, after its table was restored. It changes nothing of what is well."""

    action = "recheck"
    operation = "recheckInstance"
    route = "/instances/<instance_id>/recheck"
    raises = (InstanceNotFound, NotRoot)
    named_by = ""
    answers = "id"
    said = "rechecked"

    instance_id: Text = instance_id()
    by: By = caller(default=None)

    def perform(self, instances: Instances, going: Dispatch) -> str:
        """Look at all below it; see ``hephaestus.runtime.rechecking``."""
        from hephaestus.runtime.rechecking import recheck  # noqa: PLC0415 - it is made of the commands

        del going  # what follows is the queue's
        state = instances.load(self.instance_id)
        check_root(state, self.by, instances.store)
        recheck(instances, state)
        return state.instance_id
