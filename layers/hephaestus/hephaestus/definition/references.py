"""Steps and workflows named by callers: wherever a key or a name is taken, so is the step or the class itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from hephaestus.definition.durations import shown
from hephaestus.definition.steps import Step
from hephaestus.errors import BadRequest

if TYPE_CHECKING:
    from hephaestus.definition.steps import StepLike
    from hephaestus.definition.workflow import Workflow

    StepRef: TypeAlias = "StepLike | str"
    WorkflowRef: TypeAlias = "type[Workflow] | str"


def step_key(step: StepRef) -> str:
    """The key of a step, given as its key, the step or its class.

    Raises:
        BadRequest: it is none of these, or a class that cannot be made without arguments.
    """
    if isinstance(step, str):
        return step
    if isinstance(step, Step):
        return step.key
    if isinstance(step, type) and issubclass(step, Step):
        try:
            return step().key
        except Exception as error:
            message = f"{step.__name__} cannot be made without arguments: give the step that stands in the transitions"
            raise BadRequest(message) from error
    message = f"{shown(step)} is not a step: give its key, the step itself or its class"
    raise BadRequest(message)


def workflow_name(workflow: WorkflowRef) -> str:
    """The name of a workflow, given as its name or its class.

    Raises:
        BadRequest: it is neither.
    """
    from hephaestus.definition.workflow import Workflow  # noqa: PLC0415 - which imports this module

    if isinstance(workflow, str):
        return workflow
    if isinstance(workflow, type) and issubclass(workflow, Workflow) and workflow is not Workflow:
        return workflow.name
    message = f"{shown(workflow)} is not a workflow: give its name or its class"
    raise BadRequest(message)
