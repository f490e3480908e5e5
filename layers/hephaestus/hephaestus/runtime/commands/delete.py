"""Deletes closed instances, for personal data that must go."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from hephaestus.engine.events import ChildStarted, PartStarted
from hephaestus.errors import AlreadyRunning, CorruptLog, InstanceNotFound, NotRoot
from hephaestus.runtime.commands.command import Command, check_root
from hephaestus.runtime.commands.members import By, Text, caller, instance_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hephaestus.engine.state import State
    from hephaestus.runtime.dispatch import Dispatch
    from hephaestus.runtime.instances import Instances
    from hephaestus.store.store import Store

PAGE: Final = 1_000  # log entries


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
        """Delete its head, logs and values of all lives, and its objects in S3: first of its children, then its own."""
        del going  # nothing follows

        def children(instance_id: str) -> None:
            state = _readable(instances.store, instance_id)
            origin = state.origin if state is not None else None
            if state is not None and origin is not None and instances.store.load(origin.instance_id) is not None:
                check_root(state, self.by, instances.store)
            self._delete_children(instances, instance_id)

        if not instances.store.delete(self.instance_id, instances.clock.now(), instances.commits.finish, children):
            message = f"there is no instance {self.instance_id}"
            raise InstanceNotFound(message)
        return self.instance_id

    def _delete_children(self, instances: Instances, parent: str) -> None:
        """Delete what a closed instance has started in all its lives, as far as that is left."""
        store = instances.store
        for name in dict.fromkeys(children_in_log(store, parent)):
            child = _readable(store, name)
            if child is None:
                with suppress(CorruptLog):
                    store.finish_deletion(name)  # another request may have been cut off in it
            elif child.origin is not None and child.origin.instance_id == parent:
                family = partial(self._delete_children, instances)
                store.delete(name, instances.clock.now(), instances.commits.finish, family)


def children_in_log(store: Store, instance_id: str) -> Iterator[str]:
    """The children but detached ones that are named in what is left of the logs of all lives."""
    state = _readable(store, instance_id)
    if state is None:
        return  # what cannot be read can be deleted; its children are not known
    yield from state.kin
    for generation in range(state.generation, 0, -1):
        after = 0
        while (found := store.history(instance_id, generation, after, PAGE)) is not None and found[1]:
            events = [event for entry in found[1] for event in entry.events]
            yield from (one.child for one in events if isinstance(one, ChildStarted) and not one.detached)
            yield from (one.child for one in events if isinstance(one, PartStarted))
            after = found[1][-1].sequence


def _readable(store: Store, instance_id: str) -> State | None:
    try:
        return store.load(instance_id)
    except CorruptLog:
        return None
