"""The output of a workflow, where a function makes it: what it returns, or that the instance fails."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any

from hephaestus.definition.containment import contain
from hephaestus.engine.events import InstanceFinished, OutputFailed
from hephaestus.errors import NonRetryable
from hephaestus.runtime.attempt import Interrupted
from hephaestus.runtime.error_text import failure
from hephaestus.runtime.sizes import check_size
from hephaestus.values import FrozenDict, freeze

if TYPE_CHECKING:
    from collections.abc import Callable

    from hephaestus.definition.context import StepContext
    from hephaestus.store.store import Store


class InvalidOutput(NonRetryable):
    """What the function returned is no output."""


def output_event(
    function: Callable[[StepContext], Any], context: StepContext, store: Store
) -> InstanceFinished | OutputFailed:
    """How an instance ends that has only its output left to make.

    Raises:
        EngineSignal: see ``contain``.
    """

    def made() -> InstanceFinished | OutputFailed:
        return InstanceFinished("completed", output=_read(function(context), store))

    return contain(made, lambda error: OutputFailed(failure(error)))


def lost(instance_id: str) -> Interrupted:
    """The error of an output whose function has ended its Lambda too often."""
    return Interrupted(
        f"instance {instance_id}: the Lambda calling the workflow's output ended before it did, as often as a step is "
        "tried, by its timeout, its memory or a crash; see the function's log"
    )


def _read(returned: Any, store: Store) -> FrozenDict:
    """The output as it is stored.

    Raises:
        InvalidOutput, NotSerializable, PayloadTooLarge: it cannot be.
    """
    if isinstance(returned, Awaitable):
        if isinstance(returned, Coroutine):
            returned.close()
        message = f"the output is a {type(returned).__name__}: its function must be a plain one, not async"
        raise InvalidOutput(message)
    output = freeze({} if returned is None else returned, "the output")
    if not isinstance(output, FrozenDict):
        message = f"the output is a {type(returned).__name__}: return a mapping, a model, a data class or None"
        raise InvalidOutput(message)
    check_size(output, store.max_value_bytes, "the output")
    return output
