"""``Workflow[Receipt]``: a workflow's output is read as what its class is derived with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from pydantic import BaseModel

from hephaestus import DONE, NotCompleted, StepContext, UnfitOutput, Workflow, step
from hephaestus.client import Handle
from hephaestus.testing import LocalRuntime


class Model(BaseModel):
    """A model."""

    tracking: str
    price: int = 5


@dataclass
class Record:
    """A data class."""

    tracking: str


class Plain(TypedDict):
    """A typed mapping."""

    tracking: str


@step
def ship(ctx: StepContext) -> dict[str, Any]:
    """Leave what it is given."""
    if ctx.initial.get("fail"):
        message = "no truck"
        raise ValueError(message)
    return dict(ctx.initial)


class AsModel(Workflow[Model], key="model"):
    """Its output is a model."""

    start_at = ship
    transitions = {ship: {"done": DONE}}


class AsRecord(Workflow[Record], key="record"):
    """Its output is a data class."""

    start_at = ship
    transitions = {ship: {"done": DONE}}


class AsPlain(Workflow[Plain], key="plain"):
    """Its output is a mapping."""

    start_at = ship
    transitions = {ship: {"done": DONE}}


class Untyped(Workflow, key="untyped"):
    """Nothing is known of its output."""

    start_at = ship
    transitions = {ship: {"done": DONE}}


class Derived(AsModel, key="derived"):
    """As the one that it is derived from."""


class Umbrella(Workflow[Model], versions={1: AsModel}, current=1):
    """Versions have a type, too."""


GIVEN = {"tracking": "HX-1"}


@pytest.mark.parametrize(
    ("workflow", "expected"),
    [
        (AsModel, Model(tracking="HX-1")),
        (AsRecord, Record("HX-1")),
        (AsPlain, GIVEN),
        (Untyped, GIVEN),
        (Derived, Model(tracking="HX-1")),
        (Umbrella, Model(tracking="HX-1")),
    ],
)
def test_an_output_is_read_as_what_the_class_says(workflow: type[Workflow], expected: object) -> None:
    shown = LocalRuntime(workflow).start(workflow, "1", GIVEN)
    found = workflow.output_of(shown)
    assert (type(found), found) == (type(expected), expected)
    assert Handle(Shown(shown), "1", workflow).output() == expected  # type: ignore[arg-type]  # as a client answers
    assert Handle(Shown(shown), "1").output() == GIVEN  # type: ignore[arg-type]  # the same


class Shown:
    """A client that answers with one instance."""

    def __init__(self, shown: object) -> None:
        self.shown = shown

    def wait(self, _id: str, _timeout: float | None) -> object:
        """As a client does."""
        return self.shown


@pytest.mark.parametrize(("workflow", "kind"), [(AsModel, "Model"), (AsRecord, "Record")])
def test_an_output_that_does_not_fit_is_an_error_of_who_reads_it(workflow: type[Workflow], kind: str) -> None:
    """Which names the instance, the workflow and what is wrong; the instance has completed all the same."""
    shown = LocalRuntime(workflow).start(workflow, "1", {"trackng": "HX-1"})
    assert shown.status == "completed"
    said = f"instance {shown.id} of {workflow.name} version 1: its output does not fit {kind}: (.|\n)*track"
    with pytest.raises(UnfitOutput, match=said):
        workflow.output_of(shown)


def test_an_instance_that_has_not_completed_has_none_and_the_error_says_why() -> None:
    local = LocalRuntime(AsModel)
    local.start(AsModel, "1", {"fail": True})
    local.advance(3600)
    with pytest.raises(NotCompleted, match=r"instance model::1 has no output, as it is failed: ValueError: .*no truck"):
        AsModel.output_of(local.runner.get("model::1"))


def test_a_class_is_derived_as_ever() -> None:
    """The type leaves no trace in what is deployed."""
    assert (AsModel.__mro__[1], AsModel.output_type, Untyped.output_type) == (Workflow, Model, None)
