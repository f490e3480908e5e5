"""Steps and workflows named by callers: wherever a key or a name is taken, so is the step or the class itself."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from hephaestus.definition.durations import shown
from hephaestus.definition.step import Step
from hephaestus.errors import BadRequest

if TYPE_CHECKING:
    from hephaestus.definition.step import StepLike
    from hephaestus.definition.workflow import Workflow

    StepRef: TypeAlias = "StepLike | str"
    WorkflowRef: TypeAlias = "type[Workflow] | str"

T = TypeVar("T")


def step_key(step: StepRef) -> str:
    """The key of a step, given as its key, the step or its class.

    Raises:
        BadRequest: it is none of these, or a class that cannot be made without arguments.
    """
    if isinstance(step, str):
        return str.__str__(step)
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


class ByStep(dict[str, T]):
    """A dict by step, in which a step is found by its key, by itself or by its class."""

    __slots__ = ()

    def __getitem__(self, step: StepRef) -> T:
        """What ``step`` has."""
        return super().__getitem__(_found(step))

    def __contains__(self, step: object) -> bool:
        """Whether ``step`` has anything."""
        return super().__contains__(_found(step))

    def get(self, step: StepRef, default: Any = None) -> Any:
        """What ``step`` has, or ``default``."""
        return super().get(_found(step), default)


def _found(step: Any) -> Any:
    """The key of a step; what is none stays what it is, and is not found."""
    with suppress(BadRequest):
        return step_key(step)
    return step
