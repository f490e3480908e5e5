"""The type of a workflow's output: ``class OrderFlow(Workflow[Receipt], key="orderid")``."""

from __future__ import annotations

from dataclasses import is_dataclass
from types import GenericAlias
from typing import TYPE_CHECKING, Any

from hephaestus.errors import NotCompleted, PayloadTooLarge, UnfitOutput

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Generic

    from typing_extensions import TypeVar  # which every type checker brings

    from hephaestus.definition.views import InstanceView

    OutputT = TypeVar("OutputT", default=Any)

    class OfOutput(Generic[OutputT]):
        """What ``output_of`` returns."""

else:
    OutputT = None

    class OfOutput:
        """At run time, a class remembers what it was derived with."""

        __slots__ = ()
        __class_getitem__ = classmethod(GenericAlias)


def output_type(workflow: type) -> Any:
    """What a class was derived with, as ``Receipt`` in ``Workflow[Receipt]``; ``None`` without."""
    aliases: list[Any] = [base for base in vars(workflow).get("__orig_bases__", ()) if isinstance(base, GenericAlias)]
    own = [alias.__args__[0] for alias in aliases if issubclass(alias.__origin__, OfOutput)]
    return own[0] if own else getattr(workflow, "output_type", None)


def read_output(shown: InstanceView, kind: Any) -> Any:
    """The output of a completed instance, as a model or data class, or as it is stored.

    Raises:
        NotCompleted: the instance has not completed.
        PayloadTooLarge: the output was too large for an answer of the API.
        UnfitOutput: it does not fit ``kind``.
    """
    if shown.output is None and shown.left_out:
        message = f"instance {shown.id}: its output is too large for an answer: see `hephaestus show`"
        raise PayloadTooLarge(message)
    if shown.output is None:
        raise NotCompleted(_why(shown))
    output: Mapping[str, Any] = dict(shown.output)
    try:
        if hasattr(kind, "model_validate"):
            return kind.model_validate(output)
        return kind(**output) if is_dataclass(kind) and isinstance(kind, type) else output
    except (ValueError, TypeError) as error:
        name = getattr(kind, "__name__", "its type")
        message = (
            f"instance {shown.id} of {shown.workflow} version {shown.version}: its output does not fit {name}: "
            f"{error}. Change {name} or what the workflow leaves; the instance's `output` holds it as it is"
        )
        raise UnfitOutput(message) from error


def _why(shown: InstanceView) -> str:
    why = f": {shown.error['type']}: {shown.error['message']}" if shown.error else ""
    return f"instance {shown.id} has no output, as it is {shown.status}{why}"
