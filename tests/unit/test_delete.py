"""What is deleted is gone, and what comes after it under the same id is another."""

from __future__ import annotations

import pytest

from hephaestus import DONE, AlreadyRunning, InstanceNotFound, StepContext, Workflow, step
from hephaestus.runtime.commands import Delete
from hephaestus.steps import WaitForEvent
from hephaestus.testing import LocalRuntime

gate = WaitForEvent("go", name="gate")


@step
def ends(ctx: StepContext) -> dict[str, str]:
    """Leave something personal."""
    return {"name": ctx.initial.get("name", "")}


class Person(Workflow, key="person"):
    """A wait, and a result."""

    start_at = gate
    transitions = {gate: {"go": ends}, ends: {"done": DONE}}


def test_an_instance_that_has_ended_is_deleted_with_all_that_is_kept_of_it() -> None:
    """Not before; and nothing answers for it afterwards, in a list neither."""
    local = LocalRuntime(Person)
    local.start(Person, "1", {"name": "Ann"})
    with pytest.raises(AlreadyRunning, match="has not ended"):
        local.runner.do(Delete(instance_id="person::1"))
    local.resume("person::1", "go")
    assert local.runner.do(Delete(instance_id="person::1", by="ann")) == "person::1"
    for look in (local.runner.get, local.runner.history):
        with pytest.raises(InstanceNotFound):
            look("person::1")
    assert not local.runner.list().items
    with pytest.raises(InstanceNotFound, match="there is no instance person::1"):
        local.runner.do(Delete(instance_id="person::1"))


def test_an_id_that_was_deleted_can_be_started_again() -> None:
    """As another life, which remembers nothing of the one before."""
    local = LocalRuntime(Person)
    for name in ("Ann", "Bob"):
        local.runner.start_instance(Person, {"name": name}, id="1", start_id="s")
        local.settle()
        local.resume("person::1", "go")
        assert local.runner.get("person::1").steps["ends"].results == {"name": name}
        local.runner.do(Delete(instance_id="person::1"))
        local.settle()
